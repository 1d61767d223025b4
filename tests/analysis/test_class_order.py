"""Classes that are confused lie together: planted groups are found, whatever the classes are called."""

import itertools

import numpy as np
import pandas as pd
import pytest

from xai_core.analysis import class_order
from xai_core.analysis.class_order import blocks, similar_order
from xai_core.analysis.confusion import pair_counts


def planted(classes: int, group: int, seed: int) -> tuple[pd.DataFrame, dict[str, int]]:
    """Predictions half of which are wrong, four fifths of these inside a group; and the group of each class."""
    draws = np.random.default_rng(seed)
    of = draws.permutation(classes) // group
    names = np.array([f"class {place:05d}" for place in range(classes)])
    members = [np.flatnonzero(of == number) for number in range(classes // group)]
    true = draws.integers(0, classes, 200 * classes)
    inside = np.array([members[of[place]][draws.integers(group)] for place in true])
    wrong = np.where(draws.random(len(true)) < 0.8, inside, draws.integers(0, classes, len(true)))
    predicted = np.where(draws.random(len(true)) < 0.5, true, wrong)
    table = pd.DataFrame({"true": names[true], "predicted": names[predicted], "confidence": 0.5})
    return table, dict(zip(names, of, strict=True))


@pytest.mark.parametrize("way", ["linkage", "eigenvectors", "centres"])
def test_planted_groups_stay_together(way, monkeypatch):
    if way != "linkage":
        monkeypatch.setattr(class_order, "DENSE", 10)
    if way == "centres":
        monkeypatch.setattr(class_order, "CENTRES", 40)
    table, group = planted(200, 10, 1)
    pairs = pair_counts(table)
    order = similar_order(pairs)
    assert sorted(order) == list(range(200))
    found = [group[pairs.classes[place]] for place in order]
    torn = sum(one != other for one, other in itertools.pairwise(found)) - 19
    assert torn == 0 if way != "centres" else torn < 40, "by chance 170 are torn"


def test_classes_without_an_error_come_last_and_nothing_is_found_where_nothing_is():
    table = pd.DataFrame({"true": [*"aabbccd"], "predicted": [*"acbbcad"]})
    pairs = pair_counts(table)
    assert [pairs.classes[place] for place in similar_order(pairs)] == ["a", "c", "b", "d"]
    perfect = pd.DataFrame({"true": [*"ab"], "predicted": [*"ab"]})
    assert similar_order(pair_counts(perfect)).tolist() == [0, 1]
    assert not len(similar_order(pair_counts(perfect.head(0))))


def test_blocks_hold_each_class_once():
    order = np.random.default_rng(0).permutation(103)
    parts = blocks(order, 40)
    assert len(parts) == 40 and np.concatenate(parts).tolist() == order.tolist() and {len(part) for part in parts} == {2, 3}
    assert [len(part) for part in blocks(order[:3], 40)] == [1, 1, 1]
