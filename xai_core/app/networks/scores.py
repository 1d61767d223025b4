"""Scores of the networks' maps on the page Model comparison: measured beside the random map, shown under each map."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import streamlit as st

from xai_core.analysis.compare_models import Answer
from xai_core.analysis.scored_maps import CONTROL, in_words, no_better
from xai_core.app.networks.columns import NetworkQuestion, answer_key
from xai_core.app.shared import cache, loaded_models, metric_choice, network_outputs, page_links, page_work, widgets
from xai_core.app.shared.network_choice import Network
from xai_core.app.shared.page_work import PageWork, Part
from xai_core.app.shared.widgets import Chosen
from xai_core.attribution.estimates import forward_passes
from xai_core.core import markdown
from xai_core.core.cache_key import array_digest, text_digest
from xai_core.core.runtime import Track
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import SimilarityTo
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.measure import Measurement, measure_all, total_cost
from xai_core.models.zoo.catalog import find_card

Answers = Mapping[Network, Answer]


class Scoring(NamedTuple):
    """What is measured: the metrics with their options, and the seed of their random numbers."""

    metrics: Mapping[str, Mapping[str, Any]]
    seed: int


def settings() -> Scoring:
    """From the controls in the sidebar; none is chosen at first."""
    return Scoring(*metric_choice.choose([]))


def measured(
    answers: Answers, chosen: Chosen, question: NetworkQuestion, settings: Scoring
) -> dict[Network, dict[str, Measurement]]:
    """The stored measurements by network and metric, after computing the missing ones if that is quick; otherwise a job
    computes them."""
    maps = {network: one.explanation for network, one in answers.items() if isinstance(one.explanation, Explanation)}
    if not settings.metrics or not maps:
        return {}
    parts = []
    for network, explanation in maps.items():
        missing = [name for name in settings.metrics if cache.get(key(network, chosen, question, settings, name)) is None]
        if missing:
            parts.append(_part(network, explanation, chosen, question, settings, missing))
    pixels = array_digest(np.asarray(chosen.picture))
    page_work.complete(
        PageWork(
            text_digest(f"scores of networks {pixels} {[*map(tuple, maps)]} {question} {settings} {chosen.scene}"),
            parts,
            f"Measure {page_work.counted(len(maps), 'map')} of {chosen.name} by "
            f"{page_work.counted(len(settings.metrics), 'metric')}",
            page_links.MODELS,
            private=widgets.is_upload(),
            button="Measure",
        )
    )
    found = {
        network: {name: cache.get(key(network, chosen, question, settings, name)) for name in settings.metrics}
        for network in maps
    }
    return {network: {name: one for name, one in of.items() if one is not None} for network, of in found.items()}


def key(network: Network, chosen: Chosen, question: NetworkQuestion, settings: Scoring, metric: str) -> str:
    """The key of one measurement; it is made without loading the network."""
    scene = repr(chosen.scene) if METRICS[metric].needs & {"box", "scene"} else ""
    options = sorted(settings.metrics[metric].items())
    version = METRICS[metric].version
    answer = answer_key(network, chosen, question)
    return text_digest(f"score {answer} {metric} {version} {options} {settings.seed} {scene}")


def _part(
    network: Network,
    explanation: Explanation,
    chosen: Chosen,
    question: NetworkQuestion,
    settings: Scoring,
    missing: Sequence[str],
) -> Part:
    """Measure one network's map by the missing metrics."""
    metrics = {name: settings.metrics[name] for name in missing}

    def compute(track: Track) -> None:
        model = loaded_models.model(network.id, network.checkpoint)
        target = SimilarityTo(model.embed(cache.sample(question.reference))) if question.reference else None
        for name, metric, measurement in measure_all(
            model, chosen.picture, {question.method: explanation}, metrics,
            target=target, scene=chosen.scene, seed=settings.seed, track=track,
        ):  # fmt: skip
            if name == question.method:
                cache.put(key(network, chosen, question, settings, metric), measurement)

    side = find_card(network.id).checkpoints[0].recipe.input_size
    passes = forward_passes(total_cost(metrics, {question.method: explanation.options}, side=side))
    return Part(network.title, network_outputs.network_seconds(*network[:2], passes), compute)


def show(scores: Mapping[str, Measurement]) -> None:
    """One network's scores, each with the random map's beside it."""
    lines = []
    for name, score in scores.items():
        control = in_words(score.controls.get(CONTROL, np.nan))
        badge = " :orange-badge[no better]" if no_better(METRICS[name], score) else ""
        note = f" ({markdown.escape(score.note)})" if score.note and np.isnan(score.value) else f"; random map {control}"
        lines.append(f"{metric_choice.metric_title(name)} **{in_words(score.value)}**{note}{badge}")
    if lines:
        st.markdown("  \n".join(lines))


def legend(scores: Mapping[Network, Mapping[str, Measurement]]) -> None:
    """How to read the scores, where there are some."""
    if any(scores.values()):
        st.caption(
            "↑ higher is better, ↓ lower is better. Beside each score is that of a random map for the same network, picture "
            "and target; *no better* marks a map that does not beat it. Scores of one network are in its own units: compare "
            "whether maps beat their random map before you compare networks."
        )
