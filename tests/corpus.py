"""Files as strangers send them that open, made by hand or by Pillow, each with the colours that it must show.

Every file shows the same four fields, 40 x 30 pixels, so that a wrong rotation, palette, scale or frame is seen:
    red   | green        or, in greyscale files:    0   | 90
    blue  | grey                                    170 | 255
"""

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, PngImagePlugin

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128))
GREYS = (0, 90, 170, 255)
SIZE = (40, 30)


@dataclass(frozen=True)
class Good:
    """A file that opens: the colours of the four fields (upper left, upper right, lower left, lower right)."""

    name: str
    data: bytes
    colours: tuple = COLOURS
    tolerance: int = 0
    size: tuple[int, int] = SIZE


def fields(values, dtype=np.uint8) -> np.ndarray:
    """The four fields as an array, (30, 40) or (30, 40, channels)."""
    first, second, third, fourth = (np.broadcast_to(np.array(v, dtype), (15, 20, *np.shape(v))) for v in values)
    return np.concatenate([np.concatenate([first, second], 1), np.concatenate([third, fourth], 1)])


def saved(picture: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def on_white(colour, alpha: int) -> tuple:
    return tuple(round((c * alpha + 255 * (255 - alpha)) / 255) for c in colour)


def grey(values=GREYS) -> tuple:
    return tuple((value,) * 3 for value in values)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour_type: int, raw: bytes, *extra: bytes) -> bytes:
    """A PNG by hand: what Pillow cannot write, or would not."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def png_of(array: np.ndarray, colour_type: int, *extra: bytes) -> bytes:
    """An array as PNG with the array's own depth, 8 or 16 bits."""
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    rows = b"".join(b"\0" + row.tobytes() for row in big_endian)
    return png(array.shape[1], array.shape[0], 8 * array.dtype.itemsize, colour_type, rows, *extra)


RGB = Image.fromarray(fields(COLOURS))
GREY = Image.fromarray(fields(GREYS))
DEEP = fields([value * 257 for value in GREYS], np.uint16)
BLACK = Image.new("RGB", SIZE)
ALPHAS = (255, 128, 128, 0)
MIXED = tuple(on_white(colour, alpha) for colour, alpha in zip(COLOURS, ALPHAS, strict=True))
RGBA = Image.fromarray(fields([(*colour, alpha) for colour, alpha in zip(COLOURS, ALPHAS, strict=True)]))
LA = Image.fromarray(fields(list(zip(GREYS, ALPHAS, strict=True))))
PALETTE = Image.fromarray(fields((0, 1, 2, 3)))
PALETTE.putpalette([channel for colour in COLOURS for channel in colour])
PALETTE_ALPHA = PALETTE.convert("PA")
PALETTE_ALPHA.putalpha(LA.getchannel("A"))
JPEG = saved(RGB, "JPEG", quality=95, subsampling=0)
PNG = saved(RGB, "PNG")
# How the EXIF standard says a picture is stored; 6, for one: row 0 is its right-hand side, column 0 its top.
STORED_AS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def ycck() -> bytes:
    """A CMYK JPEG stored as YCCK, as Photoshop does: its planes saved as if they were CMYK, the marker changed."""
    inverse = Image.fromarray(255 - np.asarray(RGB)).convert("YCbCr")
    y, cb, cr = (band.point(lambda value: 255 - value) for band in inverse.split())
    data = saved(Image.merge("CMYK", (y, cb, cr, Image.new("L", SIZE))), "JPEG", quality=95, subsampling=0)
    marker = data.index(b"Adobe") + 11
    return data[:marker] + b"\2" + data[marker + 1 :]


def damaged(data: bytes, at: int) -> bytes:
    """The same with one byte inverted."""
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


def gif(screen: tuple[int, int]) -> bytes:
    """One frame of the usual size on a logical screen of another."""
    data = saved(PALETTE, "GIF")
    return data[:6] + struct.pack("<HH", *screen) + data[10:]


def interlaced() -> bytes:
    """An Adam7 PNG, which Pillow does not write: seven passes, each a coarser picture."""
    pixels, passes = (
        np.asarray(RGB),
        ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
    )
    rows = [b"\0" + row.tobytes() for top, left, down, across in passes for row in pixels[top::down, left::across]]
    header = struct.pack(">IIBBBBB", *SIZE, 8, 2, 0, 0, 1)
    body = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def bmp(bits: int, raw: bytes, compression: int = 0, height: int = SIZE[1], tables: bytes = b"") -> bytes:
    """A BMP by hand: `tables` are its masks or its palette."""
    start = 54 + len(tables)
    head = struct.pack("<IiiHHIIiiII", 40, SIZE[0], height, 1, bits, compression, len(raw), 0, 0, 4 if bits <= 8 else 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(raw), 0, 0, start) + head + tables + raw


def bmps() -> list[Good]:
    """Kinds of BMP that Pillow does not write."""
    pixels, number = np.asarray(RGB), fields((0, 1, 2, 3))
    palette = b"".join(bytes([blue, green, red, 0]) for red, green, blue in COLOURS)
    packed = (pixels[..., 0].astype("<u2") >> 3 << 11) | (pixels[..., 1].astype("<u2") >> 2 << 5) | (pixels[..., 2] >> 3)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    runs = b"".join(bytes([20, row[0], 20, row[-1], 0, 0]) for row in number[::-1]) + b"\0\1"
    nibbles = (number[::-1, ::2] << 4 | number[::-1, 1::2]).tobytes()
    return [
        Good("16-bits.bmp", bmp(16, packed[::-1].tobytes(), 3, tables=masks), tolerance=8),
        Good("runs.bmp", bmp(8, runs, 1, tables=palette)),
        Good("4-bits.bmp", bmp(4, nibbles, tables=palette)),
        Good("top-down.bmp", bmp(24, pixels[..., ::-1].tobytes(), height=-SIZE[1])),
    ]


def many_texts() -> PngImagePlugin.PngInfo:
    """More than Pillow's limit in one text, and in all together; and the EXIF data of older programs among them."""
    texts = PngImagePlugin.PngInfo()
    for number in range(70):
        texts.add_text(f"Comment {number}", "x" * 1_000_000, zip=True)
    texts.add_text("Large", "x" * 3_000_000, zip=True)
    return texts


def exif_as_text(orientation: int) -> PngImagePlugin.PngInfo:
    texts, body = PngImagePlugin.PngInfo(), exif(orientation)
    texts.add_text("Raw profile type exif", f"\nexif\n{len(body):8}\n{body.hex()}\n", zip=True)
    return texts


def animated(format: str, **options) -> bytes:
    return saved(RGB, format, save_all=True, append_images=[BLACK, BLACK], duration=50, **options)


@cache
def good() -> list[Good]:
    """All files that open."""
    fine = {"quality": 95, "subsampling": 0}
    deep_grey, deep_red = Image.fromarray(DEEP), chunk(b"tRNS", struct.pack(">HHH", 65535, 0, 0))
    whole_numbers = fields([value * 257 for value in GREYS], np.int32)
    rotated = {n: Image.fromarray(np.ascontiguousarray(store(np.asarray(RGB)))) for n, store in STORED_AS.items()}
    one_bit, alpha_greys = GREY.convert("1", dither=0), zip(GREYS, ALPHAS, strict=True)
    without_red = ((255, 255, 255), *COLOURS[1:])
    cyan_red = Image.fromarray(255 - fields([(*colour, 255) for colour in COLOURS]), "CMYK")
    lab = [(138, 80, 67), (224, -79, 81), (75, 68, -112), (138, 0, 0)]  # of red, green, blue, grey
    lab = Image.frombytes("LAB", SIZE, fields(lab, np.int16).astype(np.uint8).tobytes())
    rubbish, thin = b"Exif\0\0" + b"rubbish" * 9, COLOURS[1:2] * 2 + COLOURS[3:] * 2
    return [
        Good("rgb.png", PNG),
        Good("really-a-png.jpg", PNG),
        Good("rgb.bmp", saved(RGB, "BMP")),
        Good("rgb.tiff", saved(RGB, "TIFF")),
        Good("lzw.tiff", saved(RGB, "TIFF", compression="tiff_lzw")),
        Good("multipage.tiff", saved(RGB, "TIFF", save_all=True, append_images=[BLACK])),
        Good("lossless.webp", saved(RGB, "WEBP", lossless=True)),
        Good("lossy.webp", saved(RGB, "WEBP", quality=95), tolerance=40),
        Good("rgb.jpg", JPEG, tolerance=3),
        Good("progressive.jpg", saved(RGB, "JPEG", **fine, progressive=True), tolerance=3),
        Good("stored-as-rgb.jpg", saved(RGB, "JPEG", quality=95, keep_rgb=True), tolerance=3),
        Good("cmyk.jpg", saved(cyan_red, "JPEG", **fine), tolerance=3),
        Good("ycck.jpg", ycck(), tolerance=3),
        Good("cmyk.tiff", saved(cyan_red, "TIFF")),
        Good("lab.tiff", saved(lab, "TIFF"), tolerance=25),
        Good("ycbcr.tiff", saved(RGB.convert("YCbCr"), "TIFF"), tolerance=2),
        Good("grey.png", saved(GREY, "PNG"), grey()),
        Good("grey.jpg", saved(GREY, "JPEG", quality=95), grey(), tolerance=3),
        Good("one-bit.png", saved(one_bit, "PNG"), grey((0, 0, 255, 255))),
        Good("one-bit-fax.tiff", saved(one_bit, "TIFF", compression="group4"), grey((0, 0, 255, 255))),
        Good("palette.png", saved(PALETTE, "PNG")),
        Good("palette.gif", saved(PALETTE, "GIF")),
        Good("palette.tiff", saved(PALETTE, "TIFF")),
        Good("palette-one-clear.png", saved(PALETTE, "PNG", transparency=0), without_red),
        Good("palette-one-clear.gif", saved(PALETTE, "GIF", transparency=0), without_red),
        Good("palette-with-alphas.png", saved(PALETTE, "PNG", transparency=bytes(ALPHAS)), MIXED, 1),
        Good("palette-alpha.tiff", saved(PALETTE_ALPHA, "TIFF"), MIXED, 1),
        Good("colour-key.png", saved(RGB, "PNG", transparency=(255, 0, 0)), without_red),
        Good("grey-key.png", saved(GREY, "PNG", transparency=90), grey((0, 255, 170, 255))),
        Good("rgba.png", saved(RGBA, "PNG"), MIXED, 1),
        Good("rgba.tiff", saved(RGBA, "TIFF"), MIXED, 1),
        Good("rgba.webp", saved(RGBA, "WEBP", lossless=True, exact=True), MIXED, 1),
        Good("grey-alpha.png", saved(LA, "PNG"), tuple(on_white((g,) * 3, a) for g, a in alpha_greys), 1),
        Good("grey-16.png", saved(deep_grey, "PNG"), grey()),
        Good("grey-16.tiff", saved(deep_grey, "TIFF"), grey()),
        Good("grey-16-key.png", png_of(DEEP, 0, chunk(b"tRNS", struct.pack(">H", 90 * 257))), grey((0, 255, 170, 255))),
        Good("rgb-16.png", png_of(fields(COLOURS, np.uint16) * 257, 2)),
        Good("rgb-16-key.png", png_of(fields(COLOURS, np.uint16) * 257, 2, deep_red), without_red),
        Good("rgba-16.png", png_of(np.asarray(RGBA).astype(np.uint16) * 257, 6), MIXED, 1),
        Good("grey-32.tiff", saved(Image.fromarray(whole_numbers), "TIFF"), grey()),
        Good("grey-32-of-bytes.tiff", saved(Image.fromarray(fields(GREYS, np.int32)), "TIFF"), grey()),
        Good("float-to-1.tiff", saved(Image.fromarray(fields(GREYS, np.float32) / 255), "TIFF"), grey()),
        Good("float-to-255.tiff", saved(Image.fromarray(fields(GREYS, np.float32)), "TIFF"), grey()),
        Good("white-is-zero-16.tiff", saved(deep_grey, "TIFF", tiffinfo={262: 0}), grey([255 - g for g in GREYS])),
        Good("animated.gif", animated("GIF", disposal=2)),
        Good("animated.png", animated("PNG")),
        Good("animated.webp", animated("WEBP", lossless=True)),
        *(Good(f"orientation-{n}.png", saved(rotated[n], "PNG", exif=exif(n))) for n in STORED_AS),
        Good("orientation-6.jpg", saved(rotated[6], "JPEG", **fine, exif=exif(6)), tolerance=3),
        Good("orientation-6.tiff", saved(rotated[6], "TIFF", tiffinfo={274: 6})),
        Good("orientation-6.webp", saved(rotated[6], "WEBP", lossless=True, exif=exif(6))),
        Good("orientation-99.png", saved(RGB, "PNG", exif=exif(99))),
        Good("orientation-6-as-text.png", saved(rotated[6], "PNG", pnginfo=exif_as_text(6))),
        *(
            Good(f"cut-off-exif-{left}.{format.lower()}", saved(RGB, format, lossless=True, exif=exif(6)[:left]))
            for format in ("PNG", "WEBP")
            for left in (1, 5, 8, 12)
        ),
        Good(
            "bomb-in-text.png", png_of(np.asarray(RGB), 2, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(90_000_000))))
        ),
        Good("bomb-in-profile.png", png_of(np.asarray(RGB), 2, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(90_000_000))))),
        Good("large-profile.png", saved(RGB, "PNG", icc_profile=bytes(3_000_000))),
        Good("many-texts.png", saved(RGB, "PNG", pnginfo=many_texts())),
        Good("interlaced.png", interlaced()),
        *bmps(),
        Good(
            "two-pictures.mpo",
            saved(RGB, "MPO", save_all=True, append_images=[BLACK.copy()], quality=95, subsampling=0),
            tolerance=3,
        ),
        *(
            Good(f"{packing}.tiff", saved(RGB, "TIFF", compression=packing))
            for packing in ("packbits", "tiff_adobe_deflate", "lzma", "zstd")
        ),
        Good("garbage-exif.jpg", saved(RGB, "JPEG", **fine, exif=rubbish), tolerance=3),
        Good("cut-off-exif.jpg", saved(RGB, "JPEG", **fine, exif=exif(6)[:12]), tolerance=3),
        Good("garbage-profile.jpg", saved(RGB, "JPEG", **fine, icc_profile=b"no profile"), tolerance=3),
        Good("garbage-profile.png", saved(RGB, "PNG", icc_profile=b"no profile")),
        Good("unknown-chunk.png", PNG[:33] + chunk(b"raRe", b"who knows") + PNG[33:]),
        Good("animation-of-nothing.png", PNG[:33] + chunk(b"acTL", bytes(8)) + PNG[33:]),  # Pillow warns of it
        Good("no-end.png", PNG[:-12]),
        Good("data-checksum.png", damaged(PNG, len(PNG) - 14)),
        Good("bytes-behind-the-end.jpg", JPEG + b"and more", tolerance=3),
        Good("small-screen.gif", gif((4, 3))),
        Good("one-pixel.png", saved(RGB.crop((0, 0, 1, 1)), "PNG"), COLOURS[:1] * 4, size=(1, 1)),
        Good("one-wide.png", saved(RGB.resize((1, 3000), 0), "PNG"), thin, size=(1, 3000)),
        Good("one-high.png", saved(RGB.resize((60000, 1), 0), "PNG"), COLOURS[2:] * 2, size=(60000, 1)),
    ]
