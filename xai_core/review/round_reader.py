"""Reads the file of an exported round, which may be from anybody: every part of it is checked before anything is stored."""

import base64
import binascii
import dataclasses
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from PIL import Image

from xai_core.core.errors import BadRequest
from xai_core.core.files import parse_json
from xai_core.review import people, rounds
from xai_core.review.rounds import (
    DISCUSSION,
    DONE,
    LONGEST_TEXT,
    LONGEST_TITLE,
    MAP_KINDS,
    MOST_ITEMS,
    OWNER,
    READER,
    REMOVED,
    REVIEWER,
    STATES,
    VOTING,
    RoundSettings,
    VerdictKind,
)
from xai_core.review.votes import LONGEST_LABEL, SEVERITIES

Value = TypeVar("Value")
Row = dict[str, Any]

FORMAT, VERSION = "xai_core review round", 1
MOST_BYTES = 100 * 2**20  # of a file
MOST_PEOPLE = 1_000
MOST_LINES = 1_000_000  # of a log
LONGEST_NAME = 1_024  # of a picture, a class, a label, a model
LARGEST_SIDE = 1_024  # of a small copy or a map, in pixels
IMPORTED = " (imported)"  # behind the title of such a round
LOGS = {  # a log: its columns beside the version and the time, in the order of the file
    "round_log": ("state", "person"),
    "members": ("person", "role", "given_by"),
    "votes": (
        "position", "person", "verdict", "severity", "suggested", "comment", "map_shown", "map_helped", "after_others",
    ),
    "verdicts": ("position", "person", "verdict", "suggested", "reason", "unanimous"),
}  # fmt: skip
ITEM = ("position", "sha256", "name", "label", "true_class", "predicted", "confidence", "top5", "repeat_of")
TOP = ("format", "version", "program", "title", "made", "settings", "people", "items", "pictures", "maps", "looks", *LOGS)


@dataclass(frozen=True)
class RoundFile:
    """A round out of a file, checked. People are numbers, the places of their names in `people`."""

    title: str
    made: datetime
    settings: RoundSettings
    people: tuple[str, ...]
    items: tuple[Row, ...]
    pictures: Mapping[str, bytes]
    maps: tuple[Row, ...]
    looks: tuple[Row, ...]
    logs: Mapping[str, tuple[Row, ...]]


class _Wrong(Exception):
    """What is wrong with a file, and where."""


def read_file(data: bytes) -> RoundFile:
    """The round in a file that `export_json` wrote. Raises BadRequest in one sentence for every other file."""
    try:
        if len(data) > MOST_BYTES:
            raise _Wrong(f"it has {len(data) / 2**20:,.0f} MB, and at most {MOST_BYTES // 2**20} MB are read")
        try:
            value = parse_json(data)
        except (ValueError, MemoryError):  # also of bytes that are no text
            raise _Wrong("it is not JSON") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise _Wrong("it is not an exported review round")
        if value.get("version") != VERSION:
            raise _Wrong(f"it is of another version than {VERSION}; the program that wrote it may be newer")
        return _round_file(_object(value, "the file", TOP))
    except (_Wrong, BadRequest) as error:
        raise BadRequest(f"This file cannot be imported: {str(error).rstrip('.')}. Nothing was imported.") from None


def _round_file(value: Row) -> RoundFile:
    settings = _settings(value["settings"])
    persons = _list(value["people"], "people", MOST_PEOPLE, lambda name, where: people.named(_text(name, where), "").name)
    items = _items(value["items"])
    originals = sum(row["repeat_of"] is None for row in items)
    pictures = _pictures(value["pictures"], {row["sha256"] for row in items})

    def person(value: object, where: str) -> int:
        return _integer(value, where, 0, len(persons) - 1)

    def position(value: object, where: str) -> int:
        return _integer(value, where, 0, len(items) - 1)

    def map_of(value: object, where: str) -> Row:
        row = _object(value, where, ("position", "kind", "picture", "caption"))
        return {
            "position": _integer(row["position"], where, 0, originals - 1), "kind": _one_of(row["kind"], where, MAP_KINDS),
            "picture": _picture(row["picture"], where), "caption": _text(row["caption"], where),
        }  # fmt: skip

    def look(value: object, where: str) -> Row:
        row = _object(value, where, ("position", "person", "at"))
        return {
            "position": position(row["position"], where), "person": person(row["person"], where),
            "at": _time(row["at"], where),
        }  # fmt: skip

    verdicts = [verdict.id for verdict in settings.verdicts]
    readers: dict[str, Callable[[object, str], Any]] = {
        "person": person, "given_by": person, "position": position,
        "state": lambda value, where: _one_of(value, where, STATES),
        "role": lambda value, where: _one_of(value, where, (OWNER, REVIEWER, READER, REMOVED)),
        "verdict": lambda value, where: _one_of(value, where, verdicts),
        "severity": lambda value, where: None if value is None else _integer(value, where, 0, len(SEVERITIES) - 1),
        "suggested": lambda value, where: _text(value, where, LONGEST_LABEL),
        "comment": _text, "reason": _text, "map_shown": _flag, "after_others": _flag, "unanimous": _flag,
        "map_helped": lambda value, where: None if value is None else _flag(value, where),
        "version": lambda value, where: _integer(value, where, 1, MOST_LINES), "at": _time,
    }  # fmt: skip

    def log(name: str) -> tuple[Row, ...]:
        columns = (*LOGS[name], "version", "at")
        own = dict(readers)
        if name == "verdicts":  # "" opens a picture again
            own["verdict"] = lambda value, where: _one_of(value, where, ["", *verdicts])

        def line(value: object, where: str) -> Row:
            row = _object(value, where, columns)
            return {column: own[column](row[column], f"{where}, {column}") for column in columns}

        rows = _list(value[name], name, MOST_LINES, line)
        _check_versions(name, rows)
        return rows

    logs = {name: log(name) for name in LOGS}
    states = [row["state"] for row in logs["round_log"]]
    if states[:1] != [VOTING] or VOTING in states[1:] or states[-1] not in (DISCUSSION, DONE):
        raise _Wrong("its states are not those of a round whose voting is closed")
    maps = _list(value["maps"], "maps", originals * len(MAP_KINDS), map_of)
    _check_once("maps", [(row["position"], row["kind"]) for row in maps])
    looks = _list(value["looks"], "looks", MOST_LINES, look)
    _check_once("looks", [(row["position"], row["person"]) for row in looks])
    title = rounds.checked_text(_text(value["title"], "title"), LONGEST_TITLE + len(IMPORTED), "A title") or "Round"
    return RoundFile(title, _time(value["made"], "made"), settings, persons, items, pictures, maps, looks, logs)


def _settings(value: object) -> RoundSettings:
    fields = [field.name for field in dataclasses.fields(RoundSettings)]
    row = _object(value, "settings", fields)

    def verdict(value: object, where: str) -> VerdictKind:
        parts = _list(value, where, 3, _text)
        if len(parts) != 3:
            raise _Wrong(f"{where} is no verdict")
        return VerdictKind(*parts)

    readers: dict[str, Callable[[object, str], Any]] = {
        "verdicts": lambda value, where: _list(value, where, 9, verdict),
        "classes": lambda value, where: _list(value, where, 100_000, _text),
        "options": lambda value, where: _mapping(value, where, 100, _plain),
        "left_out": lambda value, where: _mapping(value, where, MOST_ITEMS, _text),
        "votes_each": lambda value, where: _integer(value, where, 0, 100),
        "repeats": lambda value, where: _number(value, where, 0, 0.5),
        "seed": lambda value, where: _integer(value, where, -(2**63), 2**63 - 1),
        **dict.fromkeys(("random_order", "reveal_after_vote", "anonymous"), _flag),
    }
    settings = RoundSettings(**{name: readers.get(name, _text)(row[name], f"settings, {name}") for name in fields})
    settings.check()
    return settings


def _items(value: object) -> tuple[Row, ...]:
    def class_share(value: object, where: str) -> list[object]:
        pair = value if isinstance(value, list) and len(value) == 2 else None
        if pair is None:
            raise _Wrong(f"{where} is no class with its share")
        return [_text(pair[0], where, LONGEST_NAME), _number(pair[1], where, 0, 1)]

    def item(value: object, where: str) -> Row:
        row = _object(value, where, ITEM)
        true_class, confidence, repeat_of = row["true_class"], row["confidence"], row["repeat_of"]
        return {
            "position": _integer(row["position"], where, 0, 2 * MOST_ITEMS), "sha256": _digest(row["sha256"], where),
            **{name: _text(row[name], where, LONGEST_NAME) for name in ("name", "label", "predicted")},
            "true_class": None if true_class is None else _text(true_class, where, LONGEST_NAME),
            "confidence": None if confidence is None else _number(confidence, where, 0, 1),
            "top5": list(_list(row["top5"], where, 5, class_share)),
            "repeat_of": None if repeat_of is None else _integer(repeat_of, where, 0, MOST_ITEMS),
        }  # fmt: skip

    items = _list(value, "items", 2 * MOST_ITEMS, item)
    originals = [row for row in items if row["repeat_of"] is None]
    in_order = [row["position"] for row in items] == list(range(len(items))) and [*originals] == [*items[: len(originals)]]
    if not 0 < len(originals) <= MOST_ITEMS or not in_order:
        raise _Wrong(f"a round has 1 to {MOST_ITEMS:,} pictures by their positions, and its repeats after them")
    if any(row["repeat_of"] is not None and row["repeat_of"] >= len(originals) for row in items):
        raise _Wrong("a repeat is of no picture of the round")
    return items


def _pictures(value: object, digests: set[str]) -> dict[str, bytes]:
    pictures = _mapping(value, "pictures", MOST_ITEMS, _picture)
    if set(pictures) != digests:
        raise _Wrong("its small pictures are not those of its items")
    return pictures


def _check_versions(name: str, rows: Sequence[Row]) -> None:
    """Each subject's versions are 1, 2, ...: nothing is missing between them."""
    subject = {"round_log": (), "members": ("person",), "votes": ("position", "person"), "verdicts": ("position",)}[name]
    latest: dict[tuple[object, ...], int] = {}
    for row in rows:
        key = tuple(row[column] for column in subject)
        if row["version"] != latest.get(key, 0) + 1:
            raise _Wrong(f"lines of its log '{name}' are missing or in another order")
        latest[key] = row["version"]


def _check_once(name: str, keys: Sequence[tuple[object, ...]]) -> None:
    if len(set(keys)) < len(keys):
        raise _Wrong(f"'{name}' has a line twice")


def _object(value: object, where: str, names: Sequence[str]) -> Row:
    if not isinstance(value, dict) or set(value) != set(names):
        raise _Wrong(f"{where} does not have exactly the entries {', '.join(names)}")
    return value


def _mapping(value: object, where: str, most: int, read: Callable[[object, str], Value]) -> dict[str, Value]:
    if not isinstance(value, dict) or len(value) > most:
        raise _Wrong(f"'{where}' is not a list of at most {most:,} names with values")
    return {_text(name, where, LONGEST_NAME): read(entry, where) for name, entry in value.items()}


def _list(value: object, where: str, most: int, read: Callable[[object, str], Value]) -> tuple[Value, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise _Wrong(f"'{where}' is not a list of at most {most:,} entries")
    return tuple(read(entry, f"{where}, entry {number}") for number, entry in enumerate(value, 1))


def _text(value: object, where: str, most: int = LONGEST_TEXT) -> str:
    """A text that every database stores: without null characters and halves of characters."""
    if not isinstance(value, str) or len(value) > most:
        raise _Wrong(f"{where} is not a text of at most {most:,} characters")
    if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
        raise _Wrong(f"{where} has characters that no text has")
    return value


def _integer(value: object, where: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _Wrong(f"{where} is not a whole number from {low:,} to {high:,}" if low <= high else f"{where} has no meaning")
    return value


def _number(value: object, where: str, low: float, high: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:  # NaN is not
        raise _Wrong(f"{where} is not a number from {low:g} to {high:g}")
    return float(value)


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"{where} is neither true nor false")
    return value


def _plain(value: object, where: str) -> str | float | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) > 1e15:
            raise _Wrong(f"{where} has a number that no option takes")
        return value
    return _text(value, where, LONGEST_NAME)


def _one_of(value: object, where: str, allowed: Sequence[str] | Mapping[str, str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise _Wrong(f"{where} is none of {', '.join(name for name in allowed if name)}")
    return value


def _time(value: object, where: str) -> datetime:
    try:
        time = datetime.fromisoformat(_text(value, where, 40))
        return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise _Wrong(f"{where} is not a time") from None


def _digest(value: object, where: str) -> str:
    text = _text(value, where, 64)
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise _Wrong(f"{where} has no SHA-256")
    return text


def _picture(value: object, where: str) -> bytes:
    """A small WebP picture in base64, decoded once as a check."""
    try:
        data = base64.b64decode(value if isinstance(value, str) else "", validate=True)
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
            if max(picture.size) > LARGEST_SIDE or getattr(picture, "n_frames", 1) > 1:
                raise _Wrong(f"a picture of '{where}' is no small copy: its sides may have {LARGEST_SIDE:,} pixels")
            picture.load()
    except (binascii.Error, ValueError, OSError, Image.DecompressionBombError):
        raise _Wrong(f"a picture of '{where}' is not an intact WebP picture in base64") from None
    return data
