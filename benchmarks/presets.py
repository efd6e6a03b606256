"""Which look and which shares does `balanced` take, what do they cost, and do they hold on other places?

PLACEWISE_PHOTOS=… python benchmarks/presets.py [--cache presets.sqlite]

The 13 places that the gallery of `landmarks` holds are parted by a fixed rule, every second name. Candidates are scored
on the first part alone, which no other landmark asks or answers: each query asks with its place in the gallery, and
once more without it, as a stranger. Beside it count the Recall@1 of other scenes, a tower, a corridor, day and night
and the synthetic town, and the AUROC of the town. mAP does not count: a larger share of `place` raises it, whatever it
is worth. The best of those that cost no more than twice the plain embedding is the winner. It is reported on the other
landmarks, where the seven that the gallery never holds are the strangers.

Embeddings are kept in the cache, so that another sweep takes seconds. Cost is processor time, measured in blocks in
which the looks take turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placewise import metrics
from placewise.cache import Cache
from placewise.core import Embedder, Embeddings, Photo, Source
from placewise.embed import embed_all, embed_photos
from placewise.in_memory import MemoryGallery
from placewise.models import Look, load_model
from placewise.presets import find_preset
from placewise.rank import Centre, Place, Stack
from placewise.scoring.protocols import find_protocol, truth_of
from placewise.scoring.truth import Truth
from placewise.sources import read_source
from placewise.town import render_town

LOOKS = (
    Look(),
    Look(pooling="gem2", sizes=(288,)),
    Look(pooling="gem2", sizes=(320,)),
    Look(pooling="gem2", flip=True),
    Look(pooling="gem2", fit="whole", sizes=(256,)),
    Look(pooling="gem2", fit="both", sizes=(160,)),
    Look(pooling="gem2", fit="both", sizes=(192,)),
)
STACKS = tuple(
    Stack((Centre(centre), Place(share))) for centre, share in itertools.product((0.5, 0.7, 1.0), (0.3, 0.4, 0.5, 0.6))
)
SCENES = (("tower/manifest.csv", "place"), ("corridor", "frames:±2"), ("day-night", "frames:±1"))
MOST_COST = 2.0
BLOCK, BLOCKS = 32, 6
SHOWN = 12


@dataclass(frozen=True)
class Scores:
    """Of one gallery and its queries; the confidence is the best similarity, and the AUROC NaN without strangers."""

    recall_at_1: float
    mean_average_precision: float
    auroc: float

    def __str__(self) -> str:
        return f"{self.recall_at_1:.3f} {self.mean_average_precision:.3f} {self.auroc:.3f}"


@dataclass(frozen=True, eq=False)
class Scene:
    """A source and what is right in it."""

    source: Source
    truth: Truth

    @classmethod
    def of(cls, manifest: Path, protocol: str) -> Scene:
        """Read one."""
        source = read_source(manifest)
        return cls(source, truth_of(find_protocol(protocol), source))

    def part(self, held: Sequence[str], asking: Sequence[str]) -> Scene:
        """The same with the gallery of some places and the queries of others."""
        gallery = tuple(photo for photo in self.source.of("gallery") if photo.place in held)
        queries = tuple(photo for photo in self.source.of("query") if photo.place in asking)
        return Scene(self.source, truth_of(find_protocol("place"), self.source, gallery=gallery, queries=queries))

    def places(self, split: str) -> list[str]:
        """The names of the places of a split."""
        return sorted({photo.place or "" for photo in self.source.photos if photo.split == split})


@dataclass(frozen=True, eq=False)
class Way:
    """One way to see and to rank: the look in words, embeddings, the steps, and what it costs over the plain one."""

    sight: str
    rows: dict[tuple[Path, Photo], Embeddings]
    stack: Stack
    cost: float

    def score(self, scene: Scene) -> Scores:
        """Let the queries of a scene ask its gallery."""
        truth, root = scene.truth, scene.source.root
        there, asking = (
            np.array([self.rows[root, photo] for photo in part]) for part in (truth.gallery, truth.queries)
        )
        learned = MemoryGallery.of(truth.gallery, there, self.stack).learned
        near = learned.ask(asking) @ learned.matrix.T
        order = np.argsort(-near, axis=1, kind="stable")
        known = np.flatnonzero(truth.evaluated)
        ranks = [np.flatnonzero(np.isin(order[row], truth.positives[row])) + 1 for row in known]
        best = near.max(axis=1)
        return Scores(
            metrics.recall_at_k(ranks, 1) if ranks else np.nan,
            metrics.mean_average_precision(ranks) if ranks else np.nan,
            metrics.auroc(best[known], best[truth.open_set]) if truth.open_set.any() and ranks else np.nan,
        )


def main() -> None:
    """Embed what is not in the cache, score, measure the time, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path("presets.sqlite"))
    given = parser.parse_args()
    folder = os.environ.get("PLACEWISE_PHOTOS")
    if not folder:
        print("skipped: PLACEWISE_PHOTOS is not set")
        return
    with tempfile.TemporaryDirectory() as town:
        landmarks = Scene.of(Path(folder) / "landmarks" / "manifest.csv", "place")
        scenes = [Scene.of(Path(folder) / name, protocol) for name, protocol in SCENES]
        scenes.append(Scene.of(render_town(Path(town)), "place"))
        embedders = [load_model(look=look) for look in LOOKS]
        rows = [embedded([landmarks, *scenes], embedder, given.cache) for embedder in embedders]
        costs = ratios(landmarks.source, embedders)
    plain = [
        Way(seen.card.sight, found, Stack(), cost) for seen, found, cost in zip(embedders, rows, costs, strict=True)
    ]
    ways = [*plain, *(dataclasses.replace(way, stack=stack) for way in plain for stack in STACKS)]
    chosen_on = {id(way): list(on_first_part(way, landmarks)) + [way.score(scene) for scene in scenes] for way in ways}
    ways.sort(key=lambda way: -worth(chosen_on[id(way)]))
    print(
        "time over that of plain embedding; Recall@1, mAP, AUROC on the first landmarks; Recall@1 on the scenes; worth"
    )
    for way in ways[:SHOWN]:
        print(line("", way, chosen_on[id(way)]))
    preset = find_preset("balanced")
    sight = load_model(look=preset.look).card.sight
    shown = {
        "winner": next(way for way in ways if way.cost <= MOST_COST),
        "preset": next(way for way in ways if (way.sight, way.stack) == (sight, preset.stack)),
        "plain": plain[0],
    }
    print("\n… and Recall@1, mAP, AUROC on the other landmarks and on all")
    for name, way in shown.items():
        print(line(name, way, chosen_on[id(way)]), *on_others(way, landmarks), sep="  ")


def worth(scores: Sequence[Scores]) -> float:
    """What ways are chosen by: the mean Recall@1 and the mean AUROC of the first landmarks and the town, halved."""
    first, *scenes = scores
    recall = np.mean([one.recall_at_1 for one in scores])
    return float(recall + np.mean([first.auroc, scenes[-1].auroc])) / 2


def line(name: str, way: Way, scores: Sequence[Scores]) -> str:
    """A way and what it is chosen by."""
    first, *scenes = scores
    recalls = " ".join(f"{one.recall_at_1:.3f}" for one in scenes)
    return f"{name:7s} {way.sight:36s} {way.stack!s:24s} {way.cost:.2f}  {first}  {recalls}  {worth(scores):.4f}"


def on_first_part(way: Way, landmarks: Scene) -> Iterator[Scores]:
    """On every second landmark alone; the strangers are its queries without their own place."""
    names = landmarks.places("gallery")[::2]
    inside = way.score(landmarks.part(names, names))
    near = [best_of(way, landmarks.part(names, names))]
    near += [best_of(way, landmarks.part([one for one in names if one != name], [name])) for name in names]
    yield dataclasses.replace(inside, auroc=metrics.auroc(near[0], np.concatenate(near[1:])))


def on_others(way: Way, landmarks: Scene) -> Iterator[Scores]:
    """On the other landmarks, and on all; the strangers are those that the gallery never holds."""
    names = landmarks.places("gallery")
    unseen = sorted(set(landmarks.places("query")) - set(names))
    for held in (names[1::2], names):
        yield way.score(landmarks.part(held, [*held, *unseen]))


def best_of(way: Way, scene: Scene) -> NDArray[np.float32]:
    """The best similarity of each query, ``(Q,)``."""
    truth, root = scene.truth, scene.source.root
    there, asking = (np.array([way.rows[root, photo] for photo in part]) for part in (truth.gallery, truth.queries))
    learned = MemoryGallery.of(truth.gallery, there, way.stack).learned
    best: NDArray[np.float32] = (learned.ask(asking) @ learned.matrix.T).max(axis=1)
    return best


def embedded(scenes: Sequence[Scene], embedder: Embedder, cache: Path) -> dict[tuple[Path, Photo], Embeddings]:
    """All photos of some scenes, from the cache where they are in it."""
    rows = {}
    with Cache(cache, embedder) as kept:
        for scene in scenes:
            found = embed_all(scene.source, scene.source.photos, embedder, cache=kept)
            print(f"{embedder.card.sight}: {found.computed} embedded", file=sys.stderr)
            rows.update(
                {(scene.source.root, photo): row for photo, row in zip(found.photos, found.embeddings, strict=True)}
            )
    return rows


def ratios(source: Source, embedders: Sequence[Embedder]) -> list[float]:
    """Processor time for reading and embedding over that of the first model, median over blocks taken in turns."""
    costs = np.empty((BLOCKS, len(embedders)))
    for number in range(BLOCKS):
        photos = source.photos[number * len(source.photos) // BLOCKS :][:BLOCK]
        for column, embedder in enumerate(embedders):
            began = time.process_time()
            for _ in embed_photos(source, photos, embedder):
                pass
            costs[number, column] = time.process_time() - began
    return [float(ratio) for ratio in np.median(costs / costs[:, :1], axis=0)]


if __name__ == "__main__":
    main()
