"""The result of asking why: a map, and everything needed to read it and to compute it again."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_core.core.cache_key import run_key
from xai_core.core.version import __version__
from xai_core.explanation import heatmaps


@dataclass(frozen=True)
class Passes:
    """What one map cost, in passes of one picture: through the whole network, back through it, and through the part
    behind the cut."""

    forward: float = 0
    backward: float = 0
    tail: float = 0

    def __str__(self) -> str:
        passes = {"forward": self.forward, "backward": self.backward, "tail": self.tail}
        return ", ".join(f"{count:g} {name}" for name, count in passes.items() if count) or "none"


@dataclass(frozen=True)
class Explanation:
    """One attribution map with its provenance. Frozen and picklable.

    `heatmap` is the raw map by the method's formula on its native grid, float32 (h, w), not rescaled: its unit is the
    target's (logits, probabilities, cosine) times whatever the formula says, positive is evidence for the target.
    `box` is the part of the picture the network saw, (left, top, right, bottom) in its pixels. `subject` and `rival` name
    what positive and negative values speak for, in few words; without a rival, negative values speak against the subject.
    """

    heatmap: NDArray[np.float32]
    signed: bool
    box: tuple[float, float, float, float]
    picture_size: tuple[int, int]
    input_size: tuple[int, int]
    picture: str
    model: str
    weights: str
    cut: str
    target: str
    target_key: str
    target_value: float
    method: str
    title: str
    version: int
    options: dict[str, Any]
    seed: int
    precision: str
    passes: Passes
    seconds: float
    error: NDArray[np.float32] | None = None
    facts: dict[str, float] = field(default_factory=dict)
    subject: str = "the target"
    rival: str = ""

    def to_input(self, smooth: bool = True) -> NDArray[np.float32]:
        """The map at the network's resolution, float32 (H, W)."""
        return heatmaps.resize(self.heatmap, self.input_size, smooth)

    def to_picture(self, size: tuple[int, int] | None = None, smooth: bool = True) -> NDArray[np.float32]:
        """The map in the coordinates of the picture, float32 (height, width); NaN outside the crop the network saw.

        `size` is (width, height) as in PIL; by default the picture's own.
        """
        width, height = size or self.picture_size
        across, down = width / self.picture_size[0], height / self.picture_size[1]
        left, right = (round(edge * across) for edge in self.box[::2])
        top, bottom = (round(edge * down) for edge in self.box[1::2])
        left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        right, bottom = min(max(right, left + 1), width), min(max(bottom, top + 1), height)
        full = np.full((height, width), np.nan, np.float32)
        full[top:bottom, left:right] = heatmaps.resize(self.heatmap, (bottom - top, right - left), smooth)
        return full

    def within(
        self, box: tuple[float, float, float, float], size: tuple[int, int], smooth: bool = True
    ) -> NDArray[np.float32]:
        """The map over a part of the picture that the network saw, (left, top, right, bottom) in the picture's pixels, at
        (height, width) `size`: how maps of networks that crop differently are laid over each other."""
        left, top, right, bottom = self.box
        width, height = right - left, bottom - top
        part = ((box[0] - left) / width, (box[1] - top) / height, (box[2] - left) / width, (box[3] - top) / height)
        return heatmaps.window(self.heatmap, part, size, smooth)

    @cached_property
    def key(self) -> str:
        """The run key: equal for two explanations exactly where everything that went in was equal."""
        return run_key(
            picture=self.picture,
            model=self.model,
            weights=self.weights,
            cut=self.cut,
            target=self.target_key,
            method=self.method,
            version=self.version,
            options=self.options,
            seed=self.seed,
            precision=self.precision,
        )

    @property
    def health(self) -> list[str]:
        """What is wrong with this map, in sentences; empty for a healthy one."""
        return heatmaps.health(self.heatmap)

    def settings(self) -> dict[str, Any]:
        """Everything but the map, as JSON takes it."""
        left_out = ("heatmap", "error", "passes")
        plain = {name: value for name, value in vars(self).items() if name not in left_out}
        return plain | {
            "key": self.key,
            "grid": list(self.heatmap.shape),
            "passes": vars(self.passes),
            "health": self.health,
            "software": {"xai_core": __version__},
        }
