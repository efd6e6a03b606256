"""Hits whose geometry is verified: their order, the confidence that comes of it, and galleries that keep features."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import embeddings, faint

from placewise.calibrating import calibrate_labelled
from placewise.checking import NOT_VERIFIED, Examiner, Found, check, features_of
from placewise.core import Photo, Source
from placewise.evaluate import evaluate_source
from placewise.features import KIND, Features
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile
from placewise.locate import Locator
from placewise.openset import EVIDENCE, Places, calibrate, calibration_from_json, calibration_to_json, self_exam
from placewise.rank import Place, Stack, Verify
from placewise.sources import read_source
from placewise.verify import CHANCE, verify

if TYPE_CHECKING:
    from placewise.core import Embedder

STACK = Stack((Place(0.3), Verify(5)))


@pytest.fixture(scope="session")
def folder(textures: Path) -> Path:
    """6 places with 4 gallery photos and 1 query each, and 2 open-set queries."""
    return textures


def features(folder: Path, name: str) -> Features:
    """Of one of its photos."""
    return features_of((folder / name).read_bytes())


def test_hits_that_geometry_accepts_come_first(folder: Path) -> None:
    """The most significant hit is first, the others keep their order, and what was not verified says so."""
    names = ["1-0.jpg", "2-0.jpg", "0-0.jpg", "0-1.jpg", "3-0.jpg"]
    found = [features(folder, name) for name in names]
    query = features(folder, "0-4.jpg")
    significance = [verify(query, one, chance=CHANCE / 4).significance for one in found]
    checked = check(query, np.arange(5), Verify(4), found.__getitem__)
    first = sorted((2, 3), key=lambda hit: -significance[hit])

    assert checked.order.tolist() == [*first, 0, 1, 4]
    assert checked.inliers[0] > 20
    assert checked.inliers[4] == NOT_VERIFIED
    np.testing.assert_allclose(checked.geometry[:4], np.log1p([significance[hit] for hit in [*first, 0, 1]]))
    assert checked.geometry[4] == 0


def test_without_features_hits_stay_as_they_are(folder: Path) -> None:
    """A query or a hit without features is not verified, and loses no rank by it."""
    found = [None, features(folder, "0-0.jpg"), None]
    one = check(features(folder, "0-4.jpg"), np.arange(3), Verify(3), found.__getitem__)
    none = check(None, np.arange(3), Verify(3), found.__getitem__)

    assert (one.order.tolist(), (one.inliers >= 0).tolist()) == ([1, 0, 2], [True, False, False])
    assert (none.order.tolist(), none.inliers.tolist()) == ([0, 1, 2], [NOT_VERIFIED] * 3)


def test_a_gallery_keeps_features_and_locates_with_them(folder: Path, tmp_path: Path, tiny_model: Embedder) -> None:
    """Hits say how many matches agree, the first shows the query's place, and matched points can be had."""
    path = tmp_path / "t.gallery"
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        gallery.add(folder / "manifest.csv")
    with GalleryFile.open(path) as file:
        file.put_ranking(STACK.to_json())
        locator = Locator(file, tiny_model, tau=None)
        (name, answer), *others = locator.locate_many([folder / f"{place}-4.jpg" for place in range(6)])[0]
        alone = locator.locate(folder / "0-4.jpg")
        found = locator.verification(folder / "0-4.jpg", str(answer.hits[0].photo.path))

    with Gallery.open(path, embedder=tiny_model) as gallery:
        plain, few = (gallery.locate(folder / "0-4.jpg", verify=hits) for hits in (0, 2))

    assert [hit.inliers is None for hit in plain.hits] == [True] * 5
    assert [hit.inliers is None for hit in few.hits] == [False] * 2 + [True] * 3
    assert name.endswith("0-4.jpg")
    assert [one.place for one in (answer, *(other for _, other in others))] == [f"p{place}" for place in range(6)]
    assert alone == answer
    assert found is not None
    assert found.inlier_count == answer.hits[0].inliers
    assert len(found.query_points) == len(found.candidate_points) == len(found.inliers)


def test_one_hit_is_accepted_as_among_all_that_are_verified(folder: Path, tmp_path: Path, tiny_model: Embedder) -> None:
    """The more hits are verified, the more each has to show, also where one is looked at alone: by the same chance."""
    query = folder / "0-4.jpg"
    weak = faint(features(folder, "0-0.jpg"))
    with Gallery.open_for(tmp_path / "g", tiny_model) as gallery:
        gallery.add(folder / "manifest.csv")
    with GalleryFile.open(tmp_path / "g") as file:
        number = file.id_of("0-0.jpg")
        file.put_features(KIND, {number: weak.to_bytes()})
        for ranked, asked, accepted in (
            (0, None, True),
            (0, 10, False),
            (10, None, False),
            (10, 1, True),
            (10, 0, True),
        ):
            file.put_ranking(Stack((Verify(ranked),) if ranked else ()).to_json())
            found = Locator(file, tiny_model).verification(query, "0-0.jpg", verify=asked)
            hits = (ranked if asked is None else asked) or 1
            known: dict[int, Found] = {}
            check(features(folder, "0-4.jpg"), np.array([number]), Verify(hits), {number: weak}.get, known=known)

            assert found is not None
            assert 2 < found.significance < 3
            assert found.accepted is known[number].accepted is accepted


@pytest.mark.parametrize("stack", [STACK, Stack((Place(0.3),))], ids=["verifying", "plain"])
def test_what_is_shown_does_not_change_what_is_decided(
    folder: Path, tmp_path: Path, tiny_model: Embedder, stack: Stack
) -> None:
    """A calibration speaks of the gallery's own ranking: however many hits are verified, it decides by that."""
    path = tmp_path / "t.gallery"
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        gallery.add(folder / "manifest.csv")
    with GalleryFile.open(path) as file:
        file.put_ranking(stack.to_json())
    with Gallery.open(path, embedder=tiny_model) as gallery:
        gallery.calibrate()
        for place in range(8):
            own, *others = (gallery.locate(folder / f"{place}-4.jpg", verify=hits) for hits in (None, 0, 1, 20))
            decided = (own.known, own.place, own.confidence, own.reason, own.tau)

            assert own.confidence is not None
            for other in others:
                assert (other.known, other.place, other.confidence, other.reason, other.tau) == decided
        assert [hit.inliers is None for hit in others[0].hits] == [True] * 5
        assert [hit.inliers is None for hit in others[2].hits] == [False] * 5


def test_evaluate_and_locate_give_the_same_hits(folder: Path, tmp_path: Path, tiny_model: Embedder) -> None:
    """Order, similarities and inliers agree, whether a gallery is in a file or in memory."""
    path = tmp_path / "t.gallery"
    source = read_source(folder / "manifest.csv")
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        gallery.add(source)
    with GalleryFile.open(path) as file:
        file.put_ranking(STACK.to_json())
        answers = dict(Locator(file, tiny_model).locate_many([folder / f"{n}-4.jpg" for n in range(8)], k=10)[0])
    evaluation = evaluate_source(source, tiny_model, stack=STACK, tau=0.5, intervals=False)
    for result in evaluation.results:
        wanted = answers[str(folder / result.query.path)].hits
        seen = [(hit.photo.path, hit.inliers) for hit in result.hits]

        assert seen == [(hit.photo.path, hit.inliers) for hit in wanted]
        np.testing.assert_allclose([h.similarity for h in result.hits], [h.similarity for h in wanted], atol=1e-6)


def test_geometry_feeds_the_confidence(folder: Path, tiny_model: Embedder) -> None:
    """The exam's questions have a fourth number, which tells known from open-set ones, and it is kept and read back."""
    source = read_source(folder / "manifest.csv")
    photos = source.of("gallery")
    found = [features(folder, str(photo.path)) for photo in photos]
    rows = tiny_model.infer([tiny_model.read((folder / photo.path).read_bytes()) for photo in photos])
    places = Places.of_labels([photo.place for photo in photos])
    exam = self_exam(rows, places, check=Examiner(found.__getitem__, Verify(5)))
    calibration = calibrate(exam, names=places.names, ids=np.arange(len(photos)))

    assert exam.known.evidence.shape[1] == exam.open_set.evidence.shape[1] == len(EVIDENCE) == 4
    assert exam.known.evidence[:, 3].min() > exam.open_set.evidence[:, 3].max()
    assert calibration_from_json(calibration_to_json(calibration)) == calibration


@pytest.mark.parametrize(("hits", "right"), [(10, 0.0), (60, 1.0)])
def test_the_exam_verifies_as_many_hits_as_a_query(hits: int, right: float) -> None:
    """What geometry finds of the hits that a query has verified counts, also beyond those that evidence is taken of."""
    rows = embeddings(30).repeat(2, axis=0) * np.tile([1, -1], 30)[:, None]  # the place's other photo comes last
    places = Places.of_codes(np.arange(60) // 2, [str(code) for code in range(30)])
    known = {row: {row ^ 1: Found(True, 50.0, 40)} for row in range(60)}
    exam = self_exam(rows.astype(np.float32), places, check=Examiner(lambda _: None, Verify(hits), known=known))

    assert exam.known.right.mean() == right
    assert exam.known.evidence[:, 3].max() == pytest.approx(right * np.log1p(50))


def test_labelled_queries_are_verified_as_locate_verifies(folder: Path, tmp_path: Path, tiny_model: Embedder) -> None:
    """Calibrated on real queries, a gallery whose hits are verified knows what geometry is worth."""
    path, source = tmp_path / "t.gallery", read_source(folder / "manifest.csv")
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        gallery.add(source)
    with GalleryFile.open(path) as file:
        file.put_ranking(STACK.to_json())
        made = calibrate_labelled(file, source, tiny_model)
        answers = dict(Locator(file, tiny_model).locate_many([folder / f"{n}-4.jpg" for n in range(8)])[0])

    assert made.confidence is not None
    assert len(made.confidence.weights) == 4
    assert made.confidence.weights[3] > 0
    assert [bool(answers[str(folder / f"{n}-4.jpg")].known) for n in range(8)] == [True] * 6 + [False] * 2


def test_features_are_added_to_photos_that_are_there(folder: Path, tmp_path: Path, tiny_model: Embedder) -> None:
    """A gallery that is to keep features from now on extracts them, and embeds nothing again."""
    path = tmp_path / "t.gallery"
    with Gallery.open_for(path, tiny_model) as gallery:
        gallery.add(folder / "manifest.csv")
    with Gallery.open_for(path, tiny_model, features=True) as gallery:
        indexed = gallery.add(folder / "manifest.csv")
        again = gallery.add(folder / "manifest.csv")
    with GalleryFile.open(path) as file:
        ids = file.ids().tolist()
        kept = file.features(KIND, ids)

    assert (indexed.computed, indexed.unchanged, again.unchanged) == (0, 24, 24)
    assert sorted(kept) == ids
    assert kept[ids[0]] == features(folder, "0-0.jpg").to_bytes()


def test_real_photos_of_a_place_are_put_first(photos_root: Path, tiny_model: Embedder) -> None:
    """With embeddings that say nothing, geometry alone finds the building among photos of two."""
    root = photos_root / "buildings"
    names = [f"castle-P19/{n:04}.jpg" for n in (3, 5)] + [f"Herz-Jesus-P8/{n:04}.jpg" for n in (3, 5)]
    photos = [Photo(PurePosixPath(name), "gallery", name.partition("/")[0]) for name in names]
    photos += [Photo(PurePosixPath(f"{place}/0004.jpg"), "query", place) for place in ("castle-P19", "Herz-Jesus-P8")]
    evaluation = evaluate_source(
        Source(root, tuple(photos)), tiny_model, stack=Stack((Verify(4),)), tau=0.5, intervals=False
    )

    assert evaluation.retrieval["map"] == 1
    assert all(min(hit.inliers or 0 for hit in result.hits[:2]) > 20 for result in evaluation.results)
