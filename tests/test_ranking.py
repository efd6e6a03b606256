"""Ranking by counting, judged against a full sort."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise.checking import Checked
from placewise.core import Embeddings, Photo
from placewise.openset import GeometryRule, Rule, SimilarityRule
from placewise.scoring import ranking
from placewise.scoring.predictions import Prediction
from placewise.scoring.ranking import rank_all, ranks_of
from placewise.scoring.truth import Groups, Truth
from placewise.search import ExactSearcher


def unit(rows: NDArray[np.float64]) -> Embeddings:
    """Rows of unit length."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def vectors(seed: int, count: int, distinct: int, *, shift: float = 0.0) -> Embeddings:
    """Unit rows of 24 dimensions, few of them distinct, so that many are equally similar; all alike for a large shift.

    Some are turned by a last bit or so, which a float32 product cannot order.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(distinct, 24)) + shift
    rows = kinds[rng.integers(0, distinct, count)] * (1 + rng.integers(0, 2, (count, 1)) * 1e-7 * rng.normal(size=24))
    return unit(rows)


def photos(count: int, split: str, place: str | None = None) -> list[Photo]:
    """Photos that only have names."""
    return [Photo(PurePosixPath(f"{split}/{row}"), split, place) for row in range(count)]  # type: ignore[arg-type]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 60),
    distinct=st.integers(1, 40),
    top=st.integers(1, 70),
    shift=st.sampled_from([0.0, 3.0, 1e4]),
    few=st.sampled_from([0, 12]),
    block=st.sampled_from([1, 1 << 24]),
)
def test_ranks_equal_those_of_a_full_sort(  # noqa: PLR0913, PLR0917  # what is varied
    seed: int, count: int, distinct: int, top: int, shift: float, few: int, block: int
) -> None:
    """Hits, similarities and the rank of each photo that matters are those of the searcher's whole ranking.

    So it is with duplicates, with similarities that differ less than a product's rounding, in small blocks and large,
    and in both ways of counting.
    """
    rng = np.random.default_rng(seed)
    there, asking = vectors(seed, count, distinct, shift=shift), vectors(seed + 1, 4, 3, shift=shift)
    positives = [np.flatnonzero(rng.random(count) < share) for share in (0, 0.1, 0.5, 1)]
    gallery, queries = photos(count, "gallery"), photos(4, "query")
    truth = Truth.of(gallery, queries, positives, Groups.of(range(4), "queries"))
    searcher = ExactSearcher(24)
    searcher.upsert(np.arange(count), there)
    whole = searcher.search(asking, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_FEW", few)
        patch.setattr(ranking, "_BLOCK_VALUES", block)
        predictions = rank_all(there, asking, truth, SimilarityRule(0.5), top=top)

    for number, one in enumerate(predictions):
        place_of = np.argsort(whole.ids[number])
        kept = np.union1d(whole.ids[number, :top], positives[number])
        order = np.argsort(place_of[kept])
        assert one.rows.tolist() == kept[order].tolist()
        assert one.ranks.tolist() == (place_of[kept][order] + 1).tolist()
        assert one.similarities.tolist() == whole.similarities[number, one.ranks - 1].tolist()
        assert one.confidence == float(whole.similarities[number, 0])
        assert one.answer == whole.ids[number, 0]


def test_a_query_sees_its_candidates_only() -> None:
    """A query is ranked among its range of rows; with an empty range nothing is answered, below every tau."""
    there = vectors(1, 20, 20)
    gallery = photos(20, "gallery")
    ranges = np.array([[0, 0], [0, 7], [5, 20]])
    truth = Truth.of(
        gallery,
        photos(3, "query"),
        [np.array([3]), np.array([3, 9]), np.array([19])],
        Groups.of(range(3), "queries"),
        candidates=ranges,
    )

    nothing, first, last = rank_all(there, there[:3], truth, SimilarityRule(None))

    assert (nothing.rows.size, nothing.confidence, nothing.answer) == (0, -1.0, -1)
    assert sorted(first.rows.tolist()) == list(range(7))
    assert sorted(last.rows.tolist()) == list(range(5, 20))
    similar = (there[5:20].astype(float) @ there[2].astype(float)).astype(np.float32)
    assert last.rows.tolist() == (np.argsort(-similar, kind="stable") + 5).tolist()


def test_a_gallery_of_copies_is_ranked_by_row() -> None:
    """Where everything is equally similar, a photo's rank is its row."""
    there = np.repeat(vectors(3, 1, 1), 500, axis=0)

    ranks, similarities = ranks_of(there @ there[0], there, there[0], np.array([499, 0, 250]))

    assert ranks.tolist() == [500, 1, 251]
    assert len(set(similarities.tolist())) == 1


def test_hits_without_a_place_do_not_hide_those_with_one() -> None:
    """A rule that looks at labelled photos sees its number of them, however many unlabelled ones are more similar."""
    there = vectors(5, 400, 400)
    query = there[:1]
    order = np.argsort(-(there @ query[0]), kind="stable")
    named = order[350:]
    gallery = [
        Photo(PurePosixPath(str(row)), "gallery", "here" if row in set(named.tolist()) else None) for row in range(400)
    ]
    truth = Truth.of(gallery, photos(1, "query"), [named], Groups.of([0], "queries"))

    (one,) = rank_all(there, query, truth, SimilarityRule(0.5, labelled_only=True), top=10)

    assert one.answer == named[0]
    assert one.ranks.tolist() == [*range(1, 11), *range(351, 401)]


@pytest.mark.parametrize("top", [1, 10])
def test_junk_answers_nothing(top: int) -> None:
    """The most similar photo that is not junk answers, with its similarity, also below the hits that are kept."""
    there = vectors(7, 40, 40)
    query = there[:1]
    order = np.argsort(-(there @ query[0]), kind="stable")
    junk, right = np.sort(order[:3]), order[3:4]
    truth = Truth.of(
        photos(40, "gallery"),
        photos(1, "query"),
        [right],
        Groups.of([0], "queries"),
        setups={"medium": ((right, junk),)},
    )

    (one,) = rank_all(there, query, truth, SimilarityRule(0.5), top=top)

    assert one.answer == right[0]
    assert one.confidence == pytest.approx(float(there[right[0]] @ query[0]))
    assert one.ranks[one.rows == right[0]] == 4


@pytest.mark.parametrize(
    "rule", [GeometryRule(), SimilarityRule(None), SimilarityRule(0.2)], ids=["geometry", "none", "tau"]
)
def test_the_hit_that_geometry_puts_first_answers(rule: Rule) -> None:
    """A rule that wants one hit is shown the first of the verified ones, also where that was not the most similar."""
    there = vectors(8, 40, 40)
    truth = Truth.of(photos(40, "gallery"), photos(1, "query"), [np.array([5])], Groups.of([0], "queries"))
    fifth = np.argsort(-(there @ there[0]), kind="stable")[4]

    def check(_: int, hits: NDArray[np.int64], __: NDArray[np.float32]) -> Checked:
        order = np.argsort(hits != fifth, kind="stable")
        return Checked(order, np.arange(len(hits)), np.where(hits[order] == fifth, 2.0, 0.0))

    (one,) = rank_all(there, there[:1], truth, rule, check=check, verified=10)
    near = float(there[fifth] @ there[0])

    assert one.rows[0] == one.answer == fifth
    assert one.confidence == pytest.approx(2 * near if isinstance(rule, GeometryRule) else near, abs=1e-6)


@pytest.mark.parametrize("top", [1, 10, 30])
def test_what_is_kept_changes_no_order(top: int) -> None:
    """Hits are verified before they are cut: the first are those of the whole ranking, and what matters keeps ranks."""
    there = vectors(9, 40, 40)
    order = np.argsort(-(there @ there[0]), kind="stable")
    truth = Truth.of(photos(40, "gallery"), photos(1, "query"), [np.sort(order[[3, 14, 35]])], Groups.of([0], "q"))

    def check(_: int, hits: NDArray[np.int64], __: NDArray[np.float32]) -> Checked:
        backwards = np.concatenate([np.arange(len(hits))[:20][::-1], np.arange(len(hits))[20:]])
        return Checked(backwards, np.where(np.arange(len(hits)) < 20, 9, -1), np.zeros(len(hits)))

    def ranked(kept: int | None) -> Prediction:
        (one,) = rank_all(there, there[:1], truth, SimilarityRule(None), top=kept, check=check, verified=20)
        return one

    few, whole = ranked(top), ranked(None)

    stays = (whole.ranks <= top) | np.isin(whole.rows, truth.positives[0])
    assert few.ranks.tolist() == whole.ranks[stays].tolist() == sorted({*range(1, top + 1), 6, 17, 36})
    assert few.rows.tolist() == whole.rows[stays].tolist()
    assert few.similarities.tolist() == whole.similarities[stays].tolist()
    assert few.inliers is not None
    assert whole.inliers is not None
    assert few.inliers.tolist() == whole.inliers[stays].tolist()
    assert (few.answer, few.confidence) == (whole.answer, whole.confidence)
