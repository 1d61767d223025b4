"""Starting a run from the page: its settings, the plan with the time it takes, and the measuring, which is a job."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.metrics import opened_run
from xai_core.app.shared import cache, display, job_view, jobs, loaded_models, network_choice, page_links, session
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.metric_choice import plain_title
from xai_core.app.shared.page_links import PlaceToReturn
from xai_core.app.shared.server_job import ServerJob, key_of
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown, settings
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadRequest
from xai_core.data import datasets, selection
from xai_core.evaluation.planner import LABEL, PREDICTED
from xai_core.evaluation.runner import evaluate
from xai_core.evaluation.store import EvaluationRun
from xai_core.metrics.catalog import METRICS, QUICK
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import cards, find_card

MOST_RUNS, MOST_PICTURES = 20, 500  # of runs started on the page; the command line has no such limits
MOST_MINUTES = 240
KIND = "run"  # of the jobs
STARTED = "started run"  # in the session: the key of the job that this visitor has started
USUAL_METHODS = ("grad_cam", "layer_cam", "hires_cam", "saliency")
SAMPLES = "The sample pictures"
TARGETS = {"The predicted class": PREDICTED, "The picture's label": LABEL}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


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
        return selection.SAMPLE_SET if self.pictures == SAMPLES else datasets.find_offered(self.pictures)

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
    """The runs that are being measured, then the form of a new one."""
    with st.container(), display.errors():  # one element however many jobs there are, so that the form keeps its place
        _jobs()
    with st.expander("New run", icon=":material/add:", key="new-run"), display.errors():
        new, minutes = _form()
        if new is None:
            return
        if jobs.is_unfinished(_job_key(new, minutes)):
            st.info("This run is being measured now: its progress is shown above.")
            return
        key = f"plan {bytes_digest(repr(new).encode())[:16]}"
        plan = cache.get(key)
        offer = st.empty()
        if plan is None:
            if not _plan_wanted(offer, key):
                return
            with offer, st.spinner("Checking the pictures"):
                plan = _plan(new)
            cache.put(key, plan)
        st.markdown(markdown.escape(plan))
        with st.expander("The same on the command line"):
            st.code(settings.without_folders(new.command()), language="bash", wrap_lines=True)
        if st.button("Start", key="start", type="primary", icon=":material/play_arrow:"):
            cache.put(key, None)  # the plan is out of date from now on, also if the run is cancelled
            session.plan(None)
            st.session_state[STARTED] = _start(new, minutes).key
            st.rerun()


def _jobs() -> None:
    """The runs that are being measured, and those that ended early. A run of this visitor is opened at its end."""
    message = session.complaint()
    if message:
        st.error(error_text(message))
    for job in jobs.listed():
        if job.kind != KIND:
            continue
        if job.unfinished:
            job_view.show(job)
        elif job.resumable and jobs.may_change(job):
            job_view.ended_early(job, "Measurements made so far are stored. Resume continues with the rest.")
        elif job.key == st.session_state.get(STARTED):
            del st.session_state[STARTED]
            st.session_state["run"] = opened_run.label(folder() / job.settings["new"]["name"])


def _plan_wanted(offer: DeltaGenerator, key: str) -> bool:
    """Whether the visitor has asked for the plan; kept in the session, so that a rerun cut short doesn't lose the click."""
    if session.planned(key):
        return True
    with offer.container():
        st.caption("The plan estimates how many passes through the networks this run takes, and how long.")
        st.button("Plan", key="plan", type="primary", icon=":material/calculate:", on_click=session.plan, args=(key,))
    return False


def _form() -> tuple[NewRun | None, float]:
    """The settings, None while they are incomplete; and the time budget in minutes."""
    ready = [network for network in network_choice.choices() if network.ready]
    networks = {network.title: _name(network) for network in ready}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pictures = st.selectbox("Pictures", [SAMPLES, *datasets.offered()], key="new.pictures", width=240)
        count = st.number_input("At most", 1, MOST_PICTURES, 50, key="new.count", width=110, help=COUNT)
        target = st.selectbox("Explain", list(TARGETS), key="new.target", width=200)
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="new.seed", width=110, help=SEED)
    chosen = st.multiselect("Networks", list(networks), list(networks)[:1], key="new.networks")
    methods = st.multiselect(
        "Methods", [id for id, method in METHODS.items() if method.family != "control"], USUAL_METHODS, key="new.methods",
        format_func=lambda id: METHODS[id].title, help="The controls are always measured as well.",
    )  # fmt: skip
    lacking = set() if pictures.startswith(datasets.WORLD) else {"box", "scene"}
    fitting = [id for id, metric in METRICS.items() if not metric.needs & lacking]
    usual = [id for id in QUICK if id in fitting and "box" not in METRICS[id].needs][:4]
    metrics = st.multiselect("Metrics", fitting, usual, format_func=plain_title, key="new.metrics")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", "first", key="new.name", width=240, help=NAME_HELP)
        minutes = st.number_input("Budget in minutes", 1, MOST_MINUTES, 10, key="new.minutes", width=160, help=BUDGET)
    if not (chosen and methods and metrics):
        st.info("Choose at least one network, one method and one metric.")
        return None, minutes
    if not NAME.fullmatch(name):
        st.info("A name has up to 40 letters, digits, - and _, and begins with a letter or a digit.")
        return None, minutes
    names = tuple(networks[title] for title in chosen)
    return NewRun(name, pictures, count, names, tuple(methods), tuple(metrics), TARGETS[target], seed), minutes


COUNT = "Number of pictures, drawn at random with the seed. If there are fewer, all are taken."
SEED = "For the choice of pictures, and for methods and metrics that use random numbers."
NAME_HELP = (
    "A run of this name with the same pictures, target and seed is resumed: measurements that are stored are not computed "
    "again."
)
BUDGET = "After this time no further picture is started. Start the run again to resume it."


def _name(network: network_choice.Network) -> str:
    """A network's name for `evaluate`; it includes the checkpoint unless that is the model's first."""
    first = network.checkpoint == cards()[network.id].checkpoints[0].id
    return network.id if first else f"{network.id}/{network.checkpoint}"


def _load(name: str) -> ExplainableModel:
    id, _, checkpoint = name.partition("/")
    return loaded_models.model(id, checkpoint or find_card(id).checkpoints[0].id)


def _check_room(new: NewRun) -> None:
    """Raises BadRequest where the run would be one too many."""
    runs = [path for path in folder().glob("*") if path.is_dir()]
    if new.out not in runs and len(runs) >= MOST_RUNS:
        raise BadRequest(f"There are {len(runs)} runs in {folder()} already: remove one, or use the command line.")


def _plan(new: NewRun) -> str:
    """The remaining work and its estimated time, in words. Raises XaiError."""
    _check_room(new)
    plan = evaluate(
        new.networks, new.methods, new.metrics, new.source, new.out, count=new.count, target=new.target, seed=new.seed,
        load=_load, dry=True,
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
    _check_room(new)
    place = PlaceToReturn(page_links.METRICS, urlencode({"view": "A run", "run": opened_run.label(new.out)}))
    return jobs.start_kind(KIND, _settings(new, minutes), f"Run {new.name}", place)


def work(settings: Mapping[str, Any]) -> jobs.Work:
    """The measuring of a run, from its stored settings. Raises BadRequest for settings that the form does not allow."""
    new, minutes = _stored(settings["new"]), float(settings["minutes"])
    if not NAME.fullmatch(new.name) or not 1 <= new.count <= MOST_PICTURES or not 1 <= minutes <= MOST_MINUTES:
        raise BadRequest("This job's settings are not allowed. Start it again on its page.")

    def measure(handle: JobHandle) -> None:
        _check_room(new)
        run = evaluate(
            new.networks, new.methods, new.metrics, new.source, new.out, count=new.count, target=new.target, seed=new.seed,
            load=_load, budget=60 * minutes, say=handle.log, track=handle.pieces("pictures"), within=handle.within,
        )  # fmt: skip
        if isinstance(run, EvaluationRun) and not len(run.table()):
            left_out = run.manifest.get("left_out", {})
            raise BadRequest("Nothing could be measured: " + "; ".join(list(left_out.values())[:3]))

    return measure
