"""One opened page is one step of the browser's history, and Back leads to the place that was left, in a real browser."""

import re

import pytest
from browsing import choose, settled
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
PLACE = (
    "Misclassifications?dataset=Sample+photographs%2C+changed&which=Wrong&order=By+name&true=tripod"
    "&predicted=%28all%29&method=Grad-CAM"
)
OPEN = "Open on the page Single image"
MISSES = "Where is the model wrong, and why?"


def open_on_single_image(page: Page) -> None:
    page.get_by_role("link", name=OPEN).click()
    expect(page.get_by_role("heading", name="Explain one picture")).to_be_visible()
    settled(page)
    expect(page.get_by_role("img", name=re.compile("^Overlay: ")).first).to_be_visible()


def choice(page: Page, label: str) -> str:
    return page.get_by_role("combobox", name=label, exact=True).input_value()


def place(page: Page) -> dict[str, str]:
    """What a visitor has chosen on the page of misclassifications, and its address."""
    expect(page.get_by_role("heading", name=MISSES)).to_be_visible()
    settled(page)
    names = ("Pictures", "True class", "Predicted class", "Model")
    open_picture = page.get_by_role("dialog").all_inner_texts()
    return {name: choice(page, name) for name in names} | {"address": page.url, "open picture": "".join(open_picture)[:200]}


def open_first_picture(page: Page) -> None:
    page.locator('[class*="st-key-open-"] button').first.click()
    expect(page.get_by_role("dialog").locator('img[alt^="Overlay"]').first).to_be_visible()
    settled(page)


def length(page: Page) -> int:
    return page.evaluate("history.length")


def test_back_from_the_single_image_page_is_one_step_to_the_same_place(visit):
    page = visit(PLACE)
    open_first_picture(page)
    there, entries = place(page), length(page)
    open_on_single_image(page)
    assert length(page) == entries + 1
    single = page.url
    page.go_back()
    assert place(page) == there
    page.go_forward()
    expect(page.get_by_role("heading", name="Explain one picture")).to_be_visible()
    settled(page)
    assert page.url == single and choice(page, "Method") == "Grad-CAM"
    page.reload()
    settled(page)
    expect(page.get_by_role("img", name=re.compile("^Overlay: ")).first).to_be_visible()
    assert page.url == single and choice(page, "Method") == "Grad-CAM"
    page.go_back()
    assert place(page) == there


def test_the_link_back_restores_the_place(visit):
    page = visit(PLACE)
    open_first_picture(page)
    there = place(page)
    open_on_single_image(page)
    choose(page, "Method", "LayerCAM")
    page.get_by_role("link", name="Back to Misclassifications").click()
    assert place(page) == there


def test_a_page_opened_from_the_sidebar_is_one_step(visit):
    page = visit(PLACE)
    there, entries = place(page), length(page)
    page.locator('[data-testid="stSidebarNavLink"]', has_text="Method comparison").click()
    expect(page.get_by_role("heading", name="Compare methods")).to_be_visible()
    settled(page)
    assert length(page) == entries + 1
    page.go_back()
    assert place(page) == there
