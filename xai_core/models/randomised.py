"""The modules of a model that is not of the catalogue, copied, with random parameters."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from xai_core.core.errors import BadRequest
from xai_core.models.draws import own_draws
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import freeze


def randomised_stages(model: ExplainableModel, seed: int) -> ExplainableModel:
    """The model with random parameters in copies of its modules. Raises BadRequest where a stage is a plain function."""
    network = model.network
    parts: list[Any] = [*(stage.run for stage in network.stages), network.pool, network.project, network.classify]
    if not all(isinstance(part, nn.Module) for part in parts[:-3]):
        raise BadRequest(
            f"{model.title} has stages that are plain functions, whose parameters cannot be found: there is no untrained "
            "twin of it. Give every stage as a module."
        )
    parts = randomised(parts, seed)
    stages = tuple(replace(stage, run=run) for stage, run in zip(network.stages, parts, strict=False))
    network = replace(network, stages=stages, pool=parts[-3], project=parts[-2], classify=parts[-1], inside=None)
    return replace(model, network=network, fingerprint=f"{model.fingerprint} random {seed}")


def randomised(parts: list[Any], seed: int) -> list[Any]:
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
