"""Geometry: errors are the distances that they stand for, and models that no camera could make do not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from placewise import geometry
from placewise.geometry import Ends, explained

if TYPE_CHECKING:
    from collections.abc import Callable

HOMOGRAPHY = np.array([[1.1, 0.2, -40.0], [-0.05, 0.9, 15.0], [3e-4, -2e-4, 1.0]])


def points(count: int, seed: int = 0) -> NDArray[np.float64]:
    """Random points of a photo of 640 x 480."""
    return np.random.default_rng(seed).uniform((0, 0), (640, 480), (count, 2))


def itself(count: int) -> NDArray[np.int64]:
    """Each match as its only partner."""
    return np.arange(count)[:, None]


def ends(where: NDArray[np.float64]) -> Ends:
    """Keypoints of one scale and direction."""
    return Ends(where, np.full(len(where), 8.0 + 0j))


def naive_transfer(matrix: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """One point through a homography."""
    x, y, z = matrix @ np.array([*point, 1.0])
    return np.array([x / z, y / z])


def naive_line_distance(line: NDArray[np.float64], point: NDArray[np.float64]) -> float:
    """How far a point is from a line (a, b, c)."""
    return float(abs(line @ np.array([*point, 1.0])) / np.hypot(line[0], line[1]))


def test_homography_errors_are_the_larger_transfer() -> None:
    """Point by point: forth to the candidate and back to the query, whichever is farther off; the sign is nothing."""
    query, candidate = points(30), points(30, 1)
    inverse = np.linalg.inv(HOMOGRAPHY)
    expected = [
        max(
            np.linalg.norm(naive_transfer(HOMOGRAPHY, one) - other),
            np.linalg.norm(naive_transfer(inverse, other) - one),
        )
        for one, other in zip(query, candidate, strict=True)
    ]

    for matrix in (HOMOGRAPHY, -3 * HOMOGRAPHY):
        assert geometry._homography_errors(matrix, query, candidate, itself(30))[:, 0] == pytest.approx(expected)


def test_what_is_beyond_the_horizon_does_not_agree() -> None:
    """A point that the homography takes through infinity has no finite error, however near it comes out."""
    horizon = np.array([[1.0, 0, 0], [0, 1.0, 0], [-0.01, 0, 1.0]])  # at x = 100
    query = np.array([[50.0, 10.0], [150.0, 10.0]])
    candidate = np.array([naive_transfer(horizon, point) for point in query])

    errors = geometry._homography_errors(horizon, query, candidate, itself(2))[:, 0]

    assert errors[0] < 1e-9
    assert errors[1] == np.inf


@pytest.mark.parametrize("matrix", [np.diag([-1.0, 1.0, 1.0]), np.diag([1.0, 0.0, 1.0])], ids=["mirror", "collapse"])
def test_mirrors_and_collapses_do_not_agree(matrix: NDArray[np.float64]) -> None:
    """No two photos of one thing are mirrored, nor is one a line: nothing agrees with such a homography."""
    query = points(10)
    candidate = np.array([naive_transfer(matrix, point) for point in query])

    assert np.isinf(geometry._homography_errors(matrix, query, candidate, itself(10))).all()


def test_epipolar_errors_are_the_larger_distance() -> None:
    """Point by point: from the line of its partner, in both photos, whichever is farther."""
    matrix = np.random.default_rng(0).normal(size=(3, 3))
    query, candidate = points(30), points(30, 1)
    expected = [
        max(
            naive_line_distance(matrix @ np.array([*one, 1.0]), other),
            naive_line_distance(matrix.T @ np.array([*other, 1.0]), one),
        )
        for one, other in zip(query, candidate, strict=True)
    ]

    assert geometry._epipolar_errors(matrix, query, candidate, itself(30))[:, 0] == pytest.approx(expected)


@pytest.mark.parametrize("count", [2, 3, 32, 33, 34, 200, 4095, 5000])
def test_partners_are_itself_and_wrong_ones(count: int) -> None:
    """The first partner of each match is itself; no other is, and none comes twice."""
    partners = geometry._partners(count)

    assert partners.shape == (count, 1 + min(count - 1, 32, max(1, 4096 // count)))
    assert partners[:, 0].tolist() == list(range(count))
    assert all(len(set(row.tolist())) == len(row) for row in partners)


@pytest.mark.parametrize("errors_of", [geometry._homography_errors, geometry._epipolar_errors])
def test_errors_of_wrong_matches_are_those_of_such_pairs(
    errors_of: Callable[..., NDArray[np.float64]],
) -> None:
    """A wrong match has the error that its two points would have as a match."""
    query, candidate = points(10), points(10, 1)
    partners = geometry._partners(10)
    errors = errors_of(HOMOGRAPHY, query, candidate, partners)

    for column in range(10):
        paired = errors_of(HOMOGRAPHY, query, candidate[partners[:, column]], itself(10))
        assert errors[:, column] == pytest.approx(paired[:, 0])


def test_breadth_is_the_smaller_singular_value() -> None:
    """As by a decomposition of the centred points."""
    where = points(20) * np.array([1.0, 0.1]) @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    expected = np.linalg.svd(where - where.mean(axis=0), compute_uv=False)[-1] / np.sqrt(20)

    assert geometry._breadth(where) == pytest.approx(expected)


def test_a_cluster_gets_no_credit() -> None:
    """Thirty matches between two spots agree with any model that takes one spot to the other: that is no evidence.

    As many that lie all over the photos are.
    """
    rng = np.random.default_rng(2)
    spots = [np.array(centre) + rng.uniform(-6, 6, (30, 2)) for centre in ((100.0, 100.0), (400.0, 300.0))]
    spread = points(30)

    assert explained(ends(spots[0]), ends(spots[1])) is None
    found = explained(ends(spread), ends(spread * 0.8 + 40 + rng.normal(0, 1, (30, 2))))
    assert found is not None
    assert found.significance > 20


def test_keypoints_must_turn_and_grow_as_their_positions_do() -> None:
    """Positions that agree with a similarity, of keypoints that point anywhere, are not explained by it."""
    rng = np.random.default_rng(3)
    where = points(12)
    turns = Ends(where, 8 * np.exp(1j * rng.uniform(0, 2 * np.pi, 12)))

    assert explained(ends(where), ends(where)) is not None
    assert explained(ends(where), turns) is None


def test_nothing_and_infinities_are_survived() -> None:
    """Few matches, one point for all, and coordinates without bounds give no model and no exception."""
    for where in (points(0), points(3), np.zeros((20, 2)), points(20) * 1e150):
        assert explained(ends(where), ends(where[::-1].copy())) is None
