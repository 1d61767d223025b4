"""A network whose answer is a bright corner: the cause test names the corner, and nothing where nothing is."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from small_models import CORNER_SIDE as SIDE
from small_models import corner_model
from small_models import with_bright_corners as stamped
from torch import nn

from xai_core.core.errors import BadRequest
from xai_core.failures.causes import as_many_by_chance, cause_test, common_region, random_regions
from xai_core.failures.halves import halves
from xai_core.models.explainable import ExplainableModel

CORNER = torch.zeros(SIDE, SIDE, dtype=torch.bool)
CORNER[:6, :6] = True


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


def test_many_pictures_at_once_are_as_one_at_a_time():
    """Random regions of a picture are those of its seed; the answers do not depend on the other pictures."""
    images, true = stamped(19), [0, 1] * 9 + [0]
    many = cause_test(corner_model(), images, true, CORNER, seed=3).pictures
    alone = [
        cause_test(corner_model(), [images[place]], [true[place]], CORNER, seed=3 + place).pictures.assign(picture=place)
        for place in range(19)
    ]
    order = ["picture", "hiding"]
    expected = pd.concat(alone).sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(many.sort_values(order, ignore_index=True), expected, rtol=1e-5, atol=1e-5)


def test_p_is_that_of_all_ways_to_choose_one_region_of_each_picture():
    draws = np.random.default_rng(0)
    for controls in (1, 3):
        region, random = draws.integers(0, 2, 5), draws.integers(0, 2, (5, controls))
        rows = np.c_[region, random]
        reached = [rows[range(5), ways].sum() >= region.sum() for ways in itertools.product(range(1 + controls), repeat=5)]
        assert as_many_by_chance(region.astype(float), random.mean(1), controls) == pytest.approx(np.mean(reached))


def test_with_one_control_the_test_is_mcnemars():
    region, random = np.array([1.0] * 9 + [0, 0, 0, 1]), np.array([0.0] * 8 + [1, 1, 1, 0, 1])
    more, fewer = int((region > random).sum()), int((region < random).sum())
    expected = binomtest(more, more + fewer, alternative="greater").pvalue
    assert as_many_by_chance(region, random, 1) == pytest.approx(expected)


def test_effects_and_verdicts_are_those_of_the_pictures():
    result = cause_test(corner_model(), stamped(12), [0] * 8 + [1] * 4, CORNER, hidings=("mean",), seed=5)
    rows = result.pictures[result.pictures["wrong"]]
    effects = result.effects.set_index("hidden")
    assert len(rows) == 8 and effects.loc["region", "broken"] == 4
    for hidden in ("region", "random", "rest"):
        assert effects.loc[hidden, "mended"] == pytest.approx(rows[hidden].sum())
        assert effects.loc[hidden, "margin"] == pytest.approx(rows[f"{hidden} margin"].mean())
        assert effects.loc[hidden, "low"] <= effects.loc[hidden, "mended"] <= effects.loc[hidden, "high"]
    (verdict,) = result.verdicts.to_dict("records")
    assert verdict["more"] == pytest.approx((rows["region"] - rows["random"]).mean())
    assert verdict["more margin"] == pytest.approx((rows["region margin"] - rows["random margin"]).mean())
    assert verdict["margin low"] <= verdict["more margin"] <= verdict["margin high"]


def test_a_region_that_is_spread_over_the_picture_is_moved_across_the_edges():
    spread = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    spread[0, 0] = spread[-1, -1] = spread[0, -1] = spread[10, 0] = True
    regions = random_regions(spread, 6, 1)
    assert (regions.flatten(1).sum(1) == 4).all() and not (regions & spread).any()


def test_every_place_that_covers_little_of_the_region_can_be_drawn():
    """By brute force over all places in the frame."""
    wide = torch.zeros(8, 8, dtype=torch.bool)
    wide[:2, :5] = True
    allowed = {
        tuple(moved.flatten().tolist())
        for down in range(7)
        for across in range(4)
        if ((moved := wide.roll((down, across), (0, 1))) & wide).sum() <= 0.2 * 10
    }
    drawn = {tuple(one.flatten().tolist()) for one in random_regions(wide, len(allowed), 0)}
    assert drawn == allowed


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
