"""What the study of methods for pairs published (Sammani et al. 2022, arXiv:2206.09753): its figures, and the settings
behind them as its code has them. A run that differs from these settings says so: `deviations`.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xai_core.pairs.catalog import PAIR_METHODS
from xai_core.pairs.metrics import PAIR_METRICS, STEP

PUBLISHED = {  # the paper's names -> ours, in its order
    "Conditional Occlusion": "conditional_occlusion",
    "Context-Agnostic Occlusion": "context_agnostic_occlusion",
    "Pairwise Occlusion": "pairwise_occlusion",
    "Grad-CAM": "grad_cam",
    "Interaction-CAM (Mean)": "interaction_cam_mean",
    "Interaction-CAM (Max)": "interaction_cam_max",
    "Interaction-CAM (SA)": "interaction_cam_attn",
    "Pixel Invariance": "pixel_invariance",
    "Input x Gradient": "input_x_gradient",
    "Input x Gradient (G)": "input_x_gradient_guided",
    "Smooth-Grad": "smooth_grad",
    "Smooth-Grad (G)": "smooth_grad_guided",
    "Avg. Transforms": "averaged_transforms",
    "Avg. Transforms (G)": "averaged_transforms_guided",
    "Avg. Transforms (N)": "averaged_transforms_noise",
    "Avg. Transforms (G + N)": "averaged_transforms_guided_noise",
}
MODELS = {"simclrv2_r50_2x": "SimCLRv2 (2X)", "barlow_twins": "Barlow Twins"}
COLUMNS = {"CIC": "CID"}  # our names of metrics -> the study's, where they differ

_CODE, _MODULES = {"sigma_rule": "code"}, {"guided_scope": "modules"}
OPTIONS: Mapping[str, Mapping[str, Any]] = {  # of methods, where the study's code has other values than our defaults
    "pixel_invariance": {"count": 1000, "epochs": 10},
    "input_x_gradient_guided": _MODULES,
    "smooth_grad": {"samples": 50} | _CODE,
    "smooth_grad_guided": {"samples": 50} | _CODE | _MODULES,
    "averaged_transforms_guided": _MODULES,
    "averaged_transforms_noise": _CODE,
    "averaged_transforms_guided_noise": _CODE | _MODULES,
}
OPTIONS_OF = {"simclrv2_r50": {"pixel_invariance": {"epochs": 1000}}}  # of models whose id begins like this


class Deviation(NamedTuple):
    """A setting, its value in the study and in a run, and the methods that it concerns (none: all of them)."""

    setting: str
    published: str
    here: str
    methods: tuple[str, ...] = ()


_CROPPED = tuple(method.id for method in PAIR_METHODS.values() if method.cropped)
_WHOLE = tuple(method.id for method in PAIR_METHODS.values() if not method.cropped)
_NOISY = ("averaged_transforms_noise", "averaged_transforms_guided_noise")
ALWAYS = (  # what no plan of ours does as the study's code does it
    Deviation("Crops: smallest area", "8% of the picture", "20%", _CROPPED),
    Deviation("Crops: colour jitter", "0.8 (hue 0.2), for 80% of the views", "0.4 (hue 0.1), for 80%", _CROPPED),
    Deviation("Crops: blur", "sigma 0.1 to 2 pixels, for 50% of the views", "sigma 2 pixels, for 50%", _CROPPED),
    Deviation(
        "Combined transform", "colour jitter, grey and blur, each at random", "all three, grey and blur at half strength",
        _WHOLE,
    ),
    Deviation("Averaged transforms: noise on the last point", "no", "yes", _NOISY),
    Deviation(
        "Pixel invariance: views", "whole pictures; colour jitter, grey, random erasing",
        "crops; flip, colour jitter, grey, blur", ("pixel_invariance",),
    ),
    Deviation("Drops from a similarity below 0", "counted", "left out"),
)  # fmt: skip


def options_of(model: str) -> dict[str, dict[str, Any]]:
    """The options of the study's code for a model, by its id, in the form that a plan has."""
    of_model = next((options for start, options in OPTIONS_OF.items() if model.startswith(start)), {})
    return {method: {**options, **of_model.get(method, {})} for method, options in OPTIONS.items()}


def published(model: str) -> dict[tuple[str, str], float]:
    """The study's figures by (method, metric) for the two models that it measured; empty for any other model."""
    with (Path(__file__).parent / "published.csv").open(newline="") as file:
        return {
            (PUBLISHED[row["method"]], metric): float(row[metric])
            for row in csv.DictReader(file)
            if row["model"] == MODELS.get(model)
            for metric in PAIR_METRICS
            if row[metric] != "NA"
        }


@dataclass(frozen=True)
class Setup:
    """Those settings of a run that the study's differ from: model by its id and title, pictures in words, whether maps and
    changes are made behind the normalisation (or there is none), the step of curves, and the options of each method."""

    model: str
    title: str
    pictures: str
    normalised: bool
    step: int
    options: Mapping[str, Mapping[str, Any]]


def deviations(setup: Setup, of: str) -> list[Deviation]:
    """Each setting that differs from that behind the study's figures of the model `of`, one of MODELS."""
    found = [] if setup.model == of else [Deviation("Network", MODELS[of], setup.title)]
    found.append(Deviation("Pictures", "validation set of ImageNet", setup.pictures))
    if not setup.normalised:
        found.append(Deviation("Maps and changes are made on", "normalised values", "pixels in [0, 1]"))
    if setup.step != STEP:
        found.append(Deviation("Pixels in each step of a curve", str(STEP), str(setup.step)))
    merged: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for method, options in options_of(of).items():
        for option, value in options.items():
            here = setup.options.get(method, {}).get(option, value)
            if here != value:
                key = (f"Option {option}", str(value), str(here))
                merged[key] = (*merged.get(key, ()), method)
    found += [Deviation(*key, methods) for key, methods in merged.items()]
    for one in ALWAYS:
        methods = tuple(method for method in one.methods if method in setup.options)
        if methods or not one.methods:
            found.append(one._replace(methods=methods))
    return found


def in_words(methods: Sequence[str]) -> str:
    """The methods that a deviation concerns: their titles; where they are many, the kind of pairs that they are measured
    on."""
    kinds = {PAIR_METHODS[method].cropped for method in methods}
    if len(methods) > 4 and len(kinds) == 1:
        return "methods on random crops" if kinds == {True} else "methods on a picture and its transform"
    return ", ".join(PAIR_METHODS[method].title for method in methods) or "all"
