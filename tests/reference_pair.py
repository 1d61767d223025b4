"""The small network of the published results for pairs, its two views, and those results."""

from functools import cache
from typing import NamedTuple

import numpy as np
import references
import torch
from torch import Tensor, nn

from xai_core.models.explainable import ExplainableModel

WIDTHS = (16, 32, 48, 64, 96)


class Reference(NamedTuple):
    """The model, its two views (1, 3, 224, 224), and every array of the file by its key."""

    model: ExplainableModel
    view1: Tensor
    view2: Tensor
    arrays: dict[str, np.ndarray]

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])


class GlobalMean(nn.Module):
    def forward(self, activations: Tensor) -> Tensor:
        return activations.mean((2, 3))


def _loaded(module: nn.Module, arrays: dict[str, np.ndarray], prefix: str) -> nn.Module:
    state = {key.removeprefix(prefix): torch.from_numpy(value) for key, value in arrays.items() if key.startswith(prefix)}
    missing = module.load_state_dict(state, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    return module


def network(arrays: dict[str, np.ndarray]) -> tuple[nn.Sequential, nn.Sequential]:
    """(encoder up to the last feature map, head), in eval mode."""
    layers, before = [], 3
    for width in WIDTHS:
        layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    head = nn.Sequential(nn.Linear(96, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32, bias=False))
    encoder = _loaded(nn.Sequential(*layers), arrays, "w/encoder.net.")
    return encoder.eval(), _loaded(head, arrays, "w/contrastive_head.").eval()


@cache
def read() -> Reference:
    arrays = references.pair_reference()
    encoder, head = network(arrays)
    stages = [(f"stage{i + 1}", encoder[3 * i : 3 * i + 3]) for i in range(len(WIDTHS))]
    model = ExplainableModel.from_stages(stages, GlobalMean(), project=head)
    return Reference(model, torch.from_numpy(arrays["x1"]), torch.from_numpy(arrays["x2"]), arrays)
