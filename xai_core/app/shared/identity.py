"""Who the visitor is: a name that they typed, or the account that they signed in with. Imports no torch.

Without a section `[auth]` in Streamlit's secrets a person is known by a typed name, which nobody has checked. The same name
in another browser is another person. With `[auth]`, a person is who an OpenID Connect provider says they are: issuer and
subject. The name is only what is shown. A browser that is not signed in is then nobody, whatever was typed before.

Streamlit reads its cookie of a signed-in browser when a session begins, believes it for 30 days, and does not tell other
sessions that somebody has signed out. Here nobody is signed in for longer than the provider's token says (`exp`).
"""

import logging
import math
import threading
import time
import unicodedata
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

import cachetools
import streamlit as st
from streamlit.errors import StreamlitAuthError

from xai_core.app.shared import jobs, page_links
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.page_links import PlaceToReturn
from xai_core.core import markdown
from xai_core.core.errors import BadRequest
from xai_core.review import people
from xai_core.review.people import LONGEST, Person

MOST_REMEMBERED = 10_000  # browsers whose typed name, or whose page before signing in, the server holds
SIGN_IN_SECONDS = 600.0  # after which nobody who signs in is brought back to the page where they began
NAME_CLAIMS = ("name", "preferred_username", "email", "sub")
JOINERS = (
    "\u200c\u200d"  # they join letters in Persian, in Hindi and in emoji; no other invisible character has a use in a name
)
SIGN_IN_BROKEN = (
    "Signing in is not set up correctly on this server, so nobody can take part. Ask its owner to correct the section "
    "[auth] of its secrets; the server's log says what is missing."
)
_NAME, _INPUT, _COMPLAINT = "typed name", "name to use", "complaint of the sign-in"  # in the session


@dataclass
class _Remembered:
    """By visitor: the name that they typed, and the page on which they began to sign in."""

    names: MutableMapping[str, str] = field(default_factory=lambda: cachetools.LRUCache(MOST_REMEMBERED))
    places: MutableMapping[str, PlaceToReturn] = field(
        default_factory=lambda: cachetools.TTLCache(MOST_REMEMBERED, SIGN_IN_SECONDS)
    )
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner=False)
def _remembered() -> _Remembered:
    return _Remembered()


def person() -> Person | None:
    """The person that this browser belongs to; None while they have not typed a name or not signed in."""
    if _auth() is None:
        name = _typed_name()
        return people.named(name, jobs.visitor()) if name else None
    claims = _claims()
    issuer, subject = claims.get("iss"), claims.get("sub")
    if not issuer or not subject or _expired(claims):
        return None
    return people.identified(str(issuer), str(subject), _name_in(claims))


def signs_in() -> bool:
    """Whether people of this server sign in with an account; otherwise they type a name."""
    return _auth() is not None


def email() -> str:
    """The e-mail address that the provider has verified for who is signed in; empty where it has verified none."""
    claims = _claims() if signs_in() else {}
    return str(claims.get("email") or "") if claims.get("email_verified") is True and not _expired(claims) else ""


def label(person: Person) -> str:
    """A person's name as Markdown, with whether anybody has checked who they are."""
    return f"{markdown.escape(person.name)} ({'verified' if person.verified else 'not verified'})"


def show(page: str) -> Person | None:
    """Show who is there, with the button to change that, or what to do to be somebody; return `person()`.

    `page` is the title of this page: signing in leads back to it, with its settings.
    """
    complaint = st.session_state.pop(_COMPLAINT, None)
    if complaint:
        st.error(error_text(complaint))
    somebody, auth = person(), _auth()
    if auth is None:
        _show_name(somebody)
    else:
        _show_account(somebody, auth, page)
    return somebody


def return_after_sign_in() -> None:
    """Open the page on which this browser began to sign in. For Home, which Streamlit opens after it."""
    if _auth() is None or person() is None:
        return
    remembered, visitor = _remembered(), jobs.visitor()
    with remembered.lock:
        place = remembered.places.pop(visitor, None)
    if place is not None:
        page_links.go(place, origin=page_links.HOME)


def checked_name(text: str) -> str:
    """A typed name as it is shown: on one line. Raises BadRequest where it is none."""
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if len(name) > LONGEST:
        raise BadRequest(f"A name has at most {LONGEST} characters, and this one has {len(name):,}. Type a shorter one.")
    if any(map(_invisible, name)):
        raise BadRequest("This name contains control characters or other invisible ones. Type it again without them.")
    if not _readable(name):
        raise BadRequest("A name needs at least one letter or digit. Type your name.")
    return name


def _invisible(character: str) -> bool:
    return unicodedata.category(character)[0] == "C" and character not in JOINERS


def _readable(name: str) -> bool:
    return any(unicodedata.category(character)[0] in "LN" for character in name)


def _typed_name() -> str:
    """The name of this session, or of an earlier one of this browser; empty where there is none."""
    if _NAME not in st.session_state:
        remembered, visitor = _remembered(), jobs.visitor()
        with remembered.lock:
            st.session_state[_NAME] = remembered.names.get(visitor, "")
    return str(st.session_state[_NAME])


def _show_name(somebody: Person | None) -> None:
    if somebody is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"You are **{label(somebody)}**.", width="content")
            st.button("Change name", icon=":material/edit:", type="tertiary", on_click=_forget_name)
        return
    with st.form("name", width=480):
        st.text_input("Your name", key=_INPUT, autocomplete="name")
        st.caption(
            "Others see it beside what you say here. Nobody checks it, so that it is marked as not verified. This browser "
            "keeps it until it is closed."
        )
        st.form_submit_button("Use this name", type="primary", on_click=_use_name)


def _use_name() -> None:
    try:
        name = checked_name(st.session_state[_INPUT])
    except BadRequest as error:
        st.session_state[_COMPLAINT] = str(error)
        return
    remembered, visitor = _remembered(), jobs.visitor()
    with remembered.lock:
        remembered.names[visitor] = name
    st.session_state[_NAME] = name


def _forget_name() -> None:
    st.session_state[_INPUT] = st.session_state[_NAME]
    st.session_state[_NAME] = ""
    remembered, visitor = _remembered(), jobs.visitor()
    with remembered.lock:
        remembered.names.pop(visitor, None)


def _auth() -> Mapping[str, object] | None:
    """The section `[auth]` of the secrets; None where there is none. It is empty where the secrets cannot be read: a fault
    in their file does not let strangers in."""
    try:
        readable = st.secrets.load_if_toml_exists()
    except (OSError, ValueError):  # not allowed, or no text
        readable = False
    if not readable:
        return {} if any(Path(path).exists() for path in st.get_option("secrets.files")) else None
    if "auth" not in st.secrets:
        return None
    section = st.secrets["auth"]
    return section if isinstance(section, Mapping) else {}


def _providers(auth: Mapping[str, object]) -> list[str]:
    """The names of the providers in `[auth]`; that of the section itself is `default`."""
    named = [name for name, section in auth.items() if isinstance(section, Mapping) and name != "client_kwargs"]
    return ["default", *named] if "client_id" in auth and "default" not in named else named


def _show_account(somebody: Person | None, auth: Mapping[str, object], page: str) -> None:
    if somebody is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"Signed in as **{label(somebody)}**.", width="content")
            st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)
        return
    providers = _providers(auth)
    if not providers:
        st.error(error_text(SIGN_IN_BROKEN))
        return
    st.markdown(
        "Your sign-in has ended. Sign in again to go on; what you have saved is there."
        if _expired(_claims())
        else "Sign in to take part: others see your name beside what you say here."
    )
    with st.container(horizontal=True):
        for provider in providers:
            name = "Sign in" if provider == "default" else f"Sign in with {markdown.escape(provider)}"
            st.button(
                name, key=f"sign in {provider}", icon=":material/login:", type="primary", on_click=_sign_in,
                args=(provider, page),
            )  # fmt: skip


def _sign_in(provider: str, page: str) -> None:
    remembered, visitor = _remembered(), jobs.visitor()
    with remembered.lock:
        remembered.places[visitor] = page_links.here(page)
    try:
        st.login(provider)
    except StreamlitAuthError:
        logging.getLogger(__name__).exception("Signing in with the provider '%s' is not set up correctly", provider)
        st.session_state[_COMPLAINT] = SIGN_IN_BROKEN


def _claims() -> Mapping[str, object]:
    """What the provider has said of who is signed in; empty where nobody is."""
    claims: Mapping[str, object] = st.user.to_dict()
    return claims if claims.get("is_logged_in") is True else {}


def _expired(claims: Mapping[str, object]) -> bool:
    """Whether the provider's token is no longer valid. A time that is no number has passed."""
    end = claims.get("exp", math.inf)
    return not isinstance(end, int | float) or not time.time() < end


def _name_in(claims: Mapping[str, object]) -> str:
    """A name for who is signed in, on one line, whatever the provider calls a name."""
    for claim in NAME_CLAIMS:
        text = "".join(
            character for character in " ".join(str(claims.get(claim) or "").split()) if not _invisible(character)
        )
        if _readable(text):
            return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "Somebody without a name"
