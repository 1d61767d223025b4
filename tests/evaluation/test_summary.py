"""From rows to what is read: tables by hand."""

import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from xai_core.app.charts import common, runs
from xai_core.core.errors import BadRequest
from xai_core.evaluation import ranking, significance, summary

METRICS = {"up": {"direction": "higher"}, "down": {"direction": "lower"}, "plain": {"direction": ""}}
GROUPS = {"one": "Supervised", "two": "Supervised", "dino": "Self-supervised"}


def rows(n=8, missing=0):
    """Methods a > b > control by a clear margin on every picture; `down` turned round; models shift the level."""
    lines = []
    for shift, model in enumerate(GROUPS):
        for number in range(n):
            for place, method in enumerate(("control:uniform_map", "b", "a")):
                value = place + 0.1 * number + 10 * shift
                for metric, sign in (("up", 1), ("down", -1), ("plain", 1)):
                    gone = method == "b" and number < missing
                    lines.append((f"p{number}", f"name {number}", model, method, metric, np.nan if gone else sign * value))
    return pd.DataFrame(lines, columns=["picture", "name", "model", "method", "metric", "value"])


def test_means_places_and_what_beats_the_controls():
    lines = summary.summary(rows(), METRICS).set_index(["model", "metric", "method"])
    assert lines.loc[("one", "up", "a")][["mean", "rank", "beats"]].tolist() == pytest.approx([2.35, 1, True])
    assert lines.loc[("one", "down", "a"), "rank"] == 1 and lines.loc[("one", "down", "a"), "mean"] == pytest.approx(-2.35)
    assert lines.loc[("one", "up", "control:uniform_map"), "beats"] is None
    assert np.isnan(lines.loc[("one", "plain", "a"), "rank"]) and lines.loc[("one", "plain", "a"), "beats"] is None
    assert (lines.low <= lines["mean"]).all() and (lines["mean"] <= lines.high).all()


def test_a_mean_has_one_interval_in_the_table_and_wherever_else_it_stands():
    """The same draws of pictures everywhere, unless another seed is asked for."""
    frame = rows()
    lines = summary.summary(frame, METRICS).set_index(["model", "metric", "method"])
    expected = significance.estimates(summary.values(frame, "one", "up"))
    for method, estimate in expected.items():
        assert tuple(lines.loc[("one", "up", method), ["low", "high"]]) == (estimate.low, estimate.high)
    groups = summary.by_group(frame, {"dino": "Self-supervised"}, "up", ["a"]).iloc[0]
    assert (groups.low, groups.high) == pytest.approx(tuple(lines.loc[("dino", "up", "a"), ["low", "high"]]), rel=1e-12)


def test_pictures_without_a_value_are_counted():
    lines = summary.summary(rows(missing=3), METRICS).set_index(["model", "metric", "method"])
    assert lines.loc[("one", "up", "b")][["n", "missing"]].tolist() == [5, 3]
    assert lines.loc[("one", "up", "b"), "beats"] is None, "five pictures show nothing"


def test_few_pictures_beat_nothing_yet():
    lines = summary.summary(rows(n=5), METRICS)
    assert lines.beats.isna().all()
    assert summary.summary(rows(n=1), METRICS).low.isna().all()


def test_best_and_worst_pictures_and_none_twice():
    best = summary.extremes(rows(), "one", "up", "a", "higher", 3)
    assert best.name.tolist() == ["name 7", "name 6", "name 5", "name 0", "name 1", "name 2"]
    assert best.end.tolist() == ["best"] * 3 + ["worst"] * 3
    assert summary.extremes(rows(), "one", "down", "a", "lower", 1).name.tolist() == ["name 7", "name 0"]
    few = summary.extremes(rows(n=3), "one", "plain", "a", "", 6)
    assert few.name.tolist() == ["name 2", "name 1", "name 0"] and set(few.end) == {"highest", "lowest"}
    assert not len(summary.extremes(rows(), "one", "up", "nothing", "higher", 3))


def test_mean_curves_are_read_at_the_points_of_the_first():
    curves = pa.table(
        {
            "method": ["a", "a", "b"],
            "curve_x": [[0, 0.5, 1], [0, 1], [0, 1]],
            "curve_y": [[0.0, 0.0, 1.0], [1.0, 0.0], [2.0, 2.0]],
        }
    )
    for parts in ([curves], [curves[:1], curves[1:]]):
        found = summary.mean_curves(parts)
        assert {name: curve.n for name, curve in found.items()} == {"a": 2, "b": 1}
        assert found["a"].points.tolist() == [[0, 0.5], [0.5, 0.25], [1, 0.5]]


def test_mean_curves_do_not_depend_on_how_rows_are_divided():
    """To the last bit those of a plain loop, whether all curves have the same points or not."""
    draw = np.random.default_rng(0)
    xs = [np.linspace(0, 1, count) for count in draw.choice([5, 7], 60)]
    xs = [*xs[:40], *[np.linspace(0, 1, 5)] * 40]
    ys = [draw.normal(size=len(x)) for x in xs]
    table = pa.table({"method": ["a"] * len(xs), "curve_x": xs, "curve_y": ys})
    plain = np.mean([np.interp(xs[0], x, y) for x, y in zip(xs, ys, strict=True)], 0)
    for steps in ([0, 80], [0, 11, 40, 41, 80]):
        parts = [table[a:b] for a, b in itertools.pairwise(steps)]
        assert np.array_equal(summary.mean_curves(parts)["a"].points[:, 1], plain)


def test_a_spread_of_many_pictures_has_boxes_of_all_and_points_of_some(monkeypatch):
    monkeypatch.setattr(runs, "MOST_POINTS", 10)
    draw = np.random.default_rng(0)
    values = pd.DataFrame(draw.normal(size=(101, 2)), [f"p{number:03}" for number in range(101)], ["a", "b"])
    values.iloc[3, 0] = np.nan
    found = runs.spreads(values, ["A", "B"], {"p001": "name 1"}, "up").to_dict()["datasets"].values()
    (boxes,) = [rows for rows in found if "middle" in rows[0]]
    assert {row["method"] for row in boxes} == {"A", "B"}
    for row, column in zip(boxes, ("a", "b"), strict=True):
        expected = np.nanquantile(values[column], [0, 0.25, 0.5, 0.75, 1])
        assert [row[end] for end in ("least", "low", "middle", "high", "most")] == pytest.approx(expected)
    (points,) = [rows for rows in found if "picture" in rows[0]]
    first = {*values.index[:10], values.a.idxmin(), values.a.idxmax(), values.b.idxmin(), values.b.idxmax()}
    assert {row["picture"] for row in points} == first and len(points) == 2 * len(first) - 1


def test_groups_are_means_over_their_models_picture_by_picture():
    lines = summary.by_group(rows(), GROUPS, "up", ["a"]).set_index("group")
    assert lines.loc["Supervised", "value"] == pytest.approx(2.35 + 5) and lines.loc["Supervised", "models"] == 2
    assert lines.loc["Self-supervised", "value"] == pytest.approx(22.35)
    (found,) = summary.between_groups(rows(), GROUPS, "up", ["a"])
    assert found.mean.value == pytest.approx(-15) and found.mean.n == 8 and found.shown
    with pytest.raises(BadRequest, match="Two groups"):
        summary.between_groups(rows(), {"one": "Supervised"}, "up", ["a"])


def test_a_picture_that_one_model_of_a_group_lacks_is_left_out_of_the_group():
    """Model 'two' lies 10 above 'one': a mean over 'one' alone would pull the group down."""
    table = rows()
    table.loc[(table.model == "two") & (table.picture == "p0"), "value"] = np.nan
    table = table[(table.model != "two") | (table.picture != "p1")]
    lines = summary.by_group(table, GROUPS, "up", ["a"]).set_index("group")
    expected = np.mean([2 + 0.1 * number + 5 for number in range(2, 8)])
    assert lines.loc["Supervised", "value"] == pytest.approx(expected) and lines.loc["Supervised", "n"] == 6
    (difference,) = summary.between_groups(table, GROUPS, "up", ["a"])
    assert difference.mean.value == pytest.approx(-15) and difference.mean.n == 6


def test_metrics_that_mean_the_same_agree_and_directions_are_turned():
    found = summary.between_metrics(rows(), METRICS, "one", ["a", "b"], list(METRICS))
    assert list(found) == [("up", "down")] and found["up", "down"].value == pytest.approx(1)
    models = summary.between_models(rows(), "up", "higher", list(GROUPS), ["a", "b"])
    assert len(models) == 3 and all(one.value == pytest.approx(1) for one in models.values())


def every_chart():
    lines = summary.summary(rows(), METRICS)
    values = summary.values(rows(), "one", "up")
    groups = summary.by_group(rows(), GROUPS, "up", ["a", "b"]).assign(name=lambda f: f.method, kind=lambda f: f.group)
    tau = ranking.agreement({"x": values, "y": -values})["x", "y"]
    return {
        "means": runs.means(lines[lines.model == "one"], ["a", "b", "control:uniform_map"], ["up", "down"]),
        "spreads": runs.spreads(values, list(values.columns), {"p1": "name 1"}, "up"),
        "critical": runs.critical_difference(ranking.ranks(values, "higher")),
        "intervals": runs.intervals(groups, "up"),
        "taus": runs.taus(pd.DataFrame([{"kind": "a", "name": "x | y", **tau._asdict()}]), "tau"),
    }


@pytest.mark.parametrize("name", ["means", "spreads", "critical", "intervals", "taus"])
def test_every_chart_is_saved_as_png_and_svg(name):
    chart = every_chart()[name]
    assert common.chart_bytes(chart, "png").startswith(b"\x89PNG")
    svg = common.chart_bytes(chart, "svg").decode()
    assert svg.startswith("<svg") and svg.count("<path") > 3


def test_the_marks_of_ranks_are_those_of_nemenyi():
    """Ranks 1, 2, 3 and 4 on each of eight pictures; the critical difference of four methods is 1.66."""
    values = pd.DataFrame({name: place + np.arange(8) / 100 for place, name in enumerate("dcba")})
    ranks = ranking.ranks(values, "higher")
    assert ranks.best == "a" and set(ranks.worse) == {"c", "d"} and 1 < ranks.critical < 2
    cells = next(iter(runs.critical_difference(ranks).to_dict()["datasets"].values()))
    assert {cell["method"]: cell["difference"] for cell in cells} == {
        "a": runs.NO_DIFFERENCE, "b": runs.NO_DIFFERENCE, "c": runs.WORSE, "d": runs.WORSE,
    }  # fmt: skip


def test_the_table_of_means_says_what_it_shows():
    data = every_chart()["means"].to_dict()
    cells = next(iter(data["datasets"].values()))
    one = next(cell for cell in cells if (cell["method"], cell["metric"]) == ("b", "up"))
    assert one["text"] == "1.35" and one["place"] == 0.5 and one["controls"] == "beats every control"
    control = next(cell for cell in cells if cell["method"].startswith("control:"))
    assert control["place"] == 0 and control["controls"] == "is a control"
