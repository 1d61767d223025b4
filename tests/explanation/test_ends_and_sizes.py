"""The ends of every range, empty maps, and the sizes of drawn sheets: figures that can be worked out by hand."""

import numpy as np
import pytest
import torch
from made_maps import made
from PIL import Image

from xai_core.explanation import agreement, clustering, heatmaps, rendering, wording
from xai_core.explanation.rendering import Scale
from xai_core.explanation.similarity import CrossCorrelation
from xai_core.explanation.targets import PairProbability
from xai_core.models.outputs import Outputs

NEGATIVE, POSITIVE = np.array([[-0.5, -0.25], [0, 0]]), np.array([[0.5, 0.25], [0, 0]])


@pytest.mark.parametrize(
    ("mode", "limits"),
    [
        ("symmetric", (-1, 1)),
        ("positive", (0, 1)),
        ("negative", (-1, 0)),
        ("smaller side", (-1, 1)),
        ("full", (0, 1)),
        ("custom", (0, 1)),
    ],
)
@pytest.mark.parametrize("heatmap", [np.zeros((2, 2)), np.full((2, 2), np.nan)], ids=["zero", "no number"])
def test_the_range_of_an_empty_map_has_two_ends(heatmap, mode, limits):
    assert heatmaps.value_range(heatmap, mode) == limits


def test_a_custom_range_without_limits_is_from_zero_to_one():
    assert heatmaps.value_range(POSITIVE, "custom") == (0, 1)
    assert heatmaps.value_range(POSITIVE, "custom", custom=(-2, 3)) == (-2, 3)


@pytest.mark.parametrize(("heatmap", "both"), [(NEGATIVE, False), (POSITIVE, False), (NEGATIVE + POSITIVE[::-1], True)])
def test_the_smaller_side_is_offered_where_there_are_two(heatmap, both):
    assert ("smaller side" in heatmaps.sensible_ranges(heatmap, signed=True)) == both


@pytest.mark.parametrize(("second", "warns"), [(1.0, False), (0.5, True)])
def test_a_map_is_called_concentrated_above_99_percent_and_not_at_it(second, warns):
    heatmap = np.zeros((10, 10), np.float32)
    heatmap[4, 4], heatmap[5, 5] = 99, second
    assert any("99% of the map" in sentence for sentence in heatmaps.health(heatmap)) == warns


def test_the_centre_of_mass_leaves_out_what_was_not_seen():
    heatmap = np.full((9, 9), np.nan)
    heatmap[3:6] = 0.0
    heatmap[3:6, :3] = 1.0
    assert heatmaps.centre_of_mass_words(heatmap).endswith("(100% of it)")
    assert heatmaps.centre_of_mass_words(np.full((3, 3), np.nan)) == "nowhere"


def test_positions_on_the_palette_go_from_0_to_1_between_the_limits():
    unsigned = Scale(2.0, 6.0, "viridis", False, "")
    np.testing.assert_allclose(unsigned.position(np.array([1.0, 2.0, 3.0, 6.0, 9.0])), [0, 0, 0.25, 1, 1])
    signed = Scale(-2.0, 4.0, "red-blue", True, "")
    np.testing.assert_allclose(signed.position(np.array([-4.0, -2.0, 0.0, 4.0])), [0.25, 0.25, 0.5, 1])


def test_a_sheet_shows_every_picture_whole_below_its_name():
    colours = {
        "short": (200, 0, 0),
        "a name that is far too long for one line of this width": (0, 180, 0),
        "third": (0, 0, 220),
    }
    width = 120
    page = np.asarray(rendering.sheet({name: Image.new("RGB", (60, 30), rgb) for name, rgb in colours.items()}, 2, width))
    lines = 4  # of the longest name, at 15 letters a line
    assert page.shape == (2 * (width // 2 + 20 * lines + 8 + 12) + 12, 2 * (width + 12) + 12, 3)
    for number, rgb in enumerate(colours.values()):
        down, across = np.nonzero((page == rgb).all(2))
        assert len(down) == width * width // 2  # nothing of it is covered or cut off
        assert (np.ptp(down), np.ptp(across)) == (width // 2 - 1, width - 1) and across.min() % (width + 12) == 12
        assert down.min() == 12 + 20 * lines + 8 + number // 2 * (width // 2 + 20 * lines + 8 + 12)
    dark = (page < 100).all(2)  # the letters
    assert (
        dark[:12].sum() == 0 and dark[12 : 12 + 20 * lines, 12 + width + 12 :].any() and dark[12:32, 12 : 12 + width].any()
    )
    assert (page[-12:] == 255).all() and (page[:, -12:] == 255).all() and (page[:, :12] == 255).all()


def test_a_map_of_zeros_stays_zero_when_maps_are_clustered():
    assert not clustering.small_map(np.zeros((7, 7))).any()
    assert np.linalg.norm(clustering.small_map(np.eye(7))) == pytest.approx(1)


def test_columns_and_rows_of_a_small_map_keep_their_own_number():
    stripes = np.tile([1.0, 0.0], (4, 8))
    small = clustering.small_map(stripes)
    np.testing.assert_allclose(small, np.tile([1.0, 0.0], (16, 8)) / np.sqrt(128), atol=1e-6)
    np.testing.assert_allclose(clustering.small_map(stripes.T), small.T)


def test_as_many_clusters_as_are_planted_are_found_up_to_the_most():
    """MOST groups of maps that have no cell in common: as many eigenvalues are (nearly) zero as there are groups."""
    maps = []
    for group in range(clustering.MOST):
        for copy in range(4):
            heatmap = np.zeros((16, 16), np.float32)
            heatmap[2 * group : 2 * group + 2] = 1 + 0.01 * copy * np.arange(16)
            maps.append(heatmap)
    clusters = clustering.cluster_maps(maps)
    assert len(clusters.means) == clustering.MOST and np.bincount(clusters.labels).tolist() == [4] * clustering.MOST
    assert len(clusters.eigenvalues) == clustering.MOST + 1


def test_a_bank_of_two_has_a_standard_deviation():
    """mean (1, 2), deviation (1, 2): the standardised embeddings are (1, 1) and (-1, -1)."""
    bank = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    assert CrossCorrelation(bank)(bank[1:], bank[1:]).item() == pytest.approx(1)
    assert CrossCorrelation(bank)(bank[1:], bank[:1]).item() == pytest.approx(-1)


def test_a_large_map_that_hardly_differs_is_said_to_be_flat():
    heatmap = np.full((6, 6), 1000.0, np.float32)
    heatmap[0, 0] += 1000 * heatmaps.FLAT / 2
    assert "the same everywhere" in wording.answer(made(heatmap, True))


@pytest.mark.parametrize(("largest", "even"), [(0.16, True), (0.17, False)])
def test_evidence_is_spread_evenly_where_no_ninth_has_half_as_much_again_as_the_mean(largest, even):
    heatmap = np.full((3, 3), (1 - largest) / 8, np.float32)
    heatmap[1, 1] = largest
    assert ("spread evenly" in wording.answer(made(heatmap, True))) == even


def test_structural_similarity_is_that_of_maps_between_minus_one_and_one():
    """One window of 7 x 7 cells, written out: L = 2, C1 = (0.01 L)^2, C2 = (0.03 L)^2, variances of samples."""
    draws = np.random.default_rng(0)
    a, b = (grid / np.abs(grid).max() for grid in draws.normal(size=(2, 7, 7)))
    c1, c2 = 0.02**2, 0.06**2
    covariance = np.cov(a.ravel(), b.ravel())
    expected = (2 * a.mean() * b.mean() + c1) * (2 * covariance[0, 1] + c2)
    expected /= (a.mean() ** 2 + b.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
    assert agreement.ssim(3 * a, 0.5 * b) == pytest.approx(expected)


def test_the_probability_of_a_pair_is_that_of_the_first_against_the_second_alone():
    logits = torch.tensor([[3.0, 1.0, 9.0], [0.5, 2.0, -1.0]])
    outputs = Outputs(logits, None, lambda features: features)
    target = PairProbability((0, 1), (1, 2))
    expected = [1 / (1 + np.exp(-(3.0 - 1.0))), 1 / (1 + np.exp(-(2.0 + 1.0)))]
    np.testing.assert_allclose(target(outputs), expected, rtol=1e-6)
    np.testing.assert_allclose(
        target.select([1])(Outputs(logits[1:], None, lambda features: features)), expected[1:], rtol=1e-6
    )
