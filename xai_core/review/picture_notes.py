"""Tags and notes that people leave on pictures of a dataset: a log in the database of reviews.

A dataset is known by its content (`Dataset.digest`), so that two datasets of one title have separate notes. A picture is
known by its name in the dataset. With each note stand the dataset's title and the SHA-256 of the picture's file: after
pictures were added or changed, the notes of the earlier state of the dataset still count for pictures that are the same.

Earlier versions of this program stored notes in JSON files in `data/notes/`, or in the folder that XAI_NOTES names. When the
notes of a dataset are loaded, its file is imported, once; the file stays as it is.
"""

import csv
import io
import json
import logging
import os
import re
import threading
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import cachetools
from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, insert, select, text

from xai_core.core import settings
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadRequest
from xai_core.core.files import parse_json, read_regular
from xai_core.core.spreadsheet import guarded, unguarded
from xai_core.data.datasets import Dataset
from xai_core.review import tables
from xai_core.review.database import StoreUnavailable, add_person, follow, latest_of, now, reading, writing
from xai_core.review.people import Person
from xai_core.review.rounds import UNREADABLE, content

LONGEST = 2000  # characters of a note
LONGEST_TAG = 60
LONGEST_TITLE = 300  # of a dataset's title, of which more is not compared
LONGEST_NAME = 1024  # bytes of a picture's name: an index of PostgreSQL takes 2,700
MOST = 100_000  # pictures with a note
MOST_BYTES = 64 * 2**20  # of a file of notes
DIGITS = 16  # of a dataset's digest in the name of a file of an earlier version
UNKNOWN = ""  # instead of that of a picture that the dataset did not have when the note was stored: it fits any


class Note(NamedTuple):
    """What people wrote about one picture: tags in alphabetical order, and free text."""

    tags: tuple[str, ...] = ()
    text: str = ""


class StoredNote(NamedTuple):
    """A note in the store, who wrote it, and when (UTC). A change must follow its `version`.

    Version 0: the note is of an earlier state of the dataset, and nobody has changed it in this one.
    """

    note: Note
    version: int
    person: Person
    at: datetime


Notes = Mapping[str, Note]  # by the picture's name in the dataset


def note(tags: object, text: object = "") -> Note:
    """A note from user input: tags (a list, or text with commas) stripped and without duplicates.

    Raises BadRequest if the text is longer than LONGEST.
    """
    items = tags.split(",") if isinstance(tags, str) else list(tags) if isinstance(tags, list | tuple) else []
    clean = sorted({_clean(str(tag))[:LONGEST_TAG].strip() for tag in items} - {""})
    if len(str(text)) > LONGEST:
        raise BadRequest(f"A note may have {LONGEST} characters; this one has {len(str(text))}.")
    return Note(tuple(clean), _clean(str(text)))


def _clean(text: str) -> str:
    """Without white space around it, and without the characters that a database refuses: control characters, halves of
    surrogate pairs."""
    return "".join(sign for sign in text if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cs")).strip()


def load(engine: Engine, dataset: Dataset) -> dict[str, StoredNote]:
    """The notes of a dataset by the pictures' names; removed ones are left out. Raises StoreUnavailable."""
    import_files(engine, dataset)
    notes = _current(engine, dataset)
    return {name: stored for name, stored in notes.items() if stored.note != Note()}


def find(engine: Engine, dataset: Dataset, name: str) -> StoredNote | None:
    """The last note on one picture, an empty one where it was removed; None where there never was one.

    Raises StoreUnavailable.
    """
    import_files(engine, dataset)
    return _current(engine, dataset, tables.notes.c.name == name).get(name)


def put(engine: Engine, dataset: Dataset, name: str, new: Note, person: Person, seen: int) -> int:
    """Store a note on one picture, after version `seen` (0: there was none); returns its version. An empty one removes it.

    Where the stored note says the same already, nothing is written. Raises StaleEdit where somebody else has changed it
    since, StoreUnavailable, ReadOnly, and BadRequest for a name that no picture can have.
    """
    row = _row(dataset, _checked_name(name), new, person)
    n = tables.notes.c
    with writing(engine) as connection:
        query = select(n.version, n.tags, n.text).where(n.dataset == dataset.digest, n.name == name)
        latest = connection.execute(query.order_by(n.version.desc()).limit(1)).first()
        if latest is not None and Note(tuple(latest.tags), latest.text) == new:
            return int(latest.version)
        add_person(connection, person)
        subject = {"dataset": row.pop("dataset"), "name": row.pop("name")}
        follow(connection, tables.notes, subject, seen, row, f"the note on {name}")
    return seen + 1


def add(engine: Engine, dataset: Dataset, notes: Notes, person: Person) -> None:
    """Merge notes into those of the dataset, as `merged` does: all of them or none. Raises StoreUnavailable, ReadOnly."""
    _add(engine, dataset, notes, person)


def _add(engine: Engine, dataset: Dataset, notes: Notes, person: Person, unless: ColumnElement[bool] | None = None) -> None:
    """`add`, unless there is a row of the log for which `unless` is true."""
    before = _current(engine, dataset)  # reads pictures, perhaps many: here, where nobody waits for this writer
    digests = {name: _sha256(dataset, _checked_name(name)) for name in notes}
    n = tables.notes
    with writing(engine) as connection:
        add_person(connection, person)
        if connection.dialect.name == "postgresql":  # a writer of SQLite is alone already
            connection.execute(text("LOCK TABLE notes IN SHARE ROW EXCLUSIVE MODE"))
        if unless is not None and connection.execute(select(n.c.id).where(unless).limit(1)).first():
            return
        own = {row["name"]: _stored(row) for row in _latest(connection, n.c.dataset == dataset.digest)}
        result = merged({name: stored.note for name, stored in (before | own).items()}, notes)
        rows = [
            _row(dataset, name, result[name], person, digests[name])
            | {"version": own[name].version + 1 if name in own else 1, "at": now()}
            for name in notes
            if name not in own or own[name].note != result[name]
        ]
        if rows:
            connection.execute(insert(n), rows)


def _current(engine: Engine, dataset: Dataset, *conditions: ColumnElement[bool]) -> dict[str, StoredNote]:
    """The last note on each picture: of this dataset, else of an earlier state of it if the picture is the same."""
    n = tables.notes.c
    with reading(engine) as connection:
        own = _latest(connection, n.dataset == dataset.digest, *conditions)
        earlier = _latest(connection, n.title == _title(dataset), n.dataset != dataset.digest, *conditions)
    result, names = {row["name"]: _stored(row) for row in own}, dataset.names
    for row in earlier:
        name = row["name"]
        if name in names and name not in result and row["sha256"] in (UNKNOWN, _sha256(dataset, name)):
            result[name] = _stored(row)._replace(version=0)
    return result


def _latest(connection: Connection, *conditions: ColumnElement[bool]) -> list[RowMapping]:
    """The last note on each picture of each dataset, with the name of its writer; what was said last comes first."""
    n, p = tables.notes, tables.people
    query = select(n, p.c.name.label("who"), p.c.verified).join(p, p.c.key == n.c.person)
    query = query.where(latest_of(n, "dataset", "name"), *conditions).order_by(n.c.id.desc())
    return list(connection.execute(query).mappings())


def _stored(row: RowMapping) -> StoredNote:
    person = Person(row["person"], row["who"], row["verified"])
    return StoredNote(Note(tuple(row["tags"]), row["text"]), row["version"], person, row["at"])


def _title(dataset: Dataset) -> str:
    return _clean(dataset.title)[:LONGEST_TITLE]


def _row(dataset: Dataset, name: str, one: Note, person: Person, digest: str | None = None) -> dict[str, Any]:
    """A row of the log without its version and time."""
    return {
        "dataset": dataset.digest, "title": _title(dataset), "name": name,
        "sha256": _sha256(dataset, name) if digest is None else digest,
        "tags": list(one.tags), "text": one.text, "person": person.key,
    }  # fmt: skip


@cachetools.cached(cachetools.LRUCache(2 * MOST), key=lambda dataset, name: (dataset.digest, name), lock=threading.Lock())
def _sha256(dataset: Dataset, name: str) -> str:
    if name not in dataset.names:
        return UNKNOWN
    try:
        return bytes_digest(content(dataset, name))
    except UNREADABLE:
        return "unreadable"


def _checked_name(name: str) -> str:
    if "\0" in name or not 0 < len(name.encode("utf-8", "surrogatepass")) <= LONGEST_NAME or any(map(_is_half, name)):
        raise BadRequest(
            f"The picture '{_clean(name)[:60]}' cannot have a note: its name is empty, longer than {LONGEST_NAME:,} bytes, "
            "or contains characters that cannot be stored."
        )
    return name


def _is_half(sign: str) -> bool:
    return unicodedata.category(sign) == "Cs"  # of a surrogate pair


def to_json(notes: Notes) -> bytes:
    """{name: {"tags": [...], "note": text}}, sorted by name."""
    entries = {name: {"tags": list(one.tags), "note": one.text} for name, one in sorted(notes.items())}
    return (json.dumps(entries, indent=1, ensure_ascii=False) + "\n").encode()


def to_csv(notes: Notes) -> bytes:
    """Columns name, tags (with commas between), note."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(["name", "tags", "note"])
    writer.writerows(map(guarded, (name, ", ".join(one.tags), one.text)) for name, one in sorted(notes.items()))
    return lines.getvalue().encode("utf-8-sig")  # spreadsheets read umlauts only with the mark


def read(file: str, data: bytes) -> dict[str, Note]:
    """Notes from what `to_json` or `to_csv` wrote. Raises BadRequest where it is neither."""
    if len(data) > MOST_BYTES:
        raise BadRequest(f"{file} has {len(data) / 2**20:,.0f} MB; a file of notes has at most {MOST_BYTES // 2**20} MB.")
    try:
        text = data.decode("utf-8-sig")
        if file.lower().endswith(".csv"):
            rows = list(csv.DictReader(io.StringIO(text)))
            notes = {
                unguarded(row["name"]): note(unguarded(row.get("tags") or ""), unguarded(row.get("note") or ""))
                for row in rows
            }
        else:
            notes = {name: note(entry["tags"], entry["note"]) for name, entry in parse_json(text).items()}
        for name in notes:
            _checked_name(name)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise BadRequest(
            f"{file} holds no notes: give a CSV with the columns name, tags, note, or a JSON file that was exported here."
        ) from error
    if len(notes) > MOST:
        raise BadRequest(f"{file} has notes on {len(notes):,} pictures; at most {MOST:,} can be stored.")
    return {name: one for name, one in notes.items() if one != Note()}


def merged(mine: Notes, theirs: Notes) -> dict[str, Note]:
    """The notes of both: tags are joined, and where the texts differ both are kept, mine first."""
    result = dict(mine)
    for name, other in theirs.items():
        own = result.get(name, Note())
        texts = [own.text] if other.text in own.text else [own.text, other.text]
        result[name] = note([*own.tags, *other.tags], "\n".join(text for text in texts if text)[:LONGEST])
    return result


_looked_at: cachetools.LRUCache[object, tuple[str, ...]] = cachetools.LRUCache(64)
_looking = threading.Lock()


def import_files(engine: Engine, dataset: Dataset) -> tuple[str, ...]:
    """Import the file of a dataset's notes that an earlier version of this program wrote; returns what could not be
    imported, in sentences.

    The notes are of a person named "Imported", who has a key of their own for each file: a file whose person is in the log
    has been imported. Nothing is imported where nothing may be written (XAI_READONLY).
    """
    if settings.READONLY.value():
        return ()
    files = _files(dataset)
    if not files:
        return ()
    key = (engine.url, dataset.digest, *((file, _state(file)) for file in files))
    with _looking:
        if key not in _looked_at:
            try:
                _looked_at[key] = _import(engine, dataset, files)
            except StoreUnavailable as error:
                return (f"Notes of an earlier version were not imported. {error}",)
            for sentence in _looked_at[key]:
                logging.getLogger(__name__).warning("%s", sentence)
        return _looked_at[key]


def _import(engine: Engine, dataset: Dataset, files: Iterable[Path]) -> tuple[str, ...]:
    """Import the first of the files that has notes of this dataset."""
    problems, n = [], tables.notes.c
    for file in files:
        whole = _is_of(file, dataset)
        person = Person(f"file:{bytes_digest(os.fsencode(file.name))[:24]}", "Imported", True)  # nobody could type this key
        imported = n.person == person.key
        if whole:
            imported &= n.dataset == dataset.digest
        with reading(engine) as connection:
            done = connection.execute(select(n.id).where(imported).limit(1)).first() is not None
        if done and whole:
            break
        try:
            notes = _notes_in(file, dataset, whole)
        except BadRequest as error:
            problems.append(f"Notes of an earlier version were not imported. {error}")
            continue
        if notes and not done:
            _add(engine, dataset, notes, person, unless=imported)
        if notes or whole:
            break
    return tuple(problems)


def _files(dataset: Dataset) -> list[Path]:
    """The files that may have notes of this dataset: that of its content, TITLE-DIGEST.json with any title. Without one,
    those of its title, the latest first, and then TITLE.json, the name before files were named by content."""
    stem, there = re.sub(r"[^A-Za-z0-9_.-]", "_", dataset.title).lstrip("."), sorted(settings.notes_folder().glob("*.json"))
    own = [file for file in there if _is_of(file, dataset)]
    by_content = re.compile(rf"{re.escape(stem)}-[0-9a-f]{{{DIGITS}}}\.json")
    of_title = sorted((file for file in there if by_content.fullmatch(file.name)), key=_state, reverse=True)
    return own[:1] or [*of_title, *(file for file in there if file.name == f"{stem}.json")]


def _is_of(file: Path, dataset: Dataset) -> bool:
    return file.name.endswith(f"-{dataset.digest[:DIGITS]}.json")


def _state(file: Path) -> tuple[int, int]:
    """When a file was changed, and its size."""
    try:
        status = file.lstat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _notes_in(file: Path, dataset: Dataset, whole: bool) -> dict[str, Note]:
    """The notes in a file; where it is not of this dataset's content (`whole`), those on pictures that the dataset has, with
    the same content where the file tells it. Raises BadRequest."""
    try:
        data = read_regular(file, MOST_BYTES)
    except OSError as error:
        raise BadRequest(f"{file.name} cannot be read ({error.strerror or error}). Repair it or move it away.") from error
    notes = read(file.name, data)
    if whole:
        return notes
    contents, names = {name: entry.get("content") for name, entry in parse_json(data).items()}, dataset.names & {*notes}
    return {name: one for name, one in notes.items() if name in names and contents[name] in (None, dataset.content(name))}
