"""The section Vote: one picture after another, judged with keys.

A digit is saved at once as the verdict; severity, label, comment and "the map helped" are saved with it or when they change.
What is typed before the verdict, or cannot be saved, stays in the session as a draft. The picture, the buttons and the keys
are one component (`voting_form.py`): a vote counts only for the picture that was on the screen and that the address names.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import cachetools
import streamlit as st
from sqlalchemy import Engine

from xai_core.app.review import access, voting_form
from xai_core.app.shared import session
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.review import rounds, votes
from xai_core.review.people import Person
from xai_core.review.rounds import Item, Round, StoredMap
from xai_core.review.votes import SEVERITIES, StoredVote, Vote

FIELDS = "voting-fields"  # voting_form.css hides them while they are another picture's
PICTURE = "picture"  # in the address: the picture's number in the round, from 1
WAIT_SECONDS = 3.0  # until maps that are being computed are looked for again
MOST_DRAFTS = 500
NOT_COUNTED = "The picture changed while a key was pressed, so that the key was not counted. Press it again."


def show(engine: Engine, round: Round, person: Person, role: str) -> None:
    """The picture that the address names, or the first that the person has not judged."""
    if role not in (rounds.OWNER, rounds.REVIEWER):
        st.info("You read this round; you have no vote in it.")
        access.offer_part(engine, round, person)
        return
    if round.state != rounds.VOTING:
        st.info("The voting is closed. The votes are shown in the discussion.")
        return
    st.fragment(_voting)(engine, round, person)


def _voting(engine: Engine, round: Round, person: Person) -> None:
    """One picture. What is done in this fragment runs it alone, so that the next picture is there at once."""
    complaint = session.complaint()
    if complaint:
        st.error(error_text(complaint))
    try:
        items = access.items(engine, round)
        own = votes.own_votes(engine, round, person)
        order = votes.to_do(engine, round, items, person)
        if not order:
            st.success("Every picture of this round has enough votes. Thank you.")
            return
        position = _position(items, order, own)
        item, stored = items[position], own.get(position)
        targets = _targets(order, own, position)
        maps = _maps(engine, round, items, person, item, stored)
        vote = _entered(round, position, stored)
        place = f"Picture {order.index(position) + 1} of {len(order):,}"
        content = _content(engine, round, item, maps, stored, vote) | {
            "heading": f"{place}; you have judged {len(set(order) & set(own)):,}",
            "to": {name: target is not None for name, target in targets.items()},
            "verdicts": round.settings.verdicts,
            "severities": [name.capitalize() for name in SEVERITIES],
            "ahead": _ahead(engine, round, items, person, order, targets),
        }
    except XaiError as error:
        st.error(error_text(error))
        st.button("Try again", icon=":material/refresh:")
        return
    picture = st.container()
    # The fields are sent first. While the component shows the next picture already, it hides those of the picture before.
    with st.container(key=FIELDS):
        _fields(engine, round, items, person, item, stored, vote)
    with picture:
        voting_form.show(content, partial(_receive, engine, round, items, person, position, targets))
        if maps == {}:
            st.fragment(_wait_for_maps, run_every=WAIT_SECONDS)(engine, round, item)
    if set(order) <= set(own):
        st.success("You have judged every picture of your part. You can still change your votes until the voting is closed.")


def _position(items: tuple[Item, ...], order: list[int], own: dict[int, StoredVote]) -> int:
    """The position in the address, if the person is to judge it; else the first without a vote, else the first."""
    named = st.query_params.get(PICTURE, "")
    if named.isdecimal() and len(named) < 8 and int(named) - 1 in order:
        return int(named) - 1
    position = next((position for position in order if position not in own), order[0])
    _go(position)
    return position


def _go(position: int) -> None:
    st.query_params[PICTURE] = str(position + 1)


def _targets(order: list[int], own: dict[int, StoredVote], position: int) -> dict[str, int | None]:
    """The positions to which one can go: before, after, and on to the next without a vote; None where there is none."""
    place = order.index(position)
    return {
        "previous": order[place - 1] if place else None,
        "next": order[place + 1] if place + 1 < len(order) else None,
        "on": next((other for other in [*order[place + 1 :], *order[:place]] if other not in own), None),
    }


# --- what the person sees ----------------------------------------------------------------------------------------------


def _is_revealed(round: Round, stored: StoredVote | None) -> bool:
    """Whether the person sees the prediction and what follows from it."""
    return stored is not None or not round.settings.reveal_after_vote


def _maps(
    engine: Engine, round: Round, items: tuple[Item, ...], person: Person, item: Item, stored: StoredVote | None
) -> dict[str, StoredMap] | None:
    """The maps that the person sees of a picture; None where they are to see none."""
    if not _is_revealed(round, stored) or item.position not in rounds.shows_map(round, items, person):
        return None
    return rounds.maps(engine, round, item.position)


def _view(engine: Engine, item: Item, maps: Mapping[str, StoredMap] | None, *, is_revealed: bool) -> dict[str, Any]:
    """A picture with its prediction and maps, as far as the person sees them, for the component."""
    notes = ["The prediction and its maps are shown after your vote."]
    if is_revealed:
        notes = ["Top five: " + " · ".join(f"{name} {share:.1%}" for name, share in item.top5)]
        notes += [] if maps is not None else ["This picture is shown to you without maps, as the round is set."]
    share = "" if item.confidence is None else f" ({item.confidence:.1%})"
    return {
        "label": item.label or "no label",
        "predicted": f"{item.predicted}{share}" if is_revealed else "",
        "notes": notes,
        "pictures": _pictures(engine, item, maps),
        "how": [entry.caption for entry in (maps or {}).values()],
        "has_maps": bool(maps),
    }


def _pictures(engine: Engine, item: Item, maps: Mapping[str, StoredMap] | None) -> list[dict[str, str]]:
    """A picture and its maps: where the browser finds them, and what they are."""
    number = item.position + 1
    shown = [(rounds.thumbnail(engine, item.sha256), f"Picture {number}", "The picture")]
    for kind, entry in (maps or {}).items():
        of = f"Map of {rounds.MAP_KINDS[kind]}"
        shown.append((entry.picture, f"{of}, picture {number}", of))
    return [{"address": voting_form.address_of(file), "alt": alt, "caption": caption} for file, alt, caption in shown]


def _entered(round: Round, position: int, stored: StoredVote | None) -> Vote:
    """The vote on a picture with what is entered and not saved."""
    return (stored.vote if stored else Vote(""))._replace(**_drafts().get((round.id, position), {}))


def _content(
    engine: Engine, round: Round, item: Item, maps: Mapping[str, StoredMap] | None, stored: StoredVote | None, vote: Vote
) -> dict[str, Any]:
    """A picture and its vote for the component, as far as the person sees them."""
    return _view(engine, item, maps, is_revealed=_is_revealed(round, stored)) | {
        "position": item.position,
        "version": stored.version if stored else 0,
        "saved": stored is not None,
        "verdict": vote.verdict if stored else "",
        "severity": vote.severity,
        "map_helped": vote.map_helped,
    }


def _ahead(
    engine: Engine, round: Round, items: tuple[Item, ...], person: Person, order: list[int],
    targets: Mapping[str, int | None],
) -> dict[str, Any] | None:  # fmt: skip
    """The next picture without a vote as the person will see it, so that the component shows it at once, and `by`: the
    moves that lead to it. None where there is none, or where its maps are not there yet."""
    position = targets["on"]
    if position is None:
        return None
    item = items[position]
    maps = _maps(engine, round, items, person, item, None)
    if maps == {}:
        return None
    content = _content(engine, round, item, maps, None, _entered(round, position, None))
    heading = f"Picture {order.index(position) + 1} of {len(order):,}"
    return content | {"heading": heading, "by": [name for name, target in targets.items() if target == position]}


def _wait_for_maps(engine: Engine, round: Round, item: Item) -> None:
    if rounds.maps(engine, round, item.position):
        st.rerun()
    ready = len(rounds.positions_with_maps(engine, round))
    st.caption(f"The maps of this picture are not there yet ({ready:,} of {round.pictures:,} pictures have theirs).")


# --- what the person says ----------------------------------------------------------------------------------------------


def _drafts() -> cachetools.LRUCache[tuple[str, int], dict[str, Any]]:
    """What the session's visitor has entered and not saved, by round and position."""
    drafts: cachetools.LRUCache[tuple[str, int], dict[str, Any]] = st.session_state.setdefault(
        "vote drafts", cachetools.LRUCache(MOST_DRAFTS)
    )
    return drafts


def _saved_here() -> cachetools.LRUCache[tuple[str, int], tuple[int, int]]:
    """By round and position: the last votes that this session saved without a gap, as the version that was on the screen
    before the first of them and the version of the last. Keys may follow each other faster than the screen."""
    saved: cachetools.LRUCache[tuple[str, int], tuple[int, int]] = st.session_state.setdefault(
        "votes saved here", cachetools.LRUCache(MOST_DRAFTS)
    )
    return saved


def _receive(
    engine: Engine, round: Round, items: tuple[Item, ...], person: Person, position: int, targets: Mapping[str, int | None]
) -> None:
    """Do what the keys said, in their order, as long as each is about the picture that was on the screen: that of the page,
    or the next one, which the component shows before the page does. After a vote that could not be saved the person stays at
    its picture."""
    moves = dict(targets)
    for event in voting_form.unseen():
        if event.position != position or st.query_params.get(PICTURE) != str(position + 1):
            if event.change:
                session.complain(NOT_COUNTED)
            return
        target = moves.get(event.go)
        if target is not None:
            _go(target)
            position, moves = target, {}  # nobody goes on from a picture that the page has not shown yet
        elif event.change and not _change(engine, round, items, person, position, event.version, **event.change):
            return


def _fields(
    engine: Engine, round: Round, items: tuple[Item, ...], person: Person, item: Item, stored: StoredVote | None, vote: Vote
) -> None:
    """The fields for a label and a comment, and what is saved. Their keys are those of the picture: what is typed into the
    fields of one picture is never another one's."""
    save = partial(_change, engine, round, items, person, item.position, stored.version if stored else 0)
    key = f"{round.id} {item.position}"
    labels = sorted({*round.settings.classes, vote.suggested} - {""})
    label, comment = st.columns(2)
    st.session_state[f"suggested {key}"] = vote.suggested or None
    label.selectbox(
        "A better label", labels, index=None, key=f"suggested {key}", accept_new_options=True, placeholder="Choose or type",
        on_change=_from_widget, args=(save, "suggested", f"suggested {key}"),
    )  # fmt: skip
    st.session_state[f"comment {key}"] = vote.comment
    comment.text_area(
        "Comment", key=f"comment {key}", height=68, max_chars=rounds.LONGEST_TEXT,
        on_change=_from_widget, args=(save, "comment", f"comment {key}"),
    )  # fmt: skip
    if (round.id, item.position) in _drafts():
        st.caption(":material/edit_note: Not saved yet: it is saved with your verdict and stays here until then.")
        if stored:
            st.button("Save", key="save draft", icon=":material/save:", on_click=_from_widget, args=(save,))
    elif stored:
        st.caption(f":material/check: Saved {stored.at:%H:%M:%S} UTC. You may change it while the round is voted on.")
        _others(engine, round, person, item)
    else:
        st.caption("Not judged yet.")


def _from_widget(save: partial[bool], field: str = "", key: str = "") -> None:
    """Save what a field holds, with the draft; or the draft alone."""
    save(**({field: st.session_state[key] or ""} if field else {}))


def _change(
    engine: Engine, round: Round, items: tuple[Item, ...], person: Person, position: int, seen: int, **changes: Any
) -> bool:
    """Enter something: saved at once where there is a verdict, else held as a draft. What cannot be saved stays one.

    `seen` is the version of the vote that was on the screen. Returns False where something could not be saved, and says why.
    """
    of = (round.id, position)
    draft = _drafts()[of] = _drafts().get(of, {}) | changes
    first, last = _saved_here().get(of, (seen, seen))
    follows = last if first <= seen <= last else seen
    try:
        stored = votes.own_votes(engine, round, person).get(position)
        vote = (stored.vote if stored else Vote(""))._replace(**draft)
        if not vote.verdict:
            return True
        if not stored or vote != stored.vote:
            votes.cast(engine, round, items, person, position, vote, follows)
            _saved_here()[of] = (first if follows == last else seen, follows + 1)
    except XaiError as error:
        session.complain(str(error))
        return False
    _drafts().pop(of, None)
    return True


def _others(engine: Engine, round: Round, person: Person, item: Item) -> None:
    """What others said of a picture, on request, where the round allows it after one's own vote."""
    if round.settings.blind != rounds.UNTIL_VOTED:
        return
    key = f"others {round.id} {item.position}"
    if not st.session_state.get(key):
        st.button(
            "Others' votes", icon=":material/visibility:", shortcut="O", key=f"show {key}",
            help="A vote that you change after you have seen them does not count for the measured agreement.",
            on_click=st.session_state.__setitem__, args=(key, True),
        )  # fmt: skip
        return
    try:
        said = votes.others(engine, round, person, item)
    except XaiError as error:
        st.error(error_text(error))
        return
    for other, vote in said:
        title = markdown.escape(round.settings.verdict_title(vote.verdict))
        st.markdown(f"**{markdown.escape(other.in_words())}**: {title}")
        if vote.comment:
            st.text(vote.comment)
    if not said:
        st.caption("Nobody else has judged this picture yet.")
