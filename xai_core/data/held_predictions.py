"""A file of predictions as pages read it, whatever its size: what every question needs is held in memory, the rest is read.

Held are, of every picture with a true class, its place in the file, both classes as numbers, confidence and margin (16 bytes
a picture), and the names of all pictures: 70 MB for the 1.3 million of ImageNet, shared by all visitors. Filters, counts and
orders are made of these. The five most probable classes, embeddings and so on are read of the rows that are shown.

Neither DuckDB nor pyarrow.dataset: they read the file again for each question. Of 1,281,167 predictions in 1,000 classes,
counting all pairs took 20 ms of processor time here, 280 ms by DuckDB 2.0.1 and 810 ms by pyarrow.dataset; a cell's first 24
pictures less than 10, 260 and 100. What is held costs 1.6 s once (`python -m benchmarks.large_run`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xai_core.core import tables

Places = NDArray[np.int32]
ReadRows = Callable[[Places, "Sequence[str] | None"], pd.DataFrame]
Made = TypeVar("Made")
HELD = ("true", "true_index", "predicted", "confidence", "margin")
CHUNK = 8_192  # names that are made at once
COMPARED = 65_536  # names that are compared at once


class Names(Sequence[str]):
    """The names of some pictures, in order. A million takes the memory of its numbers; a name is made when it is asked."""

    def __init__(self, every: pa.Array, places: Places) -> None:
        self._every, self._places = every, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Names": ...
    def __getitem__(self, index: int | slice) -> "str | Names":
        if isinstance(index, slice):
            return Names(self._every, self._places[index])
        return str(self._every[int(self._places[index])].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), CHUNK):
            yield from self._every.take(pa.array(self._places[start : start + CHUNK])).to_pylist()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool((self._places == pc.index(self._every, name).as_py()).any())

    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        found = np.flatnonzero(self._places[start:stop] == pc.index(self._every, value).as_py())
        if not len(found):
            raise ValueError(f"{value} is not in the list")
        return start + int(found[0])

    @property
    def places(self) -> Places:
        """Where these pictures are in the file."""
        return self._places


class HeldPredictions:
    """The predictions of a dataset's pictures that have a true class.

    rows    a line for each: `place` in the file, `true` and `predicted` (categories, in alphabetical order), `confidence`
            and `margin`. All sessions share it: do not write to it.
    file    where they are; None for those that are in memory
    """

    def __init__(
        self, rows: pd.DataFrame, names: pa.Array, read: ReadRows, metadata: pd.DataFrame, file: Path | None = None
    ) -> None:
        self.rows, self.file = rows, file
        self._read, self._metadata = read, metadata
        known = pa.array(metadata.index.array).cast(names.type)
        is_same = known.equals(names)
        self._names = known if is_same else names  # the dataset's own where it can be: one copy for both
        self._in_metadata = None if is_same or not len(metadata.columns) else _places_in(known, names)
        self._made: dict[str, Any] = {}

    def names(self, rows: pd.DataFrame) -> Names:
        """The names of the pictures of some rows, in their order."""
        return Names(self._names, rows["place"].to_numpy())

    def places(self, names: Iterable[str]) -> dict[str, int]:
        """Where these pictures are in the file; those that have no true class, or are not in it, are left out."""
        wanted = pa.array(list(names), pa.string()).cast(self._names.type)
        found = np.flatnonzero(pc.is_in(self._names, value_set=wanted).to_numpy(zero_copy_only=False))
        found = found[np.isin(found, self.rows["place"].to_numpy())] if len(found) else found
        return {self._names[int(place)].as_py(): int(place) for place in found}

    def of_names(self, names: Sequence[str]) -> pd.DataFrame:
        """The rows of these pictures, in their order; those that are not there are left out."""
        if isinstance(names, Names) and names._every is self._names:
            places = names.places
        else:
            known = self.places(names)
            places = np.array([known[name] for name in names if name in known], np.int32)
        at = np.searchsorted(self.rows["place"].to_numpy(), places)  # rows are in the order of their places
        found: pd.DataFrame = self.rows.iloc[at]
        return found

    def named(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with the column `path`, the names of the pictures."""
        names = self._names.take(pa.array(rows["place"].to_numpy()))
        return rows.assign(path=pd.Series(names.to_pandas().to_numpy(), rows.index, dtype="str"))

    def whole(self, rows: pd.DataFrame, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All columns of some rows as they are in the file, or some columns, in the order of the rows."""
        return self._read(rows["place"].to_numpy(), columns).set_axis(rows.index)

    def made(self, name: str, make: Callable[[], Made]) -> Made:
        """What is made of all predictions, once for all sessions; `name` tells it from everything else that is."""
        if name not in self._made:
            self._made[name] = make()
        made: Made = self._made[name]
        return made

    def attribute(self, rows: pd.DataFrame, column: str) -> "pd.Series[Any]":
        """What the dataset says of the pictures of some rows, aligned with them; numbers or texts."""
        values = self._metadata[column]
        places = rows["place"].to_numpy()
        if self._in_metadata is not None and len(self._in_metadata):
            places = self._in_metadata[places]
        return values.iloc[places].set_axis(rows.index)


def hold_file(file: Path, metadata: pd.DataFrame) -> HeldPredictions:
    """The predictions in a file that `classify` has written, for a dataset with this metadata. Raises BadRequest."""
    table = tables.read_parquet(file, HELD, dictionary=("true", "predicted"))
    rows = _narrow(table, table["true_index"].to_numpy() >= 0)
    del table  # names are read alone: they take most of the memory, and several times as much while they are unpacked
    names = _names(tables.read_parquet(file, ["path"])["path"], metadata)
    tables.release_memory()

    def read(places: Places, columns: Sequence[str] | None) -> pd.DataFrame:
        found: pd.DataFrame = tables.read_places(file, places, columns).to_pandas()
        return found

    return HeldPredictions(rows, names, read, metadata, file)


def _names(paths: pa.ChunkedArray, metadata: pd.DataFrame) -> pa.Array:
    """The names as one array: the dataset's own where they are the same, which is found without a copy of all of them."""
    known, kind = pa.array(metadata.index.array), pa.large_string()
    is_same = known.type == kind and len(known) == len(paths)
    starts = range(0, len(paths), COMPARED)
    if is_same and all(
        paths.slice(start, COMPARED).cast(kind).combine_chunks().equals(known.slice(start, COMPARED)) for start in starts
    ):
        return known
    return paths.cast(kind).combine_chunks()


def hold_frame(frame: pd.DataFrame, metadata: pd.DataFrame) -> HeldPredictions:
    """Predictions that are in memory, each with a true class, as `hold_file` would hold them."""
    table = pa.table({name: pa.array(frame[name]) for name in HELD if name in frame})
    texts = [name for name in ("true", "predicted") if not pa.types.is_dictionary(table.schema.field(name).type)]
    for name in texts:
        table = table.set_column(table.schema.get_field_index(name), name, table[name].dictionary_encode())
    names = pa.array(frame["path"].astype(str).to_numpy(object), pa.large_string())

    def read(places: Places, columns: Sequence[str] | None) -> pd.DataFrame:
        return frame.iloc[places] if columns is None else frame.iloc[places][list(columns)]

    return HeldPredictions(_narrow(table, np.ones(len(frame), bool)), names, read, metadata)


def _narrow(table: pa.Table, judged: NDArray[np.bool_]) -> pd.DataFrame:
    """The rows that have a true class, with classes as categories over one list of names."""
    texts = {name: table[name].unify_dictionaries().combine_chunks() for name in ("true", "predicted")}
    known = {name: _dictionary(column) for name, column in texts.items()}
    classes = sorted({*known["true"], *known["predicted"]})
    kind = pd.CategoricalDtype(pd.Index(classes, dtype="str"))
    place_of = {name: place for place, name in enumerate(classes)}
    places = np.flatnonzero(judged).astype(np.int32)
    columns: dict[str, Any] = {"place": places}
    for name, column in texts.items():
        codes = np.array([place_of[one] for one in known[name]], np.int32)
        indices = _indices(column)[places]
        columns[name] = pd.Categorical.from_codes(codes[indices] if len(codes) else indices, dtype=kind)
    for name in ("confidence", "margin"):
        if name in table.column_names:
            columns[name] = table[name].to_numpy()[places]
    return pd.DataFrame(columns)


def _dictionary(column: pa.Array | pa.ChunkedArray) -> list[str]:
    chunk = column.chunk(0) if isinstance(column, pa.ChunkedArray) and column.num_chunks else column
    return [] if isinstance(chunk, pa.ChunkedArray) else chunk.dictionary.to_pylist()


def _indices(column: pa.Array | pa.ChunkedArray) -> NDArray[np.int32]:
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [chunk.indices.fill_null(0).to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate(parts).astype(np.int32) if parts else np.zeros(0, np.int32)


def _places_in(known: pa.Array, names: pa.Array) -> Places:
    """The row of the metadata of each picture of the file, by the names that the metadata knows. A picture that it does not
    know has the last row: of a dataset whose digest is that of the predictions there is none."""
    found: Places = pc.index_in(names, value_set=known).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return found
