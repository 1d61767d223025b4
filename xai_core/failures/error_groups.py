"""Which errors belong together: groups of pictures that a model gets wrong more often than the others, each tested on
pictures that did not suggest it.

The pictures are halved at random. On one half, candidates are made: every value and every pair of values of what is known
of the pictures (attributes, the label, the predicted class), clusters of the network's features (of all pictures, of what
is predicted as one class, and of its errors), and clusters of maps. Those whose error rate has the highest lower limit are
chosen, each only if a quarter of its errors, or more, are in none of those before, so that one large cause does not fill the
list with its variants. They are tested on the other half, by Fisher's exact test against all pictures outside the group,
with p corrected for all that were tested there (Holm). A group that is only coherent does not pass: coherence does not make
its story true (Johnson et al. 2023, arXiv:2306.08167).

Clusters of maps follow SpRAy (Lapuschkin et al. 2019, Nature Communications 10:1096) with k-means in place of spectral
clustering: a held-out map must be put into a cluster without having been part of the graph, which k-means can and the
spectral embedding cannot.

What it cannot tell: a group that passes has more errors, which does not say that what its members share is the cause. Some
pictures are harder than others without a fault of the network that could be mended (small, dark, between two classes); their
groups are confirmed, too. Of those the network is usually unsure, so that a second test compares each group with pictures of
equal confidence: a group that passes it, too, is a blind spot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from xai_core.analysis.groups import values_of
from xai_core.core.errors import BadRequest
from xai_core.evaluation.significance import holm
from xai_core.explanation.clustering import SIDE, small_map
from xai_core.failures.plan import PlannedAction

TESTED = 30  # candidates at most that go to the held-out half
FEWEST, FEWEST_ERRORS = 5, 3  # pictures of a candidate on each half, and its errors on the first half, at least
NEW = 0.25  # share of the errors of a candidate that no group chosen before holds, at least
CLUSTERS = (10, 30)  # of the features
CLASS_CLUSTERS = 4  # of what is predicted as one class, at most, and of its errors
CLASSES = 20  # predicted classes that are clustered, those with the most errors
MAP_CLUSTERS = (4, 8)
DIMENSIONS = 20  # to which features and maps are reduced before
JOINED = 1_000  # values that are joined in pairs at most, those with the most errors
PAIRS = 2_000  # pairs of values that are looked at more closely, the best by themselves
DETERMINED = 0.99  # share of its most frequent label from which on a value of an attribute is taken to tell the label
MOST_VALUES = 200  # of an attribute: file names and the like make no groups
LEVEL = 0.05
EFFECT = 0.1  # by which the lower limit of a confirmed group's error rate is above the rate outside, at least
STRATA = 10  # ranges of the confidence, of as many held-out pictures each
Flags = NDArray[np.bool_]
Condition = tuple[str, str]  # an attribute and its value


@dataclass(frozen=True)
class ErrorGroups:
    """The groups that were tested, the confirmed ones first, then in the order in which they were chosen.

    `table` has a row for each group:

        group            its conditions in words: 'time: night, label: tent'; or 'cluster 4 of 30 of the features'
        pictures, errors        of all pictures
        found on pictures, found on errors    of the half that suggested it
        tested pictures, tested errors        of the held-out half
        error rate, low, high   the share of the tested pictures that are wrong, with its Wilson interval (95%)
        rate outside     the share of the other pictures of the held-out half that are wrong
        p, p corrected   of Fisher's exact test, one-sided; corrected for all tested groups
        confirmed        p corrected is below 0.05, there are FEWEST tested pictures or more, and `low` is at least EFFECT
                         above `rate outside`
        p at equal confidence   of the Cochran-Mantel-Haenszel test, one-sided, within STRATA ranges of the confidence,
                         corrected for all tested groups: has the group more errors than other pictures of which the network
                         is as sure? Not a number where `rows` have no column `confidence`
        unforeseen       confirmed, and p at equal confidence is below 0.05, too: the network does not know of it
        at stake         points of accuracy that are gained at most, over all pictures, if all of the group became right
        differs          in words, what its pictures have more often than the others

    Rates of clusters of maps are of the pictures that have a map, inside and outside; their names say so.

    members       the places of each group's pictures, errors first; with features, the most central ones first
    conditions    of each group: attributes with their values; empty for clusters
    mean_maps     of each group: the mean of its errors' maps (16, 16), each divided by its norm; None without maps
    held_out      (n,), which pictures are in the held-out half
    candidates    number of groups that the first half was searched for
    reasons       sentences: why nothing was tested or nothing is confirmed
    """

    table: pd.DataFrame
    members: tuple[NDArray[np.int64], ...]
    conditions: tuple[tuple[Condition, ...], ...]
    mean_maps: tuple[NDArray[np.float32] | None, ...] = field(repr=False)
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
    among_maps: bool = False  # whether only pictures with a map can be in it

    @property
    def parts(self) -> int:
        return len(self.conditions) or 3  # a cluster has no words of its own: it comes after what can be said


COLUMNS = (
    "group", "pictures", "errors", "found on pictures", "found on errors", "tested pictures", "tested errors", "error rate",
    "low", "high", "rate outside", "p", "p corrected", "confirmed",
    "p at equal confidence", "unforeseen", "at stake", "differs",
)  # fmt: skip


def groups(
    rows: pd.DataFrame,
    attributes: pd.DataFrame | None = None,
    features: NDArray[np.floating] | None = None,
    maps: Sequence[NDArray[np.floating] | None] | None = None,
    *,
    seed: int = 0,
) -> ErrorGroups:
    """Find and test groups of errors among the predictions `rows` (n pictures; columns `true` and `predicted`,
    and `confidence`, the probability of the predicted class, where it is known).

    `attributes` (n rows, any columns) is what is known of the pictures: metadata, or `picture_statistics`; numbers are cut
    at their quartiles. `features` (n, d) are the network's. `maps` holds n maps (h, w), or None for pictures without one:
    usually all errors and a random sample of the right ones have one. The seed halves the pictures, within right and wrong
    ones, and draws the first centres of the clusters. Raises BadRequest where the sizes do not fit together.
    """
    wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
    for name, other in (("attributes", attributes), ("features", features), ("maps", maps)):
        if other is not None and len(other) != len(rows):
            raise BadRequest(f"There are {len(rows):,} predictions and {len(other):,} rows of {name}; each needs one.")
    held_out = _halves(wrong, seed)
    reason = _too_little(wrong)
    if reason:
        return _nothing(held_out, 0, reason, seed)
    first = ~held_out
    known = _known(rows, attributes)
    points = None if features is None else _reduced(np.asarray(features, np.float32), first, seed)
    small, mapped = _small_maps(maps, len(rows))
    pairs, searched = _of_attributes(known, wrong, first)
    clusters = [*_of_features(points, first, seed), *_of_classes(rows, points, wrong, first, seed)]
    of_maps = list(_of_maps(small, mapped, first, seed))
    candidates = [*pairs, *clusters, *of_maps]
    searched += len(clusters) + len(of_maps)
    chosen = _chosen(candidates, wrong, first, mapped)
    if not chosen:
        return _nothing(held_out, searched, _NO_CANDIDATE.format(searched), seed)
    confidence = rows["confidence"].to_numpy(np.float64) if "confidence" in rows else None
    table = _tested(chosen, wrong, held_out, mapped, known, confidence)
    order = np.argsort(~table["confirmed"].to_numpy(bool), kind="stable")
    ordered = [chosen[place] for place in order]
    return ErrorGroups(
        table.iloc[order].reset_index(drop=True),
        tuple(_members(one.inside, wrong, points) for one in ordered),
        tuple(one.conditions for one in ordered),
        tuple(_mean_map(one.inside & wrong & mapped, small) for one in ordered),
        held_out, searched,
        () if table["confirmed"].any() else (f"None of the {len(chosen)} tested groups is confirmed on the held-out half.",),
        seed,
    )  # fmt: skip


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


def _of_attributes(known: pd.DataFrame, wrong: Flags, first: Flags) -> tuple[list[_Candidate], int]:
    """The pictures of the values, and of the best PAIRS pairs of values, with enough pictures and errors on the first half;
    and how many values and pairs there are. A predicted class is not joined with the label, nor with an attribute that tells
    it: where they differ, all pictures are wrong by definition, as are those of a predicted class that is no label."""
    labels = set(known["label"])
    conditions = [
        (str(name), str(value))
        for name in known
        for value in known[name].cat.categories
        if name != "predicted" or value in labels
    ]
    columns = {str(name): known[name].astype(str).to_numpy() for name in known}
    flags = np.stack([columns[name] == value for name, value in conditions])
    sizes, errors = flags[:, first].sum(1), flags[:, first & wrong].sum(1)
    able = (sizes >= FEWEST) & (errors >= FEWEST_ERRORS)
    singles = [_Candidate(f"{name}: {value}", ((name, value),), flags[at]) for at in np.flatnonzero(able)
               for name, value in [conditions[at]]]  # fmt: skip
    joined = np.flatnonzero(able)[np.argsort(-errors[able], kind="stable")[:JOINED]]
    pairs, count = _pairs(joined, flags, conditions, known, wrong, first)
    return [*singles, *pairs], int((sizes >= FEWEST).sum()) + count


def _pairs(
    joined: NDArray[np.int64],
    flags: Flags,
    conditions: Sequence[Condition],
    known: pd.DataFrame,
    wrong: Flags,
    first: Flags,
) -> tuple[list[_Candidate], int]:
    telling = {str(name) for name in known if _tells(known[name], known["label"])}
    inside = flags[joined][:, first].astype(np.float32)
    sizes, errors = (inside @ inside.T).round(), (inside[:, wrong[first]] @ inside[:, wrong[first]].T).round()
    names = np.array([conditions[at][0] for at in joined])
    apart = names[:, None] != names
    by_definition = (names == "predicted")[:, None] & np.isin(names, list(telling))
    able = np.triu(apart & ~by_definition & ~by_definition.T & (sizes >= FEWEST), 1)
    one, other = np.nonzero(able & (errors >= FEWEST_ERRORS))
    best = np.argsort(-_lowest_rate(errors[one, other], sizes[one, other]), kind="stable")[:PAIRS]
    found = []
    for pair in best:
        ends = sorted((joined[one[pair]], joined[other[pair]]))
        said = tuple(conditions[end] for end in ends)
        words = ", ".join(f"{name}: {value}" for name, value in said)
        found.append(_Candidate(words, said, flags[ends[0]] & flags[ends[1]]))
    return found, int(able.sum())


def _lowest_rate(errors: NDArray[np.floating], sizes: NDArray[np.floating]) -> NDArray[np.float64]:
    """The lower limit (Wilson, 95%) of the share of errors: few pictures that are all wrong say less than many that mostly
    are."""
    return np.asarray(proportion_confint(errors, np.maximum(sizes, 1), alpha=LEVEL, method="wilson")[0])


def _tells(values: "pd.Series[str]", labels: "pd.Series[str]") -> bool:
    """Whether some value of an attribute has almost only pictures of one label."""
    counts = pd.crosstab(values, labels)
    sizes = counts.sum(axis=1)
    return bool(((counts.max(axis=1) >= DETERMINED * sizes) & (sizes >= FEWEST)).any())


def _reduced(values: NDArray[np.float32], first: Flags, seed: int) -> NDArray[np.float32]:
    """(n, at most DIMENSIONS): the principal components of the first half."""
    from sklearn.decomposition import PCA

    size = min(DIMENSIONS, values.shape[1], int(first.sum()))
    points: NDArray[np.float32] = PCA(size, random_state=seed, svd_solver="randomized").fit(values[first]).transform(values)
    return points


def _of_features(points: NDArray[np.float32] | None, first: Flags, seed: int) -> Iterator[_Candidate]:
    """Clusters of the features of the first half; the other pictures belong to the cluster whose centre is nearest."""
    if points is None:
        return
    for count in CLUSTERS:
        for number, inside in _clustered(points, first, count, seed):
            yield _Candidate(f"cluster {number} of {count} of the features", (), inside)


def _clustered(points: NDArray[np.float32], first: Flags, count: int, seed: int) -> Iterator[tuple[int, Flags]]:
    from sklearn.cluster import KMeans

    if first.sum() < 2 * count:
        return
    nearest = KMeans(count, n_init=3, random_state=seed).fit(points[first]).predict(points)
    for number in range(count):
        yield number + 1, nearest == number


def _of_classes(
    rows: pd.DataFrame, points: NDArray[np.float32] | None, wrong: Flags, first: Flags, seed: int
) -> Iterator[_Candidate]:
    """Of the pictures predicted as one class: clusters of all; those that are nearer to a centre of its errors than to one
    of its right ones; and the clusters of those."""
    from sklearn.cluster import KMeans

    if points is None:
        return
    labels = set(rows["true"])
    classes = rows["predicted"][wrong & first].value_counts().head(CLASSES)
    for name in classes.index[classes >= FEWEST_ERRORS]:
        if name not in labels:
            continue
        predicted = (rows["predicted"] == name).to_numpy(bool)
        mine, early, mistaken = points[predicted], first[predicted], wrong[predicted]
        for number, inside in _clustered(mine, early, CLASS_CLUSTERS, seed):
            words = f"cluster {number} of {CLASS_CLUSTERS} of what is predicted as {name}"
            yield _Candidate(words, (), _spread(inside, predicted))
        parts = [mine[early & mistaken], mine[early & ~mistaken]]
        if not all(map(len, parts)):
            continue
        errors, right = (
            KMeans(min(CLASS_CLUSTERS, 1 + len(part) // 10), n_init=3, random_state=seed).fit(part).cluster_centers_
            for part in parts
        )
        nearest = ((mine[:, None] - np.concatenate([errors, right])) ** 2).sum(2).argmin(1)
        like = f"like the errors predicted as {name}, by the features"
        yield _Candidate(like, (), _spread(nearest < len(errors), predicted))
        for number in range(len(errors) if len(errors) > 1 else 0):
            words = f"{like}: cluster {number + 1} of {len(errors)}"
            yield _Candidate(words, (), _spread(nearest == number, predicted))


def _spread(inside: Flags, among: Flags) -> Flags:
    """Flags of some pictures as flags of all."""
    every = np.zeros(len(among), bool)
    every[among] = inside
    return every


def _small_maps(maps: Sequence[NDArray[np.floating] | None] | None, count: int) -> tuple[NDArray[np.float32] | None, Flags]:
    """(n, 256): the maps on a coarse grid and divided by their norms, zero where there is none; and which have one."""
    mapped = np.array([one is not None for one in maps or [None] * count], bool)
    if maps is None or not mapped.any():
        return None, mapped
    small = np.zeros((count, SIDE * SIDE), np.float32)
    for place, one in enumerate(maps):
        if one is not None:
            small[place] = small_map(one).ravel()
    return small, mapped


def _of_maps(small: NDArray[np.float32] | None, mapped: Flags, first: Flags, seed: int) -> Iterator[_Candidate]:
    if small is None or (mapped & first).sum() < 2 * min(MAP_CLUSTERS):
        return
    points = _reduced(small[mapped], first[mapped], seed)
    for count in MAP_CLUSTERS:
        for number, inside in _clustered(points, first[mapped], count, seed):
            words = f"cluster {number} of {count} of the maps (of pictures with a map)"
            yield _Candidate(words, (), _spread(inside, mapped), among_maps=True)


def _mean_map(inside: Flags, small: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    if small is None or not inside.any():
        return None
    mean: NDArray[np.float32] = small[inside].mean(0).reshape(SIDE, SIDE)
    return mean


def _chosen(candidates: Sequence[_Candidate], wrong: Flags, first: Flags, mapped: Flags) -> list[_Candidate]:
    """At most TESTED candidates, those with the highest lower limit of the error rate on the first half, each with NEW of
    its errors, or more, in none of those before. Of equal ones, the one with the fewest conditions comes first."""
    if not candidates:
        return []
    inside = np.stack([one.inside[first] for one in candidates]).astype(np.float32)
    among_maps = np.array([one.among_maps for one in candidates])
    parts = np.array([one.parts for one in candidates])
    mistaken, has_map = wrong[first], mapped[first]
    sizes, errors = inside.sum(1), inside @ mistaken
    of = np.where(among_maps, has_map.sum(), len(mistaken))
    of_errors = np.where(among_maps, (has_map & mistaken).sum(), mistaken.sum())
    able = (sizes >= FEWEST) & (errors >= FEWEST_ERRORS) & (sizes < of)
    able &= errors / np.maximum(sizes, 1) > (of_errors - errors) / np.maximum(of - sizes, 1)
    low = _lowest_rate(errors, sizes)
    bias = _case_control_odds(wrong, mapped)
    low = np.where(among_maps, low * bias / (1 - low + low * bias), low)
    chosen: list[_Candidate] = []
    left = mistaken.copy()  # errors that no chosen candidate holds
    for place in np.lexsort((parts, -low)):
        new = float(inside[place] @ left)
        if able[place] and new >= max(FEWEST_ERRORS, NEW * errors[place]):
            chosen.append(candidates[place])
            left &= inside[place] == 0
            if len(chosen) == TESTED:
                break
    return chosen


def _case_control_odds(wrong: Flags, mapped: Flags) -> float:
    """By how much the odds of an error among pictures with a map must be multiplied to be those among all pictures: maps
    are usually made of all errors and of few right ones."""
    right, errors = mapped[~wrong].mean(), mapped[wrong].mean()
    return float(right / errors) if errors else 1.0


def _tested(
    chosen: Sequence[_Candidate],
    wrong: Flags,
    held_out: Flags,
    mapped: Flags,
    known: pd.DataFrame,
    confidence: NDArray[np.float64] | None,
) -> pd.DataFrame:
    from scipy.stats import hypergeom

    inside = np.stack([one.inside for one in chosen])
    among = np.stack([held_out & mapped if one.among_maps else held_out for one in chosen])
    sizes, errors = inside.sum(1), (inside & wrong).sum(1)
    tested, tested_errors = (inside & among).sum(1), (inside & among & wrong).sum(1)
    of, of_errors = among.sum(1), (among & wrong).sum(1)
    p = hypergeom.sf(tested_errors - 1, of, of_errors, tested)  # Fisher's exact test, one-sided
    corrected = holm(p)
    low, high = proportion_confint(tested_errors, np.maximum(tested, 1), alpha=LEVEL, method="wilson")
    rate = np.divide(tested_errors, tested, out=np.full(len(chosen), np.nan), where=tested > 0)
    outside = (of_errors - tested_errors) / np.maximum(of - tested, 1)
    confirmed = (corrected < LEVEL) & (tested >= FEWEST) & (low >= outside + EFFECT)
    equal = np.full(len(chosen), np.nan)
    if confidence is not None:
        equal = holm(np.array([_at_equal_confidence(one.inside[some], wrong[some], confidence[some])
                               for one, some in zip(chosen, among, strict=True)]))  # fmt: skip
    return pd.DataFrame(
        {
            "group": [one.words for one in chosen],
            "pictures": sizes,
            "errors": errors,
            "found on pictures": sizes - (inside & held_out).sum(1),
            "found on errors": errors - (inside & held_out & wrong).sum(1),
            "tested pictures": tested,
            "tested errors": tested_errors,
            "error rate": rate,
            "low": np.where(tested > 0, low, np.nan),
            "high": np.where(tested > 0, high, np.nan),
            "rate outside": outside,
            "p": p,
            "p corrected": corrected,
            "confirmed": confirmed,
            "p at equal confidence": equal,
            "unforeseen": confirmed & (equal < LEVEL),
            "at stake": 100 * errors / len(wrong),
            "differs": [differences(known, one.inside, one.conditions) for one in chosen],
        },
        columns=list(COLUMNS),
    )


def _at_equal_confidence(inside: Flags, wrong: Flags, confidence: NDArray[np.float64]) -> float:
    """p of the Cochran-Mantel-Haenszel test, one-sided with correction for continuity: more errors inside, within ranges of
    the confidence."""
    from scipy.stats import norm
    from statsmodels.stats.contingency_tables import StratifiedTable

    ranges = pd.qcut(confidence, STRATA, labels=False, duplicates="drop")
    counts = np.zeros((2, 2, int(ranges.max()) + 1))
    np.add.at(counts, (~inside * 1, ~wrong * 1, ranges), 1)
    informative = (counts.sum(0) > 0).all(0) & (counts.sum(1) > 0).all(0)  # some inside and outside, some right and wrong
    if not informative.any():
        return 1.0
    counts = counts[..., informative]
    excess = counts[0, 0] - counts[0].sum(0) * counts[:, 0].sum(0) / counts.sum((0, 1))
    statistic = StratifiedTable(counts).test_null_odds(correction=True).statistic
    return float(norm.sf(np.sign(excess.sum()) * np.sqrt(statistic)))


def _members(inside: Flags, wrong: Flags, points: NDArray[np.float32] | None) -> NDArray[np.int64]:
    """Errors first; those nearest to the mean of the group's errors first."""
    places = np.flatnonzero(inside)
    distances = np.zeros(len(places))
    if points is not None and (inside & wrong).any():
        distances = np.linalg.norm(points[places] - points[inside & wrong].mean(0), axis=1)
    return places[np.lexsort((distances, ~wrong[places]))]


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
        values, codes = known[name].cat.categories, known[name].cat.codes.to_numpy()
        within, without = (
            np.bincount(codes[part], minlength=len(values)) / np.count_nonzero(part) for part in (inside, ~inside)
        )
        most_apart = int((within - without).argmax())
        words = f"{name} {values[most_apart]} {within[most_apart]:.0%} (outside {without[most_apart]:.0%})"
        found.append((within[most_apart] - without[most_apart], words))
    return ", ".join(words for difference, words in sorted(found, reverse=True)[:most] if difference > 0)


def actions(result: ErrorGroups, paths: Sequence[str]) -> list[PlannedAction]:
    """An action for each confirmed group. `paths` are the names of all pictures that `groups` was given."""
    settings = {"seed": result.seed, "groups searched": result.candidates, "groups tested": len(result.table)}
    return [
        PlannedAction(
            "collect",
            f"Collect more pictures like: {row['group']}",
            f"On the held-out half {row['tested errors']} of {row['tested pictures']} are wrong ({row['error rate']:.0%}, "
            f"{row['low']:.0%} to {row['high']:.0%}; outside {row['rate outside']:.0%}; corrected p "
            f"{row['p corrected']:.2g}). At stake: at most {row['at stake']:.1f} points of accuracy."
            + (f" More often than outside: {row['differs']}." if row["differs"] else ""),
            "",
            tuple(paths[place] for place in members),
            settings=settings,
            about=str(row["group"]),
        )
        for (_, row), members in zip(result.confirmed.iterrows(), result.members[: len(result.confirmed)], strict=True)
    ]


def _nothing(held_out: Flags, candidates: int, reason: str, seed: int) -> ErrorGroups:
    return ErrorGroups(pd.DataFrame(columns=list(COLUMNS)), (), (), (), held_out, candidates, (reason,), seed)
