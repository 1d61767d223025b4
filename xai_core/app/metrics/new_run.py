"""A new run from the page: what is measured on which pictures, what it will take, and the work, which can be stopped."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.metrics import opened_run
from xai_core.app.metrics.image_results import plain_title
from xai_core.app.shared import cache, display, loaded_models, network_choice, progress, session, turns
from xai_core.attribution.catalog import METHODS
from xai_core.core import settings
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadRequest
from xai_core.data import datasets, selection
from xai_core.evaluation.planner import LABEL, PREDICTED
from xai_core.evaluation.runner import evaluate
from xai_core.metrics.catalog import METRICS, QUICK
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import cards

MOST_RUNS, MOST_PICTURES = 20, 500  # made on the page; the command line has no such limits
USUAL_METHODS = ("grad_cam", "layer_cam", "hires_cam", "saliency")
SAMPLES = "The sample pictures"
TARGETS = {"The predicted class": PREDICTED, "The picture's label": LABEL}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class Wanted(NamedTuple):
    """Everything that a run is made of; `networks` are names that `evaluate` knows."""

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
        return made() / self.name

    @property
    def source(self) -> str | Path:
        """What `evaluate` is given as pictures. Raises UnknownName."""
        return selection.SAMPLE_SET if self.pictures == SAMPLES else datasets.find_offered(self.pictures)

    def command(self) -> str:
        """The same on the command line."""
        options = {
            "images": self.count, "models": ",".join(self.networks), "methods": ",".join(self.methods),
            "metrics": ",".join(self.metrics), "target": self.target, "seed": self.seed,
            "out": self.out,
        }  # fmt: skip
        told = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in options.items())
        return f"python -m xai_core evaluate {shlex.quote(str(self.source))} {told}"


def made() -> Path:
    """Where runs that are made on the page lie: in `data/runs/`, or in the first folder that XAI_RUNS names."""
    return settings.new_runs_folder() / opened_run.MADE


def section() -> None:
    """Above the choice of a run, which shows a new one as soon as it is there."""
    with st.expander("New run", icon=":material/add:", key="new-run"), display.errors():
        wanted, minutes = _form()
        if wanted is None:
            return
        key = f"plan {bytes_digest(repr(wanted).encode())[:16]}"
        plan = cache.get(key)
        offer = st.empty()
        if plan is None:
            if not _asked_for(offer, wanted, key):
                return
            with offer, st.spinner("Looking through the pictures"):
                plan = str(_evaluated(wanted, dry=True))
            cache.put(key, plan)
        st.markdown(plan)
        with st.expander("The same on the command line"):
            st.code(wanted.command(), language="bash", wrap_lines=True)
        slot = st.empty()
        if slot.button("Start", key="start", type="primary", icon=":material/play_arrow:"):
            _work(wanted, minutes, slot, key)


def _asked_for(offer: DeltaGenerator, wanted: Wanted, key: str) -> bool:
    """Whether the plan is asked for, which says how much there is to do; also where the press of the button fell into a
    rerun that was cut short."""
    if session.planned(key):
        return True
    with offer.container():
        if session.cancelled(f"run {wanted.name}"):
            st.info("Cancelled. What was measured is kept in the run; a new plan says what is left to do.")
        st.caption("The plan says how many passes through the networks this takes, and about how long.")
        st.button("Plan", key="plan", type="primary", icon=":material/calculate:", on_click=session.plan, args=(key,))
    return False


def _form() -> tuple[Wanted | None, float]:
    """What is wanted, None while it is not settled; and the minutes after which no further picture is begun."""
    ready = [one for one in network_choice.choices() if one.ready]
    networks = {one.title: f"{one.id}/{one.checkpoint}" if _told(one) else one.id for one in ready}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pictures = st.selectbox("Pictures", [SAMPLES, *datasets.offered()], key="new.pictures", width=240)
        count = st.number_input("At most", 1, MOST_PICTURES, 50, key="new.count", width=110, help=COUNT)
        asked = st.selectbox("Asked about", list(TARGETS), key="new.target", width=200)
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="new.seed", width=110, help=SEED)
    chosen = st.multiselect("Networks", list(networks), list(networks)[:1], key="new.networks")
    methods = st.multiselect(
        "Methods", [id for id, one in METHODS.items() if one.family != "control"], USUAL_METHODS, key="new.methods",
        format_func=lambda id: METHODS[id].title, help="The controls come by themselves.",
    )  # fmt: skip
    fitting = [id for id, metric in METRICS.items() if "box" not in metric.needs]
    metrics = st.multiselect(
        "Metrics", fitting, [id for id in QUICK if id in fitting][:4], format_func=plain_title, key="new.metrics"
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", "first", key="new.name", width=240, help=NAMED)
        minutes = st.number_input("Budget in minutes", 1, 240, 10, key="new.minutes", width=160, help=BUDGET)
    if not (chosen and methods and metrics):
        st.info("Choose at least one network, one method and one metric.")
        return None, minutes
    if not NAME.fullmatch(name):
        st.info("A name has up to 40 letters, digits, - and _, and begins with a letter or a digit.")
        return None, minutes
    picked = tuple(networks[title] for title in chosen)
    return Wanted(name, pictures, int(count), picked, tuple(methods), tuple(metrics), TARGETS[asked], int(seed)), minutes


COUNT = "Pictures drawn at random from the seed; fewer where there are fewer."
SEED = "Of the pictures that are drawn, and of what is random in methods and metrics."
NAMED = "A run of this name with the same pictures, target and seed is gone on with: what is there is not computed again."
BUDGET = "No further picture is begun after so long. Start it again to go on."


def _told(network: network_choice.Network) -> bool:
    """Whether a network's name must say which of the model's weights it has."""
    return network.checkpoint != cards()[network.id].checkpoints[0].id


def _load(name: str) -> ExplainableModel:
    id, _, checkpoint = name.partition("/")
    return loaded_models.model(id, checkpoint or cards()[id].checkpoints[0].id)


def _evaluated(wanted: Wanted, **how):
    """Raises XaiError."""
    there = [path for path in made().glob("*") if path.is_dir()]
    if wanted.out not in there and len(there) >= MOST_RUNS:
        raise BadRequest(f"There are {len(there)} runs in {made()} already: remove one, or use the command line.")
    asked = {"count": wanted.count, "target": wanted.target, "seed": wanted.seed, "load": _load}
    return evaluate(wanted.networks, wanted.methods, wanted.metrics, wanted.source, wanted.out, **asked, **how)


def _work(wanted: Wanted, minutes: float, slot: DeltaGenerator, plan: str) -> None:
    """Measure; other visitors have their turns between two pictures. Cancelled or not, what is measured is shown."""
    cache.put(plan, None)  # less will be left to do, also where this is cancelled
    session.plan(None)
    with progress.bar(f"run {wanted.name}", slot) as bar, turns.in_turns(bar, "pictures") as (track, within):
        run = _evaluated(wanted, budget=60 * minutes, track=track, within=within)
    if not len(run.table()):
        raise BadRequest("Nothing could be measured: " + "; ".join(list(run.manifest.get("left_out", {}).values())[:3]))
    st.session_state["run"] = opened_run.label(run.folder)
    st.rerun()
