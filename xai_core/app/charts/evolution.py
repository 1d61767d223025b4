"""Altair charts of a training: every sample's predicted class, epoch by epoch, with measures beside and curves above."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from xai_core.app.charts.common import HIGHLIGHT, LINES, OTHER, QUIET, SVG
from xai_core.training.dynamics.analysis import MISSING, Groups, RecordedRun

ROWS = 160  # groups of samples that one chart shows at most: 50 epochs of them are 8,000 cells
COLOURS = 10  # classes that have a colour of their own
# Okabe and Ito's colours and three more, the most common class first: any two also differ for people who lack one kind of
# cone.
PALETTE = ["#0072b2", "#e69f00", "#56b4e9", "#d55e00", "#f0e442", "#009e73", "#cc79a7", "#57606c", "#a0522d", "#550077"]
REST, NOTHING = "(other classes)", "not recorded"
GREY, PALE = "#b8bec5", "#eef0f2"
VERDICTS = {"right": OTHER, "wrong": HIGHLIGHT, NOTHING: PALE}
STATES = {
    "both right": "#9fb4c7",
    "only the first": OTHER,
    "only the second": HIGHLIGHT,
    "neither": "#5b4a63",
    NOTHING: PALE,
}
CURVES = {"training": QUIET, "held out": LINES[0], "the samples": HIGHLIGHT}
CURVE_TITLES = {
    "train_loss": ("training", "loss"),
    "validation_loss": ("held out", "loss"),
    "train_accuracy": ("training", "accuracy"),
    "validation_accuracy": ("held out", "accuracy"),
}


class Bars(NamedTuple):
    """A measure of each row, drawn beside it: its title, the values from 0 to `top`, the tooltip's text for each, and the
    number format of the axis."""

    title: str
    values: Sequence[float]
    texts: Sequence[str]
    top: float = 1.0
    form: str = "%"


def colours_of(run: RecordedRun, most: int = COLOURS) -> dict[str, str]:
    """A colour for each class, the most often predicted first; where there are more than `most`, the others share a grey."""
    counts = np.bincount(run.predicted[run.predicted != MISSING], minlength=len(run.classes))
    order = range(len(run.classes)) if len(run.classes) <= most else np.argsort(-counts, kind="stable")
    coloured = [run.classes[index] for index in order][: most if len(run.classes) <= most else most - 1]
    colours = dict(zip(coloured, PALETTE, strict=False))
    holes = (run.predicted == MISSING).any()
    return colours | ({REST: GREY} if len(run.classes) > len(coloured) else {}) | ({NOTHING: PALE} if holes else {})


def cells_of_classes(run: RecordedRun, groups: Groups, names: Sequence[str], colours: dict[str, str]) -> pd.DataFrame:
    """A row for each cell of the heatmap: `row` and its `name`, `epoch`, `colour` (a key of `colours`), `full` (the class),
    `strength` (the opacity, in [0, 1]) and `text`: the confidence of single samples, else the share of a group."""
    row, column = np.indices(groups.predicted.shape)
    known = [*run.classes, NOTHING]  # -1 is the last
    full = np.array(known, dtype=object)[groups.predicted]
    sizes = np.diff(groups.starts)
    share = groups.share
    if (sizes == 1).all():
        confidence = run.confidence
        text = np.where(np.isnan(confidence), "unknown", np.char.add(np.char.mod("%.1f", 100 * confidence), "%"))
    else:
        text = np.char.add(np.char.mod("%.0f", 100 * share), "%")
    return pd.DataFrame(
        {
            "row": row.ravel(),
            "name": np.array(names, dtype=object)[row.ravel()],
            "epoch": run.epochs[column.ravel()].astype(str),
            "full": full.ravel(),
            "colour": [name if name in colours else REST for name in full.ravel()],
            "strength": np.where(sizes[:, None] == 1, 1.0, 0.25 + 0.75 * share).ravel(),
            "text": text.ravel(),
        }
    )


def cells_of_two(first: RecordedRun, second: RecordedRun, groups: Groups, names: Sequence[str]) -> pd.DataFrame:
    """As `cells_of_classes`, for which of two runs is right (a key of STATES); in a group, the state of most samples
    that both runs recorded."""
    one, two = (run.predicted == run.true[:, None] for run in (first, second))
    state = np.select([one & two, one, two], [0, 1, 2], 3)
    state[(first.predicted == MISSING) | (second.predicted == MISSING)] = 4
    rows, shares = [], []
    for low, high in zip(groups.starts[:-1], groups.starts[1:], strict=True):
        counts = np.stack([(state[low:high] == kind).sum(0) for kind in range(4)])
        recorded = counts.sum(0)
        rows.append(np.where(recorded > 0, counts.argmax(0), 4))
        shares.append(counts.max(0) / np.maximum(recorded, 1))
    states, share = np.array(rows), np.array(shares)
    row, column = np.indices(states.shape)
    words = np.array(list(STATES), dtype=object)[states].ravel()
    return pd.DataFrame(
        {
            "row": row.ravel(),
            "name": np.array(names, dtype=object)[row.ravel()],
            "epoch": first.epochs[column.ravel()].astype(str),
            "full": words,
            "colour": words,
            "strength": np.where(np.diff(groups.starts)[:, None] == 1, 1.0, 0.25 + 0.75 * share).ravel(),
            "text": np.char.add(np.char.mod("%.0f", 100 * share), "%").ravel(),
        }
    )


def heatmap(
    cells: pd.DataFrame,
    colours: dict[str, str],
    bars: Sequence[Bars],
    curves: Sequence[alt.Chart],
    *,
    text_title: str,
    width: int,
) -> alt.ConcatChart:
    """One row for each sample or group, one column for each epoch; the bars stand beside its rows, the first of the curves
    above its columns and the others below. A click selects a row: the point selection `row` over the field `row`.

    `text_title` names the cells' `text` in the tooltip. Rows and bars, and columns and curves, have common axes.
    """
    count = int(cells["row"].max()) + 1
    height = int(np.clip(count * (16 if count <= 40 else 4), 120, 640))
    across = alt.X("epoch:O", sort=None, title="epoch", axis=alt.Axis(labelOverlap="parity", labelAngle=0, domain=False))
    down = alt.Y("row:O", axis=None, scale=alt.Scale(paddingInner=0.08 if count <= 40 else 0))
    names = alt.Y(
        "row:O",
        title=None,
        scale=alt.Scale(paddingInner=0.08 if count <= 40 else 0),
        axis=alt.Axis(
            labelExpr=_labels(cells),
            labelLimit=150,
            ticks=False,
            domain=False,
            labelPadding=6,
            labelOverlap="greedy" if count > 40 else False,
        ),
    )
    legend = alt.Legend(orient="bottom", columns=6, title=None, symbolType="square")
    main = (
        alt.Chart(cells)
        .mark_rect(cursor="pointer")
        .encode(
            x=across,
            y=names,
            color=alt.Color("colour:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())), legend=legend),
            opacity=alt.Opacity("strength:Q", scale=None, legend=None),
            tooltip=["name:N", "epoch:O", alt.Tooltip("full:N", title="predicted"), alt.Tooltip("text:N", title=text_title)],
        )
        .add_params(alt.selection_point(name="row", fields=["row"], on="click"))
        .properties(width=width, height=height)
    )
    beside = [_bars(one, down, height) for one in bars]
    nothing = alt.Chart(pd.DataFrame({"x": [0]})).mark_point(opacity=0, aria=False)
    empty = [nothing.properties(width=70, height=20) for _ in bars]
    above, *below = (curve.properties(width=width, height=110) for curve in curves)
    under = [chart for curve in below for chart in (curve, *empty)]
    chart: alt.ConcatChart = (
        alt.concat(above, *empty, main, *beside, *under, columns=1 + len(bars), spacing={"row": 8, "column": 10})
        .resolve_scale(color="independent", opacity="independent", y="independent", x="independent")
        .configure_view(stroke=None)
    )
    chart.usermeta = SVG
    return chart


def _labels(cells: pd.DataFrame) -> str:
    """A Vega expression: the name of a row by its number."""
    names = cells.drop_duplicates("row").sort_values("row")["name"].tolist()
    return f"{json.dumps(names)}[datum.value]"


def _bars(bars: Bars, down: alt.Y, height: int) -> alt.Chart:
    rows = pd.DataFrame({"row": range(len(bars.values)), "value": np.asarray(bars.values, float), "text": bars.texts})
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_bar(color=OTHER)
        .encode(
            x=alt.X(
                "value:Q",
                title=None,
                scale=alt.Scale(domain=[0, bars.top], nice=False),
                axis=alt.Axis(format=bars.form, values=[0, bars.top], domain=False),
            ),
            y=down,
            tooltip=[alt.Tooltip("text:N", title=bars.title)],
        )
        .properties(width=70, height=height, title=alt.TitleParams(bars.title, fontSize=11, fontWeight="normal", offset=4))
    )
    return chart


def losses(runs: Sequence[RecordedRun]) -> list[alt.Chart]:
    """The losses of each run on axes of its own: those of two runs may be of different kinds."""
    if len(runs) == 1:
        return [curves(runs, "loss")]
    return [curves(runs, "loss", only=run) for run in runs if _recorded(run, "loss")]


def _recorded(run: RecordedRun, kind: str) -> list[str]:
    """The columns of the recorded curves that hold `kind`."""
    return [name for name, (_, what) in CURVE_TITLES.items() if what == kind and name in run.curves]


def curves(runs: Sequence[RecordedRun], kind: str, only: RecordedRun | None = None) -> alt.Chart:
    """Loss or accuracy (`kind`) of one run or two, or of `only` one of the two, over the epochs of the first; the second
    run's lines are dashed.

    The accuracy of the recorded samples is counted from the run itself.
    """
    parts = []
    for run in runs if only is None else [only]:
        for name in _recorded(run, kind):
            part = run.curves[["epoch", name]].rename(columns={name: "value"})
            parts.append(part.assign(curve=CURVE_TITLES[name][0], run=run.title))
        if kind == "accuracy":
            counted = pd.DataFrame({"epoch": run.epochs, "value": run.accuracies})
            parts.append(counted.assign(curve="the samples", run=run.title))
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["epoch", "value", "curve", "run"])
    rows = rows.dropna(subset="value").assign(epoch=lambda table: table["epoch"].astype(str))
    order = [str(epoch) for epoch in runs[0].epochs]
    rows = rows[rows["epoch"].isin(order)]
    present = [name for name in CURVES if name in set(rows["curve"])]
    form = ".0%" if kind == "accuracy" else ".2~f"
    dash = alt.StrokeDash(
        "run:N",
        scale=alt.Scale(domain=[run.title for run in runs]),
        legend=alt.Legend(title=None, orient="top", offset=2) if len(runs) > 1 else None,
    )
    chart: alt.Chart = (
        alt.Chart(rows)
        .mark_line(point=len(order) < 4, strokeWidth=1.8)
        .encode(
            x=alt.X(
                "epoch:O", sort=order, scale=alt.Scale(domain=order), title=None, axis=alt.Axis(labels=False, ticks=False)
            ),
            y=alt.Y("value:Q", title=kind, scale=alt.Scale(zero=False), axis=alt.Axis(format=form, tickCount=4)),
            color=alt.Color(
                "curve:N",
                title=None,
                scale=alt.Scale(domain=present, range=[CURVES[name] for name in present]),
                legend=alt.Legend(orient="top", offset=2),
            ),
            strokeDash=dash,
            tooltip=["run:N", "curve:N", "epoch:O", alt.Tooltip("value:Q", title=kind, format=".3f")],
        )
    )
    return chart


def path_of(run: RecordedRun, index: int, colours: dict[str, str]) -> alt.LayerChart:
    """One sample over the epochs: the height is the confidence, the colour the predicted class; right predictions are
    filled."""
    recorded = run.predicted[index] != MISSING
    full = np.array([*run.classes, NOTHING], dtype=object)[run.predicted[index]]
    rows = pd.DataFrame(
        {
            "epoch": run.epochs.astype(str),
            "predicted": full,
            "colour": [name if name in colours else REST for name in full],
            "confidence": run.confidence[index].astype(float),
            "right": run.predicted[index] == run.true[index],
        }
    )[recorded]
    if rows["confidence"].isna().all():
        rows["confidence"] = 1.0
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    base = alt.Chart(rows).encode(
        x=alt.X("epoch:O", sort=None, axis=alt.Axis(labelOverlap="parity", labelAngle=0)),
        y=alt.Y("confidence:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=3)),
    )
    line = base.mark_line(color=QUIET, strokeWidth=1)
    points = base.mark_point(size=80, strokeWidth=2).encode(
        stroke=alt.Stroke("colour:N", scale=scale, legend=None),
        fill=alt.condition("datum.right", alt.Fill("colour:N", scale=scale, legend=None), alt.value("transparent")),
        tooltip=["epoch:O", "predicted:N", alt.Tooltip("confidence:Q", format=".1%"), "right:N"],
    )
    chart: alt.LayerChart = (line + points).properties(height=150)
    return chart
