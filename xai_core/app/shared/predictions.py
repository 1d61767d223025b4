"""Data of the misclassification page: a dataset, a model's predictions for it, and the filters."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from xai_core.analysis.predict import classify, estimated_seconds, is_of, shipped
from xai_core.app.shared import (
    attribute_filters,
    job_view,
    jobs,
    label_check,
    network_outputs,
    page_links,
    page_setup,
    progress,
    review_store,
    session,
    turns,
    widgets,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.opened_datasets import SAMPLES, UPLOADED, is_upload, open_named
from xai_core.app.shared.server_job import ServerJob
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown, settings
from xai_core.core.cache_key import bytes_digest, text_digest
from xai_core.core.errors import BadRequest, BeingWritten, XaiError
from xai_core.data.datasets import USUAL_WORLD, Dataset, given, offered, open_zip, zip_parts
from xai_core.data.held_predictions import HeldPredictions, Names, hold_file
from xai_core.data.label_matching import first_name
from xai_core.data.predictions import settings_of
from xai_core.models.explainable import ExplainableModel
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards
from xai_core.review import picture_notes

LARGEST_ZIP = 200  # MB
MOST_REASONS = 50  # in a list of what was left out
GALLERY = "gallery"  # the key of the container of the listed pictures
EVERY = "(all)"  # instead of a class: the pictures of every class


def dataset(say: DeltaGenerator) -> Dataset | None:
    """The controls that choose a dataset, and the dataset; None where it cannot be opened, and `say` shows the reason."""
    names = [SAMPLES, *offered(), UPLOADED]
    usual = next(iter(given()), USUAL_WORLD if usual_network(USUAL_WORLD) else SAMPLES)
    chosen = st.selectbox(
        "Pictures", names, names.index(usual), key="dataset",
        help="Labelled folders, ZIPs and tables in `data/` are listed here; XAI_DATA can name other folders.", **LINK,
    )  # fmt: skip
    file = st.file_uploader(
        "or upload a ZIP with one folder for each class", type=["zip"], max_upload_size=LARGEST_ZIP, key="zip",
        on_change=_choose_upload, help="The ZIP stays in this session. Predictions and notes are stored on the server.",
    )  # fmt: skip
    try:
        if chosen == UPLOADED and file is not None:
            _unzip(file)
        if chosen == UPLOADED and "unzipped" not in st.session_state:
            say.info("Upload a ZIP on the left, with one folder of pictures for each class.")
            return None
        return open_named(chosen)
    except XaiError as error:
        say.error(error_text(f"{error} Choose other pictures on the left."))
        return None


def dataset_and_model(say: DeltaGenerator) -> tuple[Dataset, ExplainableModel]:
    """The controls in the sidebar that choose both; ends the page where there is no dataset, and `say` shows the reason."""
    with st.sidebar:
        chosen = dataset(say)
        model = widgets.model(say, first=usual_network(chosen.title) if chosen else None)
    if chosen is None:
        st.stop()
    return chosen, model


def usual_network(dataset: str) -> str | None:
    """The network that was trained on a world, if it is on this machine: world_planted for world:planted:mark."""
    id = "_".join(dataset.split(":")[:2])
    return id if id in cards() and locate.is_here(cards()[id]) else None


def _choose_upload() -> None:
    if st.session_state["zip"] is None:
        st.session_state.pop("unzipped", None)
    else:
        st.session_state["dataset"] = UPLOADED


def _unzip(file: UploadedFile) -> None:
    """Open the uploaded dataset, once in a session for each part that the visitor chooses. Raises BadRequest."""
    parts: tuple[str, ...]
    id, parts = st.session_state.get("zip_parts", ("", ()))
    if id != file.file_id:
        parts = zip_parts(io.BytesIO(file.getvalue()), file.name)
        st.session_state["zip_parts"] = (file.file_id, parts)
    part = ""
    if parts:
        session.keep_among("zip_part", parts, parts[0])
        part = st.selectbox("Part of the ZIP", parts, key="zip_part")
    opened = f"{file.file_id} {part}"
    if st.session_state.get("unzipped", ("", None))[0] != opened:
        data = file.getvalue()
        title = f"{Path(file.name).stem} {bytes_digest(data)[:8]}"
        st.session_state["unzipped"] = (opened, open_zip(io.BytesIO(data), f"{title} {part}".strip(), part))


def folder() -> Path:
    """Where predictions are stored between visits; they can be computed again."""
    return Path(tempfile.gettempdir()) / "xai_core_predictions"


def subject(model: ExplainableModel, dataset: Dataset) -> str:
    """A name of a model's predictions for a dataset, made of the weights, the card's classes and preprocessing, and the
    content of the dataset: for what is computed from them and kept."""
    depends_on = repr((model.fingerprint, model.class_names, model.recipe, dataset.digest))
    return f"{model.id}-{text_digest(depends_on)[:16]}"


def file_of(model: ExplainableModel, dataset: Dataset) -> Path:
    """The file of a model's predictions for a dataset."""
    return folder() / f"{subject(model, dataset)}.parquet"


def held(
    model: ExplainableModel, dataset: Dataset, *, second: bool = False, lists_errors: bool = True
) -> HeldPredictions | None:
    """The predictions for all pictures whose label is a class of the model; None while they are not computed, or if there
    are none. `second` is for a model beside the one that the page is about; `lists_errors` offers to list all errors, on a
    page that has filters. Raises BadRequest where it has no classes."""
    if not model.has_classifier:
        raise BadRequest(f"{model.title} predicts no classes. Choose another model, or train a probe.")
    if not label_check.passed(dataset, model, offer=not second):
        return None
    stored = shipped(model, dataset)
    file = stored or written(model, dataset) or file_of(model, dataset)
    if not file.exists() and not _classified(model, dataset, file):
        return None
    every = _held(str(file), file.stat().st_mtime_ns, subject(model, dataset), dataset.metadata)
    _report(dataset, settings_of(file), every.rows, lists_errors and not second)
    if not second and stored:
        st.caption(COMES_WITH_THE_APP)
    elif not second and file.parent != folder():
        st.caption(f"These predictions were written by `classify`: {markdown.escape(file.name)}.")
    return every if len(every.rows) else None


def table(
    model: ExplainableModel, dataset: Dataset, *, second: bool = False, lists_errors: bool = True
) -> pd.DataFrame | None:
    """What `held` holds with all columns of the file, in memory as a whole: for pages that work on everything at once."""
    every = held(model, dataset, second=second, lists_errors=lists_errors)
    return None if every is None else _whole(subject(model, dataset), every)


@st.cache_resource(max_entries=8, show_spinner="Reading the predictions")
def _held(path: str, changed: int, subject: str, _metadata: pd.DataFrame) -> HeldPredictions:
    return hold_file(Path(path), _metadata)


@st.cache_data(max_entries=8, show_spinner=False)
def _whole(subject: str, _every: HeldPredictions) -> pd.DataFrame:
    return _every.whole(_every.rows)


def written(model: ExplainableModel, dataset: Dataset) -> Path | None:
    """The file in the folders of runs that `classify` wrote for these weights and pictures; the newest of several."""
    files = [file for root in settings.runs_folders() for file in (*root.glob("*.parquet"), *root.glob("*/*.parquet"))]
    return max((file for file in files if _is_of(file, model, dataset)), key=_changed, default=None)


def _is_of(file: Path, model: ExplainableModel, dataset: Dataset) -> bool:
    """Whether it holds these predictions; read once for each time of change."""
    return _fits(str(file), _changed(file), subject(model, dataset), model, dataset)


@st.cache_resource(max_entries=256, show_spinner=False)
def _fits(file: str, changed: int, subject: str, _model: ExplainableModel, _dataset: Dataset) -> bool:
    return is_of(Path(file), _model, _dataset, embeddings=None)


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # a link that leads nowhere
        return 0


def _classified(model: ExplainableModel, dataset: Dataset, file: Path) -> bool:
    """Write the predictions to `file` if that is quick; otherwise a job does it, which the visitor starts here."""
    file.parent.mkdir(parents=True, exist_ok=True)
    seconds = estimated_seconds(model, dataset, network_outputs.pass_times())
    if dataset.title == SAMPLES or seconds < progress.AT_ONCE_SECONDS:
        if not progress.should_start(file.stem, 0.0 if dataset.title == SAMPLES else seconds, button="Classify"):
            return False
        with progress.bar(file.stem) as bar:

            def move(done: int, total: int, words: str) -> None:
                bar.progress(done / max(total, 1), text=words)

            turns.in_turn(lambda _: _write(model, dataset, file, move), bar, "Classifying")
        return True

    def work(handle: JobHandle) -> None:
        handle.next_turn()
        _write(model, dataset, file, handle.report)

    def begin() -> ServerJob:
        title = f"Classify {dataset.title} with {model.title}"
        return jobs.start(file.stem, title, work, page_links.here(page_links.shown()), private=is_upload(dataset))

    job_view.offer(file.stem, seconds, begin, button="Classify", kept="Predictions made so far are kept.")
    st.caption(markdown.escape(dataset.in_words()))
    return False


def _write(model: ExplainableModel, dataset: Dataset, file: Path, report: Callable[[int, int, str], None]) -> None:
    """Write the predictions to `file`; `report` is told how far they are after every batch, and may raise to end this."""
    while True:
        try:
            # Closed at once when the visitor cancels: the generator holds the lock on the file.
            with contextlib.closing(classify(model, dataset, file, embeddings=True)) as steps:
                for step in steps:
                    report(step.done, step.total, step.in_words())
            return
        except BeingWritten:  # by another server: its predictions are ours
            report(0, 0, "Another process is computing these predictions: waiting until it has finished")


def _report(dataset: Dataset, made_with: Mapping[str, Any], rows: pd.DataFrame, lists_errors: bool) -> None:
    """The size of the dataset, the accuracy, and what was left out."""
    right = (rows["true"] == rows["predicted"]).to_numpy()
    of = f" of the {len(rows):,} that could be read and have a known label" if len(rows) < len(dataset.samples) else ""
    accuracy = f" **{right.mean():.1%}** right, {(~right).sum():,} wrong{of}." if len(rows) else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(markdown.escape(dataset.in_words()) + accuracy, width="content")
        if not right.all() and lists_errors:
            count = int((~right).sum())
            words = "Show the error" if count == 1 else f"Show all {count:,} errors"
            st.button(words, key="all errors", icon=":material/filter_alt:", help=ALL_ERRORS, on_click=_list_errors)
            same = {name: value for name, value in st.query_params.items() if name in SUBJECT or name.endswith(".weights")}
            page_links.link(
                page_links.FAILURES, "Why are these wrong?", same, icon=":material/troubleshoot:",
                origin=page_links.shown(), help=WHY,
            )  # fmt: skip
    if made_with["unmatched"]:
        with st.expander(f"{len(made_with['unmatched'])} labels are not known to this model", icon=":material/rule:"):
            list_reasons(made_with["unmatched"].items())
            st.caption("On the command line, `classify --mapping FILE` assigns labels to classes.")
    if made_with["unreadable"]:
        with st.expander(f"{len(made_with['unreadable'])} files could not be read", icon=":material/broken_image:"):
            list_reasons(made_with["unreadable"])
    if not len(rows):
        st.info("None of the pictures with a label that this model knows could be read.")


COMES_WITH_THE_APP = (
    "These predictions come with the app: they were computed before, with the same weights for the same pictures."
)


def list_reasons(reasons: Iterable[tuple[str, str]]) -> None:
    """The names of what was left out, each with the reason."""
    pairs = list(reasons)
    for name, reason in pairs[:MOST_REASONS]:
        st.markdown(f"- **{markdown.escape(name)}**: {error_text(reason)}")
    if len(pairs) > MOST_REASONS:
        st.markdown(f"And {len(pairs) - MOST_REASONS:,} more.")


SUBJECT = ("dataset", "model")  # in the address
WHY = "Leads from these errors to a plan: wrong labels, groups of errors, their causes, and what to do."
ALL_ERRORS = "Lists every wrong prediction of this dataset: resets the filters and the chosen cell of the matrix."


def _list_errors() -> None:
    """Every filter as it is at first, but for the one that lists wrong predictions; and all cells of the matrix."""
    st.session_state.update(
        which="Wrong", confidence=(0.0, 1.0), margin=(0.0, 1.0), classes=[], tags=[],
        view="Confusion", true=EVERY, predicted=EVERY, page=1,
    )  # fmt: skip
    page_setup.scroll_to(GALLERY)


class FilteredRows(NamedTuple):
    """The predictions that the page shows, and those that its figures are about.

    held         the predictions in the file; `names`, `named` and `whole` give what the rows below leave out
    every        of all pictures: place in the file, true and predicted class, confidence and margin, as the others
    all_classes  of the pictures with the chosen attributes and tags
    counted      of those of them that belong to the chosen true classes: every share on the page is of these, as no filter
                 by what the model answered may change a denominator
    listed       of those of them whose prediction passes the other filters too
    tags         of the pictures that have some, by path
    """

    held: HeldPredictions
    every: pd.DataFrame
    all_classes: pd.DataFrame
    counted: pd.DataFrame
    listed: pd.DataFrame
    tags: Mapping[str, tuple[str, ...]]

    def names(self, rows: pd.DataFrame) -> Names:
        """The names of the pictures of some rows."""
        return self.held.names(rows)

    def named(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Some rows with the column `path`."""
        return self.held.named(rows)

    def whole(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Some rows with all columns of the file."""
        return self.held.whole(rows)


def unfiltered(held: HeldPredictions) -> FilteredRows:
    """All rows, for a page without filters."""
    return FilteredRows(held, held.rows, held.rows, held.rows, held.rows, {})


def filtered(held: HeldPredictions, dataset: Dataset) -> FilteredRows:
    """The rows that pass the filters in the sidebar; all filters are in the address."""
    every, tags_of = held.rows, _tags(dataset)
    which = st.segmented_control(
        "Predictions", ["All", "Wrong", "Right"], default="All", required=True, key="which", width="stretch", **LINK
    )
    with st.expander("More filters", icon=":material/filter_alt:"):
        low, high = st.slider("Confidence", 0.0, 1.0, (0.0, 1.0), 0.01, key="confidence", **LINK)
        least, most = st.slider("Margin", 0.0, 1.0, (0.0, 1.0), 0.01, key="margin", help=MARGIN, **LINK)
        st.caption(OUTCOMES)
        classes = st.multiselect("True classes", sorted(every["true"].unique()), key="classes", **LINK)
        tags = st.multiselect("Tags", sorted({tag for own in tags_of.values() for tag in own}), key="tags", **LINK)
        fitting = attribute_filters.filters(held, dataset)
        st.caption(PICTURES)
    if tags:
        tagged = held.places(path for path, own in tags_of.items() if {*tags} & {*own})
        fitting = fitting & every["place"].isin([*tagged.values()])
    all_classes = counted = _those(every, fitting)
    if classes:
        counted = _those(all_classes, all_classes["true"].isin(classes))
    passes = counted["confidence"].between(low, high) & counted["margin"].between(least, most)
    if which != "All":
        passes &= (counted["true"] == counted["predicted"]) == (which == "Right")
    listed = _those(counted, passes)
    if len(listed) < len(every):
        st.caption(f"{len(listed):,} of {len(every):,} pictures pass the filters.")
    return FilteredRows(held, every, all_classes, counted, listed, tags_of)


def _those(rows: pd.DataFrame, fitting: "pd.Series[bool]") -> pd.DataFrame:
    """The fitting rows, numbered anew; where all fit, the rows themselves."""
    return rows if fitting.all() else rows[fitting].reset_index(drop=True)


def _tags(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """The tags of the pictures that have some; where they cannot be read, none and a sentence: errors are shown without."""
    try:
        stored = picture_notes.load(review_store.engine(), dataset)
    except XaiError as error:
        st.warning(error_text(f"Tags and notes cannot be shown. {error}"))
        return {}
    return {path: one.note.tags for path, one in sorted(stored.items()) if one.note.tags}


def with_filters(what: str, dataset: Dataset) -> str:
    """A name of some of the pictures listed, with the filters that they have passed."""
    state, parts = st.session_state, []
    if state["which"] != "All":
        parts.append(f"{state['which'].lower()} predictions")
    for name in ("confidence", "margin"):
        low, high = state[name]
        if (low, high) != (0.0, 1.0):
            parts.append(f"{name} {low:.0%} to {high:.0%}")
    for name, words in (("classes", "true class"), ("tags", "tag")):
        if state[name]:
            parts.append(f"{words} {' or '.join(map(first_name, state[name]))}")
    parts += attribute_filters.in_words(dataset)
    return f"{what} ({'; '.join(parts)})" if parts else what


OUTCOMES = "Filters by prediction choose which pictures are listed. Shares still refer to all pictures, right and wrong."
PICTURES = "If you choose true classes, tags or attributes, shares refer to the pictures that have them."
MARGIN = "Probability of the predicted class minus that of the next."


def alt_text(row: Mapping[Hashable, Any]) -> str:
    """A picture of the dataset in words, from its row in the table of predictions."""
    return f"{row['path']}: {row['true']}, predicted as {row['predicted']}"


def pair_words(true: str, predicted: str) -> str:
    """'glacier predicted as mountain', or 'glacier predicted correctly'."""
    if true == predicted:
        return f"{first_name(true)} predicted correctly"
    return f"{first_name(true)} predicted as {first_name(predicted)}"
