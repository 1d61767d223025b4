"""Notes on pictures: unsaved text is kept for each picture, and nobody overwrites a note that they have not seen."""

import pytest
from noted import put_note, saved
from streamlit.testing.v1 import AppTest

from xai_core.app.shared import identity, review_store
from xai_core.data.datasets import Dataset
from xai_core.data.sample_list import Labelled
from xai_core.review import picture_notes
from xai_core.review.people import named
from xai_core.review.picture_notes import Note, note

PICTURES = {"cat/1.jpg": b"one", "dog/2.jpg": b"two"}
SCENES = Dataset("scenes", tuple(Labelled(name, name.split("/")[0]) for name in PICTURES), PICTURES.__getitem__)
CAT, DOG = PICTURES


@pytest.fixture(autouse=True)
def database(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_REVIEW_DB", f"sqlite:///{tmp_path}/review.sqlite")
    yield
    review_store.engine().dispose()


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
    assert saved(SCENES) == {CAT: note("", "the ears are cut off")} and app.button(key=f"draft {DOG}")
    ran(app.selectbox(key="sample").set_value(DOG).run())
    press(app, "Discard")
    assert app.text_area[0].value == "" and "not saved yet" not in said(app).lower()


def test_a_form_loaded_earlier_does_not_delete_a_note():
    early = visitor()
    press(write(visitor(), "a note"), "Save")
    press(early, "Save")
    assert saved(SCENES) == {CAT: note("", "a note")}
    assert early.text_area[0].value == "a note", "the form shows what is stored now"


@pytest.mark.parametrize(
    ("choice", "stored"),
    [("Save mine", note("", "mine")), ("Save both", note("", "theirs\nmine")), ("Keep the saved note", note("", "theirs"))],
)
def test_two_visitors_who_write_at_once_see_both_texts_and_choose(choice, stored):
    mine, theirs = write(visitor(), "mine"), write(visitor(), "theirs")
    press(theirs, "Save")
    press(mine, "Save")
    assert saved(SCENES) == {CAT: note("", "theirs")}
    assert mine.text_area[0].value == "mine" and "theirs" in said(mine) and "Nothing was overwritten" in said(mine)
    press(mine, choice)
    assert saved(SCENES) == {CAT: stored} and mine.text_area[0].value == stored.text and not mine.warning


def test_a_choice_counts_for_the_note_that_was_shown_only():
    mine, theirs = write(visitor(), "mine"), write(visitor(), "theirs")
    press(theirs, "Save")
    press(mine, "Save")
    press(write(theirs, "theirs, corrected"), "Save")
    press(mine, "Save mine")
    assert saved(SCENES) == {CAT: note("", "theirs, corrected")} and "theirs, corrected" in said(mine)
    press(mine, "Save mine")
    assert saved(SCENES) == {CAT: note("", "mine")}


def test_a_removed_note_is_named_as_removed():
    put_note(SCENES, CAT, note("", "first"))
    mine = write(visitor(), "mine")
    put_note(SCENES, CAT, Note())
    press(mine, "Save")
    assert (
        "the note was removed" in said(mine) and "Removed by Anna (not verified), 20" in said(mine) and saved(SCENES) == {}
    )


def test_the_form_says_who_has_written_the_note_and_when():
    app = visitor()
    assert "by" not in said(app)
    press(write(app, "seen"), "Save")
    stored = picture_notes.find(review_store.engine(), SCENES, CAT)
    assert (stored.person.name, stored.person.verified) == ("Visitor", False)
    assert f"Last changed by Visitor (not verified), {stored.at:%Y-%m-%d %H:%M} UTC." in said(app)


def test_a_visitor_with_a_name_writes_under_it(monkeypatch):
    monkeypatch.setattr(identity, "person", lambda: named("B*e*n", "this browser"))
    app = press(write(visitor(), "seen"), "Save")
    assert picture_notes.find(review_store.engine(), SCENES, CAT).person == named("B*e*n", "this browser")
    assert r"Last changed by B\*e\*n (not verified)" in said(app)


def test_a_conflict_names_who_has_written_and_when():
    mine = write(visitor(), "mine")
    put_note(SCENES, CAT, note("", "theirs"))
    press(mine, "Save")
    at = picture_notes.find(review_store.engine(), SCENES, CAT).at
    (warning,) = (element.value for element in mine.warning)
    assert f"while you were writing: Anna (not verified), {at:%Y-%m-%d %H:%M} UTC. Nothing was overwritten." in warning


def test_the_same_note_by_two_visitors_is_no_conflict():
    mine = write(visitor(), "odd")
    put_note(SCENES, CAT, note("", "odd"))
    press(mine, "Save")
    assert not mine.warning and "Not saved yet" not in said(mine) and "by Anna" in said(mine)


def test_a_demonstration_shows_notes_and_stores_none(monkeypatch):
    put_note(SCENES, CAT, note("", "odd"))
    monkeypatch.setenv("XAI_READONLY", "1")
    app = visitor()
    assert app.text_area[0].value == "odd" and app.text_area[0].disabled and app.text_input[0].disabled
    assert [one.label for one in app.button] == ["Add to report **the words Note on cat/1.jpg**"], "nothing that stores"
    assert "stores none" in said(app)


def test_a_database_that_fails_while_a_note_is_written_loses_nothing(monkeypatch, tmp_path):
    app = write(visitor(), "a long text")
    monkeypatch.setenv("XAI_REVIEW_DB", f"sqlite:///{tmp_path}/broken.sqlite")
    (tmp_path / "broken.sqlite").write_bytes(b"no database " * 100)
    press(app, "Save")
    assert all("broken.sqlite is no database" in error.value for error in app.error) and len(app.error) == 2
    assert str(tmp_path) not in "".join(error.value for error in app.error)
    monkeypatch.setenv("XAI_REVIEW_DB", f"sqlite:///{tmp_path}/review.sqlite")
    ran(app.run())
    assert app.text_area[0].value == "a long text" and "Not saved yet" in said(app)
    press(app, "Save")
    assert saved(SCENES) == {CAT: note("", "a long text")}
