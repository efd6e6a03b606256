"""The write path: order, cache, resume, changed files, bad photos."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from placewise import embed
from placewise.cache import Cache
from placewise.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conftest import TinyModel

    from placewise.core import Embeddings


def test_embeddings_come_in_the_order_of_the_photos(
    tiny_dataset: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads and batches do not change which embedding belongs to which photo."""
    monkeypatch.setattr(embed, "BATCH", 3)
    source = read_source(tiny_dataset)

    batches = list(embed.embed_photos(source, source.photos, tiny_model))

    assert [photo for batch in batches for photo in batch.photos] == list(source.photos)
    for batch in batches:
        for photo, row in zip(batch.photos, batch.embeddings, strict=True):
            expected = tiny_model.infer([tiny_model.read(source.file(photo).read_bytes())])
            np.testing.assert_array_equal(row, expected[0])


def test_a_second_run_embeds_nothing(tiny_dataset: Path, tiny_model: TinyModel, tmp_path: Path) -> None:
    """With a cache, the second run computes nothing and returns the same embeddings."""
    source = read_source(tiny_dataset)
    with Cache(tmp_path / "cache", tiny_model) as cache:
        first = list(embed.embed_photos(source, source.photos, tiny_model, cache=cache))
        second = list(embed.embed_photos(source, source.photos, tiny_model, cache=cache))

    assert sum(batch.computed for batch in first) == tiny_model.computed == len(source.photos)
    assert sum(batch.computed for batch in second) == 0
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.embeddings, two.embeddings)


def test_memory_does_not_grow_with_the_number_of_photos(
    tmp_path: Path, tiny_model: TinyModel, save_photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many photos there are, no more than two batches and the threads' own are read and not yet embedded."""
    monkeypatch.setattr(embed, "BATCH", 4)
    for number in range(120):
        save_photo(tmp_path / "place" / f"{number:03}.png", place=number)
    source = read_source(tmp_path)
    waiting, most = 0, 0
    lock, read, infer = threading.Lock(), tiny_model.read, tiny_model.infer

    def counted_read(data: bytes) -> NDArray[np.uint8]:
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        return read(data)

    def slow_infer(inputs: Sequence[NDArray[np.uint8]]) -> Embeddings:
        nonlocal waiting
        time.sleep(0.02)
        with lock:
            waiting -= len(inputs)
        return infer(inputs)

    monkeypatch.setattr(tiny_model, "read", counted_read)
    monkeypatch.setattr(tiny_model, "infer", slow_infer)

    batches = list(embed.embed_photos(source, source.photos, tiny_model))

    assert sum(len(batch.photos) for batch in batches) == 120
    assert embed.BATCH < most <= 3 * embed.BATCH
