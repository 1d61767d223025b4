"""Weights in 16 bits: half the memory, the same network but for the rounding, and every method still fits."""

import pytest
import torch
from small_models import CPU, pictures

from xai_core import explain, load_model
from xai_core.attribution.catalog import METHODS
from xai_core.core import runtime
from xai_core.models.building import random_module
from xai_core.models.zoo.catalog import CARDS

IDS = ["efficientnet_lite0", "resnet50", "xcit_small_12_p16_224"]


@pytest.fixture(autouse=True)
def sixteen_bits(monkeypatch):
    monkeypatch.setattr(runtime, "computes_in_16_bits", lambda where: True)


@pytest.mark.parametrize("id", IDS)
def test_half_the_memory_and_the_rounded_network(id):
    whole, half = (load_model(id, weights="random", device=CPU, half=half) for half in (False, True))
    assert half.nbytes < 0.52 * whole.nbytes and half.fingerprint != whole.fingerprint
    side = whole.recipe.input_size
    image = pictures(1, side)
    found, expected = (one.outputs(image).logits for one in (half, whole))
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() <= 2e-2 * expected.abs().max()


def test_it_is_exactly_the_network_with_rounded_weights():
    half = load_model("resnet50", weights="random", device=CPU, half=True)
    module = random_module(CARDS["resnet50"], 0).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            part.weight.data = part.weight.data.half().float()
    image = pictures(1, 224)
    with torch.no_grad():
        expected = module(half.network.normalise(image))
    assert (half.outputs(image).logits - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    "method", ["grad_cam", "layerwise_relevance", "guided_backprop", "full_grad", "occlusion", "attention_rollout"]
)
@pytest.mark.parametrize("id", ["efficientnet_lite0", "deit_base_patch16_224"])
def test_methods_that_look_inside_still_fit(id, method):
    if method not in METHODS:
        pytest.fail(f"{method} is no method any more")
    model = load_model(id, weights="random", device=CPU, half=True)
    if METHODS[method].misfit(model) is None:
        options = {"window": 112, "stride": 56} if method == "occlusion" else {}
        assert explain(model, pictures(1, 224)[0], method, target=3, **options).heatmap.any()


def test_where_the_device_does_not_compute_in_16_bits_nothing_changes(monkeypatch):
    monkeypatch.setattr(runtime, "computes_in_16_bits", lambda where: False)
    half, whole = (load_model("efficientnet_lite0", weights="random", device=CPU, half=half) for half in (True, False))
    assert half.nbytes == whole.nbytes and half.fingerprint == whole.fingerprint
