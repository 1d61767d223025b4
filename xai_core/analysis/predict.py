"""A model's predictions for a whole dataset, in constant memory: the engine of the command `classify` and of the pages.

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

A shard's file has two more columns, from which `merged_predictions` makes the file of all pictures:

    place               the picture's place in the whole dataset
    content             what the dataset's digest knows of its content

With thumbnails, these are in a second file beside it: see `xai_core.data.thumbnail_file`.

The file's metadata (`settings_of`) name the model, its weights and classes, which labels matched, and each file that could
not be read. Until the file is complete, its rows are in a folder of parts beside it: see `xai_core.core.part_store`.
"""

import contextlib
import itertools
import statistics
import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from xai_core.analysis import prediction_parts
from xai_core.analysis.prefetch import Decoder, Unreadable
from xai_core.core import part_store, runtime, tables
from xai_core.core.errors import BadPicture, BadRequest, NoClassifier
from xai_core.core.settings import RESOURCES
from xai_core.core.shards import Shard
from xai_core.core.version import __version__
from xai_core.data import thumbnail_file
from xai_core.data.datasets import Dataset, digest_of
from xai_core.data.label_matching import Matching, match_classes
from xai_core.data.predictions import settings_of
from xai_core.data.preprocessing import Prepared, stack
from xai_core.data.sample_list import Labelled
from xai_core.data.selection import shard_images
from xai_core.explanation.rendering import duration
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import top_classes
from xai_core.models.pass_times import PassTimes
from xai_core.models.ray_workers import RayWorkers, Work

SHIPPED = RESOURCES / "data" / "predictions"
TOP = 5
DECODED = 5  # pictures that are opened for an estimate
RECENT = 8  # batches whose median speed tells the time that is left


@dataclass(frozen=True)
class ClassificationProgress:
    """How many pictures of `total` are `done`, which of them could not be read, the `rate` in pictures per second, and the
    seconds that are `left` (None before anything was measured)."""

    done: int
    total: int
    unreadable: tuple[Unreadable, ...] = ()
    rate: float = 0.0
    left: float | None = None

    def in_words(self) -> str:
        """'1,234 of 10,000 pictures, 45.7 a second, about 3 min left; 1 could not be read'."""
        words = f"{self.done:,} of {self.total:,} pictures"
        if self.rate:
            words += f", {self.rate:.3g} a second"
        if self.left is not None and self.done < self.total:
            words += f", about {duration(self.left)} left"
        return f"{words}; {len(self.unreadable):,} could not be read" if self.unreadable else words


def classify(
    model: ExplainableModel,
    dataset: Dataset,
    out: Path,
    *,
    matching: Matching | None = None,
    embeddings: bool = False,
    precision: str = "exact",
    shard: Shard | None = None,
    workers: RayWorkers | None = None,
    thumbnails: bool = False,
) -> Generator[ClassificationProgress, None, None]:
    """Write the predictions of a model for a dataset to `out` (.parquet, or .csv without the lists' types and settings).
    With a `shard`, only those of its pictures, to its own file .parquet: see `merged_predictions`. With `workers`, these
    compute the rows. With `thumbnails`, each picture's is made when it is opened, and they are written beside `out`.

    Yields the progress after every inner batch, or task of a worker; stop iterating to cancel. What was done until then is
    kept in parts beside `out`, and the same call resumes from them. If `out` holds this very result already (and the file
    beside it the thumbnails, if they are wanted), nothing is computed. Pictures are decoded beside inference; at most three
    inner batches are in memory. Raises NoClassifier, OutOfMemory, and BadRequest for another suffix and where another
    process is writing the same file; files that cannot be read are listed and skipped.
    """
    if not model.has_classifier:
        raise NoClassifier(f"{model.title} has no classifier: it cannot predict classes.")
    check_suffix(out)
    matching = matching or match_classes(dataset.classes, model)
    share = _share(dataset, shard) if shard else None
    dataset = share.dataset if share else dataset
    settings = _settings(model, dataset, matching, embeddings, precision, share)
    total, folder = len(dataset.samples), prediction_parts.parts_folder(out)
    unreadable = _unreadable_if_complete(out, settings)
    if unreadable is not None and (not thumbnails or thumbnail_file.is_beside(out, settings)):
        if folder.exists():  # the process that wrote `out` was killed just then
            with contextlib.suppress(BadRequest), prediction_parts.written_alone(out):
                part_store.clear(folder)
        yield ClassificationProgress(total, total, unreadable)
        return
    with prediction_parts.written_alone(out):
        prediction_parts.prepare(folder, settings | ({"thumbnails": True} if thumbnails else {}))
        if workers:
            yield from _classify_by_workers(workers, model, dataset, folder, matching, embeddings, precision, thumbnails)
        else:
            yield from _classify_missing(model, dataset, folder, matching, embeddings, precision, thumbnails)
        stored = prediction_parts.stored_parts(folder, total)
        if thumbnails:  # before the predictions: a file of these without the other is not complete
            _join_thumbnails([part for part, _ in stored.values()], out, settings, share)
        schema = prediction_parts.schema_of(embeddings)
        rows: Iterable[pa.Table] = (tables.read_parquet(part, schema.names, schema=schema) for part, _ in stored.values())
        unreadable = tuple(file for _, failures in stored.values() for file in failures)
        if share:
            rows = map(share.placed, rows)
            settings["shard"] |= {"unreadable": [share.known[name] for name, _ in unreadable]}
        prediction_parts.join(rows, out, settings, unreadable, prediction_parts.schema_of(embeddings, share is not None))
        part_store.clear(folder)


def check_suffix(out: Path) -> None:
    """Raises BadRequest where a file of this name is none of predictions."""
    if out.suffix not in (".parquet", ".csv"):
        raise BadRequest(f"Predictions are written as .parquet or .csv, not as '{out.name}'.")


@dataclass(frozen=True)
class _Share:
    """A shard's pictures, and of each by its name what the whole dataset's order and digest are made of: (place, name,
    label, content). `told` is what the file says of the shard."""

    dataset: Dataset
    known: Mapping[str, tuple[int, str, str, str]]
    told: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return digest_of([(name, label, content) for _, name, label, content in self.known.values()])

    def placed(self, rows: pa.Table) -> pa.Table:
        """Rows with the columns `place` and `content`."""
        contents = [self.known[name][3] for name in rows["path"].to_pylist()]
        return self.with_places(rows).append_column("content", pa.array(contents, pa.string()))

    def with_places(self, rows: pa.Table) -> pa.Table:
        """Rows with the column `place`."""
        places = [self.known[name][0] for name in rows["path"].to_pylist()]
        return rows.append_column("place", pa.array(places, pa.int64()))


def _share(dataset: Dataset, shard: Shard) -> _Share:
    own = replace(dataset, samples=shard_images(dataset.samples, shard))
    places = {sample.name: place for place, sample in enumerate(dataset.samples) if sample.name in own.names}
    known = {name: (places[name], name, label, content) for name, label, content in own.known()}
    names = digest_of([(sample.name, sample.label, "") for sample in dataset.samples])
    told = {"number": shard.number, "count": shard.count, "pictures": len(dataset.samples), "names": names}
    return _Share(own, known, told)


def _settings(
    model: ExplainableModel,
    dataset: Dataset,
    matching: Matching,
    embeddings: bool,
    precision: str,
    share: _Share | None = None,
) -> dict[str, Any]:
    """What predictions depend on, and what they are of in words."""
    settings = {
        "model": model.id,
        "title": model.title,
        "weights": model.fingerprint,
        "recipe": repr(model.recipe),
        "classes": list(model.class_names),
        "dataset": dataset.title,
        "dataset_digest": share.digest if share else dataset.digest,
        "pictures": len(dataset.samples),
        "matched": dict(matching.index),
        "matched_by": dict(matching.how),
        "unmatched": dict(matching.unmatched),
        "embeddings": embeddings,
        "precision": precision,
        "version": __version__,
    }
    return settings | ({"shard": dict(share.told)} if share else {})


# Settings that no prediction depends on: titles, and the version of this package.
NAMES = ("model", "title", "dataset", "matched_by", "version")


def is_of(path: Path, model: ExplainableModel, dataset: Dataset, *, embeddings: bool | None = True) -> bool:
    """Whether `classify` wrote this file for these weights and pictures, with labels matched as usual, and with or without
    `embeddings` (None: either).

    Titles, and the version of this package, may be others. False where the file is none of predictions.
    """
    try:
        stored = settings_of(path)
    except BadRequest:
        return False
    if "shard" in stored or stored.get("weights") != model.fingerprint or stored.get("dataset_digest") != dataset.digest:
        return False
    wanted = bool(stored.get("embeddings")) if embeddings is None else embeddings
    expected = _settings(model, dataset, match_classes(dataset.classes, model), wanted, precision="exact")
    return all(stored.get(name) == value for name, value in expected.items() if name not in NAMES)


def shipped(model: ExplainableModel, dataset: Dataset) -> Path | None:
    """The file of these predictions that comes with this package, where it is of the same weights and pictures."""
    return next((file for file in sorted(SHIPPED.glob("*.parquet")) if is_of(file, model, dataset)), None)


def estimated_seconds(model: ExplainableModel, dataset: Dataset, times: PassTimes) -> float:
    """How long classifying the whole dataset will take here and now: the network's passes, and opening the pictures, as
    measured on a few that are spread over it."""
    total = len(dataset.samples)
    some = [dataset.samples[place] for place in np.linspace(0, total - 1, min(total, DECODED), dtype=int)]
    files = iter(itertools.cycle(some))

    def open_next() -> None:
        with contextlib.suppress(BadPicture, BadRequest):
            model.prepare(dataset.open(next(files).name))

    decoding = times.measured(("decoding", dataset.digest, model.id), lambda: (open_next, 1)) if total else 0.0
    return total * (times.seconds(model, total) + decoding) if total else 0.0


def _classify_missing(
    model: ExplainableModel,
    dataset: Dataset,
    folder: Path,
    matching: Matching,
    embeddings: bool,
    precision: str,
    thumbnails: bool,
) -> Generator[ClassificationProgress, None, None]:
    """Write a part for each chunk of pictures that has none."""
    total = len(dataset.samples)
    missing, unreadable, done = prediction_parts.missing_of(folder, total)
    recent: deque[float] = deque(maxlen=RECENT)  # seconds a picture
    latest = time.monotonic()
    yield ClassificationProgress(done, total, tuple(unreadable))
    side = model.recipe.input_size
    size = runtime.inner_batch(side * side, model.device)
    samples = [dataset.samples[place] for chunk in missing for place in chunk]
    with Decoder(model, dataset, samples, ahead=2 * size, small=thumbnails) as decoder:
        for chunk in missing:
            rows: list[dict[str, Any]] = []
            failures: list[Unreadable] = []
            for start in range(chunk.start, chunk.stop, size):
                batch = decoder.take(min(size, chunk.stop - start))
                rows += _with_thumbnails(rows_of(model, batch, matching, embeddings, precision), decoder)
                failures += decoder.unreadable()
                done += len(batch)
                if start + size >= chunk.stop:
                    prediction_parts.write_part(folder, chunk, rows, failures, embeddings, thumbnails)
                now = time.monotonic()
                recent.append(max(now - latest, 1e-9) / len(batch))
                rate = 1 / statistics.median(recent)
                yield ClassificationProgress(done, total, (*unreadable, *failures), rate, (total - done) / rate)
                latest = time.monotonic()
            unreadable += failures


def _classify_by_workers(
    workers: RayWorkers,
    model: ExplainableModel,
    dataset: Dataset,
    folder: Path,
    matching: Matching,
    embeddings: bool,
    precision: str,
    thumbnails: bool,
) -> Generator[ClassificationProgress, None, None]:
    """Write a part for each chunk of pictures that has none as soon as workers have brought all of its rows."""
    total = len(dataset.samples)
    missing, unreadable, done = prediction_parts.missing_of(folder, total)
    places = [(chunk, piece) for chunk in missing for piece in workers.tasks(chunk)]
    tasks = [dataset.samples[piece.start : piece.stop] for _, piece in places]
    already = done
    brought: dict[range, dict[int, tuple[list[dict[str, Any]], list[Unreadable]]]] = {}  # of each chunk, by the first place
    began = time.monotonic()
    yield ClassificationProgress(done, total, tuple(unreadable))
    prepare = partial(_prepare_worker, workers, model.id, model.fingerprint, matching, embeddings, precision, thumbnails)
    for number, (rows, failures) in workers.results(prepare, tasks):
        chunk, piece = places[number]
        pieces = brought.setdefault(chunk, {})
        pieces[piece.start] = rows, failures
        if len(pieces) == len(workers.tasks(chunk)):
            ordered = [brought[chunk][start] for start in sorted(pieces)]
            of_chunk = [file for _, files in ordered for file in files]
            of_rows = [row for some, _ in ordered for row in some]
            prediction_parts.write_part(folder, chunk, of_rows, of_chunk, embeddings, thumbnails)
            del brought[chunk]
        unreadable += failures
        done += len(piece)
        rate = (done - already) / max(time.monotonic() - began, 1e-9)
        yield ClassificationProgress(done, total, tuple(unreadable), rate, (total - done) / rate)


def _prepare_worker(
    workers: RayWorkers,
    id: str,
    fingerprint: str,
    matching: Matching,
    embeddings: bool,
    precision: str,
    thumbnails: bool,
) -> Work[Sequence[Labelled], tuple[list[dict[str, Any]], list[Unreadable]]]:
    """In a worker: what turns some pictures into rows, and those that cannot be read into reasons."""
    model, dataset = workers.model(id, fingerprint), workers.open()
    size = runtime.inner_batch(model.recipe.input_size**2, model.device)

    def rows_of_task(samples: Sequence[Labelled]) -> tuple[list[dict[str, Any]], list[Unreadable]]:
        with Decoder(model, dataset, samples, ahead=2 * size, small=thumbnails) as decoder:
            batches = (decoder.take(min(size, len(samples) - start)) for start in range(0, len(samples), size))
            rows = [row for batch in batches for row in rows_of(model, batch, matching, embeddings, precision)]
            return _with_thumbnails(rows, decoder), decoder.unreadable()

    return rows_of_task


def _with_thumbnails(rows: list[dict[str, Any]], decoder: Decoder) -> list[dict[str, Any]]:
    """Rows with the thumbnails that were made of their pictures, if any were."""
    small = decoder.thumbnails()
    return [row | {"thumbnail": small[row["path"]]} for row in rows] if small else rows


def rows_of(
    model: ExplainableModel,
    batch: Sequence[tuple[Labelled, Prepared | BadPicture]],
    matching: Matching,
    embeddings: bool,
    precision: str,
) -> list[dict[str, Any]]:
    """The table's rows of a batch of prepared pictures, without those that could not be read."""
    read = [(sample, picture) for sample, picture in batch if isinstance(picture, Prepared)]

    def run(rows: range) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        images = stack([read[row][1] for row in rows], model.device)
        with torch.no_grad(), runtime.autocast(precision, model.device):
            outputs = model.network.outputs(images)
            probabilities = outputs.logits.double().softmax(1).cpu()
            vectors = outputs.embedding.float().cpu() if embeddings else None
            return top_classes(outputs.logits, TOP).cpu(), probabilities, vectors

    rows, start = [], 0
    for best, probabilities, vectors in runtime.each_batch(run, len(read), max(len(read), 1)):
        for place in range(len(probabilities)):
            sample = read[start + place][0]
            true = matching.index.get(sample.label, -1)
            top = best[place].tolist()
            shares = probabilities[place, top].tolist()
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


def _join_thumbnails(parts: Sequence[Path], out: Path, settings: Mapping[str, Any], share: _Share | None) -> None:
    """Write the thumbnails in parts beside the predictions `out`. Raises XaiError."""
    plain = thumbnail_file.SCHEMA
    rows: Iterable[pa.Table] = (tables.read_parquet(part, plain.names, schema=plain) for part in parts)
    schema = thumbnail_file.PLACED if share else plain
    rows = map(share.with_places, rows) if share else rows
    thumbnail_file.write(rows, thumbnail_file.file_beside(out), thumbnail_file.settings_for(settings), schema)


def _unreadable_if_complete(out: Path, settings: dict[str, Any]) -> tuple[Unreadable, ...] | None:
    """The files that could not be read, where `out` is a complete Parquet file with these settings; else None."""
    try:
        stored = settings_of(out) if out.suffix == ".parquet" else {}
    except BadRequest:
        return None
    stored_shard = {name: value for name, value in stored.get("shard", {}).items() if name != "unreadable"}
    same = {name: stored.get(name) for name in settings} | {"shard": stored_shard} == {"shard": {}, **settings}
    return tuple((name, reason) for name, reason in stored["unreadable"]) if same else None


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a true class: what the functions of `confusion` take."""
    return table[table["true_index"] >= 0]
