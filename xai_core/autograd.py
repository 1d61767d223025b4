"""The only place that differentiates.

Gradients are taken with `torch.autograd.grad` to leaves made here, so that nothing is ever written to a network:
no `.backward()`, no `.grad`, no hooks. That is what lets many sessions share one model.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def value_and_gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n,) of a function of (n, ...) and the gradient of each value to its own row, (n, ...).

    One backward pass serves all rows: a network in eval mode computes each row from that row alone, so the
    gradient of the sum is, row by row, the gradient of that row's value.
    """
    leaf = at.detach().requires_grad_()
    with torch.enable_grad():
        values = function(leaf)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), gradient
