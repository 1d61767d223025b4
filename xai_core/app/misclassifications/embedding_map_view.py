"""The view of the map: pictures that the model finds alike lie beside each other, or pictures by two columns."""

import json

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from xai_core.analysis import embedding_maps as maps
from xai_core.analysis import groups
from xai_core.analysis.embedding_maps import EmbeddingMap, Projection
from xai_core.app.charts.groups import map_of_points
from xai_core.app.misclassifications import map_axes, point_map, selected
from xai_core.app.misclassifications.point_map import OUTSIDE, Axis
from xai_core.app.shared import display, drawer, embedding_maps, predictions, report_items, round_form
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.predictions import FilteredRows, alt_text
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.tested_groups import tested_groups
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.models.explainable import ExplainableModel

PROJECTIONS: dict[str, Projection] = {"PCA": "pca", "t-SNE": "tsne"}
COLUMNS = "Two columns"  # instead of a projection
CLASS, PREDICTED, ANSWER, GROUP = "(class)", "(predicted class)", "(right or wrong)", "(confirmed group of errors)"
MOST = 100_000  # pictures of a map
DRAWN = 10_000  # points: more are slow to draw in a browser
FIRST = 12  # chosen pictures that are shown below the map
OUTLINES = "chosen"  # in the address: the outlines on the map
TABLE = ["path", "true", "predicted", "confidence", "answer"]
ABOUT = (
    "Each point is a picture, placed by the model's embedding of it: pictures that the model finds alike lie beside each "
    "other. Draw around points to choose pictures; a click on a point opens it."
)
ABOUT_COLUMNS = "Each point is a picture, placed by two columns. Draw around points to choose pictures; a click opens one."
NEIGHBOURS = (
    "t-SNE keeps neighbours together (perplexity {perplexity:g}, seed {seed}). Sizes of clusters and distances between them "
    "say nothing."
)


def show(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The map of the pictures listed, and those that the visitor chooses on it."""
    if len(rows.every) > MOST:
        st.info(f"The map takes at most {MOST:,} pictures, and there are {len(rows.every):,}. Choose another view.")
        return
    every, about = rows.whole(rows.every), st.empty()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.segmented_control(
            "Place by", [*PROJECTIONS, COLUMNS], default="PCA", required=True, key="projection", on_change=_clear, **LINK
        )
        usual = [ANSWER, CLASS, PREDICTED, GROUP]
        colour = st.selectbox("Colour by", [*usual, *map(str, dataset.metadata)], key="map colour", width=280, **LINK)
        if name == COLUMNS:
            columns = map_axes.choose(every, dataset, _clear)
    about.markdown(ABOUT_COLUMNS if name == COLUMNS else ABOUT)
    points: NDArray[np.floating]
    if name == COLUMNS:
        places = map_axes.places(every, dataset, columns)
        points, axes, words = places.points, places.axes, places.words
    else:
        projection, count = PROJECTIONS[name], len(every)
        if projection == "tsne" and not maps.FEWEST <= count <= maps.MOST:
            st.info(f"t-SNE takes {maps.FEWEST} to {maps.MOST:,} pictures, and there are {count:,}. Choose PCA.")
            return
        if "embedding" not in every:
            st.info("These predictions have no embeddings: `classify --embeddings` stores them. Or place by two columns.")
            return
        found = embedding_maps.find(every, dataset, model, projection)
        if found is None:
            return
        points, axes, words = found.points, (Axis(), Axis()), _in_words(projection, found, count)
    placed = _placed(rows, every, points)
    if not len(placed):
        st.info("None of the pictures listed has a value in both columns. Choose other columns, or remove filters.")
        return
    coloured = placed.assign(colour=_colours(colour, placed, every, dataset, model))
    outlines = st.query_params.get(OUTLINES, "")
    _draw(coloured, colour, f"by {name}", points, axes, outlines, dataset)
    chosen = _chosen(placed, outlines)
    _actions(chosen, placed, rows, dataset, model)
    st.caption(f"{words} {_listed(len(placed), rows)}")
    if st.toggle("The map as a table", key="map table", help=TABLE_HELP, **LINK):
        _table(coloured if chosen is None else coloured.loc[chosen.index], colour)


TABLE_HELP = "The pictures on the map, or those chosen, in the order of their places from left to right; each can be opened."


def _placed(rows: FilteredRows, every: pd.DataFrame, points: NDArray[np.floating]) -> pd.DataFrame:
    """The pictures listed that have a place, with the columns `x`, `y` and `answer`."""
    found = every.drop(columns="embedding", errors="ignore").assign(x=points[:, 0], y=points[:, 1])
    listed = found[rows.every["place"].isin(rows.listed["place"])].reset_index(drop=True).dropna(subset=["x", "y"])
    return listed.assign(answer=np.where(listed["true"] == listed["predicted"], "right", "wrong"))


def _in_words(projection: Projection, found: EmbeddingMap, count: int) -> str:
    if projection == "tsne":
        perplexity = min(maps.PERPLEXITY, (count - 1) / 3)
        return NEIGHBOURS.format(perplexity=perplexity, seed=embedding_maps.SEED)
    return (
        f"PCA: of the variance of the embeddings, the axis across holds {found.shares[0]:.0%} and the axis up "
        f"{found.shares[1]:.0%}; what else differs between pictures is not seen here."
    )


def _listed(placed: int, rows: FilteredRows) -> str:
    drawn = f" {DRAWN:,} of them, drawn at random, are shown; the choice is of all." if placed > DRAWN else ""
    return f"The map is of all {len(rows.every):,} pictures; the {placed:,} that pass the filters are on it.{drawn}"


def _colours(
    colour: str, listed: pd.DataFrame, every: pd.DataFrame, dataset: Dataset, model: ExplainableModel
) -> "pd.Series[str] | pd.Series[float]":
    """The value by which each listed picture is coloured: a text, or a number."""
    if colour == GROUP:
        tested = tested_groups(every, dataset, model)
        words = pd.Series(OUTSIDE, every["path"])
        confirmed = [
            (str(title), members)
            for title, members, ok in zip(tested.table["group"], tested.members, tested.table["confirmed"], strict=True)
            if ok
        ]
        for title, members in reversed(confirmed):  # of a picture in several groups, the first one counts
            words.iloc[members] = title
        if not confirmed:
            st.caption("No group of errors is confirmed on held-out pictures; Failure analysis shows which were tested.")
        return words.loc[listed["path"]].set_axis(listed.index)
    columns = {CLASS: "true", PREDICTED: "predicted"}
    if colour in columns:
        return listed[columns[colour]].map(first_name)
    if colour == ANSWER:
        return listed["answer"]
    values = dataset.attribute(listed["path"], colour).set_axis(listed.index)
    return values.astype(float) if groups.has_many_numbers(values) else groups.values_of(values).astype(str)


def _draw(
    placed: pd.DataFrame, colour: str, name: str, points: NDArray[np.floating], axes: tuple[Axis, Axis], outlines: str,
    dataset: Dataset,
) -> None:  # fmt: skip
    """The map: an outline that is drawn chooses pictures, a click opens one."""
    shown = placed if len(placed) <= DRAWN else placed.sample(DRAWN, random_state=embedding_maps.SEED)
    group = drawer.group_of("Pictures on the map", placed)
    drawer.offer([group])
    title, wrong = colour.strip("()"), int((placed["answer"] == "wrong").sum())
    label = f"Map of {len(placed):,} pictures {name}, {wrong:,} of them wrong, coloured by {title}."
    ends = [(float(low), float(high)) for low, high in zip(np.nanmin(points, 0), np.nanmax(points, 0), strict=True)]
    limits = (_wider(*ends[0]), _wider(*ends[1]))
    drawn = point_map.content(shown, title, limits, label, axes)
    point_map.show(
        drawn, outlines, dataset, _choose, lambda path: drawer.open_group(group, path) if path in group.paths else None
    )
    report_items.add_button(
        lambda: report_items.chart_item(map_of_points(json.loads(drawn)), label), "the map of pictures", "map of pictures"
    )


def _wider(low: float, high: float) -> point_map.Range:
    """The ends of an axis with some room around the outermost points."""
    room = 0.03 * (high - low) or 0.1
    return low - room, high + room


def _choose(outlines: str) -> None:
    """Choose what is inside these outlines. For callbacks."""
    if outlines:
        st.query_params[OUTLINES] = outlines
    else:
        _clear()


def _clear() -> None:
    """Choose nothing. For callbacks."""
    st.query_params.pop(OUTLINES, None)


def _chosen(placed: pd.DataFrame, outlines: str) -> pd.DataFrame | None:
    """The pictures inside the outlines, errors first; None where there is no outline."""
    polygons = point_map.read(outlines)
    if not polygons:
        return None
    chosen = placed[maps.inside(placed[["x", "y"]].to_numpy(float), polygons)]
    return chosen.sort_values("answer", key=lambda answers: answers == "right", kind="stable")


def _actions(
    chosen: pd.DataFrame | None, placed: pd.DataFrame, rows: FilteredRows, dataset: Dataset, model: ExplainableModel
) -> None:
    """What is among the chosen pictures, the first of them, and what can be done with them."""
    if chosen is None:
        st.caption("Nothing is chosen. Drag over the map to draw a lasso or a box; the keys are listed above it.")
        selected.bar(rows, dataset, model, [])
        return
    if not len(chosen):
        st.info("No picture is inside the outline. Draw another one.")
        selected.bar(rows, dataset, model, [])
        return
    group, wrong = drawer.group_of("Chosen on the map: errors first", chosen), int((chosen["answer"] == "wrong").sum())
    drawer.offer([group])
    rate = (placed["answer"] == "wrong").mean()
    st.markdown(
        f"**{counted(len(chosen), 'picture')}** of {len(placed):,} chosen: **{wrong:,} wrong** ({wrong / len(chosen):.0%}; "
        f"of all on the map {rate:.0%}). Most frequent label: {_most(chosen['true'])}."
    )
    with st.container(horizontal=True):
        st.button(
            f"Open {'it' if len(chosen) == 1 else 'them'}", key="open chosen", icon=":material/photo_library:",
            on_click=drawer.open_group, args=(group,),
        )  # fmt: skip
        round_form.offer(RoundPictures(group.paths, predictions.with_filters("Chosen on the map", dataset)), "map")
    selected.bar(rows, dataset, model, list(group.paths), "chosen")
    with st.container(horizontal=True, gap="small"):
        for row in chosen.head(FIRST).to_dict("records"):
            with st.container(border=True, width=display.THUMBNAIL + 34, key=f"tile {row['path']}"):
                display.thumbnail(dataset, row["path"], alt_text(row))
                true, predicted = (markdown.escape(first_name(row[column])) for column in ("true", "predicted"))
                verdict = "✓ Right" if row["answer"] == "right" else "✗ Wrong"
                st.markdown(f"**{verdict}**  \ntrue: {true}  \npredicted: {predicted} {row['confidence']:.0%}")
                selected.box(dataset, row["path"])
                display.open_button(row["path"], f"open {row['path']}", drawer.open_group, (group, row["path"]))
    if len(chosen) > FIRST:
        st.caption(f"The first {FIRST} of the {len(chosen):,} chosen pictures, errors first; Open them shows all.")


def _table(pictures: pd.DataFrame, colour: str) -> None:
    """The pictures of the map as a table: what a person who does not see the map can go through."""
    pictures = pictures.sort_values(["x", "y"], kind="stable")
    title = colour.strip("()")
    shown = pictures[[*TABLE, "x", "y"]].rename(columns={"x": "across", "y": "up"})
    if title not in shown:
        shown = shown.assign(**{title: pictures["colour"]})
    shown = shown.reset_index(drop=True)
    group = drawer.group_of("Pictures of the map's table", pictures)
    drawer.offer([group])
    columns = {"confidence": st.column_config.NumberColumn(format="percent")}
    drawer.table(shown, "map rows", lambda row: (group, group.paths[row]), columns=columns, alt="Pictures of the map")


def _most(names: "pd.Series[str]") -> str:
    """The most frequent class with its share."""
    counts = names.map(first_name).value_counts()
    return f"{markdown.escape(str(counts.index[0]))} ({counts.iloc[0] / len(names):.0%})"
