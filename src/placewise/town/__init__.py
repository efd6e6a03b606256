"""The demo's synthetic town: photos of invented places with exact ground truth, offline, from a seed.

::

    styles ──► facade, roofs ─┐
    sheet  ──► things ────────┴► stage ──► view ──► photos and manifest.csv
                                 camera, light ─┘

Each place is a small stage of flat painted cards. A pinhole camera looks at it from several spots, at several hours,
in several weathers. Every random choice comes from (seed, place, view), so that a town is the same bytes every time.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.random import Generator

from placewise.core import Photo, Position, Split
from placewise.errors import OptionError
from placewise.machine import usable_cores
from placewise.town.camera import Camera
from placewise.town.light import LIGHTS, Weather
from placewise.town.stage import SHOPS, build_stage
from placewise.town.view import expose, render_stage

__all__ = ["render_town"]

STREETS = (
    "alder-lane", "mill-street", "bridge-row", "harbour-street", "lark-hill", "orchard-way", "quarry-road",
    "tanner-row", "willow-court", "copper-street", "heron-walk", "meadow-gate", "north-wall", "old-ferry",
)  # fmt: skip
ORIGIN = Position(45.0, -35.0)
"""The town square, in the middle of an ocean, so that nobody takes the town for a real one."""
BLOCK_M, GRID_DEG, METRES_PER_DEGREE = 80.0, 17.0, 111_320.0
OVERSAMPLING = 1.5
FIELD = 0.78
"""The focal length at zoom 1, as a share of the picture's width."""
GALLERY_LIGHTS = (("noon", "morning", "golden"), ("overcast", "rain"), ("dusk", "dusk", "noon"))
QUERY_LIGHTS = (
    ("noon", "morning", "golden", "overcast", "rain"),
    ("dusk", "snow", "night", "fog", "snow", "dusk", "wet night"),
)
"""For each view in turn, the lights that it may have."""


def render_town(  # noqa: PLR0913 - every number of the town is the caller's to choose, by keyword
    folder: Path,
    *,
    seed: int = 0,
    places: int = 36,
    unknown_places: int = 8,
    gallery_views: int = 3,
    query_views: int = 2,
    size: tuple[int, int] = (480, 360),
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render a town into ``folder``: ``photos/<place>/<view>.jpg`` and, when all are there, ``manifest.csv``.

    Args:
        folder: receives the town; made where it is missing.
        seed: another seed, another town; the same seed, the same bytes.
        places: how many places there are in all.
        unknown_places: how many of them, the last ones, appear as queries only (open-set).
        gallery_views: gallery photos of each known place.
        query_views: query photos of each place.
        size: width and height of the photos, pixels.
        on_progress: called with (photos done, photos in all) after each place.

    Returns:
        The manifest's path; its columns are ``path,place,split,lat,lon,heading``.

    Raises:
        OptionError: an argument cannot be used, or the folder cannot be written.
    """
    town = Town(seed, places, unknown_places, gallery_views, query_views, size)
    manifest = folder / "manifest.csv"
    rows: list[Photo] = []
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        manifest.unlink(missing_ok=True)  # a manifest must not describe another town's photos, even for a while
    with ThreadPoolExecutor(usable_cores()) as pool:
        for photos in pool.map(lambda index: render_place(town, index, folder), range(places)):
            rows += photos
            if on_progress:
                on_progress(len(rows), town.photos)
    with writing(folder):
        write_manifest(manifest, rows)
    return manifest


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the system's refusal to write into an error that says what to do."""
    try:
        yield
    except OSError as error:
        message = f"folder must be one that can be written, got {folder} ({error.strerror}); name another"
        raise OptionError(message) from error


@dataclass(frozen=True, slots=True)
class Town:
    """What determines a town's photos, checked."""

    seed: int
    places: int
    unknown_places: int
    gallery_views: int
    query_views: int
    size: tuple[int, int]

    def __post_init__(self) -> None:
        """Refuse what makes no town."""
        for name, value, low, high in (
            ("seed", self.seed, 0, 2**63),
            ("places", self.places, 1, 1000),
            ("unknown_places", self.unknown_places, 0, self.places),
            ("gallery_views", self.gallery_views, 1, 100),
            ("query_views", self.query_views, 1, 100),
            ("width of size", self.size[0], 64, 4096),
            ("height of size", self.size[1], 64, 4096),
        ):
            if not low <= value <= high:
                message = f"{name} must be between {low} and {high}, got {value}"
                raise OptionError(message)

    @property
    def photos(self) -> int:
        """How many photos the town has."""
        return self.places * self.query_views + (self.places - self.unknown_places) * self.gallery_views

    def splits(self, index: int) -> list[Split]:
        """The split of each view of a place."""
        known = index < self.places - self.unknown_places
        gallery: list[Split] = ["gallery"] * (self.gallery_views if known else 0)
        query: list[Split] = ["query"] * self.query_views
        return gallery + query

    def rng(self, *path: int) -> Generator:
        """The dice of a place or a view, independent of all others."""
        return np.random.default_rng([self.seed, *path])


@dataclass(frozen=True, slots=True)
class Site:
    """Where a place is: metres east and north of the origin, and the bearing of a view straight at its house."""

    name: str
    shop: str
    east: float
    north: float
    bearing: float

    def position(self, camera: Camera) -> Position:
        """Where a camera in the place's frame is on Earth; the frame's origin is the foot of the house's front."""
        ahead = math.radians(self.bearing)
        x, back = float(camera.at[0]), float(camera.at[2])
        east = self.east + x * math.cos(ahead) - back * math.sin(ahead)
        north = self.north - x * math.sin(ahead) - back * math.cos(ahead)
        lat = ORIGIN.lat + north / METRES_PER_DEGREE
        lon = ORIGIN.lon + east / (METRES_PER_DEGREE * math.cos(math.radians(ORIGIN.lat)))
        return Position(round(lat, 7), round(lon, 7), round(round(self.bearing + camera.yaw, 2) % 360, 2))


def find_site(town: Town, index: int) -> Site:
    """A place in the middle of a block of a square street grid: its name, position and the side it faces."""
    rng = town.rng(index, 0)
    streets = next(n for n in range(2, 1000) if 2 * n * (n - 1) >= town.places)
    street, block = divmod(index, streets - 1)
    along, across = (block + 0.5) * BLOCK_M, (street // 2) * BLOCK_M
    east, north = (along, across) if street % 2 == 0 else (across, along)
    turn = math.radians(GRID_DEG)
    shop = SHOPS[(index * 5 + town.seed) % len(SHOPS)]
    return Site(
        name=f"{index + 1:0{max(2, len(str(town.places)))}d}-{shop}-{STREETS[(street + town.seed) % len(STREETS)]}",
        shop=shop,
        east=east * math.cos(turn) + north * math.sin(turn),
        north=north * math.cos(turn) - east * math.sin(turn),
        bearing=(GRID_DEG + 90 * (street % 2) + 180 * int(rng.integers(2))) % 360,
    )


def render_place(town: Town, index: int, folder: Path) -> list[Photo]:
    """Render all views of a place; the rows of the manifest that describe them."""
    site, splits = find_site(town, index), town.splits(index)
    stage = build_stage(index, site.shop.replace("-", " "), town.rng(index, 1))
    photos = []
    for view, split in enumerate(splits):
        rng = town.rng(index, 2, view)
        camera = aim(town, rng)
        turns = GALLERY_LIGHTS if split == "gallery" else QUERY_LIGHTS
        weather = forecast(turns[view % len(turns)], rng)
        picture = expose(render_stage(stage, camera, weather), weather.light, town.size, rng)
        path = PurePosixPath("photos", site.name, f"{view + 1}.jpg")
        with writing(folder):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            picture.save(folder / path, quality=int(rng.integers(76, 94)))
        photos.append(Photo(path, split, site.name, site.position(camera)))
    return photos


def aim(town: Town, rng: Generator) -> Camera:
    """A camera across the street that looks roughly at the house."""
    x, z = rng.uniform(-5.0, 5.0), rng.uniform(13.0, 17.0)
    yaw = math.degrees(math.atan2(-x * rng.uniform(0.6, 1.0), z)) + rng.uniform(-6, 6)
    width, height = (round(side * OVERSAMPLING) for side in town.size)
    return Camera(
        at=np.array([x, rng.uniform(1.5, 1.75), z]),
        yaw=yaw,
        pitch=rng.uniform(10, 14),
        roll=rng.uniform(-1.5, 1.5),
        focal=FIELD * width * rng.uniform(0.9, 1.15),
        size=(width, height),
    )


def forecast(names: tuple[str, ...], rng: Generator) -> Weather:
    """One of the lights, and where the sun stands: mostly before the house, sometimes behind it."""
    light = LIGHTS[str(rng.choice(names))]
    height = math.radians(light.height_deg)
    side = math.radians(rng.uniform(-70, 70) if rng.random() < 0.88 else rng.uniform(110, 250))
    level = math.cos(height)
    return Weather(light, np.array([math.sin(side) * level, math.sin(height), math.cos(side) * level]), rng)


def write_manifest(path: Path, photos: list[Photo]) -> None:
    """Write the manifest under another name first, so that it is there whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "place", "split", "lat", "lon", "heading"])
    for photo in photos:
        if photo.position is not None:
            where = photo.position
            writer.writerow([photo.path, photo.place, photo.split, where.lat, where.lon, where.heading])
    draft = path.with_suffix(".csv.part")
    draft.write_text(text.getvalue(), encoding="utf-8")
    draft.replace(path)
