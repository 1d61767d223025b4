"""Explanation clusters: groups of pictures that the model decides for the same kind of reason."""

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.shared import cache, display, network_outputs, progress, turns
from xai_core.app.shared.widgets import LINK
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.explanation import rendering
from xai_core.explanation.clustering import FEWEST, Clusters, cluster_maps, small_map
from xai_core.models.explainable import ExplainableModel

MOST = 200  # pictures whose maps are made
MEMBERS = 6


def show(kept: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """Choose pictures, make their maps, group them, show each group."""
    st.markdown(
        "The maps of many pictures of one class, grouped by where they lie (spectral relevance analysis). A group that "
        "looks at a corner, a border or a caption shows a model that is right for the wrong reason."
    )
    rows, asked = _chosen(kept)
    method, count = _settings(model)
    if len(rows) < FEWEST:
        st.info(f"{len(rows)} pictures are too few for clusters: {FEWEST} are needed. Choose another class or cell.")
        return
    name = "clusters " + bytes_digest(
        f"{model.id} {model.fingerprint} {dataset.title} {method} {asked} {list(rows['path'])}".encode()
    )
    held = cache.get(name)
    if held is None:
        forward, backward = METHODS[method].usual_cost
        seconds = len(rows) * (forward + 2 * backward + 1) * network_outputs.pass_seconds(model.id)
        if not progress.should_start(name, seconds, button="Find clusters"):
            return
        with progress.bar(name) as bar:
            held = turns.in_turn(lambda track: _maps(rows, asked, method, dataset, model, track), bar, "Maps")
        cache.put(name, held)
    used, maps = held
    rows = rows.iloc[used]
    found = cluster_maps(list(maps), count or None)
    st.caption(
        f"{len(found.members)} clusters of {len(rows)} maps ({METHODS[method].title}, {asked} class)"
        + ("" if count else ", their number where the eigenvalues of the graph's Laplacian leave the largest gap")
        + f"; smallest eigenvalues: {', '.join(f'{value:.2f}' for value in found.eigenvalues)}; seed {found.seed}."
    )
    for cluster in range(len(found.members)):
        _cluster(cluster, found, rows, dataset)


def _chosen(kept: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The pictures of a class, as the true or as the predicted one, at most 200 of them; and which class is asked about."""
    with st.container(horizontal=True):
        asked = st.segmented_control(
            "Class", ["Predicted", "True"], default="Predicted", required=True, key="asked", help=ASKED, **LINK
        )
        column = asked.lower()
        counts = kept[column].value_counts()
        name = st.selectbox(
            f"{asked} class", counts.index.tolist(), format_func=lambda one: f"{first_name(one)} ({counts[one]})",
            key=f"clusters of {column}", **LINK,
        )  # fmt: skip
    rows = kept[kept[column] == name]
    if len(rows) > MOST:
        st.caption(f"The first {MOST} of {len(rows):,} pictures.")
    return rows.head(MOST), column


ASKED = (
    "Predicted: all that was given this name, rightly or not. True: all that is of the class. The maps explain that class."
)


def _settings(model: ExplainableModel) -> tuple[str, int]:
    quick = [id for id, method in METHODS.items() if method.family in ("cam", "gradient") and method.misfit(model) is None]
    with st.container(horizontal=True):
        method = st.selectbox(
            "Method", quick, quick.index("hires_cam") if "hires_cam" in quick else 0,
            format_func=lambda id: METHODS[id].title, key="clusters by", **LINK,
        )  # fmt: skip
        count = st.number_input("Clusters (0: as many as there seem to be)", 0, 12, 0, key="clusters", **LINK)
    if count == 1:
        st.caption("One cluster is no grouping; taken as 0.")
    return method, 0 if count == 1 else count


def _maps(
    rows: pd.DataFrame, asked: str, method: str, dataset: Dataset, model: ExplainableModel, track
) -> tuple[list[int], np.ndarray]:
    """Which of the pictures can be read, and their maps, each made small."""
    used, maps = [], []
    for place in track(range(len(rows))):
        row = rows.iloc[place]
        try:
            picture = dataset.open(row["path"])
        except BadPicture:
            continue
        found = explain(model, picture, method, target=int(row[f"{asked}_index"]))
        used.append(place)
        maps.append(small_map(found.heatmap))
    return used, np.stack(maps)


def _cluster(number: int, found: Clusters, rows: pd.DataFrame, dataset: Dataset) -> None:
    members = rows.iloc[found.members[number]]
    wrong = (members["true"] != members["predicted"]).mean()
    with st.container(border=True):
        st.markdown(f"**Cluster {number + 1}**: {len(members)} pictures, {wrong:.0%} wrong")
        with st.container(horizontal=True, gap="small"):
            with st.container(width=150):
                st.image(_mean(found.means[number]), width=140, output_format="PNG", alt=f"Mean map of cluster {number + 1}")
                st.caption("Mean map")
            for row in members.head(MEMBERS).itertuples():
                with st.container(width=110):
                    display.thumbnail(dataset, row.path, f"{row.path}: {row.true}, called {row.predicted}")
                    st.caption(f"{first_name(row.predicted)} {row.confidence:.0%}")
        with st.expander("All members"):
            st.dataframe(members[["path", "true", "predicted", "confidence"]], hide_index=True)


def _mean(grid: np.ndarray) -> bytes:
    """A mean map on its own grid, in colours of its own."""
    from PIL import Image

    largest = float(np.abs(grid).max()) or 1.0
    signed = bool((grid < -0.05 * largest).any())
    scale = rendering.Scale(-largest if signed else 0.0, largest, "red-blue" if signed else "viridis", signed, "")
    return rendering.encoded(Image.fromarray(scale.colours(grid)).resize((280, 280), Image.Resampling.NEAREST), "PNG")
