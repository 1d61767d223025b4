"""Pictures optimised for a network: feature visualisation (what activates it) and inversion (what a stage of it retains).

Each function is a generator that yields a snapshot after every step, so that the caller can show the progress, and stop.
Pictures are RGB in [0, 1]; only they are changed, never the network.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.autodiff.gradients import value_and_gradient
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.data.preprocessing import blurred, stack
from xai_core.explanation.similarity import COSINE
from xai_core.explanation.targets import ClassLogit, Target
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.zoo.catalog import CARDS

Objective = Callable[[Tensor], Tensor]  # pictures (n, 3, H, W) -> values (n,)
Direction = Tensor | NDArray[np.floating] | Sequence[float]  # (E,), as long as the embedding

REGULARISATIONS = ("blur", "l2", "squared l2", "total variation", "none")
# The class-model picture: Simonyan et al. 2013, arXiv:1312.6034, section 2, which states no weight, rate or number of steps.
CLASS_MODEL: dict[str, Any] = {"octaves": 1, "iterations": 100, "step": 0.01, "regularisation": "squared l2", "weight": 0.01}
SMALLEST = 32  # pixels of an octave's shorter side: below that, five halvings leave nothing
ALPHA = 6  # of the norm that keeps colours from running to their limits


class Snapshot(NamedTuple):
    """Step `number` of `total`: the picture (3, H, W) so far, and the value of the objective."""

    number: int
    total: int
    picture: Tensor
    value: float


def visualise_features(
    model: ExplainableModel,
    *,
    target: Target | int | str | None = None,
    reference: Picture | None = None,
    channel: int | None = None,
    direction: Direction | None = None,
    depth: str | None = None,
    start: Picture | None = None,
    octaves: int = 10,
    scale: float = 1.4,
    iterations: int = 20,
    step: float = 0.01,
    regularisation: str | None = None,
    weight: float = 1e-3,
    seed: int = 0,
) -> Iterator[Snapshot]:
    """Feature visualisation: gradient ascent from a small picture to a large one, octave by octave.

    target, reference, channel, direction
                    what is climbed, see `objective`; none of them: the norm of the activations behind `depth`
    depth           one of `model.cuts`, for a channel or the norm; None is what the model's card says for it, else the
                    model's default
    start           a picture to begin with; None is `grey_picture` of the seed
    octaves, scale  sizes side / scale^k for k = octaves - 1 ... 0, none below 32 pixels; what an octave added is stretched
                    and goes on in the next
    iterations      steps in each octave, x + step * g / mean |g|, clipped to [0, 1]
    regularisation  "blur" smooths g by a Gaussian of one pixel; "l2" climbs f - weight |x - 1/2|; "squared l2" climbs
                    f - weight |x - mean|^2, the mean colour that of `mean_picture`; "total variation" climbs
                    f - weight sum |slope of x| / sqrt(number of values); "none". None is the card's, else "blur"

    The value of a snapshot is that of f minus the penalty, before its step.
    Source: Sammani et al. 2022, arXiv:2206.09753, after DeepDream (Mordvintsev et al. 2015). Raises BadRequest.
    """
    usual = usual_settings(model)
    regularisation = regularisation or usual.get("regularisation", "blur")
    if regularisation not in REGULARISATIONS:
        raise UnknownName("regularisation", regularisation, REGULARISATIONS)
    if not (octaves >= 1 and scale > 1 and iterations >= 1 and step > 0 and weight >= 0):
        raise BadRequest("Octaves and iterations are at least 1, the scale is more than 1, step and weight are positive.")
    climbed = objective(model, target=target, reference=reference, channel=channel, direction=direction, depth=depth)
    first = stack([model.prepare(grey_picture(model, seed) if start is None else start)], model.device)
    return _ascent(model, climbed, first, octaves, scale, iterations, step, regularisation, weight)


def class_model(
    model: ExplainableModel, target: Target | int | str, *, weight: float = 0.01, iterations: int = 100
) -> Iterator[Snapshot]:
    """The class-model picture of Simonyan et al. 2013 (arXiv:1312.6034, section 2): from the picture of the mean colour, the
    logit of a class minus weight |x - mean|^2 is climbed, x in [0, 1].

    The settings are CLASS_MODEL. The paper states no weight, rate or number of steps, and lets values leave the range of
    colours; here steps have one mean length, and values stay in [0, 1]. Raises BadRequest, NoClassifier.
    """
    settings = CLASS_MODEL | {"weight": weight, "iterations": iterations}
    return visualise_features(model, target=target, start=mean_picture(model), **settings)


def mean_picture(model: ExplainableModel) -> Tensor:
    """(3, H, W): the picture of one colour that the model's normalisation maps to zero; black where it has none."""
    side = model.network.input_size or (model.recipe.input_size,) * 2
    return _mean_colour(model).expand(3, *side).contiguous()


def _mean_colour(model: ExplainableModel) -> Tensor:
    mean = model.recipe.mean if model.network.normalise else None
    return torch.tensor(mean or (0.0,) * 3).view(3, 1, 1)


def objective(
    model: ExplainableModel,
    *,
    target: Target | int | str | None = None,
    reference: Picture | None = None,
    channel: int | None = None,
    direction: Direction | None = None,
    depth: str | None = None,
) -> Objective:
    """What is climbed, as a function of pictures (n, 3, H, W) with values (n,); at most one of the first four is given.

    target     a class by index, name or WordNet id: its logit, before the softmax, unbounded. Or any Target
    reference  a picture: the cosine of the two embeddings, in [-1, 1]
    channel    the mean over all places of this channel of the activations behind `depth`: a "channel" objective of Olah
               et al. 2017 (doi:10.23915/distill.00007)
    direction  (E,): the embedding's dot product with this vector, divided by its length
    none       the norm of the activations behind `depth`

    Raises BadRequest, UnknownName, NoClassifier.
    """
    given = [
        name
        for name, value in (("target", target), ("reference", reference), ("channel", channel), ("direction", direction))
        if value is not None
    ]
    if len(given) > 1:
        raise BadRequest(f"One thing can be climbed at a time, not {' and '.join(given)}.")
    if target is not None:
        return _target(model, target)
    if reference is not None:
        return _similarity(model, reference)
    if direction is not None:
        return _direction(model, direction)
    cut = model.network.cut_name(depth or usual_settings(model).get("depth"))
    return _norm(model, cut) if channel is None else _channel(model, cut, channel)


def channels(model: ExplainableModel, depth: str | None = None) -> int:
    """How many channels the activations behind a cut have."""
    cut = model.network.cut_name(depth)
    with torch.no_grad(), runtime.autocast("exact", model.device):
        trunk = model.network.trunk(mean_picture(model)[None].to(model.device), cut)
        return int(model.network.grid(trunk, cut).shape[1])


def usual_settings(model: ExplainableModel) -> Mapping[str, Any]:
    """The depth and the regularisation that a model's card says the study used for it; empty for other models.

    The readme of the study's code sets `up_until = 4` and `reg_l2 = True` for SimCLRv2, and `up_until = 5`, `reg_l2 = False`
    for the others. Its parts are counted from the input: SimCLRv2's stem is one of them, so the fourth is the third stage
    (layer3); the stem of the others is four, so the fifth is the first stage (layer1). The code also blurs gradients and
    penalises total variation for every network; here one regularisation is used at a time, so the others have "blur".
    """
    return CARDS[model.id].pairs.get("feature_visualisation", {}) if model.id in CARDS else {}


def _target(model: ExplainableModel, target: Target | int | str) -> Objective:
    asked = ClassLogit((model.class_index(target),)) if isinstance(target, int | str) else target
    return lambda pictures: asked(model.network.outputs(_fitting(model, pictures)))


def _similarity(model: ExplainableModel, reference: Picture) -> Objective:
    embedding = model.embed(reference)
    return lambda pictures: COSINE(model.network.outputs(_fitting(model, pictures)).embedding, embedding)


def _direction(model: ExplainableModel, direction: Direction) -> Objective:
    vector = torch.as_tensor(direction).detach().to(model.device, torch.float32)
    length = model.embed(mean_picture(model)).shape[1]
    if vector.shape != (length,) or not vector.isfinite().all() or not vector.any():
        raise BadRequest(
            f"A direction is a vector of {length} numbers, as long as the embedding, and not zero; this one is "
            f"{tuple(vector.shape)}."
        )
    unit = vector / vector.norm()
    return lambda pictures: model.network.outputs(_fitting(model, pictures)).embedding @ unit


def _channel(model: ExplainableModel, cut: str, channel: int) -> Objective:
    count = channels(model, cut)
    if not 0 <= channel < count:
        raise BadRequest(f"There is no channel {channel} at {cut}; its channels are 0 to {count - 1}.")

    def mean(pictures: Tensor) -> Tensor:
        activations = model.network.trunk(_fitting(model, pictures), cut)
        return model.network.grid(activations, cut)[:, channel].float().mean((1, 2))

    return mean


def _norm(model: ExplainableModel, cut: str) -> Objective:
    return lambda pictures: model.network.trunk(_fitting(model, pictures), cut).float().flatten(1).norm(dim=1)


def values(model: ExplainableModel, climbed: Objective, pictures: Tensor) -> list[float]:
    """What an objective is worth on pictures (n, 3, H, W), without any penalty."""
    with torch.no_grad(), runtime.autocast("exact", model.device):
        return [float(value) for value in climbed(pictures.to(model.device))]


def _fitting(model: ExplainableModel, pictures: Tensor) -> Tensor:
    """Pictures of the size that the network takes, if it takes one only."""
    size = model.network.input_size
    fits = size is None or tuple(pictures.shape[2:]) == tuple(size)
    return pictures if fits else F.interpolate(pictures, size, mode="bilinear", align_corners=False)


def grey_picture(model: ExplainableModel, seed: int = 0) -> Tensor:
    """(3, H, W): grey with a little noise of the seed, what a visualisation begins with where nothing else is given."""
    side = model.network.input_size or (model.recipe.input_size,) * 2
    noise = runtime.normal_draw(seed, 0, (1, 3, *side))[0]
    return (0.5 + 0.02 * noise).clamp(0, 1)


def _sizes(size: tuple[int, int], octaves: int, scale: float) -> list[tuple[int, int]]:
    """Sizes (height, width) of the octaves, the picture's own last; those below SMALLEST are left out."""
    height, width = size
    sizes = [(max(1, round(height / scale**k)), max(1, round(width / scale**k))) for k in range(octaves)]
    return [octave for octave in sizes if min(octave) >= min(SMALLEST, *size)][::-1]


def _ascent(
    model: ExplainableModel,
    climbed: Objective,
    first: Tensor,
    octaves: int,
    scale: float,
    iterations: int,
    step: float,
    regularisation: str,
    weight: float,
) -> Iterator[Snapshot]:
    height, width = first.shape[2:]
    sizes = _sizes((height, width), octaves, scale)
    total = len(sizes) * iterations
    added: Tensor | None = None  # what the octaves before have changed

    mean = _mean_colour(model).to(first)

    def function(pictures: Tensor) -> Tensor:
        return climbed(pictures) - weight * _PENALTIES[regularisation](pictures, mean)

    for number, size in enumerate(sizes):
        base = F.interpolate(first, size, mode="bilinear", antialias=True, align_corners=False)
        if added is not None:
            added = F.interpolate(added, size, mode="bilinear", align_corners=False)
        picture = base if added is None else (base + added).clamp(0, 1)
        for iteration in range(iterations):
            with runtime.autocast("exact", model.device):
                value, gradient = value_and_gradient(function, picture)
            gradient = blurred(gradient, 1.0) if regularisation == "blur" else gradient
            picture = (picture + step * gradient / gradient.abs().mean().clamp(min=1e-30)).clamp(0, 1)
            yield Snapshot(number * iterations + iteration + 1, total, picture[0].cpu(), float(value))
        added = picture - base


def total_variation(pictures: Tensor) -> Tensor:
    """Total variation of pictures (n, 3, H, W): the sum over pixels and channels of the gradient's length, (n,)."""
    down = F.pad(pictures.diff(dim=2), (0, 0, 0, 1))
    across = F.pad(pictures.diff(dim=3), (0, 1))
    lengths: Tensor = (down**2 + across**2 + 1e-8).sqrt()
    return lengths.flatten(1).sum(1)


# Of pictures (n, 3, H, W), beside the model's mean colour (3, 1, 1).
_PENALTIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "blur": lambda pictures, mean: pictures.new_zeros(len(pictures)),
    "none": lambda pictures, mean: pictures.new_zeros(len(pictures)),
    "l2": lambda pictures, mean: (pictures - 0.5).flatten(1).norm(dim=1),
    "squared l2": lambda pictures, mean: ((pictures - mean) ** 2).flatten(1).sum(1),
    "total variation": lambda pictures, mean: total_variation(pictures) / math.sqrt(pictures[0].numel()),
}


def invert(
    model: ExplainableModel,
    picture: Picture,
    depth: str | None = None,
    *,
    steps: int = 201,
    rate: float = 0.02,
    momentum: float = 0.9,
    alpha: float = 1e-2,
    variation: float = 5e-2,
    seed: int = 0,
) -> Iterator[Snapshot]:
    """Inversion: a picture, optimised from noise, whose activations after a stage equal those of the given `picture`.

    loss = |A(x) - A(x0)|^2 / |A(x0)|^2 + alpha mean |2 x - 1|^6 + variation * total variation / number of values

    Descended by `steps` of gradient descent with momentum, on gradients divided by their mean magnitude, so that one rate
    (in units of pixels, halved every 50 steps) serves every depth and network. The value of a snapshot is the first term: 0
    is a perfect reconstruction, 1 what a picture without activations would have.
    Source: Mahendran & Vedaldi 2015, arXiv:1412.0035; of self-supervised networks: Sammani et al. 2022, arXiv:2206.09753.
    """
    if steps < 1 or not (rate > 0 and 0 <= momentum < 1 and alpha >= 0 and variation >= 0):
        raise BadRequest("Steps are at least 1, the rate is positive, the momentum in [0, 1), the weights not negative.")
    cut = model.network.cut_name(depth)
    original = stack([model.prepare(picture)], model.device)
    with torch.no_grad(), runtime.autocast("exact", model.device):
        activations = model.network.trunk(original, cut).float()
    noise = runtime.normal_draw(seed, 0, tuple(original.shape)).to(original)
    return _descent(model, cut, activations, (0.5 + 0.05 * noise).clamp(0, 1), steps, rate, momentum, alpha, variation)


def _descent(
    model: ExplainableModel,
    cut: str,
    activations: Tensor,
    picture: Tensor,
    steps: int,
    rate: float,
    momentum: float,
    alpha: float,
    variation: float,
) -> Iterator[Snapshot]:
    speed, size = torch.zeros_like(picture), (activations**2).sum().clamp(min=1e-30)
    distances: list[float] = []

    def loss(pictures: Tensor) -> Tensor:
        distance: Tensor = ((model.network.trunk(pictures, cut).float() - activations) ** 2).flatten(1).sum(1) / size
        distances.append(float(distance.detach()))
        colours = (2 * pictures - 1).abs().pow(ALPHA).flatten(1).mean(1)
        return distance + alpha * colours + variation * total_variation(pictures) / pictures[0].numel()

    for number in range(steps):
        with runtime.autocast("exact", model.device):
            _, gradient = value_and_gradient(loss, picture)
        speed = momentum * speed + gradient / gradient.abs().mean().clamp(min=1e-30)
        picture = (picture - rate * 0.5 ** (number // 50) * (1 - momentum) * speed).clamp(0, 1)
        yield Snapshot(number + 1, steps, picture[0].cpu(), distances[-1])


def common_depths(models: list[ExplainableModel], count: int = 3) -> list[tuple[str, ...]]:
    """For `count` depths, from early to late, the cut of each network: of the same name where all have enough of them, else
    at the same relative depth between picture and output."""
    shared = [cut for cut in models[0].cuts if all(cut in model.cuts for model in models)]
    if len(shared) >= count:
        names = [shared[round(place * (len(shared) - 1) / max(1, count - 1))] for place in range(count)]
        return [(cut,) * len(models) for cut in dict.fromkeys(names)]

    def at(model: ExplainableModel, place: int) -> str:
        return model.cuts[round((place + 1) / count * (len(model.cuts) - 1))]

    return list(dict.fromkeys(tuple(at(model, place) for model in models) for place in range(count)))
