"""Tags and notes survive a restart, travel as CSV and JSON, belong to the content of a dataset, and are never lost."""

import multiprocessing
import os
from multiprocessing.pool import ThreadPool

import pytest
from limits import limited, one_sentence

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import Dataset, Labelled
from xai_core.review import notes
from xai_core.review.notes import Note, NoteChanged, note

SOME = {"cat/1.jpg": note("blurred, wrong label", 'Ears, "quoted"\nand a line; Katze süß'), "dog/2.jpg": note(["ok"])}
PICTURES = {"cat/1.jpg": b"one", "dog/2.jpg": b"two"}


def dataset(title="scenes", **changed):
    """A dataset whose pictures' bytes are PICTURES with some of them changed or added."""
    pictures = PICTURES | {name.replace("_", "/") + ".jpg": data for name, data in changed.items()}
    return Dataset(title, tuple(Labelled(name, name.split("/")[0]) for name in pictures), pictures.__getitem__)


SCENES = dataset()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def test_stored_notes_are_loaded_again():
    notes.add(SCENES, SOME)
    assert notes.load(SCENES) == SOME and notes.load(dataset("others", cat_1=b"x")) == {}
    assert notes.put(SCENES, "dog/2.jpg", Note()) == Note()
    assert notes.load(SCENES) == {"cat/1.jpg": SOME["cat/1.jpg"]}


def test_two_datasets_of_one_title_have_separate_notes():
    other = dataset(cat_1=b"another cat", dog_2=b"another dog")
    assert other.title == SCENES.title and notes.place(other) != notes.place(SCENES)
    notes.add(SCENES, SOME)
    assert notes.load(other) == {}
    notes.put(other, "cat/1.jpg", note("theirs"))
    assert notes.load(SCENES) == SOME and notes.load(other) == {"cat/1.jpg": note("theirs")}


def test_a_renamed_dataset_keeps_its_notes():
    notes.add(SCENES, SOME)
    assert notes.load(dataset("renamed")) == SOME


def test_notes_follow_the_pictures_that_stay_when_a_dataset_changes():
    notes.add(SCENES, SOME)
    changed = dataset(cow_3=b"three", dog_2=b"another dog")
    assert notes.load(changed) == {"cat/1.jpg": SOME["cat/1.jpg"]}
    notes.put(changed, "cow/3.jpg", note("new"))
    assert {*notes.load(changed)} == {"cat/1.jpg", "cow/3.jpg"} and notes.load(SCENES) == SOME


def test_notes_under_the_name_of_the_title_are_still_found(folder):
    folder.mkdir()
    old = folder / "scenes.json"
    old.write_bytes(notes.to_json(SOME | {"gone/9.jpg": note("x")}))
    assert notes.load(SCENES) == SOME and notes.load(dataset("others")) == {}
    notes.put(SCENES, "dog/2.jpg", note("changed"))
    old.write_bytes(notes.to_json({"cat/1.jpg": note("not read any more")}))
    assert notes.load(SCENES) == SOME | {"dog/2.jpg": note("changed")}


def _write_notes(writer: int) -> None:
    for number in range(25):
        notes.put(SCENES, f"{writer}/{number}.jpg", note(f"tag {writer}", str(number)))


def test_eight_simultaneous_writers_lose_no_note():
    with multiprocessing.get_context("fork").Pool(8) as pool:
        pool.map(_write_notes, range(8))
    stored = notes.load(SCENES)
    assert len(stored) == 200 and stored["7/24.jpg"] == note("tag 7", "24")


def test_a_note_that_someone_else_has_changed_in_the_meantime_is_not_replaced():
    seen = notes.put(SCENES, "cat/1.jpg", note("a", "first"))
    theirs = notes.put(SCENES, "cat/1.jpg", note("a, b", "second"), seen)
    for mine in (note("c", "third"), Note()):
        with pytest.raises(NoteChanged, match="on cat/1"):
            notes.put(SCENES, "cat/1.jpg", mine, seen)
    assert notes.load(SCENES) == {"cat/1.jpg": theirs}
    assert notes.put(SCENES, "cat/1.jpg", theirs, seen) == theirs  # the same note again is no conflict
    assert notes.put(SCENES, "cat/1.jpg", Note(), theirs) == Note() and notes.load(SCENES) == {}


def _append(writer: int) -> int:
    """Append ten lines to one note, each time to what was read; returns how often someone else was quicker."""
    refused, line = 0, 0
    while line < 10:
        seen = notes.load(SCENES).get("cat/1.jpg", Note())
        try:
            notes.put(SCENES, "cat/1.jpg", note("", f"{seen.text}\n{writer}.{line}"), seen)
            line += 1
        except NoteChanged:
            refused += 1
    return refused


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_simultaneous_writers_of_one_note_never_overwrite_what_they_have_not_read(pool):
    notes.put(SCENES, "cat/1.jpg", note("", "first"))  # from here on the file exists
    with ThreadPool(4) if pool == "threads" else multiprocessing.get_context("fork").Pool(4) as workers:
        workers.map(_append, range(4))
    lines = notes.load(SCENES)["cat/1.jpg"].text.split("\n")
    assert sorted(lines) == sorted(["first", *(f"{writer}.{line}" for writer in range(4) for line in range(10))])


@pytest.mark.parametrize(("name", "write"), [("a.json", notes.to_json), ("a.csv", notes.to_csv)])
def test_they_travel(name, write):
    assert notes.read(name, write(SOME)) == SOME


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.csv", b"x,y\n1,2\n"), ("a.json", b"[1]"), ("a.json", b'{"a": 1}'), ("a.json", b"\xff\xfe"), ("a.csv", b"\xff"),
     ("a.json", b"{"), ("a.csv", b"name,tags,note\n" + b"x,," + b"y" * 3000)],
)  # fmt: skip
def test_what_is_none_is_refused(name, data):
    with pytest.raises(BadRequest):
        notes.read(name, data)


def test_an_import_adds_and_loses_nothing():
    found = notes.merged(SOME, {"dog/2.jpg": note("new", "seen"), "cat/1.jpg": SOME["cat/1.jpg"], "cow/3.jpg": note("x")})
    assert found["dog/2.jpg"] == Note(("new", "ok"), "seen") and found["cat/1.jpg"] == SOME["cat/1.jpg"]
    assert found["cow/3.jpg"].tags == ("x",)


@pytest.mark.parametrize("title", ["../../etc/passwd", "a/b", ".hidden", ""])
def test_a_dataset_of_any_title_stays_in_the_folder(title, folder):
    notes.add(dataset(title), SOME)
    assert notes.place(dataset(title)).parent == folder and notes.place(dataset(title)).is_file()


def test_notes_that_cannot_be_written_raise_an_error_that_advises_an_export():
    notes.place(SCENES).mkdir(parents=True)
    with pytest.raises(BadRequest, match="Export"):
        notes.add(SCENES, SOME)


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling link", "endless", "large", "text"])
def test_a_file_of_notes_that_is_none_is_one_sentence(folder, kind):
    place = notes.place(dataset())
    place.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "fifo":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "dangling link":
            place.symlink_to("nowhere")
        case "endless":
            place.symlink_to("/dev/zero")
        case "large":
            place.touch()
            os.truncate(place, 2**34)
        case "text":
            place.write_bytes(b"[" * 100_000)
    with limited(), pytest.raises(BadRequest) as refusal:
        notes.load(dataset())
    assert one_sentence(refusal.value), refusal.value


def test_notes_that_begin_like_a_formula_are_text_in_a_spreadsheet_and_come_back():
    mine = {"=1+1.png": notes.note("@tag", "=HYPERLINK(1)"), "b.png": notes.note("plain", "'quoted'")}
    data = notes.to_csv(mine)
    assert b"'=1+1.png" in data and b"'=HYPERLINK(1)" in data and b"\n=" not in data
    assert notes.read("notes.csv", data) == mine
