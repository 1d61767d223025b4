"""`python -m xai_core weights`: 0, or 2 with one line that says what to do."""

from dataclasses import replace

import pytest
import torch
import torchvision
from http_server import serving

from xai_core.__main__ import main
from xai_core.core import settings
from xai_core.models.zoo.catalog import CARDS

DINO = CARDS["dino_resnet50"]
BACKBONE, PROBE = DINO.checkpoints[0].files
STATE = torchvision.models.resnet18(num_classes=1000).state_dict()
CONTENTS = {
    BACKBONE.name: {name: value for name, value in STATE.items() if not name.startswith("fc.")},
    PROBE.name: {"state_dict": {f"module.linear.{one}": STATE[f"fc.{one}"] for one in ("weight", "bias")}},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder, no proxy, and DINO's ResNet made small."""
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("XAI_SHARED_WEIGHTS", raising=False)
    monkeypatch.setattr(settings, "RESOURCES", tmp_path)  # without the networks of this project
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(CARDS, DINO.id, replace(DINO, architecture="resnet18"))
    return tmp_path / "weights"


@pytest.fixture
def given(tmp_path):
    """The two files, as they came by hand."""
    for name, content in CONTENTS.items():
        torch.save(content, tmp_path / name)
    return tmp_path


@pytest.fixture
def run(capsys):
    """`run("list")`: the exit status, and what was said."""

    def run(*arguments):
        status = main(["weights", *map(str, arguments)])
        said = capsys.readouterr()
        assert status == 0 or (status == 2 and said.err.startswith("error: ") and said.err.count("\n") == 1)
        return status, said.out + said.err

    return run


def test_every_file_is_listed(run):
    status, said = run("list")
    files = [file for card in CARDS.values() for one in card.checkpoints for file in one.files]
    assert status == 0 and len(said.splitlines()) == len(files)
    assert all(file.name in line for file, line in zip(files, said.splitlines(), strict=True))


def test_files_are_imported_one_by_one_and_verified(run, given, folder):
    assert run("verify", DINO.id)[0] == 2
    for file in (BACKBONE, PROBE):
        assert run("import", DINO.id, given / file.name) == (0, f"{folder / file.name}\n")
        assert (folder / file.name).read_bytes() == (given / file.name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == sorted(CONTENTS)
    status, said = run("verify", DINO.id)
    assert status == 0 and said.split() == [DINO.id, "probe", "right"]
    (folder / PROBE.name).write_bytes(b"damaged")
    status, said = run("verify")
    assert status == 2 and f"1 of 2 checkpoints cannot be used: {DINO.id} probe" in said and "is damaged" in said
    assert "efficientnet_lite0" in said


@pytest.mark.parametrize(
    ("id", "file", "says"),
    [
        (DINO.id, "none.pth", "There is no file"),
        (DINO.id, "other name.pth", "is not one of them: dino_resnet50_pretrain.pth, dino_resnet50_linearweights.pth"),
        ("resnet50", PROBE.name, "missing, such as conv1.weight"),
        ("efficientnet_lite0", PROBE.name, "come with the installation"),
        ("resnet5", PROBE.name, "There is no model 'resnet5'"),
    ],
)
def test_what_does_not_fit_is_not_imported(run, given, folder, id, file, says):
    (given / "other name.pth").write_bytes(b"")
    status, said = run("import", id, given / file)
    assert status == 2 and says in said and not folder.exists()
    assert (given / PROBE.name).exists() and "Delete" not in said, "the user's own file"


def test_a_file_with_another_checksum_is_not_imported(run, given, folder):
    torch.save(torchvision.models.resnet50().state_dict(), given / "mine.pth")
    status, said = run("import", "resnet50", given / "mine.pth")
    assert status == 2 and "SHA-256 starts 11ad3fa6" in said and not folder.exists()


def test_fetch_brings_what_is_missing(run, given, folder, monkeypatch):
    run("import", DINO.id, given / BACKBONE.name)
    with serving(data=(given / PROBE.name).read_bytes()) as site:
        probe = replace(PROBE, url=site.url, megabytes=2)
        checkpoint = replace(DINO.checkpoints[0], files=(BACKBONE, probe))
        monkeypatch.setitem(CARDS, DINO.id, replace(CARDS[DINO.id], checkpoints=(checkpoint,)))
        assert run("fetch", DINO.id) == (0, f"{folder / BACKBONE.name}\n{folder / PROBE.name}\n")
        assert run("fetch", DINO.id, "--weights", "probe")[0] == 0
        assert site.asked == [None]
    assert run("verify", DINO.id)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fetch", "simclrv2_r50_1x"], "has no direct address"),
        (["fetch", "resnet5"], "There is no model"),
        (["fetch", "resnet50", "--weights", "V3"], "There is no checkpoint"),
        (["verify", "resnet50"], "No weights of resnet50 are on this machine"),
        (["fetch"], "required"),
        ([], "required"),
    ],
    ids=str,
)
def test_mistakes(run, arguments, says):
    status, said = run(*arguments)
    assert status == 2 and says in said
