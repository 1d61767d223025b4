"""Would it change its mind? What the page says of regions and changes is computed again from the network and the picture."""

from functools import cache
from itertools import combinations
from unittest.mock import patch

import pytest
import torch
from opened_pages import ROOT, followed, opened, text

from xai_core.app.shared import cache as results
from xai_core.app.shared import progress, region_view
from xai_core.attribution.explain import explain
from xai_core.attribution.perturbation.segmentation import segment
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import read_predictions
from xai_core.data.samples import load_sample
from xai_core.failures import flip_region, keep_region, what_if
from xai_core.failures.causes import common_region
from xai_core.failures.hiding import hider
from xai_core.failures.picture_changes import PictureChange
from xai_core.failures.what_ifs import USUAL_CHANGES
from xai_core.models.loading import load_model

PAGE, MISSES = "pages/1_Single_image.py", "pages/6_Misclassifications.py"
WORLD = "world:planted"


@cache
def error():
    """A picture that the network of the world gets wrong, from the predictions that come with the app."""
    (file,) = (ROOT / "data" / "predictions").glob("world_planted*.parquet")
    rows = read_predictions(file)
    return rows[(rows["true"] != rows["predicted"]) & (rows["confidence"] > 0.9)].iloc[0]


@cache
def network():
    return load_model("world_planted")


@cache
def picture():
    return open_dataset(WORLD).open(error()["path"])


@cache
def seen():
    return network().prepare(picture()).pixels[None]


def opened_on_the_error(**query):
    subject = {"model": network().title, "picture": "A picture of a dataset", "picture.dataset": WORLD}
    app = opened(PAGE, **subject, **{"picture.sample": error()["path"]}, **query)
    assert not app.error, [error.value for error in app.error]
    return app


def probabilities(pixels):
    return network().outputs(pixels).logits.softmax(1)


def moved(app, key, value):
    with patch.object(progress, "AT_ONCE_SECONDS", 1e6):
        app.slider(key=key).set_value(value).run()
    assert not app.exception and not app.error
    return app


def test_nothing_is_searched_before_it_is_asked():
    app = opened_on_the_error()
    assert "Would it change its mind?" in text(app) and app.segmented_control(key="mind").value is None
    assert "Towards which class?" not in [box.label for box in app.selectbox]


def test_the_regions_shown_do_what_the_page_says():
    """The sentences, and the claims in them: recomputed by hiding the segments, and all but one of them."""
    words = text(opened_on_the_error(mind="Hide a region"))
    true, predicted = int(error()["true_index"]), int(error()["predicted_index"])
    flip, keep = flip_region(network(), picture(), true), keep_region(network(), picture())
    where = segment(seen()[0], "slic", 50)
    for region, wanted in ((flip, true), (keep, predicted)):
        sets = [region.segments, *combinations(region.segments, len(region.segments) - 1)]
        inside = torch.stack([torch.isin(where, torch.tensor(chosen, dtype=torch.long)) for chosen in sets])
        shown = probabilities(hider(seen(), "blur")(inside if region.goal == "flip" else ~inside))
        assert int(shown[0].argmax()) == wanted and wanted not in shown[1:].argmax(1).tolist()
        before, after = float(probabilities(seen())[0, predicted]), float(shown[0, wanted])
        count, of, share = len(region.segments), int(where.max()) + 1, float(inside[0].float().mean())
        these = f"{count} of {of} segments ({share:.0%} of the picture)"
        assert these in words
        assert (f"turns {error()['predicted']} ({before:.0%}) to {error()['true']} ({after:.0%})" in words) == (
            wanted == true
        )
    assert "Without any one of them it does not." in words


def test_a_region_that_is_not_found_is_said():
    app = opened_on_the_error(mind="Hide a region", **{"region.passes": "20"})
    said = [info.value for info in app.info]
    assert any("Within 20 passes no set of segments was found" in words and "Allow more passes" in words for words in said)


def test_another_class_can_be_wanted_and_the_answer_cannot():
    app = opened_on_the_error()
    app.segmented_control(key="mind").set_value("Change the picture").run()
    box = app.selectbox(key="towards")
    assert box.value == "True class" and f"Could it be **{error()['true']}**?" in text(app)
    labels = [f"{name} ({index})" for index, name in enumerate(network().class_names)]
    assert set(labels) - set(box.options) == {labels[error()["predicted_index"]]}
    third = int(probabilities(seen())[0].argsort(descending=True)[3])
    box.set_value(third).run()
    name = network().class_names[third]
    rows = what_if(network(), [picture()], [third])
    assert (
        f"{rows['mended'].sum()} of {len(USUAL_CHANGES)} usual changes, each made alone, turn the answer to {name}"
        in text(app)
    )
    right = opened(PAGE, picture="Coffee", mind="Change the picture")
    assert right.selectbox(key="towards").value == "Next most probable class"


@pytest.mark.parametrize(("name", "option", "value"), [("brightness", "factor", 0.3), ("rotation", "degrees", 120.0)])
def test_the_answer_and_the_map_follow_a_slider(name, option, value):
    app = opened_on_the_error(mind="Change the picture")
    assert "Nothing is changed yet" in app.info[0].value
    app = moved(app, f"change.{name}.{option}", value)
    pixels = PictureChange(name, {option: value})(seen())
    check_answer(app, pixels)
    logits = network().outputs(torch.cat([pixels, seen()])).logits[:, int(error()["predicted_index"])].tolist()
    assert f"Grad-CAM for the logit of {error()['predicted']}: {logits[0]:.4g} now, {logits[1]:.4g} before." in text(app)


def check_answer(app, pixels):
    before, after = probabilities(seen())[0], probabilities(pixels)[0]
    index, true = int(after.argmax()), int(error()["true_index"])
    words = text(app)
    assert f"**{network().class_names[index]}**, {after[index]:.1%}" in words
    assert f"Probability of {error()['true']}: {before[true]:.1%} before, {after[true]:.1%} now." in words


def test_several_changes_are_made_and_reset():
    app = opened_on_the_error(
        mind="Change the picture", **{"change.grey.share": "1.0", "change.mirrored": "true", "change.JPEG": "true"}
    )
    changes = [PictureChange("grey"), PictureChange("JPEG"), PictureChange("mirrored")]
    pixels = seen()
    for change in changes:
        pixels = change(pixels)
    check_answer(app, pixels)
    assert "in this order: grey, share 1; JPEG, quality 20; mirrored." in text(app)
    next(button for button in app.button if button.label == "Reset").click().run()
    assert "Nothing is changed yet" in app.info[0].value
    assert app.slider(key="change.grey.share").value == 0 and not app.toggle(key="change.JPEG").value


def test_the_background_is_swapped_around_a_box_and_blurred_around_the_map():
    box = {"left-128x128": "10", "top-128x128": "20", "right-128x128": "70", "bottom-128x128": "90"}
    app = opened_on_the_error(
        mind="Change the picture", background="Swapped", **{"background from": "Chelsea the cat"}, **box
    )
    mask = torch.zeros(1, 128, 128)
    mask[:, 20:90, 10:70] = 1
    other = network().prepare(load_sample("chelsea")).pixels[None]
    check_answer(app, torch.where(mask.bool()[:, None], seen(), other))
    app = opened_on_the_error(mind="Change the picture", background="Blurred", stays="The map's own region")
    region = common_region(torch.from_numpy(explain(network(), picture(), method="grad_cam").to_input())[None], 0.25)
    check_answer(app, PictureChange("background blurred")(seen(), masks=region[None]))


def test_an_empty_box_is_explained():
    app = opened_on_the_error(
        mind="Change the picture", background="Blurred", **{"left-128x128": "100", "right-128x128": "20"}
    )
    assert "The box is empty" in app.info[0].value and not app.exception


def test_the_drawer_finds_the_region_and_leads_to_the_section():
    results.clear()
    app = opened(MISSES, sample=error()["path"], **{"mending region": "true"})
    assert flip_region(network(), picture(), int(error()["true_index"])).in_words(network().class_name) in text(app)
    page = followed(app, "Would it change its mind?")
    assert (
        page.segmented_control(key="mind").value == "Hide a region" and page.selectbox(key="towards").value == "True class"
    )


def test_one_progress_goes_over_all_steps_of_a_search():
    begun, done = [], []

    def track(items):
        begun.append(list(items))
        for item in begun[-1]:
            done.append(item)
            yield item

    steps = region_view.over_the_limit(track, 5)
    assert [list(steps(range(0, total, 16))) for total in (40, 16)] == [[0, 16, 32], [0]]
    assert begun == [[0, 1, 2, 3, 4]] and done == [0, 1, 2, 3]
    assert list(steps(range(0, 48, 16))) == [0, 16, 32]
    assert len(begun) == 3 and begun[1:] == [[16], [32]], (
        "batches beyond the limit are tracked one by one, so that Cancel works"
    )
