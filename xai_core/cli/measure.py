"""`xai-core measure`: metrics of the maps of one picture, beside controls."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands, Query
from xai_core.core.errors import BadRequest

if TYPE_CHECKING:
    from xai_core.explanation.targets import Target
    from xai_core.metrics.measure import Measurement

Metrics = dict[str, dict[str, Any]]  # options by metric
Rows = Sequence[tuple[str, str, "Measurement"]]  # name of the map, metric, measurement


def add_to(commands: Commands) -> None:
    """Add the command `measure`."""
    command = commands.add_parser("measure", help="measure the maps of some methods on one picture, beside controls")
    arguments.add_query(command, out_required=False)
    command.add_argument("--method", default="grad_cam", help="comma-separated ids, see: methods")
    command.add_argument("--metric", default="quick", help="comma-separated ids, or a preset: quick, published, all")
    command.add_argument(
        "--option", action="append", default=[], metavar="METRIC.NAME=VALUE", help="an option of a metric: deletion.steps=32"
    )
    command.add_argument("--box", help="left,top,right,bottom in the picture's pixels, for metrics of localisation")
    command.add_argument(
        "--self-test", action="store_true", help="also test whether each metric can be trusted on this picture"
    )
    command.set_defaults(run=_measure)


def _measure(args: argparse.Namespace) -> None:
    from xai_core.attribution.catalog import find_method
    from xai_core.attribution.explain import attempt_methods, request_for
    from xai_core.explanation.result import Explanation
    from xai_core.metrics.measure import measure_all, total_cost

    metrics, box = _metrics(args.metric, args.option), _box(args.box)
    methods: Metrics = {find_method(name.strip()).id: {} for name in args.method.split(",")}
    query = arguments.query(args)
    active = request_for(
        query.model, [query.picture], target=query.target, rival=query.rival, precision=query.precision, seed=query.seed
    ).activate()
    question, pixels = active.question, active.images
    print(f"{question.target.label(0, query.model.class_name)} = {float(question.values(pixels)):.4g}")
    arguments.say(f"about {sum(total_cost(metrics, methods)):,} passes, beside those for the maps")
    maps = {}
    for name, result in attempt_methods(
        query.model, query.picture, methods, target=question.target, precision=query.precision, seed=query.seed,
        track=arguments.bar,
    ):  # fmt: skip
        if isinstance(result, Explanation):
            maps[name] = result
        else:
            print(f"{name:<30}failed: {result}")
    if not maps:
        raise BadRequest("No map could be computed with any of these methods.")
    rows = []
    for row in measure_all(
        query.model, query.picture, maps, metrics, target=question.target, box=box, precision=query.precision,
        seed=query.seed, track=arguments.bar,
    ):  # fmt: skip
        rows.append(row)
        _print_row(*row)
    if args.self_test:
        _self_test(query, metrics, question.target)
    if args.out:
        _write(args.image, args.out, rows, metrics)


def _print_row(name: str, key: str, measurement: Measurement) -> None:
    from xai_core.metrics.catalog import find_metric
    from xai_core.metrics.measure import unbeaten_controls

    metric = find_metric(key)
    value = "–" if math.isnan(measurement.value) else f"{measurement.value:.4g}"
    controls = unbeaten_controls(metric, measurement)
    note = measurement.note or (f"no better than {', '.join(controls)}" if controls else "")
    arguments.say(f"{key:<36}{metric.arrow:<2}{name:<26}{value:>10}  {note}".rstrip())


def _self_test(query: Query, metrics: Metrics, target: Target) -> None:
    from xai_core.metrics.self_test import self_test

    for verdict in self_test(query.model, query.picture, metrics, target, seed=query.seed, track=arguments.bar):
        arguments.say(f"self-test {verdict.metric:<26}{verdict.message}")


def _write(image: str, folder: Path, rows: Rows, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    from xai_core.explanation import export
    from xai_core.metrics import tables

    stem = f"{Path(image).stem}_metrics"
    files = {
        f"{stem}.csv": tables.table(rows, metrics).to_csv(index=False).encode(),
        f"{stem}.json": export.strict_json(tables.records(rows, metrics)).encode(),
    }
    arguments.write(files, folder)


def _metrics(names: str, options: Sequence[str]) -> Metrics:
    """The metrics by name, each with its options. Raises BadRequest, UnknownName."""
    from xai_core.metrics.catalog import METRICS, PRESETS, find_metric

    presets: dict[str, Metrics] = {**PRESETS, "all": {name: {} for name in METRICS}}
    wanted = presets.get(names) or {name.strip(): {} for name in names.split(",")}
    metrics = {name if "@" in name else find_metric(name).id: dict(preset) for name, preset in wanted.items()}
    for name, value in arguments.options(options).items():
        metric, dot, option = name.rpartition(".")
        if not dot or metric not in metrics:
            raise BadRequest(f"An option is given as METRIC.NAME=VALUE, METRIC one of {', '.join(metrics)}; not '{name}'.")
        metrics[metric][option] = value
    return metrics


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        left, top, right, bottom = (float(number) for number in text.split(","))
    except ValueError:
        raise BadRequest(f"A box is given as left,top,right,bottom in the picture's pixels, not '{text}'.") from None
    return left, top, right, bottom
