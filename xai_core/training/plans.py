"""What is trained and how: plain records, no torch. To train another network, add a plan."""

from dataclasses import dataclass

from xai_core.data.recipe import Recipe

PHOTOGRAPHS = (
    "Labels of such pictures overlap (a glacier lies on a mountain, a street runs between buildings), and some are wrong."
)
DRAWN = "It was trained on drawn pictures only."


@dataclass(frozen=True)
class Phase:
    """A share of the epochs in which pictures are cut to squares of `side` pixels: small ones first save much time."""

    share: float
    side: int


@dataclass(frozen=True)
class TrainingPlan:
    """One training.

    how            "supervised": from scratch, or from `base` with all in front of the stage `train_from` frozen;
                   "barlow": Barlow Twins without labels, then a linear probe
    crop           the smallest share of a picture that a random crop keeps
    jitter         random brightness, contrast, saturation (ColorJitter's strengths), with probability `jittered`
    grey           probability that a picture loses its colours
    learning_rate  the highest; it rises over the first tenth of all steps and falls to 0 by half a cosine
    probe_every    without labels: epochs between two recorded probes
    train, test    the world that it is trained on and that is recorded, as `open_dataset` takes them; "" where the caller
                   gives pictures
    limits         what to know of its answers, in the report
    """

    id: str
    title: str
    how: str
    family: str
    architecture: str
    epochs: int
    phases: tuple[Phase, ...]
    recipe: Recipe
    learning_rate: float
    weight_decay: float
    optimizer: str = "SGD, Nesterov momentum 0.9"
    batch: int = 128
    label_smoothing: float = 0.1
    crop: float = 0.35
    jitter: tuple[float, float, float] = (0.3, 0.3, 0.3)
    jittered: float = 0.5
    grey: float = 0.0
    base: str = ""
    train_from: str = ""
    probe_every: int = 3
    remark: str = ""
    redundancy: float = 0.005  # Barlow Twins: weight of the terms off the diagonal
    train: str = ""
    test: str = ""
    limits: str = PHOTOGRAPHS
    licence: str = "Apache-2.0; the terms of the pictures it was trained on are not known (see NOTICE)"

    def side(self, epoch: int, epochs: int) -> int:
        """The side of training pictures in this epoch, counted from 1, of so many."""
        passed = 0.0
        for phase in self.phases:
            passed += phase.share
            if epoch <= round(passed * epochs):
                return phase.side
        return self.phases[-1].side


SMALL = Recipe(112, 112)
HALF = (0.5, 0.5, 0.5)
LICENCE = "Apache-2.0"


def world_plan(kind: str, title: str, remark: str) -> TrainingPlan:
    """The plan of a network of world:planted or world:clean. Its random crops are mild: they leave a mark in the corner in
    the picture, and teach no robustness that would hide the planted causes."""
    return TrainingPlan(
        id=f"world_{kind}",
        title=f"{title} (Slim ResNet-18)",
        how="supervised",
        family="resnet",
        architecture="slim_resnet18",
        epochs=16,
        phases=(Phase(0.5, 48), Phase(0.3, 72), Phase(0.2, 128)),
        recipe=Recipe(128, 128),
        learning_rate=0.1,
        weight_decay=5e-4,
        label_smoothing=0.0,
        crop=0.95,
        jitter=(0.2, 0.2, 0.2),
        remark=remark,
        train=f"world:{kind}:train",
        test=f"world:{kind}",
        limits=DRAWN,
        licence=LICENCE,
    )


PLANS = {
    plan.id: plan
    for plan in (
        TrainingPlan(
            id="scenes_finetuned",
            title="EfficientNet-Lite0, fine-tuned on scenes",
            how="supervised",
            family="efficientnet",
            architecture="tf_efficientnet_lite0",
            epochs=4,
            phases=(Phase(1.0, 128),),
            recipe=Recipe(160, 160, "bicubic", mean=HALF, std=HALF),
            learning_rate=0.01,
            weight_decay=1e-4,
            batch=64,
            crop=0.5,
            base="efficientnet_lite0",
            train_from="blocks.4.0",
        ),
        TrainingPlan(
            id="scenes_supervised",
            title="Slim ResNet-18, scenes from scratch",
            how="supervised",
            family="resnet",
            architecture="slim_resnet18",
            epochs=48,
            phases=(Phase(0.3, 48), Phase(0.4, 64), Phase(0.3, 80)),
            recipe=SMALL,
            learning_rate=0.1,
            weight_decay=5e-4,
            remark="The same network and pictures as scenes_barlow, with labels.",
        ),
        TrainingPlan(
            id="scenes_barlow",
            title="Slim ResNet-18, scenes without labels (Barlow Twins)",
            how="barlow",
            family="resnet",
            architecture="slim_resnet18_barlow",
            epochs=18,
            phases=(Phase(0.75, 48), Phase(0.25, 64)),
            recipe=Recipe(80, 80),
            learning_rate=2e-3,
            weight_decay=1e-4,
            optimizer="AdamW",
            crop=0.2,
            jitter=(0.4, 0.4, 0.2),
            jittered=0.8,
            grey=0.2,
            probe_every=5,
            remark="The same network and pictures as scenes_supervised, without labels; similarity is computed from its "
            "projection head.",
        ),
        TrainingPlan(
            id="scenes_resnet50",
            title="ResNet-50, fine-tuned on scenes",
            how="supervised",
            family="resnet",
            architecture="resnet50",
            epochs=5,
            phases=(Phase(1.0, 160),),
            recipe=Recipe(192, 192),
            learning_rate=0.01,
            weight_decay=1e-4,
            batch=64,
            crop=0.5,
            base="resnet50",
            train_from="layer3.0",
        ),
        world_plan("planted", "Drawn world, causes planted", "The causes of its errors are known."),
        world_plan("clean", "Drawn world, clean", "The same network and recipe as world_planted."),
        TrainingPlan(
            id="world_barlow",
            title="Drawn world, without labels (Slim ResNet-18, Barlow Twins)",
            how="barlow",
            family="resnet",
            architecture="slim_resnet18_barlow192",
            epochs=30,
            phases=(Phase(0.7, 64), Phase(0.3, 96)),
            recipe=Recipe(128, 128),
            learning_rate=2e-3,
            weight_decay=1e-4,
            optimizer="AdamW",
            crop=0.5,
            jitter=(0.4, 0.4, 0.2),
            jittered=0.8,
            grey=0.2,
            probe_every=6,
            remark="The same pictures as world_planted, without labels; similarity is computed from its projection head.",
            train="world:planted:train",
            test="world:planted",
            limits=DRAWN,
            licence=LICENCE,
        ),
    )
}
