"""Explanation clusters: groups of pictures whose maps lie in the same places."""

import json
from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from xai_core.analysis import groups
from xai_core.app.shared import (
    attribute_filters,
    cache,
    display,
    drawer,
    job_view,
    jobs,
    network_outputs,
    page_links,
    predictions,
    progress,
    round_form,
    turns,
)
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.opened_datasets import is_upload
from xai_core.app.shared.predictions import FilteredRows, alt_text
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.server_job import ServerJob
from xai_core.app.shared.widgets import LINK, quick_methods
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import method_passes
from xai_core.attribution.explain import explain
from xai_core.core import markdown
from xai_core.core.cache_key import run_key, text_digest
from xai_core.core.errors import BadPicture
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.explanation.clustering import FEWEST, Clusters, cluster_maps, small_map
from xai_core.models.explainable import ExplainableModel

MOST = 200  # pictures whose maps are computed
MEMBERS = 6  # pictures of a cluster that are shown
Column = Literal["true", "predicted"]
Maps = tuple[list[int], NDArray[np.float32]]  # which of the pictures could be read, and their small maps


def show(selection: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The controls that choose pictures and a method, then each cluster of their maps."""
    st.markdown(
        "The maps of many pictures of one class, grouped by where their evidence lies (spectral relevance analysis). A "
        "group with maps on a corner, a border or a caption points to a model that is right for the wrong reason."
    )
    rows, column = _choose_pictures(selection.listed)
    method, count = _choose_method(model)
    if len(rows) < FEWEST:
        st.info(
            f"{len(rows)} pictures are too few for clusters: {FEWEST} are needed. Choose another class, or remove filters."
        )
        return
    rows = selection.whole(rows)
    key = key_of(model, dataset, rows["path"].tolist(), method, column)
    stored: Maps | None = cache.get(key)
    if stored is None:
        options = check_options(METHODS[method].run, {})
        passes = len(rows) * (1 + method_passes(method, options, model.recipe.input_size, model.family))
        seconds = network_outputs.pass_seconds(model, passes)
        if seconds >= progress.AT_ONCE_SECONDS:

            def work(handle: JobHandle) -> None:
                cache.put(key, _maps(rows, column, method, dataset, model, handle.pieces("pictures")))

            def begin() -> ServerJob:
                title = f"Clusters of {len(rows)} pictures of {dataset.title}"
                return jobs.start(key, title, work, page_links.here(page_links.MISSES), private=is_upload(dataset))

            job_view.offer(key, seconds, begin, button="Find clusters")
            return
        if not progress.should_start(key, seconds, button="Find clusters"):
            return
        with progress.bar(key) as bar:
            stored = turns.in_turn(lambda track: _maps(rows, column, method, dataset, model, track), bar, "Maps")
        cache.put(key, stored)
    readable, maps = stored
    rows = rows.iloc[readable]
    clusters = cluster_maps(list(maps), count or None)
    st.caption(
        f"{len(clusters.members)} clusters of {len(rows)} maps ({METHODS[method].title}, {column} class)"
        + ("" if count else "; their number is set by the largest gap between eigenvalues of the graph's Laplacian")
        + f"; smallest eigenvalues: {', '.join(f'{value:.2f}' for value in clusters.eigenvalues)}; seed {clusters.seed}."
    )
    attribute = attribute_filters.choose(dataset, "What they share", "clusters share", SHARED)
    shared = [""] * len(clusters.members)
    if attribute is not None:
        members_of = selection.held.of_names(rows["path"].tolist()).set_axis(rows.index)
        values = attribute_filters.values(selection.held, members_of, attribute)
        shared = [
            attribute_filters.typical_words(attribute, groups.typical(values.iloc[members], values), "all clusters")
            for members in clusters.members
        ]
    name = first_name(str(rows[column].iloc[0]))
    what = predictions.with_filters(f"the {METHODS[method].title} maps of the {column} class {name}", dataset)
    for number in range(len(clusters.members)):
        _cluster(number, clusters, rows, dataset, what, shared[number])


def key_of(model: ExplainableModel, dataset: Dataset, paths: list[str], method: str, column: Column) -> str:
    """The key of the maps of some of a dataset's pictures, for their true or predicted classes."""
    return run_key(
        picture=text_digest(json.dumps([dataset.digest, paths])),
        model=model.id,
        weights=model.fingerprint,
        cut=model.network.cut_name(None) if "cut" in METHODS[method].needs else "",
        target=f"{column} class",
        method=f"cluster maps by {method}",
        version=METHODS[method].version,
        options={},
        seed=0,
        precision="exact",
    )


SHARED = "Says with each cluster which value of an attribute is more frequent in it than among the pictures of all clusters."


def _choose_pictures(rows: pd.DataFrame) -> tuple[pd.DataFrame, Column]:
    """At most 200 pictures of one class, and whether that is their true or their predicted class."""
    with st.container(horizontal=True):
        kind = st.segmented_control(
            "Class", ["Predicted", "True"], default="Predicted", required=True, key="asked", help=CLASS, **LINK
        )
        column: Column = "true" if kind == "True" else "predicted"
        wrong = (rows["true"] != rows["predicted"]).groupby(rows[column]).agg(["size", "sum"])
        wrong = wrong.sort_values(["sum", "size"], ascending=False, kind="stable")
        words = {
            str(name): f"{first_name(str(name))} ({size:,} pictures, {errors:,} wrong)"
            for name, size, errors in zip(wrong.index, wrong["size"], wrong["sum"], strict=True)
        }
        name = st.selectbox(f"{kind} class", list(words), format_func=words.__getitem__, key=f"clusters of {column}", **LINK)
    rows = rows[rows[column] == name]
    if len(rows) > MOST:
        st.caption(f"The first {MOST} of {len(rows):,} pictures.")
    return rows.head(MOST), column


CLASS = (
    "Predicted: all pictures that are predicted as this class, rightly or wrongly. True: all pictures of this class. The "
    "maps explain this class."
)


def _choose_method(model: ExplainableModel) -> tuple[str, int]:
    """The method of the maps, and the number of clusters (0: found from the maps)."""
    quick = quick_methods(model)
    with st.container(horizontal=True):
        method = st.selectbox(
            "Method", quick, quick.index("hires_cam") if "hires_cam" in quick else 0,
            format_func=lambda id: METHODS[id].title, key="clusters by", **LINK,
        )  # fmt: skip
        count = st.number_input("Number of clusters (0 = automatic)", 0, 12, 0, key="clusters", **LINK)
    if count == 1:
        st.caption("One cluster would hold all pictures, so 1 is treated as 0.")
    return method, 0 if count == 1 else count


def _maps(rows: pd.DataFrame, column: Column, method: str, dataset: Dataset, model: ExplainableModel, track: Track) -> Maps:
    """Which of the pictures can be read, and their maps on a small grid."""
    readable, maps, records = [], [], rows.to_dict("records")
    for place in track(range(len(records))):
        row = records[place]
        try:
            picture = dataset.open(row["path"])
        except BadPicture:
            continue
        explanation = explain(model, picture, method, target=int(row[f"{column}_index"]))
        readable.append(place)
        maps.append(small_map(explanation.heatmap))
    return readable, np.stack(maps)


def _cluster(number: int, clusters: Clusters, rows: pd.DataFrame, dataset: Dataset, what: str, shared: str) -> None:
    """One cluster: its mean map and some of its pictures; `what` says of what it is a cluster, `shared` what is typical."""
    members = rows.iloc[clusters.members[number]]
    wrong = int((members["true"] != members["predicted"]).sum())
    group = drawer.group_of(f"Cluster {number + 1}", members)
    drawer.offer([group])
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            title = f"cluster {number + 1}: {len(members)} pictures: {len(members) - wrong} right, {wrong} wrong"
            st.markdown(f"**Cluster {number + 1}**{title.removeprefix(f'cluster {number + 1}')}", width="content")
            round_form.offer(RoundPictures(group.paths, f"{group.title} of {what}"), f"cluster {number}")
        if shared:
            st.caption(markdown.escape(shared))
        with st.container(horizontal=True, gap="small"):
            with st.container(width=150):
                mean = display.grid_image(clusters.means[number])
                display.picture(mean, f"Mean map of cluster {number + 1}", caption=f"Mean map of {title}", width=140)
                st.caption("Mean map")
            for row in members.head(MEMBERS).to_dict("records"):
                with st.container(width=110):
                    display.thumbnail(dataset, row["path"], alt_text(row))
                    name, true = (markdown.escape(first_name(row[column])) for column in ("predicted", "true"))
                    verdict = "✓ right" if row["true"] == row["predicted"] else f"✗ wrong, true: {true}"
                    st.caption(f"{name} {row['confidence']:.0%}, {verdict}")
                    display.open_button(row["path"], f"open {row['path']}", drawer.open_group, (group, row["path"]))
        with st.expander("All members"):
            drawer.table(
                members[["path", "true", "predicted", "confidence"]], f"members {number}",
                lambda row: (group, group.paths[row]),
                columns={"confidence": st.column_config.NumberColumn(format="percent")},
                alt=f"The pictures of cluster {number + 1}",
            )  # fmt: skip
