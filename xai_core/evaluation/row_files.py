"""All rows of a run as one file, written part by part: no more than one part is in memory."""

import gzip
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from xai_core.core.errors import XaiError
from xai_core.core.spreadsheet import csv_bytes
from xai_core.evaluation.store import ROWS, EvaluationRun


def csv_file(run: EvaluationRun, *, zipped: bool = False) -> io.RawIOBase:
    """The rows without their curves as CSV, texts guarded as `spreadsheet.csv_bytes` does; with `zipped` by gzip. A file
    that is removed when it is closed, at its beginning. Raises XaiError."""
    with _temporary() as file:
        written = gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) if zipped else file
        is_first = True
        for rows in run.rows_in_parts():
            written.write(csv_bytes(rows.to_pandas(), header=is_first))
            is_first = False
        if zipped:
            written.close()
    return file


def parquet_file(run: EvaluationRun) -> io.RawIOBase:
    """The rows without their curves as Parquet, otherwise as `csv_file`."""
    with _temporary() as file:
        writer: pq.ParquetWriter | None = None
        for rows in run.rows_in_parts():
            plain = rows.cast(pa.schema([ROWS.field(name) for name in rows.column_names]))
            writer = writer or pq.ParquetWriter(file, plain.schema, compression="zstd")
            writer.write_table(plain)
        if writer is not None:
            writer.close()
    return file


@contextmanager
def _temporary() -> Iterator[io.FileIO]:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (the caller closes it)
    try:
        yield file
        file.seek(0)
    except OSError as error:
        file.close()
        raise XaiError(f"The rows cannot be written to a temporary file ({error.strerror or error}).") from None
