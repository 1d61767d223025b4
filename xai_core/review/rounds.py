"""Rounds: frozen queues of pictures that a team judges, who takes part, and how far a round is.

A round's pictures, predictions, model and settings never change after it was made, so that everybody sees the same. The
store holds a small copy of each picture, not the picture itself: a round can be read after its dataset is gone.

    voting       reviewers vote; who sees whose votes: see votes.py
    discussion   the owner has closed the voting: all votes are visible, disagreements are settled
    done         all is settled
"""

import dataclasses
import hashlib
import io
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from PIL import Image
from sqlalchemy import Connection, Engine, func, insert, select

from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture, BadRequest, UnknownName
from xai_core.core.files import read_regular
from xai_core.data.datasets import Dataset
from xai_core.data.image_io import MAX_BYTES, open_picture
from xai_core.review import tables
from xai_core.review.database import add_once, add_person, follow, latest_of, now, reading, writing
from xai_core.review.people import Person

if TYPE_CHECKING:  # torch takes seconds, and nothing here needs it
    from xai_core.core.runtime import Track

MOST_ITEMS = 5_000
LONGEST_TITLE = 120
LONGEST_TEXT = 2_000  # of a definition, a comment, a reason
THUMBNAIL = 384  # pixels of the longer side
UNREADABLE = (BadPicture, BadRequest, OSError, KeyError)  # what a picture raises that cannot be read
VOTING, DISCUSSION, DONE = STATES = ("voting", "discussion", "done")
OWNER, REVIEWER, READER, REMOVED = "owner", "reviewer", "reader", "removed"
UNTIL_VOTED, UNTIL_CLOSED = BLIND = ("until voted", "until closed")
ALWAYS, NEVER, RANDOM = MAPS = ("always", "never", "random")
MAP_KINDS = {"predicted": "the predicted class", "true": "the true class", "margin": "the predicted minus the true class"}


class VerdictKind(NamedTuple):
    """What may be said of a picture: an id, a title, and its definition in one line."""

    id: str
    title: str
    definition: str


VERDICTS = (
    VerdictKind("label_wrong", "Label wrong", "The label names something that is not the main thing in the picture."),
    VerdictKind("also_valid", "Another label is valid too", "The label is right, and so is the predicted class."),
    VerdictKind("fine_grained", "Fine-grained, forgivable", "The classes are so close that most people would confuse them."),
    VerdictKind("outside", "Outside the vocabulary", "What the picture shows is none of the model's classes."),
    VerdictKind("shortcut", "Shortcut", "The model used something beside the thing: background, mark, text, another thing."),
    VerdictKind("unusual", "Unusual picture", "Rare view, light, style, damage or crop; a person needs a second look too."),
    VerdictKind(
        "plain_failure", "Plain failure", "Label and picture are clear, and the model is wrong without a visible reason."
    ),
    VerdictKind("unsure", "Unsure", "You cannot decide; say in the comment what would help."),
)
NOTHING_WRONG = VerdictKind(
    "nothing_wrong", "Nothing wrong", "Label and prediction are right, and for a good reason."
)  # controls


@dataclass(frozen=True)
class RoundSettings:
    """What a round is about and how it is voted on; frozen when it is made.

    `model`, `fingerprint`, `method`, `options`, `cut` and `precision` are those of the predictions and of the maps;
    `source` says where the pictures come from. `votes_each`: how many people judge each picture, 0 for all. `repeats`: the
    share of pictures that each person sees a second time. `maps`: whether people see maps; "random": each person on half of
    the pictures, by chance. `reveal_after_vote`: the prediction is shown only after the vote.
    """

    model: str
    model_title: str
    fingerprint: str
    dataset: str  # its digest
    dataset_title: str
    source: str
    method: str = "grad_cam"
    options: Mapping[str, Any] = field(default_factory=dict)
    cut: str = ""
    precision: str = "exact"
    verdicts: tuple[VerdictKind, ...] = VERDICTS
    classes: tuple[str, ...] = ()  # that can be suggested as labels
    votes_each: int = 0
    random_order: bool = True
    blind: str = UNTIL_VOTED
    repeats: float = 0.0
    maps: str = ALWAYS
    reveal_after_vote: bool = False
    anonymous: bool = False  # names of reviewers are left out where votes are shown
    seed: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)  # pictures that could not be read, with the reason

    def check(self) -> None:
        """Raises BadRequest for anything that cannot be."""
        for value, allowed, what in ((self.blind, BLIND, "blind"), (self.maps, MAPS, "maps")):
            if value not in allowed:
                raise UnknownName(f"setting of '{what}'", value, allowed)
        if not 0 <= self.repeats <= 0.5:
            raise BadRequest(f"Hidden repeats are a share between 0 and 0.5, not {self.repeats}.")
        if not 0 <= self.votes_each <= 100:
            raise BadRequest(f"Votes for each picture are between 1 and 100, or 0 for all people; not {self.votes_each}.")
        if not 2 <= len(self.verdicts) <= 9:
            raise BadRequest(f"A round has 2 to 9 verdicts, one for each digit key; not {len(self.verdicts)}.")
        ids, titles = {verdict.id for verdict in self.verdicts}, {verdict.title.casefold() for verdict in self.verdicts}
        if min(len(ids), len(titles)) < len(self.verdicts) or "" in ids | titles:
            raise BadRequest("Each verdict needs an id and a title of its own.")
        for verdict in self.verdicts:
            if len(verdict.id) > 40 or len(verdict.title) > 60 or len(verdict.definition) > LONGEST_TEXT:
                raise BadRequest("A verdict's title may have 60 characters, its id 40, its definition 2,000.")

    def verdict_title(self, id: str) -> str:
        """The title of a verdict's id. Raises UnknownName."""
        titles = {verdict.id: verdict.title for verdict in self.verdicts}
        if id not in titles:
            raise UnknownName("verdict of this round", id, titles)
        return titles[id]


@dataclass(frozen=True)
class Round:
    """A round as it is now: its frozen settings, and its state with the version that a change must follow."""

    id: str
    title: str
    owner: Person
    settings: RoundSettings
    made: datetime
    state: str
    version: int
    pictures: int  # without repeats


class Item(NamedTuple):
    """One picture of a round. `repeat_of` is the position of the picture that it repeats, or None."""

    position: int
    sha256: str
    name: str
    label: str
    true_class: str | None  # the model's class that the label means
    predicted: str
    confidence: float | None
    top5: tuple[tuple[str, float], ...]
    repeat_of: int | None


def create(
    engine: Engine,
    owner: Person,
    title: str,
    settings: RoundSettings,
    rows: pd.DataFrame,
    dataset: Dataset,
    track: "Track" = iter,
    id: str | None = None,
) -> Round:
    """Make a round of the pictures in `rows` (predictions, as `xai_core.analysis.predict` writes them, in their order).

    `id` is one of `new_id`, for who must know it before. The owner is a reviewer as well. Pictures that cannot be read are
    left out and listed in the settings. Raises BadRequest where nothing is left, for more than MOST_ITEMS pictures, twice
    the same picture, and settings that cannot be.
    """
    settings.check()
    title = checked_text(title, LONGEST_TITLE, "The title of a round") or "Round without a title"
    if not 0 < len(rows) <= MOST_ITEMS:
        raise BadRequest(f"A round has 1 to {MOST_ITEMS:,} pictures; this selection has {len(rows):,}.")
    if rows["path"].duplicated().any():
        raise BadRequest(f"{rows['path'][rows['path'].duplicated()].iloc[0]} is in the selection twice.")
    lines: list[dict[str, Any]] = []
    thumbnails, left_out = {}, dict(settings.left_out)
    for row in track(rows.to_dict("records")):
        try:
            data = content(dataset, row["path"])
            thumbnails[bytes_digest(data)] = _thumbnail(data)
        except UNREADABLE as error:
            left_out[row["path"]] = f"{error or 'not in the dataset'}"
            continue
        lines.append(_item_row(len(lines), bytes_digest(data), row))
    if not lines:
        raise BadRequest(f"None of the {len(rows):,} pictures can be read: {next(iter(left_out.values()))}")
    settings = dataclasses.replace(settings, left_out=left_out)
    pictures = len(lines)
    for position in _repeated(pictures, settings):
        lines.append({**lines[position], "position": len(lines), "repeat_of": position})
    id = id or new_id()
    with writing(engine) as connection:
        add_person(connection, owner)
        row = {
            "id": id, "title": title, "owner": owner.key, "settings": settings_json(settings), "at": now(),
            "reviewer_token": secrets.token_urlsafe(18), "reader_token": secrets.token_urlsafe(18),
        }  # fmt: skip
        connection.execute(insert(tables.rounds).values(row))
        for digest, picture in thumbnails.items():
            add_once(connection, tables.thumbnails, {"sha256": digest, "picture": picture})
        connection.execute(insert(tables.items), [{"round": id, **line} for line in lines])
        follow(connection, tables.round_log, {"round": id}, 0, {"state": VOTING, "person": owner.key}, "this round")
        _give_role(connection, id, owner, OWNER, owner)
    return load(engine, id)


def new_id() -> str:
    """The id of a round that is to be made."""
    return secrets.token_hex(5)


def content(dataset: Dataset, name: str) -> bytes:
    """The bytes of a picture's file. Raises BadPicture, BadRequest, OSError, KeyError (UNREADABLE)."""
    source = dataset.read(name)
    return read_regular(source, MAX_BYTES) if isinstance(source, Path) else source


def _thumbnail(data: bytes) -> bytes:
    picture = open_picture(data)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=85)
    return buffer.getvalue()


def _item_row(position: int, digest: str, row: Mapping[str, Any]) -> dict[str, Any]:
    true_class = row.get("true")
    pairs = zip(row["top5"], row["top5_probability"], strict=True)
    return {
        "position": position, "sha256": digest, "name": row["path"], "label": row.get("label") or "",
        "true_class": true_class if isinstance(true_class, str) and true_class else None, "predicted": row["predicted"],
        "confidence": float(row["confidence"]), "top5": [[str(name), float(share)] for name, share in pairs],
        "repeat_of": None,
    }  # fmt: skip


def _repeated(pictures: int, settings: RoundSettings) -> list[int]:
    """The positions that are shown a second time: drawn with the round's seed."""
    return sorted(_random(settings.seed, "repeats").sample(range(pictures), round(settings.repeats * pictures)))


def _random(*of: object) -> random.Random:
    return random.Random(int(hashlib.sha256("|".join(map(str, of)).encode()).hexdigest(), 16))


def order(round: Round, items: Sequence[Item], person: Person) -> list[int]:
    """The positions in the order in which a person sees them: shuffled for each person by the round's seed, or as the round
    lists them. A repeat never comes before the picture that it repeats."""
    draw = _random(round.settings.seed, "order", person.key if round.settings.random_order else "")
    originals = [item.position for item in items if item.repeat_of is None]
    repeats = [(item.position, item.repeat_of) for item in items if item.repeat_of is not None]
    if round.settings.random_order:
        draw.shuffle(originals)
    place = {position: float(rank) for rank, position in enumerate(originals)}
    for repeat, original in repeats:
        place[repeat] = draw.uniform(place[original] + 1, len(originals))
    return sorted(place, key=place.__getitem__)


def shows_map(round: Round, items: Sequence[Item], person: Person) -> set[int]:
    """The positions on which a person sees maps. With "random" it is half of the pictures, drawn for each person; a repeat
    is shown as its original was."""
    if round.settings.maps != RANDOM:
        return {item.position for item in items} if round.settings.maps == ALWAYS else set()
    originals = [item.position for item in items if item.repeat_of is None]
    half = set(_random(round.settings.seed, "maps", person.key).sample(originals, (len(originals) + 1) // 2))
    return {item.position for item in items if (item.position if item.repeat_of is None else item.repeat_of) in half}


def load(engine: Engine, id: str) -> Round:
    """A round as it is now. Raises UnknownName."""
    rounds = _loaded(engine, [id])
    if not rounds:
        raise UnknownName("round", id, [])
    return rounds[0]


def listed(engine: Engine, person: Person | None = None) -> list[Round]:
    """The rounds in which a person takes part, or all, the newest first."""
    with reading(engine) as connection:
        ids = select(tables.rounds.c.id).order_by(tables.rounds.c.at.desc())
        if person is not None:
            own = select(tables.members.c.round).where(
                tables.members.c.person == person.key, tables.members.c.role != REMOVED,
                latest_of(tables.members, "round", "person"),
            )  # fmt: skip
            ids = ids.where(tables.rounds.c.id.in_(own))
        found = list(connection.execute(ids).scalars())
    return _loaded(engine, found)


def _loaded(engine: Engine, ids: Sequence[str]) -> list[Round]:
    r, p, log, i = tables.rounds, tables.people, tables.round_log, tables.items
    count = select(func.count()).where(i.c.round == r.c.id, i.c.repeat_of.is_(None)).scalar_subquery()
    query = (
        select(r, p.c.name.label("owner_name"), p.c.verified, log.c.state, log.c.version, count.label("pictures"))
        .join(p, p.c.key == r.c.owner)
        .join(log, log.c.round == r.c.id)
        .where(r.c.id.in_(ids), latest_of(log, "round"))
    )
    with reading(engine) as connection:
        rows = {row["id"]: row for row in connection.execute(query).mappings()}
    return [
        Round(
            row["id"], row["title"], Person(row["owner"], row["owner_name"], row["verified"]),
            settings_of(row["settings"]), row["at"], row["state"], row["version"], row["pictures"],
        )
        for row in (rows[id] for id in ids if id in rows)
    ]  # fmt: skip


def settings_json(settings: RoundSettings) -> dict[str, Any]:
    """The settings as the table `rounds` holds them."""
    return dataclasses.asdict(settings) | {"verdicts": [list(verdict) for verdict in settings.verdicts]}


def settings_of(stored: Mapping[str, Any]) -> RoundSettings:
    """A round's settings, from `settings_json`."""
    fields = {item.name for item in dataclasses.fields(RoundSettings)}
    verdicts = tuple(VerdictKind(*verdict) for verdict in stored["verdicts"])
    rest = {name: value for name, value in stored.items() if name in fields}
    return RoundSettings(**rest | {"verdicts": verdicts, "classes": tuple(stored["classes"])})


def items(engine: Engine, round: Round) -> list[Item]:
    """All pictures of a round by position, repeats last."""
    query = select(tables.items).where(tables.items.c.round == round.id).order_by(tables.items.c.position)
    with reading(engine) as connection:
        return [
            Item(
                row["position"], row["sha256"], row["name"], row["label"], row["true_class"], row["predicted"],
                row["confidence"], tuple((name, share) for name, share in row["top5"]), row["repeat_of"],
            )
            for row in connection.execute(query).mappings()
        ]  # fmt: skip


def thumbnail(engine: Engine, sha256: str) -> bytes:
    """The small copy of a picture, WebP. Raises UnknownName."""
    with reading(engine) as connection:
        picture: bytes | None = connection.execute(
            select(tables.thumbnails.c.picture).where(tables.thumbnails.c.sha256 == sha256)
        ).scalar()
    if picture is None:
        raise UnknownName("small picture", sha256[:12], [])
    return picture


class StoredMap(NamedTuple):
    """A map over its picture, WebP, and its caption: target, model, cut, scale."""

    picture: bytes
    caption: str


def add_map(engine: Engine, round: Round, position: int, kind: str, picture: bytes, caption: str) -> None:
    """Store a map of a picture, by its kind (MAP_KINDS); once stored, it stays."""
    add_maps(engine, round, position, {kind: StoredMap(picture, caption)})


def add_maps(engine: Engine, round: Round, position: int, maps: Mapping[str, StoredMap]) -> None:
    """Store the maps of a picture by their kinds, all of them or none."""
    for kind in maps:
        if kind not in MAP_KINDS:
            raise UnknownName("kind of map", kind, MAP_KINDS)
    with writing(engine) as connection:
        for kind, stored in maps.items():
            row = {"round": round.id, "position": position, "kind": kind, **stored._asdict()}
            add_once(connection, tables.maps, row)


def maps(engine: Engine, round: Round, position: int) -> dict[str, StoredMap]:
    """The maps of a picture that are stored, by kind; a repeat has those of its original."""
    i, m = tables.items, tables.maps
    original = select(func.coalesce(i.c.repeat_of, i.c.position)).where(i.c.round == round.id, i.c.position == position)
    query = select(m).where(m.c.round == round.id, m.c.position == original.scalar_subquery())
    with reading(engine) as connection:
        stored = {row["kind"]: StoredMap(row["picture"], row["caption"]) for row in connection.execute(query).mappings()}
    return {kind: stored[kind] for kind in MAP_KINDS if kind in stored}


def positions_with_maps(engine: Engine, round: Round) -> set[int]:
    """The positions that have maps, without the repeats."""
    query = select(tables.maps.c.position).where(tables.maps.c.round == round.id).distinct()
    with reading(engine) as connection:
        return set(connection.execute(query).scalars())


# --- who takes part --------------------------------------------------------------------------------------------------


def role(engine: Engine, round: Round, person: Person) -> str | None:
    """What a person may do in a round: "owner", "reviewer" or "reader"; None for a stranger."""
    with reading(engine) as connection:
        return role_in(connection, round.id, person)


def role_in(connection: Connection, round_id: str, person: Person) -> str | None:
    m = tables.members
    query = select(m.c.role).where(m.c.round == round_id, m.c.person == person.key).order_by(m.c.version.desc()).limit(1)
    held: str | None = connection.execute(query).scalar()
    return None if held == REMOVED else held


def members(engine: Engine, round: Round) -> list[tuple[Person, str]]:
    """Everybody who takes part, with their role, in the order in which they joined."""
    m, p = tables.members, tables.people
    query = (
        select(p, m.c.role).join(m, m.c.person == p.c.key)
        .where(m.c.round == round.id, m.c.role != REMOVED, latest_of(m, "round", "person")).order_by(m.c.id)
    )  # fmt: skip
    with reading(engine) as connection:
        return [(Person(row.key, row.name, row.verified), row.role) for row in connection.execute(query)]


def invitations(engine: Engine, round: Round, person: Person) -> dict[str, str]:
    """The secret by which others join, for each role. Raises BadRequest for anybody but the owner."""
    _require(role(engine, round, person), (OWNER,))
    with reading(engine) as connection:
        row = connection.execute(select(tables.rounds).where(tables.rounds.c.id == round.id)).mappings().one()
    return {REVIEWER: row["reviewer_token"], READER: row["reader_token"]}


def join(engine: Engine, id: str, token: str, person: Person) -> Round:
    """Take part in a round by an invitation; who has a role keeps the higher one.

    Raises BadRequest for a wrong invitation, and where somebody else of that name takes part already.
    """
    round = load(engine, id)
    invite(engine, round, person, invited_role(engine, round, token), by=person)
    return round


def invited_role(engine: Engine, round: Round, token: str) -> str:
    """The role that an invitation gives. Raises BadRequest for one that is not of this round."""
    with reading(engine) as connection:
        row = connection.execute(select(tables.rounds).where(tables.rounds.c.id == round.id)).mappings().one()
    role_given = next(
        (role for role, name in ((REVIEWER, "reviewer_token"), (READER, "reader_token"))
         if secrets.compare_digest(row[name].encode(), token.encode())), None,
    )  # fmt: skip
    if role_given is None:
        raise BadRequest("This invitation is not valid. Ask the owner of the round for a new link.")
    return role_given


def invite(engine: Engine, round: Round, person: Person, role_given: str, by: Person) -> None:
    """Give a person a role; who has a role keeps the higher one. Names are one person's in a round.

    The caller has checked that `by` may do so: by an invitation, or as the owner.
    """
    ranks = (READER, REVIEWER, OWNER)
    with writing(engine) as connection:
        add_person(connection, person)
        held = role_in(connection, round.id, person)
        if held is not None and ranks.index(held) >= ranks.index(role_given):
            return
        _check_name(connection, round, person)
        _give_role(connection, round.id, person, role_given, by)


def _check_name(connection: Connection, round: Round, person: Person) -> None:
    m, p = tables.members, tables.people
    names = connection.execute(
        select(p.c.name).join(m, m.c.person == p.c.key).where(m.c.round == round.id, p.c.key != person.key).distinct()
    ).scalars()
    if not person.verified and person.name.casefold() in {name.casefold() for name in names}:
        raise BadRequest(
            f"Somebody called {person.name} takes part in this round already, in another browser. If it is you, go on "
            "there; otherwise choose a name that tells you apart."
        )


def _give_role(connection: Connection, round_id: str, person: Person, role_given: str, by: Person) -> None:
    m = tables.members
    seen = connection.execute(select(func.max(m.c.version)).where(m.c.round == round_id, m.c.person == person.key)).scalar()
    follow(
        connection, m, {"round": round_id, "person": person.key}, seen or 0,
        {"role": role_given, "given_by": by.key}, f"the role of {person.name}",
    )  # fmt: skip


def remove(engine: Engine, round: Round, person: Person, by: Person) -> None:
    """End a person's part in a round; what they have said stays. Raises BadRequest for anybody but the owner."""
    with writing(engine) as connection:
        _require(role_in(connection, round.id, by), (OWNER,))
        if person.key == round.owner.key:
            raise BadRequest("The owner of a round cannot be removed.")
        _give_role(connection, round.id, person, REMOVED, by)


def _require(held: str | None, allowed: Sequence[str]) -> None:
    if held is None:
        raise BadRequest("You do not take part in this round. Ask its owner for an invitation.")
    if held not in allowed:
        raise BadRequest(f"Only {' and '.join(f'{role}s' for role in allowed)} of a round may do this; you are a {held}.")


def require(connection: Connection, round: Round, person: Person, allowed: Sequence[str]) -> str:
    """The person's role. Raises BadRequest where it is none of those that are allowed."""
    held = role_in(connection, round.id, person)
    _require(held, allowed)
    return str(held)


# --- how far it is ---------------------------------------------------------------------------------------------------


def set_state(engine: Engine, round: Round, state: str, person: Person) -> Round:
    """Close the voting (discussion), end the round (done), or go back to discussion. Voting is not opened again: votes have
    been seen. Raises BadRequest for anybody but the owner, StaleEdit where the owner did it in another tab."""
    if state not in STATES:
        raise UnknownName("state of a round", state, STATES)
    if state == VOTING and round.state != VOTING:
        raise BadRequest("The voting cannot be opened again: the votes have been shown. Make a new round instead.")
    with writing(engine) as connection:
        require(connection, round, person, (OWNER,))
        row = {"state": state, "person": person.key}
        follow(connection, tables.round_log, {"round": round.id}, round.version, row, "the state of this round")
    return load(engine, round.id)


def state_in(connection: Connection, round: Round) -> str:
    """The state in this transaction."""
    log = tables.round_log
    query = select(log.c.state).where(log.c.round == round.id).order_by(log.c.version.desc()).limit(1)
    return str(connection.execute(query).scalar_one())


def checked_text(text: str, most: int, what: str) -> str:
    """A text without white space around it and without control characters. Raises BadRequest where it is too long."""
    text = "".join(sign for sign in text if sign.isprintable() or sign in "\n\t").strip()
    if len(text) > most:
        raise BadRequest(f"{what} may have {most:,} characters; this one has {len(text):,}.")
    return text
