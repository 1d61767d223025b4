"""Worlds as datasets: pictures are drawn when they are read, nothing is stored.

A dataset's name is `world:planted` or `world:clean`, further parts after colons: `world:planted:background` is the test set in which
that cause is turned round, `world:planted:train` is what its networks were trained on.
"""

import io
from functools import lru_cache

from PIL import Image

from xai_core.core.errors import BadPicture, BadRequest, UnknownName
from xai_core.data.datasets import MAX_PICTURES, Dataset, Labelled
from xai_core.data.world import planted as worlds
from xai_core.data.world.planted import BROKEN, CLASSES, VERSION, Picture, World, picture
from xai_core.data.world.scene import draw

PREFIX = "world:"
TEST_COUNT, TRAIN_COUNT = 1_000, 10_000
SEED = 0


def names() -> list[str]:
    """The worlds that pages offer, as tests."""
    return [f"{PREFIX}planted", *(f"{PREFIX}planted:{cause}" for cause in BROKEN), f"{PREFIX}clean"]


def open_world(name: str) -> Dataset:
    """The dataset of a name such as world:planted:mark. Raises UnknownName, BadRequest."""
    kind, *parts = name.removeprefix(PREFIX).split(":")
    if kind not in ("planted", "clean"):
        raise UnknownName("world", name, names())
    world = worlds.planted() if kind == "planted" else worlds.clean()
    split = "test"
    for part in parts:
        if part == "train":
            split = "train"
        else:
            world = worlds.broken(world, part)
    if split == "train" and world.broken:
        raise BadRequest(f"{name}: a training set has no cause turned round; leave out one of the two parts.")
    return world_dataset(world, SEED, split, TRAIN_COUNT if split == "train" else TEST_COUNT, name)


def world_dataset(world: World, seed: int, split: str, count: int, title: str) -> Dataset:
    """`count` pictures of a world as a dataset; a picture is named label/number.png. Raises BadRequest."""
    if not 0 < count <= MAX_PICTURES:
        raise BadRequest(f"A world of {count:,} pictures was asked for; it holds 1 to {MAX_PICTURES:,}.")
    samples = tuple(Labelled(f"{picture(world, seed, split, i).label}/{i:06d}.png", "") for i in range(count))
    samples = tuple(Labelled(sample.name, sample.name.split("/")[0]) for sample in samples)
    known = {sample.name for sample in samples}

    def read(name: str) -> bytes:
        if name not in known:
            raise BadPicture(f"{title} has no picture {name}.")
        return drawn_file(world, seed, split, int(name.split("/")[1].removesuffix(".png")))

    return Dataset(title, samples, read, lambda name: f"drawn {VERSION} {world} {seed} {split}")


@lru_cache(maxsize=64)
def drawn_file(world: World, seed: int, split: str, index: int) -> bytes:
    """A picture as a PNG file, so that it goes wherever files of pictures go."""
    pixels, _ = draw(picture(world, seed, split, index).scene)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
