"""A small network for class activation maps, one method run on it, and the comparison of maps."""

import torch
from small_models import difference
from torch import nn

from xai_core.attribution.catalog import METHODS
from xai_core.models.explainable import ExplainableModel

SIDE = 12


def run(method, question, images, **options):
    return METHODS[method](question, images, **options).heatmap


def close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    assert difference(found, expected) <= tolerance


def averaged(head=None, bias=True, channels=6):
    """Two convolutions with ReLU, global average pooling and one linear layer."""
    torch.manual_seed(2)
    stages = [
        ("early", nn.Sequential(nn.Conv2d(3, 5, 3, bias=bias), nn.ReLU())),
        ("late", nn.Sequential(nn.Conv2d(5, channels, 3, bias=bias), nn.ReLU())),
    ]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ExplainableModel.from_stages(stages, pool, classify=head or nn.Linear(channels, 4, bias=bias))
