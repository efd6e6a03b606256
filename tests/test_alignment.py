"""Alignment: a moved picture is moved back, whatever was added to it, and another picture stays another."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from placewise.errors import OptionError
from placewise.outlines.alignment import similarities
from placewise.outlines.views import motions, oriented

SIDE = 64


def window(scene: NDArray[np.float64], left: float, top: float, width: float, height: float) -> NDArray[np.uint8]:
    """Means of 64 x 64 equal parts of a window of a square scene, given in shares of its side."""
    at = (np.arange(SIDE * 8) + 0.5) / (SIDE * 8)
    rows, columns = ((start + size * at) * len(scene) for start, size in ((top, height), (left, width)))
    sampled = scene[rows.astype(int)[:, None], columns.astype(int)]
    means: NDArray[np.uint8] = sampled.reshape(SIDE, 8, SIDE, 8).mean(axis=(1, 3)).astype(np.uint8)
    return means


def scene(seed: int) -> NDArray[np.float64]:
    """A square picture with large and small things in it."""
    rng = np.random.default_rng(seed)
    parts = [np.kron(rng.uniform(0, 255, (n, n)), np.ones((640 // n, 640 // n))) for n in (5, 10, 20, 40)]
    whole: NDArray[np.float64] = np.mean(parts, axis=0) * 1.2 - 20
    return whole


def still(count: int = 1) -> NDArray[np.float32]:
    """Motions that move nothing."""
    return np.zeros((count, 4), np.float32)


@pytest.mark.parametrize("crop", [(0.05, 0.05, 0.95, 0.95), (0, 0, 0.95, 0.95), (0.05, 0, 0.95, 1), (0, 0.03, 1, 0.97)])
def test_a_crop_is_moved_back(crop: tuple[float, float, float, float]) -> None:
    """From a start at rest, the whole picture is moved onto a part of it."""
    whole, part = window(scene(0), 0, 0, 1, 1), window(scene(0), *crop)

    assert similarities(part[None], whole[None], still(), threshold=0.5)[0] > 0.9


def test_what_was_added_at_one_place_does_not_count() -> None:
    """A label over a twelfth of a picture leaves it as like as it was."""
    whole = window(scene(0), 0, 0, 1, 1)
    labelled = whole.copy()
    labelled[40:60, 20:37] = 255

    assert similarities(labelled[None], whole[None], still(), threshold=0.5)[0] > 0.95


def test_another_picture_is_another() -> None:
    """Different scenes are certainly below any threshold in use, and are not compared in detail."""
    one, other = window(scene(0), 0, 0, 1, 1), window(scene(1), 0, 0, 1, 1)

    assert similarities(one[None], other[None], still(), threshold=0.8).tolist() == [-1]


def test_a_frame_makes_no_copy() -> None:
    """Two pictures of little contrast in one strong frame are not alike, though most of their slopes agree."""
    framed = np.full((2, SIDE, SIDE), 255, np.uint8)
    for number in range(2):
        framed[number, 3:-3, 3:-3] = window(scene(number), 0, 0, 1, 1)[3:-3, 3:-3] // 8

    assert similarities(framed[:1], framed[1:], still(), threshold=0.8).tolist() == [-1]


def test_pictures_are_compared_each_for_itself() -> None:
    """What else is in a batch changes nothing."""
    many = np.stack([window(scene(seed), 0, 0, 1, 1) for seed in (0, 1, 2)])
    moved = np.stack([window(scene(seed), 0, 0, 0.95, 0.95) for seed in (0, 1, 2)])

    together = similarities(moved, many, still(3), threshold=0.5)

    alone = [similarities(moved[[i]], many[[i]], still(), threshold=0.5)[0] for i in range(3)]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("view", range(80))
def test_a_view_is_an_orientation_and_a_start(view: int) -> None:
    """Turned as a view says and moved from where it starts, a picture is most like what that view shows."""
    views = np.array([view])
    whole = window(scene(3), 0, 0, 1, 1)
    low, high = motions(views)[0, 1::2] + 0.5 - (1 + motions(views)[0, 0::2]) / 2, 1 + motions(views)[0, 0::2]
    turned = scene(3)
    for flag, turn in ((1, np.fliplr), (2, np.flipud), (4, np.transpose)):
        turned = turn(turned) if view // 10 & flag else turned
    shown = window(turned, low[0], low[1], high[0], high[1])

    similarity = similarities(shown[None], oriented(whole[None], views), motions(views), threshold=0.5)

    assert similarity[0] > 0.95


def test_shapes_must_match() -> None:
    """Pictures and motions come in equal numbers."""
    pictures = np.zeros((2, SIDE, SIDE), np.uint8)

    with pytest.raises(
        OptionError, match=r"^fixed, moving and motions must match, got \(2, 64, 64\), \(2, 64, 64\) and"
    ):
        similarities(pictures, pictures, still(), threshold=0.5)
