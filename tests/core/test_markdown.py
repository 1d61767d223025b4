"""Names from outside stand on a page as they are."""

import pytest
from markdown_it import MarkdownIt

from xai_core.core.markdown import JOINER, escape, link, plain

HOSTILE = [
    "![picture](http://example.org/a.png)",
    "[link](http://example.org)",
    "<script>alert(1)</script>",
    "**bold** _and_ `code` __init__ a_b_c _a_b_ a__b__c",
    "a | b",
    "&lt;b&gt;",
    "~~gone~~",
    "C:\\new\\table",
    "# heading",
    "- point",
    "+ point",
    "12. point",
    "3) point",
    "---",
    "===",
    "> quoted",
    "a -> b <- c -- d <-> e >= f <= g ~= h",
    "http://example.org and www.example.org and me@example.org",
    "plain words, with (35%) and 1.5",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_the_words_of_what_was_escaped(name):
    assert plain(escape(name)) == name and plain(f"**{escape(name)}**: yes") == f"{name}: yes"


@pytest.mark.parametrize("before", ["", "A name: "])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is(name, before):
    tokens = MarkdownIt().parse(before + escape(name))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    parts = tokens[1].children
    assert "".join(part.content for part in parts).replace(JOINER, "") == before + name
    assert {part.type for part in parts} <= {"text", "text_special"}


def test_what_streamlit_reads_from_the_text_itself_is_broken_up():
    """Its icons, emoji, arrows and bare addresses are found after the backslashes are gone."""
    shown = escape(":material/home: :smile: a -> b -- http://example.org www.example.org me@example.org").replace("\\", "")
    for read in (":material", ":smile", " -> ", " -- ", "http://", "www.", "@e"):
        assert read not in shown
    assert escape(":red[x] $y$") == f"\\:{JOINER}red\\[x\\] \\$y\\$"
    assert escape("two\nlines") == "two lines"
    assert escape("plain words, a: b") == "plain words, a: b"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://example.org/a_b?c=1#d", "[here](https://example.org/a_b?c=1#d)"),
        ("https://example.org/) ![x](http://leak.test", "[here](https://example.org/%29%20!%5Bx%5D%28http://leak.test)"),
        ("javascript:alert(1)", f"here (javascript\\:{JOINER}alert(1))"),
    ],
)
def test_an_address_cannot_leave_its_link(address, shown):
    assert link("here", address) == shown
