"""Recording what layers inside a network compute (biases, attention weights), while other threads use the same network.

A `torch.overrides.TorchFunctionMode` sees every call of a torch function made by this thread while it is entered: no
hook, no copy, nothing written to the network, and other threads do not notice.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_core.core.errors import BadRequest


class Biased(NamedTuple):
    """The output of a layer with a bias, still in the graph, and the bias (C,) that was added to its channels.

    `channels` is the dimension of the output that the bias runs along.
    """

    output: Tensor
    bias: Tensor
    channels: int

    def times(self, gradient: Tensor) -> Tensor:
        """bias * gradient, in the shape of the output."""
        shape = [1] * gradient.ndim
        shape[self.channels] = -1
        return self.bias.view(shape) * gradient


def _plain_bias(arguments: Mapping[str, Any]) -> Tensor | None:
    bias: Tensor | None = arguments.get("bias")
    return bias


def _batch_norm_bias(arguments: Mapping[str, Any]) -> Tensor | None:
    """What batch normalisation adds in eval mode: b - mean * w / sqrt(var + eps)."""
    if arguments.get("running_mean") is None or arguments.get("training"):
        return None
    mean: Tensor = arguments["running_mean"]
    var: Tensor = arguments["running_var"]
    shift: Tensor = mean * (var + arguments.get("eps", 1e-5)).rsqrt()
    weight: Tensor | None = arguments.get("weight")
    bias: Tensor | None = arguments.get("bias")
    shift = shift if weight is None else shift * weight
    return -shift if bias is None else bias - shift


class _Layer(NamedTuple):
    """The names of a function's arguments, its bias computed from them, and the dimension of its channels."""

    names: tuple[str, ...]
    bias: Callable[[Mapping[str, Any]], Tensor | None]
    channels: int


_NORMALISED = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_LAYERS: dict[Callable[..., Any], _Layer] = {
    torch.conv2d: _Layer(("input", "weight", "bias"), _plain_bias, 1),
    F.batch_norm: _Layer(_NORMALISED, _batch_norm_bias, 1),
    F.linear: _Layer(("input", "weight", "bias"), _plain_bias, -1),
}


class BiasRecording(TorchFunctionMode):
    """Records the convolutions, batch normalisations and linear layers that run inside a `with`: those that have a bias and
    whose output requires a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Biased] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        layer = _LAYERS.get(function)
        bias = layer.bias(dict(zip(layer.names, args, strict=False)) | dict(kwargs or {})) if layer else None
        if layer and bias is not None and output.requires_grad:
            self.layers.append(Biased(output, bias.detach(), layer.channels))
        return output

    def recorded(self) -> list[Biased]:
        """The layers, in the order of computation. Raises BadRequest where none has an output (n, C, h, w)."""
        if not any(layer.output.ndim == 4 for layer in self.layers):
            raise BadRequest("This network ran no convolution or batch normalisation with a bias, which this method needs.")
        return self.layers


class ExplicitAttention(TorchFunctionMode):
    """Inside a `with`, attention is computed as it is written, softmax(q k' / sqrt(d) + mask) v, instead of by the fused
    kernel, which has no second derivative. The value differs by rounding."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            return attention_weights(*args, **(kwargs or {})) @ _taken(*args, **(kwargs or {}))[2]
        return function(*args, **(kwargs or {}))


class AttentionRecording(TorchFunctionMode):
    """Records the attention weights (n, heads, queries, keys) that are computed inside a `with`, still in the graph: each
    row is a softmax over keys. Fused attention is written out for it; the value differs by rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Tensor] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            weights = attention_weights(*args, **(kwargs or {}))
            self.layers.append(weights)
            return weights @ _taken(*args, **(kwargs or {}))[2]
        output = function(*args, **(kwargs or {}))
        if getattr(function, "__name__", "") == "softmax" and output.ndim == 4:
            self.layers.append(output)
        return output

    def recorded(self) -> list[Tensor]:
        """The attention weights, in the order of computation. Raises BadRequest where there are none."""
        if not self.layers:
            raise BadRequest("This network ran no attention, which this method needs.")
        return self.layers


class LastAttention(TorchFunctionMode):
    """Keeps what the last fused attention inside a `with` takes and gives: queries, keys, values and output, each (n, heads,
    tokens, d), the output still in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        if function is F.scaled_dot_product_attention:
            self.passed = *_taken(*args, **(kwargs or {})), output
        return output

    def recorded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys, values and output. Raises BadRequest where no fused attention ran."""
        if self.passed is None:
            raise BadRequest("This network ran no fused attention, which this method needs.")
        return self.passed


def _taken(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    return query, key, value


def attention_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q k' / sqrt(d) + mask), (..., queries, keys), with the arguments of scaled_dot_product_attention."""
    if dropout_p or is_causal or enable_gqa:
        raise BadRequest("The weights of attention with dropout, a causal mask or grouped heads cannot be recorded.")
    weights = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        weights = weights.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        weights = weights + attn_mask
    return weights.softmax(-1)
