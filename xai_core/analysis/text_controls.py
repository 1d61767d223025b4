"""Texts without a meaning beside the words that are asked about: does the answer depend on the words at all?

Each control is put into the same sentences as the words. A picture that is as like a control as it is like the words is not
recognised by them; a map that is the same for a control shows what any text would show.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional

from xai_core.core.errors import BadRequest
from xai_core.data.preprocessing import Prepared, stack
from xai_core.explanation.targets import SimilarityToText
from xai_core.models.explainable import ExplainableModel
from xai_core.models.prompts import TextClassifier, texts_of


@dataclass(frozen=True)
class TextCosines:
    """Cosines of one picture with each of the words (K,) and of the controls (C,), in [-1, 1]."""

    words: NDArray[np.float32]
    controls: NDArray[np.float32]

    def words_of(self, index: int, names: tuple[str, ...], seed: int) -> str:
        """In a sentence: how like the words `index` the picture is, against the controls."""
        own, low, high = (float(value) for value in (self.words[index], self.controls.min(), self.controls.max()))
        above = int((self.controls >= own).sum())
        beaten = (
            "none of them is as high" if not above else f"{above} of them {'is' if above == 1 else 'are'} as high or higher"
        )
        return (
            f"Cosine with '{names[index]}': {own:.3f}. With {len(self.controls)} texts without a meaning: {low:.3f} to "
            f"{high:.3f} (seed {seed}); {beaten}."
        )


def cosines(model: ExplainableModel, prepared: Prepared) -> TextCosines:
    """How like the model's texts a picture is. Raises BadRequest where its classes are no texts."""
    texts = _texts(model)
    embedding = functional.normalize(model.outputs(stack([prepared], model.device)).embedding, dim=-1)[0]
    own, controls = ((texts.get_buffer(name) @ embedding).float().cpu().numpy() for name in ("vectors", "controls"))
    return TextCosines(own, controls)


def text_target(model: ExplainableModel, text: str) -> SimilarityToText:
    """The question 'what is like these words?' about one of the model's texts, or of its texts without a meaning. Raises
    BadRequest for another text."""
    texts = _texts(model)
    for names, vectors in ((texts.about.names, "vectors"), (texts.about.controls, "controls")):
        if text in names:
            place = names.index(text)
            return SimilarityToText(texts.get_buffer(vectors)[place : place + 1], texts=(text,))
    raise BadRequest(
        f"'{text}' is none of the {len(texts.about.names):,} texts of {model.title}; the command prompts adds texts."
    )


def _texts(model: ExplainableModel) -> TextClassifier:
    texts = texts_of(model)
    if texts is None:
        raise BadRequest(f"The classes of {model.title} are no texts: see the command prompts.")
    return texts
