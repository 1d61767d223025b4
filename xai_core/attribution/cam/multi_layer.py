"""Maps made from several layers, or from several concepts at one: Refine-CAM, FullGrad, deep feature factorisation."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.attribution.cam import gradient_weighted
from xai_core.attribution.cam.options import Eigen, over_views, precise
from xai_core.attribution.method import Maps
from xai_core.core import runtime
from xai_core.core.autodiff.capture import BiasRecording
from xai_core.core.autodiff.gradients import value_and_gradients
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.explanation.question import Question

BASES = {
    "LayerCAM": gradient_weighted.layer_cam,
    "Grad-CAM": gradient_weighted.grad_cam,
    "Grad-CAM++": gradient_weighted.grad_cam_plusplus,
    "HiResCAM": gradient_weighted.hires_cam,
    "XGrad-CAM": gradient_weighted.xgrad_cam,
}
FUSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "product": lambda maps: maps.prod(0),
    "mean": lambda maps: maps.mean(0),
    "max": lambda maps: maps.amax(0),
}
TINY = 1e-30
FLAT = 1e-6  # a map whose range is smaller than this share of its values is the same everywhere


@over_views
def refine_cam(
    question: Question,
    images: Tensor,
    *,
    base: Annotated[str, Choice(tuple(BASES)), "the map that is made at each layer"] = "LayerCAM",
    layers: Annotated[int, Range(1, 6), "how many layers, from the last one backwards"] = 4,
    fuse: Annotated[str, Choice(tuple(FUSIONS)), "how the layers' maps are put together"] = "product",
    eigen: Eigen = False,
    track: Track = iter,
) -> Tensor:
    """Refine-CAM: the maps of several layers multiplied, so that coarse certainty and fine detail must agree.

    map = product (or mean, or maximum) over layers l of m_l / max m_l, at the picture's size (bilinear); m_l the base
    method's map at cut l. Layers: the last cut at each resolution, up to the model's own default cut; where there is one
    resolution only (transformers), the last cuts.
    Source: Domeniconi et al. 2026, arXiv:2605.14641. Sign: non-negative. Unit: none, within [0, 1].
    Deviation: maps are divided by their maximum, without taking their minimum off, which ReLU mostly makes 0; the library
    grad-cam scales to [0, 1], and scales the product again. Their base is Grad-CAM++; its quotient has poles at early layers
    where activations may be negative, so that LayerCAM, made for early layers, is the default here.

    Why: To see finer detail than the last grid, without the noise of early layers.
    Who: Analysts who look for the outline of what counted.
    What: The base method's maps at several cuts.
    How: A forward and a backward pass for each layer; a map at the picture's size.
    When: After training; where a coarse map leaves open which part it was.
    Where: Convolutional networks, whose stages differ in resolution.
    Beware: One layer whose map is zero at a place makes the product zero there, and a dead layer all of it.
    """
    fused = []
    for cut in track(_cuts(question, images)[-layers:]):
        maps = BASES[base](question.changed(cut=cut), images, eigen=eigen)
        largest = maps.amax((1, 2), keepdim=True)
        scaled = maps / torch.where(largest > 0, largest, 1.0)
        fused.append(F.interpolate(scaled[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0])
    return FUSIONS[fuse](torch.stack(fused))


def _cuts(question: Question, images: Tensor) -> list[str]:
    """The last cut at each resolution up to the default cut; all cuts up to it where there is one resolution only."""
    network = question.model.network
    cuts = network.cuts[: network.cuts.index(network.cut_name(None)) + 1]
    sizes: dict[str, tuple[int, ...]] = {}
    activations = images[:1]
    with torch.no_grad(), runtime.autocast(question.precision, question.model.device):
        activations = network.trunk(activations, cuts[0])
        for cut, stage in zip(cuts, network.stages, strict=False):
            activations = activations if cut == cuts[0] else stage.run(activations)
            try:
                sizes[cut] = tuple(network.grid(activations, cut).shape[2:])
            except BadRequest:  # no grid behind this stage
                continue
    last = {size: cut for cut, size in sizes.items()}
    return list(last.values()) if len(last) > 1 else list(sizes)


@over_views
def full_grad(question: Question, images: Tensor) -> Maps:
    """FullGrad: the input's and every bias's share in the score, from all layers at once.

    map = sum over RGB of R(|z dz|) + sum over layers l and their channels of R(|b_l dl|), at the picture's size
    (bilinear): z the normalised picture, dz and dl the target's gradients to it and to the layer's output, b_l the biases
    of convolutions and batch normalisations (b - mean w / sqrt(var + eps)), R(t) = (t - min t) / (max t - min t).
    Source: Srinivas & Fleuret 2019, arXiv:1905.00780. Sign: non-negative. Unit: none.
    Completeness: in a ReLU network, z dz and b_l dl (linear layers' too, which have no place) sum to the logit; the
    remainder is reported as `completeness gap`, a share of |f|.
    Deviation: R of a channel that is the same everywhere is 0 (grad-cam adds 1e-7 to the denominator instead, so that its
    map depends on the gradient's scale). Nothing is scaled over layers, as in the paper.

    Why: To leave nothing out: what the biases say is lost in input x gradient.
    Who: Researchers; analysts who want detail that is complete.
    What: Gradients to the picture and to the output of every layer with a bias.
    How: One forward and one backward pass; a fine map at the picture's size.
    When: After training; beside input x gradient.
    Where: Convolutional networks with ReLU and a logit. Elsewhere the completeness gap says how much is missing.
    Beware: Each channel is scaled on its own, so that many weak channels outshout a strong one; in a transformer only the
    patch embedding is seen.
    """
    normalise = question.model.network.normalise
    behind = question.changed(model=question.model.in_normalised_space())
    with torch.no_grad():
        inputs = normalise(images) if normalise else images
    values, maps, totals = behind.differentiate(behind, inputs, None, images, _full_gradient)
    question.tally.backward += len(images)
    gap = (totals - values).abs() / values.abs().clamp(min=1e-12)
    return Maps(maps, facts={"completeness gap": gap})


def _full_gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values, maps and the sum of all terms of a batch of normalised pictures."""
    layers = []

    def recorded(leaf: Tensor) -> tuple[Tensor, list[Tensor]]:
        with BiasRecording() as recording:
            values = function(leaf)
        layers.extend(recording.recorded())
        return values, [layer.output for layer in layers]

    values, gradient, inner = value_and_gradients(recorded, at)
    terms = at * gradient
    maps, totals = _scaled(terms).sum(1), terms.sum((1, 2, 3))
    for layer, gradient in zip(layers, inner, strict=True):
        terms = layer.times(gradient.float())
        totals = totals + terms.reshape(len(at), -1).sum(1)  # windows of one picture follow one another
        if terms.ndim == 4:
            scaled = _scaled(terms).sum(1, keepdim=True)
            maps = maps + F.interpolate(scaled, at.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return values, maps, totals


def _scaled(terms: Tensor) -> Tensor:
    """|terms| (n, C, h, w), each channel from 0 to 1; 0 everywhere for a channel that is the same everywhere."""
    size = terms.abs()
    low, high = size.amin((2, 3), keepdim=True), size.amax((2, 3), keepdim=True)
    flat = high - low <= FLAT * high
    return torch.where(flat, 0.0, (size - low) / torch.where(flat, 1.0, high - low))


class Concepts(NamedTuple):
    """A picture's concepts, the one that contributes most first: non-negative maps (n, k, h, w) in the activations' unit,
    directions (n, k, C) of length 1, by how much the target falls without each (n, k), and the share of the activations'
    sum of squares that all of them together account for (n,)."""

    maps: Tensor
    directions: Tensor
    scores: Tensor
    explained: Tensor


def concepts(question: Question, images: Tensor, components: int = 5, steps: int = 200, track: Track = iter) -> Concepts:
    """Each picture's activations at the cut as a sum of `components` concepts: non-negative maps times directions.

    A concept's score is f(A) - f(A - its part), by running the part behind the cut again.
    """
    activations = question.grid(question.trunk(images)).float()
    lifted = activations.flatten(2) - activations.flatten(2).amin(2, keepdim=True).clamp(max=0)
    directions, maps = _factorised(precise(lifted), components, steps)
    length = directions.norm(dim=1, keepdim=True)
    directions, maps = directions / length.clamp(min=TINY), maps * length.mT
    residual = (precise(lifted) - directions @ maps).square().sum((1, 2))
    explained = 1 - residual / precise(lifted).square().sum((1, 2)).clamp(min=TINY)
    parts = (directions.mT[..., None] * maps[:, :, None]).to(activations).unflatten(3, activations.shape[2:])

    def take_off(grid: Tensor, which: Tensor, way: Tensor) -> None:
        rows = way.nonzero()[:, 0]
        grid[rows] -= parts[which[rows], way[rows] - 1].to(grid.dtype)

    values = question.tail_sweep(images, take_off, components + 1, track)
    scores, order = (values[:, :1] - values[:, 1:]).sort(1, descending=True)
    rows = torch.arange(len(images), device=order.device)[:, None]
    ordered = maps.to(activations)[rows, order], directions.mT.to(activations)[rows, order]
    return Concepts(ordered[0].unflatten(2, activations.shape[2:]), ordered[1], scores, explained.to(activations))


def _factorised(values: Tensor, components: int, steps: int) -> tuple[Tensor, Tensor]:
    """W (n, C, k) and H (n, k, N), non-negative, with W H near values (n, C, N): Lee & Seung's updates.

    TINY stands for zero: it keeps quotients finite, and numbers out of the range in which processors are slow.
    """
    left, right = _start(values, components)
    for _ in range(steps):
        right = (right * (left.mT @ values) / (left.mT @ left @ right).clamp(min=TINY)).clamp(min=TINY)
        left = (left * (values @ right.mT) / (left @ (right @ right.mT)).clamp(min=TINY)).clamp(min=TINY)
    return left, right


def _start(values: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Where the updates start, without a draw: of each singular pair the side, positive or negative, that is stronger
    (Boutsidis & Gallopoulos 2008), and a hundredth of the mean in place of zeros, which the updates could not leave."""
    found = torch.linalg.svd(values, full_matrices=False)
    left, scale, right = (part[..., :components] for part in (found.U, found.S, found.Vh.mT))
    sides = [(left.relu(), right.relu()), ((-left).relu(), (-right).relu())]
    strengths = [a.norm(dim=1) * b.norm(dim=1) for a, b in sides]
    positive = (strengths[0] >= strengths[1])[:, None]
    chosen = [torch.where(positive, a, b) for a, b in zip(*sides, strict=True)]
    length = (scale * torch.maximum(*strengths)).sqrt()[:, None]
    floor = 0.01 * (values.mean((1, 2), keepdim=True) / components).sqrt()
    missing = (0, components - scale.shape[1])  # fewer channels or positions than concepts
    filled = [torch.maximum(F.pad(length * F.normalize(part, dim=1), missing), floor) for part in chosen]
    return filled[0], filled[1].mT


@over_views
def deep_feature_factorisation(
    question: Question,
    images: Tensor,
    *,
    components: Annotated[int, Range(2, 16), "concepts into which the activations are taken apart"] = 5,
    track: Track = iter,
) -> Maps:
    """Deep feature factorisation: the concept in the picture that contributes most to the target.

    Activations (channels, positions) = W H with W, H >= 0, least squares; map = the row of H whose part contributes most,
    its column of W scaled to length 1. A part contributes f(A) - f(A - part), reported as `concept's contribution`; the
    share of the activations' sum of squares that W H accounts for is `share explained`.
    Source: Collins et al. 2018, arXiv:1806.10206. Sign: non-negative. Unit: that of the activations.
    Deviation: each picture on its own, where the paper factorises a set together; 200 multiplicative updates from the
    singular vectors; negative channels are lifted to zero; the paper does not choose a concept. `concepts` returns all.

    Why: To see the parts a network takes a picture apart into, and which of them counted.
    Who: Analysts who ask for concepts rather than pixels.
    What: Activations at the cut, and the target's value without each part.
    How: One forward pass, a factorisation, the part behind the cut for each concept; a coarse grid.
    When: After training; where a single map is a mixture.
    Where: Any network with feature maps; late stages.
    Beware: The factorisation depends on the number of concepts and on its start; concepts have no names.
    """
    found = concepts(question, images, components, track=track)
    facts = {"concept's contribution": found.scores[:, 0], "share explained": found.explained}
    return Maps(found.maps[:, 0], facts=facts)
