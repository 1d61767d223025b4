"""Gradients with other backward rules for activation functions and layers. Maps are (n, H, W).

The rules hold while this question is computed in this thread (`core/autodiff/function_overrides.py`): the network is not
changed, and activations written as modules and as functions are treated alike. The number of calls with another rule in
one pass is reported as a fact.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.core.autodiff import deeplift, function_overrides, lrp
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.question import Question


def _gradient_under(
    question: Question, images: Tensor, mode: Callable[[], function_overrides.Substitution]
) -> tuple[Tensor, int]:
    """The gradient (n, 3, H, W) of the question when each pass runs inside a new mode, and the mode's number of
    substitutions."""
    counts: list[int] = []

    def run(pictures: Tensor, rows: Tensor | None) -> Tensor:
        with mode() as overrides:
            values = question(pictures, rows)
        counts.append(overrides.substituted)
        return values

    gradient = question.differentiate(run, images, None, images)[1]
    question.tally.backward += len(images)
    return gradient, counts[-1]


def _facts(images: Tensor, facts: Mapping[str, Tensor | int]) -> dict[str, Tensor]:
    """One value of each fact for each picture."""
    return {name: torch.as_tensor(fact).expand(len(images)) for name, fact in facts.items()}


def _rectified(
    question: Question, images: Tensor, mode: Callable[[], function_overrides.Substitution]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradient under rules for activation functions. Raises BadRequest where the network has none."""
    gradient, count = _gradient_under(question, images, mode)
    if not count:
        raise BadRequest(
            "0 activations were guided: between picture and target this network has no ReLU, GELU, SiLU or similar "
            "activation, so that the map would be the plain gradient. Choose saliency instead."
        )
    return gradient, _facts(images, {"activations guided": count})


def _strongest_channel(gradients: Tensor) -> Tensor:
    return gradients.abs().amax(1)


def guided_backprop(question: Question, images: Tensor) -> Maps:
    """Guided backpropagation: the gradient, but each activation passes it back only where both are positive.

    map = max over RGB of |df/dx| with g_in = ReLU(g_out) [x > 0] a'(x) for every activation function a(x).
    Source: Springenberg et al. 2014, arXiv:1412.6806. Sign: non-negative. Unit: target per unit of intensity.
    Deviation: the paper knows only ReLU; relatives that let through the positive (ReLU6, GELU, SiLU and others) follow the
    same rule with their own derivative. `activations guided` counts them; where there are none the call is refused.

    Why: To see crisp edges and parts that excite units with evidence for the target.
    Who: Readers of figures; researchers who reproduce older work.
    What: Gradients, without negative contributions.
    How: One forward and one backward pass; a fine, clean map without a sign.
    When: After training; for display, beside a method that is sensitive to the model.
    Where: ReLU networks, and with the same rule those with GELU or SiLU.
    Beware: It shows edges whatever the network has learnt: it hardly changes when the weights are made random
    (Adebayo et al. 2018), or when another class is explained.
    """
    gradient, facts = _rectified(question, images, function_overrides.Guided)
    return Maps(_strongest_channel(gradient), facts=facts)


def deconvnet(question: Question, images: Tensor) -> Maps:
    """DeconvNet: the gradient, but each activation passes back only positive values, also where it was negative.

    map = max over RGB of |df/dx| with g_in = ReLU(g_out) for every activation function.
    Source: Zeiler & Fergus 2014, arXiv:1311.2901. Sign: non-negative. Unit: target per unit of intensity.
    Deviation: as in guided backpropagation, relatives of ReLU follow the same rule, and a network without any is refused.
    Pooling passes back to the winner.

    Why: To project what excites the target back into the picture.
    Who: Researchers who reproduce older work or compare it with guided backpropagation.
    What: The positive parts of gradients.
    How: One forward and one backward pass; a fine map without a sign.
    When: After training; for comparison.
    Where: ReLU networks with max pooling; without pooling the map hardly depends on the picture.
    Beware: It ignores which units were active, and so depends little on the picture.
    """
    gradient, facts = _rectified(question, images, function_overrides.Deconvolving)
    return Maps(_strongest_channel(gradient), facts=facts)


def deep_lift(
    question: Question,
    images: Tensor,
    *,
    baseline: Annotated[str, Choice(BASELINES), "the baseline: the picture that stands for missing content"] = "black",
) -> Maps:
    """DeepLIFT (rescale rule): the target's change from a baseline, traced back through differences instead of derivatives.

    map = sum over RGB of (x - b) m, where m is the gradient with (a(u) - a(u_b)) / (u - u_b) in place of a'(u) for every
    function a of single numbers, u and u_b its inputs for picture and baseline.
    Source: Shrikumar et al. 2017, arXiv:1704.02685. Sign: signed. Unit: the target's.
    Completeness: the map sums to f(x) - f(b); what is missing is reported as `completeness gap`, a share of |f(x) - f(b)|.
    Deviation: products (gates, attention) are shared in halves, and softmax, LayerNorm and cosine similarity taken apart
    into functions of single numbers and products, so that it is complete for transformers too. Max pooling gives what was
    gained to the picture's winner and what was lost to the baseline's.

    Why: To distribute the change of the score over the pixels, at the cost of one gradient.
    Who: Reviewers who want completeness without hundreds of passes.
    What: Activations for the picture and for the baseline.
    How: Two forward passes and one backward; a fine signed map whose sum is the change.
    When: After training; in place of integrated gradients where time is short.
    Where: Networks of the usual layers; look at the completeness gap for others.
    Beware: It depends on the baseline, and on how the network is written, not only on the function that it computes.
    """
    start, numbers = baseline_images(images, baseline), torch.arange(len(images))
    counts: list[int] = []

    def run(pictures: Tensor, rows: Tensor | None) -> Tensor:
        which = numbers if rows is None else rows
        values, count = deeplift.twofold(question, pictures, start[which], which)
        counts.append(count)
        return values

    values, multipliers = question.differentiate(run, images, numbers, images)
    question.tally.backward += 2 * len(images)
    maps = ((images - start) * multipliers).sum(1)
    change = values - question.scores(start)
    gap = (maps.sum((1, 2)) - change).abs() / change.abs().clamp(min=1e-12)
    return Maps(maps, facts=_facts(images, {"completeness gap": gap, "functions rescaled": counts[-1]}))


def layerwise_relevance(
    question: Question,
    images: Tensor,
    *,
    rule: Annotated[str, Choice(lrp.RULES), "rule for convolutions; linear layers always have the epsilon rule"] = "gamma",
    gamma: Annotated[
        float, Range(0.0, 10.0, 0.05), "how much the gamma rule favours contributions with the sign of the output"
    ] = 0.25,
    epsilon: Annotated[
        float, Range(0.0, 1.0), "stabiliser of quotients; larger values give weak units less relevance"
    ] = 1e-6,
) -> Maps:
    """LRP (layer-wise relevance propagation): the target passed back layer by layer, in proportion to contributions.

    map = sum over RGB of R, R_j = sum_k z_jk / (epsilon sign(z_k) + z_k) R_k with z_k = sum_j z_jk and
    z_jk = x_j w_jk (epsilon), x_j w_jk + gamma times its part of the sign of the output (gamma), its positive part (z+).
    Source: Bach et al. 2015, doi:10.1371/journal.pone.0130140, and Montavon et al. 2019, doi:10.1007/978-3-030-28954-6_10.
    Sign: signed. Unit: the target's.
    Conservation: the map sums to the target but for what biases and epsilon take, reported as `conservation gap`, a share of
    |f(x)|. A probability starts from its gradient to the logits, and is not conserved.
    Deviation: x is measured from the colour that the normalisation maps to zero. Batch normalisation is merged into the
    convolution before it. Activation functions hand on all relevance; gates, attention weights and the divisors of
    LayerNorm and cosine similarity are constants (Ali et al. 2022, arXiv:2202.07304). No special rule for the first layer.

    Why: To distribute the score over the pixels without choosing a baseline.
    Who: Analysts of convolutional networks; common in medicine and remote sensing.
    What: Activations and weights of every layer.
    How: One forward and one backward pass with several convolutions for each; a fine signed map.
    When: After training; with rules that are named in the report.
    Where: Convolutional networks (gamma, z+); transformers with the epsilon rule behind the first layer.
    Beware: z+ converges to nearly the same map for every class (Sixt et al. 2020), and the epsilon rule is as noisy as
    input x gradient. The rules are a choice: say which.
    """
    linear = lrp.LinearRule("epsilon", 0.0, epsilon)
    return _relevance(question, images, lambda: lrp.Relevance(lrp.LinearRule(rule, gamma, epsilon), linear))


def attn_lrp(
    question: Question,
    images: Tensor,
    *,
    gamma: Annotated[
        float, Range(0.0, 10.0, 0.05), "how much convolutions favour contributions with the sign of their output"
    ] = 0.25,
    linear_gamma: Annotated[float, Range(0.0, 10.0, 0.05), "the same for linear layers; 0 is the epsilon rule"] = 0.05,
    epsilon: Annotated[
        float, Range(0.0, 1.0), "stabiliser of quotients; larger values give weak units less relevance"
    ] = 1e-6,
) -> Maps:
    """AttnLRP: layer-wise relevance propagation that goes through attention's weights as well as through its values.

    map = sum over RGB of R. Convolutions and linear layers have the gamma rule of LRP (0: epsilon); a product of two
    matrices (queries and keys, weights and values) gives each half of what arrives; a softmax with input z and output
    s gives z_i (R_i - s_i sum_j R_j); LayerNorm divides by a constant; activation functions hand on all relevance.
    Source: Achtibat et al. 2024, arXiv:2402.05602. Sign: signed. Unit: the target's.
    Conservation: what biases, epsilon and the softmax take is reported as `conservation gap`, a share of |f(x)|.
    Deviation: x is measured from the colour that the normalisation maps to zero; a gate that scales channels is constant.
    The paper searches both gammas for each network; the defaults are from the authors' example for vision transformers.

    Why: To distribute a transformer's score over the pixels without treating its attention as given.
    Who: Analysts of transformers who need a faithful fine map at the cost of one gradient.
    What: Activations and weights of every layer, attention included.
    How: One forward and one backward pass with two layers for each; a fine signed map.
    When: After training; in place of LRP where a transformer is explained.
    Where: Transformers. Without attention it is LRP with the gamma rule in linear layers, too.
    Beware: The two gammas are a choice, and change the map: say which.
    """

    convolutions, linear = (lrp.LinearRule("gamma", size, epsilon) for size in (gamma, linear_gamma))
    return _relevance(question, images, lambda: lrp.Relevance(convolutions, linear, through_attention=True))


def _relevance(question: Question, images: Tensor, mode: Callable[[], function_overrides.Substitution]) -> Maps:
    """The pictures, measured from the colour zero, times the derivative; and how much of the target is missing."""
    zero = _colour_of_zero(question, images)
    derivative, count = _gradient_under(question, images, mode)
    maps = ((images - zero) * derivative).sum(1)
    values = question.values(images)
    gap = (maps.sum((1, 2)) - values).abs() / values.abs().clamp(min=1e-12)
    return Maps(maps, facts=_facts(images, {"conservation gap": gap, "layers with a rule": count}))


def _colour_of_zero(question: Question, images: Tensor) -> Tensor:
    """The colour (1, 3, 1, 1) that the normalisation (a linear function) maps to zero; black without a normalisation."""
    normalise = question.model.network.normalise
    black = torch.zeros_like(images[:1, :, :1, :1])
    if normalise is None:
        return black
    low, high = normalise(black), normalise(black + 1)
    colour: Tensor = -low / (high - low)
    return colour
