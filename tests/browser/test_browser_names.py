"""Names that are Markdown or HTML, in a real browser: they are text, nothing is loaded for them, and no script runs."""

import re
from urllib.parse import quote, urlsplit

import pytest
from PIL import Image
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
NAME = (
    "![x](leak.png) [leak](leak.html) www.leak.test me@leak.test :smile: :streamlit: :red[leak] $leak$ `leak` a -> b "
    "<img src=leak.gif onerror=leak()>"
)
TABLE = "hostile.csv"


@pytest.fixture
def hostile(more_data):
    folder = more_data / "hostile"
    folder.mkdir(exist_ok=True)
    rows = ["path,label"]
    for number, label in enumerate(("moped", "tripod")):
        name = f"hostile/{number} {NAME}.png"
        Image.new("RGB", (64, 64), (90, 60 * number, 200)).save(more_data / name)
        rows.append(f"{name},{label}")
    (more_data / TABLE).write_text("\n".join(rows))
    return f"hostile/0 {NAME}.png"


@pytest.mark.parametrize("page", ["Misclassifications", "Single_image"])
def test_names_are_text_and_load_nothing(visit, hostile, page):
    query = {"dataset": TABLE}
    if page == "Single_image":
        query = {"picture": "A picture of a dataset", "picture.dataset": TABLE, "picture.sample": hostile}
    opened = visit(f"{page}?" + "&".join(f"{name}={quote(value)}" for name, value in query.items()))
    if page == "Misclassifications":
        opened.locator('[class*="st-key-open-"] button').first.click()
    if page == "Single_image":
        expect(opened.get_by_role("combobox", name="Picture of it")).to_have_value(re.compile("leak.html"))
    else:
        shown = opened.locator("p, h1, h2, h3").filter(has_text="leak.html").first
        expect(shown).to_be_visible()
        assert NAME in shown.inner_text().replace("\u2060", "")
    made_of_names = 'a[href*="leak"]:not([data-testid="stPageLink-NavLink"])'  # links of the app carry names as parameters
    for element in (made_of_names, 'img[src*="leak"]', 'code:text("leak")', ".katex", 'img[alt="Streamlit logo"]'):
        expect(opened.locator(element)).to_have_count(0)
    loaded = opened.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [address for address in loaded if "leak" in urlsplit(address).netloc + urlsplit(address).path] == []
