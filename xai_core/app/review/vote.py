"""The section Vote: one picture after another, judged with keys.

A digit is saved at once as the verdict; severity, label, comment and "the map helped" are saved with it or when they change.
What is typed before the verdict, or cannot be saved, stays in the session as a draft. The buttons of each picture have keys
of their own, and count while it is shown: a digit that is pressed while the next picture comes is no vote on another one.
"""

from functools import partial
from typing import Any

import cachetools
import streamlit as st
from sqlalchemy import Engine

from xai_core.app.review import access
from xai_core.app.shared import session
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.review import rounds, votes
from xai_core.review.people import Person
from xai_core.review.rounds import Item, Round, StoredMap
from xai_core.review.votes import SEVERITIES, StoredVote, Vote

PICTURE = "picture"  # in the address: the picture's number in the round, from 1
SEVERITY_KEYS = ("A", "S", "D", "F")
WAIT_SECONDS = 3.0  # until maps that are being computed are looked for again
MOST_DRAFTS = 500
WIDTH = 250  # pixels of a picture or map: two beside each other beside the form
KEYS = (
    "| Key | |\n|---|---|\n"
    "| 1 to 9 | the verdict of this number; saved at once |\n"
    "| Enter | the next picture that you have not judged |\n"
    "| Left, Right | the picture before, the picture after |\n"
    "| A, S, D, F | severity: none, minor, major, critical |\n"
    "| Y, N | the map helped, did not help |\n"
    "| O | other people's votes, after your own |\n"
    "| Tab | to the fields for a label and a comment; Esc leaves them |\n"
    "| ? | this list |\n"
)
# Streamlit knows no shortcut "?", Esc leaves no text field, and a section that was clicked takes the keys.
QUESTION_MARK = """<script>
if (!window.reviewKeys) {
  window.reviewKeys = true;
  document.addEventListener("keydown", event => {
    const typing = event.target instanceof Element && event.target.closest("input, textarea");
    if (typing && event.key === "Escape") event.target.blur();
    const section = typing && event.target.closest('[data-testid="stButtonGroup"]');
    if (section && /^[a-z1-9]$/i.test(event.key)) {
      event.target.blur();
      document.body.dispatchEvent(new KeyboardEvent("keydown", {key: event.key, code: event.code, bubbles: true}));
    }
    if (!typing && event.key === "?") document.querySelector(".st-key-review-keys button")?.click();
  }, true);
}
</script>"""


def show(engine: Engine, round: Round, person: Person, role: str) -> None:
    """The picture that the address names, or the first that the person has not judged."""
    if role not in (rounds.OWNER, rounds.REVIEWER):
        st.info("You read this round; you have no vote in it.")
        access.offer_part(engine, round, person)
        return
    if round.state != rounds.VOTING:
        st.info("The voting is closed. The votes are shown in the discussion.")
        return
    st.html(QUESTION_MARK, unsafe_allow_javascript=True)
    st.fragment(_voting)(engine, round, person)


def _voting(engine: Engine, round: Round, person: Person) -> None:
    """One picture. A click in this fragment runs it alone, so that the next picture is there at once."""
    complaint = session.complaint()
    if complaint:
        st.error(error_text(complaint))
    try:
        items = access.items(engine, round)
        own = votes.own_votes(engine, round, person)
        order = votes.to_do(engine, round, items, person)
    except XaiError as error:
        st.error(error_text(error))
        st.button("Try again", icon=":material/refresh:")
        return
    if not order:
        st.success("Every picture of this round has enough votes. Thank you.")
        return
    position = _position(items, order, own)
    item, stored = items[position], own.get(position)
    shown = position in rounds.shows_map(round, items, person)
    is_revealed = stored is not None or not round.settings.reveal_after_vote
    maps = rounds.maps(engine, round, position) if shown and is_revealed else None
    _steps(order, own, position)
    picture, form = st.columns([3, 2], gap="medium")
    with picture:
        _picture(engine, round, item, is_revealed, maps)
    with form:
        _form(engine, round, items, person, item, stored, has_maps=bool(maps))
    _done(order, own)


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


def _steps(order: list[int], own: dict[int, StoredVote], position: int) -> None:
    place = order.index(position)
    done = len(set(order) & set(own))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous", key="previous item", icon=":material/chevron_left:", shortcut="Left", disabled=place == 0,
            on_click=_go, args=(order[max(place - 1, 0)],),
        )  # fmt: skip
        st.button(
            "Next", key="next item", icon=":material/chevron_right:", shortcut="Right", disabled=place == len(order) - 1,
            on_click=_go, args=(order[min(place + 1, len(order) - 1)],),
        )  # fmt: skip
        later = [*order[place + 1 :], *order[:place]]
        following = next((other for other in later if other not in own), None)
        st.button(
            "Go on", key="go on", icon=":material/keyboard_return:", shortcut="Enter", disabled=following is None,
            on_click=_go, args=(position if following is None else following,), help="The next picture without your vote.",
        )  # fmt: skip
        with st.container(key="review-keys", width="content"):
            st.button("Keys", icon=":material/keyboard:", on_click=st.session_state.update, kwargs={"show keys": True})
        st.markdown(f"Picture **{place + 1}** of {len(order):,}; you have judged **{done:,}**")
    if st.session_state.pop("show keys", False):
        st.dialog("Keys")(partial(st.markdown, KEYS))()


def _picture(engine: Engine, round: Round, item: Item, is_revealed: bool, maps: dict[str, StoredMap] | None) -> None:
    """The picture with its prediction and maps; `maps` is None where the person sees none of it."""
    label = markdown.escape(item.label) or "no label"
    st.markdown(f"Label: **{label}**" + (f" · Predicted: **{_prediction(item)}**" if is_revealed else ""))
    if not is_revealed:
        st.caption("The prediction and its maps are shown after your vote.")
    with st.container(horizontal=True):
        with st.container(width=WIDTH):
            st.image(
                rounds.thumbnail(engine, item.sha256),
                width="stretch",
                caption="The picture",
                alt=f"Picture {item.position + 1}",
            )
        if maps is not None:
            _maps(engine, round, item, maps)
    if is_revealed:
        st.caption("Top five: " + " · ".join(f"{markdown.escape(name)} {share:.1%}" for name, share in item.top5))
        if maps is None:
            st.caption("This picture is shown to you without maps, as the round is set.")


def _prediction(item: Item) -> str:
    share = "" if item.confidence is None else f" ({item.confidence:.1%})"
    return f"{markdown.escape(item.predicted)}{share}"


def _maps(engine: Engine, round: Round, item: Item, stored: dict[str, StoredMap]) -> None:
    for kind, entry in stored.items():
        with st.container(width=WIDTH):
            of = f"Map of {rounds.MAP_KINDS[kind]}"
            st.image(entry.picture, width="stretch", caption=of, alt=f"{of}, picture {item.position + 1}")
    if stored:
        with st.popover("How the maps were made", type="tertiary"):
            for entry in stored.values():
                st.text(entry.caption)
        return
    st.fragment(_wait_for_maps, run_every=WAIT_SECONDS)(engine, round, item)


def _wait_for_maps(engine: Engine, round: Round, item: Item) -> None:
    if rounds.maps(engine, round, item.position):
        st.rerun()
    ready = len(rounds.positions_with_maps(engine, round))
    st.caption(f"The maps of this picture are not there yet ({ready:,} of {round.pictures:,} pictures have theirs).")


# --- the form ----------------------------------------------------------------------------------------------------------


def _drafts() -> cachetools.LRUCache[tuple[str, int], dict[str, Any]]:
    """What the session's visitor has entered and not saved, by round and position."""
    drafts: cachetools.LRUCache[tuple[str, int], dict[str, Any]] = st.session_state.setdefault(
        "vote drafts", cachetools.LRUCache(MOST_DRAFTS)
    )
    return drafts


def _form(
    engine: Engine, round: Round, items: tuple[Item, ...], person: Person, item: Item, stored: StoredVote | None, *,
    has_maps: bool,
) -> None:  # fmt: skip
    of = (round.id, item.position)
    vote = (stored.vote if stored else Vote(""))._replace(**_drafts().get(of, {}))
    save = partial(_change, engine, round, items, person, item.position, stored)
    press = partial(_press, save, item.position)
    for number, verdict in enumerate(round.settings.verdicts, 1):
        st.button(
            markdown.escape(verdict.title),
            key=f"verdict {verdict.id} of {item.position}", shortcut=str(number), width="stretch",
            type="primary" if stored and vote.verdict == verdict.id else "secondary",
            help=markdown.escape(verdict.definition) or None, on_click=press, kwargs={"verdict": verdict.id},
        )  # fmt: skip
    st.caption("Severity")
    with st.container(horizontal=True):
        for number, (name, key) in enumerate(zip(SEVERITIES, SEVERITY_KEYS, strict=True)):
            st.button(
                name.capitalize(), key=f"severity {name} of {item.position}", shortcut=key, on_click=press,
                kwargs={"severity": number}, type="primary" if vote.severity == number else "secondary",
            )  # fmt: skip
    if has_maps:
        st.caption("The map helped")
        with st.container(horizontal=True):
            for name, key, helped in (("Yes", "Y", True), ("No", "N", False)):
                st.button(
                    name, key=f"helped {name} of {item.position}", shortcut=key, on_click=press,
                    kwargs={"map_helped": helped}, type="primary" if vote.map_helped is helped else "secondary",
                )  # fmt: skip
    key = f"{round.id} {item.position}"
    labels = sorted({*round.settings.classes, vote.suggested} - {""})
    st.session_state[f"suggested {key}"] = vote.suggested or None
    st.selectbox(
        "A better label", labels, index=None, key=f"suggested {key}", accept_new_options=True, placeholder="Choose or type",
        on_change=_from_widget, args=(save, "suggested", f"suggested {key}"),
    )  # fmt: skip
    st.session_state[f"comment {key}"] = vote.comment
    st.text_area(
        "Comment", key=f"comment {key}", height=68, max_chars=rounds.LONGEST_TEXT,
        on_change=_from_widget, args=(save, "comment", f"comment {key}"),
    )  # fmt: skip
    if of in _drafts():
        st.caption(":material/edit_note: Not saved yet: it is saved with your verdict and stays here until then.")
        if stored:
            st.button("Save", key="save draft", icon=":material/save:", on_click=save)
    elif stored:
        st.caption(f":material/check: Saved {stored.at:%H:%M:%S} UTC. You may change it while the round is voted on.")
        _others(engine, round, person, item)


def _press(save: partial[None], position: int, **changes: Any) -> None:
    """Enter what a button says, if its picture is the one that is shown. In a browser that is busy, a key still reaches the
    buttons of the pictures before it: their votes must not change."""
    if st.query_params.get(PICTURE) == str(position + 1):
        save(**changes)


def _from_widget(save: partial[None], field: str, key: str) -> None:
    save(**{field: st.session_state[key] or ""})


def _change(
    engine: Engine, round: Round, items: tuple[Item, ...], person: Person, position: int, stored: StoredVote | None,
    **changes: Any,
) -> None:  # fmt: skip
    """Enter something: saved at once where there is a verdict, else held as a draft. What cannot be saved stays one."""
    of = (round.id, position)
    draft = _drafts().get(of, {}) | changes
    vote = (stored.vote if stored else Vote(""))._replace(**draft)
    _drafts()[of] = draft
    if not vote.verdict:
        return
    if stored and vote == stored.vote:
        _drafts().pop(of)
        return
    version = stored.version if stored else 0
    try:
        votes.cast(engine, round, items, person, position, vote, version)
    except XaiError as error:
        session.complain(str(error))
    else:
        _drafts().pop(of, None)


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


def _done(order: list[int], own: dict[int, StoredVote]) -> None:
    if set(order) <= set(own):
        st.success("You have judged every picture of your part. You can still change your votes until the voting is closed.")
