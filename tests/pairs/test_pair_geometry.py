"""Views whose place in the picture is known, and a network that knows every place: what the metrics must then say."""

import math

import numpy as np
import pytest
import torch
from small_models import difference, pictures, small
from torch import nn

from xai_core.core.errors import BadRequest
from xai_core.explanation.similarity import COSINE, Contrast, CrossCorrelation, DotProduct, InfoNCE
from xai_core.explanation.targets import SimilarityMargin, SimilarityTo
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import Outputs
from xai_core.pairs import geometry as known
from xai_core.pairs.augment import TRANSFORMS, Augmentation, draw_view, draw_views, transformed
from xai_core.pairs.evaluate import evaluate_pair
from xai_core.pairs.explain import ask_pair, explain_pair
from xai_core.pairs.geometry import AREA, CENTRE, Geometry, centres, matches

CROPS = Augmentation(crop=0.3, flip=True, jitter=0, greyscale=0, blur=0)


def coordinates(side=96):
    """A picture whose red says how far right, and whose green says how far down."""
    x, y = centres((side, side)).unbind(-1)
    return torch.stack([x, y, torch.full_like(x, 0.5)])


class Places(nn.Module):
    """Activations that are most alike where red and green are."""

    def forward(self, images):
        at = nn.functional.avg_pool2d(images[:, :2], 8) * math.pi
        return torch.cat([at.cos(), at.sin()], 1)


@pytest.fixture(scope="module")
def places():
    return ExplainableModel.from_stages([("places", Places())], lambda seen: seen.mean((2, 3)))


@pytest.mark.parametrize("seed", range(4))
def test_a_view_shows_the_part_that_its_box_says(seed):
    for number in range(3):
        view = draw_view(coordinates(), CROPS, seed, number, (64, 48))
        assert view.pixels.shape == (3, 64, 48)
        geometry = Geometry((view.box, (0.0, 0.0, 96.0, 96.0)), (view.mirrored, False))
        there = geometry.in_other(1, centres((64, 48)))
        assert (there - view.pixels[:2].permute(1, 2, 0))[2:-2, 2:-2].abs().max() < 0.01  # resizing blends at the edges
        assert torch.allclose(geometry.in_other(2, there), centres((64, 48)), atol=1e-5)


def test_views_are_drawn_again_from_seed_and_number():
    picture = pictures(1, 48)[0]
    first = draw_views(picture, Augmentation(), 3, 4)
    assert torch.equal(first, draw_views(picture, Augmentation(), 3, 4))
    assert torch.equal(first[2], draw_view(picture, Augmentation(), 3, 2).pixels)
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, draw_views(picture, Augmentation(), 4, 4))
    whole = draw_view(picture, Augmentation(crop=1, flip=False, jitter=0, greyscale=0, blur=0), 0, 0)
    assert torch.equal(whole.pixels, picture) and whole.box == (0, 0, 48, 48) and whole.transforms == ()
    with pytest.raises(BadRequest, match="augmentation's crop"):
        Augmentation(crop=0)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_grow_with_their_strength(name):
    picture = pictures(1, 48)
    assert torch.allclose(transformed(picture, name, 1, 0.0), picture, atol=1e-5)
    moved = [float((transformed(picture, name, 1, strength) - picture).abs().mean()) for strength in (0.3, 1.0)]
    assert 0 <= moved[0] < moved[1]
    assert torch.equal(transformed(picture, name, 1), transformed(picture, name, 1))


def test_the_overlap_of_two_boxes_is_its_area():
    halves = Geometry(((0, 0, 60, 40), (30, 0, 90, 40)))
    assert halves.overlap(1, (40, 60)).float().mean() == 0.5
    assert halves.overlap(1, (40, 60))[:, 30:].all() and halves.overlap(2, (40, 60))[:, :30].all()
    mirrored = Geometry(((0, 0, 60, 40), (30, 0, 90, 40)), (False, True))
    assert mirrored.overlap(2, (40, 60))[:, 30:].all()


def test_cells_are_matched_with_the_cells_of_the_same_place(places):
    first, second = (draw_view(coordinates(), CROPS, 1, number, (64, 64)) for number in (0, 1))
    geometry = Geometry.of(first, second)
    pair = ask_pair(places, first.pixels, second.pixels)
    for view in (1, 2):
        errors = known.matching_errors(known.cell_similarities(pair), geometry, view)
        inside = errors.isfinite()
        assert inside.any() and torch.equal(inside, geometry.overlap(view, (8, 8)))
        assert errors[inside].max() < 0.15  # a cell is 1/8
    for view in (1, 2):
        for row, column in geometry.overlap(view, (8, 8)).nonzero().tolist():
            best = divmod(int(matches(pair, view, (row, column)).argmax()), 8)
            there = geometry.in_other(view, centres((8, 8))[row, column])
            assert (centres((8, 8))[best] - there).norm() < 0.15
    with pytest.raises(BadRequest, match="8 x 8 cells"):
        matches(pair, 1, (8, 0))


def test_maps_are_scored_by_what_lies_in_the_overlap(places):
    first, second = (draw_view(coordinates(), CROPS, 1, number, (64, 64)) for number in (0, 1))
    geometry = Geometry.of(first, second)
    inside = tuple(geometry.overlap(view, (64, 64)).float().numpy() for view in (1, 2))
    maps = {"inside": inside, "outside": tuple(1 - one for one in inside)}
    rows = evaluate_pair(places, first.pixels, second.pixels, maps, ["OS", "CE"], geometry=geometry)
    found = {(row.method, row.metric, row.view): row.value for row in rows}
    assert found["inside", "OS", "both"] == 1 and found["outside", "OS", 1] == 0
    for view in (1, 2):
        assert found[AREA, "OS", view] == pytest.approx(inside[view - 1].mean())
        assert 0 < found[CENTRE, "OS", view] < 1
        assert found[AREA, "CE", view] < 0.1 and found["inside", "CE", view] < 0.1
    assert len(rows) == 4 * 2 * 3
    every = evaluate_pair(places, first.pixels, second.pixels, {"inside": inside}, geometry=geometry, step=2000)
    assert {row.metric for row in every if row.method == "inside"} >= {"SI", "MS", "OS", "CE"}


def embeddings(n, seed=0):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_similarities_equal_their_formulas():
    a, b, others = embeddings(3, 1), embeddings(3, 2), embeddings(7, 3)
    unit = [one / one.norm(dim=1, keepdim=True) for one in (a, b, others)]
    cosine = (unit[0] * unit[1]).sum(1)
    assert torch.allclose(COSINE(a, b), cosine) and torch.allclose(DotProduct()(a, b), (a * b).sum(1))
    terms = [(cosine / 0.2).exp() / ((cosine / 0.2).exp() + (anchor @ unit[2].T / 0.2).exp().sum(1)) for anchor in unit[:2]]
    assert torch.allclose(InfoNCE(others, 0.2)(a, b), (terms[0].log() + terms[1].log()) / 2)
    negative = others[:1]
    expected = cosine - (unit[0] @ unit[2][0] + unit[1] @ unit[2][0]) / 2
    assert torch.allclose(Contrast(negative)(a, b), expected)
    bank = embeddings(50, 4)
    moved = bank.roll(1, 0)  # of the same mean and deviation
    diagonal = [np.corrcoef(bank[:, i], moved[:, i])[0, 1] for i in range(5)]
    assert CrossCorrelation(bank)(bank, moved).mean() == pytest.approx(np.mean(diagonal))


@pytest.mark.parametrize("similarity", [DotProduct(), "negatives", "bank", "contrast"])
def test_similarities_can_be_explained(similarity):
    found = small("custom")
    first, second, *rest = pictures(8, found.side).split(1)
    others = found.model.outputs(torch.cat(rest)).embedding
    similarity = {"negatives": InfoNCE(others), "bank": CrossCorrelation(others), "contrast": Contrast(others[:1])}.get(
        similarity, similarity
    )
    one, _ = explain_pair(found.model, first, second, "input_x_gradient", similarity=similarity)
    leaf = first.clone().requires_grad_()
    outputs = found.model.network.outputs
    gradient = torch.autograd.grad(similarity(outputs(leaf).embedding, outputs(second).embedding).sum(), leaf)[0]
    assert difference(one.heatmap, (first * gradient).abs().amax(1)[0].detach()) < 1e-4
    cosine, _ = explain_pair(found.model, first, second, "input_x_gradient")
    assert one.key != cosine.key and similarity.words in one.target
    by_class, _ = explain_pair(found.model, first, second, "class:saliency", similarity=similarity)
    assert by_class.target_value == pytest.approx(one.target_value, rel=1e-4)


def test_embeddings_of_other_sizes_are_refused():
    a, b = embeddings(2, 1), embeddings(2, 2)
    with pytest.raises(BadRequest, match="Negatives must be"):
        InfoNCE(torch.zeros(3, 4))(a, b)
    with pytest.raises(BadRequest, match="two embeddings"):
        CrossCorrelation(torch.zeros(1, 5))(a, b)


def test_a_similarity_margin_is_the_difference_of_two_similarities():
    a, near, far = embeddings(2, 1), embeddings(2, 2), embeddings(2, 3)
    outputs = Outputs(a)
    margin = SimilarityMargin(near, far)
    assert torch.allclose(margin(outputs), SimilarityTo(near)(outputs) - SimilarityTo(far)(outputs))
    assert torch.allclose(margin.select([1])(Outputs(a[1:])), margin(outputs)[1:])
    assert len(margin) == 2 and margin.key(0) != margin.key(1) and margin.key(0) != SimilarityTo(near).key(0)
    with pytest.raises(BadRequest, match="both"):
        SimilarityMargin(near, far[:1])
