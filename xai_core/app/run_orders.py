"""What "A run" shows of orders: agreement of metrics, rank stability, groups of models."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from xai_core import charts, charts_runs, rankings, statistics, summarising
from xai_core.app.pickers import LINK
from xai_core.app.run_parts import Shown, directed, drawn, model_of, of_methods, pairs_table, picked, select
from xai_core.errors import BadRequest, XaiError
from xai_core.models.catalog import find_card
from xai_core.statistics import Estimate


def agreement(shown: Shown) -> None:
    """How far metrics agree on the order of methods."""
    model, methods = model_of(shown), of_methods(shown)
    names = [name for name in shown.of_model(model) if shown.direction(name)]
    if len(names) < 2 or len(methods) < 3:
        raise BadRequest("Two metrics with a direction and three methods are needed.")
    found = summarising.between_metrics(shown.table, shown.metrics, model, methods, names)
    matrix = rankings.matrix(found, names)
    titles = [shown.title(name) for name in names]
    pairs = matrix[np.triu_indices(len(names), 1)]
    reach = f"{np.nanmin(pairs):.2f} to {np.nanmax(pairs):.2f}" if np.isfinite(pairs).any() else "nothing to compare"
    words = f"Kendall's tau between the orders of {len(methods)} methods by {len(names)} metrics: {reach}."
    drawn(charts.agreement_matrix(matrix, titles, "Kendall's tau"), "metric_agreement", words)
    st.caption(
        "Kendall's tau between the orders in which two metrics put the methods, by their means over pictures: 1 is the same "
        "order, 0 unrelated, -1 the opposite. Better counts as more in every metric. Metrics that disagree measure "
        "different things: no single one is the truth."
    )
    with st.expander("With intervals"):
        lines = [(shown.title(a), shown.title(b), one.value, one.low, one.high, one.n) for (a, b), one in found.items()]
        st.dataframe(pd.DataFrame(lines, columns=["metric", "other", "tau", "low", "high", "pictures"]), hide_index=True)


def stability(shown: Shown) -> None:
    """Does the order of methods survive another variant of the metric, another model, other pictures?"""
    model, metric = picked(shown)
    methods, base = of_methods(shown), metric.partition("@")[0]
    variants = [name for name in shown.of_model(model) if name.partition("@")[0] == base]
    rows = []
    for (a, b), one in summarising.between_metrics(shown.table, shown.metrics, model, methods, variants).items():
        rows.append(_tau("another variant of the metric", f"{_variant(shown, a)} | {_variant(shown, b)}", one))
    direction = directed(shown, metric)
    for (a, b), one in summarising.between_models(shown.table, metric, direction, list(shown.models), methods).items():
        rows.append(_tau("another model", f"{shown.models[a]} | {shown.models[b]}", one))
    try:
        halves = rankings.split_halves(shown.values(model, metric, methods))
        rows.append(_tau("other pictures", "two random halves of the pictures", halves))
    except BadRequest as error:
        st.caption(str(error))
    rows = [row for row in rows if np.isfinite(row["value"])]
    if not rows:
        raise BadRequest("There is nothing to compare this order with: one variant, one model, too few pictures.")
    words = "; ".join(f"{row['name']} {row['value']:.2f}" for row in rows[:12])
    chart = charts_runs.taus(pd.DataFrame(rows), "Kendall's tau between two orders of methods")
    drawn(chart, "rank_stability", f"Rank stability: {words}.")
    st.caption(
        "1: the same order of methods; 0: an unrelated one. Bars: the 95 % bootstrap interval over pictures; for random "
        "halves, where 95 % of the splits lie. A ranking that does not survive these is no property of the methods."
    )
    if len(variants) < 2:
        st.info(f"To try another substrate or step, evaluate a variant as well: `--metrics {base}@mean,{base}@steps=32`.")


def _variant(shown: Shown, name: str) -> str:
    return shown.metrics[name]["title"] + ("" if "@" in name else " (default)")


def _tau(kind: str, name: str, one: Estimate) -> dict:
    return {"kind": kind, "name": name, **one._asdict()}


def groups(shown: Shown) -> None:
    """Supervised against self-supervised (and untrained) models."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        metrics = list(dict.fromkeys(name for model in shown.models for name in shown.of_model(model)))
        metric = select("Metric", metrics, {name: shown.title(name) for name in metrics}, "run-metric")
        measured = [name for name in shown.models if metric in shown.of_model(name)]
        chosen = st.multiselect(
            "Models", measured, comparable({name: shown.groups[name] for name in measured}), key="run-models",
            format_func=shown.models.get, width=520, **LINK,
        )  # fmt: skip
    if not chosen:
        raise BadRequest("Choose the models to compare.")
    of = {name: shown.groups[name] for name in chosen}
    rows = shown.table[shown.table.model.isin(chosen) & (shown.table.metric == metric)]
    common = set.intersection(*(set(rows.method[rows.model == name]) for name in chosen))
    kinds, methods = list(dict.fromkeys(of.values())), [name for name in of_methods(shown) if name in common]
    if not methods:
        raise BadRequest("No method was measured on all of these models: choose fewer.")
    lines = summarising.by_group(shown.table, of, metric, methods)
    order = statistics.oriented(lines[lines.group == kinds[0]].set_index("method").value, shown.direction(metric))
    lines = lines.sort_values("method", key=lambda names: -names.map(order), kind="stable")
    rows = lines.assign(name=lines.method.map(shown.methods), kind=lines.group)
    words = f"{shown.title(metric)} of {len(methods)} methods, for {', '.join(kinds).lower()} models."
    drawn(charts_runs.intervals(rows, shown.title(metric)), "groups", words)
    count = {kind: sum(one == kind for one in of.values()) for kind in kinds}
    said = ", ".join(f"{number} {kind.lower()}" for kind, number in count.items())
    st.caption(
        f"Models: {said}. A picture's value is its mean over the models of a group; intervals are over pictures, for these "
        "very models. Methods that were measured on all of them. Where networks know other classes or were trained on other "
        "pictures, that differs too, not the supervision alone."
    )
    if len(kinds) < 2:
        st.info(
            "All of these models are of one group. To set self-supervised beside supervised ones, evaluate such a model "
            "into the same folder: `--models` takes every id that `python -m xai_core models` lists."
        )
        return
    found = summarising.between_groups(shown.table, of, metric, methods)
    first, second = kinds[:2]
    told = sum(one.shown for one in found)
    st.markdown(f"**{first} minus {second.lower()}**: {told} of {len(found)} methods differ (5 %, corrected after Holm).")
    with st.expander("Method by method"):
        table = pairs_table(found, shown).drop(columns="worse").rename(columns={"better": "method"})
        st.dataframe(table.assign(method=table.method.str.removesuffix(f" on {first}").map(shown.methods)), hide_index=True)


def comparable(groups: Mapping[str, str]) -> list[str]:
    """Of these models those that know the classes of the first self-supervised one, where such a comparison is possible;
    else all."""

    def classes(name: str):
        try:
            return find_card(name.partition("/")[0]).classes
        except XaiError:
            return None

    first = next((name for name, group in groups.items() if group == "Self-supervised"), None)
    alike = [name for name in groups if first is not None and classes(name) == classes(first)]
    return alike if len({groups[name] for name in alike}) > 1 else list(groups)
