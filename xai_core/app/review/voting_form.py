"""One picture with its maps and the buttons of the verdicts, drawn by a component of its own, which also has the keys.

Streamlit's own buttons cannot do this: a key of the picture before may press the button of the next one, or the buttons are
made anew for each picture, which takes longer than a reviewer should wait. Here every key is sent with the position of the
picture that was on the screen, and until the next picture is painted no key counts: the component says so. It has the next
picture in `ahead`, with its maps loaded, and shows it at once, before the page does. What people wrote is shown as text,
never read as HTML or Markdown.

Each event has a number and is sent until the server has confirmed it (`unseen`): Streamlit may drop one that comes while it
is busy, and may bring one twice.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import streamlit as st

from xai_core.app.shared import browser_component

KEY = "voting form"  # of the component in the session
_draw = browser_component.beside(__file__, "review_voting_form")


class Event(NamedTuple):
    """What a person did: `go` (previous, next, on), or a `change` of the vote; on the picture at `position`, whose vote had
    `version` when they saw it."""

    position: int
    version: int
    go: str
    change: Mapping[str, Any]


def show(content: Mapping[str, Any], on_events: Callable[[], None]) -> None:
    """Draw a picture and its form; `on_events` is called when there are `unseen` events."""
    confirmed = st.session_state.get(f"{KEY} confirmed", ("", 0))
    _draw(
        key=KEY, data={**content, "instance": confirmed[0], "done": confirmed[1]}, on_events_change=on_events,
        height="content",
    )  # fmt: skip


def unseen() -> list[Event]:
    """The events that have come and were not returned before, in their order; what cannot be an event is left out."""
    message = st.session_state[KEY].get("events")
    if not isinstance(message, Mapping) or not isinstance(message.get("events"), list):
        return []
    instance = str(message.get("instance"))[:80]
    known, done = st.session_state.get(f"{KEY} confirmed", ("", 0))
    done = done if known == instance else 0
    found = []
    for given in message["events"]:
        if isinstance(given, Mapping) and _all_numbers(given, "number", "position", "version") and given["number"] > done:
            done = given["number"]
            change = {name: value for name, value in given.items() if _is_change(name, value)}
            found.append(Event(given["position"], given["version"], str(given.get("go", "")), change))
    st.session_state[f"{KEY} confirmed"] = (instance, done)
    return found


def _all_numbers(given: Mapping[str, Any], *names: str) -> bool:
    return all(type(given.get(name)) is int for name in names)


def _is_change(name: str, value: object) -> bool:
    kinds = {"verdict": str, "severity": int, "map_helped": bool}
    return name in kinds and type(value) is kinds[name]


def address_of(picture: bytes) -> str:
    """Where the browser of this session finds a picture (WebP) while the page shows it or loads it ahead."""
    return browser_component.address_of(picture, "image/webp", KEY)
