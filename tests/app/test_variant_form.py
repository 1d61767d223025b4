"""Variants on the pages: made with a form, named by a link, shown with their settings, and removed."""

import shlex

import numpy as np
import pytest
from opened_pages import followed, opened, panels, text
from streamlit.testing.v1 import AppTest

from xai_core.app.networks import columns
from xai_core.app.shared import explanations, loaded_models
from xai_core.app.shared.network_choice import Network
from xai_core.app.shared.widgets import Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain, request_for, with_method
from xai_core.core.cache_key import array_digest, run_key
from xai_core.data.samples import load_sample

METHODS_PAGE, MODELS_PAGE, METRICS_PAGE = (
    "pages/2_Method_comparison.py", "pages/3_Model_comparison.py", "pages/4_Faithfulness_metrics.py",
)  # fmt: skip
CUT = "blocks.3.2"
NAMES = ["grad_cam@eigen=true", f"grad_cam@cut={CUT}+eigen=true"]
TITLES = ["Grad-CAM", "Grad-CAM, eigen", f"Grad-CAM, cut {CUT}, eigen"]
LINK = {"picture": "Coffee", "methods": ["Grad-CAM"], "variants": NAMES}


def headings(app: AppTest) -> list[str]:
    return [one.value.strip("*") for one in app.markdown if one.value.strip("*").startswith("Grad-CAM")]


def test_a_link_names_variants_and_a_form_makes_and_removes_them(lite0):
    app = opened(METHODS_PAGE, **LINK)
    assert headings(app)[:3] == TITLES and len(panels(app)) == 3 and not app.error
    target = request_for(lite0, [load_sample("coffee")]).activate().request.target
    for name, given in zip(NAMES, ({"eigen": True}, {"cut": CUT, "eigen": True}), strict=True):
        alone = explain(lite0, load_sample("coffee"), "grad_cam", target=target, **given)
        shown = explanations.find(with_method(request_for(lite0, [load_sample("coffee")], target=target), name))
        np.testing.assert_array_equal(shown.heatmap, alone.heatmap)
        assert shown.key == alone.key

    assert app.button(key="variants.add").disabled, "with nothing set it is the method itself"
    app.toggle(key="variants.grad_cam.augment").set_value(True).run()
    assert "**Grad-CAM, augment**" in [one.value for one in app.markdown]
    app.button(key="variants.add").click().run()
    assert app.multiselect(key="variants").value == [*NAMES, "grad_cam@augment=true"] and "Grad-CAM, augment" in headings(
        app
    )
    app.multiselect(key="variants").set_value(NAMES[:1]).run()
    assert headings(app)[:2] == TITLES[:2] and len(panels(app)) == 2 and not app.exception

    app = opened(METHODS_PAGE, **LINK)
    single = followed(app, f"Open **{TITLES[2]}**")
    assert not single.exception and single.toggle(key="grad_cam.eigen").value is True
    assert single.selectbox(key="efficientnet_lite0.cut").value == CUT


def test_entries_that_cannot_be_used_are_said_and_the_rest_is_shown():
    wrong = {
        "grad_cam@eigne=true": "There is no setting of Grad-CAM 'eigne'",
        "grad_cam@cut=nowhere": "There is no cut 'nowhere'",
        "saliency@precision=fast": "offered in exact precision only",
        "attention_rollout@discard=0.5": "blocks in which every patch attends",
        "grad_cam@eigen=false": "the same variant, grad_cam",
        "<b>x</b>@a=1": "There is no method",
    }
    app = opened(METHODS_PAGE, picture="Coffee", methods=["Grad-CAM"], variants=[*wrong, NAMES[0]])
    said = [error.value.replace("\u2060", "").replace("\\", "") for error in app.error]
    assert len(said) == len(wrong) and headings(app)[:2] == TITLES[:2]
    for error, words in zip(said, wrong.values(), strict=True):
        assert words in error and "left out" in error


@pytest.mark.parametrize("section", ["Sanity check", "Download", "Consensus"])
def test_sections_have_a_place_for_each_variant(section):
    app = opened(METHODS_PAGE, more=section, **LINK)
    assert not app.exception and not app.error
    if section == "Sanity check":
        assert {*TITLES} <= {*headings(app)} and len(panels(app)) == 3 + 3 * 3


def test_variants_are_measured_one_by_one(lite0):
    app = opened(METRICS_PAGE, metrics=["Deletion"], **LINK)
    assert not app.exception and not app.error
    (table,) = [frame.value for frame in app.dataframe if "Map" in frame.value]
    rows = table.set_index("Map")
    assert {*TITLES} <= {*rows.index} and rows["deletion"].loc[TITLES].nunique() == 3


def test_networks_are_asked_with_a_variant():
    app = opened(
        MODELS_PAGE, picture="Coffee", networks=["EfficientNet-Lite0", "EfficientNet-Lite0, untrained"], variants=NAMES,
        method=TITLES[2],
    )  # fmt: skip
    assert not app.exception and not app.error and len(panels(app)) >= 2
    method = app.selectbox(key="method")
    assert method.value == NAMES[1] and method.options[-2:] == TITLES[1:]
    cut = app.selectbox(key="variants.cut")
    assert "head (2 of 2 networks)" in cut.options and cut.value is None, "the cuts of the networks in memory are listed"
    cut.set_value("head").run()
    app.button(key="variants.add").click().run()
    assert app.selectbox(key="method").value == "grad_cam@cut=head", "a new variant is chosen at once"
    app = opened(  # a cut that was typed
        MODELS_PAGE, picture="Coffee", networks=["EfficientNet-Lite0", "EfficientNet-Lite0, untrained"],
        variants=["grad_cam@cut=nowhere"], method="Grad-CAM, cut nowhere",
    )  # fmt: skip
    assert len(app.error) == 2 and all("There is no cut" in one.value for one in app.error), "each network says so"


def test_an_answer_has_the_key_of_its_settings_and_the_old_one_without(monkeypatch):
    network, chosen = Network("efficientnet_lite0", "random"), Chosen(load_sample("coffee"), "coffee", None, "")
    monkeypatch.setattr(loaded_models, "weights_of", lambda *network: "some")
    asked = columns.NetworkQuestion("grad_cam", None, None, "")
    plain = run_key(
        picture=array_digest(np.asarray(chosen.picture)), model=network.id, weights="some", cut="",
        target="answer None None", method="grad_cam", version=METHODS["grad_cam"].version, options={}, seed=0,
        precision="exact",
    )  # fmt: skip
    assert columns.answer_key(network, chosen, asked) == plain
    others = ["grad_cam@cut=head", "grad_cam@eigen=true", "grad_cam@precision=fast", "grad_cam@cut=head+eigen=true"]
    assert len({plain, *(columns.answer_key(network, chosen, asked._replace(method=name)) for name in others)}) == 5


def test_a_new_run_takes_variants(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_RUNS", str(tmp_path))
    app = opened(METRICS_PAGE, view="A run")
    app.number_input(key="new.count").set_value(2)
    app.multiselect(key="new.networks").set_value(["EfficientNet-Lite0"])
    app.multiselect(key="new.methods").set_value(["grad_cam"])
    app.multiselect(key="new.metrics").set_value(["sparseness"])
    app.multiselect(key="new.variants").set_value([*NAMES, "random_map@cells=9"]).run()
    assert [one.value for one in app.error if "control" in one.value] and not app.exception
    app.multiselect(key="new.variants").set_value(NAMES).run()
    app.button(key="plan").click().run()
    assert "2 pictures, 14 rows to measure" in text(app) and not app.error
    assert any(f"--methods {shlex.quote(','.join(['grad_cam', *NAMES]))}" in one.value for one in app.code)
