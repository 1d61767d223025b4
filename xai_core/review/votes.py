"""Votes: what each person says of each picture, and who may see it.

While a round is voted on, nobody sees another person's vote on a picture before their own. With the setting "until voted"
they may look afterwards; the look is recorded, and a vote that is changed after it counts as `after_others` and is left out
of the measured agreement, which takes the last vote before it. With "until closed" nobody sees any before the owner closes
the voting. Once closed, all is visible to everybody who takes part.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd
from sqlalchemy import Engine, RowMapping, func, select

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.review import rounds, tables
from xai_core.review.database import add_once, follow, latest_of, now, reading, writing
from xai_core.review.people import Person
from xai_core.review.rounds import LONGEST_TEXT, OWNER, READER, REVIEWER, UNTIL_VOTED, VOTING, Item, Round, checked_text

SEVERITIES = ("none", "minor", "major", "critical")  # by their numbers, 0 to 3
COLUMNS = ("position", "person", "verdict", "severity", "repeat_of", "map_shown", "map_helped", "at")  # of `table`
LONGEST_LABEL = 200
AT_ONCE = 500  # rows that are read from the database at once


class Vote(NamedTuple):
    """What one person says of one picture. `severity`: a number of SEVERITIES, or None; `suggested`: a better label."""

    verdict: str
    severity: int | None = None
    suggested: str = ""
    comment: str = ""
    map_helped: bool | None = None


class StoredVote(NamedTuple):
    """A vote in the store: its version, which a change must follow, and when it was cast."""

    vote: Vote
    version: int
    at: datetime


class Progress(NamedTuple):
    """How many of the pictures that a person is to judge are judged."""

    person: Person
    done: int
    total: int


def cast(
    engine: Engine, round: Round, items: Sequence[Item], person: Person, position: int, vote: Vote, seen: int = 0
) -> None:
    """Say something of a picture, or something else than before. `seen` is the version of one's own vote as it was shown.

    The same vote twice is one. Raises StaleEdit where the person has voted in another tab since, and BadRequest for people
    without a part in the round, after the voting is closed, and for a vote that cannot be.
    """
    title = round.settings.verdict_title(vote.verdict)
    item = find_item(items, position)
    if vote.severity is not None and vote.severity not in range(len(SEVERITIES)):
        raise BadRequest(f"The severity is a number from 0 to {len(SEVERITIES) - 1}, not {vote.severity}.")
    comment = checked_text(vote.comment, LONGEST_TEXT, "A comment")
    suggested = checked_text(vote.suggested, LONGEST_LABEL, "A suggested label")
    with writing(engine) as connection:
        rounds.require(connection, round, person, (OWNER, REVIEWER))
        if rounds.state_in(connection, round) != VOTING:
            raise BadRequest(f"The voting of this round is closed; '{title}' was not counted. Say it in the discussion.")
        looks = tables.looks.c
        looked = connection.execute(
            select(looks.at).where(looks.round == round.id, looks.position == item.position, looks.person == person.key)
        ).scalar()
        row = {
            "verdict": vote.verdict, "severity": vote.severity, "suggested": suggested, "comment": comment,
            "map_shown": item.position in rounds.shows_map(round, items, person), "map_helped": vote.map_helped,
            "after_others": looked is not None,
        }  # fmt: skip
        subject = {"round": round.id, "position": item.position, "person": person.key}
        follow(connection, tables.votes, subject, seen, row, f"the vote of {person.name} on this picture")


def own_votes(engine: Engine, round: Round, person: Person) -> dict[int, StoredVote]:
    """A person's own votes by position."""
    v = tables.votes
    query = select(v).where(v.c.round == round.id, v.c.person == person.key, latest_of(v, "round", "position", "person"))
    with reading(engine) as connection:
        return {
            row["position"]: StoredVote(_vote(row), row["version"], row["at"])
            for row in connection.execute(query).mappings()
        }


def _vote(row: RowMapping) -> Vote:
    return Vote(*(row[name] for name in Vote._fields))


def to_do(engine: Engine, round: Round, items: Sequence[Item], person: Person) -> list[int]:
    """The positions that a person is to judge, in their order, with those that are judged already.

    Where a picture needs only some votes, those that have enough of other people's are left out. A repeat is judged by those
    who judge its original.
    """
    own, counts = set(own_votes(engine, round, person)), _counts(engine, round)
    needed = round.settings.votes_each

    def wanted(item: Item) -> bool:
        original = item.position if item.repeat_of is None else item.repeat_of
        return item.position in own or original in own or not needed or counts.get(original, 0) < needed

    return [position for position in rounds.order(round, items, person) if wanted(items[position])]


def _counts(engine: Engine, round: Round) -> dict[int, int]:
    """How many people have judged each picture."""
    v = tables.votes
    query = select(v.c.position, func.count(v.c.person.distinct())).where(v.c.round == round.id).group_by(v.c.position)
    with reading(engine) as connection:
        return {position: count for position, count in connection.execute(query)}


def progress(engine: Engine, round: Round, items: Sequence[Item]) -> list[Progress]:
    """How far everybody is who votes; nothing of what they said."""
    v = tables.votes
    query = select(v.c.person, func.count(v.c.position.distinct())).where(v.c.round == round.id).group_by(v.c.person)
    with reading(engine) as connection:
        done = {person: count for person, count in connection.execute(query)}
    voters = [(person, role) for person, role in rounds.members(engine, round) if role in (OWNER, REVIEWER)]
    total = len(items)
    share = round.settings.votes_each
    if share and len(voters) > share:
        total = -(-len(items) * share // len(voters))  # each person's part, if all do the same
    return [Progress(person, done.get(person.key, 0), max(total, done.get(person.key, 0))) for person, _ in voters]


def others(engine: Engine, round: Round, person: Person, item: Item) -> list[tuple[Person, Vote]]:
    """Other people's votes on a picture that the person has judged; the look is recorded.

    Raises BadRequest before the person's own vote, and before the end of a voting that is blind until closed. Names are left
    out where the round is anonymous.
    """
    with writing(engine) as connection:
        rounds.require(connection, round, person, (OWNER, REVIEWER, READER))
        if rounds.state_in(connection, round) == VOTING:
            if round.settings.blind != UNTIL_VOTED:
                raise BadRequest("Votes are shown when the voting is closed.")
            v = tables.votes.c
            own = connection.execute(
                select(v.id).where(v.round == round.id, v.position == item.position, v.person == person.key).limit(1)
            ).scalar()
            if own is None:
                raise BadRequest("Votes on a picture are shown after your own.")
            look = {"round": round.id, "position": item.position, "person": person.key, "at": now()}
            add_once(connection, tables.looks, look)
    return [(who, vote) for who, vote in _votes_on(engine, round, item) if who.key != person.key]


def _votes_on(engine: Engine, round: Round, item: Item) -> list[tuple[Person, Vote]]:
    v, p = tables.votes, tables.people
    query = (
        select(v, p.c.name, p.c.verified).join(p, p.c.key == v.c.person)
        .where(v.c.round == round.id, v.c.position == item.position, latest_of(v, "round", "position", "person"))
        .order_by(v.c.verdict, v.c.id)
    )  # fmt: skip
    with reading(engine) as connection:
        rows = list(connection.execute(query).mappings())
    if round.settings.anonymous:
        return [(Person(row["person"], f"Reviewer {number}", True), _vote(row)) for number, row in enumerate(rows, 1)]
    return [(Person(row["person"], row["name"], row["verified"]), _vote(row)) for row in rows]


def closed(round: Round) -> Round:
    """The round itself. Raises BadRequest while it is voted on: all votes are shown to nobody then."""
    if round.state == VOTING:
        raise BadRequest("The votes of a round are shown when its voting is closed. Its owner closes it.")
    return round


def table(engine: Engine, round: Round, *, blind: bool = True) -> pd.DataFrame:
    """All votes of a round whose voting is closed, a row for each picture and person, with COLUMNS, `suggested`, `comment`
    and `version`. Names: see `names`.

    `blind`: each person's last vote before they looked at others' (for the measured agreement); otherwise their last vote.
    Raises BadRequest while the round is voted on.
    """
    closed(round)
    v, i = tables.votes, tables.items
    columns = [*COLUMNS, "suggested", "comment", "version"]
    query = select(*(i.c.repeat_of if name == "repeat_of" else v.c[name] for name in columns))
    query = query.join_from(v, i, (i.c.round == v.c.round) & (i.c.position == v.c.position)).where(v.c.round == round.id)
    if blind:
        later = v.alias()
        same = [later.c[name] == v.c[name] for name in ("round", "position", "person")]
        newer = select(later.c.id).where(*same, later.c.version > v.c.version, later.c.after_others.is_(False))
        query = query.where(v.c.after_others.is_(False), ~newer.exists())
    else:
        query = query.where(latest_of(v, "round", "position", "person"))
    values: dict[str, list[Any]] = {name: [] for name in columns}
    with reading(engine) as connection:
        # Some rows at a time: with all 50,000 of a large round in memory, Python would look for garbage again and again.
        for part in connection.execute(query.order_by(v.c.position, v.c.id)).partitions(AT_ONCE):
            for name, column in zip(columns, zip(*part, strict=True), strict=True):
                values[name].extend(column)
    if not values["position"]:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
    rows = pd.DataFrame(values)
    rows["severity"] = rows["severity"].astype("Int64")
    rows["repeat_of"] = rows["repeat_of"].astype("Int64")
    return rows


def is_any_after_others(engine: Engine, round: Round) -> bool:
    """Whether somebody changed a vote after a look at others' votes; if not, both tables of votes are the same."""
    v = tables.votes.c
    with reading(engine) as connection:
        return connection.execute(select(v.id).where(v.round == round.id, v.after_others).limit(1)).first() is not None


def names(engine: Engine, round: Round) -> dict[str, str]:
    """A name to show for each person's key: numbers where the round is anonymous."""
    v, p = tables.votes, tables.people
    query = select(p).where(p.c.key.in_(select(v.c.person).where(v.c.round == round.id))).order_by(p.c.key)
    with reading(engine) as connection:
        people = [Person(row.key, row.name, row.verified) for row in connection.execute(query)]
    if round.settings.anonymous:
        return {person.key: f"Reviewer {number}" for number, person in enumerate(people, 1)}
    return {person.key: person.in_words() for person in people}


def find_item(items: Sequence[Item], position: int) -> Item:
    """The item at a position. Raises UnknownName."""
    if not 0 <= position < len(items):
        raise UnknownName("picture of this round", position + 1, [])
    return items[position]
