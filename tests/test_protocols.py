"""Protocols: how they are spelled, and what each counts as right."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from placewise.core import Grades, Photo, Position, Source
from placewise.errors import EvaluationError, OptionError, SourceError
from placewise.scoring.protocols import KINDS, find_protocol, truth_of
from placewise.scoring.truth import Truth
from placewise.sources import read_source
from placewise.sources.utm import named_position, planes_of, position_of

BERLIN = (52.52, 13.405)
METRE = 1 / 111_195
"""Degrees of latitude, roughly."""


def photo(name: str, split: str = "gallery", **fields: object) -> Photo:
    """A photo of which only what matters is given."""
    return Photo(PurePosixPath(name), split, **fields)  # type: ignore[arg-type]


def rights(truth: Truth) -> dict[str, list[str]]:
    """Each query with the names of what is right."""
    names = [str(photo.path) for photo in truth.gallery]
    return {
        str(query.path): [names[row] for row in rows]
        for query, rows in zip(truth.queries, truth.positives, strict=True)
    }


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("place", "place"),
        ("radius", "radius:25m"),
        ("radius:25", "radius:25m"),
        ("radius:7.5m", "radius:7.5m"),
        ("radius:25m:drop", "radius:25m:drop"),
        ("frames:10", "frames:±10"),
        ("frames:±10", "frames:±10"),
        ("frames:+-10", "frames:±10"),
        ("pairs", "pairs"),
        ("pairs:a/b.csv", "pairs:a/b.csv"),
        ("revisited", "revisited"),
        ("landmarks-gap", "landmarks-gap"),
    ],
)
def test_a_spelling_names_a_protocol(text: str, spelled: str) -> None:
    """Each way to write a protocol gives one, which says how it is spelled and is spelled that way again."""
    protocol = find_protocol(text)

    assert protocol.spelled == spelled
    assert find_protocol(spelled) == protocol
    assert protocol.law


@pytest.mark.parametrize(
    "text",
    ["", "places", "place:1", "radius:0m", "radius:-5m", "radius:25m:keep", "frames", "frames:x", "revisited:easy"],
)
def test_another_spelling_is_refused_with_the_list(text: str) -> None:
    """The line names every protocol."""
    with pytest.raises(
        OptionError, match=r"^a protocol must be one of place, radius:25m\[:drop\], frames:±10, "
    ) as info:
        find_protocol(text)

    assert str(info.value).endswith(f"got {text!r}; correct its spelling")
    assert all(kind.spelling in str(info.value) for kind in KINDS.values())


def test_exclude_last_belongs_to_pairs() -> None:
    """It is refused elsewhere, and where queries and gallery are apart."""
    with pytest.raises(OptionError, match=r"^exclude_last must be 0 or more and come with the protocol pairs, got 5 "):
        find_protocol("frames:2", exclude_last=5)
    asked = Source(
        Path(),
        (photo("a"), photo("q", "query")),
        positives={PurePosixPath("q"): (PurePosixPath("a"),)},
    )
    with pytest.raises(EvaluationError, match=r"^exclude_last must come with one sequence that asks its own past, "):
        truth_of(find_protocol("pairs", exclude_last=5), asked)


def test_place_goes_by_labels() -> None:
    """Same label, right; a label that the gallery lacks, open-set; no label, excluded."""
    source = Source(
        Path(),
        (
            photo("a", place="x"),
            photo("b", place="y"),
            photo("c", place="x"),
            photo("d"),
            photo("q1", "query", place="x"),
            photo("q2", "query", place="z"),
            photo("q3", "query"),
        ),
    )

    truth = truth_of(find_protocol("place"), source)

    assert rights(truth) == {"q1": ["a", "c"], "q2": [], "q3": []}
    assert truth.counts == {"evaluated": 1, "without_positives": 0, "open_set": 1, "excluded": 1}


def street(*north_m: float, split: str) -> list[Photo]:
    """Photos along a meridian, by their metres north of a point."""
    lat, lon = BERLIN
    return [
        photo(f"{split}{number}", split, position=Position(lat + metres * METRE, lon))
        for number, metres in enumerate(north_m)
    ]


def test_radius_counts_misses_or_drops_them() -> None:
    """Within the radius is right; a query without such a photo is a miss, or dropped; it is open-set in both."""
    photos = (*street(0, 10, 300, split="gallery"), *street(15, 100, split="query"), photo("nowhere", "query"))
    source = Source(Path(), photos)

    missed, dropped = (truth_of(find_protocol(text), source) for text in ("radius:25m", "radius:25m:drop"))

    assert rights(missed) == rights(dropped) == {"query0": ["gallery0", "gallery1"], "query1": [], "nowhere": []}
    assert missed.counts == {"evaluated": 2, "without_positives": 1, "open_set": 1, "excluded": 1}
    assert dropped.counts == {"evaluated": 1, "without_positives": 0, "open_set": 1, "excluded": 1}


def test_the_radius_is_inclusive_to_the_metre_of_utm_names() -> None:
    """UTM metres in names are taken as they stand: 25 m is within 25 m, 25.01 m is not."""
    source = Source(
        Path(),
        (
            photo("@500000@5800000@.jpg"),
            photo("@500015@5800020@.jpg", "query"),
            photo("@500025.01@5800000@.jpg", "query"),
        ),
    )

    truth = truth_of(find_protocol("radius:25m"), source)

    assert [rows.tolist() for rows in truth.positives] == [[0], []]


def test_degrees_become_the_metres_that_they_were() -> None:
    """A manifest's UTM columns survive the way over degrees: an inclusive radius includes."""
    rng = np.random.default_rng(0)
    metres = np.stack([rng.uniform(4e5, 6e5, 50), rng.uniform(5.7e6, 5.8e6, 50)], axis=1)
    photos = [
        photo(str(row), position=position_of(str(pair[0]), str(pair[1]), "33U")) for row, pair in enumerate(metres)
    ]

    (plane,) = planes_of(photos, photos)

    assert np.abs(plane.metres - metres).max() < 1e-6
    assert np.array_equal(plane.metres, plane.others)


def test_a_border_between_zones_tears_nothing_apart() -> None:
    """Two photos some metres apart on both sides of a zone's border, or of the 180th meridian, stay neighbours."""
    for border in (12.0, 180.0):
        west, east = border - 5e-5, border + 5e-5
        pair = [
            photo("w", position=Position(48.0, west)),
            photo("e", position=Position(48.0, east - 360 * (east > 180))),
        ]

        planes = list(planes_of(pair, pair))

        assert len(planes) == 2
        for plane in planes:
            assert 7 < float(np.hypot(*(plane.others[0] - plane.others[1]))) < 8


@pytest.mark.parametrize("elsewhere", [(40.7, -74.0), (55.75, 37.6), (37.77, -122.42), (-33.9, 18.4)])
def test_a_radius_is_as_long_in_each_city_of_a_set(elsewhere: tuple[float, float]) -> None:
    """A set of two cities has the positives of both alone: 24 m are within 25 m and 26 m are not, however far apart."""
    photos = []
    for city, (lat, lon) in {"here": (51.5, -0.1), "there": elsewhere}.items():
        for number in range(3):
            north, step = lat + number / 100, 1 / 111_250
            photos += [
                photo(f"{city}{number}", position=Position(north, lon)),
                photo(f"{city}{number}near", "query", position=Position(north + 24 * step, lon)),
                photo(f"{city}{number}far", "query", position=Position(north + 26 * step, lon)),
            ]

    found = rights(truth_of(find_protocol("radius:25m"), Source(Path(), tuple(photos))))

    assert found == {
        **{f"{city}{n}near": [f"{city}{n}"] for city in ("here", "there") for n in range(3)},
        **{f"{city}{n}far": [] for city in ("here", "there") for n in range(3)},
    }


def test_metres_of_names_in_two_zones_are_not_mixed() -> None:
    """The same easting and northing in another zone is another place; positions say where."""
    names = [f"@500000.0@5800000.0@{zone}@U@52.3{zone}@{lon}@.jpg" for zone, lon in ((32, 9.0), (33, 15.0))]
    here, there = (named_position(name) for name in names)
    source = Source(Path(), (photo(names[0], position=here), photo(names[1], "query", position=there)))

    assert truth_of(find_protocol("radius:25m"), source).positives[0].size == 0


@pytest.mark.parametrize(("radius", "groups"), [("25m", 4), ("100m", 2), ("1000m", 1)])
def test_queries_that_may_share_a_positive_within_the_radius_are_one_spot(radius: str, groups: int) -> None:
    """A spot is as wide as two radii, and 50 m at least: queries 150 m apart are not independent at 100 m."""
    source = Source(Path(), (*street(0, split="gallery"), *street(0, 150, 450, 600, split="query")))

    truth = truth_of(find_protocol(f"radius:{radius}"), source)

    assert len(set(truth.groups.codes.tolist())) == groups
    assert truth.groups.unit == f"spots of {max(50, 2 * int(radius[:-1]))} m around a query"


def test_frames_go_by_numbers() -> None:
    """Within ± n; a traverse has its own name and the numbering of the other; the ends have fewer positives."""
    source = Source(
        Path(),
        (
            *(photo(f"day/{n}.jpg", sequence="day", frame=n) for n in range(6)),
            *(photo(f"night/{n}.jpg", "query", sequence="night", frame=n) for n in (0, 3, 9)),
        ),
    )

    truth = truth_of(find_protocol("frames:1"), source)

    assert rights(truth) == {
        "night/0.jpg": ["day/0.jpg", "day/1.jpg"],
        "night/3.jpg": ["day/2.jpg", "day/3.jpg", "day/4.jpg"],
        "night/9.jpg": [],
    }
    assert truth.counts["open_set"] == 1


def test_frames_of_shared_sequences_are_numbered_each_by_itself() -> None:
    """Where both sides have the same sequences, a number means nothing in another one."""
    source = Source(
        Path(),
        (
            photo("a5", sequence="a", frame=5),
            photo("b5", sequence="b", frame=5),
            photo("qa", "query", sequence="a", frame=6),
            photo("qb", "query", sequence="b", frame=9),
        ),
    )

    assert rights(truth_of(find_protocol("frames:1"), source)) == {"qa": ["a5"], "qb": []}


def test_photos_without_a_sequence_do_not_change_the_numbering() -> None:
    """Two traverses have one numbering, also where each side has a photo that belongs to neither."""
    photos = [photo("s1", sequence="summer", frame=1), photo("w1", "query", sequence="winter", frame=1)]
    strays = [photo("x", frame=900), photo("y", "query", frame=901)]

    found = rights(truth_of(find_protocol("frames:0"), Source(Path(), (*photos, *strays))))

    assert found == {"w1": ["s1"], "y": []}


def test_sequences_that_match_in_part_are_refused() -> None:
    """Whether numbers are those of one numbering or of each sequence cannot be guessed."""
    photos = (
        photo("a5", sequence="a", frame=5),
        photo("qa", "query", sequence="a", frame=6),
        photo("qc", "query", sequence="c", frame=5),
    )

    with pytest.raises(EvaluationError, match=r"^all sequences of queries or none .* got 'a' that is and 'c' that is "):
        truth_of(find_protocol("frames:1"), Source(Path(), photos))


def test_names_number_frames_that_have_no_number(photos_root: Path) -> None:
    """The corridor's frames are numbered by their files' names: each query has its own frame and its neighbours."""
    truth = truth_of(find_protocol("frames:1"), read_source(photos_root / "corridor"))

    assert [len(rows) for rows in truth.positives] == [2, *[3] * 109, 2]


def test_pairs_are_what_the_source_or_a_file_says(tmp_path: Path) -> None:
    """A file of paths or of frames stands in for the source's own pairs; a line that names nothing is refused."""
    source = Source(
        Path(),
        (photo("a", frame=1), photo("b", frame=2), photo("q", "query", frame=3), photo("r", "query", frame=4)),
        positives={PurePosixPath("q"): (PurePosixPath("a"),)},
    )
    by_path, by_frame = tmp_path / "paths.csv", tmp_path / "frames.csv"
    by_path.write_text("query,positive\nr,b\nr,a\n", encoding="utf-8")
    by_frame.write_text("frame,earlier_frame\n3,1\n3,2\n", encoding="utf-8")

    assert rights(truth_of(find_protocol("pairs"), source)) == {"q": ["a"], "r": []}
    assert rights(truth_of(find_protocol(f"pairs:{by_path}"), source)) == {"q": [], "r": ["a", "b"]}
    assert rights(truth_of(find_protocol(f"pairs:{by_frame}"), source)) == {"q": ["a", "b"], "r": []}
    by_path.write_text("query,positive\nr,z\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"line 2, must name two photos of the source, got 'r,z'; correct it$"):
        truth_of(find_protocol(f"pairs:{by_path}"), source)


def test_a_sequence_asks_its_own_past() -> None:
    """A frame sees the frames of its sequence that are more than n before it, and is right only about those."""
    frames = [photo(f"s{n}", sequence="s", frame=n) for n in (7, 0, 1, 2, 3, 4)] + [photo("t0", sequence="t", frame=0)]
    said = {
        PurePosixPath("s4"): (PurePosixPath("s1"), PurePosixPath("s3")),
        PurePosixPath("s7"): (PurePosixPath("t0"),),
    }

    truth = truth_of(find_protocol("pairs", exclude_last=2), Source(Path(), tuple(frames), positives=said))

    seen = {
        str(query.path): [str(photo.path) for photo in truth.gallery[low:high]]
        for query, (low, high) in zip(truth.queries, truth.candidates.tolist(), strict=True)
    }
    assert seen == {
        "s0": [],
        "s1": [],
        "s2": [],
        "s3": ["s0"],
        "s4": ["s0", "s1"],
        "s7": ["s0", "s1", "s2", "s3", "s4"],
        "t0": [],
    }
    assert rights(truth)["s4"] == ["s1"]
    assert truth.counts == {"evaluated": 1, "without_positives": 0, "open_set": 2, "excluded": 4}


def test_pairs_may_lie_beside_a_manifest(tmp_path: Path) -> None:
    """A folder with a manifest and positives.csv has both."""
    (tmp_path / "manifest.csv").write_text(
        "path,place,split,sequence,frame\na.jpg,,gallery,s,1\nb.jpg,,gallery,s,9\n", encoding="utf-8"
    )
    (tmp_path / "positives.csv").write_text("frame,earlier_frame\n9,1\n", encoding="utf-8")

    truth = truth_of(find_protocol("pairs", exclude_last=2), read_source(tmp_path))

    assert rights(truth) == {"a.jpg": [], "b.jpg": ["a.jpg"]}


def test_the_loop_of_the_city_closes_beyond_the_last_frames(photos_root: Path) -> None:
    """No frame of the city's loop sees its last 50, and every pair that positives.csv names is beyond them."""
    source = read_source(photos_root / "city-centre")

    truth = truth_of(find_protocol("pairs"), source)

    assert truth.candidates[:, 1].tolist() == [max(0, row - 50) for row in range(1237)]
    assert sum(len(rows) for rows in truth.positives) == sum(len(set(others)) for others in source.positives.values())


def test_revisited_sets_are_graded() -> None:
    """Each setup has its right photos and its junk; a query that is not graded, or has only junk, is excluded."""
    names = {name: PurePosixPath(name) for name in "abcd"}
    grades = {PurePosixPath("q"): Grades(easy=(names["a"],), hard=(names["b"],), junk=(names["c"],))}
    grades[PurePosixPath("s")] = Grades(junk=(names["a"],))
    queries = [photo(name, "query") for name in "qrs"]
    source = Source(Path(), (*map(photo, "abcd"), *queries), grades=grades)

    truth = truth_of(find_protocol("revisited"), source)

    assert {name: [rows.tolist() for rows in rows[0]] for name, rows in truth.setups.items()} == {
        "easy": [[0], [1, 2]],
        "medium": [[0, 1], [2]],
        "hard": [[1], [0, 2]],
    }
    assert [rows.tolist() for rows in truth.junk] == [[2], [], [0]]
    assert truth.counts == {"evaluated": 1, "without_positives": 0, "open_set": 0, "excluded": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("place", r"^the gallery must hold a photo with a place, got none; "),
        ("radius", r"^there must be a gallery photo with a position, got none; "),
        ("frames:1", r"^there must be a gallery photo with a frame, got none; "),
        ("pairs", r"^the source must say which photos show the same, got nothing; "),
        ("revisited", r"^the source must grade its positives as easy, hard and junk, got no grades; "),
        ("landmarks-gap", r"^the gallery must hold a photo with a place, got none; "),
    ],
)
def test_a_source_without_what_a_protocol_needs_is_refused(text: str, message: str) -> None:
    """One line says what is missing."""
    with pytest.raises(EvaluationError, match=message):
        truth_of(find_protocol(text), Source(Path(), (photo("a"), photo("q", "query"))))


def test_queries_that_share_a_positive_are_one_group() -> None:
    """Groups are what is connected by shared positives; intervals draw them together."""
    said = {
        PurePosixPath("q1"): (PurePosixPath("a"), PurePosixPath("b")),
        PurePosixPath("q2"): (PurePosixPath("c"),),
        PurePosixPath("q3"): (PurePosixPath("b"), PurePosixPath("c")),
        PurePosixPath("q4"): (PurePosixPath("d"),),
    }
    source = Source(Path(), (*map(photo, "abcd"), *(photo(f"q{n}", "query") for n in range(1, 6))), positives=said)

    codes = truth_of(find_protocol("pairs"), source).groups.codes

    assert codes[0] == codes[1] == codes[2]
    assert len(set(codes[2:].tolist())) == 3
