"""Whether a map predicts how far the score falls when random places are removed.

Which places are drawn does not depend on the map: all maps of a picture share the passes.
"""

from collections.abc import Generator, Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.options import Choice, Range
from xai_core.metrics.faithfulness.substrates import Substrate, substrate_image
from xai_core.metrics.metric import (
    Candidate,
    Case,
    MetricGenerator,
    MetricResult,
    OptionValues,
    PassCost,
    ScoreKind,
    ScoreQuery,
    Scores,
)

Cells = Annotated[int, Range(2, 28), "number of cells along each side of the picture"]
Samples = Annotated[int, Range(10, 1000, 10), "number of random sets of places"]
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
CONSTANT = "No correlation: the map, or the score, is the same for every set of places."
_SUBSETS, _SQUARES = 1000, 100_000  # first numbers of the draws


def faithfulness_correlation(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "zero",
    cells: Cells = 9,
    share: Annotated[float, Range(0.05, 0.95, 0.05), "share of the cells that are removed together"] = 0.2,
    samples: Samples = 200,
    correlation: Annotated[
        str, Choice(("spearman", "pearson")), "correlation of ranks (Spearman) or of values (Pearson)"
    ] = "spearman",
    score: ScoreKind = "asked",
) -> MetricGenerator:
    """Faithfulness correlation on cells: does the map's sum over random cells predict the fall of the score without them?

    value = correlation over random sets S of (sum of the map in S, f(x) - f(x without S)), each S a `share` of the cells of
    a grid. In [-1, 1]; undefined for a uniform map.
    Deviations: Bhatt et al. draw single pixels, which hardly change a photograph (224 of 50,176); cells and ranks are those
    of MuFidelity (Fel et al. 2021, arXiv:2111.04138). The draws are the same for all maps.
    """
    sets = case.cached(("cells", cells, share, samples), lambda: drawn_cells(case.seed, cells**2, [share] * samples))
    falls, sums = yield from _falls(case, candidate, sets, cells, substrate, score)
    value = correlate(sums, falls, correlation)
    return MetricResult(value, note=CONSTANT if np.isnan(value) else "")


def sensitivity_n(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "zero",
    cells: Cells = 9,
    samples: Samples = 250,
    score: ScoreKind = "asked",
) -> MetricGenerator:
    """Sensitivity-n: does the map's sum over n random cells predict the fall of the score, for few cells and for many?

    value = mean over n = 10%, 30%, 50%, 70%, 90% of the cells of Pearson's correlation over samples / 5 random sets S of n
    cells of (sum of the map in S, f(x) - f(x without S)). In [-1, 1]. The curve holds the correlation for each n.
    Deviation: cells in place of single pixels; the correlation is over the sets of one picture, as in the paper (other code
    takes it over the pictures of a batch).
    """
    each = max(2, samples // len(SHARES))
    shares = np.repeat(SHARES, each).tolist()
    sets = case.cached(("n cells", cells, each), lambda: drawn_cells(case.seed, cells**2, shares))
    falls, sums = yield from _falls(case, candidate, sets, cells, substrate, score)
    by_share = zip(sums.reshape(-1, each), falls.reshape(-1, each), strict=True)
    correlations = [correlate(own_sums, own_falls, "pearson") for own_sums, own_falls in by_share]
    value = float(np.mean(correlations))
    return MetricResult(value, np.column_stack([SHARES, correlations]), note=CONSTANT if np.isnan(value) else "")


def infidelity(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "zero",
    samples: Samples = 100,
    score: ScoreKind = "asked",
) -> MetricGenerator:
    """Infidelity: how far the map's sum over random squares is from the fall of the score without them.

    value = E[(b I.m - d)^2] / E[d^2], d = f(x) - f(x without the square), I.m the map's sum over the square, and the scale
    b = max(0, E[I.m d] / E[(I.m)^2]). In [0, 1]: 0 where the map predicts every fall, 1 where it predicts none. Squares have
    a side drawn from 1/14 to 1/2 of the shorter side, anywhere in the picture. Facts: `unscaled` is the paper's
    E[(I.m - d)^2], `scaled` the same with the scale of the authors' code, which may be negative; both in the target's unit
    squared.
    Deviations: squares are removed, and attributions count for the whole value of a pixel (the paper's setting for maps that
    contain the input as a factor); values are divided by E[d^2], without which no two pictures can be compared; and the
    scale cannot be negative, which would give an inverted map the value of the right one.
    """
    corners = case.cached(("squares", samples), lambda: _squares(case.seed, samples, case.size))
    target = case.score_target(score)

    def make(rows: range) -> Tensor:
        return torch.where(_covered(corners, rows, case), substrate_image(case, substrate), case.image)

    query = ScoreQuery(samples, make, target, key=("squares", samples, substrate))
    (original,), without = yield [case.original(target), query]
    falls = original - without
    integral = np.pad(candidate.values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    top, left, bottom, right = corners.T
    sums = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    power = (falls**2).mean()
    if not power > 0:
        return MetricResult(float("nan"), note="The score is the same whatever is removed.")
    scale = (sums * falls).mean() / (sums**2).mean() if (sums**2).any() else 0.0
    facts = {"unscaled": float(((sums - falls) ** 2).mean()), "scaled": float(((scale * sums - falls) ** 2).mean())}
    return MetricResult(float(((max(0.0, scale) * sums - falls) ** 2).mean() / power), facts=facts | {"scale": float(scale)})


def drawn_cells(seed: int, cells: int, shares: Sequence[float]) -> NDArray[np.bool_]:
    """Random sets (n, cells), set i with shares[i] of the cells, at least one and not all."""
    sets = np.zeros((len(shares), cells), dtype=bool)
    for row, share in enumerate(shares):
        order = runtime.uniform_draw(seed, _SUBSETS + row, (cells,)).argsort().numpy()
        sets[row, order[: min(cells - 1, max(1, round(share * cells)))]] = True
    return sets


def _falls(
    case: Case, candidate: Candidate, sets: NDArray[np.bool_], cells: int, substrate: str, score: str
) -> Generator[Sequence[ScoreQuery], list[Scores], tuple[Scores, NDArray[np.float64]]]:
    """f(x) - f(x without each set), and the sums over the sets of the cells' mean relevance, both (n,)."""
    target = case.score_target(score)
    height, width = case.size
    labels = (np.arange(height) * cells // height)[:, None] * cells + np.arange(width) * cells // width
    hidden = torch.from_numpy(sets).to(case.image.device)
    cell_of_pixel = torch.from_numpy(labels).to(case.image.device)

    def make(rows: range) -> Tensor:
        masks = hidden[rows.start : rows.stop][:, cell_of_pixel][:, None]
        return torch.where(masks, substrate_image(case, substrate), case.image)

    query = ScoreQuery(len(sets), make, target, key=("cells", sets.shape, sets.tobytes(), substrate))
    (original,), without = yield [case.original(target), query]
    flat = labels.ravel()  # means and not sums: cells differ in size where the side is no multiple of their number
    means = np.bincount(flat, candidate.values.ravel(), cells**2) / np.bincount(flat, minlength=cells**2)
    return original - without, sets @ means


def correlate(a: NDArray[np.floating], b: NDArray[np.floating], kind: str) -> float:
    """Spearman's or Pearson's correlation; NaN where either is constant, but for rounding."""
    from scipy.stats import rankdata

    first, second = (rankdata(values) if kind == "spearman" else np.asarray(values, dtype=float) for values in (a, b))
    if not all(np.ptp(values) > 1e-9 * np.abs(values).max() for values in (first, second)):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _squares(seed: int, count: int, size: tuple[int, int]) -> NDArray[np.int64]:
    """(count, 4): top, left, bottom, right."""
    shorter, corners = min(size), []
    for row in range(count):
        draws = runtime.uniform_draw(seed, _SQUARES + row, (3,)).double().numpy()
        side = max(1, round(shorter * (1 / 14 + draws[0] * (1 / 2 - 1 / 14))))
        top, left = (int(place * (length - side + 1)) for place, length in zip(draws[1:], size, strict=True))
        corners.append((top, left, top + side, left + side))
    return np.array(corners)


def _covered(corners: NDArray[np.int64], rows: range, case: Case) -> Tensor:
    """(n, 1, H, W) bool: the pixels of the squares of these rows."""
    top, left, bottom, right = (torch.from_numpy(part)[:, None, None] for part in corners[rows.start : rows.stop].T)
    down, across = torch.arange(case.size[0])[:, None], torch.arange(case.size[1])
    return ((down >= top) & (down < bottom) & (across >= left) & (across < right))[:, None].to(case.image.device)


def set_cost(options: OptionValues) -> PassCost:
    return PassCost(shared=options["samples"] + 1)


def n_cost(options: OptionValues) -> PassCost:
    each = max(2, options["samples"] // len(SHARES))
    return PassCost(shared=each * len(SHARES) + 1)
