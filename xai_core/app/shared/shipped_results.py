"""Results that ship with the project: what pages have stored about bundled pictures and networks, by their keys.

A key holds the picture's digest, the weights' fingerprint, the method with its version and options, and so on: a result that
no longer fits has another key, and is not found. The file is an NPZ of arrays with an index as JSON, without pickle.
"""

from __future__ import annotations

import importlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.core.files import parse_json, write_atomically

# The records that a result may be or hold, and the modules that define them; each is imported when such a result is found.
RECORDS = {
    "Answer": "xai_core.analysis.compare_models",
    "AugmentedView": "xai_core.pairs.augment",
    "Explanation": "xai_core.explanation.result",
    "Measurement": "xai_core.metrics.measure",
    "Passes": "xai_core.explanation.result",
    "Prediction": "xai_core.models.explainable",
    "RandomPairs": "xai_core.pairs.reference",
    "Triage": "xai_core.failures.label_triage",
}
INDEX = "index"


@dataclass(frozen=True)
class ShippedResults:
    """The results of a file by their keys, and in words where and when they were `made`."""

    made: str
    entries: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    def find(self, key: str) -> Any:
        """The result of the request with this key; None where the file has none."""
        return _result(self.entries.get(key), self.arrays)


def write(file: Path, made: str, results: Mapping[str, Any]) -> None:
    """Write results by their keys: arrays, numbers, texts, tables of such, RECORDS, and tuples, lists and mappings of such.
    `made` says in words where and when they were computed. Raises TypeError for anything else."""
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
    """A result as JSON: whatever JSON does not have is an object of one name, which says what it is. Arrays go into
    `arrays`, and their names take their places."""
    kind = type(result).__name__
    if kind in RECORDS:
        names = [one.name for one in fields(result)] if is_dataclass(result) else result._fields
        return {kind: {name: _entry(getattr(result, name), arrays) for name in names}}
    if kind == "Tensor" or isinstance(result, np.ndarray):
        name = f"{len(arrays)}"
        arrays[name] = np.asarray(result)
        return {"tensor" if kind == "Tensor" else "array": name}
    if isinstance(result, pd.DataFrame):
        return {"table": [[name, str(of.dtype), _entry(_column(of), arrays)] for name, of in result.items()]}
    if isinstance(result, np.generic):
        return result.item()
    if isinstance(result, list):
        return [_entry(part, arrays) for part in result]
    if isinstance(result, tuple):
        return {"tuple": [_entry(part, arrays) for part in result]}
    if isinstance(result, Mapping):
        return {"mapping": {name: _entry(part, arrays) for name, part in result.items()}}
    if result is None or isinstance(result, bool | int | float | str):
        return result
    raise TypeError(f"A shipped result cannot hold a {kind}.")


def _column(values: pd.Series[Any]) -> Any:
    """The values of a table's column: an array of numbers, or a list of texts."""
    return values.tolist() if values.dtype == object or pd.api.types.is_string_dtype(values) else values.to_numpy()


def _result(entry: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """What `_entry` made the entry of."""
    if isinstance(entry, list):
        return [_result(part, arrays) for part in entry]
    if not isinstance(entry, dict):
        return entry
    ((kind, held),) = entry.items()
    if kind == "array":
        return arrays[held]
    if kind == "tensor":
        import torch

        return torch.from_numpy(arrays[held])
    if kind == "table":
        return pd.DataFrame({name: pd.Series(_result(values, arrays), dtype=dtype) for name, dtype, values in held})
    if kind == "tuple":
        return tuple(_result(part, arrays) for part in held)
    parts = {name: _result(part, arrays) for name, part in held.items()}
    return parts if kind == "mapping" else getattr(importlib.import_module(RECORDS[kind]), kind)(**parts)
