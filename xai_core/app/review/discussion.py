"""The section Discussion: what people disagree on is settled, one picture after another.

What is typed and not saved stays in the session as a draft, together with the version of the decision that its writer saw.
"""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import cachetools
import pandas as pd
import streamlit as st
from PIL import Image
from sqlalchemy import Engine

from xai_core.app.review import access, closed_votes, progress
from xai_core.app.shared import display, report_items, session
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown, settings
from xai_core.core.errors import XaiError
from xai_core.data import image_io
from xai_core.explanation import rendering
from xai_core.review import consolidation, rounds, votes
from xai_core.review.consolidation import Decision
from xai_core.review.database import StaleEdit
from xai_core.review.people import Person
from xai_core.review.rounds import Item, Round
from xai_core.review.votes import SEVERITIES

SECTION = "section"  # the key of the page's control
PICTURE = "picture"  # in the address: the picture's number in the round, from 1
MOST_DRAFTS = 200
FEW = 3  # pictures with a draft that are named
SMALL = 220  # pixels: the width of a picture and of a map; four stand beside each other on a laptop's screen
BOX = 280  # pixels: the width of the votes for one verdict


class Discussion(NamedTuple):
    """What the section shows: the votes, what was decided last of each picture, and the pictures that are to be discussed,
    in their order."""

    items: tuple[Item, ...]
    table: pd.DataFrame
    latest: Mapping[int, Decision]
    queue: Sequence[int]  # positions
    unanimous: Sequence[int]  # that nobody has decided on yet

    @property
    def settled(self) -> dict[int, Decision]:
        return {position: decision for position, decision in self.latest.items() if decision.verdict}


class DecisionDraft(NamedTuple):
    """What a visitor has entered for one picture, and the version of the decision that they saw."""

    verdict: str | None
    suggested: str | None
    reason: str
    seen: int


def load(engine: Engine, round: Round) -> Discussion:
    """The discussion of a round as it is now. Raises BadRequest while it is voted on.

    The queue has what people disagree on, the most disputed first, then pictures with one vote and those that were opened
    again; what was left open comes last.
    """
    items, table = access.items(engine, round), closed_votes.table(engine, round, blind=False)
    latest = consolidation.latest(engine, round)
    settled = {position: decision for position, decision in latest.items() if decision.verdict}
    agreed = [position for position in consolidation.unanimous(table) if position not in latest]
    unanimous = set(agreed)
    questions = consolidation.open_questions(items, table, settled)
    queue = [item.position for item in questions if item.position not in unanimous]
    return Discussion(items, table, latest, sorted(queue, key=lambda position: position in latest), agreed)


def open_picture(position: int) -> None:
    """Open a picture in this section. For callbacks of other sections."""
    st.session_state[SECTION] = access.DISCUSSION
    _go(position)


def show(engine: Engine, round: Round, person: Person | None, role: str) -> None:
    """Progress while the round is voted on; afterwards what is to be discussed, and what is settled."""
    if round.state == rounds.VOTING:
        st.info("The votes are shown here when the owner has closed the voting.")
        progress.show(engine, round, person, rounds.READER)
        if role == rounds.OWNER and person is not None and not settings.READONLY.value():
            _close_voting(engine, round, person)
        return
    try:
        discussion = load(engine, round)
    except XaiError as error:
        st.error(error_text(error))
        st.button("Try again", icon=":material/refresh:")
        return
    is_open = round.state == rounds.DISCUSSION
    may_decide = is_open and role in (rounds.OWNER, rounds.REVIEWER) and not settings.READONLY.value()
    _summary(round, discussion)
    if may_decide and person is not None and discussion.unanimous:
        st.button(
            f"Adopt all {len(discussion.unanimous):,} unanimous", icon=":material/done_all:", key="adopt unanimous",
            on_click=_adopt, args=(engine, round, person),
            help="The verdict that all who voted on a picture agree on becomes final, and the label that most suggested.",
        )  # fmt: skip
    position = _position(discussion)
    if position is not None:
        _steps(discussion, position)
        _picture(engine, round, discussion, position)
        if may_decide and person is not None:
            _form(engine, round, person, discussion, position)
        _other_drafts(round, position)
    _settled(round, discussion)
    if role == rounds.OWNER and person is not None:
        _state(engine, round, person, discussion)


def _summary(round: Round, discussion: Discussion) -> None:
    """How far the discussion is. Repeats are no pictures of their own."""
    voted = discussion.table.loc[discussion.table["repeat_of"].isna(), "position"].nunique()
    left_open = sum(position in discussion.latest for position in discussion.queue)
    parts = [
        f"**{len(discussion.settled):,}** of {round.pictures:,} pictures are settled",
        f"**{len(discussion.queue):,}** to be discussed" + (f" ({left_open:,} left open)" if left_open else ""),
    ]
    if discussion.unanimous:
        parts.append(f"on **{len(discussion.unanimous):,}** all votes agree, and nobody has adopted them yet")
    if voted < round.pictures:
        parts.append(f"without a vote: {round.pictures - voted:,}")
    st.markdown("; ".join(parts) + ".")
    if round.state == rounds.DONE:
        st.success("This round is done: its decisions do not change any more.")
    elif not discussion.queue and not discussion.unanimous:
        st.success("There is nothing left to discuss.")


# --- the state of the round ---------------------------------------------------------------------------------------------


def _close_voting(engine: Engine, round: Round, person: Person) -> None:
    with display.errors():
        entries = votes.progress(engine, round, access.items(engine, round))
        missing = sum(entry.total - entry.done for entry in entries)
        with st.popover("Close the voting", icon=":material/how_to_vote:"):
            st.markdown(
                (f"**{missing:,}** votes are still missing. " if missing else "All votes are cast. ")
                + "When the voting is closed, nobody can vote any more, and everybody who takes part sees all votes"
                + (" without the names" if round.settings.anonymous else " with the names")
                + ". It **cannot be opened again**."
            )
            _state_button(engine, round, person, rounds.DISCUSSION, "Close the voting for good", "close voting")


def _state(engine: Engine, round: Round, person: Person, discussion: Discussion) -> None:
    if settings.READONLY.value():
        return
    if round.state == rounds.DONE:
        _state_button(engine, round, person, rounds.DISCUSSION, "Go back to the discussion", "discuss again")
        return
    with st.popover("End the round", icon=":material/flag:"):
        rest = len(discussion.queue) + len(discussion.unanimous)
        st.markdown(
            (f"**{rest:,}** pictures are not settled; they stay open questions. " if rest else "All questions are settled. ")
            + "When the round is done, decisions cannot be changed. You can go back to the discussion."
        )
        _state_button(engine, round, person, rounds.DONE, "End the round now", "end round")


def _state_button(engine: Engine, round: Round, person: Person, state: str, label: str, key: str) -> None:
    st.button(label, key=key, type="primary", on_click=access.attempt, args=(rounds.set_state, engine, round, state, person))


def _adopt(engine: Engine, round: Round, person: Person) -> None:
    try:
        count = consolidation.adopt_unanimous(engine, round, person)
    except XaiError as error:
        session.complain(str(error))
    else:
        st.toast(f"{count:,} unanimous verdicts are adopted.")


# --- one picture --------------------------------------------------------------------------------------------------------


def _position(discussion: Discussion) -> int | None:
    """The position in the address; else the first of the queue, which the address names from now on, so that a picture that
    somebody else settles stays open with what was typed. None where there is nothing to show."""
    named = st.query_params.get(PICTURE, "")
    if named.isdecimal() and len(named) < 8 and 0 < int(named) <= len(discussion.items):
        item = discussion.items[int(named) - 1]
        return item.position if item.repeat_of is None else item.repeat_of
    if not discussion.queue:
        return None
    st.query_params[PICTURE] = str(discussion.queue[0] + 1)
    return discussion.queue[0]


def _go(position: int) -> None:
    st.query_params[PICTURE] = str(position + 1)


def _neighbours(discussion: Discussion, position: int) -> tuple[int | None, int | None]:
    """The pictures before and after this one in the queue; from a picture that is not in it, the first one is next."""
    queue = discussion.queue
    if position not in queue:
        return None, queue[0] if queue else None
    place = queue.index(position)
    return queue[place - 1] if place else None, queue[place + 1] if place + 1 < len(queue) else None


def _steps(discussion: Discussion, position: int) -> None:
    before, after = _neighbours(discussion, position)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous", key="previous question", icon=":material/chevron_left:", shortcut="Left", disabled=before is None,
            on_click=_go, args=(before,),
        )  # fmt: skip
        st.button(
            "Next", key="next question", icon=":material/chevron_right:", shortcut="Right", disabled=after is None,
            on_click=_go, args=(after,),
        )  # fmt: skip
        if position in discussion.queue:
            place = discussion.queue.index(position) + 1
            st.markdown(f"Question **{place:,}** of {len(discussion.queue):,}, the most disputed first")
        elif position in discussion.settled:
            st.markdown("This picture is settled.")
        elif position in discussion.unanimous:
            st.markdown("All votes on this picture agree.")
        else:
            st.markdown("Nobody has voted on this picture.")


def _picture(engine: Engine, round: Round, discussion: Discussion, position: int) -> None:
    """The picture with its prediction and maps, and the votes beside each other, those of one verdict together."""
    item = discussion.items[position]
    label, predicted = markdown.escape(item.label) or "no label", markdown.escape(item.predicted)
    share = "" if item.confidence is None else f" ({item.confidence:.1%})"
    st.markdown(f"Picture {position + 1:,} · label **{label}** · predicted **{predicted}**{share}")
    files: dict[str, bytes] = {}
    with st.container(horizontal=True):
        with st.container(width=SMALL), display.errors():
            files[item.name] = rounds.thumbnail(engine, item.sha256)
            st.image(
                files[item.name], width="stretch", caption=markdown.escape(item.name),
                alt=f"Picture {position + 1} with the label {item.label or 'none'}",
            )  # fmt: skip
        with display.errors():
            for kind, entry in rounds.maps(engine, round, position).items():
                title = f"Map of {rounds.MAP_KINDS[kind]}"
                files[title] = entry.picture
                with st.container(width=SMALL):
                    st.image(
                        entry.picture, width="stretch", caption=title,
                        alt=f"{title} over picture {position + 1}: {entry.caption}",
                    )  # fmt: skip
    st.caption("Top five: " + " · ".join(f"{markdown.escape(name)} {share:.1%}" for name, share in item.top5))
    decision = discussion.latest.get(position)
    if decision is not None:
        _decision(round, decision)
    rows, names = discussion.table[discussion.table["position"] == position], votes.names(engine, round)
    if files:
        report_items.add_picture(
            partial(_beside_each_other, files), in_words(round, item, decision, rows, names),
            f"picture {position + 1:,} with its votes", f"verdict {position}",
        )  # fmt: skip
    _votes(round, rows, names)


def _beside_each_other(files: Mapping[str, bytes]) -> Image.Image:
    return rendering.sheet({title: image_io.open_picture(file) for title, file in files.items()}, len(files))


def in_words(round: Round, item: Item, decision: Decision | None, rows: pd.DataFrame, names: Mapping[str, str]) -> str:
    """A picture's labels, what was decided of it and why, and its votes with their comments, as plain text; `names` are
    those of the people who voted."""
    share = "" if item.confidence is None else f" ({item.confidence:.1%})"
    parts = [f"{item.name}: label {item.label or 'none'}, predicted {item.predicted}{share}."]
    if decision is not None:
        parts.append(f"{markdown.plain(_decided(round, decision))}. {_why(decision)}")
    for verdict, count in rows["verdict"].value_counts().items():
        parts.append(f"{round.settings.verdict_title(str(verdict))}: {count} of {len(rows)} votes.")
        for vote in rows[rows["verdict"] == verdict].to_dict("records"):
            details = f"{names[vote['person']]}{markdown.plain(_details(vote))}"
            parts.append(f"{details}: “{vote['comment']}”." if vote["comment"] else f"{details}.")
    return " ".join(parts)


def _decided(round: Round, decision: Decision) -> str:
    """What was decided and by whom, as Markdown."""
    title = round.settings.verdict_title(decision.verdict) if decision.verdict else ""
    words = f"Settled: **{markdown.escape(title)}**" if title else "**Left open**"
    if decision.suggested:
        words += f", label **{markdown.escape(decision.suggested)}**"
    return f"{words}, by {markdown.escape(decision.person.in_words())}, {decision.at:%Y-%m-%d %H:%M} UTC"


def _why(decision: Decision) -> str:
    return "All votes agreed." if decision.unanimous else decision.reason or "No reason was written."


def _decision(round: Round, decision: Decision) -> None:
    """What was decided last, by whom and why."""
    with st.container(border=True):
        st.markdown(_decided(round, decision))
        st.text(_why(decision))


def _votes(round: Round, rows: pd.DataFrame, names: Mapping[str, str]) -> None:
    """The votes on one picture, those for each verdict in a box, the most frequent verdict first."""
    counts = rows["verdict"].value_counts()
    with st.container(horizontal=True, key="votes beside each other"):
        for verdict, count in counts.items():
            with st.container(border=True, width=BOX):
                title = markdown.escape(round.settings.verdict_title(str(verdict)))
                st.markdown(f"**{title}**: {count} of {len(rows)} votes")
                for vote in rows[rows["verdict"] == verdict].to_dict("records"):
                    st.markdown(f"{markdown.escape(names[vote['person']])}{_details(vote)}")
                    if vote["comment"]:
                        st.text(vote["comment"])


def _details(vote: Mapping[Hashable, Any]) -> str:
    """The severity, the suggested label and whether the map helped, of one vote; empty where none is given."""
    parts = [] if pd.isna(vote["severity"]) else [f"severity {SEVERITIES[int(vote['severity'])]}"]
    if vote["suggested"]:
        parts.append(f"label **{markdown.escape(vote['suggested'])}**")
    if not pd.isna(vote["map_helped"]):
        parts.append("the map helped" if vote["map_helped"] else "the map did not help")
    return f": {', '.join(parts)}" if parts else ""


# --- a decision ---------------------------------------------------------------------------------------------------------


def _drafts() -> cachetools.LRUCache[tuple[str, int], DecisionDraft]:
    drafts: cachetools.LRUCache[tuple[str, int], DecisionDraft] = st.session_state.setdefault(
        "decision drafts", cachetools.LRUCache(MOST_DRAFTS)
    )
    return drafts


def _keys(round: Round, position: int) -> tuple[str, str, str]:
    """The keys of the fields for one picture: verdict, label, reason."""
    verdict, suggested, reason = (f"{field} of {round.id} {position}" for field in ("final", "label", "reason"))
    return verdict, suggested, reason


def _form(engine: Engine, round: Round, person: Person, discussion: Discussion, position: int) -> None:
    """The fields of a decision; they hold the visitor's draft, else nothing."""
    decision = discussion.latest.get(position)
    seen = decision.version if decision else 0
    draft = _drafts().get((round.id, position))
    is_settled = decision is not None and bool(decision.verdict)
    shown = draft or DecisionDraft(None, None, "", seen)
    keys = _keys(round, position)
    for key, value in zip(keys, shown, strict=False):
        st.session_state[key] = value
    said = discussion.table.loc[discussion.table["position"] == position, "suggested"]
    labels = list(dict.fromkeys([*said[said != ""].value_counts().index, *round.settings.classes]))
    if shown.suggested and shown.suggested not in labels:
        labels.insert(0, shown.suggested)
    keep = partial(_keep_draft, round, position, seen)
    title = {kind.id: kind.title for kind in round.settings.verdicts}
    st.subheader("Change the decision" if is_settled else "Decide")
    is_stale = draft is not None and draft.seen != seen
    if is_stale and decision is not None:
        st.warning(
            f"{error_text(decision.person.in_words())} has decided on this picture at {decision.at:%Y-%m-%d %H:%M} UTC, "
            "after you opened it: see above. Nothing was overwritten, and what you entered is still here."
        )
    st.selectbox(
        "Final verdict", list(title), index=None, format_func=lambda id: title.get(id, id), key=keys[0],
        placeholder="Choose", on_change=keep,
    )  # fmt: skip
    st.selectbox(
        "A better label (optional)", labels, index=None, key=keys[1], accept_new_options=True,
        placeholder="Choose or type", on_change=keep,
    )  # fmt: skip
    st.text_area("Reason (needed)", key=keys[2], height=80, max_chars=rounds.LONGEST_TEXT, on_change=keep)
    with st.container(horizontal=True):
        following = _neighbours(discussion, position)[1]
        st.button(
            "Save instead" if is_stale else "Save", key="save decision", type="primary", icon=":material/save:",
            on_click=_save, args=(engine, round, person, discussion.items[position], seen, following),
        )  # fmt: skip
        st.button(
            "Reopen" if is_settled else "Leave open", key="leave open", icon=":material/help:",
            on_click=_leave_open, args=(engine, round, person, discussion.items[position], seen, following, is_settled),
            help="The picture becomes an open question again; write the reason first."
            if is_settled
            else "The picture stays an open question, with what you wrote as the reason, and comes last in the list.",
        )  # fmt: skip
        if draft is not None:
            st.button("Discard", key="discard", icon=":material/undo:", on_click=_discard, args=(round, position))
    if draft is not None:
        st.caption(":material/edit_note: Not saved yet. It stays here while you look at other pictures and pages.")


def _keep_draft(round: Round, position: int, seen: int) -> None:
    """Hold what the fields contain. `seen`: the version of the decision that was shown; an older draft's one counts more."""
    verdict, suggested, reason = (st.session_state[key] for key in _keys(round, position))
    older = _drafts().get((round.id, position))
    if verdict or suggested or reason:
        _drafts()[round.id, position] = DecisionDraft(verdict, suggested, reason, older.seen if older else seen)
    else:
        _discard(round, position)


def _discard(round: Round, position: int) -> None:
    _drafts().pop((round.id, position), None)


def _save(engine: Engine, round: Round, person: Person, item: Item, seen: int, following: int | None) -> None:
    """Store the draft as the decision, after the one of version `seen`, which was shown; then go on."""
    draft = _drafts().get((round.id, item.position))
    if draft is None or not draft.verdict:
        session.complain("Choose the final verdict first.")
        return
    try:
        consolidation.decide(engine, round, person, item, draft.verdict, draft.reason, draft.suggested or "", seen)
    except XaiError as error:
        if not isinstance(error, StaleEdit):  # else the form says who was faster, and when
            session.complain(str(error))
        return
    _done(round, item, following, "Saved.")


def _leave_open(
    engine: Engine, round: Round, person: Person, item: Item, seen: int, following: int | None, needs_reason: bool
) -> None:
    """Record that the picture stays open, or is opened again, with the reason that was written."""
    draft = _drafts().get((round.id, item.position))
    reason = draft.reason.strip() if draft else ""
    if needs_reason and not reason:
        session.complain("Write the reason first: those who settled this picture will read it.")
        return
    try:
        consolidation.reopen(engine, round, person, item, reason, seen)
    except XaiError as error:
        if draft is None or not isinstance(error, StaleEdit):
            session.complain(str(error))
        return
    _done(round, item, item.position if needs_reason else following, "This picture is an open question.")


def _done(round: Round, item: Item, following: int | None, words: str) -> None:
    _discard(round, item.position)
    st.toast(words)
    if following is not None:
        _go(following)


def _other_drafts(round: Round, position: int) -> None:
    """The other pictures of this round with a draft; each can be opened."""
    others = [other for id, other in _drafts() if id == round.id and other != position]
    if others:
        more = f" ({len(others):,}, the first {FEW} are listed)" if len(others) > FEW else ""
        st.caption(f"Not saved yet on other pictures{more}:")
        with st.container(horizontal=True):
            for other in others[:FEW]:
                st.button(
                    f"Picture {other + 1:,}", key=f"decision draft {other}", type="tertiary", icon=":material/edit_note:",
                    on_click=_go, args=(other,),
                )  # fmt: skip


# --- what is settled ----------------------------------------------------------------------------------------------------


def _settled(round: Round, discussion: Discussion) -> None:
    """All decisions with who and why; a row's button opens the picture, where it can be changed or opened again."""
    if not discussion.settled:
        return
    positions = sorted(discussion.settled)
    with st.expander(f"Settled ({len(positions):,})"):
        display.openable_table(
            settled_rows(round, discussion), "settled pictures", lambda row: _go(positions[row]),
            alt="The pictures that are settled, with the verdict, by whom and why",
        )  # fmt: skip


def settled_rows(round: Round, discussion: Discussion) -> pd.DataFrame:
    """A row for each settled picture, by its number."""
    titles = {kind.id: kind.title for kind in round.settings.verdicts}
    return pd.DataFrame(
        {
            "picture": position + 1, "file": discussion.items[position].name, "verdict": titles[decision.verdict],
            "label": decision.suggested, "why": "all votes agreed" if decision.unanimous else decision.reason,
            "by": decision.person.in_words(), "at (UTC)": decision.at,
        }
        for position, decision in sorted(discussion.settled.items())
    )  # fmt: skip
