"""A report as a person collects it: figures, tables, maps and verdicts with their settings, and own sentences between them.

`Report` holds them, is written to a ZIP and read from one again; `Report.blocks` is the document, for the writers of
`core/document.py` and `core/latex.py`.
"""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from PIL import Image

from xai_core.core.document import (
    Block,
    Figure,
    FigureRow,
    Paragraph,
    SmallPrint,
    TextTable,
    is_address,
    printable,
    zipped,
)
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.core.files import parse_json
from xai_core.core.version import __version__
from xai_core.data.image_io import open_picture

ItemKind = Literal["text", "figure", "table", "map"]
FORMAT, VERSION = "xai_core report", 1
TITLE = "Why the model decided as it did"
MOST_ITEMS = 100
LONGEST_TEXT, LONGEST_NAME = 20_000, 4096  # characters of a text; of a setting's name or value, a cell, or an address
MOST_SETTINGS, MOST_ROWS, MOST_COLUMNS = 200, 500, 40
LARGEST_PICTURE, LARGEST_CHART, LARGEST_REPORT = 10 * 2**20, 4 * 2**20, 64 * 2**20  # bytes
PRINTED_ROWS = 12  # of a table in a document; its file has all
SOURCE = "Open where it was made"
_LINK = re.compile(r"[A-Za-z_]+(\?[!-~]*)?")
_PICTURES = {"PNG", "JPEG"}


@dataclass(frozen=True)
class ReportItem:
    """One part of a report.

    kind       a text, a table, or a picture: of a chart (figure) or of a map
    caption    what it shows; of a text, the text itself
    settings   everything that it depends on, by name
    link       where it was made: an address within the app, as `Single_image?method=lime`; "" for an own sentence
    picture    PNG or JPEG of a figure or map
    head, rows the table
    chart      the Vega-Lite specification of a figure as JSON, for drawing it anew elsewhere; "" where there is none
    models, methods  the ids of those that it is about, for the appendix
    """

    kind: ItemKind
    caption: str
    settings: Mapping[str, str] = field(default_factory=dict)
    link: str = ""
    picture: bytes = b""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    chart: str = ""
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes."""
        cells = sum(len(cell) for row in self.rows for cell in row)
        return len(self.picture) + len(self.chart) + len(self.caption) + cells + 1000


@dataclass(frozen=True)
class Report:
    """A title and the items in their order."""

    title: str = TITLE
    items: tuple[ReportItem, ...] = ()

    @property
    def nbytes(self) -> int:
        """About how many bytes all items take."""
        return sum(item.nbytes for item in self.items)

    @property
    def models(self) -> tuple[str, ...]:
        """The ids of all models that items are about, each once."""
        return tuple(dict.fromkeys(id for item in self.items for id in item.models))

    @property
    def methods(self) -> tuple[str, ...]:
        """The ids of all methods that items are about, each once."""
        return tuple(dict.fromkeys(id for item in self.items for id in item.methods))

    def with_items(self, items: Sequence[ReportItem], title: str | None = None) -> "Report":
        """The report with these items, and with another title if one is given. Raises BadRequest where they are too many or
        too large."""
        report = Report(self.title if title is None else title, tuple(items))
        if len(report.items) > MOST_ITEMS:
            raise BadRequest(f"A report holds up to {MOST_ITEMS} parts. Remove some, or export it and begin another one.")
        if report.nbytes > LARGEST_REPORT:
            raise BadRequest(f"A report holds up to {LARGEST_REPORT // 2**20} MB. Export it, and begin another one.")
        return report

    def blocks(self, app: str = "") -> list[Block]:
        """The items as blocks of a document, numbered. `app` is the address of the app (http://...), to which links lead;
        without it there are none."""
        blocks: list[Block] = []
        figures = tables = 0
        for item in self.items:
            link = f"{app.rstrip('/')}/{item.link}" if is_address(app) and item.link else ""
            if item.kind == "text":
                parts = [part for part in re.split(r"\n\s*\n", item.caption) if part.strip()]
                blocks += [Paragraph(part) for part in parts]
            elif item.kind == "table":
                tables += 1
                more = f" The first {PRINTED_ROWS} of {len(item.rows)} rows." if len(item.rows) > PRINTED_ROWS else ""
                blocks.append(SmallPrint(f"Table {tables}. {item.caption.rstrip('. ')}.{more}"))
                blocks.append(TextTable(item.caption or f"Table {tables}", item.head, item.rows[:PRINTED_ROWS]))
            else:
                figures += 1
                blocks.append(FigureRow([Figure(item.picture, f"Figure {figures}. {item.caption}", link)], across=1))
            if item.settings:
                blocks.append(
                    SmallPrint(f"Settings: {'; '.join(f'{name}: {value}' for name, value in item.settings.items())}.")
                )
            if link:
                blocks.append(SmallPrint(SOURCE, link))
        return blocks

    def to_zip(self) -> bytes:
        """report.json, and the pictures and charts beside it, for `from_zip`."""
        files: dict[str, bytes] = {}
        rows = []
        for number, item in enumerate(self.items, 1):
            row: dict[str, Any] = {
                "kind": item.kind, "caption": item.caption, "settings": dict(item.settings), "link": item.link,
                "models": item.models, "methods": item.methods, "head": item.head, "rows": item.rows,
            }  # fmt: skip
            for name, content, file in (
                ("picture", item.picture, f"pictures/{number}.{_ending(item.picture)}"),
                ("chart", item.chart.encode(), f"charts/{number}.json"),
            ):
                row[name] = file if content else ""
                files |= {file: content} if content else {}
            rows.append(row)
        described = {"format": FORMAT, "version": VERSION, "program": __version__, "title": self.title, "items": rows}
        return zipped({"report.json": json.dumps(described, ensure_ascii=False, indent=1).encode(), **files})

    @classmethod
    def from_zip(cls, content: bytes) -> "Report":
        """The report that `to_zip` wrote. Raises BadRequest for anything else, with what is wrong."""
        if len(content) > LARGEST_REPORT:
            raise BadRequest(f"The file is larger than the {LARGEST_REPORT // 2**20} MB that a report may have.")
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return _read(archive)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
            raise BadRequest(f"This is not a report: {str(error) or 'the ZIP is damaged'}.") from None
        except ValueError as error:
            raise BadRequest(f"This is not a report: {error}.") from None


def _ending(picture: bytes) -> str:
    return "png" if picture.startswith(b"\x89PNG") else "jpg"


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(archive: zipfile.ZipFile) -> Report:
    described = parse_json(_file(archive, "report.json", LARGEST_REPORT))
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise BadRequest("This is not a report: the file does not say that it is one.")
    if described.get("version") != VERSION:
        raise BadRequest(f"This report has version {described.get('version')}; this program reads version {VERSION}.")
    items = described.get("items")
    if not isinstance(items, list):
        raise BadRequest("The report has no list of items.")
    if len(items) > MOST_ITEMS:
        raise BadRequest(f"The report has {len(items):,} items; up to {MOST_ITEMS} are read.")
    report = Report(_text(described, "title", "The report", LONGEST_NAME))
    read: list[ReportItem] = []
    for number, row in enumerate(items, 1):
        read.append(_item(archive, row, f"Item {number} of the report"))
        report = report.with_items(read)  # what is too large is noticed before all of it is read
    return report


def _item(archive: zipfile.ZipFile, row: Any, of: str) -> ReportItem:
    if not isinstance(row, dict):
        raise BadRequest(f"{of} is not an object.")
    kind: Any = row.get("kind")
    if kind not in get_args(ItemKind):
        raise BadRequest(f"{of} has no known kind; known are {', '.join(get_args(ItemKind))}.")
    link = _text(row, "link", of, LONGEST_NAME)
    if link and not _LINK.fullmatch(link):
        raise BadRequest(f"{of} has a link that leads out of the app.")
    settings = row.get("settings")
    if not isinstance(settings, dict) or len(settings) > MOST_SETTINGS:
        raise BadRequest(f"{of}: settings are not up to {MOST_SETTINGS} texts with names.")
    _texts([*settings, *settings.values()], "settings", of)
    head = _texts(row.get("head"), "head", of)
    rows = row.get("rows")
    if not isinstance(rows, list) or len(rows) > MOST_ROWS or len(head) > MOST_COLUMNS:
        raise BadRequest(f"{of}: its table has no rows, or more than {MOST_ROWS} rows or {MOST_COLUMNS} columns.")
    cells = tuple(_texts(line, "rows", of) for line in rows)
    if any(len(line) != len(head) for line in cells) or (kind == "table") != bool(head):
        raise BadRequest(f"{of}: its rows do not fit the heads of its columns.")
    item = ReportItem(
        kind, _text(row, "caption", of, LONGEST_TEXT), settings, link, _picture(archive, row, of), head, cells,
        _chart(archive, row, of), _texts(row.get("models"), "models", of), _texts(row.get("methods"), "methods", of),
    )  # fmt: skip
    if (kind in ("figure", "map")) != bool(item.picture):
        raise BadRequest(f"{of}: a figure or map needs a picture, and nothing else may have one.")
    return item


def _picture(archive: zipfile.ZipFile, row: Mapping[str, Any], of: str) -> bytes:
    name = _text(row, "picture", of, LONGEST_NAME)
    if not name:
        return b""
    content = _file(archive, name, LARGEST_PICTURE)
    try:
        open_picture(content)
        with Image.open(io.BytesIO(content), formats=[*_PICTURES]):
            return content
    except (BadPicture, OSError):
        raise BadRequest(f"{of}: {printable(name)[:80]} is not a PNG or JPEG picture.") from None


def _chart(archive: zipfile.ZipFile, row: Mapping[str, Any], of: str) -> str:
    """The specification as it is: it is handed on, and never drawn."""
    name = _text(row, "chart", of, LONGEST_NAME)
    if not name:
        return ""
    content = _file(archive, name, LARGEST_CHART)
    if not isinstance(parse_json(content), dict):
        raise BadRequest(f"{of}: its chart is not a specification.")
    return content.decode()


def _file(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of the ZIP, of which no more than `most` bytes are unpacked."""
    try:
        with archive.open(name) as file:
            content = file.read(most + 1)
    except (KeyError, zipfile.BadZipFile, zlib.error):
        raise BadRequest(f"This is not a report: {printable(name)[:80]} is missing or damaged.") from None
    if len(content) > most:
        raise BadRequest(f"{printable(name)[:80]} is larger than the {most // 2**20} MB that it may have.")
    return content


def _text(row: Mapping[str, Any], name: str, of: str, longest: int) -> str:
    value = row.get(name)
    if not isinstance(value, str) or len(value) > longest:
        raise BadRequest(f"{of} has no {name} in words, of up to {longest:,} characters.")
    return value


def _texts(values: Sequence[Any] | None, name: str, of: str) -> tuple[str, ...]:
    fit = isinstance(values, list) and all(isinstance(value, str) and len(value) <= LONGEST_NAME for value in values)
    if not isinstance(values, list) or not fit:
        raise BadRequest(f"{of}: {name} is not a list of texts of up to {LONGEST_NAME:,} characters.")
    return tuple(values)
