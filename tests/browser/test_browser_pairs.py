"""The pairs page in a real browser: a click on a patch chooses it, and a cancelled synthesis leaves the page alive."""

import re

import pytest
from browsing import open_form, settled
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


def test_a_benchmark_is_planned_started_and_cancelled_beside_the_example(visit):
    page = visit(f"{ONE_METHOD}&more=Benchmark")
    expect(page.get_by_text("Settings that differ from those of the published figures").first).to_be_visible()
    open_form(page)
    page.get_by_role("spinbutton", name="At most").fill("2")
    page.get_by_role("spinbutton", name="At most").press("Enter")
    settled(page)
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_text("2 pictures, 16 methods and 3 controls by 9 metrics.")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Cancel").click()  # while the first picture is measured, which takes many seconds
    expect(page.get_by_text("Pairs benchmark first: cancelled")).to_be_visible()
    settled(page)
    expect(page.get_by_text("of 'samples', 16 methods, 9 metrics, behind the normalisation")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (LaTeX)").click()
    assert "toprule" in download.value.path().read_text()
