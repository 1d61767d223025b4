"""Turning the pages of the gallery of Misclassifications: how long the server works on a page of 24 pictures, of 2,000.

    python -m benchmarks.gallery [--pictures N] [--out FILE]

The page runs in Streamlit's own test harness, in this process, which also reads what the page sends: what is measured is a
little more than the server's work. Pictures are 640 x 480 JPEG files. `first`: a page whose thumbnails nobody has seen yet;
`again`: one whose thumbnails are held. `maps`: 24 HiResCAM maps of drawn pictures with the network of the planted world, the
first time and again. `cpu` is the processors' time of the same work, which does not depend on what else the machine does.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from streamlit.testing.v1 import AppTest

from benchmarks.paired import machine, spread
from xai_core.analysis.predict import classify
from xai_core.app.misclassifications.confusion import ON_A_PAGE
from xai_core.app.shared import predictions, progress
from xai_core.data.datasets import USUAL_WORLD, open_dataset
from xai_core.data.samples import SAMPLES, load_sample
from xai_core.data.world.planted import CLASSES
from xai_core.models.loading import load_model

NETWORK = "world_planted"
SIZE = (640, 480)
CUTS = 97  # different pictures
TURNS = 20  # pages that are turned to, spread over all
PAGE = "pages/6_Misclassifications.py"


def write_pictures(folder: Path, count: int) -> None:
    """`count` different files of some cuts of the bundled photographs, in a folder for each class of the network."""
    draws, photographs = np.random.default_rng(0), [load_sample(name) for name in SAMPLES]
    encoded = []
    for number in range(CUTS):
        photograph = photographs[number % len(photographs)]
        left, top = draws.uniform(0, 0.3, 2) * photograph.size
        box = (left, top, left + 0.7 * photograph.width, top + 0.7 * photograph.height)
        file = io.BytesIO()
        photograph.resize(SIZE, box=box).save(file, "JPEG", quality=90)
        encoded.append(file.getvalue())
    for number in range(count):
        place = folder / CLASSES[number % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        jpeg, comment = encoded[number % CUTS], f"{number:08}".encode()
        segment = b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment  # so that each file is another one
        (place / f"{number:05}.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])


def opened(dataset: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(Path(__file__).parents[1] / "Home.py"), default_timeout=600)
    app.run()
    app.switch_page(PAGE)
    for name, value in {"dataset": dataset, "model": NETWORK, "true": "(all)", "predicted": "(all)", **query}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception and not app.error, (app.exception, app.error)
    return app


def milliseconds(work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of the processors."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - used)


def figures(took: np.ndarray) -> dict[str, object]:
    """Of work done several times, (n, 2) as `milliseconds` gives them."""
    clock, cpu = took.T
    return {**spread(clock), "most": float(clock.max()), "cpu": {**spread(cpu), "most": float(cpu.max())}}


def turned(app: AppTest, page: int) -> tuple[float, float]:
    """`milliseconds` of the run that shows this page of the gallery."""
    app.session_state["page"] = page
    took = milliseconds(app.run)
    buttons = [element for element in app.button if (element.key or "").startswith("open ")]
    assert not app.exception and 0 < len(buttons) <= ON_A_PAGE
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="where to write the figures (default: only printed)")
    args = parser.parse_args()
    progress.AT_ONCE_SECONDS = 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"XAI_DATA": str(folder / "data"), "XAI_REVIEW_DB": f"sqlite:///{folder}/review.sqlite"}
        predictions.folder = lambda: folder / "predictions"
        write_pictures(folder / "data" / "photographs", args.pictures)
        model, dataset = load_model(NETWORK), open_dataset(folder / "data" / "photographs")
        predictions.folder().mkdir()
        for _ in classify(model, dataset, predictions.file_of(model, dataset), embeddings=True):
            pass
        app = opened("photographs")
        turned(app, 2)  # what every first run pays
        pages = np.linspace(3, -(-args.pictures // ON_A_PAGE), TURNS, dtype=int).tolist()
        first, again = (np.array([turned(app, page) for page in pages]) for _ in range(2))
        app = opened(USUAL_WORLD, maps="true", **{"maps.method": "grad_cam"})
        app.selectbox(key="maps.method").set_value("hires_cam")
        maps = {"first": milliseconds(app.run), "again": milliseconds(app.run)}
    found = {
        "machine": machine(),
        "pictures": args.pictures,
        "pages": len(pages),
        "ms": {"first": figures(first), "again": figures(again)},
        "maps ms": {name: {"clock": clock, "cpu": cpu} for name, (clock, cpu) in maps.items()},
    }
    text = json.dumps(found, indent=1) + "\n"
    if args.out:
        args.out.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
