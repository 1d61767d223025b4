"""Statistics of a table of votes: how far reviewers agree, with whom, on which pictures, and with themselves.

A table has one row for each vote that counts, the last blind vote of a person on a picture, and the columns position,
person, verdict and repeat_of; `map_help` also reads map_shown and map_helped. Hidden repeats (rows with repeat_of, the
position of the original) count in `consistency` alone. Verdicts are names without an order.

Cohen's and Fleiss' kappa on all pictures are those of statsmodels. Intervals are percentiles of the bootstrap over pictures.
Each statistic is a function of sums over pictures, so that one matrix product gives it for many draws; draws in which it is
undefined are left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest

Values = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVEL = 0.95  # of confidence
AT_ONCE = 2_000_000  # cells of a matrix of draws that are held at once
NO_VOTE = -1  # in a matrix of verdicts, pictures x people

ONE_PICTURE = "one picture does not show how much pictures differ, so there is no interval"
SAME_IN_ALL_DRAWS = "every draw of pictures gives this same value: the pictures differ too little for an interval"


@dataclass(frozen=True)
class Statistic:
    """A value with the ends of its interval (95%); `why` says why the value, or only its interval, is None.

    `n` is what a share is of (pairs of votes, votes or answers), and of a coefficient the number of votes it is computed
    from. `pictures` have these; `scope` says which pictures they are, where these are not all with two votes.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    pictures: int = 0
    n: int = 0
    why: str = ""
    scope: str = ""


@dataclass(frozen=True)
class Agreement:
    """How far people agree. `percent` is the share of pairs of votes on one picture that agree; the others correct it for
    agreement by chance. Chance is estimated from the verdicts that somebody gave, also in Gwet's AC1."""

    percent: Statistic
    cohen: Statistic
    fleiss: Statistic
    krippendorff: Statistic
    gwet: Statistic
    pictures: int
    votes: int
    people: int


@dataclass(frozen=True)
class PersonPair:
    """Two people on the pictures that both voted on; `why` says why `percent` or `cohen` is None."""

    first: str
    second: str
    pictures: int
    percent: float | None
    cohen: float | None
    why: str = ""


@dataclass(frozen=True)
class DisputedPicture:
    """A picture with more than one verdict: the entropy of its votes in bits, and the number of votes of each verdict."""

    position: int
    entropy: float
    counts: Mapping[str, int]


@dataclass(frozen=True)
class MapHelp:
    """Whether maps helped. Pairs of votes on one picture agree more, or more votes are right, where `difference` or
    `right_difference` (with maps minus without) is positive. `helped` is the share of "yes" among the answers."""

    agree_with_maps: Statistic
    agree_without_maps: Statistic
    difference: Statistic
    right_with_maps: Statistic
    right_without_maps: Statistic
    right_difference: Statistic
    helped: Statistic


@dataclass(frozen=True)
class _Ballots:
    """Votes as numbers of verdicts, pictures x people, NO_VOTE where there is none."""

    matrix: Integers
    positions: Sequence[int]
    people: Sequence[str]
    verdicts: Sequence[str]

    @property
    def counts(self) -> Integers:
        """Votes of each verdict that somebody gave, pictures x verdicts."""
        each = [(self.matrix == verdict).sum(1) for verdict in range(len(self.verdicts)) if (self.matrix == verdict).any()]
        return np.stack(each, 1) if each else np.zeros((len(self.matrix), 0), np.int64)

    def against_others(self, verdict: int) -> "_Ballots":
        """One verdict against all others as one."""
        binary = np.where(self.matrix == NO_VOTE, NO_VOTE, self.matrix == verdict)
        return replace(self, matrix=binary, verdicts=["another verdict", self.verdicts[verdict]])


class _Sums(NamedTuple):
    """A statistic as a function of sums over pictures: `formula` takes sums (draws, k) of `columns` (pictures, k) to values
    (draws,), NaN where undefined. `observed` is the statistic on all pictures; its interval follows from draws."""

    observed: Statistic
    columns: Values
    formula: Callable[[Values], Values]


def agreement(votes: pd.DataFrame, *, seed: int = 0, draws: int = 1000) -> Agreement:
    """How far people agree on all verdicts."""
    (whole,) = _agreements([_ballots(_originals(votes))], seed, draws)
    return whole


def by_verdict(votes: pd.DataFrame, *, seed: int = 0, draws: int = 1000) -> dict[str, Agreement]:
    """How far people agree on each verdict that somebody gave, against all others; the draws are the same for all."""
    ballots = _ballots(_originals(votes))
    each = [ballots.against_others(verdict) for verdict in range(len(ballots.verdicts))]
    return dict(zip(ballots.verdicts, _agreements(each, seed, draws), strict=True))


def pairs(votes: pd.DataFrame) -> list[PersonPair]:
    """Who agrees with whom: every two people."""
    ballots = _ballots(_originals(votes))
    rows = []
    for first, second in combinations(range(len(ballots.people)), 2):
        both = replace(ballots, matrix=ballots.matrix[:, [first, second]])
        percent, cohen = _percent(both.counts, "").observed, _cohen(both).observed
        names = ballots.people[first], ballots.people[second]
        rows.append(PersonPair(*names, percent.pictures, percent.value, cohen.value, cohen.why))
    return rows


def disputed(votes: pd.DataFrame) -> list[DisputedPicture]:
    """Pictures with more than one verdict, the highest entropy of votes first; among equal ones those with more votes."""
    from scipy import stats

    ballots = _ballots(_originals(votes))
    counts = ballots.counts
    several = np.flatnonzero((counts > 0).sum(1) > 1)
    entropies = stats.entropy(counts[several], base=2, axis=1)
    rows = [
        DisputedPicture(
            ballots.positions[int(place)],
            float(entropy),
            {verdict: int(n) for verdict, n in zip(ballots.verdicts, counts[place], strict=True) if n},
        )
        for place, entropy in zip(several, entropies, strict=True)
    ]
    return sorted(rows, key=lambda row: (-round(row.entropy, 9), -sum(row.counts.values()), row.position))


def consistency(votes: pd.DataFrame) -> dict[str, Statistic]:
    """For each person, the share of hidden repeats with the same verdict as the original, with its Wilson interval."""
    given = _given(votes)
    is_repeat = given["repeat_of"].notna()
    repeats = given[is_repeat].astype({"repeat_of": "int64"})
    originals = given.loc[~is_repeat, ["position", "person", "verdict"]]
    twice = repeats.merge(
        originals, left_on=["person", "repeat_of"], right_on=["person", "position"], suffixes=("", "_first")
    )
    same = (twice["verdict"] == twice["verdict_first"]).groupby(twice["person"]).agg(["sum", "size"])
    shares = {}
    for person in sorted(given["person"].unique()):
        if person not in same.index:
            shares[person] = Statistic(None, why="no picture was voted on twice")
            continue
        shares[person] = share(int(same.loc[person, "sum"]), int(same.loc[person, "size"]), "")
    return shares


def share(part: int, whole: int, why: str) -> Statistic:
    """A share of pictures or votes with its Wilson interval; `why` says why there is none of nothing."""
    from statsmodels.stats.proportion import proportion_confint

    if not whole:
        return Statistic(None, why=why)
    low, high = proportion_confint(part, whole, alpha=1 - LEVEL, method="wilson")
    return Statistic(part / whole, float(low), float(high), pictures=whole, n=whole)


def map_help(votes: pd.DataFrame, correct: Mapping[int, str] | None = None, *, seed: int = 0, draws: int = 1000) -> MapHelp:
    """Whether votes with maps agree more than those without, in a round that shows maps at random.

    A pair of votes on one picture counts with maps where both saw the map, and without where neither did. With `correct`,
    the right verdict of each position where it is known, shares of right votes are compared too.
    """
    rows = _originals(votes)
    shown = rows["map_shown"].to_numpy(bool)
    positions = np.unique(rows["position"])

    def agreeing(chosen: NDArray[np.bool_], which: str) -> _Sums:
        ballots = _ballots(rows[chosen])
        counts = np.zeros((len(positions), len(ballots.verdicts)), np.int64)
        counts[np.searchsorted(positions, np.asarray(ballots.positions, np.int64))] = ballots.counts
        return _percent(counts, f"no picture has two votes {which} maps")

    def share_of(chosen: NDArray[np.bool_], is_part: NDArray[np.bool_], why: str) -> _Sums:
        places = np.searchsorted(positions, rows["position"])
        whole = np.bincount(places[chosen], minlength=len(positions))
        return _share(np.bincount(places[chosen & is_part], minlength=len(positions)), whole, why)

    right = pd.Series(correct or {}, dtype=object).reindex(rows["position"]).to_numpy()
    known, is_right = pd.notna(right), rows["verdict"].to_numpy() == right
    unknown = "" if correct else "no right verdicts are given"
    answered = rows["map_helped"].notna().to_numpy() & shown
    agree = [agreeing(shown, "with"), agreeing(~shown, "without")]
    rights = [
        share_of(known & shown, is_right, unknown or "no vote with maps is on a picture whose right verdict is known"),
        share_of(known & ~shown, is_right, unknown or "no vote without maps is on a picture whose right verdict is known"),
    ]
    is_yes = np.zeros(len(rows), bool)
    is_yes[answered] = rows["map_helped"][answered].astype(bool)
    helped = share_of(answered, is_yes, "nobody said whether the map helped")
    return MapHelp(
        *_with_intervals([*agree, _difference(*agree), *rights, _difference(*rights), helped], len(positions), seed, draws)
    )


def resamples(pictures: int, seed: int, draws: int) -> Iterator[Values]:
    """How often each picture is in a bootstrap draw: arrays (some draws, pictures), `draws` draws in all."""
    generator, step = np.random.default_rng(seed), max(1, AT_ONCE // max(1, pictures))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        places = generator.integers(pictures, size=(rows, pictures)) + pictures * np.arange(rows)[:, None]
        yield np.bincount(places.ravel(), minlength=rows * pictures).reshape(rows, pictures).astype(float)


def _given(votes: pd.DataFrame) -> pd.DataFrame:
    """The rows with a verdict. A second vote of a person on a position would count twice, so it is refused."""
    rows = votes[votes["verdict"].notna()]
    if rows.duplicated(["position", "person"]).any():
        raise BadRequest("The table of votes has two votes of one person on one picture. Keep the one that counts.")
    return rows


def _originals(votes: pd.DataFrame) -> pd.DataFrame:
    rows = _given(votes)
    return rows[rows["repeat_of"].isna()]


def _ballots(rows: pd.DataFrame) -> _Ballots:
    row, positions = pd.factorize(rows["position"].to_numpy(np.int64), sort=True)
    column, people = pd.factorize(rows["person"].to_numpy(object), sort=True)
    number, verdicts = pd.factorize(rows["verdict"].to_numpy(object), sort=True)
    matrix = np.full((len(positions), len(people)), NO_VOTE, np.int64)
    matrix[row, column] = number
    return _Ballots(matrix, positions.tolist(), people.tolist(), verdicts.tolist())


def _agreements(tables: Sequence[_Ballots], seed: int, draws: int) -> list[Agreement]:
    """The agreement in each of several tables of the same pictures."""
    if not tables:  # nobody has voted, so there is no verdict
        return []
    pictures = len(tables[0].matrix)
    all_sums = [sums for ballots in tables for sums in _coefficients(ballots)]
    statistics = iter(_with_intervals(all_sums, pictures, seed, draws))
    rows = []
    for ballots in tables:
        percent, cohen, fleiss, alpha, gwet = islice(statistics, 5)
        votes, people = int((ballots.matrix != NO_VOTE).sum()), ballots.matrix.shape[1]
        rows.append(Agreement(percent, cohen, fleiss, alpha, gwet, pictures, votes, people))
    return rows


def _coefficients(ballots: _Ballots) -> list[_Sums]:
    """In the order of Agreement."""
    counts, people = ballots.counts, ballots.matrix.shape[1]
    why = {0: "nobody has voted", 1: "only one person has voted"}.get(people, "no picture has two votes")
    return [_percent(counts, why), _cohen(ballots), _fleiss(counts, why), _krippendorff(counts, why), _gwet(counts, why)]


def _undefined(rows: int, why: str, pictures: int = 0, n: int = 0, scope: str = "") -> _Sums:
    observed = Statistic(None, pictures=pictures, n=n, why=why, scope=scope)
    return _Sums(observed, np.zeros((rows, 0)), lambda sums: np.full(len(sums), np.nan))


def _with_intervals(all_sums: Sequence[_Sums], pictures: int, seed: int, draws: int) -> list[Statistic]:
    """All statistics with their intervals, from the same draws of pictures."""
    columns = np.hstack([np.zeros((pictures, 0)), *(sums.columns for sums in all_sums)])
    drawn = [weights @ columns for weights in resamples(pictures, seed, draws)] if columns.shape[1] else []
    starts = np.cumsum([sums.columns.shape[1] for sums in all_sums])[:-1]
    parts = np.split(np.concatenate([np.zeros((0, columns.shape[1])), *drawn]), starts, axis=1)
    return [_with_interval(sums, part) for sums, part in zip(all_sums, parts, strict=True)]


def _with_interval(sums: _Sums, drawn: Values) -> Statistic:
    observed = sums.observed
    if observed.value is None:
        return observed
    if observed.pictures < 2:
        return replace(observed, why=ONE_PICTURE)
    values = sums.formula(drawn)
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) < 1e-12:
        return replace(observed, why=SAME_IN_ALL_DRAWS)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return replace(observed, low=float(low), high=float(high))


def _ratio(part: Values, whole: Values) -> Values:
    quotient: Values = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return quotient


def _one_verdict(name: str) -> str:
    return f"all votes that count here are the same verdict: {name} is undefined without a second one"


def _share(part: Integers, whole: Integers, why: str) -> _Sums:
    """The share of all parts in all wholes."""
    n = int(whole.sum())
    if not n:
        return _undefined(len(whole), why)
    observed = Statistic(int(part.sum()) / n, pictures=int((whole > 0).sum()), n=n)
    return _Sums(observed, np.stack([part, whole], 1).astype(float), lambda sums: _ratio(sums[:, 0], sums[:, 1]))


def _difference(first: _Sums, second: _Sums) -> _Sums:
    """The first share minus the second."""
    a, b = first.observed, second.observed
    if a.value is None or b.value is None:
        return _undefined(len(first.columns), a.why or b.why)
    pictures = int(((first.columns[:, 1] > 0) | (second.columns[:, 1] > 0)).sum())
    return _Sums(
        Statistic(a.value - b.value, pictures=pictures, n=a.n + b.n),
        np.hstack([first.columns, second.columns]),
        lambda sums: first.formula(sums[:, :2]) - second.formula(sums[:, 2:]),
    )


def _percent(counts: Integers, why: str) -> _Sums:
    votes = counts.sum(1)
    return _share((counts * (counts - 1)).sum(1) // 2, votes * (votes - 1) // 2, why)


def _cohen(ballots: _Ballots) -> _Sums:
    """Cohen (1960), on the pictures that both people voted on."""
    from statsmodels.stats.inter_rater import cohens_kappa

    rows, people = ballots.matrix.shape
    if people != 2:
        return _undefined(rows, f"Cohen's kappa is for exactly two people, and {people} voted")
    both, width = (ballots.matrix != NO_VOTE).all(1), len(ballots.verdicts)
    n = int(both.sum())
    if not n:
        return _undefined(rows, "the two people have no picture in common")
    first, second = ((ballots.matrix[:, [person]] == np.arange(width)) & both[:, None] for person in (0, 1))
    table = first.T.astype(float) @ second.astype(float)
    if np.diag(table).max() == n:
        return _undefined(rows, _one_verdict("Cohen's kappa"), n, 2 * n)

    def formula(sums: Values) -> Values:
        n, chance = sums[:, :width].sum(1), (sums[:, :width] * sums[:, width:-1]).sum(1)
        return _ratio(n * sums[:, -1] - chance, n * n - chance)

    observed = Statistic(float(cohens_kappa(table, return_results=False)), pictures=n, n=2 * n)
    return _Sums(observed, np.column_stack([first, second, (first & second).any(1)]).astype(float), formula)


def _fleiss(counts: Integers, why: str) -> _Sums:
    """Fleiss (1971) needs the same number of votes on each picture: the pictures with the most usual number from two on are
    taken, or with the larger one of equally usual numbers."""
    from statsmodels.stats.inter_rater import fleiss_kappa

    votes = counts.sum(1)
    numbers, frequencies = np.unique(votes[votes >= 2], return_counts=True)
    if not len(numbers):
        return _undefined(len(counts), why)
    usual = int(numbers[frequencies == frequencies.max()].max())
    is_taken = votes == usual
    n = int(is_taken.sum())
    scope = "" if n == len(votes) else f"the {n} of {len(votes)} pictures with {usual} votes each"
    if counts[is_taken].sum(0).max() == n * usual:
        return _undefined(len(counts), _one_verdict("Fleiss' kappa"), n, n * usual, scope)

    def formula(sums: Values) -> Values:
        pictures, chance = sums[:, -1], (sums[:, :-2] ** 2).sum(1)
        return _ratio(sums[:, -2] * pictures * usual / (usual - 1) - chance, (pictures * usual) ** 2 - chance)

    observed = Statistic(float(fleiss_kappa(counts[is_taken])), pictures=n, n=n * usual, scope=scope)
    columns = np.column_stack([counts, (counts * (counts - 1)).sum(1), np.ones(len(counts))]) * is_taken[:, None]
    return _Sums(observed, columns, formula)


def _krippendorff(counts: Integers, why: str) -> _Sums:
    """Krippendorff's alpha of names (2004, Content Analysis, ch. 11), on the pictures with two votes or more. The package
    krippendorff has it under a licence that is not this project's; tests compare with it."""
    votes = counts.sum(1)
    is_paired = votes >= 2
    pictures, n = int(is_paired.sum()), int(votes[is_paired].sum())
    if not pictures:
        return _undefined(len(counts), why)
    if counts[is_paired].sum(0).max() == n:
        return _undefined(len(counts), _one_verdict("Krippendorff's alpha"), pictures, n)

    def formula(sums: Values) -> Values:
        n, chance = sums[:, :-1].sum(1), (sums[:, :-1] ** 2).sum(1)
        return 1 - _ratio((n - 1) * (n - sums[:, -1]), n * n - chance)

    agreeing = (counts * (counts - 1)).sum(1) / np.maximum(votes - 1, 1)
    columns = np.column_stack([counts, agreeing]) * is_paired[:, None]
    return _Sums(Statistic(float(formula(columns.sum(0, keepdims=True))[0]), pictures=pictures, n=n), columns, formula)


def _gwet(counts: Integers, why: str) -> _Sums:
    """Gwet's AC1 (2008, doi:10.1348/000711006X126600) with missing votes: agreement on the pictures with two votes or more,
    chance from all pictures. irrCAC has it but needs an old scipy; tests compare with its values."""
    votes = counts.sum(1)
    is_paired, verdicts = votes >= 2, counts.shape[1]
    pictures, n = int(is_paired.sum()), int(votes.sum())
    if not pictures:
        return _undefined(len(counts), why)
    if verdicts < 2:
        return _undefined(len(counts), _one_verdict("Gwet's AC1"), pictures, n)

    def formula(sums: Values) -> Values:
        shares = sums[:, :-2] / sums[:, :-2].sum(1, keepdims=True)
        chance = (shares * (1 - shares)).sum(1) / (verdicts - 1)  # at most 1 / verdicts
        corrected: Values = (_ratio(sums[:, -2], sums[:, -1]) - chance) / (1 - chance)
        return corrected

    agreeing = (counts * (counts - 1)).sum(1) / np.maximum(votes * (votes - 1), 1)
    columns = np.column_stack([counts / votes[:, None], agreeing, is_paired])
    observed = Statistic(float(formula(columns.sum(0, keepdims=True))[0]), pictures=pictures, n=n)
    return _Sums(observed, columns, formula)
