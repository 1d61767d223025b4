"""The quick deletion: one point of a deletion curve, enough to sort maps by, not to judge a method by."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import runtime
from xai_core.data.preprocessing import baseline_images, blurred
from xai_core.explanation import heatmaps
from xai_core.explanation.agreement import GRID
from xai_core.metrics.metric import Asking, Candidate, Case, Cost, Pictures, Score

HIDDEN_SHARE = 0.2
RANDOM_ORDERS, BLOBS = 8, 5


def quick_deletion(case: Case, candidate: Candidate) -> Asking:
    """How much more of the target goes with the strongest fifth of a map than with a fifth chosen at random.

    value = mean over 8 random fifths R of f(x without R) - f(x without the strongest fifth S)
          = drop of f without S - mean drop without R

    A fifth is 157 of the 28 x 28 cells on which maps of any resolution are compared, so that coarse and fine maps are
    hidden alike. The hidden part fades over into the blurred picture (`blur` of BASELINES) within a cell or so: hard
    edges would themselves make the network change its mind, and scattered cells have the most of them. Random fifths
    are smooth blobs of the size of a coarse map's.

    Sign   positive: the map finds places that the target depends on; near 0: it finds no more than chance; negative: less.
    Range  unbounded, in the target's unit: compare scores of one picture and one target only.
    Order  by value, strongest for the target first; ties by such a random blob of `seed`, so that a constant map scores
           as one more random fifth.
    """
    ties = blobs(case.seed, RANDOM_ORDERS)
    grid = heatmaps.block_means(candidate.values.astype(np.float32), GRID, GRID)
    random = np.stack([strongest(blobs(case.seed, index), ties) for index in range(RANDOM_ORDERS)])
    without = Pictures(1, lambda rows: _hidden(case, strongest(grid, ties)[None]), case.asked)
    chance = Pictures(RANDOM_ORDERS, lambda rows: _hidden(case, random[rows.start : rows.stop]), case.asked, key="fifths")
    (left,), by_chance = yield [without, chance]
    return Score(float(by_chance.mean() - left), facts={"hidden": float(left), "by chance": float(by_chance.mean())})


def strongest(grid: NDArray, ties: NDArray) -> NDArray[np.bool_]:
    """The strongest fifth of the cells; among equal ones, those with the larger value in `ties`."""
    chosen = np.zeros(grid.size, dtype=bool)
    chosen[np.lexsort((-ties.ravel(), -grid.ravel()))[: round(HIDDEN_SHARE * grid.size)]] = True
    return chosen.reshape(grid.shape)


def blobs(seed: int, index: int) -> NDArray[np.float32]:
    """A random order of the cells that changes smoothly: uniform draws on a coarse grid, stretched."""
    return heatmaps.resize(runtime.uniform_draw(seed, index, (BLOBS, BLOBS)).numpy(), (GRID, GRID))


def _hidden(case: Case, cells: NDArray[np.bool_]) -> Tensor:
    """The picture with these cells (n, 28, 28) faded over into its blur."""
    replaced = case.remembered(("substrate", "blur"), lambda: baseline_images(case.image, "blur"))
    masks = F.interpolate(torch.from_numpy(cells)[:, None].to(case.image), case.size, mode="nearest-exact")
    return case.image + blurred(masks, sigma=min(case.size) / GRID) * (replaced - case.image)


def fifth_cost(options) -> Cost:
    return Cost(own=1, shared=RANDOM_ORDERS)
