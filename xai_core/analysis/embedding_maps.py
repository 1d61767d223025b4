"""A map of many pictures: their embeddings in two dimensions, so that like pictures lie beside each other.

PCA shows the two directions in which embeddings vary most, and is computed at once. t-SNE (van der Maaten and Hinton, 2008)
keeps neighbours together: which pictures lie beside each other says something, the sizes of clusters and the distances
between them say nothing.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from xai_core.analysis.tsne import placed, places
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.runtime import Track

Projection = Literal["pca", "tsne"]
PERPLEXITY = 30  # of t-SNE, about the number of neighbours that are kept together; fewer where there are few pictures
REDUCED = 50  # dimensions that t-SNE gets, the largest principal components
FEWEST = 5  # pictures of a map by t-SNE
MOST = 5_000  # pictures of a map by t-SNE: the time grows with their number


class EmbeddingMap(NamedTuple):
    """The places (n, 2) of n pictures, float32, about zero and within -1 and 1, on one scale for both axes; and the `shares`
    (2,) of the embeddings' variance that the axes hold, which are not numbers for t-SNE."""

    points: NDArray[np.float32]
    shares: NDArray[np.float64]


def embedding_map(
    embeddings: NDArray[np.floating], projection: Projection = "pca", seed: int = 0, *, track: Track | None = None
) -> EmbeddingMap:
    """The map of n pictures with these `embeddings` (n, d). `seed` is of t-SNE, and of the components of PCA where their
    number is reduced at random. Where pictures do not differ, all lie at zero. With a `track`, t-SNE runs in a process of
    its own, which is ended where the track raises.

    Raises BadRequest where there is no picture, where an embedding is not finite, or for fewer than FEWEST or more than MOST
    pictures by t-SNE; UnknownName.
    """
    if projection not in get_args(Projection):
        raise UnknownName("projection", projection, get_args(Projection))
    inputs = np.asarray(embeddings, np.float32)
    if inputs.ndim != 2 or not inputs.size:
        raise BadRequest(f"A map needs one row of embeddings for each picture; these are {inputs.shape}.")
    if not np.isfinite(inputs).all():
        raise BadRequest("Some embeddings are not finite numbers; compute them again before they are shown on a map.")
    if projection == "pca":
        components, shares = _principal(inputs, 2, seed)
        return EmbeddingMap(_scaled(components), shares)
    if not FEWEST <= len(inputs) <= MOST:
        raise BadRequest(f"t-SNE takes {FEWEST} to {MOST:,} pictures, not {len(inputs):,}. Choose PCA.")
    reduced, _ = _principal(inputs, REDUCED, seed)
    perplexity = min(PERPLEXITY, (len(inputs) - 1) / 3)
    if not np.ptp(reduced, axis=0).any():
        return EmbeddingMap(np.zeros((len(inputs), 2), np.float32), np.full(2, np.nan))
    points = places(reduced, perplexity, seed) if track is None else placed(reduced, perplexity, seed, track)
    return EmbeddingMap(_scaled(points - points.mean(0)), np.full(2, np.nan))


def inside(points: NDArray[np.floating], outlines: Sequence[NDArray[np.floating]]) -> NDArray[np.bool_]:
    """Which of these points (n, 2) lie inside at least one outline: the vertices (k, 2) of a polygon, without the first one
    again at its end. Where a polygon crosses itself, a point is inside if a ray from it crosses its edges an odd number of
    times."""
    from skimage.measure import points_in_poly

    chosen = np.zeros(len(points), bool)
    for outline in outlines:
        chosen |= points_in_poly(points, outline)  # type: ignore[no-untyped-call]
    return chosen


def _principal(inputs: NDArray[np.float32], count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first `count` principal components (n, count), at least two, and their shares of the variance; zeros where there
    are fewer."""
    from sklearn.decomposition import PCA

    components, shares = np.zeros((len(inputs), max(2, min(count, *inputs.shape)))), np.zeros(count)
    if np.ptp(inputs, axis=0).any():
        reduction = PCA(min(count, *inputs.shape), random_state=seed)
        found = reduction.fit_transform(inputs.astype(np.float64))
        components[:, : found.shape[1]] = found
        shares[: found.shape[1]] = reduction.explained_variance_ratio_
    return components, shares


def _scaled(points: NDArray[np.floating]) -> NDArray[np.float32]:
    largest = float(np.abs(points).max()) or 1.0
    scaled: NDArray[np.float32] = (points / largest).astype(np.float32)
    return scaled
