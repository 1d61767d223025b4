"""The Altair chart of a group of pictures among all."""

import altair as alt
import pandas as pd

from xai_core.app.charts.common import HIGHLIGHT, QUIET, RIVAL

OUTSIDE, RIGHT, WRONG = "outside the group", "in the group, right", "in the group, wrong"
KINDS = {OUTSIDE: (QUIET, 12, 0.35, "circle"), RIGHT: (RIVAL, 40, 0.9, "circle"), WRONG: (HIGHLIGHT, 40, 0.9, "triangle-up")}


def place_of_group(rows: pd.DataFrame) -> alt.LayerChart:
    """A point for each picture: `rows` have `x` and `y`, `path`, `true`, `predicted`, and `picture`, one of KINDS. Colour
    and shape tell them apart; those outside the group are small and lie below."""
    axis = alt.Axis(labels=False, ticks=False, title=None, grid=False)
    layers = []
    for kind, (_, size, opacity, _) in KINDS.items():
        layers.append(
            alt.Chart(rows[rows["picture"] == kind])
            .mark_point(filled=True, size=size, opacity=opacity)
            .encode(
                x=alt.X("x:Q", axis=axis),
                y=alt.Y("y:Q", axis=axis),
                color=alt.Color(
                    "picture:N", scale=alt.Scale(domain=list(KINDS), range=[colour for colour, *_ in KINDS.values()]),
                    legend=alt.Legend(title=None, orient="bottom", columns=1, symbolOpacity=1),
                ),
                shape=alt.Shape(
                    "picture:N", scale=alt.Scale(domain=list(KINDS), range=[shape for *_, shape in KINDS.values()]),
                ),
                tooltip=["path:N", "true:N", "predicted:N", "picture:N"],
            )
        )  # fmt: skip
    chart: alt.LayerChart = alt.LayerChart(layer=layers).properties(height=300)
    return chart
