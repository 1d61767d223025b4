"""Maps and their scores of several networks: numbers as of `measure_all`, and a sheet with each map in its place."""

import numpy as np
import pytest
from small_models import pictures, small

from xai_core.analysis import scored_maps
from xai_core.analysis.scored_maps import COLUMNS, CONTROL, score_maps
from xai_core.attribution.explain import explain
from xai_core.core.errors import XaiError
from xai_core.explanation import rendering
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import CONTROLS, Measurement, measure_all
from xai_core.metrics.metric import HIGHER

METHODS = {"grad_cam": {}, "saliency": {}}
METRICS = {"deletion": {"steps": 3}, "sparseness": {}, "energy_pointing_game": {}}


@pytest.fixture(scope="module")
def picture():
    return rendering.to_pil(pictures(1, 48)[0])


@pytest.fixture(scope="module")
def scored(picture):
    """Of two networks, or one with two seeds."""
    found = []
    for name, seed in (("one", 0), ("two", 1)):
        *_, last = score_maps(name, small("custom").model, picture, METHODS, METRICS, target=3, seed=seed)
        found.append(last)
    return found


def test_the_scores_are_those_of_measure_all(scored, picture):
    model = small("custom").model
    maps = {name: explain(model, picture, name, target=3) for name in METHODS}
    measured = {(name, key): one.value for name, key, one in measure_all(model, picture, maps, METRICS, seed=0)}
    table = scored_maps.table("a.png", scored, METRICS)
    assert tuple(table.columns) == COLUMNS and len(table) == 2 * len(METRICS) * (len(METHODS) + len(CONTROLS))
    own = table[table["model"] == "one"].set_index(["map", "metric"])["value"]
    assert {*own.index} == {*measured}
    for place, value in measured.items():
        assert own[place] == pytest.approx(value, nan_ok=True), place
    assert own["grad_cam", "sparseness"] == pytest.approx(gini(maps["grad_cam"].to_input()), abs=1e-6)
    notes = table.set_index(["model", "map", "metric"])["note"]
    assert "needs a box" in notes["two", "saliency", "energy_pointing_game"]


def gini(values):
    """By the definition: the mean difference of all pairs, over twice the mean."""
    flat = np.abs(values).ravel().astype(np.float64)
    ordered = np.sort(flat)
    ranks = np.arange(1, len(flat) + 1)
    return float(((2 * ranks - len(flat) - 1) * ordered).sum() / (len(flat) * flat.sum()))


def test_the_control_is_the_map_that_the_metrics_measure(scored):
    one = scored[0]
    control = one.maps[CONTROL]
    alone = explain(small("custom").model, rendering.to_pil(pictures(1, 48)[0]), "random_map", cells=7, seed=0, target=3)
    np.testing.assert_array_equal(control.heatmap, alone.heatmap)
    assert one.scores[CONTROL, "sparseness"].value == pytest.approx(gini(control.to_input()), abs=1e-6)
    assert one.scores["grad_cam", "sparseness"].controls[CONTROL] == one.scores[CONTROL, "sparseness"].value


@pytest.mark.parametrize(
    "value, control, direction, expected",
    [(0.4, 0.4, "higher", True), (0.5, 0.4, "higher", False), (0.5, 0.4, "lower", True), (np.nan, 0.4, "lower", False),
     (0.4, np.nan, "higher", False)],
)  # fmt: skip
def test_no_better_than_the_control(value, control, direction, expected):
    metric = find_metric("sparseness" if direction == HIGHER else "deletion")
    assert scored_maps.no_better(metric, Measurement(value, controls={CONTROL: control})) is expected


def test_the_sheet_has_one_scale_and_a_cell_for_each_map(scored, picture):
    sheet = scored_maps.sheet(picture, scored, METRICS, "a.png")
    columns = len(METHODS) + 1
    assert sheet.width == columns * (scored_maps.WIDTH + 12) + 12 + 24
    pixels = np.asarray(sheet).astype(int)
    coloured = (pixels.max(2) - pixels.min(2)) > 60
    for column in range(columns):  # a map in each column, of each network
        left = 24 + column * (scored_maps.WIDTH + 12)
        rows = np.flatnonzero(coloured[:, left : left + scored_maps.WIDTH].any(1))
        assert rows[-1] - rows[0] > scored_maps.WIDTH, column
    relative = [scored_maps._relative(one) for one in scored[0].explanations.values()]
    assert all(np.abs(one.heatmap).max() == pytest.approx(1, abs=1e-6) for one in relative if max(one.heatmap.shape) <= 64)


def test_a_method_without_a_map_has_its_reason_in_the_table_and_on_the_sheet(picture):
    model = small("custom").model
    *_, found = score_maps("one", model, picture, {"attention_rollout": {}, "grad_cam": {}}, ["sparseness"], target=1)
    assert isinstance(found.maps["attention_rollout"], XaiError)
    table = scored_maps.table("a.png", [found], ["sparseness"])
    (note,) = table.loc[table["map"] == "attention_rollout", "note"]
    assert note == str(found.maps["attention_rollout"])
    assert scored_maps.sheet(picture, [found], ["sparseness"], "a.png").width > 0
    alone = scored_maps.table("b.png", [], ["sparseness"], {"": "no picture"})
    assert tuple(alone.columns) == COLUMNS and alone[["picture", "note"]].to_numpy().tolist() == [["b.png", "no picture"]]
