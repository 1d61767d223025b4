"""The sections of the tab "A run": means, comparisons of methods, spreads, curves, the best and the worst pictures,
agreement of metrics, rank stability, groups of models, downloads."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from xai_core.analysis import findings
from xai_core.app.charts import common as charts
from xai_core.app.charts import metrics as charts_metrics
from xai_core.app.charts import runs
from xai_core.app.metrics.opened_run import (
    TOO_FEW,
    OpenedRun,
    count_in_words,
    pairs_table,
    ranking_direction,
    select,
    select_model,
    select_model_and_metric,
    show_chart,
    without_controls,
)
from xai_core.app.shared import cache, display, page_links, page_setup
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.widgets import LINK, OWN
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown, settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.samples import SAMPLES
from xai_core.evaluation import ranking, row_files, significance, summary
from xai_core.evaluation.ranking import Ranks
from xai_core.evaluation.significance import Difference, Estimate
from xai_core.evaluation.summary import is_control
from xai_core.metrics.catalog import find_metric
from xai_core.models.zoo.catalog import cards, find_card, id_and_checkpoint

THUMBNAIL = 150  # pixels
EXTREMES = 6  # pictures at each end
MOST_PLAIN = 500_000  # rows of a CSV that is not zipped
BY_RANK = "Mean rank"
MARK = (
    f"**{charts.LOST}** marks a method that does not beat every control by the paired sign-flip test at 5 % (without a "
    "correction, because a method has to pass the tests against all of them). Controls are maps that do not depend on the "
    "network: random, centre, edges, uniform; one without any value by a metric is left out there. "
)
INTERVALS = (
    "In brackets: the 95 % bootstrap interval of the mean difference in favour of the first. Each interval is of one pair "
    "alone, without a correction for the other pairs, so it can exclude zero where the test shows no difference."
)


def overview(opened: OpenedRun) -> None:
    """Means with intervals of every method by every metric, model by model."""
    metrics = list(dict.fromkeys(name for model in opened.models for name in opened.of_model(model)))
    titles = {name: opened.title(name) for name in metrics}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sort = st.selectbox("Order methods by", [BY_RANK, *titles.values()], key="run-sort", width=320, **LINK)
        plain = [titles[name] for name in metrics if "@" not in name]  # variants are for the section on stability
        wanted = st.multiselect("Metrics", list(titles.values()), plain, key="run-metrics", width=420, **LINK)
        controls = st.toggle("Show the controls", True, key="run-controls", **LINK)
    columns = [name for name in metrics if not wanted or titles[name] in wanted]
    lines = opened.summary[opened.summary.metric.isin(columns)]
    lines = lines if controls else lines[~lines.control]
    few = opened.picture_count < significance.LEAST
    st.caption(
        (TOO_FEW if few else MARK)
        + "Each cell shows the mean over pictures and its 95 % bootstrap interval. Click a cell to see its pictures."
    )
    with st.container(horizontal=True, gap="large"):
        for model, title in opened.models.items():
            of_model = lines[lines.model == model]
            if len(of_model):
                with st.container(width=84 * of_model.metric.nunique() + 200):
                    st.markdown(f"**{markdown.escape(title)}** – {markdown.escape(opened.groups[model].lower())}")
                    _means(opened, of_model, [name for name in columns if name in set(of_model.metric)], sort)
    with st.expander("As a table"):
        table = lines.assign(
            model=lines.model.map(opened.models), method=lines.method.map(opened.methods), metric=lines.metric.map(titles)
        )
        display.table(table.drop(columns=["control", "direction"]), "Means of all metrics", hide_index=True)


def _means(opened: OpenedRun, lines: pd.DataFrame, metrics: list[str], sort: str) -> None:
    model, chosen = lines.model.iloc[0], [name for name in metrics if opened.title(name) == sort] or metrics

    def order_of_rows() -> tuple[list[str], str]:
        mean_ranks = lines[lines.metric.isin(chosen)].groupby("method")["rank"].mean()
        order = sorted(lines.method.unique(), key=lambda name: (is_control(name), mean_ranks.get(name, np.inf)))
        return [opened.methods[name] for name in order], findings.of_means(lines, opened.methods)

    def draw() -> alt.LayerChart:
        titled = lines.assign(method=lines.method.map(opened.methods), metric=lines.metric.map(opened.title))
        return runs.means(titled, rows, [opened.title(name) for name in metrics])

    shown = (model, tuple(metrics), tuple(chosen), tuple(lines.method.unique()))
    rows, finding = opened.computed(order_of_rows, "order of rows", *shown)
    display.finding(finding)
    show_chart(
        opened.drawn(draw, "means", *shown),
        f"means_{model.replace('/', '_')}",
        f"Means of {len(rows)} methods by {len(metrics)} metrics on {opened.models[model]}; first in this order: {rows[0]}.",
        key=f"means {model}",
        on_cell=lambda: _open_cell(opened, model),
    )


def _open_cell(opened: OpenedRun, model: str) -> None:
    """After a click on a cell, show its pictures; by keyboard, the select boxes of that section do the same."""
    cells = st.session_state[f"means {model}"]["selection"].get("cell")
    if not cells:
        return
    metrics = {name: opened.title(name) for name in opened.metrics}
    for key, titles, title in (
        ("run-model", opened.models, opened.models[model]),
        ("run-metric", metrics, cells[0]["metric"]),
        ("run-method", opened.methods, cells[0]["method"]),
    ):  # boxes that are not on the page yet: Streamlit takes their values, but does not write them into the address
        st.session_state[key] = next(name for name, known in titles.items() if known == title)
        st.query_params[key] = title
    st.session_state["look"] = "Pictures"


def methods(opened: OpenedRun) -> None:
    """Which method is better than which: ranks, and every pair in words."""
    model, metric = select_model_and_metric(opened)
    direction, names = ranking_direction(opened, metric), without_controls(opened)

    def compared() -> tuple[list[Difference], Ranks | None]:
        table = opened.values(model, metric, names)
        enough = table.shape[1] >= 3 and len(table.dropna()) >= 2
        return significance.differences(table, direction), ranking.ranks(table, direction) if enough else None

    differences, ranks = opened.computed(compared, "differences and ranks", model, metric)
    if not differences:
        raise BadRequest("A comparison needs two methods; this run has one.")
    if ranks is not None:
        _ranks(opened, ranks, differences)
    st.markdown("**Differences on the same pictures**")
    words = [significance.in_words(pair, lambda name: opened.methods[name]) for pair in differences[:8]]
    st.markdown("\n".join(f"- {markdown.escape(line)}" for line in words))
    st.caption(f"{significance.result_in_words(differences)} {INTERVALS}")
    with st.expander(f"All {len(differences)} pairs"):
        display.table(pairs_table(differences, opened), "Differences of methods on the same pictures", hide_index=True)


def _ranks(opened: OpenedRun, ranks: Ranks, differences: Sequence[Difference]) -> None:
    order = sorted(ranks.mean, key=lambda name: ranks.mean[name])
    as_good = ", ".join(opened.methods[name] for name in order if name not in ranks.worse)
    k, title = len(order), opened.methods[ranks.best]
    st.markdown("**Ranks of the methods on each picture**")
    words = (
        f"Mean ranks of {k} methods with the critical difference; no significant difference from the best rank: {as_good}."
    )
    show_chart(runs.critical_difference(ranks, lambda name: opened.methods[name]), "critical_difference", words)
    p = "p < .001" if ranks.p < 0.001 else f"p = {significance.plain(ranks.p)}"
    st.caption(
        f"Nemenyi's test compares the mean ranks of every two of {k} methods on the same pictures (n = {ranks.n}), with "
        f"correction for all {k * (k - 1) // 2} comparisons. Each bar reaches half of its critical difference "
        f"({ranks.critical:.2f} ranks) to either side: two ranks differ significantly at 5 % where bars do not overlap. "
        f"Friedman's test that all methods are equal: {p}."
    )
    by_value = {row.b for row in differences if row.shown and row.a == ranks.best}
    if by_value != set(ranks.worse):
        st.caption(
            f"By their ranks, {len(ranks.worse)} of {k - 1} methods are significantly worse than {title}; by the "
            f"differences below, {len(by_value)} are. The two tests answer different questions: the test of ranks, how "
            "often a method is better than the others; the test of differences, by how much."
        )


def spread(opened: OpenedRun) -> None:
    """The distribution of the values over the pictures."""
    model, metric = select_model_and_metric(opened)
    direction = opened.direction(metric)

    def order() -> tuple[list[str], list[str], int]:
        """The methods, best first, those with the best mean, and the number of pictures."""
        table = opened.values(model, metric)
        means = significance.oriented(table, direction).mean().sort_values(ascending=False, kind="stable")
        names = sorted(means.index, key=is_control)
        best = table[means.index[0]].mean()  # of all of them: a control may be the best
        return names, [name for name in names if table[name].mean() == best], len(table)

    def draw() -> alt.LayerChart:
        return runs.spreads(opened.values(model, metric)[names], titles, opened.pictures, opened.title(metric))

    names, best, count = opened.computed(order, "order of a spread", model, metric)
    titles = [opened.methods[name] for name in names]
    first = ", ".join(opened.methods[name] for name in best) or "none"
    words = f"{opened.title(metric)} of {len(names)} methods over {count} pictures; {_end(direction)} mean: {first}."
    key = f"spread {model} {metric}"
    chart = opened.drawn(draw, "spread", model, metric)
    show_chart(chart, "spread", words, key=key, on_cell=lambda: page_setup.scroll_to("point"))
    points = (
        "Each point is one picture"
        if count <= runs.MOST_POINTS
        else f"Points are {runs.MOST_POINTS:,} of the {count:,} pictures, drawn at random, and those at the ends"
    )
    st.caption(
        f"Box: the middle half of the pictures with their median. Whiskers: all pictures. {points}: click it to see which. "
        "The section Pictures lists the best and the worst."
    )
    ids = dict(zip(titles, names, strict=True))
    for point in st.session_state[key]["selection"].get("cell") or ():
        is_picked = (opened.table.picture == point["picture"]) & (opened.table.method == ids[point["method"]])
        is_shown = (opened.table.model == model) & (opened.table.metric == metric)
        for row in opened.whole(opened.table[is_picked & is_shown]).to_dict("records"):
            with st.container(border=True, width=THUMBNAIL + 34, key="point"):
                st.caption(markdown.escape(point["method"]))
                _picture(opened, {str(name): value for name, value in row.items()})


def _end(direction: str) -> str:
    return "best" if direction else "highest"


def curves(opened: OpenedRun) -> None:
    """The mean curves of some methods, controls dashed."""
    model, metric = select_model_and_metric(opened)
    axes = find_metric(metric).axes
    curve_of = opened.computed(
        lambda: summary.mean_curves(opened.run.curves_in_parts(model, metric)), "curves", model, metric
    )
    if not curve_of or axes is None:
        raise BadRequest(f"{opened.title(metric)} has no curve. Choose a metric that has one, such as deletion.")
    lines = opened.summary_of(model, metric).set_index("method")
    estimates = {str(name): _estimate(line) for name, line in lines.to_dict("index").items()}
    order = lines[~lines.control].sort_values("rank").index
    chosen = st.multiselect(
        "Methods", without_controls(opened), list(order[:3]), format_func=lambda name: opened.methods[name],
        key="run-curves", **LINK,
    )  # fmt: skip
    names = [*chosen, *(name for name in opened.methods if is_control(name))]
    titles = {name: f"{opened.methods[name]} {estimates[name]}" for name in names if name in estimates}
    drawn = [name for name in names if name in curve_of]
    means = {titles[name]: curve_of[name].points for name in drawn}
    points = charts_metrics.curve_points(means, [titles[name] for name in titles if is_control(name)])
    counts = [curve_of[name].n for name in drawn]
    over = count_in_words(min(counts), max(counts)) if counts else "no pictures"
    words = f"Mean curves by {opened.title(metric)} over {over}: {'; '.join(means)}."
    show_chart(charts_metrics.curves(points, axes, None), "curves", words)
    st.caption(
        f"Means over {over}. The number after each name is the mean of the metric, with its 95 % interval in brackets."
    )


def _estimate(line: Mapping[Hashable, Any]) -> Estimate:
    why = "" if line["n"] > 1 else significance.ONE_PICTURE
    return Estimate(line["mean"], line["low"], line["high"], line["n"], why)


def pictures(opened: OpenedRun) -> None:
    """The best and the worst pictures of one cell."""
    model, metric = select_model_and_metric(opened)
    method = select("Method", list(opened.methods), opened.methods, "run-method")

    def ends() -> tuple[pd.DataFrame, dict[str, int]]:
        """The rows that are shown, and the notes on pictures without a value, each with their number."""
        table, cell = opened.table, (model, metric, method)
        some = summary.extremes(table, *cell, opened.direction(metric), EXTREMES)
        of_cell = (table.model == model) & (table.metric == metric) & (table.method == method)
        notes = table.note[of_cell & table.value.isna()].astype(str).value_counts()
        return opened.whole(some).assign(end=some["end"]), {str(note): int(count) for note, count in notes.items()}

    rows, failed = opened.computed(ends, "ends", model, metric, method)
    for end in dict.fromkeys(rows.end):
        st.markdown(f"**{end.capitalize()}** by {markdown.escape(opened.title(metric))}")
        with st.container(horizontal=True, gap="small"):
            for row in rows[rows.end == end].to_dict("records"):
                with st.container(border=True, width=THUMBNAIL + 34):
                    _picture(opened, row)
    if not len(rows):
        st.info("There are no values: this method was not measured on this model, or it failed on every picture.")
    for note, count in failed.items():
        st.caption(f"{count} {'picture' if count == 1 else 'pictures'} without a value: {markdown.escape(note)}")


def _picture(opened: OpenedRun, row: Mapping[str, Any]) -> None:
    name = row["name"]
    title = SAMPLES[name].title if name in SAMPLES else name
    small = _squared(cache.sample(name)) if name in SAMPLES else opened.run.thumbnail(row["picture"])
    if small is not None:
        st.image(small, width=THUMBNAIL, alt=f"The picture {title}")
    st.markdown(f"**{significance.plain(row['value'])}** {markdown.escape(title)}")
    st.caption(f"{markdown.escape(row['target'])} = {significance.plain(row['target_value'])}")
    settings = settings_of(row)
    if settings is not None:
        with st.container(key=f"open {row.get('end', 'point')} {row['picture']}"):
            page_links.link(
                page_links.SINGLE, f"Open **{markdown.escape(title)}**", settings, icon=":material/image_search:",
                origin=page_links.METRICS, help=f"{markdown.escape(title)} on the page Single image",
            )  # fmt: skip


def _squared(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((2 * THUMBNAIL, 2 * THUMBNAIL))
    return small


def settings_of(row: Mapping[str, Any]) -> dict[str, str] | None:
    """What asks for the same map on the page Single image; None for an untrained model, which that page does not offer.

    `row` is a row of the run's table. A picture that is no sample is named by its SHA-256; the page asks for the file.
    """
    id, checkpoint = id_and_checkpoint(row["model"])
    if checkpoint == "random":
        return None
    card = cards().get(id)
    settings = {"model": card.title if card else id} | ({f"{id}.weights": checkpoint} if checkpoint else {})
    sample = SAMPLES.get(row["name"])
    settings |= {"picture": sample.title} if sample else {"picture": OWN, "upload": row["picture"]}
    kind, _, index = row["target_key"].partition(" ")
    if kind == "logit":
        settings["class"] = f"{row['target'].removeprefix('logit of ')} ({index})"
    method = row["method"].removeprefix(summary.CONTROL)
    return settings | {"method": METHODS[method].title if method in METHODS else method}


def downloads(opened: OpenedRun) -> None:
    """Buttons that save the rows, the means and the settings."""
    stem, run = opened.run.folder.name, opened.run
    # The server holds a download in memory: as CSV, five million rows have 1.3 GB.
    zipped = len(opened.table) > MOST_PLAIN
    csv = (
        ("All rows (CSV, gzip)", f"{stem}.csv.gz", "application/gzip")
        if zipped
        else ("All rows (CSV)", f"{stem}.csv", "text/csv")
    )
    display.downloads(
        {
            csv[0]: (*csv[1:], lambda: row_files.csv_file(run, zipped=zipped)),
            "All rows (Parquet)": (
                f"{stem}.parquet", "application/vnd.apache.parquet", lambda: row_files.parquet_file(run)
            ),
            "Means and intervals (CSV)": (
                f"{stem}_means.csv", "text/csv", lambda: csv_bytes(opened.summary)
            ),
            "Settings (JSON)": (f"{stem}.json", "application/json", (opened.run.folder / "manifest.json").read_bytes),
        }
    )  # fmt: skip
    st.caption("Below each chart are buttons that save it as PNG or SVG. To share a view, copy the page's address.")


def agreement(opened: OpenedRun) -> None:
    """How far metrics agree on the order of methods."""
    model, methods = select_model(opened), without_controls(opened)
    names = [name for name in opened.of_model(model) if opened.direction(name)]
    if len(names) < 2 or len(methods) < 3:
        raise BadRequest("This needs three methods and two metrics that rank them (↑ or ↓); the run has fewer.")
    taus = opened.computed(
        lambda: summary.between_metrics(opened.table, opened.metrics, model, methods, names), "agreement", model
    )
    matrix = ranking.matrix(taus, names)
    titles = [opened.title(name) for name in names]
    pairs = matrix[np.triu_indices(len(names), 1)]
    extent = f"{np.nanmin(pairs):.2f} to {np.nanmax(pairs):.2f}" if np.isfinite(pairs).any() else "nothing to compare"
    listed = ", ".join(titles)
    words = f"Kendall's tau between the orders of {len(methods)} methods by {len(names)} metrics ({listed}): {extent}."
    chart = opened.drawn(lambda: charts.agreement_matrix(matrix, titles, "Kendall's tau"), "agreement", model)
    show_chart(chart, "metric_agreement", words)
    st.caption(
        "Each metric orders the methods, from best to worst, by their means over pictures. Kendall's tau compares two such "
        "orders: 1 is the same order, 0 unrelated, -1 the reverse. Metrics that disagree measure different things: do "
        "not rely on one of them alone."
    )
    with st.expander("With intervals"):
        lines = [(opened.title(a), opened.title(b), tau.value, tau.low, tau.high, tau.n) for (a, b), tau in taus.items()]
        columns = ["metric", "other", "tau", "low", "high", "pictures"]
        display.table(pd.DataFrame(lines, columns=columns), "Kendall's tau of metrics", hide_index=True)


def stability(opened: OpenedRun) -> None:
    """Does the order of methods survive another variant of the metric, another model, other pictures?"""
    model, metric = select_model_and_metric(opened)
    methods, base = without_controls(opened), metric.partition("@")[0]
    variants = [name for name in opened.of_model(model) if name.partition("@")[0] == base]
    direction = ranking_direction(opened, metric)

    def orders() -> tuple[list[dict[str, Any]], str]:
        """A row for each two orders that are compared, and why two halves of the pictures cannot be."""
        rows = []
        for (a, b), tau in summary.between_metrics(opened.table, opened.metrics, model, methods, variants).items():
            rows.append(_tau("another variant of the metric", f"{_variant(opened, a)} | {_variant(opened, b)}", tau))
        for (a, b), tau in summary.between_models(opened.table, metric, direction, list(opened.models), methods).items():
            rows.append(_tau("another model", f"{opened.models[a]} | {opened.models[b]}", tau))
        try:
            halves = ranking.split_halves(opened.values(model, metric, methods))
        except BadRequest as error:
            return rows, str(error)
        return [*rows, _tau("other pictures", "two random halves of the pictures", halves)], ""

    rows, missing = opened.computed(orders, "stability", model, metric)
    if missing:
        st.caption(error_text(missing))
    rows = [row for row in rows if np.isfinite(row["value"])]
    if not rows:
        raise BadRequest(
            "There is no second order to compare with: this run has one variant of the metric, one model, and too few "
            "pictures to split."
        )
    words = "; ".join(f"{row['name']} {row['value']:.2f}" for row in rows[:12])
    title = "Kendall's tau between two orders of methods"
    chart = opened.drawn(lambda: runs.taus(pd.DataFrame(rows), title), "stability", model, metric)
    show_chart(chart, "rank_stability", f"Rank stability: {words}.")
    st.caption(
        "Kendall's tau of 1: the same order of methods; 0: an unrelated one. Bars: the 95 % bootstrap interval over "
        "pictures; for random halves, the range of 95 % of the splits. An order that changes with the variant, the model or "
        "the pictures says little about the methods themselves."
    )
    if len(variants) < 2:
        st.info(f"To try another substrate or step, evaluate a variant as well: `--metrics {base}@mean,{base}@steps=32`.")


def _variant(opened: OpenedRun, name: str) -> str:
    return str(opened.metrics[name]["title"]) + ("" if "@" in name else " (default)")


def _tau(kind: str, name: str, estimate: Estimate) -> dict[str, Any]:
    return {"kind": kind, "name": name, **estimate._asdict()}


def groups(opened: OpenedRun) -> None:
    """Supervised models compared with self-supervised (or untrained) ones."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        metrics = list(dict.fromkeys(name for model in opened.models for name in opened.of_model(model)))
        metric = select("Metric", metrics, {name: opened.title(name) for name in metrics}, "run-metric")
        measured = [name for name in opened.models if metric in opened.of_model(name)]
        chosen = st.multiselect(
            "Models", measured, comparable({name: opened.groups[name] for name in measured}), key="run-models",
            format_func=lambda name: opened.models[name], width=520, **LINK,
        )  # fmt: skip
    if not chosen:
        raise BadRequest("Choose the models to compare.")
    group_of = {name: opened.groups[name] for name in chosen}
    measured_rows = opened.table[opened.table.model.isin(chosen) & (opened.table.metric == metric)]
    common = set.intersection(*(set(measured_rows.method[measured_rows.model == name]) for name in chosen))
    kinds, methods = list(dict.fromkeys(group_of.values())), [name for name in without_controls(opened) if name in common]
    if not methods:
        raise BadRequest("No method was measured on all of these models: choose fewer models.")
    lines = summary.by_group(opened.table, group_of, metric, methods)
    first_group = lines[lines.group == kinds[0]].set_index("method")
    order = significance.oriented(first_group[["value"]], opened.direction(metric))["value"]
    lines = lines.sort_values("method", key=lambda names: -names.map(order), kind="stable")
    rows = lines.assign(name=lines.method.map(opened.methods), kind=lines.group)
    words = f"{opened.title(metric)} of {len(methods)} methods, for {', '.join(kinds).lower()} models."
    show_chart(runs.intervals(rows, opened.title(metric)), "groups", words)
    counts = ", ".join(f"{list(group_of.values()).count(kind)} {markdown.escape(kind.lower())}" for kind in kinds)
    st.caption(
        f"Models: {counts}. A picture's value is its mean over the models of a group; a picture without a value for one of "
        "them is left out. Intervals are over pictures, for just these models. Only methods that were measured on all of "
        "them are shown. Where the networks know different classes or were trained on different pictures, a difference may "
        "come from that and not from the supervision."
    )
    if len(kinds) < 2:
        st.info(
            "All of these models are of one group. To compare self-supervised with supervised ones, evaluate a model of the "
            f"other group into the same folder: `--models` takes every id that `{settings.PROGRAM} models` lists."
        )
        return
    differences = summary.between_groups(opened.table, group_of, metric, methods)
    first, second = kinds[:2]
    heading = f"**{markdown.escape(first)} minus {markdown.escape(second.lower())}**"
    st.markdown(f"{heading}: {significance.result_in_words(differences)}")
    with st.expander("Method by method"):
        table = pairs_table(differences, opened).drop(columns="worse").rename(columns={"better": "method"})
        named = table.assign(method=table.method.str.removesuffix(f" on {first}").map(opened.methods))
        display.table(named, f"{first} minus {second.lower()}, method by method", hide_index=True)


def comparable(groups: Mapping[str, str]) -> list[str]:
    """The models with the same classes as the first self-supervised one, if they are of several groups; else all models.

    `groups` are the groups of the models by their names.
    """

    def classes(name: str) -> str | tuple[str, ...] | None:
        try:
            return find_card(id_and_checkpoint(name)[0]).classes
        except XaiError:
            return None

    first = next((name for name, group in groups.items() if group == "Self-supervised"), None)
    same = [name for name in groups if first is not None and classes(name) == classes(first)]
    return same if len({groups[name] for name in same}) > 1 else list(groups)
