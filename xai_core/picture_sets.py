"""Many pictures as one thing: a folder (with or without a subfolder for each class), a ZIP archive of one, the samples.

Nothing is unpacked: an entry of an archive is read into memory when its turn comes, up to the size that is opened at all.
"""

import hashlib
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from xai_core.errors import BadPicture, BadRequest
from xai_core.keys import bytes_digest
from xai_core.pictures import MAX_BYTES, SUFFIXES, open_picture
from xai_core.samples import SAMPLES, load_sample

SAMPLE_SET = "samples"
MOST = 1_000_000  # entries of an archive
_WNID = re.compile(r"n\d{8}(?=[_.-])")


@dataclass(frozen=True)
class Entry:
    """One picture: its name within the set, and the class that its place tells (a subfolder, or the WordNet id with which a
    file's name begins; "" where neither does). `read()` gives the file's bytes."""

    name: str
    label: str
    read: Callable[[], bytes]

    def opened(self) -> Image.Image:
        """Raises BadPicture."""
        return load_sample(self.name) if self.name in SAMPLES else open_picture(self.read())

    @property
    def digest(self) -> str:
        """SHA-256 of the file, which names it in links as well. Raises BadPicture."""
        return bytes_digest(self.read())


@dataclass(frozen=True)
class PictureSet:
    """`name` for people, `kind` "samples", "folder" or "archive", and the entries in the order of their names."""

    name: str
    kind: str
    entries: tuple[Entry, ...]

    def drawn(self, count: int | None, seed: int) -> tuple[Entry, ...]:
        """`count` pictures drawn at random, or all of them in random order. Each picture's place in the order depends on
        its name and the seed alone: more of them begin with the same ones, whatever else comes to lie beside them."""
        if count is not None and count < 1:
            raise BadRequest(f"At least one picture is needed, not {count}.")

        def place(entry: Entry) -> str:
            return hashlib.sha256(f"{seed} {entry.name}".encode()).hexdigest()

        return tuple(sorted(self.entries, key=place)[:count])


def picture_set(source: str | Path) -> PictureSet:
    """A set by the path of a folder or a ZIP archive, or "samples". Raises BadRequest where there is no picture in it."""
    path = Path(source)
    if str(source) == SAMPLE_SET and not path.exists():
        entries = tuple(Entry(name, "", lambda name=name: load_sample(name).tobytes()) for name in SAMPLES)
        return PictureSet(SAMPLE_SET, "samples", entries)
    if path.is_dir():
        found = PictureSet(path.resolve().name, "folder", _in_folder(path))
    elif path.is_file():
        found = PictureSet(path.name, "archive", _in_archive(path))
    else:
        raise BadRequest(f"There is no folder or archive {source}; give one with pictures, or '{SAMPLE_SET}'.")
    if not found.entries:
        raise BadRequest(f"There is no picture in {source} (looked for {', '.join(sorted(SUFFIXES))}).")
    return found


def _in_folder(path: Path) -> tuple[Entry, ...]:
    files = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
    return tuple(
        Entry(name, _label(name), lambda file=file: _file_bytes(file))
        for file in files
        if not (name := file.relative_to(path).as_posix()).startswith(".") and "/." not in name
    )


def _file_bytes(file: Path) -> bytes:
    """At most one byte more than is opened: the rest is then refused by its size."""
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadPicture(f"Cannot read {file.name}: {error.strerror or error}.") from None


def _in_archive(path: Path) -> tuple[Entry, ...]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise BadRequest(f"{path} is neither a folder nor an intact ZIP archive: {error}.") from None
    if len(names) > MOST:
        raise BadRequest(f"{path} has {len(names)} entries; at most {MOST} are looked at.")
    if len(set(names)) < len(names):
        raise BadRequest(f"{path} holds several files of one name; pack it again without them.")
    kept = (
        name
        for name in sorted(names)
        if PurePosixPath(name).suffix.lower() in SUFFIXES
        and not name.startswith((".", "/", "__MACOSX"))
        and "/." not in name
    )
    return tuple(Entry(name, _label(name), lambda name=name: _entry_bytes(path, name)) for name in kept)


def _entry_bytes(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as entry:
            return entry.read(MAX_BYTES + 1)
    except (OSError, KeyError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile) as error:
        raise BadPicture(f"Cannot read {name} in {path.name}: {error}.") from None  # RuntimeError: it has a password
    except Exception as error:  # decompressors raise what they stumble over
        raise BadPicture(f"{name} in {path.name} is damaged: {error}.") from None


def _label(name: str) -> str:
    path = PurePosixPath(name)
    wnid = _WNID.match(path.name)
    return path.parent.name or (wnid[0] if wnid else "")
