"""The charts are valid Vega-Lite, hold the right numbers, and answer to the pointer as they say.

`chart.to_dict()` validates against the schema of Vega-Lite; what is in the result is what the browser gets.
"""

import colorsys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xai_core.app.charts import metrics, runs
from xai_core.app.charts.common import (
    HIGHLIGHT,
    LOST,
    OTHER,
    QUIET,
    RIVAL,
    SVG,
    Drawn,
    agreement_matrix,
    prediction_bars,
)
from xai_core.app.charts.metrics import score_bars
from xai_core.models.explainable import Prediction

CATS = [
    Prediction(282, "tiger cat", 0.5),
    Prediction(281, "tabby, tabby cat", 0.3),
    Prediction(285, "Egyptian cat", 0.1),
]
MAP = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)


def rows(spec: dict[str, Any], has: str) -> list[dict[str, Any]]:
    """The table in a chart that has a certain column."""
    (table,) = (table for table in spec["datasets"].values() if has in table[0])
    return table


def layer(spec: dict[str, Any], mark: str) -> dict[str, Any]:
    (found,) = (one for one in spec["layer"] if one["mark"]["type"] == mark)
    return found


def texts(spec: Any, name: str) -> Iterator[Any]:
    """Every value that stands under a name, anywhere in a chart."""
    for key, value in spec.items() if isinstance(spec, dict) else enumerate(spec) if isinstance(spec, list) else ():
        if key == name:
            yield value
        yield from texts(value, name)


def test_bars_show_the_predictions_in_order():
    spec = prediction_bars(CATS, explained=281).to_dict()
    table = rows(spec, "probability")
    assert [(row["class"], row["full name"], row["probability"]) for row in table] == CATS
    assert [row["name"] for row in table] == ["tiger cat", "▸ tabby", "Egyptian cat"]
    assert [row["role"] for row in table] == ["", "explained", ""]
    bars = layer(spec, "bar")
    assert bars["encoding"]["y"]["sort"] is None  # as they come, not by the alphabet
    assert bars["encoding"]["x"]["scale"]["domain"] == [0, 1]
    colour = bars["encoding"]["color"]
    assert colour["field"] == "role"
    assert dict(zip(colour["scale"]["domain"], colour["scale"]["range"], strict=True)) == {
        "explained": HIGHLIGHT, "rival": RIVAL, "": QUIET,
    }  # fmt: skip
    assert layer(spec, "text")["encoding"]["text"] == {"field": "probability", "format": ".1%", "type": "quantitative"}


def test_bars_can_be_picked_and_pointed_at():
    spec = prediction_bars(CATS, explained=None).to_dict()
    (pick,) = spec["params"]
    assert pick["name"] == "pick" and pick["select"] == {"type": "point", "fields": ["class"], "on": "click"}
    assert pick["views"] == [layer(spec, "bar")["name"]]
    assert [tip["field"] for tip in layer(spec, "bar")["encoding"]["tooltip"]] == [
        "full name",
        "class",
        "probability",
        "role",
    ]
    assert not any(row["role"] for row in rows(spec, "probability"))


def test_the_bars_of_the_class_and_of_its_rival_are_marked():
    table = rows(prediction_bars(CATS, explained=282, rival=285).to_dict(), "probability")
    assert [row["name"] for row in table] == ["▸ tiger cat", "tabby", "▹ Egyptian cat"]
    assert [row["role"] for row in table] == ["explained", "", "rival"]


@pytest.mark.parametrize("names", [("crane", "crane"), ("maillot", "maillot, tank suit")], ids="-".join)
def test_classes_of_one_name_keep_bars_of_their_own(names):
    """ImageNet has two cranes and two maillots: on one line, their bars would be stacked."""
    twins = [Prediction(index, name, 0.4) for index, name in enumerate(names, 638)]
    table = rows(prediction_bars([*twins, CATS[0]], explained=639).to_dict(), "probability")
    assert [row["name"] for row in table] == [f"{names[0]} (638)", f"▸ {names[0]} (639)", "tiger cat"]


@pytest.mark.parametrize("count", [1, 3, 20])
def test_bars_grow_with_their_number(count):
    many = [Prediction(index, f"class {index}", 1 / count) for index in range(count)]
    spec = prediction_bars(many, explained=0).to_dict()
    assert len(rows(spec, "probability")) == count and spec["height"] == 26 * count + 24


def test_no_title_is_an_empty_text():
    """An absent title is null: an empty one still takes its place."""
    for spec in (prediction_bars(CATS, 281).to_dict(), agreement_matrix(np.eye(2), ["a", "b"], "rho").to_dict()):
        titles = list(texts(spec, "title"))
        assert titles and "" not in titles


LONG = ["Slim ResNet-18, scenes from scratch (scenes_supervised)" + end for end in ("", ", untrained")]


@pytest.mark.parametrize("count", [2, 4, 6, 12])
def test_long_names_stand_in_lines_beside_a_matrix_while_there_is_room_and_are_then_shortened_in_the_middle(count):
    names = [*LONG, *METHOD_NAMES[: count - 2]]
    spec = agreement_matrix(np.eye(count), names, "same").to_dict()
    for channel, whole in (("x", "other"), ("y", "method")):
        encoding = spec["layer"][0]["encoding"][channel]
        assert encoding["axis"]["labelExpr"] == r"split(datum.label, '\n')", "Vega draws a list of texts as lines"
        shown = {row[whole]: row[encoding["field"]] for row in rows(spec, "words")}
        assert encoding["sort"] == [shown[name] for name in names] and len({*shown.values()}) == count
        for name in LONG:
            lines = shown[name].split("\n")
            assert len(lines) <= (3 if count <= 4 else 2 if count <= 6 else 1) and max(map(len, lines)) <= 27
            first, gap, last = " ".join(lines).partition("…")
            assert name.startswith(first) and name.endswith(last) and bool(gap) == (count > 6 or name is LONG[1])
            assert len(first + last) >= 0.75 * min(len(name), 27 * len(lines))
        assert all(shown[name] == name for name in names[2:])


def test_names_that_would_be_shortened_to_one_text_are_left_whole():
    names = [f"A name that begins as another {middle * 40} and ends as it does, too" for middle in "ab"] + METHOD_NAMES[:10]
    spec = agreement_matrix(np.eye(12), names, "same").to_dict()
    assert spec["layer"][0]["encoding"]["y"]["sort"] == names


def test_names_that_are_shortened_on_the_axes_are_whole_where_a_cell_is_pointed_at_and_for_screen_readers():
    names = ["A network with a long name, trained", "A network with a long name, untrained"]
    spec = agreement_matrix(np.array([[1, 0.25], [0.25, np.nan]]), names, "same").to_dict()
    cells = spec["layer"][0]["encoding"]
    assert [one["field"] for one in cells["tooltip"]] == ["method", "other", "text"]
    assert cells["description"]["field"] == "words"
    (table,) = spec["datasets"].values()
    assert [row["words"] for row in table][1:] == [
        f"{names[0]} and {names[1]}: same 0.25",
        f"{names[1]} and {names[0]}: same 0.25",
        f"{names[1]} and {names[1]}: same –",
    ]
    assert {row["method"] for row in table} == {*names}


def test_bars_of_maps_that_do_not_beat_the_controls_are_marked_in_the_colour_that_the_page_names():
    """Orange and blue; a mark behind the number says the same without a colour."""
    scores = pd.DataFrame(
        {
            "name": ["a", "b", "c", "d"],
            "value": [0.5, 0.25, 0.1, 0.4],
            "beats": [True, False, None, None],
            "control": [False, False, True, False],
        }
    ).assign(note="")
    spec = score_bars(scores).to_dict()
    assert layer(spec, "bar")["encoding"]["color"] == {"field": "colour", "type": "nominal", "scale": None, "legend": None}
    assert {row["name"]: row["colour"] for row in rows(spec, "colour")} == {"a": HIGHLIGHT, "b": OTHER, "d": QUIET}
    assert 20 < hue(HIGHLIGHT) < 40 and 195 < hue(OTHER) < 255, "orange and blue"
    assert {row["name"]: row["text"] for row in rows(spec, "text")} == {"a": "0.500", "b": f"0.250{LOST}", "d": "0.400"}


def test_the_settings_of_a_variant_are_in_a_second_line_beside_its_bar():
    names = ["Grad-CAM, cut blocks.11.norm1, eigen", "Grad-CAM"]
    scores = pd.DataFrame({"name": [*names, "a control"], "value": 0.5, "beats": None, "control": [False, False, True]})
    scores = scores.assign(note="")
    spec = score_bars(scores).to_dict()
    assert {row["name"]: row["label"].split("\n") for row in rows(spec, "label")} == {
        names[0]: ["Grad-CAM, cut", "blocks.11.norm1, eigen"],
        names[1]: [names[1]],
    }
    axis = layer(spec, "bar")["encoding"]["y"]["axis"]
    assert axis["labelExpr"] == r"split(datum.label, '\n')", "Vega draws a list of texts as lines"
    assert spec["height"] > score_bars(scores[1:]).to_dict()["height"] * 1.5


def hue(colour: str) -> float:
    """The hue of #rrggbb in degrees."""
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return 360 * colorsys.rgb_to_hsv(red, green, blue)[0]


STREAMLIT_CANVAS = 2000  # marks from which Streamlit takes a canvas, which the page's style for texts does not reach
METHOD_NAMES = [f"method {number}" for number in range(45)]
METRIC_NAMES = [f"metric {number}" for number in range(20)]


def _large_means():
    table = pd.MultiIndex.from_product([METHOD_NAMES, METRIC_NAMES], names=["method", "metric"]).to_frame(index=False)
    table = table.assign(mean=0.5, low=0.4, high=0.6, n=8, missing=0, rank=1, control=False, beats=True)
    return runs.means(table, METHOD_NAMES, METRIC_NAMES)


def _large_curves():
    curve = np.linspace(0, 1, 102).reshape(51, 2)
    return metrics.curves(metrics.curve_points(dict.fromkeys(METHOD_NAMES, curve), ()), ("share", "probability"), None)


def _large_spreads():
    values = pd.DataFrame(np.zeros((100, 45)), columns=METHOD_NAMES)
    return runs.spreads(values, METHOD_NAMES, dict.fromkeys(values.index, "a picture"), "Deletion")


LARGE = {
    "agreement": lambda: agreement_matrix(np.zeros((45, 45)), METHOD_NAMES, "rank correlation"),
    "means": _large_means,
    "curves": _large_curves,
    "spreads": _large_spreads,
}


@pytest.mark.parametrize("name", LARGE)
def test_a_chart_with_many_marks_is_an_svg_or_as_wide_as_its_page(name):
    """On an SVG the page's style makes texts readable, and the names of rows stay in view. A chart that remains on a canvas
    is never scrolled sideways, and names its colours itself (tests of chart colours)."""
    spec = LARGE[name]().to_dict()
    assert sum(map(len, spec["datasets"].values())) * len(spec["layer"]) > STREAMLIT_CANVAS
    if spec.get("usermeta") != SVG:
        assert "width" not in spec and "labelColor" in spec["config"]["axis"]


def test_a_chart_that_is_drawn_once_has_the_specification_and_rows_of_the_chart_itself():
    """Streamlit changes what it gets, so that each call returns another specification."""
    chart = agreement_matrix(np.eye(3), ["one", "two", "three"], "tau")
    drawn, plain = Drawn(chart), chart.to_dict()
    first = drawn.to_dict()
    tables = {name: table.to_dict("records") for name, table in first.pop("datasets").items()}
    assert sorted(map(repr, tables.values())) == sorted(map(repr, plain.pop("datasets").values()))
    data = lambda spec: [one for one in texts(spec, "data")]  # noqa: E731
    assert {one["name"] for one in data(first)} == {*tables} and len(data(first)) == len(data(plain))
    for spec in (first, plain):
        for one in data(spec):
            one.clear()
    assert {**first, "params": 0} == {**plain, "params": 0}
    assert data(drawn.to_dict()) != data(first), "the second specification is another one"
    assert [*drawn.to_dict()["datasets"]] == [*Drawn(agreement_matrix(np.eye(3), ["one", "two", "three"], "tau")).to_dict()[
        "datasets"
    ]], "the same rows have the same name, so that the browser keeps the chart"  # fmt: skip
