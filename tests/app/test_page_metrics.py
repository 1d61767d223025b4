"""The page of metrics in Streamlit's own test harness: one image."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from opened_pages import chart_tables, draw_on, finished, opened, text
from small_runs import png

from xai_core.app.charts.common import LOST, QUIET
from xai_core.app.metrics import image_results, image_tab
from xai_core.app.shared import cache, progress
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.data.mosaics import mosaic
from xai_core.data.samples import load_sample
from xai_core.metrics.catalog import METRICS, PUBLISHED_PRESET
from xai_core.metrics.measure import CONTROLS, measure_all
from xai_core.metrics.self_test import Verdict
from xai_core.models.loading import load_model

PAGE = "pages/4_Faithfulness_metrics.py"


@pytest.fixture
def measured(monkeypatch):
    """The page with two methods measured by some metrics, whatever it takes."""
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 1e6)

    def run(*metrics):
        titles = [METRICS[name].title for name in metrics]
        app = opened(PAGE, picture="Chelsea the cat", methods=["Grad-CAM", "Saliency"], metrics=titles)
        assert not app.error, app.error
        return app

    return run


def test_maps_are_measured_beside_controls_with_curves_and_downloads(measured):
    app = measured("deletion", "sparseness")
    said = text(app)
    assert "Measuring maps of the logit of tiger cat" in said
    assert "Deletion (zero, 16 steps, confidence)" in said and "low where they matter" in said
    table = app.dataframe[0].value
    assert list(table.Map)[:2] == ["Grad-CAM", "Saliency"] and len(table) == 6
    assert "An orange bar is a map that beats all of them; a blue bar with ° one that does not" in said
    assert table["Beats all controls"][0].endswith("of 2") and table.deletion.notna().all()
    assert len(app.get("vega_lite_chart")) == 3, "bars for two metrics, and the curves"
    labels = [button.label for button in app.get("download_button")]
    assert labels == [
        "Curves (PNG)", "Curves (SVG)", "Numbers (CSV)", "Numbers (Parquet)", "Everything with curves (JSON)",
    ]  # fmt: skip


def test_definitions_are_sent_when_they_are_opened(measured):
    app = measured("deletion", "sparseness")
    assert len(app.dataframe) == 1 and METRICS["sparseness"].source not in text(app)
    app.session_state["definitions"] = True
    app.run()
    assert METRICS["sparseness"].source in text(app)
    assert [block.value for block in app.code] == [METRICS[name].definition for name in ("deletion", "sparseness")]
    assert len(app.dataframe) > 1, "details of the values"


def test_beats_all_controls_is_counted_against_the_value_of_each_control(measured):
    """Measured again for this test. The uniform map has no correlation, so it is left out of that comparison."""
    signs = {"deletion": -1, "sparseness": 1, "entropy": -1, "faithfulness_correlation": 1}  # 1: higher is better
    app, model, picture = measured(*signs), load_model("efficientnet_lite0"), load_sample("chelsea")
    maps = {METHODS[id].title: explain(model, picture, id) for id in ("grad_cam", "saliency")}
    raw = {(name, metric): one.value for name, metric, one in measure_all(model, picture, maps, list(signs))}
    table = app.dataframe[0].value.set_index("Map")
    bars = [rows.set_index("name") for rows in chart_tables(app, {"name", "value", "beats", "text"})]
    for title in maps:
        beats = []
        for metric, sign in signs.items():
            assert table[metric][title] == pytest.approx(raw[title, metric], rel=1e-4)
            controls = [raw[control, metric] for control in CONTROLS if np.isfinite(raw[control, metric])]
            assert len(controls) == (3 if metric == "faithfulness_correlation" else 4)
            beats.append(all(sign * (raw[title, metric] - control) > 0 for control in controls))
        assert table["Beats all controls"][title] == f"{sum(beats)} of 4"
        assert [LOST not in rows["text"][title] for rows in bars] == beats
    assert "No value for Uniform (control): No correlation" in text(app)
    assert set(table["Beats all controls"][2:]) == {""}, "a control is not compared with itself"


def test_a_map_beats_no_controls_where_none_has_a_value(measured, monkeypatch):
    """It is neither for nor against the map: the metric does not count, and the bar is grey."""

    def without_controls(*args, **more):
        for name, metric, one in measure_all(*args, **more):
            yield name, metric, replace(one, value=np.nan) if name in CONTROLS and metric == "entropy" else one

    monkeypatch.setattr(image_tab, "measure_all", without_controls)
    cache.clear()
    app = measured("entropy", "sparseness")
    cache.clear()
    table = app.dataframe[0].value.set_index("Map")["Beats all controls"]
    assert [score.rpartition(" ")[2] for score in table[:2]] == ["1", "1"]
    bars = chart_tables(app, {"name", "value", "beats", "colour"})
    assert set(bars[0]["colour"]) == {QUIET} and QUIET not in set(bars[1]["colour"])


@pytest.mark.parametrize(
    ("direction", "values", "words"),
    [
        ("higher", [0.25, 0.5], "best is b with 0.500 of 2 maps"),
        ("lower", [0.25, 0.5], "best is a with 0.250 of 2 maps"),
        ("lower", [0.0, 0.0, 1.0], "2 of 3 maps are equally good, with 0.000"),
        ("", [0.25, 0.5], "0.250 to 0.500 over 2 maps; neither higher nor lower is better"),
    ],
)
def test_the_best_map_is_named_only_where_there_is_one(direction, values, words):
    maps = pd.DataFrame({"name": list("abc")[: len(values)], "value": values})
    assert image_results._extent(maps, direction) == words


def test_nothing_is_measured_twice(measured, monkeypatch):
    calls, real = [], image_tab.measure_all

    def counting(model, image, maps, metrics, **asked):
        calls.append((sorted(maps), sorted(metrics), asked["controls"]))
        return real(model, image, maps, metrics, **asked)

    monkeypatch.setattr(image_tab, "measure_all", counting)
    app = measured("sparseness", "entropy")
    calls.clear()
    app.number_input(key="seed").set_value(7).run()
    assert calls == [(["grad_cam", "saliency"], ["entropy", "sparseness"], True)]
    calls.clear()
    app.multiselect(key="methods").set_value(["grad_cam", "saliency", "layer_cam"]).run()
    assert calls == [(["layer_cam"], ["entropy", "sparseness"], False)]
    calls.clear()
    app.multiselect(key="metrics").set_value(["entropy", "effective_pixels"]).run()
    assert [metrics for _, metrics, _ in calls] == [["effective_pixels"]]
    calls.clear()
    app.multiselect(key="metrics").set_value(["entropy", "effective_pixels"]).run()
    assert calls == [] and not app.exception


def test_a_step_of_the_curve_shows_its_picture(measured):
    app = measured("deletion")
    assert "25% pixels removed" in text(app)
    app.slider(key="step-16").set_value(8).run()
    assert "50% pixels removed" in text(app) and not app.exception
    app.selectbox(key="curve-map").set_value("control:uniform_map").run()
    assert "of the points depend on the random order of tied pixels." in text(app) and not app.exception


def test_a_click_on_a_curve_chooses_map_and_step(monkeypatch):
    state = {"curves-deletion": {"selection": {"pick": [{"name": "Saliency: 0.1", "step": 3}]}}}
    monkeypatch.setattr(image_results.st, "session_state", state)
    image_results._take_point("curves-deletion", {"grad_cam": "Grad-CAM: 0.2", "saliency": "Saliency: 0.1"}, 16)
    assert state["curve-map"] == "saliency" and state["step-16"] == 3


def test_a_box_brings_localisation_and_an_empty_one_is_explained(measured):
    app = measured("sparseness")
    app.segmented_control(key="evidence").set_value("In a box").run()
    assert "Energy pointing game" in text(app) and not app.exception
    left = next(box for box in app.number_input if box.label == "Left")
    width, height = 451, 300
    draw_on(app, "box", box=[10, 20, 200, 280])
    assert [box.value for box in app.number_input if "-451x300" in box.key] == [10, 20, 200, 280]
    for bad in ([10, 20, 10, 280], [10, 20, width + 1, height], [-1, 0, 5, 5], "box", [1.5, 2, 3, 4], None):
        draw_on(app, "box", box=bad)
        assert [box.value for box in app.number_input if "-451x300" in box.key] == [10, 20, 200, 280], bad
    left.set_value(450).run()
    assert "The box is empty" in app.info[0].value and not app.exception


def test_the_self_test_is_offered_with_its_price_and_becomes_a_badge(measured, monkeypatch):
    app = measured("energy_pointing_game", "sparseness", "deletion")
    assert "Can these metrics be trusted here?" in text(app)

    def test_of(model, image, metrics, target, **asked):
        for name in metrics:
            yield Verdict(name, {"deletion": False, "sparseness": None}.get(name, True), f"Said of {name}.", {})

    monkeypatch.setattr(image_tab, "self_test", test_of)
    finished(next(button for button in app.button if button.label == "Self-test").click().run())
    said = text(app)
    assert "self-test passed" in said and "self-test failed" in said and "Said of deletion." in said
    assert "Can these metrics be trusted here?" not in said and not app.exception


def test_nothing_chosen_and_options(measured):
    app = measured("deletion")
    app.slider(key="deletion.steps").set_value(8).run()
    assert "Deletion (zero, 8 steps, confidence)" in text(app) and not app.exception
    app.multiselect(key="metrics").set_value([]).run()
    assert "Choose at least one method and one metric" in app.info[0].value


def test_what_takes_long_is_measured_on_demand():
    app = opened(PAGE)
    app.multiselect(key="metrics").set_value(["sensitivity_n"]).run()
    assert any(button.label == "Measure" for button in app.button)
    assert "passes through the network, for" in text(app)


# mosaics


def asked_of(app, monkeypatch, act):
    """What is measured, of which picture and with which box, while `act` runs."""
    calls, real = [], image_tab.measure_all

    def watching(model, image, maps, metrics, **asked):
        calls.append((image, sorted(maps), sorted(metrics), asked["target"].key(0), asked["box"]))
        return real(model, image, maps, metrics, **asked)

    monkeypatch.setattr(image_tab, "measure_all", watching)
    act(app)
    assert not app.exception and not app.error
    return calls


def in_a_mosaic(app):
    app.segmented_control(key="evidence").set_value("In a mosaic").run()


def test_in_a_mosaic_the_question_stays_and_its_quarter_is_the_box(measured, monkeypatch):
    app = measured("sparseness")
    ((image, maps, metrics, target, box),) = asked_of(app, monkeypatch, in_a_mosaic)
    assert maps == ["grad_cam", "saliency"] and metrics == ["energy_pointing_game", "sparseness"]
    assert target == "logit 282" and box == (0, 0, 256, 256), "tiger cat, which the picture alone is taken for"
    whole, boxes = mosaic([load_sample("chelsea")] * 4)
    assert image.size == whole.size and image.crop(boxes[0]).tobytes() == whole.crop(boxes[0]).tobytes()
    said = text(app)
    assert "Measuring maps of the logit of tiger cat" in said and "a true map lies mostly in the outlined quarter" in said
    assert "Probability of tiger cat: 39.3% for the picture alone" in said and "has the highest value: under 0.1%" in said
    assert not app.warning, "no other sample has a tiger cat"
    table = app.dataframe[0].value.set_index("Map").energy_pointing_game
    assert table["Grad-CAM"] > 0.5 and table["Uniform (control)"] == pytest.approx(0.25)


def test_the_mosaic_is_the_same_again_and_its_link_restores_it(measured, monkeypatch):
    app = measured("sparseness")
    in_a_mosaic(app)
    first, again = (
        asked_of(app, monkeypatch, lambda app, seed=seed: app.number_input(key="seed").set_value(seed).run())[0][0]
        for seed in (11, 12)
    )
    assert first.tobytes() == again.tobytes()
    linked = opened(PAGE, picture="Chelsea the cat", evidence="In a mosaic", methods=["Grad-CAM"], metrics=["Sparseness"])
    assert "outlined quarter" in text(linked) and linked.segmented_control(key="evidence").value == "In a mosaic"


def test_a_tolerance_of_the_pointing_game_is_warned_of_where_quarters_touch(measured):
    app = measured("pointing_game")
    in_a_mosaic(app)
    assert "The quarters touch" in text(app)
    app.slider(key="pointing_game.tolerance").set_value(0).run()
    assert "The quarters touch" not in text(app) and not app.exception


def test_an_upload_stands_in_a_mosaic(measured, monkeypatch):
    app = measured("sparseness")
    in_a_mosaic(app)
    upload = ("mine.png", png(3), "image/png")
    calls = asked_of(app, monkeypatch, lambda app: app.file_uploader(key="file").set_value(upload).run())
    assert calls[0][0].size == (512, 512) and calls[0][4] == (0, 0, 256, 256)


def test_a_model_of_other_classes_says_where_else_evidence_may_lie(measured):
    app = measured("sparseness")
    app.selectbox(key="model").set_value("scenes_supervised").run()
    in_a_mosaic(app)
    assert "beside" in text(app) and not app.exception and not app.error
    app.selectbox(key="class").set_value(app.selectbox(key="class").options[-1]).run()
    assert "more than one quarter" in app.warning[0].value, "the class that the picture has least of"


def test_a_similarity_is_found_in_a_mosaic_too(measured):
    app = measured("sparseness")
    in_a_mosaic(app)
    app.segmented_control(key="ask").set_value("Similarity").run()
    assert "Similarity to the reference: 0." in text(app) and not app.exception and not app.error


def test_one_button_chooses_the_published_metrics_and_their_settings():
    app = opened(PAGE)
    next(button for button in app.button if button.label == "As published").click().run()
    assert not app.exception and app.multiselect(key="metrics").value == list(PUBLISHED_PRESET)
    assert app.selectbox(key="insertion.substrate").value == PUBLISHED_PRESET["insertion"]["substrate"]
    assert app.slider(key="deletion.pixels").value == PUBLISHED_PRESET["deletion"]["pixels"]
