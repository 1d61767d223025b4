"""What relabelling changes: against a calculation by hand, planted errors, and a table that opens as a dataset."""

import numpy as np
import pandas as pd
import pytest
from blobs import blobs

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import labels_csv, open_dataset
from xai_core.data.sample_list import Labelled
from xai_core.failures.head_edits import paired_interval
from xai_core.failures.label_triage import Triage, triage
from xai_core.failures.relabelling import relabel_action, relabel_estimate, relabelled

TABLE = pd.DataFrame(
    {
        "picture": range(6), "label": list("aabbba"), "suggested": list("abaaba"), "other": "",
        "score": [0.1, 0.8, 0.9, 0.4, 0.0, np.nan], "self confidence": 0.5, "votes": 0.5,
        "flagged": [False, True, True, False, False, False], "ambiguous": False, "outlier": False,
    }
)  # fmt: skip
JUDGED = Triage(TABLE, pd.DataFrame(), np.zeros((2, 2), np.int64), ("a", "b"), ())


def test_the_estimate_is_that_of_a_calculation_by_hand():
    #     label  a a b b b a; suggested a b a a b a; the pictures 1 and 2 are flagged
    answers = ["a", "b", "b", "a", "b", "a"]
    result = relabel_estimate(answers, JUDGED)
    assert result.accuracy_before == 4 / 6 and result.accuracy_after == 4 / 6 and (result.mended, result.broken) == (1, 1)
    assert result.expected == pytest.approx((0.9 + 0.8 + 0.1 + 0.4 + 1 + 1) / 6)
    assert (result.low, result.high) == paired_interval(1, 1, 6) and result.low < 0 < result.high
    assert (result.pictures, result.relabelled) == (6, 2)
    assert (
        "66.7% before and 66.7% after (change +0.0 points" in result.reason and "suggestions are not truth" in result.reason
    )


def test_only_the_suggestions_that_are_taken_count():
    answers = ["a", "b", "b", "a", "b", "a"]
    one = relabel_estimate(answers, JUDGED, [1])
    assert one.accuracy_after == 5 / 6 and (one.mended, one.broken, one.relabelled) == (1, 0, 1)
    assert relabel_estimate(answers, JUDGED, [1, 1]) == one, "a picture that is named twice counts once"
    none = relabel_estimate(answers, JUDGED, [])
    assert none.accuracy_after == none.accuracy_before and none.reason.startswith("No label is changed")


@pytest.mark.parametrize("seed", range(3))
def test_what_is_expected_on_right_labels_is_near_the_truth(seed):
    """The model errs at random, where the labels do not, so that no error of a suggestion hides another one. A third of the
    wrong labels is not flagged: the accuracy with the suggestions stays below the truth, what is expected is nearer."""
    features, labels, true = blobs(noise=0.06, apart=5, seed=seed)
    draws = np.random.default_rng(seed)
    answers = np.where(draws.random(len(true)) < 0.1, "class 0", true)
    result = relabel_estimate(answers, triage(features, labels, seed=seed))
    real = (answers == true).mean()
    assert result.accuracy_before + 0.02 < result.accuracy_after < real, "wrong labels make a model look worse"
    assert result.expected == pytest.approx(real, abs=0.015) and result.accuracy_after == pytest.approx(real, abs=0.02)
    assert result.expected > result.accuracy_after and result.low > 0


def test_nothing_is_gained_where_no_label_is_wrong():
    features, labels, _ = blobs(apart=12)
    result = relabel_estimate(labels, triage(features, labels))
    assert result.accuracy_before == result.accuracy_after == 1 and result.relabelled == 0 and result.mended == 0
    assert result.expected == pytest.approx(1, abs=1e-3)


def test_without_a_judgement_the_accuracy_stays_as_it_is():
    labels = ["cat"] * 10
    result = relabel_estimate(["cat"] * 9 + ["dog"], triage(np.zeros((10, 3)), labels))
    assert result.accuracy_before == result.accuracy_after == result.expected == 0.9


def test_the_action_lists_the_flagged_pictures_and_says_how_many_flags_are_expected_to_be_wrong():
    predictions = pd.DataFrame({"path": list("uvwxyz"), "true": list("aabbba"), "predicted": list("abbaba")})
    action = relabel_action(predictions, JUDGED, seed=3)
    assert action.kind == "relabel" and action.title == "Check 2 labels" and action.settings == {"seed": 3}
    assert action.paths == ("w", "v") and action.columns["suggested label"] == ("a", "b")
    assert action.reason.startswith("A probe and the nearest neighbours contradict 2 of 5 labels; 0 of these flags")
    assert action.estimate == relabel_estimate(predictions["predicted"].tolist(), JUDGED).reason
    unflagged = Triage(TABLE.assign(flagged=False), *list(vars(JUDGED).values())[1:])
    assert relabel_action(predictions, unflagged, 0) is None


@pytest.mark.parametrize(
    ("answers", "places", "message"),
    [(["a"] * 5, None, "5 answers and 6 labels"), (["a"] * 6, [6], "places 0 to 5"), (["a"] * 6, [-1], "places 0 to 5")],
)
def test_what_does_not_fit_together_is_refused(answers, places, message):
    with pytest.raises(BadRequest, match=message):
        relabel_estimate(answers, JUDGED, places)
    with pytest.raises(BadRequest, match="0 answers and 0 labels"):
        relabel_estimate([], triage(np.zeros((0, 3)), []))


def test_the_corrected_table_has_all_pictures_in_the_dataset_s_own_words(tmp_path):
    """A class has the label that the dataset has for it, and the table opens as a dataset; names that a spreadsheet would
    take for a formula, or that hold a comma, stay as they are."""
    samples = [Labelled(f"{name}.png", label) for name, label in zip("abc", ("katze", "hund", "wolf"), strict=True)]
    samples += [Labelled("=1+1, b.png", "hund"), Labelled("not classified.png", "igel")]
    predictions = pd.DataFrame({"label": ["katze", "hund", "hund"], "true": ["cat", "dog", "dog"]})
    lines = relabelled(samples, predictions, {"a.png": "dog"})
    assert [label for _, label in lines] == ["hund", "hund", "wolf", "hund", "igel"]
    (tmp_path / "relabelled.csv").write_bytes(labels_csv(lines))
    opened = open_dataset(tmp_path / "relabelled.csv")
    assert [(one.name, one.label) for one in opened.samples] == lines
