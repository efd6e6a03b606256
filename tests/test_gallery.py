"""The gallery as users hold it: add, remove, locate, refresh, threads, the index for fast search."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import TinyModel

from placewise import Gallery, Photo
from placewise.core import Filter
from placewise.errors import GalleryError, ModelMismatchError, OptionError
from placewise.gallery_file import GalleryFile
from placewise.models import load_model
from placewise.search import sidecar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from placewise.core import Embeddings


@pytest.fixture
def gallery(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> Generator[Gallery]:
    """A gallery of the tiny dataset's twelve photos of four places."""
    with Gallery.open_for(tmp_path / "city.gallery", tiny_model, tau=0.8) as opened:
        opened.add(tiny_dataset)
        yield opened


def query(dataset: Path, place: int) -> Path:
    """A photo of a place, taken by nobody's gallery."""
    return dataset.parent / f"p{place}" / "3.png"


def test_add_locate_remove(gallery: Gallery, tiny_dataset: Path, save_photo: Callable[..., Path]) -> None:
    """What is added is found at once, what is removed is found no more, without opening the gallery again."""
    assert (gallery.locate(query(tiny_dataset, 1)).place, len(gallery)) == ("place 1", 12)
    assert gallery.locate(query(tiny_dataset, 5)).known is False

    save_photo(tiny_dataset.parent / "more" / "kiosk" / "1.png", place=5)
    assert gallery.add(tiny_dataset.parent / "more").added == 1
    assert gallery.locate(query(tiny_dataset, 5)).place == "kiosk"

    assert gallery.remove(places=["kiosk", "place 1"], globs=["p2/[01].png"], paths=["p3/0.png"]) == (
        "kiosk/1.png",
        "p1/0.png",
        "p1/1.png",
        "p1/2.png",
        "p2/0.png",
        "p2/1.png",
        "p3/0.png",
    )
    assert gallery.locate(query(tiny_dataset, 5)).known is False
    assert gallery.locate(query(tiny_dataset, 1)).known is False
    assert gallery.locate(query(tiny_dataset, 2)).place == "place 2"
    assert len(gallery) == 6


def test_an_existing_gallery_is_opened_by_its_path(gallery: Gallery, tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """``open`` needs no more than the file (and a model that Placewise does not know); it makes no file."""
    gallery.close()
    with Gallery.open(gallery.path, embedder=tiny_model) as opened:
        assert opened.locate(query(tiny_dataset, 0)).place == "place 0"
        assert opened.card == tiny_model.card
        (answers, failures) = opened.locate_many([query(tiny_dataset, 1), tiny_dataset])
    assert [answer.place for _, answer in answers] == ["place 1"]
    assert len(failures) == 1
    assert [file.name for file in gallery.path.parent.glob("city*")] == ["city.gallery"]
    with pytest.raises(GalleryError, match="must exist, got no file"):
        Gallery.open(gallery.path.with_name("typo.gallery"))
    with Gallery.open(gallery.path, embedder=TinyModel("other")) as opened, pytest.raises(ModelMismatchError):
        opened.locate(query(tiny_dataset, 0))


def test_an_opened_gallery_can_be_written(gallery: Gallery, tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """``open`` is no promise to only read: photos can be removed and added."""
    gallery.close()
    with Gallery.open(gallery.path, embedder=tiny_model) as opened:
        assert opened.remove(places=["place 0"]) == ("p0/0.png", "p0/1.png", "p0/2.png")
        assert opened.add(tiny_dataset).added == 3
    assert [file.name for file in gallery.path.parent.glob("city*")] == ["city.gallery"]


def test_filters_restrict_the_hits(gallery: Gallery, tiny_dataset: Path) -> None:
    """Among two places, the best of these is the answer; an unknown place is refused."""
    answer = gallery.locate(query(tiny_dataset, 1), k=50, among=Filter(places=("place 2", "place 3")))

    assert {hit.photo.place for hit in answer.hits} == {"place 2", "place 3"}
    assert len(answer.hits) == 6
    with pytest.raises(OptionError, match="must be one that the gallery holds"):
        gallery.locate(query(tiny_dataset, 1), among=Filter(places=("place 9",)))


def test_refresh_shows_what_others_wrote(gallery: Gallery, tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Until ``refresh`` the answers are those of the moment of opening; after it, those of now. New labels too."""
    photo = query(tiny_dataset, 1)
    before = gallery.locate(photo)
    assert not gallery.refresh()
    with GalleryFile.open_for(gallery.path, tiny_model.card) as writer:
        writer.relabel([Photo(hit.photo.path, "gallery", "renamed") for hit in before.hits[:1]])
        writer.remove([str(hit.photo.path) for hit in before.hits[1:3]])

    assert gallery.locate(photo) == before
    assert gallery.refresh()
    after = gallery.locate(photo, k=12)
    assert after.place == "renamed"
    assert len(after.hits) == 10
    assert not gallery.refresh()


def test_refresh_after_the_file_was_replaced(gallery: Gallery, tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """A gallery restored from a copy that went its own way is loaded whole: its ids mean other photos."""
    photo = query(tiny_dataset, 1)
    gallery.locate(photo)
    rows = tiny_model.infer([tiny_model.read(photo.read_bytes())])
    with GalleryFile.open_for(gallery.path, tiny_model.card) as writer, writer.batch():
        writer.remove([str(item.path) for item in writer.contents().photos])
        writer.store.execute("DELETE FROM revisions")
        writer.store.execute("UPDATE sqlite_sequence SET seq = 0")
        writer.upsert([Photo(photo.relative_to(photo.parents[1]), "gallery", "restored")], rows)  # type: ignore[arg-type]

    assert gallery.refresh()
    answer = gallery.locate(photo)
    assert (answer.place, len(answer.hits)) == ("restored", 1)


def test_threads_locate_while_photos_come_and_go(
    gallery: Gallery, tiny_dataset: Path, save_photo: Callable[..., Path]
) -> None:
    """Answers given during additions and removals are each of one state: right place, whole hits, no error."""
    folder = tiny_dataset.parent / "more"
    for number in range(6):
        save_photo(folder / f"k{number}" / "1.png", place=100 + number)
    stop = threading.Event()

    def ask(place: int) -> int:
        asked = 0
        while not stop.is_set():
            answer = gallery.locate(query(tiny_dataset, place), k=100)
            assert answer.place == f"place {place}"
            assert len({hit.photo.path for hit in answer.hits}) == len(answer.hits) >= 12
            asked += 1
        return asked

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, place) for place in (0, 1, 2)]
        for _ in range(8):
            gallery.add(folder)
            gallery.remove(globs=["k*"])
        stop.set()
        assert all(future.result() > 0 for future in asking)


# ---- the index for fast search --------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of 4,000 photos of 200 places, which counts as large; returns its path."""
    monkeypatch.setattr(sidecar, "ANN_FROM", 3000)
    with GalleryFile.open_for(tmp_path / "large.gallery", tiny_model.card, storage="float16") as file:
        file.upsert(photos(4000), clustered(4000))
    return tmp_path / "large.gallery"


def photos(count: int) -> list[Photo]:
    """Photos of 200 places in turn."""
    return [Photo(Path(f"{number}.png"), "gallery", f"place {number % 200}") for number in range(count)]  # type: ignore[arg-type]


def clustered(count: int, *, seed: int = 0) -> Embeddings:
    """Unit rows ``(count, 48)`` around 200 centres in turn."""
    centres = np.random.default_rng(0).normal(size=(200, 48))
    rows = centres[np.arange(count) % 200] + 0.4 * np.random.default_rng((seed, 1)).normal(size=(count, 48))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def locator(gallery: Gallery) -> object:
    """What answers."""
    return gallery._ready()


def test_a_large_gallery_gets_an_index(large: Path, tiny_model: TinyModel, tiny_dataset: Path) -> None:
    """Adding photos builds it, ``auto`` uses it, answers are those of exact search, ``info`` says what it finds."""
    with Gallery.open(large, embedder=tiny_model) as gallery:
        assert gallery.info()["ann"] is None
        gallery.add(tiny_dataset)
        info = gallery.info()["ann"]
        assert isinstance(info, dict)
        assert info["current"] is True
        assert info["recall@10"] >= 0.99
        assert info["queries"] > 0
        assert not gallery._ready().exact
        with Gallery.open(large, embedder=tiny_model, searcher="exact") as exact:
            assert exact._ready().exact
            for place in range(4):
                best = exact.locate(query(tiny_dataset, place)).hits[0]
                assert gallery.locate(query(tiny_dataset, place)).hits[0] == best
            views = clustered(100, seed=3)
            pairs = zip(gallery._ready().answers(views), exact._ready().answers(views), strict=True)
            assert sum(one == other for one, other in pairs) >= 95


def test_an_index_follows_the_gallery(large: Path, tiny_model: TinyModel) -> None:
    """Photos that come and go after the index was written are searched and not searched, without a new index."""
    new = clustered(4050)[4000:]
    with Gallery.open(large, embedder=tiny_model) as gallery:
        gallery.build_ann()
        written = sidecar.ann_path(large).stat().st_mtime_ns
        with GalleryFile.open_for(large, tiny_model.card) as writer:
            writer.upsert(photos(4050)[4000:], new)
            writer.remove(["7.png"])
        found = gallery._ready().answers(new, k=1)
        assert [str(answer.hits[0].photo.path) for answer in found] == [f"{n}.png" for n in range(4000, 4050)]
        gallery.remove(["4000.png"])
        assert str(gallery._ready().answers(new[:1], k=1)[0].hits[0].photo.path) != "4000.png"
        (answer,) = gallery._ready().answers(clustered(8)[7:], k=3)
        assert "7.png" not in {str(hit.photo.path) for hit in answer.hits}
        assert sidecar.ann_path(large).stat().st_mtime_ns == written


def test_places_that_come_later_are_found_as_well(large: Path, tiny_model: TinyModel) -> None:
    """Photos of places that the index was not made for are found like the others, until it is made anew."""
    centres = np.random.default_rng(9).normal(size=(15, 48))
    rows = np.repeat(centres, 20, axis=0) + 0.4 * np.random.default_rng(10).normal(size=(300, 48))
    new = np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
    with Gallery.open(large, embedder=tiny_model) as gallery:
        gallery.build_ann()
        with GalleryFile.open_for(large, tiny_model.card) as writer:
            writer.upsert(photos(4300)[4000:], new)
        with Gallery.open(large, embedder=tiny_model, searcher="exact") as exact:
            assert not gallery._ready().exact
            assert gallery._ready().answers(new, k=10) == exact._ready().answers(new, k=10)


def test_a_stale_index_is_never_used(large: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """One of another gallery, damaged or outdated is refused by ``ann``; ``auto`` says so and searches exactly."""
    index = sidecar.ann_path(large)
    with Gallery.open(large, embedder=tiny_model) as gallery:
        gallery.build_ann()
    with GalleryFile.open_for(tmp_path / "twin.gallery", tiny_model.card) as twin:
        twin.upsert(photos(4000), clustered(4000, seed=1))
    whole = index.read_bytes()
    for name, data in {"twin.gallery": whole, "large.gallery": whole[:-20] + whole[-19:]}.items():
        path = tmp_path / name
        sidecar.ann_path(path).write_bytes(data)
        with (
            Gallery.open(path, embedder=tiny_model, searcher="ann") as gallery,
            pytest.raises(GalleryError, match=r"must be "),
        ):
            locator(gallery)
        with Gallery.open(path, embedder=tiny_model) as gallery:
            with pytest.warns(UserWarning, match="searching exactly"):
                locator(gallery)
            (answer,) = gallery._ready().answers(clustered(1, seed=name == "twin.gallery"), k=1)
            assert str(answer.hits[0].photo.path) == "0.png"
    index.write_bytes(whole)
    with GalleryFile.open_for(large, tiny_model.card) as writer:
        writer.remove([f"{number}.png" for number in range(1500)])
    with Gallery.open(large, embedder=tiny_model, searcher="ann") as gallery:
        with pytest.raises(GalleryError, match=r"outdated; type 'placewise gallery ann"):
            locator(gallery)
        gallery.build_ann()
        assert not gallery._ready().exact


def test_a_small_gallery_needs_no_index(gallery: Gallery) -> None:
    """Below the limit none is made, exact search is used, and asking for ``ann`` says how to make one."""
    assert not sidecar.ann_path(gallery.path).exists()
    assert gallery._ready().exact
    with Gallery.open(gallery.path, embedder=TinyModel(), searcher="ann") as opened:
        with pytest.raises(GalleryError, match=r"must lie beside the gallery, got no file .*; type 'placewise gallery"):
            locator(opened)
        opened.build_ann()
        assert not opened._ready().exact


def test_an_index_that_cannot_be_written_costs_speed_only(
    large: Path, tiny_model: TinyModel, tiny_dataset: Path
) -> None:
    """Where something is in the way of the index, the photos are added all the same, and a warning says it."""
    sidecar.ann_path(large).mkdir()
    with Gallery.open(large, embedder=tiny_model) as gallery:
        with pytest.warns(UserWarning, match="going on without an index for fast search"):
            assert gallery.add(tiny_dataset).added == 12
        with pytest.warns(UserWarning, match="searching exactly"):
            assert gallery.locate(query(tiny_dataset, 1)).place == "place 1"


def test_a_new_gallery_has_the_default_preset_and_keeps_it(tmp_path: Path, tiny_model: TinyModel) -> None:
    """Without a model of one's own; opened again it is seen as it was, and one that an earlier version began, too."""
    new, former, own = tmp_path / "new.gallery", tmp_path / "former.gallery", tmp_path / "own.gallery"
    GalleryFile.open_for(former, load_model().card).close()
    for path, preset in ((new, "balanced"), (former, "")):
        for _ in range(2):
            with Gallery.open_for(path) as opened:
                sight = opened.card.sight
        with GalleryFile.open(path) as file:
            assert (file.preset, file.card.sight) == (preset, sight)
            assert bool(file.ranking) is bool(preset)
    with Gallery.open_for(own, tiny_model), GalleryFile.open(own) as file:
        assert (file.preset, file.ranking) == ("", None)
