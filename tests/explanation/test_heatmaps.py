"""What is said of a map: its values at another resolution, the ends of its colour scale, and what is wrong with it."""

import numpy as np
import pytest

from xai_core.explanation import heatmaps


def test_resizing_keeps_values_and_places():
    row = np.array([[0, 1]], np.float32)
    assert heatmaps.resize(row, (1, 4)).tolist() == [[0, 0.25, 0.75, 1]]
    cells = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(heatmaps.resize(cells, (8, 12), smooth=False), np.kron(cells, np.ones((4, 4))))
    constant = np.full((7, 7), -2.5, np.float32)
    assert (heatmaps.resize(constant, (224, 100)) == -2.5).all()


NAN, BOTH = np.nan, [[-2, 0, 4]]


@pytest.mark.parametrize(
    ("values", "mode", "options", "expected"),
    [
        (BOTH, "symmetric", {}, (-4, 4)),
        (BOTH, "positive", {}, (0, 4)),
        (BOTH, "negative", {}, (-2, 0)),
        (BOTH, "smaller side", {}, (-2, 2)),
        (BOTH, "full", {}, (-2, 4)),
        (BOTH, "custom", {"custom": (-1, 3)}, (-1, 3)),
        (BOTH, "symmetric", {"clip": 50}, (-2, 2)),
        ([[NAN, -2, 4], [NAN, NAN, NAN]], "symmetric", {}, (-4, 4)),
        ([[NAN, -2, 4], [NAN, NAN, NAN]], "full", {}, (-2, 4)),
        ([[NAN]], "symmetric", {}, (-1, 1)),
        ([[0, 0]], "symmetric", {}, (-1, 1)),
        ([[0, 0]], "positive", {}, (0, 1)),
        ([[0, 0]], "negative", {}, (-1, 0)),
        ([[0, 0]], "custom", {"custom": (-1, 3)}, (-1, 3)),
        ([[1, 1]], "negative", {}, (-1, 0)),
        ([[3, 3]], "symmetric", {}, (-3, 3)),
        ([[3, 3]], "positive", {}, (0, 3)),
        ([[1, 3]], "full", {}, (1, 3)),
        ([[-1, -3]], "negative", {}, (-3, 0)),
        ([[0] * 99 + [7]], "symmetric", {"clip": 50}, (-7, 7)),
    ],
)
def test_the_colour_scale_has_the_limits_of_its_mode(values, mode, options, expected):
    assert heatmaps.value_range(np.array(values, np.float32), mode, **options) == pytest.approx(expected)


@pytest.mark.parametrize("mode", [mode for mode in heatmaps.RANGE_MODES if mode != "custom"])
@pytest.mark.parametrize("values", [[[NAN]], [[0.0]], [[2.0]], [[-2.0]], [[1e-30, 0]], [[NAN, -1, 1]]], ids=str)
def test_the_colour_scale_is_never_empty(values, mode):
    low, high = heatmaps.value_range(np.array(values, np.float32), mode)
    assert np.isfinite([low, high]).all() and low < high


@pytest.mark.parametrize(
    ("values", "signed", "first", "has", "lacks"),
    [
        (BOTH, True, "symmetric", "smaller side", "full"),
        ([[1, 2]], True, "symmetric", "positive", "smaller side"),
        ([[NAN, 0]], True, "symmetric", "negative", "smaller side"),
        ([[0, 2]], False, "positive", "full", "symmetric"),
    ],
)
def test_range_modes_fit_the_sign_of_a_map(values, signed, first, has, lacks):
    offered = heatmaps.sensible_ranges(np.array(values, np.float32), signed)
    assert offered[0] == first and has in offered and lacks not in offered
    assert set(offered) <= set(heatmaps.RANGE_MODES)


FRAME = np.pad(np.zeros((12, 12)), 1, constant_values=1)
WIDE_FRAME = np.pad(np.zeros((212, 212)), 6, constant_values=1)  # padding reaches further where cells are pixels
RAMP = np.linspace(-1, 1, 900).reshape(30, 30)
FEW = np.where(np.arange(10_000) // 100 == 50, 1.0, 1e-5).reshape(100, 100)
REGIONS = np.repeat(np.arange(1.0, 7), 150).reshape(30, 30)  # one value for each, as superpixels give


@pytest.mark.parametrize(
    ("heatmap", "says"),
    [
        (np.array([[1, NAN]]), "not numbers"),
        (np.array([[1, np.inf]]), "not numbers"),
        (np.zeros((7, 7)), "zero everywhere"),
        (np.full((7, 7), 3.0), "same everywhere"),
        (np.full((7, 7), -3.0), "same everywhere"),
        (FRAME, "narrow frame"),
        (-FRAME, "narrow frame"),
        (WIDE_FRAME, "narrow frame"),
        (FEW, "1% of its cells"),
        (-FEW, "1% of its cells"),
        (RAMP.clip(-2, 0.5), "cut off"),
        (RAMP.clip(-0.5, 2), "cut off"),
        (RAMP.clip(-0.5, 0.5), "cut off"),
    ],
)
def test_faulty_maps_are_reported(heatmap, says):
    assert [says in sentence for sentence in heatmaps.health(heatmap)] == [True]


def test_healthy_maps_are_not_reported():
    plain = [np.arange(49.0).reshape(7, 7), np.eye(14), -np.eye(3), np.eye(7)[:1], 1 - FRAME, REGIONS, FEW + 0.01]
    for heatmap in (*plain, RAMP, RAMP.clip(0), RAMP.clip(1e-9)):
        assert heatmaps.health(heatmap) == []
