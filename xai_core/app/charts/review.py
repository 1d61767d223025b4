"""Altair charts of a review: how far people agree, and who agrees with whom. The page has the same figures as tables."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from xai_core.app.charts.common import LINES, QUIET, STRONG, SVG, text_colour

ROW = 13  # pixels for one coefficient
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross")


def coefficients(lines: pd.DataFrame, verdicts: Sequence[str], names: Sequence[str]) -> alt.LayerChart:
    """Coefficients of agreement with their intervals, a group of marks for each verdict. `lines` has `verdict`,
    `coefficient`, `value`, `low`, `high` and `text` (the value in words); `verdicts` and `names` give the order."""
    present = lines.dropna(subset="value")
    low = float(present[["value", "low"]].min().min()) if len(present) else 0.0
    base = alt.Chart(present).encode(
        y=alt.Y(
            "verdict:N", sort=list(verdicts), title=None, scale=alt.Scale(paddingInner=0.25),
            axis=alt.Axis(labelLimit=150, ticks=False, domain=False, labelOverlap=False),
        ),
        yOffset=alt.YOffset("coefficient:N", sort=list(names)),
        color=alt.Color("coefficient:N", sort=list(names), scale=alt.Scale(domain=list(names), range=list(LINES)),
                        legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=220)),
        tooltip=["verdict:N", "coefficient:N", alt.Tooltip("text:N", title="value and 95 % interval")],
    )  # fmt: skip
    x = alt.X("value:Q", title="agreement", scale=alt.Scale(domain=[min(0.0, low), 1.0]), axis=alt.Axis(format=".2~f"))
    intervals = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="agreement"), x2="high:Q", opacity=alt.value(0.8)
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=x, shape=alt.Shape("coefficient:N", sort=list(names), scale=alt.Scale(domain=list(names), range=list(SHAPES)))
    )
    chance = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(color=QUIET, strokeDash=[4, 3]).encode(x="value:Q")
    rows = max(1, present["verdict"].nunique())
    chart: alt.LayerChart = (chance + intervals + points).properties(height=round(ROW * len(names) * 1.25) * rows + 150)
    return chart


def people(lines: pd.DataFrame, names: Sequence[str], measure: str, signed: bool) -> alt.LayerChart:
    """Who agrees with whom, as numbers in cells. `lines` has `first`, `second`, `value` (None is a dash), `text` and
    `pictures` for every two people; `signed`: the values go from -1 to 1 and not from 0 to 1."""
    both = pd.concat([lines, lines.rename(columns={"first": "second", "second": "first"})])
    strength = both["value"].astype(float).fillna(0).abs()
    both["ink"] = ["paper" if value > STRONG else "ink" for value in strength]
    axis = alt.Axis(title=None, labelLimit=130, ticks=False, domain=False, labelOverlap=False)
    base = alt.Chart(both).encode(
        x=alt.X("second:N", sort=list(names), axis=axis), y=alt.Y("first:N", sort=list(names), axis=axis)
    )
    scale = alt.Scale(range="diverging", domain=[-1, 1]) if signed else alt.Scale(range="ramp", domain=[0, 1])
    cells = base.mark_rect().encode(
        color=alt.Color("value:Q", scale=scale, legend=None),  # each cell shows its number
        tooltip=["first:N", "second:N", alt.Tooltip("text:N", title=measure), alt.Tooltip("pictures:Q", title="pictures")],
    )
    numbers = base.mark_text(fontSize=11).encode(text="text:N", fill=text_colour())
    side = max(130, 40 * len(names))
    chart: alt.LayerChart = (cells + numbers).properties(height=side + 130, width=side + 150, usermeta=SVG)
    return chart
