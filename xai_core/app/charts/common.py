"""Altair charts. They take their fonts and greys from the page's theme; the colours of maps do not depend on it."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from PIL import Image

from xai_core.data.label_matching import first_name
from xai_core.explanation import heatmaps
from xai_core.explanation.rendering import Scale, encoded
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import Prediction

MAX_CELLS = 32  # cells a side that answer to the pointer; finer maps are averaged for reading, and say so
QUIET = "#7b8794"  # text that keeps 3:1 on light and on dark
BAR = 71  # height in pixels of a colour bar with its numbers
alt.theme.enable("none")  # Streamlit's theme is the only one
ASKED, OTHER = "#d55e00", "#56789a"  # Okabe-Ito vermilion, and a slate that keeps 3:1 on light and dark


def spec(chart: alt.LayerChart) -> dict[str, Any]:
    """A chart in Vega-Lite, as a page shows it. Unchecked: the tests check every chart, and it takes longer than a pass."""
    return chart.to_dict(validate=False)


def prediction_bars(predictions: Sequence[Prediction], asked: int | None) -> alt.LayerChart:
    """Probabilities of the top classes; the one that is explained is marked by colour and by an arrow.

    A click selects a bar: the point selection `pick` over the field `class`.
    """
    first_names = [first_name(one.name) for one in predictions]
    shown = [  # two classes of one first name (crane, maillot) would share a bar
        name if first_names.count(name) == 1 else f"{name} ({one.index})"
        for name, one in zip(first_names, predictions, strict=True)
    ]
    rows = pd.DataFrame(
        {
            "class": [one.index for one in predictions],
            "name": [("▸ " if one.index == asked else "") + name for name, one in zip(shown, predictions, strict=True)],
            "full name": [one.name for one in predictions],
            "probability": [one.probability for one in predictions],
            "explained": [one.index == asked for one in predictions],
        }
    )
    base = alt.Chart(rows).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, ticks=False, domain=False)),
        x=alt.X("probability:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)),
        tooltip=["full name:N", "class:Q", alt.Tooltip("probability:Q", format=".2%")],
    )
    bars = base.mark_bar(cursor="pointer", height={"band": 0.7}).encode(
        color=alt.condition("datum.explained", alt.value(ASKED), alt.value(OTHER)),
    )
    labels = base.mark_text(align="left", dx=4, color=QUIET).encode(text=alt.Text("probability:Q", format=".1%"))
    picked = bars.add_params(alt.selection_point(name="pick", fields=["class"], on="click"))
    return (picked + labels).properties(height=26 * len(rows) + 24)


def readable_map(explanation: Explanation, drawn: Image.Image, scale: Scale, width: int) -> alt.LayerChart:
    """A drawn map with a colour bar and, under the pointer, the raw value of each cell of the native grid.

    `drawn` is the picture to show, the network's crop. Grids of more than 32 cells a side are read in averaged blocks.
    """
    cells, blocks = cell_values(explanation.heatmap)
    rows, columns = blocks.shape
    url = "data:image/png;base64," + base64.b64encode(encoded(drawn, "PNG")).decode()
    across = {"scale": alt.Scale(domain=[0, columns], nice=False), "axis": None}
    down = {"scale": alt.Scale(domain=[0, rows], nice=False, reverse=True), "axis": None}
    whole = {"width": alt.ExprRef("width"), "height": alt.ExprRef("height"), "aspect": False}
    picture = (
        alt.Chart(pd.DataFrame({"url": [url], "x": [columns / 2], "y": [rows / 2]}))
        .mark_image(**whole)
        .encode(url="url:N", x=alt.X("x:Q", **across), y=alt.Y("y:Q", **down))
    )
    legend = alt.Legend(
        orient="bottom",
        gradientLength=width - 12,
        gradientThickness=12,
        gradientOpacity=1,
        format=".2~g",
        values=list(np.linspace(scale.low, scale.high, 5)),
        offset=6,
    )
    steps = 33  # of colour between the limits, for the legend; the cells themselves are invisible and only answer
    limits = list(np.linspace(scale.low, scale.high, steps))
    colours = alt.Scale(domain=limits, range=scale.hex_colours(steps), clamp=True)
    answer = (
        alt.Chart(cells)
        .mark_rect(fillOpacity=0, strokeOpacity=0)
        .encode(
            x=alt.X("left:Q", **across),
            x2="right:Q",
            y=alt.Y("top:Q", **down),
            y2="bottom:Q",
            color=alt.Color("value:Q", title=None, scale=colours, legend=legend),
            tooltip=[
                "row:Q",
                "column:Q",
                alt.Tooltip("value:Q", title=_read_as(explanation.heatmap.shape, blocks.shape), format=".4g"),
                alt.Tooltip("below:Q", title="cells with less", format=".0%"),
            ],
        )
    )
    chart = (picture + answer).properties(width=width, height=round(width * drawn.height / drawn.width) + BAR, padding=0)
    return chart.configure_view(stroke=None)


def _read_as(grid: tuple[int, ...], blocks: tuple[int, ...]) -> str:
    """What a value under the pointer is: a cell's own, or the mean of several."""
    down, across = (cells / shown for cells, shown in zip(grid, blocks, strict=True))
    return "value" if grid == blocks else f"mean of {down:.3g} x {across:.3g} cells"


def agreement_matrix(matrix: np.ndarray, names: Sequence[str], measure: str) -> alt.LayerChart:
    """How far each two maps agree, as a square of numbers on a scale that is fixed: -1 to 1, neutral at 0."""
    first, second = np.indices(matrix.shape)
    rows = pd.DataFrame(
        {
            "method": [names[index] for index in first.ravel()],
            "other": [names[index] for index in second.ravel()],
            "agreement": matrix.ravel(),
            "said": ["–" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}" for value in matrix.ravel()],
            "strong": np.abs(np.nan_to_num(matrix.ravel())) > 0.6,
        }
    )
    axis = alt.Axis(title=None, labelLimit=170, ticks=False, domain=False)
    base = alt.Chart(rows).encode(
        x=alt.X("other:N", sort=list(names), axis=axis), y=alt.Y("method:N", sort=list(names), axis=axis)
    )
    scale = alt.Scale(scheme="redblue", domain=[-1, 1], reverse=True)
    cells = base.mark_rect().encode(
        color=alt.Color("agreement:Q", scale=scale, legend=None),  # each cell says its number
        tooltip=["method:N", "other:N", alt.Tooltip("said:N", title=measure)],
    )
    numbers = base.mark_text(fontSize=11).encode(
        text="said:N", color=alt.condition("datum.strong", alt.value("white"), alt.value("#26323d"))
    )
    side = max(220, 34 * len(names))
    return (cells + numbers).properties(height=side + 180, width=side + 180)  # with room for names of 27 letters


def cell_values(heatmap: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The cells that answer to the pointer, as rows, and their values as a grid."""
    height, width = heatmap.shape
    rows, columns = min(height, MAX_CELLS), min(width, MAX_CELLS)
    blocks = heatmaps.block_means(heatmap, rows, columns)
    row, column = np.indices(blocks.shape)
    values = blocks.ravel().astype(float)
    below = np.searchsorted(np.sort(values), values) / len(values)  # equal cells are not below each other
    cells = pd.DataFrame(
        {
            "row": row.ravel() + 1,
            "column": column.ravel() + 1,
            "value": values,
            "below": below,
            "left": column.ravel(),
            "right": column.ravel() + 1,
            "top": row.ravel(),
            "bottom": row.ravel() + 1,
        }
    )
    return cells, blocks


def chart_bytes(chart: alt.TopLevelMixin, kind: str) -> bytes:
    """A chart as a "png" or "svg" file, on white; a PNG twice as fine as on the page."""
    if kind == "png":
        buffer = io.BytesIO()
        chart.save(buffer, format="png", scale_factor=2)
        return buffer.getvalue()
    text = io.StringIO()
    chart.save(text, format="svg")
    return text.getvalue().encode()
