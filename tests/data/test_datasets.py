"""Datasets open from folders, archives and tables; nothing leads out of them, and nothing in them fills the memory."""

import io
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xai_core.core.errors import BadPicture, BadRequest, UnknownName
from xai_core.data import datasets
from xai_core.data.image_io import MAX_BYTES
from xai_core.data.sample_list import Labelled


def png(level=0):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    for name in ("cat/1.png", "cat/2.JPG", "dog/1.png", "dog/.hidden.png", "dog/notes.txt", "dog/deeper/3.png", "loose.png"):
        file = tmp_path / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png())
    return tmp_path / "pets"


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    buffer.seek(0)
    return buffer


def test_a_folder_gives_pictures_and_their_labels(folder):
    found = datasets.open_dataset(folder)
    assert [(one.name, one.label) for one in found.samples] == [
        ("loose.png", ""),
        ("cat/1.png", "cat"),
        ("cat/2.JPG", "cat"),
        ("dog/1.png", "dog"),
    ]
    assert found.classes == ("cat", "dog") and found.open("dog/1.png").size == (8, 8)
    assert found.in_words() == "pets: 4 pictures of 2 classes; 1 without a label."
    assert [one.name for one in datasets.with_classes(found).samples] == ["cat/1.png", "cat/2.JPG", "dog/1.png"]


@pytest.mark.parametrize("around", ["", "pets/", "deep/down/pets/", "/"])
def test_a_zip_of_the_folder_gives_the_same(around):
    names = ("cat/1.png", "cat/2.png", "dog/1.png")
    others = {f"{around}cat/readme.txt": b"text", f"__MACOSX/{around}cat/._1.png": b"x"}
    found = datasets.open_zip(zipped({f"{around}{name}": png(9) for name in names} | others), "pets")
    assert [(one.name, one.label) for one in found.samples] == [(name, name.partition("/")[0]) for name in names]
    assert found.open("dog/1.png").getpixel((0, 0)) == (9, 9, 9)


def test_names_in_a_zip_lead_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = datasets.open_zip(zipped({"../../out/evil.png": png(), "cat/1.png": png(), "dog/1.png": png()}), "pets")
    assert [one.name for one in found.samples] == ["cat/1.png", "dog/1.png"]
    assert found.open("cat/1.png") and list(tmp_path.rglob("*")) == []  # nothing is unpacked


def test_a_bomb_is_refused_before_it_is_read():
    with pytest.raises(BadRequest, match=r"unpacks to .* times its size"):
        datasets.open_zip(zipped({"a/1.png": bytes(150 * 2**20), "b/2.png": png()}), "bomb")


def test_a_member_is_read_up_to_the_largest_picture():
    found = datasets.open_zip(zipped({"a/1.png": bytes(MAX_BYTES + 1000), "b/2.png": png()}), "large")
    assert len(found.read("a/1.png")) == MAX_BYTES + 1
    with pytest.raises(BadPicture, match="more than"):
        found.open("a/1.png")


def test_a_damaged_member_is_a_bad_picture():
    data = bytearray(zipped({"a/1.png": png(), "b/2.png": png()}, zipfile.ZIP_STORED).getvalue())
    data[data.index(b"IDAT")] ^= 255
    with pytest.raises(BadPicture, match="cannot be read from the archive"):
        datasets.open_zip(io.BytesIO(bytes(data)), "pets").open("a/1.png")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_names_pictures_beside_it(folder, suffix):
    table = pd.DataFrame({"path": ["dog/1.png", "cat/1.png"], "label": ["dog", None]})
    path = folder / f"table{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    found = datasets.open_dataset(path)
    assert [(one.name, one.label) for one in found.samples] == [("dog/1.png", "dog"), ("cat/1.png", "")]
    assert found.open("cat/1.png").size == (8, 8)
    assert found.in_words() == "table: 2 pictures of one class; 1 without a label."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\n../out.png,x\n", "outside its folder"),
        ("path,label\n/etc/passwd,x\n", "outside its folder"),
        ("path,label\ncat/1.png,a\ncat/1.png,b\n", "more than once"),
        ("path,label\ncat/1.png,a\n./cat/1.png,b\n", "more than once"),
        ("file,class\ncat/1.png,a\n", "needs the columns path and label"),
        ("path,label\n", "holds no pictures"),
        ("", "cannot be read as a table"),
    ],
)
def test_a_bad_table_says_what_is_wrong(folder, text, said):
    (folder / "table.csv").write_text(text)
    with pytest.raises(BadRequest, match=said):
        datasets.open_dataset(folder / "table.csv")


def test_links_do_not_lead_out_of_a_table(folder, tmp_path):
    (tmp_path / "secret.png").write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "table.csv").write_text("path,label\nlink.png,x\n")
    with pytest.raises(BadRequest, match="outside its folder"):
        datasets.open_dataset(folder / "table.csv")


def test_what_is_no_dataset_says_so(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    for name, said in {
        "missing": "There is no file or folder",
        "empty": "holds no pictures",
        "text.txt": "is no dataset",
        "broken.zip": "is no ZIP archive",
    }.items():
        with pytest.raises(BadRequest, match=said):
            datasets.open_dataset(tmp_path / name)
    with pytest.raises(BadRequest, match="fewer than two classes"):
        datasets.with_classes(datasets.open_folder(folder / "cat"))
    assert datasets.open_folder(folder / "cat").in_words().endswith("without labels. Nothing can be right or wrong.")


def test_pages_offer_what_lies_under_the_roots_and_nothing_else(tmp_path, folder, monkeypatch):
    shutil.copytree(folder, tmp_path / "more" / "pets")
    (tmp_path / "runs" / "parts").mkdir(parents=True)  # of a run: no pictures
    (tmp_path / "run.parquet").write_bytes(b"")
    monkeypatch.setenv("XAI_DATA", f"{tmp_path}:{tmp_path / 'more'}:{tmp_path / 'missing'}")
    assert set(datasets.offered()) == {*datasets.world_names(), "more", "pets", "run.parquet", "more/pets"}
    assert datasets.find_offered("pets") == folder
    for name in ("../pets", str(folder), "nothing"):
        with pytest.raises(UnknownName):
            datasets.find_offered(name)


class TestDigest:
    def test_it_changes_with_a_picture_more_another_name_label_or_content(self, folder):
        digests = [datasets.open_dataset(folder).digest]
        assert datasets.open_dataset(folder).digest == digests[0]
        for change in (
            lambda: (folder / "cat" / "3.png").write_bytes(png()),
            lambda: (folder / "cat" / "3.png").rename(folder / "cat" / "4.png"),
            lambda: (folder / "cat" / "4.png").rename(folder / "dog" / "4.png"),
            lambda: (folder / "dog" / "4.png").write_bytes(png(9)),
        ):
            change()
            digests.append(datasets.open_dataset(folder).digest)
        assert len(set(digests)) == 5

    def test_two_datasets_of_one_title_differ_and_a_copy_of_another_name_does_not(self, folder, tmp_path):
        same_title = shutil.copytree(folder, tmp_path / "other" / "pets")
        (same_title / "cat" / "1.png").write_bytes(png(9))
        copy = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
        first, changed, copied = (datasets.open_dataset(path) for path in (folder, same_title, copy))
        assert first.title == changed.title and first.digest != changed.digest
        assert first.title != copied.title and first.digest == copied.digest
        moved = folder.rename(tmp_path / "renamed")
        assert datasets.open_dataset(moved).digest == first.digest

    def test_archives_differ_by_content_not_by_title_or_packing(self):
        members = {"cat/1.png": png(), "dog/1.png": png(5)}
        first = datasets.open_zip(zipped(members), "pets")
        assert datasets.open_zip(zipped(members | {"dog/1.png": png(6)}), "pets").digest != first.digest
        assert datasets.open_zip(zipped(members, zipfile.ZIP_STORED), "another title").digest == first.digest

    @pytest.mark.parametrize("size", [1, 8_192, 20_000, 24_576, 24_577, 10**6])
    def test_files_of_one_size_differ_at_their_beginning_middle_and_end(self, tmp_path, size):
        datas = []
        for place in (0, size // 2, size - 1):
            data = bytearray(size)
            data[place] = 1
            datas.append(bytes(data))
        digests = set()
        for data in {bytes(size), *datas}:
            (tmp_path / "a.png").write_bytes(data)
            of_file, of_bytes = (
                datasets.Dataset("", (Labelled("a.png", ""),), lambda name, source=source: source).digest
                for source in (tmp_path / "a.png", data)
            )
            assert of_file == of_bytes
            digests.add(of_file)
        assert len(digests) == len({bytes(size), *datas})

    def test_a_file_that_cannot_be_read_does_not_stop_it(self, folder):
        dataset = datasets.open_dataset(folder)
        (folder / "cat" / "1.png").unlink()
        assert dataset.content("cat/1.png") == "unreadable" and len(dataset.digest) == 64


def test_pictures_of_an_archive_may_be_read_by_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    names = [f"{name}/{number}.png" for name in "ab" for number in range(40)]
    found = datasets.open_zip(zipped({name: png(number) for number, name in enumerate(names)}), "many")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda name: np.asarray(found.open(name))[0, 0, 0], names))
    assert read == list(range(80))
