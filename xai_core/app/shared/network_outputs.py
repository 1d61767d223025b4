"""A network's answers for one picture (logits, ranked classes, embedding), and the measured time of a forward pass."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray
from PIL import Image

from xai_core.app.shared import cache
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.request import Request
from xai_core.models.explainable import ExplainableModel, Prediction

UNMEASURED_SECONDS = 0.1  # assumed for one pass of a model that has not run in this process


@dataclass
class _PassTimes:
    seconds: dict[str, float] = field(default_factory=dict)  # shortest measured forward pass of one picture, by model id
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner=False)
def _pass_times() -> _PassTimes:
    return _PassTimes()


def pass_seconds(model: str) -> float:
    """Seconds of one forward pass of one picture, as measured in this process; 0.1 for a model not measured yet."""
    return _pass_times().seconds.get(model, UNMEASURED_SECONDS)


def note_pass_seconds(model: str, seconds: float) -> None:
    """Record the measured time of one forward pass of one picture. Estimates use the shortest recorded time."""
    times = _pass_times()
    with times.lock:
        times.seconds[model] = min(seconds, times.seconds.get(model, seconds))


def logits(model: ExplainableModel, prepared: Prepared) -> NDArray[np.float32]:
    """The model's logits for a picture, shape (K,). Also records the time of one pass."""
    request = Request(model, (prepared,), target=None, method="logits")
    return cache.get_or_compute(request.key, lambda: _timed_logits(model, prepared))


def _timed_logits(model: ExplainableModel, prepared: Prepared) -> NDArray[np.float32]:
    if model.id not in _pass_times().seconds:  # the first pass includes one-off set-up, so it is not timed
        model.outputs(prepared.pixels[None])
    start = time.perf_counter()
    scores: NDArray[np.float32] = model.outputs(prepared.pixels[None]).logits[0].cpu().numpy()
    note_pass_seconds(model.id, time.perf_counter() - start)
    return scores


def ranked(model: ExplainableModel, prepared: Prepared) -> list[Prediction]:
    """All classes of the model for a picture, the most probable first; empty if the model has no classifier."""
    if not model.has_classifier:
        return []
    scores = torch.from_numpy(logits(model, prepared))
    return model.predictions(scores, len(scores))


def embedding(model: ExplainableModel, picture: Image.Image) -> torch.Tensor:
    """The embedding of a picture, shape (1, E)."""
    prepared = model.prepare(picture)
    request = Request(model, (prepared,), target=None, method="embedding")
    return torch.from_numpy(cache.get_or_compute(request.key, lambda: model.embed(prepared.pixels).cpu().numpy()))
