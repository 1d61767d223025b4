"""From a model's errors to a plan: wrong labels, groups of errors, their causes, what mends them, and what to do."""

import streamlit as st

from xai_core.app.failures import steps
from xai_core.app.shared import display, drawer, page_links, page_setup, predictions, round_form
from xai_core.data.held_predictions import hold_frame

# Each step has one view or several; the way to a plan leads through all steps.
STEPS: steps.Steps = {
    "Labels": {"Labels": page_setup.view("failures.labels:show")},
    "Groups": {"Groups": page_setup.view("failures.groups_view:show")},
    "Causes": {
        "Hidden region": page_setup.view("failures.causes_view:show"),
        "What-ifs": page_setup.view("failures.whatifs_view:show"),
        "Evidence": page_setup.view("failures.evidence_view:show"),
    },
    "What to do": {
        "Edit the head": page_setup.view("failures.repair_view:show"),
        "Abstain": page_setup.view("failures.abstain_view:show"),
    },
    "Plan": {"Plan": page_setup.view("failures.plan_view:show")},
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
    held = hold_frame(table, dataset.metadata)
    rows = predictions.unfiltered(held)
    if not making_round and not round_form.show(held, dataset, model):
        drawer.show(rows, dataset, model)
