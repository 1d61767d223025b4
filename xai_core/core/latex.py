r"""A document of plain blocks as LaTeX, in a ZIP with its pictures. It compiles with pdflatex, xelatex and lualatex.

Every text is plain text: what TeX would read as a command is escaped. pdflatex knows few letters beyond those of western and
central Europe; it prints the number of a letter that it does not know, the other two print the letter where the font has it.
"""

import unicodedata
from collections.abc import Iterator, Sequence

from xai_core.core import document
from xai_core.core.document import Block, Figure, FigureRow, Heading, Paragraph, SmallPrint, TermList, TextTable

PREAMBLE = r"""\documentclass[9pt,a4paper]{extarticle}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[T1]{fontenc}
  \usepackage{textcomp}
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
  \newcommand{\letter}[1]{[U+#1]}
\else
  \usepackage{fontspec}
  \newcommand{\letter}[1]{\char"#1 }
\fi
\usepackage[margin=18mm]{geometry}
\usepackage{array,longtable,graphicx}
\usepackage[hidelinks]{hyperref}
\setlength{\parindent}{0pt}\setlength{\parskip}{3pt}\setlength{\tabcolsep}{3pt}
\setlength{\LTpre}{2pt}\setlength{\LTpost}{4pt}
\emergencystretch=3em
\begin{document}
"""
END = "\\end{document}\n"
HEADINGS = {2: "section", 3: "subsection", 4: "subsubsection"}  # by level; those below are like 4
_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_\hspace{0pt}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}", "-": "-{}", "/": r"/\hspace{0pt}",  # two hyphens are a dash in TeX; lines may break
    "[": "{[}", "]": "{]}",
    "\u00a0": "~", "–": r"\textendash{}", "—": r"\textemdash{}", "‘": r"\textquoteleft{}", "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}", "…": r"\ldots{}", "°": r"\textdegree{}",
    "×": r"\texttimes{}", "±": r"\textpm{}", "·": r"\textperiodcentered{}", "µ": r"\textmu{}", "²": r"\texttwosuperior{}",
    "³": r"\textthreesuperior{}", "≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "≈": r"$\approx$", "−": r"$-$",
    "→": r"$\rightarrow$", "←": r"$\leftarrow$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$",
    "▸": r"$\triangleright$", "▹": r"$\triangleright$", "√": r"$\surd$", "∑": r"$\sum$", "∂": r"$\partial$",
    "€": r"\texteuro{}",
}  # fmt: skip
_GREEK = set("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ")  # that TeX has names for
_ACCENTS = set("\u0300\u0301\u0302\u0303\u0308\u030a\u030b\u030c\u0327\u0328")  # that T1 fonts set on ASCII letters
_WHOLE = set("ÆæØøßŁłŒœÐðÞþŊŋĐđ¡¿§£¥©®¶«»")  # letters and signs of T1 and TS1 that are not made with an accent


def to_latex(blocks: Sequence[Block]) -> bytes:
    """A ZIP with report.tex and the pictures that it includes; `pdflatex report.tex` makes the PDF."""
    pictures = {
        f"pictures/{number}.png": document.png(figure) for number, figure in enumerate(document.figures_of(blocks), 1)
    }
    names = iter(pictures)
    text = PREAMBLE + "\n\n".join(_block(block, names) for block in blocks) + "\n" + END
    return document.zipped({"report.tex": text.encode(), **pictures})


def escape(text: str) -> str:
    """The text as LaTeX that sets exactly this text. Line breaks become spaces."""
    text = " ".join(document.printable(unicodedata.normalize("NFC", text)).split())
    return "".join(map(_sign, text))


def _sign(sign: str) -> str:
    if sign in _ESCAPED:
        return _ESCAPED[sign]
    if sign in _GREEK:
        *_, size, _, name = unicodedata.name(sign).replace("LAMDA", "LAMBDA").split()
        return rf"$\{name.capitalize() if size == 'CAPITAL' else name.lower()}$"
    if sign.isascii() or sign in _WHOLE:
        return sign
    base, *accents = [*unicodedata.normalize("NFD", sign)]
    if base.isascii() and base.isalpha() and len(accents) == 1 and accents[0] in _ACCENTS and ord(sign) < 0x180:
        return sign
    return rf"\letter{{{ord(sign):X}}}"


def _linked(text: str, link: str) -> str:
    if not document.is_address(link):
        return escape(text)
    address = document.address(link)
    for sign in "%#&":
        address = address.replace(sign, f"\\{sign}")
    return rf"\href{{{address}}}{{{escape(text)}}}"


def _block(block: Block, pictures: Iterator[str]) -> str:
    match block:
        case Heading(1, text):
            return rf"{{\LARGE\bfseries\raggedright {escape(text)}\par}}"
        case Heading(level, text):
            return rf"\{HEADINGS.get(level, HEADINGS[4])}*{{{escape(text)}}}"
        case Paragraph(text, link):
            return _linked(text, link) + r"\par"
        case SmallPrint(text, link):
            return rf"{{\footnotesize {_linked(text, link)}\par}}\smallskip"
        case TextTable(_, head, rows):
            return _table(head, rows)
        case TermList(items):
            return "\n".join(rf"\textbf{{{escape(term)}:}} {escape(text)}\par" for term, text in items)
        case FigureRow(figures, 1):
            return "\n\n".join(_figure(figure, next(pictures), 1.0, "small") + r"\par" for figure in figures)
        case FigureRow(figures, across):
            share = 1 / across - 0.02
            return (
                "\n".join(_figure(figure, next(pictures), share, "scriptsize") + r"\hfill" for figure in figures) + r"\par"
            )


def _figure(figure: Figure, file: str, share: float, letters: str) -> str:
    """A picture with its caption, which stay on one page, `share` of a line wide."""
    width, height = document.size_of(figure, 174 * share, wide=share == 1)
    picture = rf"\includegraphics[width={width:.1f}mm,height={height:.1f}mm]{{{file}}}"
    if document.is_address(figure.link):
        picture = _linked("PICTURE", figure.link).replace("PICTURE", picture)
    return (
        rf"\begin{{minipage}}[t]{{{share:.2f}\linewidth}}\raggedright {picture}\\[2pt]"
        rf"{{\{letters} {escape(figure.caption)}\par}}\end{{minipage}}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not head:
        return ""
    widths = [min(max(max(map(len, column)), 8), 48) for column in zip(head, *rows, strict=True)]
    room = 0.97 - 0.012 * len(head)  # of a line, without the space between columns
    columns = "".join(
        rf">{{\raggedright\arraybackslash}}p{{{min(width / sum(widths) * room, 0.018 * width):.3f}\linewidth}}"
        for width in widths
    )
    lines = [" & ".join(map(escape, row)) + r" \\ \hline" for row in rows]
    names = " & ".join(rf"\textbf{{{escape(name)}}}" for name in head) + r" \\ \hline \endhead"
    return "\n".join([rf"{{\scriptsize\begin{{longtable}}[l]{{{columns}}}", names, *lines, r"\end{longtable}}"])
