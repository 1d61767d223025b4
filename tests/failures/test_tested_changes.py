"""Changes that mend errors: chosen on one half, tested on the other against all changes; counted again from the rows."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from small_models import brightness_model
from torch import nn

from xai_core.failures import tested_changes
from xai_core.failures.halves import halves
from xai_core.failures.picture_changes import PictureChange
from xai_core.failures.tested_changes import CHOSEN, mending_changes
from xai_core.failures.what_ifs import USUAL_CHANGES, what_if
from xai_core.models.explainable import ExplainableModel

BRIGHTER = PictureChange("brightness", {"factor": 1.5}).title


def even(*values):
    return [torch.full((3, 8, 8), value) for value in values]


def dark_errors(count=24, right=6):
    """Class 1 where the mean is above 0.5: of the dark pictures of class 1, only more light mends the answer."""
    pictures = even(*np.linspace(0.35, 0.45, count), *[0.4] * right)
    return mending_changes(brightness_model(), pictures, [1] * count + [0] * right)


def test_more_light_is_confirmed_and_nothing_else():
    result = dark_errors()
    assert result.confirmed["change"].tolist() == [BRIGHTER]
    (row,) = result.confirmed.to_dict("records")
    assert (row["errors"], row["mended"], row["right"], row["broken"]) == (12, 12, 6, 6)
    (action,) = tested_changes.actions(result, "dark", [str(place) for place in range(30)])
    assert action.kind == "augment" and action.title == "Vary brightness while training: dark"
    assert "mends 12 of 12 held-out errors" in action.reason and "breaks 6 of 6 right ones" in action.estimate
    assert {int(path) for path in action.paths[:12]} == set(result.tested.tolist())


def test_counts_are_those_of_the_held_out_half():
    torch.manual_seed(0)
    model = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=nn.Linear(3 * 64, 3))
    pictures = list(torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
    true = np.random.default_rng(0).integers(0, 3, 40).tolist()
    result = mending_changes(model, pictures, true, seed=2)
    rows = what_if(model, pictures, true, USUAL_CHANGES, seed=2)
    errors = np.unique(rows.loc[rows["before"] != rows["true"], "picture"])
    held_out = errors[halves(len(errors), 2)[1]]
    assert result.tested.tolist() == held_out.tolist()
    assert sorted(result.changes["change"]) == sorted(change.title for change in USUAL_CHANGES)
    assert result.changes["chosen"].sum() == CHOSEN
    for row in result.changes.to_dict("records"):
        own = rows[rows["change"] == row["change"]].set_index("picture")
        mended = int(own.loc[held_out, "mended"].sum())
        assert (row["errors"], row["mended"]) == (len(held_out), mended)
        assert (row["right"], row["broken"]) == (40 - len(errors), own["broken"].sum())
        level = 1 - 0.05 / len(USUAL_CHANGES)
        interval = binomtest(mended, len(held_out)).proportion_ci(level, "wilson")
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)
        assert set(result.mended(row["change"])) == set(own.index[own["mended"]])


def test_changes_that_mend_alike_are_not_confirmed():
    """All changes are of one kind: none mends more errors than the others do."""
    changes = [PictureChange("brightness", {"factor": 1.5 + 0.1 * more}) for more in range(6)]
    result = mending_changes(brightness_model(), even(*[0.45] * 20), [1] * 20, changes)
    assert result.changes["mended"].tolist() == [10] * 6 and not len(result.confirmed)
    assert tested_changes.actions(result, "all", [""] * 20) == []


@pytest.mark.parametrize(("count", "words"), [(0, "no errors"), (1, "1 error"), (9, "9 errors")])
def test_too_few_errors_are_told(count, words):
    result = dark_errors(count)
    assert words in result.reasons[0] and not len(result.confirmed)
    assert tested_changes.actions(result, "dark", [""] * 30) == []


def test_no_pictures_and_an_unmended_group():
    assert "no errors" in mending_changes(brightness_model(), [], []).reasons[0]
    result = mending_changes(brightness_model(), even(*[0.01] * 12), [1] * 12)
    assert not result.reasons and not result.changes["chosen"].any() and not len(result.confirmed)
    assert result.changes["mended"].sum() == 0 and result.changes["share broken"].isna().all()
