"""`xai-core fetch`: copy a run or a file from an address, so that pages and commands open it."""

import argparse
from pathlib import Path

from xai_core.cli.arguments import Commands


def add_to(commands: Commands) -> None:
    """Add the command `fetch`."""
    command = commands.add_parser(
        "fetch", help="copy a run, a file of predictions or another file from an address (s3://bucket/runs/first)"
    )
    command.add_argument("address", metavar="ADDRESS", help="of a file, or of the folder of a run")
    command.add_argument(
        "folder", type=Path, nargs="?", metavar="FOLDER", help="where to (default: where the pages look for runs)"
    )
    command.set_defaults(run=_fetch)


def _fetch(args: argparse.Namespace) -> None:
    from xai_core.core import remote_runs, settings

    print(remote_runs.fetched(args.address, args.folder or settings.new_runs_folder()))
