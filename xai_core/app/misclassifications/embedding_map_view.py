"""The view of the map of embeddings: pictures that the model finds alike lie beside each other."""

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.analysis import embedding_maps as maps
from xai_core.analysis import groups
from xai_core.analysis.embedding_maps import EmbeddingMap, Projection
from xai_core.app.charts import embedding_map as charts_map
from xai_core.app.charts.embedding_map import OUTSIDE, Range
from xai_core.app.shared import drawer, embedding_maps, predictions, round_form
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.predictions import FilteredRows
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.tested_groups import tested_groups
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.models.explainable import ExplainableModel

PROJECTIONS: dict[str, Projection] = {"PCA": "pca", "t-SNE": "tsne"}
CLASS, PREDICTED, ANSWER, GROUP = "(class)", "(predicted class)", "(right or wrong)", "(confirmed group of errors)"
DRAWN = 2_000  # points: more are slow to draw in a browser
WHOLE = (-1.0, 1.0)
ACROSS, UP = "map across", "map up"  # the sliders that hold the chosen part of the map
ABOUT = (
    "Each point is a picture, placed by the model's embedding of it: pictures that the model finds alike lie beside each "
    "other. Drag over the map to choose pictures; a click on a point opens it."
)
NEIGHBOURS = (
    "t-SNE keeps neighbours together (perplexity {perplexity:g}, seed {seed}). Sizes of clusters and distances between them "
    "say nothing."
)


def show(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The map of the pictures listed, and the part of it that the visitor chooses."""
    st.markdown(ABOUT)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.segmented_control(
            "Projection", list(PROJECTIONS), default="PCA", required=True, key="projection", on_change=_whole, **LINK
        )
        usual = [ANSWER, CLASS, PREDICTED, GROUP]
        colour = st.selectbox("Colour by", [*usual, *map(str, dataset.metadata)], key="map colour", width=280, **LINK)
    projection, count = PROJECTIONS[name], len(rows.every)
    if projection == "tsne" and not maps.FEWEST <= count <= maps.MOST:
        st.info(f"t-SNE takes {maps.FEWEST} to {maps.MOST:,} pictures, and there are {count:,}. Choose PCA.")
        return
    found = embedding_maps.find(rows.every, dataset, model, projection)
    if found is None:
        return
    placed = _placed(rows, found)
    ends = [(float(low), float(high)) for low, high in zip(found.points.min(0), found.points.max(0), strict=True)]
    coloured = placed.assign(colour=_colours(colour, placed, rows.every, dataset, model))
    slot = st.container()  # of the map, which outlines what the sliders below it choose
    st.caption(f"{_in_words(projection, found, count)} {_listed(len(placed), count)}")
    part = _chosen(placed, dataset)
    with slot:
        _chart(coloured, colour, name, (ends[0], ends[1]), part)


def _placed(rows: FilteredRows, found: EmbeddingMap) -> pd.DataFrame:
    """The pictures listed, with the columns `x`, `y` and `answer`."""
    places = pd.DataFrame(found.points, rows.every["path"].to_numpy(), ["x", "y"])
    listed = rows.listed.drop(columns="embedding").join(places, on="path")
    return listed.assign(answer=np.where(listed["true"] == listed["predicted"], "right", "wrong"))


def _inside(placed: pd.DataFrame, across: Range, up: Range) -> pd.DataFrame:
    """The pictures in a part of the map, errors first."""
    chosen = placed[placed["x"].between(*across) & placed["y"].between(*up)]
    return chosen.sort_values("answer", key=lambda answers: answers == "right", kind="stable")


def _in_words(projection: Projection, found: EmbeddingMap, count: int) -> str:
    if projection == "tsne":
        perplexity = min(maps.PERPLEXITY, (count - 1) / 3)
        return NEIGHBOURS.format(perplexity=perplexity, seed=embedding_maps.SEED)
    return (
        f"PCA: of the variance of the embeddings, the axis across holds {found.shares[0]:.0%} and the axis up "
        f"{found.shares[1]:.0%}; what else differs between pictures is not seen here."
    )


def _listed(listed: int, count: int) -> str:
    drawn = f" {DRAWN:,} of them, drawn at random, are shown; the choice is of all." if listed > DRAWN else ""
    return f"The map is of all {count:,} pictures; the {listed:,} that pass the filters are on it.{drawn}"


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
    values = dataset.metadata[colour].loc[listed["path"]].set_axis(listed.index)
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return values.astype(float) if is_number and values.nunique() > groups.FEW else groups.values_of(values).astype(str)


def _chart(
    placed: pd.DataFrame, colour: str, name: str, limits: tuple[Range, Range], part: tuple[Range, Range] | None
) -> None:
    """The map: dragging chooses a part of it and opens its pictures, a click opens one."""
    shown = placed if len(placed) <= DRAWN else placed.sample(DRAWN, random_state=embedding_maps.SEED)
    key, group = drawer.chart_key("embedding map"), drawer.group_of("Pictures on the map", placed)

    def choose() -> None:
        picked = drawer.picked(key, "picture")
        if picked:
            drawer.open_group(group, picked["path"])
            return
        box = st.session_state[key]["selection"].get("box") or {}
        if {"x", "y"} <= box.keys():
            across, up = _rounded(box["x"]), _rounded(box["y"])
            st.session_state[ACROSS], st.session_state[UP] = across, up
            drawer.open_group(_group(_inside(placed, across, up)))

    drawer.offer([group])
    wrong = int((placed["answer"] == "wrong").sum())
    st.altair_chart(
        charts_map.embedding_map(shown, colour.strip("()"), limits, part), key=key, on_select=choose,
        selection_mode=["box", "picture"],
        alt=f"Map of {len(placed):,} pictures by {name}, {wrong:,} of them wrong, coloured by {colour.strip('()')}.",
    )  # fmt: skip


def _rounded(edges: list[float]) -> Range:
    """The edges of a drawn box in the steps of the sliders, rounded outwards, inside the map."""
    low, high = np.clip([np.floor(100 * min(edges)), np.ceil(100 * max(edges))], -100, 100)
    return float(low) / 100, float(high) / 100


def _group(chosen: pd.DataFrame) -> drawer.Group:
    return drawer.group_of("Chosen on the map: errors first", chosen)


def _whole() -> None:
    """Choose the whole map. For callbacks."""
    st.session_state[ACROSS] = st.session_state[UP] = WHOLE


def _chosen(placed: pd.DataFrame, dataset: Dataset) -> tuple[Range, Range] | None:
    """The chosen part of the map: its edges, what is in it, and what can be done with it. None where all of it is chosen."""
    with st.container(horizontal=True, gap="medium"):
        across = st.slider("Chosen across", *WHOLE, WHOLE, 0.01, key=ACROSS, width=300, **LINK)
        up = st.slider("Chosen up", *WHOLE, WHOLE, 0.01, key=UP, width=300, **LINK)
    if across == up == WHOLE:
        st.caption("The whole map is chosen. Drag over the map, or move the sliders, to choose a part.")
        return None
    chosen = _inside(placed, across, up)
    if not len(chosen):
        st.info("No picture is in this part of the map. Choose a larger one.")
        st.button("Choose the whole map", on_click=_whole)
        return across, up
    group, wrong = _group(chosen), int((chosen["answer"] == "wrong").sum())
    drawer.offer([group])
    every = len(placed)
    rate = (placed["answer"] == "wrong").mean()
    st.markdown(
        f"**{counted(len(chosen), 'picture')}** of {every:,} chosen: **{wrong:,} wrong** ({wrong / len(chosen):.0%}; of all "
        f"on the map {rate:.0%}). Most frequent label: {_most(chosen['true'])}."
    )
    with st.container(horizontal=True):
        st.button(
            f"Open {'it' if len(chosen) == 1 else 'them'}", key="open chosen", icon=":material/photo_library:",
            on_click=drawer.open_group, args=(group,),
        )  # fmt: skip
        round_form.offer(RoundPictures(group.paths, predictions.with_filters("Chosen on the map", dataset)), "map")
        st.button("Choose the whole map", on_click=_whole)
    return across, up


def _most(names: "pd.Series[str]") -> str:
    """The most frequent class with its share."""
    counts = names.map(first_name).value_counts()
    return f"{markdown.escape(str(counts.index[0]))} ({counts.iloc[0] / len(names):.0%})"
