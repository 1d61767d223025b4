"""Download one file to its place: complete and verified, or not at all.

The bytes received so far are kept beside the place as NAME.part, and the next try resumes from there. One process or thread
at a time writes to it, with .NAME.lock locked; the others wait and find the file. The system unlocks it when its owner ends,
however that happens: there are no stale locks.
"""

import contextlib
import errno
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

from filelock import FileLock, Timeout

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
            if part is not None:
                with part.open("ab", buffering=0) as file:
                    _check_space(target.parent, megabytes, os.fstat(file.fileno()).st_size)
                    _receive(url, file, megabytes, progress)
                _check(part, megabytes, sha256)
                os.replace(part, target)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise NotFetched(f"cannot be fetched ({getattr(error, 'reason', error) or type(error).__name__})") from error
    except OSError as error:
        raise NotFetched(f"cannot be written to {target.parent} ({error.strerror or error})") from error


@contextlib.contextmanager
def _alone(target: Path, waiting: Callable[[float], object]) -> Iterator[Path | None]:
    """Be the only one who downloads to `target`: yields the path of the partial file, or None where somebody else has
    completed the download meanwhile. `waiting` is called with the megabytes received by the one that is waited for."""
    part, lock_file = target.with_name(f"{target.name}.part"), target.with_name(f".{target.name}.lock")
    lock = FileLock(lock_file, timeout=0)
    while not target.exists():
        try:
            lock.acquire()
        except Timeout:
            waiting(_size(part) / 1e6)
            time.sleep(0.2)
            continue
        try:
            yield None if target.exists() else part
        finally:
            if not _size(part):
                part.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # Windows removes the file as it unlocks it
                lock_file.unlink()  # while it is locked: one who has it open already will see that it is gone
            lock.release()
        return
    yield None


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


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
            raise NotFetched("cannot be fetched (the server sent a different part than requested)")
        length = response.headers.get("Content-Length")
        total = here + int(length) if length else None
        while chunk := response.read(CHUNK):
            here += part.write(chunk)
            progress(here / 1e6, (total or megabytes * 1e6) / 1e6)
    if total not in (None, here):
        raise NotFetched(
            f"was downloaded only in part ({here / 1e6:.1f} of {total / 1e6:.1f} MB); that part is kept, and the next "
            "attempt continues from it"
        )


def _check(path: Path, megabytes: float, sha256: str) -> None:
    """The file is as published, as far as that can be told; a wrong one is thrown away."""
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
