"""Many maps at once in a browser, and pictures selected by keys and with Shift."""

import pytest
from browsing import all_loaded, settled
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
TILES = '[class*="st-key-tile-"]:has([class*="st-key-select-"])'
MAPS = 'img[alt^="Map of"]'


def box(page: Page, place: int):
    return page.locator(TILES).nth(place).get_by_role("checkbox")


def test_maps_of_a_cell_then_of_the_list_in_the_drawer(visit):
    page = visit("Misclassifications")
    page.get_by_text("Maps", exact=True).click()
    expect(page.locator(MAPS)).to_have_count(24)
    expect(page.get_by_text("one scale shared by 24 maps").first).to_be_visible()
    settled(page)
    all_loaded(page.locator(MAPS))
    with page.expect_download() as download:
        page.get_by_role("button", name="Sheet (PNG)").click()
    assert download.value.suggested_filename == "maps_hires_cam.png"
    page.locator('[class*="st-key-open-"] button:visible').first.click()
    drawer = page.get_by_role("dialog")
    expect(drawer.locator('img[alt^="Overlay"]').first).to_be_visible()
    settled(page)
    drawer.get_by_text("Maps of the whole list").click()
    expect(drawer.locator(MAPS)).to_have_count(24)
    settled(page)
    all_loaded(drawer.locator(MAPS))
    drawer.locator('[class*="st-key-open-map-"] button:visible').nth(2).click()
    expect(drawer.get_by_text("3 of", exact=False).first).to_be_visible()
    expect(drawer.locator('img[alt^="Overlay"]').first).to_be_visible()


def test_tiles_are_selected_by_keys_and_with_shift(visit):
    page = visit("Misclassifications")
    expect(page.locator(TILES)).to_have_count(18)
    settled(page)
    page.locator(TILES).nth(1).hover()
    page.keyboard.press("x")
    expect(page.get_by_text("1 picture selected")).to_be_visible()
    settled(page)
    page.locator(TILES).nth(4).hover()
    page.keyboard.press("Shift+X")
    expect(page.get_by_text("4 pictures selected")).to_be_visible()
    settled(page)
    assert [box(page, place).is_checked() for place in range(6)] == [False, True, True, True, True, False]
    page.locator(TILES).nth(6).locator('[class*="st-key-select-"] label').click(modifiers=["Shift"])
    expect(page.get_by_text("6 pictures selected")).to_be_visible()
    settled(page)
    page.get_by_label("Tags for all of them").fill("xx")  # x in a field is a letter
    page.keyboard.press("Enter")
    settled(page)
    expect(page.get_by_text("6 pictures selected")).to_be_visible()
    box(page, 0).focus()
    page.keyboard.press("x")
    expect(page.get_by_text("7 pictures selected")).to_be_visible()
