"""Synthesised pictures: they climb what they are to climb, keep to [0, 1], and come back from a stage."""

import numpy as np
import pytest
import torch
from small_models import difference, pair, pictures, small

from xai_core.analysis import feature_visualisation
from xai_core.analysis.feature_visualisation import (
    REGULARISATIONS,
    class_model,
    common_depths,
    invert,
    objective,
    total_variation,
    visualise_features,
)
from xai_core.core.autodiff.gradients import value_and_gradient
from xai_core.core.errors import BadRequest, NoClassifier
from xai_core.explanation.similarity import COSINE
from xai_core.explanation.targets import ClassMargin
from xai_core.models.explainable import ExplainableModel


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


def test_the_picture_of_a_class_of_a_linear_network_is_its_closed_form():
    """w . (x - mean) / std - weight |x - mean|^2 is largest at x = mean + w / (2 weight std)."""
    torch.manual_seed(0)
    head = torch.nn.Linear(3 * 8 * 8, 2)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    model = ExplainableModel.from_stages(
        [("all", torch.nn.Identity())], pool=torch.nn.Flatten(), classify=head, class_names=("a", "b"),
        mean=mean, std=std, input_size=8,
    )  # fmt: skip
    w = head.weight[1].detach().view(3, 8, 8) / torch.tensor(std).view(3, 1, 1)
    weight = float(w.abs().max()) / (2 * 0.25)  # no value of the optimum is further than 0.25 from the mean
    best = feature_visualisation.mean_picture(model) + w / (2 * weight)
    settings = feature_visualisation.CLASS_MODEL | {"weight": weight, "iterations": 400, "step": 0.001}
    found = last(visualise_features(model, target="b", start=feature_visualisation.mean_picture(model), **settings))
    assert difference(found.picture, best) < 0.002  # steps are 0.001 long in the mean
    at_best = float(w.pow(2).sum() / (4 * weight) + head.bias[1].detach())
    assert found.value == pytest.approx(at_best, abs=2e-3 * float(w.abs().sum()))
    assert last(class_model(model, "b", weight=weight, iterations=3)).total == 3


def test_objectives_equal_those_of_a_plain_network():
    """As Lucent defines them: the mean of a layer's channel; and the logit; with the gradients."""
    found, images = pair("resnet", "resnet18", 96), pictures(2, 96, seed=5)
    model, plain, seen = found.model, found.plain, {}
    plain[1].layer2.register_forward_hook(lambda module, _, output: seen.update(layer2=output))
    leaf = images.clone().requires_grad_()
    logits = plain(leaf)
    vector = np.linspace(-1, 1, model.embed(images[0]).shape[1])
    expected = {
        "channel": (dict(channel=7, depth="layer2"), seen["layer2"][:, 7].mean((1, 2))),
        "class": (dict(target=3), logits[:, 3]),
        "margin": (dict(target=ClassMargin((3,), (4,))), logits[:, 3] - logits[:, 4]),
    }
    for words, (arguments, value) in expected.items():
        (gradient,) = torch.autograd.grad(value.sum(), leaf, retain_graph=True)
        ours, own_gradient = value_and_gradient(objective(model, **arguments), images)
        assert torch.allclose(ours, value, atol=1e-5), words
        assert torch.allclose(own_gradient, gradient, atol=1e-6), words
    along = feature_visualisation.values(model, objective(model, direction=5 * vector), images)
    embeddings = torch.cat([model.embed(image) for image in images]).double().numpy()
    assert along == pytest.approx((embeddings @ vector / np.linalg.norm(vector)).tolist(), abs=1e-4)
    assert feature_visualisation.channels(model, "layer2") == seen["layer2"].shape[1]


@pytest.mark.parametrize("climbed", [{"target": 1}, {"channel": 2, "depth": "early"}, {"direction": [0.0, 1.0, 0.0, -1.0]}])
def test_what_is_climbed_is_larger_afterwards(climbed):
    model = small("custom").model
    start = pictures(1, 48, seed=9)[0]
    every = list(visualise_features(model, start=start, octaves=1, iterations=8, regularisation="none", **climbed))
    before, after = feature_visualisation.values(model, objective(model, **climbed), torch.stack([start, every[-1].picture]))
    assert after > before and before == pytest.approx(every[0].value, abs=1e-5)


@pytest.mark.parametrize(
    "climbed, words",
    [
        ({"target": 1, "channel": 1}, "not target and channel"),
        ({"channel": 9999}, "no channel 9999"),
        ({"direction": np.zeros(3)}, "not zero"),
        ({"target": "no such class"}, "no such class"),
    ],
)
def test_what_cannot_be_climbed_is_refused(climbed, words):
    with pytest.raises(BadRequest, match=words):
        visualise_features(small("custom").model, **climbed)


def test_a_network_without_classes_has_no_class_model_picture():
    model = ExplainableModel.from_stages([("all", torch.nn.Identity())], pool=torch.nn.Flatten(), input_size=8)
    with pytest.raises(NoClassifier):
        class_model(model, 0)
    assert not feature_visualisation.mean_picture(model).any()  # it normalises nothing


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
