"""Build the library's module of a card, and fill it with the parameters of a checkpoint or with random ones.

It imports timm and torchvision, which take longer to import than torch itself: `loading` imports it where it builds.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from xai_core.core.errors import BadCard
from xai_core.models import families, library_modules
from xai_core.models.card import CUSTOM, Card, Checkpoint
from xai_core.models.draws import own_draws
from xai_core.models.weights import checkpoints
from xai_core.models.weights.renaming import RENAMINGS


def random_module(card: Card, seed: int) -> nn.Module:
    """The architecture with parameters drawn from the seed; BatchNorm statistics are those of eight noise pictures.

    With the initial statistics an untrained deep network maps every picture to nearly the same, and its maps are dead.
    """
    with own_draws(seed):
        module = built(card)
        side = card.checkpoints[0].recipe.input_size
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
        if norms:
            for norm in norms:
                norm.momentum = None  # a plain average instead of a moving one
            with torch.no_grad():
                if _by_library(card):
                    module.train()(torch.rand(8, 3, side, side) * 2 - 1)
                    return module
                network = families.staged(card.family, module.train())
                _ = network.outputs(torch.rand(8, 3, side, side) * 2 - 1).embedding  # the projection head, if any, too
    return module


def built(card: Card) -> nn.Module:
    """The card's module with fresh parameters. Raises BadCard where no library knows it, or another family does."""
    if _by_library(card):
        return _built_by_library(card)
    try:
        module = families.build(card.family, card.architecture, **card.arguments)
        network = families.staged(card.family, module)
    except OSError as error:  # only where XAI_HUB_CARDS lets a card name one
        raise BadCard(f"{card.title}: '{card.architecture}' could not be fetched from the Hugging Face Hub.") from error
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:  # as timm and torchvision refuse names
        raise BadCard(
            f"{card.title}: '{card.architecture}' is no architecture of the family {card.family} that the installed "
            "timm or torchvision knows."
        ) from error
    side = card.checkpoints[0].recipe.input_size
    if network.input_size not in (None, (side, side)):
        raise BadCard(f"{card.title}: {card.architecture} takes pictures of {network.input_size[0]} pixels, not {side}.")
    return module


def _by_library(card: Card) -> bool:
    return bool(card.library) or card.family == CUSTOM


def _built_by_library(card: Card) -> nn.Module:
    try:
        return library_modules.create(card)
    except OSError as error:  # only where XAI_HUB_CARDS lets a card name one
        raise BadCard(f"{card.title}: '{card.architecture}' could not be fetched from the Hugging Face Hub.") from error
    except (RuntimeError, ValueError, AttributeError, TypeError, AssertionError) as error:  # as timm refuses names
        raise BadCard(
            f"{card.title}: '{card.architecture}' is no architecture that the installed timm or torchvision can build."
        ) from error


def filled(card: Card, checkpoint: Checkpoint, paths: Sequence[Path]) -> nn.Module:
    """The card's module with the parameters in these files, which must fit exactly. Raises WeightsUnavailable, BadCard."""
    if card.library:
        with own_draws(0):
            return library_modules.filled(card, list(paths))
    module = empty(card)
    state = checkpoints.gather(card, checkpoint.files, paths, module, naming(card, module))
    own = {name: value for name, value in module.state_dict().items() if name not in state}  # counters, fixed tables
    module.load_state_dict(own | state)
    return module


def empty(card: Card) -> nn.Module:
    """The card's module for a checkpoint to fill."""
    with own_draws(0):
        return built(card)


def naming(card: Card, module: nn.Module) -> checkpoints.Naming:
    """How the card's library names the module's tensors, and which part is the classifier."""
    if _by_library(card):
        linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
        return checkpoints.Naming(RENAMINGS.get(card.renaming), linear[-1] if linear else "")
    classify = families.staged(card.family, module).classify
    head = next((name for name, part in module.named_modules() if part is classify), "")
    return checkpoints.Naming(RENAMINGS.get(card.renaming, families.FAMILIES[card.family].rename), head)
