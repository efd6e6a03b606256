"""Roofs and gables of the synthetic town's houses."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from placewise.town.facade import WARM, paint_window, pane
from placewise.town.sheet import RGB, Point, Sheet, corners, grown, ring, tone
from placewise.town.styles import House


def chimney(sheet: Sheet, x: float, base: float, colour: RGB) -> None:
    """A stack with two pots."""
    sheet.box((x - 0.4, base - 1, x + 0.4, base + 1.1), colour, 0)
    sheet.box((x - 0.5, base + 1.0, x + 0.5, base + 1.2), tone(colour, 0.8), 10)
    for pot in (-0.2, 0.2):
        sheet.box((x + pot - 0.12, base + 1.2, x + pot + 0.12, base + 1.55), (150, 90, 66), 0)


def dormers(sheet: Sheet, house: House, rng: Generator) -> None:
    """A small gabled window over every second bay."""
    for bay in range(int(rng.integers(2)), house.bays, 2):
        x = (bay - (house.bays - 1) / 2) * house.bay_m
        left, bottom, right, top = x - 0.65, house.eaves + 0.3, x + 0.65, house.eaves + 1.75
        sheet.fill([(left - 0.2, top), (x, top + 0.7), (right + 0.2, top)], tone(house.tiles, 0.8), 40)
        sheet.box((left, bottom, right, top), house.trim, 30)
        pane(sheet, corners(grown((left, bottom, right, top), -0.2)), rng)


def slope(sheet: Sheet, house: House, rise: float, inset: float, rng: Generator) -> None:
    """A tiled slope towards the street, narrower at the ridge by ``inset`` metres on each side."""
    half, base, ridge = house.half + 0.3, house.eaves - 0.1, house.eaves + rise
    for x in rng.uniform(0.35, 0.9) * np.array([-1.0, 1.0])[: int(rng.integers(3))] * (house.half - inset):
        chimney(sheet, float(x), ridge, tone(house.wall, 0.85))
    outline = [(-half, base), (inset - half, ridge), (half - inset, ridge), (half, base)]
    sheet.lay(outline, house.tiles, "tiles", rng)
    sheet.snow.append(sheet.pixels(outline))
    sheet.box((inset - half, ridge - 0.12, half - inset, ridge + 0.06), tone(house.tiles, 0.75))


def side_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """A ridge along the street."""
    slope(sheet, house, 2.5, 0.15, rng)
    if rng.random() < 0.5:
        dormers(sheet, house, rng)


def hip_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """A ridge along the street with sloping ends."""
    slope(sheet, house, 2.7, 2.6, rng)


def mansard_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """A steep slope with dormers."""
    slope(sheet, house, 2.6, 0.5, rng)
    dormers(sheet, house, rng)


def crown(sheet: Sheet, house: House, outline: list[Point], rng: Generator) -> None:
    """A gable wall above the eaves, edged in the trim's colour, with a window."""
    middle = house.eaves + (max(y for _, y in outline) - house.eaves) * 0.36
    sheet.fill([(x * 1.03, y + 0.22) for x, y in outline], house.trim, 14)
    sheet.lay(outline, house.wall, house.family.material, rng)
    paint_window(sheet, house, (-0.55, middle - 0.7, 0.55, middle + 0.7), rng)


def gable_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """A pointed gable towards the street."""
    half, peak = house.half, house.eaves + min(5.6, house.half * rng.uniform(0.75, 1.05))
    verge = [(-half - 0.6, house.eaves - 0.5), (0.0, peak + 0.55), (half + 0.6, house.eaves - 0.5)]
    sheet.fill(verge, house.tiles, 30)
    sheet.snow.append(sheet.pixels(verge))
    crown(sheet, house, [(-half, house.eaves - 0.1), (0, peak), (half, house.eaves - 0.1)], rng)
    if house.has("beams"):
        for share in (0.3, 0.62):
            reach, y = half * (1 - share) * 0.95, house.eaves + (peak - house.eaves) * share
            sheet.box((-reach, y - 0.1, reach, y + 0.1), house.trim, 5)


def stepped_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """A gable in steps."""
    steps = int(rng.integers(3, 6))
    outline: list[Point] = []
    for step in range(steps + 1):
        reach = house.half * (1 - step / (steps + 0.6))
        outline += [(-reach, house.eaves + 4.2 * (step - 0.9) / steps), (-reach, house.eaves + 4.2 * step / steps)]
    crown(sheet, house, outline + [(-x, y) for x, y in reversed(outline)], rng)


def bell_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """A gable of two curves under a round top."""
    foot, neck, base = house.half, 1.3, house.eaves - 0.1
    curve = ring((-foot, base + 3.0), (foot - neck, 3.0), 270, 360)
    left = [*curve, *ring((0.0, base + 3.2), (neck, 1.1), 180, 90)]
    crown(sheet, house, left + [(-x, y) for x, y in reversed(left)], rng)


def flat_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """Nothing but the plant on top."""
    for _ in range(int(rng.integers(1, 4))):
        x, wide, high = rng.uniform(-0.7, 0.7) * house.half, rng.uniform(0.6, 1.6), rng.uniform(0.8, 2.2)
        sheet.box((x - wide, house.eaves, x + wide, house.eaves + high), tone((150, 152, 156), rng.uniform(0.6, 1.1)))


def tower_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """A hip roof and a clock tower with a spire."""
    hip_roof(sheet, house, rng)
    x, base, top = rng.choice([-0.55, 0.0, 0.55]) * house.half, house.eaves - 0.5, house.eaves + 3.2
    spire = [(x - 1.7, top), (x, top + 3.1), (x + 1.7, top)]
    sheet.lay(corners((x - 1.4, base, x + 1.4, top)), house.wall, house.family.material, rng)
    sheet.fill(spire, tone(house.tiles, 0.9), 20)
    sheet.snow.append(sheet.pixels(spire))
    sheet.box((x - 1.6, top - 0.2, x + 1.6, top + 0.05), house.trim, 25)
    sheet.fill(ring((x, top - 1.3), (0.8, 0.8)), house.trim, 8)
    sheet.fill(ring((x, top - 1.3), (0.66, 0.66)), (246, 242, 230), 2)
    sheet.light(ring((x, top - 1.3), (0.66, 0.66)), WARM[1])
    sheet.box((x - 0.05, top - 1.3, x + 0.05, top - 0.8), (40, 40, 44))
    sheet.box((x, top - 1.35, x + 0.4, top - 1.25), (40, 40, 44))


def pediment_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """A low hip roof behind a classical triangle."""
    slope(sheet, house, 1.6, 1.5, rng)
    reach = house.half * rng.uniform(0.5, 1.0)
    base = house.eaves - 0.1
    sheet.fill([(-reach - 0.3, base), (0, base + reach * 0.5 + 0.3), (reach + 0.3, base)], house.trim, 40)
    sheet.fill([(0.6 - reach, base + 0.2), (0, base + reach * 0.5 - 0.2), (reach - 0.6, base + 0.2)], house.wall, 6)
    sheet.fill(ring((0, base + reach * 0.2), (0.5, 0.5)), house.trim, 14)


ROOFS = {
    "side": side_roof,
    "hip": hip_roof,
    "mansard": mansard_roof,
    "gable": gable_roof,
    "stepped": stepped_roof,
    "bell": bell_roof,
    "flat": flat_roof,
    "tower": tower_roof,
    "pediment": pediment_roof,
}


def paint_roof(sheet: Sheet, house: House, rng: Generator) -> None:
    """A house's roof; the wall is painted over its lower edge."""
    ROOFS[house.roof](sheet, house, rng)
