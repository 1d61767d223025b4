"""The published settings: what is guided in SimCLRv2, the options of the study's code, which settings of a run differ."""

import shutil
import subprocess
from dataclasses import replace

import plain_forward as plain
import pytest
import torch
import torch.nn.functional as F
from small_models import assembled, difference, pictures, small

from xai_core.analysis import feature_visualisation
from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.data.samples import SAMPLES
from xai_core.data.selection import open_images
from xai_core.explanation import rendering
from xai_core.models.architectures import simclrv2_resnet50
from xai_core.models.zoo.catalog import CARDS
from xai_core.pairs import benchmark, benchmark_runs, study
from xai_core.pairs.catalog import PAIR_METHODS
from xai_core.pairs.explain import explain_pair, usual_options
from xai_core.pairs.metrics import PAIR_METRICS, STEP

SIDE = 64


class GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x > 0)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(min=0) * ctx.saved_tensors[0]


def embedding(p, x, inner, end):
    """SimCLRv2 with one block in each stage, written out: `inner` are the ReLUs that are modules in the published code,
    `end` the plain call at the end of each block."""
    x = F.max_pool2d(inner(plain.batch_norm(p, "bn1", F.conv2d(x, p["conv1.weight"], stride=2, padding=3))), 3, 2, 1)
    for number in (1, 2, 3, 4):
        b, stride = plain.part(p, f"layer{number}.0."), 1 if number == 1 else 2
        y = inner(plain.batch_norm(b, "bn1", F.conv2d(x, b["conv1.weight"])))
        y = inner(plain.batch_norm(b, "bn2", F.conv2d(y, b["conv2.weight"], stride=stride, padding=1)))
        y = plain.batch_norm(b, "bn3", F.conv2d(y, b["conv3.weight"]))
        x = end(y + plain.batch_norm(b, "downsample.1", F.conv2d(x, b["downsample.0.weight"], stride=stride)))
    x = x.mean((2, 3))
    for layer in (0, 3):
        x = inner(plain.batch_norm(p, f"project.{layer + 1}", F.linear(x, p[f"project.{layer}.weight"])))
    return plain.batch_norm(p, "project.7", F.linear(x, p["project.6.weight"]))


def test_the_guided_scope_of_simclrv2_leaves_the_plain_calls_at_the_end_of_blocks_alone():
    torch.manual_seed(0)
    module = simclrv2_resnet50(width=1, layers=(1, 1, 1, 1)).eval()
    found, guided = assembled("resnet", module, SIDE), GuidedReLU.apply
    first, second = pictures(2, SIDE, seed=5)
    normalise, state = found.plain[0], module.state_dict()
    ends = {"modules": F.relu, "all": guided}
    maps = {}
    for scope, end in ends.items():
        leaves = [view[None].clone().requires_grad_() for view in (first, second)]
        alike = F.cosine_similarity(*(embedding(state, normalise(leaf), guided, end) for leaf in leaves))
        by_hand = [(leaf * g).abs().amax(1)[0] for leaf, g in zip(leaves, torch.autograd.grad(alike, leaves), strict=True)]
        maps[scope] = explain_pair(found.model, first, second, "input_x_gradient_guided", guided_scope=scope)
        for ours, theirs in zip(maps[scope], by_hand, strict=True):
            assert difference(ours.heatmap, theirs.detach()) < 1e-4
    assert maps["all"][0].facts["activations guided"] - maps["modules"][0].facts["activations guided"] == 4
    assert difference(maps["all"][0].heatmap, maps["modules"][0].heatmap) > 0.01


def test_a_network_without_such_modules_is_refused_instead_of_left_unguided():
    found = small("vit")
    first, second = pictures(2, found.side).split(1)
    with pytest.raises(BadRequest, match="no ReLU that is a module"):
        explain_pair(found.model, first, second, "input_x_gradient_guided", guided_scope="modules")


def test_the_published_options_are_those_of_the_code_and_of_its_readme():
    for model, epochs in (("simclrv2_r50_2x", 1000), ("barlow_twins", 10)):
        options = study.options_of(model)
        for name, given in options.items():
            PAIR_METHODS[name].checked(given)  # exist, and within their bounds
        assert options["pixel_invariance"] == {"count": 1000, "epochs": epochs}
        noisy = [name for name in study.PUBLISHED.values() if "smooth" in name or name.endswith("noise")]
        guided = [name for name in study.PUBLISHED.values() if "guided" in name]
        assert all(options[name]["sigma_rule"] == "code" for name in noisy) and len(noisy) == 4
        assert all(options[name]["guided_scope"] == "modules" for name in guided) and len(guided) == 4
    assert CARDS["simclrv2_r50_1x"].pairs["pixel_invariance"] == study.options_of("simclrv2_r50_1x")["pixel_invariance"]


def settings_of(found):
    return {one.setting: (one.published, one.here, one.methods) for one in found}


def test_each_setting_that_differs_is_listed_and_no_other():
    model, data = small("custom").model, open_images("samples")
    usual = benchmark.BenchmarkPlan(step=500, normalised=False)
    as_published = benchmark.BenchmarkPlan(options=study.options_of("barlow_twins"))

    def found(plan, of="barlow_twins"):
        return settings_of(study.deviations(benchmark.setup_of(model, data, 8, plan), of))

    always = {one.setting for one in study.ALWAYS} | {"Network", "Pictures"}
    assert set(found(as_published)) == always
    assert found(as_published)["Pictures"][1] == f"{len(SAMPLES)} of samples"
    differs = found(usual)
    assert differs["Pixels in each step of a curve"][:2] == (str(STEP), "500")
    assert differs["Maps and changes are made on"][1] == "pixels in [0, 1]"
    assert differs["Option sigma_rule"] == (
        "code", "paper",
        ("smooth_grad", "smooth_grad_guided", "averaged_transforms_noise", "averaged_transforms_guided_noise"),
    )  # fmt: skip
    assert differs["Option count"][:2] == ("1000", "64") and "Option epochs" not in differs
    assert differs["Option guided_scope"][2] == tuple(name for name in study.OPTIONS if "guided" in name)
    assert set(differs) - always == {
        "Pixels in each step of a curve", "Maps and changes are made on", "Option sigma_rule", "Option count",
        "Option guided_scope", "Option samples",
    }  # fmt: skip
    assert found(as_published, "simclrv2_r50_2x")["Option epochs"][:2] == ("1000", "10")
    assert study.in_words(differs["Crops: blur"][2]) == "methods on random crops"
    assert study.in_words(differs["Combined transform"][2]) == "methods on a picture and its transform"
    assert study.in_words(("grad_cam", "pixel_invariance")) == "Grad-CAM for similarity, Pixel invariance"
    few = found(benchmark.BenchmarkPlan(("grad_cam",), options=study.options_of("barlow_twins")))
    assert "Combined transform" not in few and few["Crops: blur"][2] == ("grad_cam",), "only what was measured"


def test_the_tables_name_the_deviations_and_the_studys_name_of_a_metric():
    model, data = small("custom").model, open_images("samples")
    rows = [
        {"method": method, "pairs": benchmark.CROPPED, "metric": metric, "view": "both", "value": value}
        for method, value in (("grad_cam", 0.25), ("class:random_map", 0.5)) for metric in ("SI", "CIC")
    ]  # fmt: skip
    lines = benchmark.table([rows, rows], "another", "barlow_twins")
    (line,) = (line for line in lines if (line["method"], line["metric"]) == ("grad_cam", "SI"))
    assert line["published"] == 0.683 and line["difference"] == pytest.approx(0.25 - 0.683)
    plan = benchmark.BenchmarkPlan(("grad_cam",), metrics=("SI", "CIC"))
    found = study.deviations(benchmark.setup_of(model, data, 2, plan), "barlow_twins")
    markdown = benchmark.as_markdown(lines, "Two pictures_50%", found)
    assert "| CIC (CID) ↑ |" in markdown and "0.250 ± 0 (0.683, -0.433)" in markdown
    assert all(f"| {one.setting} | {one.published} | {one.here} |" in markdown for one in found)
    latex = benchmark.as_latex(lines, "Two pictures_50%", found)
    assert r"Two pictures\_50\%" in latex and r"CIC (CID) $\uparrow$" in latex and r"0.250 $\pm$ 0 (0.683, -0.433)" in latex
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 2
    assert latex.count("{") == latex.count("}") and latex.isascii() and r"class:random\_map" in latex
    assert all(one.setting in latex for one in found)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here; the test above checks its structure")
def test_the_latex_of_the_example_run_compiles(tmp_path):
    run = benchmark_runs.open_benchmark(settings.RESOURCES / "data" / "runs" / "pairs_samples")
    found = study.deviations(run.setup, "barlow_twins")
    table = benchmark.as_latex(benchmark.table(run.pictures, run.model, "barlow_twins"), run.setup.pictures, found)
    (tmp_path / "table.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}" + f"\n{table}\n" + r"\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, errors="replace")
    assert done.returncode == 0 and (tmp_path / "table.pdf").exists(), done.stdout[-2000:]


def test_the_estimated_passes_of_a_picture_are_those_that_are_made():
    """Every forward pass, counted where the network begins."""
    model, counted = small("custom").model, []

    def counting(images):
        counted.append(len(images))
        return model.network.normalise(images)

    watched = replace(model, network=replace(model.network, normalise=counting))
    plan = benchmark.BenchmarkPlan(
        ("grad_cam", "pairwise_occlusion", "pixel_invariance"), metrics=tuple(PAIR_METRICS), step=300, normalised=False,
        options={"pairwise_occlusion": {"samples": 9}, "pixel_invariance": {"count": 7}},
    )  # fmt: skip
    benchmark.measure_picture(watched, rendering.to_pil(pictures(1, 48)[0]), 0, plan)
    assert sum(counted) == pytest.approx(benchmark.passes(model, plan), rel=0.05)


def test_cards_hold_the_settings_that_the_study_has_for_single_models():
    """By the readme of its code: SimCLRv2 1,000 views and 1,000 steps, up to its fourth part with L2; the others up to the
    fifth of theirs (stem in four parts, then the first stage) without."""
    blocks = (3, 4, 6, 3)  # of a ResNet-50
    for id in ("simclrv2_r50_1x", "simclrv2_r50_2x", "barlow_twins", "simsiam"):
        model, simclr = replace(small("custom").model, id=id), id.startswith("simclr")
        stage = 3 if simclr else 1
        expected = {"depth": f"layer{stage}.{blocks[stage - 1] - 1}", "regularisation": "l2" if simclr else "blur"}
        assert feature_visualisation.usual_settings(model) == expected
        assert usual_options(model, "pixel_invariance") == ({"count": 1000, "epochs": 1000} if simclr else {})
