"""The tables of the review store: everything is appended, nothing is changed or removed.

Facts that never change (people, rounds, items, thumbnails, maps) have a row each. What people say is a log: a row has a
`version`, one more than that of the row it follows, and the row with the highest version is the state. `unique` over the
subject and the version is what refuses a change of something that its writer has not seen. Triggers (see migrations/) refuse
UPDATE and DELETE, so that a state of any time can be told from the log. Times are UTC.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _person(name: str = "person") -> Column[str]:
    return Column(name, String(40), ForeignKey("people.key"), nullable=False)


def _round() -> Column[str]:
    return Column("round", String(16), ForeignKey("rounds.id"), nullable=False)


def _log(name: str, subject: tuple[str, ...], *columns: Column[Any]) -> Table:
    """A log: `columns`, a version for each subject, and when it was said."""
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),  # in the order in which it was said
        *columns,
        Column("version", Integer, nullable=False),
        Column("at", DateTime, nullable=False),
        UniqueConstraint(*subject, "version", name=f"one_{name}_of_a_version"),
    )


people = Table(
    "people",
    metadata,
    Column("key", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("at", DateTime, nullable=False),
)
rounds = Table(
    "rounds",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("title", String(200), nullable=False),
    _person("owner"),
    Column("settings", JSON, nullable=False),
    Column("reviewer_token", String(40), nullable=False),
    Column("reader_token", String(40), nullable=False),
    Column("at", DateTime, nullable=False),
)
items = Table(
    "items",
    metadata,
    Column("round", String(16), ForeignKey("rounds.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("true_class", Text),
    Column("predicted", Text, nullable=False),
    Column("confidence", Float),
    Column("top5", JSON, nullable=False),
    Column("repeat_of", Integer),
)
thumbnails = Table(
    "thumbnails",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("picture", LargeBinary, nullable=False),
)
maps = Table(
    "maps",
    metadata,
    Column("round", String(16), ForeignKey("rounds.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("picture", LargeBinary, nullable=False),
    Column("caption", Text, nullable=False),
)
round_log = _log("round_log", ("round",), _round(), Column("state", String(16), nullable=False), _person())
members = _log(
    "members", ("round", "person"), _round(), _person(), Column("role", String(16), nullable=False), _person("given_by")
)
invitees = _log(  # people who may take part before they have come, by their identity (see invitees.py)
    "invitees",
    ("round", "identity"),
    _round(),
    Column("identity", String(400), nullable=False),
    Column("role", String(16), nullable=False),
    _person(),  # who invited them
)
votes = _log(
    "votes",
    ("round", "position", "person"),
    _round(),
    Column("position", Integer, nullable=False),
    _person(),
    Column("verdict", String(40), nullable=False),
    Column("severity", Integer),
    Column("suggested", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("map_shown", Boolean, nullable=False),
    Column("map_helped", Boolean),
    Column("after_others", Boolean, nullable=False),
)
looks = Table(  # at other people's votes
    "looks",
    metadata,
    Column("round", String(16), ForeignKey("rounds.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("person", String(40), ForeignKey("people.key"), primary_key=True),
    Column("at", DateTime, nullable=False),
)
verdicts = _log(
    "verdicts",
    ("round", "position"),
    _round(),
    Column("position", Integer, nullable=False),
    _person(),
    Column("verdict", String(40), nullable=False),  # empty: open again
    Column("suggested", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("unanimous", Boolean, nullable=False),
)
notes = _log(
    "notes",
    ("dataset", "name"),
    Column("dataset", String(64), nullable=False),
    Column("title", Text, nullable=False),
    Column("name", String(1024), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("tags", JSON, nullable=False),
    Column("text", Text, nullable=False),
    _person(),
)
Index("votes_of_a_person", votes.c.round, votes.c.person, votes.c.position)
Index("members_of_a_round", members.c.round)
Index("notes_of_a_title", notes.c.title)
