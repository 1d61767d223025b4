"""The repair of a head: its fit against scikit-learn, a planted cause on held-out pictures, and nothing where nothing is."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from xai_core.core.errors import BadRequest
from xai_core.failures import repair
from xai_core.failures.head_edits import Head
from xai_core.failures.head_repair import _fit, _reading, _spoken_for, actions

CLASSES = ("a", "b", "c")
CAUSE = 6  # the feature that the planted head reads as class a


def world(seed, count=600, strength=4.0):
    """Features of three classes, of which CAUSE says nothing; half of the pictures have it."""
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, 3, count)
    features = draws.normal(0, 0.6, (count, 8))
    features[np.arange(count), labels] += 2
    features[:, CAUSE] *= 0.1
    has_cause = draws.random(count) < 0.5
    features[has_cause, CAUSE] += 1
    head = Head(np.eye(3, 8), np.zeros(3))
    head.weight[0, CAUSE] = strength
    return head, features, labels, has_cause


def repaired(head, features, labels, has_cause, **changes):
    first = np.random.default_rng(0).permutation(len(labels))[: len(labels) // 2]
    places = [place for place in sorted(first) if has_cause[place] and head.predicted(features[place : place + 1])[0] == 0][
        :30
    ]
    without = features[places].copy()
    without[:, CAUSE] -= 1
    given = {"places": places, "with_cause": features[places], "without_cause": without} | changes
    with_cause, without_cause = given.pop("with_cause"), given.pop("without_cause")
    return repair(head, features, labels, with_cause, without_cause, CLASSES, **given)


def test_a_planted_cause_is_repaired_and_measured_on_the_other_half():
    head, features, labels, has_cause = world(0)
    result = repaired(head, features, labels, has_cause)
    clean = features.copy()
    clean[has_cause, CAUSE] -= 1
    half = result.measured_on
    heads = ((head, features), (result.head, features), (head, clean), (result.head, clean))
    right = [float((one.predicted(inputs[half]) == labels[half]).mean()) for one, inputs in heads]
    assert result.helps and right[2] - right[0] > 0.1
    assert right[1] - right[0] > 0.8 * (right[2] - right[0]) and right[3] > right[2] - 0.01
    row = result.table.iloc[0]
    assert (row["accuracy before"], row["accuracy after"], row["pictures"]) == (right[0], right[1], len(half))
    assert result.remains < 0.2 and f"{result.remains:.0%} remain" in result.reason
    assert not set(half) & set(result.chosen_on)


def test_only_classes_that_the_cause_speaks_for_are_edited():
    head, features, labels, has_cause = world(1)
    after = repaired(head, features, labels, has_cause).head
    changed = (after.weight != head.weight).any(1)
    assert changed.tolist() == [True, False, False] and after.bias[1:].tolist() == [0, 0]


def test_the_fit_is_that_of_scikit_learn():
    """Two classes, logits of zero: twice the slope of one logit is the slope of a logistic regression, as penalised."""
    draws = np.random.default_rng(2)
    along, labels = draws.normal(size=300), draws.integers(0, 2, 300)
    labels[along > 0.5] = 1
    slopes, offsets = _fit(np.zeros((300, 2)), along, labels, np.array([1]), 0.01)
    known = np.stack([along, np.ones(300)], 1)
    oracle = LogisticRegression(C=1 / (0.01 * 300), fit_intercept=False, tol=1e-8).fit(known, labels)
    assert (slopes[1], offsets[1]) == pytest.approx(oracle.coef_[0], abs=1e-3) and slopes[0] == offsets[0] == 0


def test_the_reading_is_one_more_with_the_cause_and_zero_on_average():
    draws = np.random.default_rng(3)
    usual, absent = draws.normal(size=(100, 5)) + 3, draws.normal(size=(10, 5)) + 3
    present = absent + draws.normal(size=(10, 5)) + 1
    reading = _reading(usual, present, absent)
    assert (reading.along(present) - reading.along(absent)).mean() == pytest.approx(1)
    assert reading.along(np.concatenate([usual, absent])).mean() == pytest.approx(0, abs=1e-12)
    head, added = Head(draws.normal(size=(2, 5)), np.zeros(2)), np.array([[0.5, 0], [0.1, 0]])
    gained = usual @ (reading.edited(head, added).weight - head.weight).T + reading.edited(head, added).bias
    assert gained[:, 0] == pytest.approx(0.5 * reading.along(usual) + 0.1) and gained[:, 1] == pytest.approx(0)


def test_no_edit_helps_where_nothing_is():
    """A head that does not read the cause, a perfect model, and labels at random: the head stays as it is."""
    for seed in range(5):
        head, features, labels, has_cause = world(seed, strength=0.0)
        perfect = head.predicted(features)
        noise = np.random.default_rng(seed).integers(0, 3, len(labels))
        for answers in (labels, perfect, noise):
            result = repaired(head, features, answers, has_cause)
            assert not result.helps and result.head is head and result.reason.startswith("No edit helps.")
            assert result.table["mended"].sum() == result.table["broken"].sum() == 0
            assert actions(result, "the stamp", ["x"], "all errors") == []


def test_the_action_holds_the_held_out_figures():
    result = repaired(*world(0))
    (action,) = actions(result, "the region", ["x.png", "y.png"], "cars")
    assert action.kind == "edit the head" and action.estimate == result.reason and action.about == "cars"
    assert f"{result.table.iloc[0]['accuracy after']:.1%} after" in action.estimate


def test_one_class_two_pictures_and_what_does_not_fit_are_answered_or_refused():
    head, features, labels, has_cause = world(4)
    one_class = repaired(head, features, np.zeros_like(labels), has_cause)
    assert np.isfinite(one_class.table["change"]).all()
    few = repair(head, features[:4], labels[:4], features[5:9] + 1, features[5:9], CLASSES)
    assert not few.helps
    with pytest.raises(BadRequest, match="at least two pictures in the half"):
        repair(head, features[:2], labels[:2], features[5:9] + 1, features[5:9], CLASSES)
    for changes, words in (
        ({"with_cause": features[:2], "without_cause": features[:2], "places": ()}, "must be pairs, and at least 3"),
        ({"without_cause": features[:40]}, "must be pairs, and at least 3"),
        ({"with_cause": features[:9], "without_cause": features[:9], "places": ()}, "are the same"),
        ({"places": range(len(labels))}, "half on which the repair is measured"),
    ):
        with pytest.raises(BadRequest, match=words):
            repaired(head, features, labels, has_cause, **changes)
    with pytest.raises(BadRequest, match="each picture needs one"):
        repaired(head, features, labels[:-1], has_cause[:-1])


def test_the_classes_spoken_for_are_answered_more_often_with_the_cause():
    head = Head(np.eye(3), np.zeros(3))
    present, absent = np.eye(3)[[0, 0, 1]], np.eye(3)[[1, 2, 1]]
    assert _spoken_for(head, present, absent).tolist() == [0]
