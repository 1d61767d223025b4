"""Regions that turn or keep an answer, against trying every set of segments and against answers known in closed form."""

from itertools import combinations

import numpy as np
import pytest
import torch
from small_models import pictures, small
from torch import nn

from xai_core.core.errors import BadRequest, NoClassifier, UnknownName
from xai_core.data.preprocessing import baseline_images
from xai_core.failures.deciding_regions import flip_region, keep_region
from xai_core.failures.hiding import HIDINGS, hider
from xai_core.metrics.faithfulness.imputation import imputed
from xai_core.models.explainable import ExplainableModel

STRIPS, HEIGHT = 10, 6
PARTS = torch.arange(STRIPS).repeat_interleave(2).expand(HEIGHT, 2 * STRIPS)


def strip_means(images):
    return images.mean((1, 2)).unflatten(1, (STRIPS, 2)).mean(2)


def network(classify, pool=strip_means):
    return ExplainableModel.from_stages([("pixels", nn.Identity())], pool, classify=classify)


def perceptron(seed):
    """A network whose classes depend on strips together: no strip has an effect of its own."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Linear(STRIPS, 12), nn.Tanh(), nn.Linear(12, 3))
    with torch.no_grad():
        layers[0].weight.mul_(12)
        layers[0].bias.copy_(-layers[0].weight @ torch.full((STRIPS,), 0.5))
    return network(layers)


def white_on_black(*white):
    """A black picture whose strips of these numbers are white."""
    return (torch.isin(PARTS, torch.tensor(white))).float().expand(3, -1, -1).contiguous()


def answers_to(model, image, hiding, sets, goal):
    """The answers to a picture with the segments of each set hidden, or with all others hidden."""
    inside = torch.stack([torch.isin(PARTS, torch.tensor(chosen, dtype=torch.long)) for chosen in sets])
    shown = hider(image[None], hiding)(inside if goal == "flip" else ~inside)
    return model.outputs(shown).logits.argmax(1).tolist()


def smallest_size(model, image, hiding, wanted, goal):
    """The size of the smallest set that gives the wanted answer, by trying all; None where there is none."""
    for size in range(STRIPS + 1):
        if wanted in answers_to(model, image, hiding, list(combinations(range(STRIPS), size)), goal):
            return size
    return None


def assert_it_is_needed_whole(region, model, image, wanted):
    sets = [region.segments, *combinations(region.segments, len(region.segments) - 1)]
    answers = answers_to(model, image, region.hiding, sets, region.goal)
    assert answers[0] == wanted and wanted not in answers[1:]


@pytest.mark.parametrize("hiding", HIDINGS)
@pytest.mark.parametrize("seed", range(6))
def test_regions_are_as_small_as_the_smallest_of_all_1024_sets(hiding, seed):
    model, image = perceptron(seed), torch.rand(3, HEIGHT, 2 * STRIPS, generator=torch.Generator().manual_seed(seed))
    predicted = int(model.outputs(image[None]).logits.argmax())
    for true in {0, 1, 2} - {predicted}:
        region = flip_region(model, image, true, hiding=hiding, parts=PARTS, passes=1200)
        size = smallest_size(model, image, hiding, true, "flip")
        assert region.state == ("not found" if size is None else "found")
        if size is not None:
            assert (len(region.segments), region.smallest) == (size, True)
            assert_it_is_needed_whole(region, model, image, true)
    region = keep_region(model, image, hiding=hiding, parts=PARTS, passes=1200)
    size = smallest_size(model, image, hiding, predicted, "keep")
    assert region.state == ("found" if size else "nothing to find") and len(region.segments) == size
    if size:
        assert region.smallest
        assert_it_is_needed_whole(region, model, image, predicted)


def any_two_of(*strips):
    """Class 1 where at least two of these strips are white, and class 0 elsewhere."""

    def classify(means):
        count = (means[:, list(strips)] > 0.9).sum(1)
        return torch.stack([torch.full_like(count, 3), 2 * count], 1).float() / 2

    return network(classify)


def test_the_region_and_its_figures_in_closed_form():
    """Of four white strips that speak for class 1, three must be hidden for class 0, and two keep class 1."""
    image = white_on_black(1, 3, 5, 8)
    flip = flip_region(any_two_of(1, 3, 5, 8), image, 0, hiding="mean", parts=PARTS)
    assert (flip.state, flip.goal, len(flip.segments), flip.of) == ("found", "flip", 3, STRIPS)
    assert set(flip.segments) < {1, 3, 5, 8}
    assert flip.mask.dtype == bool and (flip.mask == np.isin(PARTS.numpy(), flip.segments)).all()
    assert flip.share == 0.3
    assert flip.before.answer == 1 and flip.after.answer == 0
    assert flip.before.predicted == pytest.approx(1 / (1 + np.exp(1.5 - 4)), abs=1e-6)
    assert flip.after.predicted == pytest.approx(1 / (1 + np.exp(1.5 - 1)), abs=1e-6)
    assert flip.before.true == pytest.approx(1 - flip.before.predicted, abs=1e-6)
    keep = keep_region(any_two_of(1, 3, 5, 8), image, 0, hiding="mean", parts=PARTS)
    assert (keep.state, keep.goal, len(keep.segments)) == ("found", "keep", 2)
    assert keep.after.answer == 1 and keep.after.predicted == pytest.approx(1 / (1 + np.exp(1.5 - 2)), abs=1e-6)


def test_segments_that_the_search_took_in_vain_are_removed():
    """Strip 0 alone raises the true class the most, so that the search begins with it; strips 4 and 5 together suffice."""

    def classify(means):
        hidden = means < 0.95
        both = hidden[:, 4] & hidden[:, 5]
        true = 0.5 * hidden[:, 0] + 0.2 * hidden[:, 4] + 0.1 * hidden[:, 5] + 2.0 * both
        return torch.stack([torch.ones_like(true), true], 1)

    image = white_on_black(*range(STRIPS - 1))
    region = flip_region(network(classify), image, 1, hiding="mean", parts=PARTS, passes=60)
    assert region.segments == (4, 5)


def test_passes_are_counted_and_never_exceeded():
    shown = []

    def pool(images):
        shown.append(len(images))
        return strip_means(images)

    model = network(perceptron(0).network.classify, pool)
    image = torch.rand(3, HEIGHT, 2 * STRIPS, generator=torch.Generator().manual_seed(0))
    for limit in (20, 35, 120, 1200):
        for true in range(3):
            shown.clear()
            region = flip_region(model, image, true, parts=PARTS, passes=limit)
            assert region.passes == sum(shown) <= limit


def test_what_is_not_found_is_said():
    image = white_on_black(1, 3, 5, 8)
    all_ten = network(lambda means: torch.stack([means.sum(1) * 0 + 1, ((means - 0.4).abs() < 1e-4).all(1) * 2.0], 1))
    few = flip_region(all_ten, image, 1, hiding="mean", parts=PARTS, passes=30)
    assert (few.state, few.segments, few.after, few.share) == ("not found", (), None, 0)
    assert few.reason == "Within 30 passes no set of segments was found that turns the answer to the wanted class."
    never = network(lambda means: torch.tensor([[1.0, 0.0]]).repeat(len(means), 1))
    none = flip_region(never, image, 1, hiding="mean", parts=PARTS, passes=1200)
    assert (none.state, none.reason) == ("not found", "No set of segments turns the answer to the wanted class.")
    right = flip_region(never, image, 0, parts=PARTS)
    assert (right.state, right.reason) == ("nothing to find", "The answer is the wanted class already.")
    always = keep_region(never, image, parts=PARTS)
    assert (always.state, always.reason) == ("nothing to find", "The answer is the same with the whole picture hidden.")


def test_a_region_that_could_not_be_checked_is_not_shown():
    """Strips 0 to 4 must all be hidden. The picture, none, and 10 + 9 + 8 + 7 + 6 sets are 42 passes; the check takes 6."""
    first_five = network(lambda means: torch.stack([means[:, 0] * 0 + 4.5, (means[:, :5] < 0.95).sum(1).float()], 1))
    image = white_on_black(*range(STRIPS - 1))
    unchecked, checked, complete = (
        flip_region(first_five, image, 1, hiding="mean", parts=PARTS, passes=passes) for passes in (47, 48, 1200)
    )
    assert (unchecked.state, unchecked.segments, unchecked.passes) == ("not found", (), 42)
    assert "47 passes do not suffice" in unchecked.reason
    assert (checked.state, checked.segments, checked.passes) == ("found", (0, 1, 2, 3, 4), 48)
    assert (checked.smaller_tried, checked.smallest) == (2, False) and "Smaller sets may exist" in checked.reason
    assert (complete.segments, complete.smaller_tried, complete.smallest) == ((0, 1, 2, 3, 4), 5, True)
    assert "It is the smallest such set." in complete.reason


def test_equal_calls_give_equal_regions_and_the_seed_is_reported():
    image = white_on_black(1, 3, 5, 8)
    model = any_two_of(1, 3, 5, 8)
    regions = [flip_region(model, image, 0, hiding="mean", parts=PARTS, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert regions[0].segments == regions[1].segments and regions[0].passes == regions[1].passes
    assert [region.seed for region in regions] == [0, 0, 1, 2, 3]
    assert {len(region.segments) for region in regions} == {3}
    assert len({region.segments for region in regions}) > 1, "the seed orders what is equal"


def test_segments_found_in_the_picture_and_a_network_of_a_family():
    model, side = small("resnet").model, small("resnet").side
    image = pictures(1, side)[0]
    logits = model.outputs(image[None]).logits[0]
    second = int(logits.topk(2).indices[1])
    region = flip_region(model, image, second, segments=10, passes=300)
    assert (region.state, region.mask.shape) == ("found", (side, side)) and region.of > 2
    shown = hider(image[None], "blur")(torch.from_numpy(region.mask)[None])
    probabilities = model.outputs(shown).logits.softmax(1)[0]
    assert int(probabilities.argmax()) == second == region.after.answer
    assert region.after.true == pytest.approx(float(probabilities[second]), abs=1e-5)


def test_what_cannot_be_asked_is_refused():
    image = white_on_black(1)
    with pytest.raises(BadRequest, match="Option passes"):
        flip_region(perceptron(0), image, 0, passes=5, parts=PARTS)
    with pytest.raises(BadRequest, match="no class"):
        flip_region(perceptron(0), image, 7, parts=PARTS)
    with pytest.raises(NoClassifier):
        keep_region(network(None), image, parts=PARTS)


def test_hidings_are_those_of_the_metrics():
    image = pictures(1, 16)
    regions = torch.zeros(2, 16, 16, dtype=torch.bool)
    regions[0, 4:9, 3:12], regions[1] = True, True
    for hiding in ("blur", "mean"):
        expected = torch.where(regions[:, None], baseline_images(image, hiding), image)
        assert torch.equal(hider(image, hiding)(regions), expected)
    inpainted = hider(image, "inpainted")(regions)
    assert torch.equal(inpainted[:1], imputed(image, regions[:1].numpy()))
    assert torch.equal(inpainted[1:], baseline_images(image, "mean"))
    with pytest.raises(UnknownName):
        hider(image, "painted over")


def test_a_region_in_words_has_the_figures_of_the_region():
    image, names = white_on_black(1, 3, 5, 8), ("dark", "bright").__getitem__
    flip = flip_region(any_two_of(1, 3, 5, 8), image, 0, hiding="mean", parts=PARTS, passes=1200)
    before, after = 1 / (1 + np.exp(1.5 - 4)), 1 / (1 + np.exp(1 - 1.5))
    assert flip.in_words(names) == (
        f"Hiding these 3 of 10 segments (30% of the picture) turns bright ({before:.0%}) to dark ({after:.0%}). "
        "Without any one of them it does not. It is the smallest such set."
    )
    keep = keep_region(any_two_of(1, 3, 5, 8), image, hiding="mean", parts=PARTS, passes=1200)
    assert keep.in_words(names) == (
        f"These 2 of 10 segments (20% of the picture) keep bright ({before:.0%}) where all else is hidden "
        f"({1 / (1 + np.exp(1.5 - 2)):.0%}). Without any one of them they do not. It is the smallest such set."
    )
    one = flip_region(any_two_of(1, 3), white_on_black(1, 3), 0, hiding="mean", parts=PARTS, passes=1200)
    assert one.in_words(names).startswith("Hiding 1 of 10 segments (10% of the picture) turns bright (")
    assert "any one of them" not in one.in_words(names)
    right = flip_region(any_two_of(1, 3), white_on_black(1, 3), 1, parts=PARTS)
    assert right.in_words(names) == "Towards bright: The answer is the wanted class already."
