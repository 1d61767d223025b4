"""The drawer beside the page that shows one picture of a group, and what opens it: tiles, tables, charts.

Which picture is open is in the page's address (`sample`), so that a link and the browser's Back restore it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from xai_core.app.misclassifications.predictions import FilteredRows, pair_words
from xai_core.app.shared import sample_detail
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.models.explainable import ExplainableModel

SAMPLE = "sample"  # in the address: the open picture
WIDTH = 620  # pixels: two maps beside each other
_GROUP, _USUAL, _CLOSED = "opened group", "usual group", "drawers closed"


class Group(NamedTuple):
    """Pictures through which the drawer steps, by their names in the dataset."""

    title: str
    paths: tuple[str, ...]


def group_of(title: str, rows: pd.DataFrame) -> Group:
    """The pictures of some rows, in their order."""
    return Group(title, tuple(rows["path"]))


def pair_group(true: str, predicted: str, rows: pd.DataFrame) -> Group:
    """The pictures of class `true` that were predicted as `predicted`, the most confident prediction first."""
    same = rows[(rows["true"] == true) & (rows["predicted"] == predicted)]
    return group_of(pair_words(true, predicted), same.sort_values("confidence", ascending=False, kind="stable"))


def open_group(group: Group, path: str | None = None) -> None:
    """Open the drawer on a group, at one of its pictures (by default the first). For callbacks."""
    if group.paths:
        st.session_state[_GROUP] = group
        st.query_params[SAMPLE] = path or group.paths[0]


def offer_group(group: Group) -> None:
    """The group to step through where a link or a reload opens one of its pictures."""
    st.session_state[_USUAL] = group


def close() -> None:
    """Close the drawer. For callbacks."""
    st.query_params.pop(SAMPLE, None)
    st.session_state[_CLOSED] = st.session_state.get(_CLOSED, 0) + 1


def chart_key(name: str) -> str:
    """The key of a chart whose marks open the drawer: another one after each closing, so that no mark stays selected and
    the same one can be clicked again."""
    return f"{name} {st.session_state.get(_CLOSED, 0)}"


def picked(key: str, selection: str) -> dict[str, Any] | None:
    """The fields of the mark that was clicked in the chart `key`; None where the click was beside all marks."""
    points = st.session_state[key]["selection"].get(selection)
    return dict(points[0]) if points else None


def table(
    rows: pd.DataFrame,
    key: str,
    opens: Callable[[int], tuple[Group, str | None]],
    *,
    openable: Sequence[bool] | None = None,
    columns: Mapping[str, Any] | None = None,
) -> None:
    """A table with a button in each row (that is `openable`): it opens the drawer on a group, and at a picture of it, which
    are `opens(row)`."""
    clicked = f"row of {key}"

    def on_click() -> None:
        open_group(*opens(st.session_state[clicked]["row"]))

    button = st.column_config.ButtonColumn("", width=84, pinned=True, on_click=on_click, key=clicked)
    labels = pd.Series(["Open" if openable is None or openable[row] else None for row in range(len(rows))], rows.index, str)
    shown = rows.assign(open=labels)[["open", *rows.columns]]
    st.dataframe(shown, hide_index=True, key=key, column_config={"open": button, **(columns or {})})


def show(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The drawer, if a picture is open. Call it once, at the end of the page."""
    path = st.query_params.get(SAMPLE)
    if path is None:
        return
    if path not in set(rows.every["path"]):
        st.query_params.pop(SAMPLE)  # of another dataset
        return
    groups: list[Group] = [st.session_state[key] for key in (_GROUP, _USUAL) if key in st.session_state]
    groups += [group_of("Pictures listed", rows.listed), group_of("All pictures", rows.every)]
    st.session_state[_GROUP] = next(group for group in groups if path in group.paths)
    drawer = st.dialog("One picture", width=WIDTH, position="right", on_dismiss=close)
    drawer(_picture)(rows, dataset, model)


def _picture(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The open picture, and the buttons that step through its group."""
    group: Group = st.session_state[_GROUP]
    path = st.query_params.get(SAMPLE, group.paths[0])
    place = group.paths.index(path)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous", key="previous", icon=":material/chevron_left:", shortcut="Left", disabled=place == 0,
            on_click=open_group, args=(group, group.paths[max(place - 1, 0)]),
        )  # fmt: skip
        st.button(
            "Next", key="next", icon=":material/chevron_right:", shortcut="Right", disabled=place == len(group.paths) - 1,
            on_click=open_group, args=(group, group.paths[min(place + 1, len(group.paths) - 1)]),
        )  # fmt: skip
        st.markdown(f"{markdown.escape(group.title)}: **{place + 1}** of {len(group.paths):,}")
    row = rows.every[rows.every["path"] == path].iloc[0]
    sample_detail.show(rows.every, row, dataset, model, open_neighbour=_open_neighbour)


def _open_neighbour(of: str, paths: tuple[str, ...], path: str) -> None:
    """Open one of the neighbours of the picture `of`."""
    open_group(Group(f"{of} and its nearest pictures", (of, *paths)), path)
