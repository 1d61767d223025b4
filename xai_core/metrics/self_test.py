"""Can a metric be trusted here? It is asked about maps whose truth is known, on the very network and picture that are shown.

The network is put behind a first stage that blanks all but one quadrant of the picture, so that a map of that quadrant is
true, and one of the other three, of chance, or of everything alike is not. A metric that does not rank the true map first
cannot be trusted on this network and picture.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.explain import explain_methods
from xai_core.core import runtime
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import Prepared, stack
from xai_core.explanation import heatmaps
from xai_core.explanation.targets import ClassLogit, Target
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import Chosen, chosen_metrics, measure_all, passes
from xai_core.metrics.metric import HIGHER, Metric
from xai_core.models.explainable import ExplainableModel, Picture

RANDOM_MAPS, CELLS = 3, 7
TRUE, INVERTED, RANDOM, UNIFORM = "true", "inverted", "random", "uniform"
DEPENDING, BLIND = "saliency", "edge_detector"  # for randomisation: methods that do and do not depend on the network
SILENT = {
    "complexity": "it measures the map alone, and claims nothing about its truth",
    "robustness": "it measures how stable a map is, and claims nothing about its truth",
    "axioms": "it checks what a kind of method promises, and claims nothing about its truth",
}


@dataclass(frozen=True)
class Verdict:
    """What the test says of one metric: `trusted` is None where it says nothing; `values` of the maps by their names."""

    metric: str
    trusted: bool | None
    said: str
    values: Mapping[str, float]


def self_test(
    model: ExplainableModel,
    image: Picture | Prepared,
    metrics: Chosen,
    target: Target | None = None,
    *,
    seed: int = 0,
    track: Track = iter,
) -> Iterator[Verdict]:
    """A verdict on each metric, with the options that are given.

    The quadrant, and for questions about a class the class, are those to which the network responds most: where it does not
    respond at all, nothing can be told. Only a similarity is asked about as it is.
    """
    chosen = chosen_metrics(metrics)
    prepared = image if isinstance(image, Prepared) else model.prepare(image)
    pixels = stack([prepared], model.device)
    response, quadrant, asked = _strongest(model, pixels, target)
    if not response > 1e-6:
        said = "Not tested: the network does not respond to any part of this picture."
        yield from (Verdict(key, None, said, {}) for key in chosen)
        return
    blinded = behind(model, quadrant)
    view = model.prepare(pixels[0])  # the crop as a picture of its own: quadrants are given in its pixels
    for key, options in chosen.items():
        yield _verdict(blinded, view, key, options, asked, quadrant, seed, track)


def test_passes(metrics: Chosen) -> int:
    """How many passes the test of these metrics takes, at most."""
    return 5 + sum(_test_cost(find_metric(key), key, options) for key, options in chosen_metrics(metrics).items())


test_passes.__test__ = False  # not one of pytest's


def _test_cost(metric: Metric, key: str, options: Mapping[str, Any]) -> int:
    if metric.family == "randomisation":
        return sum(passes(key, options, method) for method in (DEPENDING, BLIND))
    return 0 if _untested(metric) else (3 + RANDOM_MAPS) * passes(key, options)


def _untested(metric: Metric) -> str:
    """Why a metric is not tested; empty where it is."""
    if metric.family in SILENT:
        return SILENT[metric.family]
    makes_again = "method" in metric.needs and metric.family != "randomisation"
    return "it makes maps again, and no method makes the maps whose truth is known" if makes_again else ""


def _verdict(
    model: ExplainableModel, image: Prepared, key: str, options: Mapping[str, Any], asked: Target, quadrant: NDArray,
    seed: int, track: Track,
) -> Verdict:  # fmt: skip
    metric = find_metric(key)
    reason = _untested(metric)
    if reason:
        return Verdict(key, None, f"Not tested: {reason}.", {})
    if metric.family == "randomisation":
        methods = {DEPENDING: {}, BLIND: {}}
        maps = dict(explain_methods(model, image, methods, target=asked, seed=seed))
    else:
        maps = known_maps(quadrant, seed)
    found = measure_all(
        model, image, maps, {key: options}, target=asked, box=quadrant, seed=seed, controls=False, track=track
    )
    values = {name: one.value for name, _, one in found}
    return _judged(key, metric, values)


def _judged(key: str, metric: Metric, values: dict[str, float]) -> Verdict:
    draws = [name for name in values if name.startswith(RANDOM)]
    shown = {name: value for name, value in values.items() if name not in draws}
    if draws:
        shown[RANDOM] = float(np.mean([values[name] for name in draws]))
    (true, best), *others = shown.items()
    sign = 1 if metric.direction == HIGHER else -1
    if np.isnan(best):
        return Verdict(key, None, "Not tested: the true map has no value here.", shown)
    ahead = {name: sign * (best - value) for name, value in others}  # an undefined value is neither equal nor above
    equal = [name for name, gap in ahead.items() if abs(gap) <= 1e-9 * abs(best)]
    above = [name for name, gap in ahead.items() if gap < 0 and name not in equal]
    faults = [f"it ranks the {' and the '.join(above)} map above the {true} one"] if above else []
    faults += [f"it does not tell the {true} map from the {' and the '.join(equal)} one"] if equal else []
    if faults:
        return Verdict(key, False, f"Cannot be trusted here: {', and '.join(faults)}.", shown)
    said = ", ".join(f"{name} ({value:.3g})" for name, value in others)
    return Verdict(key, True, f"Ranks the {true} map ({best:.3g}) above these: {said}.", shown)


def known_maps(quadrant: NDArray[np.bool_], seed: int) -> dict[str, NDArray]:
    """The true map first, then false ones, (H, W)."""
    true = quadrant.astype(np.float32)
    draws = [runtime.uniform_draw(seed, index, (CELLS, CELLS)).numpy() for index in range(RANDOM_MAPS)]
    random = {f"{RANDOM} {index}": heatmaps.resize(draw, quadrant.shape) for index, draw in enumerate(draws)}
    return {TRUE: true, INVERTED: 1 - true, **random, UNIFORM: np.ones_like(true)}


def behind(model: ExplainableModel, seen: NDArray[np.bool_]) -> ExplainableModel:
    """The model behind a first stage that blanks all but the `seen` (H, W) pixels: to black, in pixel space."""
    mask, normalise = torch.from_numpy(seen).float().to(model.device), model.network.normalise

    def blanked(images: Tensor) -> Tensor:
        return normalise(images * mask) if normalise else images * mask

    network = replace(model.network, normalise=blanked)
    return replace(model, network=network, fingerprint=f"{model.fingerprint} behind a quadrant")


def quadrants(size: tuple[int, int]) -> Sequence[NDArray[np.bool_]]:
    height, width = size
    down, across = np.arange(height)[:, None] < height // 2, np.arange(width) < width // 2
    return [down & across, down & ~across, ~down & across, ~down & ~across]


def _strongest(model: ExplainableModel, pixels: Tensor, target: Target | None) -> tuple[float, NDArray[np.bool_], Target]:
    """The largest rise of a score over that of black when one quadrant is shown; the quadrant; and what is asked."""
    parts = quadrants(tuple(pixels.shape[2:]))
    shown = torch.cat([pixels * torch.from_numpy(part).to(pixels) for part in parts] + [torch.zeros_like(pixels)])
    outputs = model.outputs(shown)
    if target is None or hasattr(target, "classes"):
        scores = outputs.logits.softmax(1)
        rises = scores[:4] - scores[4]
        best = int(rises.argmax())
        place, index = divmod(best, rises.shape[1])
        return float(rises.max()), parts[place], ClassLogit((index,))
    rises = (target(outputs)[:4] - target(outputs)[4]).tolist()
    place = int(np.argmax(rises))
    return rises[place], parts[place], target
