"""Jobs on a page: the indicator in the sidebar, the progress of one with Cancel, and the offer to start one.

What shows progress is a fragment that reads the job every second. It holds no work, so that leaving the page or the
browser's Stop leaves nothing that stands still. Imports no torch.
"""

from collections.abc import Callable

import streamlit as st

from xai_core.app.shared import jobs, page_links, server_job, session
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.server_job import ServerJob
from xai_core.core import markdown
from xai_core.core.errors import XaiError

FOLLOW_SECONDS, INDICATOR_SECONDS = 1.0, 3.0
PREVIEW = 186  # pixels: width of the picture of what there is so far


def indicator() -> None:
    """In the sidebar of every page: how many jobs wait, run or were interrupted, as a link to the page Jobs."""
    unfinished = any(job.unfinished for job in jobs.listed())
    with st.sidebar:
        st.fragment(_indicator, run_every=INDICATOR_SECONDS if unfinished else None)()


def _indicator() -> None:
    every = jobs.listed()
    running = [job for job in every if job.state == server_job.RUNNING]
    counts = {
        f"running, {sum(job.share for job in running) / max(len(running), 1):.0%}": len(running),
        "waiting": sum(job.state == server_job.WAITING for job in every),
        "interrupted": sum(job.state == server_job.INTERRUPTED for job in every),
    }
    words = "; ".join(f"{count} {what}" for what, count in counts.items() if count)
    if words:
        st.page_link(page_links.FILES[page_links.JOBS], label=f"Jobs: {words}", icon=":material/pending_actions:")


def show(job: ServerJob) -> None:
    """The progress of a job that waits or runs, with Cancel. The page is run again when it has ended, and when it has stored
    one more result."""
    _follow(job.key, job.stored)


@st.fragment(run_every=FOLLOW_SECONDS)
def _follow(key: str, stored: int) -> None:
    job = jobs.find(key)
    if job is None or not job.unfinished or job.stored != stored:
        st.rerun()
    progress(job)
    if job.preview is not None:
        st.image(job.preview, width=PREVIEW, output_format="PNG", alt=f"{job.title}, so far")
    st.caption("The work goes on when you leave this page. The page Jobs lists it.")


def progress(job: ServerJob) -> None:
    """A bar with what is done, and Cancel for those who may; others are told why not."""
    st.progress(job.share, text=markdown.escape(f"{job.title}: {in_words(job)}"))
    if jobs.may_change(job):
        st.button("Cancel", key=f"cancel {job.key}", on_click=jobs.cancel, args=(job.key,), disabled=job.cancelling)
    elif job.key and not job.elsewhere:
        st.caption(ANOTHER_BROWSER)


ANOTHER_BROWSER = (
    "It was started in another browser, or in one that keeps no cookies. It cannot be cancelled here; it ends when its work "
    "is done."
)


def in_words(job: ServerJob) -> str:
    """The state of a job, with how far it is."""
    if job.cancelling:
        return "cancelling, after the batch in progress"
    if job.elsewhere:
        return "another server on this machine is doing this work now"
    if job.state == server_job.WAITING:
        return "waiting until another job has ended"
    if job.state == server_job.RUNNING:
        return job.words or "starting"
    how_far = f" after {job.words.partition(',')[0]}" if job.done and job.words and job.state != server_job.DONE else ""
    return f"{job.state}{how_far}"


def ended_early(job: ServerJob, kept: str) -> None:
    """Say that a stored job was cancelled, interrupted or failed, and what is `kept`; with Resume and Dismiss."""
    say = st.error if job.state == server_job.FAILED else st.info
    say(error_text(f"{job.title}: {in_words(job)}. {job.error or kept}"))
    with st.container(horizontal=True):
        resume_button(job)
        st.button("Dismiss", key=f"dismiss {job.key}", on_click=jobs.remove, args=(job.key,))


def resume_button(job: ServerJob) -> None:
    """A button that starts a stored job again from its settings."""
    st.button("Resume", key=f"resume {job.key}", icon=":material/play_arrow:", on_click=_resume, args=(job,))


def _resume(job: ServerJob) -> None:
    try:
        jobs.resume(job)
    except XaiError as error:
        session.complain(str(error))


def offer(
    key: str,
    seconds: float | None,
    begin: Callable[[], ServerJob],
    *,
    button: str = "Explain",
    kept: str = "",
) -> None:
    """The job of a result that is missing: its progress, or the button that starts it, with the estimate (None: not known).

    `begin` starts the job, whose key is `key`. `kept` says what a cancelled job leaves. For work above the limit of
    `progress.should_start`; shorter work is done by the page itself. The job starts without the button where the way to
    this page asks for it (`session.begin_work`) and nobody has started it before.
    """
    slot = st.empty()  # the fragment keeps its place on the page, and with it its clicks
    job = jobs.find(key)
    if job is not None and job.unfinished:
        with slot.container():
            show(job)
        return
    with slot.container():
        if job is not None and job.state == server_job.FAILED:
            st.error(error_text(job.error))
        early = job is not None and job.state in (server_job.CANCELLED, server_job.INTERRUPTED)
        with st.container(horizontal=True, vertical_alignment="center"):
            pressed = st.button(button, type="primary", key=f"run {button}", icon=":material/play_arrow:")
            words = f"{in_words(job).capitalize()}. {kept} " if early and job is not None else ""
            takes = (
                "The time is estimated once it has begun."
                if seconds is None
                else f"This takes about {max(1, round(seconds))} s."
            )
            st.markdown(f"{words}{takes}")
    if pressed or (session.begins_work() if job is None else session.starts_again(job.key)):
        begin()
        st.rerun()
