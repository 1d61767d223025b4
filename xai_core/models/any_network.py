"""A module of anybody's as a StagedNetwork: copied and frozen, then taken apart by its graph, or by hand, or left whole."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from xai_core.core.errors import BadRequest
from xai_core.models.layouts import moved_pictures
from xai_core.models.staged import StagedNetwork, freeze
from xai_core.models.taken_apart import check_answer, device_of, taken_apart
from xai_core.models.tracing import Untraceable
from xai_core.models.untraced import cut_by_hand, uncut


def private_copy(net: nn.Module) -> nn.Module:
    """A frozen copy of the module in 32 bits. Raises BadRequest where it cannot be copied."""
    if not isinstance(net, nn.Module):
        raise BadRequest(f"Give a torch module; this is a {type(net).__name__}.")
    if isinstance(net, torch.jit.ScriptModule):
        raise BadRequest("TorchScript cannot be taken apart; load its weights into the module that it was made from.")
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


def _check_takes_pictures(net: nn.Module, side: int) -> None:
    """Raises BadRequest where the network does not give logits for pictures of that size."""
    pictures = moved_pictures(side)[:2].to(device_of(net))
    try:
        with torch.no_grad():
            answer = net(pictures)
    except Exception as error:
        first = next((one for one in net.modules() if isinstance(one, nn.Conv2d)), None)
        channels = first.in_channels if first else 3
        if channels != 3:
            raise BadRequest(
                f"The network takes pictures of {channels} channel{'s' if channels > 1 else ''}; here they have 3 (red, "
                "green, blue). Put a module in front of it that makes its channels of these."
            ) from error
        raise BadRequest(
            f"The network does not take pictures (n, 3, {side}, {side}): {str(error).rstrip('.')}. "
            "If it is made for another size, give recipe=Recipe(input_size=...)."
        ) from error
    check_answer(answer, len(pictures))
