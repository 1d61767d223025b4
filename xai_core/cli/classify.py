"""`xai-core classify`: a model's predictions for every picture of a dataset."""

import argparse
from pathlib import Path

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands


def add_to(commands: Commands) -> None:
    """Add the command `classify`."""
    command = commands.add_parser(
        "classify", help="write a model's predictions for a whole dataset; run it again to continue where it stopped"
    )
    arguments.add_dataset(command)
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help=".parquet or .csv")
    command.add_argument("--embeddings", action="store_true", help="also store each picture's embedding")
    arguments.add_precision(command)
    command.set_defaults(run=_classify)


def _classify(args: argparse.Namespace) -> None:
    from xai_core.analysis import predict
    from xai_core.data.predictions import read_predictions

    dataset, model, matching = arguments.opened(args)
    progress = arguments.classify(model, dataset, args.out, matching, embeddings=args.embeddings, precision=args.precision)
    arguments.say_unreadable(progress)
    print(progress.in_words())
    if args.out.suffix == ".parquet":
        table = predict.judged(read_predictions(args.out, ["true", "true_index", "predicted"]))
        if len(table):
            right = int((table["true"] == table["predicted"]).sum())
            print(f"{right:,} of {len(table):,} are right ({right / len(table):.1%}).")
    print(args.out)
