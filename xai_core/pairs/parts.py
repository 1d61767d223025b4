"""Which parts of a drawn picture the similarity of two views depends on.

Parts of pictures of worlds can be taken away. The effect of a part is the fall of the similarity when the picture is drawn
again without it and the same views are cut from it: the same crops, flips and colour changes. The part is taken away from
both views, or from one of them only. A map's mass in a part is the sum of the map over the view, each pixel by how much of
it the part covers (`data/scene_parts.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xai_core.core.runtime import Track
from xai_core.data.preprocessing import Prepared
from xai_core.data.scene_parts import SceneParts, check_same, scene_parts, with_background
from xai_core.data.world.scene import Scene, draw
from xai_core.data.world.scene import parts as parts_of_scene
from xai_core.explanation.heatmaps import size_of
from xai_core.metrics.ground_truth import rank_correlation, top_part_found
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs.augment import Augmentation, cut_out, draw_view
from xai_core.pairs.geometry import AREA, CENTRE, centre_prior
from xai_core.pairs.metrics import BOTH, PairMetric, Row, changed_similarities
from xai_core.pairs.question import PairQuestion

PART_METRICS = {
    metric.id: metric
    for metric in (
        PairMetric(
            "SPC", "Simultaneous part correlation", True,
            "Rank correlation of both maps' mass in each part with the fall of the similarity without it in both views",
        ),
        PairMetric("CPC", "Conditional part correlation", True, "As SPC, but the part is taken away from one view only"),
        PairMetric(
            "STP", "Simultaneous top part", True,
            "1 if the part with the most mass is the one without which, in both views, the similarity falls most",
        ),
        PairMetric("CTP", "Conditional top part", True, "As STP, but the part is taken away from one view only"),
    )
}  # fmt: skip
_READ = {"PC": rank_correlation, "TP": top_part_found}  # by the end of the id


@dataclass(frozen=True)
class PairParts:
    """The parts of a scene in one view of its picture, or in two.

    views   of each view of the picture its parts; those that are seen in it in fewer pixels than SEEN count as background
    recipe  how the views were cut from the picture: views cut in another way have other effects
    """

    views: tuple[SceneParts, ...]
    recipe: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The background and the parts that are seen in at least one of the views, in the order in which they are drawn."""
        return tuple(name for name in parts_of_scene(self.views[0].scene) if any(name in view.names for view in self.views))

    @property
    def key(self) -> str:
        return f"{self.views[0].scene} {self.recipe}"

    @property
    def passes(self) -> int:
        """The passes that `part_effects` takes, with those of the two views as they are."""
        return 2 + len(self.views) * (1 + len(self.names))

    @property
    def metrics(self) -> list[str]:
        """The ids of the metrics that have values: those of both views need the parts of both."""
        return [id for id in PART_METRICS if len(self.views) == 2 or id.startswith("C")]


class PartEffects(NamedTuple):
    """The fall of the similarity without each part: `falls` (k, 3), without it in both views, in view 1, in view 2; NaN
    where view 2 is not of the scene."""

    names: tuple[str, ...]
    falls: NDArray[np.float64]


def parts_of_views(scene: Scene, augmentation: Augmentation, seed: int, size: tuple[int, int]) -> PairParts:
    """The parts in the views number 0 and 1 that `draw_view` draws from a scene's picture, at (height, width) `size`."""
    views = tuple(_parts_of_view(scene, augmentation, seed, number, size) for number in (0, 1))
    return PairParts(views, f"views {augmentation.key} {seed} {size}")


def parts_of_picture(model: ExplainableModel, scene: Scene, view: Prepared) -> PairParts:
    """The parts of a picture of a scene that is view 1, as the network sees it, beside another picture as view 2. Raises
    BadRequest where it is not the picture of the scene."""
    return PairParts((scene_parts(scene, view, model.prepare),), "a picture")


def _parts_of_view(scene: Scene, augmentation: Augmentation, seed: int, number: int, size: tuple[int, int]) -> SceneParts:
    pixels, masks = draw(scene)
    view = draw_view(_tensor(pixels), augmentation, seed, number, size)
    planes = torch.from_numpy(np.stack([*masks.values()]))  # a scene has a thing, so there are masks
    cut = cut_out(planes, view.box, view.mirrored, size).numpy()

    def see(image: Image.Image) -> Tensor:
        return draw_view(_tensor(np.asarray(image)), augmentation, seed, number, size).pixels

    return SceneParts(scene, *with_background(dict(zip(masks, cut, strict=True)), size), see)


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div_(255)


def part_effects(pair: PairQuestion, parts: PairParts, track: Track = iter) -> PartEffects:
    """What taking each part away does to the similarity of the pair: a pass for each part and view, and one for the view as
    it is. Raises BadRequest where the views of the pair are not those of the scene."""
    for view, own in zip(parts.views, pair.views, strict=False):
        check_same(view.without(()), own.cpu())
    removals = [(), *((name,) for name in parts.names)]
    ways = len(parts.views)

    def pictures(rows: range) -> Tensor:
        changed = [view.without(removals[row]) for row in rows for view in parts.views]
        return torch.stack(changed).to(pair.views)

    def read(embeddings: Tensor, rows: range) -> Tensor:
        return changed_similarities(pair, embeddings, ways)

    similarities = torch.cat(pair.each_embedding(pictures, read, len(removals), ways, track)).double().cpu().numpy()
    return PartEffects(parts.names, similarities[:1] - similarities[1:])


def masses(parts: PairParts, view: int, heatmap: Tensor) -> NDArray[np.float64]:
    """The mass (k,) of a map (H, W) of view 1 or 2 in each of `parts.names`; NaN for a part that is not in this view."""
    own = parts.views[view - 1]
    sums = (own.masks.astype(np.float64) * heatmap.double().numpy()).sum((1, 2))
    mass = dict(zip(own.names, sums.tolist(), strict=True))
    return np.array([mass.get(name, np.nan) for name in parts.names])


def shares(parts: PairParts, view: int, heatmap: Tensor) -> NDArray[np.float64]:
    """The share (k,) of a map's positive evidence that lies in each part. NaN for a part that is not in this view, and for
    all of them where the map has no positive evidence."""
    positive = heatmap.clamp(min=0).double()
    total = float(positive.sum())
    return masses(parts, view, positive) / (total or np.nan)


def part_rows(
    pair: PairQuestion,
    maps: Mapping[str, Sequence[Tensor]],
    parts: PairParts,
    wanted: Sequence[str],
    track: Track = iter,
) -> list[Row]:
    """Rows of PART_METRICS for maps (H, W), and for the baselines of `geometry_rows`: a uniform map and a centre prior.

    CPC and CTP compare the mass of each view's map with the falls of the similarity without the parts in that view, over the
    parts that are seen in it. SPC and STP compare the sum of the masses of both views with the falls without the parts in
    both, over the parts that are seen in at least one; they need two maps. Ties, and where a value is NaN, are as for the
    metrics `part_correlation` and `top_part` of one picture; the row's note gives the reason.
    """
    wanted = [id for id in wanted if id in parts.metrics]
    if not wanted:
        return []
    effects = part_effects(pair, parts, track)
    size = size_of(pair.views)
    uniform, prior = torch.ones(size), centre_prior(size)
    rows: list[Row] = []
    for name, both in {**maps, AREA: (uniform, uniform), CENTRE: (prior, prior)}.items():
        by_view = [masses(parts, view, heatmap) for view, heatmap in zip((1, 2), both[: len(parts.views)], strict=False)]
        for id in wanted:
            measure = _READ[id[1:]]
            if id.startswith("S"):
                if len(by_view) == 2:
                    result = measure(np.nansum(by_view, 0), effects.falls[:, 0])
                    rows.append(Row(name, id, BOTH, result.value, result.note))
                continue
            results = [
                measure(mass[np.isfinite(mass)], effects.falls[np.isfinite(mass), view])
                for view, mass in enumerate(by_view, start=1)
            ]
            rows += [Row(name, id, view, result.value, result.note) for view, result in enumerate(results, start=1)]
            notes = " ".join(dict.fromkeys(result.note for result in results if result.note))
            rows.append(Row(name, id, BOTH, float(np.mean([result.value for result in results])), notes))
    return rows
