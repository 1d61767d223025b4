"""Networks of timm and torchvision beside the model box: found by words, what each would cost, and its download.

Nothing is downloaded before its size is on the page and the visitor asks for it. Imports no torch.
"""

import shutil
import time
from collections.abc import Callable

import psutil
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.shared import job_view, jobs, loaded_models, page_links, server_job
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.jobs import JobHandle
from xai_core.core import markdown, settings
from xai_core.core.errors import BadCard, XaiError
from xai_core.models.card import HUB, Card
from xai_core.models.weights import hub, locate
from xai_core.models.weights.download import NotFetched
from xai_core.models.zoo import library

MOST_FOUND = 100  # names that the box lists
WHILE_LOADING = 2  # times the parameters: the file's and the network's
SPARE_GB = 0.3  # of memory and of the disk that stay free
REPORT_SECONDS = 0.5


def linked(ready: dict[str, Card], messages: DeltaGenerator, absent: str) -> Card | None:
    """The library's network that this page is about, where it is not among those on this machine; None where it is about
    another model. `messages` say why such a name cannot be used. `absent` ends the label of a model that is not here."""
    id = str(st.session_state.get("model") or st.query_params.get("model") or "").removesuffix(absent)
    if id in ready or not library.is_name(id):
        return None
    try:
        card = library.find(id)
        if card.library == HUB and not settings.HUB_CARDS.value():
            raise BadCard(
                f"{id} is not on this machine. The owner of this server fetches it with `{settings.PROGRAM} weights fetch "
                f"{id}`, or lets visitors do so with {settings.HUB_CARDS.name}=1."
            )
    except XaiError as error:
        st.session_state.pop("model", None)
        st.query_params.pop("model", None)
        messages.error(error_text(str(error)))
        return None
    if card.id in ready:
        st.session_state["model"] = card.id
        return None
    if st.session_state.get("model") not in (None, card.id):
        st.session_state["model"] = card.id  # the architecture alone was named
    return card


def _use(id: str) -> None:
    st.session_state["model"] = id


def search(use: Callable[[str], None] = _use) -> None:
    """Below the model box: words, what was found, and a button that takes one of it: `use` is called with its id, and by
    default makes it the page's model."""
    with st.expander("More networks: timm and torchvision", icon=":material/search:"):
        words = st.text_input("Search", key="network words", placeholder="convnext tiny in22k", help=SEARCH)
        if not words.strip():
            return
        found = library.search(words)
        if not found:
            st.info("No name holds all of these words. Try fewer or shorter ones, such as *resnet* or *vit small*.")
            return
        shown = found[:MOST_FOUND]
        more = f", the first {MOST_FOUND} are listed" if len(found) > MOST_FOUND else ""
        id = st.selectbox(f"{len(found):,} found{more}", [row.id for row in shown], key="network found")
        row = library.rows()[id]
        if row.refused:
            st.warning(markdown.escape(f"It cannot be used here: {row.refused}."))
            return
        card = library.find(id)
        st.caption(markdown.escape(f"{card.supervision.capitalize()}, {card.trained_on}. {card.remark}"))
        st.caption(markdown.escape(f"Licence of the weights: {card.licence or 'not stated'}. {cost(card)}"))
        problem = refusal(card)
        if problem:
            st.warning(markdown.escape(problem))
        st.button("Use this network", on_click=use, args=(id,), disabled=problem is not None, width="stretch")


SEARCH = (
    "Parts of a name with blanks between them: the architecture, what it was trained on (in1k, in22k, laion2b), the size of "
    "its pictures. All weights that timm and torchvision publish are searched; nothing is downloaded."
)


def cost(card: Card) -> str:
    """What loading a network takes, as a sentence."""
    checkpoint = card.checkpoints[0]
    if locate.find(checkpoint):
        return "Its weights are on this machine."
    if card.library == HUB:
        return "The hub tells its size when the download begins."
    return (
        f"The download is about {checkpoint.megabytes:,} MB; loaded it takes {_gb(checkpoint.megabytes)} of memory, "
        f"{_gb(WHILE_LOADING * checkpoint.megabytes)} for a moment."
    )


def refusal(card: Card, megabytes: float | None = None) -> str | None:
    """Why a network would not fit into this machine, as a sentence; None where it does."""
    size = card.checkpoints[0].megabytes if megabytes is None else megabytes
    most = loaded_models.budget() / 1e6
    if size > most:
        return (
            f"Its parameters take {_gb(size)}, and this app keeps at most {_gb(most)} of parameters in memory "
            f"({settings.MODELS_GB.name})."
        )
    free = psutil.virtual_memory().available / 1e6
    if WHILE_LOADING * size + 1e3 * SPARE_GB > free:
        return f"Loading it takes {_gb(WHILE_LOADING * size)} of memory, and {_gb(free)} are free."
    folder = settings.weights_folder()
    disk = shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free / 1e6
    if not locate.find(card.checkpoints[0]) and size + 1e3 * SPARE_GB > disk:
        return f"Its file takes {_gb(size)}, and {_gb(disk)} of the disk are free."
    return None


def _gb(megabytes: float) -> str:
    return f"{megabytes / 1e3:.1f} GB" if megabytes >= 950 else f"{megabytes:,.0f} MB"


def downloaded(card: Card, messages: DeltaGenerator, instead: str) -> bool:
    """Whether a library's network is on this machine. Where it is not, `messages` hold what its download would cost, the
    button that starts it, and its progress; the page uses the model `instead` meanwhile."""
    checkpoint = card.checkpoints[0]
    if locate.find(checkpoint):
        return True
    key = f"fetch {card.id}"
    job, problem = jobs.find(key), refusal(card)
    with messages.container(border=True):
        if job is not None and job.unfinished:
            job_view.show(job)
            return False
        if job is not None and job.state == server_job.FAILED:
            st.error(error_text(job.error))
        st.markdown(
            markdown.escape(f"{card.title} is not on this machine. {cost(card)} Until then this page uses {instead}.")
        )
        if problem:
            st.warning(markdown.escape(problem))
        again = job is not None and job.state in server_job.ENDED_EARLY
        label = "Go on with the download" if again else "Download"
        if st.button(label, type="primary", icon=":material/download:", disabled=problem is not None, key=key):
            jobs.start(
                key, f"Download of {card.title}", lambda handle: _fetch(card, handle), page_links.here(page_links.shown())
            )
            st.rerun()
    return False


def _fetch(card: Card, handle: JobHandle) -> None:
    told = 0.0

    def progress(name: str, here: float, total: float) -> None:
        nonlocal told
        handle.check()
        if time.monotonic() - told >= REPORT_SECONDS or here >= total:
            told = time.monotonic()
            handle.report(round(1e3 * here), max(1, round(1e3 * total)), f"{here:,.1f} of {total:,.1f} MB")
            handle.end_turn()  # whoever waits for the network computes nothing

    if card.library == HUB:
        try:
            size = hub.find(card.id.removeprefix(library.HUB_PREFIX), library.SAFETENSORS).size / 1e6
        except NotFetched:
            size = 0.0  # said below, with the file's place
        problem = refusal(card, size)
        if problem:
            raise BadCard(f"{card.title}: {problem}")
    locate.obtain(card, card.checkpoints[0], progress)
