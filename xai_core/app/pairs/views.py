"""The two views of the page Pairs: cut from one picture by random augmentation, or two pictures."""

from typing import NamedTuple

import numpy as np
import streamlit as st
import torch
from PIL import Image, ImageDraw
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from xai_core.app.shared import cache, report_items, session, widgets
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.core.cache_key import array_digest, bytes_digest, text_digest
from xai_core.core.errors import BadPicture
from xai_core.data.image_io import SUFFIXES
from xai_core.data.samples import SAMPLES
from xai_core.explanation import rendering
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs.augment import Augmentation, AugmentedView, draw_view
from xai_core.pairs.geometry import Geometry
from xai_core.pairs.parts import PairParts, parts_of_picture, parts_of_views

LONGEST = 640  # pixels: longest side of the picture that views are cut from; more adds nothing to views of 224 pixels
TILE = 196  # pixels: width of a view
LINKED = ("view 1", "view 2")  # the words by which the maps of each view are zoomed together
VIEWS, PICTURES, SECOND_OWN = "Two views", "Two pictures", "Your own second picture"
UPLOAD2 = "upload2"


class Views(NamedTuple):
    """Two views, (3, H, W) in [0, 1].

    geometry  of views of one picture: how their pixels correspond; None for two pictures
    changes   what was done to each view, in words
    source    the picture that the views were cut from, or the first of two pictures
    parts     of a picture of a world: its parts in the views; None for other pictures
    """

    first: Tensor
    second: Tensor
    geometry: Geometry | None
    changes: tuple[str, str]
    source: Image.Image
    name: str
    parts: PairParts | None = None

    @property
    def digest(self) -> str:
        """A digest of the pixels of both views."""
        return text_digest(" ".join(array_digest(view.numpy()) for view in (self.first, self.second)))

    def images(self) -> tuple[Image.Image, Image.Image]:
        """Both views as PIL pictures."""
        return rendering.to_pil(self.first), rendering.to_pil(self.second)


def source() -> str:
    """VIEWS or PICTURES."""
    return st.segmented_control(
        "What to compare", [VIEWS, PICTURES], default=VIEWS, required=True, key="from", width="stretch", help=FROM, **LINK
    )


def recipe() -> tuple[Augmentation, int]:
    """How views are augmented, and the seed."""
    seed = st.number_input("Seed of the views", 0, 2**31 - 1, 0, key="views", help=SEED, **LINK)
    with st.expander("Augmentation"):
        crop = st.slider("Smallest crop (share of the area)", 0.05, 1.0, 0.3, 0.05, key="crop", help=CROP, **LINK)
        flip = st.toggle("Flip half of the views", True, key="flip", **LINK)
        jitter = st.slider("Colour jitter", 0.0, 1.0, 0.5, 0.05, key="jitter", **LINK)
        greyscale = st.slider("Greyscale", 0.0, 1.0, 0.0, 0.05, key="greyscale", **LINK)
        blur = st.slider("Blur", 0.0, 1.0, 0.3, 0.05, key="blur", **LINK)
        solarise = st.slider("Solarise", 0.0, 1.0, 0.0, 0.05, key="solarise", **LINK)
        always = st.toggle("Apply all of them to every view", False, key="always", help=ALWAYS, **LINK)
    return Augmentation(crop, flip, jitter, greyscale, blur, solarise, always), seed


FROM = "Two views: crops of one picture, augmented as in training. Two pictures: any two, as the network sees them."
SEED = "The same seed gives the same views; another seed gives other crops and changes."
CROP = (
    "Each view is a random crop of the picture. Its area lies between this share and 1 (the whole picture), as in training."
)
ALWAYS = (
    "Otherwise each is applied as often as in training: jitter to 80%, greyscale to 20%, blur to 50% and solarise to 20% of "
    "the views."
)


def tensor(picture: Image.Image) -> Tensor:
    """A picture as a tensor (3, h, w) in [0, 1], reduced so that no side is longer than LONGEST."""
    small = picture.convert("RGB")
    factor = LONGEST / max(picture.size)
    if factor < 1:
        width, height = (max(1, round(side * factor)) for side in picture.size)
        small = small.resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div_(255)


def two_views(model: ExplainableModel, chosen: Chosen, augmentation: Augmentation, seed: int) -> Views:
    """Two views of one picture, at the model's input size."""
    whole, side = tensor(chosen.picture), model.recipe.input_size
    first, second = (_drawn(whole, augmentation, seed, number, side) for number in (0, 1))
    geometry, changes = Geometry.of(first, second), (_changes(first), _changes(second))
    parts = parts_of_views(chosen.scene, augmentation, seed, (side, side)) if chosen.scene else None
    name = f"{chosen.name}-views-{seed}"
    return Views(first.pixels, second.pixels, geometry, changes, rendering.to_pil(whole), name, parts)


def _drawn(picture: Tensor, augmentation: Augmentation, seed: int, number: int, side: int) -> AugmentedView:
    """A view of a picture; it is stored, as the keys of all that is computed of it hold its pixels, which another processor
    rounds otherwise."""
    key = text_digest(f"view {array_digest(picture.numpy())} {augmentation.key} {seed} {number} {side}")
    return cache.get_or_compute(key, lambda: draw_view(picture, augmentation, seed, number, (side, side)))


def _changes(view: AugmentedView) -> str:
    return ", ".join((*(["flipped"] if view.mirrored else []), *view.transforms)) or "cropped only"


def second_picture(messages: DeltaGenerator) -> Chosen | None:
    """The second picture, a sample or an upload; None, with the reason in `messages`, if there is none."""
    titles = {sample.title: name for name, sample in SAMPLES.items()}
    title = st.selectbox("Second picture", [*titles, SECOND_OWN], index=1, key="second", **LINK)
    if title != SECOND_OWN:
        st.query_params.pop(UPLOAD2, None)
        return Chosen(cache.sample(titles[title]), titles[title], None, "")
    file = st.file_uploader("Second picture to upload", type=sorted(suffix[1:] for suffix in SUFFIXES), key="file2")
    if file is None:
        messages.info("Upload the second picture on the left, or choose a sample there.")
        return None
    data = file.getvalue()
    digest = bytes_digest(data)
    try:
        picture = session.decoded(data)
    except BadPicture as error:
        messages.error(error_text(f"{file.name}: {error}"))
        return None
    st.query_params[UPLOAD2] = digest
    return Chosen(picture, f"upload-{digest[:12]}", None, "")


def two_pictures(model: ExplainableModel, first: Chosen, second: Chosen) -> Views:
    """Two pictures, as the network sees them."""
    prepared = model.prepare(first.picture)
    parts = parts_of_picture(model, first.scene, prepared) if first.scene else None
    pixels = (prepared.pixels, model.prepare(second.picture).pixels)
    changes = "as the network sees it", "as the network sees it"
    return Views(*pixels, None, changes, first.picture, f"{first.name}-{second.name}", parts)


def is_upload() -> bool:
    """Whether one of the pictures is this visitor's own."""
    second = st.session_state.get("from") == PICTURES and st.session_state.get("second") == SECOND_OWN
    return second or widgets.is_upload()


OUTLINED = "The picture, with both views outlined"


def show(views: Views) -> None:
    """The source picture with both crops outlined, and both views."""
    with st.container(horizontal=True, gap="small"):
        if views.geometry is not None:
            with st.container(width=TILE + 60):
                image = _with_boxes(views.source, views.geometry)
                height, width = views.first.shape[1:]
                area = views.geometry.overlap(1, (height, width)).float().mean()
                words = f"The crops: view 1 orange, view 2 blue. View 2 shows {area:.0%} of view 1."
                picture_and_words(image, OUTLINED, words, words, OUTLINED)
        for number, (image, changes) in enumerate(zip(views.images(), views.changes, strict=True), start=1):
            with st.container(width=TILE):
                words = f"View {number}: {changes}"
                picture_and_words(image, words, f"**View {number}**: {changes}", words)


def picture_and_words(image: Image.Image, alt: str, below: str, caption: str, what: str = "") -> None:
    """A picture with words below it, and the button that adds it to the report, there with `caption`; `what` it is said to
    add is by default the beginning of that."""
    st.image(image, width="stretch", output_format="PNG", alt=alt)
    st.caption(below)
    report_items.add_picture(image, caption, what)


def _with_boxes(source: Image.Image, geometry: Geometry) -> Image.Image:
    image = source.copy()
    pen, thick = ImageDraw.Draw(image), max(2, image.width // 120)
    for box, colour in zip(geometry.boxes, ("#d55e00", "#0072b2"), strict=True):
        left, top, right, bottom = box
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=thick)
    return image
