"""Altair charts of pairs of views. Every selection in a chart can also be made with number inputs on the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from xai_core.app.charts.common import HIGHLIGHT, LINES, OTHER, QUIET, picture_layer, text_colour
from xai_core.pairs.metrics import PairMetric, Row
from xai_core.pairs.reference import RandomPairs

FRAME, LEGEND = 20, 107  # pixels of a chart's height beside the picture: without a legend, and with one
LEFT = alt.Legend(orient="top", titleOrient="left")
SAME, DIFFERENT = "of one picture", "of two pictures"
KINDS = "#009e73", OTHER  # their colours


def among_random_pairs(pairs: RandomPairs, value: float, words: str) -> alt.LayerChart:
    """Histograms of the similarity of random pairs, each kind as shares of its own total, and a line at this pair's `value`.

    `words` names the similarity on the axis.
    """
    values = np.concatenate([pairs.same, pairs.different, [value]])
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, 31)
    rows = pd.concat(
        pd.DataFrame({
            "left": edges[:-1], "right": edges[1:], "kind": kind,
            "share": np.histogram(values, edges)[0] / max(1, len(values)),
        })
        for kind, values in ((SAME, pairs.same), (DIFFERENT, pairs.different))
    )  # fmt: skip
    colours = alt.Scale(domain=[SAME, DIFFERENT], range=list(KINDS))
    bars = (
        alt.Chart(rows)
        .mark_bar(opacity=0.65)
        .encode(
            x=alt.X("left:Q", title=words, scale=alt.Scale(zero=False)),
            x2="right:Q",
            y=alt.Y("share:Q", title="share", stack=None, axis=alt.Axis(format="%", tickCount=3)),
            y2=alt.datum(0),
            color=alt.Color("kind:N", title="views", scale=colours, legend=LEFT),
            tooltip=[alt.Tooltip("kind:N"), alt.Tooltip("left:Q", format=".2f"), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    own = pd.DataFrame({"value": [value], "text": ["this pair"], "ink": ["ink"]})
    line = alt.Chart(own).mark_rule(color=HIGHLIGHT, strokeWidth=3).encode(x="value:Q", tooltip=["text:N", "value:Q"])
    label = alt.Chart(own).mark_text(dy=-6, y=0).encode(x="value:Q", text="text:N", fill=text_colour())
    chart: alt.LayerChart = (bars + line + label).properties(height=220)
    return chart


def _cells(rows: int, columns: int) -> pd.DataFrame:
    """One table row for each cell of a grid: its row and column, from 1, and its edges."""
    row, column = (index.ravel() for index in np.indices((rows, columns)))
    edges = {"left": column, "top": row, "right": column + 1, "bottom": row + 1}
    return pd.DataFrame({"row": row + 1, "column": column + 1, **edges})


_EDGES: dict[str, Any] = {"x": alt.X("left:Q"), "x2": "right:Q", "y": alt.Y("top:Q"), "y2": "bottom:Q"}


def patch_picker(view: Image.Image, grid: tuple[int, int], chosen: tuple[int, int], side: int) -> alt.LayerChart:
    """A view with its grid of patches, `side` pixels wide. The patch `chosen` (row, column, from 0) is outlined.

    A click selects a patch: the point selection `patch` over the fields `row` and `column`, from 1.
    """
    cells = _cells(*grid)
    own = cells[(cells["row"] == chosen[0] + 1) & (cells["column"] == chosen[1] + 1)]
    picked = alt.selection_point(name="patch", fields=["row", "column"], on="click")
    patches = (
        alt.Chart(cells)
        .mark_rect(fillOpacity=0.01, fill="white", stroke=QUIET, strokeOpacity=0.35, cursor="pointer", aria=False)
        .encode(**_EDGES, tooltip=["row:Q", "column:Q"])
        .add_params(picked)
    )
    outline = alt.Chart(own).mark_rect(fillOpacity=0, stroke=HIGHLIGHT, strokeWidth=3).encode(**_EDGES)
    return _sized([picture_layer(view, *grid, aria=False), patches, outline], view, side)


def patch_matches(
    view: Image.Image, values: NDArray[np.floating], truth: tuple[float, float] | None, side: int
) -> alt.LayerChart:
    """The other view, `side` pixels wide, with each patch shaded by its similarity `values` (rows, columns).

    The best match is outlined. A cross marks the true place `truth`, (x, y) as shares of the view's sides.
    """
    rows, columns = values.shape
    cells = _cells(rows, columns).assign(similarity=values.ravel().astype(float))
    best = cells.iloc[[int(np.argmax(values))]]
    low, high = float(values.min()), float(values.max())
    shade = alt.Color(
        "similarity:Q",
        title="cosine of activations",
        scale=alt.Scale(scheme="viridis", domain=[low, high if high > low else low + 1]),
        legend=alt.Legend(orient="bottom", gradientLength=side - 40, format=".2f"),
    )
    tooltip = [alt.Tooltip("row:Q"), alt.Tooltip("column:Q"), alt.Tooltip("similarity:Q", format=".3f")]
    patches = alt.Chart(cells).mark_rect(fillOpacity=0.5, strokeOpacity=0, aria=False)
    outline = alt.Chart(best).mark_rect(fillOpacity=0, stroke=HIGHLIGHT, strokeWidth=3)
    layers = [
        picture_layer(view, rows, columns, aria=False),
        patches.encode(**_EDGES, color=shade, tooltip=tooltip),
        outline.encode(**_EDGES),
    ]
    if truth is not None:
        there = pd.DataFrame({"left": [truth[0] * columns], "top": [truth[1] * rows]})
        cross = alt.Chart(there).mark_point(shape="cross", size=220, filled=True, color="white", stroke="black", angle=45)
        layers.append(cross.encode(x="left:Q", y="top:Q"))
    return _sized(layers, view, side, LEGEND)


def _sized(layers: Sequence[alt.Chart], view: Image.Image, side: int, below: int = FRAME) -> alt.LayerChart:
    """The layers on a view, `side` pixels wide, with room for `below` pixels beside the picture's height."""
    height = round(side * view.height / view.width) + below
    layered = alt.LayerChart(layer=list(layers)).properties(width=side, height=height, padding=0)
    chart: alt.LayerChart = layered.configure_view(stroke=None)
    return chart


def metric_bars(rows: Sequence[Row], metric: PairMetric, titles: dict[str, str]) -> alt.LayerChart:
    """One metric of several methods: bars for the value of both views, dots for each view. Controls are grey.

    `titles` maps the methods' ids to their titles.
    """
    table = pd.DataFrame([row._asdict() for row in rows if row.metric == metric.id])
    table["title"] = [titles.get(name, name) for name in table["method"]]
    table["control"] = [
        name.startswith(("class:random", "class:centre", "class:edge", "baseline:")) for name in table["method"]
    ]
    both, each = table[table["view"] == "both"], table[table["view"] != "both"]
    order = list(both.sort_values("value", ascending=not metric.up)["title"])
    y = alt.Y("title:N", sort=order, title=None, axis=alt.Axis(labelLimit=230, ticks=False, domain=False))
    tooltip = [alt.Tooltip("title:N"), alt.Tooltip("view:N"), alt.Tooltip("value:Q", format=".4f")]
    better = "higher is better" if metric.up else "lower is better"
    bars = (
        alt.Chart(both)
        .mark_bar(height={"band": 0.6})
        .encode(
            y=y,
            x=alt.X("value:Q", title=f"{metric.id}: {metric.title} ({better})"),
            color=alt.condition("datum.control", alt.value(QUIET), alt.value(OTHER)),
            tooltip=tooltip,
        )
    )
    dots = alt.Chart(each).mark_point(filled=True, size=45).encode(
        y=y, x="value:Q", tooltip=tooltip, color=alt.value(HIGHLIGHT), shape=alt.Shape("view:N", legend=None)
    )  # fmt: skip
    no_dots = alt.Chart(both).mark_point(opacity=0).encode(y=y, x="value:Q")
    height = 30 * max(1, len(both)) + 100  # with the axis
    chart: alt.LayerChart = (bars + (dots if len(each) else no_dots)).properties(height=height)
    return chart


def benchmark_intervals(lines: pd.DataFrame, metric: PairMetric) -> alt.LayerChart:
    """One metric of a benchmark on one kind of pairs: means with their 95% intervals, and published figures.

    `lines` has `method` (titles), `control`, `mean`, `low`, `high`, `published`, `difference`, `n`.
    """
    y = alt.Y("method:N", sort=list(lines["method"]), title=None, axis=alt.Axis(labelLimit=230, ticks=False, domain=False))
    better = "higher is better" if metric.up else "lower is better"
    x = alt.X("mean:Q", title=f"{metric.id} ({better})", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=8))
    values = [alt.Tooltip(f"{name}:Q", format=".4f") for name in ("mean", "low", "high", "published", "difference")]
    base = alt.Chart(lines).encode(y=y, tooltip=["method:N", *values, alt.Tooltip("n:Q", title="pictures")])
    colour = alt.condition("datum.control", alt.value(QUIET), alt.value(OTHER))
    intervals = base.mark_rule(strokeWidth=2, aria=False).encode(x="low:Q", x2="high:Q", color=colour)
    means = base.mark_point(filled=True, size=60, opacity=1).encode(x=x, color=colour)
    figures = base.mark_point(shape="diamond", filled=True, size=70, opacity=1, aria=False).encode(
        x="published:Q", color=alt.value(HIGHLIGHT)
    )
    chart: alt.LayerChart = (intervals + means + figures).properties(height=24 * len(lines) + 50)
    return chart


def strength_lines(rows: Sequence[Mapping[str, Any]], words: str) -> alt.Chart:
    """Similarity against the strength of each augmentation; `words` names the similarity on the axis."""
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("strength:Q", title="strength"),
            y=alt.Y("similarity:Q", title=words, scale=alt.Scale(zero=False)),
            color=alt.Color("augmentation:N", title=None, scale=alt.Scale(range=list(LINES))),
            strokeDash=alt.StrokeDash("augmentation:N", title=None),
            tooltip=[alt.Tooltip("augmentation:N"), alt.Tooltip("strength:Q"), alt.Tooltip("similarity:Q", format=".3f")],
        )
        .properties(height=260)
    )
    return chart
