"""`xai-core compare`: many methods on one picture."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands, Query
from xai_core.core.errors import BadRequest, XaiError

if TYPE_CHECKING:
    from xai_core.explanation.result import Explanation
    from xai_core.explanation.targets import Target


def add_to(commands: Commands) -> None:
    """Add the command `compare`."""
    command = commands.add_parser("compare", help="compare methods on one picture: sheet PNG, raw NPZ and JSON")
    command.add_argument(
        "--methods", default="all", help="comma-separated ids or variants (grad_cam@cut=layer3+eigen=true), or all (default)"
    )
    command.add_argument(
        "--sanity", action="store_true", help="also check whether each map changes with the weights and with the class"
    )
    arguments.add_query(command)
    command.set_defaults(run=_compare)


def _compare(args: argparse.Namespace) -> None:
    from dataclasses import replace

    import numpy as np

    from xai_core.analysis import sanity_check
    from xai_core.attribution import variants
    from xai_core.attribution.catalog import METHODS
    from xai_core.attribution.explain import attempt_methods, request_for
    from xai_core.explanation import export, rendering
    from xai_core.explanation.result import Explanation

    texts = METHODS if args.methods == "all" else arguments.names(args.methods)
    methods = variants.parse_all(texts, args.precision)
    query = arguments.query(args)
    variants.check_on([*methods.values()], {query.model.id: query.model})
    width = max(30, *(len(name) + 2 for name in methods))
    active = request_for(
        query.model, [query.picture], target=query.target, rival=query.rival, precision=query.precision, seed=query.seed
    ).activate()
    target = active.question.target
    results: dict[str, Explanation | XaiError] = {}
    for name, result in attempt_methods(
        query.model, query.picture, {name: {} for name in methods}, target=target, precision=query.precision,
        seed=query.seed, track=arguments.bar,
    ):  # fmt: skip
        results[name] = result
        cost = f"{result.seconds:8.2f} s  {result.passes}" if isinstance(result, Explanation) else f"failed: {result}"
        arguments.say(f"{name:<{width}}{cost}")
    maps = {
        name: replace(result, title=methods[name].title)
        for name, result in results.items()
        if isinstance(result, Explanation)
    }
    if not maps:
        raise BadRequest("No map could be computed with any of these methods.")
    scores = sanity_check.quick_deletion(active, list(maps.values()))
    checks: dict[str, dict[str, Any]] = {name: {"quick_deletion": score} for name, score in zip(maps, scores, strict=True)}
    if args.sanity:
        for name, correlations in _sanity(query, target, maps):
            checks[name]["sanity"] = correlations
    for name in sorted(maps, key=lambda name: -float(np.nan_to_num(checks[name]["quick_deletion"], nan=-np.inf))):
        print(f"{name:<{width}}{checks[name]['quick_deletion']:+8.3f}  deletion (quick)")
    stem = f"{Path(args.image).stem}_methods"
    sheet = rendering.sheet_of_methods(list(maps.values()), query.picture)
    files = {
        f"{stem}.png": export.png_bytes(sheet, next(iter(maps.values()))),
        f"{stem}.npz": export.npz_of_many(maps),
        f"{stem}.json": export.manifest(results, checks).encode(),
    }
    arguments.write(files, args.out)


def _sanity(
    query: Query, target: Target, maps: Mapping[str, Explanation]
) -> Iterator[tuple[str, dict[str, float | XaiError]]]:
    """The sanity check of each method, printed as soon as it is ready."""
    from xai_core.analysis import sanity_check
    from xai_core.models.loading import load_model

    changes = sanity_check.changes(query.model, target, load_model(query.model.id, "random"))
    for name, correlations in sanity_check.sanity(maps, query.picture, changes, arguments.bar):
        results = [
            f"{change.words}: {result if isinstance(result, XaiError) else sanity_check.in_words(result)}"
            for change, result in zip(changes, correlations.values(), strict=True)
        ]
        arguments.say(f"{name:<30}{'; '.join(results)}")
        yield name, correlations
