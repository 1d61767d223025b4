"""A part is added without the page running again, is counted on the next page, and is there after a reload."""

import pytest
from browsing import PATIENCE, settled
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_what_is_added_is_kept_after_a_reload(visit):
    page = visit("Single_image?method=Grad-CAM")
    add = page.get_by_role("button", name="Add to report The most probable classes")
    expect(add).to_be_visible(timeout=PATIENCE)
    settled(page)
    add.click()
    expect(page.get_by_text("Added to the report, which has 1 part now.")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="Report", exact=True).click()
    caption = page.get_by_role("textbox", name="Caption of figure 1")
    expect(caption).to_be_visible(timeout=PATIENCE)
    settled(page)
    caption.fill("Mine")
    caption.blur()
    settled(page)
    page.reload()
    expect(caption).to_have_value("Mine", timeout=PATIENCE)
    page.get_by_role("link", name="Open where it was made").click()
    expect(page.get_by_role("link", name="Report: 1 part")).to_be_visible(timeout=PATIENCE)
