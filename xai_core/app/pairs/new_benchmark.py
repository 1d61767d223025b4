"""Starting a run of the pairs benchmark from the page: its settings, its plan, and the measuring, which is a job."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from xai_core.app.pairs.tiles import NORMALISED, PIXELS
from xai_core.app.shared import display, jobs, network_outputs, page_links, run_form
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.page_links import PlaceToReturn
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.run_form import Offer
from xai_core.app.shared.server_job import ServerJob, key_of
from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.data import selection
from xai_core.data.datasets import Dataset
from xai_core.evaluation.planner import in_time
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import find_card, id_and_checkpoint
from xai_core.pairs import benchmark, study
from xai_core.pairs.benchmark import BenchmarkPlan
from xai_core.pairs.catalog import PAIR_METHODS
from xai_core.pairs.metrics import PAIR_METRICS, STEP

KIND = "pairs benchmark"  # of the jobs
MADE = "made_pairs"  # the folder of the runs that are started on the page
MOST_RUNS = 20
AS_PUBLISHED, USUAL = "As published", "Defaults of this project"
STEPS = [224, 448, 896, 1792, 3584, 7168]


@dataclass(frozen=True)
class NewBenchmark:
    """The settings of a run, as the form has them; `network` is a model's name as commands take it."""

    name: str
    pictures: str
    count: int
    network: str
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    published: bool
    normalised: bool
    step: int
    seed: int

    @property
    def out(self) -> Path:
        return folder() / self.name

    def command(self) -> str:
        """The command line that makes the same run."""
        id, weights = id_and_checkpoint(self.network)
        options = {"model": id} | ({"weights": weights} if weights else {})
        options |= {
            "data": str(run_form.source(self.pictures)), "images": str(self.count), "seed": str(self.seed),
            "methods": ",".join(self.methods), "metrics": ",".join(self.metrics), "step": str(self.step),
            "run": str(self.out), "out": f"out/{self.name}.csv",
        }  # fmt: skip
        words = " ".join(f"--{name} {shlex.quote(value)}" for name, value in options.items())
        words += " --published" * self.published + " --pixel-space" * (not self.normalised)
        return f"{settings.PROGRAM} pairs-benchmark {words}"

    def plan(self, model: ExplainableModel) -> BenchmarkPlan:
        """What is measured: the methods that fit the network."""
        return BenchmarkPlan(
            benchmark.fitting(model, self.methods)[0], metrics=self.metrics, seed=self.seed, step=self.step,
            normalised=self.normalised, options=study.options_of(model.id) if self.published else {},
        )  # fmt: skip

    def open_pictures(self) -> tuple[Dataset, list[str]]:
        """The pictures, and the names of those that are measured. Raises XaiError."""
        dataset = selection.open_images(run_form.source(self.pictures))
        return dataset, benchmark.chosen_pictures(dataset, self.count, self.seed)


def folder() -> Path:
    """Where runs started on the page are stored: under `data/runs/`, or under the first folder that XAI_RUNS names."""
    return settings.new_runs_folder() / MADE


def section() -> None:
    """The runs that are being measured, then the form of a new one. A run of this visitor is opened at its end."""
    with st.container(), display.errors():  # one element however many jobs there are, so that the form keeps its place
        run_form.show_jobs(KIND, _open)
    with st.expander("New run", icon=":material/add:", key="new-benchmark"), display.errors():
        new, minutes = _form()
        if new is not None:
            run_form.offer(
                Offer(new, _job_key(new, minutes), lambda: _plan(new), new.command, lambda: _start(new, minutes)), KIND,
                "The plan estimates how many passes through the network this run takes, and how long.",
            )  # fmt: skip


def _open(settings: Mapping[str, Any]) -> None:
    st.session_state["benchmark"] = run_form.label(folder() / settings["new"]["name"])


def _form() -> tuple[NewBenchmark | None, float]:
    """The settings, None while they are incomplete; and the time budget in minutes."""
    networks = run_form.networks_here()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pictures, count = run_form.choose_pictures("pairs-run", 8)
        seed = run_form.choose_seed("pairs-run")
        learned = [find_card(id_and_checkpoint(name)[0]).supervision for name in networks.values()]
        first = next((place for place, words in enumerate(learned) if "self-supervised" in words), 0)
        network = st.selectbox("Network", list(networks), first, key="pairs-run.network", width=320)
    kind = st.segmented_control(
        "Settings", [AS_PUBLISHED, USUAL], default=AS_PUBLISHED, required=True, key="pairs-run.settings", help=SETTINGS
    )
    published = kind == AS_PUBLISHED
    space, step = NORMALISED, STEP
    if not published:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            space = st.segmented_control(
                "Space", [NORMALISED, PIXELS], default=NORMALISED, required=True, key="pairs-run.space", help=SPACE
            )
            step = st.select_slider("Pixels in each step", STEPS, 1792, key="pairs-run.step", width=320)
    methods = st.multiselect(
        "Methods", list(PAIR_METHODS), list(study.PUBLISHED.values()), key="pairs-run.methods",
        format_func=lambda id: PAIR_METHODS[id].title, help="The controls are always measured as well.",
    )  # fmt: skip
    metrics = st.multiselect(
        "Metrics", list(PAIR_METRICS), list(PAIR_METRICS), key="pairs-run.metrics",
        format_func=lambda id: f"{id}: {PAIR_METRICS[id].title}",
    )  # fmt: skip
    name, minutes = run_form.choose_name_and_budget("pairs-run", "first")
    if not (methods and metrics):
        st.info("Choose at least one method and one metric.")
        return None, minutes
    if not run_form.is_name(name):
        return None, minutes
    new = NewBenchmark(
        name, pictures, count, networks[network], tuple(methods), tuple(metrics), published, space == NORMALISED, step, seed
    )
    return new, minutes


SETTINGS = (
    "As published: the options of the study's code (its rule for noise, 50 noisy copies, 1,000 views in pixel invariance, "
    "only ReLUs that are modules are guided), normalised values, 224 pixels in each step. Settings that still differ are "
    "listed below the table."
)
SPACE = "Whether maps are made, and pixels set to zero, behind the network's normalisation or before it."


def _check(new: NewBenchmark) -> None:
    """Raises BadRequest where the run would be one too many."""
    run_form.check_room(folder(), new.out, MOST_RUNS)


def _plan(new: NewBenchmark) -> str:
    """The remaining work and its estimated time, in words. Raises XaiError."""
    _check(new)
    names, model = new.open_pictures()[1], run_form.load(new.network)
    plan, misfits = new.plan(model), benchmark.fitting(model, new.methods)[1]
    if not plan.methods:
        raise BadRequest(" ".join(misfits))
    stored = benchmark.stored_pictures(new.out, plan.key(model))
    there = sum(number < len(names) for number in stored)
    passes = benchmark.passes(model, plan)
    left = passes * (len(names) - there)
    seconds = network_outputs.pass_seconds(model, left)
    words = [
        f"{counted(len(names), 'picture')}, {counted(len(plan.methods), 'method')} and {len(plan.controls)} controls by "
        f"{counted(len(plan.metrics), 'metric')}.",
        f"{there:,} of them are measured already." if there else "",
        f"Passes for a picture: {passes:,.0f}.",
        f"To do: {left:,.0f} passes, {in_time(seconds)} here." if left else "Nothing is left to do.",
        *(f"Left out: {misfit}" for misfit in misfits),
    ]
    return " ".join(filter(None, words))


def _settings(new: NewBenchmark, minutes: float) -> dict[str, Any]:
    """What the job of a run is stored with: plain JSON."""
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(new).items()}
    return {"new": told, "minutes": minutes}


def _stored(told: Mapping[str, Any]) -> NewBenchmark:
    return NewBenchmark(
        str(told["name"]), str(told["pictures"]), int(told["count"]), str(told["network"]),
        tuple(map(str, told["methods"])), tuple(map(str, told["metrics"])), bool(told["published"]),
        bool(told["normalised"]), int(told["step"]), int(told["seed"]),
    )  # fmt: skip


def _job_key(new: NewBenchmark, minutes: float) -> str:
    return key_of(KIND, _settings(new, minutes))


def _start(new: NewBenchmark, minutes: float) -> ServerJob:
    """Start the run as a job. Raises BadRequest."""
    _check(new)
    place = PlaceToReturn(page_links.PAIRS, urlencode({"more": "Benchmark", "benchmark": run_form.label(new.out)}))
    return jobs.start_kind(KIND, _settings(new, minutes), f"Pairs benchmark {new.name}", place)


def work(settings: Mapping[str, Any]) -> jobs.Work:
    """The measuring of a run, from its stored settings. Raises BadRequest for settings that the form does not allow."""
    new, minutes = _stored(settings["new"]), float(settings["minutes"])
    known = set(new.methods) <= set(PAIR_METHODS) and set(new.metrics) <= set(PAIR_METRICS)
    if not run_form.is_allowed(new.name, new.count, minutes) or not known or new.step < min(STEPS):
        raise BadRequest("This job's settings are not allowed. Start it again on its page.")

    def measure(handle: JobHandle) -> None:
        _check(new)
        dataset, names = new.open_pictures()
        model = run_form.load(new.network)
        plan = new.plan(model)
        benchmark.stored_pictures(new.out, plan.key(model))
        rows, failures = benchmark.run(
            model, dataset, names, plan, new.out, handle.pieces("pictures"), within=handle.within, budget=60 * minutes
        )
        for failure in failures:
            handle.log(f"left out: {failure}")
        if not rows:
            raise BadRequest("Nothing could be measured: " + "; ".join(failures[:3]))

    return measure
