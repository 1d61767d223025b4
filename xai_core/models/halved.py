"""Parameters kept in 16 bits: half the memory for what is large, the weights of convolutions and linear layers.

Each weight is widened when its layer reads it, so that `exact` computes in float32 as always (with weights rounded to 16
bits: they are others, by up to 0.05%), every method finds the float32 weights it expects, and no more than one layer is
wide at a time. Worth it where the device computes in 16 bits anyway.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class _Widened(nn.Module):
    def forward(self, kept: Tensor) -> Tensor:
        return kept.float()


def halve(module: nn.Module) -> nn.Module:
    """The module itself, the weights of its convolutions and linear layers in float16. Raises nothing: what is beyond the
    range of 16 bits (65,504) stays as it is."""
    for part in list(module.modules()):
        if isinstance(part, nn.Conv2d | nn.Linear) and bool(part.weight.abs().max() < torch.finfo(torch.float16).max):
            part.weight = nn.Parameter(part.weight.half(), requires_grad=False)
            parametrize.register_parametrization(part, "weight", _Widened(), unsafe=True)  # it changes the type
    return module
