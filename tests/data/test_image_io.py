"""Every file of the corpus gives the right picture or one clear sentence; none is run, none disturbs another thread.

The corpus is made by `corpus.py` (files that open) and `corpus_refused.py` (files that do not).
"""

import io
import os
import random
import subprocess
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from corpus import SIZE, good
from corpus_refused import bad
from PIL import Image

from xai_core.core.errors import BadPicture
from xai_core.data.image_io import MAX_BYTES, open_picture, to_rgb
from xai_core.data.preprocessing import prepare
from xai_core.models.zoo.catalog import CARDS

GOOD, BAD = good(), bad()
RECIPE = CARDS["efficientnet_lite0"].checkpoints[0].recipe


def named(files):
    return pytest.mark.parametrize("file", files, ids=lambda file: file.name)


def opened(data):
    """What comes of a file: its pixels, or the sentence that refuses it."""
    try:
        return open_picture(data).tobytes()
    except BadPicture as refusal:
        return str(refusal)


def test_the_corpus_is_large_enough_and_every_file_has_a_name_of_its_own():
    names = [file.name for file in (*GOOD, *BAD)]
    assert len(names) >= 40 and len(set(names)) == len(names)


@named(GOOD)
def test_good_files_show_the_right_colours(file):
    picture = open_picture(file.data)
    assert (picture.mode, picture.size) == ("RGB", file.size)
    width, height = file.size
    found = [picture.getpixel((int(width * x), int(height * y))) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    assert np.abs(np.subtract(found, file.colours)).max() <= file.tolerance, found
    assert picture.info == {}, "metadata would travel with whatever is saved from this picture"


@named(BAD)
def test_bad_files_are_refused_in_one_sentence(file):
    with pytest.raises(BadPicture) as refusal:
        open_picture(file.data)
    message = str(refusal.value)
    assert file.says in message
    assert "\n" not in message and message.endswith(".") and "()" not in message


@named(GOOD)
def test_good_files_become_what_a_network_sees(file):
    picture = open_picture(file.data)
    prepared = prepare(picture, RECIPE)
    assert prepared.pixels.shape == (3, 224, 224)
    assert prepared.pixels.min() >= 0 and prepared.pixels.max() <= 1
    left, top, right, bottom = prepared.box
    assert 0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height
    # A square of 224 pixels out of a shorter side of 256, in the middle but for the rounding to whole pixels.
    pixel = min(picture.size) / 256
    assert right - left == pytest.approx(224 * pixel, rel=0.05) == pytest.approx(bottom - top, rel=0.05)
    assert left + right == pytest.approx(picture.width, abs=2 * pixel)
    assert top + bottom == pytest.approx(picture.height, abs=2 * pixel)


def test_upright_pictures_of_all_orientations_are_equal_to_the_last_pixel():
    upright = {file.name: open_picture(file.data).tobytes() for file in GOOD if file.name.startswith("orientation-")}
    lossless = [pixels for name, pixels in upright.items() if not name.endswith(".jpg")]
    assert len(lossless) >= 8 and len(set(lossless)) == 1


def test_nothing_is_run_and_nothing_is_written(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError(f"a picture started {args}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "system", refuse)
    for file in (*GOOD, *BAD):
        opened(file.data)
    assert list(tmp_path.iterdir()) == []


def test_postscript_would_be_run_if_it_were_let_in(monkeypatch):
    """The check above can fail: Pillow alone starts a program on the same file."""
    started = []
    monkeypatch.setattr(subprocess, "check_call", lambda *args, **options: started.append(args))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    data = next(file.data for file in BAD if file.name == "drawing.eps")
    with pytest.raises(OSError):
        Image.open(io.BytesIO(data), formats=["EPS"]).load()
    assert started


def test_eight_threads_give_the_serial_results_and_leave_the_filters_of_warnings_alone():
    """`warnings.catch_warnings` swaps a list of the whole process: two threads inside it at once corrupt it."""
    files = [file.data for file in (*GOOD, *BAD) if len(file.data) < 10**6]
    serial = [opened(data) for data in files]
    before = list(warnings.filters)
    shuffled = [random.Random(seed).sample(range(len(files)), len(files)) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda order: {index: opened(files[index]) for index in order}, shuffled))
    assert all(one[index] == serial[index] for one in found for index in range(len(files)))
    assert warnings.filters == before


def test_damage_anywhere_is_an_answer_and_never_another_error():
    """1,500 files with a few bytes changed, the same in every run: a picture, or a refusal in one line."""
    draw = random.Random(0)
    small = [file.data for file in GOOD if len(file.data) < 10_000]
    for _ in range(1500):
        data = bytearray(draw.choice(small))
        for _ in range(draw.choice((1, 2, 8))):
            data[draw.randrange(min(len(data), draw.choice((64, 10_000))))] = draw.randrange(256)
        found = opened(bytes(data))
        assert isinstance(found, bytes) or "\n" not in found


def test_files_on_disk_are_opened_by_their_content(tmp_path):
    for file in (*GOOD[:3], *BAD[:3]):
        path = tmp_path / file.name
        path.write_bytes(file.data)
        assert opened(path) == opened(str(path)) == opened(file.data)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (".", "not a file"),
        ("missing.png", "No such file"),
        ("two\nlines.png", "No such file"),
        ("null\0.png", "Cannot read"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_paths_that_lead_to_no_file(tmp_path, path, says):
    with pytest.raises(BadPicture, match=says) as refusal:
        open_picture(tmp_path / path)
    assert "\n" not in str(refusal.value) and str(refusal.value).endswith(".")


def test_a_device_is_no_file():
    """Some have no end (/dev/zero), others wait for ever (a pipe): none is read."""
    with pytest.raises(BadPicture, match="not a file"):
        open_picture(os.devnull)


def test_a_file_over_the_limit_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES * 500)  # 10 GB that take no space
    with pytest.raises(BadPicture, match="more than 20 MB"):
        open_picture(path)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F", "1"])
def test_pictures_that_callers_opened_themselves_are_converted_alike(mode):
    """A PIL picture of any mode goes through the same rules as a file: white stays white."""
    white = Image.new("RGB", SIZE, "white").convert("L" if mode == "I;16" else mode)
    white = Image.fromarray(np.full(SIZE[::-1], 65535, np.uint16)) if mode == "I;16" else white
    assert white.mode == mode
    assert to_rgb(white).getextrema() == ((255, 255),) * 3
