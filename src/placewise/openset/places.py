"""Which photos show the same place: by label, or by position or sequence where there are no labels."""

from __future__ import annotations

import itertools
import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from placewise.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

Unit = Literal["place", "position", "sequence"]

MATCH_M = 25.0
"""Photos within this distance show the same place: the radius of the VPR benchmarks."""

APART_M = 100.0
"""Photos beyond this distance show different places. What lies between is neither."""

_EARTH_M = 6_371_008.8
"""Mean radius of the Earth, in metres (IUGG)."""


@dataclass(frozen=True, slots=True)
class Places:
    """What stands for a place in a gallery of N photos.

    Attributes:
        codes: ``(N,)`` int, indices into ``names``; -1 where nothing is known of a photo.
        names: what to call each place.
        unit: what a place is: a label, a spot of `APART_M` metres, or a sequence.
        points: ``(N, 3)`` metres from the Earth's centre, where the unit is a position.
    """

    codes: NDArray[np.int64]
    names: tuple[str, ...]
    unit: Unit = "place"
    points: NDArray[np.float64] | None = None

    @classmethod
    def of_labels(cls, labels: Sequence[str | None]) -> Self:
        """Photos with the same label show the same place."""
        names = tuple(sorted({label for label in labels if label is not None}))
        numbers = {name: number for number, name in enumerate(names)}
        return cls(np.array([-1 if x is None else numbers[x] for x in labels], dtype=np.int64), names)

    @classmethod
    def of_codes(cls, codes: NDArray[np.integer], names: Sequence[str], unit: Unit = "place") -> Self:
        """The same for labels that are numbered already, in any order; the result does not depend on it."""
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.append(np.argsort(order), -1)  # the last one is for the code -1
        return cls(rank[codes].astype(np.int64), tuple(names[number] for number in order), unit)

    @classmethod
    def of_positions(cls, degrees: NDArray[np.float64], *, spot_m: float = APART_M / 2) -> Self:
        """Photos that were taken near one another show the same place.

        Args:
            degrees: ``(N, 2)`` WGS84 latitude and longitude; NaN where there is none.
            spot_m: how far from the first photo of a place the others may be.
        """
        points = points_of(degrees)
        codes = np.full(len(degrees), -1, dtype=np.int64)
        there = np.flatnonzero(~np.isnan(points).any(axis=1))
        _, first, cell = np.unique(np.floor(points[there] / MATCH_M), axis=0, return_index=True, return_inverse=True)
        centres = _gathered(points[there][first], spot_m)
        codes[there] = centres[cell]
        named = there[first[np.unique(centres, return_index=True)[1]]]
        return cls(codes, tuple(f"{lat:.5f},{lon:.5f}" for lat, lon in degrees[named]), "position", points)

    @property
    def labelled(self) -> NDArray[np.int64]:
        """The rows of which a place is known."""
        return np.flatnonzero(self.codes >= 0)

    @property
    def count(self) -> int:
        """How many places there are."""
        return len(self.names)

    def several(self) -> Self:
        """These places themselves, if they are two or more.

        Raises:
            CalibrationError: if they are fewer: nothing tells one place from another.
        """
        if self.count < 2:
            message = (
                f"a gallery that examines itself must hold photos of two or more places, got {self.count}; "
                f"label their places, or add photos of others"
            )
            raise CalibrationError(message)
        return self

    def same(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which photos show the place of each of R rows, ``(R, N)``; themselves included."""
        return self._within(rows, MATCH_M)

    def not_apart(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which photos do not show another place than each of R rows, ``(R, N)``: the same, or near it."""
        return self._within(rows, APART_M)

    def _within(self, rows: NDArray[np.int64], metres: float) -> NDArray[np.bool_]:
        if self.points is None:
            equal: NDArray[np.bool_] = self.codes[rows, None] == self.codes
            return equal
        square = np.zeros((len(rows), len(self.codes)))
        for axis in range(3):
            square += (self.points[rows, axis, None] - self.points[:, axis]) ** 2
        return square <= metres**2


def points_of(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres from the Earth's centre, ``(N, 3)``, of WGS84 latitudes and longitudes, ``(N, 2)``, on a sphere."""
    lat, lon = np.radians(degrees).T
    points: NDArray[np.float64] = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    return _EARTH_M * points


def _gathered(points: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """A number for each point, the same for those near one of them: each is within a radius of the first.

    It only says which photos depend on one another; what matches is decided by distance.
    """
    centres: dict[tuple[int, ...], list[int]] = {}
    numbers = np.empty(len(points), dtype=np.int64)
    count = 0
    for row, (point, cell) in enumerate(zip(points, np.floor(points / radius).astype(int).tolist(), strict=True)):
        near = [
            other
            for step in itertools.product((-1, 0, 1), repeat=3)
            for other in centres.get(tuple(map(operator.add, cell, step)), ())
            if math.dist(points[other], point) <= radius
        ]
        if near:
            numbers[row] = numbers[min(near, key=lambda other: math.dist(points[other], point))]
        else:
            centres.setdefault(tuple(cell), []).append(row)
            numbers[row], count = count, count + 1
    return numbers
