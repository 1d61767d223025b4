"""Measurements as a table, and everything about them as JSON: what the page and the command line hand out."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import Chosen, Measurement, chosen_metrics, unbeaten

Rows = Iterable[tuple[str, str, Measurement]]


def table(rows: Rows, metrics: Chosen) -> pd.DataFrame:
    """One row for each map and metric: variant, value, direction, the controls and those that do as well, cost, note."""
    options, found = chosen_metrics(metrics), []
    for name, key, one in rows:
        metric = find_metric(key)
        found.append(
            {
                "map": name,
                "metric": key,
                "variant": metric.named(options[key]),
                "value": one.value,
                "better": metric.direction,
                **{control: one.controls.get(control) for control in one.controls},
                "not better than": ", ".join(unbeaten(metric, one)),
                "passes": one.passes,
                "seconds": one.seconds,
                "note": one.note,
            }
        )
    return pd.DataFrame(found)


def described(rows: Rows, metrics: Chosen) -> list[dict[str, Any]]:
    """The same with options, versions, facts and curves, as JSON takes it."""
    options = chosen_metrics(metrics)
    return [
        {
            "map": name,
            "metric": key,
            "version": find_metric(key).version,
            "options": options[key],
            "direction": find_metric(key).direction,
            **vars(one),
        }
        for name, key, one in rows
    ]
