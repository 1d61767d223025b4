"""Pixels made up from their neighbours: the noisy linear imputation of ROAD (Rong et al. 2022, arXiv:2202.00449).

Every missing pixel is the weighted mean of its eight neighbours, missing ones among them: 1/6 for those beside it, 1/12 for
the diagonal ones, scaled up at the picture's edge. That is one sparse, symmetric, positive system; it is solved exactly,
its unknowns in the order of nested dissections of the grid, in which it fills in least.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import splu
from torch import Tensor

from xai_core.core import runtime

_BESIDE, _DIAGONAL = 1 / 6, 1 / 12
_SMALL = 16  # pixels of a block that is not cut any further


def imputed(image: Tensor, missing: NDArray[np.bool_]) -> Tensor:
    """Pictures (n, 3, H, W) like `image` (1, 3, H, W), the missing (n, H, W) pixels made up. Some pixel must be left."""
    flat = image[0].cpu().double().flatten(1).T.numpy()
    with ThreadPoolExecutor(runtime.available_cpus()) as pool:
        found = list(pool.map(lambda one: _solved(flat, one), missing))
    return torch.from_numpy(np.stack(found)).view(len(missing), *image.shape[1:]).to(image)


def _solved(flat: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(3, H W): the picture (H W, 3) with its missing pixels (H, W) filled in."""
    system, order = _system(missing.shape)
    gone = missing.ravel()
    unknown, known = order[gone[order]], np.flatnonzero(~gone)
    full = flat.copy()
    if len(unknown):
        rows = system[unknown]
        matrix = rows[:, unknown].tocsc()
        symmetric = {"permc_spec": "NATURAL", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
        full[unknown] = splu(matrix, **symmetric).solve(-(rows[:, known] @ flat[known]))
    return full.T.astype(np.float32)


@lru_cache(maxsize=4)
def _system(size: tuple[int, int]) -> tuple[csr_array, NDArray[np.int64]]:
    """The equations of all pixels of a picture, and an order to solve them in."""
    height, width = size
    index = np.arange(height * width).reshape(size)
    pairs = [
        (index[:, :-1], index[:, 1:], _BESIDE),
        (index[:-1], index[1:], _BESIDE),
        (index[:-1, :-1], index[1:, 1:], _DIAGONAL),
        (index[:-1, 1:], index[1:, :-1], _DIAGONAL),
    ]
    one = np.concatenate([a.ravel() for a, _, _ in pairs])
    other = np.concatenate([b.ravel() for _, b, _ in pairs])
    weight = np.concatenate([np.full(a.size, w) for a, _, w in pairs])
    total = np.bincount(np.r_[one, other], np.r_[weight, weight], height * width)
    rows, columns = np.r_[one, other, index.ravel()], np.r_[other, one, index.ravel()]
    matrix = csr_array((np.r_[-weight, -weight, total], (rows, columns)), shape=(height * width,) * 2)
    return matrix, np.concatenate(_dissected(index))


def _dissected(block: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The pixels of a block: one half, the other, and last the line between them; each half likewise."""
    if block.size <= _SMALL:
        return [block.ravel()]
    if block.shape[0] < block.shape[1]:
        block = block.T
    middle = len(block) // 2
    return [*_dissected(block[:middle]), *_dissected(block[middle + 1 :]), block[middle]]
