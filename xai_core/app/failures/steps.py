"""The steps of the page Failure analysis: which one is shown, and the button that goes on to the next."""

from collections.abc import Callable, Mapping

import pandas as pd
import streamlit as st

from xai_core.app.failures import plan_entries
from xai_core.app.shared import display, page_setup, session
from xai_core.app.shared.predictions import subject
from xai_core.app.shared.widgets import LINK
from xai_core.data.datasets import Dataset
from xai_core.models.explainable import ExplainableModel

View = Callable[[pd.DataFrame, Dataset, ExplainableModel], None]  # shows what it found among the predictions
Steps = Mapping[str, Mapping[str, View]]  # the views of each step, by their titles
_PLACE = "failure-steps"
STEP = "step"  # in the address; the view of a step with several is there under the step's name in small letters


def show(steps: Steps, rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The chosen step, and below it the button to the next one."""
    names = list(steps)
    step = st.container(key=_PLACE).segmented_control(
        "Step", names, default=names[0], required=True, key=STEP, label_visibility="collapsed", **LINK
    )
    views = steps[step]
    view = next(iter(views))
    if len(views) > 1:
        view = st.segmented_control(
            f"View of the step {step}",
            list(views),
            default=view,
            required=True,
            key=step.lower(),
            label_visibility="collapsed",
            **LINK,
        )
    plan_entries.begin(subject(model, dataset), [name for of_step in steps.values() for name in of_step], view)
    with display.errors():  # a view that shows nothing does not end the way
        try:
            views[view](rows, dataset, model)
        finally:
            session.begin_work(False)
    following = names[names.index(step) + 1 :]
    if following:
        st.button(
            f"Next: {following[0]}", key="next step", type="primary", icon=":material/arrow_forward:", icon_position="right",
            on_click=_go, args=(following[0],),
        )  # fmt: skip


def _go(step: str) -> None:
    """Go on to a step, and start its work: each step shows what it has found before the next is asked for."""
    st.session_state[STEP] = step
    session.begin_work(True)
    page_setup.scroll_to(_PLACE)
