"""Controls that several pages share. Each is bound to the page's address under its key, so that links hold every choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, TypeVar

import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.shared import cache, loaded_models, network_search, opened_datasets, session
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadCard, BadPicture, WeightsUnavailable, XaiError
from xai_core.core.options import Choice, Option, options_of
from xai_core.data import datasets
from xai_core.data.image_io import FORMATS, MAX_BYTES, SUFFIXES
from xai_core.data.label_matching import match_classes
from xai_core.data.samples import SAMPLES
from xai_core.data.world.scene import Scene
from xai_core.models.card import Card
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import CARDS, cards

if TYPE_CHECKING:
    from xai_core.attribution.method import Method
    from xai_core.explanation.targets import Target
    from xai_core.models.explainable import ExplainableModel, Prediction

Value = TypeVar("Value")

OWN = "Your own picture"
OF_DATASET = "A picture of a dataset"
SOURCE = DATASET, SAMPLE = "picture.dataset", "picture.sample"  # parameters of the address that name a dataset's picture


class _Link(TypedDict):
    bind: Literal["query-params"] | None


LINK: _Link = {"bind": "query-params"}  # for widgets whose value belongs in the page's address
UNLINKED: _Link = {"bind": None}


class Chosen(NamedTuple):
    """The picture a page is about, its name, its true ImageNet class (None if unknown), a remark on it, for a picture of a
    world what it is drawn from, and for a picture of a dataset its label there."""

    picture: Image.Image
    name: str
    true_class: int | None
    remark: str
    scene: Scene | None = None
    label: str = ""


def is_upload() -> bool:
    """Whether the chosen picture is the visitor's own, also where it is one of an uploaded dataset."""
    chosen, (dataset, _) = st.session_state.get("picture"), _linked_source() or ("", "")
    return chosen == OWN or (chosen == OF_DATASET and dataset == opened_datasets.UPLOADED)


def picture(messages: DeltaGenerator, first: tuple[str, str] | None = None) -> Chosen | None:
    """The chosen sample or upload; None, with the reason in `messages`, if there is none. Before a choice it is `first`, a
    dataset and the name of a picture in it, or without that the first of a dataset that a script has given, or the first
    sample."""
    first = first or next(((name, "") for name in datasets.given()), None)
    titles = {sample.title: name for name, sample in SAMPLES.items()}
    source = _linked_source(first)
    names = [*titles, OWN, OF_DATASET]
    title = st.selectbox("Picture", names, names.index(OF_DATASET) if first else 0, key="picture", **LINK)
    st.file_uploader(
        "or upload one",
        type=sorted(suffix[1:] for suffix in SUFFIXES),
        max_upload_size=MAX_BYTES // 2**20,
        key="file",
        on_change=_take_upload,
        help=f"{', '.join(FORMATS)}; up to {MAX_BYTES // 2**20} MB. The picture stays in the memory of your session.",
    )
    complaint = session.complaint()
    if complaint:
        messages.error(error_text(complaint))
    for parameter in {session.UPLOAD, *SOURCE} - {session.UPLOAD if title == OWN else ""}:
        if title != OF_DATASET or parameter not in SOURCE:
            st.query_params.pop(parameter, None)
    if title == OF_DATASET:
        return _dataset_picture(*(source or (datasets.USUAL_WORLD, "")), messages)
    if title == OWN:
        return _uploaded_picture(messages)
    name = titles[title]
    return Chosen(cache.sample(name), name, SAMPLES[name].true_class, SAMPLES[name].remark)


def dataset_picture(dataset: str, sample: str) -> dict[str, str]:
    """The settings of a link that opens a page with a dataset's picture. `dataset` is a name that `open_named` knows."""
    return {"picture": OF_DATASET, DATASET: dataset, SAMPLE: sample}


def use_dataset_picture(dataset: str, sample: str) -> None:
    """Choose a dataset's picture for the page. For callbacks."""
    st.query_params.update({DATASET: dataset, SAMPLE: sample})
    st.session_state["picture"] = OF_DATASET


def use_upload(data: bytes) -> None:
    """Choose a picture that the visitor has uploaded for the page. For callbacks."""
    session.keep_upload(bytes_digest(data), data, not_the_linked=False)
    st.session_state["picture"] = OWN


def _linked_source(first: tuple[str, str] | None = None) -> tuple[str, str] | None:
    """The dataset and the name of the picture in it that the address names, else `first`, else those that this session's
    last such link named."""
    linked = tuple(st.query_params.get(parameter) for parameter in SOURCE)
    if linked[0]:
        st.session_state["dataset picture"] = linked
    elif first:
        return first
    source: tuple[str, str] | None = st.session_state.get("dataset picture")
    return source


def other_pictures() -> dict[str, tuple[str, str]]:
    """The pictures that can stand beside the chosen one, by what names it: the dataset ("" for a sample) and the name. They
    are those of its dataset, the first of many, and the samples."""
    dataset, sample = _linked_source() or ("", "")
    own: dict[str, tuple[str, str]] = {}
    if st.session_state.get("picture") == OF_DATASET:
        samples = opened_datasets.open_named(dataset).samples[:MOST_NAMES]
        own = {one.name: (dataset, one.name) for one in samples if one.name != sample}
    titles = {one.title: ("", name) for name, one in SAMPLES.items() if one.title != st.session_state.get("picture")}
    return own | titles


def other_picture(source: tuple[str, str]) -> Image.Image:
    """A picture of `other_pictures`. Raises BadPicture."""
    dataset, name = source
    return opened_datasets.open_named(dataset).open(name) if dataset else cache.sample(name)


def _dataset_picture(dataset: str, sample: str, messages: DeltaGenerator) -> Chosen | None:
    """A dataset's picture, with the controls that choose another one; None, with the reason in `messages`, if it is not
    there. Without a `sample` it is the first picture."""
    names = [opened_datasets.SAMPLES, *datasets.offered()]
    st.session_state["of dataset"] = dataset
    names = names if dataset in names else [dataset, *names]  # a link may name what is not here, or the visitor's own ZIP
    st.selectbox("Dataset", names, key="of dataset", on_change=_use_first_picture)
    try:
        opened = opened_datasets.open_named(dataset)
        sample = sample or opened.samples[0].name
        st.query_params.update({DATASET: dataset, SAMPLE: sample})
        if len(opened.samples) <= MOST_NAMES:
            st.session_state["sample of dataset"] = sample
            listed = [one.name for one in opened.samples]
            listed = listed if sample in opened.names else [sample, *listed]
            st.selectbox("Picture of it", listed, key="sample of dataset", on_change=_use_chosen_picture)
        else:
            st.caption(markdown.escape(f"{sample} of {dataset}"))
        if sample not in opened.names:
            messages.info(markdown.escape(f"{dataset} has no picture named {sample}. Choose another picture on the left."))
            return None
        picture = session.picture(f"picture {opened.content(sample)}", lambda: opened.open(sample))
    except XaiError as error:
        messages.error(error_text(f"{error} Choose another picture on the left."))
        return None
    scene = opened.scene(sample) if opened.scene else None
    label = next(one.label for one in opened.samples if one.name == sample)
    return Chosen(picture, PurePosixPath(sample).stem, None, "", scene, label)


MOST_NAMES = 5_000  # of pictures that a select box lists


def _use_first_picture() -> None:
    """The first picture of the dataset that was just chosen."""
    use_dataset_picture(st.session_state["of dataset"], "")


def _use_chosen_picture() -> None:
    use_dataset_picture(st.session_state["of dataset"], st.session_state["sample of dataset"])


def _take_upload() -> None:
    """Switch to a newly uploaded picture. A file that is no picture leaves everything as it was and adds a message."""
    file = st.session_state["file"]
    if file is None:
        return
    data = file.getvalue()
    digest, linked = bytes_digest(data), st.query_params.get(session.UPLOAD)
    try:
        session.decoded(data)
    except BadPicture as error:
        session.complain(f"{file.name}: {error} The previous picture is still shown. Choose another file.")
        return
    differs = linked is not None and session.upload() is None and linked != digest
    session.keep_upload(digest, data, not_the_linked=differs)
    st.session_state["picture"] = OWN


def _uploaded_picture(messages: DeltaGenerator) -> Chosen | None:
    linked, upload = st.query_params.get(session.UPLOAD), session.upload()
    if upload is None:
        messages.info(
            f"This link was made with an uploaded picture (SHA-256 {markdown.escape(linked[:12])}...). Uploads are not "
            "stored: upload the same file here to see the same explanation."
            if linked
            else "Upload a picture on the left, or choose one of the samples there."
        )
        return None
    if upload.not_the_linked:
        messages.warning("The link was made with another picture; all its other settings are applied.")
    st.query_params[session.UPLOAD] = upload.digest
    return Chosen(session.decoded(upload.data), f"upload-{upload.digest[:12]}", None, "")


def model(messages: DeltaGenerator, without_classes: bool = False, first: str | None = None) -> ExplainableModel:
    """The chosen model, loaded; before a choice `first`, or with `without_classes` one that learned without them. If it
    cannot be loaded, `messages` says why and the embedded model takes its place."""
    catalog = cards()
    if found := network_search.linked(catalog, messages, ABSENT):
        catalog |= {found.id: found}
    ready = {id for id, card in catalog.items() if locate.is_here(card)}
    if found:  # its label stays when it is downloaded, and with it the address; the page says that it is not here
        ready.add(found.id)
    if without_classes:
        first = next((id for id, card in catalog.items() if id in ready and "self-supervised" in card.supervision), None)
    titles = {id: card.title for id, card in catalog.items()}
    card = catalog[_choose_present("Model", titles, ready, "model", first)]
    checkpoints = {checkpoint.id: checkpoint for checkpoint in card.checkpoints}
    checkpoint = card.checkpoints[0]
    if len(checkpoints) > 1:
        ready = {id for id in checkpoints if locate.find(checkpoints[id]) is not None}
        checkpoint = checkpoints[_choose_present("Weights", {id: id for id in checkpoints}, ready, f"{card.id}.weights")]
    st.caption(markdown.escape(f"{card.supervision.capitalize()}, {card.trained_on}. {card.remark}"))
    st.caption(f"Licence of the weights: {markdown.escape(card.licence or 'not stated')}.", help=_licence_help(card))
    network_search.search()
    embedded = next(iter(CARDS.values()))
    if card.library and not network_search.downloaded(card, messages, embedded.title):
        return loaded_models.model(embedded.id, embedded.checkpoints[0].id)
    name, message = f"{card.id} {checkpoint.id}", None
    if not locate.find(checkpoint):  # nor where code makes the model, which may fail
        message = session.failure(name)
    if message is None:
        try:
            with messages:
                loaded_models.fetch(card, checkpoint)
                with st.spinner(f"Loading {markdown.escape(card.title)}"):
                    return loaded_models.model(card.id, checkpoint.id)
        except (WeightsUnavailable, BadCard) as error:
            message = str(error)
            session.remember_failure(name, message)
    messages.error(f"{error_text(message)}\n\nThis page uses {embedded.title} instead.")
    messages.button("Try again", on_click=session.forget_failures)
    return loaded_models.model(embedded.id, embedded.checkpoints[0].id)


ABSENT = " (not on this machine)"  # ends the label of a model whose weights would have to be downloaded first


def presence_label(title: str, present: bool) -> str:
    return title if present else title + ABSENT


def _choose_present(label: str, titles: dict[str, str], ready: set[str], key: str, first: str | None = None) -> str:
    """One of `titles`' keys, `first` by default; those that are not `ready` come last and say so."""
    labels = {id: presence_label(title, id in ready) for id, title in titles.items()}
    linked = linked_despite_label(key, {titles[id]: id for id in titles}, [*labels.values()])
    if linked:
        st.session_state[key] = linked[0]
    order = sorted(titles, key=lambda id: id not in ready)
    default = order.index(first) if first is not None and key not in st.session_state else 0
    return st.selectbox(label, order, default, format_func=lambda id: labels.get(id, id), key=key, **LINK)


def linked_despite_label(key: str, by_title: Mapping[str, Value], labels: Sequence[str]) -> list[Value]:
    """What the address names for a control that is not made yet, where its label on this machine is another.

    The label of a model is part of the address, and tells whether the weights are on this machine: a link made elsewhere, or
    before a download, is read by the title. Empty where the control's own reading of the address is right.
    """
    linked = [] if key in st.session_state else st.query_params.get_all(key)
    if {*linked} <= {*labels}:
        return []
    return [by_title[title] for label in linked if (title := label.removesuffix(ABSENT)) in by_title]


def _licence_help(card: Card) -> str:
    """Where the licence of a model's weights comes from, as Markdown."""
    source = f"The weights come from {markdown.link('their official page', card.page)}. " if card.page else ""
    stated = "" if card.licence else "The card of this model states no licence: ask whoever published the weights. "
    notice = "" if card.library else "The file NOTICE lists the terms of all weights and pictures. "
    paper = f"The paper: {markdown.escape(card.paper)}" if card.paper else ""
    return f"{stated}{source}{notice}{paper}".strip()


ONE, MARGIN, SIMILAR = "One class", "A and not B", "Similarity"
PREDICTED, TRUE = "Predicted class", "True class"


def question(model: ExplainableModel, ranked: list[Prediction], chosen: Chosen, messages: DeltaGenerator) -> Target | None:
    """The target to explain; None, with the reason in `messages`, if the choices do not define one.

    `ranked` holds all classes, the most probable first.
    """
    from xai_core.explanation.targets import ClassLogit, ClassMargin, ClassProbability

    known = true_class(model, chosen)
    by_index = {prediction.index: prediction.name for prediction in ranked}
    order = list(by_index)

    def label(choice: int | str) -> str:
        return choice if isinstance(choice, str) else f"{by_index[choice]} ({choice})"

    if not model.has_classifier:
        st.caption("This network has no classes. It can explain what makes two pictures similar.")
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
            messages.info("A and B are the same class: choose two different ones.")
            return None
        return ClassMargin((first,), (second,))
    named = {PREDICTED: order[0]} | ({TRUE: known} if known is not None else {})
    choices: list[int | str] = [*named, *order]
    choice = st.selectbox("Class", choices, format_func=label, key="class", help=BY_NAME, **LINK)
    index = named[choice] if isinstance(choice, str) else choice
    if st.toggle("Explain the probability instead of the score", key="probability", help=PROBABILITY, **LINK):
        return ClassProbability((index,))
    return ClassLogit((index,))


def true_class(model: ExplainableModel, chosen: Chosen) -> int | None:
    """The model's class that the picture is of; None where that is not known, or the model has no such class."""
    if chosen.label and model.has_classifier:
        return match_classes([chosen.label], model).index.get(chosen.label)
    return chosen.true_class if model.wnids else None


def _similarity(model: ExplainableModel) -> Target:
    from xai_core.app.shared import network_outputs
    from xai_core.explanation.targets import SimilarityTo

    other = st.selectbox("Similar to", list(SAMPLES), format_func=lambda id: SAMPLES[id].title, key="reference", **LINK)
    picture = cache.sample(other)
    st.image(picture, width=96, output_format="PNG", alt=f"The reference: {SAMPLES[other].title}")
    return SimilarityTo(network_outputs.embedding(model, picture))


def pick_bar() -> None:
    """Callback of the bars of predictions: explain the clicked class, or make it class B of a margin."""
    picked = st.session_state["bars"]["selection"].get("pick")
    if picked:
        kind = st.session_state["ask"]
        st.session_state["b" if kind == MARGIN else "class"] = int(picked[0]["class"])
        st.session_state["ask"] = ONE if kind == SIMILAR else kind


ASK_HELP = (
    "One class: what supports this class. A and not B: what decides between two classes (the difference of their scores, "
    "called logits). Similarity: what makes this picture similar to another one (the cosine of their embeddings); this "
    "needs no classes."
)
BY_NAME = "All classes of the model, the most probable first. Type a name or a number to search, or click a bar."
PROBABILITY = (
    "The score (logit) belongs to this class alone. The probability also falls when the score of another class rises, and "
    "it hardly changes when the model is certain."
)


class Settings(NamedTuple):
    """A method with the values of all its controls."""

    method: Method
    cut: str
    options: dict[str, Any]
    precision: str
    seed: int


def method(model: ExplainableModel) -> Settings:
    """A method and its options. Methods that do not fit the model come last in the list, and the page says why."""
    from xai_core.attribution.catalog import METHODS
    from xai_core.core import runtime

    order = sorted(METHODS, key=lambda id: METHODS[id].misfit(model) is not None)
    chosen = METHODS[st.selectbox("Method", order, format_func=lambda id: METHODS[id].title, key="method", **LINK)]
    misfit = chosen.misfit(model)
    st.caption(f":gray[Not for this model: {markdown.escape(misfit)}]" if misfit else chosen.card["Why"])
    cut = model.network.cut_name(None)
    with st.expander("Options"):
        if "cut" in chosen.needs:
            cut = target_layer(model)
        options = {option.name: control(chosen.id, option) for option in options_of(chosen.run)}
        seed = 0
        if chosen.random:
            seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="seed", help="The same seed gives the same map.", **LINK)
        precision = "exact"
        if chosen.offers_fast(model, cut):
            # Not a segmented control: in a closed expander, its buttons have no name.
            precision = st.radio("Precision", runtime.PRECISIONS, horizontal=True, key="precision", help=PRECISION, **LINK)
    return Settings(chosen, cut, options, precision, seed)


def target_layer(model: ExplainableModel) -> str:
    """The cut: a stage, or where it is asked for, any layer inside one."""
    # The keys hold the model's id because each model has other cuts: so a link restores the cut.
    default, key = model.network.cut_name(None), f"{model.id}.cut"
    inside = st.toggle("Layers inside blocks, too", key=f"{model.id}.inside", help=INSIDE, **LINK)
    layers = list(model.cuts)
    if inside and model.network.inside:
        layers += [name for name in model.network.inside.names if name not in model.cuts]
    cut: str = st.selectbox("Target layer (cut)", layers, index=layers.index(default), key=key, help=CUT, **LINK)
    if cut not in model.cuts:
        st.caption(INSIDE_A_BLOCK.format(default=markdown.escape(default)))
    return cut


INSIDE = (
    "The outputs of the network's parts inside blocks (`blocks.11.norm1`) as further target layers. What else the rest of "
    "the network needs there is left unchanged."
)
INSIDE_A_BLOCK = (
    "Inside a block. A map here follows only what goes through this layer, as in the examples of the library grad-cam "
    "(`target_layers`); at the default, {default}, it also follows what goes past it. The two can be far apart: "
    "for Grad-CAM at the last `norm1`, ranks correlate 0.98 to 0.99 in two ViTs and -0.28 to -0.24 in a Swin, with random "
    "weights."
)
CUT = (
    "The layer whose activations the map is made of. Early layers have fine grids and simple features, late layers coarse "
    "grids and whole objects."
)
PRECISION = (
    "Exact computes with 32 bits. Fast computes with 16 bits, which is quicker on a graphics card. It is offered only where "
    "its map is nearly the same: a rank correlation of at least 0.98 with the exact one."
)


DEFAULT_METHODS = ["grad_cam", "layer_cam", "eigen_cam", "saliency", "input_x_gradient", "guided_backprop"]


def methods(model: ExplainableModel) -> list[str]:
    """The ids of the methods to compare. Methods that do not fit the model are listed with the reason."""
    from xai_core.attribution.catalog import METHODS

    fitting = [id for id, method in METHODS.items() if method.misfit(model) is None]
    chosen = st.multiselect(
        "Methods", fitting, [id for id in DEFAULT_METHODS if id in fitting], format_func=method_title, key="methods", **LINK
    )
    reasons = [misfit for method in METHODS.values() if (misfit := method.misfit(model))]
    if reasons:
        with st.expander(f"{len(reasons)} methods do not fit this model"):
            st.caption("\n".join(f"- {markdown.escape(reason)}" for reason in reasons))
    return chosen


def method_title(method: str) -> str:
    """A method's title, by its id."""
    from xai_core.attribution.catalog import METHODS

    return METHODS[method].title


def control(owner: str, option: Option, label: str = "", linked: bool = True) -> Any:
    """The value of one option, from its widget. `owner`, the id of the method or metric, begins the widget's key; the
    `label` is the option's name where none is given. `linked`: the value is a part of the address."""
    link = LINK if linked else UNLINKED
    label = label or option.name.replace("_", " ").capitalize()
    key, help = f"{owner}.{option.name}", option.help or None
    if option.kind is bool:
        return st.toggle(label, option.default, key=key, help=help, **link)
    if isinstance(option.bounds, Choice):
        values = option.bounds.values
        return st.selectbox(label, values, values.index(option.default), key=key, help=help, **link)
    if option.bounds is None:
        raise TypeError(f"The option {key} has no bounds: it cannot have a slider.")
    low, high, step = option.bounds.low, option.bounds.high, option.bounds.step
    if option.kind is int:
        return st.slider(label, int(low), int(high), int(option.default), int(step or 1), key=key, help=help, **link)
    step, default = float(step or (high - low) / 100), float(option.default)
    return st.slider(label, float(low), float(high), default, step, format="%.2g", key=key, help=help, **link)


def quick_methods(model: ExplainableModel) -> list[str]:
    """The methods of few passes that fit the model: for maps of many pictures."""
    from xai_core.attribution.catalog import METHODS

    return [id for id, method in METHODS.items() if method.family in ("cam", "gradient") and method.misfit(model) is None]
