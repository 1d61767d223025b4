"""The strongest superpixels of a map: the lime package's own masks, and the boundaries that scikit-image draws of them."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from lime.lime_image import LimeImageExplainer
from skimage.segmentation import mark_boundaries
from small_models import ask, pictures, small

from xai_core.attribution.explain import explain
from xai_core.attribution.perturbation import superpixel_figure
from xai_core.attribution.perturbation.segmentation import segment
from xai_core.attribution.perturbation.superpixel_figure import AGAINST, FOR, SIDES, strongest_superpixels
from xai_core.core.errors import BadRequest
from xai_core.explanation.targets import ClassMargin

TARGET = ClassMargin((1,), (4,))
SEGMENTS, SAMPLES = 30, 150
ARGUMENTS = {
    "for": {"positive_only": True, "negative_only": False},
    "against": {"positive_only": False, "negative_only": True},
    "both": {"positive_only": False, "negative_only": False},
}


@pytest.fixture(scope="module")
def explained():
    """Our explanation with its picture, and the lime package's ImageExplanation of the same question, seed and segments."""
    found = small("efficientnet")
    image = pictures(1, found.side)[0]
    prepared, parts = found.model.prepare(image), segment(image, "slic", SEGMENTS)
    options = {"samples": SAMPLES, "segmentation": "slic", "segments": SEGMENTS}
    ours = explain(found.model, prepared, "lime", target=TARGET, seed=3, **options)
    question = ask(found.model, TARGET)

    def scores(batch):
        return question.scores(torch.from_numpy(batch).permute(0, 3, 1, 2).float()).numpy()[:, None]

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        theirs = LimeImageExplainer(random_state=3).explain_instance(
            image.permute(1, 2, 0).double().numpy(), scores, labels=(0,), top_labels=None, num_samples=SAMPLES,
            segmentation_fn=lambda _: parts.numpy(),
        )  # fmt: skip
    return ours, prepared, theirs


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("number", [1, 3, 8, 100])
def test_mask_and_boundaries_are_those_of_the_lime_package(explained, side, number):
    ours, prepared, theirs = explained
    found = strongest_superpixels(ours, prepared, number, side)
    _, mask = theirs.get_image_and_mask(0, num_features=number, **ARGUMENTS[side])
    assert mask.any() and set(np.unique(found.mask)) <= {"for": {0, 1}, "against": {0, -1}, "both": {-1, 0, 1}}[side]
    assert np.array_equal(found.mask if side != "against" else -found.mask, mask)
    drawn = mark_boundaries(np.zeros((*mask.shape, 3)), mask, color=(1, 1, 1))[..., 0] == 1
    assert np.array_equal(found.edges, drawn)
    coloured = np.array(found.picture(scale=1))
    lines = (coloured == FOR).all(-1) | (coloured == AGAINST).all(-1)
    assert np.array_equal(lines, drawn)
    own = (np.asarray(prepared.pixels.permute(1, 2, 0)) * 255).round().astype(np.uint8)
    assert np.array_equal(coloured[~drawn], own[~drawn])  # the rest keeps its own colours


@pytest.mark.parametrize("side", SIDES)
def test_words_and_chosen_are_counted_by_hand(explained, side):
    ours, prepared, theirs = explained
    found = strongest_superpixels(ours, prepared, 4, side)
    weights = dict(theirs.local_exp[0])
    fitting = [one for one in weights if side == "both" or (weights[one] > 0) == (side == "for")]
    expected = sorted(fitting, key=lambda one: -abs(weights[one]))[:4]
    assert list(found.chosen) == expected and np.allclose(
        found.weights, [weights[one] for one in sorted(weights)], atol=1e-6
    )
    positive = sum(weights[one] > 0 for one in expected)
    said = found.words
    assert said.startswith(f"{len(expected)} of {len(weights)} superpixels are outlined: ")
    assert (f"{positive} for {ours.subject} (orange)" in said) == (side != "against")
    assert (f"{len(expected) - positive} for {ours.rival} (blue)" in said) == (side != "for")
    share = sum(abs(weights[one]) for one in expected) / sum(map(abs, weights.values()))
    assert f"They hold {share:.0%} of" in said
    assert f"from {min(weights.values()):.3g} to {max(weights.values()):.3g}: " in said
    assert f"{sum(w > 0 for w in weights.values())} positive, {sum(w < 0 for w in weights.values())} negative." in said
    assert found.settings()["strongest"] == {"side": side, "superpixels": expected, "of": len(weights)}


def test_lines_have_the_colour_of_the_sign_they_enclose(explained):
    ours, prepared, _ = explained
    both = strongest_superpixels(ours, prepared, 8)
    drawn = np.array(both.picture(scale=3))
    assert drawn.shape[:2] == tuple(3 * side for side in both.mask.shape)
    for colour, sign in ((FOR, 1), (AGAINST, -1)):
        lines = (drawn[1::3, 1::3] == colour).all(-1)
        near = np.zeros_like(lines)
        padded = np.pad(both.mask == sign, 1)
        for down in range(3):
            for right in range(3):
                near |= padded[down : down + lines.shape[0], right : right + lines.shape[1]]
        assert lines.any() and not (lines & ~near).any() and not (lines & (both.mask == -sign)).any()


def test_fading_leaves_the_chosen_superpixels_as_they_are(explained):
    ours, prepared, _ = explained
    found = strongest_superpixels(ours, prepared, 3, "for")
    plain, faded = (np.array(found.picture(1, fade=fade), int) for fade in (False, True))
    inside, outside = (found.mask == 1) & ~found.edges, (found.mask == 0) & ~found.edges
    assert np.array_equal(plain[inside], faded[inside])
    assert np.abs(faded[outside] - (255 - superpixel_figure.FADED * (255 - plain[outside]))).max() <= 1


@pytest.mark.parametrize("method", ["feature_ablation", "kernel_shap"])
@pytest.mark.parametrize("segmentation", ["quickshift", "slic", "felzenszwalb"])
def test_other_methods_with_superpixels_have_the_figure_too(method, segmentation):
    found = small("efficientnet")
    prepared = found.model.prepare(pictures(1, found.side)[0])
    options = {"segmentation": segmentation} | ({"samples": 60} if method == "kernel_shap" else {})
    explanation = explain(found.model, prepared, method, target=1, **options)
    chosen = strongest_superpixels(explanation, prepared, 2)
    assert set(np.unique(explanation.heatmap[chosen.mask != 0])) == {
        np.float32(chosen.weights[one]) for one in chosen.chosen
    }
    assert len(chosen.weights) == explanation.facts["segments"]


class TestRefused:
    def test_another_method_picture_side_or_number(self, explained):
        ours, prepared, _ = explained
        model, other = small("efficientnet").model, small("efficientnet").model.prepare(pictures(2, 64)[1])
        with pytest.raises(BadRequest, match="has no superpixels"):
            strongest_superpixels(explain(model, prepared, "grad_cam", target=1), prepared)
        with pytest.raises(BadRequest, match="of another picture"):
            strongest_superpixels(ours, other)
        with pytest.raises(BadRequest, match="one of for, against, both"):
            strongest_superpixels(ours, prepared, side="left")
        with pytest.raises(BadRequest, match="At least one"):
            strongest_superpixels(ours, prepared, 0)

    def test_superpixels_that_were_given(self):
        found = small("efficientnet")
        prepared = found.model.prepare(pictures(1, found.side)[0])
        ours = explain(found.model, prepared, "feature_ablation", target=1)
        with pytest.raises(BadRequest, match="superpixels of its own"):
            strongest_superpixels(replace(ours, heatmap=np.roll(ours.heatmap, 7, 1)), prepared)

    def test_a_side_on_which_nothing_is_says_so(self, explained):
        ours, prepared, _ = explained
        segments = superpixel_figure.superpixels(ours, prepared)
        for sign, side, said in (
            (1, "against", f"No superpixel speaks for {ours.rival}."),
            (-1, "for", "No superpixel speaks for"),
        ):
            one_sided = replace(ours, heatmap=sign * np.abs(ours.heatmap))
            found = strongest_superpixels(one_sided, prepared, 5, side, segments=segments)
            assert found.words.startswith(said) and not found.mask.any() and not found.edges.any() and not found.chosen
        empty = replace(ours, heatmap=np.zeros_like(ours.heatmap))
        found = strongest_superpixels(empty, prepared, 5, "both", segments=segments)
        assert "No superpixel speaks" in found.words and "0 positive, 0 negative" in found.words and not found.mask.any()
