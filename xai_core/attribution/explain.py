"""Asking why: from a model, a picture and a method's name to an explanation."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xai_core.attribution.catalog import find_method
from xai_core.attribution.method import Method
from xai_core.core import runtime
from xai_core.core.errors import BadRequest, OutOfMemory, XaiError
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import Prepared, stack
from xai_core.explanation.question import Question, Tally
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import ClassLogit, ClassMargin, Target, check_length
from xai_core.models.explainable import ExplainableModel, Picture

Asked = int | str | Target | Sequence[int | str] | None


def explain(
    model: ExplainableModel,
    image: Picture | Sequence[Picture],
    method: str,
    *,
    target: Asked = None,
    rival: Asked = None,
    cut: str | None = None,
    precision: str = "exact",
    seed: int = 0,
    track: Track = iter,
    **options: Any,
) -> Explanation | list[Explanation]:
    """Why does the model give this target to this picture? A list of pictures (or a tensor (n,3,H,W)) gives a list.

    image      a PIL picture or a path (preprocessed by the model's recipe), or a float tensor (3,H,W) in [0,1], as it is
    target     a class by index, name or WordNet id; None for the predicted one; a Target; for a list of pictures also a
               list with one class each
    rival      another class: explains the margin 'target and not rival'
    cut        where CAMs look, one of `model.cuts`; None is the model's default
    precision  "exact" (float32), or "fast" (16-bit) for the methods that keep their map in it
    seed       of random draws; the same seed gives the same map
    track      wraps the list of inner batches, as tqdm does: for progress, or to stop
    options    the method's own, see `python -m xai_core methods`

    Raises subclasses of XaiError with one sentence for everything that cannot be asked.
    """
    several = isinstance(image, list | tuple) or (isinstance(image, Tensor) and image.ndim == 4)
    images = list(image) if several else [image]
    if not images:
        return []
    asked = {"target": target, "rival": rival, "cut": cut, "precision": precision, "seed": seed}
    found = [one for _, one in _explain(model, images, {method: options}, track, **asked)]
    return found if several else found[0]


def explain_methods(
    model: ExplainableModel,
    image: Picture,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    target: Asked = None,
    rival: Asked = None,
    cut: str | None = None,
    precision: str = "exact",
    seed: int = 0,
    track: Track = iter,
) -> Iterator[tuple[str, Explanation]]:
    """Several methods on one picture, each with its options: yields (method, explanation) as each is ready.

    They share one trunk pass: all CAMs together cost little more than one forward pass.
    """
    asked = {"target": target, "rival": rival, "cut": cut, "precision": precision, "seed": seed}
    return _explain(model, [image], methods, track, **asked)


def attempt_methods(
    model: ExplainableModel, image: Picture, methods: Mapping[str, Mapping[str, Any]], **asked: Any
) -> Iterator[tuple[str, Explanation | XaiError]]:
    """As `explain_methods`, but a method that fails yields its error in place of an explanation, and the rest goes on."""
    for name, options in methods.items():
        try:
            yield from explain_methods(model, image, {name: options}, **asked)
        except XaiError as error:
            yield name, error


def ask(
    model: ExplainableModel, image: Picture, target: Asked = None, rival: Asked = None, precision: str = "exact"
) -> tuple[Question, Tensor]:
    """The question itself about one picture, at the model's default cut, and the picture (1, 3, H, W) as it is seen."""
    pixels = stack([model.prepare(image)], model.device)
    return _ask(model, pixels, range(1), 1, target, rival, model.network.cut_name(None), precision), pixels


def _explain(model, images, methods, track, *, target, rival, cut, precision, seed):
    """Checks what can be checked before any pass; the explanations come when the iterator is read."""
    chosen, cut = {name: find_method(name) for name in methods}, model.network.cut_name(cut)
    options = {name: check_options(method.run, methods[name]) for name, method in chosen.items()}
    for method in chosen.values():
        misfit = method.misfit(model)
        if misfit:
            raise BadRequest(misfit)
        if precision == "fast" and not method.offers_fast(model, cut):
            raise BadRequest(_exact_only(method))
    if not isinstance(seed, int):
        raise BadRequest(f"A seed is a whole number, not '{seed}'.")
    prepared = [model.prepare(image) for image in images]
    chosen = {name: (method, options[name]) for name, method in chosen.items()}
    return _explanations(model, prepared, chosen, track, seed, target, rival, cut, precision)


def _exact_only(method: Method) -> str:
    if not method.fast:
        return f"{method.title} is offered in exact precision only: its map does not survive 16 bits."
    where = f"on networks of the families {', '.join(sorted(method.fast))}"
    where += ", at the network's default cut" if "cut" in method.needs else ""
    return f"{method.title} keeps its map in 16 bits only {where}; elsewhere ask for exact precision."


def _explanations(model, prepared, chosen, track, seed, target, rival, cut, precision):
    stacked, total = stack(prepared, model.device), len(prepared)
    size = runtime.inner_batch(stacked[0, 0].numel(), model.device)
    for start in range(0, total, size):
        rows = range(start, min(start + size, total))
        batch = stacked[rows.start : rows.stop]
        began = time.perf_counter()
        question = _ask(model, batch, rows, total, target, rival, cut, precision)
        asking = time.perf_counter() - began  # the shared trunk pass; part of what each method takes
        for name, (method, options) in chosen.items():
            found = _run(question, batch, prepared[start:], method, options, seed, track, asking)
            yield from ((name, one) for one in found)


def _ask(model, batch, rows, total, target, rival, cut, precision) -> Question:
    """The question about one batch; the trunk pass that finds the predicted class is kept for the methods."""
    if isinstance(target, Target):
        if rival is not None:
            raise BadRequest("Give the rival inside the target (ClassMargin), or name the target by its class.")
        check_length(target, total)
        return Question(model, target.select([0] * len(rows) if len(target) == 1 else rows), cut, precision)
    question = Question(model, ClassLogit((0,)), cut, precision)
    classes = _classes(model, target, rows, total)
    if classes is None:
        with torch.no_grad():
            classes = tuple(question.outputs_at_cut(batch).logits.argmax(1).tolist())
    asked = ClassLogit(classes)
    if rival is not None:
        asked = ClassMargin(classes, _classes(model, rival, rows, total))
    return Question(model, asked, cut, precision, question.tally, question._memory)


def _classes(model, asked, rows: range, total: int) -> tuple[int, ...] | None:
    if asked is None:
        return None
    if isinstance(asked, list | tuple):
        if len(asked) != total:
            raise BadRequest(f"There are {len(asked)} classes for {total} pictures; give one each.")
        return tuple(model.class_index(asked[row]) for row in rows)
    return (model.class_index(asked),) * len(rows)


def _run(
    question: Question,
    batch: Tensor,
    prepared: Sequence[Prepared],
    method: Method,
    options: Mapping[str, Any],
    seed: int,
    track: Track,
    asking: float,
) -> Iterator[Explanation]:
    model, n = question.model, len(batch)
    began = time.perf_counter()
    try:
        maps = method(question, batch, **options, seed=seed, track=track)
    except torch.OutOfMemoryError as error:  # beyond what inner batches in halves could mend
        raise OutOfMemory(runtime.TOO_LARGE) from error
    values = question.values(batch).tolist()
    heatmaps = maps.heatmap.float().cpu().numpy()
    seconds = (time.perf_counter() - began + asking) / n
    passes = question.tally.per_image(n)
    vars(question.tally).update(vars(Tally()))
    for row in range(n):
        yield Explanation(
            heatmap=heatmaps[row],
            signed=method.sign == "signed" or bool((heatmaps[row] < 0).any()),
            box=prepared[row].box,
            picture_size=prepared[row].size,
            input_size=tuple(batch.shape[2:]),
            picture=prepared[row].digest,
            model=model.id,
            weights=model.fingerprint,
            cut=question.cut if "cut" in method.needs else "",
            target=question.target.label(row, model.class_name),
            target_key=question.target.key(row),
            target_value=values[row],
            method=method.id,
            title=method.title,
            version=method.version,
            options=dict(options),
            seed=seed,
            precision=question.precision,
            passes=passes,
            seconds=seconds,
            error=None if maps.error is None else maps.error[row].float().cpu().numpy(),
            facts={name: float(fact[row]) for name, fact in maps.facts.items()},
        )
