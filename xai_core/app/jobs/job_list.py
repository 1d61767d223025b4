"""The page Jobs: the work that the server does, with its progress, and what can be done with each job. Imports no torch."""

from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qs

import streamlit as st

from xai_core.app.shared import job_view, jobs, page_links, server_job, session
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.server_job import ServerJob
from xai_core.core import markdown

ICONS = {
    server_job.WAITING: ":material/hourglass_empty:",
    server_job.RUNNING: ":material/play_arrow:",
    server_job.DONE: ":material/check:",
    server_job.CANCELLED: ":material/cancel:",
    server_job.INTERRUPTED: ":material/power_off:",
    server_job.FAILED: ":material/error:",
}


def show() -> None:
    """The list, which is read anew every second while a job waits or runs."""
    jobs.refresh()
    session.start_again(None)
    follows = any(job.unfinished for job in jobs.listed())
    st.fragment(_list, run_every=job_view.FOLLOW_SECONDS if follows else None)(follows)


def _list(follows: bool) -> None:
    message = session.complaint()
    if message:
        st.error(error_text(message))
    every = jobs.listed()
    if follows != any(job.unfinished for job in every):
        st.rerun()  # a click within the fragment has resumed a job, or the last one has ended: only the page sets the rhythm
    if not every:
        st.info("There are no jobs. Long work that you start on a page is listed here.")
    for number, job in enumerate(every):
        with st.container(border=True, key=f"job-{number}"):
            _job(job)


def _job(job: ServerJob) -> None:
    st.markdown(f"{ICONS.get(job.state, '')} **{markdown.escape(job.title)}**")
    if job.unfinished:
        job_view.progress(job)
    else:
        st.markdown(f"{markdown.escape(job_view.in_words(job)).capitalize()}. {error_text(job.error)}")
    times = [f"started {_time(job.began)}"] + ([f"ended {_time(job.ended)}"] if job.ended else [])
    st.caption(", ".join(times))
    if not job.key:
        return
    if job.upload and job.state == server_job.INTERRUPTED:
        st.markdown(f"{UPLOAD_IS_GONE} {job.place.page}.")
    with st.container(horizontal=True, vertical_alignment="center"):
        if job.resumable and jobs.may_change(job):
            job_view.resume_button(job)
        again = job.page_starts_it_again and jobs.may_change(job) and job.place.page in page_links.FILES
        if again and st.button("Start again", key=f"again {job.key}", icon=":material/play_arrow:", help=AGAIN):
            session.start_again(job.key)
            page_links.go(job.place, origin=page_links.JOBS)
        if job.place.page in page_links.FILES:
            page_links.link(
                job.place.page, "Open result" if job.state == server_job.DONE else "Open", parse_qs(job.place.settings),
                icon=":material/open_in_new:", origin=page_links.JOBS,
            )  # fmt: skip
        if not job.unfinished and jobs.may_change(job):
            st.button("Remove", key=f"remove {job.key}", help=REMOVE, on_click=partial(jobs.remove, job.key))
    if job.log:
        with st.expander("Log"):
            st.text("\n".join(job.log))


AGAIN = "Opens its page and starts it there. Results that the server has stored on disk are kept."
UPLOAD_IS_GONE = "It cannot be started again, because a restarted server no longer has the file: upload it again on the page"
REMOVE = "Removes this job from the list. Its stored results are kept."


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
