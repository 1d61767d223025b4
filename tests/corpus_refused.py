"""Files that must be refused: other things under a picture's name, damaged pictures, and pictures of hostile size."""

import io
import pickle
import struct
import zipfile
from dataclasses import dataclass

import numpy as np
from corpus import JPEG, PALETTE, PNG, RGB, damaged, fields, gif, png, saved
from PIL import Image


@dataclass(frozen=True)
class Bad:
    """A file that is refused, with words that the message must hold."""

    name: str
    data: bytes
    says: str


class Malicious:
    """Unpickling this would run a command."""

    def __reduce__(self):
        return __import__("os").system, ("touch executed",)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n(%pipe%touch executed) (w) file closefile\nshowpage\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><script>alert(1)</script></svg>'


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("picture.png", PNG)
    return buffer.getvalue()


def webp_header(side: int) -> bytes:
    """An animated WebP that claims a square canvas and holds nothing."""
    canvas = struct.pack("<I", side - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_header(width: int, height: int, next_directory: int = 0) -> bytes:
    """A TIFF of one directory, whose strip lies behind the end of the file."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 4000, 277: 1, 278: height, 279: 1200}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", next_directory)


def bad() -> list[Bad]:
    """All files that are refused."""
    bmp = saved(RGB, "BMP")
    minus, undefined = fields((-5, 0, 1, 2), np.float32), fields((0, 1, np.nan, 0), np.float32)
    no_picture, cut_off, large = "not an intact picture in one of these formats: PNG,", "damaged or cut off", "million"
    return [
        Bad("empty.png", b"", "empty"),
        Bad("text.jpg", b"Dear Sir or Madam,\n" * 20, no_picture),
        Bad("page.png", b"<!doctype html><html><body><img src=x onerror=alert(1)></body></html>", no_picture),
        Bad("drawing.png", SVG, no_picture),
        Bad("paper.jpg", b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\n%%EOF", no_picture),
        Bad("archive.png", archive(), no_picture),
        Bad("program.jpg", b"MZ\x90\0" + bytes(200), no_picture),
        Bad("program.png", b"\x7fELF\2\1\1" + bytes(200), no_picture),
        Bad("pickle.png", pickle.dumps(Malicious()), no_picture),
        Bad("drawing.eps", POSTSCRIPT, no_picture),
        Bad("postscript.jpg", POSTSCRIPT.replace(b" EPSF-3.0", b""), no_picture),
        Bad(
            "dos-eps.jpg",
            b"\xc5\xd0\xd3\xc6" + struct.pack("<5I", 32, 140, 0, 0, 0) + bytes(8) + POSTSCRIPT,
            no_picture,
        ),
        Bad("portable.ppm", saved(RGB, "PPM"), no_picture),
        Bad("icon.ico", saved(RGB, "ICO"), no_picture),
        Bad("zeros.png", bytes(1000), no_picture),
        Bad("first-bytes.jpg", JPEG[:2], no_picture),
        *(Bad(f"cut-off-at-{share:.0%}.jpg", JPEG[: int(len(JPEG) * share)], "") for share in (0.02, 0.2, 0.5, 0.9)),
        Bad("no-end.jpg", JPEG[:-2], cut_off),
        Bad("signature-only.png", PNG[:8], ""),
        Bad("cut-off-in-header.png", PNG[:20], ""),
        Bad("cut-off-in-data.png", PNG[:-40], cut_off),
        Bad("cut-off.gif", saved(PALETTE, "GIF")[:60], ""),
        Bad("cut-off.webp", saved(RGB, "WEBP", lossless=True)[:60], ""),
        Bad("cut-off.tiff", saved(RGB, "TIFF")[:1000], cut_off),
        Bad("cut-off.bmp", bmp[:1000], cut_off),
        Bad("header-checksum.png", damaged(PNG, 30), ""),
        Bad("data-content.png", damaged(PNG, PNG.index(b"IDAT") + 12), cut_off),
        Bad("bad-chunk.png", PNG[:33] + b"\0\0\0\4\xff\xfe\0\1abcdXXXX" + PNG[33:], ""),
        Bad("no-palette.png", png(40, 30, 8, 3, b"\0" * 41 * 30), ""),
        Bad("depth-3.png", png(40, 30, 3, 0, b"\0" * 16 * 30), ""),
        Bad("no-pixels.png", png(0, 0, 8, 0, b""), ""),
        Bad("no-pixels.bmp", bmp[:18] + bytes(8) + bmp[26:], ""),
        Bad("no-directory.tiff", b"II*\0" + struct.pack("<I", 5000), ""),
        Bad("circular.tiff", tiff_header(40, 30, next_directory=8), cut_off),
        Bad("negative.tiff", saved(Image.fromarray(minus), "TIFF"), "black and white are unknown"),
        Bad("not-numbers.tiff", saved(Image.fromarray(undefined), "TIFF"), "black and white are unknown"),
        Bad("beyond-16-bit.tiff", saved(Image.fromarray(fields((0, 1, 2, 70000), np.int32)), "TIFF"), "16 bits"),
        Bad("bomb-in-header.png", png(100_000, 100_000, 8, 2, b"\0"), large),
        Bad("bomb-just-over.png", png(10_000, 5_001, 8, 2, b"\0"), large),
        Bad("bomb-that-pillow-warns-of.png", png(10_000, 10_000, 8, 2, b"\0"), large),
        Bad("bomb.png", saved(Image.new("1", (8000, 6251)), "PNG"), large),
        Bad("bomb.gif", gif((65535, 65535)), large),
        Bad("bomb.webp", webp_header(16383), ""),
        Bad("bomb.bmp", bmp[:18] + struct.pack("<ii", 100_000, 100_000) + bmp[26:], large),
        Bad("bomb.tiff", tiff_header(100_000, 100_000), large),
        Bad("too-many-bytes.png", PNG + bytes(20 * 2**20), "20 MB"),
    ]
