"""The step *Plan*: the actions of all steps in one list, to take away."""

import pandas as pd
import streamlit as st

from xai_core.app.failures import plan_entries
from xai_core.app.shared.predictions import subject
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.models.explainable import ExplainableModel


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """Every action in the plan."""
    actions = plan_entries.actions(subject(model, dataset))
    if not actions:
        st.info("The plan is empty. Go through the steps above: each offers the actions that it has found.")
    for action in actions:
        st.markdown(f"- **{action.kind.capitalize()}**: {markdown.escape(action.title)}")
