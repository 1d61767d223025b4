"""The store of reviews on SQLite and PostgreSQL: appended only, stale edits refused, many writers, faults in sentences."""

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from processes import in_processes
from small_rounds import ANNA, BEN, CHRIS, made_round, made_team
from sqlalchemy import Engine, delete, exc, func, select, update

from xai_core.review import consolidation, invitees, rounds, tables, votes
from xai_core.review.database import (
    ReadOnly,
    StaleEdit,
    StoreUnavailable,
    add_person,
    open_database,
    reading,
    writing,
)
from xai_core.review.people import named
from xai_core.review.votes import Vote


@pytest.mark.parametrize("table", tables.metadata.sorted_tables, ids=lambda table: table.name)
def test_no_row_is_ever_changed_or_removed(engine: Engine, table) -> None:
    round = made_team(engine, 2)
    items = rounds.items(engine, round)
    votes.cast(engine, round, items, BEN, 0, Vote("unsure"))
    votes.others(engine, round, BEN, items[0])
    rounds.add_map(engine, round, 0, "true", b"picture", "words")
    invitees.invite(engine, round, "Dora", rounds.READER, ANNA, sign_in=False)
    consolidation.decide(engine, rounds.set_state(engine, round, "discussion", ANNA), ANNA, items[0], "unsure", "why")
    if table is tables.notes:
        return  # written by tests/review/test_picture_notes.py
    column = list(table.columns)[-1]
    for change in (update(table).values({column: column}), delete(table)):
        with pytest.raises(exc.DBAPIError, match="never changed"), engine.begin() as connection:
            connection.execute(change)


def test_a_vote_is_followed_and_never_overwritten(engine: Engine) -> None:
    round = made_team(engine, 2)
    items = rounds.items(engine, round)
    votes.cast(engine, round, items, BEN, 0, Vote("unsure", comment="first"))
    votes.cast(engine, round, items, BEN, 0, Vote("shortcut", 2, "tent"), seen=1)
    assert votes.own_votes(engine, round, BEN)[0].vote == Vote("shortcut", 2, "tent")
    with reading(engine) as connection:
        log = connection.execute(select(tables.votes).order_by(tables.votes.c.id)).mappings().all()
    assert [(row["version"], row["verdict"], row["comment"]) for row in log] == [(1, "unsure", "first"), (2, "shortcut", "")]


def test_the_state_can_be_told_from_the_log(engine: Engine) -> None:
    round = made_team(engine, 4)
    items, draw = rounds.items(engine, round), random.Random(3)
    for _ in range(60):
        person, position = draw.choice((ANNA, BEN, CHRIS)), draw.randrange(4)
        stored = votes.own_votes(engine, round, person).get(position)
        vote = Vote(draw.choice(round.settings.verdicts).id, draw.randrange(4))
        votes.cast(engine, round, items, person, position, vote, seen=stored.version if stored else 0)
    with reading(engine) as connection:
        log = connection.execute(select(tables.votes).order_by(tables.votes.c.id)).mappings().all()
    replayed = {(row["person"], row["position"]): (row["verdict"], row["severity"]) for row in log}
    state = {
        (person.key, position): (stored.vote.verdict, stored.vote.severity)
        for person in (ANNA, BEN, CHRIS)
        for position, stored in votes.own_votes(engine, round, person).items()
    }
    assert state == replayed


def test_a_stale_edit_is_refused_with_who_and_when(engine: Engine) -> None:
    round = made_team(engine, 2)
    items = rounds.items(engine, round)
    votes.cast(engine, round, items, BEN, 0, Vote("unsure"))
    votes.cast(engine, round, items, BEN, 0, Vote("shortcut"), seen=1)
    with pytest.raises(StaleEdit, match=r"Ben \(not verified\) has changed the vote of Ben .* UTC"):
        votes.cast(engine, round, items, BEN, 0, Vote("outside"), seen=1)
    assert votes.own_votes(engine, round, BEN)[0].vote.verdict == "shortcut"
    round = rounds.set_state(engine, round, "discussion", ANNA)
    consolidation.decide(engine, round, ANNA, items[0], "unsure", "because")
    with pytest.raises(StaleEdit, match="Anna"):
        consolidation.decide(engine, round, BEN, items[0], "outside", "no", seen=0)


def test_the_same_vote_twice_is_one(engine: Engine) -> None:
    round = made_team(engine, 2)
    items = rounds.items(engine, round)
    for _ in range(2):
        votes.cast(engine, round, items, BEN, 1, Vote("unsure", 1, "", "as before"))
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(tables.votes)).scalar() == 1


def cast_many(url: str, round_id: str, person_name: str, positions: list[int]) -> None:
    engine = open_database(url)
    round, person = rounds.load(engine, round_id), named(person_name, "a browser")
    items = rounds.items(engine, round)
    for position in positions:
        votes.cast(engine, round, items, person, position, Vote("unsure", comment=f"{person_name} {position}"))


def test_eight_processes_cast_2000_votes(url: str) -> None:
    engine = open_database(url)
    round = made_round(engine, 250)
    people = [f"Person {number}" for number in range(8)]
    for name in people:
        rounds.invite(engine, round, named(name, "a browser"), rounds.REVIEWER, by=ANNA)
    engine.dispose()
    in_processes(cast_many, [(url, round.id, name, list(range(250))) for name in people])
    with reading(engine) as connection:
        rows = connection.execute(select(tables.votes.c.person, tables.votes.c.position, tables.votes.c.comment)).all()
    assert len(rows) == len({(row.person, row.position) for row in rows}) == 2000
    assert {row.comment for row in rows} == {f"{name} {position}" for name in people for position in range(250)}


def cast_forever(url: str, round_id: str, said: str) -> None:
    """Change one vote again and again; each that was saved is noted in a file."""
    engine = open_database(url)
    round = rounds.load(engine, round_id)
    items = rounds.items(engine, round)
    stored = votes.own_votes(engine, round, ANNA).get(0)
    seen = stored.version if stored else 0
    with open(said, "a", buffering=1) as file:
        while True:
            votes.cast(engine, round, items, ANNA, 0, Vote("unsure", comment=f"vote {seen + 1}"), seen)
            seen += 1
            file.write(f"{seen}\n")


def test_a_log_is_whole_after_kills(url: str, tmp_path: Path) -> None:
    engine = open_database(url)
    round = made_round(engine, 1)
    engine.dispose()
    context, said, draw = multiprocessing.get_context("fork"), tmp_path / "said", random.Random(0)
    for _ in range(50):
        process = context.Process(target=cast_forever, args=(url, round.id, str(said)))
        process.start()
        before = said.stat().st_size if said.exists() else 0
        while not (said.exists() and said.stat().st_size > before):  # until it writes
            assert process.is_alive()
            time.sleep(0.002)
        time.sleep(draw.random() * 0.02)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    with reading(open_database(url)) as connection:
        log = connection.execute(select(tables.votes).order_by(tables.votes.c.version)).mappings().all()
    assert [row["version"] for row in log] == list(range(1, len(log) + 1))
    assert all(row["comment"] == f"vote {row['version']}" for row in log)
    assert {int(line) for line in said.read_text().split()} <= {row["version"] for row in log}  # what was saved is there


def test_a_second_process_finds_the_tables(url: str) -> None:
    """All begin at once with an empty database; each finds the tables made once."""
    in_processes(open_database, [(url,)] * 4)


def test_tables_are_what_the_migrations_make(engine: Engine) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_nothing_is_written_where_only_reading_is_allowed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    round = made_round(engine, 2)
    monkeypatch.setenv("XAI_READONLY", "1")
    items = rounds.items(engine, round)
    with pytest.raises(ReadOnly, match="stores nothing"):
        votes.cast(engine, round, items, ANNA, 0, Vote("unsure"))
    assert rounds.load(engine, round.id) == round


def test_a_busy_database_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_core.review.database.WAIT_SECONDS", 0.1)
    file = tmp_path / "busy.sqlite"
    engine = open_database(f"sqlite:///{file}")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"busy\.sqlite is busy.*Nothing was saved"), writing(engine) as connection:
        add_person(connection, ANNA)
    other.execute("ROLLBACK")
    with writing(engine) as connection:
        add_person(connection, ANNA)


def test_a_full_disk_is_a_sentence_and_nothing_is_lost(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/full.sqlite")
    round = made_round(engine, 1)
    with engine.connect() as connection:  # SQLite's own limit acts as a full disk does
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    items = rounds.items(engine, round)
    with pytest.raises(StoreUnavailable, match="disk is full"):
        for version in range(500):
            votes.cast(engine, round, items, ANNA, 0, Vote("unsure", comment="x" * 2000 + str(version) * 0), version)
    stored = votes.own_votes(engine, round, ANNA)[0].version
    engine.dispose()
    votes.cast(engine, round, items, ANNA, 0, Vote("outside"), stored)
    assert votes.own_votes(engine, round, ANNA)[0].vote.verdict == "outside"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: file.write_bytes(b"no database" * 200), "no database of SQLite"),
        (lambda file: file.mkdir(), "cannot be opened"),
    ],
)
def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path, make, words: str) -> None:
    make(tmp_path / "odd.sqlite")
    with pytest.raises(StoreUnavailable, match=words):
        open_database(f"sqlite:///{tmp_path}/odd.sqlite")


def test_a_server_that_is_away_is_a_sentence_without_its_password() -> None:
    with pytest.raises(StoreUnavailable, match=r"on 127\.0\.0\.1 cannot be reached") as caught:
        open_database("postgresql://somebody:secret@127.0.0.1:9/reviews")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://a/b", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"SQLite|sqlite:"):
        open_database(url)
