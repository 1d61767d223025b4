"""The run that is open on the page: choosing it, its rows and titles, its progress, and what its sections have in common."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.charts import common
from xai_core.app.shared import display, report_items, run_form
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.widgets import LINK
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown, part_store, settings, tables
from xai_core.core.errors import BadRequest, XaiError
from xai_core.evaluation import significance, store
from xai_core.evaluation import summary as run_summary
from xai_core.evaluation.store import EvaluationRun
from xai_core.evaluation.summary import CONTROL

Result = TypeVar("Result")
FOLLOW_SECONDS = 5
MADE = "made"  # the folder of the runs that are started on the page
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
TOO_FEW = "There are too few pictures to compare methods with the controls: at least six are needed. "
COMMAND = f"{settings.PROGRAM} evaluate DATA --models A,B --methods x,y,z --metrics quick --images 200"


Parts = tuple[tuple[str, int, int], ...]  # name, size in bytes and time of change in nanoseconds of every file


def _parts(folder: Path) -> Parts:
    """The state of a run's files, the manifest first: what is made from them is kept by it."""
    files = (folder / part_store.MANIFEST, *part_store.find_parts(folder / part_store.PARTS))
    return tuple((file.name, *_state(file)) for file in files)


def _state(part: Path) -> tuple[int, int]:
    try:
        state = part.stat()
    except OSError:  # a link that leads nowhere
        return 0, 0
    return state.st_size, state.st_mtime_ns


@st.cache_resource(max_entries=4, show_spinner="Reading the run")
def _table(folder: str, parts: Parts, _run: EvaluationRun) -> pd.DataFrame:
    """The rows of a run, some columns (`EvaluationRun.held`). They are shared by all sessions: do not write to them."""
    return _run.held()


@st.cache_resource(max_entries=4, show_spinner="Computing intervals")
def _summary(folder: str, parts: Parts, metrics: str, _table: pd.DataFrame) -> pd.DataFrame:
    lines = run_summary.summary(_table, json.loads(metrics))
    tables.release_memory()
    return lines


@st.cache_resource(max_entries=32, show_spinner="Computing intervals")
def _summary_of(folder: str, parts: Parts, model: str, metric: str, metrics: str, _table: pd.DataFrame) -> pd.DataFrame:
    rows = _table[(_table.model == model) & (_table.metric == metric)]
    return run_summary.summary(rows, json.loads(metrics))


@st.cache_resource(max_entries=64, show_spinner="Computing")
def _computed(folder: str, parts: Parts, what: str, _compute: Callable[[], Any]) -> Any:
    result = _compute()
    tables.release_memory()
    return result


class _Contents(NamedTuple):
    """What there is in a run: names of models and methods, the metrics of each model, and how many pictures."""

    models: frozenset[str]
    methods: frozenset[str]
    metrics: Mapping[str, frozenset[str]]
    pictures: int


def _contents_of(table: pd.DataFrame) -> _Contents:
    """Counted by the categories' numbers: five million texts would take seconds and half a gigabyte."""
    models, names = table.model.cat.categories, table.metric.cat.categories
    cells = np.flatnonzero(np.bincount(table.model.cat.codes.to_numpy(np.int64) * len(names) + table.metric.cat.codes))
    metrics = {
        model: frozenset(names[cells[cells // len(names) == place] % len(names)]) for place, model in enumerate(models)
    }
    methods = table.method.cat.categories[np.flatnonzero(np.bincount(table.method.cat.codes))]
    pictures = np.count_nonzero(np.bincount(table.picture.cat.codes))
    return _Contents(frozenset(name for name, own in metrics.items() if own), frozenset(methods), metrics, int(pictures))


def _names_of(table: pd.DataFrame) -> dict[str, str]:
    """The name of each picture by its digest; of several the last."""
    name_of = np.zeros(len(table.picture.cat.categories), np.int64)
    name_of[table.picture.cat.codes] = table.name.cat.codes
    return dict(zip(table.picture.cat.categories, table.name.cat.categories[name_of], strict=True))


@dataclass(frozen=True)
class OpenedRun:
    """A run as the page shows it: its rows and summary, and the titles of everything in it.

    It is opened once in a rerun of the page and handed to all sections; `parts` is the state of its files before that.
    """

    run: EvaluationRun
    parts: Parts

    @cached_property
    def table(self) -> pd.DataFrame:
        return _table(str(self.run.folder), self.parts, self.run)

    @cached_property
    def summary(self) -> pd.DataFrame:
        return _summary(str(self.run.folder), self.parts, json.dumps(self.metrics), self.table)

    def summary_of(self, model: str, metric: str) -> pd.DataFrame:
        """The lines of `summary` of one model and metric, without computing the others."""
        return _summary_of(str(self.run.folder), self.parts, model, metric, json.dumps(self.metrics), self.table)

    def drawn(self, draw: Callable[[], common.AnyChart], *what: object) -> common.Drawn:
        """A chart of this run, drawn once while its files stay the same; `what` tells it from all others of the run."""
        return display.kept_chart(draw, str(self.run.folder), self.parts, *what)

    def computed(self, compute: Callable[[], Result], *what: object) -> Result:
        """A result of this run, computed once as `drawn` does. All sessions share it: do not write to it."""
        result: Result = _computed(str(self.run.folder), self.parts, repr(what), compute)
        return result

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        metrics: dict[str, dict[str, Any]] = self.run.manifest["metrics"]
        return metrics

    @cached_property
    def models(self) -> dict[str, str]:
        """Titles of the models that have rows, by their names."""
        models = self.run.manifest["models"]
        return {name: models[name]["title"] for name in models if name in self._contents.models}

    @cached_property
    def groups(self) -> dict[str, str]:
        """The group of each model ("Supervised", "Self-supervised", "Untrained", "Other"), by its name."""
        return {name: self.run.manifest["models"][name]["group"] for name in self.models}

    @cached_property
    def methods(self) -> dict[str, str]:
        """Titles of the methods that have rows, by their ids; controls last."""
        ids = self._contents.methods
        titles = {name: method["title"] for name, method in self.run.manifest["methods"].items()}
        for name in sorted(ids):
            id = name.removeprefix(CONTROL)
            if name != id:
                titles[name] = f"{METHODS[id].title if id in METHODS else id} (control)"
        return {name: title for name, title in titles.items() if name in ids}

    @cached_property
    def pictures(self) -> dict[str, str]:
        """Names of the pictures by their digests."""
        return self.computed(lambda: _names_of(self.table), "names of pictures")

    @cached_property
    def _contents(self) -> _Contents:
        return self.computed(lambda: _contents_of(self.table), "contents")

    @property
    def picture_count(self) -> int:
        return self._contents.pictures

    def whole(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Some rows of `table` with all columns of the run."""
        return self.run.whole(rows)

    def title(self, metric: str) -> str:
        """The metric's title, with an arrow up where higher is better and down where lower is."""
        return str(self.metrics[metric]["title"]) + ARROWS[self.direction(metric)]

    def direction(self, metric: str) -> str:
        """ "higher" or "lower", whichever is better; "" where neither is."""
        return str(self.metrics[metric]["direction"])

    def of_model(self, model: str) -> list[str]:
        """The metrics by which a model was measured."""
        measured = self._contents.metrics.get(model, frozenset())
        return [name for name in self.metrics if name in measured]

    def values(self, model: str, metric: str, methods: Sequence[str] | None = None) -> pd.DataFrame:
        """The values of one model and metric, pictures x methods (all of them by default)."""
        return run_summary.values(self.table, model, metric, methods or list(self.methods))

    def better(self, model: str, metric: str, methods: Sequence[str]) -> pd.DataFrame:
        """As `values`, for a metric with a direction: negated where lower is better."""
        return significance.oriented(self.values(model, metric, methods), self.direction(metric))


def choose() -> OpenedRun | None:
    """The control that chooses a run, and the run, opened; None where none can be shown, and the page says why."""
    # Runs started on the page come last, so that the run shown by default stays the same.
    every = [folder for root in settings.runs_folders() for folder in store.find_runs([root])]
    folders = {run_form.label(folder): folder for folder in sorted(every, key=lambda folder: folder.parent.name == MADE)}
    if not folders:
        command = settings.without_folders(f"{COMMAND} --out {settings.new_runs_folder() / 'mine'}")
        st.info(f"There is no run in {_folders()} yet. Start one above, or on the command line:\n\n    {command}")
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Run", list(folders), key="run", width=380, help=f"Runs in {_folders()}.", **LINK)
        st.button("Refresh", icon=":material/refresh:", key="refresh", help="Look for new runs and new measurements")
    try:
        parts = _parts(folders[name])
        opened = OpenedRun(store.open_run(folders[name]), parts)
        run = opened.run
        if not len(opened.table):
            if run.being_written:
                st.info("Nothing is measured in this run yet. Its measurements appear here as they are stored.")
                _follow(opened)
            else:
                st.info("This run has no measurements, and no process is working on it. Start it again.")
            return None
    except XaiError as error:
        st.error(error_text(error))
        return None
    _status(opened)
    return opened


def _folders() -> str:
    return " and ".join(f"`{folder.name}/`" for folder in settings.runs_folders())


def _status(opened: OpenedRun) -> None:
    """A line with the run's settings and size, its progress while it is being written, and warnings about its files."""
    manifest, table, pictures = opened.run.manifest, opened.table, opened.picture_count
    asked, software = manifest["asked"], manifest["software"]
    facts = [
        f"{_counted(pictures, 'picture')} of '{asked['data']}'",
        _counted(len(opened.models), "model"),
        _counted(len(without_controls(opened)), "method"),
        _counted(len(opened.metrics), "metric"),
        f"{len(table):,} measurements",
        f"target: {asked['target']}",
        f"seed {asked['seed']}",
    ]
    versions = f"xai_core {software['xai_core']}, torch {software['torch']}"
    st.caption(markdown.escape(f"{', '.join(facts)}. {manifest['created'][:10]}, {versions}."))
    missing = manifest.get("rows", len(table)) - len(table)
    if opened.run.being_written:
        share = len(table) / max(len(table), manifest.get("rows", 1))
        st.progress(share, text=f"In progress: {len(table):,} of {manifest.get('rows', 0):,} measurements.")
        if st.toggle("Follow", key="follow", help=f"Update this page every {FOLLOW_SECONDS} seconds", **LINK):
            _follow(opened)
    elif missing > 0 and not manifest.get("left_out"):
        st.warning(f"This run ended early: {missing:,} measurements are missing. Run the same command again to resume it.")
    for name in opened.run.damaged:
        st.warning(
            f"{markdown.escape(name)} is damaged, so its measurements are left out. Evaluate again into the same folder to "
            "replace them."
        )
    left_out = manifest.get("left_out", {})
    if left_out:
        with st.expander(f"{_counted(len(left_out), 'picture')} left out"):
            st.markdown(
                "\n".join(f"- {markdown.escape(name)}: {markdown.escape(why)}" for name, why in list(left_out.items())[:200])
            )
    if pictures == 1:
        st.info(
            "This run has one picture. Intervals and tests need several, because they are computed from the differences "
            "between pictures."
        )


@st.fragment(run_every=FOLLOW_SECONDS)
def _follow(opened: OpenedRun) -> None:
    """Run the page again when the run's files have changed or it is complete."""
    if _parts(opened.run.folder) != opened.parts or not opened.run.being_written:
        st.rerun()


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def select_model(opened: OpenedRun) -> str:
    """The control that chooses a section's model."""
    return select("Model", list(opened.models), opened.models, "run-model")


def select_model_and_metric(opened: OpenedRun) -> tuple[str, str]:
    """The controls that choose a section's model and metric."""
    with st.container(horizontal=True):
        model = select_model(opened)
        metrics = opened.of_model(model)
        metric = select("Metric", metrics, {name: opened.title(name) for name in metrics}, "run-metric")
    st.caption(markdown.escape(opened.metrics[metric]["sentence"]))
    return model, metric


def select(label: str, names: Sequence[str], titles: Mapping[str, str], key: str) -> str:
    return st.selectbox(label, names, format_func=lambda name: titles.get(name, name), key=key, width=320, **LINK)


def ranking_direction(opened: OpenedRun, metric: str) -> str:
    """ "higher" or "lower", whichever is better. Raises BadRequest for a metric of which neither is."""
    direction = opened.direction(metric)
    if not direction:
        raise BadRequest(
            f"{opened.title(metric)} cannot rank methods: neither higher nor lower is better. Choose another metric."
        )
    return direction


def pairs_table(differences: Sequence[significance.Difference], opened: OpenedRun) -> pd.DataFrame:
    """Every pair of methods in a row, with titles."""
    return pd.DataFrame(
        {
            "better": opened.methods.get(pair.a, pair.a), "worse": opened.methods.get(pair.b, pair.b),
            "by": pair.mean.value, "low": pair.mean.low, "high": pair.mean.high, "n": pair.mean.n, "p": pair.p,
            "p (Holm)": pair.adjusted,
        }
        for pair in differences
    )  # fmt: skip


def without_controls(opened: OpenedRun) -> list[str]:
    """The ids of the methods that are no controls."""
    return [name for name in opened.methods if not run_summary.is_control(name)]


def show_chart(
    drawn: common.AnyChart | common.Drawn,
    name: str,
    alt_text: str,
    *,
    key: str | None = None,
    on_cell: Callable[[], None] | None = None,
) -> None:
    """A chart at its own width, with its text for screen readers and two buttons that save it as PNG or SVG.

    `on_cell` is called after a click that selects a cell or a point; the selection `cell` is in the session under `key`.
    """
    chart = drawn.chart if isinstance(drawn, common.Drawn) else drawn
    shown: Any = drawn  # Streamlit asks it for its specification
    width: Literal["stretch", "content"] = "stretch" if chart.width is alt.Undefined else "content"
    if on_cell is None:
        st.altair_chart(shown, width=width, alt=alt_text, key=key)
    else:
        st.altair_chart(shown, width=width, alt=alt_text, key=key, on_select=on_cell, selection_mode="cell")
    with st.container(horizontal=True, gap="small"):
        for kind, mime in (("png", "image/png"), ("svg", "image/svg+xml")):
            st.download_button(
                kind.upper(), partial(common.chart_bytes, chart, kind), f"{name}.{kind}", mime, type="tertiary",
                key=f"{name} {kind}", on_click="ignore", icon=":material/download:", help="Save this chart",
            )  # fmt: skip
        report_items.add_chart(chart, alt_text, key or name)


def count_in_words(fewest: int, most: int) -> str:
    """Numbers of pictures: '8 pictures', or '6 to 8 pictures, because some have no value'."""
    if fewest == most:
        return f"{most} {'picture' if most == 1 else 'pictures'}"
    return f"{fewest} to {most} pictures, because some have no value"
