"""How many hits of an approximate search are those of an exact one, where steps rank what the index proposes?

    python benchmarks/proposed.py [--sizes 6000 20000] [--hits 20 100 300] [--times 1 2 4 6]

Made-up photos, 20 of each place, ranked by the steps of `balanced`; 100 queries are new photos of these places. `times`
is how many candidates are proposed for each hit that is wanted, 200 at least; milliseconds are of processor time.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placewise.core import Photo
from placewise.gallery_file import GalleryFile
from placewise.models import find_card
from placewise.presets import PRESETS
from placewise.rank import open_ranker, ranker
from placewise.search import ExactSearcher
from placewise.search.sidecar import ann_path, build_ann, open_searcher

DIM, PHOTOS_OF_A_PLACE, QUERIES = 256, 20, 100


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of unit length."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def measure(gallery: GalleryFile, queries: NDArray[np.float32], hits: int) -> tuple[list[set[int]], float]:
    """The first hits of each query, and the processor time of a query in milliseconds, by an index if there is one."""
    stack = PRESETS["balanced"].stack
    with gallery.reading():
        table = gallery.table()
        searcher = open_searcher(gallery, table.ids, "ann" if ann_path(gallery.path).exists() else "exact")
        asked_of = open_ranker(gallery, table, stack, searcher, plain=False)
    exact = isinstance(searcher, ExactSearcher)
    for _ in range(1 if exact else 2):  # the first round reads the means of places
        start = time.process_time()
        found = asked_of.search(asked_of.ask(queries), hits).ids
        spent = time.process_time() - start
    return [set(row) for row in found.tolist()], 1000 * spent / len(queries)


def run(count: int, wanted: list[int], times: list[int], folder: Path) -> None:
    """Print the shares and times of one size."""
    rng = np.random.default_rng(0)
    common, centres = rng.normal(size=DIM), rng.normal(size=(count // PHOTOS_OF_A_PLACE, DIM))
    codes = np.arange(count) // PHOTOS_OF_A_PLACE
    rows, asked = (
        unit(0.8 * common + centres[of] + 1.2 * rng.normal(size=(len(of), DIM)))
        for of in (codes, rng.integers(0, len(centres), QUERIES))
    )
    photos = [Photo(PurePosixPath(f"{n}.jpg"), "gallery", f"place {code}") for n, code in enumerate(codes.tolist())]
    card: Any = dataclasses.replace(find_card("vlad"), architecture="none", dim=DIM)
    with GalleryFile.open_for(folder / f"{count}.gallery", card) as gallery:
        gallery.upsert(photos, rows)
        exact = {hits: measure(gallery, asked, hits) for hits in wanted}
        build_ann(gallery)
        for hits in wanted:
            for ranker.PROPOSED_A_HIT in times:
                near, spent = measure(gallery, asked, hits)
                share = np.mean([len(one & other) / hits for one, other in zip(exact[hits][0], near, strict=True)])
                print(
                    f"{count} photos, {hits} hits, times {ranker.PROPOSED_A_HIT}: {share:.3f} of the exact hits, "
                    f"{spent:.1f} ms; exact {exact[hits][1]:.1f} ms",
                    flush=True,
                )


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[6000, 20_000])
    parser.add_argument("--hits", type=int, nargs="+", default=[20, 100, 300])
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4, 6])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for count in options.sizes:
            run(count, options.hits, options.times, Path(folder))


if __name__ == "__main__":
    main()
