"""Datasets at an address, such as s3://bucket/folder: the folders, ZIPs and tables that are opened on this machine.

A folder is listed once; its pictures are read one by one, each with the limits of a picture's file. A ZIP is read in place,
by pieces. A table has names and labels; one with the pictures inside must be fetched first. What a list says of a file's
content (an ETag, say) is its checksum in the dataset's digest, so that a million pictures are not read for it; the digest
of a copy on this machine is therefore another. Where the list says nothing, pictures are read and the digests are equal.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import pandas as pd

from xai_core.core import remote, tables
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.core.remote import Place, RemoteFile
from xai_core.core.settings import PROGRAM
from xai_core.data import datasets, imagenet_labels, layouts, metadata
from xai_core.data.datasets import Dataset
from xai_core.data.image_io import MAX_BYTES
from xai_core.data.layouts import is_picture
from xai_core.data.sample_list import Labelled

ZIP, TABLE, PICTURE_TABLE = ".zip", ".csv", (".parquet", ".arrow")


def open_address(address: str) -> Dataset:
    """The dataset at an address: a folder, a ZIP, a part of a ZIP, or a CSV of paths and labels. Raises BadRequest."""
    place = remote.place_of(address)
    name = place.name.lower()
    if name.endswith(PICTURE_TABLE):
        raise BadRequest(_to_be_fetched(place))
    if name.endswith(TABLE):
        return _open_table(place)
    archive, part = _archive_and_part(place)
    return _open_zip(archive, part) if archive else open_place(place)


def _to_be_fetched(place: Place) -> str:
    return (
        f"{place.address} is a table that may hold the pictures themselves, which are read on this machine only: "
        f"{PROGRAM} fetch {place.address} FOLDER."
    )


def _archive_and_part(place: Place) -> tuple[Place | None, str]:
    """The ZIP that an address names, or that it names a part of."""
    if place.name.lower().endswith(ZIP):
        return place, ""
    if "/" not in place.address.partition("://")[2]:
        return None, ""
    above = place.above()
    return (above, place.name) if above.name.lower().endswith(ZIP) else (None, "")


def _open_zip(place: Place, part: str) -> Dataset:
    try:
        file = remote.within(remote.SECONDS, lambda: place.files.open(place.path, "rb"))
    except Exception as error:  # each kind raises its own
        raise BadRequest(f"{place.address} cannot be opened: {remote.why(error)}.") from None
    stem = PurePosixPath(place.name).stem
    return datasets.open_zip(file, f"{stem}/{part}" if part else stem, part)


def open_place(place: Place) -> Dataset:
    """The dataset in a folder. Raises BadRequest."""
    files = {PurePosixPath(one.name): one for one in remote.listed(place, datasets.MAX_PICTURES)}
    pictures = [path for path in files if is_picture(path)]
    if not pictures and any(path.suffix in PICTURE_TABLE for path in files):
        found = min(path for path in files if path.suffix in PICTURE_TABLE)
        raise BadRequest(_to_be_fetched(place.at(found.as_posix())))
    tree = layouts.of_names(pictures)
    datasets.check_no_parts(place.address, layouts.parts_of(tree))
    base = layouts.unwrapped(tree)
    below = [path.relative_to(base) for path in pictures if path.is_relative_to(base)]
    at_top, in_folders = (sorted(path for path in below if len(path.parts) == depth) for depth in (1, 2))
    names = [path.as_posix() for path in (*at_top, *in_folders)]

    def find(name: str) -> bytes | None:
        found = next((above / name for above in (base, *base.parents) if above / name in files), None)
        return None if found is None else remote.read_whole(place.at(found.as_posix()), imagenet_labels.MOST_BYTES)

    table = base / metadata.FILE
    described = remote.read_whole(place.at(table.as_posix()), tables.MAX_CSV) if table in files else None
    known = None if described is None else tables.read_csv(described, texts=True)
    part = layouts.PART.fullmatch(place.name) and "/" in place.address.partition("://")[2]
    title = f"{place.above().name}/{place.name}" if part else place.name
    inside = place if base == layouts.TOP else place.at(base.as_posix())
    return _dataset(title, inside, datasets.labelled(names, find), {name: files[base / name] for name in names}, known)


def _open_table(place: Place) -> Dataset:
    table = tables.read_csv(remote.read_whole(place, tables.MAX_CSV), texts=True)
    samples, known = datasets.of_paths(place.name, table)
    outside = [one.name for one in samples if len(one.name) > datasets.LONGEST_NAME or not remote.is_below(one.name)]
    if outside:
        raise BadRequest(f"{place.name} names {len(outside):,} pictures outside its folder: put the table beside them.")
    folder = place.above()
    wanted = {one.name for one in samples}
    try:
        files = {one.name: one for one in remote.listed(folder, datasets.MAX_PICTURES) if one.name in wanted}
    except BadRequest:  # a server of the web need not list its folders
        files = {}
    return _dataset(PurePosixPath(place.name).stem, folder, samples, files, known)


def _dataset(
    title: str, place: Place, samples: list[Labelled], files: Mapping[str, RemoteFile], known: pd.DataFrame | None
) -> Dataset:
    """The pictures of a folder; `files` is what its list says of them, by their names."""
    place.files.invalidate_cache()  # the list of a million files: it is not needed again, and would be sent to workers
    told = {name: (one.size, one.version) for name, one in files.items()}

    def read(name: str) -> bytes:
        size = told[name][0] if name in told else None
        return b"" if size == 0 else _picture(place.at(name), size)

    def checksum(name: str) -> str:
        return "{} {}".format(*told[name]) if name in told else "unreadable"

    has_versions = bool(told) and all(version for _, version in told.values())
    dataset = datasets.checked(title, samples, read, checksum if has_versions else None, known)
    return replace(dataset, is_remote=True)


def _picture(place: Place, size: int | None) -> bytes:
    """A picture's bytes. `size` is what the list said; a server that sends less has broken off. Raises BadPicture."""
    if size is not None and size > MAX_BYTES:
        raise BadPicture(f"The file has more than {MAX_BYTES // 2**20} MB, the most that is opened.")
    try:
        data = remote.read_file(place, MAX_BYTES)
    except Exception as error:  # each kind of server raises its own
        raise BadPicture(f"It cannot be read: {remote.why(error)}.") from None
    if size is not None and len(data) != size:
        raise BadPicture(f"It broke off, or was changed since it was listed: {len(data):,} of {size:,} bytes came.")
    return data
