"""Architectures that neither timm nor torchvision has: ResNets with projection heads, wide or slim; ViTs of fixed positions,
and one whose classifier reads the class token and the patches.

A projection head is the module's `project`. Parameters of a checkpoint that nothing here uses stand under `unused`, so that
they are read and checked like all others.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core.core import torchvision_compat

torchvision_compat.ensure_importable()

import timm
import torchvision
from torchvision.models.resnet import BasicBlock, Bottleneck


def resnet(architecture: str, num_classes: int = 1000, **arguments: Any) -> nn.Module:
    """torchvision's ResNet of that name; without classes its `fc` passes the pooled features on.

    Raises ValueError for a name that is none of torchvision's classifiers: its detectors fetch a trained backbone.
    """
    if architecture not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f"{architecture} is no classifier of torchvision")
    net: nn.Module = torchvision.models.get_model(architecture, num_classes=num_classes or 1, **arguments)
    if not num_classes:
        net.fc = nn.Identity()
    return net


class PlainCallBottleneck(Bottleneck):  # type: ignore[misc]  # torchvision has no annotations
    """Bottleneck block whose last ReLU is a plain call of F.relu, as in the published SimCLRv2: what guides only the ReLUs
    that are modules (`guided_scope="modules"`) leaves this one alone. Names and values are those of torchvision's block."""

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


class WideResNet(torchvision.models.ResNet):  # type: ignore[misc]  # torchvision has no annotations
    """ResNet of bottleneck blocks with every width multiplied, that of the stem too; pooled features, no classes. Blocks
    are those of SimCLRv2."""

    def __init__(self, layers: tuple[int, ...], width: int) -> None:
        super().__init__(PlainCallBottleneck, [1, 1, 1, 1])
        self.inplanes = 64 * width
        self.conv1 = nn.Conv2d(3, self.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.inplanes)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            self._make_layer(PlainCallBottleneck, 64 * width * 2**index, blocks, stride=1 if index == 0 else 2)
            for index, blocks in enumerate(layers)
        )
        self.fc = nn.Identity()


def simclrv2_resnet50(width: int = 1, layers: tuple[int, ...] = (3, 4, 6, 3)) -> nn.Module:
    net, size = WideResNet(layers, width), 2048 * width
    net.project = nn.Sequential(*projection(size, size, size), nn.Linear(size, 128, bias=False), nn.BatchNorm1d(128))
    net.unused = nn.ModuleDict({"fc": nn.Linear(size, 1000)})
    return net


def barlow_twins_resnet50(sizes: tuple[int, ...] = (8192, 8192, 8192)) -> nn.Module:
    net = resnet("resnet50", num_classes=0)
    net.project = nn.Sequential(*projection(2048, *sizes[:-1]), nn.Linear(sizes[-2], sizes[-1], bias=False))
    net.unused = nn.ModuleDict({"bn": nn.BatchNorm1d(sizes[-1], affine=False)})
    return net


def simsiam_resnet50() -> nn.Module:
    net = resnet("resnet50", num_classes=0)
    net.project = nn.Sequential(*projection(2048, 2048, 2048), nn.Linear(2048, 2048), nn.BatchNorm1d(2048, affine=False))
    net.unused = nn.ModuleDict({"predictor": nn.Sequential(*projection(2048, 512), nn.Linear(512, 2048))})
    return net


def projection(*sizes: int) -> list[nn.Module]:
    """Layers of a projection head between these sizes: linear without bias, batch normalisation, ReLU."""
    steps = itertools.pairwise(sizes)
    return [part for a, b in steps for part in (nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU())]


class SlimResNet(torchvision.models.ResNet):  # type: ignore[misc]  # torchvision has no annotations
    """ResNet-18 of half the width whose last stage keeps its resolution: 6 x 6 positions for pictures of 96 pixels.

    2.8 million parameters, features of 256 numbers; made to be trained from scratch on small pictures.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__(BasicBlock, [1, 1, 1, 1])
        self.inplanes = 32
        self.conv1 = nn.Conv2d(3, 32, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            self._make_layer(BasicBlock, 32 * 2**index, 2, stride=stride) for index, stride in enumerate((1, 2, 2, 1))
        )
        self.fc = nn.Linear(256, num_classes) if num_classes else nn.Identity()
        for part in self.modules():  # as torchvision does for the layers that were replaced here
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def slim_resnet18(num_classes: int = 1000) -> nn.Module:
    return SlimResNet(num_classes)


def slim_resnet18_barlow(num_classes: int = 1000, size: int = 1024) -> nn.Module:
    """The same network with a projection head of three layers beside its classifier (Barlow Twins)."""
    net = SlimResNet(num_classes)
    net.project = nn.Sequential(*projection(256, size, size), nn.Linear(size, size, bias=False))
    return net


def slim_resnet18_barlow192(num_classes: int = 1000) -> nn.Module:
    """The same with a head of 192 numbers in each layer: less than 6 MB in half precision."""
    return slim_resnet18_barlow(num_classes, 192)


def mocov3_vit(architecture: str = "vit_base_patch16_224", **arguments: Any) -> nn.Module:
    """timm's ViT with fixed positions, for checkpoints that do not hold them."""
    net: Any = timm.create_model(architecture, **arguments)
    rows, columns = net.patch_embed.grid_size
    positions = fixed_positions(rows, columns, net.embed_dim)
    net.pos_embed = nn.Parameter(torch.cat((torch.zeros(1, 1, net.embed_dim), positions[None]), dim=1))
    module: nn.Module = net
    return module


def fixed_positions(rows: int, columns: int, dim: int) -> Tensor:
    """(rows * columns, dim): sine and cosine of the row, then of the column, at dim / 4 frequencies from 1 to 1/10000."""
    frequencies = 10000.0 ** -(torch.arange(dim // 4) / (dim // 4))
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return torch.cat([wave(place[:, None] * frequencies) for place in places.T for wave in (torch.sin, torch.cos)], dim=1)


class DINOv2(timm.models.VisionTransformer):
    """timm's ViT-B/14 with four registers, whose features are what DINOv2's published linear probe reads: the normed class
    token and the mean of the normed patches side by side (1,536 numbers)."""

    def __init__(self, num_classes: int = 1000, **arguments: Any) -> None:
        published = {"patch_size": 14, "embed_dim": 768, "depth": 12, "num_heads": 12, "reg_tokens": 4}
        super().__init__(num_classes=0, no_embed_class=True, **(published | arguments))
        self.head = nn.Linear(2 * self.embed_dim, num_classes) if num_classes else nn.Identity()

    def pool(self, x: Tensor, pool_type: str | None = None) -> Tensor:
        return torch.cat((x[:, 0], x[:, self.num_prefix_tokens :].mean(1)), 1)


def dinov2_vit_base_reg(**arguments: Any) -> nn.Module:
    return DINOv2(**arguments)


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    make.__name__: make
    for make in (
        simclrv2_resnet50, barlow_twins_resnet50, simsiam_resnet50, slim_resnet18, slim_resnet18_barlow,
        slim_resnet18_barlow192, mocov3_vit, dinov2_vit_base_reg,
    )
}  # fmt: skip
