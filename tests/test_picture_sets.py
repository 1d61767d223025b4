"""Many pictures as one thing: folders, archives, the samples; and what strangers pack into them."""

import zipfile

import pytest
import small_runs
from small_runs import evaluate, png

from xai_core.errors import BadRequest, XaiError
from xai_core.picture_sets import picture_set
from xai_core.pictures import MAX_BYTES
from xai_core.samples import SAMPLES

NAMES = ("3/a.png", "4/b.png", "nonsense/c.png", "d.png", "n01440764_tench.png", ".hidden/e.png")


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "data"
    for number, name in enumerate(NAMES):
        (found / name).parent.mkdir(exist_ok=True, parents=True)
        (found / name).write_bytes(png(number))
    (found / "notes.txt").touch()
    return found


def test_subfolders_are_classes(tmp_path, folder):
    run = evaluate(tmp_path / "run", images=folder, target="label")
    frame = run.table()[["name", "target_key"]].astype(str).drop_duplicates()
    assert set(frame.itertuples(index=False, name=None)) == {("3/a.png", "logit 3"), ("4/b.png", "logit 4")}
    left_out = run.manifest["left_out"]
    assert "no class is known" in left_out["d.png"] and "nonsense" in left_out["nonsense/c.png"]


def test_an_archive_is_read_as_the_folder_it_holds_without_unpacking(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder))
        archive.write(folder / "d.png", "../../out.png")
    before = sorted(tmp_path.rglob("*"))
    first, second = picture_set(folder), picture_set(tmp_path / "data.zip")
    assert len(first.entries) == 5 and first.kind == "folder" and second.kind == "archive"
    assert [(a.name, a.label, a.digest) for a in second.entries] == [(a.name, a.label, a.digest) for a in first.entries]
    assert {one.name: one.label for one in second.entries}["n01440764_tench.png"] == "n01440764"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_entry_that_would_fill_the_memory_is_cut_off_and_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/huge.png", bytes(3 * MAX_BYTES))
    (entry,) = picture_set(tmp_path / "bomb.zip").entries
    assert len(entry.read()) == MAX_BYTES + 1
    with pytest.raises(XaiError, match="more than 20 MB"):
        entry.opened()


def test_a_damaged_entry_is_one_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", png(0))
    data = bytearray((tmp_path / "data.zip").read_bytes())
    data[60:300] = bytes(240)
    (tmp_path / "data.zip").write_bytes(data)
    (entry,) = picture_set(tmp_path / "data.zip").entries
    with pytest.raises(XaiError, match=r"a\.png in data\.zip"):
        entry.read()


def test_what_is_no_set_of_pictures_is_said_to_be_none(tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    (tmp_path / "empty").mkdir()
    for name, said in (("text.zip", "intact ZIP"), ("empty", "no picture in"), ("gone", "no folder or archive")):
        with pytest.raises(BadRequest, match=said):
            picture_set(tmp_path / name)


def test_the_samples_are_a_set():
    found = picture_set("samples")
    assert [one.name for one in found.entries] == list(SAMPLES) and found.kind == "samples"
    assert len({one.digest for one in found.entries}) == len(SAMPLES)


def test_pictures_are_drawn_by_name_and_seed_alone():
    few, many = small_runs.pictures(30), small_runs.pictures(40)
    names = [one.name for one in few.drawn(10, 0)]
    assert names == [one.name for one in few.drawn(20, 0)][:10] != [one.name for one in few.drawn(10, 1)]
    among = {one.name for one in few.entries}
    assert [one.name for one in many.drawn(None, 0) if one.name in among] == [one.name for one in few.drawn(None, 0)]
    with pytest.raises(BadRequest, match="At least one"):
        few.drawn(0, 0)
