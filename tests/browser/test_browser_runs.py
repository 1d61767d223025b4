"""A run of measurements in a real browser: from the table of means to the pictures behind a number."""

import re

import pytest
from browsing import choose, settled, start_run
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_a_click_on_a_mean_shows_its_pictures_which_open_on_their_own_page(visit):
    page = visit("Faithfulness_metrics?view=A+run")
    cell = page.locator("svg.marks path[aria-label^='metric: Deletion ↓; method: LayerCAM']").first
    cell.wait_for(state="attached")
    cell.click(force=True)  # its number lies over it
    settled(page)
    expect(page.get_by_text("Best by Deletion")).to_be_visible()
    expect(page.get_by_role("combobox", name=re.compile("Method"))).to_have_count(1)
    images = page.locator('[data-testid="stImage"] img')
    expect(images).to_have_count(8)
    for image in images.all():
        page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())  # also on a busy machine
        assert image.get_attribute("alt")
    assert "look=Pictures" in page.url and "LayerCAM" in page.url
    page.get_by_role("link", name="Open").first.click()
    page.get_by_text(re.compile(r"Why\? LayerCAM for the logit of")).wait_for()
    settled(page)
    page.go_back()
    expect(images).to_have_count(8)
    settled(page)
    assert all(part in page.url for part in ("look=Pictures", "run-metric=Deletion", "run-method=LayerCAM"))
    page.get_by_role("radio", name="Spread", exact=True).click()
    settled(page)
    page.locator('svg.marks path[aria-label*="method: LayerCAM"][aria-label*="name: coffee"]').first.click()
    expect(page.get_by_role("link", name=re.compile(r"Open\s+Coffee"))).to_be_in_viewport()


@pytest.mark.parametrize("width", [380, 1400])
def test_a_run_fits_its_page(visit, width):
    page = visit("Faithfulness_metrics?view=A+run", viewport={"width": width, "height": 900})
    page.locator("svg.marks").first.wait_for()
    main = page.locator('[data-testid="stMain"]')
    assert main.evaluate("main => main.scrollWidth - main.clientWidth") <= 1


def test_a_run_is_started_beside_a_selected_one_cancelled_with_the_first_click_and_kept(visit):
    page = visit("Faithfulness_metrics?view=A+run&run=quick")
    start_run(page, "first")
    expect(page.get_by_text(re.compile("[1-7] of 8 pictures,"))).to_be_visible(timeout=120_000)
    page.get_by_role("button", name="Cancel").click()
    expect(
        page.get_by_text(re.compile("Run first: cancelled after [1-7] of 8 pictures. Measurements made so far"))
    ).to_be_visible()
    settled(page)
    choose(page, "Run", "more0/made/first")
    expect(page.get_by_text(re.compile(r"This run ended early: \d+ measurements are missing"))).to_be_visible()
    expect(page.get_by_text("In progress")).to_have_count(0)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("Run first: cancelled")).to_have_count(0)
    page.get_by_role("button", name="Plan").click()  # the form is still open
    expect(page.get_by_text(re.compile(r"[1-7] of 8 pairs of a picture and a model are measured already"))).to_be_visible()
