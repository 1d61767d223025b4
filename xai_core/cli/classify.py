"""`xai-core classify`: a model's predictions for every picture of a dataset."""

import argparse
import sys
from pathlib import Path

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands


def add_to(commands: Commands) -> None:
    """Add the command `classify`."""
    command = commands.add_parser(
        "classify", help="write a model's predictions for a whole dataset; run it again to continue where it stopped"
    )
    command.add_argument("data", metavar="DATA", help="a labelled folder, a ZIP of one, or a CSV or Parquet (path, label)")
    command.add_argument("--model", default="efficientnet_lite0", help="id of a model, see: models")
    arguments.add_weights(command)
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help=".parquet or .csv")
    command.add_argument("--mapping", type=Path, metavar="FILE", help="label,class in each line (CSV), or a JSON object")
    command.add_argument("--embeddings", action="store_true", help="also store each picture's embedding")
    arguments.add_precision(command)
    command.set_defaults(run=_classify)


def _classify(args: argparse.Namespace) -> None:
    from collections import Counter

    from tqdm import tqdm

    from xai_core.analysis import predict
    from xai_core.data.datasets import open_dataset
    from xai_core.data.label_matching import match_classes, read_mapping
    from xai_core.data.predictions import read_predictions
    from xai_core.models.loading import load_model

    dataset = open_dataset(args.data)
    print(dataset.in_words())
    model = load_model(args.model, args.weights)
    matching = match_classes(dataset.classes, model, read_mapping(args.mapping) if args.mapping else None)
    arguments.say(matching.report(Counter(sample.label for sample in dataset.samples)))
    with tqdm(total=len(dataset.samples), leave=False, disable=None, unit="picture") as bar:
        for progress in predict.classify(
            model, dataset, args.out, matching=matching, embeddings=args.embeddings, precision=args.precision
        ):
            bar.update(progress.done - bar.n)
    for name, reason in progress.unreadable:
        print(f"left out: {name}: {reason}", file=sys.stderr)
    print(progress.in_words())
    if args.out.suffix == ".parquet":
        table = predict.judged(read_predictions(args.out, ["true", "true_index", "predicted"]))
        if len(table):
            right = int((table["true"] == table["predicted"]).sum())
            print(f"{right:,} of {len(table):,} are right ({right / len(table):.1%}).")
    print(args.out)
