"""On a CUDA device every method gives the CPU's map. Runs where there is one."""

import copy

import pytest
import timm
import torch
from small_models import CHEAP, pictures, spearman

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.data.recipe import Recipe
from xai_core.data.samples import load_sample
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
SLOW_ON_THE_CPU = {"occlusion": {"stride": 56}, "ablation_cam": {}, "refine_cam": {"layers": 2}}


@pytest.fixture(scope="module")
def on_gpu():
    return load_model("efficientnet_lite0", device="cuda")


@pytest.fixture(scope="module")
def on_cpu():
    return load_model("efficientnet_lite0", device="cpu")


# Its path is chosen by the order of gradients: rounding changes the path, on one device too.
SENSITIVE_TO_ROUNDING = "guided_integrated_gradients"


@pytest.mark.parametrize(
    "method", [id for id, method in METHODS.items() if method.family != "attention" and id != SENSITIVE_TO_ROUNDING]
)
def test_the_map_equals_that_of_the_cpu(method, on_gpu, on_cpu):
    options = SLOW_ON_THE_CPU.get(method, CHEAP.get(method, {}))
    maps = [explain(model, load_sample("rocket"), method, target=657, **options).heatmap for model in (on_gpu, on_cpu)]
    assert spearman(*maps) >= 0.999


@pytest.mark.parametrize("method", ["grad_cam", "occlusion"])
def test_fast_keeps_the_map(method, on_gpu):
    options = SLOW_ON_THE_CPU.get(method, {})
    maps = [
        explain(on_gpu, load_sample("rocket"), method, target=657, precision=precision, **options).heatmap
        for precision in ("exact", "fast")
    ]
    assert spearman(*maps) >= 0.98


def test_guided_integrated_gradients_differ_from_the_cpus_by_no_more_than_rounding_does(on_gpu, on_cpu):
    """The yardstick is the map of the same picture after a change of 1e-7 in each value, on the CPU."""
    image = on_cpu.prepare(load_sample("rocket")).pixels
    changed = (image + 1e-7 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    options = CHEAP[SENSITIVE_TO_ROUNDING]
    gpu, cpu, rounded = (
        explain(model, pixels, SENSITIVE_TO_ROUNDING, target=657, **options).heatmap
        for model, pixels in ((on_gpu, image), (on_cpu, image), (on_cpu, changed))
    )
    assert spearman(gpu, cpu) >= spearman(rounded, cpu) - 0.05


@pytest.mark.parametrize("cut", [None, "layer4.0.conv1"])
def test_a_network_takes_itself_apart_on_the_device_where_it_is(cut):
    torch.manual_seed(0)
    net = timm.create_model("resnet10t", num_classes=10)
    recipe = Recipe(96, 96, mean=None, std=None)
    cpu, gpu = (ExplainableModel.from_module(one, recipe=recipe) for one in (net, copy.deepcopy(net).cuda()))
    assert gpu.device.type == "cuda" and gpu.cuts == cpu.cuts
    maps = [explain(one, pictures(1, 96)[0], "grad_cam", target=1, cut=cut, relu=False).heatmap for one in (gpu, cpu)]
    assert spearman(*maps) >= 0.999
