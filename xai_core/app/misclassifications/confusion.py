"""The views of a model's predictions: the confusion matrix with the pictures of a cell, calibration, scores of each class,
the most confused pairs, and two models compared."""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from xai_core.analysis import confusion as confusions
from xai_core.analysis import findings, map_sheet
from xai_core.analysis import groups as attribute_groups
from xai_core.app.charts import confusion as charts_confusion
from xai_core.app.charts.confusion import MOST_ROWS
from xai_core.app.misclassifications import selected
from xai_core.app.shared import (
    attribute_filters,
    display,
    drawer,
    loaded_models,
    map_gallery,
    predictions,
    round_form,
    session,
)
from xai_core.app.shared.predictions import EVERY, GALLERY, FilteredRows, alt_text
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.models.explainable import ExplainableModel
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards

FEW_CLASSES = 12  # up to which a matrix is easy to read even if every error is a cell of its own
MOST_PAIRS = 20  # of confused classes, in a table
ON_A_PAGE = 24  # pictures


def confusion(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The matrix, and the pictures of the chosen cell."""
    listed = rows.listed
    whole = confusions.confusion(listed, counted=rows.counted)
    rates, dim, order = _controls()
    matrix = confusions.worst_classes(whole, MOST_ROWS)
    if order == "By confusion":
        matrix = matrix.ordered(confusions.by_confusion(matrix))
    if len(matrix.classes) < len(whole.classes):
        st.caption(
            f"{len(whole.classes)} classes: the {MOST_ROWS - 1} with the most errors are shown, the others in one row "
            "and one column."
        )
    wrong = int(whole.counts.sum() - whole.counts.trace())
    if wrong and len(whole.classes) > FEW_CLASSES and confusions.most_confused(listed, 1)["pictures"][0] == 1:
        _list_of_errors(listed)
    else:
        display.finding(findings.of_errors(listed))
        key = drawer.chart_key("matrix")
        words = f"{len(matrix.classes)} classes: {wrong} of the {len(listed)} predictions listed are wrong."
        display.chart(
            charts_confusion.confusion_matrix(matrix, rates=rates, dim_diagonal=dim), width="content", key=key,
            on_select=lambda: _pick_cell(key, listed), selection_mode="cell", alt=f"Confusion matrix of {words}",
        )  # fmt: skip
    with st.container(key=GALLERY):
        _gallery(rows, dataset, model, _most_confused_pair(listed), object())


def _list_of_errors(listed: pd.DataFrame) -> None:
    """What stands instead of a matrix in which every error would be a cell of its own."""
    wrong = listed[listed["true"] != listed["predicted"]].sort_values("confidence", ascending=False, kind="stable")
    wrong = wrong.reset_index(drop=True)
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


def _pick_cell(key: str, listed: pd.DataFrame) -> None:
    """After a click on a cell, choose its classes and open its first picture; the two select boxes choose classes too."""
    cell = drawer.picked(key, "cell")
    for name in ("true", "predicted"):
        value = cell[name] if cell else EVERY
        st.session_state[name] = EVERY if value == confusions.OTHERS else value
    if cell and confusions.OTHERS not in cell.values():
        drawer.open_group(drawer.pair_group(cell["true"], cell["predicted"], listed))


def _most_confused_pair(listed: pd.DataFrame) -> tuple[str, str]:
    """The true and the predicted class of the most frequent error; every class where nothing is wrong."""
    most = confusions.most_confused(listed, 1)
    return (most["true"][0], most["predicted"][0]) if len(most) else (EVERY, EVERY)


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
    by = cell[column] if sort in SORTS else dataset.metadata.loc[cell["path"], column].set_axis(cell.index)
    cell = cell.loc[by.sort_values(ascending=ascending, kind="stable").index]
    group = drawer.group_of(_cell_words(st.session_state["true"], st.session_state["predicted"]), cell)
    drawer.offer([group])
    round_form.offer(RoundPictures(group.paths, predictions.with_filters(group.title, dataset)), "cell")
    if maps:
        _maps(cell, rows, dataset, model, group)
        return
    on_page = cell.iloc[(page - 1) * ON_A_PAGE : page * ON_A_PAGE]
    selected.bar(rows, dataset, model, on_page["path"].tolist())
    with st.container(horizontal=True, gap="small"):
        for row in on_page.to_dict("records"):
            _tile(row, dataset, rows.tags.get(row["path"], ()), group, attribute)


MAPS = (
    "Shows a map of each of 24 pictures instead, wrong and right ones side by side, all on one scale. Where all are wrong, "
    "right ones of the same true class stand beside them, and the other way round."
)


def _maps(cell: pd.DataFrame, rows: FilteredRows, dataset: Dataset, model: ExplainableModel, group: drawer.Group) -> None:
    """The maps of a cell's pictures beside those of others of the same true class."""
    halves = map_sheet.halves(cell, rows.counted)
    both = pd.concat([half.rows for half in halves])
    with_others = drawer.group_of(f"{group.title}, wrong and right", both) if len(both) > len(cell) else group
    drawer.offer([with_others])
    bar = st.container()

    def below(row: Mapping[Hashable, Any]) -> None:
        selected.box(dataset, row["path"])
        display.open_button(row["path"], f"open {row['path']}", drawer.open_group, (with_others, row["path"]))

    shown = map_gallery.show(halves, dataset, model, group.title, "maps", below)
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
    row: Mapping[Hashable, Any], dataset: Dataset, tags: Sequence[str], group: drawer.Group, attribute: str | None
) -> None:
    """One picture of the gallery: right or wrong, its classes, an attribute, its tags, and a button that opens it."""
    path = row["path"]
    right = row["true"] == row["predicted"]
    with st.container(border=True, width=display.THUMBNAIL + 34, key=f"tile {path}"):
        display.thumbnail(dataset, path, alt_text(row))
        verdict = "✓ Right" if right else "✗ Wrong"
        true, predicted = (markdown.escape(first_name(row[name])) for name in ("true", "predicted"))
        known = "" if attribute is None else f"  \n{_known(attribute, dataset.metadata.at[path, attribute])}"
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


def calibration(rows: FilteredRows, dataset: Dataset) -> None:
    """The reliability diagram and the expected calibration error, also for each value of an attribute."""
    bins, error = confusions.calibration(rows.counted)
    groups = [_bin_group(low, high, rows.counted) for low, high in zip(bins["low"], bins["high"], strict=True)]
    drawer.offer(groups)
    key = drawer.chart_key("calibration")

    def open_bin() -> None:
        picked = drawer.picked(key, "bin")
        if picked:
            drawer.open_group(groups[bins["low"].tolist().index(picked["low"])])

    display.finding(findings.of_calibration(bins, error))
    display.chart(
        charts_confusion.calibration(bins), key=key, on_select=open_bin, selection_mode="bin",
        alt=f"Reliability diagram in {len(bins)} bins; expected calibration error {error:.1%}.",
    )  # fmt: skip
    st.caption(
        "Ten bins of equal width; the error is the mean difference of confidence and accuracy over all pictures. The "
        "number above each bar is its number of pictures. Where a bar ends below the dashed line, the model is "
        "overconfident: it is right less often than its confidence says. Filters by prediction do not change this chart."
    )
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("low", "high", "confidence", "accuracy")}
    drawer.table(
        bins, "bins", lambda row: (groups[row], None), columns=percent,
        alt=f"Calibration in {len(bins)} ranges of confidence; expected calibration error {error:.1%}",
    )  # fmt: skip
    _calibrations(rows.counted, dataset)


def _calibrations(counted: pd.DataFrame, dataset: Dataset) -> None:
    """How well the model knows when it is right, for each value of an attribute."""
    column = attribute_filters.choose(dataset, "Calibration by", "calibration by", CALIBRATION_BY)
    if column is None:
        return
    values = attribute_filters.values(dataset, counted["path"], column)
    table = attribute_groups.calibrations(counted, values)
    groups = {value: _errors_first(f"{column} {value}", counted[(values == value).to_numpy()]) for value in table["value"]}
    drawer.offer(groups.values())
    percent = {
        name: st.column_config.NumberColumn(format="percent") for name in ("accuracy", "low", "high", "confidence", "ECE")
    }
    drawer.table(
        table, "calibrations", lambda row: (groups[table["value"][row]], None), columns=percent,
        alt=f"Calibration by {column}",
    )  # fmt: skip
    st.caption(
        "Low and high: the 95% interval (Wilson) of the accuracy. The first group is the one whose mean confidence lies "
        "farthest above its accuracy. The expected calibration error (ECE) of few pictures is large by chance."
    )
    _csv(table, "calibration_by.csv")


CALIBRATION_BY = "Adds a table: accuracy, mean confidence and calibration error for each value of an attribute."


def _errors_first(title: str, rows: pd.DataFrame) -> drawer.Group:
    wrong = rows["true"] != rows["predicted"]
    return drawer.group_of(f"{title}: errors first", pd.concat([rows[wrong], rows[~wrong]]))


def _bin_group(low: float, high: float, rows: pd.DataFrame) -> drawer.Group:
    """The pictures of one bin of the calibration, wrong predictions first."""
    among = rows[(rows["confidence"] > low) & (rows["confidence"] <= high)]
    wrong = among["true"] != among["predicted"]
    return drawer.group_of(f"Confidence {low:.0%} to {high:.0%}", pd.concat([among[wrong], among[~wrong]]))


def per_class(rows: FilteredRows) -> None:
    """Precision and recall of each class of which pictures are listed."""
    scores = confusions.per_class(rows.all_classes)
    scores = scores[scores["class"].isin(rows.listed["true"])].reset_index(drop=True)
    drawer.offer(
        drawer.OfferedGroup(_class_title(name), partial(_class_group, name, rows.all_classes)) for name in scores["class"]
    )
    key = drawer.chart_key("per class")

    def open_class() -> None:
        picked = drawer.picked(key, "class")
        if picked:
            drawer.open_group(_class_group(picked["class"], rows.all_classes))

    display.finding(findings.of_classes(scores))
    if len(scores) > MOST_ROWS:
        st.caption(f"The chart shows the {MOST_ROWS} of {len(scores)} classes with the lowest recall, the table all.")
    display.chart(
        charts_confusion.per_class(scores.sort_values("recall").head(MOST_ROWS)), key=key, on_select=open_class,
        selection_mode="class", alt="Precision and recall of each class, the lowest recall first.",
    )  # fmt: skip
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("precision", "recall", "F1")}
    drawer.table(
        scores, "scores", lambda row: (_class_group(scores["class"][row], rows.all_classes), None), columns=percent,
        alt="Precision, recall and F1 of each class",
    )  # fmt: skip
    st.caption(
        "Recall: of the pictures of this class, how many are predicted as this class. Precision: of the pictures predicted "
        f"as this class, how many really are. Both are of {len(rows.all_classes):,} pictures; filters only choose which "
        "classes are listed."
    )
    _csv(scores, "per_class.csv")


def _class_group(name: str, rows: pd.DataFrame) -> drawer.Group:
    """The pictures that belong to a class or were predicted as it: first its own that are wrong, then others that were
    predicted as it, then those that are right."""
    true, predicted = rows["true"] == name, rows["predicted"] == name
    parts = [rows[true & ~predicted], rows[predicted & ~true], rows[true & predicted]]
    return drawer.group_of(_class_title(name), pd.concat(parts))


def _class_title(name: str) -> str:
    return f"{first_name(name)}: errors first"


def most_confused(rows: FilteredRows, dataset: Dataset) -> None:
    """The pairs of a true and a wrongly predicted class, the most frequent first; each row opens its pictures."""
    every = confusions.most_confused(rows.listed, len(rows.listed), rows.counted)
    pairs = every.head(MOST_PAIRS)
    if not len(pairs):
        st.info("All of these pictures are predicted correctly.")
        return
    if len(pairs) < len(every):
        st.caption(f"The {len(pairs)} most frequent of {len(every):,} pairs; the CSV holds all.")
    display.finding(findings.of_errors(rows.listed))
    drawer.offer(
        drawer.OfferedGroup(
            predictions.pair_words(true, predicted), partial(drawer.pair_group, true, predicted, rows.listed)
        )
        for true, predicted in zip(pairs["true"], pairs["predicted"], strict=True)
    )
    column = attribute_filters.choose(dataset, "What they share", "pairs by", SHARED)
    if column is not None:
        pairs = pairs.assign(**{f"typical {column}": _typical(pairs, column, rows, dataset)})
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("share", "confidence")}
    drawer.table(
        pairs, "pairs", lambda row: (drawer.pair_group(pairs["true"][row], pairs["predicted"][row], rows.listed), None),
        columns=percent, alt="Pairs of classes that are confused most often",
    )  # fmt: skip
    st.caption(
        "Share: the listed pictures as a percentage of all pictures of the true class. Confidence: the mean confidence of "
        "these wrong predictions."
    )
    _csv(every, "most_confused.csv")


SHARED = (
    "Adds a column: the value of an attribute that is more frequent among a pair's pictures than among all pictures of the "
    "true class."
)


def _typical(pairs: pd.DataFrame, column: str, rows: FilteredRows, dataset: Dataset) -> list[str]:
    """For each pair, the value of an attribute that is typical of it, in words."""
    listed, counted = rows.listed, rows.counted
    values = attribute_filters.values(dataset, counted["path"], column).astype(str).set_axis(counted["path"])
    words = []
    for true, predicted in zip(pairs["true"], pairs["predicted"], strict=True):
        pair = listed.loc[(listed["true"] == true) & (listed["predicted"] == predicted), "path"]
        every = counted.loc[counted["true"] == true, "path"]
        found = attribute_groups.typical(values.loc[pair], values.loc[every])
        words.append(attribute_filters.typical_words(column, found, f"all {first_name(true)}"))
    return words


def _csv(rows: pd.DataFrame, name: str) -> None:
    display.downloads({"CSV": (name, "text/csv", csv_bytes(rows))})


def _others(model: ExplainableModel) -> Sequence[str]:
    """Models with classes whose weights are here, without `model`; first those that have the same classes."""
    ready = [card.id for card in cards().values() if locate.is_here(card)]
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
    theirs = predictions.table(other, dataset, second=True)
    if theirs is None:
        return
    theirs = theirs[theirs["path"].isin(rows.counted["path"])]
    mine = rows.counted[rows.counted["path"].isin(theirs["path"])]
    theirs = confusions.with_names_of(mine, theirs)
    if not len(mine):
        st.info("The two models have no class of these pictures in common. Choose another second model.")
        return
    changed = confusions.changed(mine, theirs)
    classes = sorted({*mine["true"], *mine["predicted"], *theirs["true"], *theirs["predicted"]})
    matrix, second_matrix = confusions.confusion(mine, classes), confusions.confusion(theirs, classes)
    both = confusions.Confusion(matrix.counts + second_matrix.counts, tuple(classes))
    worst = confusions.by_confusion(both)[:MOST_ROWS]
    counts = changed["change"].value_counts().to_dict()
    st.markdown(
        f"{markdown.escape(model.title)}: **{matrix.accuracy:.1%}** right; {markdown.escape(other.title)}: "
        f"**{second_matrix.accuracy:.1%}**, on {len(mine):,} pictures. "
        f"The second fixes {counts.get('fixed', 0):,} errors and makes {counts.get('new error', 0):,} new ones."
    )
    if len(worst) < len(classes):
        st.caption(f"The matrices show the {len(worst)} of {len(classes)} classes with the most errors.")
    first, last = matrix.ordered(worst), second_matrix.ordered(worst)
    moved = pd.concat([mine, theirs]).drop_duplicates(["path", "true", "predicted"], keep=False)
    with st.container(horizontal=True):
        _matrix(model.title, mine, first, f"{model.title}: {matrix.accuracy:.1%} right.")
        _matrix(other.title, theirs, last, f"{other.title}: {second_matrix.accuracy:.1%} right.")
        words = f"{other.title} minus {model.title}: pictures in each cell."
        _matrix("Second minus first", moved, last, words, other=first, titles=(other.title, model.title))
    st.caption(
        "A click on a cell opens its pictures; in the third matrix, those that only one of the two models puts there."
    )
    _two_by_attribute(mine, theirs, dataset, (model.title, other.title))
    listed = changed[changed["path"].isin(rows.listed["path"])]
    if len(listed) < len(changed):
        st.caption(f"{len(listed):,} of the {len(changed):,} pictures with different predictions pass the filters.")
    listed = listed.reset_index(drop=True)
    groups = {
        change: drawer.group_of(f"{other.title} against {model.title}: {change}", rows)
        for change, rows in listed.groupby("change")
    }
    drawer.offer(groups.values())
    drawer.table(
        listed, "changes", lambda row: (groups[listed["change"][row]], listed["path"][row]),
        alt=f"Pictures that {model.title} and {other.title} predict differently",
    )  # fmt: skip
    _csv(listed, "two_models.csv")


def _two_by_attribute(mine: pd.DataFrame, theirs: pd.DataFrame, dataset: Dataset, titles: tuple[str, str]) -> None:
    """The error rates of both models for each value of an attribute."""
    column = attribute_filters.choose(dataset, "Error rates by", "models by", TWO_BY)
    if column is None:
        return
    values = attribute_filters.values(dataset, mine["path"], column)
    table = attribute_groups.error_rates_of_two(mine, theirs, values)
    groups = {value: _errors_first(f"{column} {value}", mine[(values == value).to_numpy()]) for value in table["value"]}
    drawer.offer(groups.values())
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("first", "second")}
    drawer.table(
        table, "two by", lambda row: (groups[table["value"][row]], None), columns=percent,
        alt=f"Error rates of {titles[0]} and {titles[1]} by {column}",
    )  # fmt: skip
    st.caption(
        f"First and second: the shares of a group's pictures that {markdown.escape(titles[0])} and "
        f"{markdown.escape(titles[1])} predict wrongly. First comes the group in which the second is worse by most."
    )
    _csv(table, "two_models_by.csv")


TWO_BY = "Adds a table: the error rates of both models on the pictures with each value of an attribute."


def _matrix(
    title: str,
    rows: pd.DataFrame,
    matrix: confusions.Confusion,
    alt: str,
    *,
    other: confusions.Confusion | None = None,
    titles: tuple[str, str] = ("", ""),
) -> None:
    """A matrix of which each cell opens its pictures, which are among `rows`."""
    groups, key = drawer.pair_groups(title, rows), drawer.chart_key(f"matrix of {title}")
    drawer.offer(groups.values())

    def open_cell() -> None:
        cell = drawer.picked(key, "cell")
        if cell:
            drawer.open_group(groups[cell["true"], cell["predicted"]])

    with st.container(width="content"):
        st.markdown(f"**{markdown.escape(title)}**")
        chart = charts_confusion.confusion_matrix(matrix, rates=False, dim_diagonal=False, other=other, titles=titles)
        display.chart(chart, width="content", key=key, alt=alt, on_select=open_cell, selection_mode="cell")
