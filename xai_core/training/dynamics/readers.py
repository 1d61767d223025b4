"""Recorded runs, found and read: what RunRecorder writes, a wide CSV, and InstanceFlow's JSON."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core import settings, tables
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.files import parse_json, read_regular
from xai_core.training.dynamics.analysis import MISSING, RecordedRun
from xai_core.training.dynamics.recorder import COLUMNS, CURVES, is_chosen, read_csv

SUFFIXES = (".parquet", ".csv", ".json")
MAX_CELLS = 5_000_000  # samples x epochs that are read
MAX_JSON = 32 * 2**20  # bytes; in memory they may become twenty times as many
MAX_EPOCH = 10**9


def offered_runs() -> dict[str, Path]:
    """The runs that the page offers, by name: files in `runs` in `data/`, or in the folders that XAI_DATA names."""
    paths: dict[str, Path] = {}
    for root in settings.data_folders():
        for path in sorted((root / "runs").glob("*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                paths.setdefault(path.stem if path.stem not in paths else path.name, path)
    return paths


def find_run(name: str) -> Path:
    """The offered run of that name: a link leads to nothing else. Raises UnknownName."""
    known = offered_runs()
    if name not in known:
        raise UnknownName("run", name, known)
    return known[name]


def size_of(path: Path) -> int:
    """The size of an offered run's file; 0 where it cannot be read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def read_file(path: Path) -> bytes:
    """The bytes of an offered run's file. Raises BadRequest where it cannot be read."""
    try:
        return read_regular(path, tables.MAX_CSV)
    except OSError as error:
        raise BadRequest(f"{path.name} cannot be read: {error.strerror or error}.") from None


def read_run(data: bytes, name: str) -> RecordedRun:
    """A run from a file's bytes: the table that RunRecorder writes (Parquet or CSV), a wide CSV, or InstanceFlow's JSON.

    Raises BadRequest with what is wrong.
    """
    title, suffix = Path(name).stem, Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise BadRequest(f"{name} is not a recorded run: give a file with one of the suffixes {', '.join(SUFFIXES)}.")
    if suffix == ".json":
        return _from_json(title, _parsed(name, data))
    try:
        table = tables.read_parquet(data).to_pandas() if suffix == ".parquet" else read_csv(data)
    except BadRequest as error:
        raise BadRequest(str(error).replace("The file", name, 1)) from None
    return from_table(title, table if set(COLUMNS) - {"confidence"} <= set(table) else _long(name, table))


def _parsed(name: str, data: bytes) -> Any:
    if len(data) > MAX_JSON:
        raise BadRequest(f"{name} has {len(data) / 2**20:,.0f} MB; JSON files of at most {MAX_JSON // 2**20} MB are read.")
    try:
        return parse_json(data)
    except ValueError as error:
        raise BadRequest(f"{name} cannot be read ({' '.join(str(error).split())[:200]}).") from None


def from_table(title: str, table: pd.DataFrame) -> RecordedRun:
    """A run from a table as `dynamics` describes it; `confidence` and the curves may be missing. Raises BadRequest."""
    if not len(table):
        raise BadRequest(f"{title} has no rows: the run has recorded nothing yet.")
    epoch = pd.to_numeric(table["epoch"], errors="coerce")
    if not np.isfinite(epoch).all() or (epoch % 1 != 0).any() or (epoch.abs() > MAX_EPOCH).any():
        raise BadRequest(f"{title} has epochs that are no whole numbers of at most {MAX_EPOCH:,}.")
    if table[["sample", "true", "predicted"]].isna().any(axis=None):
        raise BadRequest(f"{title} has rows without a sample, a true or a predicted class.")
    epochs, column = np.unique(epoch.to_numpy(np.int64), return_inverse=True)
    row, samples = pd.factorize(table["sample"].astype(str))
    if len(samples) * len(epochs) > MAX_CELLS:
        raise BadRequest(f"{title} has {len(samples):,} samples x {len(epochs):,} epochs; at most {MAX_CELLS:,} in all.")
    place = row * len(epochs) + column
    if len(np.unique(place)) < len(place):
        twice = table[pd.Series(place, index=table.index).duplicated()].iloc[0]
        raise BadRequest(f"{title} has the sample {twice['sample']} more than once in epoch {twice['epoch']}.")
    kinds = table["predicted"].dtype
    ordered = kinds.categories if isinstance(kinds, pd.CategoricalDtype) else sorted(set(table["predicted"].astype(str)))
    classes = list(dict.fromkeys([*map(str, ordered), *sorted(set(table["true"].astype(str)))]))
    if not isinstance(kinds, pd.CategoricalDtype):
        classes.sort()
    number = {name: index for index, name in enumerate(classes)}
    true = np.full(len(samples), MISSING)
    wanted = table["true"].astype(str).map(number).to_numpy(np.int64)
    true[row] = wanted
    if (true[row] != wanted).any():
        raise BadRequest(f"{title} gives the sample {samples[row[true[row] != wanted][0]]} different true classes.")
    predicted = np.full((len(samples), len(epochs)), MISSING)
    predicted[row, column] = table["predicted"].astype(str).map(number)
    confidence = np.full(predicted.shape, np.nan, np.float32)
    if "confidence" in table:
        confidence[row, column] = pd.to_numeric(table["confidence"], errors="coerce")
    curves = (
        table.groupby(epoch.astype(np.int64))[[name for name in CURVES if name in table]].first().reset_index(names="epoch")
    )
    ids = np.asarray(samples, dtype=str)
    chosen = _chosen(title, table, column, epochs)
    return RecordedRun(title, tuple(classes), epochs, ids, true, predicted, confidence, curves, chosen)


def _chosen(title: str, table: pd.DataFrame, column: NDArray[np.int64], epochs: NDArray[np.int64]) -> int | None:
    """The one epoch whose rows are all marked as chosen; None without marks. Raises BadRequest for any other marks."""
    if "chosen" not in table:
        return None
    marked = is_chosen(table["chosen"]).to_numpy()
    places = np.unique(column[marked])
    if len(places) > 1:
        listed = ", ".join(map(str, epochs[places][:5].tolist()))
        raise BadRequest(
            f"{title} marks {len(places)} epochs as chosen ({listed}{', ...' if len(places) > 5 else ''}): one can be."
        )
    if len(places) and not marked[column == places[0]].all():
        raise BadRequest(f"{title} marks some rows of epoch {epochs[places[0]]} as chosen and others not: mark all or none.")
    return int(epochs[places[0]]) if len(places) else None


def _long(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A wide table, a row for each sample with its id, its true class and a column for each epoch, as a long one."""
    numbered = {column: re.fullmatch(r"(?:e|ep|epoch)?[\s_-]*(\d+)", str(column).strip().lower()) for column in table}
    epochs = {column: int(number[1]) for column, number in numbered.items() if number and len(number[1]) < 19}
    known = {str(column).strip().lower(): column for column in table if column not in epochs}
    sample = next((known[one] for one in ("sample", "id", "name", "path") if one in known), None)
    true = next((known[one] for one in ("true", "label", "actual", "class") if one in known), None)
    if sample is None or true is None or not epochs:
        raise BadRequest(
            f"{name} is not a recorded run: give the columns {', '.join(COLUMNS)}; or sample, true, and a column for each "
            f"epoch (3 or epoch_3). It has {', '.join(map(str, list(table)[:8]))}."
        )
    if len(table) * len(epochs) > MAX_CELLS:
        raise BadRequest(f"{name} has {len(table):,} samples x {len(epochs):,} epochs; at most {MAX_CELLS:,} in all.")
    long = table.melt([sample, true], list(epochs), var_name="epoch", value_name="predicted").dropna(subset="predicted")
    return long.assign(epoch=long["epoch"].map(epochs)).rename(columns={sample: "sample", true: "true"})


def _from_json(title: str, given: Any) -> RecordedRun:
    """InstanceFlow's format: `labels`, `instances` (`id`, `actual`), `epochs` (`id`, `classifications`: one label's index
    for each instance)."""
    try:
        classes, instances, epochs = tuple(map(str, given["labels"])), given["instances"], given["epochs"]
        samples = np.array([str(one["id"]) for one in instances])
        true = np.array([int(one["actual"]) for one in instances])
        numbers = [int(one["id"]) if str(one["id"]).isdecimal() else place for place, one in enumerate(epochs)]
        predicted = np.array([[int(one) for one in epoch["classifications"]] for epoch in epochs]).T
        fits = predicted.shape == (len(samples), len(epochs)) and len(set(numbers)) == len(numbers)
        inside = all(len(one) and one.min() >= 0 and one.max() < len(classes) for one in (true, predicted.ravel()))
        if not (fits and inside and len(set(samples)) == len(samples) and max(numbers) <= MAX_EPOCH):
            raise ValueError
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise BadRequest(
            f"{title} is not InstanceFlow's JSON: labels, instances (each an id of its own and an actual label's index), "
            "epochs (each with one label's index for every instance)."
        ) from None
    order = np.argsort(numbers)
    curves = pd.DataFrame({"epoch": np.array(numbers)[order]})
    confidence = np.full(predicted.shape, np.nan, np.float32)
    return RecordedRun(title, classes, np.array(numbers)[order], samples, true, predicted[:, order], confidence, curves)
