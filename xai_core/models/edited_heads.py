"""A model's linear head after an edit, kept as a model of its own beside the old one: a card and its head in `weights/`.

The card names the old model as its base, so that the network's weights are there once. The head is a safetensors file.
"""

import re
from dataclasses import replace

import numpy as np
import safetensors.torch
import tomli_w
import torch
from numpy.typing import NDArray
from torch import nn

from xai_core.core import settings
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadRequest, WeightsUnavailable
from xai_core.core.files import write_atomically
from xai_core.models.card import Card
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import freeze
from xai_core.models.zoo import own_code
from xai_core.models.zoo.catalog import CARDS, cards, find_card

Floats = NDArray[np.floating]
LONGEST_CAUSE = 60  # characters of a cause in a name


def linear_head(model: ExplainableModel) -> nn.Linear:
    """The model's classifier, one linear layer of its features. Raises BadRequest where it is anything else."""
    head = model.network.classify
    if type(head) is not nn.Linear or head.bias is None:
        raise BadRequest(f"{model.title} has no linear head with a bias, so that there is no head to edit.")
    return head


def with_head(model: ExplainableModel, weight: Floats, bias: Floats) -> ExplainableModel:
    """The model with this head (weight (k, d), bias (k,)), which is rounded to single precision; the model itself stays as
    it is. Raises BadRequest where the head does not fit."""
    old = linear_head(model)
    state = _state(weight, bias)
    if state["weight"].shape != old.weight.shape or state["bias"].shape != old.bias.shape:
        raise BadRequest(f"The head of {model.title} has {tuple(old.weight.shape)} weights, not {tuple(weight.shape)}.")
    head = nn.Linear(old.in_features, old.out_features)
    head.load_state_dict(state)
    network = replace(model.network, classify=freeze(head).to(model.device))
    digest = bytes_digest(safetensors.torch.save(state))
    return replace(model, network=network, fingerprint=f"{model.fingerprint} edited {digest[:8]}")


def files(
    model: ExplainableModel, weight: Floats, bias: Floats, cause: str, *, weights: str | None = None, remark: str = ""
) -> dict[str, bytes]:
    """The card ID.toml and the head ID.safetensors of `model` without `cause`, to be put into `weights/`.

    `weights` is the id of the checkpoint that the model was loaded with (None: its first one). The id is one that no model
    has yet. Raises BadRequest where the head does not fit, or the model is not listed.
    """
    with_head(model, weight, bias)
    old, words = find_card(model.id), " ".join(cause.split())[:LONGEST_CAUSE].strip()
    if not words:
        raise BadRequest("Say in a few words what the head no longer reads: the name of the model is made of it.")
    id, number = _free_id(old, words)
    base = find_card(old.base) if old.base else old
    if own_code.is_own(base.id):
        raise BadRequest(
            f"{old.title} is made by code of your own, which no card can name as its base: edit the head in that code."
        )
    entries: dict[str, str | list[str]] = {
        "title": f"{old.title} without {words}" + (f" ({number})" if number > 1 else ""),
        "base": base.id,
        "weights": weights or old.checkpoints[0].id,
        "file": f"{id}.safetensors",
        "supervision": f"{old.supervision}; head edited",
        "trained_on": old.trained_on,
        "remark": remark,
        "licence": old.licence,
    }
    if old.classes != base.classes:
        entries["classes"] = list(old.classes)
    card = tomli_w.dumps({name: value for name, value in entries.items() if value})
    return {f"{id}.safetensors": safetensors.torch.save(_state(weight, bias)), f"{id}.toml": card.encode()}


def save(
    model: ExplainableModel, weight: Floats, bias: Floats, cause: str, *, weights: str | None = None, remark: str = ""
) -> str:
    """Write `files` into the weights folder, the card last: with it the model is listed. Returns its id. Raises BadRequest,
    and WeightsUnavailable where the folder cannot be written."""
    written = files(model, weight, bias, cause, weights=weights, remark=remark)
    folder = settings.weights_folder()
    try:
        for name, data in written.items():
            write_atomically(folder / name, data)
    except OSError as error:
        raise WeightsUnavailable(f"Cannot write into {folder}: {error.strerror or error}.") from error
    return next(name.removesuffix(".toml") for name in written if name.endswith(".toml"))


def is_edited(card: Card) -> bool:
    """Whether `save` wrote the card into this machine's weights folder."""
    return (
        bool(card.base)
        and card.id not in CARDS
        and card.supervision.endswith("; head edited")
        and (settings.weights_folder() / f"{card.id}.toml").is_file()
    )


def remove(id: str) -> None:
    """Remove a model that `save` has written, and nothing else. Raises UnknownName, BadRequest, WeightsUnavailable."""
    card = find_card(id)
    if not is_edited(card):
        raise BadRequest(f"{card.title} is not an edited head in {settings.weights_folder()}, and is not removed.")
    try:
        for suffix in (".toml", ".safetensors"):  # the card first: without it the model is not listed
            (settings.weights_folder() / f"{id}{suffix}").unlink(missing_ok=True)
    except OSError as error:
        raise WeightsUnavailable(f"Cannot remove {id}: {error.strerror or error}.") from error


def _state(weight: Floats, bias: Floats) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor(weight, dtype=torch.float32), "bias": torch.tensor(bias, dtype=torch.float32)}


def _free_id(old: Card, cause: str) -> tuple[str, int]:
    """(an id that no model and no file in the weights folder has, its number among those of this name)."""
    stem = re.sub(r"[^a-z0-9]+", "_", f"{old.id} without {cause}".lower()).strip("_")
    taken, number = {*cards(), *(path.stem for path in settings.weights_folder().glob("*.*"))}, 1
    while (id := stem if number == 1 else f"{stem}_{number}") in taken:
        number += 1
    return id, number
