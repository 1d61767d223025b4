"""References for a pair's similarity: those of random pairs, and of a picture with ever stronger augmentations."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.runtime import Track
from xai_core.explanation.similarity import COSINE, Similarity
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs.augment import TRANSFORMS, Augmentation, draw_view, transformed
from xai_core.pairs.explain import PairExplanation, ask_pair, explain_pair
from xai_core.pairs.question import PairQuestion

CROP = "crop"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


class RandomPairs(NamedTuple):
    """Similarities of randomly drawn pairs of views: of the same picture, and of two different pictures."""

    same: NDArray[np.float64]
    different: NDArray[np.float64]

    def below(self, value: float, same: bool = False) -> float:
        """The share of pairs of different pictures (or of the same) with a similarity below `value`, in [0, 1]."""
        return float(((self.same if same else self.different) < value).mean())


def random_pairs(
    model: ExplainableModel,
    pictures: Sequence[Tensor],
    recipe: Augmentation,
    *,
    each: int = 4,
    seed: int = 0,
    similarity: Similarity = COSINE,
    track: Track = iter,
) -> RandomPairs:
    """Similarities of all pairs among `each` views of every picture (3, h, w), drawn at the model's input size.

    One forward pass for each view. `same` is empty with one view of each picture, `different` with a single picture.
    """
    side, total = model.recipe.input_size, len(pictures) * each

    def view(number: int) -> Tensor:
        return draw_view(pictures[number // each], recipe, seed, number % each, (side, side)).pixels

    def views(rows: range) -> Tensor:
        return torch.stack([view(number) for number in rows]).to(model.device)

    empty = torch.zeros(2, 3, side, side, device=model.device)
    pair = PairQuestion(model, empty, similarity)
    embeddings = pair.embed(views, total, track)
    first, second = torch.triu_indices(total, total, 1)
    values = pair.alike(embeddings[first], embeddings[second]).double().cpu().numpy()
    same = (first // each == second // each).numpy()
    return RandomPairs(values[same], values[~same])


def changed(picture: Tensor, name: str, strength: float, seed: int) -> Tensor:
    """A picture (3, H, W) after one augmentation of a strength in [0, 1]. A crop keeps the middle 1 - 0.9 strength of the
    area, enlarged to the picture's size."""
    if name != CROP:
        return transformed(picture[None], name, seed, strength)[0]
    height, width = picture.shape[1:]
    share = (1 - 0.9 * strength) ** 0.5
    down, across = max(1, round(share * height)), max(1, round(share * width))
    top, left = (height - down) // 2, (width - across) // 2
    part = picture[None, :, top : top + down, left : left + across]
    return torch.nn.functional.interpolate(part, (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)


def similarity_by_strength(
    model: ExplainableModel,
    picture: Tensor,
    names: Sequence[str] = (CROP, *TRANSFORMS),
    strengths: Sequence[float] = STRENGTHS,
    *,
    seed: int = 0,
    similarity: Similarity = COSINE,
    track: Track = iter,
) -> list[dict[str, float | str]]:
    """The similarity of a picture (3, H, W) to its augmented versions: rows (augmentation, strength, similarity)."""
    pair = ask_pair(model, picture, picture, similarity=similarity)
    cases = [(name, strength) for name in names for strength in strengths]
    own = pair.views[0]

    def views(rows: range) -> Tensor:
        return torch.stack([changed(own, *cases[number], seed) for number in rows])

    values = pair.alike(pair.embeddings[:1], pair.embed(views, len(cases), track)).tolist()
    return [
        {"augmentation": name, "strength": strength, "similarity": value}
        for (name, strength), value in zip(cases, values, strict=True)
    ]


class AtStrength(NamedTuple):
    """One augmentation at one strength: the changed picture (3, H, W), and the pair's explanations."""

    strength: float
    view: Tensor
    maps: PairExplanation


def maps_by_strength(
    model: ExplainableModel,
    picture: Tensor,
    name: str,
    method: str = "grad_cam",
    strengths: Sequence[float] = STRENGTHS,
    *,
    seed: int = 0,
    similarity: Similarity = COSINE,
    track: Track = iter,
) -> Iterator[AtStrength]:
    """The maps of the pair (picture, changed picture) at each strength of one augmentation."""
    for strength in strengths:
        view = changed(picture, name, strength, seed)
        yield AtStrength(
            strength, view, explain_pair(model, picture, view, method, similarity=similarity, seed=seed, track=track)
        )
