"""Pairs of views on small networks: closed forms, independent loops, other sizes and families, and what is refused."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import CHEAP, difference, pictures, small
from torch import nn

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.options import options_of
from xai_core.explanation.targets import SimilarityTo
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs.catalog import PAIR_METHODS, find_pair_method
from xai_core.pairs.evaluate import CONTROLS, evaluate_pair
from xai_core.pairs.explain import explain_pair, explain_pair_methods
from xai_core.pairs.metrics import PAIR_METRICS, rows_of

FEW = {
    "conditional_occlusion": {"window": 16, "stride": 16},
    "context_agnostic_occlusion": {"window": 16, "stride": 16},
    "pairwise_occlusion": {"samples": 4},
    "smooth_grad": {"samples": 3},
    "smooth_grad_guided": {"samples": 3},
    "pixel_invariance": {"count": 4, "epochs": 3},
}


def views(side: int, width: int | None = None):
    return pictures(2, side, width, seed=5).split(1)


class Corner(nn.Module):
    """An encoder that sees the upper left quarter only: its mean colour, and the mean of its squares."""

    def forward(self, images):
        height, width = images.shape[2:]
        return images[:, :, : height // 2, : width // 2]


class Moments(nn.Module):
    def forward(self, seen):
        return torch.cat([seen.mean((2, 3)), (seen**2).mean((2, 3)) - 0.3], 1)


@pytest.fixture(scope="module")
def corner():
    return ExplainableModel.from_stages([("corner", Corner())], Moments())


@pytest.mark.parametrize("network", ["custom", "resnet", "vit", "swin"])
@pytest.mark.parametrize("method", PAIR_METHODS)
def test_every_method_on_every_kind_of_network(network, method):
    found = small(network)
    first, second = views(found.side)
    if "guided" in method and network in ("vit", "swin"):
        with pytest.raises(BadRequest, match="0 activations were guided"):
            explain_pair(found.model, first, second, method, **FEW.get(method, {}))
        return
    both = explain_pair(found.model, first, second, method, **FEW.get(method, {}))
    again = explain_pair(found.model, first[0], second[0], method, **FEW.get(method, {}))
    assert (both[1] is None) == (method == "pixel_invariance")
    for one, same in zip(both, again, strict=True):
        if one is not None:
            assert one.heatmap.dtype == np.float32 and np.isfinite(one.heatmap).all()
            assert np.array_equal(one.heatmap, same.heatmap) and one.key == same.key
            assert one.signed == (PAIR_METHODS[method].sign == "signed" or (one.heatmap < 0).any())
    if both[1] is not None:
        assert both[0].key != both[1].key and both[0].target_value == both[1].target_value
        swapped = explain_pair(found.model, second, first, method, **FEW.get(method, {}))
        if not PAIR_METHODS[method].random:
            assert difference(swapped[1].heatmap, both[0].heatmap) < 1e-3


@pytest.mark.parametrize("method", PAIR_METHODS.values(), ids=lambda method: method.id)
def test_every_method_is_documented(method):
    assert method.card.keys() == {"Why", "Who", "What", "How", "When", "Where", "Beware"}
    assert "arXiv" in method.source and find_pair_method(method.title)[0] is method
    assert {option.name for option in method.options()} == {option.name for option in options_of(method.run)} - {
        *method.fixed
    }
    forward, backward = method.cost(method.checked({}))
    assert forward >= 2 and (backward > 0) == (method.family == "gradient")


def test_maps_are_zero_outside_the_quarter_that_the_network_reads(corner):
    first, second = views(64)
    drops = explain_pair(corner, first, second, "conditional_occlusion", window=16, stride=16)
    for one in drops:
        assert one.heatmap.shape == (4, 4) and one.heatmap[:2, :2].all()
        assert np.abs(one.heatmap[2:]).max() < 1e-6 and np.abs(one.heatmap[:, 2:]).max() < 1e-6
    for one in explain_pair(corner, first, second, "input_x_gradient"):
        assert not one.heatmap[32:].any() and not one.heatmap[:, 32:].any() and one.heatmap[:32, :32].all()


def test_windows_that_do_not_fit_evenly_leave_a_remainder(corner):
    first, second = views(70, 50)
    one, _ = explain_pair(corner, first, second, "conditional_occlusion", window=20, stride=12)
    assert one.heatmap.shape == ((70 - 20) // 12 + 1, (50 - 20) // 12 + 1)
    changed = first.clone()
    changed[:, :, 12:32, 24:44] = 0
    embedded = [corner.outputs(view).embedding for view in (first, second, changed)]
    by_hand = F.cosine_similarity(embedded[0], embedded[1]) - F.cosine_similarity(embedded[2], embedded[1])
    assert difference(one.heatmap[1, 2], by_hand) < 1e-4


class Written(nn.Module):
    """One ReLU as a module, one as a call."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 12, 3, stride=2)
        self.relu = nn.ReLU()

    def forward(self, images):
        return F.relu(self.second(self.relu(self.first(images))))


def guided_by_hooks(net, first, second):
    """The usual way: a hook on every ReLU module, here of a copy."""
    net = copy.deepcopy(net)
    for part in net.modules():
        if isinstance(part, nn.ReLU):
            part.register_full_backward_hook(lambda module, found, given: (found[0].clamp(min=0),))
    leaves = [view.clone().requires_grad_() for view in (first, second)]
    alike = F.cosine_similarity(*(net(leaf).mean((2, 3)) for leaf in leaves))
    return [(leaf * g).abs().amax(1)[0] for leaf, g in zip(leaves, torch.autograd.grad(alike, leaves), strict=True)]


def test_guided_scope_leaves_plain_calls_alone():
    torch.manual_seed(1)
    net = Written()
    model = ExplainableModel.from_stages([("body", net)], lambda seen: seen.mean((2, 3)))
    first, second = views(40)
    plain, everywhere, by_module = (
        explain_pair(model, first, second, "input_x_gradient" + name, **options)
        for name, options in (("", {}), ("_guided", {}), ("_guided", {"guided_scope": "modules"}))
    )
    for ours, theirs in zip(by_module, guided_by_hooks(net, first, second), strict=True):
        assert difference(ours.heatmap, theirs.detach()) < 1e-5
    assert by_module[0].facts["activations guided"] == 1 and everywhere[0].facts["activations guided"] == 2
    assert difference(everywhere[0].heatmap, by_module[0].heatmap) > 0.01
    assert difference(plain[0].heatmap, by_module[0].heatmap) > 0.01


def test_methods_for_classes_serve_pairs():
    model, side = small("custom").model, small("custom").side
    first, second = views(side)
    found = explain_pair(model, first, second, "class:occlusion", **CHEAP["occlusion"])
    alone = explain(model, first[0], "occlusion", target=SimilarityTo(model.embed(second[0])), **CHEAP["occlusion"])
    assert difference(found[0].heatmap, alone.heatmap) < 1e-5 and found[0].target_value == pytest.approx(alone.target_value)
    with pytest.raises(UnknownName):
        explain_pair(model, first, second, "class:nothing")


def test_normalised_space_is_the_same_question_with_another_zero():
    model, side = small("custom").model, small("custom").side
    first, second = views(side)
    inside = model.in_normalised_space()
    normalised = [model.network.normalise(view) for view in (first, second)]
    for ours, same in zip(
        explain_pair(model, first, second, "grad_cam"), explain_pair(inside, *normalised, "grad_cam"), strict=True
    ):
        assert difference(ours.heatmap, same.heatmap) < 1e-5
    black = explain_pair(model, first, second, "conditional_occlusion", window=16, stride=16)[0]
    mean = explain_pair(inside, *normalised, "conditional_occlusion", window=16, stride=16)[0]
    assert difference(black.heatmap, mean.heatmap) > 0.01


@pytest.mark.parametrize(("method", "options"), [("pixel_invariance", {}), ("averaged_transforms", {"transform": "blur"})])
def test_random_augmentations_are_refused_for_normalised_views(method, options):
    model, side = small("custom").model, small("custom").side
    normalised = [model.network.normalise(view) for view in views(side)]
    with pytest.raises(BadRequest, match=r"in \[0, 1\]"):
        explain_pair(model.in_normalised_space(), *normalised, method, **options)


def test_a_models_card_may_hold_other_options():
    model, side = small("custom").model, small("custom").side
    as_simclr = replace(model, id="simclrv2_r50_1x")
    one, _ = explain_pair(as_simclr, *views(side), "pixel_invariance", count=3)
    assert one.options["epochs"] == 1000 and one.options["count"] == 3
    one, _ = explain_pair(model, *views(side), "pixel_invariance", count=3)
    assert one.options["epochs"] == 10


def by_loop(model, first, second, maps, step):
    """SI, SD, CI, CD, one picture at a time and in plain numpy order."""
    from torchvision.transforms.functional import gaussian_blur

    def alike(a, b):
        return float(F.cosine_similarity(model.outputs(a).embedding, model.outputs(b).embedding))

    ends = {"I": [gaussian_blur(v, [11, 11], [5.0, 5.0]) for v in (first, second)], "D": [first, second]}
    goals = {"I": [first, second], "D": [torch.zeros_like(first)] * 2}
    orders = [np.argsort(-m.ravel()) for m in maps]
    found = {}
    for kind in "ID":
        points = []
        for shown in range(math.ceil(maps[0].size / step) + 1):
            both = []
            for view in (0, 1):
                picture = ends[kind][view].clone().flatten(2)
                chosen = torch.from_numpy(orders[view][: shown * step])
                picture[:, :, chosen] = goals[kind][view].flatten(2)[:, :, chosen]
                both.append(picture.view_as(first))
            points.append((alike(*both), alike(both[0], second), alike(first, both[1])))
        simultaneous, one, two = (np.trapezoid(curve) / (len(curve) - 1) for curve in np.array(points).T)
        found |= {("S" + kind, "both"): simultaneous, ("C" + kind, 1): one, ("C" + kind, 2): two}
    return found


def test_curves_are_those_of_a_plain_loop():
    model, side = small("custom").model, small("custom").side
    first, second = views(side, side + 8)
    maps = tuple(np.random.default_rng(view).permutation(side * (side + 8)).reshape(side, -1) for view in (1, 2))
    rows = evaluate_pair(model, first, second, {"any": maps}, ["SI", "SD", "CI", "CD"], step=300)
    found = {(row.metric, row.view): row.value for row in rows if row.view != "both" or row.metric[0] == "S"}
    expected = by_loop(model, first, second, maps, 300)
    assert found.keys() == expected.keys()
    assert found == {key: pytest.approx(value, abs=1e-5) for key, value in expected.items()}


def test_a_single_map_has_conditional_metrics_only():
    model, side = small("custom").model, small("custom").side
    maps = {"pixel_invariance": explain_pair(model, *views(side), "pixel_invariance", count=4, epochs=2)}
    rows = evaluate_pair(model, *views(side), maps, ["SI", "CI", "SAD", "CAD", "CIC"], step=500)
    assert {(row.metric, row.view) for row in rows} == {
        (metric, view) for metric in ("CI", "CAD", "CIC") for view in (1, "both")
    }


def test_rows_of_every_metric_and_control(corner):
    maps = {"grad_cam": explain_pair(corner, *views(40), "grad_cam"), "mine": tuple(np.eye(40) for _ in range(2))}
    rows = evaluate_pair(corner, *views(40), maps, step=400, controls=True)
    assert {row.method for row in rows} == {"grad_cam", "mine", *CONTROLS}
    each = {row.metric for row in rows if row.method == "mine"}
    assert each == set(PAIR_METRICS) and len(rows) == 5 * (5 + 4 * 3)
    values = {row.method: row.value for row in rows if row.metric == "MS"}
    assert math.isnan(values["mine"]) and values["class:random_map"] == 0 and values["grad_cam"] > 0


def test_undefined_metrics_are_nan():
    """Opposite embeddings have nothing to lose; a map without a preference dims nothing in particular."""
    model = ExplainableModel.from_stages([("same", nn.Identity())], lambda seen: seen.mean((2, 3)) - 0.5)
    dark, light = torch.full((1, 3, 32, 32), 0.1), torch.full((1, 3, 32, 32), 0.9)
    ramp = np.linspace(0, 1, 1024).reshape(32, 32)
    rows = {
        (r.metric, r.view): r.value
        for r in evaluate_pair(model, dark, light, {"ramp": (ramp, ramp)}, step=512)
        if r.metric != "MS"
    }
    assert all(math.isnan(rows[metric]) for metric in (("SAD", "both"), ("CAD", 1), ("CAD", 2), ("CAD", "both")))
    assert not math.isnan(rows["SI", "both"]) and rows["CIC", 1] in (0.0, 1.0)
    flat = {"flat": (np.ones((32, 32)), ramp)}
    rows = {(r.metric, r.view): r.value for r in evaluate_pair(model, light, light, flat, ["SIC", "CAD", "CI"], step=512)}
    assert math.isnan(rows["SIC", "both"]) and math.isnan(rows["CAD", 1]) and not math.isnan(rows["CAD", 2])
    assert not math.isnan(rows["CI", 1])


@pytest.mark.parametrize(("base", "increase"), [(0.5 - 1e-9, 1.0), (0.5, 0.0), (0.5 + 1e-9, 0.0)])
def test_a_similarity_that_stays_the_same_is_no_increase(base, increase):
    """SIC and CIC count a rise alone, as `score > base` of the published code does."""
    rows = rows_of("any", {"masked": np.full((1, 3), 0.5)}, base, ["SIC", "CIC", "SAD"], 2)
    assert [(row.metric, row.view) for row in rows[:4]] == [("SIC", "both"), ("CIC", 1), ("CIC", 2), ("CIC", "both")]
    assert [row.value for row in rows[:4]] == [increase] * 4
    assert rows[4].value == pytest.approx(max(0.0, base - 0.5) / base, abs=1e-12)


def test_max_sensitivity_computes_maps_again_with_their_own_seed_and_options():
    """By hand: explanations of the noisy views with the seed of the first map, not with that of the evaluation."""
    model, side = small("custom").model, small("custom").side
    first, second = (0.3 + 0.4 * view for view in views(side))
    noise = 0.1 * (2 * torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(2)) - 1)

    def maps(added):
        both = explain_pair(model, first + added, second + added, "smooth_grad", seed=5, samples=2)
        return [explanation.heatmap.astype(float) for explanation in both]

    clean = maps(0)
    by_draw = [[np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in zip(clean, maps(draw), strict=True)] for draw in noise]
    explained = explain_pair(model, first, second, "smooth_grad", seed=5, samples=2)
    (row,) = evaluate_pair(model, first, second, {"smooth_grad": explained}, ["MS"], seed=0, noise=noise)
    assert row.value == pytest.approx(np.max(by_draw, 0).mean(), rel=1e-4)


def test_a_failing_method_does_not_stop_the_others():
    model, side = small("vit").model, small("vit").side
    found = dict(explain_pair_methods(model, *views(side), {"smooth_grad_guided": {"samples": 2}, "grad_cam": {}}))
    assert isinstance(found["smooth_grad_guided"], BadRequest) and found["grad_cam"][0].heatmap.any()


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("conditional_occlusion", {"window": 60}, "does not fit"),
        ("smooth_grad", {"noise": torch.zeros(2, 3, 8, 8)}, "Noise must be"),
        ("pairwise_occlusion", {"erased": (np.ones((3, 4, 4)), np.ones((3, 4, 4)))}, "`erased` must be"),
        ("averaged_transforms", {"path": torch.zeros(1, 3, 48, 48)}, "A path must be"),
        ("averaged_transforms", {"noise": torch.zeros(4, 3, 48, 48)}, "4 draws of noise for 9 points"),
        ("interaction_cam_mean", {"reduction": "max"}, "no option 'reduction'"),
        ("pixel_invariance", {"similarities": torch.zeros(3)}, "do not fit"),
        ("nothing", {}, "no method for pairs 'nothing'"),
        ("grad_cam", {"seed": "one"}, "A seed is"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(method, options, said):
    model, side = small("custom").model, small("custom").side
    with pytest.raises(BadRequest, match=said) as caught:
        explain_pair(model, *views(side), method, **options)
    assert "\n" not in str(caught.value)


def test_views_of_two_sizes_and_unknown_metrics_are_refused(corner):
    with pytest.raises(BadRequest, match="one size"):
        explain_pair(corner, views(40)[0], views(48)[0], "grad_cam")
    with pytest.raises(UnknownName, match="metric of pairs"):
        evaluate_pair(corner, *views(40), {}, ["SX"])
    with pytest.raises(BadRequest, match="not numbers"):
        evaluate_pair(corner, *views(40), {"bad": np.full((7, 7), np.nan)}, ["CI"])
    with pytest.raises(BadRequest, match="geometry"):
        evaluate_pair(corner, *views(40), {}, ["OS"])
