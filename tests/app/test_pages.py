"""Every page in Streamlit's own test harness: it opens, answers, survives bad input, and does no work twice."""

import gc
import io
import json
import re
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from opened_pages import ROOT, chart_rows, finished, opened, panels, text
from PIL import Image
from streamlit.testing.v1 import AppTest

from xai_core.app import home
from xai_core.app.methods.tiles import ORDERS
from xai_core.app.shared import (
    cache,
    explanations,
    jobs,
    loaded_models,
    page_links,
    page_setup,
    progress,
    server_job,
    session,
    widgets,
)
from xai_core.attribution.catalog import METHODS
from xai_core.core.errors import BadRequest, WeightsUnavailable
from xai_core.data.datasets import open_dataset
from xai_core.data.image_io import open_picture
from xai_core.data.preprocessing import stack
from xai_core.data.samples import SAMPLES, load_sample
from xai_core.models.loading import load_model

PAGES = sorted(path.name for path in (ROOT / "pages").glob("*.py"))
SINGLE = "pages/1_Single_image.py"
METHODS_PAGE = "pages/2_Method_comparison.py"


def choose(app: AppTest, key: str, value: object) -> AppTest:
    app.selectbox(key=key).set_value(value).run()
    assert not app.exception, app.exception
    return app


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_its_defaults(page):
    app = opened(f"pages/{page}")
    assert app.title and not app.error


def test_home_says_what_is_ready_and_what_a_map_is_not():
    said = text(opened())
    assert "EfficientNet-Lite0" in said and "ready" in said and "downloaded when first chosen" in said
    assert "no proof" in said


def test_home_and_the_documents_say_the_same_about_datasets():
    assert home.DOWNLOADS.strip() in text(opened())
    assert home.DOWNLOADS in (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")


def test_home_leads_to_every_page():
    links = {link.proto.page for link in opened().get("page_link") if link.proto.label.startswith("**")}
    assert {page.removesuffix(".py").partition("_")[2] for page in PAGES} - {"Start"} <= links


def test_a_link_to_long_work_opens_with_a_button_and_an_estimate():
    app = opened(SINGLE, asks=True, picture="Coffee", method="RISE")
    (start,) = [button for button in app.button if button.label == "Explain"]
    assert re.search(r"This takes about \d+ s\.", text(app)) and not app.error
    assert not panels(app) and not [button for button in app.button if button.label == "Cancel"]
    assert start.proto.type == "primary"


def test_a_long_explanation_is_a_job_whose_result_is_there_on_return(monkeypatch):
    cache.clear()
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 0.0)
    query = {"picture": "Coffee", "method": "LayerCAM"}
    app = opened(SINGLE, asks=True, **query)
    next(button for button in app.button if button.label == "Explain").click().run()
    app.switch_page(page_links.FILES[page_links.HOME]).run()
    job = next(job for job in jobs.listed() if job.title.startswith("Explain") and job.title.endswith("by LayerCAM"))
    jobs.wait()
    assert job.state == server_job.DONE and job.place.page == "Single image" and "LayerCAM" in job.place.settings
    app.switch_page(SINGLE)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception and not app.error and "Method: LayerCAM" in text(app) and len(panels(app)) == 3


def test_the_astronaut_is_explained_at_once():
    app = opened(SINGLE)
    assert "football helmet" in text(app) and "7 x 7" in text(app)
    assert len(panels(app)) == 3 and len(app.get("vega_lite_chart")) == 1
    assert len(app.get("download_button")) == 3


def test_the_probabilities_are_those_of_the_network_s_own_logits():
    model = load_model("efficientnet_lite0")
    logits = model.outputs(stack([model.prepare(load_sample("coffee"))], model.device)).logits[0].double().numpy()
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    top = np.argsort(-shares)[:5].tolist()
    app = opened(SINGLE, picture=SAMPLES["coffee"].title)
    names = [model.class_name(index).split(",")[0] for index in top]
    assert f"says **{names[0]}**, {shares[top[0]]:.0%}" in text(app)
    drawn = chart_rows(app, {"class", "probability"})
    assert drawn["class"].tolist() == top
    np.testing.assert_allclose(drawn["probability"], shares[top], rtol=1e-4)


@pytest.mark.parametrize("method", [m for m in METHODS.values() if m.family != "perturbation"], ids=lambda m: m.id)
def test_every_method_can_be_chosen_or_says_why_not(method, monkeypatch):
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", float("inf"))
    app = choose(opened(SINGLE, model="Slim ResNet-18, scenes from scratch (scenes_supervised)"), "method", method.id)
    misfit = method.misfit(load_model("scenes_supervised"))
    assert f"Method: {method.title}" in text(app) if misfit is None else misfit in app.info[0].value
    assert not app.error


def test_a_class_a_probability_and_a_margin_can_be_asked():
    app = choose(opened(SINGLE, picture="Chelsea the cat"), "class", 281)
    assert "logit of tabby" in text(app)
    app.toggle(key="probability").set_value(True).run()
    assert "probability of tabby" in text(app)
    app.segmented_control(key="ask").set_value("A and not B").run()
    assert "tiger cat and not Egyptian cat" in text(app)
    choose(app, "b", 282)
    assert "choose two different ones" in app.info[0].value


def test_a_map_is_answered_in_words_and_the_rival_s_bar_is_marked():
    margin = {"picture": "Chelsea the cat", "ask": "A and not B", "method": "HiResCAM", "hires_cam.relu": "false"}
    app = opened(SINGLE, **margin)
    assert "**Red speaks for tiger cat, blue for Egyptian cat. Most of the red lies" in text(app)
    chart = app.get("vega_lite_chart")[0].proto
    assert "tiger cat 39% (explained), Egyptian cat 36% (its rival), tabby" in chart.alt
    choose(app, "b", 657)  # far from the top five
    assert "missile 0% (its rival)" in app.get("vega_lite_chart")[0].proto.alt
    app = opened(SINGLE, **margin, **{"palette-diverging": "brown-teal"})
    assert "**Brown speaks for tiger cat, teal for Egyptian cat." in text(app)
    assert "**Bright places matter most for tiger cat" in text(opened(SINGLE, picture="Chelsea the cat"))


def test_the_true_class_is_offered_where_it_is_known():
    app = choose(opened(SINGLE, picture="Chelsea the cat"), "class", "True class")
    assert "logit of tabby" in text(app)
    assert "True class" not in opened(SINGLE).selectbox(key="class").options


def test_a_long_method_waits_to_be_asked_and_then_runs(monkeypatch):
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 0)
    app = choose(opened(SINGLE, picture="Retina"), "method", "input_x_gradient")
    assert "This takes about" in text(app) and "Method:" not in text(app)
    finished(app.button(key="run Explain").click().run())
    assert "Method: Input x gradient" in text(app) and not app.exception


def test_the_same_question_is_computed_once(monkeypatch):
    calls = []
    real = explanations.explain
    monkeypatch.setattr(explanations, "explain", lambda *given, **options: calls.append(1) or real(*given, **options))
    app = choose(opened(SINGLE, picture="Rocket"), "method", "layer_cam")
    app.segmented_control(key="resolution").set_value("Native grid").run()
    choose(choose(app, "method", "xgrad_cam"), "method", "layer_cam")
    before = len(calls)
    opened(SINGLE, picture="Rocket", method="LayerCAM")
    assert len(calls) == before, "another session got the shared result"


def test_the_app_key_is_the_explanation_key(lite0, monkeypatch):
    runs = []
    real = explanations.find
    monkeypatch.setattr(explanations, "find", lambda run: runs.append(run) or real(run))
    opened(SINGLE, picture="Coffee", method="HiResCAM")
    found = real(runs[-1])
    assert found is not None and found.key == runs[-1].key


def test_a_model_that_cannot_be_fetched_leaves_the_page_usable(monkeypatch):
    def refuse(card, checkpoint, progress):
        progress("resnet50.pth", 1.0, 98.0)
        raise WeightsUnavailable("resnet50.pth is not here; put it into weights/.")

    monkeypatch.setattr(loaded_models.locate, "obtain", refuse)
    app = choose(opened(SINGLE), "model", "resnet50")
    assert "resnet50.pth" in app.error[0].value and "uses EfficientNet-Lite0 instead" in app.error[0].value
    assert "football helmet" in text(app)


def test_a_model_of_ones_own_is_asked_about_its_own_classes(tmp_path, monkeypatch):
    """Also where another model's class was chosen before, and where the picture has a true class of ImageNet."""
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / "three.pth")
    card = 'family = "resnet"\narchitecture = "resnet18"\nfile = "three.pth"\nclasses = ["sea", "forest", "street"]\n'
    (tmp_path / "three.toml").write_text(card)
    (tmp_path / "wrong.toml").write_text(card.replace("resnet18", "resnet17"))
    app = choose(choose(opened(SINGLE, picture="Rocket"), "class", 657), "model", "three")
    assert not app.error and app.selectbox(key="class").value == "Predicted class"
    assert len(app.selectbox(key="class").options) == 4
    choose(app, "class", 1)
    assert "forest" in text(app)
    choose(app, "model", "wrong")
    assert "no architecture of the family resnet" in app.error[0].value and "This page uses" in app.error[0].value


SICK = {
    "not numbers": np.full((7, 7), np.nan),
    "zero everywhere": np.zeros((7, 7)),
    "same everywhere": np.ones((7, 7)),
    "narrow frame": np.pad(np.zeros((12, 12)), 1, constant_values=1),
    "1% of its cells": np.where(np.arange(10_000) == 5050, 1, 1e-6).reshape(100, 100),
    "cut off": np.linspace(-1, 1, 900).reshape(30, 30).clip(-1, 0.5),
}


@pytest.mark.parametrize("says", SICK)
def test_what_is_wrong_with_a_map_stands_on_both_pages(says, monkeypatch):
    """Results are shared by all sessions, these made ones too: the tests before and after must not see them."""
    real = explanations.explain
    sick = {"heatmap": SICK[says].astype(np.float32), "signed": True}
    monkeypatch.setattr(explanations, "explain", lambda *given, **asked: replace(real(*given, **asked), **sick))
    cache.clear()
    single = opened(SINGLE, picture="Retina")
    compared = opened(METHODS_PAGE, picture="Retina", methods="Grad-CAM")
    cache.clear()
    for app in (single, compared):
        assert [says in warning.value for warning in app.warning] == [True]


def picture_file(name: str = "red.png") -> tuple[str, bytes, str]:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(buffer, "PNG")
    return name, buffer.getvalue(), "image/png"


def test_an_upload_is_explained_and_named_in_the_link():
    app = opened(SINGLE)
    app.file_uploader(key="file").set_value(picture_file()).run()
    assert not app.exception and app.selectbox(key="picture").value == "Your own picture"
    assert len(app.query_params["upload"]) == 64
    assert "Method: Grad-CAM" in text(app)


@pytest.mark.parametrize(
    ("page", "query"), [(SINGLE, {}), (METHODS_PAGE, {"more": "Consensus"}), ("pages/5_Pairs.py", {"more": "Invariance"})]
)
def test_an_uploaded_picture_is_gone_when_its_session_ends(page, query, monkeypatch):
    """Nothing that outlives the session holds the picture: the caches of the process hold maps and numbers."""
    pictures = []

    def recorded(data):
        picture = open_picture(data)
        pictures.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(session, "open_picture", recorded)
    app = opened(page, **query)
    app.file_uploader(key="file").set_value(picture_file()).run()
    app.run()
    assert not app.exception and not app.error and app.selectbox(key="picture").value == "Your own picture"
    assert [picture() is None for picture in pictures] == [False], "decoded once, and held by the session"
    del app
    page_setup.collect_garbage()
    assert pictures[0]() is None


def test_a_bad_upload_gives_one_sentence_and_loses_nothing():
    app = opened(SINGLE, method="LayerCAM")
    app.file_uploader(key="file").set_value(("bad.png", b"<html>", "image/png")).run()
    assert not app.exception and "bad.png" in app.error[0].value
    assert "football helmet" in text(app) and "Method: LayerCAM" in text(app)


def test_a_link_to_an_upload_asks_for_it():
    app = opened(SINGLE, picture="Your own picture", upload="ab" * 32)
    assert "abababababab" in app.info[0].value and "upload the same file" in app.info[0].value


@pytest.mark.parametrize(
    "query",
    [
        {"method": "Astrology"},
        {"class": "unicorn (99999)"},
        {"picture": "../../etc/passwd"},
        {"opacity": "seven"},
        {"smooth_grad.samples": "-3", "method": "SmoothGrad"},
        {"model": "<script>alert(1)</script>"},
        {"upload": "x" * 5000},
    ],
    ids=lambda query: next(iter(query)),
)
def test_a_nonsensical_link_falls_back_to_defaults(query):
    app = opened(SINGLE, **query)
    assert not app.exception and not app.error


def test_state_survives_leaving_the_page_and_coming_back():
    app = choose(opened(SINGLE), "method", "hires_cam")
    app.switch_page(page_links.FILES[page_links.HOME]).run()
    app.switch_page(SINGLE).run()
    assert not app.exception
    assert app.selectbox(key="method").value == "hires_cam"


def test_a_layer_inside_a_block_is_chosen_and_its_difference_from_the_default_is_said():
    inner = "blocks.6.0.bn2"
    app = opened(SINGLE, picture="Coffee", **{"efficientnet_lite0.inside": "true", "efficientnet_lite0.cut": inner})
    cut = app.selectbox(key="efficientnet_lite0.cut")
    assert cut.value == inner and {*load_model("efficientnet_lite0").cuts} < {*cut.options} and not app.error
    said = "Inside a block. A map here follows only what goes through this layer"
    assert said in text(app) and f"{inner}" in text(app)
    app = choose(app, "efficientnet_lite0.cut", "head")
    assert said not in text(app)


def tile_titles(app: AppTest) -> list[str]:
    titles = {method.title for method in METHODS.values()}
    return [one.value.strip("*") for one in app.markdown if one.value.strip("*") in titles]


def test_methods_are_compared_on_one_picture():
    app = opened(METHODS_PAGE, picture="Rocket")
    assert len(tile_titles(app)) == 6 and len(panels(app)) == 6
    assert len(app.get("vega_lite_chart")) == 1, "the agreement matrix"


@pytest.mark.parametrize(("section", "says"), [("Consensus", "Dissent"), ("Sanity check", "ρ ="), ("Layers", "stem")])
def test_each_section_of_the_comparison(section, says, monkeypatch):
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", float("inf"))
    assert says in text(opened(METHODS_PAGE, picture="Rocket", more=section))


@pytest.mark.parametrize("section", ["Sanity check", "Layers"])
def test_the_sections_below_follow_smooth(section, monkeypatch):
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", float("inf"))
    query = {"picture": "Rocket", "methods": "Grad-CAM", "more": section}
    for resolution, smooth in (("Smooth", True), ("Native grid", False)):
        app = opened(METHODS_PAGE, **query, resolution=resolution)
        drawn = [json.loads(component.proto.json) for component in app.get("bidi_component")]
        shown = [one["smooth"] for one in drawn if one["panels"]]
        assert len(shown) > 3 and set(shown) == {smooth}


def test_the_comparison_can_be_downloaded():
    app = opened(METHODS_PAGE, picture="Rocket", more="Download")
    assert len(app.get("download_button")) == 3


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_holds_the_same_tiles(order):
    assert sorted(tile_titles(opened(METHODS_PAGE, picture="Rocket", order=order))) == sorted(
        METHODS[name].title for name in widgets.DEFAULT_METHODS
    )


@pytest.mark.parametrize("order", ["Agreement", "Deletion (quick)"])
def test_an_order_by_maps_is_there_as_soon_as_they_are_and_shows_its_value(order):
    """Also where one map prefers no place: its agreement is nothing, and it comes last."""
    cache.clear()
    shown = ["Uniform", "Grad-CAM", "Saliency", "HiResCAM"]
    app = opened(METHODS_PAGE, picture="Rocket", order=order, methods=shown)
    said = [one.value.split(": ")[1].strip("*") for one in app.markdown if one.value.startswith(order)]
    assert len(said) == 4 and len(tile_titles(app)) == 4
    if order == "Agreement":
        assert tile_titles(app)[-1] == "Uniform" and said.pop() == "–"
    assert [float(one) for one in said] == sorted(map(float, said), reverse=True)


def test_a_common_scale_is_common_on_the_first_run_too():
    cache.clear()
    app = opened(METHODS_PAGE, picture="Rocket", scale="Common", methods=["Grad-CAM", "LayerCAM"])
    said = [one.value.split("cells. ")[1].split(" Passes")[0] for one in app.caption if "Passes: " in one.value]
    assert len(said) == 2 and len(set(said)) == 1 and "shared by 2 maps" in said[0]


def test_maps_that_prefer_no_place_are_compared_without_a_fault():
    app = opened(METHODS_PAGE, picture="Rocket", methods=["Uniform"])
    assert "at least two methods" in app.info[0].value
    for measure in ("spearman", "overlap", "ssim"):
        opened(METHODS_PAGE, picture="Rocket", methods=["Uniform", "Grad-CAM"], measure=measure)


def test_one_failing_method_leaves_its_message_and_the_rest_goes_on(monkeypatch):
    real = explanations.explain

    def sometimes(request, track):
        if request.method == "layer_cam":
            raise BadRequest("It broke on purpose.")
        return real(request, track)

    monkeypatch.setattr(explanations, "explain", sometimes)
    app = opened(METHODS_PAGE, picture="Hubble deep field")
    assert [error.value for error in app.error] == ["It broke on purpose."]
    assert len(panels(app)) == 5


def test_a_blind_vote_shows_no_name_before_it_is_cast():
    app = opened(METHODS_PAGE, picture="Rocket", blind="true")
    assert not tile_titles(app) and len(panels(app)) == 6
    assert not any(
        method.title in str(component.proto) for component in app.get("bidi_component") for method in METHODS.values()
    )
    app.segmented_control(key="best").set_value("A").run()
    assert "You chose" in app.success[0].value


def test_the_report_marks_models_that_are_not_here_and_offers_them_last(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    app = opened("pages/10_Report.py")
    labels = app.multiselect(key="models").options
    marked = [label.endswith("(not on this machine)") for label in labels]
    assert any(marked) and marked == sorted(marked) and not app.exception
    app = opened("pages/10_Report.py", models=["DeiT-B/16"])
    assert app.multiselect(key="models").value == ["deit_base_patch16_224"] and not app.exception and not app.warning


def test_a_picture_of_any_dataset_is_chosen_on_the_page():
    app = opened(SINGLE, model="Slim ResNet-18, scenes from scratch (scenes_supervised)")
    choose(app, "picture", widgets.OF_DATASET)
    world = open_dataset("world:planted")
    assert app.selectbox(key="of dataset").value == "world:planted"
    assert app.selectbox(key="sample of dataset").value == world.samples[0].name
    choose(app, "sample of dataset", world.samples[7].name)
    assert app.query_params["picture.sample"] == world.samples[7].name and not app.error
    choose(app, "of dataset", "world:clean")
    assert app.query_params["picture.sample"] == open_dataset("world:clean").samples[0].name
    assert app.selectbox(key="of dataset").value == "world:clean" and not app.error and not app.info


def test_the_true_class_of_a_dataset_s_picture_is_its_label_where_the_network_has_it():
    dataset = open_dataset("world:planted")
    sample = next(sample for sample in dataset.samples if sample.label == "windmill")
    picture = widgets.dataset_picture("world:planted", sample.name) | {"class": widgets.TRUE}
    planted = opened("pages/1_Single_image.py", **picture, model=load_model("world_planted").title)
    assert widgets.TRUE in planted.selectbox(key="class").options and "logit of windmill" in text(planted)
    other = opened("pages/1_Single_image.py", **picture, model=load_model("scenes_supervised").title)
    assert widgets.TRUE not in other.selectbox(key="class").options


def test_the_collection_at_the_end_of_each_run_leaves_out_the_libraries():
    opened("pages/6_Misclassifications.py")
    gc.collect()
    assert len(gc.get_objects()) < 0.5 * gc.get_freeze_count()


def test_what_was_set_aside_with_the_libraries_is_collected_by_a_later_run(monkeypatch):
    class Picture:
        def __init__(self):
            self.itself = self

    held = Picture()
    known = weakref.ref(held)
    gc.freeze()
    del held
    monkeypatch.setattr(page_setup, "SPARED_SECONDS", 1e6)
    opened()
    assert known() is not None
    monkeypatch.setattr(page_setup, "SPARED_SECONDS", -1)
    opened()
    assert known() is None
