"""Quick checks of maps that need the network again: does hiding their strongest places matter, and does a map change with
the network and with what is asked? Each is one number for one picture, no measurement of a method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xai_core import heatmaps, runtime
from xai_core.comparing import GRID, attempt_methods, common_grid, rank_correlation
from xai_core.errors import XaiError
from xai_core.explanation import Explanation
from xai_core.images import baseline_images, blurred
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.question import Question
from xai_core.runtime import Track
from xai_core.targets import Target

HIDDEN_SHARE = 0.2
RANDOM_ORDERS, BLOBS = 8, 5
HARDLY_CHANGED = 0.8  # rank correlation from which on a map counts as the same


def quick_deletion(question: Question, image: Tensor, explanations: Sequence[Explanation], seed: int = 0) -> list[float]:
    """How much more of the target goes with the strongest fifth of a map than with a fifth chosen at random.

    score = mean over 8 random fifths R of f(x without R) - f(x without the strongest fifth S)
          = drop of f without S - mean drop without R

    A fifth is 157 of the 28 x 28 cells on which maps of any resolution are compared, so that coarse and fine maps are
    hidden alike. The hidden part fades over into the blurred picture (`blur` of BASELINES) within a cell or so: hard
    edges would themselves make the network change its mind, and scattered cells have the most of them. Random fifths
    are smooth blobs of the size of a coarse map's.

    Sign   positive: the map finds places that the target depends on; near 0: it finds no more than chance; negative: less.
    Range  unbounded, in the target's unit: compare scores of one picture and one target only.
    Order  by value, strongest for the target first; ties by such a random blob of `seed`, so that a constant map scores
           as one more random fifth. NaN for a map that holds values that are not numbers.
    Cost   one pass for each map, and 8 that all share, in one sweep.

    This is one point of a deletion curve (Petsiuk et al. 2018, arXiv:1806.07421): enough to sort tiles by, not to
    judge a method by. `image` is (1, 3, H, W) in [0, 1], as the network sees it.
    """
    grids = [common_grid(one) for one in explanations]
    random = [_blobs(seed, index) for index in range(RANDOM_ORDERS + 1)]
    ties = random.pop()
    hidden = torch.from_numpy(
        np.stack([*(strongest(blobs, ties) for blobs in random), *(strongest(g, ties) for g in grids)])
    )
    replaced, size = baseline_images(image, "blur"), tuple(image.shape[2:])

    def pictures(rows: range) -> Tensor:
        cells = hidden[rows.start : rows.stop, None].to(image)
        masks = blurred(F.interpolate(cells, size, mode="nearest-exact"), sigma=min(size) / GRID)
        return image + masks * (replaced - image)

    outputs = question.sweep(pictures, len(hidden), size)
    with torch.no_grad():
        left = question.target(outputs, torch.zeros(len(hidden), dtype=torch.long)).double().cpu().numpy()
    scores = left[:RANDOM_ORDERS].mean() - left[RANDOM_ORDERS:]
    return [float(score) if np.isfinite(grid).all() else float("nan") for score, grid in zip(scores, grids, strict=True)]


def strongest(grid: NDArray, ties: NDArray) -> NDArray[np.bool_]:
    """The strongest fifth of the cells; among equal ones, those with the larger value in `ties`."""
    chosen = np.zeros(grid.size, dtype=bool)
    chosen[np.lexsort((-ties.ravel(), -grid.ravel()))[: round(HIDDEN_SHARE * grid.size)]] = True
    return chosen.reshape(grid.shape)


def _blobs(seed: int, index: int) -> NDArray[np.float32]:
    """A random order of the cells that changes smoothly: uniform draws on a coarse grid, stretched."""
    return heatmaps.resize(runtime.uniform_draw(seed, index, (BLOBS, BLOBS)).numpy(), (GRID, GRID))


class Change(NamedTuple):
    """What a sanity check changes: `id` for files, `words` for people."""

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
    found = [Change("weights_randomised", "weights randomised", same_view, target)]
    if hasattr(target, "classes"):
        rivals = getattr(target, "rivals", (None,) * len(target))
        others = tuple(_far_from(*pair, len(model.class_names)) for pair in zip(target.classes, rivals, strict=True))
        asked = model.class_name(others[0]).split(",")[0]
        found.append(Change("another_class", f"asked for {asked}", model, replace(target, classes=others)))
    return found


def _far_from(asked: int, rival: int | None, count: int) -> int:
    """Another class of `count`, or of as many as there may be in a network without names: of the first three."""
    candidates = [(asked + count // 2) % count, (asked + 1) % count] if count > 2 else [0, 1, 2]
    return next(one for one in candidates if one not in (asked, rival))


def resemblance(original: Explanation, changed: Explanation) -> float:
    """Rank correlation of a map and of the same map after a change; NaN where one of them prefers no place."""
    return rank_correlation(common_grid(original), common_grid(changed))


def in_words(rho: float) -> str:
    """A rank correlation for people."""
    return "nothing to compare" if np.isnan(rho) else f"ρ = {rho:.2f}"


def sanity(
    explanations: Mapping[str, Explanation], image: Picture, changed: Sequence[Change], track: Track = iter
) -> Iterator[tuple[str, dict[str, float | XaiError]]]:
    """Each method with the resemblance of its map to what is left after each change, or why there is nothing left."""
    for name, one in explanations.items():
        found = {}
        for change in changed:
            asked = {"target": change.target, "cut": one.cut or None, "precision": one.precision, "seed": one.seed}
            (_, result), *_ = attempt_methods(change.model, image, {name: one.options}, **asked, track=track)
            found[change.id] = result if isinstance(result, XaiError) else resemblance(one, result)
        yield name, found
