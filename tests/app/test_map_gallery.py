"""Many maps at once on the page Misclassifications: halves, one scale, the cache, Cancel, and the sheet."""

import io
import json

import numpy as np
import pytest
import streamlit as st
from opened_pages import finished, text
from PIL import Image
from sample_predictions import first_error, folders, opened_on_samples, raw_rows  # noqa: F401  (an autouse fixture is among them)

from xai_core.analysis import map_sheet
from xai_core.app.shared import cache, display, explanations, page_work
from xai_core.attribution.explain import explain
from xai_core.core.errors import OutOfMemory
from xai_core.data.corrupted_samples import changed_samples
from xai_core.explanation.result import Explanation
from xai_core.models.loading import load_model

PAGE = "pages/6_Misclassifications.py"
ALL = {"true": "(all)", "predicted": "(all)"}


@pytest.fixture
def no_maps():
    """Nothing is computed yet."""
    cache.clear()


def opening(app):
    """The pictures of which the gallery has a button."""
    return [element.key.removeprefix("open ") for element in app.button if (element.key or "").startswith("open ")]


def wrong_and_right():
    rows = raw_rows()
    wrong = rows["true"] != rows["predicted"]
    return rows[wrong].sort_values("confidence", ascending=False), rows[~wrong].sort_values("confidence", ascending=False)


def test_wrong_and_right_stand_side_by_side_on_one_scale():
    app = opened_on_samples(PAGE, maps="true", **ALL)
    wrong, right = wrong_and_right()
    assert f"**Wrong: {len(wrong)} (here 1 to 12)**" in text(app) and f"**Right: {len(right)} (here 1 to 12)**" in text(app)
    assert opening(app) == [*wrong["path"].head(12), *right["path"].head(12)]
    model, dataset = load_model("efficientnet_lite0"), changed_samples()
    maps = []
    for row in [*wrong.head(12).to_dict("records"), *right.head(12).to_dict("records")]:
        maps.append(explain(model, dataset.open(row["path"]), "hires_cam", target=row["predicted_index"], relu=False))
        assert f"predicted: {row['predicted'].split(',')[0]} {row['confidence']:.0%}" in text(app)
    largest = max(np.abs(one.heatmap).max() for one in maps)
    assert f"one scale shared by 24 maps, {-largest:.3g} to {largest:.3g}. 24 of 24 pictures have a map" in text(app)


def test_the_drawer_finds_the_maps_that_the_gallery_has_made(monkeypatch):
    path = first_error()["path"]
    opened_on_samples(PAGE, maps="true")
    assert all(isinstance(result, Explanation) for result in cache._store().results.values() if hasattr(result, "heatmap"))
    model, picture = load_model("efficientnet_lite0"), changed_samples().open(path)
    row = raw_rows().set_index("path").loc[path]
    request = map_sheet.request_of(
        model, [model.prepare(picture)], [int(row["predicted_index"])], "hires_cam", {"relu": False}
    )
    assert isinstance(explanations.stored(request.rows([0]).key), Explanation)


def test_a_list_of_errors_alone_has_right_ones_of_its_class_beside_it():
    first = first_error()
    app = opened_on_samples(PAGE, maps="true", true=first["true"], predicted=first["predicted"])
    rows = raw_rows()
    cell = rows[(rows["true"] == first["true"]) & (rows["predicted"] == first["predicted"])]
    same = rows[(rows["true"] == first["true"]) & (rows["true"] == rows["predicted"])]
    assert f"**Wrong: {len(cell)}**" in text(app) and len(same)
    assert f"**Right, of the same true class, for comparison: {len(same)}" in text(app)
    assert set(opening(app)) <= {*cell["path"], *same["path"]}


def test_nothing_is_computed_twice(monkeypatch):
    app = opened_on_samples(PAGE, maps="true", **ALL)
    monkeypatch.setattr(map_sheet, "answer", None)  # would fail
    app.run()
    assert not app.exception and not app.error and "24 of 24 pictures have a map" in text(app)


def test_work_that_is_long_waits_for_a_click_and_shows_the_pictures_meanwhile(no_maps, monkeypatch):
    monkeypatch.setattr(explanations, "estimate", lambda request: 60.0)
    app = opened_on_samples(PAGE, asks=True, maps="true")
    assert "No map is computed yet." in text(app) and opening(app)
    next(element for element in app.button if element.label == "Compute the maps").click().run()
    app = finished(app)  # a job has done it
    assert not app.exception and f"{len(opening(app))} of {len(opening(app))} pictures have a map" in text(app)


def test_what_was_computed_before_cancel_stays(no_maps, monkeypatch):
    """Cancel ends the run between two sweeps: the next run finds the maps of the first one and offers the rest."""
    real, done = map_sheet.attempt, []

    def attempt(request, track):
        if done:
            st.stop()  # as a run ends that is cancelled
        done.append(len(request.pictures))
        return real(request, track)

    monkeypatch.setattr(map_sheet, "attempt", attempt)
    opened_on_samples(PAGE, maps="true", **ALL)
    monkeypatch.setattr(map_sheet, "attempt", None)
    monkeypatch.setattr(page_work, "start_now", lambda work: False)
    app = opened_on_samples(PAGE, maps="true", **ALL)
    assert f"one scale shared by {done[0]} maps" in text(app) and f"{done[0]} of 24 pictures have a map" in text(app)


def test_a_picture_that_fails_says_why_and_the_others_have_maps(no_maps, monkeypatch):
    real, bad = map_sheet.answer, first_error()["path"]
    digest = load_model("efficientnet_lite0").prepare(changed_samples().open(bad)).digest

    def answer(requests, track):
        if any(picture.digest == digest for picture in requests[0].pictures):
            raise OutOfMemory("Not even one picture fits.")
        return real(requests, track)

    monkeypatch.setattr(map_sheet, "answer", answer)
    app = opened_on_samples(PAGE, maps="true")
    shown = len(opening(app))
    assert [element.value for element in app.error] == ["Not even one picture fits."]
    assert f"{shown - 1} of {shown} pictures have a map" in text(app)


def test_the_sheet_holds_what_the_page_shows(monkeypatch):
    made = {}
    monkeypatch.setattr(display, "downloads", lambda files, add=None: made.update(files))
    app = opened_on_samples(PAGE, maps="true", **ALL)
    assert not app.exception
    name, mime, content = made["Sheet (PNG)"]
    assert (name, mime) == ("maps_hires_cam.png", "image/png")
    with Image.open(io.BytesIO(content())) as page:
        assert json.loads(page.text["xai_core"])["method"] == "hires_cam"
        assert page.width == 8 * (map_sheet.WIDTH + 12) + 36 and page.height > 3 * map_sheet.WIDTH


def test_the_drawer_shows_the_maps_of_its_list():
    first = first_error()
    app = opened_on_samples(PAGE, sample=first["path"])
    app.toggle(key="maps of the list").set_value(True).run()
    assert not app.exception and "pictures have a map" in text(app)
    others = [element for element in app.button if (element.key or "").startswith("open map ")]
    assert f"open map {first['path']}" in [element.key for element in others]
    others[-1].click().run()
    assert not app.exception and app.query_params["sample"] == others[-1].key.removeprefix("open map ")
    assert not app.toggle(key="maps of the list").value


def test_a_sweep_stores_each_picture_under_its_own_key_with_one_estimate_for_all(no_maps):
    model, dataset = load_model("efficientnet_lite0"), changed_samples()
    prepared = [model.prepare(dataset.open(sample.name)) for sample in dataset.samples[:3]]
    request = map_sheet.request_of(model, prepared, [1, 2, 3], "hires_cam", {"relu": False})
    part = explanations.sweep(request)
    part.compute(iter)
    for place, (picture, target) in enumerate(zip(prepared, (1, 2, 3), strict=True)):
        alone = explain(model, picture, "hires_cam", target=target, relu=False)
        stored = explanations.stored(request.rows([place]).key)
        assert stored.key == alone.key
        np.testing.assert_allclose(stored.heatmap, alone.heatmap, rtol=1e-3, atol=1e-5)
    assert part.seconds > 0
