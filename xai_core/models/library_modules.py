"""Networks that timm or torchvision builds and fills by itself: by name, from a folder of the hub, or for a user's card."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xai_core.core import torchvision_compat
from xai_core.core.errors import BadCard, WeightsUnavailable
from xai_core.models import any_network, families
from xai_core.models.card import CUSTOM, HUB, TIMM, TORCHVISION, Card
from xai_core.models.staged import StagedNetwork, freeze
from xai_core.models.taken_apart import device_of

torchvision_compat.ensure_importable()

import timm
import torchvision
from timm.data.imagenet_info import ImageNetInfo

SAME = 1e-4  # of the largest answer: the hand-written chain against the module itself
ROOM = 2  # a described network may need so many times the bytes of its file: files hold 16 or 32 bits
SPARE = 4_000_000  # parameters of any network that a description may ask for
_READING = threading.Lock()


def create(card: Card) -> nn.Module:
    """The card's network with fresh parameters. Raises ValueError, RuntimeError or TypeError as the libraries do."""
    if card.library == HUB:
        module = timm.create_model(f"local-dir:{_folder(card)}", pretrained=False)
    elif card.library == TORCHVISION:
        side = card.checkpoints[0].recipe.input_size
        module = _of_torchvision(card.architecture, **({"image_size": side} if card.architecture.startswith("vit_") else {}))
    elif card.library == TIMM:
        module = timm.create_model(card.id.partition("/")[2], pretrained=False)
    else:
        module = _by_name(card.architecture, **card.arguments)
    made: nn.Module = module
    return made


def _by_name(name: str, **arguments: Any) -> nn.Module:
    """`timm/NAME`, `torchvision/NAME`, or timm's where it has the name, else torchvision's."""
    of, _, architecture = name.rpartition("/")
    if of != TORCHVISION and (timm.is_model(architecture.partition(".")[0]) or of == TIMM):
        module: nn.Module = timm.create_model(architecture, **arguments)
        return module
    if architecture not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f"{name} is no classifier of timm or torchvision")
    if not arguments.get("num_classes", 1000):
        raise BadCard(f"torchvision's {architecture} cannot be built without classes: state the classes, or take timm's.")
    return _of_torchvision(architecture, **arguments)


def _of_torchvision(architecture: str, **arguments: Any) -> nn.Module:
    if architecture in ("googlenet", "inception_v3"):  # as their published weights are loaded: without what training needs
        arguments |= {"aux_logits": False, "init_weights": False, "transform_input": True}
    made: nn.Module = torchvision.models.get_model(architecture, **arguments)
    return made


def filled(card: Card, paths: list[Path]) -> nn.Module:
    """The card's network with the parameters in its file, by the library's own loader, which runs no code of the file.
    Raises WeightsUnavailable, BadCard."""
    path = paths[-1]
    try:
        if card.library == HUB:
            _check_size(card, path)
            module = timm.create_model(f"local-dir:{path.parent}", pretrained=True)
        elif card.library == TORCHVISION:
            weights = torchvision.models.get_model_weights(card.architecture)[card.checkpoints[0].id]
            with _read_from(weights, path):
                module = torchvision.models.get_model(card.architecture, weights=weights)
        else:
            overlay = {"file": str(path), "custom_load": False}  # the hub's copies have timm's own names
            module = timm.create_model(card.id.partition("/")[2], pretrained=True, pretrained_cfg_overlay=overlay)
    except (BadCard, WeightsUnavailable):
        raise
    except Exception as error:  # whatever a damaged file makes the libraries raise
        raise WeightsUnavailable(
            f"{path} does not hold the weights of {card.title}: {_first_line(error)}. Delete it to have it fetched again."
        ) from error
    made: nn.Module = module
    return made


def take_apart(module: nn.Module, side: int, embeds: bool) -> tuple[StagedNetwork, str]:
    """The frozen module as stages, by hand where its class is one of a family's, and that family; by itself otherwise."""
    freeze(module)
    family = next((name for name, one in families.FAMILIES.items() if type(module) in one.modules), CUSTOM)
    if family != CUSTOM:
        network = _by_hand(family, module, side, embeds)
        if network is not None:
            return network, family
    return any_network.staged(module, side, None, embeds)[0], CUSTOM


def _by_hand(family: str, module: nn.Module, side: int, embeds: bool) -> StagedNetwork | None:
    """The hand-written chain; None where it does not give the module's own answer (other pooling, other heads)."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 3, side, side, generator=generator).to(device_of(module))
    try:
        with torch.no_grad():
            network, answer = families.staged(family, module), module(pictures)
            if embeds:  # a last layer is then the projection into the space that pictures share with texts (CLIP)
                network = replace(network, project=network.project or network.classify, classify=None)
            outputs = network.outputs(pictures)
            pieced = outputs.embedding if embeds else outputs.logits
    except Exception:  # a chain that was not written for this variant of the class
        return None
    fits = pieced.shape == answer.shape and torch.allclose(pieced, answer, atol=SAME * float(answer.abs().max()))
    return network if fits else None


def _folder(card: Card) -> Path:
    from xai_core.models.weights import locate

    path = locate.locate(card.checkpoints[0].files[0])
    if path is None:
        raise WeightsUnavailable(f"The description of {card.title} is not on this machine: load its weights first.")
    return path.parent


@contextmanager
def _read_from(weights: Any, path: Path) -> Iterator[None]:
    """Let torchvision's builders, which take neither a folder nor `weights_only`, read these weights from the file at
    `path`, and only tensors from it."""

    def state(**_: Any) -> dict[str, Any]:
        found: dict[str, Any] = torch.hub.load_state_dict_from_url(
            weights.url, str(path.parent), "cpu", check_hash=True, file_name=path.name, weights_only=True
        )
        return found

    with _READING:
        weights.get_state_dict = state
        try:
            yield
        finally:
            del weights.get_state_dict


def _check_size(card: Card, path: Path) -> None:
    """Raises BadCard where the description asks for a far larger network than the file holds: nothing is built then."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        module = timm.create_model(f"local-dir:{path.parent}", pretrained=False)
    count = sum(one.numel() for one in module.parameters())
    if count > ROOM * path.stat().st_size / 4 + SPARE:
        raise BadCard(
            f"The description of {card.title} is of a network of {count:,} numbers, but its file has "
            f"{path.stat().st_size:,} bytes."
        )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[1:2] or lines[:1] or [type(error).__name__])
    return f"{said[:200].rstrip('. ')}{'...' if len(said) > 200 else ''}"


def classes(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, WordNet ids) of a list of classes that timm knows, such as imagenet-22k."""
    info = ImageNetInfo(name)
    wnids = tuple(info.label_names())
    return tuple(info.index_to_description(index) for index in range(len(wnids))), wnids
