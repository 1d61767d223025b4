"""`python -m xai_core metrics` and `measure`: the list of metrics, and measurements of maps of one picture."""

import argparse
import math
from pathlib import Path
from typing import Any

from xai_core.cli import arguments
from xai_core.core.errors import BadRequest


def add_to(parsers) -> None:
    listed = parsers.add_parser("metrics", help="list the metrics")
    listed.add_argument("--json", action="store_true", help="as JSON")
    listed.set_defaults(run=_metrics)

    measure = parsers.add_parser("measure", help="measure the maps of some methods on one picture, beside controls")
    arguments.add_question(measure, out=False)
    measure.add_argument("--method", default="grad_cam", help="ids with commas between; see: methods")
    measure.add_argument("--metric", default="quick", help="ids with commas between, or a preset: quick, published, all")
    measure.add_argument(
        "--option", action="append", default=[], metavar="METRIC.NAME=VALUE", help="an option of a metric: deletion.steps=32"
    )
    measure.add_argument("--box", help="left,top,right,bottom in the picture's pixels, for metrics of localisation")
    measure.add_argument("--self-test", action="store_true", help="also: can each metric be trusted on this picture?")
    measure.set_defaults(run=_measure)


def _metrics(given: argparse.Namespace) -> None:
    from xai_core.core.options import options_of
    from xai_core.metrics.catalog import METRICS, QUICK
    from xai_core.metrics.measure import passes

    rows = [
        {
            "id": metric.id,
            "title": metric.title,
            "family": metric.family,
            "direction": metric.direction,
            "range": [bound if math.isfinite(bound) else None for bound in metric.range],
            "passes": passes(metric.id),
            "quick": metric.id in QUICK,
            "needs": sorted(metric.needs),
            "version": metric.version,
            "source": metric.source,
            "sentence": metric.sentence,
            "definition": metric.definition,
            "options": [option.described() for option in options_of(metric.run)],
        }
        for metric in METRICS.values()
    ]

    def line(row: dict[str, Any]) -> str:
        return f"{row['id']:<36}{row['family']:<15}{row['direction']:<8}{row['passes']:>5} passes  {row['sentence']}"

    arguments.print_rows(rows, given.json, line)


def _measure(given: argparse.Namespace) -> None:
    from xai_core.attribution.catalog import find_method
    from xai_core.attribution.explain import attempt_methods, request_for
    from xai_core.explanation.result import Explanation
    from xai_core.metrics.measure import measure_all, total_passes

    metrics, box = _chosen(given.metric, given.option), _box(given.box)
    names = dict.fromkeys(find_method(name.strip()).id for name in given.method.split(","))
    picture, model, asked = arguments.opened(given)
    active = request_for(
        model, [picture], target=asked.pop("target"), rival=asked.pop("rival"), precision=asked["precision"], seed=given.seed
    ).activate()
    question, pixels = active.question, active.images
    print(f"{question.target.label(0, model.class_name)} = {float(question.values(pixels)):.4g}")
    print(f"about {total_passes(metrics, {name: {} for name in names}):,} passes, beside those for the maps", flush=True)
    maps = {}
    methods = {name: {} for name in names}
    for name, result in attempt_methods(model, picture, methods, target=question.target, **asked):
        if isinstance(result, Explanation):
            maps[name] = result
        else:
            print(f"{name:<30}failed: {result}")
    if not maps:
        raise BadRequest("None of these methods gave a map.")
    found = []
    for row in measure_all(model, picture, maps, metrics, target=question.target, box=box, **asked):
        found.append(row)
        _say(*row)
    if given.self_test:
        _self_test(model, picture, metrics, question.target, asked)
    if given.out:
        _write(given, found, metrics)


def _say(name: str, key: str, one) -> None:
    from xai_core.metrics.catalog import find_metric
    from xai_core.metrics.measure import unbeaten

    metric = find_metric(key)
    value = "–" if math.isnan(one.value) else f"{one.value:.4g}"
    worse = unbeaten(metric, one)
    note = one.note or (f"no better than {', '.join(worse)}" if worse else "")
    print(f"{key:<36}{metric.arrow:<2}{name:<26}{value:>10}  {note}".rstrip(), flush=True)


def _self_test(model, picture, metrics, target, asked) -> None:
    from xai_core.metrics.self_test import self_test

    for verdict in self_test(model, picture, metrics, target, seed=asked["seed"], track=asked["track"]):
        print(f"self-test {verdict.metric:<26}{verdict.said}", flush=True)


def _write(given: argparse.Namespace, found, metrics) -> None:
    from xai_core.explanation import export
    from xai_core.metrics import tables

    stem = f"{Path(given.image).stem}_metrics"
    files = {
        f"{stem}.csv": tables.table(found, metrics).to_csv(index=False).encode(),
        f"{stem}.json": export.strict_json(tables.records(found, metrics)).encode(),
    }
    arguments.write(files, given.out)


def _chosen(names: str, options: list[str]) -> dict[str, dict[str, Any]]:
    """The metrics by name, each with its options. Raises BadRequest, UnknownName."""
    from xai_core.metrics.catalog import METRICS, PRESETS, find_metric

    presets = PRESETS | {"all": {name: {} for name in METRICS}}
    wanted = presets.get(names) or {name.strip(): {} for name in names.split(",")}
    chosen = {name if "@" in name else find_metric(name).id: dict(given) for name, given in wanted.items()}
    for name, value in arguments.options(options).items():
        metric, dot, option = name.rpartition(".")
        if not dot or metric not in chosen:
            raise BadRequest(f"An option is given as METRIC.NAME=VALUE, METRIC one of {', '.join(chosen)}; not '{name}'.")
        chosen[metric][option] = value
    return chosen


def _box(given: str | None) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        left, top, right, bottom = (float(number) for number in given.split(","))
    except ValueError:
        raise BadRequest(f"A box is given as left,top,right,bottom in the picture's pixels, not '{given}'.") from None
    return left, top, right, bottom
