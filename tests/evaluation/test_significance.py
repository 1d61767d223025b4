"""Statistics against closed forms, published tables, and scipy where it has the test."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from xai_core.core.errors import BadRequest
from xai_core.evaluation import ranking, significance
from xai_core.evaluation.significance import Difference, Estimate


def table(seed=0, n=40, k=3, **columns):
    draws = np.random.default_rng(seed)
    return pd.DataFrame(columns or {f"m{i}": draws.normal(i, 1, n) for i in range(k)})


def test_the_mean_of_constant_values_is_certain():
    (one,) = significance.estimates(table(a=np.full(9, 0.25))).values()
    assert one == Estimate(0.25, 0.25, 0.25, 9) and str(one) == ".25 [.25, .25]"


def test_the_interval_is_that_of_scipy_for_many_pictures():
    values = table(n=4000, k=1)
    (one,) = significance.estimates(values).values()
    theirs = stats.bootstrap((values.m0,), np.mean, method="percentile", n_resamples=2000, rng=1).confidence_interval
    spread = theirs.high - theirs.low
    assert abs(one.low - theirs.low) < 0.1 * spread and abs(one.high - theirs.high) < 0.1 * spread


@pytest.mark.parametrize("n", [8, 30])
def test_the_interval_has_its_nominal_coverage_also_for_few_pictures(n):
    """Of 400 samples about 95 % hold the truth; the plain percentiles of eight pictures hold 90 %."""
    samples = pd.DataFrame(np.random.default_rng(0).normal(0, 1, (n, 400)))
    held = np.mean([one.low <= 0 <= one.high for one in significance.estimates(samples).values()])
    assert 0.92 <= held <= 0.985


def test_the_same_seed_gives_the_same_interval():
    values = table()
    assert significance.estimates(values, 3) == significance.estimates(values, 3) != significance.estimates(values, 4)


def test_missing_values_are_left_out_of_their_own_column_alone():
    values = table(a=[1.0, 2.0, 3.0, np.nan], b=[1.0, 2.0, 3.0, 4.0])
    found = significance.estimates(values)
    assert found["a"].n == 3 and found["a"].value == 2 and found["b"].value == 2.5
    assert significance.estimates(table(a=[np.nan] * 3))["a"].why == "no value"


def test_one_picture_has_no_interval_and_the_reason_is_given():
    one = significance.estimates(table(a=[0.5]))["a"]
    assert np.isnan(one.low) and "a single picture does not show how much pictures differ" in one.why and str(one) == ".50"
    (pair,) = significance.differences(table(a=[0.5], b=[0.2]))
    assert "one picture: no interval" in significance.in_words(pair)


@pytest.mark.parametrize("n", [5, 9, 40])
def test_the_sign_flip_test_is_that_of_scipy(n):
    """Exactly for few pictures; within what 9,999 flips can tell for many."""
    apart = np.random.default_rng(n).normal(0.3, 1, (n, 2))
    ours = significance.sign_flip(apart)
    for p, column in zip(ours, apart.T, strict=True):
        theirs = stats.permutation_test(
            (column,), np.mean, permutation_type="samples", vectorized=True, n_resamples=20000, rng=1
        )
        assert p == pytest.approx(theirs.pvalue, abs=1e-9 if n < 10 else 0.012)


def test_the_sign_flip_test_by_hand():
    """Differences 1, 2, 3: two of the eight flips reach |6|."""
    assert significance.sign_flip(np.array([[1.0], [2.0], [3.0]])) == pytest.approx([0.25])
    assert significance.sign_flip(np.zeros((4, 1))) == pytest.approx([1.0])
    assert np.isnan(significance.sign_flip(np.full((4, 1), np.nan))).all()


@pytest.mark.parametrize("n", [6, 10, 13])
def test_ties_of_the_sign_flip_test_are_found_in_spite_of_rounding(n):
    """Sums of tenths tie where those of whole numbers do, which are exact: .1 + .2 is not .3 in binary."""
    whole = np.random.default_rng(n).integers(-9, 10, (n, 200)).astype(float)
    assert np.array_equal(significance.sign_flip(whole / 10), significance.sign_flip(whole))
    if n <= 10:
        flips = np.array(list(itertools.product((1, -1), repeat=n)))
        by_hand = (np.abs(flips @ whole) >= np.abs(whole.sum(0))).mean(0)
        assert significance.sign_flip(whole) == pytest.approx(by_hand, abs=1e-12)


def test_the_sign_flip_test_has_its_nominal_level():
    """Of 1,000 null comparisons about 5 % have p below .05."""
    p = significance.sign_flip(np.random.default_rng(0).normal(0, 1, (20, 1000)))
    assert 0.03 < (p < 0.05).mean() < 0.07


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels(seed):
    p_values = np.random.default_rng(seed).random(30).round(2 if seed % 2 else 9)  # with ties, and without
    assert significance.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-15)


def test_holm_by_hand():
    """.01 x 4, .02 x 3, .03 x 2, then never less than before."""
    assert significance.holm([0.03, 0.01, 0.04, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert significance.holm([0.6, np.nan, 0.7]).tolist() == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)


def test_differences_are_paired_and_turned_to_the_better_one():
    """Pictures differ by far more than methods do; only pairing can see the .03."""
    pictures = np.random.default_rng(0).normal(0, 5, 200)
    noise = np.random.default_rng(1).normal(0, 0.05, 200)
    values = table(grad=pictures, layer=pictures + 0.03 + noise)
    (higher,) = significance.differences(values, "higher")
    assert (higher.a, higher.b, higher.shown) == ("layer", "grad", True) and abs(higher.mean.value - 0.03) < 0.01
    said = significance.in_words(higher, {"layer": "LayerCAM", "grad": "Grad-CAM"}.get)
    assert said.startswith("LayerCAM beats Grad-CAM by .03 [") and said.endswith("n = 200")
    (lower,) = significance.differences(values, "lower")
    assert (lower.a, lower.b) == ("grad", "layer") and lower.mean.value == pytest.approx(higher.mean.value)


def test_methods_are_compared_on_the_pictures_both_have():
    values = table(a=[1.0, 2.0, 3.0, np.nan], b=[0.0, 1.0, np.nan, 50.0])
    (one,) = significance.differences(values)
    assert one.mean.n == 2 and one.mean.value == 1


def test_too_few_pictures_for_a_difference_are_named_as_the_reason():
    (one,) = significance.differences(table(a=[1.0, 1.1, 1.2, 1.3], b=[0.0, 0.1, 0.2, 0.25]))
    assert not one.shown and "with n = 4 no difference can be shown" in significance.in_words(one)


def test_many_comparisons_are_corrected_together():
    found = significance.differences(table(n=30, k=4))
    assert len(found) == 6 and all(one.adjusted >= one.p for one in found)
    assert [one.adjusted for one in found] == pytest.approx(sorted(significance.holm([one.p for one in found])), abs=1e-12)


def test_a_method_beats_the_controls_only_if_it_beats_each_of_them():
    draws = np.random.default_rng(0)
    values = table(good=draws.normal(3, 1, 30), half=draws.normal(1, 1, 30), weak=draws.normal(0, 1, 30),
                   strong=draws.normal(1, 1, 30))  # fmt: skip
    controls = ["weak", "strong"]
    assert significance.beats_all(values, controls, "higher") == {"good": True, "half": False}
    assert significance.beats_all(-values, controls, "lower") == {"good": True, "half": False}
    assert significance.beats_all(values.head(5), controls, "higher") == {"good": None, "half": None}


def test_a_control_without_any_value_is_left_out():
    """A uniform map has no correlation: that says nothing about the other three controls."""
    draws = np.random.default_rng(0)
    values = table(good=draws.normal(3, 1, 9), weak=draws.normal(0, 1, 9), uniform=np.full(9, np.nan))
    assert significance.beats_all(values, ["weak", "uniform"], "higher") == {"good": True}
    assert significance.beats_all(values, ["weak", "uniform"], "lower") == {"good": False}
    assert significance.beats_all(values, ["uniform"], "higher") == {"good": None, "weak": None}


def test_controls_are_beaten_at_the_level_of_five_percent():
    """Six pictures: p is 2 / 64 where all speak for the method, and 4 / 64 where one of them speaks a little against it."""
    control = np.zeros(6)
    all_better, one_worse = np.array([1.0, 2, 3, 4, 5, 6]), np.array([-1.0, 2, 3, 4, 5, 6])
    values = table(all=all_better, but_one=one_worse, control=control)
    rows = significance.differences(values, pairs=[("all", "control"), ("but_one", "control")])
    assert [row.p for row in rows] == pytest.approx([2 / 64, 4 / 64])
    assert significance.beats_all(values, ["control"], "higher") == {"all": True, "but_one": False}


@pytest.mark.parametrize(("adjusted", "shown"), [(0.0499, True), (0.0501, False), (float("nan"), False)])
def test_a_difference_is_shown_where_the_corrected_p_is_below_five_percent(adjusted, shown):
    assert Difference("a", "b", Estimate(1.0, 0.5, 1.5, 20), 0.001, adjusted).shown is shown


def test_ranks_are_those_of_demsar():
    """Demšar (2006), table 5: four algorithms on 14 data sets, mean ranks 3.143, 2.000, 2.893, 1.964; CD = 1.25."""
    c45 = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957]
    m = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978]
    cf = [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946]
    both = [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970]
    found = ranking.ranks(table(c45=c45, m=m, cf=cf, both=both), "higher")
    assert [found.mean[name] for name in ("c45", "m", "cf", "both")] == pytest.approx([3.143, 2.0, 2.893, 1.964], abs=1e-3)
    assert found.critical == pytest.approx(1.25, abs=0.01) and found.n == 14 and found.p < 0.05


@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_has_the_published_constants(k, q):
    """Demšar (2006), table 5(a)."""
    values = pd.DataFrame(np.random.default_rng(0).normal(size=(50, k)))
    assert ranking.ranks(values, "higher").critical == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 50)), abs=1e-3)


@pytest.mark.parametrize(("critical", "groups"), [(1.0, []), (1.0 + 1e-9, [("a", "b"), ("b", "c")])])
def test_methods_as_far_apart_as_the_critical_difference_differ(critical, groups):
    """Demšar (2006): they differ where their mean ranks are apart by at least the critical difference."""
    assert ranking.Ranks({"b": 2.0, "a": 1.0, "c": 3.0}, 10, 0.01, critical).groups == groups


def test_methods_closer_than_the_critical_difference_are_grouped():
    found = ranking.Ranks({"a": 1.0, "b": 1.8, "c": 2.5, "d": 4.7}, 10, 0.01, 1.0)
    assert found.groups == [("a", "b"), ("b", "c")]


def test_equal_methods_are_not_told_apart():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ranking.ranks(table(a=[1.0] * 5, b=[1.0] * 5, c=[1.0] * 5), "higher")
    assert found.p == 1 and found.groups == [("a", "b", "c")]
    with pytest.raises(BadRequest, match="three methods and two pictures"):
        ranking.ranks(table(k=2), "higher")


def test_agreement_of_orders():
    first = table(n=60, k=5)
    found = ranking.agreement({"same": first, "scaled": first * 3 + 1, "turned": -first})
    assert found["same", "scaled"].low == pytest.approx(1), "pictures are drawn for both at once"
    square = ranking.matrix(found, ["same", "scaled", "turned"])
    assert square == pytest.approx(np.array([[1, 1, -1], [1, 1, -1], [-1, -1, 1]]))


def test_agreement_needs_methods_in_common_and_pictures():
    found = ranking.agreement({"a": table(x=[1.0, 2.0]), "b": table(x=[1.0, 2.0])})
    assert "fewer than two methods" in found["a", "b"].why and np.isnan(found["a", "b"].low)
    found = ranking.agreement({"a": table(x=[1.0], y=[2.0]), "b": table(x=[1.0], y=[2.0])})
    assert found["a", "b"].value == 1 and "one picture" in found["a", "b"].why


def test_tau_is_that_of_scipy_without_what_is_missing():
    a, b = np.array([1, 2, np.nan, 4, 4.0]), np.array([2, 1, 7, 3, 5.0])
    assert ranking.tau(a, b) == pytest.approx(stats.kendalltau([1, 2, 4, 4], [2, 1, 3, 5]).statistic)
    assert np.isnan(ranking.tau(np.ones(4), b[:4]))


def test_another_sample_keeps_a_clear_order_and_no_order_of_noise():
    clear = table(n=60, k=5)
    assert ranking.split_halves(clear).value > 0.95
    noise = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 5)))
    assert abs(ranking.split_halves(noise).value) < 0.5
    with pytest.raises(BadRequest, match="at least two pictures"):
        ranking.split_halves(clear.head(3))


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.031, ".03"), (-0.031, "-.03"), (1.2, "1.20"), (0.0042, ".004"), (0, ".00"), (np.nan, "–"), (50176.2, "50,176")],
)
def test_numbers_as_text(value, said):
    assert significance.plain(value) == said


def test_the_words_for_a_difference():
    shown = Difference("a", "b", Estimate(0.03, 0.01, 0.05, 200), 0.001, 0.004)
    assert significance.in_words(shown) == "a beats b by .03 [.01, .05], n = 200"
    hidden = shown._replace(p=0.2, adjusted=0.4)
    assert significance.in_words(hidden) == "a and b: no difference shown, .03 [.01, .05], n = 200, p = .40 after correction"


def test_too_few_pictures_for_so_many_comparisons_are_named_as_the_reason():
    """Thirty methods on eight pictures, 435 pairs: p is at least 2 / 2^8, of which Holm's correction makes 3.4."""
    apart = pd.DataFrame({f"m{place}": place + np.arange(8) / 100 for place in range(30)})
    rows = significance.differences(apart)
    words = significance.result_in_words(rows)
    assert not any(row.shown for row in rows) and all(row.mean.low > 0 for row in rows), "the intervals are not corrected"
    assert "two-sided, n = 8, Holm's correction for 435 comparisons): 0 of 435 differences are significant at 5 %" in words
    assert "the smallest possible p is 0.0078, and the correction multiplies it by 435" in words
    assert "At least 15 pictures are needed" in words and 2.0 ** (1 - 14) * 435 > 0.05 > 2.0 ** (1 - 15) * 435
    enough = pd.DataFrame({f"m{place}": place + np.arange(15) / 100 for place in range(30)})
    rows = significance.differences(enough)
    assert all(row.shown for row in rows) and "435 of 435" in significance.result_in_words(rows)
    assert "needed" not in significance.result_in_words(rows)


def test_many_comparisons_can_be_significant_with_random_flips():
    """Of 9,999 flips the smallest p would be .0001: .099 after the correction for the 990 pairs of 45 methods."""
    far_apart = pd.DataFrame({f"m{place}": place + np.arange(20) / 100 for place in range(45)})
    rows = significance.differences(far_apart)
    assert len(rows) == 990 and all(row.shown for row in rows)


def test_a_single_comparison_is_described_without_a_correction():
    words = significance.result_in_words(significance.differences(table(a=np.arange(8.0), b=np.arange(8.0) - 1)))
    assert "n = 8, no correction for a single comparison): 1 of 1 difference is significant" in words
    missing = table(a=[1.0, 2.0, 3.0, np.nan], b=[0.0, 1.0, 2.0, 4.0], c=[0.0, 0.5, np.nan, 1.0])
    assert "n = 2 to 3" in significance.result_in_words(significance.differences(missing))


def test_every_pair_is_compared_once():
    names = [{one.a, one.b} for one in significance.differences(table(k=4))]
    assert len(names) == 6 and all(set(pair) in names for pair in itertools.combinations([f"m{i}" for i in range(4)], 2))


def test_the_seed_reaches_the_flips():
    """More pictures than all flips are taken of: other random flips give other p values."""
    values = table(n=30, k=2, seed=5, **{"a": np.linspace(-1, 1.3, 30), "b": np.zeros(30)})
    first, second = (significance.differences(values, seed=seed)[0].p for seed in (1, 2))
    apart = (values.a - values.b).to_numpy()[:, None]
    assert first == significance.sign_flip(apart, 1)[0] != second == significance.sign_flip(apart, 2)[0]


@pytest.mark.parametrize("shared", [True, False], ids=["the same pictures", "other pictures"])
def test_the_interval_of_an_agreement_holds_the_middle_95_percent_of_the_draws(shared):
    """By scipy's tau of each draw of pictures, the same draw for both tables where they share the pictures."""
    first, second = (table(seed=seed, n=12, k=12) - np.arange(12) for seed in (1, 2))  # no method is better than another
    if not shared:
        second.index = second.index + 100
    (estimate,) = ranking.agreement({"one": first, "two": second}, seed=3).values()
    draws = [significance.bootstrap_means(first.to_numpy(), 3), significance.bootstrap_means(second.to_numpy(), 4 - shared)]
    taus = [stats.kendalltau(a, b).statistic for a, b in zip(*draws, strict=True)]
    assert (estimate.low, estimate.high) == pytest.approx(np.quantile(taus, [0.025, 0.975]).tolist())
    assert min(taus) < estimate.low < np.quantile(taus, 0.05) and np.quantile(taus, 0.95) < estimate.high < max(taus)
    assert estimate.value == pytest.approx(stats.kendalltau(first.mean(), second.mean()).statistic)


@pytest.mark.parametrize("kind", [np.uint8, object, list])
def test_tau_of_other_numbers(kind):
    """Of unsigned numbers, whose differences have no sign, and of lists with gaps."""
    if kind is list:
        assert ranking.tau([3, 1, None, 2], [30, 10, 5, None]) == 1
    else:
        first, second = np.array([3, 1, 2]), np.array([1, 3, 2])
        assert ranking.tau(first.astype(kind), second.astype(kind)) == -1
        assert ranking.tau(first.astype(float), second.astype(kind)) == -1
        assert ranking.tau(first.astype(kind), second.astype(float)) == -1


def test_foretelling_is_kendalls_tau_of_the_orders_of_means_and_its_interval_holds_it():
    draws = np.random.default_rng(5)
    truth = pd.DataFrame({f"m{i}": draws.normal(i, 3, 60) for i in range(8)})
    close = pd.DataFrame({f"m{i}": draws.normal(i, 3, 20) for i in range(7)})  # fewer pictures, a method less
    reverse = -truth
    foretold = ranking.foretelling(truth, {"close": close, "reverse": reverse, "one": truth.head(1)})
    for name, table in (("close", close), ("reverse", reverse)):
        expected = stats.kendalltau(truth[table.columns].mean(), table.mean()).statistic
        assert foretold[name].value == pytest.approx(expected) and foretold[name].n == len(table)
        assert foretold[name].low <= expected <= foretold[name].high or name == "reverse"
    assert foretold["reverse"].value == -1 and foretold["reverse"].high < 0
    assert foretold["one"].why and np.isnan(foretold["one"].low)


def test_the_interval_of_foretelling_covers_the_tau_of_the_population():
    """Of 60 pairs of samples, most intervals hold the tau between the true orders, which are known."""
    means, others = np.arange(6.0), np.array([0.0, 2, 1, 3, 5, 4])
    population, held = stats.kendalltau(means, others).statistic, 0
    for seed in range(60):
        draws = np.random.default_rng(seed)
        samples = [pd.DataFrame(draws.normal(values, 4, (40, 6))) for values in (means, others)]
        estimate = ranking.foretelling(samples[0], {"": samples[1]}, seed)[""]
        held += estimate.low <= population <= estimate.high
    assert held >= 48


def test_what_differs_by_rounding_alone_is_tied():
    values = np.array([0.3, 0.1 + 0.2, 0.7, 0.2])
    assert ranking.tau(values, np.array([1.0, 2, 3, 0])) == pytest.approx(
        stats.kendalltau([1, 1, 2, 0], [1, 2, 3, 0]).statistic
    )
