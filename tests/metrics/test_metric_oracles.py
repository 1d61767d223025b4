"""Metrics against hand calculation, closed forms, plain loops, pytorch_grad_cam and captum."""

import math

import captum.metrics
import numpy as np
import pytest
import pytorch_grad_cam.metrics.cam_mult_image as their_drops
import pytorch_grad_cam.metrics.road as their_road
import torch
from captum.attr import Saliency
from pytorch_grad_cam.metrics.arcc import Coherency, Complexity
from quadrants import convolutions, linear, picture, reader
from scipy.stats import spearmanr
from small_models import pair, pictures
from torch import nn

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest
from xai_core.explanation.targets import ClassLogit
from xai_core.metrics import curve_images
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.faithfulness import correlation, imputation, pixel_ranking
from xai_core.metrics.measure import measure, measure_all
from xai_core.metrics.metric import Case
from xai_core.metrics.stability import robustness
from xai_core.models.explainable import ExplainableModel

ASKED = {"target": ClassLogit((0,)), "controls": False}
OLD_NUMPY = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # in grad-cam's road.py


# by hand: two pixels


@pytest.fixture(scope="module")
def two_pixels():
    """f(x) = 0.7 of the red of the left pixel + 0.3 of that of the right one; the picture is red."""
    weights = torch.zeros(3, 1, 2)
    weights[0, 0] = torch.tensor([0.7, 0.3])
    image = torch.zeros(3, 1, 2)
    image[0] = 1
    return linear(weights), image


@pytest.mark.parametrize(
    ("metric", "right", "wrong"),
    [  # the map (1, 0.5) puts the left pixel first, (0.5, 1) the right one; areas by trapezoids over 0, 1/2, 1
        ("deletion", (1 + 0.3) / 4 + 0.3 / 4, (1 + 0.7) / 4 + 0.7 / 4),
        ("insertion", 0.7 / 4 + (0.7 + 1) / 4, 0.3 / 4 + (0.3 + 1) / 4),
        ("pixel_flipping", (0 + 0.7 + 1) / 3, (0 + 0.3 + 1) / 3),
        ("average_drop", 1 - (0.7 + 0.15), 1 - (0.35 + 0.3)),
        ("sufficiency", 1 - (0 + 0 + 0 + 0.7) / 4, 1 - (0 + 0 + 0 + 0.3) / 4),
        ("increase_in_confidence", 0, 0),
        ("completeness_error", 0.5, 0.5),
    ],
)
def test_two_pixels_by_hand(two_pixels, metric, right, wrong):
    options = {"deletion": {"steps": 2}, "insertion": {"steps": 2, "substrate": "zero"}, "pixel_flipping": {"steps": 2}}
    given = options.get(metric, {})
    if metric != "completeness_error":
        given = given | {"score": "asked"}
    if metric == "sufficiency":
        given |= {"substrate": "zero"}
    for values, expected in (((1, 0.5), right), ((0.5, 1), wrong)):
        found = measure(*two_pixels, np.array([values], float), metric, **ASKED, **given)
        assert found.value == pytest.approx(expected, abs=1e-6), values


def test_the_gain_by_hand():
    """Logits are 20 times the mean red and green of the upper left quarter, so that the score is a sigmoid of 20 times their
    difference; the mean is over the whole picture, of which half that quarter is 1/8."""

    def score(red_minus_green):
        return 1 / (1 + math.exp(-20 * red_minus_green))

    left_half = np.zeros((56, 56))
    left_half[:, :14] = 1

    def measured(image, metric):
        return measure(reader(), image, left_half, metric, **ASKED)

    even = torch.full((3, 56, 56), 0.9)
    even[1, :, :14] = 0.0  # the left half of the quarter is only red, the right half as red as green
    hidden_even = measured(even, "average_gain")
    assert hidden_even.value == 0
    assert hidden_even.facts["plain"] == pytest.approx(score(0.9 / 8), abs=1e-6)
    assert hidden_even.facts["masked"] == pytest.approx(score(0.9 / 8), abs=1e-6), "what is hidden was even"
    against = torch.full((3, 56, 56), 0.0)
    against[0, :, :14], against[1, :, 14:] = 0.5, 0.6
    original, masked = score((0.5 - 0.6) / 8), score(0.5 / 8)
    gain = measured(against, "average_gain")
    assert gain.value == pytest.approx((masked - original) / (1 - original), abs=1e-5)
    assert (gain.facts["plain"], gain.facts["masked"]) == pytest.approx((original, masked), abs=1e-5)
    assert measured(against, "increase_in_confidence").value == 1


def test_a_map_that_shows_everything_gains_nothing():
    image = picture()
    image[:2, :28, :28] = 0.9  # as much green as red: even odds
    gain = measure(reader(), image, np.ones((56, 56)), "average_gain", **ASKED)
    assert gain.value == 0 and gain.facts["plain"] == gain.facts["masked"] == pytest.approx(0.5, abs=1e-6)


# closed form: a linear network


def test_the_exact_map_of_a_linear_network_predicts_every_fall():
    weights = torch.randn(3, 54, 54, generator=torch.Generator().manual_seed(1))
    model, image = linear(weights), pictures(1, 54)[0]
    exact = (weights * image).sum(0).numpy()
    metrics = ["faithfulness_correlation", "sensitivity_n", "infidelity", "completeness_error"]
    maps = {"exact": exact, "opposite": -exact, "twice": 2 * exact}
    found = {(name, key): one for name, key, one in measure_all(model, image, maps, metrics, **ASKED)}
    for name, sign in (("exact", 1), ("opposite", -1), ("twice", 1)):
        assert found[name, "faithfulness_correlation"].value == pytest.approx(sign, abs=1e-4)
        assert found[name, "sensitivity_n"].value == pytest.approx(sign, abs=1e-4)
        assert found[name, "infidelity"].value == pytest.approx((1 - sign) / 2, abs=1e-5)
    assert found["exact", "infidelity"].facts["unscaled"] == pytest.approx(0, abs=1e-4)
    assert found["twice", "infidelity"].facts["scale"] == pytest.approx(0.5, abs=1e-4)
    errors = [found[name, "completeness_error"].value for name in maps]
    assert errors == pytest.approx([0, 2, 1], abs=1e-4)


def test_complexity_in_closed_form():
    one = np.zeros((8, 8))
    one[2, 3] = -5.0
    half = np.zeros((8, 8))
    half[:4] = 2.0
    model, image = linear(torch.ones(3, 8, 8)), pictures(1, 8)[0]
    maps = {"one": one, "half": half, "uniform": np.full((8, 8), 3.0)}
    rows = measure_all(model, image, maps, ["sparseness", "entropy", "effective_pixels"], controls=False)
    found = {(name, key): found.value for name, key, found in rows}
    expected = {  # Gini, entropy over log 64, participation ratio
        "one": (63 / 64, 0, 1),
        "half": (0.5, math.log(32) / math.log(64), 32),
        "uniform": (0, 1, 64),
    }
    for name, values in expected.items():
        assert [found[name, key] for key in ("sparseness", "entropy", "effective_pixels")] == pytest.approx(values)


# plain loops


@pytest.mark.parametrize(("steps", "a_step"), [(7, 0), (16, 500)])
@pytest.mark.parametrize("kind", ["deletion", "insertion"])
def test_curves_against_a_loop_of_single_pictures(kind, steps, a_step):
    model, image = convolutions(), picture()
    values = np.random.default_rng(3).random((56, 56))
    found = measure(model, image, values, kind, substrate="mean", steps=steps, pixels=a_step, **ASKED)
    mean = image.mean((1, 2), keepdim=True).expand_as(image)
    start, end = (image, mean) if kind == "deletion" else (mean, image)
    order = np.argsort(-values, axis=None)
    counts = range(0, 3137, 448) if not a_step else [*range(0, 3136, 500), 3136]
    scores = []
    for count in counts:
        shown = start.clone().flatten(1)
        shown[:, order[:count]] = end.flatten(1)[:, order[:count]]
        scores.append(float(model.outputs(shown.view(1, 3, 56, 56)).logits.softmax(1)[0, 0]))
    assert found.curve[:, 1] == pytest.approx(scores, abs=1e-5)
    assert found.value == pytest.approx(np.trapezoid(scores, np.array(counts) / 3136), abs=1e-5)
    assert found.passes == len(counts)


def test_the_correlation_against_a_loop():
    model, image = convolutions(), picture()
    values = np.random.default_rng(3).normal(size=(56, 56))
    found = measure(model, image, values, "faithfulness_correlation", cells=7, samples=20, **ASKED)
    sums, falls = [], []
    for taken in correlation.drawn_cells(0, 49, [0.2] * 20):
        mask = np.kron(taken.reshape(7, 7), np.ones((8, 8))).astype(bool)
        shown = image.clone()
        shown[:, torch.from_numpy(mask)] = 0
        sums.append(values[mask].sum())
        both = model.outputs(torch.stack([image, shown])).logits[:, 0]
        falls.append(float(both[0] - both[1]))
    assert found.value == pytest.approx(spearmanr(sums, falls).statistic, abs=1e-6)


def test_regions_against_a_loop():
    model, image = convolutions(), picture()
    values = np.random.default_rng(3).normal(size=(56, 56))
    options = {"window": 14, "regions": 5, "substrate": "zero"}
    found = measure(model, image, values, "region_perturbation", **options, **ASKED)
    means = values.reshape(4, 14, 4, 14).mean((1, 3)).ravel()
    shown, scores = image.clone(), []
    for place in [None, *np.argsort(-means)[:5]]:
        if place is not None:
            row, column = 14 * (place // 4), 14 * (place % 4)
            shown[:, row : row + 14, column : column + 14] = 0
        scores.append(float(model.outputs(shown[None]).logits[0, 0]))
    assert found.value == pytest.approx(np.mean(scores[0] - np.array(scores)), abs=1e-5)


# pytorch_grad_cam: on maps without ties, in normalised space, where its code works


@pytest.fixture(scope="module")
def beside():
    """A network without its normalisation, their module of the same weights, a normalised picture and a map."""
    found = pair("resnet", "resnet18", 64)
    model = found.model.in_normalised_space()
    image = 2 * pictures(1, 64)[0] - 1
    values = torch.nn.functional.interpolate(
        torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(2)), (64, 64), mode="bicubic"
    )[0, 0].numpy()
    values = (values - values.min()) / np.ptp(values)
    assert len(np.unique(values)) == values.size
    return model, found.plain[1], image, values


def their_target(logits):
    return logits.softmax(-1)[3]


def same(ours, theirs, tolerance):
    assert ours == pytest.approx(float(theirs[0]), abs=tolerance)


def test_drop_and_increase_are_those_of_grad_cam(beside):
    """They do not divide the drop by the score. In normalised space 'dataset mean' is zero, as theirs."""
    model, module, image, values = beside
    given = (image[None], values[None], [their_target], module)
    metrics = {name: {"substrate": "dataset mean"} for name in ("average_drop", "increase_in_confidence")}
    rows = measure_all(model, image, {"m": values}, metrics, target=ClassLogit((3,)), controls=False)
    ours = {key: one for _, key, one in rows}
    drop = ours["average_drop"]
    same(drop.value * drop.facts["plain"], their_drops.DropInConfidence()(*given), 1e-6)
    same(ours["increase_in_confidence"].value, their_drops.IncreaseInConfidence()(*given), 0)
    change = their_drops.CamMultImageConfidenceChange()(*given)
    same(drop.facts["masked"] - drop.facts["plain"], change, 1e-6)


@OLD_NUMPY
@pytest.mark.parametrize(
    ("metric", "theirs"),
    [
        ("road_most_relevant_first", their_road.ROADMostRelevantFirstAverage),
        ("road_least_relevant_first", their_road.ROADLeastRelevantFirstAverage),
        ("road", their_road.ROADCombined),
    ],
)
def test_road_is_that_of_grad_cam(beside, metric, theirs, monkeypatch):
    """Without noise, and with their logit: a percentile of theirs may hold one pixel more or less."""
    model, module, image, values = beside
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    options = {"levels": 3, "noise": 0.0, "score": "asked"}  # 10%, 50%, 90%
    found = measure(model, image, values, metric, ClassLogit((3,)), controls=False, **options)
    assert found.curve.shape == ((3, 2) if metric == "road" else (4, 2))
    expected = theirs([10, 50, 90])(image[None], values[None], [lambda logits: logits[3]], module)
    same(found.value, expected, 2e-3)


@OLD_NUMPY
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_imputed_pixels_are_those_of_road(share):
    image = pictures(1, 31, 23)
    known = (torch.rand(31, 23, generator=torch.Generator().manual_seed(4)) > share).float()
    theirs = their_road.NoisyLinearImputer(noise=0)(image[0], known)
    ours = imputation.imputed(image, (known == 0).numpy()[None])[0]
    assert (ours - theirs).abs().max() < 1e-5
    assert torch.equal(ours[:, known == 1], image[0][:, known == 1])


def test_road_adds_noise_to_what_was_made_up_alone():
    model, image = convolutions(), picture()
    values = np.random.default_rng(3).random((56, 56))
    quiet, loud = (
        measure(model, image, values, "road", noise=noise, levels=1, score="asked", **ASKED).value for noise in (0.0, 0.3)
    )
    assert quiet != loud


def test_parts_of_arcc_are_those_of_grad_cam(beside):
    model, module, image, _ = beside
    one = explain(model, image, "saliency", target=3)
    again = []

    def base_method(input_tensor, targets):
        found = explain(model, input_tensor[0], "saliency", target=3).heatmap
        again.append(found / found.max())
        return again[-1][None]

    mask = (one.heatmap / one.heatmap.max())[None]
    found = measure(model, image, one, "arcc", substrate="dataset mean", controls=False)
    same(found.facts["coherency"], Coherency()(image[None], mask, [their_target], module, base_method), 1e-4)
    same(1 - found.facts["1 - complexity"], Complexity()(mask), 1e-5)
    parts = [found.facts[name] for name in ("coherency", "1 - complexity", "faithfulness")]
    assert found.value == pytest.approx(3 / sum(1 / part for part in parts))


# captum, with the same draws


class Logits(nn.Module):
    def __init__(self, model: ExplainableModel):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model.network.outputs(images).logits


def test_max_sensitivity_is_that_of_captum():
    """Captum's saliency has channels; the largest of them is taken on both sides."""
    model, image = convolutions(), picture()
    one = explain(model, image, "saliency", target=0)
    ours = measure(model, image, one, "max_sensitivity", samples=4, radius=0.05, controls=False)
    seen = []

    def noisy(inputs):
        case = Case(image[None], ClassLogit((0,)), 0, None, None, model, None)
        seen.append(robustness.noisy_copies(case, 4, 0.05))
        return seen[0]

    def maps(inputs):
        with torch.enable_grad():
            inputs = inputs[0] if isinstance(inputs, tuple) else inputs
            found = Saliency(Logits(model)).attribute(inputs.requires_grad_(), target=0)
        return (found.amax(1, keepdim=True).detach(),)  # of a plain tensor captum takes the first axis for the tuple

    theirs = captum.metrics.sensitivity_max(maps, image[None].clone(), perturb_func=noisy, n_perturb_samples=4)
    assert len(seen) == 1 and seen[0].min() >= 0 and seen[0].max() <= 1
    same(ours.value, theirs, 1e-4)


@pytest.mark.parametrize("normalise", [False, True])
def test_infidelity_is_that_of_captum(normalise):
    model, image = convolutions(), picture()
    values = np.random.default_rng(3).normal(size=(56, 56)).astype(np.float32)
    found = measure(model, image, values, "infidelity", samples=20, **ASKED)
    corners = correlation._squares(0, 20, (56, 56))

    def perturbed(inputs):
        squares = torch.zeros(20, 1, 56, 56)
        for square, (top, left, bottom, right) in zip(squares, corners, strict=True):
            square[:, top:bottom, left:right] = 1
        return squares.expand(-1, 3, -1, -1), inputs * (1 - squares)

    given = torch.from_numpy(values).expand(1, 3, 56, 56) / 3  # they sum over channels too
    theirs = captum.metrics.infidelity(
        Logits(model), perturbed, image[None], given, target=0, n_perturb_samples=20, normalize=normalise
    )
    name = "scaled" if normalise else "unscaled"
    assert found.facts[name] == pytest.approx(float(theirs), rel=1e-3)


def test_ties_are_broken_by_draws_of_the_seed_and_counted():
    values = np.zeros((10, 10))
    values[0, :5] = [5, 4, 3, 2, 1]
    places = pixel_ranking.ranks(values, 0)
    assert sorted(places.ravel()) == list(range(100)) and list(places[0, :5]) == [0, 1, 2, 3, 4]
    assert not np.array_equal(places, pixel_ranking.ranks(values, 1)) and np.array_equal(
        places, pixel_ranking.ranks(values, 0)
    )
    share, tied = pixel_ranking.ties(values, np.array([0, 3, 5, 50, 100]))
    assert share == 0.95 and tied.tolist() == [False, False, False, True, False]
    model, image = linear(torch.ones(3, 10, 10)), torch.full((3, 10, 10), 0.5)
    found = measure(model, image, values, "deletion", steps=20, score="asked", **ASKED)
    assert found.facts["ties"] == pytest.approx(0.95) and found.facts["tied points"] == pytest.approx(18 / 21)
    assert found.facts["tie effect"] == pytest.approx(0, abs=1e-6), "every pixel counts the same: a straight line anyway"
    assert np.trapezoid(found.curve[:, 1], found.curve[:, 0]) == pytest.approx(75)


@pytest.mark.parametrize("metric", [name for name in METRICS if curve_images.has_images(name)])
def test_the_picture_behind_a_point_of_a_curve_is_the_one_that_was_scored(metric):
    model, image, target = convolutions(), picture(), ClassLogit((0,))
    values = np.random.default_rng(3).random((7, 7))
    options = {"score": "asked"} | ({"regions": 30} if metric == "region_perturbation" else {})
    curve = measure(model, image, values, metric, **ASKED, **options).curve
    for step in (0, 1, len(curve) // 2, len(curve) - 1):
        shown = curve_images.curve_image(model, image, values, metric, step, target, options)
        assert float(model.outputs(shown[None]).logits[0, 0]) == pytest.approx(curve[step, 1], abs=1e-5)
    with pytest.raises(BadRequest, match=f"points 0 to {len(curve) - 1}"):
        curve_images.curve_image(model, image, values, metric, len(curve), target, options)


def test_a_control_has_pictures_too_and_a_correlation_has_none():
    model, image, target = convolutions(), picture(), ClassLogit((0,))
    shown = curve_images.curve_image(model, image, "control:uniform_map", "deletion", 8, target)
    assert (shown == 0).all(0).float().mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(BadRequest, match="No single picture"):
        curve_images.curve_image(model, image, "control:uniform_map", "sensitivity_n", 1, target)
