"""Tags and notes that people leave on pictures of a dataset: kept in a file, exported, imported again.

Each dataset has one JSON file in `data/notes/`, or in the folder that XAI_NOTES names. The file is named by the content of
the dataset (`Dataset.digest`), so that two datasets of one title have separate notes. It is replaced as a whole, under a
lock, so that simultaneous writers lose nothing, and a note that its writer has not seen is not replaced. On a machine
without a durable disk, export what you want to keep.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from xai_core.core import settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.files import parse_json, read_regular, write_atomically
from xai_core.core.spreadsheet import guarded, unguarded
from xai_core.data.datasets import Dataset

LONGEST = 2000  # characters of a note
MOST = 100_000  # pictures with a note
MOST_BYTES = 64 * 2**20  # of a file of notes
WAIT_SECONDS = 10.0  # for other writers
DIGITS = 16  # of a dataset's digest in a file's name


class Note(NamedTuple):
    """What people wrote about one picture: tags in alphabetical order, and free text."""

    tags: tuple[str, ...] = ()
    text: str = ""


class NoteChanged(BadRequest):
    """Someone else has changed a note since its writer saw it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Someone else has changed the note on {name}. Compare both versions, then save again.")


Notes = Mapping[str, Note]  # by the picture's name in the dataset


def note(tags: object, text: object = "") -> Note:
    """A note from user input: tags (a list, or text with commas) stripped and without duplicates.

    Raises BadRequest if the text is longer than LONGEST.
    """
    items = tags.split(",") if isinstance(tags, str) else list(tags) if isinstance(tags, list | tuple) else []
    clean = sorted({str(tag).strip()[:60] for tag in items} - {""})
    if len(str(text)) > LONGEST:
        raise BadRequest(f"A note may have {LONGEST} characters; this one has {len(str(text))}.")
    return Note(tuple(clean), str(text).strip())


def place(dataset: Dataset) -> Path:
    """The file of a dataset's notes: TITLE-DIGEST.json. A file with another title but this digest is used as well."""
    digest = dataset.digest[:DIGITS]
    there = sorted(settings.notes_folder().glob(f"*-{digest}.json"))
    return there[0] if there else settings.notes_folder() / f"{_stem(dataset)}-{digest}.json"


def load(dataset: Dataset) -> dict[str, Note]:
    """The notes of a dataset; none where there is no file. Raises BadRequest where the file is damaged.

    Where this content has no file yet, notes are taken from the latest file of the same title that fits: one written before
    pictures were added or changed, of which those pictures count that are the same now; or TITLE.json, the name before
    files were named by content, of which all pictures count that the dataset has. The next change writes them to the new
    file; the old one stays as it is.
    """
    file = place(dataset)
    if os.path.lexists(file):
        return read(file.name, _content(file))
    for earlier in _of_title(dataset):
        notes = _still_true(earlier, dataset)
        if notes:
            return notes
    return {}


def _content(file: Path) -> bytes:
    """Raises BadRequest where it is no file, cannot be read, or is larger than any that is written here."""
    try:
        return read_regular(file, MOST_BYTES)
    except OSError as error:
        why = error.strerror or error
        raise BadRequest(
            f"The notes in {file.name} cannot be read ({why}): move this file away. Export notes to keep a copy."
        ) from error


def put(dataset: Dataset, name: str, new: Note, before: Note | None = None) -> Note:
    """Replace one picture's note and return it as stored; an empty note is removed. Raises BadRequest.

    `before` is the note that the writer saw. If someone else has changed it since, nothing is written: NoteChanged.
    """
    with _locked(dataset):
        notes = load(dataset)
        stored = notes.get(name, Note())
        if before is not None and stored not in (before, new):
            raise NoteChanged(name)
        _write(dataset, notes | {name: new})
    return new


def add(dataset: Dataset, notes: Notes) -> dict[str, Note]:
    """Merge notes into those of the dataset, as `merged` does, and return all. Raises BadRequest."""
    with _locked(dataset):
        result = merged(load(dataset), notes)
        _write(dataset, result)
    return result


def to_json(notes: Notes) -> bytes:
    """{name: {"tags": [...], "note": text}}, sorted by name."""
    return _json({name: _entry(one) for name, one in sorted(notes.items())})


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


@contextmanager
def _locked(dataset: Dataset) -> Iterator[None]:
    """Alone among all processes that write to these notes."""
    folder = settings.notes_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / f"{dataset.digest[:DIGITS]}.lock", timeout=WAIT_SECONDS)
        with lock:
            yield
    except filelock.Timeout:
        raise BadRequest("Someone else is writing these notes. Try again in a moment.") from None
    except OSError as error:
        raise BadRequest(f"Notes cannot be stored in {folder} ({error.strerror or error}). Export them.") from error


def _write(dataset: Dataset, notes: Notes) -> None:
    """Write the file; with each note what is known of its picture's content. Call it under the lock."""
    names = dataset.names
    entries = {}
    for name, one in sorted(notes.items()):
        if one != Note():
            entries[name] = _entry(one) | ({"content": dataset.content(name)} if name in names else {})
    file, data = place(dataset), _json(entries)
    if len(data) > MOST_BYTES:
        raise BadRequest(f"All notes together may have {MOST_BYTES // 2**20} MB. Export them and shorten some.")
    try:
        write_atomically(file, data)
    except XaiError as error:
        raise BadRequest(f"The notes cannot be stored: {error} Export them.") from error


def _entry(one: Note) -> dict[str, Any]:
    return {"tags": list(one.tags), "note": one.text}


def _json(entries: Mapping[str, Any]) -> bytes:
    return (json.dumps(entries, indent=1, ensure_ascii=False) + "\n").encode()


def _stem(dataset: Dataset) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", dataset.title).lstrip(".")


def _of_title(dataset: Dataset) -> list[Path]:
    """Files of datasets of this title, the latest first; then TITLE.json."""
    stem = _stem(dataset)
    by_content = re.compile(rf"{re.escape(stem)}-[0-9a-f]{{{DIGITS}}}\.json")
    files = [file for file in settings.notes_folder().glob("*.json") if by_content.fullmatch(file.name)]
    old = settings.notes_folder() / f"{stem}.json"
    return [*sorted(files, key=lambda file: file.stat().st_mtime, reverse=True), *([old] if old.is_file() else [])]


def _still_true(file: Path, dataset: Dataset) -> dict[str, Note]:
    """The notes of an earlier file on pictures that the dataset has, with the same content where the file tells it."""
    data = _content(file)
    notes, contents = read(file.name, data), {name: entry.get("content") for name, entry in parse_json(data).items()}
    names = dataset.names & {*notes}
    return {name: one for name, one in notes.items() if name in names and contents[name] in (None, dataset.content(name))}
