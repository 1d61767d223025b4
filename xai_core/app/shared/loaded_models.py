"""The models in memory, shared by all sessions and bounded by bytes: the least recently used goes first.

Imports no torch until a model is wanted, so that Home can say at once what is loaded.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cachetools
import streamlit as st

from xai_core.core import settings
from xai_core.models.card import Card, Checkpoint
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import find_card

if TYPE_CHECKING:
    from xai_core.models.explainable import ExplainableModel

RANDOM = "random"  # the "checkpoint" of an untrained twin


def budget() -> int:
    """Bytes that the parameters of all loaded models may take (XAI_MODELS_GB)."""
    return int(settings.MODELS_GB.value() * 1e9)


@dataclass
class _Loaded:
    models: cachetools.LRUCache = field(
        default_factory=lambda: cachetools.LRUCache(budget(), lambda model: min(model.nbytes, budget()))
    )
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner=False)
def _loaded() -> _Loaded:
    return _Loaded()


def fetch(card: Card, checkpoint: Checkpoint) -> None:
    """Download what is missing of a model's weights, with a bar. Raises WeightsUnavailable.

    A page that goes on to something else stops it; what has come is kept.
    """
    if locate.find(checkpoint):
        return
    slot = st.empty()
    locate.obtain(
        card,
        checkpoint,
        lambda name, here, total: slot.progress(
            min(here / max(total, 1e-9), 1.0), text=f"Fetching {name} for {card.title}: {here:,.0f} of {total:,.0f} MB"
        ),
    )
    slot.empty()


def model(id: str, checkpoint: str) -> ExplainableModel:
    """A model of the catalogue, from memory or loaded now. One loads at a time; room is made before, not after.

    Raises WeightsUnavailable, BadCard.
    """
    from xai_core.models.loading import load_model

    held = _loaded()
    with held.lock:
        found = held.models.get((id, checkpoint))
        if found is None:
            expected = min(1e6 * find_card(id).checkpoints[0].megabytes, held.models.maxsize)
            while held.models.currsize + expected > held.models.maxsize:
                held.models.popitem()
            held.models[id, checkpoint] = found = load_model(id, checkpoint, half=settings.HALF.value())
        return found


def in_memory() -> list[tuple[str, str, Any]]:
    """(id, checkpoint, bytes) of what is loaded now."""
    held = _loaded()
    with held.lock:
        return [(id, checkpoint, one.nbytes) for (id, checkpoint), one in held.models.items()]
