"""Parts of metrics in closed form: what is removed, what is drawn, which copies count, what is compared, and the costs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from quadrants import RANDOM, SIDE, TRUE, UNIFORM, Corner, convolutions, linear, picture, reader
from torch import nn

from xai_core.attribution.explain import explain
from xai_core.attribution.perturbation.segmentation import segment
from xai_core.data.world import planted as worlds
from xai_core.data.world.scene import draw
from xai_core.explanation.targets import ClassLogit, SimilarityTo
from xai_core.metrics import self_test
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.faithfulness import correlation, quick_deletion
from xai_core.metrics.faithfulness import road as road_module
from xai_core.metrics.measure import Measurement, beats_controls, measure, measure_all, passes, unbeaten_controls
from xai_core.metrics.metric import Candidate, Case
from xai_core.metrics.stability import randomisation, robustness
from xai_core.models.explainable import ExplainableModel

ASKED = {"target": ClassLogit((0,)), "controls": False}
ORDERED = np.random.default_rng(0).permutation(100.0 * np.arange(1, 101)).reshape(10, 10)  # no two values are equal


def case_of(model, image, seed=0):
    return Case(image[None], ClassLogit((0,)), seed, None, None, model, None)


def candidate(values):
    return Candidate("map", values.astype(np.float64), values.astype(np.float32))


# Seen through the map: rises and drops


@pytest.mark.parametrize(
    ("weights", "shown", "increase", "gain"),
    [  # f = the weights of the pixels that are seen; of the two pixels the map shows one, or both
        ((0.7, -0.3), (1, 0), 1, (0.7 - 0.4) / (1 - 0.4)),
        ((0.7, -0.3), (0, 1), 0, 0),
        ((0.7, -0.3), (1, 1), 0, 0),
        ((0.7, 0.2), (1, 0), 0, 0),
        ((0.5, -1e-6), (1, 0), 0, 0),  # a rise by rounding is none
        ((0.5, -2e-5), (1, 0), 1, 2e-5 / 0.5),
        ((-0.5, -0.5), (1, 0), 1, 0.5 / 2),
        ((0.1, -0.7), (0, 1), 0, 0),  # both scores are below 0
    ],
)
def test_an_increase_is_a_rise_of_the_score(weights, shown, increase, gain):
    plain = torch.zeros(3, 1, 2)
    plain[0, 0] = torch.tensor(weights)
    model, image, values = linear(plain), torch.ones(3, 1, 2), np.array([shown], float)
    assert measure(model, image, values, "increase_in_confidence", score="asked", **ASKED).value == increase
    found = measure(model, image, values, "average_gain", score="asked", **ASKED)
    assert found.value == pytest.approx(gain, rel=0.05, abs=1e-9)


def test_a_score_above_1_has_no_gain_but_its_scores_are_told():
    model, image = linear(torch.tensor([[[3.0, -1.0]]]).expand(3, 1, 2) / 3), torch.ones(3, 1, 2)
    found = measure(model, image, np.array([[1.0, 0.0]]), "average_gain", score="asked", **ASKED)
    assert math.isnan(found.value) and "cannot rise any further" in found.note
    assert found.facts == pytest.approx({"plain": 2, "masked": 3})


# What ROAD removes


@pytest.mark.parametrize("metric", ["road", "road_most_relevant_first", "road_least_relevant_first"])
def test_road_removes_exactly_so_many_of_the_most_or_least_relevant_pixels(metric):
    """On a picture of one colour the pixels that are filled in differ by their noise alone."""
    case = case_of(linear(torch.ones(3, 10, 10)), torch.full((3, 10, 10), 0.5))
    queries = next(METRICS[metric].run(case, candidate(ORDERED), levels=9, noise=0.1))[1:]
    wanted = ("most", "least") if metric == "road" else (metric.split("_")[1],)
    assert len(queries) == len(wanted)
    for query, order in zip(queries, wanted, strict=True):
        removed = (query.make(range(9)) != 0.5).any(1).numpy()
        for share, places in zip(road_module.shares_of(9), removed, strict=True):
            count = round(100 * share)
            threshold = np.sort(ORDERED, axis=None)[-count if order == "most" else count - 1]
            expected = threshold <= ORDERED if order == "most" else threshold >= ORDERED
            assert places.sum() == count and np.array_equal(places, expected), (order, share)


def test_shares_of_road_run_from_a_tenth_to_nine_tenths():
    assert np.allclose(road_module.shares_of(9), np.arange(1, 10) / 10)
    assert road_module.shares_of(1) == [0.5]


# Which places the correlations draw


def test_sensitivity_n_removes_10_to_90_percent_of_the_cells():
    case = case_of(linear(torch.ones(3, 20, 20)), torch.full((3, 20, 20), 0.5))
    _, query = next(METRICS["sensitivity_n"].run(case, candidate(np.kron(ORDERED, np.ones((2, 2)))), cells=10, samples=50))
    assert query.count == 50
    hidden = (query.make(range(50)) == 0).all(1).float().mean((1, 2))
    assert hidden.tolist() == pytest.approx(np.repeat([0.1, 0.3, 0.5, 0.7, 0.9], 10).tolist(), abs=1e-6)


def test_the_curve_of_sensitivity_n_is_over_these_shares():
    """Where the score falls by the map's sum for few places and by its opposite for many, the mean is between the two."""
    model, image = linear(torch.randn(3, 54, 54, generator=torch.Generator().manual_seed(1))), torch.full((3, 54, 54), 0.5)
    exact = (model.network.stages[0].run.weights * image).sum(0).detach().numpy()
    found = measure(model, image, exact, "sensitivity_n", **ASKED)
    assert found.curve[:, 0].tolist() == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert found.curve[:, 1] == pytest.approx(np.ones(5), abs=1e-4)


@pytest.mark.parametrize("size", [(28, 56), (56, 28), (42, 42)])
def test_squares_have_sides_from_a_14th_to_half_of_the_shorter_side_anywhere(size):
    top, left, bottom, right = correlation._squares(0, 4000, size).T
    shorter = min(size)
    assert np.array_equal(bottom - top, right - left)
    sides, counts = np.unique(bottom - top, return_counts=True)
    assert sides[0] == shorter / 14 and sides[-1] == shorter / 2 and len(sides) == shorter / 2 - shorter / 14 + 1
    inner = counts[1:-1]  # the first and the last are rounded to from one side only
    assert inner.min() > 0.7 * inner.mean() and inner.max() < 1.3 * inner.mean()
    for low, high, length in ((top, bottom, size[0]), (left, right, size[1])):
        assert low.min() == 0 and high.max() == length, "the edges are reached, and not crossed"
        free = length - (high - low)
        assert np.mean(low / free) == pytest.approx(0.5, abs=0.03)


def test_quick_deletion_compares_a_fifth_of_the_cells_with_eight_random_fifths():
    assert passes("quick_deletion") == 9
    model, image, values = convolutions(), picture(), np.kron(RANDOM, np.ones((8, 8)))
    case = case_of(model, image)
    chosen, fifths = next(METRICS["quick_deletion"].run(case, candidate(values)))
    assert (chosen.count, fifths.count) == (1, 8)
    images = torch.cat([chosen.make(range(1)), fifths.make(range(8))])
    scores = model.outputs(images).logits[:, 0]
    found = measure(model, image, values, "quick_deletion", **ASKED)
    assert found.value == pytest.approx(float(scores[1:].mean() - scores[0]), abs=1e-5)
    ties = quick_deletion.blobs(0, 8)
    for values in (np.zeros((28, 28)), RANDOM.repeat(4, 0).repeat(4, 1)):
        assert quick_deletion.strongest(values, ties).sum() == 157
    assert np.array_equal(quick_deletion.strongest(ties, ties), quick_deletion.strongest(np.zeros((28, 28)), ties))


# Curves over regions


def test_sufficiency_of_a_network_that_counts_pixels():
    """f is the share of the pixels that are seen."""
    model, image = linear(torch.full((3, 10, 10), 1 / 300)), torch.ones(3, 10, 10)
    found = measure(model, image, ORDERED, "sufficiency", substrate="zero", score="asked", **ASKED)
    assert found.value == pytest.approx(1 - (0.05 + 0.1 + 0.2 + 0.5) / 4, abs=1e-5)
    assert found.curve[:, 0].tolist() == [0, 0.05, 0.1, 0.2, 0.5]


@pytest.mark.parametrize("level", [0.5, 20.0])
def test_irof_against_a_loop(level):
    """f is a weighted sum of the pixels, also above 1."""
    weights = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    weights *= level / float((weights * picture()).sum())
    model, image, values = linear(weights), picture(), np.kron(RANDOM, np.ones((8, 8)))
    labels = segment(image, "slic", 30).numpy()
    count = labels.max() + 1
    means = [values[labels == label].mean() for label in range(count)]
    shown, shares = image.clone(), [1.0]
    for label in np.argsort(means)[::-1]:
        shown[:, torch.from_numpy(labels == label)] = 0
        shares.append(float((weights * shown).sum()) / level)
    found = measure(model, image, values, "irof", segments=30, steps=int(count), substrate="zero", score="asked", **ASKED)
    assert found.value == pytest.approx(1 - np.trapezoid(shares) / count, abs=1e-4)


@pytest.mark.parametrize("score", [0.0, -0.5])
def test_no_share_of_a_score_that_is_not_positive_can_be_lost(score):
    """Although it is positive as soon as the strongest corner is removed. The curve is there all the same."""
    weights = torch.zeros(3, 10, 10)
    weights[0, 0, 0], weights[0, 9, 9] = score - 0.5, 0.5
    values = np.add.outer(np.arange(10.0, 0, -1), np.arange(10.0, 0, -1))
    found = measure(
        linear(weights), torch.ones(3, 10, 10), values, "irof", segments=20, score="asked", substrate="zero", **ASKED
    )
    assert found.curve[0, 1] == score and found.curve[1, 1] == 0.5
    assert math.isnan(found.value) and "not positive" in found.note


@pytest.mark.parametrize("regions", [5, 15, 16, 100])
def test_region_perturbation_costs_what_it_says_also_where_there_are_fewer_regions(regions):
    """A picture of 224 x 224 has 16 squares of 64 pixels."""
    model, image = linear(torch.full((3, 224, 224), 1e-5)), torch.rand(3, 224, 224)
    values = np.random.default_rng(0).random((7, 7))
    found = measure(model, image, values, "region_perturbation", window=64, regions=regions, **ASKED)
    assert len(found.curve) == min(regions, 16) + 1
    assert found.passes == passes("region_perturbation", {"window": 64, "regions": regions})


# ARCC


def test_the_parts_of_arcc_are_told_where_it_is_undefined():
    model, image = convolutions(), picture()
    uniform = explain(model, image, "uniform_map", target=0)
    found = measure(model, image, uniform, "arcc", controls=False)
    assert math.isnan(found.value) and "the same everywhere" in found.note
    assert math.isnan(found.facts["coherency"])
    assert found.facts["1 - complexity"] == 0 and found.facts["faithfulness"] == pytest.approx(1)


# Noisy copies


@pytest.mark.parametrize("radius", [0.02, 0.2])
def test_noise_goes_to_both_sides_and_no_further_than_the_radius(radius):
    noise = (robustness.noisy_copies(case_of(reader(), torch.full((3, SIDE, SIDE), 0.5)), 8, radius) - 0.5) / radius
    assert noise.abs().max() <= 1 + 1e-5 and noise.min() < -0.99 and noise.max() > 0.99
    assert noise.mean() == pytest.approx(0, abs=0.01) and noise.std() == pytest.approx(1 / math.sqrt(3), abs=0.01)
    assert len({float(copy.sum()) for copy in noise}) == 8


@pytest.mark.parametrize(("value", "ends"), [(0.0, (0.0, 0.2)), (1.0, (0.8, 1.0))])
def test_noisy_copies_stay_pictures(value, ends):
    copies = robustness.noisy_copies(case_of(reader(), torch.full((3, SIDE, SIDE), value)), 4, 0.2)
    assert (float(copies.min()), float(copies.max())) == pytest.approx(ends, abs=1e-3)
    assert (copies == value).float().mean() == pytest.approx(0.5, abs=0.02), "half of the noise is cut off"


SEED = 1  # of noisy copies of which the steepest is of another class


def three_colours():
    """Logits are the mean red, green and blue of the upper left quarter, times 20."""
    classify = nn.Linear(3, 3, bias=False)
    classify.weight.data = 20 * torch.eye(3)
    return ExplainableModel.from_stages(
        [("corner", Corner())], nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), classify=classify
    )


@pytest.fixture(params=[(0.5, 0.4998, 0.2), (0.5, 0.2, 0.1998)], ids=["the class changes", "the last class changes"])
def even(request):
    """The network, a picture of these colours, its map, and ten noisy copies with their maps."""
    model = three_colours()
    image = torch.tensor(request.param).view(3, 1, 1).expand(3, SIDE, SIDE).clone()
    one = explain(model, image, "input_x_gradient", target=0)
    copies = robustness.noisy_copies(case_of(model, image, SEED), 10, 0.1)
    maps = [explain(model, copy, "input_x_gradient", target=0).heatmap for copy in copies]
    return model, image, one, copies, np.stack(maps)


@pytest.mark.parametrize(
    "metric",  # flip_consistency makes no noisy copies
    [name for name, metric in METRICS.items() if metric.family == "robustness" and name != "flip_consistency"],
)
def test_robustness_against_a_loop(even, metric):
    """Copies of another class do not count for the relative stability; those whose least probable class changes do."""
    model, image, one, copies, maps = even
    norm = np.linalg.norm
    logits = [model.outputs(picture[None]).logits[0].numpy() for picture in (image, *copies)]
    same = np.array([values.argmax() == logits[0].argmax() for values in logits[1:]])
    changes = np.array([norm(own - one.heatmap) / norm(one.heatmap) for own in maps])
    moved = np.array([norm((copy - image).numpy()) for copy in copies])
    outputs = np.array([norm(values - logits[0]) / norm(logits[0]) for values in logits[1:]])
    steepness = {
        "max_sensitivity": changes.max(),
        "average_sensitivity": changes.mean(),
        "local_lipschitz": (changes * norm(one.heatmap) / moved).max(),
        "relative_input_stability": (changes / (moved / norm(image.numpy())))[same].max(),
        "relative_output_stability": (changes / outputs)[same].max(),
    }
    found = measure(model, image, one, metric, samples=10, radius=0.1, seed=SEED, controls=False)
    assert found.value == pytest.approx(steepness[metric], rel=1e-3)
    if same.all():
        assert len({values.argmin() for values in logits}) == 2, "the last class changes"
    else:
        steepest = [(changes / moved).argmax(), (changes / outputs).argmax()]
        assert not same[steepest].any(), "so that it matters which copies count"


def test_only_copies_of_the_same_class_count(even):
    """So that it matters for the test above."""
    model, image, _, copies, _ = even
    case = case_of(model, image)
    near = robustness.Neighbours((10, 0.1), copies, np.zeros((10, 1, 1)), 0)
    expected = [int(model.outputs(copy[None]).logits.argmax()) == 0 for copy in copies]
    assert robustness._same_class(case, near).tolist() == expected
    values = np.arange(10.0)
    assert robustness._largest(values, np.array(expected)) == max(values[expected])
    assert math.isnan(robustness._largest(values, np.zeros(10, bool)))


# Randomisation


def test_the_last_stages_are_randomised_first():
    """From the output backwards: with one step of k stages the first n - k are still the trained ones."""
    model, twin = convolutions(0), convolutions(1)
    for count in (1, 2, 3):
        mixed = randomisation.cascaded(model, twin, count).network
        own = [stage.run is trained.run for stage, trained in zip(mixed.stages, model.network.stages, strict=True)]
        assert own == [True] * (3 - count) + [False] * count
        assert mixed.classify is twin.network.classify and mixed.pool is twin.network.pool


@pytest.mark.parametrize(
    ("values", "entropy"),
    [
        (np.arange(100.0), math.log(100)),  # each of the 100 bins holds one
        (np.arange(10_000.0), math.log(100)),
        (np.r_[np.zeros(30), np.ones(10)], -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))),
        (np.full(50, 3.0), 0),
        (np.array([0.0, np.nan]), 0),
    ],
)
def test_the_entropy_of_a_histogram_of_100_bins(values, entropy):
    assert randomisation.histogram_entropy(values) == pytest.approx(entropy)


def test_correlations_that_are_undefined_are_left_out_of_the_mean_and_of_the_curve():
    correlations = np.array([[0.2, np.nan, np.nan], [0.6, 0.5, np.nan]])
    found = randomisation._averaged(correlations, np.array([0.3, 0.6, 1.0]), 7)
    assert found.value == pytest.approx(1.3 / 3) and found.passes == 7
    assert np.allclose(found.curve, [[0.3, 0.4], [0.6, 0.5], [1.0, np.nan]], equal_nan=True)
    assert found.facts == pytest.approx({"compared": 3, "spread": np.std([0.2, 0.6, 0.5])})
    assert found.note.startswith("3 of 6 maps are the same everywhere")


# Controls


@pytest.mark.parametrize(
    ("metric", "unbeaten"),
    [("insertion", ["equal", "above"]), ("deletion", ["equal", "below"]), ("random_logit", ["equal", "below"])],
)
def test_a_control_that_does_as_well_is_not_beaten(metric, unbeaten):
    values = {"equal": 0.5, "above": 0.6, "below": 0.4, "undefined": math.nan}
    assert unbeaten_controls(METRICS[metric], Measurement(0.5, controls=values)) == unbeaten


def test_a_map_beats_the_controls_that_have_a_value_and_none_where_none_has():
    metric = METRICS["faithfulness_correlation"]
    for controls, beats in (
        ({"uniform": math.nan, "random": 0.1}, True),
        ({"uniform": math.nan, "random": 0.6}, False),
        ({"uniform": math.nan, "random": math.nan}, None),
        ({}, None),
    ):
        assert beats_controls(metric, Measurement(0.5, controls=controls)) is beats
    assert beats_controls(metric, Measurement(math.nan, controls={"random": 0.1})) is None


def test_no_control_is_unbeaten_where_there_is_no_value_or_no_direction():
    assert unbeaten_controls(METRICS["insertion"], Measurement(math.nan, controls={"c": 0.5})) == []
    without = replace(METRICS["insertion"], direction="")
    assert unbeaten_controls(without, Measurement(0.5, controls={"c": 0.5})) == []


# The self-test


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_the_quadrants_are_the_four_corners_and_cover_the_picture_once(size):
    masks = self_test.quadrants(size)
    assert (sum(mask.astype(int) for mask in masks) == 1).all()
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]  # upper left, upper right, lower left, lower right
    assert [[bool(mask[corner]) for corner in corners] for mask in masks] == np.eye(4, dtype=bool).tolist()
    assert masks[0].sum() == (size[0] // 2) * (size[1] // 2)


def test_the_known_maps_are_the_right_one_its_opposite_three_random_ones_and_a_uniform_one():
    maps = self_test.known_maps(TRUE > 0, 0)
    assert list(maps) == ["true", "inverted", "random 0", "random 1", "random 2", "uniform"]
    assert np.array_equal(maps["true"], TRUE) and np.array_equal(maps["inverted"], 1 - TRUE)
    assert np.array_equal(maps["uniform"], UNIFORM)
    random = [maps[f"random {index}"] for index in range(3)]
    assert not any(np.allclose(random[index], random[index - 1]) for index in range(3))


def test_random_maps_count_as_one_with_their_mean():
    metric, values = METRICS["insertion"], {"true": 0.5, "random 0": 0.2, "random 1": 0.7, "random 2": 0.3}
    verdict = self_test._judged("insertion", metric, values)
    assert verdict.trusted and verdict.values == pytest.approx({"true": 0.5, "random": 0.4})
    assert self_test._judged("insertion", metric, values | {"random 1": 1.3}).trusted is False


class Quadrants(nn.Module):
    """The mean of the red in each quadrant, (n, 4, 1, 1)."""

    def forward(self, images):
        means = nn.functional.adaptive_avg_pool2d(images[:, :1], 2)
        return means.flatten(1)[:, :, None, None]


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("with_target", [False, True])
def test_the_strongest_quadrant_is_that_of_the_largest_rise_over_a_black_picture(with_target, turns):
    """Each of the four in its turn. The network answers a black picture with class 2, which falls with the red of three
    quadrants; the similarity to the reference is that of a black picture, 0, or more."""
    classify, bias = nn.Linear(4, 3), torch.tensor([0.0, -1.0, 2.0])
    weights = torch.tensor([[2.0, 0, 0, 1.5], [0, 0, 6.0, 0], [-1.0, -1.0, -1.0, 3.0]]).roll(turns, 1)
    classify.weight.data, classify.bias.data = weights, bias
    model = ExplainableModel.from_stages(
        [("quadrants", Quadrants())], nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), classify=classify
    )
    red = torch.tensor([0.9, 0.4, 0.8, 0.7]).roll(turns)
    image = torch.zeros(1, 3, 8, 8)
    image[0, 0] = torch.kron(red.view(2, 2), torch.ones(4, 4))
    parts = torch.diag(red)
    if with_target:
        target = SimilarityTo(torch.tensor([[1.0, 2.0, 3.0, 0.5]]).roll(turns, 1))
        rises = nn.functional.cosine_similarity(parts, target.reference)[:, None]
    else:
        target, rises = None, (parts @ weights.T + bias).softmax(1) - bias.softmax(0)
    place, label = divmod(int(rises.argmax()), rises.shape[1])
    rise, quadrant, tested = self_test._strongest(model, image, target)
    assert rise == pytest.approx(float(rises.max()), abs=1e-6)
    assert np.array_equal(quadrant, self_test.quadrants((8, 8))[place]) and place == (2 + turns) % 4
    assert tested == (target or ClassLogit((label,)))


# What metrics need, and the time they take


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_needs_the_method_the_box_or_the_scene_where_it_uses_them(name, monkeypatch):
    """So that pages and the self-test know before what cannot be measured."""
    model, scene = convolutions(), worlds.picture(worlds.clean(), 0, "test", 3).scene
    image = Image.fromarray(draw(scene)[0])
    used, box_mask, recompute, parts = set(), Case.box_mask, Case.recompute, Case.scene_parts
    monkeypatch.setattr(Case, "scene_parts", lambda case: used.add("scene") or parts(case))
    monkeypatch.setattr(Case, "box_mask", lambda case: used.add("box") or box_mask(case))
    monkeypatch.setattr(
        Case, "recompute", lambda case, *given, **more: used.add("method") or recompute(case, *given, **more)
    )
    one = explain(model, image, "saliency", target=0)
    measure(model, image, one, name, box=(0, 0, 64, 64), scene=scene, controls=False)
    assert used == METRICS[name].needs - {"classifier"}


def test_the_seconds_of_all_measurements_are_no_more_than_the_time_it_took(monkeypatch):
    """A clock that every look at it advances by a second."""
    looks = iter(range(10_000))
    monkeypatch.setattr("xai_core.metrics.scheduler.time.perf_counter", lambda: float(next(looks)))
    rows = list(measure_all(reader(), picture(), {"m": RANDOM}, ["sparseness", "deletion"], controls=False))
    assert 0 < sum(found.seconds for _, _, found in rows) <= next(looks)
    assert next(found.seconds for _, name, found in rows if name == "sparseness") == 1


def test_what_was_not_measured_took_no_passes_and_no_time():
    nothing = Measurement(math.nan, note="why")
    assert (nothing.passes, nothing.seconds) == (0, 0)
