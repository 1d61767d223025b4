"""Gradients of the similarity to the pixels of both views. Maps are at the network's resolution, (2, H, W), non-negative."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.core.autodiff import function_overrides
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.pairs.augment import TRANSFORMS, blurred, transformed
from xai_core.pairs.method import tensor_of
from xai_core.pairs.question import PairQuestion

Guided = Annotated[bool, "pass only positive gradients back through the ReLUs"]
Scope = Annotated[str, Choice(("all", "modules")), "all ReLUs, or only those that are modules of the network"]
Blur = Annotated[bool, "smooth the map by a Gaussian of 11 pixels, sigma 5"]
Sigma = Annotated[float, Range(0.01, 1.0, 0.01), "noise, as a share of the first view's range of values"]
SigmaRule = Annotated[
    str,
    Choice(("paper", "code")),
    "standard deviation of the noise: sigma times the range (paper), or sigma divided by it (published code)",
]


def _mean_gradient(
    pair: PairQuestion, points: Callable[[range], Tensor], total: int, guided: bool, scope: str, track: Track = iter
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean gradient (2, 3, H, W), and the number of activations guided in each pass."""
    if not guided:
        return pair.mean_gradient(points, total, track=track), {}
    modes: list[function_overrides.Substitution] = []

    def mode() -> function_overrides.Substitution:
        modes.append(function_overrides.GuidedReLUs() if scope == "all" else function_overrides.GuidedModules())
        return modes[-1]

    gradient = pair.mean_gradient(points, total, mode, track)
    count = modes[-1].substituted
    if not count:
        what = "ReLU" if scope == "all" else "ReLU that is a module"
        raise BadRequest(f"0 activations were guided: this network has no {what}; choose the method that is not guided.")
    return gradient, {"activations guided": torch.tensor([count, count])}


def _strongest(gradient: Tensor, facts: dict[str, Tensor], pictures: Tensor, blur: bool) -> Maps:
    """max over channels of |x g|, (2, H, W); with `blur` smoothed."""
    maps = (pictures * gradient).abs().amax(1)
    return Maps(blurred(maps) if blur else maps, facts=facts)


def input_x_gradient(pair: PairQuestion, *, guided: Guided = False, guided_scope: Scope = "all", blur: Blur = False) -> Maps:
    """Input x gradient: pixels times the gradient of the similarity, the strongest channel.

    map = max over RGB of |x ds/dx|, for each view x by its own gradient. Guided: only positive gradients pass back through
    activations, where these were active. `guided_scope` "modules" leaves activations alone that are plain function calls,
    as the published code does: in SimCLRv2 these are the ReLUs at the end of each block.
    Source: Sammani et al. 2022, arXiv:2206.09753; guided: Springenberg et al. 2014, arXiv:1412.6806. Sign: non-negative.
    Unit: the similarity's.

    Why: To see which pixels of each view the similarity depends on, at full resolution.
    Who: Developers and researchers; the baseline of gradient methods.
    What: Pixels and the gradient of the similarity to them.
    How: One forward and one backward pass of each view; fine, noisy maps without a sign.
    When: After training; as a baseline for averaged gradients.
    Where: Any differentiable encoder; guided, those with ReLUs or similar activations.
    Beware: Dark pixels get small values whether they matter or not. Guided maps show edges whatever the network has learnt.
    """
    gradient, facts = _mean_gradient(pair, lambda rows: pair.views[None], 1, guided, guided_scope)
    return _strongest(gradient, facts, pair.views, blur)


def _draws(pair: PairQuestion, count: int, sigma: float, rule: str, seed: int, noise: Tensor | None) -> Tensor:
    """Noise (count, 3, H, W) to add to pictures: `noise` itself, or normal draws of one generator in sequence."""
    shape = tuple(pair.views.shape[1:])
    if noise is not None:
        noise = tensor_of(noise).to(pair.views)
        noise = noise.flatten(0, 1) if noise.ndim == 5 else noise
        if noise.ndim != 4 or noise.shape[1:] != shape:
            raise BadRequest(
                f"Noise must be (draws, {', '.join(map(str, shape))}), as it is added; this is {tuple(noise.shape)}."
            )
        return noise
    spread = float(pair.views[0].max() - pair.views[0].min())
    deviation = sigma * spread if rule == "paper" else sigma / max(spread, 1e-12)
    draw = torch.Generator().manual_seed(seed)
    return torch.stack([torch.empty(1, *shape).normal_(0, deviation, generator=draw)[0] for _ in range(count)]).to(
        pair.views
    )


def smooth_grad(
    pair: PairQuestion,
    *,
    samples: Annotated[int, Range(1, 500), "number of noisy copies of both views"] = 20,
    sigma: Sigma = 0.15,
    sigma_rule: SigmaRule = "paper",
    guided: Guided = False,
    guided_scope: Scope = "all",
    blur: Blur = False,
    seed: int = 0,
    noise: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """SmoothGrad for pairs: the gradient averaged over copies of both views with the same noise, times the clean pixels.

    map = max over RGB of |x mean over d of ds/dx (v1 + e_d, v2 + e_d)|, e_d normal of standard deviation
    sigma (max v1 - min v1), the rule of the SmoothGrad paper; "code" divides by the range instead, as the published code
    of the pairs paper does. `noise` (samples, 3, H, W) passes the draws in as they are added; else they come in sequence
    from one generator of `seed`.
    Source: Sammani et al. 2022, arXiv:2206.09753, after Smilkov et al. 2017, arXiv:1706.03825. Sign: non-negative.
    Unit: the similarity's.

    Why: To see sensitive pixels without the speckle of one gradient.
    Who: Analysts and readers of reports: it is easier to look at.
    What: Gradients at noisy copies of both views.
    How: As many forward and backward passes of each view as samples; fine maps without a sign.
    When: After training; where input x gradient is too noisy to read.
    Where: Any differentiable encoder.
    Beware: The same noise in both views is itself something that the views have in common.
    """
    draws = _draws(pair, samples, sigma, sigma_rule, seed, noise)

    def points(rows: range) -> Tensor:
        return pair.views + draws[rows.start : rows.stop, None]

    gradient, facts = _mean_gradient(pair, points, len(draws), guided, guided_scope, track)
    return _strongest(gradient, facts, pair.views, blur)


def averaged_transforms(
    pair: PairQuestion,
    *,
    transform: Annotated[
        str, Choice(("second view", *TRANSFORMS)), "the end of the path that begins at view 1"
    ] = "second view",
    noisy: Annotated[bool, "add noise to the points of the path"] = False,
    sigma: Sigma = 0.15,
    sigma_rule: SigmaRule = "paper",
    guided: Guided = False,
    guided_scope: Scope = "all",
    blur: Blur = False,
    seed: int = 0,
    path: Tensor | None = None,
    noise: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """Averaged transforms: the gradient averaged along a path from view 1 towards its transform.

    Points p_k = l v1 + (1 - l) v2 with l = 1, 0.9, ..., 0.1 (the end is never reached). map of view 1 = max over RGB of
    |v1 mean over k = 1..9 of ds/dv1 (v1, p_k)|; map of view 2 = |p_9 mean over k = 1..9 of ds/dp (v1, p_k)|. Noise is added
    to the points 1..9. The path leads to the second view, or to a transform of the first. `path` (10, 3, H, W) passes the
    points in, the first being view 1, and `noise` (9, 3, H, W) what is added to the points behind it.
    Source: Sammani et al. 2022, arXiv:2206.09753. Sign: non-negative. Unit: the similarity's.

    Why: To see which pixels keep two views alike while one is turned into the other.
    Who: Researchers of invariance.
    What: Gradients at mixtures of the two views.
    How: Nine forward and backward passes of each view; fine maps without a sign.
    When: After training; for a picture and its transform without a crop.
    Where: Any differentiable encoder.
    Beware: Between two different crops the points of the path are double exposures. The map of view 2 belongs to the last
    point, which is not quite view 2.
    """
    if path is None:
        inside = float(pair.views[0].min()) >= -1e-6 and float(pair.views[0].max()) <= 1 + 1e-6
        if transform != "second view" and not inside:
            raise BadRequest(
                "Transforms need pictures in [0, 1]; for normalised views choose the second view, or pass a path."
            )
        end = pair.views[1] if transform == "second view" else transformed(pair.views[:1], transform, seed)[0]
        lambdas = torch.linspace(1.0, 0.1, 10, device=pair.views.device)[:, None, None, None]
        path = lambdas * pair.views[0] + (1 - lambdas) * end
    path = tensor_of(path).to(pair.views)
    path = path.flatten(0, 1) if path.ndim == 5 else path
    if path.ndim != 4 or len(path) < 2 or path.shape[1:] != pair.views.shape[1:]:
        raise BadRequest(f"A path must be (points, {', '.join(map(str, pair.views.shape[1:]))}), with at least two points.")
    start, behind = path[0], path[1:]
    if noisy or noise is not None:
        draws = _draws(pair, len(behind), sigma, sigma_rule, seed, noise)
        if len(draws) not in (1, len(behind)):
            raise BadRequest(f"There are {len(draws)} draws of noise for {len(behind)} points; give one each.")
        behind = behind + draws

    def points(rows: range) -> Tensor:
        return torch.stack([start.expand(len(rows), -1, -1, -1), behind[rows.start : rows.stop]], 1)

    gradient, facts = _mean_gradient(pair, points, len(behind), guided, guided_scope, track)
    return _strongest(gradient, facts, torch.stack([start, behind[-1]]), blur)
