"""The key of a run's row: each setting, model, picture and version that can change a value changes the key."""

from dataclasses import replace

import pytest
from changed_fields import assert_key_sees_each_field
from small_models import pictures, small

from xai_core.attribution.catalog import METHODS
from xai_core.data.sample_list import Labelled
from xai_core.evaluation import planner, runner
from xai_core.evaluation.planner import Block
from xai_core.evaluation.summary import CONTROL
from xai_core.explanation import rendering
from xai_core.metrics.catalog import METRICS

MODEL = small("custom").model
ONE, OTHER = (rendering.to_pil(picture) for picture in pictures(2, small("custom").side))
NAME, METRIC, CONTROL_MAP = "0.png", "pointing_game", f"{CONTROL}random_map"
SETTINGS = planner.check_settings(
    {"grad_cam": {}}, {METRIC: {}}, target="1", seed=0, precision="exact", boxes={NAME: [(5.0, 5.0, 30.0, 30.0)]}
)


def keys_of(settings=SETTINGS, model=MODEL, picture=ONE) -> dict[str, str]:
    """The keys of a picture's rows, by the map: of one method, and of the controls."""
    (method,), (metric,) = settings.methods, settings.metrics
    block = Block("small", Labelled(NAME, ""), "digest of the file", frozenset({(method, metric), (CONTROL, metric)}))
    rows = runner.measured(model, block, picture, settings, None, iter)
    return {"map" if row["method"] == method else row["method"]: row["run_key"] for row in rows}


@pytest.mark.parametrize("row", ["map", CONTROL_MAP])
def test_every_setting(row):
    others = {
        "methods": {"grad_cam": {"relu": False}},
        "metrics": {METRIC: {"tolerance": 3}},
        "target": "2",
        "seed": 1,
        "precision": "fast",
        "boxes": {NAME: [(5.0, 5.0, 30.0, 31.0)]},
    }
    without = set()
    if row == CONTROL_MAP:  # no method of the settings makes it
        del others["methods"]
        without = {"methods"}
    assert_key_sees_each_field(lambda settings: keys_of(settings)[row], SETTINGS, others, without)


def test_method_and_metric_and_the_target_of_each_model():
    alone = [
        SETTINGS,
        replace(SETTINGS, methods={"layer_cam": SETTINGS.methods["grad_cam"]}),
        replace(SETTINGS, metrics={"sparseness": {}}),
        replace(SETTINGS, target=planner.PREDICTED, seed=2),
    ]
    keys = [key for settings in alone for key in keys_of(settings).values()]
    assert len(set(keys)) == len(keys) - 4, "only the four controls are the same for another method"


@pytest.mark.parametrize("part", ["id", "fingerprint"])
def test_the_model_and_its_weights(part):
    assert keys_of(model=replace(MODEL, **{part: "another"})).items().isdisjoint(keys_of().items())


def test_the_picture():
    assert keys_of(picture=OTHER).items().isdisjoint(keys_of().items())


@pytest.mark.parametrize(("catalog", "name"), [(METHODS, "grad_cam"), (METRICS, METRIC)], ids=["method", "metric"])
def test_the_versions(catalog, name, monkeypatch):
    before = keys_of()["map"]
    monkeypatch.setitem(catalog, name, replace(catalog[name], version=catalog[name].version + 1))
    assert keys_of()["map"] != before


def test_boxes_that_a_metric_does_not_look_at_are_no_part_of_its_rows():
    """A picture's row is the same work, whether or not another metric of the run needs a box."""
    settings = replace(SETTINGS, metrics={"sparseness": {}})
    assert keys_of(settings) == keys_of(replace(settings, boxes={}))
