"""Two halves of the pictures: one suggests what is claimed, on the other it is tested."""

import numpy as np
from numpy.typing import NDArray


def halves(count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of `count` pictures in two halves at random, each in rising order; the second has the odd one."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])
