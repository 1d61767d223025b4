"""Quick deletion: one point of a deletion curve. Enough to sort the maps of a picture, too little to judge a method."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import runtime
from xai_core.data.preprocessing import baseline_images, blurred
from xai_core.explanation import heatmaps
from xai_core.explanation.agreement import GRID
from xai_core.metrics.metric import Candidate, Case, MetricGenerator, MetricResult, OptionValues, PassCost, ScoreQuery

HIDDEN_SHARE = 0.2
RANDOM_ORDERS, BLOBS = 8, 5


def quick_deletion(case: Case, candidate: Candidate) -> MetricGenerator:
    """How much more the score falls without the map's strongest fifth than without a random fifth.

    value = mean over 8 random fifths R of f(x without R) - f(x without the strongest fifth S)
          = drop of f without S - mean drop without R

    A fifth is 157 of the 28 x 28 cells on which maps of any resolution are compared, so that coarse and fine maps are
    treated alike. The hidden part fades into the blurred picture (`blur` of BASELINES) within about one cell: hard edges
    would themselves change the score, and scattered cells have the most of them. Random fifths are smooth blobs, about as
    large as those of a coarse map.

    Sign   positive: the map marks places that the target depends on; near 0: it does no better than chance; negative: worse.
    Range  unbounded, in the target's unit: compare values of one picture and one target only.
    Order  by value, largest first; ties are broken by one more random blob of `seed`, so that a constant map scores like a
           random fifth.
    """
    ties = blobs(case.seed, RANDOM_ORDERS)
    grid = heatmaps.block_means(candidate.values.astype(np.float32), GRID, GRID)
    random_fifths = np.stack([strongest(blobs(case.seed, index), ties) for index in range(RANDOM_ORDERS)])

    def make_random(rows: range) -> Tensor:
        return _hidden(case, random_fifths[rows.start : rows.stop])

    without_strongest = ScoreQuery(1, lambda rows: _hidden(case, strongest(grid, ties)[None]), case.target)
    without_random = ScoreQuery(RANDOM_ORDERS, make_random, case.target, key="fifths")
    (score,), random_scores = yield [without_strongest, without_random]
    chance = float(random_scores.mean())
    return MetricResult(float(random_scores.mean() - score), facts={"hidden": float(score), "by chance": chance})


def strongest(grid: NDArray[np.floating], ties: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The strongest fifth of the cells (28, 28); among equal cells, those with the larger value in `ties`."""
    chosen = np.zeros(grid.size, dtype=bool)
    chosen[np.lexsort((-ties.ravel(), -grid.ravel()))[: round(HIDDEN_SHARE * grid.size)]] = True
    return chosen.reshape(grid.shape)


def blobs(seed: int, index: int) -> NDArray[np.float32]:
    """Smooth random values for the cells (28, 28), by which they are ordered: uniform draws on a coarse grid, enlarged."""
    return heatmaps.resize(runtime.uniform_draw(seed, index, (BLOBS, BLOBS)).numpy(), (GRID, GRID))


def _hidden(case: Case, cells: NDArray[np.bool_]) -> Tensor:
    """The picture with these cells (n, 28, 28) faded into its blur: (n, 3, H, W)."""
    blurred_image = case.cached(("substrate", "blur"), lambda: baseline_images(case.image, "blur"))
    masks = F.interpolate(torch.from_numpy(cells)[:, None].to(case.image), case.size, mode="nearest-exact")
    return case.image + blurred(masks, sigma=min(case.size) / GRID) * (blurred_image - case.image)


def fifth_cost(options: OptionValues) -> PassCost:
    return PassCost(own=1, shared=RANDOM_ORDERS)
