"""Outputs for an image with one square changed, recomputing only the activations that the square can affect.

A convolutional stage reads neighbours: behind it, a changed square has changed a slightly larger square. Stage by stage
that square is cut out with the surroundings it reads, run, and its middle kept; from where it fills most of the grid, the
whole grid is run. How far a stage reaches is measured: NaN at one place of its input shows up in its output. A stage that
reaches everywhere (attention, gates, layer norms) ends the saving.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from xai_core.core.runtime import MEMORY_FORMAT
from xai_core.models.staged import Stage, StagedNetwork, Step

Corners = list[tuple[int, int]]  # (top, left) of each square
WORTH_IT = 0.8  # of a grid's area: a larger square is not worth cutting out
FEW = 24  # squares, for which the passes that prepare cost more than is saved
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-2}  # of the features: rounding, in kernels for other sizes


class Reach(NamedTuple):
    """Input place i reaches outputs from i // stride + low to i // stride + high, along both sides."""

    stride: int
    low: int
    high: int


def measured_reach(run: Step, clean: Tensor) -> Reach | None:
    """The reach of a step at an input (1, C, H, W); None where it is not that of a convolution with its edges padded."""
    output = run(clean)
    if clean.ndim != 4 or output.ndim != 4:
        return None
    (height, width), grid = clean.shape[2:], output.shape[2:]
    stride = max(1, round(height / grid[0]))
    if (height, width) != (grid[0] * stride, grid[1] * stride):
        return None
    middle = [side // 2 for side in grid]
    probes = clean.repeat(stride, 1, 1, 1)
    for phase in range(stride):
        probes[phase, :, middle[0] * stride + phase, middle[1] * stride + phase] = torch.nan
    touched = run(probes).isnan().any(1).any(0)
    offsets = []
    for axis in (0, 1):
        places = touched.any(1 - axis).nonzero()[:, 0].tolist()
        if not places or places[0] == 0 or places[-1] == grid[axis] - 1:
            return None
        offsets += [places[0] - middle[axis], places[-1] - middle[axis]]
    return Reach(stride, min(0, *offsets), max(0, *offsets))


class _Step(NamedTuple):
    run: Step
    clean: Tensor  # its input for the unchanged picture
    reach: Reach
    cut_out: int  # side of the square that is run
    kept: int  # side of the square that is kept of its output


class PatchedNetwork:
    """A network on one picture (1, 3, H, W), ready to be asked about the picture with a square of `side` changed.

    Made and called without a graph. It belongs to one call: it holds the picture's activations.
    """

    def __init__(self, network: StagedNetwork, image: Tensor, side: int) -> None:
        self.network = network
        self.steps: list[_Step] = []
        self.clean = self._normalised(image)
        stages = list(network.stages)
        while stages and (step := self._step(stages[0], side)):
            self.steps.append(step)
            self.clean, side = step.run(self.clean), step.kept
            stages.pop(0)
        self.rest = stages

    def _normalised(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=MEMORY_FORMAT)
        return self.network.normalise(images) if self.network.normalise else images

    def _step(self, stage: Stage, side: int) -> _Step | None:
        reach = measured_reach(stage.run, self.clean)
        if reach is None:
            return None
        kept = (side + reach.stride - 2) // reach.stride + reach.high - reach.low + 1
        cut_out = (kept + reach.high - reach.low) * reach.stride
        height, width = self.clean.shape[2:]
        fits = cut_out < min(height, width) and cut_out**2 < WORTH_IT * height * width
        return _Step(stage.run, self.clean, reach, cut_out, kept) if fits else None

    def features(self, squares: Tensor, corners: Corners) -> Tensor:
        """Features (n, D) of the picture with squares (n, 3, side, side) in [0, 1] at their corners."""
        squares = self._normalised(squares)
        for step in self.steps:
            stride, low, high = step.reach
            limits = [(length // stride - step.kept, length - step.cut_out) for length in step.clean.shape[2:]]
            (last_rows, last_cut_rows), (last_columns, last_cut_columns) = limits
            starts: Corners = []  # of what is kept of the output
            cuts: Corners = []  # of what is cut out of the input for it
            for row, column in corners:
                top = min(max(row // stride + low, 0), last_rows)
                left = min(max(column // stride + low, 0), last_columns)
                starts.append((top, left))
                cuts.append(
                    (
                        min(max((top - high) * stride, 0), last_cut_rows),
                        min(max((left - high) * stride, 0), last_cut_columns),
                    )
                )
            outputs = step.run(_cut_out(step.clean, cuts, (step.cut_out, step.cut_out), squares, corners))
            inside = [
                outputs[row, :, y - top // stride :, x - left // stride :][:, : step.kept, : step.kept]
                for row, ((y, x), (top, left)) in enumerate(zip(starts, cuts, strict=True))
            ]
            squares, corners = torch.stack(inside), starts
        activations = with_squares(self.clean, squares, corners)
        for stage in self.rest:
            activations = stage.run(activations)
        return self.network.pool(activations).float()


def trusted(network: StagedNetwork, image: Tensor, cover: Tensor, corners: Corners, side: int) -> PatchedNetwork | None:
    """A PatchedNetwork that was seen to agree with the whole network on covered squares at both ends, the middle and a
    quarter of `corners`; None where nothing is saved or it does not. Without a graph."""
    if len(corners) < FEW:
        return None
    tried = [corners[len(corners) * part // 4] for part in (0, 1, 2)] + corners[-1:]
    squares = torch.cat([cover[:, :, top : top + side, left : left + side] for top, left in tried])
    try:
        patched = PatchedNetwork(network, image, side)
        if not patched.steps:
            return None
        partial, whole = patched.features(squares, tried), network.outputs(with_squares(image, squares, tried)).features
    except RuntimeError:  # a stage of somebody's own that wants one size of input; or four pictures do not fit into memory
        return None
    close = (partial - whole).abs().max() <= TOLERANCE[patched.clean.dtype] * whole.abs().max()
    return patched if close else None


def with_squares(clean: Tensor, squares: Tensor, corners: Corners) -> Tensor:
    """Copies of clean activations (1, C, H, W), each with its square (n, C, side, side) at its corner."""
    height, width = clean.shape[2:]
    return _cut_out(clean, [(0, 0)] * len(corners), (height, width), squares, corners)


def _cut_out(clean: Tensor, cuts: Corners, size: tuple[int, int], squares: Tensor, corners: Corners) -> Tensor:
    """Pieces of the clean activations at `cuts`, each with its changed square where it belongs."""
    (height, width), side = size, squares.shape[2]
    shape = (len(cuts), clean.shape[1], height, width)
    pieces = torch.empty(shape, dtype=squares.dtype, device=clean.device, memory_format=MEMORY_FORMAT)
    for row, ((top, left), (y, x)) in enumerate(zip(cuts, corners, strict=True)):
        pieces[row] = clean[0, :, top : top + height, left : left + width]
        pieces[row, :, y - top : y - top + side, x - left : x - left + side] = squares[row]
    return pieces
