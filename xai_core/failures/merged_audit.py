"""What an audit needs of each picture, measured by shards: its prediction with the embedding, and its statistics.

    SHARD/manifest.json         the audit's arguments, and which predictions the statistics belong to
    SHARD/predictions.parquet   see `xai_core.analysis.merged_predictions`
    SHARD/parts/*.parquet       the statistics of the pictures whose label is a class of the model

The other steps of an audit choose among all pictures, such as the errors that get a map, and ask the network about a number
of pictures that does not grow with the dataset: they are taken once, when the shards are joined.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from xai_core.analysis import merged_predictions, predict, prediction_parts
from xai_core.analysis.predict import ClassificationProgress
from xai_core.core import part_store, shards, tables
from xai_core.core.cache_key import text_digest
from xai_core.core.errors import BadRequest
from xai_core.core.part_store import PARTS
from xai_core.core.shards import Shard, StoredShard
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import Matching
from xai_core.data.predictions import ENTRY, read_predictions, settings_of
from xai_core.failures.picture_attributes import picture_statistics
from xai_core.models.explainable import ExplainableModel

PREDICTIONS = "predictions.parquet"
PART = 256  # pictures in one part of statistics


def measure_shard(
    model: ExplainableModel, dataset: Dataset, folder: Path, matching: Matching, shard: Shard, arguments: Mapping[str, Any]
) -> Generator[ClassificationProgress, None, None]:
    """Classify a shard's pictures and measure their statistics, in its folder; called again, it goes on where it was.

    `arguments` of the audit (JSON values) are kept beside them. Raises as `predict.classify` does.
    """
    file = folder / PREDICTIONS
    with part_store.locked(folder, f"Another audit is writing to {folder}: wait for it, or give another folder."):
        for progress in predict.classify(model, dataset, file, matching=matching, embeddings=True, shard=shard):
            yield progress
        basis = _basis(file)
        manifest = {"audit": dict(arguments), "basis": basis, "shard": [shard.number, shard.count]}
        part_store.write_manifest(folder, manifest)
        part_store.repair(folder)
        names = _judged(file)
        stored = _stored(folder, basis)
        for start in range(0, len(names), PART):
            if start not in stored:
                measured = picture_statistics(dataset, names[start : start + PART])
                rows = pa.Table.from_pandas(measured.rename_axis("path").reset_index(), preserve_index=False)
                entry = {ENTRY: json.dumps({"basis": basis, "start": start})}
                part_store.write_part(folder / PARTS, rows.replace_schema_metadata(entry))
            yield progress


def _basis(file: Path) -> str:
    """A digest of what the predictions are of: other predictions have other statistics."""
    return text_digest(json.dumps(settings_of(file), sort_keys=True))


def _judged(file: Path) -> list[str]:
    """The pictures whose label is a class of the model."""
    names: list[str] = predict.judged(read_predictions(file, ["path", "true_index"]))["path"].to_list()
    return names


def _stored(folder: Path, basis: str) -> dict[int, Path]:
    """The parts of these predictions' statistics, by the place of their first picture."""
    stored = {}
    for part in part_store.intact_parts(folder / PARTS):
        entry = part_store.read_metadata(part, ENTRY)
        if entry["basis"] == basis:
            stored[entry["start"]] = part
    return stored


def is_shard(folder: Path) -> bool:
    """Whether a folder is a shard of an audit, finished or not."""
    return any((folder / name).exists() for name in (PREDICTIONS, f".{PREDICTIONS}.parts"))


def stored_shard(folder: Path) -> StoredShard:
    """A shard's folder. Raises BadRequest where it is none."""
    file = folder / PREDICTIONS
    found = merged_predictions.stored_shard(file if file.exists() else prediction_parts.parts_folder(file))
    if found.unfinished:
        return StoredShard(folder, found.shard, found.settings, "", found.unfinished)
    try:
        manifest = part_store.read_manifest(folder)
        told, basis = dict(manifest["audit"]), manifest["basis"]
    except (OSError, ValueError, KeyError, TypeError):
        return StoredShard(folder, found.shard, found.settings, "", "no statistics are measured")
    stored, count = _stored(folder, _basis(file)), len(_judged(file))
    missing = [start for start in range(0, count, PART) if start not in stored]
    unfinished = ""
    if missing or basis != _basis(file):
        unfinished = f"statistics of {min(PART * len(stored), count):,} of {count:,} pictures are measured"
    return StoredShard(folder, found.shard, {**found.settings, **told}, found.rows, unfinished)


def merge(folders: Sequence[Path], out: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Join the predictions of shards to `out`. Returns the audit's arguments, and the statistics of all pictures by their
    names. Raises BadRequest with what is wrong with the shards: see `shards.joined`."""
    found = [one.path for one in shards.joined(stored_shard(folder) for folder in folders)]
    merged_predictions.merge([folder / PREDICTIONS for folder in found], out)
    parts = [part for folder in found for part in _stored(folder, _basis(folder / PREDICTIONS)).values()]
    if not parts:
        raise BadRequest("There is nothing to audit: none of the pictures has a label that the model knows.")
    measured = pd.concat([tables.read_parquet(part).to_pandas() for part in parts], ignore_index=True)
    arguments: dict[str, Any] = part_store.read_manifest(found[0])["audit"]
    return arguments, measured.set_index("path")
