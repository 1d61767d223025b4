"""`xai-core report`: the cards of models and methods as one document."""

import argparse
from pathlib import Path

from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadRequest
from xai_core.models.zoo.catalog import find_card


def add_to(commands: Commands) -> None:
    """Add the command `report`."""
    command = commands.add_parser("report", help="write a report on models and methods, as Markdown or PDF")
    command.add_argument("--models", default="efficientnet_lite0", help="comma-separated ids")
    command.add_argument("--methods", default="all", help="comma-separated ids, or all (default)")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="report.md or report.pdf")
    command.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> None:
    from xai_core.analysis import report
    from xai_core.attribution.catalog import METHODS, find_method
    from xai_core.core.files import write_atomically

    if args.out.suffix not in (".md", ".pdf"):
        raise BadRequest(f"A report is a file .md or .pdf, not {args.out.name}.")
    methods = list(METHODS) if args.methods == "all" else args.methods.split(",")
    text = report.report(
        [find_card(name.strip()) for name in args.models.split(",")], [find_method(name.strip()) for name in methods]
    )
    write_atomically(args.out, text.encode() if args.out.suffix == ".md" else report.to_pdf(text))
    print(args.out)
