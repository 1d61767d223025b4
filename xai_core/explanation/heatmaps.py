"""What can be said of a map (h, w) alone: its resolution, its range, its health."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

RANGE_MODES = {
    "symmetric": "minus to plus the largest magnitude, zero in the middle",
    "positive": "zero to the maximum; evidence against is not shown",
    "negative": "the minimum to zero; evidence for is not shown",
    "smaller side": "minus to plus the smaller of the two sides, for maps with one dominant sign",
    "full": "minimum to maximum; only for maps without a sign",
    "custom": "limits set by hand",
}


def size_of(pictures: Tensor) -> tuple[int, int]:
    """(height, width) of pictures (..., H, W) or of maps (..., h, w)."""
    height, width = pictures.shape[-2:]
    return height, width


def resize(heatmap: NDArray, size: tuple[int, int], smooth: bool = True) -> NDArray:
    """The map at (height, width): bilinear between cell centres, or every cell as the block it is."""
    mode = {"mode": "bilinear", "align_corners": False} if smooth else {"mode": "nearest-exact"}
    return F.interpolate(torch.tensor(heatmap)[None, None], size=size, **mode)[0, 0].numpy()


def window(heatmap: NDArray, part: tuple[float, float, float, float], size: tuple[int, int], smooth: bool = True) -> NDArray:
    """A part of the map, (left, top, right, bottom) as shares of its width and height, at (height, width) `size`."""
    left, top, right, bottom = part
    down = 2 * (top + (bottom - top) * (torch.arange(size[0]) + 0.5) / size[0]) - 1
    across = 2 * (left + (right - left) * (torch.arange(size[1]) + 0.5) / size[1]) - 1
    places = torch.stack([across.expand(size), down[:, None].expand(size)], dim=-1)
    mode = "bilinear" if smooth else "nearest"
    values = torch.tensor(heatmap)[None, None].float()
    return F.grid_sample(values, places[None], mode=mode, padding_mode="border", align_corners=False)[0, 0].numpy()


def block_means(heatmap: NDArray, rows: int, columns: int) -> NDArray:
    """The map on a coarser grid (rows, columns): each cell the mean of what it covers."""
    return F.adaptive_avg_pool2d(torch.tensor(heatmap)[None], (rows, columns))[0].numpy()


def value_range(
    heatmap: NDArray, mode: str, clip: float = 100.0, custom: tuple[float, float] | None = None
) -> tuple[float, float]:
    """(low, high): the values at the two ends of the colour scale. `clip` is the percentile of |value| that is taken
    for the largest magnitude; 100 clips nothing. NaN (outside the crop) is left out. Never empty: low < high."""
    values = heatmap[np.isfinite(heatmap)]
    largest = 0.0
    if values.any():
        largest = np.percentile(np.abs(values), clip) or np.abs(values).max()
    low, high = np.clip((values.min(initial=0.0), values.max(initial=0.0)), -largest, largest)
    smaller = min(-low, high) or largest
    limits = {
        "symmetric": (-largest, largest),
        "positive": (0.0, high),
        "negative": (low, 0.0),
        "smaller side": (-smaller, smaller),
        "full": np.clip((values.min(), values.max()), -largest, largest) if values.size else (0.0, 0.0),
        "custom": custom,
    }[mode]
    low, high = (float(limit) for limit in limits)
    if low < high:
        return low, high
    return {"symmetric": (-1.0, 1.0), "smaller side": (-1.0, 1.0), "negative": (low - 1, low)}.get(mode, (low, low + 1))


def sensible_ranges(heatmap: NDArray, signed: bool) -> list[str]:
    """The range modes that make sense for a map, the one to start with first."""
    if not signed:
        return ["positive", "full", "custom"]
    both = bool((heatmap > 0).any() and (heatmap < 0).any())
    return ["symmetric", "positive", "negative", *(["smaller side"] if both else []), "custom"]


def health(heatmap: NDArray) -> list[str]:
    """What is wrong with a map, in sentences; an empty list for a healthy one."""
    if not np.isfinite(heatmap).all():
        return ["The map holds values that are not numbers: the computation broke down and must not be read."]
    if not heatmap.any():
        return [
            "The map is zero everywhere: no evidence was found. Behind the last block of a transformer no gradient "
            "reaches the patches, and a CAM keeps nothing where all evidence is negative; try another cut."
        ]
    if np.ptp(heatmap) <= 1e-6 * np.abs(heatmap).max():
        return ["The map is the same everywhere: it prefers no place."]
    checks = (_border, _concentration, _saturation)
    return [sentence for check in checks if (sentence := check(heatmap))]


def _border(heatmap: NDArray) -> str:
    """Most of the map in a frame as wide as a fourteenth of the picture (at least one cell)."""
    magnitude = np.abs(heatmap)
    down, across = (max(1, length // 14) for length in heatmap.shape)
    inner = magnitude[down:-down, across:-across]
    if inner.size > heatmap.size / 2 and inner.sum() < 0.2 * magnitude.sum():
        return "Over 80% of the map lies in a narrow frame at the picture's edge: often an artefact of padding."
    return ""


def _concentration(heatmap: NDArray) -> str:
    """Nearly all of a fine map in a few pixels."""
    largest_first = np.sort(np.abs(heatmap), axis=None)[::-1]
    few = heatmap.size // 100
    if few and largest_first[:few].sum() > 0.99 * largest_first.sum():
        return (
            "Over 99% of the map lies in 1% of its cells: a few pixels stand out and the rest looks empty, whatever it "
            "holds. Clip the colour range, or ask a method that averages over noise or over larger parts."
        )
    return ""


def _saturation(heatmap: NDArray) -> str:
    """Many cells cut off at one value, and the others all different (unlike a map that gives each region one value)."""
    nothing = 1e-6 * np.abs(heatmap).max()  # many cells at zero are no fault, nor at what rounding leaves of it
    for limit, side in ((heatmap.max(), "above"), (heatmap.min(), "below")):
        others = heatmap[(heatmap != limit) & (np.abs(heatmap) > nothing)]
        cut_off = np.count_nonzero(heatmap == limit) > heatmap.size / 10
        if abs(limit) > nothing and cut_off and others.size > heatmap.size / 10 and len(np.unique(others)) > others.size / 2:
            return f"Over a tenth of the cells are cut off at {limit:.3g}: the map says nothing of what lies {side} it."
    return ""


def centre_of_mass_words(heatmap: NDArray) -> str:
    """Where most of the positive evidence lies, by ninths of the picture, in words: 'upper left (62% of it)'."""
    positive = np.clip(np.where(np.isfinite(heatmap), heatmap, 0), 0, None)
    if not positive.any():
        return "nowhere"
    shares = block_means(resize(positive, (90, 90), smooth=False), 3, 3)
    shares = shares / shares.sum()
    row, column = np.unravel_index(shares.argmax(), shares.shape)
    return f"{_PLACES[row][column]} ({shares[row, column]:.0%} of it)"


_PLACES: Sequence[Sequence[str]] = (
    ("upper left", "upper middle", "upper right"),
    ("middle left", "centre", "middle right"),
    ("lower left", "lower middle", "lower right"),
)
