"""The job that makes a review round: its pictures, which takes seconds, then their maps, while people vote already.

What a round is to be made of is written to a file, so that a job that was cancelled, failed or was interrupted by a restart
is resumed with what is missing. A round of a visitor's own ZIP is made as long as that visitor's session holds the ZIP.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
from sqlalchemy import Engine

from xai_core.app.shared import jobs, loaded_models, opened_datasets, page_links, review_store
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.page_links import PlaceToReturn
from xai_core.app.shared.server_job import ServerJob, key_of
from xai_core.core import settings
from xai_core.core.errors import BadRequest, UnknownName, XaiError
from xai_core.core.files import parse_json, read_regular, write_atomically
from xai_core.data.datasets import Dataset
from xai_core.models.explainable import ExplainableModel
from xai_core.review import round_maps, rounds
from xai_core.review.people import Person
from xai_core.review.rounds import Round, RoundSettings

KIND = "round"  # of the jobs
COLUMNS = [
    "path",
    "label",
    "true",
    "predicted",
    "confidence",
    "top5",
    "top5_probability",
]  # of predictions, that a round has
ID = re.compile("[0-9a-f]{10}")
MOST_FILES, MOST_BYTES = 50, 32 * 2**20  # of rounds that are not finished


@dataclass(frozen=True)
class NewRound:
    """What a round is made of. `rows` are predictions, `dataset` is a name that `open_named` knows, and `checkpoint` that of
    the weights of the predictions."""

    id: str
    title: str
    owner: Person
    settings: RoundSettings
    rows: pd.DataFrame
    dataset: str
    checkpoint: str


def start(new: NewRound, dataset: Dataset, model: ExplainableModel) -> ServerJob:
    """Start the job. Raises BadRequest where there are too many, or where the server cannot write."""
    title = f"Review round of {len(new.rows):,} pictures of {dataset.title}"  # the round's own is for those who take part
    place = PlaceToReturn(page_links.REVIEW, urlencode(address(new.id)))
    if opened_datasets.is_upload(dataset):

        def make(handle: JobHandle) -> None:
            _make(new, dataset, lambda: model, handle)

        return jobs.start(key(new.id), title, make, place, private=True)
    _write(new)
    return jobs.start_kind(KIND, {"round": new.id}, title, place)


def address(id: str) -> dict[str, str]:
    """The settings of a link to the voting of a round."""
    return {"round": id, "section": "Vote"}


def key(id: str) -> str:
    """The key of the job that makes a round."""
    return key_of(KIND, {"round": id})


def work(settings: Mapping[str, Any]) -> jobs.Work:
    """The making of a round, or of what it lacks, from the job's stored settings. Raises BadRequest."""
    id = str(settings["round"])
    if not ID.fullmatch(id):
        raise BadRequest("This job's settings are not allowed. Make the round again on the page Misclassifications.")

    def make(handle: JobHandle) -> None:
        new = _read(id)
        dataset = opened_datasets.open_named(new.dataset)
        _make(new, dataset, lambda: loaded_models.model(new.settings.model, new.checkpoint), handle)
        _file(id).unlink(missing_ok=True)

    return make


def _make(new: NewRound, dataset: Dataset, model: Callable[[], ExplainableModel], handle: JobHandle) -> None:
    """Make the round, unless that is done, and the maps that it lacks. Raises XaiError."""
    handle.next_turn()
    store = review_store.engine()
    round = made(store, new.id)
    if round is None:
        track = handle.pieces("pictures copied")
        round = rounds.create(store, new.owner, new.title, new.settings, new.rows, dataset, track, new.id)
        handle.log(f"The round has {round.pictures:,} pictures: it can be voted on.")
    handle.stored()
    if new.settings.maps == rounds.NEVER:
        return
    without = round_maps.compute(store, round, dataset, model(), handle.pieces("pictures with maps"), handle.within)
    for name, reason in without.items():
        handle.log(f"{name} has no maps: {reason}")


def made(store: Engine, id: str) -> Round | None:
    """The round of this id; None while it is not made."""
    try:
        return rounds.load(store, id)
    except UnknownName:
        return None


def _file(id: str) -> Path:
    return settings.cache_folder() / "rounds" / f"{id}.json"


def _write(new: NewRound) -> None:
    """Store what the round is made of; the oldest of too many leave. Raises BadRequest."""
    file = _file(new.id)
    record = {
        "title": new.title, "owner": list(new.owner), "settings": rounds.settings_json(new.settings),
        "dataset": new.dataset, "checkpoint": new.checkpoint,
        "rows": json.loads(new.rows[COLUMNS].to_json(orient="records", double_precision=15)),
    }  # fmt: skip
    try:
        older = sorted(file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in older[: max(0, len(older) - MOST_FILES + 1)]:
            path.unlink(missing_ok=True)
        write_atomically(file, json.dumps(record).encode())
    except (OSError, XaiError):
        raise BadRequest("The server cannot store what the round is made of: its disk may be full.") from None


def _read(id: str) -> NewRound:
    """What a round is to be made of. Raises BadRequest."""
    try:
        record = parse_json(read_regular(_file(id), MOST_BYTES))
        return NewRound(
            id, str(record["title"]), Person(*record["owner"]), rounds.settings_of(record["settings"]),
            pd.DataFrame(record["rows"], columns=COLUMNS), str(record["dataset"]), str(record["checkpoint"]),
        )  # fmt: skip
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        raise BadRequest(
            "The server no longer has what this round was to be made of. Make it again on the page Misclassifications."
        ) from None
