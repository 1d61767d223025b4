"""DeepLIFT's multipliers: differences in place of derivatives.

The mode runs a batch whose first half are pictures and whose second half are their baselines. Linear functions are left
alone; a function of single numbers gets its slope between the two; products are shared in halves; softmax, LayerNorm and
cosine similarity are taken apart into these. So whatever a network is made of, contributions add up.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core.autodiff.capture import ExplicitAttention
from xai_core.core.autodiff.function_overrides import RECTIFIERS, Call, Substitution, with_derivative_of

_SIGMOID = {"sigmoid", "tanh", "softplus", "softsign", "hardsigmoid", "logsigmoid"}
_ARITHMETIC = {"square", "pow", "exp", "log", "sqrt", "rsqrt", "reciprocal", "abs"}
OF_NUMBERS = RECTIFIERS | _SIGMOID | _ARITHMETIC
SAME = 1e-6  # where a picture and its baseline differ by less, the derivative stands for the slope


def _halves(both: Tensor) -> tuple[Tensor, Tensor]:
    return both.chunk(2)


def _answer(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value of both halves; the pictures' half has the derivative of `surrogate`, the baselines' half none."""
    return with_derivative_of(torch.cat([surrogate, torch.zeros_like(surrogate)]), value)


def rescaled(function: Callable[[Tensor], Tensor], both: Tensor) -> Tensor:
    """A function of single numbers; its slope is (f(x) - f(b)) / (x - b)."""
    value = function(both.detach())
    (asked, start), (after, before) = _halves(both), _halves(value)
    difference = (asked - start).detach()
    same = difference.abs() < SAME
    slope = (after - before) / torch.where(same, 1.0, difference)
    return _answer(value, torch.where(same, function(asked), asked * slope))


def product(multiply: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> Tensor:
    """A bilinear function; each factor's change is multiplied by the mean of the other: d(ab) = da mean b + mean a db."""
    (asked, _), (other, _) = _halves(left), _halves(right)
    means = [(sum(_halves(one)) / 2).detach() for one in (left, right)]
    value = multiply(left.detach(), right.detach())
    return _answer(value, multiply(asked, means[1]) + multiply(means[0], other))


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
    found = product(torch.mul, centred, rescaled(torch.rsqrt, variance + eps))
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


def cosine_similarity(both: Tensor, constant: Tensor, dim: int) -> Tensor:
    squares = product(torch.mul, both, both).sum(dim)
    return product(torch.mul, (both * F.normalize(constant, dim=dim)).sum(dim), rescaled(torch.rsqrt, squares))


def normalised(both: Tensor, dim: int) -> Tensor:
    """x / |x|, of length 1 along a dimension."""
    squares = product(torch.mul, both, both).sum(dim, keepdim=True)
    return product(torch.mul, both, rescaled(torch.rsqrt, squares))


def max_pool(call: Call) -> Tensor:
    """The greatest of a window. What the picture's winner has gained goes to it, what the baseline's has lost to that."""
    both = call.input
    _, *given = call.args
    options = {name: one for name, one in call.options.items() if name != "return_indices"}
    value, winners = F.max_pool2d(both.detach(), *given, **options, return_indices=True)
    (asked, start), (after, before) = _halves(both.flatten(2)), _halves(value)
    most = torch.maximum(after, before)
    surrogate = 0
    for index, change, derivative in zip(_halves(winners), (most - before, after - most), (1.0, 0.0), strict=True):
        there = asked.gather(2, index.flatten(2))
        way = (there - start.gather(2, index.flatten(2))).detach().view_as(change)
        same = way.abs() < SAME
        slope = torch.where(same, derivative, change / torch.where(same, 1.0, way))
        surrogate = surrogate + there.view_as(change) * slope
    return _answer(value, surrogate)


_PRODUCTS = {"mul": torch.mul, "multiply": torch.mul, "matmul": torch.matmul, "bmm": torch.bmm}


class Rescaling(Substitution):
    """DeepLIFT's rescale rule inside a `with`, for a batch of pictures followed by their baselines."""

    def __enter__(self):
        found = super().__enter__()
        self._attention = ExplicitAttention()  # on top, so that what it writes out comes here
        self._attention.__enter__()
        return found

    def __exit__(self, *failure):
        self._attention.__exit__(*failure)
        return super().__exit__(*failure)

    def rule(self, call: Call) -> Tensor | None:
        second = call.args[1] if len(call.args) > 1 else None
        of_both = len(call.inputs()) == 2
        if call.name in _PRODUCTS and of_both:
            return product(_PRODUCTS[call.name], call.input, second)
        if call.name in ("div", "truediv", "true_divide") and isinstance(second, Tensor) and second.requires_grad:
            inverse = rescaled(torch.reciprocal, second)
            return product(torch.mul, call.input, inverse) if of_both else call.input * inverse
        if call.name in OF_NUMBERS and not of_both and call.input.requires_grad:
            return rescaled(lambda numbers: call(numbers), call.input)
        return self._composed(call)

    def _composed(self, call: Call) -> Tensor | None:
        if call.name == "softmax":
            return softmax(call.input, call.option(1, "dim"))
        if call.name == "layer_norm":
            given = [call.option(place, name) for place, name in ((1, "normalized_shape"), (2, "weight"), (3, "bias"))]
            return layer_norm(call.input, *given, call.option(4, "eps", 1e-5))
        if call.name == "cosine_similarity" and len(call.inputs()) == 1:
            return cosine_similarity(call.input, call.args[1], call.option(2, "dim", 1))
        if call.name == "normalize" and call.option(1, "p", 2.0) == 2.0:
            return normalised(call.input, call.option(2, "dim", 1))
        if call.name == "max_pool2d":
            return max_pool(call)
        return None


def twofold(function: Callable[[Tensor, Tensor], Tensor], pictures: Tensor, baselines: Tensor, rows: Tensor) -> tuple:
    """`function(images, rows)` of the pictures, (n,), with multipliers as derivative; and how many functions changed."""
    with Rescaling() as mode:
        found = function(torch.cat([pictures, baselines]), torch.cat([rows, rows]))
    return found[: len(pictures)], mode.substituted
