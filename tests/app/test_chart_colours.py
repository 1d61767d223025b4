"""The colours of the two themes and of texts on charts: their contrast is computed from what a chart is drawn with."""

import re
import tomllib
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from opened_pages import ROOT
from readable_colours import blended, contrast

from xai_core.analysis.confusion import Confusion
from xai_core.app.charts import common, metrics, pairs, review, runs
from xai_core.app.charts.confusion import REST, calibration, confusion_matrix
from xai_core.models.explainable import Prediction

TEXT = 4.5  # WCAG 2.2, 1.4.3
GRAPHICS = 3.0  # 1.4.11
CAPTION = 0.6  # Streamlit's captions have this share of the text's colour
NAMES = [f"class {number}" for number in range(12)]


class Theme(NamedTuple):
    pages: tuple[str, str]  # of the page and of the sidebar
    text: str
    ranges: dict[str, list[str]]  # as Streamlit hands them to a chart


def themes() -> dict[str, Theme]:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    return {
        name: Theme(
            (one["backgroundColor"], one["secondaryBackgroundColor"]),
            one["textColor"],
            {
                "category": one["chartCategoricalColors"],
                "ramp": one["chartSequentialColors"],
                "heatmap": one["chartSequentialColors"],
                "diverging": one["chartDivergingColors"],
            },
        )
        for name, one in config.items()
        if name in ("light", "dark")
    }


THEMES = themes()
pytestmark = pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))


def drawn(chart: Any, theme: Theme, mark: str) -> list[tuple[str, float]]:
    """The colour and the opacity of each mark of a kind ("rect" or "text") in a drawn chart, in the order of its rows."""
    spec = chart.to_dict() | {"config": {"range": theme.ranges, "background": theme.pages[0]}}
    svg = ElementTree.fromstring(vl_convert.vegalite_to_svg(spec))
    marks = [one for one in svg.iter() if one.get("aria-roledescription") == f"{mark} mark"]
    if not marks:  # texts have no role
        groups = [one for one in svg.iter() if f"mark-{mark} role-mark" in one.get("class", "")]
        marks = [one for group in groups for one in group]
    return [(_hex(one.get("fill", "")), float(one.get("opacity", 1))) for one in marks]


def _hex(colour: str) -> str:
    numbers = re.findall(r"\d+", colour)
    named = {"white": "#ffffff", "black": "#000000"}
    return "#" + "".join(f"{int(one):02x}" for one in numbers) if colour.startswith("rgb") else named.get(colour, colour)


def matrix(seed: int = 0) -> Confusion:
    """Counts from one to thousands."""
    draw = np.random.default_rng(seed)
    counts = np.floor(np.exp(draw.uniform(0, 7.5, (len(NAMES), len(NAMES))))).astype(int)
    return Confusion(counts, tuple(NAMES))


def means() -> pd.DataFrame:
    ranks = range(1, 30)
    return pd.DataFrame(
        {
            "method": [f"method {rank}" for rank in ranks], "metric": "Deletion", "mean": 0.5, "low": 0.4, "high": 0.6,
            "n": 8, "missing": 0, "rank": [*ranks], "control": False, "beats": True,
        }
    )  # fmt: skip


def people(signed: bool) -> alt.LayerChart:
    """Every two of twelve people, with all values of a measure."""
    pairs = list(combinations(NAMES, 2))
    values = np.linspace(-1 if signed else 0, 1, len(pairs))
    lines = pd.DataFrame(pairs, columns=["first", "second"]).assign(value=values, text="0.5", pictures=9)
    return review.people(lines, NAMES, "measure", signed)


AGREEMENT = np.linspace(-1, 1, 144).reshape(12, 12)
CELLS = {
    "counts": lambda: confusion_matrix(matrix(), rates=False, dim_diagonal=False),
    "counts, diagonal dimmed": lambda: confusion_matrix(matrix(), rates=False, dim_diagonal=True),
    "rates": lambda: confusion_matrix(matrix(), rates=True, dim_diagonal=False),
    "difference": lambda: confusion_matrix(matrix(), rates=True, dim_diagonal=False, other=matrix(1), titles=("a", "b")),
    "agreement": lambda: common.agreement_matrix(AGREEMENT, NAMES, "rank correlation"),
    "shares of pictures": lambda: people(signed=False),
    "kappas": lambda: people(signed=True),
    "means": lambda: runs.means(means(), [f"method {rank}" for rank in range(1, 30)], ["Deletion"]),
}


@pytest.mark.parametrize("name", CELLS)
def test_numbers_in_cells_can_be_read(name, theme):
    chart = CELLS[name]()
    cells, texts = drawn(chart, theme, "rect"), drawn(chart, theme, "text")
    assert len(cells) > 20 and len(texts) in (len(cells), 2 * len(cells))  # with an interval below
    for number, (ink, _) in enumerate(texts):
        cell, opacity = cells[number % len(cells)]
        assert contrast(ink, blended(cell, theme.pages[0], opacity)) >= TEXT, (cell, ink)


BARS = [Prediction(281, "tabby", 0.6), Prediction(282, "tiger cat", 0.3)]
SCORES = pd.DataFrame({"name": ["a", "b"], "value": [0.2, 0.4], "control": False, "beats": False, "note": ""})
BINS = pd.DataFrame({"low": [0.0], "high": [0.1], "accuracy": [0.5], "confidence": [0.05], "pictures": [9]})
TAUS = pd.DataFrame({"name": ["a"], "kind": "k", "value": [0.1], "low": [-0.2], "high": [0.4], "n": [9], "why": ""})
RANDOM = pairs.RandomPairs(np.array([0.8, 0.9]), np.array([0.1, 0.3]))
BESIDE = {
    "predictions": lambda: common.prediction_bars(BARS, explained=281),
    "scores": lambda: metrics.score_bars(SCORES),
    "calibration": lambda: calibration(BINS),
    "rank correlations": lambda: runs.taus(TAUS, "tau"),
    "random pairs": lambda: pairs.among_random_pairs(RANDOM, 0.5, "cosine"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_texts_beside_marks_can_be_read(name, theme):
    texts = drawn(BESIDE[name](), theme, "text")
    assert texts and all(contrast(ink, page) >= TEXT for ink, _ in texts for page in theme.pages), texts


def test_names_on_the_axes_of_a_chart_on_a_canvas_can_be_read(theme):
    values = pd.DataFrame(np.arange(8.0).reshape(4, 2), columns=["a", "b"])
    spec = runs.spreads(values, ["a", "b"], dict.fromkeys(values.index, "a picture"), "Deletion").to_dict()
    spec["config"] |= {"range": theme.ranges, "background": theme.pages[0]}
    svg = ElementTree.fromstring(vl_convert.vegalite_to_svg(spec))
    groups = [group for group in svg.iter() if re.search("role-axis-(label|title)", group.get("class", ""))]
    texts = [text for group in groups for text in group if text.text]
    assert {"a", "b", "Deletion"} <= {text.text for text in texts}
    for text in texts:
        assert contrast(_hex(text.get("fill", "")), theme.pages[0]) >= TEXT, text.text


def test_no_text_in_a_chart_has_a_colour_of_its_own(theme):
    """One that is read on a light page and on a dark one does not exist: texts take a colour of the theme."""
    for file in (ROOT / "xai_core" / "app" / "charts").glob("*.py"):
        assert not re.findall(r"mark_text\([^)]*(?:color|fill)=", Path(file).read_text()), file
    assert max(min(contrast(f"#{grey:02x}{grey:02x}{grey:02x}", one.pages[0]) for one in THEMES.values())
               for grey in range(256)) < TEXT  # fmt: skip


def test_many_pictures_stand_out_from_the_page(theme):
    page = theme.pages[0]
    away = [contrast(colour, page) for colour in theme.ranges["ramp"]]
    assert all(less < more for less, more in pairwise(away)) and away[-1] > 12
    ends = theme.ranges["diverging"][5:], theme.ranges["diverging"][4::-1]
    assert all(contrast(less, page) < contrast(more, page) for end in ends for less, more in pairwise(end))


def test_captions_and_marks_can_be_read(theme):
    for page in theme.pages:
        assert contrast(theme.text, page) >= TEXT and contrast(blended(theme.text, page, CAPTION), page) >= TEXT
        assert all(contrast(colour, page) >= GRAPHICS for colour in (common.QUIET, common.HIGHLIGHT, common.OTHER, REST))


def test_downloads_have_the_colours_of_a_light_page(theme):
    ranges = THEMES["light"].ranges
    assert ranges["category"] == [*common.LINES, *common.TEXTS.values()]
    assert ranges["ramp"] == list(common.COUNTS) and ranges["diverging"] == list(common.DIFFERENCES)
    assert theme.ranges["category"][: len(common.LINES)] == list(common.LINES)
    svg = common.chart_bytes(common.prediction_bars(BARS, explained=281), "svg").decode()
    assert common.TEXTS["muted"] in svg
