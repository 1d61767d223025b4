"""What a dataset says of its pictures beside their labels: filters by it, and the choice of one attribute for a view."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from xai_core.analysis import groups
from xai_core.app.shared import session
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.data.held_predictions import HeldPredictions


def filters(held: HeldPredictions, dataset: Dataset) -> "pd.Series[bool]":
    """The controls of the filters by attributes, and which of the predictions pass them."""
    passes = pd.Series(True, held.rows.index)
    columns = [str(name) for name in dataset.metadata]
    if not columns:
        return passes
    chosen = st.multiselect("Attributes", columns, key="attributes", help=HELP, **LINK)
    for column in chosen:
        passes &= _filter(column, *held.made(f"values of {column}", partial(_values, held, column)))
    return passes


def _values(held: HeldPredictions, column: str) -> "tuple[pd.Series[Any], bool]":
    """The attribute of all pictures, and whether it is a scale of numbers; else it is categories."""
    known = held.attribute(held.rows, column)
    is_scale = pd.api.types.is_float_dtype(known) and known.nunique() > groups.FEW
    return (known if is_scale else groups.values_of(known)), is_scale


HELP = (
    "Attributes that the dataset gives for its pictures. Choose one to filter by it; shares then refer to the pictures "
    "that pass the filter."
)


def in_words(dataset: Dataset) -> list[str]:
    """The filters that are set, each in a few words."""
    words = []
    for column in map(str, dataset.metadata):
        values = st.session_state.get(f"is {column}") if column in st.session_state.get("attributes", ()) else None
        if isinstance(values, tuple):
            words.append(f"{column} {values[0]:g} to {values[1]:g}")
        elif values:
            words.append(f"{column} {' or '.join(values)}")
    return words


def _filter(column: str, values: "pd.Series[Any]", is_scale: bool) -> "pd.Series[bool]":
    """The control of one attribute, and which values it lets pass."""
    key, name = f"is {column}", markdown.escape(column)
    if is_scale:
        least, most = float(values.min()), float(values.max())
        low, high = st.slider(name, least, most, (least, most), key=key, **LINK)
        return values.between(low, high) | (values.isna() & (low == least) & (high == most))
    wanted = st.multiselect(name, list(values.cat.categories), key=key, **LINK)
    return values.isin(wanted) if wanted else pd.Series(True, values.index)


NOTHING = "(nothing)"


def choose(dataset: Dataset, label: str, key: str, help: str | None = None) -> str | None:
    """The control of one attribute, in the address; None where none is chosen, and no control where there are none."""
    columns = [str(name) for name in dataset.metadata]
    if not columns:
        return None
    session.keep_among(key, [NOTHING, *columns], NOTHING)
    chosen: str = st.selectbox(label, [NOTHING, *columns], key=key, width=240, help=help, **LINK)
    return None if chosen == NOTHING else chosen


def values(held: HeldPredictions, rows: pd.DataFrame, column: str) -> "pd.Series[Any]":
    """The group of each picture by an attribute, aligned with `rows`."""
    return groups.values_of(held.attribute(rows, column))


def typical_words(column: str, typical: groups.Typical | None, of: str) -> str:
    """A typical value in words; empty without one. `of` says among which pictures it is less frequent."""
    if typical is None:
        return ""
    return (
        f"{column} {typical.value}: {typical.inside:,} of {typical.size:,} ({typical.inside / typical.size:.0%}; of {of} "
        f"{typical.everywhere / typical.total:.0%})"
    )
