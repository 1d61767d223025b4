"""`xai-core report`: the cards of models and methods as one document."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from xai_core.cli.arguments import Commands
from xai_core.core.document import Block
from xai_core.core.errors import BadRequest
from xai_core.models.zoo.catalog import find_card


def add_to(commands: Commands) -> None:
    """Add the command `report`."""
    command = commands.add_parser("report", help="write a report on models and methods")
    command.add_argument("--models", default="efficientnet_lite0", help="comma-separated ids")
    command.add_argument("--methods", default="all", help="comma-separated ids, or all (default)")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="report.html, .pdf, .md, or .tex.zip (LaTeX)"
    )
    command.add_argument(
        "--findings", type=Path, metavar="FILE", help="a report that was exported on the page Report as ZIP: its findings"
    )
    command.add_argument("--short", action="store_true", help="short cards, for a few pages")
    command.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> None:
    from xai_core.analysis import report
    from xai_core.analysis.collected_report import LARGEST_REPORT, Report
    from xai_core.attribution.catalog import METHODS, find_method
    from xai_core.core import document, latex
    from xai_core.core.files import read_regular, write_atomically

    writers: dict[str, Callable[[Sequence[Block]], bytes]] = {
        ".html": document.to_html, ".pdf": document.to_pdf, ".md": lambda blocks: document.to_markdown(blocks).encode(),
        ".tex.zip": latex.to_latex,
    }  # fmt: skip
    write = next((write for ending, write in writers.items() if args.out.name.endswith(ending)), None)
    if write is None:
        raise BadRequest(f"A report is a file {', '.join(writers)}, not {args.out.name}.")
    findings = report.NO_REPORT
    if args.findings is not None:
        try:
            findings = Report.from_zip(read_regular(args.findings, LARGEST_REPORT))
        except OSError as error:
            raise BadRequest(f"Cannot read {args.findings}: {error.strerror or error}.") from None
    methods = list(METHODS) if args.methods == "all" else args.methods.split(",")
    blocks = report.blocks(
        [find_card(name.strip()) for name in args.models.split(",")], [find_method(name.strip()) for name in methods],
        report=findings, whole=not args.short,
    )  # fmt: skip
    write_atomically(args.out, write(blocks))
    print(args.out)
