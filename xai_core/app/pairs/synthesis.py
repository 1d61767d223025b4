"""Pictures made from networks alone, on the pairs page: each grows before the visitor's eyes, and can be stopped."""

import io
from collections.abc import Iterator, Sequence

import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from xai_core.analysis import feature_visualisation
from xai_core.analysis.feature_visualisation import Snapshot
from xai_core.app.pairs.views import TILE, Two
from xai_core.app.shared import cache, display, loaded_models, network_choice, network_outputs, progress, turns
from xai_core.app.shared.widgets import LINK
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.explanation import rendering
from xai_core.models.explainable import ExplainableModel

FEATURES, DIFFERENCE = "Feature visualisation", "Model difference"
SIMILAR, NORM = "Similarity to view 1", "Activations at a depth"
EVERY = 5  # steps between two pictures on the page


class Made(tuple):
    """(the picture, its last snapshot's number of steps and value); kept for all visitors."""

    @property
    def nbytes(self) -> int:
        return 200_000


def section(model: ExplainableModel, two: Two) -> None:
    what = st.segmented_control(
        "Synthesis", [FEATURES, DIFFERENCE], default=FEATURES, required=True, key="synthesis", **LINK
    )
    (features if what == FEATURES else difference)(model, two)


def _grown(snapshots: Iterator[Snapshot], track: Track, slot: DeltaGenerator) -> Made:
    """The last picture, each few steps shown in `slot`."""
    last = next(snapshots)
    for _ in track(range(last.total - 1)):
        last = next(snapshots)
        if last.number % EVERY == 0:
            words = f"step {last.number}: {last.value:.3g}"
            slot.image(rendering.to_pil(last.picture), width=TILE, output_format="PNG", caption=words)
    slot.empty()
    return Made((rendering.to_pil(last.picture), last.number, last.value))


def features(model: ExplainableModel, two: Two) -> None:
    """A picture that excites the network: one that it finds like view 1, or with large activations at a depth."""
    st.markdown(
        "A picture is changed, octave by octave, until the network finds it like view 1, or its activations at a depth are "
        "large. It shows what the network looks for, not what is in view 1."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        objective = st.selectbox("Climb", [SIMILAR, NORM], key="climb", width=220, **LINK)
        depth = None
        if objective == NORM:
            depth = st.selectbox("Depth", model.cuts, index=len(model.cuts) // 2, key=f"{model.id}.depth", width=180, **LINK)
        smoothing = st.selectbox(
            "Regularisation", feature_visualisation.REGULARISATIONS, key="regularisation", width=180, **LINK
        )
        octaves = st.slider("Octaves", 1, 10, 10, key="octaves", width=160, help=OCTAVES, **LINK)
        iterations = st.slider("Steps in each", 1, 60, 20, key="iterations", width=160, **LINK)
    own = two.first if objective == SIMILAR else None
    key = f"synthesis {model.fingerprint} {two.key if own is not None else ''} {depth} {smoothing} {octaves} {iterations}"
    found = cache.get(key)
    if found is None and progress.should_start(
        key, 1.5 * octaves * iterations * network_outputs.pass_seconds(model.id), button="Synthesise"
    ):
        above, slot = st.empty(), st.empty()  # the button that cancels does not move while pictures come and go
        with progress.bar(key, above) as bar:
            options = {"octaves": octaves, "iterations": iterations, "regularisation": smoothing}
            found = turns.in_turn(
                lambda track: _grown(
                    feature_visualisation.visualise_features(model, reference=own, depth=depth, **options), track, slot
                ),
                bar, objective,
            )  # fmt: skip
            cache.put(key, found)
    if found is None:
        return
    picture, steps, value = found
    with st.container(horizontal=True, gap="small"):
        if own is not None:
            st.image(two.shown()[0], width=TILE, output_format="PNG", caption="view 1")
        st.image(picture, width=TILE + 60, output_format="PNG", caption="synthesised from grey")
    st.caption(f"After the last of {steps} steps: {objective.lower()} {value:.3g} (regularisation: {smoothing}).")
    _download(picture, f"{model.id}_features.png")


OCTAVES = "Sizes from small to large, each 1.4 times the one before; those below 32 pixels are left out."


def difference(model: ExplainableModel, two: Two) -> None:
    """The same stages of two networks turned back into pictures."""
    st.markdown(
        "What does each stage of a network still know of view 1? A picture is grown from noise until its activations equal "
        "those of view 1: what it lacks, the stage has forgotten. Two networks side by side, from early to late."
    )
    every = {one.title: one for one in network_choice.choices() if one.ready}
    titles = list(every)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = st.selectbox("First network", titles, 0, key="invert1", width=280, **LINK)
        usual = next((place for place, title in enumerate(titles) if "untrained" in title), 0)
        second = st.selectbox("Second network", titles, usual, key="invert2", width=280, **LINK)
        depths = st.slider("Depths", 1, 5, 3, key="depths", width=120, **LINK)
        steps = st.slider("Steps", 10, 401, 201, key="steps", width=160, **LINK)
    names = [first, second] if first != second else [first]
    base = f"inversion {two.key} {steps}"
    key = f"{base} {names} {depths}"
    finished = cache.get(key)
    seconds = 3.0 * steps * depths * len(names) * network_outputs.pass_seconds(model.id)
    if finished is None and progress.should_start(key, seconds, button="Synthesise"):
        above, slot = st.empty(), st.empty()
        with progress.bar(key, above) as bar:
            finished = turns.in_turn(
                lambda track: _each(names, every, two, depths, steps, base, slot, bar), bar, "Inversion"
            )
            cache.put(key, finished)
    if finished is None:
        return
    for title, row in finished:
        st.markdown(f"**{title}**")
        with st.container(horizontal=True, gap="small"):
            st.image(two.shown()[0], width=TILE, output_format="PNG", caption="view 1")
            for cut, made in row:
                if isinstance(made, XaiError):
                    st.error(str(made))
                else:
                    said = f"{cut}: relative distance {made[2]:.3f}"
                    st.image(made[0], width=TILE, output_format="PNG", caption=said)
    st.caption(
        "The relative distance of activations: 0 is a perfect reconstruction, 1 is as far as no activations at all. Stages "
        "of one name are compared; where networks have none in common, stages at the same share of the way."
    )


def _each(names: Sequence[str], every, two: Two, depths: int, steps: int, base: str, slot, bar) -> list:
    """(title, [(cut, what was made of it)]) of each network; what is done is kept when the rest is cancelled."""
    models = [loaded_models.model(every[title].id, every[title].checkpoint) for title in names]
    cuts = feature_visualisation.common_depths(models, depths)
    total, found = len(cuts) * len(models), []
    for place, (title, model) in enumerate(zip(names, models, strict=True)):
        row = []
        for number, at in enumerate(cuts):
            cut, done = at[place], place * len(cuts) + number

            def track(batches, said=f"{title}, {cut}", done=done):
                batches = list(batches)
                for step, batch in enumerate(batches):
                    bar.progress((done + step / len(batches)) / total, text=f"{said}: step {step} of {len(batches)}")
                    yield batch

            key = f"{base} {model.fingerprint} {cut}"
            made = cache.get(key)
            if made is None:
                try:
                    made = _grown(feature_visualisation.invert(model, two.first, cut, steps=steps), track, slot)
                except XaiError as error:
                    made = error
                cache.put(key, made)
            row.append((cut, made))
        found.append((title, row))
    return found


def _download(picture: Image.Image, name: str) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    display.downloads({"Picture (PNG)": (name, "image/png", buffer.getvalue())})
