"""`xai-core probe`: train a linear classifier on a network's features."""

import argparse
from pathlib import Path

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core import settings


def add_to(commands: Commands) -> None:
    """Add the command `probe`."""
    command = commands.add_parser("probe", help="train a linear classifier on a network's features, from a labelled folder")
    command.add_argument(
        "folder", metavar="FOLDER", type=Path, help="a folder with one subfolder of pictures for each class"
    )
    command.add_argument("--model", required=True, help=arguments.MODEL)
    command.add_argument("--weights", help="one of the model's checkpoints (default: its first)")
    command.add_argument("--name", required=True, help="the id of the new model")
    command.add_argument("--seed", type=int, default=0, help="seed by which the held-out fifth is drawn (default: 0)")
    command.set_defaults(run=_probe)


def _probe(args: argparse.Namespace) -> None:
    from xai_core.models.loading import load_model
    from xai_core.training import linear_probe

    model = load_model(args.model, args.weights)
    probe = linear_probe.train_probe(model, args.folder, seed=args.seed, track=arguments.bar)
    for line in probe.unreadable:
        print(f"left out: {line}")
    card = linear_probe.save_probe(probe, args.model, args.name, settings.weights_folder())
    print(linear_probe.in_words(probe), card, sep="\n")
