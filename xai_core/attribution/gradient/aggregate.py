"""Gradients at many points for each picture: summed along a path, or averaged over random draws with a standard error.

The points of all pictures share the inner batches. A picture's sum depends on its own points only, and the standard error
is compared with a precision goal after fixed numbers of samples, so that the result does not depend on the batching.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.core import runtime
from xai_core.core.runtime import Track
from xai_core.explanation.question import Question, unravel

Points = Callable[[Tensor, Tensor], Tensor]  # (which picture, which step), both (b,) -> pictures (b, 3, H, W)
Term = Callable[[Tensor, Tensor, Tensor], Tensor]  # (gradients (b, 3, H, W), which, step) -> what is summed (b, ...)
ROUND = 8  # samples between two checks of the standard error


def each_gradient(
    question: Question,
    images: Tensor,
    points: Points,
    steps: range,
    take: Callable[[Tensor, Tensor, Tensor], None],
    track: Track = iter,
    only: Tensor | None = None,
) -> None:
    """Call `take(gradients, which, step)` for every step of every picture (of those in `only`), in inner batches."""
    pictures = torch.arange(len(images)) if only is None else only

    def part(rows: range) -> None:
        place, step = unravel(rows, len(steps))
        which, step = pictures[place], step + steps.start
        take(question.gradient(points(which, step), which)[1], which, step)

    batch = runtime.inner_batch(images[0, 0].numel(), images.device, graph=True)
    runtime.each_batch(part, len(pictures) * len(steps), batch, track)


def summed(question: Question, images: Tensor, points: Points, steps: int, term: Term, track: Track = iter) -> Tensor:
    """The sum of `term` over the steps of each picture, (n, 3, H, W)."""
    total = torch.zeros_like(images)

    def take(gradients: Tensor, which: Tensor, step: Tensor) -> None:
        total.index_add_(0, which.to(total.device), term(gradients, which, step))

    each_gradient(question, images, points, range(steps), take, track)
    return total


class Moments:
    """Mean, variance and fourth moment of each picture's samples; `count` (n,) is their number.

    Summed are powers of the difference to the picture's first sample, which avoids cancellation: equal samples have a
    variance of exactly zero.
    """

    def __init__(self, pictures: int, powers: int = 2) -> None:
        self.count = torch.zeros(pictures, dtype=torch.long)
        self._powers = powers
        self._first = torch.empty(0)  # each picture's first sample, (n, ...); empty until samples come
        self._sums: list[Tensor] = []

    def take(self, samples: Tensor, which: Tensor, step: Tensor) -> None:
        """Add samples (b, ...) with numbers `step` (b,) of pictures `which` (b,). A picture's number 0 must come first."""
        if not self._sums:
            self._first = samples.new_zeros(len(self.count), *samples.shape[1:])
            self._sums = [torch.zeros_like(self._first) for _ in range(self._powers)]
        begins, where = (step == 0).to(samples.device), which.to(samples.device)
        self._first[where[begins]] = samples[begins]
        difference = power = samples - self._first[where]
        for total in self._sums:
            total.index_add_(0, where, power)
            power = power * difference
        self.count.index_add_(0, which, torch.ones_like(which))

    @property
    def _shifted(self) -> list[Tensor]:
        return [total / self._per_picture() for total in self._sums]

    def _per_picture(self) -> Tensor:
        return self.count.to(self._first).view(-1, *[1] * (self._first.ndim - 1))

    @property
    def mean(self) -> Tensor:
        return self._first + self._shifted[0]

    @property
    def variance(self) -> Tensor:
        """Unbiased: divided by one less than the number of samples, of which there are at least two."""
        n, (first, second, *_) = self._per_picture(), self._shifted
        return (second - first**2).clamp(min=0) * (n / (n - 1))

    @property
    def error_of_mean(self) -> Tensor:
        return (self.variance / self._per_picture()).sqrt()

    @property
    def error_of_variance(self) -> Tensor:
        """sqrt((m4 - variance^2 (n - 3) / (n - 1)) / n) with the fourth central moment m4, which needs four powers."""
        n, (first, second, third, fourth) = self._per_picture(), self._shifted
        central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
        return ((central - self.variance**2 * (n - 3) / (n - 1)).clamp(min=0) / n).sqrt()


def strongest(maps: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """The largest magnitude over RGB of maps (n, 3, H, W), as (n, H, W), and the error of the channel that has it."""
    channel = maps.abs().argmax(1, keepdim=True)
    return maps.gather(1, channel)[:, 0].abs(), errors.gather(1, channel)[:, 0]


def averaged(
    question: Question,
    images: Tensor,
    points: Points,
    count: int,
    term: Term,
    read: Callable[[Moments], tuple[Tensor, Tensor]],
    *,
    powers: int = 2,
    precision_goal: float = 0.0,
    track: Track = iter,
) -> Maps:
    """Maps and standard errors that `read` computes from the moments of `term` over `count` samples of each picture.

    With `precision_goal` a picture gets no more samples once the mean standard error of its map is at most that share of
    the map's range, checked after every 8 samples. Facts: the `samples` used, and the `relative error` reached (the mean
    standard error as a share of the map's range).
    """
    moments, unfinished = Moments(len(images), powers), torch.arange(len(images))

    def take(gradients: Tensor, which: Tensor, step: Tensor) -> None:
        moments.take(term(gradients, which, step), which, step)

    if not precision_goal:
        each_gradient(question, images, points, range(count), take, track)
    for start in track(range(0, count, ROUND)) if precision_goal else ():
        if len(unfinished):
            each_gradient(question, images, points, range(start, min(start + ROUND, count)), take, only=unfinished)
            unfinished = unfinished[(_relative(*read(moments)).cpu() > precision_goal)[unfinished]]
    maps, errors = read(moments)
    return Maps(maps, errors, {"samples": moments.count, "relative error": _relative(maps, errors)})


def _relative(maps: Tensor, errors: Tensor) -> Tensor:
    """Mean standard error of each map as a share of its range."""
    return errors.mean((1, 2)) / (maps.amax((1, 2)) - maps.amin((1, 2))).clamp(min=1e-30)
