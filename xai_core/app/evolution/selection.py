"""The part of a run that is shown: its samples and epochs, their order, and the measures of each sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from xai_core.app.shared import session
from xai_core.app.shared.widgets import LINK
from xai_core.core.errors import BadRequest
from xai_core.training.dynamics.analysis import MISSING, RecordedRun, measures, together
from xai_core.training.dynamics.figure import COLOURS, NOTHING, final_epoch

CLASS, VERDICT, DIFFER = "Predicted class", "Right or wrong", "Where the runs differ"
MEASURES = {
    "Misclassification rate": "misclassification",
    "Frequency of changes": "frequency",
    "Variability": "variability",
    "Confidence at the end": "confidence",
    "Sample id": "sample",
}
GROUPS = {
    "Nothing": "",
    "True class": "true",
    "Class at the end": "last",
    "Misclassification rate": "misclassification",
    "Frequency of changes": "frequency",
    "Distinct classes": "distinct",
}
BANDS = ("0%", "up to 25%", "up to 50%", "up to 75%", "up to 100%")  # groups of shares
NO_BAND = "recorded in one epoch only"
SAMPLES = (
    "All",
    "Wrong at the end",
    "Wrong at any time",
    "Changed at any time",
    "Forgotten: right before, wrong at the end",
)
OUTCOMES = (
    "Chooses which samples are listed. Shares still refer to all samples, or to all samples of the chosen true classes. The "
    "end is the final epoch."
)
FINAL_HELP = (
    "Final predictions, the confusion matrix and recalls are of this epoch. Without a choice: the chosen epoch, whose "
    "weights were kept, where the run says which; else the last one. Measures and curves are of all epochs of the range."
)
MEASURES_HELP = (
    "Frequency of changes: the share of epochs in which the prediction differs from that of the epoch before. Variability: "
    "the number of different classes predicted. Misclassification rate: the share of epochs in which the prediction is "
    "wrong. All are counted over the chosen epochs."
)


@dataclass(frozen=True)
class EvolutionView:
    """The chosen epochs of the chosen samples in the chosen order, with the measures of each sample.

    whole    the run as recorded; `run` is the chosen part of it
    counted  the chosen epochs of all samples of the chosen true classes: every share is of these, as no filter by what was
             predicted may change a denominator
    table    one row for each sample of `run`, in the same order
    groups   the name of each sample's group, in the same order
    second   the second run, of the same true classes; None without one
    epoch    the final epoch: what is called final, or at the end, is of this one of the chosen epochs
    other    the samples and epochs of `run` in the second run, where colours compare the two
    colour   what the colours show: CLASS, VERDICT or DIFFER
    """

    whole: RecordedRun
    counted: RecordedRun
    run: RecordedRun
    table: pd.DataFrame
    groups: NDArray[np.object_]
    epoch: int
    second: RecordedRun | None
    other: RecordedRun | None
    colour: str


def select(run: RecordedRun, second: RecordedRun | None) -> EvolutionView:
    """The controls that choose samples, epochs and order. Raises BadRequest where no sample passes the filters."""
    first, last = int(run.epochs[0]), int(run.epochs[-1])
    if first < last:
        first, last = st.slider("Epochs", first, last, (first, last), key=f"{run.title}.epochs", **LINK)
    final = st.container()
    classes = st.multiselect("True classes", run.classes, key=f"{run.title}.classes", placeholder="All", **LINK)
    which = st.selectbox("Samples", SAMPLES, key="which", help=OUTCOMES, **LINK)
    order = st.selectbox("Sort by", MEASURES, key="sort", help=MEASURES_HELP, **LINK)
    grouping = st.selectbox("Group by", GROUPS, index=1, key="group", **LINK)
    part, other = run.between(first, last), None
    colours = [CLASS, VERDICT, *([DIFFER] if second is not None else [])]
    default = CLASS if len(run.classes) <= COLOURS else VERDICT  # with more classes, most would be grey
    colour = st.selectbox("Colour", colours, index=colours.index(default), key=f"{run.title}.colour", **LINK)
    if colour == DIFFER and second is not None:
        part, other = together(part, second)
    with final:
        epoch = _final(part)
    of_classes = _of_classes(part, classes)
    mask = of_classes & _of_outcome(part, which, epoch)
    if not mask.any():
        raise BadRequest("No sample passes these filters: choose other classes, samples or epochs on the left.")
    counted = part.rows(of_classes)
    part = part.rows(mask)
    table = measures(part)
    table["true"], table["last"] = part.true, part.at(epoch)
    confidence = part.confidence[:, part.epochs == epoch][:, 0]
    table["confidence"] = np.where(np.isnan(confidence), -1.0, confidence)
    table["group"], groups = _groups(part, table, GROUPS[grouping])
    ascending = [True, MEASURES[order] in ("sample", "confidence"), True]
    places = table.sort_values(["group", MEASURES[order], "sample"], ascending=ascending, kind="stable").index.to_numpy()
    part, table = part.rows(places), table.loc[places].reset_index(drop=True)
    shared = other.rows(mask).rows(places) if other is not None else None
    if second is not None:
        second = second.rows(_of_classes(second, classes))
    return EvolutionView(run, counted, part, table, groups[places], epoch, second, shared, colour)


def _final(run: RecordedRun) -> int:
    """The control that chooses the final epoch among those of the range."""
    if len(run.epochs) == 1:
        return int(run.epochs[0])
    usual, epochs, key = final_epoch(run), run.epochs.tolist(), f"{run.title}.final"
    session.keep_among(key, [None, *epochs], None)
    words = f"{usual}, the {'last' if run.chosen is None else 'chosen'} one"
    chosen = st.selectbox("Final epoch", epochs, None, key=key, placeholder=words, help=FINAL_HELP, **LINK)
    return usual if chosen is None else int(chosen)


def _groups(run: RecordedRun, table: pd.DataFrame, by: str) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """For each sample the number of its group, which orders the groups, and the group's name."""
    if not by:
        return np.zeros(len(table), int), np.full(len(table), "", dtype=object)
    values = table[by].to_numpy()
    if by in ("true", "last"):
        return values, np.array([*run.classes, NOTHING], dtype=object)[values]  # -1 is the last
    if by == "distinct":
        return values, np.array([f"{count} {'class' if count == 1 else 'classes'}," for count in values], dtype=object)
    share = np.nan_to_num(values, nan=2.0)  # a sample recorded in one epoch has no frequency of changes
    band = np.ceil(np.minimum(share, 1) * (len(BANDS) - 1)).astype(int) + (share > 1)
    return band, np.array([f"{(*BANDS, NO_BAND)[number]}," for number in band], dtype=object)


def _of_classes(run: RecordedRun, classes: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) Whether a sample was recorded and is of one of these true classes; of any, where none is chosen."""
    recorded: NDArray[np.bool_] = (run.predicted != MISSING).any(1)
    known = [run.classes.index(name) for name in classes if name in run.classes]
    return recorded & np.isin(run.true, known) if classes else recorded


def _of_outcome(run: RecordedRun, which: str, epoch: int) -> NDArray[np.bool_]:
    """(N,) Whether a sample's predictions pass the filter `which`, one of SAMPLES; the end is `epoch`."""
    recorded = run.predicted != MISSING
    right = (run.predicted == run.true[:, None]) & recorded
    last = run.at(epoch)
    wrong_at_end = (last != run.true) & (last != MISSING)
    passes: NDArray[np.bool_] = np.full(len(run.true), True)
    if which == SAMPLES[1]:
        passes = wrong_at_end
    elif which == SAMPLES[2]:
        passes = (~right & recorded).any(1)
    elif which == SAMPLES[3]:
        passes = measures(run)["changes"].to_numpy() > 0
    elif which == SAMPLES[4]:
        passes = wrong_at_end & right[:, run.epochs <= epoch].any(1)
    return passes
