"""Quick checks of maps that run the network again: does hiding their strongest places matter, and does a map change with the
network's weights and with the target? Each gives one number for one picture; it does not measure a method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from xai_core.attribution.explain import attempt_methods
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.data.label_matching import first_name
from xai_core.explanation.agreement import common_grid, rank_correlation
from xai_core.explanation.request import ActiveRequest
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target
from xai_core.metrics.measure import measure_active
from xai_core.metrics.stability.randomisation import ClassTarget, other_classes
from xai_core.models.explainable import ExplainableModel, Picture

HARDLY_CHANGED = 0.8  # rank correlation from which on a map counts as the same


def quick_deletion(active: ActiveRequest, explanations: Sequence[Explanation]) -> list[float]:
    """The metric "quick_deletion" of several maps of one picture, in one sweep: how much more the target's value falls
    without the strongest fifth of a map than without a fifth chosen at random. NaN for a map that holds values that are not
    numbers."""
    maps = {str(number): explanation for number, explanation in enumerate(explanations)}
    measurements = measure_active(active, maps, ["quick_deletion"], controls=False)
    return [measurement.value for _, _, measurement in measurements]


class Change(NamedTuple):
    """One change of a sanity check: the changed model and target, an `id` for files and `words` for the page."""

    id: str
    words: str
    model: ExplainableModel
    target: Target


def changes(model: ExplainableModel, target: Target, untrained: ExplainableModel) -> list[Change]:
    """The two changes of Adebayo et al. (2018, arXiv:1810.03292) that a map should not survive.

    `untrained` is the same architecture with random weights; it is shown the very pixels that `model` is shown. The
    other class is half the classes further on, which for ImageNet is another kind of thing; a target without classes
    has no such change.
    """
    same_view = replace(untrained, recipe=model.recipe)
    both = [Change("weights_randomised", "weights randomised", same_view, target)]
    if isinstance(target, ClassTarget):
        total = len(model.class_names) if len(model.class_names) > 2 else 3  # without names: one of the first three
        others = tuple(other_classes(target.select([row]), total, 1)[0] for row in range(len(target)))
        other = first_name(model.class_name(others[0]))
        both.append(Change("another_class", f"explained for {other}", model, replace(target, classes=others)))
    return both


def resemblance(original: Explanation, changed: Explanation) -> float:
    """Rank correlation of a map and of the same map after a change; NaN where all cells of one of them are equal."""
    return rank_correlation(common_grid(original), common_grid(changed))


def in_words(rho: float) -> str:
    """A rank correlation as text: 'ρ = 0.42'."""
    return "nothing to compare" if np.isnan(rho) else f"ρ = {rho:.2f}"


def sanity(
    explanations: Mapping[str, Explanation], image: Picture, changed: Sequence[Change], track: Track = iter
) -> Iterator[tuple[str, dict[str, float | XaiError]]]:
    """Each method with the resemblance of its map to the map after each change (by the change's `id`), or the error where
    there is no map after it."""
    for name, original in explanations.items():
        values: dict[str, float | XaiError] = {}
        for change in changed:
            ((_, result),) = attempt_methods(
                change.model, image, {name: original.options},
                target=change.target, cut=original.cut or None, precision=original.precision, seed=original.seed,
                track=track,
            )  # fmt: skip
            values[change.id] = result if isinstance(result, XaiError) else resemblance(original, result)
        yield name, values
