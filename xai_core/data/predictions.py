"""Files of predictions: `xai_core.analysis.predict` writes them and says what they hold; everybody reads them here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from xai_core.core import part_store, tables
from xai_core.core.errors import BadRequest
from xai_core.core.files import open_regular, parse_json
from xai_core.core.settings import PROGRAM

ENTRY = b"xai_core"  # of a Parquet file's metadata


def settings_of(path: Path) -> dict[str, Any]:
    """The settings that a file of predictions was made with, and its `unreadable` files with the reasons, as `classify`
    wrote them. Raises BadRequest where the file is none."""
    try:
        settings = part_store.read_metadata(path, ENTRY)
    except (OSError, pa.ArrowException, ValueError):
        settings = None
    if not isinstance(settings, dict):
        raise BadRequest(f"{path} is not a file of predictions; write one with: {PROGRAM} classify.")
    return settings


def read_predictions(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The table of a file of predictions, or some of its columns. Raises BadRequest where the file is none."""
    settings_of(path)
    table: pd.DataFrame = tables.read_parquet(path, columns or None).to_pandas()
    return table


COLUMNS = (
    "path", "label", "true", "true_index", "predicted", "predicted_index", "confidence", "margin", "true_probability",
    "top5", "top5_probability",
)  # fmt: skip
LONGEST_HEADER = 64 * 2**10  # bytes


def are_predictions(path: Path) -> bool:
    """Whether a file is a table of predictions rather than one of pictures and labels: Parquet with the settings of
    `classify`, or CSV with a column for the predicted class."""
    try:
        if path.suffix.lower() != ".csv":
            return path.suffix.lower() == ".parquet" and bool(settings_of(path))
        with open_regular(path) as file:
            return "predicted_index" in file.readline(LONGEST_HEADER).decode("utf-8-sig", "replace").strip().split(",")
    except (OSError, BadRequest):
        return False


def read_table(path: Path) -> pd.DataFrame:
    """The COLUMNS of a file of predictions, Parquet or CSV. Raises BadRequest where the file is none."""
    if path.suffix.lower() == ".parquet":
        return read_predictions(path, COLUMNS)
    table = tables.read_csv(path, texts=True)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise BadRequest(f"{path} is not a file of predictions: it lacks the columns {', '.join(missing)}.")
    table = table[list(COLUMNS)].copy()
    try:
        for name in ("true_index", "predicted_index"):
            table[name] = table[name].astype(int)
        for name in ("confidence", "margin", "true_probability"):
            table[name] = table[name].astype(float)
        for name in ("top5", "top5_probability"):
            table[name] = table[name].map(parse_json)
    except (ValueError, TypeError) as error:
        raise BadRequest(f"{path} is not a file of predictions ({str(error)[:80]}).") from None
    table["label"] = table["label"].fillna("")
    table["true"] = table["true"].astype(object).where(table["true"].notna(), None)
    return table
