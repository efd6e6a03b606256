"""Verification: matches are what their definition says, true geometry is found, and chance is not taken for it."""

from __future__ import annotations

import dataclasses
import math
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.conftest import texture

from placewise import images
from placewise.errors import OptionError
from placewise.features import Features, extract
from placewise.verify import CHANCE, Verification, match, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from placewise.core import Image

SIZE = (800, 600)


def made_up(
    points: NDArray[np.float64],
    descriptors: NDArray[np.uint8],
    *,
    size: tuple[int, int] = SIZE,
    frames: NDArray[np.complex128] | None = None,
) -> Features:
    """Features at given points; ``frames`` are scales and directions as complex numbers."""
    frames = np.full(len(points), 8.0 + 0j) if frames is None else frames
    return Features(
        points=points.astype(np.float32),
        scales=np.abs(frames).astype(np.float32),
        angles=(np.rad2deg(np.angle(frames)) % 360).astype(np.float32),
        descriptors=descriptors,
        size=size,
    )


def scattered(rng: np.random.Generator, count: int, *, size: tuple[int, int] = SIZE) -> NDArray[np.float64]:
    """Random points of an image."""
    return rng.uniform(0, 1, (count, 2)) * size


def described(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Random descriptors: none resembles another."""
    return rng.integers(0, 16, (count, 128), dtype=np.uint8)


def partly(rng: np.random.Generator, true: NDArray[np.float64], wrong: int, *, off: float = 0.5) -> NDArray[np.float64]:
    """True partners, half a pixel off, and wrong ones after them."""
    return np.concatenate((true + rng.normal(0, off, true.shape), scattered(rng, wrong)))


def naive_matches(query: NDArray[np.uint8], candidate: NDArray[np.uint8], ratio: float) -> set[tuple[int, int]]:
    """Mutual nearest neighbours that pass the ratio test on both sides, by their definition."""
    one, other = (rows / np.linalg.norm(rows.astype(float), axis=1, keepdims=True) for rows in (query, candidate))
    distances = np.linalg.norm(one[:, None] - other[None], axis=2)
    found = set()
    for i, j in product(range(len(one)), range(len(other))):
        here = distances[i, j]
        others = np.concatenate((np.delete(distances[i], j), np.delete(distances[:, j], i)))
        if here < others.min() * ratio:
            found.add((i, j))
    return found


@given(
    sizes=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    noise=st.integers(0, 6),
    ratio=st.sampled_from([0.5, 0.8, 0.9]),
    seed=st.integers(0, 999),
)
def test_matches_are_mutual_and_distinct(sizes: tuple[int, int], noise: int, ratio: float, seed: int) -> None:
    """They are those of the definition, for descriptors that resemble one another more or less."""
    rng = np.random.default_rng(seed)
    common = described(rng, max(sizes)).astype(int)
    one, other = (
        np.clip(common[:n] + rng.integers(-noise, noise + 1, (n, 128)), 0, 15).astype(np.uint8) for n in sizes
    )
    one[0, 0] = other[0, 0] = 1  # none is zero
    found = match(made_up(scattered(rng, sizes[0]), one), made_up(scattered(rng, sizes[1]), other), ratio=ratio)

    assert {(i, j) for i, j in found.tolist()} == naive_matches(one, other, ratio)


def test_matches_come_most_distinct_first() -> None:
    """The less a pair of descriptors differs, the earlier it comes."""
    rng = np.random.default_rng(0)
    one = described(rng, 10)
    other = one.astype(int)
    for number in range(10):
        other[number, : 12 * number] = rng.integers(0, 16, 12 * number)
    found = match(made_up(scattered(rng, 10), one), made_up(scattered(rng, 10), other.astype(np.uint8)), ratio=1.0)

    assert found[:6, 0].tolist() == list(range(6))


def test_a_repeated_descriptor_is_no_match() -> None:
    """Of two keypoints that look the same neither is distinct, at any ratio."""
    rng = np.random.default_rng(0)
    one = described(rng, 5)
    other = np.concatenate((one, one[:1]))

    for query, candidate in ((one, other), (other, one)):
        sides = (made_up(scattered(rng, len(side)), side) for side in (query, candidate))
        assert sorted(match(*sides, ratio=1.0).tolist()) == [[i, i] for i in range(1, 5)]


def test_a_similarity_is_found_among_outliers() -> None:
    """A turned, halved, bent photo: 12 true among 60 matches suffice; the matrix is in pixels of the originals."""
    rng = np.random.default_rng(1)
    descriptors = described(rng, 60)
    factor = 0.5 * np.exp(1j * 0.7)
    points = rng.uniform(100, 500, (60, 2))
    moved = (points[:12] @ np.array([1, 1j])) * factor + 300
    true = np.column_stack((moved.real, moved.imag))
    candidate = made_up(partly(rng, true, 48, off=4.0), descriptors, frames=np.full(60, 8 * factor))
    found = verify(made_up(points, descriptors), candidate)

    assert found.accepted
    assert found.kind == "similarity"
    assert found.significance > 5
    assert _rows(found.inliers, found.query_points, points)[:12].sum() >= 11
    assert found.inlier_count <= 14
    assert found.matrix is not None
    assert np.allclose(_transferred(found.matrix, points[:12]), true, atol=16)


def _rows(inliers: NDArray[np.bool_], got: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the given points are inliers."""
    wanted = got[inliers]
    return np.array([bool(len(wanted)) and np.abs(wanted - point).sum(axis=1).min() < 1e-2 for point in points])


def _transferred(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    moved = np.column_stack((points, np.ones(len(points)))) @ matrix.T
    return moved[:, :2] / moved[:, 2:]


HOMOGRAPHY = np.array([[1.1, 0.25, -60.0], [-0.05, 1.2, 10.0], [4e-4, 2e-4, 1.0]])


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_a_homography_is_found_among_outliers(scale: float) -> None:
    """A slanted wall, half of the matches wrong, at any size of photos: the matrix is right to a pixel of 640."""
    rng = np.random.default_rng(2)
    descriptors = described(rng, 120)
    points = rng.uniform((80, 60), (720, 540), (120, 2))
    true = _transferred(HOMOGRAPHY, points[:60])
    to_scale = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    size, frames = (int(800 * scale), int(600 * scale)), np.full(120, 8 * scale + 0j)
    candidate = made_up(_transferred(to_scale, partly(rng, true, 60)), descriptors, size=size, frames=frames)
    found = verify(made_up(points, descriptors), candidate)

    assert found.accepted
    assert found.kind == "homography"
    assert found.matrix is not None
    assert np.allclose(_transferred(found.matrix, points[:60]), _transferred(to_scale, true), atol=2 * scale)
    assert found.inlier_count >= 50
    assert not _rows(found.inliers, found.query_points, points)[60:].sum() > 2


def test_an_epipolar_scene_is_found_among_outliers() -> None:
    """Depth from 2 to 40, a sideways step: no plane explains it, a fundamental matrix does."""
    rng = np.random.default_rng(3)
    k = np.array([[600.0, 0, 400], [0, 600, 300], [0, 0, 1]])
    angle = 0.1
    turn = np.array([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    depth = 1 / rng.uniform(1 / 40, 1 / 2, 150)
    points = rng.uniform((100, 50), (700, 550), (200, 2))
    rays = np.column_stack((points[:150], np.ones(150))) @ np.linalg.inv(k).T
    seen = (rays * depth[:, None]) @ turn.T + np.array([-0.5, 0.05, 0.1])
    true = (seen @ k.T)[:, :2] / seen[:, 2:]
    descriptors = described(rng, 200)
    found = verify(made_up(points, descriptors), made_up(partly(rng, true, 50), descriptors))

    assert found.accepted
    assert found.kind == "fundamental"
    assert found.matrix is not None
    inliers = _rows(found.inliers, found.query_points, points)
    assert inliers[:150].mean() > 0.9
    assert inliers[150:].mean() < 0.2
    lines = np.column_stack((points[:150], np.ones(150))) @ found.matrix.T
    distances = np.abs((lines * np.column_stack((true, np.ones(150)))).sum(axis=1)) / np.hypot(*lines[:, :2].T)
    assert np.median(distances) < 1


def test_chance_is_not_accepted_more_often_than_stated() -> None:
    """Random partners with random or equal frames, scattered or clustered: at most the stated share is accepted."""
    rng = np.random.default_rng(4)
    accepted = []
    for number in range(200):
        count = int(rng.integers(5, 80))
        descriptors = described(rng, count)
        sides = []
        for _ in range(2):
            points = scattered(rng, count)
            if number % 2:
                points = points[rng.integers(0, 4, count)] + rng.normal(0, 15, (count, 2))
            turns = rng.uniform(0, 2 * math.pi, count) * (number % 4 < 2)
            sides.append(made_up(points, descriptors, frames=8 * np.exp(1j * turns)))
        accepted.append(verify(*sides, chance=0.05).accepted)

    assert np.mean(accepted) <= 0.05


@pytest.mark.parametrize("shape", ["line", "point", "few"])
def test_degenerate_matches_are_refused(shape: str) -> None:
    """Matches on one line, in one spot, or only three of them are no evidence, however well they agree."""
    rng = np.random.default_rng(5)
    count = 3 if shape == "few" else 40
    points = scattered(rng, count)
    if shape == "line":
        points = np.column_stack((np.linspace(50, 750, count), np.full(count, 300.0)))
    if shape == "point":
        points = np.array((400.0, 300.0)) + rng.uniform(-1, 1, (count, 2))
    descriptors = described(rng, count)
    found = verify(made_up(points, descriptors), made_up(points + 20, descriptors))

    assert not found.accepted
    assert found.kind is None
    assert found.matrix is None
    assert found.significance == 0
    assert found.inlier_count == 0
    assert found.spread == 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_photos_without_keypoints_are_not_verified(count: int) -> None:
    """None, one or two keypoints on either side: no match, no acceptance, no complaint."""
    rng = np.random.default_rng(6)
    little = made_up(scattered(rng, count), described(rng, count))
    many = made_up(scattered(rng, 50), described(rng, 50))

    for query, candidate in ((little, many), (many, little), (little, little)):
        found = verify(query, candidate)
        assert not found.accepted
        assert found.query_points.shape == found.candidate_points.shape == (len(found.inliers), 2)


def captioned(image: Image, text: str = "IMAGES OF PLACES  www.example.org  No. 4711-0815") -> Image:
    """The same photo with a bar below it, as picture agencies and archives add it."""
    height, width = image.shape[:2]
    bar = np.zeros((round(0.08 * height), width, 3), np.uint8)
    scale = width / cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1.0, 1)[0][0]
    cv2.putText(bar, text, (4, len(bar) - 6), cv2.FONT_HERSHEY_DUPLEX, 0.97 * scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate((image, bar))


def stamped(image: Image, text: str = "27.11.2026 14:05:31 CAMERA 07") -> Image:
    """The same photo with a date in a corner, as cameras write it."""
    written = image.copy()
    height, width = image.shape[:2]
    cv2.rectangle(written, (width // 2, height - 24), (width, height), (0, 0, 0), -1)
    cv2.putText(written, text, (width // 2 + 4, height - 7), cv2.FONT_HERSHEY_DUPLEX, width / 1400, (255, 200, 0), 1)
    return written


@pytest.mark.parametrize("marked", [captioned, stamped])
@pytest.mark.parametrize("width", [512, 448])
def test_the_same_mark_on_different_places_is_no_evidence(marked: Callable[[Image], Image], width: int) -> None:
    """A caption or a date at the edge of both photos: rejected; of one place: accepted as without it."""
    here, there = np.asarray(texture(0, 0)), np.asarray(texture(1, 0).resize((width, width * 3 // 4)))
    other = np.asarray(texture(0, 1).resize((width, width * 3 // 4)))

    assert len(match(extract(marked(here)), extract(marked(there)))) > len(match(extract(here), extract(there)))
    assert not verify(extract(marked(here)), extract(marked(there))).accepted
    assert verify(extract(marked(here)), extract(marked(other))).significance > 20


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("india_gate/003.jpg", "angkor_wat/013.jpg"),
        ("alai_minar/019.jpg", "iron_pillar/008.jpg"),
        ("alai_darwaza/025.jpg", "iron_pillar/000.jpg"),
        ("colosseum_rome/019.jpg", "dome_of_the_rock/015.jpg"),
    ],
)
def test_photos_of_one_agency_are_no_evidence(photos_root: Path, one: str, other: str) -> None:
    """Two landmarks under the same bar, of the same or of different widths, show nothing in common."""
    sides = (extract(images.decode((photos_root / "landmarks" / name).read_bytes())) for name in (one, other))

    assert not verify(*sides).accepted


def test_spread_is_the_share_of_cells_on_the_poorer_side() -> None:
    """Points in every cell of one photo and in a quarter of the other's: a quarter."""
    rng = np.random.default_rng(7)
    grid = np.stack(np.meshgrid(np.arange(16), np.arange(16)), axis=2).reshape(-1, 2)
    points = (grid + 0.5) * np.array((50.0, 37.5)) - 0.5
    descriptors = described(rng, 256)
    frames = np.full(256, 8 + 0j, dtype=np.complex128)
    found = verify(
        made_up(points, descriptors, frames=frames),
        made_up(points / 2, descriptors, frames=np.asarray(frames / 2, dtype=np.complex128)),
    )

    assert found.inliers.all()
    assert found.spread == 16 / 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.0}, "ratio must be above 0 and at most 1, got 0.0; leave it out for 0.95"),
        ({"ratio": 1.1}, "ratio must be above 0 and at most 1, got 1.1; leave it out for 0.95"),
        ({"chance": 0.0}, "chance must be above 0 and at most 1, got 0.0; leave it out for 0.01"),
        ({"chance": math.nan}, "chance must be above 0 and at most 1, got nan; leave it out for 0.01"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    """One line says what must hold."""
    rng = np.random.default_rng(8)
    some = made_up(scattered(rng, 5), described(rng, 5))

    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        verify(some, some, **options)


def _decoded(root: Path, name: str) -> Image:
    return images.decode((root / "buildings" / name).read_bytes())


@pytest.fixture(scope="module")
def buildings(photos_root: Path) -> dict[str, list[Features]]:
    """The features of two buildings, each in the order in which somebody walked by."""
    return {
        name: [extract(_decoded(photos_root, f"{name}/{number:04}.jpg")) for number in range(count)]
        for name, count in (("castle-P19", 19), ("Herz-Jesus-P8", 8))
    }


def _camera(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """K, the rotation from the world, and the centre, for the full-size image; its distortion must be none."""
    rows = [[float(value) for value in line.split()] for line in path.read_text(encoding="ascii").splitlines() if line]
    assert rows[3] == [0, 0, 0]
    return np.array(rows[:3]), np.array(rows[4:7]).T, np.array(rows[7])


def _epipolar_distances(root: Path, building: str, pair: tuple[int, int], found: Verification) -> NDArray[np.float64]:
    """How far matches are from the epipolar lines of the cameras, the larger one, in pixels of 3072."""
    folder = root / "buildings" / building / "cameras"
    (k1, r1, c1), (k2, r2, c2) = (_camera(folder / f"{number:04}.jpg.camera") for number in pair)
    x, y, z = k2 @ r2 @ (c1 - c2)
    matrix = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ k2 @ r2 @ r1.T @ np.linalg.inv(k1)
    full = [
        (points.astype(float) + 0.5) * (3072 / 800) - 0.5 for points in (found.query_points, found.candidate_points)
    ]
    query, candidate = (np.column_stack((points, np.ones(len(points)))) for points in full)
    lines, others = query @ matrix.T, candidate @ matrix
    products = np.abs((lines * candidate).sum(axis=1))
    distances: NDArray[np.float64] = products / np.minimum(np.hypot(*lines[:, :2].T), np.hypot(*others[:, :2].T))
    return distances


def test_neighbouring_views_are_verified_and_their_inliers_are_right(
    photos_root: Path, buildings: dict[str, list[Features]]
) -> None:
    """Every pair of neighbouring views: surely, and nearly all inliers are within 3 pixels of 640 of the cameras'."""
    right = []
    for building, views in buildings.items():
        for number, (one, other) in enumerate(pairwise(views)):
            found = verify(one, other)
            assert found.accepted
            assert found.significance > 50
            assert found.spread > 0.05
            distances = _epipolar_distances(photos_root, building, (number, number + 1), found)
            right.append(distances[found.inliers] < 3 * 3072 / 640)

    assert np.concatenate(right).mean() > 0.97


def test_no_pair_across_the_buildings_is_verified(buildings: dict[str, list[Features]]) -> None:
    """None of all 152 pairs; and where ten times as much chance is allowed, no larger share than that."""
    pairs = product(*buildings.values())
    found = np.array([verify(query, candidate).significance for query, candidate in pairs])

    assert found.max() < -math.log10(CHANCE)
    assert np.mean(found >= -math.log10(10 * CHANCE)) <= 10 * CHANCE


def test_verification_is_deterministic_also_in_threads(buildings: dict[str, list[Features]]) -> None:
    """Again and beside others, every value is the same, and the features are as they were."""
    views = buildings["castle-P19"][:4]
    copies = [dataclasses.replace(view, descriptors=view.descriptors.copy()) for view in views]
    pairs = list(product(views, copies)) * 2
    alone = [verify(*pair) for pair in pairs[:16]]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda pair: verify(*pair), pairs))

    for one, other in zip(alone * 2, together, strict=True):
        assert one.significance == other.significance
        assert np.array_equal(one.inliers, other.inliers)
        assert one.matrix is not None
        assert other.matrix is not None
        assert np.array_equal(one.matrix, other.matrix)
    assert all(np.array_equal(view.descriptors, copy.descriptors) for view, copy in zip(views, copies, strict=True))


def test_stored_features_verify_as_fresh_ones(buildings: dict[str, list[Features]]) -> None:
    """What comes from a gallery file's bytes gives the same significance, to the last digit."""
    one, other = buildings["Herz-Jesus-P8"][:2]
    stored = Features.from_bytes(other.to_bytes())

    assert verify(one, stored).significance == verify(one, other).significance


def test_a_turned_photo_is_verified(photos_root: Path) -> None:
    """Upside down, on its side and halved in size: it shows the same, and the matrix says so."""
    image = _decoded(photos_root, "castle-P19/0005.jpg")
    query = extract(image)
    for turned in (np.rot90(image), np.rot90(image, 2), image[::2, ::2]):
        found = verify(query, extract(np.ascontiguousarray(turned)))
        assert found.accepted
        assert found.inliers.mean() > 0.6
        assert found.matrix is not None


def test_a_blank_photo_is_not_verified(photos_root: Path) -> None:
    """Sky and walls without texture match nothing."""
    query = extract(_decoded(photos_root, "castle-P19/0005.jpg"))
    gradient = np.repeat(np.linspace(90, 220, 480).astype(np.uint8)[:, None, None], 640, axis=1).repeat(3, axis=2)

    assert not verify(query, extract(gradient)).accepted
    assert verify(query, extract(cv2.GaussianBlur(gradient, (0, 0), 3))).significance == 0
