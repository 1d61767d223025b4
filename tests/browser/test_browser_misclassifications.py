"""The misclassification page on the real server: a click on the matrix, a picture, its reasons, and the way on."""

import re

import pytest
from browsing import settled
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser
PAIR = "tabby predicted as Egyptian cat"
COLOUR_BARS = """() => [...document.querySelectorAll('svg.marks [fill^="url("]')].map(bar => bar.getAttribute('fill'))
  .map(colours => colours.startsWith('url(#') || colours.startsWith(`url(${location.href}#`))"""
SCROLLED = "document.querySelector('[data-testid=stMain]').scrollTop"
TABLE, CHART = "stDataFrame", "stVegaLiteChart"


def drawer(page: Page) -> Locator:
    return page.get_by_role("dialog")


def expect_open(page: Page, words: str | re.Pattern[str]) -> None:
    """The drawer is open on a list of which these words are said."""
    expect(drawer(page).get_by_text(words).first).to_be_visible()
    settled(page)


def close(page: Page) -> None:
    page.keyboard.press("Escape")
    expect(drawer(page)).to_have_count(0)
    expect(page).not_to_have_url(re.compile("sample="))
    settled(page)


def expect_focus_in(page: Page, test_id: str) -> None:
    expect(page.locator(f'[data-testid="{test_id}"]:focus-within')).to_have_count(1)


def tile_button(page: Page, place: int) -> Locator:
    """The button of a picture in the gallery."""
    return page.locator('[class*="st-key-open-"]').nth(place).locator("button:visible")


def click_row(page: Page, row: int) -> None:
    """Press the button of a row of the page's first table: the first column, below the header."""
    grid = page.get_by_test_id(TABLE).first
    grid.scroll_into_view_if_needed()
    grid.click(position={"x": 42, "y": 35 + 35 * row + 17})


def click_mark(page: Page, label: str, place: int = 0) -> None:
    page.get_by_test_id(CHART).locator(f'path[role="graphics-symbol"][aria-label*="{label}"]').nth(place).click()


def show_view(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).click()
    settled(page)


def test_a_box_drawn_on_the_map_opens_its_pictures_and_stays_chosen(visit):
    page = visit("Misclassifications?dataset=Sample+photographs%2C+changed&view=Map")
    chart = page.get_by_test_id(CHART)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 200, steps=5)
    page.mouse.move(box["x"] + box["width"] - 60, box["y"] + 330, steps=5)
    page.mouse.up()
    expect_open(page, re.compile("Chosen on the map: errors first"))
    close(page)
    expect(page.get_by_text(re.compile(r"of \d+ chosen:"))).to_be_visible()
    page.reload()
    settled(page)
    expect(page.get_by_role("button", name="Choose the whole map")).to_be_visible()


WATCH = """() => {
  window.fewest = 9;
  const look = () => {
    const maps = [...document.querySelectorAll('[role=dialog] img[alt^="Overlay"]')];
    window.fewest = Math.min(window.fewest, maps.length);
    requestAnimationFrame(look);
  };
  look();
}"""


def test_from_a_cell_to_the_reason_and_on(visit):
    page = visit("Misclassifications?dataset=Sample+photographs%2C+changed&order=By+name")
    for _ in range(2):  # each time, though the cell was chosen before
        click_mark(page, "predicted: Egyptian cat")
        expect_open(page, f"{PAIR}: 1 of 9")
        close(page)
        expect_focus_in(page, CHART)
    assert "sample=" not in page.url and "list=" not in page.url
    expect(page.get_by_role("combobox", name="Predicted class", exact=True)).to_have_value("Egyptian cat")

    tile_button(page, 0).click()
    expect(drawer(page).locator('img[alt^="Overlay"]')).to_have_count(3)
    expect(drawer(page).get_by_text("Why Egyptian cat and not tabby").first).to_be_visible()
    expect_open(page, f"{PAIR}: 1 of 9")
    box = drawer(page).bounding_box()
    assert box["x"] > 500 and box["y"] < 10  # beside the gallery, from the top of the window
    drawer(page).get_by_role("button", name="Save").scroll_into_view_if_needed()  # at the end of the drawer
    expect(drawer(page).get_by_text("Why Egyptian cat and not tabby").first).not_to_be_in_viewport()
    expect(drawer(page).get_by_role("button", name="Next")).to_be_in_viewport(ratio=1)
    page.evaluate(WATCH)
    page.keyboard.press("ArrowRight")
    expect_open(page, f"{PAIR}: 2 of 9")
    expect(drawer(page).locator('img[alt^="Overlay"]')).to_have_count(3)
    assert page.evaluate("window.fewest") > 0  # there was a map at every moment
    page.keyboard.press("ArrowLeft")
    expect_open(page, f"{PAIR}: 1 of 9")

    page.reload()
    expect_open(page, f"{PAIR}: 1 of 9")
    expect(drawer(page).locator('img[alt^="Overlay"]')).to_have_count(3)
    page.get_by_role("link", name="Open on the page Single image").click()
    expect(page.get_by_role("heading", name="Explain one picture")).to_be_visible()
    expect(page.locator('img[alt^="Overlay"]').first).to_be_visible()
    expect(page.get_by_text("Egyptian cat and not tabby").first).to_be_visible()
    assert "picture.sample=tabby" in page.url and "A+and+not+B" in page.url


def test_rows_points_and_bars_open_their_pictures_and_get_the_focus_back(visit):
    page = visit("Misclassifications?dataset=Sample+photographs%2C+changed&view=Most+confused")
    click_row(page, 0)
    expect_open(page, f"{PAIR}: 1 of 9")
    page.keyboard.press("ArrowRight")
    expect_open(page, f"{PAIR}: 2 of 9")
    page.reload()  # outside the view Confusion too, the list is the one that was opened
    expect_open(page, f"{PAIR}: 2 of 9")
    close(page)
    show_view(page, "Per class")
    click_row(page, 0)
    expect_open(page, "errors first: 1 of")
    close(page)
    expect_focus_in(page, TABLE)
    click_mark(page, ": ", 2)
    expect_open(page, "errors first: 1 of")
    close(page)
    show_view(page, "Calibration")
    click_mark(page, ": ", 2)  # a bin without right predictions has no bar to click
    expect_open(page, re.compile(r"Confidence \d+% to \d+%: 1 of"))
    close(page)
    expect_focus_in(page, CHART)


def test_closing_leads_back_to_the_tile_where_the_page_was(visit):
    page = visit("Misclassifications?dataset=Sample+photographs%2C+changed")
    page.get_by_role("button", name="Show all 31 errors").click()
    expect(page.locator('[class*="st-key-open-"]')).to_have_count(24)
    page.wait_for_function(f"{SCROLLED} > 300")  # to the errors
    page.goto(f"{page.url}&page=2")
    settled(page)
    expect(page.get_by_text("of 80 pictures pass the filters")).to_be_attached()
    expect(page.get_by_role("combobox", name="True class", exact=True)).to_have_value("(all)")
    expect(page.locator('[class*="st-key-open-"]')).to_have_count(31 - 24)
    tile = tile_button(page, 3)
    tile.scroll_into_view_if_needed()
    assert re.fullmatch(r"Open\s+\S.*\.png", tile.inner_text()) and tile.get_by_text("Open").bounding_box()["width"] < 100
    scrolled, address = page.evaluate(SCROLLED), page.url
    tile.click()
    expect_open(page, "Pictures listed: 28 of 31")
    page.keyboard.press("ArrowRight")
    expect_open(page, "Pictures listed: 29 of 31")
    assert {*page.evaluate(COLOUR_BARS)} == {True}  # although the address has changed
    drawer(page).get_by_role("button", name="Close").click()
    expect(drawer(page)).to_have_count(0)
    expect(page).to_have_url(address)  # the browser has it some time after the drawer has gone
    settled(page)
    expect(tile).to_be_focused()
    assert scrolled > 300 and page.evaluate(SCROLLED) == scrolled
