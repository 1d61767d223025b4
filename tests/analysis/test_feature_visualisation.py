"""Synthesised pictures: they climb what they are to climb, keep to [0, 1], and come back from a stage."""

import numpy as np
import pytest
import torch
from small_models import difference, pictures, small

from xai_core.analysis import feature_visualisation
from xai_core.analysis.feature_visualisation import (
    REGULARISATIONS,
    common_depths,
    invert,
    total_variation,
    visualise_features,
)
from xai_core.core.errors import BadRequest
from xai_core.explanation.similarity import COSINE


def last(snapshots):
    *_, found = snapshots
    return found


@pytest.mark.parametrize("regularisation", REGULARISATIONS)
def test_the_picture_becomes_like_the_reference(regularisation):
    model, reference = small("custom").model, pictures(1, 48, seed=3)[0]
    every = list(visualise_features(model, reference=reference, octaves=2, iterations=15, regularisation=regularisation))
    assert [one.number for one in every] == list(range(1, 31)) and {one.total for one in every} == {30}
    final = every[-1].picture
    assert final.shape == (3, 48, 48) and final.min() >= 0 and final.max() <= 1
    grey = torch.full((3, 48, 48), 0.5)
    alike = [float(COSINE(model.embed(one), model.embed(reference))) for one in (grey, final)]
    assert alike[1] > max(alike[0], 0.9)


def test_activations_grow_from_a_picture():
    found, start = small("resnet"), pictures(1, 96)[0]
    every = list(visualise_features(found.model, start=start, depth="layer2", octaves=2, iterations=6))
    norms = [
        float(found.model.network.trunk(one[None], found.model.network.cut_name("layer2")).norm())
        for one in (start, every[-1].picture)
    ]
    assert norms[1] > 1.2 * norms[0]
    assert difference(every[-1].picture, start) > 0.02


def test_octaves_grow_to_the_picture_and_start_no_smaller_than_32():
    assert feature_visualisation._sizes((224, 224), 10, 1.4) == [
        (42, 42),
        (58, 58),
        (82, 82),
        (114, 114),
        (160, 160),
        (224, 224),
    ]
    assert feature_visualisation._sizes((24, 24), 3, 1.4) == [(24, 24)]


def test_a_network_of_one_size_is_served_at_every_octave():
    model = small("swin").model
    found = last(visualise_features(model, reference=pictures(1, 56)[0], octaves=2, iterations=2))
    assert found.picture.shape == (3, 56, 56)


def test_an_early_stage_gives_the_picture_back():
    found, picture = small("resnet"), pictures(1, 96)[0]
    every = list(invert(found.model, picture, found.model.cuts[0], steps=80))
    assert every[-1].value < 0.05 < every[0].value and every[-1].total == 80
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert np.corrcoef(every[-1].picture[inner].ravel(), picture[inner].ravel())[0, 1] > 0.9
    late = last(invert(found.model, picture, found.model.cuts[-1], steps=10))
    assert late.value > every[-1].value
    again = last(invert(found.model, picture, found.model.cuts[-1], steps=10))
    assert torch.equal(late.picture, again.picture)


def test_variation_is_the_length_of_all_slopes():
    ramp = torch.arange(4.0).expand(1, 1, 3, 4)
    assert total_variation(ramp) == pytest.approx(9, abs=0.01)  # three slopes of one in each of three rows


def test_depths_of_two_networks():
    resnet, custom = small("resnet").model, small("custom").model
    assert common_depths([resnet, resnet], 2) == [(resnet.cuts[0],) * 2, (resnet.cuts[-1],) * 2]
    pairs = common_depths([resnet, custom], 3)
    assert pairs[-1] == (resnet.cuts[-1], custom.cuts[-1]) and all(a in resnet.cuts and b in custom.cuts for a, b in pairs)


@pytest.mark.parametrize(
    "options", [{"octaves": 0}, {"scale": 1.0}, {"regularisation": "hope"}, {"step": -1.0}, {"depth": "nowhere"}]
)
def test_mistakes_are_refused_before_any_step(options):
    with pytest.raises(BadRequest):
        visualise_features(small("custom").model, **options)
    with pytest.raises(BadRequest):
        invert(small("custom").model, pictures(1, 48)[0], steps=0)
