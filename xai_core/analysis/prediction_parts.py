"""The parts in which predictions are until their file is complete, and how they are joined to it.

Each part holds the rows of PART pictures, and in its metadata their places in the dataset and which could not be read: see
`xai_core.core.part_store`. The columns are described in `predict`.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xai_core.analysis.prefetch import Unreadable
from xai_core.core import part_store
from xai_core.core.errors import XaiError
from xai_core.core.part_store import PARTS
from xai_core.data import thumbnail_file
from xai_core.data.predictions import ENTRY

PART = 512  # pictures in one part: what a killed run loses at most
GROUP = 8 * 2**20  # bytes of a row group of the file: what is read for one of its rows


def parts_folder(out: Path) -> Path:
    """The folder in which the parts of a file of predictions are until it is complete."""
    return out.parent / f".{out.name}.parts"


def written_alone(out: Path) -> contextlib.AbstractContextManager[None]:
    """Hold the right to write a file of predictions. Raises BeingWritten where another process has it."""
    busy = f"Another process is writing {out}: wait for it, or give another file."
    return part_store.locked(parts_folder(out), busy)


def schema_of(embeddings: bool, placed: bool = False) -> pa.Schema:
    """The types of the file's columns; with `place` and `content`, those of a shard's."""
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
    fields |= {"embedding": pa.list_(number)} if embeddings else {}
    return pa.schema(fields | ({"place": pa.int64(), "content": text} if placed else {}))


def chunks_of(total: int) -> list[range]:
    """The pictures of each part, by their places in the dataset."""
    return [range(start, min(start + PART, total)) for start in range(0, total, PART)]


def missing_of(folder: Path, total: int) -> tuple[list[range], list[Unreadable], int]:
    """The chunks of pictures without a part; the pictures of the others that could not be read, and how many these have."""
    stored = stored_parts(folder, total)
    missing = [chunk for chunk in chunks_of(total) if chunk not in stored]
    unreadable = [file for _, failures in stored.values() for file in failures]
    return missing, unreadable, total - sum(map(len, missing))


def write_part(
    folder: Path,
    chunk: range,
    rows: list[dict[str, Any]],
    unreadable: list[Unreadable],
    embeddings: bool,
    thumbnails: bool = False,
) -> None:
    """Store the rows of the pictures at the places `chunk` of a dataset, in a folder that the caller has locked; with
    `thumbnails`, their column `thumbnail` too."""
    entry = {"start": chunk.start, "stop": chunk.stop, "unreadable": unreadable}
    schema = schema_of(embeddings)
    schema = schema.append(thumbnail_file.SCHEMA.field("thumbnail")) if thumbnails else schema
    schema = schema.with_metadata({ENTRY: json.dumps(entry)})
    part_store.write_part(folder / PARTS, pa.Table.from_pylist(rows, schema))


def prepare(folder: Path, settings: dict[str, Any]) -> None:
    """Make the parts' folder ready: parts with other settings are removed, damaged ones are put aside."""
    try:
        same = part_store.read_manifest(folder) == settings
    except (OSError, ValueError):
        same = False
    if not same:
        part_store.clear(folder)
        part_store.write_manifest(folder, settings)
    part_store.repair(folder)


def stored_parts(folder: Path, total: int) -> dict[range, tuple[Path, list[Unreadable]]]:
    """The part of each stored chunk, and its files that could not be read, in the dataset's order."""
    stored = {}
    for part in part_store.intact_parts(folder / PARTS):
        with contextlib.suppress(OSError, pa.ArrowException, ValueError, KeyError, TypeError):  # no part of predictions
            entry = part_store.read_metadata(part, ENTRY)
            stored[range(entry["start"], entry["stop"])] = part, [(name, reason) for name, reason in entry["unreadable"]]
    return {chunk: stored[chunk] for chunk in chunks_of(total) if chunk in stored}


def join(
    rows: Iterable[pa.Table], out: Path, settings: Mapping[str, Any], unreadable: Sequence[Unreadable], schema: pa.Schema
) -> None:
    """Write tables as one file, one at a time in memory. The file appears when it is complete. Raises XaiError."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        if out.suffix == ".csv":
            for number, part in enumerate(rows):
                table = part.to_pandas()
                for name in table.columns.intersection(["top5", "top5_probability", "embedding"]):
                    table[name] = [json.dumps(np.asarray(values).tolist()) for values in table[name]]
                table.to_csv(unfinished, mode="a" if number else "w", header=not number, index=False)
        else:
            entry = json.dumps({**settings, "unreadable": unreadable})
            described = schema.with_metadata({ENTRY: entry})
            with pq.ParquetWriter(unfinished, described, compression="zstd") as writer:
                for group in _row_groups(rows):
                    writer.write_table(group.replace_schema_metadata(described.metadata))
        unfinished.replace(out)
    except OSError as error:
        raise XaiError(f"Cannot write {out}: {error.strerror or error}.") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _row_groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The parts joined to row groups of about GROUP bytes: a file of thousands of small ones takes seconds to open."""
    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part)
        if sum(one.nbytes for one in waiting) >= GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
