"""Mosaics, four pictures in one: no box needs to be drawn by hand, because each picture's quarter is known.

Source: the grid pointing game of Böhle et al. 2021, arXiv:2104.00032. Deviations: a mosaic has the size of a usual picture,
so that every network accepts it and sees each part at half its width (in the paper it is twice the network's size); and
parts are not chosen by a network's confidence, so that all networks are asked about the same mosaics.
"""

import io
import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from xai_core.core.errors import BadPicture, BadRequest
from xai_core.data.box import Box
from xai_core.data.datasets import Dataset
from xai_core.data.image_io import to_rgb
from xai_core.data.sample_list import Labelled
from xai_core.data.selection import label_of, open_images

PARTS = 4
QUARTER = 256  # pixels of a part's side: a network of 224 x 224 is shown 112 of them
BOXES: tuple[Box, ...] = tuple(
    (float(left), float(top), float(left + QUARTER), float(top + QUARTER)) for top in (0, QUARTER) for left in (0, QUARTER)
)


def mosaic(pictures: Sequence[Image.Image]) -> tuple[Image.Image, list[Box]]:
    """The centre squares of four pictures as one picture of 512 x 512 pixels, row by row, and the box of each in it.

    Ask about the class of one and measure localisation with its box, as for any picture with a box; a uniform map has a
    quarter of its values there. A recipe that crops removes the same width from each part, so that every part stays a
    quarter of what any network sees (within a pixel, where the crop cannot be centred). Raises BadRequest, BadPicture.
    """
    if len(pictures) != PARTS:
        raise BadRequest(f"A mosaic is made of four pictures; these are {len(pictures)}.")
    whole = Image.new("RGB", (2 * QUARTER, 2 * QUARTER))
    for picture, (left, top, _, _) in zip(pictures, BOXES, strict=True):
        part = ImageOps.fit(to_rgb(picture), (QUARTER, QUARTER), Image.Resampling.BICUBIC)
        whole.paste(part, (int(left), int(top)))
    return whole, list(BOXES)


def mosaic_set(dataset: str | Path | Dataset, count: int, seed: int = 0) -> tuple[Dataset, dict[str, list[Box]]]:
    """`count` mosaics of a labelled dataset, and their boxes by name: what `evaluate(..., target="label", boxes=...)` takes.

    Each has pictures of four labels (a folder's, or a WordNet id with which a file's name begins); its own label is that of
    one of them, and its box is there. Labels are drawn with equal chances, then a picture of each. A mosaic depends
    only on the dataset's names, the seed and its number: a larger set begins with the mosaics of a smaller one. They are
    made when they are read, as BMP (the same bytes on every machine), and not stored. Raises BadRequest.
    """
    dataset = open_images(dataset)
    if count < 1:
        raise BadRequest(f"At least one mosaic is needed, not {count}.")
    names: dict[str, list[str]] = {}
    for entry in sorted(dataset.samples, key=lambda one: one.name):
        names.setdefault(label_of(entry), []).append(entry.name)
    labels = sorted(names.keys() - {""})
    if len(labels) < PARTS:
        known = f"{dataset.title} has pictures of {len(labels)}" if labels else f"{dataset.title} has none with a label"
        raise BadRequest(
            f"A mosaic is made of pictures of four classes, and {known}: give a folder with a subfolder for each class."
        )
    samples, parts, boxes = [], {}, {}
    for number in range(1, count + 1):
        draws = random.Random(f"mosaic {number} of seed {seed}")
        four, place = draws.sample(labels, PARTS), draws.randrange(PARTS)
        name = f"{four[place]}/mosaic_{number:04}.bmp"
        samples.append(Labelled(name, four[place]))
        parts[name] = [draws.choice(names[label]) for label in four]
        boxes[name] = [BOXES[place]]

    def read(name: str) -> bytes:
        buffer = io.BytesIO()
        mosaic([_part(dataset, part) for part in parts[name]])[0].save(buffer, "BMP")
        return buffer.getvalue()

    def checksum(name: str) -> str:
        return " ".join(dataset.content(part) for part in parts[name])

    return Dataset(f"mosaics of {dataset.title}, seed {seed}", tuple(samples), read, checksum), boxes


def _part(dataset: Dataset, name: str) -> Image.Image:
    try:
        return dataset.open(name)
    except BadPicture as error:
        raise BadPicture(f"Its part {name}: {error}") from None
