"""Statistics of a table of values, pictures x methods: means with intervals, paired differences and tests.

Everything is paired: two methods are compared on the pictures that both have, and one set of bootstrap draws serves all
methods. A table holds one row for each picture and one column for each method; NaN is a missing value. Pictures are taken
as an independent random sample of the population that the statements are about.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Values = NDArray[np.float64]
Item = TypeVar("Item")

LEVEL = 0.95  # of confidence; tests are at 1 - LEVEL
DRAWS = 2000  # of the bootstrap
FLIPS = 9999  # random ones of the sign-flip test, at least
FLIPS_EACH = 100  # random ones for each comparison: so that p can be as small as .01 after the correction for all of them
EXACT = 12  # pictures up to which all 2^n flips are taken
LEAST = 6  # pictures from which on the test can reach 5 % at all: with five, p is at least 2 / 2^5
AT_ONCE = 2_000_000  # cells of a matrix of draws that are held at once
MOST_CELLS = 8_000_000  # of the tables that share draws: 150 MB with what is made of them
BLOCK = 1024  # pictures whose signed sum is taken in single precision

ONE_PICTURE = "one picture: no interval, because a single picture does not show how much pictures differ"


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

    `p` is of the paired sign-flip test, `adjusted` the same after Holm's correction for all `compared` comparisons made
    together.
    """

    a: str
    b: str
    mean: Estimate
    p: float
    adjusted: float
    compared: int = 1

    @property
    def shown(self) -> bool:
        """Whether the difference is significant at the level of 5 % after the correction for all comparisons."""
        return self.adjusted < 1 - LEVEL


def plain(value: float) -> str:
    """A number as text with two decimals, or one significant digit below .01: '.03', '1.20', '-.004'."""
    if not np.isfinite(value):
        return "–"
    text = f"{value:.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.1g}"
    if abs(value) >= 100:
        text = f"{value:,.0f}"
    return text.replace("-0.", "-.") if text.startswith("-0.") else text.removeprefix("0") if text[:2] == "0." else text


def oriented(values: pd.DataFrame, direction: str) -> pd.DataFrame:
    """The table with higher values better: negated where `direction` is "lower"."""
    return -values if direction == "lower" else values


def estimates(values: pd.DataFrame, seed: int = 0) -> dict[str, Estimate]:
    """The mean of each column with its bootstrap interval at LEVEL, all from the same draws of pictures."""
    return estimates_of([values], seed)[0]


def estimates_of(tables: Sequence[pd.DataFrame], seed: int = 0) -> list[dict[str, Estimate]]:
    """`estimates` of each table. To the last bit what it gives for a table alone, but tables of as many pictures share the
    making of their draws, which takes most of the time where pictures are many."""
    columns = [table.to_numpy(float) for table in tables]
    draws = bootstrap_means_of([own if len(own) >= 2 else own[:0] for own in columns], seed)
    return [_estimates(*each) for each in zip(tables, columns, draws, strict=True)]


def _estimates(values: pd.DataFrame, columns: Values, draws: Values) -> dict[str, Estimate]:
    lows, highs = _interval(columns, draws)
    counts = np.isfinite(columns).sum(0)
    means = {}
    for place, name in enumerate(values.columns):
        n = int(counts[place])
        mean = float(np.nanmean(columns[:, place])) if n else float("nan")
        why = "no value" if n == 0 else ONE_PICTURE if n == 1 else ""
        low, high = (float("nan"), float("nan")) if why else (float(lows[place]), float(highs[place]))
        means[name] = Estimate(mean, low, high, n, why)
    return means


def differences(
    values: pd.DataFrame, direction: str = "higher", pairs: Sequence[tuple[str, str]] | None = None, seed: int = 0
) -> list[Difference]:
    """Every pair of columns (or those of `pairs`): how much better the first is than the second, picture by picture.

    The interval is of the bootstrap, the test flips the signs of the pictures' differences (exactly up to 12 pictures, else
    by random flips, the observed one counted in); p values are corrected together after Holm (1979), intervals are not. Of
    each pair the better method comes first, unless `pairs` says otherwise.
    """
    return differences_of([values], direction, [pairs], seed)[0]


def differences_of(
    tables: Sequence[pd.DataFrame],
    direction: str | Sequence[str],
    pairs: Sequence[Sequence[tuple[str, str]] | None],
    seed: int = 0,
) -> list[list[Difference]]:
    """`differences` of each table, as `estimates_of` is to `estimates`; a direction and pairs for each table."""
    directions = [direction] * len(tables) if isinstance(direction, str) else direction
    compared = [
        list(itertools.combinations(table.columns, 2) if own is None else own)
        for table, own in zip(tables, pairs, strict=True)
    ]
    apart = [_apart(*each) for each in zip(tables, directions, compared, strict=True)]
    frames = [pd.DataFrame(columns, columns=pd.RangeIndex(columns.shape[1]).astype(str)) for columns in apart]
    means, p_values = estimates_of(frames, seed), _sign_flips_of(apart, seed)
    return [
        _differences(own, [*mean.values()], p, is_sorted=given is None)
        for own, mean, p, given in zip(compared, means, p_values, pairs, strict=True)
    ]


def _apart(values: pd.DataFrame, direction: str, pairs: Sequence[tuple[str, str]]) -> Values:
    """(n, pairs): how much better the first of each pair is than the second, picture by picture."""
    if not pairs:
        return np.zeros((0, 0))
    better = oriented(values, direction)
    return np.stack([better[a].to_numpy(float) - better[b].to_numpy(float) for a, b in pairs], 1)


def _differences(
    compared: Sequence[tuple[str, str]], means: Sequence[Estimate], p_values: Values, *, is_sorted: bool
) -> list[Difference]:
    rows = []
    for (a, b), mean, p, adjusted in zip(compared, means, p_values, holm(p_values), strict=True):
        if is_sorted and mean.value < 0:
            a, b, mean = b, a, mean._replace(value=-mean.value, low=-mean.high, high=-mean.low)
        rows.append(Difference(a, b, mean, float(p), float(adjusted), len(compared)))
    return rows if not is_sorted else sorted(rows, key=lambda row: (np.nan_to_num(row.adjusted, nan=2), -row.mean.value))


def in_words(difference: Difference, title: Callable[[str], str | None] = str) -> str:
    """'LayerCAM beats Grad-CAM by .03 [.01, .05], n = 200', or that no difference is shown, and why none could be. `title`
    gives the title of a method by its id."""
    a, b, mean = title(difference.a), title(difference.b), difference.mean
    if mean.why:
        return f"{a} and {b}: {mean} apart on {mean.why}"
    if difference.shown:
        return f"{a} beats {b} by {mean}, n = {mean.n}"
    least = least_p(mean.n)
    hopeless = difference.compared == 1 and least >= 1 - LEVEL
    why = f"; with n = {mean.n} no difference can be shown: p is at least {least:.2g}" if hopeless else ""
    p = "p > .99" if difference.adjusted > 0.99 else f"p = {plain(difference.adjusted)}"
    corrected = "" if difference.adjusted == difference.p else " after correction"
    return f"{a} and {b}: no difference shown, {mean}, n = {mean.n}, {p}{corrected}{why}"


def result_in_words(differences: Sequence[Difference]) -> str:
    """The test behind differences that were made together: its name, n, correction and result; and why it can show none
    where the pictures are too few for so many comparisons."""
    compared, counts = len(differences), sorted({difference.mean.n for difference in differences})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    correction = f"Holm's correction for {compared} comparisons" if compared > 1 else "no correction for a single comparison"
    significant = sum(difference.shown for difference in differences)
    words = (
        f"Paired sign-flip test of the mean difference (two-sided, n = {n}, {correction}): {significant} of {compared} "
        f"{'differences are' if compared > 1 else 'difference is'} significant at 5 %."
    )
    least = least_p(counts[-1])
    if least * compared < 1 - LEVEL:
        return words
    times = f", and the correction multiplies it by {compared}" if compared > 1 else ""
    return (
        f"{words} With n = {counts[-1]} no difference can be significant: the smallest possible p is {least:.2g}{times}. "
        f"At least {pictures_needed(compared)} pictures are needed."
    )


def least_p(n: int) -> float:
    """The smallest p that the sign-flip test of n pictures can give: two of all 2^n flips reach what was observed."""
    return 2.0 ** (1 - n)


def pictures_needed(compared: int) -> int:
    """The fewest pictures with which the test can show a difference after Holm's correction for so many comparisons."""
    return next(n for n in itertools.count(1) if least_p(n) * compared < 1 - LEVEL)


def _interval(columns: Values, draws: Values) -> tuple[Values, Values]:
    """Lower and upper ends of the interval of each column's mean: percentiles of bootstrap means, widened so that few
    pictures give as wide an interval as Student's t would (the 'expanded percentile' of Hesterberg 2015, arXiv:1411.5279,
    section 5.2; `scipy.stats.bootstrap` has none of that)."""
    from scipy import stats

    n = len(columns)
    if n < 2:
        return np.full(columns.shape[1], np.nan), np.full(columns.shape[1], np.nan)
    means = np.where(np.isfinite(columns).any(0), draws, 0.0)
    tail = (1 - LEVEL) / 2
    counts = np.maximum(np.isfinite(columns).sum(0), 2)
    share = stats.norm.cdf(np.sqrt(counts / (counts - 1)) * stats.t.ppf(tail, counts - 1))
    ends = np.array([np.nanquantile(means[:, place], [part, 1 - part]) for place, part in enumerate(share)])
    return ends[:, 0], ends[:, 1]


def bootstrap_means(columns: Values, seed: int) -> Values:
    """(DRAWS, k): means of the columns over pictures drawn with replacement, the same draws for all columns."""
    return bootstrap_means_of([columns], seed)[0]


def bootstrap_means_of(tables: Sequence[Values], seed: int) -> list[Values]:
    """`bootstrap_means` of each table; those of as many pictures from the same draws, which are made once for MOST_CELLS. A
    table without pictures has (0, k)."""
    means: list[list[Values]] = [[np.zeros((0, columns.shape[1]))] for columns in tables]
    for places in _alike([columns.shape[:1] for columns in tables], tables):
        filled = [np.nan_to_num(tables[place], nan=0.0, posinf=0.0, neginf=0.0) for place in places]
        absent = [~np.isfinite(tables[place]) for place in places]
        rows = [np.flatnonzero(gaps.any(1)) for gaps in absent]
        gaps = [every[some].astype(float) for every, some in zip(absent, rows, strict=True)]
        n = len(filled[0])
        for counts in _ahead(_resamples(n, seed)):
            for place, values, some, gap in zip(places, filled, rows, gaps, strict=True):
                # The pictures drawn that have a value: whole numbers, so exact, and from the few rows with a gap.
                with np.errstate(invalid="ignore"):
                    means[place].append((counts @ values) / (n - counts[:, some] @ gap))
    return [np.concatenate(draws) for draws in means]


def _alike(kinds: Sequence[tuple[int, ...]], tables: Sequence[Values]) -> Iterator[list[int]]:
    """The places of tables of one kind, at most MOST_CELLS at once (or a single table); without those of no pictures."""
    for kind in dict.fromkeys(kinds):
        some: list[int] = []
        for place, table in enumerate(tables):
            if kinds[place] == kind and len(table):
                if some and sum(tables[other].size for other in some) + table.size > MOST_CELLS:
                    yield some
                    some = []
                some.append(place)
        if some:
            yield some


def _resamples(n: int, seed: int) -> Iterator[Values]:
    """How often each of n pictures is drawn: arrays (some draws, n), DRAWS draws in all."""
    generator, step = np.random.default_rng(seed), max(1, AT_ONCE // n)
    for start in range(0, DRAWS, step):
        yield generator.multinomial(n, np.full(n, 1 / n), size=min(step, DRAWS - start)).astype(float)


def sign_flip(apart: Values, seed: int = 0) -> Values:
    """Two-sided p values of 'the mean of each column is zero', from flipping the signs of the rows (Fisher 1935): all 2^n
    flips up to n = 12 rows, else 9,999 random ones, or 100 for each column where that is more. NaN counts for nothing; a
    column of zeros has p 1, one of NaN has NaN.

    The same flips serve all columns, in one matrix product: `scipy.stats.permutation_test` draws for each column apart,
    which takes about 30 times as long, and does not leave out NaN.
    """
    return _sign_flips_of([apart], seed)[0]


def _sign_flips_of(tables: Sequence[Values], seed: int) -> list[Values]:
    """`sign_flip` of each table; those of one shape from the same flips, which are made once for MOST_CELLS."""
    p_values = [np.full(apart.shape[1], np.nan) for apart in tables]
    for places in _alike([apart.shape for apart in tables], tables):
        some = [tables[place] for place in places]
        for place, shares in zip(places, _exact_p(some) if len(some[0]) <= EXACT else _random_p(some, seed), strict=True):
            p_values[place] = np.where(np.isfinite(tables[place]).any(0), shares, np.nan)
    return p_values


def _least_sums(columns: Values) -> Values:
    """The absolute sums from which on a flip counts as having reached what was observed: within rounding."""
    least: Values = np.abs(columns.sum(0)) - 1e-12 * np.abs(columns).sum(0)
    return least


def _exact_p(tables: Sequence[Values]) -> list[Values]:
    """The share of all flips that reach the observed sum, of each column of tables of one shape."""
    flips = np.array(list(itertools.product((1.0, -1.0), repeat=len(tables[0]))))
    filled = [np.nan_to_num(table) for table in tables]
    return [(np.abs(flips @ columns) >= _least_sums(columns)).mean(0) for columns in filled]


def _random_p(tables: Sequence[Values], seed: int) -> list[Values]:
    """The share of random flips, and of the observed signs, that reach the observed sum, of each column of tables of one
    shape; so many flips that p can be small enough for each table.

    Sums are taken in single precision, which takes a third of the time. Where one is so near to what was observed that
    rounding could decide, it is taken again in double precision: the share is that of double precision. (numpy's threads
    take up to thirty times as long for such small products where the machine has other work; torch's sleep meanwhile.)
    """
    import torch

    (n, k), total = tables[0].shape, len(tables) * tables[0].shape[1]
    narrow, least, sizes = np.zeros((n, total), np.float32), np.zeros(total), np.zeros(total)
    for start, table in zip(range(0, total, k), tables, strict=True):
        own, columns = slice(start, start + k), np.nan_to_num(table)
        least[own], sizes[own] = _least_sums(columns), np.abs(columns).sum(0)
        np.divide(columns, sizes[own], out=narrow[:, own], where=sizes[own] > 0, casting="same_kind")
    unsure = 2 * BLOCK * 2.0**-24 * sizes  # twice what the sums of BLOCK numbers, each rounded to 24 bits, can be wrong by
    reached, flips = np.ones(total), max(FLIPS, FLIPS_EACH * k - 1)
    for signs in _ahead(_random_signs(n, flips, total, seed)):
        sums = np.zeros((len(signs), total))
        for start in range(0, n, BLOCK):
            block = slice(start, start + BLOCK)
            sums += (torch.from_numpy(signs[:, block]) @ torch.from_numpy(narrow[block])).numpy()
        sums = np.abs(sums) * sizes
        is_reached = sums >= least
        near = (np.abs(sums - least) <= unsure) & (sizes > 0)
        for place in np.flatnonzero(near.any(0)):
            rows, column = np.flatnonzero(near[:, place]), np.nan_to_num(tables[place // k][:, place % k])
            is_reached[rows, place] = np.abs(signs[rows].astype(float) @ column) >= least[place]
        reached += is_reached.sum(0)
    return [*(reached / (flips + 1)).reshape(len(tables), k)]


def _random_signs(n: int, total: int, columns: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """`total` rows of n signs, some rows at a time: -1 where `generator.integers(0, 2)` draws 1, else 1. Both draws take
    the first bit of a random word; here it becomes the sign of a number that is 1 (0x3F800000) otherwise."""
    generator, step = np.random.default_rng(seed), max(1, AT_ONCE // max(n, columns))
    for start in range(0, total, step):
        words = generator.integers(0, 2**32, (min(step, total - start), n), np.uint32)
        words &= np.uint32(0x80000000)
        words |= np.uint32(0x3F800000)
        yield words.view(np.float32)


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items, each made in a thread while the one before it is used: numpy draws outside the interpreter's lock."""
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = thread.submit(next, items, None)
            yield item


def holm(p_values: Sequence[float] | Values) -> Values:
    """p values adjusted after Holm (1979) for the number of tests; NaN stays NaN and counts for nothing.

    (`statsmodels.stats.multitest.multipletests` gives the same, and collects the garbage of the whole process each time.)
    """
    raw = np.asarray(p_values, float)
    order = np.argsort(raw)  # NaN last
    tests = int(np.isfinite(raw).sum())
    steps = raw[order] * np.maximum(tests - np.arange(len(raw)), 1)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def beats_all(values: pd.DataFrame, controls: Sequence[str], direction: str) -> dict[str, bool | None]:
    """Whether each method is better than every one of the controls, each by the paired test at 5 %; None where there are
    fewer than six pictures, with which no difference can be shown. Controls without any value are left out (a uniform map
    has no correlation); where none is left, all are None.

    The p values are not adjusted: a method that has to pass all tests does not profit from their number (an
    intersection-union test, Berger 1982).
    """
    return beats_all_of([values], [controls], [direction])[0]


def beats_all_of(
    tables: Sequence[pd.DataFrame], controls: Sequence[Sequence[str]], directions: Sequence[str]
) -> list[dict[str, bool | None]]:
    """`beats_all` of each table, as `estimates_of` is to `estimates`."""
    methods = [[name for name in table.columns if name not in own] for table, own in zip(tables, controls, strict=True)]
    pairs = [
        [(method, control) for method in names for control in own if table[control].notna().any()]
        for table, names, own in zip(tables, methods, controls, strict=True)
    ]
    apart = [_apart(*each) for each in zip(tables, directions, pairs, strict=True)]
    p_values = _sign_flips_of(apart, seed=0)
    return [_beats(*each) for each in zip(methods, pairs, apart, p_values, strict=True)]


def _beats(
    methods: Sequence[str], pairs: Sequence[tuple[str, str]], apart: Values, p_values: Values
) -> dict[str, bool | None]:
    counts = np.isfinite(apart).sum(0)
    beats: dict[str, bool | None] = {}
    for method in methods:
        against = [place for place, (better, _) in enumerate(pairs) if better == method]
        enough = min((counts[place] for place in against), default=0) >= LEAST
        passed = (p_values[place] < 1 - LEVEL and float(np.nanmean(apart[:, place])) > 0 for place in against)
        beats[method] = all(passed) if enough else None
    return beats
