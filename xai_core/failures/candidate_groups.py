"""Candidates for groups of errors: what pictures may have in common, made of the first half of them.

They are every value and every pair of values of what is known of the pictures (attributes, the label, the predicted class),
clusters of the network's features (of all pictures, of what is predicted as one class, and of its errors), and clusters of
maps. A candidate is a rule that says of every picture whether it is inside; no rule is made of the held-out half.

Clusters of maps follow SpRAy (Lapuschkin et al. 2019, Nature Communications 10:1096) with k-means in place of spectral
clustering: a held-out map must be put into a cluster without having been part of the graph, which k-means can and the
spectral embedding cannot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.analysis.groups import values_of
from xai_core.explanation.clustering import SIDE, small_map

FEWEST, FEWEST_ERRORS = 5, 3  # pictures of a candidate on each half, and its errors on the first half, at least
LEVEL = 0.05
CLUSTERS = (10, 30)  # of the features
CLASS_CLUSTERS = 4  # of what is predicted as one class, at most, and of its errors
CLASSES = 20  # predicted classes that are clustered, those with the most errors
MAP_CLUSTERS = (4, 8)
DIMENSIONS = 20  # to which features and maps are reduced before
JOINED = 1_000  # values that are joined in pairs at most, those with the most errors
PAIRS = 2_000  # pairs of values that are looked at more closely, the best by themselves
DETERMINED = 0.99  # share of its most frequent label from which on a value of an attribute is taken to tell the label
MOST_VALUES = 200  # of an attribute: file names and the like make no groups
Flags = NDArray[np.bool_]
Condition = tuple[str, str]  # an attribute and its value


@dataclass(frozen=True, eq=False)
class CandidateGroup:
    """Pictures that may belong together: (n,) flags `inside`, in words and, where it is made of attributes, as conditions;
    `among_maps` where only pictures with a map can be in it."""

    words: str
    conditions: tuple[Condition, ...]
    inside: Flags
    among_maps: bool = False

    @property
    def parts(self) -> int:
        return len(self.conditions) or 3  # a cluster has no words of its own: it comes after what can be said


def known_values(rows: pd.DataFrame, attributes: pd.DataFrame | None) -> pd.DataFrame:
    """What groups are made of: each column as ordered categories, (n, columns), and the label and the predicted class."""
    columns = {} if attributes is None else {str(name): attributes[name] for name in attributes.columns}
    columns |= {"label": rows["true"], "predicted": rows["predicted"]}
    known = {}
    for name, column in columns.items():
        values = values_of(column.reset_index(drop=True))
        if 1 < len(values.cat.categories) <= MOST_VALUES or name in ("label", "predicted"):
            known[name] = values
    return pd.DataFrame(known)


def search(
    rows: pd.DataFrame,
    known: pd.DataFrame,
    first: Flags,
    points: NDArray[np.float32] | None,
    small: NDArray[np.float32] | None,
    mapped: Flags,
    seed: int,
) -> tuple[list[CandidateGroup], int]:
    """The candidates of the half `first` (n,), and how many groups were looked at for them. `known` is of `known_values`,
    `points` (n, d) are the reduced features, and `small` and `mapped` are of `small_maps`."""
    wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
    values, looked_at = _of_attributes(known, wrong, first)
    clusters = [
        *_of_features(points, first, seed),
        *_of_classes(rows, points, wrong, first, seed),
        *_of_maps(small, mapped, first, seed),
    ]
    return [*values, *clusters], looked_at + len(clusters)


def _of_attributes(known: pd.DataFrame, wrong: Flags, first: Flags) -> tuple[list[CandidateGroup], int]:
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
    singles = [CandidateGroup(f"{name}: {value}", ((name, value),), flags[at]) for at in np.flatnonzero(able)
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
) -> tuple[list[CandidateGroup], int]:
    telling = {str(name) for name in known if _tells(known[name], known["label"])}
    inside = flags[joined][:, first].astype(np.float32)
    sizes, errors = (inside @ inside.T).round(), (inside[:, wrong[first]] @ inside[:, wrong[first]].T).round()
    names = np.array([conditions[at][0] for at in joined])
    apart = names[:, None] != names
    by_definition = (names == "predicted")[:, None] & np.isin(names, list(telling))
    able = np.triu(apart & ~by_definition & ~by_definition.T & (sizes >= FEWEST), 1)
    one, other = np.nonzero(able & (errors >= FEWEST_ERRORS))
    best = np.argsort(-lowest_rate(errors[one, other], sizes[one, other]), kind="stable")[:PAIRS]
    found = []
    for pair in best:
        ends = sorted((joined[one[pair]], joined[other[pair]]))
        said = tuple(conditions[end] for end in ends)
        words = ", ".join(f"{name}: {value}" for name, value in said)
        found.append(CandidateGroup(words, said, flags[ends[0]] & flags[ends[1]]))
    return found, int(able.sum())


def lowest_rate(errors: NDArray[np.floating], sizes: NDArray[np.floating]) -> NDArray[np.float64]:
    """The lower limit (Wilson, 95%) of the share of errors: few pictures that are all wrong say less than many that mostly
    are."""
    from statsmodels.stats.proportion import proportion_confint

    return np.asarray(proportion_confint(errors, np.maximum(sizes, 1), alpha=LEVEL, method="wilson")[0])


def _tells(values: "pd.Series[str]", labels: "pd.Series[str]") -> bool:
    """Whether some value of an attribute has almost only pictures of one label."""
    counts = pd.crosstab(values, labels)
    sizes = counts.sum(axis=1)
    return bool(((counts.max(axis=1) >= DETERMINED * sizes) & (sizes >= FEWEST)).any())


def reduced(values: NDArray[np.float32], first: Flags, seed: int) -> NDArray[np.float32]:
    """(n, at most DIMENSIONS): the principal components of the first half."""
    from sklearn.decomposition import PCA

    size = min(DIMENSIONS, values.shape[1], int(first.sum()))
    points: NDArray[np.float32] = PCA(size, random_state=seed, svd_solver="randomized").fit(values[first]).transform(values)
    return points


def _of_features(points: NDArray[np.float32] | None, first: Flags, seed: int) -> Iterator[CandidateGroup]:
    """Clusters of the features of the first half; the other pictures belong to the cluster whose centre is nearest."""
    if points is None:
        return
    for count in CLUSTERS:
        for number, inside in _clustered(points, first, count, seed):
            yield CandidateGroup(f"cluster {number} of {count} of the features", (), inside)


def _clustered(points: NDArray[np.float32], first: Flags, count: int, seed: int) -> Iterator[tuple[int, Flags]]:
    from sklearn.cluster import KMeans

    if first.sum() < 2 * count:
        return
    nearest = KMeans(count, n_init=3, random_state=seed).fit(points[first]).predict(points)
    for number in range(count):
        yield number + 1, nearest == number


def _of_classes(
    rows: pd.DataFrame, points: NDArray[np.float32] | None, wrong: Flags, first: Flags, seed: int
) -> Iterator[CandidateGroup]:
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
            yield CandidateGroup(words, (), _spread(inside, predicted))
        parts = [mine[early & mistaken], mine[early & ~mistaken]]
        if not all(map(len, parts)):
            continue
        errors, right = (
            KMeans(min(CLASS_CLUSTERS, 1 + len(part) // 10), n_init=3, random_state=seed).fit(part).cluster_centers_
            for part in parts
        )
        nearest = ((mine[:, None] - np.concatenate([errors, right])) ** 2).sum(2).argmin(1)
        like = f"like the errors predicted as {name}, by the features"
        yield CandidateGroup(like, (), _spread(nearest < len(errors), predicted))
        for number in range(len(errors) if len(errors) > 1 else 0):
            words = f"{like}: cluster {number + 1} of {len(errors)}"
            yield CandidateGroup(words, (), _spread(nearest == number, predicted))


def _spread(inside: Flags, among: Flags) -> Flags:
    """Flags of some pictures as flags of all."""
    every = np.zeros(len(among), bool)
    every[among] = inside
    return every


def small_maps(maps: Sequence[NDArray[np.floating] | None] | None, count: int) -> tuple[NDArray[np.float32] | None, Flags]:
    """(n, 256): the maps on a coarse grid and divided by their norms, zero where there is none; and which have one."""
    mapped = np.array([one is not None for one in maps or [None] * count], bool)
    if maps is None or not mapped.any():
        return None, mapped
    small = np.zeros((count, SIDE * SIDE), np.float32)
    for place, one in enumerate(maps):
        if one is not None:
            small[place] = small_map(one).ravel()
    return small, mapped


def _of_maps(small: NDArray[np.float32] | None, mapped: Flags, first: Flags, seed: int) -> Iterator[CandidateGroup]:
    if small is None or (mapped & first).sum() < 2 * min(MAP_CLUSTERS):
        return
    points = reduced(small[mapped], first[mapped], seed)
    for count in MAP_CLUSTERS:
        for number, inside in _clustered(points, first[mapped], count, seed):
            words = f"cluster {number} of {count} of the maps (of pictures with a map)"
            yield CandidateGroup(words, (), _spread(inside, mapped), among_maps=True)
