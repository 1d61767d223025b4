"""Tables for spreadsheets: CSV in which no text from outside is taken for a formula."""

import re
from typing import TypeVar

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
    columns = {place: table.iloc[:, place].map(guarded) for place in range(table.shape[1])}
    safe = pd.DataFrame(columns, index=table.index)
    safe.columns = pd.Index([guarded(str(name)) for name in table.columns])
    return safe.to_csv(index=False, header=header).encode("utf-8-sig" if header else "utf-8")
