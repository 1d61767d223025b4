"""What can be measured of any picture, as attributes by which errors are grouped: light, sharpness, colour, and where the
object is.

Pictures are reduced to SIDE pixels first, so that a picture's resolution does not count and 2,000 of them take seconds; a
blur that is finer than that is not seen.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from xai_core.core.errors import BadPicture
from xai_core.core.runtime import Track
from xai_core.data.box import Boxes, pixels_inside
from xai_core.data.datasets import Dataset
from xai_core.data.world.scene import draw, thing_parts

SIDE = 128  # pixels of the longer side; smaller pictures keep their size
HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")  # sectors of 60 degrees, each around its pure colour
GREY = 0.05  # mean chroma below which a picture has no hue
OBJECT = ("object size", "object from left", "object from top")
LUMINANCE = np.array([0.2125, 0.7154, 0.0721], np.float32) / 255  # of R, G, B, values to 255
SECTORS = np.rint(np.arange(256) / 256 * len(HUES)).astype(int) % len(HUES)  # of Pillow's hue
COLUMNS = ("brightness", "contrast", "sharpness", "colourfulness", "hue")


def picture_statistics(
    dataset: Dataset,
    names: Sequence[str] | None = None,
    *,
    objects: Callable[[str], Boxes | None] | None = None,
    track: Track = iter,
) -> pd.DataFrame:
    """A row for each picture of `names` (all of the dataset's, if not given), indexed by them, with the columns

        brightness    mean of the luminance Y = 0.2125 R + 0.7154 G + 0.0721 B, 0 (black) to 1 (white)
        contrast      standard deviation of Y (RMS contrast, Peli 1990), 0 to 0.5
        sharpness     variance of the Laplacian of Y (Pech-Pacheco et al. 2000), from 0
        colourfulness Hasler & Suesstrunk 2003, of values to 255: 0 (grey), about 100 (very colourful)
        hue           the sector of HUES with the most chroma; "grey" where the mean chroma is below GREY

    and where boxes or masks are known, by `objects` (a picture's name -> boxes or a mask as in data/box.py, None where
    unknown) or because the dataset is drawn, also

        object size       share of the picture that the object covers, 0 to 1
        object from left, object from top   its middle (mean over its pixels), as a share of the picture's width and height

    A picture that cannot be read has NaN and "". `track` wraps the names. Raises BadRequest for a box outside its picture.
    """
    names = [sample.name for sample in dataset.samples] if names is None else list(names)
    located = objects is not None or dataset.scene is not None
    columns = [*COLUMNS, *(OBJECT if located else ())]
    rows = [_measured(dataset, name, objects) for name in track(names)]
    table = pd.DataFrame(rows, index=pd.Index(names), columns=columns)
    table["hue"] = table["hue"].fillna("").astype(str)
    return table


def known_attributes(dataset: Dataset, names: "pd.Series[Any]", statistics: pd.DataFrame | None = None) -> pd.DataFrame:
    """What groups of these pictures are made of: a row for each, in their order; the dataset's own attributes, and the
    `statistics` (of `picture_statistics`) that it has none of by that name."""
    known = dataset.attributes(names)
    if statistics is None:
        return known
    further = statistics.drop(columns=known.columns.intersection(statistics.columns)).loc[list(names)]
    return pd.concat([known, further.reset_index(drop=True)], axis=1)


def _measured(dataset: Dataset, name: str, objects: Callable[[str], Boxes | None] | None) -> dict[str, Any]:
    try:
        picture, mask = _opened(dataset, name, objects)
    except BadPicture:
        return {}
    place = {} if mask is None else object_place(mask)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return {**light_and_colour(np.asarray(picture)), **place}


def _opened(
    dataset: Dataset, name: str, objects: Callable[[str], Boxes | None] | None
) -> tuple[Image.Image, NDArray[np.bool_] | None]:
    """A picture, and a mask of its object where that is known; a drawn picture is drawn once for both."""
    if objects is None and dataset.scene is not None:
        scene = dataset.scene(name)
        pixels, masks = draw(scene)
        thing = thing_parts(scene)
        seen = np.sum([mask for part, mask in masks.items() if part in thing], axis=0)
        return Image.fromarray(pixels), np.asarray(seen > 0.5)
    picture = dataset.open(name)
    where = objects(name) if objects else None
    return picture, None if where is None else pixels_inside(where, picture.size)


def light_and_colour(pixels: NDArray[np.uint8]) -> dict[str, float | str]:
    """The statistics of COLUMNS of one picture (h, w, 3), without reducing it. In single precision: to six digits."""
    planes: NDArray[np.float32] = np.ascontiguousarray(np.moveaxis(pixels, 2, 0), np.float32)  # (3, h, w)
    grey: NDArray[np.float32] = np.tensordot(LUMINANCE, planes, 1).astype(np.float32, copy=False)
    return {
        "brightness": float(grey.mean()), "contrast": float(grey.std()), "sharpness": float(_laplacian(grey).var()),
        "colourfulness": colourfulness(planes), "hue": dominant_hue(pixels, planes),
    }  # fmt: skip


def _laplacian(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of the four neighbours minus four times the pixel (h, w); beyond the edge lies the pixel at the edge."""
    around = np.pad(grey, 1, "edge")
    return around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:] - 4 * grey


def colourfulness(planes: NDArray[np.float32]) -> float:
    """Hasler & Suesstrunk 2003, of (3, h, w): the deviation of the opponent colours plus 0.3 times their mean."""
    red, green, blue = planes
    opponents = [red - green, (red + green) / 2 - blue]
    return float(np.hypot(*(one.std() for one in opponents)) + 0.3 * np.hypot(*(one.mean() for one in opponents)))


def dominant_hue(pixels: NDArray[np.uint8], planes: NDArray[np.float32]) -> str:
    """The sector of HUES in which the pixels (h, w, 3) have the most chroma, the largest minus the smallest of R, G, B.
    `planes` are the same pixels (3, h, w)."""
    red, green, blue = planes
    chroma = (np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)) / 255
    if chroma.mean() < GREY:
        return "grey"
    hue = np.asarray(Image.fromarray(pixels).convert("HSV"))[..., 0]  # 0 to 255; four times as fast as scikit-image's
    return HUES[int(np.bincount(SECTORS[hue].ravel(), chroma.ravel(), len(HUES)).argmax())]


def object_place(mask: NDArray[np.bool_]) -> dict[str, float]:
    """Size and middle of what a mask (h, w) holds; nothing where it is empty."""
    rows, columns = mask.sum(1), mask.sum(0)
    count = int(rows.sum())
    if not count:
        return {}
    down, across = ((np.arange(len(sums)) + 0.5) @ sums / count / len(sums) for sums in (rows, columns))
    return dict(zip(OBJECT, (count / mask.size, float(across), float(down)), strict=True))
