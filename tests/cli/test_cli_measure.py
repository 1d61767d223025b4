"""`python -m xai_core metrics` and `measure`."""

import csv
import json

import pandas as pd
import pytest
from PIL import Image

from xai_core.__main__ import main
from xai_core.analysis import scored_maps
from xai_core.attribution.explain import explain
from xai_core.data.image_io import open_picture
from xai_core.data.samples import load_sample
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.measure import measure
from xai_core.models.loading import load_model


def test_the_registry_is_listed(capsys):
    assert main(["metrics"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(METRICS)
    assert main(["metrics", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["deletion"]["direction"] == "lower" and rows["deletion"]["passes"] == 17
    assert rows["energy_pointing_game"]["needs"] == ["box"] and rows["sensitivity_n"]["range"] == [-1, 1]
    assert {option["name"] for option in rows["deletion"]["options"]} == {"substrate", "steps", "pixels", "score"}


def test_maps_are_measured_beside_controls_and_written(capsys, tmp_path):
    arguments = ["--method", "grad_cam,saliency", "--metric", "deletion,energy_pointing_game,max_sensitivity"]
    arguments += ["--option", "deletion.steps=4", "--option", "max_sensitivity.samples=2", "--box", "100,50,300,250"]
    assert main(["measure", "chelsea", *arguments, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "passes, beside those for the maps" in said and "deletion" in said and "↓ grad_cam" in said
    rows = list(csv.DictReader((tmp_path / "chelsea_metrics.csv").read_text("utf-8-sig").splitlines()))
    assert len(rows) == 3 * 6
    one = next(row for row in rows if (row["map"], row["metric"]) == ("grad_cam", "deletion"))
    assert one["variant"] == "Deletion (zero, 4 steps, confidence)" and 0 < float(one["value"]) < 1
    assert float(one["control:uniform_map"]) > 0
    assert one["picture"] == "chelsea" and one["model"] == "efficientnet_lite0" and one["target"] == "logit of tiger cat"
    assert (tmp_path / "chelsea_metrics.png").is_file()
    full = json.loads((tmp_path / "chelsea_metrics.json").read_text())
    found = next(row for row in full if (row["map"], row["metric"]) == ("grad_cam", "deletion"))
    assert len(found["curve"]) == 5 and found["options"]["steps"] == 4 and "ties" in found["facts"]


def test_a_folder_gives_one_table_and_a_sheet_for_each_picture(tmp_path, capsys):
    folder = tmp_path / "some"
    for label, name in {"cup": "coffee", "rocket": "rocket"}.items():
        (folder / label).mkdir(parents=True)
        load_sample(name).resize((80, 64)).save(folder / label / "one.png")
    (folder / "cup" / "broken.png").write_bytes(b"none")
    arguments = ["--models", "world_clean,world_clean/random", "--method", "grad_cam,hires_cam", "--metric", "sparseness"]
    assert main(["measure", str(folder), *arguments, "--out", str(tmp_path / "out")]) == 0
    assert "2 of 3 pictures read; 2 sheets" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "some_metrics.csv", keep_default_na=False, encoding="utf-8-sig")
    by_picture = table.groupby("picture").size().to_dict()
    assert by_picture == {"cup/broken.png": 1, "cup/one.png": 2 * (2 + 4), "rocket/one.png": 2 * (2 + 4)}
    assert table.loc[table["picture"] == "cup/broken.png", "note"].item().startswith("The file is not")
    row = table[(table["picture"] == "cup/one.png") & (table["model"] == "world_clean") & (table["map"] == "grad_cam")]
    model = load_model("world_clean")
    picture = open_picture(folder / "cup" / "one.png")
    alone = measure(model, picture, explain(model, picture, "grad_cam"), "sparseness")
    assert float(row["value"].item()) == pytest.approx(alone.value, abs=1e-6)
    with Image.open(tmp_path / "out" / "some_metrics" / "cup" / "one.png.png") as sheet:
        settings = json.loads(sheet.text["xai_core"])
    assert settings["models"]["world_clean"] == model.fingerprint and settings["methods"] == ["grad_cam", "hires_cam"]


def test_a_run_over_a_folder_that_was_interrupted_goes_on_behind_the_last_whole_picture(tmp_path, monkeypatch, capsys):
    folder, asked, real = tmp_path / "some", [], scored_maps.score_maps
    folder.mkdir()
    for name in ("coffee", "rocket", "chelsea"):
        load_sample(name).resize((80, 64)).save(folder / f"{name}.png")

    def run(out, *more):
        arguments = [
            "--models",
            "world_clean",
            "--method",
            "grad_cam",
            "--metric",
            "sparseness",
            "--out",
            str(tmp_path / out),
        ]
        return main(["measure", str(folder), *arguments, *more])

    def interrupted(*args, **options):
        asked.append(args[0])
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    assert run("whole") == 0
    monkeypatch.setattr(scored_maps, "score_maps", interrupted)
    assert run("out") != 0
    file = tmp_path / "out" / "some_metrics.csv"
    with file.open("ab") as stream:
        stream.write(b'coffee.png,"half of a li')  # as a killed process leaves it
    assert run("out") == 0 and len(asked) == 2 + 2
    assert "1 of 3 pictures are from an earlier run" in capsys.readouterr().out
    measured = [pd.read_csv(tmp_path / out / "some_metrics.csv").drop(columns="seconds") for out in ("whole", "out")]
    pd.testing.assert_frame_equal(*measured)
    assert run("out") == 0 and len(asked) == 2 + 2
    assert run("out", "--seed", "1") == 2
    assert "holds the rows of other settings. Name another folder with --out" in capsys.readouterr().err
    (tmp_path / "out" / "some_metrics" / "progress.json").write_text("{")
    assert run("out") == 2 and "progress.json is damaged" in capsys.readouterr().err


def test_a_network_that_cannot_be_asked_does_not_take_the_others_with_it(capsys, tmp_path):
    """The network of the drawn world has no class "tabby"."""
    arguments = ["--models", "efficientnet_lite0,world_clean", "--target", "tabby", "--metric", "entropy"]
    assert main(["measure", "chelsea", *arguments, "--out", str(tmp_path)]) == 0
    assert "world_clean: failed: There is no class" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "chelsea_metrics.csv", keep_default_na=False, encoding="utf-8-sig")
    assert table.groupby("model").size().to_dict() == {"efficientnet_lite0": 5, "world_clean": 1}
    assert table.loc[table["model"] == "world_clean", "note"].item().startswith("There is no class")


def test_the_self_test_is_told(capsys):
    arguments = ["--metric", "energy_pointing_game,entropy", "--method", "saliency", "--self-test"]
    assert main(["measure", "chelsea", *arguments]) == 0
    said = capsys.readouterr().out
    assert "self-test energy_pointing_game" in said and "Ranks the true map" in said and "needs a box" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "delet"], "There is no metric 'delet'"),
        (["--box", "1,2"], "A box is given as left,top,right,bottom"),
        (["--option", "steps=4"], "An option is given as METRIC.NAME=VALUE"),
        (["--option", "deletion.steps=0", "--metric", "deletion"], "Option steps takes a whole number"),
        (["--box", "900,0,950,10"], "outside the picture"),
        (["--count", "2"], "--count chooses among many pictures"),
        (["--models", "resnet50", "--weights", "random"], "--weights goes with --model"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, message, capsys):
    assert main(["measure", "chelsea", "--method", "uniform_map", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
