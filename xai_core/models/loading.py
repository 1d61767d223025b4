"""Load a model by its card: build the library's module, fill it with a checkpoint, freeze it, take it apart into stages.

A network that is known already, by its files' digest, is built when it is first asked something: so results that are at hand
are shown without importing the libraries that it is made of.
"""

from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xai_core.core import runtime
from xai_core.core.cache_key import bytes_digest, text_digest
from xai_core.core.errors import BadCard, BadRequest, UnknownName
from xai_core.data.recipe import Recipe
from xai_core.models import known_networks
from xai_core.models.card import CUSTOM, HUB, IMAGENET, Card, Checkpoint
from xai_core.models.class_names import ClassNames
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import StagedNetwork, freeze, normalisation
from xai_core.models.weights import checkpoints, locate
from xai_core.models.weights.locate import Progress
from xai_core.models.zoo import own_code
from xai_core.models.zoo.catalog import CARDS, find_card

RANDOM = "random"  # in place of a checkpoint: untrained parameters


def load_model(
    id: str,
    weights: str | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    half: bool = False,
    prompts: Path | str | None = None,
) -> ExplainableModel:
    """A model of the catalogue, of the user's own, or any of timm, torchvision and the Hugging Face Hub by its name
    (`timm/convnext_tiny.fb_in22k_ft_in1k`, `torchvision/densenet121`, `hf-hub:OWNER/NAME`), ready to be explained.

    `weights` is the id of one of its checkpoints (None: the default one), or "random": untrained parameters drawn
    from `seed`, with the BatchNorm statistics of noise, for tests. `progress(file, megabytes here, megabytes in all)`
    is called while weights are fetched. `half` keeps weights in 16 bits, where the device computes in them (see
    `halve`). A model that code of the user's own makes is made now, and stays on the device where that code puts it.
    `prompts` is a file that the command `prompts` wrote: its texts are the classes of an image tower (see
    `prompts.with_texts`). Raises UnknownName, BadCard, BadRequest where the texts do not fit, or WeightsUnavailable where
    the checkpoint is not on this machine and cannot be fetched.
    """
    if prompts is not None:
        from xai_core.models.prompts import with_texts

        return with_texts(load_model(id, weights, seed, device, progress, half), prompts)
    card = find_card(id)
    if own_code.is_own(id):
        return _of_code(card, weights, seed)
    if card.base:
        return _probed(card, weights, seed, device, progress, half)
    usual = runtime.device()  # also sets up precision and threads, once
    where = torch.device(device) if device else usual
    if weights == RANDOM:
        from xai_core.models import building  # not before a network is built: see there

        return _model(card, card.checkpoints[0], building.random_module(card, seed), f"random {seed}", where, half)
    checkpoint = checkpoint_of(card, weights)
    files = locate.obtain(card, checkpoint, progress)
    if card.library == HUB:
        card = find_card(card.id)  # again: what it is stands in one of its files
        checkpoint = card.checkpoints[0]
    digests = [digest for _, digest in files]
    digest = digests[0] if len(digests) == 1 else bytes_digest("".join(digests).encode())

    def build() -> ExplainableModel:
        from xai_core.models import building

        return _model(
            card, checkpoint, building.filled(card, checkpoint, [path for path, _ in files]), digest[:8], where, half
        )

    known = None if half and runtime.computes_in_16_bits(where) else known_networks.find(card, checkpoint, digest)
    if known is None:
        return build()
    return _described(
        card, checkpoint, known_networks.Unbuilt(known, lambda: build().network), digest[:8], where, known.nbytes
    )


def _of_code(card: Card, weights: str | None, seed: int) -> ExplainableModel:
    """A model that code of the user's own makes."""
    from xai_core.models.randomised import randomised_stages

    if weights != RANDOM:
        checkpoint_of(card, weights)
    model = own_code.take(card.id)
    return randomised_stages(model, seed) if weights == RANDOM else model


def _model(
    card: Card, checkpoint: Checkpoint, module: nn.Module, fingerprint: str, device: torch.device, half: bool
) -> ExplainableModel:
    """The model of a module that is built; it is frozen, and taken apart into stages."""
    from xai_core.models import any_network, families, inside_families, library_modules

    freeze(module).to(device)
    suffix = ""
    if half and runtime.computes_in_16_bits(device):
        halve(module)
        suffix = " half"
    recipe = checkpoint.recipe
    family = card.family
    if card.library or family == CUSTOM:
        try:
            network, family = library_modules.take_apart(module, recipe.input_size, embeds=not card.classes)
            if len(card.classes) == 1:
                raise BadRequest(any_network.ONE_LOGIT)
        except BadRequest as error:
            raise BadCard(f"{card.title} cannot be used here: {error}") from error
    else:
        network = families.staged(family, module)
    if family != CUSTOM:
        network = inside_families.with_cuts_inside(network, module, recipe.input_size)
    network = replace(network, normalise=normalisation(recipe.mean, recipe.std, device))
    nbytes = sum(one.nbytes for one in (*module.parameters(), *module.buffers()))
    return _described(replace(card, family=family), checkpoint, network, fingerprint, device, nbytes, suffix)


def _described(
    card: Card,
    checkpoint: Checkpoint,
    network: StagedNetwork,
    fingerprint: str,
    device: torch.device,
    nbytes: int,
    suffix: str = "",
) -> ExplainableModel:
    names, wnids = _class_names(card)
    return ExplainableModel(
        id=card.id,
        title=card.title,
        family=card.family,
        network=network,
        recipe=checkpoint.recipe,
        device=device,
        fingerprint=fingerprint + _own_parts(card, checkpoint) + suffix,
        class_names=names,
        wnids=wnids,
        nbytes=nbytes,
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
        made_by = (card.library,) if card.library else ()
        parts.append(repr((*made_by, card.family, card.architecture, names)))
    return "".join(f" {text_digest(part)[:8]}" for part in parts)


def _probed(
    card: Card,
    name: str | None,
    seed: int,
    device: str | torch.device | None,
    progress: Progress | None,
    half: bool,
) -> ExplainableModel:
    """The model that the card is based on, with the card's probe or texts for its classifier. Untrained, the probe is zero,
    and the texts are what they are."""
    base = load_model(card.base, name, seed, device, progress, half)
    if card.prompts:
        from xai_core.models import prompts

        checkpoint = checkpoint_of(card, None if name == RANDOM else name)
        path, _ = locate.obtain(card, replace(checkpoint, files=checkpoint.files[-1:]))[0]
        model = prompts.with_texts(base, path)
        untrained = f" {text_digest(card.base)[:8]}" if name == RANDOM else ""
        return replace(model, id=card.id, title=card.title, fingerprint=model.fingerprint + untrained)
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


def classes_of(card: Card) -> ClassNames | None:
    """The classes of a card's model without loading it; None where it has none."""
    return ClassNames(*_class_names(card)) if card.classes else None


def _class_names(card: Card) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, WordNet ids) of the card's classes; without ids where they are not ImageNet's."""
    if not isinstance(card.classes, str):
        return card.classes, ()
    return imagenet_classes() if card.classes == IMAGENET else _other_imagenet(card.classes)


@cache
def _other_imagenet(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from xai_core.models import library_modules

    return library_modules.classes(name)


@cache
def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, WordNet ids) of the 1,000 ImageNet classes, by index. Some synonyms occur twice (maillot, cardigan).

    They are timm's, where the two cranes, which nothing else tells apart, are named apart.
    """
    lines = (resources.files("xai_core.models") / "imagenet_classes.tsv").read_text("utf-8").splitlines()
    wnids, names = zip(*(line.split("\t") for line in lines), strict=True)
    return names, wnids


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
