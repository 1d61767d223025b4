"""`xai-core evaluate`: metrics of methods on many pictures, stored so that the work can be resumed."""

from __future__ import annotations

import argparse
import csv
import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadRequest
from xai_core.core.files import open_regular

if TYPE_CHECKING:
    from xai_core.data.datasets import Dataset
    from xai_core.evaluation.store import EvaluationRun

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

QUICK, ALL = "quick", "all"


def add_to(commands: Commands) -> None:
    """Add the command `evaluate`."""
    command = commands.add_parser(
        "evaluate",
        help="measure methods on many pictures; run it again to continue where it stopped",
        epilog="Ctrl+C stops it; run the same command again to continue.",
    )
    command.add_argument(
        "data", metavar="DATA", help="a folder of pictures or of class subfolders, a ZIP or table of them, or samples"
    )
    command.add_argument(
        "--models", default="efficientnet_lite0", help="comma-separated ids; id/random is an untrained twin"
    )
    command.add_argument(
        "--methods", default=QUICK,
        help="comma-separated ids or variants (grad_cam@cut=layer3+eigen=true), 'quick' (default) or 'all'",
    )  # fmt: skip
    command.add_argument(
        "--metrics",
        help="comma-separated ids or variants (deletion@blur+steps=32), 'published' (settings of published code) or 'quick' "
        "(default); with --mosaics also localisation",
    )
    command.add_argument(
        "--images", type=int, metavar="N", help="number of pictures, drawn at random with the seed (default: all)"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: 0)")
    command.add_argument("--target", help="predicted (default), label (the subfolder's; default with --mosaics), or a class")
    command.add_argument("--boxes", type=Path, metavar="FILE", help="CSV with the columns picture, left, top, right, bottom")
    command.add_argument(
        "--mosaics",
        type=int,
        metavar="N",
        help="measure on N mosaics of four pictures with different labels, drawn at random with the seed",
    )
    arguments.add_precision(command)
    command.add_argument("--budget", type=float, metavar="SECONDS", help="start no further picture after this time")
    command.add_argument("--no-thumbnails", action="store_true", help="store no small copies of the pictures")
    command.add_argument("--dry-run", action="store_true", help="only print the number of passes and the estimated time")
    command.add_argument(
        "--out", type=arguments.out_place, required=True, metavar="RUN",
        help="a new folder, or the folder of a run to resume; also at s3://...",
    )  # fmt: skip
    arguments.add_shard(command)
    arguments.add_engine(command, pictures=1)
    command.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    from xai_core.core import remote_runs
    from xai_core.data.selection import open_images
    from xai_core.evaluation.planner import LABEL, PREDICTED
    from xai_core.evaluation.runner import evaluate, load_named
    from xai_core.evaluation.store import EvaluationRun

    if args.mosaics is None:
        boxes = _boxes(args.boxes) if args.boxes else None
        images, reopen = open_images(args.data), partial(open_images, args.data)
        target, metrics = args.target or PREDICTED, _metrics(args.metrics or QUICK, bool(boxes))
    else:
        (images, boxes), reopen = _mosaics(args), partial(_mosaic_pictures, args.data, args.mosaics, args.seed)
        target, metrics = LABEL, {name: {} for name in _localisation()} | _metrics(args.metrics or "", True)
    out = arguments.place(args)
    workers = None if args.dry_run else arguments.workers(args, images, reopen, load_named)
    with remote_runs.written(out) as folder:
        try:
            result = evaluate(
                arguments.names(args.models), _methods(args.methods), metrics, images, folder, target=target,
                count=args.images, boxes=boxes, thumbnails=not args.no_thumbnails, dry=args.dry_run, say=arguments.say,
                track=arguments.bar, seed=args.seed, precision=args.precision, budget=args.budget,
                shard=args.shard, workers=workers,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise BadRequest(
                "Stopped. The measurements so far are stored; run the same command again to continue."
            ) from None
        if not isinstance(result, EvaluationRun):
            arguments.say(str(result))
        elif args.shard:
            arguments.say_shard(args.shard, args.out)
        else:
            summarise(result)
            arguments.say(f"\n{args.out}")


def _methods(text: str) -> list[str]:
    from xai_core.attribution.catalog import METHODS
    from xai_core.evaluation.planner import quick_methods

    every = [name for name, method in METHODS.items() if method.family != "control"]  # these come by themselves
    return {QUICK: quick_methods(), ALL: every}.get(text) or arguments.names(text)


def _metrics(text: str, boxes: bool) -> dict[str, dict[str, Any]]:
    """The metrics by their names or those of presets, with the options of these. Those of a preset that need a box are left
    out without `boxes`."""
    from xai_core.metrics.catalog import METRICS, PRESETS

    metrics: dict[str, dict[str, Any]] = {}
    for name in arguments.names(text):
        preset = PRESETS.get(name)
        if preset is None:
            metrics.setdefault(name, {})
        else:
            metrics |= {id: options for id, options in preset.items() if boxes or "box" not in METRICS[id].needs}
    return metrics


def _localisation() -> list[str]:
    """The metrics of localisation for boxes that touch: with a tolerance, the middle of a mosaic would hit all four."""
    from xai_core.metrics.catalog import METRICS

    strict = {"pointing_game": "pointing_game@tolerance=0"}
    return [strict.get(name, name) for name, metric in METRICS.items() if "box" in metric.needs]


def _mosaics(args: argparse.Namespace) -> tuple[Dataset, dict[str, list[Box]]]:
    """The mosaics and their boxes by name. Raises BadRequest where another argument contradicts `--mosaics`."""
    from xai_core.data.mosaics import mosaic_set
    from xai_core.evaluation.planner import LABEL

    if args.boxes:
        raise BadRequest("Mosaics have boxes of their own: give --mosaics or --boxes, not both.")
    if args.images is not None:
        raise BadRequest("--mosaics says how many are drawn from all pictures: leave --images out.")
    if args.target not in (None, LABEL):
        raise BadRequest(f"A mosaic is asked about its label, the class of the part in its box, not '{args.target}'.")
    return mosaic_set(args.data, args.mosaics, args.seed)


def _mosaic_pictures(data: str, count: int, seed: int) -> Dataset:
    from xai_core.data.mosaics import mosaic_set

    return mosaic_set(data, count, seed)[0]


def _boxes(path: Path) -> dict[str, list[Box]]:
    """Boxes by the picture's name within the dataset; several lines of one picture are several boxes."""
    boxes: dict[str, list[Box]] = {}
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            for line in csv.DictReader(file):
                box = float(line["left"]), float(line["top"]), float(line["right"]), float(line["bottom"])
                boxes.setdefault(line["picture"], []).append(box)
    except OSError as error:
        raise BadRequest(f"Cannot read {path}: {error.strerror or error}.") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise BadRequest(
            f"{path} is no table of boxes: it needs the columns picture, left, top, right, bottom ({error})."
        ) from None
    return boxes


def summarise(run: EvaluationRun) -> None:
    """Print means with intervals, best method first; a method that does not beat the controls is marked."""
    from xai_core.evaluation import significance, summary

    table, metrics = run.table(), run.manifest["metrics"]
    if not len(table):
        arguments.say("Nothing is measured yet.")
        return
    means = summary.summary(table, metrics)
    for names, rows in means.groupby(["model", "metric"], sort=False):
        model, metric = map(str, names)
        title, direction = metrics[metric]["title"], metrics[metric]["direction"]
        arguments.say(f"\n{title}{f' ({direction} is better)' if direction else ''}, {model}")
        width = max(30, *(len(str(name)) + 2 for name in rows.method))
        for row in rows.sort_values("rank").to_dict("records"):
            why = "" if row["n"] > 1 else significance.ONE_PICTURE if row["n"] else "no value"
            mark = "" if row["beats"] is not False else "   does not beat the controls"
            estimate = significance.Estimate(row["mean"], row["low"], row["high"], row["n"], why)
            arguments.say(f"  {row['method']:<{width}}{estimate!s:<22} n = {row['n']}{mark}")
        methods = [name for name in rows.method if not summary.is_control(name)]
        if direction and len(methods) > 1:
            first, second = rows[~rows.control].sort_values("rank").method[:2]
            (difference,) = significance.differences(summary.values(table, model, metric), direction, [(first, second)])
            arguments.say(f"  {significance.in_words(difference)}")
