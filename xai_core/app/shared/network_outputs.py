"""A network's answers for one picture (logits, ranked classes, embedding), and the measured times of passes."""

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray
from PIL import Image

from xai_core.app.shared import cache, loaded_models
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.request import Request
from xai_core.models.explainable import ExplainableModel, Prediction
from xai_core.models.pass_times import PassTimes

UNMEASURED_SECONDS = 0.1  # assumed for one pass of a network that is not in memory and has not run in this process


@st.cache_resource(show_spinner=False)
def pass_times() -> PassTimes:
    """The measured times of passes, for all sessions."""
    return PassTimes()


def pass_seconds(model: ExplainableModel, passes: float) -> float:
    """Measured seconds of so many forward passes of one picture each."""
    return passes * pass_times().seconds(model, round(passes)) if passes else 0.0


def network_seconds(id: str, checkpoint: str, passes: float) -> float:
    """Estimated seconds of so many passes of a network that may not be in memory, where nothing can be measured: then one
    pass takes as long as when a network of this id was last measured, or UNMEASURED_SECONDS."""
    model = loaded_models.loaded(id, checkpoint)
    if model is not None:
        return pass_seconds(model, passes)
    return passes * (pass_times().latest(id) or UNMEASURED_SECONDS)


def logits(model: ExplainableModel, prepared: Prepared) -> NDArray[np.float32]:
    """The model's logits for a picture, shape (K,)."""
    request = Request(model, (prepared,), target=None, method="logits")
    return cache.get_or_compute(request.key, lambda: model.outputs(prepared.pixels[None]).logits[0].cpu().numpy())


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
