"""The image that the network saw at one point of a metric's curve."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.explain import request_for
from xai_core.core.errors import BadRequest
from xai_core.core.options import check_options
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target
from xai_core.metrics.catalog import find_metric
from xai_core.metrics.measure import CONTROLS, candidate_of, case_of, control_candidates
from xai_core.metrics.metric import MetricGenerator, MetricResult, OptionValues
from xai_core.models.explainable import ExplainableModel, Picture


def curve_image(
    model: ExplainableModel,
    image: Picture | Prepared,
    of: Explanation | NDArray[np.floating] | str,
    metric: str,
    step: int,
    target: Target,
    options: OptionValues | None = None,
    seed: int = 0,
) -> Tensor:
    """The image (3, H, W) behind point number `step` of a metric's curve. Takes no pass.

    `of` is a map as for `measure`, or the name of a control. Raises BadRequest for a metric whose points do not stand for
    single images, and for a point that the curve does not have.
    """
    _, question, pixels = request_for(model, [image], target=target, seed=seed).activate()
    case = case_of(question, pixels, seed)
    if isinstance(of, str):
        candidate = control_candidates(question, case)[list(CONTROLS).index(of)]
    else:
        candidate = candidate_of("map", of, None, case.size)
    record = find_metric(metric)
    running: MetricGenerator | MetricResult = record.run(case, candidate, **check_options(record.run, options or {}))
    if not has_images(metric) or isinstance(running, MetricResult):
        raise BadRequest(f"No single picture stands behind a point of the curve of {record.title}.")
    first, *last, inner = next(running)
    makers: list[Callable[[range], Tensor]] = [first.make, *[inner.make] * inner.count, *(query.make for query in last)]
    if not 0 <= step < len(makers):
        raise BadRequest(f"The curve has the points 0 to {len(makers) - 1}, not {step}.")
    row = step - 1 if 0 < step <= inner.count else 0
    return makers[step](range(row, row + 1))[0].cpu()


def has_images(metric: str) -> bool:
    """Whether each point of the metric's curve is the score of one image."""
    axes = find_metric(metric).axes
    return axes is not None and axes[1] == "score"
