"""Error rates of groups, against counting by hand and scipy's Wilson interval."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from xai_core.analysis import groups

DRAWS = np.random.default_rng(0)


def answers(count):
    true = DRAWS.choice(["a", "b"], count)
    return pd.DataFrame({"true": true, "predicted": np.where(DRAWS.random(count) < 0.2, "c", true)})


@pytest.mark.parametrize("share_unknown", [0.0, 0.3])
def test_rates_are_those_of_counting(share_unknown):
    rows = answers(400)
    place = pd.Series(np.where(DRAWS.random(400) < share_unknown, "", DRAWS.choice(["sea", "street", "1"], 400)), rows.index)
    rates = groups.error_rates(rows, groups.values_of(place))
    assert set(rates["value"]) == {"sea", "street", "1"} | ({groups.UNKNOWN} if share_unknown else set())
    assert rates["pictures"].sum() == 400 and rates["low"].is_monotonic_decreasing
    for row in rates.to_dict("records"):
        members = rows[place == ("" if row["value"] == groups.UNKNOWN else row["value"])]
        errors = int((members["true"] != members["predicted"]).sum())
        interval = binomtest(errors, len(members)).proportion_ci(0.95, "wilson")
        assert (row["pictures"], row["errors"]) == (len(members), errors)
        assert row["error rate"] == errors / len(members)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_groups_without_errors_or_with_one_picture_have_an_interval():
    rows = pd.DataFrame({"true": ["a", "a", "b"], "predicted": ["a", "a", "a"]})
    rates = groups.error_rates(rows, groups.values_of(pd.Series(["x", "x", "y"])))
    assert rates["value"].tolist() == ["y", "x"] and rates["error rate"].tolist() == [1, 0]
    assert (rates["low"] >= 0).all() and (rates["high"] <= 1).all() and (rates["high"] > rates["low"]).all()


def test_truth_values_few_numbers_and_many_numbers():
    assert groups.values_of(pd.Series([True, False])).tolist() == ["yes", "no"]
    assert groups.values_of(pd.Series([2.0, 1.0, np.nan])).tolist() == ["2", "1", groups.UNKNOWN]
    assert groups.values_of(pd.Series(["b", "", "a"])).cat.categories.tolist() == ["a", "b", groups.UNKNOWN]


def test_many_numbers_are_cut_at_their_quartiles():
    numbers = pd.Series(DRAWS.normal(size=1000))
    values = groups.values_of(numbers)
    assert values.value_counts().tolist() == [250] * 4
    lowest = values.cat.categories[0]
    assert (values == lowest).equals(numbers <= np.quantile(numbers, 0.25))


@pytest.mark.parametrize("tied", [0.0, 7.0])
def test_ties_and_gaps_in_numbers_lose_no_picture(tied):
    numbers = pd.Series([tied] * 900 + list(range(100)) + [np.nan] * 5)
    values = groups.values_of(numbers)
    assert values.notna().all() and (values == groups.UNKNOWN).sum() == 5


def test_the_typical_value_is_the_one_whose_share_lies_farthest_above():
    everywhere = pd.Series(["day"] * 6 + ["night"] * 3 + ["fog"])
    assert groups.typical(pd.Series(["night", "night", "day"]), everywhere) == groups.Typical("night", 2, 3, 3, 10)
    assert groups.typical(everywhere, everywhere) is None and groups.typical(everywhere[:0], everywhere) is None


def test_calibrations_are_of_each_group():
    rows = pd.DataFrame({"true": list("aabb"), "predicted": list("abbb"), "confidence": [0.9, 0.8, 0.6, 0.7]})
    table = groups.calibrations(rows, pd.Series(["x", "x", "y", "y"])).set_index("value")
    assert table.index.tolist() == ["x", "y"] and table["pictures"].tolist() == [2, 2]
    assert table["accuracy"].tolist() == [0.5, 1.0] and table["confidence"].tolist() == pytest.approx([0.85, 0.65])
    assert table["ECE"].tolist() == pytest.approx([0.5 * 0.1 + 0.5 * 0.8, 0.35])


def test_error_rates_of_two_models_judge_each_by_its_own_names():
    first = pd.DataFrame({"path": list("1234"), "true": list("aabb"), "predicted": list("abba")})
    second = pd.DataFrame({"path": list("4321"), "true": list("BBAA"), "predicted": list("BAAA")})
    table = groups.error_rates_of_two(first, second, pd.Series(["x", "x", "y", "y"])).set_index("value")
    assert table.loc["x"].tolist() == [2, 0.5, 0.0, 1, 0] and table.loc["y"].tolist() == [2, 0.5, 0.5, 1, 1]
