"""The lower part of the training page: one sample, the confusion matrix at the final epoch, the table, the second run."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from xai_core.analysis import findings
from xai_core.analysis.confusion import OTHERS, confusion, most_confused, pair_counts, worst_classes
from xai_core.app.charts import confusion as charts_confusion
from xai_core.app.charts import evolution as charts
from xai_core.app.evolution.selection import EvolutionView
from xai_core.app.shared import display, loaded_models, page_links, page_setup, sample_detail
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.opened_datasets import open_offered
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data import datasets
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards
from xai_core.training.dynamics.analysis import MISSING, RecordedRun, measures, together
from xai_core.training.dynamics.figure import NOTHING, class_colours

_OPENED = "opened sample"  # in the session


def open_sample(title: str, name: str) -> None:
    """Choose a sample of the run `title`, whatever row of the heatmap it is in, and scroll to it. For callbacks."""
    st.session_state[f"{title}.sample"] = st.session_state[_OPENED] = name
    page_setup.scroll_to("one-sample")


def opened_sample(run: RecordedRun) -> int | None:
    """The place of the sample that was just opened; None if there is none."""
    places = np.flatnonzero(run.samples.astype(str) == st.session_state.pop(_OPENED, None))
    return int(places[0]) if len(places) else None


def sample(view: EvolutionView, index: int) -> None:
    """One sample: its picture if it is here, its predictions over the epochs, and maps that explain the last one."""
    run, row = view.run, view.table.iloc[index]
    name = str(run.samples[index])
    left, right = st.columns([1, 3])
    with left:
        source = _picture(run.title, name)
        if source is not None:
            display.picture(source[1], f"The picture of sample {name}", width="stretch")
    with right:
        true, last = (np.array([*run.classes, NOTHING])[row[column]] for column in ("true", "last"))
        verdict = "right" if true == last else "wrong"
        st.markdown(
            f"**{markdown.escape(name)}**: {markdown.escape(true)}, "
            + (
                f"predicted as **{markdown.escape(last)}** at epoch {view.epoch} ({verdict}). "
                if last != NOTHING
                else f"not recorded up to epoch {view.epoch}. "
            )
            + f"Over {row['epochs']} epochs the prediction changed {row['changes']} "
            f"times, took {row['distinct']} of the {len(run.classes)} classes, and was wrong in "
            f"{row['misclassification']:.0%} of the epochs."
        )
        words = _path_in_words(run, index)
        display.chart(
            display.kept_chart(
                lambda: charts.path_of(run, index, class_colours(run.rows(np.array([index])))), "path", run.digest, index
            ),
            alt=f"Predicted class of {name} in each epoch: {words}",
        )
        st.caption(f"Filled points are right predictions. {markdown.escape(words[0].upper() + words[1:])}")
    if source is not None and row["last"] != MISSING:
        _why(run, index, int(row["last"]), *source)


def _why(run: RecordedRun, index: int, predicted: int, dataset: str, picture: Image.Image) -> None:
    """Maps of a network that is here, for the class `predicted` at the final epoch, the true class, and the
    margin between them."""
    name, true, last = str(run.samples[index]), run.classes[run.true[index]], run.classes[predicted]
    fitting = {
        id: card
        for id, card in cards().items()
        if isinstance(card.classes, tuple) and {true, last} <= set(card.classes) and locate.is_here(card)
    }
    if not fitting:
        st.caption("To see maps that explain this, put a network with these classes and its card into weights/.")
        return
    names = [*fitting]
    id = st.selectbox(
        "Explained by", names, names.index(run.title) if run.title in names else 0, key="explained_by",
        format_func=lambda id: fitting[id].title, help=EXPLAINED, **LINK,
    )  # fmt: skip
    model = loaded_models.model(id, fitting[id].checkpoints[0].id)
    places = {name: fitting[id].classes.index(name) for name in (true, last)}
    row = {"path": name, "predicted": last, "true": true, "predicted_index": places[last], "true_index": places[true]}
    chosen = Chosen(picture, Path(name).stem, None, "")
    sample_detail.explained(pd.Series(row), chosen, model, origin=page_links.EVOLUTION, source=dataset)


EXPLAINED = "Maps of this network with its present weights, after the training. The classes are those of the recorded run."


def _path_in_words(run: RecordedRun, index: int) -> str:
    """The predictions of a sample, as text: 'sea 1–4, mountain 5.'"""
    recorded = [
        (number, epoch)
        for number, epoch in zip(run.predicted[index].tolist(), run.epochs.tolist(), strict=True)
        if number != MISSING
    ]
    words = []
    for number, group in itertools.groupby(recorded, key=lambda pair: pair[0]):
        epochs = [epoch for _, epoch in group]
        words.append(f"{run.classes[number]} {epochs[0]}" + (f"–{epochs[-1]}" if len(epochs) > 1 else ""))
    return ", ".join(words[:12]) + (f", and {len(words) - 12} more." if len(words) > 12 else ".")


def _picture(run: str, name: str) -> tuple[str, Image.Image] | None:
    """The control that chooses the dataset of a run's samples, first the one that has this sample. Returns its name and the
    sample's picture in it; None, and a caption with the reason, where the picture is not here."""
    offered = datasets.offered()
    titles, key, place = list(offered), f"{run}.pictures", 0
    if key not in st.session_state:
        titles.sort(key=lambda title: title != run.replace("_", ":"))  # first the world that the run is named after
        first = next((place for place, title in enumerate(titles) if _has(offered[title], title, name)), None)
        if first is None:
            st.caption(NO_PICTURE)
            return None
        place = first
    source = st.selectbox("Pictures from", titles, index=place, key=key, **LINK)
    try:
        dataset = open_offered(source)
        if name in dataset.names:
            return source, dataset.open(name)
        st.caption(f"{markdown.escape(source)} has no picture of this name.")
    except XaiError as error:
        st.caption(error_text(error))
    return None


NO_PICTURE = "Its picture is not here. Put the dataset into data/ (a folder with one subfolder for each class, or a ZIP)."


def _has(path: str | Path, title: str, name: str) -> bool:
    """Whether the offered dataset at `path` (or the world of this name), called `title`, has a sample of this name; False
    where it cannot be read."""
    try:
        return datasets.may_have(path, name) and name in open_offered(title).names
    except XaiError:
        return False


def more(view: EvolutionView) -> None:
    """The confusion matrix, the table, or the comparison with the second run: one at a time."""
    names = ["Confusion matrix", "Table", *(["Second run"] if view.second is not None else [])]
    section = st.segmented_control("More", names, default=names[0], required=True, key="more", **LINK)
    if section == "Confusion matrix":
        _confusion(view)
    elif section == "Table":
        _table(view)
    elif view.second is not None:
        _second(view, view.second)


def _predictions(view: EvolutionView) -> pd.DataFrame:
    """The predictions at the final epoch, as `confusion` reads them."""
    run, table = view.run, view.table
    recorded = (table["last"] != MISSING).to_numpy()
    classes = np.array(run.classes, dtype=object)
    true, last = (classes[table[column][recorded]] for column in ("true", "last"))
    confidence = table["confidence"][recorded].clip(lower=0).to_numpy()
    return pd.DataFrame({"path": run.samples[recorded], "true": true, "predicted": last, "confidence": confidence})


def _confusion(view: EvolutionView) -> None:
    """The confusion matrix of the listed samples at the final epoch."""
    table, at = _predictions(view), view.run.epochs == view.epoch
    matrix = worst_classes(confusion(table), charts_confusion.MOST_ROWS)
    wrong = int((table["true"] != table["predicted"]).sum())
    earlier = int((view.run.predicted[:, at] == MISSING).sum()) - (len(view.table) - len(table))
    finding = findings.of_errors(pair_counts(table), most_confused(table, 1))
    display.finding(finding or "None of the predictions listed is wrong.")
    st.caption(
        f"True and predicted classes of the {len(table):,} samples shown, at epoch {view.epoch}"
        + (f" ({earlier:,} of them were last recorded in an earlier epoch, which counts here)" if earlier else "")
        + ". Click a cell to list its samples."
    )
    state = display.chart(
        display.confusion_matrix(matrix, rates=False, dim_diagonal=False),
        key="final_confusion",
        on_select="rerun",
        selection_mode="cell",
        alt=f"Confusion matrix over {len(matrix.classes)} classes: {wrong:,} of the {len(table):,} samples are wrong.",
    )
    for cell in state["selection"].get("cell") or ():
        _cell(view, table, cell["true"], cell["predicted"], matrix.classes)


def _cell(view: EvolutionView, table: pd.DataFrame, true: str, predicted: str, classes: Sequence[str]) -> None:
    """The samples of one cell of the matrix, whose classes are `classes`; each can be opened."""
    for column, name in (("true", true), ("predicted", predicted)):
        table = table[~table[column].isin(classes) if name == OTHERS else table[column] == name]
    table = table.drop(columns="confidence").reset_index(drop=True)
    at = f"at epoch {view.epoch}"
    words = f"{markdown.escape(true)}, predicted as {markdown.escape(predicted)} {at}"
    st.markdown(f"**{len(table):,} {'sample' if len(table) == 1 else 'samples'}**: {words}")
    rows = table.rename(columns={"path": "sample", "predicted": at})
    display.openable_table(
        rows, "cell samples", lambda row: open_sample(view.run.title, str(rows["sample"][row])), alt="Samples of the cell"
    )


def _table(view: EvolutionView) -> None:
    """Every sample with its measures; a click on a column sorts the table."""
    run, table = view.run, view.table
    classes = np.array([*run.classes, NOTHING], dtype=object)  # -1 is the last
    columns = pd.DataFrame(
        {
            "sample": table["sample"],
            "true": classes[table["true"]],
            f"at epoch {view.epoch}": classes[table["last"]],
            "frequency": table["frequency"],
            "changes": table["changes"],
            "distinct classes": table["distinct"],
            "misclassification rate": table["misclassification"],
            "epochs": table["epochs"],
        }
    )
    share = {name: st.column_config.NumberColumn(format="percent") for name in ("frequency", "misclassification rate")}
    display.openable_table(
        columns, "samples", lambda row: open_sample(run.title, str(columns["sample"][row])), columns=share,
        alt="Measures of each sample",
    )  # fmt: skip
    display.downloads({"Table (CSV)": (f"{run.title}_measures.csv", "text/csv", csv_bytes(columns))})


def _second(view: EvolutionView, second: RecordedRun) -> None:
    """How often each of the two runs is right at the last common epoch up to the final one, and the samples that they then
    predict differently."""
    first, second = together(view.counted.between(int(view.counted.epochs[0]), view.epoch), second)
    recorded = (first.predicted[:, -1] != MISSING) & (second.predicted[:, -1] != MISSING)
    first, second = first.rows(recorded), second.rows(recorded)
    st.caption(
        f"{len(first.samples):,} samples and {len(first.epochs)} epochs are in both runs, up to epoch "
        f"{view.epoch}. At epoch {first.epochs[-1]}, "
        f"{markdown.escape(first.title)} is right on {_right(first)}, {markdown.escape(second.title)} on {_right(second)}; "
        "the filter by prediction chooses only which samples are listed."
    )
    listed = np.isin(first.samples, view.run.samples)
    first, second = first.rows(listed), second.rows(listed)
    classes = np.array(first.classes, dtype=object)
    measured, measured_second = measures(first), measures(second)
    rows = pd.DataFrame(
        {
            "sample": first.samples,
            "true": classes[first.true],
            first.title: classes[first.last],
            f"{second.title} ": classes[second.last],
            "changes": measured["changes"],
            "changes of the second": measured_second["changes"],
            "difference in wrong epochs": measured_second["misclassification"] - measured["misclassification"],
        }
    )
    rows = rows[first.last != second.last].sort_values("difference in wrong epochs", key=np.abs, ascending=False)
    rows = rows.reset_index(drop=True)
    st.markdown(f"**{len(rows):,} samples end in different classes:**")
    config = {"difference in wrong epochs": st.column_config.NumberColumn(format="percent")}
    display.openable_table(
        rows, "different samples", lambda row: open_sample(view.run.title, str(rows["sample"][row])), columns=config,
        alt="Samples with different predictions at the end",
    )  # fmt: skip


def _right(run: RecordedRun) -> str:
    return f"{(run.last == run.true).mean():.1%}" if len(run.samples) else "–"
