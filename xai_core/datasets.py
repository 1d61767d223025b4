"""Labelled pictures: a folder with one subfolder for each class, or a ZIP of one, read in place."""

import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from xai_core.errors import BadPicture, BadRequest
from xai_core.pictures import FORMATS, MAX_BYTES, SUFFIXES, open_picture

MAX_PICTURES = 1_000_000


@dataclass(frozen=True)
class Labelled:
    """One picture of a dataset: its name there (class/file.jpg), unique; the class it is said to be of ("" for none)."""

    name: str
    label: str


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures that are opened one by one; `read` gives a picture's bytes, or the path of its file."""

    title: str
    samples: tuple[Labelled, ...]
    read: Callable[[str], bytes | Path]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({sample.label for sample in self.samples if sample.label}))

    def open(self, name: str) -> Image.Image:
        """One picture, upright, in RGB. Raises BadPicture."""
        return open_picture(self.read(name))


def open_folder(folder: Path) -> Dataset:
    """A folder with one subfolder of pictures for each class, sorted. Raises BadRequest where it is none."""
    if not folder.is_dir():
        raise BadRequest(f"{folder} is not a folder; give one with a subfolder for each class.")
    found = [
        Labelled(f"{path.parent.name}/{path.name}", path.parent.name)
        for path in sorted(folder.glob("*/*"))
        if _is_picture(path) and path.is_file()
    ]
    return _checked(Dataset(folder.name, tuple(found), lambda name: folder / name))


def open_zip(file: Path) -> Dataset:
    """A ZIP of such a folder; what lies around the classes' folders is left out. Nothing is unpacked to the disk.

    A member is read up to the size of the largest picture that is opened, whatever the archive says of it.
    """
    try:
        archive = zipfile.ZipFile(file)
        members = {
            f"{path.parent.name}/{path.name}": one.filename
            for one in archive.infolist()
            if not one.is_dir() and _is_picture(path := PurePosixPath(one.filename)) and path.parent.name
        }
    except (OSError, zipfile.BadZipFile) as error:
        raise BadRequest(f"{file.name} is no ZIP archive that can be read ({error}).") from None
    lock = threading.Lock()

    def read(name: str) -> bytes:
        try:
            with lock, archive.open(members[name]) as member:
                return member.read(MAX_BYTES + 1)
        except Exception as error:  # damaged, encrypted, or packed in a way that Python does not know
            raise BadPicture(f"{name} cannot be read from {file.name} ({error}).") from None

    return _checked(Dataset(file.stem, tuple(Labelled(name, name.partition("/")[0]) for name in sorted(members)), read))


def open_labelled(source: Path) -> Dataset:
    return open_zip(source) if source.suffix.lower() == ".zip" else open_folder(source)


def _is_picture(path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


def _checked(dataset: Dataset) -> Dataset:
    if len(dataset.classes) < 2:
        raise BadRequest(
            f"{dataset.title} holds pictures of fewer than two classes; give a folder with a subfolder of pictures "
            f"({', '.join(FORMATS)}) for each class."
        )
    return dataset
