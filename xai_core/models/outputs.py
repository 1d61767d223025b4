"""A network's outputs for a batch of images: features, embedding and logits, each computed when it is first read."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from xai_core.core.errors import NoClassifier


class Outputs:
    """Features, embedding and logits of n pictures; head and classifier are siblings, each run when first read.

    features    (n, D)  the pooled trunk
    embedding   (n, E)  the projection head of the features; the features themselves where there is no head
    logits      (n, K)  the classifier or linear probe of the features; raises NoClassifier where there is none
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
        return self._classify(self.features)
