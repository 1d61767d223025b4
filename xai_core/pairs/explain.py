"""Asking why two views are alike: from a model, two views and a method's name to one explanation for each view."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xai_core.attribution.catalog import find_method
from xai_core.attribution.explain import explain
from xai_core.attribution.method import Method
from xai_core.core import runtime
from xai_core.core.cache_key import array_digest
from xai_core.core.errors import BadRequest, OutOfMemory, XaiError
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import Prepared, stack
from xai_core.explanation.question import Question, Tally
from xai_core.explanation.result import Explanation
from xai_core.explanation.similarity import COSINE, Similarity
from xai_core.explanation.targets import SimilarityTo
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.zoo.catalog import CARDS
from xai_core.pairs.catalog import CLASS, find_pair_method
from xai_core.pairs.method import PairMethod, tensor_of
from xai_core.pairs.question import PairQuestion

Explained = tuple[Explanation, Explanation | None]


def explain_pair(
    model: ExplainableModel,
    view1: Picture,
    view2: Picture,
    method: str,
    *,
    similarity: Similarity = COSINE,
    cut: str | None = None,
    seed: int = 0,
    track: Track = iter,
    **options: Any,
) -> Explained:
    """Why does the model find these two views alike? One explanation for each view; None for the second where a method has
    one map in all (pixel invariance).

    view1, view2   PIL pictures or paths (preprocessed by the model's recipe), or float tensors (3, H, W) or (1, 3, H, W) in
                   [0, 1], as they are; of one size. With `model.in_normalised_space()` tensors are normalised already
    method         of PAIR_METHODS, or `class:NAME` for any method for classes, asked about the similarity to the other view
    similarity     what is explained: the cosine of the two embeddings, or another record of `explanation.similarity`
    cut            where class activation maps look, one of `model.cuts`; None is the model's default
    seed           of random draws; the same seed gives the same maps
    track          wraps the list of inner batches, as tqdm does: for progress, or to stop
    options        the method's own (a model's card may hold other defaults, as the paper has), and what is random by name
                   where it has it: `noise`, `erased`, `path`, `views`, `base`, `similarities`, `init`

    A model without a projection head is asked about its pooled features. Raises subclasses of XaiError.
    """
    pair, prepared = ask_pair(model, view1, view2, similarity=similarity, cut=cut)
    return run_pair(pair, prepared, method, seed=seed, track=track, **options)


def explain_pair_methods(
    model: ExplainableModel,
    view1: Picture,
    view2: Picture,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    similarity: Similarity = COSINE,
    cut: str | None = None,
    seed: int = 0,
    track: Track = iter,
) -> Iterator[tuple[str, Explained | XaiError]]:
    """Several methods on one pair, each with its options: yields (method, explanations, or why there are none) as each is
    ready. They share the embeddings and one gradient at the cut."""
    pair, prepared = ask_pair(model, view1, view2, similarity=similarity, cut=cut)
    for name, options in methods.items():
        try:
            yield name, run_pair(pair, prepared, name, seed=seed, track=track, **options)
        except XaiError as error:
            yield name, error


def ask_pair(
    model: ExplainableModel, view1: Picture, view2: Picture, *, similarity: Similarity = COSINE, cut: str | None = None
) -> tuple[PairQuestion, list[Prepared]]:
    """The question itself, and the two views as the network sees them."""
    prepared = [model.prepare(_one_picture(view)) for view in (view1, view2)]
    return PairQuestion(model, stack(prepared, model.device), similarity, model.network.cut_name(cut)), prepared


def _one_picture(view: Picture) -> Picture:
    """A tensor (1, 3, H, W) without its first dimension."""
    return view[0] if isinstance(view, Tensor) and view.ndim == 4 and len(view) == 1 else view


def run_pair(
    pair: PairQuestion, prepared: Sequence[Prepared], name: str, *, seed: int = 0, track: Track = iter, **options: Any
) -> Explained:
    """One method's answer to a question that several share."""
    if not isinstance(seed, int):
        raise BadRequest(f"A seed is a whole number, not '{seed}'.")
    if name.startswith(CLASS):
        return _by_class_method(pair, name.removeprefix(CLASS), seed, track, options)
    method, chosen, passed = _chosen(pair.model, name, options)
    began = time.perf_counter()
    try:
        maps = method(pair, **chosen, **passed, seed=seed, track=track)
        value = pair.value
    except torch.OutOfMemoryError as error:  # beyond what inner batches in halves could mend
        raise OutOfMemory(runtime.TOO_LARGE) from error
    heatmaps = maps.heatmap.float().cpu().numpy()
    seconds = (time.perf_counter() - began) / len(heatmaps)
    passes = pair.tally.per_image(len(heatmaps))
    vars(pair.tally).update(vars(Tally()))
    told = chosen | {what: _digest(one) for what, one in passed.items()}
    found = [
        _record(pair, prepared, method, view, heatmap, value, told, seed, passes, seconds,
                {fact: float(held[view]) for fact, held in maps.facts.items()})
        for view, heatmap in enumerate(heatmaps)
    ]  # fmt: skip
    return found[0], found[1] if len(found) > 1 else None


def usual_options(model: ExplainableModel, method: str) -> dict[str, Any]:
    """What a model's card says for a method, where the paper takes other options for that model."""
    return dict(CARDS[model.id].pairs.get(method, {})) if model.id in CARDS else {}


def _chosen(model: ExplainableModel, name: str, options: Mapping[str, Any]) -> tuple[PairMethod, dict, dict]:
    """The method of a name, its checked options, and what random was passed in. Raises BadRequest where it does not fit."""
    method, implied = find_pair_method(name)
    misfit = method.misfit(model)
    if misfit:
        raise BadRequest(misfit)
    given, passed = method.given({**usual_options(model, method.id), **implied, **options})
    return method, method.checked(given), passed


def native_maps(pair: PairQuestion, name: str, options: Mapping[str, Any], seed: int) -> list[Tensor]:
    """The maps (h, w) of a method on their native grids and nothing else, on views that may leave [0, 1]. `options` may
    hold what an explanation recorded: fixed options too, and digests of what was passed in, which are left out."""
    if name.startswith(CLASS):
        method = find_method(name.removeprefix(CLASS))
        return [
            method(question, view, **check_options(method.run, options), seed=seed).heatmap[0].float().cpu()
            for question, view in _class_questions(pair, method)
        ]
    method, _ = find_pair_method(name)
    free = {option.name for option in method.options()}
    method, chosen, passed = _chosen(pair.model, name, {one: value for one, value in options.items() if one in free})
    return list(method(pair, **chosen, **passed, seed=seed).heatmap.float().cpu())


def _class_questions(pair: PairQuestion, method: Method) -> Iterator[tuple[Question, Tensor]]:
    """Each view (1, 3, H, W) and the question how alike it is to the other one, which is a constant."""
    misfit = method.misfit(pair.model)
    if misfit:
        raise BadRequest(misfit)
    for view in (0, 1):
        target = SimilarityTo(pair.embeddings[1 - view][None], pair.similarity)
        yield Question(pair.model, target, pair.cut), pair.views[view : view + 1]


def _record(
    pair: PairQuestion, prepared: Sequence[Prepared], method: PairMethod, view: int, heatmap, value, options, seed, passes,
    seconds, facts,
) -> Explanation:  # fmt: skip
    own, other = prepared[view], prepared[1 - view]
    return Explanation(
        heatmap=heatmap,
        signed=method.sign == "signed" or bool((heatmap < 0).any()),
        box=own.box,
        picture_size=own.size,
        input_size=tuple(own.pixels.shape[1:]),
        picture=own.digest,
        model=pair.model.id,
        weights=pair.model.fingerprint,
        cut=pair.cut if "cut" in method.needs else "",
        target=f"{pair.similarity.words} of view {view + 1} to view {2 - view}",
        target_key=f"pair {view + 1} {pair.similarity.key} {other.digest}",
        target_value=value,
        method=method.id,
        title=method.title,
        version=method.version,
        options=dict(options),
        seed=seed,
        precision="exact",
        passes=passes,
        seconds=seconds,
        facts=facts,
    )


def _by_class_method(pair: PairQuestion, name: str, seed: int, track: Track, options: Mapping[str, Any]) -> Explained:
    """Each view asked, with a method for classes, how alike it is to the other one, which is a constant."""
    found = [
        explain(
            pair.model,
            pair.views[view],
            name,
            target=SimilarityTo(pair.embeddings[1 - view][None], pair.similarity),
            cut=pair.cut or None,
            seed=seed,
            track=track,
            **options,
        )
        for view in (0, 1)
    ]
    return found[0], found[1]


def _digest(given: Any) -> str:
    """What stands for something random that was passed in: whoever has it can compute the same again."""
    held = given if isinstance(given, tuple | list) else [given]
    return " ".join(array_digest(tensor_of(one).cpu().numpy())[:16] for one in held)
