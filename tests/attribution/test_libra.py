"""LibraGrad and AttnLRP: the score is unchanged, its parts add up, and one block of a transformer is as in the papers."""

import copy
import math
from contextlib import nullcontext

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from small_models import ask, pair, pictures, small
from torch import nn

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.core import runtime
from xai_core.core.autodiff.libra import Libra
from xai_core.core.autodiff.lrp import LinearRule, Relevance
from xai_core.core.errors import BadRequest
from xai_core.core.options import options_of
from xai_core.explanation.targets import ClassLogit

TRANSFORMERS = ("vit", "swin", "xcit", "cait")
WITH_DERIVATIVE = [name for name, method in METHODS.items() if "derivative" in {o.name for o in options_of(method.run)}]


ADDED = ("pos_embed", "cls_token", "reg_token")  # beside biases: what a network adds that does not depend on the picture
OF_WEIGHTS = ("proj_l.", "proj_w.")  # layers of CaiT that make attention weights of attention weights


def drawn(module, seed=0):
    """The module in float64 with random biases, scales and statistics of batch normalisations."""
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(module).double().eval().requires_grad_(False)
    for values in (*module.parameters(), *module.buffers()):
        if values.ndim == 1 and values.is_floating_point():
            values += 0.1 * torch.randn(values.shape, generator=generator).abs().double()
    return module


def gap(module, images, mode):
    """|f - sum of x df/dx over the picture and all that the network adds to what it computes| / |f|."""
    added = {
        name: parameter.requires_grad_()
        for name, parameter in module.named_parameters()
        if name.startswith(ADDED) or (name.endswith("bias") and not any(part in name for part in OF_WEIGHTS))
    }
    of_statistics = {  # a batch normalisation adds b - mean w / sqrt(var + eps)
        id(layer.bias): layer.running_mean * layer.weight * (layer.running_var + layer.eps).rsqrt()
        for layer in module.modules()
        if isinstance(layer, nn.BatchNorm2d)
    }
    leaf = images.clone(memory_format=runtime.MEMORY_FORMAT).requires_grad_()
    with mode:
        value = module(leaf)[0, 1]
    parts = [leaf, *added.values()]
    gradients = torch.autograd.grad(value, parts, allow_unused=True, materialize_grads=True)
    total = sum(
        ((part - of_statistics.get(id(part), 0)) * gradient).sum() for part, gradient in zip(parts, gradients, strict=True)
    )
    return float(((total - value).abs() / value.abs()).detach())


@pytest.mark.parametrize("family", [*TRANSFORMERS, "efficientnet"])
def test_the_parts_of_a_score_add_up(family):
    """The completeness error of LibraGrad is rounding, that of ordinary gradients is not."""
    network = pair(family)
    module = drawn(network.plain[1])
    images = pictures(1, network.side).double() - 0.4
    assert gap(module, images, Libra()) < 1e-9 < 0.05 < gap(module, images, nullcontext())


FUNCTIONS = {
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "tanh": torch.tanh,
    "gate": lambda x: x * F.silu(x),
    "small gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "quotient": lambda x: x / x.norm(dim=1, keepdim=True),
    "normalize": lambda x: F.normalize(x, dim=1),
    "layer_norm": lambda x: F.layer_norm(x, (4, 5)),
    "rms_norm": lambda x: F.rms_norm(x, (4, 5)),
    "group_norm": lambda x: F.group_norm(x, 3, torch.arange(1, 7).double()),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "softmax": lambda x: x.softmax(-1) @ x.mT,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_parts_of_each_function_add_up(name):
    """Of a function without an added constant: x df/dx sums to f, and f is unchanged."""
    x = torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    with Libra() as overrides:
        value = FUNCTIONS[name](x)
    weights = torch.linspace(-1, 2, value.numel()).double().view(value.shape)
    (gradient,) = torch.autograd.grad((value * weights).sum(), x)
    assert overrides.substituted >= 1
    torch.testing.assert_close((x * gradient).sum(), (value * weights).sum(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(value.detach(), FUNCTIONS[name](x.detach()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("derivative", ["ordinary", "libra"])
def test_the_score_is_unchanged(name, derivative):
    found = small(name)
    question = ask(found.model, ClassLogit((1,))).under(derivative)
    images = pictures(2, found.side)
    expected = question.scores(images)
    torch.testing.assert_close(question.gradient(images)[0], expected, rtol=1e-5, atol=1e-5)


def test_gradient_methods_have_the_switch_and_others_do_not():
    assert {"saliency", "input_x_gradient", "integrated_gradients", "smooth_grad", "grad_cam", "full_grad"} <= {
        *WITH_DERIVATIVE
    }
    assert not {"occlusion", "lime", "eigen_cam", "layerwise_relevance", "deep_lift"} & {*WITH_DERIVATIVE}


@pytest.mark.parametrize("method", WITH_DERIVATIVE)
def test_the_map_changes_and_the_ordinary_one_keeps_its_key(method):
    found, options = small("vit"), {"cut": small("vit").model.cuts[0]} if "cut" in METHODS[method].needs else {}
    few = {name: 5 for name in ("samples", "steps") if name in {o.name for o in options_of(METHODS[method].run)}}
    image = pictures(1, found.side)[0]
    plain = explain(found.model, image, method, target=1, **few, **options)
    same = explain(found.model, image, method, target=1, derivative="ordinary", **few, **options)
    libra = explain(found.model, image, method, target=1, derivative="libra", **few, **options)
    assert plain.key == same.key != libra.key and "derivative" not in plain.options
    assert np.array_equal(plain.heatmap, same.heatmap) and not np.allclose(plain.heatmap, libra.heatmap, rtol=0.01)
    assert libra.target_value == pytest.approx(plain.target_value, abs=1e-5)


@pytest.mark.parametrize("method", ["input_x_gradient", "grad_cam"])
def test_it_is_refused_where_it_changes_nothing(method):
    found = small("resnet")
    with pytest.raises(BadRequest, match="Choose the ordinary derivative"):
        explain(found.model, pictures(1, found.side)[0], method, target=1, derivative="libra")


# --- one block, by hand -------------------------------------------------------------------------------------------------


@pytest.fixture
def block():
    torch.manual_seed(0)
    return drawn(timm.models.vision_transformer.Block(8, 2, qkv_bias=True))


@pytest.fixture
def tokens():
    return torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(1)).double()


READ = torch.linspace(-1, 1, 40).double().view(1, 5, 8)  # the score is the sum of the block's outputs times these


def derivative_under(mode, block, tokens):
    leaf = tokens.clone().requires_grad_()
    with mode:
        score = (block(leaf) * READ).sum()
    return torch.autograd.grad(score, leaf)[0]


def heads_of(values):
    return values.reshape(1, 5, 2, 4).transpose(1, 2)


def normalised(norm, x):
    length = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt().detach()
    return (x - x.mean(-1, keepdim=True)) / length * norm.weight + norm.bias


def test_libra_on_one_block_is_as_the_paper_writes_it(block, tokens):
    """x A(x) with A detached: attention weights, the length in LayerNorm, and Phi(x) in GELU."""
    x = tokens.clone().requires_grad_()
    attention, mlp = block.attn, block.mlp
    query, key, value = map(heads_of, attention.qkv(normalised(block.norm1, x)).chunk(3, -1))
    weights = (query @ key.mT / math.sqrt(4)).softmax(-1).detach()
    y = x + attention.proj((weights @ value).transpose(1, 2).reshape(1, 5, 8))
    hidden = mlp.fc1(normalised(block.norm2, y))
    phi = ((1 + torch.erf(hidden / math.sqrt(2))) / 2).detach()
    score = ((y + mlp.fc2(hidden * phi)) * READ).sum()
    torch.testing.assert_close(score, (block(tokens) * READ).sum(), rtol=1e-10, atol=1e-10)
    (expected,) = torch.autograd.grad(score, x)
    torch.testing.assert_close(derivative_under(Libra(), block, tokens), expected, rtol=1e-9, atol=1e-10)


EPSILON = 1e-9


def quotient(relevance, z):
    return relevance / (z + torch.where(z < 0, -EPSILON, EPSILON))


def through_linear(layer, x, relevance, gamma):
    """R_j = sum_k z_jk / z_k R_k: the epsilon rule with gamma = 0; else the contributions z_jk that have the sign of the
    output count 1 + gamma times, the bias too (Montavon et al. 2019; for either sign Andeol et al. 2021)."""
    z = x[..., None, :] * layer.weight  # (..., outputs k, inputs j)
    output = F.linear(x, layer.weight, layer.bias)
    agree = (z * output[..., None]) > 0
    z = z * torch.where(agree, 1 + gamma, 1.0)
    bias = layer.bias * torch.where(layer.bias * output > 0, 1 + gamma, 1.0)
    return (z * quotient(relevance, z.sum(-1) + bias)[..., None]).sum(-2)


def through_product(a, b, relevance):
    """R of the factors of a @ b: of each term a_ji b_ip its share of R_jp, in halves."""
    share = quotient(relevance, 2 * (a @ b))
    return a * (share @ b.mT), b * (a.mT @ share)


def through_norm(norm, x, relevance):
    """LayerNorm divides by a constant; the rest is linear, with the epsilon rule in the limit of 0."""
    matrix = (torch.eye(8) - 1 / 8).double() * norm.weight[:, None]
    length = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    z = matrix * (x / length)[..., None, :]
    return (z * quotient(relevance, z.sum(-1) + norm.bias)[..., None]).sum(-2)


@pytest.mark.parametrize("gamma", [0.0, 0.05, 1.0])
def test_attn_lrp_on_one_block_is_as_the_paper_writes_it(block, tokens, gamma):
    """Relevance itself is passed back from layer to layer by the paper's formulas; nothing is differentiated."""
    with torch.no_grad():
        x, attention, mlp = tokens, block.attn, block.mlp
        normal = block.norm1(x)
        query, key, value = map(heads_of, attention.qkv(normal).chunk(3, -1))
        logits = query / math.sqrt(4) @ key.mT
        weights = logits.softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(1, 5, 8)
        attended = attention.proj(mixed)
        y = x + attended
        second = block.norm2(y)
        hidden = mlp.fc1(second)
        acted = F.gelu(hidden)
        added = mlp.fc2(acted)
        out = y + added

        relevance = out * READ
        into_mlp, passed_by = relevance * added / out, relevance * y / out
        into_mlp = through_linear(mlp.fc2, acted, into_mlp, gamma)  # GELU hands it on
        into_mlp = through_norm(block.norm2, y, through_linear(mlp.fc1, second, into_mlp, gamma))
        relevance = passed_by + into_mlp
        into_attention, passed_by = relevance * attended / y, relevance * x / y
        into_mixed = heads_of(through_linear(attention.proj, mixed, into_attention, gamma))
        into_weights, into_value = through_product(weights, value, into_mixed)
        into_logits = logits * (into_weights - weights * into_weights.sum(-1, keepdim=True))
        into_query, into_key = through_product(query, key.mT, into_logits)
        three = [part.transpose(1, 2).reshape(1, 5, 8) for part in (into_query, into_key.mT, into_value)]
        normal_relevance = through_linear(attention.qkv, normal, torch.cat(three, -1), gamma)
        expected = passed_by + through_norm(block.norm1, x, normal_relevance)
    rule = LinearRule("gamma" if gamma else "epsilon", gamma, EPSILON)
    derivative = derivative_under(Relevance(rule, rule, through_attention=True), block, tokens)
    torch.testing.assert_close(tokens * derivative, expected, rtol=1e-5, atol=1e-7)
