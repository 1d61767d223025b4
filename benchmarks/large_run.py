"""Misclassifications on a run as large as ImageNet's training set: seconds and memory of what a visitor waits for.

    python -m benchmarks.large_run make FOLDER [--pictures N]     a dataset and its predictions, made by draws of a seed
    python -m benchmarks.large_run measure FOLDER [--out FILE]    each step in a process of its own

The dataset is a Parquet table with the pictures inside, as one of the Hugging Face Hub, with three columns of metadata; its
pictures are a few bytes each. The predictions have the 1,000 classes of EfficientNet-Lite0, 76% right, and most errors
within groups of 20 classes; they are written by the functions that `classify` writes its file with.

`seconds` are the processor's, the median of some repetitions, of the functions behind the views; `hold` is the first reading
of the file. `memory` is that of the process beyond what it had before the dataset was opened. `page` are the processor's
seconds of whole runs of the page Misclassifications, in Streamlit's own test harness: `first` opens the dataset and reads
the predictions, `rerun` changes nothing, `cell` and the others each choose something else than the run before.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks import large
from benchmarks.paired import machine
from benchmarks.rerun import linked, own_folders, run_seconds
from xai_core.analysis import confusion, groups, predict, prediction_parts
from xai_core.app.shared import page_links
from xai_core.data.datasets import Dataset, open_dataset
from xai_core.data.held_predictions import hold_file
from xai_core.data.label_matching import match_classes
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model

NETWORK, SEED = "efficientnet_lite0", 0
PICTURES = 1_281_167
GROUP = 20  # classes that are confused with each other
RIGHT, INSIDE = 0.76, 0.7  # the share that is right; of the errors, those inside a group
LIGHT, CAMERA = ("day", "dusk", "night", ""), ("a", "b", "c")
TABLE, FILE = "large.parquet", "predictions.parquet"
ON_A_PAGE, REPEATED = 24, 7
BLOCK = 65_536


def make(folder: Path, pictures: int) -> None:
    """Write the dataset and the predictions for it."""
    model, draws = load_model(NETWORK), np.random.default_rng(SEED)
    classes = len(model.class_names)
    true = np.sort(draws.integers(0, classes, pictures))
    folder.mkdir(parents=True, exist_ok=True)
    _write_dataset(folder / TABLE, model, true, draws)
    dataset = open_dataset(folder / TABLE)
    write_predictions(folder / FILE, model, dataset, true, draws)


def _write_dataset(file: Path, model: ExplainableModel, true: np.ndarray, draws: np.random.Generator) -> None:
    coloured = []
    for shade in range(8):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (32 * shade, 128, 255 - 32 * shade)).save(buffer, "PNG")
        coloured.append(buffer.getvalue())
    names = {"names": list(model.class_names)}
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", **names}}
    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    fields = {"image": picture, "label": pa.int64(), "light": pa.string(), "camera": pa.string(), "size": pa.float64()}
    schema = pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(true), BLOCK):
            some = true[start : start + BLOCK]
            count = range(start, start + len(some))
            images = [{"bytes": coloured[number % 8], "path": f"{number:07}.png"} for number in count]
            light, camera = (np.array(names)[draws.integers(0, len(names), len(some))] for names in (LIGHT, CAMERA))
            size = draws.normal(200, 50, len(some))
            columns = [pa.array(images, picture), *map(pa.array, (some, light, camera, size))]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def write_predictions(
    out: Path, model: ExplainableModel, dataset: Dataset, true: np.ndarray, draws: np.random.Generator
) -> None:
    """Predictions with planted groups of classes, through the parts of `classify`."""
    names, total = np.array(model.class_names), len(true)
    matching = match_classes(dataset.classes, model)
    settings = predict._settings(model, dataset, matching, False, "exact")
    inside = (true // GROUP) * GROUP + draws.integers(0, GROUP, total)
    wrong = np.where(draws.random(total) < INSIDE, inside, draws.integers(0, len(names), total)) % len(names)
    predicted = np.where(draws.random(total) < RIGHT, true, wrong)
    confidence = draws.beta(5, 2, total).astype(np.float32)
    margin = (confidence * draws.random(total)).astype(np.float32)
    schema = prediction_parts.schema_of(False)

    def parts() -> Iterator[pa.Table]:
        for chunk in prediction_parts.chunks_of(total):
            at = slice(chunk.start, chunk.stop)
            samples, top = dataset.samples[at], names[(predicted[at, None] + np.arange(predict.TOP)) % len(names)]
            columns = {
                "path": [one.name for one in samples], "label": [one.label for one in samples], "true": names[true[at]],
                "true_index": true[at].astype(np.int32), "predicted": names[predicted[at]],
                "predicted_index": predicted[at].astype(np.int32), "confidence": confidence[at], "margin": margin[at],
                "true_probability": confidence[at], "top5": top.tolist(),
                "top5_probability": np.repeat(confidence[at, None] / predict.TOP, predict.TOP, 1).tolist(),
            }  # fmt: skip
            yield pa.table(columns, schema=schema)

    prediction_parts.join(parts(), out, settings, [], schema)


def measure(folder: Path) -> dict[str, Any]:
    """Processor seconds of each step, and the memory in MB."""
    before, began = large.memory(), _seconds()
    dataset = open_dataset(folder / TABLE)
    found, opened = {"open": _seconds() - began}, large.memory()
    began = _seconds()
    held = hold_file(folder / FILE, dataset.metadata)
    found["hold"] = _seconds() - began
    pairs = confusion.most_confused(held.rows, 1)
    true, predicted = pairs["true"][0], pairs["predicted"][0]

    def cell() -> None:
        rows = held.rows[(held.rows["true"] == true) & (held.rows["predicted"] == predicted)]
        held.named(rows.sort_values("confidence", ascending=False, kind="stable").head(ON_A_PAGE))

    def by_metadata() -> None:
        values = groups.values_of(held.attribute(held.rows, "light"))
        confusion.pair_counts(held.rows[values.isin(["day"])].reset_index(drop=True))

    steps = {
        "confusion": lambda: confusion.pair_counts(held.rows).worst(40),
        "most confused": lambda: confusion.most_confused(held.rows, 20),
        "cell": cell,
        "filter by metadata": by_metadata,
        "per class": lambda: confusion.per_class(held.rows),
        "calibration": lambda: confusion.calibration(held.rows),
        "all columns of 24 rows": lambda: held.whole(
            held.rows.iloc[np.linspace(0, len(held.rows) - 1, ON_A_PAGE, dtype=int)]
        ),
    }
    found |= {name: _median(step) for name, step in steps.items()}
    memory = {"dataset MB": opened - before, "held MB": large.memory() - opened, "most MB": large.most_memory() - before}
    return {"seconds": found, "memory": memory}


def measure_page(folder: Path) -> dict[str, Any]:
    """Processor seconds of runs of the page."""
    with tempfile.TemporaryDirectory() as kept:
        own_folders(kept)
        os.environ |= {"XAI_DATA": str(folder), "XAI_RUNS": str(folder)}
        page = page_links.FILES[page_links.MISSES]
        app = linked(page, dataset=TABLE, model=NETWORK)
        seconds = {"first": run_seconds(app), "rerun": _middle([run_seconds(app) for _ in range(REPEATED)])}
        true = app.selectbox(key="true")
        steps: dict[str, list[Callable[[], object]]] = {
            "cell": [partial(true.set_value, name) for name in true.options[1 : REPEATED + 1]],
            "sort": [partial(app.selectbox(key="sort").set_value, name) for name in ("Least confident", "Most confident")],
        }
        for name, choices in steps.items():
            seconds[name] = _middle([run_seconds(app) for choose in choices if choose()])
        app.multiselect(key="attributes").set_value(["light"])
        run_seconds(app)
        filtered = []
        for light in ("day", "dusk", "night"):
            app.multiselect(key="is light").set_value([light])
            filtered.append(run_seconds(app))
        return {"page": seconds | {"filter by metadata": _middle(filtered)}}


def _middle(seconds: list[float]) -> float:
    return float(np.median(seconds))


def _median(step: Callable[[], object]) -> float:
    spent = []
    for _ in range(REPEATED):
        began = _seconds()
        step()
        spent.append(_seconds() - began)
    return float(np.median(spent))


def _seconds() -> float:
    used = os.times()
    return used.user + used.system


def main() -> None:
    args = large.arguments(__doc__, ["make", "measure", "functions", "page"], PICTURES)
    if args.what == "make":
        make(args.folder, args.pictures)
        return
    steps = {"functions": measure, "page": measure_page}
    if args.what in steps:
        print(json.dumps(steps[args.what](args.folder)))
        return
    result: dict[str, Any] = {"machine": machine(), "pictures": pq.read_metadata(args.folder / FILE).num_rows}
    for step in steps:
        command = [sys.executable, "-m", "benchmarks.large_run", step, str(args.folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        result |= json.loads(done.stdout.splitlines()[-1])
    large.write(result, args.out)


if __name__ == "__main__":
    main()
