"""`xai-core methods`: the catalogue of methods."""

import argparse

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands, Row


def add_to(commands: Commands) -> None:
    """Add the command `methods`."""
    command = commands.add_parser(
        "methods",
        help="list the methods",
        epilog="A method with settings of its own is a variant, written grad_cam@cut=layer3+eigen=true. --method and "
        "--methods take it, and several variants of one method are several rows. Settings: options, cut, precision.",
    )
    arguments.add_json(command)
    command.set_defaults(run=_methods)


def _methods(args: argparse.Namespace) -> None:
    from xai_core.attribution.catalog import METHODS
    from xai_core.core.options import options_of

    rows = [
        {
            "id": method.id,
            "title": method.title,
            "family": method.family,
            "sign": method.sign,
            "needs": sorted(method.needs),
            "random": method.random,
            "fast": sorted(method.fast),
            "version": method.version,
            "source": method.source,
            "card": method.card,
            "summary": method.summary,
            "options": [option.described() for option in options_of(method.run)],
        }
        for method in METHODS.values()
    ]
    arguments.print_rows(rows, args.json, _line)


def _line(row: Row) -> str:
    return f"{row['id']:<30}{row['family']:<14}{row['sign']:<14}{row['summary']}"
