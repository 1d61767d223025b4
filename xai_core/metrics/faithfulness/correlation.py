"""Whether a map foretells what happens when random places are taken away.

Which places are drawn does not depend on the map: the passes are shared by all maps of a picture.
"""

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.options import Choice, Range
from xai_core.metrics.faithfulness.substrates import Scored, Substrate, measured, substrate_image
from xai_core.metrics.metric import Asking, Candidate, Case, Cost, Pictures, Score

Cells = Annotated[int, Range(2, 28), "cells along each side of the picture"]
Samples = Annotated[int, Range(10, 1000, 10), "random sets of places"]
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
CONSTANT = "No correlation: the map, or the score, is the same for every set of places."
_SUBSETS, _SQUARES = 1000, 100_000  # first numbers of the draws


def faithfulness_correlation(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "zero",
    cells: Cells = 9,
    share: Annotated[float, Range(0.05, 0.95, 0.05), "of the cells that are taken away at once"] = 0.2,
    samples: Samples = 200,
    correlation: Annotated[str, Choice(("spearman", "pearson")), "of ranks, or of values"] = "spearman",
    score: Scored = "asked",
) -> Asking:
    """Faithfulness correlation on cells: does the map's sum over random cells foretell the fall of the score without them?

    value = correlation over random sets S of (sum of the map in S, f(x) - f(x without S)), each S a `share` of the cells of
    a grid. In [-1, 1]; undefined for a uniform map.
    Deviations: Bhatt et al. draw single pixels, which are hardly anything of a photograph (224 of 50,176); cells and ranks
    are those of MuFidelity (Fel et al. 2021, arXiv:2111.04138). The draws are the same for all maps.
    """
    taken = case.remembered(("cells", cells, share, samples), lambda: drawn_cells(case.seed, cells**2, [share] * samples))
    falls, sums = yield from _falls(case, candidate, taken, cells, substrate, score)
    value = correlated(sums, falls, correlation)
    return Score(value, note=CONSTANT if np.isnan(value) else "")


def sensitivity_n(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "zero",
    cells: Cells = 9,
    samples: Samples = 250,
    score: Scored = "asked",
) -> Asking:
    """Sensitivity-n: does the map's sum over n random cells foretell the fall of the score, for few cells and for many?

    value = mean over n = 10%, 30%, 50%, 70%, 90% of the cells of Pearson's correlation over samples / 5 random sets S of n
    cells of (sum of the map in S, f(x) - f(x without S)). The curve holds the correlation for each n.
    Deviation: cells in place of single pixels; the correlation is over the sets of one picture, as in the paper (other code
    takes it over the pictures of a batch).
    """
    each = max(2, samples // len(SHARES))
    taken = case.remembered(
        ("n cells", cells, each), lambda: drawn_cells(case.seed, cells**2, np.repeat(SHARES, each).tolist())
    )
    falls, sums = yield from _falls(case, candidate, taken, cells, substrate, score)
    found = [correlated(*pair, "pearson") for pair in zip(sums.reshape(-1, each), falls.reshape(-1, each), strict=True)]
    value = float(np.mean(found))
    return Score(value, np.column_stack([SHARES, found]), note=CONSTANT if np.isnan(value) else "")


def infidelity(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "zero",
    samples: Samples = 100,
    score: Scored = "asked",
) -> Asking:
    """Infidelity: how far the map's sum over random squares is from the fall of the score without them.

    value = E[(b I.m - d)^2] / E[d^2], d = f(x) - f(x without the square), I.m the map's sum over the square, and the scale
    b = max(0, E[I.m d] / E[(I.m)^2]): 0 where the map foretells every fall, 1 where it foretells none. Squares have a side
    drawn from 1/14 to 1/2 of the shorter side, anywhere in the picture. Facts: `unscaled` is the paper's E[(I.m - d)^2],
    `scaled` the same after the scale of the authors' code, which may be negative; both in the target's unit squared.
    Deviations: squares that are taken away, with attributions that count for the whole of a pixel (the paper's setting for
    maps that hold the input as a factor); values are divided by E[d^2], without which no two pictures compare; and a
    scale below 0 is not granted, with which a map turned inside out would score as the right one.
    """
    corners = case.remembered(("squares", samples), lambda: _squares(case.seed, samples, case.size))
    target = measured(case, score)

    def make(rows: range) -> Tensor:
        return torch.where(_covered(corners, rows, case), substrate_image(case, substrate), case.image)

    asked = Pictures(samples, make, target, key=("squares", samples, substrate))
    (plain,), without = yield [case.plain(target), asked]
    falls = plain - without
    whole = np.pad(candidate.values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    top, left, bottom, right = corners.T
    sums = whole[bottom, right] - whole[top, right] - whole[bottom, left] + whole[top, left]
    power = (falls**2).mean()
    if not power > 0:
        return Score(float("nan"), note="The score is the same whatever is taken away.")
    scale = (sums * falls).mean() / (sums**2).mean() if (sums**2).any() else 0.0
    facts = {"unscaled": float(((sums - falls) ** 2).mean()), "scaled": float(((scale * sums - falls) ** 2).mean())}
    return Score(float(((max(0.0, scale) * sums - falls) ** 2).mean() / power), facts=facts | {"scale": float(scale)})


def drawn_cells(seed: int, cells: int, shares: list[float]) -> NDArray[np.bool_]:
    """Random sets (n, cells), set i with shares[i] of the cells, at least one and not all."""
    taken = np.zeros((len(shares), cells), dtype=bool)
    for row, share in enumerate(shares):
        order = runtime.uniform_draw(seed, _SUBSETS + row, (cells,)).argsort().numpy()
        taken[row, order[: min(cells - 1, max(1, round(share * cells)))]] = True
    return taken


def _falls(case: Case, candidate: Candidate, taken: NDArray[np.bool_], cells: int, substrate: str, score: str):
    """f(x) - f(x without each set), and the sums over the sets of the cells' mean relevance, both (n,)."""
    target = measured(case, score)
    height, width = case.size
    labels = (np.arange(height) * cells // height)[:, None] * cells + np.arange(width) * cells // width
    hidden, where = (torch.from_numpy(array).to(case.image.device) for array in (taken, labels))

    def make(rows: range) -> Tensor:
        return torch.where(hidden[rows.start : rows.stop][:, where][:, None], substrate_image(case, substrate), case.image)

    asked = Pictures(len(taken), make, target, key=("cells", taken.shape, taken.tobytes(), substrate))
    (plain,), without = yield [case.plain(target), asked]
    flat = labels.ravel()  # a cell's mean: its sum would hold its size, where the cells are not quite equal
    means = np.bincount(flat, candidate.values.ravel(), cells**2) / np.bincount(flat, minlength=cells**2)
    return plain - without, taken @ means


def correlated(a: NDArray, b: NDArray, kind: str) -> float:
    """Spearman's or Pearson's correlation; NaN where either is constant, but for rounding."""
    a, b = (rankdata(one) if kind == "spearman" else np.asarray(one, dtype=float) for one in (a, b))
    if not all(np.ptp(one) > 1e-9 * np.abs(one).max() for one in (a, b)):
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _squares(seed: int, count: int, size: tuple[int, int]) -> NDArray[np.int64]:
    """(count, 4): top, left, bottom, right."""
    shorter, found = min(size), []
    for row in range(count):
        drawn = runtime.uniform_draw(seed, _SQUARES + row, (3,)).double().numpy()
        side = max(1, round(shorter * (1 / 14 + drawn[0] * (1 / 2 - 1 / 14))))
        top, left = (int(place * (length - side + 1)) for place, length in zip(drawn[1:], size, strict=True))
        found.append((top, left, top + side, left + side))
    return np.array(found)


def _covered(corners: NDArray, rows: range, case: Case) -> Tensor:
    top, left, bottom, right = (torch.from_numpy(part)[:, None, None] for part in corners[rows.start : rows.stop].T)
    down, across = torch.arange(case.size[0])[:, None], torch.arange(case.size[1])
    return ((down >= top) & (down < bottom) & (across >= left) & (across < right))[:, None].to(case.image.device)


def set_cost(options) -> Cost:
    return Cost(shared=options["samples"] + 1)


def n_cost(options) -> Cost:
    each = max(2, options["samples"] // len(SHARES))
    return Cost(shared=each * len(SHARES) + 1)
