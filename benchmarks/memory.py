"""What is held in memory, of the 2,700 MB at which Streamlit Cloud ends an app.

    python -m benchmarks.memory [--only ROW] [--out FILE]

networks  the app's own cache loads six networks one after the other (random weights: they take what trained ones do), each
          explains one picture
classify  10,000 labelled pictures go through a small network: the peak of the first 1,000 and of the rest
evaluate  two methods and the quick metrics on 200 pictures: the peak of the first 20 and of the rest
"""

import argparse
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

logging.disable(logging.WARNING)  # streamlit's, about running without a server

from benchmarks.paired import machine, peak_megabytes
from xai_core import evaluate, explain, load_model, load_sample
from xai_core.analysis.predict import classify
from xai_core.app import home
from xai_core.app.shared import loaded_models
from xai_core.data.datasets import open_dataset

LIMIT, MORE = 2700, 50  # MB: of the app; that many pictures may need beyond few
NETWORKS = (
    "efficientnet_lite0", "resnet50", "deit_base_patch16_224", "swin_base_patch4_window7_224", "xcit_small_12_p16_224",
    "cait_s24_224",
)  # fmt: skip
SMALL = "scenes_supervised"
METRICS = ("deletion", "insertion", "average_drop", "sparseness")


def networks() -> dict[str, Any]:
    picture, rows = load_sample("astronaut"), []
    for id in NETWORKS:
        for method in ("grad_cam", "saliency"):
            explain(loaded_models.model(id, loaded_models.RANDOM), picture, method)
        held = [name for name, _, _ in loaded_models.in_memory()]
        rows.append({"network": id, "now": home.resident_megabytes(), "peak": peak_megabytes(), "in memory": held})
        print(f"  {id:<32}{rows[-1]['now']:>8.0f} MB now{rows[-1]['peak']:>8.0f} MB at most   {', '.join(held)}")
    peak = max(row["peak"] for row in rows)
    return {"work": "Six networks in turn", "peak": peak, "limit": LIMIT, "met": peak <= LIMIT, "rows": rows}


def pictures(folder: Path, count: int) -> Path:
    """That many pictures of 112 pixels, cut from the samples, in the classes of the small network."""
    draw, names = np.random.default_rng(0), load_model(SMALL).class_names
    whole = [np.asarray(load_sample(name)) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    for number in range(count):
        source = whole[number % len(whole)]
        top, left = (int(draw.integers(0, side - 112)) for side in source.shape[:2])
        file = folder / names[number % len(names)] / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(source[top : top + 112, left : left + 112]).save(file)
    return folder


def _first_and_rest(work: str, few: float, rest: float, **more: Any) -> dict[str, Any]:
    return {"work": work, "first": few, "rest": rest, "more": rest - few, "goal": MORE, "met": rest - few <= MORE, **more}


def classified(few: int = 1_000, count: int = 10_000) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        dataset, model = open_dataset(pictures(Path(folder), count)), load_model(SMALL)
        first, rate = None, 0.0
        peak_megabytes()
        for step in classify(model, dataset, Path(folder) / "predictions.parquet", embeddings=True):
            rate = step.rate or rate
            if first is None and step.done >= few:
                first = peak_megabytes()
        return _first_and_rest(f"{count:,} pictures classified", first, peak_megabytes(), per_second=rate)


def evaluated(few: int = 20, count: int = 200) -> dict[str, Any]:
    first = []

    def watched(blocks: Iterable) -> Iterator:
        for number, block in enumerate(blocks):
            if number == few:
                first.append(peak_megabytes())
            yield block

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pictures").mkdir()
        given = pictures(Path(folder, "pictures"), count)
        peak_megabytes()
        run = evaluate([SMALL], ["grad_cam", "saliency"], METRICS, given, Path(folder, "run"), track=watched)
        return _first_and_rest(f"{count:,} pictures measured", *first, peak_megabytes(), rows=len(run.table()))


WORKS = {"networks": networks, "classify": classified, "evaluate": evaluated}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", choices=WORKS, action="append", metavar="ROW", help=f"one of {', '.join(WORKS)}; repeatable"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "memory.json")
    given = parser.parse_args()
    here = machine()
    written = json.loads(given.out.read_text()) if given.out.exists() else {}
    lines = written["rows"] if written.get("machine") == here else {}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for name in given.only or WORKS:
        lines[name] = WORKS[name]()
        numbers = ", ".join(f"{key} {value:,.4g}" for key, value in lines[name].items() if isinstance(value, float))
        print(f"{lines[name]['work']}: {numbers}: {'met' if lines[name]['met'] else 'MISSED'}", flush=True)
        given.out.write_text(json.dumps({"machine": here, "rows": lines}, indent=2) + "\n")


if __name__ == "__main__":
    main()
