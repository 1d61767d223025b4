"""A real server and a real browser for the tests: what AppTest cannot see.

The browser is the first of: the variable CHROMIUM, a Chromium or Chrome on the PATH, the one that Playwright has installed.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

ROOT = Path(__file__).parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
NO_BROWSER = (
    f"No browser. Install one: {sys.executable} -m playwright install --with-deps chromium (or set CHROMIUM to its path)"
)
PATIENCE = 120_000  # ms: what is expected comes in a moment, but on a busy machine a moment is long
LISTED = 30_000  # ms for which an option is looked for before its list is opened again
USUAL = {"viewport": {"width": 1400, "height": 1000}}
FLAGS = [
    "--no-sandbox",
    "--process-per-site",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# On a deep link Streamlit looks for its own endpoints below the page first; it expects the 404 and goes on. A picture or map
# of a cancelled run, or one that another has replaced in its place, may be gone when the browser fetches it; what is shown
# in the end is there (`all_loaded`).
EXPECTED_404 = re.compile(r"/_stcore/(health|host-config)$|/media/\w+\.(png|jpg|bin)$")
SMALL_NETWORK = "Slim ResNet-18, scenes from scratch (scenes_supervised)"  # its runs take seconds
LOST_PICTURE = "Client Error: Image source error"


@pytest.fixture(scope="session")
def more_data(tmp_path_factory) -> Path:
    """A folder that the app looks into beside `data/`."""
    return tmp_path_factory.mktemp("more")


@pytest.fixture(scope="session")
def playwright():
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser_path(playwright) -> str:
    return CHROMIUM or playwright.chromium.executable_path


@pytest.fixture(scope="session")
def server(tmp_path_factory, more_data, browser_path):
    """The address of a running app. Its log must be free of tracebacks and warnings at the end."""
    if not Path(browser_path).exists():
        pytest.fail(NO_BROWSER) if os.environ.get("CI") else pytest.skip(NO_BROWSER)
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log"
    with serving(port, log, more_data):
        yield address_of(port)
    check_log(log)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def address_of(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def check_log(log: Path) -> None:
    said = log.read_text()
    assert not re.search(r"Traceback|[Ww]arning|[Dd]eprecat|Exception", said), said


@contextmanager
def serving(
    port: int, log: Path, data: Path, address: str = "127.0.0.1", script: str | Path = "Home.py", options: Sequence[str] = ()
) -> Iterator[subprocess.Popen]:
    """The process of an app that looks for data in `data` and cards in `data/weights` too, and keeps jobs and reviews there.
    It is stopped at the end.

    `script` is the app's first page, and `options` are further ones of Streamlit."""
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless=true"]
    command += [f"--server.port={port}", f"--server.address={address}", *options]
    with log.open("a") as file:
        environment = os.environ | {
            "XAI_DATA": os.pathsep.join([str(ROOT / "data"), str(data)]),
            "XAI_RUNS": os.pathsep.join([str(data), str(ROOT / "data")]),
            "XAI_CACHE": str(data / "cache"),
            "XAI_WEIGHTS": str(data / "weights"),
            "XAI_NOTES": str(data / "notes"),
            "XAI_REVIEW_DB": f"sqlite:///{data}/review.sqlite",
        }
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_until_healthy(address_of(port), process, log)
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_healthy(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            if urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).status == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def browser(server, playwright, browser_path):
    expect.set_options(timeout=PATIENCE)
    chromium = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
    yield chromium
    chromium.close()


@pytest.fixture(scope="session")
def usual_context(browser: Browser):
    """The context of all pages without options: most of a page's time is compiling the app's script, here once for all."""
    context = browser.new_context(**USUAL)
    yield context
    context.close()


@pytest.fixture
def visit(server, browser: Browser, usual_context):
    """visit(path, viewport, color_scheme, **context options) -> a page, settled. The window's size and theme are set before
    the page is opened; with other options it has a context of its own, which compiles the app's script anew. The visitor is
    a new one in each test. No console error may be left."""
    contexts, pages, errors = [], [], []
    usual_context.clear_cookies()

    def note(message) -> None:
        expected = EXPECTED_404.search(message.location.get("url", "")) or message.text.startswith(LOST_PICTURE)
        if message.type == "error" and not expected:
            errors.append(message.text)

    def open_page(path: str = "", viewport: ViewportSize | None = None, color_scheme: str | None = None, **options) -> Page:
        context = usual_context
        if options:
            context = browser.new_context(**USUAL | options)
            contexts.append(context)
        page = context.new_page()
        pages.append(page)
        if viewport:
            page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=color_scheme)
        page.set_default_timeout(PATIENCE)
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server}/{path}")
        return settled(page)

    yield open_page
    for opened in (*pages, *contexts):
        opened.close()
    assert not errors, errors


def settled(page: Page) -> Page:
    """Wait until the page is connected, its script has ended, and no placeholder is left."""
    page.wait_for_selector('[data-testid="stApp"][data-test-connection-state="CONNECTED"]', state="attached")
    page.wait_for_timeout(300)  # an action reaches the server after a debounce
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', state="attached")
    expect(page.locator('[data-testid="stSkeleton"]')).to_have_count(0)
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)
    return page


def all_loaded(pictures: Locator) -> None:
    """Wait until the browser has each of these pictures."""
    for place in range(pictures.count()):
        expect(pictures.nth(place)).to_have_js_property("complete", True)
        assert pictures.nth(place).evaluate("image => image.naturalWidth"), pictures.nth(place).get_attribute("alt")


def choose(page: Page, label: str, option: str) -> None:
    """Choose in a list. A run of the page that begins meanwhile may close it: then it is opened again, as a person would."""
    listed = page.get_by_role("option", name=option, exact=True)
    for last in (False, False, True):
        settled(page)
        box = page.get_by_role("combobox", name=label, exact=True)
        box.scroll_into_view_if_needed()
        page.wait_for_timeout(300)  # an expander opens with a movement
        box.click()
        page.keyboard.type(option)
        try:
            listed.wait_for(timeout=LISTED)
            page.wait_for_timeout(200)  # the list filters as one types
            listed.click(timeout=LISTED)
            break
        except PlaywrightTimeout:
            if last:
                raise
            page.keyboard.press("Escape")
    settled(page)


def start_where_asked(page: Page, button: str) -> None:
    """Start the work of an opened page where this machine is so slow that the page asks first."""
    if page.get_by_role("button", name=button, exact=True).count():
        page.get_by_role("button", name=button, exact=True).click()


def open_form(page: Page) -> None:
    """Open the form of a new run."""
    page.get_by_text("New run", exact=True).click()
    expect(page.get_by_role("button", name="Plan")).to_be_visible()
    page.wait_for_timeout(300)  # it opens with a movement


def start_run(page: Page, name: str) -> None:
    """Plan and start a run of eight pictures with a small network under this name."""
    open_form(page)
    page.get_by_role("combobox", name="Networks", exact=True).click()
    page.keyboard.press("Backspace")  # the network that is chosen by default
    page.keyboard.type(SMALL_NETWORK)
    page.get_by_role("option", name=SMALL_NETWORK, exact=True).click()
    page.keyboard.press("Escape")
    settled(page)
    if name != "first":
        page.get_by_role("textbox", name="Name").fill(name)
        page.keyboard.press("Enter")
        settled(page)
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_text(re.compile("8 pictures, 256 rows to measure"))).to_be_visible()
    page.get_by_role("button", name="Start", exact=True).click()
