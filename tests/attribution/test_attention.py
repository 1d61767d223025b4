"""Attention maps equal what hooks on an independent copy of the network see, with fused attention switched off there."""

import pytest
import timm
import torch
from small_models import Pair, assembled, difference, pair, pictures, targets

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest
from xai_core.explanation.targets import ClassLogit

ROLLOUTS = ("attention_rollout", "gradient_rollout", "le_grad")


def watched(plain, images, classes):
    """(attention weights, block outputs, logits) of the library's own network, with a graph, seen by hooks."""
    network, weights, outputs = plain[1], [], []
    for block in network.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, __, out: weights.append(out))
        block.register_forward_hook(lambda _, __, out: outputs.append(out))
    logits = plain(images.clone().requires_grad_())
    for block in network.blocks:
        block.attn.attn_drop._forward_hooks.clear()
        block._forward_hooks.clear()
    return weights, outputs, logits[torch.arange(len(images)), classes]


@pytest.fixture(scope="module", params=["token", "avg"])
def vit(request) -> Pair:
    """A ViT that is read from its class token, and one that is read from the mean of its patches."""
    torch.manual_seed(0)
    module = timm.create_model("test_vit", img_size=96, global_pool=request.param, fc_norm=False)
    return assembled("vit", module, 96)


@pytest.fixture(scope="module")
def seen(vit):
    images, classes = pictures(2, 96), torch.tensor([3, 7])
    return images, classes, *watched(vit.plain, images, classes)


def explained(vit, images, method, **options):
    found = explain(vit.model, images, method, target=ClassLogit((3, 7)), **options)
    return torch.stack([torch.from_numpy(one.heatmap) for one in found])


def read_out(vit, joint):
    prefix = vit.plain[1].num_prefix_tokens
    rows = joint[:, 0] if vit.plain[1].global_pool == "token" else joint[:, prefix:].mean(1)
    return rows[:, prefix:].unflatten(1, (6, 6)).detach()


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_attention_rollout(vit, seen, heads):
    images, _, weights, _, _ = seen
    identity = torch.eye(weights[0].shape[-1])
    joint = identity
    for layer in weights:
        fused = {"mean": layer.mean(1), "max": layer.max(1).values, "min": layer.min(1).values}[heads]
        mixed = 0.5 * fused + 0.5 * identity
        joint = (mixed / mixed.sum(-1, keepdim=True)) @ joint
    assert difference(explained(vit, images, "attention_rollout", heads=heads), read_out(vit, joint)) <= 1e-5


def test_attention_rollout_shares_sum_to_one(vit, seen):
    """All of a row's mass is on the patches and the class token: what is on the patches is less than 1, and not little."""
    mass = explained(vit, seen[0], "attention_rollout").sum((1, 2))
    assert ((mass > 0.05) & (mass < 1)).all()


def test_discarding_keeps_the_strongest_weights(vit, seen):
    images, _, weights, _, _ = seen
    identity = torch.eye(weights[0].shape[-1])
    joint = identity
    for layer in weights:
        fused = layer.mean(1)
        limit = fused.flatten(1).sort(1).values[:, int(0.5 * fused[0].numel()) - 1, None, None]
        kept = torch.where(fused > limit, fused, 0.0)
        kept[:, :, 0] = fused[:, :, 0]
        mixed = 0.5 * kept + 0.5 * identity
        joint = (mixed / mixed.sum(-1, keepdim=True)) @ joint
    assert difference(explained(vit, images, "attention_rollout", discard=0.5), read_out(vit, joint)) <= 1e-5


def test_gradient_rollout(vit, seen):
    images, _, weights, _, scores = seen
    gradients = torch.autograd.grad(scores.sum(), weights, retain_graph=True)
    identity = torch.eye(weights[0].shape[-1], dtype=torch.float64)
    joint = identity
    for layer, gradient in zip(weights, gradients, strict=True):
        joint = joint + (layer * gradient).clamp(min=0).mean(1).double() @ joint
    assert difference(explained(vit, images, "gradient_rollout"), read_out(vit, joint - identity)) <= 1e-4


@pytest.mark.parametrize("layers", [1, 2, 48])
def test_le_grad(vit, seen, layers):
    images, classes, weights, outputs, _ = seen
    network, found = vit.plain[1], []
    for layer, output in list(zip(weights, outputs, strict=True))[-layers:]:
        score = network.forward_head(network.norm(output))[torch.arange(2), classes]
        (gradient,) = torch.autograd.grad(score.sum(), layer, retain_graph=True)
        found.append(gradient.clamp(min=0).mean(1).mean(1))
    row = torch.stack(found).mean(0)[:, network.num_prefix_tokens :].unflatten(1, (6, 6))
    assert difference(explained(vit, images, "le_grad", layers=layers), row) <= 1e-4


@pytest.mark.parametrize("similarity", [True, False])
def test_grad_eclip(vit, similarity):
    """By hooks: the output layer's input is what the last block's attention gives; queries, keys and values are `qkv`'s."""
    if not vit.model.network.attention.token:
        with pytest.raises(BadRequest, match="needs a class token"):
            explained(vit, pictures(2, 96), "grad_eclip")
        return
    images, network, kept = pictures(2, 96), vit.plain[1], {}
    attention = network.blocks[-1].attn
    hooks = [
        attention.qkv.register_forward_hook(lambda _, __, out: kept.update(qkv=out)),
        attention.proj.register_forward_hook(lambda _, given, __: kept.update(read=given[0])),
    ]
    logits = vit.plain(images.clone().requires_grad_())
    for hook in hooks:
        hook.remove()
    (gradient,) = torch.autograd.grad(logits[torch.arange(2), torch.tensor([3, 7])].sum(), kept["read"])
    query, key, value = kept["qkv"].detach().chunk(3, -1)  # heads side by side
    patches = slice(network.num_prefix_tokens, None)
    expected = torch.einsum("nc,npc->np", gradient[:, 0], value[:, patches])
    if similarity:
        unit = torch.nn.functional.normalize
        cosines = torch.einsum("nc,npc->np", unit(query[:, 0], dim=-1), unit(key[:, patches], dim=-1))
        low, high = cosines.min(1, keepdim=True).values, cosines.max(1, keepdim=True).values
        expected = expected * (cosines - low) / (high - low)
    expected = expected.clamp(min=0).unflatten(1, (6, 6))
    assert difference(explained(vit, images, "grad_eclip", similarity=similarity), expected) <= 1e-4


@pytest.mark.parametrize("head", [0, 1, 2])
def test_class_token_attention_of_each_head(vit, seen, head):
    if not vit.model.network.attention.token:
        with pytest.raises(BadRequest, match="needs a class token"):
            explained(vit, seen[0], "cls_attention")
        return
    rows = seen[2][-1][:, :, 0, vit.plain[1].num_prefix_tokens :]
    expected = (rows.mean(1) if head == 0 else rows[:, head - 1]).unflatten(1, (6, 6)).detach()
    assert difference(explained(vit, seen[0], "cls_attention", head=head), expected) <= 1e-5
    with pytest.raises(BadRequest, match="no head 9"):
        explained(vit, seen[0], "cls_attention", head=9)


@pytest.mark.parametrize(("family", "drop"), [("cait", "blocks_token_only"), ("xcit", "cls_attn_blocks")])
def test_class_token_attention_of_class_attention_blocks(family, drop):
    found, seen = pair(family), []
    last = getattr(found.plain[1], drop)[-1].attn
    last.fused_attn = False
    handle = last.attn_drop.register_forward_hook(lambda _, __, out: seen.append(out))
    images = pictures(2, found.side)
    found.plain(images)
    handle.remove()
    ours = explain(found.model, images, "cls_attention", target=targets(found, 2)["similarity"])
    expected = seen[0][:, :, 0, 1:].mean(1).detach()
    for one, row in zip(ours, expected, strict=True):
        assert difference(one.heatmap.ravel(), row) <= 1e-5


@pytest.mark.parametrize("method", [*ROLLOUTS, "cls_attention"])
@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("resnet", "no attention"),
        ("swin", "small windows"),
        ("xcit", "between channels"),
        ("cait", "mixed after the softmax"),
    ],
)
def test_networks_without_the_attention_that_a_method_needs_are_refused(method, family, reason):
    misfit = METHODS[method].misfit(pair(family).model)
    if method == "cls_attention" and family in ("xcit", "cait"):
        assert misfit is None
    else:
        assert reason in misfit and misfit.endswith(".") and not misfit.endswith("..")


def test_only_gradient_methods_depend_on_the_target(vit, seen):
    for method in ROLLOUTS:
        one, other = (explain(vit.model, seen[0][0], method, target=k).heatmap for k in (3, 8))
        assert (difference(one, other) > 1e-3) == (method != "attention_rollout")
