"""How each sample's prediction moved over the epochs of a training: recording a run, no framework needed.

A run is one table in one file (Parquet or CSV), a row for each epoch and sample:

    epoch       int, from 1
    sample      str, the sample's id, once in each epoch
    true        str, the class it is said to be of
    predicted   str, the class of the highest score
    confidence  float in [0, 1], the probability of that class
    train_loss, train_accuracy, validation_loss, validation_accuracy
                float, the same in all rows of an epoch; NaN or left out where they are not known
    chosen      bool, True in the rows of the one epoch whose weights were kept; left out or False in all where it is not
                known

Nothing here imports torch.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from xai_core.core import tables
from xai_core.core.errors import BadRequest
from xai_core.core.files import write_atomically

COLUMNS = ("epoch", "sample", "true", "predicted", "confidence")
CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def read_csv(source: Path | bytes) -> pd.DataFrame:
    """The table of a CSV file. Names stay text: a class may be called 1 or 01, also where other cells are empty.

    Raises BadRequest where the file is none or too large."""
    table = tables.read_csv(source, texts=True)
    numbers = [name for name in ("epoch", "confidence", *CURVES) if name in table]
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in numbers})


def is_chosen(column: pd.Series) -> pd.Series:
    """Which values of the column `chosen` say yes: True, in a CSV file in any spelling, or 1."""
    return column.astype(str).str.strip().str.lower().isin(["true", "1", "1.0"])


class RunRecorder:
    """Writes a run while it goes on: `record` once an epoch, from whatever trains.

    The file is whole after every epoch, wherever the process is killed: it is written beside its place and then put there.
    A recorder on a file that exists goes on with it; an epoch that is recorded again replaces itself and all behind it,
    as after going back to a checkpoint. At the end, `RunRecorder(path, classes, chosen=45)` marks the epoch whose weights
    were kept. Each epoch writes all of the run: 50 epochs of 3,000 samples take 0.1 s and 1 MB.
    """

    def __init__(self, path: str | Path, classes: Sequence[str], chosen: int | None = None):
        """`path` ends in .parquet or .csv; `classes` are the names of all classes, in the order of the network; `chosen` is
        the recorded epoch whose weights were kept, written at once. Raises BadRequest where it was not recorded."""
        self.path = Path(path)
        if self.path.suffix not in (".parquet", ".csv"):
            raise BadRequest(f"A run is recorded as .parquet or .csv, not as '{self.path.name}'.")
        self.classes = tuple(classes)
        self._epochs: dict[int, pd.DataFrame] = {}
        if self.path.exists():
            is_csv = self.path.suffix == ".csv"
            table = read_csv(self.path) if is_csv else tables.read_parquet(self.path).to_pandas()
            if "epoch" not in table:
                raise BadRequest(f"{self.path.name} is not a recorded run: it has no column 'epoch'. Give another file.")
            self._epochs = {int(part["epoch"].iloc[0]): part for _, part in table.groupby("epoch")}
        marked = [epoch for epoch, part in self._epochs.items() if "chosen" in part and is_chosen(part["chosen"]).all()]
        self.chosen = marked[0] if marked else None
        if chosen is not None:
            if chosen not in self._epochs:
                known = (
                    f"recorded are {min(self._epochs)} to {max(self._epochs)}" if self._epochs else "none is recorded yet"
                )
                raise BadRequest(f"Epoch {chosen} cannot be the chosen one of {self.path.name}: {known}.")
            self.chosen = chosen
            self._write()

    @property
    def epochs(self) -> tuple[int, ...]:
        """The recorded epochs, ascending."""
        return tuple(sorted(self._epochs))

    def record(
        self,
        epoch: int,
        samples: Sequence[str],
        true: Sequence[str],
        predicted: Sequence[str],
        confidence: Sequence[float],
        **curves: float,
    ) -> None:
        """One epoch: of each sample its id, true class, predicted class and confidence; and of the epoch what is known of
        `train_loss`, `train_accuracy`, `validation_loss`, `validation_accuracy`."""
        if unknown := set(curves) - set(CURVES):
            raise BadRequest(
                f"A run can record the curves {', '.join(CURVES)}; it cannot record {', '.join(sorted(unknown))}."
            )
        table = pd.DataFrame({"epoch": epoch, "sample": samples, "true": true, "predicted": predicted})
        table["confidence"] = np.asarray(confidence, np.float32)
        if table["sample"].duplicated().any():
            raise BadRequest(f"Epoch {epoch} has samples with the same id.")
        if strange := sorted({*table["true"], *table["predicted"]} - set(self.classes)):
            raise BadRequest(f"Epoch {epoch} names classes that the run does not have: {', '.join(map(str, strange[:5]))}.")
        table = table.assign(**{name: np.float32(curves.get(name, np.nan)) for name in CURVES})
        self._epochs = {known: part for known, part in self._epochs.items() if known < epoch} | {epoch: table}
        if self.chosen is not None and self.chosen >= epoch:
            self.chosen = None  # its predictions are gone
        self._write()

    def _write(self) -> None:
        table = pd.concat(list(self._epochs.values()), ignore_index=True)
        table["chosen"] = table["epoch"] == self.chosen
        if self.path.suffix == ".csv":
            data = table.to_csv(index=False).encode()
        else:
            kinds = pd.CategoricalDtype(list(self.classes))
            table = table.astype({"epoch": "int32", "sample": "category", "true": kinds, "predicted": kinds})
            buffer = io.BytesIO()
            table.to_parquet(buffer, index=False, compression="zstd")
            data = buffer.getvalue()
        write_atomically(self.path, data)
