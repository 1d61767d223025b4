"""What is taken away opens again and holds everything; a file that cannot be written is not there, even in part."""

import errno
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from made_maps import LANDSCAPE, made
from PIL import Image

from xai_core.core.errors import XaiError
from xai_core.core.version import __version__
from xai_core.explanation.export import json_text, npz_bytes, png_bytes, write_atomically
from xai_core.explanation.result import Passes

MAP = np.linspace(-2, 3, 49, dtype=np.float32).reshape(7, 7)
EXPLANATIONS = {
    "plain": made(MAP),
    "with facts and errors": made(MAP, facts={"completeness gap": 0.25}, error=np.abs(MAP) / 10),
    "without options": made(MAP, options={}, cut="", **LANDSCAPE),
    "in other scripts": made(MAP, target="logit of 猫 – “tabby”\n\\ é", options={"fill": "grün"}),
}


@pytest.fixture(params=EXPLANATIONS)
def found(request):
    return EXPLANATIONS[request.param]


def test_json_holds_every_setting(found):
    settings = json.loads(json_text(found))
    assert json_text(found).endswith("}\n")
    for name in (
        "target",
        "target_key",
        "model",
        "weights",
        "cut",
        "method",
        "version",
        "options",
        "seed",
        "precision",
    ):
        assert settings[name] == getattr(found, name)
    assert (settings["facts"], settings["picture"]) == (found.facts, found.picture)
    assert (settings["box"], settings["picture_size"]) == (list(found.box), list(found.picture_size))
    assert (settings["key"], settings["grid"], settings["health"]) == (found.key, [7, 7], [])
    assert settings["passes"] == {"forward": 3, "backward": 2, "tail": 0}
    assert settings["software"] == {"xai_core": __version__}
    assert not {"heatmap", "error"} & set(settings)
    assert json_text(found) == json_text(found)


def test_json_writes_nan_and_infinity_as_null():
    """Strict readers, browsers among them, refuse NaN and Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    broken = made(MAP * np.nan, target_value=float("nan"), facts={"gap": float("inf")}, passes=Passes(1.5))
    settings = json.loads(json_text(broken), parse_constant=refuse)
    assert settings["target_value"] is None and settings["facts"] == {"gap": None}
    assert settings["passes"]["forward"] == 1.5 and "not numbers" in settings["health"][0]


def test_npz_opens_without_pickle(found):
    with np.load(io.BytesIO(npz_bytes(found)), allow_pickle=False) as arrays:
        assert set(arrays) == {"heatmap", "input", "box", "settings"} | ({"error"} if found.error is not None else set())
        np.testing.assert_array_equal(arrays["heatmap"], MAP)
        assert arrays["heatmap"].dtype == np.float32 and arrays["input"].shape == found.input_size
        np.testing.assert_array_equal(arrays["input"], found.to_input())
        np.testing.assert_array_equal(arrays["box"], found.box)
        assert str(arrays["settings"]) == json_text(found)
        if found.error is not None:
            np.testing.assert_array_equal(arrays["error"], found.error)


def test_png_carries_the_settings_and_every_pixel(found):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    with Image.open(io.BytesIO(png_bytes(Image.fromarray(pixels), found))) as png:
        assert png.format == "PNG" and png.text["xai_core"] == json_text(found)
        np.testing.assert_array_equal(np.asarray(png), pixels)


def test_the_same_explanation_is_the_same_bytes(found):
    """So that the page and the command line agree, and a file can be compared by its hash."""
    picture = Image.new("RGB", (4, 3), "red")
    assert npz_bytes(found) == npz_bytes(found)
    assert png_bytes(picture, found) == png_bytes(picture, found)


def test_writing_makes_folders_and_replaces_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "result.json"
    write_atomically(path, b"a long first text")
    write_atomically(path, b"short")
    assert path.read_bytes() == b"short"
    assert [one.name for one in path.parent.iterdir()] == ["result.json"]
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it: a temporary file's 600 does not stay


class FullDisk:
    """A temporary file on a disk that fills up in the middle of the data."""

    def __init__(self, *args, **kwargs):
        self.real = tempfile_of(*args, **kwargs)
        self.name = self.real.name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.real.close()

    def write(self, data):
        self.real.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


tempfile_of = tempfile.NamedTemporaryFile


def refused(*_):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


FAILURES = {
    "the disk is full": (tempfile, "NamedTemporaryFile", FullDisk, "No space left"),
    "no file can be made": (tempfile, "NamedTemporaryFile", lambda *_, **__: refused(), "Permission denied"),
    "the rights cannot be set": (Path, "chmod", refused, "Permission denied"),
    "it cannot be moved into place": (os, "replace", refused, "Permission denied"),
}


@pytest.mark.parametrize("before", [None, b"what was there"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, failure, before):
    """One sentence, no part of a file under its name, no temporary file beside it."""
    owner, name, replacement, says = FAILURES[failure]
    path = tmp_path / "result.npz"
    if before:
        path.write_bytes(before)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, replacement)
        with pytest.raises(XaiError, match=f"Cannot write .*result.npz: {says}"):
            write_atomically(path, b"new data" * 1000)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == ([before] if before else [])


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "result.npz", b"data")
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below.json", tmp_path / "folder", tmp_path / ("long" * 100)):
        with pytest.raises(XaiError, match="Cannot write"):
            write_atomically(path, b"data")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
