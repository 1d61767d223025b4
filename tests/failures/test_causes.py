"""A network whose answer is a bright corner: the cause test names the corner, and nothing where nothing is."""

import numpy as np
import pytest
import torch
from small_models import brightness_model
from torch import nn

from xai_core.core.errors import BadRequest
from xai_core.failures.causes import cause_test, common_region, random_regions
from xai_core.failures.halves import halves
from xai_core.models.explainable import ExplainableModel

SIDE = 24
CORNER = torch.zeros(SIDE, SIDE, dtype=torch.bool)
CORNER[:6, :6] = True


def corner_model():
    """Class 1 where the corner's mean is above 0.5."""
    return brightness_model(np.s_[:, :, :6, :6])


def stamped(count):
    images = 0.3 * torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    images[:, :, :6, :6] = 1
    return list(images)


def test_the_corner_is_named():
    result = cause_test(corner_model(), stamped(20), [0] * 20, CORNER, hidings=("mean", "inpainted"))
    effects = result.effects.set_index(["hiding", "hidden"])
    assert result.causes
    assert effects.loc[("mean", "region"), "mended"] == 20
    assert effects.loc[("mean", "random"), "mended"] < 2
    assert "20 of 20 errors" in result.sentence


def test_disagreement_is_said_where_the_blur_leaves_a_bright_corner_bright():
    result = cause_test(corner_model(), stamped(20), [0] * 20, CORNER)
    assert not result.causes
    assert result.verdicts["causes"].tolist() == [False, True, True]
    assert "disagree: it is a cause only by mean, inpainted" in result.sentence


def test_another_place_is_cleared():
    result = cause_test(corner_model(), stamped(20), [0] * 20, CORNER.flip(0, 1))
    assert not result.verdicts["causes"].any()
    assert "not shown to cause errors" in result.sentence


def test_right_pictures_are_broken_and_no_error_is_said():
    result = cause_test(corner_model(), stamped(4), [1] * 4, CORNER)
    effects = result.effects.set_index(["hiding", "hidden"])
    assert effects.loc[("mean", "region"), "broken"] == 4
    assert not result.causes
    assert result.sentence == "Nothing is tested: none of these pictures is an error."


def test_two_errors_are_too_few():
    assert not cause_test(corner_model(), stamped(2), [0] * 2, CORNER).causes


def test_a_constant_network_has_no_cause():
    model = ExplainableModel.from_stages(
        [("pixels", nn.Identity())], lambda images: 0 * images.mean((1, 2, 3))[:, None], classify=nn.Linear(1, 2)
    )
    answer = int(model.outputs(stamped(1)[0][None]).logits.argmax())
    result = cause_test(model, stamped(20), [1 - answer] * 20, CORNER)
    assert not result.verdicts["causes"].any()


def test_random_regions_have_the_shape_and_lie_elsewhere():
    regions = random_regions(CORNER, 8, 3)
    assert regions.flatten(1).sum(1).tolist() == [36] * 8
    assert ((regions & CORNER).flatten(1).sum(1) <= 0.2 * 36).all()
    with pytest.raises(BadRequest, match="too large"):
        random_regions(torch.ones(SIDE, SIDE, dtype=torch.bool), 1)


def test_the_common_region_of_maps_and_the_halves():
    maps = torch.rand(5, SIDE, SIDE) * 0.1 + CORNER.float()
    assert torch.equal(common_region(maps, 36 / SIDE**2), CORNER)
    first, second = halves(11, 1)
    assert sorted([*first, *second]) == list(range(11))
    with pytest.raises(BadRequest, match="zero"):
        common_region(torch.zeros(2, 4, 4))
