"""`explain` of a folder and of a table of predictions: a sheet, a table, the files of each map, and nothing done twice."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xai_core.__main__ import main
from xai_core.analysis import map_sheet
from xai_core.attribution.explain import explain
from xai_core.data.image_io import open_picture
from xai_core.models import loading
from xai_core.models.loading import load_model

pytestmark = pytest.mark.usefixtures("loaded")
STEM = "pictures_hires_cam"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Twelve pictures of the planted world in a folder, and a file that is none."""
    folder = tmp_path_factory.mktemp("many") / "pictures"
    assert main(["world", "--out", str(folder), "--count", "12", "--seed", "3"]) == 0
    (folder / "tent" / "broken.png").write_bytes(b"none")
    return folder


def explained(source: Path, out: Path, *arguments: str) -> pd.DataFrame:
    """The table that the command wrote."""
    assert (
        main(["explain", str(source), "--model", "world_planted", "--method", "hires_cam", "--out", str(out), *arguments])
        == 0
    )
    (table,) = out.glob("*.csv")
    return pd.read_csv(io.BytesIO(table.read_bytes()), keep_default_na=False, encoding="utf-8-sig")


def test_a_folder_gives_a_sheet_a_table_and_the_files_of_each_map(pictures, network, tmp_path, capsys):
    table = explained(pictures, tmp_path)
    assert "Without a map: 1 of 13" in capsys.readouterr().out
    assert len(table) == 13 and table["problem"][table["path"] == "tent/broken.png"].item().startswith("The file is not")
    settings = json.loads((tmp_path / f"{STEM}.json").read_text())
    assert "one scale shared by 12 maps" in settings["colours"] and settings["weights"] == network.fingerprint
    with Image.open(tmp_path / f"{STEM}.png") as sheet:
        assert json.loads(sheet.text["xai_core"]) == settings
    first = table.iloc[0]
    alone = explain(network, open_picture(pictures / first["path"]), "hires_cam")
    for row in (first, table.iloc[5]):
        files = tmp_path / f"{STEM}_maps" / row["files"]
        assert {end for end in (".npz", ".json", "-overlay.png") if Path(f"{files}{end}").is_file()} == {
            ".npz", ".json", "-overlay.png",
        }  # fmt: skip
    with np.load(tmp_path / f"{STEM}_maps" / f"{first['files']}.npz") as arrays:
        np.testing.assert_allclose(arrays["heatmap"], alone.heatmap, rtol=1e-3, atol=1e-5)
    assert float(first["target value"]) == pytest.approx(alone.target_value, rel=1e-3)


def test_run_again_it_computes_only_what_is_missing(pictures, tmp_path, monkeypatch, capsys):
    table = explained(pictures, tmp_path)
    maps = sorted((tmp_path / f"{STEM}_maps").rglob("*.npz"))
    maps[0].unlink()
    maps[1].write_bytes(b"damaged")
    asked, real = [], map_sheet.answer

    def counting(requests, track):
        asked.append(len(requests[0].pictures))
        return real(requests, track)

    monkeypatch.setattr(map_sheet, "answer", counting)
    pd.testing.assert_frame_equal(explained(pictures, tmp_path), table, rtol=1e-4)
    assert sum(asked) == 2 and "12 maps, 10 of them from an earlier run" in capsys.readouterr().out
    asked.clear()
    explained(pictures, tmp_path, "--option", "relu=false")
    assert sum(asked) == 12  # another option: other maps


@pytest.mark.parametrize("kind", [".parquet", ".csv"])
def test_a_table_of_predictions_with_a_choice(pictures, predictions, tmp_path, kind):
    file, rows = predictions, pd.read_parquet(predictions)
    if kind == ".csv":
        file = tmp_path / "predictions.csv"
        assert main(["classify", str(pictures), "--model", "world_planted", "--out", str(file)]) == 0
    wrong = rows[rows["true"] != rows["predicted"]].sort_values("confidence", ascending=False, kind="stable")
    table = explained(file, tmp_path / "out", "--data", str(pictures), "--errors", "--target", "label")
    assert table["path"].tolist() == wrong["path"].tolist() and len(wrong)
    assert table["explained"].tolist() == [f"logit of {name}" for name in wrong["true"]]


def test_only_the_chosen_pictures_are_classified(pictures, tmp_path):
    table = explained(pictures, tmp_path, "--count", "3", "--seed", "5")
    classified = pd.read_parquet(tmp_path / f"{STEM}_predictions.parquet")
    assert len(classified) <= 3 and set(classified["path"]) <= set(table["path"]) and len(table) == 3
    name = classified["true"].iloc[0]
    of_class = explained(pictures, tmp_path / "class", "--true", name)
    assert set(of_class["true"]) <= {name, ""} and {*of_class["path"]} == {
        path.relative_to(pictures).as_posix() for path in (pictures / name).iterdir()
    }


def test_pictures_without_labels_are_neither_wrong_nor_right(pictures, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, picture in enumerate(sorted(pictures.glob("*/0*.png"))[:3]):
        (flat / f"{number}.png").write_bytes(picture.read_bytes())
    table = explained(flat, tmp_path / "out")
    assert table["right"].tolist() == [""] * 3 and not any(table["problem"])
    assert main(["explain", str(flat), "--errors", "--out", str(tmp_path / "none")]) == 2
    assert "has no labels" in capsys.readouterr().err


MISTAKES = {
    "no data": (["PREDICTIONS"], "--data"),
    "data of a folder": (["PICTURES", "--data", "PICTURES"], "--data goes with"),
    "count below one": (["PICTURES", "--count", "0"], "at least 1"),
    "no such class": (["PICTURES", "--true", "unicorn"], "no class 'unicorn'"),
    "no such option": (["PICTURES", "--option", "window=3"], "no option 'window'"),
    "no such cut": (["PICTURES", "--cut", "layer9"], "no cut 'layer9'"),
    "no such kind": (
        ["PREDICTIONS", "--data", "PICTURES", "--true", "tent", "--predicted", "windmill"],
        "none of this kind",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(pictures, predictions, tmp_path, capsys, mistake):
    arguments, says = MISTAKES[mistake]
    names = {"PICTURES": str(pictures), "PREDICTIONS": str(predictions)}
    assert main(["explain", *(names.get(one, one) for one in arguments), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert says in said and said.startswith("error: ") and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists() or not [*(tmp_path / "out").glob("*.png")]


def test_predictions_of_another_network_are_refused(pictures, predictions, tmp_path, monkeypatch, capsys):
    lite0 = load_model("efficientnet_lite0")
    monkeypatch.setattr(loading, "load_model", lambda id, weights=None: lite0)
    assert main(["explain", str(predictions), "--data", str(pictures), "--out", str(tmp_path)]) == 2
    assert "another model than efficientnet_lite0" in capsys.readouterr().err
