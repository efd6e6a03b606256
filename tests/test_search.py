"""Exact search against the naive one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placewise.core import Embeddings
from placewise.errors import OptionError
from placewise.search import ExactSearcher, exact


def lattice(rng: np.random.Generator, count: int) -> Embeddings:
    """Unit vectors of which many coincide: ±1 and 0 in four dimensions, exact in float32."""
    return np.eye(4, dtype=np.float32)[rng.integers(0, 4, count)] * rng.choice([-1, 1], (count, 1)).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(1, 25))
def test_search_equals_a_stable_sort(seed: int, count: int, k: int) -> None:
    """Best first, ties by id, k capped at the gallery's size: the same as sorting all (−similarity, id) pairs."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(100)[:count].astype(np.int64)
    vectors, queries = lattice(rng, count), lattice(rng, 5)
    searcher = ExactSearcher(4)
    searcher.upsert(ids, vectors)

    found = searcher.search(queries, k)

    assert found.ids.shape == (5, min(k, count))
    for query, row, similarities in zip(queries, found.ids, found.similarities, strict=True):
        naive = sorted((-float(query @ vector), int(i)) for i, vector in zip(ids, vectors, strict=True))[:k]
        assert [(-s, i) for s, i in zip(similarities.tolist(), row.tolist(), strict=True)] == naive


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many queries are searched a block at a time with the same result as at once."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    searcher = ExactSearcher(8)
    searcher.upsert(np.arange(50), vectors)
    at_once = searcher.search(vectors, 3)
    monkeypatch.setattr(exact, "_BLOCK_VALUES", 120)

    by_blocks = searcher.search(vectors, 3)

    np.testing.assert_array_equal(by_blocks.ids, at_once.ids)


def test_equal_vectors_are_equally_similar_wherever_they_stand() -> None:
    """Copies of a vector tie exactly and come in the order of ids, for a query alone and among others alike."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(301, 1280))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    copies = rng.permutation(300)[:40]
    vectors[copies] = vectors[copies[0]]
    rows = vectors.astype(np.float32)
    queries = np.concatenate([rows[copies[:3]], rows[:61]]) + np.float32(0.01)
    searcher = ExactSearcher(1280)
    searcher.upsert(np.arange(301), rows)

    together = searcher.search(queries, 50)
    complete = searcher.search(queries, 301)

    np.testing.assert_array_equal(complete.ids[:, :50], together.ids)
    for number, query in enumerate(queries):
        alone = searcher.search(query[np.newaxis], 50)
        np.testing.assert_array_equal(alone.ids[0], together.ids[number])
        np.testing.assert_array_equal(alone.similarities[0], together.similarities[number])
    assert together.ids[0][:40].tolist() == sorted(copies.tolist())
    assert len(set(together.similarities[0][:40].tolist())) == 1


def test_upsert_replaces_and_delete_removes() -> None:
    """An id holds the last vector given for it; deleted ids are gone, unknown ones are ignored."""
    eye = np.eye(3, dtype=np.float32)
    searcher = ExactSearcher(3)
    searcher.upsert(np.array([5, 7]), eye[:2])
    searcher.upsert(np.array([7, 6]), eye[[2, 1]])

    assert searcher.search(eye[[2]], 1).ids.tolist() == [[7]]
    assert searcher.search(eye[[1]], 1).ids.tolist() == [[6]]
    searcher.delete(np.array([6, 99]))
    assert len(searcher) == 2
    assert 6 not in searcher.search(eye, 3).ids
    searcher.close()
    assert len(searcher) == 0


def test_bad_arguments_are_refused() -> None:
    """Each refusal says what must hold and what came."""
    searcher = ExactSearcher(3)
    eye = np.eye(3, dtype=np.float32)

    with pytest.raises(OptionError, match=r"^k must be at least 1, got 0$"):
        searcher.search(eye, 0)
    with pytest.raises(OptionError, match=r"^queries must have the shape \(Q, 3\), got \(1, 2\)$"):
        searcher.search(eye[:1, :2], 1)
    with pytest.raises(
        OptionError, match=r"^embeddings must be one row of 3 values for each of 2 distinct ids, got shape \(2, 3\)$"
    ):
        searcher.upsert(np.array([1, 1]), eye[:2])
