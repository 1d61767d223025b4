"""Cuts inside the stages of a network whose stages are written by hand: its module is traced when the first one is used."""

import threading
from dataclasses import replace

import torch
from torch import nn

from xai_core.core.errors import BadRequest
from xai_core.models.layouts import moved_pictures
from xai_core.models.staged import InnerCut, StagedNetwork
from xai_core.models.taken_apart import SAME, device_of, taken_apart


def with_cuts_inside(network: StagedNetwork, module: nn.Module, side: int) -> StagedNetwork:
    """The network with the outputs of its frozen module's parts as cuts, beside its stages.

    side   of the pictures that it is made for
    """
    return replace(network, inside=_Inside(network, module, side))


class _Inside:
    """Such a cut runs the module from the pictures to its part, and from there to the features: no stage is run."""

    def __init__(self, network: StagedNetwork, module: nn.Module, side: int) -> None:
        self.network, self.module, self.side = network, module, side
        self.traced: StagedNetwork | None = None
        self.tracing = threading.Lock()
        # `layer4` stays a short name of the last stage in it.
        self.names = tuple(
            path
            for path, _ in module.named_modules()
            if path and not any(cut == path or cut.startswith(f"{path}.") for cut in network.cuts)
        )

    def __call__(self, path: str) -> InnerCut:
        traced = self._traced()
        if path not in traced.cuts and not (traced.inside and path in traced.inside.names):
            raise BadRequest(
                f"There is no cut behind '{path}': it does not give one tensor, once, that the rest of the network needs."
            )
        return InnerCut(
            before=0,
            run=lambda pictures: traced.trunk(pictures, path),
            rest=lambda packed: traced.tail(packed, path).features,
            grid=lambda packed: traced.grid(packed, path),
            after=len(self.network.stages) + 1,
        )

    def _traced(self) -> StagedNetwork:
        with self.tracing:
            if self.traced is None:
                network = replace(self.network, normalise=None)
                traced = taken_apart(self.module, self.side, embeds=network.classify is None)
                pictures = moved_pictures(self.side)[:2].to(device_of(self.module))
                with torch.no_grad():
                    ours, theirs = (one.outputs(pictures).features for one in (traced, network))
                rounding = SAME * float(theirs.abs().max())
                if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=SAME, atol=rounding):
                    raise BadRequest("The network's own forward pass is another than its stages': cut between these.")
                self.traced = traced
            return self.traced
