"""Several networks before the same picture: what each says, where each looks, and where they differ.

Networks are taken in turn: what is kept of each is its predictions and its map, so that any number of them need the memory
of one. Maps of different networks have different units (a logit of one is not a logit of another); where two are set
against each other, each is divided by its own largest magnitude first.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_core.attribution.catalog import find_method
from xai_core.attribution.explain import explain
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.data.label_matching import first_name
from xai_core.data.preprocessing import stack
from xai_core.explanation.agreement import agreement, common_box
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import SimilarityTo
from xai_core.models.explainable import ExplainableModel, Picture, Prediction
from xai_core.models.loading import load_model

TOP = 5
SHOWN = 112  # cells a side of a difference map


@dataclass(frozen=True)
class Answer:
    """What one network says about a picture: its most probable classes (none where it has no classifier), its map or why
    there is none, and the bytes of its parameters."""

    model: str
    title: str
    predictions: tuple[Prediction, ...]
    explanation: Explanation | XaiError
    nbytes: int = 0


def ask_model(
    model: ExplainableModel,
    image: Picture,
    method: str,
    *,
    target: int | str | None = None,
    reference: Picture | None = None,
    seed: int = 0,
    track: Track = iter,
    **options: Any,
) -> Answer:
    """One network's answer. `target` is a class by index, WordNet id or name, found by name in this network's own list; None
    is its own top class. With a `reference` picture the question is the similarity to it instead, which every network can
    answer, with classes or without. A refusal is kept as the answer's `explanation`.
    """
    predictions: tuple[Prediction, ...] = ()
    try:
        prepared = model.prepare(image)
        if model.has_classifier:
            logits = model.outputs(stack([prepared], model.device)).logits[0]
            predictions = tuple(model.predictions(logits, TOP))
        asked = SimilarityTo(model.embed(reference)) if reference is not None else target
        found: Explanation | XaiError = explain(model, image, method, target=asked, seed=seed, track=track, **options)
    except XaiError as error:
        found = error
    return Answer(model.id, model.title, predictions, found, model.nbytes)


def ask_models(
    models: Sequence[str],
    image: Picture,
    method: str,
    *,
    load: Callable[[str], ExplainableModel] = load_model,
    **asked: Any,
) -> Iterator[Answer]:
    """`ask_model` for each network by its id, loaded by `load` when its turn comes. One that cannot be loaded says why."""
    find_method(method)
    for id in models:
        model = _loaded(id, load)
        yield Answer(id, id, (), model) if isinstance(model, XaiError) else ask_model(model, image, method, **asked)


def _loaded(id: str, load: Callable[[str], ExplainableModel]) -> ExplainableModel | XaiError:
    try:
        return load(id)
    except XaiError as error:
        return error


def explained(answers: Sequence[Answer]) -> list[Answer]:
    """Those that have a map."""
    return [one for one in answers if isinstance(one.explanation, Explanation)]


def same_top(answers: Sequence[Answer]) -> float:
    """The share of pairs of networks whose most probable classes have the same name, in [0, 1]; NaN below two."""
    tops = [one.predictions[0].name for one in answers if one.predictions]
    pairs = list(itertools.combinations(tops, 2))
    return float(np.mean([a == b for a, b in pairs])) if pairs else float("nan")


def shared_top(answers: Sequence[Answer]) -> NDArray[np.float64]:
    """(n, n): how many of their five most probable classes two networks have in common by name, as a share; NaN without
    classes."""
    found = np.full((len(answers), len(answers)), np.nan)
    for i, j in itertools.product(range(len(answers)), repeat=2):
        first, second = ({one.name for one in answers[place].predictions} for place in (i, j))
        if first and second:
            found[i, j] = len(first & second) / max(len(first), len(second))
    return found


def difference(a: Explanation, b: Explanation) -> Explanation:
    """a - b over the part of the picture that both networks saw, each divided by its largest magnitude there: (112, 112),
    signed, in [-2, 2]. Positive is where a puts more weight. A map without evidence counts as zero."""
    box = common_box([a, b])
    maps = [one.within(box, (SHOWN, SHOWN)) for one in (a, b)]
    first, second = (grid / (np.abs(grid).max() or 1.0) for grid in maps)
    words = {"title": f"{a.model} minus {b.model}", "model": f"{a.model}, {b.model}", "weights": f"{a.weights}, {b.weights}"}
    return replace(
        a,
        heatmap=(first - second).astype(np.float32),
        signed=True,
        box=box,
        input_size=(SHOWN, SHOWN),
        target=a.target if a.target == b.target else f"{a.target} (first), {b.target} (second)",
        target_value=float("nan"),
        error=None,
        facts={},
        seconds=a.seconds + b.seconds,
        **words,
    )


def mean_agreement(answers: Sequence[Answer]) -> float:
    """Mean rank correlation over all pairs of maps, in [-1, 1]; NaN below two maps."""
    maps = [one.explanation for one in explained(answers)]
    if len(maps) < 2:
        return float("nan")
    pairs = agreement(maps)[np.triu_indices(len(maps), 1)]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")


def row(name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    """One picture as a line of a table: each network's top class and probability, and how far classes and maps agree."""
    found: dict[str, Any] = {
        "picture": name,
        "map agreement": mean_agreement(answers),
        "same top class": same_top(answers),
    }
    for one in answers:
        best = one.predictions[0] if one.predictions else None
        found[one.model] = first_name(best.name) if best else None
        found[f"{one.model} probability"] = best.probability if best else None
    return found


def compare_on(
    models: Sequence[str],
    pictures: Mapping[str, Picture | Path],
    method: str,
    *,
    load: Callable[[str], ExplainableModel] = load_model,
    track: Track = iter,
    **asked: Any,
) -> list[dict[str, Any]]:
    """`row` for each of many pictures, the one whose maps differ most first. Each network goes over all pictures before the
    next is loaded. A network that cannot be loaded, and a picture that cannot be read, leave empty cells."""
    answers: dict[str, list[Answer]] = {name: [] for name in pictures}
    work = [(id, name) for id in models for name in pictures]
    held: tuple[str, ExplainableModel | XaiError] | None = None
    for id, name in track(work):
        if held is None or held[0] != id:
            held = None  # before the next one is loaded
            held = (id, _loaded(id, load))
        if isinstance(held[1], XaiError):
            answers[name].append(Answer(id, id, (), held[1]))
        else:
            image = pictures[name]
            found = ask_model(held[1], str(image) if isinstance(image, Path) else image, method, **asked)
            answers[name].append(replace(found, model=id))
    rows = [row(name, found) for name, found in answers.items()]
    return sorted(rows, key=lambda one: (np.isnan(one["map agreement"]), one["map agreement"]))
