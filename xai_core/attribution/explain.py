"""Explain a prediction: from a model, a picture and a method's name to an explanation."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, overload

from torch import Tensor

from xai_core.attribution import variants
from xai_core.attribution.catalog import METHODS
from xai_core.core import runtime
from xai_core.core.errors import BadRequest, OutOfMemory, XaiError
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.question import Question, Tally
from xai_core.explanation.request import PREDICTED_CLASS, ActiveRequest, PredictedClass, Request
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import ClassLogit, ClassMargin, Target, sides
from xai_core.models.explainable import ExplainableModel, Picture

ClassLike = (
    int | str | list[int | str] | tuple[int | str, ...]
)  # by index, name or WordNet id; for a list of pictures also one each
TargetLike = ClassLike | Target
MethodOptions = Mapping[str, Mapping[str, Any]]


@overload
def explain(
    model: ExplainableModel,
    image: Picture | Prepared,
    method: str,
    *,
    target: TargetLike | None = None,
    rival: ClassLike | None = None,
    cut: str | None = None,
    precision: str = "exact",
    seed: int = 0,
    track: Track = iter,
    **options: Any,
) -> Explanation: ...


@overload
def explain(
    model: ExplainableModel,
    image: Sequence[Picture | Prepared],
    method: str,
    *,
    target: TargetLike | None = None,
    rival: ClassLike | None = None,
    cut: str | None = None,
    precision: str = "exact",
    seed: int = 0,
    track: Track = iter,
    **options: Any,
) -> list[Explanation]: ...


def explain(
    model: ExplainableModel,
    image: Picture | Prepared | Sequence[Picture | Prepared],
    method: str,
    *,
    target: TargetLike | None = None,
    rival: ClassLike | None = None,
    cut: str | None = None,
    precision: str = "exact",
    seed: int = 0,
    track: Track = iter,
    **options: Any,
) -> Explanation | list[Explanation]:
    """Why does the model give this target to this picture? A list of pictures (or a tensor (n,3,H,W)) gives a list.

    image      a PIL picture or a path (preprocessed by the model's recipe), a float tensor (3,H,W) in [0,1] that is used as
               it is, or what `model.prepare` returned
    method     an id or title, or a variant of one: "grad_cam@cut=layer3+eigen=true"
    target     a class by index, name or WordNet id; None for the predicted one; a Target; for a list of pictures also a
               list with one class each
    rival      another class: explains the margin 'target and not rival'
    cut        the layer at which CAMs look, one of `model.cuts`; None is the model's default
    precision  "exact" (float32), or "fast" (16-bit) for the methods that keep their map in it
    seed       of random draws; the same seed gives the same map
    track      wraps the list of inner batches, as tqdm does: for progress, or to stop
    options    the method's own, see `python -m xai_core methods`

    Raises subclasses of XaiError with one sentence for everything that cannot be asked.
    """
    if isinstance(image, Tensor) and image.ndim == 4:
        image = list(image)
    several = isinstance(image, list | tuple)
    images = list(image) if isinstance(image, list | tuple) else [cast("Picture | Prepared", image)]
    if not images:
        return []
    requests = requests_for(
        model, images, {method: options}, target=target, rival=rival, cut=cut, precision=precision, seed=seed
    )
    explanations = [explanation for _, explanation in answer(requests, track)]
    return explanations if several else explanations[0]


def explain_methods(
    model: ExplainableModel,
    image: Picture | Prepared,
    methods: MethodOptions,
    *,
    target: TargetLike | None = None,
    rival: ClassLike | None = None,
    cut: str | None = None,
    precision: str = "exact",
    seed: int = 0,
    track: Track = iter,
) -> Iterator[tuple[str, Explanation]]:
    """Several methods on one picture, each with its options: yields (method, explanation) as each is ready.

    They share one trunk pass: all CAMs together cost little more than one forward pass.
    """
    requests = requests_for(model, [image], methods, target=target, rival=rival, cut=cut, precision=precision, seed=seed)
    return zip(methods, (explanation for _, explanation in answer(requests, track)), strict=True)


def attempt_methods(
    model: ExplainableModel,
    image: Picture | Prepared,
    methods: MethodOptions,
    *,
    target: TargetLike | None = None,
    rival: ClassLike | None = None,
    cut: str | None = None,
    precision: str = "exact",
    seed: int = 0,
    track: Track = iter,
) -> Iterator[tuple[str, Explanation | XaiError]]:
    """As `explain_methods`, but a method that fails yields its error in place of an explanation, and the rest goes on."""
    prepared = image if isinstance(image, Prepared) else model.prepare(image)
    for name, options in methods.items():
        try:
            yield from explain_methods(
                model, prepared, {name: options},
                target=target, rival=rival, cut=cut, precision=precision, seed=seed, track=track,
            )  # fmt: skip
        except XaiError as error:
            yield name, error


def requests_for(
    model: ExplainableModel,
    images: Sequence[Picture | Prepared],
    methods: MethodOptions,
    *,
    target: TargetLike | None = None,
    rival: ClassLike | None = None,
    cut: str | None = None,
    precision: str = "exact",
    seed: int = 0,
) -> list[Request]:
    """One request for each method, about the same pictures; everything that needs no pass is checked here.

    Parameters as for `explain`. Raises subclasses of XaiError.
    """
    question = request_for(model, images, target=target, rival=rival, cut=cut, precision=precision, seed=seed)
    return [with_method(question, name, options) for name, options in methods.items()]


def request_for(
    model: ExplainableModel,
    images: Sequence[Picture | Prepared],
    *,
    target: TargetLike | None = None,
    rival: ClassLike | None = None,
    cut: str | None = None,
    precision: str = "exact",
    seed: int = 0,
) -> Request:
    """The request about these pictures before a method is chosen. Parameters and errors as for `explain`."""
    if not isinstance(seed, int):
        raise BadRequest(f"A seed is a whole number, not '{seed}'.")
    runtime.check_precision(precision)
    cut = model.network.cut_name(cut)
    prepared = tuple(image if isinstance(image, Prepared) else model.prepare(image) for image in images)
    wanted = _target(model, target, rival, len(prepared))
    return Request(model, prepared, wanted, cut=cut, precision=precision, seed=seed)


def with_method(request: Request, name: str, options: Mapping[str, Any] | None = None) -> Request:
    """The request answered by one attribution method, or by a variant of one, whose cut and precision then take the place of
    the request's. Raises UnknownName, or BadRequest where it does not fit."""
    variant, network = variants.parse(name, request.precision), request.model.network
    method, checked = variant.method, variant.merged(options or {})
    cut = network.cut_name(variant.cut or request.cut or None)
    if variant.cut and request.cut not in ("", cut, network.cut_name(None)):
        raise BadRequest(f"{variant.name} has the cut {cut}: it cannot be {request.cut} too.")
    precision = variant.precision or request.precision
    misfit = method.misfit(request.model)
    if misfit:
        raise BadRequest(misfit)
    if precision == "fast" and not method.offers_fast(request.model, cut):
        raise BadRequest(method.exact_only)
    answered = request.answered_by(method.id, checked, cut if "cut" in method.needs else "", method.version)
    return replace(answered, precision=precision) if variant.precision else answered


def _target(
    model: ExplainableModel, target: TargetLike | None, rival: ClassLike | None, total: int
) -> Target | PredictedClass:
    if isinstance(target, Target):
        if rival is not None:
            raise BadRequest("Give the rival inside the target (ClassMargin), or name the target by its class.")
        return target
    rivals = None if rival is None else _classes(model, rival, total)
    if target is None:
        return PREDICTED_CLASS if rivals is None else PredictedClass(rivals)
    classes = _classes(model, target, total)
    return ClassLogit(classes) if rivals is None else ClassMargin(classes, rivals)


def _classes(model: ExplainableModel, wanted: ClassLike, total: int) -> tuple[int, ...]:
    """The class of each of `total` pictures."""
    if isinstance(wanted, list | tuple):
        if len(wanted) != total:
            raise BadRequest(f"There are {len(wanted)} classes for {total} pictures; give one each.")
        return tuple(model.class_index(name) for name in wanted)
    return (model.class_index(wanted),) * total


def answer(requests: Sequence[Request], track: Track = iter) -> Iterator[tuple[Request, Explanation]]:
    """Answer requests that differ in their methods, cuts and precisions only: yields each picture's request, its classes
    known now, and its explanation, as each is ready. They share the pictures and the target, which is found once; those of
    one cut and precision share their trunk pass too.

    Pictures beyond one inner batch are answered batch by batch. Raises subclasses of XaiError.
    """
    first = next((request for request in requests if request.cut), requests[0])
    size = runtime.inner_batch(first.pictures[0].pixels[0].numel(), first.model.device)
    for start in range(0, len(first.pictures), size):
        began = time.perf_counter()
        active = first.rows(range(start, min(start + size, len(first.pictures)))).activate()
        spent = time.perf_counter() - began  # the shared trunk pass is a part of what each method takes
        others: Others = {}
        for request in requests:
            yield from answer_active(active_for(request, active, others), request, track, spent)


Others = dict[tuple[str, str], ActiveRequest]  # by cut and precision


def active_for(request: Request, active: ActiveRequest, others: Others) -> ActiveRequest:
    """`active`, or the same pictures and target at the request's own cut and precision, which `others` keeps."""
    question = active.question
    cut, precision = request.cut or question.cut, request.precision
    if (cut, precision) == (question.cut, question.precision):
        return active
    if (cut, precision) not in others:
        asked = Question(question.model, question.target, cut, precision)
        others[cut, precision] = ActiveRequest(replace(active.request, cut=cut, precision=precision), asked, active.images)
    return others[cut, precision]


def answer_active(
    active: ActiveRequest, request: Request, track: Track = iter, spent: float = 0.0
) -> Iterator[tuple[Request, Explanation]]:
    """Answer one request with the question and the pictures of `active`, which may be that of another method.

    `spent` are seconds that were spent on what methods share. Raises OutOfMemory, BadRequest.
    """
    question, images, n = active.question, active.images, len(active.images)
    method, model = METHODS[request.method], question.model
    request = active.request.answered_by(request.method, request.options, request.cut, request.version)
    began = time.perf_counter()
    try:
        maps = method(question, images, **request.options, seed=request.seed, track=track)
    except RuntimeError as error:  # beyond what inner batches in halves could mend
        if not runtime.is_out_of_memory(error):
            raise
        raise OutOfMemory(runtime.TOO_LARGE) from error
    values = question.values(images).tolist()
    heatmaps = maps.heatmap.float().cpu().numpy()
    seconds = (time.perf_counter() - began + spent) / n
    passes = question.tally.per_image(n)
    vars(question.tally).update(vars(Tally()))
    for row, picture in enumerate(request.pictures):
        subject, rival = sides(question.target, row, model.class_name)
        yield (
            request.rows([row]),
            Explanation(
                heatmap=heatmaps[row],
                signed=method.sign == "signed" or bool((heatmaps[row] < 0).any()),
                box=picture.box,
                picture_size=picture.size,
                input_size=(images.shape[2], images.shape[3]),
                picture=picture.digest,
                model=model.id,
                weights=model.fingerprint,
                cut=request.cut,
                target=question.target.label(row, model.class_name),
                target_key=question.target.key(row),
                target_value=values[row],
                method=method.id,
                title=method.title,
                version=method.version,
                options=dict(request.options),
                seed=request.seed,
                precision=request.precision,
                passes=passes,
                seconds=seconds,
                error=None if maps.error is None else maps.error[row].float().cpu().numpy(),
                facts={name: float(fact[row]) for name, fact in maps.facts.items()},
                subject=subject,
                rival=rival,
            ),
        )
