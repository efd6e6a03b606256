"""Divided photos: nothing that belongs together is on two sides, and the manifest says what was divided."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from placewise.core import Photo, Position, Source
from placewise.doctor import examine
from placewise.errors import OptionError, SourceError
from placewise.manifest import write_manifest
from placewise.sources import read_source
from placewise.splitting import known_queries, split_source


@pytest.fixture
def source(tmp_path: Path, save_photo: Callable[..., Path]) -> Source:
    """10 places with 6 photos each; of the first place one file lies there twice, and one cannot be read."""
    for place in range(10):
        for view in range(6):
            save_photo(tmp_path / f"p{place}" / f"{view}.png", place=100 * place + view)
    shutil.copy(tmp_path / "p0" / "0.png", tmp_path / "p0" / "again.png")
    (tmp_path / "p0" / "broken.jpg").write_bytes(b"no photo")
    return read_source(tmp_path)


def splits(photos: tuple[Photo, ...]) -> dict[str, str]:
    """Path → split."""
    return {str(photo.path): photo.split for photo in photos}


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_are_kept_and_copies_stay_together(source: Source, seed: int) -> None:
    """Two of ten places are open-set, about a third of the others asks, none is left without a gallery photo."""
    photos = split_source(source, seed=seed)

    held = {photo.place for photo in photos if photo.split == "gallery"}
    known = [photo for photo in photos if photo.split == "query" and photo.place in held]
    assert len(held) == 8
    assert len(photos) == 61
    assert all(any(photo.place == place for photo in known) for place in held)
    assert 0.2 <= len(known) / sum(photo.place in held for photo in photos) <= 0.45
    by_path = splits(photos)
    assert by_path["p0/0.png"] == by_path["p0/again.png"]
    assert photos == split_source(source, seed=seed)


def test_sequences_stay_together(source: Source) -> None:
    """Frames of one sequence are on one side, also where it passes several places."""
    walks = tuple(
        Photo(photo.path, photo.split, photo.place, sequence=f"walk {number % 12}")
        for number, photo in enumerate(source.photos)
    )
    photos = split_source(Source(source.root, walks), open_set=0)

    sides: dict[str | None, set[str]] = {}
    for photo in photos:
        sides.setdefault(photo.sequence, set()).add(photo.split)
    assert all(len(side) == 1 for side in sides.values())


def test_the_manifest_is_read_as_it_was_divided(source: Source, tmp_path: Path) -> None:
    """All fields come back, beside the photos or above them; elsewhere it is refused, since it could not name them."""
    photos = tuple(
        Photo(photo.path, photo.split, photo.place, Position(1.5, -2.25, 90.0), "a, walk", 7)
        for photo in split_source(source)
    )

    write_manifest(source, photos, tmp_path / "new.csv")
    write_manifest(source, photos, tmp_path.parent / "above.csv")

    assert read_source(tmp_path / "new.csv").photos == photos
    above = read_source(tmp_path.parent / "above.csv")
    assert [above.file(photo).exists() for photo in above.photos] == [True] * len(photos)
    (tmp_path / "below").mkdir()
    with pytest.raises(OptionError, match=r"^a manifest must lie in the photos' folder or above it, got "):
        write_manifest(source, photos, tmp_path / "below" / "x.csv")


def test_what_cannot_be_divided_is_refused(source: Source) -> None:
    """Shares that are none, too few places, and places of one photo."""
    for open_set, queries in ((1.0, 0.3), (-0.1, 0.3), (0.2, 0.0), (0.2, float("nan"))):
        with pytest.raises(OptionError, match=r"must be a share below 1"):
            split_source(source, open_set=open_set, queries=queries)
    with pytest.raises(OptionError, match=r"^seed must be a whole number from 0, got -1$"):
        split_source(source, seed=-1)
    with pytest.raises(
        SourceError, match=r"^at least two places must be left for the gallery, got 10 and open_set 0.9"
    ):
        split_source(source, open_set=0.9)
    lone = tuple(photo for photo in source.photos if photo.path.name == "3.png")
    with pytest.raises(SourceError, match=r"^a place must hold two photos that are no copies"):
        split_source(Source(source.root, lone), open_set=0)


def test_photos_that_nothing_tells_apart_are_refused(source: Source) -> None:
    """Without places, two sequences or positions, and of one place only: no other share would help."""
    plain = tuple(Photo(photo.path, "gallery", sequence="walk") for photo in source.photos)
    one_place = tuple(Photo(photo.path, "gallery", "mill") for photo in source.photos)

    with pytest.raises(
        SourceError,
        match=r"^photos must have places, positions or two sequences to be divided by, got none of them; put the ",
    ):
        split_source(Source(source.root, plain))
    with pytest.raises(SourceError, match=r"^photos must be of at least two places, got 1; add photos of others$"):
        split_source(Source(source.root, one_place))


@pytest.mark.parametrize("seed", range(3))
def test_sequences_without_places_are_divided_whole(source: Source, seed: int) -> None:
    """About the wanted share of the photos asks, and the copy of a frame goes with it."""
    rows = tuple(Photo(photo.path, "gallery", sequence=photo.place) for photo in source.photos)

    photos = split_source(Source(source.root, rows), queries=0.3, seed=seed)

    sides: dict[str | None, set[str]] = {}
    for photo in photos:
        sides.setdefault(photo.sequence, set()).add(photo.split)
    assert all(len(side) == 1 for side in sides.values())
    assert 0.15 <= sum(photo.split == "query" for photo in photos) / len(photos) <= 0.45
    assert known_queries(photos) is None


def test_positions_stand_for_places(photos_root: Path) -> None:
    """Of photos of a street some ask where the gallery has been, and some where it has not."""
    source = read_source(photos_root / "street-gps")

    photos = split_source(source, queries=0.3, open_set=0.2)

    asking = sum(photo.split == "query" for photo in photos)
    known = known_queries(photos)
    assert known is not None
    assert 0 < known < asking < len(photos)
    assert {photo.place for photo in photos} == {None}


def test_a_leaky_split_is_mended(photos_root: Path) -> None:
    """The published halves share 19 files; divided anew, none is shared."""
    source = read_source(photos_root / "leaky")

    photos = split_source(source, open_set=0.2)

    found = examine(Source(source.root, photos)).counts
    assert found["cross_split_duplicate"] == found["cross_split_near_duplicate"] == 0
    assert {photo.path for photo in photos} <= {PurePosixPath(photo.path) for photo in source.photos}
