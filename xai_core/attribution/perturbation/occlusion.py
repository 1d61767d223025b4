"""Occlusion: the change of the target when a square is covered. No gradients: any model that gives a number will do."""

from functools import cache
from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.attribution.repeated_passes import one_by_one
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question
from xai_core.models.incremental_forward import PatchedNetwork, trusted, with_squares


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

    Why: To find out what happens to the score when a part is really missing.
    Who: Everyone: it is an experiment, and needs no calculus.
    What: Scores of the picture with squares covered.
    How: One forward pass for each square; a signed map as coarse as the square.
    When: After training; to check a gradient or CAM map by other means.
    Where: Any model that gives a number.
    Beware: A covered picture is an unusual one, and two objects that can replace each other both seem unimportant.
    """
    height, width = images.shape[2:]
    if window > min(height, width):
        raise BadRequest(f"A window of {window} pixels does not fit into a picture of {height} x {width}.")
    if stride > window:
        raise BadRequest(f"Steps of {stride} pixels leave gaps between windows of {window}; make the stride smaller.")
    corners = [(top, left) for top in _starts(height, window, stride) for left in _starts(width, window, stride)]

    values = question.values(images)  # in one pass: the question about a single picture does not share this one's memory

    def run(question: Question, image: Tensor, row: int) -> Maps:
        scores = _covered_scores(question, image, baseline_images(image, fill), corners, window, track)
        total, counts = torch.zeros_like(image[:, 0]), torch.zeros_like(image[0, 0])
        for (top, left), drop in zip(corners, values[row] - scores, strict=True):
            total[:, top : top + window, left : left + window] += drop
            counts[top : top + window, left : left + window] += 1
        return Maps(total / counts)

    return one_by_one(question, images, run).heatmap


def _covered_scores(
    question: Question, image: Tensor, cover: Tensor, corners: list[tuple[int, int]], window: int, track: Track
) -> Tensor:
    """The target's value of one picture with each square covered, (squares,). Where the network allows, only the
    activations that a square can reach are computed again; the passes that prepare and check this are not counted."""
    network = question.model.network

    @cache
    def patched() -> PatchedNetwork | None:  # first called in the sweep: without a graph, in the question's precision
        return trusted(network, image, cover, corners, window)

    def features(rows: range) -> Tensor:
        places = corners[rows.start : rows.stop]
        squares = torch.cat([cover[:, :, top : top + window, left : left + window] for top, left in places])
        incremental = patched()
        if incremental:
            return incremental.features(squares, places)
        return network.outputs(with_squares(image, squares, places)).features

    outputs = question.sweep_features(features, len(corners), size_of(image), track)
    with torch.no_grad():
        return question.target(outputs)
