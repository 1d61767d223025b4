"""How much a map changes where the picture hardly does. A map that never changes is perfectly robust, and may be untrue."""

from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.options import Range
from xai_core.metrics.metric import Candidate, Case, Cost, Score
from xai_core.metrics.stability.map_similarity import NOTHING, alike

Samples = Annotated[int, Range(2, 200), "pictures near the picture"]
Radius = Annotated[float, Range(0.005, 0.5, 0.005), "largest change of a value, of a range of 1"]
UNSTABLE = "A map near the picture holds values that are not numbers, or every picture near it is of another class."
EMPTY = "The map is zero everywhere: its change has no scale."
_NEIGHBOURS = 1_000_000  # first number of the draws


class Neighbours(NamedTuple):
    """Pictures near the picture (n, 3, H, W), the maps (n, h, w) that the same method makes of them, and its passes; `key`
    names the pictures."""

    key: tuple
    images: Tensor
    maps: NDArray[np.float32]
    passes: float


def near(case: Case, samples: int, radius: float) -> Tensor:
    """Pictures (n, 3, H, W) near the picture: uniform noise in [-radius, radius] on every value, kept within [0, 1]."""

    def compute() -> Tensor:
        draws = [runtime.uniform_draw(case.seed, _NEIGHBOURS + row, tuple(case.image.shape[1:])) for row in range(samples)]
        noise = (2 * torch.stack(draws) - 1) * radius
        return (case.image + noise.to(case.image)).clamp(0, 1)

    return case.remembered(("near", samples, radius), compute)


def neighbours(case: Case, candidate: Candidate, samples: int, radius: float) -> Neighbours:
    """Made once for all metrics that look at the same neighbours of the same map."""

    def compute() -> Neighbours:
        images = near(case, samples, radius)
        return Neighbours((samples, radius), images, *case.remake(candidate.again, images))

    return case.remembered(("neighbours", candidate.name, samples, radius), compute)


def max_sensitivity(case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02) -> Score:
    """The largest relative change of the map among pictures near the picture.

    value = max over x' of |m(x') - m(x)| / |m(x)|, Euclidean norms of raw maps, x' = x + uniform noise in [-radius, radius],
    kept within [0, 1]; the target stays that of x, and so does the method's own seed.
    """
    return _over(case, candidate, samples, radius, lambda changes, near: changes.max())


def average_sensitivity(case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02) -> Score:
    """The mean relative change of the map among pictures near the picture.

    value = mean over x' of |m(x') - m(x)| / |m(x)|, with the pictures x' of the max-sensitivity.
    """
    return _over(case, candidate, samples, radius, lambda changes, near: changes.mean())


def local_lipschitz(case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02) -> Score:
    """The steepest change of the map near the picture.

    value = max over x' of |m(x') - m(x)| / |x' - x|, Euclidean norms, x' as for the max-sensitivity. In the map's unit: maps
    of one method compare, those of two methods do not. (The paper maximises over the neighbourhood; this looks at samples.)
    """

    def steepest(changes: NDArray, near: Neighbours) -> float:
        return (changes * np.linalg.norm(candidate.raw) / _lengths(near.images - case.image)).max()

    return _over(case, candidate, samples, radius, steepest)


def relative_input_stability(case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02) -> Score:
    """The largest relative change of the map for a relative change of the picture.

    value = max over x' of (|m(x') - m(x)| / |m(x)|) / (|x' - x| / |x|), over those x' with the same most probable class.
    Deviation: the paper divides value by value, which a map's zeros make arbitrary; here norms are divided.
    """

    def steepest(changes: NDArray, near: Neighbours) -> float:
        return _largest(changes / (_lengths(near.images - case.image) / _lengths(case.image)), _same_class(case, near))

    return _over(case, candidate, samples, radius, steepest, asked=samples + 1)


def relative_output_stability(case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02) -> Score:
    """The largest relative change of the map for a relative change of the network's output.

    value = max over x' of (|m(x') - m(x)| / |m(x)|) / (|h(x') - h(x)| / |h(x)|), h the logits (without a classifier the
    embedding), over those x' with the same most probable class. Norms are divided, as for the relative input stability.
    """

    def steepest(changes: NDArray, near: Neighbours) -> float:
        outputs = _outputs(case, near)
        moved = np.linalg.norm(outputs[1:] - outputs[0], axis=1) / max(np.linalg.norm(outputs[0]), 1e-12)
        return _largest(changes / np.maximum(moved, 1e-12), _same_class(case, near))

    return _over(case, candidate, samples, radius, steepest, asked=samples + 1)


def flip_consistency(case: Case, candidate: Candidate) -> Score:
    """How alike the maps of the picture and of its mirror image are.

    value = rank correlation on 28 x 28 cells of m(x) and of m(mirrored x), mirrored back; in [-1, 1].
    """
    maps, passes = case.remake(candidate.again, case.image.flip(3))
    value = alike(case, candidate, maps[0][:, ::-1].copy())
    return Score(value, note=NOTHING if np.isnan(value) else "", passes=passes)


def _over(case: Case, candidate: Candidate, samples: int, radius: float, reduce, asked: int = 0) -> Score:
    length = np.linalg.norm(candidate.raw.astype(float))
    if not length > 0:
        return Score(float("nan"), note=EMPTY)
    near = neighbours(case, candidate, samples, radius)
    value = float(reduce(_lengths(near.maps - candidate.raw) / length, near))
    return Score(value, note=UNSTABLE if np.isnan(value) else "", passes=near.passes + asked)


def _lengths(arrays: NDArray | Tensor) -> NDArray[np.float64]:
    """The Euclidean norm of each of n arrays."""
    on_cpu = arrays.cpu().numpy() if isinstance(arrays, Tensor) else arrays
    return np.linalg.norm(on_cpu.reshape(len(on_cpu), -1).astype(np.float64), axis=1)


def _outputs(case: Case, near: Neighbours) -> NDArray[np.float64]:
    """Logits, or embeddings without a classifier, (1 + n, K): of the picture, then of those near it; for all maps."""

    def compute():
        batches = [case.model.outputs(images) for images in (case.image, *near.images.split(16))]
        read = "logits" if case.model.has_classifier else "embedding"
        return np.concatenate([getattr(one, read).cpu().double().numpy() for one in batches])

    return case.remembered(("outputs", *near.key), compute)


def _same_class(case: Case, near: Neighbours) -> NDArray[np.bool_]:
    if not case.model.has_classifier:
        return np.ones(len(near.images), dtype=bool)
    classes = _outputs(case, near).argmax(1)
    return classes[1:] == classes[0]


def _largest(values: NDArray, which: NDArray[np.bool_]) -> float:
    return values[which].max() if which.any() else float("nan")


def near_cost(options) -> Cost:
    return Cost(maps=options["samples"])


def near_and_output_cost(options) -> Cost:
    return Cost(maps=options["samples"], shared=options["samples"] + 1)


def flip_cost(options) -> Cost:
    return Cost(maps=1)
