"""A map's answer in words: which colour speaks for what, and where most of the evidence lies."""

import numpy as np
import pytest
from made_maps import made, one_cell

from xai_core.explanation import wording
from xai_core.explanation.rendering import PALETTES, alt_text
from xai_core.explanation.targets import (
    ClassContrast,
    ClassLogit,
    ClassMargin,
    ClassProbability,
    SimilarityMargin,
    SimilarityTo,
    sides,
)

CAT = {"subject": "tiger cat"}
CATS = {"subject": "tiger cat", "rival": "tabby"}


def said(heatmap, signed=True, palette="red-blue", **changes) -> str:
    return wording.answer(made(heatmap, signed, **changes), palette)


def test_a_blob_at_the_upper_left():
    assert said(one_cell(0, 0, side=9), **CAT) == (
        "Red speaks for tiger cat; almost nothing speaks against it (blue). Most of the evidence lies at the upper left "
        "(100%). Half of the evidence fits into 1% of the picture."
    )


@pytest.mark.parametrize(
    ("cell", "place"),
    [((0, 1), "at the top"), ((1, 0), "on the left"), ((1, 1), "in the centre"), ((2, 1), "at the bottom"),
     ((2, 2), "at the lower right")],
)  # fmt: skip
def test_places_have_plain_names(cell, place):
    assert f"Most of the evidence lies {place} (100%)." in said(one_cell(*cell, side=3), **CAT)


def test_two_signs_in_two_places():
    heatmap = one_cell(1, 1, 3.0, side=3) + one_cell(0, 0, -1.0, side=3) + one_cell(2, 2, 1.0, side=3)
    assert said(heatmap, **CATS) == (
        "Red speaks for tiger cat, blue for tabby. Most of the red lies in the centre (75%); most of the blue lies at the "
        "upper left (100%)."
    )
    assert said(heatmap, **CAT).startswith("Red speaks for tiger cat, blue against it. ")
    assert said(heatmap, palette="brown-teal", **CAT).startswith(
        "Brown speaks for tiger cat, teal against it. Most of the brown"
    )


def test_evidence_in_two_places_names_both():
    heatmap = np.full((3, 3), 0.1)
    heatmap[1, 1], heatmap[0, 1] = 0.45, 0.45
    assert "Most of the evidence lies at the top and in the centre (56%)." in said(heatmap, **CAT)


def test_a_map_against_its_class():
    heatmap = one_cell(1, 2, -2.0, side=3)
    place = "Most of the evidence lies on the right (100%)."
    assert said(heatmap, **CAT) == f"Blue speaks against tiger cat; almost nothing speaks for it (red). {place}"
    assert said(heatmap, **CATS) == f"Blue speaks for tabby; almost nothing speaks for tiger cat (red). {place}"


def test_a_map_without_a_sign_has_no_blue():
    words = said(one_cell(1, 1, side=3), signed=False, **CAT)
    assert words == (
        "Bright places matter most for tiger cat; this map does not show what speaks against it. Most of the evidence lies "
        "in the centre (100%)."
    )
    assert "lue" not in words and "Red" not in words


@pytest.mark.parametrize("value", [0.2, 5.0])
def test_a_uniform_map_says_so(value):
    words = said(np.full((7, 7), value), signed=False, **CAT)
    assert words.endswith("The map is the same everywhere: no place stands out.") and "Most" not in words


def test_an_empty_map_says_so():
    assert said(np.zeros((7, 7)), **CAT) == "This map is empty: it shows no evidence for tiger cat."


def test_a_broken_map_says_so():
    assert said([[np.nan, 1.0]], **CAT) == "This map cannot be read: it contains values that are not numbers."


def test_noise_is_not_given_a_place():
    noise = np.random.default_rng(0)
    unsigned = said(noise.uniform(size=(224, 224)), signed=False, **CAT)
    assert "The evidence is spread evenly over the picture, so that no place stands out." in unsigned
    signed = said(noise.normal(size=(224, 224)), **CAT)
    assert "spread evenly" in signed and "Red and blue are mixed everywhere, as in noise" in signed


def test_signs_that_lie_apart_are_not_called_mixed():
    """Red on the left and blue on the right, each a little noisy."""
    halves = np.repeat([[1.0] * 32 + [-1.0] * 32], 64, axis=0) + np.random.default_rng(0).normal(0, 0.3, (64, 64))
    words = said(halves, **CAT)
    assert "mixed" not in words and "Most of the red lies" in words


def test_spread_evidence_names_its_largest_part_with_its_share():
    heatmap = np.ones((3, 3))
    heatmap[2, 0] = 2.0
    assert said(heatmap, **CAT).endswith(
        "The evidence is spread over the picture, and the largest part lies at the lower left (20%)."
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (14, 10), (224, 224)])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_any_map_gets_sentences_without_nan(shape, scale):
    words = said(np.random.default_rng(1).normal(size=shape).astype(np.float32) * np.float32(scale), **CATS)
    assert words.endswith(".") and "nan" not in words and words.count(". ") <= 2


def test_every_diverging_palette_has_names_for_its_colours():
    assert set(wording.SIGN_COLOURS) == set(PALETTES["diverging"])


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (ClassLogit((0,)), ("tabby", "")),
        (ClassProbability((1,)), ("tiger cat", "")),
        (ClassMargin((1,), (0,)), ("tiger cat", "tabby")),
        (ClassContrast((0,), ((1, 2),)), ("tabby", "tiger cat or lynx")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_subject_and_rival_are_the_short_names_of_the_classes(target, names):
    assert sides(target, 0, ["tabby, tabby cat", "tiger cat", "lynx, catamount"].__getitem__) == names


def test_subject_and_rival_of_similarities():
    import torch

    reference = torch.ones(1, 4)
    assert sides(SimilarityTo(reference), 0, str) == ("the similarity", "")
    assert sides(SimilarityMargin(reference, -reference), 0, str) == ("the reference", "its rival")


def test_an_explanation_knows_what_its_colours_speak_for(lite0):
    from xai_core import explain, load_sample

    explanation = explain(lite0, load_sample("chelsea"), "hires_cam", target="tiger cat", rival="tabby", relu=False)
    words = wording.answer(explanation)
    assert words.startswith("Red speaks for tiger cat, blue for tabby. ")
    assert words in alt_text(explanation, "Overlay")
