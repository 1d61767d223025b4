"""Long work that belongs to the server and not to a page: started, seen, cancelled and resumed from any page.

A job is work in a thread of this process, with a state, a progress and a log. A page starts it and reads it; the visitor may
leave the page, close the tab or press the browser's Stop, and the job goes on. Jobs take turns with each other and with the
pages (`turns`), so that nobody waits for longer than a batch of each.

There are two ways to start one:

    start(key, title, work, ...)             the work is a function, made by a page from its address. After a restart of the
                                             server an unfinished job is listed as interrupted, and its page starts it again
    start_kind(kind, settings, title, ...)   the work follows from the settings alone (`KINDS`). They are stored: whether it
                                             was interrupted or cancelled, the job is resumed without its page

A job on a visitor's upload is `private`: it is found and listed by name for that visitor alone, its result is kept in
memory, and it ends when the visitor has been away for AWAY_SECONDS. All other jobs concern data of the server, so that every
visitor may see them. A visitor is a browser, known by a random cookie. Visitors may cancel the jobs that they started; the
owner of an app that serves its own computer alone may cancel all.
"""

import logging
import math
import pkgutil
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from PIL import Image
from streamlit import runtime

from xai_core.app.shared import job_records, turns
from xai_core.app.shared.page_links import PlaceToReturn
from xai_core.app.shared.server_job import CANCELLED, DONE, FAILED, INTERRUPTED, RUNNING, ServerJob, key_of
from xai_core.core.cache_key import text_digest
from xai_core.core.errors import BadRequest, BeingWritten, XaiError

AT_ONCE = 4  # jobs that run at the same time; they take turns
MOST_IN_ALL = 12  # jobs that wait or run
MOST_OF_VISITOR = 3  # of these: fewer than AT_ONCE, so that one visitor alone never keeps the others waiting
PER_WORK = 1000  # pieces that work in parts is said to have
MOST_LISTED = 50  # jobs in the list; the oldest that have ended leave first
AWAY_SECONDS = 600.0  # after which the private jobs of a visitor who shows no sign of life end
COOKIE, TOKEN = "xai_visitor", re.compile("[0-9a-f]{32}")  # what a browser is known by after a reload of the page
OWN_COMPUTER = ("localhost", "127.0.0.1", "::1")  # values of Streamlit's `server.address` that no other computer reaches

# By the kind of a stored job, the function (settings) -> work that makes it from its settings. Named and not imported: most
# of them import torch, and the list of jobs stands on every page.
KINDS: dict[str, str] = {
    "run": "xai_core.app.metrics.new_run:work",
    "pairs benchmark": "xai_core.app.pairs.new_benchmark:work",
    "round": "xai_core.app.shared.round_job:work",
}

Work = Callable[["JobHandle"], Any]


class JobHandle:
    """What a job's work reports to. Every call ends the work where it was cancelled or the server stops."""

    def __init__(self, job: ServerJob):
        self._job = job
        self._turn = ExitStack()

    def log(self, sentence: str) -> None:
        """Add a sentence to the job's log."""
        self._job.log.append(sentence)

    def preview(self, picture: Image.Image) -> None:
        """Show what there is so far beside the job's progress."""
        self._job.preview = picture

    def report(self, done: int, total: int, words: str) -> None:
        """Say how far the work is, and let others have their turn. Raises CancelledError."""
        self._job.done, self._job.total, self._job.words = done, total, words
        self.next_turn()

    def batches(self, items: Iterable[Any]) -> Iterator[Any]:
        """A track that reports every batch."""
        return self.pieces("batches")(items)

    def pieces(self, unit: str) -> Callable[[Iterable[Any]], Iterator[Any]]:
        """A track that reports every item; `unit` names them in the words, with the time that is left."""
        return self._track(unit, "", lambda done, total: (done, total), 0.0)

    def part(self, number: int, title: str, seconds: Sequence[float]) -> Callable[[Iterable[Any]], Iterator[Any]]:
        """A track over the batches of the part `number`, from 0, of work whose parts take about so many `seconds`. The part
        begins now. The bar moves by these estimates, and never back, although some methods go through batches twice."""
        before = f"{number} of {len(seconds)} parts, now {title}: " if len(seconds) > 1 else ""
        begin, whole = sum(seconds[:number]), sum(seconds) or 1.0

        def place(done: int, total: int) -> tuple[int, int]:
            share = (begin + seconds[number] * done / total) / whole
            return max(self._job.done, round(PER_WORK * share)), PER_WORK

        self.report(*place(0, 1), f"{before}starting")
        return self._track("batches", before, place, sum(seconds[number + 1 :]))

    def _track(
        self, unit: str, before: str, place: Callable[[int, int], tuple[int, int]], later: float
    ) -> Callable[[Iterable[Any]], Iterator[Any]]:
        """`place` turns the count of items into how far the whole work is; `later` seconds follow after these items."""
        from xai_core.explanation.rendering import duration  # this module stands on pages that load no torch

        def track(items: Iterable[Any]) -> Iterator[Any]:
            items = list(items)
            start, total = time.monotonic(), len(items)
            for done, item in enumerate(items):
                seconds = time.monotonic() - start
                words = f"starting, {total:,} {unit} to do"  # networks may be loaded before the first item is done
                if done:
                    left = duration(seconds / done * (total - done) + later)
                    words = f"{done:,} of {total:,} {unit}, {duration(seconds)}, about {left} left"
                self.report(*place(done, total), f"{before}{words}")
                yield item

        return track

    def stored(self) -> None:
        """Say that one more result is stored: pages that follow the job show it."""
        self._job.stored += 1

    def within(self, batches: Iterable[Any]) -> Iterator[Any]:
        """A track over the batches of a piece: it lets others have their turn, and reports nothing."""
        for batch in batches:
            self.next_turn()
            yield batch

    def next_turn(self) -> None:
        """End this turn and wait for the next one. Raises CancelledError."""
        self._turn.close()
        self.check()
        self._turn.enter_context(turns.turn(self.check))

    def end_turn(self) -> None:
        self._turn.close()

    def check(self) -> None:
        """Raises CancelledError where the job is to end."""
        if self._job.cancelling or _server_stops() or _abandoned(self._job):
            raise CancelledError


@dataclass
class _Registry:
    """The jobs of this process, and those that stored records tell of."""

    server: job_records.ThisServer = field(default_factory=job_records.ThisServer)
    jobs: dict[str, ServerJob] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)  # by visitor, the time of the last sign of life
    lock: threading.RLock = field(default_factory=threading.RLock)
    executor: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(AT_ONCE, "job"))


@st.cache_resource(show_spinner=False)
def _registry() -> _Registry:
    registry = _Registry()
    _load(registry)
    return registry


def token() -> str:
    """The secret that this browser is known by: of its cookie, or made now."""
    token: str | None = st.session_state.get("visitor token")
    if token is None:
        sent = st.context.cookies.to_dict().get(COOKIE, "")
        token = sent if TOKEN.fullmatch(sent) else secrets.token_hex(16)
        st.session_state["visitor token"] = token
    return token


def visitor() -> str:
    """The name of this visitor, from which the token cannot be told. Asking for it is also a sign of life."""
    name, registry = text_digest(token())[:32], _registry()
    with registry.lock:
        registry.seen[name] = time.monotonic()
    return name


def start(
    key: str, title: str, work: Work, place: PlaceToReturn, *, private: bool = False, upload: bool | None = None
) -> ServerJob:
    """Start `work(handle)`; what it returns is the job's `result`. `place` is the page that can start it again.

    A job of the same key that waits or runs is returned instead. `private` is for work whose result this visitor alone may
    see; it is taken to be on an `upload` if nothing else is said. Raises BadRequest where there are too many jobs.
    """
    own = _own(key) if private else key
    return _submit(ServerJob(own, title, place, visitor(), private, private if upload is None else upload), work)


def start_kind(kind: str, settings: Mapping[str, Any], title: str, place: PlaceToReturn) -> ServerJob:
    """Start the work that follows from a kind's settings, which are stored: it can be resumed after a restart.

    A job of the same settings that waits or runs is returned instead. Raises BadRequest where there are too many jobs.
    """
    key = key_of(kind, settings)
    return _submit(ServerJob(key, title, place, visitor(), kind=kind, settings=dict(settings)), _work(kind, settings))


def resume(job: ServerJob) -> ServerJob:
    """Start a stored job again from its settings. Raises BadRequest."""
    return start_kind(job.kind, job.settings, job.title, job.place)


def find(key: str) -> ServerJob | None:
    """The job of a key that this visitor may see: a private one of the session's own, or a public one."""
    registry, name = _registry(), visitor()
    with registry.lock:
        job = registry.jobs.get(_own(key)) or registry.jobs.get(key)
    return None if job is None or (job.private and job.visitor != name) else job


def is_unfinished(key: str) -> bool:
    """Whether a job of this key waits or runs."""
    job = find(key)
    return job is not None and job.unfinished


def listed() -> list[ServerJob]:
    """All jobs, the newest first. Those of other visitors' uploads have neither names nor results."""
    registry, name = _registry(), visitor()
    with registry.lock:
        _tidy(registry)
        every = sorted(registry.jobs.values(), key=lambda job: job.began, reverse=True)
    own = [job for job in every if not job.private or job.visitor == name or job.state != INTERRUPTED]
    return [job if not job.private or job.visitor == name else _anonymous(job) for job in own]


def refresh() -> None:
    """Read the records that other servers on this machine have stored meanwhile."""
    _load(_registry())


def may_change(job: ServerJob) -> bool:
    """Whether this visitor may cancel, resume or remove a job: their own, a public one of a time before the server's last
    restart, or any public one where the visitor is the owner of a local app."""
    if job.elsewhere:
        return False
    if job.private:
        return job.visitor == visitor()
    return job.visitor in ("", visitor()) or is_own_computer()


def is_own_computer() -> bool:
    """Whether the server serves its own computer alone: nobody else can reach it, and no proxy stands before it."""
    return st.get_option("server.address") in OWN_COMPUTER and "X-Forwarded-For" not in st.context.headers


def cancel(key: str) -> None:
    """End a job: one that runs ends with the batch that it is at."""
    job = find(key)
    if job is None or not job.unfinished or not may_change(job):
        return
    job.cancelling = True
    if job.future is not None and job.future.cancel():
        _end(job, CANCELLED)


def remove(key: str) -> None:
    """Take a job that has ended from the list. What it has stored stays."""
    registry, job = _registry(), find(key)
    if job is not None and not job.unfinished and may_change(job):
        with registry.lock:
            _forget(registry, job)


def wait(seconds: float = 600.0) -> None:
    """Wait until no job waits or runs. Raises TimeoutError."""
    registry = _registry()
    with registry.lock:
        futures = [job.future for job in registry.jobs.values() if job.future is not None]
    for future in futures:
        with suppress(CancelledError):
            future.result(seconds)


def _own(key: str) -> str:
    return f"{visitor()} {key}"


def _anonymous(job: ServerJob) -> ServerJob:
    return ServerJob(
        "", "Another visitor's job", PlaceToReturn("", ""), private=True, state=job.state, done=job.done, total=job.total,
        began=job.began, ended=job.ended,
    )  # fmt: skip


def _work(kind: str, settings: Mapping[str, Any]) -> Work:
    """The work of a stored job. Raises BadRequest for an unknown kind or settings of another version."""
    if kind not in KINDS:
        raise BadRequest("This job was stored by another version of this program. Start it again on its page.")
    try:
        work: Work = pkgutil.resolve_name(KINDS[kind])(settings)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, XaiError):
            raise
        raise BadRequest("This job's settings cannot be read. Start it again on its page.") from error
    return work


def _submit(job: ServerJob, work: Work) -> ServerJob:
    registry = _registry()
    with registry.lock:
        _tidy(registry)
        same = registry.jobs.get(job.key)
        if same is not None and same.unfinished:
            if same.elsewhere and job_records.writer_lives(same.key):
                raise BeingWritten("Another server on this machine is doing this job now. Wait until it has ended.")
            if not same.elsewhere:
                return same
        _check_limits(registry, job.visitor)
        registry.jobs[job.key] = job
        job_records.store(job, registry.server)
        job.future = registry.executor.submit(_run, job, work)
    return job


def _check_limits(registry: _Registry, visitor: str) -> None:
    """Raises BadRequest where one more job would be too many."""
    unfinished = [job for job in registry.jobs.values() if job.unfinished and not job.elsewhere]
    own = sum(job.visitor == visitor for job in unfinished)
    if own >= MOST_OF_VISITOR:
        raise BadRequest(
            f"You already have {own} jobs waiting or running, which is the limit. Wait until one has ended, or cancel "
            "one on the page Jobs."
        )
    if len(unfinished) >= MOST_IN_ALL:
        raise BadRequest(
            f"{len(unfinished)} jobs are waiting or running on this server, which is the limit. Try again later."
        )


def _run(job: ServerJob, work: Work) -> None:
    """The body of a job's thread."""
    handle = JobHandle(job)
    try:
        handle.check()
        job.state = RUNNING
        job_records.store(job, _registry().server)
        job.result = work(handle)
    except CancelledError:
        _end(job, INTERRUPTED if _server_stops() else CANCELLED)
    except XaiError as error:
        job.error = str(error)
        _end(job, FAILED)
    except Exception:
        logging.getLogger(__name__).exception("The job '%s' failed", job.title)
        job.error = "A fault in the program ended this job. The server's log has the details."
        _end(job, FAILED)
    else:
        job.done = job.total
        _end(job, DONE)
    finally:
        handle.end_turn()


def _end(job: ServerJob, state: str) -> None:
    job.ended, job.cancelling, job.state = time.time(), False, state
    job_records.store(job, _registry().server)


def _server_stops() -> bool:
    """Whether the server has been asked to stop: its process ends when the jobs have."""
    stopping = (runtime.RuntimeState.STOPPING, runtime.RuntimeState.STOPPED)
    return runtime.exists() and runtime.get_instance().state in stopping


def _abandoned(job: ServerJob) -> bool:
    """Whether a private job's visitor has gone away."""
    return job.private and time.monotonic() - _registry().seen.get(job.visitor, -math.inf) > AWAY_SECONDS


def _tidy(registry: _Registry) -> None:
    """Forget the ended private jobs of visitors who have gone, and the oldest ended jobs where there are too many."""
    ended = sorted((job for job in registry.jobs.values() if not job.unfinished), key=lambda job: job.ended)
    for job in ended[: max(0, len(registry.jobs) - MOST_LISTED)]:
        _forget(registry, job)
    for job in ended:
        if _abandoned(job):
            _forget(registry, job)


def _forget(registry: _Registry, job: ServerJob) -> None:
    if registry.jobs.pop(job.key, None) is not None:
        job_records.remove(job.key)


def _load(registry: _Registry) -> None:
    """Add the jobs of stored records that this process does not know."""
    for job in job_records.stored_jobs(registry.server):
        if job.elsewhere and not job.kind:  # its results stay in the memory of that server
            continue
        with registry.lock:
            known = registry.jobs.get(job.key)
            if known is not None and not known.elsewhere:
                continue
            if job.private:
                registry.seen.setdefault(job.visitor, time.monotonic())  # who has had no time to come back has not gone away
            registry.jobs[job.key] = job
    job_records.remove_ended_locks(registry.server)
