"""Metrics of drawn pictures, on networks whose answer is known in closed form: a weighted sum of the pixels."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from quadrants import linear
from scipy.stats import spearmanr

from xai_core.core.errors import BadRequest
from xai_core.data.recipe import Recipe
from xai_core.data.scene_parts import SEEN, scene_parts
from xai_core.data.world.planted import clean, picture, planted
from xai_core.data.world.scene import BACKGROUND, MARK, SIZE, draw, parts, thing_parts, without
from xai_core.explanation.targets import ClassLogit
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.measure import measure, measure_all
from xai_core.metrics.self_test import self_test

GROUND_TRUTH = [name for name, metric in METRICS.items() if metric.family == "ground truth"]
DRAWS = np.random.default_rng(0)
WEIGHTS = DRAWS.normal(size=(3, SIZE, SIZE)).astype(np.float32) * np.linspace(0, 1, SIZE, dtype=np.float32)
MARKED = next(one.scene for one in (picture(planted(), 0, "train", k) for k in range(200)) if one.scene.mark)
PLAIN = picture(clean(), 0, "test", 3).scene


def weighted(weights=WEIGHTS):
    """f = the sum of weights times pixels, of pictures of 128 x 128 as they are."""
    return replace(linear(torch.from_numpy(weights)), recipe=Recipe(SIZE, SIZE, mean=None, std=None))


def drawn(scene, *names):
    """The picture without these parts, and its values in [0, 1] (3, H, W)."""
    pixels, _ = draw(without(scene, *names) if names else scene)
    return Image.fromarray(pixels), pixels.transpose(2, 0, 1).astype(np.float64) / 255


def true_effects(scene, removals, weights=WEIGHTS):
    whole = drawn(scene)[1]
    return np.array([(weights * (whole - drawn(scene, *names)[1])).sum() for names in removals])


def seen_parts(scene):
    """The names of the parts that are seen in enough pixels, and their masks, as they are drawn."""
    _, masks = draw(scene)
    masks = {name: mask for name, mask in masks.items() if mask.sum() >= SEEN}
    return {BACKGROUND: np.clip(1 - sum(masks.values()), 0, 1), **masks}


def value(scene, heatmap, metric, weights=WEIGHTS, **options):
    return measure(
        weighted(weights), drawn(scene)[0], heatmap, metric, target=ClassLogit((0,)), scene=scene, controls=False, **options
    )


@pytest.mark.parametrize("scene", [MARKED, PLAIN], ids=["marked", "plain"])
@pytest.mark.parametrize("sets", ["parts", "pairs"])
def test_part_correlation_is_that_of_masses_and_effects(scene, sets):
    heatmap = DRAWS.normal(size=(SIZE, SIZE))
    masks = seen_parts(scene)
    removals = list(itertools.combinations(masks, 1 if sets == "parts" else 2))
    masses = [sum((heatmap * masks[name]).sum() for name in names) for names in removals]
    expected = spearmanr(masses, true_effects(scene, removals)).statistic
    measurement = value(scene, heatmap, "part_correlation", sets=sets)
    assert measurement.value == pytest.approx(expected, abs=1e-6)
    assert measurement.facts["parts"] == len(masks)
    assert measurement.passes == 1 + len(removals)


@pytest.mark.parametrize("scene", [MARKED, PLAIN], ids=["marked", "plain"])
@pytest.mark.parametrize("sets", ["parts", "pairs"])
def test_part_mean_correlation_is_that_of_means_and_effects(scene, sets):
    heatmap = DRAWS.normal(size=(SIZE, SIZE))
    masks = seen_parts(scene)
    removals = list(itertools.combinations(masks, 1 if sets == "parts" else 2))
    means = [np.average(heatmap, weights=sum(masks[name] for name in names)) for names in removals]
    expected = spearmanr(means, true_effects(scene, removals)).statistic
    measurement = value(scene, heatmap, "part_mean_correlation", sets=sets)
    assert measurement.value == pytest.approx(expected, abs=1e-6)
    assert measurement.facts["parts"] == len(masks)


def test_a_map_that_knows_only_the_sizes_of_parts_gains_by_masses_and_not_by_means():
    """To a network that counts the pixels that differ from the empty scene, large parts matter more. A uniform map orders
    them so by its masses; its means are all equal."""
    masks = seen_parts(PLAIN)
    weights = np.sign(drawn(PLAIN)[1] - drawn(PLAIN, *masks)[1]).astype(np.float32)
    uniform = np.full((SIZE, SIZE), 0.1)
    assert value(PLAIN, uniform, "part_correlation", weights).value > 0.7
    by_mean = value(PLAIN, uniform, "part_mean_correlation", weights)
    assert math.isnan(by_mean.value) and "every part the same" in by_mean.note
    ranks = np.argsort(np.argsort(true_effects(PLAIN, [(name,) for name in masks], weights)))
    owner = np.argmax([*masks.values()], 0)
    assert value(PLAIN, ranks[owner], "part_mean_correlation", weights).value > 0.9


def test_the_right_maps_are_at_the_top():
    """The map that gives each part its effect, evenly over its pixels, against its negative and a uniform one."""
    masks = seen_parts(MARKED)
    effects = true_effects(MARKED, [(name,) for name in masks])
    owner = np.argmax([*masks.values()], 0)
    areas = np.array([mask.sum() for mask in masks.values()])
    right = (effects / areas)[owner]
    assert value(MARKED, right, "part_correlation").value > 0.9
    assert value(MARKED, -right, "part_correlation").value < -0.9
    assert value(MARKED, right, "top_part").value == 1
    assert value(MARKED, -right, "top_part").value == 0


def test_the_mark_is_found_by_a_map_that_is_strongest_on_it():
    mask = seen_parts(MARKED)[MARK] > 0
    only_mark = np.where(mask, 1.0, 0.0).astype(np.float32) * np.sign(true_effects(MARKED, [(MARK,)], np.ones_like(WEIGHTS)))
    weights = np.broadcast_to(only_mark.astype(np.float32), WEIGHTS.shape).copy()
    assert value(MARKED, mask.astype(float), "mark_found", weights).value == 1
    assert value(MARKED, 1 - mask.astype(float), "mark_found", weights).value == 0
    uniform = value(MARKED, np.ones((SIZE, SIZE)), "mark_found", weights)
    assert uniform.value == pytest.approx(1 / len(seen_parts(MARKED)), rel=1e-3)
    unused = value(MARKED, mask.astype(float), "mark_found", np.where(mask, 0, 1).astype(np.float32) * WEIGHTS)
    assert math.isnan(unused.value) and "does not use the mark" in unused.note
    assert "no mark" in value(PLAIN, mask.astype(float), "mark_found").note


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_evidence_in_what_matters_counts_the_parts_with_an_effect(share):
    heatmap = DRAWS.normal(size=(SIZE, SIZE))
    masks = seen_parts(PLAIN)
    effects = true_effects(PLAIN, [(name,) for name in masks])
    matters = sum(mask for mask, effect in zip(masks.values(), effects, strict=True) if effect >= share * effects.max())
    positive = np.clip(heatmap, 0, None)
    measurement = value(PLAIN, heatmap, "evidence_in_what_matters", share=share)
    assert measurement.value == pytest.approx((positive * matters).sum() / positive.sum(), rel=1e-5)
    uniform = value(PLAIN, np.ones((SIZE, SIZE)), "evidence_in_what_matters", share=share)
    assert uniform.value == pytest.approx(uniform.facts["share of the picture that matters"], rel=1e-5)


def test_a_complete_map_has_no_error():
    everything = tuple(seen_parts(PLAIN))
    change = drawn(PLAIN)[1] - drawn(PLAIN, *everything)[1]
    complete = (WEIGHTS * change).sum(0)
    assert value(PLAIN, complete, "part_completeness").value < 1e-4
    assert value(PLAIN, 3 * complete, "part_completeness").value == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("name", GROUND_TRUTH)
def test_a_network_that_sees_nothing_has_no_value_and_a_reason(name):
    measurement = value(MARKED, DRAWS.normal(size=(SIZE, SIZE)), name, np.zeros_like(WEIGHTS))
    assert math.isnan(measurement.value) and measurement.note


@pytest.mark.parametrize("name", GROUND_TRUTH)
def test_a_photograph_has_no_parts(name):
    image = torch.rand(3, SIZE, SIZE)
    measurement = measure(weighted(), image, np.ones((8, 8)), name, target=ClassLogit((0,)), controls=False)
    assert math.isnan(measurement.value) and "needs a picture of a world" in measurement.note


def test_a_scene_of_another_picture_is_refused():
    with pytest.raises(BadRequest, match="not drawn from the given scene"):
        measure(weighted(), drawn(PLAIN)[0], np.ones((8, 8)), "top_part", target=ClassLogit((0,)), scene=MARKED)


def test_all_maps_share_the_passes_of_the_removals():
    """Each removal is scored once, for controls, maps and metrics together."""
    model, scored = weighted(), []
    stages = model.network.stages
    first = replace(stages[0], run=lambda images: scored.append(len(images)) or stages[0].run(images))
    model = replace(model, network=replace(model.network, stages=(first, *stages[1:])))
    maps = {str(number): DRAWS.normal(size=(8, 8)) for number in range(3)}
    list(measure_all(model, drawn(PLAIN)[0], maps, GROUND_TRUTH, target=ClassLogit((0,)), scene=PLAIN))
    assert sum(scored) == 1 + len(seen_parts(PLAIN)) + 1  # the picture, each part, and all parts at once


def test_parts_lie_where_a_cropping_network_sees_them():
    """Masks are resized and cropped as the picture is: a network that enlarges the middle sees larger parts."""
    model = replace(weighted(), recipe=Recipe(112, 160, mean=None, std=None))
    prepared = model.prepare(drawn(PLAIN)[0])
    taken_apart = scene_parts(PLAIN, prepared, model.prepare)
    assert taken_apart.masks.shape[1:] == (112, 112) and np.allclose(taken_apart.masks.sum(0), 1, atol=1e-4)
    for name, mask in zip(taken_apart.names, taken_apart.masks, strict=True):
        if name != BACKGROUND and not name.startswith("distractor"):  # these take their shadows with them
            change = (taken_apart.without([name]) - prepared.pixels).abs().amax(0).numpy()
            assert change[mask < 1e-6].max(initial=0) < 0.05, name  # bilinear resizing reaches a pixel further


def test_without_a_box_the_thing_itself_is_the_box():
    _, masks = draw(PLAIN)
    inside = sum(mask for name, mask in masks.items() if name in thing_parts(PLAIN)) > 0.5
    heatmap = DRAWS.random((SIZE, SIZE))
    measurement = value(PLAIN, heatmap, "energy_pointing_game")
    assert measurement.value == pytest.approx(heatmap[inside].sum() / heatmap.sum(), rel=1e-5)
    given = value(PLAIN, heatmap, "energy_pointing_game", box=(0, 0, 64, 64))
    assert given.value == pytest.approx(heatmap[:64, :64].sum() / heatmap.sum(), rel=1e-5)


def test_parts_of_what_is_shown_are_those_of_the_first_thing():
    both = next(one.scene for one in (picture(planted(), 0, "test", k) for k in range(400)) if len(one.truth) == 2)
    own = thing_parts(both)
    assert own and all(": " not in name for name in own) and own < set(parts(both))


@pytest.mark.parametrize("name", GROUND_TRUTH)
def test_the_self_test_can_be_done_with_a_scene(name):
    (verdict,) = self_test(weighted(0.001 * np.abs(WEIGHTS)), drawn(PLAIN)[0], [name], ClassLogit((0,)), scene=PLAIN)
    assert len(verdict.values) == 4 and np.isfinite(verdict.values["inverted"]) == (name != "mark_found"), verdict
