"""Notes in the database that the app uses, for the tests of its pages."""

from xai_core.app.shared import review_store
from xai_core.data.datasets import Dataset
from xai_core.review import picture_notes
from xai_core.review.people import Person, named
from xai_core.review.picture_notes import Note, Notes

ANNA = named("Anna", "another browser")


def saved(dataset: Dataset) -> dict[str, Note]:
    return {name: stored.note for name, stored in picture_notes.load(review_store.engine(), dataset).items()}


def add_notes(dataset: Dataset, notes: Notes) -> None:
    picture_notes.add(review_store.engine(), dataset, notes, ANNA)


def put_note(dataset: Dataset, name: str, new: Note, person: Person = ANNA) -> None:
    """Someone's note on one picture, whatever was there."""
    stored = picture_notes.find(review_store.engine(), dataset, name)
    picture_notes.put(review_store.engine(), dataset, name, new, person, stored.version if stored else 0)
