"""Altair charts of evaluation runs: the table of means, spreads, ranks, and intervals of any kind.

Their colours do not depend on the theme.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from xai_core.app.charts.common import HIGHLIGHT, LINES, LOST, OTHER, QUIET, SVG, readable_on_canvas, text_colour
from xai_core.evaluation import significance
from xai_core.evaluation.ranking import Ranks

ROW = 24  # pixels of a line of text
MOST_POINTS = 1_000  # pictures of which a spread has points
NAMES = alt.Axis(title=None, labelLimit=320, labelOverlap=False, ticks=False, domain=False, labelFontSize=12)
HEADS = alt.Axis(title=None, orient="top", labelAngle=-35, labelLimit=190, labelOverlap=False, labelFontSize=12)
# By Nemenyi's test of the mean ranks.
NO_DIFFERENCE, WORSE = "no significant difference from the best rank", "rank significantly worse than the best"


def means(lines: pd.DataFrame, methods: Sequence[str], metrics: Sequence[str]) -> alt.LayerChart:
    """Means of methods by metrics for one model. `lines` has `method`, `metric` (titles), `mean`, `low`, `high`, `n`,
    `missing`, `rank`, `control`, `beats`; rows and columns come in the order given.

    The colour is the method's rank in its column, because metrics have different units: in every column the best is yellow
    and the worst dark. A click selects a cell: the point selection `cell` over `method` and `metric`.
    """
    table = lines.copy()
    worst = table.groupby("metric")["rank"].transform("max")
    table["place"] = 1 - (table["rank"] - 1) / (worst - 1).clip(lower=1)
    table["text"] = [
        significance.plain(mean) + (LOST if beats is False else "")
        for mean, beats in zip(table["mean"], table["beats"], strict=True)
    ]
    table["interval"] = [
        f"{significance.plain(low)} – {significance.plain(high)}" if n > 1 else ""
        for low, high, n in zip(table["low"], table["high"], table["n"], strict=True)
    ]
    table["controls"] = [
        _against_controls(beats, control) for beats, control in zip(table["beats"], table["control"], strict=True)
    ]
    base = alt.Chart(table).encode(
        x=alt.X("metric:N", sort=list(metrics), axis=HEADS),
        y=alt.Y("method:N", sort=list(methods), axis=NAMES),
        tooltip=[
            "method:N", "metric:N", alt.Tooltip("mean:Q", format=".4g"), alt.Tooltip("interval:N", title="95 % interval"),
            alt.Tooltip("n:Q", title="pictures"), alt.Tooltip("missing:Q", title="without a value"),
            alt.Tooltip("rank:Q", title="rank"), "controls:N",
        ],
    )  # fmt: skip
    colours = alt.Scale(scheme="viridis", domain=[0, 1])
    legend = alt.Legend(
        title="rank in its column", orient="bottom", values=[0, 1], gradientLength=160,
        labelExpr="datum.value == 1 ? 'best' : 'worst'",
    )  # fmt: skip
    cells = base.mark_rect(cursor="pointer").encode(color=alt.Color("place:Q", scale=colours, legend=legend))
    ink = alt.condition("datum.place > 0.44", alt.value("black"), alt.value("white"))
    # On a narrow page cells show the mean only.
    numbers = base.mark_text(
        fontSize=alt.expr("bandwidth('x') < 50 ? 9 : 12"), dy=alt.expr("bandwidth('x') < 50 ? 0 : -5")
    ).encode(text="text:N", color=ink)
    intervals = base.mark_text(fontSize=9, dy=7, opacity=alt.expr("bandwidth('x') < 50 ? 0 : 1")).encode(
        text="interval:N", color=ink
    )
    picked = cells.add_params(alt.selection_point(name="cell", fields=["method", "metric"], on="click"))
    size = {"height": 30 * len(methods) + 150, "width": 84 * len(metrics) + 200}  # with room for names
    chart: alt.LayerChart = (picked + numbers + intervals).properties(**size, usermeta=SVG)
    return chart


def _against_controls(beats: bool | None, control: bool) -> str:
    if beats is None:
        return "is a control" if control else "not compared: too few pictures, or no control has a value"
    return "beats every control" if beats else "does not beat every control"


def spreads(values: pd.DataFrame, names: Sequence[str], pictures: Mapping[str, str], title: str) -> alt.LayerChart:
    """How values are spread over pictures: a box plot (quartiles and median, whiskers to the extremes), and a point for
    each picture. `values` is pictures x methods, `names` the methods' titles in its order, `pictures` their names by
    digest. A click selects a point: the point selection `cell` over `picture` and `method`.

    Of more than MOST_POINTS pictures the boxes are of all of them, and the points of the first MOST_POINTS (digests have no
    order) and of both ends of each whisker.
    """
    named = values.set_axis(list(names), axis=1).rename_axis("picture")
    y = alt.Y("method:N", sort=list(names), axis=NAMES)
    x = alt.X("value:Q", title=title, scale=alt.Scale(zero=False))
    if len(values) > MOST_POINTS:
        boxes: alt.Chart | alt.LayerChart = _boxes(named, title, y)
        columns = [named[name].dropna() for name in named]
        ends = [end for column in columns if len(column) for end in (column.idxmin(), column.idxmax())]
        named = named[named.index.isin([*named.index[:MOST_POINTS], *ends])]
    rows = named.reset_index().melt("picture", var_name="method")
    rows = rows.dropna().assign(name=lambda frame: frame.picture.map(pictures).fillna(""))
    if len(values) <= MOST_POINTS:
        boxes = alt.Chart(rows).mark_boxplot(extent="min-max", size=12, color=OTHER, opacity=0.55).encode(x=x, y=y)
    points = (
        alt.Chart(rows)
        .mark_circle(cursor="pointer", size=26, opacity=max(0.15, min(0.8, 30 / max(1, len(values)))), color=HIGHLIGHT)
        .encode(x=x, y=y, detail="picture:N", tooltip=["name:N", "method:N", alt.Tooltip("value:Q", format=".4g")])
        .add_params(alt.selection_point(name="cell", fields=["picture", "method"], on="click"))
    )
    return readable_on_canvas((boxes + points).properties(height=ROW * len(names) + 50))


def _boxes(values: pd.DataFrame, title: str, y: alt.Y) -> alt.LayerChart:
    """The box plot of `mark_boxplot` from five numbers of each column."""
    ends = ["least", "low", "middle", "high", "most"]
    rows = values.quantile([0, 0.25, 0.5, 0.75, 1]).set_axis(ends).T.rename_axis("method").dropna().reset_index()
    base = alt.Chart(rows).encode(y=y)
    tooltip = ["method:N", *(alt.Tooltip(f"{end}:Q", format=".4g") for end in ends)]
    whiskers = base.mark_rule(color=OTHER).encode(x=alt.X("least:Q", title=title, scale=alt.Scale(zero=False)), x2="most:Q")
    boxes = base.mark_bar(size=12, color=OTHER, opacity=0.55).encode(x="low:Q", x2="high:Q", tooltip=tooltip)
    chart: alt.LayerChart = whiskers + boxes + base.mark_tick(size=12, color="white").encode(x="middle:Q")
    return chart


def critical_difference(ranks: Ranks, title: Callable[[str], str] = str) -> alt.LayerChart:
    """Mean ranks with half the critical difference on either side: methods differ where their bars do not overlap.

    `title` turns a method's name into its label.
    """
    order = sorted(ranks.mean, key=lambda name: ranks.mean[name])
    rows = pd.DataFrame(
        {
            "method": [title(name) for name in order],
            "rank": [ranks.mean[name] for name in order],
            "low": [ranks.mean[name] - ranks.critical / 2 for name in order],
            "high": [ranks.mean[name] + ranks.critical / 2 for name in order],
            "difference": [WORSE if name in ranks.worse else NO_DIFFERENCE for name in order],
        }
    )
    y = alt.Y("method:N", sort=list(rows.method), axis=NAMES)
    colour = alt.Color(
        "difference:N", title=None, legend=alt.Legend(orient="bottom", labelLimit=320, columns=1),
        scale=alt.Scale(domain=[NO_DIFFERENCE, WORSE], range=[HIGHLIGHT, OTHER]),
    )  # fmt: skip
    tooltip = [
        alt.Tooltip("method:N"), alt.Tooltip("rank:Q", title="mean rank", format=".2f"), alt.Tooltip("difference:N")
    ]  # fmt: skip
    scale = alt.Scale(domain=[1, len(order)], nice=False)
    axis = alt.X("low:Q", title="mean rank, 1 is best", scale=scale)
    base = alt.Chart(rows).encode(y=y, color=colour)
    bars = base.mark_rule(strokeWidth=3, opacity=0.5, clip=True).encode(x=axis, x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x="rank:Q", tooltip=tooltip)
    chart: alt.LayerChart = (bars + points).properties(height=ROW * len(rows) + 110)
    return chart


def intervals(rows: pd.DataFrame, title: str) -> alt.LayerChart:
    """Values with their intervals, a line for each `name` in the order given; `kind` tells the marks of one line apart.
    `rows` has `name`, `kind`, `value`, `low`, `high`, `n`, `why`."""
    y = alt.Y("name:N", sort=list(dict.fromkeys(rows.name)), axis=NAMES)
    kinds = list(dict.fromkeys(rows.kind))
    base = alt.Chart(_with_text(rows)).encode(y=y)
    beside = int(rows.groupby("name").size().max())  # marks of one line
    if beside > 1:
        base = base.encode(yOffset=alt.YOffset("kind:N", sort=kinds))
    x = alt.X("low:Q", title=title, scale=alt.Scale(zero=False))
    height = (12 * beside + 12) * rows.name.nunique() + 90 + 26 * len(kinds)
    chart: alt.LayerChart = _bars(base, kinds, x).properties(height=height)
    return chart


def taus(rows: pd.DataFrame, title: str) -> alt.LayerChart:
    """Rank correlations in [-1, 1] with their intervals, each under its name; columns as for `intervals`."""
    rows = _with_text(rows.reset_index(drop=True)).assign(line=lambda frame: frame.index, ink="muted")
    base = alt.Chart(rows).encode(y=alt.Y("line:O", axis=None))
    kinds = list(dict.fromkeys(rows.kind))
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=[-1, 1]), axis=alt.Axis(values=[-1, -0.5, 0, 0.5, 1]))
    names = base.mark_text(align="left", dy=-13, fontSize=12).encode(x=alt.datum(-1), text="name:N", fill=text_colour())
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color=QUIET, strokeDash=[3, 3]).encode(x="x:Q")
    height = 44 * len(rows) + 90 + 26 * len(kinds)
    chart: alt.LayerChart = (zero + _bars(base, kinds, x) + names).properties(height=height)
    return chart


def _bars(base: alt.Chart, kinds: list[str], x: alt.X) -> alt.LayerChart:
    colour = alt.Color(
        "kind:N", title=None, scale=alt.Scale(domain=kinds, range=list(LINES[: len(kinds)])),
        legend=alt.Legend(orient="bottom", columns=1, labelLimit=320) if len(kinds) > 1 else None,
    )  # fmt: skip
    tooltip = [
        alt.Tooltip("name:N"), alt.Tooltip("kind:N"), alt.Tooltip("text:N", title="value"),
        alt.Tooltip("n:Q", title="pictures"),
    ]  # fmt: skip
    base = base.encode(color=colour, tooltip=tooltip)
    points = base.mark_point(filled=True, size=60, opacity=1)
    chart: alt.LayerChart = base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q") + points.encode(
        x="value:Q", shape=alt.Shape("kind:N", scale=alt.Scale(domain=kinds), legend=None)
    )
    return chart


def _with_text(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column `text`: each estimate in words."""
    columns: list[Any] = [rows[name] for name in significance.Estimate._fields]
    return rows.assign(text=[str(significance.Estimate(*row)) for row in zip(*columns, strict=True)])
