"""A round as files: everything is in the JSON and comes back, hostile files are refused whole, tables are right."""

import base64
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_rounds import ANNA, BEN, CHRIS, SETTINGS, made_round, made_rows, made_team, settled_team
from sqlalchemy import Engine, func, select

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import USUAL_WORLD, open_dataset
from xai_core.review import consolidation, round_files, round_reader, rounds, tables, votes
from xai_core.review.database import reading
from xai_core.review.people import named
from xai_core.review.rounds import DISCUSSION, DONE
from xai_core.review.votes import Vote

DANA = named("Dana", "another browser")
FORMULA = '=HYPERLINK("https://evil.example","x")'


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a settled round."""
    from xai_core.review.database import open_database

    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('round')}/review.sqlite")
    return round_files.export_json(engine, settled_team(engine, comment="Zoë says: <b>no</b>"))


def rows_in_all(engine: Engine) -> int:
    with reading(engine) as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables.metadata.sorted_tables
        )


def test_a_round_comes_back_with_its_votes_people_log_pictures_and_maps(engine: Engine) -> None:
    original = settled_team(engine)
    original = rounds.set_state(engine, original, DONE, ANNA)
    imported = round_files.import_json(engine, round_files.export_json(engine, original), DANA)
    assert (imported.title, imported.owner, imported.state) == ("Round of a test (imported)", DANA, "done")
    assert imported.id != original.id
    assert (imported.settings, imported.made) == (original.settings, original.made)
    first, second = (votes.table(engine, round, blind=False) for round in (original, imported))
    for table, round in ((first, original), (second, imported)):
        table["person"] = table["person"].map(votes.names(engine, round))
    pd.testing.assert_frame_equal(first, second)
    assert {name for name in first["person"]} == {f"{name} (not verified)" for name in ("Anna", "Ben", "Chris")}
    before, after = (consolidation.decisions(engine, round) for round in (original, imported))
    plain = [{place: decision._replace(person=None) for place, decision in of.items()} for of in (before, after)]
    assert plain[0] == plain[1]
    for old, new in zip(rounds.items(engine, original), rounds.items(engine, imported), strict=True):
        assert old._replace(sha256="") == new._replace(sha256="")
        assert rounds.thumbnail(engine, old.sha256) == rounds.thumbnail(engine, new.sha256)
        assert rounds.maps(engine, original, old.position) == rounds.maps(engine, imported, new.position)


def test_the_people_of_a_file_are_nobody_who_can_act(engine: Engine) -> None:
    original = settled_team(engine)
    imported = round_files.import_json(engine, round_files.export_json(engine, original), DANA)
    assert [rounds.role(engine, imported, person) for person in (ANNA, BEN, CHRIS, DANA)] == [None, None, None, "owner"]
    assert [(person.name, role) for person, role in rounds.members(engine, imported)] == [
        ("Dana", "owner"), ("Anna", "reviewer"), ("Ben", "reviewer"), ("Chris", "reviewer")
    ]  # fmt: skip
    data = round_files.export_json(engine, original).decode()
    assert not [person.key for person in (ANNA, BEN, CHRIS) if person.key in data]


def test_the_votes_of_an_anonymous_round_have_numbers_in_the_file(engine: Engine) -> None:
    file = json.loads(round_files.export_json(engine, settled_team(engine, anonymous=True)))
    voters = {file["people"][row["person"]] for row in file["votes"]}
    assert voters == {"Reviewer 1", "Reviewer 2", "Reviewer 3"}
    assert {file["people"][row["person"]] for row in file["members"]} == {"Anna", "Ben", "Chris"}


def test_a_small_copy_in_a_file_is_not_shown_for_the_real_picture(engine: Engine, exported: bytes) -> None:
    """Small copies are shared by the rounds of a database: a false one must not stand in for a picture judged later."""
    file = json.loads(exported)
    digests = list(file["pictures"])
    file["pictures"][digests[0]] = file["pictures"][digests[1]]
    round_files.import_json(engine, json.dumps(file).encode(), DANA)
    later = made_round(engine, 8)
    with_dataset = {item.sha256: rounds.thumbnail(engine, item.sha256) for item in rounds.items(engine, later)}
    assert base64.b64decode(file["pictures"][digests[0]]) != with_dataset[digests[0]]


def test_a_round_that_is_voted_on_is_not_exported(engine: Engine) -> None:
    round = made_team(engine, 2)
    items = rounds.items(engine, round)
    votes.cast(engine, round, items, BEN, 0, Vote("unsure"))
    for write in (round_files.export_json, round_files.votes_csv, round_files.verdicts_csv, round_files.relabelled_csv):
        with pytest.raises(BadRequest, match="shown when its voting is closed"):
            write(engine, round)


def change(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(file: dict[str, Any]) -> None:
        place: Any = file
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return apply


def same_line_twice(file: dict[str, Any]) -> None:
    file["votes"].append(file["votes"][0])


def large_picture(file: dict[str, Any]) -> None:
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (2000, 20)).save(data, "WEBP")
    file["pictures"] = dict.fromkeys(file["pictures"], base64.b64encode(data.getvalue()).decode())


HOSTILE = {  # what is done to the file, a word of the sentence
    "another version": (change("version", to=2), "another version"),
    "another format": (change("format", to="x"), "not an exported review round"),
    "unknown entry": (change("code", to="import os"), "exactly the entries"),
    "unknown verdict": (change("votes", 0, "verdict", to="brilliant"), "votes, entry 1, verdict is none of"),
    "verdict of a list": (change("votes", 0, "verdict", to=["label_wrong"]), "none of"),
    "decision unknown": (change("verdicts", 0, "verdict", to="brilliant"), "none of"),
    "severity 9": (change("votes", 0, "severity", to=9), "from 0 to 3"),
    "severity true": (change("votes", 0, "severity", to=True), "from 0 to 3"),
    "picture outside": (change("votes", 0, "position", to=99), "votes, entry 1, position"),
    "person outside": (change("votes", 0, "person", to=7), "person"),
    "long comment": (change("votes", 0, "comment", to="x" * 2001), "at most 2,000 characters"),
    "null character": (change("votes", 0, "comment", to="a\0b"), "characters that no text has"),
    "half a character": (change("items", 0, "name", to="\ud800"), "characters that no text has"),
    "long name": (change("people", 0, to="n" * 81), "80 characters"),
    "empty name": (change("people", 0, to=" \u202e "), "name is needed"),
    "no time": (change("votes", 0, "at", to="yesterday"), "is not a time"),
    "missing version": (change("votes", 0, "version", to=2), "missing or in another order"),
    "the same line twice": (same_line_twice, "missing or in another order"),
    "still voted on": (change("round_log", to=[]), "states are not those"),
    "confidence 2": (change("items", 0, "confidence", to=2), "from 0 to 1"),
    "confidence NaN": (change("items", 0, "confidence", to=float("nan")), "from 0 to 1"),
    "positions": (change("items", 0, "position", to=5), "by their positions"),
    "no items": (change("items", to=[]), "1 to 5,000 pictures"),
    "repeat of nothing": (change("items", -1, "repeat_of", to=100), "no picture of the round"),
    "not a digest": (change("items", 0, "sha256", to="../../etc/passwd"), "SHA-256"),
    "another picture": (change("items", 0, "sha256", to="0" * 64), "not those of its items"),
    "no picture": (change("maps", 0, "picture", to="aGVsbG8="), "not an intact WebP"),
    "picture of a number": (change("maps", 0, "picture", to=3), "not an intact WebP"),
    "large picture": (large_picture, "1,024 pixels"),
    "unknown map": (change("maps", 0, "kind", to="secret"), "none of predicted"),
    "setting": (change("settings", "blind", to="never"), "blind"),
    "setting of another type": (change("settings", "random_order", to="yes"), "neither true nor false"),
    "one verdict": (change("settings", "verdicts", to=[["a", "A", "a"]]), "2 to 9 verdicts"),
    "settings of a list": (change("settings", to=[]), "exactly the entries"),
    "votes of a text": (change("votes", to="all of them"), "not a list"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_gets_one_sentence_and_leaves_nothing(case: str, exported: bytes, tmp_path: Path) -> None:
    from xai_core.review.database import open_database

    engine = open_database(f"sqlite:///{tmp_path}/review.sqlite")
    damage, words = HOSTILE[case]
    file = copy.deepcopy(json.loads(exported))
    damage(file)
    with pytest.raises(BadRequest, match=words) as error:
        round_files.import_json(engine, json.dumps(file).encode(), DANA)
    assert str(error.value).startswith("This file cannot be imported: ") and str(error.value).endswith(
        "Nothing was imported."
    )
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)
    assert rows_in_all(engine) == 0
    engine.dispose()


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"[" * 100_000, b"1" * 10_000, b"null", b"{}", b"PK\x03\x04"])
def test_what_is_no_json_of_a_round_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest, match=r"This file cannot be imported: .*Nothing was imported\."):
        round_reader.read_file(data)


def test_a_file_above_the_limit_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch, exported: bytes) -> None:
    monkeypatch.setattr(round_reader, "MOST_BYTES", len(exported) - 1)
    monkeypatch.setattr(round_reader, "parse_json", lambda data: pytest.fail("it was parsed"))
    with pytest.raises(BadRequest, match="MB are read"):
        round_reader.read_file(exported)


def test_a_store_that_fails_midway_has_nothing_of_the_round(
    engine: Engine, exported: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = round_files.add_once
    calls = []

    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError("disk full")
        real(*arguments)

    monkeypatch.setattr(round_files, "add_once", fail)
    before = rows_in_all(engine)
    with pytest.raises(BadRequest, match="Nothing was saved"):
        round_files.import_json(engine, exported, DANA)
    assert rows_in_all(engine) == before


def test_the_table_of_votes_has_a_line_for_each_vote_and_no_formulas(engine: Engine) -> None:
    round = settled_team(engine, comment=FORMULA)
    table = pd.read_csv(io.BytesIO(round_files.votes_csv(engine, round)), keep_default_na=False)
    last = votes.table(engine, round, blind=False)
    assert len(table) == len(last)
    assert table["verdict"].tolist() == last["verdict"].tolist()
    assert set(table["comment"]) == {"", f"'{FORMULA}"}
    repeats = table[table["repeat_of"] != ""]
    assert len(repeats) == last["repeat_of"].notna().sum() > 0
    assert (table["verdict_before_looking"] == table["verdict"]).all()  # nobody looked


def test_the_table_of_verdicts_has_a_line_for_each_picture(engine: Engine) -> None:
    round = settled_team(engine)
    table = pd.read_csv(io.BytesIO(round_files.verdicts_csv(engine, round)), keep_default_na=False)
    settled = consolidation.decisions(engine, round)
    assert table["number"].tolist() == list(range(1, round.pictures + 1))
    assert {row.number - 1: row.verdict for row in table.itertuples() if row.verdict} == {
        position: decision.verdict for position, decision in settled.items()
    }


def test_the_relabelled_table_opens_as_a_dataset_with_the_suggested_labels(tmp_path: Path, engine: Engine) -> None:
    dataset = open_dataset(USUAL_WORLD)
    rows = made_rows(dataset, 4)
    for name in rows["path"]:
        picture = dataset.read(name)
        assert isinstance(picture, bytes)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture)
    round = rounds.set_state(engine, rounds.create(engine, ANNA, "A", SETTINGS, rows, dataset), DISCUSSION, ANNA)
    items = rounds.items(engine, round)
    consolidation.decide(engine, round, ANNA, items[0], "label_wrong", "It is a car.", "car, blue")
    consolidation.decide(engine, round, ANNA, items[1], "label_wrong", "It is something else.")
    consolidation.decide(engine, round, ANNA, items[2], "also_valid", "Both.", "car")
    (tmp_path / "relabelled.csv").write_bytes(round_files.relabelled_csv(engine, round))
    opened = open_dataset(tmp_path / "relabelled.csv")
    assert [(sample.name, sample.label) for sample in opened.samples] == [
        (items[0].name, "car, blue"), *((item.name, item.label) for item in items[1:])
    ]  # fmt: skip
    assert opened.open(items[0].name).size == dataset.open(items[0].name).size
