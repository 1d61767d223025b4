"""The untrained twin of a model: the same layers with random parameters (the parameter randomisation test needs it)."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

from xai_core.core.errors import UnknownName
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import RANDOM, load_model
from xai_core.models.randomised import randomised, randomised_stages
from xai_core.models.zoo import own_code
from xai_core.models.zoo.catalog import find_card


def untrained(model: ExplainableModel, seed: int = 0) -> ExplainableModel:
    """The model with every parameter random, seeing the same pixels.

    A model of the catalogue, or of a card of the user's own, is built anew (`load_model(id, "random", seed)`; a probe's
    classifier is drawn too). A network of the user's own, given as it is or made by code, has its modules copied
    and each parameter drawn by its layer's own initialiser, or where there is none, from a normal distribution of the
    parameter's mean and spread.
    Raises BadRequest where a stage is a plain function, whose parameters cannot be found.
    """
    try:
        card = find_card(model.id)
    except UnknownName:
        return randomised_stages(model, seed)
    if own_code.is_own(card.id):
        return randomised_stages(model, seed)
    twin = load_model(model.id, RANDOM, seed, device=model.device)
    network = replace(twin.network, normalise=model.network.normalise)
    if card.base:
        network = replace(network, classify=randomised([network.classify], seed)[0])
    return replace(twin, network=network, recipe=model.recipe)


def twins(model: ExplainableModel) -> Callable[[int], ExplainableModel]:
    """`untrained` of this model by the seed, each made once."""
    return cache(partial(untrained, model))
