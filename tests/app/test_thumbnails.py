"""Thumbnails: made once, small, held where they may be, and never those of another picture."""

import io
from dataclasses import replace

import pytest
import streamlit as st
from PIL import Image

from xai_core.app.shared import opened_datasets, thumbnails
from xai_core.core.errors import BadPicture
from xai_core.data.datasets import open_folder


@pytest.fixture
def folder(tmp_path):
    """Two pictures of one class; no thumbnail is held."""
    thumbnails._of_server().files.clear()
    st.session_state.pop("thumbnails", None)
    (tmp_path / "cat").mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (400, 200), colour).save(tmp_path / "cat" / f"{name}.png")
    return tmp_path


def counted(dataset):
    """The dataset, and the list of the pictures that were opened."""
    read = []
    return replace(dataset, read=lambda name: read.append(name) or dataset.read(name), checksum=dataset.content), read


def test_a_thumbnail_is_a_small_jpeg_made_once(folder):
    dataset, read = counted(open_folder(folder))
    first = thumbnails.file(dataset, "cat/a.png")
    with Image.open(io.BytesIO(first)) as small:
        assert small.format == "JPEG" and small.size == (thumbnails.SIDE, thumbnails.SIDE // 2)
        assert small.getpixel((5, 5))[0] > 200
    assert thumbnails.file(dataset, "cat/a.png") is first and read == ["cat/a.png"]
    assert len(first) < 8_000


def test_a_changed_file_has_another_thumbnail_and_a_removed_one_none(folder):
    dataset = open_folder(folder)
    before = thumbnails.file(dataset, "cat/a.png")
    Image.new("RGB", (400, 200), "green").save(folder / "cat" / "a.png")
    assert thumbnails.file(dataset, "cat/a.png") != before
    (folder / "cat" / "a.png").unlink()
    with pytest.raises(BadPicture):
        thumbnails.file(dataset, "cat/a.png")


def test_those_of_an_upload_stay_in_the_session(folder, monkeypatch):
    monkeypatch.setattr(opened_datasets, "is_upload", lambda dataset: True)
    held = thumbnails._Held(thumbnails.cachetools.LRUCache(10**6, len))
    monkeypatch.setattr(thumbnails, "_of_session", lambda: held)
    thumbnails.file(open_folder(folder), "cat/a.png")
    assert len(held.files) == 1 and not thumbnails._of_server().files


def test_the_least_recently_used_ones_leave(folder, monkeypatch):
    dataset = open_folder(folder)
    size = len(thumbnails.file(dataset, "cat/a.png"))
    held = thumbnails._Held(thumbnails.cachetools.LRUCache(size * 1.5, len))
    monkeypatch.setattr(thumbnails, "_of_server", lambda: held)
    for name in ("a", "b"):
        thumbnails.file(dataset, f"cat/{name}.png")
    assert [key.rpartition(" ")[2] for key in held.files] == ["cat/b.png"]
