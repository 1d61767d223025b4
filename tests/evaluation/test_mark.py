"""The table of which maps show the mark says what was measured, on pictures that bear it."""

import json

import numpy as np
import pytest

from benchmarks import mark
from xai_core.data.world.planted import MARKED

RESULTS = json.loads(mark.FILE.read_text())


def test_every_measured_picture_bears_the_mark():
    dataset = mark.marked(RESULTS["drawn"])
    assert len(dataset.samples) == RESULTS["pictures"] >= 60
    assert all(dataset.scene(sample.name).mark and sample.name.startswith(f"{MARKED}/") for sample in dataset.samples[:5])
    assert dataset.metadata.loc[[sample.name for sample in dataset.samples], "mark"].all()


@pytest.mark.parametrize("model", RESULTS["models"])
def test_the_means_are_those_of_the_values_and_say_of_how_many_pictures(model):
    entry = RESULTS["models"][model]
    values = {name: np.array(column, float) for name, column in entry["values"].items()}
    assert set(values) == set(entry["maps"]) and all(len(column) == RESULTS["pictures"] for column in values.values())
    for name, line in entry["maps"].items():
        known = values[name][np.isfinite(values[name])]
        assert line["n"] == len(known) and line["mean"] == pytest.approx(known.mean(), abs=1e-5)
        assert line["low"] - 1e-9 <= line["mean"] <= line["high"] + 1e-9
    assert entry["used"] == np.isfinite([*values.values()]).any(0).sum() <= RESULTS["pictures"]


def test_the_document_is_made_of_the_results():
    assert mark.DOCUMENT.read_text(encoding="utf-8") == mark.document(RESULTS)


def test_the_step_measures_marked_pictures_on_both_networks(tmp_path):
    """On a few of them, and the same values as in the results."""
    run = mark.measure(tmp_path, ["grad_cam"], drawn=60)
    found = mark.results(run)
    count = len(mark.marked(60).samples)
    assert found["pictures"] == count > 1 and list(found["models"]) == list(mark.MODELS)
    for entry in found["models"].values():
        assert 0 <= entry["used"] <= count and 0 <= entry["predicted as marked"] <= count
        assert len(entry["values"]["grad_cam"]) == count and any(name.startswith("control:") for name in entry["maps"])
    assert run.table().metric.astype(str).unique().tolist() == [mark.METRIC]
