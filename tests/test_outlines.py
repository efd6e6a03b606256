"""Near-duplicates: copies are found, different photos are not, and many outlines are searched as well as few."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from placewise import images, outlines
from placewise.core import Source
from placewise.doctor import examine
from placewise.outlines import near_pairs, outline
from placewise.sources import read_source


def outlines_of(source: Source) -> NDArray[np.uint8]:
    """The outlines of all photos."""
    return np.stack([outline(images.decode(images.read_bytes(source.file(photo)))) for photo in source.photos])


def pairs_of(values: NDArray[np.uint8]) -> set[tuple[int, int]]:
    """The near-duplicates among outlines of one split with different contents."""
    count = len(values)
    found = near_pairs(values, np.arange(count), np.ones(count, dtype=bool), threshold=0.8)
    return {(one, other) for one, other in found.tolist()}


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth made-up pictures that differ."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 8, 8))
    return np.kron(coarse, np.ones((4, 4))).astype(np.uint8)


@pytest.mark.parametrize("exhaustive", [10_000, 100])
def test_copies_are_found_however_many_there_are(monkeypatch: pytest.MonkeyPatch, exhaustive: int) -> None:
    """Compared with all, or with those in the nearest lists: every noisy and every mirrored copy, and nothing else."""
    monkeypatch.setattr(outlines, "_EXHAUSTIVE", exhaustive)
    originals = pictures(3000)
    rng = np.random.default_rng(1)
    noisy = np.clip(originals[:200] * 0.9 + rng.normal(0, 4, (200, 32, 32)), 0, 255).astype(np.uint8)
    values = np.concatenate([originals, noisy, originals[200:400, :, ::-1]])

    assert pairs_of(values) == {(number, 3000 + number) for number in range(400)}


def test_equal_contents_are_not_paired() -> None:
    """The same file in both splits is another finding; each still finds its copies."""
    values = pictures(6)
    values = np.concatenate([values, values[:1], np.clip(values[:1] * 0.9, 0, 255).astype(np.uint8)])
    contents = np.array([0, 1, 2, 3, 4, 5, 0, 7])
    in_gallery = np.array([True] * 6 + [False] * 2)

    found = near_pairs(values, contents, in_gallery, threshold=0.8).tolist()

    assert found == [[0, 7], [6, 7]]


def test_one_outline_has_no_pair() -> None:
    """Neither has none in the other split."""
    assert pairs_of(pictures(1)) == set()


def test_landmarks_hold_one_mirrored_copy_and_nothing_else(photos_root: Path) -> None:
    """535 web photos: the one pair that is flagged was looked at, and is a photo and its mirror image."""
    source = read_source(photos_root / "landmarks")

    names = {
        (str(source.photos[one].path), str(source.photos[other].path)) for one, other in pairs_of(outlines_of(source))
    }

    assert names == {("great_pyramid_of_giza/002.jpg", "great_pyramid_of_giza/010.jpg")}


def test_leaks_of_a_published_split_are_found(photos_root: Path) -> None:
    """Every file that both halves share, and the one near-duplicate across them; the next in likeness are none."""
    source = read_source(photos_root / "leaky")
    halves: dict[str, set[str]] = {}
    for photo in source.photos:
        digest = hashlib.sha256(source.file(photo).read_bytes()).hexdigest()
        halves.setdefault(digest, set()).add(photo.split)
    shared = sum(len(splits) == 2 for splits in halves.values())

    examination = examine(source)

    assert shared == 19
    assert examination.counts["cross_split_duplicate"] == shared
    near = [found.photos for found in examination.findings if found.kind == "cross_split_near_duplicate"]
    assert near == [("test/golden temple/4.jpeg", "train/golden temple/5.jpg")]


@pytest.mark.parametrize("folder", ["tower", "city-centre"])
def test_frames_of_a_sequence_are_no_leaks_by_the_hundred(photos_root: Path, folder: str) -> None:
    """What is alike in a sequence is said once for each sequence, for information."""
    source = read_source(photos_root / folder)

    examination = examine(source)

    near = [found for found in examination.findings if "near_duplicate" in found.kind]
    assert len(near) <= 2 * len({photo.sequence for photo in source.photos})
    assert {found.severity for found in near} <= {"info"}
