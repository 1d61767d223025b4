"""The untrained twin of a model: the same layers with random parameters, for what a map owes to training alone."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor, nn

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import RANDOM, load_model, own_draws
from xai_core.models.staged import freeze
from xai_core.models.zoo.catalog import find_card


def untrained(model: ExplainableModel, seed: int = 0) -> ExplainableModel:
    """The model with every parameter random, seeing the same pixels.

    A model of the catalogue, or of a card of the user's own, is built anew (`load_model(id, "random", seed)`; a probe's
    classifier is drawn too). A network of the user's own, given by stages, has its modules copied and each parameter drawn
    by its layer's own initialiser, or where there is none, from a normal distribution of the parameter's mean and spread.
    Raises BadRequest where a stage is a plain function, whose parameters nobody knows.
    """
    try:
        card = find_card(model.id)
    except UnknownName:
        return _redrawn(model, seed)
    twin = load_model(model.id, RANDOM, seed, device=model.device)
    network = replace(twin.network, normalise=model.network.normalise)
    if card.base:
        network = replace(network, classify=_drawn([network.classify], seed)[0])
    return replace(twin, network=network, recipe=model.recipe)


def twins(model: ExplainableModel) -> Callable[[int], ExplainableModel]:
    """`untrained` of this model by the seed, each made once."""
    return cache(partial(untrained, model))


def _redrawn(model: ExplainableModel, seed: int) -> ExplainableModel:
    network = model.network
    parts = [*(stage.run for stage in network.stages), network.pool, network.project, network.classify]
    if not all(isinstance(part, nn.Module) for part in parts[:-3]):
        raise BadRequest(
            f"{model.title} has stages that are plain functions: there is no untrained twin of it, because nobody knows "
            "their parameters. Give every stage as a module."
        )
    *runs, pool, project, classify = _drawn(parts, seed)
    stages = tuple(replace(stage, run=run) for stage, run in zip(network.stages, runs, strict=True))
    network = replace(network, stages=stages, pool=pool, project=project, classify=classify)
    return replace(model, network=network, fingerprint=f"{model.fingerprint} random {seed}")


def _drawn(parts: list, seed: int) -> list:
    """Copies of the modules among the parts, with other parameters; a module that occurs twice stays one."""
    copies, done = copy.deepcopy(parts), set()
    with own_draws(seed), torch.no_grad():
        for part in copies:
            for module in part.modules() if isinstance(part, nn.Module) else ():
                if hasattr(module, "reset_parameters") and id(module) not in done:
                    module.reset_parameters()
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
