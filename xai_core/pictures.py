"""Opening pictures from strangers: the right picture in RGB, or one clear message.

Only these formats are tried, by their content (never by the file's name), and none of them runs anything.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xai_core.errors import BadPicture

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000  # 150 MB as RGB; a 45-megapixel camera still fits


def open_picture(source: bytes | str | Path) -> Image.Image:
    """The picture in a file or in a file's bytes, as RGB, upright, first frame.

    EXIF rotation is applied, transparency is laid on white, 16-bit greyscale is scaled to 8 bits, CMYK and palettes
    are converted. Raises BadPicture with one sentence for anything else.
    """
    data = source if isinstance(source, bytes) else _read(Path(source))
    if not data:
        raise BadPicture("The file is empty (0 bytes).")
    if len(data) > MAX_BYTES:
        raise BadPicture(f"The file has {len(data) / 2**20:.0f} MB; at most {MAX_BYTES // 2**20} MB are opened.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata and large sizes; both are judged below
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise BadPicture(
                        f"The picture has {opened.width} x {opened.height} pixels; "
                        f"at most {MAX_PIXELS // 10**6} million are opened."
                    )
                opened.load()
                return _as_rgb(ImageOps.exif_transpose(opened))
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture(f"The file is not a picture in one of these formats: {', '.join(FORMATS)}.") from None
    except Image.DecompressionBombError:
        raise BadPicture(f"The picture has more than {MAX_PIXELS // 10**6} million pixels.") from None
    except MemoryError:
        raise BadPicture("The picture does not fit into memory.") from None
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        raise BadPicture(f"The file is damaged or cut off and cannot be read as a picture ({error}).") from None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadPicture(f"{path.name} is larger than {MAX_BYTES // 2**20} MB.")
        return path.read_bytes()
    except OSError as error:
        raise BadPicture(f"Cannot read {path}: {error.strerror or error}.") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey_as_rgb(image)
    return image.convert("RGB")


def _deep_grey_as_rgb(image: Image.Image) -> Image.Image:
    """16-bit greyscale over its full range; float greyscale where it is in [0, 1] or [0, 255]."""
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    full = 65535.0 if image.mode != "F" else 1.0 if high <= 1 else 255.0
    if not (low >= 0 and high <= full):
        raise BadPicture(
            f"The picture's values run from {low:g} to {high:g}, so that black and white are unknown; "
            "save it with 8 or 16 bits per channel."
        )
    return Image.fromarray((values * (255 / full)).round().astype(np.uint8)).convert("RGB")
