"""The upper part of the pairs page: how alike two views are, and a tile of two maps for each method."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import streamlit as st
import torch
from torch import Tensor

from xai_core.app.charts import pairs as charts_pairs
from xai_core.app.pairs.views import TILE, Two, tensor
from xai_core.app.shared import cache, display, network_outputs, progress, turns, widgets
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import XaiError
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.samples import SAMPLES
from xai_core.explanation import rendering, similarity
from xai_core.explanation.request import Request
from xai_core.explanation.result import Explanation
from xai_core.explanation.similarity import Similarity
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs import reference
from xai_core.pairs.augment import Augmentation
from xai_core.pairs.catalog import CLASS, PAIR_METHODS
from xai_core.pairs.explain import PairExplanation, answer_pair, ask_pair, pair_request

DEFAULT = ["grad_cam", "interaction_cam_mean", "input_x_gradient"]


class Asked(NamedTuple):
    """What is asked of the two views: methods with their options, by name, and everything they share."""

    methods: Mapping[str, Mapping[str, Any]]
    similarity: Similarity
    cut: str
    seed: int


COSINE, DOT, INFONCE, BARLOW, CONTRAST = "Cosine", "Dot product", "InfoNCE", "Cross-correlation", "Nearer than"
SIMILARITY = (
    "Cosine of the two embeddings; their dot product; InfoNCE: the contrastive loss, turned round, with the other samples "
    "as negatives; cross-correlation: Barlow Twins' measure over the samples; nearer than: the cosine less that to "
    "a picture of your choice."
)


def measure(model: ExplainableModel, own: str) -> Similarity:
    """What 'alike' means; negatives and banks are the bundled samples."""
    chosen = st.selectbox("Similarity", [COSINE, DOT, INFONCE, BARLOW, CONTRAST], key="similarity", help=SIMILARITY, **LINK)
    others = [name for name in SAMPLES if name not in own]

    def bank(names: Sequence[str]) -> Tensor:
        return torch.cat([network_outputs.embedding(model, cache.sample(name)) for name in names])

    if chosen == CONTRAST:
        negative = st.selectbox("Negative", others, format_func=lambda id: SAMPLES[id].title, key="negative", **LINK)
        return similarity.Contrast(bank([negative]))
    if chosen == INFONCE:
        heat = st.slider("Temperature", 0.02, 1.0, 0.1, 0.02, key="temperature", **LINK)
        return similarity.InfoNCE(bank(others), heat)
    if chosen == BARLOW:
        return similarity.CrossCorrelation(bank(list(SAMPLES)))
    return similarity.DotProduct() if chosen == DOT else similarity.COSINE


def title(name: str) -> str:
    if name.startswith(CLASS):
        return f"{METHODS[name.removeprefix(CLASS)].title} (of the class methods)"
    return PAIR_METHODS[name].title if name in PAIR_METHODS else name


def methods(model: ExplainableModel, measured: Similarity) -> Asked:
    """The methods, with the options that each declares."""
    fitting = [name for name, one in PAIR_METHODS.items() if one.misfit(model) is None]
    fitting += [CLASS + name for name, one in METHODS.items() if one.misfit(model) is None]
    chosen = st.multiselect("Methods", fitting, DEFAULT, format_func=title, key="pair_methods", help=METHODS_HELP, **LINK)
    cut = model.network.cut_name(None)
    options: dict[str, dict[str, Any]] = {}
    with st.expander("Options"):
        cut = st.selectbox(
            "Target layer (cut)", model.cuts, index=model.cuts.index(cut), key=f"{model.id}.cut", help=widgets.CUT, **LINK
        )
        seed = st.number_input("Seed of the methods", 0, 2**31 - 1, 0, key="seed", **LINK)
        for name in chosen:
            if name.startswith(CLASS):
                options[name] = check_options(METHODS[name.removeprefix(CLASS)].run, {})
                continue
            method = PAIR_METHODS[name]
            named = replace(method, id=f"pair.{name}")
            if method.options():
                st.markdown(f"**{method.title}**")
            options[name] = {one.name: widgets.control(named, one) for one in method.options()}
    return Asked(options, measured, cut, seed)


METHODS_HELP = (
    "Methods made for pairs come first. Those for classes serve too: each view is asked what makes it similar to the other."
)


def heading(model: ExplainableModel, two: Two, measured: Similarity, how: Augmentation) -> float:
    """How alike the views are, and where that lies among random pairs."""
    value = cache.get_or_compute(
        f"pair value {model.fingerprint} {two.key} {measured.key}",
        lambda: ask_pair(model, two.first, two.second, similarity=measured).value,
    )
    pairs = cache.get_or_compute(
        f"random pairs {model.fingerprint} {how.key} {measured.key}", lambda: _random(model, how, measured)
    )
    st.markdown(f"#### {measured.words[0].upper()}{measured.words[1:]}: **{value:.3f}**")
    above = pairs.below(value)
    left, right = st.columns([3, 2])
    chart = charts_pairs.among_random_pairs(pairs, value, measured.words)
    left.altair_chart(
        chart, width="stretch", key="random",
        alt=f"This pair's {measured.words} is {value:.3f}: above {above:.0%} of random pairs of two pictures.",
    )  # fmt: skip
    right.caption(
        f"More alike than **{above:.0%}** of {len(pairs.different)} random pairs of views of *two* sample pictures, and "
        f"than **{pairs.below(value, same=True):.0%}** of {len(pairs.same)} of views of *one*, drawn by the same recipe."
    )
    if model.network.project is None:
        right.caption("This network comes without a projection head: its pooled features stand in for the embedding.")
    return value


def _random(model: ExplainableModel, how: Augmentation, measured: Similarity) -> reference.RandomPairs:
    """Random pairs of the sample pictures; also learns how long one pass takes."""
    pictures, each = [tensor(cache.sample(name)) for name in SAMPLES], 4
    began = time.perf_counter()
    found = reference.random_pairs(model, pictures, how, each=each, similarity=measured)
    network_outputs.note_pass_seconds(model.id, (time.perf_counter() - began) / (len(pictures) * each))
    return found


def key(model: ExplainableModel, two: Two, name: str, asked: Asked) -> str:
    return request(model, two, name, asked).key


def request(model: ExplainableModel, two: Two, name: str, asked: Asked) -> Request:
    return pair_request(
        model, two.first, two.second, name,
        similarity=asked.similarity, cut=asked.cut, seed=asked.seed, options=asked.methods.get(name, {}),
    )  # fmt: skip


def estimate(model: ExplainableModel, names: Sequence[str], asked: Asked) -> float:
    """Seconds for these methods; those for classes are asked about each view."""
    total = 0
    for name in names:
        by_class = name.startswith(CLASS)
        method = METHODS[name.removeprefix(CLASS)] if by_class else PAIR_METHODS[name]
        options = asked.methods[name] if by_class else method.checked(asked.methods[name])
        forward, backward = method.cost(options)
        total += (forward + 2 * backward) * (2 if by_class else 1)
    return total * network_outputs.pass_seconds(model.id)


def explained(model: ExplainableModel, two: Two, asked: Asked, by_link: bool) -> dict[str, PairExplanation | XaiError]:
    """The result of each method; what is missing is computed now if it is quick or asked for."""
    found = {name: cache.get(key(model, two, name, asked)) for name in asked.methods}
    missing = [name for name, one in found.items() if one is None]
    run = f"pair {bytes_digest(' '.join(key(model, two, name, asked) for name in missing).encode())[:12]}"
    if missing and progress.should_start(run, estimate(model, missing, asked), by_link):
        question = ask_pair(model, two.first, two.second, similarity=asked.similarity, cut=asked.cut)
        with progress.bar(run) as bar:
            for name in missing:

                def work(track: Track, name: str = name) -> PairExplanation | XaiError:
                    try:
                        return answer_pair(request(model, two, name, asked), question, track)
                    except XaiError as error:
                        return error

                found[name] = turns.in_turn(work, bar, title(name))
                cache.put(key(model, two, name, asked), found[name])
    return {name: one for name, one in found.items() if one is not None}


def tiles(found: Mapping[str, PairExplanation | XaiError], two: Two, smooth: bool) -> None:
    """Both maps of each method beside each other, on one scale."""
    with st.container(horizontal=True, gap="small"):
        for name, result in found.items():
            with st.container(border=True, width=2 * TILE + 60):
                st.markdown(f"**{title(name)}**")
                if isinstance(result, XaiError):
                    st.error(str(result))
                else:
                    both_maps([one for one in result if one is not None], two, smooth)


def both_maps(maps: Sequence[Explanation], two: Two, smooth: bool, width: int = TILE) -> None:
    scale = rendering.scale_of(*maps)
    with st.container(horizontal=True, gap="small"):
        for number, (one, view) in enumerate(zip(maps, two.shown(), strict=False), start=1):
            alt = rendering.alt_text(one, f"View {number}")
            display.map_picture(one, Chosen(view, f"view {number}", None, ""), scale, smooth, alt, width)
    rows, columns = maps[0].heatmap.shape
    words = f"{scale.words[0].upper()}{scale.words[1:]}"
    only = " One map in all, of view 1." if len(maps) == 1 else ""
    st.caption(f"{rows} x {columns} cells. {words}.{only} Passes a view: {maps[0].passes}.")
    for trouble in dict.fromkeys(trouble for one in maps for trouble in one.health):
        st.warning(trouble)
