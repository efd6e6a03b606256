"""Features: points are where things are, bytes keep everything, damage is refused, blank images have none."""

from __future__ import annotations

import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise import features, images
from placewise.core import Image
from placewise.errors import OptionError, StoreError
from placewise.features import Features, extract, is_whole
from placewise.verify import verify


def blobs(
    centres: NDArray[np.float64], sigmas: NDArray[np.float64], size: tuple[int, int] = (240, 320)
) -> NDArray[np.uint8]:
    """A gray image ``(H, W, 3)`` of bright Gaussian blobs at given points (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]]
    values = np.full(size, 30.0)
    for (cx, cy), sigma in zip(centres, sigmas, strict=True):
        values += 180 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def texture(size: tuple[int, int], seed: int = 0) -> Image:
    """Smoothed noise: an image full of keypoints."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.asarray(cv2.normalize(smooth, smooth, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)


def equal(one: Features, other: Features) -> bool:
    """Whether two are the same, value by value."""
    arrays = ("points", "scales", "angles", "descriptors")
    return one.size == other.size and all(np.array_equal(getattr(one, a), getattr(other, a)) for a in arrays)


@pytest.mark.parametrize(("enlarged", "tolerance"), [(1, 0.06), (4, 0.25)])
def test_points_are_pixel_centres_of_the_original(enlarged: int, tolerance: float) -> None:
    """A blob's keypoint is at its centre to a sixteenth of a working pixel, also where the image was reduced."""
    centres = np.array([(60.3, 50.7), (200.0, 60.0), (90.5, 170.25), (251.9, 180.1)])
    sigmas = np.array([4.0, 3.0, 5.0, 6.0])
    centres = (centres + 0.5) * enlarged - 0.5
    image = blobs(centres, sigmas * enlarged, (240 * enlarged, 320 * enlarged))
    found = extract(image, longer_side=320)

    for centre, sigma in zip(centres, sigmas * enlarged, strict=True):
        nearest = np.linalg.norm(found.points - centre, axis=1).argmin()
        assert np.abs(found.points[nearest] - centre).max() < tolerance
        assert found.scales[nearest] == pytest.approx(1.77 * sigma, rel=0.05)


def test_the_strongest_keypoints_are_kept_strongest_first() -> None:
    """Fewer keypoints are the first of more."""
    image = texture((200, 300))
    many, few = extract(image, keypoints=200), extract(image, keypoints=50)

    assert (len(many), len(few)) == (200, 50)
    assert np.array_equal(few.points, many.points[:50])
    assert np.array_equal(few.descriptors, many.descriptors[:50])


def test_descriptors_are_root_sift() -> None:
    """They are the square roots of OpenCV's shares to half a level, 0 to 15, and none is cut off."""
    image = texture((200, 300))
    sift = cv2.SIFT_create(100, 3, 0.03, 10.0, 1.6, cv2.CV_32F, True)
    _, values = sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    exact = np.sqrt(values / values.sum(axis=1, keepdims=True)) * 44

    got = extract(image, keypoints=100).descriptors

    assert got.dtype == np.uint8
    assert got.max() <= 15
    for descriptor in got:
        assert np.abs(exact - descriptor).max(axis=1).min() <= 0.5001


def test_rounding_descriptors_costs_nothing(photos_root: Path) -> None:
    """Of real photos, the nearest neighbours among 4-bit descriptors are nearly all those of the exact ones."""
    exact, rounded = [], []
    for name in ("0003.jpg", "0004.jpg"):
        image = images.decode((photos_root / "buildings" / "Herz-Jesus-P8" / name).read_bytes())
        gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (640, 427), interpolation=cv2.INTER_AREA)
        values = cv2.SIFT_create(500, 3, 0.03, 10.0, 1.6, cv2.CV_32F, True).detectAndCompute(gray, None)[1]
        root = np.sqrt(values / values.sum(axis=1, keepdims=True))
        exact.append(root)
        levels = features._root(values).astype(np.float32)
        rounded.append(levels / np.linalg.norm(levels, axis=1, keepdims=True))
    similar = exact[0] @ exact[1].T
    two_best = np.sort(similar, axis=1)[:, -2:]
    distinct = np.sqrt((1 - two_best[:, 1]) / (1 - two_best[:, 0])) < 0.9
    same = similar.argmax(axis=1) == (rounded[0] @ rounded[1].T).argmax(axis=1)

    assert distinct.sum() > 100
    assert same[distinct].mean() > 0.99


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1, 3), np.uint8),
        np.full((1, 640, 3), 7, np.uint8),
        np.full((480, 640, 3), 128, np.uint8),
        np.full((5, 2000, 3), 255, np.uint8),
        np.zeros((2000, 1, 3), np.uint8),
    ],
    ids=["1x1", "a row", "gray", "a strip", "a column"],
)
def test_where_nothing_is_to_be_seen_there_are_no_keypoints(image: Image) -> None:
    """Tiny and blank images have none, and those pack and unpack."""
    found = extract(image)

    assert len(found) == 0
    assert found.descriptors.shape == (0, 128)
    assert found.size == (image.shape[1], image.shape[0])
    assert equal(Features.from_bytes(found.to_bytes()), found)


@pytest.mark.parametrize("size", [(60, 960), (960, 60), (33, 47), (700, 700)])
def test_points_of_odd_shapes_lie_in_the_image(size: tuple[int, int]) -> None:
    """Also in images of 16:1, which are reduced by other factors along each side."""
    found = extract(texture(size))

    assert len(found) > 10
    assert (found.points > -0.5).all()
    assert (found.points < np.array(size[::-1]) - 0.5).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"longer_side": 0}, "longer_side must be between 1 and 65535, got 0; leave it out for the usual value"),
        ({"keypoints": 0}, "keypoints must be between 1 and 8192, got 0; leave it out for the usual value"),
        ({"keypoints": 8193}, "keypoints must be between 1 and 8192, got 8193; leave it out for the usual value"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    """One line says what must hold."""
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        extract(texture((50, 50)), **options)


def test_the_image_is_not_changed() -> None:
    """Extraction reads, also a view that may not be written."""
    image = texture((100, 100))
    copy = image.copy()
    image.flags.writeable = False
    extract(image[:, ::-1])

    assert np.array_equal(image, copy)


def test_threads_extract_the_same() -> None:
    """Four at a time get what one after the other gets."""
    pictures = [texture((120, 160), seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(extract, pictures))

    assert all(equal(one, extract(picture)) for one, picture in zip(together, pictures, strict=True))


@given(
    size=st.tuples(st.integers(1, 65_535), st.integers(1, 65_535)),
    count=st.integers(0, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_bytes_keep_everything(size: tuple[int, int], count: int, seed: int) -> None:
    """What the steps of position, scale, angle and descriptor can say comes back exactly, at any size of image."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (2, count), dtype=np.uint8)
    made = features._features(
        size,
        rng.integers(0, 65_536, (count, 2)),
        (codes[0], codes[1]),
        rng.integers(0, 16, (count, 128), dtype=np.uint8),
    )

    assert equal(Features.from_bytes(made.to_bytes()), made)


def test_extracted_features_survive_their_bytes_exactly(photos_root: Path) -> None:
    """Stored or not, a real photo's features are the same; they take less than 60 bytes a keypoint."""
    found = extract(images.decode((photos_root / "buildings" / "castle-P19" / "0000.jpg").read_bytes()))
    data = found.to_bytes()

    assert len(found) == features.KEYPOINTS
    assert equal(Features.from_bytes(data), found)
    assert len(data) < 60 * len(found)


REFUSED = r"^local features must be rootsift-1 bytes in one piece, got \d+ others; extract them again$"


@given(data=st.data())
def test_damaged_bytes_are_refused(data: st.DataObject) -> None:
    """A changed byte, a cut and an addition each give one line."""
    sound = extract(texture((60, 80)), keypoints=20).to_bytes()
    kind = data.draw(st.sampled_from(["flip", "cut", "add"]))
    if kind == "cut":
        damaged = sound[: data.draw(st.integers(0, len(sound) - 1))]
    elif kind == "add":
        damaged = sound + data.draw(st.binary(min_size=1, max_size=5))
    else:
        at = data.draw(st.integers(0, len(sound) - 1))
        damaged = sound[:at] + bytes([sound[at] ^ data.draw(st.integers(1, 255))]) + sound[at + 1 :]

    with pytest.raises(StoreError, match=REFUSED):
        Features.from_bytes(damaged)
    assert not is_whole(damaged)


@given(data=st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"PWF2" + tail))
def test_no_bytes_are_taken_for_features(data: bytes) -> None:
    """Whatever they are, with or without the right beginning, they give one line and nothing else."""
    with pytest.raises(StoreError, match=REFUSED):
        Features.from_bytes(data)
    assert not is_whole(data)


def packed(size: tuple[int, int], count: int, columns: bytes, *, magic: bytes = b"PWF2") -> bytes:
    """Columns as a gallery keeps them, with the right checksum."""
    head, body = struct.pack("<4sIII", magic, *size, count), zlib.compress(columns)
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head) if magic == b"PWF2" else 0)) + body


def test_bytes_of_before_are_read() -> None:
    """What has its checksum on the columns alone gives the same features."""
    found = extract(texture((60, 80)), keypoints=20)
    data = found.to_bytes()
    before = packed(found.size, len(found), zlib.decompress(data[20:]), magic=b"PWF1")

    assert before != data
    assert equal(Features.from_bytes(before), found)
    assert is_whole(before)


@given(
    size=st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1)),
    count=st.integers(0, 40),
    seed=st.integers(0, 2**32 - 1),
    copied=st.booleans(),
)
def test_whatever_the_columns_hold_can_be_verified(
    size: tuple[int, int], count: int, seed: int, *, copied: bool
) -> None:
    """Bytes with the right checksum and any values, also those of a photo a billion pixels wide, stop no verification.

    So do descriptors of a real query on keypoints that lie anywhere, all on one another among them.
    """
    rng, query = np.random.default_rng(seed), extract(texture((60, 80)), keypoints=40)
    columns = rng.integers(0, 256, (count if seed % 3 else 1, 6), dtype=np.uint8).repeat(
        1 if seed % 3 else count, axis=0
    )
    descriptors = rng.integers(0, 256, (count, 64), dtype=np.uint8)
    if copied:
        some = query.descriptors[:count]
        descriptors[: len(some)] = some[:, ::2] | some[:, 1::2] << 4
    there = Features.from_bytes(packed(size, count, columns.tobytes() + descriptors.tobytes()))
    for pair in ((query, there), (there, query), (there, there)):
        found = verify(*pair)

        assert 0 <= found.significance < np.inf
        assert found.matrix is None or found.matrix.shape == (3, 3)


@pytest.mark.parametrize(
    ("count", "columns"),
    [(3, b"\0" * (69 * 3)), (3, b"\0" * (71 * 3)), (1, b"\0" * 100_000_000), (2**32 - 1, b""), (8193, b"")],
)
def test_bytes_of_the_wrong_length_are_refused(count: int, columns: bytes) -> None:
    """Whole, with the right checksum, but of too little, too much or far too much: refused without unpacking it."""
    with pytest.raises(StoreError, match=REFUSED):
        Features.from_bytes(packed((10, 10), count, columns))


@pytest.mark.parametrize("data", [b"", b"PWF2", b"\0" * 20, packed((0, 10), 0, b"")])
def test_other_bytes_are_refused(data: bytes) -> None:
    """Nothing, a beginning without more, zeros, and an image without width."""
    with pytest.raises(StoreError, match=REFUSED):
        Features.from_bytes(data)
