"""One file from an address into its place: whole and right, or not at all.

What has come so far lies beside the place as NAME.part, and the next try goes on from there. One process or thread at a
time writes to it; the others wait and find the file. The lock belongs to the open file, so that the system lets go of it
when its owner dies: there are no stale locks.
"""

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO

CHUNK = 2**20
TIMEOUT = 30  # seconds without a byte
SPARE = 100e6  # bytes that stay free on the disk
Progress = Callable[[float, float], object]  # megabytes here, megabytes in all


class NotFetched(Exception):
    """Why the file is not there, as the end of a sentence."""


def fetch(url: str, target: Path, megabytes: float, sha256: str = "", progress: Progress = lambda here, all: None) -> None:
    """Bring the file from `url` to `target`; at once where it is there already. Raises NotFetched.

    `megabytes` is about its size, `sha256` how its digest begins, where that is published. `progress` is called with
    every piece; what it raises stops the download, and keeps what has come.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target, lambda here: progress(here, megabytes)) as part:
            if part:
                _check_space(target.parent, megabytes, os.fstat(part.fileno()).st_size)
                _receive(url, part, megabytes, progress)
                _check(part, megabytes, sha256)
                os.replace(part.name, target)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise NotFetched(f"cannot be fetched ({getattr(error, 'reason', error) or type(error).__name__})") from error
    except OSError as error:
        raise NotFetched(f"cannot be written to {target.parent} ({error.strerror or error})") from error


@contextlib.contextmanager
def _alone(target: Path, waiting: Callable[[float], object]) -> Iterator[BinaryIO | None]:
    """The partial file, open at its end and ours alone; None where somebody else brought the whole meanwhile."""
    path = target.with_name(f"{target.name}.part")
    while not target.exists():
        with path.open("ab", buffering=0) as part:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting(os.fstat(part.fileno()).st_size / 1e6)
                time.sleep(0.2)
                continue
            if not _still_at(path, part):
                continue
            if target.exists():
                path.unlink()
                break
            try:
                yield part
            finally:
                if _still_at(path, part) and path.stat().st_size == 0:
                    path.unlink()
            return
    yield None


def _still_at(path: Path, part: BinaryIO) -> bool:
    """Whether the open file still has this name: its last owner may have moved it into place, or thrown it away."""
    try:
        return os.path.samestat(os.fstat(part.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _check_space(folder: Path, megabytes: float, have: int) -> None:
    needed = megabytes * 1e6 - have + SPARE
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB of free disk are needed")


def _receive(url: str, part: BinaryIO, megabytes: float, progress: Progress) -> None:
    """Append what is missing; from the beginning where the server has another file by now, or sends no parts of one."""
    here, since = part.seek(0, os.SEEK_END), os.fstat(part.fileno()).st_mtime
    headers = {"User-Agent": "xai_core"}
    if here:
        headers |= {"Range": f"bytes={here}-", "If-Unmodified-Since": formatdate(since, usegmt=True)}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if here == 0 or error.code not in (
            http.HTTPStatus.PRECONDITION_FAILED,
            http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        ):
            raise
        if error.headers.get("Content-Range") == f"bytes */{here}":
            return  # all of it was here: the last try ended between the last byte and the move
        part.truncate(0)
        return _receive(url, part, megabytes, progress)
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            part.truncate(0)
            here = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {here}-"):
            raise NotFetched("cannot be fetched (the server sent another part of it than was asked for)")
        length = response.headers.get("Content-Length")
        total = here + int(length) if length else None
        while chunk := response.read(CHUNK):
            here += part.write(chunk)
            progress(here / 1e6, (total or megabytes * 1e6) / 1e6)
    if total not in (None, here):
        raise NotFetched(
            f"came only in part ({here / 1e6:.1f} of {total / 1e6:.1f} MB); it is kept, and the next try goes on from there"
        )


def _check(part: BinaryIO, megabytes: float, sha256: str) -> None:
    """The file is as published, as far as that can be told; a wrong one is thrown away."""
    path = Path(part.name)
    size = path.stat().st_size / 1e6
    digest = digest_of(path) if sha256 else ""
    if size < megabytes / 2:  # where no checksum is published: a page that asks to log in
        problem = f"{size:.1f} MB instead of about {megabytes}"
    elif not digest.startswith(sha256):
        problem = f"its SHA-256 starts with {digest[:8]}, not {sha256}"
    else:
        return
    path.unlink()
    raise NotFetched(f"arrived damaged ({problem})")


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
