"""A document of plain blocks, written as HTML (one file, nothing external), Markdown or PDF; as LaTeX in `latex.py`.

Every text in a block is plain text: each writer escapes it, so that nothing from outside becomes markup or a link.
"""

import base64
import html
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import numpy as np
from PIL import Image

from xai_core.core import markdown

if TYPE_CHECKING:
    from fpdf import FPDF

LONGEST_CELL = 300  # characters of a table's cell in a PDF, where a row must fit on a page
ACROSS = 4  # pictures side by side
WIDE_HEIGHT = 62  # millimetres: height of a picture that stands alone in its row, at most
PIXEL = 25.4 / 96 / 2  # millimetres: side of a pixel of such a picture, at most; charts are drawn at twice their size
HEADING_COLOUR = "#00628f"


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the document's title. Level 2 is listed at the top of the HTML."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Text; with the address (http or https) that it leads to, if any."""

    text: str
    link: str = ""


@dataclass(frozen=True)
class SmallPrint:
    """A remark in small print; with the address (http or https) that it leads to, if any."""

    text: str
    link: str = ""


@dataclass(frozen=True)
class TextTable:
    """A table of texts. `what` says what it holds, for readers who do not see it."""

    what: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class TermList:
    """Terms, each with a text that may have several lines."""

    items: Sequence[tuple[str, str]]


class Figure(NamedTuple):
    """A picture in a format that Pillow reads and browsers show, with its caption, and the address that it leads to (http or
    https), if any."""

    picture: bytes
    caption: str
    link: str = ""


@dataclass(frozen=True)
class FigureRow:
    """Pictures side by side, `across` of them in a row. One alone (1) may be as wide as the page."""

    figures: Sequence[Figure]
    across: int = ACROSS


Block = Heading | Paragraph | SmallPrint | TextTable | TermList | FigureRow


def figures_of(blocks: Sequence[Block]) -> list[Figure]:
    """All figures of a document, in their order."""
    return [figure for block in blocks if isinstance(block, FigureRow) for figure in block.figures]


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A ZIP of files by their names; without times, so that equal files make an equal ZIP. Pictures are packed already."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            packed = zipfile.ZIP_STORED if name.endswith((".png", ".jpg")) else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), content, packed)
    return file.getvalue()


# --- HTML ------------------------------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --ink: #1a1f24; --dim: #57606a; --line: #c8ced5; --back: #ffffff; --head: #00628f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --dim: #a3adb7; --line: #414a54; --back: #14181c; --head: #63c3f0; } }
body { margin: 0; color: var(--ink); background: var(--back); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1, h2, h3, h4 { color: var(--head); line-height: 1.25; break-after: avoid; }
h3 { margin-top: 2rem; } a { color: var(--head); }
.table { overflow-x: auto; } table { border-collapse: collapse; margin: .5rem 0 1rem; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line);
  min-width: 4rem; } th { overflow-wrap: normal; } tr { break-inside: avoid; }
dl { margin: .5rem 0; } dt { font-weight: 600; } dd { margin: 0 0 .5rem; white-space: pre-line; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; max-width: 15rem; break-inside: avoid; }
img { max-width: 100%; height: auto; display: block; } figcaption, .note { font-size: .8rem; color: var(--dim); }
.wide { display: block; } .wide figure { max-width: 100%; } .wide img { width: auto; max-height: 28rem; }
.wide figcaption { font-size: .9rem; } .note { margin: .25rem 0 1.25rem; }
@media print { :root { --ink: #000; --dim: #333; --line: #999; --back: #fff; --head: #004a6d; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } .table { overflow: visible; }
  figure { max-width: 23%; } .wide img { max-height: 62mm; } nav { display: none; } }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def to_html(blocks: Sequence[Block]) -> bytes:
    """One file that opens offline: pictures are inside, nothing is fetched, and browsers are told to run nothing."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), "")
    body = [_html_block(block, place) for place, block in enumerate(blocks)]
    links = [
        f'<li><a href="#s{place}">{_text(block.text)}</a></li>'
        for place, block in enumerate(blocks)
        if isinstance(block, Heading) and block.level == 2
    ]
    if links:
        body.insert(1, f'<nav aria-label="Sections"><ul>{"".join(links)}</ul></nav>')
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            *body,
            "</main>\n</body>\n</html>\n",
        ]
    ).encode()


def _text(text: str) -> str:
    return html.escape(printable(text))


def _html_block(block: Block, place: int) -> str:
    match block:
        case Heading(level, text):
            return f'<h{level} id="s{place}">{_text(text)}</h{level}>'
        case Paragraph(text, link):
            words = f'<a href="{_text(link)}" rel="noreferrer">{_text(text)}</a>' if is_address(link) else _text(text)
            return f"<p>{words}</p>"
        case SmallPrint(text, link):
            words = f'<a href="{_text(link)}" rel="noreferrer">{_text(text)}</a>' if is_address(link) else _text(text)
            return f'<p class="note">{words}</p>'
        case TextTable(what, head, rows):
            names = "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
            lines = ["<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
            return (
                f'<div class="table" role="region" aria-label="{_text(what)}" tabindex="0"><table><thead><tr>{names}</tr>'
                f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
            )
        case TermList(items):
            return "<dl>" + "".join(f"<dt>{_text(term)}</dt><dd>{_text(text)}</dd>" for term, text in items) + "</dl>"
        case FigureRow(figures, across):
            kind = "figures wide" if across == 1 else "figures"
            return f'<div class="{kind}">' + "".join(map(_html_figure, figures)) + "</div>"


def _html_figure(figure: Figure) -> str:
    with Image.open(io.BytesIO(figure.picture)) as picture:
        (width, height), kind = picture.size, picture.format or "PNG"
    data = base64.b64encode(figure.picture).decode()
    image = (
        f'<img src="data:image/{kind.lower()};base64,{data}" width="{width}" height="{height}" '
        f'alt="{_text(figure.caption)}">'
    )
    if is_address(figure.link):
        image = f'<a href="{_text(figure.link)}" rel="noreferrer">{image}</a>'
    return f"<figure>{image}<figcaption>{_text(figure.caption)}</figcaption></figure>"


def is_address(link: str) -> bool:
    """Whether a link leads to a page, and runs nothing."""
    return link.startswith(("http://", "https://"))


def printable(text: str) -> str:
    """The text without control characters and marks that turn the direction of writing; lines stay."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


# --- Markdown --------------------------------------------------------------------------------------------------------


def to_markdown(blocks: Sequence[Block]) -> str:
    """Markdown; pictures are named by their captions."""
    return "\n\n".join(_markdown_block(block, None) for block in blocks) + "\n"


def to_markdown_zip(blocks: Sequence[Block]) -> bytes:
    """A ZIP with report.md and the pictures that it shows."""
    pictures = {f"pictures/{number}.png": png(figure) for number, figure in enumerate(figures_of(blocks), 1)}
    names = iter(pictures)
    text = "\n\n".join(_markdown_block(block, names) for block in blocks) + "\n"
    return zipped({"report.md": text.encode(), **pictures})


def png(figure: Figure) -> bytes:
    """A figure's picture as a PNG, which every program shows."""
    with Image.open(io.BytesIO(figure.picture)) as picture:
        if picture.format == "PNG":
            return figure.picture
        file = io.BytesIO()
        picture.convert("RGB").save(file, "PNG")
        return file.getvalue()


def _markdown_block(block: Block, pictures: Iterator[str] | None) -> str:
    """A block; `pictures` are the files of the pictures that come next, None where pictures are only named."""
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_marked(text)}"
        case Paragraph(text, link) | SmallPrint(text, link):
            return f"[{_marked(text)}](<{address(link)}>)" if is_address(link) else _marked(text)
        case TextTable(_, head, rows):
            lines = [head, *rows]
            cells = ["| " + " | ".join(map(_marked, line)) + " |" for line in lines]
            return "\n".join([cells[0], "|" + "---|" * len(head), *cells[1:]])
        case TermList(items):
            return "\n".join(f"- **{_marked(term)}**: {_marked(text)}" for term, text in items)
        case FigureRow(figures) if pictures is not None:
            return "\n\n".join(
                f"![{_marked(figure.caption)}]({next(pictures)})\n\n"
                + _markdown_block(Paragraph(figure.caption, figure.link), None)
                for figure in figures
            )
        case FigureRow(figures):
            return "\n".join(f"- {_markdown_block(Paragraph(figure.caption, figure.link), None)}" for figure in figures)


def address(link: str) -> str:
    """An address that cannot end the brackets around it."""
    return quote(printable(link), safe=":/?#[]@!$&'()*+,;=%-._~")


def _marked(text: str) -> str:
    return markdown.escape(printable(text))


# --- PDF -------------------------------------------------------------------------------------------------------------


def pdf_pages() -> "FPDF":
    """An empty document on A4 with page numbers, and with fonts that know the letters of most European scripts."""
    from fpdf import FPDF

    class Pages(FPDF):
        def footer(self) -> None:
            self.set_y(-12)
            self.set_font("dejavu", size=8)
            self.set_text_color(0)
            self.cell(0, 6, f"{self.page_no()}", align="C")

    pdf = Pages()
    folder = _fonts()
    for style, name in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf"), ("I", "DejaVuSans-Oblique.ttf")):
        pdf.add_font("dejavu", style, folder / name)
    pdf.add_font("dejavumono", "", folder / "DejaVuSansMono.ttf")
    pdf.set_font("dejavu", size=9)
    pdf.set_auto_page_break(True, 16)
    pdf.add_page()
    return pdf


def _fonts() -> Path:
    """matplotlib brings them along."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def to_pdf(blocks: Sequence[Block]) -> bytes:
    """A PDF with pictures. Cells of more than LONGEST_CELL characters end with dots: a row must fit on a page."""
    pdf = pdf_pages()
    for place, block in enumerate(blocks):
        is_title = isinstance(block, Paragraph | SmallPrint) and isinstance(
            blocks[min(place + 1, len(blocks) - 1)], TextTable
        )
        if is_title and pdf.will_page_break(30):  # it stays with the first rows of its table
            pdf.add_page()
        match block:
            case Heading(level, text):  # it stays with what it stands above
                above_pictures = any(isinstance(after, FigureRow) for after in blocks[place + 1 : place + 2])
                _pdf_heading(pdf, level, printable(text), max(WIDE_HEIGHT, pdf.epw / ACROSS) + 35 if above_pictures else 30)
            case Paragraph(text, link):
                _pdf_text(pdf, printable(text), link=link if is_address(link) else "")
            case SmallPrint(text, link):
                _pdf_text(pdf, printable(text), after=3, link=link if is_address(link) else "", size=7)
            case TextTable(_, head, rows):
                _pdf_table(pdf, head, rows)
            case TermList(items):
                for term, text in items:
                    if pdf.will_page_break(12):
                        pdf.add_page()
                    _pdf_text(pdf, f"{printable(term)}:", "B", 0)
                    _pdf_text(pdf, printable(text))
            case FigureRow(figures, across):
                _pdf_figures(pdf, figures, across)
    return bytes(pdf.output())


def _pdf_text(pdf: "FPDF", text: str, style: str = "", after: float = 1.5, link: str = "", size: float = 9) -> None:
    pdf.set_font("dejavu", style, size)
    pdf.multi_cell(0, 0.51 * size, text, align="L", new_x="LMARGIN", new_y="NEXT", link=link)
    pdf.ln(after)


def _pdf_heading(pdf: "FPDF", level: int, text: str, room: float) -> None:
    if pdf.will_page_break(room):
        pdf.add_page()
    pdf.ln(2)
    pdf.set_font("dejavu", "B", {1: 17, 2: 13, 3: 10.5}.get(level, 9))
    pdf.set_text_color(HEADING_COLOUR)
    pdf.multi_cell(0, 7, text, align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.set_text_color(0)


def _pdf_table(pdf: "FPDF", head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from fpdf import FontFace

    lines = [[_short(cell) for cell in row] for row in rows]
    pdf.set_font("dejavu", "B", size=7.5)  # the head's, which is wider
    widths = column_widths(pdf, list(zip(head, *lines, strict=True)))
    pdf.set_font("dejavu", size=7.5)
    with pdf.table(
        col_widths=widths, text_align="LEFT", line_height=4, borders_layout="HORIZONTAL_LINES", padding=0.6,
        headings_style=FontFace(emphasis="BOLD"),
    ) as table:  # fmt: skip
        for line in [list(head), *lines]:
            row = table.row()
            for cell in line:
                row.cell(cell)
    pdf.ln(2)


def column_widths(pdf: "FPDF", columns: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """Millimetres: by the longest text of each column, up to a limit, but no word is broken where there is room for all."""
    wished = np.array([min(max(max(map(len, column)), 11), 48) for column in columns], float)
    words = [[word for cell in column for word in cell.split()] or [""] for column in columns]
    needed = np.array([max(map(pdf.get_string_width, column)) + 3 for column in words])  # with the paddings of a cell
    widths = wished * pdf.epw / wished.sum()
    if needed.sum() <= pdf.epw:
        narrow = np.zeros(len(widths), bool)
        while (widths < needed - 1e-6).any():  # what a narrow column lacks is taken from the others
            narrow |= widths < needed
            rest = pdf.epw - needed[narrow].sum()
            widths = np.where(narrow, needed, wished * rest / wished[~narrow].sum())
    return tuple(widths)


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}..."


def _pdf_figures(pdf: "FPDF", figures: Sequence[Figure], across: int) -> None:
    wide = across == 1
    side, letters = (pdf.epw, 8.0) if wide else (pdf.epw / across - 3, 6.0)
    for start in range(0, len(figures), across):
        row = [(figure, *size_of(figure, side, wide=wide)) for figure in figures[start : start + across]]
        if pdf.will_page_break(max(height for *_, height in row) + 22):
            pdf.add_page()
        top, bottom = pdf.get_y(), pdf.get_y()
        for place, (figure, width, height) in enumerate(row):
            left = pdf.l_margin + place * (side + 3)
            link = figure.link if is_address(figure.link) else ""
            picture: bytes | io.BytesIO = figure.picture
            if not wide:
                with Image.open(io.BytesIO(figure.picture)) as opened:
                    picture = _jpeg(opened.convert("RGB"))
            pdf.image(picture, left, top, width, height, link=link, alt_text=printable(figure.caption))
            pdf.set_xy(left, top + height + 1)
            pdf.set_font("dejavu", size=letters)
            words = printable(figure.caption) if wide else _short(figure.caption)
            pdf.multi_cell(side, 0.47 * letters, words, align="L", new_x="LMARGIN", new_y="NEXT")
            bottom = max(bottom, pdf.get_y())
        pdf.set_xy(pdf.l_margin, bottom + 2)


def size_of(figure: Figure, side: float, *, wide: bool) -> tuple[float, float]:
    """Width and height in millimetres of a picture in a square, or alone in its row: as large as fits."""
    with Image.open(io.BytesIO(figure.picture)) as picture:
        width, height = picture.size
    scale = min(side / width, WIDE_HEIGHT / height, PIXEL) if wide else side / max(width, height)
    return width * scale, height * scale


def _jpeg(picture: Image.Image) -> io.BytesIO:
    """WebP would be embedded unpacked."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file
