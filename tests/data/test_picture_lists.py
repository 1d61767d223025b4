"""Datasets of pictures that a script holds: every form gives the same pixels; what cannot be one is refused in words."""

import numpy as np
import pytest
import torch
from PIL import Image

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.data import datasets
from xai_core.data.picture_lists import dataset_of

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)


def test_every_form_gives_the_same_pixels(tmp_path):
    file = tmp_path / "one.png"
    Image.fromarray(PIXELS).save(file)
    forms = [
        file,
        str(file),
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS.astype(np.int64),
        PIXELS / 255,
        torch.tensor(PIXELS).permute(2, 0, 1),
        torch.tensor(PIXELS).permute(2, 0, 1) / 255,
    ]
    dataset = dataset_of((form, "ant") for form in forms)
    assert len(dataset.names) == len(forms) and dataset.classes == ("ant",)
    for one in dataset.samples:
        np.testing.assert_array_equal(np.asarray(dataset.open(one.name)), PIXELS)
    assert dataset.samples[0].name == "ant/one.png" and dataset.samples[1].name != "ant/one.png"


def test_grey_pictures_are_opened_in_three_equal_channels():
    grey = PIXELS[:, :, 0]
    dataset = dataset_of([(grey, 0), (grey[:, :, None], 1), (torch.tensor(grey)[None], 2)])
    for one in dataset.samples:
        np.testing.assert_array_equal(np.asarray(dataset.open(one.name)), np.stack([grey] * 3, 2))
    assert dataset.classes == ("class 0", "class 1", "class 2")


def test_labels_are_names_numbers_or_none():
    labels = ["bee", 0, np.int64(1), torch.tensor(1), None, "a/b"]
    dataset = dataset_of([(PIXELS, label) for label in labels], class_names=["ant", "bee"])
    assert [one.label for one in dataset.samples] == ["bee", "ant", "bee", "bee", "", "a/b"]
    assert dataset.samples[5].name == "a-b/000005.png"


def test_other_pixels_have_another_digest():
    changed = PIXELS.copy()
    changed[0, 0, 0] ^= 1
    assert dataset_of([(PIXELS, "a")]).digest == dataset_of([(PIXELS.copy(), "a")]).digest
    assert len({dataset_of([pair]).digest for pair in [(PIXELS, "a"), (PIXELS, "b"), (changed, "a")]}) == 3


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], "holds no pictures"),
        ([PIXELS], "number 0 is no pair"),
        ([(PIXELS, "a"), ("no/such.png", "a")], "number 1 is not there: no/such.png"),
        ([(object(), "a")], "number 0 holds values that are no|has the shape"),
        ([(PIXELS.transpose(2, 0, 1), "a")], r"has the shape \(3, 12, 10\)"),
        ([(PIXELS / 127 - 1, "a")], "values from -1 to 1.01; .*without the network's normalisation"),
        ([(np.full((4, 4), np.nan), "a")], "no finite numbers"),
        ([(PIXELS.astype(int) + 1000, "a")], "from 1e\\+03 to"),
        ([(PIXELS, 2)], "is 2, but there are 2 classes, from 0 on"),
        ([(PIXELS, [1, 2])], "is list: give a name or a number"),
    ],
)
def test_what_is_no_picture_or_label_is_refused(items, words):
    with pytest.raises(BadRequest, match=words):
        dataset_of(items, class_names=["ant", "bee"])


def test_a_given_dataset_is_offered_first_until_it_is_taken_back():
    first, second = dataset_of([(PIXELS, "a")], "Mine"), dataset_of([(PIXELS, "b")], "Mine")
    datasets.give("Mine", first)
    try:
        assert next(iter(datasets.offered())) == "Mine"
        source = datasets.find_offered("Mine")
        assert datasets.open_dataset(source) is first
        assert datasets.may_have(source, "a/000000.png") and not datasets.may_have(source, "a/no.png")
        datasets.give("Mine", second)
        assert datasets.open_dataset(datasets.find_offered("Mine")) is second
        with pytest.raises(BadRequest, match="a script that has taken it back"):
            datasets.open_dataset(source)
    finally:
        datasets.withdraw("Mine")
    with pytest.raises(UnknownName):
        datasets.find_offered("Mine")
