"""Explanations for the pages: found in the cache, estimated, or computed with a progress bar."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from streamlit.delta_generator import DeltaGenerator

from xai_core.analysis import map_sheet, sanity_check
from xai_core.app.shared import cache, progress, turns
from xai_core.app.shared.network_outputs import pass_times
from xai_core.app.shared.page_work import PageWork, Part
from xai_core.attribution import variants
from xai_core.attribution.estimates import explanation_seconds
from xai_core.attribution.explain import answer, request_for, with_method
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.request import Request
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target
from xai_core.models.explainable import ExplainableModel


def requests(model: ExplainableModel, prepared: Prepared, target: Target, methods: Sequence[str]) -> list[Request]:
    """One request for each method, with its default options, at the model's default cut, or for each variant, with its own.
    Raises BadRequest."""
    question = request_for(model, [prepared], target=target)
    return [with_method(question, id) for id in methods]


def name_of(request: Request) -> str:
    """The name of the method or variant that answers a request: `grad_cam`, or `grad_cam@cut=layer3`."""
    return variants.of_request(request).name


def title_of(request: Request) -> str:
    """The title of the method or variant that answers a request."""
    return variants.of_request(request).title


def titled(request: Request, explanation: Explanation) -> Explanation:
    """The answer to a request with the settings of its variant in the title, for pages where several stand side by side."""
    return replace(explanation, title=title_of(request))


def estimate(request: Request) -> float:
    """Estimated seconds to compute an explanation: from measured passes, and from how long earlier ones of this method took
    in comparison with their estimates."""
    return pass_times().corrected(_work(request), explanation_seconds(request, pass_times()))


def _work(request: Request) -> tuple[str, str, str]:
    """The kind of work whose ratio of real to estimated time is learnt."""
    return request.model.id, request.method, request.cut


def find(request: Request) -> Explanation | XaiError | None:
    """The stored result, or the error that the computation ended with; None if it was not computed."""
    return stored(request.key)


def stored(key: str) -> Explanation | XaiError | None:
    """What is stored under the key of a request about one picture."""
    result: Explanation | XaiError | None = cache.get(key)
    return result


def explain(request: Request, track: Track) -> Explanation:
    """Answer a request about one picture. Raises subclasses of XaiError."""
    ((_, explanation),) = answer([request], track)
    return explanation


def part(request: Request) -> Part:
    """An explanation as a part of a page's work."""
    return Part(
        title_of(request),
        estimate(request),
        lambda track: find(request) or _stored(request, lambda: explain(request, track)),
    )


def sweep(request: Request) -> Part:
    """One request about several pictures as a part of a page's work: they are explained together, and the result of each is
    stored under the key of its own request."""
    alone, total = request.rows([0]), len(request.pictures)

    def compute(track: Track) -> None:
        expected, began = explanation_seconds(alone, pass_times(), again=False), time.perf_counter()
        results = map_sheet.attempt(request, track)
        if all(isinstance(result, Explanation) for result in results):
            pass_times().learn(_work(request), total * expected, time.perf_counter() - began)
        for place, result in enumerate(results):
            cache.put(request.rows([place]).key, result)

    return Part(f"{title_of(request)}, {total} pictures", total * estimate(alone), compute)


def work(
    requests: Sequence[Request], key: str, title: str, page: str, *, private: bool, button: str = "Explain"
) -> PageWork:
    """The work of those explanations that are not stored yet. `key`, `title` and so on are those of `PageWork`."""
    parts = [part(request) for request in requests if find(request) is None]
    return PageWork(key, parts, title, page, private, button, [request.key for request in requests])


def compute(request: Request, bar: DeltaGenerator) -> Explanation | XaiError:
    """Compute an explanation and store it, moving `bar`.

    A cancelled computation stops within one inner batch and stores nothing; a failed one stores and returns its error.
    """
    title = title_of(request)
    return _stored(request, lambda: turns.in_turn(lambda track: explain(request, track), bar, title))


def _stored(request: Request, run: Callable[[], Explanation]) -> Explanation | XaiError:
    """What `run` returns, or the error that it ends with, after storing it."""
    result: Explanation | XaiError
    expected = explanation_seconds(request, pass_times(), again=False)
    try:
        result = run()
        pass_times().learn(_work(request), expected, result.seconds)
    except XaiError as error:
        result = error
    cache.put(request.key, result)
    return result


def compute_each(
    requests: Sequence[Request], name: str, now: bool, slot: DeltaGenerator
) -> Iterator[tuple[Request, Explanation | XaiError | None]]:
    """Yield each request with its result: stored results first, then, if `now`, the others as they are computed.

    Without `now` the result of what is not stored is None. The bar stands in `slot`, an `st.empty()` that the page
    creates in any case, so that nothing below it moves; its button cancels the work called `name`.
    """
    missing = [request for request in requests if find(request) is None]
    yield from ((request, find(request)) for request in requests if request not in missing or not now)
    if missing and now:
        with progress.bar(name, slot) as bar:
            yield from ((request, compute(request, bar)) for request in missing)


def quick_deletion(requests: Sequence[Request], maps: Sequence[Explanation]) -> list[float]:
    """`sanity_check.quick_deletion` of the maps of several requests about one picture and one target; stored for each."""
    keys = [request.computing("quick deletion").key for request in requests]
    stored: list[float | None] = [cache.get(key) for key in keys]
    scores = [score for score in stored if score is not None]
    if len(scores) < len(keys):
        scores = sanity_check.quick_deletion(requests[0].activate(), maps)
        for key, score in zip(keys, scores, strict=True):
            cache.put(key, score)
    return scores
