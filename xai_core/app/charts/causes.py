"""Altair charts of what hiding a region does, and of what changes mend. The page has the same figures as tables."""

import altair as alt
import pandas as pd

from xai_core.app.charts.common import HIGHLIGHT, QUIET, RIVAL

ROW = 34  # pixels for one change: two bars


def margins(errors: pd.DataFrame) -> alt.LayerChart:
    """How much the margin of the wrong answer falls when the region is hidden, against the mean over random regions: a point
    for each error, above the line where the region does more.

    `errors` has `path`, `region margin`, `random margin`, `mended` (yes or no). A click selects a point: the point selection
    `error` over the field `path`.
    """
    values = errors[["region margin", "random margin"]].to_numpy()
    low, high = float(min(values.min(), 0.0)), float(max(values.max(), 0.0))
    room = 0.05 * (high - low)
    low, high = low - room, high + room
    scale = alt.Scale(domain=[low, high], nice=True)
    base = alt.Chart(errors).encode(
        x=alt.X("random margin:Q", title="fall of the margin: random regions (mean)", scale=scale),
        y=alt.Y("region margin:Q", title="fall of the margin: the region", scale=scale),
    )
    points = base.mark_point(filled=True, size=70, opacity=0.85, cursor="pointer").encode(
        color=alt.Color(
            "mended:N", title="mended", scale=alt.Scale(domain=["yes", "no"], range=[HIGHLIGHT, RIVAL]),
            legend=alt.Legend(orient="bottom"),
        ),
        shape=alt.Shape(
            "mended:N", title="mended", scale=alt.Scale(domain=["yes", "no"], range=["circle", "square"]),
            legend=alt.Legend(orient="bottom"),
        ),
        tooltip=[
            alt.Tooltip("path:N", title="picture"),
            alt.Tooltip("region margin:Q", title="the region", format=".2f"),
            alt.Tooltip("random margin:Q", title="random regions", format=".2f"),
            alt.Tooltip("mended:N"),
        ],
    ).add_params(alt.selection_point(name="error", fields=["path"], on="click"))  # fmt: skip
    line = pd.DataFrame({"x": [low, high], "y": [low, high]})
    equal = alt.Chart(line).mark_line(color=QUIET, strokeDash=[4, 3]).encode(x="x:Q", y="y:Q")
    chart: alt.LayerChart = (equal + points).properties(height=340)
    return chart


def changes(table: pd.DataFrame) -> alt.LayerChart:
    """For each change the share of errors that it mends and of right pictures that it breaks, with intervals.

    `table` has `change`, `what` ('errors mended' or 'right ones broken'), `share`, `low`, `high`, `count` and `whole`. A
    click selects a bar: the point selection `change` over the fields `change` and `what`.
    """
    order = list(dict.fromkeys(table["change"]))
    whats = ["errors mended", "right ones broken"]
    base = alt.Chart(table).encode(
        y=alt.Y("change:N", sort=order, title=None, scale=alt.Scale(paddingInner=0.3),
                axis=alt.Axis(labelLimit=170, ticks=False, domain=False, labelOverlap=False)),
        yOffset=alt.YOffset("what:N", sort=whats),
        tooltip=[
            alt.Tooltip("change:N"), alt.Tooltip("what:N"), alt.Tooltip("count:Q"), alt.Tooltip("whole:Q", title="of"),
            alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("low:Q", format=".1%"), alt.Tooltip("high:Q", format=".1%"),
        ],
    )  # fmt: skip
    bars = base.mark_bar(cursor="pointer").encode(
        x=alt.X("share:Q", title="share, and its interval",
                scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)),
        color=alt.Color("what:N", scale=alt.Scale(domain=whats, range=[RIVAL, HIGHLIGHT]),
                        legend=alt.Legend(title=None, orient="bottom", columns=1)),
    ).add_params(alt.selection_point(name="change", fields=["change", "what"], on="click"))  # fmt: skip
    intervals = base.mark_rule(strokeWidth=2, color=QUIET).encode(x=alt.X("low:Q"), x2="high:Q")
    chart: alt.LayerChart = (bars + intervals).properties(height=ROW * len(order) + 130)
    return chart
