"""Sources: manifests and folders become photos; every fault of every row is reported at once."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import itertools
import os
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from placewise import images
from placewise.core import Finding, Grades, Photo, Position, Source
from placewise.errors import ImageError, SourceError
from placewise.sources import read_source

P = PurePosixPath


def write(folder: Path, text: str | bytes, name: str = "manifest.csv") -> Path:
    """A manifest with this text."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def tree(folder: Path, *names: str) -> Path:
    """Empty files under these names: the reader never opens them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def refusal(path: Path) -> str:
    """The line with which a source is refused, its folder left out."""
    with pytest.raises(SourceError) as caught:
        read_source(path)

    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path.parent) + os.sep, "")


def details(source: Source) -> list[str]:
    """The details of the bad rows."""
    return [finding.detail for finding in source.bad_rows]


def test_all_columns(tmp_path: Path) -> None:
    """Every column of a row arrives in its field, and the root is the manifest's folder."""
    path = write(
        tmp_path, "path,place,split,lat,lon,heading,sequence,frame\na/1.jpg,tower,query,48.2,16.37,-90,walk,7\n"
    )

    assert read_source(path) == Source(
        tmp_path, (Photo(P("a/1.jpg"), "query", "tower", Position(48.2, 16.37, -90.0), "walk", 7),)
    )


@pytest.mark.parametrize(
    "text",
    [
        "path,place,split\na.jpg,x,gallery\nb.jpg,,query\n",
        "path,place,split\r\na.jpg,x,gallery\r\nb.jpg,,query\r\n",
        "\ufeffpath,place,split\na.jpg,x,gallery\nb.jpg,,query",
        "\n Split , PATH,Place \n\nGALLERY,a.jpg, x \n , ,\nQuery,./c/../b.jpg,\n\n",
        'notes,path,place,split\n"two\nlines, quoted",a.jpg,"x",gallery\n,"b.jpg",,query\n',
    ],
    ids=["plain", "crlf", "byte order mark", "case, blanks and order", "extra column and quotes"],
)
def test_spellings_of_one_manifest(tmp_path: Path, text: str) -> None:
    """Line ends, a byte order mark, blanks, case, column order, blank lines and extra columns make no difference."""
    expected = (Photo(P("a.jpg"), "gallery", "x"), Photo(P("b.jpg"), "query"))

    assert read_source(write(tmp_path, text)) == Source(tmp_path, expected)


def test_any_csv_name(tmp_path: Path) -> None:
    """A manifest may have any name that ends in .csv, in any case."""
    assert len(read_source(write(tmp_path, "path,place,split\na.jpg,x,gallery\n", "My Set.CSV")).photos) == 1


FAULTS = {
    "b.jpg,x,train": "split must be gallery or query, got 'train'",
    "b.jpg,x,": "split must be gallery or query, got ''",
    ",x,gallery": "path must not be empty",
    "./sub/../a.jpg,x,gallery": "path must not repeat, got the photo of line 2 again",
    "/etc/b.jpg,x,gallery": "path must be relative to the manifest's folder, got '/etc/b.jpg'",
    r"C:\photos\b.jpg,x,gallery": r"path must be relative to the manifest's folder, got 'C:\\photos\\b.jpg'",
    "sub/../../b.jpg,x,gallery": "path must name a file below the manifest's folder, got 'sub/../../b.jpg'",
    "sub/..,x,gallery": "path must name a file below the manifest's folder, got 'sub/..'",
    "b.jpg,x,gallery,1": "lat and lon must come together, got only lat",
    "b.jpg,x,gallery,,1": "lat and lon must come together, got only lon",
    "b.jpg,x,gallery,north,1": "lat must be a number of degrees, got 'north'",
    "b.jpg,x,gallery,91,1": "lat must be between -90 and 90 degrees, got 91.0",
    "b.jpg,x,gallery,1,-181": "lon must be between -180 and 180 degrees, got -181.0",
    "b.jpg,x,gallery,nan,1": "lat must be between -90 and 90 degrees, got nan",
    "b.jpg,x,gallery,1,1,400": "heading must be between -360 and 360 degrees, got 400.0",
    "b.jpg,x,gallery,,,,,1.5": "frame must be a whole number from 0, got '1.5'",
    "b.jpg,x,gallery,,,,,-1": "frame must be a whole number from 0, got '-1'",
    "b.jpg,x,gallery,,,,,9223372036854775808": "frame must be a whole number from 0, got '9223372036854775808'",
}


@pytest.mark.parametrize(("row", "fault"), FAULTS.items())
def test_one_fault(tmp_path: Path, row: str, fault: str) -> None:
    """Each fault of a row makes one bad_row finding with the line, the fault and what to do; other rows are kept."""
    header = "path,place,split,lat,lon,heading,sequence,frame"
    padded = row + "," * (7 - row.count(","))
    source = read_source(write(tmp_path, f"{header}\na.jpg,x,gallery,,,,,\n{padded}\nc.jpg,x,query,,,,,\n"))

    assert [str(photo.path) for photo in source.photos] == ["a.jpg", "c.jpg"]
    (finding,) = source.bad_rows
    assert (finding.kind, finding.severity) == ("bad_row", "error")
    assert finding.photos == tuple(filter(None, row.split(",")[:1]))
    assert finding.detail == f"line 3: {fault}; correct or remove the row"


def test_every_fault_of_every_row(tmp_path: Path) -> None:
    """One reading reports all bad rows, each with all its faults, by the line on which the row starts."""
    text = (
        "path,place,split,lat,lon,frame\n"
        "../a.jpg,x,train,100,x,one\n"
        '"two\nlines.jpg",x,gallery,,,\n'
        "\n"
        "b.jpg,x\n"
        "c.jpg,x,query,,,,,\n"
    )

    source = read_source(write(tmp_path, text))

    assert [photo.path for photo in source.photos] == [P("two\nlines.jpg")]
    assert details(source) == [
        (
            "line 2: path must name a file below the manifest's folder, got '../a.jpg'; "
            "split must be gallery or query, got 'train'; lat must be between -90 and 90 degrees, got 100.0; "
            "lon must be a number of degrees, got 'x'; frame must be a whole number from 0, got 'one'; "
            "correct or remove the row"
        ),
        (
            "line 6: must have 6 columns like the header, got 2; split must be gallery or query, got ''; "
            "correct or remove the row"
        ),
        "line 7: must have 6 columns like the header, got 8; correct or remove the row",
    ]


def test_only_bad_rows_is_still_a_source(tmp_path: Path) -> None:
    """A manifest without a single usable row is readable, so that all its faults can be shown."""
    source = read_source(write(tmp_path, "path,place,split\na.jpg,x,train\nb.jpg,x,test\n"))

    assert source.photos == ()
    assert len(source.bad_rows) == 2


def test_heading_without_position_is_dropped(tmp_path: Path) -> None:
    """A heading alone is no position and no fault."""
    source = read_source(write(tmp_path, "path,place,split,heading\na.jpg,x,gallery,90\n"))

    assert source == Source(tmp_path, (Photo(P("a.jpg"), "gallery", "x"),))


NO_CSV = "the manifest 'manifest.csv' must start with a line that names the columns path,place,split, each once and "
REFUSED: dict[str | bytes, str] = {
    "": NO_CSV + "separated by commas, got ''; add or correct that line",
    "path;place;split\na;b;query\n": NO_CSV + "separated by commas, got 'path;place;split'; add or correct that line",
    "path,split\na,query\n": NO_CSV + "separated by commas, got 'path,split'; add or correct that line",
    "path,place,split,Path\n": NO_CSV + "separated by commas, got 'path,place,split,path'; add or correct that line",
    "path,place,split\n\n": (
        "the manifest 'manifest.csv' must have a row for each photo, got only the header; add rows"
    ),
    b"path,place,split\n\xff.jpg,a,query\n": (
        "the manifest 'manifest.csv' must be UTF-8 text, got other bytes on line 2; save it as UTF-8"
    ),
    "path,place,split\na.jpg,\0,query\n": (
        "the manifest 'manifest.csv' must be text, got a NUL character on line 2; save it again as CSV"
    ),
    'path,place,split\na.jpg,x,query\n"b.jpg,x,query\nc.jpg,x,query\n': (
        "the manifest 'manifest.csv' must be a CSV file, got on line 3: unexpected end of data; correct the line"
    ),
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_refused_manifests(tmp_path: Path, text: str | bytes) -> None:
    """What makes a manifest as a whole unusable is one line: what must hold, what came, what to do."""
    assert refusal(write(tmp_path, text)) == REFUSED[text]


def test_refused_sources(tmp_path: Path) -> None:
    """A source that does not exist, is another kind of file, or cannot be a path at all is refused with one line."""
    start = "a source must be a manifest that ends in .csv or a folder, got "

    assert refusal(tmp_path / "none.csv") == f"{start}'none.csv': nothing there; correct the path"
    assert refusal(tree(tmp_path, "a.jpg") / "a.jpg") == f"{start}'a.jpg': a file of another kind; correct the path"
    assert refusal(Path("a\0.csv")) == f"{start}'a\\x00.csv': nothing there; correct the path"


def test_unreadable_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest that the system refuses to read is a SourceError with the system's reason."""
    path = write(tmp_path, "path,place,split\n")

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)

    assert refusal(path) == (
        "the source 'manifest.csv' cannot be read (Permission denied); correct the path or its permissions"
    )


cells = st.one_of(
    st.sampled_from(
        ["gallery", "query", "a.jpg", "../a", "/", "", "1", "1e400", "-0", '"', "\n", ",", "\x85", "\ufeff"]
    ),
    st.text(max_size=8),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(cells, max_size=9), max_size=6), quoted=st.booleans())
def test_any_table_is_a_source_or_refused(tmp_path: Path, rows: list[list[str]], *, quoted: bool) -> None:
    """Whatever the cells hold, each row is a photo or a bad row, or the manifest is refused; nothing else is raised."""
    file = io.StringIO()
    file.write("path,place,split,lat,lon,heading,sequence,frame\n")
    if quoted:
        csv.writer(file).writerows(rows)
    else:
        file.writelines(",".join(row) + "\n" for row in rows)
    path = tmp_path / "manifest.csv"
    path.write_bytes(file.getvalue().encode(errors="surrogatepass"))

    with contextlib.suppress(SourceError):
        source = read_source(path)
        assert len(source.photos) == len({photo.path for photo in source.photos})
        assert not any(photo.path.is_absolute() or ".." in photo.path.parts for photo in source.photos)
        if quoted:
            assert len(source.photos) + len(source.bad_rows) == sum(any(c.strip() for c in row) for row in rows)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), header=st.booleans())
def test_any_bytes_are_a_source_or_refused(tmp_path: Path, data: bytes, *, header: bool) -> None:
    """Whatever bytes a manifest holds, reading ends in a Source or a SourceError."""
    path = write(tmp_path, b"path,place,split\n" * header + data)

    with contextlib.suppress(SourceError):
        assert isinstance(read_source(path), Source)


def test_folder_with_manifest(tmp_path: Path) -> None:
    """A folder that contains manifest.csv is read by it, whatever else it contains."""
    write(tree(tmp_path, "gallery/x/1.jpg"), "path,place,split\na.jpg,x,query\n")

    assert read_source(tmp_path) == Source(tmp_path, (Photo(P("a.jpg"), "query", "x"),))


def test_folder_with_splits(tmp_path: Path) -> None:
    """Below gallery and query the first folder is the place; photos directly in them have none; order is by name."""
    tree(tmp_path, "Query/2.PNG", "gallery/b/1.jpg", "gallery/a/deep/2.webp", "gallery/a/1.jpeg", "gallery/0.tif")
    tree(tmp_path, "other/x.jpg", "cover.jpg", "gallery/.hidden.jpg", "gallery/.thumbs/1.jpg", "gallery/a/notes.txt")

    assert read_source(tmp_path) == Source(
        tmp_path,
        (
            Photo(P("Query/2.PNG"), "query"),
            Photo(P("gallery/0.tif"), "gallery"),
            Photo(P("gallery/a/1.jpeg"), "gallery", "a"),
            Photo(P("gallery/a/deep/2.webp"), "gallery", "a"),
            Photo(P("gallery/b/1.jpg"), "gallery", "b"),
        ),
        skipped=(
            Finding(
                "skipped",
                "warning",
                ("cover.jpg", "other/x.jpg"),
                "2 photos lie beside gallery and Query, in other: move them into one of these, or leave them out",
            ),
        ),
    )


def test_one_split_among_other_folders_is_a_place(tmp_path: Path) -> None:
    """A museum, a bridge and a gallery are places; what is called so alone, beside a picture or two, is a split."""
    tree(tmp_path, "gallery/1.jpg", "cover.jpg", "empty/notes.txt")
    alone = read_source(tmp_path)
    tree(tmp_path, "museum/1.jpg")
    among = read_source(tmp_path)

    assert alone.photos == (Photo(P("gallery/1.jpg"), "gallery"),)
    assert [finding.photos for finding in alone.skipped] == [("cover.jpg",)]
    assert [(str(photo.path), photo.place) for photo in among.photos] == [
        ("cover.jpg", None),
        ("gallery/1.jpg", "gallery"),
        ("museum/1.jpg", "museum"),
    ]
    assert among.skipped == ()


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_validation_folders_are_queries(tmp_path: Path, name: str) -> None:
    """Beside train, with test or without."""
    tree(tmp_path, "train/x/1.jpg", f"{name}/x/2.jpg")
    one = read_source(tmp_path)
    tree(tmp_path, "test/x/3.jpg")
    both = read_source(tmp_path)

    assert one.shown == f"train and {name}, folder per place: 1 gallery photo, 1 query, 1 place"
    assert len(both.of("query")) == 2
    assert both.skipped == ()


def test_splits_in_two_spellings(tmp_path: Path) -> None:
    """Folders whose names differ in their case alone are one split."""
    source = read_source(tree(tmp_path, "Gallery/a.jpg", "gallery/b.jpg", "query/c.jpg"))

    assert [(str(photo.path), photo.split) for photo in source.photos] == [
        ("Gallery/a.jpg", "gallery"),
        ("gallery/b.jpg", "gallery"),
        ("query/c.jpg", "query"),
    ]


def test_pictures_that_are_not_read_are_counted(tmp_path: Path) -> None:
    """Photos of every ending that a format has are read; raw data and the like are a finding, and in the line shown."""
    tree(tmp_path, "a/1.JFIF", "a/2.pgm", "a/3.pnm", "a/4.hif", "a/5.jpe", "a/6.CR2", "a/7.jp2", "a/notes.txt")
    source = read_source(tmp_path)

    assert len(source.photos) == 5
    (finding,) = source.skipped
    assert finding.photos == ("a/6.CR2", "a/7.jp2")
    assert finding.detail == ("2 that end in .cr2 .jp2, which are not read: convert them to JPEG, or leave them out")
    assert source.shown == "folder per place: 5 photos, 1 place, 2 pictures skipped"
    assert refusal(tree(tmp_path / "raw", "a/1.nef")).endswith(
        "; found none in 'raw' but 1 that end in .nef, which are not read"
    )


def test_folder_with_query_only(tmp_path: Path) -> None:
    """One of the two split folders is enough."""
    assert read_source(tree(tmp_path, "query/a/1.jpg")).photos == (Photo(P("query/a/1.jpg"), "query", "a"),)


def test_folder_of_places(tmp_path: Path) -> None:
    """Without split folders, every photo belongs to the gallery and its first folder is the place."""
    tree(tmp_path, "b/1.jpg", "a/deep/2.gif", "0.bmp", "README")

    assert read_source(tmp_path).photos == (
        Photo(P("0.bmp"), "gallery"),
        Photo(P("a/deep/2.gif"), "gallery", "a"),
        Photo(P("b/1.jpg"), "gallery", "b"),
    )


def test_folder_without_photos(tmp_path: Path) -> None:
    """A folder without photos is refused with a line that says what was looked for."""
    folder = tree(tmp_path, "set/notes.txt") / "set"

    assert refusal(folder) == (
        "a folder must hold manifest.csv, or the folders gallery and query, or one folder a place, with photos that "
        "end in .avif .bmp .gif .heic .heif .hif .jfif .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp; "
        "found none in 'set'"
    )


def test_links(tmp_path: Path) -> None:
    """Links to folders are followed, a loop of links ends, and a broken link is kept for the doctor to report."""
    outside = tree(tmp_path / "outside", "1.jpg")
    folder = tree(tmp_path / "set", "a/1.jpg")
    (folder / "b").symlink_to(outside)
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere")

    assert [str(photo.path) for photo in read_source(folder).photos] == ["a/1.jpg", "a/gone.jpg", "b/1.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="only here can a name be any bytes")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is a bad row with a printable name, not a crash in a later stage."""
    tree(tmp_path, "a/1.jpg")
    (tmp_path / "a" / os.fsdecode(b"\xff.jpg")).touch()

    source = read_source(tmp_path)

    assert len(source.photos) == 1
    assert source.bad_rows[0].photos == (r"a/\xff.jpg",)
    assert details(source) == ["the file's name must be UTF-8, got other bytes; rename it"]


def test_real_manifests(photos_root: Path) -> None:
    """The manifests of the real photos are read without a bad row and name files that exist."""
    for name, gallery, query in (("landmarks/manifest.csv", 196, 339), ("landmarks/manifest-66.csv", 37, 29)):
        source = read_source(photos_root / name)

        assert source.bad_rows == ()
        assert (len(source.of("gallery")), len(source.of("query"))) == (gallery, query)
        assert all(source.file(photo).is_file() for photo in source.photos)


# ---- the other formats ----------------------------------------------------------------------------------------------

DOCUMENT = (Path(__file__).parents[1] / "docs" / "sources.md").read_text(encoding="utf-8")
EXAMPLES = {section.partition("\n")[0]: section for section in DOCUMENT.split("\n## ")[1:] if "```text" in section}


def near(position: Position | None, lat: float, lon: float, degrees: float) -> bool:
    """Whether a position is where it should be."""
    return position is not None and abs(position.lat - lat) < degrees and abs(position.lon - lon) < degrees


def photo_with_gps(path: Path, lat: float, lon: float, *, taken: str = "", heading: float | None = None) -> None:
    """A tiny JPEG with a position, and a time and a heading where they are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()

    def dms(degrees: float) -> tuple[float, float, float]:
        whole, minutes = int(abs(degrees)), abs(degrees) % 1 * 60
        return float(whole), float(int(minutes)), minutes % 1 * 60

    gps = exif.get_ifd(0x8825)
    gps.update({1: "S" if lat < 0 else "N", 2: dms(lat), 3: "W" if lon < 0 else "E", 4: dms(lon)})
    if heading is not None:
        gps[17] = heading
    if taken:
        exif[0x0132] = taken
    Image.new("RGB", (8, 8)).save(path, exif=exif)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_documented_example_is_recognised_and_shown_back(name: str, tmp_path: Path) -> None:
    """The example is built as the document draws it; every photo that it draws is found, and the line is that of it."""
    section = EXAMPLES[name]
    drawn = re.search(r"```text\n(.*?)```", section, re.DOTALL)
    assert drawn
    names = drawn[1].splitlines()
    for line in names:
        if line.endswith(" with GPS"):
            photo_with_gps(tmp_path / line.removesuffix(" with GPS"), 48.2, 16.3)
        else:
            tree(tmp_path, line)
    for file, text in re.findall(r"```(photos/\S+)\n(.*?)```", section, re.DOTALL):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    shown = re.search(r"^> (.*)$", section, re.MULTILINE)
    assert shown

    source = read_source(tmp_path / "photos" / ("train.csv" if name == "Google Landmarks" else ""))

    assert source.shown == shown[1]
    assert {source.file(photo) for photo in source.photos} == {
        tmp_path / line.removesuffix(" with GPS") for line in names
    }
    assert not source.bad_rows


@pytest.mark.parametrize(("gallery", "queries"), [("Database", "QUERIES"), ("train", "test"), ("ref", "query")])
def test_other_names_of_splits(tmp_path: Path, gallery: str, queries: str) -> None:
    """In any case of letters; one of them alone is a place."""
    tree(tmp_path, f"{gallery}/a/1.jpg", f"{queries}/a/2.jpg", f"{queries}/b/3.jpg")

    found = sorted((photo.split, photo.place or "") for photo in read_source(tmp_path).photos)
    assert found == [("gallery", "a"), ("query", "a"), ("query", "b")]
    tree(tmp_path / "alone", "train/1.jpg", "station/2.jpg")
    assert [photo.place for photo in read_source(tmp_path / "alone").photos] == ["station", "train"]


def test_columns_of_other_names(tmp_path: Path) -> None:
    """A table is read by the names that are given; without splits all of it is the gallery."""
    path = write(tmp_path, "FILE,landmark_id,place\na.jpg,7,not this\nb.jpg,8,nor this\n", "t.csv")

    source = read_source(path, columns={"path": "file", "place": "landmark_id"})

    assert source.photos == (Photo(P("a.jpg"), "gallery", "7"), Photo(P("b.jpg"), "gallery", "8"))
    assert source.shown == "table: 2 photos, 2 places"
    for columns in ({"path": "nothing"}, {"landmark": "place"}):
        with pytest.raises(SourceError, match=r"^columns must map one of path, place, .*; correct the names$"):
            read_source(path, columns=columns)


def test_utm_is_turned_into_degrees(tmp_path: Path) -> None:
    """Known points on both halves of the Earth, to a metre; the central meridian of a zone is at 500,000 m."""
    rows = [
        "path,place,split,utm_east,utm_north,utm_zone",
        "equator.jpg,,gallery,500000,0,31N",
        "tower.jpg,,gallery,448251.8,5411932.7,31U",
        "opera.jpg,,gallery,334873,6252266,56H",
        "bad.jpg,,gallery,1,2,99X",
    ]

    source = read_source(write(tmp_path, "\n".join(rows) + "\n"))

    equator, tower, opera = (photo.position for photo in source.photos)
    assert near(equator, 0, 3, 1e-9)
    assert near(tower, 48.8582, 2.2945, 1e-4)
    assert near(opera, -33.857, 151.215, 1e-3)
    (detail,) = details(source)
    assert detail == (
        "line 5: utm_east and utm_north must be metres and utm_zone like 33U, got '1', '2', '99X'; "
        "correct or remove the row"
    )


def test_positions_in_names(tmp_path: Path) -> None:
    """Degrees where there are some, else UTM; a heading; and nothing where there is no zone."""
    names = (
        "@448251@5411932@31@U@48.85@2.29@p@@-90@@@@@@.jpg",
        "@448251.8@5411932.7@31@U@@@@@@@@@@@.jpg",
        "@448251.8@5411932.7@@@@@@@@@@@@@.jpg",
        "@448251.8@5411932.7@31@U@91@2@@@@@@@@@.jpg",
    )
    tree(tmp_path, *names)

    source = read_source(tmp_path)

    from_utm, without_zone, from_degrees = (photo.position for photo in source.photos)
    assert without_zone is None
    assert near(from_utm, 48.8582, 2.2945, 1e-4)
    assert from_degrees == Position(48.85, 2.29, 270.0)
    assert details(source) == ["lat must be between -90 and 90 degrees, got 91.0; rename the file"]


def test_exif_positions_are_in_the_order_of_time(tmp_path: Path) -> None:
    """South and west are negative, times decide the order, and a file without EXIF data has no position."""
    photo_with_gps(tmp_path / "a.jpg", -33.8570, 151.2150, taken="2024:05:02 10:00:00", heading=45.0)
    photo_with_gps(tmp_path / "b.jpg", 40.6892, -74.0445, taken="2024:05:01 10:00:00")
    tree(tmp_path, "c.jpg")

    photos = read_source(tmp_path).photos

    assert [str(photo.path) for photo in photos] == ["c.jpg", "b.jpg", "a.jpg"]
    assert photos[0].position is None
    assert near(photos[1].position, 40.6892, -74.0445, 1e-5)
    assert near(photos[2].position, -33.857, 151.215, 1e-5)
    assert photos[2].position
    assert photos[2].position.heading == 45


def test_a_street_of_phone_photos(photos_root: Path) -> None:
    """29 photos with positions, in the order of the files, along one street."""
    photos = read_source(photos_root / "street-gps").photos

    assert [str(photo.path) for photo in photos] == [f"{number:02}.jpg" for number in range(1, 30)]
    assert all(photo.position for photo in photos)
    lats = [photo.position.lat for photo in photos if photo.position]
    assert max(lats) - min(lats) < 0.02


def test_a_loop_of_frames_with_known_matches(photos_root: Path) -> None:
    """1,237 frames, and each pair of positives.csv in its order: the later frame asks."""
    source = read_source(photos_root / "city-centre")

    assert len(source.photos) == 1237
    assert P("frames/0154.jpg") in source.positives[P("frames/0665.jpg")]
    assert {photo.sequence for photo in source.photos} == {"city-centre"}


def gnd(folder: Path, document: object, name: str = "gnd_roxford5k.pkl") -> Path:
    """A ground-truth file as the authors write it."""
    (folder / name).write_bytes(pickle.dumps(document, protocol=2))
    return folder / name


@pytest.mark.parametrize("as_array", [True, False])
def test_revisited_oxford(tmp_path: Path, *, as_array: bool) -> None:
    """Easy and hard photos are matches, junk is kept apart, whether numbers are lists or arrays; boxes may be there."""
    numbers = np.array if as_array else list
    truth = [
        {"easy": numbers([0]), "hard": numbers([2]), "junk": numbers([1]), "bbx": np.array([0.0, 1.0, 5.5, 6.0])},
        {"easy": numbers([]), "hard": [np.int64(1)], "junk": numbers([]), "bbx": [1.0, 2.0, 3.0, 4.0]},
    ]
    path = gnd(tmp_path, {"imlist": ["a", "b", "c"], "qimlist": ["q1", "q2"], "gnd": truth})

    for source in (read_source(path), read_source(tmp_path)):
        assert source.positives == {
            P("jpg/q1.jpg"): (P("jpg/a.jpg"), P("jpg/c.jpg")),
            P("jpg/q2.jpg"): (P("jpg/b.jpg"),),
        }
        assert source.grades == {
            P("jpg/q1.jpg"): Grades((P("jpg/a.jpg"),), (P("jpg/c.jpg"),), (P("jpg/b.jpg"),)),
            P("jpg/q2.jpg"): Grades(hard=(P("jpg/b.jpg"),)),
        }
        assert [str(photo.path) for photo in source.of("gallery")] == ["jpg/a.jpg", "jpg/b.jpg", "jpg/c.jpg"]
        assert len(source.of("query")) == 2


class Attack:
    """A pickle of it runs a command, if anything is executed."""

    def __reduce__(self) -> tuple[object, ...]:
        """What an unpickler would call."""
        return os.system, ("echo executed > executed",)


@pytest.mark.parametrize(
    "document",
    [
        Attack(),
        {"imlist": [Attack()], "qimlist": [], "gnd": []},
        {"imlist": ["../../etc/passwd"], "qimlist": [], "gnd": []},
        {"imlist": ["a"], "qimlist": ["q"], "gnd": [{"easy": [7], "hard": []}]},
        {"imlist": ["a"], "qimlist": ["q"], "gnd": [{"easy": [-1], "hard": []}]},
        {"imlist": ["a"], "qimlist": ["q", "r"], "gnd": [{"easy": [], "hard": []}]},
        [1, 2],
        {},
    ],
    ids=["attack", "attack inside", "path outside", "no such photo", "negative", "lengths", "list", "empty"],
)
def test_a_hostile_or_damaged_pickle_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: object
) -> None:
    """One line; nothing that the file names is called."""
    monkeypatch.chdir(tmp_path)

    message = refusal(gnd(tmp_path, document))

    assert "must hold imlist, qimlist and gnd" in message
    assert not (tmp_path / "executed").exists()
    for data in (b"", b"\x80\x02", b"cos\nsystem\n(S'echo'\ntR.", b"garbage"):
        (tmp_path / "gnd_x.pkl").write_bytes(data)
        assert "must hold imlist" in refusal(tmp_path / "gnd_x.pkl")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02]r\xff\xff\xff\x0f.",
        b"\x80\x02}(" + b")" + b"\x85" * 300_000 + b"K\x01u.",
        b"\x80\x02}(X\x06\0\0\0imlist](X\x01\0\0\0aq\1%beX\x07\0\0\0qimlist]X\x03\0\0\0gnd]u." % (b"h\1" * 200_000),
    ],
    ids=["memo", "nested key", "one name 200,000 times"],
)
def test_a_pickle_that_would_exhaust_the_unpickler(tmp_path: Path, data: bytes) -> None:
    """What takes a gigabyte of memory, or ends Python, in its own unpickler is refused like other damage."""
    (tmp_path / "gnd_x.pkl").write_bytes(data)

    assert "must hold imlist" in refusal(tmp_path / "gnd_x.pkl")


def test_any_damage_to_a_pickle_is_refused(tmp_path: Path) -> None:
    """Two thousand damaged ground truths of two ages: each is a source or a SourceError."""
    truth = [{"easy": np.array([0]), "hard": [np.int64(1)], "junk": [2], "bbx": np.array([0.5])}]
    document = {"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": truth}
    file = tmp_path / "gnd_x.pkl"
    random = Random(0)
    for protocol in (2, 4):
        sound = pickle.dumps(document, protocol=protocol)
        for _ in range(1_000):
            data = bytearray(sound)
            for _ in range(random.randint(1, 4)):
                data[random.randrange(len(data))] = random.randrange(256)
            file.write_bytes(data[: random.choice((len(data), random.randrange(len(data))))])
            with contextlib.suppress(SourceError):
                assert read_source(file).of("gallery")


def test_bad_rows_of_other_tables_are_findings(tmp_path: Path) -> None:
    """A row that cannot be used is said with its file and line, and the others are kept."""
    tree(tmp_path, "hub/a.jpg", "gld/0/1/2/012.jpg")
    write(tmp_path / "hub", "file_name,label\na.jpg,x\n,y\na.jpg,z\n../b.jpg,w\n", "metadata.csv")
    write(tmp_path / "gld", "id,landmarks\n012,4 5\n../,6\n013,\n", "test.csv")

    hub, gld = read_source(tmp_path / "hub"), read_source(tmp_path / "gld" / "test.csv")

    assert [photo.place for photo in hub.photos] == ["x"]
    assert [detail.partition(":")[0] for detail in details(hub)] == [f"metadata.csv, line {n}" for n in (3, 4, 5)]
    assert [(photo.place, photo.split) for photo in gld.photos] == [("4", "query"), (None, "query")]
    assert details(gld) == ["line 3: id must be three or more letters and digits, got '../'"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"metadata.jsonl": '{"file_name": \n'}, "must be a JSON object, got '{\"file_name\": '"),
        ({"frames.csv": "file,frame\na.jpg,0\n"}, "must have the columns path,frame, got 'file,frame'"),
    ],
)
def test_a_table_without_its_columns_is_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    """The line says which file and what it has."""
    for name, text in files.items():
        write(tmp_path, text, name)

    assert message in refusal(tmp_path)


# ---- awkward folders ------------------------------------------------------------------------------------------------


def test_a_deep_folder(tmp_path: Path) -> None:
    """A photo below 1,500 folders is found; nothing recurses."""
    deep = tmp_path / "set"
    for _ in range(1500):
        deep.mkdir()
        deep /= "d"
    deep.mkdir()
    (deep / "1.jpg").touch()

    (photo,) = read_source(tmp_path / "set").photos

    assert len(photo.path.parts) == 1501
    (deep / "1.jpg").unlink()
    os.removedirs(deep)  # pytest's own removal recurses


def test_links_that_multiply(tmp_path: Path) -> None:
    """Thirty folders of two links each to the next are a billion paths; each folder is entered 100 times at most."""
    folders = [tmp_path / "set" / f".{number}" for number in range(30)]
    for folder in folders:
        folder.mkdir(parents=True)
    for one, following in itertools.pairwise(folders):
        (one / "a").symlink_to(following)
        (one / "b").symlink_to(following)
    (folders[-1] / "1.jpg").touch()
    (tmp_path / "set" / "start").symlink_to(folders[0])

    assert len(read_source(tmp_path / "set").photos) == 100


def test_a_circle_of_links_is_a_photo_that_cannot_be_read(tmp_path: Path) -> None:
    """Links to themselves or to nowhere are photos if they are called so, and reading them says what is wrong."""
    tree(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "a" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "a" / "notes").symlink_to("notes")

    source = read_source(tmp_path)
    found = {str(photo.path): images_error(source.file(photo)) for photo in source.photos}

    assert source.bad_rows == ()
    assert found["a/gone.jpg"] == (
        "missing",
        "the photo's link leads to no file; correct the path or remove the row",
    )
    assert found["a/self.jpg"] == (
        "unreadable",
        "the photo's file cannot be read (Too many levels of symbolic links); correct the path or its permissions",
    )


def images_error(path: Path) -> tuple[str, str]:
    """The kind and the message with which a file is refused; empty for one that is read."""
    try:
        images.read_bytes(path)
    except ImageError as error:
        return error.kind, str(error)
    return "", ""


def test_a_closed_folder_is_a_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be read is said, and the photos beside it are read."""
    tree(tmp_path, "a/1.jpg", "closed/2.jpg")
    listed = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    source = read_source(tmp_path)

    assert [str(photo.path) for photo in source.photos] == ["a/1.jpg"]
    assert details(source) == ["the folder cannot be read (Permission denied); correct its permissions or move it up"]
    assert source.bad_rows[0].photos == ("closed",)


def test_names_of_all_kinds(tmp_path: Path) -> None:
    """Upper case, other scripts, line breaks and names of 250 bytes are photos; a folder called x.jpg is a folder."""
    names = ["a/A.JPG", "a/Пловдив 写真.HeIc", "a/two\nlines.png", f"a/{'x' * 246}.jpg", "a/b.jpg/1.tiff"]
    tree(tmp_path, *names, "a/.hidden.jpg", "a/.cache/1.jpg")

    assert {str(photo.path) for photo in read_source(tmp_path).photos} == set(names)


COLUMNS = {
    ("file,lab", ""): "correct that line, or say which columns these are, as in --columns path=file,place=lab",
    ("a,b,subset", ""): (
        "correct that line, or say which columns these are, as in --columns path=a,place=b,split=subset"
    ),
    ("path,label,split", ""): "correct that line, or say which columns these are, as in --columns place=label",
    ("file,lab", "path"): "correct that line, or say which columns these are, as in --columns path=file,place=lab",
    ("path,place", ""): "add or correct that line",
    ("file", ""): "add or correct that line",
}


@pytest.mark.parametrize(("header", "named"), COLUMNS)
def test_a_table_with_other_names_is_told_how_to_name_them(tmp_path: Path, header: str, named: str) -> None:
    """With its own header, as it is written there, also if only some columns were named."""
    path = write(tmp_path, f"{header}\na.jpg,x,query\n", "t.csv")

    with pytest.raises(SourceError) as caught:
        read_source(path, columns={"path": "file"} if named else None)

    got = f"got {header!r}" + (" and --columns path=file" if named else "")
    assert str(caught.value).endswith(f", {got}; {COLUMNS[header, named]}")


def test_what_is_suggested_can_be_read(tmp_path: Path) -> None:
    """A suggestion that is refused in its turn would be none."""
    path = write(tmp_path, "path,label,split\na.jpg,x,query\n", "t.csv")

    assert read_source(path, columns={"place": "label"}).photos == (Photo(P("a.jpg"), "query", "x"),)


def test_a_column_is_named_once(tmp_path: Path) -> None:
    """A column cannot be two things."""
    path = write(tmp_path, "file,lab\na.jpg,x\n", "t.csv")

    with pytest.raises(SourceError, match=r"^columns must name each column of .* once, got path=file,place=file; "):
        read_source(path, columns={"path": "file", "place": "file"})


def test_a_cell_that_is_too_long_is_one_bad_row(tmp_path: Path) -> None:
    """The other rows are read; where an open quote may hide them, the table is refused."""
    long = "x" * 200_000
    path = write(tmp_path, f'path,place,split\na.jpg,{long},query\nb.jpg,"{long}",query\nc.jpg,x,query\n')

    source = read_source(path)

    assert [str(photo.path) for photo in source.photos] == ["c.jpg"]
    assert details(source) == [
        f"line {line}: a cell must have at most 131072 characters; correct or remove the row" for line in (2, 3)
    ]
    rows = "y.jpg,x,query\n" * 20_000
    assert "must be a CSV file, got on line 2: field larger" in refusal(
        write(tmp_path, f'path,place,split\na.jpg,"x,query\n{rows}')
    )


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "t.csv")

    with pytest.raises(SourceError, match=r"a file of another kind; correct the path$"):
        read_source(tmp_path / "t.csv", columns={"path": "file"})


def test_metadata_of_something_else_make_no_imagefolder(tmp_path: Path) -> None:
    """Without names of files they say nothing of photos: the folder is one of places."""
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    write(tmp_path, "place,lat,lon\na,1,2\n", "metadata.csv")

    assert read_source(tmp_path).shown == "folder per place: 2 photos, 2 places"


def test_a_landmark_photo_named_twice_is_a_bad_row(tmp_path: Path) -> None:
    """The first row counts, and the other is not lost without a word."""
    source = read_source(write(tmp_path, "id,landmark_id\n012,1\n345,2\n012,3\n", "train.csv"))

    assert [photo.place for photo in source.photos] == ["1", "2"]
    assert details(source) == ["line 4: id must not repeat, got '012' again; correct or remove the row"]


def test_a_photo_without_a_fix_has_no_position(tmp_path: Path) -> None:
    """Receivers without a fix write (0, 0), where nobody was: in a flat folder it is no position."""
    for name, north in (("a.jpg", 48.0), ("b.jpg", 0.0)):
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (north, 0.0, 0.0), 3: "E", 4: (north / 3, 0.0, 0.0)}
        Image.new("RGB", (80, 80)).save(tmp_path / name, exif=exif)

    source = read_source(tmp_path)

    assert [photo.position for photo in source.photos] == [Position(48.0, 16.0), None]
