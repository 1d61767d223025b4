"""Variants on the command line: three variants of one method are three rows, each equal to `explain` with these options."""

import csv
import io
import json

import numpy as np
import pytest
from small_models import pictures

from xai_core.__main__ import main
from xai_core.attribution.explain import explain
from xai_core.data.samples import load_sample
from xai_core.evaluation.store import open_run
from xai_core.explanation import rendering
from xai_core.models.loading import load_model
from xai_core.pairs import benchmark
from xai_core.pairs.benchmark_runs import open_benchmark

NETWORK = "world_clean"


@pytest.fixture(scope="module")
def model():
    return load_model(NETWORK)


@pytest.fixture(scope="module")
def given(model):
    """Three variants of Grad-CAM, each with its settings as `explain` takes them."""
    cut = model.cuts[1]
    return {
        "grad_cam": {},
        f"grad_cam@cut={cut}": {"cut": cut},
        f"grad_cam@cut={cut}+eigen=true": {"cut": cut, "eigen": True},
    }


def test_compare(model, given, tmp_path, capsys):
    names = ",".join([*[*given][:2], f"Grad-CAM@eigen=on+cut={model.cuts[1]}"])
    assert main(["compare", "coffee", "--model", NETWORK, "--methods", names, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    with np.load(tmp_path / "coffee_methods.npz") as file:  # an open file fails the test in which it is collected
        stored = dict(file)
    target = explain(model, load_sample("coffee"), "grad_cam").target.removeprefix("logit of ")
    for name, settings in given.items():
        assert name in said
        alone = explain(model, load_sample("coffee"), "grad_cam", target=target, **settings)
        np.testing.assert_array_equal(stored[name], alone.heatmap)
    assert (tmp_path / "coffee_methods.png").is_file()


def test_explain(model, given, tmp_path, capsys):
    for place, (name, settings) in enumerate(given.items()):
        out = tmp_path / str(place)
        assert main(["explain", "coffee", "--model", NETWORK, "--method", name, "--out", str(out)]) == 0
        alone = explain(model, load_sample("coffee"), "grad_cam", **settings)
        told = json.loads((out / "coffee_grad_cam.json").read_text())
        assert told["cut"] == alone.cut and told["options"] == dict(alone.options)
    assert main(["explain", "coffee", "--model", NETWORK, "--method", name, "--cut", "elsewhere", "--out", str(out)]) == 2
    assert "names a cut: leave --cut elsewhere out" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(pictures(2, 64)):
        rendering.to_pil(picture).save(where / f"{number}.png")
    return where


def test_explain_folder(model, given, folder, tmp_path):
    *_, (name, settings) = given.items()
    assert main(["explain", str(folder), "--model", NETWORK, "--method", name, "--out", str(tmp_path)]) == 0
    (table,) = tmp_path.glob("*.json")
    told = json.loads(table.read_text())
    alone = explain(model, str(folder / "0.png"), "grad_cam", **settings)
    assert (told["method"], told["cut"], told["options"]) == ("grad_cam", alone.cut, dict(alone.options))


def test_measure_one_and_many(model, given, folder, tmp_path, capsys):
    arguments = ["--model", NETWORK, "--method", ",".join(given), "--metric", "sparseness", "--out", str(tmp_path)]
    assert main(["measure", str(folder / "0.png"), *arguments]) == 0
    rows = list(csv.DictReader((tmp_path / "0_metrics.csv").read_text("utf-8-sig").splitlines()))
    values = {row["map"]: float(row["value"]) for row in rows if row["map"] in given}
    assert len(values) == 3 and len({*values.values()}) == 3
    assert main(["measure", str(folder), *arguments]) == 0
    text = (tmp_path / f"{folder.name}_metrics.csv").read_text("utf-8-sig")
    many = [row for row in csv.DictReader(io.StringIO(text)) if row["map"] in given]
    assert len(many) == 2 * 3 and {row["map"]: float(row["value"]) for row in many if row["picture"] == "0.png"} == values
    other = ["grad_cam@eigen=true" if part == ",".join(given) else part for part in arguments]
    assert main(["measure", str(folder), *other]) == 2, "a resumed run refuses other variants"
    assert "other settings" in capsys.readouterr().err


def test_evaluate(given, folder, tmp_path, capsys):
    out = str(tmp_path / "run")
    arguments = ["--models", NETWORK, "--methods", ",".join(given), "--metrics", "sparseness", "--out", out]
    assert main(["evaluate", str(folder), *arguments]) == 0
    table = open_run(out).table()
    assert {*given} <= {*table.method} and table.method.isin([*given]).sum() == 2 * 3
    assert all(name in capsys.readouterr().out or name for name in given)
    two = [
        "--models",
        f"{NETWORK},efficientnet_lite0",
        "--methods",
        [*given][1],
        "--metrics",
        "sparseness",
        "--out",
        f"{out}2",
    ]
    assert main(["evaluate", str(folder), *two]) == 2
    assert "names a cut that efficientnet_lite0 (1 of 2 networks) do not have" in capsys.readouterr().err


def test_pairs_benchmark(model, given, folder, tmp_path, capsys):
    names = [*",".join(given).replace("+eigen=true", "").split(",")[:2], "smooth_grad@samples=2"]
    out = tmp_path / "table.csv"
    arguments = [
        "--model",
        NETWORK,
        "--data",
        str(folder),
        "--images",
        "1",
        "--metrics",
        "SI",
        "--step",
        "5000",
        "--out",
        str(out),
    ]
    assert main(["pairs-benchmark", "--methods", ",".join(names), *arguments]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["metric"] for row in rows if row["method"] == names[1]] == ["SI"]
    assert {*names} <= {row["method"] for row in rows}
    stored = open_benchmark(tmp_path / "table.csv.parts")
    assert stored.plan.methods == tuple(names) and len(benchmark.table(stored.pictures, NETWORK)) == len(rows)
    for wrong, words in {
        "grad_cam@cut=none": "no cut 'none'",
        "smooth_grad@sample=2": "no setting of SmoothGrad 'sample'",
    }.items():
        assert main(["pairs-benchmark", "--methods", wrong, *arguments]) == 2
        assert words in capsys.readouterr().err


def test_bad_variants_are_refused_before_any_work(capsys, tmp_path):
    for command in (
        ["compare", "coffee", "--methods"],
        ["measure", "coffee", "--method"],
        ["explain", "coffee", "--method"],
    ):
        for wrong, words in {
            "grad_cam@eigne=true": "There is no setting of Grad-CAM 'eigne'. Known: eigen",
            "smooth_grad@samples=1000": "a whole number from 2 to 200",
            "grad_cam@cut=nowhere": "There is no cut 'nowhere'",
        }.items():
            assert main([*command, wrong, "--model", NETWORK, "--out", str(tmp_path)]) == 2
            assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
