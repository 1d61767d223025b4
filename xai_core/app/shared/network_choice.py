"""Networks to compare: every checkpoint of every model and its untrained twin, and the control that chooses some."""

from typing import NamedTuple

import streamlit as st

from xai_core.app.shared import loaded_models
from xai_core.app.shared.widgets import LINK
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards, find_card

MOST = 6


class Network(NamedTuple):
    """A choice: a model of the catalogue with one of its checkpoints, or its untrained twin."""

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
        found = [one for one in find_card(self.id).checkpoints if one.id == self.checkpoint]
        return not found or locate.find(found[0]) is not None

    @property
    def group(self) -> str:
        """What the columns are grouped by."""
        if self.checkpoint == loaded_models.RANDOM:
            return "Untrained"
        return "Self-supervised" if "self-supervised" in find_card(self.id).supervision else "Supervised"


def choices() -> list[Network]:
    """Every checkpoint of every model, then the untrained twins."""
    every = [Network(card.id, one.id) for card in cards().values() for one in card.checkpoints]
    return every + [Network(card.id, loaded_models.RANDOM) for card in cards().values()]


def choose() -> list[Network]:
    """The networks to compare, grouped: supervised, self-supervised, untrained."""
    every = choices()
    ready = [one for one in every if one.ready and one.checkpoint != loaded_models.RANDOM]
    alike = [one for one in ready if find_card(one.id).classes == find_card(ready[0].id).classes]
    default = [*alike[:2], Network(ready[0].id, loaded_models.RANDOM)] if ready else []
    by_title = {one.title: one for one in every}
    chosen = st.multiselect(
        f"Networks (2 to {MOST})", list(by_title), [one.title for one in default], max_selections=MOST, key="networks",
        help=CHOICE, **LINK,
    )  # fmt: skip
    missing = [one for one in map(by_title.get, chosen) if not one.ready]
    if missing:
        st.caption("To be fetched first: " + ", ".join(f"{one.title} ({_megabytes(one)} MB)" for one in missing))
    order = ("Supervised", "Self-supervised", "Untrained")
    return sorted(map(by_title.get, chosen), key=lambda one: order.index(one.group))


CHOICE = (
    "Networks are loaded in turn; the least recently used one leaves when memory is short. An untrained twin has the same "
    "layers with random weights: what its map shares with the trained one comes from the architecture and the picture."
)


def _megabytes(network: Network) -> int:
    return next(one.megabytes for one in find_card(network.id).checkpoints if one.id == network.checkpoint)
