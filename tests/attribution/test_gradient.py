"""Gradients of noisy copies and along paths: against captum with the same draws, an independent plain loop, closed forms.

Tolerance: Spearman at least 0.999, and max |a - b| at most 1e-4 max |b|; sums along a path to what each test states.
"""

import captum.attr
import numpy as np
import pytest
import scipy.ndimage
import torch
from oracles import noise_tunnel
from small_models import ask, assert_same, custom, difference, pair, pictures, spearman
from torch import nn

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.attribution.gradient.aggregate import ROUND, Moments
from xai_core.attribution.gradient.integrated_gradients import _blurred
from xai_core.core import runtime
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.targets import ClassLogit, ClassMargin
from xai_core.models.explainable import ExplainableModel

SIDE = 12
NOISY = ("smooth_grad", "smooth_grad_squared", "var_grad", "gradient_shap")
PATHS = ("blur_integrated_gradients", "guided_integrated_gradients")
CLASS, RIVAL = 7, 42
TARGET = ClassMargin((CLASS,), (RIVAL,))
DRAWS = torch.randn(5, 3, 160, 160, generator=torch.Generator().manual_seed(5))
PLACES = torch.rand(5, generator=torch.Generator().manual_seed(6))


def margin_of(plain):
    return lambda images: plain(images)[:, CLASS] - plain(images)[:, RIVAL]


def linear(classes=3):
    torch.manual_seed(1)
    layer = nn.Linear(3 * SIDE * SIDE, classes)
    model = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=layer)
    return model, layer.weight.detach().view(classes, 3, SIDE, SIDE)


def smooth():
    torch.manual_seed(3)
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus())
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ExplainableModel.from_stages([("conv", conv)], pool, classify=nn.Linear(4, 2))


@pytest.mark.parametrize("method", ["smooth_grad_squared", "var_grad"])
def test_noise_tunnel(method):
    assert_same(*noise_tunnel(method).maps())


@pytest.mark.parametrize("family", ["vit", "efficientnet"])
def test_gradient_shap_by_its_formula(family):
    model, plain, side, _ = pair(family)
    images, noise = pictures(2, side), DRAWS[..., :side, :side]
    saliency, expected = captum.attr.Saliency(margin_of(plain)), 0
    for draw, place in zip(noise, PLACES, strict=True):
        start = 0.5 + 0.2 * draw
        slopes = saliency.attribute((start + place * (images - start)).requires_grad_(), abs=False)
        expected = expected + ((images - start) * slopes).sum(1) / len(noise)
    given = {"noise": noise, "places": PLACES, "baseline": "grey", "sigma": 0.2}
    assert_same(METHODS["gradient_shap"](ask(model, TARGET), images, **given).heatmap, expected)


def test_linear_network():
    model, weights = linear()
    images, question = pictures(2, SIDE), ask(model, ClassLogit((0, 2)))
    chosen = weights[[0, 2]]
    found = METHODS["smooth_grad_squared"](question, images, samples=3)
    assert difference(found.heatmap, (chosen**2).amax(1)) <= 1e-5 and found.error.max() <= 1e-6 * found.heatmap.max()
    assert METHODS["var_grad"](question, images, samples=3).heatmap.max() <= 1e-10 * (chosen**2).max()
    for method in PATHS:
        for baseline in BASELINES if method == "guided_integrated_gradients" else [None]:
            start = _blurred(images, torch.full((2,), 50.0)) if baseline is None else baseline_images(images, baseline)
            given = {} if baseline is None else {"baseline": baseline}
            found = METHODS[method](question, images, steps=7, **given)
            assert difference(found.heatmap, (chosen * (images - start)).sum(1)) <= 1e-4
            assert found.facts["completeness gap"].max() < 1e-3


def test_gradient_shap_of_a_linear_network_without_noise_is_exact():
    model, weights = linear()
    images, question = pictures(2, SIDE), ask(model, ClassLogit((0, 2)))
    found = METHODS["gradient_shap"](question, images, samples=3, sigma=0.0)
    assert difference(found.heatmap, (weights[[0, 2]] * images).sum(1)) <= 1e-5


@pytest.mark.parametrize(
    ("method", "tolerance"), [("blur_integrated_gradients", 0.01), ("guided_integrated_gradients", 0.03)]
)
def test_completeness_on_a_smooth_network(method, tolerance):
    """Midpoints are of second order in the steps, the left ends of guided integrated gradients of the first."""
    found = METHODS[method](ask(smooth(), ClassMargin((0,), (1,))), pictures(2, SIDE), steps=100)
    assert found.facts["completeness gap"].max() < tolerance


@pytest.mark.parametrize("method", PATHS)
def test_more_steps_close_the_gap(method):
    model, side = pair("vit").model, 160
    gaps = [
        float(METHODS[method](ask(model, TARGET), pictures(1, side), steps=n).facts["completeness gap"]) for n in (5, 40)
    ]
    assert gaps[1] < gaps[0] and gaps[1] < 0.05


@pytest.mark.parametrize("sigma", [0.7, 3.0, 20.0])
def test_blur_is_that_of_scipy_away_from_the_edge(sigma):
    """Up to the mass that the edge cuts off: a wide blur is compared in the middle of a large picture."""
    side = 300
    images = pictures(1, side)
    expected = scipy.ndimage.gaussian_filter(images[0].numpy(), (0, sigma, sigma), mode="nearest", truncate=6)
    middle = slice(140, 160)
    found = _blurred(images, torch.tensor([sigma]))[0, :, middle, middle]
    np.testing.assert_allclose(found, expected[:, middle, middle], atol=1e-4)
    assert torch.allclose(_blurred(images, torch.tensor([0.0])), images)


def guided_path(gradient, x_input, x_baseline, steps, fraction, max_dist):
    """The algorithm of Kapishnikov et al. (2021), appendix, as a plain loop over one picture in numpy."""
    x, total = x_baseline.copy(), np.abs(x_input - x_baseline).sum()
    shares = np.zeros_like(x)
    for step in range(steps):
        slope = gradient(x)
        ranked, alpha = np.abs(slope), (step + 1) / steps
        low, high = (x_baseline + (x_input - x_baseline) * np.clip(alpha + way, 0, 1) for way in (-max_dist, max_dist))
        wanted = total * (1 - alpha)
        while True:
            before = x.copy()
            way = x_input - x_baseline
            done = np.where(way == 0, 1.0, (x - x_baseline) / np.where(way == 0, 1.0, way))
            x = np.where(done < max(alpha - max_dist, 0), low, x)
            now = np.abs(x - x_input).sum()
            if now - wanted <= 1e-9 * total:
                shares += (x - before) * slope
                break
            ranked = np.where(np.abs(x - high) <= 1e-12, np.inf, ranked)
            chosen = (ranked <= np.quantile(ranked, fraction, method="lower")) & np.isfinite(ranked)
            room = np.abs(x - high)[chosen].sum()
            if room == 0:
                break
            share = (now - wanted) / room
            x[chosen] = high[chosen] if share > 1 else (x + share * (high - x))[chosen]
            shares += (x - before) * slope
            if share <= 1:
                break
    return shares


@pytest.mark.parametrize(("fraction", "max_dist"), [(0.25, 0.02), (0.1, 0.3), (1.0, 1.0), (0.25, 0.0)])
def test_guided_integrated_gradients_against_the_published_algorithm(fraction, max_dist):
    model = smooth()
    question, image = ask(model, ClassMargin((0,), (1,))), pictures(1, SIDE)

    def gradient(x):
        return question.gradient(torch.from_numpy(x).float().view(1, 3, SIDE, SIDE))[1].double().numpy().ravel()

    start = baseline_images(image, "grey")
    ends = [one.double().numpy().ravel() for one in (image, start)]
    expected = guided_path(gradient, *ends, 20, fraction, max_dist).reshape(1, 3, SIDE, SIDE).sum(1)
    given = {"steps": 20, "fraction": fraction, "max_dist": max_dist, "baseline": "grey"}
    assert difference(METHODS["guided_integrated_gradients"](question, image, **given).heatmap, expected) <= 1e-4


def test_the_standard_error_is_that_of_repetitions():
    """Over 60 seeds, the deviation of the maps is what each map says of its own error, to a fifth on average."""
    model, images, target = custom().model, pictures(1, 24), ClassMargin((1,), (2,))
    for method in ("smooth_grad_squared", "var_grad", "gradient_shap"):
        found = [METHODS[method](ask(model, target), images, samples=24, seed=seed) for seed in range(60)]
        spread = torch.stack([one.heatmap for one in found]).std(0).mean()
        said = torch.stack([one.error for one in found]).mean()
        assert 0.75 < float(said / spread) < 1.25, method


def test_moments_are_those_of_numpy():
    samples = torch.randn(2, 9, 3, 4, 4, generator=torch.Generator().manual_seed(1)) + 5
    moments = Moments(2, powers=4)
    for part in (slice(0, 4), slice(4, 9)):
        steps = torch.arange(9)[part].repeat(2)
        which = torch.arange(2).repeat_interleave(len(steps) // 2)
        moments.take(samples[which, steps], which, steps)
    ours = (moments.mean, moments.variance, moments.error_of_mean)
    for found, expected in zip(ours, (samples.mean(1), samples.var(1), (samples.var(1) / 9).sqrt()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    fourth = ((samples - samples.mean(1, keepdim=True)) ** 4).mean(1)
    expected = ((fourth - samples.var(1) ** 2 * 6 / 8).clamp(min=0) / 9).sqrt()
    torch.testing.assert_close(moments.error_of_variance, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", NOISY)
def test_sampling_stops_at_the_precision_goal(method):
    """The same map as with so many samples, to rounding; each picture stops for itself, whatever else is in the call."""
    model, side, goal = custom().model, 48, 0.04 if method == "var_grad" else 0.025
    images, target = pictures(3, side), ClassLogit((1, 2, 3))
    found = explain(model, list(images), method, target=target, samples=100, precision_goal=goal)
    for row, one in enumerate(found):
        samples = int(one.facts["samples"])
        assert samples % ROUND == 0 and samples < 100 and one.facts["relative error"] <= goal
        exactly = explain(model, images[row], method, target=target.select([row]), samples=samples)
        assert difference(one.heatmap, exactly.heatmap) <= 1e-5
        assert difference(one.error, exactly.error) <= 1e-3
        if samples > ROUND:
            fewer = explain(model, images[row], method, target=target.select([row]), samples=samples - ROUND)
            assert fewer.facts["relative error"] > goal


def test_draws_of_noise_and_of_places_are_independent():
    """Both come from one seed: the same number would give the same underlying bits."""
    normal = torch.stack([runtime.normal_draw(3, s, (1,)) for s in range(400)]).ravel()
    uniform = torch.stack([runtime.uniform_draw(3, -1 - s, (1,)) for s in range(400)]).ravel()
    assert abs(spearman(normal, uniform)) < 0.15
