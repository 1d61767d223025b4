"""Features that carry an answer, and unusual reasoning: sums, raw recomputation, planted features and planted outliers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.world_tools import answers
from xai_core.core.errors import BadRequest
from xai_core.core.settings import RESOURCES
from xai_core.data.predictions import read_predictions
from xai_core.data.world import planted as worlds
from xai_core.failures.class_features import (
    FEWEST_RIGHT,
    UNUSUAL,
    carrying_features,
    contributions,
    margin_contributions,
    most_activating,
    unusual_reasoning,
)
from xai_core.failures.halves import halves
from xai_core.failures.head_edits import Head
from xai_core.models.loading import load_model

DRAWS = np.random.default_rng(0)
HEAD = Head(DRAWS.normal(size=(3, 12)), DRAWS.normal(size=3))


def planted(seed=0, cause=2.0, count=600):
    """Features of three classes; of the pictures of class 0, a quarter have `cause` on feature 7, which then decides."""
    draws = np.random.default_rng(seed)
    true = np.arange(count) % 3
    weight = draws.normal(size=(3, 12)) * 0.1
    weight[[0, 1, 2], [0, 1, 2]] = 2.0
    weight[1, 7] = 3.0
    features = draws.normal(size=(count, 12)) * 0.5
    features[np.arange(count), true] += 2
    caused = np.flatnonzero((true == 0) & (draws.random(count) < 0.25))
    features[caused, 7] += cause
    head = Head(weight, np.zeros(3))
    return head, features, true, head.predicted(features), caused


def test_contributions_add_up_to_logits_and_margins():
    features, classes, rivals = DRAWS.normal(size=(20, 12)), DRAWS.integers(0, 3, 20), DRAWS.integers(0, 3, 20)
    logits, rows = features @ HEAD.weight.T + HEAD.bias, np.arange(20)
    assert contributions(HEAD, features, classes).sum(1) + HEAD.bias[classes] == pytest.approx(logits[rows, classes])
    margins = margin_contributions(HEAD, features, classes, rivals).sum(1) + HEAD.bias[classes] - HEAD.bias[rivals]
    assert margins == pytest.approx(logits[rows, classes] - logits[rows, rivals])
    assert most_activating(features, 4, 3).tolist() == sorted(range(20), key=lambda row: -features[row, 4])[:3]


def test_the_planted_feature_carries_the_answer_and_mends_it():
    head, features, true, predicted, _ = planted()
    errors = np.flatnonzero((true == 0) & (predicted == 1))
    result = carrying_features(head, features, true, predicted, errors)
    first = result.table.iloc[0]
    assert first["feature"] == 7 and first["speaks for"] == "the answer" and first["carries"] and first["share"] > 0.8
    assert result.mended > 0.9 * result.errors and result.random_mended < 0.5 * result.errors
    assert f"they mend {result.mended} of the {result.errors} errors" in result.sentence


def test_figures_are_those_of_raw_rows_of_the_half_that_chose_nothing():
    head, features, true, predicted, _ = planted(seed=3)
    errors = np.flatnonzero((true == 0) & (predicted == 1))
    result = carrying_features(head, features, true, predicted, errors, seed=4)
    tested = halves(len(true), 4)[1]
    wrong = np.intersect1d(errors, tested)
    right = tested[(true[tested] == 0) & (predicted[tested] == 0)]
    weights = head.weight[1] - head.weight[0]
    assert (result.errors, result.right) == (len(wrong), len(right))
    for _, row in result.table.iterrows():
        own, others = (weights[row["feature"]] * features[places, row["feature"]] for places in (wrong, right))
        assert row["errors"] == pytest.approx(own.mean()) and row["right"] == pytest.approx(others.mean())
        welch = stats.ttest_ind(own, others, equal_var=False, alternative="greater")
        assert row["difference"] / ((row["high"] - row["low"]) / 2) == pytest.approx(
            welch.statistic / stats.t.ppf(0.975, len(wrong) - 1)
        )
    margin = (features[wrong] @ weights).mean() - (features[right] @ weights).mean()
    assert result.margin == pytest.approx(margin)
    carry = result.table.loc[result.table["carries"].astype(bool), "feature"].to_numpy()
    changed = features[wrong].copy()
    changed[:, carry] = features[right][:, carry].mean(0)
    assert result.mended == (head.predicted(changed) == 0).sum()


def test_errors_at_random_have_no_feature_that_carries_them():
    """Answers that do not depend on the features: of 100 tested features, corrected by fives, about one passes."""
    passed = 0
    for seed in range(20):
        draws = np.random.default_rng(seed)
        features, true, predicted = draws.normal(size=(200, 12)), draws.integers(0, 3, 200), draws.integers(0, 3, 200)
        result = carrying_features(HEAD, features, true, predicted, np.arange(200), seed=seed)
        passed += result.table["carries"].any()
    assert passed <= 3


def test_right_pictures_reason_unusually_as_often_as_is_said():
    head, features, true, predicted, _ = planted(cause=0.0, count=900)
    result = unusual_reasoning(head, features, true, predicted)
    right = result.pictures[~result.pictures["wrong"]]
    assert (right["p"] <= UNUSUAL).mean() == pytest.approx(UNUSUAL, abs=0.02)
    assert right["p"].min() > 0 and right["p"].max() <= 1


def test_planted_outliers_are_the_most_unusual_and_prototypes_are_usual():
    """Four pictures, four times as strong in every feature, so that their answers stay."""
    head, features = Head(HEAD.weight, np.zeros(3)), np.random.default_rng(2).normal(size=(900, 12))
    outliers = np.array([10, 11, 12, 13])
    features[outliers] *= 4
    right = head.predicted(features)
    result = unusual_reasoning(head, features, right, right)
    assert set(outliers) <= set(result.ranked["picture"].head(12))
    likelihood = result.pictures.set_index("picture")["log likelihood"]
    assert (likelihood[result.prototypes["picture"]] > likelihood.median()).all()
    assert result.prototypes.groupby("class")["share"].sum().to_numpy() == pytest.approx(np.ones(3))


def test_two_ways_to_reason_are_two_components():
    draws = np.random.default_rng(1)
    features = draws.normal(size=(800, 12)) * 0.3 + 1
    way = draws.random(800) < 0.5
    features[way, 3] += 4
    features[~way, 4] += 4
    head = Head(np.repeat([[1.0], [0.2]], 12, axis=1), np.zeros(2))
    result = unusual_reasoning(head, features, np.zeros(800, int), np.zeros(800, int))
    assert len(result.prototypes) == 2
    assert {bool(way[place]) for place in result.prototypes["picture"]} == {True, False}


def test_pictures_with_the_mark_reason_unusually_in_the_planted_world():
    """The network knows the mark from cars alone. Pictures of other classes, drawn with the mark and without: those that are
    answered right all the same are improbable among the right answers of the test set."""
    model, rows = load_model("world_planted"), read_predictions(RESOURCES / "data" / "predictions" / "world_planted.parquet")
    head = Head(model.network.classify.weight.double().numpy(), model.network.classify.bias.double().numpy())
    broken = worlds.broken(worlds.planted(), "mark")
    drawn = [worlds.picture(broken, 0, "test", place) for place in range(45)]
    marked = [one for one in drawn if one.columns["mark"]][:18]
    plain = [replace(one, scene=replace(one.scene, mark=False)) for one in marked]
    new = [np.stack([row for _, _, row in answers(model, pictures)]) for pictures in (marked, plain)]
    true = np.array([model.class_index(one.truth[0]) for one in marked])
    features = np.concatenate([np.stack(rows["embedding"].to_list()), *new])
    labels = np.concatenate([rows["true_index"], true, true])
    predicted = head.predicted(features)
    # the drawn pictures are only scored: as right pictures they would be part of what is usual
    said = labels.copy()
    said[len(rows) :] = -1
    p = unusual_reasoning(head, features, said, predicted).pictures["p"].to_numpy()[len(rows) :].reshape(2, -1)
    right = (predicted[len(rows) :] == np.tile(true, 2)).reshape(2, -1).all(0)
    assert right.sum() >= 5
    assert (p[0][right] <= UNUSUAL).mean() >= 0.5 and (p[1][right] <= UNUSUAL).mean() <= 0.3
    assert np.median(p[0][right]) < 0.3 * np.median(p[1][right])


def test_nothing_is_compared_where_nothing_is():
    head, features, true, _, _ = planted()
    perfect = carrying_features(head, features, true, true, np.arange(600))
    assert not len(perfect.table) and "are needed" in perfect.sentence
    usual = unusual_reasoning(head, features, true, true)
    assert "no errors" in usual.sentence
    few = unusual_reasoning(head, features[:30], true[:30], true[:30])
    assert few.pictures["p"].isna().all() and f"fewer than {FEWEST_RIGHT}" in few.sentence
    none_right = carrying_features(head, features, true, (true + 1) % 3, np.arange(600))
    assert not len(none_right.table) and "0 in one half" in none_right.sentence
    two = unusual_reasoning(head, features[:2], true[:2], true[:2])
    assert two.pictures["p"].isna().all()
    with pytest.raises(BadRequest, match="reads 12 features"):
        carrying_features(head, features[:, :3], true, true, [0])
    with pytest.raises(BadRequest, match="predicted classes"):
        unusual_reasoning(head, features, true, true[:5])
