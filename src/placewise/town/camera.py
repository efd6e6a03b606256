"""Cards in space, and the camera that sees them.

A place's own frame is in metres: x right along the street, y up, z from the house's front towards the viewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from placewise.town.sheet import Sheet

Vector = NDArray[np.float64]
"""``(3,)`` metres in the place's frame."""

NEAR_M = 0.3


@dataclass(frozen=True, slots=True)
class Card:
    """A sheet as a parallelogram in space: its top left corner and its two sides."""

    sheet: Sheet
    corner: Vector
    across: Vector
    down: Vector


def upright(sheet: Sheet, x: float, z: float) -> Card:
    """A sheet that stands on the ground and faces the viewer, its middle at ``x``."""
    corner = np.array([x - sheet.width_m / 2, sheet.height_m, z])
    return Card(sheet, corner, np.array([sheet.width_m, 0.0, 0.0]), np.array([0.0, -sheet.height_m, 0.0]))


@dataclass(frozen=True, slots=True)
class Footprint:
    """Where a card lies in the picture: its pixel box, and ``(3, 3)`` from pixels to shares of the card's sides."""

    box: tuple[int, int, int, int]
    inverse: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera.

    Angles in degrees: yaw clockwise from straight at the house, pitch upwards, roll clockwise; ``focal`` and
    ``size`` (width, height) in pixels.
    """

    at: Vector
    yaw: float
    pitch: float
    roll: float
    focal: float
    size: tuple[int, int]

    @property
    def axes(self) -> tuple[Vector, Vector, Vector]:
        """Unit vectors to the right, up and forward."""
        yaw, pitch, roll = np.radians([self.yaw, self.pitch, self.roll])
        level, ahead = np.array([np.cos(yaw), 0, np.sin(yaw)]), np.array([np.sin(yaw), 0, -np.cos(yaw)])
        above = np.array([0.0, 1.0, 0.0])
        forward, up = ahead * np.cos(pitch) + above * np.sin(pitch), above * np.cos(pitch) - ahead * np.sin(pitch)
        return level * np.cos(roll) - up * np.sin(roll), up * np.cos(roll) + level * np.sin(roll), forward

    @property
    def projection(self) -> NDArray[np.float64]:
        """``(3, 3)``: a vector from the camera to ``(column * depth, row * depth, depth)``, pixels and metres."""
        right, up, forward = self.axes
        middle = np.array(self.size) / 2
        return np.stack([self.focal * right + middle[0] * forward, middle[1] * forward - self.focal * up, forward])

    @property
    def horizon(self) -> int:
        """The row of the horizon at the picture's middle."""
        return round(self.size[1] / 2 + self.focal * math.tan(math.radians(self.pitch)))

    def footprint(self, card: Card) -> Footprint | None:
        """Where a card is in the picture; None where it is outside or turns its back.

        The plane's points ``corner + s * across + t * down`` project by one 3x3 matrix, a homography of ``(s, t, 1)``.
        A card that reaches behind the camera can only be ground, and ground is seen only below the horizon.
        """
        matrix = self.projection @ np.column_stack([card.across, card.down, card.corner - self.at])
        if np.linalg.det(matrix) <= 0:
            return None
        spots = matrix @ np.array([[0, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1]], float)
        low, high = np.array([0, self.horizon - 2]), np.array(self.size)
        if spots[2].min() > NEAR_M:
            seen = spots[:2] / spots[2]
            low, high = np.floor(seen.min(axis=1)), np.minimum(high, np.ceil(seen.max(axis=1)))
        left, top, right, bottom = (int(value) for value in (*np.maximum(low, 0), *high))
        if left >= right or top >= bottom:
            return None
        return Footprint((left, top, right, bottom), np.linalg.inv(matrix).astype(np.float64))


def draw(canvas: Image.Image, place: Footprint, paint: Image.Image) -> None:
    """Draw paint (premultiplied ``RGBa``) onto the canvas; paint without alpha only adds light."""
    left, top, right, bottom = place.box
    shift = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], float)
    inverse = np.diag([paint.width, paint.height, 1.0]) @ place.inverse @ shift
    data = (inverse / inverse[2, 2]).ravel()[:8].tolist()
    size = right - left, bottom - top
    seen = paint.transform(size, Image.Transform.PERSPECTIVE, data, Image.Resampling.BILINEAR)
    red, green, blue, alpha = seen.split()
    canvas.paste((0, 0, 0), place.box, alpha)
    canvas.paste(ImageChops.add(canvas.crop(place.box), Image.merge("RGB", (red, green, blue))), place.box)
