"""From a card to a model: build the library's module, fill it, freeze it, take it apart."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from xai_core import runtime
from xai_core.errors import UnknownName, WeightsUnavailable
from xai_core.models import families, weights
from xai_core.models.card import Card, Checkpoint
from xai_core.models.catalog import CARDS
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import freeze, normalisation


def load_model(
    id: str, weights: str | None = None, seed: int = 0, device: str | torch.device | None = None
) -> ExplainableModel:
    """A model of the catalogue, ready to be explained.

    `weights` is the id of one of its checkpoints (None: the default one), or "random": untrained parameters drawn
    from `seed`, with the BatchNorm statistics of noise, for tests. Raises UnknownName, or WeightsUnavailable where
    the checkpoint is not on this machine and cannot be fetched.
    """
    if id not in CARDS:
        raise UnknownName("model", id, CARDS)
    card = CARDS[id]
    usual = runtime.device()  # also sets up precision and threads, once
    where = torch.device(device) if device else usual
    if weights == "random":
        module, checkpoint, fingerprint = random_module(card, seed), card.checkpoints[0], f"random {seed}"
    else:
        checkpoint = checkpoint_of(card, weights)
        module, digest = _trained_module(card, checkpoint)
        fingerprint = digest[:8]
    freeze(module).to(where)
    network = families.FAMILIES[card.family](module)
    recipe = checkpoint.recipe
    names, wnids = imagenet_classes()
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


def checkpoint_of(card: Card, name: str | None) -> Checkpoint:
    """The card's checkpoint of that id; None is the default one. Raises UnknownName."""
    by_id = {checkpoint.id: checkpoint for checkpoint in card.checkpoints}
    if name is not None and name not in by_id:
        raise UnknownName("checkpoint", name, [*by_id, "random"])
    return by_id[name] if name else card.checkpoints[0]


def random_module(card: Card, seed: int) -> nn.Module:
    """The architecture with parameters drawn from the seed; BatchNorm statistics are those of eight noise pictures.

    With the initial statistics an untrained deep network maps every picture to nearly the same, and its maps are dead.
    """
    with _own_draws(seed):
        module = families.build(card.family, card.architecture, **card.arguments)
        side = card.checkpoints[0].recipe.input_size
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        if norms:
            for norm in norms:
                norm.momentum = None  # a plain average instead of a moving one
            with torch.no_grad():
                module.train()(torch.rand(8, 3, side, side) * 2 - 1)
    return module


@contextlib.contextmanager
def _own_draws(seed: int) -> Iterator[None]:
    """Draws from the CPU's global generator, as the initialisers of layers make them: seeded here, unchanged outside.

    One thread at a time, so that no two models mix their draws; no generator of a GPU is touched.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


_DRAWING = threading.Lock()


def _trained_module(card: Card, checkpoint: Checkpoint) -> tuple[nn.Module, str]:
    """The module with the checkpoint's parameters, and the SHA-256 of its file."""
    path, digest = weights.obtain(card, checkpoint)
    with _own_draws(0):
        module = families.build(card.family, card.architecture, **card.arguments)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)  # runs no code that a file may hold
    except Exception as error:  # unpickling damaged files raises anything
        raise _unfit(card, path, "it holds something else, or is damaged") from error
    if isinstance(state, Mapping):
        state = state.get("model", state)  # the official DeiT files keep the parameters under this name
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _unfit(card, path, "it holds something other than named tensors")
    if card.family in families.OFFICIAL_NAMES:
        state = families.OFFICIAL_NAMES[card.family](dict(state), module)
    expected = module.state_dict()
    if checkpoint.package and len(state) == len(expected):  # the same entries in the same order, under other names
        state = dict(zip(expected, state.values(), strict=True))
    misfit = _misfit(state, expected)
    if misfit:
        raise _unfit(card, path, misfit)
    module.load_state_dict(state)
    return module, digest


def _misfit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """How the parameters found differ from those expected, in words; empty where they fit exactly."""
    both = [name for name in expected if name in state]
    wrong = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": [name for name in both if state[name].shape != expected[name].shape],
    }
    return "; ".join(f"{len(names)} {how}, such as {names[0]}" for how, names in wrong.items() if names)


def _unfit(card: Card, path: Path, problem: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"{path.name} cannot be read as the weights of {card.title}: {problem}. Delete {path} to have it fetched again."
    )


_SAME_NAME = {134: "crane (bird)", 517: "crane (machine)"}  # the only two classes that nothing else tells apart


@cache
def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, WordNet ids) of the 1,000 ImageNet classes, by index. Some synonyms occur twice (maillot, cardigan)."""
    info = families.timm.data.ImageNetInfo("imagenet-1k")
    names = (_SAME_NAME.get(index, name) for index, name in enumerate(info.label_descriptions()))
    return tuple(names), tuple(info.label_names())
