"""The points of a map of pictures, drawn by a component of its own: pictures are chosen with a lasso.

The app's charts are Altair charts. This one cannot be: Vega-Lite selects by points and by boxes along the axes, not by a
lasso, and slows down above some thousand marks. So the component replaces the Altair chart of the map instead of standing
beside it, and has all that the chart had: colours, shapes, legend, axes, tooltip, a click, a box.

The points are loaded by the browser from an address, once, because every change of what is chosen sends the component's
data anew. What is chosen is outlines on the map, not pictures: they fit in the page's address, and filters apply to them.
They are texts: of one outline the coordinates of its vertices in steps of 1 / UNIT, with "_" between them; "~" is between
outlines.
"""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from xai_core.app.charts.common import HIGHLIGHT, OTHER, QUIET
from xai_core.app.shared import browser_component, thumbnails
from xai_core.core.errors import BadPicture
from xai_core.data.datasets import Dataset
from xai_core.explanation.rendering import Scale

KEY = "point map"  # of the component in the session
UNIT = 10_000  # steps of an outline's coordinates in one unit of the map
VERTICES = 240  # of all outlines together
# Colours of up to ten texts, each with a contrast of at least 3:1 on light and on dark; any two also differ for people who
# lack one kind of cone. The shape of a point says whether the answer is right.
COLOURS = (
    "#0072b2", "#d55e00", "#559955", "#aa6688", "#dd55ff", "#556666", "#885544", "#889988", "#aa88bb", "#bb3311",
)  # fmt: skip
OTHERS = "(others)"
OUTSIDE = "in no confirmed group"
RAMP = Scale(0.0, 1.0, "viridis", False, "").hex_colours(33)
_NUMBER, _ASKED, _CHANGED = f"{KEY} number", f"{KEY} asked", f"{KEY} changed"  # in the session
_draw = browser_component.beside(__file__, "point_map")
Range = tuple[float, float]


class Axis(NamedTuple):
    """What the places -1 and 1 of an axis stand for; `ticks` are the places of names, where it has no numbers."""

    low: float = -1.0
    high: float = 1.0
    ticks: tuple[tuple[float, str], ...] | None = None
    title: str = ""


def content(
    rows: pd.DataFrame, title: str, limits: tuple[Range, Range], label: str, axes: tuple[Axis, Axis] = (Axis(), Axis())
) -> bytes:
    """What the component draws, as JSON: a point for each row.

    `rows` have `x` and `y` within -1 and 1, `path`, `true`, `predicted`, `confidence`, `answer` (right or wrong: the shape),
    and `colour`, texts or numbers, which `title` names. Of more than ten texts the nine most frequent have a colour each.
    `limits` are the ends of the map (across, up). `label` is its name for screen readers.
    """
    rows = rows.sort_values("answer", kind="stable")  # wrong ones are drawn above right ones
    colours: dict[str, Any]
    if pd.api.types.is_float_dtype(rows["colour"]):
        values = rows["colour"].to_numpy(float)
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        places = np.nan_to_num((values - low) / ((high - low) or 1.0), nan=-1.0)
        steps = np.where(np.isfinite(values), np.round(places * (len(RAMP) - 1)), -1).astype(int)
        texts = [f"{value:.4g}" if math.isfinite(value) else None for value in values]
        colours = {"colour": steps.tolist(), "colours": RAMP, "ends": [f"{low:.4g}", f"{high:.4g}"], "value": texts}
    else:
        shown, names, palette = _coloured(rows["colour"])
        order = {name: place for place, name in enumerate(names)}
        colours = {
            "colour": shown.map(order).tolist(), "colours": palette, "texts": names, "value": rows["colour"].tolist(),
        }  # fmt: skip
    table = {
        "x": rows["x"].astype(float).round(5).tolist(),
        "y": rows["y"].astype(float).round(5).tolist(),
        "wrong": (rows["answer"] == "wrong").astype(int).tolist(),
        "confidence": rows["confidence"].astype(float).round(4).tolist(),
        **{name: rows[name].tolist() for name in ("path", "true", "predicted")},
    }
    shape = {"title": title, "limits": limits, "label": label, "axes": [axis._asdict() for axis in axes]}
    return json.dumps({**table, **colours, **shape}, allow_nan=False).encode()


def _coloured(values: "pd.Series[str]") -> tuple["pd.Series[str]", list[str], list[str]]:
    """The values of which each has a colour, their names in the order of the legend, and the colours."""
    names = sorted(values.unique(), key=lambda text: (text == OUTSIDE, text))
    if len(names) > len(COLOURS):
        kept = values.value_counts().index[: len(COLOURS) - 1]
        values, names = values.where(values.isin(kept), OTHERS), [*sorted(kept), OTHERS]
    known = {"right": OTHER, "wrong": HIGHLIGHT, OTHERS: QUIET, OUTSIDE: QUIET}
    free = iter(COLOURS)
    return values, names, [known.get(name) or next(free) for name in names]


def read(text: str) -> list[NDArray[np.float64]]:
    """The outlines (k, 2) that a text holds; none where it is not such a text."""
    try:
        outlines = [np.array(one.split("_"), int).reshape(-1, 2) / UNIT for one in text.split("~")] if text else []
    except (ValueError, OverflowError):
        return []
    is_fit = all(len(outline) >= 3 and np.abs(outline).max() <= 10 for outline in outlines)
    return outlines if is_fit and sum(map(len, outlines)) <= VERTICES else []


@st.fragment
def show(
    points: bytes, outlines: str, dataset: Dataset, on_chosen: Callable[[str], None], on_opened: Callable[[str], None]
) -> None:
    """Draw the `content`, with these outlines; the page runs again after `on_chosen`, which is given other outlines, and
    after `on_opened`, which is given the path of a picture. A tooltip's picture is fetched without the rest of the page."""
    if st.session_state.pop(_CHANGED, False):
        st.rerun()

    def event(name: str) -> Any:
        return st.session_state[KEY].get(name)

    def choose() -> None:
        sent = event("chosen")
        if isinstance(sent, dict) and isinstance(sent.get("outlines"), str) and isinstance(sent.get("number"), int):
            st.session_state[_NUMBER], st.session_state[_CHANGED] = sent["number"], True
            on_chosen(sent["outlines"] if read(sent["outlines"]) else "")

    def open_picture() -> None:
        if isinstance(event("opened"), str):
            st.session_state[_CHANGED] = True
            on_opened(event("opened"))

    def ask() -> None:
        st.session_state[_ASKED] = event("asked")

    data = {
        "points": browser_component.address_of(points, "application/json", KEY),
        "outlines": outlines,
        "number": st.session_state.get(_NUMBER, 0),
        "pictures": _pictures(dataset, st.session_state.get(_ASKED)),
    }
    _draw(key=KEY, data=data, on_chosen_change=choose, on_opened_change=open_picture, on_asked_change=ask, height="content")


def _pictures(dataset: Dataset, path: object) -> dict[str, str]:
    """Where the browser finds the small picture of a point, by the point's path."""
    if not isinstance(path, str) or path not in dataset.names:
        return {}
    try:
        return {path: browser_component.address_of(thumbnails.file(dataset, path), "image/jpeg", KEY)}
    except BadPicture:
        return {}
