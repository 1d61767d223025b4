"""The section Progress: how far everybody is, without anyone's votes; invitations."""

from functools import partial

import streamlit as st
from sqlalchemy import Engine

from xai_core.app.review import access
from xai_core.app.shared import identity
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown, settings
from xai_core.core.errors import XaiError
from xai_core.review import invitees, rounds, votes
from xai_core.review.people import Person
from xai_core.review.rounds import Round

FOLLOW_SECONDS = 4.0
ROLES = {rounds.REVIEWER: "People who vote", rounds.READER: "People who only read"}


def show(engine: Engine, round: Round, person: Person | None, role: str) -> None:
    """Progress of all, read anew every few seconds while the round is voted on."""
    is_voting = round.state == rounds.VOTING
    st.fragment(_progress, run_every=FOLLOW_SECONDS if is_voting else None)(engine, round)
    if role == rounds.OWNER and person is not None and is_voting and not settings.READONLY.value():
        _invitations(engine, round, person)
    _settings(round)


def _progress(engine: Engine, round: Round) -> None:
    try:
        entries = votes.progress(engine, round, access.items(engine, round))
    except XaiError as error:
        st.error(error_text(error))
        return
    done = sum(entry.done >= entry.total for entry in entries)
    st.markdown(f"**{done:,}** of {len(entries):,} people have judged their part of {round.pictures:,} pictures.")
    for entry in entries:
        share = entry.done / entry.total if entry.total else 1.0
        st.progress(share, f"{markdown.escape(entry.person.in_words())}: {entry.done:,} of {entry.total:,}")
    if round.settings.repeats:
        st.caption("The numbers contain the hidden repeats that measure each person's consistency.")


def _invitations(engine: Engine, round: Round, person: Person) -> None:
    st.subheader("Invite")
    address = st.context.url.split("?")[0] if st.context.url else ""
    for role, token in rounds.invitations(engine, round, person).items():
        st.caption(f"{ROLES[role]}: send them this link. Whoever has it can take part.")
        st.code(f"{address}?{access.ROUND}={round.id}&{access.INVITE}={token}", language=None, wrap_lines=True)
    _invitees(engine, round, person)
    others = [other for other, _ in rounds.members(engine, round) if other.key != person.key]
    if others:
        with st.popover("Remove somebody"):
            st.caption("What they have said stays in the round.")
            for other in others:
                st.button(
                    f"Remove {markdown.escape(other.in_words())}", key=f"remove {other.key}",
                    on_click=access.attempt, args=(rounds.remove, engine, round, other, person),
                )  # fmt: skip


def _invitees(engine: Engine, round: Round, person: Person) -> None:
    """People who are invited by who they are: they need no link with a secret, only the address of the round."""
    signs_in = identity.signs_in()
    with st.form("invite", clear_on_submit=True, width=640):
        st.text_input(
            "Invite by e-mail address, or ISSUER|SUBJECT" if signs_in else "Invite by name", key=WHO,
            max_chars=invitees.LONGEST, help=WHO_ACCOUNT if signs_in else WHO_NAME,
        )  # fmt: skip
        st.selectbox("They are", list(ROLES), format_func=ROLES.__getitem__, key="role of who is invited")
        st.form_submit_button("Invite", icon=":material/person_add:", on_click=_invite, args=(engine, round, person))
    for who, role in invitees.listed(engine, round).items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{markdown.escape(who)} is invited: {ROLES[role].lower()}.", width="content")
            st.button(
                f"Take back the invitation of {markdown.escape(who)}", key=f"take back {who}", type="tertiary",
                on_click=access.attempt,
                args=(partial(invitees.invite, sign_in=signs_in), engine, round, who, rounds.REMOVED, person),
            )  # fmt: skip


WHO = "who is invited"
WHO_ACCOUNT = (
    "They open the address of this page, without a link of an invitation, and sign in. Their provider must have verified "
    "the e-mail address."
)
WHO_NAME = (
    "They open the address of this page, without a link of an invitation, and type this name. Nobody checks typed names: "
    "the first who comes with it is let in."
)


def _invite(engine: Engine, round: Round, person: Person) -> None:
    access.attempt(
        partial(invitees.invite, sign_in=identity.signs_in()), engine, round, st.session_state[WHO],
        st.session_state["role of who is invited"], person,
    )  # fmt: skip


def _settings(round: Round) -> None:
    s = round.settings
    with st.expander("Settings of the round"):
        votes_each = f"{s.votes_each} for each picture" if s.votes_each else "everybody judges every picture"
        lines = {
            "Pictures": f"{round.pictures:,} of {s.dataset_title}: {s.source}",
            "Model": f"{s.model_title} (weights {s.fingerprint[:12]})",
            "Maps": f"{s.maps}; {s.method}, cut {s.cut or 'default'}, precision {s.precision}",
            "Votes": f"{votes_each}; {'random order for each person' if s.random_order else 'in the order of the list'}",
            "Others' votes": f"hidden {s.blind}; {'without' if s.anonymous else 'with'} names",
            "Prediction": "shown after the vote" if s.reveal_after_vote else "shown at once",
            "Hidden repeats": f"{s.repeats:.0%}",
            "Seed": str(s.seed),
        }
        for name, words in lines.items():
            st.markdown(f"**{name}**: {markdown.escape(words)}")
        for verdict in s.verdicts:
            st.markdown(f"- **{markdown.escape(verdict.title)}**: {markdown.escape(verdict.definition)}")
        if s.left_out:
            st.markdown(f"**Left out**, because they could not be read ({len(s.left_out):,}):")
            st.text("\n".join(f"{name}: {why}" for name, why in list(s.left_out.items())[:20]))
