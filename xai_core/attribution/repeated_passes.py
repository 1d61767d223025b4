"""Many passes for one picture: in rounds, one picture after the other, until a standard error is small enough.

Each picture is handled on its own. The passes of one picture fill the inner batches anyway, pictures may need different
numbers of passes, and the map cannot depend on what else is in the call.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, TypeVar

import torch
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.core import runtime
from xai_core.core.options import Range
from xai_core.core.runtime import Track
from xai_core.explanation.question import Question
from xai_core.explanation.targets import Target, check_length
from xai_core.models.outputs import Outputs

Item = TypeVar("Item")
ROUND = 256  # passes between two checks of the standard error; fixed, so that a run's end does not depend on batch sizes

PrecisionGoal = Annotated[
    float, Range(0.0, 0.5, 0.01), "stop when the mean standard error is below this share of the map's range; 0: never"
]


def one_target(target: Target, row: int) -> Target:
    """The target of one picture; a target with a single value serves every picture."""
    return target.select([0 if len(target) == 1 else row])


def one_by_one(question: Question, images: Tensor, run: Callable[[Question, Tensor, int], Maps]) -> Maps:
    """`run(question, picture (1, 3, H, W), its number)` for each picture; the results are concatenated."""
    check_length(question.target, len(images))
    questions = [question.select([0 if len(question.target) == 1 else row]) for row in range(len(images))]
    results = [run(own, images[row : row + 1], row) for row, own in enumerate(questions)]
    errors = [maps.error for maps in results if maps.error is not None]
    return Maps(
        torch.cat([maps.heatmap for maps in results]),
        torch.cat(errors) if len(errors) == len(results) else None,
        {name: torch.cat([maps.facts[name] for maps in results]) for name in results[0].facts},
    )


def rounds_of(total: int, length: int = ROUND) -> list[range]:
    """0 ... total - 1 in consecutive ranges of `length`."""
    return [range(start, min(start + length, total)) for start in range(0, total, length)]


def one_bar(track: Track, total: int) -> Track:
    """A `track` for several loops with `total` batches in all, which report to one progress bar."""
    steps = iter(track(range(total)))
    next(steps, None)

    def report(batches: Iterable[Item]) -> Iterator[Item]:
        for batch in batches:
            yield batch
            next(steps, None)

    return report


def sweep_rounds(
    question: Question,
    pictures: Callable[[range], Tensor],
    rounds: Sequence[range],
    size: tuple[int, int],
    track: Track,
) -> Iterator[tuple[range, Outputs]]:
    """Each round with the outputs of its pictures, computed by `question.sweep`. All rounds report to one `track`; the
    caller may stop after any round. `size` is (height, width)."""
    batch = runtime.inner_batch(size[0] * size[1], question.model.device)
    report = one_bar(track, sum(math.ceil(len(rows) / batch) for rows in rounds))
    for rows in rounds:

        def of_round(part: range, first: int = rows.start) -> Tensor:
            return pictures(range(first + part.start, first + part.stop))

        yield rows, question.sweep(of_round, len(rows), size, report)


def read(target: Target, outputs: Outputs) -> Tensor:
    """The values (n,) of a target with a single value, float64 on the CPU, for sums and regressions."""
    with torch.no_grad():
        return target(outputs).double().cpu()


def good_enough(maps: Tensor, error: Tensor, goal: float) -> bool:
    """Whether the mean standard error of a map is below `goal` of its range; never for goal 0 or an unknown error."""
    return goal > 0 and bool(error.mean() < goal * (maps.max() - maps.min()))
