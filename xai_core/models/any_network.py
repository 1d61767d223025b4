"""A module of anybody's as a StagedNetwork: copied and frozen, then taken apart by its graph, or by hand, or left whole."""

import copy
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from xai_core.core.errors import BadRequest
from xai_core.models.layouts import moved_pictures
from xai_core.models.staged import StagedNetwork, freeze
from xai_core.models.taken_apart import check_answer, check_repeatable, device_of, taken_apart
from xai_core.models.tracing import Untraceable
from xai_core.models.untraced import cut_by_hand, uncut


def private_copy(net: nn.Module) -> nn.Module:
    """A frozen copy of the module in 32 bits. Raises BadRequest where it cannot be copied."""
    if not isinstance(net, nn.Module):
        raise BadRequest(f"Give a torch module; this is a {type(net).__name__}.")
    if isinstance(net, torch.jit.ScriptModule):
        raise BadRequest("TorchScript cannot be taken apart; load its weights into the module that it was made from.")
    if any(one.is_meta for one in (*net.parameters(), *net.buffers())):
        raise BadRequest("The network's weights have no values (they are on the device 'meta'): load them first.")
    try:
        copied = copy.deepcopy(net)
    except (RuntimeError, TypeError) as error:
        raise BadRequest(f"The network cannot be copied ({error}); remove what torch cannot copy.") from error
    if any(one.is_floating_point() and one.dtype != torch.float32 for one in (*copied.parameters(), *copied.buffers())):
        copied = copied.float()
    return freeze(copied)


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
    """The number of classes; 0 without a classifier."""
    if network.classify is None:
        return 0
    with torch.no_grad():
        return network.outputs(moved_pictures(side)[:1].to(device)).logits.shape[1]


def check_stages(network: StagedNetwork, side: int, device: torch.device) -> int:
    """The number of classes of stages that somebody else has made; 0 without a classifier.

    Raises BadRequest where they do not give one row of logits (n, K), or one embedding (n, E), for each picture
    (n, 3, side, side), the same ones each time.
    """

    def answer(pictures: Tensor) -> Tensor:
        outputs = network.outputs(pictures)
        return outputs.embedding if network.classify is None else outputs.logits

    modules = [part for stage in (*network.stages, network) for part in vars(stage).values() if isinstance(part, nn.Module)]
    found = _checked_answer(answer, nn.ModuleList(modules), side, device)
    return 0 if network.classify is None else found.shape[1]


def _check_takes_pictures(net: nn.Module, side: int) -> None:
    """Raises BadRequest where the network does not give logits for pictures of that size."""
    _checked_answer(net, net, side, device_of(net), times=1)


def _checked_answer(
    run: Callable[[Tensor], Tensor], net: nn.Module, side: int, device: torch.device, times: int = 2
) -> Tensor:
    """The answer of `run`, a network whose modules `net` holds, to two pictures."""
    pictures = moved_pictures(side)[:2].to(device)
    try:
        with torch.no_grad():
            answers = [run(pictures) for _ in range(times)]
    except Exception as error:  # whatever the network's code raises
        raise error if isinstance(error, BadRequest) else BadRequest(_refusal(net, side, device, error)) from error
    for answer in answers:
        check_answer(answer, len(pictures))
        check_repeatable(answer, answers[0])
    return answers[0]


def _refusal(net: nn.Module, side: int, device: torch.device, error: Exception) -> str:
    """Why a network does not take pictures, and what can be done about it."""
    first = next((one for one in net.modules() if isinstance(one, nn.Conv2d)), None)
    channels = first.in_channels if first else 3
    if channels != 3:
        return (
            f"The network takes pictures of {channels} channel{'s' if channels > 1 else ''}; here they have 3 (red, "
            "green, blue). Put a module in front of it that makes its channels of these."
        )
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if re.search(r"cuda|\bgpu\b|devices?\b", reason, re.IGNORECASE):
        remedy = (
            f"Its pictures come on the device of its first weights ({device}): put all of its parts on one device, and "
            "leave .cuda() and .to(device) out of its forward pass."
        )
    elif re.search(r"half|bfloat16|double|dtype", reason, re.IGNORECASE):
        remedy = (
            "Its weights and pictures must be in 32 bits all the way: call .float() on it, and leave casts such as .half() "
            "out of its forward pass."
        )
    else:
        remedy = "If it is made for another size, give recipe=Recipe(input_size=...)."
    return f"The network does not take pictures (n, 3, {side}, {side}): {reason}. {remedy}"
