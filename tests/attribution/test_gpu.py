"""On a CUDA device every method gives the CPU's map. Runs where there is one."""

import pytest
import torch
from small_models import CHEAP, spearman

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.data.samples import load_sample
from xai_core.models.loading import load_model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
SLOW_ON_THE_CPU = {"occlusion": {"stride": 56}, "ablation_cam": {}, "refine_cam": {"layers": 2}}


@pytest.fixture(scope="module")
def on_gpu():
    return load_model("efficientnet_lite0", device="cuda")


@pytest.fixture(scope="module")
def on_cpu():
    return load_model("efficientnet_lite0", device="cpu")


@pytest.mark.parametrize("method", [id for id, method in METHODS.items() if method.family != "attention"])
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
