"""People who are invited by who they are, before they have come; on both databases."""

import pytest
from small_rounds import ANNA, BEN, made_team
from sqlalchemy import Engine, select

from xai_core.core.errors import BadRequest
from xai_core.review import invitees, rounds, tables
from xai_core.review.database import ReadOnly, open_database, reading
from xai_core.review.people import identified, named
from xai_core.review.rounds import READER, REMOVED, REVIEWER

ISSUER = "https://accounts.example.org"
DORA = identified(ISSUER, "1234", "Dora")
TWIN = identified("https://other.example.org", "1234", "Dora")
TYPED = named("Dora", "a browser")


@pytest.mark.parametrize(
    ("identity", "sign_in", "comes", "stays_out"),
    [
        ("Dora@Example.org ", True, [(DORA, "dora@example.ORG")],
         [(DORA, ""), (DORA, "eve@example.org"), (DORA, "dora@example.org.evil"), (TYPED, ""),
          (named("dora@example.org", "x"), "")]),
        (f"{ISSUER}|1234", True, [(DORA, "")], [(TWIN, ""), (identified(ISSUER, "12345", "Dora"), ""), (TYPED, "")]),
        ("DORA", False, [(TYPED, ""), (named("dora", "another"), "")], [(DORA, ""), (named("Dora B", "a browser"), "")]),
    ],
)  # fmt: skip
def test_who_is_invited_is_let_in_and_nobody_else(engine: Engine, identity, sign_in, comes, stays_out) -> None:
    round = made_team(engine, 2)
    invitees.invite(engine, round, identity, REVIEWER, ANNA, sign_in=sign_in)
    for person, email in stays_out:
        assert invitees.role_of(engine, round, person, email) is None
        assert invitees.admit(engine, round, person, email) is None
        assert rounds.role(engine, round, person) is None
    for person, email in comes[:1]:
        assert invitees.role_of(engine, round, person, email) == REVIEWER
        assert rounds.role(engine, round, person) is None, "asking writes nothing"
        assert invitees.admit(engine, round, person, email) == rounds.role(engine, round, person) == REVIEWER
    for person, _ in comes[1:]:
        with pytest.raises(BadRequest, match="in another browser"):
            invitees.admit(engine, round, person)
    assert invitees.role_of(engine, made_team(engine, 1), *comes[0]) is None, "an invitation is of one round"


def test_an_invitation_is_followed_and_never_changed(engine: Engine) -> None:
    round = made_team(engine, 2)
    for role in (READER, REVIEWER, REMOVED, READER):
        invitees.invite(engine, round, "Dora", role, ANNA, sign_in=False)
        assert invitees.listed(engine, round) == ({} if role == REMOVED else {"dora": role})
        assert invitees.role_of(engine, round, TYPED) == (None if role == REMOVED else role)
    with reading(engine) as connection:
        log = connection.execute(select(tables.invitees.c.version, tables.invitees.c.role)).all()
    assert [tuple(row) for row in log] == [(1, READER), (2, REVIEWER), (3, REMOVED), (4, READER)]


def test_who_was_removed_comes_back_only_by_a_newer_invitation(engine: Engine) -> None:
    round = made_team(engine, 2)
    invitees.invite(engine, round, "Dora", REVIEWER, ANNA, sign_in=False)
    invitees.admit(engine, round, TYPED)
    rounds.remove(engine, round, TYPED, ANNA)
    assert invitees.admit(engine, round, TYPED) is None and rounds.role(engine, round, TYPED) is None
    invitees.invite(engine, round, "Dora", READER, ANNA, sign_in=False)
    assert invitees.admit(engine, round, TYPED) == rounds.role(engine, round, TYPED) == READER


@pytest.mark.parametrize(
    ("identity", "role", "by", "sign_in", "why"),
    [
        ("Dora", REVIEWER, BEN, False, "Only owners"),
        ("Dora", REVIEWER, TYPED, False, "do not take part"),
        ("Dora", rounds.OWNER, ANNA, False, "not as 'owner'"),
        ("  ", REVIEWER, ANNA, False, "Write a name"),
        ("|1234", REVIEWER, ANNA, True, "Write a name"),
        ("x" * 401, REVIEWER, ANNA, False, "may have 400 characters"),
        ("Dora", REVIEWER, ANNA, True, "People sign in at this server"),
        ("dora@example.org", REVIEWER, ANNA, False, "Nobody signs in at this server"),
    ],
)
def test_an_invitation_that_cannot_be_is_refused(engine: Engine, identity, role, by, sign_in, why) -> None:
    round = made_team(engine, 2)
    with pytest.raises(BadRequest, match=why):
        invitees.invite(engine, round, identity, role, by, sign_in=sign_in)
    assert invitees.listed(engine, round) == {}


def test_nothing_is_written_where_only_reading_is_allowed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    round = made_team(engine, 2)
    invitees.invite(engine, round, "Dora", REVIEWER, ANNA, sign_in=False)
    monkeypatch.setenv("XAI_READONLY", "1")
    assert invitees.role_of(engine, round, TYPED) == REVIEWER
    with pytest.raises(ReadOnly):
        invitees.admit(engine, round, TYPED)


def test_a_database_of_the_first_version_is_brought_up_to_date(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by the first migration alone, with a round in it."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    from xai_core.review import database

    with monkeypatch.context() as changed:

        def first(connection) -> None:
            migration = MigrationContext.configure(connection)
            script = ScriptDirectory(str(database.Path(database.__file__).parent / "migrations"))
            with Operations.context(migration):
                script.get_revision("0001").module.upgrade()
                migration.stamp(script, "0001")

        changed.setattr(database, "_upgrade", first)
        old = open_database(url)
        round = made_team(old, 2)
        with reading(old) as connection:
            assert not old.dialect.has_table(connection, "invitees")
    old.dispose()
    database._opened.cache_clear()
    engine = open_database(url)
    assert [found.id for found in rounds.listed(engine)] == [round.id]
    invitees.invite(engine, round, "Dora", REVIEWER, ANNA, sign_in=False)
    assert invitees.listed(engine, round) == {"dora": REVIEWER}
