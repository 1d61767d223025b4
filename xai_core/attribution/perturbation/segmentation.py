"""Superpixels: segments of a picture that follow its edges, and pictures with some of the segments covered."""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range

SEGMENTATIONS = ("quickshift", "slic", "felzenszwalb")

Segmentation = Annotated[str, Choice(SEGMENTATIONS), "how the picture is cut into segments"]
Count = Annotated[int, Range(8, 300), "approximate number of segments, for slic; the others find their own number"]


def segment(image: Tensor, kind: str, count: int) -> Tensor:
    """The segment of each pixel of a picture (3, H, W), as numbers 0 ... M - 1 (H, W) on the CPU. Uses no random number.

    quickshift    kernel 4, max_dist 200, ratio 0.2: the defaults of lime
    slic          `count` segments, compactness 10, sigma 1
    felzenszwalb  scale 100, sigma 0.5, at least 50 pixels each
    """
    from skimage import segmentation

    pixels = image.detach().permute(1, 2, 0).double().cpu().numpy()
    if kind == "quickshift":
        quickshift: Callable[..., NDArray[np.int64]] = segmentation.quickshift  # scikit-image declares no types for it
        labels = quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
    elif kind == "slic":
        labels = segmentation.slic(pixels, n_segments=count, compactness=10, sigma=1, start_label=0)
    else:
        labels = segmentation.felzenszwalb(pixels, scale=100, sigma=0.5, min_size=50)
    return checked(torch.from_numpy(labels))


def checked(segments: Tensor) -> Tensor:
    """The segments renumbered 0 ... M - 1 in the order of their labels. Raises BadRequest for fewer than two."""
    names, numbered = np.unique(segments.cpu().numpy(), return_inverse=True)
    if len(names) < 2:
        raise BadRequest(
            "The picture cannot be divided into at least two segments; choose another segmentation or more segments."
        )
    return torch.from_numpy(numbered).view(segments.shape)


def segments_of(image: Tensor, kind: str, count: int, parts: Tensor | None, row: int) -> Tensor:
    """The segments `parts` (n, H, W) or (H, W) of picture number `row`; with None those found in the picture (3, H, W)."""
    if parts is None:
        return segment(image, kind, count)
    if parts.shape[-2:] != image.shape[1:]:
        raise BadRequest(
            f"Segments must have the picture's size {tuple(image.shape[1:])}; these are {tuple(parts.shape[-2:])}."
        )
    return checked(parts if parts.ndim == 2 else parts[row])


def switched(image: Tensor, cover: Tensor, segments: Tensor, on: Tensor) -> Tensor:
    """Pictures (n, 3, H, W) that show the segments of `on` (n, M) and the cover elsewhere."""
    return torch.where(on.to(image.device)[:, segments.to(image.device)][:, None], image, cover)


def painted(values: Tensor, segments: Tensor) -> Tensor:
    """(1, H, W): every pixel carries the value of its whole segment."""
    return values.float().cpu()[segments][None]


def mean_colours(image: Tensor, segments: Tensor) -> Tensor:
    """The picture (3, H, W) with every segment in its mean colour."""
    flat, where = image.flatten(1).double().cpu(), segments.flatten()
    sums = torch.zeros(3, int(where.max()) + 1, dtype=torch.float64).index_add_(1, where, flat)
    return (sums / where.bincount())[:, segments].to(image)
