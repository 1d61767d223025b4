"""What the model-comparison page is made of: the choice of networks, one column for each, and where they differ."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import streamlit as st

from xai_core.analysis import compare_models
from xai_core.analysis.compare_models import Answer
from xai_core.app.shared import cache, loaded_models
from xai_core.app.shared.method_tiles import picture
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
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards, find_card

COLUMN = 230  # pixels; five fit on a laptop's screen
MOST = 6


class Network(NamedTuple):
    """A choice: a model of the catalogue with one of its checkpoints, or its untrained twin."""

    id: str
    checkpoint: str

    @property
    def title(self) -> str:
        card = find_card(self.id)
        if self.checkpoint == loaded_models.RANDOM:
            return f"{card.title}, untrained"
        return card.title if len(card.checkpoints) == 1 else f"{card.title} {self.checkpoint}"

    @property
    def ready(self) -> bool:
        found = [one for one in find_card(self.id).checkpoints if one.id == self.checkpoint]
        return not found or locate.find(found[0]) is not None

    @property
    def group(self) -> str:
        """What the columns are grouped by."""
        if self.checkpoint == loaded_models.RANDOM:
            return "Untrained"
        return "Self-supervised" if "self-supervised" in find_card(self.id).supervision else "Supervised"


def choices() -> list[Network]:
    """Every checkpoint of every model, then the untrained twins."""
    every = [Network(card.id, one.id) for card in cards().values() for one in card.checkpoints]
    return every + [Network(card.id, loaded_models.RANDOM) for card in cards().values()]


def networks() -> list[Network]:
    """The networks to compare, grouped: supervised, self-supervised, untrained."""
    every = choices()
    ready = [one for one in every if one.ready and one.checkpoint != loaded_models.RANDOM]
    alike = [one for one in ready if find_card(one.id).classes == find_card(ready[0].id).classes]
    default = [*alike[:2], Network(ready[0].id, loaded_models.RANDOM)] if ready else []
    by_title = {one.title: one for one in every}
    chosen = st.multiselect(
        f"Networks (2 to {MOST})", list(by_title), [one.title for one in default], max_selections=MOST, key="networks",
        help=CHOICE, **LINK,
    )  # fmt: skip
    missing = [one for one in map(by_title.get, chosen) if not one.ready]
    if missing:
        st.caption("To be fetched first: " + ", ".join(f"{one.title} ({_megabytes(one)} MB)" for one in missing))
    order = ("Supervised", "Self-supervised", "Untrained")
    return sorted(map(by_title.get, chosen), key=lambda one: order.index(one.group))


CHOICE = (
    "Networks are loaded in turn; the least recently used one leaves when memory is short. An untrained twin has the same "
    "layers with random weights: what its map shares with the trained one comes from the architecture and the picture."
)


def _megabytes(network: Network) -> int:
    return next(one.megabytes for one in find_card(network.id).checkpoints if one.id == network.checkpoint)


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
    held = {network: cache.held(key(network, chosen, asked)) for network in wanted}
    return {network: answer for network, answer in held.items() if answer is not None}


def ask(chosen: Chosen, missing: Sequence[Network], asked: Asked, name: str) -> None:
    """Ask each network in turn; what is done when the visitor cancels is kept."""
    reference = cache.sample(asked.reference) if asked.reference else None
    with cache.progress(name) as bar:
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

            cache.hold(key(network, chosen, asked), cache.gated(work, bar, network.title))


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
        picture(one, chosen, scale, smooth, rendering.alt_text(one, f"Overlay: {network.title}"), COLUMN)
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
    return sum(0.5 + (forward + 2 * backward) * cache.pass_seconds(network.id) for network in missing)
