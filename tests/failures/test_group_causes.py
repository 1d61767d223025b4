"""A network whose answer is a bright corner: half of the errors suggest the corner, the other half confirms it."""

import numpy as np
import pytest
import torch
from small_models import CORNER_SIDE as SIDE
from small_models import corner_model
from small_models import with_bright_corners as stamped
from torch import nn

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.failures import group_causes
from xai_core.failures.group_causes import OWN, group_cause, group_sample
from xai_core.failures.halves import halves
from xai_core.models.explainable import ExplainableModel

CORNER = np.s_[:6, :6]
SHARE = 36 / SIDE**2


def cause(count=20, right=4, **options):
    options = {"method": "saliency", "share": SHARE, "hidings": ("mean", "inpainted"), **options}
    return group_cause(corner_model(), stamped(count + right), [0] * count + [1] * right, **options)


def test_one_half_suggests_the_corner_and_the_other_half_confirms_it():
    result = cause()
    first, second = halves(20, 0)
    assert result.found.tolist() == first.tolist()
    assert result.tested.tolist() == [*second, 20, 21, 22, 23]
    assert result.test.causes and result.regions[0][CORNER].all() and result.regions.sum() == 36 * len(result.tested)
    assert result.test.effects.iloc[0]["errors"] == 10 and result.test.effects.iloc[0]["broken"] == 4
    assert set(result.mended) == set(second)


def test_a_region_of_each_pictures_own_map():
    result = cause(where=OWN)
    assert result.test.causes and result.regions[:, :6, :6].all()
    (action, _) = group_causes.actions(result, "all", [str(place) for place in range(24)])
    assert "each picture's map marks" in action.title


def test_actions_name_the_mended_pictures_first_and_say_what_was_measured():
    result = cause()
    augment, collect = group_causes.actions(result, "red things", [f"{place}.png" for place in range(24)])
    assert (augment.kind, collect.kind) == ("augment", "collect")
    assert augment.paths[: len(result.mended)] == tuple(f"{place}.png" for place in result.mended)
    assert set(augment.paths) == {f"{place}.png" for place in range(20)}
    assert "mends 10 of 10 errors" in augment.reason and "breaks 4 of 4 right ones" in augment.estimate
    assert augment.about == "red things" and augment.settings["method"] == "saliency"


def test_nothing_follows_where_the_ways_of_hiding_disagree():
    """A blurred corner stays bright."""
    result = cause(hidings=("blur", "mean"))
    assert not result.test.causes and group_causes.actions(result, "all", [""] * 24) == []


@pytest.mark.parametrize(("errors", "words"), [(0, "no errors"), (1, "1 error"), (9, "9 errors")])
def test_too_few_errors_are_told(errors, words):
    result = cause(errors)
    assert result.test is None and words in result.reasons[0] and not len(result.mended)
    assert group_causes.actions(result, "all", [""] * (errors + 4)) == []


def test_maps_of_zeros_suggest_nothing():
    model = ExplainableModel.from_stages(
        [("pixels", nn.Identity())], lambda images: 0 * images.mean((1, 2, 3))[:, None], classify=nn.Linear(1, 2)
    )
    answer = int(model.outputs(stamped(1)[0][None]).logits.argmax())
    result = group_cause(model, stamped(12), [1 - answer] * 12, method="saliency")
    assert result.test is None and "zero everywhere" in result.reasons[0]


def test_pictures_of_one_class_that_is_always_answered_have_no_errors():
    layer = nn.Linear(1, 2)
    layer.load_state_dict({"weight": torch.zeros(2, 1), "bias": torch.tensor([1.0, 0.0])})
    model = ExplainableModel.from_stages(
        [("pixels", nn.Identity())], lambda images: images.mean((1, 2, 3))[:, None], classify=layer
    )
    assert "no errors" in group_cause(model, stamped(12), [0] * 12).reasons[0]
    assert "no errors" in group_cause(model, [], []).reasons[0]


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(UnknownName, match="kind of region"):
        cause(where="anywhere")
    with pytest.raises(BadRequest, match="true classes"):
        group_cause(corner_model(), stamped(2), [0])


def test_a_sample_has_the_groups_errors_and_right_ones_of_their_classes():
    true = np.array(["a"] * 300 + ["b"] * 100 + ["c"] * 100)
    predicted = true.copy()
    predicted[:250] = "b"
    errors_only = group_sample(true, predicted, np.arange(240))
    assert len(errors_only) == 200 + 50 and len(set(errors_only)) == 250
    assert (errors_only[:200] < 240).all()
    assert ((errors_only[200:] >= 250) & (errors_only[200:] < 300)).all(), "right ones of class a, outside the group"
    with_right = group_sample(true, predicted, np.array([0, 1, 410, 420]))
    assert with_right.tolist() == [0, 1, 410, 420]
