"""A module of anybody's as a StagedNetwork: copied and frozen, then taken apart by its graph, or by hand, or left whole."""

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xai_core.core.errors import BadRequest
from xai_core.models.layouts import moved_pictures
from xai_core.models.staged import StagedNetwork, freeze
from xai_core.models.taken_apart import check_answer, check_repeatable, device_of, taken_apart
from xai_core.models.tracing import Untraceable
from xai_core.models.untraced import cut_by_hand, uncut

ONE_LOGIT = (
    "The network has one logit, whose softmax is 100% for every picture. Make two classes of it, no and yes, whose softmax "
    "is its sigmoid: two = nn.Linear(1, 2, bias=False); two.weight.data = torch.tensor([[-0.5], [0.5]]); then give "
    "nn.Sequential(net, two)."
)


class OtherSize(BadRequest):
    """A network may be made for pictures of another size than those that it was asked with."""


def private_copy(net: nn.Module) -> nn.Module:
    """A copy that nobody else can write to: in eval mode, in 32 bits, without gradients, nothing in place. Raises
    BadRequest."""
    if not isinstance(net, nn.Module):
        raise BadRequest(f"Give a torch module; this is a {type(net).__name__}.")
    if isinstance(net, torch.jit.ScriptModule):
        raise BadRequest("TorchScript cannot be taken apart; load its weights into the module that it was made from.")
    copied: nn.Module = private_copies([net])[0]
    return copied


def private_copies(parts: Sequence[object]) -> list[Any]:
    """Such copies of modules, and of other steps as far as a module is behind them. They are made at once, so that what they
    share stays shared. Raises BadRequest."""
    if any(tensor.is_meta for tensor in tensors_of(parts)):
        raise BadRequest("The network's weights have no values (they are on the device 'meta'): load them first.")
    try:
        copied = copy.deepcopy(list(parts))
    except (RuntimeError, TypeError) as error:
        raise BadRequest(f"The network cannot be copied ({error}); remove what torch cannot copy.") from error
    in_32_bits = all(tensor.dtype == torch.float32 for tensor in tensors_of(copied) if tensor.is_floating_point())
    for module in modules_of(copied):
        freeze(module if in_32_bits else module.float())
    return copied


def tensors_of(parts: Sequence[object]) -> list[Tensor]:
    """The parameters and buffers of the modules behind the steps."""
    return [tensor for module in modules_of(parts) for tensor in (*module.parameters(), *module.buffers())]


def modules_of(parts: Sequence[object]) -> list[nn.Module]:
    """The modules behind the steps, each once."""
    return list({id(module): module for module in map(module_of, parts) if module is not None}.values())


def module_of(step: object) -> nn.Module | None:
    """The module behind a step: itself, or the one whose method it is."""
    owner = getattr(step, "__self__", step)
    return owner if isinstance(owner, nn.Module) else None


def staged(net: nn.Module, side: int, cuts: Sequence[str] | None, embeds: bool) -> tuple[StagedNetwork, str]:
    """A private copy as stages, and its graph in words: empty where torch.fx cannot follow it."""
    _check_takes_pictures(net, side)
    try:
        network = taken_apart(net, side, cuts, embeds)
    except Untraceable as error:
        if embeds:
            raise BadRequest(f"{error}; such a network is taken for its logits only.") from error
        return (cut_by_hand(net, side, cuts), "") if cuts else (uncut(net, side, str(error)), "")
    return network, "\n".join([*network.cuts, repr(net), *(getattr(s.run, "code", "") for s in network.stages)])


def class_count(network: StagedNetwork, side: int, device: torch.device) -> int:
    """The number of classes; 0 without a classifier. Raises BadRequest for one logit."""
    if network.classify is None:
        return 0
    with torch.no_grad():
        return _counted(network.outputs(moved_pictures(side)[:1].to(device)).logits)


def check_stages(network: StagedNetwork, side: int, device: torch.device) -> int:
    """The number of classes of stages that somebody else has made; 0 without a classifier.

    Raises BadRequest where they do not give one row of logits (n, K), or one embedding (n, E), for each picture
    (n, 3, side, side), the same ones each time.
    """

    def answer(pictures: Tensor) -> Tensor:
        outputs = network.outputs(pictures)
        return outputs.embedding if network.classify is None else outputs.logits

    parts = [*(stage.run for stage in network.stages), network.pool, network.project, network.classify]
    pictures = moved_pictures(side)[:2].sigmoid().to(device)  # in [0, 1]: any code may need that
    modules = nn.ModuleList(modules_of(parts))
    found = _checked_answer(answer, modules, pictures, "input_size")
    check_repeatable(_checked_answer(answer, modules, pictures[:1], "input_size"), found[:1])
    return 0 if network.classify is None else _counted(found)


def _counted(logits: Tensor) -> int:
    """The number of classes. Raises BadRequest for one, which has nothing to be compared with."""
    if logits.shape[1] == 1:
        raise BadRequest(ONE_LOGIT)
    return logits.shape[1]


def _check_takes_pictures(net: nn.Module, side: int) -> None:
    """Raises BadRequest where the network does not give logits for pictures of that size."""
    _checked_answer(net, net, moved_pictures(side)[:2].to(device_of(net)), "recipe=Recipe(input_size=...)")


def _checked_answer(run: Callable[[Tensor], Tensor], net: nn.Module, pictures: Tensor, size: str) -> Tensor:
    """The answer of `run`, a network whose modules `net` holds, to a few pictures; `size` is the argument that says how
    large they are."""
    try:
        with torch.no_grad():
            answer = run(pictures)
    except Exception as error:  # whatever the network's code raises
        raise error if isinstance(error, BadRequest) else _refusal(net, pictures, size, error) from error
    check_answer(answer, len(pictures))
    return answer


def _refusal(net: nn.Module, pictures: Tensor, size: str, error: Exception) -> BadRequest:
    """Why a network does not take pictures, and what can be done about it."""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    channels = _channels(net, reason)
    if channels != 3:
        return BadRequest(
            f"The network takes pictures of {channels} channel{'s' if channels > 1 else ''}; here they have 3 (red, "
            "green, blue). Put a module in front of it that makes its channels of these."
        )
    said = f"The network does not take pictures (n, 3, {pictures.shape[2]}, {pictures.shape[3]}): {reason}."
    if re.search(r"cuda|\bgpu\b|devices?\b", reason, re.IGNORECASE):
        return BadRequest(
            f"{said} Its pictures come on the device of its first weights ({pictures.device}): put all of its parts on one "
            "device, and leave .cuda() and .to(device) out of its forward pass."
        )
    if re.search(r"half|bfloat16|double|dtype", reason, re.IGNORECASE):
        return BadRequest(
            f"{said} Its weights and pictures must be in 32 bits all the way: call .float() on it, and leave casts such as "
            ".half() out of its forward pass."
        )
    return OtherSize(f"{said} If it is made for another size, give {size}.")


def _channels(net: nn.Module, reason: str) -> int:
    """How many channels the network's pictures must have: as its first convolution has it, or what torch says of one that no
    module of the network is."""
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    said = re.search(r"expected input.* to have (\d+) channels, but got 3 ", reason)
    return first.in_channels if first else int(said[1]) if said else 3
