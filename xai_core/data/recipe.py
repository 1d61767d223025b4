"""How pictures are prepared for a network: a plain record, no torch."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Recipe:
    """How a network was shown pictures in training: the shorter side is resized, the centre is cut out.

    `input_size` is the side of the square in pixels; `shorter_side` the length the picture's shorter side is resized
    to before that; with `squash` both sides are, whatever the picture's shape. `mean` and `std` (None: no normalisation)
    are applied inside the network's chain.
    """

    input_size: int = 224
    shorter_side: int = 256
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] | None = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] | None = (0.229, 0.224, 0.225)
    squash: bool = False

    def __repr__(self) -> str:
        """What is kept of a recipe is kept under this text: a field that came later is in it only where it is set."""
        shown = (field.name for field in fields(self) if field.name != "squash" or self.squash)
        return f"Recipe({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"
