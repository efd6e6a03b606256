"""The columns of a gallery's photos: round trips and filters against a naive loop."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placewise.core import Filter, Photo, Position
from placewise.errors import OptionError
from placewise.photo_table import PhotoTable

_degrees = st.sampled_from([-180.0, -179.0, -90.0, -1.5, 0.0, 1.5, 90.0, 179.0, 180.0])
_latitudes = st.sampled_from([-90.0, -45.0, 0.0, 45.0, 90.0])
_photos = st.lists(
    st.builds(
        Photo,
        path=st.sampled_from("abcäüß漢字").map(lambda name: PurePosixPath(name, "x" * 40)),
        split=st.just("gallery"),
        place=st.sampled_from([None, "A", "B", "Ça"]),
        position=st.none() | st.builds(Position, _latitudes, _degrees, st.none() | st.just(270.0)),
        sequence=st.sampled_from([None, "s1", "s2"]),
        frame=st.sampled_from([None, 0, -5, 2**62]),
    ),
    max_size=12,
)


@given(_photos, st.integers(1, 5))
def test_photos_come_back_as_they_were(photos: list[Photo], block: int) -> None:
    """Every field of every photo survives, whatever is unknown of it, in blocks of any size; other ids are no photo."""
    ids = [3 * number + 1 for number in range(len(photos))]
    whole = PhotoTable.of(ids, photos)

    assert whole.photos() == tuple(photos)
    assert [whole.photo(number) for number in ids] == photos
    for number in (0, 2, 10**6):
        with pytest.raises(KeyError):
            whole.photo(number)
    parts = [PhotoTable.of(ids[at : at + block], photos[at : at + block]) for at in range(0, len(photos), block)]
    assert sum(len(part) for part in parts) == len(whole) == len(photos)


@given(
    _photos,
    st.lists(st.sampled_from(["A", "B", "Ça"]), max_size=2, unique=True),
    st.lists(st.sampled_from(["s1", "s2"]), max_size=2, unique=True),
    st.none() | st.tuples(_latitudes, _degrees, _latitudes, _degrees),
)
def test_filters_keep_what_a_loop_keeps(
    photos: list[Photo], places: list[str], sequences: list[str], box: tuple[float, float, float, float] | None
) -> None:
    """All conditions hold at once; edges count; a box from east to west crosses the 180th meridian; unknown is out."""
    held = {photo.place for photo in photos}, {photo.sequence for photo in photos}
    places, sequences = [p for p in places if p in held[0]], [s for s in sequences if s in held[1]]
    if box and box[0] > box[2]:
        box = (box[2], box[1], box[0], box[3])

    def lets_through(photo: Photo) -> bool:
        if (places and photo.place not in places) or (sequences and photo.sequence not in sequences):
            return False
        if box is None:
            return True
        if photo.position is None:
            return False
        south, west, north, east = box
        lon = photo.position.lon
        inside = west <= lon <= east if west <= east else lon >= west or lon <= east
        return south <= photo.position.lat <= north and inside

    chosen = Filter(tuple(places), box, tuple(sequences))
    expected = [number for number, photo in enumerate(photos) if lets_through(photo)]
    assert PhotoTable.of(range(len(photos)), photos).ids_of(chosen).tolist() == expected


def test_names_that_nobody_has_are_refused() -> None:
    """A typo in a place or sequence is an error of one line, not an empty answer; so is a box upside down."""
    table = PhotoTable.of([1], [Photo(PurePosixPath("a"), "gallery", "Kiosk", sequence="walk")])

    with pytest.raises(OptionError, match=r"^a place to search in must be one that the gallery holds, got 'kiosk'; "):
        table.ids_of(Filter(places=("kiosk",)))
    with pytest.raises(OptionError, match=r"^a sequence to search in must be one that the gallery holds, got 'run'; "):
        table.ids_of(Filter(sequences=("walk", "run")))
    with pytest.raises(OptionError, match=r"^a box must be \(south, west, north, east\) in degrees"):
        Filter(box=(10, 0, 5, 1))
    with pytest.raises(OptionError, match=r"^a box must be"):
        Filter(box=(float("nan"), 0, 5, 1))


def test_an_empty_table() -> None:
    """No photos: no ids, no hits for any filter."""
    table = PhotoTable([])

    assert (len(table), table.photos(), table.ids_of(Filter(box=(-90, -180, 90, 180))).tolist()) == (0, (), [])
    assert table.ids.dtype == np.int64
