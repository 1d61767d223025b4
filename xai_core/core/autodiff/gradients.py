"""The only place that differentiates.

Gradients are taken with `torch.autograd.grad` to leaves made here, so that nothing is ever written to a network:
no `.backward()`, no `.grad`, no hooks. That is what lets many sessions share one model.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xai_core.core.errors import BadRequest


def value_and_gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n,) of a function of (n, ...) and the gradient of each value to its own row, (n, ...).

    One backward pass serves all rows: a network in eval mode computes each row from that row alone, so the
    gradient of the sum is, row by row, the gradient of that row's value. Raises BadRequest where there is none.
    """
    values, gradient, _ = value_and_gradients(lambda leaf: (function(leaf), []), at)
    return values, gradient


def value_and_gradients(
    function: Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]], at: Tensor
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    """As `value_and_gradient`, for a function that also returns tensors on its way: their gradients come third."""
    leaf = at.detach().requires_grad_()
    with torch.enable_grad():
        values, passed = function(leaf)
        gradient, *inner = _gradients(values, leaf, *passed)
    return values.detach(), gradient, inner


def value_and_curvature(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `value_and_gradient`, and H at: each value's second derivative times `at`, by differentiating g . at once more."""
    leaf = at.detach().requires_grad_()
    with torch.enable_grad():
        values = function(leaf)
        (gradient,) = _gradients(values, leaf, create_graph=True)
        product = torch.zeros_like(at)  # a function that is linear in pieces has no second derivative
        if gradient.requires_grad:
            along = (gradient * at.detach()).sum()
            (product,) = torch.autograd.grad(along, leaf, allow_unused=True, materialize_grads=True)
    return values.detach(), gradient.detach(), product


def _gradients(values: Tensor, leaf: Tensor, *passed: Tensor, create_graph: bool = False) -> list[Tensor]:
    """Gradients of the sum of values to the leaf, and to tensors on the way (zero where it does not depend on them)."""
    inputs = [leaf, *passed]
    gradients: Sequence[Tensor | None] = [None]
    if values.requires_grad:
        gradients = torch.autograd.grad(values.sum(), inputs, create_graph=create_graph, allow_unused=True)
    if gradients[0] is None:
        raise BadRequest(
            "The target does not depend on the picture in a way that can be differentiated; "
            "only methods without gradients can explain it."
        )
    return [torch.zeros_like(at) if one is None else one for at, one in zip(inputs, gradients, strict=True)]
