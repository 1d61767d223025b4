"""Errors of a classifier: the confusion matrix and the statistics that follow from it.

A table of predictions is a DataFrame with one row for each picture: `path`, `true` (its class), `predicted`,
`confidence` (softmax probability of the predicted class, in [0, 1]) and `margin` (that minus the next class's).

Where a function takes `counted` beside `listed`, it lists pairs or counts of the pictures `listed`, and its shares are of
the pictures `counted`: the table before it was filtered by what the model answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.cache_key import array_digest, text_digest

OTHERS = "(other classes)"


@dataclass(frozen=True)
class Confusion:
    """counts[i, j] pictures of class `classes[i]` were predicted as `classes[j]`.

    `pictures` is how many pictures of each class the shares are of: at least the sum of its row, and more where a filter
    leaves some predictions out. By default it is that sum.
    """

    counts: NDArray[np.int64]
    classes: tuple[str, ...]
    pictures: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.pictures):
            object.__setattr__(self, "pictures", self.counts.sum(1))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the classes and all numbers."""
        return text_digest(repr((self.classes, array_digest(self.counts), array_digest(self.pictures))))

    @property
    def rates(self) -> NDArray[np.float64]:
        """Each count divided by the pictures of its true class, in [0, 1]; NaN for classes without pictures."""
        totals = self.pictures[:, None]
        rates: NDArray[np.float64] = np.divide(self.counts, totals, out=np.full(self.counts.shape, np.nan), where=totals > 0)
        return rates

    @property
    def accuracy(self) -> float:
        """The share of correct predictions, in [0, 1]; NaN without pictures."""
        return float(np.trace(self.counts) / self.pictures.sum()) if self.pictures.sum() else float("nan")

    def ordered(self, order: Sequence[int]) -> "Confusion":
        """The matrix with rows and columns in another order of the classes, or of some of them."""
        classes = tuple(self.classes[index] for index in order)
        return Confusion(self.counts[np.ix_(order, order)], classes, self.pictures[list(order)])


@dataclass(frozen=True)
class PairCounts:
    """counts[i] pictures of class `classes[true[i]]` were predicted as `classes[predicted[i]]`; pairs without a picture are
    left out, so that any number of classes takes little memory. `pictures` is of each class how many its shares are of."""

    classes: tuple[str, ...]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    counts: NDArray[np.int64]
    pictures: NDArray[np.int64]

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def wrong(self) -> int:
        return int(self.counts[self.true != self.predicted].sum())

    @property
    def errors(self) -> NDArray[np.int64]:
        """Of each class, how many errors it has as the true or as the predicted class."""
        wrong, size = self.true != self.predicted, len(self.classes)
        sides = [np.bincount(side[wrong], self.counts[wrong], size) for side in (self.true, self.predicted)]
        return (sides[0] + sides[1]).astype(np.int64)

    @property
    def most_frequent_error(self) -> int:
        """How many pictures the most frequent error has; 0 without one."""
        return int(self.counts[self.true != self.predicted].max(initial=0))

    def occurring(self) -> NDArray[np.intp]:
        """The classes that occur as a label or a prediction."""
        return np.union1d(self.true, self.predicted)

    def over(self, groups: NDArray[np.integer[Any]], names: Sequence[str]) -> Confusion:
        """The matrix of groups of classes: `groups` is of each class the number of its group, which `names` names; pictures
        of classes with a negative number are left out."""
        size = len(names)
        true, predicted = groups[self.true], groups[self.predicted]
        kept = (true >= 0) & (predicted >= 0)
        cells = np.bincount(true[kept].astype(np.int64) * size + predicted[kept], self.counts[kept], size * size)
        pictures = np.bincount(groups[groups >= 0], self.pictures[groups >= 0], size)
        return Confusion(cells.astype(np.int64).reshape(size, size), tuple(names), pictures.astype(np.int64))

    def of(self, classes: Sequence[int] | NDArray[np.integer[Any]]) -> Confusion:
        """The matrix of some classes, in their order."""
        groups = np.full(len(self.classes), -1)
        groups[list(classes)] = np.arange(len(classes))
        return self.over(groups, [self.classes[place] for place in classes])

    def worst(self, most: int) -> Confusion:
        """At most `most` rows and columns, in alphabetical order: all classes that occur, or those with the most errors, the
        rest summed up as OTHERS."""
        known = self.occurring()
        if len(known) <= most:
            return self.of(known)
        order = known[np.argsort(-self.errors[known], kind="stable")]
        groups = np.full(len(self.classes), -1)
        groups[order[: most - 1]], groups[order[most - 1 :]] = np.arange(most - 1), most - 1
        return self.over(groups, [*(self.classes[place] for place in order[: most - 1]), OTHERS])


def pair_counts(listed: pd.DataFrame, counted: pd.DataFrame | None = None) -> PairCounts:
    """How often each true class of the pictures `listed` was predicted as each class. Shares are of the pictures `counted`;
    by default of those listed."""
    classes, (true, predicted) = _numbered(listed, ("true", "predicted"))
    size = len(classes)
    keys = true.astype(np.int64) * size + predicted
    found, counts = _counts(keys, size * size)
    own = true if counted is None else _codes(counted["true"], classes)
    pictures = np.bincount(own[own >= 0], minlength=size)
    return PairCounts(tuple(classes), found // max(size, 1), found % max(size, 1), counts, pictures)


def _codes(names: "pd.Series[Any]", classes: Sequence[str]) -> NDArray[np.integer[Any]]:
    """The number of each name among the classes; -1 where it is none of them."""
    known = pd.Index(list(classes), dtype="str")
    if isinstance(names.dtype, pd.CategoricalDtype):
        places = known.get_indexer(names.cat.categories.astype("str"))
        return np.append(places, -1)[names.cat.codes]
    return known.get_indexer(pd.Index(names.astype("str")))


DENSE = 4_000_000  # cells of a matrix up to which counting in it is quicker than sorting


def _counts(keys: NDArray[np.int64], cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The keys below `cells` that occur, in order, and how often each does."""
    if cells <= 2 * len(keys) + DENSE:
        every: NDArray[np.int64] = np.bincount(keys, minlength=cells).astype(np.int64)
        known = np.flatnonzero(every)
        return known, every[known]
    found, counts = np.unique(keys, return_counts=True)
    return found, counts


def _numbered(table: pd.DataFrame, columns: Sequence[str]) -> tuple[list[str], list[NDArray[np.integer[Any]]]]:
    """The names in some columns in alphabetical order, and each column as numbers of them. Columns that are categories over
    one list are numbered by it."""
    first, *others = (table[name].dtype for name in columns)
    if isinstance(first, pd.CategoricalDtype) and all(kind == first for kind in others):
        classes = [str(name) for name in first.categories]
        if classes == sorted(classes):
            return classes, [table[name].cat.codes.to_numpy() for name in columns]
    classes = sorted({str(name) for column in columns for name in table[column].unique()})
    return classes, [_codes(table[name], classes) for name in columns]


def confusion(listed: pd.DataFrame, classes: Sequence[str] | None = None, counted: pd.DataFrame | None = None) -> Confusion:
    """The confusion matrix of the pictures `listed` over `classes`; by default all classes that occur as a label or a
    prediction, in alphabetical order. Its rates are of the pictures `counted`; by default of those listed."""
    pairs, of = pair_counts(listed, counted), (listed if counted is None else counted)["true"].value_counts()
    known = tuple(classes or (pairs.classes[place] for place in pairs.occurring()))
    place_of = {name: place for place, name in enumerate(known)}
    groups = np.array([place_of.get(name, -1) for name in pairs.classes], np.int64)
    pictures = np.array([of.get(name, 0) for name in known], np.int64)
    return Confusion(pairs.over(groups, known).counts, known, pictures)


def by_confusion(matrix: Confusion) -> list[int]:
    """The order of classes by their number of errors, as the true or as the predicted class, most first."""
    wrong = matrix.counts - np.diag(np.diag(matrix.counts))
    return [int(index) for index in np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")]


def worst_classes(matrix: Confusion, most: int) -> Confusion:
    """At most `most` rows and columns: the classes with the most errors, the rest summed up as '(other classes)'."""
    if len(matrix.classes) <= most:
        return matrix
    order = by_confusion(matrix)
    worst, rest = order[: most - 1], order[most - 1 :]
    counts = np.zeros((most, most), np.int64)
    counts[:-1, :-1] = matrix.counts[np.ix_(worst, worst)]
    counts[:-1, -1] = matrix.counts[np.ix_(worst, rest)].sum(1)
    counts[-1, :-1] = matrix.counts[np.ix_(rest, worst)].sum(0)
    counts[-1, -1] = matrix.counts[np.ix_(rest, rest)].sum()
    pictures = np.array([*matrix.pictures[worst], matrix.pictures[rest].sum()])
    return Confusion(counts, (*(matrix.classes[index] for index in worst), OTHERS), pictures)


def per_class(table: pd.DataFrame) -> pd.DataFrame:
    """Precision, recall, F1, each in [0, 1], and pictures of each class that occurs as a label. NaN where a class was never
    predicted (precision)."""
    pairs = pair_counts(table)
    size, same = len(pairs.classes), pairs.true == pairs.predicted
    right, predicted = (
        np.bincount(pairs.predicted[some], pairs.counts[some], size) for some in (same, np.ones(len(same), bool))
    )
    known = np.flatnonzero(pairs.pictures)
    right, predicted, pictures = right[known], predicted[known], pairs.pictures[known]
    precision = np.divide(right, predicted, out=np.full(len(known), np.nan), where=predicted > 0)
    return pd.DataFrame(
        {
            "class": [pairs.classes[place] for place in known], "precision": precision, "recall": right / pictures,
            "F1": 2 * right / (pictures + predicted), "pictures": pictures,
        }
    )  # fmt: skip


PAIR_COLUMNS = ["true", "predicted", "pictures", "of", "share", "confidence"]


def most_confused(listed: pd.DataFrame, most: int = 20, counted: pd.DataFrame | None = None) -> pd.DataFrame:
    """The pairs of true and predicted class that are confused most in the pictures `listed`: how many `pictures`, `of` how
    many pictures of the true class among those `counted` (by default, those listed), the `share` that this is, and the mean
    `confidence` in the wrong prediction."""
    classes, (true, predicted) = _numbered(listed, ("true", "predicted"))
    wrong = np.flatnonzero(true != predicted)
    if not len(wrong):
        return pd.DataFrame(columns=PAIR_COLUMNS)
    keys = true[wrong].astype(np.int64) * len(classes) + predicted[wrong]
    confidence = listed["confidence"].to_numpy()[wrong]
    pairs, pictures = _counts(keys, len(classes) ** 2)
    mean = (np.bincount(np.searchsorted(pairs, keys), confidence) / pictures).astype(confidence.dtype)
    first = np.lexsort((-mean, -pictures))[:most]
    own = true if counted is None else _codes(counted["true"], classes)
    of = np.bincount(own[own >= 0], minlength=len(classes))[pairs[first] // len(classes)]
    names = pd.array(classes, dtype="str")
    columns = (
        names[pairs[first] // len(classes)], names[pairs[first] % len(classes)], pictures[first], of, pictures[first] / of,
        mean[first],
    )  # fmt: skip
    return pd.DataFrame(dict(zip(PAIR_COLUMNS, columns, strict=True)))


def calibration(table: pd.DataFrame, bins: int = 10) -> tuple[pd.DataFrame, float]:
    """The reliability diagram and the expected calibration error (Guo et al. 2017, arXiv:1706.04599).

    `bins` of equal width over the confidence (low, high]: `low`, `high`, mean `confidence`, `accuracy`, `pictures`; empty
    bins are left out. The error is the mean of |accuracy - confidence| weighted by pictures, in [0, 1]; NaN without any.
    """
    confidence, right = table["confidence"].to_numpy(float), (table["true"] == table["predicted"]).to_numpy(float)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = [
        {
            "low": index / bins,
            "high": (index + 1) / bins,
            "confidence": confidence[place == index].mean(),
            "accuracy": right[place == index].mean(),
            "pictures": int((place == index).sum()),
        }
        for index in np.unique(place)
    ]
    diagram = pd.DataFrame(rows, columns=["low", "high", "confidence", "accuracy", "pictures"])
    if not len(table):
        return diagram, float("nan")
    gap = (diagram["accuracy"] - diagram["confidence"]).abs()
    return diagram, float((gap * diagram["pictures"]).sum() / diagram["pictures"].sum())


def with_names_of(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """`second` with its classes named as in `first`: two models may have other names for the class of one label ("tabby" and
    "tabby, tabby cat"). A class is renamed where its pictures are those of one class of `first`, and of no other, and where
    no other class of `second` has that name."""
    pairs = second[["path", "true"]].merge(first[["path", "true"]], on="path", suffixes=("", "_first"))
    pairs = pairs[["true", "true_first"]].drop_duplicates()
    pairs = pairs[~pairs["true"].duplicated(keep=False) & ~pairs["true_first"].duplicated(keep=False)]
    taken = pairs["true_first"].isin({*second["true"], *second["predicted"]}) & (pairs["true"] != pairs["true_first"])
    pairs = pairs[~taken]
    names = dict(zip(pairs["true"], pairs["true_first"], strict=True))
    return second.assign(
        **{column: second[column].map(lambda name: names.get(name, name)) for column in ("true", "predicted")}
    )


def changed(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Pictures of both tables that two models predict differently: `path`, `true`, the predictions `first` and `second`, and
    the `change`: 'fixed' (only the second is right), 'new error' (only the first is), or 'another error'.

    Each prediction is judged by the true class of its own table: two models may have other names for one class.
    """
    both = first.merge(second[["path", "true", "predicted"]], on="path", suffixes=("", "_second"))
    right, second_right = both["predicted"] == both["true"], both["predicted_second"] == both["true_second"]
    differ = (both["predicted"] != both["predicted_second"]) & ~(right & second_right)
    both, fixed, new_error = both[differ], second_right[differ], right[differ]
    return pd.DataFrame(
        {
            "path": both["path"],
            "true": both["true"],
            "first": both["predicted"],
            "second": both["predicted_second"],
            "change": np.select([fixed, new_error], ["fixed", "new error"], "another error"),
        }
    ).reset_index(drop=True)
