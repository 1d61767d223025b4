"""Make a round of a file of predictions in one call: for programs, notebooks and the command line."""

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import Dataset, open_dataset
from xai_core.data.predictions import read_predictions, settings_of
from xai_core.review import people, rounds
from xai_core.review.database import open_database
from xai_core.review.people import Person
from xai_core.review.rounds import Round, RoundSettings
from xai_core.review.selection import combined

if TYPE_CHECKING:  # torch takes seconds, and nothing here needs it
    from xai_core.core.runtime import Track

COLUMNS = ("path", "label", "true", "predicted", "confidence", "top5", "top5_probability")  # of predictions


def create(
    predictions: str | Path,
    data: str | Path | Dataset,
    title: str,
    *,
    all_errors: bool = False,
    most_confident: int = 0,
    cell: tuple[str, str] | None = None,
    sample: int = 0,
    controls: int = 0,
    person: Person | None = None,
    engine: Engine | None = None,
    track: "Track" = iter,
    **settings: Any,
) -> Round:
    """Make a round of the predictions in a Parquet file that `classify` wrote, and of the dataset that they are of.

    Which pictures: see `selection.combined`; by default all errors. `settings` are those of RoundSettings, such as
    `repeats=0.2` or `maps="random"`; the seed draws samples, controls and repeats. The owner is who is logged in on this
    machine, the store that of XAI_REVIEW_DB or `data/review.sqlite`. Raises BadRequest, also where the predictions are of
    other pictures.
    """
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    stored, rows = settings_of(Path(predictions)), read_predictions(Path(predictions), COLUMNS)
    if stored.get("dataset_digest") != dataset.digest:
        raise BadRequest(
            f"These predictions are of {stored.get('dataset', 'another dataset')}, and its pictures are not those of "
            f"{dataset.title}, or have changed since. Write predictions of these pictures with the command classify."
        )
    selection = combined(
        rows, all_errors=all_errors, most_confident=most_confident, of_cell=cell, drawn=sample, control=controls,
        seed=int(settings.get("seed", 0)),
    )  # fmt: skip
    round_settings = settings_for(stored, selection.source, settings)
    return rounds.create(
        engine or open_database(), person or machine_owner(), title, round_settings, selection.rows, dataset, track
    )


def settings_for(stored: dict[str, Any], source: str, settings: dict[str, Any]) -> RoundSettings:
    """The settings of a round of the predictions that `settings_of` describes. Raises BadRequest for an unknown one."""
    of_predictions = {
        "model": stored["model"], "model_title": stored["title"], "fingerprint": stored["weights"],
        "dataset": stored["dataset_digest"], "dataset_title": stored["dataset"], "source": source,
        "classes": tuple(stored["classes"]), "precision": stored["precision"],
    }  # fmt: skip
    known = set(RoundSettings.__dataclass_fields__)
    unknown: Sequence[str] = sorted(set(settings) - known)
    if unknown:
        raise BadRequest(f"A round has no setting {unknown[0]}. Known: {', '.join(sorted(known - set(of_predictions)))}.")
    return RoundSettings(**of_predictions | settings)


def machine_owner() -> Person:
    """Who is logged in on this machine: whoever may run commands here may do everything with its rounds."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = "owner"
    return people.named(name, "command line")
