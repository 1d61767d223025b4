"""A model's predictions for a whole dataset, in constant memory: the command line and the pages share this one engine.

Predictions are one Parquet file, a row for each picture that could be read, in the dataset's order:

    path                str, the picture's name in the dataset
    label               str, its label there, "" where it has none
    true, true_index    the model's class that the label means; missing and -1 where none matched
    predicted, predicted_index   the model's most probable class
    confidence          its probability, in [0, 1]
    margin              that probability minus the second one's, in [0, 1]
    true_probability    the probability of the true class; NaN where there is none
    top5, top5_probability       lists of the five most probable classes (fewer where the model has fewer)
    embedding           list of float32, if asked for: the projection head's output, or the pooled features

The file's metadata (`settings`) name the model, its weights and classes, what matched, and each file that could not be read.
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from xai_core.analysis.prefetch import Decoder, Unreadable
from xai_core.core import runtime
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadRequest, NoClassifier, XaiError
from xai_core.core.files import write_atomically
from xai_core.core.version import __version__
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import Matching, match_classes
from xai_core.data.preprocessing import Prepared, stack
from xai_core.explanation.rendering import duration
from xai_core.models.explainable import ExplainableModel

PART = 512  # pictures in one part: what a killed run loses at most
TOP = 5
ENTRY = b"xai_core"  # of a Parquet file's metadata


@dataclass(frozen=True)
class Progress:
    """How far a run is: pictures `done` of `total`, those among them that could not be read, pictures per second, and the
    seconds that are left (None before anything was measured)."""

    done: int
    total: int
    unreadable: tuple[Unreadable, ...] = ()
    rate: float = 0.0
    left: float | None = None

    def in_words(self) -> str:
        said = f"{self.done:,} of {self.total:,} pictures"
        if self.rate:
            said += f", {self.rate:.3g} a second"
        if self.left is not None and self.done < self.total:
            said += f", about {duration(self.left)} left"
        return f"{said}; {len(self.unreadable):,} could not be read" if self.unreadable else said


def classify(
    model: ExplainableModel,
    dataset: Dataset,
    out: Path,
    *,
    matching: Matching | None = None,
    embeddings: bool = False,
    precision: str = "exact",
) -> Iterator[Progress]:
    """Write the predictions of a model for a dataset to `out` (.parquet, or .csv without the lists' types and settings).

    Yields how far it is after every inner batch; stop iterating to cancel. What was done until then is kept in parts
    beside `out`: the same call goes on there. Where `out` holds this very result already, nothing is computed. Decoding
    runs beside inference; at most three inner batches are in memory. Raises NoClassifier, BadRequest, OutOfMemory; files
    that cannot be read are listed and skipped.
    """
    if not model.has_classifier:
        raise NoClassifier(f"{model.title} has no classifier: it cannot be asked which class a picture is of.")
    if out.suffix not in (".parquet", ".csv"):
        raise BadRequest(f"Predictions are written as .parquet or .csv, not as '{out.name}'.")
    matching = matching or match_classes(dataset.classes, model)
    settings = {
        "model": model.id,
        "title": model.title,
        "weights": model.fingerprint,
        "classes": list(model.class_names),
        "dataset": dataset.title,
        "dataset_digest": dataset.digest,
        "pictures": len(dataset.samples),
        "matched": dict(matching.index),
        "matched_by": dict(matching.how),
        "unmatched": dict(matching.unmatched),
        "embeddings": embeddings,
        "precision": precision,
        "version": __version__,
    }
    total = len(dataset.samples)
    if out.suffix == ".parquet" and (known := _settings_if_same(out, settings)):
        yield Progress(total, total, tuple(map(tuple, known["unreadable"])))
        return
    parts = out.parent / f".{out.name}.parts"
    done, unreadable = _resumed(parts, settings)
    began, already = time.monotonic(), done
    yield Progress(done, total, tuple(unreadable))
    rows: list[dict[str, Any]] = []
    found: list[Unreadable] = []  # of the part that is being made
    side = model.recipe.input_size
    size = runtime.inner_batch(side * side, model.device)
    with Decoder(model, dataset, dataset.samples[done:], ahead=2 * size) as decoder:
        while done < total:
            room = min(size, PART - done % PART, total - done)
            read = [(sample, shown) for sample, shown in decoder.take(room) if isinstance(shown, Prepared)]
            rows += _rows(model, read, matching, embeddings, precision)
            found += decoder.unreadable()
            done += room
            if done % PART == 0 or done == total:
                number = (done - 1) // PART
                _write_part(parts / f"{number:06d}.parquet", rows, found, embeddings)
                unreadable, rows, found = unreadable + found, [], []
            rate = (done - already) / max(time.monotonic() - began, 1e-9)
            yield Progress(done, total, (*unreadable, *found), rate, (total - done) / rate)
    _join(sorted(parts.glob("*.parquet")), out, {**settings, "unreadable": unreadable}, embeddings)
    shutil.rmtree(parts, ignore_errors=True)


def _rows(model: ExplainableModel, read, matching: Matching, embeddings: bool, precision: str) -> list[dict[str, Any]]:
    """The table's rows of pictures that were read."""

    def run(rows: range) -> tuple[torch.Tensor, torch.Tensor | None]:
        images = stack([read[row][1] for row in rows], model.device)
        with torch.no_grad(), runtime.autocast(precision, model.device):
            outputs = model.network.outputs(images)
            probabilities = outputs.logits.double().softmax(1).cpu()
            return probabilities, outputs.embedding.float().cpu() if embeddings else None

    found = runtime.each_batch(run, len(read), max(len(read), 1))
    rows, start = [], 0
    for probabilities, vectors in found:
        best = probabilities.topk(min(TOP, probabilities.shape[1]))
        for place in range(len(probabilities)):
            sample = read[start + place][0]
            true = matching.index.get(sample.label, -1)
            top, shares = best.indices[place].tolist(), best.values[place].tolist()
            row = {
                "path": sample.name,
                "label": sample.label,
                "true": model.class_name(true) if true >= 0 else None,
                "true_index": true,
                "predicted": model.class_name(top[0]),
                "predicted_index": top[0],
                "confidence": shares[0],
                "margin": shares[0] - shares[1] if len(shares) > 1 else shares[0],
                "true_probability": float(probabilities[place, true]) if true >= 0 else float("nan"),
                "top5": [model.class_name(index) for index in top],
                "top5_probability": shares,
            }
            rows.append(row | ({"embedding": vectors[place].numpy()} if vectors is not None else {}))
        start += len(probabilities)
    return rows


def _schema(embeddings: bool) -> pa.Schema:
    text, number = pa.string(), pa.float32()
    fields = {
        "path": text,
        "label": text,
        "true": text,
        "true_index": pa.int32(),
        "predicted": text,
        "predicted_index": pa.int32(),
        "confidence": number,
        "margin": number,
        "true_probability": number,
        "top5": pa.list_(text),
        "top5_probability": pa.list_(number),
    }
    return pa.schema(fields | ({"embedding": pa.list_(number)} if embeddings else {}))


def _write_part(path: Path, rows: list[dict[str, Any]], unreadable: list[Unreadable], embeddings: bool) -> None:
    schema = _schema(embeddings).with_metadata({ENTRY: json.dumps(unreadable)})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink)
    write_atomically(path, sink.getvalue().to_pybytes())


def _resumed(parts: Path, settings: dict[str, Any]) -> tuple[int, list[Unreadable]]:
    """(pictures that earlier parts hold, those of them that could not be read); parts of another run are removed."""
    job, same = parts / "job.json", bytes_digest(json.dumps(settings, sort_keys=True).encode())
    if not job.exists() or job.read_text() != same:
        shutil.rmtree(parts, ignore_errors=True)
        write_atomically(job, same.encode())
        return 0, []
    unreadable: list[Unreadable] = []
    made = len(list(parts.glob("*.parquet")))
    for number in range(made):
        try:
            unreadable += map(tuple, json.loads(pq.read_schema(parts / f"{number:06d}.parquet").metadata[ENTRY]))
        except (OSError, pa.ArrowException):  # damaged: made again
            return number * PART, unreadable
    return min(made * PART, settings["pictures"]), unreadable


def _join(parts: Sequence[Path], out: Path, settings: dict[str, Any], embeddings: bool) -> None:
    """The parts as one file, a part at a time in memory. It appears when it is whole."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        if out.suffix == ".csv":
            for number, part in enumerate(parts):
                table = pd.read_parquet(part)
                for name in table.columns.intersection(["top5", "top5_probability", "embedding"]):
                    table[name] = [json.dumps(np.asarray(one).tolist()) for one in table[name]]
                table.to_csv(unfinished, mode="a" if number else "w", header=not number, index=False)
        else:
            schema = _schema(embeddings).with_metadata({ENTRY: json.dumps(settings)})
            with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
                for part in parts:
                    writer.write_table(pq.read_table(part).replace_schema_metadata(schema.metadata))
        unfinished.replace(out)
    except OSError as error:
        raise XaiError(f"Cannot write {out}: {error.strerror or error}.") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _settings_if_same(out: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    try:
        known = settings_of(out)
    except BadRequest:
        return None
    return known if {name: known.get(name) for name in settings} == settings else None


def settings_of(path: Path) -> dict[str, Any]:
    """What a file of predictions says of itself. Raises BadRequest where it is none."""
    try:
        return json.loads((pq.read_schema(path).metadata or {})[ENTRY])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        raise BadRequest(f"{path} is no file of predictions; write one with: python -m xai_core classify.") from None


def read_predictions(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The table of a file of predictions, or some of its columns. Raises BadRequest."""
    settings_of(path)
    return pq.read_table(path, columns=list(columns) if columns else None).to_pandas()


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with a true class, as `confusion` reads them."""
    return table[table["true_index"] >= 0]
