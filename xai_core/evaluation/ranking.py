"""Rankings of methods: mean ranks, and the agreement of rankings between metrics, variants, models and samples of
pictures."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from xai_core.core.errors import BadRequest
from xai_core.evaluation.significance import (
    LEVEL,
    ONE_PICTURE,
    Estimate,
    Values,
    bootstrap_means,
    bootstrap_means_of,
    oriented,
)

ENDS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
ROUNDING = 1e-6  # of the largest value: maps are computed in single precision


class Ranks(NamedTuple):
    """Mean ranks of methods over `n` pictures (1 is the best), `p` of Friedman's test of 'all methods are alike', and the
    critical difference of Nemenyi's test: methods whose mean ranks are closer than that do not differ significantly."""

    mean: dict[str, float]
    n: int
    p: float
    critical: float

    @property
    def best(self) -> str:
        return min(self.mean, key=lambda name: self.mean[name])

    @property
    def worse(self) -> tuple[str, ...]:
        """The methods whose mean rank is significantly worse than the best one."""
        return tuple(name for name, rank in self.mean.items() if rank - self.mean[self.best] >= self.critical)

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Longest sequences of methods, best first, that do not differ significantly."""
        order = sorted(self.mean, key=lambda name: self.mean[name])
        sequences: list[tuple[int, int]] = []
        for first in range(len(order)):
            last = max(i for i in range(first, len(order)) if self.mean[order[i]] - self.mean[order[first]] < self.critical)
            if last > first and not (sequences and sequences[-1][1] >= last):
                sequences.append((first, last))
        return [tuple(order[first : last + 1]) for first, last in sequences]


def ranks(values: pd.DataFrame, direction: str) -> Ranks:
    """Friedman's test and Nemenyi's critical difference (Demšar 2006), over the pictures that all methods have.

    CD = q sqrt(k (k + 1) / (6 n)), q the studentised range at 5 % over sqrt(2). Raises BadRequest below three methods or
    two pictures.
    """
    from scipy import stats

    whole = oriented(values, direction).dropna()
    n, k = whole.shape
    if k < 3 or n < 2:
        raise BadRequest(f"Ranks need at least three methods and two pictures that all of them have; there are {k} and {n}.")
    ranked = stats.rankdata(-whole.to_numpy(), axis=1)
    same = (ranked == ranked[:, :1]).all()
    p = 1.0 if same else float(stats.friedmanchisquare(*ranked.T).pvalue)
    critical = stats.studentized_range.ppf(LEVEL, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n))
    return Ranks(dict(zip(whole.columns, ranked.mean(0).tolist(), strict=True)), n, p, float(critical))


def agreement(tables: Mapping[str, pd.DataFrame], seed: int = 0) -> dict[tuple[str, str], Estimate]:
    """How far each two tables agree on the order of methods by their means: Kendall's tau-b, in [-1, 1].

    Higher must be better in every table. Both tables of a pair are reduced to the methods and pictures they share, and
    pictures are drawn for both at once; where they share none (other samples), they are drawn separately.
    """
    estimates: dict[tuple[str, str], Estimate] = {}
    cache: dict[tuple[str, tuple[str, ...], int, int], tuple[Values, Values]] = {}
    samples: list[pd.Index[str]] = []  # of pictures: a key has the place here, as a tuple of their names takes long to make

    def number(pictures: "pd.Index[str]") -> int:
        place = next((place for place, sample in enumerate(samples) if sample.equals(pictures)), len(samples))
        samples[place:] = samples[place:] or [pictures]
        return place

    def ordered(name: str, methods: list[str], pictures: "pd.Index[str]", draw: int) -> tuple[Values, Values]:
        """The means of a table's methods, (k,), and the signs of all differences in each bootstrap draw."""
        key = (name, tuple(methods), number(pictures), draw)
        if key not in cache:
            values = tables[name].loc[pictures, methods].to_numpy(float)
            cache[key] = pd.DataFrame(values).mean().to_numpy(), _signs(bootstrap_means(values, seed + draw))
        return cache[key]

    frames = list(tables.values())
    if (
        frames
        and len(frames[0]) >= 2
        and all(one.index.equals(frames[0].index) for one in frames)
        and all(one.columns.equals(frames[0].columns) for one in frames)
    ):  # the usual case: all draws are the same, and are made once
        own, pictures = list(frames[0].columns), frames[0].index
        values = [one.loc[pictures, own].to_numpy(float) for one in frames]
        for name, columns, draws in zip(tables, values, bootstrap_means_of(values, seed), strict=True):
            cache[name, tuple(own), number(pictures), 0] = pd.DataFrame(columns).mean().to_numpy(), _signs(draws)
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
        low, high = (float("nan"),) * 2 if why or np.isnan(draws).all() else np.nanquantile(draws, ENDS).tolist()
        estimates[a, b] = Estimate(tau(means, others), low, high, n, why)
    return estimates


def foretelling(truth: pd.DataFrame, tables: Mapping[str, pd.DataFrame], seed: int = 0) -> dict[str, Estimate]:
    """How well the order of methods by each table foretells their order by `truth`: Kendall's tau-b between the two orders
    of means, in [-1, 1].

    Higher must be better in all of them. A table is compared on the methods that it shares with `truth`; it may have other
    or fewer pictures, so the two samples of pictures are resampled independently. `n` is the table's number of pictures.
    """
    estimates = {}
    for name, table in tables.items():
        methods = [method for method in truth.columns if method in table.columns]
        n = min(len(truth), len(table))
        why = "fewer than two methods in common" if len(methods) < 2 else ONE_PICTURE if n < 2 else ""
        first, second = (frame[methods].to_numpy(float) for frame in (truth, table))
        value = tau(pd.DataFrame(first).mean().to_numpy(), pd.DataFrame(second).mean().to_numpy())
        low = high = float("nan")
        if not why:
            draws = _tau(_signs(bootstrap_means(first, seed)), _signs(bootstrap_means(second, seed + 1)))
            low, high = np.nanquantile(draws, ENDS).tolist() if np.isfinite(draws).any() else (low, high)
        estimates[name] = Estimate(value, low, high, len(table), why)
    return estimates


def matrix(pairs: Mapping[tuple[str, str], Estimate], names: Sequence[str]) -> Values:
    """The values of pairs as a symmetric (n, n) matrix, 1 on the diagonal; NaN where there is none."""
    square = np.eye(len(names))
    for (i, a), (j, b) in itertools.combinations(enumerate(names), 2):
        estimate = pairs.get((a, b)) or pairs.get((b, a))
        square[i, j] = square[j, i] = estimate.value if estimate else np.nan
    return square


def tau(a: Values, b: Values) -> float:
    """Kendall's tau-b of two lists, in [-1, 1]; NaN where one of them has no order, or fewer than two places are numbers."""
    return float(_tau(_signs(np.asarray(a, float)[None]), _signs(np.asarray(b, float)[None]))[0])


def _signs(values: Values) -> Values:
    """(draws, k) -> (draws, k (k - 1) / 2): which of each two is larger, as 1, -1 or 0; NaN where one is no number. Two that
    differ by rounding alone are equal: the means of methods with the same maps."""
    first, second = np.triu_indices(values.shape[1], 1)
    apart = values[:, first] - values[:, second]
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    signs: Values = np.sign(np.where(np.abs(apart) <= ROUNDING * largest, 0.0, apart))
    return signs


def _tau(a: Values, b: Values) -> Values:
    """Kendall's tau-b of each row of signs, (draws,): concordant minus discordant pairs, over the geometric mean of the
    numbers of untied ones. (`scipy.stats.kendalltau` takes one pair of lists at a time.)"""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(both, a, 0), np.where(both, b, 0)
    untied = np.sqrt(np.abs(a).sum(1) * np.abs(b).sum(1))
    taus: Values = np.divide((a * b).sum(1), untied, out=np.full(len(a), np.nan), where=untied > 0)
    return taus


def split_halves(values: pd.DataFrame, seed: int = 0, times: int = 200) -> Estimate:
    """How well the order of methods holds on another sample: Kendall's tau between the orders of two halves of the pictures.

    The pictures are halved at random `times` times; the estimate is the mean and the range of the middle 95 % of splits.
    Raises BadRequest below four pictures.
    """
    n = len(values)
    if n < 4:
        raise BadRequest(f"Each half needs at least two pictures, and there are {n} in all. Measure more pictures.")
    draws, table, taus = np.random.default_rng(seed), values.to_numpy(float), []
    for _ in range(times):
        order = draws.permutation(n)
        halves = table[order[: n // 2]], table[order[n // 2 :]]
        taus.append(tau(*(pd.DataFrame(half).mean().to_numpy() for half in halves)))
    if np.isnan(taus).all():
        return Estimate(float("nan"), float("nan"), float("nan"), n, "no order among fewer than two methods")
    low, high = np.nanquantile(taus, ENDS).tolist()
    return Estimate(float(np.nanmean(taus)), low, high, n)
