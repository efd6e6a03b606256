"""A header that was judged → upright RGB pixels.

Decoders get the lean parts of the file only (see `placewise.headers`), and what they decode must have the size that was
judged. Pixels are converted in strips, so that no second copy of the whole picture is held beside the result.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from placewise.core import Image
from placewise.errors import ImageError
from placewise.headers import Header

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_READERS: dict[str, Callable[[io.BytesIO, str], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "PPM": PpmImageFile,
    "AVIF": AvifImageFile,
}

_STRIP = 2**20
"""Pixels that are converted at a time."""


def decode(header: Header, orientation: int, *, scale: int = 1) -> Image:
    """Decode to upright RGB, ``(H, W, 3)`` uint8; transparent pixels are shown on white.

    Args:
        header: what `placewise.headers.read` returned.
        orientation: 1 to 8, as EXIF counts.
        scale: 1, 2, 4 or 8: decode a JPEG directly at this part of its size; of other formats average as many pixels.

    Raises:
        ImageError: ``unreadable``, ``truncated`` or ``too_large``.
    """
    try:
        if header.format == "JPEG":
            rgb = _to_rgb(_open(header, scale), 1)
        else:
            rgb = _to_rgb(_open_heic(header) if header.format == "HEIC" else _open(header, 1), scale)
        if header.format != "HEIC":  # its decoder turns it
            rgb = _turned(rgb, orientation)
        return np.ascontiguousarray(rgb)
    except ImageError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything, from KeyError to MemoryError
        raise _image_error(error, header) from error


def _whole(header: Header) -> bytes:
    """What the decoder gets; the file itself where nothing was left out of it."""
    only = header.lean[0] if len(header.lean) == 1 else None
    return only if isinstance(only, bytes) else b"".join(header.lean)


def _open(header: Header, scale: int) -> PIL.Image.Image:
    image = _READERS[header.format](io.BytesIO(_whole(header)), "")
    if image.size != (header.width, header.height):
        message = f"it claims to be both {header.width} x {header.height} and {image.width} x {image.height} pixels"
        raise ValueError(message)
    if scale > 1:
        image.draft(None, (header.width // scale, header.height // scale))
    image.load()
    return image


def _open_heic(header: Header) -> PIL.Image.Image:
    try:
        import pi_heif
    except ImportError as error:
        message = "a HEIC photo needs a decoder that is not installed; type: pip install 'placewise[heic]'"
        raise ImageError(message, kind="unreadable") from error
    picture = pi_heif.open_heif(io.BytesIO(_whole(header)), convert_hdr_to_8bit=True)
    if picture.size[0] * picture.size[1] > header.width * header.height:
        message = f"it claims to be both {header.width} x {header.height} and {picture.size} pixels"
        raise ValueError(message)
    data = picture.data
    return PIL.Image.frombytes(picture.mode, picture.size, data, "raw", picture.mode, picture.stride)


def _image_error(error: Exception, header: Header) -> ImageError:
    """What a failure of a decoder means."""
    text = str(error).lower()
    if isinstance(error, PIL.Image.DecompressionBombError | MemoryError):
        message = "the photo is too large to decode; save it smaller"
        return ImageError(message, kind="too_large")
    cut = ("truncated", "broken data stream", "end-of-file", "end of file", "not enough")
    if any(word in text for word in cut) or _ends_before_riff(header):
        message = "the photo's file is cut off or its pixels are damaged; copy it again from where it came"
        return ImageError(message, kind="truncated")
    message = f"the photo cannot be decoded ({' '.join(text.split()) or type(error).__name__}); replace the file"
    return ImageError(message, kind="unreadable")


def _ends_before_riff(header: Header) -> bool:
    """Whether a WebP file is shorter than its first chunk says; its decoder does not tell this from other damage."""
    data = header.lean[0]
    return header.format == "WebP" and len(data) < 8 + int(struct.unpack_from("<I", data, 4)[0])


def _to_rgb(image: PIL.Image.Image, scale: int) -> Image:
    """Any of Pillow's modes as RGB, ``(H, W, 3)``, strip by strip; ``scale`` x ``scale`` pixels become their mean."""
    wide = image.mode.startswith("I") or image.mode == "F"
    if not wide and scale == 1 and image.width * image.height <= _STRIP:
        return np.array(_flat(image))
    white = max(map(_peak, _strips(image))) if wide else 0.0
    rgb = np.empty((-(-image.height // scale), -(-image.width // scale), 3), np.uint8)
    top = 0
    for strip in _strips(image):
        flat = PIL.Image.fromarray(_to_eight_bits(np.asarray(strip), white)) if wide else _flat(strip)
        values = np.asarray(flat.reduce(scale) if scale > 1 else flat)
        rgb[top : top + len(values)] = values if values.ndim == 3 else values[..., np.newaxis]
        top += len(values)
    return rgb


def _strips(image: PIL.Image.Image) -> Iterator[PIL.Image.Image]:
    rows = max(8, _STRIP // image.width // 8 * 8)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(image.height, top + rows)))


def _flat(image: PIL.Image.Image) -> PIL.Image.Image:
    """RGB, transparent pixels on white."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = PIL.Image.new("RGBA", image.size, "white")
        image.alpha_composite(layer)
    return image if image.mode == "RGB" else image.convert("RGB")


def _finite(values: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)


def _peak(strip: PIL.Image.Image) -> float:
    """What is white in gray values of more than 8 bits.

    65535 for integers. Real numbers have no agreed white: it is the first of 1, 255, 65535 that no value exceeds. Where
    values exceed 65535, the largest is white.
    """
    values = np.asarray(strip)
    if values.dtype.itemsize == 2:
        return 65535.0
    peak = float(_finite(values).max())
    whites = (65535.0,) if values.dtype.kind in "iu" else (1.0, 255.0, 65535.0)
    return next((white for white in whites if peak <= white), peak)


def _to_eight_bits(values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
    """Gray values of more than 8 bits, ``(H, W)``, scaled to uint8; of 16 bits the high byte."""
    if values.dtype.itemsize == 2:
        return (values.astype(np.uint16) >> 8).astype(np.uint8)
    scaled: NDArray[np.uint8] = (np.clip(_finite(values) / white, 0, 1) * 255 + 0.5).astype(np.uint8)
    return scaled


def _turned(rgb: Image, orientation: int) -> Image:
    """A view that is upright (Exif 2.32, section 4.6.4, tag 0x0112)."""
    if orientation in {5, 7}:
        rgb = rgb.swapaxes(0, 1)
    elif orientation in {6, 8}:
        rgb = np.rot90(rgb, -1 if orientation == 6 else 1)
    if orientation in {2, 3, 7}:
        rgb = rgb[:, ::-1]
    if orientation in {3, 4, 7}:
        rgb = rgb[::-1]
    return rgb
