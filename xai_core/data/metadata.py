"""What is known of a dataset's pictures beside their labels: further columns of a table, or a metadata.csv beside folders.

Metadata is a table with one row for each picture, indexed by the pictures' names, in the dataset's order. A column holds
texts ("" where nothing is known), or float64 numbers (NaN where nothing is known).
"""

from typing import Any

import numpy as np
import pandas as pd

from xai_core.core.errors import BadRequest

FILE = "metadata.csv"  # beside the folders of a dataset
KEYS = ("path", "file_name")  # the column that names the pictures
LABEL = "label"  # the class, which is known from the folders
TRUTH = "truth: "  # columns whose names begin so tell what nobody could know of a photograph (Dataset.truth)
MOST_COLUMNS = 60
FEW = 1_000  # cells that are tried first: where one of them is no number, the others are not tried


def truth(table: pd.DataFrame) -> frozenset[str]:
    """The columns that are marked as truth by their names."""
    return frozenset(name for name in table.columns if name.startswith(TRUTH))


def from_texts(title: str, table: pd.DataFrame, names: "pd.Index[str]") -> pd.DataFrame:
    """Metadata of the pictures `names` from a table of texts, in which a column of KEYS holds their names.

    A column of numbers becomes one of float64. Rows of other pictures and columns after the first MOST_COLUMNS are left
    out; pictures without a row get empty cells. Raises BadRequest where no column names the pictures, or one is named twice.
    """
    key = next((name for name in KEYS if name in table), None)
    if key is None:
        columns = ", ".join(map(str, table.columns[:20]))
        raise BadRequest(f"{title} needs a column {' or '.join(KEYS)} with the names of the pictures; it has {columns}.")
    table = table.dropna(subset=key)
    paths = table[key].astype(str).str.replace("\\", "/").str.removeprefix("./")
    if (twice := paths[paths.duplicated()]).size:
        raise BadRequest(f"{title} names {twice.iloc[0][:100]} more than once: give each picture one row.")
    rows = table.drop(columns=[name for name in (key, LABEL) if name in table]).iloc[:, :MOST_COLUMNS]
    return typed(rows.set_axis(pd.Index(paths), axis=0).reindex(names), names)


def typed(rows: pd.DataFrame, names: "pd.Index[str]") -> pd.DataFrame:
    """Metadata of the pictures `names` from their rows of texts or numbers, in the same order."""
    return pd.DataFrame({str(name): _typed(rows[name]).set_axis(names) for name in rows.columns}, index=names)


def _typed(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers where every cell that is not empty is a number; else texts."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype("float64") if column.notna().any() else pd.Series("", column.index)
    texts = column.fillna("").astype(str).str.strip()
    filled = texts[texts != ""]
    if not pd.to_numeric(filled.head(FEW), errors="coerce").notna().all():
        return texts
    numbers = pd.to_numeric(filled, errors="coerce")
    if len(filled) and numbers.notna().all():
        cells = np.full(len(texts), np.nan)
        cells[(texts != "").to_numpy(bool)] = numbers
        return pd.Series(cells, texts.index)
    return texts
