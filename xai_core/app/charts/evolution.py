"""Altair charts of a training: every sample's predicted class, epoch by epoch, with measures beside and curves above."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from xai_core.app.charts.common import HIGHLIGHT, OTHER, QUIET, SVG, text_colour
from xai_core.training.dynamics.analysis import MISSING, STABLE, Groups, RecordedRun, changed
from xai_core.training.dynamics.figure import CURVES, NOTHING, PALE, REST, unbroken

ROWS = 160  # groups of samples that one chart shows at most: 50 epochs of them are 8,000 cells
VERDICTS = {"right": OTHER, "wrong": HIGHLIGHT, NOTHING: PALE}
STATES = {
    "both right": "#9fb4c7",
    "only the first": OTHER,
    "only the second": HIGHLIGHT,
    "neither": "#5b4a63",
    NOTHING: PALE,
}
LOSS_TITLES = {"train_loss": "training loss", "validation_loss": "held-out loss"}
SAMPLES, CHANGED = "accuracy of the samples", "changed predictions of the samples"  # counted, not recorded
CURVE_NAMES = {
    "train_loss": "training",
    "validation_loss": "held out",
    "train_accuracy": "training",
    "validation_accuracy": "held out",
    SAMPLES: "the samples",
    CHANGED: "the samples",
}


class Bars(NamedTuple):
    """A measure of each row, drawn beside it: its title, the values from 0 to `top`, the tooltip's text for each, and the
    number format of the axis."""

    title: str
    values: Sequence[float]
    texts: Sequence[str]
    top: float = 1.0
    form: str = "%"


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
    curves: Sequence[alt.LayerChart],
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
    independent = alt.ScaleResolveMap(color="independent", opacity="independent", y="independent", x="independent")
    # All at once: Altair copies every chart inside for each method that is called on the whole.
    return alt.ConcatChart(
        concat=[above, *empty, main, *beside, *under],
        columns=1 + len(bars),
        spacing={"row": 8, "column": 10},
        resolve=alt.Resolve(scale=independent),
        config=alt.Config(view=alt.ViewConfig(stroke=None)),
        usermeta=SVG,
    )


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


def losses(runs: Sequence[RecordedRun]) -> list[alt.LayerChart]:
    """Each loss of each run on an axis of its own: they may be of different kinds, as the loss of a training without labels
    and the cross-entropy of the probe that reads it."""
    return [
        curves(runs, title, {name: [run]})
        for run in runs
        for name, title in LOSS_TITLES.items()
        if name in run.curves and run.curves[name].notna().any()
    ]


def accuracies(runs: Sequence[RecordedRun]) -> alt.LayerChart:
    """The recorded accuracies of one run or two, and that of the recorded samples, which is counted from the run itself."""
    return curves(runs, "accuracy", dict.fromkeys(("train_accuracy", "validation_accuracy", SAMPLES), runs), form=".0%")


def changes(run: RecordedRun) -> alt.LayerChart:
    """The share of changed predictions in each epoch, and a line at the share up to which an epoch counts as stable."""
    limit = alt.Chart(pd.DataFrame({"share": [STABLE]})).mark_rule(color=QUIET, strokeDash=[4, 4]).encode(y="share:Q")
    chart = curves([run], "changed predictions", {CHANGED: [run]}, form=".0%", labelled=True, more=[limit])
    return chart.properties(height=220)


def curves(
    runs: Sequence[RecordedRun],
    title: str,
    of: Mapping[str, Sequence[RecordedRun]],
    form: str = ".2~f",
    labelled: bool = False,
    more: Sequence[alt.Chart] = (),
) -> alt.LayerChart:
    """What is recorded of an epoch, over the epochs of the first run; the second run's lines are dashed. `more` layers come
    last: Altair copies all layers whenever one is added to them.

    `of` maps what is drawn (keys of CURVE_NAMES) to the runs of which it is. A line joins neighbouring epochs only: where
    epochs are missing between two recorded ones, there are points. A vertical line marks the chosen epoch of the first run.
    The axis of the epochs has names where `labelled`.
    """
    order = [str(epoch) for epoch in runs[0].epochs]
    rows = pd.concat(
        [_curve(run, name) for name, drawn in of.items() for run in drawn] or [pd.DataFrame(columns=_COLUMNS)],
        ignore_index=True,
    )
    rows = rows[rows["epoch"].isin(order)]
    present = [name for name in CURVES if name in set(rows["curve"])]
    dash = alt.StrokeDash(
        "run:N",
        scale=alt.Scale(domain=[run.title for run in runs]),
        legend=alt.Legend(title=None, orient="top", offset=2) if len(runs) > 1 else None,
    )
    legend = alt.Legend(orient="top", offset=2) if len(of) > 1 else None
    alone = rows.groupby(["run", "curve", "part"])["epoch"].transform("size").eq(1)
    axis = alt.Axis(labelOverlap="parity", labelAngle=0) if labelled else alt.Axis(labels=False, ticks=False)
    across = _across(runs[0], axis, "epoch" if labelled else None)
    table = rows.assign(alone=alone.astype(bool))
    colours = alt.Scale(domain=present, range=[CURVES[name] for name in present])
    encoding: dict[str, Any] = {
        "x": across,
        "y": alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(format=form, tickCount=4)),
        "color": alt.Color("curve:N", title=None, scale=colours, legend=legend),
        "tooltip": [*map(alt.Tooltip, ("run:N", "curve:N", "epoch:O")), alt.Tooltip("value:Q", title=title, format=".3f")],
    }
    # Charts are made at once: Altair copies a chart for each method that is called on it.
    lines = alt.Chart(
        table,
        mark=alt.MarkDef("line", strokeWidth=1.8),
        encoding=alt.FacetedEncoding(**encoding, strokeDash=dash, detail=alt.Detail("part:N")),
    )
    points = alt.Chart(
        table,
        # Screen readers are told of marks that are there: a group without any would be a picture without a name.
        mark=alt.MarkDef("point", filled=True, size=36, opacity=1, aria=bool(alone.any())),
        encoding=alt.FacetedEncoding(**encoding),
        transform=[alt.FilterTransform("datum.alone")],
    )
    return alt.LayerChart(layer=[lines, points, *_chosen_mark(runs[0], across), *more])


_COLUMNS = ["epoch", "value", "curve", "run", "part"]


def _curve(run: RecordedRun, name: str) -> pd.DataFrame:
    """The values of a curve, and the number of the unbroken part that each belongs to."""
    if name == SAMPLES:
        values = pd.Series(run.accuracies, run.epochs)
    elif name == CHANGED:
        values = pd.Series(changed(run), run.epochs)
    elif name in run.curves:
        values = run.curves.set_index("epoch")[name].astype(float)
    else:
        return pd.DataFrame(columns=_COLUMNS)
    parts = [
        values.iloc[places].rename("value").rename_axis("epoch").reset_index().assign(part=number)
        for number, places in enumerate(unbroken(values.index.to_numpy(), np.asarray(values, np.float64)))
    ]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)
    return rows.assign(epoch=rows["epoch"].astype(str), curve=CURVE_NAMES[name], run=run.title)


def _across(run: RecordedRun, axis: alt.Axis, title: str | None) -> alt.X:
    """The epochs of a run, as columns of equal width."""
    order = [str(epoch) for epoch in run.epochs]
    return alt.X("epoch:O", sort=order, scale=alt.Scale(domain=order), title=title, axis=axis)


def _chosen_mark(run: RecordedRun, across: alt.X) -> list[alt.Chart]:
    """A vertical line at the chosen epoch of a run, and its name; nothing where none was chosen."""
    if run.chosen is None:
        return []
    base = alt.Chart(pd.DataFrame({"epoch": [str(run.chosen)], "name": [f"chosen: {run.chosen}"]})).encode(x=across)
    rule = base.mark_rule(color=QUIET, strokeWidth=1.5, strokeDash=[2, 3]).encode(tooltip=["name:N"])
    text = base.mark_text(align="right", dx=4, y=-6, fontSize=10).encode(text="name:N", fill=text_colour())
    return [rule, text.transform_calculate(ink="'muted'")]


def path_of(run: RecordedRun, index: int, colours: dict[str, str]) -> alt.LayerChart:
    """One sample over the epochs: the height is the confidence, the colour the predicted class; right predictions are
    filled. Lines join neighbouring epochs only; a vertical one marks the chosen epoch."""
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
    parts = unbroken(run.epochs[recorded], np.zeros(len(rows)))
    rows["part"] = np.concatenate([np.full(len(places), number) for number, places in enumerate(parts)])
    if rows["confidence"].isna().all():
        rows["confidence"] = 1.0
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    across = _across(run, alt.Axis(labelOverlap="parity", labelAngle=0), "epoch")
    base = alt.Chart(rows).encode(
        x=across,
        y=alt.Y("confidence:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=3)),
    )
    line = base.mark_line(color=QUIET, strokeWidth=1).encode(detail="part:N")
    points = base.mark_point(size=80, strokeWidth=2).encode(
        stroke=alt.Stroke("colour:N", scale=scale, legend=None),
        fill=alt.condition("datum.right", alt.Fill("colour:N", scale=scale, legend=None), alt.value("transparent")),
        tooltip=["epoch:O", "predicted:N", alt.Tooltip("confidence:Q", format=".1%"), "right:N"],
    )
    layers = alt.LayerChart(layer=[line, points, *_chosen_mark(run, across)])
    chart: alt.LayerChart = layers.resolve_scale(fill="independent").properties(height=150)
    return chart
