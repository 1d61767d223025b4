"""Offering long work with an estimate of its time, and showing its progress with a button that cancels it."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.shared import session
from xai_core.core.errors import XaiError

AT_ONCE_SECONDS = 3.0  # work with a shorter estimate starts without a click


@contextmanager
def bar(name: str, slot: DeltaGenerator | None = None) -> Iterator[DeltaGenerator]:
    """A progress bar with a cancel button for the work in the `with` block; both disappear when it ends.

    `name` identifies the work for `should_start` and `session.cancelled`. The bar stands in `slot`, an `st.empty()` of
    the page, or here.
    """
    slot = slot or st.empty()
    with slot.container():
        progress_bar = st.progress(0.0, text="Starting")
        st.button("Cancel", key=f"cancel {name}", on_click=session.cancel, args=(name,))
    try:
        yield progress_bar
    except XaiError:
        slot.empty()
        raise
    slot.empty()


def should_start(name: str, seconds: float, button: str = "Explain") -> bool:
    """Whether to compute in this run of the page.

    True if the estimate is below AT_ONCE_SECONDS, unless the visitor cancelled this work before. Otherwise a button with the
    estimate is shown, and the result is whether it was pressed: a link opens with the button too.
    """
    offer = st.empty()  # created in any case, so that what follows keeps its place on the page
    cancelled = session.cancelled(name)
    if not cancelled and seconds < AT_ONCE_SECONDS:
        return True
    with offer.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(button, type="primary", key=f"run {button}", icon=":material/play_arrow:")
        st.markdown(f"{'Cancelled. ' if cancelled else ''}This takes about {max(1, round(seconds))} s.")
    if pressed:
        offer.empty()
        session.cancel(None)
    return pressed
