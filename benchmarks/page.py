"""From a click to the picture: how long a visitor of the single-image page waits for another method's map.

    python -m benchmarks.page [--rounds N] [--out FILE]

A real server and a headless Chromium share this machine. Two quick methods are chosen in turn, so that after the first two
everything is known and only shown again. The clock runs in the browser, from the click on the method's name to the loaded
overlay. `first` is a fresh server's first explanation, from opening the page.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.paired import machine, spread

PORT = 8655
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
WATCH = """() => {
  window.clock = {};
  const drawn = () => document.querySelector(`[aria-label^="Overlay: ${window.wanted}"][aria-busy="false"]`);
  const look = () => { if (drawn() && !window.clock.seen) window.clock.seen = performance.now(); };
  document.addEventListener("click", () => { window.clock = {click: performance.now()}; }, true);
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


def served(*options: str, environment: Mapping[str, str] | None = None, log: Path = Path(os.devnull)) -> subprocess.Popen:
    """A server of the app, with further options of Streamlit and variables of its environment, as soon as it is healthy.
    What it says goes to the file `log`."""
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "Home.py",
        "--server.headless=true",
        f"--server.port={PORT}",
        *options,
    ]
    variables = os.environ | dict(environment or {})
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/_stcore/health", timeout=1).close()
            return process
        except OSError:
            time.sleep(0.1)


def waited(page: Page, method: str) -> float:
    """Seconds from the click on a method's name to its overlay."""
    box = page.get_by_role("combobox", name="Method")
    box.click()
    box.fill(method)
    page.evaluate("name => { window.wanted = name }", method)
    page.get_by_role("option", name=method, exact=True).click()
    page.wait_for_function("() => window.clock.seen")
    page.wait_for_timeout(600)  # until the page is at rest
    clock = page.evaluate("() => window.clock")
    return (clock["seen"] - clock["click"]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "page.json")
    given = parser.parse_args()
    server = served()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            began = time.perf_counter()
            page.goto(f"http://127.0.0.1:{PORT}/Single_image")
            page.locator('[aria-label^="Overlay"][aria-busy="false"]').first.wait_for(timeout=60_000)
            first = time.perf_counter() - began
            page.wait_for_timeout(1500)
            page.evaluate(WATCH)
            methods = ("HiResCAM", "Grad-CAM")
            for method in methods:
                waited(page, method)
            again = np.array([waited(page, methods[number % 2]) for number in range(given.rounds)])
    finally:
        server.terminate()
    found = {"machine": machine(), "rounds": given.rounds, "first": first, "again": spread(again)}
    given.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"first explanation {first:.1f} s")
    print(f"a known one again {np.median(again):.3f} s ({again.min():.3f} to {again.max():.3f})")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
