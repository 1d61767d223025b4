"""How far maps agree: rank correlation, overlap of their strongest places, structural similarity; consensus and dissent.

Maps are compared on one grid of 28 x 28 cells, over the part of the picture that all networks concerned have seen.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata
from skimage.metrics import structural_similarity

from xai_core.core.errors import BadRequest
from xai_core.explanation import heatmaps
from xai_core.explanation.result import Explanation

GRID = 28
TOP_SHARE = 0.1


Box = tuple[float, float, float, float]


def common_grid(explanation: Explanation, box: Box | None = None) -> NDArray[np.float32]:
    """The map as 28 x 28 cells over a box of the picture (None: what its network saw): there, any two maps are compared."""
    whole = box in (None, explanation.box)
    fine = explanation.to_input() if whole else explanation.within(box, (8 * GRID, 8 * GRID))
    return heatmaps.block_means(fine, GRID, GRID)


def common_box(explanations: Sequence[Explanation]) -> Box:
    """What all networks saw of the picture, (left, top, right, bottom) in its pixels. Raises BadRequest where nothing is
    left, or the pictures are not the same."""
    _same_picture(explanations)
    left, top = (max(one.box[side] for one in explanations) for side in (0, 1))
    right, bottom = (min(one.box[side] for one in explanations) for side in (2, 3))
    if left >= right or top >= bottom:
        raise BadRequest("These networks saw no common part of the picture.")
    return left, top, right, bottom


def common_grids(explanations: Sequence[Explanation]) -> list[NDArray[np.float32]]:
    """`common_grid` of each over what all networks saw."""
    box = common_box(explanations)
    return [common_grid(one, box) for one in explanations]


def rank_correlation(a: NDArray, b: NDArray) -> float:
    """Spearman's rho of two grids, in [-1, 1]; ties get their mean rank. NaN where a map is constant."""
    first, second = (rankdata(grid) - (grid.size + 1) / 2 for grid in (a, b))
    length = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / length) if length else float("nan")


def top_overlap(a: NDArray, b: NDArray) -> float:
    """Intersection over union of the strongest tenth of the cells, in [0, 1]. NaN where a map is constant or not of numbers.

    Cells tied with the last of the tenth count as far as they fit, in reading order.
    """
    if not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return float("nan")
    count = max(1, round(TOP_SHARE * a.size))
    first, second = (set(np.argsort(-grid, axis=None, kind="stable")[:count]) for grid in (a, b))
    return len(first & second) / len(first | second)


def ssim(a: NDArray, b: NDArray) -> float:
    """SSIM (Wang et al. 2004) of two grids, each divided by its largest magnitude; in [-1, 1]. NaN for a zero map."""
    largest = [np.abs(grid).max() for grid in (a, b)]
    if not min(largest) > 0:
        return float("nan")
    return float(structural_similarity(a / largest[0], b / largest[1], data_range=2.0))


MEASURES: dict[str, tuple[str, Callable[[NDArray, NDArray], float]]] = {
    "spearman": ("Rank correlation (Spearman)", rank_correlation),
    "overlap": ("Overlap of the strongest tenth", top_overlap),
    "ssim": ("Structural similarity (SSIM)", ssim),
}


def agreement(explanations: Sequence[Explanation], measure: str = "spearman") -> NDArray[np.float64]:
    """The measure of every pair of maps, (n, n), symmetric, 1 on the diagonal; NaN where a map says nothing."""
    grids = common_grids(explanations)
    compare = MEASURES[measure][1]
    found = np.eye(len(grids))
    for i in range(len(grids)):
        for j in range(i):
            found[i, j] = found[j, i] = compare(grids[i], grids[j])
    return found


def mean_agreement(explanations: Sequence[Explanation]) -> NDArray[np.float64]:
    """How far each map agrees with the others: the mean of its rank correlations, in [-1, 1]; NaN where it has none."""
    matrix = agreement(explanations)
    others = np.isfinite(matrix) & ~np.eye(len(matrix), dtype=bool)
    sums, counts = np.where(others, matrix, 0).sum(1), others.sum(1)
    return np.divide(sums, counts, out=np.full(len(matrix), np.nan), where=counts > 0)


def clustered(matrix: NDArray) -> list[int]:
    """An order that puts maps which agree side by side (average linkage on 1 - agreement; NaN counts as none)."""
    if len(matrix) < 3:
        return list(range(len(matrix)))
    distance = 1 - np.nan_to_num(matrix)
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(np.clip(distance, 0, None), checks=False), "average")).tolist()


def consensus(explanations: Sequence[Explanation]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(consensus, dissent), both 28 x 28: mean and standard deviation over the methods of each cell's rank in [0, 1].

    Ranks make maps of different units comparable: 1 is the strongest cell of a map. Constant maps have no say.
    """
    grids = [grid for grid in common_grids(explanations) if np.ptp(grid) > 0]
    if not grids:
        raise BadRequest("No map prefers any place, so that there is no consensus.")
    ranks = np.stack([(rankdata(grid) - 1).reshape(grid.shape) / (grid.size - 1) for grid in grids])
    return ranks.mean(0).astype(np.float32), ranks.std(0).astype(np.float32)


def _same_picture(explanations: Sequence[Explanation]) -> None:
    """Of one network's maps the digests of what it saw tell; networks that crop differently have the size alone."""
    seen = {(one.picture_size, one.picture if one.model == explanations[0].model else "") for one in explanations}
    sizes = {size for size, _ in seen}
    if len(sizes) > 1 or len({digest for _, digest in seen if digest}) > 1:
        raise BadRequest("These maps are of different pictures; only maps of one picture are compared.")
