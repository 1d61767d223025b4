"""The step *Labels*: which labels are likely to be wrong."""

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.failures import plan_entries
from xai_core.app.shared import cache
from xai_core.app.shared.predictions import subject
from xai_core.data.datasets import Dataset
from xai_core.failures.label_triage import Triage, triage
from xai_core.failures.plan import PlannedAction
from xai_core.models.explainable import ExplainableModel


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The labels that a probe and the nearest neighbours contradict, and the action to correct them."""
    of = subject(model, dataset)
    judgement: Triage | None = cache.get(f"label triage {of}")
    if judgement is None:
        judgement = triage(np.stack(rows["embedding"].to_list()), rows["true"].to_list())
        cache.put(f"label triage {of}", judgement)
    flags = judgement.flags
    for reason in judgement.reasons:
        st.info(reason)
    if not len(flags):
        return
    paths = tuple(rows["path"].iloc[flags["picture"].to_numpy()])
    action = PlannedAction(
        "relabel",
        f"Check {len(flags)} labels",
        f"A probe and the nearest neighbours contradict {len(flags)} of {len(rows):,} labels; "
        f"{judgement.expected_wrong_flags:.0f} of them are expected to be right.",
        "",
        paths,
        {"label": tuple(flags["label"]), "suggested label": tuple(flags["suggested"])},
    )
    plan_entries.offer(of, "Labels", [action])
