"""The command line: what it writes, and what it lists. (Its mistakes: cli/test_cli_mistakes.py)

Everything runs in this process through `main()`, but for one real run of `python -m xai_core`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xai_core.__main__ import main
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.core import settings
from xai_core.core.options import Choice, Range, options_of
from xai_core.data.image_io import open_picture
from xai_core.data.samples import load_sample
from xai_core.models import loading
from xai_core.models.explainable import ExplainableModel
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import CARDS

ROOT = Path(__file__).parents[2]
TABBY, EGYPTIAN_CAT = 281, 285


@dataclass(frozen=True)
class Taken:
    """What one `explain` left in its folder: the picture, the settings from inside it, the arrays, the JSON."""

    overlay: np.ndarray
    inside_png: dict[str, Any]
    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]


def read(folder: Path, stem: str) -> Taken:
    """Exactly three files are there, and all three open."""
    assert sorted(path.name for path in folder.iterdir()) == [f"{stem}.json", f"{stem}.npz", f"{stem}_overlay.png"]
    with Image.open(folder / f"{stem}_overlay.png") as png, np.load(folder / f"{stem}.npz", allow_pickle=False) as npz:
        assert (png.format, png.mode) == ("PNG", "RGB")
        arrays = dict(npz)
        return Taken(
            overlay=np.asarray(png),
            inside_png=json.loads(png.text["xai_core"]),
            arrays=arrays,
            settings=json.loads((folder / f"{stem}.json").read_text(encoding="utf-8")),
        )


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    return [f"--option={name}={value}" for name, value in options.items()]


def cheap_options(method: str) -> dict[str, Any]:
    """The options of a method with which it needs the fewest passes: each number at the cheaper of its two ends."""
    options = {option.name: option.default for option in options_of(METHODS[method].run)}
    for option in options_of(METHODS[method].run):
        if isinstance(option.bounds, Range):
            ends = [options | {option.name: option.kind(end)} for end in (option.bounds.low, option.bounds.high)]
            cheapest = min([options, *ends], key=lambda some: sum(METHODS[method].passes(some)))
            options = cheapest
    return options


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


@pytest.fixture
def explained(loaded, photo: Path, tmp_path: Path, capsys) -> Callable[..., Taken]:
    """`explained("--method", "saliency")`: run it on the photo; what it left, and nothing on the standard error."""

    def run(*arguments: str) -> Taken:
        out = tmp_path / f"out {len(list(tmp_path.iterdir()))}"
        assert main(["explain", str(photo), "--out", str(out), *arguments]) == 0
        assert capsys.readouterr().err == ""
        method = arguments[arguments.index("--method") + 1] if "--method" in arguments else "grad_cam"
        return read(out, f"my cat_{method}")

    return run


def test_as_a_program(lite0, tmp_path):
    """`python -m xai_core explain` with a sample: three files, a caption, a silent standard error, status 0."""
    out = tmp_path / "new" / "folder"
    command = [sys.executable, "-m", "xai_core", "explain", "chelsea", "--target", "tabby", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    answer, caption, *paths = done.stdout.splitlines()
    assert answer.startswith("Bright places matter most for tabby")
    assert caption.startswith("Target: logit of tabby") and str(out / "chelsea_grad_cam.npz") in paths
    taken, expected = read(out, "chelsea_grad_cam"), explain(lite0, load_sample("chelsea"), "grad_cam", target=TABBY)
    np.testing.assert_allclose(taken.arrays["heatmap"], expected.heatmap, rtol=1e-3, atol=1e-4)
    assert taken.settings["key"] == expected.key
    assert taken.overlay.shape == (300, 451, 3)


ONE_OF_EACH = sorted({method.family: id for id, method in METHODS.items() if method.family != "attention"}.values())


@pytest.mark.parametrize("method", ONE_OF_EACH)
def test_a_method_of_each_family(explained, lite0, photo, method):
    """The files hold what the same call in Python gives."""
    options = cheap_options(method)
    taken = explained("--method", method, "--target", str(TABBY), *as_arguments(options))
    expected = explain(lite0, open_picture(photo), method, target=TABBY, **options)
    assert taken.overlay.shape == (80, 120, 3) and np.ptp(taken.overlay) > 50
    np.testing.assert_array_equal(taken.arrays["heatmap"], expected.heatmap)
    assert taken.arrays["heatmap"].dtype == np.float32
    np.testing.assert_array_equal(taken.arrays["input"], expected.to_input())
    assert tuple(taken.arrays["box"]) == expected.box
    same = {**expected.settings(), "seconds": taken.settings["seconds"]}
    assert taken.settings == json.loads(json.dumps(same))
    assert taken.settings == taken.inside_png == json.loads(str(taken.arrays["settings"]))


def test_the_caption_is_printed_with_the_files(loaded, photo, tmp_path, capsys):
    main(["explain", str(photo), "--out", str(tmp_path / "out")])
    _answer, caption, *paths = capsys.readouterr().out.splitlines()
    assert caption.startswith("Target: ") and "Method: Grad-CAM" in caption
    assert sorted(paths) == sorted(str(path) for path in (tmp_path / "out").iterdir())


def test_a_file_is_preferred_to_the_sample_of_its_name(loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load_sample("coffee").resize((50, 40)).save(tmp_path / "chelsea", "PNG")
    assert main(["explain", "chelsea", "--out", "out"]) == 0
    assert read(tmp_path / "out", "chelsea_grad_cam").settings["picture_size"] == [50, 40]


def test_target_by_name_synonym_index_and_wordnet_id(explained, lite0):
    for asked in ("Egyptian cat", "EGYPTIAN CAT", str(EGYPTIAN_CAT), lite0.wnids[EGYPTIAN_CAT]):
        assert explained("--target", asked).settings["target_key"] == f"logit {EGYPTIAN_CAT}"
    assert explained("--target", "tabby cat").settings["target_key"] == f"logit {TABBY}"


def test_rival_cut_seed_precision_and_options_arrive(explained):
    rival = explained("--target", "tabby", "--rival", "Egyptian cat").settings
    assert rival["target_key"] == f"margin {TABBY} {EGYPTIAN_CAT}"
    assert explained("--cut", "blocks.3.0").settings["cut"] == "blocks.3.0"
    assert explained("--method", "eigen_cam", "--precision", "fast").settings["precision"] == "fast"
    hires = ("--method", "hires_cam", "--target", "657", "--option")
    plain, signed = explained(*hires, "relu=true"), explained(*hires, "relu=false")
    assert (plain.settings["options"]["relu"], signed.settings["options"]["relu"]) == (True, False)
    assert plain.arrays["heatmap"].min() >= 0 > signed.arrays["heatmap"].min()


def test_the_seed_decides_the_draws(explained):
    few = ("--method", "smooth_grad", "--option", "samples=2", "--seed")
    first, again, other = (explained(*few, seed).arrays["heatmap"] for seed in ("1", "1", "2"))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("arguments", [["--help"], ["explain", "--help"], ["methods", "-h"], ["--version"]], ids=" ".join)
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    assert stopped.value.code == 0 and said.err == "" and said.out
    assert "--version" in arguments or said.out.startswith("usage: python -m xai_core")


def listed(command: str, capsys) -> tuple[str, list[dict[str, Any]]]:
    """What `methods` or `models` prints for people, and as JSON."""
    assert main([command]) == 0
    text = capsys.readouterr().out
    assert main([command, "--json"]) == 0
    return text, json.loads(capsys.readouterr().out)


def test_methods_are_listed_with_their_options(capsys):
    text, rows = listed("methods", capsys)
    assert [row["id"] for row in rows] == [line.split()[0] for line in text.splitlines()] == list(METHODS)
    for row in rows:
        method = METHODS[row["id"]]
        assert (row["random"], set(row["fast"]), row["source"]) == (method.random, method.fast, method.source)
        assert set(row["card"]) == {"Why", "Who", "What", "How", "When", "Where", "Beware"} and row["source"]
        assert row["title"] and row["summary"] in text
        for said, option in zip(row["options"], options_of(method.run), strict=True):
            bounds = {Range: {"low", "high"}, Choice: {"values"}, type(None): set()}[type(option.bounds)]
            assert {"name", "type", "default", "help"} | bounds <= set(said) and said["help"]
            assert option.check(said["default"]) == option.default


def test_models_are_listed_with_what_is_ready(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(settings, "RESOURCES", tmp_path)  # without the networks of this project
    text, rows = listed("models", capsys)
    assert [row["id"] for row in rows] == [line.split()[0] for line in text.splitlines()] == list(CARDS)
    for row, line in zip(rows, text.splitlines(), strict=True):
        checkpoints = CARDS[row["id"]].checkpoints
        assert [one["id"] for one in row["checkpoints"]] == [one.id for one in checkpoints]
        assert [one["ready"] for one in row["checkpoints"]] == [locate.find(one) is not None for one in checkpoints]
        assert [one["ready"] for one in row["checkpoints"]] == [all(f.package for f in one.files) for one in checkpoints]
        assert row["licence"] == CARDS[row["id"]].licence and row["licence"] in line
        missing = [file for one in checkpoints for file in one.files if not file.package]
        assert ("to be fetched" in line) == any(file.url for file in missing)
        assert ("by hand" in line) == any(not file.url for file in missing)


def compared(photo: Path, out: Path, *arguments: str) -> dict[str, Any]:
    """What `compare` says of each method in its JSON; exactly three files are there, and all three open."""
    assert main(["compare", str(photo), "--out", str(out), *arguments]) == 0
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".npz", ".png"]
    said = json.loads((out / "my cat_methods.json").read_text(encoding="utf-8"))
    with np.load(out / "my cat_methods.npz", allow_pickle=False) as arrays, Image.open(out / "my cat_methods.png") as sheet:
        assert sorted(arrays) == sorted(said) and sheet.width > 1000
    return said


def test_methods_are_compared_and_checked(loaded, photo, tmp_path, capsys):
    arguments = ("--methods", "Grad-CAM,saliency,edge_detector", "--target", "tabby", "--rival", "Egyptian cat")
    said = compared(photo, tmp_path / "out", *arguments, "--sanity")
    assert list(said) == ["grad_cam", "saliency", "edge_detector"]
    assert {one["target_key"] for one in said.values()} == {f"margin {TABBY} {EGYPTIAN_CAT}"}
    assert all(isinstance(one["checks"]["quick_deletion"], float) for one in said.values())
    edges, gradient = (said[name]["checks"]["sanity"] for name in ("edge_detector", "saliency"))
    assert edges == {"weights_randomised": pytest.approx(1), "another_class": pytest.approx(1)}
    assert abs(gradient["weights_randomised"]) < 0.8
    printed = capsys.readouterr().out
    assert printed.count("deletion (quick)") == printed.count("weights randomised: ρ = ") == 3


def test_without_the_sanity_check_only_the_quick_one_is_made(loaded, photo, tmp_path):
    assert list(compared(photo, tmp_path / "out", "--methods", "uniform_map")["uniform_map"]["checks"]) == ["quick_deletion"]
