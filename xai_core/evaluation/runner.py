"""Many pictures: every metric of every method on every model, stored row by row so that nothing is computed twice.

Pictures are taken in blocks, one picture before one model: there, all methods share what CAMs have in common, and all
metrics one stream of batches. A block is stored whole or not at all; memory does not grow with the number of pictures.
"""

import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import Others, active_for, answer_active, request_for, with_method
from xai_core.attribution.variants import Variant
from xai_core.core.errors import BadPicture, BadRequest, OutOfMemory, XaiError
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.core.shards import Shard
from xai_core.data import selection
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import match_classes
from xai_core.data.sample_list import Labelled
from xai_core.data.world.scene import Scene
from xai_core.evaluation import planner, store
from xai_core.evaluation.planner import LABEL, PREDICTED, Block, Box, EvaluationPlan, EvaluationSettings, Given
from xai_core.evaluation.store import EvaluationRun, RunWriter
from xai_core.evaluation.summary import CONTROL
from xai_core.explanation.request import ActiveRequest, Request
from xai_core.explanation.result import Explanation
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import CONTROLS, Measurement, TwinFactory, measure_active
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model
from xai_core.models.random_init import twins
from xai_core.models.ray_workers import RayWorkers, Work
from xai_core.models.zoo.catalog import id_and_checkpoint

FLUSH_SECONDS, FLUSH_ROWS = 20.0, 2000  # what a killed run loses at most, and what waits in memory
WAITING = 64  # tasks of workers that wait for an earlier one
THUMBNAIL = 160  # pixels of the longer side of the small copies that a run carries
Load = Callable[[str], ExplainableModel]


def load_named(name: str) -> ExplainableModel:
    """A model of the catalogue by its id, or by id/checkpoint; id/random is its untrained twin."""
    id, checkpoint = id_and_checkpoint(name)
    return load_model(id, checkpoint or None)


def evaluate(
    models: Sequence[str],
    methods: Given,
    metrics: Given,
    images: str | Path | Dataset,
    out: str | Path,
    *,
    count: int | None = None,
    target: str = PREDICTED,
    seed: int = 0,
    precision: str = "exact",
    boxes: Mapping[str, Sequence[Box]] | None = None,
    budget: float | None = None,
    thumbnails: bool = True,
    shard: Shard | None = None,
    workers: RayWorkers | None = None,
    dry: bool = False,
    load: Load = load_named,
    say: Callable[[str], object] = lambda words: None,
    track: Track = iter,
    within: Track = iter,
) -> EvaluationRun | EvaluationPlan:
    """Measure methods on many pictures and store one row for each picture, model, method and metric in the folder `out`.

    Called again with the same `out` it goes on where it was: after an end of any kind, or with more pictures, models,
    methods or metrics. What is there is not computed again.

    models      ids, or id/checkpoint; id/random is an untrained twin
    methods     ids or variants ("grad_cam@cut=layer3+eigen=true"), or these with options; those that do not fit a model are
                left out for it
    metrics     names, or names with options: {"deletion": {}, "deletion@blur": {"substrate": "blur"}}
    images      a folder, ZIP or table of pictures as `datasets` opens them, "samples", or a Dataset
    count       how many pictures, drawn at random from `seed`; None is all
    target      "predicted": each model's own top class; "label": the class that a picture's subfolder or its name tells; or
                a class
    boxes       by a picture's name, in its pixels: for the metrics that need one; pictures of a world have what they show
    budget      seconds after which no further picture is begun
    thumbnails  whether the run carries small copies of the pictures (the samples need none)
    shard       only the pictures of this share: see `merged_runs`
    workers     measure the blocks: `track` wraps their tasks then, and `within` has no effect; what they measure when the
                budget ends is lost
    dry         only plan: returns the EvaluationPlan of what is left to do, and writes nothing
    say         is told the plan, and what happened on the way
    track       wraps the list of blocks, as tqdm does: progress, rate and remaining time; what it raises stops the run, and
                what is measured is kept
    within      wraps the batches inside a block: what it raises stops the run without waiting for the block's end

    Raises subclasses of XaiError with one sentence; what was measured before is stored.
    """
    dataset = selection.open_images(images)
    settings = planner.check_settings(
        methods, metrics, target=target, seed=seed, precision=precision, boxes=boxes, scenes=dataset.scene is not None
    )
    if not models:
        raise BadRequest("Name at least one model.")
    loader = _OneModel(load)  # each in turn, so that a missing one is known of before the work begins
    facts = {name: planner.facts_of(name, loader.model(name), settings) for name in models}
    planner.check_facts(facts)
    chosen = selection.shard_images(selection.sample_images(dataset, count, seed), shard)
    pictures, left_out = selection.unique_images(dataset, chosen)
    manifest = planner.manifest(settings, dataset, len(pictures), facts, shard)
    if dry:
        blocks = list(planner.blocks(pictures, facts, store.stored_cells(Path(out), manifest)))
        return planner.plan(settings, pictures, facts, blocks)
    with store.open_for_writing(Path(out), manifest) as writer:
        for words in writer.messages:
            say(words)
        blocks = list(planner.blocks(pictures, facts, store.open_run(out).cells()))
        plan = planner.plan(settings, pictures, facts, blocks)
        say(str(plan))
        writer.describe(state="running", rows=writer.stored + plan.rows, left_out=left_out)
        small_copies = thumbnails and dataset.title != selection.SAMPLE_SET
        work = _Work(dataset, settings, loader, writer, left_out, small_copies, within)
        if workers:
            ended = work.measure_by_workers(workers, facts, blocks, budget, track)
        else:
            ended = work.measure(track(blocks), budget)
        writer.flush()
        writer.describe(state="finished" if ended else "stopped", left_out=left_out)
    for name, why in left_out.items():
        say(f"left out: {name}: {why}")
    if not ended:
        say(f"The budget of {budget:g} s is used up; run the same command again to continue.")
    return store.open_run(out)


class _OneModel:
    """One model at a time, the last one asked for, and its untrained twins where a metric has asked for them."""

    def __init__(self, load: Load):
        self._load = load
        self._loaded: tuple[str, ExplainableModel, TwinFactory] | None = None

    def model(self, name: str) -> ExplainableModel:
        return self._current(name)[0]

    def twin(self, name: str) -> TwinFactory:
        return self._current(name)[1]

    def _current(self, name: str) -> tuple[ExplainableModel, TwinFactory]:
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # out of memory before the next one is loaded
            model = self._load(name)
            self._loaded = (name, model, twins(model))
        return self._loaded[1:]


@dataclass(frozen=True)
class _Work:
    """The work of one run: measures blocks and stores their rows."""

    dataset: Dataset
    settings: EvaluationSettings
    loader: _OneModel
    writer: RunWriter
    left_out: dict[str, str]
    thumbnails: bool
    within: Track

    def measure(self, blocks: Iterable[Block], budget: float | None) -> bool:
        """Measure and store; False where the budget was used up before the end."""
        begun, longest = time.monotonic(), 0.0
        for block in blocks:
            started = time.monotonic()
            if budget is not None and longest and started - begun + longest > budget:
                return False
            if block.entry.name not in self.left_out:
                self._measure_block(block)
                longest = max(longest, time.monotonic() - started)
        return True

    def _measure_block(self, block: Block) -> None:
        model, twin = self.loader.model(block.model), self.loader.twin(block.model)
        result = _block(self.dataset, model, twin, block, self.settings, self.thumbnails, self.within)
        self._keep([block], [result])

    def measure_by_workers(
        self,
        workers: RayWorkers,
        facts: Mapping[str, planner.ModelFacts],
        blocks: Sequence[Block],
        budget: float | None,
        track: Track,
    ) -> bool:
        """The same with workers. Rows are kept in the order of the blocks, so that they are those of one process; those
        that are ready before an earlier block are kept without it once many wait, and at the end, whatever ends the run."""
        began, following, done = time.monotonic(), 0, 0
        ready: dict[int, list[_BlockResult]] = {}
        tasks = [blocks[places.start : places.stop] for places in workers.tasks(range(len(blocks)))]
        weights = {name: str(of.described["weights"]) for name, of in facts.items()}
        prepare = partial(_prepare_worker, workers, weights, self.settings, self.thumbnails)
        try:
            for number, results in workers.results(prepare, tasks, track):
                ready[number] = results
                while ready and (min(ready) <= following or len(ready) > WAITING):
                    first = min(ready)
                    self._keep(tasks[first], ready.pop(first))
                    following = max(following, first + 1)
                done += 1
                if budget is not None and time.monotonic() - began > budget and done < len(tasks):
                    return False
        finally:
            for number in sorted(ready):
                self._keep(tasks[number], ready[number])
        return True

    def _keep(self, blocks: Sequence[Block], results: Sequence["_BlockResult"]) -> None:
        """Give the rows of blocks to the writer, or note why there are none."""
        writer = self.writer
        for block, result in zip(blocks, results, strict=True):
            name = block.entry.name
            if isinstance(result, str):
                self.left_out.setdefault(name, result)
            elif name not in self.left_out:  # by another model before this one
                rows, small = result
                writer.add(rows, {"picture": block.picture, "name": name, "thumbnail": small} if small else None)
        if time.monotonic() - writer.flushed > FLUSH_SECONDS or writer.waiting > FLUSH_ROWS:
            writer.flush()


_BlockResult = tuple[list[dict[str, Any]], bytes | None] | str  # rows and the small copy, or why the picture is left out


def _block(
    dataset: Dataset,
    model: ExplainableModel,
    twin: TwinFactory,
    block: Block,
    settings: EvaluationSettings,
    thumbnails: bool,
    within: Track = iter,
) -> _BlockResult:
    name = block.entry.name
    try:
        picture = dataset.open(name)
        scene = dataset.scene(name) if dataset.scene else None
        return measured(model, block, picture, settings, twin, within, scene), _small(picture) if thumbnails else None
    except BadPicture as error:
        return str(error)


def _prepare_worker(
    workers: RayWorkers, weights: Mapping[str, str], settings: EvaluationSettings, thumbnails: bool
) -> Work[Sequence[Block], list[_BlockResult]]:
    """In a worker: what measures the blocks of a task. It holds every model that it has met."""
    dataset = workers.open()

    @cache
    def held(name: str) -> tuple[ExplainableModel, TwinFactory]:
        model = workers.model(name, weights[name])
        return model, twins(model)

    return lambda blocks: [_block(dataset, *held(block.model), block, settings, thumbnails) for block in blocks]


def _small(picture: Image.Image) -> bytes:
    copy, buffer = picture.copy(), io.BytesIO()
    copy.thumbnail((THUMBNAIL, THUMBNAIL))
    copy.save(buffer, "WEBP", quality=70)
    return buffer.getvalue()


@dataclass(frozen=True)
class _BlockWork:
    """One block at work: its request, which all methods and metrics share, and what belongs to its rows."""

    active: ActiveRequest
    exact: ActiveRequest  # the same, where `active` is of "fast" precision, for the methods that need float32
    block: Block
    settings: EvaluationSettings
    twin: TwinFactory | None
    track: Track
    scene: Scene | None
    value: float

    @classmethod
    def of(
        cls,
        request: Request,
        block: Block,
        settings: EvaluationSettings,
        twin: TwinFactory | None,
        track: Track,
        scene: Scene | None,
    ) -> "_BlockWork":
        exact = replace(request, precision="exact").activate()
        resolved = replace(exact.request, precision=settings.precision)
        active = exact if settings.precision == "exact" else resolved.activate()
        value = float(exact.question.values(exact.images)[0])
        return cls(active, exact, block, settings, twin, track, scene, value)

    def requests(self, names: Sequence[str]) -> Iterator[tuple[str, ActiveRequest, Request]]:
        """For each method the question that answers it, and its own request. What 16 bits would spoil stays exact."""
        model, others = self.exact.question.model, Others()
        for name in names:
            variant, options = self.settings.variant(name), self.settings.methods[name]
            keeps = variant.method.offers_fast(model, variant.cut_on(model))
            precision = variant.precision or (self.settings.precision if keeps else "exact")
            active = self.active if precision == self.settings.precision else self.exact
            request = with_method(replace(active.request, precision=precision), name, options)
            yield name, active_for(request, active, others), request

    def explain(self, names: Sequence[str]) -> tuple[dict[str, Explanation], dict[str, XaiError]]:
        """The maps, which share their trunk pass, and why some methods have none."""
        explanations: dict[str, Explanation] = {}
        failures: dict[str, XaiError] = {}
        for name, active, request in self.requests(names):
            try:
                ((_, explanations[name]),) = answer_active(active, request, self.track)
            except OutOfMemory:
                raise
            except XaiError as error:
                failures[name] = error
        return explanations, failures

    def measure(self, maps: Mapping[str, Explanation], metrics: Sequence[str], controls: bool) -> Iterator[dict[str, Any]]:
        """The rows of these maps and metrics."""
        options = {name: self.settings.metrics[name] for name in metrics}
        box = self.settings.boxes.get(self.block.entry.name)
        measurements = measure_active(
            self.active, maps, options, box=box, scene=self.scene, controls=controls, twin=self.twin, track=self.track
        )
        for name, metric, measurement in measurements:
            yield self.row(name, metric, measurement)

    def row(self, name: str, metric: str, measurement: Measurement) -> dict[str, Any]:
        """One line of the table."""
        settings, question = self.settings, self.active.question
        own = name in settings.methods
        variant = settings.variant(name) if own else Variant(METHODS[name.removeprefix(CONTROL)])
        method, of = variant.method, variant.method.id if own else name
        options = settings.methods[name] if own else check_options(method.run, CONTROLS[name])
        record = find_metric(metric)
        measured_by = {
            "map": dict(options),
            "metric": dict(settings.metrics[metric]),
            "version": record.version,
            "box": settings.boxes.get(self.block.entry.name) if "box" in record.needs else None,
            **({"scene": repr(self.scene)} if self.scene and record.needs & {"box", "scene"} else {}),
        }
        request = replace(self.active.request, precision=variant.precision or self.active.request.precision).answered_by(
            f"{of} measured by {record.id}", measured_by, variant.cut_on(question.model), method.version
        )
        curve = np.empty((0, 2), np.float32) if measurement.curve is None else measurement.curve.astype(np.float32)
        return {
            "run_key": request.key,
            "picture": self.block.picture,
            "name": self.block.entry.name,
            "label": selection.label_of(self.block.entry),
            "model": self.block.model,
            "target": question.target.label(0, question.model.class_name),
            "target_key": question.target.key(0),
            "target_value": self.value,
            "method": name,
            "metric": metric,
            "value": measurement.value,
            "passes": measurement.passes,
            "seconds": measurement.seconds,
            "facts": json.dumps({fact: round(float(value), 6) for fact, value in measurement.facts.items()}),
            "note": measurement.note,
            "curve_x": curve[:, 0],
            "curve_y": curve[:, 1],
        }


def measured(
    model: ExplainableModel,
    block: Block,
    picture: Image.Image,
    settings: EvaluationSettings,
    twin: TwinFactory | None,
    track: Track,
    scene: Scene | None = None,
) -> list[dict[str, Any]]:
    """The missing rows of one block. A method that fails has rows without a value and with the reason.

    The picture is prepared once, and one question is built for it (a second one where "fast" methods stand beside others).
    Raises BadPicture where this model cannot be asked about this picture, OutOfMemory.
    """
    target = _class(model, block.entry, settings.target)
    request = request_for(model, [picture], target=target, precision=settings.precision, seed=settings.seed)
    work = _BlockWork.of(request, block, settings, twin, track, scene)
    missing = {method for method, _ in block.missing}
    explanations, failures = work.explain([name for name in settings.methods if name in missing])
    rows: list[dict[str, Any]] = []
    for methods, metrics in _products(block, list(explanations)):
        maps = {name: explanations[name] for name in methods if name != CONTROL}
        rows += work.measure(maps, metrics, CONTROL in methods)
    for name, error in failures.items():
        nothing = Measurement(float("nan"), note=str(error))
        rows += [work.row(name, metric, nothing) for method, metric in sorted(block.missing) if method == name]
    return rows


def _class(model: ExplainableModel, entry: Labelled, target: str) -> int | str | None:
    """The class to ask about; None is the model's own top class. Raises BadPicture where a picture's label is no class."""
    if target != LABEL:
        return None if target == PREDICTED else target
    label = selection.label_of(entry)
    if not label:
        raise BadPicture("Its class is not known: it is not in a subfolder, and its name does not begin with a WordNet id.")
    matching = match_classes([label], model)
    if label not in matching.index:
        raise BadPicture(f"{model.title}: '{label}' {matching.unmatched[label]}")
    return matching.index[label]


def _products(block: Block, explained: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """The missing pairs as products of methods and metrics, each to be measured in one stream: usually one product."""
    products: dict[frozenset[str], list[str]] = {}
    for name in (*explained, CONTROL):
        metrics = frozenset(metric for method, metric in block.missing if method == name)
        if metrics:
            products.setdefault(metrics, []).append(name)
    return [(methods, sorted(metrics)) for metrics, methods in products.items()]
