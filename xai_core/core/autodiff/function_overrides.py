"""Giving functions inside a network another derivative, for one thread and one pass.

A `torch.overrides.TorchFunctionMode` sees every call of a torch function made by this thread while it is entered, however
it is spelt: F.relu, torch.relu, Tensor.relu_ and nn.ReLU all arrive under the name `relu`. It answers with a result whose
value is that of the function and whose derivative is another. No hook, no copy of the network, nothing written to it; other
threads do not notice. Only calls on the way from the pictures to the target are answered.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_CLIPPED = {"relu", "relu6", "hardtanh", "clamp", "clamp_min", "threshold"}
_SMOOTH = {"gelu", "silu", "mish", "hardswish", "leaky_relu", "prelu", "elu", "celu", "selu"}
RECTIFIERS = frozenset(_CLIPPED | _SMOOTH)


class Call(NamedTuple):
    """A call of a torch function: its plain name, its arguments, and whether it is to change its first one in place."""

    name: str
    function: Callable
    args: tuple
    options: Mapping[str, Any]
    in_place: bool

    @property
    def input(self) -> Tensor:
        return self.args[0]

    def __call__(self, *changed: Tensor) -> Tensor:
        """The function's value with other tensors for its first arguments."""
        return self.function(*changed, *self.args[len(changed) :], **self.options)

    def option(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by its place or its name."""
        return self.args[place] if len(self.args) > place else self.options.get(name, default)

    def inputs(self) -> list[Tensor]:
        """Those of the first two arguments that depend on what is differentiated."""
        return [one for one in self.args[:2] if isinstance(one, Tensor) and one.requires_grad]


def understood(function: Callable, args: tuple, options: Mapping[str, Any] | None) -> Call:
    """The call without its in-place part: `relu_(x)` and `relu(x, inplace=True)` are `relu(x)`, to be written into x."""
    name, options = getattr(function, "__name__", ""), dict(options or {})
    if not args and "input" in options:
        args = (options.pop("input"),)
    in_place = bool(options.pop("inplace", False)) or any(one is True for one in args[1:])
    if name.endswith("_") and not name.endswith("__"):
        name, in_place = name[:-1], True
        function = getattr(torch.nn.functional, name, None) or getattr(torch, name, function)
    args = tuple(False if one is True else one for one in args) if in_place else args
    return Call(name.removeprefix("_"), function, args, options, in_place)


def is_rectifier(call: Call) -> bool:
    """Whether the call is an activation function that lets through what is positive, and little of what is negative."""
    if call.name not in RECTIFIERS:
        return False
    floor = {
        "hardtanh": (1, "min_val", -1.0),
        "clamp": (1, "min"),
        "clamp_min": (1, "min"),
        "threshold": (1, "threshold"),
    }.get(call.name)
    at_zero = floor is None or (not isinstance(low := call.option(*floor), Tensor) and low is not None and low == 0)
    return at_zero and (call.name != "threshold" or call.option(2, "value") == 0)


class _Surrogate(torch.autograd.Function):
    """The value of one tensor and the derivative of another."""

    @staticmethod
    def forward(ctx, surrogate: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _PositiveSurrogate(_Surrogate):
    """As _Surrogate; on the way back only what is positive passes."""

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.clamp(min=0), None


class _WhereActive(torch.autograd.Function):
    """A tensor itself; on the way back only where it is positive."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        ctx.save_for_backward(values > 0)
        return values.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (active,) = ctx.saved_tensors
        return gradient * active


def with_derivative_of(surrogate: Tensor, value: Tensor) -> Tensor:
    """A tensor that has the value of one and the derivative of the other, of the same shape."""
    return _Surrogate.apply(surrogate, value.detach())


class Substitution(TorchFunctionMode):
    """Inside a `with`, a subclass' `rule` answers the calls that it has something to say to; `substituted` counts them.

    Enter a fresh one for each pass.
    """

    def __init__(self):
        super().__init__()
        self.substituted = 0

    def rule(self, call: Call) -> Tensor | None:
        """The result of the call; None to let it be."""
        raise NotImplementedError

    def __torch_function__(self, function, types, args=(), kwargs=None):
        call = understood(function, args, kwargs)
        if not (call.args and call.inputs()):
            return function(*args, **(kwargs or {}))
        if call.in_place:  # what is written over is kept, for the derivative
            call = call._replace(args=(call.input.clone(), *call.args[1:]))
        found = self.rule(call)
        if found is None:
            return function(*args, **(kwargs or {}))
        self.substituted += 1
        return args[0].copy_(found) if call.in_place else found


class Guided(Substitution):
    """Guided backpropagation: activations pass back only what is positive, where they were positive themselves."""

    def rule(self, call: Call) -> Tensor | None:
        if not is_rectifier(call):
            return None
        found = call(_WhereActive.apply(call.input))
        return _PositiveSurrogate.apply(found, found.detach())


class GuidedReLUs(Guided):
    """As Guided, but at ReLUs only (ReLU6 and the like among them), not at their smooth relatives."""

    def rule(self, call: Call) -> Tensor | None:
        return super().rule(call) if call.name in _CLIPPED else None


class GuidedModules(Guided):
    """As Guided, but only where an `nn.ReLU` module is what called the function: what is written as a plain function call
    stays as it is. (Guided backpropagation is often done by hooks on modules, which cannot see the others.)"""

    def rule(self, call: Call) -> Tensor | None:
        return super().rule(call) if isinstance(_calling_module(), nn.ReLU) else None


def _calling_module() -> nn.Module | None:
    """The module whose `forward` called the torch function that is being answered; None where there is none.

    Only frames of this thread are looked at: a hook would have to be written into modules that others use.
    """
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self") if frame.f_code.co_name == "forward" else None
        if isinstance(owner, nn.Module):
            return owner
        frame = frame.f_back
    return None


class Deconvolving(Substitution):
    """Deconvolution: activations pass back what is positive, whatever they were on the way forward."""

    def rule(self, call: Call) -> Tensor | None:
        if not is_rectifier(call):
            return None
        return _PositiveSurrogate.apply(call.input, call(call.input.detach()))
