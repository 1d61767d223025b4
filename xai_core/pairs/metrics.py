"""How faithful the maps of a pair are: what happens to the similarity when pixels come or go in the maps' order.

All curves and masks of all methods are one stream of pictures: SI and CI, SD and CD share their forwards, and the view that
stays as it is was embedded once.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core.errors import UnknownName
from xai_core.core.runtime import Track
from xai_core.pairs.augment import blurred
from xai_core.pairs.question import PairQuestion

STEP = 224  # pixels that change from one point of a curve to the next, whatever the size of the views
BOTH = "both"


@dataclass(frozen=True)
class Metric:
    """One metric: whether more of it is better, and what it is in words."""

    id: str
    title: str
    up: bool
    words: str

    @property
    def direction(self) -> str:
        return "up" if self.up else "down"


PAIR_METRICS = {
    metric.id: metric
    for metric in (
        Metric("SI", "Simultaneous insertion", True, "Mean similarity as both views come back from blur, strongest first"),
        Metric("SD", "Simultaneous deletion", False, "Mean similarity as both views go to zero, strongest first"),
        Metric("CI", "Conditional insertion", True, "As SI, with one view changed and the other as it is"),
        Metric("CD", "Conditional deletion", False, "As SD, with one view changed and the other as it is"),
        Metric("SAD", "Simultaneous average drop", False, "Share of the similarity lost when both maps dim their views"),
        Metric("SIC", "Simultaneous increase in confidence", True, "1 where the similarity rises when maps dim their views"),
        Metric("CAD", "Conditional average drop", False, "As SAD, with one view dimmed"),
        Metric("CIC", "Conditional increase in confidence", True, "As SIC, with one view dimmed"),
        Metric("MS", "Max-sensitivity", False, "Largest relative change of the map under noise of up to 0.2 in both views"),
    )
}  # fmt: skip
DROPS = ("SAD", "CAD")  # undefined where the base similarity is not positive
_PARTS = {"insertion": ("SI", "CI"), "deletion": ("SD", "CD"), "masked": ("SAD", "SIC", "CAD", "CIC")}


def find_metrics(names: Collection[str] | str, known: Mapping[str, Metric] = PAIR_METRICS) -> list[str]:
    """Ids of metrics, however they are spelt. Raises UnknownName."""
    names = [names] if isinstance(names, str) else names
    found = []
    for name in names:
        fits = [one.id for one in known.values() if str(name).strip().lower() in (one.id.lower(), one.title.lower())]
        if not fits:
            raise UnknownName("metric of pairs", name, known)
        found += fits
    return found


class Row(NamedTuple):
    """One value: of which method's maps, by which metric, of view 1, view 2 or "both"."""

    method: str
    metric: str
    view: int | str
    value: float


def full_size(heatmap: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (h, w) at (height, width): bilinear between cell centres."""
    if tuple(heatmap.shape) == size:
        return heatmap
    return F.interpolate(heatmap[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def _places(heatmap: Tensor) -> Tensor:
    """Each pixel's place in the order of the map, (H, W): 0 is the strongest. Of equal ones the last comes first."""
    order = np.argsort(heatmap.flatten().numpy(), kind="stable")[::-1].copy()
    places = torch.empty(heatmap.numel(), dtype=torch.int32)
    places[torch.from_numpy(order)] = torch.arange(heatmap.numel(), dtype=torch.int32)
    return places.view(heatmap.shape)


def stretched(heatmap: Tensor) -> Tensor:
    """(map - min) / (max - min); NaN everywhere for a map that prefers no place."""
    return (heatmap - heatmap.min()) / (heatmap.max() - heatmap.min())


def mean_of_curve(values: np.ndarray) -> float:
    """The mean height by the trapezoid rule, of values at equal steps."""
    return float((values.sum() - (values[0] + values[-1]) / 2) / (len(values) - 1))


class _Stream:
    """The pictures of all maps of one kind (two views, or one), by their number, and what is read from them."""

    def __init__(self, pair: PairQuestion, maps: Sequence[Sequence[Tensor]], parts: Sequence[str], step: int):
        self.pair, self.ways, self.step = pair, len(maps[0]), step
        self.points = math.ceil(pair.views[0, 0].numel() / step) + 1
        self.order = [(part, point) for part in parts for point in range(1 if part == "masked" else self.points)]
        device = pair.views.device
        self.places = [[_places(one).to(device) for one in both] for both in maps]
        self.masks = [[stretched(one).to(device) for one in both] for both in maps]
        self.blurred = blurred(pair.views)
        self.black = torch.zeros_like(pair.views[0])

    def pictures(self, rows: range) -> Tensor:
        made = torch.empty(len(rows), self.ways, *self.pair.views.shape[1:], device=self.pair.views.device)
        for place, row in enumerate(rows):
            method, number = divmod(row, len(self.order))
            part, point = self.order[number]
            for view in range(self.ways):
                own = self.pair.views[view]
                if part == "masked":
                    torch.mul(own, self.masks[method][view], out=made[place, view])
                    continue
                changed = self.places[method][view] < point * self.step
                new, old = (own, self.blurred[view]) if part == "insertion" else (self.black, own)
                torch.where(changed, new, old, out=made[place, view])
        return made.flatten(0, 1)

    def read(self, found: Tensor, rows: range) -> Tensor:
        """Similarities (n, 3): both views changed; view 1 changed; view 2 changed. NaN where a method has one map."""
        first, second = self.pair.embeddings.split(1)
        if self.ways == 1:
            alone = self.pair.alike(found, second)
            return torch.stack([alone * math.nan, alone, alone * math.nan], 1)
        one, two = found[0::2], found[1::2]
        return torch.stack([self.pair.alike(one, two), self.pair.alike(one, second), self.pair.alike(first, two)], 1)

    def run(self, track: Track) -> list[dict[str, np.ndarray]]:
        """For each method the values (points, 3) of each part."""
        total = len(self.places) * len(self.order)
        found = torch.cat(self.pair.each_embedding(self.pictures, self.read, total, self.ways, track))
        each = found.double().cpu().numpy().reshape(len(self.places), len(self.order), 3)
        parts = np.array([part for part, _ in self.order])
        return [{part: one[parts == part] for part in dict.fromkeys(parts)} for one in each]


def curves(
    pair: PairQuestion,
    maps: Mapping[str, Sequence[Tensor]],
    metrics: Collection[str],
    step: int = STEP,
    track: Track = iter,
) -> dict[str, dict[str, np.ndarray]]:
    """For each method the similarity (points, 3) of each part that the metrics need: "insertion", "deletion", "masked".

    Columns: both views changed; view 1 changed; view 2 changed. `maps` holds one or two maps (H, W) for each method.
    """
    parts = [part for part, needed in _PARTS.items() if not set(needed).isdisjoint(metrics)]
    found = {}
    for ways in (2, 1) if parts else ():
        names = [name for name, both in maps.items() if len(both) == ways]
        if names:
            stream = _Stream(pair, [maps[name] for name in names], parts, step)
            found |= dict(zip(names, stream.run(track), strict=True))
    return {name: found[name] for name in maps if name in found}


def rows_of(name: str, values: Mapping[str, np.ndarray], base: float, metrics: Collection[str], ways: int) -> list[Row]:
    """The rows of one method's curves and masks. A drop is NaN where the base similarity is not positive."""
    rows: list[Row] = []

    def conditional(metric: str, of) -> None:
        each = [of(column) for column in range(1, ways + 1)]
        rows.extend(Row(name, metric, view, value) for view, value in enumerate(each, start=1))
        rows.append(Row(name, metric, BOTH, float(np.mean(each))))

    def drop(column: int) -> float:
        masked = float(values["masked"][0, column])
        return math.nan if math.isnan(masked) or base <= 0 else max(0.0, base - masked) / base

    def rise(column: int) -> float:
        masked = float(values["masked"][0, column])
        return math.nan if math.isnan(masked) else float(masked > base)

    def curve(part: str):
        return lambda column: mean_of_curve(values[part][:, column])

    reads = {
        "SI": curve("insertion"), "SD": curve("deletion"), "SAD": drop, "SIC": rise,
        "CI": curve("insertion"), "CD": curve("deletion"), "CAD": drop, "CIC": rise,
    }  # fmt: skip
    for metric in metrics:
        if metric in reads and metric.startswith("C"):
            conditional(metric, reads[metric])
        elif metric in reads and ways == 2:
            rows.append(Row(name, metric, BOTH, reads[metric](0)))
    return rows
