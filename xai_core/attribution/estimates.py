"""How long an explanation will take, estimated from measured passes of the network."""

import torch

from xai_core.attribution.catalog import METHODS
from xai_core.explanation.request import Request
from xai_core.models.pass_times import PassTimes

BACKWARD = 1.3  # forward passes that take as long as one backward pass; measured: 0.8 to 1.6
INCREMENTAL = {"occlusion": 0.5}  # the part of each pass that is computed again on convolutions; measured: 0.26 to 0.72
CONVOLUTIONAL = ("resnet", "efficientnet")
TAILS = ("ablation_cam",)  # these compute what lies behind the cut once for each channel
BATCH = 16  # tails that are timed together


def forward_passes(cost: tuple[int, int]) -> float:
    """(forward, backward) passes as a number of forward passes that take as long."""
    forward, backward = cost
    return forward + BACKWARD * backward


def explanation_seconds(request: Request, times: PassTimes) -> float:
    """Estimated seconds to answer a request about one picture, here and now."""
    if request.method in TAILS:
        return _tails_seconds(request, times)
    passes = forward_passes(METHODS[request.method].cost(request.options))
    if request.model.family in CONVOLUTIONAL:
        passes *= INCREMENTAL.get(request.method, 1.0)
    return passes * times.seconds(request.model, round(passes))


def _tails_seconds(request: Request, times: PassTimes) -> float:
    """Of one whole pass, and a pass through the part behind the cut for each channel there."""
    model = request.model
    network, cut, side = model.network, model.network.cut_name(request.cut or None), model.recipe.input_size
    views = 6 if request.options.get("augment") else 1
    with torch.no_grad():
        activations = network.trunk(torch.zeros(1, 3, side, side, device=model.device), cut)

        def run() -> None:
            with torch.no_grad():
                network.tail(activations.repeat_interleave(BATCH, 0), cut).features.sum().item()

        tail = times.measured((model.id, model.fingerprint, "tail", cut), run, BATCH)
    channels = network.grid(activations, cut).shape[1]
    return views * (times.seconds(model) + channels * tail)
