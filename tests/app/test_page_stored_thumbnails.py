"""The gallery of Misclassifications shows the thumbnails that lie beside the predictions, and opens no picture for them."""

import io
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import streamlit as st
from opened_pages import text
from PIL import Image
from sample_predictions import folders, opened_on_samples, raw_rows  # noqa: F401  (an autouse fixture is among them)

from xai_core.app.shared import predictions, thumbnails
from xai_core.core.errors import BadRequest
from xai_core.data import thumbnail_file
from xai_core.data.corrupted_samples import changed_samples
from xai_core.data.datasets import Dataset
from xai_core.models.loading import load_model

PAGE = "pages/6_Misclassifications.py"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of predictions in a folder of runs with the thumbnails of its pictures; none is held."""
    runs, dataset = tmp_path / "runs", changed_samples()
    runs.mkdir()
    rows = raw_rows()
    copied = runs / "mine.parquet"
    shutil.copy(predictions.file_of(load_model("efficientnet_lite0"), dataset), copied)
    monkeypatch.setenv("XAI_RUNS", str(runs))
    monkeypatch.setattr(predictions, "folder", lambda: tmp_path / "none")
    assert rows["path"].tolist() == pd.read_parquet(copied, columns=["path"])["path"].tolist()
    forget()
    write(copied, dataset, rows["path"].tolist())
    return copied


def forget():
    thumbnails._of_server().files.clear()
    st.session_state.pop("thumbnails", None)


def write(file, dataset, paths, *, lacking=(), digest=None):
    small = [b"" if path in lacking else thumbnail_file.encoded(dataset.open(path)) for path in paths]
    told = {"dataset": dataset.title, "dataset_digest": digest or dataset.digest, "pictures": len(dataset.samples)}
    settings = thumbnail_file.settings_for(told)
    table = pa.table({"path": paths, "thumbnail": small})
    thumbnail_file.write([table], thumbnail_file.file_beside(file), settings)


@pytest.fixture
def opened_pictures(monkeypatch):
    """The pictures that were opened."""
    names, real = [], Dataset.open
    monkeypatch.setattr(Dataset, "open", lambda self, name: names.append(name) or real(self, name))
    return names


def tiles(app):
    """The paths of the gallery's pictures."""
    assert not app.exception
    return [button.key.removeprefix("open ") for button in app.button if (button.key or "").startswith("open ")]


def test_the_gallery_opens_no_picture_and_reads_the_thumbnails_once(file, opened_pictures, monkeypatch):
    reads, real = [], thumbnail_file.Thumbnails.read
    monkeypatch.setattr(thumbnail_file.Thumbnails, "read", lambda *args: reads.append(args[2]) or real(*args))
    app = opened_on_samples(PAGE, true=predictions.EVERY, predicted=predictions.EVERY)
    shown = tiles(app)
    assert len(shown) == 24 and not opened_pictures
    assert [sorted(names) for names in reads] == [sorted(shown)]
    app.run()
    assert tiles(app) == shown and len(reads) == 1 and not opened_pictures  # held since the first run


def test_they_are_the_pictures_and_the_original_stands_in_where_one_is_lacking(file, opened_pictures):
    dataset, paths = changed_samples(), raw_rows()["path"].tolist()
    write(file, dataset, paths, lacking=paths[:1])
    rows = pd.DataFrame({"place": [3, 0, 1], "path": [paths[place] for place in (3, 0, 1)]})
    opened_pictures.clear()
    found = thumbnails.stored(dataset, file, rows)
    assert [*found] == [paths[3], paths[1]] and not opened_pictures
    for path, small in found.items():
        with Image.open(io.BytesIO(small)) as shown, Image.open(io.BytesIO(thumbnails.file(dataset, path))) as original:
            assert shown.format == "JPEG" and shown.size == original.size
            apart = np.abs(np.asarray(shown, float) - np.asarray(original, float))
            assert apart.mean() < 6, path
    assert thumbnails.stored(dataset, None, rows) == {}


@pytest.mark.parametrize("damage", ["another dataset", "half", "no table", "none"])
def test_those_of_another_dataset_and_damaged_ones_leave_the_originals(file, opened_pictures, damage):
    beside = thumbnail_file.file_beside(file)
    if damage == "another dataset":
        write(file, changed_samples(), raw_rows()["path"].tolist(), digest="0" * 64)
    elif damage == "none":
        beside.unlink()
    else:
        data = beside.read_bytes()
        beside.write_bytes(data[: len(data) // 2] if damage == "half" else b"no table")
    opened_pictures.clear()
    app = opened_on_samples(PAGE, true=predictions.EVERY, predicted=predictions.EVERY)
    shown = tiles(app)
    assert len(shown) == 24 and {*shown} <= {*opened_pictures}
    assert "can no longer be read" not in text(app)


def test_damage_that_is_met_while_reading_leaves_the_originals(file, monkeypatch):
    def damaged(*_):
        raise BadRequest("damaged")

    monkeypatch.setattr(thumbnail_file.Thumbnails, "read", damaged)
    rows = pd.DataFrame({"place": [0], "path": raw_rows()["path"].tolist()[:1]})
    assert thumbnails.stored(changed_samples(), file, rows) == {}
