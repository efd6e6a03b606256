"""What do looks gain, and what do they cost?

PLACEWISE_PHOTOS=… python benchmarks/looks.py

The photos of `landmarks` are embedded in blocks, in which the looks take turns, so that a machine's moods hit all of
them. Looks are chosen on every second gallery place, where the other gallery places play the unknown ones; the others
are the report: those other places, with the 7 places that the gallery never holds as the unknown ones.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placewise import metrics
from placewise.core import Embedder, Embeddings, Source
from placewise.embed import BATCH, embed_photos
from placewise.models import Look, load_model
from placewise.sources import read_source

LOOKS = (
    Look(),
    Look(pooling="gem2"),
    Look(pooling="gem2", flip=True),
    Look(pooling="gem2", fit="both", sizes=(192,)),
    Look(pooling="gem2", fit="both", sizes=(224,)),
    Look(pooling="gem2", fit="both", sizes=(320,)),
)


@dataclass(frozen=True)
class Scores:
    """Of one gallery and its queries."""

    mean_average_precision: float
    recall_at_1: float
    auroc: float

    def __str__(self) -> str:
        return f"{self.mean_average_precision:.3f} {self.recall_at_1:.3f} {self.auroc:.3f}"


def main() -> None:
    """Embed all, print a line a look."""
    folder = os.environ.get("PLACEWISE_PHOTOS")
    if not folder:
        print("skipped: PLACEWISE_PHOTOS is not set")
        return
    source = read_source(Path(folder) / "landmarks" / "manifest.csv")
    embedders = [load_model(look=look) for look in LOOKS]
    embeddings, milliseconds = embed_in_turns(source, embedders)
    places = np.array([photo.place or "" for photo in source.photos])
    is_gallery = np.array([photo.split == "gallery" for photo in source.photos])
    held = sorted(set(places[is_gallery]))
    unseen = sorted(set(places) - set(held))
    print("mAP, Recall@1, AUROC of the best similarity; centred: less the gallery's mean")
    print(f"{'look':36s} {'chosen on':18s} {'report':18s} {'all':18s} {'all, centred':18s} ms/photo, median")
    for embedder, rows, cost in zip(embedders, embeddings, milliseconds, strict=True):
        parts = (
            score(rows, places, is_gallery, held[::2], held[1::2]),
            score(rows, places, is_gallery, held[1::2], unseen),
            score(rows, places, is_gallery, held, unseen),
            score(centred(rows, is_gallery), places, is_gallery, held, unseen),
        )
        print(f"{embedder.card.sight:36s} {'  '.join(map(str, parts))}  {cost:.1f}")


def embed_in_turns(source: Source, embedders: list[Embedder]) -> tuple[list[Embeddings], list[float]]:
    """Each model's embeddings of all photos, and the median over blocks of milliseconds for reading and embedding."""
    blocks: list[list[Embeddings]] = [[] for _ in embedders]
    costs: list[list[float]] = [[] for _ in embedders]
    for start in range(0, len(source.photos), BATCH):
        photos = source.photos[start : start + BATCH]
        for embedder, block, cost in zip(embedders, blocks, costs, strict=True):
            began = time.perf_counter()
            block.extend(batch.embeddings for batch in embed_photos(source, photos, embedder))
            cost.append((time.perf_counter() - began) * 1000 / len(photos))
        print(f"{start + len(photos)} of {len(source.photos)} photos", file=sys.stderr)
    return [np.concatenate(block) for block in blocks], [float(np.median(cost)) for cost in costs]


def centred(embeddings: Embeddings, is_gallery: NDArray[np.bool_]) -> Embeddings:
    """The embeddings less the gallery's mean, at unit length."""
    moved = embeddings - embeddings[is_gallery].mean(axis=0)
    unit: Embeddings = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return unit


def score(
    embeddings: Embeddings,
    places: NDArray[np.str_],
    is_gallery: NDArray[np.bool_],
    known: list[str],
    unknown: list[str],
) -> Scores:
    """A gallery of the known places, asked by their queries and by those of the unknown places."""
    gallery = is_gallery & np.isin(places, known)
    asking, strangers = (~is_gallery & np.isin(places, names) for names in (known, unknown))
    similarities = embeddings[asking] @ embeddings[gallery].T
    order = np.argsort(-similarities, axis=1, kind="stable")
    right = places[gallery][order] == places[asking][:, np.newaxis]
    ranks = [np.flatnonzero(row) + 1 for row in right]
    best = (embeddings[strangers] @ embeddings[gallery].T).max(axis=1)
    return Scores(
        metrics.mean_average_precision(ranks),
        metrics.recall_at_k(ranks, 1),
        metrics.auroc(similarities.max(axis=1), best),
    )


if __name__ == "__main__":
    main()
