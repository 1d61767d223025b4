"""What can be read on a telephone and by a screen reader: names of controls, tables, the answer in words."""

import re

import pytest
from browsing import start_where_asked
from playwright.sync_api import expect
from readable_colours import blended, contrast

from xai_core.app.shared import page_setup

pytestmark = pytest.mark.browser
TELEPHONE = {"viewport": {"width": 380, "height": 900}}
UNNAMED = """() => [...document.querySelectorAll('button, input, [role=combobox], [role=slider]')].filter(control =>
    control.offsetParent && !(control.getAttribute('aria-label') || control.innerText || control.title
    || control.labels?.length || control.getAttribute('aria-labelledby'))).map(control => control.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("path", ["", "Single_image", "Training_evolution", "Report"])
def test_every_control_has_a_name(visit, path):
    assert visit(path).evaluate(UNNAMED) == []


def test_the_button_of_the_settings_has_words_on_a_telephone(visit):
    page = visit("Single_image", **TELEPHONE)
    button = page.get_by_role("button", name="Expand sidebar")
    assert "Pages and settings" in button.evaluate("button => getComputedStyle(button, '::after').content")
    button.click()
    expect(page.get_by_role("combobox", name="Method", exact=True)).to_be_visible()


def test_the_report_fits_a_telephone(visit):
    """Nothing in it scrolls sideways, and the first column of a table breaks no word."""
    page = visit("Report", **TELEPHONE)
    report = page.locator(".st-key-report")
    wide = "box => [box, ...box.querySelectorAll('*')].filter(part => part.scrollWidth > part.clientWidth + 1 " \
        "&& getComputedStyle(part).display !== 'inline').map(part => part.outerHTML.slice(0, 100))"  # fmt: skip
    assert report.evaluate(wide) == []
    supervision = report.get_by_role("cell", name="Supervision", exact=True).first
    line = supervision.evaluate("cell => parseFloat(getComputedStyle(cell).lineHeight)")
    range_of = (
        "cell => { const r = document.createRange(); r.selectNodeContents(cell); return r.getBoundingClientRect().height }"
    )
    assert supervision.evaluate(range_of) < 1.6 * line, "on one line"
    before = "cell => getComputedStyle(cell, '::before').content"
    cell = report.locator(".st-key-approaches td:nth-child(6)").first
    assert "Can tell: " in cell.evaluate(before)


def test_the_answer_in_words_stands_under_the_map_and_in_its_alternative_text(visit):
    page = visit("Single_image?picture=Chelsea+the+cat&ask=A+and+not+B&method=HiResCAM&hires_cam.relu=false")
    start_where_asked(page, "Explain")
    words = page.get_by_text("Red speaks for tiger cat, blue for Egyptian cat.").first
    expect(words).to_be_visible()
    assert words.inner_text() in page.get_by_role("img", name=re.compile("^Overlay: ")).first.get_attribute("aria-label")


AXES = """box => { const page = getComputedStyle(document.querySelector('[data-testid="stApp"]')).backgroundColor;
    return [...box.querySelectorAll('.role-axis-label text, .role-axis-title text, .role-legend-label text')].map(text => {
        const style = getComputedStyle(text); return [style.fill, page, Number(style.fillOpacity)] }) }"""


def _hex(colour: str) -> str:
    return "#" + "".join(f"{int(one):02x}" for one in re.findall(r"\d+", colour)[:3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_wide_chart_keeps_the_names_of_its_rows(visit, scheme):
    """On a telephone it is scrolled sideways; its texts are read on both themes, and no space is lost above the title."""
    page = visit("Training_evolution?run=scenes_supervised", color_scheme=scheme, **TELEPHONE)
    chart = page.get_by_test_id("stVegaLiteChart").filter(has=page.get_by_text(re.compile("^buildings 1–")))
    name = chart.get_by_text(re.compile("^buildings 1–"))
    expect(name).to_have_count(1)
    colours = chart.evaluate(AXES)
    assert len(colours) > 30
    for ink, paper, opacity in colours:
        assert contrast(blended(_hex(ink), _hex(paper), opacity), _hex(paper)) >= 4.5, (ink, paper, opacity)
    place = name.bounding_box()
    chart.evaluate("box => { box.scrollLeft = 250 }")
    expect(name).to_have_count(2)
    copy = name.nth(1).bounding_box()
    assert abs(copy["x"] - place["x"]) < 2 and abs(copy["y"] - place["y"]) < 2
    chart.evaluate("box => { box.scrollLeft = 0 }")
    expect(name).to_have_count(1)
    main = page.get_by_test_id("stMain")
    assert main.evaluate("main => main.scrollWidth - main.clientWidth") <= 1, "the page itself does not scroll sideways"
    title = page.get_by_role("heading", level=1)
    assert title.bounding_box()["y"] < 90


def test_the_tags_of_a_choice_are_read_on_a_dark_page(visit):
    page = visit("Method_comparison?picture=Rocket&methods=Saliency", color_scheme="dark")
    tag = page.locator('[data-testid="stMultiSelect"]').get_by_text("Saliency", exact=True).first
    ink = tag.evaluate("text => getComputedStyle(text).color")
    behind = tag.evaluate("text => getComputedStyle(text.closest('[data-tag]')).backgroundColor")
    assert contrast(_hex(ink), _hex(behind)) >= 4.5, (ink, behind)


LONG_PAGE = """<div data-testid="stApp" data-test-script-state="running"><div data-testid="stMainBlockContainer"><p>above</p>
<div style="height: 10px" id="chart"></div><div class="st-key-below">below</div></div></div>"""


@pytest.mark.parametrize("action", [None, "Tab", "mouse"])
def test_a_page_scrolls_by_itself_only_while_the_visitor_does_nothing(browser, action):
    page = browser.new_page()
    page.set_content(LONG_PAGE)
    script = page_setup.SCROLL_TO % ("below", 1)
    page.evaluate(script.removeprefix("<script>").removesuffix("</script>"))
    if action == "mouse":
        page.get_by_text("above").click()
    elif action:
        page.keyboard.press(action)
    page.evaluate("document.querySelector('[data-testid=stApp]').dataset.testScriptState = 'notRunning'")
    page.wait_for_timeout(500)  # it looks ten times a second
    page.evaluate("document.querySelector('#chart').style.height = '3000px'")  # a chart that is drawn late
    page.wait_for_timeout(500)
    assert (page.evaluate("window.scrollY") > 2000) == (action is None)
    page.evaluate("window.scrollTo(0, 0)")  # what is scrolled by other means stays so
    page.wait_for_timeout(500)
    assert page.evaluate("window.scrollY") == 0
    page.close()
