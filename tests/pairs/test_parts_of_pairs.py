"""Views of drawn pictures, and networks that see known pixels only: what taking parts away does is then computed by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

from xai_core.core.errors import BadRequest
from xai_core.data.world.planted import picture, planted
from xai_core.data.world.scene import BACKGROUND, MARK, draw, without
from xai_core.explanation.similarity import COSINE, DotProduct
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs.augment import Augmentation, draw_view
from xai_core.pairs.evaluate import evaluate_pair
from xai_core.pairs.explain import ask_pair
from xai_core.pairs.geometry import AREA
from xai_core.pairs.parts import PART_METRICS, masses, part_effects, parts_of_picture, parts_of_views, shares

SIZE = (48, 48)
COLOURS = Augmentation(crop=0.4, jitter=0.5, greyscale=0.3, blur=0.3, always=True)
CROPS = Augmentation(crop=0.4, jitter=0, greyscale=0, blur=0)
MARKED = next(one.scene for one in (picture(planted(), 0, "train", k) for k in range(200)) if one.scene.mark)
DRAWS = np.random.default_rng(0)


class LeftHalf(nn.Module):
    """How dark the left half of a view is; columns count more to the right of it."""

    def forward(self, images):
        width = images.shape[3] // 2
        return (1 - images[:, :, :, :width]) * torch.linspace(0.5, 1.5, width)


@pytest.fixture(scope="module")
def network():
    """Its embedding is the weighted mean darkness of the left half of a view."""
    return ExplainableModel.from_stages([("left", LeftHalf())], lambda seen: seen.mean((2, 3)))


def view(scene, recipe, seed, number):
    """A view of the scene's picture, (3, H, W)."""
    pixels = torch.from_numpy(draw(scene)[0].copy()).permute(2, 0, 1).float() / 255
    return draw_view(pixels, recipe, seed, number, SIZE)


def views(scene, recipe=CROPS, seed=0):
    return [view(scene, recipe, seed, number).pixels for number in (0, 1)]


def by_hand(pixels, similarity):
    """The similarity of two views in the eyes of `network`."""
    width = SIZE[1] // 2
    weights = np.linspace(0.5, 1.5, width)
    first, second = (((1 - one.double().numpy()[:, :, :width]) * weights).mean((1, 2)) for one in pixels)
    product = first @ second
    return product / np.sqrt((first @ first) * (second @ second)) if similarity is COSINE else product


def rows_by(rows):
    return {(row.method, row.metric, row.view): row for row in rows}


def map_with_masses(parts, number, wanted):
    """The map whose mass in each part of the view is as wanted: a sum of the masks, of which the weights are solved for."""
    masks = parts.views[number - 1].masks.reshape(len(wanted), -1).astype(np.float64)
    return (np.linalg.solve(masks @ masks.T, wanted) @ masks).reshape(SIZE)


@pytest.mark.parametrize("recipe", [CROPS, COLOURS], ids=["crops", "colours"])
@pytest.mark.parametrize("similarity", [COSINE, DotProduct()], ids=["cosine", "dot product"])
def test_effects_are_falls_of_the_similarity_when_the_same_views_are_cut_again(network, recipe, similarity):
    parts, whole = parts_of_views(MARKED, recipe, 1, SIZE), views(MARKED, recipe, 1)
    effects = part_effects(ask_pair(network, *whole, similarity=similarity), parts)
    base = by_hand(whole, similarity)
    assert effects.names == parts.names and effects.names[0] == BACKGROUND and np.ptp(effects.falls) > 1e-3
    for name, (both, first, second) in zip(effects.names, effects.falls, strict=True):
        changed = views(without(MARKED, name), recipe, 1)
        assert both == pytest.approx(base - by_hand(changed, similarity), abs=2e-6)
        assert first == pytest.approx(base - by_hand([changed[0], whole[1]], similarity), abs=2e-6)
        assert second == pytest.approx(base - by_hand([whole[0], changed[1]], similarity), abs=2e-6)


@pytest.mark.parametrize("seed", range(4))
def test_masks_are_cut_as_the_views_are(seed):
    """What changes in a view without a part lies in the part's mask, also where the view is mirrored."""
    parts = parts_of_views(MARKED, CROPS, seed, SIZE)
    for number, (own, whole) in enumerate(zip(parts.views, views(MARKED, seed=seed), strict=True)):
        assert np.allclose(own.masks.sum(0), 1, atol=1e-4)
        for name, mask in zip(own.names, own.masks, strict=True):
            if name != BACKGROUND and not name.startswith("distractor"):  # these take their shadows with them
                change = (view(without(MARKED, name), CROPS, seed, number).pixels - whole).abs().amax(0).numpy()
                assert change[mask < 1e-6].max(initial=0) < 0.01, name
                assert change[mask > 0.9].max(initial=1) > 0.05, name


def test_maps_with_the_effects_as_their_masses_score_one():
    network = ExplainableModel.from_stages([("dark", lambda images: 1 - images)], lambda seen: seen.mean((2, 3)))
    parts, (first, second) = parts_of_views(MARKED, CROPS, 1, SIZE), views(MARKED, seed=1)
    pair = ask_pair(network, first, second, similarity=DotProduct())
    effects = dict(zip(parts.names, part_effects(pair, parts).falls, strict=True))
    one, two = (own.names for own in parts.views)
    conditional = tuple(
        map_with_masses(parts, number, [effects[name][number] for name in names])
        for number, names in enumerate((one, two), start=1)
    )
    simultaneous = (
        map_with_masses(parts, 1, [effects[name][0] for name in one]),
        map_with_masses(parts, 2, [0 if name in one else effects[name][0] for name in two]),
    )
    maps = {"conditional": conditional, "simultaneous": simultaneous}
    maps |= {f"negative {name}": tuple(-heatmap for heatmap in both) for name, both in maps.items()}
    rows = rows_by(evaluate_pair(network, first, second, maps, list(PART_METRICS), parts=parts, similarity=DotProduct()))
    for number in (1, 2, "both"):
        assert rows["conditional", "CPC", number].value == pytest.approx(1)
        assert rows["conditional", "CTP", number].value == 1
        assert rows["negative conditional", "CPC", number].value == pytest.approx(-1)
        assert rows["negative conditional", "CTP", number].value == 0
    assert rows["simultaneous", "SPC", "both"].value == pytest.approx(1)
    assert rows["simultaneous", "STP", "both"].value == 1
    assert rows["negative simultaneous", "SPC", "both"].value == pytest.approx(-1)
    assert rows["negative simultaneous", "STP", "both"].value == 0


def test_the_mass_of_a_uniform_map_is_the_area_of_the_parts(network):
    parts, whole = parts_of_views(MARKED, CROPS, 1, SIZE), views(MARKED, seed=1)
    effects = part_effects(ask_pair(network, *whole), parts)
    uniform = (np.ones(SIZE), np.ones(SIZE))
    rows = rows_by(evaluate_pair(network, *whole, {"uniform": uniform}, list(PART_METRICS), parts=parts))
    areas = []
    for number, own in enumerate(parts.views, start=1):
        areas.append(dict(zip(own.names, own.masks.sum((1, 2)), strict=True)))
        falls = [effects.falls[effects.names.index(name), number] for name in own.names]
        expected = spearmanr([*areas[-1].values()], falls).statistic
        assert rows["uniform", "CPC", number].value == pytest.approx(expected)
        largest = own.names[int(np.argmax(falls))]
        assert rows["uniform", "CTP", number].value == (largest == max(areas[-1], key=areas[-1].get))
        share = dict(zip(parts.names, shares(parts, number, torch.ones(SIZE)), strict=True))
        assert {name: share[name] for name in own.names} == pytest.approx(
            {name: area / math.prod(SIZE) for name, area in areas[-1].items()}, rel=1e-5
        )
    both = [sum(area.get(name, 0) for area in areas) for name in effects.names]
    assert rows["uniform", "SPC", "both"].value == pytest.approx(spearmanr(both, effects.falls[:, 0]).statistic)
    for (method, metric, number), row in rows.items():
        if method == AREA:
            assert row.value == rows["uniform", metric, number].value


def test_a_part_that_is_cropped_away_has_no_effect_and_no_mass_in_that_view(network):
    found = (parts_of_views(MARKED, CROPS, seed, SIZE) for seed in range(50))
    seed, parts = next(
        (seed, parts) for seed, parts in enumerate(found) if [MARK in own.names for own in parts.views] == [True, False]
    )
    place = parts.names.index(MARK)
    effects = part_effects(ask_pair(network, *views(MARKED, seed=seed), similarity=DotProduct()), parts)
    both, _, second = effects.falls[place]
    assert second == pytest.approx(0, abs=1e-6) and both == pytest.approx(effects.falls[place, 1], abs=1e-6)
    uniform = torch.ones(SIZE)
    assert masses(parts, 1, uniform)[place] > 0 and math.isnan(masses(parts, 2, uniform)[place])


def test_where_nothing_can_be_told_there_is_a_reason():
    blind = ExplainableModel.from_stages([("none", nn.Identity())], lambda seen: 0 * seen.mean((2, 3)) + 1)
    parts, whole = parts_of_views(MARKED, CROPS, 1, SIZE), views(MARKED, seed=1)
    maps = {"any": (DRAWS.random(SIZE), DRAWS.random(SIZE))}
    for row in evaluate_pair(blind, *whole, maps, list(PART_METRICS), parts=parts):
        assert math.isnan(row.value), row
        assert ("changes nothing" if row.metric.endswith("PC") else "as high as it was") in row.note


def test_a_map_that_is_the_same_everywhere_in_all_parts_has_no_order(network):
    parts, whole = parts_of_views(MARKED, CROPS, 1, SIZE), views(MARKED, seed=1)
    zeros = {"zeros": (np.zeros(SIZE), np.zeros(SIZE))}
    rows = rows_by(evaluate_pair(network, *whole, zeros, ["CPC", "CTP"], parts=parts))
    assert "every part the same" in rows["zeros", "CPC", 1].note and math.isnan(rows["zeros", "CPC", "both"].value)
    assert rows["zeros", "CTP", 1].value == pytest.approx(1 / len(parts.views[0].names))  # all share the largest mass
    assert np.isnan(shares(parts, 1, torch.zeros(SIZE))).all()


def test_beside_another_picture_the_parts_of_view_1_are_taken_away():
    model = ExplainableModel.from_stages([("left", LeftHalf())], lambda seen: seen.mean((2, 3)), input_size=SIZE[0])
    prepared = model.prepare(Image.fromarray(draw(MARKED)[0]))
    other = F.avg_pool2d(torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)), 2)[0]
    parts = parts_of_picture(model, MARKED, prepared)
    effects = part_effects(ask_pair(model, prepared, other), parts)
    for name, (both, first, second) in zip(effects.names, effects.falls, strict=True):
        changed = model.prepare(Image.fromarray(draw(without(MARKED, name))[0])).pixels
        expected = by_hand([prepared.pixels, other], COSINE) - by_hand([changed, other], COSINE)
        assert first == pytest.approx(expected, abs=2e-6) and math.isnan(both) and math.isnan(second)
    maps = {"any": (DRAWS.random(SIZE), DRAWS.random(SIZE))}
    rows = evaluate_pair(model, prepared, other, maps, list(PART_METRICS), parts=parts)
    assert {(row.metric, row.view) for row in rows} == {(id, view) for id in ("CPC", "CTP") for view in (1, "both")}


def test_a_single_map_has_conditional_metrics_of_view_1(network):
    parts, whole = parts_of_views(MARKED, CROPS, 1, SIZE), views(MARKED, seed=1)
    rows = evaluate_pair(network, *whole, {"one": DRAWS.random(SIZE)}, list(PART_METRICS), parts=parts)
    own = {(row.metric, row.view) for row in rows if row.method == "one"}
    assert own == {(id, view) for id in ("CPC", "CTP") for view in (1, "both")}


def test_metrics_of_parts_need_the_views_of_the_scene(network):
    whole, maps = views(MARKED, seed=1), {"any": (np.eye(48), np.eye(48))}
    with pytest.raises(BadRequest, match="need views of a picture of a world"):
        evaluate_pair(network, *whole, maps, ["SPC"])
    with pytest.raises(BadRequest, match="not drawn from the given scene"):
        evaluate_pair(network, *whole, maps, ["SPC"], parts=parts_of_views(MARKED, CROPS, 2, SIZE))
    usual = evaluate_pair(network, *whole, maps, step=1000)
    assert PART_METRICS.keys().isdisjoint(row.metric for row in usual)
