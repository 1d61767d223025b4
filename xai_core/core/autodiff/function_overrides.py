"""Giving functions inside a network another derivative, for one thread and one pass.

A `torch.overrides.TorchFunctionMode` sees every call of a torch function made by this thread while it is entered, however
it is spelt: F.relu, torch.relu, Tensor.relu_ and nn.ReLU all arrive under the name `relu`. It answers with a result whose
value is that of the function and whose derivative is another. No hook, no copy of the network, nothing written to it; other
threads do not notice. Only calls whose input depends on the images are answered.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode

_CLIPPED = {"relu", "relu6", "hardtanh", "clamp", "clamp_min", "threshold"}
_SMOOTH = {"gelu", "silu", "mish", "hardswish", "leaky_relu", "prelu", "elu", "celu", "selu"}
RECTIFIERS = frozenset(_CLIPPED | _SMOOTH)


class Call(NamedTuple):
    """A call of a torch function: its plain name, its arguments, and whether it is to change its first one in place."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    in_place: bool

    @property
    def input(self) -> Tensor:
        """The first argument."""
        tensor: Tensor = self.args[0]
        return tensor

    def __call__(self, *changed: Tensor) -> Tensor:
        """The function's value with other tensors for its first arguments."""
        value: Tensor = self.function(*changed, *self.args[len(changed) :], **self.options)
        return value

    def option(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by its place or its name."""
        return self.args[place] if len(self.args) > place else self.options.get(name, default)

    def inputs(self) -> list[Tensor]:
        """Those of the first two arguments that depend on what is differentiated."""
        return [one for one in self.args[:2] if isinstance(one, Tensor) and one.requires_grad]


def parse_call(function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any] | None) -> Call:
    """The call without its in-place part: `relu_(x)` and `relu(x, inplace=True)` are `relu(x)`, to be written into x.

    A function is in place by a trailing underscore in its name or by the keyword `inplace`. The functions of
    `torch.nn.functional` hand `inplace` on by keyword also where their caller gave it by position, so that no positional
    argument is ever taken for it (in `torch.max_pool2d(x, 2, 2, 0, 1, True)` the last one is `ceil_mode`).
    """
    name, options = getattr(function, "__name__", ""), dict(options or {})
    if not args and "input" in options:
        args = (options.pop("input"),)
    in_place = bool(options.pop("inplace", False))
    if name.endswith("_") and not name.endswith("__"):
        name, in_place = name[:-1], True
        function = getattr(torch.nn.functional, name, getattr(torch, name, function))
    return Call(name.strip("_"), function, args, options, in_place)


def is_rectifier(call: Call) -> bool:
    """Whether the call is an activation function that lets through what is positive, and little of what is negative."""
    if call.name not in RECTIFIERS:
        return False
    if call.name == "threshold":
        return _is_zero(call.option(1, "threshold")) and _is_zero(call.option(2, "value"))
    if call.name == "hardtanh":
        return _is_zero(call.option(1, "min_val", -1.0))
    return call.name not in ("clamp", "clamp_min") or _is_zero(call.option(1, "min"))


def _is_zero(bound: object) -> bool:
    return not isinstance(bound, Tensor) and bound is not None and bound == 0


class _Surrogate(torch.autograd.Function):
    """The value of one tensor and the derivative of another."""

    @staticmethod
    def forward(ctx: FunctionCtx, surrogate: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _PositiveSurrogate(_Surrogate):
    """As _Surrogate; on the way back only what is positive passes."""

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.clamp(min=0), None


class _WhereActive(torch.autograd.Function):
    """A tensor itself; on the way back only where it is positive."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        ctx.save_for_backward(values > 0)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # the class that has `saved_tensors` is made by torch at run time
        active: Tensor = ctx.saved_tensors[0]
        return gradient * active


def _applied(function: type[torch.autograd.Function], *tensors: Tensor) -> Tensor:
    result: Tensor = function.apply(*tensors)
    return result


def with_derivative_of(surrogate: Tensor, value: Tensor) -> Tensor:
    """A tensor that has the value of one and the derivative of the other, of the same shape."""
    return _applied(_Surrogate, surrogate, value.detach())


class Substitution(TorchFunctionMode):
    """Inside a `with`, a subclass' `rule` answers the calls that it has a rule for; `substituted` counts them.

    Enter a fresh one for each pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.substituted = 0

    def rule(self, call: Call) -> Tensor | None:
        """The result of the call; None leaves the call as it is."""
        raise NotImplementedError

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        call = parse_call(function, args, kwargs)
        if not (call.args and call.inputs()):
            return function(*args, **(kwargs or {}))
        overwritten = call.input
        if call.in_place:  # the derivative needs the values from before
            call = call._replace(args=(overwritten.clone(), *call.args[1:]))
        answer = self.rule(call)
        if answer is None:
            return function(*args, **(kwargs or {}))
        self.substituted += 1
        return overwritten.copy_(answer) if call.in_place else answer


class Guided(Substitution):
    """Guided backpropagation: activations pass back only what is positive, where they were positive themselves."""

    def rule(self, call: Call) -> Tensor | None:
        if not is_rectifier(call):
            return None
        value = call(_applied(_WhereActive, call.input))
        return _applied(_PositiveSurrogate, value, value.detach())


class GuidedReLUs(Guided):
    """As Guided, but at ReLUs only (ReLU6 and the like among them), not at their smooth relatives."""

    def rule(self, call: Call) -> Tensor | None:
        return super().rule(call) if call.name in _CLIPPED else None


class GuidedModules(Guided):
    """As Guided, but only where an `nn.ReLU` module called the function: plain calls of F.relu keep their derivative.

    Guided backpropagation is often implemented by hooks on modules, which do not see plain function calls.
    """

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
        return _applied(_PositiveSurrogate, call.input, call(call.input.detach()))
