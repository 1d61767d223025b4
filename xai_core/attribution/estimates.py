"""How long an explanation will take, estimated from measured passes of the network."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from xai_core.attribution.catalog import METHODS
from xai_core.explanation.request import Request
from xai_core.models.pass_times import PassTimes

BACKWARD = 1.3  # forward passes that take as long as one backward pass; measured: 0.8 to 1.6
CONVOLUTIONAL = ("resnet", "efficientnet")
# The part of the passes' time that is needed where only what a square can reach is computed again (measured: 0.26 to 0.72),
# or where little lies behind the cut (measured: 2 to 4 passes).
ON_CONVOLUTIONS = {"occlusion": 0.43, "ablation_cam": 1 / 20}
TAILS = ("ablation_cam",)  # these compute what lies behind the cut once for each channel
BATCH = 16  # tails that are timed together


def forward_passes(cost: tuple[int, int]) -> float:
    """(forward, backward) passes as a number of forward passes that take as long."""
    forward, backward = cost
    return forward + BACKWARD * backward


def method_passes(method: str, options: Mapping[str, Any], side: int, family: str) -> float:
    """The forward passes that take as long as one map, on a network of this family that sees `side` pixels."""
    passes = forward_passes(METHODS[method].passes(options, side))
    return passes * ON_CONVOLUTIONS.get(method, 1.0) if family in CONVOLUTIONAL else passes


def explanation_seconds(request: Request, times: PassTimes, *, again: bool = True) -> float:
    """Estimated seconds to answer a request about one picture, here and now. Without `again` passes that were measured
    before are not measured again."""
    if request.method in TAILS:
        return _tails_seconds(request, times, again)
    model, options = request.model, request.options
    if "channels" in options:  # one pass for each; the catalogue does not know how many this network has
        options = {**options, "channels": min(options["channels"], _channels(request))}
    passes = method_passes(request.method, options, model.recipe.input_size, model.family)
    return passes * times.seconds(model, round(passes), again=again)


_known_channels: dict[tuple[str, str, str], int] = {}  # by model, weights and cut


def _channels(request: Request) -> int:
    """The number of channels at the cut, found by one pass of the trunk."""
    model = request.model
    network, cut, side = model.network, model.network.cut_name(request.cut or None), model.recipe.input_size
    key = (model.id, model.fingerprint, cut)
    if key not in _known_channels:
        with torch.no_grad():
            activations = network.trunk(torch.zeros(1, 3, side, side, device=model.device), cut)
        _known_channels[key] = network.grid(activations, cut).shape[1]
    return _known_channels[key]


def _tails_seconds(request: Request, times: PassTimes, again: bool) -> float:
    """Of one whole pass, and a pass through the part behind the cut for each channel there."""
    model = request.model
    network, cut, side = model.network, model.network.cut_name(request.cut or None), model.recipe.input_size
    views = 6 if request.options.get("augment") else 1

    def prepare() -> tuple[Callable[[], object], float]:
        with torch.no_grad():
            activations = network.trunk(torch.zeros(1, 3, side, side, device=model.device), cut)
        channels, batch = network.grid(activations, cut).shape[1], activations.repeat_interleave(BATCH, 0)

        def run() -> None:
            with torch.no_grad():
                network.tail(batch, cut).features.sum().item()

        return run, BATCH / channels

    every_channel = times.measured((model.id, model.fingerprint, "tails", cut), prepare, again=again)
    return views * (times.seconds(model, again=again) + every_channel)
