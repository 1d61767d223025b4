"""The views of a model's predictions: the confusion matrix with the pictures of a cell, calibration, scores of each class,
the most confused pairs, and two models compared."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from xai_core.analysis import confusion as confusions
from xai_core.app.charts import confusion as charts_confusion
from xai_core.app.misclassifications import predictions
from xai_core.app.misclassifications.predictions import FilteredRows, alt_text
from xai_core.app.shared import display, loaded_models, sample_detail, session
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.models.explainable import ExplainableModel
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards
from xai_core.review import notes

MOST_CLASSES = 40  # in a matrix or a chart
ON_A_PAGE = 24  # pictures
EVERY = "(all)"


def confusion(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The matrix, the pictures of the chosen cell, and one of them in detail."""
    listed = rows.listed
    whole = confusions.confusion(listed, counted=rows.counted)
    rates, dim, order = _controls()
    matrix = confusions.worst_classes(whole, MOST_CLASSES)
    if order == "By confusion":
        matrix = matrix.ordered(confusions.by_confusion(matrix))
    if len(matrix.classes) < len(whole.classes):
        st.caption(
            f"{len(whole.classes)} classes: the {MOST_CLASSES - 1} with the most errors are shown, the others in one row "
            "and one column."
        )
    wrong = int(whole.counts.sum() - whole.counts.trace())
    st.altair_chart(
        charts_confusion.confusion_matrix(matrix, rates=rates, dim_diagonal=dim), width="content", key="matrix",
        on_select=_pick_cell, selection_mode="cell",
        alt=f"Confusion matrix of {len(matrix.classes)} classes: {wrong} of the {len(listed)} predictions listed are wrong.",
    )  # fmt: skip
    _gallery(rows, dataset, model)


def _controls() -> tuple[bool, bool, str]:
    """Whether colours are shares of the row, whether the diagonal is dimmed, and the order of the classes."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        unit = st.segmented_control(
            "Colour", ["Pictures", "Share of the row"], default="Pictures", required=True, key="colour", **LINK
        )
        order = st.segmented_control(
            "Order", ["By confusion", "By name"], default="By confusion", required=True, key="order", **LINK
        )
        dim = st.toggle("Dim the diagonal", True, key="dim", help="Makes the errors stand out.", **LINK)
    return unit != "Pictures", dim, order


def _pick_cell() -> None:
    """After a click on a cell, choose its classes; by keyboard, the two select boxes do the same."""
    cells = st.session_state["matrix"]["selection"].get("cell")
    for name in ("true", "predicted"):
        value = cells[0][name] if cells else EVERY
        st.session_state[name] = EVERY if value == confusions.OTHERS else value


def _cell(rows: pd.DataFrame) -> pd.DataFrame:
    """The controls that choose a cell, and its rows; by default, those of the most confused pair."""
    most = confusions.most_confused(rows, 1)
    first = (most["true"][0], most["predicted"][0]) if len(most) else (EVERY, EVERY)
    names = {"true": sorted(rows["true"].unique()), "predicted": sorted(rows["predicted"].unique())}
    for (key, every), start in zip(names.items(), first, strict=True):
        session.keep_among(key, [EVERY, *every], start)
    with st.container(horizontal=True):
        chosen = {
            key: st.selectbox(
                f"{key.capitalize()} class", [EVERY, *every], index=[EVERY, *every].index(start), key=key, **LINK
            )
            for (key, every), start in zip(names.items(), first, strict=True)
        }
    for key, value in chosen.items():
        if value != EVERY:
            rows = rows[rows[key] == value]
    return rows


SORTS = {
    "Most confident": ("confidence", False),
    "Least confident": ("confidence", True),
    "Narrowest margin": ("margin", True),
    "Widest margin": ("margin", False),
}


def _gallery(every: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The pictures of the chosen cell, page by page, and one of them in detail."""
    cell = _cell(every.listed)
    if not len(cell):
        st.info("No picture is in this cell. Choose other classes above.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sort = st.selectbox("Sort", SORTS, key="sort", help=SORT, **LINK)
        pages = -(-len(cell) // ON_A_PAGE)
        session.keep_among("page", range(1, pages + 1), 1)
        page = st.number_input(f"Page of {pages}", 1, pages, key="page") if pages > 1 else 1
        st.markdown(f"**{len(cell):,} pictures**")
    column, ascending = SORTS[sort]
    cell = cell.sort_values(column, ascending=ascending, kind="stable")
    rows = cell.iloc[(page - 1) * ON_A_PAGE : page * ON_A_PAGE]
    stored = notes.load(dataset)
    paths = rows["path"].tolist()
    session.keep_among("sample", paths, paths[0])
    with st.container(horizontal=True, gap="small"):
        for row in rows.to_dict("records"):
            tags = stored.get(row["path"], notes.Note()).tags
            _card(row, dataset, tags, st.session_state.get("sample", paths[0]) == row["path"])
    chosen = st.selectbox("Open a picture", paths, key="sample", **LINK)
    sample_detail.show(every.every, cell[cell["path"] == chosen].iloc[0], dataset, model)


SORT = (
    "Confidence: the probability of the predicted class. Margin: its distance to the probability of the next class. A "
    "confident wrong prediction often has a wrong reason, or the label is wrong."
)


def _card(row: Mapping[Hashable, Any], dataset: Dataset, tags: Sequence[str], opened: bool) -> None:
    """One picture of the gallery with its predicted class, its tags and a button that opens it."""
    path = row["path"]
    with st.container(border=True, width=display.THUMBNAIL + 34):
        display.thumbnail(dataset, path, alt_text(row))
        badge = f"  \n:gray-badge[{markdown.escape(', '.join(tags))}]" if tags else ""
        name = markdown.escape(first_name(row["predicted"]))
        st.markdown(f"**{name}** {row['confidence']:.0%}  \nmargin {row['margin']:.0%}{badge}")
        st.button(
            "Open",
            key=f"open {path}",
            on_click=_open,
            args=(path,),
            help=markdown.escape(path),
            type="primary" if opened else "secondary",
        )


def _open(path: str) -> None:
    st.session_state["sample"] = path
    st.toast(f"{markdown.escape(path)} is open below the pictures.", icon=":material/arrow_downward:")


def calibration(rows: FilteredRows) -> None:
    """The reliability diagram and the expected calibration error."""
    bins, error = confusions.calibration(rows.counted)
    st.altair_chart(
        charts_confusion.calibration(bins), key="calibration",
        alt=f"Reliability diagram in {len(bins)} bins; expected calibration error {error:.1%}.",
    )  # fmt: skip
    st.markdown(f"Expected calibration error: **{error:.1%}** over {len(rows.counted):,} pictures, ten bins of equal width.")
    st.caption(
        "Where a bar ends below the dashed line, the model is overconfident: it is right less often than its confidence "
        "says. Right and wrong predictions of every confidence count here, whatever the filters by prediction list."
    )


def per_class(rows: FilteredRows) -> None:
    """Precision and recall of each class of which pictures are listed."""
    scores = confusions.per_class(rows.all_classes)
    scores = scores[scores["class"].isin(rows.listed["true"])].reset_index(drop=True)
    st.altair_chart(
        charts_confusion.per_class(scores.sort_values("recall").head(MOST_CLASSES)), key="per-class",
        alt="Precision and recall of each class, the lowest recall first.",
    )  # fmt: skip
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("precision", "recall", "F1")}
    st.dataframe(scores, hide_index=True, column_config=percent)
    st.caption(
        "Recall: of the pictures of this class, how many are predicted as this class. Precision: of the pictures predicted "
        f"as this class, how many really are. Both are of {len(rows.all_classes):,} pictures; filters only choose which "
        "classes are listed."
    )
    _csv(scores, "per_class.csv")


def most_confused(rows: FilteredRows) -> None:
    """The pairs of a true and a wrongly predicted class, the most frequent first."""
    pairs = confusions.most_confused(rows.listed, counted=rows.counted)
    if not len(pairs):
        st.info("All of these pictures are predicted correctly.")
        return
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("share", "confidence")}
    st.dataframe(pairs, hide_index=True, column_config=percent)
    st.caption(
        "Share: the pictures listed, of all pictures of the true class. Confidence: the mean confidence of these wrong "
        "predictions."
    )
    _csv(pairs, "most_confused.csv")


def _csv(rows: pd.DataFrame, name: str) -> None:
    display.downloads({"CSV": (name, "text/csv", rows.to_csv(index=False).encode("utf-8-sig"))})


def _others(model: ExplainableModel) -> Sequence[str]:
    """Models with classes whose weights are here, without `model`; first those that have the same classes."""
    ready = [card.id for card in cards().values() if any(locate.find(checkpoint) for checkpoint in card.checkpoints)]
    able = [id for id in ready if id != model.id and cards()[id].classes]
    return sorted(able, key=lambda id: cards()[id].classes != cards()[model.id].classes)


def two_models(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """A second model on the same pictures: both matrices, their difference, and the pictures with different predictions."""
    others = _others(model)
    if not others:
        st.info("No other model with classes is on this machine. Home shows how to fetch one.")
        return
    second = st.selectbox("Second model", others, format_func=lambda id: cards()[id].title, key="second", **LINK)
    checkpoint = next(checkpoint for checkpoint in cards()[second].checkpoints if locate.find(checkpoint))
    with st.spinner(f"Loading {markdown.escape(cards()[second].title)}"):
        other = loaded_models.model(second, checkpoint.id)
    theirs = predictions.table(other, dataset)
    if theirs is None:
        return
    theirs = theirs[theirs["path"].isin(rows.counted["path"])]
    mine = rows.counted[rows.counted["path"].isin(theirs["path"])]
    if not len(mine):
        st.info("The two models have no class of these pictures in common. Choose another second model.")
        return
    changed = confusions.changed(mine, theirs)
    classes = sorted({*mine["true"], *mine["predicted"], *theirs["predicted"]})
    matrix, second_matrix = confusions.confusion(mine, classes), confusions.confusion(theirs, classes)
    both = confusions.Confusion(matrix.counts + second_matrix.counts, tuple(classes))
    worst = confusions.by_confusion(both)[:MOST_CLASSES]
    counts = changed["change"].value_counts().to_dict()
    st.markdown(
        f"{markdown.escape(model.title)}: **{matrix.accuracy:.1%}** right; {markdown.escape(other.title)}: "
        f"**{second_matrix.accuracy:.1%}**, on {len(mine):,} pictures. "
        f"The second fixes {counts.get('fixed', 0):,} errors and makes {counts.get('new error', 0):,} new ones."
    )
    first, last = matrix.ordered(worst), second_matrix.ordered(worst)
    with st.container(horizontal=True):
        _matrix(model.title, first, f"{model.title}: {matrix.accuracy:.1%} right.")
        _matrix(other.title, last, f"{other.title}: {second_matrix.accuracy:.1%} right.")
        words = f"{other.title} minus {model.title}: pictures in each cell."
        _matrix("Second minus first", last, words, other=first, titles=(other.title, model.title))
    listed = changed[changed["path"].isin(rows.listed["path"])]
    if len(listed) < len(changed):
        st.caption(f"{len(listed):,} of the {len(changed):,} pictures with different predictions pass the filters.")
    st.dataframe(listed, hide_index=True)
    _csv(listed, "two_models.csv")


def _matrix(
    title: str,
    matrix: confusions.Confusion,
    alt: str,
    *,
    other: confusions.Confusion | None = None,
    titles: tuple[str, str] = ("", ""),
) -> None:
    with st.container(width="content"):
        st.markdown(f"**{markdown.escape(title)}**")
        chart = charts_confusion.confusion_matrix(matrix, rates=False, dim_diagonal=False, other=other, titles=titles)
        st.altair_chart(chart, width="content", key=f"matrix of {title}", alt=alt)
