"""The section Synthesis of the page Pairs: pictures made by the networks, in jobs that show them while they grow.

The pictures show parts of view 1, so the jobs are private and each session holds its own results.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import streamlit as st
import torch
from PIL import Image
from torch import Tensor

from xai_core.analysis import feature_visualisation
from xai_core.analysis.feature_visualisation import Snapshot, usual_settings
from xai_core.app.pairs.views import TILE, Views, is_upload, picture_and_words
from xai_core.app.shared import (
    display,
    job_view,
    jobs,
    loaded_models,
    network_choice,
    network_outputs,
    page_links,
    server_job,
    session,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.network_choice import UNTRAINED, Network
from xai_core.app.shared.widgets import LINK
from xai_core.attribution.estimates import forward_passes
from xai_core.core import markdown
from xai_core.core.cache_key import text_digest
from xai_core.core.errors import XaiError
from xai_core.data.label_matching import first_name
from xai_core.explanation import rendering
from xai_core.explanation.request import Request
from xai_core.explanation.targets import ClassLogit, ClassProbability
from xai_core.models.explainable import ExplainableModel

FEATURES, DIFFERENCE = "Feature visualisation", "Model difference"
SIMILAR, NORM, CHANNEL = "Similarity to view 1", "Activations at a depth", "One channel at a depth"
DIRECTION, CLASS = "Direction from view 2 to view 1", "Score of a class"
OCTAVE_BY_OCTAVE, SIMONYAN = "Octave by octave", "Class-model picture"
EVERY = 5  # steps between two pictures on the page


class Inverted(NamedTuple):
    """A picture made from a stage's activations, and how far its own are from them."""

    picture: Image.Image
    distance: float


Stage = Inverted | XaiError
Inversion = tuple[str, list[tuple[str, Stage]]]  # a network's title; for each cut its picture


def section(model: ExplainableModel, views: Views) -> None:
    """Feature visualisation, or the same stages of two networks inverted."""
    kind = st.segmented_control(
        "Synthesis", [FEATURES, DIFFERENCE], default=FEATURES, required=True, key="synthesis", **LINK
    )
    if kind == FEATURES:
        _features(model, views)
    else:
        _difference(model, views)


def _last(snapshots: Iterator[Snapshot], handle: JobHandle, title: str, done: int, stages: int) -> Snapshot:
    """The last snapshot; on the way there every few steps one is shown, and `done` to `done` + 1 of `stages` reported."""
    for snapshot in snapshots:
        words = f"{title}: step {snapshot.number} of {snapshot.total}, {snapshot.value:.3g}"
        handle.report(done * snapshot.total + snapshot.number, stages * snapshot.total, words)
        if snapshot.number % EVERY == 0:
            handle.preview(rendering.to_pil(snapshot.picture))
    return snapshot


def _result(key: str, seconds: float, title: str, work: jobs.Work) -> Any:
    """The session's result under `key`; None, with the job that makes it or the button that starts it, if there is none."""
    stored = session.get(key)
    job = jobs.find(key)
    if stored is None and job is not None and job.state == server_job.DONE:
        stored = job.result
        session.put(key, stored)
    if stored is None:
        place = page_links.here(page_links.PAIRS)
        job_view.offer(
            key, seconds, lambda: jobs.start(key, title, work, place, private=True, upload=is_upload()), button="Synthesise",
            kept="Finished stages are kept.",
        )  # fmt: skip
    return stored


class Climb(NamedTuple):
    """What is climbed, and how: everything that a synthesised picture depends on beside the model.

    views     whose embeddings are used: of one, the similarity to it; of two, the direction from the second to the first
    target    the class that is climbed
    channel   of the activations at `depth`; None there: their norm
    settings  of `visualise_features`
    mean      whether it begins with the picture of the mean colour, not with grey and noise
    """

    views: tuple[Tensor, ...] = ()
    target: ClassLogit | None = None
    channel: int | None = None
    depth: str | None = None
    settings: Mapping[str, Any] = {}
    mean: bool = False
    seed: int = 0

    def asked(self, model: ExplainableModel) -> dict[str, Any]:
        """The arguments of `feature_visualisation.objective`."""
        direction = None
        if len(self.views) == 2:
            first, second = (model.embed(view)[0] for view in self.views)
            direction = first - second
        reference = self.views[0] if len(self.views) == 1 else None
        return {
            "target": self.target, "reference": reference, "direction": direction, "channel": self.channel,
            "depth": self.depth,
        }  # fmt: skip

    def key(self, model: ExplainableModel) -> str:
        """The name of the picture."""
        options = {**self.settings, "mean": self.mean, "channel": self.channel}
        views = tuple(model.prepare(view) for view in self.views)
        return Request(model, views, self.target, FEATURES, options, self.depth or "", seed=self.seed).key


class Visualisation(NamedTuple):
    """A synthesised picture after `steps` steps; before and after them the value of what is climbed, and the probability of
    the class that is (None where no class is)."""

    start: Image.Image
    picture: Image.Image
    steps: int
    values: tuple[float, float]
    probabilities: tuple[float, float] | None


def _features(model: ExplainableModel, views: Views) -> None:
    """A picture that has much of what is climbed."""
    st.markdown(
        "A picture is changed, step by step, so that what you choose becomes as large as possible. It shows what the "
        "network responds to. **It is no picture of the data**: networks also respond strongly to pictures that nobody "
        "would take."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        objectives = [SIMILAR, NORM, CHANNEL, DIRECTION, *([CLASS] if model.has_classifier else [])]
        objective = st.selectbox("Maximise", objectives, key="climb", width=240, **LINK)
        climb = _climb(model, views, objective)
    passes = climb.settings["octaves"] * climb.settings["iterations"] * forward_passes((1, 1))
    seconds = passes * network_outputs.pass_seconds(model, 1)
    if climb.mean:
        st.caption(CLASS_MODEL)
    elif usual_settings(model):
        st.caption(_of_study(model))

    def work(handle: JobHandle) -> Visualisation:
        return _visualise(model, climb, objective, handle)

    found: Visualisation | None = _result(climb.key(model), seconds, FEATURES, work)
    if found is None:
        return
    begun = "the mean colour, without random numbers" if climb.mean else f"grey with noise of seed {climb.seed}"
    settings = ", ".join(f"{name} {value}" for name, value in climb.settings.items())
    reached, said = _reached(model, climb, objective, found), f"Start: {begun}. Settings: {settings}."
    with st.container(horizontal=True, gap="small"):
        if climb.views:
            _shown(views.images()[0], "View 1", "view 1", TILE)
        _shown(found.start, f"The start: {begun}", "start", TILE)
        words = f"Synthesised picture: {objective.lower()}"
        _shown(found.picture, words, "synthesised", TILE + 60, f"{words}. {reached} {said}")
    display.finding(reached)
    st.caption(said)
    _download(found.picture, f"{model.id}_features.png")


def _climb(model: ExplainableModel, views: Views, objective: str) -> Climb:
    """What is climbed and how, from the controls."""
    both = (views.first, views.second)
    climb = Climb({SIMILAR: both[:1], DIRECTION: both}.get(objective, ()))
    way = OCTAVE_BY_OCTAVE
    if objective in (NORM, CHANNEL):
        middle = model.cuts[len(model.cuts) // 2]
        first = model.cuts.index(usual_settings(model).get("depth", middle))
        depth = st.selectbox("Depth", model.cuts, index=first, key=f"{model.id}.depth", width=180, **LINK)
        climb = climb._replace(depth=depth)
        if objective == CHANNEL:
            last = feature_visualisation.channels(model, depth) - 1
            key = f"{model.id}.{depth}.channel"
            climb = climb._replace(channel=st.number_input("Channel", 0, last, 0, key=key, width=120, **LINK))
    if objective == CLASS:
        top = network_outputs.ranked(model, model.prepare(views.first))[0].index
        index = st.selectbox(
            "Class", range(len(model.class_names)), index=top, key=f"{model.id}.wanted", width=240, help=CLASS_HELP,
            format_func=lambda index: f"{model.class_name(index)} ({index})", **LINK,
        )  # fmt: skip
        way = st.selectbox("Way", [SIMONYAN, OCTAVE_BY_OCTAVE], key="way", width=220, **LINK)
        climb = climb._replace(target=ClassLogit((index,)))
    if way == SIMONYAN:
        usual = feature_visualisation.CLASS_MODEL
        iterations = st.slider("Steps", 10, 300, usual["iterations"], key="climbed", width=160, **LINK)
        weights = [0.001, 0.003, 0.01, 0.03, 0.1]
        weight = st.select_slider("Weight of the penalty", weights, usual["weight"], key="penalty", width=180, **LINK)
        return climb._replace(settings=usual | {"iterations": iterations, "weight": weight}, mean=True)
    seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="grey", width=120, help="Of the noise in the grey start.", **LINK)
    names = list(feature_visualisation.REGULARISATIONS)
    own = usual_settings(model).get("regularisation")  # such a network has a control of its own, with another default
    regularisation = st.selectbox(
        "Regularisation", names, names.index(own) if own else 0, width=180,
        key=f"{model.id}.regularisation" if own else "regularisation", **LINK,
    )  # fmt: skip
    octaves = st.slider("Octaves", 1, 10, 10, key="octaves", width=160, help=OCTAVES, **LINK)
    iterations = st.slider("Steps in each", 1, 60, 20, key="iterations", width=160, **LINK)
    settings = {"octaves": octaves, "iterations": iterations, "regularisation": regularisation}
    return climb._replace(settings=settings, seed=seed)


def _visualise(model: ExplainableModel, climb: Climb, objective: str, handle: JobHandle) -> Visualisation:
    asked = climb.asked(model)
    start = (
        feature_visualisation.mean_picture(model) if climb.mean else feature_visualisation.grey_picture(model, climb.seed)
    )
    snapshots = feature_visualisation.visualise_features(model, start=start, **asked, **climb.settings)
    last = _last(snapshots, handle, objective, 0, 1)
    both = torch.stack([start, last.picture])

    def values(**asked: Any) -> tuple[float, float]:
        before, after = feature_visualisation.values(model, feature_visualisation.objective(model, **asked), both)
        return before, after

    probabilities = values(target=ClassProbability(climb.target.classes)) if climb.target else None
    return Visualisation(
        rendering.to_pil(start), rendering.to_pil(last.picture), last.number, values(**asked), probabilities
    )


def _reached(model: ExplainableModel, climb: Climb, objective: str, found: Visualisation) -> str:
    """What the climb has reached, in a sentence."""
    before, after = found.values
    if climb.target is None or found.probabilities is None:
        return f"{objective}: from {before:.3g} to {after:.3g} after {found.steps} steps."
    name = first_name(model.class_name(climb.target.classes[0]))
    less, more = found.probabilities
    return (
        f"The logit of {name}: from {before:.3g} to {after:.3g} after {found.steps} steps. Its softmax probability: from "
        f"{less:.1%} to {more:.1%}."
    )


def _of_study(model: ExplainableModel) -> str:
    """The defaults of a network that the study visualised, in words, and why they are those."""
    usual = usual_settings(model)
    return (
        f"Defaults for {markdown.escape(model.title)}: depth {usual['depth']}, regularisation {usual['regularisation']}. "
        "The readme of the study's code (Sammani et al. 2022) states them: SimCLRv2 up to the fourth part of the network "
        "with an L2 penalty, every other network up to the fifth part without it. Parts are counted from the input: of "
        "SimCLRv2 the stem is one part, of the others four, so its fourth part ends at layer3, their fifth at layer1. The "
        "study's code also blurs gradients and penalises total variation in both cases; here one regularisation is used at "
        "a time."
    )


CLASS_HELP = "What is climbed is the logit, before the softmax. Type a name or a number to search."
CLASS_MODEL = (
    "The class-model picture of Simonyan et al. 2013 (arXiv:1312.6034, section 2): from the colour that the network's "
    "normalisation takes for zero, the logit minus a weight times the squared distance from that colour is climbed, at one "
    "size. The paper states no weight, step or number of steps, and lets values leave the range of colours; here they stay "
    "within it."
)
OCTAVES = "Sizes from small to large, each 1.4 times the one before; sizes below 32 pixels are skipped."


def _difference(model: ExplainableModel, views: Views) -> None:
    """The same stages of two networks, each turned back into a picture."""
    st.markdown(
        "How much of view 1 does each stage of a network still represent? Starting from noise, a picture is changed "
        "until its activations equal those of view 1. Details that are missing in the result are lost at that stage. "
        "Two networks side by side, "
        "from early to late stages."
    )
    by_title = {network.title: network for network in network_choice.choices() if network.ready}
    titles = list(by_title)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = st.selectbox("First network", titles, 0, key="invert1", width=280, **LINK)
        untrained = next((place for place, title in enumerate(titles) if by_title[title].group == UNTRAINED), 0)
        second = st.selectbox("Second network", titles, untrained, key="invert2", width=280, **LINK)
        depths = st.slider("Depths", 1, 5, 3, key="depths", width=120, **LINK)
        steps = st.slider("Steps", 10, 401, 201, key="steps", width=160, **LINK)
    networks = [by_title[title] for title in dict.fromkeys((first, second))]
    key = text_digest(f"inversion {views.digest} {networks} {depths} {steps}")
    passes = steps * depths * forward_passes((1, 1))
    seconds = passes * sum(network_outputs.network_seconds(*network, 1) for network in networks)
    finished: dict[str, Stage] = st.session_state.setdefault("inverted stages", {})
    while len(finished) > session.MOST_RESULTS:
        del finished[next(iter(finished))]
    inversions: list[Inversion] | None = _result(
        key, seconds, DIFFERENCE, lambda handle: _invert(networks, views.first, depths, steps, finished, handle)
    )
    if inversions is None:
        return
    for title, stages in inversions:
        st.markdown(f"**{title}**")
        with st.container(horizontal=True, gap="small"):
            _shown(views.images()[0], "View 1", "view 1", TILE)
            for cut, stage in stages:
                if isinstance(stage, XaiError):
                    st.error(error_text(stage))
                else:
                    words = f"{cut}: relative distance {stage.distance:.3f}"
                    _shown(stage.picture, f"{title}, {words}", words, TILE)
    st.caption(
        "Relative distance of the activations: 0 is a perfect reconstruction, 1 is as far away as activations of zero. "
        "Stages with the same name are compared; if the networks share no names, stages at the same relative depth."
    )


def _invert(
    networks: Sequence[Network], view: Tensor, depths: int, steps: int, finished: dict[str, Stage], handle: JobHandle
) -> list[Inversion]:
    """Invert the stages of each network. Each is put into `finished`, so that it stays when the job is cancelled."""
    models = {network.title: loaded_models.model(network.id, network.checkpoint) for network in networks}
    cuts = feature_visualisation.common_depths(list(models.values()), depths)
    total, inversions = len(cuts) * len(models), []
    for place, (title, model) in enumerate(models.items()):
        stages: list[tuple[str, Stage]] = []
        for number, stage_cuts in enumerate(cuts):
            cut, done = stage_cuts[place], place * len(cuts) + number
            request = Request(
                model, (model.prepare(view),), target=None, method="inversion", options={"steps": steps}, cut=cut
            )
            if request.key not in finished:
                try:
                    snapshots = feature_visualisation.invert(model, view, cut, steps=steps)
                    last = _last(snapshots, handle, f"{title}, {cut}", done, total)
                    finished[request.key] = Inverted(rendering.to_pil(last.picture), last.value)
                except XaiError as error:
                    finished[request.key] = error
            stages.append((cut, finished[request.key]))
        inversions.append((title, stages))
    return inversions


def _shown(picture: Image.Image, alt: str, below: str, width: int, caption: str = "") -> None:
    """A picture with words below it, and the button that adds it to the report, there with `caption` or the alt text."""
    with st.container(width=width):
        picture_and_words(picture, alt, below, caption or alt)


def _download(picture: Image.Image, name: str) -> None:
    display.downloads({"Picture (PNG)": (name, "image/png", rendering.encoded(picture, "PNG"))})
