"""The models in memory, shared by all sessions and bounded by bytes: the least recently used one is removed first.

One is also removed where a GPU has too little memory left for what is computed or loaded.

Imports no torch before a model is loaded, so that Home can list the loaded models at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import cachetools
import streamlit as st

from xai_core.core import markdown, settings
from xai_core.core.cache_key import text_digest
from xai_core.core.errors import OutOfMemory, WeightsUnavailable
from xai_core.models.card import Card, Checkpoint
from xai_core.models.weights import locate
from xai_core.models.zoo import own_code
from xai_core.models.zoo.catalog import find_card

if TYPE_CHECKING:
    from pathlib import Path

    from xai_core.models.explainable import ExplainableModel

RANDOM = "random"  # the "checkpoint" of an untrained twin
PATIENCE = 60.0  # seconds that a page waits for a function of the owner's that makes a model


def budget() -> int:
    """Bytes that the parameters of all loaded models may take: XAI_MODELS_GB, or what is usual for the device."""
    chosen = settings.MODELS_GB.value()
    if chosen is not None:
        return int(chosen * 1e9)
    from xai_core.core import runtime

    memory = runtime.gpu_memory(runtime.device())
    return memory.total // 2 if memory else int(settings.USUAL_MODELS_GB * 1e9)


_Models: TypeAlias = "cachetools.LRUCache[tuple[str, str, str], ExplainableModel]"


@dataclass
class _Loaded:
    # Bounded by `_make_room`: what may be kept depends on the device, which is not known before the first model is loaded.
    models: _Models = field(default_factory=lambda: cachetools.LRUCache(math.inf, lambda model: model.nbytes))
    weights: dict[tuple[str, str], str] = field(default_factory=dict)  # `weights_of` each model when it was last loaded
    lock: threading.RLock = field(default_factory=threading.RLock)  # memory may be asked for while a model is loaded


@st.cache_resource(show_spinner=False)
def _loaded() -> _Loaded:
    return _Loaded()


def release() -> bool:
    """Remove the least recently used of several models, for a run that finds no memory; whether there was one. The last one
    stays: it is most likely what the run computes with."""
    loaded = _loaded()
    with loaded.lock:
        several = len(loaded.models) > 1
        if several:
            loaded.models.popitem()
    return several


def _make_room(models: _Models, needed: float, free: Callable[[], float]) -> None:
    """Remove models until so many bytes more are within the budget, and not more than are free."""
    while models and (models.currsize + needed > budget() or needed > free()):
        models.popitem()


def _free_on_gpu() -> float:
    """Bytes of a GPU that a model may take: half of what is free, for its passes need the rest. Without one, any number."""
    from xai_core.core import runtime

    memory = runtime.gpu_memory(runtime.device())
    return memory.free / 2 if memory else math.inf


def weights_of(id: str, checkpoint: str) -> str:
    """A digest of what a model of the catalogue is made from, without loading it: its card, and the content of its files;
    for a model that code makes, the weights that it had when it was last made. It stands for the weights in the keys of
    results that are looked up before the model is loaded."""
    if own_code.is_own(id):
        return text_digest(repr((id, checkpoint, own_code.state(id))))
    card = find_card(id)
    base = find_card(card.base) if card.base else None
    files: tuple[Path, ...] = ()
    if checkpoint != RANDOM:
        files = next((locate.find(one) or () for one in card.checkpoints if one.id == checkpoint), ())
    return text_digest(repr((card, base, checkpoint, settings.HALF.value(), [_content(file) for file in files])))


def _content(file: Path) -> str:
    """The digest of a file; "" where it cannot be read. A file is read again when its size or its time of change differs."""
    try:
        state = file.stat()
        return _digest(file, state.st_size, state.st_mtime_ns)
    except (OSError, WeightsUnavailable):  # removed in this moment
        return ""


@lru_cache(maxsize=256)
def _digest(file: Path, size: int, changed: int) -> str:
    return locate.digest_of(file)


def fetch(card: Card, checkpoint: Checkpoint) -> None:
    """Download the missing files of a model's weights, with a progress bar. Raises WeightsUnavailable.

    The download stops when the page is run again; the next one continues with the part that is there.
    """
    if locate.find(checkpoint) is not None:
        return
    slot = st.empty()
    locate.obtain(
        card,
        checkpoint,
        lambda name, here, total: slot.progress(
            min(here / max(total, 1e-9), 1.0),
            text=f"Fetching {markdown.escape(name)} for {markdown.escape(card.title)}: {here:,.0f} of {total:,.0f} MB",
        ),
    )
    slot.empty()


def model(id: str, checkpoint: str) -> ExplainableModel:
    """A model of the catalogue, from memory or loaded now. Raises WeightsUnavailable, BadCard.

    One model is loaded at a time. Memory is freed before loading, so that the budget also holds while loading. A model
    whose file or card has changed since is loaded again, and stored results are removed: the names of its classes are no
    part of their keys. A model that the owner's code makes is made in a thread of that code's own.
    """
    if own_code.is_own(id) and loaded(id, checkpoint) is None:
        own_code.ready(id, PATIENCE)  # without the lock: nobody else waits for it
    return _from_memory(id, checkpoint)


def _from_memory(id: str, checkpoint: str) -> ExplainableModel:
    from xai_core.app.shared import cache
    from xai_core.core import runtime

    if release not in runtime.RELEASES:
        runtime.RELEASES.append(release)
    loaded = _loaded()
    with loaded.lock:
        model = loaded.models.get((id, checkpoint, weights_of(id, checkpoint)))
        if model is None:
            for outdated in [key for key in loaded.models if key[:2] == (id, checkpoint)]:
                del loaded.models[outdated]
            _make_room(loaded.models, 1e6 * find_card(id).checkpoints[0].megabytes, _free_on_gpu)
            model = _load(id, checkpoint)
            _make_room(loaded.models, model.nbytes, lambda: math.inf)  # it may take more than its card says
            weights = weights_of(id, checkpoint)  # asked again: its files may have been fetched
            if loaded.weights.get((id, checkpoint), weights) != weights:
                cache.clear()
            loaded.models[id, checkpoint, weights] = model
            loaded.weights[id, checkpoint] = weights
        return model


def _load(id: str, checkpoint: str) -> ExplainableModel:
    """Load a model; where the device is full, without the models that are least recently used. Raises OutOfMemory."""
    from xai_core.core import runtime
    from xai_core.models.loading import load_model

    models = _loaded().models
    while True:
        try:
            return load_model(id, checkpoint, half=settings.HALF.value())
        except RuntimeError as error:
            if not runtime.is_out_of_memory(error):
                raise
            if not models:
                raise OutOfMemory(
                    f"{find_card(id).title} does not fit into the memory of {runtime.device()}, which other programs may be "
                    "using: choose a smaller model."
                ) from error
            models.popitem()
        runtime.empty_cache()


def loaded(id: str, checkpoint: str) -> ExplainableModel | None:
    """A model of the catalogue where it is in memory."""
    loaded = _loaded()
    with loaded.lock:
        return loaded.models.get((id, checkpoint, weights_of(id, checkpoint)))


def checkpoint_of(model: ExplainableModel) -> str:
    """The checkpoint of a model that `model` returned; that of its card where it has left the memory meanwhile."""
    loaded = _loaded()
    with loaded.lock:
        held = (checkpoint for (_, checkpoint, _), other in _unused(loaded.models) if other is model)
        return next(held, find_card(model.id).checkpoints[0].id)


def forget(ids: Iterable[str]) -> None:
    """Remove models from memory."""
    loaded, gone = _loaded(), {*ids}
    with loaded.lock:
        for key in [key for key in loaded.models if key[0] in gone]:
            del loaded.models[key]


def in_memory() -> list[tuple[str, str, int]]:
    """(id, checkpoint, bytes) of each loaded model."""
    loaded = _loaded()
    with loaded.lock:
        return [(id, checkpoint, model.nbytes) for (id, checkpoint, _), model in _unused(loaded.models)]


def _unused(models: _Models) -> list[tuple[tuple[str, str, str], ExplainableModel]]:
    """The models with their keys. Looking at them here is no use of them, which `items()` would be."""
    return [(key, cachetools.Cache.__getitem__(models, key)) for key in models]
