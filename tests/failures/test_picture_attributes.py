"""Statistics of pictures, against closed forms and against pictures whose order is known."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import laplace
from skimage.color import rgb2gray

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import Dataset, world_dataset
from xai_core.data.sample_list import Labelled
from xai_core.data.world import planted
from xai_core.failures.picture_attributes import HUES, light_and_colour, object_place, picture_statistics


def filled(*colour, size=(40, 30)):
    return np.full((size[1], size[0], 3), colour, np.uint8)


def dataset_of(**pictures):
    def read(name):
        file = io.BytesIO()
        Image.fromarray(pictures[name]).save(file, "PNG")
        return file.getvalue()

    return Dataset("made", tuple(Labelled(name, "a") for name in pictures), read)


def halved(left, right):
    """Half of the columns in one colour, half in another."""
    return np.concatenate([filled(*left), filled(*right)], 1)


def test_one_colour_has_its_luminance_and_no_contrast():
    found = light_and_colour(filled(255, 0, 0))
    assert found["brightness"] == pytest.approx(0.2125)
    assert [found["contrast"], found["sharpness"]] == pytest.approx([0, 0], abs=1e-12)
    # Hasler & Suesstrunk by hand: rg = 255, yb = 127.5, no deviation
    assert found["colourfulness"] == pytest.approx(0.3 * math.hypot(255, 127.5))
    assert found["hue"] == "red"


def test_black_and_white_halves():
    found = light_and_colour(halved((0, 0, 0), (255, 255, 255)))
    assert [found["brightness"], found["contrast"]] == pytest.approx([0.5, 0.5])
    assert found["colourfulness"] == pytest.approx(0, abs=1e-9) and found["hue"] == "grey"
    # the Laplacian is 1 and -1 in the two columns beside the edge of 80, and 0 elsewhere
    assert found["sharpness"] == pytest.approx(2 / 80)


def test_colourfulness_of_red_and_green_halves_by_hand():
    """rg is 255 and -255 (deviation 255, mean 0), yb 127.5 everywhere."""
    found = light_and_colour(halved((255, 0, 0), (0, 255, 0)))
    assert found["colourfulness"] == pytest.approx(255 + 0.3 * 127.5)


@pytest.mark.parametrize(
    ("colour", "hue"),
    [((255, 0, 0), "red"), ((255, 255, 0), "yellow"), ((0, 255, 0), "green"), ((0, 255, 255), "cyan"), ((0, 0, 255), "blue"),
     ((255, 0, 255), "magenta"), ((255, 0, 60), "red"), ((128, 128, 128), "grey"), ((130, 128, 128), "grey")],
)  # fmt: skip
def test_the_dominant_hue_is_the_sector_of_the_colour(colour, hue):
    assert light_and_colour(filled(*colour))["hue"] == hue
    assert hue in (*HUES, "grey")


def test_the_dominant_hue_has_the_most_chroma_not_the_most_pixels():
    picture = np.concatenate([filled(0, 0, 255), filled(140, 120, 120), filled(140, 120, 120)], 1)
    assert light_and_colour(picture)["hue"] == "blue"


def test_the_statistics_of_any_picture_are_those_of_scikit_image_and_scipy():
    """Within single precision; the formula of colourfulness is written out again."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    grey, (red, green, blue) = rgb2gray(pixels), np.moveaxis(pixels.astype(float), 2, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue]).reshape(2, -1)
    found = light_and_colour(pixels)
    expected = [grey.mean(), grey.std(), laplace(grey).var(),
                np.hypot(*opponents.std(1)) + 0.3 * np.hypot(*opponents.mean(1))]  # fmt: skip
    assert [found[name] for name in ("brightness", "contrast", "sharpness", "colourfulness")] == pytest.approx(
        expected, rel=1e-5
    )


def test_the_place_of_any_mask_is_the_mean_of_its_pixels():
    mask = np.random.default_rng(0).random((30, 50)) < 0.3
    mask[:, :10] = False
    down, across = np.nonzero(mask)
    assert list(object_place(mask).values()) == pytest.approx(
        [mask.mean(), (across.mean() + 0.5) / 50, (down.mean() + 0.5) / 30]
    )


def test_a_blurred_picture_is_less_sharp_and_nothing_else():
    draws = np.random.default_rng(0)
    sharp = Image.fromarray(draws.integers(0, 255, (90, 90, 3), np.uint8))
    found = [light_and_colour(np.asarray(one)) for one in (sharp, sharp.filter(ImageFilter.GaussianBlur(1)))]
    assert found[1]["sharpness"] < 0.05 * found[0]["sharpness"]
    assert found[1]["brightness"] == pytest.approx(found[0]["brightness"], abs=0.01)


def test_a_large_picture_is_reduced_so_that_its_resolution_does_not_count():
    """The same blocks of colour at 128 and at 1024 pixels."""
    blocks = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    small, large = (np.kron(blocks, np.ones((times, times, 1), np.uint8)) for times in (8, 64))
    table = picture_statistics(dataset_of(small=small, large=large))
    for name in ("brightness", "contrast", "colourfulness", "sharpness"):
        assert table.loc["large", name] == pytest.approx(table.loc["small", name], rel=1e-6)


def test_the_object_of_a_box_has_its_share_and_middle():
    objects = {"boxed": (10, 0, 30, 15), "bare": None}
    data = dataset_of(boxed=filled(9, 9, 9), bare=filled(9, 9, 9))
    table = picture_statistics(data, objects=objects.get)
    assert table.loc["boxed", "object size"] == pytest.approx(20 * 15 / (40 * 30))
    assert table.loc["boxed", ["object from left", "object from top"]].tolist() == pytest.approx([0.5, 0.25])
    assert table.loc["bare", "object size":].isna().all()
    with pytest.raises(BadRequest, match="outside the picture"):
        picture_statistics(data, ["boxed"], objects=lambda name: (50, 0, 60, 10))


def test_an_empty_mask_has_no_place():
    assert object_place(np.zeros((4, 4), bool)) == {}


def test_a_drawn_picture_has_its_thing_where_it_was_drawn():
    world = world_dataset(planted.clean(), 0, "test", 60, "few")
    table = picture_statistics(world)
    placed = [world.scene(name).things[0] for name in table.index]
    assert np.corrcoef(table["object from left"], [thing.x for thing in placed])[0, 1] > 0.95
    assert pd.Series(table["object size"]).corr(world.metadata["size"], method="spearman") > 0.8
    night = world.metadata["time"] == "night"
    assert table["brightness"][night].mean() < 0.7 * table["brightness"][~night].mean()


def test_pictures_that_cannot_be_read_are_unknown_and_the_others_keep_their_places():
    good = dataset_of(good=filled(255, 255, 255))
    broken = Dataset(
        "made", (Labelled("broken", "a"), Labelled("good", "a")), lambda name: b"no" if name == "broken" else good.read(name)
    )
    table = picture_statistics(broken)
    assert table.loc["broken"].isna().sum() == 4 and table.loc["broken", "hue"] == ""
    assert table.loc["good", "brightness"] == pytest.approx(1)


def test_a_dataset_without_boxes_has_no_columns_of_objects():
    assert picture_statistics(dataset_of(one=filled(1, 2, 3))).columns.tolist() == [
        "brightness", "contrast", "sharpness", "colourfulness", "hue",
    ]  # fmt: skip
