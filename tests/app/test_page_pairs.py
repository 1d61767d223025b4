"""The pairs page: two views or two pictures, every section, every similarity; what cannot be shown says why."""

import math

import opened_pages
import pytest
import torch
from opened_pages import finished, followed, text
from streamlit.testing.v1 import AppTest

from xai_core.analysis import feature_visualisation
from xai_core.app.pairs import tiles
from xai_core.app.pairs.views import Views
from xai_core.app.shared import jobs, picture_viewer, report_items, widgets
from xai_core.data.datasets import find_offered, open_dataset
from xai_core.data.scene_parts import SEEN
from xai_core.data.world.scene import draw, without
from xai_core.explanation import rendering
from xai_core.models.loading import load_model
from xai_core.pairs.augment import Augmentation, draw_view
from xai_core.pairs.explain import explain_pair
from xai_core.pairs.reference import STRENGTHS

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
    assert len(app.image) == 3 and not app.error
    drawn = opened_pages.panels(app)
    assert [one["said"] for one in drawn[:2]] == [f"Grad-CAM for similarity, view {number}" for number in (1, 2)]
    assert len(drawn) == 2 * 3 and all(one["map"] and one["frame"] == [0, 0, 224, 224] for one in drawn)
    added = [button for button in app.button if button.key.startswith(report_items.KEY)]
    assert len(added) == 3 + 1 + 1 + 6 + 2, "pictures, the chart, the sentence, maps, patches"


def test_the_seed_and_the_recipe_change_the_views():
    app = opened(PAIRS, crop="1.0", jitter="0.0", blur="0.0", flip="false")
    assert "View 2 shows 100% of view 1" in text(app) and "1.000" in text(app)
    app.slider(key="crop").set_value(0.2).run()
    assert "View 2 shows 100%" not in text(app) and not app.exception


def test_two_pictures_can_be_compared():
    app = opened(PAIRS, **{"from": "Two pictures", "second": "Coffee"})
    assert "as the network sees it" in text(app) and "white cross" not in text(app) and not app.error
    assert len(app.image) == 2 and len(opened_pages.panels(app)) == 2 * 3


@pytest.mark.parametrize("measure", ["InfoNCE", "Nearer than"])
def test_each_similarity_is_explained(measure):
    app = opened(PAIRS, similarity=measure, pair_methods="Grad-CAM for similarity")
    assert not app.error
    assert {"InfoNCE": "InfoNCE against 7 negatives", "Nearer than": "minus that to a negative"}[measure] in text(app)


@pytest.mark.parametrize("section", ["Metrics", "Networks", "Invariance", "Download"])
def test_each_section_opens(section):
    app = opened(PAIRS, more=section, step="7168", pair_methods="Grad-CAM for similarity", space="Normalised values")
    assert not app.error
    made_of = "These maps are made of pixels in [0, 1], also while the space on the left is that of normalised values"
    assert (made_of in text(app)) == (section in ("Networks", "Invariance"))
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
        drawn = opened_pages.panels(app)[2:]
        assert [one["said"] for one in drawn] == [f"crop, strength {strength:g}" for strength in STRENGTHS]
    if section == "Download":
        assert len(app.get("download_button")) == 3


def test_a_view_that_a_network_saw_smaller_is_shown_as_it_saw_it(monkeypatch):
    """Its maps lie in that smaller picture; over the larger view they would cover its corner alone."""
    model = load_model("efficientnet_lite0")
    first, second = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    small = [torch.nn.functional.interpolate(view[None], (96, 96))[0] for view in (first, second)]
    seen = []
    monkeypatch.setattr(picture_viewer, "overlay", lambda picture, one, *_, **__: seen.append((picture, one)))
    views = Views(first, second, None, ("", ""), rendering.to_pil(first), "")
    tiles.both_maps(explain_pair(model, *small, "grad_cam"), views, True, "a network")
    assert [(picture.size, explanation.box) for picture, explanation in seen] == [((96, 96), (0, 0, 96, 96))] * 2


def test_the_class_model_picture_says_what_it_reaches():
    """The logit and the probability before and after are those of the pictures made anew from the package."""
    single = opened("pages/1_Single_image.py", **{"picture": "Chelsea the cat", "class": "tabby, tabby cat (281)"})
    app = followed(single, "What would this network most like to see for tabby?")
    assert app.selectbox(key="picture").value == "Chelsea the cat" and app.selectbox(key="climb").value == "Score of a class"
    app.slider(key="climbed").set_value(10).run()
    if button := [one for one in app.button if one.label == "Synthesise"]:
        button[0].click().run()
    jobs.wait()
    app.run()
    assert not app.exception and not app.error
    model = load_model("efficientnet_lite0")
    *_, last = feature_visualisation.class_model(model, 281, iterations=10)
    logits = model.outputs(torch.stack([feature_visualisation.mean_picture(model), last.picture])).logits
    (before, after), (less, more) = logits[:, 281].tolist(), logits.softmax(1)[:, 281].tolist()
    assert after > before + 1
    assert (
        f"The logit of tabby: from {before:.3g} to {after:.3g} after 10 steps. Its softmax probability: from {less:.1%} to "
        f"{more:.1%}."
    ) in text(app)
    assert "no picture of the data" in text(app) and "regularisation squared l2, weight 0.01" in text(app)


@pytest.mark.parametrize(
    "what, climb",
    [("Feature visualisation", "One channel at a depth"), ("Feature visualisation", "Direction from view 2 to view 1"),
     ("Model difference", "Score of a class")],
)  # fmt: skip
def test_pictures_are_synthesised(what, climb):
    app = opened(PAIRS, more="Synthesis", synthesis=what, climb=climb, octaves="1", iterations="2", steps="10", depths="1")
    before = len(app.image)
    button = [one for one in app.button if one.label == "Synthesise"]
    if button:
        button[0].click().run()
    jobs.wait()
    app.run()
    assert not app.exception and not app.error and len(app.image) > (0 if not button else before)
    assert {"Feature visualisation": f"{climb}: from", "Model difference": "Relative distance"}[what] in text(app)


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
    assert not app.exception and "Similarity to view 1: from" in text(app)
    other = opened(PAIRS, asks=True, **settings)
    assert "Similarity to view 1: from" not in text(other)  # it shows parts of a picture that may be an upload


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


def table_of_parts(app):
    return next(element.value for element in app.dataframe if "Fall, view 1" in element.value)


def test_the_parts_of_a_drawn_picture_have_their_effects_and_shares():
    """Computed again: every picture drawn without a part, both views cut of it by hand, and plain passes."""
    world = open_dataset(find_offered("world:planted"))
    name = world.samples[3].name
    app = opened(PAIRS, **widgets.dataset_picture("world:planted", name), parts_map="Input x gradient")
    assert not app.error and "What the similarity depends on" in text(app)
    table, scene, model = table_of_parts(app), world.scene(name), load_model("efficientnet_lite0")
    recipe, side = Augmentation(0.3, True, 0.5, 0.0, 0.3), model.recipe.input_size

    def views(scene):
        pixels = torch.from_numpy(draw(scene)[0].copy()).permute(2, 0, 1).float() / 255
        return [draw_view(pixels, recipe, 0, number, (side, side)) for number in (0, 1)]

    def cosine(first, second):
        with torch.no_grad():
            return float(torch.cosine_similarity(*model.outputs(torch.stack([first.pixels, second.pixels])).embedding, 0))

    whole = views(scene)
    for part, row in table.iterrows():
        changed = views(without(scene, part))
        pairs = {"both views": changed, "view 1": (changed[0], whole[1]), "view 2": (whole[0], changed[1])}
        for column, pair in pairs.items():
            assert row[f"Fall, {column}"] == pytest.approx(cosine(*whole) - cosine(*pair), abs=1e-4), (part, column)
    falls = table["Fall, both views"]
    assert list(falls) == sorted(falls, reverse=True)
    assert falls.max() > 0 and f"falls most without **{falls.idxmax()}** (by {falls.max():.3f})" in text(app)

    maps = explain_pair(model, whole[0].pixels, whole[1].pixels, "input_x_gradient")
    masks = {part: torch.from_numpy(mask) for part, mask in draw(scene)[1].items()}
    for number, (view, explanation) in enumerate(zip(whole, maps, strict=True), start=1):
        heatmap = torch.from_numpy(explanation.heatmap)[None, None]
        positive = torch.nn.functional.interpolate(heatmap, (side, side), mode="bilinear").clamp(min=0)[0, 0]
        left, top, right, bottom = map(int, view.box)
        for part in table.index.drop("background"):
            cut = masks[part][None, None, top:bottom, left:right]
            mask = torch.nn.functional.interpolate(cut, (side, side), mode="bilinear", antialias=True)[0, 0]
            mask = mask.flip(-1) if view.mirrored else mask
            row = table.loc[part]
            if mask.sum() < SEEN:
                assert math.isnan(row[f"Map, view {number}"]) and math.isnan(row[f"Area, view {number}"])
                continue
            assert row[f"Map, view {number}"] == pytest.approx(float((mask * positive).sum() / positive.sum()), abs=1e-4)
            assert row[f"Area, view {number}"] == pytest.approx(float(mask.mean()), abs=1e-5)
        assert table[f"Map, view {number}"].sum() == pytest.approx(1, abs=1e-3)
        assert table[f"Area, view {number}"].sum() == pytest.approx(1, abs=1e-3)
        most = table[f"Map, view {number}"].idxmax()
        share, area = table.loc[most, [f"Map, view {number}", f"Area, view {number}"]]
        assert f"{share:.0%} of its map on **{most}**, which covers {area:.0%} of the view" in text(app)


def test_metrics_of_parts_are_offered_where_the_scene_is_known():
    settings = {"more": "Metrics", "step": "7168", "pair_methods": "Grad-CAM for similarity"}
    app = opened(PAIRS, **widgets.dataset_picture("world:planted", ""), **settings)
    if not any("SPC ↑" in element.value for element in app.dataframe):
        finished(next(button for button in app.button if button.label == "Measure").click().run())
    table = next(element.value for element in app.dataframe if "SPC ↑" in element.value)
    assert {"SPC ↑", "CPC ↑", "STP ↑", "CTP ↑"} <= set(table.columns) and not app.error
    assert table.loc["Baseline: area", ["SPC ↑", "CPC ↑"]].between(-1, 1).all()


def test_beside_another_picture_the_parts_are_taken_from_view_1_alone():
    query = {"from": "Two pictures", "second": "Coffee", "pair_methods": "Grad-CAM for similarity"}
    app = opened(PAIRS, **widgets.dataset_picture("world:planted", ""), **query)
    assert list(table_of_parts(app)) == ["Fall, view 1", "Map, view 1", "Area, view 1"] and not app.error


def test_other_pictures_have_no_table_of_parts():
    app = opened(PAIRS, pair_methods="Grad-CAM for similarity")
    assert "What the similarity depends on" not in text(app)
    assert all("Fall, view 1" not in element.value for element in app.dataframe)
