"""The store of a run: what was asked, and a table of measurements in parts that are there whole or not at all.

    RUN/manifest.json                     what was asked, of whom, with which versions; replaced as a whole
    RUN/parts/000001-<SHA-256>.parquet    rows; written once under a name that holds its own checksum, never changed
    RUN/pictures/000001-<SHA-256>.parquet small copies of the pictures, where the run has to carry them
    RUN/lock                              held (flock) by the one who writes; the system lets go of it when its owner dies

So a run may be read at any time, also while it is written, and a writer may be killed at any time: what has no place yet
is computed again, what has one stays. Rows of one picture, model, method and metric are there once.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xai_core.core.errors import BadRequest
from xai_core.core.files import write_atomically
from xai_core.evaluation import manifests
from xai_core.evaluation.summary import CONTROL

FORMAT = 1
WAIT_SECONDS = 2.0  # for a lock: one who only looks whether somebody writes holds it for a moment

_NAMES = ("picture", "name", "label", "model", "target", "target_key", "method", "metric", "note")
ROWS = pa.schema(
    [
        ("run_key", pa.string()),
        *((name, pa.string()) for name in _NAMES),
        ("target_value", pa.float64()),
        ("value", pa.float64()),
        ("passes", pa.float32()),
        ("seconds", pa.float32()),
        ("facts", pa.string()),
        ("curve_x", pa.list_(pa.float32())),
        ("curve_y", pa.list_(pa.float32())),
    ]
)
PICTURES = pa.schema([("picture", pa.string()), ("name", pa.string()), ("thumbnail", pa.binary())])
CURVES = ("curve_x", "curve_y")
Cell = tuple[str, str]  # method, metric


@dataclass(frozen=True)
class Run:
    """A run as it is found on the disk: its folder, and its manifest as a dictionary."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def parts(self) -> tuple[Path, ...]:
        """The parts that are there now, in the order of writing."""
        return _parts(self.folder / "parts")

    @property
    def being_written(self) -> bool:
        """Whether an evaluation is writing to it now."""
        try:
            with (self.folder / "lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # a run without a lock came as a copy
        return False

    @property
    def damaged(self) -> tuple[str, ...]:
        """The names of parts whose bytes are not those that were written."""
        return tuple(part.name for part in self.parts if not _intact(part))

    def extended(self, new: Mapping[str, Any]) -> dict[str, Any]:
        """The manifest with which it is gone on. Raises BadRequest that names what was asked otherwise."""
        return manifests.extended(self.manifest, new, lambda: {*self.table(["name"]).name})

    def done(self) -> dict[tuple[str, str], frozenset[Cell]]:
        """What is there: for each (picture, model) its (method, metric) pairs, those of controls under CONTROL."""
        found: dict[tuple[str, str], frozenset[Cell]] = {}
        shared: dict[frozenset[Cell], frozenset[Cell]] = {}  # most pictures have the same pairs: one set serves them all
        for part in filter(_intact, self.parts):
            frame = pq.read_table(part, columns=["picture", "model", "method", "metric"]).to_pandas()
            for (picture, model), rows in frame.groupby(["picture", "model"], sort=False):
                pairs = {(_folded(method), metric) for method, metric in zip(rows.method, rows.metric, strict=True)}
                both = found.get((picture, model), frozenset()) | pairs
                found[picture, model] = shared.setdefault(both, both)
        return found

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows, as columns of ROWS but for the curves (ask for those by name); names are categories. Damaged parts are
        left out: see `damaged`."""
        columns = list(columns or (name for name in ROWS.names if name not in CURVES))
        names = [name for name in columns if name in _NAMES]
        found = [pq.read_table(part, columns=columns, read_dictionary=names) for part in self.parts if _intact(part)]
        whole = pa.concat_tables(found).unify_dictionaries() if found else ROWS.empty_table().select(columns)
        frame = whole.to_pandas()
        return frame.astype(dict.fromkeys(names, "category"))

    def curves(self, model: str, metric: str, picture: str | None = None) -> pd.DataFrame:
        """Rows of one model and metric (and picture) that have a curve, with `curve_x` and `curve_y` as arrays."""
        wanted = [("model", "=", model), ("metric", "=", metric)]
        wanted += [("picture", "=", picture)] if picture else []
        columns = ["picture", "name", "method", "value", *CURVES]
        found = [pq.read_table(part, columns=columns, filters=wanted) for part in self.parts if _intact(part)]
        frame = (pa.concat_tables(found) if found else ROWS.empty_table().select(columns)).to_pandas()
        return frame[frame.curve_x.map(lambda xs: xs is not None and len(xs) > 0)].reset_index(drop=True)

    def thumbnail(self, picture: str) -> bytes | None:
        """The small copy of a picture that the run carries, as an image file's bytes."""
        for part in _parts(self.folder / "pictures"):
            found = pq.read_table(part, filters=[("picture", "=", picture)])["thumbnail"] if _intact(part) else ()
            if len(found):
                return found[0].as_py()
        return None


def open_run(folder: str | Path) -> Run:
    """A run that is there, for reading. Raises BadRequest with one sentence where it is none, or of another version."""
    folder = Path(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except FileNotFoundError:
        raise BadRequest(f"{folder} holds no run: there is no manifest.json in it.") from None
    except (OSError, ValueError) as error:
        raise BadRequest(f"The manifest of {folder} cannot be read: {error}.") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        writer = manifest.get("software", {}).get("xai_core", "of this project") if found else "of this project"
        raise BadRequest(
            f"{folder} is a run of format {found!r}; this version reads and writes format {FORMAT}. Open it with the "
            f"version that wrote it ({writer}), or measure again into another folder."
        )
    return Run(folder, manifest)


def find_runs(roots: Iterable[Path]) -> list[Path]:
    """The folders of runs under these folders, at most three levels down, sorted."""
    found: set[Path] = set()
    for root in roots:
        for depth in ("*", "*/*", "*/*/*"):
            found |= {path.parent for path in root.glob(f"{depth}/manifest.json") if (path.parent / "parts").is_dir()}
    return sorted(found)


def done_in(folder: Path, manifest: Mapping[str, Any]) -> dict[tuple[str, str], frozenset[Cell]]:
    """What a run with this manifest would find done in the folder. Raises BadRequest as `writing` does."""
    if not (folder / "manifest.json").exists():
        return {}
    there = open_run(folder)
    there.extended(manifest)
    return there.done()


@dataclass
class Writer:
    """The one who writes to a run, from `writing`. Rows wait in memory until `flush`."""

    folder: Path
    manifest: dict[str, Any]
    said: tuple[str, ...] = ()
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    flushed: float = field(default_factory=time.monotonic)

    def add(self, rows: Iterable[Mapping[str, Any]], picture: Mapping[str, Any] | None = None) -> None:
        """Keep rows (and a small copy of their picture) for the next `flush`: all of one picture and model at once."""
        self._rows += [dict(row) for row in rows]
        if picture is not None:
            self._pictures[picture["picture"]] = dict(picture)

    def flush(self) -> None:
        """Write what waits, as one part. What cannot be written still waits. Raises XaiError."""
        if self._pictures:
            _write_part(self.folder / "pictures", pa.Table.from_pylist(list(self._pictures.values()), PICTURES))
            self._pictures = {}
        if self._rows:
            _write_part(self.folder / "parts", pa.Table.from_pylist(self._rows, ROWS))
            self._rows = []
        self.flushed = time.monotonic()

    @property
    def stored(self) -> int:
        """How many rows are there."""
        return sum(pq.read_metadata(part).num_rows for part in _parts(self.folder / "parts"))

    @property
    def waiting(self) -> int:
        """How many rows wait to be written."""
        return len(self._rows)

    def describe(self, **more: Any) -> None:
        """Replace entries of the manifest."""
        self.manifest |= more
        write_atomically(self.folder / "manifest.json", (json.dumps(self.manifest, indent=1) + "\n").encode())


@contextlib.contextmanager
def writing(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Writer]:
    """Write to a run, new or there already, alone. What waits is flushed at the end, whatever ends it.

    A run that is there must have been asked the same, or less: see `extended`. Parts that are damaged are put aside as
    NAME.damaged, and `said` tells so. Raises BadRequest where someone else is writing or something else was asked.
    """
    folder = Path(folder)
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if "manifest.json" not in found and any(name != "lock" and not name.startswith(".manifest") for name in found):
        raise BadRequest(f"{folder} is not empty and holds no run; give a new folder, or that of a run to go on with.")
    with _locked(folder):
        new = {"format": FORMAT, **manifest}
        there = open_run(folder) if (folder / "manifest.json").exists() else None
        writer = Writer(folder, there.extended(new) if there else new)
        for leftover in (*folder.glob(".manifest.json.*"), *folder.glob("*/.*.parquet.*")):
            leftover.unlink(missing_ok=True)  # of a writer that was killed in the middle of a file
        for part in (*_parts(folder / "parts"), *_parts(folder / "pictures")):
            if not _intact(part):
                part.rename(part.with_name(f"{part.name}.damaged"))
                writer.said += (f"{part.name} was damaged and is put aside; what it held is measured again.",)
        (folder / "parts").mkdir(exist_ok=True)
        writer.describe()
        try:
            yield writer
        finally:
            writer.flush()


def _folded(method: str) -> str:
    return CONTROL if method.startswith(CONTROL) else method


def _parts(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("[0-9]*-*.parquet")))


def _intact(part: Path) -> bool:
    """Whether a part's bytes are those its name tells of."""
    return hashlib.sha256(part.read_bytes()).hexdigest().startswith(part.stem.partition("-")[2])


def _write_part(folder: Path, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=9)
    data, there = buffer.getvalue(), _parts(folder)
    number = int(there[-1].name.partition("-")[0]) + 1 if there else 1
    write_atomically(folder / f"{number:06d}-{hashlib.sha256(data).hexdigest()[:16]}.parquet", data)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    except OSError as error:
        raise BadRequest(f"Cannot write to {folder}: {error.strerror or error}.") from None
    with file:
        until = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise BadRequest(
                        f"Another evaluation is writing to {folder}: wait for it, or give another folder."
                    ) from None
                time.sleep(0.05)
        yield
