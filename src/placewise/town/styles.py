"""Styles: the families of houses in the synthetic town, and the choices that make one house."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from placewise.town.sheet import RGB, pick, tone

STOREY_M, GROUND_M = 3.1, 3.9
"""The height of an upper storey and of the ground floor, metres."""


@dataclass(frozen=True, slots=True)
class Family:
    """A style that several houses of the town share; each house draws its own variant.

    ``storeys`` and ``bays`` are inclusive ranges, ``bay_m`` the range of a bay's width; the storeys include the
    ground floor.
    """

    material: str
    walls: tuple[RGB, ...]
    trims: tuple[RGB, ...]
    roofs: tuple[str, ...]
    windows: tuple[str, ...]
    storeys: tuple[int, int]
    bays: tuple[int, int]
    bay_m: tuple[float, float]
    extras: tuple[str, ...]


CREAM: RGB = (232, 222, 198)
SLATE: tuple[RGB, ...] = ((84, 90, 102), (150, 82, 60), (110, 74, 62), (70, 72, 76), (128, 98, 78))
ACCENTS: tuple[RGB, ...] = (
    (38, 70, 62), (132, 40, 40), (36, 56, 98), (196, 142, 46), (72, 44, 74), (40, 44, 48), (178, 84, 44), (30, 96, 112),
)  # fmt: skip
PATTERNS = ("plain", "stripes", "plain", "diamonds", "ivy", "plain", "checks")
FAMILIES = {
    "terrace": Family(
        "brick",
        ((156, 78, 58), (172, 104, 76), (124, 66, 54), (190, 148, 104)),
        (CREAM, (206, 196, 176), (236, 234, 228)),
        ("side", "mansard", "flat"),
        ("sash", "arched"),
        (2, 4),
        (3, 5),
        (2.3, 2.9),
        ("lintels", "quoins", "bands"),
    ),
    "classic": Family(
        "plaster",
        ((234, 206, 146), (222, 164, 132), (190, 206, 188), (240, 228, 206), (172, 194, 214), (226, 188, 178)),
        ((246, 242, 232), CREAM),
        ("hip", "side", "mansard"),
        ("sash", "french", "arched"),
        (3, 5),
        (3, 5),
        (2.4, 3.0),
        ("shutters", "lintels", "bands", "quoins", "pediment"),
    ),
    "timbered": Family(
        "plaster",
        ((240, 232, 210), (228, 204, 164), (206, 150, 112), (226, 226, 216)),
        ((78, 52, 38), (52, 42, 36), (104, 56, 40)),
        ("gable", "gable", "side"),
        ("casement",),
        (2, 4),
        (3, 4),
        (2.3, 2.7),
        ("beams", "beams"),
    ),
    "civic": Family(
        "stone",
        ((200, 188, 160), (176, 172, 160), (206, 178, 144)),
        ((222, 212, 190), (196, 190, 176)),
        ("flat", "hip", "tower", "pediment"),
        ("arched", "round"),
        (2, 3),
        (4, 5),
        (2.7, 3.1),
        ("columns", "bands", "lintels"),
    ),
    "glass": Family(
        "panels",
        ((78, 92, 104), (52, 56, 64), (150, 158, 164), (96, 84, 76)),
        ((60, 66, 74), (214, 218, 220)),
        ("flat",),
        ("curtain",),
        (3, 5),
        (4, 6),
        (2.2, 2.6),
        ("fins", "bands"),
    ),
    "concrete": Family(
        "panels",
        ((188, 186, 180), (208, 202, 190), (160, 158, 154), (206, 186, 160)),
        ((240, 240, 238), (96, 98, 102), (196, 96, 60)),
        ("flat",),
        ("ribbon", "french"),
        (3, 5),
        (3, 5),
        (2.7, 3.2),
        ("balconies", "balconies", "bands"),
    ),
    "canal": Family(
        "brick",
        ((96, 52, 46), (74, 66, 62), (146, 80, 56), (178, 132, 92)),
        ((244, 240, 230), (236, 226, 200)),
        ("stepped", "bell"),
        ("sash", "casement"),
        (3, 4),
        (3, 3),
        (2.4, 2.9),
        ("lintels", "shutters", "hoist"),
    ),
    "boards": Family(
        "boards",
        ((128, 158, 168), (182, 78, 60), (104, 130, 98), (236, 222, 190), (62, 84, 112), (214, 164, 86)),
        ((246, 244, 238), (232, 226, 214)),
        ("gable", "side", "hip"),
        ("sash", "casement"),
        (2, 3),
        (3, 4),
        (2.4, 3.0),
        ("shutters", "porch", "lintels"),
    ),
}


@dataclass(frozen=True, slots=True)
class House:
    """One house: its family's choices made."""

    family: Family
    wall: RGB
    trim: RGB
    accent: RGB
    tiles: RGB
    roof: str
    window: str
    extra: str
    pattern: str
    storeys: int
    bays: int
    bay_m: float
    shop: str | None

    @property
    def half(self) -> float:
        """Half its width, metres."""
        return self.bays * self.bay_m / 2 + 0.35

    @property
    def eaves(self) -> float:
        """The height of its wall, metres."""
        return GROUND_M + (self.storeys - 1) * STOREY_M + 0.5

    def has(self, extra: str) -> bool:
        """Whether the house has this extra."""
        return self.extra == extra


def design(name: str, turn: int, shop: str | None, rng: Generator) -> House:
    """Draw one house of a family; houses whose ``turn`` differs differ in colour, roof, windows and extras."""
    family = FAMILIES[name]
    return House(
        family=family,
        wall=tone(family.walls[turn % len(family.walls)], rng.uniform(0.92, 1.06)),
        trim=pick(rng, family.trims),
        accent=ACCENTS[(3 * turn + int(rng.integers(3))) % len(ACCENTS)],
        tiles=SLATE[(turn + int(rng.integers(2))) % len(SLATE)],
        roof=family.roofs[turn % len(family.roofs)],
        window=family.windows[turn % len(family.windows)],
        extra=family.extras[turn % len(family.extras)],
        pattern=PATTERNS[(turn + list(FAMILIES).index(name)) % len(PATTERNS)],
        storeys=int(rng.integers(family.storeys[0], family.storeys[1] + 1)),
        bays=int(rng.integers(family.bays[0], family.bays[1] + 1)),
        bay_m=rng.uniform(*family.bay_m),
        shop=shop,
    )
