"""How similar a map is to one that was computed again under another condition."""

import numpy as np
from numpy.typing import NDArray

from xai_core.explanation import heatmaps
from xai_core.explanation.agreement import GRID, rank_correlation
from xai_core.metrics.metric import Candidate, Case

NO_COMPARISON = "Nothing to compare: a map is the same everywhere."


def map_similarity(case: Case, candidate: Candidate, raw: NDArray[np.float32]) -> float:
    """Rank correlation of the map and another raw one (h, w) on 28 x 28 cells, in [-1, 1]; NaN where one is constant or
    holds values that are not numbers."""
    if not np.isfinite(raw).all():
        return float("nan")
    grids = [heatmaps.block_means(values, GRID, GRID) for values in (candidate.values, heatmaps.resize(raw, case.size))]
    return rank_correlation(grids[0], grids[1])
