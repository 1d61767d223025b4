"""Groups of errors: found on one half of the pictures, tested on the other."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact
from statsmodels.stats.multitest import multipletests

from xai_core.core.errors import BadRequest
from xai_core.failures.error_groups import differences, groups

CLASSES = np.array(["boat", "car", "tent", "tree"])


def made(n=1_200, seed=0, planted=True, error_rate=0.08):
    """Predictions with a random 8% of errors, where `planted` also nearly all red tents at night; and attributes."""
    draws = np.random.default_rng(seed)
    true = draws.choice(CLASSES, n)
    attributes = pd.DataFrame(
        {
            "time": draws.choice(["day", "dusk", "night"], n),
            "colour": draws.choice(["red", "blue", "white"], n),
            "size": draws.uniform(0, 1, n),
        }
    )
    wrong = draws.random(n) < error_rate
    group = (true == "tent") & (attributes["time"] == "night") & (attributes["colour"] == "red")
    if planted:
        wrong |= group & (draws.random(n) < 0.9)
    other = (np.searchsorted(CLASSES, true) + draws.integers(1, 4, n)) % 4
    predicted = np.where(wrong, CLASSES[other], true)
    features = draws.normal(size=(n, 16)) + 5 * group.to_numpy()[:, None] * (np.arange(16) == 3)
    return pd.DataFrame({"true": true, "predicted": predicted}), attributes, features, group.to_numpy()


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_subgroup_is_among_the_first_three_and_confirmed(seed):
    rows, attributes, _, planted = made(seed=seed)
    result = groups(rows, attributes, seed=seed)
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    hits = [(wrong & planted)[members].sum() > 0.5 * wrong[members].sum() for members in result.members[:3]]
    assert any(hits) and result.table["confirmed"][hits.index(True)]
    assert {name for name, _ in result.conditions[hits.index(True)]} <= {"time", "colour", "label"}


def test_a_cluster_of_features_finds_what_no_attribute_tells():
    rows, _, features, planted = made()
    result = groups(rows, None, features)
    first = result.table.iloc[0]
    assert first["confirmed"] and "features" in first["group"]
    assert planted[result.members[0]].mean() > 0.9


def test_at_most_one_group_in_twenty_passes_where_errors_are_random():
    passed = tested = 0
    for seed in range(12):
        rows, attributes, features, _ = made(seed=seed, planted=False)
        table = groups(rows, attributes, features, seed=seed).table
        passed, tested = passed + int(table["confirmed"].sum()), tested + len(table)
    assert tested > 100 and passed <= 0.05 * tested


def test_the_figures_are_those_of_scipy_and_statsmodels_on_the_held_out_half():
    rows, attributes, features, _ = made()
    result = groups(rows, attributes, features)
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    for row, members in zip(result.table.itertuples(index=False), result.members, strict=True):
        fields = dict(zip(result.table.columns, row, strict=True))
        inside = np.isin(np.arange(len(rows)), members)
        of = [[(part & result.held_out).sum() for part in (side & wrong, side & ~wrong)] for side in (inside, ~inside)]
        assert fields["tested errors"] == of[0][0] and fields["tested pictures"] == sum(of[0])
        assert fields["p"] == pytest.approx(fisher_exact(of, alternative="greater").pvalue, abs=1e-12)
        assert fields["rate outside"] == pytest.approx(of[1][0] / sum(of[1]))
        assert fields["at stake"] == pytest.approx(100 * (inside & wrong).sum() / len(rows))
    corrected = multipletests(result.table["p"], method="holm")[1]
    np.testing.assert_allclose(result.table["p corrected"], corrected, atol=1e-12)


def test_the_held_out_half_does_not_suggest_groups():
    """Attributes of its pictures change places: the same groups are tested, but what they say is no longer so."""
    rows, attributes, _, planted = made()
    before = groups(rows, attributes)
    held = np.flatnonzero(before.held_out)
    mixed = attributes.copy()
    mixed.iloc[held] = attributes.iloc[np.random.default_rng(1).permutation(held)].to_numpy()
    after = groups(rows, mixed)
    assert set(after.conditions) == set(before.conditions) and len(before.conditions) > 10
    place = next(number for number, members in enumerate(before.members) if planted[members].mean() > 0.3)
    mate = after.conditions.index(before.conditions[place])
    columns = ["found on pictures", "found on errors"]
    assert before.table.loc[place, columns].tolist() == after.table.loc[mate, columns].tolist()
    assert before.table.loc[place, "p"] < after.table.loc[mate, "p"]


def test_a_predicted_class_is_not_joined_with_the_label_nor_with_what_tells_it():
    rows, attributes, _, _ = made()
    named = attributes.assign(thing=rows["true"])
    for conditions in groups(rows, named).conditions:
        names = {name for name, _ in conditions}
        assert "predicted" not in names or not names & {"label", "thing"}


def test_a_group_with_fewer_than_five_held_out_pictures_is_not_confirmed():
    """Where errors are rare, few pictures that are all wrong are improbable enough; they prove nothing all the same."""
    n = 5_000
    predicted = np.array(["boat"] * n)
    predicted[:20] = "car"
    rows, known = pd.DataFrame({"true": "boat", "predicted": predicted}), pd.DataFrame({"rare": np.arange(n) < 8})
    tables = [groups(rows, known, seed=seed).table for seed in range(20)]
    few = pd.concat([table[table["tested pictures"] < 5] for table in tables])
    assert (few["p corrected"] < 0.05).sum() > 3
    assert not few["confirmed"].any()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"true": ["a"] * 50, "predicted": ["a"] * 50}, "no errors"),
        ({"true": ["a"] * 50, "predicted": ["b"] * 50}, "no group can have more errors"),
        ({"true": ["a", "b"], "predicted": ["a", "a"]}, "There are 1 errors"),
        ({"true": [], "predicted": []}, "no errors"),
        ({"true": ["a"] * 60, "predicted": ["a"] * 40 + ["b"] * 20}, "none was tested"),
    ],
    ids=["perfect", "always wrong", "two pictures", "none", "one class"],
)
def test_nothing_is_found_where_nothing_is_and_it_is_said(rows, words):
    result = groups(pd.DataFrame(rows, dtype=object))
    assert not len(result.table) and words in " ".join(result.reasons)


def test_rows_of_another_number_are_refused():
    rows, attributes, features, _ = made(100)
    with pytest.raises(BadRequest, match="50 rows of features"):
        groups(rows, attributes, features[:50])


def test_differences_are_counted_by_hand():
    known = pd.DataFrame({"time": ["day", "night", "night", "day"], "label": ["a", "a", "b", "b"]}, dtype="category")
    assert differences(known, np.array([False, True, True, False])) == "time night 100% (outside 0%)"
