"""Which samples and epochs of a run are looked at, in which order, and what is counted of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.charts import evolution as charts
from xai_core.app.shared.widgets import LINK
from xai_core.core.errors import BadRequest
from xai_core.training.dynamics.analysis import MISSING, Run, measures, together

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
BANDS = ("0%", "up to 25%", "up to 50%", "up to 75%", "up to 100%")  # in which shares are grouped
SAMPLES = (
    "All",
    "Wrong at the end",
    "Wrong at any time",
    "Changed at any time",
    "Forgotten: right before, wrong at the end",
)
MEASURES_HELP = (
    "Frequency: share of epochs in which the prediction is another than in the epoch before. Variability: distinct classes "
    "predicted. Misclassification rate: share of epochs in which the prediction is wrong. All over the chosen epochs."
)


@dataclass(frozen=True)
class View:
    """What is looked at: the chosen epochs of the chosen samples in the chosen order, and what was counted of them.

    `table` has a row for each sample, in the same order; `kinds` the name of its group. `other` holds the same
    samples and epochs of the second run, in the same order.
    """

    whole: Run
    run: Run
    table: pd.DataFrame
    kinds: np.ndarray
    second: Run | None
    other: Run | None
    colour: str


def view(run: Run, second: Run | None) -> View:
    """The controls that choose samples, epochs and order."""
    first, last = int(run.epochs[0]), int(run.epochs[-1])
    if first < last:
        first, last = st.slider("Epochs", first, last, (first, last), key=f"{run.title}.epochs", **LINK)
    classes = st.multiselect("True classes", run.classes, key=f"{run.title}.classes", placeholder="all", **LINK)
    which = st.selectbox("Samples", SAMPLES, key="which", **LINK)
    order = st.selectbox("Sort by", MEASURES, key="sort", help=MEASURES_HELP, **LINK)
    grouping = st.selectbox("Group by", GROUPS, index=1, key="group", **LINK)
    part, other = run.between(first, last), None
    ways = [CLASS, VERDICT, *([DIFFER] if second is not None else [])]
    usual = CLASS if len(run.classes) <= charts.COLOURS else VERDICT  # of more classes most would share one grey
    colour = st.selectbox("Colour", ways, index=ways.index(usual), key=f"{run.title}.colour", **LINK)
    if colour == DIFFER:
        part, other = together(part, second)
    kept = _kept(part, classes, which)
    if not kept.any():
        raise BadRequest("No sample fits these filters: choose other classes, samples or epochs on the left.")
    part = part.rows(kept)
    table = measures(part)
    table["true"], table["last"] = part.true, part.last
    confidence = part.confidence[:, -1]
    table["confidence"] = np.where(np.isnan(confidence), -1.0, confidence)
    table["group"], kinds = _kinds(part, table, GROUPS[grouping])
    by = ["group", MEASURES[order], "sample"]
    up = [True] * (len(by) - 2) + [MEASURES[order] in ("sample", "confidence"), True]
    place = table.sort_values(by, ascending=up, kind="stable").index.to_numpy()
    part, table = part.rows(place), table.loc[place].reset_index(drop=True)
    shared = other.rows(kept).rows(place) if other is not None else None
    return View(run, part, table, kinds[place], second, shared, colour)


def _kinds(run: Run, table: pd.DataFrame, by: str) -> tuple[np.ndarray, np.ndarray]:
    """Of each sample the number of its group, by which groups are ordered, and the group's name."""
    if not by:
        return np.zeros(len(table), int), np.full(len(table), "", dtype=object)
    values = table[by].to_numpy()
    if by in ("true", "last"):
        return values, np.array(run.classes, dtype=object)[values]
    if by == "distinct":
        return values, np.array([f"{one} {'class' if one == 1 else 'classes'}," for one in values], dtype=object)
    band = np.ceil(np.nan_to_num(values) * (len(BANDS) - 1)).astype(int)
    return band, np.array([f"{BANDS[one]}," for one in band], dtype=object)


def _kept(run: Run, classes: list[str], which: str) -> np.ndarray:
    wanted = np.isin(run.true, [run.classes.index(name) for name in classes]) if classes else np.full(len(run.true), True)
    known = run.predicted != MISSING
    right = (run.predicted == run.true[:, None]) & known
    wrong_now = (run.last != run.true) & known.any(1)
    if which == SAMPLES[1]:
        wanted &= wrong_now
    elif which == SAMPLES[2]:
        wanted &= (~right & known).any(1)
    elif which == SAMPLES[3]:
        wanted &= measures(run)["changes"].to_numpy() > 0
    elif which == SAMPLES[4]:
        wanted &= wrong_now & right.any(1)
    return wanted & known.any(1)
