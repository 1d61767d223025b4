"""What the metrics that make maps again have in common: other pictures, and how alike two maps are."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import runtime
from xai_core.explanation import heatmaps
from xai_core.explanation.agreement import GRID, rank_correlation
from xai_core.metrics.metric import Candidate, Case

_NEIGHBOURS = 1_000_000  # first number of the draws
NOTHING = "Nothing to compare: a map is the same everywhere."


class Neighbours(NamedTuple):
    """Pictures near the picture (n, 3, H, W), the maps (n, h, w) that the same method makes of them, and its passes; `key`
    names the pictures."""

    key: tuple
    images: Tensor
    maps: NDArray[np.float32]
    passes: float


def near(case: Case, samples: int, radius: float) -> Tensor:
    """Pictures (n, 3, H, W) near the picture: uniform noise in [-radius, radius] on every value, kept within [0, 1]."""

    def compute() -> Tensor:
        draws = [runtime.uniform_draw(case.seed, _NEIGHBOURS + row, tuple(case.image.shape[1:])) for row in range(samples)]
        noise = (2 * torch.stack(draws) - 1) * radius
        return (case.image + noise.to(case.image)).clamp(0, 1)

    return case.remembered(("near", samples, radius), compute)


def neighbours(case: Case, candidate: Candidate, samples: int, radius: float) -> Neighbours:
    """Made once for all metrics that look at the same neighbours of the same map."""

    def compute() -> Neighbours:
        images = near(case, samples, radius)
        return Neighbours((samples, radius), images, *case.remake(candidate.again, images))

    return case.remembered(("neighbours", candidate.name, samples, radius), compute)


def alike(case: Case, candidate: Candidate, raw: NDArray) -> float:
    """Rank correlation of the map and another one (h, w) on the common grid, in [-1, 1]; NaN where one is constant."""
    if not np.isfinite(raw).all():
        return float("nan")
    grids = (heatmaps.block_means(values, GRID, GRID) for values in (candidate.values, heatmaps.resize(raw, case.size)))
    return rank_correlation(*grids)
