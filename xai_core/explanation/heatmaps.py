"""Properties of a map (h, w) alone: other resolutions, ranges of values, health checks, and where its evidence lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.floating[Any]]  # maps of any size: float32 as methods give them, or float64
FLAT = 1e-6  # a map whose values differ by less than this share of the largest magnitude is the same everywhere

RANGE_MODES = {
    "symmetric": "minus to plus the largest magnitude, zero in the middle",
    "positive": "zero to the maximum; evidence against the target is not shown",
    "negative": "the minimum to zero; evidence for the target is not shown",
    "smaller side": "minus to plus the smaller of the two sides, for maps with one dominant sign",
    "full": "minimum to maximum; only for maps without a sign",
    "custom": "limits set by hand",
}


def size_of(pictures: Tensor) -> tuple[int, int]:
    """(height, width) of pictures (..., H, W) or of maps (..., h, w)."""
    height, width = pictures.shape[-2:]
    return height, width


def resize(heatmap: Floats, size: tuple[int, int], smooth: bool = True) -> Floats:
    """The map at (height, width) `size`: bilinear between cell centres; without `smooth` every cell is a block."""
    import torch
    import torch.nn.functional as F

    mode, corners = ("bilinear", False) if smooth else ("nearest-exact", None)
    resized: Floats = F.interpolate(torch.tensor(heatmap)[None, None], size, mode=mode, align_corners=corners)[0, 0].numpy()
    return resized


def window(heatmap: Floats, part: tuple[float, float, float, float], size: tuple[int, int], smooth: bool = True) -> Floats:
    """A part of the map, (left, top, right, bottom) as shares of its width and height, at (height, width) `size`."""
    import torch
    import torch.nn.functional as F

    left, top, right, bottom = part
    down = 2 * (top + (bottom - top) * (torch.arange(size[0]) + 0.5) / size[0]) - 1
    across = 2 * (left + (right - left) * (torch.arange(size[1]) + 0.5) / size[1]) - 1
    places = torch.stack([across.expand(size), down[:, None].expand(size)], dim=-1)
    mode = "bilinear" if smooth else "nearest"
    values = torch.tensor(heatmap)[None, None].float()
    sampled: Floats = F.grid_sample(values, places[None], mode, padding_mode="border", align_corners=False)[0, 0].numpy()
    return sampled


def block_means(heatmap: Floats, rows: int, columns: int) -> Floats:
    """The map on a coarser grid (rows, columns): each cell is the mean of the area that it covers."""
    import torch
    import torch.nn.functional as F

    means: Floats = F.adaptive_avg_pool2d(torch.tensor(heatmap)[None], (rows, columns))[0].numpy()
    return means


def value_range(
    heatmap: Floats, mode: str, clip: float = 100.0, custom: tuple[float, float] | None = None
) -> tuple[float, float]:
    """(low, high): the values at the two ends of the colour scale; always low < high.

    mode    one of RANGE_MODES
    clip    the percentile of |value| that is used as the largest magnitude; 100 clips nothing
    custom  the limits of the mode "custom"

    NaN (outside the crop) is left out.
    """
    values = heatmap[np.isfinite(heatmap)]
    largest = 0.0
    if values.any():
        largest = float(np.percentile(np.abs(values), clip) or np.abs(values).max())
    low, high = (float(limit) for limit in np.clip((values.min(initial=0), values.max(initial=0)), -largest, largest))
    smaller = min(-low, high) or largest
    limits = {
        "symmetric": (-largest, largest),
        "positive": (0.0, high),
        "negative": (low, 0.0),
        "smaller side": (-smaller, smaller),
        "full": tuple(np.clip((values.min(), values.max()), -largest, largest)) if values.size else (0.0, 0.0),
        "custom": custom or (0.0, 0.0),
    }[mode]
    low, high = (float(limit) for limit in limits)
    if low < high:
        return low, high
    return {"symmetric": (-1.0, 1.0), "smaller side": (-1.0, 1.0), "negative": (low - 1, low)}.get(mode, (low, low + 1))


def sensible_ranges(heatmap: Floats, signed: bool) -> list[str]:
    """The modes of RANGE_MODES that suit a map; the first is the default."""
    if not signed:
        return ["positive", "full", "custom"]
    both = bool((heatmap > 0).any() and (heatmap < 0).any())
    return ["symmetric", "positive", "negative", *(["smaller side"] if both else []), "custom"]


def health(heatmap: Floats) -> list[str]:
    """Sentences on what is wrong with a map; an empty list for a healthy one."""
    if not np.isfinite(heatmap).all():
        return ["The map contains values that are not numbers: the computation failed. Do not use this map."]
    if not heatmap.any():
        return [
            "The map is zero everywhere: no evidence was found. A CAM is empty where all evidence is negative, and behind "
            "the last block of a transformer, where no gradient reaches the patches. Try another target layer."
        ]
    if np.ptp(heatmap) <= FLAT * np.abs(heatmap).max():
        return ["The map is the same everywhere: no place stands out."]
    checks = (_border, _concentration, _saturation)
    return [sentence for check in checks if (sentence := check(heatmap))]


def _border(heatmap: Floats) -> str:
    """Whether most of the map lies in a frame as wide as a fourteenth of the picture (at least one cell)."""
    magnitude = np.abs(heatmap)
    down, across = (max(1, length // 14) for length in heatmap.shape)
    inner = magnitude[down:-down, across:-across]
    if inner.size > heatmap.size / 2 and inner.sum() < 0.2 * magnitude.sum():
        return "Over 80% of the map lies in a narrow frame at the picture's edge: often an artefact of padding."
    return ""


def _concentration(heatmap: Floats) -> str:
    """Whether nearly all of a fine map lies in a few pixels."""
    largest_first = np.sort(np.abs(heatmap), axis=None)[::-1]
    few = heatmap.size // 100
    if few and largest_first[:few].sum() > 0.99 * largest_first.sum():
        return (
            "Over 99% of the map lies in 1% of its cells: a few pixels stand out, and the rest looks empty even where it is "
            "not. Clip the colour range, or choose a method that averages over noise or over larger parts."
        )
    return ""


def _saturation(heatmap: Floats) -> str:
    """Whether many cells are cut off at one value while the others differ (unlike a map with one value a region)."""
    nothing = 1e-6 * np.abs(heatmap).max()  # many cells at zero, or at rounding errors of it, are no fault
    for limit, side in ((heatmap.max(), "above"), (heatmap.min(), "below")):
        others = heatmap[(heatmap != limit) & (np.abs(heatmap) > nothing)]
        cut_off = np.count_nonzero(heatmap == limit) > heatmap.size / 10
        if abs(limit) > nothing and cut_off and others.size > heatmap.size / 10 and len(np.unique(others)) > others.size / 2:
            return f"Over a tenth of the cells are cut off at {limit:.3g}: the map does not show differences {side} it."
    return ""


def ninths(heatmap: Floats) -> Floats:
    """(3, 3) The share of each ninth of the picture in the sum of a map without negative values that is not zero."""
    sums = block_means(resize(heatmap, (90, 90), smooth=False), 3, 3)
    shares: Floats = sums / sums.sum()
    return shares


def centre_of_mass_words(heatmap: Floats) -> str:
    """The ninth of the picture that holds most of the positive evidence, in words: 'upper left (62% of it)'."""
    positive = np.clip(np.where(np.isfinite(heatmap), heatmap, 0), 0, None)
    if not positive.any():
        return "nowhere"
    shares = ninths(positive)
    row, column = divmod(int(shares.argmax()), 3)
    return f"{_PLACES[row][column]} ({shares[row, column]:.0%} of it)"


_PLACES: Sequence[Sequence[str]] = (
    ("upper left", "upper middle", "upper right"),
    ("middle left", "centre", "middle right"),
    ("lower left", "lower middle", "lower right"),
)
