"""Asking why two views are alike: from a model, two views and a method's name to one explanation for each view."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xai_core.attribution.catalog import find_method
from xai_core.attribution.explain import explain, with_method
from xai_core.attribution.method import Method
from xai_core.core import runtime
from xai_core.core.cache_key import array_digest
from xai_core.core.errors import BadRequest, OutOfMemory, XaiError
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import Prepared, stack
from xai_core.explanation.question import Question, Tally
from xai_core.explanation.request import Request
from xai_core.explanation.result import Explanation
from xai_core.explanation.similarity import COSINE, Similarity
from xai_core.explanation.targets import ClassName, SimilarityTo
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.outputs import Outputs
from xai_core.models.zoo.catalog import CARDS
from xai_core.pairs.catalog import CLASS, find_pair_method
from xai_core.pairs.method import PairMethod, tensor_of
from xai_core.pairs.methods.pixel_invariance import drawn_views
from xai_core.pairs.question import PairQuestion

PairExplanation = tuple[Explanation, Explanation | None]


def explain_pair(
    model: ExplainableModel,
    view1: Picture | Prepared,
    view2: Picture | Prepared,
    method: str,
    *,
    similarity: Similarity = COSINE,
    cut: str | None = None,
    seed: int = 0,
    track: Track = iter,
    **options: Any,
) -> PairExplanation:
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
    base = _request(model, view1, view2, similarity, cut, seed)
    request, passed = _with_method(base, method, options)
    return answer_pair(request, _question(base), track, passed)


def explain_pair_methods(
    model: ExplainableModel,
    view1: Picture | Prepared,
    view2: Picture | Prepared,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    similarity: Similarity = COSINE,
    cut: str | None = None,
    seed: int = 0,
    track: Track = iter,
) -> Iterator[tuple[str, PairExplanation | XaiError]]:
    """Several methods on one pair, each with its options: yields (method, explanations, or why there are none) as each is
    ready. They share the embeddings and one gradient at the cut."""
    base = _request(model, view1, view2, similarity, cut, seed)
    question = _question(base)
    for name, options in methods.items():
        try:
            request, passed = _with_method(base, name, options)
            yield name, answer_pair(request, question, track, passed)
        except XaiError as error:
            yield name, error


def ask_pair(
    model: ExplainableModel,
    view1: Picture | Prepared,
    view2: Picture | Prepared,
    *,
    similarity: Similarity = COSINE,
    cut: str | None = None,
) -> PairQuestion:
    """The question about two views, before a method is chosen."""
    return _question(_request(model, view1, view2, similarity, cut, 0))


def pair_request(
    model: ExplainableModel,
    view1: Picture | Prepared,
    view2: Picture | Prepared,
    method: str = "",
    *,
    similarity: Similarity = COSINE,
    cut: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Request:
    """The request about two views, for one method where it is named, checked; its key names the result. Parameters and
    errors as for `explain_pair`."""
    base = _request(model, view1, view2, similarity, cut, seed)
    return _with_method(base, method, options or {})[0] if method else base


@dataclass(frozen=True)
class PairSimilarity:
    """How alike the two pictures of a request are, in the similarity's own unit: one value, (1,), for both. A Target."""

    similarity: Similarity = COSINE

    def __call__(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor:
        return self.similarity(outputs.embedding[:1], outputs.embedding[1:])

    def __len__(self) -> int:
        return 1

    def select(self, rows: Sequence[int]) -> "PairSimilarity":
        return self

    def label(self, row: int, class_name: ClassName) -> str:
        return f"{self.similarity.words} of two views"

    def key(self, row: int) -> str:
        return f"pair {self.similarity.key}"


def _request(
    model: ExplainableModel,
    view1: Picture | Prepared,
    view2: Picture | Prepared,
    similarity: Similarity,
    cut: str | None,
    seed: int,
) -> Request:
    if not isinstance(seed, int):
        raise BadRequest(f"A seed is a whole number, not '{seed}'.")
    views = (_prepared(model, view1), _prepared(model, view2))
    return Request(model, views, PairSimilarity(similarity), cut=model.network.cut_name(cut), seed=seed)


def _prepared(model: ExplainableModel, view: Picture | Prepared) -> Prepared:
    """The view as the network sees it; a tensor (1, 3, H, W) is taken without its first dimension."""
    if isinstance(view, Prepared):
        return view
    return model.prepare(view[0] if isinstance(view, Tensor) and view.ndim == 4 and len(view) == 1 else view)


def _question(request: Request) -> PairQuestion:
    model, cut = request.model, request.model.network.cut_name(request.cut or None)
    return PairQuestion(model, stack(request.pictures, model.device), _similarity_of(request), cut)


def _similarity_of(request: Request) -> Similarity:
    if not isinstance(request.target, PairSimilarity):
        raise BadRequest("This request is not about a pair of views; make it with `pair_request`.")
    return request.target.similarity


def _with_method(request: Request, name: str, options: Mapping[str, Any]) -> tuple[Request, dict[str, Any]]:
    """The request answered by one method, and what random was passed in among the options: in the request stands a digest of
    it, so that whoever has it can compute the same again. Raises UnknownName, or BadRequest where it does not fit."""
    if name.startswith(CLASS):
        answered = with_method(request, name.removeprefix(CLASS), options)
        return replace(answered, method=f"{CLASS}{answered.method}"), {}
    method, checked, passed = _chosen(request.model, name, options)
    checked |= {option: _digest(value) for option, value in passed.items()}
    cut = request.cut if "cut" in method.needs else ""
    return request.answered_by(method.id, checked, cut, method.version), passed


def answer_pair(
    request: Request,
    question: PairQuestion | None = None,
    track: Track = iter,
    passed: Mapping[str, Any] | None = None,
) -> PairExplanation:
    """The answer to a request of `pair_request`. `question` is one about the same views that other methods have used:
    they share the embeddings and the gradient at the cut. `passed` is what random was passed in. Raises XaiError."""
    question = question or _question(request)
    if request.method.startswith(CLASS):
        return _by_class_method(question, request, track)
    method, _ = find_pair_method(request.method)
    passed, views = passed or {}, request.pictures
    options = {name: value for name, value in request.options.items() if name not in passed}
    began = time.perf_counter()
    try:
        maps = method(question, **options, **passed, seed=request.seed, track=track)
        value = question.value
    except RuntimeError as error:  # beyond what inner batches in halves could mend
        if not runtime.is_out_of_memory(error):
            raise
        raise OutOfMemory(runtime.TOO_LARGE) from error
    heatmaps = maps.heatmap.float().cpu().numpy()
    seconds = (time.perf_counter() - began) / len(heatmaps)
    passes = question.tally.per_image(len(heatmaps))
    vars(question.tally).update(vars(Tally()))
    similarity, model = question.similarity, question.model
    explanations = [
        Explanation(
            heatmap=heatmap,
            signed=method.sign == "signed" or bool((heatmap < 0).any()),
            box=views[view].box,
            picture_size=views[view].size,
            input_size=(question.views.shape[2], question.views.shape[3]),
            picture=views[view].digest,
            model=model.id,
            weights=model.fingerprint,
            cut=request.cut,
            target=f"{similarity.words} of view {view + 1} to view {2 - view}",
            target_key=f"pair {view + 1} {similarity.key} {views[1 - view].digest}",
            target_value=value,
            method=method.id,
            title=method.title,
            version=method.version,
            options=dict(request.options),
            seed=request.seed,
            precision="exact",
            passes=passes,
            seconds=seconds,
            facts={name: float(values[view]) for name, values in maps.facts.items()},
            subject="the similarity",
        )
        for view, heatmap in enumerate(heatmaps)
    ]
    return explanations[0], explanations[1] if len(explanations) > 1 else None


def usual_options(model: ExplainableModel, method: str) -> dict[str, Any]:
    """What a model's card says for a method, where the paper takes other options for that model."""
    return dict(CARDS[model.id].pairs.get(method, {})) if model.id in CARDS else {}


def _chosen(
    model: ExplainableModel, name: str, options: Mapping[str, Any]
) -> tuple[PairMethod, dict[str, Any], dict[str, Any]]:
    """The method of a name, its checked options, and what random was passed in. Raises BadRequest where it does not fit."""
    method, implied = find_pair_method(name)
    misfit = method.misfit(model)
    if misfit:
        raise BadRequest(misfit)
    given, passed = method.split({**usual_options(model, method.id), **implied, **options})
    return method, method.checked(given), passed


def normalised(model: ExplainableModel, view: Tensor) -> Tensor:
    """A view (3, H, W) in [0, 1] as `model.in_normalised_space()` takes it."""
    normalise = model.network.normalise
    return view if normalise is None else normalise(view[None].to(model.device))[0]


def augmented_views(
    model: ExplainableModel, pair: PairQuestion, picture: Tensor, options: Mapping[str, Any], seed: int, track: Track = iter
) -> dict[str, Tensor]:
    """What pixel invariance needs in normalised space, where it cannot draw its views itself: views of `picture` (3, H, W),
    view 1 of the pair in [0, 1], augmented there and normalised afterwards, and their similarities.

    `model` is the one with its normalisation, and `options` are those of the method that differ from the model's usual."""
    method, given, _ = _chosen(model, "pixel_invariance", options)
    count = method.checked(given)["count"]
    views, similarities = drawn_views(
        pair, picture, count, seed, lambda pictures: torch.stack([normalised(model, one) for one in pictures]), track
    )
    return {"views": views, "similarities": similarities}


def native_maps(pair: PairQuestion, name: str, options: Mapping[str, Any], seed: int) -> list[Tensor]:
    """The maps (h, w) of a method on their native grids and nothing else, on views that may leave [0, 1]. `options` may
    hold what an explanation recorded: fixed options too, and digests of what was passed in, which are left out."""
    if name.startswith(CLASS):
        method = find_method(name.removeprefix(CLASS))
        return [
            method(question, view, **check_options(method.run, options), seed=seed).heatmap[0].float().cpu()
            for question, view in _class_questions(pair, method)
        ]
    free = {option.name for option in find_pair_method(name)[0].options()}
    pair_method, chosen, passed = _chosen(pair.model, name, {one: value for one, value in options.items() if one in free})
    return list(pair_method(pair, **chosen, **passed, seed=seed).heatmap.float().cpu())


def _class_questions(pair: PairQuestion, method: Method) -> Iterator[tuple[Question, Tensor]]:
    """Each view (1, 3, H, W) and the question how alike it is to the other one, which is a constant."""
    misfit = method.misfit(pair.model)
    if misfit:
        raise BadRequest(misfit)
    for view in (0, 1):
        target = SimilarityTo(pair.embeddings[1 - view][None], pair.similarity)
        yield Question(pair.model, target, pair.cut), pair.views[view : view + 1]


def _by_class_method(question: PairQuestion, request: Request, track: Track) -> PairExplanation:
    """Each view asked, with a method for classes, how alike it is to the other one, which is a constant."""
    first, second = (
        explain(
            request.model,
            view,
            request.method.removeprefix(CLASS),
            target=SimilarityTo(question.embeddings[1 - number][None], question.similarity),
            cut=request.cut or None,
            seed=request.seed,
            track=track,
            **request.options,
        )
        for number, view in enumerate(request.pictures)
    )
    return first, second


def _digest(given: Any) -> str:
    """What stands for something random that was passed in: whoever has it can compute the same again."""
    held = given if isinstance(given, tuple | list) else [given]
    return " ".join(array_digest(tensor_of(one).cpu().numpy())[:16] for one in held)
