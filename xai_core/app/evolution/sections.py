"""What stands below the picture of a training: one sample, the final confusion matrix, the table, the second run."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from xai_core.analysis.confusion import confusion, worst_classes
from xai_core.app.charts import confusion as charts_confusion
from xai_core.app.charts import evolution as charts
from xai_core.app.shared import display, loaded_models, sample_detail
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.core.errors import XaiError
from xai_core.data import datasets
from xai_core.data.datasets import Dataset
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards
from xai_core.training.dynamics.analysis import MISSING, Run, measures, together

MOST_CLASSES = 40  # of a confusion matrix; more are summed up


def sample(found, index: int) -> None:
    """One sample: its picture, where there is one, and its way through the epochs."""
    run, row = found.run, found.table.iloc[index]
    name = str(run.samples[index])
    left, right = st.columns([1, 3])
    with left:
        dataset, picture = _picture(name)
        if picture is not None:
            st.image(picture, width="stretch", output_format="PNG", alt=f"The picture of sample {name}")
    with right:
        true, last = run.classes[run.true[index]], run.classes[run.last[index]]
        st.markdown(
            f"**{name}**: {true}, at the end taken for **{last}** ({'right' if true == last else 'wrong'}). "
            f"Changed {row['changes']} times, given {row['distinct']} of {len(run.classes)} classes, wrong in "
            f"{row['misclassification']:.0%} of {row['epochs']} epochs."
        )
        st.altair_chart(
            charts.path_of(run, index, charts.colours_of(run.rows(np.array([index])))),
            alt=f"What {name} was taken for in each epoch: {_path_in_words(found, index)}",
        )
        st.caption(f"Filled: right. {_path_in_words(found, index)}")
    if picture is not None:
        _why(run, index, dataset, picture)


def _why(run: Run, index: int, dataset: Dataset, picture: Image.Image) -> None:
    """What a network that is here sees in the sample: for the class it ended in, the true one, and what tells them apart."""
    name, true, last = str(run.samples[index]), run.classes[run.true[index]], run.classes[run.last[index]]
    fitting = {
        id: card
        for id, card in cards().items()
        if isinstance(card.classes, tuple) and {true, last} <= set(card.classes) and locate.find(card.checkpoints[0])
    }
    if not fitting:
        st.caption("No network here knows these classes: put your own beside a card into weights/ to see why.")
        return
    names = [*fitting]
    id = st.selectbox(
        "Explained by", names, names.index(run.title) if run.title in names else 0, key="explained_by",
        format_func=lambda id: fitting[id].title, help=EXPLAINED, **LINK,
    )  # fmt: skip
    model = loaded_models.model(id, fitting[id].checkpoints[0].id)
    places = {one: fitting[id].classes.index(one) for one in (true, last)}
    row = {"path": name, "predicted": last, "true": true, "predicted_index": places[last], "true_index": places[true]}
    sample_detail.explained(pd.Series(row), Chosen(picture, Path(name).stem, None, ""), dataset, model)


EXPLAINED = (
    "The maps are of this network as it is in weights/ now, after its training; the classes are those of the recorded run."
)


def _path_in_words(found, index: int) -> str:
    """Runs of the same prediction, as text: 'sea 1–4, mountain 5'."""
    run, said = found.run, []
    classes = run.predicted[index]
    for column, epoch in enumerate(run.epochs):
        if classes[column] == MISSING:
            continue
        if said and said[-1][0] == classes[column]:
            said[-1][2] = epoch
        else:
            said.append([classes[column], epoch, epoch])
    words = [f"{run.classes[one]} {low}" + (f"–{high}" if high != low else "") for one, low, high in said]
    return ", ".join(words[:12]) + (f", and {len(words) - 12} more." if len(words) > 12 else ".")


@st.cache_resource(max_entries=4, show_spinner=False)
def _dataset(name: str, modified: int):
    return datasets.open_dataset(datasets.find_offered(name))


def _picture(name: str) -> tuple[Dataset, Image.Image] | tuple[None, None]:
    """The sample's picture, with the dataset that lies here and has it; nothing, and why, where there is none."""
    offered = datasets.offered()
    if not offered:
        st.caption("Its picture is not here: put the dataset into data/ (a labelled folder or a ZIP of one).")
        return None, None
    names = list(offered)
    place = next((one for one, path in enumerate(names) if (offered[path] / name).is_file()), 0)
    source = st.selectbox("Pictures from", names, index=place, key="pictures", **LINK)
    try:
        dataset = _dataset(source, offered[source].stat().st_mtime_ns)
        if name in {one.name for one in dataset.samples}:
            return dataset, dataset.open(name)
        st.caption(f"{source} has no picture of this name.")
    except XaiError as error:
        st.caption(str(error))
    return None, None


def more(found) -> None:
    """What else there is to see, one at a time."""
    names = ["Confusion matrix", "Table", *(["Second run"] if found.second is not None else [])]
    section = st.segmented_control("More", names, default=names[0], required=True, key="more", **LINK)
    {"Confusion matrix": _confusion, "Table": _table, "Second run": _second}[section](found)


def _predictions(run) -> pd.DataFrame:
    known = run.last != MISSING
    classes = np.array(run.classes, dtype=object)
    return pd.DataFrame(
        {"path": run.samples[known], "true": classes[run.true[known]], "predicted": classes[run.last[known]]}
    )


def _confusion(found) -> None:
    """Of the samples that are shown, at the last of the chosen epochs."""
    table = _predictions(found.run)
    matrix = worst_classes(confusion(table), MOST_CLASSES)
    st.caption(f"True and predicted classes of the {len(table):,} samples shown, at epoch {found.run.epochs[-1]}.")
    st.altair_chart(
        charts_confusion.confusion_matrix(matrix, rates=False, dim_diagonal=False),
        key="final_confusion",
        alt=f"Confusion matrix over {len(matrix.classes)} classes; {matrix.accuracy:.1%} are right.",
    )


def _table(found) -> None:
    """Every sample with what was counted of it; sorted by a click on a column."""
    run, table = found.run, found.table
    classes = np.array(run.classes, dtype=object)
    shown = pd.DataFrame(
        {
            "sample": table["sample"],
            "true": classes[table["true"]],
            "at the end": classes[table["last"]],
            "frequency": table["frequency"],
            "changes": table["changes"],
            "distinct classes": table["distinct"],
            "misclassification rate": table["misclassification"],
            "epochs": table["epochs"],
        }
    )
    share = {name: st.column_config.NumberColumn(format="percent") for name in ("frequency", "misclassification rate")}
    st.dataframe(shown, hide_index=True, column_config=share, alt="What was counted of each sample")
    display.downloads({"Table (CSV)": (f"{run.title}_measures.csv", "text/csv", shown.to_csv(index=False))})


def _second(found) -> None:
    """Where two runs end differently, sample by sample."""
    one, other = together(found.run, found.second)
    st.caption(
        f"{len(one.samples):,} samples and {len(one.epochs)} epochs are in both. At epoch {one.epochs[-1]}, "
        f"{one.title} is right on {(one.last == one.true).mean():.1%}, {other.title} on "
        f"{(other.last == other.true).mean():.1%}."
    )
    classes = np.array(one.classes, dtype=object)
    counted, theirs = measures(one), measures(other)
    rows = pd.DataFrame(
        {
            "sample": one.samples,
            "true": classes[one.true],
            one.title: classes[one.last],
            f"{other.title} ": classes[other.last],
            "changes": counted["changes"],
            "changes of the second": theirs["changes"],
            "difference in wrong epochs": theirs["misclassification"] - counted["misclassification"],
        }
    )
    rows = rows[one.last != other.last].sort_values("difference in wrong epochs", key=np.abs, ascending=False)
    st.markdown(f"**{len(rows):,} samples end in different classes:**")
    config = {"difference in wrong epochs": st.column_config.NumberColumn(format="percent")}
    st.dataframe(rows, hide_index=True, column_config=config, alt="Samples on which the two runs end differently")
