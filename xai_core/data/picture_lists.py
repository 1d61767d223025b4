"""A dataset of pictures in memory or at paths, as a script holds them."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import MAX_PICTURES, Dataset
from xai_core.data.sample_list import Labelled

SUFFIX = ".png"  # of the names of pictures that have no file


def dataset_of(
    items: Iterable[tuple[Any, object]], title: str = "Your pictures", class_names: Sequence[str] = ()
) -> Dataset:
    """A dataset of (picture, label) pairs.

    A picture is a path; a PIL picture; an array (H,W,3), (H,W) or a tensor (3,H,W), (1,H,W), of 0 to 255 in whole numbers,
    or of [0, 1] in floating point. A label is a class's name; a number is looked up in `class_names`, and is "class 3"
    without them; None is none. Pictures without a file are held in memory as PNG, and named by their label and number.
    Raises BadRequest.
    """
    samples, sources = [], dict[str, bytes | Path]()
    for number, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise BadRequest(f"Give pictures as pairs (picture, label); number {number} is no pair.")
        if number >= MAX_PICTURES:
            raise BadRequest(f"At most {MAX_PICTURES:,} pictures are taken.")
        source, label = _source(item[0], number), _label(item[1], class_names, number)
        file = source.name if isinstance(source, Path) else f"{number:06}{SUFFIX}"
        name = f"{_part(label)}/{file}" if label else file
        if name in sources:
            name = f"{name.rpartition('.')[0]}-{number:06}{Path(file).suffix}"
        sources[name] = source
        samples.append(Labelled(name, label))
    if not samples:
        raise BadRequest("The list holds no pictures: give pairs (picture, label).")
    return Dataset(title, tuple(samples), sources.__getitem__, metadata=pd.DataFrame(index=[one.name for one in samples]))


def _source(picture: Any, number: int) -> bytes | Path:
    """The path of a picture, or the picture as PNG."""
    if isinstance(picture, str | Path):
        path = Path(picture).absolute()
        if not path.is_file():
            raise BadRequest(f"Picture number {number} is not there: {picture}.")
        return path
    if not isinstance(picture, Image.Image):
        picture = _from_array(picture, number)
    file = io.BytesIO()
    (picture if picture.mode in ("L", "RGB") else picture.convert("RGB")).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _from_array(picture: Any, number: int) -> Image.Image:
    is_tensor = type(picture).__module__.partition(".")[0] == "torch"
    try:
        values = picture.detach().cpu().numpy() if is_tensor else np.asarray(picture)
    except (TypeError, ValueError) as error:
        raise BadRequest(
            f"Picture number {number} is no path, PIL picture or array, but {type(picture).__name__}."
        ) from error
    if is_tensor and values.ndim == 3:
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3) or not values.size:
        raise BadRequest(
            f"Picture number {number} has the shape {tuple(values.shape)}; give an array (H,W,3) or (H,W), or a "
            "tensor (3,H,W)."
        )
    whole = np.issubdtype(values.dtype, np.integer)
    if not (whole or np.issubdtype(values.dtype, np.floating)) or not np.isfinite(values).all():
        raise BadRequest(f"Picture number {number} holds values that are no finite numbers.")
    low, high, most = float(values.min()), float(values.max()), 255 if whole else 1
    if low < 0 or high > most:
        raise BadRequest(
            f"Picture number {number} holds values from {low:.3g} to {high:.3g}; whole numbers go from 0 to 255, "
            "others from 0 to 1. Give it without the network's normalisation."
        )
    return Image.fromarray(values.astype(np.uint8) if whole else (values * 255).round().astype(np.uint8))


def _label(label: Any, class_names: Sequence[str], number: int) -> str:
    if label is None or isinstance(label, str):
        return label or ""
    try:
        index = int(label)
    except (TypeError, ValueError) as error:
        raise BadRequest(
            f"The label of picture number {number} is {type(label).__name__}: give a name or a number."
        ) from error
    if not class_names:
        return f"class {index}"
    if not 0 <= index < len(class_names):
        raise BadRequest(
            f"The label of picture number {number} is {index}, but there are {len(class_names):,} classes, from 0 on."
        )
    return class_names[index]


def _part(label: str) -> str:
    """A label as one part of a name."""
    return label.replace("/", "-").replace("\\", "-").strip(". ") or "class"
