"""Where a traced network can be cut, and its pieces between cuts as modules over its own parts.

A network can be cut behind a node where one tensor carries everything: nothing else that was computed from the pictures is
needed later. Parameters, and what is made of them, stand on both sides. Numbers (the size of an earlier tensor) are needed
later too; each must follow from the tensor at the cut.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from xai_core.models.tracing import Traced

OVERWRITTEN = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)  # layers whose gradient does not depend on their output


class Seen(NamedTuple):
    """What a probe saw of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class NotACut(ValueError):
    """One tensor does not carry everything here; the message says what else is needed."""


Probe = dict[fx.Node, Any]  # node -> Seen of its tensor, or its value where that holds no tensor


class _Recorder(fx.Interpreter):
    """Runs the graph, notes what each node gives, and shows each tensor to a function."""

    def __init__(self, module: fx.GraphModule, show: Callable[[fx.Node, Tensor], None]) -> None:
        super().__init__(module)
        self.show, self.probe = show, Probe()
        self.same: dict[fx.Node, fx.Node] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.probe[n] = Seen(tuple(value.shape), value.dtype)
            for before in n.all_input_nodes:
                if _same(value, self.env.get(before)):
                    self.same[n] = before
            self.show(n, value)
        else:
            self.probe[n] = TENSORS if _holds_tensor(value) else value
        return value


TENSORS = object()  # what a probe notes of several tensors in one value


def _same(value: Tensor, before: object) -> bool:
    """Whether a node did nothing (dropout in eval mode, Identity)."""
    if value is before:
        return True
    return (
        isinstance(before, Tensor)
        and value.data_ptr() == before.data_ptr()
        and (value.shape, value.stride(), value.dtype) == (before.shape, before.stride(), before.dtype)
    )


def _holds_tensor(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_tensor, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_tensor, value))
    return isinstance(value, Tensor)


class Piece(nn.Module):
    """A part of a network. (Called as such, torch.fx's module writes to the standard error stream when it fails.)"""

    def __init__(self, parts: fx.GraphModule) -> None:
        super().__init__()
        self.parts = parts

    @property
    def code(self) -> str:
        return self.parts.code

    def forward(self, *tensors: Tensor) -> Any:
        return self.parts.forward(*tensors)


@dataclass
class Anatomy:
    """A traced network, and what probes with pictures saw in it.

    probes     of pictures of the usual size, of different numbers of them
    others     of pictures of another size, where the network takes one
    same       node -> the node before it whose tensor it passes on
    """

    traced: Traced
    probes: list[Probe] = field(default_factory=list)
    others: list[Probe] = field(default_factory=list)
    same: dict[fx.Node, fx.Node] = field(default_factory=dict)
    bound: bool = False  # whether some piece was made for pictures of the usual size

    def __post_init__(self) -> None:
        needed, stack = set[fx.Node](), [self.traced.answer]
        while stack:
            node = stack.pop()
            if node not in needed:
                needed.add(node)
                stack.extend(node.all_input_nodes)
        self.nodes = [node for node in self.traced.module.graph.nodes if node in needed]
        [self.pictures] = [node for node in self.nodes if node.op == "placeholder"]
        self.features = self.traced.answer
        self.place = {node: index for index, node in enumerate(self.nodes)}

    def probe(
        self,
        pictures: Tensor,
        show: Callable[[fx.Node, Tensor], None] = lambda node, value: None,
        other_size: bool = False,
    ) -> Tensor:
        """Runs the network on the pictures and notes what every node gives. Returns its output."""
        recorder = _Recorder(self.traced.module, show)
        with torch.no_grad():
            answer: Tensor = recorder.run(pictures)
        (self.others if other_size else self.probes).append(recorder.probe)
        if not self.same and not other_size:
            self.same = recorder.same
            self._find_dependent()
        return answer

    def _find_dependent(self) -> None:
        """Which nodes hold tensors computed from the pictures, and where each is used last."""
        seen = self.probes[0]
        self.dependent = set[fx.Node]()
        for node in self.nodes:
            tensor = isinstance(seen[node], Seen) or seen[node] is TENSORS
            if tensor and (node.op == "placeholder" or any(one in self.dependent for one in node.all_input_nodes)):
                self.dependent.add(node)
        self.last_use = dict.fromkeys(self.dependent, -1)
        for node in self.nodes:
            if node in self.dependent:
                for one in node.all_input_nodes:
                    if one in self.dependent:
                        self.last_use[one] = self.place[node]

    def crossing(self, node: fx.Node) -> list[fx.Node]:
        """The other tensors computed from the pictures until here that are needed behind this node; of several tensors in
        one value (the parts that `split` gives) those of them. Raises NotACut where they are taken all at once."""
        place = self.place[node]
        before = [one for one in self.nodes[:place] if one in self.dependent and self.last_use[one] > place]
        found = dict.fromkeys(part for one in before for part in self._tensors_of(one, place))
        return [one for one in found if one is not node]

    def _tensors_of(self, node: fx.Node, place: int) -> list[fx.Node]:
        if isinstance(self.probes[0][node], Seen):
            return [node]
        needed = [one for one in node.users if one in self.dependent and max(self.place[one], self.last_use[one]) > place]
        if any(one.target is not operator.getitem for one in needed):
            raise NotACut(f"all of '{node}' is needed behind it as well")
        return [part for one in needed for part in self._tensors_of(one, place)]

    def carriers(self) -> list[fx.Node]:
        """The nodes behind which one tensor carries everything, in order."""
        found, furthest = [], -1
        for place, node in enumerate(self.nodes):
            if node not in self.dependent:
                continue
            if furthest <= place and isinstance(self.probes[0][node], Seen):
                found.append(node)
            furthest = max(furthest, self.last_use[node])
        return found

    def original(self, node: fx.Node) -> fx.Node:
        """The first node that holds this node's tensor, before those that pass it on."""
        while node in self.same and self.same[node] in self.dependent:
            node = self.same[node]
        return node

    def piece(self, starts: Sequence[fx.Node], ends: Sequence[fx.Node]) -> "Piece":
        """The part of the network from the tensors `starts`, the cut first, to `ends`, as a module of so many arguments.

        Raises NotACut where it needs more than these tensors.
        """
        boundary = self.place[starts[0]]
        needed, sizes, stack = set[fx.Node](), set[fx.Node](), list(ends)
        while stack:
            node = stack.pop()
            if node in starts or node in needed or node in sizes:
                continue
            if node in self.dependent and (node.op == "placeholder" or self.place[node] < boundary):
                raise NotACut(f"'{node}' is needed behind it as well")
            outside = [one for one in node.all_input_nodes if one in self.dependent and one not in starts]
            if node not in self.dependent and any(self.place[one] < boundary for one in outside):
                sizes.add(node)
                continue
            needed.add(node)
            stack.extend(node.all_input_nodes)
        graph = fx.Graph()
        env: dict[fx.Node, Any] = {start: graph.placeholder(f"x{index}") for index, start in enumerate(starts)}
        for node in sizes:
            env[node] = self._follows(graph, node, starts, env)
        for node in self.nodes:
            if node in needed:
                env[node] = graph.node_copy(node, env.__getitem__)
                if node.target is operator.add and self._may_overwrite(node, needed.difference(ends)):
                    env[node].target = operator.iadd
        results = tuple(env[end] for end in ends)
        graph.output(results[0] if len(ends) == 1 else results)
        return Piece(fx.GraphModule(self.traced.module, graph)).eval()

    def _may_overwrite(self, sum_: fx.Node, inside: set[fx.Node]) -> bool:
        """Whether the first term of a sum is the output of a layer that nothing else needs, not the gradient either: the sum
        may then be written over it, as in most networks' own code."""
        term, user = sum_.args[0], sum_
        while isinstance(term, fx.Node) and term in inside and list(term.users) == [user]:
            if self.probes[0][term] != self.probes[0][sum_]:
                return False
            if term not in self.same:
                return term.op == "call_module" and type(self.traced.module.get_submodule(str(term.target))) in OVERWRITTEN
            term, user = self.same[term], term
        return False

    def _follows(self, graph: fx.Graph, node: fx.Node, starts: Sequence[fx.Node], env: dict[fx.Node, Any]) -> Any:
        """A number of an earlier tensor (or several), computed from the tensors at the cut."""
        for probes in ([*self.probes, *self.others], self.probes):
            try:
                found = _fit([probe[node] for probe in probes], [[probe[one] for one in starts] for probe in probes])
            except NotACut:
                continue
            self.bound |= bool(self.others) and probes is self.probes
            return _computed(graph, found, [env[one] for one in starts])
        raise NotACut(f"'{node}' is needed behind it as well")


class _Share(NamedTuple):
    """A dimension of one of the tensors at the cut, times a ratio."""

    tensor: int
    axis: int
    ratio: Fraction


class _Attribute(NamedTuple):
    name: str


def _fit(values: Sequence[Any], cuts: Sequence[Sequence[Seen]]) -> Any:
    """How a value follows from the tensors at the cut, in every probe: a constant, a share of a dimension, or several."""
    first = values[0]
    if isinstance(first, list | tuple):
        if len({len(value) for value in values}) > 1:
            raise NotACut("its length changes")
        return tuple(_fit(parts, cuts) for parts in zip(*values, strict=True))
    if isinstance(first, torch.dtype) and all(value == cut[0].dtype for value, cut in zip(values, cuts, strict=True)):
        return _Attribute("dtype")
    if isinstance(first, torch.device):
        return _Attribute("device")
    if all(type(value) is type(first) and value == first for value in values):
        return first
    if isinstance(first, int):
        for tensor, seen in enumerate(cuts[0]):
            for axis, length in enumerate(seen.shape):
                ratio = Fraction(first, length) if length else Fraction(0)
                shares = [cut[tensor].shape[axis] * ratio for cut in cuts]
                if 1 in (ratio.numerator, ratio.denominator) and shares == list(values):
                    return _Share(tensor, axis, ratio)
    raise NotACut("it follows from no size there")


def _computed(graph: fx.Graph, fitted: Any, tensors: Sequence[fx.Node]) -> Any:
    if isinstance(fitted, _Attribute):
        return graph.call_function(getattr, (tensors[0], fitted.name))
    if isinstance(fitted, _Share):
        shape = graph.call_function(getattr, (tensors[fitted.tensor], "shape"))
        length = graph.call_function(operator.getitem, (shape, fitted.axis))
        times = graph.call_function(operator.mul, (length, fitted.ratio.numerator))
        return graph.call_function(operator.floordiv, (times, fitted.ratio.denominator))
    if isinstance(fitted, tuple):
        return tuple(_computed(graph, part, tensors) for part in fitted)
    return fitted
