"""The actions that the steps of the page Failure analysis have found, and which of them are in the plan.

They are held in the session, for each pair of a model and a dataset. An action is known again by its `about` and not by its
title: what the visitor has taken out stays out when its figures change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import streamlit as st

from xai_core.core import markdown
from xai_core.failures.plan import Plan, PlannedAction, identities

_FOUND, _ON_REPORT = "found actions", "plans on the report"  # in the session
IN_PLAN = "Takes this action into the plan, or out of it."


class Entry(NamedTuple):
    """An action, the view that found it, its name among those of the view, and whether it is in the plan."""

    view: str
    name: str
    action: PlannedAction
    taken: bool


@dataclass
class _Found:
    """What was found for one model and dataset: entries by (view, group), and the views of the page and those seen."""

    entries: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    views: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


def _found(subject: str) -> _Found:
    every: dict[str, _Found] = st.session_state.setdefault(_FOUND, {})
    return every.setdefault(subject, _Found())


def begin(subject: str, views: Sequence[str], view: str) -> None:
    """Note that `view` is shown, of all `views` in their order; the last one is the plan."""
    found = _found(subject)
    found.views = list(views)
    found.seen.add(view)


def offer(subject: str, view: str, actions: Sequence[PlannedAction], group: str = "") -> None:
    """The actions that a view has found, each with a checkbox that takes it into the plan or out of it. At first all are in
    it.

    `subject` is the key of the predictions that they are about, so that the plan of other pictures is not mixed with it.
    `group` is the group of pictures that the view is about, if it is about one: actions of other groups stay in the plan.
    """
    found = _found(subject)
    before = {entry.name: entry.taken for entry in found.entries.get((view, group), [])}
    entries = []
    for name, action in zip(identities(actions), actions, strict=True):
        with st.container(border=True):
            taken = st.checkbox(
                f"**{action.kind.capitalize()}**: {markdown.escape(action.title)}", before.get(name, True),
                key=f"in the plan {subject} {view} {group} {name}", help=IN_PLAN,
            )  # fmt: skip
            st.markdown(markdown.escape(f"{action.reason} {action.estimate}".strip()))
        entries.append(Entry(view, name, action, taken))
    found.entries[view, group] = entries


def entries(subject: str) -> list[Entry]:
    """The actions found, in the plan or not, in the order of the views on the page."""
    found = _found(subject)
    order = {view: place for place, view in enumerate(found.views)}
    parts = sorted(found.entries.items(), key=lambda item: order.get(item[0][0], len(order)))
    return [entry for _, some in parts for entry in some]


def take(subject: str, entry: Entry, taken: bool) -> None:
    """Take an action into the plan or out of it."""
    for some in _found(subject).entries.values():
        some[:] = [one._replace(taken=taken) if one == entry else one for one in some]


def actions(subject: str) -> list[PlannedAction]:
    """The actions in the plan, in the order of the views that found them."""
    return [entry.action for entry in entries(subject) if entry.taken]


def not_looked_at(subject: str) -> list[str]:
    """The views that were not shown yet, without the plan."""
    found = _found(subject)
    return [view for view in found.views[:-1] if view not in found.seen]


def put_on_report(subject: str, plan: Plan | None) -> None:
    """Put a plan on the page Report, or take it away (None)."""
    plans: dict[str, Plan] = st.session_state.setdefault(_ON_REPORT, {})
    if plan is None:
        plans.pop(subject, None)
    else:
        plans[subject] = plan


def on_report() -> dict[str, Plan]:
    """The plans on the page Report, by the keys of their predictions."""
    plans: dict[str, Plan] = st.session_state.get(_ON_REPORT, {})
    return dict(plans)
