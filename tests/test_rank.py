"""What a gallery's photos teach about ranking them, and what they must not know of a photo that asks."""

from __future__ import annotations

import itertools
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise.calibrating import calibrate_gallery, staleness
from placewise.core import Embedder, Embeddings, Photo
from placewise.errors import OptionError
from placewise.gallery import Gallery
from placewise.gallery_file import GalleryFile
from placewise.locate import Locator
from placewise.models import MODELS, Look
from placewise.models.looks import card_with_look
from placewise.openset import Places, calibrate, self_exam
from placewise.photo_table import PhotoTable
from placewise.presets import PRESETS, find_preset, look_for
from placewise.rank import (
    NO_STACK,
    Augment,
    Centre,
    Expand,
    Island,
    Place,
    SelfTaught,
    Stack,
    Verify,
    Whiten,
    learn,
    stack_from_json,
    usable,
)
from placewise.rank.learned import learn_linear
from placewise.search import sidecar
from placewise.search.sidecar import SearcherKind, build_ann

STACKS = (
    Stack((Place(0.4),)),
    Stack((Augment(5),)),
    Stack((Augment(5, mutual=True, rounds=2),)),
    Stack((Augment(4, rounds=2), Place(0.5))),
    Stack((Augment(6), Place(0.3), Expand(3))),
)


def town(count: int = 60, places: int = 8, *, seed: int = 0) -> tuple[Embeddings, NDArray[np.int64]]:
    """Photos of places that share a direction, some of which have no place."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, places, count)
    centres = rng.normal(size=(places + 1, 48))
    rows = 0.8 * rng.normal(size=48) + centres[codes] + 0.7 * rng.normal(size=(count, 48))
    return _unit(rows), codes


def _unit(rows: NDArray[np.floating]) -> Embeddings:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_the_mean_is_taken_away_from_gallery_and_queries_alike() -> None:
    """Centring subtracts a share of the gallery's mean, and of nothing else, from both sides."""
    rows, codes = town()
    learned = learn(Stack((Centre(0.7),)), rows, codes)
    wanted = _unit(rows - 0.7 * rows.mean(axis=0))

    np.testing.assert_allclose(learned.matrix, wanted, atol=1e-6)
    np.testing.assert_allclose(learned.ask(rows[:3]), wanted[:3], atol=1e-6)


def test_whitening_makes_all_directions_vary_alike() -> None:
    """Without shrinkage the covariance of what is whitened is the identity, up to the scale."""
    rows, codes = town(400)
    learned = learn(Stack((Centre(), Whiten(20, 0.0))), rows, codes)
    moved = (rows - rows.mean(axis=0)) @ learned.linear.axes

    np.testing.assert_allclose(moved.T @ moved / len(rows), np.eye(20), atol=1e-3)
    assert learned.matrix.shape == (400, 20)


def test_a_whitened_query_does_not_depend_on_who_else_asks() -> None:
    """Alone, among others or as part of the gallery it is the same; the first two to the last digit."""
    rng = np.random.default_rng(0)
    linear = learn_linear(Stack((Centre(), Whiten())), _unit(rng.normal(size=(700, 300))))
    rows = _unit(rng.normal(size=(9, 300)))
    together = linear.ask(rows)

    np.testing.assert_array_equal(np.concatenate([linear.ask(row[None]) for row in rows]), together)
    np.testing.assert_array_equal(linear.ask(rows[2:5]), together[2:5])
    np.testing.assert_allclose(linear(rows), together, atol=1e-6)
    assert linear.ask(rows[:0]).shape == (0, 300)


def test_a_place_votes_by_its_mean() -> None:
    """A photo moves towards the mean of its place by the share; one without a place stays."""
    rows, codes = town()
    learned = learn(Stack((Place(0.25),)), rows, codes)
    for row, code in enumerate(codes.tolist()):
        mean = rows[codes == code].mean(axis=0)
        wanted = rows[row] if code < 0 else _unit((0.75 * rows[row] + 0.25 * mean)[None])[0]

        np.testing.assert_allclose(learned.matrix[row], wanted, atol=1e-6)


def test_neighbours_are_averaged_by_a_power_of_their_similarity() -> None:
    """Augmentation is the weighted mean of the nearest photos, itself among them."""
    rows, codes = town()
    learned = learn(Stack((Augment(4, 2.0),)), rows, codes)
    similar = rows @ rows.T
    for row in range(len(rows)):
        near = np.argsort(-similar[row])[:4]
        wanted = _unit((np.clip(similar[row, near], 0, 1)[:, None] ** 2 * rows[near]).sum(axis=0)[None])[0]

        np.testing.assert_allclose(learned.matrix[row], wanted, atol=1e-5)


@pytest.mark.parametrize("stack", STACKS, ids=str)
@given(data=st.data())
@settings(max_examples=15)
def test_what_is_taken_away_has_no_part_in_what_answers(stack: Stack, data: st.DataObject) -> None:
    """A gallery without some photos answers exactly as one that never held them."""
    rows, codes = town(60, seed=data.draw(st.integers(0, 3)))
    asking = data.draw(st.integers(0, 59))
    gone = np.isin(np.arange(60), [*data.draw(st.sets(st.integers(0, 59), max_size=9)), asking])
    told = learn(stack, rows, codes).similarities(np.array([asking]), gone[None])[0]
    never = learn(stack, rows[~gone], codes[~gone])

    np.testing.assert_allclose(told[~gone], (never.ask(rows[[asking]]) @ never.matrix.T)[0], atol=2e-6)
    assert np.isneginf(told[gone]).all()


def test_no_stack_is_the_plain_cosine() -> None:
    """Without steps, queries and gallery are compared as they are, bit by bit."""
    rows, codes = town()
    learned = learn(NO_STACK, rows, codes)

    assert np.array_equal(learned.matrix, rows)
    assert np.array_equal(learned.ask(rows), rows)


def table(codes: NDArray[np.int64]) -> PhotoTable:
    """Photos of places."""
    photos = [Photo(PurePosixPath(f"{n}.jpg"), "gallery", f"p{code}") for n, code in enumerate(codes.tolist())]
    return PhotoTable.of(range(len(photos)), photos)


EVERYTHING = Stack((Centre(), Whiten(), Augment(), Place(), Expand(), Verify(), Island()))
MIXED = "the photos that ask are in the gallery and would be part of their own answers"


@pytest.mark.parametrize(
    ("codes", "facts", "reasons"),
    [
        (
            np.arange(12),
            {"features": False},
            {
                "centre": "it needs 20 photos or more, got 12",
                "whiten": "48 directions need 96 photos or more, got 12",
                "augment": "it needs 20 photos or more, got 12",
                "place": "no place has two photos",
                "expand": "3 hits need 20 photos or more, got 12",
                "verify": "the gallery keeps no local features; index its photos again with --features",
                "island": "no geometry is verified",
            },
        ),
        (np.arange(120) // 2, {}, {"island": "photos have places, which vote in the stead of frames"}),
        (
            np.arange(120) // 2,
            {"approximate": True},
            {
                "augment": "the search is approximate",
                "expand": "the search is approximate",
                "island": "photos have places, which vote in the stead of frames",
            },
        ),
        (
            np.arange(120) // 2,
            {"asks_itself": True},
            {
                "augment": MIXED,
                "place": MIXED,
                "expand": MIXED,
                "island": "photos have places, which vote in the stead of frames",
            },
        ),
    ],
)
def test_a_step_is_left_out_with_a_reason_where_the_gallery_cannot_take_it(
    codes: NDArray[np.int64], facts: dict[str, bool], reasons: dict[str, str]
) -> None:
    """Too few photos, no place with two, no features, no frames, an index, or photos that ask: each is said."""
    found = usable(EVERYTHING, table(codes), 48, **facts)

    assert found.left_out == reasons
    assert found.notes == tuple(f"step {name} is left out: {reason}" for name, reason in reasons.items())
    assert found.stack.names == tuple(name for name in EVERYTHING.names if name not in reasons)
    assert usable(found.stack, table(codes), 48, **facts).left_out == {}


def test_a_stack_comes_back_from_its_text() -> None:
    """What a gallery keeps is the stack that was put in, every parameter included."""
    spread = Augment(7, 2.0, mutual=True, rounds=3)
    stack = Stack((Centre(0.5), Whiten(64, 0.2), spread, Place(0.4), Expand(2), Verify(5)))

    assert stack_from_json(stack.to_json()) == stack
    assert stack.without("whiten").names == ("centre", "augment", "place", "expand", "verify")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"version": 2, "steps": []}',
        '{"version": 1, "steps": [{"step": "magic"}]}',
        '{"version": 1, "steps": [{"step": "place", "share": 2}]}',
        '{"version": 1, "steps": [{"step": "place", "share": NaN}]}',
        '{"version": 1, "steps": [{"step": "place", "weight": 1}]}',
        '{"version": 1, "steps": [{"step": "augment", "neighbours": true}]}',
        '{"version": 1, "steps": [{"step": "place"}, {"step": "centre"}]}',
        '{"version": 1, "steps": [{"step": "place"}, {"step": "place"}]}',
    ],
)
def test_a_damaged_stack_is_refused(text: str) -> None:
    """Unknown steps, parameters, values, orders and versions are never passed over."""
    with pytest.raises(OptionError, match="must"):
        stack_from_json(text)


def test_the_exam_sees_what_a_query_will_see() -> None:
    """The evidence of a photo's open-set question is that of a query to a gallery without its place."""
    rows, codes = town(80)
    codes = np.where(codes < 0, 0, codes)
    places = Places.of_codes(codes, [str(code) for code in range(8)])
    stack = Stack((Centre(), Augment(5), Place(0.5)))
    exam = self_exam(rows, places, told=SelfTaught(stack, rows, codes, codes))
    for number in (0, 17, 55):
        left = codes != codes[number]
        never = learn(stack, rows[left], codes[left])
        best = (never.ask(rows[[number]]) @ never.matrix.T).max()

        question = np.flatnonzero(np.argsort(codes, kind="stable") == number)[0]  # they ask place by place
        assert exam.open_set.evidence[question, 0] == pytest.approx(best, abs=2e-6)


def test_strangers_to_a_small_gallery_are_centred_as_queries_are() -> None:
    """Where the other places alone would be too few photos for a mean, the exam still takes one away."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(10), 2)
    rows = _unit(rng.normal(size=48) / 7 + (rng.normal(size=(10, 48))[codes] + rng.normal(size=(20, 48)) / 2) / 10)
    stack, all_rows = Stack((Centre(),)), np.arange(20)
    away = codes[:, None] == codes
    told = SelfTaught(stack, rows, codes, codes).similarities(all_rows, away, strangers=True)
    plain = SelfTaught(Stack(), rows, codes, codes).similarities(all_rows, away, strangers=True)

    assert usable(stack, table(codes), 48).left_out == {}
    assert told.max(axis=1).mean() < plain.max(axis=1).mean() - 0.2


@pytest.mark.parametrize("stack", [Stack((Centre(0.7), Place(0.5))), Stack((Centre(), Expand(2)))], ids=str)
def test_a_photo_that_asks_is_centred_as_a_query_is(stack: Stack) -> None:
    """In the mean of a small gallery neither it nor its near-duplicates have a part: it is told what a query is."""
    rows, codes = town(40)
    away = np.eye(40, dtype=bool)
    away[np.arange(0, 40, 4), np.arange(1, 40, 4)] = codes[0::4] == codes[1::4]
    told = SelfTaught(stack, rows, codes, codes).similarities(np.arange(40), away, strangers=False)

    for number, gone in enumerate(away):
        others = learn(stack, rows[~gone], codes[~gone])
        expected = others.ask(rows[number : number + 1]) @ others.matrix.T
        np.testing.assert_allclose(told[number, ~gone], expected[0], atol=1e-5)


@pytest.fixture
def ranked(tmp_path: Path, tiny_model: Embedder) -> Path:
    """A gallery of 60 photos that ranks by centre and place."""
    rows, codes = town()
    names = [None if code < 0 else f"p{code}" for code in codes]
    file = tmp_path / "town.gallery"
    photos = [Photo(PurePosixPath(f"{n}.jpg"), "gallery", name) for n, name in enumerate(names)]
    with GalleryFile.open_for(file, tiny_model.card) as gallery:
        gallery.upsert(photos, rows)
        gallery.put_ranking(Stack((Centre(0.7), Place(0.5))).to_json(), preset="balanced")
    return file


def test_locate_ranks_as_the_stack_says(ranked: Path, tiny_model: Embedder) -> None:
    """The hits of a gallery with a stack are those of the learned matrix, with its similarities."""
    rows, codes = town()
    learned = learn(Stack((Centre(0.7), Place(0.5))), rows, codes)
    queries = town(5, seed=9)[0]
    similar = learned.ask(queries) @ learned.matrix.T
    with GalleryFile.open(ranked) as gallery:
        answers = Locator(gallery, tiny_model).answers(queries, k=60)
    for answer, row in zip(answers, similar, strict=True):
        order = [int(str(hit.photo.path).removesuffix(".jpg")) for hit in answer.hits]

        np.testing.assert_allclose([hit.similarity for hit in answer.hits], np.sort(row)[::-1], atol=1e-5)
        np.testing.assert_allclose(row[order], np.sort(row)[::-1], atol=1e-5)


def test_a_fixed_tau_means_the_same_whatever_a_gallery_ranks_by(ranked: Path, tiny_model: Embedder) -> None:
    """Exact or approximate, it is compared with the cosine of the embeddings of query and best hit, not the ranked one.

    So a gallery that is not calibrated answers by the same rule with every preset.
    """
    rows, queries = town()[0], town(9, seed=9)[0]
    with GalleryFile.open(ranked) as gallery:
        build_ann(gallery)
        for kind, tau in (("exact", "calibrated"), ("exact", 0.6), ("ann", 0.6)):
            locator = Locator(gallery, tiny_model, tau=tau, searcher=kind)  # type: ignore[arg-type]  # the three above
            for answer, query in zip(locator.answers(queries, k=3), queries, strict=True):
                best = answer.hits[0]
                plain = float(rows[int(str(best.photo.path).removesuffix(".jpg"))] @ query)

                assert answer.confidence == pytest.approx(plain, abs=1e-6)
                assert abs(best.similarity - plain) > 1e-3
                assert answer.known is (plain >= (0.5 if tau == "calibrated" else 0.6))
                assert answer.reason.startswith("plain similarity ")
        undecided = Locator(gallery, tiny_model, tau=None).answers(queries[:1])[0]

    assert (undecided.known, undecided.confidence) == (None, undecided.hits[0].similarity)


def test_a_place_of_few_photos_leaves_the_mean_as_it_is() -> None:
    """A stranger of a small place is told what the whole gallery learned, and that is nearly what it would be."""
    rows, codes = town(1300, 260)
    codes = np.where(codes < 0, 0, codes)
    stack, asking = Stack((Centre(), Place(0.5))), np.arange(8)
    away = codes[asking, None] == codes
    told = SelfTaught(stack, rows, codes, codes).similarities(asking, away, strangers=True)
    for number in asking.tolist():
        left = ~away[number]
        never = learn(stack, rows[left], codes[left])
        exact = (never.ask(rows[[number]]) @ never.matrix.T)[0]

        np.testing.assert_allclose(told[number, left], exact, atol=0.02)
        assert np.abs(told[number, left] - exact).max() > 0


def test_an_approximate_search_ranks_by_the_same_similarities(ranked: Path, tiny_model: Embedder) -> None:
    """What an index proposes is ranked as exact search ranks it; steps that it cannot take are named."""
    queries = town(4, seed=3)[0]
    with GalleryFile.open(ranked) as gallery:
        build_ann(gallery)
        exact = Locator(gallery, tiny_model, searcher="exact").answers(queries, k=10)
        near = Locator(gallery, tiny_model, searcher="ann").answers(queries, k=10)

    assert [hit.photo for one in exact for hit in one.hits] == [hit.photo for one in near for hit in one.hits]
    np.testing.assert_allclose(
        [hit.similarity for one in exact for hit in one.hits],
        [hit.similarity for one in near for hit in one.hits],
        atol=1e-5,
    )


def test_many_hits_of_an_approximate_search_are_those_of_an_exact_one(tmp_path: Path, tiny_model: Embedder) -> None:
    """Of what is asked for, a multiple is proposed by plain similarity, since the steps bring up what lies below."""
    rows, codes = town(1500, 150)
    photos = [Photo(PurePosixPath(f"{n}.jpg"), "gallery", f"p{code}") for n, code in enumerate(codes.tolist())]
    queries = town(8, 150, seed=9)[0]
    with GalleryFile.open_for(tmp_path / "town.gallery", tiny_model.card) as gallery:
        gallery.upsert(photos, rows)
        gallery.put_ranking(Stack((Centre(0.7), Place(0.4))).to_json())
        build_ann(gallery)
        exact, near = (
            [
                {hit.photo.path for hit in one.hits}
                for one in Locator(gallery, tiny_model, searcher=kind).answers(queries, k=200)
            ]
            for kind in ("exact", "ann")
        )

    assert np.mean([len(one & other) / 200 for one, other in zip(exact, near, strict=True)]) > 0.97


def test_what_another_process_removes_is_no_hit_of_an_approximate_search(ranked: Path, tiny_model: Embedder) -> None:
    """Photos that are left are found as before, also where a place has lost some before its mean is read."""
    codes, queries = town()[1], town(6, seed=3)[0]
    gone = [f"{number}.jpg" for number in np.flatnonzero(codes == codes[codes >= 0][0])]
    with GalleryFile.open(ranked) as gallery:
        build_ann(gallery)
        locator = Locator(gallery, tiny_model, searcher="ann")
        with GalleryFile.open(ranked) as other:
            other.remove(gone[1:])
        after = locator.answers(queries, k=60)
        locator.refresh()
        fresh = locator.answers(queries, k=60)

    kept = {str(hit.photo.path) for one in fresh for hit in one.hits}
    assert kept == {f"{number}.jpg" for number in range(60)} - set(gone[1:])
    assert {str(hit.photo.path) for one in after for hit in one.hits} == kept
    np.testing.assert_allclose(
        [hit.similarity for one in after for hit in one.hits],
        [hit.similarity for one in fresh for hit in one.hits],
        atol=0.1,
    )


def test_a_place_that_vanishes_while_it_is_read_is_read_whole(
    ranked: Path, tiny_model: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates and the means of their places are of one state of the file, whatever is removed between the two."""
    queries = town(1, seed=3)[0]
    read, turns = GalleryFile.vectors, itertools.count()
    with GalleryFile.open(ranked) as gallery, GalleryFile.open(ranked) as other:
        other.remove(["0.jpg"])  # from the first write on, readers do not hold up writers
        build_ann(gallery)
        whole = Locator(gallery, tiny_model, searcher="ann").answers(queries, k=60)
        locator = Locator(gallery, tiny_model, searcher="ann")

        def vectors(file: GalleryFile, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], Embeddings]:
            found = read(file, ids)
            if file is gallery and next(turns) == 1:  # the index has read its candidates, the ranker reads them again
                other.remove([f"{number}.jpg" for number in range(60)])
            return found

        monkeypatch.setattr(GalleryFile, "vectors", vectors)

        assert [one.hits for one in locator.answers(queries, k=60)] == [one.hits for one in whole]


def test_a_locator_sees_photos_that_come_and_a_ranking_that_changes(ranked: Path, tiny_model: Embedder) -> None:
    """After a refresh, what was learned is of the photos that are there, by the ranking that is there."""
    query = town(1, seed=5)[0]
    with GalleryFile.open(ranked) as gallery:
        locator = Locator(gallery, tiny_model)
        gallery.upsert([Photo(PurePosixPath("new.jpg"), "gallery", "new")], query)
        assert locator.refresh()
        with_it = locator.answers(query)[0].hits[0]
        gallery.put_ranking(NO_STACK.to_json())
        assert locator.refresh()
        plain = locator.answers(query)[0].hits[0]

    assert (with_it.photo.place, plain.photo.place) == ("new", "new")
    assert plain.similarity == pytest.approx(1, abs=1e-6)


def test_a_calibrated_gallery_judges_by_the_similarities_of_its_stack(ranked: Path, tiny_model: Embedder) -> None:
    """Calibration and locate see the same: its own exam's confidence is a query's, and a new ranking is a change."""
    with Gallery.open(ranked, embedder=tiny_model) as gallery:
        calibration = gallery.calibrate()
        assert gallery.staleness == ""
    rows, codes = town()
    names = [f"p{number}" for number in range(8)]
    told = SelfTaught(Stack((Centre(0.7), Place(0.5))), rows, codes, codes)
    exam = self_exam(rows, Places.of_codes(codes, names), told=told)
    wanted = calibrate(exam, names=names, ids=np.arange(1, 61))
    with GalleryFile.open(ranked) as file:
        file.put_ranking(NO_STACK.to_json())

    assert calibration.tau == pytest.approx(wanted.tau)
    with Gallery.open(ranked, embedder=tiny_model) as gallery:
        assert "has changed since it was calibrated" in gallery.staleness


def test_a_calibration_decides_only_for_the_ranking_that_it_is_of(ranked: Path, tiny_model: Embedder) -> None:
    """Ranked otherwise, a fixed tau decides and that is said; ranked as before, the calibration decides again."""
    with Gallery.open(ranked, embedder=tiny_model) as gallery:
        gallery.calibrate()
    queries = town(5, seed=9)[0]
    with GalleryFile.open(ranked) as gallery:
        own, stack = Locator(gallery, tiny_model).answers(queries), gallery.ranking
        gallery.put_ranking(Stack().to_json(), preset="fast")
        other = Locator(gallery, tiny_model)
        answers = other.answers(queries)

        assert {answer.tau for answer in answers} == {0.5}
        assert "not calibrated" in other.caution
        assert stack is not None
        gallery.put_ranking(stack, preset="balanced")
        assert [answer.tau for answer in Locator(gallery, tiny_model).answers(queries)] == [one.tau for one in own]


def test_a_calibration_is_of_the_steps_that_answer_queries(
    ranked: Path, tiny_model: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an index answers, the exam leaves out what the index leaves out; elsewhere that calibration is none."""
    monkeypatch.setattr(sidecar, "ANN_FROM", 60)
    plain, full = (
        Stack((Centre(0.7), *more, Place(0.5), *last)) for more, last in (((), ()), ((Augment(4),), (Expand(),)))
    )
    queries = town(5, seed=9)[0]
    with GalleryFile.open(ranked) as gallery:
        without = calibrate_gallery(gallery)
        gallery.put_ranking(full.to_json())
        exactly = calibrate_gallery(gallery)
        build_ann(gallery)
        stale, cautious = staleness(gallery, exactly), Locator(gallery, tiny_model)
        undecided = cautious.answers(queries)
        made = calibrate_gallery(gallery)
        own, exact = Locator(gallery, tiny_model), Locator(gallery, tiny_model, searcher="exact")
        answers, fixed = own.answers(queries), exact.answers(queries)
        cautions = [one.caution for one in (cautious, exact, own)]

    assert (exactly.ranking, made.ranking, made.tau) == (full.to_json(), plain.to_json(), without.tau)
    assert exactly.tau != made.tau
    assert stale.startswith(f"the gallery has changed since it was calibrated: it ranks otherwise, now by {plain}, so")
    assert cautions[0].startswith(f"the gallery is not calibrated for its ranking by {plain}: tau 0.50 on the")
    assert cautions[1].startswith(f"the gallery is not calibrated for its ranking by {full}: tau 0.50 on the plain")
    assert cautions[2] == ""
    assert own.notes == tuple(f"step {name} is left out: the search is approximate" for name in ("augment", "expand"))
    assert {answer.tau for answer in answers} == {made.tau}
    assert {answer.tau for answer in (*fixed, *undecided)} == {0.5}


def test_a_gallery_that_grows_into_a_step_takes_it(tmp_path: Path, tiny_model: Embedder) -> None:
    """An open locator takes a step as soon as there are enough photos, and an earlier calibration no longer decides."""
    rows, codes = town(40)
    photos = [Photo(PurePosixPath(f"{n}.jpg"), "gallery", f"p{code}") for n, code in enumerate(codes.tolist())]
    with GalleryFile.open_for(tmp_path / "small.gallery", tiny_model.card) as gallery:
        gallery.put_ranking(Stack((Centre(0.7),)).to_json())
        gallery.upsert(photos[:19], rows[:19])
        calibrate_gallery(gallery)
        locator = Locator(gallery, tiny_model)
        few, before, calm = locator.answers(rows[:1])[0], locator.notes, locator.caution
        gallery.upsert(photos[19:], rows[19:])
        locator.refresh()
        many, caution = locator.answers(rows[:1])[0], locator.caution

    assert (before, calm) == (("step centre is left out: it needs 20 photos or more, got 19",), "")
    assert (locator.notes, few.tau == 0.5, many.tau) == ((), False, 0.5)
    assert "not calibrated for its ranking by centre 0.7" in caution
    assert many.hits[1].similarity < few.hits[1].similarity - 0.05


@pytest.mark.parametrize("searcher", ["exact", "ann"])
@pytest.mark.parametrize(
    "stack",
    [Stack(), Stack((Centre(0.7), Place(0.5))), Stack((Whiten(24), Place(0.3))), Stack((Centre(), Expand(3)))],
    ids=lambda stack: "-".join(stack.names) or "nothing",
)
def test_an_answer_does_not_depend_on_who_else_asks(
    ranked: Path, tiny_model: Embedder, stack: Stack, searcher: SearcherKind
) -> None:
    """Asked alone or among others, a query gets the same similarities and confidence to the last digit."""
    queries = town(24, seed=9)[0]
    with Gallery.open(ranked, embedder=tiny_model) as gallery:
        gallery._file.put_ranking(stack.to_json())
        gallery.calibrate()
        gallery.build_ann()
    with GalleryFile.open(ranked) as file:
        locator = Locator(file, tiny_model, searcher=searcher)
        together = locator.answers(queries)

        assert [locator.answers(query[None])[0] for query in queries] == list(together)
        assert locator.answers(queries[5:12]) == together[5:12]


def test_an_approximate_search_of_nothing_finds_nothing(tmp_path: Path, tiny_model: Embedder) -> None:
    """A gallery without photos answers UNKNOWN whatever it ranks by and however it is searched."""
    with GalleryFile.open_for(tmp_path / "empty.gallery", tiny_model.card) as gallery:
        gallery.put_ranking(Stack((Centre(0.7), Place(0.5))).to_json(), preset="balanced")
        build_ann(gallery)
        answers = Locator(gallery, tiny_model, searcher="ann").answers(town(2)[0])

    assert [(answer.known, answer.hits) for answer in answers] == [(False, ()), (False, ())]


def test_a_gallery_keeps_the_preset_that_it_was_begun_with(tmp_path: Path, tiny_model: Embedder) -> None:
    """A preset's ranking is kept in the file; of one that ranks by plain similarity, its name only."""
    with Gallery.open_for(tmp_path / "a.gallery", tiny_model, preset="balanced") as gallery:
        gallery.close()
    with Gallery.open_for(tmp_path / "b.gallery", tiny_model, preset="fast") as gallery:
        gallery.close()
    with GalleryFile.open(tmp_path / "a.gallery") as one, GalleryFile.open(tmp_path / "b.gallery") as other:
        assert stack_from_json(one.ranking or "") == PRESETS["balanced"].stack
        assert (one.preset, other.preset, other.ranking) == ("balanced", "fast", None)


def test_presets_suit_the_default_model_and_leave_others_as_they_are() -> None:
    """Every preset's look is one that the default model can have; a model with pooling of its own keeps its look."""
    for preset in PRESETS.values():
        card_with_look(MODELS["efficientnet-lite0"], preset.look)
    other = next(name for name, card in MODELS.items() if card.pooling != "average")

    assert look_for("efficientnet-lite0", PRESETS["balanced"].look, Look()) == PRESETS["balanced"].look
    assert look_for("efficientnet-lite0", PRESETS["balanced"].look, Look(flip=True)) == Look(flip=True)
    assert look_for("efficientnet-lite0", PRESETS["balanced"].look, Look(), "int8") == Look()
    assert look_for("vlad", PRESETS["balanced"].look, Look()) == Look()
    assert look_for(other, PRESETS["balanced"].look, Look()) == Look()
    with pytest.raises(OptionError, match=r"a preset must be one of fast, balanced, accurate, got 'best'"):
        find_preset("best")
