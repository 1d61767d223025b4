"""Occlusion for pairs: the change of the similarity when parts of the views are covered. No gradients."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.core.errors import BadRequest
from xai_core.core.options import Range
from xai_core.core.runtime import Track
from xai_core.explanation.heatmaps import size_of
from xai_core.pairs.method import tensor_of
from xai_core.pairs.question import PairQuestion

Window = Annotated[int, Range(1, 1024), "side of the square that is covered, in pixels"]
Stride = Annotated[int, Range(1, 512), "pixels from one position to the next"]
Fill = Annotated[float, Range(-10.0, 10.0), "the value of covered pixels"]


def _corners(pair: PairQuestion, window: int, stride: int) -> tuple[Tensor, tuple[int, int]]:
    """(top, left) of every window, (rows * columns, 2) in reading order, and (rows, columns)."""
    height, width = size_of(pair.views)
    if window > min(height, width):
        raise BadRequest(f"A window of {window} pixels does not fit into a view of {height} x {width}.")
    down, across = (torch.arange(0, side - window + 1, stride) for side in (height, width))
    return torch.cartesian_prod(down, across), (len(down), len(across))


def _inside(pair: PairQuestion, corners: Tensor, window: int) -> Tensor:
    """Whether each window covers each pixel, bool (n, 1, H, W)."""
    corners = corners.to(pair.views.device)
    down, across = (torch.arange(side, device=corners.device) for side in pair.views.shape[2:])
    rows = (down >= corners[:, :1]) & (down < corners[:, :1] + window)
    columns = (across >= corners[:, 1:]) & (across < corners[:, 1:] + window)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def conditional_occlusion(
    pair: PairQuestion, *, window: Window = 64, stride: Stride = 8, fill: Fill = 0.0, track: Track = iter
) -> Maps:
    """Conditional occlusion: the loss of similarity when a square of one view is covered and the other view is unchanged.

    map of view 1 at window W = s(v1, v2) - s(v1 with W covered, v2), and likewise for view 2. One value for each place of
    the window, in steps of the stride from the upper left corner; a remainder at the right and lower edge is not covered.
    Source: Sammani et al. 2022, arXiv:2206.09753. Sign: signed. Unit: the similarity's.

    Why: To find out which part of one view the similarity needs, by really removing it.
    Who: Everyone: it is an experiment, and needs no calculus.
    What: The similarity with squares covered.
    How: One forward pass for each square of each view; signed maps as coarse as the square.
    When: After training; to check gradients and class activation maps by other means.
    Where: Any encoder.
    Beware: As published, the map has one value for each window and is stretched over the view. Its cells are then farther
    apart than the windows were, so that outlines move towards the edges.
    """
    corners, grid = _corners(pair, window, stride)
    base = pair.value

    def covered(view: int) -> Callable[[range], Tensor]:
        def pictures(rows: range) -> Tensor:
            return pair.views[view].masked_fill(_inside(pair, corners[rows.start : rows.stop], window), fill)

        return pictures

    drops = []
    for view in (0, 1):
        other = pair.embeddings[1 - view][None]

        def alike(embeddings: Tensor, rows: range, view: int = view, other: Tensor = other) -> Tensor:
            return pair.alike(embeddings, other) if view == 0 else pair.alike(other, embeddings)

        drops.append(base - torch.cat(pair.each_embedding(covered(view), alike, len(corners), 1, track)))
    return Maps(torch.stack(drops).view(2, *grid))


def context_agnostic_occlusion(
    pair: PairQuestion, *, window: Window = 64, stride: Stride = 8, fill: Fill = 0.0, track: Track = iter
) -> Maps:
    """Context-agnostic occlusion: the embedding of a square alone, compared with that of the view without it.

    map of view 1 at window W = s(z(v1 without W) - z(only W of v1), z(v2)), then (map - min) / (max - min): low where the
    square alone carries the similarity; the sign is that of the published maps. Places as in conditional occlusion.
    Source: Sammani et al. 2022, arXiv:2206.09753. Sign: non-negative, in [0, 1]. Unit: none.

    Why: To judge a part by itself, without what surrounds it.
    Who: Researchers who suspect that context, not the part, makes two views alike.
    What: Embeddings of the square alone and of the rest alone.
    How: Two forward passes for each square of each view; maps as coarse as the square.
    When: After training; beside conditional occlusion.
    Where: Any encoder.
    Beware: A square on black is unlike anything the network has been trained on.
    """
    corners, grid = _corners(pair, window, stride)
    maps = []
    for view in (0, 1):
        other = pair.embeddings[1 - view][None]

        def pictures(rows: range, view: int = view) -> Tensor:
            inside = _inside(pair, corners[rows.start : rows.stop], window)
            whole = pair.views[view].expand(len(inside), -1, -1, -1)
            both = torch.stack([whole.masked_fill(~inside, fill), whole.masked_fill(inside, fill)], 1)
            return both.flatten(0, 1)

        def alike(embeddings: Tensor, rows: range, view: int = view, other: Tensor = other) -> Tensor:
            difference = embeddings[0::2] - embeddings[1::2]
            return pair.alike(difference, other) if view == 0 else pair.alike(other, difference)

        maps.append(torch.cat(pair.each_embedding(pictures, alike, len(corners), 2, track)))
    return Maps(torch.stack([_stretched(values) for values in maps]).view(2, *grid))


def _stretched(values: Tensor) -> Tensor:
    """(map - min) / (max - min); zero for a constant map."""
    return (values - values.min()) / (values.max() - values.min()).clamp(min=1e-30)


def pairwise_occlusion(
    pair: PairQuestion,
    *,
    samples: Annotated[int, Range(1, 1000), "number of random rectangles in each view"] = 100,
    smallest: Annotated[float, Range(0.01, 0.9), "smallest area of a rectangle, as a share of the view"] = 0.1,
    largest: Annotated[float, Range(0.01, 0.9), "largest area of a rectangle, as a share of the view"] = 0.3,
    slimmest: Annotated[float, Range(1.0, 5.0), "smallest height of a rectangle divided by its width"] = 1.0,
    widest: Annotated[float, Range(1.0, 5.0), "largest height of a rectangle divided by its width"] = 1.5,
    fill: Fill = 0.0,
    seed: int = 0,
    erased: Sequence[Tensor] | None = None,
    track: Track = iter,
) -> Maps:
    """Pairwise occlusion: random rectangles erased in both views at once, weighted by the loss of similarity.

    w = softmax over draws d of (s(v1, v2) - s(v1 without R1_d, v2 without R2_d)); w_d goes to the pixels of R1_d where
    |z(v1 without R1_d)| is not larger than |z(v2 without R2_d)|, else to those of R2_d; each map is divided by its maximum.
    `erased` passes the rectangles in: two boolean arrays (samples, H, W), one for each view; else they come from `seed`.
    Source: Sammani et al. 2022, arXiv:2206.09753. Sign: non-negative, at most 1. Unit: none. Resolution: pixels (H, W).

    Why: To find parts that matter together, which covering one view alone cannot show.
    Who: Researchers.
    What: The similarity with a part of each view erased.
    How: Two forward passes for each draw; smooth maps of overlapping rectangles.
    When: After training; beside conditional occlusion.
    Where: Any encoder.
    Beware: The softmax of similarities, which lie close together, is nearly flat: much of the map is where rectangles
    happened to fall. Compare several seeds.
    """
    if not (smallest <= largest and slimmest <= widest):
        raise BadRequest(
            "The smallest area must not exceed the largest, nor the slimmest shape the widest; change these options."
        )
    size = size_of(pair.views)
    if erased is None:
        erased = _rectangles(samples, size, (smallest, largest), (slimmest, widest), seed)
    masks = torch.stack([tensor_of(rectangles).to(pair.views.device).bool() for rectangles in erased], 1)
    if masks.shape[1:] != (2, *size):
        raise BadRequest(f"`erased` must be two boolean arrays (samples, {size[0]}, {size[1]}), one for each view.")

    def pictures(rows: range) -> Tensor:
        return pair.views.masked_fill(masks[rows.start : rows.stop, :, None], fill).flatten(0, 1)

    def read(embeddings: Tensor, rows: range) -> Tensor:
        first, second = embeddings[0::2], embeddings[1::2]
        return torch.stack([pair.alike(first, second), first.norm(dim=1), second.norm(dim=1)], 1)

    alike, first, second = torch.cat(pair.each_embedding(pictures, read, len(masks), 2, track)).double().unbind(1)
    weight = (pair.value - alike).softmax(0)
    shares = torch.stack([weight * (first <= second), weight * (first > second)], 1)
    maps = torch.einsum("dv,dvhw->vhw", shares, masks.double())
    return Maps(maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-30))


def _rectangles(
    samples: int, size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float], seed: int
) -> list[Tensor]:
    """Two boolean arrays (samples, H, W): uniform area, log-uniform aspect (height over width), uniform place."""
    draw, (height, width) = np.random.default_rng(seed), size
    masks = [torch.zeros(samples, height, width, dtype=torch.bool) for _ in range(2)]
    for mask in (mask for pair in zip(*masks, strict=True) for mask in pair):
        covered = draw.uniform(*area) * height * width
        ratio = math.exp(draw.uniform(math.log(aspect[0]), math.log(aspect[1])))
        down = min(height, max(1, round(math.sqrt(covered * ratio))))
        across = min(width, max(1, round(math.sqrt(covered / ratio))))
        top, left = draw.integers(height - down + 1), draw.integers(width - across + 1)
        mask[top : top + down, left : left + across] = True
    return masks
