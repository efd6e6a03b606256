"""The page of findings: whole, escaped, small, whatever was examined."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from placewise import write_findings
from placewise.core import Finding, Photo, Position, Source, Split
from placewise.doctor import BY_NAME, Examination, Group, PhotoFacts, examine
from placewise.errors import OptionError
from placewise.sources import read_source

VOID = frozenset({"meta", "img", "br", "link", "wbr"})


class Page(HTMLParser):
    """The text, the addresses, the names and the open tags of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(self.html)
        self.text = " ".join("".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note addresses and names; count tags that must be closed."""
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Tags close in order."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect what a reader sees."""
        if self.open[-1:] not in (["style"], ["script"]):
            self.texts.append(data)


def written(source: Source, folder: Path, examination: Examination | None = None) -> Page:
    """The page of a source."""
    write_findings(examination or examine(source), source, folder / "out.html", command="placewise validate x")
    return Page(folder / "out.html")


@pytest.fixture
def broken(tmp_path: Path, save_photo: Callable[..., Path]) -> Path:
    """A manifest in which much is wrong, with positions and sequences."""
    folder = tmp_path / "data"
    rows = ["path,place,split,lat,lon,sequence"]
    for place in range(4):
        for view in range(4):
            save_photo(folder / f"p{place}" / f"{view}.png", place=10 * place + view)
            split = "query" if view == 3 else "gallery"
            rows.append(f"p{place}/{view}.png,place {place},{split},{48.2 + place / 1000},16.37,walk {place}")
    shutil.copy(folder / "p0" / "0.png", folder / "leaked.png")
    (folder / "text.jpg").write_bytes(b"no photo")
    Image.new("RGB", (90, 80), "white").save(folder / "white.png")
    rows += ["leaked.png,place 1,query,,,", "text.jpg,place 1,gallery,,,", "white.png,place 1,gallery,0,0,"]
    rows += [f"gone/{number}.jpg,place 2,gallery,,," for number in range(500)]
    rows += ["../up.jpg,place 1,gallery,,,"]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


def test_the_page_is_one_whole_file(broken: Path, tmp_path: Path) -> None:
    """Well-formed, every kind with its severity and what to do, and no address outside the file or to nowhere in it."""
    source = read_source(broken)
    examination = examine(source)

    page = written(source, tmp_path, examination)

    assert not page.open
    links = [address for address in page.addresses if not address.startswith("data:image/jpeg;base64,")]
    assert {link.removeprefix("#") for link in links} <= set(page.ids)
    assert all(link.startswith("#") for link in links)
    assert len(page.ids) == len(set(page.ids))
    assert source.shown in page.text
    assert f"Not fit for use: {sum(found.severity == 'error' for found in examination.findings)} errors." in page.text
    for found in examination.findings:
        assert f"{found.severity}-{found.kind}" in page.ids
        assert BY_NAME[found.kind].todo in page.text or BY_NAME[found.kind].severity != found.severity
        assert found.detail in page.text
    for section in ("findings", "copies", "places", "files", "sequences", "map", "ground", "sizes"):
        assert section in page.ids
    assert "placewise validate x" in page.text


def test_copies_stand_side_by_side(broken: Path, tmp_path: Path) -> None:
    """A group says what it is, marks that it crosses splits and places, and shows each photo with what it is."""
    page = written(read_source(broken), tmp_path)

    assert "1. 2 photos, the same file gallery and query 2 places" in page.text
    group = page.html[page.html.index('id="group-1"') :]
    group = group[: group.index("</article>")]
    assert group.count("<img") == 2
    assert group.index("p0/<wbr>0.png") < group.index("leaked.png")
    assert "gallery · file A" in group
    assert "query · file A" in group
    assert "96 × 96" in group


def test_what_is_too_much_is_folded_and_counted(broken: Path, tmp_path: Path) -> None:
    """Of five hundred missing files the first are read at once, some are folded, and the page says how many are not."""
    page = written(read_source(broken), tmp_path)

    assert "gone/0.jpg, gone/1.jpg" in page.text
    assert "and 494 more photos" in page.text
    assert "and 194 more: placewise validate --json names them all" in page.text
    section = page.text[page.text.index("The photo's file does not exist.") :]
    assert section[: section.index("unreadable")].count("gone/") == 306


def test_hostile_names_and_labels_are_shown_not_obeyed(tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """Markup, line breaks, reversed text and bytes that are no text: each is shown, and the page stays whole."""
    splits: tuple[Split, ...] = ("gallery", "query", "gallery", "query", "gallery")
    markup = "<script>alert(1)</script>"
    names = ['"><img src=x onerror=alert(1)>.png', "a\nb.png", "\u202egnp.png", "\udcff.png", "a" * 3000 + ".png"]
    photos = tuple(
        Photo(PurePosixPath(name), split, markup, Position(1.0, number), markup)
        for number, (name, split) in enumerate(zip(names, splits, strict=True))
    )
    save_photo(tmp_path / names[0], place=1)
    source = Source(tmp_path, photos, (Finding("bad_row", "error", (markup,), markup),), shown=markup)
    facts = tuple(PhotoFacts(photo, format=markup, width=96, height=96) for photo in photos)
    findings = (
        *source.bad_rows,
        *(Finding(kind, "warning", tuple(map(str, names)), markup * 50) for kind in ("blank", "bad_position")),
    )
    examination = Examination(6, 3, 2, findings, facts, (Group(photos, (1, 1, 2, 3, 4)),))

    write_findings(examination, source, tmp_path / "out.html", title=markup, command=markup)

    page = Page(tmp_path / "out.html")
    assert not page.open
    assert page.html.count("<script>") == 1  # the page's own
    assert "<img src=x" not in page.html
    assert markup in page.text
    assert "a\\nb.png" in page.text
    assert "\\u202egnp.png" in page.text
    assert "\\udcff.png" in page.text
    assert "a" * 241 not in page.html


@pytest.mark.parametrize("kept", ["nothing", "only bad rows", "no facts", "one photo", "only queries", "no places"])
def test_whatever_can_be_examined_can_be_shown(kept: str, tmp_path: Path, save_photo: Callable[..., Path]) -> None:
    """What is not known is left out, with its link; the rest is there."""
    path = save_photo(tmp_path / "1.png", place=1)
    split: Split = "query" if kept == "only queries" else "gallery"
    photo = Photo(PurePosixPath(path.name), split, None if kept == "no places" else "a")
    bad = (Finding("bad_row", "error", (), "line 2"),) if kept == "only bad rows" else ()
    source = Source(tmp_path, () if kept in ("nothing", "only bad rows") else (photo,), bad)
    examination = examine(source)
    if kept == "no facts":
        examination = replace(examination, facts=(), findings=(Finding("blank", "warning", ("1.png",), "blank"),))

    page = written(source, tmp_path, examination)

    assert not page.open
    assert ("files" in page.ids) == (kept in ("one photo", "only queries", "no places"))
    assert ("places" in page.ids) == (kept in ("one photo", "only queries"))
    assert "map" not in page.ids
    assert {link.removeprefix("#") for link in page.addresses if link.startswith("#")} <= set(page.ids)


def test_a_photo_that_has_gone_leaves_a_gap_and_a_page(broken: Path, tmp_path: Path) -> None:
    """Between examining and showing a photo may vanish or break; its thumbnail is empty, the rest is there."""
    source = read_source(broken)
    examination = examine(source)
    (broken.parent / "leaked.png").unlink()
    (broken.parent / "p0" / "0.png").write_bytes(b"broken now")

    page = written(source, tmp_path, examination)

    assert page.html.count('class="missing"') >= 2
    assert not page.open


def test_the_page_of_a_hundred_thousand_photos_is_small(tmp_path: Path) -> None:
    """A hundred thousand rows, as many findings and thumbnails of noise, the worst for a JPEG, stay below 15 MB."""
    rng = np.random.default_rng(0)
    for number in range(150):
        Image.fromarray(rng.integers(0, 255, (240, 240, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    sizes = rng.integers(30, 9000, (100_000, 2)).tolist()
    spots = rng.uniform(0, 0.3, (100_000, 2)).tolist()
    facts = tuple(
        PhotoFacts(
            Photo(
                PurePosixPath(f"{number}.png" if number < 150 else f"{'a_long_folder/' * 8}{number}.png"),
                "query" if number % 2 else "gallery",
                f"place {number // 6}",
                Position(48 + spots[number][0], 16 + spots[number][1]),
                f"walk {number // 50}",
            ),
            format="JPEG",
            width=width,
            height=height,
        )
        for number, (width, height) in enumerate(sizes)
    )
    photos = tuple(fact.photo for fact in facts)
    names = [str(photo.path) for photo in photos]
    several = ("too_small", "blank", "bad_position", "missing", "near_duplicate", "truncated")
    findings = [
        *(Finding(kind, "warning", tuple(names[n : n + 9]), f"{n}") for kind in several[:-1] for n in range(20_000)),
        *(Finding("truncated", "error", tuple(names[n : n + 500]), f"{n}") for n in range(0, 100_000, 500)),
        *(Finding(kind, "error", tuple(names), "all") for kind in BY_NAME if kind not in several),
    ]
    groups = tuple(Group(photos[n : n + 6], (0, 0, 1, 2, 3, 4)) for n in range(0, 60_000, 6))
    examination = Examination(100_000, 50_000, 50_000, tuple(findings), facts, groups)

    page = written(Source(tmp_path, photos), tmp_path, examination)

    assert page.html.count("<img") > 150
    assert len(page.html) < 15_000_000
    assert "and 9,976 more groups" in page.text


def test_a_page_replaces_nothing_but_pages(broken: Path, tmp_path: Path) -> None:
    """A missing folder or another kind of file in the way is one line, and nothing is lost."""
    source = read_source(broken)
    before = broken.read_bytes()

    for out in (tmp_path / "none" / "out.html", tmp_path, broken):
        with pytest.raises(OptionError, match=r"^an output file must "):
            write_findings(Examination(0, 0, 0, ()), source, out)
    assert broken.read_bytes() == before


def placewise(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "placewise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_validate_writes_the_page_beside_everything_else(broken: Path, tmp_path: Path) -> None:
    """With --json and --fix the page is written too, of the source as it is; standard output is the document alone."""
    out = tmp_path / "out.html"

    alone = placewise("validate", broken, "--report", out)
    first = Page(out)
    both = placewise("validate", broken, "--report", out, "--json", "--fix", tmp_path / "clean.csv")

    assert (alone.returncode, both.returncode) == (1, 0)
    assert alone.stdout.splitlines()[-1] == f"report: {out}"
    assert both.stdout.startswith("{")
    assert f"report: {out}" in both.stderr
    assert "Not fit for use" in first.text
    assert "Not fit for use" in Page(out).text
    assert "placewise validate " in first.text[first.text.index("How it was made", 500) :]


def test_validate_refuses_a_page_before_the_work(broken: Path) -> None:
    """In one line, with exit code 2; the manifest is untouched, and nothing was read."""
    before = broken.read_bytes()

    done = placewise("validate", broken, "--report", broken, "--fix", broken.parent / "clean.csv")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: an output file must be new or end in .html to be replaced, got ")
    assert broken.read_bytes() == before
    assert not (broken.parent / "clean.csv").exists()


def test_what_is_wrong_with_a_real_set_is_seen(photos_root: Path, tmp_path: Path) -> None:
    """A published set whose folders share photos: the leaks come first, and what is not shown is counted."""
    source = read_source(photos_root / "leaky")

    page = written(source, tmp_path)

    assert "Not fit for use: 19 errors." in page.text
    assert page.html.count('<article class="query group') == 24
    assert page.html.count("gallery and query</span>") == 21
    assert "and 3 more groups" in page.text
