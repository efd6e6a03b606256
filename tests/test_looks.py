"""Looks: sizes, fits, poolings and views against plain arithmetic, and everything that is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise import images
from placewise.core import Embedder, Embeddings, InputRule, ModelCard, Views
from placewise.errors import GalleryError, OptionError
from placewise.gallery_schema import card_from_json, card_to_json
from placewise.models import (
    Look,
    engine,
    find_card,
    float_graph,
    installed_weights,
    load_model,
    load_model_of,
)
from placewise.models.looks import Fit, card_seen_like, card_with_look, pooling_power
from placewise.models.views import cut_views, mean_of_views

Pixels = NDArray[np.uint8]
Make = Callable[..., Embedder]

LITE0 = find_card("efficientnet-lite0")
COSPLACE = find_card("cosplace-resnet18-32")
DINO = find_card("dinov2-small")
SMALL = InputRule(48, 32, "bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture(scope="module")
def model() -> Make:
    """The default model in float32 with full decoding, for any look; each is compiled once."""
    made: dict[Look, Embedder] = {}

    def make(**look: Any) -> Embedder:
        key = Look(**look)
        if key not in made:
            made[key] = load_model(look=key, precision="float32", decode="full")
        return made[key]

    return make


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    """An image of coarse noise, without any symmetry."""
    coarse = np.random.default_rng(seed).integers(0, 255, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]


def mean(*embeddings: Embeddings) -> NDArray[np.float64]:
    """The mean of embeddings ``(1, dim)`` of the same photo, renormalised."""
    total = np.sum([row.astype(np.float64) for row in embeddings], axis=0)
    return np.asarray(total / np.sqrt(np.sum(total**2)))


# Views


@settings(max_examples=30)
@given(st.integers(32, 90), st.integers(32, 90), st.integers(2, 9), st.booleans())
def test_crops_are_squares_from_one_end_to_the_other(height: int, width: int, crops: int, flip: bool) -> None:  # noqa: FBT001  # drawn
    """The first square begins where the strip begins, the last ends where it ends, and steps differ by a pixel."""
    long = max(height, width)
    strip = noise(height, width)[: height if height > width else 32, : width if width >= height else 32]
    views = Views(flip=flip, crops=crops)

    found = cut_views(strip, SMALL, views)

    assert len(found) == len(views) == crops * (2 if flip else 1)
    offsets = [round(step * (long - 32) / (crops - 1)) for step in range(crops)]
    assert (offsets[0], offsets[-1]) == (0, long - 32)
    for view, offset in zip(found, offsets, strict=False):
        square = strip[offset : offset + 32] if height > width else strip[:, offset : offset + 32]
        np.testing.assert_array_equal(view, square)
    for view, mirrored in zip(found, found[crops:], strict=False):
        np.testing.assert_array_equal(mirrored, np.fliplr(view))


def test_smaller_sizes_are_the_whole_photo_resized() -> None:
    """Each further size is Pillow's resize of the prepared image, its longer side a multiple of 32 pixels."""
    rule = dataclasses.replace(SMALL, resize=128, crop=None, multiple=32)
    image = noise(128, 224)

    _, smaller, smallest = cut_views(image, rule, Views(sizes=(96, 64)))

    for view, size in ((smaller, (160, 96)), (smallest, (128, 64))):
        expected = PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(view, np.array(expected))


@settings(max_examples=30)
@given(st.integers(0, 4), st.integers(1, 6))
def test_the_mean_of_views_is_renormalised(photos: int, count: int) -> None:
    """Every photo's row is the sum of its views' rows at unit length; rows that cancel out stay zeros."""
    rows = np.random.default_rng(photos).normal(size=(photos * count, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    means = mean_of_views(rows, count)

    assert means.shape == (photos, 5)
    for photo, found in enumerate(means):
        total = sum(row.astype(float) for row in rows[photo * count : (photo + 1) * count])
        np.testing.assert_allclose(found, total / np.sqrt(np.sum(total**2)), atol=1e-5)
    np.testing.assert_array_equal(mean_of_views(np.array([[1, 0], [-1, 0]], np.float32), 2), [[0, 0]])


def test_a_photo_is_the_mean_of_its_sizes_and_mirror_images(model: Make) -> None:
    """Two sizes, flipped, give the renormalised mean of four embeddings that were computed one by one."""
    large, small = model(sizes=(96,), fit="whole"), model(sizes=(64,), fit="whole")
    photo = noise(300, 400)
    at_96 = np.array(PIL.Image.fromarray(photo).resize((128, 96), PIL.Image.Resampling.BICUBIC))
    at_64 = np.array(PIL.Image.fromarray(at_96).resize((96, 64), PIL.Image.Resampling.BICUBIC))

    together = model(sizes=(64, 96), fit="whole", flip=True).embed([photo, noise(200, 200, seed=1)])

    alone = [large.infer([at_96]), small.infer([at_64]), large.infer([at_96[:, ::-1]]), small.infer([at_64[:, ::-1]])]
    np.testing.assert_allclose(together[:1], mean(*alone), atol=1e-5)
    assert np.sum(together[0] * alone[0]) < 0.999


@pytest.mark.parametrize("size", [(300, 500), (500, 300), (300, 300)])
def test_a_photo_is_the_mean_of_its_crops(size: tuple[int, int], model: Make) -> None:
    """Three crops give the renormalised mean of those at both ends and in the centre, cut from Pillow's resize."""
    photo = noise(*size)
    height, width = (round(side * 256 / 300) for side in size)
    resized = PIL.Image.fromarray(photo).resize((width, height), PIL.Image.Resampling.BICUBIC)
    across, down = (width - 224, 16) if width >= height else (16, height - 224)
    corners = [(round(step * across / 2), 16) if width >= height else (16, round(step * down / 2)) for step in range(3)]
    squares = [np.array(resized.crop((left, top, left + 224, top + 224))) for left, top in corners]

    (found,) = model(crops=3).embed([photo])

    np.testing.assert_allclose(found, mean(*(model().infer([square]) for square in squares))[0], atol=1e-5)


@pytest.mark.parametrize(("size", "whole_size"), [(224, (224, 288)), (288, (288, 384))])
def test_both_is_the_mean_of_the_square_and_the_whole(size: int, whole_size: tuple[int, int], model: Make) -> None:
    """The photo is resized once, to the larger of both; square and whole are made of that and averaged."""
    photo = noise(300, 400)
    larger = max(size, 256)
    once = PIL.Image.fromarray(photo).resize((round(larger * 4 / 3), larger), PIL.Image.Resampling.BICUBIC)
    square = np.array(once.resize((341, 256), PIL.Image.Resampling.BICUBIC))[16:240, 58:282]
    whole = np.array(once.resize(whole_size[::-1], PIL.Image.Resampling.BICUBIC))

    (found,) = model(sizes=(size,), fit="both").embed([photo])

    alone = model().infer([square]), model(sizes=(size,), fit="whole").infer([whole])
    np.testing.assert_allclose(found, mean(*alone)[0], atol=1e-5)


def test_a_mirrored_photo_has_the_same_embedding_with_flip(model: Make, photos_root: Path) -> None:
    """With flip a photo and its mirror image are one; without it they are not."""
    photos = [images.decode(path.read_bytes()) for path in sorted((photos_root / "street-gps").glob("*.jpg"))[:3]]
    mirrored = [photo[:, ::-1] for photo in photos]

    def least_cosine(embedder: Embedder) -> float:
        return float(np.sum(embedder.embed(photos) * embedder.embed(mirrored), axis=1).min())

    assert least_cosine(model(sizes=(96,), fit="whole", flip=True)) > 0.9999
    assert least_cosine(model(sizes=(96,), fit="whole")) < 0.99


# The network


@pytest.mark.parametrize("size", [64, 96, 160])
def test_free_sizes_are_padded_like_fixed_ones(size: int, model: Make) -> None:
    """A square photo has the embedding that the graph of that one size gives."""
    photo = noise(size, size)

    whole, fixed = (model(sizes=(size,), fit=fit).infer([photo]) for fit in ("whole", "crop"))

    np.testing.assert_allclose(whole, fixed, atol=1e-5)


def test_onnx_runtime_sees_whole_photos_alike(model: Make) -> None:
    """A mixture of sizes, pooled by GeM, has the embeddings of OpenVINO."""
    pytest.importorskip("onnxruntime")
    judge = model(sizes=(64,), fit="whole", pooling="gem2", flip=True)
    weights = installed_weights(LITE0)
    assert weights is not None
    card, graph = float_graph(card_with_look(LITE0, Look(sizes=(64,), fit="whole", pooling="gem2", flip=True)), weights)
    runtime = engine.OnnxRuntime(card, graph, precision="float32", providers=("CPUExecutionProvider",))
    photos = [noise(64, 64), noise(300, 200), noise(100, 400)]

    found = engine.GraphEmbedder(card, runtime, decode="full").embed(photos)

    np.testing.assert_allclose(found, judge.embed(photos), atol=1e-4)
    assert card == dataclasses.replace(judge.card, precision="auto", decode="fast")


# Cards and galleries


def test_a_look_that_says_what_the_card_says_changes_nothing() -> None:
    """The model's own size, fit and pooling, typed out, are the same card, so the same fingerprint."""
    assert card_with_look(LITE0, Look()) == LITE0
    assert card_with_look(LITE0, Look(sizes=(224,), fit="crop", pooling="average")) == LITE0
    assert card_with_look(LITE0, Look(pooling="gem1")) == LITE0
    assert card_with_look(COSPLACE, Look(sizes=(512,), fit="whole")) == COSPLACE


def test_looks_have_fingerprints_of_their_own() -> None:
    """Whatever changes what is seen changes the fingerprint; the one of a preset stays what it is."""
    looks = [
        Look(),
        Look(sizes=(256,)),
        Look(fit="whole"),
        Look(sizes=(256,), fit="whole"),
        Look(sizes=(256, 224), fit="whole"),
        Look(pooling="gem2"),
        Look(pooling="gem3"),
        Look(flip=True),
        Look(crops=2),
        Look(crops=3),
        Look(fit="both"),
        Look(sizes=(256,), fit="both"),
    ]
    cards = [card_with_look(LITE0, look) for look in looks]

    assert len({card.fingerprint for card in cards}) == len(looks)
    assert len({card.sight for card in cards}) == len(looks)
    assert card_with_look(LITE0, Look(pooling="gem2.0")) == card_with_look(LITE0, Look(pooling="gem2"))
    assert card_with_look(LITE0, Look(sizes=(224, 256), fit="whole")) == cards[4]
    assert cards[4].sight == "256 px whole, average, also 224 px whole"


def test_a_crop_keeps_the_margin_of_the_card() -> None:
    """A larger input is cut from a photo that is larger by the same factor."""
    rule = card_with_look(LITE0, Look(sizes=(448,))).input

    assert (rule.resize, rule.crop) == (512, 448)
    rule = card_with_look(COSPLACE, Look(sizes=(320,), fit="crop")).input
    assert (rule.resize, rule.crop) == (320, 320)


def test_cards_are_kept_whole() -> None:
    """Text gives the card back, views and all; cards from before there were views are read as they were."""
    card = card_with_look(LITE0, Look(sizes=(320, 224), fit="whole", flip=True))
    old = json.loads(card_to_json(LITE0))
    del old["views"], old["input"]["multiple"]

    assert card_from_json(card_to_json(card), Path("x")) == card
    assert card_from_json(json.dumps(old), Path("x")) == LITE0
    with pytest.raises(GalleryError, match=r"^x must hold a readable model card, got "):
        card_from_json(json.dumps({**old, "views": {"zoom": 2}}), Path("x"))


@pytest.mark.parametrize(
    "look", [Look(sizes=(96, 64), fit="whole", pooling="gem2"), Look(flip=True, crops=2, fit="both", sizes=(96,))]
)
def test_a_gallery_is_asked_as_it_was_made(look: Look) -> None:
    """The model of a gallery's card, as the gallery keeps it, embeds as the one that made it."""
    made = load_model(look=look)
    photo = noise(200, 300)

    again = load_model_of(card_from_json(card_to_json(made.card), Path("x")))

    assert again.card == made.card
    np.testing.assert_array_equal(again.embed([photo]), made.embed([photo]))


@pytest.mark.parametrize("name", ["efficientnet-lite0", "resnet50-v2", "cosplace-resnet18-32", "dinov2-small"])
def test_looks_are_read_from_cards(name: str) -> None:
    """Of every look that a model can have, its card says enough to have it again."""
    card, seen = find_card(name), 0
    for fit, sizes, pooling, crops in itertools.product(
        (None, *get_args(Fit)), ((), (320,), (96, 64)), (None, "gem2"), (1, 3)
    ):
        look = Look(fit=fit, sizes=sizes, pooling=pooling, crops=crops, flip=True)
        with contextlib.suppress(OptionError):
            looked = card_with_look(card, look)
            seen += 1
            assert card_seen_like(card, looked) == looked

    assert seen > 1


@pytest.mark.parametrize(
    "change",
    [
        {"input": dataclasses.replace(SMALL, resize=10**9, crop=None)},
        {"input": dataclasses.replace(SMALL, crop="wide")},  # type: ignore[arg-type]  # as a file may say
        {"pooling": "gem99"},
        {"pooling": 7},
        {"views": Views(crops=10**9)},
        {"views": Views(sizes=(10**9,))},
    ],
)
def test_a_hostile_card_is_not_believed(change: dict[str, Any]) -> None:
    """What no look says is not taken over from a gallery, however it came there."""
    hostile = dataclasses.replace(LITE0, **change)

    assert card_seen_like(LITE0, hostile) == LITE0
    assert hostile.fingerprint != LITE0.fingerprint


# Refusals


@pytest.mark.parametrize(
    ("look", "message"),
    [
        ({"sizes": (300,)}, "input size must be a multiple of 32 from 64 to 1024, got 300"),
        ({"sizes": (0,)}, "input size must be a multiple of 32 from 64 to 1024, got 0"),
        ({"sizes": (224, 224)}, "input sizes must differ, got 224, 224; name each once"),
        ({"fit": "squeeze"}, "fit must be one of crop, whole, both, got 'squeeze'"),
        ({"crops": 0}, "crops must be from 1 to 9, got 0"),
        ({"crops": 10}, "crops must be from 1 to 9, got 10"),
        (
            {"pooling": "gem"},
            "pooling must be average, or gem and a power from 1 to 10 such as gem2, got 'gem'",
        ),
        (
            {"pooling": "gem11"},
            "pooling must be average, or gem and a power from 1 to 10 such as gem2, got 'gem11'",
        ),
    ],
)
def test_what_no_model_can_do_is_one_line(look: dict[str, Any], message: str) -> None:
    """A value that does not exist is refused when the look is made."""
    with pytest.raises(OptionError) as caught:
        Look(**look)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("card", "look", "message"),
    [
        (
            LITE0,
            Look(sizes=(224, 320)),
            "several input sizes must see the whole photo, got 2 with a crop; use --fit whole or both",
        ),
        (
            LITE0,
            Look(fit="whole", crops=3),
            "crops must be 1 where only the whole photo is seen, got 3; use --fit crop or both",
        ),
        (
            COSPLACE,
            Look(pooling="gem2"),
            "pooling must be left out for cosplace-resnet18-32, which has learnt its own, got gem2",
        ),
        (
            COSPLACE,
            Look(fit="both"),
            "fit must be crop or whole for cosplace-resnet18-32, whose card crops nothing, got both",
        ),
        (
            DINO,
            Look(sizes=(448,), pooling="gem2"),
            "input size and pooling must be left out for dinov2-small, its graph is fixed; use flip or crops",
        ),
    ],
)
def test_what_a_model_cannot_do_is_one_line(card: ModelCard, look: Look, message: str) -> None:
    """A look that does not suit the model is refused with what does."""
    with pytest.raises(OptionError) as caught:
        card_with_look(card, look)

    assert str(caught.value) == message


def test_int8_sees_as_the_model_does() -> None:
    """The 8-bit graph has one input and one pooling; others are refused before it is looked for."""
    with pytest.raises(OptionError) as caught:
        load_model(precision="int8", look=Look(pooling="gem2"))

    assert str(caught.value) == (
        "int8 must be used with the model's own input and pooling, 224 px crop, average, got 224 px crop, gem2; "
        "leave out size, fit and pooling, or use another precision"
    )


def test_views_of_somebody_elses_graph() -> None:
    """A graph that is what it is can be shown several views of a photo."""
    card = card_with_look(DINO, Look(flip=True, crops=3))

    assert card.views == Views(flip=True, crops=3)
    assert dataclasses.replace(card, views=Views()) == DINO


@pytest.mark.parametrize(
    "pooling", ["", "gem0", "gem0.5", "gem-2", "gem2\n", "gem 2", "GeM2", "gem1e1", "gemnan", "max"]
)
def test_other_poolings_are_one_line(pooling: str) -> None:
    """Only the average and powers from 1 to 10 written plainly are poolings."""
    with pytest.raises(OptionError, match=r"^pooling must be average, or gem and a power .*$"):
        pooling_power(pooling)
