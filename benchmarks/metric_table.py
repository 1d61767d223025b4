"""The table of metrics: `python -m benchmarks.metric_table` writes docs/metrics.md from the catalogue."""

import math
from pathlib import Path

from xai_core.metrics.catalog import METRICS, QUICK
from xai_core.metrics.measure import passes
from xai_core.metrics.metric import Metric

FILE = Path(__file__).parents[1] / "docs" / "metrics.md"
HEAD = """# Metrics

Written by `python -m benchmarks.metric_table`; do not edit. The docstring of each metric has its formula, its unit and its
deviations from the source: `python -m xai_core metrics --json`.

Every metric is checked by hand calculations, closed forms, plain loops, grad-cam or captum (`tests/metrics/`), and every
measurement stands beside four control maps that know nothing of the network. `self_test` says whether a metric tells a true
map from false ones on the network and the picture at hand.

- **Better**: which direction is better; *none* where a value is neither good nor bad.
- **Passes**: of one picture through the network, with the default options, for one map.
- **Needs**: *box* is a box or mask in the picture (or a mosaic of four pictures), *method* the method that made the map.
- Metrics of the quick preset are marked with an asterisk.

To add one, write a function `(case, candidate, *, options)` in the file of its kind under `xai_core/metrics/` and list it
in `xai_core/metrics/catalog.py`; the page, the command line and the conformance tests find it there.

| metric | family | better | range | passes | needs | what it says | source |
|---|---|---|---|---|---|---|---|
"""


def row(metric: Metric) -> str:
    """One line of the table."""
    low, high = (f"{bound:g}" if math.isfinite(bound) else "∞" if bound > 0 else "-∞" for bound in metric.range)
    cells = (
        f"**{metric.title}**{'*' if metric.id in QUICK else ''} `{metric.id}`",
        metric.family,
        metric.direction or "none",
        f"{low} to {high}",
        f"{passes(metric.id)}",
        ", ".join(sorted(metric.needs)) or "–",
        metric.sentence,
        metric.source,
    )
    return f"| {' | '.join(cells)} |"


def table() -> str:
    return HEAD + "\n".join(map(row, METRICS.values())) + "\n"


if __name__ == "__main__":
    FILE.write_text(table(), encoding="utf-8")
    print(f"written to {FILE}")
