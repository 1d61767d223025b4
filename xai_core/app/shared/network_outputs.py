"""A network's answers for one picture (logits, ranked classes, embedding), and the measured times of passes."""

import contextlib
from functools import partial

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray
from PIL import Image

from xai_core.app.shared import cache, loaded_models
from xai_core.attribution import variants
from xai_core.attribution.estimates import method_passes
from xai_core.core import settings
from xai_core.core.errors import XaiError
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.request import Request
from xai_core.models.explainable import ExplainableModel, Prediction
from xai_core.models.known_networks import Unbuilt
from xai_core.models.loading import load_model
from xai_core.models.pass_times import PassTimes
from xai_core.models.zoo import own_code
from xai_core.models.zoo.catalog import find_card

FEW_PASSES = 20  # of so few the time does not matter beside that of loading the network
UNMEASURED_SECONDS = 0.1  # assumed for each of them


@st.cache_resource(show_spinner=False)
def pass_times() -> PassTimes:
    """The measured times of passes, for all sessions."""
    return PassTimes()


def pass_seconds(model: ExplainableModel, passes: float) -> float:
    """Measured seconds of so many forward passes of one picture each."""
    return passes * pass_times().seconds(model, round(passes)) if passes else 0.0


def known_seconds(model: ExplainableModel, passes: float) -> float | None:
    """`pass_seconds` where the network is in memory or was measured before; None where it would have to be built for that,
    which takes longer than showing a page."""
    network = model.network
    if not isinstance(network, Unbuilt) or network.is_built:
        return pass_seconds(model, passes)
    latest = pass_times().latest(model.id)
    return None if latest is None else latest * passes


def network_seconds(id: str, checkpoint: str, passes: float) -> float:
    """Estimated seconds of so many passes of a network that may not be in memory. A pass then takes as long as when a
    network of this id was last measured; where none was, its untrained twin is measured, which takes as long."""
    model = loaded_models.loaded(id, checkpoint)
    known = pass_times().latest(id)
    if model is None and known is None and passes > FEW_PASSES:
        with st.spinner("Measuring how long a pass takes"), contextlib.suppress(XaiError):  # it is told when it is used
            twin = loaded_models.model if own_code.is_own(id) else partial(load_model, half=settings.HALF.value())
            model = twin(id, loaded_models.RANDOM)
    if model is not None:
        return pass_seconds(model, passes)
    return passes * (known or UNMEASURED_SECONDS)


def map_seconds(id: str, checkpoint: str, method: str, pictures: int = 1) -> float:
    """Estimated seconds of a network's answers and maps by this method or variant, for so many pictures."""
    card = find_card(id)
    side = card.checkpoints[0].recipe.input_size
    variant = variants.parse(method)
    passes = 1 + method_passes(variant.method.id, variant.merged({}), side, card.family)
    return network_seconds(id, checkpoint, pictures * passes)


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
