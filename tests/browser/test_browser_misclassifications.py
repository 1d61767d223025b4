"""The misclassification page on the real server: a click on the matrix, a picture, its reasons, and the way on."""

import re
from urllib.parse import quote_plus

import numpy as np
import pytest
from browsing import ROOT, settled
from playwright.sync_api import Locator, Page, expect

from xai_core.analysis.embedding_maps import embedding_map
from xai_core.data.predictions import read_predictions

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
    """Until the address names the view, what is drawn may be the one before."""
    page.get_by_role("radio", name=name, exact=True).click()
    expect(page).to_have_url(re.compile(f"[?&]view={re.escape(quote_plus(name))}(&|$)"))
    settled(page)


def point_map(page: Page) -> Locator:
    """The plot of the map, when it has its points."""
    plot = page.get_by_role("application", name=re.compile("Map of 1,000 pictures"))
    expect(plot).to_have_attribute("aria-busy", "false")
    plot.scroll_into_view_if_needed()
    settled(page)
    return plot


def places_on(plot: Locator) -> dict[str, tuple[float, float]]:
    """Where the pictures of the shipped predictions lie in the window, by their paths, in the order of the predictions."""
    (file,) = (ROOT / "data" / "predictions").glob("world_planted*.parquet")
    rows = read_predictions(file)
    points = embedding_map(np.stack(rows["embedding"].to_list())).points.astype(float)
    low, high = points.min(0), points.max(0)
    low, high = low - 0.03 * (high - low), high + 0.03 * (high - low)
    left, top, width, height = plot.evaluate(
        "plot => { const box = plot.getBoundingClientRect(); return [box.left + plot.clientLeft, box.top + plot.clientTop, "
        "plot.clientWidth, plot.clientHeight]; }"
    )
    x = left + 34 + (points[:, 0] - low[0]) / (high[0] - low[0]) * (width - 34 - 12)
    y = top + height - 24 - (points[:, 1] - low[1]) / (high[1] - low[1]) * (height - 12 - 24)
    return dict(zip(rows["path"], zip(x, y, strict=True), strict=True))


def crossed(place, outline) -> bool:
    """Whether a ray to the right of a place crosses a polygon an odd number of times."""
    (x, y), count = place, 0
    for (ax, ay), (bx, by) in zip(outline, [*outline[1:], outline[0]], strict=True):
        count += (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay)
    return count % 2 == 1


def to_edge(place, outline) -> float:
    """The distance of a place to the nearest edge of a polygon, in pixels."""
    corners = np.array([*outline, outline[0]], float)
    starts, along = corners[:-1], np.diff(corners, axis=0)
    share = np.clip(((place - starts) * along).sum(1) / (along**2).sum(1), 0, 1)
    return float(np.hypot(*(starts + share[:, None] * along - place).T).min())


def farthest(places, outlines):
    """The outline that is farthest from all points: a lasso is drawn within a pixel."""
    outline = max(outlines, key=lambda one: min(to_edge(place, one) for place in places.values()))
    assert min(to_edge(place, outline) for place in places.values()) > 1.5
    return outline


def drag(page: Page, outline, *, shift: bool = False) -> None:
    if shift:
        page.keyboard.down("Shift")
    page.mouse.move(*outline[0])
    page.mouse.down()
    for place in outline[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    if shift:
        page.keyboard.up("Shift")
    settled(page)


def chosen_pictures(page: Page, count: int) -> set[str]:
    """The pictures shown below the map: those that are chosen, where they are at most twelve. Waits for so many."""
    names = page.get_by_role("checkbox", name=re.compile("^Select "))
    expect(names).to_have_count(count)
    return {name.evaluate("box => box.labels[0].innerText").split(maxsplit=1)[1].strip() for name in names.all()}


def test_a_lasso_chooses_exactly_the_pictures_inside_it_and_shift_adds(visit):
    page = visit("Misclassifications?view=Map")
    plot = point_map(page)
    places = places_on(plot)
    count = page.get_by_text(re.compile(r"of 1,000 chosen:"))
    middle = sorted(places.values(), reverse=True)[10]  # at the right, where points lie apart
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], 1)
    lasso = farthest(places, [middle + reach * circle for reach in range(20, 40)])
    wanted = {path for path, place in places.items() if crossed(place, lasso)}
    assert 2 < len(wanted) < 8
    drag(page, lasso)
    expect(count).to_contain_text(f"{len(wanted)} pictures of 1,000 chosen")
    assert chosen_pictures(page, len(wanted)) == wanted
    assert plot.get_attribute("data-chosen") == str(len(wanted))

    page.get_by_role("radio", name="Box", exact=True).click()
    plot.scroll_into_view_if_needed()
    places = places_on(plot)
    top = min(places.values(), key=lambda place: place[1])
    reaches = [(across, down) for across in range(15, 60, 3) for down in range(15, 35, 3)]
    box = farthest(places, [top + np.array([(-a, -9), (a, -9), (a, b), (-a, b)]) for a, b in reaches])
    added = {path for path, place in places.items() if crossed(place, box)}
    assert added and len(wanted | added) <= 12
    drag(page, [box[0], box[2]], shift=True)
    expect(count).to_contain_text(f"{len(wanted | added)} pictures of 1,000 chosen")
    assert chosen_pictures(page, len(wanted | added)) == wanted | added
    page.reload()
    settled(page)
    expect(count).to_contain_text(f"{len(wanted | added)} pictures of 1,000 chosen")
    page.get_by_role("button", name="Open them", exact=True).click()
    expect_open(page, f"Chosen on the map: errors first: 1 of {len(wanted | added)}")
    close(page)
    point_map(page).focus()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Nothing is chosen. Drag over the map")).to_be_visible()
    assert "chosen=" not in page.url


def test_a_point_has_a_tooltip_opens_its_picture_and_the_keys_do_all_that_dragging_does(visit):
    page = visit("Misclassifications?view=Map")
    plot = point_map(page)
    path, place = max(places_on(plot).items(), key=lambda entry: entry[1][0])
    page.mouse.move(place[0] - 2, place[1] + 1)
    tip = plot.locator(".tip")
    expect(tip).to_contain_text(path)
    expect(tip).to_contain_text(re.compile(r"(right|wrong), true: \w+predicted: \w+ \d+%"))
    expect(tip.locator("img")).to_have_js_property("complete", True)
    page.mouse.click(*place)
    expect_open(page, "Pictures on the map:")
    assert path.replace("/", "%2F") in page.url
    close(page)
    plot = point_map(page)
    plot.focus()
    for key in ["0", "+", "-", "Space", *["ArrowRight"] * 12, *["ArrowDown"] * 8, "Space"]:
        page.keyboard.press(key)
    settled(page)
    count = page.get_by_text(re.compile(r"of 1,000 chosen:"))
    expect(count).to_be_visible()
    said = int(re.match(r"(\d+) picture", count.inner_text()).group(1))
    assert plot.get_attribute("data-chosen") == str(said) and said > 5
    page.keyboard.press("Escape")
    expect(count).to_have_count(0)


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
    expect(page.get_by_role("img", name=re.compile("^Overlay: ")).first).to_be_visible()
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
