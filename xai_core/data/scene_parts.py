"""A drawn picture taken apart, as a network sees it: where each part is, and the same picture without it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.data.preprocessing import Prepared
from xai_core.data.world.scene import BACKGROUND, Scene, draw, thing_parts, without

SEEN = 4.0  # pixels of the network's input; parts that are seen in fewer are left out
SAME = 2 / 255  # by which pixels of the same picture differ at most


@dataclass(frozen=True)
class SceneParts:
    """The parts of one drawn picture.

    names  the background, then the parts that are seen in at least SEEN pixels, in the order in which they are drawn
    masks  (k, H, W) float32, for each part the share of each pixel of the network's input in which it is seen
    see    makes of another drawing of the scene what the network sees of it, (3, H, W)
    """

    scene: Scene
    names: tuple[str, ...]
    masks: NDArray[np.float32]
    see: Callable[[Image.Image], Tensor]

    def without(self, names: Collection[str]) -> Tensor:
        """(3, H, W): what the network sees of the picture without these parts."""
        pixels, _ = draw(without(self.scene, *names))
        return self.see(Image.fromarray(pixels))

    def thing(self) -> NDArray[np.bool_]:
        """(H, W): the pixels of which more than half show the thing that the picture is of."""
        thing = thing_parts(self.scene)
        own = [place for place, name in enumerate(self.names) if name in thing]
        seen: NDArray[np.bool_] = self.masks[own].sum(0) > 0.5
        return seen


def scene_parts(scene: Scene, prepared: Prepared, prepare: Callable[[Image.Image], Prepared]) -> SceneParts:
    """The parts of the picture `prepared`, which was drawn from `scene`; `prepare` is the network's preprocessing.

    Raises BadRequest where the picture is not that of the scene.
    """
    pixels, masks = draw(scene)
    drawn = prepare(Image.fromarray(pixels))
    check_same(drawn.pixels, prepared.pixels)
    height, width = prepared.pixels.shape[1:]
    seen = {
        name: np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR, box=drawn.box))
        for name, mask in masks.items()
    }
    return SceneParts(scene, *with_background(seen, (height, width)), lambda image: prepare(image).pixels)


def with_background(
    masks: Mapping[str, NDArray[np.float32]], size: tuple[int, int]
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The names and the masks (k, H, W) of the background, which is what the parts leave, and of the parts that are seen in
    at least SEEN pixels."""
    seen = {name: mask for name, mask in masks.items() if mask.sum() >= SEEN}
    rest = np.clip(1 - sum(seen.values(), np.zeros(size, np.float32)), 0, 1)
    return (BACKGROUND, *seen), np.stack([rest, *seen.values()]).astype(np.float32)


def check_same(drawn: Tensor, pixels: Tensor) -> None:
    """Raises BadRequest where pixels (3, H, W) are not those of the picture that was drawn from the scene."""
    if drawn.shape != pixels.shape or float((drawn - pixels).abs().max()) > SAME:
        raise BadRequest("This picture was not drawn from the given scene.")
