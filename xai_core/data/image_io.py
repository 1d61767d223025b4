"""Opening pictures from strangers: the right picture in RGB, or one clear message.

Only these formats are tried, by their content (never by the file's name), and none of them runs anything.
"""

import io
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from xai_core.core.errors import BadPicture
from xai_core.core.files import open_regular

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}  # what is looked for in folders
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000  # 200 MB in memory (Pillow spends 4 bytes on a pixel); a 45-megapixel camera still fits

_UPRIGHT = {  # the value of the EXIF tag Orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS, _EXIF_TEXT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP"), b"Raw profile type exif\0"
_PHOTOMETRIC = 262  # the tag of a TIFF that says what its numbers mean; 0 is "white is zero"
# One picture at a time: the filters of warnings belong to the process, so that two threads would restore each other's;
# and many large pictures at once would not fit into the memory of a small machine.
_DECODING = threading.Lock()


def open_picture(source: bytes | str | Path) -> Image.Image:
    """The picture in a file or in a file's bytes, as RGB, upright, first frame, without metadata.

    EXIF rotation is applied, transparency is laid on white, deep greyscale is scaled to 8 bits, CMYK and palettes
    are converted (without colour management). Raises BadPicture with one sentence for anything else.
    """
    data = source if isinstance(source, bytes) else _read(Path(source))
    if not data:
        raise BadPicture("The file is empty (0 bytes).")
    if len(data) > MAX_BYTES:
        raise BadPicture(f"The file has more than {MAX_BYTES // 2**20} MB, the most that is opened.")
    with _DECODING, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # damaged metadata and large sizes; both are judged below
        return _decoded(data)


def _read(path: Path) -> bytes:
    """The file's bytes, one more than MAX_BYTES at most."""
    try:
        with open_regular(path) as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadPicture(f"Cannot read {_one_line(path)}: {error.strerror or error}.") from None


def _decoded(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(_without_texts(data)), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadPicture(
                    f"The picture has {image.width} x {image.height} pixels; "
                    f"at most {MAX_PIXELS // 10**6} million are opened."
                )
            image.load()
            rgb = to_rgb(image)
            rotation = _UPRIGHT.get(_orientation(image))
            upright = rgb if rotation is None else rgb.transpose(rotation)
            upright.info = {}  # colour profile, place and camera are private; they would be saved with copies
            return upright
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture(f"The file is not an intact picture in one of these formats: {', '.join(FORMATS)}.") from None
    except Image.DecompressionBombError:
        raise BadPicture(f"The picture has more than {MAX_PIXELS // 10**6} million pixels.") from None
    except MemoryError:
        raise BadPicture("The picture does not fit into memory.") from None
    except Exception as error:  # decoders of damaged files raise errors of any kind
        said = _one_line(error) or type(error).__name__
        raise BadPicture(f"The file is damaged or cut off and cannot be read as a picture ({said}).") from None


def _without_texts(data: bytes) -> bytes:
    """A PNG without its texts and its colour profile, which are not used: Pillow refuses pictures with large ones.

    The text in which some programs write EXIF stays. Other files, and bytes that are not a chunk, stay as they are.
    """
    if not data.startswith(_PNG):
        return data
    parts, place = [_PNG], len(_PNG)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if kind not in _TEXTS or data.startswith(_EXIF_TEXT, place + 8):
            parts.append(data[place:end])
        place = end
    return b"".join([*parts, data[place:]])


def _orientation(image: Image.Image) -> int:
    """The EXIF tag Orientation; 1 (upright) where there is none or the EXIF data is damaged: the picture may be intact."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow's reader raises errors of any kind
        return 1


def _one_line(said: object) -> str:
    return " ".join(str(said).split())


def to_rgb(image: Image.Image) -> Image.Image:
    """A copy of the picture as RGB: transparency on white, deep greyscale scaled. Raises BadPicture."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey_to_rgb(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _deep_grey_to_rgb(image: Image.Image) -> Image.Image:
    """16-bit greyscale over its full range; 32 bits and floats over the smallest usual range that holds the values."""
    values = np.asarray(image).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    usual = {"I": (255, 65535), "F": (1, 255, 65535)}.get(image.mode, (65535,))
    white = next((limit for limit in usual if high <= limit), None)
    if not low >= 0 or white is None:  # `not low >= 0` is also true where values are not numbers
        raise BadPicture(
            f"The picture's values run from {low:g} to {high:g}, so that black and white are unknown; "
            "save it with 8 or 16 bits per channel."
        )
    levels = (values * (255 / white)).round().astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # this TIFF counts from white to black
        levels = 255 - levels
    if "transparency" in image.info:
        levels[values == image.info["transparency"]] = 255
    return Image.fromarray(levels).convert("RGB")
