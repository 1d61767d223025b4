"""What the documents say is so: links lead somewhere, commands parse, the table of metrics is that of the catalogue."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import metric_table, pictures
from xai_core import __all__ as public_names
from xai_core.__main__ import _parser
from xai_core.app.shared import page_links

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted({
    line.split("#")[0].removeprefix("python -m xai_core").strip()
    for document in DOCUMENTS
    for line in document.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line.startswith("python -m xai_core")
})  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_files_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_in_the_documents_parses(command):
    arguments, rest = _parser().parse_known_args(shlex.split(command))
    assert callable(arguments.run) and (not rest or command.startswith("app "))


def test_there_are_commands_in_the_documents():
    assert len(COMMANDS) >= 15


def test_the_table_of_metrics_is_that_of_the_catalogue():
    """A new metric asks for `python -m benchmarks.metric_table` to be run again."""
    assert metric_table.FILE.read_text(encoding="utf-8") == metric_table.table()


FIGURES = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", [line for line in FIGURES.splitlines() if line.startswith("| ")][1:])
def test_every_figure_names_a_test_that_exists(row):
    (place,) = re.findall(r"`(tests/[^`]+)`", row)
    file, name = place.split("::")
    assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_page_has_its_figures():
    pages = [path.stem.split("_", 1)[1].replace("_", " ") for path in (ROOT / "pages").glob("*.py")]
    assert len(pages) >= 9 and all(f"\n| {page}" in FIGURES for page in [*pages, "Home"] if page != "Start")


def test_the_readme_shows_every_page():
    """Pictures of the pages as they are, made by benchmarks/pictures.py; all together they are soon loaded."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = dict((place, words) for words, place in re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", readme))
    files = {str(pictures.file_of(title).relative_to(ROOT)) for title in page_links.FILES}
    assert set(shown) == files == {str(path.relative_to(ROOT)) for path in pictures.FOLDER.iterdir()}
    for file in files:
        with Image.open(ROOT / file) as picture:
            assert picture.size == tuple(pictures.SIZE.values()), file
    assert sum((ROOT / file).stat().st_size for file in files) < 1_500_000


def test_names_imported_in_the_documents_are_public():
    imports = [
        name.strip()
        for document in DOCUMENTS
        for names in re.findall(r"^from xai_core import (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
        for name in names.split(",")
    ]
    assert imports and set(imports) <= set(public_names)
