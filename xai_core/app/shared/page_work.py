"""The work that a page lacks: done by the page at once where it is short, otherwise a job that the visitor starts there.

The work consists of parts, and each part stores its result where the page looks for it. So the page shows the result whoever
does the part, and what is finished stays when the rest is cancelled.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import streamlit as st

from xai_core.app.shared import cache, job_view, jobs, page_links, progress, server_job, session, turns
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.server_job import ServerJob

if TYPE_CHECKING:
    from xai_core.core.runtime import Track


class Part(NamedTuple):
    """A part of a page's work, with its estimated seconds. `compute(track)` stores its result; `title` names it beside the
    progress."""

    title: str
    seconds: float
    compute: "Callable[[Track], object]"


class PageWork(NamedTuple):
    """The parts that a page lacks, and what the job that does them needs to be started and found again.

    key      of the job: the same whichever parts are missing
    title    of the job in the list of jobs
    page     title of the page that shows the results
    private  whether the work is on an upload, which this visitor alone may see and a restarted server no longer has
    button   label of the button that starts long work
    results  keys of the results that the page shows when nothing is missing; those of them that ship with the project are
             marked, with a button that computes them anew
    time_is_known  False where the seconds of the parts are a guess, which is not shown beside the button
    """

    key: str
    parts: Sequence[Part]
    title: str
    page: str
    private: bool
    button: str = "Explain"
    results: Sequence[str] = ()
    time_is_known: bool = True

    @property
    def seconds(self) -> float:
        """The estimate for all parts."""
        return sum(part.seconds for part in self.parts)


def counted(number: int, noun: str) -> str:
    """'1 method', '6 methods': for the titles of jobs."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def start_now(work: PageWork) -> bool:
    """Whether the page is to do the work in this run; otherwise it shows a job's progress, or the button that starts one.

    Work that a job has left unfinished is never taken over by the page, however little is left.
    """
    with st.container():  # also where nothing is missing, so that what follows keeps its place on the page
        if not work.parts:
            _mark_shipped(work)
            return True
        job = jobs.find(work.key)
        left_by_job = job is not None and job.state != server_job.DONE
        if work.seconds < progress.AT_ONCE_SECONDS and not left_by_job:
            return progress.should_start(work.key, work.seconds, work.button)
        if session.asked_anew(work.key) and not left_by_job:
            _start(work)
        kept = "Finished results are kept." if job is not None and job.stored else ""
        seconds = work.seconds if work.time_is_known else None
        job_view.offer(work.key, seconds, lambda: _start(work), button=work.button, kept=kept)
        return False


def _mark_shipped(work: PageWork) -> None:
    """Say which results were not computed on this machine, with a button that computes them here."""
    made = cache.made_elsewhere(work.results)
    if made:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(f"Shipped with the project: computed {made}.", width="content")
            st.button("Compute anew", key=f"anew {work.key}", type="tertiary", on_click=_anew, args=(work,))


def _anew(work: PageWork) -> None:
    cache.compute_anew(work.results)
    session.ask_anew(work.key)


def complete(work: PageWork) -> bool:
    """Do the work in this run if it is short; otherwise show its job. Returns whether everything is done."""
    now, slot = start_now(work), st.empty()
    if work.parts and now:
        with progress.bar(work.key, slot) as bar:
            for part in work.parts:
                turns.in_turn(part.compute, bar, part.title)
    return now


def stored(key: str, parts: Sequence[Part], title: str, button: str, *, private: bool) -> Any:
    """What the last of these parts keeps in the cache under `key`, where it is there already or when they are done; None
    while they are not. The other arguments are those of a `PageWork` of the page that is shown."""
    missing = [] if cache.get(key) is not None else parts
    if not complete(PageWork(key, missing, title, page_links.shown(), private, button, results=(key,))):
        return None
    return cache.get(key)


def _start(work: PageWork) -> ServerJob:
    def compute(handle: JobHandle) -> None:
        seconds = [part.seconds for part in work.parts]
        for number, part in enumerate(work.parts):
            part.compute(handle.part(number, part.title, seconds))
            handle.stored()

    return jobs.start(work.key, work.title, compute, page_links.here(work.page), private=work.private)
