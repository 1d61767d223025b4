"""The untrained twin of a model: the same layers with random parameters (the parameter randomisation test needs it)."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.models.draws import own_draws
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import RANDOM, load_model
from xai_core.models.staged import freeze
from xai_core.models.zoo.catalog import find_card


def untrained(model: ExplainableModel, seed: int = 0) -> ExplainableModel:
    """The model with every parameter random, seeing the same pixels.

    A model of the catalogue, or of a card of the user's own, is built anew (`load_model(id, "random", seed)`; a probe's
    classifier is drawn too). A network of the user's own, given by stages, has its modules copied and each parameter drawn
    by its layer's own initialiser, or where there is none, from a normal distribution of the parameter's mean and spread.
    Raises BadRequest where a stage is a plain function, whose parameters cannot be found.
    """
    try:
        card = find_card(model.id)
    except UnknownName:
        return _randomised_stages(model, seed)
    twin = load_model(model.id, RANDOM, seed, device=model.device)
    network = replace(twin.network, normalise=model.network.normalise)
    if card.base:
        network = replace(network, classify=_randomised([network.classify], seed)[0])
    return replace(twin, network=network, recipe=model.recipe)


def twins(model: ExplainableModel) -> Callable[[int], ExplainableModel]:
    """`untrained` of this model by the seed, each made once."""
    return cache(partial(untrained, model))


def _randomised_stages(model: ExplainableModel, seed: int) -> ExplainableModel:
    network = model.network
    parts: list[Any] = [*(stage.run for stage in network.stages), network.pool, network.project, network.classify]
    if not all(isinstance(part, nn.Module) for part in parts[:-3]):
        raise BadRequest(
            f"{model.title} has stages that are plain functions, whose parameters cannot be found: there is no untrained "
            "twin of it. Give every stage as a module."
        )
    parts = _randomised(parts, seed)
    stages = tuple(replace(stage, run=run) for stage, run in zip(network.stages, parts, strict=False))
    network = replace(network, stages=stages, pool=parts[-3], project=parts[-2], classify=parts[-1], inside=None)
    return replace(model, network=network, fingerprint=f"{model.fingerprint} random {seed}")


def _randomised(parts: list[Any], seed: int) -> list[Any]:
    """Copies of the parts; modules among them have random parameters. A module that occurs twice stays one."""
    copies, done = copy.deepcopy(parts), set[int]()
    with own_draws(seed), torch.no_grad():
        for part in copies:
            for module in part.modules() if isinstance(part, nn.Module) else ():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset) and id(module) not in done:
                    reset()
                    done.update(map(id, (module, *module.parameters(recurse=False))))
            for parameter in part.parameters() if isinstance(part, nn.Module) else ():
                if id(parameter) not in done:
                    parameter.copy_(_like(parameter))
                    done.add(id(parameter))
    for part in copies:
        if isinstance(part, nn.Module):
            freeze(part)
    return copies


def _like(parameter: Tensor) -> Tensor:
    spread = parameter.std().item() if parameter.numel() > 1 else 1.0
    return parameter.mean().item() + (spread or 1.0) * torch.randn(parameter.shape)
