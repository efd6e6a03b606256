"""Sheets: the painted surfaces that the synthetic town is made of.

A sheet has three layers. Its colour is plain paint; its relief says how far each point stands out from the wall, so
that any sun casts the right shadows later; its lights are the panes that may be lit at night. Lengths are metres,
x runs right from the middle of the sheet, y up from the ground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""

WALL = 100
"""The relief of a wall's own plane; one level is one centimetre, higher stands out further."""


def tone(colour: RGB, factor: float) -> RGB:
    """The colour made darker (below 1) or lighter (above 1)."""
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


def pick(rng: Generator, options: Sequence[RGB]) -> RGB:
    """One of the colours."""
    return options[int(rng.integers(len(options)))]


def ring(centre: Point, radius: Point, start: float = 0.0, stop: float = 360.0) -> list[Point]:
    """Points of an elliptic arc, counted in degrees anticlockwise from the right."""
    angles = np.radians(np.linspace(start, stop, 19))
    return [(centre[0] + radius[0] * math.cos(a), centre[1] + radius[1] * math.sin(a)) for a in angles]


def corners(box: Box) -> list[Point]:
    """The four corners of a box."""
    left, bottom, right, top = box
    return [(left, bottom), (left, top), (right, top), (right, bottom)]


def arch(box: Box, rise: float) -> list[Point]:
    """A box whose top is an arc that rises by ``rise`` of half its width."""
    left, bottom, right, top = box
    half = (right - left) / 2
    spring = top - half * rise
    return [(left, bottom), *reversed(ring(((left + right) / 2, spring), (half, half * rise), 0, 180)), (right, bottom)]


def grown(box: Box, by: float) -> Box:
    """The box made larger on every side, in metres (smaller where negative)."""
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def clouds(rng: Generator, shape: tuple[int, int], cells: int) -> NDArray[np.float32]:
    """Smooth fractal noise, ``shape`` float32 in about -1..1, with ``cells`` lumps along its shorter side."""
    total = np.zeros(shape, np.float32)
    for octave in range(3):
        scale = cells * 2**octave / min(shape)
        size = max(2, round(shape[1] * scale)), max(2, round(shape[0] * scale))
        lumps = Image.fromarray(rng.standard_normal((size[1], size[0]), np.float32))
        total += np.asarray(lumps.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)) * 0.5 ** (octave + 1)
    return total


@dataclass(frozen=True, slots=True)
class Material:
    """How a wall or roof is laid.

    ``course`` and ``length`` are a piece's height and width in metres, ``spread`` is that of the pieces' tone,
    ``joint`` the tone of the joints, ``stains`` the strength of the stains.
    """

    course: float
    length: float
    spread: float
    joint: float
    stains: float


MATERIALS = {
    "brick": Material(0.13, 0.38, 0.13, 0.80, 0.05),
    "stone": Material(0.46, 1.05, 0.07, 0.78, 0.06),
    "plaster": Material(40.0, 80.0, 0.0, 1.0, 0.06),
    "boards": Material(0.22, 6.0, 0.04, 0.72, 0.03),
    "panels": Material(1.55, 2.6, 0.05, 0.82, 0.05),
    "tiles": Material(0.24, 0.3, 0.14, 0.76, 0.06),
    "paving": Material(0.8, 0.8, 0.05, 0.86, 0.05),
    "setts": Material(0.34, 0.4, 0.14, 0.8, 0.06),
    "asphalt": Material(60.0, 90.0, 0.0, 1.0, 0.08),
}


def grain(name: str, shape: tuple[int, int], px_per_m: float, rng: Generator) -> NDArray[np.float32]:
    """The tone of each pixel of a material, ``shape`` float32 around 1: courses in bond, joints, stains."""
    laid = MATERIALS[name]
    rows = np.arange(shape[0]) / px_per_m / laid.course
    bond = np.floor(rows)[:, None] % 2 / 2
    columns = np.arange(shape[1])[None, :] / px_per_m / laid.length + bond
    pieces = 1 + laid.spread * rng.standard_normal((64, 64), np.float32)
    tones = pieces[np.floor(rows).astype(int)[:, None] % 64, np.floor(columns).astype(int) % 64]
    seam = (rows % 1 < 1 / px_per_m / laid.course)[:, None] | (columns % 1 < 1 / px_per_m / laid.length)
    tones[seam] = laid.joint
    stains = laid.stains * clouds(rng, shape, 3)
    toned: NDArray[np.float32] = tones + stains + 0.02 * rng.standard_normal(shape, np.float32)
    return toned


class Sheet:
    """A painted surface.

    Attributes:
        width_m: Its width, metres.
        height_m: Its height, metres.
        px_per_m: Pixels per metre.
        colour: Paint, RGBA.
        relief: How far each point stands out, ``L``, see ``WALL``.
        lights: Panes that may be lit, as pixel polygons and colours.
        snow: Polygons that snow covers, in pixels.
        casts: Whether the relief throws shadows.
    """

    def __init__(self, width_m: float, height_m: float, px_per_m: int) -> None:
        self.width_m, self.height_m, self.px_per_m = width_m, height_m, px_per_m
        size = round(width_m * px_per_m), round(height_m * px_per_m)
        self.colour = Image.new("RGBA", size)
        self.relief = Image.new("L", size)
        self.lights: list[tuple[list[Point], RGB]] = []
        self.snow: list[list[Point]] = []
        self.casts = False
        self._pen, self._relief_pen = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.relief)

    def pixels(self, points: Sequence[Point]) -> list[Point]:
        """Points in metres as pixel coordinates."""
        scale = self.px_per_m
        return [((x + self.width_m / 2) * scale, (self.height_m - y) * scale) for x, y in points]

    def fill(self, points: Sequence[Point], colour: RGB, relief: int | None = None) -> None:
        """Paint a polygon; ``relief`` in centimetres from the wall's plane."""
        outline = self.pixels(points)
        self._pen.polygon(outline, (*colour, 255))
        if relief is not None:
            self.casts |= relief != 0
            self._relief_pen.polygon(outline, WALL + relief)

    def box(self, box: Box, colour: RGB, relief: int | None = None) -> None:
        """Paint a rectangle."""
        self.fill(corners(box), colour, relief)

    def lay(self, points: Sequence[Point], colour: RGB, material: str, rng: Generator) -> None:
        """Paint a polygon in a material and give it the wall's relief."""
        outline = self.pixels(points)
        xs, ys = [x for x, _ in outline], [y for _, y in outline]
        left, top = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
        width = min(self.colour.width, math.ceil(max(xs)) + 1) - left
        height = min(self.colour.height, math.ceil(max(ys)) + 1) - top
        tones = grain(material, (height, width), self.px_per_m, rng)
        paint = np.clip(tones[..., None] * np.array(colour, np.float32), 0, 255).astype(np.uint8)
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in outline], 255)
        self.colour.paste(Image.fromarray(paint).convert("RGBA"), (left, top), mask)
        self.relief.paste(WALL, (left, top), mask)

    def light(self, points: Sequence[Point], colour: RGB) -> None:
        """Let a polygon shine at night."""
        self.lights.append((self.pixels(points), colour))

    def write(self, text: str, box: Box, colour: RGB) -> None:
        """Write a line of text as large as fits into a box."""
        left, bottom, right, top = box
        size = (top - bottom) * self.px_per_m
        font = ImageFont.load_default(size)
        wide = font.getlength(text) / ((right - left) * self.px_per_m)
        if wide > 1:
            font = ImageFont.load_default(size / wide)
        (middle,) = self.pixels([((left + right) / 2, (bottom + top) / 2)])
        self._pen.text(middle, text, (*colour, 255), font, anchor="mm")
