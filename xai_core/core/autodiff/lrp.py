"""Layer-wise relevance propagation as a derivative: relevance of a value = the value times what arrives there.

With c the modified derivative and R = x c, a rule R_in = x L'(R_out / z) of a linear layer is the derivative of
z (y / z), where y is the layer's value, z the layer with other weights, and the quotient is a constant. So relevance passes
through sums, pooling and views by ordinary differentiation, and only these functions are answered here:

    convolutions and linear layers     epsilon, gamma or z+; a batch normalisation is merged into the convolution before it
    activation functions               identity: R_in = R_out
    a gate that scales channels        constant: all relevance goes to what is scaled; equal factors share in halves
    LayerNorm, cosine similarity       the length that they divide by is constant
    attention                          the weights are constant: relevance goes to the values

With `through_attention` (AttnLRP) the last line changes: the product of queries and keys and that with the values share in
halves, and relevance passes a softmax by its ordinary derivative c, which is the rule of AttnLRP. With z its input, s its
output and R_j = s_j c_j the relevance that arrives, z_i sum_j (ds_j / dz_i) c_j = z_i (R_i - s_i sum_j R_j).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core.autodiff.capture import attention_weights
from xai_core.core.autodiff.function_overrides import Call, Substitution, is_rectifier, with_derivative_of

RULES = ("gamma", "z+", "epsilon")
_FROM_ZERO = frozenset(("tanh", "softsign", "square"))  # functions of single numbers with f(0) = 0, beside the rectifiers
_SCALED_BY = ("mul", "multiply")
_DIVIDED_BY = ("div", "divide", "truediv", "true_divide")
_BY_MATRIX = {"matmul": torch.matmul, "bmm": torch.bmm}
Layer = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # input, weight, bias -> output


class LinearRule(NamedTuple):
    """A rule for convolutions and linear layers: one of RULES; `epsilon` stabilises its division, `gamma` is that of the
    gamma rule."""

    name: str
    gamma: float
    epsilon: float


def _stabilised(values: Tensor, epsilon: float) -> Tensor:
    return values + torch.where(values < 0, -epsilon, epsilon)


def _signed(layer: Layer, x: Tensor, plus: Tensor, minus: Tensor, bias: Tensor | None) -> Tensor:
    """The layer with one weight for what is positive in x, and another for what is negative."""
    output = layer(x.clamp(min=0), plus, bias)
    return output + layer(x.clamp(max=0), minus, None) if bool((x < 0).any()) else output


def linear_rule(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor, rule: LinearRule) -> Tensor:
    """The value of a linear layer, with the derivative of a rule.

    z+      z = sum of positive contributions
    gamma   z = y + gamma times the contributions that have the sign of y (for inputs of either sign)
    """
    z = layer(x, weight, bias)
    whole = z.detach()  # and not the value, which may be rounded differently: that would count where both are nearly zero
    if rule.name != "epsilon":
        plus, minus = weight.clamp(min=0), weight.clamp(max=0)
        bias_plus, bias_minus = (None, None) if bias is None else (bias.clamp(min=0), bias.clamp(max=0))
        agreeing = _signed(layer, x, plus, minus, bias_plus)
        if rule.name == "gamma":
            against = _signed(layer, x, minus, plus, bias_minus)
            agreeing = z + rule.gamma * torch.where(whole >= 0, agreeing, against)
        z = agreeing
    return with_derivative_of(z * (whole / _stabilised(z, rule.epsilon)).detach(), value)


class Relevance(Substitution):
    """Inside a `with`, derivatives follow `convolutions` and `linear` in layers of these kinds, and the table above."""

    def __init__(self, convolutions: LinearRule, linear: LinearRule, *, through_attention: bool = False) -> None:
        super().__init__()
        self._rule, self._linear_rule = convolutions, linear
        self._through_attention = through_attention
        self._convolved: tuple[Tensor, Call] | None = None  # the last convolution, which a normalisation may follow

    def rule(self, call: Call) -> Tensor | None:
        answers = {"conv2d": self._convolution, "batch_norm": self._batch_norm, "linear": self._linear}
        if call.name in answers:
            return answers[call.name](call)
        if is_rectifier(call) or call.name in _FROM_ZERO:
            return by_share(call)
        if self._through_attention and call.name == "softmax":
            return None
        if self._through_attention and call.name == "scaled_dot_product_attention":
            with self:  # its parts have rules of their own
                values: Tensor = call.option(2, "value")
                return attention_weights(*call.args, **call.options) @ values
        product = by_product(call)
        return by_constants(call) if product is None else product

    def _convolution(self, call: Call) -> Tensor:
        output = self._convolve(call, call.option(1, "weight"), call.option(2, "bias"), call(call.input.detach()))
        self._convolved = (output, call)
        return output

    def _convolve(self, call: Call, weight: Tensor, bias: Tensor | None, value: Tensor) -> Tensor:
        options = {name: value for name, value in call.options.items() if name not in ("weight", "bias")}

        def layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return F.conv2d(x, weight, bias, *call.args[3:], **options)

        return linear_rule(layer, call.input, weight, bias, value, self._rule)

    def _batch_norm(self, call: Call) -> Tensor | None:
        """Merged into the convolution whose output it takes; alone, it is a linear layer of its own: epsilon."""
        mean, var = call.option(1, "running_mean"), call.option(2, "running_var")
        if mean is None or call.option(5, "training", False):
            return None
        weight, bias = call.option(3, "weight"), call.option(4, "bias")
        scale = (var + call.option(7, "eps", 1e-5)).rsqrt() * (1 if weight is None else weight)
        shift = (0 if bias is None else bias) - mean * scale
        value = call(call.input.detach())
        if self._convolved is None or self._convolved[0] is not call.input:
            shape = (1, -1, *[1] * (call.input.ndim - 2))
            z = call.input * scale.view(shape) + shift.view(shape)
            return with_derivative_of(z * (z / _stabilised(z, self._rule.epsilon)).detach(), value)
        convolution, self._convolved = self._convolved[1], None
        kernel, bias = convolution.option(1, "weight"), convolution.option(2, "bias")
        merged = shift if bias is None else shift + bias * scale
        return self._convolve(convolution, kernel * scale.view(-1, 1, 1, 1), merged, value)

    def _linear(self, call: Call) -> Tensor:
        weight, bias = call.option(1, "weight"), call.option(2, "bias")
        return linear_rule(F.linear, call.input, weight, bias, call(call.input.detach()), self._linear_rule)


def by_share(call: Call) -> Tensor:
    """A function of single numbers as x times f(x) / x, the quotient a constant."""
    x, value = call.input, call(call.input.detach())
    share = torch.where(x == 0, 0.0, value / torch.where(x == 0, 1.0, x)).detach()
    return with_derivative_of(x * share, value)


def by_product(call: Call) -> Tensor | None:
    """A product of two factors: a smaller one is a gate, and constant; equal ones share in halves. None for other calls."""
    if len(call.inputs()) < 2 or (call.name not in _SCALED_BY and call.name not in _BY_MATRIX):
        return None
    one, other = call.args[:2]
    if call.name in _SCALED_BY and one.numel() != other.numel():
        return call(one.detach(), other) if one.numel() < other.numel() else call(one, other.detach())
    halves = (call(one, other.detach()) + call(one.detach(), other)) / 2
    return with_derivative_of(halves, call(one.detach(), other.detach()))


def by_constants(call: Call) -> Tensor | None:
    """The functions that divide by a length, and attention: length and weights are constants. None for other calls."""
    if call.name in _DIVIDED_BY and len(call.inputs()) == 2:
        return call(call.args[0], call.args[1].detach())
    if call.name == "normalize":
        power, dim, eps = call.option(1, "p", 2.0), call.option(2, "dim", 1), call.option(3, "eps", 1e-12)
        length: Tensor = call.input.detach().norm(power, dim, keepdim=True)
        return call.input / length.clamp_min(eps)
    if call.name == "rms_norm":
        shape, weight, eps = call.option(1, "normalized_shape"), call.option(2, "weight"), call.option(3, "eps")
        dims = tuple(range(-len(shape), 0))
        eps = torch.finfo(call.input.dtype).eps if eps is None else eps
        normal = call.input * (call.input.detach().square().mean(dims, keepdim=True) + eps).rsqrt()
        return with_derivative_of(normal if weight is None else normal * weight, call(call.input.detach()))
    if call.name == "group_norm":
        return _group_norm(call)
    if call.name == "layer_norm":
        shape, eps = call.option(1, "normalized_shape"), call.option(4, "eps", 1e-5)
        weight, bias = call.option(2, "weight"), call.option(3, "bias")
        dims = tuple(range(-len(shape), 0))
        centred = call.input - call.input.mean(dims, keepdim=True)
        normal = centred * (centred.detach().square().mean(dims, keepdim=True) + eps).rsqrt()
        normal = normal if weight is None else normal * weight
        return with_derivative_of(normal if bias is None else normal + bias, call(call.input.detach()))
    if call.name == "cosine_similarity" and len(call.inputs()) == 1:
        dim = call.option(2, "dim", 1)
        length = call.input.detach().norm(dim=dim, keepdim=True)
        cosines = (call.input / length * F.normalize(call.args[1], dim=dim)).sum(dim)
        return with_derivative_of(cosines, call(call.input.detach()))
    if call.name == "scaled_dot_product_attention":
        query, key = call.args[:2]
        return call(query.detach(), key.detach())
    if call.name == "softmax" and call.input.ndim > 2:
        return call(call.input.detach())
    return None


def _group_norm(call: Call) -> Tensor:
    x, groups, eps = call.input, call.option(1, "num_groups"), call.option(4, "eps", 1e-5)
    weight, bias = call.option(2, "weight"), call.option(3, "bias")
    grouped = x.unflatten(1, (groups, -1)).flatten(2)
    centred = grouped - grouped.mean(2, keepdim=True)
    normal = (centred * (centred.detach().square().mean(2, keepdim=True) + eps).rsqrt()).reshape(x.shape)
    shape = (1, -1, *[1] * (x.ndim - 2))
    normal = normal if weight is None else normal * weight.view(shape)
    return with_derivative_of(normal if bias is None else normal + bias.view(shape), call(x.detach()))
