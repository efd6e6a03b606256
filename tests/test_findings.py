"""What the doctor says of pictures, labels, splits and positions: each kind where it is due, and only there."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placewise.core import Finding, Photo, Position, Severity, Source, Split
from placewise.doctor import TABLE, examine
from placewise.doctor.labels import judge_labels
from placewise.doctor.look import PhotoFacts
from placewise.doctor.pictures import judge_pictures
from placewise.doctor.positions import judge_positions, near_any
from placewise.sources import read_source

HERE = Position(48.2, 16.37)
DOCUMENT = (Path(__file__).parents[1] / "docs" / "findings.md").read_text(encoding="utf-8")


def photo(name: str, split: Split = "gallery", place: str | None = None, position: Position | None = None) -> Photo:
    """A row."""
    return Photo(PurePosixPath(name), split, place, position)


def shown(findings: object) -> list[tuple[str, Severity, tuple[str, ...]]]:
    """Kind, severity and photos of each finding; each of them says something in one line."""
    assert isinstance(findings, (list, tuple))
    rows: list[Finding] = list(findings)
    assert all(found.detail and "\n" not in found.detail for found in rows)
    return [(found.kind, found.severity, found.photos) for found in rows]


def pictures(*facts: PhotoFacts) -> list[tuple[str, Severity, tuple[str, ...]]]:
    """What is said of files."""
    return shown([*judge_pictures(facts)])


def labels(
    *photos: Photo, positives: Mapping[PurePosixPath, tuple[PurePosixPath, ...]] | None = None
) -> list[tuple[str, Severity, tuple[str, ...]]]:
    """What is said of rows."""
    return shown([*judge_labels(Source(Path(), photos, positives=positives or {}))])


def positions(*facts: PhotoFacts) -> list[tuple[str, Severity, tuple[str, ...]]]:
    """What is said of positions."""
    return shown([*judge_positions(facts)])


def sized(name: str, width: int, height: int, split: Split = "gallery") -> PhotoFacts:
    """A sound photo of a size."""
    return PhotoFacts(photo(name, split), format="JPEG", width=width, height=height)


def at(name: str, lat: float, lon: float, place: str | None = None) -> PhotoFacts:
    """A sound photo at a position."""
    return PhotoFacts(photo(name, place=place, position=Position(lat, lon)))


def north(metres: float) -> float:
    """The latitude so many metres north of `HERE`."""
    return HERE.lat + metres / 111_195


# ---- the table and its page -----------------------------------------------------------------------------------------


def test_every_kind_is_documented() -> None:
    """docs/findings.md has a section for each kind, in the order of the table, with its severity and what to do."""
    sections = re.findall(r"^### (\w+)\n\n\*(\w+)\* · (.+?)(?=\n#|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)

    assert [(name, severity) for name, severity, _ in sections] == [(row.name, row.severity) for row in TABLE]
    assert all(len(text.strip().splitlines()) >= 2 for *_, text in sections)
    assert all(row.means and row.todo for row in TABLE)


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_extreme_aspect() -> None:
    """Strips, lying or standing, are one finding; panoramas of up to 4 to 1 are none."""
    assert pictures(sized("a", 401, 100), sized("b", 100, 900), sized("c", 400, 100)) == [
        ("extreme_aspect", "warning", ("a", "b"))
    ]
    assert pictures(sized("c", 400, 100), sized("d", 300, 300)) == []


def test_blank(tmp_path: Path) -> None:
    """A lens cap is blank by its pixels; fog with something in it is not."""
    noise = np.random.default_rng(0).integers(0, 3, (240, 320, 3), dtype=np.uint8)
    fog = np.full((240, 320, 3), 200, np.uint8)
    fog[:120] -= 20
    for name, pixels in (("cap.png", noise), ("white.png", noise + np.uint8(250)), ("fog.png", fog)):
        PIL.Image.fromarray(pixels).save(tmp_path / name)

    found = examine(read_source(tmp_path))

    assert shown(found.findings) == [("blank", "warning", ("cap.png", "white.png"))]
    assert [fact.blank for fact in found.facts] == [True, False, True]


def test_wrong_extension() -> None:
    """One finding for each pair of ending and content, in any case; endings that promise nothing are left alone."""
    named = [PhotoFacts(photo(f"{n}.JPG"), format="WebP", width=9, height=9) for n in range(3)]
    named += [
        PhotoFacts(photo(name), format=format_, width=9, height=9)
        for name, format_ in (
            ("a.png", "JPEG"),
            ("b.heic", "JPEG"),
            ("c.heic", "HEIC"),
            ("b.jpeg", "JPEG"),
            ("c.tif", "TIFF"),
            ("d", "PNG"),
            ("e.photo", "GIF"),
            ("f.heif", "AVIF"),
            ("g.pgm", "PPM"),
        )
    ]

    assert pictures(*named) == [
        ("wrong_extension", "info", ("0.JPG", "1.JPG", "2.JPG")),
        ("wrong_extension", "info", ("a.png",)),
        ("wrong_extension", "info", ("b.heic",)),
    ]


def exif_jpeg(orientation: int = 1, gps: Mapping[int, object] | None = None) -> bytes:
    """A photo with EXIF data."""
    pixels = np.random.default_rng(orientation).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    image = PIL.Image.fromarray(pixels).resize((160, 120), PIL.Image.Resampling.BICUBIC)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    if gps:
        exif[0x8825] = dict(gps)
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=95)
    return file.getvalue()


def test_exif_data_are_read(tmp_path: Path) -> None:
    """Turned photos and photos with GPS are one info each; a position off the Earth is a warning, (0, 0) an info."""
    gps = {1: "N", 2: (48.0, 12.0, 0.0), 3: "E", 4: (16.0, 22.0, 12.0)}
    for name, data in {
        "a.jpg": exif_jpeg(1),
        "b.jpg": exif_jpeg(6),
        "c.jpg": exif_jpeg(3, gps),
        "d.jpg": exif_jpeg(2, gps | {2: (95.0, 0.0, 0.0)}),
        "e.jpg": exif_jpeg(4, gps | {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)}),
    }.items():
        (tmp_path / name).write_bytes(data)
    rows = tuple(photo(name) for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"))

    found = examine(Source(tmp_path, rows))

    assert shown(found.findings) == [
        ("exif_rotation", "info", ("b.jpg", "c.jpg", "d.jpg", "e.jpg")),
        ("gps_present", "info", ("c.jpg", "d.jpg")),
        ("bad_position", "warning", ("d.jpg",)),
        ("bad_position", "info", ("e.jpg",)),
    ]
    assert [(fact.width, fact.height, fact.orientation) for fact in found.facts[:3]] == [
        (160, 120, 1),
        (120, 160, 6),
        (160, 120, 3),
    ]
    assert found.facts[2].position == Position(48.2, 16.37)


def test_mixed_resolutions() -> None:
    """Sizes that differ by 4 in the middle nine tenths, or by 2 between the splits; a few odd ones are no matter."""
    usual = [sized(f"{n}", 1000 + n, 700) for n in range(40)]

    assert pictures(*usual, sized("thumbnail", 100, 80), sized("large", 9000, 6000)) == []
    small = [sized(f"s{n}", 240, 200) for n in range(10)]
    assert pictures(*usual, *small) == [("mixed_resolutions", "info", tuple(f"s{n}" for n in range(10)))]
    asking = [sized(f"q{n}", 480, 400, "query") for n in range(3)]
    assert pictures(*usual, *asking) == [("mixed_resolutions", "info", ("q0", "q1", "q2"))]


def test_broken_photos_have_no_shape() -> None:
    """Of a photo that does not decode nothing is said but that."""
    assert pictures(PhotoFacts(photo("a.png"), fault="truncated", format="JPEG", has_gps=True)) == []
    assert pictures() == positions() == []


# ---- labels and splits ----------------------------------------------------------------------------------------------


def test_unlabelled() -> None:
    """Photos without a place among others are one finding; a source without places has none."""
    assert labels(photo("a", place="mill"), photo("b"), photo("c", place="mill"), photo("d")) == [
        ("unlabelled", "info", ("b", "d"))
    ]
    assert labels(photo("a"), photo("b")) == []


def test_single_photo_place() -> None:
    """Gallery places of one photo in all are one finding; one photo and one query, or an open-set query, is none."""
    rows = [
        photo("a1", place="a"),
        photo("b1", place="b"),
        photo("c1", place="c"),
        photo("c2", place="c"),
        photo("b2", "query", "b"),
        photo("d1", "query", "d"),
    ]

    assert labels(*rows)[0] == ("single_photo_place", "info", ("a1",))
    assert not any(kind == "single_photo_place" for kind, *_ in labels(*rows[1:]))


def test_split_imbalance() -> None:
    """No gallery; a place asked far more than it is held; a place held far more than others. Else nothing."""
    held = [photo(f"{place}{n}", place=place) for place in "abc" for n in range(2)]
    asking = [photo(f"q{n}", "query", "a") for n in range(20)]

    assert labels(*asking) == [("split_imbalance", "warning", ())]
    assert labels(*held, *asking) == [("split_imbalance", "warning", ("a0", "a1"))]
    assert labels(*held, *asking[:-1]) == []
    crowd = [photo(f"d{n}", place="d") for n in range(40)]
    assert labels(*held, *crowd) == [("split_imbalance", "info", tuple(f"d{n}" for n in range(40)))]
    assert labels(*held, *crowd[:-1]) == []


def test_query_without_positives_by_place() -> None:
    """Open-set queries are one info; if all are, it is a warning; queries without a place are not judged."""
    held = [photo("g1", place="a"), photo("g2", place="a")]
    known, lost, blank = photo("q1", "query", "a"), photo("q2", "query", "b"), photo("q3", "query")

    assert labels(*held, known, lost) == [("query_without_positives", "info", ("q2",))]
    assert labels(*held, lost) == [("query_without_positives", "warning", ("q2",))]
    assert labels(*held, known) == []
    assert [kind for kind, *_ in labels(*held, known, blank)] == ["unlabelled"]


def test_query_without_positives_by_known_matches() -> None:
    """Where the source says what matches, that counts."""
    rows = [photo("g"), photo("q1", "query"), photo("q2", "query")]

    found = labels(*rows, positives={PurePosixPath("q1"): (PurePosixPath("g"),)})

    assert found == [("query_without_positives", "info", ("q2",))]


def test_query_without_positives_by_position() -> None:
    """Without places it is a gallery photo within 25 m; queries without a position are not judged."""
    rows = [
        photo("g", position=HERE),
        photo("near", "query", position=Position(north(24), HERE.lon)),
        photo("far", "query", position=Position(north(26), HERE.lon)),
        photo("nowhere", "query"),
    ]

    assert labels(*rows) == [("query_without_positives", "info", ("far",))]
    labelled = labels(photo("g", place="a"), *rows[1:3])
    assert not any(kind == "query_without_positives" for kind, *_ in labelled)


degrees = st.tuples(
    st.sampled_from([-90.0, -89.99999, 0.0, 48.2, 89.9999, 90.0]) | st.floats(48.199, 48.201),
    st.sampled_from([-180.0, -179.9999, 0.0, 179.9999, 180.0]) | st.floats(16.369, 16.371),
)


@given(st.lists(degrees, max_size=8), st.lists(degrees, max_size=8))
def test_near_any_is_what_all_distances_say(asking: list[tuple[float, float]], held: list[tuple[float, float]]) -> None:
    """Looking into neighbouring cubes gives what comparing all with all gives, also at the poles and the date line."""

    def point(lat: float, lon: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        lat, lon = np.radians([lat, lon])
        return 6_371_008.8 * np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])

    wanted = [any(np.linalg.norm(point(*one) - point(*other)) <= 25 for other in held) for one in asking]

    assert near_any([Position(*one) for one in asking], [Position(*one) for one in held]) == wanted


# ---- positions ------------------------------------------------------------------------------------------------------


def test_the_position_0_0_is_none() -> None:
    """A row at (0, 0) is a warning and takes part in nothing else; the equator alone is a position."""
    rows = [at("a", 0, 0, "a"), at("b", 1, 1, "a"), at("c", 0, 32, "c")]

    assert positions(*rows) == [("bad_position", "warning", ("a",))]


def test_a_photo_far_from_its_place() -> None:
    """One photo more than a kilometre from three others of its place is named; all such are one finding."""
    places = [at(f"{place}{n}", north(100 * n), HERE.lon, place) for place in "ab" for n in range(3)]
    strays = [at("a-far", north(5000), HERE.lon, "a"), at("b-far", -HERE.lat, HERE.lon, "b")]

    assert positions(*places) == []
    assert positions(*places, *strays) == [("bad_position", "warning", ("a-far", "b-far"))]


def test_a_place_in_several_parts() -> None:
    """Parts with a gap of more than a kilometre contradict the label; a long street without gaps does not."""
    parts = [at(f"{n}", north(metres), HERE.lon, "inn") for n, metres in enumerate((0, 50, 9000, 9050))]
    street = [at(f"s{n}", north(400 * n), HERE.lon, "street") for n in range(20)]
    unlabelled = [at(f"u{n}", 10 * n + 1, 0) for n in range(5)]

    assert positions(*parts, *street, *unlabelled) == [("position_conflict", "warning", ("0", "1", "2", "3"))]


def test_a_row_against_exif() -> None:
    """A row more than 200 m from the EXIF position is named; the same position, or none, is no conflict."""

    def both(name: str, metres: float) -> PhotoFacts:
        return PhotoFacts(photo(name, position=Position(north(metres), HERE.lon)), position=HERE, has_gps=True)

    rows = [both("same", 0), both("near", 190), both("far", 210), PhotoFacts(photo("row", position=HERE))]

    assert positions(*rows) == [("position_conflict", "warning", ("far",))]


def test_positions_across_the_date_line() -> None:
    """Two photos on both sides of it are neighbours."""
    assert positions(at("a", -16.8, 179.9999, "taveuni"), at("b", -16.8, -179.9999, "taveuni")) == []


# ---- real photos ----------------------------------------------------------------------------------------------------


def test_photos_along_a_street_carry_gps(photos_root: Path) -> None:
    """29 positions in the order of the photos, and one info that the files tell them."""
    source = read_source(photos_root / "street-gps")

    found = examine(source)

    assert [str(fact.photo.path) for fact in found.facts] == [f"{n:02}.jpg" for n in range(1, 30)]
    told = [(fact.position, fact.photo.position) for fact in found.facts if fact.position and fact.photo.position]
    assert [(one.lat, one.lon) for one, _ in told] == [pytest.approx((other.lat, other.lon)) for _, other in told]
    assert len(told) == 29
    assert shown(found.findings) == [("gps_present", "info", tuple(f"{n:02}.jpg" for n in range(1, 30)))]


@pytest.mark.parametrize("name", ["buildings/castle-P19", "buildings/Herz-Jesus-P8", "distractors"])
def test_clean_real_photos_give_no_finding(photos_root: Path, name: str) -> None:
    """Sound data are left in peace."""
    assert examine(read_source(photos_root / name)).findings == ()


TWICE = [
    ("alai_darwaza/000.jpg", "alai_darwaza/006.jpg"),
    ("golden_temple/001.jpg", "golden_temple/026.jpg"),
    ("great_pyramid_of_giza/002.jpg", "great_pyramid_of_giza/010.jpg"),
]
"""Looked at: one picture under two captions, in two crops, and mirrored."""


def test_landmarks_are_sound(photos_root: Path, open_set_queries: Callable[[Source], int]) -> None:
    """But for three pictures that are there twice, all that is said is which queries are open-set."""
    source = read_source(photos_root / "landmarks")

    found = examine(source)

    assert not found.has_errors
    assert {kind: count for kind, count in found.counts.items() if count} == {
        "near_duplicate": 2,
        "cross_split_near_duplicate": 1,
        "query_without_positives": 1,
    }
    assert [finding.photos for finding in found.findings if "near" in finding.kind] == TWICE
    assert len(found.findings[-1].photos) == open_set_queries(source) == 152


@pytest.fixture
def open_set_queries() -> Callable[[Source], int]:
    """Counts queries whose place the gallery does not hold."""

    def count(source: Source) -> int:
        held = {row.place for row in source.of("gallery")}
        return sum(row.place not in held for row in source.of("query"))

    return count
