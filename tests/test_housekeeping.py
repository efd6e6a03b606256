"""What is said of a gallery, whether it is whole, and merging."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import PHOTOS, STATES, TinyModel, embeddings

from placewise.core import FileState, Photo
from placewise.errors import GalleryError, ModelMismatchError
from placewise.gallery_file import GalleryFile, Origin
from placewise.housekeeping import Merged, gallery_faults, gallery_info, merge
from placewise.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Generator

NEW = (Photo(PurePosixPath("c.jpg"), "gallery", "Kiosk"), Photo(PurePosixPath("a/1.jpg"), "gallery", "Other label"))


@pytest.fixture
def gallery(path: Path, tiny_model: TinyModel) -> Generator[GalleryFile]:
    """The gallery of three photos, open for writing."""
    with GalleryFile.open_for(path, tiny_model.card) as opened:
        yield opened


@pytest.fixture
def other(tmp_path: Path, tiny_model: TinyModel) -> Generator[GalleryFile]:
    """A gallery of two photos, one of which the first gallery has too; ids do not start at 1."""
    with GalleryFile.open_for(tmp_path / "other.gallery", tiny_model.card) as opened:
        opened.upsert([Photo(PurePosixPath("gone.jpg"), "gallery")], embeddings(1))
        opened.remove(["gone.jpg"])
        states = (FileState(b"c" * 32, (1, 2, 3), b"thumb"), STATES[0])
        opened.upsert(NEW, embeddings(2, seed=7), states, origin=Origin("/there", "p"))
        opened.put_features("sift", {2: b"keypoints"})
        yield opened


def test_info_counts_what_is_there(gallery: GalleryFile) -> None:
    """Photos, places, positions, storage, thumbnails, features, sources and size, each as it is."""
    gallery.put_features("sift", {1: b"x", 2: b"y"})
    gallery.note(["b.jpg"], [FileState()], origin=Origin("/photos"))

    assert gallery_info(gallery) == {
        "photos": 3,
        "places": 1,
        "with_position": 2,
        "model": "tiny",
        "sight": "4 px crop, none",
        "dim": 48,
        "storage": "float32",
        "fingerprint": gallery.card.fingerprint,
        "weights": "",
        "licence": "Apache-2.0",
        "thumbnails": 1,
        "features": {"sift": 2},
        "sources": ["/photos"],
        "format": 2,
        "size_bytes": gallery.path.stat().st_size,
        "preset": None,
        "calibration": None,
        "ann": None,
    }


def test_a_whole_gallery_has_no_faults(gallery: GalleryFile) -> None:
    """Nothing is said of a file that is as it was written, also after removals."""
    gallery.remove(["a/2.jpg"])

    assert gallery_faults(gallery) == []


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (
            "UPDATE embeddings SET vector = CAST(substr(vector, 1, 99) || x'00' AS BLOB) WHERE id = 2",
            "the embedding of a/2.jpg is not what was written",
        ),
        ("UPDATE embeddings SET vector = 'text' WHERE id = 3", "the embedding of b.jpg is not what was written"),
        ("DELETE FROM embeddings WHERE id = 1", "1 photos have no embedding"),
        ("DELETE FROM photos WHERE id = 2", "row 2 of embeddings belongs to no row of photos"),
    ],
)
def test_faults_are_named(path: Path, damage: str, fault: str) -> None:
    """One changed byte of one embedding, missing rows and rows of nobody are each found and named."""
    with sqlite3.connect(path) as db:
        db.execute(damage)
    db.close()

    with GalleryFile.open(path) as gallery:
        assert fault in gallery_faults(gallery)


def test_merging_brings_everything_over(gallery: GalleryFile, other: GalleryFile) -> None:
    """New photos come with embedding, file state, source, thumbnail and features; those that are there stay."""
    before = gallery.revision

    assert merge(gallery, other) == Merged(added=1, present=1)

    contents = gallery.contents()
    assert contents.photos == (*PHOTOS, NEW[0])
    np.testing.assert_array_equal(contents.embeddings, np.concatenate([embeddings(3), embeddings(2, seed=7)[:1]]))
    record = gallery.files()["c.jpg"]
    assert (record.state, record.origin) == (FileState(b"c" * 32, (1, 2, 3)), Origin("/there", "p"))
    number = int(contents.ids[-1])
    assert gallery.thumbnail(number) == b"thumb"
    assert gallery.features("sift", [number]) == {number: b"keypoints"}
    assert gallery.changes_since(before) == 1
    assert gallery_faults(gallery) == []
    assert merge(gallery, other) == Merged(added=0, present=2)


def test_a_merge_leaves_the_ranking_as_it_is(gallery: GalleryFile, other: GalleryFile) -> None:
    """Preset, ranking and what is kept of photos are those of the first gallery; a calibration of it is then stale."""
    assert merge(gallery, other, prefix="alike") == Merged(added=2, present=0)
    gallery.keep(ranking=PRESETS["balanced"].ranking, thumbnails=True)
    other.keep(ranking=PRESETS["accurate"].ranking)
    other.put_calibration("{}")
    before = gallery.revision

    assert merge(gallery, other) == Merged(added=1, present=1, ranked_otherwise=True)
    assert (gallery.preset, gallery.ranking) == ("balanced", PRESETS["balanced"].ranking.stack)
    assert (gallery.keeps_features, gallery.keeps_thumbnails, gallery.calibration) == (False, True, None)
    assert gallery.changes_since(before) == 1
    assert (other.preset, other.keeps_features) == ("accurate", True)


def test_a_conflict_changes_nothing(gallery: GalleryFile, other: GalleryFile) -> None:
    """A name that stands for two photos is refused in one line; with a prefix both are kept."""
    other.upsert(NEW, embeddings(2, seed=7), (FileState(b"c" * 32), FileState(b"another" + b" " * 25)))
    before = gallery.contents()

    with pytest.raises(GalleryError) as caught:
        merge(gallery, other)

    assert str(caught.value) == (
        f"a path must stand for one photo, got 1 that differ between {gallery.path} and {other.path} (a/1.jpg); "
        f"give the other gallery's photos a --prefix"
    )
    np.testing.assert_array_equal(gallery.contents().ids, before.ids)
    assert merge(gallery, other, prefix="north/") == Merged(added=2, present=0)
    assert gallery.matching(globs=["north/*"]) == ["north/a/1.jpg", "north/c.jpg"]


def test_photos_without_a_digest_are_compared_by_their_embedding(gallery: GalleryFile, other: GalleryFile) -> None:
    """Imported photos have no digest: the same embedding is the same photo, another one a conflict."""
    other.upsert([PHOTOS[2]], embeddings(3)[2:])
    assert merge(gallery, other).present == 2
    other.upsert([PHOTOS[2]], embeddings(1, seed=5))
    with pytest.raises(GalleryError, match=r"\(b\.jpg\)"):
        merge(gallery, other)


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_storages_may_differ(tmp_path: Path, tiny_model: TinyModel, other: GalleryFile, storage: str) -> None:
    """Merging into a gallery of the other storage converts each embedding and its checksum."""
    dtype = np.float16 if storage == "float16" else np.float32
    with GalleryFile.open_for(tmp_path / "half", tiny_model.card, storage="float16") as half:
        merge(half, other)
        ids, rows = half.matrix(np.float16)
        assert gallery_faults(half) == []
        np.testing.assert_array_equal(rows, embeddings(2, seed=7).astype(np.float16))
        with GalleryFile.open_for(tmp_path / "back", tiny_model.card, storage=storage) as back:  # type: ignore[arg-type]
            merge(back, half)
            np.testing.assert_array_equal(back.matrix(dtype)[1], rows.astype(dtype))
            assert gallery_faults(back) == []
    assert ids.tolist() == [2, 3]


def test_what_cannot_be_merged(gallery: GalleryFile, tmp_path: Path, tiny_model: TinyModel) -> None:
    """Another model, other settings, the gallery itself and a damaged file are refused; nothing is changed."""
    exact = dataclasses.replace(tiny_model.card, precision="float32")
    for name, card, message in (
        ("a", TinyModel("other").card, "must be used with the model it was made with"),
        ("b", exact, "must be written as it was begun, with --precision auto"),
    ):
        with GalleryFile.open_for(tmp_path / name, card) as foreign, pytest.raises(ModelMismatchError, match=message):
            merge(gallery, foreign)
    with pytest.raises(GalleryError, match="must be merged with another one"):
        merge(gallery, gallery)
    assert len(gallery) == 3


def test_a_merge_that_fails_half_way_leaves_nothing(
    gallery: GalleryFile, other: GalleryFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error after the photos were copied takes them back: all or nothing."""

    def fail(_: int) -> None:
        raise RuntimeError

    monkeypatch.setattr(gallery, "new_revision", fail)
    with pytest.raises(RuntimeError):
        merge(gallery, other)

    assert len(gallery) == 3
    assert gallery_faults(gallery) == []


def test_the_other_gallery_is_only_read(path: Path, tmp_path: Path) -> None:
    """Between two files at rest, the other one is byte for byte what it was, and has no companions."""
    copy = Path(shutil.copy(path, tmp_path / "copy"))
    before = copy.read_bytes()
    with GalleryFile.open(path) as gallery, GalleryFile.open(copy) as other:
        assert merge(gallery, other, prefix="again").added == 3
        assert copy.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["city.gallery", "copy"]
