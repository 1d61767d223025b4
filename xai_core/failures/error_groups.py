"""Which errors belong together: groups of pictures that a model gets wrong more often than the others, each tested on
pictures that did not suggest it.

The pictures are halved at random. On one half, candidates are made and ranked: every value and every pair of values of what
is known of the pictures (attributes, the label, the predicted class), and clusters of the network's features. The best of
them are tested on the other half, by Fisher's exact test against all pictures outside the group, with p corrected for all
candidates that were tested there (Holm). A group that is only coherent does not pass: coherence does not make its story
true (Johnson et al. 2023, arXiv:2306.08167).

What it cannot tell: a group that passes has more errors, which does not say that what its members share is the cause.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from xai_core.analysis.groups import values_of
from xai_core.core.errors import BadRequest
from xai_core.evaluation.significance import holm

TESTED = 30  # candidates at most that go to the held-out half
FEWEST, FEWEST_ERRORS = 5, 3  # pictures of a candidate on each half, and its errors on the first half, at least
CLUSTERS = (10, 30)  # of the features
DIMENSIONS = 20  # to which features are reduced before
SAME = 0.5  # Jaccard index of the errors of two candidates from which on they are one
DETERMINED = 0.99  # share of its most frequent label from which on a value of an attribute is taken to tell the label
MOST_VALUES = 200  # of an attribute: file names and the like make no groups
LEVEL = 0.05
Flags = NDArray[np.bool_]
Condition = tuple[str, str]  # an attribute and its value


@dataclass(frozen=True)
class ErrorGroups:
    """The groups that were tested, the confirmed ones first, then by the error rate's lower limit on the first half.

    `table` has a row for each group:

        group            its conditions in words: 'time: night, label: tent'; or 'cluster 4 of 30 of the features'
        pictures, errors        of all pictures
        found on pictures, found on errors    of the half that suggested it
        tested pictures, tested errors        of the held-out half
        error rate, low, high   the share of the tested pictures that are wrong, with its Wilson interval (95%)
        rate outside     the share of the other pictures of the held-out half that are wrong
        p, p corrected   of Fisher's exact test, one-sided; corrected for all tested groups
        confirmed        p corrected is below 0.05, and there are FEWEST tested pictures or more
        at stake         points of accuracy that are gained at most, over all pictures, if all of the group became right
        differs          in words, what its pictures have more often than the others

    members       the places of each group's pictures, errors first; of clusters, the nearest to the middle first
    conditions    of each group: attributes with their values; empty for clusters
    held_out      (n,), which pictures are in the held-out half
    candidates    number of groups that the first half was searched for
    reasons       sentences: why nothing was tested or nothing is confirmed
    """

    table: pd.DataFrame
    members: tuple[NDArray[np.int64], ...]
    conditions: tuple[tuple[Condition, ...], ...]
    held_out: Flags = field(repr=False)
    candidates: int
    reasons: tuple[str, ...]
    seed: int

    @property
    def confirmed(self) -> pd.DataFrame:
        return self.table[self.table["confirmed"].astype(bool)]


@dataclass(frozen=True, eq=False)
class _Candidate:
    words: str
    conditions: tuple[Condition, ...]
    inside: Flags
    distances: NDArray[np.float64] | None = None  # of all pictures from the middle of a cluster

    @property
    def parts(self) -> int:
        return len(self.conditions) or 3  # a cluster has no words of its own: it comes after what can be said


COLUMNS = (
    "group", "pictures", "errors", "found on pictures", "found on errors", "tested pictures", "tested errors", "error rate",
    "low", "high", "rate outside", "p", "p corrected", "confirmed", "at stake", "differs",
)  # fmt: skip


def groups(
    rows: pd.DataFrame,
    attributes: pd.DataFrame | None = None,
    features: NDArray[np.floating] | None = None,
    *,
    seed: int = 0,
) -> ErrorGroups:
    """Find and test groups of errors among the predictions `rows` (columns `true` and `predicted`, n pictures).

    `attributes` (n rows, any columns) is what is known of the pictures: metadata, or statistics of the pictures; numbers are
    cut at their quartiles. `features` (n, d) are the network's. The seed halves the pictures, within right and wrong ones,
    and draws the first centres of the clusters. Raises BadRequest where the sizes do not fit together.
    """
    wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
    for name, other in (("attributes", attributes), ("features", features)):
        if other is not None and len(other) != len(rows):
            raise BadRequest(f"There are {len(rows):,} predictions and {len(other):,} rows of {name}; each needs one.")
    held_out = _halves(wrong, seed)
    reason = _too_little(wrong)
    if reason:
        return _nothing(held_out, 0, reason, seed)
    known = _known(rows, attributes)
    candidates = [*_of_attributes(known), *_of_features(features, ~held_out, seed)]
    chosen = _chosen(candidates, wrong, ~held_out)
    if not chosen:
        return _nothing(held_out, len(candidates), _NO_CANDIDATE.format(len(candidates)), seed)
    return _tested(chosen, wrong, held_out, known, len(candidates), seed)


_NO_CANDIDATE = "None of {:,} groups has more errors than the other pictures on the first half, so none was tested."


def _halves(wrong: Flags, seed: int) -> Flags:
    """Which pictures are held out: every second of a random order, among the wrong and among the right ones."""
    held_out = np.zeros(len(wrong), bool)
    draws = np.random.default_rng(seed)
    for kind in (wrong, ~wrong):
        held_out[draws.permutation(np.flatnonzero(kind))[::2]] = True
    return held_out


def _too_little(wrong: Flags) -> str:
    """Why there is nothing to search for; "" where there is."""
    errors = int(wrong.sum())
    if not errors:
        return "All pictures are predicted correctly: there are no errors to group."
    if errors == len(wrong):
        return "All pictures are predicted wrongly: no group can have more errors than the others."
    least = 2 * FEWEST_ERRORS
    if errors < least:
        return f"There are {errors} errors; groups are searched for from {least} on, so that some are left for the test."
    return ""


def _known(rows: pd.DataFrame, attributes: pd.DataFrame | None) -> pd.DataFrame:
    """What groups are made of: each column as ordered categories, (n, columns), and the label and the predicted class."""
    columns = {} if attributes is None else {str(name): attributes[name] for name in attributes.columns}
    columns |= {"label": rows["true"], "predicted": rows["predicted"]}
    known = {}
    for name, column in columns.items():
        values = values_of(column.reset_index(drop=True))
        if 1 < len(values.cat.categories) <= MOST_VALUES or name in ("label", "predicted"):
            known[name] = values
    return pd.DataFrame(known)


def _of_attributes(known: pd.DataFrame) -> Iterator[_Candidate]:
    """The pictures of every value and of every pair of values. A predicted class is not joined with the label, nor with an
    attribute that tells it: where they differ, all pictures are wrong by definition, as are those of a predicted class that
    is no label."""
    telling = {name for name in known if _tells(known[name], known["label"])}
    labels = set(known["label"])
    flags = {
        (str(name), str(value)): (known[name] == value).to_numpy(bool)
        for name in known
        for value in known[name].cat.categories
        if name != "predicted" or value in labels
    }
    for condition, inside in flags.items():
        yield _Candidate(f"{condition[0]}: {condition[1]}", (condition,), inside)
    for first, second in itertools.combinations(flags, 2):
        names = {first[0], second[0]}
        if len(names) < 2 or ("predicted" in names and names & telling):
            continue
        inside = flags[first] & flags[second]
        if inside.sum() >= FEWEST:
            words = f"{first[0]}: {first[1]}, {second[0]}: {second[1]}"
            yield _Candidate(words, (first, second), inside)


def _tells(values: "pd.Series[str]", labels: "pd.Series[str]") -> bool:
    """Whether some value of an attribute has almost only pictures of one label."""
    counts = pd.crosstab(values, labels)
    sizes = counts.sum(axis=1)
    return bool(((counts.max(axis=1) >= DETERMINED * sizes) & (sizes >= FEWEST)).any())


def _of_features(features: NDArray[np.floating] | None, first: Flags, seed: int) -> Iterator[_Candidate]:
    """Clusters of the features of the first half; the other pictures belong to the cluster whose centre is nearest."""
    if features is None or first.sum() < 2 * min(CLUSTERS):
        return
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    values = np.asarray(features, np.float64)
    size = min(DIMENSIONS, values.shape[1], int(first.sum()))
    reduction = PCA(size, random_state=seed, svd_solver="randomized").fit(values[first])
    points = reduction.transform(values)
    for count in CLUSTERS:
        if first.sum() < 2 * count:
            continue
        fitted = KMeans(count, n_init=3, random_state=seed).fit(points[first])
        nearest, distances = fitted.predict(points), fitted.transform(points)
        for number in range(count):
            words = f"cluster {number + 1} of {count} of the features"
            yield _Candidate(words, (), nearest == number, distances[:, number])


def _chosen(candidates: Sequence[_Candidate], wrong: Flags, first: Flags) -> list[_Candidate]:
    """The candidates with the highest lower limit of the error rate on the first half, without those whose errors are mostly
    those of a better one. Of candidates with the same pictures there, the one with the fewest conditions stays."""
    inside = np.stack([candidate.inside for candidate in candidates])[:, first]
    sizes, errors = inside.sum(1), (inside & wrong[first]).sum(1)
    outside = (wrong[first].sum() - errors) / np.maximum(first.sum() - sizes, 1)
    low = np.asarray(proportion_confint(errors, np.maximum(sizes, 1), alpha=LEVEL, method="wilson")[0])
    able = (sizes >= FEWEST) & (errors >= FEWEST_ERRORS) & (sizes < first.sum()) & (errors / np.maximum(sizes, 1) > outside)
    parts = np.array([candidate.parts for candidate in candidates])
    chosen: list[int] = []
    for place in np.lexsort((parts, -low)):
        mine = inside[place] & wrong[first]
        if able[place] and all(_jaccard(mine, inside[other] & wrong[first]) < SAME for other in chosen):
            chosen.append(int(place))
            if len(chosen) == TESTED:
                break
    return [candidates[place] for place in chosen]


def _jaccard(first: Flags, second: Flags) -> float:
    return float((first & second).sum() / max((first | second).sum(), 1))


def _tested(
    chosen: Sequence[_Candidate], wrong: Flags, held_out: Flags, known: pd.DataFrame, candidates: int, seed: int
) -> ErrorGroups:
    from scipy.stats import hypergeom

    inside = np.stack([candidate.inside for candidate in chosen])
    sizes, errors = inside.sum(1), (inside & wrong).sum(1)
    tested, tested_errors = inside[:, held_out].sum(1), (inside & wrong)[:, held_out].sum(1)
    of, of_errors = int(held_out.sum()), int(wrong[held_out].sum())
    p = hypergeom.sf(tested_errors - 1, of, of_errors, tested)  # Fisher's exact test, one-sided
    corrected = holm(p)
    low, high = proportion_confint(tested_errors, np.maximum(tested, 1), alpha=LEVEL, method="wilson")
    rate = np.divide(tested_errors, tested, out=np.full(len(chosen), np.nan), where=tested > 0)
    table = pd.DataFrame(
        {
            "group": [candidate.words for candidate in chosen],
            "pictures": sizes,
            "errors": errors,
            "found on pictures": sizes - tested,
            "found on errors": errors - tested_errors,
            "tested pictures": tested,
            "tested errors": tested_errors,
            "error rate": rate,
            "low": np.where(tested > 0, low, np.nan),
            "high": np.where(tested > 0, high, np.nan),
            "rate outside": (of_errors - tested_errors) / np.maximum(of - tested, 1),
            "p": p,
            "p corrected": corrected,
            "confirmed": (corrected < LEVEL) & (tested >= FEWEST),
            "at stake": 100 * errors / len(wrong),
            "differs": [differences(known, candidate.inside, candidate.conditions) for candidate in chosen],
        },
        columns=list(COLUMNS),
    )
    order = np.argsort(~table["confirmed"].to_numpy(bool), kind="stable")
    members = tuple(_members(chosen[place], wrong) for place in order)
    confirmed = int(table["confirmed"].sum())
    reasons = () if confirmed else (f"None of the {len(chosen)} tested groups is confirmed on the held-out half.",)
    return ErrorGroups(
        table.iloc[order].reset_index(drop=True), members, tuple(chosen[place].conditions for place in order), held_out,
        candidates, reasons, seed,
    )  # fmt: skip


def _members(candidate: _Candidate, wrong: Flags) -> NDArray[np.int64]:
    places = np.flatnonzero(candidate.inside)
    distances = np.zeros(len(wrong)) if candidate.distances is None else candidate.distances
    return places[np.lexsort((distances[places], ~wrong[places]))]


def differences(known: pd.DataFrame, inside: Flags, conditions: Sequence[Condition] = (), most: int = 3) -> str:
    """What pictures inside a group have more often than those outside: 'time night 88% (outside 30%)', the largest
    differences first, without the group's own conditions."""
    if not inside.any() or inside.all():
        return ""
    own = {name for name, _ in conditions}
    found = []
    for name in known.columns:
        if name in own:
            continue
        within = known[name][inside].value_counts(normalize=True)
        without = known[name][~inside].value_counts(normalize=True)
        value = str((within - without).idxmax())
        found.append((within[value] - without[value], f"{name} {value} {within[value]:.0%} (outside {without[value]:.0%})"))
    return ", ".join(words for difference, words in sorted(found, reverse=True)[:most] if difference > 0)


def _nothing(held_out: Flags, candidates: int, reason: str, seed: int) -> ErrorGroups:
    return ErrorGroups(pd.DataFrame(columns=list(COLUMNS)), (), (), held_out, candidates, (reason,), seed)
