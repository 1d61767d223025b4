"""Maps and their scores in one step: several networks, methods and metrics on one picture, as a sheet and as a table.

Beside the methods stands one control, a random map, which no network has made: what is no better than it says nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from xai_core.analysis import map_sheet
from xai_core.attribution import variants
from xai_core.attribution.explain import TargetLike, attempt_methods, explain, request_for
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.data.box import Boxes
from xai_core.data.world.scene import Scene
from xai_core.explanation import rendering
from xai_core.explanation.result import Explanation
from xai_core.metrics import tables
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import CONTROLS, Measurement, MetricChoice, checked_metrics, measure_active
from xai_core.metrics.metric import HIGHER, LOWER, Metric
from xai_core.models.explainable import ExplainableModel, Picture

CONTROL = "control:random_map"
WIDTH = 240  # pixels of a map on a sheet
UNIT = "1 is a map's largest magnitude; of a map with more than 64 cells a side, the 99th percentile."
COLUMNS = (
    "picture", "model", "target", "target value", "map", "metric", "variant", "value", "better", *CONTROLS,
    "not better than", "passes", "seconds", "note",
)  # fmt: skip


@dataclass(frozen=True)
class ScoredMaps:
    """One network's maps of one picture, with their scores.

    network   its name where several are compared
    target    what the maps explain, in words, and its value for the picture
    maps      by method, or the reason why there is none; the random control under CONTROL
    scores    the measurements by map and metric, those of the controls too; empty until they are measured
    """

    network: str
    target: str
    value: float
    maps: Mapping[str, Explanation | XaiError]
    scores: Mapping[tuple[str, str], Measurement]

    @property
    def explanations(self) -> dict[str, Explanation]:
        """The maps that there are."""
        return {name: one for name, one in self.maps.items() if isinstance(one, Explanation)}


def score_maps(
    network: str,
    model: ExplainableModel,
    picture: Picture,
    methods: Mapping[str, Mapping[str, Any]],
    metrics: MetricChoice,
    *,
    target: TargetLike | None = None,
    rival: int | str | None = None,
    box: Boxes | None = None,
    scene: Scene | None = None,
    precision: str = "exact",
    seed: int = 0,
    track: Track = iter,
) -> Iterator[ScoredMaps]:
    """Compute and measure one network's maps: yields what there is after the maps, and after each measurement.

    `methods` and `metrics` are by name with their options; `target`, `rival`, `precision` and `seed` as for `explain`; `box`
    and `scene` as for `measure_all`. A method that fails leaves its reason. Raises XaiError where nothing can be asked.
    """
    active = request_for(model, [picture], target=target, rival=rival, precision=precision, seed=seed).activate()
    question, prepared = active.question, active.request.pictures[0]
    settings: dict[str, Any] = {"target": question.target, "precision": precision, "seed": seed, "track": track}
    maps: dict[str, Explanation | XaiError] = dict(attempt_methods(model, prepared, methods, **settings))
    own = {name: one for name, one in maps.items() if isinstance(one, Explanation)}
    maps[CONTROL] = explain(model, prepared, CONTROL.removeprefix("control:"), **settings, **CONTROLS[CONTROL])
    value = float(question.values(active.images)[0])
    found = ScoredMaps(network, question.target.label(0, model.class_name), value, maps, {})
    yield found
    scores: dict[tuple[str, str], Measurement] = {}
    for name, metric, measurement in measure_active(active, own, metrics, box=box, scene=scene, track=track):
        scores[name, metric] = measurement
        found = replace(found, scores=dict(scores))
        yield found


def table(
    picture: str, scored: Sequence[ScoredMaps], metrics: MetricChoice, failed: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """A row for each network, map and metric of a picture, the controls too, with the columns COLUMNS.

    A method without a map has one row, whose note says why; so has each network of `failed`, which could not be asked, with
    the reason. A picture that cannot be read is a network without a name there.
    """
    parts = [pd.DataFrame([{"model": name, "note": reason} for name, reason in (failed or {}).items()])]
    for one in scored:
        measured = tables.table([(name, metric, score) for (name, metric), score in one.scores.items()], metrics)
        without = [{"map": name, "note": str(error)} for name, error in one.maps.items() if isinstance(error, XaiError)]
        rows = pd.concat([measured, pd.DataFrame(without, columns=["map", "note"])], ignore_index=True)
        about: dict[str, str | float] = {"model": one.network, "target": one.target, "target value": one.value}
        parts.append(rows.assign(**about))
    rows = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return rows.assign(picture=picture).reindex(columns=list(COLUMNS))


def no_better(metric: Metric, score: Measurement) -> bool:
    """Whether the random control does at least as well; False where they cannot be compared."""
    sign, control = {HIGHER: 1, LOWER: -1}.get(metric.direction, 0), score.controls.get(CONTROL, np.nan)
    return bool(sign * (control - score.value) >= 0) if sign else False


def in_words(value: float) -> str:
    """A score with three digits, or that there is none."""
    return "no value" if np.isnan(value) else f"{value:.3g}"


def sheet(picture: Image.Image, scored: Sequence[ScoredMaps], metrics: MetricChoice, title: str) -> Image.Image:
    """A row for each network and a column for each method, the random control last; under each map its scores.

    Maps of different networks and methods have different units, so each is divided by the end of its own colour scale; then
    all have one, which is stated below. A score that is no better than that of the control has an asterisk.
    """
    options = checked_metrics(metrics)
    maps = {(one.network, name): _relative(explanation) for one in scored for name, explanation in one.explanations.items()}
    signed = any(one.signed for one in maps.values())
    scale = rendering.scale_of(*maps.values(), custom=(-1.0 if signed else 0.0, 1.0))
    cells, below = {}, {}
    for one in scored:
        for name, result in one.maps.items():
            random = name == CONTROL
            words = f"{one.network}: {variants.title_of(name.removeprefix('control:'))}{' (control)' if random else ''}"
            if isinstance(result, XaiError):
                cells[words], below[words] = Image.new("RGB", (WIDTH, WIDTH), "#eeeeee"), [f"No map: {result}"]
                continue
            cells[words] = map_sheet.map_picture(maps[one.network, name], picture, scale, WIDTH)
            below[words] = [f"{one.target} = {one.value:.3g}"]
            below[words] += [_line(key, one.scores[name, key]) for key in options if (name, key) in one.scores]
    records = [find_metric(key) for key in options]
    titles = {way: [one.title for one in records if one.direction == way] for way in (HIGHER, LOWER)}
    notes = [title, f"Colours: one scale for all maps, {scale.low:g} to {scale.high:g}. {UNIT}"]
    notes += [f"{direction.capitalize()} is better: {', '.join(names)}." for direction, names in titles.items() if names]
    notes.append("* no better than the random map, which depends on no network.")
    columns = max(len(one.maps) for one in scored)
    return rendering.captioned(rendering.sheet(cells, columns, WIDTH, below), notes)


def _line(key: str, score: Measurement) -> str:
    metric = find_metric(key)
    mark = " *" if no_better(metric, score) else ""
    return f"{metric.title} {in_words(score.value)}{mark}"


def _relative(explanation: Explanation) -> Explanation:
    """The map in units of the end of its own colour scale; one without evidence as it is."""
    own = rendering.scale_of(explanation)
    return replace(explanation, heatmap=explanation.heatmap / (max(abs(own.low), abs(own.high)) or 1.0))
