"""The view Confusion of a model's predictions: the matrix, with the pictures of a cell."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from xai_core.analysis import confusion as confusions
from xai_core.analysis import findings, map_sheet
from xai_core.analysis import groups as attribute_groups
from xai_core.app.charts.confusion import MOST_ROWS
from xai_core.app.misclassifications import class_blocks, selected
from xai_core.app.shared import (
    attribute_filters,
    display,
    drawer,
    map_gallery,
    predictions,
    round_form,
    session,
    thumbnails,
)
from xai_core.app.shared.predictions import EVERY, GALLERY, FilteredRows, alt_text
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.models.explainable import ExplainableModel

FEW_CLASSES = 12  # up to which a matrix is easy to read even if every error is a cell of its own
SIMILAR = "Similar together"
ON_A_PAGE = 24  # pictures


def confusion(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The matrix, and the pictures of the chosen cell."""
    listed = rows.listed
    whole = confusions.pair_counts(listed, rows.counted)
    most = confusions.most_confused(listed, 1)
    classes, wrong = len(whole.occurring()), whole.wrong
    rates, dim, order = _controls(classes)
    matrix = class_blocks.choose(whole, rows, dataset, model) if order == SIMILAR else whole.worst(MOST_ROWS)
    if order == "By confusion":
        matrix = matrix.ordered(confusions.by_confusion(matrix))
    if order != SIMILAR and len(matrix.classes) < classes:
        st.caption(
            f"{classes} classes: the {MOST_ROWS - 1} with the most errors are shown, the others in one row and one column."
        )
    if wrong and classes > FEW_CLASSES and whole.most_frequent_error == 1:
        _list_of_errors(rows)
    else:
        display.finding(findings.of_errors(whole, most))
        key = drawer.chart_key("matrix")
        kind = "rows" if order == SIMILAR else "classes"
        words = f"{len(matrix.classes)} {kind}: {wrong} of the {len(listed)} predictions listed are wrong."
        chart = display.confusion_matrix(matrix, rates=rates, dim_diagonal=dim)
        display.chart(
            chart, width="content", key=key, on_select=lambda: _pick_cell(key, rows), selection_mode="cell",
            alt=f"Confusion matrix of {words}",
        )  # fmt: skip
    with st.container(key=GALLERY):
        _gallery(rows, dataset, model, _classes_of_first(most), object())


def _list_of_errors(rows: FilteredRows) -> None:
    """What stands instead of a matrix in which every error would be a cell of its own."""
    wrong = rows.named(rows.listed[rows.listed["true"] != rows.listed["predicted"]])
    wrong = wrong.sort_values("confidence", ascending=False, kind="stable").reset_index(drop=True)
    st.caption(
        f"No two of these {len(wrong):,} errors have the same true and predicted class, so they are listed here "
        "instead of a matrix."
    )
    group = drawer.group_of("Errors", wrong)
    drawer.offer([group])
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("confidence", "margin")}
    columns = ["true", "predicted", "confidence", "margin", "path"]
    drawer.table(
        wrong[columns], "errors", lambda row: (group, wrong["path"][row]), columns=percent,
        alt="Errors, the most confident first",
    )  # fmt: skip


def _controls(classes: int) -> tuple[bool, bool, str]:
    """Whether colours are shares of the row, whether the diagonal is dimmed, and the order of the classes, of which there
    are blocks where they are many."""
    orders = ["By confusion", "By name", *([SIMILAR] if classes > MOST_ROWS else [])]
    session.keep_among("order", orders, orders[0])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        unit = st.segmented_control(
            "Colour", ["Pictures", "Share of the row"], default="Pictures", required=True, key="colour", **LINK
        )
        order = st.segmented_control("Order", orders, default=orders[0], required=True, key="order", **LINK)
        dim = st.toggle("Dim the diagonal", True, key="dim", help="Makes the errors stand out.", **LINK)
    return unit != "Pictures", dim, order


def _pick_cell(key: str, rows: FilteredRows) -> None:
    """After a click on a cell, choose its classes and open its first picture; the two select boxes choose classes too."""
    if st.session_state["order"] == SIMILAR and class_blocks.open_block(key):
        return
    cell = drawer.picked(key, "cell")
    for name in ("true", "predicted"):
        value = cell[name] if cell else EVERY
        st.session_state[name] = EVERY if value == confusions.OTHERS else value
    if cell and confusions.OTHERS not in cell.values():
        drawer.open_group(drawer.pair_group(cell["true"], cell["predicted"], rows.listed, rows.held))


def _classes_of_first(pairs: pd.DataFrame) -> tuple[str, str]:
    """The true and the predicted class of the first of these errors; every class where nothing is wrong."""
    return (pairs["true"][0], pairs["predicted"][0]) if len(pairs) else (EVERY, EVERY)


def _cell(rows: pd.DataFrame, first: tuple[str, str]) -> pd.DataFrame:
    """The controls that choose a cell, and its rows; before a choice, those of the classes `first`."""
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


_RUN, _TURNED = "run of the gallery", "gallery turned"  # in the session


def _turn() -> None:
    """The gallery alone is shown anew. For callbacks."""
    st.session_state[_TURNED] = True


@st.fragment
@display.errors()
def _gallery(rows: FilteredRows, dataset: Dataset, model: ExplainableModel, start: tuple[str, str], run: object) -> None:
    """The pictures of the chosen cell, page by page, or their maps beside those of others.

    Turning a page and sorting show this part of the page alone, which is several times as quick; whatever else is done here
    shows the whole page anew. `start` are the classes of the cell before a choice; `run` is another object each time that
    the whole page is shown.
    """
    is_alone, turned = st.session_state.get(_RUN) is run, st.session_state.pop(_TURNED, False)
    st.session_state[_RUN] = run
    if is_alone and not turned:
        st.rerun()
    cell = _cell(rows.listed, start)
    if not len(cell):
        st.info("No picture is in this cell. Choose other classes above.")
        return
    sorts = SORTS | _attribute_sorts(dataset)
    session.keep_among("sort", sorts, "Most confident")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sort = st.selectbox("Sort", sorts, key="sort", help=SORT, width=220, on_change=_turn, **LINK)
        attribute = attribute_filters.choose(dataset, "On each picture", "attribute shown", ON_TILES)
        maps = st.toggle("Maps", key="maps", help=MAPS, **LINK)
        pages = -(-len(cell) // ON_A_PAGE)
        session.keep_among("page", range(1, pages + 1), 1)
        page = st.pagination(pages, key="page", on_change=_turn, **LINK) if pages > 1 and not maps else 1
        st.markdown(f"**{len(cell):,} {'picture' if len(cell) == 1 else 'pictures'}**")
    column, ascending = sorts[sort]
    by = cell[column] if sort in SORTS else rows.held.attribute(cell, column)
    cell = cell.iloc[by.reset_index(drop=True).sort_values(ascending=ascending, kind="stable").index]
    group = drawer.group_of(_cell_words(st.session_state["true"], st.session_state["predicted"]), cell, rows.held)
    drawer.offer([group])
    round_form.offer(RoundPictures(group.paths, predictions.with_filters(group.title, dataset)), "cell")
    if maps:
        _maps(cell, rows, dataset, model, group)
        return
    on_page = rows.named(cell.iloc[(page - 1) * ON_A_PAGE : page * ON_A_PAGE])
    selected.bar(rows, dataset, model, on_page["path"].tolist())
    small = thumbnails.stored(dataset, rows.held.file, on_page)
    with st.container(horizontal=True, gap="small"):
        for row in on_page.to_dict("records"):
            _tile(row, dataset, rows.tags.get(row["path"], ()), group, attribute, small.get(row["path"]))


MAPS = (
    "Shows a map of each of 24 pictures instead, wrong and right ones side by side, all on one scale. Where all are wrong, "
    "right ones of the same true class stand beside them, and the other way round."
)


def _maps(cell: pd.DataFrame, rows: FilteredRows, dataset: Dataset, model: ExplainableModel, group: drawer.Group) -> None:
    """The maps of a cell's pictures beside those of others of the same true class."""
    halves = map_sheet.halves(cell, rows.counted)
    both = pd.concat([half.rows for half in halves])
    with_others = drawer.group_of(f"{group.title}, wrong and right", both, rows.held) if len(both) > len(cell) else group
    drawer.offer([with_others])
    bar = st.container()

    def below(row: Mapping[Hashable, Any]) -> None:
        selected.box(dataset, row["path"])
        display.open_button(row["path"], f"open {row['path']}", drawer.open_group, (with_others, row["path"]))

    shown = map_gallery.show(halves, dataset, model, group.title, "maps", below, rows.whole)
    with bar:
        selected.bar(rows, dataset, model, shown)


def _cell_words(true: str, predicted: str) -> str:
    """The pictures of a cell in words; each class may be EVERY."""
    if predicted == EVERY:
        return "Pictures listed" if true == EVERY else first_name(true)
    return f"Predicted as {first_name(predicted)}" if true == EVERY else predictions.pair_words(true, predicted)


SORT = (
    "Confidence: the probability of the predicted class. Margin: its distance to the probability of the next class. A "
    "confident wrong prediction often has a wrong reason, or the label is wrong."
)


def _attribute_sorts(dataset: Dataset) -> dict[str, tuple[str, bool]]:
    """The orders by each attribute that is a number: the column, and whether the lowest comes first."""
    columns = [name for name in dataset.metadata if attribute_groups.has_numbers(dataset.metadata[name])]
    return {f"{words} {column}": (str(column), words == "Lowest") for column in columns for words in ("Highest", "Lowest")}


ON_TILES = "The value of an attribute is shown with each picture."


def _tile(
    row: Mapping[Hashable, Any],
    dataset: Dataset,
    tags: Sequence[str],
    group: drawer.Group,
    attribute: str | None,
    small: bytes | None,
) -> None:
    """One picture of the gallery (`small` where that is stored): right or wrong, its classes, an attribute, its tags, and a
    button that opens it."""
    path = row["path"]
    right = row["true"] == row["predicted"]
    with st.container(border=True, width=display.THUMBNAIL + 34, key=f"tile {path}"):
        display.thumbnail(dataset, path, alt_text(row), small)
        verdict = "✓ Right" if right else "✗ Wrong"
        true, predicted = (markdown.escape(first_name(row[name])) for name in ("true", "predicted"))
        known = "" if attribute is None else f"  \n{_known(attribute, dataset.attribute([path], attribute)[0])}"
        badge = f"  \n:gray-badge[{markdown.escape(', '.join(tags))}]" if tags else ""
        st.markdown(
            f"**{verdict}**  \ntrue: {true}  \npredicted: {predicted} {row['confidence']:.0%}  \n"
            f"margin: {row['margin']:.0%}{known}{badge}"
        )
        selected.box(dataset, path)
        display.open_button(path, f"open {path}", drawer.open_group, (group, path))


def _known(attribute: str, value: object) -> str:
    """An attribute of a picture in words, as Markdown."""
    return markdown.escape(f"{attribute}: {attribute_groups.in_words(value)}")
