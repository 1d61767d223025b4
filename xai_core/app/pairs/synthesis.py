"""The section Synthesis of the page Pairs: pictures made by the networks, in jobs that show them while they grow.

The pictures show parts of view 1, so the jobs are private and each session holds its own results.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import streamlit as st
from PIL import Image
from torch import Tensor

from xai_core.analysis import feature_visualisation
from xai_core.analysis.feature_visualisation import Snapshot
from xai_core.app.pairs.views import TILE, Views, is_upload
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
from xai_core.core.cache_key import text_digest
from xai_core.core.errors import XaiError
from xai_core.explanation import rendering
from xai_core.explanation.request import Request
from xai_core.models.explainable import ExplainableModel

FEATURES, DIFFERENCE = "Feature visualisation", "Model difference"
SIMILAR, NORM = "Similarity to view 1", "Activations at a depth"
EVERY = 5  # steps between two pictures on the page


class Synthesis(NamedTuple):
    """A synthesised picture, after `steps` steps with the final `value` of the objective."""

    picture: Image.Image
    steps: int
    value: float


Stage = Synthesis | XaiError
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


def _last(snapshots: Iterator[Snapshot], handle: JobHandle, title: str, done: int, stages: int) -> Synthesis:
    """The last picture; on the way there every few steps one is shown, and `done` to `done` + 1 of `stages` reported."""
    for snapshot in snapshots:
        words = f"{title}: step {snapshot.number} of {snapshot.total}, {snapshot.value:.3g}"
        handle.report(done * snapshot.total + snapshot.number, stages * snapshot.total, words)
        if snapshot.number % EVERY == 0:
            handle.preview(rendering.to_pil(snapshot.picture))
    return Synthesis(rendering.to_pil(snapshot.picture), snapshot.number, snapshot.value)


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


def _features(model: ExplainableModel, views: Views) -> None:
    """A picture that the network finds similar to view 1, or one with large activations at a depth."""
    st.markdown(
        "A picture is changed, at one size after the other, until the network finds it similar to view 1, or until its "
        "activations at a depth are large. It shows what the network responds to, not what is in view 1."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        objective = st.selectbox("Maximise", [SIMILAR, NORM], key="climb", width=220, **LINK)
        depth = None
        if objective == NORM:
            depth = st.selectbox("Depth", model.cuts, index=len(model.cuts) // 2, key=f"{model.id}.depth", width=180, **LINK)
        regularisation = st.selectbox(
            "Regularisation", list(feature_visualisation.REGULARISATIONS), key="regularisation", width=180, **LINK
        )
        octaves = st.slider("Octaves", 1, 10, 10, key="octaves", width=160, help=OCTAVES, **LINK)
        iterations = st.slider("Steps in each", 1, 60, 20, key="iterations", width=160, **LINK)
    view = views.first if objective == SIMILAR else None
    key = _features_key(model, view, depth, octaves, iterations, regularisation)
    seconds = octaves * iterations * forward_passes((1, 1)) * network_outputs.pass_seconds(model, 1)

    def work(handle: JobHandle) -> Synthesis:
        snapshots = feature_visualisation.visualise_features(
            model, reference=view, depth=depth, octaves=octaves, iterations=iterations, regularisation=regularisation
        )
        return _last(snapshots, handle, objective, 0, 1)

    synthesis: Synthesis | None = _result(key, seconds, FEATURES, work)
    if synthesis is None:
        return
    with st.container(horizontal=True, gap="small"):
        if view is not None:
            st.image(views.images()[0], width=TILE, output_format="PNG", caption="view 1")
        st.image(synthesis.picture, width=TILE + 60, output_format="PNG", caption="synthesised, starting from grey")
    st.caption(f"{objective} after {synthesis.steps} steps: {synthesis.value:.3g} (regularisation: {regularisation}).")
    _download(synthesis.picture, f"{model.id}_features.png")


def _features_key(
    model: ExplainableModel, view: Tensor | None, depth: str | None, octaves: int, iterations: int, regularisation: str
) -> str:
    return Request(
        model,
        () if view is None else (model.prepare(view),),
        target=None,
        method="feature visualisation",
        options={"octaves": octaves, "iterations": iterations, "regularisation": regularisation},
        cut=depth or "",
    ).key


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
            st.image(views.images()[0], width=TILE, output_format="PNG", caption="view 1")
            for cut, stage in stages:
                if isinstance(stage, XaiError):
                    st.error(error_text(stage))
                else:
                    words = f"{cut}: relative distance {stage.value:.3f}"
                    st.image(stage.picture, width=TILE, output_format="PNG", caption=words)
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
                    finished[request.key] = _last(snapshots, handle, f"{title}, {cut}", done, total)
                except XaiError as error:
                    finished[request.key] = error
            stages.append((cut, finished[request.key]))
        inversions.append((title, stages))
    return inversions


def _download(picture: Image.Image, name: str) -> None:
    display.downloads({"Picture (PNG)": (name, "image/png", rendering.encoded(picture, "PNG"))})
