"""Charts, tables, sentences and maps of the pages go into the report, which is kept, ordered, exported and opened again."""

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from opened_pages import button, opened, text
from PIL import Image
from streamlit.testing.v1 import AppTest

from xai_core.analysis.collected_report import Report, ReportItem
from xai_core.app.shared import report_items
from xai_core.core.errors import BadRequest
from xai_core.data.image_io import open_picture
from xai_core.explanation import rendering

PAGE = "pages/10_Report.py"


def added(app: AppTest, begins: str) -> AppTest:
    """The page after a press of the button whose key begins so."""
    key = next(one.key for one in app.button if (one.key or "").startswith(f"to report {begins}"))
    button(app, key).click().run()
    assert not app.exception, app.exception
    return app


def other_page(app: AppTest, page: str, **query: str) -> AppTest:
    """Another page in the same session."""
    for name in [*app.query_params]:
        del app.query_params[name]
    for name, value in query.items():
        app.query_params[name] = value
    app.switch_page(page)
    app.run()
    assert not app.exception, app.exception
    return app


@pytest.fixture
def held(monkeypatch):
    """The report of the only visitor, whichever session asks; empty at first."""
    reports = [Report()]
    monkeypatch.setattr(report_items, "collected", lambda: reports[-1])
    monkeypatch.setattr(report_items, "keep", reports.append)
    return reports


def test_parts_of_three_pages_with_all_their_settings(held):
    app = opened("pages/1_Single_image.py", method="Grad-CAM", opacity="0.55")
    assert "Report:" not in str([link.proto.label for link in app.get("page_link")])
    added(added(added(app, "bars"), "map"), "words")
    assert app.toast[0].value == "Added to the report, which has 3 parts now."
    bars, heat, sentence = held[-1].items
    assert bars.kind == "figure" and bars.picture.startswith(b"\x89PNG") and "vega" in bars.chart
    assert bars.settings["opacity"] == "0.55" and bars.settings["model"] == "efficientnet_lite0", "chosen and default ones"
    assert bars.link.startswith("Single_image?") and "opacity=0.55" in bars.link
    assert heat.kind == "map" and "Method: Grad-CAM" in heat.caption and heat.picture.startswith(b"\xff\xd8")
    assert sentence.kind == "text" and sentence.caption in text(app).replace("\\", "")

    other_page(app, "pages/2_Method_comparison.py", methods=["Grad-CAM", "HiResCAM"])
    assert "Report: 3 parts" in [link.proto.label for link in app.get("page_link")]
    added(app, "Rank correlation")
    other_page(app, "pages/8_Training_evolution.py")
    added(app, "class means")
    matrix, table = held[-1].items[3:]
    assert matrix.methods == ("grad_cam", "hires_cam") and matrix.models == ("efficientnet_lite0",)
    assert table.kind == "table" and table.rows[0][table.head.index("frequency")].endswith("%"), "as the page shows it"
    assert table.link.startswith("Training_evolution")

    other_page(app, PAGE)
    assert len(app.get("download_button")) == 5 and len(app.text_area) == 5
    assert [box.key for box in app.multiselect] == ["models", "methods"] and not app.toggle(key="whole").value
    assert app.multiselect(key="methods").value == ["grad_cam", "hires_cam"], "those that the parts are about"
    again = Report.from_zip(held[-1].to_zip())
    assert again == held[-1]


PARTS = (
    ReportItem("text", "First"),
    ReportItem("text", "Second"),
    ReportItem("table", "Third", head=("a", "a"), rows=(("1", "2"),)),
)


def captions(report: Report) -> list[str]:
    return [item.caption for item in report.items]


def pressed(app: AppTest, label: str) -> AppTest:
    """The page after a press of the only button with this label."""
    (one,) = (one for one in app.button if one.label == label)
    one.click().run()
    assert not app.exception, app.exception
    return app


def test_order_captions_removal_and_its_undoing(held):
    held.append(Report("Mine", PARTS))
    app = opened(PAGE)
    pressed(app, "Down **Text 1**")
    assert captions(held[-1]) == ["Second", "First", "Third"] and [area.value for area in app.text_area] == captions(
        held[-1]
    )
    app.text_area[1].set_value("Other words").run()
    assert captions(held[-1]) == ["Second", "Other words", "Third"]
    pressed(app, "Up **Table 1**")
    assert captions(held[-1]) == ["Second", "Third", "Other words"]
    pressed(app, "Text below **Text 1**")
    app.text_area[1].set_value("Between").run()
    assert captions(held[-1]) == ["Second", "Between", "Third", "Other words"]
    pressed(app, "Remove **Table 1**")
    assert captions(held[-1]) == ["Second", "Between", "Other words"]
    pressed(app, "Undo: put back what was removed (1)")
    assert captions(held[-1]) == ["Second", "Between", "Third", "Other words"]
    app.text_input[0].set_value("Ours").run()
    pressed(app, "Remove all")
    assert held[-1] == Report("Ours") and app.info[0].value.startswith("Nothing was added yet")
    pressed(app, "Undo: put back what was removed (4)")
    assert held[-1].title == "Ours" and len(held[-1].items) == 4
    held.append(Report("Ours", PARTS[1:]))  # by another window
    app.text_area[1].set_value("Not mine").run()
    assert captions(held[-1]) == ["Second", "Third"] and "changed in another window" in app.warning[0].value


def test_exported_parts_are_added_below_and_wrong_files_change_nothing(held):
    held.append(Report("Mine", PARTS[:1]))
    app = opened(PAGE)
    app.file_uploader[0].set_value(("parts.zip", Report("Yours", PARTS[1:]).to_zip(), "application/zip")).run()
    assert captions(held[-1]) == ["First", "Second", "Third"] and held[-1].title == "Mine" and not app.warning
    app.file_uploader[0].set_value(("wrong.zip", b"PK nothing", "application/zip")).run()
    assert len(held[-1].items) == 3 and "wrong.zip" in app.warning[0].value and "not a report" in app.warning[0].value


def test_a_visitor_keeps_a_report_of_their_own():
    """Two sessions with other tokens are two visitors; a session that says the same token finds the report again."""
    app, other = opened(PAGE), opened(PAGE)
    assert app.session_state["visitor token"] != other.session_state["visitor token"]
    app.file_uploader[0].set_value(("parts.zip", Report("Yours", PARTS).to_zip(), "application/zip")).run()
    assert len(app.text_area) == 3 and not other.run().text_area
    other.session_state["visitor token"] = app.session_state["visitor token"]
    assert len(other.run().text_area) == 3


def test_cells_of_tables_are_words():
    """Long tables are cut, and say so; shares are in percent where the page shows them so; what is missing is a dash."""
    rows = pd.DataFrame({"name": ["a", None, "c"], "share": [0.5, np.nan, 1 / 3], "count": [1, 2, 3]}, index=["x", "y", "z"])
    columns = {"share": st.column_config.NumberColumn("Share", format="percent")}
    item = report_items.table_item(rows, "Table", columns)
    assert item.head == ("index", "name", "Share", "count") and item.caption == "Table"
    assert item.rows == (("x", "a", "50.0%", "1"), ("y", "–", "–", "2"), ("z", "c", "33.3%", "3"))
    long = report_items.table_item(pd.DataFrame({"n": range(1234)}), "Many", {})
    assert len(long.rows) == 500 and long.caption == "Many. The first 500 of 1,234 rows." and long.head == ("n",)
    assert Report.from_zip(Report("t", (item, long)).to_zip()).items == (item, long)


def test_any_picture_becomes_a_figure(monkeypatch):
    """Drawn or in a file, at once or when it is asked for; what is transparent is white; what is too large says so."""
    drawn = Image.new("RGBA", (40, 30), (255, 0, 0, 0))
    drawn.paste((0, 0, 255, 255), (20, 0, 40, 30))
    for given in (drawn, lambda: drawn, rendering.encoded(drawn, "WEBP"), lambda: rendering.encoded(drawn, "WEBP")):
        item = report_items.picture_item(given, "Blue on the right")
        seen = np.asarray(open_picture(item.picture), dtype=int)
        assert (
            seen.shape == (30, 40, 3)
            and np.abs(seen[15, 5] - 255).max() < 9
            and np.abs(seen[15, 35] - [0, 0, 255]).max() < 9
        )
        assert Report.from_zip(Report("t", (item,)).to_zip()).items == (item,) and item.kind == "figure"
    for kind in ("PNG", "JPEG"):
        file = rendering.encoded(drawn.convert("RGB"), kind)
        assert report_items.picture_item(file, "").picture == file, "a file that a document can hold stays as it is"
    monkeypatch.setattr(report_items, "LARGEST_PICTURE", 100)
    with pytest.raises(BadRequest, match="larger than"):
        report_items.picture_item(drawn, "")
