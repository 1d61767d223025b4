"""`xai-core models`: the catalogue of models, and which weights are on this machine."""

import argparse
import sys

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands, Row
from xai_core.models.weights import locate
from xai_core.models.zoo import library
from xai_core.models.zoo.catalog import broken_cards, cards


def add_to(commands: Commands) -> None:
    """Add the command `models`."""
    command = commands.add_parser("models", help="list the models")
    command.add_argument(
        "--search",
        metavar="WORDS",
        help="list the weights of timm and torchvision whose name holds every one of these words",
    )
    arguments.add_json(command)
    command.set_defaults(run=_models)


def _models(args: argparse.Namespace) -> None:
    if args.search is not None:
        return _search(args.search, args.json)
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


def _search(words: str, as_json: bool) -> None:
    found = library.search(words)
    here = library.here()
    rows = [
        {
            "id": row.id, "parameters": int(row.parameters), "megabytes": float(row.megabytes), "pixels": int(row.side),
            "classes": row.classes, "accuracy": float(row.accuracy) if row.accuracy else None, "licence": row.licence,
            "source": row.source, "ready": row.id in here, "refused": row.refused,
        }
        for row in found
    ]  # fmt: skip
    if rows or as_json:
        arguments.print_rows(rows, as_json, _found_line)
    if not rows:
        print(f"No weights of timm or torchvision have '{words}' in their name.", file=sys.stderr)


def _found_line(row: Row) -> str:
    accuracy = f"{row['accuracy']:.1f}%" if row["accuracy"] else "not published"
    state = "ready" if row["ready"] else f"cannot be used: {row['refused']}" if row["refused"] else "to be fetched"
    return (
        f"{row['id']:<62}{row['parameters'] / 1e6:>8,.1f} M{row['megabytes']:>9,.0f} MB{row['pixels']:>6} px  "
        f"{accuracy:<15}{row['licence'] or 'licence not stated':<22}{state}"
    )


def _line(row: Row) -> str:
    states = ", ".join(f"{checkpoint['id']}: {_state(checkpoint)}" for checkpoint in row["checkpoints"])
    return f"{row['id']:<32}{row['supervision']:<48}{row['licence'].split(';')[0] or 'licence not stated':<22}{states}"


def _state(checkpoint: Row) -> str:
    by_hand = not all(file["url"] for file in checkpoint["files"])
    return "ready" if checkpoint["ready"] else "put there by hand" if by_hand else "to be fetched"
