"""A round as files: one JSON file with everything, which another database can import, and tables of votes and verdicts.

The JSON file holds the round's settings, pictures (their small copies and maps, in base64), people and logs. People have
numbers in it: their keys stay in the database, and where the round is anonymous the votes are those of "Reviewer 1", ...
An imported round belongs to who imports it. Its people are nobody who can sign in, and are marked as not verified: a file
cannot speak for others.
"""

import base64
import dataclasses
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

import pandas as pd
from sqlalchemy import Connection, Engine, Table, func, insert, select

from xai_core.core.cache_key import text_digest
from xai_core.core.errors import BadRequest
from xai_core.core.spreadsheet import csv_bytes
from xai_core.core.version import __version__
from xai_core.data.datasets import labels_csv
from xai_core.review import consolidation, people, rounds, tables, votes
from xai_core.review.database import add_once, add_person, now, reading, writing
from xai_core.review.people import Person
from xai_core.review.round_reader import FORMAT, IMPORTED, ITEM, LOGS, MOST_BYTES, VERSION, RoundFile, Row, read_file
from xai_core.review.rounds import LONGEST_TITLE, OWNER, REVIEWER, Round
from xai_core.review.votes import SEVERITIES

# --- export ----------------------------------------------------------------------------------------------------------


def export_json(engine: Engine, round: Round) -> bytes:
    """The whole round as JSON. Raises BadRequest while it is voted on, and where it would be larger than an import takes."""
    check_size(engine, votes.closed(round))
    with reading(engine) as connection:
        logs = {name: _log(connection, tables.metadata.tables[name], round, columns) for name, columns in LOGS.items()}
        looks = _rows(connection, tables.looks, round, ("position", "person", "at"))
        of_items = _rows(connection, tables.items, round, ITEM)
        maps = _rows(connection, tables.maps, round, ("position", "kind", "picture", "caption"))
        t = tables.thumbnails.c
        digests = select(tables.items.c.sha256).where(tables.items.c.round == round.id)
        pictures = {
            row.sha256: row.picture for row in connection.execute(select(t.sha256, t.picture).where(t.sha256.in_(digests)))
        }
        known = {row.key: Person(row.key, row.name, row.verified) for row in connection.execute(select(tables.people))}
    numbers: dict[tuple[str, bool], int] = {}  # (key, as a reviewer without a name) -> number in the file
    for name, rows in [*logs.items(), ("looks", looks)]:
        hidden = round.settings.anonymous and name in ("votes", "looks")
        for row in rows:
            for column in ("person", "given_by"):
                if column in row:
                    row[column] = numbers.setdefault((row[column], hidden), len(numbers))
    shown_names = votes.names(engine, round)
    file = {
        "format": FORMAT, "version": VERSION, "program": __version__, "title": round.title, "made": round.made,
        "settings": dataclasses.asdict(round.settings),
        "people": [shown_names.get(key, "Reviewer") if hidden else known[key].name for key, hidden in numbers],
        "items": of_items, "pictures": pictures, "maps": maps, "looks": looks, **logs,
    }  # fmt: skip
    return json.dumps(file, default=_as_json, ensure_ascii=False, indent=None, separators=(",", ":")).encode()


def check_size(engine: Engine, round: Round) -> None:
    """Raises BadRequest where a round's file would be larger than an import takes."""
    with reading(engine) as connection:
        bytes_of_pictures = _picture_bytes(connection, round)
    if bytes_of_pictures * 4 / 3 > MOST_BYTES * 0.9:
        raise BadRequest(
            f"The pictures and maps of this round take more than the {MOST_BYTES // 2**20} MB that a file may have. "
            "Its votes and verdicts can be saved as CSV."
        )


def _picture_bytes(connection: Connection, round: Round) -> int:
    t, m = tables.thumbnails.c, tables.maps.c
    digests = select(tables.items.c.sha256).where(tables.items.c.round == round.id)
    copies = connection.execute(select(func.sum(func.length(t.picture))).where(t.sha256.in_(digests))).scalar()
    maps = connection.execute(select(func.sum(func.length(m.picture))).where(m.round == round.id)).scalar()
    return int(copies or 0) + int(maps or 0)


def _rows(connection: Connection, table: Table, round: Round, columns: Sequence[str]) -> list[Row]:
    query = select(*(table.c[name] for name in columns)).where(table.c.round == round.id)
    return [dict(row) for row in connection.execute(query.order_by(*table.primary_key.columns)).mappings()]


def _log(connection: Connection, table: Table, round: Round, columns: Sequence[str]) -> list[Row]:
    return _rows(connection, table, round, (*columns, "version", "at"))


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    assert isinstance(value, bytes), type(value)  # nothing else is in the tables
    return base64.b64encode(value).decode()


def votes_csv(engine: Engine, round: Round) -> bytes:
    """A line for each person's last vote on each picture, for spreadsheets. `verdict_before_looking` is the one that counts
    in the agreement: the last before a look at others' votes. Raises BadRequest while the round is voted on."""
    last, blind = votes.table(engine, round, blind=False), votes.table(engine, round)
    items, names = rounds.items(engine, round), votes.names(engine, round)
    before = {(row.position, row.person): str(row.verdict) for row in blind.itertuples()}
    lines = []
    for row in last.to_dict("records"):
        item, verdict = items[row["position"]], str(row["verdict"])
        lines.append(
            {
                "number": item.position + 1, "path": item.name, "label": item.label, "predicted": item.predicted,
                "repeat_of": "" if item.repeat_of is None else item.repeat_of + 1, "person": names[row["person"]],
                "verdict": verdict, "verdict_title": round.settings.verdict_title(verdict),
                "severity": "" if pd.isna(row["severity"]) else SEVERITIES[int(row["severity"])],
                "suggested": row["suggested"], "comment": row["comment"], "map_shown": _yes(row["map_shown"]),
                "map_helped": _yes(row["map_helped"]),
                "verdict_before_looking": before.get((row["position"], row["person"]), ""), "at": row["at"].isoformat(" "),
            }
        )  # fmt: skip
    return csv_bytes(pd.DataFrame(lines, columns=VOTE_COLUMNS))


VOTE_COLUMNS = [
    "number", "path", "label", "predicted", "repeat_of", "person", "verdict", "verdict_title", "severity", "suggested",
    "comment", "map_shown", "map_helped", "verdict_before_looking", "at",
]  # fmt: skip


def _yes(value: object) -> str:
    return "" if value is None or value is pd.NA or value != value else "yes" if value else "no"


def verdicts_csv(engine: Engine, round: Round) -> bytes:
    """A line for each picture with its final verdict, for spreadsheets; those that are open have none. Raises BadRequest
    while the round is voted on."""
    last = votes.table(engine, round, blind=False)
    tallies: dict[int, Counter[str]] = {}
    for position, verdict in zip(last["position"], last["verdict"], strict=True):
        tallies.setdefault(int(position), Counter())[str(verdict)] += 1
    settled = consolidation.decisions(engine, round)
    lines = []
    for item in rounds.items(engine, round):
        if item.repeat_of is not None:
            continue
        decision = settled.get(item.position)
        tally = tallies.get(item.position, Counter())
        lines.append(
            {
                "number": item.position + 1, "path": item.name, "sha256": item.sha256, "label": item.label,
                "true": item.true_class or "", "predicted": item.predicted, "confidence": item.confidence,
                "votes": "; ".join(f"{count} {verdict}" for verdict, count in tally.most_common()),
                "verdict": decision.verdict if decision else "",
                "verdict_title": round.settings.verdict_title(decision.verdict) if decision else "",
                "suggested": decision.suggested if decision else "", "reason": decision.reason if decision else "",
                "unanimous": _yes(decision.unanimous) if decision else "",
                "decided_by": decision.person.in_words() if decision else "",
                "at": decision.at.isoformat(" ") if decision else "",
            }
        )  # fmt: skip
    return csv_bytes(pd.DataFrame(lines))


def relabelled_csv(engine: Engine, round: Round) -> bytes:
    """The round's pictures as a table (path, label) that opens as a dataset when it lies beside them.

    The label is the suggested one where the final verdict is that the label is wrong, and the dataset's otherwise. Raises
    BadRequest while the round is voted on.
    """
    votes.closed(round)
    settled = consolidation.decisions(engine, round)
    lines = []
    for item in rounds.items(engine, round):
        if item.repeat_of is None:
            decision = settled.get(item.position)
            corrected = decision.suggested if decision and decision.verdict == "label_wrong" else ""
            lines.append((item.name, corrected or item.label))
    return labels_csv(lines)


# --- import ----------------------------------------------------------------------------------------------------------


def import_json(engine: Engine, data: bytes, person: Person) -> Round:
    """Store an exported round as a new one of this person's; "(imported)" stands behind its title.

    Raises BadRequest where the file is no whole round; then nothing is stored.
    """
    file = read_file(data)
    return store(engine, file, person, secrets.token_hex(5), file.title[: LONGEST_TITLE - len(IMPORTED)] + IMPORTED)


def store(engine: Engine, file: RoundFile, owner: Person, id: str, title: str) -> Round:
    """Store a round of a file under an id that is new. All of it is stored or nothing."""
    with writing(engine) as connection:
        insert_file(connection, file, owner, id, title)
    return rounds.load(engine, id)


def insert_file(connection: Connection, file: RoundFile, owner: Person, id: str, title: str) -> None:
    """Write a round of a file in the caller's transaction.

    Pictures get new digests: what a file says of a picture's content cannot be checked, and small copies are shared by all
    rounds of a database.
    """
    # A key that no browser and no provider gives, so that nobody can act as these people.
    named = [people.named(name, f"imported|{id}|{number}") for number, name in enumerate(file.people)]

    def of_round(rows: Sequence[Row]) -> Iterator[Row]:
        for row in rows:
            persons: Row = {column: named[row[column]].key for column in ("person", "given_by") if column in row}
            yield {"round": id, **row, **persons}

    digests = {digest: text_digest(f"{id}|{digest}") for digest in file.pictures}
    items = [{**row, "sha256": digests[row["sha256"]]} for row in file.items]
    members = [{**row, "role": REVIEWER if row["role"] == OWNER else row["role"]} for row in file.logs["members"]]
    for each in (owner, *named):
        add_person(connection, each)
    connection.execute(
        insert(tables.rounds).values(
            id=id, title=title, owner=owner.key, settings=rounds.settings_json(file.settings), at=file.made,
            reviewer_token=secrets.token_urlsafe(18), reader_token=secrets.token_urlsafe(18),
        )
    )  # fmt: skip
    for digest, picture in file.pictures.items():
        add_once(connection, tables.thumbnails, {"sha256": digests[digest], "picture": picture})
    joined = {"round": id, "person": owner.key, "role": OWNER, "given_by": owner.key, "version": 1, "at": now()}
    connection.execute(insert(tables.members).values(joined))
    for table, rows in (
        (tables.items, items), (tables.maps, file.maps), (tables.looks, file.looks), (tables.members, members),
        (tables.round_log, file.logs["round_log"]), (tables.votes, file.logs["votes"]),
        (tables.verdicts, file.logs["verdicts"]),
    ):  # fmt: skip
        if rows:
            connection.execute(insert(table), list(of_round(rows)))
