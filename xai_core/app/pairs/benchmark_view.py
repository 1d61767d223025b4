"""The section Benchmark of the page Pairs: a run of methods and controls by metrics, beside the published figures."""

import pandas as pd
import streamlit as st

from xai_core.analysis import findings
from xai_core.app.charts import pairs as charts_pairs
from xai_core.app.pairs import new_benchmark
from xai_core.app.pairs.sections import CONTROL_TITLES
from xai_core.app.pairs.tiles import title
from xai_core.app.shared import display, report_items, run_form
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown, settings
from xai_core.core.spreadsheet import csv_bytes
from xai_core.pairs import benchmark, benchmark_runs, study
from xai_core.pairs.benchmark import TableLine
from xai_core.pairs.benchmark_runs import StoredBenchmark
from xai_core.pairs.metrics import PAIR_METRICS


def section() -> None:
    """The form of a new run, the choice of a run, its table and what differs from the published settings."""
    st.markdown(
        "Which methods for pairs show what the network uses? Each method is measured over many pictures beside controls: "
        "maps that do not depend on the network. The study of these methods (Sammani et al. 2022) published such a table "
        "for two networks."
    )
    new_benchmark.section()
    with display.errors():
        run = _choose()
        if run is not None:
            _show(run)


def _choose() -> StoredBenchmark | None:
    """The control that chooses a run, and the run; None where there is none to show, and the page says why."""
    every = benchmark_runs.find_benchmarks(settings.runs_folders())
    # Runs started on the page come last, so that the run shown by default stays the same.
    made = sorted(every, key=lambda folder: folder.parent.name == new_benchmark.MADE)
    folders = {run_form.label(folder): folder for folder in made}
    if not folders:
        st.info("There is no run yet. Start one above.")
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Run", list(folders), key="benchmark", width=380, **LINK)
        st.button("Refresh", icon=":material/refresh:", key="refresh-benchmark", help="Look for new runs and measurements")
    run = benchmark_runs.open_benchmark(folders[name])
    _status(run)
    return run if run.rows else None


def _status(run: StoredBenchmark) -> None:
    """A line with the run's settings and size, and how far it is."""
    plan, software = run.plan, run.asked.get("software", {})
    space = "behind the normalisation" if run.setup.normalised else "on pixels in [0, 1]"
    versions = ", ".join(f"{name} {version}" for name, version in software.items())
    st.caption(
        markdown.escape(
            f"{run.asked['title']}: {len(run.rows):,} of {len(run.names):,} pictures of '{run.asked['data']}', "
            f"{counted(len(plan.methods), 'method')}, {counted(len(plan.metrics), 'metric')}, {space}, seed {plan.seed}. "
            f"{str(run.asked.get('created', ''))[:10]}, {versions}."
        )
    )
    if len(run.rows) < len(run.names):
        now = run.being_written
        st.info(
            f"{len(run.rows):,} of {len(run.names):,} pictures are measured. "
            + ("The others follow: press Refresh." if now else "Start the run again to resume it.")
        )


def _show(run: StoredBenchmark) -> None:
    """The sentence, the chart of one metric, the table with what differs below it, and the downloads."""
    known = list(study.MODELS)
    of = st.segmented_control(
        "Published figures of", known, default=run.model if run.model in known else known[-1],
        format_func=lambda id: study.MODELS[id], required=True, key="benchmark-figures", help=FIGURES, **LINK,
    )  # fmt: skip
    lines = benchmark.table(run.pictures, run.model, of)
    titled = _titled(lines)
    display.finding(findings.of_pair_benchmark(titled))
    metrics = [metric for metric in PAIR_METRICS if metric in set(titled["metric"])]
    metric = st.selectbox(
        "Metric", metrics, format_func=lambda id: f"{benchmark.heading(id)}: {PAIR_METRICS[id].title}",
        key="benchmark-metric", width=420, **LINK,
    )  # fmt: skip
    for kind, shown in titled[titled["metric"] == metric].groupby("pairs"):
        alt = "; ".join(f"{line.method}: {line.mean:.3f}" for line in shown.itertuples())
        st.markdown(f"**On: {kind}**")
        display.chart(
            charts_pairs.benchmark_intervals(shown, PAIR_METRICS[metric]), width="stretch", key=f"benchmark {kind}",
            alt=f"{PAIR_METRICS[metric].title} on pairs of this kind: {kind}. {alt}",
        )  # fmt: skip
    st.caption(
        f"{PAIR_METRICS[metric].words}. Dots: means over pictures, with their 95% intervals. Grey: controls. Diamonds: the "
        f"published figures of {study.MODELS[of]}."
    )
    table = benchmark.wide(lines)
    table["method"] = table["method"].map(_method_title)
    help = {
        benchmark.heading(id): st.column_config.TextColumn(help=f"{PAIR_METRICS[id].title}: {PAIR_METRICS[id].words}")
        for id in metrics
    }
    display.table(table, "Means of methods by metrics", hide_index=True, column_config=help, key="benchmark-table")
    st.caption(benchmark.note(lines))
    deviations = study.deviations(run.setup, of)
    heading = f"Settings that differ from those of the published figures of {study.MODELS[of]}: {len(deviations)}"
    st.markdown(f"**{heading}**")
    texts = benchmark.of_deviations(deviations).set_index("setting")
    st.table(texts.map(markdown.escape))  # names of the run's network and pictures come from outside
    report_items.add_table(texts, heading)
    _downloads(run, lines, deviations)


FIGURES = "The study measured two networks. For any other network the difference is that of two networks, too."


def _method_title(method: str) -> str:
    return CONTROL_TITLES.get(method) or title(method)


def _titled(lines: list[TableLine]) -> pd.DataFrame:
    """The lines with the titles of methods, and whether each is a control."""
    table = pd.DataFrame(lines)
    return table.assign(control=table["method"].isin(CONTROL_TITLES), method=table["method"].map(_method_title))


def _downloads(run: StoredBenchmark, lines: list[TableLine], deviations: list[study.Deviation]) -> None:
    name, heading = run.folder.name, f"{run.asked['title']}, {run.setup.pictures}, seed {run.plan.seed}."
    display.downloads({
        "Table (CSV)": (f"{name}.csv", "text/csv", csv_bytes(pd.DataFrame(lines))),
        "Table (Markdown)": (f"{name}.md", "text/markdown", benchmark.as_markdown(lines, heading, deviations)),
        "Table (LaTeX)": (f"{name}.tex", "text/x-tex", benchmark.as_latex(lines, heading, deviations)),
        "Every value (CSV)": (f"{name}_values.csv", "text/csv", csv_bytes(run.table())),
    })  # fmt: skip
