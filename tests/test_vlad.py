"""The model that learns from a gallery's photos: its arithmetic, what it learns, and the galleries that keep it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as PillowImage
from tests.conftest import textured_source

from placewise import images, quantise
from placewise.archive import export_npz, import_npz
from placewise.cache import Cache
from placewise.core import Image, Photo, Source
from placewise.errors import GalleryError, ModelError, ModelMismatchError, OptionError
from placewise.evaluate import evaluate_source
from placewise.fitting import fit_model, fitted_as, vocabulary_of
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile
from placewise.models import MODELS, Look, dense, load_model, load_model_of, vlad, words
from placewise.models.learning import FEWEST_PHOTOS
from placewise.models.vlad import VladEmbedder
from placewise.models.words import Projection, Vocabulary, Words, learn_directions, learn_words
from placewise.service.desk import Desk, Question, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placewise.core import Embedder

Floats = NDArray[np.float32]


# ---- descriptors on a grid


def naive_descriptor(image: NDArray[np.float64], x: int, y: int) -> NDArray[np.float64]:
    """One RootSIFT descriptor centred at a pixel, pixel by pixel."""
    found = np.zeros((4, 4, 8))
    for row, column in np.ndindex(4, 4):
        centre_y, centre_x = y + (row - 1.5) * 6, x + (column - 1.5) * 6
        for v in range(max(0, int(centre_y) - 6), min(image.shape[0], int(centre_y) + 7)):
            for u in range(max(0, int(centre_x) - 6), min(image.shape[1], int(centre_x) + 7)):
                weight = max(0, 1 - abs(v - centre_y) / 6) * max(0, 1 - abs(u - centre_x) / 6)
                across = 0.0 if u in {0, image.shape[1] - 1} else image[v, u + 1] - image[v, u - 1]
                down = 0.0 if v in {0, image.shape[0] - 1} else image[v + 1, u] - image[v - 1, u]
                turn = np.arctan2(down, across) / (2 * np.pi) * 8 % 8
                for bin_, share in ((int(turn), 1 - turn % 1), (int(turn) + 1, turn % 1)):
                    found[row, column, bin_ % 8] += weight * share * np.hypot(across, down)
        found[row, column] *= np.exp(-((row - 1.5) ** 2 + (column - 1.5) ** 2) / 8)
    unit = np.minimum(found / np.linalg.norm(found), 0.2).reshape(-1)
    return np.asarray(np.sqrt(unit / unit.sum()))


def test_a_descriptor_on_the_grid_is_lowes() -> None:
    """The fast way, over whole images, gives what summing pixel by pixel gives."""
    image = np.random.default_rng(0).integers(0, 255, (34, 41)).astype(np.float64)

    found = dense._rooted(dense._cells(image.astype(np.float32)))

    rows, columns = dense._centres(34), dense._centres(41)
    assert (list(rows), list(columns)) == ([13, 21], [12, 20, 28])
    expected = [naive_descriptor(image, x, y) for y in rows for x in columns]
    np.testing.assert_allclose(found, expected, atol=2e-4)  # OpenCV's angles are exact to 0.01 degrees


def test_descriptors_do_not_see_brightness_and_contrast() -> None:
    """Half the contrast on a brighter ground gives the same descriptors."""
    image = np.random.default_rng(0).integers(0, 128, (60, 80)).astype(np.float32)

    darker, brighter = (dense._rooted(dense._cells(np.float32(0.5) ** n * image + n * 90)) for n in (0, 1))

    np.testing.assert_allclose(darker, brighter, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (23, 400), (384, 384)])
def test_what_has_no_texture_has_no_descriptor(size: tuple[int, int]) -> None:
    """Plain images have none, whatever their size, and neither have images smaller than a descriptor."""
    gray = np.full(size, 90, np.uint8)

    assert dense.describe(gray).shape == (0, dense.DIM)
    assert not dense.has_texture(gray)


# ---- words and sums


def unit_rows(count: int, dim: int, seed: int = 0) -> Floats:
    """Random rows of unit length."""
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def some_words() -> Words:
    """Eight words of random descriptors."""
    return learn_words(unit_rows(400, dense.DIM), 8)


def naive_sums(vocabulary: Words, descriptors: Floats) -> NDArray[np.float64]:
    """The formula, descriptor by descriptor."""
    sums = np.zeros(vocabulary.centres.shape)
    for descriptor in descriptors.astype(np.float64):
        reduced = (descriptor - vocabulary.mean) @ vocabulary.axes.astype(np.float64)
        apart = [float(np.sum((reduced - centre) ** 2)) for centre in vocabulary.centres]
        sums[int(np.argmin(apart))] += reduced - vocabulary.centres[int(np.argmin(apart))]
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    roots = np.sign(sums) * np.sqrt(np.abs(sums))
    return np.asarray(roots / np.linalg.norm(roots)).reshape(-1)


@pytest.mark.parametrize("count", [1, 7, 300])
def test_sums_are_those_of_the_formula(some_words: Words, count: int) -> None:
    """Differences from the nearest word, summed, each sum of length 1, then signed roots of length 1 in all."""
    descriptors = unit_rows(count, dense.DIM, seed=count)

    np.testing.assert_allclose(some_words.sums(descriptors), naive_sums(some_words, descriptors), atol=2e-4)


def test_the_order_of_descriptors_does_not_matter(some_words: Words) -> None:
    """Sums know no order; and no descriptor gives zeros."""
    descriptors = unit_rows(50, dense.DIM, seed=5)

    np.testing.assert_allclose(some_words.sums(descriptors), some_words.sums(descriptors[::-1]), atol=1e-4)
    assert not some_words.sums(descriptors[:0]).any()


def test_words_are_found_where_descriptors_are() -> None:
    """Descriptors in three tight heaps get three words in their middles, and the same ones each time."""
    heaps = unit_rows(3, dense.DIM)
    rng = np.random.default_rng(1)
    rows = (heaps[:, np.newaxis] + rng.normal(scale=0.01, size=(3, 40, dense.DIM))).reshape(-1, dense.DIM)

    found, again = (learn_words(rows.astype(np.float32), 3) for _ in range(2))

    middles = (rows.reshape(3, 40, -1).mean(axis=1) - found.mean) @ found.axes
    apart = np.linalg.norm(middles[:, np.newaxis] - found.centres, axis=2)
    assert sorted(apart.argmin(axis=1)) == [0, 1, 2]
    assert apart.min(axis=1).max() < 0.01 * apart.max()
    np.testing.assert_array_equal(found.centres, again.centres)


def test_too_few_descriptors_are_one_line() -> None:
    """Eight descriptors a word are the least."""
    with pytest.raises(ModelError) as caught:
        learn_words(unit_rows(63, dense.DIM), 8)
    assert str(caught.value) == (
        "photos must show at least 64 local descriptors to learn 8 words from, got 63; "
        "add photos, or photos with more texture"
    )


def test_many_rows_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounding the memory for distances changes no answer."""
    rows, centres = unit_rows(100, 8), unit_rows(5, 8, seed=1)
    whole = words._nearest(rows, centres)
    monkeypatch.setattr(words, "_ROOM", 4 * 5 * 7)

    np.testing.assert_array_equal(words._nearest(rows, centres), whole)
    np.testing.assert_array_equal(whole, (rows @ centres.T).argmax(axis=1))


# ---- the short row


def test_short_rows_keep_cosines_along_the_directions_exactly() -> None:
    """Rows that were learned from keep their cosines; float16 costs less than 0.002 of them."""
    rows = unit_rows(20, 1024)
    projection = Projection(learn_directions(list(rows), 300), 600)

    short = np.array([projection.project(row) for row in rows])

    np.testing.assert_allclose(short @ short.T, rows @ rows.T, atol=2e-3)


def test_short_rows_keep_cosines_outside_the_directions_nearly() -> None:
    """Rows that were not learned from keep theirs on average, within what 256 signed sums can."""
    rows, others = unit_rows(5, 20480), unit_rows(40, 20480, seed=1)
    others = (others + others[:1]) / np.linalg.norm(others + others[:1], axis=1, keepdims=True)
    projection = Projection(learn_directions(list(rows), 300), 600)

    short = np.array([projection.project(row) for row in others])

    errors = (short @ short.T - others @ others.T)[np.triu_indices(40, 1)]
    assert abs(errors.mean()) < 0.05
    assert errors.std() < 0.1
    assert not projection.project(np.zeros(20480, np.float32)).any()


@pytest.mark.parametrize("shape", [(3, 64), (345, 512)])
def test_a_vocabulary_that_fits_no_embedding_is_one_line(shape: tuple[int, int]) -> None:
    """Whoever made the file, rows that cannot be folded and directions that find no room are refused."""
    with pytest.raises(ModelError) as caught:
        Projection(np.zeros(shape, np.float16), 600)
    assert str(caught.value) == (
        f"a vocabulary must have at most 344 directions of a multiple of 256 values, got {shape[0]} of {shape[1]}; "
        f"restore a copy of the gallery or make it anew"
    )


def test_directions_are_orthonormal_and_no_more_than_asked_for() -> None:
    """Doubled rows bring no second direction; of many the longest are kept."""
    rows = unit_rows(6, 512)

    found = learn_directions([*rows, *rows], 100).astype(np.float64)

    assert found.shape == (6, 512)
    np.testing.assert_allclose(found @ found.T, np.eye(6), atol=2e-3)
    assert learn_directions(list(rows), 4).shape == (4, 512)


# ---- bytes


@pytest.fixture(scope="module")
def vocabulary(some_words: Words) -> Vocabulary:
    """Eight words twice, and three directions."""
    return Vocabulary((some_words, some_words), learn_directions(list(unit_rows(3, 1024)), 3), 17)


def test_bytes_bring_the_vocabulary_back(vocabulary: Vocabulary) -> None:
    """What was learned and what was read embed alike, to the bit."""
    read = Vocabulary.from_bytes(vocabulary.to_bytes())

    for mine, its in zip(vocabulary.words, read.words, strict=True):
        for field in ("mean", "axes", "centres"):
            np.testing.assert_array_equal(getattr(mine, field), getattr(its, field))
    np.testing.assert_array_equal(vocabulary.directions, read.directions)
    assert read.photos == 17


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_vocabulary_of_nothing_is_one_line(vocabulary: Vocabulary, number: int) -> None:
    """Without words of one kind, or without directions, nothing can be described, though all counts agree."""
    nothing = dataclasses.replace(vocabulary.words[0], centres=np.empty((0, 64), np.float32))
    one, other = (nothing if number == kind else some for kind, some in enumerate(vocabulary.words))
    width = 64 * (len(one.centres) + len(other.centres))
    data = Vocabulary((one, other), vocabulary.directions[: 0 if number == 2 else 3, :width], 17).to_bytes()

    with pytest.raises(ModelError) as caught:
        Vocabulary.from_bytes(data)
    assert str(caught.value) == (
        f"a vocabulary must be the bytes that were learned, got {len(data)} others; restore a copy"
    )


@given(st.data())
def test_other_bytes_are_one_line(vocabulary: Vocabulary, data: st.DataObject) -> None:
    """What is cut off, continued or something else is refused."""
    whole = vocabulary.to_bytes()
    cut = st.integers(0, len(whole) - 1).map(lambda end: whole[:end])
    other = data.draw(st.one_of(cut, st.binary(max_size=64), st.binary(min_size=1, max_size=9).map(whole.__add__)))

    with pytest.raises(ModelError) as caught:
        Vocabulary.from_bytes(other)
    assert str(caught.value) == (
        f"a vocabulary must be the bytes that were learned, got {len(other)} others; restore a copy"
    )


# ---- the model and its galleries


@pytest.fixture(scope="module", autouse=True)
def _learning_is_quick() -> Iterator[None]:
    """Words are learned from fewer descriptors, which takes a fraction of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vlad, "_DESCRIPTORS", 5000)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Four places with three gallery photos and one query each."""
    return textured_source(tmp_path_factory.mktemp("photos"), range(4))


@pytest.fixture(scope="module")
def fitted(source: Source) -> Embedder:
    """The model, fitted on their gallery photos."""
    return fit_model(load_model("vlad"), source)


@pytest.fixture(scope="module")
def other(source: Source) -> Embedder:
    """The model, fitted on other photos of theirs."""
    return fit_model(load_model("vlad"), source, source.photos[:11])


@pytest.fixture(scope="module")
def made(source: Source, fitted: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of them; not to be changed."""
    path = tmp_path_factory.mktemp("made") / "city.gallery"
    with Gallery.open_for(path, fitted) as gallery:
        gallery.add(source)
    return path


def read_image(source: Source, name: str) -> Image:
    """One photo's pixels."""
    return images.decode(images.read_bytes(source.root / name))


def test_a_fitted_model_is_an_embedder(source: Source, fitted: Embedder) -> None:
    """Rows of unit length and the card's width, each the same whatever is embedded beside it."""
    photos = [read_image(source, f"p{place}/0.png") for place in range(3)]

    rows = fitted.embed(photos)

    assert rows.shape == (3, fitted.card.dim) == (3, 1024)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(fitted.embed(photos[1:2])[0], rows[1])
    assert fitted.embed([]).shape == (0, 1024)
    assert not fitted.embed([np.full((90, 120, 3), 77, np.uint8)]).any()


def test_learning_is_deterministic(source: Source, fitted: Embedder, other: Embedder) -> None:
    """The same photos give the same bytes and so the same fingerprint, which others do not."""
    again = fit_model(load_model("vlad"), source)

    assert vocabulary_of(again) == vocabulary_of(fitted)
    assert again.card == fitted.card
    assert fitted.card.fingerprint not in {other.card.fingerprint, MODELS["vlad"].fingerprint}
    assert fitted.card.weights_sha256 == hashlib.sha256(vocabulary_of(fitted) or b"").hexdigest()


def test_a_gallery_answers_on_another_machine(source: Source, made: Path, tmp_path: Path) -> None:
    """The file alone, without photos, cache or weights, knows the place of a photo that it never saw."""
    moved = tmp_path / "elsewhere" / "moved.gallery"
    moved.parent.mkdir()
    shutil.copy(made, moved)

    with Gallery.open(moved, tau=0.02) as gallery:
        answers = [gallery.locate(source.root / f"p{place}/3.png") for place in range(4)]

    assert [answer.place for answer in answers] == [f"place {place}" for place in range(4)]


def test_the_service_answers_too(source: Source, made: Path) -> None:
    """What serves a gallery over HTTP takes the vocabulary from the file, as the library does."""
    desk = Desk.open(made, max_pixels=10**8)
    with Gallery.open(made) as gallery:
        expected = gallery.locate(source.root / "p1/3.png").hits

    (reply,) = desk.reply([(desk.read((source.root / "p1/3.png").read_bytes()), Question())])
    desk.close()

    assert isinstance(reply, Reply)
    assert reply.answer is not None
    assert reply.answer.hits == expected


def test_a_gallery_that_grows_keeps_its_vocabulary(made: Path, tmp_path: Path) -> None:
    """New photos are embedded by the words that the gallery began with; nothing is learned again."""
    grown = shutil.copy(made, tmp_path / "grown.gallery")
    more = textured_source(tmp_path / "more", [7])
    with GalleryFile.open(grown) as file:
        before = file.vocabulary

    with Gallery.open_for(grown, load_model("vlad"), tau=0.02) as gallery:
        indexed = gallery.add(more, prefix="more")
        answer = gallery.locate(more.root / "p7/3.png")

    with GalleryFile.open(grown) as file:
        assert file.vocabulary == before
    assert (indexed.added, indexed.computed) == (3, 3)
    assert answer.place == "place 7"


def test_a_photo_without_texture_is_left_out(made: Path, tmp_path: Path) -> None:
    """It is a failure of that photo alone, also where the batch holds no other."""
    grown = shutil.copy(made, tmp_path / "grown.gallery")
    for name in ("a.png", "b.png"):
        PillowImage.new("RGB", (90, 90), (9, 90, 9)).save(tmp_path / name)
    blank = Source(tmp_path, tuple(Photo(PurePosixPath(name), "gallery") for name in ("a.png", "b.png")))

    with Gallery.open_for(grown, load_model("vlad")) as gallery:
        indexed = gallery.add(blank)

    assert [(str(failure.photo.path), failure.kind) for failure in indexed.failures] == [
        ("a.png", "unusable"),
        ("b.png", "unusable"),
    ]


def test_a_damaged_vocabulary_is_refused_and_found(made: Path, tmp_path: Path) -> None:
    """One changed byte is one line when the gallery is asked, and a fault of its check; likewise a lost one."""
    damaged = Path(shutil.copy(made, tmp_path / "damaged.gallery"))
    with sqlite3.connect(damaged) as db:
        ((blob,),) = db.execute("SELECT value FROM meta WHERE key = 'vocabulary'").fetchall()
        changed = blob[:-1] + bytes([blob[-1] ^ 1])
        db.execute("UPDATE meta SET value = ? WHERE key = 'vocabulary'", (changed,))
    db.close()

    with Gallery.open(damaged) as gallery:
        was, now = gallery.card.weights_sha256[:8], hashlib.sha256(changed).hexdigest()[:8]
        with pytest.raises(ModelError) as caught:
            gallery.locate(made)
        assert gallery.faults() == ["the vocabulary is not what was written"]
    assert str(caught.value) == (
        f"vlad must have the vocabulary that its gallery was made with, {was}…, got one with the SHA-256 {now}…; "
        f"restore a copy of the gallery or make it anew"
    )
    with GalleryFile.open(made) as file, pytest.raises(ModelError, match=r"got none; restore a copy"):
        load_model_of(file.card)


def test_a_card_that_was_changed_is_refused(made: Path, tmp_path: Path) -> None:
    """Another input or dimension on the card of a gallery is another model, whatever the vocabulary says."""
    changed = Path(shutil.copy(made, tmp_path / "changed.gallery"))
    with sqlite3.connect(changed) as db:
        db.execute("UPDATE meta SET value = replace(value, '\"resize\": 384', '\"resize\": 90000') WHERE key = 'card'")
    db.close()

    with Gallery.open(changed) as gallery, pytest.raises(ModelMismatchError, match=r"90000 px whole, vlad"):
        gallery.locate(made)


def test_a_gallery_cannot_begin_without_a_vocabulary(tmp_path: Path, fitted: Embedder) -> None:
    """An unfitted model, or another's vocabulary, is refused before there are photos that could never be asked."""
    with pytest.raises(GalleryError) as caught:
        Gallery.open_for(tmp_path / "g", load_model("vlad"))
    assert str(caught.value) == (
        f"gallery {tmp_path / 'g'} must begin with the vocabulary that vlad has learned, got none; "
        f"begin it with 'placewise index' or fit the model before"
    )
    with pytest.raises(GalleryError, match=r"got another; begin it with"):
        GalleryFile.open_for(tmp_path / "h", fitted.card, vocabulary=b"another")


def test_two_galleries_that_learned_apart_are_not_merged(made: Path, other: Embedder, tmp_path: Path) -> None:
    """Their embeddings cannot be compared; those of one vocabulary are merged."""
    with Gallery.open_for(tmp_path / "apart", other) as gallery:
        gallery.add(textured_source(tmp_path / "more", [7]))
        with pytest.raises(ModelMismatchError, match=r"must be used with the model it was made with"):
            gallery.merge(made)
    with Gallery.open_for(tmp_path / "same", fitted_as(load_model("vlad"), made)) as gallery:
        gallery.add(textured_source(tmp_path / "more", [7]))
        assert gallery.merge(made, prefix="made").added == 12


def test_another_models_gallery_is_refused(made: Path, path: Path) -> None:
    """It writes neither into a gallery that another model made, nor otherwise than its own was begun."""
    with pytest.raises(ModelMismatchError, match=r"made with, tiny with no weights"):
        Gallery.open_for(path, load_model("vlad"))
    with pytest.raises(ModelMismatchError, match=r"with --precision auto --decode fast, got auto and full"):
        Gallery.open_for(made, load_model("vlad", decode="full"))


def test_an_archive_brings_the_vocabulary_along(made: Path, source: Source, tmp_path: Path) -> None:
    """A gallery that was exported and imported answers; an archive that lost the vocabulary is refused."""
    with GalleryFile.open(made) as file:
        export_npz(file, tmp_path / "city.npz")
    import_npz(tmp_path / "city.npz", tmp_path / "again.gallery")
    with np.load(tmp_path / "city.npz") as arrays:
        np.savez(tmp_path / "lost.npz", **{name: arrays[name] for name in arrays if name != "vocabulary"})

    with Gallery.open(tmp_path / "again.gallery", tau=0.02) as gallery:
        assert gallery.locate(source.root / "p2/3.png").place == "place 2"
    with pytest.raises(GalleryError, match=r"must begin with the vocabulary that vlad has learned, got none"):
        import_npz(tmp_path / "lost.npz", tmp_path / "lost.gallery")


def test_a_cache_keeps_vocabularies_apart(fitted: Embedder, other: Embedder, tmp_path: Path) -> None:
    """What one vocabulary embedded is not taken for another's, though the photos and the model's name are the same."""
    row = unit_rows(1, 1024)[0]
    with Cache(tmp_path / "cache", fitted) as cache:
        cache.put([(b"content", row)])

        assert cache.of(other).get(b"content") is None
        np.testing.assert_array_equal(cache.of(fitted).get(b"content"), row)


def test_an_evaluation_learns_from_its_gallery_only(source: Source, fitted: Embedder, tmp_path: Path) -> None:
    """Its model is the one that the gallery photos alone give, whatever the queries are; and it finds the places."""
    with Cache(tmp_path / "cache", load_model("vlad")) as cache:
        first = evaluate_source(source, load_model("vlad"), tau=0.02, intervals=False, cache=cache)
        again = evaluate_source(source, fitted, tau=0.02, intervals=False, cache=cache)

    assert first.card == again.card == fitted.card
    assert (first.computed, again.computed) == (16, 0)
    assert first.retrieval["recall@1"] == again.retrieval["recall@1"] == 1


@pytest.mark.parametrize("count", [0, FEWEST_PHOTOS - 1])
def test_too_few_photos_are_one_line(source: Source, count: int) -> None:
    """Nine photos are not learned from, and the line says what to do."""
    with pytest.raises(ModelError) as caught:
        fit_model(load_model("vlad"), source, source.photos[:count])
    assert str(caught.value) == (
        f"vlad must learn from at least 10 readable photos with texture, got {count}; "
        f"add photos to the gallery or use another model"
    )


def test_photos_that_cannot_be_read_are_not_counted(source: Source, tmp_path: Path) -> None:
    """Ten rows of which one file is broken are nine photos; with one more, the broken one is passed over."""
    root = tmp_path / "some"
    shutil.copytree(source.root, root)
    photos = source.photos[:11]
    (root / photos[0].path).write_bytes(b"broken")
    broken = dataclasses.replace(source, root=root)

    with pytest.raises(ModelError, match=r"got 9; add photos"):
        fit_model(load_model("vlad"), broken, photos[:10])
    assert fit_model(load_model("vlad"), broken, photos).card.weights_file == "words of 10 photos"


def test_an_unfitted_model_does_not_embed() -> None:
    """It says that it must learn first."""
    with pytest.raises(ModelError, match=r"^vlad must learn from photos before it embeds, got none; call fit first$"):
        load_model("vlad").embed([np.zeros((50, 50, 3), np.uint8)])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"look": Look(flip=True)}, "look"),
        ({"weights": "x.pth"}, "weights"),
        ({"precision": "int8", "device": "cuda"}, "precision and device"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object], names: str) -> None:
    """There is no network whose input, weights or precision could be chosen."""
    with pytest.raises(OptionError) as caught:
        load_model("vlad", **options)  # type: ignore[arg-type]  # the point of the test
    assert str(caught.value) == (
        f"{names} must be left out for vlad, which is learned from the gallery's photos; leave it out"
    )


def test_it_is_not_quantised(source: Source) -> None:
    """There are no weights to make smaller, which is said before a photo is read."""
    with pytest.raises(OptionError, match=r"^a model with weights must be named here, got vlad, which is learned"):
        quantise.quantise_model(source, "vlad")


def test_other_models_are_left_as_they_are(source: Source, tmp_path: Path) -> None:
    """Fitting is for the model that learns; others go through untouched."""
    card = dataclasses.replace(MODELS["vlad"], weights_sha256="x")
    fitted_already = VladEmbedder(card, None)
    fitted_already.vocabulary = b"something"

    assert fit_model(fitted_already, source) is fitted_already
    assert fitted_as(fitted_already, tmp_path / "g") is fitted_already


def test_the_commands_learn_once_and_answer(source: Source, tmp_path: Path) -> None:
    """The first index learns, the second need not be told the model, locate needs the file only; nine are one line."""
    rows = [f"{source.file(photo).relative_to(source.root)},{photo.place},{photo.split}" for photo in source.photos]
    for name, some in (("all", rows), ("few", rows[:9])):
        (source.root / f"{name}.csv").write_text("\n".join(["path,place,split", *some]), encoding="utf-8")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "placewise", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)

    gallery, options = tmp_path / "g", ("--model", "vlad", "--no-cache", "--json")
    first = run("index", source.root / "all.csv", "--gallery", gallery, *options)
    again = run("index", source.root / "all.csv", "--gallery", gallery, "--json")
    located = run("locate", source.root / "p1" / "3.png", "--gallery", gallery, "--tau", 0.02, "--json")
    few = run("index", source.root / "few.csv", "--gallery", tmp_path / "h", *options)

    assert (json.loads(first.stdout)["added"], json.loads(again.stdout)["unchanged"]) == (12, 12)
    assert json.loads(located.stdout)[0]["place"] == "place 1"
    assert few.returncode == 2
    assert few.stderr.startswith("error: vlad must learn from at least 10 readable photos with texture, got 7; add")
    assert not (tmp_path / "h").exists()


def test_real_places_are_found(photos_root: Path) -> None:
    """Of two landmarks, queries find their own with a vocabulary of ten photos, three of four at least."""
    places = ("hawa_mahal", "colosseum_rome")
    root = photos_root / "landmarks"
    photos = [
        Photo(file.relative_to(root), "query" if number >= 5 else "gallery", place)  # type: ignore[arg-type]
        for place in places
        for number, file in enumerate(sorted((root / place).iterdir())[:7])
    ]

    evaluation = evaluate_source(Source(root, tuple(photos)), load_model("vlad"), tau=0.1, intervals=False)

    assert evaluation.retrieval["recall@1"] >= 3 / 4
