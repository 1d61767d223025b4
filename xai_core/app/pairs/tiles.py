"""The upper part of the page Pairs: how similar two views are, and a tile with two maps for each method."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from xai_core.analysis import findings
from xai_core.app.charts import pairs as charts_pairs
from xai_core.app.pairs.views import LINKED, TILE, Views, is_upload, tensor
from xai_core.app.shared import cache, display, network_outputs, page_links, page_work, picture_viewer, widgets
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.page_work import PageWork, Part
from xai_core.app.shared.widgets import LINK
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import forward_passes
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.core.options import Option
from xai_core.core.runtime import Track
from xai_core.data.samples import SAMPLES
from xai_core.explanation import agreement, rendering, similarity
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.request import Request, joint_key
from xai_core.explanation.result import Explanation
from xai_core.explanation.similarity import Similarity
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs import reference
from xai_core.pairs.augment import Augmentation
from xai_core.pairs.catalog import CLASS, PAIR_METHODS
from xai_core.pairs.evaluate import raw
from xai_core.pairs.explain import (
    PairExplanation,
    PairSimilarity,
    answer_pair,
    ask_pair,
    augmented_views,
    normalised,
    pair_request,
    usual_options,
)
from xai_core.pairs.metrics import full_size

DEFAULT = ["grad_cam", "interaction_cam_mean", "input_x_gradient"]
Results = Mapping[str, PairExplanation | XaiError]  # by the id of the method


class PairSettings(NamedTuple):
    """The methods with their options, by id, and what they share: the similarity, the cut, the seed, and whether maps are
    made behind the network's normalisation."""

    methods: Mapping[str, Mapping[str, Any]]
    similarity: Similarity
    cut: str
    seed: int
    normalised: bool = False


PIXELS, NORMALISED = "Pixels in [0, 1]", "Normalised values"


class AskedPair(NamedTuple):
    """What maps are asked of: the network and both views, in the space of the settings."""

    model: ExplainableModel
    first: Tensor
    second: Tensor


def asked(model: ExplainableModel, views: Views, settings: PairSettings) -> AskedPair:
    """The network and the views; with `normalised` the network without its normalisation, and normalised views."""
    if not settings.normalised:
        return AskedPair(model, views.first, views.second)
    return AskedPair(model.in_normalised_space(), normalised(model, views.first), normalised(model, views.second))


COSINE, DOT, INFONCE, BARLOW, CONTRAST = "Cosine", "Dot product", "InfoNCE", "Cross-correlation", "Nearer than"
SIMILARITY = (
    "Cosine: of the two embeddings. Dot product: of the two embeddings. InfoNCE: the negative of the contrastive loss, with "
    "the other samples as negatives. Cross-correlation: the measure of Barlow Twins over the samples. Nearer than: the "
    "cosine minus the cosine to a picture of your choice."
)


def choose_similarity(model: ExplainableModel, name: str) -> Similarity:
    """The similarity that is explained. The bundled samples are the negatives, except those in the pair called `name`."""
    choice = st.selectbox("Similarity", [COSINE, DOT, INFONCE, BARLOW, CONTRAST], key="similarity", help=SIMILARITY, **LINK)
    others = [sample for sample in SAMPLES if sample not in name]

    def embeddings(samples: Sequence[str]) -> Tensor:
        return torch.cat([network_outputs.embedding(model, cache.sample(sample)) for sample in samples])

    if choice == CONTRAST:
        negative = st.selectbox("Negative", others, format_func=lambda id: SAMPLES[id].title, key="negative", **LINK)
        return similarity.Contrast(embeddings([negative]))
    if choice == INFONCE:
        temperature = st.slider("Temperature", 0.02, 1.0, 0.1, 0.02, key="temperature", **LINK)
        return similarity.InfoNCE(embeddings(others), temperature)
    if choice == BARLOW:
        return similarity.CrossCorrelation(embeddings(list(SAMPLES)))
    return similarity.DotProduct() if choice == DOT else similarity.COSINE


def title(method: str) -> str:
    """The title of a method for pairs, a method for classes, or a control, by its id."""
    if method.startswith(CLASS):
        return f"{METHODS[method.removeprefix(CLASS)].title} (a method for classes)"
    return PAIR_METHODS[method].title if method in PAIR_METHODS else method


def settings(model: ExplainableModel, similarity: Similarity) -> PairSettings:
    """The methods and the options that each declares."""
    fitting = [id for id, method in PAIR_METHODS.items() if method.misfit(model) is None]
    fitting += [CLASS + id for id, method in METHODS.items() if method.misfit(model) is None]
    methods = st.multiselect("Methods", fitting, DEFAULT, format_func=title, key="pair_methods", help=METHODS_HELP, **LINK)
    options: dict[str, dict[str, Any]] = {}
    space = PIXELS
    if not model.network.normalises:
        st.caption("Space of the maps: pixels in [0, 1]. This network has no normalisation, so there is no other one.")
    else:
        space = st.segmented_control(
            "Space of the maps", [PIXELS, NORMALISED], default=PIXELS, required=True, key="space", help=SPACE, **LINK
        )
    usual = {id: usual_options(model, id) for id in methods}
    with st.expander("Options"):
        cut = widgets.target_layer(model)
        seed = st.number_input("Seed of the methods", 0, 2**31 - 1, 0, key="seed", **LINK)
        for id in methods:
            declared = () if id.startswith(CLASS) else PAIR_METHODS[id].options()
            if declared:
                st.markdown(f"**{title(id)}**")
            options[id] = {option.name: _control(model, id, option, usual[id]) for option in declared}
            if usual[id]:
                told = ", ".join(f"{name} {value:,}" for name, value in usual[id].items())
                st.caption(f"Published for {markdown.escape(model.title)}: {told}. These are its defaults here.")
    return PairSettings(options, similarity, cut, seed, space == NORMALISED)


def _control(model: ExplainableModel, method: str, option: Option, usual: Mapping[str, Any]) -> Any:
    """The control of an option. Where the model's card has another default than the method, it has a key of its own, so
    that a value chosen for one network is not taken for the other's default."""
    if option.name not in usual:
        return widgets.control(f"pair.{method}", option)
    return widgets.control(f"{model.id}.pair.{method}", replace(option, default=usual[option.name]))


SPACE = (
    "Whether maps are made of pixels in [0, 1] or of the values behind the network's normalisation, as in the published "
    "tables: covered or deleted pixels are then the mean colour instead of black. The similarity is the same in both."
)


METHODS_HELP = (
    "Methods made for pairs come first. Methods for classes can be used too: for each view they explain what makes it "
    "similar to the other view."
)


def heading(model: ExplainableModel, views: Views, similarity: Similarity, augmentation: Augmentation) -> list[str]:
    """How similar the views are, and where that lies among random pairs. Returns the keys of both results."""
    request = pair_request(model, views.first, views.second, similarity=similarity).computing("similarity of views")
    value = cache.get_or_compute(
        request.key, lambda: ask_pair(model, views.first, views.second, similarity=similarity).value
    )
    random_pairs = Request(
        model, (), PairSimilarity(similarity), method="random pairs of the samples", options={"recipe": augmentation.key}
    )
    pairs = cache.get_or_compute(random_pairs.key, lambda: _random_pairs(model, augmentation, similarity))
    st.markdown(f"#### {similarity.words[0].upper()}{similarity.words[1:]}: **{value:.3f}**")
    below = pairs.below(value)
    left, right = st.columns([3, 2])
    with left:
        display.chart(
            charts_pairs.among_random_pairs(pairs, value, similarity.words), width="stretch", key="random",
            alt=f"The {similarity.words} of this pair is {value:.3f}, higher than {below:.0%} of random pairs of two "
            "pictures.",
        )  # fmt: skip
    right.caption(
        f"More similar than **{below:.0%}** of {len(pairs.different)} random pairs of views of *two* sample pictures, and "
        f"than **{pairs.below(value, same=True):.0%}** of {len(pairs.same)} random pairs of views of *one* sample picture. "
        "The random views are augmented with the same settings."
    )
    if not model.network.projects:
        right.caption("This network has no projection head: its pooled features are used as the embedding.")
    return [request.key, random_pairs.key]


def _random_pairs(model: ExplainableModel, augmentation: Augmentation, similarity: Similarity) -> reference.RandomPairs:
    """Random pairs of the sample pictures."""
    pictures, each = [tensor(cache.sample(name)) for name in SAMPLES], 4
    return reference.random_pairs(model, pictures, augmentation, each=each, similarity=similarity)


def requests(model: ExplainableModel, views: Views, settings: PairSettings) -> dict[str, Request]:
    """The request for each method, by its id."""
    asks = asked(model, views, settings)
    return {
        method: pair_request(
            *asks, method,
            similarity=settings.similarity, cut=settings.cut, seed=settings.seed, options=options,
        )
        for method, options in settings.methods.items()
    }  # fmt: skip


def _estimate(request: Request) -> float:
    """Estimated seconds to answer a request; a method for classes is computed for each view."""
    by_class = request.method.startswith(CLASS)
    method = METHODS[request.method.removeprefix(CLASS)] if by_class else PAIR_METHODS[request.method]
    passes = forward_passes(method.passes(request.options, request.model.recipe.input_size)) * (2 if by_class else 1)
    return network_outputs.pass_seconds(request.model, passes)


def results(
    model: ExplainableModel, views: Views, settings: PairSettings, above: Sequence[str]
) -> dict[str, PairExplanation | XaiError]:
    """The stored results of the methods, after computing the missing ones if that is quick; otherwise a job does. `above`
    are the keys of the results in the heading, which are computed anew together with the maps."""
    by_method = requests(model, views, settings)
    missing = [request for request in by_method.values() if cache.get(request.key) is None]

    def part(request: Request) -> Part:
        def compute(track: Track) -> None:
            result: PairExplanation | XaiError
            question = ask_pair(*asked(model, views, settings), similarity=settings.similarity, cut=settings.cut)
            try:
                passed: dict[str, Tensor] = {}
                if settings.normalised and request.method == "pixel_invariance":
                    passed = augmented_views(model, question, views.first, request.options, request.seed, track)
                result = answer_pair(request, question, track, passed)
            except XaiError as error:
                result = error
            cache.put(request.key, result)

        return Part(title(request.method), _estimate(request), compute)

    page_work.complete(
        PageWork(
            joint_key("pair", by_method.values()),
            [part(request) for request in missing],
            f"Explain the pair {views.name} by {page_work.counted(len(by_method), 'method')}",
            page_links.PAIRS,
            private=is_upload(),
            results=[*above, *(request.key for request in by_method.values())],
        )
    )
    stored = {method: cache.get(request.key) for method, request in by_method.items()}
    return {method: result for method, result in stored.items() if result is not None}


def finding(results: Results, views: Views) -> None:
    """A sentence above the maps: which lies most in what both views show, and which are most alike in view 1."""
    maps = {title(method): result for method, result in results.items() if not isinstance(result, XaiError)}
    sentences, geometry = [], views.geometry
    if geometry is not None:
        size = size_of(views.first)
        seen = [geometry.overlap(view, size) for view in (1, 2)]
        shares = {
            name: float(np.mean([_share(own, part) for own, part in zip(both, seen, strict=True) if own is not None]))
            for name, both in maps.items()
        }
        sentences.append(findings.of_overlap(shares, float(torch.stack(seen).float().mean())))
    if len(maps) > 1:
        first = [both[0] for both in maps.values()]
        sentences.append(findings.of_agreement(list(maps), agreement.agreement(first), "Rank correlation in view 1"))
    words = " ".join(filter(None, sentences))
    if words:
        display.finding(words)


def _share(explanation: Explanation, part: Tensor) -> float:
    """The share of a map's positive values in a part (H, W) of its view; NaN where it has none."""
    positive = full_size(raw(explanation), size_of(part)).clamp(min=0)
    return float((positive * part).sum() / positive.sum()) if positive.any() else math.nan


def tiles(results: Results, views: Views, smooth: bool) -> None:
    """A tile for each method: both maps side by side, on one scale; above them what zooms the maps of each view."""
    if not all(isinstance(result, XaiError) for result in results.values()):
        with st.container(horizontal=True, gap="medium"):
            for linked, view in zip(LINKED, views.images(), strict=True):
                with st.container(width=2 * TILE + 60):
                    st.markdown(f"**Maps of {linked}**")
                    picture_viewer.show(view, [], f"controls of {linked}", linked=linked)
    with st.container(horizontal=True, gap="small"):
        for method, result in results.items():
            with st.container(border=True, width=2 * TILE + 60):
                st.markdown(f"**{title(method)}**")
                if isinstance(result, XaiError):
                    st.error(error_text(result))
                else:
                    both_maps(result, views, smooth, title(method))


def both_maps(explanations: PairExplanation, views: Views, smooth: bool, name: str) -> None:
    """The maps of both views side by side, on one scale; some methods have a single map, of view 1. `name` is that of the
    method, or of the network where several are asked: what their values are said to be of."""
    maps = [explanation for explanation in explanations if explanation is not None]
    scale = rendering.scale_of(*maps)
    with st.container(horizontal=True, gap="small"):
        for linked, explanation, view in zip(LINKED, maps, views.images(), strict=False):
            alt = rendering.alt_text(explanation, linked.capitalize())
            # A network that takes one size sees the view at that size.
            seen = view if view.size == explanation.picture_size else view.resize(explanation.picture_size)
            with st.container(width=TILE):
                picture_viewer.overlay(
                    seen, explanation, scale, alt, f"{name}, {linked}", linked=linked, width=TILE, smooth=smooth,
                    said=f"{name}, {linked}",
                )  # fmt: skip
    rows, columns = maps[0].heatmap.shape
    words = f"{scale.words[0].upper()}{scale.words[1:]}"
    only = " This method has one map, of view 1." if len(maps) == 1 else ""
    st.caption(f"{rows} x {columns} cells. {words}.{only} Passes for each view: {maps[0].passes}.")
    for problem in dict.fromkeys(problem for explanation in maps for problem in explanation.health):
        st.warning(problem)
