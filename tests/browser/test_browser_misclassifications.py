"""The misclassification page on the real server: a click on the matrix, a picture, its reasons, and the way on."""

import re

import pytest
from browsing import choose, settled
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def drawer(page: Page):
    return page.get_by_role("dialog")


def tile_button(page: Page, place: int):
    """The button of a picture in the gallery."""
    return page.locator('[class*="st-key-open-"]').nth(place).locator("button:visible")


def click_row(page: Page, row: int, first: int = 0) -> None:
    """Press the button of a row of the page's table: the first column, below the header."""
    grid = page.get_by_test_id("stDataFrame").nth(first)
    grid.scroll_into_view_if_needed()
    grid.click(position={"x": 42, "y": 35 + 35 * row + 17})
    settled(page)


def test_from_a_cell_to_the_reason_and_on(visit):
    page = visit("Misclassifications")
    expect(page.locator('[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg').first).to_be_visible()
    choose(page, "True class", "tabby, tabby cat")
    choose(page, "Predicted class", "Egyptian cat")
    settled(page)
    tile_button(page, 0).click()
    settled(page)
    expect(drawer(page).get_by_text("Why Egyptian cat and not tabby").first).to_be_visible()
    expect(drawer(page).locator('img[alt^="Overlay"]')).to_have_count(3)
    page.get_by_role("link", name="Open on the page Single image").click()
    expect(page.get_by_role("heading", name="Explain one picture")).to_be_visible()
    expect(page.locator('img[alt^="Overlay"]').first).to_be_visible()
    expect(page.get_by_text("Egyptian cat and not tabby").first).to_be_visible()
    assert "picture.sample=tabby" in page.url and "A+and+not+B" in page.url


WATCH = """() => {
  window.fewest = 9;
  const look = () => {
    const maps = [...document.querySelectorAll('[role=dialog] img[alt^="Overlay"]')];
    window.fewest = Math.min(window.fewest, maps.length);
    requestAnimationFrame(look);
  };
  look();
}"""


def test_arrow_keys_step_through_a_group_while_the_last_map_stays(visit):
    page = visit("Misclassifications?true=tabby%2C+tabby+cat&predicted=Egyptian+cat")
    tile_button(page, 0).click()
    expect(drawer(page).locator('img[alt^="Overlay"]')).to_have_count(3)
    expect(drawer(page).get_by_text("tabby predicted as Egyptian cat: 1 of 9")).to_be_visible()
    settled(page)
    box = drawer(page).bounding_box()
    assert box["x"] > 500 and box["y"] < 10  # beside the gallery, from the top of the window
    page.evaluate(WATCH)
    page.keyboard.press("ArrowRight")
    expect(drawer(page).get_by_text("tabby predicted as Egyptian cat: 2 of 9")).to_be_visible()
    settled(page)
    expect(drawer(page).locator('img[alt^="Overlay"]')).to_have_count(3)
    assert page.evaluate("window.fewest") > 0  # there was a map at every moment
    page.keyboard.press("ArrowLeft")
    expect(drawer(page).get_by_text("tabby predicted as Egyptian cat: 1 of 9")).to_be_visible()
    settled(page)
    page.keyboard.press("Escape")
    expect(drawer(page)).to_have_count(0)
    settled(page)
    assert "sample=" not in page.url


def test_a_click_on_a_cell_opens_its_pictures_each_time(visit):
    page = visit("Misclassifications?order=By+name")
    for _ in range(2):
        cell = page.locator('[data-testid="stVegaLiteChart"] path[aria-label*="predicted: Egyptian cat"]').first
        cell.click()
        expect(drawer(page).get_by_text("tabby predicted as Egyptian cat: 1 of 9")).to_be_visible()
        settled(page)
        page.keyboard.press("Escape")
        expect(drawer(page)).to_have_count(0)
        settled(page)
    expect(page.get_by_role("combobox", name="Predicted class", exact=True)).to_have_value("Egyptian cat")


@pytest.mark.parametrize(
    ("view", "title"),
    [("Most+confused", "tabby predicted as Egyptian cat: 1 of 9"), ("Per+class", "errors first: 1 of"),
     ("Calibration", re.compile(r"Confidence \d+% to \d+%: 1 of"))],
)  # fmt: skip
def test_a_row_opens_its_pictures(visit, view, title):
    page = visit(f"Misclassifications?view={view}")
    click_row(page, 0)
    expect(drawer(page).get_by_text(title)).to_be_visible()


@pytest.mark.parametrize(("view", "title"), [("Per+class", "errors first: 1 of"), ("Calibration", "Confidence ")])
def test_a_point_and_a_bar_open_their_pictures(visit, view, title):
    page = visit(f"Misclassifications?view={view}")
    marks = page.locator('[data-testid="stVegaLiteChart"] path[role="graphics-symbol"][aria-label*=": "]')
    marks.nth(2).click()  # a bin without right predictions has no bar to click, but a row in the table
    expect(drawer(page).get_by_text(title).first).to_be_visible()


def test_the_address_restores_the_cell(visit):
    page = visit("Misclassifications?true=tripod&predicted=%28all%29&which=Wrong")
    expect(page.get_by_text("of 80 pictures pass the filters")).to_be_attached()
    expect(page.get_by_role("combobox", name="True class", exact=True)).to_have_value("tripod")


def test_the_address_restores_the_open_picture(visit):
    page = visit("Misclassifications")
    tile_button(page, 1).click()
    expect(drawer(page).locator('img[alt^="Overlay"]').first).to_be_visible()
    settled(page)
    name = re.search(r"sample=([^&]+)", page.url)
    assert name
    again = visit(page.url.split("/")[-1])
    expect(drawer(again).locator('img[alt^="Overlay"]').first).to_be_visible()
