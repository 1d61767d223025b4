"""Summaries of a run's rows: means with intervals, comparisons with the controls, best and worst pictures, groups."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.evaluation import ranking, significance
from xai_core.evaluation.significance import Difference, Estimate

CONTROL = "control:"  # how the names of control maps begin, in the column of methods
DIRECTED = ("higher", "lower")
SHARED = 10  # tables that share their draws: more at once take more memory than time


def is_control(method: str) -> bool:
    """Whether this is the name of a control map in the column of methods."""
    return method.startswith(CONTROL)


def values(frame: pd.DataFrame, model: str, metric: str, methods: Sequence[str] | None = None) -> pd.DataFrame:
    """The table of one model and metric: a row for each picture (by its digest), a column for each method."""
    is_wanted = (frame.model == model) & (frame.metric == metric)
    rows = frame.loc[is_wanted, ["picture", "method", "value"]]
    table = _table_of_codes(rows)
    if table is None:
        texts = {"picture": rows.picture.astype(str), "method": rows.method.astype(str), "value": rows.value}
        table = pd.DataFrame(texts).pivot(index="picture", columns="method", values="value")
    order = [name for name in (methods or table.columns) if name in table.columns]
    # A picture's values side by side: sums, and so the last bits of a mean, depend on where numbers lie.
    return pd.DataFrame(np.ascontiguousarray(table[order].to_numpy(float)), table.index, table[order].columns, copy=False)


def _table_of_codes(rows: pd.DataFrame) -> pd.DataFrame | None:
    """What `pivot` makes of rows whose pictures and methods are categories, in a tenth of its time; None for other rows."""
    if not all(isinstance(rows[name].dtype, pd.CategoricalDtype) for name in ("picture", "method")):
        return None
    places: list[NDArray[np.int64]] = []
    axes: list[pd.Index[str]] = []
    for name in ("picture", "method"):
        codes = rows[name].cat.codes.to_numpy()
        if not len(codes) or codes.min() < 0:
            return None
        present = np.flatnonzero(np.bincount(codes))
        names = rows[name].cat.categories[present].astype("str")
        order = names.argsort()
        place_of = np.empty(present[-1] + 1, np.int64)
        place_of[present[order]] = np.arange(len(present))
        places.append(place_of[codes])
        axes.append(names[order].rename(name))
    flat = places[0] * len(axes[1]) + places[1]
    if np.bincount(flat).max() > 1:
        return None  # the same cell twice: `pivot` refuses it
    values = np.full(len(axes[0]) * len(axes[1]), np.nan)
    values[flat] = rows.value.to_numpy()
    return pd.DataFrame(values.reshape(len(axes[0]), len(axes[1])), index=axes[0], columns=axes[1])


def summary(frame: pd.DataFrame, metrics: Mapping[str, Mapping[str, Any]], seed: int = 0) -> pd.DataFrame:
    """One line for each model, metric and method: `mean`, `low`, `high`, `n`, `missing` (pictures without a value), `rank`
    (1 is best; NaN for metrics without a direction), and `beats`: whether it beats every control (None where that is not
    defined or cannot be shown: a control itself, no direction, no control with a value, few pictures)."""
    lines = []
    cells = [(model, metric) for model in frame.model.unique() for metric in frame.metric[frame.model == model].unique()]
    for start in range(0, len(cells), SHARED):
        some = cells[start : start + SHARED]
        directions = [metrics.get(metric, {}).get("direction", "") for _, metric in some]
        tables = [values(frame, *cell) for cell in some]
        controls = [[name for name in table.columns if is_control(name)] for table in tables]
        tested = [place for place, direction in enumerate(directions) if direction and controls[place]]
        every = significance.beats_all_of(
            [tables[place] for place in tested],
            [controls[place] for place in tested],
            [directions[place] for place in tested],
        )
        beats_of = dict(zip(tested, every, strict=True))
        for place, means in enumerate(significance.estimates_of(tables, seed)):
            (model, metric), direction, table = some[place], directions[place], tables[place]
            beats = beats_of.get(place, {})
            order = pd.Series({name: mean.value for name, mean in means.items()}) * (-1 if direction == "lower" else 1)
            rank = order.rank(ascending=False, method="min") if direction in DIRECTED else order * np.nan
            for name, mean in means.items():
                lines.append(
                    {
                        "model": model, "metric": metric, "method": name, "mean": mean.value, "low": mean.low,
                        "high": mean.high, "n": mean.n, "missing": len(table) - mean.n, "rank": rank[name],
                        "beats": beats.get(name), "control": is_control(name), "direction": direction,
                    }
                )  # fmt: skip
    return pd.DataFrame(lines)


def comparisons(frame: pd.DataFrame, model: str, metric: str, direction: str, methods: Sequence[str]) -> list[Difference]:
    """Every two of the methods on one model and metric: see `significance.differences`."""
    return significance.differences(values(frame, model, metric, methods), direction)


def extremes(frame: pd.DataFrame, model: str, metric: str, method: str, direction: str, count: int) -> pd.DataFrame:
    """The `count` best and `count` worst pictures of a method, none twice: rows of the run with a column `end`, "best" or
    "worst" ("highest" or "lowest" for a metric without a direction), the most extreme first."""
    rows = frame[(frame.model == model) & (frame.metric == metric) & (frame.method == method)].dropna(subset="value")
    rows = rows.sort_values("value", ascending=direction == "lower")
    best = rows.head(min(count, -(-len(rows) // 2)))
    worst = rows.iloc[len(best) :].tail(count)[::-1]
    names = ("best", "worst") if direction else ("highest", "lowest")
    return pd.concat([best.assign(end=names[0]), worst.assign(end=names[1])])


class MeanCurve(NamedTuple):
    """The mean over `n` pictures of a method's curve: `points` (points, 2)."""

    points: NDArray[np.float64]
    n: int


def mean_curves(parts: Iterable[pa.Table]) -> dict[str, MeanCurve]:
    """The mean over pictures of each method's curve, from tables with `method`, `curve_x`, `curve_y`, one by one.
    All curves are interpolated linearly at the points of the first (pictures of other sizes have other points)."""
    points: dict[str, NDArray[np.float64]] = {}
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    for table in parts:
        for method in pc.unique(table["method"]).to_pylist():
            rows = table.filter(pc.equal(table["method"], method))
            x = points.setdefault(method, rows["curve_x"][0].values.to_numpy(zero_copy_only=False).astype(float))
            every = _curves_at(x, *(rows[name].combine_chunks() for name in ("curve_x", "curve_y")))
            # One after the other, so that the sum does not depend on how rows are divided into parts.
            sums[method] = np.concatenate([sums.get(method, np.zeros((1, len(x)))), every]).sum(0, keepdims=True)
            counts[method] = counts.get(method, 0) + len(rows)
    return {name: MeanCurve(np.stack([x, sums[name][0] / counts[name]], 1), counts[name]) for name, x in points.items()}


def _curves_at(x: NDArray[np.float64], xs: pa.ListArray, ys: pa.ListArray) -> NDArray[np.float64]:
    """(curves, points): each curve at the points x. Those that have just these points are taken as they are."""
    flat_x, flat_y = (values.flatten().to_numpy(zero_copy_only=False).astype(float) for values in (xs, ys))
    ends = np.cumsum(pc.list_value_length(xs).to_numpy(zero_copy_only=False))
    if len(flat_x) == len(xs) * len(x) and (np.diff(x) > 0).all() and (flat_x.reshape(-1, len(x)) == x).all():
        alike: NDArray[np.float64] = flat_y.reshape(-1, len(x))
        return alike
    places = list(zip([0, *ends[:-1]], ends, strict=True))
    return np.array([np.interp(x, flat_x[start:end], flat_y[start:end]) for start, end in places])


def between_metrics(
    frame: pd.DataFrame, metrics: Mapping[str, Mapping[str, Any]], model: str, methods: Sequence[str], names: Sequence[str]
) -> dict[tuple[str, str], Estimate]:
    """How far metrics agree on the order of methods on one model: see `ranking.agreement`. Metrics without a direction are
    left out."""
    tables = {
        name: significance.oriented(values(frame, model, name, methods), metrics[name]["direction"])
        for name in names
        if metrics[name]["direction"] in DIRECTED
    }
    return ranking.agreement({name: table for name, table in tables.items() if len(table)})


def between_models(
    frame: pd.DataFrame, metric: str, direction: str, models: Sequence[str], methods: Sequence[str]
) -> dict[tuple[str, str], Estimate]:
    """How far models agree on the order of methods by one metric."""
    tables = {name: significance.oriented(values(frame, name, metric, methods), direction) for name in models}
    return ranking.agreement({name: table for name, table in tables.items() if len(table)})


def by_group(frame: pd.DataFrame, groups: Mapping[str, str], metric: str, methods: Sequence[str]) -> pd.DataFrame:
    """One line for each group of models ("Supervised" and so on) and method: `group`, `method`, `value`, `low`, `high`,
    `n`, `models`. `groups` gives the group of each model.

    A picture's value in a group is its mean over the group's models, and missing where one of them has none: a mean over
    fewer models is of something else. The interval is over pictures, for these models.
    """
    lines = []
    for group in dict.fromkeys(groups.values()):
        tables = [values(frame, name, metric, methods) for name, its_group in groups.items() if its_group == group]
        tables = [table for table in tables if len(table)]
        if tables:
            for method, estimate in significance.estimates(_mean_of(tables)).items():
                lines.append({"group": group, "method": method, **estimate._asdict(), "models": len(tables)})
    return pd.DataFrame(lines)


def _mean_of(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean of tables of pictures x methods; NaN where one of them has no value."""
    together = pd.concat(tables, keys=range(len(tables)), sort=False)
    by_picture = together.groupby(level=1)
    means: pd.DataFrame = by_picture.mean().where(by_picture.count() == len(tables))
    return means


def between_groups(frame: pd.DataFrame, groups: Mapping[str, str], metric: str, methods: Sequence[str]) -> list[Difference]:
    """Each method in one group of models against another, picture by picture. Raises BadRequest below two groups."""
    names = list(dict.fromkeys(groups.values()))
    if len(names) < 2:
        raise BadRequest("Two groups of models are needed: supervised, self-supervised or untrained ones.")
    sides = []
    for group in names[:2]:
        tables = [values(frame, name, metric, methods) for name, its_group in groups.items() if its_group == group]
        sides.append(_mean_of(tables).add_suffix(f" on {group}"))
    both = pd.concat(sides, axis=1)
    pairs = [(f"{method} on {names[0]}", f"{method} on {names[1]}") for method in methods]
    return significance.differences(both, "higher", [pair for pair in pairs if set(pair) <= set(both.columns)])
