"""Maps made of a transformer's attention weights, on the grid of its patches.

Notation: A_l are the weights of layer l, (n, heads, N, N), each row a softmax over keys. Of the N tokens, the last h w are
the patches in reading order. The weights are recorded while the blocks run, with fused attention computed step by step;
the network is not changed. The read-out takes the rows that the features come from: that of the class token, or the mean
over patches.
"""

import functools
from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.core import runtime
from xai_core.core.autodiff.capture import AttentionRecording, LastAttention
from xai_core.core.autodiff.gradients import value_and_gradients
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question

FUSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda weights: weights.mean(1),
    "max": lambda weights: weights.amax(1),
    "min": lambda weights: weights.amin(1),
}


def attention_rollout(
    question: Question,
    images: Tensor,
    *,
    heads: Annotated[str, Choice(tuple(FUSIONS)), "how the heads of a layer are combined"] = "mean",
    discard: Annotated[float, Range(0.0, 0.95, 0.05), "share of each layer's weakest weights that is set to zero"] = 0.0,
) -> Tensor:
    """Attention rollout: how much of each patch would reach the features through attention alone.

    map = read-out row of B_L ... B_1, B_l = (F_l + I) / 2 with rows scaled to sum 1, F_l the fused heads of A_l.
    Source: Abnar & Zuidema 2020, arXiv:2005.00928. Sign: non-negative. Unit: share of attention; the map and what stays in
    the class token sum to 1.
    Deviation: none with the defaults; `heads` and `discard` (never a token's weight on the class token) are common variants.

    Why: To see from where a transformer gathers information.
    Who: Researchers who compare transformers, supervised or not.
    What: The attention weights of every layer.
    How: One forward pass; as fine as the patches.
    When: After training; as a picture of the information flow, not of a decision.
    Where: Transformers in which all tokens attend to all; with and without labels.
    Beware: It does not depend on the target: the map is the same for every class. Values, MLPs and signs are ignored.
    """

    def rollout(layers: list[Tensor]) -> Tensor:
        mixed = [_with_residual(_without_weakest(FUSIONS[heads](weights), discard)) for weights in layers]
        return functools.reduce(lambda joint, layer: layer @ joint, mixed)

    return _on_patches(question, images, _no_gradient(question, images, rollout))


def _with_residual(fused: Tensor) -> Tensor:
    mixed = (fused + torch.eye(fused.shape[-1], device=fused.device)) / 2
    return mixed / mixed.sum(-1, keepdim=True)


def _without_weakest(fused: Tensor, share: float) -> Tensor:
    """(n, N, N) with the smallest `share` of each picture's weights set to zero, the first column (class token) kept."""
    flat = fused.flatten(1)
    count = int(share * flat.shape[1])
    if not count:
        return fused
    weakest = flat.topk(count, 1, largest=False).indices
    mask = torch.ones_like(flat).scatter(1, weakest, 0).view_as(fused)
    mask[:, :, 0] = 1
    return fused * mask


def gradient_rollout(question: Question, images: Tensor) -> Tensor:
    """Gradient-weighted rollout: attention, weighted by how much more of it would raise the target.

    map = read-out row of R - I, R_l = R_{l-1} + E_l R_{l-1}, R_0 = I, E_l = mean over heads of ReLU(A_l d target / d A_l).
    Source: Chefer, Gur & Wolf 2021, arXiv:2103.15679. Sign: non-negative. Unit: that of the target, up to products.
    Deviation: I is taken off, so that rounding does not drown small values. The class token's row has no patch in it; a mean
    over patches would show it as a constant.

    Why: To see which patches are evidence for one class, according to attention.
    Who: Analysts and researchers who explain vision transformers.
    What: The attention weights of every layer, and the target's gradient to them.
    How: One forward and one backward pass; as fine as the patches.
    When: After training; the first choice for a ViT beside Grad-CAM.
    Where: Transformers in which all tokens attend to all; any target.
    Beware: Negative contributions are cut off in each layer. Patches with a high norm in late layers can be bright
    wherever they lie.
    """

    def relevance(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
        with AttentionRecording() as recording:
            values, _, gradients = value_and_gradients(lambda leaf: (function(leaf), recording.recorded()), at)
        layers = zip(recording.layers, gradients, strict=True)
        gains = [(weights.detach() * gradient).relu().mean(1).float() for weights, gradient in layers]
        return values, functools.reduce(lambda joint, gain: joint + gain + gain @ joint, gains)

    return _on_patches(question, images, question.gradient(images, how=relevance)[1])


def le_grad(
    question: Question,
    images: Tensor,
    *,
    layers: Annotated[
        int, Range(1, 48), "number of blocks that are averaged, counted from the last one; all, if the network has fewer"
    ] = 48,
) -> Maps:
    """LeGrad: the sensitivity of the target, read off behind each block, to that block's attention.

    map = mean over blocks l, heads and queries of ReLU(d s_l / d A_l), s_l the target read from block l's output as if it
    were the last.
    Source: Bousselham et al. 2024, arXiv:2404.03214. Sign: non-negative. Unit: the target's.
    Deviation: the paper's last step, scaling to [0, 1], belongs to the display and is not done here. (torch-cam's LeGrad
    takes the final output for every s_l instead.)

    Why: To see how the evidence for a class forms over the layers of a vision transformer.
    Who: Researchers; analysts of ViT and of image-text models, for which it was made.
    What: The gradient of each block's own read-out to its attention weights.
    How: One forward pass and one backward pass inside each block; as fine as the patches.
    When: After training.
    Where: Transformers in which all tokens attend to all; any target.
    Beware: Early blocks were not trained to predict the class: fewer `layers` leave them out.
    """
    network = question.model.network
    blocks = network.attention.blocks[-layers:]
    names = network.cuts
    first = names.index(blocks[0])
    before = question.changed(cut=names[first - 1])
    stages = network.stages[first : names.index(blocks[-1]) + 1]

    def sensitivity(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor]:
        with AttentionRecording() as recording:
            _, _, gradients = value_and_gradients(lambda leaf: (function(leaf), recording.recorded()), at)
        return (torch.stack([gradient.relu().mean((1, 2)).float() for gradient in gradients]).mean(0),)

    def read_outs(leaf: Tensor, rows: Tensor | None) -> Tensor:
        total, activations = leaf.new_zeros(()), leaf
        with question.autocast():
            for stage in stages:
                activations = stage.run(activations)
                outputs = network.tail(activations, blocks[-1])
                total = total + question.target(outputs, rows)
                activations = activations.detach().requires_grad_()  # each read-out differentiates its own block alone
        return total

    (rows,) = question.differentiate(read_outs, before.trunk(images), None, images, sensitivity)
    question.tally.backward += len(images)
    facts = torch.full((len(images),), float(len(stages)))
    return Maps(_on_grid(question, images, rows), facts={"blocks": facts})


def grad_eclip(
    question: Question,
    images: Tensor,
    *,
    similarity: Annotated[bool, "weigh each patch by how like its key is to the class token's query"] = True,
) -> Tensor:
    """Grad-ECLIP: the values that the class token reads in the last block, weighted by the target's gradient to them.

    map_i = ReLU(w_i sum_c g_c v_ic), g = d target / d o, o the class token's row of the last block's attention before its
    output layer, heads side by side, v_i the value of patch i; w_i = cos(q, k_i), q the class token's query and k_i the
    patch's key, heads side by side, scaled to [0, 1] over the patches. Without `similarity` w_i = 1.
    Source: Zhao et al. 2024, arXiv:2502.18816. Sign: non-negative. Unit: the target's.
    Deviation: the authors' code computes the last block with a single head, which is not the network that was trained, and
    passes queries and keys through the block's output layer before it compares them. Here the network stays as it is, and
    queries and keys are compared as the paper writes it. Their scaling to [0, 1] for display is not done here.

    Why: To see which patches make a picture like a text.
    Who: Analysts and researchers of CLIP and its kind, for which it was made.
    What: The last block's queries, keys and values, and the target's gradient to its output.
    How: One forward pass, and one backward pass inside the last block; as fine as the patches.
    When: After training.
    Where: Vision transformers with a class token; any target.
    Beware: One block is read. The softmax is not: a patch with a large value that the class token hardly attends to can be
    bright. Without a spread of the cosines all patches weigh nothing.
    """
    network = question.model.network
    names = network.cuts
    before = question.changed(cut=names[names.index(network.attention.blocks[-1]) - 1])

    def weighted(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor]:
        with LastAttention() as attention:
            _, _, (gradient,) = value_and_gradients(lambda leaf: (function(leaf), attention.recorded()[3:]), at)
        query, key, value, _ = (_heads_joined(tensor.detach()) for tensor in attention.recorded())
        evidence = (_heads_joined(gradient)[:, :1] * value).sum(-1)
        weights = torch.nn.functional.cosine_similarity(query[:, :1], key, dim=-1)
        return (torch.stack([evidence, weights], 1),)

    (rows,) = question.differentiate(before.tail, before.trunk(images), None, images, weighted)
    question.tally.backward += len(images)
    evidence, weights = _on_grid(question, images, rows[:, 0]), _on_grid(question, images, rows[:, 1])
    if not similarity:
        return evidence.relu()
    low, high = weights.amin((1, 2), keepdim=True), weights.amax((1, 2), keepdim=True)
    return (evidence * (weights - low) / (high - low).clamp(min=torch.finfo(weights.dtype).tiny)).relu()


def _heads_joined(tensor: Tensor) -> Tensor:
    """(n, heads, tokens, d) -> (n, tokens, heads d), in float32."""
    return tensor.float().transpose(1, 2).flatten(2)


def cls_attention(
    question: Question,
    images: Tensor,
    *,
    head: Annotated[int, Range(0, 32), "which head is shown: 0 is the mean over all heads; 1, 2, ... is one head"] = 0,
) -> Tensor:
    """Class-token attention: where the class token looks in the last layer.

    map = row of the class token in A_L over the patches, of one head or as the mean over heads.
    Source: Caron et al. 2021, arXiv:2104.14294. Sign: non-negative. Unit: share of attention; with what the class token
    gives to itself (and to registers) it sums to 1.
    Deviation: none; the paper's threshold, which keeps 60% of the mass, belongs to the display.

    Why: To see what each head of the last layer picks out: in self-supervised transformers, often the objects.
    Who: Researchers who compare supervised and self-supervised transformers.
    What: The attention weights of the last layer.
    How: One forward pass; as fine as the patches.
    When: After training; needs no labels.
    Where: Transformers with a class token: ViT, DeiT, DINO, and the class-attention layers of CaiT and XCiT.
    Beware: It does not depend on the target, and the score does not depend on one layer's attention alone.
    """

    def last(layers: list[Tensor]) -> Tensor:
        weights, count = layers[-1], layers[-1].shape[1]
        if head > count:
            raise BadRequest(f"The last layer has {count} heads; there is no head {head}.")
        return weights.mean(1) if head == 0 else weights[:, head - 1]

    return _on_patches(question, images, _no_gradient(question, images, last))


def _no_gradient(question: Question, images: Tensor, read: Callable[[list[Tensor]], Tensor]) -> Tensor:
    """`read(layers)` of one forward pass without a graph, a few pictures at once."""

    def part(rows: range) -> Tensor:
        with torch.no_grad(), question.autocast(), AttentionRecording() as recording:
            features = question.model.network.outputs(images[rows.start : rows.stop]).features
        question.tally.forward += len(features)
        return read([weights.float() for weights in recording.recorded()])

    size = runtime.inner_batch(images[0, 0].numel(), question.model.device, graph=True)
    return runtime.joined(runtime.each_batch(part, len(images), size))


def _on_patches(question: Question, images: Tensor, rows: Tensor) -> Tensor:
    """(n, queries, N) -> (n, h, w): the rows that the features are read from, over the patches."""
    readout = question.model.network.attention.readout
    if readout is None:
        raise BadRequest(
            f"{question.model.title} reads its features from no row of its attention, so this method cannot be used."
        )
    return _on_grid(question, images, readout(rows))


def _on_grid(question: Question, images: Tensor, row: Tensor) -> Tensor:
    """(n, N) -> (n, h, w): the last h w tokens."""
    network = question.model.network
    with torch.no_grad():
        height, width = size_of(network.grid(network.trunk(images[:1], network.cuts[0]), network.cuts[0]))
    return row[:, -height * width :].reshape(len(row), height, width)
