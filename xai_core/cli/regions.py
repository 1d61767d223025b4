"""`xai-core regions`: how large the region is that decides the answer to each picture, as a table."""

import argparse
from pathlib import Path

from xai_core.cli import arguments, explain_many
from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadPicture, BadRequest


def add_to(commands: Commands) -> None:
    """Add the command `regions`."""
    command = commands.add_parser(
        "regions", help="the smallest region of each picture that turns a wrong answer, or that keeps the answer: its size"
    )
    command.add_argument("image", metavar="PREDICTIONS", help="a file that `classify` wrote")
    command.add_argument("--data", metavar="DATA", required=True, help="the dataset that the predictions are of")
    command.add_argument("--model", help="id of a model (default: the one that made the predictions)")
    arguments.add_weights(command)
    command.add_argument(
        "--goal", default="flip",
        help="flip: of wrong predictions, the region whose hiding turns the answer to the true class (default); keep: of "
        "all predictions, the region that keeps the answer where all else is hidden",
    )  # fmt: skip
    command.add_argument("--true", metavar="CLASS", help="only pictures of this class")
    command.add_argument("--predicted", metavar="CLASS", help="only pictures that are predicted as this class")
    command.add_argument("--count", type=int, metavar="N", help="N of these pictures, drawn at random with the seed")
    command.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="hiding, segmentation, segments or passes"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help=".csv; may be the dataset's metadata.csv")
    command.set_defaults(run=_regions)


def _regions(args: argparse.Namespace) -> None:
    import pandas as pd

    from xai_core.analysis import map_sheet
    from xai_core.core.files import write_atomically
    from xai_core.core.options import check_options
    from xai_core.core.spreadsheet import csv_bytes
    from xai_core.failures.deciding_region_sizes import check_goal, region_sizes

    check_goal(args.goal)
    options = check_options(region_sizes, arguments.options(args.option))
    table, dataset, model = explain_many.opened(args)
    if table is None:
        raise BadRequest(f"{args.image} is not a file of predictions: write one with `classify`.")
    rows = map_sheet.chosen(
        explain_many.read(args, table, model, dataset).rows, errors=args.goal == "flip", count=args.count, seed=args.seed,
        true=None if args.true is None else model.class_index(args.true),
        predicted=None if args.predicted is None else model.class_index(args.predicted),
    )  # fmt: skip
    sizes = []
    try:
        for path, true in arguments.bar(list(zip(rows["path"], rows["true_index"], strict=True))):
            try:
                picture = dataset.open(path)
            except BadPicture as error:
                arguments.say(f"left out: {path}: {error}")
                continue
            wanted = None if true < 0 else int(true)
            sizes.append(region_sizes(model, [picture], [wanted], [path], goal=args.goal, seed=args.seed, **options))
    finally:  # what was found stays when the command is interrupted
        if sizes:
            write_atomically(args.out, csv_bytes(pd.concat(sizes, ignore_index=True)))
    if not sizes:
        raise BadRequest("None of these pictures can be read.")
    found = pd.concat(sizes)
    found, total = found[found["found"]], len(found)
    median = (
        f" Median: {found['segments'].median():g} segments, {found['share'].median():.1%} of the picture."
        if len(found)
        else ""
    )
    print(f"A region was found for {len(found):,} of {total:,} pictures.{median}", args.out, sep="\n")
