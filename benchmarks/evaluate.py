"""Ranking and scoring of made-up embeddings by the place protocol: seconds of each stage, and the memory at its peak.

python benchmarks/evaluate.py [--queries 10000] [--gallery 100000] [--positives 5] [--dim 512]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path, PurePosixPath

import numpy as np

from placewise.core import Embeddings, Photo, Source
from placewise.openset import SimilarityRule
from placewise.scoring.predictions import save_predictions
from placewise.scoring.protocols import find_protocol, truth_of
from placewise.scoring.ranking import rank_all
from placewise.scoring.scores import score

SPREAD = 0.12
"""The noise of a photo, in each dimension, around its place's direction: some positives are far down."""


def made_up(photos: list[Photo], centres: Embeddings, seed: int) -> Embeddings:
    """Unit rows around the direction of each photo's place."""
    rng = np.random.default_rng(seed)
    places = np.array([int(photo.place or 0) for photo in photos])
    rows = np.empty((len(photos), centres.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), 10_000):
        part = slice(start, start + 10_000)
        rows[part] = centres[places[part]] + SPREAD * rng.normal(size=rows[part].shape)
        rows[part] /= np.linalg.norm(rows[part], axis=1, keepdims=True)
    return rows


def main() -> None:
    """Print one line a stage."""
    parser = argparse.ArgumentParser()
    for name, default in (("queries", 10_000), ("gallery", 100_000), ("positives", 5), ("dim", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    places = options.gallery // options.positives
    gallery = [Photo(PurePosixPath(f"g/{row}.jpg"), "gallery", str(row % places)) for row in range(options.gallery)]
    queries = [Photo(PurePosixPath(f"q/{row}.jpg"), "query", str(row % places)) for row in range(options.queries)]
    centres = np.random.default_rng(0).normal(size=(places, options.dim)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    there, asking = made_up(gallery, centres, 1), made_up(queries, centres, 2)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    protocol, laps, cpu = find_protocol("place"), [time.perf_counter()], time.process_time()
    truth = truth_of(protocol, Source(Path(), (*gallery, *queries)))
    laps.append(time.perf_counter())
    predictions = rank_all(there, asking, truth, SimilarityRule(0.5))
    laps.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        save_predictions(predictions, truth, Path(folder) / "p.csv")
    laps.append(time.perf_counter())
    scores = score(predictions, truth, protocol, tau=0.5)
    laps.append(time.perf_counter())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{options.queries:,} queries, {options.gallery:,} gallery photos, {options.positives} positives each")
    stages = zip(("truth", "rank", "save", "score with intervals"), laps, laps[1:], strict=False)
    print(", ".join(f"{stage} {end - start:.1f} s" for stage, start, end in stages))
    cpu = time.process_time() - cpu
    print(f"in all {laps[-1] - laps[0]:.1f} s, {cpu:.1f} s of processor time")
    print(f"at most {peak:.2f} GB, {held:.2f} GB of it with the embeddings made")
    print(f"Recall@1 {scores.retrieval['recall@1']:.4f}, mAP {scores.retrieval['map']:.4f}")


if __name__ == "__main__":
    main()
