"""The actions that the steps of the page Failure analysis have found, and which of them are in the plan.

They are held for each visitor, and for each pair of a model and a dataset, so that a reload of the page loses nothing. An
action is known again by its `about` and not by its title: what the visitor has taken out stays out when its figures change.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cachetools
import streamlit as st

from xai_core.app.shared import jobs
from xai_core.core import markdown
from xai_core.failures.plan import Plan, PlannedAction, identities

MOST_VISITORS = 200  # whose plans are held; those who have not come for the longest time leave first
IN_PLAN = "Takes this action into the plan, or out of it."


class Entry(NamedTuple):
    """An action, the view that found it, its name among those of the view, and whether it is in the plan. `file` is that of
    the plan that it was opened from; "" where it was found here."""

    view: str
    name: str
    action: PlannedAction
    taken: bool
    file: str = ""


@dataclass
class _Findings:
    """What was found for one model and dataset: entries by (view, group), those of opened plans by (view, name), and the
    views of the page and those seen."""

    entries: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    opened: dict[tuple[str, str], Entry] = field(default_factory=dict)
    views: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    on_report: Plan | None = None


@dataclass
class _Visitors:
    """What each visitor has found, by subject."""

    findings: cachetools.LRUCache[str, dict[str, _Findings]] = field(
        default_factory=lambda: cachetools.LRUCache(MOST_VISITORS)
    )
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner=False)
def _visitors() -> _Visitors:
    return _Visitors()


def _own() -> dict[str, _Findings]:
    """What this visitor has found, by subject."""
    visitors, visitor = _visitors(), jobs.visitor()
    with visitors.lock:
        own: dict[str, _Findings] = visitors.findings.setdefault(visitor, {})
    return own


def _findings(subject: str) -> _Findings:
    return _own().setdefault(subject, _Findings())


def begin(subject: str, views: Sequence[str], view: str) -> None:
    """Note that `view` is shown, of all `views` in their order; the last one is the plan."""
    findings = _findings(subject)
    findings.views = list(views)
    findings.seen.add(view)


def offer(subject: str, view: str, actions: Sequence[PlannedAction], group: str = "") -> None:
    """The actions that a view has found, each with a checkbox that takes it into the plan or out of it. At first all are in
    it.

    `subject` is the key of the predictions that they are about, so that the plan of other pictures is not mixed with it.
    `group` is the group of pictures that the view is about, if it is about one: actions of other groups stay in the plan.
    """
    findings = _findings(subject)
    known = [*(entry for entry in findings.opened.values() if entry.view == view), *findings.entries.get((view, group), [])]
    before = {entry.name: entry.taken for entry in known}
    entries = []
    for name, action in zip(identities(actions), actions, strict=True):
        with st.container(border=True):
            taken = st.checkbox(
                f"**{action.kind.capitalize()}**: {markdown.escape(action.title)}", before.get(name, True),
                key=f"in the plan {subject} {view} {group} {name}", help=IN_PLAN,
            )  # fmt: skip
            st.markdown(markdown.escape(f"{action.reason} {action.estimate}".strip()))
        entries.append(Entry(view, name, action, taken))
    findings.entries[view, group] = entries


def add_opened(subject: str, plan: Plan, file: str, looked_at: bool) -> tuple[int, int]:
    """Add the actions of a plan that was opened from a file, all of them taken; returns how many they are, and how many of
    them the steps have found here already: those keep the figures that were found here. `looked_at`: whether the steps that
    the plan has taken count as looked at."""
    findings = _findings(subject)
    by_step: dict[str, list[PlannedAction]] = {}
    for action in plan.actions:
        by_step.setdefault(action.step, []).append(action)
    opened = {
        (step, name): Entry(step, name, action, True, file)
        for step, some in by_step.items()
        for name, action in zip(identities(some), some, strict=True)
    }
    here = {(entry.view, entry.name) for some in findings.entries.values() for entry in some}
    for some in findings.entries.values():
        some[:] = [entry._replace(taken=entry.taken or (entry.view, entry.name) in opened) for entry in some]
    findings.opened |= opened
    if looked_at:
        findings.seen |= set(findings.views) - set(plan.not_looked_at)
    for key in [key for key in st.session_state if str(key).startswith((f"taken {subject} ", f"in the plan {subject} "))]:
        del st.session_state[key]  # boxes begin anew with what is taken now
    return len(opened), len(here & opened.keys())


def entries(subject: str) -> list[Entry]:
    """The actions found or opened, in the plan or not, in the order of the views on the page. What was found here stands for
    the same action of an opened plan."""
    findings = _findings(subject)
    order = {view: place for place, view in enumerate(findings.views)}
    every = [entry for some in findings.entries.values() for entry in some]
    here = {(entry.view, entry.name) for entry in every}
    every += [entry for key, entry in findings.opened.items() if key not in here]
    return sorted(every, key=lambda entry: order.get(entry.view, len(order)))


def take(subject: str, entry: Entry, taken: bool) -> None:
    """Take an action into the plan or out of it."""
    findings = _findings(subject)
    for some in findings.entries.values():
        some[:] = [known._replace(taken=taken) if known == entry else known for known in some]
    for key, known in findings.opened.items():
        if known == entry:
            findings.opened[key] = known._replace(taken=taken)


def not_looked_at(subject: str) -> list[str]:
    """The views that were not shown yet, without the plan."""
    findings = _findings(subject)
    return [view for view in findings.views[:-1] if view not in findings.seen]


def put_on_report(subject: str, plan: Plan | None) -> None:
    """Put a plan on the page Report, or take it away (None)."""
    _findings(subject).on_report = plan


def on_report() -> dict[str, Plan]:
    """The plans on the page Report, by the keys of their predictions."""
    return {subject: findings.on_report for subject, findings in _own().items() if findings.on_report is not None}
