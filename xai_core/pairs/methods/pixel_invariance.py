"""Pixel invariance: pixels that predict the similarity of a picture's augmented views to the picture."""

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.core.errors import BadRequest
from xai_core.core.options import Range
from xai_core.core.runtime import Track
from xai_core.pairs.augment import Augmentation, draw_view
from xai_core.pairs.method import tensor_of
from xai_core.pairs.question import PairQuestion

SIDE = 64
RATE, L1 = 0.1, 0.2


def pixel_invariance(
    pair: PairQuestion,
    *,
    count: Annotated[int, Range(2, 5000), "number of augmented views of the first view"] = 64,
    epochs: Annotated[int, Range(1, 5000), "number of training steps, each on all views"] = 10,
    seed: int = 0,
    views: Tensor | None = None,
    base: Tensor | None = None,
    similarities: Tensor | None = None,
    init: tuple[Tensor, Tensor] | None = None,
    track: Track = iter,
) -> Maps:
    """Pixel invariance: the weights of a linear model that predicts a view's similarity to the picture from its pixels.

    f(x) = w x + b on 64 x 64 pixels, trained on the sum over augmented views v of BCE((f(base) + f(v)) / 2, s(v)), plus
    0.2 |w|_1, by gradient descent at rate 0.1, all views in one step; map = max over RGB of w, then (map - min) / (max -
    min), values under 0.5 set to 0. One map in all, of view 1. `views` (n, 3, 64, 64), `base` (1, 3, 64, 64),
    `similarities` (n, 1) in [0, 1] and `init` (weights (1, 12288), bias (1,)) can be passed in; else views are drawn from
    `seed` (crop, flip, jitter, grey, blur), and a similarity below 0 counts as 0.
    Source: Sammani et al. 2022, arXiv:2206.09753. Sign: non-negative, in [0, 1]. Unit: none.

    Why: To see which pixels the network's invariance depends on, over many views instead of one pair.
    Who: Researchers of self-supervised learning.
    What: Similarities of augmented views to the picture, and a linear model of them.
    How: One forward pass for each augmented view; one map of 64 x 64.
    When: After training.
    Where: Any encoder.
    Beware: A linear model of 12,288 weights on 64 views has many solutions: much of the map depends on its
    random initial weights.
    """
    if views is None:
        if not (float(pair.views.min()) >= -1e-6 and float(pair.views.max()) <= 1 + 1e-6):
            raise BadRequest("Views are drawn from pictures in [0, 1]; for normalised ones pass views and similarities in.")
        views, own = drawn_views(pair, pair.views[0], count, seed, track=track)
        similarities = own if similarities is None else similarities
    views = tensor_of(views).to(pair.views)
    if base is None:
        base = _small(pair.views[:1])
    if similarities is None:
        small = views
        embeddings = pair.embed(lambda rows: small[rows.start : rows.stop], len(small), track)
        similarities = pair.alike(embeddings, pair.embeddings[:1]).clamp(0, 1)
    device = pair.views.device
    base, targets = tensor_of(base).to(pair.views).reshape(1, -1), tensor_of(similarities).to(pair.views)
    flat = views.reshape(len(views), -1)
    if base.shape[1] != flat.shape[1] or targets.numel() != len(flat):
        sizes = f"{tuple(views.shape)}, {base.numel()} values and {targets.numel()} numbers"
        raise BadRequest(f"Views, base and similarities do not fit together: they are {sizes}.")
    weight, bias = _start(flat.shape[1], seed) if init is None else init
    weight, bias = (tensor_of(start).to(device).reshape(-1).clone() for start in (weight, bias))
    for _ in track(range(epochs)):
        step = _gradient(weight, bias, flat, base, targets.reshape(-1))
        weight, bias = weight - RATE * step[0], bias - RATE * step[1]
    strongest = weight.view(views.shape[1:]).amax(0)
    heatmap = (strongest - strongest.min()) / (strongest.max() - strongest.min()).clamp(min=1e-30)
    return Maps(torch.where(heatmap < 0.5, 0.0, heatmap)[None])


def drawn_views(
    pair: PairQuestion,
    picture: Tensor,
    count: int,
    seed: int,
    change: Callable[[Tensor], Tensor] = lambda pictures: pictures,
    track: Track = iter,
) -> tuple[Tensor, Tensor]:
    """Augmented views of a picture (3, H, W) in [0, 1], as (count, 3, 64, 64), and their similarity to view 1, (count,), at
    least 0. `change` is applied to the views before the network and the linear model see them: the normalisation, where the
    pair's own views are normalised. Full-size views are drawn a few at a time and not kept."""
    small = torch.zeros(count, 3, SIDE, SIDE, device=pair.views.device)

    def full_size(rows: range) -> Tensor:
        views = [draw_view(picture.cpu(), Augmentation(), seed, number).pixels for number in rows]
        changed = change(torch.stack(views).to(pair.views))
        small[rows.start : rows.stop] = _small(changed)
        return changed

    embeddings = pair.embed(full_size, count, track)
    return small, pair.alike(embeddings, pair.embeddings[:1]).clamp(0, 1)


def _small(pictures: Tensor) -> Tensor:
    return F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def _start(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Initial weight (size,) and bias (1,) as torch's linear layer has them: uniform within 1 / sqrt(inputs)."""
    draw, bound = torch.Generator().manual_seed(seed), size**-0.5
    weight, bias = ((2 * torch.rand(n, generator=draw) - 1) * bound for n in (size, 1))
    return weight, bias


def _gradient(weight: Tensor, bias: Tensor, views: Tensor, base: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of BCE on logits plus the L1 norm, in closed form: the residual sigmoid(logit) - s times the input."""
    logits = ((views + base) / 2) @ weight + bias
    residual = logits.sigmoid() - targets
    return residual @ ((views + base) / 2) + L1 * weight.sign(), residual.sum()[None]
