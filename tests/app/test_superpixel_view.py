"""LIME's figure on the page Single image: its controls, the words under it, the address, and the exported PNG."""

import io
import json

import numpy as np
import pytest
from opened_pages import opened, text
from PIL import Image

from xai_core.app.single_image import superpixel_view
from xai_core.attribution.explain import explain
from xai_core.attribution.perturbation.superpixel_figure import AGAINST, FOR, strongest_superpixels
from xai_core.data.samples import load_sample
from xai_core.models.loading import load_model

PAGE = "pages/1_Single_image.py"
LIME = {"picture": "Coffee", "method": "LIME", "lime.samples": "40", "lime.segmentation": "slic", "lime.segments": "20"}


@pytest.fixture(scope="module")
def expected():
    model = load_model("efficientnet_lite0")
    prepared = model.prepare(load_sample("coffee"))
    explanation = explain(model, prepared, "lime", samples=40, segmentation="slic", segments=20)
    return lambda number, side: strongest_superpixels(explanation, prepared, number, side)


def captions(app):
    return [one.value for one in app.caption]


def test_the_figure_says_what_the_library_says_for_each_side_and_number(expected):
    app = opened(PAGE, **LIME)
    assert not app.exception and "The strongest superpixels" in text(app)
    assert expected(5, "both").words in captions(app)
    app.segmented_control(key="strongest_side").set_value("Against").run()
    app.slider(key="strongest").set_value(2).run()
    assert not app.exception and expected(2, "against").words in captions(app)
    again = opened(PAGE, **LIME, strongest="3", strongest_side="For", strongest_fade="true")
    assert expected(3, "for").words in captions(again)
    assert any(one.proto.imgs[0].alt.endswith(expected(3, "for").words) for one in again.image)


def test_other_methods_have_no_such_figure():
    app = opened(PAGE, picture="Coffee", method="Grad-CAM")
    assert not app.exception and "strongest superpixels" not in text(app)


def test_the_exported_png_holds_the_figure_its_words_and_its_settings(expected):
    found = expected(4, "both")
    file = superpixel_view.exported(found, fade=False)
    picture = Image.open(io.BytesIO(file))
    settings = json.loads(picture.info["xai_core"])
    assert settings["strongest"] == {"side": "both", "superpixels": list(found.chosen), "of": len(found.weights)}
    assert settings["method"] == "lime" and settings["options"]["samples"] == 40
    side = found.mask.shape[0] * superpixel_view.EXPORTED_SCALE
    figure = np.asarray(picture)[12 : 12 + side, 12 : 12 + side]
    assert np.array_equal(figure, np.asarray(found.picture(superpixel_view.EXPORTED_SCALE)))
    assert (figure == FOR).all(-1).any() and (figure == AGAINST).all(-1).any()
    assert np.asarray(picture)[12 + side :].min() < 50  # text
