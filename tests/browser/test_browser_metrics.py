"""The page of metrics on the real server: a box is drawn, a point of a curve is clicked, and the address keeps both."""

import re

import pytest
from browsing import settled, start_where_asked
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
ADDRESS = (
    "Faithfulness_metrics?picture=Chelsea+the+cat&evidence=In+a+box&methods=Grad-CAM&methods=Saliency"
    "&metrics=Deletion&metrics=Energy+pointing+game"
)
MEASURED = 'img[alt^="The picture at step"]'


def drag(page: Page, chart: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one place of a chart to another, both as shares of its width and height."""
    area = page.locator(f"[class*=st-key-{chart}] :is(.marks, .frame)").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    places = [(box["x"] + box["width"] * across, box["y"] + box["height"] * down) for across, down in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=6)
    page.mouse.up()


def test_a_box_is_drawn_and_a_curve_is_clicked(visit):
    page = visit(ADDRESS)
    start_where_asked(page, "Measure")
    expect(page.locator(MEASURED)).to_be_visible(timeout=90_000)
    drag(page, "box", (0.1, 0.1), (0.5, 0.6))
    expect(page).to_have_url(re.compile(r"left-451x300=4\d&top-451x300=3\d"))
    settled(page)
    left = page.get_by_role("spinbutton", name="Left")
    assert 40 <= int(left.input_value()) <= 49
    drag(page, "curves", (0.6, 0.3), (0.6, 0.3))
    expect(page).to_have_url(re.compile(r"step-16=\d+"))
    settled(page)
    said = page.locator(MEASURED).get_attribute("alt")
    again = visit(page.url.split("/")[-1])
    expect(again.locator(MEASURED)).to_have_attribute("alt", said, timeout=90_000)


def test_the_self_test_becomes_a_badge_and_numbers_are_downloaded(visit):
    page = visit(ADDRESS)
    start_where_asked(page, "Measure")
    expect(page.locator(MEASURED)).to_be_visible(timeout=90_000)
    page.locator(".st-key-run-Self-test button").click()
    expect(page.get_by_text(re.compile("self-test passed|self-test failed")).first).to_be_visible(timeout=120_000)
    settled(page)
    page.get_by_text("Definitions and sources of the metrics").click()
    expect(page.get_by_test_id("stCode").first).to_be_visible()
    for name, start in {
        "Numbers (CSV)": b"\xef\xbb\xbfmap,metric",
        "Numbers (Parquet)": b"PAR1",
        "Curves (SVG)": b"<svg",
    }.items():
        with page.expect_download() as found:
            page.get_by_role("button", name=name).click()
        assert found.value.path().read_bytes().startswith(start)


def test_the_way_of_knowing_where_the_evidence_lies_is_in_the_address(visit):
    page = visit("Faithfulness_metrics?picture=Rocket&methods=Saliency&metrics=Sparseness")
    page.get_by_role("radiogroup", name="Where should the evidence lie?").get_by_text("In a mosaic").click()
    expect(page.get_by_role("img", name="A mosaic: the picture in the upper left quarter")).to_be_visible()
    expect(page).to_have_url(re.compile(r"evidence=In(\+|%20)a(\+|%20)mosaic"))
    settled(page)
