"""The rest of the CAM family against grad-cam 1.5.7, on the native grid before its ReLU, scaling and resizing (oracles.py).

Networks: ResNet-50 with random weights at 224, and small ones where the oracle is slow. Tolerance: Spearman at least 0.999,
max |a - b| at most 1e-4 max |b|.
"""

import oracles
import pytest
import pytorch_grad_cam
import torch
from oracles import CAMS, CLASS, LARGE, SMALL, logit, probability
from small_models import ask, assert_same, difference

from xai_core.attribution.catalog import METHODS
from xai_core.core import runtime
from xai_core.explanation.targets import ClassLogit

EITHER = pytest.mark.parametrize("name", [SMALL, LARGE], ids=lambda name: name[1])
LOGIT = ClassLogit((CLASS,))


def network(name, n):
    """Our model, grad-cam's copy of the network, its last stage, and n pictures."""
    model, plain, images = oracles.ours_and_plain(name, n)
    return model, plain, plain[1].layer4[-1], images


def turned(found, expected):
    """The oracle's maps with the sign of ours, which is the subject of tests of its own."""
    return expected * (found * expected).sum((1, 2), keepdim=True).sign()


@EITHER
@pytest.mark.parametrize("method", ["elementwise_grad_cam", "eigen_grad_cam", "kpca_cam", "fem"])
def test_method(method, name):
    model, plain, layer, images = network(name, 2)
    expected = oracles.raw_map(CAMS[method], plain, layer, images, [logit] * 2)
    signed = METHODS[method].sign == "signed"
    found = METHODS[method](ask(model, LOGIT), images, **({} if signed else {"relu": False})).heatmap
    assert_same(found, turned(found, expected) if signed else expected)


@EITHER
def test_random_cam_with_our_draws(name):
    assert_same(*oracles.random_cam(name).maps())
    weights = torch.erf(runtime.normal_draw(5, 0, (2048,)) / 2**0.5)
    assert 0.99 < weights.abs().max() <= 1 and abs(weights.mean()) < 0.1 and abs(weights.std() - 3**-0.5) < 0.05


@EITHER
def test_shapley_cam(name):
    case = oracles.shapley_cam(name)
    assert_same(*case.maps())
    curved = METHODS["grad_cam"](case.question, case.images, relu=False).heatmap
    assert difference(curved, case.expected) > 1e-3


@pytest.mark.parametrize(("similar", "strength"), [(3, 1.0), (1, 0.5), (5, 0.6)])
@EITHER
def test_finer_cam(name, similar, strength):
    assert_same(*oracles.finer_cam(name, similar, strength).maps())


@pytest.mark.parametrize("scalar", [logit, probability])
def test_score_cam(scalar):
    assert_same(*oracles.score_cam(scalar).maps())


@EITHER
@pytest.mark.parametrize("method", ["grad_cam", "elementwise_grad_cam"])
def test_eigen(method, name):
    model, plain, layer, images = network(name, 2)
    expected = oracles.raw_map(CAMS[method], plain, layer, images, [logit] * 2, eigen=True)
    found = METHODS[method](ask(model, LOGIT), images, eigen=True, relu=False).heatmap
    assert_same(found, turned(found, expected))


@EITHER
@pytest.mark.parametrize("method", ["grad_cam", "fem"])
def test_augment(method, name):
    """The mean of grad-cam's raw maps over its own views (it scales each to [0, 1] first)."""
    model, plain, layer, images = network(name, 1)
    with pytorch_grad_cam.GradCAM(model=plain, target_layers=[layer]) as cam:
        views = list(cam.tta_transforms)
    maps = [
        view.deaugment_mask(oracles.raw_map(CAMS[method], plain, layer, view.augment_image(images), [logit])[:, None])[:, 0]
        for view in views
    ]
    found = METHODS[method](ask(model, LOGIT), images, augment=True, relu=False).heatmap
    assert len(views) == 6
    assert_same(found, torch.stack(maps).mean(0))


@EITHER
def test_full_grad(name):
    case = oracles.full_grad(name)
    assert_same(*case.maps())
    facts = METHODS["full_grad"](case.question, case.images).facts
    assert facts["completeness gap"].max() < 1e-3
