"""The actions that the steps of the page Failure analysis have found, and which of them are in the plan."""

from collections.abc import Sequence

import streamlit as st

from xai_core.core import markdown
from xai_core.failures.plan import PlannedAction

_PLAN = "actions of the plan"  # in the session: for each (subject, step), its actions with whether they are in the plan


def offer(subject: str, step: str, actions: Sequence[PlannedAction]) -> None:
    """The actions of one step, each with a checkbox that takes it into the plan or out of it. At first all are in it.

    `subject` is the key of the predictions that they are about, so that the plan of other pictures is not mixed with it.
    """
    plan: dict[tuple[str, str], list[tuple[PlannedAction, bool]]] = st.session_state.setdefault(_PLAN, {})
    before = {action.title: chosen for action, chosen in plan.get((subject, step), [])}
    chosen = []
    for number, action in enumerate(actions):
        with st.container(border=True):
            taken = st.checkbox(
                f"**{action.kind.capitalize()}**: {markdown.escape(action.title)}", before.get(action.title, True),
                key=f"in the plan {subject} {step} {number} {action.title}", help="Takes this action into the plan.",
            )  # fmt: skip
            st.markdown(markdown.escape(f"{action.reason} {action.estimate}".strip()))
        chosen.append((action, taken))
    plan[subject, step] = chosen


def actions(subject: str) -> list[PlannedAction]:
    """The actions in the plan, in the order of the steps that found them."""
    plan: dict[tuple[str, str], list[tuple[PlannedAction, bool]]] = st.session_state.get(_PLAN, {})
    return [action for (of, _), entries in plan.items() if of == subject for action, taken in entries if taken]
