"""The models in memory, shared by all sessions and bounded by bytes: the least recently used one is removed first.

Imports no torch before a model is loaded, so that Home can list the loaded models at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    models: cachetools.LRUCache[tuple[str, str], ExplainableModel] = field(
        default_factory=lambda: cachetools.LRUCache(budget(), lambda model: min(model.nbytes, budget()))
    )
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner=False)
def _loaded() -> _Loaded:
    return _Loaded()


def fetch(card: Card, checkpoint: Checkpoint) -> None:
    """Download the missing files of a model's weights, with a progress bar. Raises WeightsUnavailable.

    The download stops when the page is run again; the next one continues with the part that is there.
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
    """A model of the catalogue, from memory or loaded now. Raises WeightsUnavailable, BadCard.

    One model is loaded at a time. Memory is freed before loading, so that the budget also holds while loading.
    """
    from xai_core.models.loading import load_model

    loaded = _loaded()
    with loaded.lock:
        model = loaded.models.get((id, checkpoint))
        if model is None:
            expected = min(1e6 * find_card(id).checkpoints[0].megabytes, loaded.models.maxsize)
            while loaded.models.currsize + expected > loaded.models.maxsize:
                loaded.models.popitem()
            loaded.models[id, checkpoint] = model = load_model(id, checkpoint, half=settings.HALF.value())
        return model


def loaded(id: str, checkpoint: str) -> ExplainableModel | None:
    """A model of the catalogue where it is in memory."""
    loaded = _loaded()
    with loaded.lock:
        return loaded.models.get((id, checkpoint))


def in_memory() -> list[tuple[str, str, int]]:
    """(id, checkpoint, bytes) of each loaded model."""
    loaded = _loaded()
    with loaded.lock:
        return [(id, checkpoint, model.nbytes) for (id, checkpoint), model in loaded.models.items()]
