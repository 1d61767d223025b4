"""The metrics of this project. To add one: a function in its family's file, and an entry here."""

import math
import re

from xai_core.errors import UnknownName
from xai_core.metrics import complexity, curves, drops, pointing
from xai_core.metrics.metric import HIGHER, LOWER, Metric

BOX = frozenset({"box"})


def free(options):
    return complexity.NO_PASS


def one_more(options):
    return drops.ONE_MORE


RISE = "Petsiuk et al. 2018, arXiv:1806.07421"
GRAD_CAM_PLUSPLUS = "Chattopadhyay et al. 2018, arXiv:1710.11063"

METRICS = {
    metric.id: metric
    for metric in (
        Metric(
            "deletion", "Deletion", "faithfulness", curves.deletion, LOWER, (-math.inf, math.inf), curves.curve_cost, RISE,
            "The mean score while the pixels the map calls most relevant are taken away: low where they mattered.",
        ),
        Metric(
            "insertion", "Insertion", "faithfulness", curves.insertion, HIGHER, (-math.inf, math.inf), curves.curve_cost,
            RISE, "The mean score while the pixels the map calls most relevant come back: high where few of them suffice.",
        ),
        Metric(
            "average_drop", "Average drop", "faithfulness", drops.average_drop, LOWER, (0, math.inf), one_more,
            GRAD_CAM_PLUSPLUS, "The share of the score that is lost when only what the map shows is left of the picture.",
        ),
        Metric(
            "increase_in_confidence", "Increase in confidence", "faithfulness", drops.increase_in_confidence, HIGHER,
            (0, 1), one_more, GRAD_CAM_PLUSPLUS,
            "Whether the score rises when only what the map shows is left; over a folder, the share of pictures where so.",
        ),
        Metric(
            "average_gain", "Average gain", "faithfulness", drops.average_gain, HIGHER, (0, 1), one_more,
            "Zhang et al. 2023, arXiv:2303.10523",
            "How much of the room above the score is gained when only what the map shows is left.",
        ),
        Metric(
            "pointing_game", "Pointing game", "localisation", pointing.pointing_game, HIGHER, (0, 1), free,
            "Zhang et al. 2016, arXiv:1608.00507", "Whether the strongest pixel of the map lies in the box.", BOX,
        ),
        Metric(
            "energy_pointing_game", "Energy pointing game", "localisation", pointing.energy_pointing_game, HIGHER, (0, 1),
            free, "Wang et al. 2020, arXiv:1910.01279", "The share of the map's positive evidence that is in the box.", BOX,
        ),
        Metric(
            "sparseness", "Sparseness", "complexity", complexity.sparseness, HIGHER, (0, 1), free,
            "Chalasani et al. 2020, arXiv:1810.06583",
            "How unevenly the map is spread: 0 where all pixels have the same, near 1 where a few have it all.",
        ),
        Metric(
            "entropy", "Entropy", "complexity", complexity.entropy, LOWER, (0, 1), free,
            "Bhatt et al. 2020, arXiv:2005.00631",
            "How evenly the map is spread: 1 where all pixels have the same, 0 where a single one has it all.",
        ),
        Metric(
            "effective_pixels", "Effective number of pixels", "complexity", complexity.effective_pixels, LOWER,
            (1, math.inf), free, "Nguyen and Martinez 2020, arXiv:2007.07584",
            "How many pixels of equal weight would be as spread out as the map.",
        ),
    )
}  # fmt: skip

# Under 60 forward passes a map; the energy pointing game where there is a box.
QUICK = (
    "insertion", "deletion", "average_drop", "increase_in_confidence", "average_gain", "sparseness", "entropy",
    "energy_pointing_game",
)  # fmt: skip

# The evaluation of one activation map as published code of the field has it. (That code measured the coloured overlay; here
# it is the map itself, as the papers define it.)
SEED_PRESET = {
    "average_drop": {"substrate": "dataset mean"},
    "increase_in_confidence": {"substrate": "dataset mean"},
    "deletion": {"substrate": "dataset mean", "pixels": 224},
    "insertion": {"substrate": "published blur", "pixels": 224},
    "energy_pointing_game": {},
}


def find_metric(name: str) -> Metric:
    """A metric by its id or its title, however it is spelt. What follows an @ only tells variants of one metric apart:
    deletion@blur. Raises UnknownName."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    wanted = plain(name.split("@")[0])
    for metric in METRICS.values():
        if wanted in (plain(metric.id), plain(metric.title)):
            return metric
    raise UnknownName("metric", name, METRICS)
