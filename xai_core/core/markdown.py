"""Text from outside (names of files and classes, tags, cards, messages with such names) inside Markdown."""

import re
from urllib.parse import quote

# Streamlit looks for some things after it has removed the backslashes: bare addresses, icons (`:material/home:`), emoji and
# arrows. They are broken up by this character, which has no width and no meaning.
JOINER = "\u2060"

_SPECIAL = re.compile(r"([\\`*{}\[\]<>#$~|&]|:(?=\S)|(?<![^\W_])_|_(?![^\W_]))")  # an underscore within a word means nothing
_AT_THE_START = re.compile(r"^([-+=])|^(\d+)([.)])(?=\s|$)")  # would begin a list, a rule or a heading
_REPLACED = re.compile(
    r"(?<=:)(?=\S)|(?<=@)(?=\S)|(?<=www)(?=\.)|(?<=^[-<>~])(?=[->=])|(?<=\s[-<>~])(?=[->=])", re.IGNORECASE
)


def escape(text: str) -> str:
    """The text as Markdown that shows exactly this text, on one line."""
    line = _REPLACED.sub(JOINER, " ".join(text.replace(JOINER, "").split()))
    return _AT_THE_START.sub(r"\\\1" if line[:1] in "-+=" else r"\2\\\3", _SPECIAL.sub(r"\\\1", line))


def plain(written: str) -> str:
    """The words of Markdown whose only signs are two stars around what is bold, and what `escape` writes."""
    return re.sub(rf"\\(.)|\*\*|{JOINER}", r"\1", written)


def link(text: str, address: str) -> str:
    """A link as Markdown where the address is one of the web; otherwise both as text."""
    if not address.startswith(("https://", "http://")):
        return f"{escape(text)} ({escape(address)})"
    return f"[{escape(text)}]({quote(address, safe=':/?#@!$&+,;=%~')})"
