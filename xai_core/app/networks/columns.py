"""What the model-comparison page is made of: the choice of networks, one column for each, and where they differ."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import streamlit as st

from xai_core.analysis import compare_models
from xai_core.analysis.compare_models import Answer
from xai_core.app.shared import cache, display, loaded_models, network_outputs, progress, turns
from xai_core.app.shared.network_choice import Network
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.core.cache_key import array_digest, run_key
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.label_matching import first_name
from xai_core.data.samples import SAMPLES
from xai_core.explanation import rendering
from xai_core.explanation.result import Explanation
from xai_core.models.loading import imagenet_classes
from xai_core.models.zoo.catalog import find_card

COLUMN = 230  # pixels; five fit on a laptop's screen


class Asked(NamedTuple):
    """What all networks are asked: a method with its defaults; a class by its WordNet id and its name, a picture to
    resemble, or neither."""

    method: str
    target: str | None
    reference: str | None
    words: str


OWN_TOP, SHARED, SIMILAR = "Own top class", "One class", "Similarity"
QUESTION = (
    "Own top class: why each network says what it says. One class: the same for all, found by its name in each network's "
    "list. Similarity: why the picture resembles another one; networks without classes can answer that too."
)


def question() -> Asked:
    method = st.selectbox("Method", METHODS, format_func=lambda id: METHODS[id].title, key="method", **LINK)
    st.caption(METHODS[method].card["Why"])
    kind = st.segmented_control(
        "Question", [OWN_TOP, SHARED, SIMILAR], default=OWN_TOP, required=True, key="ask", width="stretch", help=QUESTION,
        **LINK,
    )  # fmt: skip
    if kind == SHARED:
        names, wnids = imagenet_classes()
        index = st.selectbox(
            "Class", range(len(names)), 281, format_func=lambda index: f"{names[index]} ({index})", key="class", **LINK
        )
        return Asked(method, wnids[index], None, first_name(names[index]))
    if kind == SIMILAR:
        other = st.selectbox("Similar to", SAMPLES, format_func=lambda id: SAMPLES[id].title, key="reference", **LINK)
        return Asked(method, None, other, f"similarity to {SAMPLES[other].title}")
    return Asked(method, None, None, "each network's own top class")


def key(network: Network, chosen: Chosen, asked: Asked) -> str:
    """Names an answer without loading the network."""
    return "answer " + run_key(
        picture=array_digest(np.asarray(chosen.picture)),
        model=network.id,
        weights=network.checkpoint,
        cut="",
        target=f"{asked.target} {asked.reference}",
        method=asked.method,
        version=METHODS[asked.method].version,
        options={},
        seed=0,
        precision="exact",
    )


def known(chosen: Chosen, wanted: Sequence[Network], asked: Asked) -> dict[Network, Answer]:
    """The answers that are there already."""
    held = {network: cache.get(key(network, chosen, asked)) for network in wanted}
    return {network: answer for network, answer in held.items() if answer is not None}


def ask(chosen: Chosen, missing: Sequence[Network], asked: Asked, name: str) -> None:
    """Ask each network in turn; what is done when the visitor cancels is kept."""
    reference = cache.sample(asked.reference) if asked.reference else None
    with progress.bar(name) as bar:
        for network in missing:
            bar.progress(0.0, text=f"{network.title}: loading")

            def work(track: Track, network: Network = network) -> Answer:
                return next(
                    compare_models.ask_models(
                        [network.id], chosen.picture, asked.method,
                        load=lambda id: loaded_models.model(id, network.checkpoint),
                        target=asked.target, reference=reference, track=track,
                    )
                )  # fmt: skip

            cache.put(key(network, chosen, asked), turns.in_turn(work, bar, network.title))


def columns(found: dict[Network, Answer], chosen: Chosen, common: bool, smooth: bool) -> None:
    """One column for each network: supervised ones first, then self-supervised, then untrained."""
    maps = [one.explanation for one in found.values() if isinstance(one.explanation, Explanation)]
    tops = [one.predictions[0].name for one in found.values() if one.predictions]
    usual = max(tops, key=tops.count) if tops else None
    usual = usual if tops.count(usual) > len(tops) / 2 else None
    with st.container(horizontal=True, gap="small"):
        for network, answer in found.items():
            with st.container(border=True, width=COLUMN + 34):
                _column(network, answer, maps, chosen, common, smooth, usual)


def _column(network, answer: Answer, maps, chosen: Chosen, common: bool, smooth: bool, usual: str | None) -> None:
    st.markdown(f"**{network.title}**")
    trained = find_card(network.id).supervision.capitalize() if network.group != "Untrained" else "Untrained: random weights"
    st.caption(f"{trained}. {answer.nbytes / 1e6:.0f} MB of weights.")
    if not isinstance(answer.explanation, Explanation):
        st.error(str(answer.explanation))
    else:
        one = answer.explanation
        alike = [other for other in maps if other.signed == one.signed] if common else [one]
        scale = rendering.scale_of(*alike)
        display.map_picture(one, chosen, scale, smooth, rendering.alt_text(one, f"Overlay: {network.title}"), COLUMN)
        words = f"{scale.words[0].upper()}{scale.words[1:]}"
        rows, cells = one.heatmap.shape
        st.caption(
            f"{one.target} = {one.target_value:.3g}. {rows} x {cells} cells. {words}. Passes: {one.passes}; "
            f"{rendering.duration(one.seconds)}."
        )
        for trouble in one.health:
            st.warning(trouble)
    if answer.predictions:
        lines = [f"{one.probability:.1%} {first_name(one.name)}" for one in answer.predictions]
        other = usual is not None and answer.predictions[0].name != usual
        mark = " :orange-badge[unlike most]" if other else ""
        st.markdown(f"**{lines[0]}**{mark}  \n" + "  \n".join(lines[1:]))
    elif isinstance(answer.explanation, Explanation):
        st.caption("No classes: this network only says how alike pictures are.")


def view() -> tuple[bool, bool]:
    """(whether all maps share one colour scale, whether maps are smoothed)."""
    scale = st.segmented_control(
        "Colour scale", ["Common", "Each its own"], default="Common", required=True, key="scale", help=SCALE, **LINK
    )
    resolution = st.segmented_control(
        "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", **LINK
    )
    return scale == "Common", resolution == "Smooth"


SCALE = (
    "Common: the same colour is the same amount of evidence in every network, in units of its own score. Networks whose "
    "scores are larger then look stronger; choose 'Each its own' to compare places only."
)


def estimate(missing: Sequence[Network], asked: Asked) -> float:
    """Seconds to ask these networks: loading, and the method's passes."""
    method = METHODS[asked.method]
    forward, backward = method.cost(check_options(method.run, {}))
    return sum(0.5 + (forward + 2 * backward) * network_outputs.pass_seconds(network.id) for network in missing)
