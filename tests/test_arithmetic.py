"""Folding, as `benchmarks/arithmetic.py` measures it, leaves the network's function as it is."""

import copy

import torch
from torch import nn

from benchmarks.arithmetic import folded, gradient, noise, norms_behind_convolutions


class Network(nn.Module):
    """A norm before the first convolution, one behind a convolution, one behind an activation function."""

    def __init__(self):
        super().__init__()
        self.first, self.conv, self.behind = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.more, self.later, self.head = nn.Conv2d(8, 8, 3, groups=4), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.behind(self.conv(self.first(x))).relu()
        return self.head(self.later(self.more(x).sigmoid()).mean((2, 3)))


def test_a_folded_network_is_the_same_function_with_fewer_norms():
    torch.manual_seed(0)
    network = Network().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            (
                part.running_mean.normal_(),
                part.running_var.uniform_(0.5, 2),
                part.weight.data.normal_(),
                part.bias.data.normal_(),
            )
    pictures = noise(2)[:, :, :32, :32]
    assert norms_behind_convolutions(network, pictures) == [("conv", "behind")]
    other, exact = folded(network, pictures), copy.deepcopy(network).double()
    assert sum(isinstance(part, nn.BatchNorm2d) for part in other.modules()) == 2 and isinstance(
        network.behind, nn.BatchNorm2d
    )
    expected = exact(pictures.double())
    assert torch.allclose(other(pictures).double(), expected, rtol=1e-5, atol=1e-5)
    slope = gradient(exact, pictures.double())
    assert float((gradient(other, pictures) - slope).norm() / slope.norm()) < 1e-3
