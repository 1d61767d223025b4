"""Two views cut from one picture: which places of them show the same thing, and metrics that use this ground truth.

A map of what two views have in common should lie where they overlap, and a place that it marks should be found again in the
other view. Coordinates inside a view are shares of its width and height, (x, y) from its upper left corner.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.explanation.heatmaps import size_of
from xai_core.pairs.augment import AugmentedView, Box
from xai_core.pairs.metrics import BOTH, PairMetric, Row
from xai_core.pairs.question import PairQuestion

GEOMETRY_METRICS = {
    metric.id: metric
    for metric in (
        PairMetric("OS", "Share in the overlap", True, "Share of a map's positive mass where the two views overlap"),
        PairMetric(
            "CE",
            "Correspondence error",
            False,
            "Distance from the match of a marked place to its true place, in sides of the view",
        ),
    )
}
AREA, CENTRE = "baseline:area", "baseline:centre"
SIGMA = 0.25  # of the centre prior, as a share of the shorter side: the default of the control `centre_gaussian`


@dataclass(frozen=True)
class Geometry:
    """The places of two views in one picture: boxes (left, top, right, bottom) in its pixels, before mirroring."""

    boxes: tuple[Box, Box]
    mirrored: tuple[bool, bool] = (False, False)

    @classmethod
    def of(cls, first: AugmentedView, second: AugmentedView) -> "Geometry":
        """The geometry of two views that `draw_view` drew from one picture."""
        return cls((first.box, second.box), (first.mirrored, second.mirrored))

    def in_other(self, view: int, points: Tensor) -> Tensor:
        """Positions in the other view of points (..., 2) of view 1 or 2; outside [0, 1] where it does not show them."""
        own, other = view - 1, 2 - view
        x, y = points.unbind(-1)
        left, top, right, bottom = self.boxes[own]
        x = (1 - x if self.mirrored[own] else x) * (right - left) + left
        y = y * (bottom - top) + top
        left, top, right, bottom = self.boxes[other]
        x, y = (x - left) / (right - left), (y - top) / (bottom - top)
        return torch.stack([1 - x if self.mirrored[other] else x, y], -1)

    def overlap(self, view: int, size: tuple[int, int]) -> Tensor:
        """Whether the other view shows the centre of each cell of view 1 or 2, bool (height, width)."""
        points = self.in_other(view, centres(size))
        return ((points >= 0) & (points <= 1)).all(-1)


def centres(size: tuple[int, int]) -> Tensor:
    """The centres of a grid's cells, (height, width, 2), as (x, y) in [0, 1]."""
    height, width = size
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    return torch.stack([x, y], -1)


def centre_prior(size: tuple[int, int]) -> Tensor:
    """A Gaussian in the middle of a view, (height, width), as the control `centre_gaussian`."""
    height, width = size
    x, y = (centres(size) - 0.5).unbind(-1)
    distance = (x * width) ** 2 + (y * height) ** 2
    return (-distance / (2 * (SIGMA * min(size)) ** 2)).exp()


def cell_similarities(pair: PairQuestion) -> Tensor:
    """Cosines of the activations at the cut of every cell of view 1 with every cell of view 2, (h, w, h, w)."""
    first, second = F.normalize(pair.at_cut.activations, dim=1)
    return torch.einsum("cij,ckl->ijkl", first, second).cpu()


def matches(pair: PairQuestion, view: int, cell: tuple[int, int]) -> Tensor:
    """The similarity of each cell of the other view to one cell (row, column) of view 1 or 2, (h, w), in [-1, 1].

    Raises BadRequest where there is no such cell.
    """
    similarities = cell_similarities(pair)
    rows, columns = size_of(similarities)
    row, column = cell
    if not (0 <= row < rows and 0 <= column < columns):
        raise BadRequest(f"The grid has {rows} x {columns} cells, counted from 0; there is none at {cell}.")
    return similarities[row, column] if view == 1 else similarities[:, :, row, column]


def matching_errors(similarities: Tensor, geometry: Geometry, view: int) -> Tensor:
    """For each cell of view 1 or 2 the distance from its best match to its true counterpart, (h, w), in sides of the other
    view (x in widths, y in heights); NaN where the other view does not show it. `similarities` are `cell_similarities`."""
    size = size_of(similarities)
    flat = similarities.flatten(2) if view == 1 else similarities.flatten(0, 1).permute(1, 2, 0)
    matched = centres(size).flatten(0, 1)[flat.argmax(-1)]
    distance: Tensor = torch.linalg.vector_norm(matched - geometry.in_other(view, centres(size)), dim=-1)
    return distance.masked_fill(~geometry.overlap(view, size), math.nan)


def geometry_rows(
    pair: PairQuestion, maps: Mapping[str, Sequence[Tensor]], geometry: Geometry, wanted: Sequence[str]
) -> list[Row]:
    """Rows of OS and CE for maps (H, W), and for two baselines: a uniform map (`baseline:area`) and a centre prior.

    OS = sum of ReLU(map) in the overlap / sum of ReLU(map). Area: the overlap's share of the view.
    CE = mean over cells of the cut's grid in the overlap, weighted by ReLU(map), of the distance from the cell's best match
    (cosine of activations) to its true counterpart. Area: every cell has the same weight. The matches are the same for all
    methods; the score shows whether a method marks places that the network can find again. NaN where the map is nowhere
    positive, or the views do not overlap.
    """
    size = size_of(pair.views)
    uniform, prior = torch.ones(size), centre_prior(size)
    similarities = cell_similarities(pair) if "CE" in wanted else None
    errors = [] if similarities is None else [matching_errors(similarities, geometry, view) for view in (1, 2)]
    rows = []
    for name, both in {**maps, AREA: (uniform, uniform), CENTRE: (prior, prior)}.items():
        for metric in (id for id in wanted if id in GEOMETRY_METRICS):
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
    """The mean of the errors that are no NaN, weighted by the map."""
    weight = F.adaptive_avg_pool2d(positive[None], size_of(errors))[0]
    inside = errors.isfinite()
    return (weight[inside] * errors[inside]).sum() / weight[inside].sum()
