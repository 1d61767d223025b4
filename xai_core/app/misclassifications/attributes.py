"""The error rate of each value of what a dataset says of its pictures."""

from typing import Any

import pandas as pd
import streamlit as st

from xai_core.analysis import groups
from xai_core.app.charts import confusion as charts_confusion
from xai_core.app.charts.confusion import MOST_ROWS
from xai_core.app.shared import display, drawer, predictions, round_form
from xai_core.app.shared.attribute_filters import NOTHING
from xai_core.app.shared.predictions import FilteredRows
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.widgets import LINK
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.datasets import Dataset

LABEL = "label"  # an attribute of every dataset


def show(rows: FilteredRows, dataset: Dataset) -> None:
    """The error rate of each value of one attribute, or of each combination of two; each opens its pictures."""
    columns = [str(name) for name in dataset.metadata]
    if not columns:
        st.info(NONE)
        return
    counted = rows.counted

    def known(name: str) -> "pd.Series[Any]":
        return counted["true"].astype("str") if name == LABEL else rows.held.attribute(counted, name)

    names = [*columns, LABEL]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = st.selectbox("Group by", names, key="group by", width=240, **LINK)
        second = st.selectbox(
            "and by", [NOTHING, *(name for name in names if name != first)], key="and by", width=240, **LINK,
        )  # fmt: skip
    values = groups.values_of(known(first))
    if second != NOTHING:
        pairs = values.astype(str) + ", " + groups.values_of(known(second)).astype(str)
        values = groups.values_of(pairs)
    rates = groups.error_rates(counted, values)
    overall = float((counted["true"] != counted["predicted"]).mean())

    def group(value: str) -> drawer.Group:
        members = counted[(values == value).to_numpy()]
        wrong = members["true"] != members["predicted"]
        return drawer.group_of(f"{value}: errors first", pd.concat([members[wrong], members[~wrong]]), rows.held)

    key = drawer.chart_key("groups")

    def open_group() -> None:
        picked = drawer.picked(key, "group")
        if picked:
            drawer.open_group(group(picked["value"]))

    display.chart(
        charts_confusion.error_rates(rates.head(MOST_ROWS), overall), key=key, on_select=open_group,
        selection_mode="group", alt=f"Error rates of {min(len(rates), MOST_ROWS)} groups; of all pictures {overall:.1%}.",
    )  # fmt: skip
    more = f" The chart shows the first {MOST_ROWS} of {len(rates):,} groups." if len(rates) > MOST_ROWS else ""
    st.caption(
        f"Error rate: the share of a group's pictures that are predicted wrongly. Over all {len(counted):,} pictures it is "
        f"{overall:.1%} (dashed line). The solid line of each group is its 95% interval (Wilson), which is long for few "
        f"pictures.{more}"
    )
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("error rate", "low", "high")}
    drawer.table(
        rates, "group rows", lambda row: (group(rates["value"][row]), None), columns=percent,
        alt=f"Error rates of {len(rates):,} groups; of all pictures {overall:.1%}",
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        value: str = st.selectbox("A group to review", rates["value"].tolist(), key="group to review", width=240)
        what = ", ".join(name for name in (first, second) if name != NOTHING)
        title = predictions.with_filters(f"{what}: {value}", dataset)
        round_form.offer(RoundPictures(group(value).paths, title), "group")
    display.downloads({"CSV": ("groups.csv", "text/csv", csv_bytes(rates))})


NONE = (
    "This dataset has no attributes. Put a `metadata.csv` beside its folders, with a column `path` and one for each "
    "attribute, or add columns to its table."
)
