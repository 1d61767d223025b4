"""What the tab "A run" shows: means, comparisons, spreads, agreement of metrics, rank stability, groups of models, the best
and the worst pictures, downloads."""

from collections.abc import Mapping
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from xai_core.app.charts import common as charts
from xai_core.app.charts import metrics as charts_metrics
from xai_core.app.charts import runs
from xai_core.app.metrics.opened_run import Shown, directed, drawn, model_of, of_methods, pairs_table, picked, select
from xai_core.app.shared import cache, display
from xai_core.app.shared.widgets import LINK, OWN
from xai_core.attribution.catalog import METHODS
from xai_core.core.errors import BadRequest, XaiError
from xai_core.data.samples import SAMPLES
from xai_core.evaluation import ranking, significance, summary
from xai_core.evaluation.ranking import Ranks
from xai_core.evaluation.significance import Estimate
from xai_core.evaluation.summary import is_control
from xai_core.metrics.catalog import find_metric
from xai_core.models.zoo.catalog import find_card

THUMBNAIL = 150  # pixels
EXTREMES = 6  # pictures at each end
BY_PLACE = "Mean place"
MARK = (
    f"**{runs.LOST}** does not beat every one of the controls (maps that know nothing of the network: random, "
    "centre, edges, uniform), each by the paired test at 5 %. "
)
TOO_FEW = "Too few pictures to tell a method from the controls: at least six are needed. "


def overview(shown: Shown) -> None:
    """Means with intervals of every method by every metric, model by model."""
    metrics = list(dict.fromkeys(name for model in shown.models for name in shown.of_model(model)))
    titles = {name: shown.title(name) for name in metrics}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sort = st.selectbox("Order methods by", [BY_PLACE, *titles.values()], key="run-sort", width=320, **LINK)
        plain = [titles[name] for name in metrics if "@" not in name]  # variants are for the section on stability
        wanted = st.multiselect("Metrics", list(titles.values()), plain, key="run-metrics", width=420, **LINK)
        controls = st.toggle("Show the controls", True, key="run-controls", **LINK)
    kept = [name for name in metrics if not wanted or titles[name] in wanted]
    lines = shown.summary[shown.summary.metric.isin(kept)]
    lines = lines if controls else lines[~lines.control]
    few = shown.table.picture.nunique() < significance.LEAST
    st.caption(
        (TOO_FEW if few else MARK)
        + "Numbers are means over pictures, below them the 95 % bootstrap interval. Click a cell to see its pictures."
    )
    with st.container(horizontal=True, gap="large"):
        for model, title in shown.models.items():
            of_model = lines[lines.model == model]
            if len(of_model):
                with st.container(width=84 * of_model.metric.nunique() + 200):
                    st.markdown(f"**{title}** – {shown.groups[model].lower()}")
                    _means(shown, of_model, [name for name in kept if name in set(of_model.metric)], sort)
    with st.expander("As a table"):
        named = {"model": lines.model.map(shown.models), "method": lines.method.map(shown.methods)}
        table = lines.assign(**named, metric=lines.metric.map(titles)).drop(columns=["control", "direction"])
        st.dataframe(table, hide_index=True)


def _means(shown: Shown, lines: pd.DataFrame, metrics: list[str], sort: str) -> None:
    chosen = [name for name in metrics if shown.title(name) == sort] or metrics
    place = lines[lines.metric.isin(chosen)].groupby("method")["rank"].mean()
    order = sorted(lines.method.unique(), key=lambda name: (is_control(name), place.get(name, np.inf)))
    titled = lines.assign(method=lines.method.map(shown.methods), metric=lines.metric.map(shown.title))
    model, rows = lines.model.iloc[0], [shown.methods[name] for name in order]
    drawn(
        runs.means(titled, rows, [shown.title(name) for name in metrics]),
        f"means_{model.replace('/', '_')}",
        f"Means of {len(rows)} methods by {len(metrics)} metrics on {shown.models[model]}; first in this order: {rows[0]}.",
        key=f"means {model}", on_select=lambda: _open_cell(shown, model), selection_mode="cell",
    )  # fmt: skip


def _open_cell(shown: Shown, model: str) -> None:
    """A click on a cell shows its pictures; the select boxes there do the same by keyboard."""
    found = st.session_state[f"means {model}"]["selection"].get("cell")
    if not found:
        return
    metrics = {name: shown.title(name) for name in shown.metrics}
    for key, titles, title in (
        ("run-model", shown.models, shown.models[model]),
        ("run-metric", metrics, found[0]["metric"]),
        ("run-method", shown.methods, found[0]["method"]),
    ):  # boxes that are not on the page yet: Streamlit takes their values, but does not write them into the address
        st.session_state[key] = next(name for name, one in titles.items() if one == title)
        st.query_params[key] = title
    st.session_state["look"] = "Pictures"


def methods(shown: Shown) -> None:
    """Which method is better than which: ranks, and every pair in words."""
    model, metric = picked(shown)
    direction, names = directed(shown, metric), of_methods(shown)
    table = shown.values(model, metric, names)
    found = significance.differences(table, direction)
    if not found:
        raise BadRequest("Two methods are needed to compare.")
    if table.shape[1] >= 3 and len(table.dropna()) >= 2:
        _ranks(shown, ranking.ranks(table, direction))
    st.markdown("**Differences, picture by picture**")
    st.markdown("\n".join(f"- {significance.in_words(one, shown.methods.get)}" for one in found[:8]))
    told = sum(one.shown for one in found)
    st.caption(
        f"{told} of {len(found)} differences are shown at 5 % by a paired sign-flip test, corrected for all {len(found)} "
        "comparisons after Holm. In brackets the 95 % bootstrap interval of the mean difference in favour of the first."
    )
    with st.expander(f"All {len(found)} pairs"):
        st.dataframe(pairs_table(found, shown), hide_index=True)


def _ranks(shown: Shown, ranks: Ranks) -> None:
    first = min(ranks.mean, key=ranks.mean.get)
    alike = next((group for group in ranks.groups if first in group), (first,))
    best = ", ".join(shown.methods[name] for name in alike)
    st.markdown("**Places of the methods, picture by picture**")
    words = f"Mean ranks of {len(ranks.mean)} methods with the critical difference; not told apart from the best: {best}."
    drawn(runs.critical_difference(ranks, shown.methods.get), "critical_difference", words)
    p = "p < .001" if ranks.p < 0.001 else f"p = {significance.plain(ranks.p)}"
    st.caption(
        f"Mean places over pictures, with half of Nemenyi's critical difference on either side: methods whose bars do not "
        f"overlap are told apart at 5 % ({ranks.critical:.2f} places, {ranks.n} pictures). Friedman's test that all methods "
        f"are alike: {p}."
    )


def spread(shown: Shown) -> None:
    """How values are spread over the pictures."""
    model, metric = picked(shown)
    table = shown.values(model, metric)
    order = significance.oriented(table, shown.direction(metric)).mean().sort_values(ascending=False).index
    names = sorted(order, key=is_control)
    titles = [shown.methods[name] for name in names]
    words = f"{shown.title(metric)} of {len(names)} methods over {len(table)} pictures; best on average: {titles[0]}."
    drawn(runs.spreads(table[names], titles, shown.pictures, shown.title(metric)), "spread", words)
    st.caption("Box: the middle half of the pictures and their median; whiskers: all of them. Each point is a picture.")


def curves(shown: Shown) -> None:
    """The mean curves of some methods, controls dashed."""
    model, metric = picked(shown)
    every = shown.run.curves(model, metric)
    if not len(every):
        raise BadRequest(f"{shown.title(metric)} has no curve. Insertion, deletion and their kin have.")
    lines = shown.summary[(shown.summary.model == model) & (shown.summary.metric == metric)].set_index("method")
    order = lines[~lines.control].sort_values("rank").index
    chosen = st.multiselect(
        "Methods", of_methods(shown), list(order[:3]), format_func=shown.methods.get, key="run-curves", **LINK
    )
    names = [*chosen, *(name for name in shown.methods if is_control(name))]
    titles = {name: f"{shown.methods[name]} {_estimate(lines.loc[name])}" for name in names if name in lines.index}
    found = {titles[name]: curve for name, curve in summary.mean_curves(every, names).items()}
    points = charts_metrics.curve_points(found, [titles[name] for name in titles if is_control(name)])
    words = f"Mean curves by {shown.title(metric)} over {every.picture.nunique()} pictures: {'; '.join(found)}."
    drawn(charts_metrics.curves(points, find_metric(metric).axes, None), "curves", words)
    st.caption(
        f"Means over {every.picture.nunique()} pictures; with each name the mean of the metric and its 95 % interval."
    )


def _estimate(line: pd.Series) -> significance.Estimate:
    return significance.Estimate(line["mean"], line.low, line.high, line.n, "" if line.n > 1 else significance.ONE_PICTURE)


def pictures(shown: Shown) -> None:
    """The best and the worst pictures of one cell."""
    model, metric = picked(shown)
    method = select("Method", list(shown.methods), shown.methods, "run-method")
    rows = summary.extremes(shown.table, model, metric, method, shown.direction(metric), EXTREMES)
    for end in dict.fromkeys(rows.end):
        st.markdown(f"**{end.capitalize()}** by {shown.title(metric)}")
        with st.container(horizontal=True, gap="small"):
            for row in rows[rows.end == end].to_dict("records"):
                with st.container(border=True, width=THUMBNAIL + 34):
                    _picture(shown, row)
    if not len(rows):
        st.info("There is no value here: this method was not measured on this model, or failed on every picture.")
    table = shown.table
    failed = table[(table.model == model) & (table.metric == metric) & (table.method == method) & table.value.isna()]
    for note, count in failed.note.astype(str).value_counts().items():
        st.caption(f"{count} pictures without a value: {note}")


def _picture(shown: Shown, row: dict) -> None:
    name = row["name"]
    title = SAMPLES[name].title if name in SAMPLES else name
    small = _squared(cache.sample(name)) if name in SAMPLES else shown.run.thumbnail(row["picture"])
    if small is not None:
        st.image(small, width=THUMBNAIL, alt=f"The picture {title}")
    st.markdown(f"**{significance.plain(row['value'])}** {title}")
    st.caption(f"{row['target']} = {significance.plain(row['target_value'])}")
    address = address_of(row)
    if address:
        st.link_button("Open", address, icon=":material/open_in_new:", help="The same question on the single-image page")


def _squared(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((2 * THUMBNAIL, 2 * THUMBNAIL))
    return small


def address_of(row: dict) -> str | None:
    """A link to the same question on the single-image page; a picture that is no sample is asked for there by its SHA-256.
    None for an untrained twin, which that page does not offer."""
    id, _, checkpoint = row["model"].partition("/")
    if checkpoint == "random":
        return None
    asked = {"model": id} | ({f"{id}.weights": checkpoint} if checkpoint else {})
    sample = SAMPLES.get(row["name"])
    asked |= {"picture": sample.title} if sample else {"picture": OWN, "upload": row["picture"]}
    kind, _, index = row["target_key"].partition(" ")
    if kind == "logit":
        asked["class"] = f"{row['target'].removeprefix('logit of ')} ({index})"
    method = row["method"].removeprefix(summary.CONTROL)
    return f"Single_image?{urlencode(asked | {'method': METHODS[method].title if method in METHODS else method})}"


def downloads(shown: Shown) -> None:
    """The rows, the means, the settings."""
    stem, table = shown.run.folder.name, shown.table
    kinds = {
        "All rows (CSV)": (f"{stem}.csv", "text/csv", lambda: table.to_csv(index=False).encode()),
        "All rows (Parquet)": (f"{stem}.parquet", "application/vnd.apache.parquet", lambda: table.to_parquet(index=False)),
        "Means and intervals (CSV)": (f"{stem}_means.csv", "text/csv", lambda: shown.summary.to_csv(index=False).encode()),
        "What was asked (JSON)": (f"{stem}.json", "application/json", (shown.run.folder / "manifest.json").read_bytes),
    }
    display.downloads(kinds)
    st.caption("Each chart has buttons of its own that save it as PNG or SVG. To share a view, copy the page's address.")


def agreement(shown: Shown) -> None:
    """How far metrics agree on the order of methods."""
    model, methods = model_of(shown), of_methods(shown)
    names = [name for name in shown.of_model(model) if shown.direction(name)]
    if len(names) < 2 or len(methods) < 3:
        raise BadRequest("Two metrics with a direction and three methods are needed.")
    found = summary.between_metrics(shown.table, shown.metrics, model, methods, names)
    matrix = ranking.matrix(found, names)
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
    for (a, b), one in summary.between_metrics(shown.table, shown.metrics, model, methods, variants).items():
        rows.append(_tau("another variant of the metric", f"{_variant(shown, a)} | {_variant(shown, b)}", one))
    direction = directed(shown, metric)
    for (a, b), one in summary.between_models(shown.table, metric, direction, list(shown.models), methods).items():
        rows.append(_tau("another model", f"{shown.models[a]} | {shown.models[b]}", one))
    try:
        halves = ranking.split_halves(shown.values(model, metric, methods))
        rows.append(_tau("other pictures", "two random halves of the pictures", halves))
    except BadRequest as error:
        st.caption(str(error))
    rows = [row for row in rows if np.isfinite(row["value"])]
    if not rows:
        raise BadRequest("There is nothing to compare this order with: one variant, one model, too few pictures.")
    words = "; ".join(f"{row['name']} {row['value']:.2f}" for row in rows[:12])
    chart = runs.taus(pd.DataFrame(rows), "Kendall's tau between two orders of methods")
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
    lines = summary.by_group(shown.table, of, metric, methods)
    order = significance.oriented(lines[lines.group == kinds[0]].set_index("method").value, shown.direction(metric))
    lines = lines.sort_values("method", key=lambda names: -names.map(order), kind="stable")
    rows = lines.assign(name=lines.method.map(shown.methods), kind=lines.group)
    words = f"{shown.title(metric)} of {len(methods)} methods, for {', '.join(kinds).lower()} models."
    drawn(runs.intervals(rows, shown.title(metric)), "groups", words)
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
    found = summary.between_groups(shown.table, of, metric, methods)
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
