"""From a card to a model: build the library's module, fill it, freeze it, take it apart."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from xai_core import runtime
from xai_core.errors import UnknownName, WeightsUnavailable
from xai_core.models import families, weights
from xai_core.models.card import Card, Checkpoint
from xai_core.models.catalog import CARDS
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import freeze, normalisation


def load_model(
    id: str, weights: str | None = None, seed: int = 0, device: str | torch.device | None = None
) -> ExplainableModel:
    """A model of the catalogue, ready to be explained.

    `weights` is the id of one of its checkpoints (None: the default one), or "random": untrained parameters drawn
    from `seed`, with the BatchNorm statistics of noise, for tests. Raises UnknownName, or WeightsUnavailable where
    the checkpoint is not on this machine and cannot be fetched.
    """
    if id not in CARDS:
        raise UnknownName("model", id, CARDS)
    card = CARDS[id]
    where = torch.device(device) if device else runtime.device()
    if weights == "random":
        module, checkpoint, fingerprint = random_module(card, seed), card.checkpoints[0], f"random {seed}"
    else:
        checkpoint = checkpoint_of(card, weights)
        module, fingerprint = _trained_module(card, checkpoint), checkpoint.sha256
    freeze(module).to(where)
    network = families.FAMILIES[card.family](module)
    recipe = checkpoint.recipe
    names, wnids = imagenet_classes()
    return ExplainableModel(
        id=card.id,
        title=card.title,
        network=replace(network, normalise=normalisation(recipe.mean, recipe.std, where)),
        recipe=recipe,
        device=where,
        fingerprint=fingerprint,
        class_names=names,
        wnids=wnids,
    )


def checkpoint_of(card: Card, name: str | None) -> Checkpoint:
    """The card's checkpoint of that id; None is the default one. Raises UnknownName."""
    by_id = {checkpoint.id: checkpoint for checkpoint in card.checkpoints}
    if name is not None and name not in by_id:
        raise UnknownName("checkpoint", name, [*by_id, "random"])
    return by_id[name] if name else card.checkpoints[0]


def random_module(card: Card, seed: int) -> nn.Module:
    """The architecture with parameters drawn from the seed; BatchNorm statistics are those of eight noise pictures.

    (With the initial statistics an untrained deep network maps every picture to nearly the same, and its maps are dead.)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = families.build(card.family, card.architecture)
        side = card.checkpoints[0].recipe.input_size
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        if norms:
            for norm in norms:
                norm.momentum = None  # a plain average instead of a moving one
            with torch.no_grad():
                module.train()(torch.rand(8, 3, side, side) * 2 - 1)
    return module


def _trained_module(card: Card, checkpoint: Checkpoint) -> nn.Module:
    path = weights.obtain(card, checkpoint)
    module = families.build(card.family, card.architecture)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("model", state)  # the official DeiT files keep the parameters under this name
        if checkpoint.package:
            state = _renamed_in_order(state, module.state_dict())
        module.load_state_dict(state)
    except Exception as error:  # unpickling damaged files raises anything
        first_line = str(error).strip().splitlines()[0]
        raise WeightsUnavailable(
            f"{path.name} cannot be read as the weights of {card.title} ({first_line}). Delete {path} and fetch it again."
        ) from error
    return module


def _renamed_in_order(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same entries under the names of `like`; the two correspond entry by entry, in order, with equal shapes."""
    pairs = list(zip(like.items(), state.values(), strict=True))
    for (name, expected), found in pairs:
        if expected.shape != found.shape:
            raise ValueError(f"{name} is {tuple(found.shape)}, expected {tuple(expected.shape)}")
    return {name: found for (name, _), found in pairs}


@cache
def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, WordNet ids) of the 1,000 ImageNet classes, by index. Some names occur twice (crane, maillot)."""
    info = families.timm.data.ImageNetInfo("imagenet-1k")
    return tuple(info.label_descriptions()), tuple(info.label_names())
