"""Label triage: the confident joint against a calculation by hand, planted errors, and nothing where there is nothing."""

import numpy as np
import pytest
from blobs import blobs

from xai_core.core.errors import BadRequest
from xai_core.failures.label_triage import (
    calibrated_joint,
    confident_joint,
    label_rates,
    out_of_sample,
    probability_of_label,
    sharpened,
    triage,
    true_probabilities,
)

FIRST = np.array([0.9, 0.8, 0.2, 0.3, 0.1, 0.6])  # probabilities of class 0
TABLE, CODES = np.stack([FIRST, 1 - FIRST], 1), np.array([0, 0, 0, 1, 1, 1])


def test_the_confident_joint_is_that_of_a_calculation_by_hand():
    joint, confident = confident_joint(TABLE, CODES)
    # thresholds: (.9 + .8 + .2) / 3 = .633 and (.7 + .9 + .4) / 3 = .667; the last picture reaches neither
    assert confident.tolist() == [0, 0, 1, 1, 1, -1]
    assert joint.tolist() == [[2, 1], [0, 2]]
    assert calibrated_joint(joint, np.array([3, 3])).tolist() == [[2, 1], [0, 3]]


def test_the_probability_of_a_label_is_that_of_a_calculation_by_hand():
    rates = label_rates(np.array([[2, 1], [0, 2]]), np.array([3, 3]))
    assert rates == pytest.approx(np.array([[2.5 / 3, 1.5 / 5], [0.5 / 3, 3.5 / 5]]))
    true = true_probabilities(TABLE, rates)
    # determinant .5333; third picture: (.2 * .7 - .3 * .8) < 0; last: (.6 * .7 - .3 * .4) / .5333 = .5625
    assert true[2] == pytest.approx([0, 1]) and true[5] == pytest.approx([0.5625, 0.4375])
    right = probability_of_label(true, CODES, rates)
    assert right[[2, 3]] == pytest.approx([0, 1], abs=1e-9)
    assert right[5] == pytest.approx(0.7 * 0.4375 / (0.5625 / 6 + 0.7 * 0.4375))


def test_probabilities_are_sharpened_until_they_are_calibrated():
    draws = np.random.default_rng(2)
    calibrated = draws.dirichlet([0.3] * 4, 4000)
    codes = (draws.random((4000, 1)) > calibrated.cumsum(1)).sum(1)
    flat = np.sqrt(calibrated) / np.sqrt(calibrated).sum(1, keepdims=True)
    assert np.abs(sharpened(flat, codes) - calibrated).max() < 0.05 < np.abs(flat - calibrated).max()


def test_of_several_confident_classes_the_most_probable_counts():
    table = np.array([[0.5, 0.4, 0.1], [0.3, 0.4, 0.3], [0.4, 0.3, 0.3]])
    _, confident = confident_joint(table, np.array([0, 1, 2]))
    assert confident.tolist() == [0, 1, 2], "the thresholds are .5, .4 and .3"
    _, confident = confident_joint(np.array([[0.4, 0.6], [0.5, 0.5], [0.9, 0.1]]), np.array([0, 1, 1]))
    assert confident.tolist() == [1, 0, 0], "the thresholds are .4 and .3"


def test_no_picture_is_judged_by_a_probe_that_has_seen_its_label():
    features, labels, _ = blobs(count=100, apart=2)
    codes = np.unique(labels, return_inverse=True)[1]
    before = out_of_sample(features, codes, 5, 0)
    far = out_of_sample(np.where(np.arange(100)[:, None] == 0, 1e3, features).astype(np.float32), codes, 5, 0)
    assert before.sum(1) == pytest.approx(np.ones(100)) and before.shape == (100, 5)
    own_fold = np.isclose(before, far).all(1)
    assert 15 <= own_fold.sum() <= 20, "only the probe of its own fold has not seen the picture that changed"


@pytest.mark.parametrize("seed", range(3))
def test_planted_errors_are_flagged_and_corrected(seed):
    features, labels, true = blobs(noise=0.05, apart=5, seed=seed)
    result = triage(features, labels, seed=seed)
    flags, wrong = result.flags, labels != true
    right_flags = wrong[flags["picture"]]
    assert right_flags.mean() >= 0.9 and right_flags.sum() >= 0.65 * wrong.sum()
    assert (flags["suggested"].to_numpy() == true[flags["picture"]])[right_flags].mean() >= 0.95
    assert abs(result.expected_wrong_flags - (~right_flags).sum()) <= 5
    assert result.expected_wrong_labels == pytest.approx(wrong.sum(), abs=10)
    assert flags["score"].is_monotonic_decreasing and result.pictures["score"].between(0, 1).all()
    assert not result.reasons and result.classes == tuple(np.unique(labels))


def test_a_table_has_a_row_for_each_picture_and_is_the_same_again():
    features, labels, _ = blobs(count=300, noise=0.05)
    first, again = triage(features, labels, seed=3), triage(features, labels, seed=3)
    assert first.pictures["picture"].tolist() == list(range(300)) and first.pictures["label"].tolist() == labels.tolist()
    assert first.pictures.equals(again.pictures) and (first.joint == again.joint).all()


def test_pictures_between_two_blobs_are_ambiguous():
    features, labels, _ = blobs(count=600, classes=3)
    centres = [features[labels == name].mean(0) for name in ("class 0", "class 1")]
    draws = np.random.default_rng(1)
    between = np.mean(centres, 0) + 0.3 * draws.normal(size=(40, features.shape[1]))
    result = triage(np.concatenate([features, between]), [*labels, *np.tile(["class 0", "class 1"], 20)])
    assert result.pictures["ambiguous"][600:].mean() > 0.5 and result.pictures["ambiguous"][:600].mean() < 0.02
    both = result.pictures[result.pictures["ambiguous"]].iloc[-10:]
    assert {*both["label"]} | {*both["other"]} == {"class 0", "class 1"} and (both["label"] != both["other"]).all()
    assert (result.pictures["other"][~result.pictures["ambiguous"]] == "").all()


def test_near_duplicates_with_different_labels_are_pairs():
    features, labels, _ = blobs(count=300)
    copies = features[[10, 21]] + 0.001
    result = triage(np.concatenate([features, copies]), [*labels, "class 3", labels[21]])
    assert labels[10] == "class 0" and len(result.duplicates) == 1, "a copy with the same label is no conflict"
    (pair,) = result.duplicates.to_dict("records")
    assert (pair["first"], pair["second"], pair["first label"], pair["second label"]) == (10, 300, "class 0", "class 3")
    assert pair["cosine"] > 0.999


def test_a_picture_unlike_all_others_is_an_outlier():
    features, labels, _ = blobs(count=400)
    features[7] = 0
    features[7, -1] = 40  # a direction that no blob has
    outliers = triage(features, labels).pictures["outlier"]
    assert outliers[7] and outliers.sum() <= 3


@pytest.mark.parametrize("dimensions", [4, 16, 64])
def test_pictures_that_are_all_drawn_alike_have_no_outliers_and_no_near_duplicates(dimensions):
    """Of 3,200 pictures of each size, one is an outlier at most."""
    found = 0
    for seed in range(4):
        features, labels, _ = blobs(classes=4, apart=4, dimensions=dimensions, seed=seed)
        result = triage(features, labels)
        found += int(result.pictures["outlier"].sum())
        assert result.duplicates.empty
    assert found <= 1


RANDOM = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("features", "labels", "reason"),
    [
        (RANDOM.normal(size=(50, 8)), ["cat"] * 50, "fewer than two have 5 pictures"),
        (RANDOM.normal(size=(2, 8)), ["cat", "dog"], "fewer than two have 5 pictures"),
        (np.zeros((0, 8)), [], "fewer than two have 5 pictures"),
        (RANDOM.normal(size=(400, 32)), ["cat", "dog"] * 200, "not tell the labels apart better than chance"),
        (np.ones((60, 8)), ["cat", "dog", "bird"] * 20, "not tell the labels apart better than chance"),
        (blobs()[0], RANDOM.permutation(blobs()[1]), "not tell the labels apart better than chance"),
        (*blobs(apart=12)[:2], "no label is contradicted"),
    ],
    ids=[
        "one class",
        "two pictures",
        "no picture",
        "random features",
        "constant features",
        "random labels",
        "perfect labels",
    ],
)
def test_nothing_is_flagged_where_nothing_is(features, labels, reason):
    result = triage(features, labels)
    assert result.flags.empty and result.expected_wrong_flags == 0 and result.duplicates.empty
    assert any(reason in sentence for sentence in result.reasons)
    assert len(result.pictures) == len(labels) and result.pictures["picture"].tolist() == list(range(len(labels)))


def test_random_labels_are_hardly_ever_judged():
    features, labels, _ = blobs(count=200)
    judged = [len(triage(features, np.random.default_rng(seed).permutation(labels)).classes) > 0 for seed in range(20)]
    assert sum(judged) <= 1


def test_labels_with_few_pictures_are_not_judged():
    features, labels, _ = blobs(count=300, noise=0.05)
    result = triage(features, [*labels[:-2], "rare", "rare"])
    assert result.reasons == ("Not judged, because they have fewer than 5 pictures: rare.",)
    assert result.pictures["score"].isna().tolist() == [False] * 298 + [True] * 2 and len(result.ranked()) == 298
    assert result.pictures["suggested"].tolist()[-2:] == ["rare", "rare"] and "rare" not in result.classes


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((3, 2)), ["a", "b"], "one row of features for each label"),
        (np.zeros(3), ["a", "b", "c"], "one row of features for each label"),
        (np.array([[0.0], [np.nan]]), ["a", "b"], "not finite"),
        (np.zeros((2, 2)), ["a", ""], "no label"),
        (np.zeros((2, 2)), ["a", None], "no label"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_sentence(features, labels, message):
    with pytest.raises(BadRequest, match=message):
        triage(features, labels)


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"neighbours": 0}])
def test_folds_and_neighbours_have_bounds(wrong):
    with pytest.raises(BadRequest, match="at least two folds and one neighbour"):
        triage(*blobs(count=50)[:2], **wrong)
