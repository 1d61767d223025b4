"""Predictions of shards, joined into the file that one process would have written for all pictures.

Rows, their order and the settings are those of that file, the dataset's digest too, though each picture is read once.
A picture's batch is another one in a shard, and a network's last bits depend on the batch: probabilities and embeddings
agree within TOLERANCE, and a predicted class can differ only where two classes are as close as that.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xai_core.analysis import prediction_parts
from xai_core.core import part_store, shards, tables
from xai_core.core.cache_key import text_digest
from xai_core.core.errors import BadRequest
from xai_core.core.shards import Shard, StoredShard
from xai_core.data import thumbnail_file
from xai_core.data.datasets import Known, digest_of
from xai_core.data.predictions import settings_of

TOLERANCE = 1e-5  # of probabilities, and of embeddings as a share of their largest value
# What each shard has of its own: the digest and the number of its own pictures, and what could not be read.
OWN = ("dataset_digest", "pictures", "shard", "unreadable", "thumbnails")


def stored_shard(path: Path) -> StoredShard:
    """A shard's file, or the folder of its parts where it is not finished. Raises BadRequest where it is neither."""
    unfinished = ""
    if path.is_dir():
        settings = _unfinished_settings(path)
        count = sum(map(len, prediction_parts.stored_parts(path, settings["pictures"])))
        unfinished = f"{count:,} of {settings['pictures']:,} pictures are classified"
    else:
        settings = settings_of(path)
    told = settings.get("shard")
    if not told:
        raise BadRequest(f"{path} is no shard: it has the predictions of a whole dataset.")
    same = {name: value for name, value in settings.items() if name not in OWN}
    same |= {"names of the dataset": told["names"], "pictures of the dataset": told["pictures"]}
    rows = text_digest(json.dumps([_content_digest(path), settings.get("unreadable")]))
    return StoredShard(path, Shard(told["number"], told["count"]), same, rows, unfinished)


def _unfinished_settings(folder: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = part_store.read_manifest(folder)
    except (OSError, ValueError) as error:
        raise BadRequest(f"{folder} is no shard of predictions ({error}).") from None
    return settings


def _content_digest(path: Path) -> str:
    """Of the rows of a finished file: two copies have the same."""
    if path.is_dir():
        return ""
    table = tables.read_parquet(path, ["path", "predicted_index", "confidence"])
    return text_digest(json.dumps(table.to_pydict()))


def merge(paths: Sequence[Path], out: Path) -> tuple[int, list[tuple[str, str]]]:
    """Join shards to the file `out` (.parquet or .csv). Returns the number of pictures, and each that could not be read with
    the reason. Their thumbnails are joined where all have some: see `without_thumbnails`. Raises BadRequest with what is
    wrong with the shards: see `shards.joined`."""
    found = shards.joined(stored_shard(path) for path in paths)
    files = [one.path for one in found]
    every = [settings_of(file) for file in files]
    embeddings = bool(every[0]["embeddings"])
    total = int(every[0]["shard"]["pictures"])
    told: list[tuple[int, str, str, str, str]] = [  # of pictures that could not be read
        (*known, reason)
        for settings in every
        for known, (_, reason) in zip(settings["shard"]["unreadable"], settings["unreadable"], strict=True)
    ]
    told.sort()
    known = _known(files, told, total)
    settings = {name: value for name, value in every[0].items() if name not in ("shard", "unreadable")}
    settings |= {"dataset_digest": digest_of(known), "pictures": total}
    unreadable = [(name, reason) for _, name, _, _, reason in told]
    with prediction_parts.written_alone(out):
        if not without_thumbnails(files):
            told_of = thumbnail_file.settings_for(settings)
            small = [thumbnail_file.file_beside(file) for file in files]
            rows = (some.drop_columns("place") for some in _in_order(small, total, thumbnail_file.PLACED))
            thumbnail_file.write(rows, thumbnail_file.file_beside(out), told_of)
        ordered = (
            some.drop_columns(["place", "content"])
            for some in _in_order(files, total, prediction_parts.schema_of(embeddings, placed=True))
        )
        prediction_parts.join(ordered, out, settings, unreadable, prediction_parts.schema_of(embeddings))
    return total, unreadable


def without_thumbnails(paths: Sequence[Path]) -> list[Path]:
    """The finished shards that have no thumbnails of their own pictures beside them."""
    return [path for path in paths if not thumbnail_file.is_beside(path, settings_of(path))]


def _known(files: Sequence[Path], unreadable: Sequence[tuple[int, str, str, str, str]], total: int) -> list[Known]:
    """What the digest of the whole dataset is made of. Raises BadRequest where a picture is not there exactly once."""
    known: dict[int, Known] = {place: (name, label, content) for place, name, label, content, _ in unreadable}
    rows = len(known)
    for file in files:
        table = tables.read_parquet(file, ["place", "path", "label", "content"])
        rows += len(table)
        columns = [table[name].to_pylist() for name in ("place", "path", "label", "content")]
        known |= {place: (name, label, content) for place, name, label, content in zip(*columns, strict=True)}
    if rows != total or sorted(known) != list(range(total)):
        raise BadRequest(f"The shards have {rows:,} of {total:,} pictures, not each picture once: classify them again.")
    return [known[place] for place in range(total)]


def _in_order(files: Sequence[Path], total: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of all pictures in the dataset's order, in tables as large as the parts of a single run."""
    readers = [_Reader(file, schema) for file in files]
    for start in range(0, total, prediction_parts.PART):
        yield pa.concat_tables([reader.until(start + prediction_parts.PART) for reader in readers]).sort_by("place")


class _Reader:
    """The rows of one shard, whose places rise, a few at a time."""

    def __init__(self, file: Path, schema: pa.Schema):
        self.file, self.schema, self.waiting = file, schema, schema.empty_table()
        self.batches = pq.ParquetFile(file).iter_batches(prediction_parts.PART, columns=schema.names)

    def until(self, place: int) -> pa.Table:
        """The rows before a place that were not taken yet."""
        read = [self.waiting]
        while not len(read[-1]) or read[-1]["place"][-1].as_py() < place:
            try:
                batch = next(self.batches, None)
            except (OSError, pa.ArrowException) as error:
                raise BadRequest(
                    f"The shard {self.file} is damaged ({str(error)[:80]}): classify its pictures again."
                ) from None
            if batch is None:
                break
            read.append(pa.Table.from_batches([batch]).replace_schema_metadata(None).cast(self.schema))
        rows = pa.concat_tables(read)
        count = pc.sum(pc.less(rows["place"], place)).as_py() or 0
        self.waiting = rows.slice(count)
        return rows.slice(0, count)
