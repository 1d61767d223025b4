"""`xai-core models`: the catalogue of models, and which weights are on this machine."""

import argparse
import sys

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands, Row
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import broken_cards, cards


def add_to(commands: Commands) -> None:
    """Add the command `models`."""
    command = commands.add_parser("models", help="list the models")
    arguments.add_json(command)
    command.set_defaults(run=_models)


def _models(args: argparse.Namespace) -> None:
    rows = [
        {
            "id": card.id,
            "title": card.title,
            "family": card.family,
            "supervision": card.supervision,
            "trained_on": card.trained_on,
            "paper": card.paper,
            "licence": card.licence,
            "checkpoints": [
                {
                    "id": checkpoint.id,
                    "files": [{"name": file.name, "url": file.url} for file in checkpoint.files],
                    "ready": locate.find(checkpoint) is not None,
                }
                for checkpoint in card.checkpoints
            ],
        }
        for card in cards().values()
    ]
    arguments.print_rows(rows, args.json, _line)
    for problem in broken_cards().values():
        print(problem, file=sys.stderr)


def _line(row: Row) -> str:
    states = ", ".join(f"{checkpoint['id']}: {_state(checkpoint)}" for checkpoint in row["checkpoints"])
    return f"{row['id']:<32}{row['supervision']:<48}{row['licence'].split(';')[0] or 'licence not stated':<22}{states}"


def _state(checkpoint: Row) -> str:
    by_hand = not all(file["url"] for file in checkpoint["files"])
    return "ready" if checkpoint["ready"] else "put there by hand" if by_hand else "to be fetched"
