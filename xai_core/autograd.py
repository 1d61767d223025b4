"""The only place that differentiates.

Gradients are taken with `torch.autograd.grad` to leaves made here, so that nothing is ever written to a network:
no `.backward()`, no `.grad`, no hooks. That is what lets many sessions share one model.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from xai_core.errors import BadRequest


def value_and_gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n,) of a function of (n, ...) and the gradient of each value to its own row, (n, ...).

    One backward pass serves all rows: a network in eval mode computes each row from that row alone, so the
    gradient of the sum is, row by row, the gradient of that row's value. Raises BadRequest where there is none.
    """
    leaf = at.detach().requires_grad_()
    with torch.enable_grad():
        values = function(leaf)
        (gradient,) = torch.autograd.grad(values.sum(), leaf, allow_unused=True) if values.requires_grad else (None,)
    if gradient is None:
        raise BadRequest(
            "The target does not depend on the picture in a way that can be differentiated; "
            "only methods without gradients can explain it."
        )
    return values.detach(), gradient
