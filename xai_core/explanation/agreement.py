"""Agreement of maps: rank correlation, overlap of the strongest places, structural similarity; consensus and dissent.

Maps are compared on one grid of 28 x 28 cells, over the part of the picture that all their networks have seen.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.explanation import heatmaps
from xai_core.explanation.heatmaps import Floats
from xai_core.explanation.result import Explanation

GRID = 28
TOP_SHARE = 0.1
Box = tuple[float, float, float, float]


def common_grid(explanation: Explanation, box: Box | None = None) -> Floats:
    """The map as 28 x 28 cells over a box of the picture (None: the part that its network saw), for comparing maps."""
    if box is None or box == explanation.box:
        fine: Floats = explanation.to_input()
    else:
        fine = explanation.within(box, (8 * GRID, 8 * GRID))
    return heatmaps.block_means(fine, GRID, GRID)


def common_box(explanations: Sequence[Explanation]) -> Box:
    """The part of the picture that all networks saw, (left, top, right, bottom) in its pixels. Raises BadRequest where
    there is none, or the pictures differ."""
    _check_same_picture(explanations)
    left, top = (max(explanation.box[side] for explanation in explanations) for side in (0, 1))
    right, bottom = (min(explanation.box[side] for explanation in explanations) for side in (2, 3))
    if left >= right or top >= bottom:
        raise BadRequest("These networks saw no common part of the picture, so their maps cannot be compared.")
    return left, top, right, bottom


def common_grids(explanations: Sequence[Explanation]) -> list[Floats]:
    """`common_grid` of each explanation over the part of the picture that all networks saw."""
    box = common_box(explanations)
    return [common_grid(explanation, box) for explanation in explanations]


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rho of two grids, in [-1, 1]; ties share their mean rank. NaN where a map is constant."""
    # By pandas, which the pages have imported: importing scipy.stats takes half a second.
    first, second = (pd.Series(grid.ravel()).rank().to_numpy() - (grid.size + 1) / 2 for grid in (a, b))
    length = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / length) if length else float("nan")


def top_overlap(a: Floats, b: Floats) -> float:
    """Intersection over union of the strongest tenth of the cells, in [0, 1]. NaN where a map is constant or holds NaN.

    Of cells that tie for the last places of the tenth, the first in reading order count.
    """
    if not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return float("nan")
    count = max(1, round(TOP_SHARE * a.size))
    first, second = (set(np.argsort(-grid, axis=None, kind="stable")[:count]) for grid in (a, b))
    return len(first & second) / len(first | second)


def ssim(a: Floats, b: Floats) -> float:
    """SSIM (Wang et al. 2004) of two grids, each divided by its largest magnitude; in [-1, 1]. NaN for a zero map."""
    from skimage.metrics import structural_similarity

    largest = [np.abs(grid).max() for grid in (a, b)]
    if not min(largest) > 0:
        return float("nan")
    structural: Callable[..., float] = structural_similarity  # scikit-image declares no types for it
    return float(structural(a / largest[0], b / largest[1], data_range=2.0))


MEASURES: dict[str, tuple[str, Callable[[Floats, Floats], float]]] = {
    "spearman": ("Rank correlation (Spearman)", rank_correlation),
    "overlap": ("Overlap of the strongest tenth", top_overlap),
    "ssim": ("Structural similarity (SSIM)", ssim),
}


def agreement(explanations: Sequence[Explanation], measure: str = "spearman") -> NDArray[np.float64]:
    """The measure for every pair of maps, (n, n), symmetric, 1 on the diagonal; NaN where it is undefined for a map."""
    grids = common_grids(explanations)
    compare = MEASURES[measure][1]
    matrix = np.eye(len(grids))
    for i in range(len(grids)):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = compare(grids[i], grids[j])
    return matrix


def mean_agreement(explanations: Sequence[Explanation]) -> NDArray[np.float64]:
    """The mean rank correlation (n,) of each map with the others, in [-1, 1]; NaN where none is defined."""
    matrix = agreement(explanations)
    others = np.isfinite(matrix) & ~np.eye(len(matrix), dtype=bool)
    sums, counts = np.where(others, matrix, 0).sum(1), others.sum(1)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(matrix), np.nan), where=counts > 0)
    return means


def clustered(matrix: NDArray[np.float64]) -> list[int]:
    """An order that puts maps which agree side by side (average linkage on 1 - agreement; NaN counts as 0)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:
        return list(range(len(matrix)))
    distance = 1 - np.nan_to_num(matrix)
    np.fill_diagonal(distance, 0)
    order = leaves_list(linkage(squareform(np.clip(distance, 0, None), checks=False), "average"))
    return [int(row) for row in order]


def consensus(explanations: Sequence[Explanation]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(consensus, dissent), both 28 x 28: mean and standard deviation over the methods of each cell's rank in [0, 1].

    Ranks make maps of different units comparable: 1 is the strongest cell of a map. Constant maps are left out. Raises
    BadRequest where all maps are constant.
    """
    from scipy.stats import rankdata

    grids = [grid for grid in common_grids(explanations) if np.ptp(grid) > 0]
    if not grids:
        raise BadRequest("All these maps are constant, so there is no consensus: choose other methods.")
    ranks = np.stack([(rankdata(grid) - 1).reshape(grid.shape) / (grid.size - 1) for grid in grids])
    return ranks.mean(0).astype(np.float32), ranks.std(0).astype(np.float32)


def _check_same_picture(explanations: Sequence[Explanation]) -> None:
    """Raises BadRequest for maps of different pictures. Maps of one network are told apart by the digest of its input; for
    networks that crop differently only the size of the picture can be compared."""
    model = explanations[0].model
    sizes = {explanation.picture_size for explanation in explanations}
    digests = {explanation.picture for explanation in explanations if explanation.model == model}
    if len(sizes) > 1 or len(digests) > 1:
        raise BadRequest("These maps are of different pictures; only maps of one picture can be compared.")
