"""All metrics. To add one, write a function in the file of its family and list it here."""

import math
import re
from typing import Any

from xai_core.core.errors import UnknownName
from xai_core.metrics import axiomatic, complexity, ground_truth, localisation
from xai_core.metrics.faithfulness import combined_score, correlation, curves, drops, quick_deletion, regions, road
from xai_core.metrics.metric import HIGHER, LOWER, Metric
from xai_core.metrics.stability import randomisation, robustness

REMOVED, SHOWN = ("share of pixels removed", "score"), ("share of pixels shown", "score")
BOX, METHOD, SCENE = frozenset({"box"}), frozenset({"method"}), frozenset({"scene"})
ANY, SHARE, FROM_0, SIGNED = (-math.inf, math.inf), (0, 1), (0, math.inf), (-1, 1)

RISE = "Petsiuk et al. 2018, arXiv:1806.07421"
GRAD_CAM_PLUSPLUS = "Chattopadhyay et al. 2018, arXiv:1710.11063"
ROAD = "Rong et al. 2022, arXiv:2202.00449"
SENSITIVITY = "Yeh et al. 2019, arXiv:1901.09392"
STABILITY = "Agarwal et al. 2022, arXiv:2203.06877"
FUNNY_BIRDS = "Hesse et al. 2023, arXiv:2308.06248"
RANK_ACCURACY = "Arras et al. 2022, arXiv:2003.07258"

METRICS = {
    metric.id: metric
    for metric in (
        Metric(
            "deletion", "Deletion", "faithfulness", curves.deletion, LOWER, ANY, curves.curve_cost, RISE,
            "The mean score while the most relevant pixels are removed: low where they matter.",
            axes=REMOVED,
        ),
        Metric(
            "insertion", "Insertion", "faithfulness", curves.insertion, HIGHER, ANY, curves.curve_cost, RISE,
            "The mean score while the most relevant pixels are restored: high where few of them suffice.",
            axes=SHOWN,
        ),
        Metric(
            "average_drop", "Average drop", "faithfulness", drops.average_drop, LOWER, FROM_0, drops.masked_cost,
            GRAD_CAM_PLUSPLUS, "The share of the score that is lost when only the parts that the map marks are visible.",
        ),
        Metric(
            "increase_in_confidence", "Increase in confidence", "faithfulness", drops.increase_in_confidence, HIGHER,
            SHARE, drops.masked_cost, GRAD_CAM_PLUSPLUS,
            "Whether the score rises when only the parts that the map marks are visible; over a folder, how often.",
        ),
        Metric(
            "average_gain", "Average gain", "faithfulness", drops.average_gain, HIGHER, SHARE, drops.masked_cost,
            "Zhang et al. 2023, arXiv:2303.10523",
            "The rise of the score when only the parts that the map marks are visible, relative to the largest rise.",
        ),
        Metric(
            "quick_deletion", "Quick deletion", "faithfulness", quick_deletion.quick_deletion, HIGHER, ANY,
            quick_deletion.fifth_cost, RISE,
            "How much more the score falls without the map's strongest fifth than without a random fifth.",
        ),
        Metric(
            "road", "ROAD", "faithfulness", road.road, HIGHER, ANY, road.both_orders_cost, ROAD,
            "Half the difference between the scores without the least and without the most relevant pixels, gaps filled in "
            "from their surroundings.",
            axes=("share of pixels removed", "half the difference of the orders"),
        ),
        Metric(
            "road_most_relevant_first", "ROAD, most relevant first", "faithfulness", road.road_most_relevant_first, LOWER,
            ANY, road.one_order_cost, ROAD,
            "The mean change of the score without the most relevant pixels, gaps filled in: far below 0 where they matter.",
            axes=REMOVED,
        ),
        Metric(
            "road_least_relevant_first", "ROAD, least relevant first", "faithfulness", road.road_least_relevant_first,
            HIGHER, ANY, road.one_order_cost, ROAD,
            "The mean change of the score without the least relevant pixels, gaps filled in: near 0 if they do not matter.",
            axes=REMOVED,
        ),
        Metric(
            "pixel_flipping", "Pixel flipping", "faithfulness", regions.pixel_flipping, HIGHER, ANY, regions.flipping_cost,
            "Bach et al. 2015, doi:10.1371/journal.pone.0130140",
            "The mean fall of the score while pixels are replaced, most relevant first.",
            axes=REMOVED,
        ),
        Metric(
            "region_perturbation", "AOPC (region perturbation)", "faithfulness", regions.region_perturbation, HIGHER, ANY,
            regions.region_cost, "Samek et al. 2017, arXiv:1509.06321",
            "The mean fall of the score while squares are replaced by noise, most relevant first.",
            axes=("share of squares removed", "score"),
        ),
        Metric(
            "irof", "IROF", "faithfulness", regions.irof, HIGHER, (-math.inf, 1), regions.irof_cost,
            "Rieger and Hansen 2020, arXiv:2003.08747",
            "The share of the score that is lost on average while superpixels are covered, most relevant first.",
            axes=("share of superpixels removed", "score"),
        ),
        Metric(
            "faithfulness_correlation", "Faithfulness correlation", "faithfulness", correlation.faithfulness_correlation,
            HIGHER, SIGNED, correlation.set_cost, "Bhatt et al. 2020, arXiv:2005.00631",
            "How well the map's sum over random cells predicts the fall of the score without them: 1 means always, 0 never.",
        ),
        Metric(
            "sensitivity_n", "Sensitivity-n", "faithfulness", correlation.sensitivity_n, HIGHER, SIGNED, correlation.n_cost,
            "Ancona et al. 2018, arXiv:1711.06104",
            "The mean correlation of the map's sum over random cells and the fall of the score, for few cells and for many.",
            axes=("share of cells removed", "correlation"),
        ),
        Metric(
            "infidelity", "Infidelity", "faithfulness", correlation.infidelity, LOWER, SHARE, correlation.set_cost,
            SENSITIVITY, "The error in predicting from the map how far the score falls without random squares: 0 is none.",
        ),
        Metric(
            "sufficiency", "Sufficiency", "faithfulness", regions.sufficiency, LOWER, ANY, regions.sufficiency_cost,
            "DeYoung et al. 2020, arXiv:1911.03429",
            "How much of the score is lost when only the most relevant pixels are visible.",
            axes=SHOWN,
        ),
        Metric(
            "arcc", "ARCC", "faithfulness", combined_score.arcc, HIGHER, SHARE, combined_score.arcc_cost,
            "Poppi et al. 2021, arXiv:2104.10252",
            "Whether the map is compact, keeps the score, and stays the same on the masked picture: 1 means all three.",
            METHOD,
        ),
        Metric(
            "max_sensitivity", "Max-sensitivity", "robustness", robustness.max_sensitivity, LOWER, FROM_0,
            robustness.neighbours_cost, SENSITIVITY,
            "The largest relative change of the map when a little noise is added to the picture.", METHOD,
        ),
        Metric(
            "average_sensitivity", "Average sensitivity", "robustness", robustness.average_sensitivity, LOWER, FROM_0,
            robustness.neighbours_cost, "Bhatt et al. 2020, arXiv:2005.00631",
            "The mean relative change of the map when a little noise is added to the picture.", METHOD,
        ),
        Metric(
            "local_lipschitz", "Local Lipschitz estimate", "robustness", robustness.local_lipschitz, LOWER, FROM_0,
            robustness.neighbours_cost, "Alvarez-Melis and Jaakkola 2018, arXiv:1806.08049",
            "The largest change of the map for each unit of change of the picture, in the map's unit.", METHOD,
        ),
        Metric(
            "relative_input_stability", "Relative input stability", "robustness", robustness.relative_input_stability,
            LOWER, FROM_0, robustness.neighbours_and_outputs_cost, STABILITY,
            "The largest relative change of the map for a relative change of the picture, while the class stays.", METHOD,
        ),
        Metric(
            "relative_output_stability", "Relative output stability", "robustness", robustness.relative_output_stability,
            LOWER, FROM_0, robustness.neighbours_and_outputs_cost, STABILITY,
            "The largest relative change of the map for a relative change of the network's output, while the class stays.",
            METHOD,
        ),
        Metric(
            "flip_consistency", "Consistency under flip", "robustness", robustness.flip_consistency, HIGHER, SIGNED,
            robustness.flip_cost, "Guo et al. 2019, doi:10.1109/CVPR.2019.00082",
            "How similar the maps of the picture and of its mirror image are: 1 means the same.", METHOD,
        ),
        Metric(
            "pointing_game", "Pointing game", "localisation", localisation.pointing_game, HIGHER, SHARE, complexity.no_cost,
            "Zhang et al. 2016, arXiv:1608.00507", "Whether the strongest pixel of the map lies in the box.", BOX,
        ),
        Metric(
            "energy_pointing_game", "Energy pointing game", "localisation", localisation.energy_pointing_game, HIGHER, SHARE,
            complexity.no_cost, "Wang et al. 2020, arXiv:1910.01279",
            "The share of the map's positive evidence that lies in the box.", BOX,
        ),
        Metric(
            "relevance_rank_accuracy", "Relevance rank accuracy", "localisation", localisation.relevance_rank_accuracy,
            HIGHER, SHARE, complexity.no_cost, RANK_ACCURACY,
            "The share of the k most relevant pixels that lie in the box, k the number of pixels in the box.", BOX,
        ),
        Metric(
            "top_k_intersection", "Top-k intersection", "localisation", localisation.top_k_intersection, HIGHER, SHARE,
            complexity.no_cost, "Theiner et al. 2022, arXiv:2104.14995",
            "The share of a fixed number of most relevant pixels that lies in the box.", BOX,
        ),
        Metric(
            "part_correlation", "Correlation with the parts' effects", "ground truth", ground_truth.part_correlation, HIGHER,
            SIGNED, ground_truth.parts_cost, FUNNY_BIRDS,
            "How well the map orders the parts of a drawn picture by what taking each away does to the score.", SCENE,
        ),
        Metric(
            "part_mean_correlation", "Correlation of means with the parts' effects", "ground truth",
            ground_truth.part_mean_correlation, HIGHER, SIGNED, ground_truth.parts_cost, FUNNY_BIRDS,
            "How well the map's means over the parts of a drawn picture order them by what taking each away does.", SCENE,
        ),
        Metric(
            "top_part", "Top part found", "ground truth", ground_truth.top_part, HIGHER, SHARE, ground_truth.parts_cost,
            FUNNY_BIRDS, "Whether the part with most of the map is the one whose removal lowers the score most.", SCENE,
        ),
        Metric(
            "mark_found", "Mark found", "ground truth", ground_truth.mark_found, HIGHER, SHARE, ground_truth.parts_cost,
            "Yang and Kim 2019, arXiv:1907.09701",
            "Whether the map is strongest on a mark on which the prediction depends.", SCENE,
        ),
        Metric(
            "evidence_in_what_matters", "Evidence in what matters", "ground truth", ground_truth.evidence_in_what_matters,
            HIGHER, SHARE, ground_truth.parts_cost, RANK_ACCURACY,
            "The share of the map's positive evidence in the parts whose removal lowers the score.", SCENE,
        ),
        Metric(
            "part_completeness", "Completeness error of the parts", "ground truth", ground_truth.part_completeness, LOWER,
            FROM_0, ground_truth.whole_cost, FUNNY_BIRDS,
            "How far the map's sum is from the fall of the score when all parts are taken away: 0 means complete.", SCENE,
        ),
        Metric(
            "sparseness", "Sparseness", "complexity", complexity.sparseness, HIGHER, SHARE, complexity.no_cost,
            "Chalasani et al. 2020, arXiv:1810.06583",
            "How unequal the pixels of the map are: 0 where all are equal, near 1 where a few pixels have all the evidence.",
        ),
        Metric(
            "entropy", "Entropy", "complexity", complexity.entropy, LOWER, SHARE, complexity.no_cost,
            "Bhatt et al. 2020, arXiv:2005.00631",
            "How evenly the map is spread: 1 where all pixels are equal, 0 where one pixel has all the evidence.",
        ),
        Metric(
            "effective_pixels", "Effective number of pixels", "complexity", complexity.effective_pixels, LOWER,
            (1, math.inf), complexity.no_cost, "Nguyen and Martinez 2020, arXiv:2007.07584",
            "The number of pixels of equal weight that would be as spread out as the map.",
        ),
        Metric(
            "parameter_randomisation", "MPRT (cascading)", "randomisation", randomisation.parameter_randomisation, LOWER,
            SIGNED, randomisation.cascade_cost, "Adebayo et al. 2018, arXiv:1810.03292",
            "How similar the map stays while the network is randomised, from the last stage to the first: near 0 where it "
            "depends on the trained parameters.", METHOD,
            axes=("share of stages that are random", "rank correlation"),
        ),
        Metric(
            "efficient_parameter_randomisation", "Efficient MPRT", "randomisation",
            randomisation.efficient_parameter_randomisation, HIGHER, (-1, math.inf), randomisation.twin_cost,
            "Hedström et al. 2024, arXiv:2401.06465",
            "How much more disordered the map becomes when all parameters are random: positive if training makes maps "
            "more ordered.",
            METHOD,
        ),
        Metric(
            "random_logit", "Random logit", "randomisation", randomisation.random_logit, LOWER, SIGNED,
            randomisation.logit_cost, "Sixt et al. 2020, arXiv:1912.09818",
            "How similar the maps of this class and of others are: near 1 where the map says nothing about the class.",
            METHOD | {"classifier"},
        ),
        Metric(
            "completeness_error", "Completeness error", "axioms", axiomatic.completeness_error, LOWER, FROM_0,
            axiomatic.completeness_cost, "Sundararajan et al. 2017, arXiv:1703.01365",
            "How far the map's sum is from the change of the score between a baseline and the picture: 0 means complete.",
        ),
        Metric(
            "implementation_invariance", "Implementation invariance", "axioms", axiomatic.implementation_invariance, LOWER,
            FROM_0, axiomatic.invariance_cost, "Sundararajan et al. 2017, arXiv:1703.01365",
            "How much the map changes when the network is implemented differently but computes the same: 0 means not at"
            " all.",
            METHOD,
        ),
    )
}  # fmt: skip

# Under 60 forward passes a map; the energy pointing game where there is a box.
QUICK = (
    "insertion", "deletion", "average_drop", "increase_in_confidence", "average_gain", "sparseness", "entropy",
    "energy_pointing_game",
)  # fmt: skip

# The evaluation of one activation map with the settings of published code. (That code measured the coloured overlay; here
# the map itself is measured, as the papers define it.)
PUBLISHED_PRESET: dict[str, dict[str, Any]] = {
    "average_drop": {"substrate": "dataset mean"},
    "increase_in_confidence": {"substrate": "dataset mean"},
    "deletion": {"substrate": "dataset mean", "pixels": 224},
    "insertion": {"substrate": "published blur", "pixels": 224},
    "energy_pointing_game": {},
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {"quick": {name: {} for name in QUICK}, "published": PUBLISHED_PRESET}


def find_metric(name: str) -> Metric:
    """The metric with this id or title; case, spaces and punctuation do not matter. What follows an @ names a variant of a
    metric and is ignored: deletion@blur. Raises UnknownName."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    wanted = plain(name.split("@")[0])
    for metric in METRICS.values():
        if wanted in (plain(metric.id), plain(metric.title)):
            return metric
    raise UnknownName("metric", name, METRICS)
