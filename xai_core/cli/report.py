"""`python -m xai_core report`: the cards of models and methods as one document."""

import argparse
from pathlib import Path

from xai_core.core.errors import BadRequest
from xai_core.models.zoo.catalog import find_card


def add_to(parsers) -> None:
    ours = parsers.add_parser("report", help="which model, which data, which explanations: one document")
    ours.add_argument("--models", default="efficientnet_lite0", help="ids with commas between")
    ours.add_argument("--methods", default="all", help="ids with commas between, or all")
    ours.add_argument("--out", type=Path, required=True, metavar="FILE", help="report.md or report.pdf")
    ours.set_defaults(run=_report)


def _report(given: argparse.Namespace) -> None:
    from xai_core.analysis import report
    from xai_core.attribution.catalog import METHODS, find_method
    from xai_core.explanation import export

    if given.out.suffix not in (".md", ".pdf"):
        raise BadRequest(f"A report is a file .md or .pdf, not {given.out.name}.")
    methods = list(METHODS) if given.methods == "all" else given.methods.split(",")
    said = report.report(
        [find_card(id.strip()) for id in given.models.split(",")], [find_method(id.strip()) for id in methods]
    )
    export.write_atomically(given.out, said.encode() if given.out.suffix == ".md" else report.to_pdf(said))
    print(given.out)
