"""`xai-core metrics`: the catalogue of metrics."""

import argparse
import math

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands, Row


def add_to(commands: Commands) -> None:
    """Add the command `metrics`."""
    command = commands.add_parser("metrics", help="list the metrics")
    arguments.add_json(command)
    command.set_defaults(run=_metrics)


def _metrics(args: argparse.Namespace) -> None:
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
    arguments.print_rows(rows, args.json, _line)


def _line(row: Row) -> str:
    return f"{row['id']:<36}{row['family']:<15}{row['direction']:<8}{row['passes']:>5} passes  {row['sentence']}"
