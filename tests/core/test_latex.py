"""LaTeX that compiles: whatever a text holds, TeX sets it and runs none of it."""

import io
import re
import shutil
import subprocess
import zipfile

import pytest
from PIL import Image

from xai_core.core import latex
from xai_core.core.document import Figure, FigureRow, Heading, Paragraph, SmallPrint, TermList, TextTable

HOSTILE = r"\input{/etc/passwd} 50% of $x_1^2$ & {a} #3 ~ <b> | \end{document} ^^5c [1] -- ``q'' \\ é ß ρ ≥ − 中 😀"
COMMANDS = re.compile(r"\\(?:[A-Za-z]+|.)", re.DOTALL)


def picture(kind="PNG", size=(80, 60)):
    """A picture in one colour, as a file."""
    file = io.BytesIO()
    Image.new("RGB", size, "#0072b2").save(file, kind)
    return file.getvalue()


BLOCKS = [
    Heading(1, HOSTILE), Heading(2, HOSTILE), Heading(3, "Third"), Heading(6, "Sixth"), Paragraph(HOSTILE),
    Paragraph("linked", "https://a.test/x_y?q=50%25&r={z}#f"), Paragraph("not linked", "javascript:alert(1)"),
    SmallPrint(HOSTILE, "http://a.test/\\input{x}"), TermList([(HOSTILE, "several\nlines")]),
    TextTable("What", ("A", HOSTILE), [(HOSTILE, "1"), ("", "[2]")]), TextTable("Empty", ("A",), []),
    FigureRow([Figure(picture(), HOSTILE, "http://a.test/?a=1&b=2")], across=1),
    FigureRow([Figure(picture("JPEG"), f"Small {number}") for number in range(5)]),
]  # fmt: skip


@pytest.fixture
def written():
    """The text of the document, and the names of the files beside it."""
    with zipfile.ZipFile(io.BytesIO(latex.to_latex(BLOCKS))) as archive:
        return archive.read("report.tex").decode(), set(archive.namelist()) - {"report.tex"}


def commands_of(text):
    """Every command of the document's body."""
    return set(COMMANDS.findall(text.partition(r"\begin{document}")[2]))


def test_environments_and_braces_are_balanced(written):
    text, _ = written
    open_environments = []
    for word, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if word == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments and text.count(r"\end{document}") == 1 and text.endswith(latex.END)
    plain = COMMANDS.sub("", text)
    assert plain.count("{") == plain.count("}")


def test_pictures_that_are_included_are_there_and_are_png(written):
    text, files = written
    assert (
        set(re.findall(r"\\includegraphics\[[^]]*\]\{([^}]*)\}", text))
        == files
        == {f"pictures/{n}.png" for n in range(1, 7)}
    )
    with zipfile.ZipFile(io.BytesIO(latex.to_latex(BLOCKS))) as archive:
        assert all(archive.read(name).startswith(b"\x89PNG") for name in files)


def test_no_text_becomes_a_command(written):
    """The commands are those that the writer uses; nothing of the texts is one, and no sign of TeX's own stands free."""
    text, _ = written
    harmless = commands_of(zip_text([Paragraph("a_b%#&{}$\\^~<>|\"'`/ é ρ ≥ − 中"), *with_plain_texts()]))
    assert commands_of(text) <= harmless | {r"\%", r"\#", r"\&"}
    assert "javascript" not in text and "input{x}" not in text.replace(r"\%7B", "")


def zip_text(blocks):
    with zipfile.ZipFile(io.BytesIO(latex.to_latex(blocks))) as archive:
        return archive.read("report.tex").decode()


def with_plain_texts():
    """The same blocks with texts that need no escaping."""
    return [
        Heading(1, "a"), Heading(2, "a"), Heading(3, "a"), Heading(6, "a"), Paragraph("a", "https://a.test"),
        SmallPrint("a"), TermList([("a", "b")]),
        TextTable("a", ("a", "b"), [("a", "b")]), FigureRow([Figure(picture(), "a")], across=1),
        FigureRow([Figure(picture(), "a")]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "set_as"),
    [
        ("50% & more", r"50\% \& more"),
        ("a_b", r"a\_\hspace{0pt}b"),
        ("\\x", r"\textbackslash{}x"),
        ("ρ ≥ λ Σ", r"$\rho$ $\geq$ $\lambda$ $\Sigma$"),
        ("é ß ł", "é ß ł"),
        ("中", r"\letter{4E2D}"),
        ("a\u202eb\x00c\nd", "a b c d"),
        ("e\u0301", "é"),
    ],
)
def test_texts_are_set_as_they_are(text, set_as):
    assert latex.escape(text) == set_as


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here; the tests above check its structure")
def test_it_compiles(tmp_path):
    with zipfile.ZipFile(io.BytesIO(latex.to_latex(BLOCKS))) as archive:
        archive.extractall(tmp_path)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
