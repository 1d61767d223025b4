"""Gradients of the target to the pixels. Maps are at the network's resolution, (n, H, W).

Pixels are RGB in [0, 1]; a gradient is the target's change per unit of a channel, so 0 is black and a gradient says what
adding light would do. (In libraries that differentiate behind the normalisation, the same map is larger by the std.)
"""

from torch import Tensor

from xai_core.attribution.added_options import by_derivative
from xai_core.explanation.question import Question


def _strongest_channel(gradients: Tensor) -> Tensor:
    return gradients.abs().amax(1)


@by_derivative
def saliency(question: Question, images: Tensor) -> Tensor:
    """Saliency (vanilla gradient): how much the target changes with each pixel, whatever the direction.

    map = max over RGB of |df/dx|.
    Source: Simonyan et al. 2013, arXiv:1312.6034. Sign: non-negative. Unit: target per unit of intensity.

    Why: To see which pixels the answer is most sensitive to.
    Who: Developers and researchers; the baseline of gradient methods.
    What: The gradient of the target to the pixels.
    How: One forward and one backward pass; a fine, noisy map without a sign.
    When: After training; as a baseline for smoother methods.
    Where: Any differentiable network.
    Beware: Sensitivity is not importance: a saturated network has small gradients where it is most certain.
    """
    return _strongest_channel(question.gradient(images)[1])


@by_derivative
def input_x_gradient(question: Question, images: Tensor) -> Tensor:
    """Input x gradient: the first-order estimate of what each pixel adds, compared with black.

    map = sum over RGB of x df/dx.
    Source: Shrikumar et al. 2016, arXiv:1605.01713. Sign: signed. Unit: the target's. For a network that is linear
    without bias, the map sums to the target.

    Why: To distribute the score over the pixels, at the cost of one gradient.
    Who: Developers who want signs and a quick estimate.
    What: Pixels times their gradients.
    How: One forward and one backward pass; a fine signed map.
    When: After training; before the slower integrated gradients.
    Where: Any differentiable network.
    Beware: Dark pixels get small values even if they are important, and the estimate holds only near this picture.
    """
    return (images * question.gradient(images)[1]).sum(1)
