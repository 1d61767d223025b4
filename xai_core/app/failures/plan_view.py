"""The step *Plan*: the actions of all steps in one list, to export, to review and to put on the report."""

from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import streamlit as st

from xai_core.app.failures import plan_entries
from xai_core.app.shared import display, drawer, page_links, round_form
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.predictions import alt_text, subject
from xai_core.app.shared.round_form import RoundPictures
from xai_core.core import markdown
from xai_core.core.document import Figure
from xai_core.core.errors import XaiError
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.datasets import Dataset
from xai_core.explanation import rendering
from xai_core.failures.plan import LARGEST_FILE, SHOWN, Plan
from xai_core.models.explainable import ExplainableModel

SIDE = 240  # pixels of the longer side of a picture in a document
EMPTY = (
    "No step has found an action yet. Go through the steps above: each offers the actions that it has found. Or open a plan."
)
ALL_TAKEN_OUT = "All actions are taken out of the plan. Take in what should be done."
REPORT_HELP = "The page Report then holds this plan, below the cards of models and methods."


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """Every action found, those in the plan checked; below them what to do with the plan."""
    of = subject(model, dataset)
    _open(rows, dataset, model)
    left = plan_entries.not_looked_at(of)
    if left:
        st.caption(f"Not looked at yet, so that the plan has no actions of: {', '.join(left)}.")
    entries = plan_entries.entries(of)
    if not entries:
        st.info(EMPTY)
        return
    groups = [drawer.Group(entry.action.heading, entry.action.paths) for entry in entries]
    drawer.offer([group for group in groups if group.paths])
    for number, (entry, group) in enumerate(zip(entries, groups, strict=True)):
        _action(of, number, entry, group)
    plan = _plan(dataset, model, of)
    if not plan.actions:
        st.info(ALL_TAKEN_OUT)
        plan_entries.put_on_report(of, None)
        return
    st.markdown(
        f"**{counted(len(plan.actions), 'action')}** in the plan, for {counted(len(plan.paths), 'picture')}, each "
        "counted once."
    )
    _exports(plan, rows, dataset)
    with st.container(horizontal=True, vertical_alignment="center"):
        round_form.offer(RoundPictures(plan.paths, plan.title), "the plan", "Send to a review round")
        chosen = st.toggle("On the report", of in plan_entries.on_report(), key=f"on the report {of}", help=REPORT_HELP)
        page_links.link(page_links.REPORT, "Open the report", {}, icon=":material/description:", origin=page_links.FAILURES)
    plan_entries.put_on_report(of, plan if chosen else None)


def _open(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The control that opens a plan from a file, and what came of it."""
    of = subject(model, dataset)
    with st.expander("Open a plan", icon=":material/upload_file:"):
        st.caption(OPEN)
        st.file_uploader(
            "plan.json, of this page or of the command audit", type=["json"], max_upload_size=LARGEST_FILE // 2**20,
            key="plan file", on_change=_read, args=(rows, dataset, model),
        )  # fmt: skip
    said: Opened | None = st.session_state.get(_OPENED)
    if said is None or said.of != of:
        return
    (st.error if said.plan is None and said.wrong else st.warning if said.wrong else st.success)(markdown.escape(said.words))
    if said.plan is not None:
        st.button("Take its actions all the same", key="take other plan", on_click=_add, args=(said, rows, False))


OPEN = (
    "Its actions are added to those found here, ticked. An action that a step has found here, too, keeps the figures "
    "of this page."
)
_OPENED = "opened plan"  # in the session


class Opened(NamedTuple):
    """What came of a file: `words` say it; `wrong`, whether something is. `plan` is to be taken only where the visitor says
    so, as it is of other pictures or another model."""

    of: str
    file: str
    words: str
    wrong: bool = False
    plan: Plan | None = None


def _read(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """Read the file that was just uploaded, and add its plan if it is of these pictures and this model."""
    file = st.session_state["plan file"]
    if file is None:
        st.session_state.pop(_OPENED, None)
        return
    of = subject(model, dataset)
    try:
        plan = Plan.from_json(file.getvalue())
    except XaiError as error:
        st.session_state[_OPENED] = Opened(of, file.name, f"{file.name}: {error}", wrong=True)
        return
    differs = plan.differs_from(dataset.title, dataset.digest, model.title, model.fingerprint)
    opened = Opened(of, file.name, f"{file.name}: {differs} Nothing is taken yet.", wrong=True, plan=plan)
    if differs:
        st.session_state[_OPENED] = opened
    else:
        _add(opened, rows, True)


def _add(opened: Opened, rows: pd.DataFrame, same: bool) -> None:
    """Add the actions of a plan, with those of their pictures that are among the predictions."""
    plan = opened.plan
    assert plan is not None
    known = set(rows["path"])
    actions = [action.among(known) for action in plan.actions]
    kept = [now for now, was in zip(actions, plan.actions, strict=True) if now.paths or not was.paths]
    if not same:
        made = {"made for the dataset": plan.dataset, "made for the model": plan.model}
        kept = [replace(action, settings={**action.settings, **made}) for action in kept]
    count, here = plan_entries.add_opened(opened.of, replace(plan, actions=tuple(kept)), opened.file, same)
    words = f"{opened.file}: {counted(count, 'action')} opened, {here:,} of which were found here already."
    missing = len(set(plan.paths) - known)
    if missing:
        words += (
            f" {missing:,} of its {counted(len(plan.paths), 'picture')} are not among these predictions, and are left out."
        )
    if len(kept) < len(plan.actions):
        words += f" {len(plan.actions) - len(kept):,} of its {counted(len(plan.actions), 'action')} had no other pictures."
    st.session_state[_OPENED] = Opened(opened.of, opened.file, words)


def _action(of: str, number: int, entry: plan_entries.Entry, group: drawer.Group) -> None:
    action = entry.action
    with st.container(border=True):
        taken = st.checkbox(
            f"**{action.kind.capitalize()}**: {markdown.escape(action.title)}", entry.taken,
            key=f"taken {of} {entry.view} {entry.name} {number}", help=plan_entries.IN_PLAN,
        )  # fmt: skip
        if taken != entry.taken:
            plan_entries.take(of, entry, taken)
        st.markdown(f"{markdown.escape(action.reason)}")
        st.markdown(f"Estimate: {markdown.escape(action.estimate) or 'not measured.'}")
        where = f"Found by the step {entry.view}" if entry.view else "Found by a step that is not named"
        where += f", opened from {entry.file}" if entry.file else ""
        settings = ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in action.settings.items()
        )
        st.caption(markdown.escape(f"{where} ({settings})." if settings else f"{where}."))
        if group.paths:
            with st.container(horizontal=True):
                st.button(
                    f"Open {counted(len(group.paths), 'picture')}", key=f"open action {number}",
                    icon=":material/photo_library:", on_click=drawer.open_group, args=(group,),
                )  # fmt: skip
                st.download_button(
                    "List as CSV", lambda: csv_bytes(action.table), f"action {number + 1}.csv", "text/csv",
                    key=f"list of action {number}", on_click="ignore", icon=":material/download:",
                )  # fmt: skip


def _plan(dataset: Dataset, model: ExplainableModel, of: str) -> Plan:
    actions = tuple(replace(entry.action, step=entry.view) for entry in plan_entries.entries(of) if entry.taken)
    return Plan(
        f"What to do about the errors of {model.title} on {dataset.title}", dataset.title, dataset.digest, model.title,
        model.fingerprint, actions, {"pictures": len(dataset.samples)},
        tuple(plan_entries.not_looked_at(of)),
    )  # fmt: skip


def _exports(plan: Plan, rows: pd.DataFrame, dataset: Dataset) -> None:
    """The plan as files. Pictures are read when a button is pressed."""

    def figures() -> dict[str, Figure]:
        return _figures(plan, rows, dataset)

    display.downloads(
        {
            "HTML": ("plan.html", "text/html", lambda: plan.to_html(figures())),
            "PDF": ("plan.pdf", "application/pdf", lambda: plan.to_pdf(figures())),
            "Markdown": ("plan.md", "text/markdown", plan.to_markdown),
            "ZIP with all lists": ("plan.zip", "application/zip", lambda: plan.to_zip(figures())),
            "JSON": ("plan.json", "application/json", plan.to_json),
        }
    )


def _figures(plan: Plan, rows: pd.DataFrame, dataset: Dataset) -> dict[str, Figure]:
    """Small versions of the pictures that the document shows; those that cannot be read are left out."""
    known = {row["path"]: row for row in rows[["path", "true", "predicted"]].to_dict("records")}
    figures = {}
    for path in dict.fromkeys(path for action in plan.actions for path in action.paths[:SHOWN]):
        try:
            picture = dataset.open(path)
        except (XaiError, OSError):
            continue
        picture.thumbnail((SIDE, SIDE))
        figures[path] = Figure(rendering.encoded(picture, "JPEG"), alt_text(known[path]))
    return figures
