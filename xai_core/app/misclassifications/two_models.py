"""The view Two models: how the predictions of two models differ."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from xai_core.analysis import confusion as confusions
from xai_core.analysis import groups as attribute_groups
from xai_core.app.charts import confusion as charts_confusion
from xai_core.app.charts.confusion import MOST_ROWS
from xai_core.app.misclassifications.class_scores import errors_first
from xai_core.app.shared import (
    attribute_filters,
    display,
    drawer,
    loaded_models,
    predictions,
)
from xai_core.app.shared.predictions import FilteredRows
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.datasets import Dataset
from xai_core.models.explainable import ExplainableModel
from xai_core.models.weights import locate
from xai_core.models.zoo import own_code
from xai_core.models.zoo.catalog import cards


def two_models(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """A second model on the same pictures: both matrices, their difference, and the pictures with different predictions."""
    others = _others(model)
    if not others:
        st.info("No other model with classes is on this machine. Home shows how to fetch one.")
        return
    second = st.selectbox("Second model", others, format_func=lambda id: cards()[id].title, key="second", **LINK)
    checkpoint = next(checkpoint for checkpoint in cards()[second].checkpoints if locate.find(checkpoint) is not None)
    with st.spinner(f"Loading {markdown.escape(cards()[second].title)}"):
        other = loaded_models.model(second, checkpoint.id)
    second_held = predictions.held(other, dataset, second=True)
    if second_held is None:
        return
    theirs, mine = _with_texts(second_held.named(second_held.rows)), _with_texts(rows.named(rows.counted))
    theirs = theirs[theirs["path"].isin(mine["path"])]
    mine = mine[mine["path"].isin(theirs["path"])]
    theirs = confusions.with_names_of(mine, theirs)
    if not len(mine):
        st.info("The two models have no class of these pictures in common. Choose another second model.")
        return
    changed = confusions.changed(mine, theirs)
    classes = sorted({*mine["true"], *mine["predicted"], *theirs["true"], *theirs["predicted"]})
    matrix, second_matrix = confusions.confusion(mine, classes), confusions.confusion(theirs, classes)
    both = confusions.Confusion(matrix.counts + second_matrix.counts, tuple(classes))
    worst = confusions.by_confusion(both)[:MOST_ROWS]
    counts = changed["change"].value_counts().to_dict()
    st.markdown(
        f"{markdown.escape(model.title)}: **{matrix.accuracy:.1%}** right; {markdown.escape(other.title)}: "
        f"**{second_matrix.accuracy:.1%}**, on {len(mine):,} pictures. "
        f"The second fixes {counts.get('fixed', 0):,} errors and makes {counts.get('new error', 0):,} new ones."
    )
    if len(worst) < len(classes):
        st.caption(f"The matrices show the {len(worst)} of {len(classes)} classes with the most errors.")
    first, last = matrix.ordered(worst), second_matrix.ordered(worst)
    moved = pd.concat([mine, theirs]).drop_duplicates(["path", "true", "predicted"], keep=False)
    with st.container(horizontal=True):
        _matrix(model.title, mine, first, f"{model.title}: {matrix.accuracy:.1%} right.")
        _matrix(other.title, theirs, last, f"{other.title}: {second_matrix.accuracy:.1%} right.")
        words = f"{other.title} minus {model.title}: pictures in each cell."
        _matrix("Second minus first", moved, last, words, other=first, titles=(other.title, model.title))
    st.caption(
        "A click on a cell opens its pictures; in the third matrix, those that only one of the two models puts there."
    )
    _two_by_attribute(rows, mine, theirs, dataset, (model.title, other.title))
    listed = changed[changed["path"].isin(rows.named(rows.listed)["path"])]
    if len(listed) < len(changed):
        st.caption(f"{len(listed):,} of the {len(changed):,} pictures with different predictions pass the filters.")
    listed = listed.reset_index(drop=True)
    groups = {
        change: drawer.group_of(f"{other.title} against {model.title}: {change}", rows)
        for change, rows in listed.groupby("change")
    }
    drawer.offer(groups.values())
    drawer.table(
        listed, "changes", lambda row: (groups[listed["change"][row]], listed["path"][row]),
        alt=f"Pictures that {model.title} and {other.title} predict differently",
    )  # fmt: skip
    display.downloads({"CSV": ("two_models.csv", "text/csv", csv_bytes(listed))})


def _with_texts(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with classes as texts: two models may have other ones."""
    return rows.astype({"true": "str", "predicted": "str"})


def _two_by_attribute(
    rows: FilteredRows, mine: pd.DataFrame, theirs: pd.DataFrame, dataset: Dataset, titles: tuple[str, str]
) -> None:
    """The error rates of both models for each value of an attribute."""
    column = attribute_filters.choose(dataset, "Error rates by", "models by", TWO_BY)
    if column is None:
        return
    values = attribute_filters.values(rows.held, mine, column)
    table = attribute_groups.error_rates_of_two(mine, theirs, values)
    groups = {value: errors_first(f"{column} {value}", mine[(values == value).to_numpy()]) for value in table["value"]}
    drawer.offer(groups.values())
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("first", "second")}
    drawer.table(
        table, "two by", lambda row: (groups[table["value"][row]], None), columns=percent,
        alt=f"Error rates of {titles[0]} and {titles[1]} by {column}",
    )  # fmt: skip
    st.caption(
        f"First and second: the shares of a group's pictures that {markdown.escape(titles[0])} and "
        f"{markdown.escape(titles[1])} predict wrongly. First comes the group in which the second is worse by most."
    )
    display.downloads({"CSV": ("two_models_by.csv", "text/csv", csv_bytes(table))})


TWO_BY = "Adds a table: the error rates of both models on the pictures with each value of an attribute."


def _matrix(
    title: str,
    rows: pd.DataFrame,
    matrix: confusions.Confusion,
    alt: str,
    *,
    other: confusions.Confusion | None = None,
    titles: tuple[str, str] = ("", ""),
) -> None:
    """A matrix of which each cell opens its pictures, which are among `rows`."""
    groups, key = drawer.pair_groups(title, rows), drawer.chart_key(f"matrix of {title}")
    drawer.offer(groups.values())

    def open_cell() -> None:
        cell = drawer.picked(key, "cell")
        if cell:
            drawer.open_group(groups[cell["true"], cell["predicted"]])

    with st.container(width="content"):
        st.markdown(f"**{markdown.escape(title)}**")
        chart = charts_confusion.confusion_matrix(matrix, rates=False, dim_diagonal=False, other=other, titles=titles)
        display.chart(chart, width="content", key=key, alt=alt, on_select=open_cell, selection_mode="cell")


def _others(model: ExplainableModel) -> Sequence[str]:
    """Models with classes whose weights are here, without `model`; first those that have the same classes."""
    ready = [card.id for card in cards().values() if locate.is_here(card)]
    able = [id for id in ready if id != model.id and (cards()[id].classes or own_code.is_unmade(id))]
    return sorted(able, key=lambda id: cards()[id].classes != cards()[model.id].classes)
