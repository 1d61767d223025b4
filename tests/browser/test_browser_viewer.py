"""Pictures and maps that are zoomed, moved and read together, in a real browser."""

import re

import numpy as np
import pytest
from browsing import choose, settled
from playwright.sync_api import Locator, Page, expect

from xai_core import explain, load_sample

pytestmark = pytest.mark.browser


def frame(page: Page, name: str) -> Locator:
    found = page.get_by_role("img", name=re.compile(f"^{name}: "))
    expect(found).to_have_attribute("aria-busy", "false")
    return found


def pixels(picture: Locator) -> np.ndarray:
    """What is drawn in a panel, (height, width, 3)."""
    drawn = picture.locator("canvas").first.evaluate(
        "one => [one.height, one.width, ...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]"
    )
    return np.array(drawn[2:], float).reshape(drawn[0], drawn[1], 4)[..., :3]


def changed(picture: Locator, before: np.ndarray) -> np.ndarray:
    """What is drawn once it is no longer what was drawn before."""
    for _ in range(600):
        now = pixels(picture)
        if now.shape != before.shape or (now != before).any():
            return now
        picture.page.wait_for_timeout(50)
    raise AssertionError("nothing has changed")


def test_the_panels_are_linked_and_their_values_are_those_of_the_map(visit, lite0):
    page = visit("Single_image?picture=Chelsea+the+cat&method=HiResCAM")
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda data: sent.append(data)))
    page.reload()
    settled(page)
    overlay, alone, viewer = frame(page, "Overlay"), frame(page, "Map"), page.locator(".st-key-maps .picture-viewer")
    overlay.scroll_into_view_if_needed()
    settled(page)
    messages = len(sent)

    # the pointer: one place, and the value of the map there
    heatmap, size = explain(lite0, load_sample("chelsea"), "hires_cam").heatmap, load_sample("chelsea").size
    box = alone.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.37, box["y"] + box["height"] * 0.52)
    expect(viewer.locator(".value").nth(1)).to_have_text(re.compile("in row 4, column 3;"))
    said = viewer.locator(".value").nth(1).inner_text()
    value, share = re.fullmatch(r"(\S+) in row 4, column 3; above (\d+)% of the cells", said).groups()
    assert float(value) == pytest.approx(heatmap[3, 2], rel=2e-3, abs=1e-4)
    assert int(share) == round(100 * (heatmap < heatmap[3, 2]).mean())
    expect(viewer.locator(".value").nth(2)).to_have_text(said)
    expect(viewer.locator(".place")).to_have_text(re.compile(rf"^Pixel \d+, \d+ of {size[0]} x {size[1]}$"))

    # the opacity, and before and after: at once, in the browser
    before = pixels(overlay)
    page.get_by_role("slider", name="Opacity").fill("0.2")
    paler = changed(overlay, before)
    colourful = [np.ptp(drawn, axis=-1).mean() for drawn in (before, paler)]
    assert colourful[1] < 0.5 * colourful[0], "of a grey picture, only the map has colours"
    page.get_by_role("slider", name="Before and after").fill("1")
    bare = changed(overlay, paler)
    page.get_by_role("slider", name="Before and after").fill("0")
    np.testing.assert_array_equal(changed(overlay, bare), paler)

    # keys: all panels together
    page.mouse.move(0, 0)
    expect(viewer.locator(".value").nth(1)).to_have_text("")
    seen = [pixels(one) for one in (overlay, alone)]
    page.get_by_role("button", name="Zoom in", exact=True).focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    expect(viewer).to_have_attribute("data-view", re.compile(r"^1\.5 0\.6"))
    for one, was in zip((overlay, alone), seen, strict=True):
        changed(one, was)
    page.keyboard.press("Shift+ArrowLeft")
    expect(viewer.locator(".status")).to_have_text(re.compile(r"^Pixel \d+, \d+\. Overlay.*: \S+ in row \d, column \d;"))
    assert len(sent) == messages + 1, "the server is told of the opacity, and of nothing else"

    # another method keeps the zoom and the opacity
    view = viewer.get_attribute("data-view")
    choose(page, "Method", "LayerCAM")
    expect(page.get_by_role("img", name=re.compile("^Overlay: LayerCAM"))).to_have_attribute("aria-busy", "false")
    expect(viewer).to_have_attribute("data-view", view)
    expect(page.get_by_role("slider", name="Opacity")).to_have_value("0.2")
    page.get_by_role("button", name="Zoom in", exact=True).focus()
    page.keyboard.press("0")
    expect(viewer).to_have_attribute("data-view", "1 0.5 0.5")
    choose(page, "Picture", "Coffee")
    expect(page.get_by_role("img", name=re.compile("^Overlay: LayerCAM for the logit of esp"))).to_be_visible()


def test_a_box_and_a_painted_region_reach_the_page(visit):
    page = visit("Single_image?picture=Chelsea+the+cat&mind=Change+the+picture&background=Blurred")
    overlay = frame(page, "Overlay")
    overlay.scroll_into_view_if_needed()
    settled(page)
    drag(page, overlay, (0.25, 0.25), (0.75, 0.75), "Shift")
    expect(page.get_by_role("button", name="Blur all but the box")).to_be_visible()
    settled(page)
    assert abs(int(page.get_by_role("spinbutton", name="Left").input_value()) - 451 / 4) <= 3
    assert abs(int(page.get_by_role("spinbutton", name="Bottom").input_value()) - 300 * 3 / 4) <= 3
    page.locator(".st-key-maps").get_by_role("radio", name="Brush").click()
    drag(page, overlay, (0.3, 0.3), (0.6, 0.6))
    page.get_by_role("button", name="Blur what is painted").click()
    expect(page.get_by_role("radio", name="All but what is painted")).to_be_checked()
    settled(page)
    expect(page.get_by_text("Nothing is painted")).to_have_count(0)
    page.locator(".st-key-maps").get_by_role("button", name="Clear the drawing").click()
    expect(page.get_by_text(re.compile("Nothing is painted"))).to_be_visible()
    settled(page)
    expect(page.get_by_role("button", name="Blur all but the box")).to_have_count(0)
    page.locator(".st-key-maps").get_by_role("radio", name="Box").click()
    page.get_by_role("img", name=re.compile("the part that the network saw$")).focus()
    for key in ("Space", "Shift+ArrowRight", "Shift+ArrowDown", "Space"):
        page.keyboard.press(key)
    expect(page.get_by_role("button", name="Blur all but the box")).to_be_visible()


def drag(page: Page, over: Locator, start: tuple[float, float], end: tuple[float, float], key: str = "") -> None:
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    if key:
        page.keyboard.down(key)
    for place, act in ((start, page.mouse.down), (end, page.mouse.up)):
        page.mouse.move(box["x"] + box["width"] * place[0], box["y"] + box["height"] * place[1], steps=6)
        act()
    if key:
        page.keyboard.up(key)
