"""What timm and torchvision say of the weights that they publish: the rows of `library_networks.tsv.gz`.

tests/models/test_library_networks.py holds the file to the installed versions; run as a script it writes the file anew.
"""

import gzip
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from xai_core.core import torchvision_compat
from xai_core.models import families
from xai_core.models.card import CUSTOM, IMAGENET, TIMM, TORCHVISION
from xai_core.models.zoo.library import Published

torchvision_compat.ensure_importable()

import timm
import torchvision
from timm.data.imagenet_info import infer_imagenet_subset
from torchvision.models import get_model_builder, get_model_weights, list_models

MIB = 2**20  # torchvision's unit of a file's size
EMBEDDINGS = 2_000  # timm's number of "classes" of an image tower is the length of its embedding, and below this


def names() -> list[str]:
    """The ids of all weights, timm's first."""
    published = [
        f"{TORCHVISION}/{architecture}.{weights.name}"
        for architecture in list_models(module=torchvision.models)
        for weights in get_model_weights(architecture)
    ]
    return [f"{TIMM}/{name}" for name in timm.list_pretrained()] + published


def row(id: str) -> Published:
    """The row of one set of weights. The network is built without memory for its parameters."""
    library, _, name = id.partition("/")
    if library == TORCHVISION:
        return described(id)
    with torch.device("meta"):
        module = timm.create_model(name)
    parameters = sum(one.numel() for one in module.parameters())
    megabytes = sum(one.numel() * one.element_size() for one in module.state_dict().values()) / 1e6
    return described(id)._replace(family=family_of(module), parameters=str(parameters), megabytes=f"{megabytes:.1f}")


def family_of(module: nn.Module) -> str:
    """The family whose hand-written way of taking apart is for this very class; CUSTOM where there is none."""
    return next((name for name, family in families.FAMILIES.items() if type(module) in family.modules), CUSTOM)


def described(id: str) -> Published:
    """The row without what needs the network itself: timm says neither its family nor its parameters and megabytes."""
    library, _, name = id.partition("/")
    return _timm_row(id, name) if library == TIMM else _torchvision_row(id, name)


def as_file(rows: Iterator[Published]) -> bytes:
    """The content of the file."""
    text = "".join("\t".join(one) + "\n" for one in rows)
    return gzip.compress(text.encode("utf-8"), mtime=0)


def _timm_row(id: str, name: str) -> Published:
    cfg: Any = timm.models.get_pretrained_cfg(name)
    usual: Any = timm.models.get_pretrained_cfg(cfg.architecture)
    *_, height, side = cfg.input_size
    refused = ""
    if height != side:
        refused = f"it takes pictures of {height} x {side} pixels, and only square ones are prepared here"
    elif cfg.crop_mode not in ("center", "squash"):
        refused = f"it pads pictures ({cfg.crop_mode}), which is not prepared here"
    return Published(
        id=id, family="", parameters="", megabytes="",
        side=str(side), shorter_side=str(int(side / cfg.crop_pct)), interpolation=cfg.interpolation,
        squash="1" if cfg.crop_mode == "squash" else "",
        mean=_text(cfg.mean), std=_text(cfg.std), classes=_classes(cfg), licence=cfg.license or "",
        accuracy="",  # timm publishes its results beside the package, not in it
        source=cfg.hf_hub_id or cfg.url,
        usual="1" if usual.tag == cfg.tag else "",
        refused=refused,
    )  # fmt: skip


def _classes(cfg: Any) -> str:
    if not cfg.num_classes:
        return ""
    subset = infer_imagenet_subset(cfg.to_dict())
    if subset:
        return str(subset)
    return "" if cfg.num_classes < EMBEDDINGS else str(cfg.num_classes)


def _torchvision_row(id: str, name: str) -> Published:
    architecture, _, weights = name.partition(".")
    published = get_model_weights(architecture)
    one = published[weights]
    categories = one.meta["categories"]  # ImageNet's 1,000 for all but one
    by_hand = get_model_builder(architecture).__module__ == torchvision.models.resnet.__name__
    prepared = one.transforms()
    (side,), (shorter,) = prepared.crop_size, prepared.resize_size
    return Published(
        id=id, family="resnet" if by_hand else CUSTOM, parameters=str(one.meta["num_params"]),
        megabytes=f"{one.meta['_file_size'] * MIB / 1e6:.1f}",
        side=str(side), shorter_side=str(shorter), interpolation=prepared.interpolation.value, squash="",
        mean=_text(prepared.mean), std=_text(prepared.std),
        classes=IMAGENET if categories else "",
        licence="CC-BY-NC-4.0" if "SWAG" in weights else "BSD-3-Clause",
        accuracy=str(one.meta["_metrics"]["ImageNet-1K"]["acc@1"]) if categories else "",
        source=one.url,
        usual="1" if one is published.DEFAULT else "",
        refused="" if categories else "its file holds no values for its classifier",
    )  # fmt: skip


def _text(values: Any) -> str:
    return ",".join(f"{value:.6g}" for value in values)
