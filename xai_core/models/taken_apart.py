"""Any network as a StagedNetwork: traced, cut where one tensor carries everything, its grids and its default cut found out.

Nothing is read from names: stages are called by the paths of the modules whose outputs they are.
"""

import bisect
import math
import threading
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.models.layouts import Layout, layout, moved_pictures, told_by_sizes, without
from xai_core.models.segments import Anatomy, NotACut, Seen
from xai_core.models.staged import Attention, InnerCut, Stage, StagedNetwork, Step
from xai_core.models.tracing import one_tensor, traced

UNKNOWN_ATTENTION = Attention(note="Attention weights are read of the networks of known families only.")
PICTURE = "picture"  # the only stage of a network that is in one piece
BRANCHES = "nowhere does one tensor with several places carry everything, but each module's output can be chosen"
SPREAD = 0.5  # of a grid's cells must have a gradient, for a default cut
SAME = 1e-3  # of the largest logit: rounding between batches of different length


def taken_apart(net: nn.Module, side: int, cuts: Sequence[str] | None = None, embeds: bool = False) -> StagedNetwork:
    """A frozen module (n, 3, H, W) -> logits (n, K), as stages without normalisation.

    side   of the pictures that it is made for
    cuts   paths of `named_modules()` to cut behind; None: all outputs of blocks, and of modules outside blocks, where one
           tensor carries everything
    embeds the output is an embedding instead of logits: the network has features, and no classifier

    Raises Untraceable, BadRequest, UnknownName.
    """
    anatomy = Anatomy(traced(net))
    pictures = moved_pictures(side).to(device_of(net))
    answer = anatomy.probe(pictures[:3])
    check_answer(answer, 3)
    _probe_another_size(anatomy, side, pictures.device)
    names = _stage_names(anatomy) if cuts is None else _chosen(anatomy, cuts)
    layouts = {anatomy.pictures: without(BRANCHES)}
    layouts |= {node: told for node in names if node not in layouts and (told := _told_by_sizes(anatomy, node))}

    def note_layout(node: fx.Node, value: Tensor) -> None:
        if node in names and node not in layouts:
            layouts[node] = layout(value, _elsewhere(anatomy, node))

    again = anatomy.probe(pictures[:4] if names.keys() <= layouts.keys() else pictures, note_layout)
    check_repeatable(again[:3], answer)
    network = _assembled(anatomy, names, layouts, embeds)
    layouts_of = {name: layouts[node] for node, name in names.items()}
    with torch.no_grad():
        pieced = network.outputs(pictures[:3])
        check_repeatable(pieced.features if embeds else pieced.logits, answer)
    return replace(
        network,
        input_size=None if anatomy.others and not anatomy.bound else (side, side),
        default_cut=default_cut(network, layouts_of, pictures[:1]),
        inside=_Inside(anatomy, network, pictures),
    )


def device_of(net: nn.Module) -> torch.device:
    return next((one.device for one in net.parameters()), torch.device("cpu"))


def check_answer(answer: object, pictures: int) -> None:
    """Raises BadRequest where the output for so many pictures is not one tensor of logits (n, K)."""
    if not isinstance(answer, Tensor):
        raise BadRequest(one_tensor(answer))
    if answer.ndim != 2 or len(answer) != pictures:
        raise BadRequest(
            f"For {pictures} pictures the network's output has the shape {tuple(answer.shape)}; ({pictures}, K) is needed, "
            "one row of logits for each picture. Wrap it in a module whose forward returns these."
        )
    if not answer.isfinite().all():
        raise BadRequest("The network's output for a picture of noise is not finite (NaN or infinity): check its weights.")


def check_repeatable(again: Tensor, answer: Tensor) -> None:
    """Raises BadRequest where the same pictures did not get the same logits."""
    if not torch.allclose(again, answer, rtol=SAME, atol=SAME * float(answer.abs().max())):
        raise BadRequest(
            "The network gives another answer to the same picture when it is asked again (dropout that stays on, random "
            "draws, or statistics of the batch), so that its answers cannot be explained. Turn this off in its forward "
            "pass, as dropout(..., training=self.training) does."
        )


def _probe_another_size(anatomy: Anatomy, side: int, device: torch.device) -> None:
    """Notes what the network makes of oblong pictures of another size, if it takes them. Sides that are no multiple of a
    stride show which sizes follow from others and which only seem to."""
    try:
        anatomy.probe(torch.zeros(2, 3, side + 37, side + 51, device=device), other_size=True)
    except Exception:  # whatever the network's code raises
        anatomy.others.clear()


def _elsewhere(anatomy: Anatomy, node: fx.Node) -> tuple[int, ...] | None:
    return anatomy.others[0][node].shape if anatomy.others else None


def _told_by_sizes(anatomy: Anatomy, node: fx.Node) -> Layout | None:
    elsewhere = _elsewhere(anatomy, node)
    return None if elsewhere is None else told_by_sizes(anatomy.probes[0][node].shape, elsewhere)


def _paths(anatomy: Anatomy) -> dict[fx.Node, list[str]]:
    """Nodes where one tensor carries everything -> the paths of modules whose output this tensor is."""
    found: dict[fx.Node, list[str]] = {anatomy.original(node): [] for node in anatomy.carriers()}
    for path, node in anatomy.traced.outputs.items():
        if node in anatomy.dependent and (first := anatomy.original(node)) in found:
            found[first].append(path)
    return {node: paths for node, paths in found.items() if paths and node.op != "placeholder"}


def _stage_names(anatomy: Anatomy) -> dict[fx.Node, str]:
    """The nodes behind which the network is cut, in order, and what each is called: blocks (modules with a number for a name
    and modules inside) and modules outside of blocks, up to the last tensor with several places."""
    modules = anatomy.traced.modules
    inner = {path.rpartition(".")[0] for path in anatomy.traced.outputs}
    is_block = {
        path: path.rpartition(".")[2].isdigit() and path in inner and type(modules[path]) is not nn.Sequential
        for path in anatomy.traced.outputs
    }
    paths = _paths(anatomy)
    names = {node: _name([path for path in found], is_block, modules) for node, found in paths.items()}
    blocks = {name for name in names.values() if is_block[name]}
    smallest = {name for name in blocks if not any(other.startswith(f"{name}.") for other in blocks)}
    names = {node: name for node, name in names.items() if not any(name.startswith(f"{one}.") for one in smallest)}
    wide = [index for index, node in enumerate(names) if _places(anatomy.probes[0][node]) > 1]
    return dict(list(names.items())[: wide[-1] + 1]) if wide else {anatomy.pictures: PICTURE}


def _name(paths: list[str], is_block: dict[str, bool], modules: dict[str, nn.Module]) -> str:
    """Of paths to modules with the same output: the smallest block, else the outermost module that is no mere sequence."""
    depth = {path: path.count(".") for path in paths}
    blocks = [path for path in paths if is_block[path]]
    if blocks:
        return max(blocks, key=depth.__getitem__)
    outer = [path for path in paths if type(modules[path]) is not nn.Sequential]
    return min(reversed(outer or paths), key=depth.__getitem__)


def _places(seen: Seen) -> int:
    """How many places activations may have: all but the number of pictures and one axis."""
    return math.prod(seen.shape[1:]) // max(seen.shape[1:], default=1) if len(seen.shape) > 2 else 1


def _chosen(anatomy: Anatomy, cuts: Sequence[str]) -> dict[fx.Node, str]:
    """The nodes of cuts that somebody has chosen. Raises UnknownName, or BadRequest where more than one tensor is needed."""
    by_path = {path: node for node, paths in _paths(anatomy).items() for path in paths}
    for cut in cuts:
        if cut not in anatomy.traced.outputs:
            raise UnknownName("module with one output", cut, list(anatomy.traced.outputs))
        if cut not in by_path:
            raise BadRequest(f"The output of '{cut}' does not carry everything: {_beside(anatomy, cut)}.")
    ordered = sorted(cuts, key=lambda cut: anatomy.place[by_path[cut]])
    if not ordered:
        raise BadRequest("Give at least one cut.")
    return {by_path[cut]: cut for cut in ordered}


def _beside(anatomy: Anatomy, path: str) -> str:
    node = anatomy.traced.outputs[path]
    if node not in anatomy.dependent:
        return "it does not depend on the picture, or nothing depends on it"
    try:
        others = len(anatomy.crossing(node))
    except NotACut:
        others = 2  # at least
    needed = "other tensors" if others > 1 else "another tensor"
    return f"the rest of the network needs {needed} computed before it"


def _assembled(anatomy: Anatomy, names: dict[fx.Node, str], layouts: dict[fx.Node, Layout], embeds: bool) -> StagedNetwork:
    """The stages, pool and classifier of the named nodes. A node whose tensor does not give every number that is needed
    behind it is left out."""
    anatomy.features, classify = (anatomy.traced.answer, None) if embeds else _head(anatomy, list(names)[-1])
    cuts = [anatomy.pictures]
    pieces: list[nn.Module] = []
    for node in [*names, anatomy.features]:
        while True:
            try:
                pieces.append(anatomy.piece([cuts[-1]], [node]))
                break
            except NotACut:
                if not pieces:
                    raise
                cuts.pop()
                pieces.pop()
        cuts.append(node)
    stages = tuple(
        Stage(names[node], piece, layouts[node].grid, layouts[node].words)
        for node, piece in zip(cuts[1:-1], pieces[:-1], strict=True)
    )
    return StagedNetwork(stages=stages, pool=pieces[-1], classify=classify, attention=UNKNOWN_ATTENTION)


def _head(anatomy: Anatomy, last: fx.Node) -> tuple[fx.Node, nn.Module]:
    """The node of the features (n, D), and what makes logits of them: the last Linear, or whatever follows the last such
    node. Where nothing is left, the logits are the features."""
    answer = anatomy.original(anatomy.traced.answer)
    flat = [
        node
        for node in map(anatomy.original, anatomy.carriers())
        if len(anatomy.probes[0][node].shape) == 2 and anatomy.place[last] < anatomy.place[node] < anatomy.place[answer]
    ]
    if not flat:
        return anatomy.traced.answer, nn.Identity()
    last_input = [anatomy.original(one) for one in answer.all_input_nodes if one in anatomy.dependent]
    for path, node in anatomy.traced.outputs.items():
        module = anatomy.traced.modules[path]
        if anatomy.original(node) is answer and isinstance(module, nn.Linear) and last_input == flat[-1:]:
            return flat[-1], module
    return flat[-1], anatomy.piece([flat[-1]], [anatomy.traced.answer])


def default_cut(network: StagedNetwork, layouts: dict[str, Layout], picture: Tensor) -> str:
    """The last cut with a grid on which the features depend at most places: where only a class token is read, the one before
    the last block. Without any such grid the last cut."""
    with torch.no_grad():
        activations = [picture]
        for stage in network.stages:
            activations.append(stage.run(activations[-1]))
    sizes = [layouts[name].size for name in network.cuts]
    for index in reversed(range(len(sizes))):
        if sizes[index]:
            leaf = activations[index + 1].detach().requires_grad_()
            with torch.enable_grad():
                features = network.tail(leaf, network.cuts[index]).features[0]
                weights = torch.arange(1.0, len(features) + 1, device=features.device).sin()
                [gradient] = torch.autograd.grad(features @ weights, leaf)
            reached = network.grid(gradient, network.cuts[index]).abs().amax(1)
            if float((reached > 1e-6 * reached.max()).float().mean()) >= SPREAD:
                return network.cuts[index]
    return ""


class _Inside:
    """Makes the cuts that are no stages, when they are asked for: any module's output, with what else is needed behind it
    carried along in the same tensor."""

    def __init__(self, anatomy: Anatomy, network: StagedNetwork, pictures: Tensor) -> None:
        self.anatomy, self.network, self.pictures = anatomy, network, pictures
        self.made: dict[str, InnerCut] = {}
        self.making = threading.Lock()
        outputs = anatomy.traced.outputs
        self.nodes = {path: node for path, node in outputs.items() if _is_tensor(anatomy, node)}
        self.stages = [anatomy.original(outputs.get(name, anatomy.pictures)) for name in network.cuts]
        places = [anatomy.place[node] for node in self.stages]
        self.before = {path: bisect.bisect_left(places, anatomy.place[node]) for path, node in self.nodes.items()}
        self.names = tuple(self.nodes)

    def __call__(self, path: str) -> InnerCut:
        with self.making:
            if path not in self.made:
                self.made[path] = self._cut(path)
            return self.made[path]

    def _cut(self, path: str) -> InnerCut:
        anatomy, node, before = self.anatomy, self.nodes[path], self.before[path]
        start = self.stages[before - 1] if before else anatomy.pictures
        end = self.stages[before] if before < len(self.stages) else anatomy.features
        try:
            others = anatomy.crossing(node)
            run, rest = anatomy.piece([start], [node, *others]), anatomy.piece([node, *others], [end])
        except NotACut as error:
            raise BadRequest(f"There is no cut behind '{path}': {error}.") from error
        shapes = [anatomy.probes[0][one].shape[1:] for one in (node, *others)]
        pack, unpack = _packed(path, run, shapes), _unpacked(rest, shapes)
        with torch.no_grad():
            activations = self.pictures
            for stage in self.network.stages[:before]:
                activations = stage.run(activations)
            shown = _parts(pack(activations), shapes)[0]
        found = _told_by_sizes(anatomy, node) or layout(shown, _elsewhere(anatomy, node))
        return InnerCut(before, pack, unpack, lambda packed: found.grid(_parts(packed, shapes)[0]), before + 1)


def _is_tensor(anatomy: Anatomy, node: fx.Node) -> bool:
    return node in anatomy.dependent and isinstance(anatomy.probes[0][node], Seen)


def _packed(path: str, run: nn.Module, shapes: Sequence[tuple[int, ...]]) -> Step:
    def pack(activations: Tensor) -> Tensor:
        found = run(activations)
        parts = found if isinstance(found, tuple) else (found,)
        if [tuple(part.shape[1:]) for part in parts] != [tuple(shape) for shape in shapes] or len(parts[0]) != len(
            activations
        ):
            raise BadRequest(
                f"The cut behind '{path}' lies inside a block: it is offered on pictures of the network's usual size only, "
                "and only where each picture has one row (windows of several pictures have not)."
            )
        return torch.cat([part.flatten(1) for part in parts], 1)

    return pack


def _unpacked(rest: nn.Module, shapes: Sequence[tuple[int, ...]]) -> Step:
    def unpack(packed: Tensor) -> Tensor:
        result: Tensor = rest(*_parts(packed, shapes))
        return result

    return unpack


def _parts(packed: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The tensors that one row for each picture holds, as views."""
    lengths = [math.prod(shape) for shape in shapes]
    return [part.unflatten(1, shape) for part, shape in zip(packed.split(lengths, 1), shapes, strict=True)]
