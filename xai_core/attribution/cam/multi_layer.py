"""Maps made from several layers of a network: Refine-CAM and FullGrad."""

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.attribution.added_options import by_derivative
from xai_core.attribution.cam import gradient_weighted
from xai_core.attribution.cam.options import Eigen, over_views
from xai_core.attribution.method import Maps, heatmap_of
from xai_core.core import runtime
from xai_core.core.autodiff.capture import Biased, BiasRecording
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
FLAT = 1e-6  # a map whose range is smaller than this share of its values counts as constant


@over_views
def refine_cam(
    question: Question,
    images: Tensor,
    *,
    base: Annotated[str, Choice(tuple(BASES)), "the method that makes the map of each layer"] = "LayerCAM",
    layers: Annotated[int, Range(1, 6), "number of layers, counted from the last one"] = 4,
    fuse: Annotated[str, Choice(tuple(FUSIONS)), "how the layers' maps are combined"] = "product",
    eigen: Eigen = False,
    track: Track = iter,
) -> Tensor:
    """Refine-CAM: the maps of several layers, multiplied: coarse and fine layers must agree.

    map = product (or mean, or maximum) over layers l of m_l / max m_l, at the picture's size (bilinear); m_l the base
    method's map at cut l. Layers: the last cut at each resolution, up to the model's own default cut; where there is one
    resolution only (transformers), the last cuts.
    Source: Domeniconi et al. 2026, arXiv:2605.14641. Sign: non-negative. Unit: none, within [0, 1].
    Deviation: maps are divided by their maximum, without taking their minimum off, which ReLU mostly makes 0; the library
    grad-cam scales to [0, 1], and scales the product again. Their base is Grad-CAM++; its quotient has poles at early layers
    where activations may be negative, so that LayerCAM, made for early layers, is the default here.

    Why: To see finer detail than the last grid, without the noise of early layers.
    Who: Analysts who look for the outline of the important part.
    What: The base method's maps at several cuts.
    How: A forward and a backward pass for each layer; a map at the picture's size.
    When: After training; when a coarse map does not show which part was important.
    Where: Convolutional networks, whose stages differ in resolution.
    Beware: The maps are multiplied: if one layer's map is zero at a place, the result is zero there.
    """
    fused = []
    for cut in track(_cuts(question, images)[-layers:]):
        maps = heatmap_of(BASES[base](question.changed(cut=cut), images, eigen=eigen))
        largest = maps.amax((1, 2), keepdim=True)
        scaled = maps / torch.where(largest > 0, largest, 1.0)
        fused.append(F.interpolate(scaled[:, None], list(images.shape[2:]), mode="bilinear", align_corners=False)[:, 0])
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


@by_derivative
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

    Why: To include the contribution of the biases, which input x gradient omits.
    Who: Researchers; analysts who want detail that is complete.
    What: Gradients to the picture and to the output of every layer with a bias.
    How: One forward and one backward pass; a fine map at the picture's size.
    When: After training; beside input x gradient.
    Where: Convolutional networks with ReLU and a logit. Elsewhere the completeness gap says how much is missing.
    Beware: Each channel is scaled on its own, so that many weak channels outweigh a strong one; in a transformer only the
    patch embedding is covered.
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
    layers: list[Biased] = []

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
