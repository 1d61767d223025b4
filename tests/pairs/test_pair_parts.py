"""Parts of the methods for pairs in closed form: windows, rectangles, crops, costs, what is drawn and what is refused; and
the references that a similarity is compared with."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from small_models import pictures, small
from torch import nn

from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.explanation.similarity import COSINE, DotProduct
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs import benchmark, explain, reference
from xai_core.pairs.augment import TRANSFORMS, Augmentation, blurred, draw_view, transformed
from xai_core.pairs.benchmark import CROPPED, BenchmarkPlan
from xai_core.pairs.catalog import PAIR_METHODS, windows
from xai_core.pairs.evaluate import evaluate_pair
from xai_core.pairs.explain import ask_pair, explain_pair
from xai_core.pairs.geometry import GEOMETRY_METRICS, Geometry, centres
from xai_core.pairs.methods import occlusion, pixel_invariance
from xai_core.pairs.metrics import PAIR_METRICS
from xai_core.pairs.question import PairQuestion

MODEL, SIDE = small("custom").model, small("custom").side
FIRST, SECOND, THIRD = pictures(3, SIDE, seed=5)


class Squares(nn.Module):
    """The mean squares of the colours in a picture's upper left quarter: less where it is blurred or dimmed."""

    def forward(self, images):
        seen = images[:, :, : images.shape[2] // 2, : images.shape[3] // 2]
        return (seen**2).mean((2, 3))


@pytest.fixture(scope="module")
def corner():
    return ExplainableModel.from_stages([("all", nn.Identity())], Squares())


# Windows and rectangles


@pytest.mark.parametrize(("side", "window", "stride"), [(70, 20, 51), (70, 20, 50), (70, 20, 12), (48, 48, 8), (48, 47, 1)])
def test_windows_lie_inside_the_view_and_none_is_left_out(side, window, stride):
    pair = PairQuestion(MODEL, torch.zeros(2, 3, side, side + 5))
    corners, grid = occlusion._corners(pair, window, stride)
    rows, columns = (
        [place for place in range(0, length, stride) if place + window <= length] for length in (side, side + 5)
    )
    assert grid == (len(rows), len(columns))
    assert corners.tolist() == [[row, column] for row in rows for column in columns]


def test_the_cost_counts_at_least_one_window_in_each_view():
    assert windows({"window": 64, "stride": 32}) == 2 * 6**2
    assert windows({"window": 224, "stride": 8}) == windows({"window": 1000, "stride": 8}) == 2


def test_rectangles_have_the_areas_and_shapes_of_the_options_anywhere_in_the_view():
    """By default a tenth to three tenths of the view, and up to half as high again as wide."""
    options = PAIR_METHODS["pairwise_occlusion"].checked({})
    area, shape = (options["smallest"], options["largest"]), (options["slimmest"], options["widest"])
    assert area == (0.1, 0.3) and shape == (1.0, 1.5)
    height, width = 90, 120
    for masks in occlusion._rectangles(400, (height, width), area, shape, seed=3):
        rows, columns = masks.any(2), masks.any(1)
        down, across = rows.sum(1).double(), columns.sum(1).double()
        assert torch.equal(masks, rows[:, :, None] & columns[:, None, :]), "whole rectangles"
        assert torch.equal(masks.sum((1, 2)).double(), down * across), "without gaps"
        shares, ratios = down * across / (height * width), down / across
        assert area[0] - 0.01 < shares.min() < area[0] + 0.02 and area[1] - 0.02 < shares.max() < area[1] + 0.01
        assert 0.97 < ratios.min() < 1.03 and 1.45 < ratios.max() < 1.55
        assert shares.mean() == pytest.approx(np.mean(area), abs=0.01)
        assert ratios.log().mean() == pytest.approx(math.log(1.5) / 2, abs=0.02)
        for covered in (rows, columns):
            assert covered.any(0).all() and covered.double().mean(0).argmax() not in (0, covered.shape[1] - 1)


def test_the_rectangles_of_two_views_are_drawn_apart():
    first, second = occlusion._rectangles(5, (40, 40), (0.1, 0.3), (1.0, 1.5), 0)
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# Augmentations


@pytest.mark.parametrize("size", [(2, 2), (3, 3), (5, 5), (6, 6), (20, 20), (3, 20), (20, 3)])
def test_the_blur_of_small_pictures_has_fewer_pixels(size):
    """Eleven pixels, or as many as can be mirrored at the edges."""
    picture = pictures(1, *size)[0]
    radius = min(5, min(size) - 1)
    expected = np.stack(
        [gaussian_filter(channel, 5.0, mode="mirror", radius=radius) for channel in picture.double().numpy()]
    )
    assert np.abs(blurred(picture).numpy() - expected).max() < 1e-5


def test_crops_have_the_areas_and_shapes_of_training():
    """Areas are drawn evenly from a fifth to the whole; shapes from 3/4 to 4/3, their logarithms evenly."""
    picture = torch.zeros(3, 200, 200)
    recipe = Augmentation(crop=0.2, flip=False, jitter=0, greyscale=0, blur=0)
    boxes = np.array([draw_view(picture, recipe, 0, number, (2, 2)).box for number in range(600)])
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    ratios, areas = across / down, across * down / 200**2
    assert 0.74 < ratios.min() < 0.77 and 1.3 < ratios.max() < 1.35
    assert np.log(ratios).mean() == pytest.approx(0, abs=0.02)
    assert 0.19 < areas.min() < 0.22 and areas.max() > 0.95
    small_ones = areas < 0.5  # larger ones may not fit, and are drawn again
    assert small_ones.mean() == pytest.approx(0.3 / 0.8, abs=0.07)
    assert boxes.min() == 0 and boxes.max() == 200


def test_each_transform_has_its_probability_of_training():
    picture, recipe = torch.rand(3, 8, 8), Augmentation(crop=1, jitter=0.5, greyscale=1, blur=0.4, solarise=0.5)
    views = [draw_view(picture, recipe, 0, number) for number in range(600)]
    expected = {"colour jitter": 0.8, "greyscale": 0.2, "blur": 0.5, "solarise": 0.2}
    shares = {name: np.mean([name in view.transforms for view in views]) for name in expected}
    assert shares == pytest.approx(expected, abs=0.06)
    assert np.mean([view.mirrored for view in views]) == pytest.approx(0.5, abs=0.06)


# Methods


@pytest.mark.parametrize("method", PAIR_METHODS.values(), ids=PAIR_METHODS)
def test_a_method_costs_what_it_says(method):
    """Both views together, of 224 x 224 pixels; the same for the embeddings, which are computed once."""
    options = {name: value for name, value in {"window": 112, "stride": 56, "samples": 3, "count": 4}.items()
               if name in {option.name for option in method.options()}}  # fmt: skip
    torch.manual_seed(0)
    stages = [("conv", nn.Sequential(nn.Conv2d(3, 4, 7, stride=8), nn.ReLU()))]
    model = ExplainableModel.from_stages(stages, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    maps = [heatmap for heatmap in explain_pair(model, *pictures(2, 224), method.id, **options) if heatmap is not None]
    passes, ways = maps[0].passes, len(maps)
    forward, backward = method.cost(method.checked(options))
    assert ways * passes.forward == pytest.approx(forward, abs=2 if method.family == "gradient" else 0)
    assert ways * passes.backward == backward


@pytest.mark.parametrize("method", PAIR_METHODS.values(), ids=PAIR_METHODS)
def test_gradients_are_published_on_a_picture_and_its_transform_and_all_else_on_crops(method):
    assert method.cropped == (method.family != "gradient")


def test_the_seconds_of_a_method_are_shared_by_its_maps(monkeypatch):
    """By a clock that shows 10 s more at the end."""
    clock = iter([100.0, 110.0])
    monkeypatch.setattr(explain.time, "perf_counter", lambda: next(clock, 110.0))
    assert [heatmap.seconds for heatmap in explain_pair(MODEL, FIRST, SECOND, "grad_cam")] == [5.0, 5.0]


def test_a_path_may_be_given_with_a_dimension_for_the_batch():
    """As the published code stores it, (points, 1, 3, H, W)."""
    path = torch.stack([(1 - share) * FIRST + share * SECOND for share in np.linspace(0, 0.9, 10)])
    flat, nested = (explain_pair(MODEL, FIRST, SECOND, "averaged_transforms", path=given) for given in (path, path[:, None]))
    assert all(np.array_equal(a.heatmap, b.heatmap) for a, b in zip(flat, nested, strict=True))


def test_the_linear_model_of_pixel_invariance_starts_as_a_layer_of_torch():
    for size in (100, 12_288):
        weight, bias = pixel_invariance._start(size, 0)
        bound = 1 / math.sqrt(size)
        assert len(weight) == size and len(bias) == 1 and abs(float(bias)) <= bound
        assert 0.95 * bound < weight.abs().max() <= bound and abs(float(weight.mean())) < 0.1 * bound
        assert weight.min() < -0.9 * bound and weight.max() > 0.9 * bound
    torch.manual_seed(0)
    theirs = nn.Linear(12_288, 1).weight.detach().flatten()
    assert float(weight.std()) == pytest.approx(float(theirs.std()), rel=0.03)


def test_views_of_pixel_invariance_are_drawn_from_the_first_view():
    """So that the second one does not matter."""
    one, other = (explain_pair(MODEL, FIRST, view, "pixel_invariance", count=6, epochs=3)[0] for view in (SECOND, THIRD))
    assert np.array_equal(one.heatmap, other.heatmap)
    swapped, _ = explain_pair(MODEL, SECOND, FIRST, "pixel_invariance", count=6, epochs=3)
    assert not np.array_equal(swapped.heatmap, one.heatmap)


# Batches


@pytest.mark.parametrize("method", ["pairwise_occlusion", "conditional_occlusion", "smooth_grad", "pixel_invariance"])
def test_no_batch_holds_more_pictures_than_fit(method, monkeypatch):
    sizes, embedding = [], PairQuestion._embedding
    monkeypatch.setattr(runtime, "inner_batch", lambda *given, **more: 6)
    monkeypatch.setattr(
        PairQuestion, "_embedding", lambda pair, images, *mode: sizes.append(len(images)) or embedding(pair, images, *mode)
    )
    options = {"window": 16, "stride": 8, "samples": 20, "count": 20}
    names = {option.name for option in PAIR_METHODS[method].options()}
    explain_pair(MODEL, FIRST, SECOND, method, **{name: value for name, value in options.items() if name in names})
    assert max(sizes) == 6 and len(sizes) > 3


@pytest.mark.parametrize("method", ["conditional_occlusion", "pairwise_occlusion", "smooth_grad", "pixel_invariance"])
def test_long_methods_report_every_batch(method, monkeypatch):
    monkeypatch.setattr(runtime, "inner_batch", lambda *given, **more: 4)
    reported = []

    def track(batches):
        batches = list(batches)
        reported.append(len(batches))
        return iter(batches)

    options = {"window": 16, "stride": 16, "samples": 12, "count": 12, "epochs": 2}
    names = {option.name for option in PAIR_METHODS[method].options()}
    explain_pair(MODEL, FIRST, SECOND, method, track=track, **{key: options[key] for key in options if key in names})
    assert sum(reported) >= 5, "twelve pictures in batches of four, or pairs in batches of two"


# Evaluation


@pytest.mark.parametrize(
    "maps",
    [(), (None, np.eye(SIDE)), (None, None), (np.eye(SIDE),) * 3, (np.eye(SIDE), np.eye(SIDE), None, np.eye(SIDE))],
    ids=["none", "of view 2 alone", "two times None", "three", "three and None"],
)
def test_other_numbers_of_maps_are_refused(maps):
    with pytest.raises(BadRequest, match="A method needs two maps"):
        evaluate_pair(MODEL, FIRST, SECOND, {"any": maps}, ["CI"])


@pytest.mark.parametrize("maps", [np.eye(SIDE), (np.eye(SIDE), None), (np.eye(SIDE)[None],), np.ones((1, 6)).cumsum(1)])
def test_a_single_map_is_of_view_1(maps):
    """Alone or with None beside it, with a dimension for the batch, and of one row."""
    rows = evaluate_pair(MODEL, FIRST, SECOND, {"any": maps}, ["CI"], step=500)
    assert {row.view for row in rows} == {1, "both"} and all(math.isfinite(row.value) for row in rows)


def test_a_step_is_at_least_one_pixel(corner):
    small_views = (FIRST[:, :12, :12], SECOND[:, :12, :12])
    (row, _) = evaluate_pair(corner, *small_views, {"any": np.eye(12)}, ["CI"], step=1)
    assert math.isfinite(row.value)
    for step in (0, -1, 1.5):
        with pytest.raises(BadRequest, match="A step must be"):
            evaluate_pair(corner, *small_views, {"any": np.eye(12)}, ["CI"], step=step)


RIGHT = np.zeros((40, 40))
RIGHT[:20, :20] = np.random.default_rng(0).uniform(1, 2, (20, 20))
WRONG = RIGHT[::-1, ::-1].copy()


@pytest.mark.parametrize("id", [id for id in PAIR_METRICS if id not in ("MS", "SIC", "CIC")])
def test_the_direction_of_a_metric_prefers_the_part_that_the_network_sees(corner, id):
    """The similarity is a product of positive numbers that fall where that part is blurred or dimmed."""
    first, second = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    maps = {"right": (RIGHT, RIGHT), "wrong": (WRONG, WRONG)}
    rows = evaluate_pair(corner, first, second, maps, [id], similarity=DotProduct(), step=100)
    values = {row.method: row.value for row in rows if row.view == "both"}
    better = max if PAIR_METRICS[id].up else min
    assert values["right"] != values["wrong"] and better(values, key=lambda name: values[name]) == "right"


def test_the_directions_of_what_the_geometry_tells():
    """More in the overlap is better, a larger error is worse."""
    assert {id: metric.direction for id, metric in GEOMETRY_METRICS.items()} == {"OS": "up", "CE": "down"}


def test_a_place_on_the_edge_of_the_other_view_is_shown_by_it():
    """Centres of two cells lie a quarter of a width from the edges: the other view begins, or ends, just there."""
    for box, shown in (((15, 0, 60, 40), [True, True]), ((0, 0, 45, 40), [True, True]), ((16, 0, 44, 40), [False, False])):
        geometry = Geometry(((0, 0, 60, 40), box))
        assert geometry.overlap(1, (1, 2))[0].tolist() == shown


# The benchmark


def test_the_interval_of_the_table_is_around_the_mean():
    rows = [
        [{"method": "grad_cam", "pairs": CROPPED, "metric": "CAD", "view": "both", "value": value}]
        for value in (1.0, 2.0, 3.0)
    ]
    (line,) = benchmark.table(rows, "barlow_twins")
    half = 4.302653 / math.sqrt(3)  # Student's t of two degrees of freedom
    assert (line["low"], line["mean"], line["high"]) == pytest.approx((2 - half, 2, 2 + half), abs=1e-5)


def test_no_two_views_of_the_benchmark_are_the_same_crop():
    plan = BenchmarkPlan()
    views = [view for number in range(3) for view in benchmark._views(FIRST, number, CROPPED, plan)]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(views, 2))


# References of a similarity


def test_random_pairs_are_all_pairs_of_views_by_a_loop():
    views = [
        draw_view(picture, Augmentation(), 1, number, (SIDE, SIDE)).pixels
        for picture in (FIRST, SECOND)
        for number in range(3)
    ]
    embeddings = [MODEL.embed(view)[0] for view in views]
    both = {pair: float(embeddings[pair[0]] @ embeddings[pair[1]]) for pair in itertools.combinations(range(6), 2)}
    found = reference.random_pairs(MODEL, [FIRST, SECOND], Augmentation(), each=3, seed=1, similarity=DotProduct())
    same = [value for (a, b), value in both.items() if a // 3 == b // 3]
    different = [value for (a, b), value in both.items() if a // 3 != b // 3]
    assert sorted(found.same) == pytest.approx(sorted(same), rel=1e-4, abs=1e-6) and len(same) == 6
    assert sorted(found.different) == pytest.approx(sorted(different), rel=1e-4, abs=1e-6) and len(different) == 9
    median = float(np.median(found.different))
    assert found.below(median) == 4 / 9, "below, and not equal"
    assert found.below(median, same=True) == np.mean(np.array(found.same) < median) != 4 / 9


def test_a_crop_keeps_the_middle():
    """Of a picture whose red says how far right a place is, and whose green how far down."""
    x, y = centres((100, 100)).unbind(-1)
    places = torch.stack([x, y, torch.full_like(x, 0.5)])
    for strength in (0.0, 0.25, 0.5, 1.0):
        part = reference.changed(places, reference.CROP, strength, 0)
        share = math.sqrt(1 - 0.9 * strength)
        assert part.shape == places.shape
        for values in part[:2]:
            assert float(values.mean()) == pytest.approx(0.5, abs=2e-3)
            assert float(values.max() - values.min()) == pytest.approx(share * (1 - 1 / 100), abs=0.015)
    assert torch.allclose(reference.changed(places, reference.CROP, 0.0, 0), places, atol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_other_augmentations_are_the_transforms(name):
    assert torch.equal(reference.changed(FIRST, name, 0.5, 3), transformed(FIRST[None], name, 3, 0.5)[0])


def test_the_similarity_by_strength_by_a_loop():
    rows = reference.similarity_by_strength(MODEL, FIRST, ["crop", "blur"], (0.0, 0.5), seed=2)
    assert [(row["augmentation"], row["strength"]) for row in rows] == [
        ("crop", 0.0), ("crop", 0.5), ("blur", 0.0), ("blur", 0.5)
    ]  # fmt: skip
    for row in rows:
        view = reference.changed(FIRST, row["augmentation"], row["strength"], 2)
        expected = float(F.cosine_similarity(MODEL.embed(FIRST), MODEL.embed(view)))
        assert row["similarity"] == pytest.approx(expected, abs=1e-5)
    assert [row["similarity"] for row in rows if row["strength"] == 0] == pytest.approx([1, 1], abs=1e-5)


def test_the_maps_by_strength_are_those_of_the_picture_and_its_changed_self():
    steps = list(reference.maps_by_strength(MODEL, FIRST, "crop", "grad_cam", (0.0, 1.0), seed=2))
    assert [step.strength for step in steps] == [0.0, 1.0]
    for step in steps:
        assert torch.equal(step.view, reference.changed(FIRST, "crop", step.strength, 2))
        expected = explain_pair(MODEL, FIRST, step.view, "grad_cam", seed=2)
        assert [a.key for a in step.maps] == [b.key for b in expected]
        assert step.maps[0].target_value == pytest.approx(ask_pair(MODEL, FIRST, step.view, similarity=COSINE).value)
