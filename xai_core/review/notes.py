"""Tags and notes that people leave on pictures of a dataset: kept in a file, exported, imported again.

One JSON file for each dataset, in `data/notes/` or the folder that XAI_NOTES names; written whole or not at all. Where
there is no durable disk, export what you want to keep.
"""

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.explanation.export import write_atomically

LONGEST = 2000  # characters of a note
MOST = 100_000  # pictures with a note


class Note(NamedTuple):
    """What is said of one picture: tags in alphabetical order, and free text."""

    tags: tuple[str, ...] = ()
    text: str = ""


Notes = Mapping[str, Note]  # by the picture's name in the dataset


def note(tags: object, text: object = "") -> Note:
    """A note from what people typed: tags without blanks around them, none twice. Raises BadRequest where it is too long."""
    given = tags.split(",") if isinstance(tags, str) else list(tags) if isinstance(tags, list | tuple) else []
    clean = sorted({str(tag).strip()[:60] for tag in given} - {""})
    if len(str(text)) > LONGEST:
        raise BadRequest(f"A note may have {LONGEST} characters; this one has {len(str(text))}.")
    return Note(tuple(clean), str(text).strip())


def place(dataset: str) -> Path:
    """The file of a dataset's notes."""
    return settings.notes_folder() / (re.sub(r"[^A-Za-z0-9_.-]", "_", dataset).lstrip(".") + ".json")


def load(dataset: str) -> dict[str, Note]:
    """The notes of a dataset; none where there is no file. Raises BadRequest where the file is damaged."""
    file = place(dataset)
    return read(file.name, file.read_bytes()) if file.is_file() else {}


def save(dataset: str, notes: Notes) -> None:
    """Keep the notes of a dataset. Raises BadRequest where they cannot be written; what was there stays."""
    file = place(dataset)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, to_json(notes))
    except OSError as error:
        raise BadRequest(f"The notes cannot be kept in {file} ({error.strerror or error}). Export them.") from error


def put(dataset: str, name: str, one: Note) -> dict[str, Note]:
    """Keep one picture's note; an empty one is taken away. Returns all."""
    notes = load(dataset) | {name: one}
    if one == Note():
        notes.pop(name)
    save(dataset, notes)
    return notes


def to_json(notes: Notes) -> bytes:
    said = {name: {"tags": list(one.tags), "note": one.text} for name, one in sorted(notes.items())}
    return (json.dumps(said, indent=1, ensure_ascii=False) + "\n").encode()


def to_csv(notes: Notes) -> bytes:
    """Columns name, tags (with commas between), note."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(["name", "tags", "note"])
    writer.writerows([name, ", ".join(one.tags), one.text] for name, one in sorted(notes.items()))
    return lines.getvalue().encode("utf-8-sig")  # spreadsheets read umlauts only with the mark


def read(file: str, data: bytes) -> dict[str, Note]:
    """Notes from what `to_json` or `to_csv` wrote. Raises BadRequest where it is neither."""
    try:
        words = data.decode("utf-8-sig")
        if file.lower().endswith(".csv"):
            rows = list(csv.DictReader(io.StringIO(words)))
            found = {row["name"]: note(row.get("tags") or "", row.get("note") or "") for row in rows}
        else:
            found = {name: note(one["tags"], one["note"]) for name, one in json.loads(words).items()}
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise BadRequest(f"{file} holds no notes: a CSV with the columns name, tags, note, or our JSON.") from error
    if len(found) > MOST:
        raise BadRequest(f"{file} has notes on {len(found):,} pictures; at most {MOST:,} can be kept.")
    return {name: one for name, one in found.items() if one != Note()}


def merged(mine: Notes, theirs: Notes) -> dict[str, Note]:
    """Both: tags are joined, and where the texts differ both stand, mine first."""
    found = dict(mine)
    for name, other in theirs.items():
        own = found.get(name, Note())
        texts = [own.text] if other.text in own.text else [own.text, other.text]
        found[name] = note([*own.tags, *other.tags], "\n".join(text for text in texts if text)[:LONGEST])
    return found
