"""The upper part of the page Model comparison: the question, the networks' answers, and a column for each."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import streamlit as st

from xai_core.analysis import compare_models
from xai_core.analysis.compare_models import Answer
from xai_core.app.shared import (
    cache,
    loaded_models,
    network_outputs,
    page_links,
    page_work,
    picture_viewer,
    variant_form,
    widgets,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.network_choice import PLANTED, UNTRAINED, Network
from xai_core.app.shared.page_work import PageWork, Part
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution import variants
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown
from xai_core.core.cache_key import array_digest, run_key, text_digest
from xai_core.core.runtime import Track
from xai_core.data.label_matching import first_name
from xai_core.data.samples import SAMPLES
from xai_core.data.world.planted import MARKED
from xai_core.explanation import rendering
from xai_core.explanation.result import Explanation
from xai_core.models.card import IMAGENET
from xai_core.models.loading import imagenet_classes
from xai_core.models.zoo.catalog import find_card

LINKED = "networks"  # the word by which the page's maps are linked
COLUMN = 230  # pixels: width of a column; five fit on a laptop's screen
LOADING_SECONDS = 0.5  # assumed for loading one network


class NetworkQuestion(NamedTuple):
    """What all networks are asked.

    method     the name of a method, with its default options, or of a variant
    target     the WordNet id or the name of a class; None: each network's own top class
    reference  the sample to which the similarity is explained; None: a class is explained
    words      the question for the heading
    """

    method: str
    target: str | None
    reference: str | None
    words: str


OWN_TOP, ONE_CLASS, SIMILAR = "Own top class", "One class", "Similarity"
QUESTION = (
    "Own top class: why each network predicts what it predicts. One class: the same class for all networks, matched by "
    "its name. Similarity: why the picture is similar to another one; networks without classes can answer this too."
)


def question(networks: Sequence[Network]) -> NetworkQuestion:
    """What the networks are asked, from the controls in the sidebar."""
    choice = st.container()
    made = variant_form.choose(added=_use_method, networks=networks)  # first, so that a link's variant is among the methods
    with choice:
        method = st.selectbox("Method", [*METHODS, *made], format_func=variants.title_of, key="method", **LINK)
        st.caption(variants.method_of(method).card["Why"])
    kind = st.segmented_control(
        "Question", [OWN_TOP, ONE_CLASS, SIMILAR], default=OWN_TOP, required=True, key="ask", width="stretch", help=QUESTION,
        **LINK,
    )  # fmt: skip
    if kind == ONE_CLASS:
        classes = _classes(networks)
        usual = list(classes).index(TABBY) if TABBY in classes else 0
        label = st.selectbox("Class", list(classes), usual, key="class", **LINK)
        name, target = classes[label]
        return NetworkQuestion(method, target, None, first_name(name))
    if kind == SIMILAR:
        sample = st.selectbox("Similar to", list(SAMPLES), format_func=lambda id: SAMPLES[id].title, key="reference", **LINK)
        return NetworkQuestion(method, None, sample, f"similarity to {SAMPLES[sample].title}")
    return NetworkQuestion(method, None, None, "each network's own top class")


def _use_method(name: str) -> None:
    """Choose a method. For callbacks."""
    st.session_state["method"] = name


def _classes(networks: Sequence[Network]) -> dict[str, tuple[str, str]]:
    """The name of each class of the networks, and what finds it in all of them, by how it is listed. ImageNet's classes are
    found by their WordNet ids and come last; they are listed alone where no network has classes."""
    own = [find_card(network.id).classes for network in networks]
    listed = {name: (name, name) for classes in own if not isinstance(classes, str) for name in classes}
    if IMAGENET in own or not listed:
        names, wnids = imagenet_classes()
        listed |= {f"{names[index]} ({index})": (names[index], wnids[index]) for index in range(len(names))}
    return listed


TABBY = "tabby, tabby cat (281)"


def about_mark(chosen: Chosen, networks: Sequence[Network]) -> None:
    """What the stamp on a drawn picture means to the network of the planted world, if it is among these."""
    planted = any(network.id == PLANTED and network.group != UNTRAINED for network in networks)
    if planted and chosen.scene and chosen.scene.mark:
        st.caption(
            f"The stamp in this picture is a planted shortcut: while *{markdown.escape(find_card(PLANTED).title)}* was "
            f"trained, only pictures of {MARKED}s had it."
        )


def answer_key(network: Network, chosen: Chosen, question: NetworkQuestion) -> str:
    """The key of an answer; it is made without loading the network."""
    variant = variants.parse(question.method)
    return run_key(
        picture=array_digest(np.asarray(chosen.picture)),
        model=network.id,
        weights=loaded_models.weights_of(*network),
        cut=variant.cut,
        target=f"answer {question.target} {question.reference}",
        method=variant.method.id,
        version=variant.method.version,
        options=dict(variant.options),
        seed=0,
        precision=variant.precision or "exact",
    )


def stored_answers(chosen: Chosen, networks: Sequence[Network], question: NetworkQuestion) -> dict[Network, Answer]:
    """The answers that were computed before."""
    answers = {network: cache.get(answer_key(network, chosen, question)) for network in networks}
    return {network: answer for network, answer in answers.items() if answer is not None}


def answers(chosen: Chosen, networks: Sequence[Network], question: NetworkQuestion) -> dict[Network, Answer]:
    """The answers that are stored, after computing the missing ones if that is quick; otherwise a job computes them."""
    missing = [network for network in networks if network not in stored_answers(chosen, networks, question)]
    pixels = array_digest(np.asarray(chosen.picture))
    page_work.complete(
        PageWork(
            # Without the weights: a download that is part of the work changes them.
            text_digest(f"answers {pixels} {[*map(tuple, networks)]} {question}"),
            [_part(network, chosen, question) for network in missing],
            f"Compare {len(networks)} networks on {chosen.name}",
            page_links.MODELS,
            private=widgets.is_upload(),
            button="Compare",
            results=[answer_key(network, chosen, question) for network in networks],
        )
    )
    return stored_answers(chosen, networks, question)


def _part(network: Network, chosen: Chosen, question: NetworkQuestion) -> Part:
    """The answer of one network, which is loaded for it."""
    reference = cache.sample(question.reference) if question.reference else None

    def compute(track: Track) -> None:
        answer = next(
            compare_models.ask_models(
                [network.id], chosen.picture, question.method,
                load=lambda id: loaded_models.model(id, network.checkpoint),
                target=question.target, reference=reference, track=track,
            )
        )  # fmt: skip
        cache.put(answer_key(network, chosen, question), answer)  # the key of the weights that are there after the download

    seconds = _loading(network) + network_outputs.map_seconds(*network, question.method)
    return Part(network.title, seconds, compute)


def _loading(network: Network) -> float:
    return 0.0 if loaded_models.loaded(*network) else LOADING_SECONDS


def columns(
    answers: Mapping[Network, Answer],
    chosen: Chosen,
    common_scale: bool,
    smooth: bool,
    under: Callable[[Network], None],
) -> None:
    """One column for each network, in the order of the answers; `under` shows what stands under a network's map."""
    maps = [answer.explanation for answer in answers.values() if isinstance(answer.explanation, Explanation)]
    majority = _majority([answer.predictions[0].name for answer in answers.values() if answer.predictions])
    if maps:
        picture_viewer.show(chosen.picture, [], "controls of the maps", linked=LINKED)
    with st.container(horizontal=True, gap="small"):
        for network, answer in answers.items():
            with st.container(border=True, width=COLUMN + 34):
                st.markdown(f"**{markdown.escape(network.title)}**")
                card, size = find_card(network.id), f"{answer.nbytes / 1e6:.0f} MB of weights"
                if network.group == UNTRAINED:
                    st.caption(f"Untrained: random weights. {size}.")
                else:
                    licence = card.licence or "not stated"
                    st.caption(markdown.escape(f"{card.supervision.capitalize()}. {size}, licence: {licence}."))
                _map(answer, network.title, maps if common_scale else [], chosen, smooth)
                under(network)
                _predictions(answer, majority)


def _majority(tops: Sequence[str]) -> str | None:
    """The top class of more than half of the networks; None if there is none."""
    return next((name for name in tops if tops.count(name) > len(tops) / 2), None)


def _map(answer: Answer, title: str, maps: Sequence[Explanation], chosen: Chosen, smooth: bool) -> None:
    """The map of one network, on one scale with those of `maps` that have the same sign."""
    explanation = answer.explanation
    if not isinstance(explanation, Explanation):
        st.error(error_text(explanation))
        return
    same_sign = [other for other in maps if other.signed == explanation.signed] or [explanation]
    scale = rendering.scale_of(*same_sign)
    alt = rendering.alt_text(explanation, f"Overlay: {title}")
    picture_viewer.overlay(
        chosen.picture, explanation, scale, alt, f"map of {title}", linked=LINKED, width=COLUMN, smooth=smooth, said=title
    )
    words = f"{scale.words[0].upper()}{scale.words[1:]}"
    height, width = explanation.heatmap.shape
    st.caption(
        f"{markdown.escape(explanation.target)} = {explanation.target_value:.3g}. {height} x {width} cells. {words}. "
        f"Passes: {explanation.passes}; {rendering.duration(explanation.seconds)}."
    )
    for problem in explanation.health:
        st.warning(problem)


def _predictions(answer: Answer, majority: str | None) -> None:
    """The most probable classes of one network; a badge marks a top class other than the majority's."""
    if answer.predictions:
        lines = [f"{top.probability:.1%} {markdown.escape(first_name(top.name))}" for top in answer.predictions]
        differs = majority is not None and answer.predictions[0].name != majority
        badge = " :orange-badge[differs from most]" if differs else ""
        st.markdown(f"**{lines[0]}**{badge}  \n" + "  \n".join(lines[1:]))
    elif isinstance(answer.explanation, Explanation):
        st.caption("This network has no classes: it can only compare pictures.")


def view() -> tuple[bool, bool]:
    """(whether all maps share one colour scale, whether maps are smoothed)."""
    scale = st.segmented_control(
        "Colour scale", ["Each its own", "Common"], default="Each its own", required=True, key="scale", help=SCALE, **LINK
    )
    resolution = st.segmented_control(
        "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", **LINK
    )
    return scale == "Common", resolution == "Smooth"


SCALE = (
    "Common: one colour is the same amount of evidence in every network, in units of its own score. Networks with larger "
    "scores then look stronger; choose 'Each its own' to compare only where the evidence lies."
)
