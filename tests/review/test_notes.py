"""Tags and notes survive a restart, travel as CSV and JSON, and are never half written."""

import pytest

from xai_core.core.errors import BadRequest
from xai_core.review import notes
from xai_core.review.notes import Note, note

SOME = {"cat/1.jpg": note("blurred, wrong label", 'Ears, "quoted"\nand a line; Katze süß'), "dog/2.jpg": note(["ok"])}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def test_what_is_kept_is_there_again():
    notes.save("scenes", SOME)
    assert notes.load("scenes") == SOME and notes.load("others") == {}
    assert notes.put("scenes", "dog/2.jpg", Note()) == {"cat/1.jpg": SOME["cat/1.jpg"]} == notes.load("scenes")


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


@pytest.mark.parametrize("dataset", ["../../etc/passwd", "a/b", ".hidden", ""])
def test_a_dataset_of_any_name_stays_in_the_folder(dataset, folder):
    assert notes.place(dataset).parent == folder


def test_a_folder_that_cannot_be_written_is_said_and_what_was_there_stays(folder):
    folder.parent.joinpath("notes").write_text("a file where the folder should be")
    with pytest.raises(BadRequest, match="Export"):
        notes.save("scenes", SOME)
