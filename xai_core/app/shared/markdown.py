"""Text from outside (names of files and classes, notes) inside Markdown."""

import re

# What Streamlit's Markdown gives a meaning to: emphasis, code, links and pictures, HTML, entities, formulas, tables and
# headings; and the colon of icons and colours, `:material/home:` and `:red[...]`.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#$~|&]|:(?=\S))")


def escape(text: str) -> str:
    """The text as Markdown that shows exactly this text, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
