"""Maps of embeddings: against the singular value decomposition, planted clusters, and pictures that do not differ."""

import signal
import subprocess
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest
from blobs import blobs
from sklearn.neighbors import NearestNeighbors

from xai_core.analysis.embedding_maps import MOST, embedding_map
from xai_core.analysis.tsne import placed
from xai_core.core.errors import BadRequest, UnknownName, XaiError


def test_pca_is_the_singular_value_decomposition():
    """Up to the sign of each axis, and to float32."""
    inputs = np.random.default_rng(0).normal(size=(60, 9)) * np.arange(1, 10)
    points, shares = embedding_map(inputs)
    left, sizes, _ = np.linalg.svd(inputs - inputs.mean(0), full_matrices=False)
    expected = left[:, :2] * sizes[:2]
    assert np.abs(points) == pytest.approx(np.abs(expected / np.abs(expected).max()), abs=1e-5)
    assert shares == pytest.approx((sizes**2 / (sizes**2).sum())[:2])
    assert points.dtype == np.float32 and np.abs(points).max() == 1


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_pictures_of_a_class_lie_beside_each_other(projection):
    features, labels, _ = blobs(count=150, classes=3, apart=12)
    points, shares = embedding_map(features, projection)
    nearest = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(return_distance=False)
    assert (labels[nearest] == labels[:, None]).mean() > 0.98
    assert np.isnan(shares).all() == (projection == "tsne")
    assert (embedding_map(features, projection).points == points).all(), "the same seed gives the same map"
    assert np.abs(points).max() == 1


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_pictures_that_do_not_differ_lie_at_zero(projection):
    assert not embedding_map(np.ones((8, 4)), projection).points.any()


def test_few_pictures_have_a_map():
    assert embedding_map([[1.0, 2.0]]).points.tolist() == [[0, 0]]
    points, shares = embedding_map([[0.0, 0.0], [3.0, 4.0]])
    assert np.abs(points[:, 0]).tolist() == [1, 1] and shares[0] == pytest.approx(1) and not points[:, 1].round(6).any()
    assert embedding_map([[1.0], [2.0], [4.0]]).points[:, 1].tolist() == [0, 0, 0]
    assert embedding_map(np.random.default_rng(0).normal(size=(5, 3)), "tsne").points.shape == (5, 2)


@pytest.mark.parametrize(
    ("embeddings", "projection", "message"),
    [
        (np.zeros((0, 4)), "pca", "one row of embeddings"),
        (np.zeros(4), "pca", "one row of embeddings"),
        ([[0.0], [np.inf]], "pca", "not finite"),
        (np.zeros((4, 2)), "tsne", "5 to 5,000 pictures, not 4"),
        (np.zeros((MOST + 1, 2)), "tsne", "not 5,001"),
    ],
)
def test_what_has_no_map_is_refused_in_a_sentence(embeddings, projection, message):
    with pytest.raises(BadRequest, match=message):
        embedding_map(embeddings, projection)
    with pytest.raises(UnknownName):
        embedding_map(np.zeros((5, 2)), "umap")


def test_tsne_that_is_tracked_is_the_same_map():
    points = np.random.default_rng(0).normal(size=(60, 8))
    looks = []

    def track(items):
        for item in items:
            looks.append(item)
            yield item

    np.testing.assert_allclose(embedding_map(points, "tsne", track=track).points, embedding_map(points, "tsne").points)
    assert looks


def test_tsne_ends_within_two_seconds_where_its_track_raises(monkeypatch):
    """Of five thousand pictures it takes many seconds; its process has ended when the call has."""
    raised, processes = [], []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: processes.append(start(*a, **k)) or processes[-1])

    def track(items):
        yield from list(items)[:2]
        raised.append(time.monotonic())
        raise CancelledError

    with pytest.raises(CancelledError):
        placed(np.random.default_rng(0).normal(size=(MOST, 50)), 30, 0, track)
    assert time.monotonic() - raised[0] < 2 and processes[0].returncode == -signal.SIGKILL


def test_tsne_that_fails_says_why():
    with pytest.raises(XaiError, match=r"t-SNE ended early: .*perplexity"):
        placed(np.zeros((3, 2)), 30, 0, iter)
