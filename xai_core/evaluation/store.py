"""The store of an evaluation run: what was measured, and the table of measurements, a row for each picture, model, method
and metric.

    RUN/manifest.json       settings, models, methods, metrics and versions
    RUN/parts/*.parquet     the measurements
    RUN/pictures/*.parquet  small copies of the pictures, where the run carries them
    RUN/lock                held by the process that writes

See `xai_core.core.part_store`: a run may be read while it is written, and resumed after an end of any kind.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xai_core.core import part_store, tables
from xai_core.core.errors import BadRequest
from xai_core.core.part_store import MANIFEST, PARTS
from xai_core.evaluation.summary import CONTROL, DIRECTED

FORMAT = 1
THUMBNAILS = "pictures"  # the table of small copies

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
CELL = ("model", "method", "metric")
HELD = ("picture", "name", *CELL, "note", "value")  # what summaries are made of
WORDS = ("title", "sentence")  # of an entry of the manifest: they may be rewritten between two parts of a run
Cell = tuple[str, str]  # method, metric


@dataclass(frozen=True)
class EvaluationRun:
    """A run on the disk: its folder and its manifest."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def parts(self) -> tuple[Path, ...]:
        """The parts of the table of measurements that are there now, in the order of writing."""
        return part_store.find_parts(self.folder / PARTS)

    @property
    def being_written(self) -> bool:
        """Whether an evaluation is writing to it now."""
        return part_store.is_being_written(self.folder)

    @property
    def damaged(self) -> tuple[str, ...]:
        """The names of parts whose bytes are not those that were written."""
        return tuple(part.name for part in part_store.damaged_parts(self.folder / PARTS))

    def cells(self) -> dict[tuple[str, str], frozenset[Cell]]:
        """The stored (method, metric) pairs of each (picture, model); the control maps count as one method, CONTROL."""
        cells: dict[tuple[str, str], frozenset[Cell]] = {}
        shared: dict[frozenset[Cell], frozenset[Cell]] = {}  # most pictures have the same pairs: one set serves them all
        for part in part_store.intact_parts(self.folder / PARTS):
            names = ["picture", "model", "method", "metric"]
            frame = tables.read_parquet(part, names, schema=ROWS).to_pandas()
            for (picture, model), rows in frame.groupby(["picture", "model"], sort=False):
                pairs = {(without_control(name), metric) for name, metric in zip(rows.method, rows.metric, strict=True)}
                all_pairs = cells.get((picture, model), frozenset()) | pairs
                cells[picture, model] = shared.setdefault(all_pairs, all_pairs)
        return cells

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows. `columns` are some of ROWS, by default all but the curves; names are categories. Damaged parts are left
        out: see `damaged`. Raises BadRequest where rows do not fit the manifest or one another."""
        wanted = list(columns or (name for name in ROWS.names if name not in CURVES))
        names = [name for name in wanted if name in _NAMES]
        rows = part_store.read_rows(self.folder / PARTS, ROWS, wanted, dictionary=names)
        frame: pd.DataFrame = rows.to_pandas()
        frame = frame.astype(dict.fromkeys(names, "category"))
        if columns is None:
            self._check(frame)
        return frame

    def rows_in_parts(self) -> Iterator[pa.Table]:
        """The rows of `table`, part by part, names dictionary-encoded; at least one table. Not checked: see `held`."""
        wanted = [name for name in ROWS.names if name not in CURVES]
        parts = part_store.intact_parts(self.folder / PARTS)
        if not parts:
            yield ROWS.empty_table().select(wanted)
        for part in parts:
            yield tables.read_parquet(part, wanted, schema=ROWS, dictionary=_NAMES)

    def held(self) -> pd.DataFrame:
        """The columns HELD of all rows, in the order of `table`: 20 bytes a row, and never all texts of all rows at once.
        The other columns are read of the rows that are shown: see `whole`. Raises BadRequest as `table` does."""
        names = [name for name in HELD if name in _NAMES]
        parts = part_store.intact_parts(self.folder / PARTS)
        most = min(sum(map(_row_count, parts)), tables.MAX_ROWS)
        known: dict[str, dict[str, int]] = {name: {} for name in names}
        # As long as they become: what grows leaves holes of the same size in the memory.
        codes: dict[str, NDArray[np.integer[Any]]] = {name: np.empty(most, np.int8) for name in names}
        values, count = np.empty(most), 0
        for part in parts:
            rows = tables.read_parquet(part, HELD, schema=ROWS, dictionary=names, rows_before=count)
            values[count : count + len(rows)] = rows["value"].to_numpy()
            for name in names:
                start = count
                for chunk in rows[name].chunks:
                    numbers = _codes(chunk, known[name])
                    if numbers.dtype.itemsize > codes[name].itemsize:
                        codes[name] = codes[name].astype(numbers.dtype)
                    codes[name][start : start + len(numbers)] = numbers
                    start += len(numbers)
            count += len(rows)
        columns: dict[str, Any] = {}
        for name in names:
            categories = pd.Index([*known[name]], dtype="str")
            columns[name] = pd.Categorical.from_codes(codes.pop(name)[:count], categories=categories)
        frame = pd.DataFrame(columns | {"value": values[:count]}, columns=list(HELD), copy=False)
        tables.release_memory()
        self._check(frame)
        return frame

    def whole(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Some rows of `held` with all columns of `table`, in their order. Raises BadRequest where files have changed."""
        columns = [name for name in ROWS.names if name not in CURVES]
        places, found, start = rows.index.to_numpy(np.int64), [], 0
        for part in part_store.intact_parts(self.folder / PARTS):
            count = pq.read_metadata(part).num_rows
            inside = np.flatnonzero((start <= places) & (places < start + count))
            if len(inside):
                read = tables.read_places(part, places[inside] - start, columns).cast(pa.schema([*map(ROWS.field, columns)]))
                found.append(read.to_pandas().set_axis(places[inside]))
            start += count
        frame = pd.concat(found).loc[places] if found else self.table(columns).head(0)
        keys = ["picture", *CELL]
        if len(frame) != len(rows) or not (frame[keys].astype(str).to_numpy() == rows[keys].astype(str).to_numpy()).all():
            raise BadRequest(f"The run {self.folder.name} has changed while it is shown: open it again.")
        return frame

    def _check(self, rows: pd.DataFrame) -> None:
        """Raises BadRequest where a row is incomplete, names what the manifest does not have, or is there twice."""
        if rows[["picture", "name", *CELL]].isna().any(axis=None):
            raise BadRequest(f"The run {self.folder.name} has measurements without a picture, model, method or metric.")
        for kind, table in (("model", "models"), ("method", "methods"), ("metric", "metrics")):
            unknown = sorted(set(map(str, rows[kind].unique())) - {*self.manifest[table]})
            unknown = [name for name in unknown if kind != "method" or not name.startswith(CONTROL)]
            if unknown:
                raise BadRequest(
                    f"The run {self.folder.name} has measurements of the {kind} {unknown[0][:80]!r}, which its {MANIFEST} "
                    "does not describe."
                )
        if _is_any_twice(rows):
            raise BadRequest(
                f"The run {self.folder.name} holds measurements twice: remove the part that was copied into it."
            )

    def curves(self, model: str, metric: str, picture: str | None = None) -> pd.DataFrame:
        """Rows of one model and metric (and picture) that have a curve, with `curve_x` and `curve_y` as arrays."""
        columns = ("picture", "name", "method", "value", *CURVES)
        some = [*self.curves_in_parts(model, metric, picture, columns)]
        rows = pa.concat_tables(some) if some else ROWS.empty_table().select(columns)
        frame: pd.DataFrame = rows.to_pandas()
        return frame

    def curves_in_parts(
        self, model: str, metric: str, picture: str | None = None, columns: Sequence[str] = ("method", *CURVES)
    ) -> Iterator[pa.Table]:
        """Columns of the rows of `curves`, part by part, so that no more than one part is in memory."""
        filters = [("model", "=", model), ("metric", "=", metric)]
        filters += [("picture", "=", picture)] if picture else []
        for part in part_store.intact_parts(self.folder / PARTS):
            rows = tables.read_parquet(part, columns, schema=ROWS, filters=filters)
            xs, ys = (pc.fill_null(pc.list_value_length(rows[name]), 0) for name in CURVES)
            if not xs.equals(ys):
                raise BadRequest(f"The run {self.folder.name} has curves whose points lack a coordinate.")
            yield rows.filter(pc.greater(xs, 0))

    def thumbnail(self, picture: str) -> bytes | None:
        """The small copy of a picture that the run carries, as an image file's bytes; None where it carries none."""
        for part in part_store.intact_parts(self.folder / THUMBNAILS):
            rows = tables.read_parquet(part, ["thumbnail"], schema=PICTURES, filters=[("picture", "=", picture)])
            copies = rows["thumbnail"].drop_null()
            if len(copies):
                return bytes(copies[0].as_py())
        return None


def _row_count(part: Path) -> int:
    """How many rows a part says it has; 0 where it is no table, which is said when it is read."""
    try:
        return int(pq.read_metadata(part).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _is_any_twice(rows: pd.DataFrame) -> bool:
    """Whether two rows are of the same picture, model, method and metric, which are categories."""
    keys, most = np.zeros(len(rows), np.int64), 1
    for name in ("picture", *CELL):
        count = len(rows[name].cat.categories)
        most *= max(count, 1)
        if most >= 2**62:  # as many as no run has
            return bool(rows.duplicated(["picture", *CELL]).any())
        keys *= count
        keys += rows[name].cat.codes.to_numpy()
    keys.sort()
    return bool((keys[1:] == keys[:-1]).any())


def _codes(column: pa.DictionaryArray, known: dict[str, int]) -> NDArray[np.integer[Any]]:
    """The numbers of texts in `known`, which grows by those that are new, as narrow as can be; -1 where there is none."""
    found = [known.setdefault(text, len(known)) for text in column.dictionary.to_pylist()]
    numbers = np.array([*found, -1], np.min_scalar_type(-max(len(known), 1)))
    codes: NDArray[np.integer[Any]] = numbers[column.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)]
    return codes


def open_run(folder: str | Path) -> EvaluationRun:
    """Open a run for reading. Raises BadRequest where the folder holds none, or one of another format."""
    folder = Path(folder)
    try:
        manifest = part_store.read_manifest(folder)
    except FileNotFoundError:
        raise BadRequest(f"{folder} holds no run: there is no {MANIFEST} in it.") from None
    except (OSError, ValueError) as error:
        raise BadRequest(f"The manifest of {folder} cannot be read: {error}.") from None
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if version != FORMAT:
        software = manifest.get("software") if isinstance(manifest, dict) else None
        writer = software.get("xai_core") if isinstance(software, dict) else None
        writer = writer if isinstance(writer, str) else "of this project"
        raise BadRequest(
            f"{folder} is a run of format {repr(version)[:80]}; this version reads and writes format {FORMAT}. Open it with "
            f"the version that wrote it ({writer[:80]}), or measure again into another folder."
        )
    problem = _misshaped(manifest, _SHAPE)
    if problem:
        raise BadRequest(f"The manifest of {folder} is damaged: {problem}. Measure again into another folder.")
    return EvaluationRun(folder, manifest)


# What a manifest must hold: a type, or one of some texts; in [...] what each entry of a table must hold; in {...} the
# entries with fixed names. Names that end in "?" may be left out.
_SHAPE: dict[str, Any] = {
    "asked": {"data": str, "target": str, "seed": int},
    "created": str,
    "models": [{"title": str, "group": str}],
    "methods": [{"title": str}],
    "metrics": [{"title": str, "sentence": str, "direction": (*DIRECTED, "")}],
    "software": {"xai_core": str, "torch": str},
    "rows?": int,
    "left_out?": [str],
    "misfits?": [[str]],
}


def _misshaped(value: Any, shape: Any, name: str = "it") -> str:
    """What is wrong with a value of the manifest, as the end of a sentence; "" where nothing is."""
    if isinstance(shape, type):
        return "" if type(value) is shape else f"{name} must be {'a text' if shape is str else 'a whole number'}"
    if isinstance(shape, tuple):
        return "" if value in shape else f"{name} must be one of {', '.join(map(repr, shape))}"
    if not isinstance(value, dict):
        return f"{name} must be a table"
    entries = dict.fromkeys(value, shape[0]) if isinstance(shape, list) else shape
    for key, inner in entries.items():
        entry = key.removesuffix("?")
        if isinstance(shape, dict) and entry not in value:
            if key == entry:
                return f"{name} lacks the entry '{key}'"
            continue
        problem = _misshaped(value[entry if isinstance(shape, dict) else key], inner, f"'{entry[:80]}'")
        if problem:
            return problem
    return ""


def find_runs(roots: Iterable[Path]) -> list[Path]:
    """The folders of runs under these folders, at most three levels down, sorted; none of the pairs benchmark."""
    return [folder for folder in part_store.find_folders(roots) if not part_store.holds_plans(folder)]


def stored_cells(folder: Path, manifest: Mapping[str, Any]) -> dict[tuple[str, str], frozenset[Cell]]:
    """What a run with this manifest would find measured in the folder: see `EvaluationRun.cells`. Raises BadRequest as
    `open_for_writing` does."""
    if not (folder / MANIFEST).exists():
        return {}
    run = open_run(folder)
    _resumed_manifest(run, manifest)
    return run.cells()


@dataclass
class RunWriter:
    """The one writer of a run, made by `open_for_writing`. Rows wait in memory until `flush`."""

    folder: Path
    manifest: dict[str, Any]
    messages: tuple[str, ...] = ()  # what the user has to be told about the run
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    flushed: float = field(default_factory=time.monotonic)

    def add(self, rows: Iterable[Mapping[str, Any]], picture: Mapping[str, Any] | None = None) -> None:
        """Keep rows (and a small copy of their picture) for the next `flush`: all of one picture and model at once."""
        self._rows += [dict(row) for row in rows]
        if picture is not None:
            self._pictures[picture["picture"]] = dict(picture)

    def write(self, table: str, rows: pa.Table) -> None:
        """Write rows that come from the parts of another run as a part of a table, PARTS or THUMBNAILS. Raises XaiError."""
        _write(self.folder / table, rows)

    def flush(self) -> None:
        """Write the waiting rows as one part. Rows that cannot be written go on waiting. Raises XaiError."""
        if self._pictures:
            _write(self.folder / THUMBNAILS, pa.Table.from_pylist(list(self._pictures.values()), PICTURES))
            self._pictures = {}
        if self._rows:
            _write(self.folder / PARTS, pa.Table.from_pylist(self._rows, ROWS))
            self._rows = []
        self.flushed = time.monotonic()

    @property
    def stored(self) -> int:
        """The number of rows on the disk."""
        return sum(pq.read_metadata(part).num_rows for part in part_store.find_parts(self.folder / PARTS))

    @property
    def waiting(self) -> int:
        """The number of rows that wait to be written."""
        return len(self._rows)

    def describe(self, **entries: Any) -> None:
        """Replace entries of the manifest."""
        self.manifest |= entries
        part_store.write_manifest(self.folder, self.manifest)


@contextlib.contextmanager
def open_for_writing(folder: Path, manifest: Mapping[str, Any]) -> Iterator[RunWriter]:
    """Write to a run, new or resumed, as its only writer. Waiting rows are flushed at the end, also after an exception.

    A run that is resumed must have the same settings: see `merged`. Damaged parts are renamed to NAME.damaged, and the
    writer's `messages` name them. Raises BadRequest where another process is writing or the settings differ.
    """
    folder = Path(folder)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if MANIFEST not in names and any(name != part_store.LOCK and not name.startswith(f".{MANIFEST}") for name in names):
        raise BadRequest(f"{folder} is not empty and holds no run; give a new folder, or the folder of a run to resume.")
    with part_store.locked(folder, f"Another evaluation is writing to {folder}: wait for it, or give another folder."):
        new = {"format": FORMAT, **manifest}
        writer = RunWriter(folder, _resumed_manifest(open_run(folder), new) if (folder / MANIFEST).exists() else new)
        writer.messages = tuple(
            f"{name} was damaged and is put aside; its measurements are computed again."
            for name in part_store.repair(folder)
        )
        writer.describe()  # first: a process that is killed before this leaves a folder that still counts as empty
        (folder / PARTS).mkdir(exist_ok=True)
        try:
            yield writer
        finally:
            writer.flush()


def merged(old: Mapping[str, Any], new: Mapping[str, Any], measured: Callable[[], Collection[str]]) -> dict[str, Any]:
    """The manifest of a run merged with `new`, for resuming.

    The tables `models`, `methods` and `metrics` may grow; what both manifests say of an entry must be equal but for WORDS,
    as must `asked`, except that pictures which are not `measured` yet (their names) may get boxes. Raises BadRequest that
    names what differs.
    """
    before, now = old["asked"], new["asked"]
    names = [name for name in dict.fromkeys([*now, "shard"]) if before.get(name) != now.get(name)]
    if "boxes" in names and isinstance(before.get("boxes"), dict) and {**now["boxes"], **before["boxes"]} == now["boxes"]:
        more = now["boxes"].keys() - before["boxes"].keys()
        names = [name for name in names if name != "boxes" or more & {*measured()}]
    if names:
        what = ", ".join(f"{name} {_setting(before.get(name))}, not {_setting(now.get(name))}" for name in names)
        raise BadRequest(f"This run has other settings ({what}); give another folder, or the same settings.")
    manifest = dict(old) | {name: value for name, value in new.items() if name not in ("models", "methods", "metrics")}
    manifest["created"] = old.get("created")
    for kind in ("models", "methods", "metrics"):
        for name in old[kind].keys() & new[kind].keys():
            differences = _differences(old[kind][name], new[kind][name])
            if differences:
                raise BadRequest(f"This run was measured with another {name} ({differences}); give another folder.")
        manifest[kind] = {**old[kind], **new[kind]}
    older, newer = old.get("misfits", {}), new.get("misfits", {})
    manifest["misfits"] = {name: {**older.get(name, {}), **newer.get(name, {})} for name in {**older, **newer}}
    return manifest


def _resumed_manifest(run: EvaluationRun, new: Mapping[str, Any]) -> dict[str, Any]:
    return merged(run.manifest, new, lambda: {*run.table(["name"]).name})


def _setting(value: Any) -> str:
    return f"of {len(value)} pictures" if isinstance(value, dict) else repr(value)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = [name for name in old if name in new and name not in WORDS and old[name] != new[name]]
    return ", ".join(f"{name} {old[name]!r} there, {new[name]!r} now" for name in names)


def without_control(method: str) -> str:
    """A method's id; the control maps count as one method, CONTROL."""
    return CONTROL if method.startswith(CONTROL) else method


def _write(table: Path, rows: pa.Table) -> None:
    part_store.write_part(table, rows, compression_level=9)
