"""`audit`: a folder with a report, tables, lists and pictures, from one command."""

from pathlib import Path

import pytest

from xai_core.__main__ import main
from xai_core.data.datasets import open_dataset


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """120 pictures of the planted world in a folder, with their metadata."""
    folder = tmp_path_factory.mktemp("audit") / "pictures"
    assert main(["world", "--out", str(folder), "--count", "120", "--seed", "3"]) == 0
    return folder


def test_one_command_writes_the_whole_audit_and_again_the_same(pictures, tmp_path, capsys):
    command = ["audit", str(pictures), "--model", "world_planted", "--out", str(tmp_path / "out"), "--pictures", "8"]
    assert main(command) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "of 120 pictures are predicted correctly" in printed and printed.rstrip().endswith("report.html")
    first = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "out").rglob("*.csv")}
    (tmp_path / "out" / "tables" / "of-an-earlier-audit.csv").write_text("old")
    assert main(command) == 0
    assert {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "out").rglob("*.csv")} == first
    assert len(open_dataset(pictures).samples) == 120


def test_a_folder_with_something_else_is_left_alone(pictures, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["audit", str(pictures), "--model", "world_planted", "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
