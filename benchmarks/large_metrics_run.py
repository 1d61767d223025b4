"""The tab "A run" of Faithfulness metrics on five million measurements: seconds and memory of what a visitor waits for.

    python -m benchmarks.large_metrics_run make FOLDER [--pictures N]     a run, made by draws of a seed
    python -m benchmarks.large_metrics_run measure FOLDER [--out FILE]    in a process of its own

The run has one model, eight methods and two controls, and ten metrics of the catalogue, of which the first has curves: a
hundred rows a picture, written by the store that `evaluate` writes with. Measured are the functions behind the sections:
elapsed and processor seconds when a section is opened first, and the median of some repetitions when it is shown again;
`open` is the first reading of the files. `downloads` are the files of all rows, in seconds and MB. Memory is that of the
process beyond what it had with everything imported.
"""

import hashlib
import io
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import large
from benchmarks.paired import machine
from xai_core.app.charts import common, runs
from xai_core.app.metrics import opened_run
from xai_core.app.metrics.opened_run import OpenedRun
from xai_core.attribution.catalog import METHODS
from xai_core.evaluation import ranking, row_files, significance, store, summary
from xai_core.evaluation.summary import CONTROL
from xai_core.metrics.catalog import METRICS

PICTURES, SEED = 50_000, 0
MODEL = "efficientnet_lite0"
CONTROLS = ("random", "centre")
BLOCK = 1_000  # pictures of a part
POINTS = 11  # of a curve
REPEATED = 7


def make(folder: Path, pictures: int) -> None:
    """Write the run."""
    draws = np.random.default_rng(SEED)
    methods = [*list(METHODS)[:8], *(f"{CONTROL}{name}" for name in CONTROLS)]
    metrics = [name for name, metric in METRICS.items() if metric.direction][:10]
    manifest = {
        "asked": {"data": "made", "target": "predicted", "seed": SEED},
        "created": "2026-01-01T00:00:00",
        "models": {MODEL: {"title": "EfficientNet-Lite0", "group": "Supervised"}},
        "methods": {name: {"title": METHODS[name].title} for name in methods if name in METHODS},
        "metrics": {
            name: {"title": METRICS[name].title, "sentence": "Made.", "direction": METRICS[name].direction}
            for name in metrics
        },
        "software": {"xai_core": "made", "torch": "made"},
        "rows": pictures * len(methods) * len(metrics),
    }
    points, curve_draws = np.linspace(0, 1, POINTS, dtype=np.float32), np.random.default_rng(SEED + 1)
    quality = draws.normal(0, 0.05, (len(metrics), len(methods)))
    with store.open_for_writing(folder, manifest) as writer:
        for start in range(0, pictures, BLOCK):
            numbers = range(start, min(start + BLOCK, pictures))
            digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]
            cells = len(metrics) * len(methods)
            values = (
                draws.normal(0.5, 0.2, (len(numbers), 1, 1)) + quality + draws.normal(0, 0.1, (len(numbers), *quality.shape))
            )
            values[draws.random(values.shape) < 0.002] = np.nan  # some have no value
            count = len(numbers) * cells
            names = pa.array([f"class {number % 1000:03}/picture {number:06}.png" for number in numbers])
            each = np.repeat(np.arange(len(numbers)), cells)
            text = pa.array(["logit of class"] * count)
            has_curve = np.tile(np.repeat(np.arange(len(metrics)) == 0, len(methods)), len(numbers))
            ends = pa.array(np.concatenate([[0], np.cumsum(has_curve * POINTS)]).astype(np.int32))
            curves = [
                pa.ListArray.from_arrays(ends, pa.array(flat), mask=pa.array(~has_curve))
                for flat in (np.tile(points, has_curve.sum()), curve_draws.random(has_curve.sum() * POINTS, np.float32))
            ]
            columns = {
                "run_key": pa.array([digest[:32] for digest in digests]).take(each),
                "picture": pa.array(digests).take(each),
                "name": names.take(each), "label": pa.array([f"class {number % 1000:03}" for number in numbers]).take(each),
                "model": pa.array([MODEL] * count), "target": text, "target_key": pa.array(["logit 1 1"] * count),
                "method": pa.array(np.tile(np.repeat([methods], len(metrics), 0).ravel(), len(numbers))),
                "metric": pa.array(np.tile(np.repeat(metrics, len(methods)), len(numbers))),
                "note": pa.array([""] * count), "target_value": pa.array(np.repeat(draws.normal(8, 2, len(numbers)), cells)),
                "value": pa.array(values.ravel()), "passes": pa.array(np.ones(count, np.float32)),
                "seconds": pa.array(draws.random(count, np.float32)), "facts": pa.array(["{}"] * count),
                "curve_x": curves[0], "curve_y": curves[1],
            }  # fmt: skip
            writer.write(store.PARTS, pa.table({name: columns[name] for name in store.ROWS.names}, schema=store.ROWS))


def measure(folder: Path) -> dict[str, Any]:
    """Seconds of each section, and the memory in MB."""
    import scipy.stats  # noqa: F401 (the sections import it when they are opened)

    before = large.memory()
    seconds: dict[str, dict[str, float]] = {}

    def fresh() -> OpenedRun:
        return OpenedRun(store.open_run(folder), opened_run._parts(folder))

    def status() -> None:
        opened = fresh()
        _ = len(opened.table), opened.models, opened.methods, opened.groups

    seconds["open"] = _first_and_again(status)
    metrics = [name for name in store.open_run(folder).manifest["metrics"]]

    def overview() -> None:
        _ = fresh().summary

    def methods() -> None:
        opened = fresh()
        names = opened_run.without_controls(opened)

        def compared() -> object:
            table = opened.values(MODEL, metrics[0], names)
            return significance.differences(table, opened.direction(metrics[0])), ranking.ranks(table, "higher")

        opened.computed(compared, "differences and ranks", MODEL, metrics[0])

    def spread() -> None:
        opened = fresh()

        def draw() -> common.AnyChart:
            values = opened.values(MODEL, metrics[0])
            return runs.spreads(values, [opened.methods[name] for name in values], opened.pictures, metrics[0])

        _ = opened.drawn(draw, "spread", MODEL, metrics[0])

    def curves() -> None:
        opened = fresh()
        parts = opened.run.curves_in_parts(MODEL, metrics[0])
        opened.computed(lambda: summary.mean_curves(parts), "curves", MODEL, metrics[0])

    def pictures() -> None:
        opened = fresh()
        summary.extremes(opened.table, MODEL, metrics[0], next(iter(opened.methods)), "higher", 6)

    def agreement() -> None:
        opened = fresh()
        names = [name for name in opened.of_model(MODEL) if opened.direction(name)]
        opened.computed(
            lambda: summary.between_metrics(opened.table, opened.metrics, MODEL, opened_run.without_controls(opened), names),
            "agreement", MODEL,
        )  # fmt: skip

    sections: dict[str, Callable[[], None]] = {
        "overview": overview, "methods": methods, "spread": spread, "curves": curves, "pictures": pictures,
        "agreement": agreement,
    }  # fmt: skip
    for name, section in sections.items():
        seconds[name] = _first_and_again(section)
        print(name, seconds[name], file=sys.stderr, flush=True)
    held, most = large.memory() - before, large.most_memory() - before
    run, files = store.open_run(folder), {}
    for kind, write in {
        "CSV, gzip": partial(row_files.csv_file, run, zipped=True),
        "Parquet": partial(row_files.parquet_file, run),
    }.items():
        began = time.perf_counter()
        with write() as file:
            files[kind] = {"seconds": time.perf_counter() - began, "MB": file.seek(0, io.SEEK_END) / 2**20}
    return {
        "machine": machine(), "rows": len(fresh().table), "seconds": seconds, "downloads": files,
        "memory": {"held MB": held, "most MB": most, "most MB, downloads": large.most_memory() - before},
    }  # fmt: skip


def _timed(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _first_and_again(section: Callable[[], object]) -> dict[str, float]:
    """Elapsed and processor seconds of the first time, and elapsed ones of the times after it."""
    began = time.process_time()
    first = _timed(section)
    return {"first": first, "processor": time.process_time() - began, "again": _median(section)}


def _median(step: Callable[[], object]) -> float:
    return float(np.median([_timed(step) for _ in range(REPEATED)]))


def main() -> None:
    args = large.arguments(__doc__, ["make", "measure"], PICTURES)
    if args.what == "make":
        make(args.folder, args.pictures)
    else:
        large.write(measure(args.folder), args.out)


if __name__ == "__main__":
    main()
