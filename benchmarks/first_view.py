"""The first view of each page from a cold server: how long a visitor waits who opens it by its address.

    python -m benchmarks.first_view [--rounds N] [--pages TITLE ...] [--out FILE]

For every page and round a new server is started, with an empty folder for all that it keeps, and a new window opens that one
page. The clock runs in the browser, from the navigation to the first moment from which the page stays complete: the script
has ended, no placeholder is left, and all pictures and the main figure are there. `answer` is the first moment at which that
figure, which answers the page's question about the example, is there; `figure`: whether it is visible at the end.
`asks` are the buttons of the page that start work which it lacks. `cpu` is the processors' time of the server meanwhile: it
depends less on what else the machine does, which `load`, the load average before the first round and after the last, tells.
The package is compiled before: Python does that once after an installation or a change, not at every start of a server.
`start, s` is how long a server takes from the command until it answers: it imports what pages need in this time.
"""

import argparse
import compileall
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from playwright.sync_api import Browser, sync_playwright

import xai_core
from benchmarks.page import CHROMIUM, PORT, served
from benchmarks.paired import machine
from xai_core.app.shared import page_links

GOAL = 4.0  # seconds on an idle machine
# What answers the page's question, by its title: a selector of its main figure.
FIGURES = {
    page_links.HOME: '[data-testid="stPageLink"]',
    page_links.SINGLE: '[role="img"][aria-label^="Overlay"]',
    page_links.METHODS: '[role="img"][aria-label^="Overlay"]',
    page_links.MODELS: '[role="img"][aria-label^="Overlay"]',
    page_links.METRICS: '[data-testid="stVegaLiteChart"] svg',
    page_links.PAIRS: 'img[alt^="View 1"]',
    page_links.MISSES: '[data-testid="stVegaLiteChart"] svg',
    page_links.FAILURES: '[data-testid="stDataFrame"], [data-testid="stVegaLiteChart"] svg',
    page_links.EVOLUTION: ".st-key-evolution-figure img",
    page_links.REVIEW: '[data-testid="stMarkdown"]',
    page_links.REPORT: ".st-key-report table",
    page_links.JOBS: '[data-testid="stMarkdown"]',
}
# Each button that starts what a page lacks stands beside the estimate of its time.
WATCH = """(() => {
  const app = () => document.querySelector('[data-testid="stApp"]');
  const complete = () => {
    const one = app();
    if (!one || one.dataset.testConnectionState !== "CONNECTED" || window.answered === null) return false;
    if (one.dataset.testScriptState !== "notRunning") return false;
    if (document.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"], [role="img"][aria-busy="true"]'))
      return false;
    const images = [...document.images];
    if (!images.every(image => image.complete && (image.naturalWidth || image.loading === "lazy"))) return false;
    return Boolean(document.querySelector('[data-testid="stMain"] h1'));
  };
  const figure = () => {
    const one = document.querySelector(FIGURE);
    const loaded = one && (one.tagName !== "IMG" || (one.complete && one.naturalWidth > 0));
    return loaded && one.getBoundingClientRect().height > 0;
  };
  window.completeSince = null;
  window.answered = null;
  const look = () => {
    if (window.answered === null && figure()) window.answered = performance.now();
    if (!complete()) window.completeSince = null;
    else if (window.completeSince === null) window.completeSince = performance.now();
    requestAnimationFrame(look);
  };
  look();
})();"""
STAYS = 700  # ms for which a page must stay complete: a rerun may follow at once


def first_view(browser: Browser, title: str) -> dict[str, Any]:
    """One cold server's first view of a page."""
    with tempfile.TemporaryDirectory() as kept:
        environment = {
            "XAI_CACHE": f"{kept}/cache",
            "XAI_NOTES": f"{kept}/notes",
            "XAI_REVIEW_DB": f"sqlite:///{kept}/review.sqlite",
            "PYTHONDONTWRITEBYTECODE": "",  # as on a machine where nobody has set it
        }
        began = time.perf_counter()
        server = served(environment=environment)
        start = time.perf_counter() - began
        try:
            page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
            page.add_init_script(WATCH.replace("FIGURE", json.dumps(FIGURES[title])))
            process = psutil.Process(server.pid)
            before = process.cpu_times()
            page.goto(f"http://127.0.0.1:{PORT}/{address(title)}", wait_until="commit")
            page.wait_for_function(
                f"() => window.completeSince !== null && performance.now() - window.completeSince > {STAYS}", timeout=120_000
            )
            after = process.cpu_times()
            asks = page.locator('[class*="st-key-run-"] button').all_inner_texts()
            found = {
                "start": start,
                "seconds": page.evaluate("() => window.completeSince") / 1000,
                "answer": page.evaluate("() => window.answered") / 1000,
                "cpu": after.user + after.system - before.user - before.system,
                "figure": page.locator(FIGURES[title]).first.is_visible(),
                "asks": [words.split("\n")[-1] for words in asks],
            }
            page.context.close()
        finally:
            server.terminate()
            server.wait()
    return found


def address(title: str) -> str:
    """The page's own part of its address."""
    return "" if title == page_links.HOME else title.replace(" ", "_")


def measured(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The medians of a page's rounds, all its seconds, whether the figure was there each time, and what it ever asked."""
    return {
        "seconds": float(np.median([one["seconds"] for one in rounds])),
        "answer": float(np.median([one["answer"] for one in rounds])),
        "start": float(np.median([one["start"] for one in rounds])),
        "each": [round(one["seconds"], 2) for one in rounds],
        "cpu": float(np.median([one["cpu"] for one in rounds])),
        "figure": all(one["figure"] for one in rounds),
        "asks": sorted({button for one in rounds for button in one["asks"]}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pages", nargs="+", choices=list(FIGURES), default=list(FIGURES), metavar="TITLE")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "first_view.json")
    given = parser.parse_args()
    compileall.compile_dir(Path(xai_core.__file__).parent, quiet=1)
    load, pages = [os.getloadavg()[0]], {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for title in given.pages:
            pages[title] = measured([first_view(browser, title) for _ in range(given.rounds)])
            one = pages[title]
            words = f"figure {one['figure']!s:<6}{one['asks'] or ''}"
            print(
                f"{title:<22}{one['seconds']:6.1f} s  answer {one['answer']:4.1f} s  cpu {one['cpu']:5.1f} s  {words}",
                flush=True,
            )
    load.append(os.getloadavg()[0])
    start = float(np.median([page["start"] for page in pages.values()]))
    found = {"machine": machine(), "rounds": given.rounds, "goal, s": GOAL, "load": load, "start, s": start, "pages": pages}
    given.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
