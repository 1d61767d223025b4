"""Load a model by its card: build the library's module, fill it with a checkpoint, freeze it, take it apart into stages."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xai_core.core import runtime, torchvision_compat
from xai_core.core.cache_key import bytes_digest, text_digest
from xai_core.core.errors import BadCard, UnknownName
from xai_core.data.recipe import Recipe
from xai_core.models import families
from xai_core.models.card import IMAGENET, Card, Checkpoint
from xai_core.models.class_names import ClassNames
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import freeze, normalisation
from xai_core.models.weights import checkpoints, locate
from xai_core.models.weights.locate import Progress
from xai_core.models.zoo.catalog import CARDS, find_card

torchvision_compat.ensure_importable()

from timm.data.imagenet_info import ImageNetInfo

RANDOM = "random"  # in place of a checkpoint: untrained parameters


def load_model(
    id: str,
    weights: str | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    half: bool = False,
) -> ExplainableModel:
    """A model of the catalogue or of the user's own, ready to be explained.

    `weights` is the id of one of its checkpoints (None: the default one), or "random": untrained parameters drawn
    from `seed`, with the BatchNorm statistics of noise, for tests. `progress(file, megabytes here, megabytes in all)`
    is called while weights are fetched. `half` keeps weights in 16 bits, where the device computes in them (see
    `halve`). Raises UnknownName, BadCard, or WeightsUnavailable where the checkpoint is not on
    this machine and cannot be fetched.
    """
    card = find_card(id)
    if card.base:
        return _probed(card, weights, seed, device, progress, half)
    usual = runtime.device()  # also sets up precision and threads, once
    where = torch.device(device) if device else usual
    if weights == RANDOM:
        module, checkpoint, fingerprint = random_module(card, seed), card.checkpoints[0], f"random {seed}"
    else:
        checkpoint = checkpoint_of(card, weights)
        module, digest = _trained_module(card, checkpoint, progress)
        fingerprint = digest[:8]
    fingerprint += _own_parts(card, checkpoint)
    freeze(module).to(where)
    if half and runtime.computes_in_16_bits(where):
        halve(module)
        fingerprint += " half"
    network = families.staged(card.family, module)
    recipe = checkpoint.recipe
    names, wnids = _class_names(card)
    return ExplainableModel(
        id=card.id,
        title=card.title,
        family=card.family,
        network=replace(network, normalise=normalisation(recipe.mean, recipe.std, where)),
        recipe=recipe,
        device=where,
        fingerprint=fingerprint,
        class_names=names,
        wnids=wnids,
        nbytes=sum(one.nbytes for one in (*module.parameters(), *module.buffers())),
    )


# Networks of cards that a fingerprint does not name where the tensors in the file have the network's own names. No two of
# them take the same tensors.
USUAL_NETWORKS = (
    ("resnet", "slim_resnet18"),
    ("resnet", "slim_resnet18_barlow"),
    ("efficientnet", "tf_efficientnet_lite0"),
)


def _own_parts(card: Card, checkpoint: Checkpoint) -> str:
    """What the fingerprint says of a user's card, which changes the answers of the same weights: its normalisation, its
    network, and which tensor of the file is which of the network's. A card of the catalogue never changes. What is usual
    is not named, so that the networks of this project keep their fingerprints."""
    if card.id in CARDS:
        return ""
    recipe, usual, parts = checkpoint.recipe, Recipe(), []
    if (recipe.mean, recipe.std) != (usual.mean, usual.std):
        parts.append(repr((recipe.mean, recipe.std)))
    names = [tuple(file.names.items()) for file in checkpoint.files]
    if (card.family, card.architecture) not in USUAL_NETWORKS or names != [(("", ""),)]:
        parts.append(repr((card.family, card.architecture, names)))
    return "".join(f" {text_digest(part)[:8]}" for part in parts)


def _probed(
    card: Card,
    name: str | None,
    seed: int,
    device: str | torch.device | None,
    progress: Progress | None,
    half: bool,
) -> ExplainableModel:
    """The model that the card is based on, with the card's probe for its classifier. Untrained, the probe is zero."""
    base = load_model(card.base, name, seed, device, progress, half)
    classify = nn.Linear(_feature_count(base), len(_class_names(card)[0]))
    if name == RANDOM:
        for parameter in classify.parameters():
            nn.init.zeros_(parameter)
        digest = RANDOM if card.id in CARDS else text_digest(card.base)
    else:
        checkpoint = checkpoint_of(card, name)
        path, digest = locate.obtain(card, checkpoint)[-1]
        probe = checkpoint.files[-1]
        classify.load_state_dict(checkpoints.read_share(card, probe, (probe,), path, classify))
    freeze(classify).to(base.device)
    names, wnids = _class_names(card)
    return replace(
        base,
        id=card.id,
        title=card.title,
        network=replace(base.network, classify=classify),
        fingerprint=f"{base.fingerprint} {digest[:8]}",
        class_names=names,
        wnids=wnids,
    )


def _feature_count(model: ExplainableModel) -> int:
    side = model.recipe.input_size
    return model.outputs(torch.zeros(1, 3, side, side)).features.shape[1]


def checkpoint_of(card: Card, name: str | None) -> Checkpoint:
    """The card's checkpoint of that id; None is the default one. Raises UnknownName."""
    by_id = {checkpoint.id: checkpoint for checkpoint in card.checkpoints}
    if name is not None and name not in by_id:
        raise UnknownName("checkpoint", name, [*by_id, RANDOM])
    return by_id[name] if name else card.checkpoints[0]


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
                network = families.staged(card.family, module.train())
                _ = network.outputs(torch.rand(8, 3, side, side) * 2 - 1).embedding  # the projection head, if any, too
    return module


def built(card: Card) -> nn.Module:
    """The card's module with fresh parameters. Raises BadCard where no library knows it, or another family does."""
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


@contextlib.contextmanager
def own_draws(seed: int) -> Iterator[None]:
    """Draws from the CPU's global generator, as the initialisers of layers make them: seeded here, unchanged outside.

    One thread at a time, so that no two models mix their draws; no generator of a GPU is touched.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


_DRAWING = threading.Lock()


def _trained_module(card: Card, checkpoint: Checkpoint, progress: Progress | None) -> tuple[nn.Module, str]:
    """The module with the checkpoint's parameters, and the SHA-256 of its file or files."""
    files = locate.obtain(card, checkpoint, progress)
    module = filled(card, checkpoint, [path for path, _ in files])
    digests = [digest for _, digest in files]
    return module, digests[0] if len(digests) == 1 else bytes_digest("".join(digests).encode())


def filled(card: Card, checkpoint: Checkpoint, paths: Sequence[Path]) -> nn.Module:
    """The card's module with the parameters in these files, which must fit exactly. Raises WeightsUnavailable, BadCard."""
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
    classify = families.staged(card.family, module).classify
    head = next((name for name, part in module.named_modules() if part is classify), "")
    return checkpoints.Naming(families.FAMILIES[card.family].rename, head)


_SAME_NAME = {134: "crane (bird)", 517: "crane (machine)"}  # the only two classes that nothing else tells apart


def classes_of(card: Card) -> ClassNames | None:
    """The classes of a card's model without loading it; None where it has none."""
    return ClassNames(*_class_names(card)) if card.classes else None


def _class_names(card: Card) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, WordNet ids) of the card's classes; without ids where they are not ImageNet's."""
    return imagenet_classes() if isinstance(card.classes, str) else (card.classes, ())


@cache
def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, WordNet ids) of the 1,000 ImageNet classes, by index. Some synonyms occur twice (maillot, cardigan)."""
    info = ImageNetInfo(IMAGENET)
    names = (_SAME_NAME.get(index, name) for index, name in enumerate(info.label_descriptions()))
    return tuple(names), tuple(info.label_names())


class _Widened(nn.Module):
    def forward(self, kept: Tensor) -> Tensor:
        return kept.float()


def halve(module: nn.Module) -> nn.Module:
    """The module itself, the weights of its convolutions and linear layers in float16: half the memory for what is large.

    Each weight is widened when its layer reads it, so that `exact` computes in float32 as always (with weights rounded to
    16 bits: they differ by up to 0.05%), every method finds the float32 weights it expects, and no more than one layer is
    wide at a time. Worth it where the device computes in 16 bits anyway. Weights beyond the range of 16 bits (65,504) stay
    as they are.
    """
    for part in list(module.modules()):
        if isinstance(part, nn.Conv2d | nn.Linear) and bool(part.weight.abs().max() < torch.finfo(torch.float16).max):
            part.weight = nn.Parameter(part.weight.half(), requires_grad=False)
            parametrize.register_parametrization(part, "weight", _Widened(), unsafe=True)  # it changes the type
    return module
