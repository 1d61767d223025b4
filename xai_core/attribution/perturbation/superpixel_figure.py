"""LIME's figure: the superpixels that speak most for or against the target, outlined on the picture in its own colours.

Which superpixels, their mask and its edges are those of the lime package (`ImageExplanation.get_image_and_mask`, drawn there
by scikit-image's `mark_boundaries`), for every method whose map has one weight for each superpixel.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from xai_core.attribution.perturbation.segmentation import segment
from xai_core.core.errors import BadRequest
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.result import Explanation

METHODS = ("lime", "kernel_shap", "feature_ablation")  # their maps are constant on every superpixel
SIDES = ("for", "against", "both")
FOR, AGAINST = (213, 94, 0), (0, 114, 178)  # Okabe and Ito's vermilion and blue
COLOURS = {FOR: "orange", AGAINST: "blue"}
FADED = 0.3  # what remains of the picture where it is faded


@dataclass(frozen=True)
class StrongestSuperpixels:
    """The chosen superpixels of an explanation, at the resolution of the network (H, W).

    mask     1 on superpixels for the target, -1 on those against it, 0 elsewhere
    edges    where the outlines are drawn, one pixel wide, around connected superpixels of one sign
    weights  of all superpixels of the picture, (M,), in the target's unit
    chosen   the numbers of the chosen ones, the strongest first
    """

    explanation: Explanation
    pixels: NDArray[np.float32]
    mask: NDArray[np.int64]
    edges: NDArray[np.bool_]
    weights: NDArray[np.float64]
    chosen: tuple[int, ...]
    side: str

    def picture(self, scale: int = 3, *, fade: bool = False) -> Image.Image:
        """What the network saw in its own colours, `scale` times as large, with orange outlines around superpixels for the
        target and blue ones around those against it; with `fade` the rest of the picture is pale."""
        colours = self.pixels.copy()
        if fade:
            colours[self.mask == 0] = 1 - FADED * (1 - colours[self.mask == 0])
        large = Image.fromarray((colours * 255).round().astype(np.uint8))
        pixels = np.array(large.resize((large.width * scale, large.height * scale), Image.Resampling.BICUBIC))
        for sign, colour in ((-1, AGAINST), (1, FOR)):
            pixels[np.kron(self.edges & (self._signs == sign), np.ones((scale, scale), bool))] = colour
        return Image.fromarray(pixels)

    @property
    def _signs(self) -> NDArray[np.int64]:
        """The sign that an edge belongs to: its own superpixel's, outside of the chosen ones that of a neighbour (of both
        signs, the one for the target)."""
        near = ndimage.maximum_filter(self.mask, size=3), ndimage.minimum_filter(self.mask, size=3)
        return np.where(self.mask != 0, self.mask, np.where(near[0] == 1, 1, near[1]))

    @property
    def words(self) -> str:
        """How many of how many superpixels are outlined, what the colours mean, and how large the weights are."""
        weights, subject, rival = self.weights[list(self.chosen)], self.explanation.subject, self.explanation.rival
        speaks = {"for": f"for {subject}", "against": f"for {rival}" if rival else f"against {subject}"}
        positive, negative = int((self.weights > 0).sum()), int((self.weights < 0).sum())
        all_weights = (
            f"The weights of all {len(self.weights)} run from {self.weights.min():.3g} to {self.weights.max():.3g}: "
            f"{positive} positive, {negative} negative."
        )
        if not self.chosen:
            return f"No superpixel speaks {speaks.get(self.side, ' or '.join(speaks.values()))}. {all_weights}"
        counts = {
            "for": f"{int((weights > 0).sum())} {speaks['for']} ({COLOURS[FOR]})",
            "against": f"{int((weights < 0).sum())} {speaks['against']} ({COLOURS[AGAINST]})",
        }
        listed = counts.get(self.side, ", ".join(counts.values()))
        share = np.abs(weights).sum() / np.abs(self.weights).sum()
        return (
            f"{len(self.chosen)} of {len(self.weights)} superpixels are outlined: {listed}. They hold {share:.0%} of the "
            f"sum of all magnitudes. {all_weights} Where superpixels of one sign touch, one line encloses them together."
        )

    def settings(self) -> dict[str, object]:
        """What was chosen, as JSON takes it, beside the settings of the explanation."""
        return self.explanation.settings() | {
            "strongest": {"side": self.side, "superpixels": list(self.chosen), "of": len(self.weights)}
        }


def superpixels(explanation: Explanation, prepared: Prepared) -> NDArray[np.int64]:
    """The superpixels (H, W), numbered from 0, that an explanation of this picture was computed with. Raises BadRequest
    where the explanation is of another picture or method, or its superpixels were given."""
    if explanation.method not in METHODS:
        raise BadRequest(f"{explanation.title} has no superpixels; explain the picture by {', '.join(METHODS)}.")
    if explanation.picture != prepared.digest:
        raise BadRequest("This explanation is of another picture; give the picture as the model prepared it.")
    found = segment(prepared.pixels, explanation.options["segmentation"], explanation.options["segments"]).numpy()
    if found.shape != explanation.heatmap.shape or any(np.ptp(part) for part in _values(explanation, found)):
        raise BadRequest("This explanation was computed with superpixels of its own, which it does not contain.")
    segments: NDArray[np.int64] = found.astype(np.int64)
    return segments


def strongest_superpixels(
    explanation: Explanation,
    prepared: Prepared,
    number: int = 5,
    side: str = "both",
    *,
    segments: NDArray[np.int64] | None = None,
) -> StrongestSuperpixels:
    """The `number` superpixels of largest weight that speak for the target, against it, or both, by magnitude.

    `prepared` is what `model.prepare` returns for the explained picture; `segments` what `superpixels` returns, where that
    is known already. Superpixels of weight zero are never chosen. Equal to `get_image_and_mask` of the lime package
    (Ribeiro et al. 2016, arXiv:1602.04938) with `positive_only`, `negative_only` or neither. Raises BadRequest.
    """
    from lime.lime_image import ImageExplanation
    from skimage import segmentation

    if side not in SIDES:
        raise BadRequest(f"The side is one of {', '.join(SIDES)}, not {side}.")
    if number < 1:
        raise BadRequest(f"At least one superpixel must be chosen, not {number}.")
    if not np.isfinite(explanation.heatmap).all():
        raise BadRequest("This map contains values that are not numbers: no superpixel is the strongest.")
    found = superpixels(explanation, prepared) if segments is None else segments
    weights = np.array([part[0] for part in _values(explanation, found)], float)
    pixels = prepared.pixels.detach().float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
    ranked = sorted(((one, weight) for one, weight in enumerate(weights.tolist()) if weight), key=lambda one: -abs(one[1]))
    lime = ImageExplanation(pixels, found)
    lime.local_exp[0] = ranked
    _, mask = lime.get_image_and_mask(0, positive_only=side == "for", negative_only=side == "against", num_features=number)
    sign = 1 if side != "against" else -1  # lime marks those against the target by 1 where it shows nothing else
    wanted = [one for one, weight in ranked if side == "both" or (weight > 0) == (side == "for")][:number]
    boundaries: Callable[..., NDArray[np.bool_]] = segmentation.find_boundaries  # scikit-image declares no types for it
    edges = boundaries(mask, mode="outer")  # as `mark_boundaries` draws them
    return StrongestSuperpixels(explanation, pixels, sign * mask, edges, weights, tuple(wanted), side)


def _values(explanation: Explanation, segments: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """The map's values on each superpixel."""
    order = np.argsort(segments, axis=None, kind="stable")
    starts = np.cumsum(np.bincount(segments.ravel()))[:-1]
    return np.split(explanation.heatmap.ravel()[order], starts)
