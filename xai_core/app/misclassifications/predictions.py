"""What the misclassification page starts from: a dataset, a model's predictions for it, and the filters."""

import io
import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.analysis.predict import classify, judged, read_predictions, settings_of
from xai_core.app.shared import display, network_outputs, progress, session, turns
from xai_core.app.shared.widgets import LINK
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadRequest, XaiError
from xai_core.data.corrupted_samples import changed_samples
from xai_core.data.datasets import Dataset, find_offered, offered, open_dataset, open_zip
from xai_core.models.explainable import ExplainableModel
from xai_core.review import notes
from xai_core.review.notes import Note

SAMPLES, UPLOADED = "Sample photographs, changed", "Your ZIP"
LARGEST_ZIP = 200  # MB


def dataset(say: DeltaGenerator) -> Dataset | None:
    """The chosen dataset; None, and `say` gives the reason, where there is none."""
    chosen = st.selectbox(
        "Pictures", [SAMPLES, *offered(), UPLOADED], key="dataset",
        help="Labelled folders, ZIPs and tables under `data/` (XAI_DATA names other folders) are listed here.", **LINK,
    )  # fmt: skip
    file = st.file_uploader(
        "or upload a ZIP with a folder for each class", type=["zip"], max_upload_size=LARGEST_ZIP, key="zip",
        on_change=_take_zip,
    )  # fmt: skip
    try:
        if chosen == SAMPLES:
            return changed_samples()
        if chosen != UPLOADED:
            return open_dataset(find_offered(chosen))
        if file is None:
            say.info("Upload a ZIP on the left: one folder of pictures for each class. It stays in this session.")
            return None
        return _unzipped(file)
    except XaiError as error:
        say.error(f"{error} Choose other pictures on the left.")
        return None


def _take_zip() -> None:
    if st.session_state["zip"] is not None:
        st.session_state["dataset"] = UPLOADED


def _unzipped(file) -> Dataset:
    data = file.getvalue()
    return open_zip(io.BytesIO(data), f"{Path(file.name).stem} {bytes_digest(data)[:8]}")


def folder() -> Path:
    """Where predictions are kept between visits: they can always be made again."""
    return Path(tempfile.gettempdir()) / "xai_core_predictions"


def table(model: ExplainableModel, dataset: Dataset) -> pd.DataFrame | None:
    """The predictions for the pictures that have a class of the model; None while they are not made."""
    if not model.has_classifier:
        raise BadRequest(f"{model.title} names no classes. Choose another model, or train a probe.")
    name = f"{model.id}-{bytes_digest(f'{model.fingerprint} {dataset.title} {dataset.digest}'.encode())[:16]}"
    out = folder() / f"{name}.parquet"
    if not out.exists() and not _classified(model, dataset, out, name):
        return None
    settings = settings_of(out)
    found = judged(_read(str(out), out.stat().st_mtime))
    _report(dataset, settings, found)
    return found if len(found) else None


@st.cache_data(max_entries=8, show_spinner=False)
def _read(path: str, changed: float) -> pd.DataFrame:
    return read_predictions(Path(path))


def _classified(model: ExplainableModel, dataset: Dataset, out: Path, name: str) -> bool:
    """Whether the predictions are made now."""
    seconds = len(dataset.samples) * network_outputs.pass_seconds(model.id)
    if not progress.should_start(name, seconds, at_once=dataset.title == SAMPLES, button="Classify"):
        st.caption(dataset.in_words())
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    with progress.bar(name) as bar:

        def work(_) -> None:
            for step in classify(model, dataset, out, embeddings=True):
                bar.progress(step.done / step.total, text=step.in_words())

        turns.in_turn(work, bar, "Classifying")
    return True


def _report(dataset: Dataset, settings: dict, found: pd.DataFrame) -> None:
    """What was matched, and what was left out."""
    right = (found["true"] == found["predicted"]).mean() if len(found) else float("nan")
    said = f"{dataset.in_words()} "
    st.markdown(
        said + (f"**{right:.1%}** right, {(found['true'] != found['predicted']).sum():,} wrong." if len(found) else "")
    )
    if settings["unmatched"]:
        with st.expander(f"{len(settings['unmatched'])} labels match no class of this model", icon=":material/rule:"):
            for label, reason in list(settings["unmatched"].items())[:50]:
                st.markdown(f"- **{label}**: {reason}")
            st.caption("On the command line `classify --mapping FILE` says which class a label means.")
    if settings["unreadable"]:
        with st.expander(f"{len(settings['unreadable'])} files could not be read", icon=":material/broken_image:"):
            for name, reason in settings["unreadable"][:50]:
                st.markdown(f"- **{name}**: {reason}")
    if not len(found):
        st.info("No picture has a label that this model knows, so that nothing can be right or wrong. Choose another model.")


def filtered(found: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """The rows that pass the filters in the sidebar; all of them are in the address."""
    with st.expander("Filter", icon=":material/filter_alt:"):
        which = st.segmented_control(
            "Predictions", ["All", "Wrong", "Right"], default="All", required=True, key="which", **LINK
        )
        classes = st.multiselect("True classes", sorted(found["true"].unique()), key="classes", **LINK)
        low, high = st.slider("Confidence", 0.0, 1.0, (0.0, 1.0), 0.01, key="confidence", **LINK)
        least, most = st.slider(
            "Margin",
            0.0,
            1.0,
            (0.0, 1.0),
            0.01,
            key="margin",
            help="Probability of the first class minus the second.",
            **LINK,
        )
        said = notes.load(dataset.title)
        tags = st.multiselect("Tags", sorted({tag for one in said.values() for tag in one.tags}), key="tags", **LINK)
    kept = found["confidence"].between(low, high) & found["margin"].between(least, most)
    if which != "All":
        kept &= (found["true"] == found["predicted"]) == (which == "Right")
    if classes:
        kept &= found["true"].isin(classes)
    if tags:
        kept &= found["path"].map(lambda path: bool(set(tags) & set(said.get(path, Note()).tags)))
    rows = found[kept].reset_index(drop=True)
    if len(rows) < len(found):
        st.caption(f"{len(rows):,} of {len(found):,} pictures pass the filters.")
    return rows


def notes_of(dataset: Dataset) -> None:
    """All notes of the dataset: a table, export and import."""
    complaint = session.complaint()
    if complaint:
        st.error(complaint)
    held = notes.load(dataset.title)
    if held:
        rows = [{"path": path, "tags": ", ".join(one.tags), "note": one.text} for path, one in sorted(held.items())]
        st.dataframe(pd.DataFrame(rows), hide_index=True)
        display.downloads(
            {
                "CSV": ("notes.csv", "text/csv", notes.to_csv(held)),
                "JSON": ("notes.json", "application/json", notes.to_json(held)),
            }
        )
    else:
        st.info("No picture of this dataset has a tag or a note yet. Open one below the confusion matrix.")
    st.file_uploader(
        "Import notes (CSV or JSON): they are added to those that are here", type=["csv", "json"], key="notes",
        on_change=_import_notes, args=(dataset.title,),
    )  # fmt: skip
    st.caption(f"Kept in `{notes.place(dataset.title).name}` on this machine, for all visitors; export what must last.")


def _import_notes(title: str) -> None:
    file = st.session_state["notes"]
    if file is None:
        return
    try:
        notes.save(title, notes.merged(notes.load(title), notes.read(file.name, file.getvalue())))
    except XaiError as error:
        session.complain(str(error))
