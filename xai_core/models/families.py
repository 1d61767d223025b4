"""How each family of timm and torchvision networks comes apart into stages.

A family is a function from the library's own module to a StagedNetwork; its stages call the module's own parts in the
order of its own forward. The tests hold each to that: the chain equals `module(x)`, cut anywhere.
"""

import torch
from torch import Tensor, nn

from xai_core import torchvision_ops
from xai_core.models.staged import Stage, StagedNetwork, tokens_grid

torchvision_ops.ensure_importable()

import timm
import torchvision


def resnet(net: nn.Module) -> StagedNetwork:
    """torchvision ResNet: stem, every residual block, global average pooling, `fc`."""
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    blocks = [
        Stage(f"layer{number}.{index}", block)
        for number in (1, 2, 3, 4)
        for index, block in enumerate(getattr(net, f"layer{number}"))
    ]
    return StagedNetwork(
        stages=(Stage("stem", stem), *blocks),
        pool=lambda maps: torch.flatten(net.avgpool(maps), 1),
        classify=net.fc,
        default_cut=blocks[-1].name,
    )


def efficientnet(net: nn.Module) -> StagedNetwork:
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
        classify=net.classifier,
        default_cut="head",
    )


def vit(net: nn.Module) -> StagedNetwork:
    """timm VisionTransformer (ViT, DeiT): patch embedding with positions, every block, the last norm, pooling, `head`.

    The default cut is before the last block: behind it, a read-out of the class token gives patch tokens no gradient.
    """

    def embed(images: Tensor) -> Tensor:
        return net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))

    grid = tokens_grid(net.num_prefix_tokens, net.patch_embed.grid_size)
    blocks = [Stage(f"blocks.{index}", block, grid) for index, block in enumerate(net.blocks)]
    return StagedNetwork(
        stages=(Stage("embed", embed, grid), *blocks, Stage("norm", net.norm, grid)),
        pool=lambda tokens: net.head_drop(net.fc_norm(net.pool(tokens))),
        classify=net.head,
        default_cut=blocks[-2].name,
        input_size=net.patch_embed.img_size,
    )


FAMILIES = {"resnet": resnet, "efficientnet": efficientnet, "vit": vit}
LIBRARIES = {"resnet": torchvision.models.get_model, "efficientnet": timm.create_model, "vit": timm.create_model}


def build(family: str, architecture: str) -> nn.Module:
    """The library's own module with fresh weights, on the CPU."""
    return LIBRARIES[family](architecture)
