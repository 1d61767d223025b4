"""Which pixels of a network's input lie in a box or in a mask of the picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.data.preprocessing import Prepared

Box = tuple[float, float, float, float]
Boxes = Box | Sequence[Box] | NDArray[Any]


def inside(where: Boxes | None, prepared: Prepared) -> NDArray[np.bool_] | None:
    """(H, W) bool: which pixels of the network's input lie in a box (left, top, right, bottom) in the picture's pixels, in
    any of several, or in a mask (height, width) of the picture's size. None where `where` is None.

    Raises BadRequest where it is neither a box nor a mask, or lies outside the picture.
    """
    if where is None:
        return None
    height, width = prepared.pixels.shape[1:]
    left, top, right, bottom = prepared.box
    across = left + (np.arange(width) + 0.5) / width * (right - left)
    down = top + (np.arange(height) + 0.5) / height * (bottom - top)
    return _points_inside(where, prepared.size, across, down)


def pixels_inside(where: Boxes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width) bool: which pixels of a picture of the size (width, height) lie in a box, in any of several, or in a
    mask. Raises BadRequest as `inside` does."""
    return _points_inside(where, size, np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)


def _points_inside(
    where: Boxes, size: tuple[int, int], across: NDArray[np.floating], down: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Which points of a grid, given in the picture's pixels, lie inside."""
    array = np.asarray(where)
    if array.ndim == 2 and array.shape == size[::-1]:
        rows, columns = (
            np.clip(places.astype(int), 0, length - 1) for places, length in zip((down, across), size[::-1], strict=True)
        )
        mask: NDArray[np.bool_] = array.astype(bool)[rows][:, columns]
        return mask
    mask = np.zeros((len(down), len(across)), dtype=bool)
    for box in _checked(array, size):
        mask |= ((down >= box[1]) & (down < box[3]))[:, None] & ((across >= box[0]) & (across < box[2]))
    return mask


def _checked(array: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    numbers = array.ndim in (1, 2) and array.shape[-1:] == (4,) and np.issubdtype(array.dtype, np.number)
    if not numbers or not np.isfinite(array).all():
        raise BadRequest(
            "A box is four numbers (left, top, right, bottom) in the picture's pixels, several boxes are a list of them, "
            f"and a mask has the picture's {size[1]} rows and {size[0]} columns; this has the shape {array.shape}."
        )
    boxes = np.atleast_2d(array).astype(float)
    for left, top, right, bottom in boxes:
        said = f"({left:g}, {top:g}, {right:g}, {bottom:g})"
        if not (left < right and top < bottom):
            raise BadRequest(f"The box {said} is empty: left must be less than right, and top less than bottom.")
        if left >= size[0] or top >= size[1] or right <= 0 or bottom <= 0:
            raise BadRequest(f"The box {said} lies outside the picture, which has {size[0]} x {size[1]} pixels.")
    return boxes
