"""Files of predictions: `xai_core.analysis.predict` writes them and says what they hold; everybody reads them here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from xai_core.core import part_store, tables
from xai_core.core.errors import BadRequest
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
