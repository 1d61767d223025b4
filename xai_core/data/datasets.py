"""Datasets of pictures, with or without labels: a folder with one subfolder for each class, a ZIP of one, a table, a world.

A table is a CSV or Parquet file with the columns `path` and `label`; its paths begin at the folder of the table. Its other
columns, or a `metadata.csv` beside the folders, are the pictures' metadata. Pictures are opened one by one, so that a
dataset of any size takes little memory. A ZIP is read in place and never unpacked; a world's pictures are drawn.
"""

import io
import math
import os
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pandas as pd
from PIL import Image

from xai_core.core import settings, tables
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture, BadRequest, UnknownName
from xai_core.core.files import open_regular
from xai_core.data import metadata
from xai_core.data.image_io import FORMATS, MAX_BYTES, SUFFIXES, open_picture
from xai_core.data.world import planted as worlds
from xai_core.data.world.planted import World
from xai_core.data.world.scene import Scene, draw

TABLES = (".csv", ".parquet")
LONGEST_NAME = 4096  # characters of a path in a table
MAX_PICTURES = 1_000_000
MAX_ZIP_RATIO = 100  # how many times its own size an archive may state as its unpacked size; photographs hardly shrink
FREE_ZIP_BYTES = 100 * 2**20  # archives that unpack to less are opened whatever their ratio
WORLD = "world:"  # the beginning of the names of worlds
USUAL_WORLD = "world:planted"
WORLD_SEED, WORLD_TEST, WORLD_TRAIN = 0, 1_000, 6_000  # the seed of the worlds that are offered, and their pictures
BLOCK = 8 * 2**10  # bytes; three such blocks of each file are digested, so that a large dataset takes seconds


@dataclass(frozen=True)
class Labelled:
    """One picture: its name in the dataset (class/file.jpg), unique there; its class, "" where none is given."""

    name: str
    label: str


@dataclass(frozen=True)
class Dataset:
    """Pictures that are opened one by one.

    `read` returns a picture's bytes, or the path of its file, by its name. `checksum` returns a text that changes with a
    picture's content; it is given where that is known without reading the picture. Without it, `digest` reads the files.
    `metadata` has a row for each picture (see data/metadata.py). `scene` returns what a picture of a world is drawn from.
    """

    title: str
    samples: tuple[Labelled, ...]
    read: Callable[[str], bytes | Path]
    checksum: Callable[[str], str] | None = None
    metadata: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False)
    scene: Callable[[str], Scene] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({sample.label for sample in self.samples} - {""}))

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all pictures."""
        return frozenset(sample.name for sample in self.samples)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the name, label and content of every picture, in order; caches, predictions and notes are keyed by it.

        The title, the place on disk and the metadata are not part of it: a renamed or copied folder keeps its digest, and
        datasets of one title differ. A picture's content is its `checksum` (in a ZIP: size and CRC-32); without one, the
        size of its file and 8 KiB each from the beginning, the middle and the end. So a change inside an uncompressed
        picture that keeps the size and lies between these blocks is not noticed. Computed on first use, 20,000 to 50,000
        files a second.
        """
        return bytes_digest(repr([(one.name, one.label, self.content(one.name)) for one in self.samples]).encode())

    def content(self, name: str) -> str:
        """What `digest` knows of one picture's content; "unreadable" where its file cannot be read."""
        if self.checksum:
            return self.checksum(name)
        try:
            return _blocks_digest(self.read(name))
        except (OSError, BadPicture):
            return "unreadable"

    def open(self, name: str) -> Image.Image:
        """One picture, upright, in RGB. Raises BadPicture."""
        return open_picture(self.read(name))

    def attributes(self, names: "pd.Series[Any]") -> pd.DataFrame:
        """What is known of these pictures: a row for each, in their order, and a column for each attribute, if any."""
        if not len(self.metadata.columns):
            return pd.DataFrame(index=range(len(names)))
        return self.metadata.loc[list(names)].reset_index(drop=True)

    def in_words(self) -> str:
        """The number of pictures and of classes, as a sentence; it also says where labels are missing."""
        if not self.classes:
            return f"{self.title}: {len(self.samples):,} pictures without labels. Nothing can be right or wrong."
        of = "one class" if len(self.classes) == 1 else f"{len(self.classes)} classes"
        bare = sum(not sample.label for sample in self.samples)
        said = f"{self.title}: {len(self.samples):,} pictures of {of}"
        return f"{said}; {bare:,} without a label." if bare else f"{said}."


def _blocks_digest(source: bytes | Path) -> str:
    """SHA-256 of a file's size, and of its first, middle and last BLOCK bytes (all of it where it has no more)."""
    with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
        size = file.seek(0, os.SEEK_END)
        starts = (0, size // 2, size - BLOCK) if size > 3 * BLOCK else range(0, size, BLOCK)
        blocks = []
        for start in starts:
            file.seek(start)
            blocks.append(file.read(BLOCK))
    return bytes_digest(f"{size} ".encode() + b"".join(blocks))


def open_dataset(source: str | Path) -> Dataset:
    """A labelled folder, a ZIP of one, a table of paths and labels, or a world (world:planted). Raises BadRequest."""
    if str(source).startswith(WORLD):
        return open_world(str(source))
    path = Path(source)
    if path.is_dir():
        return open_folder(path)
    if not path.is_file():
        raise BadRequest(f"There is no file or folder {path}; give one with a subfolder for each class, or a table.")
    if path.suffix.lower() == ".zip":
        return open_zip(path, path.stem)
    if path.suffix.lower() in TABLES:
        return open_table(path)
    raise BadRequest(f"{path.name} is no dataset: give a folder, a ZIP, or a table ({', '.join(TABLES)}).")


def open_folder(folder: Path) -> Dataset:
    """A folder with one subfolder of pictures for each class; pictures beside the subfolders have no label."""
    if not folder.is_dir():
        raise BadRequest(f"{folder} is not a folder; give one with a subfolder for each class.")
    samples = [
        Labelled(path.relative_to(folder).as_posix(), path.parent.name if path.parent != folder else "")
        for pattern in ("*", "*/*")
        for path in sorted(folder.glob(pattern))
        if _is_picture(path) and path.is_file()
    ]
    file = folder / metadata.FILE
    known = tables.read_csv(file, texts=True) if file.is_file() else None
    return _checked(folder.name, samples, lambda name: folder / name, known=known)


def open_zip(file: Path | BinaryIO, title: str) -> Dataset:
    """A ZIP of such a folder, read in place; a picture's class is the name of the folder it lies in.

    Nothing is unpacked to the disk, so that names in the archive can do no harm. No member is read beyond the size of the
    largest picture that is opened, whatever size the archive states. An archive that states more than MAX_ZIP_RATIO times
    its own size is refused.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise BadRequest(f"{title} is no ZIP archive that can be read ({_short(str(error))}).") from None
    inside = {PurePosixPath(one.filename.lstrip("/")): one for one in archive.infolist() if not one.is_dir()}
    members = {path: one for path, one in inside.items() if _is_picture(path)}
    said, packed = (sum(getattr(one, size) for one in members.values()) for size in ("file_size", "compress_size"))
    if said > max(FREE_ZIP_BYTES, MAX_ZIP_RATIO * packed):
        raise BadRequest(
            f"{title} says that it unpacks to {said / 2**30:.1f} GB, {said / max(packed, 1):,.0f} times its size: refused."
        )
    around = os.path.commonpath([str(path.parent.parent) for path in members] or [""])  # folders that hold all classes
    names = {path.relative_to(around).as_posix(): one for path, one in members.items()}
    lock = threading.Lock()  # a member is found by moving in the one file

    def read(name: str) -> bytes:
        try:
            with lock, archive.open(names[name]) as member:
                return member.read(MAX_BYTES + 1)
        except Exception as error:  # damaged, encrypted, or packed in a way that Python does not know
            raise BadPicture(f"It cannot be read from the archive ({_short(str(error))}).") from None

    def checksum(name: str) -> str:
        return f"{names[name].file_size} {names[name].CRC:08x}"

    samples = [Labelled(name, PurePosixPath(name).parent.name) for name in sorted(names)]
    return _checked(
        title, samples, read, checksum, _zipped_metadata(archive, inside.get(PurePosixPath(around, metadata.FILE)))
    )


def _zipped_metadata(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> pd.DataFrame | None:
    """The table of metadata in an archive; None without one. Raises BadRequest where it cannot be read, or is too large."""
    if member is None:
        return None
    try:
        with archive.open(member) as file:
            data = file.read(tables.MAX_CSV + 1)
    except Exception as error:  # damaged, encrypted, or packed in a way that Python does not know
        raise BadRequest(f"{metadata.FILE} cannot be read from the archive ({_short(str(error))}).") from None
    return tables.read_csv(data, texts=True)


def open_table(path: Path) -> Dataset:
    """A CSV or Parquet file with a column `path`, and `label` if there are labels. Paths may not leave its folder."""
    parquet = path.suffix.lower() == ".parquet"
    table = tables.read_parquet(path).to_pandas() if parquet else tables.read_csv(path, texts=True)
    if "path" not in table:
        columns = _short(", ".join(map(str, table.columns)))
        raise BadRequest(f"{path.name} needs the columns path and label; it has {columns}.")
    labels = table["label"].map(_text) if "label" in table else [""] * len(table)
    samples = [
        Labelled(PurePosixPath(name.replace("\\", "/")).as_posix(), label.strip())
        for name, label in zip(table["path"].map(_text), labels, strict=True)
        if name
    ]
    folder = path.parent.resolve()
    outside = [sample.name for sample in samples if not _is_inside(folder, sample.name)]
    if outside:
        raise BadRequest(
            f"{path.name} names {len(outside):,} pictures outside its folder, such as {_short(outside[0])}: put the table "
            "beside them."
        )
    known = table[[name for name in table if name == "path" or _is_plain(table[name])]].map(_text)
    return _checked(path.stem, samples, lambda name: folder / name, known=known[known["path"] != ""])


def labels_csv(labels: Iterable[tuple[str, str]]) -> bytes:
    """Names of pictures with their labels as a table that `open_table` opens where it lies beside the pictures. Names are
    written as they are, without the apostrophes of tables for spreadsheets."""
    return pd.DataFrame(labels, columns=["path", "label"]).to_csv(index=False).encode()


def open_world(name: str) -> Dataset:
    """The dataset of a name such as world:planted, world:planted:mark (the cause "mark" is broken), world:planted:train.

    With a part v1 it must be that version of the drawings. Raises UnknownName, BadRequest."""
    kind, *parts = name.removeprefix(WORLD).split(":")
    if kind not in ("planted", "clean"):
        raise UnknownName("world", name, world_names())
    world, split = worlds.planted() if kind == "planted" else worlds.clean(), "test"
    for part in parts:
        if part == "train":
            split = "train"
        elif re.fullmatch(r"v\d+", part):
            worlds.check_version(int(part[1:]))
        else:
            world = worlds.broken(world, part)
    if split == "train" and world.broken:
        raise BadRequest(f"{name}: no training set has a broken cause. Leave out one of the two parts.")
    return world_dataset(world, WORLD_SEED, split, WORLD_TRAIN if split == "train" else WORLD_TEST, name)


def world_names() -> list[str]:
    """The worlds that pages offer: the test sets as the networks were trained, then those with one cause broken."""
    return [f"{WORLD}planted", f"{WORLD}clean", *(f"{WORLD}planted:{cause}" for cause in worlds.BROKEN)]


def training_split(name: str) -> str | None:
    """The name of the training pictures of a world, by the name of one of its test sets; None where it is no world."""
    if not name.startswith(WORLD):
        return None
    return f"{':'.join(name.split(':')[:2])}:train"


def may_be_drawn(name: str) -> bool:
    """Whether a world could have a picture of this name: class/number.png, with six digits."""
    label, _, file = name.partition("/")
    return label in worlds.CLASSES and re.fullmatch(r"\d{6}\.png", file) is not None


def world_dataset(world: World, seed: int, split: str, count: int, title: str) -> Dataset:
    """`count` pictures of a world; a picture is named label/number.png. Raises BadRequest."""
    if not 0 < count <= worlds.MOST_PICTURES:
        raise BadRequest(f"A world has 1 to {worlds.MOST_PICTURES:,} pictures, not {count:,}.")
    pictures = [worlds.picture(world, seed, split, index) for index in range(count)]
    samples = tuple(Labelled(f"{one.label}/{index:06d}.png", one.label) for index, one in enumerate(pictures))
    places = {sample.name: index for index, sample in enumerate(samples)}

    def scene(name: str) -> Scene:
        if name not in places:
            raise BadPicture(f"{title} has no picture {_short(name)}.")
        return pictures[places[name]].scene

    described = pd.DataFrame([one.columns for one in pictures], index=list(places))
    drawn = f"drawn {worlds.VERSION} {world} {seed} {split}"
    return Dataset(title, samples, lambda name: png(scene(name)), lambda name: f"{drawn} {name}", described, scene)


@lru_cache(maxsize=64)
def png(scene: Scene) -> bytes:
    """A scene's picture as a PNG file, so that it can be used wherever a picture's file can."""
    pixels, _ = draw(scene)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _is_plain(column: "pd.Series[Any]") -> bool:
    """Whether the cells are texts, numbers or dates; lists, such as embeddings, are no metadata."""
    return column.dtype != object or all(cell is None or isinstance(cell, str | float | bool) for cell in column)


def _text(cell: object) -> str:
    """A cell of a table as text; nothing where it is missing."""
    missing = cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))
    return "" if missing else str(cell)


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a name leads to a place in the folder; False for a name that no file can have."""
    try:
        return len(name) <= LONGEST_NAME and (folder / name).resolve().is_relative_to(folder)
    except (OSError, RuntimeError, ValueError):  # links in a circle, a null character
        return False


def _short(name: str) -> str:
    """A name as it stands in a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:100]) + ("..." if len(name) > 100 else "")


def with_classes(dataset: Dataset) -> Dataset:
    """The dataset without its unlabelled pictures, for work that needs two classes. Raises BadRequest where it has fewer."""
    if len(dataset.classes) < 2:
        raise BadRequest(
            f"{dataset.title} holds pictures of fewer than two classes; give a folder with a subfolder of pictures "
            f"({', '.join(FORMATS)}) for each class."
        )
    return replace(dataset, samples=tuple(one for one in dataset.samples if one.label))


def _is_picture(path: Any) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not {"__MACOSX", ".."} & {*path.parts}


def _checked(
    title: str,
    samples: list[Labelled],
    read: Callable[[str], bytes | Path],
    checksum: Callable[[str], str] | None = None,
    known: pd.DataFrame | None = None,
) -> Dataset:
    if not samples:
        raise BadRequest(
            f"{title} holds no pictures ({', '.join(FORMATS)}); they are looked for in it and in its subfolders, one for "
            "each class."
        )
    if len(samples) > MAX_PICTURES:
        raise BadRequest(f"{title} has {len(samples):,} pictures; at most {MAX_PICTURES:,} are taken.")
    twice = [name for name, count in Counter(one.name for one in samples).items() if count > 1]
    if twice:
        raise BadRequest(f"{title} names {len(twice):,} pictures more than once, such as {_short(twice[0])}.")
    names = [sample.name for sample in samples]
    described = metadata.empty(names) if known is None else metadata.from_texts(metadata.FILE, known, names)
    return Dataset(title, tuple(samples), read, checksum, described)


def offered() -> dict[str, str | Path]:
    """What `open_dataset` takes, by unique names: the worlds, then folders with subfolders of pictures, ZIPs and tables in
    the data folders."""
    sources: dict[str, str | Path] = {name: name for name in world_names()}
    for root in settings.data_folders():
        for path in sorted(_listed(root)):
            if path.name.startswith("."):
                continue
            if path.suffix.lower() in (".zip", *TABLES) or _holds_pictures(path):
                sources.setdefault(path.name if path.name not in sources else f"{root.name}/{path.name}", path)
    return sources


def _holds_pictures(folder: Path) -> bool:
    """Whether there are pictures in its subfolders; the folder of recorded runs, for one, has none."""
    inside = (one for one in _listed(folder) if one.is_dir()) if folder.is_dir() else ()
    return any(_is_picture(file) for one in inside for file in _listed(one))


def find_offered(name: str) -> str | Path:
    """The offered dataset of that name, or the training pictures of an offered world; a link can open no other. Raises
    UnknownName."""
    known = offered() | {name: name for name in map(training_split, world_names()) if name}
    if name not in known:
        raise UnknownName("dataset", name, known)
    return known[name]


def _listed(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
