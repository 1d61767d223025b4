"""Agreement of reviewers, against the libraries on random tables, irrCAC's recorded values, and formulas by hand.

`tests/data/references/agreement.json` holds twelve random tables (pictures x people, null where there is no vote) with what
irrCAC 0.4.4 says of them. irrCAC needs an older scipy than this project, so it ran in an environment of its own:
`CAC(table, digits=15)` with its methods `gwet`, `fleiss` and `krippendorff`; "percent" is the `pa` of `gwet`, and null is
what it could not compute. With missing votes its Fleiss and its percent weigh pictures in another way than Fleiss (1971) and
the share of all pairs do: these two are compared on complete tables. Of tables with one verdict it says 1; ours are None.
"""

import json
import math
from itertools import combinations
from pathlib import Path

import krippendorff
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from xai_core.core.errors import BadRequest
from xai_core.review import agreement as module
from xai_core.review.agreement import agreement, by_verdict, consistency, disputed, map_help, pairs

REFERENCES = json.loads((Path(__file__).parents[1] / "data" / "references" / "agreement.json").read_text())
COEFFICIENTS = ("percent", "cohen", "fleiss", "krippendorff", "gwet")
SIZES = [  # pictures, people, verdicts, share of missing votes
    (12, 2, 2, 0.0), (15, 2, 3, 0.3), (10, 3, 2, 0.0), (14, 4, 5, 0.25), (9, 5, 6, 0.5), (20, 3, 2, 0.6), (6, 7, 3, 0.1),
    (5, 2, 2, 0.5),
]  # fmt: skip


def votes_of(matrix, **columns):
    """The table of votes of a matrix of verdicts, pictures x people, None or -1 where there is no vote."""
    rows = [
        {"position": position, "person": f"p{person}", "verdict": f"v{verdict}", "repeat_of": None, **columns}
        for position, line in enumerate(matrix)
        for person, verdict in enumerate(line)
        if verdict is not None and verdict >= 0
    ]
    return pd.DataFrame(rows, columns=["position", "person", "verdict", "repeat_of", *columns])


def random_matrix(pictures, people, verdicts, missing, seed):
    """Verdicts of people who agree more than chance on some pictures."""
    random = np.random.default_rng(seed)
    matrix = random.integers(verdicts, size=(pictures, people))
    matrix = np.where(random.random(matrix.shape) < 0.4, random.integers(verdicts, size=(pictures, 1)), matrix)
    return np.where(random.random(matrix.shape) < missing, -1, matrix)


def agreeing_pairs(matrix):
    """(agreeing pairs of votes on one picture, all such pairs), counted one by one."""
    all_pairs = [pair for line in matrix for pair in combinations([verdict for verdict in line if verdict >= 0], 2)]
    return sum(a == b for a, b in all_pairs), len(all_pairs)


def usual_number(matrix):
    """The most usual number of votes of a picture, from two on; the larger of equally usual ones."""
    numbers = [n for n in (matrix >= 0).sum(1).tolist() if n >= 2]
    return max(set(numbers), key=lambda n: (numbers.count(n), n), default=0)


def by_libraries(matrix, usual):
    """The coefficients of a matrix of verdicts from the raw votes; None where undefined. AC1 is by its definition."""
    paired = matrix[(matrix >= 0).sum(1) >= 2]
    has_several = len(np.unique(paired[paired >= 0])) > 1
    alpha = (
        krippendorff.alpha(np.where(matrix < 0, np.nan, matrix).T, level_of_measurement="nominal") if has_several else None
    )
    same = matrix[(matrix >= 0).sum(1) == usual] if usual else matrix[:0]
    raw = np.array([line[line >= 0] for line in same])
    fleiss = fleiss_kappa(aggregate_raters(raw)[0]) if len(np.unique(raw)) > 1 else None
    both = matrix[(matrix >= 0).all(1)]
    cohen = cohen_kappa_score(*both.T) if matrix.shape[1] == 2 and len(np.unique(both)) > 1 else None
    agreeing, possible = agreeing_pairs(matrix)
    return {
        "percent": agreeing / possible if possible else None, "cohen": cohen, "fleiss": fleiss, "krippendorff": alpha,
    }  # fmt: skip


def gwet_by_definition(matrix, verdicts):
    """Gwet (2008), picture by picture."""
    voted = [line[line >= 0] for line in matrix if (line >= 0).any()]
    shares = [np.mean([(line == verdict).mean() for line in voted]) for verdict in verdicts]
    chance = sum(share * (1 - share) for share in shares) / (len(verdicts) - 1)
    agreeing = [np.mean([a == b for a, b in combinations(line, 2)]) for line in voted if len(line) > 1]
    return (np.mean(agreeing) - chance) / (1 - chance) if agreeing else None


def same(value, expected):
    return value is expected if expected is None or value is None else value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_values_equal_the_libraries(size, seed):
    matrix = random_matrix(*size, seed)
    ours, theirs = agreement(votes_of(matrix), draws=50), by_libraries(matrix, usual_number(matrix))
    assert all(same(getattr(ours, name).value, value) for name, value in theirs.items()), (ours, theirs)
    assert same(ours.gwet.value, gwet_by_definition(matrix, np.unique(matrix[matrix >= 0])))
    assert ours.percent.n == agreeing_pairs(matrix)[1] and ours.votes == (matrix >= 0).sum()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_draw_equals_the_libraries_on_the_drawn_pictures(size):
    """The interval comes from sums over pictures, the libraries see the drawn pictures' raw votes."""
    matrix = random_matrix(*size, seed=7)
    matrix = matrix[(matrix >= 0).any(1)]
    usual, verdicts = usual_number(matrix), np.unique(matrix[matrix >= 0])
    (weights,) = module.resamples(len(matrix), 3, 60)
    all_sums = dict(zip(COEFFICIENTS, module._coefficients(module._ballots(votes_of(matrix))), strict=True))
    drawn = {name: sums.formula(weights @ sums.columns) for name, sums in all_sums.items()}
    for number, weight in enumerate(weights.astype(int)):
        pictures = np.repeat(matrix, weight, axis=0)
        theirs = by_libraries(pictures, usual) | {"gwet": gwet_by_definition(pictures, verdicts)}
        ours = {name: None if math.isnan(values[number]) else values[number] for name, values in drawn.items()}
        assert all(same(ours[name], value) for name, value in theirs.items()), (ours, theirs)


def test_intervals_are_percentiles_of_the_draws():
    matrix = random_matrix(30, 4, 3, 0.2, seed=2)
    ours = agreement(votes_of(matrix), seed=5, draws=300)
    (weights,) = module.resamples(30, 5, 300)
    alphas = [
        krippendorff.alpha(np.where(pictures < 0, np.nan, pictures).T, level_of_measurement="nominal")
        for pictures in (np.repeat(matrix, weight, axis=0) for weight in weights.astype(int))
    ]
    assert (ours.krippendorff.low, ours.krippendorff.high) == pytest.approx(np.quantile(alphas, [0.025, 0.975]), abs=1e-9)
    assert agreement(votes_of(matrix), seed=5, draws=300) == ours != agreement(votes_of(matrix), seed=6, draws=300)


def test_draws_are_of_as_many_pictures_as_there_are():
    """In several blocks too."""
    blocks = list(module.resamples(5000, 0, 1000))
    drawn = np.concatenate(blocks)
    assert len(blocks) == 3 and drawn.shape == (1000, 5000) and (drawn.sum(1) == 5000).all()
    assert drawn.var() == pytest.approx(1 - 1 / 5000, abs=0.01) and np.abs(drawn.mean(0) - 1).max() < 0.2


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference["name"])
def test_values_equal_irrcac(reference):
    matrix = np.array([[-1 if verdict is None else verdict for verdict in line] for line in reference["votes"]])
    ours = agreement(votes_of(matrix), draws=20)
    is_complete = (matrix >= 0).all()
    paired = matrix[(matrix >= 0).sum(1) > 1]
    if len(np.unique(matrix[matrix >= 0])) > 1:
        assert same(ours.gwet.value, reference["gwet"])
    if len(np.unique(paired[paired >= 0])) > 1:
        assert same(ours.krippendorff.value, reference["krippendorff"])
    if is_complete:
        assert same(ours.percent.value, reference["percent"])
        assert len(np.unique(matrix)) == 1 or same(ours.fleiss.value, reference["fleiss"])


def test_two_people_by_hand():
    """20 and 15 agreements, 5 and 10 disagreements: Cohen's example of many textbooks, kappa = .4."""
    ours = agreement(votes_of([(0, 0)] * 20 + [(0, 1)] * 5 + [(1, 0)] * 10 + [(1, 1)] * 15), draws=200)
    assert ours.percent.value == pytest.approx(35 / 50) and ours.cohen.value == pytest.approx(0.4)
    zero, one = 55 / 100, 45 / 100
    chance = zero**2 + one**2
    assert ours.fleiss.value == pytest.approx((0.7 - chance) / (1 - chance))
    assert ours.krippendorff.value == pytest.approx(1 - 99 * 30 / (100**2 - 55**2 - 45**2))
    assert ours.gwet.value == pytest.approx((0.7 - 2 * zero * one) / (1 - 2 * zero * one))
    for name in COEFFICIENTS:
        statistic = getattr(ours, name)
        assert statistic.low < statistic.value < statistic.high and statistic.why == "" and statistic.pictures == 50


def test_perfect_agreement_has_the_value_one_and_says_why_it_has_no_interval():
    ours = agreement(votes_of([(number % 3,) * 4 for number in range(18)]))
    for name in ("percent", "fleiss", "krippendorff", "gwet"):
        statistic = getattr(ours, name)
        assert statistic.value == pytest.approx(1) and (statistic.low, statistic.high) == (None, None)
        assert statistic.why == module.SAME_IN_ALL_DRAWS


def test_random_votes_have_intervals_that_cover_zero():
    matrix = np.random.default_rng(1).integers(3, size=(200, 4))
    ours, two = agreement(votes_of(matrix)), agreement(votes_of(matrix[:, :2]))
    for statistic in (ours.fleiss, ours.krippendorff, ours.gwet, two.cohen):
        assert statistic.low < 0 < statistic.high


def undefined(statistic):
    return statistic.value is None and statistic.low is None and statistic.high is None and statistic.why


def test_one_verdict_leaves_coefficients_undefined():
    ours = agreement(votes_of([(1, 1)] * 5))
    assert ours.percent.value == 1
    assert all("same verdict" in undefined(getattr(ours, name)) for name in COEFFICIENTS[1:])


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        ([], "nobody has voted"),
        ([[0], [1]], "only one person has voted"),
        ([[0, -1, -1], [-1, 1, -1], [-1, -1, 1]], "no picture has two votes"),
    ],
)
def test_without_pairs_of_votes_nothing_is_defined_and_the_reason_is_said(matrix, why):
    ours = agreement(votes_of(matrix))
    assert all(undefined(getattr(ours, name)) == why for name in COEFFICIENTS if name != "cohen")
    assert "exactly two people" in undefined(ours.cohen)
    assert disputed(votes_of(matrix)) == [] and all(pair.percent is None for pair in pairs(votes_of(matrix)))
    assert by_verdict(votes_of(matrix)).keys() == {f"v{verdict}" for line in matrix for verdict in line if verdict >= 0}


def test_two_people_without_a_picture_in_common():
    votes = votes_of([[0, -1], [-1, 1]])
    assert "no picture in common" in undefined(agreement(votes).cohen)
    (pair,) = pairs(votes)
    assert (pair.pictures, pair.percent, pair.cohen) == (0, None, None) and "in common" in pair.why


def test_one_picture_has_a_value_without_an_interval():
    ours = agreement(votes_of([(0, 0, 1)]))
    assert ours.percent.value == pytest.approx(1 / 3) and ours.percent.low is None and ours.percent.why == module.ONE_PICTURE


def test_fleiss_says_on_which_pictures_it_is():
    ours = agreement(votes_of([(0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 1, 0), (0, -1, -1)]))
    assert ours.fleiss.scope == "the 3 of 5 pictures with 3 votes each" and (ours.fleiss.pictures, ours.fleiss.n) == (3, 9)
    assert (ours.krippendorff.pictures, ours.krippendorff.n, ours.gwet.n) == (4, 11, 12)
    assert agreement(votes_of([(0, 1), (1, 1), (0, 0)])).fleiss.scope == ""


def test_equally_usual_numbers_of_votes_take_the_larger():
    ours = agreement(votes_of([(0, 0, 1), (0, 1, 1), (0, 1, -1), (1, 1, -1)]))
    assert ours.fleiss.scope == "the 2 of 4 pictures with 3 votes each"


def test_each_verdict_is_held_against_all_others():
    matrix = random_matrix(40, 4, 3, 0.2, seed=4)
    each = by_verdict(votes_of(matrix), seed=3)
    for verdict in range(3):
        binary = votes_of(np.where(matrix < 0, -1, matrix == verdict))
        assert each[f"v{verdict}"] == agreement(binary, seed=3)
    assert list(each) == ["v0", "v1", "v2"]


def test_pairs_of_people():
    votes = votes_of([(0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 1, -1), (0, -1, -1)])
    rows = {(row.first, row.second): row for row in pairs(votes)}
    assert list(rows) == [("p0", "p1"), ("p0", "p2"), ("p1", "p2")]
    first = rows["p0", "p1"]
    assert (first.pictures, first.percent) == (4, 3 / 4)
    assert first.cohen == pytest.approx(cohen_kappa_score([0, 1, 0, 1], [0, 1, 1, 1])) and first.why == ""
    assert (rows["p0", "p2"].pictures, rows["p0", "p2"].percent) == (3, 0) and rows["p0", "p2"].cohen < 0
    (same_verdict,) = pairs(votes_of([(1, 1), (1, 1), (0, -1)]))
    assert (same_verdict.percent, same_verdict.cohen) == (1, None) and "same verdict" in same_verdict.why


def test_disputed_pictures_come_in_the_order_of_their_entropy():
    rows = disputed(votes_of([(0, 0, 0, 0), (0, 0, 0, 1), (0, 1, -1, -1), (0, 0, 1, 1), (0, 1, 2, -1), (2, -1, -1, -1)]))
    assert [row.position for row in rows] == [4, 3, 2, 1]
    assert [row.entropy for row in rows] == pytest.approx([math.log2(3), 1, 1, 0.811278], abs=1e-6)
    assert rows[0].counts == {"v0": 1, "v1": 1, "v2": 1} and rows[3].counts == {"v0": 3, "v1": 1}


def repeats(*rows):
    """(position, person, verdict, repeat_of)"""
    return pd.DataFrame(rows, columns=["position", "person", "verdict", "repeat_of"])


REPEATED = repeats(
    (0, "anna", "a", None), (1, "anna", "b", None), (2, "anna", "a", None),
    (3, "anna", "a", 0), (4, "anna", "a", 1), (5, "anna", "a", 2), (6, "anna", "b", 9),
    (0, "ben", "a", None), (1, "ben", "a", None), (4, "ben", "a", 1), (0, "carla", "b", None), (5, "carla", "b", 2),
)  # fmt: skip


def test_consistency_is_of_repeats_whose_original_has_a_vote():
    shares = consistency(REPEATED)
    interval = binomtest(2, 3).proportion_ci(0.95, "wilson")
    anna, ben = shares["anna"], shares["ben"]
    assert (anna.value, anna.n) == (2 / 3, 3) and (anna.low, anna.high) == pytest.approx((interval.low, interval.high))
    assert (ben.value, ben.n, ben.high) == (1, 1, pytest.approx(1)) and ben.low < 0.3
    assert undefined(shares["carla"]) == "no picture was voted on twice" and list(shares) == ["anna", "ben", "carla"]


def test_hidden_repeats_count_in_nothing_else():
    first = REPEATED[REPEATED["repeat_of"].isna()]
    for statistic in (agreement, by_verdict, pairs, disputed):
        assert statistic(REPEATED) == statistic(first)
    maps = REPEATED.assign(map_shown=True, map_helped=True)
    assert map_help(maps) == map_help(maps[maps["repeat_of"].isna()])


def maps_at_random(pictures=60, people=6, seed=0):
    """People see maps of half of the pictures each; with them they agree with the right verdict, without they guess."""
    random = np.random.default_rng(seed)
    votes = votes_of(random.integers(3, size=(pictures, people)), map_shown=False, map_helped=None)
    correct = {position: f"v{verdict}" for position, verdict in enumerate(random.integers(3, size=pictures))}
    shown = random.random(len(votes)) < 0.5
    informed = shown & (random.random(len(votes)) < 0.8)
    votes["map_shown"] = shown
    votes.loc[informed, "verdict"] = votes["position"].map(correct)[informed]
    answers = pd.Series(random.random(len(votes)) < 0.7, dtype=object)
    votes["map_helped"] = answers.where(shown & (random.random(len(votes)) < 0.9), None)
    return votes, correct


def test_maps_that_help_raise_agreement_and_right_votes():
    votes, correct = maps_at_random()
    result = map_help(votes, correct)
    sides = []
    for shown in (True, False):
        of_side = votes[votes["map_shown"] == shown]
        matrix = of_side.assign(number=of_side["verdict"].str[1:].astype(int)).pivot(
            index="position", columns="person", values="number"
        )
        agreeing, possible = agreeing_pairs(matrix.fillna(-1).to_numpy())
        right = (of_side["verdict"] == of_side["position"].map(correct)).sum()
        sides.append((agreeing / possible, possible, right / len(of_side), len(of_side)))
    ((with_maps, pairs_with, right_with, votes_with), (without, pairs_without, right_without, votes_without)) = sides
    assert (result.agree_with_maps.value, result.agree_with_maps.n) == (with_maps, pairs_with)
    assert (result.agree_without_maps.value, result.agree_without_maps.n) == (without, pairs_without)
    assert (result.right_with_maps.value, result.right_with_maps.n) == (right_with, votes_with)
    assert (result.right_without_maps.value, result.right_without_maps.n) == (right_without, votes_without)
    for difference, expected in (
        (result.difference, with_maps - without),
        (result.right_difference, right_with - right_without),
    ):
        assert difference.value == pytest.approx(expected) and 0 < difference.low < expected < difference.high
    answers = votes["map_helped"].dropna()
    assert (result.helped.value, result.helped.n) == (answers.mean(), len(answers)) and result.helped.low < answers.mean()


def test_maps_that_change_nothing_have_differences_that_cover_zero():
    """In 95 of 100 rounds: in 20 rounds, more than 4 that do not have a probability of .003."""
    missed = [0, 0]
    for seed in range(20):
        votes, correct = maps_at_random(seed=seed)
        votes["map_shown"] = np.random.default_rng(1000 + seed).random(len(votes)) < 0.5
        result = map_help(votes, correct, draws=300)
        for which, difference in enumerate((result.difference, result.right_difference)):
            missed[which] += not difference.low < 0 < difference.high
    assert max(missed) <= 4


def test_a_round_with_maps_alone_has_no_difference():
    votes, _ = maps_at_random()
    result = map_help(votes.assign(map_shown=True, map_helped=None))
    assert undefined(result.difference) == "no picture has two votes without maps" == undefined(result.agree_without_maps)
    assert undefined(result.right_difference) == "no right verdicts are given" and result.agree_with_maps.value is not None
    assert undefined(result.helped) == "nobody said whether the map helped"
    nothing = map_help(votes[:0], {})
    assert undefined(nothing.difference) and undefined(nothing.helped)


def test_right_verdicts_of_some_pictures_are_compared_on_these():
    votes, correct = maps_at_random()
    few = {position: correct[position] for position in range(10)}
    result = map_help(votes, few)
    is_known = votes["position"] < 10
    assert result.right_with_maps.n == (is_known & votes["map_shown"]).sum() and result.right_with_maps.pictures == 10
    assert "is known" in undefined(map_help(votes, {999: "v0"}).right_difference)


def test_two_votes_of_one_person_on_one_picture_are_refused():
    votes = votes_of([(0, 1)])
    with pytest.raises(BadRequest, match="two votes of one person on one picture"):
        agreement(pd.concat([votes, votes]))


def test_a_row_without_a_verdict_is_no_vote():
    votes = votes_of([(0, 1, 1), (1, 1, 0)])
    empty = votes.assign(verdict=votes["verdict"].where(votes["person"] != "p2", None))
    assert agreement(empty) == agreement(votes[votes["person"] != "p2"])


def test_5000_pictures_and_10_people():
    matrix = random_matrix(5000, 10, 8, 0.1, seed=0)
    matrix[:2] = np.arange(8).repeat(3)[:20].reshape(2, 10)
    votes = votes_of(matrix)
    ours = agreement(votes)
    assert (ours.pictures, ours.people) == (5000, 10)
    alpha = krippendorff.alpha(np.where(matrix < 0, np.nan, matrix).T, level_of_measurement="nominal")
    assert ours.krippendorff.value == pytest.approx(alpha, abs=1e-9)
    assert ours.krippendorff.low < alpha < ours.krippendorff.high < ours.krippendorff.low + 0.05
    assert len(by_verdict(votes)) == 8 and len(pairs(votes)) == 45 and len(disputed(votes)) > 4000
