"""Orders of methods: mean ranks, and how far orders agree between metrics, variants, models and samples of pictures."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from xai_core.core.errors import BadRequest
from xai_core.evaluation.significance import LEVEL, ONE_PICTURE, Estimate, bootstrap_means, oriented

ENDS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]


class Ranks(NamedTuple):
    """Mean ranks of methods over pictures (1 is the best), the Friedman test of 'all methods are alike', and the critical
    difference of Nemenyi's test: methods whose mean ranks lie closer are not told apart."""

    mean: dict[str, float]
    n: int
    p: float
    critical: float

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Longest runs of methods, best first, that are not told apart."""
        order = sorted(self.mean, key=self.mean.get)
        runs = []
        for first in range(len(order)):
            last = max(i for i in range(first, len(order)) if self.mean[order[i]] - self.mean[order[first]] < self.critical)
            if last > first and not (runs and runs[-1][1] >= last):
                runs.append((first, last))
        return [tuple(order[first : last + 1]) for first, last in runs]


def ranks(values: pd.DataFrame, direction: str) -> Ranks:
    """Friedman's test and Nemenyi's critical difference (Demšar 2006), over the pictures that all methods have.

    CD = q sqrt(k (k + 1) / (6 n)), q the studentised range at 5 % over sqrt(2). Raises BadRequest below three methods or
    two pictures.
    """
    whole = oriented(values, direction).dropna()
    n, k = whole.shape
    if k < 3 or n < 2:
        raise BadRequest(f"Ranks need three methods and two pictures that all of them have; here are {k} and {n}.")
    ranked = stats.rankdata(-whole.to_numpy(), axis=1)
    same = (ranked == ranked[:, :1]).all()
    p = 1.0 if same else float(stats.friedmanchisquare(*ranked.T).pvalue)
    critical = stats.studentized_range.ppf(LEVEL, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n))
    return Ranks(dict(zip(whole.columns, ranked.mean(0).tolist(), strict=True)), n, p, float(critical))


def agreement(tables: Mapping[str, pd.DataFrame], seed: int = 0) -> dict[tuple[str, str], Estimate]:
    """How far the order of methods by their means is the same in each two tables: Kendall's tau-b, in [-1, 1].

    More must mean better in every table. Both tables of a pair are cut to the methods and pictures they share, and pictures
    are drawn for both at once; where they share none (other samples), they are drawn for each apart.
    """
    found, held = {}, {}

    def ordered(name: str, methods: list[str], pictures: pd.Index, draw: int) -> tuple[NDArray, NDArray]:
        """The means of a table's methods, (k,), and the signs of all differences in each bootstrap draw."""
        key = (name, tuple(methods), tuple(pictures), draw)
        if key not in held:
            values = tables[name].loc[pictures, methods].to_numpy(float)
            held[key] = pd.DataFrame(values).mean().to_numpy(), _signs(bootstrap_means(values, seed + draw))
        return held[key]

    for (a, first), (b, second) in itertools.combinations(tables.items(), 2):
        methods = [name for name in first.columns if name in second.columns]
        common = first.index.intersection(second.index)
        paired = len(common) >= 2
        rows = (common, common) if paired else (first.index, second.index)
        (means, signs), (others, other_signs) = (
            ordered(name, methods, pictures, 0 if paired else place)
            for place, (name, pictures) in enumerate(zip((a, b), rows, strict=True))
        )
        n = min(map(len, rows))
        why = "fewer than two methods in common" if len(methods) < 2 else ONE_PICTURE if n < 2 else ""
        draws = _tau(signs, other_signs)
        ends = (float("nan"),) * 2 if why or np.isnan(draws).all() else np.nanquantile(draws, ENDS).tolist()
        found[a, b] = Estimate(tau(means, others), *ends, n, why)
    return found


def matrix(found: Mapping[tuple[str, str], Estimate], names: Sequence[str]) -> NDArray:
    """The values of pairs as a square, 1 on the diagonal; NaN where there is none."""
    square = np.eye(len(names))
    for (i, a), (j, b) in itertools.combinations(enumerate(names), 2):
        one = found.get((a, b)) or found.get((b, a))
        square[i, j] = square[j, i] = one.value if one else np.nan
    return square


def tau(a: NDArray, b: NDArray) -> float:
    """Kendall's tau-b of two lists; NaN where one of them has no order, or fewer than two places are numbers."""
    return float(_tau(_signs(np.asarray(a, float)[None]), _signs(np.asarray(b, float)[None]))[0])


def _signs(values: NDArray) -> NDArray:
    """(draws, k) -> (draws, k (k - 1) / 2): which of each two is larger, as 1, -1 or 0; NaN where one is no number."""
    first, second = np.triu_indices(values.shape[1], 1)
    return np.sign(values[:, first] - values[:, second])


def _tau(a: NDArray, b: NDArray) -> NDArray:
    """Kendall's tau-b of each row of signs: agreeing minus disagreeing pairs, over the geometric mean of the untied ones."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(both, a, 0), np.where(both, b, 0)
    untied = np.sqrt(np.abs(a).sum(1) * np.abs(b).sum(1))
    return np.divide((a * b).sum(1), untied, out=np.full(len(a), np.nan), where=untied > 0)


def split_halves(values: pd.DataFrame, seed: int = 0, times: int = 200) -> Estimate:
    """Does the order of methods survive another sample? Tau between the orders of two halves of the pictures, drawn at
    random `times` times: the mean, and between which ends 95 % of the splits lie. Raises BadRequest below four pictures."""
    n = len(values)
    if n < 4:
        raise BadRequest(f"Another sample is tried with halves of two pictures and more; here are {n} pictures in all.")
    draws, table, taus = np.random.default_rng(seed), values.to_numpy(float), []
    for _ in range(times):
        order = draws.permutation(n)
        halves = table[order[: n // 2]], table[order[n // 2 :]]
        taus.append(tau(*(pd.DataFrame(half).mean().to_numpy() for half in halves)))
    if np.isnan(taus).all():
        return Estimate(float("nan"), float("nan"), float("nan"), n, "no order among fewer than two methods")
    return Estimate(float(np.nanmean(taus)), *np.nanquantile(taus, ENDS).tolist(), n)
