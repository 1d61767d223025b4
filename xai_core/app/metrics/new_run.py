"""Starting a run from the page: its settings, the plan with the time it takes, and the measuring, which can be cancelled."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.metrics import opened_run
from xai_core.app.metrics.image_results import plain_title
from xai_core.app.shared import cache, display, loaded_models, network_choice, progress, session, turns
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown, settings
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadRequest
from xai_core.data import datasets, selection
from xai_core.evaluation import store
from xai_core.evaluation.planner import LABEL, PREDICTED
from xai_core.evaluation.runner import evaluate
from xai_core.metrics.catalog import METRICS, QUICK
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import cards

MOST_RUNS, MOST_PICTURES = 20, 500  # of runs started on the page; the command line has no such limits
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
    """The form, above the choice of a run; a new run can be chosen as soon as it has measurements."""
    with st.expander("New run", icon=":material/add:", key="new-run"), display.errors():
        new, minutes = _form()
        if new is None:
            return
        key = f"plan {bytes_digest(repr(new).encode())[:16]}"
        plan = cache.get(key)
        offer = st.empty()
        if plan is None:
            if not _plan_wanted(offer, new, key):
                return
            with offer, st.spinner("Checking the pictures"):
                plan = _plan(new)
            cache.put(key, plan)
        st.markdown(markdown.escape(plan))
        with st.expander("The same on the command line"):
            st.code(new.command(), language="bash", wrap_lines=True)
        slot = st.empty()
        if slot.button("Start", key="start", type="primary", icon=":material/play_arrow:"):
            _measure(new, minutes, slot, key)


def _plan_wanted(offer: DeltaGenerator, new: NewRun, key: str) -> bool:
    """Whether the visitor has asked for the plan; kept in the session, so that a rerun cut short doesn't lose the click."""
    if session.planned(key):
        return True
    with offer.container():
        if session.cancelled(f"run {new.name}"):
            st.info("Cancelled. What was measured is kept in the run; a new plan shows what is left to do.")
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
    fitting = [id for id, metric in METRICS.items() if "box" not in metric.needs]
    metrics = st.multiselect(
        "Metrics", fitting, [id for id in QUICK if id in fitting][:4], format_func=plain_title, key="new.metrics"
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", "first", key="new.name", width=240, help=NAME_HELP)
        minutes = st.number_input("Budget in minutes", 1, 240, 10, key="new.minutes", width=160, help=BUDGET)
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
    "A run of this name with the same pictures, target and seed is resumed: what is measured already is not computed again."
)
BUDGET = "After this time no further picture is started. Start the run again to resume it."


def _name(network: network_choice.Network) -> str:
    """A network's name for `evaluate`; it includes the checkpoint unless that is the model's first."""
    first = network.checkpoint == cards()[network.id].checkpoints[0].id
    return network.id if first else f"{network.id}/{network.checkpoint}"


def _load(name: str) -> ExplainableModel:
    id, _, checkpoint = name.partition("/")
    return loaded_models.model(id, checkpoint or cards()[id].checkpoints[0].id)


def _check_room(new: NewRun) -> None:
    """Raises BadRequest where the run would be one too many."""
    runs = [path for path in folder().glob("*") if path.is_dir()]
    if new.out not in runs and len(runs) >= MOST_RUNS:
        raise BadRequest(f"There are {len(runs)} runs in {folder()} already: remove one, or use the command line.")


def _plan(new: NewRun) -> str:
    """What is left to do and how long it takes, in words. Raises XaiError."""
    _check_room(new)
    plan = evaluate(
        new.networks, new.methods, new.metrics, new.source, new.out,
        count=new.count, target=new.target, seed=new.seed, load=_load, dry=True,
    )  # fmt: skip
    return str(plan)


def _measure(new: NewRun, minutes: float, slot: DeltaGenerator, plan_key: str) -> None:
    """Measure, with turns for other visitors between two pictures; then open the run. Raises XaiError."""
    _check_room(new)
    cache.put(plan_key, None)  # the plan is out of date from now on, also if this is cancelled
    session.plan(None)
    with progress.bar(f"run {new.name}", slot) as bar, turns.in_turns(bar, "pictures") as (track, within):
        evaluate(
            new.networks, new.methods, new.metrics, new.source, new.out, count=new.count, target=new.target, seed=new.seed,
            load=_load, budget=60 * minutes, track=track, within=within,
        )  # fmt: skip
    run = store.open_run(new.out)
    if not len(run.table()):
        raise BadRequest("Nothing could be measured: " + "; ".join(list(run.manifest.get("left_out", {}).values())[:3]))
    st.session_state["run"] = opened_run.label(run.folder)
    st.rerun()
