"""The view *Abstain*: the error rate that is left where the network answers only if it is confident enough."""

import pandas as pd
import streamlit as st

from xai_core.analysis.groups import values_of
from xai_core.app.charts.failures import risk_coverage as chart_of
from xai_core.app.failures import plan_entries
from xai_core.app.shared import display
from xai_core.app.shared.predictions import subject
from xai_core.app.shared.tested_groups import SEED
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.failures.abstention import abstain, actions, risk_coverage
from xai_core.models.explainable import ExplainableModel

MOST_GROUPS = 40  # rows of the table
USUAL = 0.5  # of the error rate: what is wanted at first
TRUE, PREDICTED = "true class", "predicted class"
PERFECT = "All pictures are predicted correctly: there are no errors that a threshold could avoid."
HOW = (
    "A network answers where the probability of its class is at least the threshold. The pictures are halved at random "
    "(seed {seed}). The threshold is the lowest one whose error rate on the first half is at most the wanted one; the "
    "figures in the table are of the other half, where it can be missed: the 95% interval (Wilson) says by how much. The "
    "curve is of all pictures; the dashed line is the least error rate that any order of these answers could have."
)


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The curve, the threshold for the wanted error rate, and what it does to each group."""
    right = (rows["true"] == rows["predicted"]).to_numpy(bool)
    if right.all():
        st.info(PERFECT)
        return
    error_rate = float(100 * (~right).mean())
    known = dataset.attributes(rows["path"])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.number_input(
            "Wanted error rate, %", 0.0, 99.0, round(USUAL * error_rate, 1), 0.5, "%.1f", key="wanted", width=200, **LINK
        )
        by = st.selectbox("By", [TRUE, PREDICTED, *known.columns], key="abstain by", format_func=markdown.escape, width=260)
    groups = rows["true"] if by == TRUE else rows["predicted"] if by == PREDICTED else values_of(known[by])
    confidence = rows["confidence"].to_numpy()
    result = abstain(confidence, right, wanted / 100, groups=groups.astype(str).to_list(), seed=SEED)
    curve = risk_coverage(confidence, right)
    display.finding(result.reason, bold=True)
    display.chart(
        chart_of(curve.points, int((~right).sum()), result.threshold, wanted / 100), width=640, key="risk-coverage",
        alt=f"Error rate by share of answered pictures. {result.reason}",
    )  # fmt: skip
    st.caption(f"Mean error rate along the curve (its area) {curve.area:.4f}; the least possible is {curve.best_area:.4f}.")
    first, rest = result.measured.iloc[:1], result.measured.iloc[1:].sort_values("risk without", ascending=False)
    table = pd.concat([first, rest.head(MOST_GROUPS)])
    percent = ("coverage", "risk", "low", "high", "risk without")
    display.table(
        table, "Coverage and risk at the threshold, by group", hide_index=True, key="abstained groups", width="content",
        column_config={name: st.column_config.NumberColumn(format="percent") for name in percent},
    )  # fmt: skip
    if len(rest) > MOST_GROUPS:
        st.caption(f"The {MOST_GROUPS} of {len(rest):,} groups with the most errors.")
    with st.expander("How the threshold is chosen and measured"):
        st.markdown(HOW.format(seed=SEED))
    plan_entries.offer(subject(model, dataset), "Abstain", actions(result, confidence, rows["path"].to_list()))
