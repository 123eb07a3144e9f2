"""Bytes become a picture in RGB, upright, or a reason why they do not."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from functools import cache

import numpy as np
from PIL import Image, ImageOps

# Of what Pillow can read, that which is made of pixels alone: others (EPS, WMF) are programs, which it would run.
_FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF",
    "WEBP",
)  # fmt: skip
SUFFIXES = frozenset((
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2",
    ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff",
    ".webp",
))  # fmt: skip
# Thumbnails, and what lies behind transparent pixels.
_QUALITY = 85
_PAPER = (255, 255, 255, 255)

# What Pillow finds odd in a file (EXIF, palettes, many pixels) is no news, and not said once for each of millions.
warnings.filterwarnings("ignore", module=r"PIL\.")

# HEIC needs a plugin, which is used where it is installed.
with suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()


class NotAPicture(Exception):
    """A file that cannot be read as a picture. Give both values by position, so that it can be pickled.

    Args:
        reason: the same words for all of this kind.
        value: what was found.
    """

    def __init__(self, reason: str, value: str):
        super().__init__(reason, value)
        self.reason, self.value = reason, value


def decode(content: bytes, max_pixels: int) -> Image.Image:
    """The picture in a file, in RGB: the first frame, turned as its EXIF says, on white where it is transparent.

    Raises:
        NotAPicture: it is none, is not whole, or has more than ``max_pixels`` pixels, which are not decoded then.
    """
    if not content:
        raise NotAPicture("file is empty", "0 bytes")
    try:
        picture: Image.Image = Image.open(io.BytesIO(content), formats=_formats())
    except Image.DecompressionBombError as error:
        raise NotAPicture("picture has too many pixels", str(error)) from error
    except Image.UnidentifiedImageError as error:
        raise NotAPicture("file is no picture", f"it begins with {content[:16]!r}") from error
    except MemoryError:  # is no fault of the picture
        raise
    # Pillow's readers raise what they come across in a damaged file: OSError, SyntaxError, KeyError, struct.error …
    except Exception as error:
        raise NotAPicture("picture is damaged", f"{type(error).__name__}: {error}") from error
    width, height = picture.size
    if width * height > max_pixels:
        raise NotAPicture("picture has too many pixels", f"{width} x {height}, at most {max_pixels}")
    try:
        picture.load()
        with suppress(Exception):  # whatever is wrong with the EXIF, the picture is there
            picture = ImageOps.exif_transpose(picture)
        return _as_rgb(picture)
    except MemoryError:
        raise
    except Exception as error:
        raise NotAPicture("picture is damaged", f"{type(error).__name__}: {error}") from error


def thumbnail(picture: Image.Image, side: int) -> bytes:
    """A small copy as JPEG, whose longer side has at most ``side`` pixels."""
    small = picture.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


@cache
def _formats() -> list[str]:
    """Those that this Pillow knows."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_as_bytes(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        front = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, _PAPER), front).convert("RGB")
    return picture.convert("RGB")


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """Grey of more than 8 bits, uint8. Real numbers up to 1 are shares of white; else white is 255, or 65,535 where
    there are values above 255 or the numbers have 16 bits."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, posinf=0, neginf=0)
        if values.size and values.max() <= 1:
            return (values.clip(0, 1) * 255).round().astype(np.uint8)
    if values.dtype.itemsize == 2 or (values.size and values.max() > 255):
        values = values // 257
    return values.clip(0, 255).astype(np.uint8)
