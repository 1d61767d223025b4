"""`xai-core classify`: a model's predictions for every picture of a dataset."""

import argparse
from pathlib import Path

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadRequest


def add_to(commands: Commands) -> None:
    """Add the command `classify`."""
    command = commands.add_parser(
        "classify", help="write a model's predictions for a whole dataset; run it again to continue where it stopped"
    )
    arguments.add_dataset(command)
    command.add_argument(
        "--out", type=arguments.out_place, required=True, metavar="FILE", help=".parquet or .csv; also at s3://..."
    )
    command.add_argument("--embeddings", action="store_true", help="also store each picture's embedding")
    command.add_argument(
        "--thumbnails", action="store_true",
        help="also store a small copy of each picture, in FILE.thumbnails.parquet without FILE's own ending, from which "
        "Misclassifications shows the pictures without opening them; predictions that were made without are computed again",
    )  # fmt: skip
    arguments.add_precision(command)
    arguments.add_shard(command)
    arguments.add_engine(command, pictures=32)
    command.set_defaults(run=_classify)


def _classify(args: argparse.Namespace) -> None:
    from xai_core.analysis import predict
    from xai_core.core import remote_runs

    out = arguments.place(args, ".parquet")
    predict.check_suffix(Path(args.out))
    if args.thumbnails and isinstance(out, str):
        raise BadRequest("Thumbnails are written on this machine: give --out a path, or leave out --thumbnails.")
    dataset, model, matching = arguments.opened(args)
    with remote_runs.written(out) as file:
        progress = arguments.classify(
            model, dataset, file, matching, embeddings=args.embeddings, precision=args.precision, shard=args.shard,
            workers=arguments.opened_by_workers(args, dataset), thumbnails=args.thumbnails,
        )  # fmt: skip
        arguments.say_unreadable(progress)
        print(progress.in_words())
        if not args.shard:
            say_right(file)
    if args.shard:
        arguments.say_shard(args.shard, args.out)
    else:
        print(args.out)


def say_right(file: Path) -> None:
    """Print how many predictions of a file .parquet are right."""
    from xai_core.analysis import predict
    from xai_core.data.predictions import read_predictions

    if file.suffix == ".parquet":
        table = predict.judged(read_predictions(file, ["true", "true_index", "predicted"]))
        if len(table):
            right = int((table["true"] == table["predicted"]).sum())
            print(f"{right:,} of {len(table):,} are right ({right / len(table):.1%}).")
