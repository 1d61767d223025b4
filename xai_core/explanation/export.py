"""What is taken away: the raw map, the settings, the pictures. The page and the command line write the same bytes."""

import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from xai_core.core.errors import XaiError
from xai_core.core.files import write_atomically as write_atomically
from xai_core.explanation.result import Explanation


def json_text(explanation: Explanation) -> str:
    """Every setting and fact of an explanation, but for the map itself. What is no number (NaN) becomes null."""
    return strict_json(explanation.settings())


def strict_json(value: Any) -> str:
    """JSON that any reader takes: what is no number (NaN, infinity) becomes null, an error its sentence."""
    return json.dumps(_strict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, np.ndarray):
        return _strict(value.tolist())
    if isinstance(value, XaiError):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def npz_bytes(explanation: Explanation) -> bytes:
    """`heatmap` (raw, native grid), `input` (at the network's resolution), `error` where there is one, `settings`
    (JSON). Opens with `numpy.load(file)`, without pickle."""
    arrays = {
        "heatmap": explanation.heatmap,
        "input": explanation.to_input(),
        "box": np.array(explanation.box),
        "settings": np.array(json_text(explanation)),
    }
    if explanation.error is not None:
        arrays["error"] = explanation.error
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def png_bytes(picture: Image.Image, explanation: Explanation) -> bytes:
    """The picture as PNG; the settings travel inside, as the text entry `xai_core`."""
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("xai_core", json_text(explanation))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue()


def npz_of_many(explanations: Mapping[str, Explanation]) -> bytes:
    """The raw maps of several explanations, each under its method's id; opens without pickle."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: one.heatmap for name, one in explanations.items()})
    return buffer.getvalue()


def manifest(results: Mapping[str, Explanation | XaiError], checks: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The settings of several explanations, and the reasons of those that failed, as JSON.

    `checks` holds what else is known of a method's map, by the method's id: it is written as the entry `checks`.
    """
    said = {
        name: {"error": str(one)} if isinstance(one, XaiError) else json.loads(json_text(one))
        for name, one in results.items()
    }
    for name, found in (checks or {}).items():
        said[name]["checks"] = _strict(found)
    return strict_json(said)
