"""Turning the pages of the gallery of Misclassifications: how long a visitor waits for the next 24 of 2,000 pictures.

    python -m benchmarks.gallery [--pictures N] [--turns N] [--out FILE]

A real server and a headless Chromium share this machine. The pictures are 640 x 480 JPEG files, each another one, classified
by the network of the planted world. A visitor turns to the next page some times, and back again. The clock runs in the
browser, from the click until the 24 tiles are other ones and the browser has all their pictures. `first`: a page whose
thumbnails nobody has seen yet; `again`: one whose thumbnails the server holds. `cpu` is the processors' time of a turn, of
the server and of all processes of the browser, until the page is at rest: it depends less on what else the machine does,
which `load`, the load average before and after, tells.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.page import CHROMIUM, PORT, served
from benchmarks.paired import machine, spread
from xai_core.analysis.predict import classify
from xai_core.app.misclassifications.confusion import ON_A_PAGE
from xai_core.app.shared import predictions
from xai_core.data.datasets import open_dataset
from xai_core.data.samples import SAMPLES, load_sample
from xai_core.data.world.planted import CLASSES
from xai_core.models.loading import load_model
from xai_core.models.zoo.catalog import cards

NETWORK = "world_planted"
SIZE = (640, 480)
CUTS = 32  # of the bundled photographs
WATCH = """count => {
  window.clock = {};
  const tiles = () => [...document.querySelectorAll('[class*="st-key-tile-"]')];
  const name = tile => [...tile.classList].find(one => one.startsWith("st-key-tile-"));
  const look = () => {
    if (!window.clock.click || window.clock.seen) return;
    const now = tiles(), images = now.map(tile => tile.querySelector("img"));
    if (now.length !== count || now.some(tile => window.clock.before.has(name(tile)))) return;
    if (!images.every(image => image && image.complete && image.naturalWidth)) return;
    window.clock.seen = true;
    requestAnimationFrame(() => setTimeout(() => { window.clock.there = performance.now(); }));  // after it is painted
  };
  document.addEventListener("click", event => {
    if (event.target.closest('[data-testid="stPagination"]'))
      window.clock = {click: performance.now(), before: new Set(tiles().map(name))};
  }, true);
  document.addEventListener("load", look, true);
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


def write_pictures(folder: Path, count: int) -> None:
    """`count` different files, cuts of the bundled photographs with a square of noise, in a folder for each class."""
    draws, photographs = np.random.default_rng(0), [load_sample(name) for name in SAMPLES]
    cuts = []
    for number in range(CUTS):
        photograph = photographs[number % len(photographs)]
        left, top = draws.uniform(0, 0.3, 2) * photograph.size
        cuts.append(photograph.resize(SIZE, box=(left, top, left + 0.7 * photograph.width, top + 0.7 * photograph.height)))
    for number in range(count):
        pixels = np.array(cuts[number % CUTS])
        pixels[:40, :40] = draws.integers(0, 256, (40, 40, 3))
        place = folder / CLASSES[number % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:05}.jpg", quality=90)


def cpu(pids: Sequence[int]) -> float:
    """Milliseconds of the processors that these processes have used (Linux)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return 1e3 * ticks / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """The processes that a process has begun, and those that they have (Linux)."""
    begun = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [other for child in map(int, begun) for other in (child, *descendants(child))]


def turns(page: Page, way: str, count: int, server: int) -> dict[str, object]:
    """The figures of some turns."""
    browser = [pid for pid in descendants(os.getpid()) if pid != server]
    clock, of_server, of_browser = [], [], []
    for _ in range(count):
        before = cpu([server]), cpu(browser)
        clock.append(turned(page, way))
        of_server.append(cpu([server]) - before[0])
        of_browser.append(cpu(browser) - before[1])
    used = {"server": spread(np.array(of_server)), "browser": spread(np.array(of_browser))}
    return {**spread(np.array(clock)), "most": max(clock), "cpu": used}


def turned(page: Page, way: str) -> float:
    """Milliseconds from the click on "Next page" or "Previous page" to the other pictures."""
    page.get_by_role("button", name=f"{way} page", exact=True).click()
    page.wait_for_function("() => window.clock.there", timeout=60_000)
    page.wait_for_timeout(700)  # a person looks; the page is at rest
    clock = page.evaluate("() => ({click: window.clock.click, there: window.clock.there})")
    return float(clock["there"] - clock["click"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--out", type=Path, help="where to write the figures (default: only printed)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {  # of the server
            "XAI_DATA": str(folder / "data"), "XAI_REVIEW_DB": f"sqlite:///{folder}/review.sqlite", "TMPDIR": name,
        }  # fmt: skip
        tempfile.tempdir = name
        write_pictures(folder / "data" / "photographs", args.pictures)
        model, dataset = load_model(NETWORK), open_dataset(folder / "data" / "photographs")
        predictions.folder().mkdir()
        for _ in classify(model, dataset, predictions.file_of(model, dataset), embeddings=True):
            pass
        query = {"dataset": "photographs", "model": cards()[NETWORK].title, "true": "(all)", "predicted": "(all)"}
        load = [os.getloadavg()[0]]
        server = served("--server.address=localhost")
        try:
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1400, "height": 1200})
                page.goto(f"http://localhost:{PORT}/Misclassifications?{urlencode(query)}")
                page.get_by_role("button", name="Next page", exact=True).wait_for(timeout=60_000)
                page.wait_for_timeout(2000)
                page.evaluate(WATCH, ON_A_PAGE)
                turned(page, "Next")  # what every first turn pays
                first = turns(page, "Next", args.turns, server.pid)
                again = turns(page, "Previous", args.turns, server.pid)
                browser.close()
        finally:
            server.terminate()
            server.wait()
        load.append(os.getloadavg()[0])
    found = {
        "machine": machine(),
        "pictures": args.pictures,
        "turns": args.turns,
        "load": load,
        "ms": {"first": first, "again": again},
    }
    text = json.dumps(found, indent=1) + "\n"
    if args.out:
        args.out.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
