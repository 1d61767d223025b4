"""From a vote to the next picture: how long a reviewer waits on the page Review.

    python -m benchmarks.voting [--pictures N] [--out FILE]

A real server with a temporary database and a headless Chromium share this machine. A person judges drawn pictures of the
planted world with keys alone: a digit, then Enter. `saved`: from the digit to the mark of the saved verdict. `next`: from
Enter to the next picture and its maps, all loaded, painted, and open for its verdict. The clock runs in the browser.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Page, sync_playwright

from benchmarks.page import CHROMIUM, PORT, served
from benchmarks.paired import machine, spread
from xai_core.core import settings
from xai_core.data.datasets import USUAL_WORLD, open_dataset
from xai_core.models.loading import load_model
from xai_core.review import round_maps, rounds
from xai_core.review.database import open_database
from xai_core.review.people import named
from xai_core.review.rounds import RoundSettings

NETWORK = "world_planted"
IMAGES = 4  # the picture and its three maps
WATCH = """() => {
  window.clock = {};
  const main = () => document.querySelector('[data-testid="stMain"]');
  const sources = () => [...main().querySelectorAll("img")].map(image => image.src).join();
  const look = () => {
    const images = [...main().querySelectorAll("img")];
    const loaded = images.length === %d && images.every(image => image.complete && image.naturalWidth);
    const open = !main().querySelector("[aria-busy=true]");
    if (window.clock.next && !window.clock.seen && loaded && open && sources() !== window.clock.before) {
      window.clock.seen = true;
      requestAnimationFrame(() => setTimeout(() => { window.clock.there = performance.now(); }));  // after it is painted
    }
    if (window.clock.vote && !window.clock.saved && saved() && saved() !== window.clock.old)
      window.clock.saved = performance.now();
  };
  const saved = () => [...main().querySelectorAll('[data-testid="stCaptionContainer"]')]
    .map(caption => caption.innerText).find(text => text.includes("Saved "));
  window.addEventListener("keydown", event => {  // before the page has done anything
    if (/^[1-9]$/.test(event.key)) window.clock = {vote: performance.now(), old: saved()};
    if (event.key === "Enter") Object.assign(window.clock, {next: performance.now(), before: sources()});
  }, true);
  document.addEventListener("load", look, true);
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
}"""


def made_round(url: str, pictures: int) -> str:
    """The id of a round of the planted network's errors, with maps."""
    engine, model, dataset = open_database(url), load_model(NETWORK), open_dataset(USUAL_WORLD)
    rows = pd.read_parquet(settings.RESOURCES / "data" / "predictions" / f"{NETWORK}.parquet")
    rows = rows[rows["true"] != rows["predicted"]].head(pictures)
    chosen = RoundSettings(
        model.id, model.title, model.fingerprint, dataset.digest, dataset.title, "errors", classes=tuple(model.class_names)
    )
    round = rounds.create(engine, named("Owner", "benchmark"), "Benchmark", chosen, rows, dataset)
    round_maps.compute(engine, round, dataset, model)
    return round.id


def waited(page: Page, digit: int) -> tuple[float, float]:
    """Milliseconds from a digit to its verdict saved, and from Enter to the next picture."""
    page.keyboard.press(str(digit))
    page.wait_for_function("() => window.clock.saved")
    page.wait_for_timeout(500)  # a person reads; the page is at rest
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.clock.there")
    page.wait_for_timeout(500)
    clock = page.evaluate("() => window.clock")
    return clock["saved"] - clock["vote"], clock["there"] - clock["next"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--out", type=Path, help="where to write the figures (default: only printed)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XAI_REVIEW_DB"] = f"sqlite:///{folder}/review.sqlite"
        id = made_round(os.environ["XAI_REVIEW_DB"], args.pictures)
        server: subprocess.Popen[bytes] = served("--server.address=localhost")
        try:
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1400, "height": 1200})
                page.goto(f"http://localhost:{PORT}/Review?round={id}")
                page.get_by_label("Your name").fill("Reviewer")
                page.keyboard.press("Enter")
                page.get_by_role("button", name="Vote as Reviewer").click()
                page.get_by_text("you have judged").wait_for()
                page.wait_for_timeout(2000)  # until the form is there
                page.evaluate(WATCH % IMAGES)
                times = [waited(page, 1 + number % 8) for number in range(args.pictures - 1)]
                browser.close()
        finally:
            server.terminate()
    saved, following = zip(*times, strict=True)
    found = {
        "machine": machine(),
        "pictures": args.pictures,
        "ms": {"saved": spread(np.array(saved)), "next": spread(np.array(following))},
    }
    text = json.dumps(found, indent=1) + "\n"
    if args.out:
        args.out.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
