"""One sample: why the predicted class, why not the true one, what tips the scales; and its nearest correct neighbours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.shared import display, explanations, progress, session
from xai_core.app.shared.widgets import LINK, MARGIN, OWN, Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture, XaiError
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.explanation import heatmaps, rendering
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import ClassLogit, ClassMargin, Target
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import cards
from xai_core.review import notes
from xai_core.review.notes import Note

NEAREST = 5
SINGLE = "pages/1_Single_image.py"
WIDTH = 220


def show(kept: pd.DataFrame, row: pd.Series, dataset: Dataset, model: ExplainableModel) -> None:
    """Everything about one sample, below the gallery."""
    try:
        chosen = Chosen(dataset.open(row["path"]), Path(row["path"]).stem, int(row["true_index"]), "")
    except BadPicture as error:
        st.error(f"{row['path']}: {error}")
        return
    right = row["true"] == row["predicted"]
    st.subheader(f"{row['path']}")
    said = ", ".join(
        f"{first_name(name)} {share:.1%}" for name, share in zip(row["top5"], row["top5_probability"], strict=True)
    )
    verdict = "rightly" if right else f"but it is **{first_name(row['true'])}** ({row['true_probability']:.1%})"
    st.markdown(f"Called **{first_name(row['predicted'])}** ({row['confidence']:.1%}), {verdict}. Top five: {said}.")
    explained(row, chosen, dataset, model)
    neighbours, words = st.columns([1.6, 1])
    with neighbours:
        _nearest(kept, row, dataset)
    with words:
        note_form(dataset, row["path"])


def _targets(row: pd.Series, right: bool) -> dict[str, Target]:
    """What is asked: both classes and their margin; of a right answer, its class and its margin over the next."""
    said, true = int(row["predicted_index"]), int(row["true_index"])
    name, other = first_name(row["predicted"]), first_name(row["true"])
    if right:
        return {f"Why {name} (rightly)": ClassLogit((said,))}
    return {
        f"Why {name} (predicted)": ClassLogit((said,)),
        f"Why {other} (true)": ClassLogit((true,)),
        f"Why {name} and not {other}": ClassMargin((said,), (true,)),
    }


def explained(row: pd.Series, chosen: Chosen, dataset: Dataset, model: ExplainableModel) -> None:
    """The maps of the predicted class, the true one, and their margin, side by side; and a way to the single-image page.

    `row` holds `path`, and of `predicted` and `true` the class's name and, as `..._index`, its number in the model.
    """
    right = row["true"] == row["predicted"]
    _explanations(row, right, chosen, model)
    with st.container(horizontal=True):
        st.button(
            "Open on the single-image page", icon=":material/open_in_new:", key="to single",
            on_click=_hand_over, args=(row, right, dataset, model),
        )  # fmt: skip
    if st.session_state.pop("to single image", False):
        st.switch_page(SINGLE, query_params={})  # without this, Streamlit refuses to leave bound settings behind


def _explanations(row: pd.Series, right: bool, chosen: Chosen, model: ExplainableModel) -> None:
    fitting = [id for id, method in METHODS.items() if method.misfit(model) is None]
    method = st.selectbox(
        "Method", fitting, fitting.index("hires_cam") if "hires_cam" in fitting else 0,
        format_func=lambda id: METHODS[id].title, key="method", **LINK,
    )  # fmt: skip
    wanted = {words: _run(model, chosen, target, method) for words, target in _targets(row, right).items()}
    every = list(wanted.values())
    name = explanations.name_of("drawer", every)
    now = progress.should_start(name, sum(run.estimate for run in every if explanations.find(run) is None))
    found = {run.key: result for run, result in explanations.compute_each(every, name, now, st.empty())}
    maps = [one for one in found.values() if isinstance(one, Explanation)]
    signed = [one for one in maps if one.signed] or maps
    with st.container(horizontal=True, gap="small"):
        with st.container(width=WIDTH):
            st.markdown("**The picture**")
            st.image(chosen.picture, alt=f"{row['path']}, the whole picture")
        for words, run in wanted.items():
            with st.container(width=WIDTH):
                st.markdown(f"**{words}**")
                result = found.get(run.key)
                if isinstance(result, XaiError):
                    st.error(str(result))
                elif result is not None:
                    _map(result, chosen, rendering.scale_of(*(signed if result.signed else maps)))
    if maps:
        scale = rendering.scale_of(*signed)
        st.caption(
            f"{METHODS[method].title}, values in logits. Colours: {scale.words}. The difference of the two classes' maps "
            "is that of the margin where the method is linear in the target, as HiResCAM is."
        )


def _run(model: ExplainableModel, chosen: Chosen, target: Target, method: str) -> explanations.Run:
    """With the evidence against the target, where the method can show it: only so are three maps one story."""
    run = explanations.runs(model, chosen, target, [method])[0]
    return replace(run, options=run.options | {"relu": False}) if "relu" in run.options else run


def _map(result: Explanation, chosen: Chosen, scale: rendering.Scale) -> None:
    part_of, part = rendering.seen_part(result, chosen.picture, 2 * WIDTH)
    drawn = rendering.with_bar(rendering.overlay(part_of, part, scale), scale)
    st.image(rendering.encoded(drawn, "PNG"), width=WIDTH, output_format="PNG", alt=rendering.alt_text(result, "Overlay"))
    place = heatmaps.centre_of_mass_words(result.heatmap)
    st.caption(f"{result.target} = {result.target_value:.3g}. Most evidence for it: {place}.")
    for trouble in result.health:
        st.warning(trouble)


def _hand_over(row: pd.Series, right: bool, dataset: Dataset, model: ExplainableModel) -> None:
    """Keep the picture as if it had been uploaded, and ask the same question of it on the other page."""
    given = dataset.read(row["path"])
    data = given if isinstance(given, bytes) else Path(given).read_bytes()
    session.keep_upload(bytes_digest(data), data, not_the_linked=False)
    method = st.session_state["method"]
    settings = {
        "picture": (OWN, OWN),
        "model": (model.id, cards()[model.id].title),
        "method": (method, METHODS[method].title),
    }
    if not right:
        settings["ask"] = (MARGIN, MARGIN)
        for key, column in (("a", "predicted"), ("b", "true")):
            settings[key] = (int(row[f"{column}_index"]), f"{row[column]} ({row[f'{column}_index']})")
    session.hand_over(settings)
    st.session_state["to single image"] = True


def _nearest(kept: pd.DataFrame, row: pd.Series, dataset: Dataset) -> None:
    """The pictures that the network finds most alike among those it gets right."""
    st.markdown("**Nearest correctly classified pictures**")
    right = kept[(kept["true"] == kept["predicted"]) & (kept["path"] != row["path"])]
    if "embedding" not in kept or not len(right):
        st.caption("None among the pictures that pass the filters.")
        return
    near = nearest(np.asarray(row["embedding"]), np.stack(right["embedding"].to_list()))[:NEAREST]
    own = np.asarray(row["embedding"])
    with st.container(horizontal=True, gap="small"):
        for place in near:
            other = right.iloc[place]
            with st.container(width=110):
                display.thumbnail(dataset, other["path"], f"{other['path']}, rightly called {other['true']}")
                cosine = _cosine(own, np.asarray(other["embedding"])[None])[0]
                st.caption(f"{first_name(other['true'])}, cosine {cosine:.2f}")


def nearest(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Places of the others (n, E) in falling order of their cosine to one embedding (E,)."""
    return np.argsort(-_cosine(own, others), kind="stable")


def _cosine(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    return others @ own / (np.linalg.norm(others, axis=1) * np.linalg.norm(own)).clip(min=1e-12)


def note_form(dataset: Dataset, path: str) -> None:
    """Tags and a note on one picture, stored when the button is pressed."""
    complaint = session.complaint()
    if complaint:
        st.error(complaint)
    of = f"{dataset.digest[:8]} {path}"
    stored: Note = st.session_state.setdefault(f"seen {of}", notes.load(dataset).get(path, Note()))
    with st.form(f"note {of}"):
        st.text_input("Tags, separated by commas", ", ".join(stored.tags), key=f"tags of {of}")
        st.text_area("Note", stored.text, max_chars=notes.LONGEST, height=80, key=f"note on {of}")
        st.form_submit_button("Save", icon=":material/save:", on_click=_save_note, args=(dataset, path, of))


def _save_note(dataset: Dataset, path: str, of: str) -> None:
    """Store what the form holds. What someone else has written in the meantime is kept and appears in the form."""
    try:
        new = notes.note(st.session_state[f"tags of {of}"], st.session_state[f"note on {of}"])
        stored = notes.put(dataset, path, new, before=st.session_state[f"seen {of}"])
    except XaiError as error:
        session.complain(str(error))
        return
    st.session_state[f"seen {of}"] = stored
    st.session_state[f"tags of {of}"], st.session_state[f"note on {of}"] = ", ".join(stored.tags), stored.text
    st.toast("Saved.")
