"""Clean manifests: what cannot be used is out, each with its reason, and the doctor finds no error any more."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placewise.cleaning import Cleaned, check_clean, clean, write_clean
from placewise.core import Finding, Grades, Photo, Position, Source, Split
from placewise.doctor import Examination, examine
from placewise.errors import OptionError, SourceError
from placewise.manifest import dropped_path, write_manifest
from placewise.sources import read_source


def picture(seed: int, quality: int = 90) -> bytes:
    """A made-up photo; another quality is nearly the same picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).resize((96, 80), PIL.Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return file.getvalue()


CONTENTS = (picture(0), picture(0, 60), picture(1), picture(1, 60), picture(2), b"", picture(3)[:-200])
"""Two pictures in two qualities each, another one, an empty file and one that is cut off."""


def source_of(folder: Path, *rows: tuple[str, int, Split, str | None]) -> Source:
    """Rows of (name, number of the content, split, place)."""
    for name, content, *_ in rows:
        (folder / name).write_bytes(CONTENTS[content])
    return Source(folder, tuple(Photo(PurePosixPath(name), split, place) for name, _, split, place in rows))


def cleaned(source: Source) -> Cleaned:
    """What is left of a source."""
    return clean(source, examine(source))


def kept(result: Cleaned) -> dict[str, tuple[str, str | None]]:
    """Path → split and place of what stays."""
    return {str(photo.path): (photo.split, photo.place) for photo in result.photos}


def test_broken_photos_and_bad_rows_are_left_out(tmp_path: Path) -> None:
    """Each with its kind and what the doctor said; a bad row may not even have a path."""
    source = source_of(
        tmp_path, ("a.jpg", 4, "gallery", "mill"), ("b.jpg", 5, "query", "mill"), ("c.jpg", 6, "gallery", None)
    )
    bad = Finding("bad_row", "error", (), "line 7: path must not be empty; correct or remove the row")
    result = cleaned(Source(source.root, (*source.photos, Photo(PurePosixPath("gone.jpg"), "gallery")), (bad,)))

    assert kept(result) == {"a.jpg": ("gallery", "mill")}
    assert result.reasons == {}
    assert [(row.path, row.place, row.split, row.reason.partition(":")[0]) for row in result.dropped] == [
        ("", "", "", "bad_row"),
        ("b.jpg", "mill", "query", "unreadable"),
        ("c.jpg", "", "gallery", "truncated"),
        ("gone.jpg", "", "gallery", "missing"),
    ]
    assert result.dropped[0].reason == "bad_row: line 7: path must not be empty; correct or remove the row"


def test_one_of_each_file_is_kept(tmp_path: Path) -> None:
    """The one with a place, else that of the gallery, else the first; it is in the gallery if any of them was."""
    result = cleaned(
        source_of(
            tmp_path,
            ("a1", 0, "gallery", None),
            ("a2", 0, "query", "mill"),
            ("b1", 2, "query", None),
            ("b2", 2, "gallery", None),
            ("c1", 4, "query", "barn"),
            ("c2", 4, "query", "barn"),
        )
    )

    assert kept(result) == {"a2": ("gallery", "mill"), "b2": ("gallery", None), "c1": ("query", "barn")}
    assert result.reasons == {
        PurePosixPath("a2"): "cross_split_duplicate: moved to the gallery in the place of a1, the same file"
    }
    assert [(row.path, row.reason) for row in result.dropped] == [
        ("a1", "cross_split_duplicate: the same file as a2"),
        ("b1", "cross_split_duplicate: the same file as b2"),
        ("c2", "duplicate: the same file as c1"),
    ]


def test_near_duplicates_are_put_on_one_side(tmp_path: Path) -> None:
    """In the gallery, if one of them is there; and they are kept."""
    result = cleaned(
        source_of(tmp_path, ("a", 0, "query", "mill"), ("b", 1, "gallery", "mill"), ("c", 2, "query", "barn"))
    )

    assert kept(result) == {"a": ("gallery", "mill"), "b": ("gallery", "mill"), "c": ("query", "barn")}
    assert result.reasons == {
        PurePosixPath("a"): "cross_split_near_duplicate: moved to the gallery, where b is nearly the same"
    }


@pytest.mark.parametrize(
    ("wrong", "unlabelled"), [(("gallery", "barn"), []), (("query", "barn"), []), (("gallery", "barn"), ["u"])]
)
def test_a_wrong_label_keeps_no_leak_open(tmp_path: Path, wrong: tuple[Split, str], unlabelled: list[str]) -> None:
    """A query goes beside its copy of the same place, whatever a third copy is called, which is only marked."""
    (tmp_path / "w").write_bytes(picture(0, 75))
    (tmp_path / "u").write_bytes(picture(0, 50))
    source = source_of(tmp_path, ("g", 0, "gallery", "mill"), ("q", 1, "query", "mill"))
    more = (Photo(PurePosixPath("w"), *wrong), *(Photo(PurePosixPath(name), "query") for name in unlabelled))

    result = cleaned(Source(tmp_path, (*source.photos, *more)))

    side = "gallery" if unlabelled else wrong[0]
    assert kept(result) == {
        "g": ("gallery", "mill"),
        "q": ("gallery", "mill"),
        "w": (side, "barn"),
        **dict.fromkeys(unlabelled, ("gallery", None)),
    }
    assert "place_conflict: nearly the same as g of mill; look which is right" in result.reasons[PurePosixPath("w")]
    assert result.reasons[PurePosixPath("q")].startswith(
        "cross_split_near_duplicate: moved to the gallery, where g is nearly the same; place_conflict: "
    )


def test_the_row_that_is_kept_learns_from_the_others(tmp_path: Path) -> None:
    """A position, a heading, a sequence and a frame that only another row of the same file knows are not lost."""
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_bytes(CONTENTS[0 if name in "ab" else 2])
    rows = (
        Photo(PurePosixPath("a"), "gallery", "mill", Position(0.0, 0.0)),
        Photo(PurePosixPath("b"), "gallery", None, Position(1.0, 2.0, 90.0), "walk", 3),
        Photo(PurePosixPath("c"), "gallery", None, Position(1.0, 2.0), "walk"),
        Photo(PurePosixPath("d"), "gallery", None, Position(1.0, 2.0, 45.0), "walk", 7),
    )

    result = cleaned(Source(tmp_path, rows))

    assert result.photos == (
        Photo(PurePosixPath("a"), "gallery", "mill", Position(1.0, 2.0, 90.0), "walk", 3),
        Photo(PurePosixPath("c"), "gallery", None, Position(1.0, 2.0, 45.0), "walk", 7),
    )
    assert result.reasons == {
        PurePosixPath("a"): "duplicate: position of b, sequence of b, the same file",
        PurePosixPath("c"): "duplicate: heading of d, frame of d, the same file",
    }


def test_known_matches_are_counted_as_lost(tmp_path: Path) -> None:
    """A manifest has no column for them."""
    source = source_of(tmp_path, ("a", 0, "gallery", None), ("b", 2, "query", None), ("c", 4, "query", None))
    a, b, c = (photo.path for photo in source.photos)

    result = cleaned(Source(tmp_path, source.photos, positives={b: (a,)}, grades={b: Grades(), c: Grades()}))

    assert result.matches_lost == 2


def test_the_same_file_with_different_places_is_left_out(tmp_path: Path) -> None:
    """Nothing says which place is right; a copy without a place does not help."""
    result = cleaned(
        source_of(
            tmp_path,
            ("a", 0, "gallery", "mill"),
            ("b", 0, "query", "barn"),
            ("c", 0, "gallery", None),
            ("d", 4, "query", "mill"),
        )
    )

    assert kept(result) == {"d": ("query", "mill")}
    assert {row.reason for row in result.dropped} == {
        "place_conflict: the same file carries different places (barn, mill)"
    }


def test_nearly_the_same_with_different_places_is_marked(tmp_path: Path) -> None:
    """They may be two places that look alike: both stay where they are, for somebody to look."""
    result = cleaned(source_of(tmp_path, ("a", 0, "gallery", "mill"), ("b", 1, "query", "barn")))

    assert kept(result) == {"a": ("gallery", "mill"), "b": ("query", "barn")}
    assert result.reasons[PurePosixPath("b")] == "place_conflict: nearly the same as a of mill; look which is right"


def test_frames_of_one_sequence_stay(tmp_path: Path) -> None:
    """A sequence that is divided on purpose is left as it is."""
    source = source_of(tmp_path, ("a", 0, "gallery", "mill"), ("b", 1, "query", "mill"))
    walk = tuple(Photo(photo.path, photo.split, photo.place, sequence="walk") for photo in source.photos)

    assert clean(Source(tmp_path, walk), examine(Source(tmp_path, walk))).photos == walk


def test_the_position_0_0_is_emptied(tmp_path: Path) -> None:
    """With a reason; others stay."""
    (tmp_path / "a").write_bytes(CONTENTS[0])
    (tmp_path / "b").write_bytes(CONTENTS[2])
    rows = (
        Photo(PurePosixPath("a"), "gallery", position=Position(0.0, 0.0, 90.0)),
        Photo(PurePosixPath("b"), "gallery", position=Position(0.0, 9.0)),
    )

    result = cleaned(Source(tmp_path, rows))

    assert [photo.position for photo in result.photos] == [None, Position(0.0, 9.0)]
    assert result.reasons == {PurePosixPath("a"): "bad_position: latitude 0 and longitude 0 were emptied"}


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    """A manifest without rows is none."""
    with pytest.raises(
        SourceError, match=r"^a clean manifest must have a photo left, got none of 1; mend the source first$"
    ):
        cleaned(source_of(tmp_path, ("a", 5, "gallery", None)))


row = st.tuples(
    st.integers(0, len(CONTENTS) - 1),
    st.sampled_from(["gallery", "query"]),
    st.sampled_from([None, "mill", "barn"]),
    st.sampled_from([None, None, "walk"]),
)


@settings(max_examples=60)
@given(rows=st.lists(row, min_size=1, max_size=9))
def test_whatever_the_source_a_clean_manifest_has_no_errors(
    rows: list[tuple[int, Split, str | None, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any mixture of copies, near-copies, broken files, splits and places; every row stays or has a reason."""
    folder = tmp_path_factory.mktemp("photos")
    photos = []
    for number, (content, split, place, sequence) in enumerate(rows):
        (folder / f"{number}.jpg").write_bytes(CONTENTS[content])
        photos.append(Photo(PurePosixPath(f"{number}.jpg"), split, place, sequence=sequence))
    source = Source(folder, tuple(photos))
    try:
        result = cleaned(source)
    except SourceError:  # nothing to keep: broken files, or one file with two places
        assert examine(source).has_errors
        return

    write_clean(source, result, folder / "clean.csv")

    again = read_source(folder / "clean.csv")
    after = examine(again)
    assert again.photos == result.photos
    assert not after.has_errors
    assert after.counts["duplicate"] == 0
    for group in after.groups:
        held = {photo.place for photo in group.photos if photo.split == "gallery"}
        asking = {photo.place for photo in group.photos if photo.split == "query"}
        assert not held or not asking or None not in {*held, *asking}
        assert not held & asking
    assert {str(photo.path) for photo in result.photos} | {row.path for row in result.dropped} == {
        str(photo.path) for photo in photos
    }


def test_a_leaky_split_is_mended(photos_root: Path, tmp_path: Path) -> None:
    """Of the published halves every shared file is kept once; what is nearly the same is on one side."""
    shutil.copytree(photos_root / "leaky", tmp_path / "leaky")
    source = read_source(tmp_path / "leaky")

    before = examine(source)
    result = clean(source, before)
    write_clean(source, result, tmp_path / "clean.csv")

    after = examine(read_source(tmp_path / "clean.csv"))
    assert before.counts["cross_split_duplicate"] == 19
    assert not after.has_errors
    copies = [kind for kind, count in after.counts.items() if count and "duplicate" in kind]
    assert copies == ["near_duplicate"]
    assert after.records == 144 - 25


# ---- the files ------------------------------------------------------------------------------------------------------


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    return [*csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))]


def test_reasons_are_in_a_column_and_what_is_left_out_in_a_table(tmp_path: Path) -> None:
    """The manifest is used as any other; the table beside it says what became of the rest."""
    source = source_of(tmp_path, ("a", 0, "query", "mill"), ("b", 1, "gallery", "mill"), ("c", 5, "query", "barn"))

    write_clean(source, cleaned(source), tmp_path / "clean.csv")

    assert [(row["path"], row["split"], row["reason"].partition(":")[0]) for row in table(tmp_path / "clean.csv")] == [
        ("a", "gallery", "cross_split_near_duplicate"),
        ("b", "gallery", ""),
    ]
    assert dropped_path(tmp_path / "clean.csv") == tmp_path / "clean-dropped.csv"
    (out,) = table(tmp_path / "clean-dropped.csv")
    assert (out["path"], out["place"], out["split"], out["reason"].partition(":")[0]) == (
        "c",
        "barn",
        "query",
        "unreadable",
    )


def test_nothing_is_left_out_without_a_table_of_it(tmp_path: Path) -> None:
    """No empty table is written; one of an earlier run is brought up to date."""
    source = source_of(tmp_path, ("a", 0, "gallery", "mill"))
    beside = tmp_path / "clean-dropped.csv"

    write_clean(source, cleaned(source), tmp_path / "clean.csv")
    assert not beside.exists()

    beside.write_text("path,place,split,reason\nold,,,gone\n", encoding="utf-8")
    write_clean(source, cleaned(source), tmp_path / "clean.csv", force=True)
    assert table(beside) == []


def test_a_table_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    """Neither a user's table, whatever its header, nor one that was written here, nor the source, nor a photo."""
    source = source_of(tmp_path, ("a.jpg", 0, "gallery", "mill"))
    write_manifest(source, source.photos, tmp_path / "manifest.csv")
    (tmp_path / "mine.csv").write_text("path,place,split,lat,lon,heading,sequence,frame\n", encoding="utf-8")
    (tmp_path / "mine2-dropped.csv").write_text("path,place,split,reason\n", encoding="utf-8")
    os.mkfifo(tmp_path / "pipe.csv")

    for name, source_path, message in (
        ("mine.csv", tmp_path, r"^a table must be new, got .*mine.csv, which is there; name another file, or add "),
        ("mine2.csv", tmp_path, r"^a table must be new, got .*mine2-dropped.csv, which is there; "),
        ("manifest.csv", tmp_path, r"^a manifest must not replace the source that it is made from, got "),
        ("manifest.csv", tmp_path / "manifest.csv", r"^a manifest must not replace the source"),
        ("a.jpg", tmp_path, r"^an output file must be new or end in .csv to be replaced, got "),
        ("pipe.csv", tmp_path, r"^an output file must be new or end in .csv to be replaced, got "),
        ("clean", tmp_path, r"^a manifest must end in .csv, got "),
        ("none/clean.csv", tmp_path, r"^an output file must lie in a folder that exists, got "),
    ):
        for force in (False, True):
            if force and "mine" in name:
                check_clean(source, tmp_path / name, source_path=source_path, force=True)
                continue
            with pytest.raises(OptionError, match=message):
                check_clean(source, tmp_path / name, source_path=source_path, force=force)
    with pytest.raises(OptionError, match=r"^a table must be new, got .*mine.csv"):
        write_clean(source, cleaned(source), tmp_path / "mine.csv")
    write_clean(source, cleaned(source), tmp_path / "mine.csv", force=True)
    assert read_source(tmp_path / "mine.csv").photos == source.photos


def test_a_folder_that_may_not_be_written_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a manifest that cannot be written."""
    source = source_of(tmp_path, ("a.jpg", 0, "gallery", "mill"))
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (tmp_path, os.W_OK))

    with pytest.raises(OptionError, match=r"^an output file must lie in a folder that may be written, got .*clean"):
        check_clean(source, tmp_path / "clean.csv", source_path=tmp_path)


def test_a_source_behind_a_link(tmp_path: Path) -> None:
    """A folder that is linked is named by the link, or by where it is, whichever lies below the manifest."""
    (tmp_path / "real").mkdir()
    (tmp_path / "here").mkdir()
    source_of(tmp_path / "real", ("a.jpg", 0, "gallery", "mill"))
    (tmp_path / "here" / "photos").symlink_to(tmp_path / "real")
    (tmp_path / "other").symlink_to(tmp_path / "real")
    linked = read_source(tmp_path / "here" / "photos")

    write_manifest(linked, linked.photos, tmp_path / "here" / "out.csv")
    write_manifest(linked, linked.photos, tmp_path / "other" / "out.csv")

    for path in (tmp_path / "here" / "out.csv", tmp_path / "real" / "out.csv"):
        written = read_source(path)
        assert [written.file(photo).is_file() for photo in written.photos] == [True]


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0\\"), min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) < 200
)


@given(name=text, place=text.filter(lambda name: name == name.strip()))
def test_any_name_comes_back(name: str, place: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Spaces around it, line breaks, commas and quotes included."""
    folder = tmp_path_factory.mktemp("names")
    source = Source(folder, (Photo(PurePosixPath(name), "query", place, sequence=place),))

    write_manifest(source, source.photos, folder / "out-manifest.csv")

    again = read_source(folder / "out-manifest.csv")
    assert (again.photos, again.bad_rows) == (source.photos, ())


@pytest.fixture
def in_folder(tmp_path: Path) -> Iterator[Path]:
    """A working folder."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_relative_paths(in_folder: Path) -> None:
    """A source and a manifest may be named from the working folder."""
    (in_folder / "photos").mkdir()
    source_of(in_folder / "photos", ("a.jpg", 0, "gallery", "mill"))
    source = read_source("photos")

    write_manifest(source, source.photos, Path("out.csv"))

    assert [str(photo.path) for photo in read_source("out.csv").photos] == ["photos/a.jpg"]


def test_the_examination_is_of_the_same_source(tmp_path: Path) -> None:
    """An examination without findings changes nothing."""
    source = source_of(tmp_path, ("a", 0, "gallery", "mill"), ("b", 2, "query", "mill"))

    assert clean(source, Examination(2, 1, 1, ())) == Cleaned(source.photos, {}, ())
