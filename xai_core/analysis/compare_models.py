"""Compare several networks on the same picture: their predictions, their maps, and where these differ.

Networks are loaded one after the other, and only their predictions and maps are kept, so that any number of them needs the
memory of one. Maps of different networks have different units (a logit of one is not a logit of another); where two are
compared, each is divided by its own largest magnitude first.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_core.attribution import variants
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
    """One network's result for a picture: its most probable classes (none where it has no classifier), its map or the reason
    why there is none, and the size of its parameters in bytes."""

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
    is its own top class. With a `reference` picture the target is the similarity to it instead, which every network has,
    with classes or without. An error of this project is stored as the answer's `explanation`. `options` are the method's.
    """
    predictions: tuple[Prediction, ...] = ()
    try:
        prepared = model.prepare(image)
        if model.has_classifier:
            logits = model.outputs(stack([prepared], model.device)).logits[0]
            predictions = tuple(model.predictions(logits, TOP))
        explained_target = target if reference is None else SimilarityTo(model.embed(reference))
        explanation: Explanation | XaiError = explain(
            model, image, method, target=explained_target, seed=seed, track=track, **options
        )
    except XaiError as error:
        explanation = error
    return Answer(model.id, model.title, predictions, explanation, model.nbytes)


def ask_models(
    models: Sequence[str],
    image: Picture,
    method: str,
    *,
    target: int | str | None = None,
    reference: Picture | None = None,
    seed: int = 0,
    load: Callable[[str], ExplainableModel] = load_model,
    track: Track = iter,
    **options: Any,
) -> Iterator[Answer]:
    """`ask_model` for each network by its id, loaded by `load` when its turn comes. The answer of a network that cannot be
    loaded holds the reason. Raises UnknownName for a method that does not exist."""
    variants.parse(method)
    for id in models:
        model = _loaded(id, load)
        if isinstance(model, XaiError):
            yield Answer(id, id, (), model)
        else:
            yield ask_model(model, image, method, target=target, reference=reference, seed=seed, track=track, **options)


def _loaded(id: str, load: Callable[[str], ExplainableModel]) -> ExplainableModel | XaiError:
    try:
        return load(id)
    except XaiError as error:
        return error


def explained(answers: Sequence[Answer]) -> list[Answer]:
    """The answers that have a map."""
    return [answer for answer in answers if isinstance(answer.explanation, Explanation)]


def same_top(answers: Sequence[Answer]) -> float:
    """The share of pairs of networks whose most probable classes have the same name, in [0, 1]; NaN below two."""
    tops = [answer.predictions[0].name for answer in answers if answer.predictions]
    pairs = list(itertools.combinations(tops, 2))
    return float(np.mean([a == b for a, b in pairs])) if pairs else float("nan")


def same_top_matrix(answers: Sequence[Answer]) -> NDArray[np.float64]:
    """(n, n): 1 where the most probable classes of two networks have the same name, else 0; NaN for a network without
    classes."""
    same = np.full((len(answers), len(answers)), np.nan)
    tops = [answer.predictions[0].name if answer.predictions else None for answer in answers]
    for (i, first), (j, second) in itertools.product(enumerate(tops), repeat=2):
        if first is not None and second is not None:
            same[i, j] = first == second
    return same


def difference(a: Explanation, b: Explanation) -> Explanation:
    """a - b over the part of the picture that both networks saw, each divided by its largest magnitude there: (112, 112),
    signed, in [-2, 2]. Positive is where a puts more weight. A map without evidence counts as zero."""
    box = common_box([a, b])
    maps = [explanation.within(box, (SHOWN, SHOWN)) for explanation in (a, b)]
    first, second = (heatmap / (np.abs(heatmap).max() or 1.0) for heatmap in maps)
    return replace(
        a,
        title=f"{a.model} minus {b.model}",
        model=f"{a.model}, {b.model}",
        weights=f"{a.weights}, {b.weights}",
        heatmap=(first - second).astype(np.float32),
        signed=True,
        box=box,
        input_size=(SHOWN, SHOWN),
        target=a.target if a.target == b.target else f"{a.target} (first), {b.target} (second)",
        target_value=float("nan"),
        error=None,
        facts={},
        seconds=a.seconds + b.seconds,
    )


def mean_agreement(answers: Sequence[Answer]) -> float:
    """Mean rank correlation over all pairs of maps, in [-1, 1]; NaN below two maps."""
    maps = [answer.explanation for answer in answers if isinstance(answer.explanation, Explanation)]
    if len(maps) < 2:
        return float("nan")
    pairs = agreement(maps)[np.triu_indices(len(maps), 1)]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")


def row(name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    """One picture as a line of a table: each network's top class and probability, and how far classes and maps agree."""
    cells: dict[str, Any] = {
        "picture": name,
        "map agreement": mean_agreement(answers),
        "same top class": same_top(answers),
    }
    for answer in answers:
        best = answer.predictions[0] if answer.predictions else None
        cells[answer.model] = first_name(best.name) if best else None
        cells[f"{answer.model} probability"] = best.probability if best else None
    return cells


def compare_on(
    models: Sequence[str],
    pictures: Mapping[str, Picture | Path],
    method: str,
    *,
    target: int | str | None = None,
    reference: Picture | None = None,
    seed: int = 0,
    load: Callable[[str], ExplainableModel] = load_model,
    track: Track = iter,
    **options: Any,
) -> list[dict[str, Any]]:
    """`row` for each of many pictures, the one whose maps differ most first. Each network goes over all pictures before the
    next is loaded. A network that cannot be loaded, and a picture that cannot be read, leave empty cells. `track` wraps the
    list of all (network, picture)."""
    answers: dict[str, list[Answer]] = {name: [] for name in pictures}
    loaded: tuple[str, ExplainableModel | XaiError] | None = None
    for id, name in track([(id, name) for id in models for name in pictures]):
        if loaded is None or loaded[0] != id:
            loaded = None  # before the next one is loaded
            loaded = (id, _loaded(id, load))
        model, image = loaded[1], pictures[name]
        if isinstance(model, XaiError):
            answers[name].append(Answer(id, id, (), model))
        else:
            file = str(image) if isinstance(image, Path) else image
            answer = ask_model(model, file, method, target=target, reference=reference, seed=seed, **options)
            answers[name].append(replace(answer, model=id))
        del model  # the last reference to the network when the next one is loaded
    rows = [row(name, of_picture) for name, of_picture in answers.items()]
    return sorted(rows, key=lambda cells: (np.isnan(cells["map agreement"]), cells["map agreement"]))
