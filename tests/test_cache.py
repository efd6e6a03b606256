"""The embedding cache."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from placewise.cache import Cache
from placewise.errors import CacheError

if TYPE_CHECKING:
    from tests.conftest import TinyModel

ROW = np.eye(48, dtype=np.float32)[0]


def test_what_is_put_is_got_back(tmp_path: Path, tiny_model: TinyModel) -> None:
    """An embedding comes back to the bit in a later process's cache; an unknown content does not."""
    with Cache(tmp_path / "deep" / "cache", tiny_model) as cache:
        cache.put([(b"x", ROW)])
    with Cache(tmp_path / "deep" / "cache", tiny_model) as cache:
        kept = cache.get(b"x")

        assert kept is not None
        np.testing.assert_array_equal(kept, ROW)
        assert cache.get(b"y") is None


def test_models_and_variants_are_kept_apart(tmp_path: Path, tiny_model: TinyModel) -> None:
    """Another model's, or another precision's, embedding of the same content is never returned."""
    other = type(tiny_model)("other")
    rounded = type(tiny_model)()
    rounded.variant = "rounded"
    with Cache(tmp_path / "cache", tiny_model) as cache:
        cache.put([(b"x", ROW)])

    for model in (other, rounded):
        with Cache(tmp_path / "cache", model) as cache:
            assert cache.get(b"x") is None


def test_a_damaged_cache_is_one_line(tmp_path: Path, tiny_model: TinyModel) -> None:
    """A file that is no cache is refused and left alone."""
    file = tmp_path / "cache"
    file.write_bytes(b"not a cache, but long enough to look at" * 30)

    with pytest.raises(CacheError, match=r"^an embedding cache .* cannot be used: file is not a database; "):
        Cache(file, tiny_model)
    assert file.read_bytes().startswith(b"not a cache")


def test_a_cache_folder_that_cannot_be_made_is_one_line(tmp_path: Path, tiny_model: TinyModel) -> None:
    """A file where the folder should be is named."""
    (tmp_path / "file").touch()

    with pytest.raises(CacheError, match=r"^the cache folder must be writable, got .*; name another one or use no"):
        Cache(tmp_path / "file" / "cache", tiny_model)


def test_threads_share_a_cache(tmp_path: Path, tiny_model: TinyModel) -> None:
    """While one thread writes, others always read the row that they asked for."""
    wrong: list[int] = []
    with Cache(tmp_path / "cache", tiny_model) as cache:

        def read(start: int) -> None:
            for number in range(start, start + 2000):
                kept = cache.get(bytes([number % 48]))
                if kept is not None and kept[number % 48] != 1:
                    wrong.append(number)

        threads = [threading.Thread(target=read, args=(start,)) for start in range(3)]
        for thread in threads:
            thread.start()
        for row in range(48):
            cache.put([(bytes([row]), np.eye(48, dtype=np.float32)[row])])
        for thread in threads:
            thread.join()

    assert not wrong
