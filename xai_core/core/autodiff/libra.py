"""LibraGrad: derivatives under which the parts of a score add up, in transformers too.

Where a network is linear in pieces, the products of the input and of every added constant (biases, class token, positions)
with the score's gradients to them sum to the score. GELU, LayerNorm, attention and gates are not linear in pieces, and break
this sum. Here their derivatives are replaced by those of functions that have the same value and keep it:

    smooth activations                 x times f(x) / x, the quotient a constant
    LayerNorm, other normalisations    the length that they divide by is constant
    attention                          the weights are constant
    products                           a smaller factor (a gate) is constant; equal factors share in halves

Source: Mehri et al. 2024, arXiv:2411.16760. Deviation: there a gate shares in halves as well; as a constant it keeps the
sum, too. These are the rules of layer-wise relevance propagation (`lrp.py`) without those for linear layers.
"""

from torch import Tensor

from xai_core.core.autodiff.function_overrides import RECTIFIERS, Call, Substitution
from xai_core.core.autodiff.lrp import by_constants, by_product, by_share

_THROUGH_ZERO = frozenset({"relu", "leaky_relu", "prelu", "threshold", "clamp", "clamp_min"})  # linear on both sides of it
_BENT = (RECTIFIERS - _THROUGH_ZERO) | {"tanh", "softsign"}


class Libra(Substitution):
    """Inside a `with`, derivatives are those of LibraGrad; values are unchanged. Counts the functions that it changes."""

    def rule(self, call: Call) -> Tensor | None:
        if call.name in _BENT:
            return by_share(call)
        product = by_product(call)
        return by_constants(call) if product is None else product
