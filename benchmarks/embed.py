"""Photos per second of the embedding pipeline against a plain loop with the same network, in turns, in one run.

    python benchmarks/embed.py [FOLDER]

FOLDER holds photos; without one, a synthetic town is rendered. The plain loop decodes in full, embeds in float32, and
does one thing after the other: the script that one writes first.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from placewise.embed import embed_photos
from placewise.manifest import read_source
from placewise.models import load_model
from placewise.town import render_town

if TYPE_CHECKING:
    from placewise.core import Embedder, Embeddings, Source

ROUNDS = 5


def pipeline(source: Source, model: Embedder) -> Embeddings:
    """Placewise with its defaults."""
    return np.concatenate([batch.embeddings for batch in embed_photos(source, source.photos, model)])


def plain_loop(source: Source, model: Embedder) -> Embeddings:
    """One photo after the other."""
    files = (source.file(photo).read_bytes() for photo in source.photos)
    return np.concatenate([model.infer([model.read(data)]) for data in files])


def main(folder: Path) -> None:
    """Measure and print."""
    source = read_source(folder)
    fast, exact = load_model(), load_model(precision="float32", decode="full")
    cosines = np.sum(pipeline(source, fast) * plain_loop(source, exact), axis=1)
    seconds: dict[str, list[float]] = {"pipeline": [], "plain loop": []}
    for _ in range(ROUNDS):
        for name, run, model in (("pipeline", pipeline, fast), ("plain loop", plain_loop, exact)):
            start = time.perf_counter()
            run(source, model)
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f"{name:<10}  {len(source.photos) / statistics.median(values):7.1f} photos/s")
    ratios = [slow / quick for quick, slow in zip(seconds["pipeline"], seconds["plain loop"], strict=True)]
    print(f"ratio       {statistics.median(ratios):7.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")
    print(f"cosine      {cosines.min():7.4f} at least, {cosines.mean():.4f} on average")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            render_town(Path(temporary))
            main(Path(temporary))
