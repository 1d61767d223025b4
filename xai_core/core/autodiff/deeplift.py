"""DeepLIFT's multipliers: differences in place of derivatives.

The mode runs a batch whose first half are images and whose second half are their baselines. Linear functions keep their
derivative; a function of single numbers gets its slope between image and baseline; products are shared in halves; softmax,
LayerNorm and cosine similarity are written in terms of these. So the contributions add up, whatever a network is made of.
(Shrikumar et al. 2017, the rescale rule.)
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core.autodiff.capture import ExplicitAttention
from xai_core.core.autodiff.function_overrides import RECTIFIERS, Call, Substitution, with_derivative_of

_SIGMOID = {"sigmoid", "tanh", "softplus", "softsign", "hardsigmoid", "logsigmoid"}
_ARITHMETIC = {"square", "pow", "rpow", "exp", "log", "sqrt", "rsqrt", "reciprocal", "rdiv", "abs"}  # rdiv: 1 / x
OF_NUMBERS = RECTIFIERS | _SIGMOID | _ARITHMETIC
SAME = 1e-6  # where an image and its baseline differ by less, the derivative is taken instead of the slope


def _halves(both: Tensor) -> tuple[Tensor, Tensor]:
    images, baselines = both.chunk(2)
    return images, baselines


def _answer(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value of both halves; the images' half has the derivative of `surrogate`, the baselines' half none."""
    return with_derivative_of(torch.cat([surrogate, torch.zeros_like(surrogate)]), value)


def rescaled(function: Callable[[Tensor], Tensor], both: Tensor) -> Tensor:
    """A function of single numbers; its slope is (f(x) - f(b)) / (x - b)."""
    value = function(both.detach())
    (images, baselines), (after, before) = _halves(both), _halves(value)
    difference = (images - baselines).detach()
    same = difference.abs() < SAME
    slope = (after - before) / torch.where(same, 1.0, difference)
    return _answer(value, torch.where(same, function(images), images * slope))


def product(multiply: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> Tensor:
    """A bilinear function; each factor's change is multiplied by the mean of the other: d(ab) = da mean b + mean a db."""
    mean_left, mean_right = (((image + baseline) / 2).detach() for image, baseline in map(_halves, (left, right)))
    value = multiply(left.detach(), right.detach())
    return _answer(value, multiply(_halves(left)[0], mean_right) + multiply(mean_left, _halves(right)[0]))


def _log_of_sum(both: Tensor, dim: int) -> Tensor:
    """log sum exp; its change is shared in proportion to the logarithmic means of the terms, (e' - e) / (x' - x)."""
    value = both.detach().logsumexp(dim, keepdim=True)
    (x, b), (after, before) = _halves(both.detach()), _halves(value)
    top = torch.maximum(after, before)
    terms, sums = _log_mean(x - top, b - top), _log_mean(after - top, before - top)
    return _answer(value, (_halves(both)[0] * (terms / sums)).sum(dim, keepdim=True))


def _log_mean(a: Tensor, b: Tensor) -> Tensor:
    """(e^a - e^b) / (a - b) = e^((a+b)/2) sinh(d) / d with d = (a - b) / 2, without cancellation."""
    half = (a - b) / 2
    near = half.abs() < 1e-2
    far = (a.exp() - b.exp()) / torch.where(near, 1.0, a - b)
    return torch.where(near, ((a + b) / 2).exp() * (1 + half**2 / 6), far)


def softmax(both: Tensor, dim: int) -> Tensor:
    return rescaled(torch.exp, both - _log_of_sum(both, dim))


def layer_norm(both: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    dims = tuple(range(-len(shape), 0))
    centred = both - both.mean(dims, keepdim=True)
    variance = product(torch.mul, centred, centred).mean(dims, keepdim=True)
    normal = product(torch.mul, centred, rescaled(torch.rsqrt, variance + eps))
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias


def cosine_similarity(both: Tensor, constant: Tensor, dim: int) -> Tensor:
    squares = product(torch.mul, both, both).sum(dim)
    return product(torch.mul, (both * F.normalize(constant, dim=dim)).sum(dim), rescaled(torch.rsqrt, squares))


def normalised(both: Tensor, dim: int) -> Tensor:
    """x / |x|, of length 1 along a dimension."""
    squares = product(torch.mul, both, both).sum(dim, keepdim=True)
    return product(torch.mul, both, rescaled(torch.rsqrt, squares))


def max_pool(call: Call) -> Tensor:
    """Max pooling: the image's greatest value of a window gets what the output gained, the baseline's what it lost."""
    both = call.input
    options = {name: value for name, value in call.options.items() if name != "return_indices"}
    value, winners = F.max_pool2d(both.detach(), *call.args[1:], **options, return_indices=True)
    (images, baselines), (after, before) = _halves(both.flatten(2)), _halves(value)
    most = torch.maximum(after, before)
    surrogate = torch.zeros_like(after)
    for index, change, derivative in zip(_halves(winners), (most - before, after - most), (1.0, 0.0), strict=True):
        winner = images.gather(2, index.flatten(2))
        difference = (winner - baselines.gather(2, index.flatten(2))).detach().view_as(change)
        same = difference.abs() < SAME
        slope = torch.where(same, derivative, change / torch.where(same, 1.0, difference))
        surrogate = surrogate + winner.view_as(change) * slope
    return _answer(value, surrogate)


_PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mul": torch.mul,
    "multiply": torch.mul,
    "matmul": torch.matmul,
    "bmm": torch.bmm,
}


@contextlib.contextmanager
def rescaling() -> Iterator[Substitution]:
    """DeepLIFT's rescale rule inside a `with`, for a batch of images followed by their baselines."""
    mode = _Rescaling()
    with mode, ExplicitAttention():  # the second on top, so that the functions it calls are answered by the first
        yield mode


class _Rescaling(Substitution):
    def rule(self, call: Call) -> Tensor | None:
        second = call.args[1] if len(call.args) > 1 else None
        of_both = len(call.inputs()) == 2
        if isinstance(second, Tensor) and second.requires_grad:
            if call.name in _PRODUCTS and of_both:
                return product(_PRODUCTS[call.name], call.input, second)
            if call.name in ("div", "truediv", "true_divide"):
                inverse = rescaled(torch.reciprocal, second)
                return product(torch.mul, call.input, inverse) if of_both else call.input * inverse
        if call.name in OF_NUMBERS and not of_both and call.input.requires_grad:
            return rescaled(lambda numbers: call(numbers), call.input)
        return self._composed(call)

    def _composed(self, call: Call) -> Tensor | None:
        if call.name == "softmax":
            return softmax(call.input, call.option(1, "dim"))
        if call.name == "layer_norm":
            shape, weight, bias = call.option(1, "normalized_shape"), call.option(2, "weight"), call.option(3, "bias")
            return layer_norm(call.input, shape, weight, bias, call.option(4, "eps", 1e-5))
        if call.name == "cosine_similarity" and len(call.inputs()) == 1:
            return cosine_similarity(call.input, call.args[1], call.option(2, "dim", 1))
        if call.name == "normalize" and call.option(1, "p", 2.0) == 2.0:
            return normalised(call.input, call.option(2, "dim", 1))
        if call.name == "max_pool2d":
            return max_pool(call)
        return None


def twofold(
    function: Callable[[Tensor, Tensor], Tensor], images: Tensor, baselines: Tensor, rows: Tensor
) -> tuple[Tensor, int]:
    """`function(images, rows)`, (n,), with multipliers as derivative; and how many function calls were answered."""
    with rescaling() as mode:
        values = function(torch.cat([images, baselines]), torch.cat([rows, rows]))
    return values[: len(images)], mode.substituted
