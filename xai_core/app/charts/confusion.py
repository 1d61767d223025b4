"""Altair charts of a classifier's errors: the confusion matrix, calibration, precision and recall.

What a click selects can be chosen in a select box on the page as well.
"""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from xai_core.analysis.confusion import OTHERS, Confusion
from xai_core.app.charts.common import HIGHLIGHT, OTHER, STRONG, text_colour

MOST_ROWS = 40  # of a matrix, and bars of a chart, that pages give these charts at most; they say what is left out
NUMBERS = 24  # classes up to which the number is written in every cell
REST = "#767676"  # black and white are read on it: cells of the classes that have no row or column of their own
LABEL = 150  # width of a class's name at most, in pixels


def confusion_matrix(
    matrix: Confusion, *, rates: bool, dim_diagonal: bool, other: Confusion | None = None, titles: tuple[str, str] = ("", "")
) -> alt.LayerChart:
    """True classes in rows, predicted classes in columns; the colour is the logarithm of the count, or of the row's share.

    With `other` (over the same classes) it shows `matrix` minus `other` on a scale that diverges about zero; `titles`
    name the two. Cells of OTHERS are grey and no part of the scale. A click selects a cell: the point selection `cell` over
    the fields `true` and `predicted`.
    """
    values = (matrix.rates if rates else matrix.counts).astype(float)
    signed = other is not None
    if other is not None:
        values = values - (other.rates if rates else other.counts)
    down, across = np.indices(values.shape)
    rows = pd.DataFrame(
        {
            "true": [matrix.classes[index] for index in down.ravel()],
            "predicted": [matrix.classes[index] for index in across.ravel()],
            "pictures": matrix.counts.ravel(),
            "value": values.ravel(),
            "right": (down == across).ravel(),
            "text": [_value_text(value, rates, signed) for value in values.ravel()],
        }
    )
    rows = rows[rows["true"].isin([name for name, total in zip(matrix.classes, matrix.counts.sum(1), strict=True) if total])]
    rows = rows[rows["value"] != 0]  # cells without pictures stay empty, so that they differ from those with few
    # The row and the column of the classes that are not shown would own the scale: their cells are grey, with their numbers.
    rest = [name == OTHERS for name in matrix.classes]
    in_scale = np.abs(values[~np.logical_or.outer(rest, rest)])
    largest = float(np.nanmax(in_scale, initial=0)) or 1.0
    unit = 0.01 if rates else 1  # zero has a logarithm too
    most = 1 if rates else largest
    share = rows["value"].abs() / largest if signed else np.log1p(rows["value"] / unit) / np.log1p(most / unit)
    rows["rest"] = (rows["true"] == OTHERS) | (rows["predicted"] == OTHERS)
    faint = rows["right"] & dim_diagonal  # such a cell has nearly the page's colour
    rows["ink"] = np.where((share > STRONG) & ~faint & ~rows["rest"], "paper", "ink")
    axis: dict[str, Any] = {"labelLimit": LABEL, "ticks": False, "domain": False, "labelOverlap": False, "labelFlush": False}
    axis |= {"grid": True, "bandPosition": 1}
    base = alt.Chart(rows).encode(
        x=alt.X("predicted:N", sort=list(matrix.classes), title="predicted", axis=alt.Axis(**axis, labelAngle=-45)),
        y=alt.Y("true:N", sort=list(matrix.classes), title="true", axis=alt.Axis(**axis)),
    )
    if signed:
        scale = alt.Scale(range="diverging", domain=[-largest, largest], domainMid=0)
    else:
        scale = alt.Scale(type="symlog", constant=unit, range="ramp", domain=[0, most])
    faded = alt.condition("datum.right", alt.value(0.15), alt.value(1.0)) if dim_diagonal else alt.value(1.0)
    words = f"{titles[0]} minus {titles[1]}" if signed else "share of the true class" if rates else "pictures"
    cells = base.mark_rect(cursor="pointer").encode(
        color=alt.when("datum.rest")
        .then(alt.value(REST))
        .otherwise(
            alt.Color(
                "value:Q", scale=scale, title=words, legend=alt.Legend(orient="bottom", format="%" if rates else ",~r")
            )
        ),
        opacity=faded,
        tooltip=["true:N", "predicted:N", "pictures:Q", alt.Tooltip("text:N", title=words)],
    )
    layers = [cells.add_params(alt.selection_point(name="cell", fields=["true", "predicted"], on="click"))]
    if len(matrix.classes) <= NUMBERS:
        layers.append(base.mark_text(fontSize=11).encode(text="text:N", fill=text_colour()))
    cell = 34 if len(matrix.classes) <= NUMBERS else 15
    names = rows["true"].unique()
    beside, below = (min(LABEL, 6 * max(map(len, some), default=0)) for some in (names, matrix.classes))
    chart: alt.LayerChart = alt.LayerChart(layer=layers).properties(
        width=cell * max(len(matrix.classes), 6) + beside + 50, height=round(cell * max(len(names), 3) + 0.71 * below + 150)
    )
    return chart


def _value_text(value: float, rates: bool, signed: bool) -> str:
    if np.isnan(value):
        return "–"
    sign = "+" if signed and value > 0 else ""
    return f"{sign}{value:.0%}" if rates else f"{sign}{value:,.0f}"


def calibration(bins: pd.DataFrame) -> alt.LayerChart:
    """Accuracy against confidence, one bar for each bin with its number of pictures above; the dashed line in front is
    where they are equal. A click selects a bar: the point selection `bin` over the field `low`."""
    bars = (
        alt.Chart(bins)
        .mark_bar(color=OTHER, cursor="pointer")
        .encode(
            x=alt.X("low:Q", title="confidence", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            x2="high:Q",
            y2=alt.datum(0),
            y=alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            tooltip=[
                alt.Tooltip("confidence:Q", title="mean confidence", format=".1%"),
                alt.Tooltip("accuracy:Q", format=".1%"),
                "pictures:Q",
            ],
        )
    )
    middle = alt.Chart(bins.assign(middle=(bins["low"] + bins["high"]) / 2, ink="muted"))
    counts = middle.mark_text(fontSize=12).encode(
        x="middle:Q", y=alt.value(-8), text=alt.Text("pictures:Q", format=","), fill=text_colour()
    )
    line = alt.Chart(pd.DataFrame({"x": [0, 1]})).mark_line(strokeDash=[6, 4], strokeWidth=3, color=HIGHLIGHT)
    selection = alt.selection_point(name="bin", fields=["low"], on="click")
    chart: alt.LayerChart = (bars.add_params(selection) + line.encode(x="x:Q", y="x:Q") + counts).properties(height=340)
    return chart


def per_class(rows: pd.DataFrame) -> alt.Chart:
    """Precision and recall of each class, two dots on a line; the class with the lowest recall first. A click selects a
    dot: the point selection `class` over the field `class`."""
    long = rows.melt(["class", "pictures"], ["precision", "recall"], var_name="measure", value_name="share")
    order = rows.sort_values("recall")["class"].tolist()
    chart: alt.Chart = (
        alt.Chart(long)
        .mark_point(filled=True, size=90, opacity=1, cursor="pointer")
        .encode(
            x=alt.X("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            y=alt.Y("class:N", sort=order, title=None, axis=alt.Axis(labelLimit=170, grid=True)),
            color=alt.Color(
                "measure:N", title=None, scale=alt.Scale(domain=["precision", "recall"], range=[OTHER, HIGHLIGHT]),
                legend=alt.Legend(orient="top"),
            ),
            shape=alt.Shape("measure:N", title=None),
            tooltip=["class:N", "measure:N", alt.Tooltip("share:Q", format=".1%"), "pictures:Q"],
        )
        .add_params(alt.selection_point(name="class", fields=["class"], on="click"))
        .properties(height=120 + 26 * len(order))
    )  # fmt: skip
    return chart


def error_rates(rows: pd.DataFrame, overall: float) -> alt.LayerChart:
    """The error rate of each group with its interval, in the rows' order; `overall`, a dashed line, is that of all pictures.
    A click selects a dot: the point selection `group` over the field `value`."""
    y = alt.Y("value:N", sort=rows["value"].tolist(), title=None, axis=alt.Axis(labelLimit=170, grid=True))
    share = alt.Axis(format="%")
    tooltip = [
        "value:N", "pictures:Q", "errors:Q",
        *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("error rate", "low", "high")),
    ]  # fmt: skip
    base = alt.Chart(rows)
    intervals = base.mark_rule(strokeWidth=2, color=OTHER).encode(
        y=y, x=alt.X("low:Q", title="error rate", axis=share), x2="high:Q"
    )
    dots = (
        base.mark_point(filled=True, size=90, opacity=1, color=HIGHLIGHT, cursor="pointer")
        .encode(y=y, x=alt.X("error rate:Q", scale=alt.Scale(domain=[0, 1])), tooltip=tooltip)
        .add_params(alt.selection_point(name="group", fields=["value"], on="click"))
    )
    line = alt.Chart(pd.DataFrame({"overall": [overall]})).mark_rule(strokeDash=[5, 4]).encode(x="overall:Q")
    chart: alt.LayerChart = (line + intervals + dots).properties(height=70 + 26 * len(rows))
    return chart
