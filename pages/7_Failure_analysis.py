"""From a model's errors to a plan: wrong labels, groups of errors, their causes, what mends them, and what to do."""

import streamlit as st

from xai_core.app.failures import (
    abstain_view,
    causes_view,
    evidence_view,
    groups_view,
    labels,
    plan_view,
    repair_view,
    steps,
    whatifs_view,
)
from xai_core.app.shared import display, drawer, page_links, page_setup, predictions, round_form

# Each step has one view or several; the way to a plan leads through all steps.
STEPS: steps.Steps = {
    "Labels": {"Labels": labels.show},
    "Groups": {"Groups": groups_view.show},
    "Causes": {
        causes_view.VIEW: causes_view.show,
        whatifs_view.VIEW: whatifs_view.show,
        evidence_view.VIEW: evidence_view.show,
    },
    "What to do": {"Edit the head": repair_view.show, "Abstain": abstain_view.show},
    "Plan": {"Plan": plan_view.show},
}

page_setup.page(page_links.FAILURES)
st.title("Why are these wrong, and what do we do?")
making_round = round_form.show_progress()
say = st.container()
dataset, model = predictions.dataset_and_model(say)

with display.errors():
    table = predictions.table(model, dataset, lists_errors=False)
    if table is None:
        st.stop()
    drawer.begin()
    steps.show(STEPS, table, dataset, model)
    rows = predictions.FilteredRows(table, table, table, table, {})
    if not making_round and not round_form.show(table, dataset, model):
        drawer.show(rows, dataset, model)
