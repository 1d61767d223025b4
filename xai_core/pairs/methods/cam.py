"""Class activation maps without a class: what at the cut makes two views alike. Maps are on the cut's native grid."""

from typing import Annotated

import torch
from torch import Tensor

from xai_core.core.options import Choice
from xai_core.pairs.question import PairQuestion


def grad_cam(pair: PairQuestion) -> Tensor:
    """Grad-CAM for similarity: activations where more of them would make the views more alike.

    map = sum over channels of A ReLU(ds/dA), element by element; s is the similarity of the two views' embeddings. Each view
    has its own activations A and gradient at the cut.
    Source: Sammani et al. 2022, arXiv:2206.09753; element-wise as in LayerCAM, without its last ReLU. Sign: non-negative
    where activations are. Unit: the similarity's.

    Why: To see which places of each view speak for the similarity.
    Who: Everyone who wants a first answer.
    What: Activations at the cut and the gradient of the similarity.
    How: One forward pass of each view; as coarse as the cut's grid.
    When: After training; first.
    Where: Convolutional networks; for transformers a cut before the last block.
    Beware: What speaks against is left out, and activations that are negative (after GELU) turn signs.
    """
    activations, gradient, _ = pair.at_cut
    return (activations * gradient.relu()).sum(1)


def _pooled(activations: Tensor, reduction: str) -> Tensor:
    """(2, C, h, w) -> (2, C): each view's channels in one number."""
    flat = activations.flatten(2)
    if reduction == "mean":
        return flat.mean(2)
    if reduction == "max":
        return flat.amax(2)
    attention = torch.einsum("vc,vcn->vn", flat.mean(2), flat).softmax(1)
    return torch.einsum("vn,vcn->vc", attention, flat)


def _invariance(embeddings: Tensor) -> Tensor:
    """1 - the mean absolute difference of the two min-max normalised embeddings, in [0, 1]."""
    low, high = embeddings.amin(1, keepdim=True), embeddings.amax(1, keepdim=True)
    first, second = (embeddings - low) / (high - low).clamp(min=1e-30)
    return 1 - (first - second).abs().mean()


def interaction_cam(
    pair: PairQuestion,
    *,
    reduction: Annotated[str, Choice(("mean", "max", "attention")), "how a channel's positions become one number"] = "mean",
    invariance: Annotated[bool, "weigh by how alike the two normalised embeddings are"] = True,
    gradient_interaction: Annotated[bool, "let the views' gradients at the cut select each other"] = False,
) -> Tensor:
    """Interaction-CAM: Grad-CAM with the weight that a channel has in both views together.

    map = sum over channels k of A_k p1_k p2_k i ReLU(g_k); p1 and p2 are the two views' features pooled over positions
    (mean, max, or attention: the mean feature attends over positions, softmax of A' mean(A), unscaled), i is 1 - the mean
    absolute difference of the min-max normalised embeddings (without it: the variant published in 2023), and g the gradient
    of the similarity. With gradient interaction, g of view 1 is the largest value of each row of G1' G2, (C, C) summed over
    positions, the same at every position; g of view 2 that of each column.
    Source: Sammani et al. 2022, arXiv:2206.09753. Sign: non-negative where activations are. Unit: none (a product).

    Why: To see what both views have, not what one of them has.
    Who: Researchers of contrastive learning.
    What: Activations and gradients of both views at the cut.
    How: One forward pass of each view; as coarse as the cut's grid.
    When: After training; beside Grad-CAM.
    Where: Convolutional networks; for transformers a cut before the last block.
    Beware: The invariance weight is one number for the pair: it changes no place within a map.
    """
    activations, gradient, embeddings = pair.at_cut
    first, second = _pooled(activations, reduction)
    weight = first * second * (_invariance(embeddings) if invariance else 1.0)
    if gradient_interaction:
        both = torch.einsum("cn,dn->cd", *gradient.flatten(2))
        gradient = torch.stack([both.amax(1), both.amax(0)])[:, :, None, None]
    return (activations * weight[:, None, None] * gradient.relu()).sum(1)
