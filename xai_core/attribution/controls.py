"""Control maps that do not depend on the network: every method should score better than these.

They take the question, as all methods do, and ignore it. Resolution: pixels (H, W).
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.options import Range
from xai_core.explanation.question import Question

_LUMINANCE = (0.2125, 0.7154, 0.0721)


def random_map(
    question: Question,
    images: Tensor,
    *,
    cells: Annotated[int, Range(0, 112), "number of cells along the shorter side; 0: a value for every pixel"] = 0,
    seed: int = 0,
) -> Tensor:
    """Random map: uniform noise.

    map = uniform draws in [0, 1), the same for every picture. Resolution: pixels, or a grid of square cells.
    Source: Adebayo et al. 2018, arXiv:1810.03292 (on the need for controls). Sign: non-negative. Unit: none.

    Why: To see how a metric scores a map without information.
    Who: Everyone who reads a score: compare with this one.
    What: A seed.
    How: No pass through the network; noise as fine as a gradient, or with cells as coarse as a class activation map.
    When: Beside any other method.
    Where: Everywhere.
    Beware: One draw may look good by chance: take several seeds.
    """
    height, width = images.shape[2:]
    if cells:
        shorter = min(height, width)
        height, width = (max(1, round(cells * side / shorter)) for side in (height, width))
    return runtime.uniform_draw(seed, 0, (height, width)).to(images).expand(len(images), -1, -1)


def centre_gaussian(
    question: Question,
    images: Tensor,
    *,
    sigma: Annotated[float, Range(0.05, 1.0, 0.05), "width, as a share of the shorter side"] = 0.25,
) -> Tensor:
    """Centre: a Gaussian in the middle of the picture.

    map = exp(-d^2 / (2 (sigma S)^2)), d the distance of a pixel to the middle and S the shorter side.
    Source: Tatler 2007, doi:10.1167/7.14.4 (photographers put the subject in the middle). Sign: non-negative. Unit: none.

    Why: To see how much better a method is than pointing at the middle.
    Who: Everyone who reads a localisation score.
    What: The size of the picture.
    How: No pass through the network; one smooth hill.
    When: Beside any method whose maps are measured against boxes or masks.
    Where: Photographs with one main object: there it is hard to beat.
    Beware: If it scores well, the objects of the data set lie in the centre; the other methods may still be good.
    """
    height, width = images.shape[2:]
    down, across = (torch.arange(side).to(images) - (side - 1) / 2 for side in (height, width))
    distance = (down[:, None] ** 2 + across**2) / (sigma * min(height, width)) ** 2
    return (-distance / 2).exp().expand(len(images), -1, -1)


def edge_detector(question: Question, images: Tensor) -> Tensor:
    """Edges: the Sobel magnitude of the grey picture.

    map = sqrt((s_x^2 + s_y^2) / 2), s_x and s_y the Sobel derivatives (weights 1 2 1, over 4) of the luminance
    0.2125 R + 0.7154 G + 0.0721 B; beyond the picture its edge goes on.
    Source: Adebayo et al. 2018, arXiv:1810.03292, as a control; the filter as in scikit-image. Sign: non-negative.
    Unit: luminance per pixel.

    Why: To see whether a map that looks convincing is more than the picture's outlines.
    Who: Everyone who finds a fine map plausible.
    What: The picture alone.
    How: No pass through the network; fine outlines.
    When: Beside gradients and guided backpropagation.
    Where: Everywhere.
    Beware: It looks like an explanation but is none.
    """
    grey = (images * images.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    slope = images.new_tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]]) / 4
    both = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), torch.stack([slope, slope.T])[:, None])
    return (both.square().sum(1) / 2).sqrt()


def uniform_map(question: Question, images: Tensor) -> Tensor:
    """Uniform: the same value everywhere.

    map = 1.
    Source: Adebayo et al. 2018, arXiv:1810.03292 (on the need for controls). Sign: non-negative. Unit: none.

    Why: To see how a metric scores a map without any preference.
    Who: Everyone who reads a score.
    What: Nothing.
    How: No pass through the network; one flat map.
    When: Beside any other method, above all in metrics that rank pixels.
    Where: Everywhere.
    Beware: All its pixels are equal: a metric that ranks them depends on how it orders equal pixels.
    """
    return torch.ones_like(images[:, 0])
