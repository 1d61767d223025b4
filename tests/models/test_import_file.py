"""A model of one's own comes in with its card, whole and fitting, or not at all; the page takes it only where it may."""

import json

import pytest
import torch
import torchvision
from opened_pages import ROOT
from streamlit.testing.v1 import AppTest

from xai_core import load_model
from xai_core.core.errors import XaiError
from xai_core.models.import_file import import_own
from xai_core.models.zoo.catalog import cards

SCENES = ["buildings", "forest", "glacier"]
CARD = {"family": "resnet", "architecture": "resnet18", "file": "mine.pth", "classes": SCENES, "input_size": 64}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("XAI_SHARED_WEIGHTS", raising=False)
    return tmp_path / "weights"


@pytest.fixture
def given(tmp_path):
    """A card and the checkpoint it names, side by side."""
    came = tmp_path / "came"
    came.mkdir()
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), came / "mine.pth")
    write(came / "mine.toml")
    return came


def write(path, **changes):
    path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in (CARD | changes).items()))


def test_a_card_and_its_checkpoint_become_a_model(given, folder):
    assert import_own(given / "mine.toml") == "mine"
    assert load_model("mine").class_names == tuple(SCENES)
    assert sorted(path.name for path in folder.iterdir()) == ["mine.pth", "mine.toml"]


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("mine", {"classes": ["a", "b"]}, "cannot be read as the weights"),
        ("mine", {"family": "convnext"}, "family must be one of"),
        ("mine", {"file": "other.pth"}, "other.pth, which is missing"),
        ("mine", {"file": "../mine.pth"}, "lies outside the folder"),
        ("resnet50", {}, "a model of this project already has this name"),
    ],
)
def test_what_does_not_fit_leaves_nothing(given, folder, name, changes, says):
    write(given / f"{name}.toml", **changes)
    with pytest.raises(XaiError, match=says):
        import_own(given / f"{name}.toml")
    assert not folder.exists() or not list(folder.iterdir())


def test_a_name_is_taken_once(given, folder):
    import_own(given / "mine.toml")
    with pytest.raises(XaiError, match="exists already"):
        import_own(given / "mine.toml")
    assert "mine" in cards()


def home() -> AppTest:
    return AppTest.from_file(str(ROOT / "Home.py"), default_timeout=120).run()


def test_the_page_takes_models_only_where_a_setting_allows_it(given, monkeypatch):
    assert not home().get("file_uploader")
    monkeypatch.setenv("XAI_MODEL_UPLOADS", "1")
    app = home()
    files = [(path.name, path.read_bytes(), "application/octet-stream") for path in sorted(given.iterdir())]
    app.file_uploader(key="bring").set_value(files).run()
    app.button[0].click().run()
    assert not app.exception and "mine" in app.success[0].value and "mine" in cards()
