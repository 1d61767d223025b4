"""The parts of the report that were collected on the pages: their order, captions, own texts, and the file of them all."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs

import pandas as pd
import streamlit as st

from xai_core.analysis.collected_report import LARGEST_REPORT, LONGEST_TEXT, Report, ReportItem
from xai_core.app.shared import display, page_links, report_items, session
from xai_core.app.shared.error_text import error_text
from xai_core.core.errors import BadRequest, XaiError

PREVIEW = 300  # pixels: width of a picture
EMPTY = (
    "Nothing was added yet. Below each chart, table, map and finding of the other pages is the button *Add to report*. "
    "Until then the document holds the cards below."
)
OPEN = "The file report_parts.zip of this page. Its parts are added below those that are here."
CHANGED = "The report was changed in another window, so this was not done. Here is the report as it is now."
_REMOVED, _REVISION = "removed part", "revision of the report"  # in the session


def show() -> Report:
    """The parts with their controls; returns the report."""
    report = report_items.collected()
    problem = session.complaint()
    if problem:
        st.warning(error_text(problem))
    if not report.items:
        st.info(EMPTY)
    else:
        st.text_input("Title of the report", report.title, max_chars=200, key=_key("title"), on_change=_retitle)
    _undo()
    numbers = {"figure": 0, "map": 0, "table": 0, "text": 0}
    for place, item in enumerate(report.items):
        numbers["figure" if item.kind == "map" else item.kind] += 1
        words = {
            "text": f"Text {numbers['text']}", "table": f"Table {numbers['table']}",
        }.get(item.kind, f"Figure {numbers['figure']}")  # fmt: skip
        with st.container(border=True, key=f"part {place}"):
            _part(report, place, item, words)
    with st.container(horizontal=True, vertical_alignment="center"):
        if report.items:
            display.downloads({"Parts of the report (ZIP)": ("report_parts.zip", "application/zip", report.to_zip)})
            st.button("Remove all", key="remove all parts", icon=":material/delete_sweep:", on_click=_remove_all)
    st.file_uploader(
        "Open parts that were exported", type=["zip"], max_upload_size=LARGEST_REPORT // 2**20, key=_key("parts file"),
        on_change=_open, help=OPEN,
    )  # fmt: skip
    return report


def _part(report: Report, place: int, item: ReportItem, words: str) -> None:
    key = _key(f"caption {place}")
    with st.container(horizontal=True, vertical_alignment="top"):
        if item.picture:
            st.image(item.picture, width=PREVIEW, alt=f"{words}: {report_items.short(item.caption)}")
        with st.container(width="stretch"):
            own = item.kind == "text"
            st.text_area(
                words if own else f"Caption of {words.lower()}", item.caption, max_chars=LONGEST_TEXT, key=key,
                height=100, placeholder="A sentence of your own" if own else "", on_change=_edit, args=(place, item, key),
            )  # fmt: skip
            if item.settings:
                with st.expander("Settings"):
                    st.text("\n".join(f"{name}: {value}" for name, value in item.settings.items()))
    if item.head:
        st.dataframe(
            pd.DataFrame(item.rows, columns=_distinct(item.head)), hide_index=True, height=200, key=_key(f"rows {place}"),
            alt=f"{words}: {item.caption}",
        )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        last = len(report.items) - 1
        for label, icon, off, change in (
            ("Up", "arrow_upward", place == 0, lambda items: _moved(items, place, -1)),
            ("Down", "arrow_downward", place == last, lambda items: _moved(items, place, 1)),
            ("Text below", "notes", False, lambda items: (*items[: place + 1], ReportItem("text", ""), *items[place + 1 :])),
            ("Remove", "delete", False, lambda items: (*items[:place], *items[place + 1 :])),
        ):
            st.button(
                f"{label} **{words}**", key=f"{report_items.KEY} {label} {place}", icon=f":material/{icon}:",
                type="tertiary", disabled=off, on_click=_change, args=(place, item, change, label == "Remove"),
            )  # fmt: skip
        title, _, query = item.link.partition("?")
        if title.replace("_", " ") in page_links.FILES:
            page_links.link(
                title.replace("_", " "), "Open where it was made", parse_qs(query, keep_blank_values=True),
                icon=":material/open_in_new:", origin=page_links.REPORT,
            )  # fmt: skip


Items = tuple[ReportItem, ...]


def _moved(items: Items, place: int, by: int) -> Items:
    order = [*items]
    order.insert(place + by, order.pop(place))
    return tuple(order)


def _distinct(head: tuple[str, ...]) -> list[str]:
    """Names of columns; those that are used twice get a number."""
    return [name if head.index(name) == place else f"{name} ({place + 1})" for place, name in enumerate(head)]


# --- callbacks -------------------------------------------------------------------------------------------------------


def _key(name: str) -> str:
    """The key of a control: another one when the order of the parts has changed, so that it shows the part that is there."""
    return f"{name} {st.session_state.get(_REVISION, 0)}"


def _keep(items: Items, title: str | None = None) -> bool:
    """Hold these parts; their controls begin anew. Where they are too many nothing is changed, and the page says why."""
    try:
        report_items.keep(report_items.collected().with_items(items, title))
    except BadRequest as error:
        session.complain(str(error))
        return False
    st.session_state[_REVISION] = st.session_state.get(_REVISION, 0) + 1
    return True


def _is_there(place: int, item: ReportItem) -> bool:
    """Whether a part is still where it was shown; another window of this visitor may have moved it."""
    items = report_items.collected().items
    if place < len(items) and items[place] == item:
        return True
    session.complain(CHANGED)
    _keep(items)
    return False


def _change(place: int, item: ReportItem, change: Callable[[Items], Items], removes: bool) -> None:
    if _is_there(place, item) and _keep(change(report_items.collected().items)):
        st.session_state[_REMOVED] = (place, (item,)) if removes else None


def _edit(place: int, item: ReportItem, key: str) -> None:
    words = st.session_state[key]
    if _is_there(place, item):
        report = report_items.collected()
        report_items.keep(
            report.with_items([*report.items[:place], replace(item, caption=words), *report.items[place + 1 :]])
        )


def _retitle() -> None:
    report = report_items.collected()
    report_items.keep(replace(report, title=st.session_state[_key("title")]))


def _remove_all() -> None:
    st.session_state[_REMOVED] = 0, report_items.collected().items
    _keep(())


def _undo() -> None:
    removed = st.session_state.get(_REMOVED)
    if removed:
        place, items = removed
        st.button(
            f"Undo: put back what was removed ({len(items)})", key="undo removal", icon=":material/undo:",
            on_click=_put_back, args=(place, items),
        )  # fmt: skip


def _put_back(place: int, removed: Items) -> None:
    items = report_items.collected().items
    if _keep((*items[:place], *removed, *items[place:])):
        st.session_state[_REMOVED] = None


def _open() -> None:
    file = st.session_state[_key("parts file")]
    if file is None:
        return
    try:
        opened = Report.from_zip(file.getvalue())
    except XaiError as error:
        session.complain(f"{file.name}: {error}")
        return
    report = report_items.collected()
    _keep((*report.items, *opened.items), report.title if report.items else opened.title)
