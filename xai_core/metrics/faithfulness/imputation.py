"""Missing pixels estimated from their neighbours: the linear imputation of ROAD (Rong et al. 2022, arXiv:2202.00449).

Every missing pixel is the weighted mean of its eight neighbours, which may be missing themselves: weight 1/6 for those
beside it, 1/12 for the diagonal ones, scaled up at the picture's edge. This is one sparse, symmetric, positive definite
system. It is solved directly, with the unknowns in nested dissection order, which causes the least fill-in.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.machine import available_cpus

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BESIDE, _DIAGONAL = 1 / 6, 1 / 12
_SMALL = 16  # pixels of a block that is not divided any further


def imputed(image: Tensor, missing: NDArray[np.bool_]) -> Tensor:
    """Pictures (n, 3, H, W) like `image` (1, 3, H, W), with the missing (n, H, W) pixels estimated. At least one pixel must
    be known."""
    flat = image[0].cpu().double().flatten(1).T.numpy()
    with ThreadPoolExecutor(available_cpus()) as pool:
        solved = list(pool.map(lambda mask: _solved(flat, mask), missing))
    return torch.from_numpy(np.stack(solved)).view(len(missing), *image.shape[1:]).to(image)


def _solved(flat: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(3, H W): the picture (H W, 3) with its missing pixels (H, W) filled in."""
    from scipy.sparse.linalg import splu

    system, order = _system(missing.shape)
    mask = missing.ravel()
    unknown, known = order[mask[order]], np.flatnonzero(~mask)
    full = flat.copy()
    if len(unknown):
        rows = system[unknown]
        matrix = rows[:, unknown].tocsc()
        symmetric = {"permc_spec": "NATURAL", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
        full[unknown] = splu(matrix, **symmetric).solve(-(rows[:, known] @ flat[known]))
    return full.T.astype(np.float32)


@lru_cache(maxsize=4)
def _system(size: tuple[int, int]) -> tuple[csr_array, NDArray[np.int64]]:
    """The equations of all pixels of a picture, and the order in which to solve them."""
    from scipy.sparse import csr_array

    height, width = size
    index = np.arange(height * width).reshape(size)
    pairs = [
        (index[:, :-1], index[:, 1:], _BESIDE),
        (index[:-1], index[1:], _BESIDE),
        (index[:-1, :-1], index[1:, 1:], _DIAGONAL),
        (index[:-1, 1:], index[1:, :-1], _DIAGONAL),
    ]
    first = np.concatenate([a.ravel() for a, _, _ in pairs])
    second = np.concatenate([b.ravel() for _, b, _ in pairs])
    weight = np.concatenate([np.full(a.size, w) for a, _, w in pairs])
    total = np.bincount(np.r_[first, second], np.r_[weight, weight], height * width)
    rows, columns = np.r_[first, second, index.ravel()], np.r_[second, first, index.ravel()]
    matrix = csr_array((np.r_[-weight, -weight, total], (rows, columns)), shape=(height * width,) * 2)
    return matrix, np.concatenate(_nested_dissection(index))


def _nested_dissection(block: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The pixels of a block: one half, the other half, and last the line that separates them; each half likewise."""
    if block.size <= _SMALL:
        return [block.ravel()]
    if block.shape[0] < block.shape[1]:
        block = block.T
    middle = len(block) // 2
    return [*_nested_dissection(block[:middle]), *_nested_dissection(block[middle + 1 :]), block[middle]]
