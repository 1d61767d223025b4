"""What the network is shown at one point of a curve."""

from collections.abc import Mapping
from inspect import isgenerator
from typing import Any

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
from xai_core.models.explainable import ExplainableModel, Picture


def curve_image(
    model: ExplainableModel,
    image: Picture | Prepared,
    of: Explanation | NDArray | str,
    metric: str,
    step: int,
    target: Target,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Tensor:
    """The picture (3, H, W) that stands behind point number `step` of a metric's curve. No pass.

    `of` is a map as for `measure`, or the name of a control. Raises BadRequest where no single picture stands behind a
    point.
    """
    _, question, pixels = request_for(model, [image], target=target, seed=seed).activate()
    case = case_of(question, pixels, seed)
    if isinstance(of, str):
        candidate = control_candidates(question, case)[list(CONTROLS).index(of)]
    else:
        candidate = candidate_of("map", of, None, pixels.shape[2:])
    chosen = find_metric(metric)
    running = chosen.run(case, candidate, **check_options(chosen.run, options or {}))
    first, *ends, middle = next(running) if isgenerator(running) and has_images(metric) else [None, None]
    if first is None:
        raise BadRequest(f"No single picture stands behind a point of the curve of {chosen.title}.")
    shown = [first.make, *([middle.make] * middle.count), *(end.make for end in ends)]
    if not 0 <= step < len(shown):
        raise BadRequest(f"The curve has the points 0 to {len(shown) - 1}, not {step}.")
    row = step - 1 if 0 < step <= middle.count else 0
    return shown[step](range(row, row + 1))[0].cpu()


def has_images(metric: str) -> bool:
    """Whether one picture stands behind each point of the metric's curve."""
    axes = find_metric(metric).axes
    return axes is not None and axes[1] == "score"
