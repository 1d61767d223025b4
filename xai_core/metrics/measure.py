"""Measuring maps: every metric of every map of one picture, in one stream of batches.

What is shared is computed once: the plain picture's score, those of the substrates, and the batches themselves, which hold
the pictures of several maps and metrics. Nothing is kept of a batch but its scores.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import TargetLike, explain, request_for
from xai_core.attribution.method import Method
from xai_core.core.errors import BadRequest
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.box import Boxes, inside
from xai_core.data.preprocessing import Prepared
from xai_core.explanation import heatmaps
from xai_core.explanation.question import Question
from xai_core.explanation.request import ActiveRequest
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target, target_of_key
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.metric import HIGHER, LOWER, NEEDS, Again, Asking, Candidate, Case, Metric, Score
from xai_core.metrics.scheduler import Job, run_jobs
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.random_init import twins

# Maps that know nothing of the network, measured beside the others: "control:" and the method's id, with its options. Seven
# cells make the random map as coarse as a class activation map: noise pixel by pixel is what the uniform map's ties are.
CONTROLS = {
    "control:random_map": {"cells": 7},
    "control:centre_gaussian": {},
    "control:edge_detector": {},
    "control:uniform_map": {},
}
NO_NUMBERS = "The map holds values that are not numbers: it cannot be measured."
Maps = Mapping[str, Explanation | NDArray]
Twin = Callable[[int], ExplainableModel]
Chosen = Mapping[str, Mapping[str, Any]] | Sequence[str]


@dataclass(frozen=True)
class Measurement:
    """One number about one map, and what belongs to it.

    value     in the metric's range; NaN where it is undefined, with a note that says why
    curve     (n, 2): share of the pixels, score; None for metrics without one
    controls  the values of the maps that know nothing, by the name of the control
    passes    of one picture through the network that this value rests on, those shared with other maps included
    seconds   its part of the time
    facts     what else is known: the share of ties and their effect, the plain picture's score
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
    heatmap_or_explanation: NDArray | Explanation,
    metric: str,
    target: TargetLike | None = None,
    *,
    box: Boxes | None = None,
    seed: int = 0,
    precision: str = "exact",
    controls: bool = True,
    track: Track = iter,
    **options: Any,
) -> Measurement:
    """One metric of one map of one picture, beside the same of four maps that know nothing (unless `controls` is False).

    image       as for `explain`: a PIL picture or a path, or a float tensor (3, H, W) in [0, 1]
    heatmap...  an Explanation of this picture, or an array (h, w) over what the network sees of it
    metric      see `python -m xai_core metrics`
    target      what was asked; None is what the explanation explains, for an array the predicted class
    box         (left, top, right, bottom) in the picture's pixels, several of them, or a mask: for the metrics that need it
    options     the metric's own

    Raises subclasses of XaiError with one sentence for everything that cannot be measured.
    """
    maps = {"map": heatmap_or_explanation}
    measurements = measure_all(
        model, image, maps, {metric: options},
        target=target, box=box, seed=seed, precision=precision, controls=controls, track=track,
    )  # fmt: skip
    return next(measurement for name, _, measurement in measurements if name == "map")


def measure_all(
    model: ExplainableModel,
    image: Picture | Prepared,
    explanations: Maps,
    metrics: Chosen,
    *,
    target: TargetLike | None = None,
    box: Boxes | None = None,
    seed: int = 0,
    precision: str = "exact",
    controls: bool = True,
    twin: Twin | None = None,
    track: Track = iter,
) -> Iterator[tuple[str, str, Measurement]]:
    """Every metric of every map of one picture: yields (name of the map, metric, measurement), metric by metric.

    `metrics` are names, or names with options; "deletion@blur" and "deletion@zero" are two variants of one metric. The
    controls come as rows of their own, first, under the names of CONTROLS, and inside every other measurement. A metric that
    does not fit a map (no box, no method known) yields NaN with a note. What cannot be measured at all raises before any
    pass. `twin` gives the untrained network of a seed, for a caller who measures many pictures and keeps them.
    """
    checked = chosen_metrics(metrics)  # before the picture is looked at
    target = _common_target(explanations) if target is None else target
    request = request_for(model, [image], target=target, precision=precision, seed=seed)
    candidates = _candidates(explanations, request.pictures[0], controls)
    region = inside(box, request.pictures[0])
    return _measure_candidates(request.activate(), candidates, checked, region, controls, twin, track)


def measure_active(
    active: ActiveRequest,
    explanations: Maps,
    metrics: Chosen,
    *,
    box: Boxes | None = None,
    controls: bool = True,
    twin: Twin | None = None,
    track: Track = iter,
) -> Iterator[tuple[str, str, Measurement]]:
    """As `measure_all`, with the question and the one picture of a request that is being answered already, and its seed."""
    prepared = active.request.pictures[0]
    candidates = _candidates(explanations, prepared, controls)
    return _measure_candidates(active, candidates, chosen_metrics(metrics), inside(box, prepared), controls, twin, track)


def _candidates(explanations: Maps, picture: Prepared, controls: bool) -> list[Candidate]:
    """The maps as metrics take them. Raises BadRequest where one is of another picture, or has the name of a control."""
    controls_named = [name for name in explanations if controls and name in CONTROLS]
    if controls_named:
        raise BadRequest(f"'{controls_named[0]}' is the name of a control; give the map another.")
    size = picture.pixels.shape[1:]
    return [candidate_of(name, heatmap, picture.digest, size) for name, heatmap in explanations.items()]


def _measure_candidates(
    active: ActiveRequest,
    candidates: list[Candidate],
    metrics: Mapping[str, Mapping[str, Any]],
    region: NDArray[np.bool_] | None,
    controls: bool,
    twin: Twin | None,
    track: Track,
) -> Iterator[tuple[str, str, Measurement]]:
    question = active.question
    case = case_of(question, active.images, active.request.seed, region, twin)
    if controls:
        candidates = [*control_candidates(question, case), *candidates]
    chosen = {name: (find_metric(name), options) for name, options in metrics.items()}
    return _measured(question, case, candidates, chosen, track)


def case_of(question: Question, image: Tensor, seed: int, region: NDArray | None = None, twin: Twin | None = None) -> Case:
    """What the metrics of one picture (1, 3, H, W) share."""
    model = question.model
    twin = twin or twins(model)
    return Case(image, question.target, seed, region, _remaker(model, question.target), model, twin)


def chosen_metrics(metrics: Chosen) -> dict[str, dict[str, Any]]:
    """Every metric's name with all of its options checked. Raises UnknownName, BadRequest."""
    wanted = metrics if isinstance(metrics, Mapping) else {name: {} for name in metrics}
    return {name: check_options(find_metric(name).run, options) for name, options in wanted.items()}


def passes(
    metric: str, options: Mapping[str, Any] | None = None, method: str | None = None, more: Mapping[str, Any] | None = None
) -> int:
    """How many passes of one picture this metric of one map will take; `method` and its options `more` matter to the metrics
    that make maps again (without them: one forward and one backward pass a map)."""
    found = find_metric(metric)
    cost = found.cost(check_options(found.run, options or {}))
    each = 2
    if method is not None:
        each = sum(METHODS[method].cost(check_options(METHODS[method].run, more or {})))
    return cost.own + cost.shared + cost.maps * each


def total_passes(metrics: Chosen, methods: Mapping[str, Mapping[str, Any]], controls: bool = True) -> int:
    """How many passes `measure_all` will take for maps of these methods (with their options), what is shared counted once
    for each metric. Making the maps themselves is not in it."""
    measured = [(name, options) for name, options in methods.items()]
    if controls:
        measured += [(name.removeprefix("control:"), options) for name, options in CONTROLS.items()]
    total = 0
    for name, options in chosen_metrics(metrics).items():
        cost = find_metric(name).cost(options)
        again = [sum(METHODS[method].cost(check_options(METHODS[method].run, more))) for method, more in measured]
        total += cost.shared + cost.own * len(measured) + cost.maps * sum(again)
    return total


def unbeaten(metric: Metric, one: Measurement) -> list[str]:
    """The controls that do at least as well as this map; none where the metric has no direction or the map no value."""
    sign = {HIGHER: 1, LOWER: -1}.get(metric.direction)
    if sign is None or np.isnan(one.value):
        return []
    return [name for name, value in one.controls.items() if sign * (value - one.value) >= 0]


def candidate_of(name: str, given: Explanation | NDArray, picture: str | None, size: Sequence[int]) -> Candidate:
    size = tuple(size)
    if isinstance(given, Explanation):
        if picture is not None and given.picture != picture:
            raise BadRequest(
                f"The map '{name}' is of another picture than the one given, or of a network that crops it differently."
            )
        again = Again(given.method, given.options, given.cut or None, given.seed, given.precision)
        return Candidate(name, given.to_input().astype(np.float64), given.heatmap, again)
    array = np.asarray(given)
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise BadRequest(f"A map is an array (h, w) of numbers; '{name}' is {array.dtype} {array.shape}.")
    if abs(np.log(array.shape[0] * size[1] / (array.shape[1] * size[0]))) > np.log(1.5):
        raise BadRequest(
            f"The map '{name}' is {array.shape[0]} x {array.shape[1]}; the network sees {size[0]} x {size[1]} pixels."
        )
    array = array.astype(np.float32)
    values = array if array.shape == size else heatmaps.resize(array, size)
    return Candidate(name, values.astype(np.float64), array)


def _common_target(explanations: Maps) -> Target | None:
    keys = {one.target_key for one in explanations.values() if isinstance(one, Explanation)}
    if len(keys) > 1:
        raise BadRequest("These maps explain different targets; measure those of one target together.")
    if not keys:
        return None
    found = target_of_key(*keys)
    if found is None:
        raise BadRequest("These maps do not explain a class: give the target that they explain.")
    return found


def _remaker(model: ExplainableModel, asked: Target):
    def remake(again: Again, images, of: ExplainableModel | None = None, target: Target | None = None):
        how = {"cut": again.cut, "precision": again.precision, "seed": again.seed, "target": target or asked}
        found = explain(of or model, images, again.method, **how, **again.options)
        spent = sum(one.passes.forward + one.passes.backward for one in found)
        return np.stack([one.heatmap for one in found]), spent

    return remake


def control_candidates(question: Question, case: Case) -> list[Candidate]:
    found = []
    for name, given in CONTROLS.items():
        method: Method = METHODS[name.removeprefix("control:")]
        options = check_options(method.run, given)
        raw = method(question, case.image, **options, seed=case.seed).heatmap[0].float().cpu().numpy()
        values = heatmaps.resize(raw, case.size).astype(np.float64)
        found.append(Candidate(name, values, raw, Again(method.id, options, seed=case.seed)))
    return found


def _measured(
    question: Question,
    case: Case,
    candidates: Sequence[Candidate],
    chosen: Mapping[str, tuple[Metric, Mapping[str, Any]]],
    track: Track,
) -> Iterator[tuple[str, str, Measurement]]:
    jobs = [
        Job((key, candidate.name), partial(_start, metric, case, candidate, options))
        for key, (metric, options) in chosen.items()
        for candidate in candidates
    ]
    costs = [metric.cost(options) for metric, options in chosen.values()]
    expected = sum(cost.own * len(candidates) + cost.shared for cost in costs)
    done: dict[str, dict[str, Measurement]] = {key: {} for key in chosen}
    for job in run_jobs(question, case, jobs, expected, track):
        key, name = job.name
        done[key][name] = Measurement(
            value=float(job.score.value),
            curve=job.score.curve,
            passes=round(job.passes + job.score.passes),
            seconds=job.seconds,
            facts=job.score.facts,
            note=job.score.note,
        )
        if len(done[key]) == len(candidates):
            found = done.pop(key)
            beside = {name: one.value for name, one in found.items() if name in CONTROLS}
            for candidate in candidates:
                one = found[candidate.name]
                yield candidate.name, key, one if candidate.name in CONTROLS else replace(one, controls=beside)


def _start(metric: Metric, case: Case, candidate: Candidate, options: Mapping[str, Any]) -> Asking | Score:
    """The metric at work, or NaN and the reason where it does not fit."""
    missing = {
        "box": case.inside is None,
        "method": candidate.again is None,
        "classifier": not case.model.has_classifier,
    }
    reasons = [f"{metric.title} needs {NEEDS[need]}." for need in sorted(metric.needs) if missing[need]]
    if not np.isfinite(candidate.values).all():
        reasons = [NO_NUMBERS]
    return Score(float("nan"), note=reasons[0]) if reasons else metric.run(case, candidate, **options)
