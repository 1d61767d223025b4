"""What a visitor collects for the page Report: the buttons that add a chart, table, map or sentence, and where it is held.

It is held for each visitor, so that a reload loses nothing. A part is made when its button is pressed, and not before.
Imports no torch: every page shows how many parts there are.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import cachetools
import pandas as pd
import streamlit as st
from PIL import Image
from streamlit.runtime.scriptrunner import get_script_run_ctx

from xai_core.analysis.collected_report import (
    LARGEST_CHART,
    LARGEST_PICTURE,
    LARGEST_REPORT,
    LONGEST_NAME,
    MOST_COLUMNS,
    MOST_ROWS,
    Report,
    ReportItem,
)
from xai_core.app.shared import jobs, page_links
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown
from xai_core.core.errors import BadRequest, XaiError

if TYPE_CHECKING:
    from xai_core.app.charts.common import AnyChart
    from xai_core.explanation.rendering import Scale
    from xai_core.explanation.result import Explanation

MOST_BYTES = 4 * LARGEST_REPORT  # of all visitors' reports; those of visitors who have not come for long leave first
LONGEST_LABEL = 60  # letters of what a button is said to add
_SAID = "said of the report"  # in the session: what came of the last press, for a callback cannot show it
KEY = "to report"  # how the keys of the buttons begin
Picture = Image.Image | bytes  # drawn, or the bytes of a PNG, JPEG or WebP file


@dataclass
class _Visitors:
    reports: cachetools.LRUCache[str, Report] = field(
        default_factory=lambda: cachetools.LRUCache(MOST_BYTES, lambda report: report.nbytes)
    )
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner=False)
def _visitors() -> _Visitors:
    return _Visitors()


def collected() -> Report:
    """This visitor's report."""
    visitors, visitor = _visitors(), jobs.visitor()
    with visitors.lock:
        return visitors.reports.get(visitor, Report())


def keep(report: Report) -> None:
    """Hold a report in place of this visitor's."""
    visitors, visitor = _visitors(), jobs.visitor()
    with visitors.lock:
        visitors.reports[visitor] = report


def indicator() -> None:
    """In the sidebar of every page: how many parts the report has, as a link to it."""
    parts = len(collected().items)
    if parts and page_links.shown() != page_links.REPORT:
        words = f"Report: {parts} {'part' if parts == 1 else 'parts'}"
        st.sidebar.page_link(page_links.FILES[page_links.REPORT], label=words, icon=":material/description:")


def add_button(item: Callable[[], ReportItem], what: str, key: str) -> None:
    """A button that adds a part to the report; `what` it adds is its name for screen readers.

    `item` makes the part without its settings and link, which are those of the page when the button is pressed.
    Pressing it does not run the page again. A key that is used already gets a number: what is shown while work goes on is
    drawn again when it has ended.
    """
    context = get_script_run_ctx()
    assert context is not None  # a page is running
    keys = (f"{KEY} {key}{f' {number}' if number else ''}" for number in count())
    _button(item, what, next(key for key in keys if key not in context.shared.widget_user_keys_this_run))


@st.fragment
def _button(item: Callable[[], ReportItem], what: str, key: str) -> None:
    st.button(
        f"Add to report **{markdown.escape(what)}**", key=key, type="tertiary", icon=":material/note_add:",
        on_click=_add, args=(item,),
    )  # fmt: skip
    message = st.session_state.pop(_SAID, None)
    if message:
        st.toast(message[0], icon=message[1])


def _add(make: Callable[[], ReportItem]) -> None:
    try:
        item = make()
        values = _values_of_page()
        said = {name: _in_words(value) for name, value in values.items()}
        models, methods = _named(values)
        whole = replace(
            item, settings={**said, **item.settings}, link=_link(), models=tuple(dict.fromkeys((*item.models, *models))),
            methods=tuple(dict.fromkeys((*item.methods, *methods))),
        )  # fmt: skip
        report = collected()
        report = report.with_items([*report.items, whole])
    except XaiError as error:
        st.session_state[_SAID] = error_text(error), ":material/error:"
        return
    keep(report)
    parts = len(report.items)
    words = f"Added to the report, which has {parts} {'part' if parts == 1 else 'parts'} now."
    st.session_state[_SAID] = words, ":material/check:"


def _link() -> str:
    place = page_links.here(page_links.shown())
    link = place.page.replace(" ", "_") + (f"?{place.settings}" if place.settings else "")
    return link if len(link) <= LONGEST_NAME else place.page.replace(" ", "_")


def _values_of_page() -> dict[str, Any]:
    """The values of all controls of this page that can be in its address, by their keys, and what else is in it."""
    context = get_script_run_ctx()
    assert context is not None
    with context.session_state.query_params() as bound:
        values = {str(name): value for name, value in st.session_state.items() if bound.is_bound(str(name))}
    address = {name: value for name, value in st.query_params.items() if name != page_links.BACK}
    return {"page": page_links.shown(), **values, **{name: value for name, value in address.items() if name not in values}}


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        words = "yes" if value else "no"
    elif isinstance(value, float):
        words = f"{value:g}"
    elif isinstance(value, list | tuple | set):
        words = ", ".join(map(_in_words, value))
    else:
        words = "none" if value is None else str(value)
    return words[:LONGEST_NAME]


def _named(values: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The ids of the models and methods among the values of a page's controls."""
    from xai_core.attribution.catalog import METHODS
    from xai_core.models.zoo.catalog import cards

    models = cards()
    every = [one for value in values.values() for one in (value if isinstance(value, list | tuple) else [value])]
    ids = [str(one).removeprefix("class:") for one in every]
    return [id for id in ids if id in models], [id for id in ids if id in METHODS]


# --- parts -----------------------------------------------------------------------------------------------------------


def chart_item(chart: "AnyChart", caption: str) -> ReportItem:
    """A chart in the colours of a light page, with its specification, unless that is longer than a report may hold."""
    from xai_core.app.charts import common

    picture = common.chart_bytes(chart, "png")
    described = json.dumps(chart.to_dict(validate=False), default=str)
    return ReportItem("figure", caption, picture=picture, chart=described if len(described) <= LARGEST_CHART else "")


def table_item(rows: pd.DataFrame, caption: str, columns: Mapping[str, Any]) -> ReportItem:
    """The first MOST_ROWS rows of a table, with its index where that has a name or is made of texts. `columns` are the
    settings of its columns on the page: their titles, and which of them are in percent."""
    if rows.index.name or not isinstance(rows.index, pd.RangeIndex):
        rows = rows.reset_index()
    shown = rows.iloc[:MOST_ROWS, :MOST_COLUMNS]
    more = f" The first {len(shown):,} of {len(rows):,} rows." if len(shown) < len(rows) else ""
    set_up = [columns.get(str(name)) or {} for name in shown.columns]
    percent = [(one.get("type_config") or {}).get("format") == "percent" for one in set_up]
    head = tuple(str(one.get("label") or name) for one, name in zip(set_up, shown.columns, strict=True))
    cells = tuple(tuple(map(_cell, line, percent)) for line in shown.itertuples(index=False, name=None))
    return ReportItem("table", f"{caption.rstrip('.')}.{more}" if more else caption, head=head, rows=cells)


def _cell(value: Any, percent: bool = False) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.1%}" if percent else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))[:LONGEST_NAME]
    return "–" if value is None or value is pd.NA or value is pd.NaT else str(value)[:LONGEST_NAME]


def map_item(
    explanation: "Explanation", draw: Callable[[], Image.Image], scale: "Scale | None", caption: str = ""
) -> ReportItem:
    """A map as it is drawn, by default with the caption that says everything that it depends on."""
    from xai_core.explanation import rendering

    words = caption or rendering.caption(explanation, scale)
    return ReportItem("map", words, picture=_file(draw()), methods=(explanation.method,))


def picture_item(picture: Picture | Callable[[], Picture], caption: str) -> ReportItem:
    """Any picture, drawn or in a file; a function is called for it. Raises BadRequest where its file is too large."""
    content = _file(picture() if callable(picture) else picture)
    if len(content) > LARGEST_PICTURE:
        raise BadRequest(f"This picture is larger than the {LARGEST_PICTURE // 2**20} MB that one of a report may have.")
    return ReportItem("figure", caption, picture=content)


def _file(picture: Picture) -> bytes:
    """A PNG or JPEG file as it is; anything else as a JPEG. What is transparent on a page is white in a document."""
    from xai_core.data.image_io import open_picture
    from xai_core.explanation import rendering

    if isinstance(picture, bytes):
        if picture.startswith((b"\x89PNG", b"\xff\xd8")):
            return picture
        picture = open_picture(picture)
    drawn = picture.convert("RGBA")
    whole = Image.new("RGB", drawn.size, "white")
    whole.paste(drawn, mask=drawn)
    return rendering.encoded(whole)


def short(words: str) -> str:
    """The beginning of a description, as the name of a button."""
    head = words.replace(";", ":").replace(". ", ":").partition(":")[0].strip(" .")
    return head if len(head) <= LONGEST_LABEL else f"{head[: LONGEST_LABEL - 1]}…"


def add_chart(chart: "AnyChart", caption: str, key: str | None = None) -> None:
    """The button that adds a chart."""
    add_button(partial(chart_item, chart, caption), short(caption), key or caption)


def add_table(rows: pd.DataFrame, caption: str, key: str | None = None, columns: Mapping[str, Any] | None = None) -> None:
    """The button that adds a table."""
    add_button(partial(table_item, rows, caption, columns or {}), short(caption), key or caption)


def add_map(
    explanation: "Explanation",
    draw: Callable[[], Image.Image],
    scale: "Scale | None",
    what: str,
    key: str,
    caption: str = "",
) -> None:
    """The button that adds a map."""
    add_button(partial(map_item, explanation, draw, scale, caption), short(what), key)


def add_picture(picture: Picture | Callable[[], Picture], caption: str, what: str = "", key: str | None = None) -> None:
    """The button that adds any picture; `what` it is said to add is by default the beginning of its caption. Give a function
    where the picture of the report is made only when the button is pressed."""
    add_button(partial(picture_item, picture, caption), short(what or caption), key or f"picture {what} {caption}")


def add_text(words: str) -> None:
    """The button that adds a sentence of the page: a verdict, a finding, a note."""
    add_button(partial(ReportItem, "text", words), f"the words {short(words)}", f"words {words}")
