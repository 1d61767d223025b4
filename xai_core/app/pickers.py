"""Controls shared by the pages. Each is bound to the address under its key, so that every choice is in the link."""

from typing import Any, NamedTuple

import streamlit as st
from PIL import Image

from xai_core import runtime
from xai_core.app import compute, session
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.method import Method
from xai_core.errors import BadPicture, WeightsUnavailable
from xai_core.keys import bytes_digest
from xai_core.models import weights
from xai_core.models.catalog import CARDS
from xai_core.models.explainable import ExplainableModel, Prediction
from xai_core.options import Choice, Option, options_of
from xai_core.pictures import FORMATS, MAX_BYTES
from xai_core.samples import SAMPLES
from xai_core.targets import ClassLogit, ClassMargin, ClassProbability, Target

OWN = "Your own picture"
LINK = {"bind": "query-params"}


class Chosen(NamedTuple):
    """A picture, what it is called, and the class that is right for it where that is known."""

    picture: Image.Image
    name: str
    true_class: int | None
    remark: str


def picture() -> Chosen | None:
    """A sample or an upload; None while there is none to show (the reason is then on the page)."""
    titles = {sample.title: name for name, sample in SAMPLES.items()}
    chosen = st.selectbox("Picture", [*titles, OWN], key="picture", **LINK)
    st.file_uploader(
        "or upload one",
        type=["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"],
        max_upload_size=MAX_BYTES // 2**20,
        key="file",
        on_change=_take_upload,
        help=f"{', '.join(FORMATS)}; up to {MAX_BYTES // 2**20} MB. It stays in this session's memory.",
    )
    if chosen != OWN:
        st.query_params.pop(session.UPLOAD, None)
        name = titles[chosen]
        return Chosen(compute.sample(name), name, SAMPLES[name].true_class, SAMPLES[name].remark)
    return _own_picture()


def _take_upload() -> None:
    file = st.session_state["file"]
    if file is not None:
        data = file.getvalue()
        digest, wanted = bytes_digest(data), st.query_params.get(session.UPLOAD)
        other = wanted is not None and session.upload() is None and wanted != digest
        session.keep_upload(digest, data, not_the_linked=other)
        st.session_state["picture"] = OWN


def _own_picture() -> Chosen | None:
    wanted, held = st.query_params.get(session.UPLOAD), session.upload()
    if held is None:
        if wanted:
            st.info(
                f"This link was made with an uploaded picture (SHA-256 {wanted[:12]}...). Uploads are not stored: "
                "upload the same file here to see the same explanation."
            )
        else:
            st.info("Upload a picture above, or choose one of the samples.")
        return None
    if held.not_the_linked:
        st.warning("This is not the picture that the link was made with; all other settings are the link's.")
    st.query_params[session.UPLOAD] = held.digest
    try:
        found = compute.uploaded(held.digest, held.data)
    except BadPicture as error:
        st.error(f"{error} Choose another file or one of the samples.")
        return None
    return Chosen(found, f"upload-{held.digest[:12]}", None, "")


def model() -> ExplainableModel:
    """The chosen model, loaded; the embedded one, with the reason on the page, where the chosen one is not to be had."""
    card = st.selectbox("Model", CARDS.values(), format_func=lambda one: one.title, key="model", **LINK)
    checkpoint = card.checkpoints[0]
    if len(card.checkpoints) > 1:
        checkpoint = st.selectbox(
            "Weights", card.checkpoints, format_func=lambda one: one.id, key=f"{card.id}.weights", **LINK
        )
    st.caption(f"{card.supervision.capitalize()}, {card.trained_on}. {card.remark}")
    name, message = f"{card.id} {checkpoint.id}", None
    if not weights.find(checkpoint):
        message = session.failure(name)
    if message is None:
        action = "Loading" if weights.find(checkpoint) else f"Fetching {checkpoint.megabytes} MB of weights for"
        try:
            with st.spinner(f"{action} {card.title}"):
                return compute.model(card.id, checkpoint.id)
        except WeightsUnavailable as error:
            message = str(error)
            session.remember_failure(name, message)
    embedded = next(iter(CARDS.values()))
    st.error(f"{message}\n\nThe page goes on with {embedded.title}.")
    st.button("Try again", on_click=session.forget_failures)
    return compute.model(embedded.id, embedded.checkpoints[0].id)


ASK = {
    "predicted": "Predicted class",
    "true": "True class",
    "any": "Any class",
    "margin": "A and not B",
}


def question(model: ExplainableModel, ranked: list[Prediction], true_class: int | None) -> Target | None:
    """What to explain; None while it is not settled (the reason is then on the page).

    `ranked` holds all classes, the most probable first.
    """
    ask = st.segmented_control(
        "Explain", ASK, format_func=ASK.get, default="predicted", required=True, key="ask", width="stretch", **LINK
    )
    by_index = {one.index: one for one in ranked}
    order = list(by_index)

    def name(index: int) -> str:
        return f"{by_index[index].name} ({index})"

    def choose(label: str, key: str, start: int | None) -> int | None:
        return st.selectbox(
            label, order, index=start, format_func=name, key=key, placeholder="Type a name", help=BY_NAME, **LINK
        )

    if ask == "margin":
        first, second = choose("A", "a", 0), choose("B", "b", 1)
        if first == second:
            st.info("Choose two different classes.")
            return None
        return ClassMargin((first,), (second,))
    if ask == "predicted":
        chosen = order[0]
    elif ask == "any":
        chosen = choose("Class", "class", None)
    elif true_class is not None:
        chosen = true_class
        st.caption(f"True class of this sample: {name(true_class)}.")
    else:
        chosen = choose("What it really is", "truth", None)
    if chosen is None:
        st.info("Choose a class to explain; the list starts with the most probable ones.")
        return None
    if st.toggle("its probability, not its logit", key="probability", help=PROBABILITY, **LINK):
        return ClassProbability((chosen,))
    return ClassLogit((chosen,))


BY_NAME = "All classes of the model, the most probable first. Type to search by name or number."
PROBABILITY = (
    "The logit is the class's own score. The probability also falls when another class rises, and hardly moves where "
    "the model is certain."
)


class Settings(NamedTuple):
    """A method with everything it takes."""

    method: Method
    cut: str
    options: dict[str, Any]
    precision: str
    seed: int


def method(model: ExplainableModel) -> Settings:
    """A method, and the controls that its signature declares."""
    chosen = st.selectbox(
        "Method", METHODS.values(), format_func=lambda one: one.title, key="method", help="What each tells is below.", **LINK
    )
    st.caption(chosen.tells)
    cut = model.network.cut_name(None)
    with st.expander("Options"):
        if "cut" in chosen.needs:
            # Each model has cuts of its own: a key of its own too, so that its link restores it.
            cut = st.selectbox(
                "Target layer (cut)", model.cuts, index=model.cuts.index(cut), key=f"{model.id}.cut", help=CUT, **LINK
            )
        options = {option.name: _control(chosen, option) for option in options_of(chosen.run)}
        seed = 0
        if chosen.random:
            seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="seed", help="The same seed gives the same map.", **LINK)
        precision = "exact"
        if chosen.fast:
            precision = st.segmented_control(
                "Precision", runtime.PRECISIONS, default="exact", required=True, key="precision", help=PRECISION, **LINK
            )
    return Settings(chosen, cut, options, precision, seed)


CUT = "Where the map looks: early layers have fine grids and simple features, late ones coarse grids and whole objects."
PRECISION = "Fast computes in 16 bits. It is offered where the map's rank correlation to the exact one is at least 0.98."


def _control(method: Method, option: Option) -> Any:
    label = option.name.replace("_", " ").capitalize()
    common = {"key": f"{method.id}.{option.name}", "help": option.help or None, **LINK}
    if option.kind is bool:
        return st.toggle(label, option.default, **common)
    if isinstance(option.bounds, Choice):
        values = option.bounds.values
        return st.selectbox(label, values, index=values.index(option.default), **common)
    low, high = option.kind(option.bounds.low), option.kind(option.bounds.high)
    step = option.kind(option.bounds.step or (1 if option.kind is int else (high - low) / 100))
    fine = {"format": "%.2g"} if option.kind is float else {}
    return st.slider(label, low, high, option.default, step, **fine, **common)
