"""Keys of results: every field of a request, an explanation, a target or a similarity that can change the answer changes
the key, so that the cache never shows the answer to one question for another."""

import inspect
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from changed_fields import assert_key_sees_each_field
from small_models import pictures, small

from xai_core.attribution.explain import explain
from xai_core.explanation import similarity, targets
from xai_core.explanation.request import PredictedClass, Request
from xai_core.explanation.result import Passes
from xai_core.explanation.similarity import Contrast, CrossCorrelation, DotProduct, InfoNCE
from xai_core.explanation.targets import (
    ClassContrast,
    ClassLogit,
    ClassMargin,
    ClassProbability,
    PairProbability,
    SimilarityMargin,
    SimilarityTo,
    SimilarityToText,
)
from xai_core.pairs.augment import Augmentation
from xai_core.pairs.explain import PairSimilarity

MODEL, SIDE = small("custom").model, small("custom").side
ONE, OTHER = (MODEL.prepare(picture) for picture in pictures(2, SIDE))
BANK, CHANGED_BANK = torch.arange(8.0).view(2, 4), torch.arange(8.0).view(2, 4).flip(1)


def test_a_request():
    request = Request(MODEL, (ONE,), ClassLogit((1,)), "grad_cam", {"relu": True}, "late", "exact", 0, 1)
    others = {
        "model": replace(MODEL, id="another"),
        "pictures": (OTHER,),
        "target": ClassLogit((2,)),
        "method": "layer_cam",
        "options": {"relu": False},
        "cut": "early",
        "precision": "fast",
        "seed": 1,
        "version": 2,
    }
    assert_key_sees_each_field(lambda request: request.key, request, others)


@pytest.mark.parametrize("part", ["id", "fingerprint"])
def test_the_model_of_a_request(part):
    """`fingerprint` are the weights."""
    request = Request(MODEL, (ONE,))
    assert replace(request, model=replace(MODEL, **{part: "another"})).key != request.key


def test_the_pictures_of_a_request():
    """Their pixels, how many there are, and their order."""
    keys = {Request(MODEL, views).key for views in ((ONE,), (OTHER,), (ONE, OTHER), (OTHER, ONE), (ONE, ONE))}
    assert len(keys) == 5


def test_the_predicted_class_with_and_without_a_rival():
    keys = {Request(MODEL, (ONE,), target).key for target in (None, *map(PredictedClass, (None, (1,), (2,), (1, 2))))}
    assert len(keys) == 5


def test_an_explanation():
    explanation = explain(MODEL, ONE, "grad_cam", target=1)
    results = ("heatmap", "signed", "target_value", "passes", "seconds", "error", "facts")  # follow from the rest
    words = ("target", "title", "subject", "rival")
    places = ("box", "picture_size", "input_size")  # parts of the picture's digest
    others = {
        "picture": "another", "model": "another", "weights": "another", "cut": "early", "target_key": "logit 2",
        "method": "layer_cam", "version": 99, "options": {"relu": "another"}, "seed": 1, "precision": "fast",
    }  # fmt: skip
    assert_key_sees_each_field(lambda explanation: explanation.key, explanation, others, {*results, *words, *places})
    changed = replace(explanation, heatmap=np.zeros((1, 1), np.float32), passes=Passes(9), seconds=9.0)
    assert changed.key == explanation.key, "what follows from the rest is no part of the key"


TARGETS = {
    ClassLogit: (((1,),), {"classes": (2,)}),
    ClassProbability: (((1,),), {"classes": (2,)}),
    ClassMargin: (((1,), (2,)), {"classes": (3,), "rivals": (3,)}),
    PairProbability: (((1,), (2,)), {"classes": (3,), "rivals": (3,)}),
    ClassContrast: (((1,), ((2, 3),), 0.5), {"classes": (4,), "similar": ((2, 4),), "strength": 0.5 + 1e-9}),
    SimilarityTo: ((BANK[:1],), {"reference": BANK[1:], "similarity": DotProduct()}),
    SimilarityToText: (
        (BANK[:1], similarity.COSINE, ("a",)),
        {"reference": BANK[1:], "similarity": DotProduct(), "texts": ("b",)},
    ),
    SimilarityMargin: ((BANK[:1], BANK[1:]), {"reference": CHANGED_BANK[:1], "rival": CHANGED_BANK[:1]}),
    PairSimilarity: ((), {"similarity": DotProduct()}),
}
SIMILARITIES = {
    InfoNCE: ((BANK, 0.1), {"negatives": CHANGED_BANK, "temperature": 0.1 + 1e-9}),
    CrossCorrelation: ((BANK,), {"bank": CHANGED_BANK}),
    Contrast: ((BANK[:1],), {"negative": BANK[1:]}),
}


def records_of(module, attribute):
    """The dataclasses that a module defines and that have a key."""
    classes = [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__]
    return {value for value in classes if is_dataclass(value) and hasattr(value, attribute)}


def test_every_target_and_every_similarity_is_tested_here():
    assert records_of(targets, "key") == set(TARGETS) - {PairSimilarity}
    with_fields = {kind for kind in records_of(similarity, "key") if fields(kind)}
    assert with_fields == set(SIMILARITIES)


@pytest.mark.parametrize("kind", TARGETS, ids=lambda kind: kind.__name__)
def test_a_target(kind):
    arguments, others = TARGETS[kind]
    assert_key_sees_each_field(lambda target: target.key(0), kind(*arguments), others)


def test_targets_of_the_same_classes_have_different_keys():
    kinds = (ClassLogit((1,)), ClassProbability((1,)), ClassMargin((1,), (2,)), PairProbability((1,), (2,)))
    assert len({target.key(0) for target in kinds}) == len(kinds)


@pytest.mark.parametrize(
    "target",
    [ClassLogit((1, 2)), ClassMargin((1, 1), (2, 3)), PairProbability((1, 4), (2, 3)), SimilarityTo(BANK)],
    ids=str,
)
def test_each_row_of_a_target_has_its_own_key(target):
    assert target.key(0) != target.key(1) and target.select([1]).key(0) == target.key(1)


@pytest.mark.parametrize("kind", SIMILARITIES, ids=lambda kind: kind.__name__)
def test_a_similarity(kind):
    arguments, others = SIMILARITIES[kind]
    assert_key_sees_each_field(lambda measure: measure.key, kind(*arguments), others)


def test_similarities_have_different_keys():
    measures = [similarity.COSINE, DotProduct(), *(kind(*arguments) for kind, (arguments, _) in SIMILARITIES.items())]
    assert len({measure.key for measure in measures}) == len(measures)


def test_an_augmentation():
    recipe = Augmentation(0.2, True, 0.5, 0.5, 0.4, 0.3, False)
    others = {
        "crop": 0.2 + 1e-9, "flip": False, "jitter": 0.6, "greyscale": 0.6, "blur": 0.5, "solarise": 0.4, "always": True,
    }  # fmt: skip
    assert_key_sees_each_field(lambda recipe: recipe.key, recipe, others)
