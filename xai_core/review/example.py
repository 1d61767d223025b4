"""The example round, which the page Review shows at the first start: the project's own pictures, network and maps.

The reviewers are fictional. What they say is drawn by a seed from what is known of each drawn picture (`true_verdict`), with
errors at the rates of NOISE, so that there are disputes, settled verdicts and open questions. It was made by

    python -m xai_core.review.example

Times in it are made up as well, so that the same command writes the same file, up to the last digits of the maps' scales.
"""

import atexit
import functools
import json
import random
import shutil
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, exc

from xai_core.core import settings
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.files import read_regular, write_atomically
from xai_core.data.datasets import USUAL_WORLD, Dataset, open_dataset
from xai_core.review import consolidation, from_predictions, people, round_files, round_reader, rounds, votes
from xai_core.review.database import open_database
from xai_core.review.people import Person
from xai_core.review.rounds import DISCUSSION, NOTHING_WRONG, RANDOM, VERDICTS, Item, Round
from xai_core.review.votes import Vote

ID = "example"  # of the round in every database
FILE = settings.RESOURCES / "data" / "review" / "example.json"
TITLE = "Example: the most confident errors in drawn pictures"
MOST_BYTES = 2 * 2**20
MODEL, SEED, ERRORS, CONTROLS = "world_planted", 7, 20, 4
NOISE = {"A": 0.08, "B": 0.15, "C": 0.25, "D": 0.35}  # a reviewer's share of verdicts that are not the true one
CONFUSED = {  # what a reviewer says instead of the true verdict
    "label_wrong": ("plain_failure", "also_valid", "unsure"),
    "also_valid": ("label_wrong", "plain_failure", "fine_grained"),
    "shortcut": ("plain_failure", "unusual"),
    "unusual": ("plain_failure", "unsure"),
    "plain_failure": ("unusual", "fine_grained", "unsure"),
    "nothing_wrong": ("shortcut", "unsure"),
}
LEFT_OPEN = 2  # disputed pictures that nobody has settled
BEGIN, SECONDS = datetime(2026, 1, 15, 10), 15  # of the times in the file, and between two of them


def open_example(engine: Engine) -> tuple[Engine, Round]:
    """The example round and the database that it is in: this one, into which it is imported once.

    Where this database may not be written, it is one in a temporary folder, which ends with the process. Raises BadRequest
    where the file of the example is missing or damaged.
    """
    try:
        return engine, rounds.load(engine, ID)
    except UnknownName:
        if settings.READONLY.value():
            temporary = _temporary()
            return temporary, rounds.load(temporary, ID)
    try:
        return engine, round_files.store(engine, _file(), _owner(), ID, TITLE)
    except exc.IntegrityError:  # somebody else has just imported it
        return engine, rounds.load(engine, ID)


def _owner() -> Person:
    return people.named("Example", f"imported|{ID}|owner")


def _file() -> round_reader.RoundFile:
    try:
        return round_reader.read_file(read_regular(FILE, MOST_BYTES))
    except OSError as error:
        raise BadRequest(f"The example round is not in this installation ({error.strerror or error}).") from None


@functools.cache
def _temporary() -> Engine:
    """A database with the example alone, for a server that stores nothing."""
    folder = Path(tempfile.mkdtemp(prefix="xai_example_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    engine = open_database(f"sqlite:///{folder / 'example.sqlite'}")
    with engine.begin() as connection:  # not `writing`: what nobody may write to is the database of reviews
        round_files.insert_file(connection, _file(), _owner(), ID, TITLE)
    return engine


# --- how it was made -------------------------------------------------------------------------------------------------


def true_verdict(dataset: Dataset, item: Item) -> tuple[str, str, str]:
    """What is right to say of a drawn picture, by what is planted in it: a verdict, a suggested label, a comment."""
    known = dataset.metadata.loc[item.name]
    wrong = item.true_class != item.predicted
    if known["label is wrong"]:
        return "label_wrong", str(known["shown"]), f"This is a {known['shown']}, not a {item.label}."
    if wrong and known["second thing"]:
        return "also_valid", "", f"There is a {known['second thing']} beside the {known['shown']}."
    if known["mark"] and item.predicted == "car":
        return "shortcut", "", "There is a stamp in the corner."
    if wrong and known["background"] == "sea" and item.predicted == "boat":
        return "shortcut", "", "It is on the sea, as the boats are."
    if wrong and known["subgroup"]:
        return "unusual", "", "A red dome tent at night: there are hardly any."
    if wrong and (known["occluded"] or known["shift"]):
        return "unusual", "", "Something stands before it."
    return ("plain_failure", "", "It is clear what this is.") if wrong else (NOTHING_WRONG.id, "", "")


def made(folder: Path) -> bytes:
    """The example as a file, made in a database in this folder."""
    from xai_core.models.loading import load_model
    from xai_core.review import round_maps

    engine, dataset = open_database(f"sqlite:///{folder / 'example.sqlite'}"), open_dataset(USUAL_WORLD)
    reviewers = {name: people.named(f"Example reviewer {name}", "example") for name in NOISE}
    owner = reviewers["A"]
    round = from_predictions.create(
        settings.RESOURCES / "data" / "predictions" / f"{MODEL}.parquet", dataset, TITLE, most_confident=ERRORS,
        controls=CONTROLS, person=owner, engine=engine, seed=SEED, verdicts=(*VERDICTS, NOTHING_WRONG), repeats=0.25,
        maps=RANDOM, method="hires_cam",
    )  # fmt: skip
    round_maps.compute(engine, round, dataset, load_model(MODEL))
    items = rounds.items(engine, round)
    for name, person in reviewers.items():
        rounds.invite(engine, round, person, rounds.REVIEWER, by=owner)
        draw = random.Random(f"{SEED} {name}")
        with_map = rounds.shows_map(round, items, person)
        for position in votes.to_do(engine, round, items, person):
            vote = _vote(draw, NOISE[name], dataset, items[position], position in with_map)
            votes.cast(engine, round, items, person, position, vote)
    round = rounds.set_state(engine, round, DISCUSSION, owner)
    consolidation.adopt_unanimous(engine, round, owner)
    _settle(engine, round, items, dataset, owner)
    return _with_made_up_times(round_files.export_json(engine, round))


def _vote(draw: random.Random, noise: float, dataset: Dataset, item: Item, with_map: bool) -> Vote:
    verdict, label, comment = true_verdict(dataset, item)
    true = draw.random() >= noise
    severity = draw.choice((1, 2, 2, 3)) if item.true_class != item.predicted else 0
    helped = draw.random() < 0.6 if with_map else None
    says_more = draw.random() < 0.4
    if true:
        return Vote(verdict, severity, label, comment if says_more else "", helped)
    return Vote(draw.choice(CONFUSED[verdict]), severity, "", "", helped)


def _settle(engine: Engine, round: Round, items: list[Item], dataset: Dataset, person: Person) -> None:
    """Settle what is disputed by what is known of the pictures; the most disputed stay open questions."""
    table = votes.table(engine, round, blind=False)
    taken = consolidation.decisions(engine, round)
    originals = [item for item in items if item.repeat_of is None]
    for item in consolidation.open_questions(originals, table, taken)[LEFT_OPEN:]:
        verdict, label, comment = true_verdict(dataset, item)
        count = Counter(table[table["position"] == item.position]["verdict"])[verdict]
        reason = f"{count} of {len(NOISE)} said so. {comment}".strip()
        consolidation.decide(engine, round, person, item, verdict, reason, label)


def _with_made_up_times(data: bytes) -> bytes:
    file = json.loads(data)
    number = 0
    file["made"] = BEGIN.isoformat()
    for name in ("members", "votes", "looks", "verdicts"):
        for row in file[name]:
            number += 1
            row["at"] = (BEGIN + timedelta(seconds=SECONDS * number)).isoformat()
    closed = BEGIN + timedelta(seconds=SECONDS * (len(file["members"]) + len(file["votes"])))
    for row, at in zip(file["round_log"], (BEGIN, closed), strict=True):
        row["at"] = at.isoformat()
    return json.dumps(file, ensure_ascii=False, separators=(",", ":")).encode()


def main() -> None:
    """Make the example and write its file."""
    with tempfile.TemporaryDirectory() as folder:
        data = made(Path(folder))
    write_atomically(FILE, data)
    print(f"{FILE}: {len(data) / 2**10:,.0f} kB")


if __name__ == "__main__":
    main()
