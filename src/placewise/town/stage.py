"""Stages: everything of a place that stays, in space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from placewise.town import things
from placewise.town.camera import Card, Vector, upright
from placewise.town.facade import paint_front, paint_side
from placewise.town.roofs import paint_roof
from placewise.town.sheet import Box, Sheet, clouds, corners, pick, tone
from placewise.town.styles import FAMILIES, House, design

SHOPS = (
    "bakery", "bookshop", "pharmacy", "florist", "tailor", "grocer", "clockmaker", "cafe", "butcher", "cobbler",
    "library", "barber", "tea-room", "hatter", "printer", "fishmonger", "toy-shop", "optician", "post-office",
    "bicycles", "cheese-shop", "saddler", "music-shop", "lamp-shop", "inn", "glazier", "potter", "seed-shop",
)  # fmt: skip
LEAVES = ((98, 126, 74), (172, 128, 68), (70, 102, 70), (146, 146, 76), (104, 118, 92), (178, 92, 66), (196, 150, 160))
EVERGREEN = (74, 106, 78)
STREET_M = 18.0
"""How far the painted ground reaches from the front towards the viewer, metres."""
GROUND_HALF_M, BEHIND_M = 36.0, 1.0
SIDE_M = 9.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A place's cards by what they are, houses and furniture from far to near, and where its lamps shine."""

    far: Card
    ground: Card
    sides: tuple[Card, ...]
    houses: tuple[Card, ...]
    furniture: tuple[Card, ...]
    lamps: tuple[Vector, ...]


def distance_key(card: Card) -> float:
    """Sorts cards from the far to the near."""
    return float(card.corner[2])


def build_stage(index: int, shop: str, rng: Generator) -> Stage:
    """Everything that stays at a place; its index chooses the family of its house, ``shop`` names the sign."""
    names = list(FAMILIES)
    family = names[index % len(names)]
    house = design(family, index // len(names), shop if rng.random() < 0.85 else None, rng)
    houses = [upright(paint_house(house, 38, rng), 0.0, 0.0)]
    sides = side_walls(house, 0.0, 0.0, 20, rng)
    for direction in (-1, 1):
        edge = house.half + rng.choice([0.0, 0.0, 0.8, 2.6])
        for px_per_m in (26, 16, 12):
            sign = str(rng.choice(SHOPS)) if rng.random() < 0.5 else None
            like = family if rng.random() < 0.4 else str(rng.choice(names))
            other = design(like, int(rng.integers(60)), sign, rng)
            x, z = direction * (edge + other.half), -rng.uniform(0.0, 1.2)
            other = replace(other, pattern="plain")
            houses.append(upright(paint_house(other, px_per_m, rng), x, z))
            sides += side_walls(other, x, z, 12, rng)
            edge += 2 * other.half + rng.choice([0.0, 0.3, 2.4])
    furniture, lamps = furnish(index, house.half, rng)
    landmark = things.LANDMARKS[(3 * index + index // len(names)) % len(things.LANDMARKS)]
    furniture.append(upright(landmark(rng), rng.uniform(-0.6, 0.6) * house.half, 3.5))
    return Stage(
        far=upright(paint_skyline(rng), 0.0, -70.0),
        ground=lay_ground(rng),
        sides=tuple(sides),
        houses=tuple(sorted(houses, key=distance_key)),
        furniture=tuple(sorted(furniture, key=distance_key)),
        lamps=tuple(lamps),
    )


def paint_house(house: House, px_per_m: int, rng: Generator) -> Sheet:
    """The front of a house with its roof, seen straight on."""
    sheet = Sheet(2 * (house.half + 1.0), house.eaves + 6.5, px_per_m)
    paint_roof(sheet, house, rng)
    paint_front(sheet, house, rng)
    return sheet


def side_walls(house: House, x: float, z: float, px_per_m: int, rng: Generator) -> list[Card]:
    """The two side walls of a house, seen from outside."""
    sheet = paint_side(house, px_per_m, SIDE_M, rng)
    down = np.array([0.0, -house.eaves, 0.0])
    left = Card(sheet, np.array([x - house.half, house.eaves, z - SIDE_M]), np.array([0, 0, SIDE_M]), down)
    right = Card(sheet, np.array([x + house.half, house.eaves, z]), np.array([0, 0, -SIDE_M]), down)
    return [left, right]


def furnish(index: int, half: float, rng: Generator) -> tuple[list[Card], list[Vector]]:
    """Trees, lamps, benches and planters along the pavement, and where the lamps' lanterns are."""
    kind = ("round", "tall", "round", "cone", "tall")[index % 5]
    leaf = EVERGREEN if kind == "cone" else LEAVES[(index + index // 7) % len(LEAVES)]
    metal = pick(rng, ((44, 48, 52), (38, 66, 58), (90, 60, 48)))
    trees = rng.permutation([-half - 1.5, -half * 0.55, half * 0.5, half + 2.0])[: rng.integers(1, 4)]
    posts = rng.permutation([-11.0, -4.5, 3.5, 10.0])[: rng.integers(1, 4)] + rng.uniform(-1, 1)
    cards = [upright(things.paint_tree(kind, leaf, rng), x, rng.uniform(2.6, 3.4)) for x in trees]
    cards += [upright(things.paint_lamp(metal), x, 3.7) for x in posts]
    lamps = [np.array([x, 3.85, 3.7]) for x in posts]
    benches, planters = rng.uniform(-half - 1, half + 1, (2, 2))
    cards += [upright(things.paint_bench((128, 88, 56)), x, 2.2) for x in benches[: rng.integers(3)]]
    cards += [upright(things.paint_planter(leaf, rng), x, 1.0) for x in planters[: rng.integers(3)]]
    return cards, lamps


# The ground, seen from above


def strip(start: float, stop: float) -> Box:
    """A band along the street on the ground's sheet, between two distances from the house's front, metres."""
    return -GROUND_HALF_M, STREET_M - stop, GROUND_HALF_M, STREET_M - start


def lay_ground(rng: Generator) -> Card:
    """Pavement, road and square."""
    sheet = Sheet(2 * GROUND_HALF_M, STREET_M + BEHIND_M, 18)
    road = str(rng.choice(["asphalt", "asphalt", "setts"]))
    stone = tone((178, 172, 162), rng.uniform(0.85, 1.1))
    tar = tone((112, 114, 118) if road == "asphalt" else (140, 130, 120), rng.uniform(0.85, 1.1))
    square = pick(rng, ((160, 156, 150), (174, 142, 120), (118, 138, 92), (184, 174, 156)))
    sheet.lay(corners(strip(-BEHIND_M, 4.2)), stone, "paving", rng)
    sheet.lay(corners(strip(4.2, 10.2)), tar, road, rng)
    sheet.lay(corners(strip(10.2, STREET_M)), square, "asphalt" if square[1] > square[0] else "setts", rng)
    for edge in (4.2, 10.2):
        sheet.box(strip(edge - 0.15, edge + 0.15), tone(stone, 1.15))
    if road == "asphalt":
        mark_road(sheet, rng)
    snowy = ((-BEHIND_M, 4.2), (5.3, 6.0), (7.0, 9.0), (10.2, STREET_M))
    sheet.snow += [sheet.pixels(corners(strip(*edges))) for edges in snowy]
    corner = np.array([-GROUND_HALF_M, 0.0, -BEHIND_M])
    return Card(sheet, corner, np.array([sheet.width_m, 0.0, 0.0]), np.array([0.0, 0.0, sheet.height_m]))


def mark_road(sheet: Sheet, rng: Generator) -> None:
    """A dashed middle line, or tram rails; perhaps a zebra crossing."""
    middle, white = STREET_M - 7.2, (226, 226, 220)
    if rng.random() < 0.6:
        for x in range(-34, 34, 4):
            sheet.box((x, middle - 0.07, x + 2.0, middle + 0.07), white)
    else:
        for y in (-1.6, -0.4, 0.4, 1.6):
            sheet.box((-GROUND_HALF_M, middle + y - 0.05, GROUND_HALF_M, middle + y + 0.05), (62, 62, 66))
    if rng.random() < 0.4:
        start = rng.uniform(-8, 5)
        for bar in range(6):
            sheet.box((start + bar * 0.9, STREET_M - 10, start + bar * 0.9 + 0.5, STREET_M - 4.4), white)


def paint_skyline(rng: Generator) -> Sheet:
    """Hills and far roofs."""
    half = 130.0
    sheet = Sheet(2 * half, 26.0, 5)
    tops = 9 + 5 * clouds(rng, (2, 66), 2)[0]
    sheet.fill([(-half, 0), *[(4 * i - half, float(top)) for i, top in enumerate(tops)], (half, 0)], (104, 124, 116))
    x = -half
    while x < half:
        wide, high = rng.uniform(5, 11), rng.uniform(5, 12)
        colour = tone((142, 132, 128), rng.uniform(0.75, 1.1))
        peak = high + rng.uniform(0, 4)
        sheet.box((x, 0, x + wide, high), colour)
        sheet.fill([(x - 0.5, high), (x + wide / 2, peak), (x + wide + 0.5, high)], tone(colour, 0.75))
        x += wide + rng.uniform(-1, 3)
    return sheet
