"""What `launch` refuses, and how its sessions come and go in one process. A browser opens one in tests/browser."""

import sys
import urllib.request

import numpy as np
import pytest
from torch import nn

import xai_core
from xai_core.app import own_server
from xai_core.core.errors import BadRequest
from xai_core.data import datasets
from xai_core.models.zoo.catalog import cards

NET = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
PICTURES = [(np.full((8, 8, 3), 30 * number, np.uint8), number % 2) for number in range(4)]


def is_healthy(session) -> bool:
    address = session.url.rpartition("/")[0]
    return urllib.request.urlopen(f"{address}/_stcore/health", timeout=30).read() == b"ok"


@pytest.fixture
def kept_main(monkeypatch):
    monkeypatch.setattr(own_server.page_setup, "_main_module", None)
    return sys.modules["__main__"]


def test_sessions_share_one_server_and_the_last_one_stops_it(kept_main, capsys):
    first = xai_core.launch(NET, PICTURES, class_names=["ant", "bee"])
    try:
        assert is_healthy(first) and first.url in capsys.readouterr().out
        assert "/Misclassifications?model=Your%20model&dataset=Your%20pictures" in first.url
        assert next(iter(cards())) == "Your model" and cards()["Your model"].classes == ("ant", "bee")
        assert datasets.given() == ("Your pictures",)
        second = xai_core.launch({"Second": NET})
        assert second.url.startswith(first.url.rpartition("/")[0]) and "/Single_image?model=Second" in second.url
        second.close()
        assert "Second" not in cards() and is_healthy(first)
    finally:
        first.close()
    first.close()
    assert "closed" in repr(first) and "Your model" not in cards() and not datasets.given()
    with pytest.raises(OSError):
        is_healthy(first)
    again = xai_core.launch(NET)
    try:
        assert is_healthy(again), "another one can be opened afterwards"
    finally:
        again.close()


@pytest.mark.parametrize(
    ("model", "dataset", "more", "words"),
    [
        ({}, None, {}, "Give at least one model"),
        (7, None, {}, "Your model is an object of type int: give a torch module"),
        ({"a/b": NET}, None, {}, "of a model must begin with"),
        ({"efficientnet_lite0": NET}, None, {}, "There is a model efficientnet_lite0 already"),
        (NET, None, {"class_names": ["ant"]}, "Your model: The network has 2 classes, but 1 class names are given"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), None, {}, "Your model: The network takes pictures of 1 channel"),
        (NET, "no/such/folder", {}, "There is no file or folder no/such/folder"),
        (NET, [], {}, "The list holds no pictures"),
        (NET, [PICTURES[0][0]], {}, "number 0 is no pair"),
    ],
)
def test_what_cannot_be_opened_is_refused_before_anything_is_served(model, dataset, more, words):
    with pytest.raises(BadRequest, match=words):
        xai_core.launch(model, dataset, **more)
    assert own_server._served is None and not datasets.given()
