"""What Single image says of a transformer, on the real server: patches of outlying norm, and texts without a meaning."""

import re
from urllib.parse import urlencode

import pytest
from browsing import all_loaded, choose, settled, start_where_asked
from planted_tokens import ANIMALS, CONTROLS, PLANTED, write_texts, write_tower
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
def animals(more_data):
    """The title of a model whose classes are texts, on a tower with planted tokens; the server looks into this folder."""
    folder = more_data / "weights"
    folder.mkdir(exist_ok=True)
    write_tower(folder, "tower")
    write_texts(folder, "animals", "tower")
    yield "Animals"
    for file in (*folder.glob("tower.*"), *folder.glob("animals.*")):
        file.unlink()


def test_outlying_patches_are_outlined_and_texts_without_a_meaning_compared(animals, visit):
    asked = {"picture": "Coffee", "model": animals, "method": "Grad-CAM", "class": f"{ANIMALS[1]} (1)"}
    page = visit(f"Single_image?{urlencode(asked)}")
    start_where_asked(page, "Explain")
    settled(page)
    said = re.compile(rf"Patches with an outlying norm.*: {len(PLANTED)} of 100 \(2\.0%\)")
    expect(page.get_by_role("heading", name="Patches of outlying norm")).to_be_visible()
    expect(page.locator("p", has_text=said).first).to_be_visible()
    outlined = page.locator('img[alt*="Patches with an outlying norm"]')
    expect(outlined).to_have_count(1)
    all_loaded(outlined)
    expect(page.get_by_role("heading", name="Does the answer depend on the words?")).to_be_visible()
    expect(page.get_by_text(f"With {len(CONTROLS)} texts without a meaning")).to_be_visible()
    choose(page, "Map for a text without a meaning", CONTROLS[2])
    expect(page.get_by_text(f"Rank correlation of the maps for '{ANIMALS[1]}' and '{CONTROLS[2]}'").first).to_be_visible()
    maps = page.locator('img[alt^="Map for the words"]')
    expect(maps).to_have_count(2)
    all_loaded(maps)
