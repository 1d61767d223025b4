"""How much a map changes when the picture hardly does. A map that never changes is perfectly robust, and may be wrong."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.options import Range
from xai_core.metrics.metric import Candidate, Case, MetricResult, OptionValues, PassCost
from xai_core.metrics.stability.map_similarity import NO_COMPARISON, map_similarity
from xai_core.models.outputs import top_classes

Samples = Annotated[int, Range(2, 200), "number of noisy copies of the picture"]
Radius = Annotated[float, Range(0.005, 0.5, 0.005), "largest change of a pixel value; pixel values lie between 0 and 1"]
UNSTABLE = "The map of a noisy copy holds values that are not numbers, or every noisy copy is of another class."
EMPTY = "The map is zero everywhere: its change has no scale."
_NOISE = 1_000_000  # first number of the draws


class Neighbours(NamedTuple):
    """Noisy copies of the picture (n, 3, H, W), the maps (n, h, w) that the same method gives them, and the passes spent;
    `key` identifies the copies."""

    key: tuple[int, float]
    images: Tensor
    maps: NDArray[np.float32]
    passes: float


def noisy_copies(case: Case, samples: int, radius: float) -> Tensor:
    """The picture with uniform noise in [-radius, radius] on every value, clipped to [0, 1]: (samples, 3, H, W)."""

    def compute() -> Tensor:
        draws = [runtime.uniform_draw(case.seed, _NOISE + row, tuple(case.image.shape[1:])) for row in range(samples)]
        noise = (2 * torch.stack(draws) - 1) * radius
        return (case.image + noise.to(case.image)).clamp(0, 1)

    return case.cached(("near", samples, radius), compute)


def neighbours(case: Case, candidate: Candidate, samples: int, radius: float) -> Neighbours:
    """The noisy copies with their maps, computed once for all metrics that use the same copies of the same map."""

    def compute() -> Neighbours:
        images = noisy_copies(case, samples, radius)
        return Neighbours((samples, radius), images, *case.recompute(candidate, images))

    return case.cached(("neighbours", candidate.name, samples, radius), compute)


def max_sensitivity(case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02) -> MetricResult:
    """The largest relative change of the map among noisy copies of the picture.

    value = max over x' of |m(x') - m(x)| / |m(x)|, Euclidean norms of raw maps, x' = x + uniform noise in [-radius, radius],
    clipped to [0, 1]; the target stays that of x, and so does the method's own seed. At least 0.
    """
    return _over_neighbours(case, candidate, samples, radius, lambda changes, near: float(changes.max()))


def average_sensitivity(case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02) -> MetricResult:
    """The mean relative change of the map among noisy copies of the picture.

    value = mean over x' of |m(x') - m(x)| / |m(x)|, with the pictures x' of the max-sensitivity. At least 0.
    """
    return _over_neighbours(case, candidate, samples, radius, lambda changes, near: float(changes.mean()))


def local_lipschitz(case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02) -> MetricResult:
    """The largest change of the map for each unit of change of the picture.

    value = max over x' of |m(x') - m(x)| / |x' - x|, Euclidean norms, x' as for the max-sensitivity. At least 0, in the
    map's unit: values of one method can be compared, those of two methods cannot. (The paper maximises over the
    neighbourhood; this takes the maximum over samples.)
    """

    def steepest(changes: NDArray[np.float64], near: Neighbours) -> float:
        return float((changes * np.linalg.norm(candidate.raw) / _norms(near.images - case.image)).max())

    return _over_neighbours(case, candidate, samples, radius, steepest)


def relative_input_stability(
    case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02
) -> MetricResult:
    """The largest relative change of the map for a relative change of the picture.

    value = max over x' of (|m(x') - m(x)| / |m(x)|) / (|x' - x| / |x|), over those x' with the same most probable class; x'
    as for the max-sensitivity. At least 0.
    Deviation: the paper divides value by value, which becomes arbitrary where a map is 0; here norms are divided.
    """

    def steepest(changes: NDArray[np.float64], near: Neighbours) -> float:
        ratios = changes / (_norms(near.images - case.image) / _norms(case.image))
        return _largest(ratios, _same_class(case, near))

    return _over_neighbours(case, candidate, samples, radius, steepest, forward_passes=samples + 1)


def relative_output_stability(
    case: Case, candidate: Candidate, *, samples: Samples = 10, radius: Radius = 0.02
) -> MetricResult:
    """The largest relative change of the map for a relative change of the network's output.

    value = max over x' of (|m(x') - m(x)| / |m(x)|) / (|h(x') - h(x)| / |h(x)|), h the logits (without a classifier the
    embedding), over those x' with the same most probable class. At least 0. Norms are divided, as in relative input
    stability.
    """

    def steepest(changes: NDArray[np.float64], near: Neighbours) -> float:
        outputs = _outputs(case, near)
        output_changes = np.linalg.norm(outputs[1:] - outputs[0], axis=1) / max(float(np.linalg.norm(outputs[0])), 1e-12)
        return _largest(changes / np.maximum(output_changes, 1e-12), _same_class(case, near))

    return _over_neighbours(case, candidate, samples, radius, steepest, forward_passes=samples + 1)


def flip_consistency(case: Case, candidate: Candidate) -> MetricResult:
    """How similar the maps of the picture and of its mirror image are.

    value = rank correlation on 28 x 28 cells of m(x) and of m(mirrored x), mirrored back; in [-1, 1].
    """
    maps, passes = case.recompute(candidate, case.image.flip(3))
    value = map_similarity(case, candidate, maps[0][:, ::-1].copy())
    return MetricResult(value, note=NO_COMPARISON if np.isnan(value) else "", passes=passes)


def _over_neighbours(
    case: Case,
    candidate: Candidate,
    samples: int,
    radius: float,
    reduce: Callable[[NDArray[np.float64], Neighbours], float],
    forward_passes: int = 0,
) -> MetricResult:
    """`reduce` of the relative changes (n,) of the map and the noisy copies that caused them."""
    length = np.linalg.norm(candidate.raw.astype(float))
    if not length > 0:
        return MetricResult(float("nan"), note=EMPTY)
    near = neighbours(case, candidate, samples, radius)
    value = reduce(_norms(near.maps - candidate.raw) / length, near)
    return MetricResult(value, note=UNSTABLE if np.isnan(value) else "", passes=near.passes + forward_passes)


def _norms(arrays: NDArray[np.floating] | Tensor) -> NDArray[np.float64]:
    """The Euclidean norm (n,) of each of n arrays."""
    on_cpu = arrays.cpu().numpy() if isinstance(arrays, Tensor) else arrays
    norms: NDArray[np.float64] = np.linalg.norm(on_cpu.reshape(len(on_cpu), -1).astype(np.float64), axis=1)
    return norms


def _outputs(case: Case, near: Neighbours) -> NDArray[np.float64]:
    """Logits, or embeddings without a classifier, (1 + n, K): of the picture, then of its noisy copies; for all maps."""

    def compute() -> NDArray[np.float64]:
        batches = [case.model.outputs(images) for images in (case.image, *torch.split(near.images, 16))]
        values = [batch.logits if case.model.has_classifier else batch.embedding for batch in batches]
        return np.concatenate([tensor.cpu().double().numpy() for tensor in values])

    return case.cached(("outputs", *near.key), compute)


def _same_class(case: Case, near: Neighbours) -> NDArray[np.bool_]:
    """Which noisy copies (n,) have the same most probable class as the picture."""
    if not case.model.has_classifier:
        return np.ones(len(near.images), dtype=bool)
    classes = top_classes(torch.from_numpy(_outputs(case, near)))[:, 0].numpy()
    same: NDArray[np.bool_] = classes[1:] == classes[0]
    return same


def _largest(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    return float(values[chosen].max()) if chosen.any() else float("nan")


def neighbours_cost(options: OptionValues) -> PassCost:
    return PassCost(maps=options["samples"])


def neighbours_and_outputs_cost(options: OptionValues) -> PassCost:
    return PassCost(maps=options["samples"], shared=options["samples"] + 1)


def flip_cost(options: OptionValues) -> PassCost:
    return PassCost(maps=1)
