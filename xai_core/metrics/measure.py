"""Measure maps: every metric of every map of one picture, in one stream of batches.

What maps and metrics share is computed once: the score of the picture, the scores of the substrates, random perturbations
that do not depend on the map. One batch holds images of several maps and metrics; only its scores are kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution import variants
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import TargetLike, explain, request_for
from xai_core.attribution.method import USUAL_SIDE
from xai_core.core.errors import BadRequest
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.box import Boxes, inside
from xai_core.data.preprocessing import Prepared
from xai_core.data.scene_parts import SceneParts, scene_parts
from xai_core.data.world.scene import Scene
from xai_core.explanation import heatmaps
from xai_core.explanation.question import Question
from xai_core.explanation.request import ActiveRequest
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target, target_of_key
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.metric import (
    HIGHER,
    LOWER,
    NEEDS,
    Candidate,
    Case,
    MapMaker,
    MapOrigin,
    Metric,
    MetricGenerator,
    MetricResult,
    OptionValues,
)
from xai_core.metrics.scheduler import Job, run_jobs
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.random_init import twins

# Maps that do not depend on the network, measured beside the others: "control:" and the method's id, with its options. With
# seven cells the random map is as coarse as a class activation map; noise for each pixel would act like the uniform map,
# whose pixels are ordered at random.
CONTROLS: dict[str, dict[str, Any]] = {
    "control:random_map": {"cells": 7},
    "control:centre_gaussian": {},
    "control:edge_detector": {},
    "control:uniform_map": {},
}
NOT_FINITE = "The map holds values that are not numbers: it cannot be measured."
Heatmap = Explanation | NDArray[Any]
Heatmaps = Mapping[str, Heatmap]
TwinFactory = Callable[[int], ExplainableModel]
MetricChoice = Mapping[str, OptionValues] | Sequence[str]


@dataclass(frozen=True)
class Measurement:
    """The value of one metric for one map.

    value     in the metric's range; NaN where it is undefined, with a note that says why
    curve     (n, 2): x and y of the metric's axes; None for metrics without a curve
    controls  the metric's values for the control maps, by their names in CONTROLS
    passes    forward and backward passes of one picture behind this value, those shared with other maps included
    seconds   its share of the time
    facts     further numbers, such as the share of ties and their effect, or the score of the picture
    """

    value: float
    curve: NDArray[np.float64] | None = None
    controls: Mapping[str, float] = field(default_factory=dict)
    passes: int = 0
    seconds: float = 0.0
    facts: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def measure(
    model: ExplainableModel,
    image: Picture | Prepared,
    heatmap_or_explanation: Heatmap,
    metric: str,
    target: TargetLike | None = None,
    *,
    box: Boxes | None = None,
    scene: Scene | None = None,
    seed: int = 0,
    precision: str = "exact",
    controls: bool = True,
    track: Track = iter,
    **options: Any,
) -> Measurement:
    """One metric of one map of one picture, with the values of four control maps (unless `controls` is False).

    image       as for `explain`: a PIL picture or a path, or a float tensor (3, H, W) in [0, 1]
    heatmap...  an Explanation of this picture, or an array (h, w) over what the network sees of it
    metric      see `python -m xai_core metrics`
    target      what the map explains; None is the explanation's own target, for an array the predicted class
    box         (left, top, right, bottom) in the picture's pixels, several of them, or a mask: for the metrics that need it
    scene       what the picture was drawn from, if it is of a world: for the metrics that need it, and instead of a box
    options     the metric's own

    Raises subclasses of XaiError with one sentence for everything that cannot be measured.
    """
    maps = {"map": heatmap_or_explanation}
    measurements = measure_all(
        model, image, maps, {metric: options},
        target=target, box=box, scene=scene, seed=seed, precision=precision, controls=controls, track=track,
    )  # fmt: skip
    return next(measurement for name, _, measurement in measurements if name == "map")


def measure_all(
    model: ExplainableModel,
    image: Picture | Prepared,
    explanations: Heatmaps,
    metrics: MetricChoice,
    *,
    target: TargetLike | None = None,
    box: Boxes | None = None,
    scene: Scene | None = None,
    seed: int = 0,
    precision: str = "exact",
    controls: bool = True,
    twin: TwinFactory | None = None,
    track: Track = iter,
) -> Iterator[tuple[str, str, Measurement]]:
    """Every metric of every map of one picture: yields (name of the map, metric, measurement), metric by metric.

    `metrics` are names, or names with options; "deletion@blur" and "deletion@zero" are two variants of one metric. The
    controls come as rows of their own, first, under the names of CONTROLS, and inside every other measurement. A metric that
    does not fit a map (no box, no method known) yields NaN with a note. What cannot be measured at all raises before any
    pass. `twin` gives the untrained network of a seed, for a caller who measures many pictures and keeps them.
    """
    checked = checked_metrics(metrics)  # before the picture is looked at
    target = _common_target(explanations) if target is None else target
    request = request_for(model, [image], target=target, precision=precision, seed=seed)
    candidates = _candidates(explanations, request.pictures[0], controls)
    where = _where(box, scene, request.pictures[0], model)
    return _measure_candidates(request.activate(), candidates, checked, where, controls, twin, track)


def measure_active(
    active: ActiveRequest,
    explanations: Heatmaps,
    metrics: MetricChoice,
    *,
    box: Boxes | None = None,
    scene: Scene | None = None,
    controls: bool = True,
    twin: TwinFactory | None = None,
    track: Track = iter,
) -> Iterator[tuple[str, str, Measurement]]:
    """As `measure_all`, for the one picture, the question and the seed of an active request."""
    prepared = active.request.pictures[0]
    candidates = _candidates(explanations, prepared, controls)
    where = _where(box, scene, prepared, active.question.model)
    return _measure_candidates(active, candidates, checked_metrics(metrics), where, controls, twin, track)


class Where(NamedTuple):
    """What is known of a picture: (H, W) which pixels lie in the box, and the parts of a drawn one; None where it is not."""

    in_box: NDArray[np.bool_] | None = None
    parts: SceneParts | None = None


UNKNOWN_PLACE = Where()


def _where(box: Boxes | None, scene: Scene | None, picture: Prepared, model: ExplainableModel) -> Where:
    """Without a box, the pixels of what a drawn picture shows take its place."""
    parts = None if scene is None else scene_parts(scene, picture, model.prepare)
    return Where(parts.thing() if parts and box is None else inside(box, picture), parts)


def _candidates(explanations: Heatmaps, picture: Prepared, controls: bool) -> list[Candidate]:
    """The maps as metrics take them. Raises BadRequest for a map of another picture, or with the name of a control."""
    controls_named = [name for name in explanations if controls and name in CONTROLS]
    if controls_named:
        raise BadRequest(f"'{controls_named[0]}' is the name of a control; give the map another.")
    height, width = picture.pixels.shape[1:]
    return [candidate_of(name, heatmap, picture.digest, (height, width)) for name, heatmap in explanations.items()]


def _measure_candidates(
    active: ActiveRequest,
    candidates: list[Candidate],
    metrics: Mapping[str, OptionValues],
    where: Where,
    controls: bool,
    twin: TwinFactory | None,
    track: Track,
) -> Iterator[tuple[str, str, Measurement]]:
    question = active.question
    case = case_of(question, active.images, active.request.seed, where, twin)
    if controls:
        candidates = [*control_candidates(question, case), *candidates]
    records = {name: (find_metric(name), options) for name, options in metrics.items()}
    return _measured(question, case, candidates, records, track)


def case_of(
    question: Question,
    image: Tensor,
    seed: int,
    where: Where = UNKNOWN_PLACE,
    twin: TwinFactory | None = None,
) -> Case:
    """What the metrics of one picture (1, 3, H, W) share."""
    model = question.model
    maker = _map_maker(model, question.target)
    return Case(image, question.target, seed, where.in_box, maker, model, twin or twins(model), where.parts)


def checked_metrics(metrics: MetricChoice) -> dict[str, dict[str, Any]]:
    """Every metric's name with all of its options, checked. Raises UnknownName, BadRequest."""
    options_by_name = metrics if isinstance(metrics, Mapping) else {name: {} for name in metrics}
    return {name: check_options(find_metric(name).run, options) for name, options in options_by_name.items()}


def passes(
    metric: str,
    options: OptionValues | None = None,
    method: str | None = None,
    method_options: OptionValues | None = None,
) -> int:
    """How many passes of one picture this metric of one map takes. `method` and its options matter to the metrics that
    compute maps again; without them a map is taken to cost one forward and one backward pass."""
    record = find_metric(metric)
    cost = record.cost(check_options(record.run, options or {}))
    map_passes = 2 if method is None else sum(_map_cost(method, method_options or {}))
    return cost.own + cost.shared + cost.maps * map_passes


def total_cost(
    metrics: MetricChoice, methods: Mapping[str, OptionValues], controls: bool = True, side: int = USUAL_SIDE
) -> tuple[int, int]:
    """The forward and backward passes that `measure_all` takes for maps of these methods (with their options) on a picture
    of `side` pixels; what maps share is counted once for each metric. The passes for the maps themselves are not included.
    """
    maps = [_map_cost(name, options, side) for name, options in methods.items()]
    if controls:
        maps += [_map_cost(name.removeprefix("control:"), options, side) for name, options in CONTROLS.items()]
    forward = backward = 0
    for name, options in checked_metrics(metrics).items():
        cost = find_metric(name).cost(options)
        forward += cost.shared + cost.own * len(maps) + cost.maps * sum(ahead for ahead, _ in maps)
        backward += cost.maps * sum(back for _, back in maps)
    return forward, backward


def _map_cost(method: str, options: OptionValues, side: int = USUAL_SIDE) -> tuple[int, int]:
    """The forward and backward passes of one map of this method or variant."""
    variant = variants.parse(method)
    return variant.method.passes(variant.merged(options), side)


def unbeaten_controls(metric: Metric, measurement: Measurement) -> list[str]:
    """The controls that do at least as well as this map; none where the metric has no direction or the map no value.

    A control without a value (a uniform map has no correlation) is not among them.
    """
    sign = {HIGHER: 1, LOWER: -1}.get(metric.direction)
    if sign is None or np.isnan(measurement.value):
        return []
    return [name for name, value in measurement.controls.items() if sign * (value - measurement.value) >= 0]


def beats_controls(metric: Metric, measurement: Measurement) -> bool | None:
    """Whether this map is better than every control that has a value; None where there is nothing to compare: the metric has
    no direction, or the map or every control no value."""
    controls_have_value = any(not np.isnan(value) for value in measurement.controls.values())
    if not metric.direction or np.isnan(measurement.value) or not controls_have_value:
        return None
    return not unbeaten_controls(metric, measurement)


def candidate_of(name: str, heatmap: Heatmap, picture: str | None, size: tuple[int, int]) -> Candidate:
    """The map as metrics take it, resized to the network's input `size` (H, W). Raises BadRequest for what is no map of such
    a picture, and for an explanation of another picture than that with the digest `picture` (None: any)."""
    if isinstance(heatmap, Explanation):
        if picture is not None and heatmap.picture != picture:
            raise BadRequest(
                f"The map '{name}' is of another picture than the one given, or of a network that crops it differently."
            )
        origin = MapOrigin(heatmap.method, heatmap.options, heatmap.cut or None, heatmap.seed, heatmap.precision)
        return Candidate(name, heatmap.to_input().astype(np.float64), heatmap.heatmap, origin)
    array = np.asarray(heatmap)
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise BadRequest(f"A map is an array (h, w) of numbers; '{name}' is {array.dtype} {array.shape}.")
    if abs(np.log(array.shape[0] * size[1] / (array.shape[1] * size[0]))) > np.log(1.5):
        raise BadRequest(
            f"The map '{name}' is {array.shape[0]} x {array.shape[1]}; the network sees {size[0]} x {size[1]} pixels."
        )
    array = array.astype(np.float32)
    values = array if array.shape == size else heatmaps.resize(array, size)
    return Candidate(name, values.astype(np.float64), array)


def _common_target(explanations: Heatmaps) -> Target | None:
    """The target that all explanations explain; None where there are only arrays. Raises BadRequest where they differ."""
    keys = {heatmap.target_key for heatmap in explanations.values() if isinstance(heatmap, Explanation)}
    if len(keys) > 1:
        raise BadRequest("These maps explain different targets; measure those of one target together.")
    if not keys:
        return None
    target = target_of_key(*keys)
    if target is None:
        raise BadRequest("These maps do not explain a class: give the target that they explain.")
    return target


def _map_maker(model: ExplainableModel, target: Target) -> MapMaker:
    """Computes maps of other images again, of this model and target unless others are given."""
    own_model, own_target = model, target

    def make_maps(
        origin: MapOrigin, images: Tensor, model: ExplainableModel | None = None, target: Target | None = None
    ) -> tuple[NDArray[np.float32], float]:
        explanations = explain(
            model or own_model, list(images), origin.method,
            cut=origin.cut, precision=origin.precision, seed=origin.seed, target=target or own_target, **origin.options,
        )  # fmt: skip
        spent = sum(explanation.passes.forward + explanation.passes.backward for explanation in explanations)
        return np.stack([explanation.heatmap for explanation in explanations]), spent

    return make_maps


def control_candidates(question: Question, case: Case) -> list[Candidate]:
    """The maps of CONTROLS, in their order."""
    candidates = []
    for name, given in CONTROLS.items():
        method = METHODS[name.removeprefix("control:")]
        options = check_options(method.run, given)
        raw = method(question, case.image, **options, seed=case.seed).heatmap[0].float().cpu().numpy()
        values = heatmaps.resize(raw, case.size).astype(np.float64)
        candidates.append(Candidate(name, values, raw, MapOrigin(method.id, options, seed=case.seed)))
    return candidates


def _measured(
    question: Question,
    case: Case,
    candidates: Sequence[Candidate],
    metrics: Mapping[str, tuple[Metric, OptionValues]],
    track: Track,
) -> Iterator[tuple[str, str, Measurement]]:
    jobs = [
        Job((key, candidate.name), partial(_start, metric, case, candidate, options))
        for key, (metric, options) in metrics.items()
        for candidate in candidates
    ]
    costs = [metric.cost(options) for metric, options in metrics.values()]
    expected = sum(cost.own * len(candidates) + cost.shared for cost in costs)
    finished: dict[str, dict[str, Measurement]] = {key: {} for key in metrics}
    for job in run_jobs(question, case, jobs, expected, track):
        key, name = job.name
        finished[key][name] = Measurement(
            value=float(job.result.value),
            curve=job.result.curve,
            passes=round(job.passes + job.result.passes),
            seconds=job.seconds,
            facts=job.result.facts,
            note=job.result.note,
        )
        if len(finished[key]) == len(candidates):
            by_map = finished.pop(key)
            controls = {name: by_map[name].value for name in by_map if name in CONTROLS}
            for candidate in candidates:
                measurement = by_map[candidate.name]
                if candidate.name not in CONTROLS:
                    measurement = replace(measurement, controls=controls)
                yield candidate.name, key, measurement


def _start(metric: Metric, case: Case, candidate: Candidate, options: OptionValues) -> MetricGenerator | MetricResult:
    """The running metric, or NaN with the reason where it cannot be computed for this map."""
    missing = {
        "box": case.in_box is None,
        "scene": case.parts is None,
        "method": candidate.origin is None,
        "classifier": not case.model.has_classifier,
    }
    reasons = [f"{metric.title} needs {NEEDS[need]}." for need in sorted(metric.needs) if missing[need]]
    if not np.isfinite(candidate.values).all():
        reasons = [NOT_FINITE]
    return MetricResult(float("nan"), note=reasons[0]) if reasons else metric.run(case, candidate, **options)
