"""How each family of timm and torchvision networks is taken apart into stages.

A family is a function from the library's own module to a StagedNetwork; its stages call the module's own parts in the
order of its own forward. The tests hold each to that: the chain equals `module(x)`, cut anywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai_core.core import torchvision_compat
from xai_core.models import architectures
from xai_core.models.staged import Attention, Stage, StagedNetwork, Step, tokens_grid

torchvision_compat.ensure_importable()

import timm
import torchvision

NO_CLASS_TOKEN = "It has no class token: features are {}."
POOLED = "drawn from the patches by an attention of the pooling's own"

LibraryModule = Any  # a module of timm or torchvision: torch types its attributes as `Tensor | Module`, whatever they are


def resnet(net: LibraryModule) -> StagedNetwork:
    """torchvision ResNet: stem, every residual block, global average pooling, `fc`; beside it `project`, if it has one."""
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    blocks = [
        Stage(f"layer{number}.{index}", block)
        for number in (1, 2, 3, 4)
        for index, block in enumerate(getattr(net, f"layer{number}"))
    ]
    return StagedNetwork(
        stages=(Stage("stem", stem), *blocks),
        pool=lambda maps: torch.flatten(net.avgpool(maps), 1),
        project=getattr(net, "project", None),
        classify=classifier(net.fc),
        default_cut=blocks[-1].name,
    )


def efficientnet(net: LibraryModule) -> StagedNetwork:
    """timm EfficientNet: stem, every inverted residual, the last 1x1 convolution, pooling, `classifier`.

    The activation functions sit inside timm's `bn1` and `bn2`.
    """
    blocks = [
        Stage(f"blocks.{number}.{index}", block)
        for number, group in enumerate(net.blocks)
        for index, block in enumerate(group)
    ]
    return StagedNetwork(
        stages=(
            Stage("stem", nn.Sequential(net.conv_stem, net.bn1)),
            *blocks,
            Stage("head", nn.Sequential(net.conv_head, net.bn2)),
        ),
        pool=net.global_pool,
        classify=classifier(net.classifier),
        default_cut="head",
    )


def vit(net: LibraryModule) -> StagedNetwork:
    """timm VisionTransformer (ViT, DeiT): patch embedding with positions, every block, the last norm, pooling, `head`.

    The default cut is before the last block: behind it, a read-out of the class token gives patch tokens no gradient.
    """

    def embed(images: Tensor) -> Tensor:
        tokens: Tensor = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))
        return tokens

    by_token = net.global_pool == "token"
    grid = tokens_grid(net.num_prefix_tokens, net.patch_embed.grid_size)
    blocks = [Stage(f"blocks.{index}", block, grid) for index, block in enumerate(net.blocks)]
    return StagedNetwork(
        stages=(Stage("embed", embed, grid), *blocks, Stage("norm", net.norm, grid)),
        pool=lambda tokens: net.head_drop(net.fc_norm(net.pool(tokens))),
        classify=classifier(net.head),
        default_cut=blocks[-2].name,
        input_size=net.patch_embed.img_size,
        attention=Attention(
            blocks=tuple(block.name for block in blocks),
            readout=first_token if by_token else lambda rows: rows[:, net.num_prefix_tokens :].mean(1),
            token=by_token,
            note="" if by_token else NO_CLASS_TOKEN.format("a mean over patches" if net.attn_pool is None else POOLED),
        ),
    )


def swin(net: LibraryModule) -> StagedNetwork:
    """timm SwinTransformer: patch embedding, every block, the last norm, mean over positions, the head's `fc`.

    Activations are (n, h, w, C): windows and shifts are made and undone inside each block. A stage of the network begins
    by merging patches; that belongs to its first block here.
    """
    blocks = [
        Stage(f"layers.{number}.{index}", nn.Sequential(layer.downsample, block) if index == 0 else block, channels_first)
        for number, layer in enumerate(net.layers)
        for index, block in enumerate(layer.blocks)
    ]
    return StagedNetwork(
        stages=(Stage("embed", net.patch_embed, channels_first), *blocks, Stage("norm", net.norm, channels_first)),
        pool=lambda maps: net.head(maps, pre_logits=True),
        classify=classifier(net.head.fc),
        default_cut="norm",
        input_size=net.patch_embed.img_size,
        attention=Attention(note="Its attention stays inside small windows, and it has no class token."),
    )


def xcit(net: LibraryModule) -> StagedNetwork:
    """timm Xcit: patch embedding with positions, every cross-covariance block; the class-attention blocks belong to pooling.

    Activations are carried as (n, h, w, C), because the blocks ask for the height and width of their grid. The
    class-attention blocks change patch tokens as well, so that the last cut is before them.
    """

    def embed(images: Tensor) -> Tensor:
        tokens, (height, width) = net.patch_embed(images)
        if net.pos_embed is not None:
            positions = net.pos_embed(len(images), height, width)
            tokens = tokens + positions.reshape(len(images), -1, tokens.shape[1]).permute(0, 2, 1)
        maps: Tensor = net.pos_drop(tokens).unflatten(1, (height, width))
        return maps

    def on_grid(block: nn.Module) -> Step:
        return lambda maps: block(maps.flatten(1, 2), *maps.shape[1:3]).view(maps.shape)

    def pool(maps: Tensor) -> Tensor:
        features: Tensor = net.forward_head(net.norm(net.forward_cls(maps.flatten(1, 2))), pre_logits=True)
        return features

    blocks = [Stage(f"blocks.{index}", on_grid(block), channels_first) for index, block in enumerate(net.blocks)]
    return StagedNetwork(
        stages=(Stage("embed", embed, channels_first), *blocks),
        pool=pool,
        classify=classifier(net.head),
        attention=Attention(
            readout=first_token,
            token=True,
            note="Its attention is between channels; only the class token attends to positions, at the end.",
        ),
    )


def cait(net: LibraryModule) -> StagedNetwork:
    """timm Cait: patch embedding with positions, every block; then the class token joins, and every class-attention block.

    From then on activations are the class token followed by the patches, which no longer change.
    """

    def embed(images: Tensor) -> Tensor:
        tokens: Tensor = net.pos_drop(net.patch_embed(images) + net.pos_embed)
        return tokens

    def joining(block: nn.Module, first: bool) -> Step:
        def run(tokens: Tensor) -> Tensor:
            token, patches = (net.cls_token.expand(len(tokens), -1, -1), tokens) if first else (tokens[:, :1], tokens[:, 1:])
            return torch.cat((block(patches, token), patches), dim=1)

        return run

    patches, with_token = (tokens_grid(prefix, net.patch_embed.grid_size) for prefix in (0, 1))
    blocks = [Stage(f"blocks.{index}", block, patches) for index, block in enumerate(net.blocks)]
    joined = [
        Stage(f"blocks_token_only.{index}", joining(block, index == 0), with_token)
        for index, block in enumerate(net.blocks_token_only)
    ]
    return StagedNetwork(
        stages=(
            Stage("embed", embed, patches),
            *blocks,
            *joined,
            Stage("norm", net.norm, with_token),
        ),
        pool=lambda tokens: net.forward_head(tokens, pre_logits=True),
        classify=classifier(net.head),
        default_cut=blocks[-1].name,
        input_size=net.patch_embed.img_size,
        attention=Attention(
            readout=first_token,
            token=True,
            note="Its heads are mixed after the softmax, so that its weights are no averages; "
            "only the class token's are, at the end.",
        ),
    )


def classifier(part: nn.Module) -> nn.Module | None:
    """The last layer, or None where the libraries left only a placeholder for it."""
    return None if isinstance(part, nn.Identity) else part


def first_token(rows: Tensor) -> Tensor:
    """(n, queries, keys) -> (n, keys): what the class token attends to."""
    return rows[:, 0]


def channels_first(maps: Tensor) -> Tensor:
    """(n, h, w, C) seen as (n, C, h, w)."""
    return maps.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Family:
    """What a name of `card.FAMILIES` stands for.

    stages      takes a module of the library apart into a StagedNetwork
    modules     the very classes that `stages` was written for, no subclasses of them
    create      the library's constructor: (architecture, **arguments) -> module with fresh weights
    rename      what tables of names in a card cannot do: (state under the network's names, module) -> state
    """

    stages: Callable[[LibraryModule], StagedNetwork]
    modules: tuple[type[nn.Module], ...]
    create: Callable[..., nn.Module] = timm.create_model
    rename: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = None


FAMILIES = {
    "resnet": Family(
        resnet,
        (torchvision.models.ResNet, architectures.WideResNet, architectures.SlimResNet),
        create=architectures.resnet,
    ),
    "efficientnet": Family(efficientnet, (timm.models.EfficientNet,)),
    "vit": Family(vit, (timm.models.VisionTransformer, architectures.DINOv2)),
    "swin": Family(swin, (timm.models.SwinTransformer,)),
    # timm's function splits the query, key and value of class attention
    "xcit": Family(xcit, (timm.models.Xcit,), rename=timm.models.xcit.checkpoint_filter_fn),
    "cait": Family(cait, (timm.models.Cait,)),
}


def staged(family: str, module: nn.Module) -> StagedNetwork:
    """The module as a chain of stages, without normalisation."""
    return FAMILIES[family].stages(module)


def build(family: str, architecture: str, **arguments: Any) -> nn.Module:
    """A module with fresh weights, on the CPU: one of `architectures`, or the library's. `arguments` are the constructor's.

    Raises ValueError for an architecture of another class than the family's (a distilled DeiT, whose forward is another).
    """
    create = FAMILIES[family].create
    if architecture in architectures.ARCHITECTURES:
        module = architectures.ARCHITECTURES[architecture](**arguments)
    else:
        module = create(architecture, **arguments)
    if type(module) not in FAMILIES[family].modules:
        raise ValueError(f"{architecture} is a {type(module).__name__}")
    return module
