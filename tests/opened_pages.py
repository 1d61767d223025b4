"""Pages opened in Streamlit's own test harness, and the words on them."""

import functools
import json
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs

import pandas as pd
import pyarrow as pa
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from streamlit.components.v2 import manifest_scanner
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.proto.Common_pb2 import StringTriggerValue
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.state.common import user_key_from_element_id
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button, Node

from xai_core.app.shared import cache, jobs, progress
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.page_links import FILES
from xai_core.data import corrupted_samples

cache.SHIPPED = Path("none")  # tests begin with nothing computed; `test_first_views.py` has the shipped results
# For each page that it opens, the harness reads the metadata of every installed distribution (a quarter of a second).
manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
# Many pages show the 80 changed samples, whose pictures take six seconds to make.
corrupted_samples.changed_picture = functools.cache(corrupted_samples.changed_picture)

ROOT = Path(__file__).parents[1]


def opened(page: str | None = None, *, asks: bool = False, **query: str | list[str]) -> AppTest:
    """A page as a link opens it. What it computes is computed at once, however slow this machine is, unless it `asks`."""
    app = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=120)
    app.run()
    if page:
        app.switch_page(page)
        for name, value in query.items():
            app.query_params[name] = value
        limit = progress.AT_ONCE_SECONDS
        with patch.object(progress, "AT_ONCE_SECONDS", limit if asks or not query else 1e6):
            app.run()
    assert not app.exception, app.exception
    return app


def followed(app: AppTest, label: str) -> AppTest:
    """The page that the link with this label opens; the harness does not follow links by itself."""
    link = next(link.proto for link in app.get("page_link") if link.proto.label == label)
    for name in [*app.query_params]:
        del app.query_params[name]
    for name, values in parse_qs(link.query_string, keep_blank_values=True).items():
        app.query_params[name] = values
    path = next(file for file in FILES.values() if Path(file).stem.lstrip("0123456789_") == (link.page or "Start"))
    app.switch_page(path)
    app.run()
    assert not app.exception, app.exception
    return app


def press_row(app: AppTest, table: str, row: int) -> AppTest:
    """The page after a press of the button in a row of the table with this key; the harness cannot press it by itself."""
    buttons = [id for element in app.dataframe for id in element.proto.button_click_widgets.values()]
    (button,) = (id for id in buttons if user_key_from_element_id(id) == f"row of {table}")
    click = StringTriggerValue(data=json.dumps({"row": row, "label": "Open"}))
    return with_state(app, WidgetState(id=button, string_trigger_value=click))


def pick_mark(app: AppTest, chart: str, selection: str, **fields: object) -> AppTest:
    """The page after a click on the mark with these fields in the chart whose key begins with `chart`."""
    id = next(element.proto.id for element in app.get("vega_lite_chart") if (element.key or "").startswith(chart))
    return with_state(app, WidgetState(id=id, string_value=json.dumps({"selection": {selection: [fields]}})))


def button(app: AppTest, key: str) -> Button:
    """The button with this key."""
    return next(one for one in app.button if one.key == key)


def send_event(app: AppTest, component: str, event: str, value: object) -> AppTest:
    """The page after an event of a component of its own, as its script in the browser sends it."""
    (id,) = (one.proto.id for one in app.get("bidi_component") if one.proto.component_name.endswith(component))
    return with_state(
        app,
        WidgetState(id=_make_trigger_id(id, "events"), json_trigger_value=json.dumps([{"event": event, "value": value}])),
    )


def panels(app: AppTest) -> list[dict[str, Any]]:
    """The panels of all pictures and maps that are zoomed together, in the order of the page."""
    return [panel for one in _viewers(app) for panel in json.loads(one.json)["panels"]]


def draw_on(app: AppTest, key: str, **drawn: object) -> AppTest:
    """The page after something is drawn on the viewer with this key: `box` or `painted`."""
    (proto,) = (one for one in _viewers(app) if user_key_from_element_id(one.id) == key)
    content = json.loads(proto.json)
    sent = {"picture": content["id"], "number": content["number"] + 1, "box": content["box"], "painted": content["painted"]}
    return with_state(app, WidgetState(id=proto.id, json_value=json.dumps({"drawn": sent | drawn})))


def _viewers(app: AppTest) -> list[Any]:
    return [one.proto for one in app.get("bidi_component") if one.proto.component_name.endswith("picture_viewer")]


def with_state(app: AppTest, state: WidgetState) -> AppTest:
    """The page after a change of a widget that the harness cannot change by itself."""
    states = app._tree.get_widget_states()
    states.widgets.append(state)
    app._run(states)
    assert not app.exception, app.exception
    return app


@contextmanager
def cancelled_after_the_first() -> Iterator[None]:
    """Jobs are cancelled when the first piece of their work is done, as by their button."""
    real = JobHandle.report

    def report(handle: JobHandle, done: int, total: int, words: str) -> None:
        real(handle, done, total, words)
        if done == 1:
            raise CancelledError

    with patch.object(JobHandle, "report", report):
        yield


def finished(app: AppTest) -> AppTest:
    """The page when the jobs that it has started have ended."""
    jobs.wait()
    app.run()
    assert not app.exception, app.exception
    return app


def chart_tables(app: AppTest, columns: set[str]) -> list[pd.DataFrame]:
    """The tables with these columns that the page's charts draw, in the order of the page."""
    streams = [dataset.data.data for chart in app.get("vega_lite_chart") for dataset in chart.proto.datasets]
    tables = [pa.ipc.open_stream(stream).read_pandas() for stream in streams]
    return [table for table in tables if columns <= set(table)]


def chart_rows(app: AppTest, columns: set[str]) -> pd.DataFrame:
    """The first of `chart_tables`."""
    tables = chart_tables(app, columns)
    assert tables, f"No chart has the columns {columns}."
    return tables[0]


def text(app: AppTest) -> str:
    return " ".join(element.value for kind in ("markdown", "caption", "title") for element in app.get(kind))


# Fields of Streamlit's messages that it never reads as Markdown; all others are taken for Markdown.
PLAIN = {"id", "query_param_key", "query_string", "alt", "spec", "url", "page", "page_script_hash", "form_id", "key", "name"}
PLAIN_OF = {  # of single kinds of elements
    ("Selectbox", "options"), ("Selectbox", "raw_value"), ("Selectbox", "set_value"), ("MultiSelect", "options"),
    ("MultiSelect", "raw_values"), ("MultiSelect", "set_values"), ("MultiSelect", "default"), ("TextInput", "default"),
    ("TextInput", "value"), ("TextArea", "default"), ("TextArea", "value"), ("Text", "body"), ("Html", "body"),
    ("Code", "code_text"), ("Dataframe", "columns"), ("BidiComponent", "json"),
}  # fmt: skip


def markdown_sources(app: AppTest) -> list[tuple[str, str, str]]:
    """(element, field, text) of everything on the page that Streamlit may read as Markdown: texts, labels, tooltips, ..."""
    return [
        source
        for node in _nodes(app._tree)
        if isinstance(getattr(node, "proto", None), Message)
        for source in _strings(node.proto)
    ]


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in getattr(node, "children", {}).values():
        yield from _nodes(child)


def _strings(message: Message) -> Iterator[tuple[str, str, str]]:
    kind = message.DESCRIPTOR.name
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in values:
                yield from _strings(part) if isinstance(part, Message) else ()
        elif field.type == FieldDescriptor.TYPE_STRING and field.name not in PLAIN and (kind, field.name) not in PLAIN_OF:
            yield from ((kind, field.name, text) for text in values)
