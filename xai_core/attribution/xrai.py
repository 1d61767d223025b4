"""Regions ranked by the attribution of their pixels. Maps are at the network's resolution, (n, H, W)."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.gradient.integrated_gradients import integrated_gradients
from xai_core.attribution.method import Maps
from xai_core.attribution.repeated_passes import one_bar, one_by_one
from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.core.options import Range
from xai_core.core.runtime import Track
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question

SCALES = (50, 100, 150, 250, 500, 1200)
SIDE = 224  # of the picture that is segmented; the numbers of pixels below are for this size
Values = NDArray[np.float64]


def xrai(
    question: Question,
    images: Tensor,
    *,
    steps: Annotated[int, Range(5, 300), "number of points on each of the two paths"] = 100,
    min_new: Annotated[int, Range(1, 500), "new pixels that a region must add, for a picture of 224 x 224"] = 50,
    track: Track = iter,
) -> Maps:
    """XRAI: regions of the picture, ranked by their integrated gradients relative to their size.

    A = mean of integrated gradients from black and from white. Candidates are the segments of six segmentations
    (Felzenszwalb, scales 50 to 1200), each widened by 5 pixels. Again and again the candidate whose pixels not yet taken
    have the largest mean A is taken, and map = that mean on these pixels; what no candidate adds gets the mean of the rest.
    Source: Kapishnikov et al. 2019, arXiv:1906.02825. Sign: signed. Unit: the target's per pixel: the map sums to what
    integrated gradients sum to.
    Deviation: gradients are summed over RGB, where the authors' code takes the largest channel, so that the map stays
    complete; Gauss-Legendre points on the paths.

    Why: To see whole regions in order of importance, not single pixels.
    Who: Analysts and readers of reports: regions are easier to read than single pixels.
    What: Integrated gradients from two baselines, and regions that follow the picture's edges.
    How: Twice as many forward and backward passes as steps; a signed map of regions.
    When: After training; where integrated gradients are too fine to read.
    Where: Any differentiable network.
    Beware: Regions come from the picture's colours, not from the network: the map does not show which part of a region
    counts.
    """

    def run(question: Question, image: Tensor, row: int) -> Maps:
        candidates = _candidates(image[0])
        density = torch.zeros_like(image[:, 0])
        gaps = []
        batch = runtime.inner_batch(image[0, 0].numel(), image.device, graph=True)
        bar = one_bar(track, 2 * math.ceil(steps / batch))
        for baseline in ("black", "white"):
            maps = integrated_gradients(question, image, steps=steps, baseline=baseline, track=bar)
            density += maps.heatmap / 2
            gaps.append(maps.facts["completeness gap"])
        least = max(1, round(min_new * density.numel() / SIDE**2))
        ranked, count = rank_regions(density[0].double().cpu().numpy(), candidates, least)
        facts = {"completeness gap": torch.stack(gaps).amax(0), "regions": torch.tensor([float(count)])}
        return Maps(torch.from_numpy(ranked).float()[None], facts=facts)

    return one_by_one(question, images, run)


def rank_regions(density: Values, candidates: NDArray[np.bool_], least: int) -> tuple[Values, int]:
    """The map (H, W), and the number of candidate regions (S, H, W) that were used."""
    values, masks = density.ravel(), candidates.reshape(len(candidates), -1)
    sums, counts = masks @ values, masks.sum(1)
    free, ranked, count = np.ones(values.size, bool), np.zeros_like(values), 0
    while (counts >= least).any():
        means = np.where(counts >= least, sums / np.maximum(counts, 1), -np.inf)
        best = int(means.argmax())
        new = np.flatnonzero(masks[best] & free)
        ranked[new] = values[new].mean()
        free[new] = False
        columns = masks[:, new]
        sums, counts, count = sums - columns @ values[new], counts - columns.sum(1), count + 1
    if free.any():
        ranked[free] = values[free].mean()
    return ranked.reshape(density.shape), count


def _candidates(image: Tensor, scales: Sequence[int] = SCALES) -> NDArray[np.bool_]:
    """The widened segments of all scales, (S, H, W)."""
    from skimage import segmentation

    size = size_of(image)
    picture = image[None].detach().float().cpu()
    if size != (SIDE, SIDE):
        picture = F.interpolate(picture, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    pixels = 2 * picture[0].permute(1, 2, 0).double().numpy() - 1  # the range of the authors' code, which sets the scale
    masks = []
    for scale in scales:
        parts = torch.from_numpy(segmentation.felzenszwalb(pixels, scale=scale, sigma=0.8, min_size=150))
        parts = F.interpolate(parts[None, None].double(), size, mode="nearest-exact")[0, 0]
        names = torch.unique(parts)
        masks.append(_widened(parts == names[:, None, None], round(5 * min(size) / SIDE)).numpy())
    if all(len(regions) == 1 for regions in masks):
        raise BadRequest("The picture cannot be divided into at least two regions, so that XRAI has nothing to rank.")
    return np.concatenate(masks)


def _widened(masks: Tensor, radius: int) -> Tensor:
    """Masks (S, H, W) with every pixel within `radius` of them."""
    if radius < 1:
        return masks
    offsets = torch.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).float()
    return F.conv2d(masks[:, None].float(), disk[None, None], padding=radius)[:, 0] > 0.5
