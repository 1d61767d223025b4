"""The order of pixels by relevance, most relevant first.

Ties are broken by uniform draws of the seed, one for each pixel. (Maps behind a ReLU are mostly ties; breaking them in
reading order, as other code does, would always remove the picture from the top left.)
"""

import numpy as np
from numpy.typing import NDArray

from xai_core.core import runtime

_TIES = 1  # number of the draw


def ranks(values: NDArray, seed: int) -> NDArray[np.int64]:
    """The place of each pixel, 0 for the largest value; equal ones in the order of the seed's draws."""
    draws = runtime.uniform_draw(seed, _TIES, values.shape).numpy()
    found = np.empty(values.size, dtype=np.int64)
    found[np.lexsort((draws.ravel(), -values.ravel()))] = np.arange(values.size)
    return found.reshape(values.shape)


def ties(values: NDArray, counts: NDArray) -> tuple[float, NDArray[np.bool_]]:
    """The share of pixels that have an equal, and which of the `counts` strongest sets depend on how ties are broken."""
    ordered = np.sort(values, axis=None)[::-1]
    equal = ordered[1:] == ordered[:-1]
    tied = np.r_[equal, False] | np.r_[False, equal]
    inner = (counts > 0) & (counts < values.size)
    return float(tied.mean()), inner & equal[np.clip(counts - 1, 0, equal.size - 1)]
