"""One sample of a dataset: maps of its predicted class, true class and their margin; its nearest neighbours; its note."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from xai_core.app.shared import (
    display,
    explanations,
    note_form,
    opened_datasets,
    page_links,
    page_work,
    region_view,
    report_items,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.page_work import PageWork
from xai_core.app.shared.widgets import LINK, MARGIN, Chosen, dataset_picture
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown
from xai_core.core.errors import BadPicture, XaiError
from xai_core.data.datasets import Dataset
from xai_core.data.held_predictions import HeldPredictions
from xai_core.data.label_matching import first_name
from xai_core.data.preprocessing import Prepared
from xai_core.explanation import heatmaps, rendering
from xai_core.explanation.request import Request, joint_key
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import ClassLogit, ClassMargin, Target
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import cards

NEAREST = 5
WIDTH = 240  # pixels: width of a map
SEARCHED = 16 * 2**20  # numbers of all embeddings, up to which all pictures are searched for the nearest
Embeddings = NDArray[np.floating]
OpenNeighbour = Callable[[str], None]


def show(
    held: HeldPredictions,
    path: str,
    dataset: Dataset,
    model: ExplainableModel,
    open_neighbour: OpenNeighbour,
    open_draft: note_form.OpenDraft,
) -> None:
    """Everything about the sample `path`; among the samples in `held` its neighbours are found.

    `open_neighbour` is called with the path of the neighbour to open, `open_draft` as by the form of notes.
    """
    row = held.whole(held.of_names([path])).iloc[0]
    try:
        chosen = Chosen(dataset.open(row["path"]), Path(row["path"]).stem, int(row["true_index"]), "")
    except BadPicture as error:
        st.error(error_text(f"{row['path']}: {error}"))
        return
    right = bool(row["true"] == row["predicted"])
    st.markdown(f"**{markdown.escape(row['path'])}**")
    top_five = ", ".join(
        f"{markdown.escape(first_name(name))} {share:.1%}"
        for name, share in zip(row["top5"], row["top5_probability"], strict=True)
    )
    verdict = (
        "correct"
        if right
        else f"wrong: it is **{markdown.escape(first_name(row['true']))}** ({row['true_probability']:.1%})"
    )
    predicted = markdown.escape(first_name(row["predicted"]))
    st.markdown(f"Predicted **{predicted}** ({row['confidence']:.1%}), {verdict}. Top five: {top_five}.")
    explained(row, chosen, model, origin=page_links.shown(), source=st.session_state["dataset"])
    _nearest(held, row, dataset, open_neighbour)
    note_form.show(dataset, row["path"], open_draft)


def _targets(row: pd.Series[Any], right: bool) -> dict[str, Target]:
    """The targets of the maps, by their headings: both classes and their margin; if they are one class, that class alone."""
    predicted, true = int(row["predicted_index"]), int(row["true_index"])
    name, other = first_name(row["predicted"]), first_name(row["true"])
    if right:
        return {f"Why {name} (correct)": ClassLogit((predicted,))}
    return {
        f"Why {name} (predicted)": ClassLogit((predicted,)),
        f"Why {other} (true)": ClassLogit((true,)),
        f"Why {name} and not {other}": ClassMargin((predicted,), (true,)),
    }


def explained(row: pd.Series[Any], chosen: Chosen, model: ExplainableModel, *, origin: str, source: str) -> None:
    """Maps of the predicted class, the true class and their margin side by side, and a link to the single-image page.

    `row` holds `path`, the names of the classes as `predicted` and `true`, and their indices in the model as
    `predicted_index` and `true_index`. `origin` is the title of the page that shows this, `source` the name of the dataset.
    """
    right = bool(row["true"] == row["predicted"])
    _explanations(row, right, chosen, model, origin, source)
    single = _settings(row, right, model) | dataset_picture(source, row["path"])
    page_links.link(
        page_links.SINGLE, "Open on the page Single image", single, icon=":material/image_search:", origin=origin
    )  # fmt: skip
    if not right:
        _mending_region(row, chosen, model, origin, source)
        page_links.link(
            page_links.SINGLE, "Would it change its mind?", single | {"mind": region_view.HIDE},
            icon=":material/published_with_changes:", origin=origin, help=MIND,
        )  # fmt: skip


MIND = "On the page Single image: the smallest regions that turn or keep the answer, and changes of the picture by sliders."


def _mending_region(row: pd.Series[Any], chosen: Chosen, model: ExplainableModel, origin: str, source: str) -> None:
    """On demand, the smallest region whose hiding turns the wrong answer to the true class."""
    if not st.toggle("Which region must be hidden for the true class?", key="mending region", **LINK):
        return
    search = region_view.usual_search(model, model.prepare(chosen.picture), int(row["true_index"]))
    private = source == opened_datasets.UPLOADED
    page_work.complete(
        PageWork(search.key, region_view.parts([search]), f"Search a region of {chosen.name}", origin, private, "Search")
    )
    region_view.show(search)


def _explanations(
    row: pd.Series[Any], right: bool, chosen: Chosen, model: ExplainableModel, origin: str, source: str
) -> None:
    fitting = [id for id, method in METHODS.items() if method.misfit(model) is None]
    method = st.selectbox(
        "Method", fitting, fitting.index("hires_cam") if "hires_cam" in fitting else 0,
        format_func=lambda id: METHODS[id].title, key="method", **LINK,
    )  # fmt: skip
    requests = requests_for(row, model, chosen.picture, method)
    name = joint_key("sample detail", requests.values())
    title = f"Explain {chosen.name} by {METHODS[method].title}"
    now = page_work.start_now(
        explanations.work(list(requests.values()), name, title, origin, private=source == opened_datasets.UPLOADED)
    )
    computed = explanations.compute_each(list(requests.values()), name, now, st.empty())
    results = {request.key: result for request, result in computed}
    maps = [result for result in results.values() if isinstance(result, Explanation)]
    scale_of = scales(maps)
    with st.container(horizontal=True, gap="small"):
        with st.container(width=WIDTH):
            st.markdown("**The picture**")
            display.picture(chosen.picture, f"{row['path']}, the whole picture", key="sample", width="stretch")
        for heading, request in requests.items():
            with st.container(width=WIDTH):
                st.markdown(f"**{markdown.escape(heading)}**")
                result = results.get(request.key)
                if isinstance(result, XaiError):
                    st.error(error_text(result))
                elif result is not None:
                    _map(result, chosen, scale_of[result.signed])
    if maps:
        scale = scale_of.get(True) or scale_of[False]
        st.caption(
            f"{METHODS[method].title}, values in logits. Colours: {scale.words}. If the method is linear in the target, as "
            "HiResCAM is, the map of the margin is the difference of the maps of the two classes."
        )


def requests_for(row: pd.Series[Any], model: ExplainableModel, picture: Image.Image, method: str) -> dict[str, Request]:
    """The requests for the maps of a sample, by their headings."""
    targets = _targets(row, bool(row["true"] == row["predicted"]))
    prepared = model.prepare(picture)
    return {heading: _request(model, prepared, target, method) for heading, target in targets.items()}


def scales(maps: Sequence[Explanation]) -> dict[bool, rendering.Scale]:
    """The scale of the signed maps of a sample (True) and that of the unsigned ones, so that maps side by side compare."""
    groups = {signed: [explanation for explanation in maps if explanation.signed == signed] for signed in (True, False)}
    return {signed: rendering.scale_of(*group) for signed, group in groups.items() if group}


def _request(model: ExplainableModel, prepared: Prepared, target: Target, method: str) -> Request:
    """The request for one map, with evidence against the target if the method can show it, so that maps are comparable."""
    (request,) = explanations.requests(model, prepared, target, [method])
    return replace(request, options={**request.options, "relu": False}) if "relu" in request.options else request


def _map(result: Explanation, chosen: Chosen, scale: rendering.Scale) -> None:
    image = display.map_image(result, chosen.picture, scale, width=WIDTH)
    st.image(rendering.encoded(image, "PNG"), width=WIDTH, output_format="PNG", alt=rendering.alt_text(result, "Overlay"))
    large = partial(display.map_image, result, chosen.picture, scale, width=2 * WIDTH)
    report_items.add_map(result, large, scale, f"The map of {result.target}", f"map {result.key}")
    place = heatmaps.centre_of_mass_words(result.heatmap)
    st.caption(f"{markdown.escape(result.target)} = {result.target_value:.3g}. Most evidence for it: {place}.")
    for problem in result.health:
        st.warning(problem)


def _settings(row: pd.Series[Any], right: bool, model: ExplainableModel) -> dict[str, str]:
    """The settings that ask the page Single image the same question."""
    settings = {"model": cards()[model.id].title, "method": METHODS[st.session_state["method"]].title}
    weights = f"{model.id}.weights"
    if weights in st.query_params:
        settings[weights] = st.query_params[weights]
    if not right:
        settings |= {"ask": MARGIN} | {
            key: f"{row[column]} ({row[f'{column}_index']})" for key, column in (("a", "predicted"), ("b", "true"))
        }
    return settings


def _nearest(held: HeldPredictions, row: pd.Series[Any], dataset: Dataset, open_neighbour: OpenNeighbour) -> None:
    """The correctly classified pictures whose embeddings are most similar to this one's."""
    st.markdown("**Nearest correctly classified pictures**")
    near = nearest_right(held, row["path"])
    if "embedding" not in row:
        st.caption("These predictions were written without embeddings: `classify --embeddings` stores them.")
        return
    if not len(near):
        st.caption("No other picture of this dataset is classified correctly.")
        return
    if len(held.rows) * len(row["embedding"]) > SEARCHED:
        st.caption(f"Among the pictures of both classes, as there are {len(held.rows):,} in all.")
    own = np.asarray(row["embedding"])
    with st.container(horizontal=True, gap="small"):
        for _, other in near.iterrows():
            with st.container(width=110):
                display.thumbnail(dataset, other["path"], f"{other['path']}, correctly predicted as {other['true']}")
                cosine = _cosine(own, np.asarray(other["embedding"])[None])[0]
                st.caption(f"{markdown.escape(first_name(other['true']))}, cosine {cosine:.2f}")
                display.open_button(other["path"], f"neighbour {other['path']}", open_neighbour, (other["path"],))


def nearest_right(held: HeldPredictions, path: str) -> pd.DataFrame:
    """The correctly classified pictures whose embeddings are most similar to that of a picture, the nearest first, with all
    columns of the file; none where it has no embeddings.

    Where the embeddings of all would be more than SEARCHED numbers, those of its true and its predicted class are searched.
    """
    (place,) = held.places([path]).values()
    own = held.rows[held.rows["place"] == place]
    found = held.whole(own)
    right = held.rows[(held.rows["true"] == held.rows["predicted"]) & (held.rows["place"] != place)]
    if "embedding" not in found or not len(right):
        return found.head(0)
    embedding = np.asarray(found["embedding"].iloc[0])
    if len(held.rows) * len(embedding) > SEARCHED:
        right = right[right["true"].isin([own["true"].iloc[0], own["predicted"].iloc[0]])]
        if not len(right):
            return found.head(0)
    others = np.stack(held.whole(right, ["embedding"])["embedding"].to_list())
    return held.whole(right.iloc[nearest(embedding, others)[:NEAREST]])


def nearest(own: Embeddings, others: Embeddings) -> NDArray[np.intp]:
    """Indices of `others` (n, E), sorted by falling cosine to the embedding `own` (E,)."""
    return np.argsort(-_cosine(own, others), kind="stable")


def _cosine(own: Embeddings, others: Embeddings) -> Embeddings:
    cosines: Embeddings = others @ own / (np.linalg.norm(others, axis=1) * np.linalg.norm(own)).clip(min=1e-12)
    return cosines
