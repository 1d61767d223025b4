"""What correcting the flagged labels would change: the measured accuracy of a model, and the labels themselves.

A suggestion is no truth. So two estimates stand side by side: the accuracy against the suggested labels, which takes every
suggestion at its word and leaves every other label as it is, and the accuracy that is expected on right labels, which counts
each label by the probability that it is wrong (the score of the triage). Wrong labels that are not flagged make the first
one too low, and wrong suggestions too high: where the features are the model's own, these err where the model errs.
docs/world-tools.md has both beside the truth of drawn worlds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.data.sample_list import Labelled
from xai_core.failures.head_edits import paired_interval
from xai_core.failures.label_triage import Triage
from xai_core.failures.plan import PlannedAction


@dataclass(frozen=True)
class RelabelEstimate:
    """A model's accuracy against the labels of n `pictures` as they are, and with `relabelled` of them as suggested.

    accuracy_before    against the labels as they are
    accuracy_after     against the labels with the suggestions taken
    mended, broken     answers that are right against the suggestion alone, and against the label alone
    low, high          the 95% interval of accuracy_after - accuracy_before (paired: Agresti and Min, 2005). It is of the
                       draw of the pictures; doubt about the suggestions is not in it
    expected           the accuracy on right labels: the mean probability that the answer is right, which is 1 - score where
                       it is the label, and the score where it is the suggestion; flagged or not
    reason             what was found, in three sentences
    """

    pictures: int
    relabelled: int
    accuracy_before: float
    accuracy_after: float
    mended: int
    broken: int
    low: float
    high: float
    expected: float
    reason: str


def relabel_estimate(
    predicted: Sequence[str] | NDArray[np.str_], judgement: Triage, relabelled: Sequence[int] | None = None
) -> RelabelEstimate:
    """What a model that answers `predicted` (n,) gains where the pictures at the places `relabelled` get their suggested
    labels; by default all flagged ones. Classes are named as in the triage. Raises BadRequest where the answers are not of
    the pictures of the triage, or a place is none of them.
    """
    table = judgement.pictures
    answers, labels = np.asarray(predicted, dtype=object), table["label"].to_numpy(object)
    if len(answers) != len(labels) or not len(labels):
        raise BadRequest(f"There are {len(answers):,} answers and {len(labels):,} labels; each picture needs one of both.")
    places = judgement.flags["picture"] if relabelled is None else relabelled
    taken = np.unique(np.asarray(places, np.int64))
    if len(taken) and not 0 <= taken[0] <= taken[-1] < len(labels):
        raise BadRequest(
            f"The pictures have the places 0 to {len(labels) - 1:,}; some of those to relabel have none of them."
        )
    suggested = labels.copy()
    suggested[taken] = table["suggested"].to_numpy(object)[taken]
    was, now = answers == labels, answers == suggested
    mended, broken = int((now & ~was).sum()), int((was & ~now).sum())
    scores = table["score"].fillna(0).to_numpy()
    second = ~was & (answers == table["suggested"].to_numpy(object))
    before, after = float(was.mean()), float(now.mean())
    expected = float(np.where(was, 1 - scores, np.where(second, scores, 0)).mean())
    low, high = paired_interval(mended, broken, len(labels))
    return RelabelEstimate(
        len(labels), len(taken), before, after, mended, broken, low, high, expected,
        _reason(len(labels), len(taken), before, after, expected, low, high),
    )  # fmt: skip


def _reason(count: int, taken: int, before: float, after: float, expected: float, low: float, high: float) -> str:
    on_right = f"If each label counts by the probability that it is wrong, {expected:.1%} is expected on right labels."
    if not taken:
        return f"No label is changed: the accuracy stays {before:.1%} of {count:,} pictures. {on_right}"
    return (
        f"With {taken:,} of {count:,} labels as suggested, the measured accuracy of the same model is {before:.1%} before "
        f"and {after:.1%} after (change {100 * (after - before):+.1f} points, {100 * low:+.1f} to {100 * high:+.1f}). "
        f"{on_right} Both are estimates, because suggestions are not truth."
    )


def relabel_action(predictions: pd.DataFrame, judgement: Triage, seed: int) -> PlannedAction | None:
    """The action to check the flagged labels, the most likely wrong one first; None where none is flagged. `judgement` is
    the triage with this seed of the rows of `predictions`, which have the columns `path`, `true` and `predicted`."""
    flags = judgement.flags
    if not len(flags):
        return None
    count = len(judgement.ranked())
    return PlannedAction(
        "relabel",
        f"Check {len(flags):,} {'label' if len(flags) == 1 else 'labels'}",
        f"A probe and the nearest neighbours contradict {len(flags):,} of {count:,} labels; "
        f"{judgement.expected_wrong_flags:.0f} of these flags are expected to be wrong, because the label is right.",
        relabel_estimate(predictions["predicted"].tolist(), judgement).reason,
        tuple(predictions["path"].iloc[flags["picture"].to_numpy()]),
        {"label": tuple(flags["label"]), "suggested label": tuple(flags["suggested"]), "wrong": tuple(flags["score"])},
        {"seed": seed},
    )


def relabelled(
    samples: Iterable[Labelled], predictions: pd.DataFrame, suggested: Mapping[str, str]
) -> list[tuple[str, str]]:
    """All pictures of a dataset with their labels, for `labels_csv`: those in `suggested` (a class by the picture's name)
    have its class, the others stay as they are.

    `predictions` have the columns `label` and `true`, the class that the label was matched with: a suggested class is
    written with the label that the dataset has for it, the most frequent one of several.
    """
    words = predictions.groupby("true")["label"].agg(lambda labels: labels.value_counts().index[0])
    return [(one.name, str(words[suggested[one.name]]) if one.name in suggested else one.label) for one in samples]
