"""Groups of errors: found on one half of the pictures, tested on the other."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact
from statsmodels.stats.multitest import multipletests

from xai_core.core.errors import BadRequest
from xai_core.failures.error_groups import groups
from xai_core.failures.group_tests import confidence_ranges, differences, exact_p, expected_rate

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
    for seed in range(14):
        rows, attributes, features, _ = made(800, seed=seed, planted=False)
        table = groups(rows, attributes, features, seed=seed).table
        passed, tested = passed + int(table["confirmed"].sum()), tested + len(table)
    assert tested > 60 and passed <= 0.05 * tested


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
    assert set(after.conditions) == set(before.conditions) and len(before.conditions) > 5
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
        ({"true": ["a", "b"], "predicted": ["a", "a"]}, "There is 1 error;"),
        ({"true": [], "predicted": []}, "no errors"),
        ({"true": ["a"] * 60, "predicted": ["a"] * 40 + ["b"] * 20}, "none was tested"),
    ],
    ids=["perfect", "always wrong", "two pictures", "none", "one class"],
)
def test_nothing_is_found_where_nothing_is_and_it_is_said(rows, words):
    result = groups(pd.DataFrame(rows, dtype=object))
    assert not len(result.table) and words in " ".join(result.reasons)


def test_an_untrained_network_is_wrong_everywhere_alike():
    """Features without meaning and answers at random: nothing is confirmed."""
    draws = np.random.default_rng(0)
    true = draws.choice(CLASSES, 600)
    rows = pd.DataFrame({"true": true, "predicted": draws.choice(CLASSES, 600), "confidence": draws.uniform(0.25, 0.3, 600)})
    result = groups(rows, pd.DataFrame({"time": draws.choice(["day", "night"], 600)}), draws.normal(size=(600, 16)))
    assert not result.table["confirmed"].any() and "confirmed" in result.reasons[0]


def test_rows_of_another_number_are_refused():
    rows, attributes, features, _ = made(100)
    with pytest.raises(BadRequest, match="50 rows of features"):
        groups(rows, attributes, features[:50])


def test_differences_are_counted_by_hand():
    known = pd.DataFrame({"time": ["day", "night", "night", "day"], "label": ["a", "a", "b", "b"]}, dtype="category")
    assert differences(known, np.array([False, True, True, False])) == "time night 100% (outside 0%)"


def test_variants_of_a_large_group_do_not_hide_a_small_one():
    """All red tents are wrong, and so are a few boats on sand, which come second, not after ten slices of the red tents."""
    rows, attributes, _, _ = made(n=3_000, planted=False, error_rate=0.02)
    attributes["ground"] = np.where(np.random.default_rng(1).random(len(rows)) < 0.05, "sand", "grass")
    predicted = rows["predicted"].to_numpy().copy()
    large = ((rows["true"] == "tent") & (attributes["colour"] == "red")).to_numpy()
    small = ((rows["true"] == "boat") & (attributes["ground"] == "sand")).to_numpy()
    predicted[large | small] = "tree"
    result = groups(rows.assign(predicted=predicted), attributes)
    assert large[result.members[0]].mean() > 0.9
    assert small[result.members[1]].mean() > 0.9 and result.table["confirmed"][:2].all()


def test_clusters_of_maps_find_errors_whose_evidence_lies_in_a_corner():
    """Only errors and as many right pictures have a map; half of the errors lie on one corner."""
    draws = np.random.default_rng(0)
    rows, _, _, _ = made(planted=False, error_rate=0.15)
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    corner = wrong & (draws.random(len(rows)) < 0.5)
    mapped = wrong | (draws.random(len(rows)) < wrong.mean())

    def map_of(place):
        grid = draws.random((7, 7)) + 5 * np.exp(
            -((np.indices((7, 7)) - draws.integers(1, 5, 2)[:, None, None]) ** 2).sum(0)
        )
        grid[5:, 5:] += 20 * corner[place]
        return grid

    maps = [map_of(place) if mapped[place] else None for place in range(len(rows))]
    result = groups(rows, maps=maps)
    first = result.table.iloc[0]
    assert first["confirmed"] and first["group"].endswith("of the maps (of pictures with a map)")
    assert corner[result.members[0]].mean() > 0.95
    mean = result.mean_maps[0]
    assert mean.shape == (16, 16) and mean[12:, 12:].mean() > 5 * mean[:8, :8].mean()
    # rates are of pictures with a map, inside and outside
    inside = np.isin(np.arange(len(rows)), result.members[0])
    other = result.held_out & mapped & ~inside
    assert first["rate outside"] == pytest.approx((other & wrong).sum() / other.sum())
    assert first["tested pictures"] == (inside & result.held_out).sum()
    assert mapped[result.members[0]].all()


def test_maps_of_errors_alone_confirm_nothing():
    """Without right pictures that have a map there is nothing to compare with."""
    rows, _, _, _ = made(planted=False)
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    draws = np.random.default_rng(0)
    maps = [draws.random((7, 7)) if one else None for one in wrong]
    assert not groups(rows, maps=maps).table["group"].str.contains("maps").any()


def test_errors_of_one_predicted_class_that_look_alike_are_a_group():
    """They are few, and differ in one of 16 features."""
    draws = np.random.default_rng(0)
    rows, _, features, _ = made(planted=False, error_rate=0.03)
    predicted = rows["predicted"].to_numpy().copy()
    alike = np.flatnonzero((rows["true"] == "boat") & (draws.random(len(rows)) < 0.15))
    predicted[alike] = "car"
    features = features.copy()
    features[alike, 5] += 4
    result = groups(rows.assign(predicted=predicted), features=features)
    named = result.table["group"].str.contains("the errors predicted as car").to_numpy(bool)
    (place, *_) = np.flatnonzero(named & result.table["confirmed"].to_numpy(bool))
    assert place < 3 and np.isin(result.members[place], alike).mean() > 0.8


def test_the_most_central_errors_come_first():
    rows, attributes, features, _ = made()
    result = groups(rows, attributes, features)
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    for members in result.members:
        errors = members[wrong[members]]
        assert (members[: len(errors)] == errors).all()
        middle = features[errors].mean(0)
        if len(errors) >= 20:
            far = np.linalg.norm(features[errors] - middle, axis=1)
            assert far[: len(far) // 3].mean() < far[-(len(far) // 3) :].mean()


def test_a_group_that_is_as_unsure_as_it_is_wrong_is_not_confirmed():
    """Two groups have half of their pictures wrong; the network is unsure of one of them, and others are as hard."""
    draws = np.random.default_rng(0)
    rows, attributes, _, _ = made(n=4_000, planted=False, error_rate=0.03)
    predicted, confidence = rows["predicted"].to_numpy().copy(), draws.uniform(0.7, 1.0, len(rows))
    parts = {when: ((rows["true"] == "tent") & (attributes["time"] == when)).to_numpy() for when in ("night", "dusk")}
    for part in parts.values():
        predicted[part & (draws.random(len(rows)) < 0.5)] = "tree"
    hard = parts["dusk"] | (draws.random(len(rows)) < 0.1)
    predicted[hard & ~parts["dusk"] & (draws.random(len(rows)) < 0.5)] = "bush"
    confidence[hard] = draws.uniform(0.2, 0.6, hard.sum())
    rows = rows.assign(predicted=predicted)
    sure = groups(rows, attributes[["time"]]).table.set_index("group")
    table = groups(rows.assign(confidence=confidence), attributes[["time"]]).table.set_index("group")
    night, dusk = "time: night, label: tent", "time: dusk, label: tent"
    assert sure["confirmed"][[night, dusk]].all() and (sure["rate expected"] == sure["rate outside"]).all()
    assert table["confirmed"][night] and not table["confirmed"][dusk]
    assert table["rate expected"][night] < 0.15 and table["rate expected"][dusk] == pytest.approx(0.5, abs=0.1)
    assert table["low"][dusk] > table["rate outside"][dusk] + 0.1


def test_p_is_that_of_all_ways_to_lay_the_errors_within_the_ranges():
    """Two ranges of 6 and 5 pictures with 3 and 2 errors: 20 x 10 ways, counted one by one."""
    ranges = np.repeat([0, 1], [6, 5])
    inside = np.array([1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0], bool)
    wrong = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1], bool)
    ways = [
        inside[list(first + second)].sum()
        for first in itertools.combinations(range(6), 3)
        for second in itertools.combinations(range(6, 11), 2)
    ]
    assert exact_p(inside, wrong, ranges) == pytest.approx(np.mean(np.array(ways) >= (inside & wrong).sum()))
    nobody = np.zeros(11, bool)
    assert exact_p(nobody, wrong, ranges) == exact_p(inside, nobody, ranges) == exact_p(~nobody, wrong, ranges) == 1


def test_p_within_ranges_is_near_that_of_the_test_by_cochran_mantel_and_haenszel():
    """statsmodels has its approximation, without correction for continuity near the mid-p of many pictures."""
    from statsmodels.stats.contingency_tables import StratifiedTable

    draws = np.random.default_rng(3)
    ranges, inside = draws.integers(0, 4, 2_000), draws.random(2_000) < 0.2
    wrong = draws.random(2_000) < np.array([0.5, 0.3, 0.2, 0.1])[ranges] + 0.06 * inside
    tables = [
        [[(side & part & (ranges == number)).sum() for part in (wrong, ~wrong)] for side in (inside, ~inside)]
        for number in range(4)
    ]
    two_sided = StratifiedTable([np.array(one) for one in tables]).test_null_odds(correction=True).pvalue
    p = exact_p(inside, wrong, ranges)
    assert 0.0005 < p < 0.1 and p == pytest.approx(two_sided / 2, rel=0.1)


def test_the_expected_rate_is_that_of_pictures_outside_in_the_same_ranges_by_hand():
    """Inside are 1 picture of the first range and 3 of the second; outside are wrong 1 of 4 there, and 2 of 3."""
    ranges = np.repeat([0, 1], [5, 6])
    inside = np.array([1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0], bool)
    wrong = np.array([1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0], bool)
    assert expected_rate(inside, wrong, ranges) == pytest.approx((1 * 1 / 4 + 3 * 2 / 3) / 4)
    alone = np.append(ranges, 2), np.append(inside, True), np.append(wrong, True)  # a range with none outside says nothing
    assert expected_rate(alone[1], alone[2], alone[0]) == pytest.approx((1 / 4 + 3 * 2 / 3) / 4)
    assert np.isnan(expected_rate(np.ones(11, bool), wrong, ranges))


def test_ranges_have_as_many_pictures_each_and_equal_confidences_share_one():
    confidence = np.random.default_rng(0).permutation(np.linspace(0.1, 1, 100))
    ranges = confidence_ranges(confidence)
    assert np.bincount(ranges).tolist() == [10] * 10 and np.corrcoef(ranges, confidence)[0, 1] > 0.99
    assert set(confidence_ranges(np.ones(50))) == {0}


def test_confidences_that_are_no_numbers_are_refused():
    rows, attributes, _, _ = made(100)
    with pytest.raises(BadRequest, match="not finite"):
        groups(rows.assign(confidence=np.nan), attributes)


def test_many_values_of_many_columns_are_searched_in_seconds():
    """60 columns of 100 values each: 18 million pairs."""
    draws = np.random.default_rng(0)
    n = 2_000
    wrong = draws.random(n) < 0.3
    rows = pd.DataFrame({"true": "a", "predicted": np.where(wrong, "b", "a")})
    attributes = pd.DataFrame(draws.integers(0, 100, (n, 60)).astype(str)).rename(columns=str)
    began = time.process_time()
    groups(rows, attributes)
    assert time.process_time() - began < 15
