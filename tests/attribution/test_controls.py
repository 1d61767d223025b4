"""Controls against formulas and scikit-image; none of them looks at the network."""

import numpy as np
import pytest
import scipy.stats
import skimage.color
import skimage.filters
import torch
from small_models import ask, custom, pair, pictures

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.explanation.targets import ClassLogit

CONTROLS = [name for name, method in METHODS.items() if method.family == "control"]


def run(method, images, **options):
    return METHODS[method](ask(custom().model, ClassLogit((1,))), images, **options).heatmap


@pytest.mark.parametrize("size", [(40, 40), (31, 50)])
def test_edges_are_those_of_scikit_image(size):
    images = pictures(2, *size)
    for found, image in zip(run("edge_detector", images), images, strict=True):
        expected = skimage.filters.sobel(skimage.color.rgb2gray(image.permute(1, 2, 0).numpy()))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_centre_is_a_gaussian_of_its_width():
    found = run("centre_gaussian", pictures(2, 41, 61), sigma=0.25)
    assert found.shape == (2, 41, 61) and torch.equal(found[0], found[1])
    assert found[0, 20, 30] == 1 == found.max()
    assert abs(found[0, 20, 30 + 10] - np.exp(-0.5 * (10 / (0.25 * 41)) ** 2)) < 1e-6
    assert torch.allclose(found, found.flip(1, 2))


def test_random_map_is_uniform_noise_of_its_seed():
    found = [run("random_map", pictures(3, 64), seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0][0], found[0][2])
    assert abs(np.corrcoef(found[0][0].ravel(), found[2][0].ravel())[0, 1]) < 0.05
    assert scipy.stats.kstest(found[0][0].numpy().ravel(), "uniform").pvalue > 0.01


@pytest.mark.parametrize(("size", "cells", "grid"), [((64, 64), 7, (7, 7)), ((64, 96), 8, (8, 12)), ((81, 54), 2, (3, 2))])
def test_random_map_of_coarse_cells(size, cells, grid):
    one = explain(custom().model, pictures(1, *size)[0], "random_map", target=1, cells=cells)
    assert one.heatmap.shape == grid and one.to_input().shape == size


def test_uniform_is_one_everywhere():
    assert torch.equal(run("uniform_map", pictures(2, 20, 30)), torch.ones(2, 20, 30))


@pytest.mark.parametrize("method", CONTROLS)
def test_no_network_and_no_target_changes_a_control(method):
    image = pictures(1, 96)[0]
    maps = [explain(model, image, method, target=target).heatmap
            for model in (custom().model, pair("resnet").model) for target in (1, 2)]  # fmt: skip
    assert all(np.array_equal(maps[0], one) for one in maps)


def test_there_are_four_controls():
    assert CONTROLS == ["random_map", "centre_gaussian", "edge_detector", "uniform_map"]
