"""Measurements as a table and as JSON, for downloads and for the command line."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import Measurement, MetricChoice, checked_metrics, unbeaten_controls

Rows = Iterable[tuple[str, str, Measurement]]


def table(rows: Rows, metrics: MetricChoice) -> pd.DataFrame:
    """One row for each map and metric: variant, value, direction, values of the controls, the controls that do at least as
    well, passes, seconds, note."""
    options = checked_metrics(metrics)
    table_rows = []
    for name, key, measurement in rows:
        metric = find_metric(key)
        table_rows.append(
            {
                "map": name,
                "metric": key,
                "variant": metric.variant_title(options[key]),
                "value": measurement.value,
                "better": metric.direction,
                **measurement.controls,
                "not better than": ", ".join(unbeaten_controls(metric, measurement)),
                "passes": measurement.passes,
                "seconds": measurement.seconds,
                "note": measurement.note,
            }
        )
    return pd.DataFrame(table_rows)


def records(rows: Rows, metrics: MetricChoice) -> list[dict[str, Any]]:
    """One dictionary for each map and metric, with options, versions, facts and curves too, as JSON takes it."""
    options = checked_metrics(metrics)
    return [
        {
            "map": name,
            "metric": key,
            "version": find_metric(key).version,
            "options": options[key],
            "direction": find_metric(key).direction,
            **vars(measurement),
        }
        for name, key, measurement in rows
    ]
