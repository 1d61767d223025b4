"""The pictures of the pages in the README, made anew: a real server, a headless Chromium, each page as it stands.

    python -m benchmarks.pictures [PAGE ...]

Each is 1,400 x 1,000 pixels in light colours, as WebP in docs/pictures: the page as it opens, or with the settings in VIEWS
and after the button in PRESSED, where there is more to see.
"""

import argparse
import io
import os
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.page import CHROMIUM, PORT, served
from xai_core.app.shared import page_links

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SIZE = {"width": 1400, "height": 1000}
QUALITY = 80
MINUTES = 4 * 60_000  # ms: what a page shows first may take long on a busy machine
# By the titles of the pictures: settings in the address, and buttons that are pressed, on this page or on one before.
VIEWS = {page_links.METRICS: "view=A+run", page_links.JOBS: "pair_methods=RISE+%28a+method+for+classes%29"}
PRESSED = {
    page_links.REVIEW: (page_links.REVIEW, "Open the example round"),
    page_links.JOBS: (page_links.PAIRS, "Explain"),
}
READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'


def file_of(title: str) -> Path:
    """Where the picture of the page with this title is."""
    return FOLDER / f"{title.lower().replace(' ', '-')}.webp"


def address_of(title: str) -> str:
    """The page's address below the app's."""
    return "" if title == page_links.HOME else title.replace(" ", "_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", default=list(page_links.FILES), metavar="PAGE", help="a title, such as Pairs")
    titles = parser.parse_args().pages
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        os.environ |= {"XAI_REVIEW_DB": f"sqlite:///{folder}/review.sqlite", "XAI_CACHE": folder}
        server = served()
        try:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for title in titles:
                take(browser.new_page(viewport=SIZE, color_scheme="light"), title)
            browser.close()
        finally:
            server.terminate()
            server.wait()


def quiet(page: Page) -> None:
    """Wait until the page's script has ended; a page may run again by itself when it has measured the window."""
    for _ in range(3):
        page.wait_for_timeout(1000)
        page.wait_for_selector(READY, state="attached")


def take(page: Page, title: str) -> None:
    """Write the picture of the page with this title, from a new page of the browser, which is closed."""
    page.set_default_timeout(MINUTES)
    first, button = PRESSED.get(title, (title, ""))
    page.goto(f"http://127.0.0.1:{PORT}/{address_of(first)}?{VIEWS.get(title, '')}")
    quiet(page)
    if button:
        page.get_by_role("button", name=button, exact=True).click()
        quiet(page)
    if first != title:
        page.get_by_test_id("stSidebarNavLink").get_by_text(title, exact=True).click()
        quiet(page)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.save(file_of(title), quality=QUALITY, method=6)
    print(f"{file_of(title).name}: {file_of(title).stat().st_size / 1000:.0f} kB", flush=True)
    page.close()


if __name__ == "__main__":
    main()
