"""Who the visitor is in a round, and what they may do there.

On a public server a round is known to those who take part in it: by an invitation's link, or because they made it. On one's
own computer all rounds of the computer are listed, and its user may take part in each.
"""

from collections.abc import Callable

import streamlit as st
from sqlalchemy import Engine

from xai_core.app.shared import identity, jobs, session
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown, settings
from xai_core.core.errors import XaiError
from xai_core.review import example, invitees, rounds
from xai_core.review.people import Person
from xai_core.review.rounds import Item, Round

ROUND, INVITE = "round", "invite"  # in the address
DISCUSSION = "Discussion"  # the title of this section of a round
READABLE = "rounds read by invitation"  # in the session


def role(engine: Engine, round: Round, person: Person | None) -> str | None:
    """The person's role in a round, after an invitation was used: that of the address, or one by their identity; None for a
    stranger.

    Whoever uses their own computer may read each of its rounds, and everybody the example. Where nothing may be written, an
    invitation lets its holder read in this session.
    """
    readonly = settings.READONLY.value()
    token = st.query_params.get(INVITE)
    if token and (person or readonly):
        try:
            if person and not readonly:
                rounds.join(engine, round.id, token, person)
            else:
                rounds.invited_role(engine, round, token)
                st.session_state.setdefault(READABLE, set()).add(round.id)
        except XaiError as error:
            st.error(error_text(error))
        else:
            del st.query_params[INVITE]  # the address of the page is shared; the invitation is not part of it
    held = rounds.role(engine, round, person) if person else None
    if held is None and person is not None:
        held = _by_identity(engine, round, person, readonly=readonly)
    may_read = jobs.is_own_computer() or round.id == example.ID or round.id in st.session_state.get(READABLE, ())
    return held or (rounds.READER if may_read else None)


def _by_identity(engine: Engine, round: Round, person: Person, *, readonly: bool) -> str | None:
    """The role that the owner has given beforehand to who the person is; they take it up, if anything may be written."""
    email = identity.email()
    if readonly:
        return rounds.READER if invitees.role_of(engine, round, person, email) else None
    try:
        return invitees.admit(engine, round, person, email)
    except XaiError as error:
        st.error(error_text(error))
        return None


def offer_part(engine: Engine, round: Round, person: Person | None) -> None:
    """On one's own computer: a button to take part in a round in which one has no vote."""
    if settings.READONLY.value() or person is None or not jobs.is_own_computer() or round.state != rounds.VOTING:
        return
    if rounds.role(engine, round, person) in (None, rounds.READER):
        st.button(
            f"Vote as {markdown.escape(person.name)}", type="primary", icon=":material/how_to_vote:",
            on_click=attempt, args=(rounds.invite, engine, round, person, rounds.REVIEWER, person),
        )  # fmt: skip


def attempt(action: Callable[..., object], *args: object) -> None:
    """Do something at a click; what goes wrong is said on the page (`session.complaint`)."""
    try:
        action(*args)
    except XaiError as error:
        session.complain(str(error))


@st.cache_data(max_entries=32, show_spinner=False)
def _items(place: str, round_id: str, _engine: Engine, _round: Round) -> tuple[Item, ...]:
    return tuple(rounds.items(_engine, _round))


def items(engine: Engine, round: Round) -> tuple[Item, ...]:
    """The pictures of a round; they never change, and are read once."""
    return _items(str(engine.url), round.id, engine, round)
