"""Selective prediction: curves by hand, a closed form, thresholds held out, and nothing where nothing is."""

import numpy as np
import pytest

from xai_core.core.errors import BadRequest
from xai_core.failures.abstention import abstain, actions, risk_coverage


def test_the_curve_is_that_of_a_calculation_by_hand():
    curve = risk_coverage([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
    assert curve.points["coverage"].tolist() == [0.25, 0.5, 0.75, 1]
    assert curve.points["risk"].tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert curve.best_area == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)


def test_answers_of_equal_confidence_are_one_point_and_their_order_changes_nothing():
    one, other = (risk_coverage([0.5] * 4, right) for right in ([True, True, False, False], [False, True, False, True]))
    assert one.points["answered"].tolist() == [4] and one.area == other.area == 0.5


def calibrated(count=20_000, seed=0):
    """Uniform confidences c, and answers that are right with probability c."""
    draws = np.random.default_rng(seed)
    confidence = draws.random(count)
    return confidence, draws.random(count) < confidence


def test_uniform_calibrated_confidences_have_the_area_and_threshold_of_the_closed_form():
    confidence, right = calibrated()
    # answered from t on: risk = (1 - t) / 2 = coverage / 2; the mean over coverages is 1 / 4
    assert risk_coverage(confidence, right).area == pytest.approx(0.25, abs=0.01)
    result = abstain(confidence, right, 0.1)
    assert result.threshold == pytest.approx(0.8, abs=0.03)
    measured = result.measured.iloc[0]
    assert measured["low"] <= 0.1 + 0.02 and measured["risk"] == pytest.approx(0.1, abs=0.02)


def test_the_threshold_is_measured_on_pictures_that_did_not_choose_it():
    confidence, right = calibrated(400)
    result = abstain(confidence, right, 0.2, seed=3)
    assert not set(result.chosen_on) & set(result.measured_on)
    assert len(result.chosen_on) + len(result.measured_on) == 400
    held_out = result.measured_on[confidence[result.measured_on] >= result.threshold]
    row = result.measured.iloc[0]
    assert (row["answered"], row["wrong"]) == (len(held_out), (~right[held_out]).sum())


def test_groups_add_up_to_all():
    confidence, right = calibrated(400)
    table = abstain(confidence, right, 0.2, groups=["a", "b"] * 200).measured.set_index("group")
    for column in ("pictures", "answered", "wrong"):
        assert table.loc["all", column] == table.loc["a", column] + table.loc["b", column]


def test_the_wanted_rate_lies_in_the_interval_about_as_often_as_it_says():
    hits = 0
    for seed in range(40):
        row = abstain(*calibrated(2_000, seed), 0.2, seed=seed).measured.iloc[0]
        hits += row["low"] <= 0.2 <= row["high"]
    assert hits >= 30  # less than 95%: the threshold was itself chosen on a sample


def test_a_perfect_model_answers_all():
    result = abstain(np.linspace(0.5, 1, 100), np.ones(100, bool), 0.05)
    assert result.measured.iloc[0]["risk"] == 0 and result.measured.iloc[0]["risk without"] == 0


def test_where_confidence_tells_nothing_no_threshold_is_promised():
    draws = np.random.default_rng(1)
    result = abstain(draws.random(2_000), draws.random(2_000) < 0.1, 0.05)
    assert result.measured.iloc[0]["coverage"] < 0.01
    nothing = abstain(draws.random(200), np.zeros(200, bool), 0.05)
    assert nothing.threshold == np.inf and nothing.reason.startswith("No threshold")


def test_two_pictures_and_one_class_are_measured_and_one_picture_is_refused():
    assert abstain([0.9, 0.8], [True, True], 0.1, groups=["a", "a"]).measured["pictures"].tolist() == [1, 1]
    with pytest.raises(BadRequest, match="at least two"):
        abstain([0.9], [True], 0.1)
    with pytest.raises(BadRequest, match="there must be some"):
        risk_coverage([], [])


def test_the_action_lists_what_is_below_the_threshold_the_least_confident_first():
    draws = np.random.default_rng(5)
    confidence = draws.random(400)
    right = draws.random(400) < confidence
    result = abstain(confidence, right, 0.2)
    paths = [f"{place}.png" for place in range(400)]
    (action,) = actions(result, confidence, paths)
    below = [place for place in np.argsort(confidence) if confidence[place] < result.threshold]
    assert action.paths == tuple(paths[place] for place in below) and action.estimate == result.reason
    assert action.columns["confidence"] == tuple(confidence[below])


def test_there_is_no_action_where_a_threshold_gains_nothing():
    confidence = np.random.default_rng(6).random(100)
    always_right = abstain(confidence, np.ones(100, bool), 0.2)
    assert actions(always_right, confidence, ["x"] * 100) == []
    never_right = abstain(confidence, np.zeros(100, bool), 0.2)
    assert not np.isfinite(never_right.threshold) and actions(never_right, confidence, ["x"] * 100) == []
