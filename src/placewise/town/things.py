"""Things that stand or pass in the synthetic town's streets: trees, lamps, benches, vehicles, people."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image

from placewise.town.sheet import RGB, WALL, Sheet, clouds, pick, ring, tone

FRUIT: tuple[RGB, ...] = ((204, 60, 48), (232, 160, 46), (108, 150, 58), (240, 214, 90), (120, 60, 110), (52, 110, 160))
CLOTHES: tuple[RGB, ...] = ((52, 62, 92), (150, 52, 48), (66, 96, 76), (196, 160, 84), (60, 58, 62), (170, 170, 176))


def paint_tree(kind: str, leaf: RGB, rng: Generator) -> Sheet:
    """A round, tall or conical tree, leaves made of noise."""
    wide, high, bare = {"round": (4.6, 6.4, 2.2), "tall": (2.6, 8.0, 1.4), "cone": (3.6, 7.2, 0.9)}[kind]
    sheet = Sheet(wide + 0.6, high + 0.3, 32)
    trunk = (92, 72, 56)
    sheet.fill([(-0.17, 0), (-0.09, high * 0.8), (0.09, high * 0.8), (0.17, 0)], trunk, 0)
    rows, columns = sheet.colour.height, sheet.colour.width
    y = sheet.height_m - np.arange(rows)[:, None] / sheet.px_per_m
    x = np.arange(columns)[None, :] / sheet.px_per_m - sheet.width_m / 2
    up = (y - bare) / (high - bare)
    reach = np.clip(1 - up, 0, 1) * wide / 2 if kind == "cone" else wide / 2 * np.sqrt(np.clip(4 * up * (1 - up), 0, 1))
    ragged = clouds(rng, (rows, columns), 7) + 0.5 * clouds(rng, (rows, columns), 22)
    crown_mask = (np.abs(x) + 0.42 * ragged < reach) & (ragged < 1.25)
    shade = np.clip(0.72 + 0.3 * up - 0.12 * x / wide + 0.3 * clouds(rng, (rows, columns), 14), 0.3, 1.5)
    paint = np.clip(shade[..., None] * np.array(leaf, np.float32), 0, 255).astype(np.uint8)
    mask = Image.fromarray((crown_mask * 255).astype(np.uint8))
    sheet.colour.paste(Image.fromarray(paint).convert("RGBA"), (0, 0), mask)
    sheet.relief.paste(WALL, (0, 0), mask)
    return sheet


def paint_lamp(colour: RGB) -> Sheet:
    """A street lamp with a lantern."""
    sheet = Sheet(1.2, 4.4, 32)
    sheet.box((-0.16, 0, 0.16, 0.5), colour, 0)
    sheet.box((-0.06, 0, 0.06, 3.7), colour, 0)
    sheet.fill([(-0.2, 3.6), (-0.3, 4.1), (0.3, 4.1), (0.2, 3.6)], (226, 222, 200), 0)
    sheet.fill([(-0.36, 4.08), (0, 4.38), (0.36, 4.08)], colour, 0)
    return sheet


def paint_bench(colour: RGB) -> Sheet:
    """A slatted bench."""
    sheet = Sheet(2.0, 0.95, 32)
    for x in (-0.8, 0.75):
        sheet.box((x, 0, x + 0.1, 0.9), (50, 52, 54), 0)
    for y in (0.42, 0.62, 0.8):
        sheet.box((-0.95, y, 0.95, y + 0.12), colour, 0)
    return sheet


def paint_planter(leaf: RGB, rng: Generator) -> Sheet:
    """A trough with a small hedge."""
    sheet = Sheet(2.2, 1.4, 32)
    for x in np.linspace(-0.9, 0.9, 13):
        sheet.fill(ring((float(x), 0.8), (0.2, rng.uniform(0.22, 0.5))), tone(leaf, rng.uniform(0.7, 1.1)), 0)
    sheet.box((-1.05, 0, 1.05, 0.62), (126, 112, 100), 0)
    return sheet


VEHICLES: dict[str, tuple[float, float, tuple[tuple[float, float], ...]]] = {
    "car": (
        4.3,
        1.5,
        ((0, 0.5), (0.02, 0.58), (0.2, 0.62), (0.34, 1), (0.72, 1), (0.88, 0.62), (0.99, 0.56), (1, 0.3)),
    ),
    "van": (5.2, 2.3, ((0, 0.3), (0.01, 0.55), (0.1, 0.6), (0.2, 0.98), (0.99, 1), (1, 0.3))),
    "bus": (9.5, 3.0, ((0, 0.2), (0.0, 0.96), (0.02, 1), (0.99, 1), (1, 0.96), (1, 0.2))),
}
"""Length and height in metres, and the outline above the wheels as shares of both, front to the left."""


def paint_vehicle(kind: str, colour: RGB) -> Sheet:
    """A car, van or bus from its side."""
    long, high, shape = VEHICLES[kind]
    sheet = Sheet(long + 0.2, high + 0.15, 32)
    base = 0.32
    body = [((x - 0.5) * long, base + y * (high - base)) for x, y in shape]
    sheet.fill([*body, (long / 2, base), (-long / 2, base)], colour, 0)
    low, top = (0.6, 0.93) if kind == "car" else (0.5, 0.88)
    spans = {
        "car": ((0.29, 0.37, 0.5, 0.5), (0.52, 0.52, 0.7, 0.8)),
        "van": ((0.13, 0.21, 0.32, 0.32),),
        "bus": tuple((s, s, s + 0.12, s + 0.12) for s in (0.03, 0.17, 0.31, 0.45, 0.59, 0.73, 0.86)),
    }[kind]
    for low_left, high_left, high_right, low_right in spans:
        shares = ((low_left, low), (high_left, top), (high_right, top), (low_right, low))
        sheet.fill([((x - 0.5) * long, base + y * (high - base)) for x, y in shares], (46, 56, 66), 0)
    sheet.box((-long / 2, base, long / 2, base + 0.14), tone(colour, 0.6))
    for x in (-0.31 * long, 0.31 * long):
        sheet.fill(ring((x, 0.36), (0.36, 0.36)), (30, 30, 32), 0)
        sheet.fill(ring((x, 0.36), (0.17, 0.17)), (150, 152, 156), 0)
    sheet.box((-long / 2, base + 0.3, 0.12 - long / 2, base + 0.5), (250, 240, 200))
    return sheet


def paint_person(rng: Generator) -> Sheet:
    """Somebody walking past."""
    sheet = Sheet(0.9, 1.85, 32)
    coat, legs = pick(rng, CLOTHES), tone(pick(rng, CLOTHES), 0.6)
    stride = rng.uniform(0.08, 0.3)
    for lean in (-stride, stride):
        sheet.fill([(-0.1, 0.95), (0.1, 0.95), (lean + 0.08, 0), (lean - 0.08, 0)], legs, 0)
    sheet.fill([(-0.23, 1.48), (0.23, 1.48), (0.21, 0.75), (-0.21, 0.75)], coat, 0)
    sheet.fill([(0.16, 1.45), (0.26, 1.4), (0.3, 0.85), (0.2, 0.85)], tone(coat, 0.8), 0)
    sheet.fill(ring((0.0, 1.65), (0.12, 0.15)), pick(rng, ((224, 180, 150), (150, 104, 78), (90, 62, 48))), 0)
    sheet.fill(ring((0.0, 1.7), (0.13, 0.12), 0, 180), pick(rng, ((40, 32, 28), (120, 84, 50), (170, 166, 160))), 0)
    return sheet


# Landmarks


def paint_fountain(rng: Generator) -> Sheet:
    """A basin with a bowl and jets."""
    sheet = Sheet(4.6, 3.4, 32)
    stone = tone((196, 188, 174), rng.uniform(0.85, 1.05))
    for reach in np.linspace(-1.3, 1.3, 9):
        arc = [(float(reach) * t, 2.0 + 2.6 * t * (1 - t) * 1.6 - 1.3 * t) for t in np.linspace(0, 1, 9)]
        sheet.fill([*arc, *[(x + 0.06, y - 0.05) for x, y in reversed(arc)]], (222, 234, 242), 0)
    sheet.fill([(-0.3, 0.5), (-0.15, 1.6), (0.15, 1.6), (0.3, 0.5)], stone, 0)
    sheet.fill(ring((0.0, 1.75), (1.0, 0.35), 180, 360), tone(stone, 0.9), 0)
    sheet.box((-2.2, 0.0, 2.2, 0.75), stone, 0)
    sheet.box((-2.3, 0.68, 2.3, 0.85), tone(stone, 1.12), 0)
    return sheet


def paint_stall(rng: Generator) -> Sheet:
    """A market stall with a striped roof."""
    sheet = Sheet(4.0, 3.1, 32)
    cloth, wood = pick(rng, ((196, 60, 50), (50, 110, 70), (44, 84, 150), (222, 150, 40))), (120, 84, 54)
    for x in (-1.75, 1.65):
        sheet.box((x, 0.0, x + 0.1, 2.6), wood, 0)
    for index in range(10):
        x = -1.9 + 0.38 * index
        colour = cloth if index % 2 else (240, 236, 226)
        sheet.fill([(x, 2.25), (x * 0.8, 3.0), ((x + 0.38) * 0.8, 3.0), (x + 0.38, 2.25)], colour, 0)
        sheet.fill(ring((x + 0.19, 2.25), (0.19, 0.16), 180, 360), tone(colour, 0.88), 0)
    sheet.box((-1.7, 0.0, 1.7, 0.95), wood, 0)
    for x in np.arange(-1.5, 1.6, 0.3):
        sheet.fill(ring((float(x), 1.0), (0.2, 0.2), 0, 180), pick(rng, FRUIT), 0)
    return sheet


def paint_phone_box(rng: Generator) -> Sheet:
    """Two telephone boxes."""
    sheet = Sheet(2.6, 2.7, 32)
    colour = pick(rng, ((186, 38, 36), (36, 70, 120), (226, 178, 40)))
    for left in (-1.15, 0.15):
        sheet.box((left, 0.0, left + 1.0, 2.45), colour, 0)
        sheet.fill(ring((left + 0.5, 2.45), (0.5, 0.2), 0, 180), tone(colour, 0.9), 0)
        sheet.box((left + 0.15, 2.15, left + 0.85, 2.35), (244, 240, 228), 0)
        for row in range(5):
            for column in range(3):
                x, y = left + 0.15 + column * 0.245, 0.45 + row * 0.33
                sheet.box((x, y, x + 0.2, y + 0.28), (196, 208, 214), 0)
    return sheet


def paint_statue(rng: Generator) -> Sheet:
    """A rider's height of bronze on a plinth."""
    sheet = Sheet(2.6, 5.2, 32)
    bronze = pick(rng, ((86, 128, 112), (92, 74, 52)))
    sheet.box((-1.2, 0.0, 1.2, 0.4), (168, 162, 152), 0)
    sheet.box((-0.85, 0.4, 0.85, 2.2), (190, 184, 172), 0)
    sheet.box((-1.0, 2.1, 1.0, 2.35), (206, 200, 188), 0)
    sheet.fill([(-0.5, 2.35), (-0.32, 4.3), (0.32, 4.3), (0.55, 2.35)], bronze, 0)
    sheet.fill([(0.2, 4.2), (0.35, 4.25), (1.0, 5.0), (0.85, 5.05)], tone(bronze, 0.9), 0)
    sheet.fill([(-0.3, 4.25), (-0.62, 3.3), (-0.48, 3.2), (-0.15, 4.1)], tone(bronze, 0.8), 0)
    sheet.fill(ring((0.0, 4.58), (0.22, 0.27)), tone(bronze, 1.1), 0)
    return sheet


def paint_column(rng: Generator) -> Sheet:
    """A round column covered with posters."""
    sheet = Sheet(2.0, 4.2, 32)
    metal = (58, 88, 76)
    sheet.box((-0.85, 0.0, 0.85, 3.3), (206, 198, 180), 0)
    for row in range(3):
        for column in range(3):
            x, y = -0.8 + column * 0.54, 0.5 + row * 0.93
            sheet.box((x, y, x + 0.5, y + 0.86), pick(rng, (*FRUIT, *CLOTHES)), 0)
            sheet.box((x + 0.08, y + 0.1, x + 0.42, y + 0.2), (240, 236, 226), 0)
    sheet.box((-0.95, 0.0, 0.95, 0.35), metal, 0)
    sheet.box((-1.0, 3.25, 1.0, 3.45), metal, 0)
    sheet.fill(ring((0.0, 3.45), (0.8, 0.6), 0, 180), metal, 0)
    return sheet


def paint_bunting(rng: Generator) -> Sheet:
    """Strings of flags across the street."""
    sheet = Sheet(18.0, 6.6, 32)
    colours = [pick(rng, FRUIT) for _ in range(3)]
    for height in (5.6, 6.3):
        for index, x in enumerate(np.arange(-8.8, 8.6, 0.55)):
            left, top = float(x), height + 0.012 * float(x) ** 2 - 0.9
            sheet.box((left, top - 0.03, left + 0.56, top + 0.03), (70, 70, 70), 0)
            sheet.fill([(left + 0.05, top), (left + 0.25, top - 0.55), (left + 0.47, top)], colours[index % 3], 0)
    return sheet


def paint_banners(rng: Generator) -> Sheet:
    """Three flagpoles."""
    sheet = Sheet(6.0, 7.6, 32)
    colours = [pick(rng, FRUIT), pick(rng, CLOTHES), (240, 238, 230)]
    for left in (-2.4, -0.2, 2.0):
        sheet.box((left - 0.05, 0.0, left + 0.05, 7.4), (210, 212, 214), 0)
        for row, colour in enumerate(colours):
            sheet.box((left + 0.05, 4.6 + row * 0.9, left + 0.95, 5.5 + row * 0.9), colour, 0)
    return sheet


LANDMARKS = (
    paint_fountain, paint_stall, paint_bunting, paint_statue, paint_phone_box, paint_banners, paint_column,
)  # fmt: skip
"""What a place may be known for."""
