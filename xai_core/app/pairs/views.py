"""The two views of the pairs page: cut from one picture by a recipe, or two pictures."""

from typing import NamedTuple

import numpy as np
import streamlit as st
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from xai_core.app.shared import cache, session
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.core.cache_key import array_digest, bytes_digest
from xai_core.core.errors import BadPicture
from xai_core.data.samples import SAMPLES
from xai_core.explanation import rendering
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs.augment import Augmentation, draw_view
from xai_core.pairs.geometry import Geometry

LONGEST = 640  # pixels of the picture that views are cut from: beyond that a crop gains nothing at a network's 224
TILE = 196
VIEWS, PICTURES, SECOND_OWN = "Two views", "Two pictures", "Your own second picture"
UPLOAD2 = "upload2"


class Two(NamedTuple):
    """Two views (3, H, W) in [0, 1], and what was done to each; with their geometry where they are of one picture."""

    first: Tensor
    second: Tensor
    geometry: Geometry | None
    done: tuple[str, str]
    source: Image.Image
    name: str

    @property
    def key(self) -> str:
        return " ".join(array_digest(view.numpy()) for view in (self.first, self.second))

    def shown(self) -> tuple[Image.Image, Image.Image]:
        return rendering.to_pil(self.first), rendering.to_pil(self.second)


def source() -> str:
    return st.segmented_control(
        "What to compare", [VIEWS, PICTURES], default=VIEWS, required=True, key="from", width="stretch", help=FROM, **LINK
    )


def recipe() -> tuple[Augmentation, int]:
    """How views are made, and their seed."""
    seed = st.number_input("Seed of the views", 0, 2**31 - 1, 0, key="views", help=SEED, **LINK)
    with st.expander("Augmentation"):
        crop = st.slider("Smallest crop (share of the area)", 0.05, 1.0, 0.3, 0.05, key="crop", help=CROP, **LINK)
        flip = st.toggle("Flip, half of the time", True, key="flip", **LINK)
        strengths = {
            name: st.slider(label, 0.0, 1.0, usual, 0.05, key=name, **LINK)
            for name, label, usual in (
                ("jitter", "Colour jitter", 0.5), ("greyscale", "Greyscale", 0.0), ("blur", "Blur", 0.3),
                ("solarise", "Solarise", 0.0),
            )
        }  # fmt: skip
        always = st.toggle("Each of them, every time", False, key="always", help=ALWAYS, **LINK)
    return Augmentation(crop, flip, **strengths, always=always), seed


FROM = "Two views: crops of one picture, changed as in training. Two pictures: any two, as the network sees them."
SEED = "Another seed cuts and changes the views anew; the same seed gives the same views."
CROP = "1 is the whole picture. Each view's crop is drawn between this and 1, as in training."
ALWAYS = "Else each happens as often as in training: jitter 80%, greyscale 20%, blur 50%, solarise 20% of the time."


def tensor(picture: Image.Image) -> Tensor:
    """(3, h, w) in [0, 1], no side longer than LONGEST."""
    factor = min(1.0, LONGEST / max(picture.size))
    size = tuple(max(1, round(side * factor)) for side in picture.size)
    small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS) if factor < 1 else picture.convert("RGB")
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div_(255)


def views(model: ExplainableModel, chosen: Chosen, how: Augmentation, seed: int) -> Two:
    """Views 0 and 1 of a picture, at the model's input size."""
    whole, side = tensor(chosen.picture), model.recipe.input_size
    first, second = (draw_view(whole, how, seed, number, (side, side)) for number in (0, 1))
    done = tuple(
        ", ".join((*(["flipped"] if one.mirrored else []), *one.transforms)) or "cropped only" for one in (first, second)
    )
    geometry = Geometry.of(first, second)
    return Two(first.pixels, second.pixels, geometry, done, rendering.to_pil(whole), f"{chosen.name}-views-{seed}")


def second_picture(say) -> Chosen | None:
    """The other picture: a sample, or an upload that stays in this session."""
    titles = {one.title: name for name, one in SAMPLES.items()}
    chosen = st.selectbox("Second picture", [*titles, SECOND_OWN], index=1, key="second", **LINK)
    if chosen != SECOND_OWN:
        st.query_params.pop(UPLOAD2, None)
        return Chosen(cache.sample(titles[chosen]), titles[chosen], None, "")
    file = st.file_uploader(
        "Second picture to upload", type=["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff"], key="file2"
    )
    if file is None:
        say.info("Upload the second picture on the left, or choose a sample there.")
        return None
    data = file.getvalue()
    digest = bytes_digest(data)
    try:
        found = session.decoded(data)
    except BadPicture as error:
        say.error(f"{file.name}: {error}")
        return None
    st.query_params[UPLOAD2] = digest
    return Chosen(found, f"upload-{digest[:12]}", None, "")


def two_pictures(model: ExplainableModel, first: Chosen, second: Chosen) -> Two:
    pixels = [model.prepare(one.picture).pixels for one in (first, second)]
    return Two(*pixels, None, ("as the network sees it",) * 2, first.picture, f"{first.name}-{second.name}")


def source_and_views(two: Two) -> None:
    """The picture with the two boxes, and the views."""
    with st.container(horizontal=True, gap="small"):
        if two.geometry is not None:
            with st.container(width=TILE + 60):
                st.image(_boxed(two), width="stretch", output_format="PNG", alt="The picture, with both views outlined")
                area = two.geometry.overlap(1, two.first.shape[1:]).float().mean()
                st.caption(f"Where they were cut: view 1 orange, view 2 blue. View 2 shows {area:.0%} of view 1.")
        for number, (one, done) in enumerate(zip(two.shown(), two.done, strict=True), start=1):
            with st.container(width=TILE):
                st.image(one, width="stretch", output_format="PNG", alt=f"View {number}: {done}")
                st.caption(f"**View {number}**: {done}")


def _boxed(two: Two) -> Image.Image:
    drawn = two.source.copy()
    pen, thick = ImageDraw.Draw(drawn), max(2, drawn.width // 120)
    for box, colour in zip(two.geometry.boxes, ("#d55e00", "#0072b2"), strict=True):
        left, top, right, bottom = box
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=thick)
    return drawn
