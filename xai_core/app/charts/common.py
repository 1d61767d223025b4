"""Altair charts used by several pages. Fonts and greys come from the page's theme; the colours of maps do not."""

from __future__ import annotations

import base64
import copy
import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from xai_core.core.cache_key import bytes_digest
from xai_core.data.label_matching import first_name
from xai_core.explanation.rendering import encoded

if TYPE_CHECKING:
    from xai_core.models.explainable import Prediction

QUIET = "#7b8794"  # of lines and bars: a grey with a contrast of at least 3:1 on light and on dark
# The theme in .streamlit/config.toml holds these colours for light pages and others for dark ones: charts name them by their
# range. No colour has a contrast of 4.5:1 on both, so texts have colours of the theme.
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's without black and yellow
TEXTS = {"muted": "#56636f", "ink": "#000000", "paper": "#ffffff"}  # beside charts; on pale cells; on strong ones
COUNTS = ("#dfecfe", "#b6d5fb", "#8cbef4", "#5fa8ea", "#2492dc", "#067bbd", "#0e659b", "#044f7b", "#053a5c", "#022740")
DIFFERENCES = ("#043c5f", "#05598a", "#137bbc", "#7eb5ee", "#dfe9f7", "#f7e5dc", "#e2a27f", "#b95b1f", "#8e3c02", "#622801")
STRONG = 5 / 9  # of the way along COUNTS, and from the middle of DIFFERENCES to an end: from here on, text is of paper
LETTERS = 27  # of a name in one line beside a matrix
AnyChart = alt.LayerChart | alt.ConcatChart | alt.Chart
alt.theme.enable("none")  # Streamlit's theme is the only one
HIGHLIGHT, OTHER = "#d55e00", "#56789a"  # Okabe-Ito vermilion; a slate with at least 3:1 on light and on dark
LOST = "°"  # marks a method or map that does not beat every control
RIVAL = "#0072b2"  # Okabe-Ito blue
# As SVG, also where Streamlit would choose a canvas (over 2,000 marks): its texts follow the theme, and the names of its
# rows stay in view while it is scrolled sideways.
SVG = {"embedOptions": {"renderer": "svg"}}
ROLES = {"explained": HIGHLIGHT, "rival": RIVAL, "": QUIET}  # of a class: the colour of its bar
SIGNS = {"explained": "▸ ", "rival": "▹ ", "": ""}  # of a class: what stands before its name


def spec(chart: alt.LayerChart) -> dict[str, Any]:
    """A chart as a Vega-Lite specification.

    It is not validated here: that takes longer than a forward pass, and the tests validate every chart.
    """
    specification: dict[str, Any] = chart.to_dict(validate=False)
    return specification


class Drawn:
    """A chart whose specification is made once: `st.altair_chart` takes it as it takes the chart.

    Making and checking a specification costs Altair up to a tenth of a second in every rerun. Nothing may change the chart.
    """

    def __init__(self, chart: AnyChart) -> None:
        self.chart = chart
        self._tables: dict[str, pd.DataFrame] = {}
        self._specification: dict[str, Any] = {}

    def to_dict(self) -> dict[str, Any]:
        """The specification with its tables, for Streamlit: it calls this under its lock on Altair's settings, which belong
        to all threads, and changes what it gets."""
        if not self._specification:
            alt.data_transformers.register("drawn", self._named)
            with alt.data_transformers.enable("drawn"):
                self._specification = self.chart.to_dict(validate=False)
        return copy.deepcopy(self._specification) | {"datasets": dict(self._tables)}

    def _named(self, table: Any) -> dict[str, str]:
        """What the specification calls a table: the same for the same content, so that the browser keeps the chart."""
        name = bytes_digest(table.to_json(orient="split").encode())[:32]
        self._tables[name] = table
        return {"name": name}


def text_colour() -> alt.Fill:
    """The colour of texts by the column `ink`, which holds keys of TEXTS."""
    return alt.Fill("ink:N", scale=alt.Scale(domain=[*LINES, *TEXTS], range="category"), legend=None)


def readable_on_canvas(chart: alt.LayerChart) -> alt.LayerChart:
    """The chart with names on its axes in a colour of the theme, for charts with so many marks that they stay on a canvas.

    The page's style does not reach texts on a canvas. An axis has no scale: it asks that of a text mark without text.
    """
    text = alt.Chart(pd.DataFrame({"ink": ["muted"]})).mark_text(text="").encode(fill=text_colour())
    colour = alt.ExprRef("scale('fill', 'muted')")
    configured: alt.LayerChart = (chart + text).configure_axis(labelColor=colour, titleColor=colour)
    return configured


def prediction_bars(predictions: Sequence[Prediction], explained: int | None, rival: int | None = None) -> alt.LayerChart:
    """Probabilities of classes. A colour and a sign before the name mark the class with index `explained` and its `rival`,
    in the colours of the evidence for each in a map.

    A click selects a bar: the point selection `pick` over the field `class`.
    """
    first_names = [first_name(prediction.name) for prediction in predictions]
    labels = [  # two classes with one first name (crane, maillot) would share a bar
        name if first_names.count(name) == 1 else f"{name} ({prediction.index})"
        for name, prediction in zip(first_names, predictions, strict=True)
    ]
    roles = [
        "explained" if prediction.index == explained else "rival" if prediction.index == rival else ""
        for prediction in predictions
    ]
    rows = pd.DataFrame(
        {
            "class": [prediction.index for prediction in predictions],
            "name": [f"{SIGNS[role]}{label}" for label, role in zip(labels, roles, strict=True)],
            "full name": [prediction.name for prediction in predictions],
            "probability": [prediction.probability for prediction in predictions],
            "role": roles,
            "ink": "muted",
        }
    )
    base = alt.Chart(rows).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, ticks=False, domain=False)),
        x=alt.X("probability:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)),
        tooltip=[
            alt.Tooltip("full name:N"),
            alt.Tooltip("class:Q"),
            alt.Tooltip("probability:Q", format=".2%"),
            alt.Tooltip("role:N"),
        ],
    )
    bars = base.mark_bar(cursor="pointer", height={"band": 0.7}).encode(
        color=alt.Color("role:N", scale=alt.Scale(domain=list(ROLES), range=list(ROLES.values())), legend=None),
    )
    numbers = base.mark_text(align="left", dx=4).encode(text=alt.Text("probability:Q", format=".1%"), fill=text_colour())
    picked = bars.add_params(alt.selection_point(name="pick", fields=["class"], on="click"))
    chart: alt.LayerChart = (picked + numbers).properties(height=26 * len(rows) + 24)
    return chart


def grid_axes(rows: int, columns: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments of the channels x and y of a picture that is divided into cells; row 0 is at the top."""
    x = {"scale": alt.Scale(domain=[0, columns], nice=False), "axis": None}
    y = {"scale": alt.Scale(domain=[0, rows], nice=False, reverse=True), "axis": None}
    return x, y


def picture_layer(picture: Image.Image, rows: int, columns: int, aria: bool = True) -> alt.Chart:
    """A picture that fills the whole chart, on the axes of `grid_axes`."""
    x, y = grid_axes(rows, columns)
    url = "data:image/png;base64," + base64.b64encode(encoded(picture, "PNG")).decode()
    layer: alt.Chart = (
        alt.Chart(pd.DataFrame({"url": [url], "x": [columns / 2], "y": [rows / 2]}))
        .mark_image(width=alt.ExprRef("width"), height=alt.ExprRef("height"), aspect=False, aria=aria)
        .encode(url="url:N", x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y))
    )
    return layer


def agreement_matrix(matrix: NDArray[np.floating], names: Sequence[str], measure: str) -> alt.LayerChart:
    """Agreement of every two maps, (n, n), as numbers on a fixed colour scale from -1 to 1. NaN is shown as a dash."""
    first, second = np.indices(matrix.shape)
    rows = pd.DataFrame(
        {
            "method": [names[int(index)] for index in first.ravel()],
            "other": [names[int(index)] for index in second.ravel()],
            "agreement": matrix.ravel(),
            "text": ["–" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}" for value in matrix.ravel()],
            "ink": np.where(np.abs(np.nan_to_num(matrix.ravel())) > STRONG, "paper", "ink"),
        }
    )
    # Whole names, for screen readers: those on the axes may be shortened.
    rows["words"] = rows["method"] + " and " + rows["other"] + f": {measure} " + rows["text"]
    shown = dict(zip(names, _axis_names(names), strict=True))
    rows["row"], rows["column"] = rows["method"].map(shown), rows["other"].map(shown)
    centred = {"condition": {"test": "indexof(datum.value, '\\n') >= 0", "value": "line-bottom"}, "value": "middle"}
    axis = alt.Axis(
        title=None, labelLimit=190, labelExpr="split(datum.label, '\\n')", labelBaseline=centred, ticks=False, domain=False
    )
    order = list(shown.values())
    base = alt.Chart(rows).encode(x=alt.X("column:N", sort=order, axis=axis), y=alt.Y("row:N", sort=order, axis=axis))
    scale = alt.Scale(range="diverging", domain=[-1, 1])
    cells = base.mark_rect().encode(
        color=alt.Color("agreement:Q", scale=scale, legend=None),  # each cell shows its number
        tooltip=[alt.Tooltip("method:N"), alt.Tooltip("other:N"), alt.Tooltip("text:N", title=measure)],
        description="words:N",
    )
    numbers = base.mark_text(fontSize=11).encode(text="text:N", fill=text_colour())
    side = max(220, 34 * len(names))
    room = 180  # pixels for names of LETTERS letters
    chart: alt.LayerChart = (cells + numbers).properties(height=side + room, width=side + room, usermeta=SVG)
    return chart


def _axis_names(names: Sequence[str]) -> list[str]:
    """The names in as many lines as fit beside each other below a matrix on a phone."""
    lines = max(1, min(3, 12 // len(names)))
    shown = [_in_lines(name, lines) for name in names]
    return shown if len({*shown}) == len(names) else list(names)  # two rows of one name would be one row


def _in_lines(name: str, most: int) -> str:
    """A name in so many lines at most, shortened in the middle as far as it must be: those of a network's checkpoints and of
    its untrained twin differ at the end."""
    for left_out in range(len(name)):
        kept = len(name) - left_out - 1
        text = f"{name[: kept * 12 // 26]}…{name[-(kept - kept * 12 // 26) :]}" if left_out else name
        lines = textwrap.wrap(text, LETTERS)
        if len(lines) <= most:
            return "\n".join(lines)
    return name


def chart_bytes(chart: AnyChart, kind: str) -> bytes:
    """A chart in the colours of a light page as the bytes of a "png" (at twice its resolution) or "svg" file."""
    chart = chart.configure_range(category=[*LINES, *TEXTS.values()], ramp=COUNTS, heatmap=COUNTS, diverging=DIFFERENCES)
    if kind == "png":
        buffer = io.BytesIO()
        chart.save(buffer, format="png", scale_factor=2)
        return buffer.getvalue()
    text = io.StringIO()
    chart.save(text, format="svg")
    return text.getvalue().encode()
