"""Two models as one: the arithmetic of its embedding, what it learns, and the galleries and commands that use it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil
import sqlite3
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from tests.conftest import TinyModel, textured_source

from placewise import images, quantise
from placewise.archive import export_npz, import_npz
from placewise.cache import Cache
from placewise.cli import app
from placewise.core import Image, Photo, Source
from placewise.errors import GalleryError, ModelError, ModelMismatchError, OptionError, PlacewiseError
from placewise.evaluate import evaluate_source
from placewise.fitting import fit_model, fitted_as, model_for, vocabulary_of
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile
from placewise.locate import Locator
from placewise.models import Look, can_look, load_model, load_model_of, part_names, vlad
from placewise.models.fused import FusedEmbedder, Fusion, _packed, _unpacked
from placewise.models.learning import FEWEST_PHOTOS
from placewise.presets import PRESETS, look_for
from placewise.report import write_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placewise.core import Embedder

BOTH = "efficientnet-lite0+vlad"


class TinyPart(TinyModel):
    """The tiny model as something that can be fused; ``gain`` makes photos more or less alike."""

    at_least = None

    def __init__(self, name: str, gain: float = 1.0) -> None:
        super().__init__(name)
        self._gain = gain

    def admit(self, image: Image) -> Image:
        """Image → input."""
        return self.prepare(image)

    def infer(self, inputs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  # as the tiny model has it
        """Inputs → embeddings, nearer to one another the smaller the gain."""
        rows = self._gain * super().infer(inputs) + np.eye(48, dtype=np.float32)[0]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


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
    """A network and the model without weights, fused on their gallery photos."""
    return fit_model(load_model(BOTH, decode="full"), source)


@pytest.fixture(scope="module")
def parts(source: Source) -> list[Embedder]:
    """The same two models by themselves."""
    return [load_model("efficientnet-lite0", decode="full"), fit_model(load_model("vlad", decode="full"), source)]


@pytest.fixture(scope="module")
def made(source: Source, fitted: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of them; not to be changed."""
    path = tmp_path_factory.mktemp("made") / "city.gallery"
    with Gallery.open_for(path, fitted) as gallery:
        gallery.add(source)
    return path


def learned(embedder: Embedder) -> Fusion:
    """What a fused model has learned."""
    return Fusion.from_bytes(vocabulary_of(embedder) or b"")


# ---- the arithmetic


def test_the_fused_cosine_is_the_weighted_mean_of_the_parts_cosines(
    source: Source, fitted: Embedder, parts: list[Embedder]
) -> None:
    """Pair by pair, with the parts loaded by themselves; and the model without weights learned what it does alone."""
    photos = [images.decode(images.read_bytes(source.file(photo))) for photo in source.photos]
    rows, alone, (one, other) = fitted.embed(photos), [part.embed(photos) for part in parts], learned(fitted).scales

    for a, b in itertools.combinations(range(len(photos)), 2):
        cosines = [sum(float(x) * float(y) for x, y in zip(part[a], part[b], strict=True)) for part in alone]
        assert float(rows[a] @ rows[b]) == pytest.approx(one * cosines[0] + other * cosines[1], abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert learned(fitted).vocabularies == (None, vocabulary_of(parts[1]))
    assert (fitted.card.name, fitted.card.dim) == (BOTH, 1280 + 1024)


def test_scales_are_those_of_photos_of_different_places(
    source: Source, fitted: Embedder, parts: list[Embedder]
) -> None:
    """Each part weighs as much as its similarities between places spread little, to a thousandth; photos by photos."""
    gallery = [photo for photo in source.photos if photo.split == "gallery"]
    photos = [images.decode(images.read_bytes(source.file(photo))) for photo in gallery]
    spreads = []
    for rows in (part.embed(photos) for part in parts):
        pairs = [(a, b) for a, b in itertools.combinations(range(12), 2) if gallery[a].place != gallery[b].place]
        spreads.append(np.std([float(rows[a] @ rows[b]) for a, b in pairs]))

    one, other = learned(fitted).scales
    assert one == pytest.approx((1 / spreads[0]) / (1 / spreads[0] + 1 / spreads[1]), abs=1.1e-3)
    assert one + other == pytest.approx(1)
    assert round(one * 1000) == pytest.approx(one * 1000, abs=1e-3)


def test_photos_are_decoded_once_and_embedded_alone(
    source: Source, fitted: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One decoding serves both parts, and a row does not depend on what is embedded beside it."""
    model = FusedEmbedder([load_model(name) for name in part_names(BOTH)]).taught(
        vocabulary_of(fitted) or b"", fitted.card
    )
    data = [images.read_bytes(source.file(photo)) for photo in source.photos[:3]]
    decoded, decode = [], images.decode

    def counted(*arguments: object, **options: object) -> Image:
        decoded.append(options["at_least"])
        return decode(*arguments, **options)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(images, "decode", counted)
    inputs = [model.read(item) for item in data]

    assert decoded == [480, 480, 480]
    np.testing.assert_array_equal(model.infer(inputs)[1], model.infer(inputs[1:2])[0])
    assert model.infer([]).shape == model.embed([]).shape == (0, 2304)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3)), min_size=1, max_size=3))
def test_inputs_of_all_sizes_are_packed_and_unpacked(shapes: list[tuple[int, int, int]]) -> None:
    """What goes into a row of bytes comes out of it."""
    inputs = [np.random.default_rng(0).integers(0, 255, shape, np.uint8) for shape in shapes]

    row = _packed(inputs)

    assert (row.dtype, row.ndim) == (np.dtype(np.uint8), 1)
    for before, after in zip(inputs, _unpacked(row), strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_one_part_cannot_embed_is_left_out(made: Path, fitted: Embedder, tmp_path: Path) -> None:
    """A photo without texture is nothing to the model without weights, and so to both together."""
    PillowImage.new("RGB", (90, 90), (9, 90, 9)).save(tmp_path / "a.png")
    grown = shutil.copy(made, tmp_path / "grown.gallery")
    with Gallery.open_for(grown, load_model(BOTH, decode="full")) as gallery:
        indexed = gallery.add(Source(tmp_path, (Photo(PurePosixPath("a.png"), "gallery"),)))

    assert [failure.kind for failure in indexed.failures] == ["unusable"]
    assert not fitted.embed([np.full((90, 90, 3), 77, np.uint8)]).any()


# ---- what it learns


def test_learning_is_deterministic(source: Source, fitted: Embedder) -> None:
    """The same photos give the same bytes and so the same fingerprint, which tells their digest."""
    again = fit_model(load_model(BOTH, decode="full"), source)

    assert again.card == fitted.card
    assert fitted.card.weights_sha256 == hashlib.sha256(vocabulary_of(fitted) or b"").hexdigest()


def test_parts_that_learn_nothing_are_scaled_all_the_same(source: Source, tmp_path: Path) -> None:
    """A gallery of two such parts keeps their scales, and finds places by them."""
    model = fit_model(FusedEmbedder([TinyPart("wide"), TinyPart("narrow", 0.1)]), source)
    path = tmp_path / "g"
    with Gallery.open_for(path, model, tau=0.1) as gallery:
        gallery.add(source)
        answer = gallery.locate(source.root / "p2/3.png")

    assert answer.place == "place 2"
    assert learned(model).vocabularies == (None, None)
    assert learned(model).scales[1] < 0.1
    assert model.card.weights_file == "no weights + no weights, scaled {:.3f} and {:.3f}".format(*learned(model).scales)


def test_an_evaluation_by_pairs_learns_without_labels(source: Source) -> None:
    """Where the gallery asks itself its labels are the queries', and teach nothing; elsewhere they do."""
    frames = [
        Photo(photo.path, "gallery", photo.place, sequence="walk", frame=number)
        for number, photo in enumerate(source.photos)
    ]
    positives = {photo.path: (frames[0].path,) for photo in frames[1:]}
    cards = []
    for photos in (frames, [dataclasses.replace(photo, place=None) for photo in frames]):
        model = FusedEmbedder([TinyPart("wide"), TinyPart("narrow", 0.1)])
        walk = Source(source.root, tuple(photos), positives=positives)
        cards.append(evaluate_source(walk, model, protocol="pairs", tau=0.5, intervals=False).card)
        labelled = fit_model(model, walk)

    assert cards[0] == cards[1] == labelled.card
    assert fit_model(model, Source(source.root, tuple(frames))).card != cards[0]


@pytest.mark.parametrize("count", [0, FEWEST_PHOTOS - 1])
def test_too_few_photos_are_one_line(source: Source, count: int) -> None:
    """Nine photos say nothing of how similarities spread."""
    model = FusedEmbedder([TinyPart("wide"), TinyPart("narrow")])
    with pytest.raises(ModelError) as caught:
        fit_model(model, source, source.photos[:count])
    assert str(caught.value) == (
        f"narrow+wide must learn from at least 10 readable photos, got {count}; "
        f"add photos to the gallery or use another model"
    )


def test_an_unfitted_model_does_not_embed() -> None:
    """It says that it must learn first."""
    with pytest.raises(ModelError, match=r"^a\+b must learn from photos before it embeds, got none; call fit first$"):
        FusedEmbedder([TinyPart("a"), TinyPart("b")]).embed([])


def test_bytes_bring_scales_and_vocabularies_back() -> None:
    """Also where a part has learned nothing."""
    for vocabularies in ((None, b"words"), (b"words", None), (None, None), (b"some", b"others")):
        fusion = Fusion((0.25, 0.75), vocabularies)
        assert Fusion.from_bytes(fusion.to_bytes()) == fusion


@given(st.data())
def test_other_bytes_are_one_line(data: st.DataObject) -> None:
    """What is cut off, continued, something else, or has scales that are none is refused."""
    whole = Fusion((0.25, 0.75), (None, b"words")).to_bytes()
    cut = st.integers(0, len(whole) - 1).map(lambda end: whole[:end])
    numbers = st.tuples(*2 * [st.floats(width=32)]).filter(lambda pair: not (min(pair) > 0 and 0.9 < sum(pair) < 1.1))
    scaled = numbers.map(lambda pair: Fusion(pair, (None, b"words")).to_bytes())
    other = data.draw(st.one_of(cut, scaled, st.binary(max_size=64), st.binary(min_size=1).map(whole.__add__)))

    with pytest.raises(ModelError) as caught:
        Fusion.from_bytes(other)
    assert str(caught.value) == f"scales must be the bytes that were learned, got {len(other)} others; restore a copy"


# ---- galleries


def test_a_gallery_answers_as_the_evaluation_did_also_elsewhere(
    source: Source, fitted: Embedder, made: Path, tmp_path: Path
) -> None:
    """The file alone, copied to another folder, gives the hits and similarities of an evaluation in memory."""
    moved = tmp_path / "elsewhere" / "moved.gallery"
    moved.parent.mkdir()
    shutil.copy(made, moved)
    with Cache(tmp_path / "cache", load_model(BOTH)) as cache:
        evaluation, again = (
            evaluate_source(source, model, tau=0.1, intervals=False, cache=cache)
            for model in (load_model(BOTH, decode="full"), fitted)
        )

    assert (evaluation.computed, again.computed) == (16, 0)
    with Gallery.open(moved, tau=0.1) as gallery:
        assert gallery.card == evaluation.card
        for result in evaluation.results:
            hit = gallery.locate(source.root / result.query.path).hits[0]
            assert hit.similarity == pytest.approx(result.similarity, abs=1e-5)
            assert hit.photo.place == result.query.place
    assert evaluation.retrieval["recall@1"] == 1


def test_a_gallery_that_grows_keeps_what_it_learned(made: Path, tmp_path: Path) -> None:
    """New photos are embedded by the scales and words that the gallery began with, and merged with it."""
    grown, more = Path(shutil.copy(made, tmp_path / "grown.gallery")), textured_source(tmp_path / "more", [7])
    with GalleryFile.open(grown) as file:
        before = file.vocabulary
    with Gallery.open_for(grown, load_model(BOTH, decode="full"), tau=0.1) as gallery:
        assert gallery.add(more, prefix="more").computed == 3
        assert gallery.locate(more.root / "p7/3.png").place == "place 7"
        assert gallery.merge(made, prefix="again").added == 12
        assert gallery.faults() == []
    with GalleryFile.open(grown) as file:
        assert file.vocabulary == before


def test_what_learned_apart_is_not_mixed(source: Source, made: Path, tmp_path: Path) -> None:
    """Other parts, another look, one part alone, and what learned from other photos are other models."""
    same = "must be used with the model it was made with, efficientnet-lite0\\+vlad with efficientnet-lite0-"
    for name in ("vlad", "efficientnet-lite0"):
        with pytest.raises(ModelMismatchError, match=same):
            Gallery.open_for(made, load_model(name, decode="full"))
    with pytest.raises(ModelMismatchError, match=r"with the look that it was embedded with, .*, got 224 px crop"):
        Gallery.open_for(made, load_model(BOTH, decode="full", look=Look(flip=True)))
    with pytest.raises(ModelMismatchError, match=r"--decode full, got auto and fast"):
        Gallery.open_for(made, load_model(BOTH))
    other = fit_model(load_model(BOTH, decode="full"), source, source.photos[:11])
    with Gallery.open_for(tmp_path / "g", other) as gallery, pytest.raises(ModelMismatchError, match=same[:20]):
        gallery.merge(made)
    with pytest.raises(GalleryError, match=r"must begin with the vocabulary that efficientnet-lite0\+vlad has learned"):
        Gallery.open_for(tmp_path / "h", load_model(BOTH))


@pytest.fixture(scope="module")
def reverse(made: Path, source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same gallery as an earlier version wrote it where the names were typed the other way round."""
    path = tmp_path_factory.mktemp("reverse") / "city.gallery"
    with GalleryFile.open(made) as file:
        parts = [load_model_of(card, vocabulary=own) for card, own in zip(file.card.parts, learning(file), strict=True)]
        scales, own = Fusion.from_bytes(file.vocabulary or b"").scales, learning(file)
    model = FusedEmbedder(parts[::-1], Fusion((scales[1], scales[0]), (own[1], own[0])).to_bytes())
    with Gallery.open_for(path, model) as gallery:
        gallery.add(source)
    return path


def learning(file: GalleryFile) -> tuple[bytes | None, bytes | None]:
    """What each part of a gallery's model has learned."""
    return Fusion.from_bytes(file.vocabulary or b"").vocabularies


@pytest.mark.parametrize(
    ("order", "name"), [("made", "vlad+efficientnet-lite0"), ("reverse", "vlad+efficientnet-lite0"), ("reverse", BOTH)]
)
def test_the_order_of_two_names_does_not_matter(
    source: Source, name: str, order: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A gallery begun with ``a+b`` or ``b+a`` grows and answers with either; a new one has one order only."""
    path = Path(shutil.copy(request.getfixturevalue(order), tmp_path / "city.gallery"))
    photo = source.root / "p2/3.png"
    with Gallery.open_for(path, load_model(name, decode="full"), tau=0.1) as gallery:
        assert gallery.add(source).unchanged == 12
        answer = gallery.locate(photo)
    with GalleryFile.open(path) as file:
        named = Locator(file, load_model_of(file.card, name=name, vocabulary=file.vocabulary), tau=0.1).locate(photo)

    assert (answer.place, named) == ("place 2", answer)
    assert load_model(name).card == load_model(BOTH).card
    with Gallery.open(request.getfixturevalue("made"), tau=0.1) as gallery:
        assert gallery.locate(photo).hits[0].similarity == pytest.approx(answer.hits[0].similarity, abs=1e-5)


def test_a_gallery_goes_on_with_its_own_model(made: Path, source: Source, tmp_path: Path) -> None:
    """Unsaid, it is both models with what they learned; another name is refused before its weights are asked for."""
    path = Path(shutil.copy(made, tmp_path / "city.gallery"))
    model = model_for(path)
    with Gallery.open_for(path, model) as gallery:
        assert model.card == gallery.card
        assert gallery.add(source).unchanged == 12
    for name in ("vlad", "efficientnet-lite0+resnet50", "resnet50"):
        with pytest.raises(ModelMismatchError) as caught:
            model_for(path, name)
        assert str(caught.value) == (
            f"a gallery must be used with the model it was made with, {BOTH}, got {name}; "
            f"leave the model out to go on with the gallery's own"
        )
    with pytest.raises(ModelMismatchError, match=r"as it was begun, with --precision auto --decode full, got a"):
        Gallery.open_for(path, model_for(path, decode="fast"))


@pytest.mark.parametrize("where", ["scales", "words"])
def test_damage_is_refused_and_found(made: Path, tmp_path: Path, where: str) -> None:
    """One changed bit of what was learned is one line when the gallery is asked, and a fault of its check."""
    damaged = Path(shutil.copy(made, tmp_path / "damaged.gallery"))
    with sqlite3.connect(damaged) as db:
        ((blob,),) = db.execute("SELECT value FROM meta WHERE key = 'vocabulary'").fetchall()
        at = 5 if where == "scales" else len(blob) - 1
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        db.execute("UPDATE meta SET value = ? WHERE key = 'vocabulary'", (changed,))
    db.close()

    with Gallery.open(damaged) as gallery:
        was, now = gallery.card.weights_sha256[:8], hashlib.sha256(changed).hexdigest()[:8]
        with pytest.raises(ModelError) as caught:
            gallery.locate(made)
        assert gallery.faults() == ["the vocabulary is not what was written"]
    assert str(caught.value) == (
        f"{BOTH} must have the vocabulary that its gallery was made with, {was}…, got one with the SHA-256 {now}…; "
        f"restore a copy of the gallery or make it anew"
    )
    with pytest.raises(ModelError, match=r"its gallery was made with, .*; restore a copy"):
        fitted_as(load_model(BOTH, decode="full"), damaged)
    with GalleryFile.open(made) as file, pytest.raises(ModelError, match=r"got none; restore a copy"):
        load_model_of(file.card)


@pytest.mark.parametrize("change", ["none", "one", "three", "nested", "renamed", "bare", "text", "resized"])
def test_a_card_with_other_parts_is_refused(made: Path, tmp_path: Path, change: str) -> None:
    """Whatever the card of somebody's gallery says of its parts, asking it is one line and no traceback."""
    changed = Path(shutil.copy(made, tmp_path / "changed.gallery"))
    with sqlite3.connect(changed) as db:
        ((text,),) = db.execute("SELECT value FROM meta WHERE key = 'card'").fetchall()
        card = json.loads(text)
        first, second = card["parts"]
        card["parts"] = {
            "none": [],
            "one": [first],
            "three": [first, second, first],
            "nested": [card | {"parts": [first, second]}, second],
            "renamed": [first | {"name": "resnet18", "architecture": "resnet18"}, second],
            "bare": [{"name": "vlad"}, second],
            "text": "vlad",
            "resized": [first, second | {"input": second["input"] | {"resize": 90000}}],
        }[change]
        db.execute("UPDATE meta SET value = ? WHERE key = 'card'", (json.dumps(card),))
    db.close()

    with pytest.raises(PlacewiseError) as caught, Gallery.open(changed) as gallery:
        gallery.locate(made)
    assert "\n" not in str(caught.value)


def test_an_archive_brings_it_all_along(made: Path, source: Source, tmp_path: Path) -> None:
    """A gallery that was exported and imported answers alike; an archive that lost what was learned is refused."""
    with GalleryFile.open(made) as file:
        export_npz(file, tmp_path / "city.npz")
    with Gallery.open(made, tau=0.1) as gallery:
        expected = gallery.locate(source.root / "p2/3.png")
    import_npz(tmp_path / "city.npz", tmp_path / "again.gallery")
    with np.load(tmp_path / "city.npz") as arrays:
        np.savez(tmp_path / "lost.npz", **{name: arrays[name] for name in arrays if name != "vocabulary"})

    with Gallery.open(tmp_path / "again.gallery", tau=0.1) as gallery:
        assert gallery.locate(source.root / "p2/3.png") == expected
    with pytest.raises(GalleryError, match=r"must begin with the vocabulary that efficientnet-lite0\+vlad has learned"):
        import_npz(tmp_path / "lost.npz", tmp_path / "lost.gallery")


# ---- names and options


@pytest.mark.parametrize("name", ["a+b+c", "vlad+vlad", "vlad+", "+vlad", "+", " vlad+vlad "])
def test_names_that_are_not_two_models_are_one_line(name: str) -> None:
    """Three models, one twice, or half of a name are refused."""
    with pytest.raises(OptionError) as caught:
        load_model(name)
    assert str(caught.value) == f"model must be one name, or two different ones joined by +, got {name!r}"


def test_options_go_to_the_parts_that_can_have_them() -> None:
    """A look and a precision are the network's; one that no part can have, and weights, are refused."""
    model = load_model(BOTH, look=Look(sizes=(192,), fit="whole"), precision="float32")

    assert model.card.sight == "192 px whole, average + 384 px whole, vlad"
    assert [part.precision for part in model.card.parts] == ["float32", "auto"]
    assert model.card.precision == "float32"
    assert look_for(BOTH, PRESETS["balanced"].look, Look()) == PRESETS["balanced"].look
    assert can_look("vlad", Look())
    with pytest.raises(OptionError) as caught:
        load_model(BOTH, weights="x.pth")
    assert str(caught.value) == (
        "weights must be left out where two models are fused, got some for efficientnet-lite0 and vlad; leave them out"
    )
    with pytest.raises(OptionError) as caught:
        load_model("vlad+cosplace-resnet18-512", look=Look(pooling="gem2"))
    assert str(caught.value) == (
        "a look must be one that vlad or cosplace-resnet18-512 can have, got one that neither can; leave it out"
    )
    with pytest.raises(OptionError, match=r"model must be a name that .* lists or an \.onnx file, got 'vald'"):
        load_model("efficientnet-lite0+vald")


def test_two_models_are_not_quantised_together(source: Source) -> None:
    """Each is by itself, which is said before a photo is read."""
    with pytest.raises(OptionError, match=r"^model must be a name that .* lists or an \.onnx file, got 'efficientnet-"):
        quantise.quantise_model(source, BOTH)


def test_a_file_may_have_a_plus_in_its_name(tmp_path: Path) -> None:
    """A graph that is there is one model, whatever it is called; else its name is two."""
    path = tmp_path / "mine+yours.onnx"

    assert part_names(f"vlad+{tmp_path / 'mine.onnx'}") == ("vlad", str(tmp_path / "mine.onnx"))
    assert part_names(str(path)) == (str(tmp_path / "mine"), "yours.onnx")
    path.touch()
    assert part_names(str(path)) == (str(path),)


def test_only_two_different_single_models_are_fused() -> None:
    """A model with itself, three, and one that is fused already are refused."""
    one, other, third = TinyPart("one"), TinyPart("other"), TinyPart("third")
    wrong: list[list[Embedder]] = [
        [one],
        [one, one],
        [one, other, third],
        [FusedEmbedder([one, other]), third],
        [TinyModel("x"), one],
    ]
    for parts in wrong:
        with pytest.raises(OptionError, match=r"^two different models can be fused, neither fused itself, got "):
            FusedEmbedder(parts)


def test_a_report_says_how_both_parts_see(source: Source, tmp_path: Path) -> None:
    """It names both inputs, and claims nobody's resizing for the whole."""
    model = FusedEmbedder([TinyPart("wide"), TinyPart("narrow", 0.1)])
    evaluation = evaluate_source(source, model, tau=0.1, intervals=False)
    write_report(evaluation, source, tmp_path / "r.html", command="")

    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<dt>input</dt><dd>4 px crop, none + 4 px crop, none</dd>" in page
    assert "shorter side 4 px" not in page


def test_real_places_are_found(photos_root: Path) -> None:
    """Of two landmarks, each query finds its own among ten photos."""
    root = photos_root / "landmarks"
    photos = [
        Photo(PurePosixPath(place, file.name), "query" if number >= 5 else "gallery", place)
        for place in ("hawa_mahal", "colosseum_rome")
        for number, file in enumerate(sorted((root / place).iterdir())[:7])
    ]

    evaluation = evaluate_source(Source(root, tuple(photos)), load_model(BOTH), tau=0.1, intervals=False)

    assert evaluation.retrieval["recall@1"] == 1


# ---- commands


def test_the_commands_take_two_names(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first index learns; the second, locate, info, export and import need the file only."""
    rows = [f"{source.file(photo)},{photo.place},{photo.split}" for photo in source.photos]
    table = source.root / "fused.csv"
    table.write_text("\n".join(["path,place,split", *rows]).replace(f"{source.root}/", ""), encoding="utf-8")
    gallery, again = tmp_path / "g", tmp_path / "again"

    def run(*arguments: object) -> dict[str, object]:
        app.main([*map(str, arguments), "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    def say(*arguments: object) -> str:
        app.main(list(map(str, arguments)), standalone_mode=False)
        return capsys.readouterr().out

    options = ("--gallery", gallery, "--model", BOTH, "--no-cache")
    assert run("index", table, *options, "--preset", "balanced")["added"] == 12
    assert run("index", table, *options)["unchanged"] == 12
    say("gallery", "export", gallery, tmp_path / "g.npz")
    say("gallery", "import", again, tmp_path / "g.npz")
    info = run("gallery", "info", gallery)

    for file in (gallery, again):
        (answer,) = run("locate", source.root / "p1" / "3.png", "--gallery", file, "--tau", 0.05)
        assert answer["place"] == "place 1"  # type: ignore[index]  # one object a photo
    assert (info["model"], info["dim"]) == (BOTH, 2304)
    assert info["sight"] == "224 px crop, gem2, also 160 px whole + 384 px whole, vlad"
    assert "words of 12 photos, scaled 0." in str(info["weights"])
