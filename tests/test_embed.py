"""The write path: order, cache, resume, changed files, bad photos."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from placewise import embed
from placewise.cache import Cache
from placewise.errors import ModelMismatchError
from placewise.gallery import Gallery
from placewise.manifest import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conftest import TinyModel

    from placewise.core import Embeddings


def test_embeddings_come_in_the_order_of_the_photos(
    tiny_dataset: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads and batches do not change which embedding belongs to which photo."""
    monkeypatch.setattr(embed, "BATCH", 3)
    source = read_source(tiny_dataset)

    batches = list(embed.embed_photos(source, source.photos, tiny_model))

    assert [photo for batch in batches for photo in batch.photos] == list(source.photos)
    for batch in batches:
        for photo, row in zip(batch.photos, batch.embeddings, strict=True):
            expected = tiny_model.infer([tiny_model.read(source.file(photo).read_bytes())])
            np.testing.assert_array_equal(row, expected[0])


def test_a_second_run_embeds_nothing(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """With a cache, the second run computes nothing and returns the same embeddings."""
    source = read_source(tiny_dataset)
    with Cache(tmp_path / "cache", tiny_model) as cache:
        first = list(embed.embed_photos(source, source.photos, tiny_model, cache=cache))
        second = list(embed.embed_photos(source, source.photos, tiny_model, cache=cache))

    assert sum(batch.computed for batch in first) == tiny_model.computed == len(source.photos)
    assert sum(batch.computed for batch in second) == 0
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.embeddings, two.embeddings)


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

    with Gallery.open_for(tmp_path / "g", tiny_model.card) as gallery:
        with pytest.raises(KeyboardInterrupt):
            embed.index(source, gallery, tiny_model, on_progress=interrupt)
        assert len(gallery) == 8
        tiny_model.computed = 0

        indexed = embed.index(source, gallery, tiny_model)

    assert (indexed.added, indexed.unchanged, indexed.computed) == (total - 8, 8, total - 8)
    assert tiny_model.computed == total - 8


def test_a_changed_file_is_embedded_anew(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path, save_photo: Callable[..., Path]
) -> None:
    """The cache and the gallery go by content: new pixels under an old name and label give a new embedding."""
    source = read_source(tiny_dataset)
    with (
        Cache(tmp_path / "cache", tiny_model) as cache,
        Gallery.open_for(tmp_path / "g", tiny_model.card) as gallery,
    ):
        embed.index(source, gallery, tiny_model, cache=cache)
        before = gallery.contents().embeddings
        save_photo(tiny_dataset.parent / "p0" / "1.png", place=77)

        indexed = embed.index(source, gallery, tiny_model, cache=cache)
        after = gallery.contents().embeddings

    assert (indexed.added, indexed.updated, indexed.unchanged, indexed.computed) == (0, 1, 11, 1)
    assert np.flatnonzero((before != after).any(axis=1)).tolist() == [1]


def test_a_new_label_is_stored_without_embedding(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Renaming a place in the manifest relabels its photos in the gallery and computes nothing."""
    with Gallery.open_for(tmp_path / "g", tiny_model.card) as gallery:
        embed.index(read_source(tiny_dataset), gallery, tiny_model)
        text = tiny_dataset.read_text(encoding="utf-8").replace("place 2", "Market")
        tiny_dataset.write_text(text, encoding="utf-8")

        indexed = embed.index(read_source(tiny_dataset), gallery, tiny_model)

        places = {photo.place for photo in gallery.contents().photos}
    assert (indexed.relabelled, indexed.unchanged, indexed.computed) == (3, 9, 0)
    assert "Market" in places
    assert "place 2" not in places


def test_bad_photos_stop_nothing(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """A missing and a broken photo are reported with their kinds; all others are embedded."""
    (tiny_dataset.parent / "p0" / "0.png").unlink()
    (tiny_dataset.parent / "p1" / "1.png").write_bytes(b"no image")

    with Gallery.open_for(tmp_path / "g", tiny_model.card) as gallery:
        indexed = embed.index(read_source(tiny_dataset), gallery, tiny_model)

        assert len(gallery) == 10
    assert [(str(failure.photo.path), failure.kind) for failure in indexed.failures] == [
        ("p0/0.png", "missing"),
        ("p1/1.png", "unreadable"),
    ]


def test_another_models_gallery_is_refused(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """Indexing with another model is refused before a photo is read, and the gallery keeps what it has."""
    source = read_source(tiny_dataset)
    other = type(tiny_model)("other")
    with Gallery.open_for(tmp_path / "g", tiny_model.card) as gallery:
        embed.index(source, gallery, tiny_model)
        with pytest.raises(ModelMismatchError):
            embed.index(source, gallery, other)

        assert len(gallery) == 12
    assert other.computed == 0


def test_photos_that_the_source_does_not_name_are_counted(
    tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """A photo that moved from the gallery to the queries stays in the file until it is removed, and is reported."""
    with Gallery.open_for(tmp_path / "g", tiny_model.card) as gallery:
        embed.index(read_source(tiny_dataset), gallery, tiny_model)
        text = tiny_dataset.read_text(encoding="utf-8").replace("p0/0.png,place 0,gallery", "p0/0.png,place 0,query")
        tiny_dataset.write_text(text, encoding="utf-8")

        indexed = embed.index(read_source(tiny_dataset), gallery, tiny_model)

    assert (indexed.unchanged, indexed.foreign) == (11, 1)


def test_memory_does_not_grow_with_the_number_of_photos(
    tmp_path: Path, tiny_model: TinyModel, save_photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many photos there are, no more than two batches and the threads' own are read and not yet embedded."""
    monkeypatch.setattr(embed, "BATCH", 4)
    for number in range(120):
        save_photo(tmp_path / "place" / f"{number:03}.png", place=number)
    source = read_source(tmp_path)
    waiting, most = 0, 0
    lock, read, infer = threading.Lock(), tiny_model.read, tiny_model.infer

    def counted_read(data: bytes) -> NDArray[np.uint8]:
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        return read(data)

    def slow_infer(inputs: Sequence[NDArray[np.uint8]]) -> Embeddings:
        nonlocal waiting
        time.sleep(0.02)
        with lock:
            waiting -= len(inputs)
        return infer(inputs)

    monkeypatch.setattr(tiny_model, "read", counted_read)
    monkeypatch.setattr(tiny_model, "infer", slow_infer)

    batches = list(embed.embed_photos(source, source.photos, tiny_model))

    assert sum(len(batch.photos) for batch in batches) == 120
    assert embed.BATCH < most <= 3 * embed.BATCH


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
    with Gallery.open_for(tmp_path / "g", tiny_model.card) as gallery, Cache(tmp_path / "c", tiny_model) as cache:
        indexed = embed.index(read_source(tiny_dataset), gallery, tiny_model, cache=cache)

        assert len(gallery) == 11
        assert len(cache._store.execute("SELECT * FROM embeddings")) == 11
    assert [(str(failure.photo.path), failure.kind) for failure in indexed.failures] == [("p0/2.png", "unusable")]
