"""Tables for spreadsheets: CSV in which no text from outside is taken for a formula."""

import re
from typing import Any, TypeVar

import numpy as np
import pandas as pd

Value = TypeVar("Value")

_FORMULA = re.compile(r"^\s*[=+\-@]|^[\t\r]")


def guarded(value: Value) -> Value | str:
    """The value, with an apostrophe before a text that a spreadsheet would compute, such as `=HYPERLINK(...)`."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def csv_bytes(table: pd.DataFrame, *, header: bool = True) -> bytes:
    """The table without its index, texts guarded; in UTF-8 with the mark without which spreadsheets misread names. Without a
    `header`, the lines alone: to go on with a file that is written while it is computed."""
    columns = {place: _guarded_column(table.iloc[:, place]) for place in range(table.shape[1])}
    safe = pd.DataFrame(columns, index=table.index)
    safe.columns = pd.Index([guarded(str(name)) for name in table.columns])
    return safe.to_csv(index=False, header=header).encode("utf-8-sig" if header else "utf-8")


def _guarded_column(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column with `guarded` values; numbers need none, and are written with all digits of double precision."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return column.astype(float) if column.dtype.kind == "f" else column
    return column.map(guarded)
