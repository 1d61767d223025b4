"""Controls shared by the pages. Each is bound to the address under its key, so that every choice is in the link."""

from typing import Any, Literal, NamedTuple, TypedDict

import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.shared import cache, loaded_models, network_outputs, session
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.method import Method, MethodRecord
from xai_core.core import runtime
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadCard, BadPicture, WeightsUnavailable
from xai_core.core.options import Choice, Option, options_of
from xai_core.data.image_io import FORMATS, MAX_BYTES, SUFFIXES
from xai_core.data.samples import SAMPLES
from xai_core.explanation.targets import ClassLogit, ClassMargin, ClassProbability, SimilarityTo, Target
from xai_core.models.explainable import ExplainableModel, Prediction
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import CARDS, cards

OWN = "Your own picture"


class _Link(TypedDict):
    bind: Literal["query-params"]


LINK: _Link = {"bind": "query-params"}  # for every widget whose value belongs in the page's address


class Chosen(NamedTuple):
    """A picture, what it is called, and the class that is right for it where that is known."""

    picture: Image.Image
    name: str
    true_class: int | None
    remark: str


def picture(say: DeltaGenerator) -> Chosen | None:
    """A sample or an upload; None while there is none to show. `say` is where the reason is then given."""
    titles = {sample.title: name for name, sample in SAMPLES.items()}
    chosen = st.selectbox("Picture", [*titles, OWN], key="picture", **LINK)
    st.file_uploader(
        "or upload one",
        type=sorted(suffix[1:] for suffix in SUFFIXES),
        max_upload_size=MAX_BYTES // 2**20,
        key="file",
        on_change=_take_upload,
        help=f"{', '.join(FORMATS)}; up to {MAX_BYTES // 2**20} MB. It stays in this session's memory.",
    )
    complaint = session.complaint()
    if complaint:
        say.error(complaint)
    if chosen != OWN:
        st.query_params.pop(session.UPLOAD, None)
        name = titles[chosen]
        return Chosen(cache.sample(name), name, SAMPLES[name].true_class, SAMPLES[name].remark)
    return _own_picture(say)


def _take_upload() -> None:
    """Keep a new upload, if it is a picture; a bad file changes nothing but the message."""
    file = st.session_state["file"]
    if file is None:
        return
    data = file.getvalue()
    digest, wanted = bytes_digest(data), st.query_params.get(session.UPLOAD)
    try:
        session.decoded(data)
    except BadPicture as error:
        session.complain(f"{file.name}: {error} Choose another file; what was shown before is still here.")
        return
    other = wanted is not None and session.upload() is None and wanted != digest
    session.keep_upload(digest, data, not_the_linked=other)
    st.session_state["picture"] = OWN


def _own_picture(say: DeltaGenerator) -> Chosen | None:
    wanted, held = st.query_params.get(session.UPLOAD), session.upload()
    if held is None:
        say.info(
            f"This link was made with an uploaded picture (SHA-256 {wanted[:12]}...). Uploads are not stored: "
            "upload the same file here to see the same explanation."
            if wanted
            else "Upload a picture on the left, or choose one of the samples there."
        )
        return None
    if held.not_the_linked:
        say.warning("This is not the picture that the link was made with; all other settings are the link's.")
    st.query_params[session.UPLOAD] = held.digest
    return Chosen(session.decoded(held.data), f"upload-{held.digest[:12]}", None, "")


def model(say: DeltaGenerator) -> ExplainableModel:
    """The chosen model, loaded; where it is not to be had, `say` gives the reason and the embedded one steps in."""
    known = cards()
    card = known[st.selectbox("Model", known, format_func=lambda id: known[id].title, key="model", **LINK)]
    checkpoints = {one.id: one for one in card.checkpoints}
    checkpoint = card.checkpoints[0]
    if len(checkpoints) > 1:
        checkpoint = checkpoints[st.selectbox("Weights", checkpoints, key=f"{card.id}.weights", **LINK)]
    st.caption(f"{card.supervision.capitalize()}, {card.trained_on}. {card.remark}")
    name, message = f"{card.id} {checkpoint.id}", None
    if not locate.find(checkpoint):
        message = session.failure(name)
    if message is None:
        try:
            with say:
                loaded_models.fetch(card, checkpoint)
                with st.spinner(f"Loading {card.title}"):
                    return loaded_models.model(card.id, checkpoint.id)
        except (WeightsUnavailable, BadCard) as error:
            message = str(error)
            session.remember_failure(name, message)
    embedded = next(iter(CARDS.values()))
    say.error(f"{message}\n\nThe page goes on with {embedded.title}.")
    say.button("Try again", on_click=session.forget_failures)
    return loaded_models.model(embedded.id, embedded.checkpoints[0].id)


ONE, MARGIN, SIMILAR = "One class", "A and not B", "Similarity"
PREDICTED, TRUE = "Predicted class", "True class"


def question(
    model: ExplainableModel, ranked: list[Prediction], true_class: int | None, say: DeltaGenerator
) -> Target | None:
    """What to explain; None while it is not settled, and `say` gives the reason.

    `ranked` holds all classes, the most probable first; `true_class` is ImageNet's.
    """
    true_class = true_class if model.wnids else None
    by_index = {one.index: one.name for one in ranked}
    order = list(by_index)

    def label(choice: int | str) -> str:
        return f"{by_index[choice]} ({choice})" if isinstance(choice, int) else choice

    if not model.has_classifier:
        st.caption("This network has no classes. It can say what makes two pictures alike.")
        return _similarity(model)
    ask = st.segmented_control(
        "Question", [ONE, MARGIN, SIMILAR], default=ONE, required=True, key="ask", width="stretch", help=ASK_HELP, **LINK
    )
    if ask == SIMILAR:
        return _similarity(model)
    if ask == MARGIN:
        first = st.selectbox("A", order, index=0, format_func=label, key="a", help=BY_NAME, **LINK)
        second = st.selectbox("B", order, index=1, format_func=label, key="b", help=BY_NAME, **LINK)
        if first == second:
            say.info("A and B are the same class: choose two different ones.")
            return None
        return ClassMargin((first,), (second,))
    choices = [PREDICTED, *([TRUE] if true_class is not None else []), *order]
    chosen = st.selectbox("Class", choices, format_func=label, key="class", help=BY_NAME, **LINK)
    chosen = {PREDICTED: order[0], TRUE: true_class}.get(chosen, chosen)
    if st.toggle("its probability, not its logit", key="probability", help=PROBABILITY, **LINK):
        return ClassProbability((chosen,))
    return ClassLogit((chosen,))


def _similarity(model: ExplainableModel) -> Target:
    other = st.selectbox("Similar to", SAMPLES, format_func=lambda id: SAMPLES[id].title, key="reference", **LINK)
    picture = cache.sample(other)
    st.image(picture, width=96, output_format="PNG", alt=f"The reference: {SAMPLES[other].title}")
    return SimilarityTo(network_outputs.embedding(model, picture))


def pick_bar() -> None:
    """A click on a bar of the predictions asks about its class, or makes it the rival."""
    picked = st.session_state["bars"]["selection"].get("pick")
    if picked:
        asked = st.session_state["ask"]
        st.session_state["b" if asked == MARGIN else "class"] = int(picked[0]["class"])
        st.session_state["ask"] = ONE if asked == SIMILAR else asked


ASK_HELP = (
    "A and not B: what tips the scales between two classes, as the difference of their logits. Similarity: what makes this "
    "picture resemble another one, as the cosine of their embeddings; it needs no classes."
)
BY_NAME = "All classes of the model, the most probable first. Type to search by name or number; or click a bar."
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
    """A method, and the controls that its signature declares. Those that do not fit the model come last, and say why."""
    order = sorted(METHODS, key=lambda id: METHODS[id].misfit(model) is not None)
    chosen = METHODS[st.selectbox("Method", order, format_func=lambda id: METHODS[id].title, key="method", **LINK)]
    misfit = chosen.misfit(model)
    st.caption(f":gray[Not for this model: {misfit}]" if misfit else chosen.card["Why"])
    cut = model.network.cut_name(None)
    with st.expander("Options"):
        if "cut" in chosen.needs:
            # Each model has cuts of its own: a key of its own too, so that its link restores it.
            cut = st.selectbox(
                "Target layer (cut)", model.cuts, index=model.cuts.index(cut), key=f"{model.id}.cut", help=CUT, **LINK
            )
        options = {option.name: control(chosen, option) for option in options_of(chosen.run)}
        seed = 0
        if chosen.random:
            seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="seed", help="The same seed gives the same map.", **LINK)
        precision = "exact"
        if chosen.offers_fast(model, cut):
            precision = st.segmented_control(
                "Precision", runtime.PRECISIONS, default="exact", required=True, key="precision", help=PRECISION, **LINK
            )
    return Settings(chosen, cut, options, precision, seed)


CUT = "Where the map looks: early layers have fine grids and simple features, late ones coarse grids and whole objects."
PRECISION = "Fast computes in 16 bits. It is offered where the map's rank correlation to the exact one is at least 0.98."


DEFAULT_METHODS = ["grad_cam", "layer_cam", "eigen_cam", "saliency", "input_x_gradient", "guided_backprop"]


def methods(model: ExplainableModel) -> list[str]:
    """The methods to compare; those that do not fit the model are named with the reason."""
    fitting = [id for id, method in METHODS.items() if method.misfit(model) is None]
    chosen = st.multiselect(
        "Methods", fitting, [id for id in DEFAULT_METHODS if id in fitting], format_func=method_title, key="methods", **LINK
    )
    reasons = [method.misfit(model) for method in METHODS.values() if method.misfit(model)]
    if reasons:
        with st.expander(f"{len(reasons)} not for this model"):
            st.caption("\n".join(f"- {reason}" for reason in reasons))
    return chosen


def method_title(method: str) -> str:
    return METHODS[method].title


def control(method: MethodRecord, option: Option) -> Any:
    """The widget of one option; its key is the method's id and the option's name."""
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
