"""The Altair chart of a map of embeddings."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from xai_core.app.charts.common import HIGHLIGHT, OTHER, QUIET

# Colours of up to ten texts, each with a contrast of at least 3:1 on light and on dark; they repeat no meaning, because
# the shape of a point says whether the answer is right.
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8f63c9", "#a0703c", "#6b8e23", "#d9416f", "#4f8a8b", "#8a7f00",
)  # fmt: skip
OTHERS = "(others)"
OUTSIDE = "in no confirmed group"
COLUMNS = "width < 500 ? 1 : 4"  # of the legend: names of groups are long
HEIGHT = 520
Range = tuple[float, float]


def embedding_map(
    rows: pd.DataFrame, title: str, limits: tuple[Range, Range], chosen: tuple[Range, Range] | None = None
) -> alt.LayerChart:
    """A point for each picture: `rows` have `x` and `y` within -1 and 1, `path`, `true`, `predicted`, `confidence`, `answer`
    (right or wrong: the shape), and `colour`, texts or numbers, which `title` names. Of more than ten texts the nine most
    frequent have a colour each. `limits` are those of the axes (across, up); the part `chosen` of the map is outlined.

    Dragging selects a part: the interval selection `box` over x and y. A click selects a point: the point selection
    `picture` over `path`.
    """
    numbers = pd.api.types.is_float_dtype(rows["colour"])
    texts = sorted(rows["colour"].unique(), key=lambda text: (text == OUTSIDE, text)) if not numbers else []
    if len(texts) > len(COLOURS):
        kept = rows["colour"].value_counts().index[: len(COLOURS) - 1]
        rows = rows.assign(colour=rows["colour"].where(rows["colour"].isin(kept), OTHERS))
        texts = [*sorted(kept), OTHERS]
    rows = rows.sort_values("answer", kind="stable")  # wrong ones are drawn above right ones
    axis = alt.Axis(tickCount=5, title=None, grid=False)
    x, y = (_channel(ends, axis) for ends in limits)
    points = (
        alt.Chart(rows)
        .mark_point(filled=True, size=44, opacity=0.8, cursor="pointer", stroke=QUIET, strokeWidth=0.5)
        .encode(
            x=alt.X("x:Q", **x),
            y=alt.Y("y:Q", **y),
            color=_colour(numbers, texts, title),
            shape=alt.Shape(
                "answer:N", scale=alt.Scale(domain=["right", "wrong"], range=["circle", "triangle-up"]),
                legend=alt.Legend(title="answer", orient="top", symbolStrokeWidth=0, symbolFillColor=QUIET),
            ),
            tooltip=[
                "path:N", "true:N", "predicted:N", alt.Tooltip("confidence:Q", format=".0%"),
                alt.Tooltip("colour:Q" if numbers else "colour:N", title=title),
            ],
        )
        .add_params(
            alt.selection_interval(name="box", encodings=["x", "y"]),
            alt.selection_point(name="picture", fields=["path"], on="click"),
        )
    )  # fmt: skip
    layers = [points]
    if chosen is not None:
        (left, right), (bottom, top) = (np.clip(part, *ends) for part, ends in zip(chosen, limits, strict=True))
        part = pd.DataFrame({"x": [left], "x2": [right], "y": [bottom], "y2": [top]})
        outline = alt.Chart(part).mark_rect(fillOpacity=0, stroke=QUIET, strokeWidth=2, strokeDash=[5, 4])
        layers.append(outline.encode(x=alt.X("x:Q", **x), x2="x2:Q", y=alt.Y("y:Q", **y), y2="y2:Q"))
    chart: alt.LayerChart = alt.LayerChart(layer=layers).properties(height=HEIGHT)
    return chart


def _channel(ends: Range, axis: alt.Axis) -> dict[str, Any]:
    return {"scale": alt.Scale(domain=list(ends), nice=False, padding=12), "axis": axis}


def _colour(numbers: bool, texts: list[str], title: str) -> Any:
    """The channel of the colour. What is not known of a number is grey."""
    if numbers:
        channel = alt.Color("colour:Q", title=title, scale=alt.Scale(scheme="viridis"), legend=alt.Legend(orient="bottom"))
        return alt.when("isValid(datum.colour)").then(channel).otherwise(alt.value(QUIET))
    known = {"right": OTHER, "wrong": HIGHLIGHT, OTHERS: QUIET, OUTSIDE: QUIET}
    free = iter(COLOURS)
    colours = [known.get(text) or next(free) for text in texts]
    return alt.Color(
        "colour:N", title=title, scale=alt.Scale(domain=texts, range=colours),
        legend=alt.Legend(orient="bottom", columns=alt.ExprRef(expr=COLUMNS), labelLimit=280, symbolStrokeWidth=0),
    )  # fmt: skip
