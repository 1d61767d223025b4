"""A network whose forward pass cannot be followed: whole, or cut by hand behind modules whose output carries everything.

The private copy of the network gets a cut point in place of each chosen module, once, when it is made. A cut point does
what its module does, except in a pass that starts or ends there: what a pass does is a variable of its own context, so that
any number of threads may run the network at once.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.models.layouts import layout, moved_pictures, without
from xai_core.models.staged import Stage, StagedNetwork
from xai_core.models.taken_apart import PICTURE, UNKNOWN_ATTENTION, check_answer, check_repeatable, default_cut, device_of


class _Pass(NamedTuple):
    start: str = ""
    given: Tensor | None = None
    end: str = ""


class _Reached(Exception):
    """The pass is at its end; the output there."""

    def __init__(self, found: Tensor) -> None:
        super().__init__()
        self.found = found


_WHOLE = _Pass()
_PASS: ContextVar[_Pass] = ContextVar("_PASS", default=_WHOLE)


class _CutPoint(nn.Module):
    """A module in whose place it stands, with its attributes."""

    def __init__(self, module: nn.Module, path: str) -> None:
        super().__init__()
        self.module, self.path = module, path

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        now = _PASS.get()
        if now.given is not None and now.start == self.path:
            return now.given
        found = self.module(*args, **kwargs)
        if now.end == self.path:
            raise _Reached(found)
        return found


class _Part(nn.Module):
    """The network from one cut point (pictures, where there is none) to another (the output, where there is none).

    What comes before the first is run on black pictures and not used.
    """

    def __init__(self, net: nn.Module, side: int, start: str = "", end: str = "") -> None:
        super().__init__()
        self.net, self.side, self.start, self.end = net, side, start, end

    def forward(self, given: Tensor) -> Tensor:
        if self.start:
            pictures, now = given.new_zeros(len(given), 3, self.side, self.side), _Pass(self.start, given, self.end)
        else:
            pictures, now = given.contiguous(), _Pass(end=self.end)
        token = _PASS.set(now)
        try:
            found: Tensor = self.net(pictures)
        except _Reached as reached:
            return reached.found
        finally:
            _PASS.reset(token)
        return found


def uncut(net: nn.Module, side: int, why: str) -> StagedNetwork:
    """A frozen module (n, 3, H, W) -> logits as one piece, for the methods that need pictures and scores only."""
    whole = without(f"{why}, so that it is one piece; name modules to cut behind, as in cuts=['layer4']")
    net = net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not in torch's overloads
    network = StagedNetwork(
        stages=(Stage(PICTURE, nn.Identity(), whole.grid, whole.words),),
        pool=_Part(net, side),
        classify=nn.Identity(),
        attention=UNKNOWN_ATTENTION,
    )
    _checked(net, network, moved_pictures(side)[:3].to(device_of(net)), ())
    return network


def cut_by_hand(net: nn.Module, side: int, cuts: Sequence[str]) -> StagedNetwork:
    """A frozen module, cut behind the modules of these paths. It is changed: pass a copy.

    Raises UnknownName, or BadRequest where a module's output does not carry everything.
    """
    net = net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not in torch's overloads
    modules = dict(net.named_modules())
    pictures = moved_pictures(side).to(device_of(net))
    with torch.no_grad():
        answer = net(pictures[:3])
    check_answer(answer, 3)
    for cut in cuts:
        if cut not in modules or not cut:
            raise UnknownName("module", cut, [path for path in modules if path])
    for cut in sorted(cuts, key=len, reverse=True):  # inner ones first
        parent, _, name = cut.rpartition(".")
        setattr(modules[parent], name, _CutPoint(modules[cut], cut))
    starts, ends = ("", *cuts), (*cuts, "")
    parts = [_Part(net, side, start, end) for start, end in zip(starts, ends, strict=True)]
    layouts, activations = [], pictures
    with torch.no_grad():
        for cut, part in zip(cuts, parts, strict=False):
            activations = part(activations)
            if not isinstance(activations, Tensor):
                raise BadRequest(f"The output of '{cut}' is no tensor, so that the network cannot be cut behind it.")
            layouts.append(layout(activations, None))
    network = StagedNetwork(
        stages=tuple(
            Stage(cut, part, found.grid, found.words) for cut, part, found in zip(cuts, parts, layouts, strict=False)
        ),
        pool=parts[-1],
        classify=nn.Identity(),
        attention=UNKNOWN_ATTENTION,
        input_size=(side, side),
    )
    _checked(net, network, pictures[:3], cuts)
    named = dict(zip(cuts, layouts, strict=True))
    return replace(network, default_cut=default_cut(network, named, pictures[:1]))


def _checked(net: nn.Module, network: StagedNetwork, pictures: Tensor, cuts: Sequence[str]) -> None:
    with torch.no_grad():
        answer = net(pictures)
        check_answer(answer, len(pictures))
        check_repeatable(net(pictures), answer)
        pieced = network.outputs(pictures).logits
    if not torch.allclose(pieced, answer, rtol=1e-3, atol=1e-3 * float(answer.abs().max())):
        names = " or ".join(f"'{cut}'" for cut in cuts)
        raise BadRequest(
            f"The output of {names} does not carry everything: the rest of the network needs more of the picture."
        )
