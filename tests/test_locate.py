"""The read path: one photo to an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import TinyModel

from placewise.core import ModelCard
from placewise.errors import ImageError, ModelMismatchError, OptionError
from placewise.gallery_file import GalleryFile
from placewise.indexing import index_source
from placewise.locate import Locator
from placewise.sources import read_source


@pytest.fixture
def gallery_path(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A gallery of the tiny dataset."""
    with GalleryFile.open_for(tmp_path / "g", tiny_model.card) as gallery:
        index_source(read_source(tiny_dataset), gallery, tiny_model)
    return tmp_path / "g"


def test_known_and_unknown_places(gallery_path: Path, tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """A photo of a gallery place is KNOWN with that place; one of another place is UNKNOWN and names none."""
    with GalleryFile.open(gallery_path) as gallery:
        locator = Locator(gallery, tiny_model, tau=0.8)

    known = locator.locate(tiny_dataset.parent / "p1" / "3.png", k=3)
    unknown = locator.locate((tiny_dataset.parent / "p5" / "3.png").read_bytes())

    assert (known.known, known.place) == (True, "place 1")
    assert [str(hit.photo.path) for hit in known.hits] == sorted(f"p1/{view}.png" for view in range(3)) or {
        hit.photo.place for hit in known.hits
    } == {"place 1"}
    assert known.confidence == known.hits[0].similarity
    assert [hit.similarity for hit in known.hits] == sorted((h.similarity for h in known.hits), reverse=True)
    assert (unknown.known, unknown.place) == (False, None)
    assert len(unknown.hits) == 5


def test_k_larger_than_the_gallery_gives_the_whole_gallery(
    gallery_path: Path, tiny_dataset: Path, tiny_model: TinyModel
) -> None:
    """No padding, no repetition: twelve photos, twelve hits."""
    with GalleryFile.open(gallery_path) as gallery:
        hits = Locator(gallery, tiny_model).locate(tiny_dataset.parent / "p0" / "3.png", k=500).hits

    assert len({hit.photo.path for hit in hits}) == len(hits) == 12


def test_an_empty_gallery_answers_unknown(tmp_path: Path, tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """An empty gallery knows no place: UNKNOWN without hits or confidence, and no error."""
    with GalleryFile.open_for(tmp_path / "empty", tiny_model.card) as gallery:
        answer = Locator(gallery, tiny_model).locate(tiny_dataset.parent / "p0" / "3.png")

    assert (answer.known, answer.place, answer.confidence, answer.hits) == (False, None, None, ())


def test_without_tau_nothing_is_decided(gallery_path: Path, tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """With tau None the answer has the best place and its confidence, and leaves the decision open."""
    with GalleryFile.open(gallery_path) as gallery:
        answer = Locator(gallery, tiny_model, tau=None).locate(tiny_dataset.parent / "p5" / "3.png")

    assert answer.known is None
    assert answer.place == answer.hits[0].photo.place


def test_refused_inputs(gallery_path: Path, tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """Another model, a tau that is no cosine, a k below 1 and a photo that is none are each refused."""
    with GalleryFile.open(gallery_path) as gallery:
        with pytest.raises(ModelMismatchError):
            Locator(gallery, TinyModel("other"))
        with pytest.raises(OptionError):
            Locator(gallery, tiny_model, tau=2)
        locator = Locator(gallery, tiny_model)
    with pytest.raises(OptionError, match=r"^k must be at least 1, got 0$"):
        locator.locate(tiny_dataset.parent / "p0" / "3.png", k=0)
    with pytest.raises(ImageError):
        locator.locate(tiny_dataset)


def test_many_photos_with_a_bad_one_between(gallery_path: Path, tiny_dataset: Path, tiny_model: TinyModel) -> None:
    """A photo that is none is reported beside the answers to the others."""
    folder = tiny_dataset.parent
    with GalleryFile.open(gallery_path) as gallery:
        locator = Locator(gallery, tiny_model)

    answers, failures = locator.locate_many([folder / "p0" / "3.png", folder / "none.png", folder / "p1" / "3.png"])

    assert [name for name, _ in answers] == [str(folder / "p0" / "3.png"), str(folder / "p1" / "3.png")]
    assert [(str(failure.photo.path), failure.kind) for failure in failures] == [(str(folder / "none.png"), "missing")]


def test_a_gallery_answers_on_another_machine(gallery_path: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """The file alone is enough: moved elsewhere, with the photos gone, it gives the same answer."""
    query = (tiny_dataset.parent / "p2" / "3.png").read_bytes()
    moved = gallery_path.rename(tmp_path / "moved.gallery")
    for photo in tiny_dataset.parent.rglob("*.png"):
        photo.unlink()

    with GalleryFile.open(moved) as gallery:
        assert isinstance(gallery.card, ModelCard)
        assert Locator(gallery, TinyModel()).locate(query).place == "place 2"
