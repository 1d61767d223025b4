"""The section *Ground truth* of the tab "A run": methods by the truth, and how well other metrics foretell their order."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.charts import runs
from xai_core.app.metrics.opened_run import (
    TOO_FEW,
    OpenedRun,
    count_in_words,
    select,
    select_model,
    show_chart,
    without_controls,
)
from xai_core.core import markdown, settings
from xai_core.core.errors import BadRequest
from xai_core.evaluation import ranking, significance
from xai_core.metrics.catalog import find_metric

TRUTH = "ground truth"  # the family of metrics that know it


def ground_truth(opened: OpenedRun) -> None:
    """Which method tells the truth where the truth is known, and which metric foretells it without knowing it."""
    truths = [name for name in opened.metrics if find_metric(name).family == TRUTH and opened.direction(name)]
    if not truths:
        command = f"{settings.PROGRAM} evaluate world:planted --models world_planted --metrics part_correlation,deletion"
        raise BadRequest(
            "What a prediction depends on is known for drawn pictures only. Measure a metric of ground truth on such "
            f"pictures: `{command}`."
        )
    with st.container(horizontal=True):
        model = select_model(opened)
        truth = select("Truth", truths, {name: opened.title(name) for name in truths}, "run-truth")
    st.caption(markdown.escape(opened.metrics[truth]["sentence"]))
    lines = opened.summary_of(model, truth)
    lines = lines[lines.n > 0] if len(lines) else lines
    if not len(lines):
        raise BadRequest(f"{opened.title(truth)} has no value on {opened.models[model]}. Choose another model or metric.")
    _true_means(opened, lines, truth)
    names = [name for name in opened.of_model(model) if name not in truths and find_metric(name).family != TRUTH]
    names = [name for name in names if opened.direction(name)]
    methods = without_controls(opened)
    tables = {name: opened.better(model, name, methods) for name in names}
    foretold = ranking.foretelling(opened.better(model, truth, methods), tables)
    rows = [{"name": opened.title(name), "kind": "metric", **tau._asdict()} for name, tau in foretold.items()]
    rows = sorted((row for row in rows if np.isfinite(row["value"])), key=lambda row: -row["value"])
    st.markdown("**Which metric foretells this order**")
    if not rows:
        st.info("This run has no metric without ground truth that ranks these methods: measure one, such as `deletion`.")
        return
    clear = [row["name"] for row in rows if row["low"] > 0]
    title, counts = f"Kendall's tau with the order by {opened.title(truth)}", _over(map(len, tables.values()))
    words = f"{title}, of {len(rows)} metrics; highest: {rows[0]['name']} {rows[0]['value']:.2f}."
    show_chart(runs.intervals(pd.DataFrame(rows), title), "foretelling", words)
    st.caption(
        f"These metrics know nothing of the truth. Each orders the methods by its means over {counts}. 1: the "
        "same order as the truth; 0: an unrelated one; below 0: rather the reverse. Bars: 95 % bootstrap intervals, "
        f"{len(clear)} of {len(rows)} wholly above zero. Controls are left out."
    )


def _true_means(opened: OpenedRun, lines: pd.DataFrame, truth: str) -> None:
    """The methods and controls, the best first, by a metric that knows the truth."""
    lines = lines.sort_values("rank", kind="stable")
    kinds = np.where(lines.control, "control", "method")
    rows = lines.assign(name=lines.method.map(opened.methods), kind=kinds, value=lines["mean"])
    rows = rows.assign(why=np.where(rows.n > 1, "", significance.ONE_PICTURE))
    best = lines[~lines.control].head(3).method.map(opened.methods)
    beaten = int(lines.beats.eq(False).sum())  # the column has None too
    st.markdown(f"**Methods by {markdown.escape(opened.title(truth))}**")
    words = f"{opened.title(truth)} of {len(rows)} maps with 95 % intervals; the best methods: {', '.join(best)}."
    show_chart(runs.intervals(rows, opened.title(truth)), "truth", words)
    against = (
        f"{beaten} of {int((~lines.control).sum())} methods do not beat every control (paired sign-flip test at 5 %)."
        if lines.beats.notna().any()
        else TOO_FEW.strip()
    )
    st.caption(
        f"Means over {_over(rows.n)} that have a value, with 95 % bootstrap intervals. {against} The section Methods has "
        "the critical difference and all pairs."
    )


def _over(counts: Iterable[int]) -> str:
    """Numbers of pictures: '24 pictures', or '24 to 200 pictures'."""
    numbers = [*counts]
    return count_in_words(min(numbers), max(numbers)).partition(",")[0]
