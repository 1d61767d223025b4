"""The same work without a browser: `python -m xai_core --help`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xai_core.cli import app, classify, compare_models, evaluate, measure, pairs_benchmark, report, train, weights
from xai_core.cli import arguments as command_arguments
from xai_core.core import settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.version import __version__
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import broken_cards, cards


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 with one line on the standard error."""
    try:
        parser = _parser()
        given, given_more = parser.parse_known_args(arguments)
        if given_more and not getattr(given, "takes_more", False):
            parser.error(f"unrecognized arguments: {' '.join(given_more)}")
        given.more = given_more
        settings.check()
        given.run(given)
    except XaiError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # one line, whatever was typed
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_arguments.Parser(prog=settings.PROGRAM, description="Why an image model decided as it did.")
    parser.add_argument("--version", action="version", version=__version__)
    ours = parser.add_subparsers(required=True, metavar="COMMAND")

    explain = ours.add_parser("explain", help="explain one picture: overlay PNG, raw NPZ and JSON")
    explain.add_argument("--method", default="grad_cam", help="see: methods")
    explain.add_argument("--cut", help="where CAMs look (default: the model's)")
    explain.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the method")
    explain.set_defaults(run=_explain)

    compare = ours.add_parser("compare", help="many methods on one picture: sheet PNG, raw NPZ and JSON")
    compare.add_argument("--methods", default="all", help="ids with commas between, or all (default)")
    compare.add_argument("--sanity", action="store_true", help="also: does each map change with the weights and the class?")
    compare.set_defaults(run=_compare)
    for command in (explain, compare):
        command_arguments.add_question(command)
    for name, run in {"methods": _methods, "models": _models}.items():
        command = ours.add_parser(name, help=f"list the {name}")
        command.add_argument("--json", action="store_true", help="as JSON")
        command.set_defaults(run=run)
    classify.add_to(ours)
    evaluate.add_to(ours)
    measure.add_to(ours)
    compare_models.add_to(ours)
    pairs_benchmark.add_to(ours)
    report.add_to(ours)
    weights.add_to(ours)
    app.add_to(ours)
    train.add_to(ours)
    return parser


def _explain(given: argparse.Namespace) -> None:
    from xai_core.attribution.explain import explain_methods
    from xai_core.explanation import export, rendering

    options = command_arguments.options(given.option)
    picture, model, asked = command_arguments.opened(given)
    _, found = next(explain_methods(model, picture, {given.method: options}, cut=given.cut, **asked))
    stem = f"{Path(given.image).stem}_{found.method}"
    files = {
        f"{stem}_overlay.png": export.png_bytes(rendering.overlay(found, picture), found),
        f"{stem}.npz": export.npz_bytes(found),
        f"{stem}.json": export.json_text(found).encode(),
    }
    cautions = (f"Caution: {trouble}" for trouble in found.health)
    command_arguments.write(files, given.out, rendering.caption(found, rendering.scale_of(found)), *cautions)


def _compare(given: argparse.Namespace) -> None:
    import numpy as np

    from xai_core.analysis import sanity_check
    from xai_core.attribution.catalog import METHODS, find_method
    from xai_core.attribution.explain import attempt_methods, request_for
    from xai_core.explanation import export, rendering
    from xai_core.explanation.result import Explanation

    names = list(METHODS) if given.methods == "all" else [find_method(name).id for name in given.methods.split(",")]
    picture, model, asked = command_arguments.opened(given)
    active = request_for(
        model, [picture], target=asked.pop("target"), rival=asked.pop("rival"), precision=asked["precision"], seed=given.seed
    ).activate()
    question = active.question
    results = {}
    for name, result in attempt_methods(model, picture, {name: {} for name in names}, target=question.target, **asked):
        results[name] = result
        said = f"{result.seconds:8.2f} s  {result.passes}" if isinstance(result, Explanation) else f"failed: {result}"
        print(f"{name:<30}{said}", flush=True)
    found = {name: result for name, result in results.items() if isinstance(result, Explanation)}
    if not found:
        raise BadRequest("None of these methods gave a map.")
    scores = sanity_check.quick_deletion(active, list(found.values()))
    checks = {name: {"quick_deletion": score} for name, score in zip(found, scores, strict=True)}
    if given.sanity:
        for name, resemblances in _sanity(model, question.target, found, picture, asked["track"]):
            checks[name]["sanity"] = resemblances
    for name in sorted(found, key=lambda name: -np.nan_to_num(checks[name]["quick_deletion"], nan=-np.inf)):
        print(f"{name:<30}{checks[name]['quick_deletion']:+8.3f}  deletion (quick)")
    stem = f"{Path(given.image).stem}_methods"
    files = {
        f"{stem}.png": export.png_bytes(
            rendering.sheet_of_methods(list(found.values()), picture), next(iter(found.values()))
        ),
        f"{stem}.npz": export.npz_of_many(found),
        f"{stem}.json": export.manifest(results, checks).encode(),
    }
    command_arguments.write(files, given.out)


def _sanity(model, target, found, picture, track):
    """The sanity check of each method, printed as it is ready."""
    from xai_core.analysis import sanity_check
    from xai_core.models.loading import load_model

    changed = sanity_check.changes(model, target, load_model(model.id, "random"))
    for name, resemblances in sanity_check.sanity(found, picture, changed, track):
        said = [
            f"{change.words}: {one if isinstance(one, XaiError) else sanity_check.in_words(one)}"
            for change, one in zip(changed, resemblances.values(), strict=True)
        ]
        print(f"{name:<30}{'; '.join(said)}", flush=True)
        yield name, resemblances


def _methods(given: argparse.Namespace) -> None:
    from xai_core.attribution.catalog import METHODS
    from xai_core.core.options import options_of

    rows = [
        {
            "id": method.id,
            "title": method.title,
            "family": method.family,
            "sign": method.sign,
            "needs": sorted(method.needs),
            "random": method.random,
            "fast": sorted(method.fast),
            "version": method.version,
            "source": method.source,
            "card": method.card,
            "summary": method.summary,
            "options": [option.described() for option in options_of(method.run)],
        }
        for method in METHODS.values()
    ]
    command_arguments.print_rows(
        rows, given.json, lambda row: f"{row['id']:<30}{row['family']:<14}{row['sign']:<14}{row['summary']}"
    )


def _models(given: argparse.Namespace) -> None:
    rows = [
        {
            "id": card.id,
            "title": card.title,
            "family": card.family,
            "supervision": card.supervision,
            "trained_on": card.trained_on,
            "paper": card.paper,
            "checkpoints": [
                {
                    "id": one.id,
                    "files": [{"name": file.name, "url": file.url} for file in one.files],
                    "ready": locate.find(one) is not None,
                }
                for one in card.checkpoints
            ],
        }
        for card in cards().values()
    ]

    def line(row: dict[str, Any]) -> str:
        states = ", ".join(f"{one['id']}: {_state(one)}" for one in row["checkpoints"])
        return f"{row['id']:<32}{row['supervision']:<48}{states}"

    command_arguments.print_rows(rows, given.json, line)
    for problem in broken_cards().values():
        print(problem, file=sys.stderr)


def _state(checkpoint: dict[str, Any]) -> str:
    """Of a row of `models`."""
    by_hand = not all(file["url"] for file in checkpoint["files"])
    return "ready" if checkpoint["ready"] else "put there by hand" if by_hand else "to be fetched"


if __name__ == "__main__":
    sys.exit(main())
