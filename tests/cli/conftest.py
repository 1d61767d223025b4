"""What the tests of several commands share: the planted world's network, and predictions of their pictures."""

from pathlib import Path

import pytest

from xai_core.__main__ import main
from xai_core.models import loading
from xai_core.models.loading import load_model


@pytest.fixture(scope="module")
def network():
    return load_model("world_planted")


@pytest.fixture
def loaded(network, monkeypatch):
    """The network is not loaded again for each command."""
    monkeypatch.setattr(loading, "load_model", lambda id, weights=None: network)


@pytest.fixture(scope="module")
def predictions(pictures, tmp_path_factory) -> Path:
    """Of the `pictures` of a test file."""
    file = tmp_path_factory.mktemp("classified") / "predictions.parquet"
    assert main(["classify", str(pictures), "--model", "world_planted", "--out", str(file)]) == 0
    return file
