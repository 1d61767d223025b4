"""The command line: every mistake is status 2 and one line on the standard error, and leaves nothing half-written."""

import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from xai_core.__main__ import main
from xai_core.data.samples import load_sample
from xai_core.models import loading
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import CARDS


@pytest.fixture
def loaded(lite0: ExplainableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model is not loaded again for each command."""
    real = loading.load_model

    def load(id: str, weights: str | None = None) -> ExplainableModel:
        return lite0 if (id, weights) == (lite0.id, None) else real(id, weights)

    monkeypatch.setattr(loading, "load_model", load)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture in a file: a cat, 120 x 80."""
    path = tmp_path / "my cat.png"
    load_sample("chelsea").resize((120, 80)).save(path)
    return path


MISTAKES = {  # arguments, a word of the message
    "no command": ([], "required"),
    "no such command": (["explian"], "invalid choice"),
    "no picture": (["explain"], "required"),
    "no such argument": (["explain", "PHOTO", "--colour", "red"], "unrecognized"),
    "missing file": (["explain", "nowhere.png"], "No such file"),
    "a folder without pictures": (["explain", str(Path(__file__).parent)], "holds no pictures"),
    "a choice among one picture": (["explain", "PHOTO", "--errors"], "chooses among many pictures"),
    "not a picture": (["explain", __file__], "not an intact picture"),
    "no such model": (["explain", "PHOTO", "--model", "resnet51"], "resnet50"),
    "no such checkpoint": (["explain", "PHOTO", "--weights", "v9"], "no checkpoint 'v9'"),
    "no such method": (["explain", "PHOTO", "--method", "grad_cat"], "grad_cam"),
    "method on two lines": (["explain", "PHOTO", "--method", "grad\ncam?!\nx"], "There is no method"),
    "no such class": (["explain", "PHOTO", "--target", "unicorns"], "no class 'unicorns'"),
    "class out of range": (["explain", "PHOTO", "--target", "1000"], "0 to 999"),
    "negative class": (["explain", "PHOTO", "--target=-1"], "0 to 999"),
    "ambiguous class": (["explain", "PHOTO", "--target", "crane"], "134 (crane (bird)), 517 (crane (machine))"),
    "no such rival": (["explain", "PHOTO", "--rival", "unicorns"], "no class 'unicorns'"),
    "its own rival": (["explain", "PHOTO", "--target", "281", "--rival", "tabby"], "own rival"),
    "no such cut": (["explain", "PHOTO", "--cut", "layer9"], "no cut 'layer9'"),
    "no such option": (["explain", "PHOTO", "--option", "window=8"], "no option 'window'"),
    "not an option of the method": (["explain", "PHOTO", "--option", "target=3"], "no option 'target'"),
    "seed as an option": (["explain", "PHOTO", "--method", "smooth_grad", "--option", "seed=3"], "no option 'seed'"),
    "option without =": (["explain", "PHOTO", "--option", "relu"], "NAME=VALUE"),
    "option without name": (["explain", "PHOTO", "--option", "=1"], "NAME=VALUE"),
    "not a boolean": (["explain", "PHOTO", "--option", "relu=perhaps"], "true or false"),
    "not a number": (["explain", "PHOTO", "--method", "occlusion", "--option", "window=big"], "whole number from 8"),
    "out of bounds": (["explain", "PHOTO", "--method", "occlusion", "--option", "window=7"], "whole number from 8"),
    "not a choice": (["explain", "PHOTO", "--method", "occlusion", "--option", "fill=red"], "one of black"),
    "no such precision": (["explain", "PHOTO", "--precision", "double"], "exact, fast"),
    "fast where it is not offered": (["explain", "PHOTO", "--method", "saliency", "--precision", "fast"], "exact"),
    "seed is no number": (["explain", "PHOTO", "--seed", "x"], "--seed"),
    "folder is a file": (["explain", "PHOTO", "--out", __file__], "Cannot write"),
    "folder below a file": (["explain", "PHOTO", "--out", f"{__file__}/below"], "Cannot write"),
}


def fails(arguments: list[str], capsys) -> str:
    """Status 2, nothing on the standard output, one line on the standard error: that line."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.endswith("\n") and len(said.err.splitlines()) == 1, said.err
    return said.err


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(loaded, photo, tmp_path, capsys, mistake):
    arguments, says = MISTAKES[mistake]
    arguments = [str(photo) if one == "PHOTO" else one for one in arguments]
    if "explain" in arguments and "--out" not in arguments:
        arguments += ["--out", str(tmp_path / "out")]
    assert says in fails(arguments, capsys)
    assert list(tmp_path.iterdir()) == [photo]


def test_weights_that_are_not_there(photo, tmp_path, monkeypatch, capsys):
    """The message names what to fetch and where to put it; neither weights nor results are left."""

    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    said = fails(["explain", str(photo), "--model", "resnet50", "--out", str(tmp_path / "out")], capsys)
    file = CARDS["resnet50"].checkpoints[0].files[0]
    assert "no route to host" in said and file.url in said and str(tmp_path / "weights" / file.name) in said
    assert not (tmp_path / "out").exists() and not (tmp_path / "weights" / file.name).exists()


def test_a_disk_that_fills_up_leaves_whole_files_only(loaded, photo, tmp_path, monkeypatch, capsys):
    real = os.replace

    def replace(source, target):
        if str(target).endswith(".npz"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert "No space left" in fails(["explain", str(photo), "--out", str(tmp_path / "out")], capsys)
    (left,) = (tmp_path / "out").iterdir()
    with Image.open(left) as png:
        png.load()
