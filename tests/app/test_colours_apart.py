"""Colours that carry a meaning stay apart for people who lack one kind of cone, by simulation (Machado et al. 2009).

The distance is CIEDE2000; colours of categories differ by `readable_colours.APART`. Ramps go one way in lightness, which
every kind of sight keeps.
"""

import tomllib
from itertools import combinations

import numpy as np
import pytest
from opened_pages import ROOT
from readable_colours import APART, WAYS, contrast, difference, seen
from skimage.color import deltaE_ciede2000

from xai_core.app.charts import common, evolution, pairs
from xai_core.app.misclassifications import point_map
from xai_core.explanation.rendering import PALETTES, Scale
from xai_core.training.dynamics import figure

THEME = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
CATEGORIES = {
    "lines": common.LINES,
    "predictions": tuple(common.ROLES.values()),
    "classes over the epochs": (*figure.PALETTE, figure.GREY, figure.PALE),
    "right and wrong": tuple(evolution.VERDICTS.values()),
    "two runs": tuple(evolution.STATES.values()),
    "training curves": tuple(figure.CURVES.values()),
    "random pairs": pairs.KINDS,
    "points of the map": point_map.COLOURS,
}
RAMPS = {f"counts, {theme}": THEME[theme]["chartSequentialColors"] for theme in ("light", "dark")} | {
    f"maps, {name}": Scale(0.0, 1.0, name, False, "").hex_colours(17) for name in PALETTES["sequential"]
}
DIVERGING = {f"differences, {theme}": THEME[theme]["chartDivergingColors"] for theme in ("light", "dark")} | {
    f"maps, {name}": Scale(-1.0, 1.0, name, True, "").hex_colours(17) for name in PALETTES["diverging"]
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_colours_of_categories_stay_apart_for_everybody(name):
    for first, second in combinations(CATEGORIES[name], 2):
        assert difference(first, second) >= APART, (first, second, difference(first, second))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", RAMPS)
def test_ramps_go_one_way_in_lightness(name, way):
    steps = np.diff(seen(RAMPS[name], way)[:, 0])
    assert (steps > 0.5).all() or (steps < -0.5).all(), steps


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", DIVERGING)
def test_the_two_sides_of_zero_are_never_one_colour(name, way):
    """The same distance from zero on both sides: told apart by more than their place, and each step is seen."""
    colours = seen(DIVERGING[name], way)
    half = len(colours) // 2
    for below, above in zip(colours[: half - 1], colours[:-half:-1], strict=True):  # without the palest, beside zero
        assert deltaE_ciede2000(below, above) >= APART
    assert (deltaE_ciede2000(colours[:-1], colours[1:]) > 1).all()


def test_points_of_the_map_stand_out_from_both_pages():
    pages = [THEME[theme]["backgroundColor"] for theme in ("light", "dark")]
    assert all(contrast(colour, page) >= 3 for colour in point_map.COLOURS for page in pages)


def test_the_simulation_tells_what_is_known():
    """Greys stay as they are. The green and the red of Tableau 10 are one colour to some, blue and yellow to nobody."""
    for way in WAYS:
        assert np.ptp([seen(["#777777"], "everybody")[0], seen(["#777777"], way)[0]], axis=0).max() < 0.1
    assert difference("#54a24b", "#e45756") < 8 < 50 < difference("#0000ff", "#ffff00")
