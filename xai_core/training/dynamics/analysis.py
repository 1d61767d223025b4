"""Recorded runs, read again: how each sample's prediction moved over the epochs, after InstanceFlow (Pühringer et al. 2020,
arXiv:2007.11353), and what is counted of it.

Definitions, over the epochs that are looked at and in which the sample was recorded:

    frequency            share of epochs in which the prediction is another than in the recorded epoch before: changes /
                         (epochs - 1); NaN with fewer than two epochs
    variability          number of distinct predicted classes; as a share, divided by the number of the run's classes
    misclassification    share of epochs in which the prediction is not the true class
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest

MISSING = -1


@dataclass(frozen=True)
class RecordedRun:
    """One training as it was recorded.

    epochs      (E,) the recorded epochs, ascending; numbers may be missing between them
    samples     (N,) ids; `true` (N,) their classes, and `predicted` (N, E) those predicted, as indices into `classes`;
                -1 where a sample was not recorded in an epoch
    confidence  (N, E) probability of the predicted class; NaN where it is not known
    curves      one row for each epoch: `epoch` and what is known of the losses and accuracies
    """

    title: str
    classes: tuple[str, ...]
    epochs: NDArray[np.int64]
    samples: NDArray[np.str_]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    curves: pd.DataFrame

    def in_words(self) -> str:
        words = f"{len(self.samples):,} samples of {len(self.classes)} classes, {len(self.epochs)} recorded epochs"
        gaps = int(self.epochs[-1]) - int(self.epochs[0]) + 1 - len(self.epochs)
        if gaps > 8:
            words += f" ({self.epochs[0]} to {self.epochs[-1]}, {gaps:,} between them not recorded)"
        elif gaps:
            missing = set(range(int(self.epochs[0]), int(self.epochs[-1]) + 1)) - set(self.epochs.tolist())
            words += f" (not recorded: {', '.join(map(str, sorted(missing)))})"
        holes = float((self.predicted == MISSING).mean())
        return f"{words}; {holes:.1%} of the predictions are missing." if holes else f"{words}."

    def between(self, first: int, last: int) -> "RecordedRun":
        """The epochs from `first` to `last`, both included. Raises BadRequest where there are none."""
        kept = (self.epochs >= first) & (self.epochs <= last)
        if not kept.any():
            raise BadRequest(
                f"No epoch from {first} to {last} was recorded; there are {self.epochs[0]} to {self.epochs[-1]}."
            )
        parts = {name: getattr(self, name)[:, kept] for name in ("predicted", "confidence")}
        curves = self.curves[self.curves["epoch"].between(first, last)]
        return replace(self, epochs=self.epochs[kept], curves=curves, **parts)

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "RecordedRun":
        """Some of the samples, in this order (indices, or a mask)."""
        parts = {name: getattr(self, name)[chosen] for name in ("samples", "true", "predicted", "confidence")}
        return replace(self, **parts)

    @property
    def last(self) -> NDArray[np.int64]:
        """(N,) the last recorded prediction of each sample; -1 where there is none."""
        valid = self.predicted != MISSING
        place = valid.shape[1] - 1 - np.argmax(valid[:, ::-1], axis=1)
        return np.where(valid.any(1), self.predicted[np.arange(len(place)), place], MISSING)

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """(E,) the share of right predictions among the samples recorded in each epoch."""
        valid = self.predicted != MISSING
        right = ((self.predicted == self.true[:, None]) & valid).sum(0)
        shares: NDArray[np.float64] = np.full(len(self.epochs), np.nan)
        np.divide(right, valid.sum(0), out=shares, where=valid.any(0))
        return shares


def verdicts(run: RecordedRun) -> RecordedRun:
    """The same run with two classes, 'right' and 'wrong', in place of its own: all samples are truly 'right'."""
    judged = np.where(run.predicted == MISSING, MISSING, (run.predicted != run.true[:, None]).astype(int))
    return replace(run, classes=("right", "wrong"), true=np.zeros_like(run.true), predicted=judged)


def measures(run: RecordedRun) -> pd.DataFrame:
    """A row for each sample: `frequency`, `changes`, `variability` (a share), `distinct` (the count), `misclassification`,
    and the recorded `epochs`."""
    valid = run.predicted != MISSING
    count = valid.sum(1)
    places = np.maximum.accumulate(np.where(valid, np.arange(valid.shape[1]), -1), axis=1)
    before = np.concatenate([np.full((len(count), 1), -1), places[:, :-1]], axis=1)  # the recorded epoch before each
    previous = np.take_along_axis(run.predicted, np.maximum(before, 0), axis=1)
    changes = (valid & (before >= 0) & (run.predicted != previous)).sum(1)
    ordered = np.sort(run.predicted, axis=1)
    new = np.diff(ordered, axis=1, prepend=MISSING) != 0  # a class the row did not have before; missing ones come first
    distinct = (new & (ordered != MISSING)).sum(1)
    wrong = (valid & (run.predicted != run.true[:, None])).sum(1)

    def share(part: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = np.full(len(part), np.nan)
        return np.divide(part, of, out=shares, where=of > 0)

    return pd.DataFrame(
        {
            "sample": run.samples,
            "frequency": share(changes, count - 1),
            "changes": changes,
            "variability": distinct / len(run.classes),
            "distinct": distinct,
            "misclassification": share(wrong, count),
            "epochs": count,
        }
    )


@dataclass(frozen=True)
class Groups:
    """Consecutive samples drawn as one row, because there are more than can be drawn one by one.

    starts      (G + 1,) where each group begins; group g holds the samples starts[g] to starts[g + 1]
    predicted   (G, E) the class that most of the group was given; -1 where nothing was recorded
    share       (G, E) the share of the group's recorded samples that were given this class
    """

    starts: NDArray[np.int64]
    predicted: NDArray[np.int64]
    share: NDArray[np.float64]


def rows_of(count: int, most: int, of: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """Where groups of neighbours begin, and the end: about `most` of equal size; up to `most` samples, one for each.
    With `of` (N,) no group mixes its values, which may make a few more."""
    size = max(1, -(-count // most))
    kinds = np.zeros(count) if of is None else of
    edges = [0, *(np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist(), count]
    starts = [start for low, high in itertools.pairwise(edges) for start in range(low, high, size)]
    return np.array([*starts, count], dtype=np.int64)


def grouped(run: RecordedRun, starts: NDArray[np.int64]) -> Groups:
    """What the samples of each group were given, from one of `starts` to the next."""
    predicted = np.full((len(starts) - 1, len(run.epochs)), MISSING)
    share = np.zeros(predicted.shape)
    columns = np.arange(len(run.epochs))
    for group, (low, high) in enumerate(itertools.pairwise(starts.tolist())):
        counts = np.zeros((len(run.epochs), len(run.classes) + 1), np.int64)  # the last column counts the missing
        np.add.at(counts, (columns, run.predicted[low:high]), 1)
        known = counts[:, :-1]
        predicted[group] = np.where(known.any(1), known.argmax(1), MISSING)
        share[group] = known.max(1) / np.maximum(known.sum(1), 1)
    return Groups(starts, predicted, share)


def together(one: RecordedRun, other: RecordedRun) -> tuple[RecordedRun, RecordedRun]:
    """Both runs on the samples and epochs that they share, with the same classes. Raises BadRequest without any."""
    known = set(other.samples.tolist())
    samples = [name for name in one.samples.tolist() if name in known]
    epochs = np.intersect1d(one.epochs, other.epochs)
    if not samples or not len(epochs):
        raise BadRequest(f"{one.title} and {other.title} share no {'samples' if not samples else 'epochs'}.")
    classes = tuple(dict.fromkeys((*one.classes, *other.classes)))
    return _as_shared(one, samples, epochs, classes), _as_shared(other, samples, epochs, classes)


def _as_shared(run: RecordedRun, samples: Sequence[str], epochs: NDArray[np.int64], classes: tuple[str, ...]) -> RecordedRun:
    place = {name: index for index, name in enumerate(run.samples.tolist())}
    rows = np.array([place[name] for name in samples])
    columns = np.searchsorted(run.epochs, epochs)
    new = np.array([*(classes.index(name) for name in run.classes), MISSING])  # -1 stays -1: it is the last entry
    shared = run.rows(rows)
    return replace(
        shared,
        classes=classes,
        epochs=epochs,
        true=new[shared.true],
        predicted=new[shared.predicted][:, columns],
        confidence=shared.confidence[:, columns],
        curves=run.curves[run.curves["epoch"].isin(epochs)],
    )
