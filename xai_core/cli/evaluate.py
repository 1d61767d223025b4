"""`python -m xai_core evaluate`: metrics of methods on many pictures, stored so that the work can be gone on with."""

import argparse
import csv
from pathlib import Path
from typing import Any

from xai_core.cli import arguments
from xai_core.core.errors import BadRequest

QUICK, ALL = "quick", "all"


def add_to(parsers) -> None:
    command = parsers.add_parser(
        "evaluate",
        help="measure methods on many pictures; goes on where it was when called again",
        epilog="Stop it with Ctrl+C whenever you like: the same command goes on.",
    )
    command.add_argument(
        "data", metavar="DATA", help="a folder of pictures or of class subfolders, a ZIP or table of them, or samples"
    )
    command.add_argument("--models", default="efficientnet_lite0", help="ids with commas between; id/random is untrained")
    command.add_argument("--methods", default=QUICK, help="ids with commas between, 'quick' (default) or 'all'")
    command.add_argument(
        "--metrics",
        help="ids with commas between, 'quick' (default), variants as deletion@blur+steps=32; --mosaics brings localisation",
    )
    command.add_argument("--images", type=int, metavar="N", help="draw so many pictures at random (default: all)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--target", help="predicted (default), label (the subfolder's; default with --mosaics), or a class")
    command.add_argument("--boxes", type=Path, metavar="FILE", help="CSV with the columns picture, left, top, right, bottom")
    command.add_argument(
        "--mosaics",
        type=int,
        metavar="N",
        help="instead of pictures, N mosaics of four pictures of different labels, drawn by the seed: the box is known",
    )
    command.add_argument("--precision", default="exact", help="exact or fast")
    command.add_argument("--budget", type=float, metavar="SECONDS", help="begin no further picture after so long")
    command.add_argument("--no-thumbnails", action="store_true", help="store no small copies of the pictures")
    command.add_argument("--dry-run", action="store_true", help="only say how many passes and how long")
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="a new folder, or a run to go on with")
    command.set_defaults(run=_evaluate)


def _evaluate(given: argparse.Namespace) -> None:
    from xai_core.evaluation.planner import LABEL, PREDICTED
    from xai_core.evaluation.runner import evaluate

    asked = {name: getattr(given, name) for name in ("seed", "precision", "budget")}
    if given.mosaics is None:
        boxes = _boxes(given.boxes) if given.boxes else None
        images, target, metrics = given.data, given.target or PREDICTED, _metrics(given.metrics or QUICK, bool(boxes))
    else:
        (images, boxes), target, metrics = _mosaics(given), LABEL, [*_localisation(), *_metrics(given.metrics or "", True)]
    try:
        found = evaluate(
            _listed(given.models), _methods(given.methods), metrics, images, given.out, target=target,
            count=given.images, boxes=boxes, thumbnails=not given.no_thumbnails, dry=given.dry_run, say=_say,
            track=arguments.bar, **asked,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise BadRequest("Stopped. What was measured is stored; the same command goes on.") from None
    if given.dry_run:
        _say(str(found))
    else:
        _summarise(found)


def _say(words: str) -> None:
    print(words, flush=True)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _methods(text: str) -> list[str]:
    from xai_core.attribution.catalog import METHODS
    from xai_core.evaluation.planner import quick_methods

    every = [name for name, method in METHODS.items() if method.family != "control"]  # these come by themselves
    return {QUICK: quick_methods(), ALL: every}.get(text) or _listed(text)


def _metrics(text: str, boxes: bool) -> list[str]:
    from xai_core.metrics.catalog import METRICS
    from xai_core.metrics.catalog import QUICK as QUICK_METRICS

    quick = [name for name in QUICK_METRICS if boxes or "box" not in METRICS[name].needs]
    return [one for name in _listed(text) for one in (quick if name == QUICK else [name])]


def _localisation() -> list[str]:
    """The metrics of localisation for boxes that touch: with a tolerance, the middle of a mosaic would hit all four."""
    from xai_core.metrics.catalog import METRICS

    strict = {"pointing_game": "pointing_game@tolerance=0"}
    return [strict.get(name, name) for name, metric in METRICS.items() if "box" in metric.needs]


def _mosaics(given: argparse.Namespace) -> Any:
    """The mosaics and their boxes, where nothing else was asked that does not go with them."""
    from xai_core.data.mosaics import mosaic_set
    from xai_core.evaluation.planner import LABEL

    if given.boxes:
        raise BadRequest("Mosaics have boxes of their own: give --mosaics or --boxes, not both.")
    if given.images is not None:
        raise BadRequest("--mosaics says how many are drawn from all pictures: leave --images out.")
    if given.target not in (None, LABEL):
        raise BadRequest(f"A mosaic is asked about its label, the class of the part in its box, not '{given.target}'.")
    return mosaic_set(given.data, given.mosaics, given.seed)


def _boxes(path: Path) -> dict[str, list[tuple[float, ...]]]:
    """Boxes by the picture's name within the set; several lines of one picture are several boxes."""
    found: dict[str, list[tuple[float, ...]]] = {}
    try:
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                box = tuple(float(line[side]) for side in ("left", "top", "right", "bottom"))
                found.setdefault(line["picture"], []).append(box)
    except OSError as error:
        raise BadRequest(f"Cannot read {path}: {error.strerror or error}.") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise BadRequest(
            f"{path} is no table of boxes: it needs the columns picture, left, top, right, bottom ({error})."
        ) from None
    return found


def _summarise(run: Any) -> None:
    """Means with intervals, best method first; a method that does not beat the controls is marked."""
    from xai_core.evaluation import significance, summary

    frame, metrics = run.table(), run.manifest["metrics"]
    if not len(frame):
        _say("Nothing is measured yet.")
        return
    lines = summary.summary(frame, metrics)
    for (model, metric), rows in lines.groupby(["model", "metric"], sort=False):
        about = metrics[metric]
        better = f" ({about['direction']} is better)" if about["direction"] else ""
        _say(f"\n{about['title']}{better}, {model}")
        for row in rows.sort_values("rank").itertuples():
            why = "" if row.n > 1 else significance.ONE_PICTURE if row.n else "no value"
            mark = "" if row.beats is not False else "   does not beat the controls"
            estimate = significance.Estimate(row.mean, row.low, row.high, row.n, why)
            _say(f"  {row.method:<30}{estimate!s:<22} n = {row.n}{mark}")
        methods = [name for name in rows.method if not summary.is_control(name)]
        if about["direction"] and len(methods) > 1:
            best = list(rows[~rows.control].sort_values("rank").method[:2])
            (pair,) = significance.differences(summary.values(frame, model, metric), about["direction"], [tuple(best)])
            _say(f"  {significance.in_words(pair)}")
    _say(f"\n{run.folder}")
