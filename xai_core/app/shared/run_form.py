"""Runs that are started on a page: the parts of a form that all kinds of runs share, the plan, Start, and their jobs."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.shared import cache, job_view, jobs, loaded_models, network_choice, session
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.server_job import ServerJob
from xai_core.core import markdown, settings
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadRequest
from xai_core.data import datasets, selection
from xai_core.models.card import Card
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import cards, find_card, id_and_checkpoint

MOST_PICTURES = 500  # of a run started on a page; the command line has no such limits
MOST_MINUTES = 240
SAMPLES = "The sample pictures"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
STORED = "Measurements made so far are stored. Resume continues with the rest."


def source(pictures: str) -> str | Path:
    """The pictures of the form's choice, as commands take them. Raises UnknownName."""
    return selection.SAMPLE_SET if pictures == SAMPLES else datasets.find_offered(pictures)


def choose_pictures(prefix: str, first_count: int) -> tuple[str, int]:
    """Which pictures, and at most how many. `prefix` begins the keys of these controls, as for all others here."""
    pictures = st.selectbox("Pictures", [SAMPLES, *datasets.offered()], key=f"{prefix}.pictures", width=240)
    count = st.number_input("At most", 1, MOST_PICTURES, first_count, key=f"{prefix}.count", width=110, help=COUNT)
    return pictures, count


def choose_seed(prefix: str) -> int:
    return st.number_input("Seed", 0, 2**31 - 1, 0, key=f"{prefix}.seed", width=110, help=SEED)


def choose_name_and_budget(prefix: str, first_name: str) -> tuple[str, float]:
    """The name of the run, and the minutes after which no further picture is started."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", first_name, key=f"{prefix}.name", width=240, help=NAME_HELP)
        minutes = st.number_input("Budget in minutes", 1, MOST_MINUTES, 10, key=f"{prefix}.minutes", width=160, help=BUDGET)
    return name, minutes


def is_name(name: str) -> bool:
    """Whether a run can have this name; otherwise the page says what names are allowed."""
    if NAME.fullmatch(name):
        return True
    st.info("A name has up to 40 letters, digits, - and _, and begins with a letter or a digit.")
    return False


COUNT = "Number of pictures, drawn at random with the seed. If there are fewer, all are taken."
SEED = "For the choice of pictures, and for methods and metrics that use random numbers."
NAME_HELP = (
    "A run of this name with the same pictures, target and seed is resumed: measurements that are stored are not computed "
    "again."
)
BUDGET = "After this time no further picture is started. Start the run again to resume it."


def is_allowed(name: str, count: int, minutes: float) -> bool:
    """Whether the form could have sent these settings: those of a stored job come from a file."""
    return bool(NAME.fullmatch(name)) and 1 <= count <= MOST_PICTURES and 1 <= minutes <= MOST_MINUTES


def networks_here() -> dict[str, str]:
    """Names of the networks whose weights are on this machine, as commands take them, by their titles."""
    known = cards()  # read once: the user's own cards are files
    return {network.title: _name(network, known[network.id]) for network in network_choice.choices() if network.ready}


def _name(network: network_choice.Network, card: Card) -> str:
    """A network's name for commands; it includes the checkpoint unless that is the model's first."""
    first = network.checkpoint == card.checkpoints[0].id
    return network.id if first else f"{network.id}/{network.checkpoint}"


def network_of(name: str) -> tuple[str, str]:
    """The id and the checkpoint that a network's name for commands stands for."""
    id, checkpoint = id_and_checkpoint(name)
    return id, checkpoint or find_card(id).checkpoints[0].id


def load(name: str) -> ExplainableModel:
    """The network of a name, from the app's memory where it is there."""
    return loaded_models.model(*network_of(name))


def check_room(folder: Path, out: Path, most: int) -> None:
    """Raises BadRequest where the run `out` would be one too many in the folder."""
    runs = [path for path in folder.glob("*") if path.is_dir()]
    if out not in runs and len(runs) >= most:
        raise BadRequest(f"There are {len(runs)} runs in {folder} already: remove one, or use the command line.")


class Offer(NamedTuple):
    """A run that the form describes: `settings` in any form whose `repr` tells runs apart, the key of its job, its plan in
    words, the same as a command, and what starts its job."""

    settings: object
    job_key: str
    plan: Callable[[], str]
    command: Callable[[], str]
    start: Callable[[], ServerJob]


def offer(run: Offer, kind: str, note: str) -> None:
    """The plan on request, then the command and Start. `note` says what the plan estimates."""
    if jobs.is_unfinished(run.job_key):
        st.info("This run is being measured now: its progress is shown above.")
        return
    key = f"plan {bytes_digest(repr(run.settings).encode())[:16]}"
    plan = cache.get(key)
    place = st.empty()
    if plan is None:
        if not _plan_wanted(place, key, note):
            return
        with place, st.spinner("Checking the pictures"):
            plan = run.plan()
        cache.put(key, plan)
    st.markdown(markdown.escape(plan))
    with st.expander("The same on the command line"):
        st.code(settings.without_folders(run.command()), language="bash", wrap_lines=True)
    if st.button("Start", key="start", type="primary", icon=":material/play_arrow:"):
        cache.put(key, None)  # the plan is out of date from now on, also if the run is cancelled
        session.plan(None)
        st.session_state[_started(kind)] = run.start().key
        st.rerun()


def _plan_wanted(place: DeltaGenerator, key: str, note: str) -> bool:
    """Whether the visitor has asked for the plan; kept in the session, so that a rerun cut short doesn't lose the click."""
    if session.planned(key):
        return True
    with place.container():
        st.caption(note)
        st.button("Plan", key="plan", type="primary", icon=":material/calculate:", on_click=session.plan, args=(key,))
    return False


def show_jobs(kind: str, open_run: Callable[[Mapping[str, Any]], None]) -> None:
    """The runs of a kind that are being measured, and those that ended early. `open_run` gets the settings of a run that
    this visitor has started, once, when it is complete."""
    message = session.complaint()
    if message:
        st.error(error_text(message))
    for job in jobs.listed():
        if job.kind != kind:
            continue
        if job.unfinished:
            job_view.show(job)
        elif job.resumable and jobs.may_change(job):
            job_view.ended_early(job, STORED)
        elif job.key == st.session_state.get(_started(kind)):
            del st.session_state[_started(kind)]
            open_run(job.settings)


def _started(kind: str) -> str:
    """In the session: the key of the job of this kind that this visitor has started."""
    return f"started {kind}"


def label(folder: Path) -> str:
    """A run's name: its path under the folder in which it was found, without `runs/` for runs of the project."""
    root = next(root for root in settings.runs_folders() if folder.is_relative_to(root))
    within = folder.relative_to(root).as_posix().removeprefix("runs/")
    return within if root in settings.own_data_folders() else f"{root.name}/{within}"
