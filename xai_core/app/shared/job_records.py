"""The records of jobs on the disk, which survive a restart of the server.

There is one small JSON file for each stored job. A job that its record calls unfinished was interrupted if the server that
wrote the record has ended; each server holds the lock of a file of its own as long as it lives.
"""

import json
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from xai_core.app.shared.page_links import PlaceToReturn
from xai_core.app.shared.server_job import CANCELLED, DONE, FAILED, INTERRUPTED, MOST_LOG, ServerJob, key_of
from xai_core.core.cache_key import text_digest
from xai_core.core.errors import XaiError
from xai_core.core.files import write_atomically
from xai_core.core.settings import cache_folder

MOST_BYTES = 64 * 2**10  # of a record
MOST_READ = 500  # records that are read
SUFFIX = ".json"
UPLOAD_TITLE = "Work on a file that you uploaded"


@dataclass
class ThisServer:
    """The server that this process is, as records name it."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    alive: FileLock | None = None  # held as long as this process lives, once it has stored a record
    lock: threading.Lock = field(default_factory=threading.Lock)

    def show_life(self) -> None:
        """Hold the lock that says that this server lives. Raises OSError."""
        with self.lock:
            if self.alive is None:
                folder().mkdir(parents=True, exist_ok=True)
                self.alive = FileLock(folder() / f"{self.id}.lock", timeout=0, thread_local=False)
                self.alive.acquire()


def folder() -> Path:
    """Where the records of jobs are stored."""
    return cache_folder() / "jobs"


def path_of(key: str) -> Path:
    """The file of a job's record."""
    return folder() / f"{text_digest(key)[:32]}{SUFFIX}"


def store(job: ServerJob, server: ThisServer) -> None:
    """Write a job's record, which for work on an upload does not name it. Jobs without a kind have one until they end: what
    they have made is lost with the process. Where writing fails the job goes on, and its log says what is lost by that.
    """
    if not job.kind and job.state in (DONE, CANCELLED, FAILED):
        remove(job.key)
        return
    title, address, log = (UPLOAD_TITLE, "", []) if job.upload else (job.title, job.place.settings, list(job.log))
    record: dict[str, Any] = {
        "key": job.key, "kind": job.kind, "title": title, "settings": dict(job.settings), "page": job.place.page,
        "address": address, "state": job.state, "done": job.done, "total": job.total, "words": job.words,
        "error": job.error, "began": job.began, "ended": job.ended, "log": log, "server": server.id,
        "private": job.private, "upload": job.upload, "visitor": job.visitor if job.private else "",
    }  # fmt: skip
    try:
        server.show_life()
        write_atomically(path_of(job.key), json.dumps(record, indent=1).encode())
    except (XaiError, OSError):
        job.log.append("This job cannot be listed after a restart of the server: its record cannot be written.")


def remove(key: str) -> None:
    """Remove a job's record where there is one."""
    with suppress(OSError):
        path_of(key).unlink(missing_ok=True)


def stored_jobs(server: ThisServer) -> Iterator[ServerJob]:
    """The jobs of all records in their state of now. An unfinished one runs `elsewhere` or was interrupted."""
    for path in sorted(folder().glob(f"*{SUFFIX}"))[:MOST_READ]:
        job, writer = _read(path)
        if job is None:
            continue
        if job.unfinished:
            job.elsewhere = writer != server.id and _is_alive(writer)
            job.state = job.state if job.elsewhere else INTERRUPTED
        yield job


def remove_ended_locks(server: ThisServer) -> None:
    """Remove the locks of servers that have ended."""
    for path in folder().glob("*.lock"):
        if path.stem != server.id:
            _is_alive(path.stem)


def writer_lives(key: str) -> bool:
    """Whether the server that wrote a job's record still lives."""
    return _is_alive(_read(path_of(key))[1])


def _read(path: Path) -> tuple[ServerJob | None, str]:
    """The job of a record and the server that wrote it; None where the file is none."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None, ""
        record = json.loads(path.read_bytes())
        place = PlaceToReturn(str(record["page"]), str(record["address"]))
        job = ServerJob(
            str(record["key"]), str(record["title"]), place, str(record["visitor"]), bool(record["private"]),
            bool(record["upload"]), kind=str(record["kind"]),
            settings=dict(record["settings"]), state=str(record["state"]), done=int(record["done"]),
            total=int(record["total"]), words=str(record["words"]), error=str(record["error"]),
            began=float(record["began"]), ended=float(record["ended"]), log=deque(map(str, record["log"]), MOST_LOG),
        )  # fmt: skip
        fits = path == path_of(job.key) and (not job.kind or job.key == key_of(job.kind, job.settings))
        return (job if fits else None), str(record["server"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, ""


def _is_alive(server: str) -> bool:
    """Whether the server of this name still lives; the file of one that has ended is removed."""
    path = folder() / f"{server}.lock"
    if not server.isalnum() or not path.exists():
        return False
    try:
        with FileLock(path, timeout=0, thread_local=False):
            path.unlink(missing_ok=True)
            return False
    except Timeout:
        return True
    except OSError:
        return False
