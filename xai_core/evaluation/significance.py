"""What may be said from a table of values, pictures x methods: intervals, paired differences, ranks, agreement.

Everything is paired: two methods are compared on the pictures that both have, and one set of bootstrap draws serves all
methods. A table holds one row for each picture and one column for each method; NaN is a value that is not there. Pictures
are taken as drawn at random from what one wants to speak of, and as independent of each other.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
DRAWS = 2000
FLIPS = 9999
EXACT = 12  # pictures up to which all 2^n flips are taken
LEAST = 6  # pictures from which on the test can reach 5 % at all: with five, p is at least 2 / 2^5
AT_ONCE = 2_000_000  # cells of a matrix of draws that are held at once

ONE_PICTURE = "one picture: no interval, because nothing tells how far another picture would differ"


class Estimate(NamedTuple):
    """A mean over `n` pictures with the ends of its interval; these are NaN where `why` says why there is none."""

    value: float
    low: float
    high: float
    n: int
    why: str = ""

    def __str__(self) -> str:
        """'.03 [.01, .05]'; the value alone where there is no interval."""
        return plain(self.value) if self.why else f"{plain(self.value)} [{plain(self.low)}, {plain(self.high)}]"


class Difference(NamedTuple):
    """Method `a` minus method `b` over the pictures both have: the better one is `a` where `mean.value` is positive.

    `p` is of the paired sign-flip test, `adjusted` the same after Holm's correction for all comparisons made together.
    """

    a: str
    b: str
    mean: Estimate
    p: float
    adjusted: float

    @property
    def shown(self) -> bool:
        """Whether the difference is shown at the level of 5 %, with all comparisons reckoned with."""
        return self.adjusted < 1 - LEVEL


def plain(value: float) -> str:
    """A number for reading, with two digits that mean something: '.03', '1.2', '-.004'."""
    if not np.isfinite(value):
        return "–"
    text = f"{value:.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.1g}"
    if abs(value) >= 100:
        text = f"{value:,.0f}"
    return text.replace("-0.", "-.") if text.startswith("-0.") else text.removeprefix("0") if text[:2] == "0." else text


def oriented(values: pd.DataFrame, direction: str) -> pd.DataFrame:
    """The table with more meaning better: turned round where `direction` is "lower"."""
    return -values if direction == "lower" else values


def estimates(values: pd.DataFrame, seed: int = 0) -> dict[str, Estimate]:
    """The mean of each column with its bootstrap interval, all from the same draws of pictures."""
    columns = values.to_numpy(float)
    lows, highs = _interval(columns, seed)
    counts = np.isfinite(columns).sum(0)
    found = {}
    for place, name in enumerate(values.columns):
        n = int(counts[place])
        mean = float(np.nanmean(columns[:, place])) if n else float("nan")
        why = "no value" if n == 0 else ONE_PICTURE if n == 1 else ""
        found[name] = Estimate(mean, *((float("nan"),) * 2 if why else (float(lows[place]), float(highs[place]))), n, why)
    return found


def differences(
    values: pd.DataFrame, direction: str = "higher", pairs: Sequence[tuple[str, str]] | None = None, seed: int = 0
) -> list[Difference]:
    """Every pair of columns (or those of `pairs`): how much better the first is than the second, picture by picture.

    The interval is of the bootstrap, the test flips the signs of the pictures' differences (exactly up to 12 pictures, else
    9,999 random flips, this one counted in); p values are corrected together after Holm (1979). Of each pair the better
    method comes first, unless `pairs` says otherwise.
    """
    better = oriented(values, direction)
    given = pairs is not None
    pairs = list(pairs if given else itertools.combinations(better.columns, 2))
    if not pairs:
        return []
    apart = np.stack([better[a].to_numpy(float) - better[b].to_numpy(float) for a, b in pairs], 1)
    means = estimates(pd.DataFrame(apart), seed)
    chances = sign_flip(apart, seed)
    found = []
    for place, ((a, b), p, adjusted) in enumerate(zip(pairs, chances, holm(chances), strict=True)):
        mean = means[place]
        if not given and mean.value < 0:
            a, b, mean = b, a, mean._replace(value=-mean.value, low=-mean.high, high=-mean.low)
        found.append(Difference(a, b, mean, float(p), float(adjusted)))
    return found if given else sorted(found, key=lambda one: (np.nan_to_num(one.adjusted, nan=2), -one.mean.value))


def in_words(one: Difference, title=str) -> str:
    """'LayerCAM beats Grad-CAM by .03 [.01, .05], n = 200', or that no difference is shown, and why none could be."""
    a, b, n = title(one.a), title(one.b), one.mean.n
    if one.mean.why:
        return f"{a} and {b}: {one.mean} apart on {one.mean.why}"
    if one.shown:
        return f"{a} beats {b} by {one.mean}, n = {n}"
    least = 2.0 ** (1 - n)
    why = f"; with n = {n} no difference can be shown: p is at least {least:.2g}" if least >= 1 - LEVEL else ""
    said = "p > .99" if one.adjusted > 0.99 else f"p = {plain(one.adjusted)}"
    corrected = "" if one.adjusted == one.p else " after correction"
    return f"{a} and {b}: no difference shown, {one.mean}, n = {n}, {said}{corrected}{why}"


def _interval(columns: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    """Ends of the interval of each column's mean: percentiles of bootstrap means, moved out so that few pictures give as
    wide an interval as Student's t would (the 'expanded percentile' of Hesterberg 2015, arXiv:1411.5279, section 5.2)."""
    n = len(columns)
    if n < 2:
        return np.full(columns.shape[1], np.nan), np.full(columns.shape[1], np.nan)
    means = np.where(np.isfinite(columns).any(0), bootstrap_means(columns, seed), 0.0)
    tail = (1 - LEVEL) / 2
    counts = np.maximum(np.isfinite(columns).sum(0), 2)
    share = stats.norm.cdf(np.sqrt(counts / (counts - 1)) * stats.t.ppf(tail, counts - 1))
    ends = [np.nanquantile(means[:, place], [part, 1 - part]) for place, part in enumerate(share)]
    return tuple(np.array(ends).T)


def bootstrap_means(columns: NDArray, seed: int) -> NDArray:
    """(DRAWS, k): means of the columns over pictures drawn with replacement, the same draws for all columns."""
    there = np.isfinite(columns)
    filled, there = np.where(there, columns, 0.0), there.astype(float)
    found = []
    for counts in _resamples(len(columns), seed):
        with np.errstate(invalid="ignore"):
            found.append((counts @ filled) / (counts @ there))
    return np.concatenate(found)


def _resamples(n: int, seed: int):
    """How often each of n pictures is drawn, (some, n) at a time, DRAWS in all."""
    draws, step = np.random.default_rng(seed), max(1, AT_ONCE // n)
    for start in range(0, DRAWS, step):
        yield draws.multinomial(n, np.full(n, 1 / n), size=min(step, DRAWS - start)).astype(float)


def sign_flip(apart: NDArray, seed: int = 0) -> NDArray:
    """Two-sided p of 'the mean of each column is zero', from flipping the signs of its rows (Fisher 1935). NaN rows count
    for nothing; a column of zeros has p 1, one without numbers NaN."""
    filled = np.nan_to_num(apart)
    n, seen = len(filled), np.abs(filled.sum(0))
    reached, total, slack = np.zeros(filled.shape[1]), 0, 1e-12 * np.abs(filled).sum(0)
    if n <= EXACT:
        batches = [np.array(list(itertools.product((1.0, -1.0), repeat=n)))]
    else:
        draws, step = np.random.default_rng(seed), max(1, AT_ONCE // n)
        sizes = [min(step, FLIPS - start) for start in range(0, FLIPS, step)]
        batches = (2.0 * draws.integers(0, 2, (size, n)) - 1 for size in sizes)
        reached, total = reached + 1, 1  # the flip that was seen is one of those that might have been
    for signs in batches:
        reached += (np.abs(signs @ filled) >= seen - slack).sum(0)
        total += len(signs)
    return np.where(np.isfinite(apart).any(0), reached / total, np.nan)


def holm(p: Sequence[float]) -> NDArray:
    """p values corrected after Holm (1979) for having looked at all of them; NaN stays, and counts for nothing."""
    p = np.asarray(p, float)
    adjusted, order = np.full(p.shape, np.nan), [place for place in np.argsort(p) if np.isfinite(p[place])]
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, (len(order) - rank) * p[place])
        adjusted[place] = min(1.0, largest)
    return adjusted


def beats_all(values: pd.DataFrame, controls: Sequence[str], direction: str) -> dict[str, bool | None]:
    """Whether each method is better than every one of the controls, each by the paired test at 5 %; None where there are
    fewer than six pictures, with which nothing can be shown.

    No correction is wanted here: who has to win all of several tests does not win by making more of them (an
    intersection-union test, Berger 1982).
    """
    methods = [name for name in values.columns if name not in controls]
    pairs = [(method, control) for method in methods for control in controls]
    found = differences(values, direction, pairs)
    won = {(one.a, one.b): one.mean.value > 0 and one.p < 1 - LEVEL for one in found}
    enough = {method: min((one.mean.n for one in found if one.a == method), default=0) >= LEAST for method in methods}
    return {method: all(won[method, one] for one in controls) if enough[method] else None for method in methods}
