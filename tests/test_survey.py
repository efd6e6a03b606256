"""What the page of findings shows beside the findings: order, counts, positions, and its plots."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placewise import photo_plots
from placewise.core import Finding, Photo, Position, Severity, Source, Split
from placewise.doctor import KINDS, Examination, Group, PhotoFacts
from placewise.survey import Spread, Survey, by_severity, serious_first, survey_of, telling


def photo(name: str, split: Split = "gallery", place: str | None = None, position: Position | None = None) -> Photo:
    """A row."""
    return Photo(PurePosixPath(name), split, place, position)


def surveyed(*facts: PhotoFacts, findings: tuple[Finding, ...] = ()) -> Survey:
    """What is shown of photos."""
    photos = tuple(fact.photo for fact in facts)
    source = Source(Path(), photos)
    return survey_of(
        Examination(len(photos), len(source.of("gallery")), len(source.of("query")), findings, facts), source
    )


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(("error", "warning", "info")))))
def test_findings_are_gathered_without_loss_the_worst_first(pairs: list[tuple[str, Severity]]) -> None:
    """Each finding is in the section of its kind and severity, in its order; severities fall, kinds follow theirs."""
    findings = [Finding(kind, severity, (), str(number)) for number, (kind, severity) in enumerate(pairs)]

    sections = by_severity(findings)

    keys = [(("error", "warning", "info").index(severity), KINDS.index(kind)) for severity, kind in sections]
    assert keys == sorted(set(keys))
    for (severity, kind), found in sections.items():
        assert found == [finding for finding in findings if (finding.severity, finding.kind) == (severity, kind)]
    assert sum(map(len, sections.values())) == len(findings)


def test_the_most_serious_copies_come_first() -> None:
    """The same file on both sides, then near copies on both sides, then several places, then files, then size."""

    def group(*rows: tuple[Split, str, int]) -> Group:
        return Group(
            tuple(photo(f"{number}", split, place) for number, (split, place, _) in enumerate(rows)),
            tuple(content for *_, content in rows),
        )

    across = group(("gallery", "a", 1), ("query", "a", 1))
    near_across = group(("gallery", "a", 1), ("query", "a", 2))
    two_places = group(("gallery", "a", 1), ("gallery", "b", 2))
    same = group(("gallery", "a", 1), ("gallery", "a", 1))
    near_of_three = group(("gallery", "a", 1), ("gallery", "a", 2), ("gallery", "a", 3))
    near = group(("gallery", "a", 1), ("gallery", "a", 2))

    assert serious_first((near, near_of_three, same, two_places, near_across, across)) == (
        across,
        near_across,
        two_places,
        same,
        near_of_three,
        near,
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(("gallery", "query")), st.sampled_from("abc"), st.integers(0, 4)),
        min_size=2,
        max_size=40,
    )
)
def test_the_few_photos_of_a_group_show_what_is_wrong_with_it(rows: list[tuple[Split, str, int]]) -> None:
    """Both splits are seen and every place that fits, each photo once, gallery first, same number for the same file."""
    photos = tuple(photo(f"{number}", split, place) for number, (split, place, _) in enumerate(rows))
    contents = tuple(content for *_, content in rows)

    shown = telling(Group(photos, contents), 6)

    seen = [one for one, _ in shown]
    assert len(seen) == len(set(seen)) == min(6, len(rows))
    assert {one.split for one in seen} == {one.split for one in photos}
    assert {one.place for one in seen} == {one.place for one in photos}
    assert [one.split for one in seen] == sorted(one.split for one in seen)
    assert list(dict.fromkeys(file for _, file in shown)) == list(range(len({file for _, file in shown})))
    file_of = dict(zip(photos, contents, strict=True))
    assert len({(file_of[one], file) for one, file in shown}) == len({file for _, file in shown})
    assert len({(file_of[one], file) for one, file in shown}) == len({file_of[one] for one in seen})


def test_photos_are_counted_by_place_shape_format_and_size() -> None:
    """Photos that do not decode belong to their place, but have no size, no shape and no format."""
    survey = surveyed(
        PhotoFacts(photo("1", "gallery", "a"), "", "JPEG", 100, 40, 30),
        PhotoFacts(photo("2", "query", "a"), "", "JPEG", 200, 30, 40),
        PhotoFacts(photo("3", "query", "b"), "", "PNG", 300, 40, 40),
        PhotoFacts(photo("4", "query", "b"), "", "PNG", 300, 80, 60),
        PhotoFacts(photo("5", "gallery", "b"), "truncated", size_bytes=9),
        PhotoFacts(photo("6"), "missing"),
    )

    assert survey.places == (Spread("b", 1, 2, 609), Spread("a", 1, 1, 300))
    assert survey.unlabelled == 1
    assert survey.shapes == (Spread("landscape", 1, 1, 400), Spread("portrait", 0, 1, 200), Spread("square", 0, 1, 300))
    assert survey.formats == (Spread("JPEG", 1, 1, 300), Spread("PNG", 0, 2, 600))
    assert survey.sizes == {(40, 30, "gallery"): 1, (30, 40, "query"): 1, (40, 40, "query"): 1, (80, 60, "query"): 1}
    assert [(row.split, row.photos, row.smallest, row.usual, row.largest) for row in survey.sides] == [
        ("gallery", 1, 40, 40, 40),
        ("query", 3, 40, 40, 80),
    ]


def test_a_position_far_off_does_not_shrink_the_map() -> None:
    """Doubtful photos among the others are marked, those beyond are named, (0, 0) and no position are not on it."""
    here = [PhotoFacts(photo(f"{n}", "gallery", "a", Position(48.2 + n / 1000, 16.37))) for n in range(4)]
    exif = PhotoFacts(photo("q", "query", "a"), position=Position(48.201, 16.371))
    near = PhotoFacts(photo("near", "gallery", "a", Position(48.205, 16.372)))
    far = PhotoFacts(photo("far", "gallery", "a", Position(-33.0, 151.0)))
    null = PhotoFacts(photo("null", "gallery", "a", Position(0.0, 0.0)))
    none = PhotoFacts(photo("none"))
    doubt = Finding("bad_position", "warning", ("near", "far", "null"), "")

    where = surveyed(*here, exif, near, far, null, none, findings=(doubt,)).whereabouts

    assert where is not None
    assert (len(where.gallery), len(where.query), where.missing) == (5, 1, 2)
    assert [one.path.name for one, _ in where.doubtful] == ["near"]
    assert [one.path.name for one in where.beyond] == ["far"]
    assert np.ptp(where.gallery[:, 1]) == pytest.approx(0.005 * 111_195, rel=0.001)
    drawn = photo_plots.photo_map(where)
    assert drawn.kinds == ("query", "doubtful position")
    assert [sign.text for sign in drawn.signs] == ["", "near"]
    assert all(0 <= x <= drawn.width and 0 <= y <= drawn.height for x, y in drawn.gallery)


def test_where_every_position_is_doubtful_all_are_on_the_map() -> None:
    """There is nothing then that a stray could be measured against."""
    facts = [PhotoFacts(photo(f"{n}", "gallery", "a", Position(48.0 + n, 16.0))) for n in range(3)]

    where = surveyed(*facts, findings=(Finding("position_conflict", "warning", ("0", "1", "2"), ""),)).whereabouts

    assert where is not None
    assert (len(where.gallery), len(where.doubtful), where.beyond) == (3, 3, ())
    assert surveyed(PhotoFacts(photo("x"))).whereabouts is None


@given(
    st.dictionaries(
        st.tuples(st.integers(1, 60_000), st.integers(1, 60_000), st.sampled_from(("gallery", "query"))),
        st.integers(1, 1000),
        min_size=1,
        max_size=30,
    )
)
def test_every_size_is_a_dot_within_the_plot(sizes: dict[tuple[int, int, str], int]) -> None:
    """No photo is lost, none lies outside the axes, queries are rings, and each axis has the same round ticks."""
    plot = photo_plots.size_plot(sizes)

    assert plot is not None
    counts = [int(re.findall(r": (\d+) ", mark.text)[0]) for mark in plot.marks]
    assert sum(counts) == sum(sizes.values())
    queries = sum(count for (*_, split), count in sizes.items() if split == "query")
    assert sum(count for mark, count in zip(plot.marks, counts, strict=True) if mark.hollow) == queries
    for mark in plot.marks:
        assert plot.x.start <= mark.x <= plot.x.end
        assert plot.y.end <= mark.y <= plot.y.start
    assert [text for _, text in plot.x.ticks] == [text for _, text in plot.y.ticks]
    assert plot.x.ticks


def test_a_hundred_thousand_sizes_are_few_dots() -> None:
    """Dots that would cover one another are one."""
    sides = np.random.default_rng(0).integers(30, 9000, (100_000, 2)).tolist()

    plot = photo_plots.size_plot({(width, height, "gallery"): 1 for width, height in sides})

    assert plot is not None
    assert len(plot.marks) < 5000
    assert photo_plots.size_plot({}) is None


def test_places_are_counted_in_steps_of_two() -> None:
    """A place with 1, 2 to 3, 4 to 7 … photos is in the first, second, third bar; one without is in none."""
    places = [Spread("a", 1, 0), Spread("b", 2, 4), Spread("c", 3, 0), Spread("d", 7, 1)]

    drawn = photo_plots.place_plot(places)

    assert drawn is not None
    assert [text for _, text in drawn.x.ticks] == ["1", "2", "4"]
    assert [(row.name, row.note) for row in drawn.ridges] == [
        ("gallery", "4 places, highest bar 2"),
        ("query", "2 places, highest bar 1"),
    ]
    gallery = drawn.ridges[0]
    tops = [gallery.base - float(top) for top in re.findall(r"V([\d.]+)H", gallery.path)]
    assert tops == [gallery.height / 2, gallery.height, gallery.height / 2]
    (alone,) = photo_plots.place_plot([Spread("a", 5, 0)]).ridges  # type: ignore[union-attr]
    assert alone.name == "gallery"
    assert photo_plots.place_plot([]) is None
