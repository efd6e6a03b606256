"""Frames of a sequence support one another: the formula, what it may look at, and where it is taken."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as PillowImage

from placewise.checking import Found, check
from placewise.core import Embedder, Embeddings, Photo
from placewise.evaluate import evaluate_source
from placewise.evaluation import QueryResult
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile
from placewise.in_memory import MemoryGallery, Verified
from placewise.locate import Locator
from placewise.models import load_model
from placewise.openset import GeometryRule
from placewise.photo_table import PhotoTable
from placewise.presets import find_preset
from placewise.rank import Island, Islands, Stack, Verify
from placewise.scoring.truth import Groups, Truth
from placewise.search.sidecar import build_ann
from placewise.sources import read_source

STACK = Stack((Verify(5), Island()))
NO_FRAMES = "no sequence has two frames; a manifest with sequence and frame names them"


def frame(number: int, place: int | None, sequence: str | None = None, *, place_name: str | None = None) -> Photo:
    """A gallery photo that is a frame."""
    return Photo(PurePosixPath(f"{number}.jpg"), "gallery", place_name, sequence=sequence, frame=place)


def naive_support(photos: list[Photo], hits: list[int], near: list[float], share: float, first: int) -> list[float]:
    """By its definition: the frames before and after in the photo's sequence, found by looking at all of them."""
    hits, near = hits[:first], near[:first]
    supported = []
    for hit, own in zip(hits, near, strict=True):
        me = photos[hit]
        if me.frame is None:
            supported.append(own)
            continue
        frames = sorted({one.frame for one in photos if one.sequence == me.sequence and one.frame is not None})
        at = frames.index(me.frame)
        beside = []
        for other in (at - 1, at + 1):
            there = [
                value
                for row, value in zip(hits, near, strict=True)
                if 0 <= other < len(frames)
                and (photos[row].sequence, photos[row].frame) == (me.sequence, frames[other])
            ]
            beside.append(max(there, default=near[-1]))
        supported.append((1 - share) * own + share * sum(beside) / 2)
    return supported


@given(data=st.data(), share=st.floats(0, 1), first=st.integers(1, 12))
def test_a_frame_is_supported_by_those_beside_it(data: st.DataObject, share: float, first: int) -> None:
    """Support equals its definition, with gaps, copies of a frame, several sequences, and photos that are no frames."""
    drawn = st.tuples(st.sampled_from([None, "a", "b"]), st.sampled_from([None, 0, 1, 2, 3, 7, 9, 10]))
    photos = [
        frame(row, at, name) for row, (name, at) in enumerate(data.draw(st.lists(drawn, min_size=1, max_size=12)))
    ]
    hits = data.draw(st.permutations(range(len(photos))))
    near = sorted(data.draw(st.lists(st.floats(-1, 1), min_size=len(hits), max_size=len(hits))), reverse=True)
    table = PhotoTable.of(range(len(photos)), photos)
    support = Islands(table.lines, share).support(np.array(hits), np.array(near, dtype=np.float64), first)

    np.testing.assert_allclose(support, naive_support(photos, list(hits), near, share, first), atol=1e-12)


def test_without_hits_there_is_no_support() -> None:
    """A query that is compared with nothing is answered by nothing."""
    none = np.empty(0, dtype=np.int64)

    assert Islands(np.arange(1, 4), 0.5).support(none, np.empty(0), 10).size == 0


def test_accepted_hits_are_ordered_by_geometry_times_support_squared() -> None:
    """A supported hit comes before one of more significance; what is not accepted stays behind, supported or not."""
    known = {0: Found(True, 50.0, 40), 1: Found(False, 1.0, 9), 2: Found(True, 40.0, 35), 3: Found(True, 9.0, 20)}
    support = np.array([0.5, 0.9, 0.52, -0.2])  # log(51) · 0.5² < log(41) · 0.52²; to the first power it is not
    hits = np.arange(5)
    plain = check(None, hits, Verify(4), lambda _: None, known=dict(known))
    checked = check(None, hits, Verify(4), lambda _: None, known=dict(known), support=support)

    assert plain.order.tolist() == [0, 2, 3, 1, 4]
    assert checked.order.tolist() == [2, 0, 3, 1, 4]
    assert checked.inliers.tolist() == [35, 40, 20, 9, -1]
    np.testing.assert_allclose(checked.geometry, np.log1p([40, 50, 9, 1, 0]))


@pytest.mark.parametrize(
    ("photos", "stack", "reason"),
    [
        ([frame(0, 1, "a"), frame(1, 2, "a")], STACK, None),
        ([frame(0, 1), frame(1, 5)], STACK, None),
        ([frame(0, 1, "a"), frame(1, 2, "a")], STACK.without("verify"), "no geometry is verified"),
        (
            [frame(0, 1, "a"), frame(1, 2, "a", place_name="here")],
            STACK,
            "photos have places, which vote in the stead of frames",
        ),
        (
            [frame(0, None, "a"), frame(1, None, "a")],
            STACK,
            "no sequence has two frames; a manifest with sequence and frame names them",
        ),
        (
            [frame(0, 1, "a"), frame(1, 2, "b"), frame(2, None)],
            STACK,
            "no sequence has two frames; a manifest with sequence and frame names them",
        ),
    ],
)
def test_a_gallery_without_sequences_leaves_the_step_out(photos: list[Photo], stack: Stack, reason: str | None) -> None:
    """Photos that are no frames, or have places, are ranked as without the step, and a note says why."""
    verified = Verified([None] * len(photos))
    held = MemoryGallery.of(photos, np.zeros((len(photos), 4), dtype=np.float32), stack, verified=verified)

    assert (held.islands is None) == (reason is not None)
    assert held.notes == (() if reason is None else (f"step island is left out: {reason}",))


def loop(
    rows: Embeddings, found: dict[int, dict[int, Found]], ranges: NDArray[np.int64]
) -> list[tuple[list[int], float]]:
    """A sequence asks its own past: the hits of each frame and the confidence of its answer."""
    photos = [frame(row, row, "loop") for row in range(len(rows))]
    positives = [None if low == high else np.empty(0, dtype=np.int64) for low, high in ranges]
    truth = Truth.of(photos, photos, positives, Groups.of(range(len(rows)), "frames"), candidates=ranges)
    checks = {query: dict(one) for query, one in found.items()}
    verified = Verified([None] * len(rows), [None] * len(rows), checks=checks)
    held = MemoryGallery.of(photos, rows, STACK, verified=verified, asks_itself=True)
    assert held.islands is not None
    return [(one.rows.tolist(), one.confidence) for one in held.predict(rows, truth, GeometryRule(), top=20)]


@given(seed=st.integers(0, 1000), asking=st.integers(12, 39))
@settings(max_examples=25)
def test_a_frame_is_answered_by_its_past_alone(seed: int, asking: int) -> None:
    """Whatever comes after what a frame may be compared with, and whatever else asks, changes nothing in its answer."""
    rng = np.random.default_rng(seed)
    rows = np.asarray([row / np.linalg.norm(row) for row in rng.normal(1, 1, (40, 8))], dtype=np.float32)
    ranges = np.array([(0, max(0, row - 10)) for row in range(40)])
    found = {q: {hit: Found(*pair) for hit, pair in enumerate(_pairs(rng))} for q in range(40)}
    other = rows.copy()
    later = np.setdiff1d(np.arange(asking - 10, 40), [asking])
    other[later] = rows[rng.permutation(later)]
    others = {q: found[q] if q == asking else {} for q in range(40)}

    assert loop(rows, found, ranges)[asking] == loop(other, others, ranges)[asking]


def _pairs(rng: np.random.Generator) -> list[tuple[bool, float, int]]:
    """What geometry might say of 40 hits."""
    return [(value > 3, float(value), int(value)) for value in rng.exponential(6, 40)]


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """A manifest of 24 frames along a wall without places, and 5 photos of a second walk, numbered alike."""
    wall = np.random.default_rng(0).integers(0, 255, (24, 160, 3), dtype=np.uint8)
    picture = np.asarray(PillowImage.fromarray(wall).resize((1280, 192), PillowImage.Resampling.BICUBIC))
    rows = [
        "path,place,split,sequence,frame",
        *(_saved(tmp_path, picture, number, 40 * number, "gallery") for number in range(24)),
        *(_saved(tmp_path, picture, number, 40 * number + 20, "query") for number in range(2, 24, 5)),
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def _saved(root: Path, picture: NDArray[np.uint8], number: int, left: int, split: str) -> str:
    noise = np.random.default_rng((left, 7)).normal(0, 4, (192, 256, 3))
    view = np.clip(picture[:, left : left + 256] + noise, 0, 255).astype(np.uint8)
    PillowImage.fromarray(view).save(root / f"{split}-{number}.jpg", quality=92)
    return f"{split}-{number}.jpg,,{split},{split},{number}"


def test_locate_and_evaluate_let_frames_support_one_another_alike(walk: Path, tiny_model: Embedder) -> None:
    """Hits of a gallery in a file, searched exactly or by an index, are those in memory, and others than without."""
    source = read_source(walk / "manifest.csv")
    path = walk / "t.gallery"
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        gallery.add(source)
    queries = [walk / str(photo.path) for photo in source.of("query")]
    with GalleryFile.open(path) as file:
        file.put_ranking(STACK.to_json())
        build_ann(file)
        exact, near = (
            [answer.hits for _, answer in Locator(file, tiny_model, searcher=kind).locate_many(queries, k=10)[0]]
            for kind in ("exact", "ann")
        )
    with_it, without = (
        evaluate_source(source, tiny_model, protocol="frames:1", stack=stack, intervals=False).results
        for stack in (STACK, STACK.without("island"))
    )

    assert near == exact
    assert [_hits(one) for one in with_it] == [[(hit.photo.path, hit.inliers) for hit in hits] for hits in exact]
    assert [_hits(one) for one in with_it] != [_hits(one) for one in without]


def _hits(result: QueryResult) -> list[tuple[PurePosixPath, int | None]]:
    return [(hit.photo.path, hit.inliers) for hit in result.hits]


def test_frames_support_one_another_in_real_photos(photos_root: Path) -> None:
    """By night the frames of a walk by day are found at least as well with their neighbours' support."""
    preset = find_preset("accurate")
    source, model = read_source(photos_root / "day-night"), load_model(look=preset.look)
    numbered = tuple(
        dataclasses.replace(one, frame=int(re.findall(r"\d+", one.path.stem)[-1])) for one in source.photos
    )
    with_it, without, unsaid = (
        evaluate_source(asked, model, protocol="frames:1", stack=stack, intervals=False)
        for asked, stack in (
            (dataclasses.replace(source, photos=numbered), preset.stack),
            (dataclasses.replace(source, photos=numbered), preset.stack.without("island")),
            (source, preset.stack),
        )
    )

    assert with_it.retrieval["recall@1"] >= without.retrieval["recall@1"] >= 0.8
    assert with_it.retrieval["map"] >= without.retrieval["map"]
    assert [_hits(one) for one in with_it.results] != [_hits(one) for one in without.results]
    assert math.isnan(with_it.tau)
    assert [_hits(one) for one in unsaid.results] == [_hits(one) for one in without.results]
    assert f"step island is left out: {NO_FRAMES}" in "".join(unsaid.notes)
