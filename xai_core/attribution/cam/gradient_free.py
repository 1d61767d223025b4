"""Class activation maps without gradients: each channel is weighted by an experiment with it (Score-CAM, Ablation-CAM).

Each function returns its weighted channels (n, C, h, w), and the map is their sum on the native grid.
"""

import copy
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core.attribution.cam.options import precise, weighted_sum
from xai_core.core import runtime
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question, unravel
from xai_core.models.outputs import Outputs

FLAT = 1e-6  # a channel whose range is smaller than this share of its values counts as constant
ROWS_OF_FEATURES = 256  # ablated feature vectors that go through the heads at once


@weighted_sum
def score_cam(
    question: Question,
    images: Tensor,
    *,
    channels: Annotated[
        int, Range(16, 4096, 16), "largest number of channels to try: those that vary most over the picture"
    ] = 4096,
    fill: Annotated[str, Choice(BASELINES), "what replaces the masked parts"] = "black",
    track: Track = iter,
) -> Tensor:
    """Score-CAM: channels weighted by the target's value for the picture masked by each channel.

    map = ReLU(sum_k w_k A_k), w = softmax over channels of f(fill + M_k (x - fill)), M_k the channel at the picture's
    size (bilinear), then scaled to [0, 1]; zero for a channel that is the same everywhere.
    Source: Wang et al. 2020, arXiv:1910.01279. Sign: non-negative. Unit: that of the activations (weights sum to 1).
    Deviation: the paper subtracts f of a baseline, which its softmax cancels. Masks are laid over cell centres
    (the library grad-cam stretches them to the corners), and pixels fade to black where the published code, which
    multiplies normalised pixels, lets them fade to the mean colour. Channels beyond `channels` have weight 0.

    Why: To weight channels by an experiment instead of a gradient.
    Who: Analysts who do not trust gradients.
    What: Activations at the cut, and the target's value for each masked picture.
    How: One forward pass for each channel: minutes on a CPU; a coarse grid.
    When: After training; for single pictures.
    Where: Classification; last convolutional stage.
    Beware: It is slow, and a softmax over probabilities is nearly flat: then the map hardly depends on the class.
    """
    activations = question.grid(question.trunk(images)).float()
    n, count = activations.shape[:2]
    tried = torch.arange(count, device=activations.device).expand(n, count)
    if channels < count:
        tried = activations.flatten(2).var(2, correction=0).topk(channels).indices
    ways, cover, size = tried.shape[1], baseline_images(images, fill), size_of(images)

    def pictures(rows: range) -> Tensor:
        which, number = (index.to(images.device) for index in unravel(rows, ways))
        masks = _masks(activations[which, tried[which, number]], size)
        return torch.lerp(cover[which], images[which], masks[:, None])

    outputs = question.sweep(pictures, n * ways, size, track)
    with torch.no_grad():
        scores = question.target(outputs, torch.arange(n).repeat_interleave(ways)).view(n, ways)
    weights = torch.zeros_like(activations[:, :, 0, 0]).scatter(1, tried, scores.float().softmax(1))
    return weights[..., None, None] * activations


def _masks(channels: Tensor, size: tuple[int, int]) -> Tensor:
    """Channels (b, h, w) at `size`, each from 0 to 1; 0 everywhere for a channel that is the same everywhere."""
    masks = F.interpolate(channels[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    flat = high - low <= FLAT * torch.maximum(high.abs(), low.abs())
    return torch.where(flat, 0.0, (masks - low) / torch.where(flat, 1.0, high - low))


@weighted_sum
def ablation_cam(question: Question, images: Tensor, *, track: Track = iter) -> Tensor:
    """Ablation-CAM: channels weighted by how far the target falls without them.

    map = ReLU(sum_k w_k A_k), w_k = f - f with A_k = 0. Every channel is tried; only the part behind the cut runs again,
    and where just pooling follows, which keeps channels apart, only the heads do.
    Source: Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.00360. Sign: non-negative. Unit: the target's times that of
    the activations.
    Deviation: the paper divides by f, which scales the map, and turns it over where f is negative. A channel is set to
    zero also where it may be negative (grad-cam subtracts ten million there). Tokens outside the grid (class token) keep it.

    Why: To weight channels by an experiment instead of a gradient, at little cost.
    Who: Analysts who do not trust gradients and cannot wait for Score-CAM.
    What: Activations at the cut, and the target's value without each channel.
    How: One forward pass, and the part behind the cut once for each channel; a coarse grid.
    When: After training; beside Grad-CAM, with which it agrees where the part behind the cut is linear.
    Where: Classification; last convolutional stage, where it takes less than a second.
    Beware: Channels that can replace each other all seem unimportant; early cuts are slow.
    """
    ways = question.grid(question.trunk(images)).shape[1] + 1  # way 0 leaves everything as it is
    values = _by_features(question, images, ways, track)
    if values is None:
        values = question.tail_sweep(images, _silence, ways, track)
    activations = question.grid(question.trunk(images)).float()
    drops = (values[:, :1] - values[:, 1:]).to(activations)
    return drops[..., None, None] * activations


def _silence(grid: Tensor, which: Tensor, way: Tensor) -> None:
    """Set channel way - 1 to zero; way 0 leaves its row as it is."""
    rows = way.nonzero()[:, 0]
    grid[rows, way[rows] - 1] = 0


def _by_features(question: Question, images: Tensor, ways: int, track: Track) -> Tensor | None:
    """The target's values (n, ways) without each channel, from the features; None where pooling does not directly follow the
    cut, or mixes channels.

    Where pooling keeps channels apart, setting a channel to zero gives its feature the value that a blank grid has.
    """
    network, activations = question.model.network, question.trunk(images)
    if question.cut != network.cuts[-1]:
        return None
    features = question.outputs_at_cut(images).features.float()
    half = activations[:1].clone()
    question.grid(half)[:, ::2] = 0
    with torch.no_grad(), runtime.autocast(question.precision, question.model.device):
        halved, blank = network.pool(half).float(), network.pool(torch.zeros_like(half)).float()
    if features.shape[1] != ways - 1:
        return None
    expected = features[:1].clone()
    expected[:, ::2] = blank[:, ::2]
    if not torch.allclose(halved, expected, rtol=1e-5, atol=1e-7):
        return None

    features, blank = precise(features), precise(blank[0])  # one channel's share is near float32's rounding of the whole
    heads = [_precise_head(head, features) for head in (network.project, network.classify)]

    def part(rows: range) -> Tensor:
        which, way = (index.to(features.device) for index in unravel(rows, ways))
        without, changed = features[which], way.nonzero()[:, 0]
        without[changed, way[changed] - 1] = blank[way[changed] - 1]
        with torch.no_grad():
            return question.target(Outputs(without, *heads), which)

    values = runtime.each_batch(part, len(images) * ways, ROWS_OF_FEATURES, track)
    return runtime.joined(values).view(len(images), ways)


def _precise_head(head: Callable[[Tensor], Tensor] | None, like: Tensor) -> Callable[[Tensor], Tensor] | None:
    """A copy of the head in float64; a head that is no module runs in float32 as before."""
    if isinstance(head, nn.Module):
        return copy.deepcopy(head).to(like)
    return head and (lambda features: head(features.to(torch.float32)))
