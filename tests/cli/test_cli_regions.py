"""`regions`: the sizes in the table are those of the regions; what is missing is said; the table is metadata."""

from pathlib import Path

import pandas as pd
import pytest

from xai_core.__main__ import main
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import read_table
from xai_core.failures import flip_region, keep_region

pytestmark = pytest.mark.usefixtures("loaded")
FEW = ("--option", "segments=8", "--option", "passes=25")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("regions") / "pictures"
    assert main(["world", "--out", str(folder), "--count", "30", "--seed", "1", "--planted", "mark=0.9"]) == 0
    return folder


def regions(predictions: Path, pictures: Path, goal: str, count: int, out: Path) -> list[str]:
    """The command that looks for the regions of a few pictures, in few passes."""
    data = ("--data", str(pictures), "--goal", goal, "--count", str(count))
    return ["regions", str(predictions), *data, *FEW, "--out", str(out)]


def test_sizes_of_both_goals_are_those_of_the_regions(pictures, predictions, network, tmp_path, capsys):
    dataset, rows = open_dataset(pictures), read_table(predictions).set_index("path")
    wrong = rows.index[rows["true_index"] != rows["predicted_index"]]
    assert len(wrong)
    for goal, paths in (("flip", wrong), ("keep", rows.index)):
        out = tmp_path / f"{goal}.csv"
        command = regions(predictions, pictures, goal, 3, out)
        assert main(command) == 0
        table = pd.read_csv(out, encoding="utf-8-sig").set_index("path")
        assert len(table) == min(3, len(paths)) and set(table.index) <= set(paths)
        for path, row in table.iterrows():
            find = {"flip": flip_region, "keep": keep_region}[goal]
            region = find(network, dataset.open(path), int(rows.loc[path, "true_index"]), segments=8, passes=25)
            assert (row["found"], row["passes"]) == (region.state == "found", region.passes)
            assert not row["found"] or row["segments"] == len(region.segments)
        assert f"A region was found for {int(table['found'].sum())} of {len(table)} pictures." in capsys.readouterr().out


def test_the_table_is_metadata_of_the_dataset(pictures, predictions, tmp_path):
    out = pictures / "metadata.csv"
    command = regions(predictions, pictures, "keep", 2, out)
    known = out.read_bytes()
    try:
        assert main(command) == 0
        segments = open_dataset(pictures).metadata["segments"]
        assert segments.dtype == float and segments.notna().sum() <= 2 < len(segments)
    finally:
        out.write_bytes(known)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--goal", "turn"], "no goal 'turn'"),
        (["--option", "passes=3"], "Option passes"),
        (["--predicted", "balloon", "--true", "balloon"], "No picture is as you ask"),
    ],
)
def test_what_cannot_be_asked_is_one_line(pictures, predictions, tmp_path, capsys, arguments, message):
    out = tmp_path / "sizes.csv"
    assert main(["regions", str(predictions), "--data", str(pictures), *arguments, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not out.exists()


def test_a_table_without_predictions_is_refused(pictures, tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text(f"path,label\n{next(pictures.rglob('*.png'))},tent\n")
    assert main(["regions", str(table), "--data", str(pictures), "--out", str(tmp_path / "sizes.csv")]) == 2
    assert "none" in capsys.readouterr().err
