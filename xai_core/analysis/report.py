"""The report: what a person collected, and the cards of models and methods as its appendix.

The cards follow Mitchell et al. 2019 (arXiv:1810.03993): which model, which data, which explanations. The report is a
document of blocks, made from the same cards that the pages read; no model is loaded for it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xai_core.analysis.collected_report import Report
from xai_core.attribution.method import CARD, Method
from xai_core.core import document, latex, settings
from xai_core.core.document import Block, Heading, Paragraph, SmallPrint, TermList, TextTable
from xai_core.core.errors import BadRequest
from xai_core.core.files import read_regular
from xai_core.core.version import __version__
from xai_core.models.card import IMAGENET, Card
from xai_core.models.weights import locate

if TYPE_CHECKING:
    from markdown_it.tree import SyntaxTreeNode

OWN_CARD_BYTES = 2**20
NO_REPORT = Report("How these models are explained")  # the cards alone
SHORT_CARD = ("Why", "How", "Beware")  # what a short card of a method answers
CAN = {  # family of methods -> what its maps can show, and what they cannot
    "cam": (
        "which regions of a layer's grid support the target, at little cost",
        "anything finer than that grid; whether the region alone would be enough",
    ),
    "gradient": (
        "which pixels the target is sensitive to, or how much each pixel contributes to its value",
        "what would happen if a part were removed; gradients are noisy, and some variants look the same "
        "for an untrained network",
    ),
    "propagation": (
        "how the score is passed back from layer to layer, by rules that keep its sum",
        "what the network would predict for a changed picture; other rules give another map",
    ),
    "perturbation": (
        "how the prediction really changes when parts are covered, for any model",
        "how the network behaves on ordinary pictures: covered ones differ from its training pictures; coarse and slow",
    ),
    "attention": (
        "where information could flow to the class token",
        "whether this information was used for the class: attention is not attribution",
    ),
    "control": (
        "which score a map gets that does not depend on the model",
        "anything about the model: it serves for comparison only",
    ),
}
INTERPRETABILITY = {  # family of methods -> in what form a map speaks, and what its reader has to know
    "cam": "coarse regions, read at a glance",
    "gradient": "single pixels; noisy, read with care",
    "propagation": "single pixels; its rules have to be known",
    "perturbation": "regions, and what happens without them",
    "attention": "patches; the same for every class, unless weighted by gradients",
    "control": "none: it is not about the model",
}
INTRINSIC = {"cam": "local, intrinsic: it reads the network's last layer itself"}  # by the ids of methods
# What is not intrinsic is computed beside the network, after it was trained.
SCOPE = {"attention": "local, intrinsic: it reads the network's own attention", "control": "none"}  # by family
POST_HOC = "local, post hoc"


def scope(method: Method) -> str:
    """Of what a map speaks (local: of one picture), and whether it is read from the network itself (intrinsic) or computed
    beside it (post hoc)."""
    return INTRINSIC.get(method.id) or SCOPE.get(method.family, POST_HOC)


def blocks(
    cards: Sequence[Card],
    methods: Sequence[Method],
    *,
    report: Report = NO_REPORT,
    plans: Sequence[Block] = (),
    app: str = "",
    whole: bool = True,
) -> list[Block]:
    """The whole report. `plans` are blocks of `xai_core.failures.Plan.blocks(level=3)`; `app` is the address that links lead
    to (see `Report.blocks`); `whole` cards say everything, others what is needed to read the figures.

    Raises BadRequest without a model or a method where the report has no items.
    """
    if not report.items and (not cards or not methods):
        raise BadRequest("A report needs at least one model and one method, or something that was added to it.")
    parts: list[Block] = [Heading(1, report.title), SmallPrint(f"Written by xai_core {__version__}.")]
    if report.items:
        parts += [Heading(2, "Findings"), *report.blocks(app)]
    if plans:
        parts += [Heading(2, "Plans"), *plans]
    return [*parts, *appendix(cards, methods, whole)]


def appendix(cards: Sequence[Card], methods: Sequence[Method], whole: bool = True) -> list[Block]:
    """The cards of models and methods, and the table of methods."""
    parts: list[Block] = []
    if cards:
        parts.append(Heading(2, "Models"))
        parts += [block for card in cards for block in model_section(card)] if whole else [models_table(cards)]
    if methods:
        if whole:
            parts += [Heading(2, "How to read a map"), Paragraph(READING)]
        parts += [Heading(2, "The explanation methods compared"), SmallPrint(PASSES), comparison(methods)]
        parts += [Heading(2, "Each method"), *([SmallPrint(HOHMAN)] if whole else [])]
        parts += [block for method in methods for block in method_section(method, whole)]
    return parts


READING = (
    "Every map is also described in words: which colour speaks for which class, and where most of the evidence lies. The "
    "words are computed from the map. It is divided into nine equal parts; the parts named are the fewest that hold "
    "more than half of the evidence, and the percentage is their share of it. If more than three parts are needed, the "
    "evidence is called spread; if no part holds clearly more than the others, no place is named. Maps whose signs cancel "
    "within small blocks are called mixed, as noise is. The words describe the map; they do not prove that the map is right."
)
COLUMNS = ("Method", "Scope", "Map", "Interpretability", "Cost", "Can tell", "Cannot tell")  # of the table of methods
PASSES = (
    "Scope: local explanations are of one picture, global ones of a model; intrinsic ones are read from the network itself, "
    "post hoc ones are computed beside it. Cost: the number of forward + backward passes for one picture, with the method's "
    "default options."
)
HOHMAN = (
    "Each method answers the questions Why, Who, What, How, When and Where of Hohman et al. 2018 (arXiv:1801.06889), and "
    "says what to beware of."
)


def model_section(card: Card) -> list[Block]:
    """A model's card, and the text of `weights/ID.md` where there is one."""
    rows = [
        *_facts(card).items(),
        ("Licence", card.licence or "not stated"),
        ("Remark", card.remark),
    ]
    for checkpoint in card.checkpoints:
        recipe, here = checkpoint.recipe, "here" if locate.find(checkpoint) is not None else "not on this machine"
        files = ", ".join(file.name for file in checkpoint.files)
        words = (
            f"{files} ({checkpoint.megabytes} MB, {here}); {recipe.input_size} pixels, "
            f"shorter side {recipe.shorter_side}, {recipe.interpolation}, mean {recipe.mean}, std {recipe.std}"
        )
        rows.append((f"Checkpoint {checkpoint.id}", words))
    table = TextTable(f"The card of {card.title}", ("Item", "Value"), [row for row in rows if row[1]])
    return [Heading(3, card.title), table, *own_card(card)]


def models_table(cards: Sequence[Card]) -> TextTable:
    """The short cards of models, one in a row."""
    facts = {card.title: _facts(card) for card in cards}
    head = ("Model", *next(iter(facts.values())))
    return TextTable("The models", head, [(title, *values.values()) for title, values in facts.items()])


def _facts(card: Card) -> dict[str, str]:
    classes = "1,000 ImageNet classes" if card.classes == IMAGENET else ", ".join(card.classes) or "none: embeddings only"
    return {
        "Network": f"{card.architecture} ({card.family})", "Supervision": card.supervision, "Trained on": card.trained_on,
        "Classes": classes, "Source": card.paper,
    }  # fmt: skip


def own_card(card: Card) -> list[Block]:
    """The text of `weights/ID.md`, its headings three levels down; nothing where there is no such file."""
    for folder in settings.weights_folders():
        file = Path(folder) / f"{card.id}.md"
        if file.is_file():
            return _blocks_of_markdown(read_regular(file, OWN_CARD_BYTES).decode("utf-8", errors="replace"), 3)
    return []


def _blocks_of_markdown(text: str, down: int) -> list[Block]:
    """Markdown as blocks of plain text, its headings `down` levels down. Pictures and HTML stay as they are written."""
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

    reader = MarkdownIt(options_update={"html": False}).enable("table").disable("image")
    parts: list[Block] = []
    for node in SyntaxTreeNode(reader.parse(text)).children:
        if node.type == "heading":
            parts.append(Heading(int(node.tag[1:]) + down, _plain(node)))
        elif node.type == "table":
            head, *rows = [[_plain(cell) for cell in row.children] for part in node.children for row in part.children]
            parts.append(TextTable("A table of the card", head, rows))
        elif node.type in ("bullet_list", "ordered_list"):
            parts += [Paragraph(f"\u2022 {_plain(item)}") for item in node.children]
        else:
            parts.append(Paragraph(_plain(node)))
    return parts


def _plain(node: "SyntaxTreeNode") -> str:
    """The text of a part of Markdown, without its marks."""
    if node.type in ("softbreak", "hardbreak"):
        return " "
    if node.type == "link":
        words = "".join(map(_plain, node.children))
        return words if words == node.attrs["href"] else f"{words} ({node.attrs['href']})"
    return "".join(map(_plain, node.children)) or (node.content if not node.is_nested else "")


def comparison(methods: Sequence[Method]) -> TextTable:
    """One table: of what each method speaks and how, what it costs, what it can and cannot tell."""
    rows = [
        (
            method.title, scope(method), method.sign, INTERPRETABILITY[method.family],
            "{} + {} passes".format(*method.usual_cost), *CAN[method.family],
        )
        for method in methods
    ]  # fmt: skip
    return TextTable("The explanation methods compared", COLUMNS, rows)


def method_section(method: Method, whole: bool = True) -> list[Block]:
    """A method's card, or what it says in short."""
    questions = CARD if whole else SHORT_CARD
    answers = [(question, method.card[question]) for question in questions if question in method.card]
    source = method.source or "a control of this project"
    if not whole:
        words = " ".join(f"{question}: {answer}" for question, answer in answers)
        named = "" if method.summary.startswith(method.title) else f"{method.title}. "
        return [SmallPrint(f"{named}{method.summary} {words} Source: {source}.")]
    family = ("Family", method.family)
    return [
        Heading(3, method.title),
        Paragraph(method.summary),
        SmallPrint(f"Source: {source}"),
        TermList([family, *answers]),
    ]


FORMATS: Mapping[str, tuple[str, str, Callable[[Sequence[Block]], bytes]]] = {
    "HTML": ("report.html", "text/html", document.to_html),
    "PDF": ("report.pdf", "application/pdf", document.to_pdf),
    "Markdown": ("report_markdown.zip", "application/zip", document.to_markdown_zip),
    "LaTeX": ("report_latex.zip", "application/zip", latex.to_latex),
}  # by the names that pages show: the file's name, its MIME type, what writes it
