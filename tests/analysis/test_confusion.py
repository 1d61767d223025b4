"""What is read from predictions, by hand."""

import numpy as np
import pandas as pd
import pytest
from small_predictions import TABLE

from xai_core.analysis.confusion import (
    OTHERS,
    calibration,
    changed,
    confusion,
    most_confused,
    per_class,
    with_names_of,
    worst_classes,
)

EMPTY = TABLE.iloc[:0]


def test_the_matrix():
    found = confusion(TABLE)
    assert found.classes == ("cat", "cow", "dog")
    assert found.counts.tolist() == [[1, 0, 2], [0, 1, 0], [0, 1, 1]]
    assert found.accuracy == 0.5
    assert np.allclose(found.rates, [[1 / 3, 0, 2 / 3], [0, 1, 0], [0, 0.5, 0.5]])
    assert np.isnan(confusion(TABLE, ("cat", "cow", "dog", "emu")).rates[3]).all()


def test_two_hundred_classes_become_the_worst_and_the_rest():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 200, 5000)
    predicted = np.where(draw.random(5000) < 0.8, labels, draw.integers(0, 200, 5000))
    table = pd.DataFrame({"path": range(5000), "true": labels.astype(str), "predicted": predicted.astype(str)})
    whole, part = confusion(table), worst_classes(confusion(table), 30)
    assert part.counts.shape == (30, 30) and part.classes[-1] == OTHERS and part.counts.sum() == whole.counts.sum()
    errors = (whole.counts - np.diag(np.diag(whole.counts))).sum(0) + (whole.counts - np.diag(np.diag(whole.counts))).sum(1)
    kept = [whole.classes.index(name) for name in part.classes[:-1]]
    assert errors[kept].min() >= np.delete(errors, kept).max()
    assert worst_classes(confusion(TABLE), 30).classes == ("cat", "cow", "dog")


def test_precision_and_recall_of_each_class():
    found = per_class(TABLE).set_index("class")
    assert found.loc["cat"].tolist()[:2] == [1.0, pytest.approx(1 / 3)]
    assert found.loc["dog", "precision"] == pytest.approx(1 / 3) and found.loc["dog", "recall"] == 0.5
    assert np.isnan(per_class(TABLE[TABLE["path"].isin(["2"])])["precision"][0])  # cat was never said


def test_the_most_confused_pairs():
    found = most_confused(TABLE)
    assert found[["true", "predicted", "pictures"]].values.tolist() == [["cat", "dog", 2], ["dog", "cow", 1]]
    assert found["share"].tolist() == [pytest.approx(2 / 3), 0.5] and found["confidence"][0] == pytest.approx(0.75)
    assert not len(most_confused(TABLE[TABLE["true"] == TABLE["predicted"]]))


def test_a_filter_by_what_was_predicted_changes_no_share():
    wrong = TABLE[TABLE["true"] != TABLE["predicted"]]
    pairs = most_confused(wrong, counted=TABLE)
    assert pairs[["pictures", "of"]].values.tolist() == [[2, 3], [1, 2]]
    assert pairs["share"].tolist() == [pytest.approx(2 / 3), 0.5]
    matrix = confusion(wrong, counted=TABLE)
    assert matrix.counts.sum() == 3 and matrix.accuracy == 0 and matrix.pictures.tolist() == [3, 1, 2]
    assert np.allclose(matrix.rates, [[0, 0, 2 / 3], [0, 0, 0], [0, 0.5, 0]])
    assert matrix.ordered([2, 0, 1]).pictures.tolist() == [2, 3, 1]
    assert worst_classes(matrix, 2).pictures.sum() == 6


def test_calibration_by_hand():
    bins, error = calibration(TABLE, 10)
    assert bins["pictures"].tolist() == [1, 1, 2, 2]  # (.3, .4], (.6, .7], (.8, .9], (.9, 1]
    assert bins["accuracy"].tolist() == [0, 0, 0.5, 1]
    assert error == pytest.approx((0.35 + 0.65 + 2 * 0.35 + 2 * 0.025) / 6)


@pytest.mark.parametrize("bins", [5, 10, 20])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it(bins):
    """Bins are (low, high]; a confidence of 0 is in the first."""
    edges = np.arange(1, bins + 1) / bins
    diagram, _ = calibration(pd.DataFrame({"true": "a", "predicted": "a", "confidence": edges}), bins)
    assert diagram["high"].tolist() == edges.tolist() and diagram["pictures"].tolist() == [1] * bins
    above = pd.DataFrame({"true": "a", "predicted": "a", "confidence": [0.0, *(edges[:-1] + 1e-9)]})
    assert calibration(above, bins)[0]["low"].tolist() == [0, *edges[:-1]]


def test_a_perfectly_calibrated_model_has_no_error():
    confidence = np.repeat([0.25, 0.75], 400)
    right = np.tile(np.arange(400) % 4, 2) < np.repeat([1, 3], 400)
    table = pd.DataFrame({"true": "a", "predicted": np.where(right, "a", "b"), "confidence": confidence})
    assert calibration(table, 10)[1] == pytest.approx(0, abs=1e-12)


def test_what_another_model_changes():
    second = TABLE.assign(predicted=["dog", "cat", "dog", "dog", "cat", "cow"])
    found = changed(TABLE, second)
    assert found[["path", "change"]].values.tolist() == [["1", "new error"], ["2", "fixed"], ["5", "another error"]]


def test_each_model_is_judged_by_its_own_names_of_the_classes():
    """The second model calls the cat 'tabby': a right answer under another name is no difference."""
    second = TABLE.replace({"true": {"cat": "tabby"}, "predicted": {"cat": "tabby"}})
    right = TABLE["true"] == TABLE["predicted"]
    assert right.any() and not set(changed(TABLE, second)["path"]) & set(TABLE["path"][right])
    assert set(changed(TABLE, second)["change"]) <= {"another error"}
    fixed = second.assign(predicted=second["true"])
    assert changed(TABLE, fixed)["change"].tolist() == ["fixed"] * int((~right).sum())


def test_two_models_may_have_other_names_for_one_class():
    """What is right is read in each model's own table, and its classes have the names of the first model."""
    second = TABLE.assign(predicted=["dog", "cat", "dog", "dog", "cat", "cow"])
    names = {"cat": "cat, house cat", "dog": "dog, hound", "cow": "cattle"}
    other = second.assign(**{column: second[column].replace(names) for column in ("true", "predicted")})
    pd.testing.assert_frame_equal(with_names_of(TABLE, other), second)
    pd.testing.assert_frame_equal(changed(TABLE, with_names_of(TABLE, other)), changed(TABLE, second))
    swapped = TABLE.assign(true=TABLE["true"].replace({"dog": "hound"}), predicted="dog")  # two classes never become one
    assert with_names_of(TABLE, swapped).equals(swapped)
    one_class = TABLE.assign(true="animal", predicted="animal")  # right everywhere, by a coarser list of classes
    assert with_names_of(TABLE, one_class).equals(one_class) and set(changed(TABLE, one_class)["change"]) == {"fixed"}
    assert len(changed(TABLE, one_class)) == (TABLE["true"] != TABLE["predicted"]).sum()


def test_no_pictures_are_no_obstacle():
    assert np.isnan(confusion(EMPTY, ("a", "b")).accuracy) and np.isnan(calibration(EMPTY)[1])
    assert not len(most_confused(EMPTY)) and not len(changed(EMPTY, EMPTY))
