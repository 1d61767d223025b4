"""The linked viewer of pictures: what is handed to the browser, and what comes back of what is drawn."""

import io
import json

import numpy as np
import pytest
import torch
from made_maps import made
from opened_pages import draw_on, opened, panels, text
from PIL import Image

from xai_core.app.shared import browser_component, picture_viewer
from xai_core.attribution.explain import explain
from xai_core.data.box import inside
from xai_core.data.label_matching import first_name
from xai_core.data.samples import load_sample
from xai_core.explanation import rendering
from xai_core.failures.picture_changes import PictureChange

SINGLE = "pages/1_Single_image.py"


@pytest.fixture
def files(monkeypatch):
    """The files that pages hand to the browser, by their addresses."""
    given, address_of = {}, browser_component.address_of

    def noted(file, kind, key):
        address = address_of(file, kind, key)
        given[address] = file
        return address

    monkeypatch.setattr(browser_component, "address_of", noted)
    return given


def test_the_panels_hold_the_picture_and_the_raw_map(files, lite0):
    app = opened(SINGLE, picture="Chelsea the cat", method="HiResCAM", opacity="0.4", threshold="nan")
    ours, picture = explain(lite0, load_sample("chelsea"), "hires_cam"), load_sample("chelsea")
    seen, alone, over = panels(app)
    assert [one["kind"] for one in (seen, alone, over)] == ["picture", "map", "overlay"] and seen["map"] is None
    for one, what in ((alone, "Map"), (over, "Overlay")):
        drawn = one["map"]
        values = np.frombuffer(files[drawn["values"]], "<f4").reshape(drawn["grid"])
        np.testing.assert_allclose(values, ours.heatmap, rtol=1e-4, atol=1e-5)
        scale = rendering.scale_of(ours)
        assert (drawn["low"], drawn["high"]) == pytest.approx((scale.low, scale.high), rel=1e-4)
        assert drawn["box"] == pytest.approx(ours.box) and drawn["signed"] == ours.signed
        assert one["alt"].startswith(f"{what}: HiResCAM for the logit of tiger cat.")
    assert over["frame"] == [0, 0, *picture.size] and alone["frame"] == pytest.approx(ours.box)
    content = json.loads(app.get("bidi_component")[0].proto.json)
    with Image.open(io.BytesIO(files[content["picture"]])) as sent:
        assert sent.size == picture.size == tuple(content["size"])
        assert np.abs(np.asarray(sent, float) - np.asarray(picture, float)).mean() < 2
    assert (content["opacity"], content["threshold"]) == (0.4, 0)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("of_scale", [{}, {"mode": "positive"}], ids=str)
def test_256_colours_and_the_limits_give_each_value_its_colour(signed, of_scale):
    """The browser's rule: the colour `int(256 * position)`, the last at the upper end."""
    heatmap = np.random.default_rng(0).normal(size=(40, 40)) if signed else np.random.default_rng(0).uniform(size=(40, 40))
    found = made(heatmap, signed=signed)
    scale = rendering.scale_of(found, **of_scale)
    values = np.clip(found.heatmap.astype(float), scale.low, scale.high)
    largest = max(abs(scale.low), abs(scale.high))
    position = 0.5 + values / largest / 2 if signed else (values - scale.low) / (scale.high - scale.low)
    colours = scale.palette_colours()
    np.testing.assert_array_equal(colours[np.minimum(255, (256 * position).astype(int))], scale.colours(found.heatmap))


def test_what_is_drawn_is_tried_on_the_network(lite0):
    """A box on the maps fills the number fields of the what-ifs; a painted region is what is blurred there."""
    app, picture = opened(SINGLE, picture="Chelsea the cat"), load_sample("chelsea")
    assert not any(str(button.key).startswith("Blur ") for button in app.button)
    draw_on(app, "maps", box=[10, 20, 200, 280])
    app.button(key="Blur all but the box").click().run()
    assert [field.value for field in app.number_input if "-451x300" in field.key] == [10, 20, 200, 280]
    says_what_is_answered(app, lite0, inside((10, 20, 200, 280), lite0.prepare(picture)))
    columns, rows = picture_viewer._mask_size(picture.size)
    half = columns // 2
    draw_on(app, "maps", painted={"size": [columns, rows], "runs": [half, columns - half] * rows})
    app.button(key="Blur what is painted").click().run()
    painted = np.zeros((picture.height, picture.width), bool)
    for down, across in np.ndindex(painted.shape):
        painted[down, across] = int((across + 0.5) / picture.width * columns) >= half
    says_what_is_answered(app, lite0, ~inside(painted, lite0.prepare(picture)))
    draw_on(app, "maps", painted=None)
    assert any("Nothing is painted" in info.value for info in app.info)


def says_what_is_answered(app, model, stays):
    pixels = model.prepare(load_sample("chelsea")).pixels[None]
    blurred = PictureChange("background blurred")(pixels, masks=torch.from_numpy(stays)[None])
    shares = model.outputs(blurred).logits[0].softmax(0)
    name = first_name(model.class_name(int(shares.argmax())))
    assert f"**{name}**, {shares.max():.1%}" in text(app), (name, float(shares.max()))


@pytest.mark.parametrize(
    "sent",
    [
        "x", {}, {"size": [2, 2], "runs": [1, 2]}, {"size": [2, 2], "runs": [4]}, {"size": [2, 2], "runs": [-1, 5]},
        {"size": [0, 0], "runs": []}, {"size": [300, 1], "runs": [0, 300]}, {"size": [2, 2], "runs": [0, True, 3]},
        {"size": [2], "runs": [0, 2]}, {"size": [2, 2], "runs": [0.5, 3.5]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_painted_region_is_left_out(sent):
    assert picture_viewer._painted(sent) is None
    assert picture_viewer._painted({"size": [2, 2], "runs": [1, 2, 1]}) == {"size": [2, 2], "runs": [1, 2, 1]}
