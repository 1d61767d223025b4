"""The confusion matrix, the pictures of one of its cells, and what is read from the predictions as a whole."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from xai_core.analysis import confusion as confusions
from xai_core.app.charts import confusion as charts_confusion
from xai_core.app.misclassifications import predictions
from xai_core.app.shared import display, loaded_models, sample_detail, session
from xai_core.app.shared.widgets import LINK
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.models.explainable import ExplainableModel
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards
from xai_core.review import notes

VIEWS = ["Confusion", "Clusters", "Calibration", "Per class", "Most confused", "Two models", "Notes"]
MOST_CLASSES = 40
ON_A_PAGE = 24
EVERY = "(all)"
DIFFERENCE = "Second minus first"


def confusion(kept: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The matrix, the gallery of the chosen cell, and one sample's drawer."""
    found = confusions.confusion(kept)
    rates, dim, order = _controls()
    shown = confusions.worst_classes(found, MOST_CLASSES)
    if order == "By confusion":
        shown = shown.ordered(confusions.by_confusion(shown))
    if len(shown.classes) < len(found.classes):
        st.caption(
            f"{len(found.classes)} classes: the {MOST_CLASSES - 1} with the most errors are shown, the others are summed up."
        )
    wrong = int(found.counts.sum() - found.counts.trace())
    st.altair_chart(
        charts_confusion.confusion_matrix(shown, rates=rates, dim_diagonal=dim), width="content", key="matrix",
        on_select=_pick_cell, selection_mode="cell",
        alt=f"Confusion matrix of {len(shown.classes)} classes: {wrong} of {len(kept)} predictions are wrong.",
    )  # fmt: skip
    _gallery(kept, dataset, model)


def _controls() -> tuple[bool, bool, str]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        what = st.segmented_control(
            "Colour", ["Pictures", "Share of the row"], default="Pictures", required=True, key="colour", **LINK
        )
        order = st.segmented_control(
            "Order", ["By confusion", "By name"], default="By confusion", required=True, key="order", **LINK
        )
        dim = st.toggle("Dim the diagonal", True, key="dim", help="So that errors stand out.", **LINK)
    return what != "Pictures", dim, order


def _pick_cell() -> None:
    """A click on a cell chooses it; the two select boxes do the same by keyboard."""
    picked = st.session_state["matrix"]["selection"].get("cell")
    for name in ("true", "predicted"):
        value = picked[0][name] if picked else EVERY
        st.session_state[name] = EVERY if value == confusions.OTHERS else value


def _cell(kept: pd.DataFrame) -> pd.DataFrame:
    """The rows of the chosen cell; the pair that is confused most until one is chosen."""
    most = confusions.most_confused(kept, 1)
    first = (most["true"][0], most["predicted"][0]) if len(most) else (EVERY, EVERY)
    names = {"true": sorted(kept["true"].unique()), "predicted": sorted(kept["predicted"].unique())}
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
            kept = kept[kept[key] == value]
    return kept


SORTS = {
    "Most confident": ("confidence", False),
    "Least confident": ("confidence", True),
    "Narrowest margin": ("margin", True),
    "Widest margin": ("margin", False),
}


def _gallery(kept: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    cell = _cell(kept)
    if not len(cell):
        st.info("No picture lies in this cell. Choose another one above.")
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
    said = notes.load(dataset.title)
    paths = rows["path"].tolist()
    session.keep_among("sample", paths, paths[0])
    with st.container(horizontal=True, gap="small"):
        for row in rows.itertuples():
            _card(row, dataset, said, st.session_state.get("sample", paths[0]) == row.path)
    chosen = st.selectbox("Open a picture", paths, key="sample", **LINK)
    sample_detail.show(kept, cell[cell["path"] == chosen].iloc[0], dataset, model)


SORT = (
    "Confidence: the probability of the class that the model names. Margin: how far it is above the next class. A confident "
    "wrong answer often has a wrong reason, or a wrong label."
)


def _card(row, dataset: Dataset, said: notes.Notes, opened: bool) -> None:
    with st.container(border=True, width=display.THUMBNAIL + 34):
        display.thumbnail(dataset, row.path, f"{row.path}: {row.true}, called {row.predicted}")
        tags = f"  \n:gray-badge[{', '.join(said[row.path].tags)}]" if row.path in said and said[row.path].tags else ""
        st.markdown(f"**{first_name(row.predicted)}** {row.confidence:.0%}  \nmargin {row.margin:.0%}{tags}")
        st.button(
            "Open", key=f"open {row.path}", on_click=_open, args=(row.path,), help=row.path,
            type="primary" if opened else "secondary",
        )  # fmt: skip


def _open(path: str) -> None:
    st.session_state["sample"] = path
    st.toast(f"{path} is open below the pictures.", icon=":material/arrow_downward:")


def tables(kept: pd.DataFrame) -> None:
    """Calibration, precision and recall, the most confused pairs: all that is a table or a chart of its own."""
    {"Calibration": _calibration, "Per class": _per_class, "Most confused": _most_confused}[st.session_state["view"]](kept)


def _calibration(kept: pd.DataFrame) -> None:
    bins, error = confusions.calibration(kept)
    st.altair_chart(
        charts_confusion.calibration(bins), key="calibration",
        alt=f"Reliability diagram in {len(bins)} bins; expected calibration error {error:.1%}.",
    )  # fmt: skip
    st.markdown(f"Expected calibration error: **{error:.1%}** over {len(kept):,} pictures, ten bins of equal width.")
    st.caption(
        "A bar that ends below the dashed line: the model is surer than it should be there. With filters on the left this "
        "is the calibration of what passes them; filtering by confidence or by right and wrong makes it meaningless."
    )


def _per_class(kept: pd.DataFrame) -> None:
    rows = confusions.per_class(kept)
    st.altair_chart(
        charts_confusion.per_class(rows.sort_values("recall").head(MOST_CLASSES)), key="per-class",
        alt="Precision and recall of each class, the lowest recall first.",
    )  # fmt: skip
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("precision", "recall", "F1")}
    st.dataframe(rows, hide_index=True, column_config=percent)
    st.caption("Recall: how many of the class were found. Precision: how many that were given its name are of it.")
    _csv(rows, "per_class.csv")


def _most_confused(kept: pd.DataFrame) -> None:
    pairs = confusions.most_confused(kept)
    if not len(pairs):
        st.info("Nothing is confused among these pictures.")
        return
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("share", "confidence")}
    st.dataframe(pairs, hide_index=True, column_config=percent)
    st.caption("Share: of the true class's pictures. Confidence: mean, in the wrong answer.")
    _csv(pairs, "most_confused.csv")


def _csv(rows: pd.DataFrame, name: str) -> None:
    display.downloads({"CSV": (name, "text/csv", rows.to_csv(index=False).encode("utf-8-sig"))})


def _others(model: ExplainableModel) -> Sequence[str]:
    """Models to compare with; first those that have the same classes."""
    ready = [card.id for card in cards().values() if any(locate.find(one) for one in card.checkpoints)]
    able = [id for id in ready if id != model.id and cards()[id].classes]
    return sorted(able, key=lambda id: cards()[id].classes != cards()[model.id].classes)


def two_models(kept: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """A second model on the same pictures: both matrices, their difference, and the pictures they differ on."""
    others = _others(model)
    if not others:
        st.info("No other model with classes is on this machine. Home says how to fetch one.")
        return
    second = st.selectbox("Second model", others, format_func=lambda id: cards()[id].title, key="second", **LINK)
    checkpoint = next(one for one in cards()[second].checkpoints if locate.find(one))
    with st.spinner(f"Loading {cards()[second].title}"):
        other = loaded_models.model(second, checkpoint.id)
    theirs = predictions.table(other, dataset)
    if theirs is None:
        return
    theirs = theirs[theirs["path"].isin(kept["path"])]
    mine = kept[kept["path"].isin(theirs["path"])]
    if not len(mine):
        st.info("The two models share no class of these pictures.")
        return
    changed = confusions.changed(mine, theirs)
    classes = sorted({*mine["true"], *mine["predicted"], *theirs["predicted"]})
    both = [confusions.confusion(one, classes) for one in (mine, theirs)]
    worst = confusions.by_confusion(confusions.Confusion(both[0].counts + both[1].counts, tuple(classes)))[:MOST_CLASSES]
    first, last = (one.ordered(worst) for one in both)
    st.markdown(
        f"{model.title}: **{both[0].accuracy:.1%}** right; {other.title}: **{both[1].accuracy:.1%}**, on {len(mine):,} "
        f"pictures. The second mends {(changed['change'] == 'mended').sum():,} and breaks "
        f"{(changed['change'] == 'broken').sum():,}."
    )
    titles = (other.title, model.title)
    with st.container(horizontal=True):
        for title, one, difference in (
            (model.title, first, None),
            (other.title, last, None),
            ("Second minus first", last, first),
        ):
            with st.container(width="content"):
                st.markdown(f"**{title}**")
                chart = charts_confusion.confusion_matrix(
                    one, rates=False, dim_diagonal=False, other=difference, titles=titles
                )
                st.altair_chart(chart, width="content", key=f"matrix of {title}", alt=f"{title}: {one.accuracy:.1%} right.")
    st.dataframe(changed, hide_index=True)
    _csv(changed, "two_models.csv")
