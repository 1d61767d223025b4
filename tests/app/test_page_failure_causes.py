"""The step Causes of the page Failure analysis; its figures are computed again from raw rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from opened_pages import ROOT, opened, text

from xai_core.app.charts import causes as charts
from xai_core.app.shared import cache, jobs, progress, server_job
from xai_core.attribution.explain import explain
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import read_predictions
from xai_core.failures.causes import common_region
from xai_core.failures.halves import halves
from xai_core.failures.hiding import HIDINGS, hider
from xai_core.failures.picture_changes import CHANGES
from xai_core.failures.what_ifs import USUAL_CHANGES
from xai_core.models.loading import load_model

PAGE = "pages/7_Failure_analysis.py"
GROUP = "windmill predicted as lighthouse (16 errors of 16 pictures)"


@pytest.fixture(scope="module")
def errors():
    """The model, the errors of the group in the order of the table, and their pictures as the network sees them."""
    (file,) = (ROOT / "data" / "predictions").glob("world_planted*.parquet")
    rows = read_predictions(file)
    rows = rows[(rows["true"] == "windmill") & (rows["predicted"] == "lighthouse")].reset_index(drop=True)
    model, dataset = load_model("world_planted"), open_dataset("world:planted")
    return model, rows, torch.stack([model.prepare(dataset.open(path)).pixels for path in rows["path"]])


def answers(model, images):
    return model.outputs(images).logits.argmax(1).numpy()


def test_what_hiding_the_region_mends_is_counted_from_the_pictures(errors):
    model, rows, images = errors
    app = opened(PAGE, step="Causes", group=GROUP)
    true, answer = rows["true_index"].to_numpy(), rows["predicted_index"].to_numpy()
    first, second = halves(len(rows), 0)
    maps = explain(
        model, list(images[first]), "refine_cam", target=answer[first].tolist(), rival=true[first].tolist(), seed=0
    )
    region = common_region(torch.stack([torch.from_numpy(one.to_input()) for one in maps]), 0.05)[None]
    (table,) = (element.value for element in app.dataframe if "hidden by" in element.value)
    assert table["hidden by"].tolist() == list(HIDINGS)
    for hiding, line in table.set_index("hidden by").iterrows():
        hidden = torch.cat([hider(images[place][None], hiding)(region) for place in second])
        mended = int((answers(model, hidden) == true[second]).sum())
        assert line["errors"] == len(second) and line["region mends"].startswith(f"{mended} (")
        if hiding == HIDINGS[0]:
            assert f"mends {mended} of {len(second)} errors" in text(app)
    assert f"Maps of {len(first)} errors of the group" in text(app)
    assert not app.error


def test_the_share_of_errors_that_a_change_mends_is_counted_from_the_pictures(errors):
    model, rows, images = errors
    app = opened(PAGE, step="Causes", causes="What-ifs", group=GROUP)
    (table,) = (element.value for element in app.dataframe if "share mended" in element.value)
    held_out = halves(len(rows), 0)[1]
    table = table.set_index("change")
    for change in USUAL_CHANGES:
        after = answers(model, change(images, seed=0))[held_out]
        mended = int((after == rows["true_index"].to_numpy()[held_out]).sum())
        assert table.loc[change.title, "mended"] == mended and table.loc[change.title, "errors"] == len(held_out)
        assert table.loc[change.title, "share mended"] == pytest.approx(mended / len(held_out))
    changed = with_blurred_backgrounds(model, images)
    mended = int((answers(model, changed)[held_out] == rows["true_index"].to_numpy()[held_out]).sum())
    assert table.loc["background blurred, sigma 0.05", "mended"] == mended and len(table) == len(USUAL_CHANGES) + 2
    assert ("more than the other changes do" in text(app)) == bool(table["confirmed"].any())
    assert "all but the 25% of the picture" in text(app) and not app.error


def with_blurred_backgrounds(model, images):
    """A quarter of each picture stays, where the map of its answer is highest."""
    maps = [torch.from_numpy(one.to_input()) for one in explain(model, list(images), "refine_cam")]
    stays = torch.stack([one >= one.flatten().topk(round(one.numel() / 4)).values[-1] for one in maps])
    blurred = CHANGES["blur"](images, sigma=0.05)
    return torch.where(stays[:, None], images, blurred)


@pytest.fixture
def everything_is_long(monkeypatch):
    """Nothing is computed yet, and nothing is short enough to begin by itself."""
    cache.clear()
    jobs._registry.clear()
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 1e-6)


@pytest.mark.usefixtures("everything_is_long")
def test_long_work_is_offered_first():
    app = opened(PAGE, asks=True, step="Causes", group="all errors", region=["Each picture's own"])
    assert not app.dataframe and not app.exception


@pytest.mark.usefixtures("everything_is_long")
def test_the_way_starts_the_long_work_of_its_next_step():
    """Each step shows what it has found before the next is asked for. What was cancelled waits for its button."""
    app = opened(PAGE, asks=True, step="Groups", group="all errors", region=["Each picture's own"])
    app.button(key="next step").click().run()
    (job,) = (job for job in jobs.listed() if job.title.startswith("Cause test"))
    app.button(key=f"cancel {job.key}").click().run()
    jobs.wait()
    assert job.state == server_job.CANCELLED and not app.exception
    app.segmented_control(key="step").set_value("Groups").run()
    app.button(key="next step").click().run()
    assert job.state == server_job.CANCELLED and "run Test" in [button.key for button in app.button]


def test_the_charts_are_valid_and_their_marks_can_be_picked():
    points = pd.DataFrame(
        {"path": ["a", "b"], "region margin": [1.0, -2], "random margin": [0.5, 0], "mended": ["yes", "no"]}
    )
    specification = charts.margins(points).to_dict()
    assert [one["name"] for one in specification["params"]] == ["error"]
    bars = pd.DataFrame(
        {"change": ["blur"] * 2, "what": ["errors mended", "right ones broken"], "count": [1, 0], "whole": [4, 2],
         "share": [0.25, 0], "low": [0.1, 0], "high": [0.6, 0.5]}
    )  # fmt: skip
    assert [one["name"] for one in charts.changes(bars).to_dict()["params"]] == ["change"]
    assert np.isfinite(specification["layer"][1]["encoding"]["x"]["scale"]["domain"]).all()
