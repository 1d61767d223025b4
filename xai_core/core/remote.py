"""Files at an address, such as s3://bucket/folder, through fsspec: listed, read with limits, copied here and written there.

An address holds no secret: credentials come from where each library finds its own (environment, files of its client). So
an address may stand in a report, a log or a run. Every step that waits for a server has an end: see `within`.
"""

import os
import queue
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.files import UNFINISHED

Found = TypeVar("Found")

EXTRA = "pip install 'xai-core[remote]'"
KINDS = ("s3", "gs", "gcs", "hf", "http", "https", "memory")  # other kinds of fsspec run commands, or lead to this machine
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z0-9]+::")
SECONDS = 60.0  # for one answer: a page of a list, or a picture
COPY_SECONDS = 3600.0  # for one file that is copied
DEEPEST = 10  # folders below an address that are listed
VERSIONS = ("ETag", "etag", "md5Hash", "blob_id", "xet_hash")  # what lists say of a file's content, by their kinds


@dataclass(frozen=True)
class Place:
    """A file or folder at an address. `files` is a file system of fsspec, and `path` the place's path there."""

    address: str
    files: Any
    path: str

    @property
    def name(self) -> str:
        """The last part of the address; of a whole bucket its name."""
        return self.address.rpartition("/")[2]

    def at(self, name: str) -> "Place":
        """A file or folder below this one."""
        return Place(f"{self.address}/{name}", self.files, f"{self.path.rstrip('/')}/{name}")

    def above(self) -> "Place":
        """The folder that holds it. Raises BadRequest for a whole bucket."""
        address = self.address.rpartition("/")[0]
        if address.endswith("/"):
            raise BadRequest(f"{self.address} is a whole bucket: name a file or a folder in it.")
        return Place(address, self.files, self.path.rstrip("/").rpartition("/")[0])


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a list: its path below the place, its bytes (None where the list does not say), and a text that changes
    with its content ("" where the list has none)."""

    name: str
    size: int | None
    version: str


def is_address(source: object) -> bool:
    """Whether it is an address rather than a path of this machine."""
    return isinstance(source, str) and ADDRESS.match(source) is not None


def place_of(address: str) -> Place:
    """The place of an address; nothing is asked of the server yet. Raises BadRequest, with no part of an address that may
    hold a secret."""
    kind = address.partition(":")[0].lower()
    if "::" in address or kind not in KINDS:
        raise BadRequest(f"An address begins with {', '.join(f'{one}://' for one in KINDS)}: others are not opened.")
    host, rest = urlsplit(address).netloc, address.partition("://")[2]
    if "@" in host or (":" in host and not (kind.startswith("http") and re.fullmatch(r"[^:]+:\d{1,5}", host))):
        raise BadRequest(
            f"This {kind}:// address holds a user or a password, which would be written into runs and logs: leave it out; "
            "credentials come from variables of the environment and files of its client."
        )
    if "?" in address or (kind.startswith("http") and "#" in address):
        raise BadRequest(f"This {kind}:// address has something after '?' or '#', which may be a secret: leave it out.")
    if not host or ".." in rest.split("/") or not address.isprintable() or "\\" in address:
        raise BadRequest("An address is KIND://BUCKET/FOLDER, without '..' and without letters that cannot be printed.")
    clean = f"{kind}://{rest.rstrip('/')}"
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(clean)
    except ImportError:
        raise BadRequest(f"What opens {kind}:// is not installed: {EXTRA}.") from None
    except Exception as error:  # each kind raises its own
        raise BadRequest(f"{clean} cannot be opened: {why(error)}.") from None
    return Place(clean, files, path)


def within(seconds: float, ask: Callable[[], Found]) -> Found:
    """What `ask` returns or raises; TimeoutError where it takes longer. It is then left alone in its thread: no kind of
    fsspec has a limit that holds for all its requests."""
    answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put((True, ask()))
        except BaseException as error:
            answers.put((False, error))

    threading.Thread(target=answer, daemon=True, name="remote").start()
    try:
        fine, value = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"there was no answer within {seconds:.3g} seconds") from None
    if not fine:
        raise value
    found: Found = value
    return found


def why(error: BaseException) -> str:
    """The reason of an error of fsspec as the end of a sentence, without what a server says of its request: such texts may
    hold signatures."""
    status = getattr(
        getattr(error, "response", None), "status_code", None
    )  # of errors of HTTP, as the hub's client has them
    if isinstance(error, FileNotFoundError) or status == 404:
        return "it is not there"
    if isinstance(error, PermissionError) or status in (401, 403):
        return "it may not be opened with the credentials of this machine"
    if isinstance(error, TimeoutError):
        return f"there was no answer within {SECONDS:.3g} seconds" if not str(error).startswith("there was") else str(error)
    return f"the server or its client failed with {type(error).__name__}"


def listed(place: Place, most: int, may_be_missing: bool = False) -> Iterator[RemoteFile]:
    """The files below a place, in the order of the server. A file whose name leads out of the place is refused.

    Raises BadRequest where the place is missing, and where there are more than `most` files and folders.
    """
    place.files.invalidate_cache()
    root, count = place.path.rstrip("/"), 0
    try:
        walk = place.files.walk(place.path, maxdepth=DEEPEST, detail=True, on_error="raise")
        while (step := within(SECONDS, lambda: next(walk, None))) is not None:
            _, folders, files = step
            count += len(folders) + len(files)
            if count > most:
                raise BadRequest(f"{place.address} has more than {most:,} files and folders, the most that are listed.")
            for told in files.values():
                path = str(told["name"])
                if path.rstrip("/") == root:
                    continue
                name = path.removeprefix(f"{root}/")
                if name == path or not is_below(name):
                    raise BadRequest(f"{place.address} lists a file that is not below it: refused.")
                version = next((str(told[key]) for key in VERSIONS if told.get(key)), "")
                yield RemoteFile(name, told.get("size"), version)
    except XaiError:
        raise
    except FileNotFoundError:
        if not may_be_missing:
            raise BadRequest(f"There is no {place.address}.") from None
    except Exception as error:  # each kind raises its own
        raise BadRequest(f"{place.address} cannot be listed: {why(error)}.") from None


def is_below(name: str) -> bool:
    """Whether a name is a path below a folder, on every system."""
    parts = name.split("/")
    return (
        all(part not in ("", ".", "..") and "\\" not in part and ":" not in part[1:2] for part in parts) and "\0" not in name
    )


def is_file(place: Place) -> bool:
    """Whether there is a file at the place. Raises BadRequest where the server does not say."""
    try:
        return bool(within(SECONDS, lambda: place.files.isfile(place.path)))
    except Exception as error:
        raise BadRequest(f"{place.address} cannot be opened: {why(error)}.") from None


def read_file(place: Place, most: int) -> bytes:
    """The content of a file, one byte more than `most` at most, so that the caller sees that it is too large. Raises
    OSError, TimeoutError, and whatever a file system raises."""
    data = within(SECONDS, lambda: place.files.cat_file(place.path, start=0, end=most + 1))
    return bytes(data[: most + 1])


def read_whole(place: Place, most: int) -> bytes:
    """The content of a file of at most `most` bytes. Raises BadRequest."""
    try:
        data = read_file(place, most)
    except Exception as error:
        raise BadRequest(f"{place.address} cannot be read: {why(error)}.") from None
    if len(data) > most:
        raise BadRequest(f"{place.address} has more than {most / 2**20:.3g} MB, the most that is read.")
    return data


def fetch(place: Place, file: Path, size: int | None) -> None:
    """Copy a file here: whole, or not at all. Raises BadRequest."""
    temporary = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if size is not None and size > shutil.disk_usage(file.parent).free:
            raise BadRequest(f"{place.address} has {size / 2**30:.1f} GB, more than the disk of {file.parent} has free.")
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", suffix=UNFINISHED, delete=False) as made:
            temporary = Path(made.name)
        within(COPY_SECONDS, lambda: place.files.get_file(place.path, str(temporary)))
        came = temporary.stat().st_size
        if size is not None and came != size:
            raise BadRequest(f"{place.address} broke off: {came:,} of {size:,} bytes came. Try again.")
        temporary.chmod(0o644)
        os.replace(temporary, file)
    except XaiError:
        raise
    except Exception as error:
        raise BadRequest(f"{place.address} cannot be copied: {why(error)}.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def send(file: Path, place: Place) -> None:
    """Copy a file there. An object of s3, gs and hf is there whole or not at all. Raises FileNotFoundError where the file is
    gone meanwhile, XaiError where it cannot be written."""
    if not file.is_file():
        raise FileNotFoundError(file)
    try:
        within(COPY_SECONDS, lambda: place.files.put_file(str(file), place.path))
    except FileNotFoundError:
        if not file.is_file():
            raise
        raise XaiError(f"{place.address} cannot be written: its bucket or folder is not there.") from None
    except Exception as error:
        raise XaiError(f"{place.address} cannot be written: {why(error)}.") from None


def send_bytes(data: bytes, place: Place) -> None:
    """Write a file there as a whole. Raises XaiError."""
    try:
        within(COPY_SECONDS, lambda: place.files.pipe_file(place.path, data))
    except Exception as error:
        raise XaiError(f"{place.address} cannot be written: {why(error)}.") from None


def remove(place: Place) -> None:
    """Remove a file there; nothing happens where it is gone. Raises XaiError."""
    try:
        within(SECONDS, lambda: place.files.rm_file(place.path))
    except FileNotFoundError:
        return
    except Exception as error:
        raise XaiError(f"{place.address} cannot be removed: {why(error)}.") from None
