"""What methods that ask about many changed pictures have in common.

Each picture is asked about alone: the passes fill the inner batches anyway, pictures may need different numbers of them,
and the map cannot depend on what else is in the call.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.core import runtime
from xai_core.core.options import Range
from xai_core.core.runtime import Track
from xai_core.explanation.question import Question
from xai_core.explanation.targets import Target, check_length
from xai_core.models.outputs import Outputs

ROUND = 256  # passes between two looks at the standard error: fixed, so that where a run ends depends on no batch size

PrecisionGoal = Annotated[
    float, Range(0.0, 0.5, 0.01), "stop when the mean standard error is below this share of the map's range; 0 is never"
]


def one_target(target: Target, row: int) -> Target:
    """The target of one picture; a target with a single value is everybody's."""
    return target.select([0 if len(target) == 1 else row])


def one_by_one(question: Question, images: Tensor, run: Callable[[Question, Tensor, int], Maps]) -> Maps:
    """`run(question, picture (1, 3, H, W), its number)` for each picture, put together again."""
    check_length(question.target, len(images))
    asked = [question.select([0 if len(question.target) == 1 else row]) for row in range(len(images))]
    found = [run(one, images[row : row + 1], row) for row, one in enumerate(asked)]
    errors = [maps.error for maps in found]
    return Maps(
        torch.cat([maps.heatmap for maps in found]),
        None if any(error is None for error in errors) else torch.cat(errors),
        {name: torch.cat([maps.facts[name] for maps in found]) for name in found[0].facts},
    )


def rounds_of(total: int, length: int = ROUND) -> list[range]:
    """0 ... total - 1 in consecutive ranges of `length`."""
    return [range(start, min(start + length, total)) for start in range(0, total, length)]


def one_bar(track: Track, total: int) -> Track:
    """A `track` for several loops that have `total` batches together: all report to one bar."""
    steps = iter(track(range(total)))
    next(steps, None)

    def report(batches: Iterable) -> Iterator:
        for one in batches:
            yield one
            next(steps, None)

    return report


def sweep_rounds(
    question: Question,
    pictures: Callable[[range], Tensor],
    rounds: Sequence[range],
    size: tuple[int, int],
    track: Track,
) -> Iterator[tuple[range, Outputs]]:
    """Each round with the outputs of its pictures, as `question.sweep` gives them. All rounds report to one `track`; the
    caller may stop after any."""
    batch = runtime.inner_batch(size[0] * size[1], question.model.device)
    report = one_bar(track, sum(math.ceil(len(rows) / batch) for rows in rounds))
    for rows in rounds:

        def shifted(part: range, first: int = rows.start) -> Tensor:
            return pictures(range(first + part.start, first + part.stop))

        yield rows, question.sweep(shifted, len(rows), size, report)


def read(target: Target, outputs: Outputs) -> Tensor:
    """The values of a target with a single value, float64 on the CPU: what sums and regressions are made from."""
    with torch.no_grad():
        return target(outputs).double().cpu()


def good_enough(maps: Tensor, error: Tensor, goal: float) -> bool:
    """Whether the mean standard error of a map is below `goal` of its range; never for goal 0 or an unknown error."""
    return goal > 0 and bool(error.mean() < goal * (maps.max() - maps.min()))
