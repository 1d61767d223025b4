"""`audit`: a folder with a report, tables, lists and pictures, from one command."""

from pathlib import Path

import pytest

from xai_core.__main__ import main
from xai_core.core.settings import RESOURCES
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import settings_of


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """120 pictures of the planted world in a folder, with their metadata."""
    folder = tmp_path_factory.mktemp("audit") / "pictures"
    assert main(["world", "--out", str(folder), "--count", "120", "--seed", "3"]) == 0
    return folder


def test_one_command_writes_the_whole_audit_and_again_the_same(pictures, tmp_path, capsys):
    training = tmp_path / "training.parquet"
    assert main(["classify", str(pictures), "--model", "world_planted", "--out", str(training), "--embeddings"]) == 0
    command = ["audit", str(pictures), "--model", "world_planted", "--out", str(tmp_path / "out"), "--pictures", "8"]
    command += ["--training", str(training)]
    assert main(command) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "of 120 pictures are predicted correctly" in printed and printed.rstrip().endswith("report.html")
    assert "10 of 10 labels are classes of the model" in printed and "statistics of 120 of 120 pictures" in printed
    assert "a probe of 120 training pictures" in printed and "Grad-CAM maps of" in printed
    report = (tmp_path / "out" / "report.md").read_text()
    assert f"{training_title(training)}, 120 of which" in report
    first = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "out").rglob("*.csv")}
    (tmp_path / "out" / "tables" / "of-an-earlier-audit.csv").write_text("old")
    assert main(command) == 0
    assert {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "out").rglob("*.csv")} == first
    assert len(open_dataset(pictures).samples) == 120


def training_title(file):
    return settings_of(file)["dataset"]


@pytest.mark.usefixtures("loaded")
def test_training_predictions_that_do_not_fit_are_refused_before_anything_is_written(
    pictures, predictions, tmp_path, capsys
):
    command = ["audit", str(pictures), "--model", "world_planted", "--out", str(tmp_path / "out"), "--training"]
    assert main([*command, str(predictions)]) == 2
    assert "has no embeddings" in capsys.readouterr().err
    other = RESOURCES / "data" / "predictions" / "world_clean.parquet"
    assert main([*command, str(other)]) == 2
    assert "another model or other weights" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "none.parquet")]) == 2
    assert "is not a file of predictions" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_left_alone(pictures, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["audit", str(pictures), "--model", "world_planted", "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
