"""Which pictures make a round: exactly those that the sentence beside them says."""

import numpy as np
import pandas as pd
import pytest
from small_predictions import TABLE

from xai_core.core.errors import BadRequest
from xai_core.review import selection


def many(count: int = 400) -> pd.DataFrame:
    """Predictions drawn by chance; one in ten has no true class."""
    generator = np.random.default_rng(0)
    true = generator.choice(["cat", "dog", "cow"], count).astype(object)
    true[::10] = None
    return pd.DataFrame(
        {
            "path": [f"{number}.png" for number in range(count)], "true": true,
            "predicted": generator.choice(["cat", "dog", "cow"], count), "confidence": generator.random(count),
        }
    )  # fmt: skip


def test_the_most_confident_errors_are_the_first_errors_by_confidence() -> None:
    rows, source = selection.most_confident_errors(TABLE, 2)
    assert list(rows["path"]) == ["3", "2"]
    assert source == "The 2 most confident of the 3 errors among 6 pictures with a true class."


def test_pictures_without_a_true_class_are_no_errors_and_the_sentence_counts_them_apart() -> None:
    table = many()
    rows, source = selection.errors(table)
    expected = {row.path for row in table.itertuples() if isinstance(row.true, str) and row.true != row.predicted}
    assert set(rows["path"]) == expected
    assert rows["confidence"].is_monotonic_decreasing
    assert source == f"All {len(expected)} errors among 360 pictures with a true class (of 400)."


def test_a_cell_holds_one_confusion_of_all_pictures_of_its_class() -> None:
    rows, source = selection.cell(TABLE, "cat", "dog")
    assert list(rows["path"]) == ["3", "2"]
    assert source == "The 2 of 3 pictures of the class 'cat' that are predicted as 'dog'."


def test_controls_are_right_ones_and_drawn_by_the_seed_alone() -> None:
    table = many()
    rows, source = selection.controls(table, 20, seed=7)
    assert (rows["true"] == rows["predicted"]).all() and len(rows) == 20
    right = int((table["true"] == table["predicted"]).sum())
    assert source == f"As a control, 20 of the {right} rightly predicted pictures, drawn by chance (seed 7)."
    shuffled = table.sample(frac=1, random_state=3)
    assert list(selection.controls(shuffled, 20, seed=7).rows["path"]) == list(rows["path"])
    assert list(selection.controls(table, 20, seed=8).rows["path"]) != list(rows["path"])


def test_a_sample_has_no_more_pictures_than_there_are_and_says_so() -> None:
    rows, source = selection.sample(many(), 1_000, seed=0)
    assert len(rows) == 360
    assert source == "360 of 360 pictures with a true class (of 400), drawn by chance (seed 0)."


def test_equal_confidences_are_ordered_by_the_path_not_by_the_order_of_the_rows() -> None:
    table = many(60).assign(confidence=0.5)
    first = selection.most_confident_errors(table, 5).rows["path"]
    assert list(first) == list(selection.most_confident_errors(table[::-1], 5).rows["path"])


def test_several_selections_hold_each_picture_once_and_their_order_does_not_tell_which_are_the_controls() -> None:
    table = many()
    wrong, right = selection.most_confident_errors(table, 20), selection.controls(table, 20, 1)
    both = selection.together([wrong, right, wrong], seed=1)
    assert sorted(both.rows["path"]) == sorted([*wrong.rows["path"], *right.rows["path"]])
    is_control = both.rows["path"].isin(right.rows["path"])
    assert 0 < is_control[:20].sum() < 20
    assert both.source == f"{wrong.source} {right.source} {wrong.source}"
    assert list(selection.together([wrong], seed=1).rows["path"]) == list(wrong.rows["path"])


def test_chosen_pictures_keep_the_order_in_which_they_are_listed() -> None:
    rows, source = selection.chosen(TABLE, ["5", "2"], "true class is cat or dog")
    assert list(rows["path"]) == ["5", "2"]
    assert source == "2 pictures of 6: true class is cat or dog."
    with pytest.raises(BadRequest, match="no predictions of 1 of the pictures, such as nowhere"):
        selection.chosen(TABLE, ["5", "nowhere"], "a link")


def test_a_selection_of_nothing_is_refused() -> None:
    with pytest.raises(BadRequest, match="at least one picture, not 0"):
        selection.most_confident_errors(TABLE, 0)


def test_parts_are_combined_and_without_any_it_is_all_errors() -> None:
    table = many()
    expected = set(selection.errors(table).rows["path"])
    assert set(selection.combined(table).rows["path"]) == expected
    with_controls = selection.combined(table, control=5, seed=2)
    assert set(with_controls.rows["path"]) == expected | set(selection.controls(table, 5, 2).rows["path"])
    assert list(selection.combined(table, of_cell=("cat", "dog")).rows["path"]) == list(
        selection.cell(table, "cat", "dog").rows["path"]
    )
    assert len(selection.combined(table, most_confident=4, drawn=0).rows) == 4
