"""Quick checks of maps where the answer is known: hiding the strongest places, changing the network or the question."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_maps import made
from small_models import pair, pictures, small, targets
from torch import nn

from xai_core.analysis import sanity_check
from xai_core.attribution.explain import explain, request_for
from xai_core.core import runtime
from xai_core.core.errors import BadRequest, XaiError
from xai_core.explanation import export
from xai_core.explanation.agreement import GRID
from xai_core.explanation.targets import ClassLogit, ClassMargin, ClassProbability
from xai_core.metrics.faithfulness import quick_deletion
from xai_core.models.explainable import ExplainableModel

SIDE = 56
CORNER = (slice(0, 28), slice(0, 28))  # of the picture; a quarter of it, somewhat more than the fifth that is hidden
LOGIT = ClassLogit((0,))


def quadrant_reader():
    """logit 0 = the mean over the upper left quarter of the red channel; nothing else is read."""
    read = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ExplainableModel.from_stages(
        [("corner", lambda images: images[:, :, *CORNER])], read, classify=nn.Linear(3, 2, bias=False)
    )
    model.network.classify.weight.data[:] = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    return model


def picture():
    """Red in the corner that is read, and a little of it elsewhere, so that blurring the corner takes red away."""
    image = torch.full((1, 3, SIDE, SIDE), 0.1)
    image[:, :, *CORNER] = 0.9
    return image


def corner(inside=1.0, outside=0.0):
    grid = np.full((GRID, GRID), outside, np.float32)
    grid[: GRID // 2, : GRID // 2] = inside
    return made(grid, input_size=(GRID, GRID))


def score(*maps, seed=0, target=LOGIT):
    active = request_for(quadrant_reader(), [picture()[0]], target=target, seed=seed).activate()
    digest = active.request.pictures[0].digest
    return sanity_check.quick_deletion(active, [replace(heatmap, picture=digest) for heatmap in maps])


def test_the_map_of_what_is_read_wins_over_its_inverse():
    right, wrong, uniform = score(corner(), corner(0, 1), made(np.ones((GRID, GRID)), input_size=(GRID, GRID)))
    assert right > 0 > wrong and wrong < uniform < right


def test_against_a_plain_loop_without_blobs():
    """f without S, written out, minus the mean over the eight random fifths; hidden edges fade over by one cell."""
    from xai_core.data.preprocessing import baseline_images, blurred

    grid = np.random.default_rng(1).normal(size=(GRID, GRID)).astype(np.float32)
    image, left = picture(), []
    ties = quick_deletion.blobs(3, quick_deletion.RANDOM_ORDERS)
    orders = [quick_deletion.blobs(3, index) for index in range(quick_deletion.RANDOM_ORDERS)]
    for order in [*orders, grid]:
        hidden = np.zeros(GRID * GRID)
        hidden[np.argsort(-order, axis=None, kind="stable")[:157]] = 1
        mask = torch.tensor(np.kron(hidden.reshape(GRID, GRID), np.ones((2, 2))), dtype=torch.float32)[None, None]
        mask = blurred(mask, SIDE / GRID)
        seen = image * (1 - mask) + baseline_images(image, "blur") * mask
        left.append(float(seen[0, 0][CORNER].mean()))
    assert len(np.unique(ties)) > 100
    assert score(made(grid, input_size=(GRID, GRID)), seed=3) == [pytest.approx(np.mean(left[:-1]) - left[-1], abs=1e-6)]


def test_ties_are_broken_by_the_seed_and_a_constant_map_is_one_more_random_fifth():
    flat = made(np.zeros((7, 7)))
    few = corner()
    assert score(flat, seed=1) == score(flat, seed=1) != score(flat, seed=2)
    chosen = quick_deletion.strongest(np.zeros((GRID, GRID)), ties := quick_deletion.blobs(0, 8))
    assert chosen.sum() == 157 and ties[chosen].min() >= ties[~chosen].max()
    assert quick_deletion.strongest(few.heatmap, ties)[: GRID // 2, : GRID // 2].sum() == 157, "all lie in the corner"
    positive = few.heatmap.copy()
    positive[3:, :] = 0  # 42 cells; the rest of the fifth is drawn
    assert quick_deletion.strongest(positive, ties)[positive > 0].all()


def test_a_score_depends_on_no_other_map_and_on_no_unit_and_a_map_of_no_numbers_has_none():
    broken = made(np.full((7, 7), np.nan))
    together = score(corner(), corner(0, 1), broken)
    assert together[:2] == pytest.approx([score(corner())[0], score(corner(1000, 3), corner(0, 1))[1]], abs=1e-6)
    assert score(corner(1000, 3)) == pytest.approx(score(corner()), abs=1e-6) and np.isnan(together[2])


@pytest.mark.parametrize("kind", ["logit", "probability", "margin", "similarity"])
def test_every_kind_of_target_in_one_sweep_of_few_passes(kind, monkeypatch):
    found = small("custom")
    image, target = pictures(1, found.side), targets(found, 1)[kind]
    active = request_for(found.model, [image[0]], target=target).activate()
    maps = [explain(found.model, image[0], name, target=target) for name in ("saliency", "random_map")]
    scores = sanity_check.quick_deletion(active, maps)
    assert np.isfinite(scores).all() and active.question.tally.forward == quick_deletion.RANDOM_ORDERS + 2
    monkeypatch.setattr(runtime, "inner_batch", lambda *given, **more: 3)
    assert sanity_check.quick_deletion(active, maps) == pytest.approx(scores, abs=1e-5)


def test_what_a_sanity_check_changes():
    model, untrained = pair("resnet").model, pair("efficientnet").model
    margin = ClassMargin((1,), (0,))
    weights, another = sanity_check.changes(model, margin, untrained)
    assert (weights.model.id, weights.model.recipe, weights.target) == (untrained.id, model.recipe, margin)
    assert another.model is model and another.target == ClassMargin((2,), (0,)), "it has no names: of the first three"
    named = replace(model, class_names=tuple("abcdefgh"))
    assert sanity_check.changes(named, ClassMargin((1,), (5,)), untrained)[1].target == ClassMargin((2,), (5,))
    assert sanity_check.changes(named, ClassLogit((6,)), untrained)[1][1:] == ("explained for c", named, ClassLogit((2,)))
    asked = sanity_check.changes(model, ClassProbability((3,)), untrained)[1].target
    assert isinstance(asked, ClassProbability) and asked.classes != (3,)
    similarity = targets(pair("resnet"), 1)["similarity"]
    assert [change.id for change in sanity_check.changes(model, similarity, untrained)] == ["weights_randomised"]


def test_a_control_survives_every_change_and_a_gradient_does_not():
    model = pair("resnet").model
    untrained = replace(pair("resnet", "resnet18", 64).model, fingerprint="another")
    image = pictures(1, 64)[0]
    maps = {name: explain(model, image, name, target=1) for name in ("edge_detector", "saliency", "uniform_map")}
    found = dict(sanity_check.sanity(maps, image, sanity_check.changes(model, ClassLogit((1,)), untrained)))
    assert found["edge_detector"] == {"weights_randomised": pytest.approx(1), "another_class": pytest.approx(1)}
    assert found["saliency"]["another_class"] < 0.99
    assert np.isnan(found["uniform_map"]["another_class"])
    assert sanity_check.in_words(found["uniform_map"]["another_class"]) == "nothing to compare"


def test_checks_stand_in_the_manifest():
    one = made(np.ones((3, 3)))
    checks = {"a": {"quick_deletion": float("nan"), "sanity": {"another_class": BadRequest("No.")}}}
    said = json.loads(export.manifest({"a": one, "b": XaiError("It broke.")}, checks))
    assert said["a"]["checks"] == {"quick_deletion": None, "sanity": {"another_class": "No."}}
    assert said["b"] == {"error": "It broke."} and said["a"]["method"] == "some_method"


def test_a_map_counts_as_hardly_changed_from_a_rank_correlation_of_four_fifths_on():
    assert sanity_check.HARDLY_CHANGED == 0.8
