"""Altair charts of one image's measurements: bars beside controls, curves, and a picture on which a box can be drawn."""

import textwrap
from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from xai_core.app.charts.common import HIGHLIGHT, LINES, LOST, OTHER, QUIET, SVG, text_colour

DASHES = ((1, 0), (8, 3), (8, 3, 2, 3))  # more lines than colours repeat these dashed
CONTROL_DASH = (3, 3)
LETTERS = 26  # of a map's name in one line beside its bar: the settings of a variant stand at the end of its name


def score_bars(scores: pd.DataFrame) -> alt.LayerChart:
    """One metric of every map: `scores` has the columns name, value, control (bool), beats and note.

    Controls are dashed rules across the bars. The bar of a map that `beats` every control is orange; that of one that does
    not is blue, and its number has a mark; where there is nothing to compare (None) the bar is grey.
    """
    maps, controls = scores[~scores.control], scores[scores.control]
    maps = maps.assign(
        text=[f"{value:.3f}{LOST * (beats is False)}" for value, beats in zip(maps.value, maps.beats, strict=True)],
        colour=[{True: HIGHLIGHT, False: OTHER}.get(beats, QUIET) for beats in maps.beats],
        ink="muted",
        label=[textwrap.fill(name, LETTERS) for name in maps.name],
    )
    axis = alt.Axis(labelLimit=150, labelOverlap=False, labelExpr="split(datum.label, '\\n')", ticks=False, domain=False)
    y = alt.Y("label:N", sort=None, title=None, axis=axis)
    x = alt.X("value:Q", title=None, axis=alt.Axis(tickCount=4, format="~g"))
    tooltip = [alt.Tooltip("name:N"), alt.Tooltip("value:Q", format=".4g"), alt.Tooltip("note:N")]
    base = alt.Chart(maps).encode(y=y, x=x, tooltip=tooltip)
    bars = base.mark_bar(height={"band": 0.65}).encode(color=alt.Color("colour:N", scale=None, legend=None))
    numbers = base.mark_text(align="left", dx=4).encode(text="text:N", fill=text_colour())
    rules = alt.Chart(controls).mark_rule(strokeDash=list(CONTROL_DASH), color=QUIET, size=1.5).encode(x=x, tooltip=tooltip)
    lines = maps["label"].str.count("\n").max() + 1 if len(maps) else 1
    chart: alt.LayerChart = (bars + rules + numbers).properties(height=(12 * lines + 14) * max(1, len(maps)) + 36)
    return chart


def styles(names: Sequence[str], controls: Sequence[bool]) -> tuple[list[str], list[list[int]]]:
    """A colour and a dash for each line: controls are grey and finely dashed."""
    colours, dashes, place = [], [], 0
    for control in controls:
        colours.append(QUIET if control else LINES[place % len(LINES)])
        dash = CONTROL_DASH if control else DASHES[place // len(LINES) % len(DASHES)]
        dashes.append(list(dash))
        place += not control
    return colours, dashes


def curves(points: pd.DataFrame, axes: tuple[str, str], chosen: tuple[str, int] | None) -> alt.LayerChart:
    """Curves of several maps: `points` has the columns name (with its area), control, step, x and y; `axes` their titles.

    A click selects the nearest point: the selection `pick` over the fields `name` and `step`. A ring marks the point
    `chosen` (its name and step).
    """
    lines = points.drop_duplicates("name")
    colours, dashes = styles(list(lines.name), list(lines.control))
    share = points.x.max() <= 1
    x = alt.X("x:Q", title=axes[0], axis=alt.Axis(format="%" if share else "~g"))
    y = alt.Y("y:Q", title=axes[1])
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=330, symbolStrokeWidth=2)
    domain = list(lines.name)
    base = alt.Chart(points).encode(
        x=x,
        y=y,
        color=alt.Color("name:N", scale=alt.Scale(domain=domain, range=colours), legend=legend),
        strokeDash=alt.StrokeDash("name:N", scale=alt.Scale(domain=domain, range=dashes), legend=legend),
        tooltip=["name:N", alt.Tooltip("x:Q", title=axes[0], format=".1%"), alt.Tooltip("y:Q", title=axes[1], format=".4f")],
    )
    pick = alt.selection_point(name="pick", fields=["name", "step"], on="click", nearest=True)
    dots = base.mark_point(filled=True, size=34, opacity=0.75).encode(strokeDash=alt.value([1, 0])).add_params(pick)
    layers = base.mark_line(strokeWidth=2) + dots
    if chosen is not None:
        point = points[(points.name == chosen[0]) & (points.step == chosen[1])]
        layers += alt.Chart(point).mark_point(size=190, strokeWidth=3, color=HIGHLIGHT).encode(x=x, y=y)
    chart: alt.LayerChart = layers.properties(height=380, usermeta=SVG)
    return chart


def curve_points(curves_of: Mapping[str, np.ndarray], controls: Sequence[str]) -> pd.DataFrame:
    """Curves (n, 2), by their names, as the table that `curves` draws; `controls` are the names of those that are dashed."""
    rows = [
        {"name": name, "control": name in controls, "step": step, "x": x, "y": y}
        for name, curve in curves_of.items()
        for step, (x, y) in enumerate(curve.tolist())
    ]
    return pd.DataFrame(rows, columns=["name", "control", "step", "x", "y"])
