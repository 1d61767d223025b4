"""Names from outside stand on a page as they are."""

import pytest
from markdown_it import MarkdownIt

from xai_core.app.shared.markdown import escape

HOSTILE = [
    "![picture](http://example.org/a.png)",
    "[link](http://example.org)",
    "<script>alert(1)</script>",
    "**bold** _and_ `code`",
    "a | b",
    "&lt;b&gt;",
    "~~gone~~",
    "C:\\new\\table",
    "# heading",
    "plain words, with (35%) and 1.5",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is(name):
    (paragraph,) = [token for token in MarkdownIt().parse(f"A name: {escape(name)}") if token.type == "inline"]
    assert "".join(part.content for part in paragraph.children) == f"A name: {name}"
    assert {part.type for part in paragraph.children} <= {"text", "text_special"}


def test_icons_colours_and_formulas_are_escaped_too():
    assert escape(":material/home: :red[x] $y$") == "\\:material/home: \\:red\\[x\\] \\$y\\$"
    assert escape("two\nlines") == "two lines"
