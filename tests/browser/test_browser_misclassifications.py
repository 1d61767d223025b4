"""The misclassification page on the real server: a click on the matrix, a picture, its reasons, and the way on."""

import re

import pytest
from browsing import choose, settled
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_from_a_cell_to_the_reason_and_on(visit):
    page = visit("Misclassifications")
    expect(page.locator('[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg').first).to_be_visible()
    choose(page, "True class", "moped")
    choose(page, "Predicted class", "moped")
    settled(page)
    expect(page.get_by_text("(correct)").first).to_be_visible()
    choose(page, "True class", "tabby, tabby cat")
    choose(page, "Predicted class", "Egyptian cat")
    settled(page)
    expect(page.get_by_text("Why Egyptian cat and not tabby").first).to_be_visible()
    expect(page.get_by_role("combobox", name="Open a picture", exact=True)).to_have_value(re.compile("^tabby/"))
    expect(page.locator('img[alt^="Overlay"]')).to_have_count(3)
    page.get_by_role("link", name="Open on the page Single image").click()
    expect(page.get_by_role("heading", name="Explain one picture")).to_be_visible()
    expect(page.locator('img[alt^="Overlay"]').first).to_be_visible()
    expect(page.get_by_text("Egyptian cat and not tabby").first).to_be_visible()
    assert "picture.sample=tabby" in page.url and "A+and+not+B" in page.url


def test_the_address_restores_the_cell(visit):
    page = visit("Misclassifications?true=tripod&predicted=%28all%29&which=Wrong")
    expect(page.get_by_text("of 80 pictures pass the filters")).to_be_attached()
    expect(page.get_by_role("combobox", name="True class", exact=True)).to_have_value("tripod")
