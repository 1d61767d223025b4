"""A report in the form of model cards (Mitchell et al. 2019, arXiv:1810.03993): which model, which data, which explanations.

It is Markdown, made from the same cards that the pages read, and can be converted to PDF. No model is loaded for it.
"""

from collections.abc import Sequence
from pathlib import Path

from xai_core.attribution.method import CARD, Method
from xai_core.core import markdown, settings
from xai_core.core.document import pdf_pages
from xai_core.core.errors import BadRequest
from xai_core.core.files import read_regular
from xai_core.core.version import __version__
from xai_core.models.card import IMAGENET, Card
from xai_core.models.weights import locate

OWN_CARD_BYTES = 2**20
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


def report(
    cards: Sequence[Card],
    methods: Sequence[Method],
    title: str = "How these models are explained",
    plans: Sequence[str] = (),
) -> str:
    """The whole report in Markdown; `plans` are those of `xai_core.failures.Plan.to_markdown(level=3)`. Raises BadRequest
    without a model or a method."""
    if not cards or not methods:
        raise BadRequest("A report needs at least one model and one method.")
    parts = [f"# {title}", f"Written by xai_core {__version__}.", "## Models"]
    parts += [model_section(card) for card in cards]
    parts += ["## How to read a map", READING]
    parts += ["## The explanation methods compared", PASSES, comparison(methods), "## Each method", HOHMAN]
    parts += [method_section(method) for method in methods]
    if plans:
        parts += ["## Plans", *(plan.strip() for plan in plans)]
    return "\n\n".join(parts) + "\n"


READING = (
    "Every map is also described in words: which colour speaks for which class, and where most of the evidence lies. The "
    "words are computed from the map. It is divided into nine equal parts; the parts named are the fewest that hold "
    "more than half of the evidence, and the percentage is their share of it. If more than three parts are needed, the "
    "evidence is called spread; if no part holds clearly more than the others, no place is named. Maps whose signs cancel "
    "within small blocks are called mixed, as noise is. The words describe the map; they do not prove that the map is right."
)
COLUMNS = ("Method", "Family", "Map", "Why", "Passes", "Can tell", "Cannot tell")  # of the table of methods
PASSES = "Passes: the number of forward and backward passes for one picture, with the method's default options."
HOHMAN = (
    "Each method answers the questions Why, Who, What, How, When and Where of Hohman et al. 2018 (arXiv:1801.06889), and "
    "says what to beware of."
)


def model_section(card: Card) -> str:
    """A model's card as a table, and the text of `weights/ID.md` where there is one."""
    classes = "1,000 ImageNet classes" if card.classes == IMAGENET else ", ".join(card.classes) or "none: embeddings only"
    rows = [
        ("Network", f"{card.architecture} ({card.family})"),
        ("Supervision", card.supervision),
        ("Trained on", card.trained_on),
        ("Classes", classes),
        ("Source", card.paper),
        ("Licence", card.licence or "not stated"),
        ("Remark", card.remark),
    ]
    for checkpoint in card.checkpoints:
        recipe, here = checkpoint.recipe, "here" if locate.find(checkpoint) else "not on this machine"
        files = ", ".join(file.name for file in checkpoint.files)
        words = (
            f"{files} ({checkpoint.megabytes} MB, {here}); {recipe.input_size} pixels, "
            f"shorter side {recipe.shorter_side}, {recipe.interpolation}, mean {recipe.mean}, std {recipe.std}"
        )
        rows.append((f"Checkpoint {checkpoint.id}", words))
    lines = ["| Item | Value |", "|---|---|", *(f"| {_cell(name)} | {_cell(words)} |" for name, words in rows if words)]
    own = own_card(card)
    return f"### {markdown.escape(card.title)}\n\n" + "\n".join(lines) + (f"\n\n{own}" if own else "")


def own_card(card: Card) -> str:
    """The text of `weights/ID.md`, its headings three levels down; nothing where there is no such file.

    Its pictures become links: the page loads nothing from elsewhere.
    """
    for folder in settings.weights_folders():
        file = Path(folder) / f"{card.id}.md"
        if file.is_file():
            text = read_regular(file, OWN_CARD_BYTES).decode("utf-8", errors="replace").replace("![", "\\![")
            lines = text.strip().splitlines()
            return "\n".join(f"###{line}" if line.startswith("#") else line for line in lines)
    return ""


def comparison(methods: Sequence[Method]) -> str:
    """One table: what each method answers, what it costs, what it can and cannot tell."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for method in methods:
        can, cannot = CAN[method.family]
        passes = "{} + {}".format(*method.usual_cost)
        row = (method.title, method.family, method.sign, method.card["Why"], passes, can, cannot)
        lines.append("| " + " | ".join(map(_cell, row)) + " |")
    return "\n".join(lines)


def method_section(method: Method) -> str:
    """A method's card."""
    answers = [f"- **{question}**: {method.card[question]}" for question in CARD if question in method.card]
    return (
        f"### {method.title}\n\n{method.summary}\n\nSource: {method.source or 'a control of this project'}\n\n"
        + "\n".join(answers)
    )


def _cell(words: str) -> str:
    return markdown.escape(words.replace("|", "/"))


def to_pdf(text: str) -> bytes:
    """The report as a PDF: A4, with page numbers."""
    from fpdf import FontFace
    from markdown_it import MarkdownIt

    pdf = pdf_pages()
    reader = MarkdownIt(options_update={"html": False}).enable("table").disable("image")  # pictures would be fetched
    html = reader.render(text.replace(markdown.JOINER, "")).replace("<td>", '<td align="left">')
    for head, width in WIDTHS.items():
        html = html.replace(f"<th>{head}</th>", f'<th width="{width}%">{head}</th>')
    headings = {f"h{level}": FontFace(color="#00628f", size_pt=20 - 3 * level) for level in range(1, 7)}
    pdf.write_html(html, font_family="dejavu", tag_styles=headings, table_line_separators=True)
    return bytes(pdf.output())


WIDTHS = {  # of columns, in percent, by their headings
    "Item": 20, "Value": 80,
    "Method": 14, "Family": 13, "Map": 13, "Why": 18, "Passes": 8, "Can tell": 17, "Cannot tell": 17,
}  # fmt: skip
