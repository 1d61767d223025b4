"""What changes when a part of the picture is taken away. No gradients: works for anything that gives a number."""

from typing import Annotated

import torch
from torch import Tensor

from xai_core.errors import BadRequest
from xai_core.images import BASELINES, baseline_images
from xai_core.options import Choice, Range
from xai_core.question import Question
from xai_core.runtime import Track


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along one side: every `stride`, the last one flush with the edge."""
    starts = list(range(0, length - window + 1, stride))
    return starts if starts[-1] == length - window else [*starts, length - window]


def occlusion(
    question: Question,
    images: Tensor,
    *,
    window: Annotated[int, Range(8, 112, 4), "side of the square that is covered, in pixels"] = 64,
    stride: Annotated[int, Range(4, 56, 4), "pixels from one position to the next"] = 8,
    fill: Annotated[str, Choice(BASELINES), "what the square is covered with"] = "black",
    track: Track = iter,
) -> Tensor:
    """Occlusion sensitivity: by how much the target falls when a square is covered.

    map at a pixel = mean over the squares W that cover it of f(x) - f(x with W covered). Resolution: pixels (H, W),
    constant on cells of the stride.
    Source: Zeiler & Fergus 2014, arXiv:1311.2901. Sign: signed. Unit: the target's.
    Deviation: averaged over overlapping squares, as captum does, instead of one value at each square's centre; the last
    square of a row is moved to the edge where the stride does not divide, so that every pixel is covered.

    Why: To find out what happens to the score when a part is really gone.
    Who: Everyone: it is an experiment, and needs no calculus.
    What: Scores of the picture with squares covered.
    How: One forward pass for each square; a signed map as coarse as the square.
    When: After training; to check a gradient or CAM map by other means.
    Where: Any model that gives a number.
    Beware: A covered picture is an unusual one, and two objects that replace each other both seem unimportant.
    """
    height, width = images.shape[2:]
    if window > min(height, width):
        raise BadRequest(f"A window of {window} pixels does not fit into a picture of {height} x {width}.")
    if stride > window:
        raise BadRequest(f"Steps of {stride} pixels leave gaps between windows of {window}; make the stride smaller.")
    if stride > window:
        raise BadRequest(f"Steps of {stride} pixels leave gaps between windows of {window}; make the stride smaller.")
    corners = [(top, left) for top in _starts(height, window, stride) for left in _starts(width, window, stride)]
    cover = baseline_images(images, fill)

    def pictures(rows: range) -> Tensor:
        which = torch.tensor([row // len(corners) for row in rows], device=images.device)
        covered = images[which]
        for place, row in enumerate(rows):
            top, left = corners[row % len(corners)]
            inside = (slice(None), slice(top, top + window), slice(left, left + window))
            covered[place][inside] = cover[which[place]][inside]
        return covered

    total = len(images) * len(corners)
    outputs = question.sweep(pictures, total, (height, width), track)
    with torch.no_grad():
        whose = torch.arange(len(images)).repeat_interleave(len(corners))
        covered_scores = question.target(outputs, whose).view(len(images), len(corners))
    drops = question.values(images)[:, None] - covered_scores
    maps, counts = torch.zeros_like(images[:, 0]), torch.zeros_like(images[0, 0])
    for index, (top, left) in enumerate(corners):
        maps[:, top : top + window, left : left + window] += drops[:, index, None, None]
        counts[top : top + window, left : left + window] += 1
    return maps / counts
