"""Read files of strangers, and write files atomically: a reader finds the whole file or none."""

import contextlib
import errno
import glob
import io
import json
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

from xai_core.core.errors import XaiError

UNFINISHED, ABANDONED_SECONDS = (
    ".unfinished",
    3600.0,
)  # the end of a file's name while it is written; when its writer is dead
NOT_REGULAR = "it is not a file"


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading, and nothing else: a FIFO may block for ever, a device may have no end.

    Raises OSError, also for a folder, a FIFO, a device, a socket, and a name that no file can have.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: opening a device may have effects
            raise OSError(errno.EINVAL, NOT_REGULAR)
        file = open(path, "rb", opener=_at_once)  # noqa: SIM115 (the caller closes it)
    except ValueError:  # a null character in the name
        raise OSError(errno.EINVAL, "no file can have this name") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # put there in between
        file.close()
        raise OSError(errno.EINVAL, NOT_REGULAR)
    return file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # Windows has no FIFOs among its files


def read_regular(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes, opened by `open_regular`. Raises OSError, also where it has more."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most / 2**20:.3g} MB")
    return data


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, also where it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _remove_abandoned(path: Path) -> None:
    """Remove what writers of this file have left that were killed: each left as much as the file holds."""
    for file in path.parent.glob(f".{glob.escape(path.name)}.*{UNFINISHED}"):
        with contextlib.suppress(OSError):  # another process has removed it
            if time.time() - file.stat().st_mtime > ABANDONED_SECONDS:
                file.unlink()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file as a whole, also over an earlier one; its folder is made where it is missing. Raises XaiError."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED, delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise XaiError(f"Cannot write {path}: {error.strerror or error}.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # already gone where all went well
