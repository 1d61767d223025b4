"""Self-test of a metric: does it prefer a map that is known to be right, on this network and this picture?

The network gets a first stage that blanks all but one quadrant of the picture. A map of that quadrant is then right, and
maps of the other three quadrants, of random values, or of equal values everywhere are wrong. A metric that does not rank the
right map first cannot be trusted on this network and picture.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.explain import explain_methods
from xai_core.core import runtime
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import Prepared, stack
from xai_core.data.world.scene import Scene
from xai_core.explanation import heatmaps
from xai_core.explanation.targets import ClassLogit, Target
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import Heatmap, MetricChoice, checked_metrics, measure_all, passes
from xai_core.metrics.metric import HIGHER, Metric, OptionValues
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.outputs import top_classes

RANDOM_MAPS, CELLS = 3, 7
TRUE, INVERTED, RANDOM, UNIFORM = "true", "inverted", "random", "uniform"
DEPENDENT, INDEPENDENT = "saliency", "edge_detector"  # for randomisation: methods that do and do not depend on the network
UNTESTED_FAMILIES = {
    "complexity": "it measures the map alone, and claims nothing about its truth",
    "robustness": "it measures how stable a map is, and claims nothing about its truth",
    "axioms": "it checks a property of a kind of method, and claims nothing about its truth",
}


@dataclass(frozen=True)
class Verdict:
    """The result for one metric: `trusted` is None where it was not tested, `message` one sentence for users, `values` the
    metric's values of the maps by their names."""

    metric: str
    trusted: bool | None
    message: str
    values: Mapping[str, float]


def self_test(
    model: ExplainableModel,
    image: Picture | Prepared,
    metrics: MetricChoice,
    target: Target | None = None,
    *,
    scene: Scene | None = None,
    seed: int = 0,
    track: Track = iter,
) -> Iterator[Verdict]:
    """A verdict on each metric, with the options that are given.

    The test uses the quadrant, and for targets about a class the class, to which the network responds most; where it does
    not respond at all, nothing can be tested. A similarity target is used as it is.
    """
    options_by_metric = checked_metrics(metrics)
    prepared = image if isinstance(image, Prepared) else model.prepare(image)
    prepared = model.prepare(prepared.pixels)  # the input as a picture of its own, so that the quadrant is a mask of it
    response, quadrant, tested_target = _strongest(model, stack([prepared], model.device), target)
    if not response > 1e-6:
        message = "Not tested: the network does not respond to any part of this picture."
        yield from (Verdict(key, None, message, {}) for key in options_by_metric)
        return
    blinded = with_visible(model, quadrant)
    for key, options in options_by_metric.items():
        yield _verdict(blinded, prepared, key, options, tested_target, quadrant, scene, seed, track)


def self_test_passes(metrics: MetricChoice) -> int:
    """How many passes the test of these metrics takes, at most."""
    return 5 + sum(_test_passes(key, options) for key, options in checked_metrics(metrics).items())


def _test_passes(key: str, options: OptionValues) -> int:
    metric = find_metric(key)
    if metric.family == "randomisation":
        return sum(passes(key, options, method) for method in (DEPENDENT, INDEPENDENT))
    return 0 if _reason_not_to_test(metric) else (3 + RANDOM_MAPS) * passes(key, options)


def _reason_not_to_test(metric: Metric) -> str:
    """Why a metric is not tested; empty where it is."""
    if metric.family in UNTESTED_FAMILIES:
        return UNTESTED_FAMILIES[metric.family]
    computes_again = "method" in metric.needs and metric.family != "randomisation"
    return "it computes maps again, and the maps of the test are not made by a method" if computes_again else ""


def _verdict(
    model: ExplainableModel,
    image: Prepared,
    key: str,
    options: OptionValues,
    target: Target,
    quadrant: NDArray[np.bool_],
    scene: Scene | None,
    seed: int,
    track: Track,
) -> Verdict:
    metric = find_metric(key)
    reason = _reason_not_to_test(metric)
    if reason:
        return Verdict(key, None, f"Not tested: {reason}.", {})
    maps: Mapping[str, Heatmap] = known_maps(quadrant, seed)
    if metric.family == "randomisation":
        maps = dict(explain_methods(model, image, {DEPENDENT: {}, INDEPENDENT: {}}, target=target, seed=seed))
    measurements = measure_all(
        model, image, maps, {key: options}, target=target, box=quadrant, scene=scene, seed=seed, controls=False, track=track
    )
    return _judged(key, metric, {name: measurement.value for name, _, measurement in measurements})


def _judged(key: str, metric: Metric, values: dict[str, float]) -> Verdict:
    """The verdict from the values of the maps, the right one first; random maps count as one with their mean."""
    draws = [name for name in values if name.startswith(RANDOM)]
    compared = {name: value for name, value in values.items() if name not in draws}
    if draws:
        compared[RANDOM] = float(np.mean([values[name] for name in draws]))
    (true, best), *others = compared.items()
    sign = 1 if metric.direction == HIGHER else -1
    if np.isnan(best):
        return Verdict(key, None, "Not tested: the true map has no value here.", compared)
    ahead = {name: sign * (best - value) for name, value in others}  # an undefined value is neither equal nor above
    equal = [name for name, gap in ahead.items() if abs(gap) <= 1e-9 * abs(best)]
    above = [name for name, gap in ahead.items() if gap < 0 and name not in equal]
    faults = [f"it ranks the {' and the '.join(above)} map above the {true} one"] if above else []
    faults += [f"it does not tell the {true} map from the {' and the '.join(equal)} one"] if equal else []
    if faults:
        return Verdict(key, False, f"Cannot be trusted here: {', and '.join(faults)}.", compared)
    lower = ", ".join(f"{name} ({value:.3g})" for name, value in others)
    return Verdict(key, True, f"Ranks the {true} map ({best:.3g}) above these: {lower}.", compared)


def known_maps(quadrant: NDArray[np.bool_], seed: int) -> dict[str, NDArray[np.float32]]:
    """The right map first, then wrong ones, (H, W)."""
    true = quadrant.astype(np.float32)
    draws = [runtime.uniform_draw(seed, index, (CELLS, CELLS)).numpy() for index in range(RANDOM_MAPS)]
    height, width = quadrant.shape
    random = {f"{RANDOM} {index}": heatmaps.resize(draw, (height, width)) for index, draw in enumerate(draws)}
    return {TRUE: true, INVERTED: 1 - true, **random, UNIFORM: np.ones_like(true)}


def with_visible(model: ExplainableModel, visible: NDArray[np.bool_]) -> ExplainableModel:
    """The model behind a first stage that makes all but the `visible` (H, W) pixels black, in pixel space."""
    mask, normalise = torch.from_numpy(visible).float().to(model.device), model.network.normalise

    def blanked(images: Tensor) -> Tensor:
        return normalise(images * mask) if normalise else images * mask

    network = replace(model.network, normalise=blanked)
    return replace(model, network=network, fingerprint=f"{model.fingerprint} behind a quadrant")


def quadrants(size: tuple[int, int]) -> Sequence[NDArray[np.bool_]]:
    """The masks (H, W) of the upper left, upper right, lower left and lower right quarter."""
    height, width = size
    down, across = np.arange(height)[:, None] < height // 2, np.arange(width) < width // 2
    return [down & across, down & ~across, ~down & across, ~down & ~across]


def _strongest(model: ExplainableModel, pixels: Tensor, target: Target | None) -> tuple[float, NDArray[np.bool_], Target]:
    """The largest rise of a score over that of a black picture when one quadrant is visible; the quadrant; the target."""
    height, width = pixels.shape[2:]
    masks = quadrants((height, width))
    images = torch.cat([pixels * torch.from_numpy(mask).to(pixels) for mask in masks] + [torch.zeros_like(pixels)])
    outputs = model.outputs(images)
    if target is None or hasattr(target, "classes"):
        scores = outputs.logits.softmax(1)
        class_rises = scores[:4] - scores[4]
        place, index = divmod(int(top_classes(class_rises.flatten())), class_rises.shape[1])
        return float(class_rises.max()), masks[place], ClassLogit((index,))
    rises = (target(outputs)[:4] - target(outputs)[4]).tolist()
    place = int(np.argmax(rises))
    return rises[place], masks[place], target
