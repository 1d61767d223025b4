"""Options that decorators add to methods: in the signature, where the pages and the command line read them.

@by_derivative    a function that differentiates its question: adds `derivative`
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.core.options import ADDED_LATER, Choice
from xai_core.explanation.question import DERIVATIVES, Question

Result = TypeVar("Result", Tensor, Maps, Tensor | Maps)
Derivative = Annotated[
    str, Choice(DERIVATIVES), ADDED_LATER, "libra: LibraGrad, for transformers: attention and lengths are constants"
]


def declare(
    run: Callable[..., Any],
    inner: Callable[..., Any],
    first: Mapping[str, tuple[Any, Any]],
    last: Mapping[str, tuple[Any, Any]],
) -> None:
    """Give `run` the signature of `inner` with further options {name: (annotation, default)} before and behind its own."""
    signature = inspect.signature(inner)
    positional = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    keywords = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    options = [p for p in keywords if hasattr(p.annotation, "__metadata__")]
    rest = [p for p in keywords if p not in options]  # seed, noise, track
    before, behind = (
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in added.items()
        ]
        for added in (first, last)
    )
    ordered = [*positional, *before, *options, *behind, *rest]
    run.__annotations__ = {p.name: p.annotation for p in ordered} | {"return": signature.return_annotation}
    vars(run)["__signature__"] = signature.replace(parameters=ordered)  # what `inspect.signature` reads


def by_derivative(maps: Callable[..., Result]) -> Callable[..., Result]:
    """The method with the option `derivative`: the question is differentiated in the ordinary way, or as LibraGrad does
    (`core/autodiff/libra.py`). Where that changes nothing it is refused."""

    @functools.wraps(maps)
    def run(question: Question, images: Tensor, *, derivative: str = "ordinary", **options: Any) -> Result:
        return maps(question.under(derivative), images, **options)

    declare(run, maps, first={}, last={"derivative": (Derivative, "ordinary")})
    return run
