"""Write a world as a folder, for tools that read files: pictures by class, their metadata, and the masks of their parts."""

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.data import metadata
from xai_core.data.world.planted import MOST_PICTURES, TRUTH, VERSION, World, picture
from xai_core.data.world.scene import SIZE, draw


def write_folder(
    world: World, out: Path, *, count: int, seed: int = 0, split: str = "test", size: int = SIZE, track: Track = iter
) -> None:
    """`count` pictures of a world in the new folder `out`, which appears when it is complete:

    CLASS/NUMBER.png        the pictures, in a folder for each label
    metadata.csv            for each picture its path, label, the classes that are right, and its attributes
    masks/CLASS/NUMBER.npz  for each part its mask (size, size) uint8: the share of each pixel that shows it, 0 to 255
    world.json              version of the drawings, seed, split, planted and broken causes

    Raises BadRequest where `out` exists, or a number is out of range.
    """
    if not 1 <= count <= MOST_PICTURES:
        raise BadRequest(f"A world has 1 to {MOST_PICTURES:,} pictures, not {count:,}.")
    if not 32 <= size <= 1024:
        raise BadRequest(f"Pictures are drawn with 32 to 1,024 pixels a side, not {size:,}.")
    if out.exists():
        raise BadRequest(f"{out} exists already: name a new folder.")
    picture(world, seed, split, 0)  # seed and split are checked before anything is made
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        rows = [_write_picture(world, seed, split, index, size, unfinished) for index in track(range(count))]
        pd.DataFrame(rows).to_csv(unfinished / "metadata.csv", index=False)
        told = {
            "version": VERSION, "seed": seed, "split": split, "pictures": count, "size": size,
            "planted": dict(world.causes), "broken": sorted(world.broken),
        }  # fmt: skip
        (unfinished / "world.json").write_text(json.dumps(told, indent=2) + "\n")
        unfinished.chmod(0o755)
        unfinished.rename(out)
    except OSError as error:
        raise BadRequest(f"{out} cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_picture(world: World, seed: int, split: str, index: int, size: int, folder: Path) -> dict[str, object]:
    """Write one picture and its masks; returns its row of metadata."""
    drawn = picture(world, seed, split, index)
    pixels, masks = draw(drawn.scene, size)
    name = f"{drawn.label}/{index:06d}"
    for file in (folder / f"{name}.png", folder / "masks" / f"{name}.npz"):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{name}.png", compress_level=1)
    parts = {part: np.round(255 * mask).astype(np.uint8) for part, mask in masks.items()}
    with zipfile.ZipFile(folder / "masks" / f"{name}.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for part, mask in parts.items():
            with archive.open(f"{part}.npy", "w") as member:
                np.save(member, mask, allow_pickle=False)
    columns = {f"{metadata.TRUTH}{name}" if name in TRUTH else name: value for name, value in drawn.columns.items()}
    right = {f"{metadata.TRUTH}classes": " ".join(drawn.truth)}
    return {"path": f"{name}.png", "label": drawn.label, **right, **columns}
