"""Looking inside the stages of a network that others use at the same time.

A `torch.overrides.TorchFunctionMode` sees every call of a torch function made by this thread while it is entered: no
hook, no copy, nothing written to the network, and other threads do not notice.
"""

import math
from collections.abc import Mapping
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


def _given_bias(given: Mapping[str, Any]) -> Tensor | None:
    return given.get("bias")


def _batch_norm_bias(given: Mapping[str, Any]) -> Tensor | None:
    """What batch normalisation adds in eval mode: b - mean * w / sqrt(var + eps)."""
    if given.get("running_mean") is None or given.get("training"):
        return None
    mean, var = given["running_mean"], given["running_var"]
    shift = mean * (var + given.get("eps", 1e-5)).rsqrt()
    weight, bias = given.get("weight"), given.get("bias")
    return (0 if bias is None else bias) - (shift if weight is None else shift * weight)


_NORMALISED = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_LAYERS = {  # function: the names of its arguments, its bias, the dimension of its channels
    torch.conv2d: (("input", "weight", "bias"), _given_bias, 1),
    F.batch_norm: (_NORMALISED, _batch_norm_bias, 1),
    F.linear: (("input", "weight", "bias"), _given_bias, -1),
}


class BiasRecording(TorchFunctionMode):
    """Records the convolutions, batch normalisations and linear layers that run inside a `with`, as far as they have a
    bias and what they compute depends on what is differentiated."""

    def __init__(self):
        super().__init__()
        self.layers: list[Biased] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        names, bias_of, channels = _LAYERS.get(function, ((), None, 0))
        bias = bias_of(dict(zip(names, args, strict=False)) | (kwargs or {})) if bias_of else None
        if bias is not None and output.requires_grad:
            self.layers.append(Biased(output, bias.detach(), channels))
        return output

    def found(self) -> list[Biased]:
        """What was recorded, in the order of computation. Raises BadRequest where no layer has a map, (n, C, h, w)."""
        if not any(layer.output.ndim == 4 for layer in self.layers):
            raise BadRequest("In this network no convolution or batch normalisation with a bias was seen at work.")
        return self.layers


class ExplicitAttention(TorchFunctionMode):
    """Inside a `with`, attention is computed as it is written, softmax(q k' / sqrt(d) + mask) v, instead of by the fused
    kernel, which has no second derivative. The value differs by rounding."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            return attention_weights(*args, **(kwargs or {})) @ _values(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


class AttentionRecording(TorchFunctionMode):
    """Records the attention weights (n, heads, queries, keys) that are computed inside a `with`, still in the graph: each
    row is a softmax over keys. Fused attention is written out for it; the value differs by rounding."""

    def __init__(self):
        super().__init__()
        self.layers: list[Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            weights = attention_weights(*args, **(kwargs or {}))
            self.layers.append(weights)
            return weights @ _values(*args, **(kwargs or {}))
        output = function(*args, **(kwargs or {}))
        if getattr(function, "__name__", "") == "softmax" and output.ndim == 4:
            self.layers.append(output)
        return output

    def found(self) -> list[Tensor]:
        """What was recorded, in the order of computation. Raises BadRequest where nothing was."""
        if not self.layers:
            raise BadRequest("In this network no attention was seen at work.")
        return self.layers


def _values(query, key, value, *rest, **options) -> Tensor:
    return value


def attention_weights(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
) -> Tensor:
    """softmax(q k' / sqrt(d) + mask), (..., queries, keys), with the arguments of scaled_dot_product_attention."""
    if dropout_p or is_causal or enable_gqa:
        raise BadRequest("Attention with dropout, a causal mask or grouped heads is not written out here.")
    weights = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        weights = weights.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        weights = weights + attn_mask
    return weights.softmax(-1)
