"""Altair charts of the page Failure analysis."""

import altair as alt
import numpy as np
import pandas as pd

from xai_core.app.charts.common import HIGHLIGHT, LINES, QUIET

MOST_POINTS = 400  # of a curve


def risk_coverage(points: pd.DataFrame, best_errors: int, threshold: float, wanted: float) -> alt.LayerChart:
    """The share of wrong answers over the share of answered pictures, the least that any order of these answers has
    (dashed), the wanted error rate (a line), and the chosen threshold (a point, if it is finite).

    points         of `xai_core.failures.risk_coverage`
    best_errors    errors among all pictures
    """
    places = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).round().astype(int))
    count = int(points["answered"].iloc[-1])
    answered = np.unique(np.linspace(1, count, min(count, MOST_POINTS)).round().astype(int))
    best = np.maximum(answered - (count - best_errors), 0) / answered
    curve = points.iloc[places][["coverage", "risk", "threshold", "answered"]]
    x = alt.X("coverage:Q", title="answered", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("risk:Q", title="wrong among the answered", axis=alt.Axis(format="%"))
    told = [
        alt.Tooltip("coverage:Q", title="answered", format=".1%"), alt.Tooltip("risk:Q", title="wrong", format=".1%"),
        alt.Tooltip("threshold:Q", title="from a confidence of", format=".3f"),
    ]  # fmt: skip
    layers = [
        alt.Chart(pd.DataFrame({"coverage": answered / count, "risk": best}))
        .mark_line(color=QUIET, strokeDash=[4, 4])
        .encode(x=x, y=y),
        alt.Chart(curve).mark_line(color=LINES[0]).encode(x=x, y=y, tooltip=told),
        alt.Chart(pd.DataFrame({"risk": [wanted]})).mark_rule(color=QUIET).encode(y=y),
    ]
    chosen = points[points["threshold"] >= threshold].tail(1)
    if len(chosen):
        layers.append(
            alt.Chart(chosen).mark_point(color=HIGHLIGHT, filled=True, size=90, opacity=1).encode(x=x, y=y, tooltip=told)
        )
    chart = alt.LayerChart(layer=layers)
    return chart.properties(height=280)
