"""What is known for certain of two views of one picture: where each was cut, and so which places show the same thing.

A map of what two views have in common ought to lie where they overlap, and a place that it marks ought to be found again in
the other view. Coordinates inside a view are shares of its width and height, (x, y) from its upper left corner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.pairs.augment import Box, View
from xai_core.pairs.metrics import BOTH, Metric, Row
from xai_core.pairs.question import PairQuestion

GEOMETRY_METRICS = {
    metric.id: metric
    for metric in (
        Metric("OS", "Share in the overlap", True, "Share of a map's positive mass where the two views really overlap"),
        Metric("CE", "Correspondence error", False, "How far off marked patches are matched, in sides of the other view"),
    )
}
AREA, CENTRE = "baseline:area", "baseline:centre"
SIGMA = 0.25  # of the centre prior, as a share of the shorter side: that of the control


@dataclass(frozen=True)
class Geometry:
    """Where two views lie in one picture: boxes (left, top, right, bottom) in its pixels, before mirroring."""

    boxes: tuple[Box, Box]
    mirrored: tuple[bool, bool] = (False, False)

    @classmethod
    def of(cls, first: View, second: View) -> "Geometry":
        return cls((first.box, second.box), (first.mirrored, second.mirrored))

    def in_other(self, view: int, points: Tensor) -> Tensor:
        """Where points (..., 2) of view 1 or 2 lie in the other one; outside [0, 1] where it does not show them."""
        own, other = view - 1, 2 - view
        x, y = points.unbind(-1)
        left, top, right, bottom = self.boxes[own]
        x = (1 - x if self.mirrored[own] else x) * (right - left) + left
        y = y * (bottom - top) + top
        left, top, right, bottom = self.boxes[other]
        x, y = (x - left) / (right - left), (y - top) / (bottom - top)
        return torch.stack([1 - x if self.mirrored[other] else x, y], -1)

    def overlap(self, view: int, size: tuple[int, int]) -> Tensor:
        """Which cells (height, width) of view 1 or 2 the other one shows too, by their centres."""
        there = self.in_other(view, centres(size))
        return ((there >= 0) & (there <= 1)).all(-1)


def centres(size: tuple[int, int]) -> Tensor:
    """The middles of cells, (height, width, 2), as (x, y) in [0, 1]."""
    height, width = size
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    return torch.stack([x, y], -1)


def centre_prior(size: tuple[int, int]) -> Tensor:
    """A Gaussian in the middle, (height, width), as the control `centre_gaussian`."""
    height, width = size
    x, y = (centres(size) - 0.5).unbind(-1)
    distance = (x * width) ** 2 + (y * height) ** 2
    return (-distance / (2 * (SIGMA * min(size)) ** 2)).exp()


def cell_similarities(pair: PairQuestion) -> Tensor:
    """Cosines of the activations at the cut of every cell of view 1 with every cell of view 2, (h, w, h, w)."""
    first, second = F.normalize(pair.at_cut.activations, dim=1)
    return torch.einsum("cij,ckl->ijkl", first, second).cpu()


def matches(pair: PairQuestion, view: int, cell: tuple[int, int]) -> Tensor:
    """How alike each cell of the other view is to one cell (row, column) of view 1 or 2, (h, w), in [-1, 1].

    Raises BadRequest where there is no such cell.
    """
    every = cell_similarities(pair)
    row, column = cell
    if not (0 <= row < every.shape[0] and 0 <= column < every.shape[1]):
        raise BadRequest(f"The grid has {every.shape[0]} x {every.shape[1]} cells; there is none at {cell}.")
    return every[row, column] if view == 1 else every[:, :, row, column]


def matching_errors(every: Tensor, geometry: Geometry, view: int) -> Tensor:
    """For each cell of view 1 or 2 the distance from its best match to its true counterpart, (h, w), in sides of the other
    view (x in widths, y in heights); NaN where the other view does not show it."""
    height, width = size = tuple(every.shape[:2])
    flat = every.flatten(2) if view == 1 else every.flatten(0, 1).permute(1, 2, 0)
    found = centres(size).flatten(0, 1)[flat.argmax(-1)]
    distance = (found - geometry.in_other(view, centres(size))).norm(dim=-1)
    return distance.masked_fill(~geometry.overlap(view, (height, width)), math.nan)


def geometry_rows(
    pair: PairQuestion, maps: dict[str, Sequence[Tensor]], geometry: Geometry, wanted: Sequence[str]
) -> list[Row]:
    """Rows of OS and CE for maps (H, W), beside what the overlap's area and a centre prior would give.

    OS = sum of ReLU(map) in the overlap / sum of ReLU(map). Area: the overlap's share of the view.
    CE = mean over cells of the cut's grid in the overlap, weighted by ReLU(map), of the distance from the cell's best match
    (cosine of activations) to its true counterpart. Area: every cell counts alike. The match is the same for all methods;
    the score says whether a method marks places that the network can find again. NaN where nothing is marked, or views do
    not overlap.
    """
    size = tuple(pair.views.shape[2:])
    uniform, prior = torch.ones(size), centre_prior(size)
    every = cell_similarities(pair) if "CE" in wanted else None
    errors = [matching_errors(every, geometry, view) for view in (1, 2)] if "CE" in wanted else []
    rows = []
    for name, both in {**maps, AREA: (uniform, uniform), CENTRE: (prior, prior)}.items():
        for metric in (one for one in wanted if one in GEOMETRY_METRICS):
            values = []
            for view, heatmap in enumerate(both, start=1):
                positive = heatmap.clamp(min=0).double()
                if metric == "OS":
                    value = positive[geometry.overlap(view, size)].sum() / positive.sum()
                else:
                    value = _weighted(errors[view - 1], positive)
                values.append(float(value))
                rows.append(Row(name, metric, view, values[-1]))
            rows.append(Row(name, metric, BOTH, sum(values) / len(values)))
    return rows


def _weighted(errors: Tensor, positive: Tensor) -> Tensor:
    """The mean error over cells that have one, weighted by the map."""
    weight = F.adaptive_avg_pool2d(positive[None], errors.shape)[0]
    inside = errors.isfinite()
    return (weight[inside] * errors[inside]).sum() / weight[inside].sum()
