"""The Altair charts of pictures as points: a group among all, and the map of pictures as it stands in documents."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
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


def map_of_points(drawn: Mapping[str, Any]) -> alt.Chart:
    """The points as the component on the page draws them: `drawn` is its content (`point_map.content`), read from JSON."""
    rows = pd.DataFrame({"x": drawn["x"], "y": drawn["y"], "answer": np.where(drawn["wrong"], "wrong", "right")})
    title, scale = drawn["title"], alt.Scale(range=drawn["colours"])
    if "texts" in drawn:
        rows["shown"] = [drawn["texts"][place] for place in drawn["colour"]]
        scale = alt.Scale(domain=drawn["texts"], range=drawn["colours"])
        colour: Any = alt.Color("shown:N", scale=scale, title=title, sort=None)
    else:
        rows["shown"] = pd.to_numeric(pd.Series(drawn["value"], dtype=object))
        colour = alt.condition("isValid(datum.shown)", alt.Color("shown:Q", scale=scale, title=title), alt.value(QUIET))
    axis = alt.Axis(labels=False, ticks=False, title=None, grid=False)
    across, up = (alt.Scale(domain=list(ends), nice=False) for ends in drawn["limits"])
    marks = alt.Scale(domain=["right", "wrong"], range=["circle", "triangle-up"])
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_point(filled=True, size=30, opacity=0.8, invalid=None)
        .encode(
            x=alt.X("x:Q", axis=axis, scale=across), y=alt.Y("y:Q", axis=axis, scale=up), color=colour,
            shape=alt.Shape("answer:N", scale=marks, title="answer"),
        )
        .properties(width=560, height=480)
    )  # fmt: skip
    return chart
