"""Notes on pictures: unsaved text is kept for each picture, and nobody overwrites a note that they have not seen."""

import pytest
from streamlit.testing.v1 import AppTest

from xai_core.data.datasets import Dataset, Labelled
from xai_core.review import notes
from xai_core.review.notes import Note, note

PICTURES = {"cat/1.jpg": b"one", "dog/2.jpg": b"two"}
SCENES = Dataset("scenes", tuple(Labelled(name, name.split("/")[0]) for name in PICTURES), PICTURES.__getitem__)
CAT, DOG = PICTURES


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_NOTES", str(tmp_path / "notes"))


def script(dataset):
    import streamlit as st

    from xai_core.app.shared import note_form

    def open_draft(paths, path):
        st.session_state["sample"] = path

    note_form.show(dataset, st.selectbox("Open", [sample.name for sample in dataset.samples], key="sample"), open_draft)


def visitor() -> AppTest:
    return ran(AppTest.from_function(script, default_timeout=30, kwargs={"dataset": SCENES}).run())


def ran(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    return ran(next(button for button in app.button if button.label == label).click().run())


def write(app: AppTest, text: str) -> AppTest:
    return ran(app.text_area[0].set_value(text).run())


def said(app: AppTest) -> str:
    return " ".join(element.value for kind in ("text", "caption", "warning") for element in app.get(kind))


def test_unsaved_text_is_kept_for_each_picture_and_the_page_says_so():
    app = write(visitor(), "the ears are cut off")
    assert "Not saved yet" in said(app)
    ran(app.selectbox(key="sample").set_value(DOG).run())
    assert app.text_area[0].value == "" and "not saved yet on other pictures" in said(app)
    write(app, "this is a wolf")
    press(app, CAT)
    assert app.text_area[0].value == "the ears are cut off"
    press(app, "Save")
    assert notes.load(SCENES) == {CAT: note("", "the ears are cut off")} and app.button(key=f"draft {DOG}")
    ran(app.selectbox(key="sample").set_value(DOG).run())
    press(app, "Discard")
    assert app.text_area[0].value == "" and "not saved yet" not in said(app).lower()


def test_a_form_loaded_earlier_does_not_delete_a_note():
    early = visitor()
    press(write(visitor(), "a note"), "Save")
    press(early, "Save")
    assert notes.load(SCENES) == {CAT: note("", "a note")}
    assert early.text_area[0].value == "a note", "the form shows what is stored now"


@pytest.mark.parametrize(
    ("choice", "stored"),
    [("Save mine", note("", "mine")), ("Save both", note("", "theirs\nmine")), ("Keep the saved note", note("", "theirs"))],
)
def test_two_visitors_who_write_at_once_see_both_texts_and_choose(choice, stored):
    mine, theirs = write(visitor(), "mine"), write(visitor(), "theirs")
    press(theirs, "Save")
    press(mine, "Save")
    assert notes.load(SCENES) == {CAT: note("", "theirs")}
    assert mine.text_area[0].value == "mine" and "theirs" in said(mine) and "Nothing was overwritten" in said(mine)
    press(mine, choice)
    assert notes.load(SCENES) == {CAT: stored} and mine.text_area[0].value == stored.text and not mine.warning


def test_a_choice_counts_for_the_note_that_was_shown_only():
    mine, theirs = write(visitor(), "mine"), write(visitor(), "theirs")
    press(theirs, "Save")
    press(mine, "Save")
    press(write(theirs, "theirs, corrected"), "Save")
    press(mine, "Save mine")
    assert notes.load(SCENES) == {CAT: note("", "theirs, corrected")} and "theirs, corrected" in said(mine)
    press(mine, "Save mine")
    assert notes.load(SCENES) == {CAT: note("", "mine")}


def test_a_removed_note_is_named_as_removed():
    notes.put(SCENES, CAT, note("", "first"))
    mine = write(visitor(), "mine")
    notes.put(SCENES, CAT, Note())
    press(mine, "Save")
    assert "the note was removed" in said(mine) and notes.load(SCENES) == {}


def test_a_folder_that_cannot_be_written_is_not_named(monkeypatch):
    monkeypatch.setenv("XAI_NOTES", "/proc/none/notes")
    app = press(write(visitor(), "seen"), "Save")
    assert "cannot be stored in notes" in app.error[0].value and "proc" not in app.error[0].value
