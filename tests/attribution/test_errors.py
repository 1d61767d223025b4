"""What cannot be asked is refused in one sentence, before any work; memory that runs out is lived with; a run can stop.

Out of memory is played by a stage that refuses more than two pictures at once. Maps made in such small pieces equal the
usual ones to 1e-5 of the largest value.
"""

from dataclasses import replace

import pytest
import torch
from small_models import CHEAP as FEW
from small_models import NAMES, TRACED, difference, pictures, small, targets

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain, explain_methods
from xai_core.core import errors
from xai_core.core.errors import BadRequest, NoClassifier, OutOfMemory, UnknownName, XaiError
from xai_core.explanation.targets import ClassLogit, ClassMargin

SEVERAL_BATCHES = {
    "smooth_grad": {"samples": 7}, "integrated_gradients": {"steps": 7}, "occlusion": {"window": 24, "stride": 8},
}  # fmt: skip
CHEAP = FEW | SEVERAL_BATCHES
pytestmark = pytest.mark.usefixtures("segmented_once")
LONG = ("smooth_grad", "integrated_gradients", "occlusion")


def one(side=48):
    return pictures(1, side)[0]


REFUSED = {  # what is wrong -> (error, what the sentence says, the call)
    "method": (UnknownName, "no method 'grad_kam'. Known: grad_cam", lambda m: explain(m, one(), "grad_kam")),
    "cut": (UnknownName, "no cut 'middle'. Known: early, late", lambda m: explain(m, one(), "grad_cam", cut="middle")),
    "class name": (UnknownName, "no class 'cat'", lambda m: explain(m, one(), "saliency", target="cat")),
    "class index": (BadRequest, "no class 10", lambda m: explain(m, one(), "saliency", target=10)),
    "negative class": (BadRequest, "no class -1", lambda m: explain(m, one(), "saliency", target=-1)),
    "strange class": (UnknownName, "no class '--1'", lambda m: explain(m, one(), "saliency", target="--1")),
    "option": (UnknownName, "no option 'steps'", lambda m: explain(m, one(), "smooth_grad", steps=3)),
    "option's value": (BadRequest, "from 2 to 200", lambda m: explain(m, one(), "smooth_grad", samples=1)),
    "option's type": (BadRequest, "true or false", lambda m: explain(m, one(), "grad_cam", relu="perhaps")),
    "option's choice": (BadRequest, "one of black", lambda m: explain(m, one(), "occlusion", fill="pink")),
    "precision": (BadRequest, "exact, fast, not 'half'", lambda m: explain(m, one(), "grad_cam", precision="half")),
    "seed": (BadRequest, "whole number", lambda m: explain(m, one(), "smooth_grad", seed=0.5)),
    "rival": (BadRequest, "own rival", lambda m: explain(m, one(), "saliency", target=3, rival=3)),
    "rival beside a target": (
        BadRequest,
        "inside the target",
        lambda m: explain(m, one(), "saliency", target=ClassLogit((1,)), rival=3),
    ),
    "number of classes": (
        BadRequest,
        "2 classes for 3 pictures",
        lambda m: explain(m, list(pictures(3, 48)), "saliency", target=[1, 2]),
    ),
    "number of rivals": (
        BadRequest,
        "1 classes for 3 pictures",
        lambda m: explain(m, list(pictures(3, 48)), "saliency", target=1, rival=[2]),
    ),
    "number of values": (
        BadRequest,
        "holds 2 values for 3 pictures",
        lambda m: explain(m, list(pictures(3, 48)), "saliency", target=ClassMargin((1, 2), (3, 4))),
    ),
    "integers": (BadRequest, "float", lambda m: explain(m, (one() * 255).to(torch.uint8), "saliency")),
    "range": (BadRequest, r"in \[0, 1\]", lambda m: explain(m, one() * 255, "saliency")),
    "negative range": (BadRequest, r"in \[0, 1\]", lambda m: explain(m, one() - 0.5, "saliency")),
    "not a number": (BadRequest, r"in \[0, 1\]", lambda m: explain(m, one() * torch.nan, "saliency")),
    "channels": (BadRequest, r"\(3, H, W\)", lambda m: explain(m, one()[:1], "saliency")),
    "axes": (BadRequest, r"\(3, H, W\)", lambda m: explain(m, one()[0], "saliency")),
    "different sizes": (BadRequest, "one size", lambda m: explain(m, [one(), one(64)], "saliency")),
    "window": (BadRequest, "64 pixels does not fit", lambda m: explain(m, one(), "occlusion")),
    "stride": (BadRequest, "leave gaps", lambda m: explain(m, one(), "occlusion", window=8, stride=12)),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_refused_in_one_sentence(wrong):
    error, says, call = REFUSED[wrong]
    with pytest.raises(error, match=says) as caught:
        call(small("custom").model)
    assert isinstance(caught.value, XaiError)
    assert "\n" not in str(caught.value)


def test_explain_methods_refuses_at_once_not_when_it_is_read():
    model = small("custom").model
    with pytest.raises(UnknownName):
        explain_methods(model, one(), {"grad_cam": {}, "grad_kam": {}})
    with pytest.raises(BadRequest):
        explain_methods(model, one(), {"smooth_grad": {"samples": 1}})


@pytest.mark.parametrize("method", ["grad_cam", "saliency", "occlusion"])
def test_network_with_a_fixed_size_says_which(method):
    with pytest.raises(BadRequest, match="takes pictures of 160 x 160 pixels only, not 96 x 128"):
        explain(small("vit").model, pictures(1, 96, 128)[0], method)


@pytest.mark.parametrize("name", ["resnet", "efficientnet"])
@pytest.mark.parametrize("method", [name for name in METHODS if name != "occlusion"])
def test_convolutional_networks_take_a_single_pixel(name, method):
    """Methods that take a picture apart into regions refuse it in one sentence, as those that need attention do."""
    refusals = {
        "perturbation": r"cannot be divided|is finer than a picture",
        "attention": "needs .* It has no attention",
    }
    if METHODS[method].family in refusals:
        with pytest.raises(BadRequest, match=refusals[METHODS[method].family]):
            explain(small(name).model, torch.full((3, 1, 1), 0.5), method, target=1, **CHEAP.get(method, {}))
        return
    found = explain(small(name).model, torch.full((3, 1, 1), 0.5), method, target=1, **CHEAP.get(method, {}))
    assert found.heatmap.shape == (1, 1)


def test_no_pictures_give_no_explanations():
    assert explain(small("custom").model, [], "saliency") == []
    assert explain(small("custom").model, torch.zeros(0, 3, 48, 48), "saliency") == []


def test_every_error_is_named_in_the_docstring_of_its_module():
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, XaiError):
            assert name in errors.__doc__
    assert issubclass(NoClassifier, BadRequest) and issubclass(UnknownName, BadRequest)


def fitting(method):
    """The name of a small network that the method fits."""
    return "vit" if METHODS[method].family == "attention" else "custom"


def scarce(limit, name="custom"):
    """A small network on a device whose memory ends at `limit` pictures; and what it is told of."""
    whole, seen = small(name).model, []

    def gate(activations):
        seen.append(len(activations))
        if len(activations) > limit:
            raise torch.OutOfMemoryError("out of memory")
        return activations

    network = whole.network
    stages = tuple(replace(stage, run=lambda x, run=stage.run: run(gate(x))) for stage in network.stages)
    gated = replace(network, stages=stages, pool=lambda x: network.pool(gate(x)))
    return replace(whole, network=gated), seen


@pytest.mark.parametrize(
    ("method", "name"),
    [*((method, fitting(method)) for method in METHODS), ("grad_cam", TRACED[0]), ("rise", TRACED[0])],
)
@pytest.mark.parametrize("asked", ["given", "predicted"])
def test_out_of_memory_leads_to_smaller_batches(method, name, asked):
    model, seen = scarce(2, name)
    images = list(pictures(4, small(name).side))
    target = targets(small(name), 4)["margin"] if asked == "given" else None
    found = explain(model, images, method, target=target, **CHEAP.get(method, {}))
    usual = explain(small(name).model, images, method, target=target, **CHEAP.get(method, {}))
    assert max(seen) > 2
    for a, b in zip(found, usual, strict=True):
        assert difference(a.heatmap, b.heatmap) <= 1e-5
        assert abs(a.target_value - b.target_value) <= 1e-5 * abs(b.target_value)
        assert a.passes == b.passes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [None, 1])
def test_a_single_picture_that_does_not_fit_into_memory_is_refused(method, target):
    model = scarce(0, fitting(method))[0]
    if METHODS[method].misfit(model):
        return  # `cam` cannot be asked of this network at all
    image = pictures(1, small(fitting(method)).side)[0]
    with pytest.raises(OutOfMemory, match="Not even one picture"):
        explain(model, image, method, target=target, **CHEAP.get(method, {}))


@pytest.mark.parametrize("method", LONG)
def test_long_methods_report_progress_and_stop_within_one_inner_batch(method):
    """`track` gets every inner batch; what it raises ends the run, at most one inner batch later."""

    class Stopped(Exception):
        pass

    passed, heard = [], []

    def stop_at_the_third(batches):
        heard.append(len(batches))
        for number, batch in enumerate(batches):
            if number == 2:
                raise Stopped
            passed.append(batch)
            yield batch

    model, seen = scarce(10**6)
    images = list(pictures(3, 48))
    options = {"smooth_grad": {"samples": 100}, "integrated_gradients": {"steps": 100}}.get(method, CHEAP[method])
    if method == "occlusion":
        options = {"window": 8, "stride": 4}
    with pytest.raises(Stopped):
        explain(model, images, method, target=1, track=stop_at_the_third, **options)
    assert heard[0] > 3 and len(passed) == 2
    stages, to_prepare = 3, 8  # passes that check whether squares can be computed alone
    assert sum(seen) / stages <= 2 * max(seen) + to_prepare


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", LONG)
def test_tracking_changes_nothing(method, name):
    found, batches = small(name), []

    def listening(given):
        for batch in given:
            batches.append(batch)
            yield batch

    image = pictures(1, found.side)[0]
    given = {"target": 1, **CHEAP[method], **({"stride": 24} if method == "occlusion" else {})}
    tracked = explain(found.model, image, method, track=listening, **given)
    assert batches
    assert difference(tracked.heatmap, explain(found.model, image, method, **given).heatmap) <= 1e-6
