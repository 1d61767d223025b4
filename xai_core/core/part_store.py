"""A folder of Parquet files ("parts") that one process writes and any process may read meanwhile.

    FOLDER/manifest.json                     what the parts were made from; replaced as a whole
    FOLDER/TABLE/000001-<SHA-256>.parquet    rows; written once under a name that holds their checksum, never changed
    FOLDER/lock                              locked by the process that writes; the system unlocks it when that process ends

A writer may be killed at any time: a part is there whole or not at all, and the next writer resumes from the parts that
are there. Runs of measurements, predictions and the benchmark of pairs are stored in such folders.
"""

import contextlib
import functools
import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import BaseFileLock, FileLock, Timeout, lock_descriptor, unlock_descriptor

from xai_core.core import shards, tables
from xai_core.core.errors import BadRequest, BeingWritten
from xai_core.core.files import open_regular, parse_json, read_regular, write_atomically

MANIFEST, LOCK, PARTS = "manifest.json", "lock", "parts"
WAIT_SECONDS = 2.0  # for the lock: `is_being_written` holds it for a moment
PROBES, PROBE_SECONDS = 5, 0.01  # another process that only looks holds the lock for less than all probes together
CHECKSUM_DIGITS = 16  # of the SHA-256, in a part's name
VERIFIED = 16_384  # parts whose checksums are remembered, some 200 bytes each
MANIFEST_BYTES = 16 * 2**20  # at most; settings of a run of 10,000 pictures take 1 MB


def find_parts(table: Path) -> tuple[Path, ...]:
    """The parts in a table's folder, in the order in which they were written."""
    return tuple(sorted(table.glob("[0-9]*-*.parquet")))


def is_intact(part: Path) -> bool:
    """Whether a part is a file whose bytes have the checksum in its name. Read once for each path, size and mtime."""
    try:
        state = part.stat()
        return _checksum(part, state.st_size, state.st_mtime_ns).startswith(part.stem.partition("-")[2] or "none")
    except OSError:  # a link that leads nowhere, a folder, a FIFO
        return False


@functools.lru_cache(VERIFIED)
def _checksum(part: Path, size: int, mtime_ns: int) -> str:
    with open_regular(part) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def intact_parts(table: Path) -> tuple[Path, ...]:
    """The parts of a table without the damaged ones."""
    return tuple(part for part in find_parts(table) if is_intact(part))


def damaged_parts(table: Path) -> tuple[Path, ...]:
    """The parts of a table whose bytes are not those that were written."""
    return tuple(part for part in find_parts(table) if not is_intact(part))


def read_rows(
    table: Path,
    schema: pa.Schema,
    columns: Sequence[str],
    *,
    dictionary: Sequence[str] = (),
    filters: Sequence[tuple[str, str, object]] = (),
) -> pa.Table:
    """Columns of all intact parts of a table as one; those of `dictionary` dictionary-encoded.

    `filters` keeps the rows that meet all conditions (column, operator, value), as in `pyarrow.parquet.read_table`. Raises
    BadRequest where a part with the right checksum is no table with these columns, or too large.
    """
    parts, rows = [], 0
    for part in intact_parts(table):
        content = tables.read_parquet(part, columns, schema=schema, dictionary=dictionary, filters=filters, rows_before=rows)
        rows += len(content)
        parts.append(content)
    return pa.concat_tables(parts).unify_dictionaries() if parts else schema.empty_table().select(list(columns))


def read_metadata(part: Path, entry: bytes) -> Any:
    """The JSON value under `entry` in a part's metadata; None where there is none.

    Raises OSError, pyarrow.ArrowException or ValueError where the file is no part."""
    with open_regular(part) as file:
        text = (pq.read_schema(file).metadata or {}).get(entry)
    return None if text is None else parse_json(text)


def write_part(table: Path, rows: pa.Table, **options: Any) -> Path:
    """Write rows as the next part of a table, in a folder that the caller has locked. `options` go to
    `pyarrow.parquet.write_table`. Raises XaiError."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", **options)
    return _write_next(table, sink.getvalue().to_pybytes())


def copy_part(table: Path, part: Path) -> Path:
    """Write a part of another folder, as it is, as the next part of a table. Raises XaiError."""
    try:
        return _write_next(table, read_regular(part, MANIFEST_BYTES))
    except OSError as error:
        raise BadRequest(f"Cannot read {part}: {error.strerror or error}.") from None


def _write_next(table: Path, data: bytes) -> Path:
    parts = find_parts(table)
    number = int(parts[-1].name.partition("-")[0]) + 1 if parts else 1
    part = table / f"{number:06d}-{hashlib.sha256(data).hexdigest()[:CHECKSUM_DIGITS]}.parquet"
    write_atomically(part, data)
    return part


def read_manifest(folder: Path) -> Any:
    """The content of the folder's manifest. Raises OSError where there is none, ValueError where it is no JSON."""
    return parse_json(read_regular(folder / MANIFEST, MANIFEST_BYTES))


def find_folders(roots: Iterable[Path]) -> list[Path]:
    """The folders with a manifest and parts under these folders, at most three levels down, sorted; without shards."""
    folders: set[Path] = set()
    for root in roots:
        for depth in ("*", "*/*", "*/*/*"):
            with contextlib.suppress(OSError):  # links in a circle, folders that may not be read
                folders |= {path.parent for path in root.glob(f"{depth}/{MANIFEST}") if (path.parent / PARTS).is_dir()}
    folders = {folder for folder in folders if not folder.parent.name.endswith(shards.ENDING)}
    return sorted(folders)


def holds_plans(folder: Path) -> bool:
    """Whether a folder's manifest holds plans: then it is of the pairs benchmark, and of no evaluation."""
    try:
        return _holds_plans(folder, (folder / MANIFEST).stat().st_mtime_ns)
    except OSError:
        return False


@functools.lru_cache(VERIFIED)
def _holds_plans(folder: Path, mtime_ns: int) -> bool:
    try:
        return "plans" in read_manifest(folder)
    except (OSError, ValueError, TypeError):
        return False


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the folder's manifest as a whole. Raises XaiError."""
    write_atomically(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


@contextlib.contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Hold the right to write to a folder, which is made where it is missing and removed where it is empty at the end.

    Raises BeingWritten with the sentence `busy` where another writer still holds it after WAIT_SECONDS, and BadRequest where
    the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK, timeout=WAIT_SECONDS, thread_local=False)
    try:
        _acquire(lock, folder)
    except Timeout:
        raise BeingWritten(busy) from None
    except OSError as error:
        raise BadRequest(f"Cannot write to {folder}: {error.strerror or error}.") from None
    try:
        yield
    finally:
        empty = folder.is_dir() and [path.name for path in folder.iterdir()] == [LOCK]
        with contextlib.suppress(OSError):  # Windows removes the file as it unlocks it
            if empty:
                (folder / LOCK).unlink()
        lock.release()
        with contextlib.suppress(OSError):  # somebody has begun to write again
            if empty:
                folder.rmdir()


def _acquire(lock: BaseFileLock, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
    except FileNotFoundError:  # the writer before has just removed the folder, because it was empty
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()


def is_being_written(folder: Path) -> bool:
    """Whether somebody writes to the folder now; False for a copy without a lock."""
    with contextlib.suppress(OSError), open_regular(folder / LOCK) as file:
        for _ in range(PROBES):
            if lock_descriptor(file.fileno(), blocking=False):
                unlock_descriptor(file.fileno())
                return False
            time.sleep(PROBE_SECONDS)
        return True
    return False


def repair(folder: Path) -> tuple[str, ...]:
    """Remove the half-written files of killed writers and rename damaged parts to NAME.damaged, in a folder that the caller
    has locked. Returns the names of the damaged parts."""
    for leftover in (*folder.glob(f".{MANIFEST}.*"), *folder.glob("*/.*.parquet.*")):
        with contextlib.suppress(OSError):  # a folder of that name is nobody's leftover
            leftover.unlink()
    damaged = [part for table in sorted(folder.glob("*/")) for part in damaged_parts(table)]
    for part in damaged:
        part.replace(part.with_name(f"{part.name}.damaged"))
    return tuple(part.name for part in damaged)


def clear(folder: Path) -> None:
    """Remove everything but the lock from a folder that the caller has locked."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
