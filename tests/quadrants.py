"""Networks that read one quadrant of the picture, and maps of it that are true and that are not."""

import numpy as np
import torch
from torch import nn

from xai_core.models.explainable import ExplainableModel

SIDE = 56
TRUE = np.zeros((SIDE, SIDE), np.float32)
TRUE[: SIDE // 2, : SIDE // 2] = 1
INVERTED, UNIFORM = 1 - TRUE, np.ones_like(TRUE)
BOX = (0.0, 0.0, SIDE / 2, SIDE / 2)
RANDOM = np.random.default_rng(0).random((7, 7)).astype(np.float32)


class Corner(nn.Module):
    """The upper left quarter of the picture, the rest black."""

    def forward(self, images):
        shown = torch.zeros_like(images)
        shown[:, :, : images.shape[2] // 2, : images.shape[3] // 2] = images[
            :, :, : images.shape[2] // 2, : images.shape[3] // 2
        ]
        return shown


def reader(*layers: nn.Module, channels: int = 3, classes: int = 2) -> ExplainableModel:
    """A network behind such a first stage; without layers its logit 0 grows with the red there, logit 1 with the green."""
    model = ExplainableModel.from_stages(
        [("corner", Corner()), *((f"layer{index}", layer) for index, layer in enumerate(layers))],
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        classify=nn.Linear(channels, classes, bias=False),
        input_size=SIDE,
    )
    if not layers:
        model.network.classify.weight.data[:] = 20 * torch.eye(2, 3)
    return model


def convolutions(seed: int = 0) -> ExplainableModel:
    """Two convolutions behind the quadrant, untrained."""
    torch.manual_seed(seed)
    first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.ReLU())
    model = reader(first, second, channels=8, classes=4)
    model.network.classify.weight.data *= 30
    return model


def picture(red: float = 0.9):
    """Red where the network reads, with some texture, and darker elsewhere."""
    image = torch.full((3, SIDE, SIDE), 0.1) + 0.05 * torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    image[0, : SIDE // 2, : SIDE // 2] += red - 0.1
    return image.clamp(0, 1)


def linear(weights: torch.Tensor) -> ExplainableModel:
    """The network f(x) = sum of weights (3, H, W) times x, as logit 0; logit 1 is 0."""

    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.Parameter(weights.clone())

        def forward(self, images):
            return images * self.weights

    total = nn.Linear(1, 2, bias=False)
    model = ExplainableModel.from_stages(
        [("weighted", Weighted())], lambda activations: activations.sum((1, 2, 3))[:, None], classify=total
    )
    model.network.classify.weight.data[:] = torch.tensor([[1.0], [0.0]])
    return model
