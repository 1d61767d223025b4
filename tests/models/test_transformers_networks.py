"""Image classifiers of transformers, tiny and random: their own logits at every cut, their processor's pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import ask, difference, pictures
from torch import nn

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest
from xai_core.explanation.targets import ClassLogit
from xai_core.models import any_network
from xai_core.models.explainable import ExplainableModel

assert any_network  # timm first: torchvision's remedy comes with it
transformers = pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")
TOKENS = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
NAMES = {"num_labels": 3, "id2label": {0: "ant", 1: "bee", 2: "cat"}}
NETWORKS = {  # architecture, configuration, side, default cut, size of its grid
    "ViT": ({**TOKENS, "intermediate_size": 48, "image_size": 48, "patch_size": 8}, 48, "vit.layers.1", 6),
    "Swin": (
        {"image_size": 64, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4},
        64,
        "swin.layernorm",
        8,
    ),
    "ConvNext": ({"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "image_size": 64}, 64, "convnext.encoder.stages.3", 2),
    "Dinov2": ({**TOKENS, "image_size": 56, "patch_size": 8}, 56, "dinov2.layernorm", 7),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**NETWORKS[name][0], **NAMES)
    return getattr(transformers, f"{name}ForImageClassification")(config).eval()


@pytest.fixture(params=NETWORKS)
def made(request):
    net = network(request.param)
    return request.param, ExplainableModel.from_transformers(net), net


def test_cut_anywhere_the_logits_are_those_of_transformers(made):
    name, model, net = made
    _, side, default, size = NETWORKS[name]
    images = pictures(2, side)
    with torch.no_grad():
        expected = net(pixel_values=model.network.normalise(images)).logits
    assert difference(model.outputs(images).logits, expected) <= 1e-5
    assert len(model.cuts) >= 2 and model.network.cut_name(None) == default
    for cut in model.cuts:
        question = ask(model, ClassLogit((1, 2)), cut)
        assert difference(question.tail(question.trunk(images)).detach(), expected[range(2), [1, 2]]) <= 1e-5
    question = ask(model, ClassLogit((1, 2)))
    assert question.grid(question.trunk(images)).shape[2:] == (size, size)
    assert (model.class_names, model.recipe.input_size) == (("ant", "bee", "cat"), side)


def test_gradients_are_those_of_autograd_through_transformers(made):
    name, model, net = made
    images = pictures(2, NETWORKS[name][1])
    _, found = ask(model, ClassLogit((1, 1))).gradient(images)
    leaf = images.clone().requires_grad_()
    net(pixel_values=model.network.normalise(leaf)).logits[:, 1].sum().backward()
    assert difference(found, leaf.grad) <= 1e-4


def test_grad_cam_is_that_of_activations_and_their_gradient(made):
    """By hooks on the untouched network, at the default cut."""
    name, model, net = made
    _, side, cut, size = NETWORKS[name]
    image, held = pictures(1, side), []
    handle = net.get_submodule(cut).register_forward_hook(lambda _, __, output: held.append(output))
    logit = net(pixel_values=model.network.normalise(image)).logits[0, 1]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, held[0])
    values, slope = held[0].detach(), gradient
    if values.ndim == 3:
        values, slope = (one[:, -size * size :].unflatten(1, (size, size)).permute(0, 3, 1, 2) for one in (values, slope))
    expected = (slope.mean((2, 3), keepdim=True) * values).sum(1)[0].relu()
    found = explain(model, image[0], "grad_cam", target=1).heatmap
    assert difference(found, expected, 1e-12) <= 1e-4


def test_from_module_knows_such_a_network_and_the_weights_are_in_its_key(made):
    _, model, net = made
    again = ExplainableModel.from_module(net)
    assert (again.cuts, again.class_names, again.fingerprint) == (model.cuts, model.class_names, model.fingerprint)
    assert "net." not in " ".join(model.cuts) and not any(part.training for part in net.modules())
    with torch.no_grad():
        next(net.parameters()).mul_(1.5)
    assert ExplainableModel.from_transformers(net).fingerprint != model.fingerprint


@pytest.mark.parametrize(
    ("processor", "settings", "sides"),
    [
        (
            "ViTImageProcessor",
            {"size": {"height": 48, "width": 48}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
            (48, 48),
        ),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 56}, "crop_pct": 0.875, "resample": 3}, (56, 64)),
        (
            "BitImageProcessor",
            {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}, "resample": 3},
            (56, 64),
        ),
    ],
)
def test_pictures_are_prepared_as_the_processor_does(processor, settings, sides):
    made = getattr(transformers, processor)(**settings)
    net = network("Dinov2")
    model = ExplainableModel.from_transformers(net, made)
    assert (model.recipe.input_size, model.recipe.shorter_side) == sides
    smooth = pictures(1, 90)[0].permute(1, 2, 0).mul(255).byte().numpy()
    picture = Image.fromarray(np.ascontiguousarray(smooth))  # square, so that nothing is squeezed
    theirs = made(picture, return_tensors="pt")["pixel_values"]
    ours = model.network.normalise(model.prepare(picture).pixels[None])
    assert ours.shape == theirs.shape and float((ours - theirs).abs().max()) <= 0.05, "a level of 255 is 0.02"


def test_classes_that_nobody_has_named_have_no_names():
    torch.manual_seed(0)
    config = transformers.ViTConfig(**NETWORKS["ViT"][0], num_labels=4)
    assert ExplainableModel.from_transformers(transformers.ViTForImageClassification(config)).class_names == ()


def test_what_is_no_image_classifier_is_refused():
    with pytest.raises(BadRequest, match="Give a network of transformers; this is a Linear"):
        ExplainableModel.from_transformers(nn.Linear(3, 3))
    with pytest.raises(BadRequest, match="ViTModel has no logits of classes"):
        ExplainableModel.from_transformers(transformers.ViTModel(transformers.ViTConfig(**NETWORKS["ViT"][0])))
    with pytest.raises(BadRequest, match="48 x 64 pixels; here they are square"):
        ExplainableModel.from_transformers(network("ViT"), {"size": {"height": 48, "width": 64}})
