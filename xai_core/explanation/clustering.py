"""Clusters of maps: groups of pictures that a model classifies for the same kind of reason.

Spectral relevance analysis, SpRAy (Lapuschkin et al. 2019, Nature Communications 10:1096): the maps of one class are
reduced to a coarse grid, and spectral clustering groups them. A group whose maps all lie on a place that should not matter
(a copyright tag, a watermark) shows a model that is right for the wrong reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.explanation import heatmaps
from xai_core.explanation.heatmaps import Floats

SIDE = 16  # cells along each side of the grid on which maps are compared
FEWEST = 8  # maps that clustering needs at least
MOST = 8  # clusters at most, where their number is not given
LINK = 1e-6  # added to every affinity, so that the graph of groups far from each other stays connected


@dataclass(frozen=True)
class Clusters:
    """Clusters of n maps, the largest cluster first.

    labels       the cluster of each map, (n,) in 0 ... k - 1
    means        the mean map of each cluster, (k, 16, 16), of maps divided by their norm
    eigenvalues  the smallest eigenvalues of the graph's Laplacian, rising; the largest gap shows the number of clusters
    members      the numbers of each cluster's maps, the map nearest to the mean first
    seed         of k-means
    """

    labels: NDArray[np.int64]
    means: NDArray[np.float32]
    eigenvalues: NDArray[np.float64]
    members: tuple[NDArray[np.int64], ...]
    seed: int


def cluster_maps(maps: Sequence[Floats], clusters: int | None = None, *, seed: int = 0) -> Clusters:
    """Group maps (h, w) of any sizes by the places that they highlight.

    Each map is averaged to 16 x 16 cells and divided by its norm, so that its strength does not count. The eigenvectors of
    the normalised Laplacian of the maps' affinities are grouped by k-means.
    Deviation: the paper's graph joins nearest neighbours, which splits groups without inner structure; here all maps are
    joined with the affinity exp(-d^2 / s), s half the median squared distance.

    clusters  their number; None chooses 2 to 8, at the largest gap between successive eigenvalues
    seed      of k-means

    Raises BadRequest with fewer than eight maps, or where `clusters` is not between 2 and the number of maps minus 1.
    """
    from sklearn.cluster import SpectralClustering

    if len(maps) < FEWEST:
        raise BadRequest(f"There are {len(maps)} maps; clusters need at least {FEWEST}.")
    if clusters is not None and not 2 <= clusters < len(maps):
        raise BadRequest(f"{len(maps)} maps can be put into 2 to {len(maps) - 1} clusters, not {clusters}.")
    points = np.stack([small_map(heatmap).ravel() for heatmap in maps])
    graph = _affinity(points)
    eigenvalues = _eigenvalues(graph)
    if clusters is None:
        gaps = np.diff(eigenvalues[1 : min(MOST, len(maps) - 1) + 1])
        clusters = int(gaps.argmax()) + 2
    fitted = SpectralClustering(clusters, affinity="precomputed", random_state=seed, assign_labels="kmeans").fit(graph)
    return _clusters(points, fitted.labels_, eigenvalues, seed)


def small_map(heatmap: Floats) -> NDArray[np.float32]:
    """A map of any size on 16 x 16 cells, divided by its norm; NaN counts as 0."""
    grid = np.nan_to_num(np.asarray(heatmap, np.float32))
    rows, columns = min(SIDE, grid.shape[0]), min(SIDE, grid.shape[1])
    small = heatmaps.resize(heatmaps.block_means(grid, rows, columns), (SIDE, SIDE), smooth=True)
    return (small / (np.linalg.norm(small) or 1.0)).astype(np.float32)


def _affinity(points: NDArray[np.float32]) -> NDArray[np.float64]:
    from scipy.spatial.distance import pdist, squareform

    squares = pdist(points.astype(float), "sqeuclidean")
    affinities: NDArray[np.float64] = np.exp(-squareform(squares) / max(np.median(squares) / 2, 1e-12)) + LINK
    return affinities


def _eigenvalues(graph: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.linalg import eigvalsh
    from scipy.sparse.csgraph import laplacian

    most = min(MOST + 1, len(graph))
    eigenvalues: NDArray[np.float64] = eigvalsh(laplacian(graph, normed=True), subset_by_index=(0, most - 1))
    return eigenvalues


def _clusters(
    points: NDArray[np.float32], labels: NDArray[np.int64], eigenvalues: NDArray[np.float64], seed: int
) -> Clusters:
    by_size = np.argsort(-np.bincount(labels), kind="stable")
    labels = np.argsort(by_size)[labels]
    means = np.stack([points[labels == cluster].mean(0) for cluster in range(len(by_size))])
    order = []
    for cluster, mean in enumerate(means):
        inside = np.flatnonzero(labels == cluster)
        order.append(inside[np.argsort(np.linalg.norm(points[inside] - mean, axis=1), kind="stable")])
    return Clusters(labels, means.reshape(-1, SIDE, SIDE).astype(np.float32), eigenvalues, tuple(order), seed)
