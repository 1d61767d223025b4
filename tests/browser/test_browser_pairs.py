"""The pairs page in a real browser: a click on a patch chooses it, and a cancelled synthesis leaves the page alive."""

import re

import pytest
from browsing import settled
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


ONE_METHOD = "Pairs?model=EfficientNet-Lite0&pair_methods=Grad-CAM+for+similarity"


def test_a_click_on_a_patch_chooses_it(visit):
    page = visit(ONE_METHOD)
    chart = page.locator('[data-testid="stVegaLiteChart"]').nth(1)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.93, box["y"] + 0.07 * box["width"])
    settled(page)
    expect(page.get_by_role("spinbutton", name="Row")).to_have_value("1")
    expect(page.get_by_role("spinbutton", name="Column")).to_have_value("7")
    expect(page).to_have_url(re.compile("row=1&column=7"))
    page.get_by_role("spinbutton", name="Row").fill("7")
    page.get_by_role("spinbutton", name="Row").press("Enter")
    expect(page).to_have_url(re.compile("row=7"))
    settled(page)
    expect(page.get_by_role("spinbutton", name="Row")).to_have_value("7")  # and it stays, whatever was clicked before


def test_a_synthesis_can_be_cancelled(visit):
    page = visit(f"{ONE_METHOD}&more=Synthesis&octaves=6&iterations=60")
    page.get_by_role("button", name="Synthesise").click()
    page.get_by_text("of 360", exact=False).first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    settled(page)
    expect(page.get_by_text("Cancelled", exact=False).first).to_be_visible()
    expect(page.get_by_role("button", name="Synthesise")).to_be_visible()
