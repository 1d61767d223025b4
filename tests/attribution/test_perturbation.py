"""Superpixels and regions: closed forms, exhaustive Shapley values, captum 0.9.0, and the lime package itself.

Tolerance 1e-5 of the largest value unless a test says otherwise; scores are float32, so that differences of scores are
held to 1e-4.
"""

from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from oracles_of_parts import blocks, feature_ablation, kernel_shap, lime_package
from small_models import ask, difference, pictures, small, spearman
from torch import nn

from xai_core.attribution import xrai
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.perturbation import segmentation, superpixels
from xai_core.core.errors import BadRequest
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.targets import ClassLogit, ClassMargin
from xai_core.models.explainable import ExplainableModel

SIDE = 12
MARGIN = ClassMargin((1,), (4,))


def linear():
    torch.manual_seed(1)
    layer = nn.Linear(3 * SIDE * SIDE, 3)
    model = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=layer)
    return model, layer.weight.detach().view(3, 3, SIDE, SIDE)


def segment_sums(terms, parts):
    """Each pixel with the sum of its segment: terms (H, W)."""
    return torch.stack([(parts == name) * terms[parts == name].sum() for name in parts.unique()]).sum(0)


def one_value_each(heatmap, parts):
    return torch.stack([heatmap[parts == name][0] for name in parts.unique()]).double()


@pytest.mark.parametrize("fill", BASELINES)
@pytest.mark.parametrize(
    ("method", "options"),
    [
        (superpixels.feature_ablation, {}),
        (superpixels.kernel_shap, {"samples": 600}),
        (superpixels.kernel_shap, {"samples": 200}),
    ],
)
def test_linear_network(method, options, fill):
    """Covering a segment takes away its sum of w (x - cover), alone or in any company; 9 segments in every coalition, or in
    100 drawn pairs, whose regression leaves nothing over."""
    model, weights = linear()
    images, parts = pictures(2, SIDE), blocks(SIDE, 3)
    found = method(ask(model, ClassLogit((0, 2))), images, parts=parts, fill=fill, **options)
    terms = (weights[[0, 2]] * (images - baseline_images(images, fill))).sum(1)
    for row in range(2):
        assert difference(found.heatmap[row], segment_sums(terms[row], parts)) <= 1e-4
    if found.error is not None:
        assert found.error.max() <= 1e-5 * found.heatmap.abs().max()


def test_lime_recovers_the_order_of_a_linear_network():
    model, weights = linear()
    images, parts = pictures(1, SIDE), blocks(SIDE, 4)
    found = superpixels.lime(ask(model, ClassLogit((2,))), images, parts=parts, fill="black")
    expected = segment_sums((weights[2] * images[0]).sum(0), parts)
    assert spearman(one_value_each(found.heatmap[0], parts), one_value_each(expected, parts)) > 0.999
    assert found.facts["fit R2"] > 0.99


@pytest.mark.parametrize("name", ["resnet", "vit"])
@pytest.mark.parametrize("kind", ["slic", "felzenszwalb"])
def test_feature_ablation_is_captums(name, kind):
    case = feature_ablation(name, kind)
    ours, theirs = case.maps()
    assert difference(ours, theirs) <= 1e-4
    parts = segmentation.segment(case.images[0], kind, 20)
    facts = METHODS["feature_ablation"](case.question, case.images, **case.options).facts
    assert facts["segments"] == len(parts.unique())


def coalition_scores(question, image, parts):
    """f of every coalition of segments on black, by its set of numbers."""
    number = len(parts.unique())
    sets = [frozenset(chosen) for size in range(number + 1) for chosen in combinations(range(number), size)]
    shown = torch.stack(
        [sum(((parts == part) for part in chosen), torch.zeros_like(parts, dtype=torch.bool)) for chosen in sets]
    )
    return dict(zip(sets, question.scores(image * shown[:, None]).double().tolist(), strict=True))


def shapley_values(scores, number):
    """The definition: the mean over coalitions of the others, sizes weighted alike, of what a segment adds."""
    return [
        sum(
            (scores[chosen | {part}] - scores[chosen]) / (number * comb(number - 1, len(chosen)))
            for chosen in scores
            if part not in chosen
        )
        for part in range(number)
    ]


@pytest.mark.parametrize("count", [2, 3])
def test_kernel_shap_over_all_coalitions_is_the_exhaustive_shapley_value(count):
    model, image, parts = small("custom").model, pictures(1, 48), blocks(48, count)
    question = ask(model, MARGIN)
    found = superpixels.kernel_shap(question, image, parts=parts)
    expected = shapley_values(coalition_scores(question, image, parts), count**2)
    assert difference(one_value_each(found.heatmap[0], parts), expected) <= 1e-4
    assert found.facts["samples"] == 2 ** (count**2) and not found.error.any()


def test_kernel_shap_is_captums_shapley_values():
    assert difference(*kernel_shap().maps()) <= 1e-4


@pytest.mark.parametrize("samples", [20, 100, 500])
def test_kernel_shap_sums_to_the_change_however_few_the_samples(samples):
    model, images, parts = small("custom").model, pictures(2, 48), blocks(48, 4)
    question = ask(model, ClassLogit((1, 2)))
    found = superpixels.kernel_shap(question, images, parts=parts, samples=samples)
    change = (question.scores(images) - question.scores(torch.zeros_like(images))).double()
    sums = torch.stack([one_value_each(heatmap, parts).sum() for heatmap in found.heatmap])
    assert difference(sums, change) <= 1e-5
    assert found.error.isnan().any() == (samples < 32), "too few pairs to tell"


def test_kernel_shap_standard_error_matches_the_distance_to_exact_values():
    model, image, parts = small("custom").model, pictures(1, 48), blocks(48, 3)
    exact = superpixels.kernel_shap(ask(model, MARGIN), image, parts=parts).heatmap
    z = []
    for seed in range(12):
        found = superpixels.kernel_shap(ask(model, MARGIN), image, parts=parts, samples=200, seed=seed)
        z.append(one_value_each(((found.heatmap - exact) / found.error)[0], parts))
    assert 0.6 < torch.cat(z).square().mean().sqrt() < 1.5


@pytest.mark.parametrize(("name", "seed"), [("custom", 0), ("custom", 5), ("efficientnet", 3)])
def test_lime_is_the_lime_packages(name, seed, capsys):
    found = small(name)
    image = pictures(1, found.side)
    parts, question = segmentation.segment(image[0], "slic", 30), ask(found.model, MARGIN)
    weights, fit = lime_package(question, image, parts, 150, seed)
    capsys.readouterr()
    ours = superpixels.lime(question, image, samples=150, segmentation="slic", segments=30, seed=seed)
    assert capsys.readouterr() == ("", ""), "the package's progress bar stays inside"
    values = one_value_each(ours.heatmap[0], parts)
    assert difference([values[part] for part, _ in weights], [weight for _, weight in weights]) <= 1e-4
    assert abs(ours.facts["fit R2"] - fit) <= 1e-4


def test_lime_error_is_the_spread_over_seeds():
    model, image, parts = small("custom").model, pictures(1, 48), blocks(48, 3)
    runs = [superpixels.lime(ask(model, MARGIN), image, parts=parts, samples=150, seed=seed) for seed in range(24)]
    spread = torch.stack([one_value_each(run.heatmap[0], parts) for run in runs]).std(0).mean()
    said = torch.stack([one_value_each(run.error[0], parts) for run in runs]).mean()
    assert 0.7 < said / spread < 1.5


@pytest.mark.parametrize("method", [superpixels.feature_ablation, superpixels.lime, superpixels.kernel_shap])
def test_all_evidence_lies_in_the_segment_that_the_network_reads(method):
    """Ridge shrinks but does not spread: LIME leaves to the others what 1,000 random pictures leave to chance."""
    model, images = quadrant_reader(16)
    parts = blocks(16, 2)
    found = method(ask(model, ClassMargin((1,), (0,))), images, parts=parts, fill="black").heatmap[0].abs()
    outside = found[parts > 0].max() / found[parts == 0].max()
    assert outside <= (0.02 if method is superpixels.lime else 1e-5)


def quadrant_reader(side):
    """A network of which only the upper left quadrant is seen, and a picture of four colours."""
    mask = torch.zeros(1, 1, side, side)
    mask[..., : side // 2, : side // 2] = 1
    torch.manual_seed(7)
    conv = nn.Conv2d(3, 8, 1)
    stages = [("read", lambda images: conv(images).square() * mask)]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    colours = torch.tensor([[[0.9, 0.1], [0.5, 0.2]], [[0.2, 0.8], [0.4, 0.9]], [[0.1, 0.3], [0.9, 0.6]]])
    images = colours.repeat_interleave(side // 2, 1).repeat_interleave(side // 2, 2)[None]
    return ExplainableModel.from_stages(stages, pool, classify=nn.Linear(8, 2)), images


def test_xrai_puts_the_evidence_where_the_network_reads():
    """Regions are widened by 2 pixels of 112 here; nothing lies further out."""
    model, images = quadrant_reader(112)
    found = xrai.xrai(ask(model, ClassMargin((1,), (0,))), images, steps=10)
    heatmap = found.heatmap[0].abs()
    assert heatmap[:58, :58].sum() > 0.999 * heatmap.sum()
    assert heatmap[:54, :54].min() > 0


def test_xrai_keeps_the_sum_of_integrated_gradients():
    model, images = small("custom").model, pictures(2, 48)
    question = ask(model, ClassLogit((1, 2)))
    ours = xrai.xrai(question, images, steps=20).heatmap.double().sum((1, 2))
    both = [xrai.integrated_gradients(question, images, steps=20, baseline=kind).heatmap for kind in ("black", "white")]
    assert difference(ours, (sum(both) / 2).double().sum((1, 2))) <= 1e-4


def ranked_by_hand(density, candidates, least):
    """As the paper says it, one candidate at a time."""
    left, taken, ranked = list(candidates), np.zeros(density.shape, bool), np.zeros(density.shape)
    while left:
        left = [mask for mask in left if (mask & ~taken).sum() >= least]
        if not left:
            break
        best = max(range(len(left)), key=lambda i: density[left[i] & ~taken].mean())
        new = left.pop(best) & ~taken
        ranked[new] = density[new].mean()
        taken |= new
    ranked[~taken] = density[~taken].mean() if (~taken).any() else 0
    return ranked


@pytest.mark.parametrize("least", [1, 5, 30])
def test_xrai_ranking(least):
    draw = np.random.default_rng(0)
    density = draw.normal(size=(20, 20))
    candidates = np.stack([draw.random((20, 20)) < share for share in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.1, 0.3)])
    found, taken = xrai.rank_regions(density, candidates, least)
    assert difference(found, ranked_by_hand(density, candidates, least)) <= 1e-12
    assert 1 <= taken <= len(candidates)


def test_widened_masks_reach_the_radius_and_no_further():
    mask = torch.zeros(1, 15, 15, dtype=torch.bool)
    mask[0, 7, 7] = True
    rows, columns = torch.meshgrid(torch.arange(15), torch.arange(15), indexing="ij")
    assert torch.equal(xrai._widened(mask, 5)[0], (rows - 7) ** 2 + (columns - 7) ** 2 <= 25)


def test_pictures_with_fewer_than_two_segments_are_refused():
    question, black = ask(small("custom").model, MARGIN), torch.zeros(1, 3, 48, 48)
    with pytest.raises(BadRequest, match="at least two segments"):
        superpixels.lime(question, black, segmentation="felzenszwalb")
    with pytest.raises(BadRequest, match="at least two segments"):
        superpixels.kernel_shap(question, pictures(1, 48), parts=torch.full((48, 48), 7))
    with pytest.raises(BadRequest, match=r"must have the picture's size \(48, 48\)"):
        superpixels.feature_ablation(question, pictures(1, 48), parts=blocks(20, 2))
    with pytest.raises(BadRequest, match="at least two regions"):
        xrai.xrai(question, black, steps=5)
