"""The synthetic town: the same bytes from the same seed, and ground truth that is true."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from placewise.errors import OptionError
from placewise.town import ORIGIN, Town, find_site, render_town
from placewise.town.camera import Camera, draw, upright
from placewise.town.facade import PATTERN_PAINTERS
from placewise.town.light import LIGHTS, Weather, develop, shadows
from placewise.town.roofs import ROOFS
from placewise.town.sheet import MATERIALS, WALL, Sheet, corners
from placewise.town.stage import build_stage
from placewise.town.styles import FAMILIES, PATTERNS
from placewise.town.view import render_stage

SIZE = (96, 72)
STRAIGHT = Camera(at=np.array([0.0, 2.0, 10.0]), yaw=0.0, pitch=0.0, roll=0.0, focal=100.0, size=(200, 100))


def tiny(folder: Path, *, seed: int = 0) -> Path:
    """A town of three places, one of them unknown."""
    return render_town(folder, seed=seed, places=3, unknown_places=1, gallery_views=2, query_views=1, size=SIZE)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny town."""
    return tiny(tmp_path_factory.mktemp("town")).parent


@pytest.fixture(scope="module")
def rows(town: Path) -> list[dict[str, str]]:
    """The tiny town's manifest."""
    with (town / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_same_seed_same_bytes(town: Path, tmp_path: Path) -> None:
    """The same seed gives the same files, byte for byte, and so does a second run over them."""
    tiny(tmp_path)
    first = contents(tmp_path)
    tiny(tmp_path)

    assert first == contents(town)
    assert contents(tmp_path) == first


def test_other_seed_other_town(town: Path, tmp_path: Path) -> None:
    """Another seed gives other photos."""
    tiny(tmp_path, seed=1)

    assert not set(contents(tmp_path).values()) & set(contents(town).values())


def test_manifest_lists_exactly_the_photos(town: Path, rows: list[dict[str, str]]) -> None:
    """The manifest has the promised columns and one row for each photo in the folder, and nothing else is left."""
    assert list(rows[0]) == ["path", "place", "split", "lat", "lon", "heading"]
    assert {*(row["path"] for row in rows), "manifest.csv"} == set(contents(town))
    assert all(Path(row["path"]).parent == Path("photos", row["place"]) for row in rows)


def test_unknown_places_are_queries_only(rows: list[dict[str, str]]) -> None:
    """Known places have every view, the last places only their queries."""
    splits: dict[str, list[str]] = {}
    for row in rows:
        splits.setdefault(row["place"], []).append(row["split"])

    assert list(splits.values()) == [["gallery", "gallery", "query"]] * 2 + [["query"]]


def test_photos_have_the_size(town: Path, rows: list[dict[str, str]]) -> None:
    """Every photo is an RGB JPEG of the size that was asked for, and shows something."""
    for row in rows:
        with Image.open(town / row["path"]) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", SIZE)
            assert np.asarray(image).std() > 10


def test_positions_are_near_their_place(rows: list[dict[str, str]]) -> None:
    """A view is across the street from its house, at 10 to 20 m, and looks at it within 45 degrees."""
    for index, place in enumerate(dict.fromkeys(row["place"] for row in rows)):
        site = find_site(Town(0, 3, 1, 2, 1, SIZE), index)
        for row in (row for row in rows if row["place"] == place):
            north = (float(row["lat"]) - ORIGIN.lat) * 111_320 - site.north
            east = (float(row["lon"]) - ORIGIN.lon) * 111_320 * math.cos(math.radians(ORIGIN.lat)) - site.east
            heading = float(row["heading"])
            to_house = math.degrees(math.atan2(-east, -north))

            assert site.name == place
            assert 10 < math.hypot(east, north) < 20
            assert 0 <= heading < 360
            assert abs((heading - to_house + 180) % 360 - 180) < 45


def test_places_are_apart_and_named_once() -> None:
    """No two places share a name, and all are at least 50 m apart and within the town."""
    town = Town(7, 120, 0, 1, 1, SIZE)
    sites = [find_site(town, index) for index in range(town.places)]
    spots = np.array([(site.east, site.north) for site in sites])
    gaps = np.linalg.norm(spots[:, None] - spots[None], axis=2) + 1e6 * np.eye(len(spots))

    assert len({site.name for site in sites}) == len(sites)
    assert gaps.min() > 50
    assert np.abs(spots).max() < 1000


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    """Progress is told after each place and ends at all photos."""
    told: list[tuple[int, int]] = []
    render_town(
        tmp_path,
        places=2,
        unknown_places=1,
        gallery_views=1,
        query_views=1,
        size=SIZE,
        on_progress=lambda done, total: told.append((done, total)),
    )

    assert told == [(2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("town", "message"),
    [
        ((-1, 3, 1, 1, 1, SIZE), "seed must be between 0 and 9223372036854775808, got -1"),
        ((0, 0, 0, 1, 1, SIZE), "places must be between 1 and 1000, got 0"),
        ((0, 3, 4, 1, 1, SIZE), "unknown_places must be between 0 and 3, got 4"),
        ((0, 3, 1, 0, 1, SIZE), "gallery_views must be between 1 and 100, got 0"),
        ((0, 3, 1, 1, 0, SIZE), "query_views must be between 1 and 100, got 0"),
        ((0, 3, 1, 1, 1, (10, 72)), "width of size must be between 64 and 4096, got 10"),
        ((0, 3, 1, 1, 1, (96, 5000)), "height of size must be between 64 and 4096, got 5000"),
    ],
)
def test_bad_numbers_are_refused(
    town: tuple[int, int, int, int, int, tuple[int, int]], message: str, tmp_path: Path
) -> None:
    """Each argument out of its range is named with its range, before anything is written."""
    seed, places, unknown, gallery, query, size = town
    with pytest.raises(OptionError) as caught:
        render_town(
            tmp_path / "new",
            seed=seed,
            places=places,
            unknown_places=unknown,
            gallery_views=gallery,
            query_views=query,
            size=size,
        )

    assert str(caught.value) == message
    assert not (tmp_path / "new").exists()


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A folder that cannot be written is an OptionError, not the system's error."""
    (tmp_path / "file").write_text("occupied")

    with pytest.raises(OptionError, match=r"^folder must be one that can be written, got .*; name another$"):
        tiny(tmp_path / "file")


def test_interrupted_run_leaves_no_manifest(tmp_path: Path) -> None:
    """A run that stops half-way leaves neither its own manifest nor the former town's."""
    tiny(tmp_path)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt(done, total)

    with pytest.raises(KeyboardInterrupt):
        render_town(tmp_path, places=2, unknown_places=0, size=SIZE, on_progress=stop)

    assert not list(tmp_path.glob("manifest.csv*"))


def test_camera_projects_like_a_pinhole() -> None:
    """A card 2 m wide at 10 m through a focal length of 100 px covers 20 px, where the geometry says."""
    sheet = Sheet(2.0, 1.0, 20)
    sheet.box((-1.0, 0.0, 1.0, 1.0), (200, 0, 0))
    place = STRAIGHT.footprint(upright(sheet, 3.0, 0.0))
    canvas = Image.new("RGB", STRAIGHT.size)
    assert place is not None
    draw(canvas, place, sheet.colour.convert("RGBa"))

    assert place.box == (120, 60, 140, 70)
    assert canvas.getbbox() == (120, 60, 140, 70)


@pytest.mark.parametrize(("x", "z"), [(0.0, 12.0), (60.0, 0.0)])
def test_cards_out_of_view_are_left_out(x: float, z: float) -> None:
    """A card behind the camera, or beside the picture, has no footprint."""
    assert STRAIGHT.footprint(upright(Sheet(2.0, 1.0, 4), x, z)) is None


def test_relief_throws_shadow_away_from_the_sun() -> None:
    """A ledge under a high sun from the right shades the wall below it and to its left, and nothing above it."""
    sheet = Sheet(4.0, 4.0, 20)
    sheet.relief.paste(WALL, (0, 0, *sheet.relief.size))
    sheet.box((-0.5, 2.0, 0.5, 2.2), (255, 255, 255), 60)
    shade = np.asarray(shadows(sheet, np.array([0.5, 0.7, 0.5])))
    below, above = shade[42:52], shade[:30]

    assert below.max() == 255
    assert below[:, :30].sum() > below[:, 50:].sum()
    assert above.max() == 0


def test_night_lights_only_glass() -> None:
    """At night a pane is brighter than its wall, by day it is not."""
    sheet = Sheet(2.0, 2.0, 10)
    sheet.box((-1.0, 0.0, 1.0, 2.0), (120, 120, 120), 0)
    sheet.box((-0.5, 0.5, 0.5, 1.5), (50, 60, 70), -20)
    for _ in range(20):
        sheet.light(corners((-0.5, 0.5, 0.5, 1.5)), (255, 210, 140))

    def shine(name: str) -> tuple[float, float]:
        weather = Weather(LIGHTS[name], np.array([0.0, 0.6, 0.8]), np.random.default_rng(0))
        pixels = np.asarray(develop(sheet, weather, 0.5, 5.0).convert("RGBA"))[..., :3]
        return float(pixels[10, 10].mean()), float(pixels[1, 1].mean())

    pane, wall = shine("night")
    day_pane, day_wall = shine("noon")

    assert pane > 2 * wall
    assert day_pane < day_wall


@pytest.mark.parametrize("name", LIGHTS)
def test_every_light_renders(name: str) -> None:
    """Each hour and weather gives a picture of its own that is neither black nor white."""
    stage = build_stage(0, "bakery", np.random.default_rng(0))
    weather = Weather(LIGHTS[name], np.array([0.3, 0.5, 0.8]), np.random.default_rng(1))
    pixels = np.asarray(render_stage(stage, STRAIGHT, weather))

    assert 15 < pixels.mean() < 240
    assert pixels.std() > 10


def test_tables_name_only_what_can_be_painted() -> None:
    """Every roof, material and pattern that a style may draw has its painter."""
    assert {roof for family in FAMILIES.values() for roof in family.roofs} <= set(ROOFS)
    assert {family.material for family in FAMILIES.values()} <= set(MATERIALS)
    assert set(PATTERNS) <= set(PATTERN_PAINTERS)
