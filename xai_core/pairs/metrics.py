"""Faithfulness of the maps of a pair: changes of the similarity as pixels are inserted or deleted in the maps' order.

The pictures of all curves and masks of all methods form one stream. SI and CI, and SD and CD, share their forward passes,
and the unchanged view is embedded once.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.errors import UnknownName
from xai_core.core.runtime import Track
from xai_core.pairs.augment import blurred
from xai_core.pairs.question import PairQuestion

STEP = 224  # pixels that change from one point of a curve to the next, whatever the size of the views
BOTH = "both"
Values = NDArray[np.float64]


@dataclass(frozen=True)
class PairMetric:
    """One metric of a pair's maps: whether larger values are better (`up`), and its description in words. The version is
    raised whenever its numbers change."""

    id: str
    title: str
    up: bool
    words: str
    version: int = 1

    @property
    def direction(self) -> str:
        return "up" if self.up else "down"


PAIR_METRICS = {
    metric.id: metric
    for metric in (
        PairMetric(
            "SI", "Simultaneous insertion", True,
            "Mean similarity while the pixels of both views, blurred at first, are restored, strongest first",
        ),
        PairMetric(
            "SD", "Simultaneous deletion", False,
            "Mean similarity while the pixels of both views are set to zero, strongest first",
        ),
        PairMetric("CI", "Conditional insertion", True, "As SI, but only one view is changed"),
        PairMetric("CD", "Conditional deletion", False, "As SD, but only one view is changed"),
        PairMetric(
            "SAD", "Simultaneous average drop", False,
            "Share of the similarity that is lost when both views are masked (multiplied by their maps)",
        ),
        PairMetric(
            "SIC", "Simultaneous increase in confidence", True,
            "1 if the similarity rises when both views are masked (multiplied by their maps), else 0",
        ),
        PairMetric("CAD", "Conditional average drop", False, "As SAD, but only one view is masked"),
        PairMetric(
            "CIC", "Conditional increase in confidence", True,
            "As SIC, but only one view is masked. The published tables call it CID",
        ),
        PairMetric(
            "MS", "Max-sensitivity", False,
            "Largest relative change of a map when noise of at most 0.2 is added to both views",
        ),
    )
}  # fmt: skip
DROPS = ("SAD", "CAD")  # undefined where the base similarity is not positive
_PARTS = {"insertion": ("SI", "CI"), "deletion": ("SD", "CD"), "masked": ("SAD", "SIC", "CAD", "CIC")}


def find_metrics(names: Collection[str] | str, known: Mapping[str, PairMetric] = PAIR_METRICS) -> list[str]:
    """The ids of metrics, from ids or titles in any case. Raises UnknownName."""
    ids = {spelling.lower(): metric.id for metric in known.values() for spelling in (metric.title, metric.id)}
    names = [str(name) for name in ([names] if isinstance(names, str) else names)]
    for name in names:
        if name.strip().lower() not in ids:
            raise UnknownName("metric of pairs", name, known)
    return [ids[name.strip().lower()] for name in names]


class Row(NamedTuple):
    """One value of a metric, for a method's map of view 1 or 2, or for "both" views. `note` says why a value of PART_METRICS
    is NaN."""

    method: str
    metric: str
    view: int | str
    value: float
    note: str = ""


def full_size(heatmap: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (h, w) at (height, width): bilinear between cell centres."""
    if tuple(heatmap.shape) == size:
        return heatmap
    return F.interpolate(heatmap[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def _places(heatmap: Tensor) -> Tensor:
    """Each pixel's rank in the map, (H, W): 0 is the strongest. Of equal values the last in reading order comes first, as in
    the published code where its sort is stable."""
    order = np.argsort(heatmap.flatten().numpy(), kind="stable")[::-1].copy()
    places = torch.empty(heatmap.numel(), dtype=torch.int32)
    places[torch.from_numpy(order)] = torch.arange(heatmap.numel(), dtype=torch.int32)
    return places.view(heatmap.shape)


def stretched(heatmap: Tensor) -> Tensor:
    """(map - min) / (max - min); NaN everywhere for a constant map."""
    return (heatmap - heatmap.min()) / (heatmap.max() - heatmap.min())


def mean_of_curve(values: Values) -> float:
    """The mean height of a curve with equal steps, by the trapezoid rule."""
    return float((values.sum() - (values[0] + values[-1]) / 2) / (len(values) - 1))


class _Stream:
    """The numbered pictures of all methods with two maps (or of all with one), and the similarities read from them."""

    def __init__(self, pair: PairQuestion, maps: Sequence[Sequence[Tensor]], parts: Sequence[str], step: int) -> None:
        self.pair, self.ways, self.step = pair, len(maps[0]), step
        self.points = math.ceil(pair.views[0, 0].numel() / step) + 1
        self.order = [(part, point) for part in parts for point in range(1 if part == "masked" else self.points)]
        device = pair.views.device
        self.places = [[_places(heatmap).to(device) for heatmap in views] for views in maps]
        self.masks = [[stretched(heatmap).to(device) for heatmap in views] for views in maps]
        self.blurred = blurred(pair.views)
        self.black = torch.zeros_like(pair.views[0])

    def pictures(self, rows: range) -> Tensor:
        pictures = torch.empty(len(rows), self.ways, *self.pair.views.shape[1:], device=self.pair.views.device)
        for place, row in enumerate(rows):
            method, number = divmod(row, len(self.order))
            part, point = self.order[number]
            for view in range(self.ways):
                own = self.pair.views[view]
                if part == "masked":
                    torch.mul(own, self.masks[method][view], out=pictures[place, view])
                    continue
                changed = self.places[method][view] < point * self.step
                new, old = (own, self.blurred[view]) if part == "insertion" else (self.black, own)
                torch.where(changed, new, old, out=pictures[place, view])
        return pictures.flatten(0, 1)

    def read(self, embeddings: Tensor, rows: range) -> Tensor:
        return changed_similarities(self.pair, embeddings, self.ways)

    def run(self, track: Track) -> list[dict[str, Values]]:
        """For each method the values (points, 3) of each part."""
        total = len(self.places) * len(self.order)
        rows = torch.cat(self.pair.each_embedding(self.pictures, self.read, total, self.ways, track))
        by_method = rows.double().cpu().numpy().reshape(len(self.places), len(self.order), 3)
        parts = np.array([part for part, _ in self.order])
        return [{part: values[parts == part] for part in dict.fromkeys(parts)} for values in by_method]


def changed_similarities(pair: PairQuestion, embeddings: Tensor, ways: int) -> Tensor:
    """Similarities (n, 3) with both views changed, view 1 changed, view 2 changed, from the embeddings of the changed views,
    in turn of view 1 and of view 2. With one way these are of view 1 alone; what needs changes of view 2 is NaN."""
    first, second = pair.embeddings[:1], pair.embeddings[1:]
    if ways == 1:
        changed = pair.alike(embeddings, second)
        return torch.stack([changed * math.nan, changed, changed * math.nan], 1)
    changed1, changed2 = embeddings[0::2], embeddings[1::2]
    return torch.stack([pair.alike(changed1, changed2), pair.alike(changed1, second), pair.alike(first, changed2)], 1)


def curves(
    pair: PairQuestion,
    maps: Mapping[str, Sequence[Tensor]],
    metrics: Collection[str],
    step: int = STEP,
    track: Track = iter,
) -> dict[str, dict[str, Values]]:
    """For each method the similarity (points, 3) of each part that the metrics need: "insertion", "deletion", "masked".

    Columns: both views changed; view 1 changed; view 2 changed. `maps` holds one or two maps (H, W) for each method.
    """
    parts = [part for part, needed in _PARTS.items() if not set(needed).isdisjoint(metrics)]
    values: dict[str, dict[str, Values]] = {}
    for ways in (2, 1) if parts else ():
        names = [name for name, views in maps.items() if len(views) == ways]
        if names:
            stream = _Stream(pair, [maps[name] for name in names], parts, step)
            values |= dict(zip(names, stream.run(track), strict=True))
    return {name: values[name] for name in maps if name in values}


def curve_passes(ways: int, metrics: Collection[str], pixels: int, step: int = STEP) -> int:
    """The forward passes that `curves` takes for one method with so many maps (1 or 2) of `pixels` values each."""
    parts = [part for part, needed in _PARTS.items() if not set(needed).isdisjoint(metrics)]
    return ways * sum(1 if part == "masked" else math.ceil(pixels / step) + 1 for part in parts)


def rows_of(name: str, values: Mapping[str, Values], base: float, metrics: Collection[str], ways: int) -> list[Row]:
    """The rows of one method's curves and masks. A drop is NaN where the base similarity is not positive."""
    rows: list[Row] = []

    def conditional(metric: str, value_of: Callable[[int], float]) -> None:
        by_view = [value_of(column) for column in range(1, ways + 1)]
        rows.extend(Row(name, metric, view, value) for view, value in enumerate(by_view, start=1))
        rows.append(Row(name, metric, BOTH, float(np.mean(by_view))))

    def drop(column: int) -> float:
        masked = float(values["masked"][0, column])
        return math.nan if math.isnan(masked) or base <= 0 else max(0.0, base - masked) / base

    def rise(column: int) -> float:
        masked = float(values["masked"][0, column])
        return math.nan if math.isnan(masked) else float(masked > base)

    def curve(part: str) -> Callable[[int], float]:
        return lambda column: mean_of_curve(values[part][:, column])

    read: dict[str, Callable[[int], float]] = {
        "SI": curve("insertion"), "SD": curve("deletion"), "SAD": drop, "SIC": rise,
        "CI": curve("insertion"), "CD": curve("deletion"), "CAD": drop, "CIC": rise,
    }  # fmt: skip
    for metric in metrics:
        if metric in read and metric.startswith("C"):
            conditional(metric, read[metric])
        elif metric in read and ways == 2:
            rows.append(Row(name, metric, BOTH, read[metric](0)))
    return rows
