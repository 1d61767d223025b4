"""Validate an evaluation, and estimate its passes and its run time before it begins."""

import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import torch

from xai_core.attribution import variants
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import forward_passes
from xai_core.attribution.explain import request_for
from xai_core.attribution.variants import Variant
from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, check_options, options_of
from xai_core.core.settings import PROGRAM
from xai_core.core.shards import Shard
from xai_core.core.version import __version__
from xai_core.data.datasets import Dataset
from xai_core.data.sample_list import Labelled
from xai_core.evaluation.store import Cell
from xai_core.evaluation.summary import CONTROL
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import CONTROLS, total_cost
from xai_core.metrics.metric import NEEDS
from xai_core.models.explainable import ExplainableModel
from xai_core.models.pass_times import PassTimes
from xai_core.models.zoo.catalog import find_card, id_and_checkpoint

PREDICTED, LABEL = "predicted", "label"
TURN = 32  # pictures before the next model's turn, so that a run that ends early has all models on the same pictures
QUICK_PASSES = 60  # of the quick methods, forward and backward together
Box = tuple[float, float, float, float]
Given = Sequence[str] | Mapping[str, Mapping[str, Any]]


def quick_methods() -> list[str]:
    """The methods, controls apart, that take at most 60 passes with their default options."""
    return [id for id, method in METHODS.items() if method.family != "control" and sum(method.usual_cost) <= QUICK_PASSES]


def variant(name: str) -> dict[str, str]:
    """The options in a metric's name behind an @: in "deletion@blur+steps=32" a choice is given by its value, a number by
    its name. Raises UnknownName, BadRequest."""
    id, _, told = name.partition("@")
    options = {}
    for piece in filter(None, told.split("+")):
        option, equals, value = piece.partition("=")
        if not equals:
            declared = options_of(find_metric(id).run)
            fits = [one.name for one in declared if isinstance(one.bounds, Choice) and piece in one.bounds.values]
            if len(fits) != 1:
                values = [value for one in declared if isinstance(one.bounds, Choice) for value in one.bounds.values]
                raise BadRequest(f"'{piece}' is no variant of {id}; it takes NAME=VALUE, or one of {', '.join(values)}.")
            option, value = fits[0], piece
        options[option] = value
    return options


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, and how: all that decides the numbers beside models and pictures. Made by `check_settings`.

    methods  all options of each, by its name; that of a variant is "grad_cam@cut=layer3"
    """

    methods: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, Mapping[str, Any]]
    target: str = PREDICTED
    seed: int = 0
    precision: str = "exact"
    boxes: Mapping[str, Sequence[Box]] = field(default_factory=dict)

    def variant(self, name: str) -> Variant:
        """One of the methods, with what its name sets."""
        return variants.parse(name, self.precision)

    def fitting(self, model: ExplainableModel) -> list[str]:
        return [name for name in self.methods if self.variant(name).misfit(model) is None]

    def cells(self, model: ExplainableModel) -> frozenset[Cell]:
        """All (method, metric) pairs of one picture; the controls count as one method, CONTROL."""
        return frozenset((method, metric) for method in (*self.fitting(model), CONTROL) for metric in self.metrics)

    def cost(self, cells: Set[Cell], side: int) -> tuple[int, int]:
        """How many forward and backward passes these (method, metric) pairs of one picture of `side` pixels take: maps and
        metrics."""
        costs = [
            self.variant(name).method.passes(self.methods[name], side) for name in {name for name, _ in cells} - {CONTROL}
        ]
        for metric in {metric for _, metric in cells}:
            maps = {name: self.methods[name] for name, other in cells if other == metric and name != CONTROL}
            costs.append(total_cost({metric: self.metrics[metric]}, maps, (CONTROL, metric) in cells, side))
        return 1 + sum(ahead for ahead, _ in costs), sum(back for _, back in costs)

    def as_json(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        boxes = {name: [list(box) for box in given] for name, given in self.boxes.items()}
        return {"target": self.target, "seed": self.seed, "precision": self.precision, "boxes": boxes}


def check_settings(
    methods: Given,
    metrics: Given,
    *,
    target: str,
    seed: int,
    precision: str,
    boxes: Mapping[str, Sequence[Box]] | None,
    scenes: bool = False,
) -> EvaluationSettings:
    """Settings from names, or from names with options; `scenes`: whether the pictures are of a world.

    Raises UnknownName, BadRequest."""
    if not methods or not metrics:
        raise BadRequest("Name at least one method and one metric.")
    runtime.check_precision(precision)
    given = _with_options(methods)
    named = [(variants.parse(name, precision), options) for name, options in given]
    variants.parse_all([name for name, _ in given], precision)  # refuses the same one twice
    checked = {variant.name: variant.merged(options) for variant, options in named}
    wanted = {}
    for name, options in _with_options(metrics):
        metric = find_metric(name)
        if "scene" in metric.needs and not scenes:
            raise BadRequest(f"{metric.title} needs {NEEDS['scene']}: choose a world, or leave the metric out.")
        if "box" in metric.needs and not boxes and not scenes:
            raise BadRequest(f"{metric.title} needs boxes: give some, or leave the metric out.")
        _, at, told = name.partition("@")
        wanted[f"{metric.id}{at}{told}"] = check_options(metric.run, variant(f"{metric.id}{at}{told}") | dict(options))
    return EvaluationSettings(checked, wanted, target, seed, precision, {**(boxes or {})})


def _with_options(names: Given) -> list[tuple[str, Mapping[str, Any]]]:
    if isinstance(names, Mapping):
        return [(name, options or {}) for name, options in names.items()]
    return [(name, {}) for name in dict.fromkeys(names)]


class ModelFacts(NamedTuple):
    """What is known of a model before the work: its entry in the manifest, why methods do not fit it, the (method, metric)
    pairs of a picture, the passes that these take, the seconds of one forward pass, the variants whose cut it lacks, and
    those that are one on it."""

    described: dict[str, Any]
    misfits: dict[str, str]
    cells: frozenset[Cell]
    passes: int
    pass_seconds: float
    missing_cuts: dict[str, str]
    same: dict[frozenset[str], str]


def facts_of(name: str, model: ExplainableModel, settings: EvaluationSettings) -> ModelFacts:
    """Raises BadRequest for a model that cannot be measured."""
    chosen = [settings.variant(name) for name in settings.methods]
    missing_cuts = variants.missing_cuts(chosen, model)
    if missing_cuts:  # nothing else can be told of them; `check_facts` refuses the run
        return ModelFacts({}, {}, frozenset(), 0, 0.0, missing_cuts, {})
    if not settings.fitting(model):
        raise BadRequest(f"No chosen method fits {model.title}.")
    if not model.has_classifier:
        raise BadRequest(f"{model.title} has no classes to explain: train a probe on it ({PROGRAM} probe).")
    if settings.target not in (PREDICTED, LABEL):
        blank = torch.zeros(3, model.recipe.input_size, model.recipe.input_size)
        _, question, images = request_for(model, [blank], target=settings.target).activate()
        question(images)
    described = {
        "title": model.title + (", untrained" if name.endswith("/random") else ""),
        "weights": model.fingerprint,
        "group": group(name),
        "input": model.recipe.input_size,
        "preprocessing": str(model.recipe),
    }
    misfits = {variant.name: why for variant in chosen if (why := variant.misfit(model))}
    cells = settings.cells(model)
    passes = sum(settings.cost(cells, model.recipe.input_size))
    seconds = PassTimes().seconds(model, passes)
    return ModelFacts(described, misfits, cells, passes, seconds, {}, variants.same_on(chosen, model))


def check_facts(facts: Mapping[str, ModelFacts]) -> None:
    """Raises BadRequest where variants cannot be measured on these models: a cut that some lack, or two that are one."""
    variants.refuse_missing({name: of.missing_cuts for name, of in facts.items()})
    variants.refuse_same([of.same for of in facts.values()])


def group(model: str) -> str:
    """ "Supervised", "Self-supervised" or "Untrained"; "Other" for a model that is in no catalogue."""
    id, checkpoint = id_and_checkpoint(model)
    if checkpoint == "random":
        return "Untrained"
    try:
        return "Self-supervised" if "self-supervised" in find_card(id).supervision else "Supervised"
    except BadRequest:
        return "Other"


@dataclass(frozen=True)
class EvaluationPlan:
    """What is left to do: pictures, rows, for each model the blocks and the passes of a whole one, and the passes and the
    estimated seconds of all that is missing."""

    pictures: int
    rows: int
    todo: dict[str, int]
    done: int
    passes: dict[str, int]
    total_passes: int
    total_seconds: float

    def __str__(self) -> str:
        every = self.done + sum(self.todo.values())
        there = f" {self.done} of {every} pairs of a picture and a model are measured already." if self.done else ""
        each = ", ".join(f"{count:,} on {name}" for name, count in self.passes.items())
        left = f"To do: {self.total_passes:,} passes, {in_time(self.total_seconds)} here."
        return f"{self.pictures:,} pictures, {self.rows:,} rows to measure.{there} Passes for a picture: {each}. " + (
            left if self.total_passes else "Nothing is left to do."
        )


def in_time(seconds: float) -> str:
    """An estimated time in words: 'about 5 min'."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"about {seconds / size:.2g} {unit}"
    return f"about {max(1, round(seconds))} s"


class Block(NamedTuple):
    """One picture before one model, with the (method, metric) pairs that are still missing."""

    model: str
    entry: Labelled
    picture: str
    missing: frozenset[Cell]


def plan(
    settings: EvaluationSettings,
    pictures: Mapping[str, Labelled],
    models: Mapping[str, ModelFacts],
    blocks: Sequence[Block],
) -> EvaluationPlan:
    missing = Counter((block.model, block.missing) for block in blocks)
    costs = {(name, cells): settings.cost(cells, models[name].described["input"]) for name, cells in missing}
    return EvaluationPlan(
        len(pictures),
        sum(len(CONTROLS) if method == CONTROL else 1 for block in blocks for method, _ in block.missing),
        {name: sum(block.model == name for block in blocks) for name in models},
        len(pictures) * len(models) - len(blocks),
        {name: facts.passes for name, facts in models.items()},
        sum(count * sum(costs[part]) for part, count in missing.items()),
        sum(count * forward_passes(costs[part]) * models[part[0]].pass_seconds for part, count in missing.items()),
    )


def blocks(
    pictures: Mapping[str, Labelled], models: Mapping[str, ModelFacts], done: Mapping[tuple[str, str], frozenset[Cell]]
) -> Iterator[Block]:
    """What is missing, in the order of the work: the first pictures with each model, then the next ones."""
    every = list(pictures.items())
    for start in range(0, len(every), TURN):
        for name, facts in models.items():
            for digest, entry in every[start : start + TURN]:
                missing = facts.cells - done.get((digest, name), frozenset())
                if missing:
                    yield Block(name, entry, digest, missing)


def manifest(
    settings: EvaluationSettings,
    pictures: Dataset,
    count: int,
    models: Mapping[str, ModelFacts],
    shard: Shard | None = None,
) -> dict[str, Any]:
    """What the run measures, on which models, and with which software: for `store.open_for_writing`."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "asked": settings.as_json() | {"data": pictures.title} | ({"shard": str(shard)} if shard else {}),
        "pictures": count,
        "models": {name: facts.described for name, facts in models.items()},
        "misfits": {name: facts.misfits for name, facts in models.items()},
        "methods": {name: _described_method(settings.variant(name), options) for name, options in settings.methods.items()},
        "metrics": {name: _described(name, options) for name, options in settings.metrics.items()},
        "software": {
            "xai_core": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {runtime.device()}",
        },
    }


def _described_method(variant: Variant, options: Mapping[str, Any]) -> dict[str, Any]:
    described = {"title": variant.title, "version": variant.method.version, "options": dict(options)}
    own = {"method": variant.method.id, "cut": variant.cut, "precision": variant.precision}
    return described | own if variant.settings else described


def _described(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    metric = find_metric(name)
    facts = {field: getattr(metric, field) for field in ("title", "family", "direction", "version", "sentence")}
    return facts | {"title": metric.variant_title(options) if "@" in name else metric.title, "options": dict(options)}
