"""The form for the tags and the note of one picture. Text that is not saved stays in the session as a draft."""

from collections.abc import Callable
from typing import NamedTuple

import cachetools
import streamlit as st

from xai_core.app.shared import identity, jobs, report_items, review_store, session
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown, settings
from xai_core.core.errors import XaiError
from xai_core.data.datasets import Dataset
from xai_core.review import people, picture_notes
from xai_core.review.database import StaleEdit
from xai_core.review.people import Person
from xai_core.review.picture_notes import Note, StoredNote

MOST_DRAFTS = 200  # in one session; the least recently used one leaves
FEW = 3  # pictures with a draft that are named
OpenDraft = Callable[[tuple[str, ...], str], None]


class Draft(NamedTuple):
    """What a visitor has typed and not saved, and the note that the form held before."""

    tags: str
    text: str
    before: Note


def writer() -> Person:
    """The person that this browser belongs to, or "Visitor": a note needs no name."""
    return identity.person() or people.named("Visitor", jobs.visitor())


def show(dataset: Dataset, path: str, open_draft: OpenDraft) -> None:
    """The form for one picture; while someone else has changed the note, both texts and a choice between them.

    `open_draft` is called with the paths of all pictures whose notes are not saved, and with that of the one to open.
    """
    complaint = session.complaint()
    if complaint:
        st.error(error_text(complaint))
    try:
        stored = picture_notes.find(review_store.engine(), dataset, path)
    except XaiError as error:
        st.error(error_text(f"The note on this picture cannot be shown. {error}"))
        return
    of, frozen = f"{dataset.digest[:8]} {path}", settings.READONLY.value()
    before, draft = stored.note if stored else Note(), _drafts().get(of)
    tags, text = (draft.tags, draft.text) if draft else (", ".join(before.tags), before.text)
    st.session_state[f"tags of {of}"], st.session_state[f"note on {of}"] = tags, text
    st.text_input(
        "Tags, separated by commas", key=f"tags of {of}", on_change=_keep_draft, args=(of, before), disabled=frozen
    )
    st.text_area(
        "Note", max_chars=picture_notes.LONGEST, height=80, key=f"note on {of}", on_change=_keep_draft, args=(of, before),
        disabled=frozen,
    )  # fmt: skip
    if frozen:
        st.caption(READ_ONLY)
    elif draft is None:
        st.button("Save", icon=":material/save:", on_click=_save, args=(dataset, path, of, stored))
    elif before in (draft.before, _note_of(draft)):
        st.caption(":material/edit_note: Not saved yet. This text stays here while you look at other pictures and pages.")
        with st.container(horizontal=True):
            st.button("Save", icon=":material/save:", type="primary", on_click=_save, args=(dataset, path, of, stored))
            st.button("Discard", icon=":material/undo:", on_click=_discard, args=(of,))
    elif stored is not None:
        _conflict(dataset, path, of, stored)
    if stored is not None:
        st.caption(_last_change(stored))
        if stored.note != Note():
            tagged = f" Tags: {', '.join(stored.note.tags)}." if stored.note.tags else ""
            report_items.add_text(f"Note on {path}. {stored.note.text}{tagged}")
    _other_drafts(dataset, path, open_draft)


READ_ONLY = "This is a public demonstration: it shows tags and notes and stores none."


def in_words(stored: StoredNote) -> str:
    """Who has written a note and when, as Markdown."""
    return f"{markdown.escape(stored.person.in_words())}, {stored.at:%Y-%m-%d %H:%M} UTC"


def _last_change(stored: StoredNote) -> str:
    return f"{'Removed' if stored.note == Note() else 'Last changed'} by {in_words(stored)}."


def _conflict(dataset: Dataset, path: str, of: str, stored: StoredNote) -> None:
    """The note that someone else has saved, and what can be done with the visitor's own text above it."""
    st.warning(
        f"Someone else has saved another note on this picture while you were writing: {in_words(stored)}. Nothing was "
        "overwritten."
    )
    with st.container(border=True):
        st.markdown("**The saved note**")
        st.text(f"Tags: {', '.join(stored.note.tags) or 'none'}")
        st.text(stored.note.text or "No text: the note was removed.")
    with st.container(horizontal=True):
        for label, own, theirs in (
            ("Save mine", True, False),
            ("Save both", True, True),
            ("Keep the saved note", False, True),
        ):
            st.button(label, key=f"{label} {of}", on_click=_resolve, args=(dataset, path, of, stored, own, theirs))


def _drafts() -> cachetools.LRUCache[str, Draft]:
    drafts: cachetools.LRUCache[str, Draft] = st.session_state.setdefault("drafts", cachetools.LRUCache(MOST_DRAFTS))
    return drafts


def _keep_draft(of: str, before: Note) -> None:
    """Hold what the form contains. `before` is the stored note as the form showed it; an older draft's one counts more."""
    older = _drafts().get(of)
    draft = Draft(st.session_state[f"tags of {of}"], st.session_state[f"note on {of}"], older.before if older else before)
    if _note_of(draft) == draft.before:
        _drafts().pop(of, None)
    else:
        _drafts()[of] = draft


def _note_of(draft: Draft) -> Note:
    return picture_notes.note(draft.tags, draft.text)


def _discard(of: str) -> None:
    _drafts().pop(of, None)


def _save(dataset: Dataset, path: str, of: str, stored: StoredNote | None) -> None:
    """Store what the form contains; `stored` is the note as the form showed it."""
    _keep_draft(of, stored.note if stored else Note())
    _store(dataset, path, of, stored)


def _store(dataset: Dataset, path: str, of: str, stored: StoredNote | None) -> None:
    """Store the draft, unless someone else has changed the note since `stored`; then the form shows both."""
    draft = _drafts().get(of)
    if draft is None:
        st.toast("Nothing has changed since the note was saved.")
        return
    try:
        seen = stored.version if stored else 0
        picture_notes.put(review_store.engine(), dataset, path, _note_of(draft), writer(), seen)
    except StaleEdit:
        return  # the draft stays; the form compares it with the stored note, and says who wrote that
    except XaiError as error:
        session.complain(str(error))
        return
    _discard(of)
    st.toast("Saved.")


def _resolve(dataset: Dataset, path: str, of: str, stored: StoredNote, own: bool, theirs: bool) -> None:
    """Store the visitor's note (`own`), keep someone else's (`theirs`), or join both; `stored` is theirs as shown."""
    draft = _drafts()[of]
    _drafts()[of] = draft._replace(before=stored.note)
    if not own:
        _discard(of)
        return
    if theirs:
        text = "\n".join(dict.fromkeys(filter(None, (stored.note.text, draft.text.strip()))))
        _drafts()[of] = Draft(", ".join([*stored.note.tags, draft.tags]), text, stored.note)
    _store(dataset, path, of, stored)


def _other_drafts(dataset: Dataset, path: str, open_draft: OpenDraft) -> None:
    """The other pictures of this dataset whose notes are not saved; each can be opened."""
    prefix = f"{dataset.digest[:8]} "
    paths = tuple(of.removeprefix(prefix) for of in _drafts() if of.startswith(prefix))
    others = [other for other in paths if other != path]
    if others:
        more = f" ({len(others)}, the first {FEW} are listed)" if len(others) > FEW else ""
        st.caption(f"Notes not saved yet on other pictures{more}:")
        for other in others[:FEW]:
            st.button(
                markdown.escape(other), key=f"draft {other}", type="tertiary", icon=":material/edit_note:",
                on_click=open_draft, args=(paths, other),
            )  # fmt: skip
