"""Groups of pictures that a model decides for the same kind of reason: clusters of their maps.

Spectral relevance analysis, SpRAy (Lapuschkin et al. 2019, Nature Communications 10:1096): the maps of one class are made
small, and spectral clustering finds groups of them. A group whose maps all lie on one place that should not matter (a
copyright tag, a watermark) shows a model that is right for the wrong reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.explanation import heatmaps

SIDE = 16  # cells a side that maps are compared on
FEWEST = 8  # maps that can be grouped
MOST = 8  # clusters that are looked for
LINK = 1e-6  # between any two maps: groups far from each other would leave the graph in pieces


@dataclass(frozen=True)
class Clusters:
    """labels (n,) in 0 ... k - 1, the largest cluster first; the mean map of each, (k, 16, 16), of maps divided by their
    norm; the smallest eigenvalues of the graph's Laplacian, rising, whose largest gap tells how many clusters there are."""

    labels: NDArray[np.int64]
    means: NDArray[np.float32]
    eigenvalues: NDArray[np.float64]
    members: tuple[NDArray[np.int64], ...]  # of each cluster, the map nearest to its mean first
    seed: int


def cluster_maps(maps: Sequence[NDArray], clusters: int | None = None, *, seed: int = 0) -> Clusters:
    """Group maps (h, w) of any sizes by where they lie.

    Each is averaged to 16 x 16 cells and divided by its norm, so that how strong it is does not count. The eigenvectors of
    the normalised Laplacian of their affinities are grouped by k-means.
    Deviation: the paper's graph joins nearest neighbours, which cuts groups without structure of their own to pieces; here
    all are joined, by exp(-d^2 / s), s half the median squared distance.
    `clusters` is their number; None: 2 to 8, where the gap between successive eigenvalues is largest. The seed is k-means'.
    Raises BadRequest with fewer than eight maps, or more clusters than maps.
    """
    from sklearn.cluster import SpectralClustering

    if len(maps) < FEWEST:
        raise BadRequest(f"There are {len(maps)} maps; clusters need at least {FEWEST}.")
    if clusters is not None and not 2 <= clusters < len(maps):
        raise BadRequest(f"{len(maps)} maps can be put into 2 to {len(maps) - 1} clusters, not {clusters}.")
    points = np.stack([small_map(one).ravel() for one in maps])
    graph = _affinity(points)
    eigenvalues = _eigenvalues(graph)
    if clusters is None:
        gaps = np.diff(eigenvalues[1 : min(MOST, len(maps) - 1) + 1])
        clusters = int(gaps.argmax()) + 2
    found = SpectralClustering(clusters, affinity="precomputed", random_state=seed, assign_labels="kmeans").fit(graph)
    return _clusters(points, found.labels_, eigenvalues, seed)


def small_map(one: NDArray) -> NDArray[np.float32]:
    """A map of any size on 16 x 16 cells, divided by its norm; NaN counts as nothing."""
    grid = np.nan_to_num(np.asarray(one, np.float32))
    rows, columns = min(SIDE, grid.shape[0]), min(SIDE, grid.shape[1])
    small = heatmaps.resize(heatmaps.block_means(grid, rows, columns), (SIDE, SIDE), smooth=True)
    return small / (np.linalg.norm(small) or 1.0)


def _affinity(points: NDArray) -> NDArray[np.float64]:
    from scipy.spatial.distance import pdist, squareform

    squares = pdist(points.astype(float), "sqeuclidean")
    return np.exp(-squareform(squares) / max(np.median(squares) / 2, 1e-12)) + LINK


def _eigenvalues(graph: NDArray) -> NDArray[np.float64]:
    from scipy.linalg import eigvalsh
    from scipy.sparse.csgraph import laplacian

    most = min(MOST + 1, len(graph))
    return eigvalsh(laplacian(graph, normed=True), subset_by_index=(0, most - 1))


def _clusters(points: NDArray, labels: NDArray, eigenvalues: NDArray, seed: int) -> Clusters:
    by_size = np.argsort(-np.bincount(labels), kind="stable")
    labels = np.argsort(by_size)[labels]
    means = np.stack([points[labels == cluster].mean(0) for cluster in range(len(by_size))])
    order = []
    for cluster, mean in enumerate(means):
        inside = np.flatnonzero(labels == cluster)
        order.append(inside[np.argsort(np.linalg.norm(points[inside] - mean, axis=1), kind="stable")])
    return Clusters(labels, means.reshape(-1, SIDE, SIDE).astype(np.float32), eigenvalues, tuple(order), seed)
