"""A network's outputs for a batch of images: features, embedding and logits, each computed when it is first read;
and the one order in which classes are ranked by them."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from xai_core.core.errors import BadRequest, NoClassifier


class Outputs:
    """Features, embedding and logits of n pictures; head and classifier are siblings, each run when first read.

    features    (n, D)  the pooled trunk
    embedding   (n, E)  the projection head of the features; the features themselves where there is no head
    logits      (n, K)  the classifier or linear probe of the features; raises NoClassifier where there is none, BadRequest
                        where they have another shape
    """

    def __init__(
        self,
        features: Tensor,
        project: Callable[[Tensor], Tensor] | None = None,
        classify: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.features = features
        self._project = project
        self._classify = classify

    @cached_property
    def embedding(self) -> Tensor:
        return self._project(self.features) if self._project else self.features

    @cached_property
    def logits(self) -> Tensor:
        if self._classify is None:
            raise NoClassifier(
                "This model has no classifier, so it cannot be asked about a class; "
                "ask about similarity instead, with SimilarityTo(model.embed(other_image))."
            )
        logits = self._classify(self.features)
        if logits.ndim != 2:
            raise BadRequest(
                f"The classifier's output has the shape {tuple(logits.shape)}; (n, K) is needed, one row of logits for each "
                "picture. Give a `pool` that makes features (n, D) of the activations."
            )
        return logits


def top_classes(scores: Tensor, k: int = 1) -> Tensor:
    """(..., K) -> (..., k): the classes of the k largest scores (all, where there are fewer), the largest first. Of equal
    scores the class of the lowest index comes first; `topk` leaves this open. Rank by logits where they are at hand:
    probabilities of different logits can be equal within rounding."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]
