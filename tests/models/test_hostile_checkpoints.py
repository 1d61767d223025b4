"""Checkpoints and cards as strangers send them: none runs code, reaches the network, hangs or ends in another error than
one sentence."""

import os
import pickle
import socket

import pytest
import torch
from limits import limited, one_sentence

from xai_core.core import settings
from xai_core.core.errors import BadCard, XaiError
from xai_core.models.loading import load_model
from xai_core.models.zoo import user_cards
from xai_core.models.zoo.catalog import CARDS

CARD = 'family = "resnet"\narchitecture = "resnet18"\nfile = "mine.pth"\nclasses = ["a", "b"]\ninput_size = 32\n'


class Malicious:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder of weights, and no network."""

    def refuse(*_):
        raise AssertionError("it reaches for the network")

    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("XAI_SHARED_WEIGHTS", raising=False)
    monkeypatch.setattr(settings, "RESOURCES", tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def holding_itself():
    state = {"weight": torch.zeros(1)}
    state["again"] = state
    return state


def holding_another_many_times():
    state = {}
    for _ in range(60):
        state = {str(number): state for number in range(2)}
    return state


CHECKPOINTS = {
    "holds itself": holding_itself,
    "holds another many times": holding_another_many_times,
    "nested tensor": lambda: {"conv1.weight": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])},
    "sparse tensor": lambda: {"conv1.weight": torch.eye(64).to_sparse()},
    "complex tensor": lambda: {"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.complex64)},
    "quantised tensor": lambda: {"conv1.weight": torch.quantize_per_tensor(torch.zeros(64, 3, 7, 7), 0.1, 0, torch.qint8)},
    "a list": lambda: [torch.zeros(1)],
    "a tensor": lambda: torch.zeros(1),
    "nothing": dict,
    "numbers as names": lambda: {1: torch.zeros(1), (2, 3): torch.zeros(1)},
    "another network": lambda: {"weight": torch.zeros(3, 3)},
}
BYTES = {"empty": b"", "garbage": b"garbage" * 99, "pickle": pickle.dumps(Malicious()), "zip": b"PK\3\4" + bytes(99)}


def refused(act):
    with limited(), pytest.raises(XaiError) as refusal:
        act()
    assert one_sentence(refusal.value), str(refusal.value)
    return refusal.value


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch warns of the kinds of tensors that are made here
@pytest.mark.parametrize("name", [*CHECKPOINTS, *BYTES])
def test_checkpoints(folder, name):
    (folder / "mine.toml").write_text(CARD)
    if name in BYTES:
        (folder / "mine.pth").write_bytes(BYTES[name])
    else:
        torch.save(CHECKPOINTS[name](), folder / "mine.pth")
    refused(lambda: load_model("mine"))
    assert not (folder / "executed").exists()


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)], ids=["fifo", "folder", "link"]
)
@pytest.mark.parametrize("name", ["mine.pth", "mine.toml", "classes.txt"])
def test_what_is_no_file(folder, make, name):
    (folder / "mine.toml").write_text(CARD.replace('["a", "b"]', '"classes.txt"' if name == "classes.txt" else '["a", "b"]'))
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    refused(lambda: load_model("mine"))


HUBS = ["hf-hub:a/b", "hf_hub:a/b", "local-dir:/tmp/x", "hf_hub", "https://example.org/x.pth", "file:///etc/passwd"]
# torchvision fetches a trained backbone for these when they are made.
WITH_BACKBONES = ["fcn_resnet50", "deeplabv3_resnet50", "fasterrcnn_resnet50_fpn", "lraspp_mobilenet_v3_large"]


@pytest.mark.parametrize("architecture", [*HUBS, *WITH_BACKBONES])
@pytest.mark.parametrize("family", ["resnet", "efficientnet"])
def test_no_architecture_reaches_the_network(folder, architecture, family):
    (folder / "mine.toml").write_text(CARD.replace("resnet18", architecture).replace('"resnet"', f'"{family}"'))
    (folder / "mine.pth").write_bytes(b"x")
    refused(lambda: load_model("mine", "random"))


@pytest.mark.parametrize("allowed", ["0", "1"])
def test_the_owner_may_allow_architectures_of_the_hub(folder, monkeypatch, allowed):
    """They go to the network only then; where it does not answer, that is said."""
    tried = []

    def no_answer(*_):
        tried.append(1)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the library of the hub waits and tries again
    monkeypatch.setenv("XAI_HUB_CARDS", allowed)
    (folder / "mine.toml").write_text(CARD.replace("resnet18", "hf-hub:owner/name").replace('"resnet"', '"efficientnet"'))
    error = refused(lambda: load_model("mine", "random"))
    assert bool(tried) == (allowed == "1") and ("XAI_HUB_CARDS" in str(error)) == (allowed == "0"), error


CARDS_OF_STRANGERS = {
    "nested": "a = " + "[" * 50_000, "not UTF-8": b"\xff\xff", "large": "#" * (2 * 2**20), "a list": "[[x]]",
    "outside": CARD.replace("mine.pth", "../mine.pth"), "absolute": CARD.replace("mine.pth", "/etc/passwd"),
    "null in a name": CARD.replace("mine.pth", "a\\u0000b"), "numbers": CARD.replace('["a", "b"]', "[1, 2]"),
    "tables": CARD.replace('"resnet18"', "{a = 1}"), "size": CARD.replace("= 32", "= 1e9"), "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("name", CARDS_OF_STRANGERS)
def test_cards(folder, name):
    text = CARDS_OF_STRANGERS[name]
    (folder / "mine.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with limited():
        card = user_cards.card_at(folder / "mine.toml", CARDS)
    assert isinstance(card, BadCard) and one_sentence(card), card
