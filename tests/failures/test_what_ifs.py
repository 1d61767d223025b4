"""Changes of pictures in closed form; and what they mend, recomputed from the pictures themselves."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from small_models import brightness_model, pictures, small
from torch import nn

from xai_core.core import runtime
from xai_core.core.errors import BadRequest, NoClassifier, UnknownName
from xai_core.core.options import Range, options_of
from xai_core.data.preprocessing import blurred
from xai_core.failures import picture_changes
from xai_core.failures.picture_changes import CHANGES, NEUTRAL, PictureChange
from xai_core.failures.what_ifs import USUAL_CHANGES, shares_mended, what_if
from xai_core.models.explainable import ExplainableModel

SEEN, OTHERS = pictures(6, 24, 36).split(3)
MASKS = torch.zeros(3, 24, 36, dtype=torch.bool)
MASKS[:, 6:18, 9:20] = True


def changed(name, images=SEEN, masks=None, seed=0, backgrounds=None, **options):
    return PictureChange(name, options)(images, masks=masks, seed=seed, backgrounds=backgrounds)


def linear_model(side):
    """Random weights of every pixel, with which even pictures are undecided: the answers differ from picture to picture."""
    torch.manual_seed(0)
    classify = nn.Linear(3 * side * side, 3)
    with torch.no_grad():
        classify.bias.copy_(-0.5 * classify.weight.sum(1))
    return ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=classify)


def even(*values):
    return [torch.full((3, 8, 8), value) for value in values]


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_change_by_nothing_changes_nothing(name):
    assert torch.equal(changed(name, masks=MASKS, **NEUTRAL[name]), SEEN)


def test_every_other_change_changes_the_picture():
    assert set(CHANGES) - set(NEUTRAL) == {"JPEG", "mirrored", "background swapped"}
    for name in CHANGES:
        result = changed(name, masks=MASKS, backgrounds=OTHERS)
        assert result.shape == SEEN.shape and result.min() >= 0 and result.max() <= 1
        assert not torch.equal(result, SEEN), name


@pytest.mark.parametrize("name", CHANGES)
def test_bounds_hold_and_a_picture_does_not_depend_on_the_others(name):
    for option in options_of(CHANGES[name]):
        assert isinstance(option.bounds, Range)
        for value in (option.bounds.low, option.bounds.high):
            result = changed(name, masks=MASKS, **{option.name: value})
            assert torch.isfinite(result).all() and result.min() >= 0 and result.max() <= 1
        with pytest.raises(BadRequest, match=f"Option {option.name}"):
            PictureChange(name, {option.name: option.bounds.high + 1})
    alone = torch.cat([changed(name, SEEN[[row]], MASKS[[row]], backgrounds=OTHERS[[row]]) for row in range(3)])
    assert torch.allclose(alone, changed(name, masks=MASKS, backgrounds=OTHERS), atol=1e-6)


def test_light_and_colour():
    assert torch.equal(changed("brightness", factor=0.5), SEEN / 2)
    assert torch.equal(changed("brightness", factor=3), (SEEN * 3).clamp(0, 1))
    luma = (SEEN * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    grey_mean = luma.mean((2, 3), keepdim=True)
    assert torch.allclose(changed("contrast", factor=0), grey_mean.expand_as(SEEN), atol=1e-6)
    assert torch.allclose(changed("contrast", factor=0.5), (SEEN + grey_mean) / 2, atol=1e-6)
    assert torch.allclose(changed("grey"), luma.expand_as(SEEN), atol=1e-6)
    red, green = (torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 4, 4) for colour in ([1.0, 0, 0], [0, 1.0, 0]))
    assert torch.allclose(changed("hue", red, turn=1 / 3), green, atol=1e-5)


def test_sharpness_noise_and_jpeg():
    assert torch.equal(changed("blur", sigma=0.05), blurred(SEEN, 0.05 * 24, radius=4).clamp(0, 1))
    middle = torch.full((2, 3, 24, 36), 0.5)
    expected = (middle + 0.1 * runtime.normal_draw(7, 0, (3, 24, 36))).clamp(0, 1)
    assert torch.equal(changed("noise", middle, seed=7), expected)
    assert not torch.equal(changed("noise", middle, seed=8), expected)
    file = io.BytesIO()
    pixels = (SEEN[1] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=30)
    assert (
        changed("JPEG", quality=30)[1].mul(255).round().byte().permute(1, 2, 0).numpy() == np.array(Image.open(file))
    ).all()


def test_place():
    assert torch.equal(changed("mirrored"), SEEN.flip(3))
    square = SEEN[..., :24]
    assert torch.allclose(changed("rotation", square, degrees=90), square.rot90(1, (2, 3)), atol=1e-5)
    assert torch.allclose(changed("rotation", degrees=180), SEEN.flip(2, 3), atol=1e-5)
    moved = changed("shift", across=0.25, down=-0.5)
    assert torch.equal(moved[..., :12, 9:], SEEN[..., 12:, :27])
    assert torch.equal(moved[..., :12, :9], SEEN[..., 12:, :1].expand(3, 3, 12, 9)), "the edge is repeated"
    assert torch.equal(moved[..., 12:, 9:], SEEN[..., -1:, :27].expand(3, 3, 12, 27))
    framed = torch.zeros(1, 3, 24, 36)
    framed[..., 6:18, 9:27] = 1
    assert (changed("crop", framed, share=0.5) == 1).all()
    assert (changed("crop", framed, share=0.6)[..., :2, :] < 1).all()


def test_rotation_of_a_wide_picture_keeps_its_proportions():
    """A square in the middle of a wide picture is the same square after a quarter turn."""
    wide = torch.zeros(1, 3, 24, 36)
    wide[..., 8:16, 14:22] = 1
    assert torch.allclose(changed("rotation", wide, degrees=90), wide, atol=1e-5)


def test_only_the_background_is_blurred():
    result = changed("background blurred", masks=MASKS, sigma=0.05)
    inside = MASKS[:, None].expand_as(SEEN)
    assert torch.equal(result[inside], SEEN[inside])
    assert torch.allclose(result[~inside], blurred(SEEN, 0.05 * 24, radius=4)[~inside], atol=1e-6)
    with pytest.raises(BadRequest, match="takes a mask"):
        changed("background blurred")
    with pytest.raises(BadRequest, match="Masks must be"):
        changed("background blurred", masks=MASKS[:, 1:])


def test_only_the_background_is_swapped():
    result = changed("background swapped", masks=MASKS, backgrounds=OTHERS)
    inside = MASKS[:, None].expand_as(SEEN)
    assert torch.equal(result[inside], SEEN[inside]) and torch.equal(result[~inside], OTHERS[~inside])
    one = changed("background swapped", masks=MASKS, backgrounds=OTHERS[:1])
    assert torch.equal(one[~inside], OTHERS[:1].expand_as(SEEN)[~inside])
    with pytest.raises(BadRequest, match="takes a mask"):
        changed("background swapped", backgrounds=OTHERS)
    with pytest.raises(BadRequest, match="takes another picture"):
        changed("background swapped", masks=MASKS)
    with pytest.raises(BadRequest, match="Backgrounds must be like the pictures"):
        changed("background swapped", masks=MASKS, backgrounds=OTHERS[:2])


def test_a_swapped_background_mends_what_it_broke():
    """The mean is above .5 with a white background and below it with a black one, whatever the object is; each picture has
    its own background and mask, also in the second block of pictures."""
    model, number = brightness_model(), 70
    masks = torch.zeros(number, 8, 8)
    masks[:, 2:5, 2:5] = 1
    backgrounds = torch.zeros(number, 3, 8, 8)
    backgrounds[::3] = 1
    change = PictureChange("background swapped")
    rows = what_if(model, even(*[0.4] * number), [1] * number, [change], masks=masks, backgrounds=backgrounds)
    assert rows["mended"].tolist() == [place % 3 == 0 for place in range(number)] and change.needs_masks
    for_all = what_if(model, even(*[0.4] * number), [1] * number, [change], masks=masks, backgrounds=backgrounds[:1])
    assert for_all["mended"].all()
    with pytest.raises(BadRequest, match="70 pictures and 3 backgrounds"):
        what_if(model, even(*[0.4] * number), [1] * number, [change], masks=masks, backgrounds=backgrounds[:3])


def test_several_changes_are_made_one_after_the_other():
    changes = [PictureChange("background swapped"), PictureChange("mirrored"), PictureChange("brightness", {"factor": 0.5})]
    expected = torch.where(MASKS[:, None], SEEN, OTHERS).flip(3) / 2
    assert torch.equal(picture_changes.changed(SEEN, changes, masks=MASKS, backgrounds=OTHERS), expected)
    assert picture_changes.changed(SEEN, []) is SEEN


def test_what_is_mended_and_broken_in_closed_form():
    """Means .4, .45 and .3 are dark for a network that calls means above .5 bright; a factor of 1.2 lifts only .45 above."""
    rows = what_if(
        brightness_model(),
        even(0.4, 0.45, 0.3, 0.45),
        [1, 1, 1, 0],
        [PictureChange("brightness", {"factor": factor}) for factor in (1.2, 1.5)],
    )
    assert len(rows) == 8
    slightly, more = (rows[rows["change"] == f"brightness, factor {factor}"] for factor in (1.2, 1.5))
    assert slightly["mended"].tolist() == [False, True, False, False]
    assert more["mended"].tolist() == [True, True, False, False]
    assert slightly["broken"].tolist() == more["broken"].tolist() == [False, False, False, True]
    assert slightly["before"].tolist() == [0, 0, 0, 0] and slightly["after"].tolist() == [0, 1, 0, 1]
    means = np.array([0.4, 0.45, 0.3])
    of_bright = [1 / (1 + np.exp(-10 * (factor * means - 0.5))) for factor in (1, 1.5)]
    assert more["probability before"].to_numpy()[:3] == pytest.approx(of_bright[0], abs=1e-5)
    assert more["probability after"].to_numpy()[:3] == pytest.approx(of_bright[1], abs=1e-5)
    shares = shares_mended(rows)
    assert shares["change"].tolist() == ["brightness, factor 1.5", "brightness, factor 1.2"]
    assert shares["share mended"].tolist() == pytest.approx([2 / 3, 1 / 3]) and shares["share broken"].tolist() == [1, 1]


def test_shares_are_those_counted_from_the_pictures():
    """Of 70 pictures, more than are in memory at once; right ones are no part of the share mended."""
    model, images = linear_model(16), pictures(70, 16)
    true = np.random.default_rng(0).integers(0, 3, 70)
    rows = what_if(model, list(images), true.tolist(), USUAL_CHANGES, seed=3)
    shares = shares_mended(rows).set_index("change")
    assert len(shares) == len(USUAL_CHANGES) and len(rows) == 70 * len(USUAL_CHANGES)
    before = model.outputs(images).logits.argmax(1).numpy()
    for change in USUAL_CHANGES:
        after = model.outputs(change(images, seed=3)).logits.argmax(1).numpy()
        wrong, row = before != true, shares.loc[change.title]
        mended, broken = int((after == true)[wrong].sum()), int((after != true)[~wrong].sum())
        counts = row[["wrong", "mended", "right", "broken"]].tolist()
        assert counts == [wrong.sum(), mended, (~wrong).sum(), broken]
        assert row["share mended"] == mended / wrong.sum() and row["share broken"] == broken / (~wrong).sum()
        interval = binomtest(mended, int(wrong.sum())).proportion_ci(0.95, "wilson")
        assert (row["mended low"], row["mended high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert shares["mended"].gt(0).sum() > 8 and shares["broken"].gt(0).sum() > 8


def test_unchanged_pictures_mend_and_break_nothing():
    changes = [PictureChange(name, options) for name, options in NEUTRAL.items()]
    model, side = small("custom").model, small("custom").side
    rows = what_if(model, list(pictures(4, side)), [0, 1, 2, 3], changes, masks=torch.ones(4, side, side))
    assert (rows["before"] == rows["after"]).all() and (rows["probability before"] == rows["probability after"]).all()
    assert not rows["mended"].any() and not rows["broken"].any()
    again = what_if(model, list(pictures(4, side)), [0, 1, 2, 3], changes, masks=torch.ones(4, side, side))
    assert again.equals(rows)


def test_a_share_of_nothing_is_not_a_number():
    rows = what_if(brightness_model(), even(0.2, 0.3), [0, 0], [PictureChange("mirrored")])
    (share,) = shares_mended(rows).to_dict("records")
    assert (share["wrong"], share["right"], share["broken"], share["share broken"]) == (0, 2, 0, 0)
    assert np.isnan([share["share mended"], share["mended low"], share["mended high"]]).all()
    assert len(shares_mended(what_if(brightness_model(), [], []))) == 0


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(UnknownName, match="no change 'bright'"):
        PictureChange("bright")
    with pytest.raises(UnknownName, match="no option 'strength'"):
        PictureChange("blur", {"strength": 1})
    with pytest.raises(BadRequest, match="2 pictures and 1 true classes"):
        what_if(brightness_model(), even(0.2, 0.3), [0])
    with pytest.raises(BadRequest, match="2 pictures and 1 masks"):
        what_if(brightness_model(), even(0.2, 0.3), [0, 0], masks=MASKS[:1])
    with pytest.raises(BadRequest, match="no class 5"):
        what_if(brightness_model(), even(0.2), [5])
    nothing = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten())
    with pytest.raises(NoClassifier):
        what_if(nothing, even(0.2), [0])
