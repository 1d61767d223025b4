"""A small network for class activation maps, one method run on it, and the comparison of maps."""

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
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


def library_map(net, layer, image, target, reshape=None):
    """The map (h, w) of the library `grad-cam` on a layer's own grid, before it is scaled for the eye: its positive part."""
    targets = [ClassifierOutputTarget(target)]
    with GradCAM(net, [layer], reshape_transform=reshape) as cam:
        cam(image, targets)
        seen = cam.activations_and_grads
        activations, gradients = (one[0].detach().numpy() for one in (seen.activations, seen.gradients))
        return cam.get_cam_image(image, layer, targets, activations, gradients)[0].clip(0)
