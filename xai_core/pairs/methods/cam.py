"""Activation maps of a similarity: Grad-CAM and Interaction-CAM for two views. Maps are on the cut's native grid."""

from typing import Annotated

import torch
from torch import Tensor

from xai_core.core.options import Choice
from xai_core.pairs.question import PairQuestion


def grad_cam(pair: PairQuestion) -> Tensor:
    """Grad-CAM for similarity: activations where an increase would make the views more similar.

    map = sum over channels of A ReLU(ds/dA), element by element; s is the similarity of the two views' embeddings. Each view
    has its own activations A and gradient at the cut.
    Source: Sammani et al. 2022, arXiv:2206.09753; element-wise as in LayerCAM, without its last ReLU. Sign: non-negative
    where activations are. Unit: the similarity's.

    Why: To see which places of each view increase the similarity.
    Who: Everyone who wants a first answer.
    What: Activations at the cut and the gradient of the similarity.
    How: One forward pass of each view; as coarse as the cut's grid.
    When: After training; first.
    Where: Convolutional networks; for transformers a cut before the last block.
    Beware: Evidence against the similarity is left out, and negative activations (after GELU) reverse the sign.
    """
    activations, gradient, _ = pair.at_cut
    return (activations * gradient.relu()).sum(1)


def _pooled(activations: Tensor, reduction: str) -> Tensor:
    """(2, C, h, w) -> (2, C): one number for each channel of each view."""
    flat = activations.flatten(2)
    if reduction == "mean":
        return flat.mean(2)
    if reduction == "max":
        return flat.amax(2)
    attention = torch.einsum("vc,vcn->vn", flat.mean(2), flat).softmax(1)
    pooled: Tensor = torch.einsum("vn,vcn->vc", attention, flat)
    return pooled


def _invariance(embeddings: Tensor) -> Tensor:
    """1 - the mean absolute difference of the two min-max normalised embeddings, in [0, 1]."""
    low, high = embeddings.amin(1, keepdim=True), embeddings.amax(1, keepdim=True)
    first, second = (embeddings - low) / (high - low).clamp(min=1e-30)
    invariance: Tensor = 1 - (first - second).abs().mean()
    return invariance


def interaction_cam(
    pair: PairQuestion,
    *,
    reduction: Annotated[
        str, Choice(("mean", "max", "attention")), "how the values of a channel are combined into one number"
    ] = "mean",
    invariance: Annotated[bool, "multiply by the similarity of the two normalised embeddings"] = True,
    gradient_interaction: Annotated[bool, "combine the gradients of both views at the cut"] = False,
) -> Tensor:
    """Interaction-CAM: Grad-CAM with the weight that a channel has in both views together.

    map = sum over channels k of A_k p1_k p2_k i ReLU(g_k); p1 and p2 are the two views' features pooled over positions
    (mean, max, or attention: the mean feature attends over positions, softmax of A' mean(A), unscaled), i is 1 - the mean
    absolute difference of the min-max normalised embeddings (without it: the variant published in 2023), and g the gradient
    of the similarity. With gradient interaction, g of view 1 is the largest value of each row of G1' G2, (C, C) summed over
    positions, the same at every position; g of view 2 that of each column.
    Source: Sammani et al. 2022, arXiv:2206.09753. Sign: non-negative where activations are. Unit: none (a product).

    Why: To see what both views show, not what only one of them shows.
    Who: Researchers of contrastive learning.
    What: Activations and gradients of both views at the cut.
    How: One forward pass of each view; as coarse as the cut's grid.
    When: After training; beside Grad-CAM.
    Where: Convolutional networks; for transformers a cut before the last block.
    Beware: The invariance weight is one number for the pair: it does not change the pattern of a map.
    """
    activations, gradient, embeddings = pair.at_cut
    first, second = _pooled(activations, reduction).unbind(0)
    weight = first * second * (_invariance(embeddings) if invariance else 1.0)
    if gradient_interaction:
        both = torch.einsum("cn,dn->cd", *gradient.flatten(2))
        gradient = torch.stack([both.amax(1), both.amax(0)])[:, :, None, None]
    weighted: Tensor = activations * weight[:, None, None] * gradient.relu()
    return weighted.sum(1)
