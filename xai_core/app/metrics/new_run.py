"""Starting a run from the page: its settings, the plan with the time it takes, and the measuring, which is a job."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from xai_core.app.metrics import opened_run
from xai_core.app.shared import display, jobs, page_links, run_form, variant_form
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.metric_choice import plain_title
from xai_core.app.shared.page_links import PlaceToReturn
from xai_core.app.shared.run_form import SAMPLES as SAMPLES
from xai_core.app.shared.run_form import Offer
from xai_core.app.shared.server_job import ServerJob, key_of
from xai_core.attribution.catalog import METHODS
from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.data import datasets
from xai_core.evaluation.planner import LABEL, PREDICTED
from xai_core.evaluation.runner import evaluate
from xai_core.evaluation.store import EvaluationRun
from xai_core.metrics.catalog import METRICS, QUICK

MOST_RUNS = 20  # started on the page; the command line has no such limit
KIND = "run"  # of the jobs
USUAL_METHODS = ("grad_cam", "layer_cam", "hires_cam", "saliency")
TARGETS = {"The predicted class": PREDICTED, "The picture's label": LABEL}


@dataclass(frozen=True)
class NewRun:
    """The settings of a run, as the form has them; `networks` are model names as `evaluate` takes them."""

    name: str
    pictures: str
    count: int
    networks: tuple[str, ...]
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    target: str
    seed: int

    @property
    def out(self) -> Path:
        return folder() / self.name

    @property
    def source(self) -> str | Path:
        """The pictures, as `evaluate` takes them. Raises UnknownName."""
        return run_form.source(self.pictures)

    def command(self) -> str:
        """The command line that makes the same run."""
        options = {
            "images": self.count, "models": ",".join(self.networks), "methods": ",".join(self.methods),
            "metrics": ",".join(self.metrics), "target": self.target, "seed": self.seed,
            "out": self.out,
        }  # fmt: skip
        words = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in options.items())
        return f"{settings.PROGRAM} evaluate {shlex.quote(str(self.source))} {words}"


def folder() -> Path:
    """Where runs started on the page are stored: under `data/runs/`, or under the first folder that XAI_RUNS names."""
    return settings.new_runs_folder() / opened_run.MADE


def section() -> None:
    """The runs that are being measured, then the form of a new one. A run of this visitor is opened at its end."""
    with st.container(), display.errors():  # one element however many jobs there are, so that the form keeps its place
        run_form.show_jobs(KIND, _open)
    with st.expander("New run", icon=":material/add:", key="new-run"), display.errors():
        new, minutes = _form()
        if new is not None:
            run_form.offer(
                Offer(new, _job_key(new, minutes), lambda: _plan(new), new.command, lambda: _start(new, minutes)), KIND,
                "The plan estimates how many passes through the networks this run takes, and how long.",
            )  # fmt: skip


def _open(settings: Mapping[str, Any]) -> None:
    st.session_state["run"] = run_form.label(folder() / settings["new"]["name"])


def _form() -> tuple[NewRun | None, float]:
    """The settings, None while they are incomplete; and the time budget in minutes."""
    networks = run_form.networks_here()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pictures, count = run_form.choose_pictures("new", 50)
        target = st.selectbox("Explain", list(TARGETS), key="new.target", width=200)
        seed = run_form.choose_seed("new")
    chosen = st.multiselect("Networks", list(networks), list(networks)[:1], key="new.networks")
    methods = st.multiselect(
        "Methods", [id for id, method in METHODS.items() if method.family != "control"], USUAL_METHODS, key="new.methods",
        format_func=lambda id: METHODS[id].title, help="The controls are always measured as well.",
    )  # fmt: skip
    methods += variant_form.choose(
        beside=methods, key="new.variants", linked=False, without="control",
        networks=[run_form.network_of(networks[title]) for title in chosen],
    )  # fmt: skip
    lacking = set() if pictures.startswith(datasets.WORLD) else {"box", "scene"}
    fitting = [id for id, metric in METRICS.items() if not metric.needs & lacking]
    usual = [id for id in QUICK if id in fitting and "box" not in METRICS[id].needs][:4]
    metrics = st.multiselect("Metrics", fitting, usual, format_func=plain_title, key="new.metrics")
    name, minutes = run_form.choose_name_and_budget("new", "first")
    if not (chosen and methods and metrics):
        st.info("Choose at least one network, one method and one metric.")
        return None, minutes
    if not run_form.is_name(name):
        return None, minutes
    names = tuple(networks[title] for title in chosen)
    return NewRun(name, pictures, count, names, tuple(methods), tuple(metrics), TARGETS[target], seed), minutes


def _plan(new: NewRun) -> str:
    """The remaining work and its estimated time, in words. Raises XaiError."""
    run_form.check_room(folder(), new.out, MOST_RUNS)
    plan = evaluate(
        new.networks, new.methods, new.metrics, new.source, new.out, count=new.count, target=new.target, seed=new.seed,
        load=run_form.load, dry=True,
    )  # fmt: skip
    return str(plan)


def _settings(new: NewRun, minutes: float) -> dict[str, Any]:
    """What the job of a run is stored with: plain JSON."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(new).items()}
    return {"new": fields, "minutes": minutes}


def _stored(fields: Mapping[str, Any]) -> NewRun:
    return NewRun(
        str(fields["name"]), str(fields["pictures"]), int(fields["count"]), tuple(map(str, fields["networks"])),
        tuple(map(str, fields["methods"])), tuple(map(str, fields["metrics"])), str(fields["target"]), int(fields["seed"]),
    )  # fmt: skip


def _job_key(new: NewRun, minutes: float) -> str:
    return key_of(KIND, _settings(new, minutes))


def _start(new: NewRun, minutes: float) -> ServerJob:
    """Start the run as a job. Raises BadRequest."""
    run_form.check_room(folder(), new.out, MOST_RUNS)
    place = PlaceToReturn(page_links.METRICS, urlencode({"view": "A run", "run": run_form.label(new.out)}))
    return jobs.start_kind(KIND, _settings(new, minutes), f"Run {new.name}", place)


def work(settings: Mapping[str, Any]) -> jobs.Work:
    """The measuring of a run, from its stored settings. Raises BadRequest for settings that the form does not allow."""
    new, minutes = _stored(settings["new"]), float(settings["minutes"])
    if not run_form.is_allowed(new.name, new.count, minutes):
        raise BadRequest("This job's settings are not allowed. Start it again on its page.")

    def measure(handle: JobHandle) -> None:
        run_form.check_room(folder(), new.out, MOST_RUNS)
        run = evaluate(
            new.networks, new.methods, new.metrics, new.source, new.out, count=new.count, target=new.target, seed=new.seed,
            load=run_form.load, budget=60 * minutes, say=handle.log, track=handle.pieces("pictures"), within=handle.within,
        )  # fmt: skip
        if isinstance(run, EvaluationRun) and not len(run.table()):
            left_out = run.manifest.get("left_out", {})
            raise BadRequest("Nothing could be measured: " + "; ".join(list(left_out.values())[:3]))

    return measure
