"""The graph of a network, found by torch.fx: every operation, and which of them is the output of which module.

Modules and functions that timm and torchvision register as not to be looked into stay whole.
"""

import inspect
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from xai_core.core import torchvision_compat
from xai_core.core.errors import BadRequest

torchvision_compat.ensure_importable()

import timm
import torchvision.ops

_TIMM: Any = timm.layers  # untyped


class Untraceable(BadRequest):
    """A forward pass that torch.fx cannot follow."""


@dataclass(frozen=True)
class Traced:
    """A network's graph.

    module     the graph over the network's own parts, its nodes in the order of the forward pass
    modules    the network's own, by their paths
    outputs    paths of `named_modules()` -> the node that is the module's output, for modules that run once and give one
               value; in the order in which they end
    answer     the node that is the network's output
    """

    module: fx.GraphModule
    modules: dict[str, nn.Module]
    outputs: dict[str, fx.Node]
    answer: fx.Node


class _Whole(nn.Module):
    """Calls the network with nothing but the pictures, so that all its other arguments have their defaults."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures: Tensor) -> Any:
        return self.net(pictures)


class _Tracer(fx.Tracer):
    """Notes the outputs of modules. torch.fx changes `nn.Module.__call__` for all threads while it traces: the calls of
    other threads are passed on here as they are."""

    def __init__(self) -> None:
        wrapped: Any = (math, torchvision.ops)  # torch.fx declares one module where it takes any number
        super().__init__(wrapped, tuple(_TIMM.get_notrace_functions()))
        leaves = [one for _, one in inspect.getmembers(torchvision.ops, inspect.isclass) if issubclass(one, nn.Module)]
        self.leaves = (*_TIMM.get_notrace_modules(), *leaves)
        self.thread = threading.get_ident()
        self.outputs: dict[str, list[Any]] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        found = super().call_module(m, forward, args, kwargs)
        self.outputs.setdefault(self.path_of_module(m).removeprefix("net").removeprefix("."), []).append(found)
        return found

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


_TRACING = threading.Lock()


def traced(net: nn.Module) -> Traced:
    """The graph of a frozen module. Constants that tracing finds are kept beside the module.

    Raises Untraceable where the forward pass depends on values, and BadRequest where it does not give one tensor.
    """
    whole = _Whole(net).eval()
    with _TRACING:
        tracer = _Tracer()
        try:
            graph = tracer.trace(whole)
        except Exception as error:  # whatever the network's own code raises when it meets a symbol in place of a tensor
            raise Untraceable(f"torch.fx cannot follow the network's forward pass ({str(error).rstrip('.')})") from error
    [answer] = [node.args[0] for node in graph.nodes if node.op == "output"]
    if not isinstance(answer, fx.Node):
        raise BadRequest(one_tensor(answer))
    for node in graph.nodes:
        _out_of_place(node)
    outputs = {
        path: values[0].node
        for path, values in tracer.outputs.items()
        if path and len(values) == 1 and isinstance(values[0], fx.Proxy)
    }
    return Traced(fx.GraphModule(whole, graph), dict(net.named_modules()), outputs, answer)


def one_tensor(answer: object) -> str:
    """The sentence for a network whose output is no tensor."""
    kind = "a dict" if isinstance(answer, dict) else "several values" if isinstance(answer, list | tuple) else "no tensor"
    return (
        f"The network's output is {kind} ({type(answer).__name__}); one tensor of logits (n, K) is needed. Wrap it in "
        "a module whose forward returns that one."
    )


def _out_of_place(node: fx.Node) -> None:
    """Functions are not to change a tensor that may be a cut, and views not to depend on how a tensor lies in memory."""
    if node.op == "call_function" and node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
    if node.op == "call_method" and node.target == "view" and not any(isinstance(one, torch.dtype) for one in node.args):
        node.target = "reshape"
