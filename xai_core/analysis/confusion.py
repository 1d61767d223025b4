"""Errors of a classifier: the confusion matrix and the statistics that follow from it.

A table of predictions is a DataFrame with one row for each picture: `path`, `true` (its class), `predicted`,
`confidence` (softmax probability of the predicted class, in [0, 1]) and `margin` (that minus the next class's).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics

OTHERS = "(other classes)"


@dataclass(frozen=True)
class Confusion:
    """counts[i, j] pictures of class `classes[i]` were predicted as `classes[j]`."""

    counts: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def rates(self) -> NDArray[np.float64]:
        """Each row divided by its sum, in [0, 1]; NaN in rows without pictures."""
        totals = self.counts.sum(1, keepdims=True)
        rates: NDArray[np.float64] = np.divide(self.counts, totals, out=np.full(self.counts.shape, np.nan), where=totals > 0)
        return rates

    @property
    def accuracy(self) -> float:
        """The share of correct predictions, in [0, 1]; NaN without pictures."""
        return float(np.trace(self.counts) / self.counts.sum()) if self.counts.sum() else float("nan")

    def ordered(self, order: Sequence[int]) -> "Confusion":
        """The matrix with rows and columns in another order of the classes, or of some of them."""
        return Confusion(self.counts[np.ix_(order, order)], tuple(self.classes[index] for index in order))


def confusion(table: pd.DataFrame, classes: Sequence[str] | None = None) -> Confusion:
    """The confusion matrix over `classes`; by default all that occur as a label or a prediction, in alphabetical order."""
    known = tuple(classes or sorted(set(table["true"]) | set(table["predicted"])))
    if not len(table):
        return Confusion(np.zeros((len(known), len(known)), np.int64), known)
    return Confusion(metrics.confusion_matrix(table["true"], table["predicted"], labels=list(known)), known)


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
    return Confusion(counts, (*(matrix.classes[index] for index in worst), OTHERS))


def per_class(table: pd.DataFrame) -> pd.DataFrame:
    """Precision, recall, F1, each in [0, 1], and pictures of each class that occurs as a label. NaN where a class was never
    predicted (precision)."""
    classes = sorted(set(table["true"]))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        table["true"], table["predicted"], labels=classes, zero_division=np.nan
    )
    return pd.DataFrame({"class": classes, "precision": precision, "recall": recall, "F1": f1, "pictures": support})


def most_confused(table: pd.DataFrame, most: int = 20) -> pd.DataFrame:
    """The pairs of true and predicted class that are confused most: `pictures`, `share` of the true class, and the mean
    `confidence` in the wrong prediction."""
    wrong = table[table["true"] != table["predicted"]]
    if not len(wrong):
        return pd.DataFrame(columns=["true", "predicted", "pictures", "share", "confidence"])
    pairs = wrong.groupby(["true", "predicted"], as_index=False).agg(
        pictures=("path", "size"), confidence=("confidence", "mean")
    )
    pairs["share"] = pairs["pictures"] / pairs["true"].map(table["true"].value_counts())
    pairs = pairs.sort_values(["pictures", "confidence"], ascending=False, kind="stable").head(most)
    return pairs[["true", "predicted", "pictures", "share", "confidence"]].reset_index(drop=True)


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


def changed(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Pictures of both tables that two models predict differently: `path`, `true`, the predictions `first` and `second`, and
    the `change`: 'mended' (only the second is correct), 'broken' (only the first is), or 'wrong otherwise'."""
    both = first.merge(second[["path", "predicted"]], on="path", suffixes=("", "_second"))
    both = both[both["predicted"] != both["predicted_second"]]
    mended, broken = both["predicted_second"] == both["true"], both["predicted"] == both["true"]
    return pd.DataFrame(
        {
            "path": both["path"],
            "true": both["true"],
            "first": both["predicted"],
            "second": both["predicted_second"],
            "change": np.select([mended, broken], ["mended", "broken"], "wrong otherwise"),
        }
    ).reset_index(drop=True)
