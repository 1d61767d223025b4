"""The views Calibration, Per class and Most confused of a model's predictions."""

from functools import partial

import pandas as pd
import streamlit as st

from xai_core.analysis import confusion as confusions
from xai_core.analysis import findings
from xai_core.analysis import groups as attribute_groups
from xai_core.app.charts import confusion as charts_confusion
from xai_core.app.charts.confusion import MOST_ROWS
from xai_core.app.shared import (
    attribute_filters,
    display,
    drawer,
    predictions,
)
from xai_core.app.shared.predictions import FilteredRows
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.datasets import Dataset
from xai_core.data.held_predictions import HeldPredictions
from xai_core.data.label_matching import first_name

MOST_PAIRS = 20  # of confused classes, in a table


def calibration(rows: FilteredRows, dataset: Dataset) -> None:
    """The reliability diagram and the expected calibration error, also for each value of an attribute."""
    bins, error = confusions.calibration(rows.counted)
    groups = [_bin_group(low, high, rows) for low, high in zip(bins["low"], bins["high"], strict=True)]
    drawer.offer(groups)
    key = drawer.chart_key("calibration")

    def open_bin() -> None:
        picked = drawer.picked(key, "bin")
        if picked:
            drawer.open_group(groups[bins["low"].tolist().index(picked["low"])])

    display.finding(findings.of_calibration(bins, error))
    display.chart(
        charts_confusion.calibration(bins), key=key, on_select=open_bin, selection_mode="bin",
        alt=f"Reliability diagram in {len(bins)} bins; expected calibration error {error:.1%}.",
    )  # fmt: skip
    st.caption(
        "Ten bins of equal width; the error is the mean difference of confidence and accuracy over all pictures. The "
        "number above each bar is its number of pictures. Where a bar ends below the dashed line, the model is "
        "overconfident: it is right less often than its confidence says. Filters by prediction do not change this chart."
    )
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("low", "high", "confidence", "accuracy")}
    drawer.table(
        bins, "bins", lambda row: (groups[row], None), columns=percent,
        alt=f"Calibration in {len(bins)} ranges of confidence; expected calibration error {error:.1%}",
    )  # fmt: skip
    _calibrations(rows, dataset)


def _calibrations(rows: FilteredRows, dataset: Dataset) -> None:
    """How well the model knows when it is right, for each value of an attribute."""
    column = attribute_filters.choose(dataset, "Calibration by", "calibration by", CALIBRATION_BY)
    if column is None:
        return
    counted = rows.counted
    values = attribute_filters.values(rows.held, counted, column)
    table = attribute_groups.calibrations(counted, values)
    groups = {
        value: errors_first(f"{column} {value}", counted[(values == value).to_numpy()], rows.held)
        for value in table["value"]
    }
    drawer.offer(groups.values())
    percent = {
        name: st.column_config.NumberColumn(format="percent") for name in ("accuracy", "low", "high", "confidence", "ECE")
    }
    drawer.table(
        table, "calibrations", lambda row: (groups[table["value"][row]], None), columns=percent,
        alt=f"Calibration by {column}",
    )  # fmt: skip
    st.caption(
        "Low and high: the 95% interval (Wilson) of the accuracy. The first group is the one whose mean confidence lies "
        "farthest above its accuracy. The expected calibration error (ECE) of few pictures is large by chance."
    )
    display.downloads({"CSV": ("calibration_by.csv", "text/csv", csv_bytes(table))})


CALIBRATION_BY = "Adds a table: accuracy, mean confidence and calibration error for each value of an attribute."


def errors_first(title: str, rows: pd.DataFrame, held: HeldPredictions | None = None) -> drawer.Group:
    """The pictures of some rows, wrong predictions first."""
    wrong = rows["true"] != rows["predicted"]
    return drawer.group_of(f"{title}: errors first", pd.concat([rows[wrong], rows[~wrong]]), held)


def _bin_group(low: float, high: float, rows: FilteredRows) -> drawer.Group:
    """The pictures of one bin of the calibration, wrong predictions first."""
    counted = rows.counted
    among = counted[(counted["confidence"] > low) & (counted["confidence"] <= high)]
    wrong = among["true"] != among["predicted"]
    return drawer.group_of(f"Confidence {low:.0%} to {high:.0%}", pd.concat([among[wrong], among[~wrong]]), rows.held)


def per_class(rows: FilteredRows) -> None:
    """Precision and recall of each class of which pictures are listed."""
    scores = confusions.per_class(rows.all_classes)
    scores = scores[scores["class"].isin(rows.listed["true"].unique())].reset_index(drop=True)
    drawer.offer(drawer.OfferedGroup(_class_title(name), partial(_class_group, name, rows)) for name in scores["class"])
    key = drawer.chart_key("per class")

    def open_class() -> None:
        picked = drawer.picked(key, "class")
        if picked:
            drawer.open_group(_class_group(picked["class"], rows))

    display.finding(findings.of_classes(scores))
    if len(scores) > MOST_ROWS:
        st.caption(f"The chart shows the {MOST_ROWS} of {len(scores)} classes with the lowest recall, the table all.")
    display.chart(
        charts_confusion.per_class(scores.sort_values("recall").head(MOST_ROWS)), key=key, on_select=open_class,
        selection_mode="class", alt="Precision and recall of each class, the lowest recall first.",
    )  # fmt: skip
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("precision", "recall", "F1")}
    drawer.table(
        scores, "scores", lambda row: (_class_group(scores["class"][row], rows), None), columns=percent,
        alt="Precision, recall and F1 of each class",
    )  # fmt: skip
    st.caption(
        "Recall: of the pictures of this class, how many are predicted as this class. Precision: of the pictures predicted "
        f"as this class, how many really are. Both are of {len(rows.all_classes):,} pictures; filters only choose which "
        "classes are listed."
    )
    display.downloads({"CSV": ("per_class.csv", "text/csv", csv_bytes(scores))})


def _class_group(name: str, filtered: FilteredRows) -> drawer.Group:
    """The pictures that belong to a class or were predicted as it: first its own that are wrong, then others that were
    predicted as it, then those that are right."""
    rows = filtered.all_classes
    true, predicted = rows["true"] == name, rows["predicted"] == name
    parts = [rows[true & ~predicted], rows[predicted & ~true], rows[true & predicted]]
    return drawer.group_of(_class_title(name), pd.concat(parts), filtered.held)


def _class_title(name: str) -> str:
    return f"{first_name(name)}: errors first"


def most_confused(rows: FilteredRows, dataset: Dataset) -> None:
    """The pairs of a true and a wrongly predicted class, the most frequent first; each row opens its pictures."""
    every = confusions.most_confused(rows.listed, len(rows.listed), rows.counted)
    pairs = every.head(MOST_PAIRS)
    if not len(pairs):
        st.info("All of these pictures are predicted correctly.")
        return
    if len(pairs) < len(every):
        st.caption(f"The {len(pairs)} most frequent of {len(every):,} pairs; the CSV holds all.")
    display.finding(findings.of_errors(confusions.pair_counts(rows.listed), every))
    drawer.offer(
        drawer.OfferedGroup(
            predictions.pair_words(true, predicted), partial(drawer.pair_group, true, predicted, rows.listed, rows.held)
        )
        for true, predicted in zip(pairs["true"], pairs["predicted"], strict=True)
    )
    column = attribute_filters.choose(dataset, "What they share", "pairs by", SHARED)
    if column is not None:
        pairs = pairs.assign(**{f"typical {column}": _typical(pairs, column, rows)})
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("share", "confidence")}
    drawer.table(
        pairs, "pairs",
        lambda row: (drawer.pair_group(pairs["true"][row], pairs["predicted"][row], rows.listed, rows.held), None),
        columns=percent, alt="Pairs of classes that are confused most often",
    )  # fmt: skip
    st.caption(
        "Share: the listed pictures as a percentage of all pictures of the true class. Confidence: the mean confidence of "
        "these wrong predictions."
    )
    display.downloads({"CSV": ("most_confused.csv", "text/csv", csv_bytes(every))})


SHARED = (
    "Adds a column: the value of an attribute that is more frequent among a pair's pictures than among all pictures of the "
    "true class."
)


def _typical(pairs: pd.DataFrame, column: str, rows: FilteredRows) -> list[str]:
    """For each pair, the value of an attribute that is typical of it, in words."""
    listed, counted = rows.listed, rows.counted
    values = attribute_filters.values(rows.held, counted, column).astype(str).set_axis(counted["place"])
    words = []
    for true, predicted in zip(pairs["true"], pairs["predicted"], strict=True):
        pair = listed.loc[(listed["true"] == true) & (listed["predicted"] == predicted), "place"]
        every = counted.loc[counted["true"] == true, "place"]
        found = attribute_groups.typical(values.loc[pair], values.loc[every])
        words.append(attribute_filters.typical_words(column, found, f"all {first_name(true)}"))
    return words
