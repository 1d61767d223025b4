"""Before pictures are classified: whether their labels are classes of the model, and which models would know them."""

from typing import NamedTuple

import streamlit as st

from xai_core.app.shared.widgets import presence_label
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import Matching, first_name, match_classes
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import classes_of
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards

MOST_MODELS, MOST_LABELS = 4, 6  # named on the page


class FittingModel(NamedTuple):
    """A model of the catalogue, how many of a dataset's labels it knows, and whether its weights are on this machine."""

    id: str
    known: int
    present: bool


def passed(dataset: Dataset, model: ExplainableModel, *, offer: bool) -> bool:
    """Whether any picture has a label that the model knows. If not, or if few are known, the page says so and, with `offer`,
    what to do."""
    if not dataset.classes:
        st.info(f"{markdown.escape(dataset.in_words())} {FOLDERS}")
        return False
    matching = match_classes(dataset.classes, model)
    total, known = len(dataset.classes), len(matching.index)
    if 2 * known >= total:
        return True
    st.info(f"{_in_words(matching, model.title)} {_examples(matching)}")
    if not offer:
        return known > 0
    better = [other for other in fitting(dataset) if other.id != model.id and other.known > known]
    _offer(better, total)
    if not better and not known:
        st.caption(
            "No model in the list knows these labels. Rename the folders as a model's classes, or assign labels to classes "
            "on the command line with `classify --mapping FILE`."
        )
    return known > 0


FOLDERS = (
    "Put the pictures into one folder for each class, named as the class, and make the ZIP of these folders. Or list them "
    "in a table with the columns path and label."
)


def _in_words(matching: Matching, title: str) -> str:
    known, total = len(matching.index), len(matching.index) + len(matching.unmatched)
    title = markdown.escape(title)
    if known:
        return f"Only {known} of these {total} labels are known to {title}: pictures with the other labels are left out."
    if total == 1:
        return f"The label of these pictures is not known to {title}, so no prediction could be checked."
    return f"None of these {total} labels is known to {title}, so no prediction could be checked."


def _examples(matching: Matching) -> str:
    unknown = [first_name(label) for label in list(matching.unmatched)[:MOST_LABELS]]
    more = len(matching.unmatched) - len(unknown)
    return f"Unknown labels: {markdown.escape(', '.join(unknown))}{f' and {more} more' if more else ''}."


def fitting(dataset: Dataset) -> list[FittingModel]:
    """The models that know labels of the dataset: those on this machine first, then by how many labels they know.

    Read from the cards; no network is loaded.
    """
    known_by: dict[int, int] = {}  # most cards share their list of classes
    models = []
    for card in cards().values():
        classes = classes_of(card)
        if classes is None:
            continue
        if id(classes.class_names) not in known_by:
            known_by[id(classes.class_names)] = len(match_classes(dataset.classes, classes).index)
        present = locate.is_here(card)
        models.append(FittingModel(card.id, known_by[id(classes.class_names)], present))
    fits = [model for model in models if model.known]
    return sorted(fits, key=lambda model: (not model.present, -model.known))


def _offer(models: list[FittingModel], total: int) -> None:
    """A button for each of the first models; pressing it chooses the model."""
    if not models:
        return
    st.markdown("Models that know more of these labels:")
    with st.container(horizontal=True):
        for model in models[:MOST_MODELS]:
            title = markdown.escape(presence_label(cards()[model.id].title, model.present))
            st.button(
                f"{title}: {model.known} of {total}", key=f"use {model.id}", on_click=_choose, args=(model.id,),
            )  # fmt: skip


def _choose(id: str) -> None:
    st.session_state["model"] = id
