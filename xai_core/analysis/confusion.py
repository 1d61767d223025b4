"""Errors of a classifier: the confusion matrix and the statistics that follow from it.

A table of predictions is a DataFrame with one row for each picture: `path`, `true` (its class), `predicted`,
`confidence` (softmax probability of the predicted class, in [0, 1]) and `margin` (that minus the next class's).

Where a function takes `counted` beside `listed`, it lists pairs or counts of the pictures `listed`, and its shares are of
the pictures `counted`: the table before it was filtered by what the model answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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


def confusion(listed: pd.DataFrame, classes: Sequence[str] | None = None, counted: pd.DataFrame | None = None) -> Confusion:
    """The confusion matrix of the pictures `listed` over `classes`; by default all classes that occur as a label or a
    prediction, in alphabetical order. Its rates are of the pictures `counted`; by default of those listed."""
    known = tuple(classes or sorted(set(listed["true"]) | set(listed["predicted"])))
    of = (listed if counted is None else counted)["true"].value_counts()
    pictures = np.array([of.get(name, 0) for name in known], np.int64)
    if not len(listed):
        return Confusion(np.zeros((len(known), len(known)), np.int64), known, pictures)
    table = pd.crosstab(listed["true"].to_numpy(), listed["predicted"].to_numpy())
    return Confusion(table.reindex(index=known, columns=known, fill_value=0).to_numpy(), known, pictures)


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
    from sklearn import metrics

    classes = sorted(set(table["true"]))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        table["true"], table["predicted"], labels=classes, zero_division=np.nan
    )
    return pd.DataFrame({"class": classes, "precision": precision, "recall": recall, "F1": f1, "pictures": support})


PAIR_COLUMNS = ["true", "predicted", "pictures", "of", "share", "confidence"]


def most_confused(listed: pd.DataFrame, most: int = 20, counted: pd.DataFrame | None = None) -> pd.DataFrame:
    """The pairs of true and predicted class that are confused most in the pictures `listed`: how many `pictures`, `of` how
    many pictures of the true class among those `counted` (by default, those listed), the `share` that this is, and the mean
    `confidence` in the wrong prediction."""
    wrong = listed[listed["true"] != listed["predicted"]]
    if not len(wrong):
        return pd.DataFrame(columns=PAIR_COLUMNS)
    pairs = wrong.groupby(["true", "predicted"], as_index=False).agg(
        pictures=("path", "size"), confidence=("confidence", "mean")
    )
    pairs["of"] = pairs["true"].map((listed if counted is None else counted)["true"].value_counts())
    pairs["share"] = pairs["pictures"] / pairs["of"]
    pairs = pairs.sort_values(["pictures", "confidence"], ascending=False, kind="stable").head(most)
    return pairs[PAIR_COLUMNS].reset_index(drop=True)


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
