"""`world` writes pictures, metadata and masks, which open as a dataset; what cannot be written is told in one line."""

import json

import numpy as np
import pandas as pd
import pytest
from skimage.io import imread

from xai_core.__main__ import main
from xai_core.data.datasets import open_dataset, world_dataset
from xai_core.data.world.planted import MOST_PICTURES, planted
from xai_core.data.world.scene import draw


def test_a_world_is_written_as_a_dataset(tmp_path, capsys):
    out = tmp_path / "deep" / "world"
    assert main(["world", "--out", str(out), "--count", "30", "--seed", "5", "--planted", "mark=0.5", "label_noise"]) == 0
    assert "planted: label_noise 0.04, mark 0.5" in capsys.readouterr().out
    drawn = world_dataset(planted(mark=0.5, label_noise=0.04), 5, "test", 30, "drawn")
    written = open_dataset(out)
    assert {one.name for one in written.samples} == {one.name for one in drawn.samples} and written.classes == drawn.classes
    for one in drawn.samples:
        pixels, masks = draw(drawn.scene(one.name))
        assert np.array_equal(np.asarray(written.open(one.name)), pixels)
        with np.load(out / "masks" / one.name.replace(".png", ".npz")) as stored:
            assert set(stored) == set(masks)
            assert all(np.abs(stored[part] / 255 - mask).max() <= 0.5 / 255 + 1e-6 for part, mask in masks.items())
    marked = {f"truth: {name}" for name in drawn.truth}
    assert written.truth == marked | {"truth: classes"} and "label" not in written.metadata
    assert set(written.metadata) == (set(drawn.metadata) - drawn.truth) | written.truth
    names = list(drawn.metadata.index)
    assert written.metadata.loc[names, "background"].tolist() == drawn.metadata["background"].tolist()
    assert json.loads((out / "world.json").read_text())["planted"] == {"label_noise": 0.04, "mark": 0.5}
    assert list(pd.read_csv(out / "metadata.csv")["path"]) == names
    assert not [path for path in out.parent.iterdir() if path != out]


def test_pictures_of_another_size(tmp_path):
    assert main(["world", "--out", str(tmp_path / "w"), "--count", "10", "--size", "64"]) == 0
    pictures = list((tmp_path / "w").glob("*/*.png"))
    assert len(pictures) == 10 and {imread(path).shape for path in pictures} == {(64, 64, 3)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--planted", "fog"], "There is no cause 'fog'"),
        (["--planted", "mark=2"], "The rate of mark is 2"),
        (["--planted", "mark=often"], "'often' is no rate of mark"),
        (["--broken", "mark"], "not planted in this world"),
        (["--count", "0"], "not 0"),
        (["--count", str(MOST_PICTURES + 1)], "not 100,001"),
        (["--seed", "-1"], "The seed is -1"),
        (["--size", "5"], "not 5"),
        (["--split", "validation"], "invalid choice"),
    ],
)
def test_what_cannot_be_written_is_told_in_one_line(tmp_path, capsys, arguments, words):
    assert main(["world", "--out", str(tmp_path / "w"), "--count", "3", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["world", "--out", str(tmp_path), "--count", "3"]) == 2
    assert "exists already" in capsys.readouterr().err and [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_write_that_fails_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(np, "save", lambda *args, **options: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert main(["world", "--out", str(tmp_path / "w"), "--count", "3"]) == 2
    assert "No space left" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
