"""Fronts: walls, windows, doors and shops of the synthetic town's houses, painted straight on."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from placewise.town.sheet import RGB, Box, Point, Sheet, arch, corners, grown, pick, ring, tone
from placewise.town.styles import CREAM, GROUND_M, STOREY_M, House

WARM: tuple[RGB, ...] = ((255, 196, 104), (255, 214, 142), (255, 178, 92), (226, 226, 210))
GOODS: tuple[RGB, ...] = ((206, 92, 70), (228, 180, 84), (96, 142, 120), (214, 204, 188), (86, 104, 150))


def paint_side(house: House, px_per_m: int, depth_m: float, rng: Generator) -> Sheet:
    """The blank wall at a house's side."""
    sheet = Sheet(depth_m, house.eaves, px_per_m)
    sheet.lay(corners((-depth_m / 2, 0, depth_m / 2, house.eaves)), tone(house.wall, 0.92), house.family.material, rng)
    return sheet


def paint_front(sheet: Sheet, house: House, rng: Generator) -> None:
    """A house's wall with everything on it, below the roof."""
    sheet.lay(corners((-house.half, 0, house.half, house.eaves)), house.wall, house.family.material, rng)
    PATTERN_PAINTERS[house.pattern](sheet, house, rng)
    dress_wall(sheet, house)
    for storey in range(1, house.storeys):
        for bay in range(house.bays):
            paint_window(sheet, house, window_box(house, storey, bay), rng)
    paint_ground_floor(sheet, house, rng)
    paint_cornice(sheet, house)


def paint_stripes(sheet: Sheet, house: House, rng: Generator) -> None:
    """Courses of another colour."""
    colour, gap = tone(house.wall, rng.choice([0.68, 1.3])), rng.uniform(0.9, 1.3)
    for y in np.arange(0.6, house.eaves - 0.4, gap):
        sheet.box((-house.half, float(y), house.half, float(y) + gap * 0.42), colour)


def paint_diamonds(sheet: Sheet, house: House, rng: Generator) -> None:
    """Lozenges in another colour."""
    colour, size = tone(house.wall, rng.choice([0.62, 1.35])), rng.uniform(0.45, 0.6)
    for row, y in enumerate(np.arange(GROUND_M, house.eaves - size, size)):
        for x in np.arange(-house.half + size * (1 + row % 2), house.half - size * 0.9, 2 * size):
            spots = ((x - size * 0.7, y), (x, y + size * 0.7), (x + size * 0.7, y), (x, y - size * 0.7))
            sheet.fill([(float(a), float(b)) for a, b in spots], colour)


def paint_checks(sheet: Sheet, house: House, rng: Generator) -> None:
    """Glazed tiles in two colours."""
    size = house.half / round(house.half / 0.5)
    colour = tone(pick(rng, ((70, 110, 150), (60, 120, 110), (170, 90, 60), (90, 90, 100))), 1.05)
    for row, y in enumerate(np.arange(0.0, house.eaves - size, size)):
        for x in np.arange(-house.half + size * (row % 2), house.half - size * 0.9, 2 * size):
            sheet.box((float(x), float(y), float(x) + size, float(y) + size), colour)


def paint_ivy(sheet: Sheet, house: House, rng: Generator) -> None:
    """Leaves that climb from one corner."""
    side = rng.choice([-1.0, 1.0])
    for along, up in rng.random((700, 2)):
        x, y = side * house.half * (1 - 1.5 * along**1.5), house.eaves * 0.95 * up * (1 - 0.55 * along)
        leaf = tone((74, 112, 58), rng.uniform(0.55, 1.25))
        sheet.fill(ring((x, y), (rng.uniform(0.12, 0.26), rng.uniform(0.1, 0.2))), leaf, 10)


def paint_nothing(sheet: Sheet, house: House, rng: Generator) -> None:
    """Leave the wall plain."""


PATTERN_PAINTERS = {
    "plain": paint_nothing,
    "stripes": paint_stripes,
    "diamonds": paint_diamonds,
    "checks": paint_checks,
    "ivy": paint_ivy,
}


def dress_wall(sheet: Sheet, house: House) -> None:
    """The extras that lie on the bare wall: bands, corner stones, beams, columns, fins."""
    half, eaves, trim = house.half, house.eaves, house.trim
    floors = [GROUND_M + STOREY_M * storey for storey in range(house.storeys)]
    joints = [(bay - house.bays / 2) * house.bay_m for bay in range(house.bays + 1)]
    if house.has("bands") or house.has("beams"):
        for y in floors[:-1]:
            sheet.box((-half, y - 0.1, half, y + 0.16), trim, 10)
    if house.has("quoins"):
        for row in range(int(eaves / 0.5)):
            long = 0.75 if row % 2 else 0.5
            sheet.box((-half, row * 0.5, long - half, row * 0.5 + 0.42), trim, 6)
            sheet.box((half - long, row * 0.5, half, row * 0.5 + 0.42), trim, 6)
    if house.has("beams"):
        for x in joints:
            sheet.box((x - 0.11, GROUND_M, x + 0.11, eaves), trim, 4)
            for y in floors[:-1]:
                lean = 0.5 if x < 0 else -0.5
                sheet.fill([(x - 0.1, y), (x + 0.1, y), (x + 0.1 + lean, y + 1.0), (x - 0.1 + lean, y + 1.0)], trim, 3)
    if house.has("columns") or house.has("fins"):
        wide = 0.24 if house.has("columns") else 0.09
        for x in joints:
            sheet.box((x - wide, 0, x + wide, eaves), tone(trim, 0.97), 22)
            sheet.box((x - wide * 0.4, 0, x + wide * 0.1, eaves), tone(trim, 1.06))
            sheet.box((x - wide * 1.4, eaves - 0.7, x + wide * 1.4, eaves - 0.45), trim, 28)


def window_box(house: House, storey: int, bay: int) -> Box:
    """Where a window sits in the wall."""
    wide, low, high = WINDOWS[house.window]
    x, floor = (bay - (house.bays - 1) / 2) * house.bay_m, GROUND_M + STOREY_M * (storey - 1)
    half = house.bay_m * wide / 2
    return x - half, floor + low, x + half, floor + high


def pane(sheet: Sheet, outline: list[Point], rng: Generator) -> None:
    """Glass that reflects some sky, may hide a curtain, and may be lit at night."""
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    left, right, bottom, top = min(xs), max(xs), min(ys), max(ys)
    dark = tone((58, 72, 86), rng.uniform(0.65, 1.15))
    sheet.fill(outline, dark, -20)
    reach = rng.uniform(0.25, 0.8)
    sheet.fill(
        [
            (left, bottom + (top - bottom) * (1 - reach)),
            (left, top * 0.85 + bottom * 0.15),
            (right, bottom),
            (left, bottom),
        ],
        tone(dark, 1.35),
    )
    if rng.random() < 0.35:
        drop = bottom + (top - bottom) * rng.uniform(0.25, 0.7)
        sheet.box(
            (left, drop, right, top - (top - bottom) * 0.12), pick(rng, ((206, 200, 188), (188, 180, 164), CREAM))
        )
    sheet.light(outline, pick(rng, WARM))


WINDOWS: dict[str, tuple[float, float, float]] = {
    "sash": (0.44, 0.75, 2.65),
    "arched": (0.46, 0.7, 2.75),
    "round": (0.62, 0.6, 2.8),
    "casement": (0.56, 0.9, 2.35),
    "french": (0.5, 0.12, 2.6),
    "ribbon": (1.0, 1.0, 2.5),
    "curtain": (0.93, 0.25, 3.0),
}
"""Each kind's width as a share of the bay, its sill and its head above the floor, metres."""


def paint_window(sheet: Sheet, house: House, box: Box, rng: Generator) -> None:
    """One window with its surround, frame, glass, bars and whatever hangs beside or below it."""
    left, bottom, right, top = box
    rise = {"arched": 0.5, "round": 1.0}.get(house.window, 0.0)
    outline = arch(box, rise) if rise else corners(box)
    frame = house.trim if house.window not in {"curtain", "ribbon"} else tone(house.trim, 0.8)
    if house.has("lintels") or rise:
        wide = grown(box, 0.16)
        sheet.fill(arch(wide, rise) if rise else corners(wide), house.trim, 6)
        sheet.box((left - 0.25, top + 0.12, right + 0.25, top + 0.3), house.trim, 12)
    sheet.fill(outline, frame, -12)
    inner = grown(box, -0.09)
    pane(sheet, arch(inner, rise) if rise else corners(inner), rng)
    for share in BARS[house.window][0]:
        x = left + (right - left) * share
        sheet.box((x - 0.035, bottom, x + 0.035, top), frame, -14)
    for share in BARS[house.window][1]:
        y = bottom + (top - bottom) * share
        sheet.box((left, y - 0.035, right, y + 0.035), frame, -14)
    sheet.box((left - 0.12, bottom - 0.14, right + 0.12, bottom), tone(house.trim, 0.95), 16)
    paint_beside_window(sheet, house, box, rng)


BARS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "sash": ((0.5,), (0.5,)),
    "arched": ((0.5,), (0.62,)),
    "round": ((0.33, 0.67), (0.55,)),
    "casement": ((0.25, 0.5, 0.75), (0.33, 0.66)),
    "french": ((0.5,), (0.28, 0.8)),
    "ribbon": ((0.33, 0.66), ()),
    "curtain": ((0.5,), (0.3,)),
}
"""Where the vertical and the horizontal bars of each kind run, as shares of its width and height."""


def paint_beside_window(sheet: Sheet, house: House, box: Box, rng: Generator) -> None:
    """Shutters, a balcony or a flower box, as the house has them."""
    left, bottom, right, top = box
    if house.has("shutters"):
        for x in (left - 0.08 - (right - left) / 2, right + 0.08):
            panel = (x, bottom, x + (right - left) / 2, top)
            sheet.box(panel, house.accent, 5)
            for row in range(5):
                y = bottom + (top - bottom) * (row + 0.5) / 5
                sheet.box((x + 0.08, y - 0.1, panel[2] - 0.08, y + 0.06), tone(house.accent, 0.82))
    if house.has("balconies") or house.window == "french":
        base = bottom - 0.2
        sheet.box((left - 0.35, base - 0.16, right + 0.35, base), tone(house.trim, 0.9), 90)
        for x in np.arange(left - 0.32, right + 0.33, 0.16):
            sheet.box((float(x) - 0.03, base, float(x) + 0.03, base + 0.95), tone(house.accent, 0.8), 80)
        sheet.box((left - 0.36, base + 0.92, right + 0.36, base + 1.02), tone(house.accent, 0.7), 90)
    elif house.window == "casement" and rng.random() < 0.6:
        sheet.box((left, bottom - 0.3, right, bottom - 0.05), (92, 62, 44), 28)
        for x in np.linspace(left + 0.1, right - 0.1, 7):
            bloom = pick(rng, ((204, 60, 70), (86, 132, 66), (228, 160, 70), (96, 140, 72)))
            sheet.fill(ring((float(x), bottom + 0.02), (0.13, 0.12)), bloom, 30)


def paint_cornice(sheet: Sheet, house: House) -> None:
    """What closes the wall at its top."""
    if house.roof in {"gable", "stepped", "bell"}:
        return
    half, eaves = house.half + 0.25, house.eaves
    sheet.box((-half, eaves - 0.3, half, eaves), house.trim, 35)
    sheet.box((-half - 0.1, eaves - 0.08, half + 0.1, eaves + 0.1), tone(house.trim, 1.04), 50)
    if house.family.material in {"plaster", "stone", "brick"}:
        for x in np.arange(-half + 0.2, half - 0.2, 0.5):
            sheet.box((float(x), eaves - 0.5, float(x) + 0.2, eaves - 0.3), house.trim, 26)


# The ground floor


def paint_ground_floor(sheet: Sheet, house: House, rng: Generator) -> None:
    """A door in one bay; shop windows under a sign, or plain windows, in the others."""
    door = int(rng.integers(house.bays))
    for bay in range(house.bays):
        x = (bay - (house.bays - 1) / 2) * house.bay_m
        if bay == door:
            paint_door(sheet, house, x, rng)
        elif house.shop:
            paint_display(sheet, house, (x - house.bay_m * 0.45, 0.5, x + house.bay_m * 0.45, 2.75), rng)
        else:
            half = house.bay_m * 0.25
            paint_window(sheet, house, (x - half, 1.1, x + half, 2.9), rng)
    sheet.box((-house.half, 0, house.half, 0.35), tone(house.wall, 0.7), 6)
    sheet.box((door_x(house, door) - 0.75, 0, door_x(house, door) + 0.75, 0.16), (150, 146, 140), 40)
    if house.shop:
        paint_sign(sheet, house, house.shop, rng)


def door_x(house: House, bay: int) -> float:
    """The middle of a bay."""
    return (bay - (house.bays - 1) / 2) * house.bay_m


def paint_door(sheet: Sheet, house: House, x: float, rng: Generator) -> None:
    """A panelled door with a fanlight."""
    sheet.box((x - 0.85, 0, x + 0.85, 3.0), house.trim, 8)
    sheet.box((x - 0.65, 0, x + 0.65, 2.9), tone(house.accent, 0.7), -18)
    sheet.box((x - 0.58, 0, x + 0.58, 2.2), house.accent, -10)
    for left, bottom in ((x - 0.46, 0.25), (x + 0.06, 0.25), (x - 0.46, 1.2), (x + 0.06, 1.2)):
        sheet.box((left, bottom, left + 0.4, bottom + 0.8), tone(house.accent, 0.8), -14)
    pane(sheet, arch((x - 0.55, 2.28, x + 0.55, 2.82), 0.6), rng)
    sheet.fill(ring((x + 0.48, 1.05), (0.06, 0.06)), (220, 190, 110), 0)


def paint_display(sheet: Sheet, house: House, box: Box, rng: Generator) -> None:
    """A shop window with goods on its shelf."""
    left, bottom, right, _ = box
    sheet.box(grown(box, 0.1), tone(house.accent, 0.85), 4)
    pane(sheet, corners(box), rng)
    x = left + 0.1
    while x < right - 0.3:
        wide, high = rng.uniform(0.15, 0.4), rng.uniform(0.2, 0.8)
        sheet.box((x, bottom, x + wide, bottom + high), pick(rng, GOODS))
        x += wide + rng.uniform(0.05, 0.2)
    sheet.box(((left + right) / 2 - 0.04, bottom, (left + right) / 2 + 0.04, box[3]), tone(house.accent, 0.85), -4)


def paint_sign(sheet: Sheet, house: House, shop: str, rng: Generator) -> None:
    """The shop's name above its windows, over an awning or a plain ledge."""
    half = house.half - 0.15
    light = sum(house.accent) > 330
    sheet.box((-half, 3.0, half, 3.62), house.accent, 12)
    sheet.box((-half, 3.58, half, 3.72), tone(house.accent, 0.75), 24)
    sheet.write(shop.upper(), (-half * 0.85, 3.05, half * 0.85, 3.55), (40, 36, 34) if light else (246, 236, 208))
    sheet.light(corners((-half, 3.04, half, 3.56)), tone(house.accent, 0.8))
    if rng.random() < 0.6:
        stripes = max(6, round(half * 2 / 0.45))
        edges = np.linspace(-half, half, stripes + 1)
        for index in range(stripes):
            left, right = float(edges[index]), float(edges[index + 1])
            colour = house.accent if index % 2 else (240, 236, 226)
            sheet.box((left, 2.5, right, 3.05), tone(colour, 1.05), 90)
            sheet.fill(ring(((left + right) / 2, 2.5), ((right - left) / 2, 0.16), 180, 360), tone(colour, 0.9), 95)
