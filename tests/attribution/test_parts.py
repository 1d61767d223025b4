"""Parts of methods against formulas that are written out here, and the ends of their ranges."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import comb
from skimage import segmentation as skimage_segmentation
from small_models import ask, pictures, small
from torch import nn

from xai_core.attribution import repeated_passes, xrai
from xai_core.attribution.cam import gradient_free, multi_layer
from xai_core.attribution.cam.options import without_cancelled
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import explanation_seconds
from xai_core.attribution.explain import explain, request_for, with_method
from xai_core.attribution.gradient import smooth_grad
from xai_core.attribution.perturbation import occlusion, random_masks, segmentation, superpixels
from xai_core.core.autodiff.lrp import LinearRule, linear_rule
from xai_core.explanation.targets import ClassLogit
from xai_core.models.explainable import ExplainableModel

LOGIT = ClassLogit((1,))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.25, 0.75), (0.5, 0.5)])
def test_noise_is_scaled_by_the_range_of_the_picture(low, high):
    images = torch.full((1, 3, 4, 4), low)
    images[0, 1, 2, 3] = high
    draws = torch.linspace(-1, 1, 48).view(1, 3, 4, 4)
    points = smooth_grad._noisy(images, 0.2, 0, draws)(torch.tensor([0]), torch.tensor([0]))
    torch.testing.assert_close(points, images + 0.2 * (high - low) * draws)


@pytest.mark.parametrize("rule", ["z+", "gamma"])
def test_biases_take_part_in_the_rules_of_relevance(rule):
    """One output of two inputs: by z+ the positive contributions, a positive bias among them, share the value; by gamma
    contributions of the value's sign count 1 + gamma times."""
    x, weight, bias, gamma = torch.tensor([[2.0, 3.0]]), torch.tensor([[1.5, -0.5]]), torch.tensor([0.7]), 0.25
    value = F.linear(x, weight, bias)
    point = x.clone().requires_grad_()
    answer = linear_rule(F.linear, point, weight, bias, value, LinearRule(rule, gamma, 0.0))
    (gradient,) = torch.autograd.grad(answer.sum(), point)
    positive, negative = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, -1.5]])
    if rule == "z+":
        shares = positive / (3.0 + 0.7)
    else:
        counted = (1 + gamma) * positive + negative
        shares = counted / (counted.sum() + (1 + gamma) * 0.7)
    torch.testing.assert_close(point.detach() * gradient, shares * value)


@pytest.mark.parametrize(("share", "zero"), [(0.5, True), (1.0, True), (1.5, False)])
def test_a_sum_that_cancels_to_rounding_is_zero(share, zero):
    left = torch.full((1, 1, 2, 2), 0.5 + share * 1e-4 / 2, dtype=torch.float64)
    terms = torch.cat([left, -(1 - left)], 1)
    assert bool((without_cancelled(terms) == 0).all()) == zero


def test_all_coalitions_have_the_weights_of_the_shapley_kernel():
    shown, weights = superpixels._all_coalitions(5)
    whole = torch.cat([shown, ~shown])
    assert len({tuple(row.tolist()) for row in whole}) == 2**5 - 2
    size = shown.sum(1).numpy()
    np.testing.assert_allclose(weights, 4 / (comb(5, size) * size * (5 - size)))


def test_drawn_coalitions_follow_the_shapley_kernel():
    """Of M = 6 segments a size s is drawn in proportion to 1 / (s (M - s)), and each segment as often as every other.
    4,000 draws: five standard errors."""
    number, pairs = 6, 4000
    shown, weights = superpixels._drawn_coalitions(3, pairs, number)
    sizes = np.arange(1, number)
    chance = 1 / (sizes * (number - sizes))
    chance /= chance.sum()
    frequency = np.bincount(shown.sum(1).numpy(), minlength=number)[1:number] / pairs
    assert (np.abs(frequency - chance) < 5 * np.sqrt(chance * (1 - chance) / pairs)).all()
    assert (np.abs(shown.double().mean(0).numpy() - 0.5) < 5 * 0.5 / math.sqrt(pairs)).all() and (weights == 1).all()


def test_the_sandwich_is_hc3():
    """Against the hat matrix written out: errors^2 = diag(B diag(w^2 r^2 / (1 - h)^2) B'), B = (X'WX)^-1 X'."""
    draws = np.random.default_rng(0)
    regressors, weights, residuals = draws.normal(size=(12, 3)), draws.uniform(0.5, 2, 12), draws.normal(size=12)
    inverse = np.linalg.inv(regressors.T @ np.diag(weights) @ regressors)
    leverage = np.diag(regressors @ inverse @ regressors.T @ np.diag(weights))
    middle = np.diag((weights * residuals / (1 - leverage)) ** 2)
    expected = np.sqrt(np.diag(inverse @ regressors.T @ middle @ regressors @ inverse))
    np.testing.assert_allclose(superpixels._sandwich(regressors, weights, residuals, inverse), expected)


def test_kernel_shap_stops_between_its_pairs():
    question = ask(small("custom").model, LOGIT)
    options = {"segments": 20, "samples": 1000}
    maps = superpixels.kernel_shap(question, pictures(1, 64), precision_goal=5.0, **options)
    assert float(maps.facts["samples"]) == 2 + 2 * superpixels.PAIRS and maps.error.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("slic", lambda pixels: skimage_segmentation.slic(pixels, n_segments=20, compactness=10, sigma=1, start_label=0)),
        ("felzenszwalb", lambda pixels: skimage_segmentation.felzenszwalb(pixels, scale=100, sigma=0.5, min_size=50)),
        (
            "quickshift",
            lambda pixels: skimage_segmentation.quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2, rng=0),
        ),
    ],
)
def test_segments_are_those_of_scikit_image_with_the_stated_settings(kind, reference):
    image = pictures(1, 48)[0]
    expected = reference(image.permute(1, 2, 0).double().numpy())
    ours = segmentation.segment(image, kind, 20).numpy()
    pairs = {(a, b) for a, b in zip(ours.ravel().tolist(), expected.ravel().tolist(), strict=True)}
    assert len(pairs) == len(np.unique(expected)) == ours.max() + 1  # the same parts, numbered anew
    if kind == "felzenszwalb":
        assert np.bincount(ours.ravel()).min() >= 50


def test_candidates_of_xrai_have_the_published_scales_and_are_widened(monkeypatch):
    """Scales, smoothing, least size and the dilation by 5 pixels are those of the authors' code, at its 224 pixels."""
    settings = []

    def halves(pixels, **options):
        settings.append(options)
        return np.tile(np.arange(pixels.shape[1]) >= 112, (pixels.shape[0], 1)).astype(int)

    monkeypatch.setattr("skimage.segmentation.felzenszwalb", halves)
    candidates = xrai._candidates(torch.rand(3, 224, 224))
    assert [one["scale"] for one in settings] == [50, 100, 150, 250, 500, 1200]
    assert {(one["sigma"], one["min_size"]) for one in settings} == {(0.8, 150)}
    assert candidates.shape == (12, 224, 224)
    assert candidates[0, 0].sum() == candidates[1, 0].sum() == 112 + 5


@pytest.mark.parametrize(("error", "enough"), [(0.3, True), (0.5, False)])
def test_the_precision_goal_is_a_share_of_the_range(error, enough):
    maps = torch.tensor([-1.0, 0.0, 3.0])
    assert repeated_passes.good_enough(maps, torch.full((3,), error), 0.1) == enough


def mask_moments(rounds=((0, 7), (7, 30))):
    """Masks (30, 2, 3) with values between 0 and 1, scores of two targets, and their moments, added in rounds."""
    draws = np.random.default_rng(1)
    masks, scores = draws.uniform(0.05, 0.95, (30, 2, 3)), draws.normal(5, 1, (2, 30))
    moments = random_masks._MaskMoments(2, (2, 3), torch.device("cpu"))
    moments.both = moments.both.double()
    for start, stop in rounds:
        moments.add(torch.from_numpy(masks[start:stop]), torch.from_numpy(scores[:, start:stop]))
    return masks, scores, moments


def test_maps_of_masks_and_their_errors_are_those_of_the_sums_written_out():
    """published: the mean of M f / share. coverage: mean of f weighted with M. contrast: that minus the mean weighted with
    1 - M. The error of a ratio is that of its linearisation: the root of the sum of squares of each mask's share."""
    masks, scores, moments = mask_moments()
    share, n = 0.5, len(masks)
    for target, f in enumerate(scores):
        f = f[:, None, None]
        high, low = (masks * f).sum(0) / masks.sum(0), ((1 - masks) * f).sum(0) / (1 - masks).sum(0)
        of_high, of_low = masks * (f - high) / masks.sum(0), (1 - masks) * (f - low) / (1 - masks).sum(0)
        expected = {
            "published": ((masks * f).mean(0) / share, (masks * f).std(0) / share / math.sqrt(n)),
            "coverage": (high, np.sqrt((of_high**2).sum(0))),
            "contrast": (high - low, np.sqrt(((of_high - of_low) ** 2).sum(0))),
        }
        for correction, (heatmap, error) in expected.items():
            ours = moments.map(target, correction, share)
            np.testing.assert_allclose(ours[0], heatmap, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(ours[1], error, rtol=1e-5, atol=1e-6)


def test_a_run_for_several_targets_ends_when_all_have_reached_the_goal():
    """A target that never changes is exact at once; the run goes on for the other one."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    head = nn.Linear(12, 2)
    head.weight.data[0], head.weight.data[1] = 0, torch.linspace(-1, 1, 12)
    model = ExplainableModel.from_stages([("pixels", nn.Identity())], pool, classify=head)
    options = {"samples": 3000, "grid": 2, "precision_goal": 0.1}
    images, targets = pictures(1, 16), [ClassLogit((1,)), ClassLogit((0,))]
    one = random_masks.rise_all(ask(model, targets[0]), images, targets[:1], **options)
    both = random_masks.rise_all(ask(model, targets[0]), images, targets, **options)
    assert float(one[0].facts["masks"]) < 3000 == float(both[0].facts["masks"])


@pytest.mark.parametrize(("spread", "zero"), [(3e-7, True), (1e-5, False)])
def test_changes_within_rounding_have_no_sobol_index(spread, zero):
    scores = torch.tensor([[1 + spread, 1 - spread, 1.0], [1 - spread, 1 + spread, 1.0]], dtype=torch.float64)
    indices, _ = random_masks.jansen(scores)
    assert bool((indices == 0).all()) == zero


def test_a_window_may_cover_the_whole_picture():
    images = pictures(1, 12)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ExplainableModel.from_stages([("pixels", nn.Identity())], pool, classify=nn.Linear(3, 2))
    heatmap = occlusion.occlusion(ask(model, LOGIT), images, window=12, stride=4, fill="black")
    drop = (model.outputs(images).logits - model.outputs(0 * images).logits)[0, 1]
    torch.testing.assert_close(heatmap, drop.expand_as(heatmap))


def watched(method, **options):
    """The batches that a method reports of one picture, and the tally of its passes."""
    reported = []
    question = ask(small("custom").model, LOGIT, cut=options.pop("cut", None))

    def track(batches):
        for batch in batches:
            reported.append(batch)
            yield batch

    method(question, pictures(1, 48), track=track, **options)
    return reported, question.tally


@pytest.mark.parametrize("cut", small("custom").model.cuts)
def test_ablation_reports_its_batches_at_every_cut(cut):
    assert watched(gradient_free.ablation_cam, cut=cut)[0]


def test_xrai_reports_the_steps_of_both_baselines():
    assert len(watched(xrai.xrai, steps=4)[0]) >= 2


def test_full_grad_counts_its_backward_passes():
    images = pictures(2, small("resnet").side)
    question = ask(small("resnet").model, ClassLogit((1, 2)))
    multi_layer.full_grad(question, images)
    assert question.tally.backward == 2


COUNTED = {
    "occlusion": {"window": 16, "stride": 12},
    "rise": {"samples": 12, "grid": 3},
    "lime": {"samples": 12},
    "kernel_shap": {"samples": 12},
    "sobol": {"designs": 8, "grid": 3},
    "smooth_grad": {"samples": 12},
    "smooth_grad_cam_plusplus": {"samples": 12},
    "refine_cam": {"layers": 2},
    "score_cam": {"channels": 100},
}


@pytest.mark.parametrize(("method", "options"), COUNTED.items(), ids=COUNTED)
def test_passes_are_as_many_as_announced(method, options):
    """What the catalogue announces, of which estimates and plans are made, against the passes that were counted. Beside
    the method's own there is the one that says the target's value, where that is not one of them."""
    found = small("resnet")
    explanation = explain(found.model, pictures(1, found.side)[0], method, target=1, **options)
    forward, backward = METHODS[method].passes(explanation.options, found.side)
    assert explanation.passes.forward - forward in ((0, 1) if method == "smooth_grad" else (0,))
    if method != "refine_cam":  # whose backward passes go through the part behind the cut alone
        assert explanation.passes.backward == backward


def test_a_window_as_large_as_the_picture_is_announced_as_one_pass():
    assert METHODS["occlusion"].passes({"window": 64, "stride": 16}, 64) == (2, 0)
    assert METHODS["occlusion"].passes({"window": 64, "stride": 16}, 32) == (2, 0)


def test_random_places_and_random_noise_are_never_draws_of_one_number(monkeypatch):
    numbers = {"normal_draw": [], "uniform_draw": []}
    for name, used in numbers.items():
        original = getattr(smooth_grad.runtime, name)

        def noted(seed, number, shape, used=used, original=original):
            used.append(number)
            return original(seed, number, shape)

        monkeypatch.setattr(smooth_grad.runtime, name, noted)
    METHODS["gradient_shap"](ask(small("custom").model, LOGIT), pictures(1, 32), samples=12)
    assert {*numbers["normal_draw"]} == {*range(12)} and {*numbers["uniform_draw"]} == {*range(-12, 0)}


def test_a_goal_that_is_never_reached_takes_every_sample():
    question, images = ask(small("custom").model, LOGIT), pictures(1, 32)
    without, never = (METHODS["smooth_grad"](question, images, samples=12, precision_goal=goal) for goal in (0.0, 1e-6))
    torch.testing.assert_close(never.heatmap, without.heatmap)
    assert float(never.facts["samples"]) == 12


def test_layers_are_told_apart_by_their_resolution_and_not_by_their_channels():
    stages = [
        ("narrow", nn.Conv2d(3, 4, 3, padding=1)),
        ("wide", nn.Conv2d(4, 8, 3, padding=1)),
        ("coarse", nn.Conv2d(8, 8, 3, stride=2)),
    ]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ExplainableModel.from_stages(stages, pool, classify=nn.Linear(8, 2))
    assert multi_layer._cuts(ask(model, LOGIT), pictures(1, 16)) == ["wide", "coarse"]


def test_an_explanation_names_the_class_and_its_rival():
    found = small("custom")
    explanation = explain(found.model, pictures(1, found.side)[0], "saliency", target=1, rival=2)
    assert (explanation.subject, explanation.rival) == (found.model.class_name(1), found.model.class_name(2))


class FixedTimes:
    """What `PassTimes` measures, made up: a pass takes 2 s, all tails of a picture 3 s."""

    def seconds(self, model, passes=1, again=True):
        return 2.0

    def measured(self, name, prepare, again=True):
        return 3.0


@pytest.mark.parametrize(("augment", "views"), [(False, 1), (True, 6)])
def test_ablation_is_estimated_for_each_augmented_view(augment, views):
    model = small("custom").model
    question = request_for(model, [pictures(1, 48)[0]], target=1)
    request = with_method(question, "ablation_cam", {"augment": augment})
    assert explanation_seconds(request, FixedTimes()) == pytest.approx(views * (2.0 + 3.0))


FREE_OF_THE_CUT = [id for id, method in METHODS.items() if method.family == "cam" and "cut" not in method.needs]


@pytest.mark.parametrize("method", FREE_OF_THE_CUT)
def test_a_class_activation_map_that_offers_no_cut_does_not_depend_on_it(method):
    """The page offers a target layer, and the key names it, for methods that say that they need one."""
    found = small("resnet")
    cuts, images = found.model.cuts, pictures(1, found.side)
    first, last = (METHODS[method](ask(found.model, LOGIT, cut=cut), images) for cut in (cuts[len(cuts) // 2], cuts[-1]))
    torch.testing.assert_close(getattr(first, "heatmap", first), getattr(last, "heatmap", last))
