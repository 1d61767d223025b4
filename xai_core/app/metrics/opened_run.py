"""What the sections of "A run" share: the run that is picked, its rows and titles, how charts and tables are shown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from xai_core.app.charts import common
from xai_core.app.shared.widgets import LINK
from xai_core.attribution.catalog import METHODS
from xai_core.core import settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.evaluation import significance, store
from xai_core.evaluation import summary as run_summary
from xai_core.evaluation.store import CONTROL, Run

FOLLOW_SECONDS = 5
MADE = "made"  # the folder of the runs that are made on the page
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
COMMAND = "python -m xai_core evaluate DATA --models A,B --methods x,y,z --metrics quick --images 200 --out data/runs/mine"


@st.cache_resource(max_entries=4, show_spinner="Reading the run")
def _table(folder: str, parts: tuple[str, ...]) -> pd.DataFrame:
    """The rows of a run, which nobody writes to. The names of parts hold their checksums: a key that is never stale."""
    return store.open_run(folder).table()


@st.cache_resource(max_entries=4, show_spinner="Reckoning intervals")
def _summary(folder: str, parts: tuple[str, ...], metrics: str) -> pd.DataFrame:
    return run_summary.summary(_table(folder, parts), json.loads(metrics))


@dataclass(frozen=True)
class Shown:
    """A run as the page shows it: its rows and summary, and the titles of everything in it."""

    run: Run
    parts: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        return _table(str(self.run.folder), self.parts)

    @property
    def summary(self) -> pd.DataFrame:
        return _summary(str(self.run.folder), self.parts, json.dumps(self.metrics))

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        return self.run.manifest["metrics"]

    @cached_property
    def models(self) -> dict[str, str]:
        """Titles of the models that have rows, by their names."""
        known = self.run.manifest["models"]
        return {name: known[name]["title"] for name in known if (self.table.model == name).any()}

    @cached_property
    def groups(self) -> dict[str, str]:
        return {name: self.run.manifest["models"][name]["group"] for name in self.models}

    @cached_property
    def methods(self) -> dict[str, str]:
        """Titles of the methods that have rows, by their ids; controls last."""
        there = set(self.table.method.unique())
        titles = {name: one["title"] for name, one in self.run.manifest["methods"].items()}
        for name in sorted(there):
            id = name.removeprefix(CONTROL)
            if name != id:
                titles[name] = f"{METHODS[id].title if id in METHODS else id} (control)"
        return {name: title for name, title in titles.items() if name in there}

    @cached_property
    def pictures(self) -> dict[str, str]:
        """Names of the pictures by their digests."""
        return dict(self.table[["picture", "name"]].astype(str).drop_duplicates().itertuples(index=False, name=None))

    def title(self, metric: str) -> str:
        """With an arrow that points to better."""
        about = self.metrics[metric]
        return about["title"] + ARROWS[about["direction"]]

    def direction(self, metric: str) -> str:
        return self.metrics[metric]["direction"]

    def of_model(self, model: str) -> list[str]:
        """The metrics that a model was measured by."""
        there = set(self.table.metric[self.table.model == model].unique())
        return [name for name in self.metrics if name in there]

    def values(self, model: str, metric: str, methods: Sequence[str] | None = None) -> pd.DataFrame:
        return run_summary.values(self.table, model, metric, methods or list(self.methods))


def chosen() -> Shown | None:
    """The run that is picked, read; None where there is none to show, and the reason is on the page."""
    # Those that are made on the page come last: what is shown until another is chosen stays the same.
    every = [folder for root in settings.runs_folders() for folder in store.find_runs([root])]
    found = {label(folder): folder for folder in sorted(every, key=lambda folder: folder.parent.name == MADE)}
    if not found:
        st.info(f"There is no run in {_folders()} yet. Make one above, or on the command line:\n\n    {COMMAND}")
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Run", list(found), key="run", width=380, help=f"Runs in {_folders()}.", **LINK)
        st.button("Refresh", icon=":material/refresh:", key="refresh", help="Look again for runs and for new rows")
    try:
        run = store.open_run(found[name])
        shown = Shown(run, tuple(part.name for part in run.parts))
        if not len(shown.table):
            st.info("Nothing is measured in this run yet. Refresh in a moment.")
            return None
    except (XaiError, KeyError, OSError) as error:
        st.error(str(error) if isinstance(error, XaiError) else f"This run cannot be read: {error!r}.")
        return None
    _state(shown)
    return shown


def label(folder: Path) -> str:
    """A run's name: its place under its root; runs of the project come without the words `runs/`."""
    root = next(root for root in settings.runs_folders() if folder.is_relative_to(root))
    within = folder.relative_to(root).as_posix().removeprefix("runs/")
    return within if root in settings.own_data_folders() else f"{root.name}/{within}"


def _folders() -> str:
    return " and ".join(f"`{folder.name}/`" for folder in settings.runs_folders())


def _state(shown: Shown) -> None:
    """What was asked and how far it is, in a line; what is wrong with it, if anything."""
    manifest, table = shown.run.manifest, shown.table
    asked, software = manifest["asked"], manifest["software"]
    said = [
        f"{table.picture.nunique():,} pictures of '{asked['data']}'",
        _counted(len(shown.models), "model"),
        _counted(sum(not run_summary.is_control(name) for name in shown.methods), "method"),
        _counted(len(shown.metrics), "metric"),
        f"{len(table):,} measurements",
        f"target: {asked['target']}",
        f"seed {asked['seed']}",
    ]
    st.caption(f"{', '.join(said)}. {manifest['created'][:10]}, xai_core {software['xai_core']}, torch {software['torch']}.")
    missing = manifest.get("rows", len(table)) - len(table)
    if shown.run.being_written:
        share = len(table) / max(len(table), manifest.get("rows", 1))
        st.progress(share, text=f"Being written now: {len(table):,} of {manifest.get('rows', 0):,} measurements.")
        if st.toggle("Follow", key="follow", help=f"Look every {FOLLOW_SECONDS} seconds", **LINK):
            _follow(str(shown.run.folder), shown.parts)
    elif missing > 0 and not manifest.get("left_out"):
        st.warning(f"This run ended early: {missing:,} measurements are missing. The same command goes on where it was.")
    for name in shown.run.damaged:
        st.warning(
            f"{name} is damaged and left out. Evaluate again into the same folder: it measures again what is missing."
        )
    left_out = manifest.get("left_out", {})
    if left_out:
        with st.expander(f"{_counted(len(left_out), 'picture')} left out"):
            st.markdown("\n".join(f"- `{name}`: {why}" for name, why in list(left_out.items())[:200]))
    if table.picture.nunique() == 1:
        st.info("One picture: no intervals and no tests, because nothing tells how far another picture would differ.")


@st.fragment(run_every=FOLLOW_SECONDS)
def _follow(folder: str, parts: tuple[str, ...]) -> None:
    now = store.open_run(folder)
    if tuple(part.name for part in now.parts) != parts or not now.being_written:
        st.rerun()


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def model_of(shown: Shown) -> str:
    """The model that a section is about."""
    return select("Model", list(shown.models), shown.models, "run-model")


def picked(shown: Shown) -> tuple[str, str]:
    """The model and the metric that a section is about."""
    with st.container(horizontal=True):
        model = model_of(shown)
        metrics = shown.of_model(model)
        metric = select("Metric", metrics, {name: shown.title(name) for name in metrics}, "run-metric")
    st.caption(shown.metrics[metric]["sentence"])
    return model, metric


def select(label: str, names: Sequence[str], titles: Mapping[str, str], key: str) -> str:
    return st.selectbox(label, names, format_func=lambda name: titles.get(name, name), key=key, width=320, **LINK)


def directed(shown: Shown, metric: str) -> str:
    direction = shown.direction(metric)
    if not direction:
        raise BadRequest(f"{shown.title(metric)} has no better and worse, so that methods cannot be ranked by it.")
    return direction


def pairs_table(found: list[significance.Difference], shown: Shown) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "better": shown.methods.get(one.a, one.a), "worse": shown.methods.get(one.b, one.b), "by": one.mean.value,
            "low": one.mean.low, "high": one.mean.high, "n": one.mean.n, "p": one.p, "p (Holm)": one.adjusted,
        }
        for one in found
    )  # fmt: skip


def of_methods(shown: Shown) -> list[str]:
    """The methods, without the controls."""
    return [name for name in shown.methods if not run_summary.is_control(name)]


def drawn(chart: alt.LayerChart, name: str, alt_text: str, **how: Any) -> None:
    """A chart, as wide as it is made for, with its words for those who do not see it, and two buttons that save it."""
    st.altair_chart(chart, width="stretch" if chart.width is alt.Undefined else "content", alt=alt_text, **how)
    with st.container(horizontal=True, gap="small"):
        for kind, mime in (("png", "image/png"), ("svg", "image/svg+xml")):
            st.download_button(
                kind.upper(), lambda kind=kind: common.chart_bytes(chart, kind), f"{name}.{kind}", mime, type="tertiary",
                key=f"{name} {kind}", on_click="ignore", icon=":material/download:", help="Save this chart",
            )  # fmt: skip
