"""Tables in files of strangers, Parquet and CSV: a small file that claims to hold gigabytes is refused, not unpacked."""

import ctypes
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.core.files import open_regular

MAX_ROWS = 5_000_000  # of a table; with the usual dozen columns they take half a gigabyte
MAX_COLUMNS = 10_000
MAX_UNPACKED = 400 * 2**20  # bytes of a table in memory, where it is more than MAX_RATIO times its file
MAX_RATIO = 4  # embeddings and measured values hardly shrink; Parquet packs equal values into next to nothing
MAX_CSV = 200 * 2**20  # bytes of a file


def read_parquet(
    source: Path | bytes,
    columns: Sequence[str] | None = None,
    *,
    schema: pa.Schema | None = None,
    dictionary: Sequence[str] = (),
    filters: Sequence[tuple[str, str, object]] = (),
    rows_before: int = 0,
) -> pa.Table:
    """Columns of a Parquet file, by default all of them; texts of `dictionary` dictionary-encoded.

    With a `schema`, the columns get its types. `filters` keeps the rows that meet all conditions (column, operator, value),
    as in `pyarrow.parquet.read_table`. Raises BadRequest where the file is no such table, or too large; `rows_before` are
    rows of the same table that the caller has read from other files.
    """
    name = _name(source)
    read = None if columns is None else list(dict.fromkeys([*columns, *(column for column, _, _ in filters)]))
    try:
        with _opened(source) as file:
            table = _unpacked(name, file, read, dictionary, rows_before)
        if filters:
            table = table.filter(pq.filters_to_expression(list(filters)))
        if columns is not None:
            table = table.select(list(columns))
        if schema is not None:
            table = table.cast(pa.schema([_field(schema.field(column), dictionary) for column in table.column_names]))
        table.validate(full=True)  # texts are texts, and numbers of dictionaries lead to entries
        return table.replace_schema_metadata(None)  # pandas would follow what the file says about itself
    except BadRequest:
        raise
    except MemoryError:
        raise BadRequest(f"{name} does not fit into memory.") from None
    except Exception as error:  # pyarrow raises whatever it stumbles over in a damaged file
        raise BadRequest(f"{name} cannot be read as a table ({_one_line(error)}).") from None


def read_places(source: Path | bytes, places: NDArray[np.integer[Any]], columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of a Parquet file by their places in it, in the order of `places`; by default with all columns.

    Only the row groups that hold them are read, one after the other. Raises BadRequest as `read_parquet` does.
    """
    name = _name(source)
    order = np.argsort(places, kind="stable")
    wanted, found = np.asarray(places)[order], []
    try:
        with _opened(source) as file:
            most = max(MAX_UNPACKED, MAX_RATIO * file.seek(0, io.SEEK_END))
            opened = pq.ParquetFile(file)
            kept = opened.schema_arrow.names if columns is None else list(columns)
            missing = [column for column in kept if column not in opened.schema_arrow.names]
            if missing:
                raise BadRequest(f"{name} lacks the columns {', '.join(missing)}.")
            start = 0
            for number in range(opened.metadata.num_row_groups):
                group = opened.metadata.row_group(number)
                first, last = np.searchsorted(wanted, [start, start + group.num_rows])
                if first < last:
                    _check_size(name, group.total_byte_size, most)
                    table = opened.read_row_group(number, kept)
                    table.validate(full=True)
                    found.append(table.take(pa.array(wanted[first:last] - start)))
                start += group.num_rows
            rows = pa.concat_tables(found) if found else opened.schema_arrow.empty_table().select(kept)
            if len(rows) < len(wanted):
                raise BadRequest(f"{name} has fewer rows than are asked for.")
            back = np.empty(len(order), np.int64)
            back[order] = np.arange(len(order))
            return rows.take(pa.array(back)).replace_schema_metadata(None)
    except BadRequest:
        raise
    except MemoryError:
        raise BadRequest(f"{name} does not fit into memory.") from None
    except Exception as error:  # pyarrow raises whatever it stumbles over in a damaged file
        raise BadRequest(f"{name} cannot be read as a table ({_one_line(error)}).") from None


def release_memory() -> None:
    """Give the memory back that reading a large table has left unused: what Arrow keeps for later, and with glibc the holes
    between small objects, which it would keep as well."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # another C library has none
        if trim is not None:
            trim(0)


def read_csv(source: Path | bytes, *, texts: bool = False) -> pd.DataFrame:
    """A CSV file, with `texts` every cell as text. Raises BadRequest where the file is none or too large."""
    name = _name(source)
    try:
        with _opened(source) as file:
            size = file.seek(0, io.SEEK_END)
            if size > MAX_CSV:
                raise BadRequest(f"{name} has {size / 2**20:,.0f} MB; CSV files of at most {MAX_CSV // 2**20} MB are read.")
            file.seek(0)
            if file.readline(64 * MAX_COLUMNS).count(b",") >= MAX_COLUMNS:
                raise BadRequest(f"{name} has more than {MAX_COLUMNS:,} columns, the most that are read.")
            file.seek(0)
            table = pd.read_csv(file, nrows=MAX_ROWS + 1, dtype=str if texts else None, low_memory=False)
    except BadRequest:
        raise
    except MemoryError:
        raise BadRequest(f"{name} does not fit into memory.") from None
    except Exception as error:  # pandas raises whatever it stumbles over
        raise BadRequest(f"{name} cannot be read as a table ({_one_line(error)}).") from None
    if len(table) > MAX_ROWS:
        raise BadRequest(f"{name} has more than {MAX_ROWS:,} rows, the most that are read.")
    return table


def _name(source: Path | bytes) -> str:
    return source.name if isinstance(source, Path) else "The file"


def _opened(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)


def _unpacked(
    name: str, file: BinaryIO, columns: Sequence[str] | None, dictionary: Sequence[str], rows_before: int
) -> pa.Table:
    """The table, after its size was checked twice: as the file says it, and with texts still packed."""
    most = max(MAX_UNPACKED, MAX_RATIO * file.seek(0, io.SEEK_END))
    metadata = pq.read_metadata(file)
    if rows_before + metadata.num_rows > MAX_ROWS or metadata.num_columns > MAX_COLUMNS:
        raise BadRequest(
            f"{name} has {metadata.num_rows:,} rows and {metadata.num_columns:,} columns; at most {MAX_ROWS:,} rows and "
            f"{MAX_COLUMNS:,} columns are read in all."
        )
    schema = metadata.schema.to_arrow_schema()
    missing = [column for column in columns or () if column not in schema.names]
    if missing:
        raise BadRequest(f"{name} lacks the columns {', '.join(missing)}.")
    if len(set(schema.names)) < len(schema.names):
        raise BadRequest(f"{name} has several columns of one name.")
    wanted = set(schema.names if columns is None else columns)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    leaves = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    chunks = [
        group.column(index) for group in groups for index, leaf in enumerate(leaves) if leaf.path.split(".")[0] in wanted
    ]
    _check_size(name, sum(max(chunk.total_uncompressed_size, _width(chunk) * chunk.num_values) for chunk in chunks), most)
    file.seek(0)
    # Each distinct text is read once; pyarrow cannot do that for texts in lists.
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and "." not in leaf.path]
    table = pq.ParquetFile(file, metadata=metadata, read_dictionary=texts).read(columns and list(columns))
    plain = [column for column in table.column_names if column not in dictionary]
    _check_size(name, table.nbytes + sum(_text_bytes(chunk) for column in plain for chunk in table[column].chunks), most)
    types = [table.field(name).type if name in dictionary else schema.field(name).type for name in table.column_names]
    return table.cast(pa.schema(list(zip(table.column_names, types, strict=True))))


def _width(chunk: pq.ColumnChunkMetaData) -> int:
    """Bytes of one value in memory; of a text its number in the list of distinct texts."""
    return 4 if chunk.physical_type in ("INT32", "FLOAT", "BYTE_ARRAY", "BOOLEAN") else 8


def _check_size(name: str, size: int, most: int) -> None:
    if size > most:
        raise BadRequest(f"{name} unpacks to {size / 2**20:,.0f} MB; at most {most // 2**20:,} MB are read.")


def _text_bytes(array: pa.Array) -> int:
    """How many bytes packed texts take when each row has its own."""
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else None
    if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)):
        return 0
    return pc.sum(pc.binary_length(array.dictionary).cast(pa.int64()).take(array.indices)).as_py() or 0


def _field(field: pa.Field, dictionary: Sequence[str]) -> pa.Field:
    return pa.field(field.name, pa.dictionary(pa.int32(), field.type)) if field.name in dictionary else field


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
