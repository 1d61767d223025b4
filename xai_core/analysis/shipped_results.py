"""Results that ship with the project: maps, measurements and logits of bundled pictures and networks, by their keys.

A key holds the picture's digest, the weights' fingerprint, the method with its version and options, and so on: a result that
no longer fits has another key, and is not found. The file is an NPZ of arrays with an index as JSON, without pickle.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.core.files import parse_json, write_atomically
from xai_core.explanation.result import Explanation, Passes
from xai_core.metrics.measure import Measurement

Result = Explanation | Measurement | NDArray[Any]
TUPLES = ("box", "picture_size", "input_size")  # of an Explanation: JSON has lists
INDEX = "index"


@dataclass(frozen=True)
class ShippedResults:
    """The results of a file by their keys, and in words where and when they were `made`."""

    made: str
    entries: Mapping[str, dict[str, Any]]
    arrays: Mapping[str, NDArray[Any]]

    def find(self, key: str) -> Result | None:
        """The result of the request with this key; None where the file has none."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        if _is_array(entry):
            return self.arrays[entry["array"]]
        values = entry | {name: self.arrays[place["array"]] for name, place in entry.items() if _is_array(place)}
        if "heatmap" not in values:
            return Measurement(**values)
        tuples = {name: tuple(values[name]) for name in TUPLES}
        return Explanation(**values | tuples | {"passes": Passes(**values["passes"])})


def write(file: Path, made: str, results: Mapping[str, Result]) -> None:
    """Write results by their keys. `made` says in words where and when they were computed."""
    arrays: dict[str, NDArray[Any]] = {}
    index = {"made": made, "results": {key: _entry(result, arrays) for key, result in results.items()}}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{INDEX: np.array(json.dumps(index))}, **arrays)
    write_atomically(file, buffer.getvalue())


def read(file: Path) -> ShippedResults:
    """The results in a file; none where there is no file. Raises BadRequest where it is another one."""
    if not file.exists():
        return ShippedResults("", {}, {})
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            index = parse_json(str(arrays[INDEX]))
            return ShippedResults(index["made"], index["results"], {name: arrays[name] for name in arrays if name != INDEX})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as fault:
        raise BadRequest(f"{file} holds no shipped results.") from fault


def _entry(result: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """A result as JSON; its arrays go into `arrays`, and their names take their places."""
    if isinstance(result, Explanation | Measurement):
        return {one.name: _entry(getattr(result, one.name), arrays) for one in fields(result)}
    if isinstance(result, Passes):
        return {one.name: getattr(result, one.name) for one in fields(result)}
    if isinstance(result, np.ndarray):
        name = f"{len(arrays)}"
        arrays[name] = result
        return {"array": name}
    if isinstance(result, tuple | list):
        return [_entry(part, arrays) for part in result]
    return {name: _entry(part, arrays) for name, part in result.items()} if isinstance(result, Mapping) else _plain(result)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_array(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.keys() == {"array"}
