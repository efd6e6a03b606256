"""Sources: manifests and folders become photos; every fault of every row is reported at once."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placewise.core import Photo, Position, Source
from placewise.errors import SourceError
from placewise.manifest import read_source

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


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    tree(tmp_path, "other/x.jpg", "gallery/.hidden.jpg", "gallery/.thumbs/1.jpg", "gallery/a/notes.txt")

    assert read_source(tmp_path) == Source(
        tmp_path,
        (
            Photo(P("Query/2.PNG"), "query"),
            Photo(P("gallery/0.tif"), "gallery"),
            Photo(P("gallery/a/1.jpeg"), "gallery", "a"),
            Photo(P("gallery/a/deep/2.webp"), "gallery", "a"),
            Photo(P("gallery/b/1.jpg"), "gallery", "b"),
        ),
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
        "end in .avif .bmp .gif .jpeg .jpg .png .ppm .tif .tiff .webp; found none in 'set'"
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
