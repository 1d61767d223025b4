"""Concepts in the activations at a cut, by non-negative matrix factorisation, and the one that counts most as a map."""

from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.attribution.cam.options import over_views, precise
from xai_core.attribution.method import Maps
from xai_core.core.options import Range
from xai_core.core.runtime import Track
from xai_core.explanation.question import Question

TINY = 1e-30


class Concepts(NamedTuple):
    """Concepts of each picture, the one that contributes most first.

    maps        non-negative, (n, k, h, w), in the activations' unit
    directions  of length 1 in the space of channels, (n, k, C)
    scores      by how much the target falls without each concept, (n, k)
    explained   the share of the activations' sum of squares that all concepts together account for, (n,)
    """

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

    def remove(grid: Tensor, which: Tensor, way: Tensor) -> None:
        rows = way.nonzero()[:, 0]
        grid[rows] -= parts[which[rows], way[rows] - 1].to(grid.dtype)

    values = question.tail_sweep(images, remove, components + 1, track)
    scores, order = (values[:, :1] - values[:, 1:]).sort(1, descending=True)
    rows = torch.arange(len(images), device=order.device)[:, None]
    ordered = maps.to(activations)[rows, order], directions.mT.to(activations)[rows, order]
    return Concepts(ordered[0].unflatten(2, activations.shape[2:]), ordered[1], scores, explained.to(activations))


def _factorised(values: Tensor, components: int, steps: int) -> tuple[Tensor, Tensor]:
    """W (n, C, k) and H (n, k, N), non-negative, with W H near values (n, C, N): Lee & Seung's updates.

    TINY replaces zero: it keeps quotients finite, and values out of the range of denormal numbers, which are slow.
    """
    left, right = _start(values, components)
    for _ in range(steps):
        right = (right * (left.mT @ values) / (left.mT @ left @ right).clamp(min=TINY)).clamp(min=TINY)
        left = (left * (values @ right.mT) / (left @ (right @ right.mT)).clamp(min=TINY)).clamp(min=TINY)
    return left, right


def _start(values: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Deterministic start of the updates: the stronger side, positive or negative, of each singular pair (Boutsidis &
    Gallopoulos 2008), and a hundredth of the mean in place of zeros, which multiplicative updates could not change."""
    u, s, vh = torch.linalg.svd(values, full_matrices=False)
    left, scale, right = (part[..., :components] for part in (u, s, vh.mT))
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
    components: Annotated[int, Range(2, 16), "number of concepts into which the activations are divided"] = 5,
    track: Track = iter,
) -> Maps:
    """Deep feature factorisation: the concept in the picture that contributes most to the target.

    Activations (channels, positions) = W H with W, H >= 0, least squares; map = the row of H whose part contributes most,
    its column of W scaled to length 1. A part contributes f(A) - f(A - part), reported as `concept's contribution`; the
    share of the activations' sum of squares that W H accounts for is `share explained`.
    Source: Collins et al. 2018, arXiv:1806.10206. Sign: non-negative. Unit: that of the activations.
    Deviation: each picture on its own, where the paper factorises a set together; 200 multiplicative updates from the
    singular vectors; negative channels are lifted to zero; the paper does not choose a concept. `concepts` returns all.

    Why: To see into which parts a network divides a picture, and which parts were important.
    Who: Analysts who ask for concepts rather than pixels.
    What: Activations at the cut, and the target's value without each part.
    How: One forward pass, a factorisation, the part behind the cut for each concept; a coarse grid.
    When: After training; when a single map mixes several parts.
    Where: Any network with feature maps; late stages.
    Beware: The factorisation depends on the number of concepts and on its start; concepts have no names.
    """
    parts = concepts(question, images, components, track=track)
    facts = {"concept's contribution": parts.scores[:, 0], "share explained": parts.explained}
    return Maps(parts.maps[:, 0], facts=facts)
