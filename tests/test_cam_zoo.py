"""The rest of the CAM family against grad-cam 1.5.7, on the native grid before its ReLU, scaling and resizing.

Networks: ResNet-50 with random weights at 224, and small ones where the oracle is slow. Tolerance: Spearman at least 0.999,
max |a - b| at most 1e-4 max |b|. The oracle's module is an independent copy in our memory format (see test_oracles).

Where it had to be bent to our definition, it says so: Score-CAM's masks are laid over cell centres, FullGrad's gradient is
made large so that the 1e-7 in its denominators vanishes, and an arbitrary sign is turned to ours.
"""

import copy

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget
from small_models import Normalise, ask, assembled, custom, difference, pair, pictures, spearman
from torch import nn

from xai_core import runtime
from xai_core.attribution.catalog import METHODS
from xai_core.targets import ClassLogit, ClassProbability

CLASS = 7
SMALL, LARGE = ("resnet", "resnet18", 64), ("resnet", "resnet50", 224)


def logit(scores):
    return scores[..., CLASS]


def probability(scores):
    return scores.softmax(-1)[..., CLASS]


def network(name, n):
    """Our model, grad-cam's copy of the network, its last stage, and n pictures."""
    found = pair(*name)
    plain = copy.deepcopy(found.plain).to(memory_format=runtime.MEMORY_FORMAT)
    images = pictures(n, found.side).contiguous(memory_format=runtime.MEMORY_FORMAT)
    return found.model, plain, plain[1].layer4[-1], images


def tempered(name, n):
    """As `network`, with logits so near to each other that probabilities are not 0 or 1: fresh weights make them huge, and
    where p is below 1e-9, grad-cam's Finer-CAM is zero by the 1e-9 in its denominator."""
    module = copy.deepcopy(pair(*name).plain[1])
    with torch.no_grad():
        spread = pair(*name).plain(pictures(4, name[2], seed=8)).std()
        module.fc.weight /= spread
        module.fc.bias /= spread
    found = assembled(name[0], module, name[2])
    plain = copy.deepcopy(found.plain).to(memory_format=runtime.MEMORY_FORMAT)
    return found.model, plain, plain[1].layer4[-1], network(name, n)[3]


def raw_map(kind, plain, layer, images, scalars, eigen=False, **given):
    """grad-cam's own map (n, h, w), before its ReLU, min-max scaling and resizing."""
    with kind(model=plain, target_layers=[layer], **given) as cam:
        outputs = cam.activations_and_grads(images)
        sum(scalar(output) for scalar, output in zip(scalars, outputs, strict=True)).backward()
        seen, gradients = (
            found[0].numpy() for found in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
        )
        return torch.from_numpy(np.asarray(cam.get_cam_image(images, layer, scalars, seen, gradients, eigen)))


def assert_same(ours, theirs, sign=False):
    assert ours.shape == theirs.shape
    for a, b in zip(ours, theirs, strict=True):
        b = b * (a * b).sum().sign() if sign else b
        assert spearman(a, b) >= 0.999
        assert difference(a, b) <= 1e-4


PLAIN = {
    "elementwise_grad_cam": pytorch_grad_cam.GradCAMElementWise,
    "eigen_grad_cam": pytorch_grad_cam.EigenGradCAM,
    "kpca_cam": pytorch_grad_cam.KPCA_CAM,
    "fem": pytorch_grad_cam.FEM,
}


@pytest.mark.parametrize("name", [SMALL, LARGE], ids=lambda name: name[1])
@pytest.mark.parametrize("method", PLAIN)
def test_method(method, name):
    model, plain, layer, images = network(name, 2)
    expected = raw_map(PLAIN[method], plain, layer, images, [logit] * 2)
    given = {"relu": False} if METHODS[method].sign != "signed" else {}
    found = METHODS[method](ask(model, ClassLogit((CLASS,))), images, **given).heatmap
    assert_same(found, expected, sign=METHODS[method].sign == "signed")


@pytest.mark.parametrize("name", [SMALL, LARGE], ids=lambda name: name[1])
def test_random_cam_with_our_draws(name, monkeypatch):
    """grad-cam draws from the global state; given the weights that our seed makes, the maps agree."""
    model, plain, layer, images = network(name, 2)
    channels = {"resnet18": 512, "resnet50": 2048}[name[1]]
    weights = torch.erf(runtime.normal_draw(5, 0, (channels,)) / 2**0.5)
    assert weights.abs().max() <= 1 and abs(weights.mean()) < 0.1 and abs(weights.std() - 3**-0.5) < 0.05
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: weights.expand(size).numpy())
    expected = raw_map(pytorch_grad_cam.RandomCAM, plain, layer, images, [logit] * 2)
    assert_same(METHODS["random_cam"](ask(model, ClassLogit((CLASS,))), images, relu=False, seed=5).heatmap, expected)


@pytest.mark.parametrize("name", [SMALL, LARGE], ids=lambda name: name[1])
def test_shapley_cam(name):
    """Of a probability: a logit behind mean pooling has no curvature."""
    model, plain, layer, images = tempered(name, 2)
    leaf = images.clone().requires_grad_()
    with pytorch_grad_cam.ShapleyCAM(model=plain, target_layers=[layer]) as cam:
        total = sum(probability(scores) for scores in cam.activations_and_grads(leaf))
        torch.autograd.grad(total, leaf, retain_graph=True, create_graph=True)
        seen = cam.activations_and_grads.activations[0]
        weights = cam.get_cam_weights(leaf, layer, None, seen, cam.activations_and_grads.gradients[0])
        expected = (torch.from_numpy(weights)[..., None, None] * seen.detach()).sum(1)
    question = ask(model, ClassProbability((CLASS,)))
    assert_same(METHODS["shapley_cam"](question, images, relu=False).heatmap, expected)
    curved = METHODS["grad_cam"](question, images, relu=False).heatmap
    assert difference(curved, expected) > 1e-3


@pytest.mark.parametrize(("similar", "strength"), [(3, 1.0), (1, 0.5), (5, 0.6)])
@pytest.mark.parametrize("name", [SMALL, LARGE], ids=lambda name: name[1])
def test_finer_cam(name, similar, strength):
    model, plain, layer, images = tempered(name, 2)
    with torch.no_grad():
        scores = plain(images)
    nearest = (scores - scores[:, [CLASS]]).abs().argsort(1)[:, 1 : similar + 1].tolist()
    scalars = [FinerWeightedTarget(CLASS, others, strength) for others in nearest]
    expected = raw_map(pytorch_grad_cam.GradCAM, plain, layer, images, scalars)
    given = {"similar": similar, "strength": strength, "relu": False}
    assert_same(METHODS["finer_cam"](ask(model, ClassLogit((CLASS,))), images, **given).heatmap, expected)


@pytest.mark.parametrize("scalar", [logit, probability])
def test_score_cam(scalar, monkeypatch):
    """grad-cam stretches masks to the corners; here it is given ours, over cell centres."""
    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", lambda size: nn.Upsample(size=size, mode="bilinear"))
    found = custom()
    model, plain, images = found.model, copy.deepcopy(found.plain), pictures(2, found.side)
    layer = plain[2]
    expected = raw_map(pytorch_grad_cam.ScoreCAM, plain, layer, images, [scalar] * 2)
    target = (ClassLogit if scalar is logit else ClassProbability)((CLASS,))
    assert_same(METHODS["score_cam"](ask(model, target), images, relu=False).heatmap, expected)


@pytest.mark.parametrize("name", [SMALL, LARGE], ids=lambda name: name[1])
@pytest.mark.parametrize("method", ["grad_cam", "elementwise_grad_cam"])
def test_eigen(method, name):
    model, plain, layer, images = network(name, 2)
    kind = {"grad_cam": pytorch_grad_cam.GradCAM, **PLAIN}[method]
    expected = raw_map(kind, plain, layer, images, [logit] * 2, eigen=True)
    found = METHODS[method](ask(model, ClassLogit((CLASS,))), images, eigen=True, relu=False).heatmap
    assert_same(found, expected, sign=True)


@pytest.mark.parametrize("name", [SMALL, LARGE], ids=lambda name: name[1])
@pytest.mark.parametrize("method", ["grad_cam", "fem"])
def test_augment(method, name):
    """The mean of grad-cam's raw maps over its own views (it scales each to [0, 1] first)."""
    model, plain, layer, images = network(name, 1)
    kind = {"grad_cam": pytorch_grad_cam.GradCAM, **PLAIN}[method]
    with kind(model=plain, target_layers=[layer]) as cam:
        views = list(cam.tta_transforms)
    maps = [
        view.deaugment_mask(raw_map(kind, plain, layer, view.augment_image(images), [logit])[:, None])[:, 0]
        for view in views
    ]
    question = ask(model, ClassLogit((CLASS,)))
    found = METHODS[method](question, images, augment=True, relu=False).heatmap
    assert len(views) == 6
    assert_same(found, torch.stack(maps).mean(0))


class Large:
    """A logit, ten thousand times as large."""

    def __call__(self, outputs, rows=None):
        return 1e4 * outputs.logits[:, CLASS]

    def __len__(self):
        return 1


def shaken(module):
    """Every batch normalisation as if trained: scales, shifts and statistics of its own."""
    draw = torch.Generator().manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value, low, high in ((part.weight, 0.5, 1.5), (part.running_var, 0.5, 1.5), (part.bias, -0.3, 0.3)):
                value.data.uniform_(low, high, generator=draw)
            part.running_mean.uniform_(-0.3, 0.3, generator=draw)
    return module


@pytest.mark.parametrize(("architecture", "side"), [("resnet18", 64), ("resnet50", 224)])
def test_full_grad(architecture, side, capsys):
    """grad-cam is given the network behind the normalisation, as ours looks at it."""
    module = shaken(copy.deepcopy(pair("resnet", architecture, side).plain[1]))
    found = assembled("resnet", module, side)
    plain = copy.deepcopy(found.plain[1]).to(memory_format=runtime.MEMORY_FORMAT)
    images = pictures(1, side).contiguous(memory_format=runtime.MEMORY_FORMAT)
    with pytorch_grad_cam.FullGrad(plain, []) as cam:
        leaf = Normalise()(images).requires_grad_()
        (1e4 * cam.activations_and_grads(leaf)[:, CLASS]).sum().backward()
        expected = torch.from_numpy(cam.compute_cam_per_layer(leaf, None, False))[:, 0]
    ours = METHODS["full_grad"](ask(found.model, Large()), images)
    assert_same(ours.heatmap, expected)
    assert ours.facts["completeness gap"].max() < 1e-3
