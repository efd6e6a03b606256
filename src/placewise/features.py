"""Image → keypoints with RootSIFT descriptors, and their bytes.

The laws of this module: points are (x, y) in pixels of the image as it was given, the centre of its first pixel is
(0, 0), and so a point p of the image resized by ``scale`` is ``(p + 0.5) / scale - 0.5`` in the original. What is
extracted is rounded to what the bytes keep, so that features are the same whether they were stored or not. Nothing is
random.

SIFT: D. G. Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004. RootSIFT: R. Arandjelović and
A. Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placewise.core import Image
from placewise.errors import OptionError, StoreError

KIND = "rootsift-1"
"""What a gallery file calls these features; another number for other bytes or features that cannot be compared."""

LONGER_SIDE = 512
"""The image is reduced to this many pixels before keypoints are sought; smaller ones keep their size.

SIFT begins with twice that, and more would take longer than 60 ms on one core.
"""

KEYPOINTS = 800
"""So many, the strongest, are kept; with more, a comparison of two photos would take longer than 6 ms on one core."""

MOST_KEYPOINTS = 8192
"""More cannot be asked for, nor read: two photos are compared by a matrix of all pairs, here of 268 MB."""

DIM = 128
"""The length of a descriptor."""

LEVELS = 16
"""A descriptor's values are 0 to 15."""

_UNIT = 44.0  # levels to 1: the largest values, about 0.34, just fit
_KEPT = 24 << 20  # bytes; twice as much is kept, and SIFT needs 40 MB
_CONTRAST = 0.03  # of OpenCV's SIFT; lower finds little more, and that less often again
_HEAD = struct.Struct("<4sIII")  # magic, width, height, keypoints
_CRC = struct.Struct("<I")  # of the head and of all that follows; where the magic is the former one, not of the head
_MAGIC = b"PWF2"
_FORMER_MAGIC = b"PWF1"
_ROW = 2 + 2 + 1 + 1 + DIM // 2  # bytes of a keypoint: x, y, scale, angle, two values of the descriptor in each byte
_POSITIONS = 65_535  # steps along the longer side
_TURN = 256  # steps of an angle
_OCTAVE = 16  # steps of a scale to each doubling
_SMALLEST_SCALE = 2.0**-16  # of the longer side


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The keypoints of one image, strongest first.

    Attributes:
        points: ``(N, 2)`` float32, (x, y) in pixels of the original image.
        scales: ``(N,)`` float32, diameters in pixels of the original image.
        angles: ``(N,)`` float32, degrees in 0..360, from the x axis towards the y axis.
        descriptors: ``(N, 128)`` uint8 in 0..15, RootSIFT.
        size: width and height of the original image in pixels.
    """

    points: NDArray[np.float32]
    scales: NDArray[np.float32]
    angles: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.points)

    def to_bytes(self) -> bytes:
        """Some 50 bytes a keypoint, for a gallery file; `from_bytes` reads them."""
        longer = max(self.size)
        angles = np.rint(self.angles * (_TURN / 360)).astype(np.uint8)
        columns = (
            np.rint((self.points + 0.5) * (_POSITIONS / longer)).astype("<u2").tobytes(),
            np.rint(np.log2(self.scales / (longer * _SMALLEST_SCALE)) * _OCTAVE).astype(np.uint8).tobytes(),
            angles.tobytes(),
            (self.descriptors[:, ::2] | self.descriptors[:, 1::2] << 4).tobytes(),
        )
        head, body = _HEAD.pack(_MAGIC, *self.size, len(self)), zlib.compress(b"".join(columns), 1)
        return head + _CRC.pack(zlib.crc32(body, zlib.crc32(head))) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Features:
        """What `to_bytes` made bytes of, exactly.

        Raises:
            StoreError: if they are damaged or something else.
        """
        unpacked = _unpacked(data)
        if unpacked is None:
            message = f"local features must be {KIND} bytes in one piece, got {len(data)} others; extract them again"
            raise StoreError(message)
        width, height, count, body = unpacked
        points = np.frombuffer(body, "<u2", 2 * count).reshape(count, 2)
        rest = np.frombuffer(body, np.uint8, offset=4 * count)
        packed = rest[2 * count :].reshape(count, DIM // 2)
        descriptors = np.stack((packed & 15, packed >> 4), axis=2).reshape(count, DIM)
        return _features((width, height), points, (rest[:count], rest[count : 2 * count]), descriptors)


def extract(image: Image, *, longer_side: int = LONGER_SIDE, keypoints: int = KEYPOINTS) -> Features:
    """Find the strongest keypoints of an image and describe them.

    Args:
        image: ``(H, W, 3)`` uint8; one without texture, or of a few pixels, has no keypoints.
        longer_side: to so many pixels a larger image is reduced first.
        keypoints: at most so many.
    """
    import cv2

    for name, value, low, high in (
        ("longer_side", longer_side, 1, 65_535),
        ("keypoints", keypoints, 1, MOST_KEYPOINTS),
    ):
        if not low <= value <= high:
            message = f"{name} must be between {low} and {high}, got {value}; leave it out for the usual value"
            raise OptionError(message)
    height, width = image.shape[:2]
    gray = _reduced(image, longer_side)
    # Memory that is set free at once: where glibc has seen so much of it, it keeps what SIFT needs for the next image
    # instead of giving it back to the system, which would have to clear it again: a quarter of the time.
    np.empty(_KEPT, np.uint8)
    # The last argument: without it OpenCV puts every point a quarter of a pixel too far right and down.
    sift = cv2.SIFT_create(keypoints, 3, _CONTRAST, 10.0, 1.6, cv2.CV_32F, True)
    found, values = sift.detectAndCompute(gray, None)
    rows = np.array([(*point.pt, point.size, point.angle, point.response) for point in found], np.float32)
    rows = rows.reshape(-1, 5)
    best = np.lexsort((*rows[:, :4].T, -rows[:, 4]))[:keypoints]  # keypoints of two angles are equally strong
    rows = rows[best]
    longer = max(width, height)
    back = np.array((width / gray.shape[1], height / gray.shape[0]), np.float32)
    return _features(
        (width, height),
        np.clip(np.rint((rows[:, :2] + 0.5) * back * (_POSITIONS / longer)), 0, _POSITIONS),
        (_scale_codes(rows[:, 2] * float(back.max()) / longer), np.rint(rows[:, 3] * (_TURN / 360)) % _TURN),
        _root(values[best] if found else np.empty((0, DIM), np.float32)),
    )


def _reduced(image: Image, longer_side: int) -> NDArray[np.uint8]:
    """A gray image, ``(H, W)``, whose longer side has at most so many pixels: area means."""
    import cv2

    height, width = image.shape[:2]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = longer_side / max(width, height)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, dtype=np.uint8)


def _root(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """SIFT descriptors ``(N, 128)`` → the square roots of their shares, as levels 0 to 15."""
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-9)
    levels: NDArray[np.float32] = np.minimum(np.rint(np.sqrt(shares) * _UNIT), LEVELS - 1)
    return levels.astype(np.uint8)


def _scale_codes(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Diameters as shares of the longer side → steps on a scale of octaves."""
    codes: NDArray[np.float32] = np.clip(np.rint(np.log2(shares / _SMALLEST_SCALE) * _OCTAVE), 0, 255)
    return codes


def _features(
    size: tuple[int, int],
    positions: NDArray[np.generic],
    codes: tuple[NDArray[np.generic], NDArray[np.generic]],
    descriptors: NDArray[np.uint8],
) -> Features:
    """Steps, as bytes keep them, of positions, scales and angles → features."""
    longer = max(size)
    return Features(
        points=(positions.astype(np.float64) * (longer / _POSITIONS) - 0.5).astype(np.float32),
        scales=(np.exp2(codes[0].astype(np.float64) / _OCTAVE) * (longer * _SMALLEST_SCALE)).astype(np.float32),
        angles=(codes[1].astype(np.float64) * (360 / _TURN)).astype(np.float32),
        descriptors=descriptors,
        size=size,
    )


def is_whole(data: bytes) -> bool:
    """Whether `Features.from_bytes` takes these bytes."""
    return _unpacked(data) is not None


def _unpacked(data: bytes) -> tuple[int, int, int, bytes] | None:
    """Width, height, keypoints and the columns, of the length that these need; None where the bytes are others."""
    if len(data) < _HEAD.size + _CRC.size:
        return None
    head, body = data[: _HEAD.size], data[_HEAD.size + _CRC.size :]
    magic, width, height, count = _HEAD.unpack(head)
    (crc,) = _CRC.unpack_from(data, _HEAD.size)
    if magic not in {_MAGIC, _FORMER_MAGIC} or min(width, height) < 1 or count > MOST_KEYPOINTS:
        return None
    if zlib.crc32(body, zlib.crc32(head) if magic == _MAGIC else 0) != crc:
        return None
    try:  # asked for one byte more than there should be: bytes that unpack to gigabytes do not get there
        columns = zlib.decompressobj().decompress(body, count * _ROW + 1)
    except zlib.error:
        return None
    return (width, height, count, columns) if len(columns) == count * _ROW else None
