"""Recorded runs, read again: how each sample's prediction moved over the epochs, after InstanceFlow (Pühringer et al. 2020,
arXiv:2007.11353), and what is counted of it.

Definitions, over the epochs that are looked at and in which the sample was recorded:

    frequency            share of epochs in which the prediction is another than in the recorded epoch before: changes /
                         (epochs - 1); NaN with fewer than two epochs
    variability          number of distinct predicted classes; as a share, divided by the number of the run's classes
    misclassification    share of epochs in which the prediction is not the true class
    changed              of one epoch: share of the samples recorded in it and before whose prediction is another than in
                         the recorded epoch before
    stable after         the earliest epoch behind which no recorded epoch has `changed` above STABLE
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.cache_key import array_digest, text_digest
from xai_core.core.errors import BadRequest

MISSING = -1
STABLE = 0.05  # share of changed predictions up to which an epoch counts as stable


@dataclass(frozen=True)
class RecordedRun:
    """One training as it was recorded.

    epochs      (E,) the recorded epochs, ascending; numbers may be missing between them
    samples     (N,) ids; `true` (N,) their classes, and `predicted` (N, E) those predicted, as indices into `classes`;
                -1 where a sample was not recorded in an epoch
    confidence  (N, E) probability of the predicted class; NaN where it is not known
    curves      one row for each epoch: `epoch` and what is known of the losses and accuracies
    chosen      the recorded epoch whose weights were kept; None where the file does not say
    """

    title: str
    classes: tuple[str, ...]
    epochs: NDArray[np.int64]
    samples: NDArray[np.str_]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    curves: pd.DataFrame
    chosen: int | None = None

    def in_words(self) -> str:
        words = f"{len(self.samples):,} samples of {len(self.classes)} classes, {len(self.epochs)} recorded epochs"
        gaps = int(self.epochs[-1]) - int(self.epochs[0]) + 1 - len(self.epochs)
        if gaps > 8 and len(self.epochs) <= 12:
            words += f" ({', '.join(map(str, self.epochs.tolist()))}; {gaps:,} between them not recorded)"
        elif gaps > 8:
            words += f" ({self.epochs[0]} to {self.epochs[-1]}, {gaps:,} between them not recorded)"
        elif gaps:
            missing = set(range(int(self.epochs[0]), int(self.epochs[-1]) + 1)) - set(self.epochs.tolist())
            words += f" (not recorded: {', '.join(map(str, sorted(missing)))})"
        holes = float((self.predicted == MISSING).mean())
        if self.chosen is not None:
            words += f"; the weights were kept of epoch {self.chosen}"
        return f"{words}; {holes:.1%} of the predictions are missing." if holes else f"{words}."

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that was recorded."""
        arrays = [array_digest(array) for array in (self.epochs, self.true, self.predicted, self.confidence)]
        samples = array_digest(self.samples.astype(np.str_))
        return text_digest(repr((self.title, self.classes, arrays, samples, self.curves.to_csv(), self.chosen)))

    def between(self, first: int, last: int) -> "RecordedRun":
        """The epochs from `first` to `last`, both included. Raises BadRequest where there are none."""
        kept = (self.epochs >= first) & (self.epochs <= last)
        if not kept.any():
            raise BadRequest(
                f"No epoch from {first} to {last} was recorded; there are {self.epochs[0]} to {self.epochs[-1]}."
            )
        parts = {name: getattr(self, name)[:, kept] for name in ("predicted", "confidence")}
        curves = self.curves[self.curves["epoch"].between(first, last)]
        chosen = self.chosen if self.chosen in self.epochs[kept] else None
        return replace(self, epochs=self.epochs[kept], curves=curves, chosen=chosen, **parts)

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

    def at(self, epoch: int) -> NDArray[np.int64]:
        """(N,) the last recorded prediction of each sample up to this epoch; -1 where there is none."""
        return self.between(int(self.epochs[0]), epoch).last

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """(E,) the share of right predictions among the samples recorded in each epoch."""
        valid = self.predicted != MISSING
        right = ((self.predicted == self.true[:, None]) & valid).sum(0)
        return _shares(right, valid.sum(0))


def verdicts(run: RecordedRun) -> RecordedRun:
    """The same run with two classes, 'right' and 'wrong', in place of its own: all samples are truly 'right'."""
    judged = np.where(run.predicted == MISSING, MISSING, (run.predicted != run.true[:, None]).astype(int))
    return replace(run, classes=("right", "wrong"), true=np.zeros_like(run.true), predicted=judged)


def _steps(run: RecordedRun) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N, E) whether a sample was recorded in an epoch and before it, and whether its prediction is then another one than in
    the recorded epoch before."""
    valid = run.predicted != MISSING
    places = np.maximum.accumulate(np.where(valid, np.arange(valid.shape[1]), -1), axis=1)
    before = np.concatenate([np.full((len(valid), 1), -1), places[:, :-1]], axis=1)  # the recorded epoch before each
    previous = np.take_along_axis(run.predicted, np.maximum(before, 0), axis=1)
    known: NDArray[np.bool_] = valid & (before >= 0)
    return known, known & (run.predicted != previous)


def _shares(part: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.float64]:
    """The quotients; NaN where there is nothing to divide by."""
    shares: NDArray[np.float64] = np.full(len(part), np.nan)
    return np.divide(part, of, out=shares, where=of > 0)


def measures(run: RecordedRun) -> pd.DataFrame:
    """A row for each sample: `frequency`, `changes`, `variability` (a share), `distinct` (the count), `misclassification`,
    and the recorded `epochs`."""
    valid = run.predicted != MISSING
    count, changes = valid.sum(1), _steps(run)[1].sum(1)
    ordered = np.sort(run.predicted, axis=1)
    new = np.diff(ordered, axis=1, prepend=MISSING) != 0  # a class the row did not have before; missing ones come first
    distinct = (new & (ordered != MISSING)).sum(1)
    wrong = (valid & (run.predicted != run.true[:, None])).sum(1)

    return pd.DataFrame(
        {
            "sample": run.samples,
            "frequency": _shares(changes, count - 1),
            "changes": changes,
            "variability": distinct / len(run.classes),
            "distinct": distinct,
            "misclassification": _shares(wrong, count),
            "epochs": count,
        }
    )


def changed(run: RecordedRun) -> NDArray[np.float64]:
    """(E,) of each epoch the share of changed predictions, in [0, 1], among the samples that were recorded in it and in an
    epoch before; each is compared with its recorded epoch before. NaN where there is none, as in the first epoch."""
    known, changes = _steps(run)
    return _shares(changes.sum(0), known.sum(0))


def stable_after(epochs: NDArray[np.int64], shares: NDArray[np.float64], most: float = STABLE) -> int | None:
    """The earliest epoch behind which each recorded epoch changes at most the share `most` of the predictions; None where
    the last epoch still changes more, or has nothing to be compared with. `shares` (E,) as `changed` returns them."""
    if not len(shares) or not shares[-1] <= most:
        return None
    moving = np.flatnonzero(~(shares <= most))  # NaN as well: the first epoch is compared with none
    return int(epochs[moving[-1]])


def class_means(run: RecordedRun, epoch: int) -> pd.DataFrame:
    """A row for each class that a recorded sample is truly of: `class`, its `samples`, their mean `frequency` (of those
    recorded more than once), `variability` and `misclassification` (shares, over all epochs), and the `recall` at `epoch`:
    the share of the class's samples whose last recorded prediction up to this epoch is right."""
    table, last = measures(run).assign(true=run.true), run.at(epoch)
    table["recall"] = np.where(last == MISSING, np.nan, (last == run.true).astype(float))
    kept = ["frequency", "variability", "misclassification", "recall"]
    grouped_table = table[table["epochs"] > 0].groupby("true")
    means = grouped_table[kept].mean()
    means.insert(0, "samples", grouped_table.size())
    means.insert(0, "class", [run.classes[number] for number in means.index])
    return means.reset_index(drop=True)


FATES = ("always right", "right in the end", "wrong in the end", "never right")


def fates(run: RecordedRun, epoch: int) -> dict[str, int]:
    """How many samples, over their recorded epochs up to `epoch`, were always right, are right in the end after a wrong
    prediction, are wrong in the end after a right one, or were never right. Each recorded sample counts once."""
    part = run.between(int(run.epochs[0]), epoch)
    valid = part.predicted != MISSING
    right = valid & (part.predicted == part.true[:, None])
    recorded, ever, always = valid.any(1), right.any(1), (right == valid).all(1)
    ends = part.last == part.true
    masks = (always, ends & ~always, ever & ~ends, ~ever)
    return {name: int((mask & recorded).sum()) for name, mask in zip(FATES, masks, strict=True)}


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
        chosen=run.chosen if run.chosen in epochs else None,
    )
