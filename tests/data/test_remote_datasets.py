"""Datasets at an address are what they are on this machine, and whatever a server does is one sentence or one picture's."""

import dataclasses
import pickle
import shutil
import time
import zipfile
from functools import partial
from io import BytesIO

import fsspec
import pandas as pd
import pytest
from PIL import Image
from remote_places import misbehaving, never, put

from xai_core.core import remote
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.data import datasets, remote_datasets
from xai_core.data.datasets import open_dataset
from xai_core.data.image_io import MAX_BYTES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine pictures of three classes with metadata, one picture beside the classes, one file that is none, one too deep."""
    made = tmp_path_factory.mktemp("local") / "animals"
    for place in range(9):
        file = made / "abc"[place % 3] / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (place * 20, 0, 0)).save(file)
    shutil.copy(made / "a" / "0.png", made / "beside.png")
    (made / "a" / "broken.png").write_bytes(b"no picture")
    (made / "a" / "notes.txt").write_text("no picture either")
    (made / "a" / "deep").mkdir()
    shutil.copy(made / "a" / "0.png", made / "a" / "deep" / "0.png")
    pd.DataFrame({"path": ["a/0.png", "b/1.png"], "light": ["day", "night"]}).to_csv(made / "metadata.csv", index=False)
    return made


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


def contents(dataset):
    return {one.name: bytes(data) if isinstance(data := dataset.read(one.name), bytes) else data.read_bytes()
            for one in dataset.samples}  # fmt: skip


def test_a_folder_is_what_it_is_here(folder, memory):
    local, there = open_dataset(folder), open_dataset(put(folder, "memory://bucket/animals"))
    assert (there.title, there.samples) == (local.title, local.samples) and len(there.samples) == 11
    assert contents(there) == contents(local)
    pd.testing.assert_frame_equal(there.metadata, local.metadata)
    assert there.digest == local.digest  # memory tells no versions: the pictures themselves are digested
    assert there.is_remote and not local.is_remote
    assert there.open("b/1.png").getpixel((0, 0)) == (20, 0, 0)


@pytest.mark.parametrize("wrap", ["", "one/animals"])
def test_layouts_are_those_of_folders_here(folder, memory, tmp_path, wrap):
    for part in ("train", "test"):
        shutil.copytree(folder, tmp_path / "data" / wrap / part)
    address = put(tmp_path / "data", "memory://bucket/data")
    with pytest.raises(BadRequest, match="has parts: test, train"):
        open_dataset(address)
    inside = f"{wrap}/test".strip("/")
    local, there = open_dataset(tmp_path / "data" / inside), open_dataset(f"{address}/{inside}/")
    assert (there.title, there.samples) == (local.title, local.samples)


def test_a_zip_is_read_in_place(folder, memory):
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, f"animals/train/{path.relative_to(folder)}")
            archive.write(path, f"animals/test/{path.relative_to(folder)}")
    memory.pipe_file("/bucket/animals.zip", file.getvalue())
    there, local = open_dataset("memory://bucket/animals.zip/test"), datasets.open_zip(file, "animals/test", "test")
    assert (there.title, there.samples, there.digest) == (local.title, local.samples, local.digest)
    assert contents(there) == contents(local)
    memory.pipe_file("/bucket/broken.zip", b"no archive")
    with pytest.raises(BadRequest, match="broken is no ZIP archive"):
        open_dataset("memory://bucket/broken.zip")


def test_a_table_is_what_it_is_here(folder, memory, tmp_path):
    shutil.copytree(folder, tmp_path / "animals")
    rows = {"path": ["a/0.png", "b/1.png", "a/missing.png"], "label": ["x", "y", "x"], "size": ["1", "2", "3"]}
    pd.DataFrame(rows).to_csv(tmp_path / "animals" / "list.csv", index=False)
    address = put(tmp_path / "animals", "memory://bucket/animals")
    local, there = open_dataset(tmp_path / "animals" / "list.csv"), open_dataset(f"{address}/list.csv")
    assert (there.title, there.samples, there.digest) == (local.title, local.samples, local.digest)
    pd.testing.assert_frame_equal(there.metadata, local.metadata)
    with pytest.raises(BadPicture, match="it is not there"):
        there.open("a/missing.png")
    memory.pipe_file("/bucket/animals/out.csv", b"path,label\n../secret.png,x\n")
    with pytest.raises(BadRequest, match="names 1 pictures outside its folder"):
        open_dataset(f"{address}/out.csv")


def test_a_table_with_pictures_must_be_fetched(memory):
    memory.pipe_file("/bucket/hub/data/train.parquet", b"PAR1")
    for address in ("memory://bucket/hub", "memory://bucket/hub/data/train.parquet"):
        with pytest.raises(BadRequest, match=r"fetch memory://bucket/hub/data/train\.parquet FOLDER"):
            open_dataset(address)


def test_what_a_list_says_of_the_content_is_not_read(folder, memory):
    place = remote.place_of(put(folder, "memory://bucket/animals"))

    def walk(*args, **options):
        for at, folders, found in memory.walk(*args, **options):
            yield at, folders, {name: {**told, "ETag": f"tag-{name}"} for name, told in found.items()}

    there = remote_datasets.open_place(dataclasses.replace(place, files=misbehaving(memory, walk=walk)))
    assert there.content("a/0.png") == f"{memory.info('/bucket/animals/a/0.png')['size']} tag-0.png"


def opened(folder, memory, **changed):
    place = remote.place_of(put(folder, "memory://bucket/animals"))
    if pictures := changed.get("cat_file"):
        changed["cat_file"] = lambda path, **more: (pictures if path.endswith(".png") else memory.cat_file)(path, **more)
    files = misbehaving(memory, **changed)
    return remote_datasets.open_place(dataclasses.replace(place, files=files))


def test_a_picture_that_cannot_be_read_says_why(folder, memory, monkeypatch):
    there = opened(folder, memory)
    memory.rm("/bucket/animals/a/0.png")
    memory.pipe_file("/bucket/animals/b/1.png", b"shorter")
    memory.pipe_file("/bucket/animals/empty.png", b"")
    memory.pipe_file("/bucket/animals/large.png", bytes(MAX_BYTES + 1))
    for name, reason in (
        ("a/0.png", "it is not there"),
        ("b/1.png", r"broke off.*7 of \d+ bytes"),
        ("a/broken.png", "intact"),
    ):
        with pytest.raises(BadPicture, match=reason):
            there.open(name)
    again = opened(folder / "c", memory, cat_file=never)
    for name, reason in (("large.png", "more than 20 MB"), ("empty.png", "0 bytes")):
        with pytest.raises(BadPicture, match=reason):
            again.open(name)  # what the list says is enough
    monkeypatch.setattr(remote, "SECONDS", 0.05)
    with pytest.raises(BadPicture, match=r"no answer within 0\.05 seconds"):
        again.open("c/2.png")


def test_errors_of_a_server_are_one_sentence_without_its_words(folder, memory):
    def fails(*_, **__):
        raise RuntimeError("https://bucket/?X-Amz-Signature=SECRET")

    with pytest.raises(BadPicture, match="failed with RuntimeError") as caught:
        opened(folder, memory, cat_file=fails).open("a/0.png")
    assert "SECRET" not in str(caught.value) and caught.value.__cause__ is None
    for error, words in (
        (PermissionError(), "credentials"),
        (TimeoutError(), "no answer"),
        (OSError(), "failed with OSError"),
    ):

        def walk(*_, error=error, **__):
            raise error
            yield

        with pytest.raises(BadRequest, match=words):
            opened(folder, memory, walk=walk)


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "a//0.png", "a\\..\\0.png"])
def test_a_list_cannot_lead_out_of_its_folder(folder, memory, name):
    def walk(path, **_):
        yield path, {}, {"x": {"name": f"{path}/{name}", "size": 3, "type": "file"}}

    with pytest.raises(BadRequest, match="lists a file that is not below it"):
        opened(folder, memory, walk=walk)


def test_a_list_without_an_end_is_refused(folder, memory, monkeypatch):
    def walk(path, **_):
        while True:
            yield path, {"again": {}}, {}

    monkeypatch.setattr(datasets, "MAX_PICTURES", 1000)
    with pytest.raises(BadRequest, match="more than 1,000 files and folders"):
        opened(folder, memory, walk=walk)


@pytest.mark.parametrize("address", ["memory://nowhere", "memory://bucket/nowhere", "memory://bucket/no.csv"])
def test_a_missing_place_is_one_sentence(memory, address):
    memory.pipe_file("/bucket/a.png", b"x")
    with pytest.raises(BadRequest, match=rf"There is no {address}\.|{address} cannot be read: it is not there"):
        open_dataset(address)


@pytest.mark.parametrize(
    "address",
    ["s3://key:SECRET@bucket/x", "s3://key:SEC/RET@bucket/x", "https://user:SECRET@host/x.zip", "s3://SECRET@bucket",
     "https://host/x.zip?token=SECRET", "s3://bucket/x?versionId=SECRET", "https://host/x#SECRET"],
)  # fmt: skip
def test_an_address_with_a_secret_is_refused_and_not_repeated(address):
    with pytest.raises(BadRequest, match="leave it out") as caught:
        open_dataset(address)
    assert "SEC" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["file:///etc", "local://etc", "zip::memory://x.zip", "ftp://host/x", "memory://", "memory://a/../b", "memory://a\\b"],
)
def test_other_addresses_are_refused(address):
    with pytest.raises(BadRequest, match="An address"):
        open_dataset(address)


def test_a_missing_package_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(BadRequest, match=r"s3:// is not installed: pip install 'xai-core\[remote\]'"):
        open_dataset("s3://bucket/folder")


def test_workers_open_it_by_its_address(folder, memory):
    reopen = pickle.loads(pickle.dumps(partial(open_dataset, put(folder, "memory://bucket/animals"))))
    assert reopen().samples == open_dataset(folder).samples


def test_a_slow_server_does_not_hold_its_caller(monkeypatch):
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        remote.within(0.05, never)
    assert time.monotonic() - started < 10
