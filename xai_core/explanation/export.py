"""Serialise explanations to PNG, NPZ and JSON. The page and the command line write the same bytes."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.files import parse_json
from xai_core.core.files import write_atomically as write_atomically
from xai_core.explanation.result import Explanation, Passes


def json_text(explanation: Explanation, beside: Mapping[str, Any] | None = None) -> str:
    """All settings and facts of an explanation without its map, as JSON, and what was found beside it by its name. NaN and
    infinity become null."""
    return strict_json({**explanation.settings(), **(beside or {})})


def strict_json(value: Any) -> str:
    """Standard JSON: NaN and infinity become null, arrays lists, and an error its message."""
    return json.dumps(_strict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    if isinstance(value, np.ndarray):
        return _strict(value.tolist())
    if isinstance(value, XaiError):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def npz_bytes(explanation: Explanation) -> bytes:
    """`heatmap` (raw, native grid), `input` (at the network's resolution), `error` where there is one, `settings`
    (JSON). Opens with `numpy.load(file)`, without pickle."""
    arrays: dict[str, NDArray[Any]] = {
        "heatmap": explanation.heatmap,
        "input": explanation.to_input(),
        "box": np.array(explanation.box),
        "settings": np.array(json_text(explanation)),
    }
    if explanation.error is not None:
        arrays["error"] = explanation.error
    return _npz(arrays)


def read_npz(data: bytes) -> Explanation:
    """The explanation that `npz_bytes` wrote. Raises BadRequest where the file holds none."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            heatmap, error = arrays["heatmap"], arrays.get("error")
            settings = parse_json(str(arrays["settings"]))
        known = {field.name for field in fields(Explanation)} - {"heatmap", "error", "passes"}
        values = {name: settings[name] for name in known} | {
            name: tuple(settings[name]) for name in ("box", "picture_size", "input_size")
        }
        return Explanation(heatmap=heatmap, error=error, passes=Passes(**settings["passes"]), **values)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as fault:
        raise BadRequest("This file holds no map that was exported by this program.") from fault


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def png_bytes(picture: Image.Image, explanation: Explanation) -> bytes:
    """The picture as PNG, with the settings in its text entry `xai_core`."""
    return png_with(picture, json_text(explanation))


def png_with(picture: Image.Image, settings: str) -> bytes:
    """The picture as PNG, with a text as its entry `xai_core`."""
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("xai_core", settings)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue()


def npz_of_many(explanations: Mapping[str, Explanation]) -> bytes:
    """The raw maps of several explanations, each under its method's id, as NPZ; opens without pickle."""
    return _npz({name: explanation.heatmap for name, explanation in explanations.items()})


def manifest(results: Mapping[str, Explanation | XaiError], checks: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The settings of several explanations, and the error messages of those that failed, as JSON.

    `checks` are results of sanity checks by the method's id; they are written as the entry `checks` of the method.
    """
    entries = {
        name: {"error": str(result)} if isinstance(result, XaiError) else json.loads(json_text(result))
        for name, result in results.items()
    }
    for name, values in (checks or {}).items():
        entries[name]["checks"] = _strict(values)
    return strict_json(entries)
