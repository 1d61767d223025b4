"""Agreement of maps against scipy and by hand; consensus; a failing method does not stop the others."""

import numpy as np
import pytest
from made_maps import made
from made_maps import made as hand_made
from scipy.stats import spearmanr

from xai_core import load_sample
from xai_core.attribution import catalog
from xai_core.attribution.explain import attempt_methods
from xai_core.core.errors import BadRequest, XaiError
from xai_core.explanation.agreement import (
    MEASURES,
    agreement,
    clustered,
    common_grid,
    consensus,
    rank_correlation,
    ssim,
    top_overlap,
)
from xai_core.explanation.result import Explanation


def random_map(seed: int, ties: bool = False) -> np.ndarray:
    grid = np.random.default_rng(seed).normal(size=(28, 28)).astype(np.float32)
    return np.maximum(grid, 0) if ties else grid


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_scipys(ties):
    a, b = random_map(1, ties), random_map(2, ties) + random_map(1, ties)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_each_measure_is_one_for_equal_maps_symmetric_and_undefined_for_a_constant(measure):
    compare = MEASURES[measure][1]
    a, b, flat = random_map(1), random_map(2), np.zeros((28, 28), np.float32)
    assert compare(a, a) == pytest.approx(1)
    assert compare(a, b) == pytest.approx(compare(b, a)) and compare(a, b) < 0.3
    assert np.isnan(compare(a, flat)) and np.isnan(compare(flat, flat))


def test_measures_do_not_depend_on_the_unit_of_a_map():
    a, b = random_map(1), random_map(2)
    for compare in (rank_correlation, top_overlap, ssim):
        assert compare(a, b) == pytest.approx(compare(1000 * a, b), rel=1e-5)


def test_overlap_by_hand():
    a, b = np.zeros((10, 10)), np.zeros((10, 10))
    a[0], b[0, 5:], b[1, :5] = 1, 1, 1  # ten cells each, five in common
    assert top_overlap(a, b) == pytest.approx(5 / 15)


def test_maps_of_different_resolution_are_compared_on_one_grid():
    coarse = np.arange(49, dtype=np.float32).reshape(7, 7)
    fine = coarse.repeat(32, 0).repeat(32, 1)
    matrix = agreement([made(coarse), made(fine)])
    assert matrix[0, 1] == matrix[1, 0] > 0.98 and (np.diag(matrix) == 1).all()


def test_clustering_puts_maps_that_agree_side_by_side():
    pairs = [random_map(1), random_map(2), random_map(1) + 0.1 * random_map(3), random_map(2) + 0.1 * random_map(4)]
    order = clustered(agreement([made(grid) for grid in pairs]))
    assert abs(order.index(0) - order.index(2)) == 1 and abs(order.index(1) - order.index(3)) == 1


def test_consensus_is_the_mean_rank_and_dissent_its_spread():
    a = np.arange(784, dtype=np.float32).reshape(28, 28)

    def made(grid):  # at the grid on which maps are compared, so that nothing is resampled
        return hand_made(grid, input_size=(28, 28))

    mean, dissent = consensus([made(a), made(5 * a)])
    np.testing.assert_allclose(mean, a / 783, atol=1e-6)
    assert dissent.max() < 1e-6
    mean, dissent = consensus([made(a), made(-a)])
    np.testing.assert_allclose(mean, 0.5, atol=1e-6)
    assert dissent.argmax() in (0, 783) and dissent.max() == pytest.approx(0.5)


def test_constant_maps_are_left_out_of_the_consensus():
    a = random_map(1)
    np.testing.assert_array_equal(consensus([made(a), made(np.zeros_like(a))])[0], consensus([made(a)])[0])
    with pytest.raises(BadRequest):
        consensus([made(np.zeros_like(a))])


def test_maps_of_different_pictures_are_refused():
    with pytest.raises(BadRequest, match="different pictures"):
        agreement([made(random_map(1)), made(random_map(2), picture="another")])


def test_a_failing_method_yields_its_error_and_the_others_run(lite0, monkeypatch):
    def broken(question, images):
        raise BadRequest("It broke.")

    methods = dict(catalog.METHODS)
    monkeypatch.setitem(
        catalog.METHODS, "broken", catalog.Method("broken", "Broken", "cam", broken, "signed", lambda o: (1, 0))
    )
    wanted = {name: {} for name in ("grad_cam", "broken", "eigen_cam")}
    results = dict(attempt_methods(lite0, load_sample("rocket"), wanted))
    assert list(results) == list(wanted) and "broken" not in methods
    assert isinstance(results["broken"], XaiError) and "It broke." in str(results["broken"])
    assert all(isinstance(results[name], Explanation) for name in ("grad_cam", "eigen_cam"))
    assert common_grid(results["grad_cam"]).shape == (28, 28)
