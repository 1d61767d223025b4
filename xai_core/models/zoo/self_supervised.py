"""Cards of the models that learned without labels: what each keeps of its training beside the backbone.

A linear probe, where one is published, is the classifier: the backbone never saw a class. A projection head is what
similarity is asked of, because the training brought two views of a picture together there.
"""

from xai_core.data.recipe import Recipe
from xai_core.models.card import CUSTOM, Card, Checkpoint, File

DINO = "https://dl.fbaipublicfiles.com/dino"
DINOV2 = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14"
HALF = (0.5, 0.5, 0.5)
MOCO = "https://dl.fbaipublicfiles.com/moco-v3"
LIVE = {"init_values": 1.0}  # untrained blocks with the published 1e-5 would hardly see the picture; weights overwrite it
NO_CLASSES = "It has no classifier, but it can explain what makes two pictures similar."

_UNIT = {  # one residual block of the converted SimCLRv2 -> of torchvision
    "net.0.": "conv1.",
    "net.1.0.": "bn1.",
    "net.2.": "conv2.",
    "net.3.0.": "bn2.",
    "net.4.": "conv3.",
    "net.5.0.": "bn3.",
    "projection.shortcut.": "downsample.0.",
    "projection.bn.0.": "downsample.1.",
}
SIMCLR = {
    "resnet/net.0.0.": "conv1.",
    "resnet/net.0.1.0.": "bn1.",
    **{
        f"resnet/net.{stage}.blocks.{block}.{theirs}": f"layer{stage}.{block}.{ours}"
        for stage, blocks in enumerate((3, 4, 6, 3), start=1)
        for block in range(blocks)
        for theirs, ours in _UNIT.items()
    },
    "resnet/fc.": "unused.fc.",
    "head/layers.": "project.",
}


# The readme of the study's code: SimCLRv2 up to the fourth part of its network, with L2; the others up to the fifth, without
# L2. SimCLRv2's first part is the stem; the stem of the others is four parts: see `feature_visualisation.usual_settings`.
EARLY = {"feature_visualisation": {"depth": "layer1.2", "regularisation": "blur"}}


def _simclr(width: int, megabytes: int) -> Card:
    return Card(
        id=f"simclrv2_r50_{width}x",
        title=f"SimCLRv2 ResNet-50 ({width}x)",
        family="resnet",
        architecture="simclrv2_resnet50",
        arguments={"width": width},
        supervision="self-supervised (SimCLRv2)",
        trained_on="ImageNet-1k without labels",
        paper="Chen et al. 2020, arXiv:2006.10029",
        licence="Apache-2.0",
        page="https://github.com/Separius/SimCLRv2-Pytorch",
        remark=f"{NO_CLASSES} Similarity is computed from its three-layer projection head. The weights are converted from "
        "TensorFlow and have no direct address. (The classifier in the file belongs to other weights than these averaged "
        "ones: it is checked but not used.)",
        classes=(),
        pairs={
            "pixel_invariance": {"count": 1000, "epochs": 1000},
            "feature_visualisation": {"depth": "layer3.5", "regularisation": "l2"},
        },
        checkpoints=(
            Checkpoint(
                id="ema",
                files=(File(f"r50_{width}x_sk0_ema.pth", url="", megabytes=megabytes, names=SIMCLR),),
                recipe=Recipe(224, 256, mean=None, std=None),
            ),
        ),
    )


SELF_SUPERVISED = (
    Card(
        id="dino_resnet50",
        title="DINO ResNet-50",
        family="resnet",
        architecture="resnet50",
        supervision="self-supervised (DINO) + linear probe",
        trained_on="ImageNet-1k without labels; the probe with its 1,000 classes",
        paper="Caron et al. 2021, arXiv:2104.14294",
        licence="Apache-2.0",
        page="https://github.com/facebookresearch/dino",
        remark="Similarity is computed from the pooled features: the published backbone comes without its projection head.",
        checkpoints=(
            Checkpoint(
                id="probe",
                files=(
                    File("dino_resnet50_pretrain.pth", f"{DINO}/dino_resnet50_pretrain/dino_resnet50_pretrain.pth", 94),
                    File(
                        "dino_resnet50_linearweights.pth",
                        f"{DINO}/dino_resnet50_pretrain/dino_resnet50_linearweights.pth",
                        16,
                        names={"state_dict/module.linear.": "fc."},
                    ),
                ),
                recipe=Recipe(224, 256, "bicubic"),
            ),
        ),
    ),
    Card(
        id="dino_xcit_small_12_p16",
        title="DINO XCiT-S12/16",
        family="xcit",
        architecture="xcit_small_12_p16_224",
        supervision="self-supervised (DINO) + linear probe",
        trained_on="ImageNet-1k without labels; the probe with its 1,000 classes",
        paper="Caron et al. 2021, arXiv:2104.14294",
        licence="Apache-2.0",
        page="https://github.com/facebookresearch/dino",
        remark="The probe reads the normed class token. Similarity is computed from this token: the published backbone "
        "comes without its projection head.",
        checkpoints=(
            Checkpoint(
                id="probe",
                files=(
                    File(
                        "dino_xcit_small_12_p16_pretrain.pth",
                        f"{DINO}/dino_xcit_small_12_p16_pretrain/dino_xcit_small_12_p16_pretrain.pth",
                        104,
                    ),
                    File(
                        "dino_xcit_small_12_p16_linearweights.pth",
                        f"{DINO}/dino_xcit_small_12_p16_pretrain/dino_xcit_small_12_p16_linearweights.pth",
                        3,
                        names={"state_dict/module.linear.": "head."},
                    ),
                ),
                recipe=Recipe(224, 256, "bicubic"),
            ),
        ),
    ),
    Card(
        id="mocov3_resnet50",
        title="MoCo v3 ResNet-50",
        family="resnet",
        architecture="resnet50",
        supervision="self-supervised (MoCo v3) + linear probe",
        trained_on="ImageNet-1k without labels; the probe with its 1,000 classes",
        paper="Chen et al. 2021, arXiv:2104.02057",
        licence="CC-BY-NC-4.0",
        page="https://github.com/facebookresearch/moco-v3/blob/main/CONFIG.md",
        remark="Similarity is computed from the pooled features: the file of the probe comes without the projection head.",
        checkpoints=(
            Checkpoint(
                id="probe_1000ep",
                files=(
                    File(
                        "linear-1000ep.pth.tar",
                        f"{MOCO}/r-50-1000ep/linear-1000ep.pth.tar",
                        111,
                        names={"state_dict/module.": ""},
                    ),
                ),
                recipe=Recipe(224, 256),
            ),
        ),
    ),
    Card(
        id="mocov3_deit_base",
        title="MoCo v3 ViT-B/16",
        family="vit",
        architecture="mocov3_vit",
        supervision="self-supervised (MoCo v3) + linear probe",
        trained_on="ImageNet-1k without labels; the probe with its 1,000 classes",
        paper="Chen et al. 2021, arXiv:2104.02057",
        licence="CC-BY-NC-4.0",
        page="https://github.com/facebookresearch/moco-v3/blob/main/CONFIG.md",
        remark="Its positions are fixed sines and cosines. Similarity is computed from the class token: the file of the "
        "probe comes without the projection head.",
        checkpoints=(
            Checkpoint(
                id="probe_300ep",
                files=(
                    File(
                        "linear-vit-b-300ep.pth.tar",
                        f"{MOCO}/vit-b-300ep/linear-vit-b-300ep.pth.tar",
                        349,
                        names={"state_dict/module.": ""},
                        optional=("pos_embed",),
                    ),
                ),
                recipe=Recipe(224, 256),
            ),
        ),
    ),
    _simclr(width=1, megabytes=137),
    _simclr(width=2, megabytes=529),
    Card(
        id="barlow_twins",
        title="Barlow Twins ResNet-50",
        family="resnet",
        architecture="barlow_twins_resnet50",
        supervision="self-supervised (Barlow Twins)",
        trained_on="ImageNet-1k without labels",
        paper="Zbontar et al. 2021, arXiv:2103.03230",
        licence="MIT",
        page="https://github.com/facebookresearch/barlowtwins",
        remark=f"{NO_CLASSES} Similarity is computed from its projection to 8,192 numbers; the statistics of the loss in "
        "the file are checked but not used.",
        classes=(),
        pairs=EARLY,
        checkpoints=(
            Checkpoint(
                id="full_1000ep",
                files=(
                    File(
                        "barlow_twins.pth",
                        "https://dl.fbaipublicfiles.com/barlowtwins/ljng/checkpoint.pth",
                        1397,
                        names={
                            "model/module.backbone.": "",
                            "model/module.projector.": "project.",
                            "model/module.bn.": "unused.bn.",
                        },
                    ),
                ),
                recipe=Recipe(224, 256),
            ),
        ),
    ),
    Card(
        id="simsiam",
        title="SimSiam ResNet-50",
        family="resnet",
        architecture="simsiam_resnet50",
        supervision="self-supervised (SimSiam)",
        trained_on="ImageNet-1k without labels",
        paper="Chen & He 2021, arXiv:2011.10566",
        licence="CC-BY-NC-4.0",
        page="https://github.com/facebookresearch/simsiam",
        remark=f"{NO_CLASSES} Similarity is computed from its three-layer projection head; the predictor in the file is "
        "checked but not used.",
        classes=(),
        pairs=EARLY,
        checkpoints=(
            Checkpoint(
                id="100ep",
                files=(
                    File(
                        "checkpoint_0099.pth.tar",
                        "https://dl.fbaipublicfiles.com/simsiam/models/100ep/pretrain/checkpoint_0099.pth.tar",
                        306,
                        names={
                            "state_dict/module.encoder.fc.": "project.",
                            "state_dict/module.encoder.": "",
                            "state_dict/module.predictor.": "unused.predictor.",
                        },
                    ),
                ),
                recipe=Recipe(224, 256),
            ),
        ),
    ),
    Card(
        id="dinov2_vitb14_reg",
        title="DINOv2 ViT-B/14 with registers",
        family="vit",
        architecture="dinov2_vit_base_reg",
        supervision="self-supervised (DINOv2) + linear probe",
        trained_on="142 million pictures without labels (LVD-142M); the probe with the 1,000 classes of ImageNet-1k",
        paper="Oquab et al. 2023, arXiv:2304.07193; registers: Darcet et al. 2023, arXiv:2309.16588",
        licence="Apache-2.0",
        page="https://github.com/facebookresearch/dinov2",
        remark="Four registers stand between the class token and the 16 x 16 patches, and are no cells of maps. The probe "
        "reads the class token and the mean of the patches; similarity is computed from these. The published positions "
        "(37 x 37) are brought to 16 x 16.",
        arguments=LIVE,
        renaming="timm",
        checkpoints=(
            Checkpoint(
                id="probe",
                files=(
                    File("dinov2_vitb14_reg4_pretrain.pth", f"{DINOV2}/dinov2_vitb14_reg4_pretrain.pth", 346),
                    File(
                        "dinov2_vitb14_reg4_linear_head.pth",
                        f"{DINOV2}/dinov2_vitb14_reg4_linear_head.pth",
                        6,
                        names={"": "head."},
                    ),
                ),
                recipe=Recipe(224, 256, "bicubic"),
            ),
        ),
    ),
    Card(
        id="dinov3_vitb16",
        title="DINOv3 ViT-B/16",
        family=CUSTOM,
        architecture="timm/vit_base_patch16_dinov3_qkvb",
        supervision="self-supervised (DINOv3)",
        trained_on="1,689 million pictures without labels (LVD-1689M)",
        paper="Siméoni et al. 2025, arXiv:2508.10104",
        licence="DINOv3 License",
        page="https://github.com/facebookresearch/dinov3",
        remark=f"{NO_CLASSES} Gated: Meta gives the file to those who accept its licence on the page, so that it has no "
        "direct address here. Four registers stand between the class token and the patches, and are no cells of maps.",
        arguments=LIVE | {"global_pool": "token"},
        classes=(),
        renaming="timm",
        checkpoints=(
            Checkpoint(
                id="lvd1689m",
                files=(File("dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth", url="", megabytes=343, sha256="73cec8be"),),
                recipe=Recipe(224, 256, "bicubic"),
            ),
        ),
    ),
    Card(
        id="siglip_base_patch16_224",
        title="SigLIP ViT-B/16, image tower",
        family="vit",
        architecture="vit_base_patch16_siglip_224",
        supervision="pictures with their texts (SigLIP)",
        trained_on="pictures of the web with English texts (WebLI)",
        paper="Zhai et al. 2023, arXiv:2303.15343",
        licence="Apache-2.0",
        page="https://huggingface.co/google/siglip-base-patch16-224",
        remark=f"{NO_CLASSES} Similarity is computed from the embedding that SigLIP compares with those of texts; the tower "
        "for texts in the file is left alone. Pictures are squashed to a square, as in the training.",
        arguments={"num_classes": 0, "act_layer": "gelu_tanh"},
        classes=(),
        renaming="siglip",
        checkpoints=(
            Checkpoint(
                id="webli",
                files=(
                    File(
                        "siglip-base-patch16-224.safetensors",
                        "https://huggingface.co/google/siglip-base-patch16-224/resolve/main/model.safetensors",
                        813,
                    ),
                ),
                recipe=Recipe(224, 224, "bicubic", mean=HALF, std=HALF, squash=True),
            ),
        ),
    ),
)
