"""Altair charts of where a classifier goes wrong. Selections have a select box beside them on the page."""

import altair as alt
import numpy as np
import pandas as pd

from xai_core.charts import ASKED, OTHER, QUIET
from xai_core.confusion import Confusion

NUMBERS = 24  # classes up to which every cell says its number


def confusion_matrix(
    found: Confusion, *, rates: bool, dim_diagonal: bool, other: Confusion | None = None, titles: tuple[str, str] = ("", "")
) -> alt.LayerChart:
    """True classes down, predictions across; colour is the logarithm of the count, or of the share of the row.

    With `other` (over the same classes) it is the difference instead: this minus the other one, diverging about zero. A
    click selects a cell: the point selection `cell` over the fields `true` and `predicted`.
    """
    values = (found.rates if rates else found.counts).astype(float)
    signed = other is not None
    if signed:
        values = values - (other.rates if rates else other.counts)
    down, across = np.indices(values.shape)
    rows = pd.DataFrame(
        {
            "true": [found.classes[index] for index in down.ravel()],
            "predicted": [found.classes[index] for index in across.ravel()],
            "pictures": found.counts.ravel(),
            "value": values.ravel(),
            "right": (down == across).ravel(),
            "said": [_said(value, rates, signed) for value in values.ravel()],
        }
    )
    rows = rows[rows["true"].isin([name for name, total in zip(found.classes, found.counts.sum(1), strict=True) if total])]
    rows = rows[rows["value"] != 0]  # nothing is not a little: such cells stay empty
    largest = float(np.nanmax(np.abs(values), initial=0)) or 1.0
    rows["strong"] = rows["value"].abs() > (0.55 * largest if signed else largest ** (2 / 3) if not rates else 0.35)
    axis = {"labelLimit": 150, "ticks": False, "domain": False, "labelOverlap": False, "grid": True, "bandPosition": 1}
    base = alt.Chart(rows).encode(
        x=alt.X("predicted:N", sort=list(found.classes), title="predicted", axis=alt.Axis(**axis, labelAngle=-45)),
        y=alt.Y("true:N", sort=list(found.classes), title="true", axis=alt.Axis(**axis)),
    )
    if signed:
        scale = alt.Scale(scheme="purpleorange", domain=[-largest, largest], domainMid=0)
    else:  # zero has a logarithm too
        scale = alt.Scale(type="symlog", constant=0.01 if rates else 1, scheme="blues", domain=[0, 1 if rates else largest])
    faded = alt.condition("datum.right", alt.value(0.15), alt.value(1.0)) if dim_diagonal else alt.value(1.0)
    words = f"{titles[0]} minus {titles[1]}" if signed else "share of the true class" if rates else "pictures"
    cells = base.mark_rect(cursor="pointer").encode(
        color=alt.Color("value:Q", scale=scale, title=words, legend=alt.Legend(orient="bottom", format="~g")),
        opacity=faded,
        tooltip=["true:N", "predicted:N", "pictures:Q", alt.Tooltip("said:N", title=words)],
    )
    layers = cells.add_params(alt.selection_point(name="cell", fields=["true", "predicted"], on="click"))
    if len(found.classes) <= NUMBERS:
        white = "datum.strong && !datum.right" if dim_diagonal else "datum.strong"
        numbers = base.mark_text(fontSize=11).encode(
            text="said:N", color=alt.condition(white, alt.value("white"), alt.value("#26323d"))
        )  # fmt: skip
        layers = layers + numbers
    cell = 34 if len(found.classes) <= NUMBERS else 15
    down = rows["true"].nunique()
    return layers.properties(width=cell * max(len(found.classes), 6) + 170, height=cell * max(down, 3) + 230)


def _said(value: float, rates: bool, signed: bool) -> str:
    if np.isnan(value):
        return "–"
    sign = "+" if signed and value > 0 else ""
    return f"{sign}{value:.0%}" if rates else f"{sign}{value:,.0f}"


def calibration(bins: pd.DataFrame) -> alt.LayerChart:
    """Accuracy against confidence, one bar for each bin; the dashed line is where they are equal."""
    bars = (
        alt.Chart(bins)
        .mark_bar(color=OTHER, opacity=0.85)
        .encode(
            x=alt.X("low:Q", title="confidence", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            x2="high:Q",
            y=alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            tooltip=[
                alt.Tooltip("confidence:Q", title="mean confidence", format=".1%"),
                alt.Tooltip("accuracy:Q", format=".1%"),
                "pictures:Q",
            ],
        )
    )
    line = alt.Chart(pd.DataFrame({"x": [0, 1]})).mark_line(strokeDash=[4, 4], color=QUIET).encode(x="x:Q", y="x:Q")
    return (bars + line).properties(height=260)


def per_class(rows: pd.DataFrame) -> alt.Chart:
    """Precision and recall of each class, two dots on a line; the class with the lowest recall first."""
    long = rows.melt(["class", "pictures"], ["precision", "recall"], var_name="measure", value_name="share")
    order = rows.sort_values("recall")["class"].tolist()
    return (
        alt.Chart(long)
        .mark_point(filled=True, size=70)
        .encode(
            x=alt.X("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            y=alt.Y("class:N", sort=order, title=None, axis=alt.Axis(labelLimit=170, grid=True)),
            color=alt.Color(
                "measure:N", title=None, scale=alt.Scale(domain=["precision", "recall"], range=[OTHER, ASKED]),
                legend=alt.Legend(orient="top"),
            ),
            shape=alt.Shape("measure:N", title=None, legend=None),
            tooltip=["class:N", "measure:N", alt.Tooltip("share:Q", format=".1%"), "pictures:Q"],
        )
        .properties(height=70 + 26 * len(order))
    )  # fmt: skip
