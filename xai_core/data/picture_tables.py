"""Datasets of the Hugging Face Hub on the disk: tables whose rows hold pictures, as Parquet (as downloaded) or Arrow files
(`save_to_disk`).

A row's picture is a struct of `bytes` and `path`; what the columns mean stands in the metadata of the schema, and the names
of classes with it. Labels and names are read when the table is opened, pictures one by one: an Arrow file is mapped into
memory, of a Parquet file the row group around the wanted row is read. Paths in such tables are names, never opened.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xai_core.core import tables
from xai_core.core.errors import BadPicture, BadRequest, XaiError
from xai_core.core.files import open_regular, parse_json, read_regular
from xai_core.data import metadata
from xai_core.data.image_io import MAX_BYTES
from xai_core.data.sample_list import SampleList

SHARD = re.compile(r"(?P<part>[\w.-]+?)-\d{5}-of-(?P<all>\d{5})(-[0-9a-f]+)?\.parquet", re.ASCII)
PARTS, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"  # what save_to_disk writes beside its files
USUAL_PICTURE, USUAL_LABEL = ("image", "img", "picture"), ("label", "labels")
MOST_ROWS = 5_000_000
MOST_JSON = 64 * 2**20
MOST_GROUP = 2**30  # bytes of the pictures of a row group, unpacked
LONGEST_NAME = 255
BATCH = 32  # rows that are unpacked at once
CHUNK = 8_192  # values that are objects at once
TEXT = pa.large_string()


@dataclass(frozen=True)
class PictureTable:
    """samples   the pictures, named class/file where the table names files, else class/number of the row; unique
    read      a picture's bytes by its place in the table; raises BadPicture
    known     the other columns of single values, texts or numbers, a row for each picture in their order
    """

    samples: SampleList
    read: Callable[[int], bytes]
    known: pd.DataFrame


@dataclass(frozen=True)
class _Columns:
    """What the columns are: that of the pictures, that of the labels, and the names of the classes of each such column."""

    picture: str
    label: str
    classes: Mapping[str, Sequence[str]]
    others: tuple[str, ...]


def parts_of(folder: Path) -> dict[str, list[Path]]:
    """The parts of such a dataset in this folder, by name, each with its files in order; empty where it is none.

    Known by the names of files: `train-00000-of-00002.parquet` here, in `data/` or in the only folder with such files, or
    what `dataset_dict.json` and `state.json` list. Raises BadRequest where these cannot be read.
    """
    if (folder / PARTS).is_file():
        names = _json(folder / PARTS).get("splits", [])
        return {name: _arrow_files(folder / name) for name in names if _is_name(name) and (folder / name).is_dir()}
    if (folder / STATE).is_file() and (folder / INFO).is_file():
        return {"": _arrow_files(folder)}
    inner = [path for path in sorted(_listed(folder)) if path.is_dir() and not path.name.startswith(".")]
    places = [_shards(place) for place in (folder, folder / "data")]
    found = [one for one in places if one] or [one for one in map(_shards, inner) if one]
    return found[0] if len(found) == 1 or any(places) else {}


def is_picture_table(file: Path) -> bool:
    """Whether this Parquet file holds pictures in its rows; False where it cannot be read."""
    try:
        with open_regular(file) as opened:
            schema = pq.read_schema(opened)
    except Exception:  # pyarrow raises whatever it stumbles over
        return False
    return any(_holds_bytes(field.type) for field in schema)


def open_table(title: str, files: Sequence[Path]) -> PictureTable:
    """The pictures of one or several files of one kind and schema. Raises BadRequest."""
    try:
        return _open(title, files)
    except (XaiError, MemoryError):
        raise
    except Exception as error:  # pyarrow raises whatever it stumbles over in a damaged file
        raise BadRequest(f"{title} cannot be read as a table of pictures ({str(error)[:100]}).") from None


def _open(title: str, files: Sequence[Path]) -> PictureTable:
    if not files:
        raise BadRequest(f"{title} names no files with pictures; download or save it again.")
    named = SHARD.fullmatch(files[0].name)
    if named and len(files) != int(named["all"]):
        raise BadRequest(f"{title} is not whole: {len(files)} of its {int(named['all'])} files are here.")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise BadRequest(
            f"{title} is not whole: {len(missing)} of its {len(files)} files are missing, such as {missing[0]}."
        )
    shards = [_Parquet(file) if file.suffix == ".parquet" else _Arrow(file) for file in files]
    if any(not shard.schema.equals(shards[0].schema) for shard in shards):
        raise BadRequest(f"The files of {title} have different columns: they are not parts of one dataset.")
    columns = _columns(title, shards[0].schema, files[0].parent / INFO)
    starts = [0, *accumulate(shard.rows for shard in shards)]
    if starts[-1] > MOST_ROWS:
        raise BadRequest(f"{title} has {starts[-1]:,} pictures; at most {MOST_ROWS:,} are taken.")
    wanted = [*([columns.label] if columns.label else []), *columns.others]
    rows = pa.concat_tables([shard.select(wanted) for shard in shards]) if wanted else pa.table({})
    known = {name: _cells(title, name, rows[name], columns.classes.get(name)) for name in columns.others}
    if columns.label:
        labels = _texts(title, columns.label, rows[columns.label], columns.classes.get(columns.label))
    else:
        labels = pa.chunked_array([pa.repeat(pa.scalar("", TEXT), starts[-1])])
    samples = _samples(labels, (paths for shard in shards for paths in shard.paths(columns.picture)))
    del rows, labels

    def read(place: int) -> bytes:
        shard = next(number for number, start in enumerate(starts[1:]) if place < start)
        try:
            data = shards[shard].read(columns.picture, place - starts[shard])
        except BadPicture:
            raise
        except Exception as error:
            raise BadPicture(f"It cannot be read from {files[shard].name} ({str(error)[:100]}).") from None
        if data is None:
            raise BadPicture(f"Row {place:,} of {title} has no bytes: save the dataset with its pictures inside.")
        return data

    return PictureTable(samples, read, pd.DataFrame(known, index=range(len(samples))))


class _Arrow:
    """A stream of record batches, mapped into memory: nothing is read before it is asked for."""

    def __init__(self, file: Path) -> None:
        with open_regular(file) as opened:
            size = opened.seek(0, 2)
        self._batches = []
        with pa.ipc.open_stream(pa.memory_map(str(file))) as reader:
            self.schema: Any = reader.schema
            for batch in reader:
                size -= batch.nbytes
                if size < 0:  # packed buffers would fill the memory
                    raise BadRequest(f"{file.name} is compressed: save the dataset again with `save_to_disk`.")
                batch.validate(full=True)
                self._batches.append(batch)
        self._starts = [0, *accumulate(len(batch) for batch in self._batches)]
        self.rows = self._starts[-1]

    def select(self, columns: Sequence[str]) -> Any:
        return pa.Table.from_batches(self._batches, self.schema).select(list(columns)).replace_schema_metadata(None)

    def paths(self, column: str) -> Iterator[Any]:
        for batch in self._batches:
            for start in range(0, len(batch), CHUNK):
                yield batch[column].field("path").slice(start, CHUNK)

    def read(self, column: str, row: int) -> bytes | None:
        number = next(number for number, start in enumerate(self._starts[1:]) if row < start)
        return _bytes(self._batches[number][column][row - self._starts[number]])


class _Parquet:
    """A Parquet file; of its pictures the row group that was read last is kept."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with open_regular(file) as opened:
            self._metadata = pq.read_metadata(opened)
        self.schema: Any = self._metadata.schema.to_arrow_schema()
        self.rows = self._metadata.num_rows
        groups = [self._metadata.row_group(number).num_rows for number in range(self._metadata.num_row_groups)]
        self._starts = [0, *accumulate(groups)]
        self._held: tuple[int, list[Any]] = (-1, [])
        self._lock = threading.Lock()  # a row group is read once, not by each thread that wants it

    def select(self, columns: Sequence[str]) -> Any:
        return tables.read_parquet(self._file, list(columns))

    def paths(self, column: str) -> Iterator[Any]:
        with open_regular(self._file) as opened:
            table = pq.ParquetFile(opened, metadata=self._metadata)
            for batch in table.iter_batches(CHUNK, columns=[f"{column}.path"]):
                batch.validate(full=True)  # texts are texts
                yield batch[column].field("path")

    def read(self, column: str, row: int) -> bytes | None:
        group = next(number for number, start in enumerate(self._starts[1:]) if row < start)
        with self._lock:
            if self._held[0] != group:
                self._held = (-1, [])  # before the next one is read, so that there are never two
                self._held = (group, self._group(column, group))
            batches = self._held[1]
        row -= self._starts[group]
        for batch in batches:
            if row < len(batch):
                return _bytes(batch[column][row])
            row -= len(batch)
        raise BadPicture(f"{self._file.name} has fewer rows than it says.")

    def _group(self, column: str, group: int) -> list[Any]:
        batches, size = [], 0
        with open_regular(self._file) as opened:
            table = pq.ParquetFile(opened, metadata=self._metadata)
            for batch in table.iter_batches(BATCH, row_groups=[group], columns=[f"{column}.bytes"]):
                size += batch.nbytes
                if size > MOST_GROUP:
                    raise BadPicture(f"Row group {group} of {self._file.name} unpacks to more than {MOST_GROUP >> 30} GB.")
                batches.append(batch)
        return batches


def _columns(title: str, schema: Any, info: Path) -> _Columns:
    """What the columns are, as the schema's metadata or the file beside the table says; by their types where none does."""
    features = _features(schema, info)
    pictures = [field.name for field in schema if _holds_bytes(field.type)]
    if not pictures:
        raise BadRequest(
            f"{title} has no column with pictures (a struct of bytes and path): {', '.join(schema.names)[:200]}."
        )
    picture = next((name for name in USUAL_PICTURE if name in pictures), pictures[0])
    if len(pictures) > 1 and picture not in USUAL_PICTURE:
        raise BadRequest(f"{title} has several columns of pictures, none called image: {', '.join(pictures)[:200]}.")
    classes = {
        name: list(map(str, feature["names"]))
        for name, feature in features.items()
        if name in schema.names and isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }
    single = [field.name for field in schema if _is_single(field.type)]
    classes = {name: names for name, names in classes.items() if name in single}
    usual = [name for name in USUAL_LABEL if name in single]
    label = usual[0] if usual else max(classes, key=lambda name: len(classes[name]), default="")  # the finest classes
    others = tuple(name for name in single if name not in (label, *metadata.KEYS, metadata.LABEL))
    return _Columns(picture, label, classes, others[: metadata.MOST_COLUMNS])


def _features(schema: Any, info: Path) -> dict[str, Any]:
    """The features as `datasets` describes them; empty where nothing does."""
    try:
        said = parse_json((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
    except (ValueError, AttributeError):
        said = {}
    if not (isinstance(said, dict) and said.get("features")) and info.is_file():
        said = _json(info)
    features = said.get("features") if isinstance(said, dict) else None
    return features if isinstance(features, dict) else {}


def _cells(title: str, name: str, column: Any, classes: Sequence[str] | None) -> "pd.Series[Any]":
    """The values as numbers where they are some, else as texts, "" where there is none. Raises BadRequest."""
    are_numbers = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    cells: pd.Series[Any] = (column if are_numbers and classes is None else _texts(title, name, column, classes)).to_pandas()
    return cells


def _texts(title: str, name: str, column: Any, classes: Sequence[str] | None) -> Any:
    """The values as a column of texts, "" where there is none; numbers of classes become their names. Raises BadRequest."""
    if classes is None and pa.types.is_string(column.type):
        return pc.fill_null(column.cast(TEXT), "")
    if classes is not None and pa.types.is_integer(column.type) and column.type != pa.uint64():
        numbers = column.cast(pa.int64()).fill_null(-1).to_numpy()
        wrong = numbers[(numbers < -1) | (numbers >= len(classes))]
        if len(wrong):
            raise _wrong_class(title, name, int(wrong[0]), classes)
        names = pa.array([*classes, ""], TEXT)
        return pa.chunked_array([names.take(pa.array(np.where(numbers < 0, len(classes), numbers)))], TEXT)
    return pa.chunked_array((pa.array(texts, TEXT) for texts in _in_chunks(title, name, column, classes)), TEXT)


def _wrong_class(title: str, name: str, number: int, classes: Sequence[str]) -> BadRequest:
    return BadRequest(f"{title} has class {number} in the column {name}, but names only {len(classes):,} classes.")


def _in_chunks(title: str, name: str, column: Any, classes: Sequence[str] | None) -> Iterator[list[str]]:
    for start in range(0, len(column), CHUNK):
        values = column.slice(start, CHUNK).to_pylist()
        if classes is None:
            yield ["" if value is None or value != value else str(value) for value in values]
            continue
        wrong = next((value for value in values if isinstance(value, int) and not -1 <= value < len(classes)), None)
        if wrong is not None:
            raise _wrong_class(title, name, wrong, classes)
        yield [classes[value] if isinstance(value, int) and value >= 0 else "" for value in values]


def _samples(labels: Any, paths: Iterator[Any]) -> SampleList:
    """The pictures: class/file where every row names a file and no two are the same, else class/number. `paths` are arrays
    of the rows' paths, one after the other."""
    known = labels.unique()
    folders = pa.array([re.sub(r"[/\\\0]", "_", label) + "/" if label else "" for label in known.to_pylist()], TEXT)

    def listed(names: Iterator[Any]) -> SampleList:
        parts, start = [], 0
        for some in names:
            own = folders.take(pc.index_in(labels.slice(start, len(some)).combine_chunks(), value_set=known))
            parts.append(pc.binary_join_element_wise(own, some, pa.scalar("", TEXT)))
            start += len(some)
        return SampleList.of_columns(pa.chunked_array(parts, TEXT), labels)

    try:
        by_file = listed(map(_files, paths))
        if not by_file.twice():
            return by_file
    except _NoFile:
        pass
    starts = range(0, len(labels), CHUNK)
    return listed(
        pa.array([f"{row:06d}" for row in range(start, min(start + CHUNK, len(labels)))], TEXT) for start in starts
    )


class _NoFile(Exception):
    """A row that names no file."""


def _files(paths: Any) -> Any:
    """The names of files in an array of paths, as an array. Raises _NoFile."""
    is_plain = not paths.null_count and pc.max(pc.utf8_length(paths)).as_py() <= LONGEST_NAME
    if is_plain and not pc.any(pc.match_substring_regex(paths, r"[/\\]|^\.{0,2}$")).as_py():
        return paths.cast(TEXT)
    return pa.array([_file(path) for path in _short(paths.to_pylist())], TEXT)


def _file(path: str | None) -> str:
    name = (path or "").replace("\\", "/")
    if "/" in name or name == ".":
        name = PurePosixPath(name).name
    if name in ("", ".."):
        raise _NoFile
    return name


def _short(paths: Sequence[str | None]) -> list[str | None]:
    return [path if path and len(path) <= LONGEST_NAME else None for path in paths]


def _bytes(value: Any) -> bytes | None:
    """The bytes of one row, no more than the largest picture that is opened and one."""
    data = value["bytes"] if value.is_valid else None
    buffer = data.as_buffer() if data is not None and data.is_valid else None
    return None if buffer is None else bytes(buffer[: MAX_BYTES + 1])


def _holds_bytes(kind: Any) -> bool:
    if not pa.types.is_struct(kind):
        return False
    fields = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
    if not {"bytes", "path"} <= {*fields}:
        return False
    binary = pa.types.is_binary(fields["bytes"]) or pa.types.is_large_binary(fields["bytes"])
    return bool(binary and (pa.types.is_string(fields["path"]) or pa.types.is_large_string(fields["path"])))


def _is_single(kind: Any) -> bool:
    of_kind = (pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_boolean)
    return any(is_kind(kind) for is_kind in of_kind)


def _arrow_files(folder: Path) -> list[Path]:
    """The files of a saved dataset, as its state lists them. Raises BadRequest."""
    state = _json(folder / STATE)
    listed = state.get("_data_files")
    if state.get("_indices_files") or not isinstance(listed, list):
        raise BadRequest(f"{folder.name} was saved by an old version of `datasets`: load it and save it again.")
    names = [one.get("filename") if isinstance(one, dict) else None for one in listed]
    if not all(_is_name(name) for name in names):
        raise BadRequest(f"{STATE} of {folder.name} lists files outside its folder: refused.")
    return [folder / str(name) for name in names]


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and name not in (".", "..") and not re.search(r"[/\\\0]", name)


def _shards(folder: Path) -> dict[str, list[Path]]:
    parts: dict[str, list[Path]] = {}
    for path in sorted(_listed(folder)):
        if path.suffix == ".parquet" and (named := SHARD.fullmatch(path.name)):
            parts.setdefault(named["part"], []).append(path)
    return parts


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _json(file: Path) -> dict[str, Any]:
    try:
        value = parse_json(read_regular(file, MOST_JSON))
    except (OSError, ValueError):
        raise BadRequest(f"{file.name} of {file.parent.name} cannot be read: download or save the dataset again.") from None
    if not isinstance(value, dict):
        raise BadRequest(f"{file.name} of {file.parent.name} is not what `datasets` writes.")
    return value
