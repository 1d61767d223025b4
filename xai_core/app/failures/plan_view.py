"""The step *Plan*: the actions of all steps in one list, to export, to review and to put on the report."""

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
from xai_core.failures.plan import SHOWN, Plan
from xai_core.models.explainable import ExplainableModel

SIDE = 240  # pixels of the longer side of a picture in a document
EMPTY = "No step has found an action yet. Go through the steps above: each offers the actions that it has found."
ALL_TAKEN_OUT = "All actions are taken out of the plan. Take in what should be done."
REPORT_HELP = "The page Report then holds this plan, below the cards of models and methods."


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """Every action found, those in the plan checked; below them what to do with the plan."""
    of = subject(model, dataset)
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
        where = f"Found by the step {entry.view}"
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
    return Plan(
        f"What to do about the errors of {model.title} on {dataset.title}", dataset.title, dataset.digest, model.title,
        model.fingerprint, tuple(plan_entries.actions(of)), {"pictures": len(dataset.samples)},
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
