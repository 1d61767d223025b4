"""Datasets of pictures, with or without labels: a folder with one subfolder for each class, a ZIP of one, a table, a world.

A table is a CSV or Parquet file with the columns `path` and `label`; its paths begin at the folder of the table. Its other
columns, or a `metadata.csv` beside the folders, are the pictures' metadata. Pictures are opened one by one, so that a
dataset of any size takes little memory. A ZIP is read in place and never unpacked; a world's pictures are drawn.

A dataset may lie as it was downloaded (layouts.py, imagenet_labels.py, picture_tables.py). Where it has parts, such as train
and test, each is a dataset of its own, called as a file in it would be: `intel.zip/seg_test`, `cifar10/train`.
"""

import hashlib
import io
import itertools
import math
import os
import re
import threading
import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pandas as pd
from PIL import Image

from xai_core.core import remote, settings, tables
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture, BadRequest, UnknownName
from xai_core.core.files import open_regular, read_regular
from xai_core.data import imagenet_labels, layouts, metadata, picture_tables
from xai_core.data.image_io import FORMATS, MAX_BYTES, open_picture
from xai_core.data.layouts import is_picture
from xai_core.data.sample_list import Labelled, NameSet, SampleList
from xai_core.data.world import planted as worlds
from xai_core.data.world.planted import World
from xai_core.data.world.scene import Scene, draw

TABLES = (".csv", ".parquet")
LONGEST_NAME = 4096  # characters of a path in a table
MAX_PICTURES = 5_000_000  # as many as the rows of a table that is read
MAX_ZIP_RATIO = 100  # how many times its own size an archive may state as its unpacked size; photographs hardly shrink
FREE_ZIP_BYTES = 100 * 2**20  # archives that unpack to less are opened whatever their ratio
WORLD = "world:"  # the beginning of the names of worlds
USUAL_WORLD = "world:planted"
GIVEN = "given:"  # the beginning of the sources of datasets that a script has given
WORLD_SEED, WORLD_TEST, WORLD_TRAIN = 0, 1_000, 6_000  # the seed of the worlds that are offered, and their pictures
BLOCK = 8 * 2**10  # bytes; three such blocks of each file are digested, so that a large dataset takes seconds


Known = tuple[str, str, str]  # name, label, content


@dataclass(frozen=True)
class Dataset:
    """Pictures that are opened one by one.

    `read` returns a picture's bytes, or the path of its file, by its name. `checksum` returns a text that changes with a
    picture's content; it is given where that is known without reading the picture. Without it, `digest` reads the files.
    `metadata` has a row for each picture (see data/metadata.py). `truth` names those of its columns that tell what nobody
    could know of a photograph, such as which labels are wrong: they are shown, and nothing is searched by them. `scene`
    returns what a picture of a world is drawn from. `is_remote` says that reading a picture waits for a server, so that
    many are read at once.
    """

    title: str
    samples: Sequence[Labelled]
    read: Callable[[str], bytes | Path]
    checksum: Callable[[str], str] | None = None
    metadata: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False)
    scene: Callable[[str], Scene] | None = None
    truth: frozenset[str] = frozenset()
    is_remote: bool = False

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({*self.listed.counts()} - {""}))

    @cached_property
    def listed(self) -> SampleList:
        """The `samples` as a list that finds a picture by its name."""
        return SampleList.of(self.samples)

    @property
    def names(self) -> NameSet:
        """The names of all pictures."""
        return self.listed.names

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the name, label and content of every picture, in order; caches, predictions and notes are keyed by it.

        The title, the place on disk and the metadata are not part of it: a renamed or copied folder keeps its digest, and
        datasets of one title differ. A picture's content is its `checksum` (in a ZIP: size and CRC-32); without one, the
        size of its file and 8 KiB each from the beginning, the middle and the end. So a change inside an uncompressed
        picture that keeps the size and lies between these blocks is not noticed. Computed on first use, 20,000 to 50,000
        files a second.
        """
        return digest_of((one.name, one.label, self.content(one.name)) for one in self.samples)

    def known(self) -> list[Known]:
        """What `digest` is made of: name, label and content of every picture, in order. Reads them each time."""
        return [(one.name, one.label, self.content(one.name)) for one in self.samples]

    @cached_property
    def unlabelled(self) -> int:
        """How many pictures have no label."""
        return self.listed.counts().get("", 0)

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
        """What is known of these pictures: a row for each, in their order, and a column for each attribute, if any; without
        the columns of `truth`."""
        known = self.metadata.drop(columns=list(self.truth))
        if not len(known.columns):
            return pd.DataFrame(index=range(len(names)))
        return known.iloc[self.listed.places(names)].reset_index(drop=True)

    def attribute(self, names: Collection[str], column: str) -> "pd.Series[Any]":
        """A column of the metadata of these pictures, in their order. Raises KeyError for a name that no picture has."""
        return self.metadata[column].iloc[self.listed.places(names)].reset_index(drop=True)

    def in_words(self) -> str:
        """The number of pictures and of classes, as a sentence; it also says where labels are missing."""
        if not self.classes:
            return f"{self.title}: {len(self.samples):,} pictures without labels. Nothing can be right or wrong."
        of = "one class" if len(self.classes) == 1 else f"{len(self.classes)} classes"
        bare = self.unlabelled
        said = f"{self.title}: {len(self.samples):,} pictures of {of}"
        return f"{said}; {bare:,} without a label." if bare else f"{said}."


def digest_of(known: Iterable[Known]) -> str:
    """The digest of a dataset of these pictures, in this order: of the `repr` of their list, which is never in memory."""
    found = hashlib.sha256(b"[")
    for number, one in enumerate(known):
        found.update(f"{', ' if number else ''}{one!r}".encode())
    found.update(b"]")
    return found.hexdigest()


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


_given: dict[str, tuple[str, Dataset]] = {}  # by its name the source and the dataset
_numbers = itertools.count()


def give(name: str, dataset: Dataset) -> None:
    """Offer a dataset under this name before all others, in this process; one of the same name is replaced."""
    _given[name] = f"{GIVEN}{next(_numbers)}", dataset


def withdraw(name: str) -> None:
    """Offer a given dataset no longer."""
    _given.pop(name, None)


def given() -> tuple[str, ...]:
    """The names of the datasets that were given, the last one first."""
    return tuple(reversed(_given))


def _open_given(source: str) -> Dataset:
    found = next((dataset for known, dataset in list(_given.values()) if known == source), None)
    if found is None:
        raise BadRequest(
            "The dataset was given by a script that has taken it back: open the dashboard from that script again."
        )
    return found


def open_dataset(source: str | Path) -> Dataset:
    """A labelled folder, a ZIP of one, a table of paths and labels, tables with the pictures inside, a world, or a part of
    one of these (intel.zip/seg_test); also at an address (s3://bucket/folder). Raises BadRequest."""
    if str(source).startswith(GIVEN):
        return _open_given(str(source))
    if str(source).startswith(WORLD):
        return open_world(str(source))
    if remote.is_address(source):
        from xai_core.data.remote_datasets import open_address

        return open_address(str(source))
    path = Path(source)
    if path.is_dir():
        return open_folder(path)
    if not path.exists():
        return _open_part(path)
    if not path.is_file():
        raise BadRequest(f"{path.name} is neither a file nor a folder.")
    if path.suffix.lower() == ".zip":
        return open_zip(path, path.stem)
    if path.suffix.lower() in TABLES:
        return open_table(path)
    raise BadRequest(f"{path.name} is no dataset: give a folder, a ZIP, or a table ({', '.join(TABLES)}).")


def _open_part(path: Path) -> Dataset:
    """A part of a dataset, which no file or folder is called. Raises BadRequest."""
    whole = next((folder for folder in path.parents if folder.exists()), Path())
    part = path.relative_to(whole).as_posix()
    known = parts_of(whole)
    if part not in known:
        has = f" {whole.name} has the parts {', '.join(known)}." if known else ""
        raise BadRequest(
            f"There is no file or folder {path}; give one with a subfolder for each class, or a table.{_short(has)}"
        )
    title = f"{whole.name}/{part}"
    if whole.is_file():
        return open_zip(whole, title, part)
    if tables_inside := picture_tables.parts_of(whole):
        return _picture_table(title, tables_inside[part])
    return _classes_of_folder(whole / layouts.parts_of(layouts.of_folder(whole))[part], whole, title)


def parts_of(source: Path) -> tuple[str, ...]:
    """The names of the parts of a dataset, such as train and test; empty where it has none, or cannot be read."""
    try:
        if source.is_dir():
            return tuple(name for name in picture_tables.parts_of(source) if name) or tuple(
                layouts.parts_of(layouts.of_folder(source))
            )
        status = source.stat()
        return _parts_of_zip(source, status.st_mtime_ns, status.st_size) if source.suffix.lower() == ".zip" else ()
    except (OSError, BadRequest):
        return ()


@lru_cache(maxsize=64)
def _parts_of_zip(file: Path, time: int, size: int) -> tuple[str, ...]:
    """Known for a file until its time of change or size is another: a list of 20,000 names takes a tenth of a second."""
    try:
        with zipfile.ZipFile(file) as archive:
            return tuple(layouts.parts_of(layouts.of_names(_pictures_in(archive))))
    except Exception:  # it is no archive that can be read: its opening says so
        return ()


def place_of(source: Path) -> Path:
    """The file of a dataset, or the folder that holds its pictures or the folders of its classes: what changes with it."""
    whole = next((path for path in (source, *source.parents) if path.exists()), source)
    if not whole.is_dir():
        return whole
    if inside := next((files for files in picture_tables.parts_of(whole).values() if files), None):
        return inside[0].parent
    tree = layouts.of_folder(whole)
    known = layouts.parts_of(tree)
    at = known.get(source.relative_to(whole).as_posix(), layouts.TOP)
    return whole / layouts.unwrapped(tree, at)


def may_have(source: str | Path, name: str) -> bool:
    """Whether a picture of this name may be in the dataset, as far as is known without opening it."""
    if isinstance(source, str):
        return name in _open_given(source).names if source.startswith(GIVEN) else may_be_drawn(name)
    place = place_of(source)
    return not place.is_dir() or _has_tables(place) or (place / name).is_file()


def _has_tables(folder: Path) -> bool:
    return any(path.suffix in (".parquet", ".arrow") for path in _listed(folder))


def open_folder(folder: Path) -> Dataset:
    """A folder with one subfolder of pictures for each class, or as it was downloaded; pictures beside the subfolders have
    the label that their names give in ImageNet, or none. Raises BadRequest, also where it has parts: one must be chosen."""
    if not folder.is_dir():
        raise BadRequest(f"{folder} is not a folder; give one with a subfolder for each class.")
    title = f"{folder.parent.name}/{folder.name}" if layouts.PART.fullmatch(folder.name) else folder.name
    files = picture_tables.parts_of(folder)
    if "" in files:
        return _picture_table(title, files[""])
    check_no_parts(folder.name, files or layouts.parts_of(layouts.of_folder(folder)))
    return _classes_of_folder(folder, folder, title)


def check_no_parts(title: str, parts: Iterable[str]) -> None:
    """Raises BadRequest where a dataset has parts: one of them must be chosen."""
    if names := sorted(parts):
        listed = _short(", ".join(names))
        raise BadRequest(f"{title} has parts: {listed}. Choose one of them, such as {title}/{_short(names[0])}.")


def _classes_of_folder(folder: Path, whole: Path, title: str) -> Dataset:
    """The pictures of a folder inside the dataset `whole`, which holds the files with labels, if any."""
    base = folder / layouts.unwrapped(layouts.of_folder(folder))
    names = [
        path.relative_to(base).as_posix()
        for pattern in ("*", "*/*")
        for path in sorted(base.glob(pattern))
        if is_picture(path.relative_to(base)) and path.is_file()
    ]
    around = [base, *(above for above in base.parents if above.is_relative_to(whole)), whole.parent]

    def find(name: str) -> bytes | None:
        file = next((above / name for above in around if (above / name).is_file()), None)
        try:
            return None if file is None else read_regular(file, imagenet_labels.MOST_BYTES)
        except OSError as error:
            raise BadRequest(f"{name} cannot be read: {error.strerror or error}.") from None

    file = base / metadata.FILE
    known = tables.read_csv(file, texts=True) if file.is_file() else None
    return checked(title, labelled(names, find), lambda name: base / name, known=known)


def labelled(names: Iterable[str], find: imagenet_labels.Find) -> list[Labelled]:
    """Pictures with the classes of their folders. Without a folder the file's name may say it, as in ImageNet; so it does
    where all pictures lie in one folder. `find` reads a file with labels beside them. Raises BadRequest."""
    folders = {name: PurePosixPath(name).parent.name for name in names}
    ids = {name: imagenet_labels.wnid_of(name) for name in folders}
    one_folder = len({*folders.values()}) == 1 and all(ids.values())
    validation = [name for name, folder in folders.items() if not folder and imagenet_labels.is_validation(name)]
    told = imagenet_labels.validation_labels(validation, find) if validation else {}
    label_by_name = one_folder and not imagenet_labels.wnid_of(next(iter(folders.values())))
    return [
        Labelled(name, ids[name] if label_by_name else folder or told.get(name) or ids[name])
        for name, folder in folders.items()
    ]


def _picture_table(title: str, files: list[Path]) -> Dataset:
    """A dataset whose pictures lie in the rows of tables. A picture's checksum is that of the files' sizes and blocks."""
    table = picture_tables.open_table(title, files)
    samples, read, content = table.samples, table.read, "".join(map(_blocks_digest, files))

    def place(name: str) -> int:
        known = samples.place(name)
        if known is None:
            raise BadPicture(f"{title} has no picture {_short(name)}.")
        return known

    dataset = checked(title, samples, lambda name: read(place(name)), lambda name: f"{content} {place(name)}")
    described = metadata.typed(table.known, dataset.metadata.index)
    del table  # its columns are in the metadata now
    tables.release_memory()
    return replace(dataset, metadata=described, truth=metadata.truth(described))


def _pictures_in(archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The pictures of an archive by their paths in it."""
    return {path: one for path, one in _files_in(archive).items() if is_picture(path)}


def _files_in(archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    return {PurePosixPath(one.filename.lstrip("/")): one for one in archive.infolist() if not one.is_dir()}


def open_zip(file: Path | BinaryIO, title: str, part: str = "") -> Dataset:
    """A ZIP of such a folder, read in place; a picture's class is the name of the folder it lies in. `part` is the part to
    be opened of one that has parts.

    Nothing is unpacked to the disk, so that names in the archive can do no harm. No member is read beyond the size of the
    largest picture that is opened, whatever size the archive states. An archive that states more than MAX_ZIP_RATIO times
    its own size is refused. Raises BadRequest.
    """
    archive = _archive(file, title)
    inside, members = _files_in(archive), _pictures_in(archive)
    said, packed = (sum(getattr(one, size) for one in members.values()) for size in ("file_size", "compress_size"))
    if said > max(FREE_ZIP_BYTES, MAX_ZIP_RATIO * packed):
        raise BadRequest(
            f"{title} says that it unpacks to {said / 2**30:.1f} GB, {said / max(packed, 1):,.0f} times its size: refused."
        )
    tree = layouts.of_names(members)
    parts = layouts.parts_of(tree)
    if not part:
        check_no_parts(title, parts)
    elif part not in parts:
        raise BadRequest(f"{title} has no part {_short(part)}.")
    base = layouts.unwrapped(tree, parts.get(part, layouts.TOP))
    names = {path.relative_to(base).as_posix(): one for path, one in members.items() if path.is_relative_to(base)}
    lock = threading.Lock()  # a member is found by moving in the one file

    def read(name: str) -> bytes:
        try:
            with lock, archive.open(names[name]) as member:
                return member.read(MAX_BYTES + 1)
        except Exception as error:  # damaged, encrypted, or packed in a way that Python does not know
            raise BadPicture(f"It cannot be read from the archive ({_short(str(error))}).") from None

    def checksum(name: str) -> str:
        return f"{names[name].file_size} {names[name].CRC:08x}"

    def find(name: str) -> bytes | None:
        member = next((inside[above / name] for above in (base, *base.parents) if above / name in inside), None)
        if member is None:
            return None
        return _whole_member(archive, member, imagenet_labels.MOST_BYTES)

    known = _zipped_metadata(archive, inside.get(base / metadata.FILE))
    return checked(title, labelled(sorted(names), find), read, checksum, known)


def zip_parts(file: Path | BinaryIO, title: str) -> tuple[str, ...]:
    """The names of the parts of a ZIP; empty where it has none. Raises BadRequest."""
    return tuple(layouts.parts_of(layouts.of_names(_pictures_in(_archive(file, title)))))


def _archive(file: Path | BinaryIO, title: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise BadRequest(f"{title} is no ZIP archive that can be read ({_short(str(error))}).") from None


def _zipped_metadata(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> pd.DataFrame | None:
    """The table of metadata in an archive; None without one. Raises BadRequest where it cannot be read, or is too large."""
    return None if member is None else tables.read_csv(_whole_member(archive, member, tables.MAX_CSV), texts=True)


def _whole_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """The content of a file in an archive. Raises BadRequest where it cannot be read, or has more than `most` bytes."""
    name = PurePosixPath(member.filename).name
    try:
        with archive.open(member) as file:
            data = file.read(most + 1)
    except Exception as error:  # damaged, encrypted, or packed in a way that Python does not know
        raise BadRequest(f"{_short(name)} cannot be read from the archive ({_short(str(error))}).") from None
    if len(data) > most:
        raise BadRequest(f"{_short(name)} in the archive has more than {most // 2**20} MB, the most that is read.")
    return data


def open_table(path: Path) -> Dataset:
    """A CSV or Parquet file with a column `path`, and `label` if there are labels; or a Parquet file with the pictures
    inside. Paths may not leave its folder."""
    parquet = path.suffix.lower() == ".parquet"
    if parquet and picture_tables.is_picture_table(path):
        return _picture_table(path.stem, [path])
    table = tables.read_parquet(path).to_pandas() if parquet else tables.read_csv(path, texts=True)
    samples, known = of_paths(path.name, table)
    folder = path.parent.resolve()
    outside = [sample.name for sample in samples if not _is_inside(folder, sample.name)]
    if outside:
        raise BadRequest(
            f"{path.name} names {len(outside):,} pictures outside its folder, such as {_short(outside[0])}: put the table "
            "beside them."
        )
    return checked(path.stem, samples, lambda name: folder / name, known=known)


def of_paths(title: str, table: pd.DataFrame) -> tuple[list[Labelled], pd.DataFrame]:
    """The pictures and the metadata of a table with a column `path`, and `label` if there are labels. Raises BadRequest."""
    if "path" not in table:
        columns = _short(", ".join(map(str, table.columns)))
        raise BadRequest(f"{title} needs the columns path and label; it has {columns}.")
    labels = table["label"].map(_text) if "label" in table else [""] * len(table)
    samples = [
        Labelled(PurePosixPath(name.replace("\\", "/")).as_posix(), label.strip())
        for name, label in zip(table["path"].map(_text), labels, strict=True)
        if name
    ]
    known = table[[name for name in table if name == "path" or _is_plain(table[name])]].map(_text)
    return samples, known[known["path"] != ""]


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


def training_part(name: str, offered_names: Iterable[str]) -> str | None:
    """Of the offered datasets, the part for training of the one that `name` is another part of: `x/seg_train` beside
    `x/seg_test`; None where there is none."""
    whole, _, part = name.rpartition("/")
    for other in offered_names:
        others_whole, _, others_part = other.rpartition("/")
        if whole and others_whole == whole and others_part != part and "train" in others_part.lower():
            return other
    return None


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
    return Dataset(
        title, samples, lambda name: png(scene(name)), lambda name: f"{drawn} {name}", described, scene, worlds.TRUTH
    )


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


def checked(
    title: str,
    samples: Sequence[Labelled],
    read: Callable[[str], bytes | Path],
    checksum: Callable[[str], str] | None = None,
    known: pd.DataFrame | None = None,
) -> Dataset:
    """A dataset of these pictures, with the table `known` of their metadata. Raises BadRequest where there are none, too
    many, or two of one name."""
    if not samples:
        raise BadRequest(
            f"{title} holds no pictures ({', '.join(FORMATS)}); they are looked for in it and in its subfolders, one for "
            "each class."
        )
    if len(samples) > MAX_PICTURES:
        raise BadRequest(f"{title} has {len(samples):,} pictures; at most {MAX_PICTURES:,} are taken.")
    listed = SampleList.of(samples)
    if twice := listed.twice():
        raise BadRequest(f"{title} names {len(twice):,} pictures more than once, such as {_short(twice[0])}.")
    index = listed.as_index()
    described = pd.DataFrame(index=index) if known is None else metadata.from_texts(metadata.FILE, known, index)
    return Dataset(title, listed, read, checksum, described, truth=metadata.truth(described))


def offered() -> dict[str, str | Path]:
    """What `open_dataset` takes, by unique names: what a script has given, the worlds, then folders with pictures, ZIPs and
    tables in the data folders; of datasets with parts each part."""
    sources: dict[str, str | Path] = {name: _given[name][0] for name in given()}
    sources |= {name: name for name in world_names() if name not in sources}
    for root in settings.data_folders():
        for path in sorted(_listed(root)):
            if path.name.startswith("."):
                continue
            name = path.name if not _is_taken(path.name, sources) else f"{root.name}/{path.name}"
            if parts := parts_of(path):
                for part in parts:
                    sources.setdefault(f"{name}/{part}", path / part)
            elif path.suffix.lower() in (".zip", *TABLES) or _holds_pictures(path):
                sources.setdefault(name, path)
    return sources


def _is_taken(name: str, sources: Iterable[str]) -> bool:
    return any(known == name or known.startswith(f"{name}/") for known in sources)


def _holds_pictures(folder: Path) -> bool:
    """Whether there are pictures in it or its subfolders, or in tables; the folder of recorded runs, for one, has none."""
    if not folder.is_dir():
        return False
    if "" in picture_tables.parts_of(folder):
        return True
    tree = layouts.of_folder(folder)
    base = layouts.unwrapped(tree)
    return tree.holds_pictures(base) or any(tree.holds_pictures(base / name) for name in tree.folders(base))


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
