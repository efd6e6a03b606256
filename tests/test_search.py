"""Every searcher against a naive one, by one suite; then what is particular to each."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placewise.core import Embeddings, Neighbors, Searcher
from placewise.errors import GalleryError, OptionError
from placewise.search import AnnSearcher, ExactSearcher, ann, exact
from placewise.search.groups import Groups

Ids = NDArray[np.int64]


class Stored:
    """Vectors in a dict, as a gallery's file holds them."""

    def __init__(self) -> None:
        """Start empty."""
        self.rows: dict[int, NDArray[np.float32]] = {}

    def put(self, ids: Ids, embeddings: Embeddings) -> None:
        """Keep vectors."""
        self.rows |= {int(i): row for i, row in zip(ids, embeddings, strict=True)}

    def __call__(self, ids: Ids) -> tuple[Ids, Embeddings]:
        """The ids that exist, and their vectors."""
        held = [int(i) for i in ids if int(i) in self.rows]
        rows = [self.rows[i] for i in held]
        return np.array(held, dtype=np.int64), np.array(rows, dtype=np.float32).reshape(len(rows), -1)


class Storing(AnnSearcher):
    """An approximate searcher whose upserts reach the store first, as a gallery's do."""

    def upsert(self, ids: Ids, embeddings: NDArray[np.floating]) -> None:
        """Store, then index."""
        assert isinstance(self._vectors, Stored)
        if embeddings.ndim == 2 and embeddings.shape[1] == self._dim:
            self._vectors.put(ids, embeddings.astype(np.float32))
        super().upsert(ids, embeddings)


Maker = Callable[[int], Searcher]
MAKERS: dict[str, Maker] = {
    "exact float32": ExactSearcher,
    "exact float16": lambda dim: ExactSearcher(dim, np.float16),
    "ann": lambda dim: Storing(dim, Stored()),
}


@pytest.fixture(params=list(MAKERS.values()), ids=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Maker:
    """Makes an empty searcher, of each kind in turn."""
    maker: Maker = request.param
    return maker


def lattice(rng: np.random.Generator, count: int) -> Embeddings:
    """Unit vectors of which many coincide: ±1 and 0 in four dimensions, exact in every precision."""
    return np.eye(4, dtype=np.float32)[rng.integers(0, 4, count)] * rng.choice([-1, 1], (count, 1)).astype(np.float32)


def unit(vectors: NDArray[np.float64]) -> Embeddings:
    """Rows of unit length."""
    rows: Embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return rows


def clustered(rng: np.random.Generator, count: int, dim: int = 32) -> Embeddings:
    """Places seen from about ten sides each."""
    places = unit(rng.standard_normal((count // 10, dim)))
    return unit(places[rng.integers(0, len(places), count)] + 0.08 * rng.standard_normal((count, dim)))


def recall(found: Neighbors, truth: Neighbors) -> float:
    """The share of the true hits that were found."""
    return float(np.mean([np.isin(t, f).mean() for t, f in zip(truth.ids, found.ids, strict=True)]))


class TestEverySearcher:
    """What holds for all of them."""

    @pytest.mark.parametrize("name", MAKERS)
    @given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 20), k=st.integers(1, 25), filtered=st.booleans())
    def test_search_equals_a_stable_sort(self, name: str, seed: int, count: int, k: int, *, filtered: bool) -> None:
        """Best first, ties by id, k capped, filters obeyed: the same as sorting all (−similarity, id) pairs."""
        rng = np.random.default_rng(seed)
        ids = rng.permutation(100)[:count].astype(np.int64)
        vectors, queries = lattice(rng, count), lattice(rng, 5)
        among = rng.permutation(100)[:40].astype(np.int64) if filtered else None
        allowed = set(ids.tolist()) if among is None else set(ids.tolist()) & set(among.tolist())
        searcher = MAKERS[name](4)
        searcher.upsert(ids, vectors)

        found = searcher.search(queries, k, among=among)

        assert found.ids.shape == (5, min(k, len(allowed)))
        for query, row, similarities in zip(queries, found.ids, found.similarities, strict=True):
            pairs = [(-float(query @ v), int(i)) for i, v in zip(ids, vectors, strict=True) if int(i) in allowed]
            assert [(-s, i) for s, i in zip(similarities.tolist(), row.tolist(), strict=True)] == sorted(pairs)[:k]

    def test_upsert_replaces_and_delete_removes(self, make: Maker) -> None:
        """An id holds the last vector given for it; deleted ids are gone, and may come again."""
        eye = np.eye(3, dtype=np.float32)
        searcher = make(3)
        searcher.upsert(np.array([5, 7]), eye[:2])
        searcher.upsert(np.array([7, 6]), eye[[2, 1]])

        assert searcher.search(eye[[2]], 1).ids.tolist() == [[7]]
        assert searcher.search(eye[[1]], 1).ids.tolist() == [[6]]
        searcher.delete(np.array([6, 99]))
        assert searcher.ids.tolist() == [5, 7]
        assert 6 not in searcher.search(eye, 3).ids
        searcher.upsert(np.array([6]), eye[[0]])
        assert searcher.search(eye[[0]], 2).ids.tolist() == [[5, 6]]
        searcher.close()
        assert len(searcher) == 0

    def test_nothing_gives_no_hits(self, make: Maker) -> None:
        """Empty searchers and filters give (Q, 0), no queries give (0, k)."""
        eye = np.eye(3, dtype=np.float32)
        searcher = make(3)

        assert searcher.search(eye, 2).ids.shape == (3, 0)
        searcher.upsert(np.arange(3), eye)
        assert searcher.search(eye, 2, among=np.array([], dtype=np.int64)).ids.shape == (3, 0)
        assert searcher.search(eye, 2, among=np.array([77])).ids.shape == (3, 0)
        assert searcher.search(eye[:0], 2).ids.shape == (0, 2)

    def test_equal_vectors_are_equally_similar_wherever_they_stand(self, make: Maker) -> None:
        """Copies of a vector tie exactly and come in the order of ids, for a query alone and among others alike."""
        rng = np.random.default_rng(0)
        rows = unit(rng.normal(size=(301, 1280)))
        copies = rng.permutation(300)[:40]
        rows[copies] = rows[copies[0]]
        queries = np.concatenate([rows[copies[:3]], rows[:61]]) + np.float32(0.01)
        searcher = make(1280)
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

    def test_a_search_sees_one_state(self, make: Maker) -> None:
        """While another thread adds and deletes pairs, each search finds both of a pair or none."""
        rng = np.random.default_rng(0)
        searcher, rows = make(8), unit(rng.normal(size=(40, 8)))
        if isinstance(searcher, Storing):
            # Deleted rows stay readable, so that only the index decides what is seen.
            assert isinstance(searcher._vectors, Stored)
            searcher._vectors.put(np.arange(40), rows)
        searcher.upsert(np.arange(20), rows[:20])
        done = threading.Event()
        failures: list[str] = []

        def look() -> None:
            while not done.is_set():
                seen = set(searcher.search(rows[:1], 40).ids[0].tolist())
                if any((pair in seen) != (pair + 10 in seen) for pair in range(20, 30)) or not seen >= set(range(20)):
                    failures.append(f"{sorted(seen)}")

        readers = [threading.Thread(target=look) for _ in range(2)]
        for reader in readers:
            reader.start()
        for turn in range(150):
            pair = np.array([20, 30]) + turn % 10
            searcher.upsert(pair, rows[pair])
            if turn % 3 == 2:
                searcher.delete(np.concatenate([np.arange(20, 40)]))
        done.set()
        for reader in readers:
            reader.join()

        assert failures == []

    def test_bad_arguments_are_refused(self, make: Maker) -> None:
        """Each refusal says what must hold and what came."""
        searcher = make(3)
        eye = np.eye(3, dtype=np.float32)

        with pytest.raises(OptionError, match=r"^k must be at least 1, got 0$"):
            searcher.search(eye, 0)
        with pytest.raises(OptionError, match=r"^queries must have the shape \(Q, 3\), got \(1, 2\)$"):
            searcher.search(eye[:1, :2], 1)
        with pytest.raises(
            OptionError,
            match=r"^embeddings must be one row of 3 values for each of 2 distinct ids, got shape \(2, 3\)$",
        ):
            searcher.upsert(np.array([1, 1]), eye[:2])


class TestExact:
    """What holds for exact search alone."""

    def test_blocks_do_not_change_the_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Queries and vectors are taken a block at a time with the same result as at once."""
        vectors = unit(np.random.default_rng(0).normal(size=(50, 8)))
        for dtype in (np.float32, np.float16):
            searcher = ExactSearcher(8, dtype)
            searcher.upsert(np.arange(50), vectors)
            at_once = searcher.search(vectors, 3)
            with monkeypatch.context() as patch:
                patch.setattr(exact, "_BLOCK_VALUES", 120)
                patch.setattr(exact, "_CACHE_VALUES", 24)

                by_blocks = searcher.search(vectors, 3)

            np.testing.assert_array_equal(by_blocks.ids, at_once.ids)
            np.testing.assert_array_equal(by_blocks.similarities, at_once.similarities)

    def test_every_finite_float16_is_widened_exactly(self) -> None:
        """The bits of a float16 are moved to the float32 of the same value, subnormal and negative ones too."""
        halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
        halves = halves[np.isfinite(halves)]

        np.testing.assert_array_equal(exact._as_float32(halves), halves.astype(np.float32))

    def test_float16_answers_for_the_rounded_vectors(self) -> None:
        """Vectors kept in half precision are searched as float32 vectors of the same rounded values are."""
        vectors = unit(np.random.default_rng(0).normal(size=(300, 64)))
        half, rounded = ExactSearcher(64, np.float16), ExactSearcher(64)
        half.upsert(np.arange(300), vectors)
        rounded.upsert(np.arange(300), vectors.astype(np.float16).astype(np.float32))

        found, truth = half.search(vectors, 20), rounded.search(vectors, 20)

        np.testing.assert_array_equal(found.ids, truth.ids)
        np.testing.assert_array_equal(found.similarities, truth.similarities)

    def test_appending_rarely_copies(self) -> None:
        """The first array is taken over, and many small batches after it move into few buffers."""
        rows = np.eye(8, dtype=np.float32)
        searcher, buffers = ExactSearcher(8), set()
        searcher.upsert(np.arange(8), rows)

        assert np.shares_memory(searcher._state.matrix, rows)
        for start in range(8, 808, 8):
            searcher.upsert(np.arange(start, start + 8), rows)
            buffers.add(searcher._buffer.ctypes.data)
        assert len(buffers) < 25


@pytest.fixture(scope="module")
def built() -> tuple[Stored, AnnSearcher, ExactSearcher]:
    """4,000 vectors, approximately and exactly searchable; tests do not change them."""
    stored, vectors = Stored(), clustered(np.random.default_rng(0), 4000)
    stored.put(np.arange(4000), vectors)
    judge = ExactSearcher(32)
    judge.upsert(np.arange(4000), vectors)
    return stored, AnnSearcher.build(32, np.arange(4000), stored), judge


class TestApproximate:
    """What holds for approximate search alone."""

    def test_importing_search_does_not_import_faiss(self) -> None:
        """FAISS takes long to import and is loaded when an index is built or read."""
        code = "import sys, placewise.search; sys.exit('faiss' in sys.modules)"

        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_the_tuned_search_finds_what_exact_search_finds(
        self, built: tuple[Stored, AnnSearcher, ExactSearcher]
    ) -> None:
        """Recall is at least 0.99 for new views, as the report says of others, and similarities are the exact ones."""
        stored, searcher, judge = built
        rng = np.random.default_rng(1)
        queries = unit(np.stack([stored.rows[i] for i in range(300)]) + 0.05 * rng.standard_normal((300, 32)))

        found, truth = searcher.search(queries, 10), judge.search(queries, 10)

        assert recall(found, truth) >= 0.99
        assert searcher.report.recall_at_10 >= 0.98
        assert searcher.report.queries == 200
        assert searcher.report.nprobe < searcher.report.lists
        assert searcher.trained_on == 4000
        same = found.ids == truth.ids
        np.testing.assert_array_equal(found.similarities[same], truth.similarities[same])

    @pytest.mark.parametrize("spread", [1, 1000])
    @pytest.mark.parametrize("count", [100, 2500, 3500])
    def test_filters_keep_recall(self, count: int, spread: int) -> None:
        """Few ids are compared exactly, many are filtered in the index, whether ids are dense or far apart."""
        rng = np.random.default_rng(2)
        vectors, stored, ids = clustered(rng, 4000), Stored(), spread * np.arange(4000)
        stored.put(ids, vectors)
        searcher, judge = AnnSearcher.build(32, ids, stored), ExactSearcher(32)
        judge.upsert(ids, vectors)
        among = rng.choice(ids, count, replace=False)

        found = searcher.search(vectors[:200], 10, among=among)

        assert np.isin(found.ids, among).all()
        assert recall(found, judge.search(vectors[:200], 10, among=among)) >= 0.99

    def test_building_again_gives_the_same(self, built: tuple[Stored, AnnSearcher, ExactSearcher]) -> None:
        """The same vectors are trained on, tuned and judged in the same way; progress ends with all of them."""
        stored, searcher, _ = built
        told: list[tuple[int, int]] = []

        again = AnnSearcher.build(32, np.arange(4000), stored, on_progress=lambda done, of: told.append((done, of)))

        assert again.report == searcher.report
        assert told[-1] == (4000, 4000)

    @pytest.mark.parametrize("k", [400, 3990, 5000])
    def test_large_k_is_not_padded(self, built: tuple[Stored, AnnSearcher, ExactSearcher], k: int) -> None:
        """However many hits are asked for, all are real; asked for all, all come."""
        _, searcher, judge = built
        queries = clustered(np.random.default_rng(3), 20)

        found, truth = searcher.search(queries, k), judge.search(queries, k)

        assert found.ids.shape == truth.ids.shape
        assert found.ids.min() >= 0
        assert recall(found, truth) >= 0.95

    def test_changes_keep_recall_and_are_counted(self) -> None:
        """A third more vectors, some deleted and some replaced, are found without training again."""
        rng = np.random.default_rng(4)
        vectors, stored = clustered(rng, 5000), Stored()
        stored.put(np.arange(4000), vectors[:4000])
        searcher, judge = AnnSearcher.build(32, np.arange(4000), stored), ExactSearcher(32)
        judge.upsert(np.arange(4000), vectors[:4000])
        new = np.arange(3900, 5000)
        stored.put(new, vectors[new][::-1])

        for each in (searcher, judge):
            each.upsert(new, vectors[new][::-1])
            each.delete(np.arange(0, 1000, 2))

        assert (searcher.trained_on, searcher.changed, len(searcher)) == (4000, 1600, 4500)
        np.testing.assert_array_equal(searcher.ids, judge.ids)
        assert recall(searcher.search(vectors[:500], 10), judge.search(vectors[:500], 10)) >= 0.99

    def test_vanished_rows_are_left_out(self) -> None:
        """An id whose vector is gone from the store is in no answer, in a trained index and a small one."""
        for count in (50, 4000):
            stored, vectors = Stored(), clustered(np.random.default_rng(5), count)
            stored.put(np.arange(count), vectors)
            searcher = AnnSearcher.build(32, np.arange(count), stored)
            before = searcher.search(vectors[:5], 10).ids
            for gone in np.unique(before[:, :9]).tolist():
                del stored.rows[gone]

            after = searcher.search(vectors[:5], 10).ids

            assert not np.isin(before[:, :9], after).any()
            assert after.shape[1] == min(10, len(stored.rows))


class TestGroups:
    """What holds for the groups that lists are made around."""

    def test_each_place_is_one_group(self) -> None:
        """Places apart from each other are told apart by their sketches, in any order and the same each time."""
        rng = np.random.default_rng(6)
        places = unit(rng.standard_normal((300, 256)))
        photos = unit(places[np.arange(6000) % 300] + 0.03 * rng.standard_normal((6000, 256)))
        first, again = Groups(256, 0.6, 1000), Groups(256, 0.6, 1000)

        assert first.see(rng.permutation(photos))
        assert again.see(photos)
        assert again.see(photos)

        assert len(first) == len(again) == 300
        assert (first.means() @ places.T).max(axis=0).min() > 0.98
        np.testing.assert_allclose(np.linalg.norm(first.means(), axis=1), 1, atol=1e-5)

    def test_too_many_groups_end_the_pass(self) -> None:
        """A gallery without groups is not compared to its end: what was seen stands for it."""
        groups = Groups(32, 0.99, 100)

        assert not groups.see(unit(np.random.default_rng(7).standard_normal((9000, 32))))
        assert 100 <= len(groups) <= 100 + 2048

    def test_few_large_groups_are_still_split(self) -> None:
        """Three places of a thousand photos each do not make three lists: a search must not read a third of all."""
        rng = np.random.default_rng(8)
        places, stored = unit(rng.standard_normal((3, 32))), Stored()
        stored.put(np.arange(3000), unit(places[np.arange(3000) % 3] + 0.08 * rng.standard_normal((3000, 32))))

        searcher = AnnSearcher.build(32, np.arange(3000), stored)

        assert searcher.report.lists == 75


class TestIndexFile:
    """What holds for the file of an approximate index."""

    @pytest.mark.parametrize("count", [0, 50, 4000])
    def test_what_is_saved_comes_back(self, tmp_path: Path, count: int) -> None:
        """Ids, answers, report and counts are those that were saved, and the stamp tells whose they are."""
        stored, vectors = Stored(), clustered(np.random.default_rng(0), max(count, 10))
        stored.put(np.arange(count), vectors[:count])
        searcher, file = AnnSearcher.build(32, np.arange(count), stored), tmp_path / "a.index"
        searcher.delete(np.array([3]))
        searcher.save(file, "mine")

        loaded, stamp = AnnSearcher.load(file, 32, stored)

        assert stamp == "mine"
        assert AnnSearcher.stamp_of(file) == ("mine", searcher.report)
        assert (loaded.report, loaded.trained_on, loaded.changed) == (searcher.report, count, searcher.changed)
        np.testing.assert_array_equal(loaded.ids, searcher.ids)
        np.testing.assert_array_equal(loaded.search(vectors[:9], 10).ids, searcher.search(vectors[:9], 10).ids)
        assert list(tmp_path.iterdir()) == [file]

    def test_a_file_may_be_read_by_whom_a_new_file_may(self, tmp_path: Path) -> None:
        """The permissions are those of a plain new file."""
        AnnSearcher(3, Stored()).save(tmp_path / "a.index", "mine")
        (tmp_path / "plain").touch()

        assert (tmp_path / "a.index").stat().st_mode == (tmp_path / "plain").stat().st_mode

    @pytest.fixture
    def file(self, tmp_path: Path, built: tuple[Stored, AnnSearcher, ExactSearcher]) -> Path:
        """A sound file."""
        built[1].save(tmp_path / "a.index", "mine")
        return tmp_path / "a.index"

    @pytest.mark.parametrize("kept", [0, 5, 16, 1000, -1, -500])
    def test_truncated_files_are_refused(self, file: Path, kept: int) -> None:
        """Whatever is missing at the end, FAISS is not asked."""
        file.write_bytes(file.read_bytes()[:kept])

        with pytest.raises(GalleryError, match=r"^\S+ must be a whole index of Placewise, got .*; build it again$"):
            AnnSearcher.load(file, 32, Stored())

    @pytest.mark.parametrize("place", [0, 100, 50_000, -30, -60, -400])
    def test_damaged_files_are_refused(self, file: Path, place: int) -> None:
        """A changed byte anywhere is noticed before FAISS reads."""
        data = bytearray(file.read_bytes())
        data[place] ^= 0x80
        file.write_bytes(data)

        with pytest.raises(GalleryError, match=r"; build it again$"):
            AnnSearcher.load(file, 32, Stored())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"version": 2}, "must have the index version 1, got 2"),
            ({"dim": 16}, "must be an undamaged index"),
            ({"count": 3999}, "must be an undamaged index"),
            ({"report": {}}, "must be an undamaged index"),
            ({"bytes": 7}, "must be an undamaged index"),
        ],
    )
    def test_contradicting_footers_are_refused(self, file: Path, change: dict[str, object], message: str) -> None:
        """A newer version and a footer that does not fit are refused with what to do."""
        data = file.read_bytes()
        length = int.from_bytes(data[-16:-8], "little")
        footer = json.dumps(json.loads(data[-48 - length : -48]) | change).encode()
        digest = hashlib.sha256(footer).digest()
        file.write_bytes(data[: -48 - length] + footer + digest + len(footer).to_bytes(8, "little") + data[-8:])

        with pytest.raises(GalleryError, match=rf"{message}.*; build it again$"):
            AnnSearcher.load(file, 32, Stored())

    def test_missing_and_unwritable_files_are_refused(
        self, tmp_path: Path, built: tuple[Stored, AnnSearcher, ExactSearcher]
    ) -> None:
        """No file to read and no folder to write in are told in one line."""
        with pytest.raises(GalleryError, match=r"must be a readable index, got No such file or directory"):
            AnnSearcher.stamp_of(tmp_path / "none")
        with pytest.raises(GalleryError, match=r"must be writable, got No such file or directory"):
            built[1].save(tmp_path / "none" / "a.index", "mine")
        with pytest.raises(OptionError):
            ann.AnnSearcher(3, Stored()).search(np.eye(2, dtype=np.float32), 1)
