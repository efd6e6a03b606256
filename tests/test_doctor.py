"""The doctor: every kind of finding, all of them in one run, and near-duplicates on drawn and on real photos."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
import pytest
from PIL import ImageEnhance

from placewise.core import Finding, Photo, Source, Split
from placewise.doctor import KINDS, Examination, examine, to_json
from placewise.errors import OptionError
from placewise.outlines import views
from placewise.sources import read_source


def drawing(seed: int, *, width: int = 320, height: int = 240) -> PIL.Image.Image:
    """A random picture with the large and small structures of a photo."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells, strength in ((3, 60), (6, 50), (12, 40), (24, 25), (48, 15)):
        noise = PIL.Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += strength * (np.array(noise.resize((width, height), PIL.Image.Resampling.BICUBIC)) / 127.5 - 1)
    return PIL.Image.fromarray(np.clip(128 + total, 0, 255).astype(np.uint8))


def jpeg(image: PIL.Image.Image, quality: int = 90) -> bytes:
    """An image as the bytes of a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def source_of(folder: Path, **files: bytes) -> Source:
    """A source of files whose names start with g (gallery) or q (query); every file is its own place."""
    photos = []
    for name, data in files.items():
        (folder / f"{name}.jpg").write_bytes(data)
        photos.append(Photo(PurePosixPath(f"{name}.jpg"), "gallery" if name.startswith("g") else "query"))
    return Source(folder, tuple(photos))


def kinds(examination: Examination) -> list[tuple[str, str, tuple[str, ...]]]:
    """Kind, severity and photos of each finding."""
    return [(found.kind, found.severity, found.photos) for found in examination.findings]


def test_many_kinds_in_one_run(tmp_path: Path) -> None:
    """One run over a dataset with many faults reports each of them, with nothing missing and nothing extra."""
    first, second, third = (jpeg(drawing(i)) for i in range(3))
    huge = (
        b"BM" + bytes(12) + (40).to_bytes(4, "little") + 2 * (60_000).to_bytes(4, "little") + b"\1\0\x18\0" + bytes(24)
    )
    files = {
        "good.jpg": jpeg(drawing(10)),
        "text.jpg": b"not a photo",
        "cut.jpg": first[: len(first) // 2],
        "huge.bmp": huge,
        "tiny.jpg": jpeg(drawing(11, width=90, height=63)),
        "a.jpg": first,
        "a-copy.jpg": first,
        "b.jpg": second,
        "b-query.jpg": second,
        "a-small.jpg": jpeg(drawing(0).resize((160, 120))),
        "c.jpg": third,
        "c-query.jpg": jpeg(drawing(2), 40),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    rows = [f"{name},,{'query' if 'query' in name else 'gallery'}" for name in (*files, "gone.jpg")]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,place,split", *rows, "d.jpg,,train"]), encoding="utf-8")

    result = examine(read_source(tmp_path))

    assert kinds(result) == [
        ("bad_row", "error", ("d.jpg",)),
        ("unreadable", "error", ("text.jpg",)),
        ("truncated", "error", ("cut.jpg",)),
        ("too_large", "error", ("huge.bmp",)),
        ("too_small", "warning", ("tiny.jpg",)),
        ("missing", "error", ("gone.jpg",)),
        ("duplicate", "warning", ("a.jpg", "a-copy.jpg")),
        ("cross_split_duplicate", "error", ("b.jpg", "b-query.jpg")),
        ("near_duplicate", "warning", ("a.jpg", "a-small.jpg")),
        ("cross_split_near_duplicate", "warning", ("c.jpg", "c-query.jpg")),
    ]
    assert result.counts == dict.fromkeys(KINDS, 0) | Counter(found.kind for found in result.findings)
    assert (result.records, result.gallery, result.query) == (14, 11, 2)
    assert result.has_errors
    assert not any("\n" in found.detail for found in result.findings)


def test_clean_data(tmp_path: Path) -> None:
    """Sound, different photos give no finding, a zero for every kind, and no errors."""
    result = examine(source_of(tmp_path, **{f"g{i}": jpeg(drawing(i)) for i in range(12)}))

    assert (result.records, result.gallery, result.query) == (12, 12, 0)
    assert (result.findings, result.groups) == ((), ())
    assert result.counts == dict.fromkeys(KINDS, 0)
    assert not result.has_errors


def test_no_usable_photo(tmp_path: Path) -> None:
    """A source whose rows are all bad is examined without a crash."""
    bad = Finding("bad_row", "error", (), "line 2: …")

    assert examine(Source(tmp_path, (), (bad,))) == Examination(1, 0, 0, (bad,))


def test_json(tmp_path: Path) -> None:
    """The JSON has the documented keys and holds everything that the examination holds."""
    document = to_json(examine(source_of(tmp_path, g=b"", q=jpeg(drawing(0)))))

    assert json.loads(json.dumps(document)) == {
        "records": 2,
        "gallery": 1,
        "query": 1,
        "counts": dict.fromkeys(KINDS, 0) | {"unreadable": 1},
        "findings": [
            {
                "kind": "unreadable",
                "severity": "error",
                "photos": ["g.jpg"],
                "detail": (
                    "a photo must be a JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF or HEIC image, got an empty file; "
                    "convert or replace it"
                ),
            }
        ],
        "groups": [],
    }


@pytest.mark.parametrize(("size", "found"), [((64, 64), 0), ((63, 500), 1), ((500, 63), 1), ((2000, 2000), 0)])
def test_too_small_uses_the_true_size(tmp_path: Path, size: tuple[int, int], found: int) -> None:
    """The shorter side in the file's header counts, not the size at which the photo was decoded."""
    result = examine(source_of(tmp_path, g=jpeg(drawing(0, width=size[0], height=size[1]))))

    assert result.counts["too_small"] == found


def test_min_side(tmp_path: Path) -> None:
    """The limit is an option, and the detail says what must hold, what came and what to do."""
    (found,) = examine(source_of(tmp_path, g=jpeg(drawing(0))), min_side=241).findings

    assert found.detail == "the shorter side must have at least 241 pixels, got 240; replace it by a larger photo"


def test_cut_large_photo(tmp_path: Path) -> None:
    """A large JPEG that lacks only its last twentieth is truncated, though it is decoded at an eighth of its size."""
    data = jpeg(drawing(0, width=1600, height=1200))

    assert kinds(examine(source_of(tmp_path, g=data[: len(data) * 19 // 20]))) == [("truncated", "error", ("g.jpg",))]


def test_duplicates_are_groups(tmp_path: Path) -> None:
    """Files with the same bytes make one finding a group, whatever their number, and no near-duplicate on top."""
    same, other = jpeg(drawing(0)), jpeg(drawing(1))
    result = examine(source_of(tmp_path, g1=same, q1=other, g2=same, g3=same, q2=other, g4=other))

    assert kinds(result) == [
        ("duplicate", "warning", ("g1.jpg", "g2.jpg", "g3.jpg")),
        ("cross_split_duplicate", "error", ("q1.jpg", "q2.jpg", "g4.jpg")),
    ]
    assert [found.detail for found in result.findings] == [
        "3 photos are the same file: keep one of them",
        "the same file is in gallery and query: remove it from one of them, or results are too good",
    ]


def test_duplicates_with_different_places(tmp_path: Path) -> None:
    """The same file under two places contradicts itself: an error that names the places and those that carry them."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(jpeg(drawing(0)))
    rows = [Photo(PurePosixPath(name), "gallery", place) for name, place in (("a", "mill"), ("b", "barn"), ("c", None))]

    found = examine(Source(tmp_path, tuple(rows))).findings

    assert [(one.kind, one.severity, one.photos) for one in found[:2]] == [
        ("duplicate", "warning", ("a", "b", "c")),
        ("place_conflict", "error", ("a", "b")),
    ]
    assert found[1].detail == (
        "the same file carries different places (barn, mill): look which is right and correct the others"
    )


def test_near_duplicates_with_different_places(tmp_path: Path) -> None:
    """Pictures that are nearly the same may still be of two places: a warning. Equal or absent places are none."""
    for name, quality in (("a", 90), ("b", 60), ("c", 40)):
        (tmp_path / name).write_bytes(jpeg(drawing(0), quality))

    def conflicts(*places: str | None) -> list[tuple[str, tuple[str, ...]]]:
        rows = [Photo(PurePosixPath(name), "gallery", place) for name, place in zip("abc", places, strict=True)]
        found = examine(Source(tmp_path, tuple(rows))).findings
        return [(one.severity, one.photos) for one in found if one.kind == "place_conflict"]

    assert conflicts("mill", "barn", None) == [("warning", ("a", "b"))]
    assert conflicts("mill", "mill", None) == conflicts(None, None, None) == []


def test_groups_hold_every_copy(tmp_path: Path) -> None:
    """A photo, its exact copy and its rescaled copy are one group, in which the same files have the same number."""
    same = jpeg(drawing(0))
    files = {"g1": same, "g2": jpeg(drawing(1)), "q1": same, "g3": jpeg(drawing(0).resize((160, 120))), "g4": b""}

    (group,) = examine(source_of(tmp_path, **files)).groups

    assert [str(photo.path) for photo in group.photos] == ["g1.jpg", "q1.jpg", "g3.jpg"]
    assert group.contents[0] == group.contents[1] != group.contents[2]
    assert group.crosses_splits
    assert not group.exact


def test_frames_make_no_group_but_copies_of_them_do(tmp_path: Path) -> None:
    """Of two sequences that share one picture, the frames that are that picture are together, and no others."""
    pictures = {"a0": jpeg(drawing(0)), "a1": jpeg(drawing(0), 60), "b0": jpeg(drawing(1)), "b1": jpeg(drawing(0))}
    photos = []
    for name, data in pictures.items():
        (tmp_path / name).write_bytes(data)
        photos.append(Photo(PurePosixPath(name), "gallery", None, None, name[0], int(name[1])))

    result = examine(Source(tmp_path, tuple(photos)))

    assert [[str(photo.path) for photo in group.photos] for group in result.groups] == [["a0", "a1", "b1"]]


def test_a_sequence_in_both_splits_hides_no_leak(tmp_path: Path) -> None:
    """A copy of its gallery frame, without a sequence, is nearly the same as its queries too, and that is said."""
    photos = []
    for number, (split, sequence) in enumerate([("gallery", "walk"), ("gallery", None), ("query", "walk")]):
        (tmp_path / f"{number}").write_bytes(jpeg(drawing(0), 60 + 5 * number))
        photos.append(
            Photo(PurePosixPath(f"{number}"), "gallery" if split == "gallery" else "query", sequence=sequence)
        )

    result = examine(Source(tmp_path, tuple(photos)))

    assert ("cross_split_near_duplicate", "warning", ("0", "1", "2")) in kinds(result)


def test_facts_are_kept_of_each_photo(tmp_path: Path) -> None:
    """In the order of the source: what was seen of a file that decodes, and the fault of one that does not."""
    data = jpeg(drawing(0))

    sound, broken = examine(source_of(tmp_path, g=data, q=b"no photo")).facts

    assert (sound.fault, sound.format, sound.size_bytes, sound.width, sound.height) == ("", "JPEG", len(data), 320, 240)
    assert sound.digest == hashlib.sha256(data).digest()
    assert (broken.photo.split, broken.fault, broken.width, broken.digest) == ("query", "unreadable", 0, None)


def test_broken_files_are_no_duplicates(tmp_path: Path) -> None:
    """Two empty files are two unreadable photos; that they are equal says nothing."""
    assert examine(source_of(tmp_path, g=b"", q=b"")).counts == dict.fromkeys(KINDS, 0) | {"unreadable": 2}


def cropped(image: PIL.Image.Image, share: float) -> PIL.Image.Image:
    """An image without a share of its width and height on each side."""
    x, y = int(image.width * share), int(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


def scaled(image: PIL.Image.Image, factor: float) -> PIL.Image.Image:
    """An image enlarged by a factor."""
    return image.resize((round(image.width * factor), round(image.height * factor)))


EDITS: dict[str, Callable[[PIL.Image.Image], bytes]] = {
    "quality 50": lambda image: jpeg(image, 50),
    "quality 20": lambda image: jpeg(image, 20),
    "half size": lambda image: jpeg(scaled(image, 0.5)),
    "double size": lambda image: jpeg(scaled(image, 2)),
    "brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.1)),
    "less contrast": lambda image: jpeg(ImageEnhance.Contrast(image).enhance(0.8)),
    "gray": lambda image: jpeg(image.convert("L")),
    "cropped by 3 % on each side": lambda image: jpeg(cropped(image, 0.03)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_copies_are_near_duplicates(tmp_path: Path, edit: str) -> None:
    """A copy in another quality, size, brightness or slightly cropped is found, and only it."""
    files = {f"g{i}": jpeg(drawing(i)) for i in range(8)} | {"g_edit": EDITS[edit](drawing(3))}

    assert kinds(examine(source_of(tmp_path, **files))) == [("near_duplicate", "warning", ("g3.jpg", "g_edit.jpg"))]


def test_near_duplicates_across_splits(tmp_path: Path) -> None:
    """A near-duplicate in the other split is a warning of its own kind that says what to do."""
    (found,) = examine(source_of(tmp_path, g=jpeg(drawing(0)), q=jpeg(drawing(0), 50))).findings

    assert (found.kind, found.severity, found.photos) == (
        "cross_split_near_duplicate",
        "warning",
        ("g.jpg", "q.jpg"),
    )
    assert found.detail == (
        "2 photos are nearly the same: of copies that gallery and query share, remove those on one side, "
        "or results are too good"
    )


def test_near_duplicates_are_groups_without_exact_copies(tmp_path: Path) -> None:
    """All versions of a picture are one finding, in which one file stands for its exact copies in each split."""
    same = jpeg(drawing(0))
    files = {"g1": same, "g2": same, "g3": jpeg(drawing(0), 50), "q1": same, "q2": same, "q3": jpeg(drawing(0), 30)}

    result = examine(source_of(tmp_path, **files))

    assert kinds(result) == [
        ("cross_split_duplicate", "error", ("g1.jpg", "g2.jpg", "q1.jpg", "q2.jpg")),
        ("cross_split_near_duplicate", "warning", ("g1.jpg", "g3.jpg", "q1.jpg", "q3.jpg")),
    ]


@pytest.mark.parametrize("split", ["gallery", "query"])
def test_frames_of_one_sequence_are_only_noted(tmp_path: Path, split: Split) -> None:
    """Near-duplicates that all are frames of one sequence are one finding of severity info, not errors by the dozen."""
    photos = []
    for i in range(6):
        (tmp_path / f"{i}").write_bytes(jpeg(drawing(0), 60 + i))
        photos.append(Photo(PurePosixPath(f"{i}"), split if i == 5 else "gallery", None, None, "walk", i))

    (found,) = examine(Source(tmp_path, tuple(photos))).findings

    crosses = split == "query"
    todo = "put the whole sequence on one side, or results are too good" if crosses else "nothing to do"
    assert found.kind == ("cross_split_near_duplicate" if crosses else "near_duplicate")
    assert found.severity == "info"
    assert len(found.photos) == 6
    assert found.detail == f"6 frames of sequence 'walk' are nearly the same as others of it: {todo}"


def test_blank_photos_are_not_compared(tmp_path: Path) -> None:
    """Photos that show nothing, such as a lens cap, are not near-duplicates of each other by their noise."""
    rng = np.random.default_rng(0)
    files = {
        f"g{i}": jpeg(PIL.Image.fromarray((level + rng.integers(-3, 4, (240, 320, 3))).astype(np.uint8)))
        for i, level in enumerate((10, 10, 128, 240))
    }

    (found,) = examine(source_of(tmp_path, **files)).findings

    assert (found.kind, len(found.photos)) == ("blank", 4)


def test_pictures_without_structure_do_not_crash(tmp_path: Path) -> None:
    """Pure ramps, edges and single dots, whose alignment has no unique solution, are compared without a crash."""
    y, x = np.mgrid[:64, :64]
    shapes = (x * 4, y * 4, (x + y) * 2, (x > 31) * 255, (y > 31) * 255, ((x == 9) & (y == 9)) * 255, x % 2 * 255)
    for gains in (1.0, 0.9):
        files = {f"g{i}": jpeg(PIL.Image.fromarray((s * gains).astype(np.uint8)), 95) for i, s in enumerate(shapes)}
        files |= {f"q{i}": jpeg(PIL.Image.fromarray((s * 0.8).astype(np.uint8)), 95) for i, s in enumerate(shapes)}

        assert examine(source_of(tmp_path, **files)).records == 14


def test_many_copies_on_one_side_do_not_hide_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many near-duplicates a photo has in its own split, the one in the other split is found."""
    monkeypatch.setattr(views, "_PARTNERS", 1)
    monkeypatch.setattr(views, "_BLOCK", 3)
    files = {f"g{q}": jpeg(drawing(0), q) for q in range(80, 90)} | {"q": jpeg(cropped(drawing(0), 0.01))}

    assert any("q.jpg" in found.photos for found in examine(source_of(tmp_path, **files)).findings)


def test_threshold(tmp_path: Path) -> None:
    """The threshold decides: at 1 an edited copy is no near-duplicate any more."""
    source = source_of(tmp_path, g1=jpeg(drawing(0)), g2=jpeg(cropped(drawing(0), 0.02), 60))

    assert examine(source).counts["near_duplicate"] == 1
    assert examine(source, near_duplicate=1).counts["near_duplicate"] == 0


def test_workers_and_progress(tmp_path: Path) -> None:
    """The result does not depend on the number of threads, and progress counts every photo once, in order."""
    files = {f"{'gq'[i % 2]}{i}": jpeg(drawing(i // 2), 70 + i) for i in range(10)} | {"g_bad": b""}
    source = source_of(tmp_path, **files)
    seen: list[tuple[int, int]] = []

    assert examine(source, workers=4, on_progress=lambda done, total: seen.append((done, total))) == examine(
        source, workers=1
    )
    assert seen == [(i, 11) for i in range(1, 12)]


def test_refused_options(tmp_path: Path) -> None:
    """Options out of range are refused with a line that says what must hold and what came."""
    source = Source(tmp_path, ())

    with pytest.raises(OptionError, match=r"^near_duplicate must be above 0 and at most 1, got 0$"):
        examine(source, near_duplicate=0)
    with pytest.raises(OptionError, match=r"^workers must be 1 or more, got 0$"):
        examine(source, workers=0)


def real(folder: Path, query: str) -> Source:
    """All photos below a folder; those below a folder of the given name are queries."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*.jp*g"))]
    return Source(
        folder, tuple(Photo(PurePosixPath(path), "query" if query in path.parts else "gallery") for path in paths)
    )


def test_real_leaks_are_found(photos_root: Path) -> None:
    """In a published split that shares photos, every shared file is found, and two photos that were saved twice."""
    result = examine(real(photos_root / "leaky", "test"))

    assert {kind: count for kind, count in result.counts.items() if count} == {
        "duplicate": 6,
        "cross_split_duplicate": 19,
        "cross_split_near_duplicate": 2,
        "mixed_resolutions": 1,
    }
    near = [found.photos for found in result.findings if found.kind == "cross_split_near_duplicate"]
    assert near == [
        ("test/golden temple/4.jpeg", "train/golden temple/5.jpg"),
        ("test/golden temple/8.jpeg", "train/golden temple/3.jpg"),
    ]


@pytest.mark.parametrize("folder", ["distractors", "buildings", "street-gps"])
def test_different_real_photos_are_no_near_duplicates(photos_root: Path, folder: str) -> None:
    """Of different photos, even of one landmark, building or street, none is called a near-duplicate."""
    result = examine(real(photos_root / folder, "query"))

    assert [found.photos for found in result.findings if "duplicate" in found.kind] == []


@pytest.mark.parametrize("edit", EDITS)
def test_edited_real_photos_are_near_duplicates(photos_root: Path, tmp_path: Path, edit: str) -> None:
    """Of real photos that were edited, at least nine in ten are found, and none is paired with another photo."""
    paths = sorted((photos_root / "landmarks").rglob("*.jpg"))[::12]
    files: dict[str, bytes] = {}
    for i, path in enumerate(paths):
        with PIL.Image.open(path) as image:
            files |= {f"g{i}": path.read_bytes(), f"q{i}": EDITS[edit](image.convert("RGB"))}

    findings = examine(source_of(tmp_path, **files)).findings
    found = {finding.photos for finding in findings if "duplicate" in finding.kind}

    wanted = {(f"g{i}.jpg", f"q{i}.jpg") for i in range(len(paths))}
    assert found <= wanted
    assert len(found) >= 0.9 * len(wanted)
