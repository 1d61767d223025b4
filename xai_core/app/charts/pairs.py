"""Altair charts of pairs of views. Selections have number inputs beside them on the page."""

import base64
import io
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from xai_core.app.charts.common import ASKED, OTHER, QUIET
from xai_core.pairs.metrics import Metric, Row
from xai_core.pairs.reference import RandomPairs

FRAME, LEGEND = 20, 107  # pixels that a chart's height holds beside the picture: without a legend, and with one
LEFT = alt.Legend(orient="top", titleOrient="left")
SAME, DIFFERENT = "of one picture", "of two pictures"


def among_random_pairs(pairs: RandomPairs, value: float, words: str) -> alt.LayerChart:
    """Where this pair lies among random ones: two histograms as shares of their own kind, and a line for this pair."""
    every = np.concatenate([pairs.same, pairs.different, [value]])
    low, high = float(every.min()), float(every.max())
    edges = np.linspace(low, high if high > low else low + 1, 31)
    rows = pd.concat(
        pd.DataFrame({
            "left": edges[:-1], "right": edges[1:], "kind": kind,
            "share": np.histogram(values, edges)[0] / max(1, len(values)),
        })
        for kind, values in ((SAME, pairs.same), (DIFFERENT, pairs.different))
    )  # fmt: skip
    colours = alt.Scale(domain=[SAME, DIFFERENT], range=["#009e73", OTHER])
    bars = (
        alt.Chart(rows)
        .mark_bar(opacity=0.65)
        .encode(
            x=alt.X("left:Q", title=words, scale=alt.Scale(zero=False)),
            x2="right:Q",
            y=alt.Y("share:Q", title="share", stack=None, axis=alt.Axis(format="%", tickCount=3)),
            y2=alt.datum(0),
            color=alt.Color("kind:N", title="views", scale=colours, legend=LEFT),
            tooltip=["kind:N", alt.Tooltip("left:Q", format=".2f"), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    own = pd.DataFrame({"value": [value], "said": ["this pair"]})
    line = alt.Chart(own).mark_rule(color=ASKED, strokeWidth=3).encode(x="value:Q", tooltip=["said:N", "value:Q"])
    label = alt.Chart(own).mark_text(color=ASKED, dy=-6, y=0).encode(x="value:Q", text="said:N")
    return (bars + line + label).properties(height=220)


def _picture(drawn: Image.Image, rows: int, columns: int) -> alt.Chart:
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    across = {"scale": alt.Scale(domain=[0, columns], nice=False), "axis": None}
    down = {"scale": alt.Scale(domain=[0, rows], nice=False, reverse=True), "axis": None}
    return (
        alt.Chart(pd.DataFrame({"url": [url], "x": [columns / 2], "y": [rows / 2]}))
        .mark_image(width=alt.ExprRef("width"), height=alt.ExprRef("height"), aspect=False, aria=False)
        .encode(url="url:N", x=alt.X("x:Q", **across), y=alt.Y("y:Q", **down))
    )


def _cells(values: NDArray | None, rows: int, columns: int) -> pd.DataFrame:
    row, column = np.indices((rows, columns))
    found = pd.DataFrame({"row": row.ravel() + 1, "column": column.ravel() + 1})
    found["left"], found["top"] = column.ravel(), row.ravel()
    found["right"], found["bottom"] = column.ravel() + 1, row.ravel() + 1
    if values is not None:
        found["similarity"] = values.ravel().astype(float)
    return found


_ACROSS = {"x": alt.X("left:Q"), "x2": "right:Q", "y": alt.Y("top:Q"), "y2": "bottom:Q"}


def patch_picker(drawn: Image.Image, grid: tuple[int, int], chosen: tuple[int, int], side: int) -> alt.LayerChart:
    """A view with its patches; a click selects one: the point selection `patch` over the fields `row` and `column`, from 1.

    `chosen` (row, column), from 0, is outlined.
    """
    cells = _cells(None, *grid)
    own = cells[(cells["row"] == chosen[0] + 1) & (cells["column"] == chosen[1] + 1)]
    picked = alt.selection_point(name="patch", fields=["row", "column"], on="click")
    answer = (
        alt.Chart(cells)
        .mark_rect(fillOpacity=0.01, fill="white", stroke=QUIET, strokeOpacity=0.35, cursor="pointer", aria=False)
        .encode(**_ACROSS, tooltip=["row:Q", "column:Q"])
        .add_params(picked)
    )
    outline = alt.Chart(own).mark_rect(fillOpacity=0, stroke=ASKED, strokeWidth=3).encode(**_ACROSS)
    return _sized(_picture(drawn, *grid) + answer + outline, drawn, side)


def patch_matches(drawn: Image.Image, values: NDArray, truth: tuple[float, float] | None, side: int) -> alt.LayerChart:
    """The other view, each patch shaded by how alike it is; the best one outlined, the true place marked by a cross.

    `truth` is (x, y) as shares of the view's sides.
    """
    rows, columns = values.shape
    cells = _cells(values, rows, columns)
    best = cells.iloc[[int(np.argmax(values))]]
    low, high = float(values.min()), float(values.max())
    shade = alt.Color(
        "similarity:Q",
        title="cosine of activations",
        scale=alt.Scale(scheme="viridis", domain=[low, high if high > low else low + 1]),
        legend=alt.Legend(orient="bottom", gradientLength=side - 12, format=".2f"),
    )
    tips = ["row:Q", "column:Q", alt.Tooltip("similarity:Q", format=".3f")]
    answer = (
        alt.Chart(cells).mark_rect(fillOpacity=0.5, strokeOpacity=0, aria=False).encode(**_ACROSS, color=shade, tooltip=tips)
    )
    chart = _picture(drawn, rows, columns) + answer
    chart += alt.Chart(best).mark_rect(fillOpacity=0, stroke=ASKED, strokeWidth=3).encode(**_ACROSS)
    if truth is not None:
        there = pd.DataFrame({"left": [truth[0] * columns], "top": [truth[1] * rows]})
        cross = {"shape": "cross", "size": 220, "filled": True, "color": "white", "stroke": "black", "angle": 45}
        chart += alt.Chart(there).mark_point(**cross).encode(x="left:Q", y="top:Q")
    return _sized(chart, drawn, side, LEGEND)


def _sized(chart: alt.LayerChart, drawn: Image.Image, side: int, below: int = FRAME) -> alt.LayerChart:
    height = round(side * drawn.height / drawn.width) + below
    return chart.properties(width=side, height=height, padding=0).configure_view(stroke=None)


def metric_bars(rows: Sequence[Row], metric: Metric, titles: dict[str, str]) -> alt.LayerChart:
    """One metric of several methods: bars for the value of both views, dots for each view; controls are grey."""
    table = pd.DataFrame([row._asdict() for row in rows if row.metric == metric.id])
    table["title"] = [titles.get(name, name) for name in table["method"]]
    table["control"] = [
        name.startswith(("class:random", "class:centre", "class:edge", "baseline:")) for name in table["method"]
    ]
    both, each = table[table["view"] == "both"], table[table["view"] != "both"]
    order = list(both.sort_values("value", ascending=not metric.up)["title"])
    y = alt.Y("title:N", sort=order, title=None, axis=alt.Axis(labelLimit=230, ticks=False, domain=False))
    tips = ["title:N", "view:N", alt.Tooltip("value:Q", format=".4f")]
    better = "higher is better" if metric.up else "lower is better"
    bars = (
        alt.Chart(both)
        .mark_bar(height={"band": 0.6})
        .encode(
            y=y,
            x=alt.X("value:Q", title=f"{metric.id}: {metric.title} ({better})"),
            color=alt.condition("datum.control", alt.value(QUIET), alt.value(OTHER)),
            tooltip=tips,
        )
    )
    dots = alt.Chart(each).mark_point(filled=True, size=45).encode(
        y=y, x="value:Q", tooltip=tips, color=alt.value(ASKED), shape=alt.Shape("view:N", legend=None)
    )  # fmt: skip
    return (bars + dots if len(each) else bars + alt.Chart(both).mark_point(opacity=0).encode(y=y, x="value:Q")).properties(
        height=30 * max(1, len(both)) + 100  # with the axis
    )


def strength_lines(rows: Sequence[dict], words: str) -> alt.Chart:
    """Similarity against the strength of each augmentation."""
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("strength:Q", title="strength"),
            y=alt.Y("similarity:Q", title=words, scale=alt.Scale(zero=False)),
            color=alt.Color("augmentation:N", title=None),
            strokeDash=alt.StrokeDash("augmentation:N", title=None),
            tooltip=["augmentation:N", "strength:Q", alt.Tooltip("similarity:Q", format=".3f")],
        )
        .properties(height=260)
    )
