"""Tags and notes outlast a restart, travel as CSV and JSON, belong to the content of a dataset, and are never lost."""

import json
import os
from multiprocessing.pool import ThreadPool

import pytest
from limits import limited, one_sentence
from processes import in_processes
from small_rounds import ANNA, BEN
from sqlalchemy import Engine, delete, exc, func, select, update

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import Dataset
from xai_core.data.sample_list import Labelled
from xai_core.review import picture_notes as notes
from xai_core.review import tables
from xai_core.review.database import ReadOnly, StaleEdit, open_database, reading
from xai_core.review.people import named
from xai_core.review.picture_notes import Note, note

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


def current(engine: Engine, of: Dataset = SCENES) -> dict[str, Note]:
    return {name: stored.note for name, stored in notes.load(engine, of).items()}


def rows(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(tables.notes)).scalar_one()


def test_stored_notes_are_loaded_again(engine):
    notes.add(engine, SCENES, SOME, ANNA)
    assert current(engine) == SOME and current(engine, dataset("others", cat_1=b"x")) == {}
    assert notes.put(engine, SCENES, "dog/2.jpg", Note(), BEN, seen=1) == 2
    assert current(engine) == {"cat/1.jpg": SOME["cat/1.jpg"]}
    removed = notes.find(engine, SCENES, "dog/2.jpg")
    assert (removed.note, removed.version, removed.person) == (Note(), 2, BEN) and removed.at.tzinfo is None
    assert notes.find(engine, SCENES, "cat/1.jpg").person == ANNA and notes.find(engine, SCENES, "cow/3.jpg") is None


def test_a_note_is_followed_and_never_overwritten(engine):
    for seen, words in enumerate(["first", "second", ""]):
        notes.put(engine, SCENES, "cat/1.jpg", note("", words), ANNA, seen)
    with reading(engine) as connection:
        log = connection.execute(select(tables.notes).order_by(tables.notes.c.id)).mappings().all()
    assert [(row["version"], row["text"]) for row in log] == [(1, "first"), (2, "second"), (3, "")]
    for change in (update(tables.notes).values(text="changed"), delete(tables.notes)):
        with pytest.raises(exc.DBAPIError, match="never changed"), engine.begin() as connection:
            connection.execute(change)


def test_two_datasets_of_one_title_have_separate_notes(engine):
    other = dataset(cat_1=b"another cat", dog_2=b"another dog")
    assert other.title == SCENES.title
    notes.add(engine, SCENES, SOME, ANNA)
    assert current(engine, other) == {}
    notes.put(engine, other, "cat/1.jpg", note("theirs"), BEN, seen=0)
    assert current(engine) == SOME and current(engine, other) == {"cat/1.jpg": note("theirs")}


def test_a_renamed_dataset_keeps_its_notes(engine):
    notes.add(engine, SCENES, SOME, ANNA)
    assert current(engine, dataset("renamed")) == SOME


def test_notes_follow_the_pictures_that_stay_when_a_dataset_changes(engine):
    notes.add(engine, SCENES, SOME | {"cow/3.jpg": note("not there yet")}, ANNA)
    changed = dataset(cow_3=b"three", dog_2=b"another dog")
    assert current(engine, changed) == {"cat/1.jpg": SOME["cat/1.jpg"], "cow/3.jpg": note("not there yet")}
    notes.put(engine, changed, "cow/3.jpg", note("new"), BEN, seen=notes.find(engine, changed, "cow/3.jpg").version)
    assert current(engine, changed) == {"cat/1.jpg": SOME["cat/1.jpg"], "cow/3.jpg": note("new")}
    notes.put(engine, changed, "cat/1.jpg", Note(), BEN, seen=0)
    assert {*current(engine, changed)} == {"cow/3.jpg"} and current(engine)["cat/1.jpg"] == SOME["cat/1.jpg"]
    third = dataset(cow_3=b"three", dog_2=b"a third dog")
    assert current(engine, third) == {"cow/3.jpg": note("new")}, "what was said last counts: the note on the cat is removed"


def test_only_pictures_with_notes_of_an_earlier_state_are_read(engine):
    notes.add(engine, SCENES, {"cat/1.jpg": note("odd")}, ANNA)
    whole, wanted = dataset(cow_3=b"three"), []

    def read(name):
        wanted.append(name)
        return whole.read(name)

    later = Dataset("scenes", whole.samples, read)
    assert later.digest and current(engine, later)  # the digest reads all
    wanted.clear()
    notes._sha256.cache_clear()
    assert current(engine, later) == {"cat/1.jpg": note("odd")} and wanted == ["cat/1.jpg"]
    assert current(engine, later) and wanted == ["cat/1.jpg"], "a picture is read once"


def write_notes(url: str, writer: int) -> None:
    engine = open_database(url)
    for number in range(25):
        notes.put(engine, SCENES, f"{writer}/{number}.jpg", note(f"tag {writer}", str(number)), named(f"{writer}", ""), 0)


def test_eight_simultaneous_writers_lose_no_note(engine, url):
    in_processes(write_notes, [(url, writer) for writer in range(8)])
    stored = current(engine)
    assert len(stored) == 200 and stored["7/24.jpg"] == note("tag 7", "24")


def test_a_note_that_someone_else_has_changed_in_the_meantime_is_not_replaced(engine):
    seen = notes.put(engine, SCENES, "cat/1.jpg", note("a", "first"), ANNA, seen=0)
    theirs = note("a, b", "second")
    notes.put(engine, SCENES, "cat/1.jpg", theirs, BEN, seen)
    for mine in (note("c", "third"), Note()):
        with pytest.raises(StaleEdit, match=r"Ben \(not verified\) has changed the note on cat/1\.jpg at .* UTC"):
            notes.put(engine, SCENES, "cat/1.jpg", mine, ANNA, seen)
    assert current(engine) == {"cat/1.jpg": theirs}
    assert notes.put(engine, SCENES, "cat/1.jpg", theirs, ANNA, seen) == 2  # the same note again is no conflict
    assert notes.put(engine, SCENES, "cat/1.jpg", Note(), ANNA, seen=2) == 3 and current(engine) == {}


def append(engine: Engine, writer: int) -> None:
    """Append ten lines to one note, each time to what was read."""
    line = 0
    while line < 10:
        seen = notes.find(engine, SCENES, "cat/1.jpg")
        try:
            new = note("", f"{seen.note.text}\n{writer}.{line}")
            notes.put(engine, SCENES, "cat/1.jpg", new, named(f"Writer {writer}", ""), seen.version)
            line += 1
        except StaleEdit:
            continue


def append_in_a_process(url: str, writer: int) -> None:
    append(open_database(url), writer)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_simultaneous_writers_of_one_note_never_overwrite_what_they_have_not_read(engine, url, kind):
    notes.put(engine, SCENES, "cat/1.jpg", note("", "first"), ANNA, seen=0)
    if kind == "threads":
        with ThreadPool(4) as workers:
            workers.starmap(append, [(engine, writer) for writer in range(4)])
    else:
        in_processes(append_in_a_process, [(url, writer) for writer in range(4)])
    lines = current(engine)["cat/1.jpg"].text.split("\n")
    assert sorted(lines) == sorted(["first", *(f"{writer}.{line}" for writer in range(4) for line in range(10))])


def add_some(url: str, writer: int) -> None:
    notes.add(open_database(url), SCENES, {name: note(f"tag {writer}") for name in PICTURES}, named(f"Writer {writer}", ""))


def test_simultaneous_imports_are_merged(engine, url):
    in_processes(add_some, [(url, writer) for writer in range(4)])
    tags = tuple(f"tag {writer}" for writer in range(4))
    assert current(engine) == {name: Note(tags) for name in PICTURES}


def test_nothing_is_written_where_only_reading_is_allowed(engine, folder, monkeypatch):
    notes.add(engine, SCENES, {"dog/2.jpg": note("dim")}, ANNA)
    monkeypatch.setenv("XAI_READONLY", "1")
    folder.mkdir()
    (folder / "scenes.json").write_bytes(notes.to_json(SOME))
    for write in (
        lambda: notes.add(engine, SCENES, SOME, ANNA),
        lambda: notes.put(engine, SCENES, "cat/1.jpg", note("x"), ANNA, 0),
    ):
        with pytest.raises(ReadOnly):
            write()
    assert current(engine) == {"dog/2.jpg": note("dim")} and notes.import_files(engine, SCENES) == () and rows(engine) == 1


@pytest.mark.parametrize("name", ["", "x" * 1025, "\u20ac" * 400, "a\0b.png", "half \ud800.png"])
def test_a_name_that_no_database_stores_is_refused(engine, name):
    with pytest.raises(BadRequest, match="cannot have a note") as refusal:
        notes.put(engine, SCENES, name, note("x"), ANNA, 0)
    assert one_sentence(refusal.value) and rows(engine) == 0


def test_whatever_is_typed_is_stored(engine):
    hostile = note(
        ["<b>x</b>", "a\0b", "\ud800"],
        "null \0 half \ud800 family 👨\u200d👩\u200d👧\r\nline\ttab\x1b[0m '; DROP TABLE notes; --",
    )
    assert hostile.text == "null  half  family 👨\u200d👩\u200d👧\nline\ttab[0m '; DROP TABLE notes; --"
    notes.put(engine, dataset("'; DROP"), "' OR 1=1 \t.jpg", hostile, ANNA, 0)
    assert current(engine, dataset("'; DROP")) == {"' OR 1=1 \t.jpg": hostile}


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


def file_of(of: Dataset = SCENES) -> str:
    """The name of the file in which an earlier version of this program stored the notes of a dataset."""
    return f"{of.title}-{of.digest[:16]}.json"


def write_file(folder, name: str, stored, of: Dataset | None = None) -> None:
    """A file of an earlier version; of a dataset, each note with what is known of its picture's content."""
    folder.mkdir(exist_ok=True)
    entries = json.loads(notes.to_json(stored))
    for picture in entries.keys() & (of.names if of else set()):
        entries[picture]["content"] = of.content(picture)
    (folder / name).write_text(json.dumps(entries))


def test_a_file_of_an_earlier_version_is_imported_once(engine, folder):
    write_file(folder, file_of(), SOME | {"gone/9.jpg": note("x")}, SCENES)
    assert current(engine) == SOME | {"gone/9.jpg": note("x")}
    stored = notes.load(engine, SCENES)["cat/1.jpg"]
    assert (stored.person.in_words(), stored.version) == ("Imported", 1)
    notes.put(engine, SCENES, "cat/1.jpg", Note(), ANNA, seen=1)
    notes._looked_at.clear()  # as in a new process
    write_file(folder, file_of(), {"cat/1.jpg": note("written by an old version since")}, SCENES)
    assert current(engine) == {"dog/2.jpg": SOME["dog/2.jpg"], "gone/9.jpg": note("x")}


def test_an_import_adds_to_what_is_there(engine, folder):
    notes.put(engine, SCENES, "cat/1.jpg", note("mine", "first"), ANNA, seen=0)
    write_file(folder, file_of(), SOME, SCENES)
    assert current(engine) == notes.merged({"cat/1.jpg": note("mine", "first")}, SOME)


def load_alone(url: str, folder: str) -> None:
    os.environ["XAI_NOTES"] = folder
    assert current(open_database(url)) == SOME


def test_processes_that_begin_at_once_import_a_file_once(engine, url, folder):
    write_file(folder, file_of(), SOME, SCENES)
    in_processes(load_alone, [(url, str(folder))] * 4)
    assert rows(engine) == len(SOME)


def test_a_file_of_an_earlier_state_is_imported_for_the_pictures_that_stay(engine, folder):
    write_file(folder, file_of(), SOME, SCENES)
    changed, other = dataset(cow_3=b"three", dog_2=b"another dog"), dataset(cat_1=b"another cat", dog_2=b"another dog")
    assert current(engine, other) == {}
    assert current(engine, changed) == {"cat/1.jpg": SOME["cat/1.jpg"]}
    notes.put(engine, changed, "cat/1.jpg", Note(), ANNA, seen=1)
    notes._looked_at.clear()
    assert current(engine, changed) == {} and current(engine, dataset(cow_3=b"4", dog_2=b"another dog")) == {}
    assert current(engine) == SOME, "the dataset that the file is of has all of its notes"


def test_a_file_under_the_name_of_the_title_is_imported(engine, folder):
    write_file(folder, "scenes.json", SOME | {"gone/9.jpg": note("x")})
    assert current(engine) == SOME and current(engine, dataset("others", cat_1=b"x")) == {}
    notes.put(engine, SCENES, "dog/2.jpg", note("changed"), ANNA, seen=1)
    write_file(folder, "scenes.json", {"cat/1.jpg": note("not read any more")})
    notes._looked_at.clear()
    assert current(engine) == SOME | {"dog/2.jpg": note("changed")}


@pytest.mark.parametrize("title", ["../../etc/passwd", "a/b", ".hidden", "", "t" * 1000])
def test_a_dataset_of_any_title_has_notes(title, engine, folder, tmp_path):
    folder.mkdir()
    (tmp_path / "passwd.json").write_bytes(notes.to_json(SOME))
    assert current(engine, dataset(title)) == {}
    notes.add(engine, dataset(title), SOME, ANNA)
    assert current(engine, dataset(title)) == SOME


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling link", "endless", "large", "text"])
def test_a_file_of_notes_that_is_none_is_one_sentence_and_stops_nothing(engine, folder, kind):
    folder.mkdir()
    place = folder / file_of()
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
    with limited():
        notes.put(engine, SCENES, "cat/1.jpg", note("odd"), ANNA, seen=0)
        assert current(engine) == {"cat/1.jpg": note("odd")}
        (sentence,) = notes.import_files(engine, SCENES)
    assert one_sentence(Exception(sentence)) and place.name in sentence and str(folder) not in sentence


def test_a_file_that_was_repaired_is_imported(engine, folder):
    write_file(folder, file_of(), SOME, SCENES)
    whole = (folder / file_of()).read_bytes()
    (folder / file_of()).write_bytes(whole[:-9])
    assert current(engine) == {} and len(notes.import_files(engine, SCENES)) == 1
    (folder / file_of()).write_bytes(whole)
    assert current(engine) == SOME and notes.import_files(engine, SCENES) == ()


def test_notes_that_begin_like_a_formula_are_text_in_a_spreadsheet_and_come_back():
    mine = {"=1+1.png": notes.note("@tag", "=HYPERLINK(1)"), "b.png": notes.note("plain", "'quoted'")}
    data = notes.to_csv(mine)
    assert b"'=1+1.png" in data and b"'=HYPERLINK(1)" in data and b"\n=" not in data
    assert notes.read("notes.csv", data) == mine
