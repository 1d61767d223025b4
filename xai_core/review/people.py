"""Who says something in a review: a typed name, or an identity that a provider has verified."""

from typing import NamedTuple

from xai_core.core.cache_key import text_digest
from xai_core.core.errors import BadRequest

LONGEST = 80  # characters of a name
_DIGITS = 24  # of the digest in a key


class Person(NamedTuple):
    """One person: a key that no two people share, a name to show, and whether a provider vouches for both."""

    key: str
    name: str
    verified: bool

    def in_words(self) -> str:
        """The name; "(not verified)" behind one that somebody has typed."""
        return self.name if self.verified else f"{self.name} (not verified)"


def named(name: str, visitor: str) -> Person:
    """The person of a typed name in one browser (`visitor`). Names that differ only in case are the same person's.

    Raises BadRequest for an empty name and for one longer than LONGEST.
    """
    name = _clean(name)
    return Person(f"name:{text_digest(f'{visitor}|{name.casefold()}')[:_DIGITS]}", name, False)


def identified(issuer: str, subject: str, name: str) -> Person:
    """The person whom the provider `issuer` (a URL) knows as `subject`; the name is only shown."""
    return Person(f"oidc:{text_digest(f'{issuer}|{subject}')[:_DIGITS]}", _clean(name or subject), True)


def _clean(name: str) -> str:
    name = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    if not name:
        raise BadRequest("A name is needed: others see it beside your votes.")
    if len(name) > LONGEST:
        raise BadRequest(f"A name may have {LONGEST} characters; this one has {len(name):,}.")
    return name
