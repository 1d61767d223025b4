"""The pairs page: two views or two pictures, every section, every similarity; what cannot be shown says why."""

import opened_pages
import pytest
from opened_pages import finished, text
from streamlit.testing.v1 import AppTest

from xai_core.app.shared import jobs

PAIRS = "pages/5_Pairs.py"


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    """Only the embedded network is there, and none can be fetched."""
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))


def opened(page: str, **query: str) -> AppTest:
    """The page with the embedded network, which the figures in these tests belong to."""
    return opened_pages.opened(page, **{"model": "EfficientNet-Lite0"} | query)


def test_a_network_that_learned_without_classes_is_asked_first():
    app = opened_pages.opened(PAIRS)
    assert app.selectbox(key="model").value == "scenes_barlow" and not app.error
    app = opened(PAIRS, model="EfficientNet-Lite0")
    assert app.selectbox(key="model").value == "efficientnet_lite0" and not app.error


def test_two_views_are_explained_at_once():
    app = opened(PAIRS)
    said = text(app)
    assert "Cosine similarity" in said and "random pairs" in said and "projection head" in said
    assert "Grad-CAM for similarity" in said and "7 x 7 cells" in said and "Best match" in said
    assert len(app.image) == 3 + 2 * 3 and not app.error


def test_the_seed_and_the_recipe_change_the_views():
    app = opened(PAIRS, crop="1.0", jitter="0.0", blur="0.0", flip="false")
    assert "View 2 shows 100% of view 1" in text(app) and "1.000" in text(app)
    app.slider(key="crop").set_value(0.2).run()
    assert "View 2 shows 100%" not in text(app) and not app.exception


def test_two_pictures_can_be_compared():
    app = opened(PAIRS, **{"from": "Two pictures", "second": "Coffee"})
    assert "as the network sees it" in text(app) and "white cross" not in text(app) and not app.error
    assert len(app.image) == 2 + 2 * 3


@pytest.mark.parametrize("measure", ["InfoNCE", "Nearer than"])
def test_each_similarity_is_explained(measure):
    app = opened(PAIRS, similarity=measure, pair_methods="Grad-CAM for similarity")
    assert not app.error
    assert {"InfoNCE": "InfoNCE against 7 negatives", "Nearer than": "minus that to a negative"}[measure] in text(app)


@pytest.mark.parametrize("section", ["Metrics", "Networks", "Invariance", "Download"])
def test_each_section_opens(section):
    app = opened(PAIRS, more=section, step="7168", pair_methods="Grad-CAM for similarity")
    assert not app.error
    if section == "Metrics" and not app.dataframe:
        finished(next(one for one in app.button if one.label == "Measure").click().run())
    if section == "Metrics":
        table = app.dataframe[0].value
        assert {"SI ↑", "SD ↓", "CIC ↑", "OS ↑", "CE ↓"} <= set(table.columns)
        assert {"Control: random", "Baseline: area", "Grad-CAM for similarity"} <= set(table.index)
        assert "not defined" not in text(app)  # a baseline has no curves, and no rows of them
        alt = app.get("vega_lite_chart")[-1].proto.alt
        bars = dict(part.rsplit(" ", 1) for part in alt.partition(": ")[2].split(", "))
        (column,) = (name for name in table if name.split()[0] == app.selectbox(key="metric").value)
        for name, value in table[column].dropna().items():
            assert float(bars.pop(name)) == pytest.approx(value, abs=1e-3)
        assert set(bars.values()) <= {"undefined"}
    if section == "Networks":
        if not any("untrained" in one.value for one in app.markdown):
            finished(next(one for one in app.button if one.label == "Compare networks").click().run())
        assert "EfficientNet-Lite0, untrained" in text(app)
    if section == "Invariance":
        assert "Strength 0.75" in text(app)
    if section == "Download":
        assert len(app.get("download_button")) == 3


@pytest.mark.parametrize("what", ["Feature visualisation", "Model difference"])
def test_pictures_are_synthesised(what):
    app = opened(PAIRS, more="Synthesis", synthesis=what, octaves="1", iterations="2", steps="10", depths="1")
    before = len(app.image)
    button = [one for one in app.button if one.label == "Synthesise"]
    if button:
        button[0].click().run()
    jobs.wait()
    app.run()
    assert not app.exception and not app.error and len(app.image) > (0 if not button else before)
    assert {"Feature visualisation": "after 2 steps", "Model difference": "Relative distance"}[what] in text(app)


def test_a_long_synthesis_is_a_private_job_whose_result_is_there_on_return():
    settings = {"more": "Synthesis", "octaves": "2", "iterations": "60"}
    app = opened(PAIRS, asks=True, **settings)
    assert any("This takes about" in element.value for element in app.markdown)
    next(button for button in app.button if button.label == "Synthesise").click().run()
    assert not app.exception
    app.switch_page("pages/1_Single_image.py").run()
    jobs.wait()
    app.switch_page(PAIRS)
    for name, value in settings.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception and "Similarity to view 1 after" in text(app)
    other = opened(PAIRS, asks=True, **settings)
    assert "Similarity to view 1 after" not in text(other)  # it shows parts of a picture that may be an upload


def test_a_patch_is_chosen_by_numbers_or_by_a_click():
    app = opened(PAIRS, row="2", column="3")
    assert app.number_input(key="row").value == 2
    app.number_input(key="row").set_value(7).run()
    assert not app.exception and "Best match" in text(app)


def test_a_method_that_does_not_fit_says_so_in_its_tile():
    app = opened(PAIRS, pair_methods="Conditional occlusion", **{"pair.conditional_occlusion.window": "1024"})
    assert "does not fit" in app.error[0].value


def test_without_a_method_there_is_a_hint():
    app = opened(PAIRS)
    app.multiselect(key="pair_methods").set_value([]).run()
    assert "at least one method" in app.info[0].value
