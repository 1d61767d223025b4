"""The order of pixels by relevance, most relevant first.

Ties are broken by uniform draws of the seed, one for each pixel. (Maps behind a ReLU are mostly ties; breaking them in
reading order, as other code does, would always remove the picture from the top left.)
"""

import numpy as np
from numpy.typing import NDArray

from xai_core.core import runtime

_TIES = 1  # number of the draw


def ranks(values: NDArray[np.floating], seed: int) -> NDArray[np.int64]:
    """The place of each pixel (H, W), 0 for the largest value; equal values are ordered by the draws of the seed."""
    draws = runtime.uniform_draw(seed, _TIES, values.shape).numpy()
    places = np.empty(values.size, dtype=np.int64)
    places[np.lexsort((draws.ravel(), -values.ravel()))] = np.arange(values.size)
    return places.reshape(values.shape)


def ties(values: NDArray[np.floating], counts: NDArray[np.int64]) -> tuple[float, NDArray[np.bool_]]:
    """The share of pixels whose value occurs more than once; and for each of `counts`, whether the set of that many
    strongest pixels depends on how ties are broken."""
    ordered = np.sort(values, axis=None)[::-1]
    equal = ordered[1:] == ordered[:-1]
    tied = np.r_[equal, False] | np.r_[False, equal]
    inner = (counts > 0) & (counts < values.size)
    return float(tied.mean()), inner & equal[np.clip(counts - 1, 0, equal.size - 1)]
