"""Source → gallery: resume, changed, moved and pruned photos, bad ones, thumbnails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from placewise import embed, images, indexing
from placewise.cache import Cache
from placewise.errors import GalleryError, ModelMismatchError, OptionError
from placewise.gallery_file import GalleryFile
from placewise.indexing import Indexed, index_source
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tests.conftest import TinyModel

    from placewise.core import Embeddings


def test_an_interrupted_run_resumes(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt in the third batch, two batches are kept and only the rest is computed."""
    monkeypatch.setattr(embed, "BATCH", 4)
    source = read_source(tiny_dataset)
    total = len(source.of("gallery"))

    def interrupt(done: int, _: int) -> None:
        if done > 8:
            raise KeyboardInterrupt

    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        with pytest.raises(KeyboardInterrupt):
            index_source(source, gallery, tiny_model, on_progress=interrupt)
        assert len(gallery) == 8
        tiny_model.computed = 0

        indexed = index_source(source, gallery, tiny_model)

    assert (indexed.added, indexed.unchanged, indexed.computed) == (total - 8, 8, total - 8)
    assert tiny_model.computed == total - 8


def test_a_changed_file_is_embedded_anew(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, save_photo: Callable[..., Path]
) -> None:
    """The cache and the gallery go by content: new pixels under an old name and label give a new embedding."""
    source = read_source(tiny_dataset)
    with (
        Cache(tmp_path / "cache", tiny_model) as cache,
        GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery,
    ):
        index_source(source, gallery, tiny_model, cache=cache)
        before = gallery.contents().embeddings
        save_photo(tiny_dataset.parent / "p0" / "1.png", place=77)

        indexed = index_source(source, gallery, tiny_model, cache=cache)
        after = gallery.contents().embeddings

    assert (indexed.added, indexed.updated, indexed.unchanged, indexed.computed) == (0, 1, 11, 1)
    # The changed photo has a new id, after all others.
    np.testing.assert_array_equal(after[:11], np.delete(before, 1, axis=0))
    assert (after[11] != before[1]).any()


def test_a_new_label_is_stored_without_embedding(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Renaming a place in the manifest relabels its photos in the gallery and computes nothing."""
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        index_source(read_source(tiny_dataset), gallery, tiny_model)
        text = tiny_dataset.read_text(encoding="utf-8").replace("place 2", "Market")
        tiny_dataset.write_text(text, encoding="utf-8")

        indexed = index_source(read_source(tiny_dataset), gallery, tiny_model)

        places = {photo.place for photo in gallery.contents().photos}
    assert (indexed.relabelled, indexed.unchanged, indexed.computed) == (3, 9, 0)
    assert "Market" in places
    assert "place 2" not in places


def test_bad_photos_stop_nothing(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """A missing and a broken photo are reported with their kinds; all others are embedded."""
    (tiny_dataset.parent / "p0" / "0.png").unlink()
    (tiny_dataset.parent / "p1" / "1.png").write_bytes(b"no image")

    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        indexed = index_source(read_source(tiny_dataset), gallery, tiny_model)

        assert len(gallery) == 10
    assert [(str(failure.photo.path), failure.kind) for failure in indexed.failures] == [
        ("p0/0.png", "missing"),
        ("p1/1.png", "unreadable"),
    ]


def test_another_models_gallery_is_refused(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Indexing with another model is refused before a photo is read, and the gallery keeps what it has."""
    source = read_source(tiny_dataset)
    other = type(tiny_model)("other")
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        index_source(source, gallery, tiny_model)
        with pytest.raises(ModelMismatchError):
            index_source(source, gallery, other)

        assert len(gallery) == 12
    assert other.computed == 0


def test_photos_that_the_source_does_not_name_are_counted(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """A photo that moved from the gallery to the queries stays in the file until it is removed, and is reported."""
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        index_source(read_source(tiny_dataset), gallery, tiny_model)
        text = tiny_dataset.read_text(encoding="utf-8").replace("p0/0.png,place 0,gallery", "p0/0.png,place 0,query")
        tiny_dataset.write_text(text, encoding="utf-8")

        indexed = index_source(read_source(tiny_dataset), gallery, tiny_model)

    assert (indexed.unchanged, indexed.foreign) == (11, 1)


def test_a_photo_that_the_network_cannot_embed_stops_nothing(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One zero vector among good ones is that photo's failure: named, not stored, not cached."""
    infer = tiny_model.infer

    def third_is_zero(inputs: Sequence[NDArray[np.uint8]]) -> Embeddings:
        rows = infer(inputs)
        rows[2] = 0
        return rows

    monkeypatch.setattr(tiny_model, "infer", third_is_zero)
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery, Cache(tmp_path / "c", tiny_model) as cache:
        indexed = index_source(read_source(tiny_dataset), gallery, tiny_model, cache=cache)

        assert len(gallery) == 11
        assert len(cache._store.execute("SELECT * FROM embeddings")) == 11
    assert [(str(failure.photo.path), failure.kind) for failure in indexed.failures] == [("p0/2.png", "unusable")]


@pytest.fixture
def gallery(tmp_path: Path, tiny_model: TinyModel) -> Generator[GalleryFile]:
    """An empty gallery."""
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as opened:
        yield opened


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once."""
    monkeypatch.setattr(indexing, "_SETTLED_NS", -(10**18))


def by_path(gallery: GalleryFile) -> dict[str, Embeddings]:
    """Path → embedding."""
    contents = gallery.contents()
    return {str(photo.path): row for photo, row in zip(contents.photos, contents.embeddings, strict=True)}


def changed(*, updated: int = 0, moved: int = 0, computed: int = 0) -> Indexed:
    """What a run on the tiny dataset's twelve photos should have counted; those that are not named are unchanged."""
    return Indexed(updated=updated, moved=moved, computed=computed, unchanged=12 - updated - moved)


def test_a_moved_photo_keeps_its_embedding(tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile) -> None:
    """Renamed files are recognised by their content: no network run, the same ids, the new labels."""
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    before = gallery.contents()
    (tiny_dataset.parent / "p0").rename(tiny_dataset.parent / "townhall")
    tiny_dataset.write_text(tiny_dataset.read_text("utf-8").replace("p0/", "townhall/").replace("place 0", "hall"))

    assert index_source(read_source(tiny_dataset), gallery, tiny_model) == changed(moved=3)

    after = gallery.contents()
    assert tiny_model.computed == 12
    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_array_equal(after.embeddings, before.embeddings)
    assert [str(photo.path) for photo in after.photos[:3]] == [f"townhall/{view}.png" for view in range(3)]
    assert {photo.place for photo in after.photos[:3]} == {"hall"}


def test_photos_that_swap_their_names_swap_their_embeddings(
    tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile
) -> None:
    """Two files that exchange names are both updated, from what the gallery has, without the network."""
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    old = by_path(gallery)
    first, second = tiny_dataset.parent / "p0" / "0.png", tiny_dataset.parent / "p3" / "2.png"
    aside = first.rename(tiny_dataset.parent / "aside")
    second.rename(first)
    aside.rename(second)

    assert index_source(read_source(tiny_dataset), gallery, tiny_model) == changed(updated=2)

    new = by_path(gallery)
    np.testing.assert_array_equal(new["p0/0.png"], old["p3/2.png"])
    np.testing.assert_array_equal(new["p3/2.png"], old["p0/0.png"])


def test_a_copy_is_added_without_the_network(tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile) -> None:
    """A second file of known content gets its own row with the embedding that is there; the first stays."""
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    shutil.copy(tiny_dataset.parent / "p0" / "0.png", tiny_dataset.parent / "copy.png")
    with tiny_dataset.open("a", encoding="utf-8") as file:
        file.write("copy.png,place 0,gallery\n")

    assert index_source(read_source(tiny_dataset), gallery, tiny_model) == Indexed(added=1, unchanged=12)

    contents = gallery.contents()
    np.testing.assert_array_equal(contents.embeddings[-1], contents.embeddings[0])


def test_two_copies_of_a_photo_that_is_gone(tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile) -> None:
    """One of them is the photo that moved, the other one is new; none is lost."""
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    one = tiny_dataset.parent / "p0" / "0.png"
    shutil.copy(one, tiny_dataset.parent / "copy.png")
    one.rename(tiny_dataset.parent / "moved.png")
    text = tiny_dataset.read_text("utf-8").replace("p0/0.png", "moved.png") + "copy.png,place 0,gallery\n"
    tiny_dataset.write_text(text, encoding="utf-8")

    indexed = index_source(read_source(tiny_dataset), gallery, tiny_model)

    assert (indexed.moved, indexed.added, indexed.unchanged, len(gallery)) == (1, 1, 11, 13)


def test_prune_removes_what_the_source_no_longer_names(
    tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile
) -> None:
    """A photo that left the manifest, or became a query, leaves the gallery; a broken one that is named stays."""
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    text = tiny_dataset.read_text("utf-8").replace("p0/0.png,place 0,gallery", "p0/0.png,place 0,query")
    tiny_dataset.write_text(text.replace("p1/1.png,place 1,gallery\n", ""), encoding="utf-8")
    (tiny_dataset.parent / "p2" / "0.png").write_bytes(b"broken")

    kept = index_source(read_source(tiny_dataset), gallery, tiny_model)
    pruned = index_source(read_source(tiny_dataset), gallery, tiny_model, prune=True)

    assert (kept.removed, kept.foreign, len(kept.failures)) == (0, 2, 1)
    assert (pruned.removed, pruned.foreign, len(pruned.failures)) == (2, 0, 1)
    paths = {str(photo.path) for photo in gallery.contents().photos}
    assert {"p0/0.png", "p1/1.png"} & paths == set()
    assert "p2/0.png" in paths
    assert len(gallery) == 10


def test_prune_spares_what_came_from_elsewhere(
    tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile, tmp_path: Path, save_photo: Callable[..., Path]
) -> None:
    """Photos of another source's folder, and of the same folder under another prefix, are none of prune's business."""
    save_photo(tmp_path / "other" / "kiosk" / "1.png", place=50)
    index_source(read_source(tmp_path / "other"), gallery, tiny_model)
    index_source(read_source(tiny_dataset), gallery, tiny_model, prefix="trip")
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    assert len(gallery) == 25
    lines = tiny_dataset.read_text("utf-8").splitlines(keepends=True)
    tiny_dataset.write_text("".join(line for line in lines if not line.startswith("p3/")), encoding="utf-8")

    pruned = index_source(read_source(tiny_dataset), gallery, tiny_model, prefix="trip", prune=True)

    assert (pruned.removed, pruned.unchanged, pruned.foreign) == (3, 9, 13)
    assert gallery.matching(globs=["trip/p3/*"]) == []
    assert len(gallery.matching(globs=["p3/*"])) == 3
    assert gallery.matching(places=["kiosk"]) == ["kiosk/1.png"]


def test_another_folders_photo_of_the_same_name_is_not_replaced(
    tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile, tmp_path: Path, save_photo: Callable[..., Path]
) -> None:
    """Two folders with a 0.png each: the second is refused in one line, nothing is replaced, and a prefix helps."""
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    file = save_photo(tmp_path / "other" / "p0" / "0.png", place=50)
    before = gallery.contents()

    with pytest.raises(GalleryError) as caught:
        index_source(read_source(tmp_path / "other"), gallery, tiny_model)

    assert str(caught.value) == (
        f"a path must stand for one photo in {gallery.path}, got p0/0.png from {tmp_path / 'other'} while it has "
        f"another of that name from {tiny_dataset.parent}; give the photos of one source a --prefix"
    )
    np.testing.assert_array_equal(gallery.contents().embeddings, before.embeddings)
    assert index_source(read_source(tmp_path / "other"), gallery, tiny_model, prefix="second").added == 1
    assert gallery.matching(globs=["second/*"]) == ["second/p0/0.png"]
    assert file.exists()


def test_a_folder_that_was_moved_is_recognised(
    tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile, tmp_path: Path, save_photo: Callable[..., Path]
) -> None:
    """Where the old folder is no more, its photos belong to the new one: unchanged, updated and pruned as ever."""
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    home = tiny_dataset.parent.rename(tmp_path / "archive")
    save_photo(home / "p0" / "0.png", place=60)

    assert index_source(read_source(home / "manifest.csv"), gallery, tiny_model) == changed(updated=1, computed=1)

    (home / "manifest.csv").write_text("path,place,split\np0/0.png,place 0,gallery\n", encoding="utf-8")
    assert index_source(read_source(home / "manifest.csv"), gallery, tiny_model, prune=True).removed == 11


@pytest.mark.usefixtures("settled")
def test_files_that_look_untouched_are_not_read(
    tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size and times as they were: the file is not opened. ``rehash`` opens it all the same."""
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    opened: list[str] = []
    read = images.read_bytes

    def noted(path: Path) -> bytes:
        opened.append(path.name)
        return read(path)

    monkeypatch.setattr(images, "read_bytes", noted)

    assert index_source(read_source(tiny_dataset), gallery, tiny_model) == changed()
    assert opened == []
    assert index_source(read_source(tiny_dataset), gallery, tiny_model, rehash=True) == changed()
    assert len(opened) == 12


@pytest.mark.usefixtures("settled")
def test_a_change_that_hides_is_seen(
    tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile, save_photo: Callable[..., Path]
) -> None:
    """New pixels in a file of the same size, with its old time set back, are found: a write leaves its trace."""
    file = tiny_dataset.parent / "p0" / "0.png"
    index_source(read_source(tiny_dataset), gallery, tiny_model)
    times, size = file.stat(), file.stat().st_size
    save_photo(file, place=80)
    data = file.read_bytes()
    with file.open("ab") as open_file:
        open_file.write(b"\0" * max(0, size - len(data)))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert index_source(read_source(tiny_dataset), gallery, tiny_model) == changed(updated=1, computed=1)


def test_files_of_the_last_seconds_are_not_trusted(
    tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile
) -> None:
    """A file that was just written can be written again within a tick of the clock: its times say nothing yet."""
    index_source(read_source(tiny_dataset), gallery, tiny_model)

    assert {record.state.stamp for record in gallery.files().values()} == {None}
    assert None not in {record.state.digest for record in gallery.files().values()}


def test_thumbnails_are_kept_and_made_later(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, save_photo: Callable[..., Path]
) -> None:
    """A gallery that is told to keep thumbnails makes those that are missing, renews them, and goes on doing so."""
    source = read_source(tiny_dataset)
    save_photo(tiny_dataset.parent / "p0" / "0.png", place=0, size=(1000, 400))
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        index_source(source, gallery, tiny_model)
        assert gallery.store.execute("SELECT count(*) FROM thumbnails") == [(0,)]
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card, thumbnails=True) as gallery:
        assert index_source(source, gallery, tiny_model).unchanged == 12
        first = gallery.thumbnail(1)
        assert first is not None
        assert images.decode(first).shape == (128, 320, 3)
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        save_photo(tiny_dataset.parent / "p0" / "0.png", place=9, size=(500, 500))
        assert index_source(source, gallery, tiny_model).updated == 1
        assert gallery.store.execute("SELECT count(*) FROM thumbnails") == [(12,)]
        (number,) = (int(n) for n in gallery.ids() if n > 12)
        renewed = gallery.thumbnail(number)
        assert renewed is not None
        assert images.decode(renewed).shape == (320, 320, 3)


@pytest.mark.parametrize("prefix", ["/absolute", "../out", "a/../../b", "line\nbreak"])
def test_a_prefix_is_a_relative_path(
    tiny_dataset: Path, tiny_model: TinyModel, gallery: GalleryFile, prefix: str
) -> None:
    """A prefix that leads out of the names is refused before anything is read."""
    with pytest.raises(OptionError, match=r"^a prefix must be a relative path such as trip2, got "):
        index_source(read_source(tiny_dataset), gallery, tiny_model, prefix=prefix)
    assert tiny_model.computed == 0


def test_a_float16_gallery_is_indexed_like_another(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Copies found in a float16 gallery get the same bits; nothing is embedded twice."""
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card, storage="float16") as gallery:
        index_source(read_source(tiny_dataset), gallery, tiny_model)
        shutil.copy(tiny_dataset.parent / "p0" / "0.png", tiny_dataset.parent / "copy.png")
        with tiny_dataset.open("a", encoding="utf-8") as file:
            file.write("copy.png,place 0,gallery\n")
        index_source(read_source(tiny_dataset), gallery, tiny_model)

        _, half = gallery.matrix(np.float16)
        np.testing.assert_array_equal(half[12], half[0])
    assert tiny_model.computed == 12
