"""Many pictures: every metric of every method on every model, stored row by row so that nothing is computed twice.

Pictures are taken in blocks, one picture before one model: there, all methods share what CAMs have in common, and all
metrics one stream of batches. A block is stored whole or not at all; memory does not grow with the number of pictures.
"""

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import ask, explain_methods
from xai_core.core.cache_key import run_key
from xai_core.core.errors import BadPicture, BadRequest, OutOfMemory, XaiError
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data import selection
from xai_core.data.datasets import Dataset, Labelled
from xai_core.data.label_matching import match_classes
from xai_core.evaluation import planner, store
from xai_core.evaluation.planner import LABEL, PREDICTED, Asked, Block, Box, Given, Plan
from xai_core.evaluation.store import CONTROL, Run, Writer
from xai_core.explanation.question import Question
from xai_core.explanation.result import Explanation
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import CONTROLS, Measurement, Twin, measure_all
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model
from xai_core.models.random_init import twins

FLUSH_SECONDS, FLUSH_ROWS = 20.0, 2000  # what a killed run loses at most, and what waits in memory
THUMBNAIL = 160  # pixels of the longer side of the small copies that a run carries
Load = Callable[[str], ExplainableModel]


def load_named(name: str) -> ExplainableModel:
    """A model of the catalogue by its id, or by id/checkpoint; id/random is its untrained twin."""
    id, _, checkpoint = name.partition("/")
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
    dry: bool = False,
    load: Load = load_named,
    say: Callable[[str], object] = lambda words: None,
    track: Track = iter,
    within: Track = iter,
) -> Run | Plan:
    """Measure methods on many pictures and store one row for each picture, model, method and metric in the folder `out`.

    Called again with the same `out` it goes on where it was: after an end of any kind, or with more pictures, models,
    methods or metrics. What is there is not computed again.

    models      ids, or id/checkpoint; id/random is an untrained twin
    methods     ids, or ids with options; those that do not fit a model are left out for it
    metrics     names, or names with options: {"deletion": {}, "deletion@blur": {"substrate": "blur"}}
    images      a folder, ZIP or table of pictures as `datasets` opens them, "samples", or a Dataset
    count       how many pictures, drawn at random from `seed`; None is all
    target      "predicted": each model's own top class; "label": the class that a picture's subfolder or its name tells; or
                a class
    boxes       by a picture's name, in its pixels: for the metrics that need one
    budget      seconds after which no further picture is begun
    thumbnails  whether the run carries small copies of the pictures (the samples need none)
    dry         only plan: returns the Plan of what is left to do, and writes nothing
    say         is told the plan, and what happened on the way
    track       wraps the list of blocks, as tqdm does: progress, rate and remaining time; what it raises stops the run, and
                what is measured is kept
    within      wraps the batches inside a block: what it raises stops the run without waiting for the block's end

    Raises subclasses of XaiError with one sentence; what was measured before is stored.
    """
    wanted = planner.asked(methods, metrics, target=target, seed=seed, precision=precision, boxes=boxes)
    chosen = selection.pictures_of(images)
    if not models:
        raise BadRequest("Name at least one model.")
    held = _Held(load)  # each in turn, so that a missing one is known of before the work begins
    about = {name: planner.about(name, held.model(name), wanted) for name in models}
    pictures, left_out = selection.looked_through(chosen, selection.drawn(chosen, count, seed))
    manifest = planner.manifest(wanted, chosen, len(pictures), about)
    if dry:
        return planner.plan(pictures, about, list(planner.blocks(pictures, about, store.done_in(Path(out), manifest))))
    with store.writing(Path(out), manifest) as writer:
        for words in writer.said:
            say(words)
        blocks = list(planner.blocks(pictures, about, store.open_run(out).done()))
        plan = planner.plan(pictures, about, blocks)
        say(str(plan))
        writer.describe(state="running", rows=writer.stored + plan.rows, left_out=left_out)
        carried = thumbnails and chosen.title != selection.SAMPLE_SET
        ended = _work(chosen, blocks, wanted, held, writer, left_out, budget, carried, track, within)
        writer.flush()
        writer.describe(state="finished" if ended else "stopped", left_out=left_out)
    for name, why in left_out.items():
        say(f"left out: {name}: {why}")
    if not ended:
        say(f"The budget of {budget:g} s is used up; the same command goes on.")
    return store.open_run(out)


class _Held:
    """One model at a time, the last one asked for, and its untrained twins where a metric has asked for them."""

    def __init__(self, load: Load):
        self._load, self._name, self._model, self.twin = load, None, None, None

    def model(self, name: str) -> ExplainableModel:
        if name != self._name:
            self._model = self.twin = None  # before the next one is loaded
            self._name, self._model = name, self._load(name)
            self.twin = twins(self._model)
        return self._model


def _work(
    pictures,
    blocks,
    wanted,
    held,
    writer: Writer,
    left_out,
    budget: float | None,
    thumbnails: bool,
    track: Track,
    within: Track,
) -> bool:
    """Measure and store; False where the budget was used up before the end."""
    begun, longest = time.monotonic(), 0.0
    for block in track(blocks):
        started = time.monotonic()
        if budget is not None and longest and started - begun + longest > budget:
            return False
        if block.entry.name in left_out:
            continue
        try:
            picture = pictures.open(block.entry.name)
            model = held.model(block.model)
            rows = measured(model, block, picture, wanted, held.twin, within)
        except BadPicture as error:
            left_out[block.entry.name] = str(error)
            continue
        small = _small(picture) if thumbnails else None
        writer.add(rows, small and {"picture": block.picture, "name": block.entry.name, "thumbnail": small})
        longest = max(longest, time.monotonic() - started)
        if time.monotonic() - writer.flushed > FLUSH_SECONDS or writer.waiting > FLUSH_ROWS:
            writer.flush()
    return True


def _small(picture: Image.Image) -> bytes:
    copy, buffer = picture.copy(), io.BytesIO()
    copy.thumbnail((THUMBNAIL, THUMBNAIL))
    copy.save(buffer, "WEBP", quality=70)
    return buffer.getvalue()


@dataclass(frozen=True)
class _Asking:
    """One block at work: the picture, and the question about it."""

    model: ExplainableModel
    block: Block
    wanted: Asked
    picture: Image.Image
    seen: str
    question: Question
    value: float
    twin: Twin | None
    track: Track

    def row(self, name: str, metric: str, one: Measurement) -> dict[str, Any]:
        """One line of the table."""
        method, question, wanted = METHODS[name.removeprefix(CONTROL)], self.question, self.wanted
        options = wanted.methods[name] if name in wanted.methods else check_options(method.run, CONTROLS[name])
        curve = np.empty((0, 2), np.float32) if one.curve is None else one.curve.astype(np.float32)
        key = run_key(
            picture=self.seen,
            model=self.block.model,
            weights=self.model.fingerprint,
            cut=question.cut if "cut" in method.needs else "",
            target=question.target.key(0),
            method=f"{name} measured by {metric.partition('@')[0]}",
            version=method.version,
            options={"map": dict(options), "metric": dict(wanted.metrics[metric]), "version": find_metric(metric).version},
            seed=wanted.seed,
            precision=wanted.precision,
        )
        return {
            "run_key": key,
            "picture": self.block.picture,
            "name": self.block.entry.name,
            "label": selection.label_of(self.block.entry),
            "model": self.block.model,
            "target": question.target.label(0, self.model.class_name),
            "target_key": question.target.key(0),
            "target_value": self.value,
            "method": name,
            "metric": metric,
            "value": one.value,
            "passes": one.passes,
            "seconds": one.seconds,
            "facts": json.dumps({fact: round(float(value), 6) for fact, value in one.facts.items()}),
            "note": one.note,
            "curve_x": curve[:, 0],
            "curve_y": curve[:, 1],
        }

    def measure(self, maps: Mapping[str, Explanation], metrics: Sequence[str], controls: bool) -> Iterator[dict[str, Any]]:
        how = {"box": self.wanted.boxes.get(self.block.entry.name), "seed": self.wanted.seed}
        how |= {"target": self.question.target, "precision": self.wanted.precision, "controls": controls}
        how |= {"twin": self.twin, "track": self.track}
        options = {name: self.wanted.metrics[name] for name in metrics}
        for name, metric, one in measure_all(self.model, self.picture, maps, options, **how):
            yield self.row(name, metric, one)

    def explain(self, names: Sequence[str]) -> tuple[dict[str, Explanation], dict[str, XaiError]]:
        """The maps, which share their trunk pass, and why some methods have none. What 16 bits would spoil stays exact."""
        found: dict[str, Explanation] = {}
        failed: dict[str, XaiError] = {}
        for precision in dict.fromkeys(("exact", self.wanted.precision)):
            left = [name for name in names if self._precision(name) == precision]
            how = {"target": self.question.target, "seed": self.wanted.seed, "precision": precision, "track": self.track}
            while left:
                options = {name: self.wanted.methods[name] for name in left}
                try:
                    for name, one in explain_methods(self.model, self.picture, options, **how):
                        found[name] = one
                        left = left[1:]
                except OutOfMemory:
                    raise
                except XaiError as error:  # of the first that is left; the others go on without it
                    failed[left[0]] = error
                    left = left[1:]
        return found, failed

    def _precision(self, name: str) -> str:
        offered = METHODS[name].offers_fast(self.model, self.model.network.cut_name(None))
        return self.wanted.precision if offered else "exact"


def measured(
    model: ExplainableModel, block: Block, picture: Image.Image, wanted: Asked, twin: Twin | None, track: Track
) -> list[dict[str, Any]]:
    """The missing rows of one block. A method that fails has rows without a value and with the reason.

    Raises BadPicture where this model cannot be asked about this picture, OutOfMemory.
    """
    question, pixels = ask(model, picture, _class(model, block.entry, wanted.target))
    seen, value = model.prepare(picture).digest, float(question.values(pixels)[0])
    asking = _Asking(model, block, wanted, picture, seen, question, value, twin, track)
    found, failed = asking.explain([name for name in wanted.methods if any(name == method for method, _ in block.missing)])
    rows = []
    for methods, metrics in _products(block, list(found)):
        rows += asking.measure({name: found[name] for name in methods if name != CONTROL}, metrics, CONTROL in methods)
    for name, error in failed.items():
        nothing = Measurement(float("nan"), note=str(error))
        rows += [asking.row(name, metric, nothing) for method, metric in sorted(block.missing) if method == name]
    return rows


def _class(model: ExplainableModel, entry: Labelled, target: str) -> int | str | None:
    """The class to ask about; None is the model's own top class. Raises BadPicture where a picture's label is no class."""
    if target != LABEL:
        return None if target == PREDICTED else target
    label = selection.label_of(entry)
    if not label:
        raise BadPicture("No class is known of it: it lies in no subfolder, and its name begins with no WordNet id.")
    matching = match_classes([label], model)
    if label not in matching.index:
        raise BadPicture(f"{model.title}: '{label}' {matching.unmatched[label]}")
    return matching.index[label]


def _products(block: Block, explained: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """The missing pairs as products of methods and metrics, each to be measured in one stream: usually one product."""
    found: dict[frozenset[str], list[str]] = {}
    for name in (*explained, CONTROL):
        metrics = frozenset(metric for method, metric in block.missing if method == name)
        if metrics:
            found.setdefault(metrics, []).append(name)
    return [(methods, sorted(metrics)) for metrics, methods in found.items()]
