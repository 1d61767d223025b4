"""Outputs of a picture with a square changed, from what the square can reach: equal to those of the whole network.

Rounding of sums of other sizes is all that may differ: 1e-5 of the largest value, of the change that the square makes.
"""

import pytest
import torch
from small_models import ask, difference, pair, pictures, small, traced
from torch import nn

from xai_core.attribution.perturbation import occlusion as occlusion_module
from xai_core.attribution.perturbation.occlusion import occlusion
from xai_core.explanation.targets import ClassLogit
from xai_core.models import incremental_forward
from xai_core.models.explainable import ExplainableModel
from xai_core.models.incremental_forward import PatchedNetwork, Reach, measured_reach, trusted, with_squares


def corners_of(height, width, side, stride):
    tops, lefts = ((*range(0, length - side, stride), length - side) for length in (height, width))
    return [(top, left) for top in tops for left in lefts]


@pytest.mark.parametrize(
    ("found", "size", "side", "stride", "saved"),
    [
        (pair("resnet", "resnet18", 128), (128, 128), 32, 12, 3),
        (pair("resnet", "resnet18", 128), (128, 192), 24, 17, 3),
        (pair("resnet", "resnet50", 224), (224, 224), 64, 53, 8),
        (pair("efficientnet"), (96, 64), 9, 7, 3),
        (traced("resnet10t"), (128, 96), 24, 17, 3),
        (traced("convnext_atto"), (128, 128), 24, 24, 1),
    ],
)
@torch.no_grad()
def test_every_square_gives_what_the_whole_network_gives(found, size, side, stride, saved):
    """Also at the edges and in the corners of the picture, and where strides do not divide the corners."""
    network, image = found.model.network, pictures(1, *size)
    corners = corners_of(*size, side, stride)
    squares = torch.rand(len(corners), 3, side, side, generator=torch.Generator().manual_seed(0))
    patched = PatchedNetwork(network, image, side)
    assert len(patched.steps) >= saved
    clean = network.outputs(image).features
    whole = network.outputs(with_squares(image, squares, corners)).features
    assert difference(patched.features(squares, corners) - clean, whole - clean) <= 1e-5
    assert trusted(network, image, 1 - image, corners, side) is not None


@torch.no_grad()
def test_the_reach_of_known_stages_is_measured():
    maps = torch.rand(1, 4, 32, 48)

    def convolution(kernel, stride=1, padding=None):
        return nn.Conv2d(4, 4, kernel, stride, kernel // 2 if padding is None else padding)

    assert measured_reach(convolution(1), maps) == Reach(1, 0, 0)
    assert measured_reach(convolution(3), maps) == Reach(1, -1, 1)
    assert measured_reach(nn.Sequential(convolution(3), nn.ReLU(), convolution(5)), maps) == Reach(1, -3, 3)
    assert measured_reach(convolution(3, 2), maps) == Reach(2, 0, 1)
    assert measured_reach(convolution(2, 2, 0), maps) == Reach(2, 0, 0)
    assert measured_reach(convolution(3, padding=0), maps) is None, "the edges are not padded"
    assert measured_reach(lambda x: x * x.mean((2, 3), keepdim=True), maps) is None, "a gate sees everything"
    assert measured_reach(lambda x: x.flatten(2), maps) is None, "no grid"


@torch.no_grad()
def test_nothing_is_saved_where_every_place_sees_every_other():
    vit = small("vit")
    assert trusted(vit.model.network, pictures(1, 160), pictures(1, 160), corners_of(160, 160, 32, 16), 32) is None


def with_positions(images):
    """Adds to every place its column, counted from the left edge: no convolution, though it looks like one."""
    return images + torch.arange(images.shape[3]) / images.shape[3]


def of_one_size(images):
    return images * torch.ones(64, 64)


def gated(images):
    return images * images.mean((2, 3), keepdim=True)


@pytest.mark.parametrize("stage", [with_positions, of_one_size, gated])
def test_a_network_that_is_no_convolution_is_found_out_and_run_whole(stage):
    torch.manual_seed(0)
    stages = [("odd", stage), ("conv", nn.Conv2d(3, 6, 3, padding=1))]
    pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ExplainableModel.from_stages(stages, pool, classify=nn.Linear(6, 2))
    image, side = pictures(1, 64), 16
    corners = corners_of(64, 64, side, 8)
    with torch.no_grad():
        assert trusted(model.network, image, torch.zeros_like(image), corners, side) is None
    question = ask(model, ClassLogit((1,)))
    covered = with_squares(image, torch.zeros(len(corners), 3, side, side), corners)
    drops = question.scores(image) - question.scores(covered)
    expected, counts = torch.zeros(64, 64), torch.zeros(64, 64)
    for (top, left), drop in zip(corners, drops, strict=True):
        expected[top : top + side, left : left + side] += drop
        counts[top : top + side, left : left + side] += 1
    assert difference(occlusion(question, image, window=side, stride=8)[0], expected / counts) <= 1e-5


@pytest.mark.parametrize(("network", "size", "window", "stride"), [
    ("resnet18", (160, 128), 32, 20),
    ("resnet18", (128, 128), 64, 12),
    ("resnet50", (224, 224), 64, 40),
    ("lite0", (224, 224), 64, 36),
    ("lite0", (192, 224), 28, 28),
])  # fmt: skip
def test_the_map_is_that_of_the_plain_sweep(lite0, monkeypatch, network, size, window, stride):
    """For several pictures with a target each; sizes, steps and edges that fit nothing in particular."""
    monkeypatch.setattr(incremental_forward, "FEW", 2)
    model = lite0 if network == "lite0" else pair("resnet", network, 128).model
    images, question = pictures(2, *size), ask(model, ClassLogit((3, 7)))
    found = occlusion(question, images, window=window, stride=stride)
    monkeypatch.setattr(occlusion_module, "trusted", lambda *given: None)
    assert difference(found, occlusion(question, images, window=window, stride=stride)) <= 1e-5


@pytest.mark.parametrize("limit", [6, 2])
def test_out_of_memory_halves_the_batch_and_keeps_the_map(limit):
    """With room for six pictures squares go on in smaller batches; with room for two there is no check, and no patches."""
    network, seen = pair("resnet", "resnet18", 128).model.network, []

    def small_memory(images):
        seen.append(images.shape)
        if len(images) > limit:
            raise torch.OutOfMemoryError("too many")
        return images

    stages = [("guard", small_memory), *((stage.name, stage.run) for stage in network.stages)]
    guarded = ExplainableModel.from_stages(stages, network.pool, classify=network.classify)
    plain = ExplainableModel.from_stages(stages[1:], network.pool, classify=network.classify)
    image, given = pictures(1, 128), {"window": 32, "stride": 16}
    found = occlusion(ask(guarded, ClassLogit((3,))), image, **given)
    assert difference(found, occlusion(ask(plain, ClassLogit((3,))), image, **given)) <= 1e-5
    assert max(shape[0] for shape in seen) > limit
    assert any(shape[0] <= limit and shape[2] < 128 for shape in seen) == (limit == 6)
