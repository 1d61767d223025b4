"""Patches of a transformer whose tokens have an outlying norm: they hold what concerns the whole picture rather than their
own place, so that a map which is strong there says little about that place (Darcet et al. 2023, arXiv:2309.16588).

The paper measures the Euclidean norm of the patches' tokens behind the last block, before the last normalisation, sees a
second mode at about ten times the usual norm, and sets its cutoff by eye. The rule here has a closed form:

    norm > median + 5 * 1.4826 * MAD    and    norm > 2 * median    over the patches of one picture

1.4826 MAD is the standard deviation where norms are normally distributed, of which 3 in ten million lie beyond 5. The second
condition keeps differences that are small beside the norms, as in an untrained network, from counting.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.data.preprocessing import Prepared, stack
from xai_core.explanation import heatmaps, rendering
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import Attention

DEVIATIONS, TIMES = 5.0, 2.0  # robust standard deviations above the median, and times the median


@dataclass(frozen=True)
class TokenNorms:
    """Euclidean norms of the patches' tokens (h, w) of one picture, behind the block `cut`."""

    cut: str
    norms: NDArray[np.float32]

    @property
    def outlying(self) -> NDArray[np.bool_]:
        """Which patches have an outlying norm, (h, w)."""
        return outlying(self.norms)


def outlying(norms: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The rule above, for the norms of one picture's patches, of any shape."""
    middle = np.median(norms)
    spread = 1.4826 * np.median(np.abs(norms - middle))
    found: NDArray[np.bool_] = (norms > middle + DEVIATIONS * spread) & (norms > TIMES * middle)
    return found


def token_norms(model: ExplainableModel, prepared: Prepared) -> TokenNorms | None:
    """The norms behind the last block; None for a network without a grid of tokens there. Costs one forward pass."""
    network = model.network
    if network.attention == Attention():  # it has none: nothing is built or run for a convolutional network
        return None
    blocks = [name for name in network.cuts if name.rpartition(".")[2].isdigit()]
    if not blocks:
        return None
    with torch.no_grad(), runtime.autocast("exact", model.device):
        tokens = network.trunk(stack([prepared], model.device), blocks[-1])
        if tokens.ndim != 3:
            return None
        try:
            grid = network.grid(tokens, blocks[-1])
        except BadRequest:
            return None
    return TokenNorms(blocks[-1], grid[0].float().norm(dim=0).cpu().numpy())


def outlying_patches(model: ExplainableModel, explanation: Explanation, prepared: Prepared) -> "OutlyingPatches | None":
    """The outlying patches of an explained picture; None for a network without a grid of tokens."""
    tokens = token_norms(model, prepared)
    return None if tokens is None else OutlyingPatches(explanation, tokens)


@dataclass(frozen=True)
class OutlyingPatches:
    """The patches of outlying norm in an explained picture, and what of the map lies on them."""

    explanation: Explanation
    tokens: TokenNorms

    @property
    def count(self) -> int:
        return int(self.tokens.outlying.sum())

    @property
    def share(self) -> float:
        """The part of the map's total magnitude that lies on these patches, from 0 to 1; NaN for a map of zeros."""
        size = self.explanation.input_size
        magnitude = np.abs(self.explanation.to_input(smooth=False))
        inside = heatmaps.resize(self.tokens.outlying.astype(np.float32), size, False) > 0.5
        total = float(magnitude.sum(dtype=np.float64))
        return float(magnitude[inside].sum(dtype=np.float64)) / total if total else float("nan")

    @property
    def words(self) -> str:
        """One sentence: how many of how many patches, and how much of the map lies on them."""
        of, behind = self.tokens.norms.size, f"behind {self.tokens.cut}"
        if not self.count:
            return f"No patch of {of} has an outlying norm {behind}."
        share = (
            f"{self.share:.1%} of the map's total lies there" if np.isfinite(self.share) else "the map is zero everywhere"
        )
        return (
            f"Patches with an outlying norm {behind}: {self.count} of {of} ({self.count / of:.1%}); {share}. "
            "Such a token tells of the whole picture rather than of its place, so that the map says little about that place."
        )

    def settings(self) -> dict[str, Any]:
        """For export: the rule, the count, its denominator, the share of the map, and the cells as [row, column]."""
        return {
            "cut": self.tokens.cut,
            "rule": f"norm > median + {DEVIATIONS:g} * 1.4826 * MAD and norm > {TIMES:g} * median",
            "count": self.count,
            "patches": int(self.tokens.norms.size),
            "grid": list(self.tokens.norms.shape),
            "share_of_map": self.share if self.count else 0.0,
            "cells": np.argwhere(self.tokens.outlying).tolist(),
        }

    def picture(self, longest: int = 448) -> Image.Image:
        """The map in its colours at the network's resolution, enlarged to `longest` pixels or more, with a black and white
        outline around each such patch."""
        values = self.explanation.to_input(smooth=False)
        times = max(1, -(-longest // max(values.shape)))
        drawn = Image.fromarray(rendering.scale_of(self.explanation).colours(values))
        drawn = drawn.resize((drawn.width * times, drawn.height * times), Image.Resampling.NEAREST)
        pen, (rows, columns) = ImageDraw.Draw(drawn), self.tokens.norms.shape
        for row, column in np.argwhere(self.tokens.outlying):
            left, right = (round(drawn.width * one / columns) for one in (column, column + 1))
            top, bottom = (round(drawn.height * one / rows) for one in (row, row + 1))
            pen.rectangle((left, top, right - 1, bottom - 1), outline="black", width=3)
            pen.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline="white", width=1)
        return drawn
