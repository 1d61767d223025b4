"""Small untrained networks of every family, each beside the library's own module; and pictures to show them.

A new family needs a small architecture in ARCHITECTURES; the tests that run over FAMILIES then cover it.
"""

import copy
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core.attribution.catalog import METHODS
from xai_core.data.recipe import Recipe
from xai_core.explanation.question import Question
from xai_core.explanation.targets import ClassLogit, ClassMargin, ClassProbability, SimilarityTo, Target
from xai_core.models.building import random_module
from xai_core.models.card import CUSTOM, FAMILIES
from xai_core.models.explainable import ExplainableModel
from xai_core.models.families import staged
from xai_core.models.inside_families import with_cuts_inside
from xai_core.models.staged import freeze, normalisation
from xai_core.models.zoo.catalog import CARDS

ARCHITECTURES = {  # name, side of its pictures, arguments that make it small
    "resnet": ("slim_resnet18", 64, {}),
    "efficientnet": ("test_efficientnet", 64, {}),
    "vit": ("test_vit", 160, {}),
    "swin": (
        "swin_tiny_patch4_window7_224", 56, {"img_size": 56, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)},
    ),
    "xcit": ("xcit_nano_12_p16_224", 128, {"depth": 2, "embed_dim": 48, "num_heads": 4}),
    "cait": ("cait_xxs24_224", 128, {"img_size": 128, "depth": 2, "embed_dim": 48, "num_heads": 4, "init_values": 1.0}),
}  # fmt: skip
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CPU = torch.device("cpu")


class Normalise(nn.Module):
    """(x - mean) / std: what a model here does inside, for a library's module that does not."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class Pair(NamedTuple):
    """Our model, and the library's plain module with the same weights behind a normalisation: an independent copy.

    `parts` are the modules that the model itself runs.
    """

    model: ExplainableModel
    plain: nn.Module
    side: int
    parts: nn.ModuleList


@cache
def pair(family: str, architecture: str | None = None, side: int | None = None) -> Pair:
    """An architecture of a family with random weights (None: the family's small one); shared by all tests."""
    arguments = {}
    if architecture is None:
        architecture, side, arguments = ARCHITECTURES[family]
    card = next(card for card in CARDS.values() if card.family == family)
    checkpoint = replace(card.checkpoints[0], recipe=Recipe(side, side, mean=MEAN, std=STD))
    card = replace(card, architecture=architecture, arguments=arguments, checkpoints=(checkpoint,))
    module = random_module(card, seed=0)
    return assembled(family, module, side)


def assembled(family: str, module: nn.Module, side: int) -> Pair:
    """A library's module as our model, beside an untouched copy of it."""
    plain = nn.Sequential(Normalise(), copy.deepcopy(module)).eval()
    network = with_cuts_inside(staged(family, freeze(module)), module, side)
    model = ExplainableModel(
        id=family,
        title=f"Small {family}",
        family=family,
        network=replace(network, normalise=normalisation(MEAN, STD, CPU)),
        recipe=Recipe(side, side, mean=MEAN, std=STD),
        device=CPU,
        fingerprint="random",
    )
    return Pair(model, plain, side, nn.ModuleList([module]).eval())


@cache
def custom() -> Pair:
    """A convolutional network of the user's own, with a projection head beside its classifier."""
    torch.manual_seed(0)
    stages = [
        ("early", nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(inplace=True))),
        ("late", nn.Sequential(nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(inplace=True))),
    ]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    project, classify = nn.Linear(16, 4), nn.Linear(16, 10)
    model = ExplainableModel.from_stages(stages, pool, project, classify, mean=MEAN, std=STD, input_size=48)
    plain = nn.Sequential(Normalise(), *(part for _, part in stages), pool, classify).eval()
    network = model.network
    parts = nn.ModuleList([*(stage.run for stage in network.stages), network.pool, network.project, network.classify])
    return Pair(model, plain, 48, parts.eval())


TRACED = ("resnet10t", "convnext_atto", "test_vit")  # networks of timm that take themselves apart


@cache
def traced(architecture: str) -> Pair:
    """A network of timm with random weights, as it took itself apart."""
    import timm  # the modules imported above have the remedy for torchvision

    torch.manual_seed(0)
    side = 160 if architecture == "test_vit" else 96
    module = timm.create_model(architecture, num_classes=10).eval()
    model = ExplainableModel.from_module(module, recipe=Recipe(side, side, mean=MEAN, std=STD))
    network = model.network
    parts = nn.ModuleList([*(stage.run for stage in network.stages), network.pool, network.classify])
    parts.training = False  # the list itself; what is in it stays as the network made it
    return Pair(model, nn.Sequential(Normalise(), module).eval(), side, parts)


def small(name: str) -> Pair:
    """The small network of a family, the custom one, or one that took itself apart."""
    return custom() if name == "custom" else traced(name) if name in TRACED else pair(name)


NAMES = (*FAMILIES, CUSTOM)


def pictures(n: int, height: int, width: int | None = None, seed: int = 0) -> Tensor:
    """n different pictures (n, 3, height, width) in [0, 1]: soft blobs with a little noise."""
    width = width or height
    draw = torch.Generator().manual_seed(seed)
    blobs = F.interpolate(torch.rand(n, 3, 6, 6, generator=draw), (height, width), mode="bicubic")
    return (0.85 * blobs + 0.15 * torch.rand(n, 3, height, width, generator=draw)).clamp(0, 1)


def targets(found: Pair, n: int) -> dict[str, Target]:
    """One target of every kind for n pictures, a different one for each."""
    reference = found.model.outputs(pictures(n, found.side, seed=99)).embedding
    classes, rivals = tuple(range(1, n + 1)), tuple(range(4, n + 4))
    return {
        "logit": ClassLogit(classes),
        "probability": ClassProbability(classes),
        "margin": ClassMargin(classes, rivals),
        "similarity": SimilarityTo(reference),
    }


TARGETS = ("logit", "probability", "margin", "similarity")
CHEAP = {  # options that make the slow methods quick on pictures of 48 pixels and more
    "smooth_grad": {"samples": 3},
    "integrated_gradients": {"steps": 5},
    "occlusion": {"window": 32, "stride": 16},
    "feature_ablation": {"segments": 20},
    "rise": {"samples": 30, "grid": 4},
    "lime": {"samples": 40, "segmentation": "slic", "segments": 20},
    "kernel_shap": {"samples": 40, "segments": 20},
    "sobol": {"grid": 2, "designs": 8},
    "xrai": {"steps": 5},
    "score_cam": {"channels": 16},
    "smooth_grad_cam_plusplus": {"samples": 3},
    "refine_cam": {"layers": 2},
    "smooth_grad_squared": {"samples": 3},
    "var_grad": {"samples": 3},
    "gradient_shap": {"samples": 3},
    "blur_integrated_gradients": {"steps": 5},
    "guided_integrated_gradients": {"steps": 5},
}


def ask(model: ExplainableModel, target: Target, cut: str | None = None, precision: str = "exact") -> Question:
    return Question(model, target, model.network.cut_name(cut), precision)


def spearman(a, b) -> float:
    """Rank correlation of two maps; 1 where both are the same everywhere."""
    a, b = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float(np.ptp(a) == np.ptp(b))
    return float(scipy.stats.spearmanr(a, b).statistic)


def difference(a, b, unit: float = 0.0) -> float:
    """max |a - b| as a share of max |b|, or of `unit` where that is larger."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), unit, 1e-30))


def assert_same(ours, theirs):
    """Maps of several pictures agree: Spearman at least 0.999, and max |a - b| at most 1e-4 max |b|, each."""
    assert ours.shape == theirs.shape
    for a, b in zip(ours, theirs, strict=True):
        assert spearman(a, b) >= 0.999
        assert difference(a, b) <= 1e-4


def refused(method: str, name: str, kind: str = "logit") -> str | None:
    """Why a method does not answer this question of this small network; None where it does."""
    if method == "finer_cam" and kind == "similarity":
        return "Finer-CAM sets a class against others."
    return METHODS[method].misfit(small(name).model)


def brightness_model(place=np.s_[:]):
    """Class 1 for pictures (n, 3, H, W) whose mean in a place is above 0.5; its probability is sigmoid(10 (mean - 0.5))."""
    classify = nn.Linear(1, 2)
    with torch.no_grad():
        classify.weight.copy_(torch.tensor([[0.0], [10.0]]))
        classify.bias.copy_(torch.tensor([0.0, -5.0]))
    return ExplainableModel.from_stages(
        [("pixels", nn.Identity())], lambda images: images[place].mean((1, 2, 3))[:, None], classify=classify
    )


CORNER_SIDE = 24  # of the pictures of `corner_model`


def corner_model():
    """Class 1 where the mean of the corner, 6 x 6 pixels, is above 0.5."""
    return brightness_model(np.s_[:, :, :6, :6])


def with_bright_corners(count):
    """Dark pictures (3, CORNER_SIDE, CORNER_SIDE) with a white corner: `corner_model` answers 1."""
    images = 0.3 * torch.rand(count, 3, CORNER_SIDE, CORNER_SIDE, generator=torch.Generator().manual_seed(0))
    images[:, :, :6, :6] = 1
    return list(images)
