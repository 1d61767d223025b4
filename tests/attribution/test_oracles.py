"""Every method against another library's implementation of it, on the plain library module, normalisation outside.

The CAM family against grad-cam 1.5.7, gradients and occlusion against captum 0.9.0 (oracles.py). Networks: ResNet-50 and
DeiT-Ti/16 at 224 with random weights, targets a logit and a margin. Tolerance: Spearman at least 0.999, and max |a - b| at
most 1e-4 max |b|.
"""

import ast
from pathlib import Path

import oracles
import pytest
from oracles import CAMS, GRADIENTS, NETWORKS, SCALARS
from oracles_of_parts import CASES, CLOSED_FORMS, NOT_ORACLES, occlusion
from small_models import ask, assert_same

from xai_core.attribution.catalog import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_an_oracle(method):
    assert method in {*CASES, *CLOSED_FORMS}


def test_the_list_of_oracles_names_existing_methods_and_tests():
    assert {*CASES, *CLOSED_FORMS, *NOT_ORACLES} <= {*METHODS}
    for _, test in CLOSED_FORMS.values():
        file, name = test.split("::")
        code = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
        assert name in {part.name for part in ast.parse(code).body if isinstance(part, ast.FunctionDef | ast.ClassDef)}, test


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", CAMS)
def test_cam(method, network, scalar):
    case = oracles.cam(method, network, scalar)
    assert_same(*case.maps())
    if METHODS[method].sign != "signed":
        assert_same(METHODS[method](case.question, case.images).heatmap, case.expected.relu())


def test_hires_cam_before_the_last_block_of_a_vit_is_rounding_noise_there_and_zero_here():
    """LayerNorm ignores the length of its input, so that sum_k g_k A_k is 0: grad-cam's map is below 1e-4 of its terms."""
    model, plain, images = oracles.ours_and_plain(NETWORKS["vit"], 2)
    target, theirs = SCALARS["logit"]
    layer, given, _ = oracles.layer_and_cut(plain, "vit", 2)
    expected = oracles.raw_map(CAMS["hires_cam"], plain, layer, images, [theirs] * 2, **given)
    at = ask(model, target).at_cut(images)
    assert expected.abs().max() < 1e-4 * (at.gradient * at.activations).abs().sum(1).max()
    assert not METHODS["hires_cam"](ask(model, target), images, relu=False).heatmap.any()


GRADIENT_CASES = [
    (method, network, scalar)
    for method in GRADIENTS
    for network in NETWORKS
    for scalar in SCALARS
    if not (method == "integrated_gradients" and scalar == "logit")  # steps are slow; the margin holds two logits
]


@pytest.mark.parametrize(("method", "network", "scalar"), GRADIENT_CASES)
def test_gradient(method, network, scalar):
    options = {"steps": 12} if method == "integrated_gradients" else {}  # each step is a pass of its own
    assert_same(*oracles.gradient(method, network, scalar, **options).maps())


@pytest.mark.parametrize(
    ("family", "side", "window", "stride", "scalar"),
    [
        ("resnet", 96, 64, 8, "logit"),
        ("resnet", 96, 64, 8, "margin"),
        ("vit", 160, 64, 8, "logit"),
        ("vit", 160, 64, 8, "margin"),
        ("resnet", 40, 7, 3, "logit"),
    ],
)
def test_occlusion(family, side, window, stride, scalar):
    assert_same(*occlusion(family, side, window, stride, scalar).maps())


def test_the_table_of_methods_names_each_of_them():
    """docs/methods.md is written by `python -m benchmarks.agreement`; a new method asks for it to be run again."""
    table = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    for method in METHODS.values():
        rows = [line for line in table.splitlines() if line.startswith(f"| **{method.title}** `{method.id}` |")]
        assert len(rows) == 1 and method.source and method.source in rows[0], (
            f"{method.id}: run python -m benchmarks.agreement"
        )
        assert (method.id in CASES) == ("ρ 1.0000" in rows[0] or "ρ 0.9999" in rows[0])
