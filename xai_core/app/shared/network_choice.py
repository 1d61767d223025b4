"""Networks to compare: every checkpoint of every model and its untrained twin, and the control that chooses some."""

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.shared import loaded_models, network_search
from xai_core.app.shared.widgets import ABSENT, LINK, linked_despite_label, presence_label
from xai_core.core import markdown
from xai_core.models.card import Checkpoint
from xai_core.models.weights import locate
from xai_core.models.zoo import library
from xai_core.models.zoo.catalog import cards, find_card

MOST = 6
PLANTED, CLEAN = "world_planted", "world_clean"
SHORTCUT = ("world:planted:mark", "tree/000210.png")  # with the mark: a car for world_planted, a tree for world_clean
GROUPS = SUPERVISED, SELF_SUPERVISED, UNTRAINED = "Supervised", "Self-supervised", "Untrained"


class Network(NamedTuple):
    """A model of the catalogue with one of its checkpoints, or its untrained twin."""

    id: str
    checkpoint: str

    @property
    def title(self) -> str:
        card = find_card(self.id)
        if self.checkpoint == loaded_models.RANDOM:
            return f"{card.title}, untrained"
        return card.title if len(card.checkpoints) == 1 else f"{card.title} {self.checkpoint}"

    @property
    def ready(self) -> bool:
        """Whether its weights are on this machine."""
        if self.checkpoint == loaded_models.RANDOM:
            return True
        return locate.find(self._card_checkpoint) is not None

    @property
    def megabytes(self) -> int:
        """Size of the checkpoint's files in MB; 0 for an untrained twin."""
        return 0 if self.checkpoint == loaded_models.RANDOM else self._card_checkpoint.megabytes

    @property
    def _card_checkpoint(self) -> Checkpoint:
        return next(checkpoint for checkpoint in find_card(self.id).checkpoints if checkpoint.id == self.checkpoint)

    @property
    def group(self) -> str:
        """One of GROUPS."""
        if self.checkpoint == loaded_models.RANDOM:
            return UNTRAINED
        return SELF_SUPERVISED if "self-supervised" in find_card(self.id).supervision else SUPERVISED


def choices() -> list[Network]:
    """Every checkpoint of every model, then the untrained twins."""
    trained = [Network(card.id, checkpoint.id) for card in cards().values() for checkpoint in card.checkpoints]
    return trained + [Network(card.id, loaded_models.RANDOM) for card in cards().values()]


def choose(first: Sequence[Network] = (), messages: DeltaGenerator | None = None) -> list[Network]:
    """The networks to compare, in the order of GROUPS. Before a choice they are `first`, or without that two with the same
    classes and an untrained twin. With `messages` there is a search for more; a network that it adds is left out until it
    is downloaded, which is offered there."""
    networks = sorted([*choices(), *_searched()], key=lambda network: not network.ready)
    labels = {network: presence_label(network.title, network.ready) for network in networks}
    linked = linked_despite_label("networks", {network.title: network for network in networks}, [*labels.values()])
    if linked:
        st.session_state["networks"] = linked[:MOST]
    chosen = st.multiselect(
        f"Networks (2 to {MOST})", networks, None if linked else first or _default(),
        format_func=lambda network: labels[network],
        max_selections=MOST, select_all=False, key="networks", help=CHOICE, **LINK,
    )  # fmt: skip
    if messages is not None:
        network_search.search(_add)
        searched = [network for network in chosen if network.group != UNTRAINED and find_card(network.id).library]
        absent = [
            one for one in searched if not network_search.downloaded(find_card(one.id), messages, "the other networks")
        ]
        chosen = [network for network in chosen if network not in absent]
    missing = [f"{network.title} ({network.megabytes} MB)" for network in chosen if not network.ready]
    if missing:
        st.caption("To be downloaded first: " + markdown.escape(", ".join(missing)))
    return sorted(chosen, key=lambda network: GROUPS.index(network.group))


def _searched() -> list[Network]:
    """The networks of timm and torchvision that are chosen, or named by the address, and whose weights are not here."""
    named = [label.removesuffix(ABSENT) for label in st.query_params.get_all("networks")]
    ids = dict.fromkeys([*(network.id for network in st.session_state.get("networks", [])), *named])
    rows, here = library.rows(), cards()
    found = [library.find(id) for id in ids if id not in here and id in rows and not rows[id].refused]
    return [Network(card.id, card.checkpoints[0].id) for card in found]


def _add(id: str) -> None:
    """Choose a network that was searched, in place of the last one where there are as many as can be. For callbacks."""
    network = Network(id, find_card(id).checkpoints[0].id)
    others = [chosen for chosen in st.session_state["networks"] if chosen != network]
    st.session_state["networks"] = [*others[: MOST - 1], network]


def first_picture() -> tuple[str, str] | None:
    """The dataset and the name of the picture that shows how the networks `of_worlds` differ; None where one is not here."""
    return SHORTCUT if of_worlds() else None


def of_worlds() -> list[Network]:
    """The networks of the planted and of the clean world; none where the weights of one are not here."""
    known = cards()
    networks = [Network(id, known[id].checkpoints[0].id) for id in (PLANTED, CLEAN) if id in known]
    return networks if len(networks) == 2 and all(network.ready for network in networks) else []


def _default() -> list[Network]:
    """Two networks with the same classes whose weights are here, and the untrained twin of the first."""
    ready = [network for network in choices() if network.ready and network.group != UNTRAINED]
    if not ready:
        return []
    classes = find_card(ready[0].id).classes
    comparable = [network for network in ready if find_card(network.id).classes == classes]
    return [*comparable[:2], Network(ready[0].id, loaded_models.RANDOM)]


CHOICE = (
    "Networks are loaded one after the other; when memory is short, the least recently used one is removed. An untrained "
    "twin has the same layers with random weights: what its map shares with that of the trained network comes from the "
    "architecture and the picture."
)
