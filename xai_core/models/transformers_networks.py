"""Image classifiers of Hugging Face's `transformers`: their logits, how their processor prepares pictures, and their cuts.

torch.fx cannot follow these networks, so that they are cut behind modules: behind each layer of their stacks and what comes
before and after them, where the output carries everything. `transformers` itself is never imported here: what is needed
stands in the network's configuration.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from xai_core.core.errors import BadRequest
from xai_core.data.recipe import Recipe
from xai_core.models.layouts import moved_pictures
from xai_core.models.staged import StagedNetwork

USUAL_SIDE = 224
INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # by PIL's number, which a processor holds as `resample`
INSIDE = "net."  # before the paths of the network's modules in `Logits`
PLAIN = {"LABEL_0", "LABEL_1"}  # a configuration's names of classes that nobody has named


class Logits(nn.Module):
    """The network as a module (n, 3, H, W) -> logits (n, K)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures: Tensor) -> Tensor:
        answer: Tensor = self.net(pixel_values=pictures).logits
        return answer


def is_of_transformers(net: object) -> bool:
    """Whether this is a network of `transformers`."""
    return isinstance(net, nn.Module) and hasattr(net, "config") and hasattr(net.config, "model_type")


def checked(net: nn.Module) -> Logits:
    """The network as a module that gives logits. Raises BadRequest where it is no image classifier."""
    if not is_of_transformers(net):
        raise BadRequest(
            f"Give a network of transformers; this is a {type(net).__name__}. from_module takes other networks."
        )
    name = type(net).__name__
    if not name.endswith("ForImageClassification"):
        raise BadRequest(
            f"Give an image classifier of transformers, such as ViTForImageClassification; {name} has no logits of classes."
        )
    return Logits(net)


def class_names(net: nn.Module) -> tuple[str, ...]:
    """The names in the configuration, by index; none where nobody has named the classes."""
    named: Mapping[Any, str] = getattr(net.config, "id2label", None) or {}
    names = {int(index): str(name) for index, name in named.items()}
    if sorted(names) != list(range(len(names))) or set(names.values()) & PLAIN:
        return ()
    return tuple(names[index] for index in range(len(names)))


def recipe(net: nn.Module, processor: Any = None) -> Recipe:
    """How pictures are prepared: as the processor says (its object, or the settings of its file); without one, the side in
    the network's configuration with ImageNet's mean and spread."""
    given = processor.to_dict() if hasattr(processor, "to_dict") else dict(processor or {})
    crop = given.get("crop_size") if given.get("do_center_crop") else None
    size = given.get("size") if given.get("do_resize", True) else None
    side = _side(crop or size) or _side(getattr(net.config, "image_size", None)) or USUAL_SIDE
    usual = Recipe()
    normalises = given.get("do_normalize", True)
    return Recipe(
        input_size=side,
        shorter_side=max(side, _shorter(given, size, side)),
        interpolation=INTERPOLATIONS.get(int(given.get("resample") or 2), "bilinear"),
        mean=_three(given.get("image_mean"), usual.mean) if normalises else None,
        std=_three(given.get("image_std"), usual.std) if normalises else None,
    )


def _shorter(given: Mapping[str, Any], size: Any, side: int) -> int:
    """The side to which the shorter edge is resized before the centre is cut out."""
    if isinstance(size, Mapping) and "shortest_edge" in size:
        edge, part = int(size["shortest_edge"]), given.get("crop_pct")
        return round(edge / part) if part and edge < 384 else edge  # as ConvNeXt's processor does
    return (_side(size) or side) if given.get("do_center_crop") else side


def _side(size: Any) -> int:
    """The side of a square size, however it is written; 0 where none is."""
    if isinstance(size, Mapping):
        sides = {int(size[key]) for key in ("height", "width", "shortest_edge") if size.get(key)}
    elif isinstance(size, Sequence) and not isinstance(size, str):
        sides = {int(one) for one in size}
    else:
        sides = {int(size)} if size else set()
    if len(sides) > 1:
        raise BadRequest(
            f"The network takes pictures of {' x '.join(map(str, sorted(sides)))} pixels; here they are square."
        )
    return next(iter(sides), 0)


def _three(values: Any, usual: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    if values is None:
        return usual
    if not isinstance(values, Sequence):
        values = [values] * 3
    if len(values) != 3:
        raise BadRequest(f"The processor normalises {len(values)} channels; here pictures have 3 (red, green, blue).")
    return float(values[0]), float(values[1]), float(values[2])


def cuts(net: Logits, side: int) -> tuple[str, ...]:
    """Paths of modules behind which the network can be cut, in the order of the forward pass: the layers of its stacks and
    the modules between them, where replacing the output replaces the whole picture."""
    seen = copy.deepcopy(net).eval()
    order, outputs = _outputs(seen, side)
    stacks = [path for path, part in seen.named_modules() if isinstance(part, nn.ModuleList)]
    outer = [path for path in stacks if not any(path.startswith(f"{other}.") for other in stacks)]
    found = []
    for path in order:
        parent, depth = path.rpartition(".")[0], path.count(".")
        is_layer, is_between = parent in outer, depth == 2 and not any(path.startswith(f"{other}.") for other in outer)
        if (is_layer or is_between) and isinstance(outputs[path], Tensor) and outputs[path].ndim in (3, 4):
            found.append(path)
    return tuple(path.removeprefix(INSIDE) for path in found if _carries_everything(seen, path, side))


def renamed(network: StagedNetwork) -> StagedNetwork:
    """The network of `Logits` whose cuts are named as the modules of the network in it."""
    stages = tuple(replace(stage, name=stage.name.removeprefix(INSIDE)) for stage in network.stages)
    return replace(network, stages=stages, default_cut=network.default_cut.removeprefix(INSIDE))


def settings_of(net: nn.Module) -> str:
    """The network's configuration as text: with its parameters, all that its answers depend on."""
    return str(net.config.to_json_string())  # type: ignore[union-attr, operator]  # torch types attributes as modules


def _outputs(net: Logits, side: int) -> tuple[list[str], dict[str, Any]]:
    """The modules that ran once, in the order in which they ended, and their outputs."""
    order, outputs = list[str](), dict[str, Any]()
    names = {part: path for path, part in net.named_modules()}

    def note(part: nn.Module, _: object, output: Any) -> None:
        order.append(names[part])
        outputs[names[part]] = output

    with torch.no_grad():
        handles = [part.register_forward_hook(note) for part in names]
        try:
            net(moved_pictures(side)[:1].to(next(net.parameters()).device))
        finally:
            for handle in handles:
                handle.remove()
    return [path for path in order if order.count(path) == 1], outputs


def _carries_everything(net: Logits, path: str, side: int) -> bool:
    """Whether the logits of a picture come out where the output of the module is put into the pass of a black one."""
    device = next(net.parameters()).device
    picture = moved_pictures(side)[:1].to(device)
    part, held = net.get_submodule(path), list[Tensor]()
    with torch.no_grad():
        handle = part.register_forward_hook(lambda _, __, output: held.append(output))
        expected = net(picture)
        handle.remove()
        handle = part.register_forward_hook(lambda *_: held[0])
        found = net(torch.zeros_like(picture))
        handle.remove()
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
