"""Repairing a linear head: it reads the direction of a cause of errors anew, and nothing else about it changes.

The direction is the mean change of the features between pictures with the cause and the same pictures without it (the
cause's region hidden, `xai_core.failures.hiding`), so that the truth about the pictures is not needed. `without_direction`
removes it from all logits. Here each class gets a new weight of the direction instead, fitted to the labels of one half of
the pictures by multinomial logistic regression with a penalty on the change (one number for each class; last-layer
retraining, as in Kirichenko et al., arXiv:2204.02937, along one direction). So the edit keeps what the direction says truly
of a class, and is nothing where nothing is gained. What it gains is measured on the other half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.failures.halves import halves
from xai_core.failures.head_edits import Head, checked, compare_heads
from xai_core.failures.plan import PlannedAction

SHRINKAGE = 0.3  # of the covariance towards equal variances without correlation; chosen on worlds that no figure is of
PENALTIES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # tried by cross-validation, the weakest first
FOLDS = 5
LEVEL = 0.05  # of McNemar's one-sided test that the edit mends more than it breaks
FEWEST = 3  # pairs
Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Repair:
    """An edited head, and what the edit does on pictures that chose nothing.

    head        the edited head; the old one where no edit helps
    helps       whether an edit was made: on the first half, cross-validated, it mended more than it broke (p < LEVEL)
    table       both heads on the second half: a row for all ("all"), one for each class, as `compare_heads` makes it
    penalty     of the fit; not a number without an edit
    remains     the length of the cause's mean change of the logits after the edit, as a share of that before it
    pairs       pictures with and without the cause that the direction is of
    chosen_on, measured_on    the places of the pictures of both halves
    reason      what was found, in one or two sentences
    """

    head: Head
    helps: bool
    table: pd.DataFrame
    penalty: float
    remains: float
    pairs: int
    chosen_on: NDArray[np.int64]
    measured_on: NDArray[np.int64]
    seed: int
    reason: str


def repair(
    head: Head,
    features: Floats,
    labels: Sequence[int] | NDArray[np.int64],
    with_cause: Floats,
    without_cause: Floats,
    classes: Sequence[str],
    *,
    places: Sequence[int] | NDArray[np.int64] = (),
    both_halves: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    seed: int = 0,
) -> Repair:
    """The `head` for pictures with these `features` (n, d) and `labels` (numbers of classes), repaired on one half.

    with_cause, without_cause    (m, d): features of pictures with the cause, and of the same pictures without it. They must
                  not be pictures of the second half
    places        where the pictures with the cause are among the features (each must be in the first half): they do not
                  count as pictures of the usual kind
    both_halves   the places of the two halves; by default they are drawn from `seed`

    Raises BadRequest where these do not fit together, and for fewer than FEWEST pairs.
    """
    from scipy import linalg, stats

    inputs, present, absent = (checked(head, part) for part in (features, with_cause, without_cause))
    numbers = np.asarray(labels, np.int64)
    if len(inputs) < 2 or len(inputs) != len(numbers):
        raise BadRequest(f"There are {len(inputs):,} pictures and {len(numbers):,} labels; each picture needs one.")
    if present.shape != absent.shape or len(present) < FEWEST:
        raise BadRequest(
            f"There are {len(present)} pictures with the cause and {len(absent)} without; they must be pairs, and at least "
            f"{FEWEST}."
        )
    first, second = both_halves or halves(len(inputs), seed)
    if not set(np.asarray(places).tolist()) <= set(first.tolist()):
        raise BadRequest("Some pictures with the cause are in the half on which the repair is measured.")
    reading = _reading(inputs[np.setdiff1d(first, np.asarray(places, np.int64))], present, absent)
    rows = _spoken_for(head, present, absent)
    logits, along = inputs[first] @ head.weight.T + head.bias, reading.along(inputs[first])
    penalty, guessed = _chosen(logits, along, numbers[first], rows, seed)
    was, now = logits.argmax(1) == numbers[first], guessed == numbers[first]
    mended, broken = int((~was & now).sum()), int((was & ~now).sum())
    helps = bool(mended + broken) and stats.binomtest(mended, mended + broken, alternative="greater").pvalue < LEVEL
    after = reading.edited(head, _fit(logits, along, numbers[first], rows, penalty)) if helps else head
    change = (present - absent).mean(0)
    remains = float(linalg.norm(after.weight @ change) / max(float(linalg.norm(head.weight @ change)), 1e-300))
    measured = compare_heads(head, after, inputs[second], numbers[second], classes)
    on = f"On the {len(first):,} pictures on which it was chosen, cross-validated, it mends {mended:,} and breaks {broken:,}"
    if helps:
        reason = f"{measured.reason} Of the cause's effect on the logits {remains:.0%} remain."
    else:
        reason = f"No edit helps. {on}, which may be chance."
    return Repair(
        after, helps, measured.table, penalty if helps else float("nan"), remains, len(present), first, second, seed, reason
    )


@dataclass(frozen=True)
class _Reading:
    """The direction as it is read from features: `along` is 1 more with the cause than without it, on average, and as
    little as possible correlated with what else varies; its mean over pictures of the usual kind is 0."""

    vector: NDArray[np.float64]
    mean: NDArray[np.float64]

    def along(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return (features - self.mean) @ self.vector

    def edited(self, head: Head, added: NDArray[np.float64]) -> Head:
        """The head whose logits have `slopes` (k,) times `along` more, and `offsets` (k,), the two rows of `added`."""
        slopes, offsets = added
        bias = head.bias + offsets - slopes * float(self.mean @ self.vector)
        return Head(head.weight + np.outer(slopes, self.vector), bias)


def _reading(usual: NDArray[np.float64], present: NDArray[np.float64], absent: NDArray[np.float64]) -> _Reading:
    from scipy import linalg

    change, known = (present - absent).mean(0), np.concatenate([usual, absent])
    if not np.abs(change).max() > 0:
        raise BadRequest("The features with and without the cause are the same, so that there is nothing to edit.")
    covariance = np.cov(known.T).reshape(len(change), len(change))
    equal = np.trace(covariance) / len(change) or 1.0
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * equal * np.eye(len(change))
    vector = linalg.solve(shrunk, change, assume_a="pos")
    return _Reading(vector / float(change @ vector), known.mean(0))


def _fit(
    logits: NDArray[np.float64],
    along: NDArray[np.float64],
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    penalty: float,
) -> NDArray[np.float64]:
    """(2, k): what is added to each logit for each unit of `along`, and to each logit of every picture, zero but for the
    classes `rows`: the least mean log loss plus penalty / 2 times the sum of their squares."""
    from scipy import optimize, special

    hits, known = np.eye(logits.shape[1])[labels], np.stack([along, np.ones_like(along)], 1)
    added = np.zeros((2, logits.shape[1]))

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        moved = logits.copy()
        moved[:, rows] += known @ flat.reshape(2, -1)
        surplus = (special.softmax(moved, axis=1) - hits)[:, rows]
        value = -float(special.log_softmax(moved, axis=1)[hits.astype(bool)].mean()) + penalty / 2 * float(flat @ flat)
        return value, (known.T @ surplus / len(along)).ravel() + penalty * flat

    added[:, rows] = optimize.minimize(loss, np.zeros(2 * len(rows)), jac=True, method="L-BFGS-B").x.reshape(2, -1)
    return added


def _spoken_for(head: Head, present: NDArray[np.float64], absent: NDArray[np.float64]) -> NDArray[np.int64]:
    """The classes that are answered more often with the cause than without it."""
    count = len(head.weight)
    more = np.bincount(head.predicted(present), minlength=count) - np.bincount(head.predicted(absent), minlength=count)
    return np.flatnonzero(more > 0)


def _chosen(
    logits: NDArray[np.float64],
    along: NDArray[np.float64],
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    seed: int,
) -> tuple[float, NDArray[np.int64]]:
    """The penalty with the least log loss in cross-validation, and the answers of the edits with it (n,), each of a picture
    that the edit was not fitted to."""
    from scipy import special

    moved = {penalty: logits.copy() for penalty in PENALTIES}
    for train, test in _folds(labels, seed):
        for penalty in PENALTIES:
            slopes, offsets = _fit(logits[train], along[train], labels[train], rows, penalty)
            moved[penalty][test] += np.outer(along[test], slopes) + offsets
    losses = {
        penalty: -float(special.log_softmax(values, axis=1)[np.arange(len(labels)), labels].mean())
        for penalty, values in moved.items()
    }
    best = min(losses, key=lambda penalty: (losses[penalty], -penalty))
    return best, moved[best].argmax(1)


def _folds(labels: NDArray[np.int64], seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(train, test) places, each class spread evenly; no more folds than pictures."""
    from sklearn.model_selection import StratifiedKFold

    count = min(FOLDS, len(labels))
    if count < 2:
        raise BadRequest("A repair needs at least two pictures in the half on which it is chosen.")
    groups = np.unique(labels, return_inverse=True)[1]
    rare = np.bincount(groups)[groups] < count
    groups = np.where(rare, -1, groups)  # classes with fewer pictures than folds are spread together
    if (groups == -1).any() and (groups == -1).sum() < count:
        groups = np.zeros_like(groups)
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return [(np.asarray(train), np.asarray(test)) for train, test in splitter.split(np.zeros(len(labels)), groups)]


def actions(result: Repair, cause: str, paths: Sequence[str], group: str) -> list[PlannedAction]:
    """The action that follows from a repair; none where no edit helps, or the held-out half does not confirm a gain.
    `paths` are the pictures with the cause, in `group`."""
    row = result.table.iloc[0]
    if not result.helps or not row["low"] > 0:
        return []
    reason = (
        f"The head reads what {result.pairs:,} pictures lose when {cause} is hidden. The edit was chosen on "
        f"{len(result.chosen_on):,} pictures."
    )
    settings = {"pairs": result.pairs, "penalty": result.penalty, "seed": result.seed}
    return [
        PlannedAction("edit the head", f"Edit the head: {cause}", reason, result.reason, tuple(paths), {}, settings, group)
    ]
